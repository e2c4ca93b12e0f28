"""Functions of values: exponentials, logarithms, trigonometry, and what networks use.

    code of f(x) = encode(f(x)), rounded once

A result is the exact number where that is rational.  Else it is cut to `ROOT_BITS` bits, the last of
them made odd ("to odd"), which every format rounds, in every mode, as it would round the number itself:
no boundary of rounding has so many bits (Boldo and Melquiond).  So one cut serves all formats.

*How the cut is decided* (Ziv): `refimpl.spec.enclosures` brackets the number with some bits; where both
ends have the same leading `ROOT_BITS` bits, those are it, else with twice the bits.  This ends because
the number is no number of so many bits.  Where it is one, it is known to be and returned as it is:

    the operand is a dyadic rational, and then, by Lindemann and Weierstrass, Gelfond and Schneider, and
    Niven, results are rational only for
    exp expm1 log1p sin tan asin atan sinh tanh asinh atanh at 0, cos cosh sigmoid at 0, log acosh acos at 1;
    exp2 exp10 at integers, log2 log10 at powers of 2 and 10;
    sinpi cospi at multiples of 1/2, tanpi of 1/4, asinpi acospi at 0, 1/2, 1, atanpi at 0, 1;
    atan2 at 0 with x > 0, atan2pi on the axes and diagonals; rsqrt hypot at squares of rationals;
    pow where the base is a power with the exponent's denominator; softplus nowhere.

Of `gelu` and `gelu_tanh` at other points than 0 nobody has proved it; there the loop would stop with an
error at `MOST_BITS`, which has not been seen.

*Results next to a number of few bits* (1 + x of exp, x - x^3 / 6 of sin, 1 - 2 e^(-2x) of tanh) would take
as many bits as the difference is small; where it is below 2^-ROOT_BITS of the result its side is all that
matters (`beside`).  Results beyond 2^LARGEST and below 2^-LARGEST lie beyond every format: a power of two
stands for them, finite and not zero.

*Special values* are those of IEEE 754-2019, clause 9.2, and with ``family="p3109"`` of IEEE P3109 4.0, 4.6:
there rsqrt(0), tanpi(1/2), hypot(inf, nan), atan2(0, 0), atan2(inf, inf) are NaN, atan2(y, -inf) is pi
for y < 0 too, and zeros have no sign.  What IEEE does not name goes by limits: silu(-inf) = gelu(-inf) = -0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import wraps
from typing import Literal

from refimpl.spec import enclosures, float_codes  # noqa: F401  (float_codes for examples)
from refimpl.spec.arithmetic import NAN, ROOT_BITS
from refimpl.spec.enclosures import Enclosure, Undecided, add, div, mul, neg, of, scale, sub
from refimpl.spec.float_codes import Value, floor_log2

LARGEST = 1 << 18  # no format reaches 2^LARGEST: exponents are at most 2^16, biases 2^17
MOST_BITS = 1 << 22
Family = Literal["ieee", "p3109"]

ONE = Enclosure(1, 1, 0)


# -- results ---------------------------------------------------------------------------------------


def exactly(x: Fraction | int) -> Value:
    """Return the Value of a rational number."""
    return Value("finite", x < 0, abs(Fraction(x)))


def beside(x: Fraction | int, above: bool) -> Value:
    """Return what is next to x, above or below in magnitude by less than 2^-ROOT_BITS of it, to odd."""
    x = Fraction(x)
    shift = max(ROOT_BITS, abs(x.numerator).bit_length() + 2) - floor_log2(abs(x))
    n = abs(x) * _power(shift)
    whole = n.numerator // n.denominator
    if n != whole:  # not of few bits: cut as it is
        return Value("finite", x < 0, (whole | 1) / _power(shift))
    return Value("finite", x < 0, (whole + (1 if above else -1)) / _power(shift))


def beyond(large: bool, negative: bool = False) -> Value:
    """Return what stands for a number beyond every format, or for one below all their values but 0."""
    return Value("finite", negative, _power(LARGEST if large else -LARGEST))


def decided(enclose: Callable[[int], Enclosure]) -> Value:
    """Return a number to odd, given its enclosures for numbers of bits: Ziv's loop."""
    bits = ROOT_BITS + 40
    while bits < MOST_BITS:
        try:
            low, high, exponent = enclose(bits)
        except Undecided:
            low, high, exponent = -1, 1, 0
        negative = high < 0
        low, high = (-high, -low) if negative else (low, high)
        shift = high.bit_length() - ROOT_BITS
        if low > 0 and shift > 0 and low >> shift == high >> shift:
            top = exponent + high.bit_length()
            if abs(top) > LARGEST:
                return beyond(top > 0, negative)
            return Value("finite", negative, (low >> shift | 1) * _power(exponent + shift))
        bits *= 2
    raise ArithmeticError(f"not decided with {MOST_BITS} bits: the result may be exact")


