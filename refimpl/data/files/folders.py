"""Images in folders: one folder for each class, PNG or JPEG.

Either the directory holds the class folders, and a fraction of each class is kept for testing, or it
holds a folder ``train`` with them (or ``training``, ``train_set``, ``training_set``, in small letters or
large), and ``test`` (``testing``, ``test_set``) or else ``validation`` (``valid``, ``val``) with the same ones;
where none of these has class folders, a fraction of ``train`` is kept.  Classes are numbered in the order of
their names.  Hidden files and folders and those of systems (``.ipynb_checkpoints``, ``__MACOSX``) are not seen;
files with other endings and folders inside class folders are left out, and counted in `Task.note`.

Images are read by Pillow, which Matplotlib brings: turned as their EXIF data say, transparent ones laid on
white, grey ones of 16 bits divided by 65535 and all others, of 8 bits, by 255 (Pillow reads colours of 16 bits
with 8).
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from refimpl import _arguments as check
from refimpl._files import LARGEST
from refimpl.data.files import making
from refimpl.data.task import Task

ENDINGS = (".png", ".jpg", ".jpeg")
TRAIN = ("train", "training", "train_set", "training_set")
TEST = ("test", "testing", "test_set", "validation", "valid", "val")


@making.naming
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
        Of each class, rounded up, but not all of it, where there are no ``train`` and ``test``: the first
        ones in the order of sorted random numbers that are the same every time.

    Raises
    ------
    ValueError
        For a directory without images, a class folder without any or with one alone to be trained and
        tested on, an image that cannot be read, has another size than the first or more than 89 million
        pixels, and for more than 4 GiB of images; the file or folder is named.

    Examples
    --------
    >>> import tempfile, matplotlib.image
    >>> with tempfile.TemporaryDirectory() as directory:  # five pictures of each of two classes
    ...     for name in [f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(5)]:
    ...         Path(directory, name).parent.mkdir(exist_ok=True)
    ...         matplotlib.image.imsave(Path(directory, name), np.zeros((16, 12, 3)))
    ...     task = read_folder(directory, name="photos")
    >>> task.train_images.shape, task.train_labels.tolist(), task.test_labels.tolist()
    ((8, 16, 12, 3), [0, 0, 0, 0, 1, 1, 1, 1], [0, 1])
    >>> read_folder("nowhere")
    Traceback (most recent call last):
        ...
    ValueError: nowhere: is not a directory; give one with a folder for each class
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
    folders, seen, left_out = _folders(root), Counter[str](), list[Path]()
    train = next((folders[n] for n in TRAIN if n in folders), root)
    if not _folders(train):  # a class of that name
        train = root
    test = next((folders[n] for n in TEST if n in folders and _folders(folders[n])), None) if train != root else None
    if train != root:
        left_out += [p for p in making.listed(root) if p not in (train, test)]
    classes = _classes(train)
    if test and _classes(test) != classes:
        raise ValueError(
            f"{root}: {train.name} has the classes {classes} and {test.name} {_classes(test)}; they must be the same"
        )
    pairs = [_read(part, classes, size, grey, seen, left_out) for part in (train, test) if part]
    split = f"trained on {train.name}, tested on {test.name}" if test else making.kept(test_fraction)
    if not test:
        pixels, labels = pairs[0]
        single = np.flatnonzero(np.bincount(labels) < 2)
        if single.size:
            raise ValueError(
                f"{train / classes[single[0]]}: has one image, expected at least two, to train and to test on; "
                "add to it, or remove the folder"
            )
        pairs = making.split(pixels, labels, test_fraction)
    scale = ", ".join(["divided by 255", *(f"{count} {what}" for what, count in seen.items() if count)])
    said = {"scale": scale, "split": split, "left_out": _counted(root, left_out)}
    return making.task(
        root, name or root.name, pairs, len(classes), layout="grey" if grey else "red, green and blue", **said
    )


def _folders(root: Path) -> dict[str, Path]:
    """Return the folders in a directory by their names in small letters."""
    return {p.name.lower(): p for p in making.listed(root) if p.is_dir()}


def _classes(root: Path) -> list[str]:
    found = [p.name for p in making.listed(root) if p.is_dir()]
    if len(found) < 2:
        raise ValueError(f"{root}: has {len(found)} folders, expected one for each of at least two classes")
    return found


def _counted(root: Path, left_out: list[Path]) -> str:
    """Say how many files were left out: by their endings, and in which folders."""
    endings = Counter(p.suffix.lower() or "without ending" for p in left_out if not p.is_dir())
    counts = [f"{count} {ending}" for ending, count in endings.items()]
    inside = {p: sum(len(files) for _, _, files in os.walk(p)) for p in left_out if p.is_dir()}
    folders = [p.relative_to(root) for p, count in inside.items() if count]
    if folders:
        more = f" and {len(folders) - 1} more" * (len(folders) > 1)
        counts.append(f"{sum(inside.values())} files in the folder {folders[0]}{more}")
    return ", ".join(counts)


def _read(root, classes, size, grey, seen, left_out):
    """Return images (n, height, width, channels) of float32 and labels; count what was `seen` and left out."""
    files = []
    left_out += [p for p in making.listed(root) if not p.is_dir()]
    for label, name in enumerate(classes):
        held = making.listed(root / name)
        images = [p for p in held if p.suffix.lower() in ENDINGS and not p.is_dir()]
        others = [p for p in held if p not in images]
        if not images:
            there = _counted(root / name, others)
            raise ValueError(
                f"{root / name}: has no {', '.join(ENDINGS)} file{there and f', but {there}'}; "
                "fill or remove the folder"
            )
        files += [(label, p) for p in images]
        left_out += others
    pixels = None
    for i, (_, file) in enumerate(files):
        image = _image(file, size, grey, seen)
        if pixels is None:
            if len(files) * image.nbytes > LARGEST:
                raise ValueError(
                    f"{root}: {len(files)} images of {image.shape[:2]} pixels are more than {LARGEST} bytes as "
                    "float32; give a smaller size to bring all images to, as in photographs#32x32"
                )
            pixels = np.empty((len(files), *image.shape), np.float32)
        if image.shape != pixels.shape[1:]:
            raise ValueError(
                f"{file}: is {image.shape[:2]} (height, width), {files[0][1].name} is {pixels.shape[1:3]}; "
                "give a size to bring all images to, as in photographs#32x32"
            )
        pixels[i] = image
    return pixels, np.array([label for label, _ in files], np.int64)


def _image(path: Path, size, grey, seen) -> np.ndarray:
    """Return intensities (height, width, channels) of float32."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on damaged EXIF data
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as file:
                turned = file.getexif().get(0x0112, 1) != 1
                image = ImageOps.exif_transpose(file) if turned else file
                wide = image.mode.startswith("I")
                if wide:
                    image = Image.fromarray(np.array(image, np.float32) / np.float32(65535))
                elif image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
                    image = image.convert("RGBA")
                    if image.getchannel("A").getextrema() != (255, 255):
                        seen["with transparency laid on white"] += 1
                    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                if not wide:
                    image = image.convert("L" if grey else "RGB")
                if size is not None:
                    image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
                pixels = np.array(image) if wide else np.array(image, np.float32) / np.float32(255)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = f"the {Image.MAX_IMAGE_PIXELS} that Pillow reads"
        raise ValueError(f"{path}: has more pixels than {limit}; make it smaller or remove it") from None
    except MemoryError:
        raise
    except Exception as error:  # of any kind, for a damaged file
        raise ValueError(f"{path}: cannot be read as PNG or JPEG ({error}); replace or remove it") from None
    seen["of 16 bits by 65535"] += wide
    seen["turned as EXIF says"] += turned
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return np.repeat(pixels, 3, axis=2) if wide and not grey else pixels
