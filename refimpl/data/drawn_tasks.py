"""Ten tasks that are drawn from nothing: textures, counts, outlines, colours, curves.

They stand beside the glyph tasks in the matrix that the package learns from, so that its rows differ in
the kind of image too. Five families, each plain and ``-noisy``, all of 12 x 12 pixels (``colours`` 8 x 8):

- ``gratings``: waves in one of eight directions, of random wavelength (3 to 6 pixels), phase and contrast;
- ``dots``: one to eight dots of 2 x 2 pixels that do not overlap, the number being the class;
- ``outlines``: a disc, ring, square, frame, cross, saltire, triangle or bar of random size and place;
- ``colours``: a patch of one of eight hues on a grey ground, three channels, of random brightness;
- ``curves``: a line that is straight, bent, a hill, a valley, a wave, a step, a saw or noise.

A noisy image gets a normal deviate times 0.25 added to each channel of each pixel. All is cut to [0, 1]
and rounded to 0 .. 255, then divided by 255. 960 training and 1,440 test images, classes in turn, then
shuffled; random numbers are raw words of NumPy's Philox generator, keyed by the task's place. (Sines and
exponentials are the machine's: another one could round a pixel in some 10^12 the other way.)
"""

from __future__ import annotations

import numpy as np

from refimpl._arguments import choice
from refimpl.data.task import Task

__all__ = ["FAMILIES", "names", "task"]

TRAINING, TEST = 960, 1440
NOISE = 0.25
KEY = 1000  # of the first task's random words; the glyph tasks have 1 to 18


def names() -> tuple[str, ...]:
    """List the names of the drawn tasks, family by family.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> names()[:3]
    ('gratings', 'gratings-noisy', 'dots')
    """
    return tuple(family + noisy for family in FAMILIES for noisy in ("", "-noisy"))


def task(name: str) -> Task:
    """Draw one task.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    Task
        Its `images_from` is the family.

    Raises
    ------
    ValueError
        If there is no such task.

    Examples
    --------
    >>> task("colours-noisy")
    Task('colours-noisy': 960 train, 1440 test, 8x8x3, 8 classes, images from 'colours')
    """
    choice("task", "drawn task", name, names())
    family, _, noisy = name.partition("-")
    random = _Random(KEY + names().index(name))
    count = TRAINING + TEST
    labels = (np.arange(count) % 8).astype(np.int64)[random.order(count)]
    images = FAMILIES[family](labels, random)
    if noisy:
        from scipy.special import ndtri

        images = images + NOISE * ndtri(random.uniform(images.shape) * (1 - 2.0**-52) + 2.0**-54)
    images = (np.rint(images.clip(0, 1) * 255) / np.float32(255)).astype(np.float32)
    return Task(
        name=name,
        train_images=images[:TRAINING],
        train_labels=labels[:TRAINING],
        test_images=images[TRAINING:],
        test_labels=labels[TRAINING:],
        classes=8,
        images_from=family,
    )


class _Random:
    """Numbers from the raw words of one generator, in the order they are asked for."""

    def __init__(self, key: int):
        self._words = np.random.Philox(key=key)

    def uniform(self, shape, low=0.0, high=1.0):
        bits = self._words.random_raw(int(np.prod(shape))) >> np.uint64(11)
        return low + (high - low) * (bits.reshape(shape) * 2.0**-53)

    def order(self, count):
        return np.argsort(self._words.random_raw(count), kind="stable")


def _places(side: int):
    """Return rows and columns of the pixels' centres, shapes (1, side, 1) and (1, 1, side)."""
    centres = np.arange(side) + 0.5
    return centres[None, :, None], centres[None, None, :]


def _each(values):
    return values[:, None, None]


def _gratings(labels, random):
    y, x = _places(12)
    angle = _each(np.pi * labels / 8)
    count = len(labels)
    wave, phase, contrast = (
        _each(random.uniform(count, *range_)) for range_ in ((3.0, 6.0), (0.0, 2 * np.pi), (0.2, 0.5))
    )
    image = 0.5 + contrast * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wave + phase)
    return image[..., None]


