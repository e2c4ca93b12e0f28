"""What `refimpl.nn.fit` refuses before it trains."""

from __future__ import annotations

import fnmatch
import hashlib
import math

import numpy as np

from refimpl import _arguments as check
from refimpl._files import refusal
from refimpl.nn.attention import Embedding
from refimpl.nn.layers import BatchNorm, Sequential
from refimpl.nn.optimizer import SGD, Optimizer
from refimpl.nn.precision import SUM_ROLES, Precision

FIELDS = ("name", "classes", "train_images", "train_labels", "test_images", "test_labels")


def factors(schedule, steps: int) -> str:
    """Return a text that tells a schedule from others: its factor at every step, having looked at them."""
    check.function("fit", "schedule", schedule, "a function of the fraction of training done, such as cosine()")
    digest, shown = hashlib.sha256(), []
    for i in range(steps):
        name = f"the schedule's factor at {i / steps:g}"
        factor = check.number("fit", name, schedule(i / steps), check.FLOAT32_OR_0)
        digest.update(f"{factor!r} ".encode())
        if i % max(steps // 4, 1) == 0:
            shown.append(f"{factor:g}")
    return f"factors {', '.join(shown)} on the way ({digest.hexdigest()[:8]})"


def model_and_task(model, task) -> None:
    """Refuse a network and a task that do not fit, or are something else."""
    check.instance("fit", "model", model, Sequential, "a network, such as refimpl.nn.cnn()")
    if not all(hasattr(task, field) for field in FIELDS):
        raise check.wrong_kind("fit", "task", task, "a Task, as refimpl.data.load returns it")
    classes = check.integer("fit", "task.classes", task.classes, check.Interval(1))
    for part in ("train", "test"):
        arrays("fit", f"{part}_", getattr(task, f"{part}_images"), getattr(task, f"{part}_labels"), classes)
    check.of_shape("fit", "test_images", task.test_images, (None, *task.train_images.shape[1:]))
    labels = np.asarray(task.train_labels, np.int64)
    present = np.bincount(labels.reshape(-1), minlength=classes)
    if labels.ndim == 1 and not present.all():
        missing = int(np.argmin(present))
        raise ValueError(f"fit: class {missing} of {task.name} has no training image; add some, or leave it out")
    outputs = model.output_shape(task.train_images.shape[1:])
    if outputs != (*labels.shape[1:], classes):
        hint = f"build the network with classes={classes}" if labels.ndim == 1 else "take rf.nn.language_model"
        allowed = str((*labels.shape[1:], classes))
        raise check.wrong_value("fit", "the shape of the network's outputs", outputs, allowed, hint)
    for layer in model.layers[:1]:
        if isinstance(layer, Embedding):
            layer.tokens(task.train_images)
            layer.tokens(task.test_images)
    if not model.parameter_total():
        raise check.wrong_value("fit", "model", model, "a network with something to learn, such as a layer Linear")
    _no_parameters_twice(model)


def _no_parameters_twice(model) -> None:
    """Refuse a layer that stands in two places and has parameters or a state."""
    seen = set()
    for layer in model.every_layer():
        if id(layer) in seen and (layer.parameters or layer.parameter_count() or layer.state()):
            raise ValueError(f"fit: the same {type(layer).__name__} stands in model twice; make one for each place")
        seen.add(id(layer))


def patterns(model, precision: Precision) -> None:
    """Refuse a policy that speaks of layers the network does not have."""
    layers = [layer for layer in model.every_layer() if layer.name]
    names = [name for layer in layers for name in (layer.name, *layer.products())]
    for pattern in precision.layers:
        if not fnmatch.filter(names, pattern):
            raise check.unknown("fit", "pattern of precision.layers", pattern, names)


def sums(exact_sums: bool, precision: Precision) -> None:
    """Refuse exact sums under a policy that says how sums are accumulated."""
    if exact_sums and any(
        role in SUM_ROLES for roles in (precision.roles, *precision.layers.values()) for role in roles
    ):
        raise check.wrong_value("fit", "exact_sums", True, "False where the policy states an Accumulator")


def batch_norms(model, shape: tuple[int, ...], batch_size: int) -> None:
    """Refuse batches in which batch norm sees but one value of a channel: it makes zero of any such."""
    for name, layer, output in model.walk(shape):
        if isinstance(layer, BatchNorm) and batch_size * math.prod(output[:-1]) == 1:
            hint = f"of one value, batch norm (layer {name!r}) makes a constant"
            raise check.wrong_value("fit", "batch_size", batch_size, "at least 2", hint)


def switch_of(given, epochs: int) -> tuple[int, Precision] | None:
    """Return (epochs before, policy after), or None."""
    if given is None:
        return None
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise check.wrong_kind("fit", "switch", given, "(epochs before it, precision after it)")
    return check.integer("fit", "switch", given[0], check.Interval(1, epochs - 1)), precision_of(given[1])


def arrays(caller: str, part: str, images, labels, classes: int) -> None:
    """Refuse images and labels that no network can be trained or tested on; `part` stands before their names."""
    check.of_dtype(caller, f"{part}images", images, np.float32)
    if getattr(labels, "dtype", np.dtype(object)).kind not in "iu":
        raise check.wrong_kind(caller, f"{part}labels", labels, "an array of integers")
    if labels.shape not in (images.shape[:1], images.shape[:2]) or not images.size:
        allowed = f"one label for each of at least one image, or for each token; {part}images is {check.shown(images)}"
        raise check.wrong_value(caller, f"{part}labels", labels, allowed)
    check.finite(caller, f"{part}images", images)
    check.every(caller, f"{part}labels", labels, (labels >= 0) & (labels < classes), f"a class, 0 to {classes - 1}")


def steps_of_an_epoch(images: int, batch_size) -> int:
    """Return how many full batches there are; an error for none."""
    return images // check.integer("fit", "batch_size", batch_size, check.Interval(1, images))


def trained(caller: str, model) -> Sequential:
    """Return a network that has weights."""
    check.instance(caller, "model", model, Sequential, "a network, such as refimpl.nn.language_model()")
    if model.parameter_total() and not any(layer.parameters for layer in model.every_layer()):
        raise ValueError(
            check.message(caller, "model", "without weights", "one with them, as refimpl.nn.fit leaves it")
        )
    return model


def precision_of(given, caller: str = "fit") -> Precision:
    """Return the policy, that of float32 for None."""
    allowed = "a refimpl.Precision, or refimpl.nn.preset(name)"
    return Precision() if given is None else check.instance(caller, "precision", given, Precision, allowed)


def optimizer_of(given, **of_sgd) -> Optimizer:
    """Return the optimizer, SGD with these settings for None."""
    allowed = "an optimizer, such as refimpl.nn.Adam()"
    return SGD(**of_sgd) if given is None else check.instance("fit", "optimizer", given, Optimizer, allowed)


def checkpoint_place(given) -> None:
    """Refuse a checkpoint that cannot be written, before anything is trained."""
    path = check.path("fit", "checkpoint", given)
    reason = refusal(path) or (None if path.parent.is_dir() else f"there is no directory {path.parent}")
    if reason:
        raise check.wrong_value("fit", "checkpoint", str(given), "the path of a file that can be written", reason)
