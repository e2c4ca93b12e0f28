"""The handwritten digits of the UCI repository.

The 1797 images of the test part of E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten
Digits*, UCI Machine Learning Repository (1998), doi 10.24432/C50P49, licensed CC BY 4.0. Forms
filled in by hand were scanned to 32 x 32 black and white pixels; each of the 8 x 8 values counts
the ink in one block of 4 x 4 pixels, hence 0 .. 16. `digits.npz` holds them unchanged and in their
order: `images`, uint8 of shape (1797, 8, 8), and `labels`, uint8 of shape (1797,).

The split is ours, as the file does not come with one: permute by `order`, train on the first 1437
and test on the other 360 (four fifths, one fifth).
"""

from pathlib import Path

import numpy as np

from refimpl.data.task import Task

__all__ = ["NAME", "order", "raw", "task"]

NAME = "digits"
_FILE = Path(__file__).with_name("digits.npz")
_TRAIN = 1437


def raw() -> tuple[np.ndarray, np.ndarray]:
    """Read the digits as they were published.

    Returns
    -------
    images : ndarray of uint8, shape (1797, 8, 8)
        Ink, 0 .. 16.
    labels : ndarray of uint8, shape (1797,)
        The digit, 0 .. 9.

    Examples
    --------
    >>> images, labels = raw()
    >>> labels[:4], images[0, 0]
    (array([0, 1, 2, 3], dtype=uint8), array([ 0,  0,  5, 13,  9,  1,  0,  0], dtype=uint8))
    """
    with np.load(_FILE, allow_pickle=False) as file:
        return file["images"], file["labels"]


def order() -> np.ndarray:
    """Return the fixed permutation by which the digits are split.

    It sorts the first 1797 raw 64-bit words of NumPy's Philox generator with key 0. Raw words are
    promised never to change between releases of NumPy; `Generator.permutation` is not.

    Returns
    -------
    ndarray of int64, shape (1797,)
        Positions in `raw`: the first 1437 are for training.

    Examples
    --------
    >>> sorted(order().tolist()) == list(range(1797))
    True
    """
    return np.argsort(np.random.Philox(key=0).random_raw(1797), kind="stable")


def task() -> Task:
    """Make the digits task: 1437 training and 360 test images, intensities in sixteenths.

    Returns
    -------
    Task

    Examples
    --------
    >>> task()
    Task('digits': 1437 train, 360 test, 8x8x1, 10 classes, images from 'digits')
    """
    images, labels = raw()
    images = images[..., np.newaxis] / np.float32(16)
    labels = labels.astype(np.int64)
    train, test = np.split(order(), [_TRAIN])
    return Task(
        name=NAME,
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=10,
        images_from=NAME,
    )
