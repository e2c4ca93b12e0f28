"""Draw the characters that the glyph tasks are made of, from the fonts Matplotlib ships.

Run as a program to make `glyphs.npz` anew (about three seconds)::

    python -m refimpl.data.glyphs OUT.npz

The file holds `bitmaps`, uint8 of shape (font, character, 20, 20) with values 0 (paper) to 15
(ink); `fonts`, `characters` and `alphabets` (the alphabet each character is of), which name its
first two axes; and `drawn_with`, the versions of Matplotlib and FreeType. Another version may draw
an edge pixel differently, so the tasks are made from the file and never from the fonts at hand.

Which characters are kept, and why, is said in `refimpl.data.glyph_tasks`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from refimpl._files import writing
from refimpl.data.glyph_tasks import ALPHABETS, FAMILIES, FULL_INK, MOST_CLASSES, held_out_fonts

__all__ = ["SIDE", "bitmap", "draw"]

SIDE = 20  # pixels
_NEW = 1 / 50  # difference between a held-out font and a training font, at least
_DISTINCT = 1 / 10  # difference between two characters, at least
_POINTS = 160  # drawn large, then averaged down


def draw() -> dict[str, np.ndarray]:
    """Draw all characters that the rule keeps in all fonts.

    Returns
    -------
    dict of str to ndarray
        The arrays of `glyphs.npz`, described at the top of this module.

    Raises
    ------
    FileNotFoundError
        If the installed Matplotlib lacks one of the fonts.

    Examples
    --------
    >>> glyphs = draw()
    >>> "".join(glyphs["characters"][glyphs["alphabets"] == "latin-small"])
    'abdefghijkmnprtuy'
    """
    import matplotlib
    from matplotlib import ft2font

    fonts = [name for styles in FAMILIES.values() for name in styles]
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    faces = [ft2font.FT2Font(str(folder / f"{name}.ttf")) for name in fonts]
    for face in faces:
        face.set_size(_POINTS, 72)
    available = set.intersection(*(set(face.get_charmap()) for face in faces))
    held_out = np.isin(fonts, held_out_fonts())

    kept: list[tuple[str, str]] = []
    bitmaps: list[np.ndarray] = []
    for alphabet, candidates in ALPHABETS.items():
        room = MOST_CLASSES
        for character in candidates:
            if ord(character) not in available or not room:
                continue
            drawn = np.stack([bitmap(face, character) for face in faces])
            seen_before = _difference(drawn[held_out, np.newaxis], drawn[~held_out]) < _NEW
            looks_like = [_difference(drawn, other) < _DISTINCT for other in bitmaps]
            if not np.any(seen_before) and not np.any(looks_like):
                kept.append((character, alphabet))
                bitmaps.append(drawn)
                room -= 1
    characters, alphabets = zip(*kept, strict=True)
    return {
        "bitmaps": np.stack(bitmaps, axis=1),
        "characters": np.array(characters),
        "alphabets": np.array(alphabets),
        "fonts": np.array(fonts),
        "drawn_with": np.array(f"matplotlib {matplotlib.__version__}, FreeType {ft2font.__freetype_version__}"),
    }


def bitmap(face, character: str) -> np.ndarray:
    """Draw one character, scaled so that its ink just fits the square, and centred in it.

    Parameters
    ----------
    face : matplotlib.ft2font.FT2Font
        The font, with its size set.
    character : str
        One character, with ink.

    Returns
    -------
    ndarray of uint8, shape (20, 20)
        Ink averaged over each pixel's area (in integers, rounded once), 0 .. 15.

    Examples
    --------
    >>> from matplotlib import font_manager, ft2font
    >>> face = ft2font.FT2Font(font_manager.findfont("DejaVu Sans"))
    >>> face.set_size(160, 72)
    >>> bitmap(face, "-")[[0, 10, 19]].max(axis=1)  # a bar in the middle
    array([ 0, 15,  0], dtype=uint8)
    """
    from matplotlib.ft2font import LoadFlags

    face.set_text(character, 0, flags=LoadFlags.NO_HINTING)
    face.draw_glyphs_to_bitmap(antialiased=True)
    ink = np.asarray(face.get_image()).astype(np.int64)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = ink.shape
    size = max(height, width)
    square = np.zeros((size, size), np.int64)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = ink

    # How much of each drawn pixel lies in each pixel of the result, in units of size * SIDE.
    wide, narrow = np.arange(SIDE + 1) * size, np.arange(size + 1) * SIDE
    overlap = np.minimum(wide[1:, None], narrow[1:]) - np.maximum(wide[:-1, None], narrow[:-1])
    overlap = np.maximum(overlap, 0)
    total, full = overlap @ square @ overlap.T, 255 * size * size
    return ((2 * FULL_INK * total + full) // (2 * full)).astype(np.uint8)


def _difference(a, b):
    """Return by which fraction of their ink bitmaps differ, 0 (equal) to 1 (nowhere both)."""
    a, b = a.astype(np.int64), b.astype(np.int64)
    return np.abs(a - b).sum(axis=(-2, -1)) / (a + b).sum(axis=(-2, -1))


def main(arguments=None) -> int:
    """Write the glyphs to the file named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m refimpl.data.glyphs",
        description="Draw the base bitmaps of the glyph tasks from the fonts Matplotlib ships.",
    )
    parser.add_argument("out", metavar="OUT.npz", type=Path, help="file to write")
    out = parser.parse_args(arguments).out
    try:
        with writing(out) as file:
            np.savez_compressed(file, **draw())  # type: ignore[arg-type]  # mypy takes the arrays for allow_pickle
    except OSError as error:
        print(f"glyphs: cannot write {out}: {error.strerror or error}; name another file", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
