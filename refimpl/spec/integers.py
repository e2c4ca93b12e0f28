"""Uniform integer quantization of one value: code = clip(round(x / scale) + zero point).

Symmetric quantization has the zero point 0.  Affine quantization stretches the codes from the
smallest to the largest value, which are moved apart to include zero so that zero has a code.

*Source*: Rasquinha and Tabak (arXiv 2408.02897); affine: FBGEMM (arXiv 2101.05615).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction

from refimpl.formats import IntFormat

SMALLEST_SCALE = 2.0**-149  # the smallest float32
LARGEST_SCALE = (2 - 2.0**-23) * 2.0**127  # and the largest
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def scale(largest_magnitude: float, fmt: IntFormat) -> float:
    """Return the float32 scale that maps the largest magnitude to the largest code.

    It is the exact quotient rounded to float32; 1 where the quotient is 0 (nothing to scale),
    and the smallest float32 where it is too small for one.

    >>> from refimpl.formats import format
    >>> scale(254.0, format("int8"))
    2.0
    """
    if largest_magnitude == 0:
        return 1.0
    exact = Fraction(largest_magnitude) / max(fmt.max, 1)
    return max(to_float32(exact), SMALLEST_SCALE)


def affine(low: float, high: float, fmt: IntFormat) -> tuple[float, int]:
    """Return the float32 scale and the zero point for values from low to high.

    The scale is the exact width of the range (zero included) over the number of steps, rounded to
    float32 once; the zero point puts the low end on the smallest code, as nearly as whole numbers
    can.

    >>> from refimpl.formats import format
    >>> affine(-1.0, 1.55, format("uint8"))
    (0.009999999776482582, 100)
    """
    low, high = min(Fraction(low), Fraction(0)), max(Fraction(high), Fraction(0))
    if low == high:
        return 1.0, min(max(0, fmt.min), fmt.max)
    step = min(max(to_float32((high - low) / (fmt.max - fmt.min)), SMALLEST_SCALE), LARGEST_SCALE)
    return step, min(max(fmt.min - round(low / Fraction(step)), fmt.min), fmt.max)


def encode(x: float, fmt: IntFormat, scale: float, zero_point: int = 0) -> int:
    """Return the code of a finite value: the exact quotient x / scale, ties to even, clipped.

    >>> from refimpl.formats import format
    >>> encode(2.5, format("int8"), 1.0), encode(-1e9, format("int8"), 1.0)
    (2, -127)
    """
    return min(max(round(Fraction(x) / Fraction(scale)) + zero_point, fmt.min), fmt.max)


def decode(code: int, scale: float, zero_point: int = 0) -> float:
    """Return scale * (code - zero point) rounded once to float32."""
    return to_float32(Fraction(scale) * (code - zero_point))


def to_float32(x: Fraction) -> float:
    """Return a real number rounded to float32, ties to even, through its 24-bit significand."""
    if x == 0:
        return 0.0
    from refimpl.formats import format
    from refimpl.spec import float_codes

    value = float_codes.Value("finite", x < 0, abs(x))
    code = float_codes.encode(value, format("float32"))
    return struct.unpack(">f", code.to_bytes(4, "big"))[0]


def dot(a: Sequence[int], b: Sequence[int], a_zero: int = 0, b_zero: int = 0) -> int:
    """Return the sum of (a - a_zero) * (b - b_zero) over codes, by way of an int32 accumulator.

    The accumulator adds the products of the codes themselves; the zero points come in afterwards:

        sum (a - za) (b - zb) = sum a b - za sum b - zb sum a + k za zb

    Raises OverflowError where the accumulator, or the result, leaves the range of int32.

    >>> dot([100, 200], [3, 5], 128, 4)
    100
    """
    total = 0
    for x, y in zip(a, b, strict=True):
        total += x * y
        if not INT32_MIN <= total <= INT32_MAX:
            raise OverflowError(f"the accumulator reached {total}")
    result = total - a_zero * sum(b) - b_zero * sum(a) + len(a) * a_zero * b_zero
    if not INT32_MIN <= result <= INT32_MAX:
        raise OverflowError(f"the result is {result}")
    return result
