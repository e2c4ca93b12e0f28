"""Arithmetic on values: the exact result, which is then rounded once.

    code of (a op b) = encode(the exact a op b)

which is `refimpl.spec.operations.calculate`.  The functions on Values know no format: results are exact, but
for the square root, which is cut to `ROOT_BITS` bits, the last of them odd where something was cut off, so
that every format rounds it as it would round the root itself.  NaN, infinities and the signs of zeros are
those of IEEE 754-2019:

- a NaN operand gives NaN, and so do inf - inf, 0 * inf, 0 / 0, inf / inf, and roots below zero;
- a finite value other than 0, divided by 0, is an infinity;
- the sign of a product or quotient is the exclusive or of the signs;
- a sum of zeros of one sign keeps it, any other exact sum that is zero is +0, and -0 where rounding
  goes toward negative;
- the root of -0 is -0.

A NaN that an operation gives has no sign.  What a format without NaN, infinity or minus zero makes
of them is the business of its `encode`, so that a posit's x / 0 is NaR.

*Sources*: IEEE 754-2019, clauses 5.4.1, 5.11, 6.1, 6.2, 6.3, 7.2, 7.3; the posit standard (2022).
"""

from __future__ import annotations

import math
from fractions import Fraction

from refimpl.spec.float_codes import Value, floor_log2

ROOT_BITS = 192  # more than any boundary of rounding has, with the bits of a random number
NAN = Value("nan", False)


def add(a: Value, b: Value, rounding: str = "ties_to_even") -> Value:
    """Return a + b.

    >>> add(Value("finite", False, Fraction(1)), Value("finite", True, Fraction(1, 3)))
    Value(kind='finite', negative=False, magnitude=Fraction(2, 3))
    """
    if "nan" in (a.kind, b.kind):
        return NAN
    if a.kind == b.kind == "infinite":
        return a if a.negative == b.negative else NAN
    if a.kind == "infinite" or b.kind == "infinite":
        return a if a.kind == "infinite" else b
    total = _signed(a) + _signed(b)
    if total == 0:
        both = a.magnitude == b.magnitude == 0 and a.negative == b.negative
        return Value("finite", a.negative if both else rounding == "toward_negative")
    return Value("finite", total < 0, abs(total))


def sub(a: Value, b: Value, rounding: str = "ties_to_even") -> Value:
    """Return a - b, which is a + (-b)."""
    return add(a, b._replace(negative=not b.negative), rounding)


def mul(a: Value, b: Value, rounding: str = "ties_to_even") -> Value:
    """Return a * b."""
    negative = a.negative != b.negative
    if "nan" in (a.kind, b.kind):
        return NAN
    if a.kind == b.kind == "finite":
        return Value("finite", negative, a.magnitude * b.magnitude)
    zero = any(v.kind == "finite" and v.magnitude == 0 for v in (a, b))
    return NAN if zero else Value("infinite", negative)


def div(a: Value, b: Value, rounding: str = "ties_to_even") -> Value:
    """Return a / b.

    >>> div(Value("finite", True, Fraction(1)), Value("finite", False, Fraction(0)))
    Value(kind='infinite', negative=True, magnitude=Fraction(0, 1))
    """
    negative = a.negative != b.negative
    if "nan" in (a.kind, b.kind) or a.kind == b.kind == "infinite":
        return NAN
    if a.kind == "infinite":
        return Value("infinite", negative)
    if b.kind == "infinite":
        return Value("finite", negative)
    if b.magnitude == 0:
        return NAN if a.magnitude == 0 else Value("infinite", negative)
    return Value("finite", negative, a.magnitude / b.magnitude)


def sqrt(a: Value, rounding: str = "ties_to_even") -> Value:
    """Return the root of a, cut to ROOT_BITS bits and made odd where it is not exact.

    >>> sqrt(Value("finite", False, Fraction(9, 4)))
    Value(kind='finite', negative=False, magnitude=Fraction(3, 2))
    """
    if a.kind == "finite" and a.magnitude == 0:
        return a
    if a.kind == "nan" or a.negative:
        return NAN
    if a.kind == "infinite":
        return a
    shift = 2 * ROOT_BITS - floor_log2(a.magnitude)
    shift += shift % 2
    square = a.magnitude * Fraction(2) ** shift
    root = math.isqrt(math.floor(square))
    if Fraction(root) ** 2 != square:
        root |= 1
    return Value("finite", False, root / Fraction(2) ** (shift // 2))


def fma(a: Value, b: Value, c: Value, rounding: str = "ties_to_even") -> Value:
    """Return a * b + c, the product not rounded; 0 * inf + NaN is NaN, as all with NaN."""
    return add(mul(a, b), c, rounding)


def relation(a: Value, b: Value, *, posit: bool = False) -> str:
    """Return which of ``<``, ``==``, ``>`` holds of a and b, or ``unordered``.

    -0 equals +0, and a NaN has no order, not even with itself.  Among posits NaR, which is a NaN
    here, equals itself and lies below everything else.

    >>> relation(Value("finite", True), Value("finite", False)), relation(NAN, NAN)
    ('==', 'unordered')
    """
    if "nan" in (a.kind, b.kind):
        if not posit:
            return "unordered"
        return "==" if a.kind == b.kind else "<" if a.kind == "nan" else ">"
    signs = [(v.kind == "infinite") * (-1 if v.negative else 1) for v in (a, b)]
    x, y = signs if any(signs) else (_signed(a), _signed(b))
    return "<" if x < y else ">" if x > y else "=="


def _signed(value: Value) -> Fraction:
    return -value.magnitude if value.negative else value.magnitude
