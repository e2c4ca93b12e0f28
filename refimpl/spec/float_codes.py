"""Decode and encode one value: ``encode = code of (saturate (round_to_precision (value)))``.

*Notation* (as IEEE P3109): for a positive X, Q is the exponent of the spacing of values around X,
s = X * 2^-Q, f = floor(s) and nu = s - f the fraction that rounding has to decide on.

*Sources*: IEEE P3109 interim report 4.0 (round, saturate, encode), IEEE 754-2019 (rounding modes),
OCP OFP8 (overflow).  Defaults give the same codes as casting float32 to the ml_dtypes type of the same name.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple

from refimpl.formats import FloatFormat
from refimpl.spec import moved

RANDOM_BITS = 32  # width of the random integers that "stochastic" rounding consumes


class Value(NamedTuple):
    """A number as formats know them: finite ones are exact, and zeros, infinities, NaN have signs."""

    kind: Literal["finite", "infinite", "nan"]
    negative: bool
    magnitude: Fraction = Fraction(0)


def from_float(x: float) -> Value:
    """Return the Value of a Python float, exactly.

    >>> from_float(-0.75)
    Value(kind='finite', negative=True, magnitude=Fraction(3, 4))
    """
    negative = struct.pack(">d", x)[0] >= 0x80
    if math.isnan(x):
        return Value("nan", negative)
    if math.isinf(x):
        return Value("infinite", negative)
    return Value("finite", negative, abs(Fraction(x)))


def to_float(value: Value) -> float:
    """Return the Python float nearest to a Value (exact for every format of at most 53 bits).

    >>> to_float(Value("finite", True, Fraction(3, 4)))
    -0.75
    """
    if value.kind == "nan":
        magnitude = math.nan
    elif value.kind == "infinite":
        magnitude = math.inf
    else:
        try:
            magnitude = float(value.magnitude)
        except OverflowError:
            magnitude = math.inf
    return math.copysign(magnitude, -1.0 if value.negative else 1.0)


def decode(code: int, fmt: FloatFormat) -> Value:
    """Return the value of a code.

    >>> from refimpl.formats import format
    >>> [to_float(decode(code, format("float8_e4m3fn"))) for code in (0x01, 0x7E, 0x7F, 0x80)]
    [0.001953125, 448.0, nan, -0.0]
    """
    magnitude_code = code & ~fmt.sign_mask
    negative = bool(code & fmt.sign_mask)
    if code == fmt.nan_code and not fmt.nan_has_sign:
        return Value("nan", False)
    if magnitude_code <= fmt.max_code:
        return Value("finite", negative, magnitude(magnitude_code, fmt))
    if magnitude_code == fmt.infinity_code:
        return Value("infinite", negative)
    return Value("nan", negative)


def magnitude(magnitude_code: int, fmt: FloatFormat) -> Fraction:
    """Return the value of a finite magnitude code: the formula at the top of `refimpl.formats`."""
    field, mantissa = divmod(magnitude_code, 2**fmt.mantissa_bits)
    if field == 0 and fmt.has_subnormals:
        return _scaled(mantissa, 1 - fmt.bias - fmt.mantissa_bits)
    if field == 0 and fmt.has_zero:  # no subnormals: these codes are read as zero
        return Fraction(0)
    return _scaled(2**fmt.mantissa_bits + mantissa, field - fmt.bias - fmt.mantissa_bits)


def encode(
    value: Value,
    fmt: FloatFormat,
    rounding: str = "ties_to_even",
    overflow: str = "overflow",
    nan: str = "zero",
    random: int = 0,
    random_bits: int = RANDOM_BITS,
) -> int:
    """Return the code of a value: round it once, handle overflow, look the code up.

    `random` is an integer in [0, 2^random_bits), used by stochastic rounding alone.
    Raises ValueError for NaN where the format has none and ``nan="raise"``.

    >>> from refimpl.formats import format
    >>> hex(encode(from_float(1.0), format("float8_e4m3fn")))
    '0x38'
    """
    if fmt.specials.startswith("p3109"):
        return project(value, fmt, rounding, overflow, random, random_bits)
    if value.kind == "nan":
        return _code_of_nan(value.negative, fmt, nan)
    if value.kind == "infinite":
        return _code_of_overflow(value.negative, fmt, "ties_to_even", overflow, finite=False)
    if value.magnitude == 0:
        return _code_of_zero(value.negative, fmt, overflow)
    if value.negative and not fmt.signed:
        rounded = round_to_precision(value.magnitude, True, fmt, rounding, random, random_bits)
        return _code_of_negative_in_unsigned(rounded, fmt, overflow)
    magnitude_code = round_to_precision(value.magnitude, value.negative, fmt, rounding, random, random_bits)
    if magnitude_code > fmt.max_code:
        return _code_of_overflow(value.negative, fmt, rounding, overflow, finite=True)
    if magnitude_code == 0 and fmt.has_zero:
        return _code_of_zero(value.negative, fmt, overflow)
    return magnitude_code | (fmt.sign_mask if value.negative else 0)


def project(
    value: Value,
    fmt: FloatFormat,
    rounding: str = "ties_to_even",
    overflow: str = "overflow",
    random: int = 0,
    random_bits: int = RANDOM_BITS,
) -> int:
    """Return the code of a value by P3109's Project: round, saturate, encode; a zero has no sign, a NaN neither.

    `encode` does so for the formats of P3109; for the external ones, such as float32, this is the standard's
    own view of them: to_odd overflows to infinity, and -0 is not written.

    >>> from refimpl.formats import format
    >>> minus_five, unsigned = from_float(-5.0), format("binary8p3ue")
    >>> [hex(project(minus_five, unsigned, mode)) for mode in ("ties_to_even", "toward_zero")]
    ['0xff', '0x0']
    """
    nan = fmt.nan_code
    assert nan is not None, f"{fmt} is no format of P3109"
    if value.kind == "nan":
        return nan
    sign = fmt.sign_mask if value.negative else 0
    infinite, code = value.kind == "infinite", 0
    if not infinite:
        if value.magnitude == 0:
            return 0
        code = round_to_precision(value.magnitude, value.negative, fmt, rounding, random, random_bits)
        if code == 0 or (code <= fmt.max_code and (fmt.signed or not value.negative)):
            return code and code | sign
    extended = fmt.infinity_code is not None
    match moved.saturate(value.negative, infinite, fmt.signed, extended, rounding, overflow):
        case "nan":
            return nan
        case "infinity":
            return sign | fmt.max_code + 1
    return 0 if value.negative and not fmt.signed else sign | fmt.max_code


def round_to_precision(
    x: Fraction, negative: bool, fmt: FloatFormat, rounding: str, random: int = 0, random_bits: int = RANDOM_BITS
) -> int:
    """Return the magnitude code of x > 0 rounded, as if the exponent range had no upper end."""
    m = fmt.mantissa_bits
    exponent = floor_log2(x)
    below_normals = exponent < fmt.min_exponent
    if below_normals and not fmt.has_zero:
        return 0  # e8m0: everything below the smallest scale becomes it
    exponent = max(exponent, fmt.min_exponent)
    q = exponent - m
    if below_normals and not fmt.has_subnormals:
        q = exponent  # the only neighbours are zero and the smallest normal
    s = x / _power(q)
    f = math.floor(s)
    nu = s - f
    if below_normals and not fmt.has_subnormals:
        return (f + round_away(f % 2 == 0, nu, negative, rounding, random, random_bits)) << m
    # Magnitude code of f * 2^q: codes grow by 2^m a binade; the first binade of normals starts
    # at 2^m, and at 0 in e8m0, which has no zero and no subnormals.
    code = (exponent - fmt.min_exponent) * 2**m + f - (0 if fmt.has_zero else 2**m)
    even = code % 2 == 0 and fmt.has_zero  # every e8m0 significand is 1: ties go up
    return code + round_away(even, nu, negative, rounding, random, random_bits)


def round_away(
    even: bool, nu: Fraction, negative: bool, rounding: str, random: int = 0, random_bits: int = RANDOM_BITS
) -> bool:
    """Decide whether the magnitude goes up, given the fraction nu and the parity of the lower code.

    Stochastic rounding A cuts nu to the bits of the random integer R, B compares with the middle of
    R's cell, C rounds nu to these bits first (ties to even).  Plain "stochastic" is A with 32 bits.
    """
    n = random_bits
    match rounding:
        case "toward_zero":
            return False
        case "toward_positive":
            return nu > 0 and not negative
        case "toward_negative":
            return nu > 0 and negative
        case "ties_to_away":
            return nu >= Fraction(1, 2)
        case "ties_to_even":
            return nu > Fraction(1, 2) or (nu == Fraction(1, 2) and not even)
        case "to_odd":
            return nu > 0 and even
        case "stochastic" | "stochastic_a":
            return math.floor(nu * 2**n) + random >= 2**n
        case "stochastic_b":
            return math.floor(nu * 2 ** (n + 1)) + 2 * random + 1 >= 2 ** (n + 1)
        case "stochastic_c":
            return round(nu * 2**n) + random >= 2**n
    raise ValueError(f"unknown rounding {rounding!r}")


def _code_of_nan(negative: bool, fmt: FloatFormat, nan: str) -> int:
    if fmt.nan_code is not None:
        return fmt.nan_code | (fmt.sign_mask if negative and fmt.nan_has_sign else 0)
    if nan == "raise":
        raise ValueError(f"{fmt.name} has no NaN")
    if nan == "max":
        return fmt.max_code | (fmt.sign_mask if negative else 0)
    return 0 if negative else fmt.sign_mask  # as ml_dtypes: NaN gives -0, and -NaN gives +0


def _code_of_zero(negative: bool, fmt: FloatFormat, overflow: str) -> int:
    if not fmt.has_zero:
        return fmt.nan_code if fmt.nan_code is not None and overflow == "overflow" else 0
    return fmt.sign_mask if negative and fmt.has_minus_zero else 0


def _code_of_negative_in_unsigned(rounded: int, fmt: FloatFormat, overflow: str) -> int:
    if rounded == 0 and fmt.has_zero:
        return 0
    return fmt.nan_code if fmt.nan_code is not None and overflow == "overflow" else 0


def _code_of_overflow(negative: bool, fmt: FloatFormat, rounding: str, overflow: str, *, finite: bool) -> int:
    """Return the code for a value beyond the largest finite one (finite), or for infinity."""
    if negative and not fmt.signed:
        return _code_of_negative_in_unsigned(1, fmt, overflow)
    sign = fmt.sign_mask if negative else 0
    largest = fmt.max_code | sign
    toward_zero = rounding == "toward_zero" or (rounding == ("toward_positive" if negative else "toward_negative"))
    if overflow == "saturate" or (overflow == "propagate" and finite):
        return largest
    if finite and toward_zero:
        return largest
    if finite and rounding == "to_odd":  # the odd one of the largest value and infinity
        return largest if fmt.infinity_code is None or fmt.max_code % 2 else fmt.infinity_code | sign
    if fmt.infinity_code is not None:
        return fmt.infinity_code | sign
    if overflow == "propagate" or fmt.nan_code is None:
        return largest
    return _code_of_nan(negative, fmt, "raise")


def floor_log2(x: Fraction) -> int:
    """Return floor(log2 x) of x > 0, exactly.

    >>> floor_log2(Fraction(1, 3)), floor_log2(Fraction(8))
    (-2, 3)
    """
    estimate = x.numerator.bit_length() - x.denominator.bit_length()
    return estimate if _power(estimate) <= x else estimate - 1


@lru_cache(maxsize=1 << 12)
def _power(exponent: int) -> Fraction:
    return _scaled(1, exponent)


def _scaled(n: int, exponent: int) -> Fraction:
    """Return n * 2^exponent."""
    return Fraction(n << exponent) if exponent >= 0 else Fraction(n, 1 << -exponent)
