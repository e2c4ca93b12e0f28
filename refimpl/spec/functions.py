"""Functions of values: exponentials, logarithms, trigonometry, and what networks use.

    code of f(x) = encode(f(x)), rounded once

Functions of one operand are here, those of two in `refimpl.spec.functions_of_two`, and in `refimpl.spec.to_odd`
how a number that is no fraction is cut, once for all formats: with enclosures of more and more bits, which ends
because the number is none of so many bits.  Where it is one, it is known to be and returned as it is:

    the operand is a dyadic rational, and then, by Lindemann and Weierstrass, Gelfond and Schneider, and
    Niven, results are rational only for
    exp expm1 log1p sin tan asin atan sinh tanh asinh atanh at 0, cos cosh sigmoid at 0, log acosh acos at 1;
    exp2 exp10 at integers, log2 log10 at powers of 2 and 10;
    sinpi cospi at multiples of 1/2, tanpi of 1/4, asinpi acospi at 0, 1/2, 1, atanpi at 0, 1;
    atan2 at 0 with x > 0, atan2pi on the axes and diagonals; rsqrt hypot at squares of rationals;
    pow where the base is a power with the exponent's denominator; softplus nowhere.

Of `gelu` and `gelu_tanh` at other points than 0 nobody has proved it.  A rational gelu(x) would make the
integral of e^(-t^2) up to x / sqrt 2, which is transcendental (Siegel, Shidlovskii), a rational multiple of
sqrt pi; a rational gelu_tanh(x) would make the logarithm of a rational number a rational multiple of
sqrt(8 / pi), against Schanuel's conjecture.  There the loop would stop with an error at `MOST_BITS`, which
has not been seen: for no code of the formats of 16 bits, and in no test.

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

from refimpl.spec import enclosures, float_codes, moved  # noqa: F401  (float_codes for examples)
from refimpl.spec.arithmetic import NAN, ROOT_BITS
from refimpl.spec.enclosures import Enclosure, add, div, mul, neg, of, scale, sub
from refimpl.spec.float_codes import Value, floor_log2
from refimpl.spec.functions_of_two import HALF, INFINITY, ONE, ZERO, Family, atan2, atan2pi, hypot, pow
from refimpl.spec.to_odd import LARGEST, beside, beyond, decided, exactly, power_of_two, root, signed, tiny

FUNCTIONS: dict[str, Callable[..., Value]] = {}
OPERANDS: dict[str, int] = {}


def unary(below: Value | None, zero: Value | Literal["pole"] | None, above: Value, *, odd: bool = False):
    """Make a function of Values of one on finite numbers other than 0.

    below, zero, above: the values at -inf, 0 and +inf.  None: -inf mirrors +inf, zeros stay what they are;
    "pole": a zero becomes the infinity of its sign. An odd function is given positive numbers alone.
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
                result = x if zero is None else Value("infinite", x.negative) if isinstance(zero, str) else zero
            elif odd:
                result = function(x.magnitude)
                result = result._replace(negative=result.negative != x.negative)
            else:
                result = function(signed(x))
            if family == "p3109" and result.kind == "infinite":  # at a finite operand
                pole = name == "rsqrt" or (name == "tanpi" and not moved.tangent_has_poles())
                return NAN if pole else result
            return NAN if result.kind == "nan" else result

        FUNCTIONS[name], OPERANDS[name] = of_value, 1
        return of_value

    return make


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


MINUS_ZERO = Value("finite", True)
POLE = Value("infinite", True)
HALF_PI = decided(lambda bits: scale(enclosures.pi(bits), -1))


@unary(ZERO, exactly(1), INFINITY)
def exp(x: Fraction) -> Value:
    """Return e^x.

    >>> float_codes.to_float(exp(exactly(1)))
    2.718281828459045
    """
    if _huge(x):
        return beyond(x > 0)
    return beside(1, x > 0) if tiny(x) else decided(lambda bits: _exp(x, bits))


@unary(ZERO, exactly(1), INFINITY)
def exp2(x: Fraction) -> Value:
    """Return 2^x."""
    if _huge(x):
        return beyond(x > 0)
    if x.denominator == 1:
        return exactly(power_of_two(int(x)))
    if tiny(x):
        return beside(1, x > 0)
    return decided(lambda bits: enclosures.exp(mul(of(x, bits), enclosures.ln2(bits), bits + 20), bits))


@unary(ZERO, exactly(1), INFINITY)
def exp10(x: Fraction) -> Value:
    """Return 10^x."""
    if _huge(x):
        return beyond(x > 0)
    if x.denominator == 1 and abs(x) <= ROOT_BITS:  # beyond, 5^x has more bits than are kept
        return exactly(Fraction(10) ** int(x))
    if tiny(x):
        return beside(1, x > 0)
    return decided(lambda bits: enclosures.exp(mul(of(x, bits), _ln(10, bits + 20), bits + 20), bits))


