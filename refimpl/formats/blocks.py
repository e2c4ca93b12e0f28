"""Block formats: elements of few bits that share a scale.

=========  ============================================================================
MX         blocks of 32 elements and one power-of-two scale (E8M0) each
NVFP4      blocks of 16 FP4 elements, one E4M3 scale each, and one float32 for the tensor
=========  ============================================================================

A value is decoded as ``tensor scale * block scale * element``; the tensor scale is 1 for MX.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refimpl import _arguments
from refimpl.formats.floats import FLOATS, FloatFormat
from refimpl.formats.integers import INTEGERS, IntFormat
from refimpl.formats.sheet import NumberFormat


@dataclass(frozen=True, kw_only=True)
class BlockFormat(NumberFormat):
    """Describe a block format.

    Parameters
    ----------
    element : FloatFormat or IntFormat
        Of an IntFormat the value of a code is code * 2^(2 - bits), as in MXINT8, whose largest
        is just below 2.
    scale : FloatFormat
        E8M0, or another float format if `tensor_scale`.
    block_size : int
        Elements that share a scale, at least 1.
    tensor_scale : bool
        Whether a float32 scale of the whole tensor stands before the block scales (NVFP4).

    Raises
    ------
    TypeError, ValueError
        For fields that do not make a block format.

    Notes
    -----
    *Source*: OCP Microscaling formats 1.0; NVIDIA's NVFP4.

    Examples
    --------
    >>> from refimpl.formats import format
    >>> format("mxfp4_e2m1").bits_per_element, format("nvfp4").bits_per_element
    (4.25, 4.5)
    """

    element: FloatFormat | IntFormat
    scale: FloatFormat
    block_size: int
    tensor_scale: bool = False

    def __post_init__(self):
        element, scale = self.element, self.scale
        _arguments.instance("BlockFormat", "element", element, (FloatFormat, IntFormat), "a FloatFormat or IntFormat")
        _arguments.instance("BlockFormat", "scale", scale, FloatFormat, "a FloatFormat")
        object.__setattr__(self, "tensor_scale", _arguments.flag("BlockFormat", "tensor_scale", self.tensor_scale))
        size = _arguments.integer("BlockFormat", "block_size", self.block_size, _arguments.Interval(1))
        object.__setattr__(self, "block_size", size)

        def need(rule, holds, got):
            if not holds:
                raise ValueError(f"BlockFormat: {rule}; got {got}")

        if isinstance(element, FloatFormat):
            need(
                "a float element must be signed and have at most 16 bits",
                element.signed and element.bits <= 16,
                element,
            )
        else:
            fits = element.symmetric and not self.tensor_scale
            need("an integer element must be symmetric and without a tensor scale", fits, element)
        if self.tensor_scale:
            need(
                "with a tensor scale, the block scale has a NaN and a zero (fn or ieee), and neither it nor the "
                "element more than 7 mantissa bits",
                scale.specials in ("fn", "ieee") and scale.mantissa_bits <= 7 and self.grid.mantissa_bits <= 7,
                f"{scale} and {element}",
            )
        fits = (scale.specials == "e8m0") != self.tensor_scale
        need("the scale must be e8m0 without a tensor scale, and not e8m0 with one", fits, scale)

    @property
    def bits(self) -> int:
        """Bits of an element's code."""
        return self.element.bits

    @property
    def grid(self) -> FloatFormat:
        """The element as a float format; an integer one is fixed point, with the sign apart."""
        if isinstance(self.element, FloatFormat):
            return self.element
        return FloatFormat(exponent_bits=0, mantissa_bits=self.element.bits - 1, bias=0, specials="none")

    @property
    def max_exponent(self) -> int:
        """Exponent of the largest power of two an element can be, emax in the MX specification."""
        return self.grid.maxexp - 1

    @property
    def bits_per_element(self) -> float:
        """Bits an element takes with its part of the block scale, in bits."""
        return self.element.bits + self.scale.bits / self.block_size

    @property
    def name(self) -> str:
        """The catalogue's name, or a description."""
        return _NAMES.get(self) or (
            f"blocks of {self.block_size} {self.element.name} scaled by {self.scale.name}"
            + (" and float32" if self.tensor_scale else "")
        )


def _mx(element: FloatFormat | IntFormat) -> BlockFormat:
    return BlockFormat(element=element, scale=FLOATS["float8_e8m0fnu"], block_size=32)


BlockName = Literal["mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4_e2m1", "mxint8", "nvfp4"]
BLOCKS: dict[BlockName, BlockFormat] = {
    "mxfp8_e4m3": _mx(FLOATS["float8_e4m3fn"]),
    "mxfp8_e5m2": _mx(FLOATS["float8_e5m2"]),
    "mxfp6_e2m3": _mx(FLOATS["float6_e2m3fn"]),
    "mxfp6_e3m2": _mx(FLOATS["float6_e3m2fn"]),
    "mxfp4_e2m1": _mx(FLOATS["float4_e2m1fn"]),
    "mxint8": _mx(INTEGERS["int8"]),
    "nvfp4": BlockFormat(
        element=FLOATS["float4_e2m1fn"], scale=FLOATS["float8_e4m3fn"], block_size=16, tensor_scale=True
    ),
}
_NAMES = {fmt: name for name, fmt in BLOCKS.items()}