def _power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def _signed(x: Value) -> Fraction:
    return -x.magnitude if x.negative else x.magnitude


# -- one operand -----------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[..., Value]] = {}
OPERANDS: dict[str, int] = {}
POLES = ("rsqrt", "tanpi")  # infinite at finite operands in IEEE 754, NaN in P3109


def unary(below: Value | None, zero: Value | None, above: Value, *, odd: bool = False):
    """Make a function of Values of one on finite numbers other than 0.

    below, zero, above: the values at -inf, 0 and +inf.  None: -inf mirrors +inf, zeros stay what they are.
    An odd function is given positive numbers alone.
    """

    def make(function: Callable[[Fraction], Value]) -> Callable[..., Value]:
        name = function.__name__

        @wraps(function)
        def of_value(x: Value, family: Family = "ieee") -> Value:
            if x.kind == "nan":
                return NAN
            if x.kind == "infinite":
                result = above._replace(negative=not above.negative) if x.negative and below is None else above
                return below if x.negative and below is not None else result
            if x.magnitude == 0:
                result = x if zero is None else zero
            elif odd:
                result = function(x.magnitude)
                result = result._replace(negative=result.negative != x.negative)
            else:
                result = function(_signed(x))
            pole = family == "p3109" and name in POLES and result.kind == "infinite"
            return NAN if pole or result.kind == "nan" else result

        FUNCTIONS[name], OPERANDS[name] = of_value, 1
        return of_value

    return make


def _tiny(x: Fraction) -> bool:
    """Tell whether x^2 and |x| are below 2^-ROOT_BITS, so that what follows the first term of a series is."""
    return floor_log2(abs(x)) < -ROOT_BITS - 4


def _huge(x: Fraction) -> bool:
    """Tell whether 2^|x| and all that grows faster lie beyond every format."""
    return abs(x) > 2 * LARGEST


def _ln(x: Fraction | int, bits: int) -> Enclosure:
    return enclosures.log(of(x, bits), bits)


def _exp(x: Fraction | int, bits: int) -> Enclosure:
    return enclosures.exp(of(x, bits), bits)


def _sine(turns: Fraction, bits: int) -> tuple[Enclosure, Enclosure]:
    """Return the enclosures of sin and cos of pi * turns."""
    return enclosures.sin_cos(mul(enclosures.pi(bits), of(turns, bits), bits), bits)


def _atan(x: Fraction, bits: int) -> Enclosure:
    return enclosures.atan(of(x, bits), bits)


def _asin(x: Fraction, bits: int) -> Enclosure:
    """Return the enclosure of asin x = atan(x / sqrt(1 - x^2))."""
    return enclosures.atan(div(of(x, bits), enclosures.sqrt(of((1 - x) * (1 + x), bits), bits), bits), bits)


def _acos(x: Fraction, bits: int) -> Enclosure:
    """Return the enclosure of acos x = 2 atan sqrt((1 - x) / (1 + x))."""
    return scale(enclosures.atan(enclosures.sqrt(of((1 - x) / (1 + x), bits), bits), bits), 1)


