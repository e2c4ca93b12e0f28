"""The table of operations, and those that are not arithmetic: extrema, signs, neighbours, classes, integers.

As in `refimpl.spec.arithmetic`, a function on Values gives the exact result, and `calculate` rounds it, once.
Special cases are IEEE 754's, and P3109's wherever an operand or the result is of a format of P3109:
there zero and NaN have no sign, and what `P3109` of this file holds takes the place of `OPERATIONS`.

*Sources*: IEEE 754-2019, clauses 5.3 to 5.7, 5.10, 7, 9.6; IEEE P3109 interim report 4.0, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

from refimpl.formats import FloatFormat, PositFormat
from refimpl.spec import arithmetic, float_codes, posits
from refimpl.spec.arithmetic import NAN
from refimpl.spec.float_codes import RANDOM_BITS, Value, floor_log2, round_away

ZERO, ONE = Value("finite", False), Value("finite", False, Fraction(1))
Number = FloatFormat | PositFormat


def order(a: Value) -> tuple[int, Fraction, bool]:
    """Return what values that are not NaN are ordered by: -inf, finite ones, +inf, and -0 below +0."""
    sign = -1 if a.negative else 1
    return (sign if a.kind == "infinite" else 0, sign * a.magnitude, not a.negative)


def extremum(
    a: Value, b: Value, *, largest: bool, magnitude: bool = False, number: bool = False, finite: bool = False
) -> Value:
    """Return the smaller or larger of two values, NaN if one is; -0 is less than +0.

    magnitude: by magnitude, and of equal ones by value.  number: of a NaN and another, the other.
    finite (P3109): that, and of an infinity of any sign and a finite value the latter.

    >>> minus_two, one = Value("finite", True, Fraction(2)), Value("finite", False, Fraction(1))
    >>> extremum(minus_two, one, largest=True, magnitude=True) == minus_two
    True
    """
    if "nan" in (a.kind, b.kind):
        return NAN if a.kind == b.kind or not (number or finite) else b if a.kind == "nan" else a
    if finite and a.kind != b.kind:
        return a if a.kind == "finite" else b
    key: Callable[[Value], Any] = (lambda v: (order(v._replace(negative=False)), order(v))) if magnitude else order
    return (max if largest else min)(a, b, key=key)


def clamp(a: Value, low: Value, high: Value) -> Value:
    """Return the smaller of high and the larger of a and low; NaN where one is, or low lies above high."""
    if "nan" in (a.kind, low.kind, high.kind) or arithmetic.relation(low, high) == ">":
        return NAN
    return min(max(a, low, key=order), high, key=order)


def faa(a: Value, b: Value, c: Value, rounding: str = "ties_to_even") -> Value:
    """Return a + b + c, exact; NaN where infinities of both signs are among them."""
    infinite = [v for v in (a, b, c) if v.kind == "infinite"]
    if "nan" in (a.kind, b.kind, c.kind) or len({v.negative for v in infinite}) == 2:
        return NAN
    if infinite:
        return infinite[0]
    return arithmetic.add(arithmetic.add(a, b, rounding), c, rounding)


def recip(a: Value) -> Value:
    """Return 1 / a."""
    return arithmetic.div(ONE, a)


def remainder(a: Value, b: Value) -> Value:
    """Return a - n b, n the integer nearest to a / b, ties to even; a zero has the sign of a.

    >>> remainder(Value("finite", False, Fraction(5)), Value("finite", False, Fraction(3)))
    Value(kind='finite', negative=True, magnitude=Fraction(1, 1))
    """
    if "nan" in (a.kind, b.kind) or a.kind == "infinite" or (b.kind == "finite" and b.magnitude == 0):
        return NAN
    if b.kind == "infinite":
        return a
    rest = a.magnitude - b.magnitude * round(a.magnitude / b.magnitude)
    return Value("finite", a.negative if rest == 0 else a.negative != (rest < 0), abs(rest))


def scaleb(a: Value, n: int) -> Value:
    """Return a * 2^n."""
    return a._replace(magnitude=a.magnitude * Fraction(2) ** n)


def logb(a: Value) -> Value:
    """Return the exponent of a, floor(log2 |a|): -inf of zero, +inf of infinities."""
    if a.kind != "finite":
        return NAN if a.kind == "nan" else a._replace(negative=False)
    if a.magnitude == 0:
        return Value("infinite", True)
    exponent = floor_log2(a.magnitude)
    return Value("finite", exponent < 0, Fraction(abs(exponent)))


def round_to_integral(
    a: Value, rounding: str = "ties_to_even", random: int = 0, random_bits: int = RANDOM_BITS
) -> Value:
    """Return the integer that a rounds to, with the sign of a, that of a zero too.

    >>> round_to_integral(Value("finite", True, Fraction(1, 2)))
    Value(kind='finite', negative=True, magnitude=Fraction(0, 1))
    """
    if a.kind != "finite":
        return NAN if a.kind == "nan" else a
    whole = math.floor(a.magnitude)
    up = round_away(whole % 2 == 0, a.magnitude - whole, a.negative, rounding, random, random_bits)
    return a._replace(magnitude=Fraction(whole + up))


def to_integer(
    a: Value,
    bits: int,
    signed: bool = True,
    rounding: str = "ties_to_even",
    overflow: str = "saturate",
    random: int = 0,
    random_bits: int = RANDOM_BITS,
) -> tuple[int, bool]:
    """Return the integer of `bits` bits that a becomes, and whether there is one: if not, by `overflow`.

    saturate: the nearest end, 0 for NaN.  wrap: modulo 2^bits, 0 for infinities and NaN.  indefinite: always
    the one that x86 gives, the least of a signed type and the largest of an unsigned one.

    >>> [to_integer(Value("finite", True, Fraction(300)), 8, overflow=o)[0] for o in ("saturate", "wrap")]
    [-128, -44]
    """
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    value = round_to_integral(a, rounding, random, random_bits)
    number = -int(value.magnitude) if value.negative else int(value.magnitude)
    if value.kind == "finite" and low <= number <= high:
        return number, True
    if overflow == "indefinite":
        return low if signed else high, False
    if value.kind == "nan" or (value.kind == "infinite" and overflow == "wrap"):
        return 0, False
    if overflow == "wrap":
        return (number - low) % (1 << bits) + low, False
    return low if value.negative else high, False


# -- what P3109 has otherwise ------------------------------------------------------------------------


def div_p3109(a: Value, b: Value, rounding: str = "ties_to_even") -> Value:
    """Return a / b, which is NaN for every a if b is zero."""
    return NAN if b.kind == "finite" and b.magnitude == 0 else arithmetic.div(a, b)


def copysign(a: Value, b: Value) -> Value:
    """Return a with the sign of b."""
    return a._replace(negative=b.negative)


def copysign_p3109(a: Value, b: Value) -> Value:
    """Return a with the sign of b, NaN if one is."""
    return NAN if "nan" in (a.kind, b.kind) else copysign(a, b)


class Operation(NamedTuple):
    """A function of Values that gives an exact Value, and how it is called."""

    function: Callable[..., Value]
    operands: int
    by_mode: bool = False  # takes the rounding mode, by which the sign of an exact zero goes


_EXTREMA: dict[str, dict[str, Any]] = {
    "": {},
    "_magnitude": {"magnitude": True},
    "_number": {"number": True},
    "_magnitude_number": {"magnitude": True, "number": True},
    "_finite": {"finite": True},
}
OPERATIONS: dict[str, Operation] = {
    "add": Operation(arithmetic.add, 2, True),
    "sub": Operation(arithmetic.sub, 2, True),
    "mul": Operation(arithmetic.mul, 2),
    "div": Operation(arithmetic.div, 2),
    "sqrt": Operation(arithmetic.sqrt, 1),
    "fma": Operation(arithmetic.fma, 3, True),
    "faa": Operation(faa, 3, True),
    "recip": Operation(recip, 1),
    "remainder": Operation(remainder, 2),
    "scaleb": Operation(scaleb, 2),
    "logb": Operation(logb, 1),
    "convert": Operation(lambda a: a, 1),
    "abs": Operation(lambda a: a._replace(negative=False), 1),
    "negate": Operation(lambda a: a._replace(negative=not a.negative), 1),
    "copysign": Operation(copysign, 2),
    "clamp": Operation(clamp, 3),
    **{
        f"{name}{suffix}": Operation(partial(extremum, largest=name == "maximum", **how), 2)
        for name in ("minimum", "maximum")
        for suffix, how in _EXTREMA.items()
    },
}
P3109: dict[str, Callable[..., Value]] = {
    "div": div_p3109,
    "recip": lambda a: div_p3109(ONE, a),
    "copysign": copysign_p3109,
}


def is_p3109(*formats: Number) -> bool:
    """Tell whether P3109's special cases hold: one of the formats is of its families."""
    return any(isinstance(fmt, FloatFormat) and fmt.specials.startswith("p3109") for fmt in formats)


