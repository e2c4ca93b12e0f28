"""What `refimpl.nn.fit` refuses before it trains: one error each, saying what was got and what to do."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

import numpy as np

from refimpl.nn.attention import Embedding
from refimpl.nn.layers import Sequential
from refimpl.nn.numbers import not_negative, whole
from refimpl.nn.optimizer import SGD, Optimizer
from refimpl.nn.precision import Precision

FIELDS = ("name", "classes", "train_images", "train_labels", "test_images", "test_labels")


def factors(schedule) -> list[float]:
    """Return a schedule's factors at eight shares of training, having looked at them."""
    if not callable(schedule):
        raise TypeError(
            f"fit: schedule is {schedule!r}; give a function of the share of training "
            "done, such as refimpl.nn.schedules.cosine()"
        )
    return [not_negative("fit", f"the schedule's factor at {i / 8}", schedule(i / 8)) for i in range(8)]


def model_and_task(model, task) -> None:
    """Refuse a network and a task that do not fit, or are none."""
    if not isinstance(model, Sequential):
        raise TypeError(f"fit: the model is {_called(model)}; give a network, such as refimpl.nn.cnn()")
    if not all(hasattr(task, field) for field in FIELDS):
        raise TypeError(f"fit: the task is {_called(task)}; give a Task, as refimpl.data.load returns it")
    for part in ("train", "test"):
        _arrays(part, getattr(task, f"{part}_images"), getattr(task, f"{part}_labels"), task.classes)
    if task.train_images.shape[1:] != task.test_images.shape[1:]:
        raise ValueError(
            f"fit: an image has the shape {task.train_images.shape[1:]} in train_images and "
            f"{task.test_images.shape[1:]} in test_images; make them alike"
        )
    present = np.bincount(np.asarray(task.train_labels, np.int64), minlength=task.classes)
    if not present.all():
        raise ValueError(
            f"fit: class {int(np.argmin(present))} of {task.name} has no training image; "
            "add some, or leave the class out"
        )
    outputs = model.output_shape(task.train_images.shape[1:])
    if outputs != (task.classes,):
        raise ValueError(
            f"fit: the network has outputs {outputs}, {task.name} has {task.classes} classes; "
            f"build it with classes={task.classes}"
        )
    for layer in model.layers[:1]:
        if isinstance(layer, Embedding):
            layer.tokens(task.train_images)
            layer.tokens(task.test_images)
    if not model.parameter_total():
        raise ValueError("fit: the network has no parameters to learn; add a layer such as Linear")
    _no_parameters_twice(model)


def _no_parameters_twice(model) -> None:
    """Refuse a layer that stands in two places and has something to learn or to remember."""
    seen = {}
    for layer in model.every_layer():
        if id(layer) in seen and (layer.parameters or layer.parameter_count() or layer.memory()):
            raise ValueError(
                f"fit: the same {type(layer).__name__} stands in the network twice; make one for each place"
            )
        seen[id(layer)] = layer


def patterns(model, precision: Precision) -> None:
    """Refuse a policy that speaks of layers the network does not have."""
    layers = [layer for layer in model.every_layer() if layer.name]
    names = [name for layer in layers for name in (layer.name, *layer.products())]
    for pattern in precision.layers:
        if not fnmatch.filter(names, pattern):
            raise ValueError(
                f"fit: the precision's layers={{{pattern!r}: ...}} fits no layer; they are called {', '.join(names)}"
            )


def switch_of(given, epochs: int):
    """Return (epochs before, policy after), or None."""
    if given is None:
        return None
    try:
        after, precision = given
    except (TypeError, ValueError):
        raise TypeError(f"fit: switch is {given!r}; give (epochs before it, precision after it)") from None
    after = whole("fit", "switch", after)
    if not 0 < after < epochs:
        raise ValueError(f"fit: switch after {after} of {epochs} epochs; it must be after 1 to {epochs - 1}")
    return after, precision_of(precision)


def _arrays(part: str, images, labels, classes: int) -> None:
    """Refuse images and labels that no network can be trained or tested on."""
    if getattr(images, "dtype", None) != np.float32:
        raise TypeError(f"fit: {part}_images are {_called(images)}; convert them by numpy.asarray(..., numpy.float32)")
    if getattr(labels, "dtype", np.dtype(object)).kind not in "iu":
        raise TypeError(
            f"fit: {part}_labels are {_called(labels)}; convert them to whole numbers "
            "by numpy.asarray(..., numpy.int64)"
        )
    if labels.shape != images.shape[:1] or not images.size:
        raise ValueError(
            f"fit: {part}_labels have the shape {labels.shape} and {part}_images {images.shape}; "
            "give one label for each of at least one image"
        )
    if not np.isfinite(images).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(images))[0])
        raise ValueError(f"fit: {part}_images has {images[index]} at {index}; remove or replace it")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"fit: {part}_labels go from {labels.min()} to {labels.max()}, allowed are "
            f"0 to {classes - 1}; number the classes from 0"
        )


def steps_of_an_epoch(images: int, batch_size: int) -> int:
    """Return how many whole batches there are; ValueError for none."""
    if not 1 <= batch_size <= images:
        raise ValueError(f"fit: a batch of {batch_size} from {images} images; use 1 to {images}")
    return images // batch_size


def precision_of(given) -> Precision:
    """Return the policy, that of float32 for None; TypeError for what is none."""
    if given is None:
        return Precision()
    if not isinstance(given, Precision):
        raise TypeError(f"fit: precision is {given!r}; give a refimpl.Precision, or refimpl.nn.preset(name)")
    return given


def optimizer_of(given, **of_sgd) -> Optimizer:
    """Return the optimizer, SGD with these settings for None; TypeError for what is none."""
    if given is None:
        return SGD(**of_sgd)
    if not isinstance(given, Optimizer):
        raise TypeError(f"fit: optimizer is {given!r}; give one such as refimpl.nn.Adam()")
    return given


def checkpoint_place(path) -> None:
    """Refuse a checkpoint that cannot be written, before anything is trained."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"fit: checkpoint is {path!r}; give the path of a file")
    path = Path(path)
    if not path.name or path.is_dir():
        raise ValueError(f"fit: checkpoint {str(path)!r} is a directory; name a file in it")
    if not path.parent.is_dir():
        raise ValueError(
            f"fit: checkpoint {str(path)!r}: there is no directory {str(path.parent)!r}; make it, or name another"
        )


def _called(thing) -> str:
    """Say what a thing is: its dtype if it is an array, else its type."""
    return str(getattr(thing, "dtype", None) or f"{type(thing).__name__} {thing!r:.60}")
