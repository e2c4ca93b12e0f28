"""What a number format *is*: plain frozen records, their named catalogue, and the names of modes.

Standard library only.  How values are decoded, rounded and encoded stands in `refimpl.spec`.

A float code is laid out ``sign | exponent | mantissa``, most significant bit first.  The code
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

import difflib
import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

Specials = Literal["ieee", "fn", "fnuz", "none", "p3109_extended", "p3109_finite", "e8m0"]
Rounding = Literal[
    "ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative",
    "to_odd", "stochastic",
]  # fmt: skip
Overflow = Literal["overflow", "saturate", "propagate"]
NanRule = Literal["zero", "max", "raise"]

ROUNDINGS: tuple[str, ...] = get_args(Rounding)
OVERFLOWS: tuple[str, ...] = get_args(Overflow)
NAN_RULES: tuple[str, ...] = get_args(NanRule)


@dataclass(frozen=True, kw_only=True)
class FloatFormat:
    """Describe a binary floating-point format.

    Parameters
    ----------
    exponent_bits : int
        0 to 11.  With 0 every value is subnormal, that is, fixed point.
    mantissa_bits : int
        0 to 52, the stored ones: the hidden bit is not counted.
    bias : int, optional
        Default 2^(e-1) - 1, and 2^(e-1) for ``fnuz`` and the P3109 families
        (2^e for their unsigned members); 1 where there are no exponent bits.
    signed : bool
    specials : str
        The family of special values, see the table at the top of this module.
    has_subnormals : bool
        If not, exponent field 0 holds zero alone: codes with other mantissas are read as zero
        and values below the smallest normal round to it or to zero.

    Raises
    ------
    ValueError
        Where the fields do not make a format; the message names the rule.

    Notes
    -----
    *Source*: SOURCES 0 and 4; OCP OFP8 and MX, IEEE 754-2019, IEEE P3109 interim report.

    Examples
    --------
    >>> e4m3 = FloatFormat(exponent_bits=4, mantissa_bits=3, specials="fn")
    >>> e4m3.name, e4m3.max, e4m3.smallest_subnormal
    ('float8_e4m3fn', 448.0, 0.001953125)
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int | None = None
    signed: bool = True
    specials: Specials = "ieee"
    has_subnormals: bool = True

    def __post_init__(self):
        e, m, family = self.exponent_bits, self.mantissa_bits, self.specials

        def need(rule, holds):
            if not holds:
                raise ValueError(f"FloatFormat: {rule}; got {self._fields()}")

        if family == "e8m0":  # a scale has no subnormals: say so, so that equal formats are equal
            object.__setattr__(self, "has_subnormals", False)
        need(
            f"specials must be one of {', '.join(get_args(Specials))}", family in get_args(Specials)
        )
        need("exponent_bits must be a whole number from 0 to 11", _whole(e) and 0 <= e <= 11)
        need("mantissa_bits must be a whole number from 0 to 52", _whole(m) and 0 <= m <= 52)
        need("signed and has_subnormals must be True or False",
             isinstance(self.signed, bool) and isinstance(self.has_subnormals, bool))  # fmt: skip
        need("sign, exponent and mantissa must have 2 to 64 bits in all", 2 <= self.bits <= 64)
        if self.bias is None:
            object.__setattr__(self, "bias", _default_bias(e, self.signed, family))
        need("bias must be a whole number", _whole(self.bias))
        need("fnuz needs a sign bit, whose lone code is its NaN", family != "fnuz" or self.signed)
        need("ieee needs exponent_bits >= 1 and mantissa_bits >= 1 to tell NaN from infinity",
             family != "ieee" or (e >= 1 and m >= 1))  # fmt: skip
        need(
            "e8m0 scales are unsigned and have exponent bits",
            family != "e8m0" or (not self.signed and e),
        )
        need("a format without subnormals needs exponent_bits >= 1", self.has_subnormals or e)
        need("the special codes must leave a finite value above zero", self.max_code >= 1)

    def _fields(self) -> str:
        return (f"exponent_bits={self.exponent_bits!r}, mantissa_bits={self.mantissa_bits!r}, "
                f"bias={self.bias!r}, signed={self.signed!r}, specials={self.specials!r}, "
                f"has_subnormals={self.has_subnormals!r}")  # fmt: skip

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
        if field == 0 and self.has_subnormals:
            return math.ldexp(mantissa, self.min_exponent - m)
        return math.ldexp((1 << m) + mantissa, field - self.bias - m)

    @cached_property
    def max(self) -> float:
        """Largest finite value (a Python float; raises OverflowError if float64 cannot hold it)."""
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
        return math.ldexp(1.0, self.min_exponent)

    @property
    def smallest_subnormal(self) -> float:
        """Smallest value above zero (the smallest normal where there are no subnormals)."""
        if not self.has_subnormals or self.mantissa_bits == 0:
            return self.smallest_normal
        return math.ldexp(1.0, self.min_exponent - self.mantissa_bits)

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
        return math.frexp(self.max)[1]

    @property
    def name(self) -> str:
        """The catalogue's name, or one `format` reads back."""
        return _NAMES.get(self) or _systematic_name(self)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class IntFormat:
    """Describe an integer format for scaled quantization: value = scale * (code - zero point).

    Parameters
    ----------
    bits : int
        2 to 16.
    signed : bool
        Two's complement if signed.
    symmetric : bool
        If so, -2^(bits-1) is not used, so that the range is the same on both sides.

    Raises
    ------
    ValueError
        For other widths, and for an unsigned symmetric format.

    Examples
    --------
    >>> IntFormat(bits=8).min, IntFormat(bits=8).max
    (-127, 127)
    """

    bits: int
    signed: bool = True
    symmetric: bool | None = None

    def __post_init__(self):
        if self.symmetric is None:
            object.__setattr__(self, "symmetric", self.signed)
        if not (_whole(self.bits) and 2 <= self.bits <= 16):
            raise ValueError(
                f"IntFormat: bits must be a whole number from 2 to 16; got {self.bits!r}"
            )
        if self.symmetric and not self.signed:
            raise ValueError(
                "IntFormat: a symmetric format has a sign; use signed=True or symmetric=False"
            )

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
    def name(self) -> str:
        """``int8``, ``uint4``, and ``int8_full`` where -2^(bits-1) is used too."""
        if not self.signed:
            return f"uint{self.bits}"
        return f"int{self.bits}" if self.symmetric else f"int{self.bits}_full"

    def __str__(self) -> str:
        return self.name