def decode(code: int, fmt: Number, p3109: bool = False) -> Value:
    """Return the value of a code; by P3109 zero and NaN have no sign."""
    value = posits.decode(code, fmt) if isinstance(fmt, PositFormat) else float_codes.decode(code, fmt)
    if p3109 and (value.kind == "nan" or (value.kind == "finite" and value.magnitude == 0)):
        return value._replace(negative=False)
    return value


def exact(name: str, values: tuple[Value, ...], rounding: str = "ties_to_even", p3109: bool = False) -> Value:
    """Return the exact result of an operation, or of a function of `refimpl.spec.functions`, which is cut to odd."""
    if name not in OPERATIONS:
        from refimpl.spec.functions import FUNCTIONS

        return FUNCTIONS[name](*values, family="p3109" if p3109 else "ieee")
    operation = OPERATIONS[name]
    function = P3109.get(name, operation.function) if p3109 else operation.function
    return function(*values, *(rounding,) * operation.by_mode)


def encode(
    value: Value,
    fmt: Number,
    rounding: str = "ties_to_even",
    overflow: str = "overflow",
    nan: str = "zero",
    random: int = 0,
    random_bits: int = RANDOM_BITS,
    p3109: bool = False,
) -> int:
    """Return the code of a value, rounded once; by P3109's Project, or as `float_codes.encode` does."""
    if isinstance(fmt, PositFormat):
        return posits.encode(value, fmt)
    if p3109 and fmt.specials == "ieee":  # P3109 has rules for external formats, too
        return float_codes.project(value, fmt, rounding, overflow, random, random_bits)
    return float_codes.encode(value, fmt, rounding, overflow, nan, random, random_bits)


