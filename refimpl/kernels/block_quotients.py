"""Blocks by way of float32: every element over its scale, for the fast paths of `refimpl.kernels.float32_codes`.

A quotient becomes a float32 *rounded to odd*: cut to 24 bits, the last of which is set where something was cut
off.  Rounding that to fewer than 23 bits is rounding the exact quotient (Boldo and Melquiond 2008), in every mode
that is not stochastic.  Magnitudes are moved into 2^-126 to 2^123, but zeros: elements' formats lie well within.

One division of float64 is enough.  A number m of the element's format, or halfway between two, times a scale d has
at most 41 bits: 9 and 32 under two levels, 17 and 24 under one, 17 and 1 in MX.  So m d is a float64, and where the
value is m d the quotient is m.  Another value x lies at least a unit of float64 off m d: 2^(k - 52) where 2^k <= m d
< 2^(k + 1), half of that below a power of two.  Half a unit of m, times d, is less in each case, so that x / d does not
round to m, nor beyond it.
"""

import numpy as np

from refimpl.kernels._compiled import compiled

FAST_PATH_OF = "blocks"

_LOW, _HIGH = 2.0**-126, 2.0**123
_HIDDEN, _29, _MAGNITUDE64 = np.int64(1 << 52), np.int64(29), np.int64((1 << 63) - 1)
_BIASES = np.uint64(896 << 52)  # between the exponent fields of float64 and float32
_CUT, _29U, _SIGN32 = np.uint64((1 << 29) - 1), np.uint64(29), np.uint32(1 << 31)


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
    """Write x / divisor of each row, bits of float32 rounded to odd, as said above; zeros where a divisor is 0.

    x: bits of finite floats with fields `source`, unsigned (rows, n); divisors: float64 (rows,), from 2^-1000 to
    2^1000; out: uint32 (rows, n).
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
            found = _to_odd(np.float64(value.view(np.float64) / divisor))
            found = found if magnitude != np.int32(0) and some else np.uint32(0)
            out[row, i] = np.uint32(found | np.uint32(np.uint32(bits << (up & np.uint32(31))) & sign))


@compiled
def _of_float64(x, divisors, out):
    for row in range(x.shape[0]):
        divisor, some = divisors[row], divisors[row] > 0
        sign = _SIGN32 if some else np.uint32(0)
        for i in range(x.shape[1]):
            bits = np.int64(x[row, i])
            magnitude = np.int64(bits & _MAGNITUDE64)
            kept = magnitude if magnitude > _HIDDEN else _HIDDEN  # subnormals are far below all there is
            found = _to_odd(np.float64(np.int64(kept).view(np.float64) / divisor))
            found = found if magnitude != np.int64(0) and some else np.uint32(0)
            out[row, i] = np.uint32(found | np.uint32(np.uint32(np.uint64(bits) >> np.uint64(32)) & sign))


@compiled
def _to_odd(value):
    """Return the bits of a float32 rounded to odd from a positive float64."""
    held = value if value > _LOW else _LOW
    held = np.float64(held if held < _HIGH else _HIGH)
    bits = np.uint64(held.view(np.uint64) - _BIASES)
    rest = np.uint64(np.uint64(np.uint64(bits & _CUT) + _CUT) >> _29U)
    return np.uint32(np.uint64(bits >> _29U) | rest)


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
