"""Posits: decode by reading the fields, encode by searching for the two neighbouring codes.

*Rule of rounding*: the boundary between the codes c and c + 1 of an n-bit posit is the value of the
code 2c + 1 of the (n + 1)-bit posit; a value on the boundary goes to the even code.  Where the
fraction is cut off completely this is the geometric, not the arithmetic, mean.  A value above zero
never becomes zero, and a finite one never NaR.

*Source*: posit standard (2022), with other exponent sizes allowed.
"""

from __future__ import annotations

from fractions import Fraction

from refimpl.formats import PositFormat
from refimpl.spec.float_codes import Value


def decode(code: int, fmt: PositFormat) -> Value:
    """Return the value of a code; NaR is a NaN.

    >>> from refimpl.formats import format
    >>> [str(decode(code, format("posit8_2")).magnitude) for code in (0x40, 0x41, 0x7F, 0x01)]
    ['1', '9/8', '16777216', '1/16777216']
    """
    if code == fmt.nar_code:
        return Value("nan", False)
    if code == 0:
        return Value("finite", False)
    negative = code > fmt.nar_code
    return Value("finite", negative, magnitude(2**fmt.bits - code if negative else code, fmt.bits, fmt.exponent_bits))


def magnitude(code: int, bits: int, exponent_bits: int) -> Fraction:
    """Return the value of a positive code."""
    text = f"{code:0{bits}b}"[1:]  # the bits behind the sign
    run = len(text) - len(text.lstrip(text[0]))
    regime = run - 1 if text[0] == "1" else -run
    rest = text[run + 1 :]  # behind the bit that ends the run
    exponent = int(rest[:exponent_bits].ljust(exponent_bits, "0") or "0", 2)
    fraction = rest[exponent_bits:]
    significand = 1 + Fraction(int(fraction or "0", 2), 2 ** len(fraction))
    return significand * Fraction(2) ** (regime * 2**exponent_bits + exponent)


def encode(value: Value, fmt: PositFormat) -> int:
    """Return the code of a value: NaR for infinities and NaN, else the nearest code.

    >>> from refimpl.formats import format
    >>> from refimpl.spec.float_codes import from_float
    >>> [hex(encode(from_float(x), format("posit8_2"))) for x in (1.0, -1.0, 1e99, 1e-99)]
    ['0x40', '0xc0', '0x7f', '0x1']
    """
    if value.kind != "finite":
        return fmt.nar_code
    if value.magnitude == 0:
        return 0
    code = round_to_code(value.magnitude, fmt)
    return 2**fmt.bits - code if value.negative else code


def round_to_code(x: Fraction, fmt: PositFormat) -> int:
    """Return the code of x > 0, from 1 to 2^(bits - 1) - 1."""
    n, es = fmt.bits, fmt.exponent_bits
    low, high = 1, 2 ** (n - 1) - 1
    if x <= magnitude(low, n, es):
        return low
    if x >= magnitude(high, n, es):
        return high
    while high - low > 1:  # magnitude(low) <= x < magnitude(high)
        middle = (low + high) // 2
        if magnitude(middle, n, es) <= x:
            low = middle
        else:
            high = middle
    if x == magnitude(low, n, es):
        return low
    boundary = magnitude(2 * low + 1, n + 1, es)
    if x == boundary:
        return low if low % 2 == 0 else high
    return low if x < boundary else high
