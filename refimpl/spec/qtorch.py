"""QPyTorch's `float_quantize`, bit for bit, quirks included: what PEPPP's own numbers rest on.

It is *not* the rounding of `refimpl.spec.float_codes`.  Its format has every code finite and the bias
2^(e-1) - 1, and:

1. "nearest" takes ties away from zero;
2. below the normal range the value is added to the smallest normal in float32 first, and so
   rounded twice: to float32 with ties to even, then to the format;
3. what rounds to zero there is +0, and so is -0;
4. an overflow saturates, an infinity too, unless e = 8, whose largest value float32 cannot tell
   from infinity;
5. NaN is read as the number its bits would be: it saturates, or carries into the sign bit.

*Source*: the published source of QPyTorch (arXiv 1910.04540), its CPU kernel.
"""

from __future__ import annotations

import struct
from fractions import Fraction

from refimpl.formats.floats import to_float32

SIGN = 0x80000000


def float_quantize(
    bits: int, exponent_bits: int, mantissa_bits: int, rounding: str = "nearest", random: int = 0
) -> int:
    """Return the bits of a float32 after QPyTorch's rounding.

    Parameters
    ----------
    bits : int
        Of a float32, from 0 to 2^32 - 1.
    exponent_bits : int
        1 to 8.
    mantissa_bits : int
        0 to 23; with 23 nothing is rounded (the original shifts by -1 there).
    rounding : str
        "nearest" or "stochastic".
    random : int
        For stochastic rounding: its low 23 - mantissa_bits bits are added to those dropped.

    >>> [_value(float_quantize(_bits(x), 4, 3)) for x in (1.0625, 1e9, -1e-9)]
    [1.125, 480.0, 0.0]
    """
    if mantissa_bits == 23:
        return bits
    exponent = (bits >> 23 & 0xFF) - 127
    lowest = 2 - 2 ** (exponent_bits - 1)
    if exponent < lowest:
        shift = _bits(2.0**lowest) | (bits & SIGN)
        rounded = _truncate(_add(bits, shift), mantissa_bits, rounding, random)
        return _add(rounded, shift ^ SIGN)
    rounded = _truncate(bits, mantissa_bits, rounding, random)
    highest = 2 ** (exponent_bits - 1)
    if (rounded >> 23 & 0xFF) > 127 + highest:
        mantissa = 0x7FFFFF >> (23 - mantissa_bits) << (23 - mantissa_bits)
        return (bits & SIGN) | (127 + highest) << 23 | mantissa
    return rounded


def _truncate(bits: int, mantissa_bits: int, rounding: str, random: int) -> int:
    """Add half a step, or the random bits, and cut; a carry may run into the sign."""
    step = 2 ** (23 - mantissa_bits)
    noise = step // 2 if rounding == "nearest" else random % step
    return (bits + noise) // step * step % 2**32


def _add(a: int, b: int) -> int:
    """Return the bits of the float32 sum of two finite float32 numbers, ties to even."""
    exact = Fraction(_value(a)) + Fraction(_value(b))
    return _bits(to_float32(exact)) if exact else a & b & SIGN


def _bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]


def _value(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits))[0]