def _logistic(a: Enclosure, bits: int) -> Enclosure:
    """Return the enclosure of 1 / (1 + e^-a)."""
    return div(ONE, add(ONE, enclosures.exp(neg(a), bits), bits), bits)


INFINITY, ZERO = Value("infinite", False), Value("finite", False)
MINUS_ZERO = Value("finite", True)
POLE = Value("infinite", True)
HALF = Fraction(1, 2)
HALF_PI = decided(lambda bits: scale(enclosures.pi(bits), -1))


@unary(ZERO, exactly(1), INFINITY)
def exp(x: Fraction) -> Value:
    """Return e^x.

    >>> float_codes.to_float(exp(exactly(1)))
    2.718281828459045
    """
    if _huge(x):
        return beyond(x > 0)
    return beside(1, x > 0) if _tiny(x) else decided(lambda bits: _exp(x, bits))


@unary(ZERO, exactly(1), INFINITY)
def exp2(x: Fraction) -> Value:
    """Return 2^x."""
    if _huge(x):
        return beyond(x > 0)
    if x.denominator == 1:
        return exactly(_power(int(x)))
    if _tiny(x):
        return beside(1, x > 0)
    return decided(lambda bits: enclosures.exp(mul(of(x, bits), enclosures.ln2(bits), bits + 20), bits))


@unary(ZERO, exactly(1), INFINITY)
def exp10(x: Fraction) -> Value:
    """Return 10^x."""
    if _huge(x):
        return beyond(x > 0)
    if x.denominator == 1 and abs(x) <= ROOT_BITS:  # beyond, 5^x has more bits than are kept
        return exactly(Fraction(10) ** int(x))
    if _tiny(x):
        return beside(1, x > 0)
    return decided(lambda bits: enclosures.exp(mul(of(x, bits), _ln(10, bits + 20), bits + 20), bits))


@unary(exactly(-1), None, INFINITY)
def expm1(x: Fraction) -> Value:
    """Return e^x - 1."""
    if x < -ROOT_BITS:
        return beside(-1, False)
    if _huge(x):
        return beyond(True)
    return beside(x, x > 0) if _tiny(x) else decided(lambda bits: sub(_exp(x, bits), ONE, bits))


@unary(NAN, POLE, INFINITY)
def log(x: Fraction) -> Value:
    """Return the natural logarithm."""
    if x <= 0 or x == 1:
        return ZERO if x == 1 else NAN
    return decided(lambda bits: _ln(x, bits))


@unary(NAN, POLE, INFINITY)
def log2(x: Fraction) -> Value:
    """Return the logarithm to base 2."""
    if x <= 0:
        return NAN
    k = floor_log2(x)
    if _power(k) == x:
        return exactly(k)
    return decided(lambda bits: div(_ln(x, bits), enclosures.ln2(bits), bits))


@unary(NAN, POLE, INFINITY)
def log10(x: Fraction) -> Value:
    """Return the logarithm to base 10."""
    if x <= 0:
        return NAN
    k = round((x.numerator.bit_length() - 1) / math.log2(10)) if x.denominator == 1 else 0
    if any(x == 10**n for n in (k, k + 1)):
        return exactly(k if x == 10**k else k + 1)
    return decided(lambda bits: div(_ln(x, bits), _ln(10, bits), bits))


@unary(NAN, None, INFINITY)
def log1p(x: Fraction) -> Value:
    """Return log(1 + x)."""
    if x <= -1:
        return POLE if x == -1 else NAN
    return beside(x, x < 0) if _tiny(x) else decided(lambda bits: _ln(1 + x, bits))


@unary(NAN, None, NAN, odd=True)
def sin(x: Fraction) -> Value:
    """Return the sine of an angle in radians."""
    return beside(x, False) if _tiny(x) else decided(lambda bits: enclosures.sin_cos(of(x, bits), bits)[0])


