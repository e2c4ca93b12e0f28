"""Blocks by way of floats: every element over its scale, for the fast paths of floats on their bits.

A quotient becomes a float *rounded to odd*: cut to so many bits, the last of which is set where something was cut
off.  Rounding that to fewer bits, two at least, is rounding the exact quotient (Boldo and Melquiond 2008).  A float32
has enough for every mode that is not stochastic, and for quotients by powers of two it has all; stochastic rounding
looks at 32 bits behind those that are kept, which a float64 has.  Magnitudes are moved into 2^-126 to 2^123, but
zeros: elements' formats lie well within.

For float32 one division of float64 is enough.  A number m of the element's format, or halfway between two, times a
scale d has at most 41 bits: 9 and 32 under two levels, 17 and 24 under one, 17 and 1 in MX.  So m d is a float64, and
where the value is m d the quotient is m.  Another value x lies at least a unit of float64 off m d: 2^(k - 52) where
2^k <= m d < 2^(k + 1), half of that below a power of two.  Half a unit of m, times d, is less in each case, so that
x / d does not round to m, nor beyond it.  For float64 a fused multiply-add tells what is left over, exactly.
"""

import numpy as np
from numba.extending import overload

from refimpl.kernels._compiled import compiled
from refimpl.kernels._fused import fused

FAST_PATH_OF = "blocks"

_LOW, _HIGH = 2.0**-126, 2.0**123
_LOW_BITS, _HIGH_BITS = (np.int64(np.float64(x).view(np.int64)) for x in (_LOW, _HIGH))
_HIDDEN, _29, _MAGNITUDE64 = np.int64(1 << 52), np.int64(29), np.int64((1 << 63) - 1)
_BIASES = np.uint64(896 << 52)  # between the exponent fields of float64 and float32
_CUT, _29U, _32U, _SIGN32 = np.uint64((1 << 29) - 1), np.uint64(29), np.uint64(32), np.uint32(1 << 31)


def fits(grid, scale) -> bool:
    """Tell whether such quotients serve elements of a format under scales of another."""
    return (
        grid.has_zero
        and grid.has_subnormals
        and grid.mantissa_bits <= 15
        and grid.min_exponent - grid.mantissa_bits >= -86  # 40 bits beyond the least are float32's
        and grid.maxexp <= 120
        and scale.min_exponent >= -200
        and scale.maxexp <= 200
    )


@compiled
def quotients(x, divisors, out, source):
    """Write x / divisor of each row, bits of floats rounded to odd, as said above; zeros where a divisor is 0.

    x: bits of finite floats with fields `source`, unsigned (rows, n); divisors: float64 (rows,), from 2^-1000 to
    2^1000; out: uint32 or uint64 (rows, n), bits of float32 or float64.
    """
    if source.mantissa_bits == 52:
        _of_float64(x, divisors, out)
        return
    shift, hidden = np.int32(23 - source.mantissa_bits), np.int32(1 << source.mantissa_bits)
    bias = np.int32((source.min_exponent + 126) << 23)
    unit = np.int32((source.min_exponent - source.mantissa_bits) << 23)
    mask, up = np.uint32((1 << source.sign_shift) - 1), np.uint32(31 - source.sign_shift)
    for row in range(x.shape[0]):
        divisor, some = divisors[row], divisors[row] > 0
        sign = _SIGN32 if some else np.uint32(0)
        for i in range(x.shape[1]):
            bits = np.uint32(x[row, i])
            magnitude = np.int32(bits & mask)
            normal = np.int32(np.int32(magnitude << (shift & np.int32(31))) + bias)
            subnormal = np.int32(np.float32(magnitude).view(np.int32) + unit)
            place = normal if magnitude >= hidden else subnormal  # bits of float32, its exponents going on below 0
            value = np.int64(np.int64(np.int64(place) << _29) + np.int64(_BIASES))
            usual = magnitude != np.int32(0) and some
            negative = np.uint32(np.uint32(bits << (up & np.uint32(31))) & sign)
            out[row, i] = _word(value.view(np.float64), divisor, usual, negative, out)


