"""Functions of two operands: hypot, the angle of a point, powers; `refimpl.spec.functions` says how and why.

*Special values* are those of IEEE 754-2019, clause 9.2, and with ``family="p3109"`` of IEEE P3109 4.0, 4.6: there
hypot(inf, nan), atan2(0, 0), atan2(inf, inf) are NaN, and atan2(y, -inf) is pi for y < 0 too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

from refimpl.spec import enclosures, moved
from refimpl.spec.arithmetic import NAN, ROOT_BITS
from refimpl.spec.enclosures import Enclosure, div, mul, of, sub
from refimpl.spec.float_codes import Value
from refimpl.spec.to_odd import LARGEST, beside, beyond, decided, exactly, power_of_two, root, signed, tiny

Family = Literal["ieee", "p3109"]
INFINITY, ZERO = Value("infinite", False), Value("finite", False)
ONE, HALF = Enclosure(1, 1, 0), Fraction(1, 2)


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
    return root(square) if square else ZERO


def atan2(y: Value, x: Value, family: Family = "ieee") -> Value:
    """Return the angle, in radians, of the point (x, y)."""
    return _angle(y, x, family, enclosures.pi)


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
            return parts(Fraction(1))._replace(negative=moved.angle_is_negative(y.negative))
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
    if pi_or_1 and tiny(slope) and not x.negative:
        return beside(slope, False)._replace(negative=y.negative)
    if not pi_or_1 and tiny(slope) and x.negative:
        return beside(1, False)._replace(negative=y.negative)
    if not pi_or_1 and tiny(1 / slope):
        return beside(HALF, x.negative)._replace(negative=y.negative)

    def enclose(bits: int) -> Enclosure:
        angle = enclosures.atan(of(slope, bits), bits)
        if not pi_or_1:
            angle = div(angle, enclosures.pi(bits), bits)
        return sub(half_turn(bits), angle, bits) if x.negative else angle

    return decided(enclose)._replace(negative=y.negative)


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
    power = signed(y)
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
    whole: Fraction | None = base
    for _ in range(power.denominator.bit_length() - 1):  # the power's denominator is a power of two
        whole = _exact_root(whole) if whole is not None else None
    if whole is not None:  # (odd 2^k)^n: rational, and of few bits where odd^n is
        n, zeros = power.numerator, (whole.numerator & -whole.numerator).bit_length()
        k = zeros - whole.denominator.bit_length()
        odd = whole / power_of_two(k)
        if odd == 1 and abs(n * k) > 2 * LARGEST:
            return beyond(n * k > 0)
        if odd == 1 or (odd.numerator.bit_length() * abs(n) <= 2 * ROOT_BITS and abs(n * k) <= 16 * LARGEST):
            return exactly(whole**n)

    def product(bits: int) -> Enclosure:
        return mul(of(power, bits), enclosures.log(of(base, bits), bits), bits)

    rough = product(64)
    if rough.top < -ROOT_BITS:
        return beside(1, rough.low > 0)
    if rough.top > LARGEST.bit_length() + 2:  # |y log x| is not far below 2^top
        return beyond(rough.low > 0)
    return decided(lambda bits: enclosures.exp(product(bits + 32), bits))


def _exact_root(x: Fraction) -> Fraction | None:
    n, d = math.isqrt(x.numerator), math.isqrt(x.denominator)
    return Fraction(n, d) if n * n == x.numerator and d * d == x.denominator else None