@unary(NAN, exactly(1), NAN)
def cos(x: Fraction) -> Value:
    """Return the cosine of an angle in radians."""
    return beside(1, False) if _tiny(x) else decided(lambda bits: enclosures.sin_cos(of(x, bits), bits)[1])


@unary(NAN, None, NAN, odd=True)
def tan(x: Fraction) -> Value:
    """Return the tangent of an angle in radians."""
    return beside(x, True) if _tiny(x) else decided(lambda bits: div(*enclosures.sin_cos(of(x, bits), bits), bits))


@unary(NAN, None, NAN, odd=True)
def asin(x: Fraction) -> Value:
    """Return the angle, in radians, whose sine is x."""
    if x >= 1:
        return HALF_PI if x == 1 else NAN
    return beside(x, True) if _tiny(x) else decided(lambda bits: _asin(x, bits))


@unary(NAN, HALF_PI, NAN)
def acos(x: Fraction) -> Value:
    """Return the angle, in radians, whose cosine is x."""
    if abs(x) >= 1:
        return ZERO if x == 1 else decided(enclosures.pi) if x == -1 else NAN
    return decided(lambda bits: _acos(x, bits))


@unary(None, None, HALF_PI, odd=True)
def atan(x: Fraction) -> Value:
    """Return the angle, in radians, whose tangent is x."""
    return beside(x, False) if _tiny(x) else decided(lambda bits: _atan(x, bits))


@unary(None, None, INFINITY, odd=True)
def sinh(x: Fraction) -> Value:
    """Return (e^x - e^-x) / 2."""
    if _huge(x):
        return beyond(True)
    if _tiny(x):
        return beside(x, True)
    return decided(lambda bits: scale(sub(_exp(x, bits), _exp(-x, bits), bits), -1))


@unary(INFINITY, exactly(1), INFINITY)
def cosh(x: Fraction) -> Value:
    """Return (e^x + e^-x) / 2."""
    if _huge(x):
        return beyond(True)
    if _tiny(x):
        return beside(1, True)
    return decided(lambda bits: scale(add(_exp(x, bits), _exp(-x, bits), bits), -1))


@unary(None, None, exactly(1), odd=True)
def tanh(x: Fraction) -> Value:
    """Return (e^x - e^-x) / (e^x + e^-x).

    >>> tanh(exactly(300)).magnitude < 1, float_codes.to_float(tanh(exactly(300)))
    (True, 1.0)
    """
    if x > ROOT_BITS:
        return beside(1, False)
    if _tiny(x):
        return beside(x, False)
    return decided(lambda bits: sub(ONE, div(scale(ONE, 1), add(ONE, _exp(2 * x, bits), bits), bits), bits))


@unary(None, None, INFINITY, odd=True)
def asinh(x: Fraction) -> Value:
    """Return log(x + sqrt(x^2 + 1))."""
    if _tiny(x):
        return beside(x, False)
    return decided(
        lambda bits: enclosures.log(add(of(x, bits), enclosures.sqrt(of(x * x + 1, bits), bits), bits), bits)
    )


@unary(NAN, NAN, INFINITY)
def acosh(x: Fraction) -> Value:
    """Return log(x + sqrt(x^2 - 1))."""
    if x <= 1:
        return ZERO if x == 1 else NAN
    return decided(
        lambda bits: enclosures.log(add(of(x, bits), enclosures.sqrt(of(x * x - 1, bits), bits), bits), bits)
    )


@unary(NAN, None, NAN, odd=True)
def atanh(x: Fraction) -> Value:
    """Return log((1 + x) / (1 - x)) / 2."""
    if x >= 1:
        return INFINITY if x == 1 else NAN
    return beside(x, True) if _tiny(x) else decided(lambda bits: scale(_ln((1 + x) / (1 - x), bits), -1))