@unary(exactly(-1), None, INFINITY)
def expm1(x: Fraction) -> Value:
    """Return e^x - 1."""
    if x < -ROOT_BITS:
        return beside(-1, False)
    if _huge(x):
        return beyond(True)
    return beside(x, x > 0) if tiny(x) else decided(lambda bits: sub(_exp(x, bits), ONE, bits))


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
    if power_of_two(k) == x:
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
    return beside(x, x < 0) if tiny(x) else decided(lambda bits: _ln(1 + x, bits))


@unary(NAN, None, NAN, odd=True)
def sin(x: Fraction) -> Value:
    """Return the sine of an angle in radians."""
    return beside(x, False) if tiny(x) else decided(lambda bits: enclosures.sin_cos(of(x, bits), bits)[0])


@unary(NAN, exactly(1), NAN)
def cos(x: Fraction) -> Value:
    """Return the cosine of an angle in radians."""
    return beside(1, False) if tiny(x) else decided(lambda bits: enclosures.sin_cos(of(x, bits), bits)[1])


@unary(NAN, None, NAN, odd=True)
def tan(x: Fraction) -> Value:
    """Return the tangent of an angle in radians."""
    return beside(x, True) if tiny(x) else decided(lambda bits: div(*enclosures.sin_cos(of(x, bits), bits), bits))


@unary(NAN, None, NAN, odd=True)
def asin(x: Fraction) -> Value:
    """Return the angle, in radians, whose sine is x."""
    if x >= 1:
        return HALF_PI if x == 1 else NAN
    return beside(x, True) if tiny(x) else decided(lambda bits: _asin(x, bits))


@unary(NAN, HALF_PI, NAN)
def acos(x: Fraction) -> Value:
    """Return the angle, in radians, whose cosine is x."""
    if abs(x) >= 1:
        return ZERO if x == 1 else decided(enclosures.pi) if x == -1 else NAN
    return decided(lambda bits: _acos(x, bits))


@unary(None, None, HALF_PI, odd=True)
def atan(x: Fraction) -> Value:
    """Return the angle, in radians, whose tangent is x."""
    return beside(x, False) if tiny(x) else decided(lambda bits: _atan(x, bits))


@unary(None, None, INFINITY, odd=True)
def sinh(x: Fraction) -> Value:
    """Return (e^x - e^-x) / 2."""
    if _huge(x):
        return beyond(True)
    if tiny(x):
        return beside(x, True)
    return decided(lambda bits: scale(sub(_exp(x, bits), _exp(-x, bits), bits), -1))


@unary(INFINITY, exactly(1), INFINITY)
def cosh(x: Fraction) -> Value:
    """Return (e^x + e^-x) / 2."""
    if _huge(x):
        return beyond(True)
    if tiny(x):
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
    if tiny(x):
        return beside(x, False)
    return decided(lambda bits: sub(ONE, div(scale(ONE, 1), add(ONE, _exp(2 * x, bits), bits), bits), bits))


@unary(None, None, INFINITY, odd=True)
def asinh(x: Fraction) -> Value:
    """Return log(x + sqrt(x^2 + 1))."""
    if tiny(x):
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
    return beside(x, True) if tiny(x) else decided(lambda bits: scale(_ln((1 + x) / (1 - x), bits), -1))


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
    if tiny(x):
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
    return beside(HALF, x < 0) if tiny(x) else decided(lambda bits: div(_acos(x, bits), enclosures.pi(bits), bits))


@unary(None, None, exactly(HALF), odd=True)
def atanpi(x: Fraction) -> Value:
    """Return atan(x) / pi."""
    if x == 1:
        return exactly(Fraction(1, 4))
    return beside(HALF, False) if tiny(1 / x) else decided(lambda bits: div(_atan(x, bits), enclosures.pi(bits), bits))


@unary(NAN, "pole", ZERO)
def rsqrt(x: Fraction) -> Value:
    """Return 1 / sqrt(x); of -0, whose root is -0, -inf."""
    return NAN if x < 0 else root(1 / x)


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
    return beside(HALF, x > 0) if tiny(x) else decided(lambda bits: _logistic(of(x, bits), bits))


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
    return beside(x / 2, x > 0) if tiny(x) else decided(lambda bits: mul(of(x, bits), gate(bits), bits))


FUNCTIONS |= {function.__name__: function for function in (hypot, atan2, atan2pi, pow)}
OPERANDS |= dict.fromkeys(("hypot", "atan2", "atan2pi", "pow"), 2)
