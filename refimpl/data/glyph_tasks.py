"""Eighteen tasks of printed characters, for learning before the real task comes; `drawn_tasks` has others.

The rule of the family, fixed before any network was trained on it: six alphabets x three
conditions.

**Alphabets.** Candidates are the characters in `ALPHABETS`, in order; printed numerals are in none
of them, so that no image of a digit, written or printed, is in the family. A candidate is kept if

1. every one of the 16 fonts in `FAMILIES` has it;
2. every held-out font shows something new: its bitmap differs from that of each training font by
   at least a fiftieth of their ink (many a symbol is the same in several fonts);
3. it looks like no character kept before it, *of any alphabet*: in each of the fonts the two
   bitmaps differ by at least a tenth of their ink. So no class is ambiguous, and no two alphabets
   share a letter form (as Latin A and Greek Alpha would);
4. fewer than 26 of its alphabet were kept before it.

Two bitmaps a and b differ by the fraction sum |a - b| / (sum a + sum b) of their ink.

**Fonts.** Each family of fonts holds out one of its four styles, the first family its first style
and so on: DejaVu Sans regular, DejaVu Sans Mono bold, DejaVu Serif italic, STIX General bold
italic. Test images are drawn from these four, training images from the other twelve.

**Conditions.** An image is a bitmap, its longer side 6.4 of the 8 pixels, scaled, turned and
shifted at random, averaged over each pixel's area and rounded to 0 .. 16 like the digits.

- ``clean``: scaled by 0.9 .. 1.1, turned by up to 5 degrees, shifted by up to half a pixel;
- ``noisy``: the same but turned by up to 15 degrees, and to each pixel the sum of two integers from
  -3 .. 3 is added (standard deviation 2.8 of 16), clipped to 0 .. 16;
- ``ten``: ``clean``, of the first ten characters only.

**Sizes.** 1440 training and 1440 test images, classes and fonts taken in turn, then shuffled.

All random numbers come from the raw words of NumPy's Philox generator, keyed by the task's place in
the family (1 .. 18); from there on everything is integer arithmetic, so that the images are the
same on every machine. `refimpl.data.glyphs` draws the bitmaps in `glyphs.npz`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refimpl._arguments import choice
from refimpl.data.task import Task

__all__ = [
    "ALPHABETS",
    "CONDITIONS",
    "FAMILIES",
    "FULL_INK",
    "MOST_CLASSES",
    "Condition",
    "held_out_fonts",
    "names",
    "task",
]

#: Candidate characters of each alphabet.
ALPHABETS = {
    "latin-capitals": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "latin-small": "abcdefghijklmnopqrstuvwxyz",
    "greek": "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρςστυφχψω",
    "cyrillic": "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя",
    "phonetic": "".join(map(chr, range(0x250, 0x2A9))),  # Unicode block "IPA Extensions"
    "symbols": "!\"#$%&'()*+,-./:;<=>?@[\\]_{|}~¡¢£¤¥¦§©«¬®°±¶»¿×÷",
}

#: File names of the fonts by family; the styles are regular, bold, italic, bold italic.
FAMILIES = {
    "DejaVu Sans": ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    "DejaVu Sans Mono": (
        "DejaVuSansMono",
        "DejaVuSansMono-Bold",
        "DejaVuSansMono-Oblique",
        "DejaVuSansMono-BoldOblique",
    ),
    "DejaVu Serif": ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    "STIX General": ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
}


FULL_INK = 15  # value of a black pixel in the bitmaps
MOST_CLASSES = 26


@dataclass(frozen=True)
class Condition:
    """Say how the images of a task are made from the bitmaps; see the top of this module."""

    turn: float  # largest angle, degrees
    noise: int  # largest value of each of two integers added to a pixel
    most_classes: int


CONDITIONS = {
    "clean": Condition(turn=5, noise=0, most_classes=MOST_CLASSES),
    "noisy": Condition(turn=15, noise=3, most_classes=MOST_CLASSES),
    "ten": Condition(turn=5, noise=0, most_classes=10),
}

_FILE = Path(__file__).with_name("glyphs.npz")
_BLACK = 16  # value of a black pixel in the images, before they are divided by it
_PIXELS = 8  # side of an image
_INK = 6.4  # of these, the longer side of the character
_SAMPLES = 3  # points along each side of a pixel, over which its area is averaged
_GRID = 16  # points are rounded to this part of a bitmap's pixel


def names() -> tuple[str, ...]:
    """List the names of the glyph tasks, alphabet by alphabet.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> names()[-3:]
    ('symbols-clean', 'symbols-noisy', 'symbols-ten')
    """
    return tuple(f"{alphabet}-{condition}" for alphabet in ALPHABETS for condition in CONDITIONS)


def held_out_fonts() -> tuple[str, ...]:
    """List the fonts that only test images are drawn from: one style of each family.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> held_out_fonts()
    ('DejaVuSans', 'DejaVuSansMono-Bold', 'DejaVuSerif-Italic', 'STIXGeneralBolIta')
    """
    return tuple(styles[place] for place, styles in enumerate(FAMILIES.values()))


def task(name: str) -> Task:
    """Make one glyph task: 1440 training images and 1440 of the held-out fonts for testing.

    Parameters
    ----------
    name : str
        One of `names`, ``alphabet-condition``.

    Returns
    -------
    Task
        Its `images_from` is the alphabet.

    Raises
    ------
    ValueError
        If there is no such glyph task.

    Examples
    --------
    >>> task("greek-clean")
    Task('greek-clean': 1440 train, 1440 test, 8x8x1, 26 classes, images from 'greek')
    """
    choice("task", "glyph task", name, names())
    alphabet, _, condition_name = name.rpartition("-")
    condition = CONDITIONS[condition_name]
    with np.load(_FILE, allow_pickle=False) as file:
        held_out = np.isin(file["fonts"], held_out_fonts())
        bitmaps = file["bitmaps"][:, file["alphabets"] == alphabet]
    bitmaps = bitmaps[:, : condition.most_classes]
    random = np.random.Philox(key=1 + names().index(name))
    train_images, train_labels = _draw(1440, bitmaps[~held_out], condition, random)
    test_images, test_labels = _draw(1440, bitmaps[held_out], condition, random)
    return Task(
        name=name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=bitmaps.shape[1],
        images_from=alphabet,
    )


def _draw(count, bitmaps, condition, random):
    """Make images, float32 (count, 8, 8, 1), and labels from bitmaps (font, class, h, w)."""
    fonts, classes = bitmaps.shape[:2]
    turn = np.arange(count)[np.argsort(random.random_raw(count), kind="stable")]
    labels = turn % classes
    ink = _resample(
        bitmaps[turn // classes % fonts, labels],
        scale=_uniform(random, 0.9, 1.1, count),
        angle=np.radians(_uniform(random, -condition.turn, condition.turn, count)),
        shift=_uniform(random, -0.5, 0.5, (2, count)),
    )
    for _ in range(2):
        ink += _integers(random, condition.noise, ink.shape)
    images = ink.clip(0, _BLACK)[..., np.newaxis] / np.float32(_BLACK)
    return images.astype(np.float32), labels.astype(np.int64)


def _uniform(random, low, high, shape):
    """Return float64 from [low, high): 53 bits of one raw word for each."""
    bits = random.random_raw(int(np.prod(shape))) >> np.uint64(11)
    return low + (high - low) * (bits.reshape(shape) * 2.0**-53)


def _integers(random, largest, shape):
    """Return int64 from -largest .. largest (biased by less than 2**-60: one word for each)."""
    words = random.random_raw(int(np.prod(shape))).reshape(shape)
    return (words % np.uint64(2 * largest + 1)).astype(np.int64) - largest


def _resample(bitmaps, scale, angle, shift):
    """Scale, turn and shift each bitmap; return its ink in each of 8 x 8 pixels, int64 0 .. 16.

    A pixel is the mean of the bitmap, bilinearly interpolated, at 3 x 3 points. The points are
    rounded to sixteenths of a bitmap's pixel; from there on all is integer and exact, so that the
    last bits of sine and cosine do not matter.
    """
    count, side = bitmaps.shape[:2]
    per_pixel = side / _INK / scale  # bitmap pixels for each image pixel
    points = (np.arange(_PIXELS * _SAMPLES) + 0.5) / _SAMPLES - _PIXELS / 2
    y = points[:, np.newaxis] - shift[0, :, np.newaxis, np.newaxis]
    x = points[np.newaxis, :] - shift[1, :, np.newaxis, np.newaxis]
    cosine = (np.cos(angle) * per_pixel)[:, np.newaxis, np.newaxis]
    sine = (np.sin(angle) * per_pixel)[:, np.newaxis, np.newaxis]
    # A bitmap's pixel k has its centre at k - (side - 1) / 2 from the middle.
    row, row_part = _integer_and_part(cosine * y + sine * x + (side - 1) / 2)
    column, column_part = _integer_and_part(cosine * x - sine * y + (side - 1) / 2)

    # Paper on all sides, so that points outside find their neighbours: row -1 is index 1.
    paper = np.pad(bitmaps.astype(np.int32), ((0, 0), (2, 2), (2, 2)))
    row, column = (np.clip(place + 2, 0, side + 2) for place in (row, column))
    width = side + 4
    corner = (np.arange(count)[:, np.newaxis, np.newaxis] * width + row) * width + column
    upper, lower = (
        (_GRID - column_part) * paper.take(at) + column_part * paper.take(at + 1) for at in (corner, corner + width)
    )
    value = (_GRID - row_part) * upper + row_part * lower
    total = value.reshape(count, _PIXELS, _SAMPLES, _PIXELS, _SAMPLES).sum(axis=(2, 4))
    full = FULL_INK * _GRID**2 * _SAMPLES**2
    return (2 * _BLACK * total + full) // (2 * full)


def _integer_and_part(place):
    """Split coordinates, rounded to the grid, into pixels and grid steps beyond them."""
    return np.divmod(np.floor(place * _GRID + 0.5).astype(np.int64), _GRID)