@unary(NAN, None, NAN, odd=True)
def sinpi(x: Fraction) -> Value:
    """Return sin(pi x)."""
    turns = x % 2
    if (2 * turns).denominator == 1:
        return exactly((0, 1, 0, -1)[int(2 * turns)])
    negative, turns = turns > 1, turns % 1
    return decided(lambda bits: _sine(min(turns, 1 - turns), bits)[0])._replace(negative=negative)


@unary(NAN, exactly(1), NAN)
def cospi(x: Fraction) -> Value:
    """Return cos(pi x) = sin(pi / 2 - pi x)."""
    turns = HALF - min(abs(x) % 2, 2 - abs(x) % 2)
    if turns in (-HALF, 0, HALF):
        return exactly(2 * turns)
    if _tiny(x):
        return beside(1, False)
    return decided(lambda bits: _sine(abs(turns), bits)[0])._replace(negative=turns < 0)


@unary(NAN, None, NAN, odd=True)
def tanpi(x: Fraction) -> Value:
    """Return tan(pi x)."""
    turns, uneven = x % 1, math.floor(x) % 2 == 1
    if turns in (0, HALF):
        return (INFINITY if turns else ZERO)._replace(negative=uneven)
    if (4 * turns).denominator == 1:
        return exactly(1 if turns < HALF else -1)
    return decided(lambda bits: div(*_sine(min(turns, 1 - turns), bits), bits))._replace(negative=turns > HALF)


@unary(NAN, None, NAN, odd=True)
def asinpi(x: Fraction) -> Value:
    """Return asin(x) / pi."""
    if x in (HALF, 1):
        return exactly(HALF if x == 1 else Fraction(1, 6))
    return NAN if x > 1 else decided(lambda bits: div(_asin(x, bits), enclosures.pi(bits), bits))


@unary(NAN, exactly(HALF), NAN)
def acospi(x: Fraction) -> Value:
    """Return acos(x) / pi."""
    known = {Fraction(1): Fraction(0), HALF: Fraction(1, 3), -HALF: Fraction(2, 3), Fraction(-1): Fraction(1)}
    if x in known:
        return exactly(known[x])
    if abs(x) > 1:
        return NAN
    return beside(HALF, x < 0) if _tiny(x) else decided(lambda bits: div(_acos(x, bits), enclosures.pi(bits), bits))


@unary(None, None, exactly(HALF), odd=True)
def atanpi(x: Fraction) -> Value:
    """Return atan(x) / pi."""
    if x == 1:
        return exactly(Fraction(1, 4))
    return beside(HALF, False) if _tiny(1 / x) else decided(lambda bits: div(_atan(x, bits), enclosures.pi(bits), bits))


@unary(NAN, INFINITY, ZERO)
def rsqrt(x: Fraction) -> Value:
    """Return 1 / sqrt(x)."""
    return NAN if x < 0 else _root(1 / x)


@unary(ZERO, decided(enclosures.ln2), INFINITY)
def softplus(x: Fraction) -> Value:
    """Return log(1 + e^x)."""
    if _huge(x) and x < 0:
        return beyond(False)
    if x > ROOT_BITS:
        return beside(x, True)

    def enclose(bits: int) -> Enclosure:
        y = _exp(x, bits)
        if y.top + bits > 0:
            return enclosures.log(add(ONE, y, 2 * bits), bits)
        return add(y, Enclosure(-1, 0, 2 * y.top - 1), 2 * bits)  # y - y^2 / 2 < log(1 + y) < y

    return decided(enclose)


@unary(ZERO, exactly(HALF), exactly(1))
def sigmoid(x: Fraction) -> Value:
    """Return 1 / (1 + e^-x)."""
    if _huge(x) and x < 0:
        return beyond(False)
    if x > ROOT_BITS:
        return beside(1, False)
    return beside(HALF, x > 0) if _tiny(x) else decided(lambda bits: _logistic(of(x, bits), bits))


