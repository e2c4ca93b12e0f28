"""Uniform integer quantization of one value: code = clip(round(x / scale) + zero point).

Symmetric quantization has the zero point 0, or 2^(bits - 1) in an unsigned format.  Affine
quantization stretches the codes from the smallest to the largest value, which are moved apart to include
zero so that zero has a code.  No scale is so large that a finite value would be decoded as infinity.

*Source*: Rasquinha and Tabak (arXiv 2408.02897); affine: FBGEMM (arXiv 2101.05615); quotients in float32: the
operator QuantizeLinear of ONNX, and PyTorch's quantize_per_tensor; requantization: Jacob et al. (arXiv 1712.05877).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from refimpl.formats import IntFormat, Quotient, RoundingMode
from refimpl.formats.floats import to_float32
from refimpl.spec.float_codes import round_away

SMALLEST_SCALE = 2.0**-149  # the smallest float32
LARGEST_SCALE = (2 - 2.0**-23) * 2.0**127  # and the largest
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def scale(largest_magnitude: float, fmt: IntFormat) -> float:
    """Return the float32 scale that maps the largest magnitude to the largest code.

    It is the exact quotient rounded to float32; 1 where the quotient is 0 (nothing to scale), the
    smallest float32 where it is too small for one, and the next below where the largest code would become infinity.

    >>> from refimpl.formats import format
    >>> scale(254.0, format("int8"))
    2.0
    """
    if largest_magnitude == 0:
        return 1.0
    steps = max(fmt.max, 1)
    return within(max(to_float32(Fraction(largest_magnitude) / steps), SMALLEST_SCALE), steps)


def within(scale: float, steps: int) -> float:
    """Return the scale, or the largest float32 below it that times the steps rounds to a finite float32."""
    if math.isfinite(to_float32(Fraction(scale) * steps)):
        return scale
    most = to_float32(Fraction(LARGEST_SCALE) / steps)
    return most if math.isfinite(to_float32(Fraction(most) * steps)) else below(most)


def below(scale: float) -> float:
    """Return the float32 before a normal one."""
    mantissa, exponent = math.frexp(scale)
    return math.ldexp(mantissa - 2.0**-24 if mantissa > 0.5 else 0.5 - 2.0**-25, exponent)


def affine(low: float, high: float, fmt: IntFormat) -> tuple[float, int]:
    """Return the float32 scale and the zero point for values from low to high.

    The scale is the exact width of the range (zero included) over the number of steps, rounded to
    float32 once; the zero point puts the low end on the smallest code, as nearly as integers can.  Then the scale
    goes down to where no code becomes infinity.

    >>> from refimpl.formats import format
    >>> affine(-1.0, 1.55, format("uint8"))
    (0.009999999776482582, 100)
    """
    lowest, highest = min(Fraction(low), Fraction(0)), max(Fraction(high), Fraction(0))
    if lowest == highest:
        return 1.0, min(max(0, fmt.min), fmt.max)
    step = min(max(to_float32((highest - lowest) / (fmt.max - fmt.min)), SMALLEST_SCALE), LARGEST_SCALE)
    zero = min(max(fmt.min - round(lowest / Fraction(step)), fmt.min), fmt.max)
    return within(step, max(zero - fmt.min, fmt.max - zero)), zero


def quotient(x: float, scale: float, how: Quotient, zero_point: int = 0) -> Fraction | None:
    """Return x / scale as it is computed, None where float32 has no such number (it is infinite).

    ``exact``; ``float32``: rounded to float32; ``reciprocal``: x times 1 / scale, each rounded to float32;
    ``fbgemm``: the same plus the zero point, multiplied and added at once.

    >>> scale = to_float32(Fraction(3, 10))
    >>> [float(quotient(-11.25, scale, how)) for how in ("exact", "float32", "reciprocal")]
    [-37.49999850988394, -37.5, -37.5]
    """
    if how == "exact":
        return Fraction(x) / Fraction(scale)
    if how == "float32":
        found = to_float32(Fraction(x) / Fraction(scale))
    else:
        product = Fraction(x) * Fraction(to_float32(1 / Fraction(scale)))
        found = to_float32(product + zero_point if how == "fbgemm" else product)
    return Fraction(found) if math.isfinite(found) else None


def encode(
    x: float,
    fmt: IntFormat,
    scale: float,
    zero_point: int = 0,
    rounding: RoundingMode = "ties_to_even",
    how: Quotient = "exact",
    random: int = 0,
    random_bits: int = 32,
) -> int:
    """Return the code of a finite value: the quotient x / scale, rounded, moved, clipped.

    The modes are those of `refimpl.spec.float_codes`.  A tie goes to the even quotient (``to_odd``: what
    lies between integers to the odd one), before the zero point is added; after it, to the even code, for ``fbgemm``.

    >>> from refimpl.formats import format
    >>> encode(2.5, format("int8"), 1.0), encode(-1e9, format("int8"), 1.0)
    (2, -127)
    >>> encode(2.5, format("int8"), 1.0, rounding="toward_positive")
    3
    """
    steps = quotient(x, scale, how, zero_point)
    if steps is None:
        return fmt.max if x > 0 else fmt.min
    code = rounded(steps, rounding, random, random_bits) + (0 if how == "fbgemm" else zero_point)
    return min(max(code, fmt.min), fmt.max)


def rounded(exact: Fraction, rounding: RoundingMode, random: int = 0, random_bits: int = 32) -> int:
    """Return a number rounded to an integer."""
    steps = math.floor(abs(exact))
    steps += round_away(steps % 2 == 0, abs(exact) - steps, exact < 0, rounding, random, random_bits)
    return -steps if exact < 0 else steps


def decode(code: int, scale: float, zero_point: int = 0) -> float:
    """Return scale * (code - zero point) rounded once to float32."""
    return to_float32(Fraction(scale) * (code - zero_point))


def multiplier(scale: float) -> tuple[int, int]:
    """Return the multiplier, 2^30 to 2^31 - 1, and the shift that stand for a scale: multiplier * 2^(shift - 31).

    The nearest, ties away from zero; (0, 0) below 2^-32.  A shift above 30 is not one of TFLite's.

    >>> multiplier(0.75), multiplier(1.0), multiplier(2.0**-40)
    ((1610612736, 0), (1073741824, 1), (0, 0))
    """
    fraction, shift = math.frexp(scale)
    value = math.floor(Fraction(fraction) * 2**31 + Fraction(1, 2))
    if value == 2**31:
        value, shift = 2**30, shift + 1
    return (0, 0) if shift < -31 else (value, shift)


def requantize(
    total: int, multiplier: int, shift: int, fmt: IntFormat, zero_point: int = 0, rounding: str = "ties_to_even"
) -> int:
    """Return the code of an int32 sum: round(total * multiplier * 2^(shift - 31)) + zero point, clipped.

    ``gemmlowp``, which TFLite computes, rounds twice: the upper half of the doubled product, ties up, saturated;
    shifted right, ties away from zero.  What it shifts left first has to stay an int32.

    >>> from refimpl.formats import format
    >>> int8 = format("int8_full")
    >>> [requantize(3, 2**30, -1, int8, rounding=mode) for mode in ("ties_to_even", "gemmlowp")]  # 0.75
    [1, 1]
    >>> [requantize(5, 2**30, -1, int8, rounding=mode) for mode in ("ties_to_even", "gemmlowp")]  # 1.25
    [1, 2]
    """
    if rounding == "gemmlowp":
        moved = total << max(shift, 0)
        if not INT32_MIN <= moved <= INT32_MAX:
            raise OverflowError(f"{total} * 2^{shift} leaves int32")
        code = rounding_right_shift(saturating_doubling_high(moved, multiplier), max(-shift, 0))
    else:
        code = rounded(Fraction(total * multiplier) * Fraction(2) ** (shift - 31), rounding)  # type: ignore[arg-type]
    return min(max(code + zero_point, fmt.min), fmt.max)


def saturating_doubling_high(a: int, b: int) -> int:
    """Return (2 a b) / 2^32 rounded to nearest, ties up; of the one product that leaves int32, the largest int32."""
    return min((a * b + 2**30) >> 31, INT32_MAX)


def rounding_right_shift(x: int, places: int) -> int:
    """Return x / 2^places rounded to nearest, ties away from zero."""
    return rounded(Fraction(x, 2**places), "ties_to_away")


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
