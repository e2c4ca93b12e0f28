"""Arrays in an npz file, as many data sets are passed around."""

from __future__ import annotations

import os

import numpy as np

from refimpl import _arguments as check
from refimpl._files import read_arrays
from refimpl.data.files import making
from refimpl.data.task import Task

NAMES = (("train_images", "train_labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test"))
WHOLE = (("images", "labels"), ("images", "target"), ("x", "y"), ("X", "y"), ("data", "labels"), ("data", "target"))
TESTED = 0.2
"""Fraction of each class that is kept for testing where a file does not say what is."""


@making.naming
def read_npz(path: str | os.PathLike, *, name: str | None = None) -> Task:
    """Read a task from an npz file of four arrays, or of two.

    Four are called ``train_images train_labels test_images test_labels`` or ``x_train y_train x_test y_test``.
    Two are ``images`` or ``data`` and ``labels`` or ``target``, or ``x y`` or ``X y``: a fifth of each class,
    rounded up, is kept for testing, the same images every time.  Others in the file are left out.

    Images are of shape (n, height, width), or (n, height, width, channels) or (n, channels, height, width) with
    1, 3 or 4 channels.  Labels are integers from 0 or from 1, of shape (n,) or (n, 1).

    Intensities become float32 in [0, 1]: uint8 is divided by 255, uint16 by 65535; other numbers stay as they
    are where all lie in [0, 1], and else (standardized ones) the least of all images becomes 0 and the largest
    1, by one linear map.  `Task.note` says which.

    Parameters
    ----------
    path : path
    name : str, optional
        Of the task; by default the file's.

    Raises
    ------
    ValueError
        For a file that is missing, damaged or holds pickled objects, and for arrays that are
        missing, larger than 4 GiB, do not fit each other or hold NaN, where the shape does not tell
        which axis is that of the channels, and where one of two arrays' classes has one image alone.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> images, labels = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    ...     read_npz(f"{folder}/mine.npz")
    Task('mine': 4 train, 4 test, 8x8x1, 2 classes, images from '')
    """
    path = check.path("read_npz", "path", path)
    try:
        held = read_arrays(path, only={n for names in NAMES + WHOLE for n in names})
    except ValueError as error:
        raise ValueError(f"{path}: is {error}") from None
    names = next((n for n in NAMES + WHOLE if set(n) <= held.keys()), None)
    if names is None:
        allowed = " or ".join(", ".join(n) for n in NAMES + WHOLE)
        raise ValueError(f"{path}: holds {', '.join(held) or 'nothing'}, expected {allowed}")
    images, labels, *tested = (held.pop(n) for n in names)
    if tested:
        parts, split = [(images, labels), tuple(tested)], "split as in the files"
    else:
        making.shaped(path, images, "images")
        known = making.numbers(path, labels, images, "labels")
        classes, counts = np.unique(known, return_counts=True)
        if counts.min() < 2:
            single = classes[counts.argmin()]
            raise ValueError(f"{path}: class {single} has one image, expected at least two, to train and to test on")
        parts, split = making.split(images, known, TESTED), making.kept(TESTED)
    return making.task(path, name or path.stem, parts, split=split, left_out=", ".join(held))
