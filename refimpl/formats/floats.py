"""Binary floating-point formats.

A code is laid out ``sign | exponent | mantissa``, most significant bit first.  The code
without its sign bit is the *magnitude code* c.  With M = c mod 2^m and E = c div 2^m, where
m = `mantissa_bits` (the hidden bit is never counted):

    E = 0 and subnormals:   value = M * 2^(1 - bias - m)
    otherwise:              value = (2^m + M) * 2^(E - bias - m)

so values grow with the magnitude code, up to `max_code`; the codes above it, and in some families
the code of minus zero, are special:

==================  ==========================================================================
family (specials)   special codes
==================  ==========================================================================
``ieee``            top exponent: M = 0 infinity, M > 0 NaN
``fn``              all magnitude bits set: NaN; no infinity
``fnuz``            the code of minus zero is the one NaN; no infinity, no minus zero
``none``            every code is finite, as in QPyTorch and in the PEPPP paper
``p3109_extended``  IEEE P3109: one NaN, no minus zero, infinities at the top
``p3109_finite``    IEEE P3109: one NaN, no minus zero, no infinity
``e8m0``            OCP MX scales: unsigned powers of two, no zero; all bits set is NaN
==================  ==========================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

from refimpl import _arguments
from refimpl.formats.modes import FAMILIES, Specials
from refimpl.formats.sheet import NumberFormat, hex_code

FloatName = Literal[
    "float16",
    "bfloat16",
    "tf32",
    "float32",
    "float64",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e5m2",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e4m3b11fnuz",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float4_e2m1fn",
]

LARGEST_BIAS = 2**17  # wider exponents than any published format, and powers of two stay printable


@dataclass(frozen=True, kw_only=True)
class FloatFormat(NumberFormat):
    """Describe a binary floating-point format.

    Parameters
    ----------
    exponent_bits : int
        0 to 16.  With 0 every value is subnormal, that is, fixed point.  Above 11 some values lie
        beyond float64: `refimpl.decode` gives them as fractions, `refimpl.codes` computes with them.
    mantissa_bits : int
        0 to 52, the stored ones: the hidden bit is not counted.
    bias : int, optional
        Default 2^(e-1) - 1, and 2^(e-1) for ``fnuz`` and the P3109 families; 1 where there are no
        exponent bits.  From -2^17 to 2^17.
    signed : bool
    specials : str
        The family of special values, see the table at the top of this module.
    has_subnormals : bool
        If not, exponent field 0 holds zero alone: codes with other mantissas are read as zero
        and values below the smallest normal round to it or to zero.

    Raises
    ------
    TypeError, ValueError
        Where the fields do not make a format; the message names the rule.

    Notes
    -----
    *Source*: OCP OFP8 and MX, IEEE 754-2019, IEEE P3109 interim report.

    Examples
    --------
    >>> e4m3 = FloatFormat(exponent_bits=4, mantissa_bits=3, specials="fn")
    >>> e4m3.name, e4m3.max, e4m3.smallest_subnormal
    ('float8_e4m3fn', 448.0, 0.001953125)
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int = None  # type: ignore[assignment]  # an integer once the format is made
    signed: bool = True
    specials: Specials = "ieee"
    has_subnormals: bool = True

    def __post_init__(self):
        def put(name, value):
            object.__setattr__(self, name, value)

        def need(rule, holds):
            if not holds:
                fields = ("exponent_bits", "mantissa_bits", "bias", "signed", "specials", "has_subnormals")
                got = ", ".join(f"{name}={getattr(self, name)!r}" for name in fields)
                raise ValueError(f"FloatFormat: {rule}; got {got}")

        for name, most in (("exponent_bits", 16), ("mantissa_bits", 52)):
            put(name, _arguments.integer("FloatFormat", name, getattr(self, name), _arguments.Interval(0, most)))
        for name in ("signed", "has_subnormals"):
            put(name, _arguments.flag("FloatFormat", name, getattr(self, name)))
        e, m = self.exponent_bits, self.mantissa_bits
        family = _arguments.choice("FloatFormat", "specials", self.specials, FAMILIES)
        if family == "e8m0":  # a scale has no subnormals: say so, so that equal formats are equal
            put("has_subnormals", False)
        if self.bias is None:
            put("bias", default_bias(e, self.signed, family))
        limits = _arguments.Interval(-LARGEST_BIAS, LARGEST_BIAS)
        put("bias", _arguments.integer("FloatFormat", "bias", self.bias, limits))
        need(
            "sign, exponent and mantissa must have 2 to 64 bits in all, of which the sign is one if there are 64",
            2 <= self.bits <= 63 + self.signed,
        )
        need("fnuz needs a sign bit, whose lone code is its NaN", family != "fnuz" or self.signed)
        need(
            "ieee needs exponent_bits >= 1 and mantissa_bits >= 1 to tell NaN from infinity",
            family != "ieee" or (e >= 1 and m >= 1),
        )
        need("e8m0 scales are unsigned and have exponent bits", family != "e8m0" or (not self.signed and e))
        need("a format without subnormals needs exponent_bits >= 1", self.has_subnormals or e)
        first = 1 if self.has_subnormals or not self.has_zero else 1 << m
        need("the special codes must leave a finite value above zero", self.max_code >= first)

    # -- the layout of codes ----------------------------------------------------------------

    @property
    def bits(self) -> int:
        """Width of a code in bits."""
        return int(self.signed) + self.exponent_bits + self.mantissa_bits

    @property
    def sign_mask(self) -> int:
        """The code with only the sign bit set; 0 for an unsigned format."""
        return 1 << (self.exponent_bits + self.mantissa_bits) if self.signed else 0

    @property
    def max_code(self) -> int:
        """Magnitude code of the largest finite value."""
        top = (1 << (self.exponent_bits + self.mantissa_bits)) - 1
        if self.specials == "ieee":
            return top - (1 << self.mantissa_bits)
        if self.specials == "p3109_extended":
            return top - 1 if self.signed else top - 2
        if self.specials in ("fn", "e8m0") or (self.specials == "p3109_finite" and not self.signed):
            return top - 1
        return top

    @property
    def infinity_code(self) -> int | None:
        """Magnitude code of infinity, None where there is none."""
        return self.max_code + 1 if self.specials in ("ieee", "p3109_extended") else None

    @property
    def nan_code(self) -> int | None:
        """The code written for NaN (quiet, sign bit clear where a NaN has one), or None."""
        top = (1 << (self.exponent_bits + self.mantissa_bits)) - 1
        if self.specials == "ieee":
            return self.max_code + 1 + (1 << (self.mantissa_bits - 1))
        if self.specials in ("fn", "e8m0"):
            return top
        if self.specials == "none":
            return None
        return self.sign_mask if self.signed else top  # fnuz, P3109

    @property
    def nan_has_sign(self) -> bool:
        """Whether NaN comes in two signs (as in ieee and fn formats with a sign bit)."""
        return self.signed and self.specials in ("ieee", "fn")

    @property
    def has_minus_zero(self) -> bool:
        """Whether zero has two codes."""
        return self.signed and self.specials in ("ieee", "fn", "none")

    @property
    def has_zero(self) -> bool:
        """Whether zero is a value at all (not in e8m0)."""
        return self.specials != "e8m0"

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal value, which is 2^min_exponent."""
        return -self.bias if self.specials == "e8m0" else 1 - self.bias

    # -- NumPy finfo's names ----------------------------------------------------------------

    def _magnitude(self, code: int) -> float:
        m = self.mantissa_bits
        field, mantissa = divmod(code, 1 << m)
        if field == 0 and (self.has_subnormals or self.has_zero):  # a mantissa that flushes is zero
            return self._float64(mantissa * self.has_subnormals, self.min_exponent - m)
        return self._float64((1 << m) + mantissa, field - self.bias - m)

    def _float64(self, significand: int, exponent: int) -> float:
        """Return significand * 2^exponent if that is a float64, and refuse otherwise."""
        if significand == 0:
            return 0.0
        zeros = (significand & -significand).bit_length() - 1
        if significand.bit_length() + exponent > 1024 or zeros + exponent < -1074:
            raise OverflowError(
                f"{self.name}: {significand} * 2^{exponent} is not a float64; "
                "refimpl.spec.float_codes gives exact fractions"
            )
        return math.ldexp(significand, exponent)

    @cached_property
    def max(self) -> float:
        """Largest finite value (a Python float; OverflowError if float64 cannot hold it)."""
        return self._magnitude(self.max_code)

    @property
    def min(self) -> float:
        """Most negative finite value; 0 (or the smallest scale) for an unsigned format."""
        return -self.max if self.signed else 0.0 if self.has_zero else self.smallest_normal

    @property
    def eps(self) -> float:
        """Distance from 1 to the next larger value of this precision, 2^-mantissa_bits."""
        return 2.0**-self.mantissa_bits

    @property
    def smallest_normal(self) -> float:
        """Smallest value with a hidden bit."""
        return self._float64(1, self.min_exponent)

    @property
    def smallest_subnormal(self) -> float:
        """Smallest value above zero (the smallest normal where there are no subnormals)."""
        if not self.has_subnormals or self.mantissa_bits == 0:
            return self.smallest_normal
        return self._float64(1, self.min_exponent - self.mantissa_bits)

    @property
    def nmant(self) -> int:
        """Mantissa bits, the hidden one not counted."""
        return self.mantissa_bits

    @property
    def nexp(self) -> int:
        """Exponent bits."""
        return self.exponent_bits

    @property
    def minexp(self) -> int:
        """Exponent of the smallest normal value."""
        return self.min_exponent

    @property
    def maxexp(self) -> int:
        """Smallest power of two above every finite value, as an exponent."""
        field, mantissa = divmod(self.max_code, 1 << self.mantissa_bits)
        if field == 0 and self.has_subnormals:
            return mantissa.bit_length() + self.min_exponent - self.mantissa_bits
        return field - self.bias + 1

    @property
    def name(self) -> str:
        """The catalogue's name, or one `refimpl.format` reads back."""
        if self in _NAMES:
            return _NAMES[self]
        usual = self.bias == default_bias(self.exponent_bits, self.signed, self.specials)
        if self.specials.startswith("p3109") and usual and self.has_subnormals and self.exponent_bits:
            sign, domain = "s" if self.signed else "u", "e" if self.specials == "p3109_extended" else "f"
            return f"binary{self.bits}p{self.mantissa_bits + 1}{sign}{domain}"
        return (
            f"e{self.exponent_bits}m{self.mantissa_bits}"
            + ("" if usual else f"b{self.bias}")
            + SUFFIXES[self.specials]
            + ("" if self.signed else "_unsigned")
            + ("" if self.has_subnormals or self.specials == "e8m0" else "_flush")
        )

    @property
    def fits_float64(self) -> bool:
        """Whether float64 holds every finite value."""
        return self.maxexp <= 1024 and self.min_exponent - self.mantissa_bits >= -1074

    def values(self) -> list[float]:
        """Return every finite value once, ascending (formats of at most 16 bits).

        >>> FloatFormat(exponent_bits=2, mantissa_bits=1, specials="none").values()[7:]
        [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
        """
        if self.bits > 16:
            raise ValueError(f"{self.name}.values: there are 2^{self.bits} codes; decode the ones you need")
        magnitudes = {self._magnitude(code) for code in self._magnitude_codes()}
        return sorted(magnitudes | {-value for value in magnitudes if value} if self.signed else magnitudes)

    def _magnitude_codes(self):
        """Yield the magnitude codes of all values: without subnormals, zero and the normals."""
        if self.has_subnormals or not self.has_zero:
            return range(self.max_code + 1)
        return [0, *range(1 << self.mantissa_bits, self.max_code + 1)]

    def special_codes(self) -> dict[str, str]:
        """Return the codes of zeros, the largest value, infinities and NaN, in hexadecimal."""
        sign = self.sign_mask
        with_signs = (0, sign) if sign else (0,)
        infinity, nan = self.infinity_code, self.nan_code
        codes = {
            "zero": [0] if self.has_zero else [],
            "minus zero": [sign] if self.has_minus_zero else [],
            "largest": [self.max_code],
            "infinity": [] if infinity is None else [infinity | s for s in with_signs],
            "NaN": [] if nan is None else [nan | s for s in (with_signs if self.nan_has_sign else (0,))],
        }
        texts = {kind: ", ".join(hex_code(code, self) for code in some) or "none" for kind, some in codes.items()}
        if self.specials == "ieee" and self.mantissa_bits > 1:  # every code above infinity
            first, last = self.max_code + 2, (1 << (self.exponent_bits + self.mantissa_bits)) - 1
            texts["NaN"] = ", ".join(f"{hex_code(first | s, self)} to {hex_code(last | s, self)}" for s in with_signs)
        return texts


