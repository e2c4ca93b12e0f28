"""What the readers have in common: what counts as a file, layouts, intensities, and tasks with a line on them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from refimpl.data.task import Task

Reader = TypeVar("Reader", bound=Callable)
CHANNELS = (1, 3, 4)
SYSTEM = ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information", "lost+found")


def naming(reader: Reader) -> Reader:
    """Let a reader name its file or directory, the first argument, where memory does not suffice."""

    @functools.wraps(reader)
    def wrapped(*args, **options):
        try:
            return reader(*args, **options)
        except MemoryError:
            path = [*args, *options.values()][0]
            raise ValueError(f"{path}: is more than fits into memory; take fewer or smaller images") from None

    return wrapped  # type: ignore[return-value]


def listed(folder: Path) -> list[Path]:
    """Return what lies in a directory, by name; not what is hidden, or left there by systems and editors."""
    try:
        found = [p for p in folder.iterdir() if not p.name.startswith(".") and p.name.lower() not in SYSTEM]
    except OSError as error:
        raise ValueError(f"{folder}: cannot be read ({error.strerror})") from None
    return sorted(found, key=lambda p: p.name)


def kept(fraction: float) -> str:
    """Say what `split` does."""
    return f"{fraction:.0%} of each class to test"


def split(images: np.ndarray, labels: np.ndarray, fraction: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Keep a fraction of each class for testing, rounded up, but not all of it.

    The first images in the order of sorted random numbers that are the same every time.

    Returns
    -------
    list of (images, labels)
        To train and to test on.
    """
    order = np.random.Philox(key=0).random_raw(len(labels))
    tested = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        mine = mine[np.argsort(order[mine], kind="stable")]
        tested[mine[: min(int(np.ceil(fraction * len(mine))), len(mine) - 1)]] = True
    return [(images[~tested], labels[~tested]), (images[tested], labels[tested])]


def shaped(path: Path, images: np.ndarray, which: str) -> None:
    """Raise ValueError where an array has not the axes of images."""
    if images.ndim not in (3, 4) or images.size == 0:
        raise ValueError(
            f"{path}: the {which} have the shape {images.shape}, expected (n, height, width), "
            "(n, height, width, channels) or (n, channels, height, width)"
        )


def _channels_last(path: Path, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Return images as (n, height, width, channels), and how they lay; ValueError where that is not clear."""
    shaped(path, train, "training images")
    shaped(path, test, "test images")
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(f"{path}: training images are {train.shape[1:]} and test images {test.shape[1:]}")
    if train.ndim == 3:
        return train[..., np.newaxis], test[..., np.newaxis], "(n, height, width)"
    first, last = train.shape[1] in CHANNELS, train.shape[3] in CHANNELS
    if first == last:
        hint = (
            "pad the images, or leave an axis of one channel out"
            if first
            else "a refimpl.data.Task of one's own holds any number"
        )
        raise ValueError(
            f"{path}: images of shape {train.shape[1:]} do not say where their channels are, expected 1, 3 or 4 "
            f"of them in either the first or the last axis; {hint}"
        )
    if last:
        return train, test, "(n, height, width, channels)"
    return np.moveaxis(train, 1, 3), np.moveaxis(test, 1, 3), "(n, channels, height, width)"


def _in_0_to_1(path: Path, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Return intensities in [0, 1] as float32, and by which linear map, one for all of them."""
    kinds = [x.dtype.kind if x.dtype.kind == "f" else x.dtype.newbyteorder("=") for x in (train, test)]
    if train.dtype.kind not in "buif" or kinds[0] != kinds[1]:
        raise ValueError(
            f"{path}: training images are {train.dtype} and test images {test.dtype}, expected uint8, uint16 or "
            "other real numbers, the same kind in both"
        )
    low, high = float(np.minimum(train.min(), test.min())), float(np.maximum(train.max(), test.max()))
    if not np.isfinite(high - low):
        raise ValueError(f"{path}: intensities are from {low:g} to {high:g}, expected finite numbers")
    if train.dtype in (np.uint8, np.uint16) and high > 1:
        largest = np.iinfo(train.dtype).max
        said = f"divided by {largest}"
        scaled = [np.divide(x, largest, dtype=np.float32, order="C") for x in (train, test)]
    elif 0 <= low and high <= 1:
        said = "intensities as they are"
        scaled = [x.astype(np.float32, order="C", copy=False) for x in (train, test)]
    elif low < high:
        said = f"intensities from {low:.4g} to {high:.4g} brought to 0 to 1"
        scaled = [((x.astype(np.float64, order="C") - low) / (high - low)).astype(np.float32) for x in (train, test)]
    else:
        raise ValueError(f"{path}: intensities are all {low:g}, expected some in [0, 1], or different ones")
    return scaled[0], scaled[1], said


def numbers(path: Path, labels: np.ndarray, images: np.ndarray, which: str) -> np.ndarray:
    """Return labels as int64 (n,); they may come as (n, 1)."""
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(images),), (len(images), 1)):
        raise ValueError(
            f"{path}: the {which} are {labels.dtype} {labels.shape}, expected integers "
            f"({len(images)},) or ({len(images)}, 1), one for each image"
        )
    return labels.reshape(-1).astype(np.int64)


def task(
    path: Path,
    name: str,
    parts,
    classes: int | None = None,
    *,
    layout="",
    scale="",
    split="split as in the files",
    left_out="",
) -> Task:
    """Make a Task of two pairs (pixels, labels).

    Parameters
    ----------
    path : path
        That messages name.
    name : str
        Of the task.
    parts : pairs of arrays
        Training and test images, in any of the layouts and scales above, and their labels.
    classes : int, optional
        Without it as many as the labels say, which may then begin at 1.
    layout, scale, split, left_out : str
        What `Task.note` says of these.  With `layout` images are (n, height, width, channels) already, and
        with `scale` in [0, 1].

    Raises
    ------
    ValueError
        For arrays that do not fit each other, NaN, labels below 0, and a class nobody has an image of.
    """
    (train, train_labels), (test, test_labels) = parts
    if not layout:
        train, test, layout = _channels_last(path, train, test)
    known = [
        numbers(path, labels, images, which)
        for labels, images, which in ((train_labels, train, "training labels"), (test_labels, test, "test labels"))
    ]
    least = min(labels.min() for labels in known)
    if least < 0:
        raise ValueError(f"{path}: a label is {least}; number the classes from 0")
    shifted = ""
    if classes is None:
        if least == 1:
            known = [labels - 1 for labels in known]
            shifted = "labels from 1 taken as from 0"
        classes = int(max(labels.max() for labels in known)) + 1
    present = np.unique(known[0])
    if len(present) < classes:
        absent = int(np.argmax(np.append(present, -1) != np.arange(len(present) + 1)))
        raise ValueError(f"{path}: class {absent} has no training image; leave it out, and number the others from 0")
    train, test, found = _in_0_to_1(path, train, test)
    n, height, width, channels = train.shape
    said = (
        f"{n} training and {len(test)} test images of {height} x {width} pixels and {channels} "
        f"channel{'s' * (channels > 1)}, {classes} classes",
        f"read as {layout}",
        scale or found,
        split,
        shifted,
        left_out and f"left out: {left_out}",
    )
    try:
        return Task(name, train, known[0], test, known[1], classes, images_from="", note="; ".join(filter(None, said)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
