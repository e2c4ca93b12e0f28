"""Block formats: elements of few bits that share a scale.

=========  ============================================================================
MX         blocks of 32 elements and one power-of-two scale (E8M0) each
NVFP4      blocks of 16 FP4 elements, one E4M3 scale each, and one float32 for the tensor
=========  ============================================================================

A value is decoded as ``tensor scale * block scale * element``; the tensor scale is 1 for MX.
"""

from __future__ import annotations

from dataclasses import dataclass

from refimpl.formats.floats import FloatFormat
from refimpl.formats.integers import IntFormat
from refimpl.formats.modes import whole


@dataclass(frozen=True, kw_only=True)
class BlockFormat:
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
        if not isinstance(self.element, (FloatFormat, IntFormat)):
            raise TypeError(
                f"BlockFormat: element must be a FloatFormat or IntFormat, got {type(self.element).__name__}"
            )
        if not isinstance(self.scale, FloatFormat):
            raise TypeError(f"BlockFormat: scale must be a FloatFormat, got {type(self.scale).__name__}")
        if isinstance(self.element, FloatFormat) and (not self.element.signed or self.element.bits > 16):
            raise ValueError(
                f"BlockFormat: a float element must be signed and have at most 16 bits; got {self.element}"
            )
        if isinstance(self.element, IntFormat) and (not self.element.symmetric or self.tensor_scale):
            raise ValueError(
                f"BlockFormat: an integer element must be symmetric and without a tensor scale; got {self.element}"
            )
        if self.tensor_scale and not (
            self.scale.specials in ("fn", "ieee") and self.scale.mantissa_bits <= 7 and self.element.mantissa_bits <= 7
        ):
            raise ValueError(
                "BlockFormat: with a tensor scale, the block scale has a NaN and a zero "
                "(fn or ieee), and neither it nor the element more than 7 mantissa bits; "
                f"got {self.scale} and {self.element}"
            )
        if (self.scale.specials == "e8m0") == self.tensor_scale:
            raise ValueError(
                f"BlockFormat: the scale must be e8m0 without a tensor scale, and not e8m0 with one; got {self.scale}"
            )
        if not whole(self.block_size) or self.block_size < 1:
            raise ValueError(f"BlockFormat: block_size must be a whole number above 0; got {self.block_size!r}")

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
        """Bits an element takes with its share of the block scale, in bits."""
        return self.element.bits + self.scale.bits / self.block_size

    @property
    def name(self) -> str:
        """The catalogue's name, or a description."""
        from refimpl.formats.names import block_name

        return block_name(self)

    def __str__(self) -> str:
        return self.name

    def _repr_html_(self) -> str:
        from refimpl.formats.sheet import html

        return html(self)
