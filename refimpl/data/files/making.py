"""What the readers have in common: reading bytes, and making tasks of 8-bit images."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from refimpl.data.task import Task


def content(path: Path) -> bytes:
    """Read a file whole, a gzip one unpacked; ValueError naming it if that fails."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ValueError(f"{path}: the gzip file is cut short or damaged; get it again") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give the directory that holds it") from None


def intensities(pixels: np.ndarray) -> np.ndarray:
    """Return 8-bit pixels as float32 in [0, 1], with a channel axis; floats as they are."""
    if pixels.ndim == 3:
        pixels = pixels[..., np.newaxis]
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    return pixels.astype(np.float32) / np.float32(255)


def task(name: str, parts, classes: int) -> Task:
    """Make a Task of two pairs (pixels, labels); ValueError for a class nobody has an image of."""
    train, test = parts
    present = np.bincount(train[1], minlength=classes)
    if not present.all():
        raise ValueError(
            f"{name}: class {int(np.argmin(present))} has no training image; leave it out, and number the others from 0"
        )
    return Task(
        name=name,
        train_images=intensities(train[0]),
        train_labels=np.asarray(train[1], np.int64),
        test_images=intensities(test[0]),
        test_labels=np.asarray(test[1], np.int64),
        classes=classes,
        images_from="",
    )
