"""What a data set is to the rest of the package: four arrays, a number of classes, an origin."""

import hashlib
from dataclasses import dataclass

import numpy as np

__all__ = ["Task"]


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
        Name of the set of source images. Two tasks with the same one share images, so neither
        may be used to learn about the other.

    Raises
    ------
    TypeError
        If an array is not an ndarray of the stated dtype.
    ValueError
        If a shape, a label, an intensity or the number of classes is not as stated.

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

    def __post_init__(self):
        if self.classes < 2:
            raise ValueError(f"Task: classes is {self.classes}, allowed is 2 or more")
        for part in ("train", "test"):
            self._check_images(f"{part}_images")
            self._check_labels(f"{part}_labels", len(getattr(self, f"{part}_images")))
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise ValueError(
                f"Task: train_images are {self.train_images.shape[1:]} and test_images "
                f"{self.test_images.shape[1:]} (height, width, channels); make them the same size"
            )

    def _check_images(self, field):
        images = getattr(self, field)
        _check_dtype(field, images, np.float32)
        if images.ndim != 4 or images.size == 0:
            raise ValueError(
                f"Task: {field} has shape {images.shape}, allowed is (n, height, width, channels) "
                "without a zero; reshape it, a grey image has one channel"
            )
        # Not `min() < 0 or max() > 1`: a NaN must fail too.
        if not (images.min() >= 0 and images.max() <= 1):
            raise ValueError(
                f"Task: {field} has values from {images.min()} to {images.max()}, "
                "allowed are finite values in [0, 1]; divide by the largest intensity"
            )

    def _check_labels(self, field, images):
        labels = getattr(self, field)
        _check_dtype(field, labels, np.int64)
        if labels.shape != (images,):
            raise ValueError(
                f"Task: {field} has shape {labels.shape}, allowed is ({images},): give one label for each image"
            )
        if labels.min() < 0 or labels.max() >= self.classes:
            raise ValueError(
                f"Task: {field} has labels from {labels.min()} to {labels.max()}, allowed are "
                f"0 to {self.classes - 1}; number the classes from 0, or give more `classes`"
            )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of images, labels and number of classes: the same for the same data, whatever its name."""
        digest = hashlib.sha256(str(self.classes).encode())
        for field in ("train_images", "train_labels", "test_images", "test_labels"):
            array = getattr(self, field)
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    def __repr__(self):
        size = "x".join(map(str, self.train_images.shape[1:]))
        return (
            f"{type(self).__name__}({self.name!r}: {len(self.train_labels)} train, {len(self.test_labels)} test, "
            f"{size}, {self.classes} classes, images from {self.images_from!r})"
        )


def _check_dtype(field, array, dtype):
    got = getattr(array, "dtype", type(array).__name__)
    if not isinstance(array, np.ndarray) or got != dtype:
        wanted = np.dtype(dtype).name
        raise TypeError(
            f"Task: {field} is {got}, allowed is an ndarray of {wanted}; "
            f"convert it by numpy.asarray(..., numpy.{wanted})"
        )
