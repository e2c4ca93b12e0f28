"""Images in folders: one folder for each class, PNG or JPEG.

Either the directory holds the class folders, and a fraction of each class is kept for testing, or it
holds ``train`` and ``test`` with the same class folders in both.  Classes are numbered in the order
of their names.  Images are read by Pillow, which Matplotlib brings.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from refimpl import _arguments as check
from refimpl.data.files import making
from refimpl.data.task import Task

ENDINGS = (".png", ".jpg", ".jpeg")


def read_folder(
    directory: str | os.PathLike,
    *,
    name: str | None = None,
    size: tuple[int, int] | None = None,
    grey: bool = False,
    test_fraction: float = 0.2,
) -> Task:
    """Read a directory of class folders.

    Parameters
    ----------
    directory : path
    name : str, optional
        Of the task; by default the directory's.
    size : (int, int), optional
        Height and width to bring every image to; without it all must be alike.
    grey : bool
        One channel instead of red, green and blue.
    test_fraction : float
        Of each class, rounded up, where there are no ``train`` and ``test``: the first ones in the
        order of sorted random numbers that are the same every time.

    Raises
    ------
    ValueError
        For a directory without images, a class folder without any, an image that cannot be read or
        has another size than the first; it is named.
    """
    caller = "read_folder"
    root = check.path(caller, "directory", directory)
    check.flag(caller, "grey", grey)
    check.number(caller, "test_fraction", test_fraction, check.Interval(0, 1, open_low=True, open_high=True))
    if size is not None:
        for i, length in enumerate(check.sequence(caller, "size", size, "(32, 32)", 2)):
            check.integer(caller, f"size[{i}]", length, check.Interval(1))
    if not root.is_dir():
        raise ValueError(f"{root}: is not a directory; give one with a folder for each class")
    if (root / "train").is_dir() and (root / "test").is_dir():
        classes = _classes(root / "train")
        if _classes(root / "test") != classes:
            raise ValueError(
                f"{root}: train has the classes {classes} and test {_classes(root / 'test')}; they must be the same"
            )
        pairs = [_read(root / part, classes, size, grey) for part in ("train", "test")]
    else:
        classes = _classes(root)
        pixels, labels = _read(root, classes, size, grey)
        tested = _held_out(labels, len(classes), test_fraction)
        pairs = [(pixels[~tested], labels[~tested]), (pixels[tested], labels[tested])]
    return making.task(name or root.name, pairs, len(classes))


def _classes(root: Path) -> list[str]:
    found = sorted(p.name for p in root.iterdir() if p.is_dir())
    if len(found) < 2:
        raise ValueError(f"{root}: has {len(found)} folders, expected one for each of at least two classes")
    return found


def _held_out(labels, classes, fraction):
    """Return which images are for testing."""
    order = np.random.Philox(key=0).random_raw(len(labels))
    tested = np.zeros(len(labels), bool)
    for label in range(classes):
        mine = np.flatnonzero(labels == label)
        mine = mine[np.argsort(order[mine], kind="stable")]
        tested[mine[: int(np.ceil(fraction * len(mine)))]] = True
    return tested


def _read(root, classes, size, grey):
    pixels, labels, first = [], [], None
    for label, folder in enumerate(classes):
        files = sorted(p for p in (root / folder).iterdir() if p.suffix.lower() in ENDINGS)
        if not files:
            raise ValueError(f"{root / folder}: has no {', '.join(ENDINGS)} file; fill or remove the folder")
        for file in files:
            image = _image(file, size, grey)
            first = first or (file, image.shape)
            if image.shape != first[1]:
                raise ValueError(
                    f"{file}: is {image.shape[:2]} (height, width), {first[0].name} is {first[1][:2]}; "
                    "give a size to bring all images to"
                )
            pixels.append(image)
            labels.append(label)
    return np.stack(pixels), np.array(labels, np.int64)


def _image(path: Path, size, grey) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            image = file.convert("L" if grey else "RGB")
            if size is not None:
                image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.array(image, np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as PNG or JPEG ({error}); replace or remove it") from None