def calculate(
    name: str,
    codes: tuple[int, ...],
    formats: Number | tuple[Number, ...],
    rounding: str = "ties_to_even",
    overflow: str = "overflow",
    nan: str = "zero",
    random: int = 0,
    random_bits: int = RANDOM_BITS,
    out_format: Number | None = None,
    p3109: bool | None = None,
) -> int:
    """Return the code of the result of an operation on codes, rounded once.

    formats: that of all operands, or one for each; the result is of `out_format`, by default that of the
    first operand.  All else is as for `refimpl.spec.float_codes.encode`; posits take none of it.

    >>> from refimpl.formats import format
    >>> hex(calculate("add", (0x38, 0x20), format("float8_e4m3fn")))  # 1 + 0.125
    '0x39'
    """
    several = formats if isinstance(formats, tuple) else (formats,) * len(codes)
    into = several[0] if out_format is None else out_format
    p3109 = is_p3109(*several, into) if p3109 is None else p3109
    values = tuple(decode(code, fmt, p3109) for code, fmt in zip(codes, several, strict=True))
    result = exact(name, values, rounding, p3109)
    return encode(result, into, rounding, overflow, nan, random, random_bits, p3109)


# -- codes -------------------------------------------------------------------------------------------


def is_signaling(code: int, fmt: Number) -> bool:
    """Tell whether a code is a signaling NaN: of the ieee family, the first mantissa bit clear."""
    if not isinstance(fmt, FloatFormat) or fmt.specials != "ieee":
        return False
    magnitude_code = code & ~fmt.sign_mask
    return magnitude_code > fmt.max_code + 1 and not magnitude_code >> (fmt.mantissa_bits - 1) & 1


