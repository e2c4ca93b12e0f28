"""Uniform symmetric integer quantization of one value: code = clip(round(x / scale)).

*Source*: SOURCES 3, equation 2.
"""

from __future__ import annotations

import struct
from fractions import Fraction

from refimpl.formats import IntFormat


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
    exact = Fraction(largest_magnitude) / fmt.max
    return max(to_float32(exact), 2.0**-149)


def encode(x: float, fmt: IntFormat, scale: float) -> int:
    """Return the code of a finite value: the exact quotient x / scale, ties to even, clipped.

    >>> from refimpl.formats import format
    >>> encode(2.5, format("int8"), 1.0), encode(-1e9, format("int8"), 1.0)
    (2, -127)
    """
    return min(max(round(Fraction(x) / Fraction(scale)), fmt.min), fmt.max)


def decode(code: int, scale: float) -> float:
    """Return scale * code rounded once to float32."""
    return to_float32(Fraction(scale) * code)


def to_float32(x: Fraction) -> float:
    """Return x >= 0 or x < 0 rounded to float32, ties to even, through its 24-bit significand."""
    if x == 0:
        return 0.0
    from refimpl.formats import format
    from refimpl.spec import float_codes

    value = float_codes.Value("finite", x < 0, abs(x))
    code = float_codes.encode(value, format("float32"))
    return struct.unpack(">f", code.to_bytes(4, "big"))[0]