def _whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _default_bias(exponent_bits: int, signed: bool, specials: str) -> int:
    if exponent_bits == 0:
        return 1
    if specials in ("p3109_extended", "p3109_finite"):
        return 2 ** (exponent_bits - 1)
    return 2 ** (exponent_bits - 1) - (specials != "fnuz")


# -- names ------------------------------------------------------------------------------------

_CATALOGUE: dict[str, FloatFormat] = {
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
_NAMES: dict[FloatFormat, str] = {record: name for name, record in _CATALOGUE.items()}

# The part of a standard name behind "floatN_", where it does not also read as a systematic name.
_ALIASES = {
    "binary16": "float16", "binary32": "float32", "binary64": "float64", "half": "float16",
    "e4m3fn": "float8_e4m3fn", "e4m3fnuz": "float8_e4m3fnuz", "e5m2fnuz": "float8_e5m2fnuz",
    "e4m3b11fnuz": "float8_e4m3b11fnuz", "e8m0fnu": "float8_e8m0fnu", "e2m3fn": "float6_e2m3fn",
    "e3m2fn": "float6_e3m2fn", "e2m1fn": "float4_e2m1fn",
}  # fmt: skip

_SUFFIX = {"none": "", "ieee": "ieee", "fn": "fn", "fnuz": "fnuz", "p3109_extended": "p3109e",
           "p3109_finite": "p3109f", "e8m0": "scale"}  # fmt: skip
_SYSTEMATIC = re.compile(
    r"e(?P<e>\d+)m(?P<m>\d+)(b(?P<bias>-?\d+))?(?P<suffix>ieee|fnuz|fn|p3109e|p3109f|scale)?"
    r"(?P<unsigned>_unsigned)?(?P<flush>_flush)?"
)
_INTEGER = re.compile(r"(?P<u>u?)int(?P<bits>\d+)(?P<full>_full)?")


def _systematic_name(fmt: FloatFormat) -> str:
    default = _default_bias(fmt.exponent_bits, fmt.signed, fmt.specials)
    return (
        f"e{fmt.exponent_bits}m{fmt.mantissa_bits}"
        + (f"b{fmt.bias}" if fmt.bias != default else "")
        + _SUFFIX[fmt.specials]
        + ("" if fmt.signed else "_unsigned")
        + ("" if fmt.has_subnormals or fmt.specials == "e8m0" else "_flush")
    )


def names() -> tuple[str, ...]:
    """Return the names of the catalogue.

    Examples
    --------
    >>> "bfloat16" in names()
    True
    """
    return tuple(_CATALOGUE)


def format(name: str | FloatFormat | IntFormat) -> FloatFormat | IntFormat:
    """Return the format of a name; a format is returned as it is.

    Parameters
    ----------
    name : str
        A name of the catalogue (``float8_e4m3fn``, or short ``e4m3fn``), ``int8``, ``uint4``,
        or a systematic one, ``e4m3``: E exponent and M mantissa bits and *every code finite*
        (the formats of the PEPPP paper), to which may be added ``b`` and a bias, a family
        (``ieee fn fnuz p3109e p3109f``), ``_unsigned``, and ``_flush`` for no subnormals.

    Raises
    ------
    ValueError
        If no format has this name; near names are suggested.

    Examples
    --------
    >>> format("e4m3").max, format("e4m3fn").max, format("float8_e4m3").max
    (480.0, 448.0, 240.0)
    >>> format("e5m2").name, format("int8").max
    ('e5m2', 127)
    """
    if isinstance(name, (FloatFormat, IntFormat)):
        return name
    if not isinstance(name, str):
        raise TypeError(f"format: expected a format or its name, got {type(name).__name__}")
    key = _ALIASES.get(name, name)
    if key in _CATALOGUE:
        return _CATALOGUE[key]
    if found := _SYSTEMATIC.fullmatch(key):
        return FloatFormat(
            exponent_bits=int(found["e"]),
            mantissa_bits=int(found["m"]),
            bias=None if found["bias"] is None else int(found["bias"]),
            specials=next(k for k, v in _SUFFIX.items() if v == (found["suffix"] or "")),
            signed=not (found["unsigned"] or found["suffix"] == "scale"),
            has_subnormals=not found["flush"],
        )
    if found := _INTEGER.fullmatch(key):
        return IntFormat(bits=int(found["bits"]), signed=not found["u"],
                         symmetric=False if found["full"] or found["u"] else None)  # fmt: skip
    known = [*_CATALOGUE, *_ALIASES, "int8", "int4", "uint8", "e4m3", "e8m7"]
    near = difflib.get_close_matches(name, known, n=3) or ["float8_e4m3fn", "e4m3", "int8"]
    raise ValueError(f"format: unknown format {name!r}; did you mean {', '.join(near)}? "
                     "(any eEmM such as e5m2 is a format too)")  # fmt: skip