@unary(MINUS_ZERO, None, INFINITY)
def silu(x: Fraction) -> Value:
    """Return x / (1 + e^-x)."""
    return _gated(x, ROOT_BITS, lambda bits: _logistic(of(x, bits), bits))


@unary(MINUS_ZERO, None, INFINITY)
def gelu(x: Fraction) -> Value:
    """Return x times the probability that a standard normal number is below x."""
    return _gated(x, 24, lambda bits: enclosures.normal_probability(x, bits))


@unary(MINUS_ZERO, None, INFINITY)
def gelu_tanh(x: Fraction) -> Value:
    """Return x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""

    def gate(bits: int) -> Enclosure:
        factor = enclosures.sqrt(div(scale(ONE, 3), enclosures.pi(bits), bits), bits)  # 2 sqrt(2 / pi)
        return _logistic(mul(factor, of(x + Fraction(44715, 10**6) * x**3, bits + 40), bits + 40), bits)

    return _gated(x, 24, gate)


def _gated(x: Fraction, open_from: int, gate: Callable[[int], Enclosure]) -> Value:
    """Return x g(x) of a gate that rises from 0 by 1/2 to 1, and is below 1 by less than 2^-ROOT_BITS from a point.

    With g(-x) < e^-x far below zero, and |g(x) - 1/2| < |x|.
    """
    if _huge(x) and x < 0:
        return beyond(False, True)
    if x > open_from:
        return beside(x, False)
    return beside(x / 2, x > 0) if _tiny(x) else decided(lambda bits: mul(of(x, bits), gate(bits), bits))


# -- two operands ----------------------------------------------------------------------------------


def binary(function: Callable[..., Value]) -> Callable[..., Value]:
    """List a function of two Values."""
    FUNCTIONS[function.__name__], OPERANDS[function.__name__] = function, 2
    return function


def _root(square: Fraction) -> Value:
    """Return the root of a rational number above 0, to odd."""
    shift = 2 * ROOT_BITS - floor_log2(square)
    shift += shift % 2
    scaled = square * _power(shift)
    root = math.isqrt(math.floor(scaled))
    return Value("finite", False, (root if root * root == scaled else root | 1) * _power(-shift // 2))


@binary
def hypot(x: Value, y: Value, family: Family = "ieee") -> Value:
    """Return sqrt(x^2 + y^2).

    >>> hypot(exactly(3), exactly(-4)).magnitude
    Fraction(5, 1)
    """
    kinds = x.kind, y.kind
    if "infinite" in kinds and not (family == "p3109" and "nan" in kinds):
        return INFINITY
    if "nan" in kinds:
        return NAN
    square = x.magnitude**2 + y.magnitude**2
    return _root(square) if square else ZERO


@binary
def atan2(y: Value, x: Value, family: Family = "ieee") -> Value:
    """Return the angle, in radians, of the point (x, y)."""
    return _angle(y, x, family, enclosures.pi)


@binary
def atan2pi(y: Value, x: Value, family: Family = "ieee") -> Value:
    """Return the angle of the point (x, y) divided by pi."""
    return _angle(y, x, family, lambda bits: ONE)


def _angle(y: Value, x: Value, family: Family, half_turn: Callable[[int], Enclosure]) -> Value:
    """Return the angle of a point, where half a turn is pi or 1."""
    if "nan" in (x.kind, y.kind):
        return NAN

    def parts(fraction: Fraction) -> Value:
        if half_turn(8) == ONE or fraction == 0:
            return Value("finite", y.negative, fraction)
        return decided(lambda bits: mul(of(fraction, bits), enclosures.pi(bits), bits))._replace(negative=y.negative)

    y_rank, x_rank = (2 if v.kind == "infinite" else 1 if v.magnitude else 0 for v in (y, x))
    if family == "p3109":
        if y_rank == x_rank != 1:
            return NAN
        if x_rank == 2 and x.negative:
            return parts(Fraction(1))._replace(negative=False)
    if y_rank == x_rank == 2:
        return parts(Fraction(3 if x.negative else 1, 4))
    if x_rank == 2 or y_rank == 0:  # on the axis of x
        return parts(Fraction(int(x.negative)))
    if y_rank == 2 or x_rank == 0:
        return parts(HALF)
    if x.magnitude == y.magnitude and half_turn(8) == ONE:
        return parts(Fraction(3 if x.negative else 1, 4))
    slope = y.magnitude / x.magnitude
    pi_or_1 = half_turn(8) != ONE
    if pi_or_1 and _tiny(slope) and not x.negative:
        return beside(slope, False)._replace(negative=y.negative)
    if not pi_or_1 and _tiny(slope) and x.negative:
        return beside(1, False)._replace(negative=y.negative)
    if not pi_or_1 and _tiny(1 / slope):
        return beside(HALF, x.negative)._replace(negative=y.negative)

    def enclose(bits: int) -> Enclosure:
        angle = _atan(slope, bits)
        if not pi_or_1:
            angle = div(angle, enclosures.pi(bits), bits)
        return sub(half_turn(bits), angle, bits) if x.negative else angle

    return decided(enclose)._replace(negative=y.negative)


@binary
def pow(x: Value, y: Value, family: Family = "ieee") -> Value:
    """Return x^y, IEEE 754's pow: pow(x, 0) = pow(1, y) = 1 even of NaN, pow(-1, inf) = 1.

    >>> pow(exactly(Fraction(9, 4)), exactly(Fraction(-3, 2))).magnitude
    Fraction(8, 27)
    """
    one = exactly(1)
    if x == one or (y.kind == "finite" and y.magnitude == 0):
        return one
    if "nan" in (x.kind, y.kind):
        return NAN
    if y.kind == "infinite":
        if x.kind == "finite" and x.magnitude == 1:
            return one
        return INFINITY if (x.kind == "infinite" or x.magnitude > 1) != y.negative else ZERO
    power = _signed(y)
    uneven = power.denominator == 1 and power.numerator % 2 == 1
    negative = x.negative and uneven
    if x.kind == "infinite" or x.magnitude == 0:
        return (INFINITY if (x.kind == "infinite") != y.negative else ZERO)._replace(negative=negative)
    if x.negative and power.denominator != 1:
        return NAN
    return _power_of(x.magnitude, power)._replace(negative=negative)


def _power_of(base: Fraction, power: Fraction) -> Value:
    """Return base^power of a base above 0."""
    if base == 1:
        return exactly(1)
    root: Fraction | None = base
    for _ in range(power.denominator.bit_length() - 1):  # the power's denominator is a power of two
        root = _exact_root(root) if root is not None else None
    if root is not None:  # (odd 2^k)^n: rational, and of few bits where odd^n is
        n, zeros = power.numerator, (root.numerator & -root.numerator).bit_length()
        k = zeros - root.denominator.bit_length()
        odd = root / _power(k)
        if odd == 1 and abs(n * k) > 2 * LARGEST:
            return beyond(n * k > 0)
        if odd == 1 or (odd.numerator.bit_length() * abs(n) <= 2 * ROOT_BITS and abs(n * k) <= 16 * LARGEST):
            return exactly(root**n)

    def product(bits: int) -> Enclosure:
        return mul(of(power, bits), _ln(base, bits), bits)

    rough = product(64)
    if rough.top < -ROOT_BITS:
        return beside(1, rough.low > 0)
    if rough.top > LARGEST.bit_length() + 2:  # |y log x| is not far below 2^top
        return beyond(rough.low > 0)
    return decided(lambda bits: enclosures.exp(product(bits + 32), bits))


def _exact_root(x: Fraction) -> Fraction | None:
    n, d = math.isqrt(x.numerator), math.isqrt(x.denominator)
    return Fraction(n, d) if n * n == x.numerator and d * d == x.denominator else None
