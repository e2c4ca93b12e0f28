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

    >>> as_bits = lambda x: struct.unpack("<I", struct.pack("<f", x))[0]
    >>> as_float = lambda b: struct.unpack("<f", struct.pack("<I", b))[0]
    >>> [as_float(float_quantize(as_bits(x), 4, 3)) for x in (1.0625, 1e9, -1e-9)]
    [1.125, 480.0, 0.0]
    """
    if mantissa_bits == 23:
        return bits
    exponent = (bits >> 23 & 0xFF) - 127
    lowest = 2 - 2 ** (exponent_bits - 1)
    if exponent < lowest:
        shift = struct.unpack("<I", struct.pack("<f", 2.0**lowest))[0] | (bits & SIGN)
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
    x, y = _value(a), _value(b)
    exact = x + y
    if exact == 0:
        return SIGN if a & b & SIGN else 0
    sign = SIGN if exact < 0 else 0
    magnitude = abs(exact)
    exponent = max(magnitude.numerator.bit_length() - magnitude.denominator.bit_length() - 1, -126)
    while magnitude >= Fraction(2) ** (exponent + 1):
        exponent += 1
    steps = round(magnitude / Fraction(2) ** (exponent - 23))  # ties to even
    return sign | ((exponent + 126 << 23) + steps)


def _value(bits: int) -> Fraction:
    field, mantissa = bits >> 23 & 0xFF, bits & 0x7FFFFF
    significand = mantissa | (0x800000 if field else 0)
    value = significand * Fraction(2) ** (max(field, 1) - 150)
    return -value if bits & SIGN else value