def _dots(labels, random):
    images = np.zeros((len(labels), 12, 12, 1))
    places = np.argsort(random.uniform((len(labels), 16)), axis=1, kind="stable")  # of a grid of 4 x 4
    shift = (random.uniform((len(labels), 8, 2)) * 2).astype(int)
    ink = random.uniform((len(labels), 8), 0.5, 1.0)
    for i, label in enumerate(labels):
        for dot in range(label + 1):
            top, left = 3 * (places[i, dot] // 4) + shift[i, dot, 0], 3 * (places[i, dot] % 4) + shift[i, dot, 1]
            images[i, top : top + 2, left : left + 2] = ink[i, dot]
    return images


def _outlines(labels, random):
    y, x = _places(12)
    count = len(labels)
    y, x = y - _each(random.uniform(count, 4.5, 7.5)), x - _each(random.uniform(count, 4.5, 7.5))
    size, ink = _each(random.uniform(count, 2.5, 4.5)), _each(random.uniform(count, 0.5, 1.0))
    round_, square = np.hypot(x, y), np.maximum(abs(x), abs(y))
    within, off = square <= size, [np.minimum(abs(x), abs(y)), abs(abs(x) - abs(y))]
    kinds = [
        round_ <= size,
        abs(round_ - size) <= 0.8,
        within,
        abs(square - size) <= 0.8,
        within & (off[0] <= 0.8),
        within & (off[1] <= 1.0),
        (y <= size) & (2 * abs(x) <= y + size),
        (abs(y) <= 1.0) & (abs(x) <= size),
    ]
    return (ink * np.select([_each(labels == k) for k in range(8)], kinds))[..., None]


def _colours(labels, random):
    y, x = _places(8)
    count = len(labels)
    y, x = y - _each(random.uniform(count, 3.0, 5.0)), x - _each(random.uniform(count, 3.0, 5.0))
    patch = (np.hypot(x, y) <= _each(random.uniform(count, 2.0, 3.5)))[..., None]
    hue = labels[:, None] / 8 + random.uniform((count, 1), -0.04, 0.04)
    colour = 0.5 + 0.5 * np.cos(2 * np.pi * (hue - np.array([0, 1, 2]) / 3))
    bright, grey = random.uniform((count, 1), 0.3, 1.0), random.uniform(count, 0.0, 1.0)
    return np.where(patch, (bright * colour)[:, None, None], grey[:, None, None, None])


def _curves(labels, random):
    y, x = _places(12)
    count = len(labels)
    x = np.linspace(-1, 1, 12)[None]
    slope, start = random.uniform((count, 1), -0.7, 0.7), random.uniform((count, 1), -0.4, 0.4)
    height, kink = random.uniform((count, 1), 0.5, 1.0), random.uniform((count, 1), -0.4, 0.4)
    phase, noise = random.uniform((count, 1), 0, 2 * np.pi), random.uniform((count, 12), -1, 1)
    kinds = [
        slope * x,
        height * (abs(x - kink) - 0.5),
        height * (2 * np.exp(-8 * (x - kink) ** 2) - 1),
        height * (1 - 2 * np.exp(-8 * (x - kink) ** 2)),
        height * np.sin(5 * x + phase),
        height * np.sign(x - kink),
        height * (2 * np.mod(1.5 * x + phase, 1.0) - 1),
        height * noise,
    ]
    level = np.select([(labels == k)[:, None] for k in range(8)], kinds) + 0.3 * start
    return np.maximum(0.0, 1 - abs(y - 6 - 4.5 * level[:, None, :].clip(-1, 1)))[..., None]


#: How the images of each family are drawn: labels and random numbers in, float64 (count, side, side, channels) out.
FAMILIES = {"gratings": _gratings, "dots": _dots, "outlines": _outlines, "colours": _colours, "curves": _curves}
