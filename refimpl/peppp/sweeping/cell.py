"""One training of a sweep: a row (a data set and how it is trained) in one configuration, from one seed.

A row is written ``DATA`` or ``DATA@SETTING=VALUE,...``: ``greek-clean@model=lenet,loss_scale=1`` is the task
greek-clean, trained as the sweep's `Settings` say, but for these two.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from refimpl import data, nn
from refimpl._arguments import FLOAT32, Interval, instance, integer, message, number, seed, unknown
from refimpl.peppp import memory
from refimpl.peppp.configs import Configuration, configuration

__all__ = ["Settings", "batch_fits", "first_batches", "memory_of", "name_of", "row_of", "split", "train_cell"]


@dataclass(frozen=True)
class Settings:
    """How every cell is trained.

    Parameters
    ----------
    model : str or callable
        A name in `refimpl.nn.models.NETWORKS`, or a function that takes the shape of an input and the number of
        classes and returns a network; it, or its name as ``package.module:function``. Kept is the name, by which
        worker processes import it.
    epochs, batch_size, learning_rate
        As of `refimpl.nn.fit`.
    loss_scale : float
        As of `refimpl.nn.Precision`.
    seed : int
        Of the first training of a cell; repeats take the seeds that follow.

    Examples
    --------
    >>> Settings(model="lenet", epochs=20)
    Settings(model='lenet', epochs=20, batch_size=32, learning_rate=0.05, loss_scale=1000.0, seed=0)
    """

    model: str = "cnn"
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.05
    loss_scale: float = 1000.0
    seed: int = 0

    def __post_init__(self):
        if callable(self.model):
            name = f"{self.model.__module__}:{getattr(self.model, '__qualname__', type(self.model).__name__)}"
            object.__setattr__(self, "model", name)
        instance("Settings", "model", self.model, str, "the name of a network, or package.module:function")
        if ":" not in self.model and self.model not in nn.models.NETWORKS:
            raise unknown("Settings", "model", self.model, list(nn.models.NETWORKS), "or package.module:function")
        integer("Settings", "epochs", self.epochs, Interval(1))
        integer("Settings", "batch_size", self.batch_size, Interval(1))
        number("Settings", "learning_rate", self.learning_rate, FLOAT32)
        seed("Settings", self.seed)
        nn.Precision(loss_scale=self.loss_scale)  # raises where the scale makes no sense


VARIED: dict[str, type] = {"model": str, "epochs": int, "batch_size": int, "learning_rate": float, "loss_scale": float}
"""What a row may set for itself."""


def row_of(row: str | data.Task, settings: Settings) -> tuple[data.Task, Settings]:
    """Return the task of a row and how it is trained.

    Raises
    ------
    ValueError
        For a data set that `refimpl.data.load` does not know, for a setting there is none of or given twice, and for
        a value that `Settings` refuses; the message begins with the row.

    Examples
    --------
    >>> row_of("digits@model=mlp,loss_scale=1", Settings(epochs=3))
    (Task('digits': 1437 train, 360 test, 8x8x1, 10 classes, images from 'digits'), \
Settings(model='mlp', epochs=3, batch_size=32, learning_rate=0.05, loss_scale=1.0, seed=0))
    """
    if isinstance(row, data.Task):
        return row, settings
    name, settings = split(row, settings)
    return data.load(name), settings


def split(row: str, settings: Settings) -> tuple[str, Settings]:
    """Return the name of the data of a row and how it is trained; see `row_of`."""
    name, at, given = row.rpartition("@")
    if not at or "=" not in given:  # a path may hold an @
        return row, settings
    changes = {}
    for part in given.split(","):
        key, _, text = part.partition("=")
        if key not in VARIED:
            raise unknown(row, "setting", key, list(VARIED))
        if key in changes:
            raise ValueError(message(row, key, "given twice", "once"))
        try:
            changes[key] = VARIED[key](text)
        except ValueError:
            raise ValueError(message(row, key, repr(text), f"of type {VARIED[key].__name__}")) from None
    try:
        return name, replace(settings, **changes)
    except ValueError as error:
        raise ValueError(f"{row}: {error}") from None


def name_of(row: str | data.Task) -> str:
    """Return what a row is called."""
    return row.name if isinstance(row, data.Task) else row


@functools.lru_cache(maxsize=4)
def _loaded(name: str, fingerprint: str) -> data.Task:
    """Return a data set whose content is known; workers read it once for all of its cells."""
    return data.load(name)


def train_cell(
    row: str | data.Task, configuration_name: str, settings: Settings, fingerprint: str | None = None
) -> dict:
    """Train one row in one configuration, from the seed of the settings.

    Parameters
    ----------
    row : str or Task
        See `row_of`.
    configuration_name : str
    settings : Settings
    fingerprint : str, optional
        Of the task, if known: then a row of that data is not read anew for each cell.

    Returns
    -------
    dict
        ``task configuration seed data error seconds diverged fall``: ``data`` is the fingerprint of the images
        and labels, ``error`` that on the test images, ``fall`` by how much the error on the training images
        still fell in the last quarter of the epochs.

    Examples
    --------
    >>> cell = train_cell("digits", "e4m3+e8m7", Settings(epochs=1))
    >>> 0 <= cell["error"] <= 1
    True
    """
    if isinstance(row, str) and fingerprint is not None:
        name, how = split(row, settings)
        task = _loaded(name, fingerprint)
    else:
        task, how = row_of(row, settings)
    formats = configuration(configuration_name)
    result = nn.fit(
        _network(task, how),
        task,
        precision=nn.Precision(low=formats.low, high=formats.high, loss_scale=how.loss_scale),
        epochs=how.epochs,
        batch_size=how.batch_size,
        learning_rate=how.learning_rate,
        seed=how.seed,
    )
    before = result.history[max(0, 3 * len(result.history) // 4 - 1)]["error"]
    return {
        "task": name_of(row),
        "configuration": configuration_name,
        "seed": how.seed,
        "data": task.fingerprint,
        "error": result.test_error,
        "seconds": round(result.seconds, 3),
        "diverged": result.diverged,
        "fall": round(before - result.history[-1]["error"], 6),
    }


def _network(task: data.Task, settings: Settings) -> nn.layers.Sequential:
    words = getattr(task, "words", None)  # of a task of text
    return nn.network(settings.model, task.train_images.shape[1:], task.classes, words=words)


def memory_of(task: data.Task, configurations: Iterable[Configuration], settings: Settings) -> np.ndarray:
    """Return the memory, in MB of 2^20 bytes, of training a task in each configuration.

    Examples
    --------
    >>> memory_of(data.load("digits"), [configuration("e3m1+e6m7")], Settings()).round(3).tolist()
    [0.283]
    """
    network, shape = _network(task, settings), task.train_images.shape[1:]
    return np.array([memory.count(network, shape, c, batch_size=settings.batch_size).total_mb for c in configurations])


def batch_fits(task: data.Task, batch_size: int) -> None:
    """Raise ValueError where a batch is larger than a task's training set."""
    if batch_size > len(task.train_labels):
        allowed = f"at most {len(task.train_labels)}, the number of its training images"
        raise ValueError(message(task.name, "batch_size", f"{batch_size}", allowed))


def first_batches(task: data.Task, settings: Settings, batches: int = 1) -> data.Task:
    """Return the beginning of a task, to compile what training it needs, or to see how long that takes.

    Labels are made up: every class must occur, and data may be sorted by class.
    """
    count = max(settings.batch_size * batches, task.classes)
    images = task.train_images[:count]
    return replace(
        task,
        train_images=images,
        train_labels=np.arange(len(images)) % task.classes,
        test_images=task.test_images[:count],
        test_labels=task.test_labels[:count],
    )
