"""IDX files, the format of MNIST, Fashion-MNIST, EMNIST: plain or gzip.

Big-endian: two zero bytes, one of type (8: unsigned byte), one with the number of axes, four bytes
for each axis, then the elements, last axis fastest.  *Source*: Y. LeCun, C. Cortes, C. Burges, *The
MNIST database of handwritten digits*.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from refimpl import _arguments as check
from refimpl.data.files import making
from refimpl.data.task import Task

_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_array(path: str | os.PathLike) -> np.ndarray:
    """Read one IDX file.

    Returns
    -------
    ndarray
        Of the file's shape, and its type in native byte order.

    Raises
    ------
    ValueError
        For a file that is missing, not an IDX file, or not as long as its header says; it is named.
    """
    path = check.path("read_array", "path", path)
    raw = making.content(path)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _TYPES or not raw[3]:
        raise ValueError(f"{path}: begins with {raw[:4].hex() or 'nothing'}, which is not the header of an IDX file")
    axes, dtype = raw[3], np.dtype(_TYPES[raw[2]])
    start = 4 + 4 * axes
    if len(raw) < start:
        raise ValueError(f"{path}: its header is cut short; get the file again")
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", axes, 4))
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=object))
    if len(raw) != expected:
        raise ValueError(
            f"{path}: has {len(raw)} bytes, a file of shape {shape} has {expected}; it is cut short or damaged"
        )
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_idx(directory: str | os.PathLike, *, name: str = "mnist", classes: int | None = 10) -> Task:
    """Read a data set in MNIST's four files from a directory, each plain or with ``.gz``.

    They are called ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
    ``t10k-images-idx3-ubyte``, ``t10k-labels-idx1-ubyte``.

    Parameters
    ----------
    directory : path
    name : str
        Of the task.
    classes : int or None
        None: as many as the labels say.

    Raises
    ------
    ValueError
        For a file that is missing, damaged, or does not fit the others; it is named.
    """
    folder, pairs = check.path("read_idx", "directory", directory), []
    if classes is not None:
        check.integer("read_idx", "classes", classes, check.Interval(2))
    for part in ("train", "t10k"):
        images, labels = (_find(folder, f"{part}-{what}") for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        pixels, known = read_array(images), read_array(labels)
        if pixels.ndim != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
            raise ValueError(
                f"{images}: holds {pixels.dtype} of shape {pixels.shape}, expected uint8 (n, height, width)"
            )
        if known.shape != pixels.shape[:1] or known.dtype != np.uint8:
            raise ValueError(
                f"{labels}: holds {known.dtype} of shape {known.shape}, expected uint8 "
                f"({len(pixels)},), one label for each of the images"
            )
        if classes is not None and known.max() >= classes:
            raise ValueError(
                f"{labels}: label {known.max()} of image {int(known.argmax())}, allowed are "
                f"0 to {classes - 1}; give more classes"
            )
        pairs.append((pixels, known.astype(np.int64)))
    if classes is None:
        classes = int(max(known.max() for _, known in pairs)) + 1
    return making.task(name, pairs, classes)


def _find(directory: Path, name: str) -> Path:
    for candidate in (directory / name, directory / f"{name}.gz"):
        if candidate.exists():
            return candidate
    raise ValueError(f"{directory}: has neither {name} nor {name}.gz; give the directory that holds them")
