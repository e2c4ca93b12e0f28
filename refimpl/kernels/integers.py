"""Uniform integer quantization of arrays; the definition is `refimpl.spec.integers`.

*Rows*: x has one row for each scale.  A float64 quotient of two float32 numbers is never rounded
onto a tie it is not on: a quotient that is not k + 1/2, |k| < 2^17, differs from it by a part of at
least 2^-(24 + 18), so that one rounding to float64 and one to an integer give the correctly rounded
integer.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels.float_codes import _random_integer, round_away

QUOTIENTS = ("exact", "float32", "reciprocal", "fbgemm")
_FAR = 2.0**18  # steps: beyond every code, whatever the zero point
_SMALLEST, _LARGEST = np.float32(2.0**-149), np.float32((2 - 2.0**-23) * 2.0**127)


@compiled
def scale(x, scales, largest_code):
    """Write the scale of each row: its largest magnitude / largest_code, rounded to float32.

    x: float32 (rows, n), finite; scales: float32 (rows,).  The quotient of a float32 number and an
    integer below 2^16 never rounds in float64 onto a tie between float32 numbers.
    """
    for row in range(x.shape[0]):
        largest = np.float32(0)
        for i in range(x.shape[1]):
            largest = max(largest, abs(x[row, i]))
        scales[row] = _within(_float32_scale(np.float64(largest), largest_code), largest_code)


@compiled
def _float32_scale(width, steps):
    if width == 0:
        return np.float32(1)
    return np.float32(min(max(np.float32(width / steps), _SMALLEST), _LARGEST))


@compiled
def _within(scale, steps):
    """Return the scale, or the largest float32 below it that times the steps rounds to a finite float32."""
    if np.isfinite(np.float32(np.float64(scale) * np.float64(steps))):
        return scale
    most = np.float32(np.float64(_LARGEST) / np.float64(steps))
    if np.isfinite(np.float32(np.float64(most) * np.float64(steps))):
        return most
    return np.nextafter(most, np.float32(0))


@compiled
def affine(low, high, scales, zero_points, smallest, largest):
    """Write scale and zero point of each row with values from low to high (float32 (rows,))."""
    for row in range(low.size):
        below = min(np.float64(low[row]), 0.0)
        above = max(np.float64(high[row]), 0.0)
        # The width, rounded to odd: the result lies on the same side of every tie between float32
        # numbers as the exact width / steps, because 25 bits times steps fit the 52 even bits.
        width = above - below
        back = width - above
        error = (above - (width - back)) + (-below - back)
        if error != 0 and np.float64(width).view(np.uint64) & np.uint64(1) == np.uint64(0):
            width = np.nextafter(width, np.inf if error > 0 else -np.inf)
        if width == 0:
            scales[row], zero_points[row] = np.float32(1), min(max(0, smallest), largest)
            continue
        step = _float32_scale(width, largest - smallest)
        zero = min(max(np.float64(smallest) - np.rint(below / np.float64(step)), smallest), largest)
        scales[row] = _within(step, max(zero - smallest, largest - zero))
        zero_points[row] = np.int32(zero)


@compiled
def encode(x, codes, scales, zero_points, smallest, largest):
    """Write clip(round(x / scale) + zero point), ties to even, of each row of x.

    x: float32 (rows, n), finite; codes: integers (rows, n); scales: float32 (rows,); zero_points:
    int32 (rows,).
    """
    for row in range(x.shape[0]):
        step, zero = np.float64(scales[row]), np.float64(zero_points[row])
        for i in range(x.shape[1]):
            code = np.rint(np.float64(x[row, i]) / step) + zero
            codes[row, i] = np.int32(min(max(code, smallest), largest))


@compiled
def _fused(x, inverse, zero):
    """Return x * inverse + zero rounded once to float32: the sum rounded to odd in float64, then to float32."""
    product, zero = np.float64(x) * np.float64(inverse), np.float64(zero)
    total = product + zero
    back = total - product
    error = (product - (total - back)) + (zero - back)
    if error != 0 and np.float64(total).view(np.uint64) & np.uint64(1) == np.uint64(0):
        total = np.nextafter(total, np.inf if error > 0 else -np.inf)
    return np.float64(np.float32(total))


@compiled
def encode_as(x, codes, scales, zero_points, smallest, largest, quotient, mode, words):
    """Write clip(round(quotient) + zero point) of each row of x, in any mode.

    As `encode`; quotient: index into QUOTIENTS; words: uint32 (rows, n), read by stochastic rounding alone.
    The whole steps and 64 bits of the fraction come from remainders, which float64 has exactly.
    """
    for row in range(x.shape[0]):
        scale, zero = scales[row], np.int64(zero_points[row])
        inverse = np.float32(1) / scale
        for i in range(x.shape[1]):
            value, unit = np.float64(x[row, i]), np.float64(1)
            if quotient == 0:
                unit = np.float64(scale)
            elif quotient == 1:
                value = np.float64(np.float32(x[row, i] / scale))
            elif quotient == 2:
                value = np.float64(np.float32(x[row, i] * inverse))
            else:
                value = _fused(x[row, i], inverse, zero)
            negative, value = value < 0, abs(value)
            steps, fraction, rest = np.uint64(_FAR), np.uint64(0), np.float64(0)
            if value < _FAR * unit:
                rest = np.fmod(value, unit)
                steps = np.uint64((value - rest) / unit)
                for _ in range(4):
                    moved = rest * 65536.0
                    rest = np.fmod(moved, unit)
                    fraction = (fraction << np.uint64(16)) | np.uint64((moved - rest) / unit)
            random = _random_integer(words[row], i, mode)
            steps += np.uint64(
                round_away(steps & np.uint64(1) == np.uint64(0), fraction, rest != 0, negative, mode, random)
            )
            code = -np.int64(steps) if negative else np.int64(steps)
            if quotient != 3:
                code += zero
            codes[row, i] = np.int32(min(max(code, smallest), largest))


@compiled
def decode(codes, x, scales, zero_points):
    """Write scale * (code - zero point), rounded once to float32 (exact in float64)."""
    for row in range(codes.shape[0]):
        step, zero = np.float64(scales[row]), np.int64(zero_points[row])
        for i in range(codes.shape[1]):
            x[row, i] = np.float32(step * np.float64(np.int64(codes[row, i]) - zero))
