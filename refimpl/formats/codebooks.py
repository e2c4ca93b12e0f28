"""Code books: a code is the place of a value in a list, the value is multiplied by a block's scale.

*Sources*: arXiv 2110.02861 (dynamic map of 8-bit optimizers), 2305.14314 (NF4), 2212.09720
(quantile codes); bitsandbytes for the values as it stores them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal

from refimpl import _arguments
from refimpl.formats.floats import to_float32
from refimpl.formats.sheet import NumberFormat

# 4-bit NormalFloat: quantiles of N(0, 1), 8 above zero and 7 below, divided by the largest.
NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
# In the order in which bitsandbytes stores them: FP4, times 192, and AF4 (arXiv 2306.06965, blocks of 64), descending.
_FP4 = (0, 1, 128, 192, 64, 96, 32, 48)
_AF4 = (
    1.0,
    0.7242486476898193,
    0.5549623370170593,
    0.4256388247013092,
    0.3167566657066345,
    0.2196127474308014,
    0.12934483587741852,
    0.0427316389977932,
    0.0,
    -0.049348119646310806,
    -0.14982478320598602,
    -0.25607553124427795,
    -0.37369510531425476,
    -0.5124374032020569,
    -0.6944100856781006,
    -1.0,
)


@dataclass(frozen=True)
class CodeBook(NumberFormat):
    """Describe a code book.

    Parameters
    ----------
    name : str
    book : tuple of float
        2 to 256 float32 numbers from -1 to 1, not all equal; code i stands for book[i].  In any order, such as that in
        which others store them; of codes of one value the first is given.

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Examples
    --------
    >>> CodeBook("ternary", (-1.0, 0.0, 1.0)).bits
    2
    >>> CodeBook("as stored", (0.0, 1.0, 0.25, 0.5)).codes
    (0, 2, 3, 1)
    """

    name: str
    book: tuple[float, ...]

    def __post_init__(self):
        _arguments.instance("CodeBook", "name", self.name, str, "a string")
        given = _arguments.sequence("CodeBook", "book", self.book, "(-1.0, 0.0, 1.0)", 2)
        book = tuple(_arguments.number("CodeBook", f"book[{i}]", value) for i, value in enumerate(given))
        object.__setattr__(self, "book", book)
        if len(book) > 256:
            raise ValueError(f"CodeBook: book is a list of {len(book)} values; allowed is 2 to 256")
        for i, value in enumerate(book):
            if not -1 <= value <= 1 or to_float32(Fraction(value)) != value:
                hint = "divide by the largest magnitude and round"
                raise _arguments.wrong_value("CodeBook", f"book[{i}]", value, "a float32 number from -1 to 1", hint)
        if len(set(book)) == 1:
            raise _arguments.wrong_value("CodeBook", "book", book, "a list of values that are not all equal")

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return (len(self.book) - 1).bit_length()

    @property
    def codes(self) -> tuple[int, ...]:
        """The codes of the different values, these ascending."""
        return tuple(self.book.index(value) for value in self.values())

    @property
    def max(self) -> float:
        """Largest value, before scaling."""
        return max(self.book)

    @property
    def min(self) -> float:
        """Smallest value, before scaling."""
        return min(self.book)

    @property
    def boundaries(self) -> tuple[float, ...]:
        """Midpoints of neighbouring values, rounded to float32: where a value changes its code."""
        ascending = self.values()
        pairs = zip(ascending, ascending[1:], strict=False)
        return tuple(to_float32((Fraction(a) + Fraction(b)) / 2) for a, b in pairs)

    def values(self) -> list[float]:
        """Return the different values, ascending."""
        return sorted(set(self.book))


def dynamic_values(bits: int = 8, exponent_bits: int = 7, signed: bool = True) -> tuple[float, ...]:
    """Return the values of the dynamic map: midpoints of linear steps within decimal exponents.

    As bitsandbytes' `create_dynamic_map`, the published code, stores them on machines with fused multiply-adds:
    ends of steps, midpoints and products with powers of ten each rounded to float32, so that they lie within 2 units
    in the last place of the decimals.  Values that come up twice (for fewer exponent bits) are given once.

    >>> dynamic_values(4, 3)[8:12]
    (0.005499999970197678, 0.0325000025331974, 0.07750000059604645, 0.21249999105930328)
    """
    bits = _arguments.integer("dynamic_values", "bits", bits, _arguments.Interval(2, 8))
    limits = _arguments.Interval(1, bits - 1)
    exponent_bits = _arguments.integer("dynamic_values", "exponent_bits", exponent_bits, limits)
    magnitudes: list[Fraction] = []
    for i in range(exponent_bits):
        steps = 2 ** (i + bits - 1 - exponent_bits + (not signed))
        magnitudes += _decade(i - exponent_bits + 1, steps)
    magnitudes += _decade(0, 2 ** (bits - 1 - exponent_bits) - 1)
    found = {Fraction(0), Fraction(1), *magnitudes}
    if signed:
        found |= {-value for value in magnitudes}
    return tuple(float(value) for value in sorted(found))


def _decade(exponent: int, steps: int) -> list[Fraction]:
    """Return the midpoints of equal steps from 0.1 to 1, times 10^exponent, in float32 as PyTorch computes them."""

    def rounded(x: Fraction) -> Fraction:
        return Fraction(to_float32(x))

    if not steps:
        return []
    start, power = rounded(Fraction(1, 10)), rounded(Fraction(10) ** exponent)
    width = rounded(rounded(1 - start) / steps)
    half = (steps + 1) // 2  # ends are counted from the nearer end, each with one rounding: torch.linspace
    ends = [rounded(start + width * k if k < half else 1 - width * (steps - k)) for k in range(steps + 1)]
    return [rounded(power * rounded(rounded(a + b) / 2)) for a, b in zip(ends, ends[1:], strict=False)]


def quantile_values(ascending: Sequence[float], bits: int) -> tuple[float, ...]:
    """Return 2^bits values that equally many of the numbers fall to, divided by the largest magnitude.

    Value i is the mean of the quantiles of levels i / 2^bits and (i + 1) / 2^bits (linear between
    neighbours), rounded to float32 once; equal values are given once.

    >>> quantile_values([-4.0, -1.0, 0.0, 1.0, 4.0], 2)
    (-1.0, -0.20000000298023224, 0.20000000298023224, 1.0)
    """
    count, levels = len(ascending), 2**bits

    def quantile(level: Fraction) -> Fraction:
        place = level * (count - 1)
        low = math.floor(place)
        a, b = (Fraction(float(ascending[min(k, count - 1)])) for k in (low, low + 1))
        return a + (b - a) * (place - low)

    edges = [quantile(Fraction(i, levels)) for i in range(levels + 1)]
    means = [(a + b) / 2 for a, b in zip(edges, edges[1:], strict=False)]
    largest = max(map(abs, means))
    if largest == 0:
        raise ValueError("quantile_values: every number is zero; there is nothing to tell apart")
    return tuple(sorted({to_float32(value / largest) for value in means}))


BookName = Literal["nf4", "dynamic8", "dynamic8_unsigned", "bitsandbytes_fp4", "bitsandbytes_af4"]
BOOKS: dict[BookName, Callable[[], tuple[float, ...]]] = {  # made when they are first asked for
    "nf4": lambda: NF4,
    "dynamic8": dynamic_values,
    "dynamic8_unsigned": lambda: dynamic_values(signed=False),
    "bitsandbytes_fp4": lambda: tuple(to_float32(Fraction(sign * v, 192)) for sign in (1, -1) for v in _FP4),
    "bitsandbytes_af4": lambda: _AF4,
}


@cache
def named_book(name: BookName) -> CodeBook:
    """Return a code book of the catalogue."""
    return CodeBook(name, BOOKS[name]())
