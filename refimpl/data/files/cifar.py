"""CIFAR-10 and CIFAR-100, binary version.

A record is one byte of label (CIFAR-100: coarse, then fine) and 3072 bytes of pixels: 32 x 32 red
ones, row by row, then green, then blue.  CIFAR-10 is ``data_batch_1.bin`` to ``data_batch_5.bin``
and ``test_batch.bin`` of 10,000 records each; CIFAR-100 is ``train.bin`` of 50,000 and ``test.bin``
of 10,000.  *Source*: A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images* (2009).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np

from refimpl import _arguments as check
from refimpl.data.files import making
from refimpl.data.task import Task

_PIXELS = 3 * 32 * 32


@making.naming
def read_cifar10(directory: str | os.PathLike, *, records: int | None = 10_000) -> Task:
    """Read CIFAR-10 from a directory with its six files.

    Parameters
    ----------
    directory : path
    records : int, optional
        In each file; None takes any number of complete records.

    Returns
    -------
    Task
        50,000 training and 10,000 test images of shape (32, 32, 3).

    Raises
    ------
    ValueError
        For a file that is missing, has another size or a label above 9; it is named.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:  # files of a black image of each class
    ...     for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
    ...         _ = Path(directory, name).write_bytes(b"".join(bytes([label]) + bytes(3072) for label in range(10)))
    ...     task = read_cifar10(directory, records=10)
    >>> task.train_images.shape, task.test_labels.tolist()
    ((50, 32, 32, 3), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    >>> read_cifar10("nowhere")
    Traceback (most recent call last):
        ...
    ValueError: nowhere/data_batch_1.bin: cannot be read (No such file or directory); give the directory that holds it
    """
    folder, records = check.path("read_cifar10", "directory", directory), _records("read_cifar10", records)
    parts = [_read(folder / f"data_batch_{i}.bin", 1, (10,), records) for i in range(1, 6)]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    test_pixels, test_labels = _read(folder / "test_batch.bin", 1, (10,), records)
    return making.task(folder, "cifar10", [(pixels, labels[:, 0]), (test_pixels, test_labels[:, 0])], 10)


@making.naming
def read_cifar100(
    directory: str | os.PathLike,
    *,
    labels: Literal["fine", "coarse"] = "fine",
    records: tuple[int | None, int | None] = (50_000, 10_000),
) -> Task:
    """Read CIFAR-100 from a directory with ``train.bin`` and ``test.bin``.

    Parameters
    ----------
    directory : path
    labels : str
        ``fine``, the 100 classes, or ``coarse``, the 20 superclasses.
    records : (int or None, int or None)
        In the two files; None takes any number of complete records.

    Raises
    ------
    ValueError
        For an unknown kind of labels, and as `read_cifar10`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:  # a coarse label and a fine one before each image
    ...     for name in ("train.bin", "test.bin"):
    ...         records = [bytes([fine // 5, fine]) + bytes(3072) for fine in range(100)]
    ...         _ = Path(directory, name).write_bytes(b"".join(records))
    ...     found = [read_cifar100(directory, labels=labels, records=(100, 100)) for labels in ("fine", "coarse")]
    >>> [(task.classes, task.train_labels[57].item()) for task in found]
    [(100, 57), (20, 11)]
    >>> read_cifar100("nowhere")
    Traceback (most recent call last):
        ...
    ValueError: nowhere/train.bin: cannot be read (No such file or directory); give the directory that holds it
    """
    check.choice("read_cifar100", "labels", labels, ("fine", "coarse"))
    column, classes = (1, 100) if labels == "fine" else (0, 20)
    parts = [(pixels, known[:, column]) for pixels, known in _cifar100("read_cifar100", directory, records)]
    return making.task(Path(directory), f"cifar100-{labels}", parts, classes)


@making.naming
def cifar100_superclasses(
    directory: str | os.PathLike, *, records: tuple[int | None, int | None] = (50_000, 10_000)
) -> list[Task]:
    """Read the 20 superclasses of CIFAR-100 as tasks of five classes each, as PEPPP did.

    Classes are numbered in the order of their fine labels.  They share no image.

    Raises
    ------
    ValueError
        As `read_cifar100`, and for a superclass that has not five classes.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:  # one image of each of the hundred classes
    ...     for name in ("train.bin", "test.bin"):
    ...         records = [bytes([fine // 5, fine]) + bytes(3072) for fine in range(100)]
    ...         _ = Path(directory, name).write_bytes(b"".join(records))
    ...     tasks = cifar100_superclasses(directory, records=(100, 100))
    >>> len(tasks), tasks[7].classes, tasks[7].train_labels.tolist()
    (20, 5, [0, 1, 2, 3, 4])
    >>> cifar100_superclasses("nowhere")
    Traceback (most recent call last):
        ...
    ValueError: nowhere/train.bin: cannot be read (No such file or directory); give the directory that holds it
    """
    files = _cifar100("cifar100_superclasses", directory, records)
    return [_superclass(directory, files, coarse) for coarse in range(20)]


@making.naming
def cifar100_superclass(
    directory: str | os.PathLike, coarse: int, *, records: tuple[int | None, int | None] = (50_000, 10_000)
) -> Task:
    """Read one of the tasks of `cifar100_superclasses`, 0 to 19."""
    coarse = check.integer("cifar100_superclass", "coarse", coarse, check.Interval(0, 19))
    return _superclass(directory, _cifar100("cifar100_superclass", directory, records), coarse)


def _superclass(directory, files, coarse: int) -> Task:
    """Return the images of one superclass; files are (pixels, labels) of train.bin and test.bin."""
    (_, labels), (_, test_labels) = files
    chosen = [part[1][:, 0] == coarse for part in files]
    fine = np.unique(labels[chosen[0], 1])
    if len(fine) != 5 or not np.isin(test_labels[chosen[1], 1], fine).all():
        raise ValueError(
            f"{directory}: superclass {coarse} has the classes {fine.tolist()} in train.bin, "
            "it should have five; the file is damaged or not CIFAR-100"
        )
    pairs = [(part[0][mine], np.searchsorted(fine, part[1][mine, 1])) for part, mine in zip(files, chosen, strict=True)]
    return making.task(Path(directory), f"cifar100-{coarse}", pairs, 5)


def _cifar100(caller: str, directory, records):
    folder = check.path(caller, "directory", directory)
    if not isinstance(records, (tuple, list)) or len(records) != 2:
        raise check.wrong_kind(caller, "records", records, "two integers or None")
    counts = [_records(caller, count) for count in records]
    return [_read(folder / f"{part}.bin", 2, (20, 100), n) for part, n in zip(("train", "test"), counts, strict=True)]


def _records(caller: str, records) -> int | None:
    return None if records is None else check.integer(caller, "records", records, check.Interval(1))


def _read(path: Path, labels: int, classes: tuple[int, ...], records: int | None):
    """Return pixels (n, 3, 32, 32) and labels (n, labels) of one file."""
    size = labels + _PIXELS
    wanted = f"{records} records of {size} bytes" if records else f"records of {size} bytes"
    try:
        held = path.stat().st_size
        if held == 0 or held % size or (records and held != records * size):
            raise ValueError(f"{path}: has {held} bytes, expected {wanted}; it is cut short, or not the binary version")
        raw = np.fromfile(path, np.uint8).reshape(-1, size)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give the directory that holds it") from None
    for column, limit in enumerate(classes):
        wrong = np.flatnonzero(raw[:, column] >= limit)
        if wrong.size:
            raise ValueError(
                f"{path}: record {wrong[0]} has the label {raw[wrong[0], column]}, allowed are 0 to "
                f"{limit - 1}; the file is damaged or not this data set"
            )
    return raw[:, labels:].reshape(-1, 3, 32, 32), raw[:, :labels].astype(np.int64)