@compiled
def _of_float64(x, divisors, out):
    for row in range(x.shape[0]):
        divisor, some = divisors[row], divisors[row] > 0
        sign = _SIGN32 if some else np.uint32(0)
        for i in range(x.shape[1]):
            bits = np.int64(x[row, i])
            magnitude = np.int64(bits & _MAGNITUDE64)
            kept = magnitude if magnitude > _HIDDEN else _HIDDEN  # subnormals are far below all there is
            usual = magnitude != np.int64(0) and some
            negative = np.uint32(np.uint32(np.uint64(bits) >> _32U) & sign)
            out[row, i] = _word(np.int64(kept).view(np.float64), divisor, usual, negative, out)


@compiled
def quotients_of_float32(x, divisors, out):
    """Do as `quotients` for float32 that the machine takes as they are; subnormal ones, too."""
    for row in range(x.shape[0]):
        divisor, some = divisors[row], divisors[row] > 0
        for i in range(x.shape[1]):
            magnitude = np.uint32(x[row, i] & ~_SIGN32)
            usual = magnitude != np.uint32(0) and some
            value = np.float64(magnitude.view(np.float32))
            out[row, i] = _word(value, divisor, usual, np.uint32(x[row, i] & _SIGN32), out)


def _word(value, divisor, usual, sign, out):
    """Return the bits of value / divisor above zero, or of zero, and a sign bit, rounded to odd, for `out`."""
    return (float32_word if out.itemsize == 4 else float64_word)(value, divisor, usual, sign)


@overload(_word)
def _word_of(value, divisor, usual, sign, out):
    if out.dtype.bitwidth == 32:
        return lambda value, divisor, usual, sign, out: float32_word(value, divisor, usual, sign)
    return lambda value, divisor, usual, sign, out: float64_word(value, divisor, usual, sign)


@compiled
def float32_word(value, divisor, usual, sign):
    """Return value / divisor, float64 above zero, where it is usual, else zero, with a sign bit: bits of a float32."""
    value = np.float64(value / divisor)
    held = value if value > _LOW else _LOW
    held = np.float64(held if held < _HIGH else _HIGH)
    bits = np.uint64(held.view(np.uint64) - _BIASES)
    rest = np.uint64(np.uint64(np.uint64(bits & _CUT) + _CUT) >> _29U)
    found = np.uint32(np.uint64(bits >> _29U) | rest)
    return np.uint32((found if usual else np.uint32(0)) | sign)


@compiled
def float64_word(value, divisor, usual, sign):
    """Return likewise the bits of a float64."""
    quotient = np.float64(value / divisor)
    rest = fused(-quotient, divisor, value)
    bits = np.int64(quotient.view(np.int64) - np.int64(rest < 0)) | np.int64(rest != 0)
    bits = bits if bits > _LOW_BITS else _LOW_BITS
    bits = bits if bits < _HIGH_BITS else _HIGH_BITS
    return np.uint64((np.uint64(bits) if usual else np.uint64(0)) | np.uint64(np.uint64(sign) << _32U))


@compiled
def to_twos_complement(codes, sign):
    """Turn codes of sign and magnitude (unsigned (n,)) into two's complement, in place; sign: the highest bit."""
    for i in range(codes.size):
        code = np.int64(codes[i])
        codes[i] = codes.dtype.type(code if code < sign else (sign - code) & (2 * sign - 1))


@compiled
def decode(codes, scales, x, table):
    """Write scale * value of each code, rounded once from float64, which holds the product.

    codes: unsigned (rows, n); scales: float64 (rows,); x: float32 or float64 (rows, n); table: float64, the values of
    all codes, and again with the other sign, for scales below zero.
    """
    half = table.size // 2
    for row in range(codes.shape[0]):
        scale = abs(scales[row])
        first = half if np.signbit(scales[row]) else 0
        if scale != scale:
            x[row, :] = np.nan
            continue
        for i in range(codes.shape[1]):
            x[row, i] = x.dtype.type(table[first + codes[row, i]] * scale)