def class_of(code: int, fmt: Number) -> str:
    """Return the class of a code, in the words of IEEE 754, such as ``negative subnormal``.

    >>> from refimpl.formats import format
    >>> [class_of(code, format("float16")) for code in (0x8001, 0x3C00, 0x7C01)]
    ['negative subnormal', 'positive normal', 'signaling NaN']
    """
    value = decode(code, fmt)
    if value.kind == "nan":
        return "signaling NaN" if is_signaling(code, fmt) else "quiet NaN"
    sign = "negative" if value.negative else "positive"
    if value.kind == "infinite":
        return f"{sign} infinity"
    if value.magnitude == 0:
        return f"{sign} zero"
    subnormal = isinstance(fmt, FloatFormat) and value.magnitude < Fraction(2) ** fmt.min_exponent
    return f"{sign} subnormal" if subnormal else f"{sign} normal"


CLASSES = (
    "signaling NaN",
    "quiet NaN",
    "negative infinity",
    "negative normal",
    "negative subnormal",
    "negative zero",
    "positive zero",
    "positive subnormal",
    "positive normal",
    "positive infinity",
)
PREDICATES: dict[str, Callable[[int, Number], bool]] = {
    "is_nan": lambda code, fmt: decode(code, fmt).kind == "nan",
    "is_infinite": lambda code, fmt: decode(code, fmt).kind == "infinite",
    "is_finite": lambda code, fmt: decode(code, fmt).kind == "finite",
    "is_zero": lambda code, fmt: class_of(code, fmt).endswith("zero"),
    "is_one": lambda code, fmt: decode(code, fmt) == ONE,
    "is_normal": lambda code, fmt: class_of(code, fmt).endswith(" normal"),
    "is_subnormal": lambda code, fmt: class_of(code, fmt).endswith("subnormal"),
    "is_sign_minus": lambda code, fmt: decode(code, fmt).negative,
    "is_signaling": is_signaling,
}


def next_code(code: int, fmt: Number, up: bool) -> int:
    """Return the code of the next larger value (`up`) or the next smaller one; NaN stays, and is quiet.

    Beyond the largest value comes infinity, where there is none what an overflow becomes.  IEEE: that is
    so of infinity too, which therefore stays, and from below zero comes -0.  P3109: what lies beyond infinity,
    or beyond the largest value where there is none, is NaN.  Posits: the next code, the first after the last.

    >>> from refimpl.formats import format
    >>> [hex(next_code(code, format("binary8p4se"), True)) for code in (0x7E, 0x7F, 0xFF, 0x81)]
    ['0x7f', '0x80', '0xfe', '0x0']
    """
    if isinstance(fmt, PositFormat):
        return (code + (1 if up else -1)) % (1 << fmt.bits)
    value, p3109 = float_codes.decode(code, fmt), is_p3109(fmt)
    if value.kind == "nan":
        return float_codes.encode(value, fmt)
    away = value.negative != up or (value.magnitude == 0 and value.kind == "finite")
    negative = value.negative if value.magnitude or value.kind == "infinite" else not up
    sign = fmt.sign_mask if negative else 0
    if value.kind == "infinite":
        beyond = (fmt.nan_code or 0) if p3109 else code
        return beyond if away else sign | fmt.max_code
    smallest = 1 if fmt.has_subnormals or not fmt.has_zero else 1 << fmt.mantissa_bits
    magnitude = code & ~fmt.sign_mask if value.magnitude else 0
    if not away:
        down = (0 if magnitude == smallest else magnitude - 1) if fmt.has_zero else magnitude - 1
        if down < 0:  # below the smallest scale
            return float_codes.encode(ZERO, fmt)
        return down | sign if down or fmt.has_minus_zero or not fmt.has_zero else 0
    if negative and not fmt.signed:
        return float_codes.encode(Value("infinite", True), fmt)
    magnitude = smallest if fmt.has_zero and magnitude < smallest else magnitude + 1
    if magnitude <= fmt.max_code:
        return magnitude | sign
    if p3109 and fmt.infinity_code is None:
        return fmt.nan_code or 0
    return float_codes.encode(Value("infinite", negative), fmt)


