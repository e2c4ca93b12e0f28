"""Arrays in an npz file, as many data sets are passed around."""

from __future__ import annotations

import os
import zipfile
import zlib

import numpy as np

from refimpl import _arguments as check
from refimpl.data.files import making
from refimpl.data.task import Task

NAMES = (("train_images", "train_labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test"))


def read_npz(path: str | os.PathLike, *, name: str | None = None) -> Task:
    """Read a task from an npz file of four arrays.

    They are called ``train_images train_labels test_images test_labels`` or ``x_train y_train
    x_test y_test``: images uint8, or floats in [0, 1], of shape (n, height, width) or (n, height,
    width, channels); labels integers from 0.

    Parameters
    ----------
    path : path
    name : str, optional
        Of the task; by default the file's.

    Raises
    ------
    ValueError
        For a file that is missing, damaged or holds pickled objects, and for arrays that are
        missing, do not fit each other, or hold NaN.
    """
    path = check.path("read_npz", "path", path)
    try:
        with np.load(path, allow_pickle=False) as file:
            names = next((n for n in NAMES if set(n) <= set(file.files)), None)
            if names is None:
                raise ValueError(
                    f"{path}: holds {', '.join(file.files) or 'nothing'}, expected "
                    f"{' or '.join(', '.join(n) for n in NAMES)}"
                )
            arrays = [file[n] for n in names]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, AttributeError):
        raise ValueError(f"{path}: is not an npz file, or cut short or damaged") from None
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise ValueError(f"{path}: holds pickled objects, which are never read; save plain arrays") from None
        raise
    pairs = []
    for images, labels, which in ((*arrays[:2], "training"), (*arrays[2:], "test")):
        if labels.dtype.kind not in "iu" or labels.ndim != 1 or len(labels) != len(images):
            raise ValueError(
                f"{path}: the {which} labels are {labels.dtype} {labels.shape}, expected integers "
                f"({len(images)},), one for each image"
            )
        if images.ndim not in (3, 4) or images.size == 0:
            raise ValueError(
                f"{path}: the {which} images have the shape {images.shape}, expected (n, height, width) "
                "or (n, height, width, channels)"
            )
        if images.dtype != np.uint8:
            if images.dtype.kind != "f" or not (images.min() >= 0 and images.max() <= 1):
                raise ValueError(
                    f"{path}: the {which} images are {images.dtype} from {images.min()} to {images.max()}, "
                    "expected uint8, or finite floats in [0, 1]"
                )
        pairs.append((images, labels.astype(np.int64)))
    if min(labels.min() for _, labels in pairs) < 0:
        raise ValueError(f"{path}: a label is below 0; number the classes from 0")
    classes = int(max(labels.max() for _, labels in pairs)) + 1
    return making.task(name or path.stem, pairs, classes)