def default_bias(exponent_bits: int, signed: bool, specials: str) -> int:
    """Return the bias a format has when none is given."""
    if exponent_bits == 0:
        return 1
    if specials in ("p3109_extended", "p3109_finite"):
        return 2 ** (exponent_bits - 1)
    return 2 ** (exponent_bits - 1) - (specials != "fnuz")


def to_float32(x: Fraction) -> float:
    """Return an exact number rounded to float32 once, ties to even; beyond its range an infinity.

    >>> to_float32(Fraction(1, 3)) == 11184811 / 2**25, to_float32(Fraction(2**128 - 2**103))
    (True, inf)
    """
    if x == 0:
        return 0.0
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()  # floor(log2 |x|), or one more
    if abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    unit = max(exponent - 23, -149)  # of the spacing of float32 around x
    steps = round(x / Fraction(2) ** unit)  # Python rounds a Fraction to the nearest, ties to even
    return math.copysign(math.inf, steps) if abs(steps) << (unit + 149) >= 1 << 277 else math.ldexp(steps, unit)


SUFFIXES: dict[Specials, str] = {
    "none": "",
    "ieee": "ieee",
    "fn": "fn",
    "fnuz": "fnuz",
    "p3109_extended": "p3109e",
    "p3109_finite": "p3109f",
    "e8m0": "scale",
}
"""What a systematic name such as e4m3fnuz has behind its numbers, by family."""

