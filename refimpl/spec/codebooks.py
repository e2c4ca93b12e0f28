"""Code books: the nearest value of a list, under the scale of a block.

scale = largest magnitude of the block (1 for zeros); code = number of boundaries b, the midpoints of
neighbouring values rounded to float32, for which x > scale * b, counted among ascending
values.  A tie goes to the lower value.

*Source*: Dettmers et al. (arXiv 2110.02861, 2212.09720) and bitsandbytes' published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from refimpl.formats import CodeBook
from refimpl.formats.floats import to_float32


def encode_block(values: Sequence[float], book: CodeBook) -> tuple[float, list[int]]:
    """Return scale and codes of a block of finite float32 values.

    >>> from refimpl.formats import format
    >>> encode_block([0.0, -2.0, 1.0], format("nf4"))
    (2.0, [7, 0, 12])
    """
    scale = max((abs(value) for value in values), default=0.0) or 1.0
    return scale, [encode(value, scale, book) for value in values]


def encode(x: float, scale: float, book: CodeBook) -> int:
    """Return the code of a value under a scale."""
    return book.codes[sum(Fraction(x) > Fraction(scale) * Fraction(b) for b in book.boundaries)]


def decode(code: int, scale: float, book: CodeBook) -> float:
    """Return scale * book[code], rounded once to float32."""
    return to_float32(Fraction(scale) * Fraction(book.book[code]))
