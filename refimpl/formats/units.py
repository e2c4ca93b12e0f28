"""Matrix units: how accelerators add the products of a dot product.

A unit takes a few products at a time (a *group*), and its accumulator, to a new accumulator.  Each operand is
significand * 2^exponent, with 1 <= significand < 2; a subnormal one has its format's smallest exponent and a
significand below 1; zero has significand 0 and exponent -126.  What a group does is said by `MatrixUnit.sum`:

============  =========================================================================================
``aligned``   the exact products, and in most units the accumulator, are shifted to the largest exponent among
              them, cut to `fraction_bits` bits behind the point, added exactly, and rounded to the accumulator
``pairwise``  float32 arithmetic: products rounded, halves of the group added, the accumulator last
``fma``       one fused multiply-add after the other
============  =========================================================================================

*Sources*: Xie, Wang, Yang, Yang, MMA-Sim (arXiv 2511.10909); Fasi, Higham, Mikaitis, Pranesh, Numerical behavior of
NVIDIA tensor cores (PeerJ CS 2021); DeepSeek-V3 (arXiv 2412.19437) for sums promoted every 128 products.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from refimpl import _arguments
from refimpl.formats.floats import FLOATS, FloatFormat

SUMS = ("aligned", "pairwise", "fma")
CUTS = ("toward_zero", "toward_negative", "ties_to_even", "to_odd")
ALIGNMENTS = ("factors", "products")
FP22 = FloatFormat(exponent_bits=8, mantissa_bits=13)
FP8 = ("float8_e4m3fn", "float8_e5m2")
FNUZ = ("float8_e4m3fnuz", "float8_e5m2fnuz")
FP8_FP6_FP4 = (*FP8, "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn")


@dataclass(frozen=True, kw_only=True)
class MatrixUnit:
    """Describe a matrix unit; the defaults are Hopper's for 16-bit operands.

    Parameters
    ----------
    operands : tuple of str
        Names of the formats it multiplies, in any mixture; of at most 24 significant bits, but for ``fma``.
    terms : int
        Products in a group, 1 to 1024.  A last group that is not full is filled with zeros, as libraries do.
    sum : str
        ``aligned``, ``pairwise`` or ``fma``; what follows up to `minus_zero` is for ``aligned``.
    fraction_bits : int
        Bits kept behind the point of the largest exponent, 0 to 48.
    cut : str
        What becomes of bits below: ``toward_zero``, ``toward_negative``, ``ties_to_even``, or ``to_odd``, a last
        bit that says that something was cut off (sticky).
    align : str
        By the exponents of ``factors`` (a product's significand is in [1, 4)), or by that of the ``products``,
        normalised to [1, 2).
    carry_bits : int, optional
        Bits of the register above the two of a product; a sum that needs more wraps around.  None: enough.
    halves : bool
        With `joined`: even-numbered and odd-numbered products are summed apart; then both sums are aligned, cut
        toward negative to `fraction_bits`, and added.
    joined : (int, int), optional
        None: the accumulator is one of the terms.  Else it joins the sum of the products afterwards: both are
        aligned, and cut toward negative to so many bits behind the point, the sum and the accumulator.
    reach : int, optional
        With `joined`: an accumulator whose exponent is further below the larger one counts as 0.
    infinite_from : int, optional
        Products of 2^this or more are infinite, unless an infinity or NaN is among the terms, which then decides.
    minus_zero : bool
        Whether a negative sum too small for the accumulator gives -0.
    nan_ones : bool
        Whether NaN is written with all bits but the sign set, as NVIDIA's units do.
    into : FloatFormat
        The accumulator's format.
    rounding : str
        Of what goes into it: ``toward_zero`` (beyond the largest value: infinity, all the same) or ``ties_to_even``.
    float16 : bool
        Whether the unit also accumulates in float16, to nearest (``accumulate="float16"``).
    operand_bits : int, optional
        Mantissa bits of the operands that are kept; the rest is cut off.
    flush : bool
        Subnormal operands and results count as 0.
    promote : int, optional
        After so many products (a multiple of `terms`) the accumulator is added to a float32 register, to nearest,
        and begins again from 0.
    scales : tuple of str
        Formats of block scales; empty where there are none.
    block : int
        Elements along k that share a scale; 0 where there are no scales.
    inner : int
        With `scales`: 1 where scales add to the exponents of products (powers of two); else so many products are
        added exactly, the sum is multiplied by its two scales, exponent that of the scales, and aligned.

    Raises
    ------
    TypeError, ValueError
        For fields that do not make a unit.

    Notes
    -----
    NaN gives NaN, an infinite term infinity, unless another of the other sign makes it NaN.

    Examples
    --------
    >>> unit("hopper-fp8").fraction_bits, unit("hopper-fp8").into.name, unit("blackwell-fp8").fraction_bits
    (13, 'e8m13ieee', 25)
    """

    operands: tuple[str, ...] = ("float16", "bfloat16")
    terms: int = 16
    sum: Literal["aligned", "pairwise", "fma"] = "aligned"
    fraction_bits: int = 25
    cut: Literal["toward_zero", "toward_negative", "ties_to_even", "to_odd"] = "toward_zero"
    align: Literal["factors", "products"] = "factors"
    carry_bits: int | None = None
    halves: bool = False
    joined: tuple[int, int] | None = None
    reach: int | None = None
    infinite_from: int | None = None
    minus_zero: bool = False
    nan_ones: bool = True
    into: FloatFormat = FLOATS["float32"]
    rounding: Literal["toward_zero", "ties_to_even"] = "toward_zero"
    float16: bool = False
    operand_bits: int | None = None
    flush: bool = False
    promote: int | None = None
    scales: tuple[str, ...] = ()
    block: int = 0
    inner: int = 1

    def __post_init__(self):
        def need(name, allowed, holds):
            if not holds:
                raise _arguments.wrong_value("MatrixUnit", name, getattr(self, name), allowed)

        for name, known in (("sum", SUMS), ("cut", CUTS), ("align", ALIGNMENTS)):
            _arguments.choice("MatrixUnit", name, getattr(self, name), known, meant={"sticky": "to_odd"})
        for name in ("halves", "minus_zero", "nan_ones", "float16", "flush"):
            _arguments.flag("MatrixUnit", name, getattr(self, name))
        _arguments.choice("MatrixUnit", "rounding", self.rounding, ("toward_zero", "ties_to_even"))
        for name, low, high in (("terms", 1, 1024), ("fraction_bits", 0, 48), ("inner", 1, 1024)):
            _arguments.integer("MatrixUnit", name, getattr(self, name), _arguments.Interval(low, high))
        for name in ("carry_bits", "reach", "infinite_from", "operand_bits"):
            if getattr(self, name) is not None:
                _arguments.integer("MatrixUnit", name, getattr(self, name), _arguments.Interval(0, 1 << 16))
        if not isinstance(self.operands, tuple) or not self.operands or not set(self.operands) <= set(FLOATS):
            raise _arguments.wrong_value("MatrixUnit", "operands", self.operands, f"names among {', '.join(FLOATS)}")
        narrow = self.sum == "fma" or all(fmt.mantissa_bits <= 23 for n, fmt in FLOATS.items() if n in self.operands)
        need("operands", "formats of at most 24 significant bits, but for fma", narrow)
        named = isinstance(self.scales, tuple) and set(self.scales) <= set(FLOATS)
        need("scales", "names of float formats, such as float8_e8m0fnu", named)
        need("scales", "empty but for aligned sums", self.sum == "aligned" or not self.scales)
        _arguments.instance("MatrixUnit", "into", self.into, FloatFormat, "a FloatFormat")
        within = self.into.mantissa_bits <= 23 and self.into.exponent_bits <= 8 and self.into.specials == "ieee"
        need("into", "an IEEE format within float32", within or self.sum == "fma")
        if self.joined is not None:
            fits = isinstance(self.joined, tuple) and len(self.joined) == 2 and all(0 <= n <= 48 for n in self.joined)
            need("joined", "None or two numbers of bits, 0 to 48", fits)
        need(
            "halves", "False where the accumulator is one of the terms: joined is None", self.joined or not self.halves
        )
        chunk, block = self.promote, self.block
        need("promote", "None or a multiple of terms", chunk is None or chunk > 0 and chunk % self.terms == 0)
        fits = block > 0 and self.terms % block == block % self.inner == 0
        allowed = "a divisor of terms, and a multiple of inner, where there are scales, else 0"
        need("block", allowed, fits if self.scales else not block)
        need("inner", "1 where there are no scales", self.inner == 1 or bool(self.scales))

    def accumulating(self, accumulate: str) -> MatrixUnit:
        """Return the unit with the accumulator chosen: ``float32`` is its usual one.

        >>> unit("hopper-fp8").accumulating("float16").into.name
        'float16'
        """
        if accumulate == "float16" and self.float16:
            return replace(self, into=FLOATS["float16"], rounding="ties_to_even", float16=False)
        return self


_NVIDIA = MatrixUnit(operands=("float16",), float16=True)
_AMD = MatrixUnit(operands=("float16",), sum="pairwise", terms=4, rounding="ties_to_even", nan_ones=False)
_CDNA3 = MatrixUnit(
    operands=("float16",),
    terms=8,
    fraction_bits=24,
    joined=(31, 24),
    infinite_from=128,
    minus_zero=True,
    nan_ones=False,
    rounding="ties_to_even",
)


def _nvidia(name: str, bits: int, sixteen: int, tf32: int) -> dict[str, MatrixUnit]:
    base = replace(_NVIDIA, fraction_bits=bits, terms=sixteen)
    wide = replace(base, float16=False)
    return {
        f"{name}-f16": base,
        f"{name}-bf16": replace(wide, operands=("bfloat16",)),
        f"{name}-tf32": replace(wide, operands=("float32", "tf32"), terms=tf32, operand_bits=10),
        f"{name}-f64": _fma("float64"),
    }


def _blackwell(name: str) -> dict[str, MatrixUnit]:
    wide = replace(_NVIDIA, operands=FP8_FP6_FP4, terms=32)
    four = replace(
        _NVIDIA,
        operands=("float4_e2m1fn",),
        terms=64,
        fraction_bits=35,
        float16=False,
        scales=("float8_e8m0fnu",),
        block=32,
        inner=16,
    )
    return _nvidia(name, 25, 16, 8) | {
        f"{name}-fp8": wide,
        f"{name}-mxfp8": replace(wide, float16=False, scales=("float8_e8m0fnu",), block=32),
        f"{name}-mxfp4": four,
        f"{name}-nvfp4": replace(four, block=16, scales=("float8_e4m3fn", "float8_e8m0fnu")),
    }


def _fma(fmt: Literal["float32", "float64"]) -> MatrixUnit:
    return MatrixUnit(operands=(fmt,), terms=1, sum="fma", into=FLOATS[fmt], rounding="ties_to_even", nan_ones=False)


def _cdna(name: str, unit: MatrixUnit) -> dict[str, MatrixUnit]:
    return {
        f"{name}-f16": unit,
        f"{name}-bf16": replace(unit, operands=("bfloat16",), terms=2),
        f"{name}-bf16-1k": replace(unit, operands=("bfloat16",)),
        f"{name}-f32": _fma("float32"),
    }


_narrow = replace(_NVIDIA, operands=FP8, fraction_bits=13, into=FP22)

UNITS: dict[str, MatrixUnit] = {
    "volta-f16": replace(_NVIDIA, fraction_bits=23, terms=4),
    "turing-f16": replace(_NVIDIA, fraction_bits=24, terms=8),
    **_nvidia("ampere", 24, 8, 4),
    **_nvidia("ada", 24, 8, 4),
    "ada-fp8": replace(_narrow, terms=16),
    **_nvidia("hopper", 25, 16, 8),
    "hopper-fp8": replace(_narrow, terms=32),
    "hopper-fp8-promoted": replace(_narrow, terms=32, promote=128, float16=False),
    **_blackwell("blackwell"),
    **_blackwell("rtx-blackwell"),
    **_cdna("cdna1", _AMD),
    **_cdna("cdna2", replace(_AMD, flush=True)),
    "cdna2-f64": _fma("float64"),
    "cdna3-f16": _CDNA3,
    "cdna3-bf16": replace(_CDNA3, operands=("bfloat16",)),
    "cdna3-xf32": replace(_CDNA3, operands=("float32", "tf32"), terms=4, operand_bits=10),
    "cdna3-fp8": replace(_CDNA3, operands=FNUZ, terms=16, halves=True, reach=25),
    "cdna3-f32": _fma("float32"),
    "cdna3-f64": _fma("float64"),
}
"""Units by name, ARCHITECTURE-OPERANDS."""


def unit(name: str | MatrixUnit, caller: str = "unit") -> MatrixUnit:
    """Return the unit of a name.

    >>> unit("hoper-fp8")
    Traceback (most recent call last):
    ValueError: unit: unknown unit 'hoper-fp8'; did you mean 'hopper-fp8'?; see refimpl.formats.units.UNITS
    """
    if isinstance(name, MatrixUnit):
        return name
    if isinstance(name, str) and name in UNITS:
        return UNITS[name]
    near = _arguments.nearest(name, UNITS)
    text = f"{caller}: unknown unit {_arguments.shown(name)}" + (f"; did you mean {near[0]!r}?" if near else "")
    raise ValueError(f"{text}; see refimpl.formats.units.UNITS")