FLOATS: dict[FloatName, FloatFormat] = {
    "float16": FloatFormat(exponent_bits=5, mantissa_bits=10),
    "bfloat16": FloatFormat(exponent_bits=8, mantissa_bits=7),
    "tf32": FloatFormat(exponent_bits=8, mantissa_bits=10),
    "float32": FloatFormat(exponent_bits=8, mantissa_bits=23),
    "float64": FloatFormat(exponent_bits=11, mantissa_bits=52),
    "float8_e3m4": FloatFormat(exponent_bits=3, mantissa_bits=4),
    "float8_e4m3": FloatFormat(exponent_bits=4, mantissa_bits=3),
    "float8_e5m2": FloatFormat(exponent_bits=5, mantissa_bits=2),
    "float8_e4m3fn": FloatFormat(exponent_bits=4, mantissa_bits=3, specials="fn"),
    "float8_e4m3fnuz": FloatFormat(exponent_bits=4, mantissa_bits=3, specials="fnuz"),
    "float8_e4m3b11fnuz": FloatFormat(exponent_bits=4, mantissa_bits=3, bias=11, specials="fnuz"),
    "float8_e5m2fnuz": FloatFormat(exponent_bits=5, mantissa_bits=2, specials="fnuz"),
    "float8_e8m0fnu": FloatFormat(exponent_bits=8, mantissa_bits=0, signed=False, specials="e8m0"),
    "float6_e2m3fn": FloatFormat(exponent_bits=2, mantissa_bits=3, specials="none"),
    "float6_e3m2fn": FloatFormat(exponent_bits=3, mantissa_bits=2, specials="none"),
    "float4_e2m1fn": FloatFormat(exponent_bits=2, mantissa_bits=1, specials="none"),
}
_NAMES = {fmt: name for name, fmt in FLOATS.items()}