def total_order(a: int, b: int, first: Number, second: Number) -> bool:
    """Tell whether a precedes or equals b in a total order.

    IEEE: numbers by value, -0 before +0, a NaN with its sign before and one without behind them all, by
    their payloads, signaling before quiet.  P3109, and posits: NaN comes first.
    """
    lowest = is_p3109(first, second) or PositFormat in (type(first), type(second))

    def place(code: int, fmt: Number) -> tuple:
        value = decode(code, fmt, is_p3109(first, second))
        if value.kind != "nan":
            return (1, *order(value))
        if lowest:
            return (0, 0)
        assert isinstance(fmt, FloatFormat)
        payload = Fraction(code & ((1 << fmt.mantissa_bits) - 1), 1 << fmt.mantissa_bits)
        return (0, -payload) if value.negative else (2, payload)

    return place(a, first) <= place(b, second)


# -- exception flags ---------------------------------------------------------------------------------

INEXACT, UNDERFLOW, OVERFLOW, DIVIDE_BY_ZERO, INVALID = 1, 2, 4, 8, 16


def flags(
    values: tuple[Value, ...],
    signaling: bool,
    result: Value,
    fmt: FloatFormat,
    rounding: str,
    after: bool,
    random: int = 0,
    random_bits: int = RANDOM_BITS,
    product: bool = False,
) -> int:
    """Return the exceptions of an operation, of which `result` is the exact result.

    invalid: a NaN not from a NaN, a signaling operand, and 0 * inf + NaN (`product`), which IEEE leaves open.
    divide by zero: an infinity from finite operands.  overflow: rounded with unbounded exponent, it lies beyond
    the largest value.  underflow: inexact, and tiny: below the smallest normal value after such a rounding
    (`after`), or before.  Overflow is inexact, saturated or not.
    """
    if result.kind == "nan":
        return INVALID * (signaling or product or all(value.kind != "nan" for value in values))
    found = INVALID * signaling
    if result.kind == "infinite":
        return found | DIVIDE_BY_ZERO * all(value.kind == "finite" for value in values)
    if result.magnitude == 0:
        return found
    rule = rounding, random, random_bits
    magnitude_code = float_codes.round_to_precision(result.magnitude, result.negative, fmt, *rule)
    if magnitude_code > fmt.max_code or (result.negative and not fmt.signed and (magnitude_code or not fmt.has_zero)):
        return found | OVERFLOW | INEXACT
    if float_codes.magnitude(magnitude_code, fmt) == result.magnitude:
        return found
    smallest = Fraction(2) ** fmt.min_exponent
    tiny = result.magnitude < smallest
    if tiny and after and result.magnitude * 2 >= smallest:
        s = result.magnitude / smallest * 2 * 2**fmt.mantissa_bits
        lower = math.floor(s)
        even = lower % 2 == 0 if fmt.mantissa_bits else False
        up = round_away(even, s - lower, result.negative, *rule)
        tiny = lower + up < 2 * 2**fmt.mantissa_bits
    return found | INEXACT | UNDERFLOW * tiny
