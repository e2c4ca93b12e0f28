"""Uniform integer quantization of one value: code = clip(round(x / scale) + zero point).

Symmetric quantization has the zero point 0.  Affine quantization stretches the codes from the
smallest to the largest value, which are moved apart to include zero so that zero has a code.

*Source*: Rasquinha and Tabak (arXiv 2408.02897); affine: FBGEMM (arXiv 2101.05615).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from refimpl.formats import IntFormat, RoundingMode
from refimpl.formats.floats import to_float32
from refimpl.spec.float_codes import round_away

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
    float32 once; the zero point puts the low end on the smallest code, as nearly as integers can.

    >>> from refimpl.formats import format
    >>> affine(-1.0, 1.55, format("uint8"))
    (0.009999999776482582, 100)
    """
    lowest, highest = min(Fraction(low), Fraction(0)), max(Fraction(high), Fraction(0))
    if lowest == highest:
        return 1.0, min(max(0, fmt.min), fmt.max)
    step = min(max(to_float32((highest - lowest) / (fmt.max - fmt.min)), SMALLEST_SCALE), LARGEST_SCALE)
    return step, min(max(fmt.min - round(lowest / Fraction(step)), fmt.min), fmt.max)


def encode(x: float, fmt: IntFormat, scale: float, zero_point: int = 0, rounding: RoundingMode = "ties_to_even") -> int:
    """Return the code of a finite value: the exact quotient x / scale, rounded, moved, clipped.

    The modes are those of `refimpl.spec.float_codes` but for the stochastic ones.  A tie goes to the even
    quotient (``to_odd``: what lies between integers to the odd one), before the zero point is added.

    >>> from refimpl.formats import format
    >>> encode(2.5, format("int8"), 1.0), encode(-1e9, format("int8"), 1.0)
    (2, -127)
    >>> encode(2.5, format("int8"), 1.0, rounding="toward_positive")
    3
    """
    exact = Fraction(x) / Fraction(scale)
    steps = math.floor(abs(exact))
    steps += round_away(steps % 2 == 0, abs(exact) - steps, exact < 0, rounding)
    return min(max((-steps if exact < 0 else steps) + zero_point, fmt.min), fmt.max)


def decode(code: int, scale: float, zero_point: int = 0) -> float:
    """Return scale * (code - zero point) rounded once to float32."""
    return to_float32(Fraction(scale) * (code - zero_point))


def dot(a: Sequence[int], b: Sequence[int], a_zero: int = 0, b_zero: int = 0) -> int:
    """Return the sum of (a - a_zero) * (b - b_zero) over codes, in an int32 accumulator.

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


def dot16(a: Sequence[int], b: Sequence[int], dense_bits: int = 7, pairs: int = 1) -> int:
    """Return the sum of a * b over codes 0 .. 255 and -128 .. 127, added up in 16 bits that saturate.

    Two products at a time are added and saturated, as vector instructions do; `pairs` of these pairs are summed
    in 16 bits, saturating, before they are added to a wide sum.  Codes of `b` of more than `dense_bits` bits are
    outliers: they are taken out, and their products added to the wide sum at once.

    >>> dot16([255, 255], [127, 127]), dot16([255, 255], [127, 127], dense_bits=8)
    (64770, 32767)
    """
    reach = 1 << (dense_bits - 1)
    wide = sum(x * y for x, y in zip(a, b, strict=True) if not -reach <= y < reach)
    dense = [x * y if -reach <= y < reach else 0 for x, y in zip(a, b, strict=True)]
    for start in range(0, len(dense), 2 * pairs):
        group, narrow = dense[start : start + 2 * pairs], 0
        for i in range(0, len(group), 2):
            narrow = _saturated16(narrow + _saturated16(sum(group[i : i + 2])))
        wide += narrow
    return wide


def _saturated16(total: int) -> int:
    return min(max(total, -(2**15)), 2**15 - 1)
