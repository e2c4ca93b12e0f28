"""Integer formats: codes that mean something together with a scale and a zero point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refimpl import _arguments
from refimpl.formats.floats import FloatFormat
from refimpl.formats.sheet import NumberFormat


@dataclass(frozen=True, kw_only=True)
class IntFormat(NumberFormat):
    """Describe an integer format for scaled quantization: value = scale * (code - zero point).

    Parameters
    ----------
    bits : int
        1 to 16.
    signed : bool
        Two's complement if signed.
    symmetric : bool, optional
        If so, -2^(bits-1) is not used, so that the range is the same on both sides.
        Default: as `signed`.  One bit cannot be symmetric.

    Raises
    ------
    TypeError, ValueError
        For other widths, and for an unsigned symmetric format.

    Examples
    --------
    >>> IntFormat(bits=8).min, IntFormat(bits=8).max
    (-127, 127)
    >>> IntFormat(bits=4, symmetric=False).name, IntFormat(bits=4, signed=False).max
    ('int4_full', 15)
    """

    bits: int
    signed: bool = True
    symmetric: bool = None  # type: ignore[assignment]  # True or False once the format is made

    def __post_init__(self):
        def put(name, value):
            object.__setattr__(self, name, value)

        put("bits", _arguments.integer("IntFormat", "bits", self.bits, _arguments.Interval(1, 16)))
        put("signed", _arguments.flag("IntFormat", "signed", self.signed))
        symmetric = self.signed if self.symmetric is None else self.symmetric
        put("symmetric", _arguments.flag("IntFormat", "symmetric", symmetric))
        if self.symmetric and not self.signed:
            raise ValueError("IntFormat: a symmetric format has a sign; use signed=True or symmetric=False")
        if self.symmetric and self.bits == 1:
            raise ValueError("IntFormat: one symmetric bit leaves only zero; use symmetric=False")

    @property
    def max(self) -> int:
        """Largest code."""
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1

    @property
    def min(self) -> int:
        """Smallest code."""
        if not self.signed:
            return 0
        return -self.max if self.symmetric else -self.max - 1

    @property
    def grid(self) -> FloatFormat:
        """The codes -max to max of a signed format as a float format: fixed point, in steps of 1.

        >>> IntFormat(bits=8).grid.max, IntFormat(bits=8).grid.smallest_subnormal
        (127.0, 1.0)
        """
        bits = self.bits - 1
        return FloatFormat(exponent_bits=0, mantissa_bits=bits, bias=1 - bits, specials="none")

    @property
    def name(self) -> str:
        """``int8``, ``uint4``, and ``int8_full`` where -2^(bits-1) is used too."""
        if not self.signed:
            return f"uint{self.bits}"
        return f"int{self.bits}" if self.symmetric else f"int{self.bits}_full"


IntName = Literal[
    "int2",
    "int4",
    "int8",
    "int16",
    "int1_full",
    "int2_full",
    "int4_full",
    "int8_full",
    "int16_full",
    "uint1",
    "uint2",
    "uint4",
    "uint8",
    "uint16",
]
INTEGERS: dict[IntName, IntFormat] = {
    record.name: record  # type: ignore[misc]  # the names are those of the list above
    for record in [
        *(IntFormat(bits=bits) for bits in (2, 4, 8, 16)),
        *(IntFormat(bits=bits, symmetric=False) for bits in (1, 2, 4, 8, 16)),
        *(IntFormat(bits=bits, signed=False) for bits in (1, 2, 4, 8, 16)),
    ]
}
