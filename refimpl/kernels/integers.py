"""Uniform integer quantization of arrays; the definition is `refimpl.spec.integers`.

*Rows*: x has one row for each scale.  A float64 quotient of two float32 numbers is never rounded
onto a tie it is not on: a quotient that is not k + 1/2, |k| < 2^17, differs from it by a part of at
least 2^-(24 + 18), so that one rounding to float64 and one to an integer give the correctly rounded
integer.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels._fused import fused
from refimpl.kernels.float_codes import (
    STOCHASTIC,
    STOCHASTIC_B,
    STOCHASTIC_C,
    TIES_TO_AWAY,
    TIES_TO_EVEN,
    TO_ODD,
    TOWARD_NEGATIVE,
    TOWARD_POSITIVE,
)

QUOTIENTS = ("exact", "float32", "reciprocal", "fbgemm")
_FAR = 2.0**18  # steps: beyond every code, whatever the zero point
_PIECE = 1024  # elements worked on at a time
_2_TO_63 = 2.0**63
_0, _1, _31, _32, _63 = (np.uint64(k) for k in (0, 1, 31, 32, 63))
_HALF, _BELOW_ONE = np.uint64(1 << 62), np.uint64((1 << 63) - 1)
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
def _quotients(x, found, scale, zero, quotient):
    """Write the quotients of x (float32 (n,)), exact ones rounded to odd: to 53 bits, the last of which is set."""
    inverse, step = np.float32(1) / scale, np.float64(scale)
    if quotient == 0:
        for i in range(x.size):
            value = np.float64(x[i])
            near = np.float64(value / step)
            rest = fused(-near, step, value)
            bits = np.float64(near).view(np.int64) - np.int64(rest != 0 and (rest < 0) == (value > 0))
            found[i] = np.int64(bits | np.int64(rest != 0)).view(np.float64)
    elif quotient == 1:
        for i in range(x.size):
            found[i] = np.float64(np.float32(x[i] / scale))
    elif quotient == 2:
        for i in range(x.size):
            found[i] = np.float64(np.float32(x[i] * inverse))
    else:
        for i in range(x.size):
            found[i] = np.float64(fused(x[i], inverse, np.float32(zero)))


@compiled
def _noise(mode):
    """Return what is added to 63 bits of a fraction so that it carries where the mode goes up.

    A pair for positive and negative quotients, what more for odd ones; and of a random word the bits that count, the
    half unit beside them, and whether an odd integer of these bits goes up from just above a sum of one alone.
    """
    r, n = mode.rounding, np.uint64(mode.random_bits)
    plus, minus, odd = _0, _0, _0
    if r == TIES_TO_EVEN:
        plus, minus, odd = _HALF - _1, _HALF - _1, _1
    elif r == TIES_TO_AWAY:
        plus, minus = _HALF, _HALF
    elif r == TO_ODD:
        plus, minus, odd = _BELOW_ONE, _BELOW_ONE, _0 - _BELOW_ONE
    elif r == TOWARD_POSITIVE:
        plus = _BELOW_ONE
    elif r == TOWARD_NEGATIVE:
        minus = _BELOW_ONE
    elif r == STOCHASTIC_B or r == STOCHASTIC_C:
        plus = minus = _HALF >> n
    kept = (_1 << _32) - (_1 << (_32 - n))
    return plus, minus, odd, kept, _32 - n, np.uint64(r == STOCHASTIC_C)


@compiled
def encode_as(x, codes, scales, zero_points, smallest, largest, quotient, mode, words):
    """Write clip(round(quotient) + zero point) of each row of x, in any mode.

    As `encode`; quotient: index into QUOTIENTS; words: uint32 (rows, n), read by stochastic rounding alone.
    The fraction of a quotient below _FAR keeps 35 bits or more, and whether there is something behind them.
    """
    plus, minus, of_odd, kept, place, tie = _noise(mode)
    drawn = mode.rounding >= STOCHASTIC
    found = np.empty(min(_PIECE, x.shape[1]), np.float64)
    for row in range(x.shape[0]):
        zero = np.int64(0 if quotient == 3 else zero_points[row])
        for start in range(0, x.shape[1], _PIECE):
            part = x[row, start : start + _PIECE]
            _quotients(part, found, scales[row], zero_points[row], quotient)
            into = codes[row, start : start + _PIECE]
            for i in range(part.size):
                value = found[i]
                size = min(abs(value), _FAR)
                steps = np.int64(size)
                scaled = (size - np.float64(steps)) * _2_TO_63
                fraction = np.uint64(np.int64(scaled))
                fraction |= np.uint64(scaled != np.float64(np.int64(fraction)))
                noise = (minus if value < 0 else plus) + of_odd * np.uint64(steps & 1)
                if drawn:
                    word = np.uint64(words[row, start + i])
                    noise += ((word & kept) << _31) - ((word >> place) & tie)
                steps += np.int64((fraction + noise) >> _63)
                code = (-steps if value < 0 else steps) + zero
                into[i] = np.int32(min(max(code, smallest), largest))


@compiled
def decode(codes, x, scales, zero_points):
    """Write scale * (code - zero point), rounded once to float32 (exact in float64)."""
    for row in range(codes.shape[0]):
        step, zero = np.float64(scales[row]), np.int64(zero_points[row])
        for i in range(codes.shape[1]):
            x[row, i] = np.float32(step * np.float64(np.int64(codes[row, i]) - zero))
