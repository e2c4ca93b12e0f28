"""What a data set is to the rest of the package: four arrays, a number of classes, an origin."""

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np

from refimpl import _arguments as check

__all__ = ["Task"]

MARKS = 256  # hashes kept of a task's images


@dataclass(frozen=True, eq=False)
class Task:
    """Hold one image classification task, split into training and test images.

    Parameters
    ----------
    name : str
        What `refimpl.data.load` knows it by.
    train_images : ndarray of float32, shape (n_train, height, width, channels)
        Intensities in [0, 1].
    train_labels : ndarray of int64, shape (n_train,)
        Classes, 0 .. classes - 1.
    test_images : ndarray of float32, shape (n_test, height, width, channels)
        As `train_images`, of the same height, width and channels.
    test_labels : ndarray of int64, shape (n_test,)
        As `train_labels`.
    classes : int
        Number of classes, at least 2.
    images_from : str
        Name of the set of source images, or "" where only the images themselves tell. Two tasks with the
        same one share images, so neither may be used to learn about the other (see `marks`).
    note : str
        One line on how it was read from files: layout, scale, split, what was left out. No part of `fingerprint`.

    Raises
    ------
    TypeError
        If an array is not an ndarray of the stated dtype.
    ValueError
        If a shape, a label, an intensity or the number of classes is not as stated; if channels come first.

    Examples
    --------
    >>> import numpy as np
    >>> images, labels = np.zeros((2, 8, 8, 1), np.float32), np.array([0, 1], np.int64)
    >>> Task("blank", images, labels, images, labels, classes=2, images_from="nothing")
    Task('blank': 2 train, 2 test, 8x8x1, 2 classes, images from 'nothing')
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int
    images_from: str
    note: str = dataclasses.field(default="", kw_only=True)

    def __post_init__(self):
        caller = type(self).__name__
        check.instance(caller, "name", self.name, str, "a string")
        check.instance(caller, "images_from", self.images_from, str, "a string")
        check.instance(caller, "note", self.note, str, "a string")
        check.integer(caller, "classes", self.classes, check.Interval(2))
        for part in ("train", "test"):
            images = check.of_dtype(caller, f"{part}_images", getattr(self, f"{part}_images"), np.float32)
            labels = check.of_dtype(caller, f"{part}_labels", getattr(self, f"{part}_labels"), np.int64)
            self._check_images(f"{part}_images", images)
            self._check_labels(f"{part}_labels", labels, images)
            known = (labels >= 0) & (labels < self.classes)
            check.every(caller, f"{part}_labels", labels, known, f"a class, 0 to {self.classes - 1}")
        check.of_shape(caller, "test_images", self.test_images, (None, *self.train_images.shape[1:]))

    def _check_images(self, field: str, images: np.ndarray) -> None:
        check.of_shape("Task", field, images, (None,) * 4)
        if not images.size:
            raise check.wrong_value("Task", field, images.shape, "a shape without a zero")
        _, first, side, last = images.shape
        if first in (1, 3, 4) and side == last > 4:  # no picture is so low, and that deep
            allowed, hint = "(n, height, width, channels)", "channels come last: numpy.moveaxis(images, 1, 3)"
            raise check.wrong_value("Task", field, images.shape, allowed, hint)
        held = (images >= 0) & (images <= 1)
        check.every("Task", field, images, held, "a number in [0, 1]", "divide by the largest intensity")

    def _check_labels(self, field: str, labels: np.ndarray, images: np.ndarray) -> None:
        check.of_shape(type(self).__name__, field, labels, (len(images),))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of images, labels and number of classes: the same for the same data, whatever its name."""
        digest = hashlib.sha256(str(self.classes).encode())
        for field in ("train_images", "train_labels", "test_images", "test_labels"):
            array = getattr(self, field)
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def marks(self) -> np.ndarray:
        """Marks by which shared images are found, whatever a data set is called, uint64 of shape (at most 258,).

        The least 256 hashes of the images, each brought to 0 .. 255 (an image of one colour has none), and one
        of `images_from`, twice over, where there is such a name. Of two tasks that share a part of their images
        they share about that part.
        """
        found = {_hash(name) for name in (f"{self.images_from}", f"again {self.images_from}") if self.images_from}
        hashes = set()
        for images in (self.train_images, self.test_images):
            for image in np.rint(images * 255).astype(np.int32):
                if image.min() < image.max():
                    hashes.add(_hash(f"{image.shape}", image.tobytes()))
        return np.array(sorted(found | set(sorted(hashes)[:MARKS])), np.uint64)

    def __repr__(self):
        size = "x".join(map(str, self.train_images.shape[1:]))
        return (
            f"{type(self).__name__}({self.name!r}: {len(self.train_labels)} train, {len(self.test_labels)} test, "
            f"{size}, {self.classes} classes, images from {self.images_from!r})"
        )


def _hash(text: str, content: bytes = b"") -> int:
    digest = hashlib.blake2b(text.encode(errors="surrogateescape") + content, digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1  # 0 is no mark
