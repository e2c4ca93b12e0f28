"""Posits: tapered precision, one zero, one NaR, and no other special code.

A code is read as a signed two's complement integer.  Behind the sign of a positive code stand a
*regime*, a run of k equal bits and the bit that ends it, then `exponent_bits` bits of exponent
and a fraction; fields that the end of the code cuts off are filled up with zeros.  With r = k - 1
for a run of ones and r = -k for a run of zeros,

    value = (1 + fraction) * 2^(r * 2^exponent_bits + exponent)

and a negative code stands for minus the value of its two's complement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from refimpl import _arguments
from refimpl.formats.sheet import NumberFormat, hex_code


@dataclass(frozen=True)
class PositFormat(NumberFormat):
    """Describe a posit format.

    Parameters
    ----------
    bits : int
        3 to 32, n in the literature.
    exponent_bits : int
        0 to 5, es in the literature.  The standard of 2022 fixes it to 2.

    Raises
    ------
    TypeError, ValueError
        For other numbers.

    Notes
    -----
    *Source*: the posit standard (2022).

    Examples
    --------
    >>> posit8 = PositFormat(8, 2)
    >>> posit8.name, posit8.max, posit8.smallest == 2.0**-24, hex(posit8.nar_code)
    ('posit8_2', 16777216.0, True, '0x80')
    """

    bits: int
    exponent_bits: int = 2

    def __post_init__(self):
        for name, low, high in (("bits", 3, 32), ("exponent_bits", 0, 5)):  # every value is then a float64
            value = _arguments.integer("PositFormat", name, getattr(self, name), _arguments.Interval(low, high))
            object.__setattr__(self, name, value)

    @property
    def nar_code(self) -> int:
        """The code of NaR, "not a real"."""
        return 1 << (self.bits - 1)

    @property
    def max(self) -> float:
        """Largest value, 2^(2^es * (n - 2))."""
        return math.ldexp(1.0, (self.bits - 2) << self.exponent_bits)

    @property
    def min(self) -> float:
        """Most negative value."""
        return -self.max

    @property
    def smallest(self) -> float:
        """Smallest value above zero, 1 / max."""
        return 1.0 / self.max

    @property
    def eps(self) -> float:
        """Distance from 1 to the next larger value."""
        fraction_bits = self.bits - 3 - self.exponent_bits
        if fraction_bits >= 0:
            return 2.0**-fraction_bits
        # part of the exponent field is cut off: the next value is 2 to the power of its step
        return 2.0 ** (1 << -fraction_bits) - 1.0

    @property
    def name(self) -> str:
        """``posit8_2``: bits and exponent bits."""
        return f"posit{self.bits}_{self.exponent_bits}"

    def values(self) -> list[float]:
        """Return every value once, ascending (formats of at most 16 bits).

        >>> PositFormat(4, 0).values()[7:]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0]
        """
        if self.bits > 16:
            raise ValueError(f"{self.name}.values: there are 2^{self.bits} codes; decode the ones you need")
        positive = [self._magnitude(code) for code in range(1, self.nar_code)]
        return [*(-value for value in reversed(positive)), 0.0, *positive]

    def _magnitude(self, code: int) -> float:
        body, length = code, self.bits - 1  # the bits behind the sign
        ones = body >> (length - 1)
        run = length - ((body ^ ((1 << length) - 1)) if ones else body).bit_length()
        regime = run - 1 if ones else -run
        left = max(length - run - 1, 0)  # bits of exponent and fraction
        rest = (body & ((1 << left) - 1)) << self.exponent_bits  # so that no exponent bit is missing
        exponent, fraction = divmod(rest, 1 << left)
        return math.ldexp((1 << left) + fraction, (regime << self.exponent_bits) + exponent - left)

    def special_codes(self) -> dict[str, str]:
        """Return the codes of zero and NaR, in hexadecimal."""
        return {"zero": hex_code(0, self), "NaR": hex_code(self.nar_code, self)}


PositName = Literal["posit8_2", "posit16_2", "posit32_2"]
POSITS: dict[PositName, PositFormat] = {
    "posit8_2": PositFormat(8, 2),
    "posit16_2": PositFormat(16, 2),
    "posit32_2": PositFormat(32, 2),
}
