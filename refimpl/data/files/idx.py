"""IDX files, the format of MNIST, Fashion-MNIST, EMNIST: plain or gzip.

Big-endian: two zero bytes, one of type (8: unsigned byte), one with the number of axes, four bytes
for each axis, then the elements, last axis fastest.  *Source*: Y. LeCun, C. Cortes, C. Burges, *The
MNIST database of handwritten digits*.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from refimpl import _arguments as check
from refimpl._files import DEFLATE, LARGEST
from refimpl.data.files import making
from refimpl.data.task import Task

_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_NAME = re.compile(r"(?:(.+)-)?(train|test|t10k)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?")


def read_array(path: str | os.PathLike) -> np.ndarray:
    """Read one IDX file.

    Returns
    -------
    ndarray
        Of the file's shape, and its type in native byte order.

    Raises
    ------
    ValueError
        For a file that is missing, not an IDX file, not as long as its header says, or larger than 4 GiB; it is
        named.
    """
    path = check.path("read_array", "path", path)
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            held = raw.seek(0, os.SEEK_END)
            raw.seek(0)
            if not packed:
                return _array(path, raw, held, "")
            with gzip.open(raw) as unpacked:
                return _array(path, unpacked, DEFLATE * held, "gzip ")
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ValueError(f"{path}: the gzip file is cut short or damaged; get it again") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give the directory that holds it") from None


def _array(path: Path, file: IO[bytes] | gzip.GzipFile, most: int, kind: str) -> np.ndarray:
    """Read an array from a file of at most so many bytes, which are all of a plain one."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not 1 <= head[3] <= 4:
        raise ValueError(f"{path}: begins with {head.hex() or 'nothing'}, which is not the header of an IDX file")
    axes, dtype = head[3], np.dtype(_TYPES[head[2]])
    sizes = file.read(4 * axes)
    if len(sizes) < 4 * axes:
        raise ValueError(f"{path}: its header is cut short; get the file again")
    shape = struct.unpack(f">{axes}I", sizes)
    size = dtype.itemsize * math.prod(shape)
    expected = 4 + 4 * axes + size
    if size > LARGEST:
        raise ValueError(f"{path}: says that it holds {size} bytes of shape {shape}, more than the {LARGEST} allowed")
    content = file.read(size) if expected <= most else b""
    if len(content) < size or file.read(1):
        raise ValueError(
            f"{path}: has not the {expected} bytes of a {kind}file of shape {shape}; it is cut short or damaged"
        )
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def sets(directory: Path) -> dict[str, dict[tuple[str, str], Path]]:
    """Return the IDX files of a directory: by set ("" or such as "letters"), then by part and content."""
    found: dict[str, dict[tuple[str, str], Path]] = {}
    for path in making.listed(directory):
        name = _NAME.fullmatch(path.name)
        if name and path.is_file():
            subset, part, what = (name[1] or "").rpartition("-")[2], name[2].replace("t10k", "test"), name[3]
            found.setdefault(subset, {}).setdefault((part, what), path)  # the plain one, which comes first
    return found


@making.naming
def read_idx(
    directory: str | os.PathLike, *, name: str = "mnist", classes: int | None = 10, subset: str | None = None
) -> Task:
    """Read a data set in MNIST's four files from a directory, each plain or with ``.gz``.

    They are called ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
    ``t10k-images-idx3-ubyte``, ``t10k-labels-idx1-ubyte``; or with a dot before ``idx``, ``test`` for ``t10k``,
    and the name of a set before, as in ``emnist-letters-train-images-idx3-ubyte.gz``.  Intensities are divided
    by 255.  (EMNIST's images lie on their side in its files, and stay so.)

    Parameters
    ----------
    directory : path
    name : str
        Of the task.
    classes : int or None
        None: as many as the labels say, which may then begin at 1, as those of EMNIST's letters.
    subset : str, optional
        Which set, such as ``letters``, where the directory holds several.

    Raises
    ------
    ValueError
        For a file that is missing, damaged, or does not fit the others; it is named.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:  # two images of 4 x 3 pixels in each part, a 1 and a 0
    ...     for part in ("train", "t10k"):
    ...         images = struct.pack(">4B3I", 0, 0, 8, 3, 2, 4, 3) + bytes(range(24))
    ...         _ = Path(directory, f"{part}-images-idx3-ubyte").write_bytes(images)
    ...         labels = struct.pack(">4BI", 0, 0, 8, 1, 2) + bytes([1, 0])
    ...         _ = Path(directory, f"{part}-labels-idx1-ubyte").write_bytes(labels)
    ...     task = read_idx(directory, classes=2)
    >>> task.train_images.shape, task.train_labels.tolist()
    ((2, 4, 3, 1), [1, 0])
    >>> read_idx("nowhere")
    Traceback (most recent call last):
        ...
    ValueError: nowhere: cannot be read (No such file or directory)
    """
    folder, pairs = check.path("read_idx", "directory", directory), []
    if classes is not None:
        check.integer("read_idx", "classes", classes, check.Interval(2))
    held = sets(folder)
    subset = next(iter(held)) if subset is None and len(held) == 1 else subset or ""
    if subset not in held:
        raise ValueError(
            f"{folder}: holds {'the sets ' + ', '.join(held) if held else 'no IDX files'}; "
            f"name one of them, as in {folder}#{next(iter(held), 'letters')}"
        )
    for part in ("train", "test"):
        for what in ("images", "labels"):
            if (part, what) not in held[subset]:
                raise ValueError(f"{folder}: has no {part} {what} beside {next(iter(held[subset].values())).name}")
        images, labels = (held[subset][part, what] for what in ("images", "labels"))
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
        pairs.append((pixels, known))
    others = ", ".join(f"the set {other or 'without a name'}" for other in held if other != subset)
    return making.task(folder, name, pairs, classes, left_out=others)
