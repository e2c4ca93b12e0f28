"""Numbers that are no fractions, to odd: cut to so many bits that every format rounds them as themselves.

A result is the exact number where that is rational.  Else it is cut to `ROOT_BITS` bits, the last of
them made odd ("to odd"), which every format rounds, in every mode, as it would round the number itself:
no boundary of rounding has so many bits (Boldo and Melquiond).  So one cut serves all formats.

*How the cut is decided* (Ziv): `refimpl.spec.enclosures` brackets the number with some bits; where both
ends have the same leading `ROOT_BITS` bits, those are it, else with twice the bits.  This ends because
the number is no number of so many bits.

*Results next to a number of few bits* (1 + x of exp, x - x^3 / 6 of sin, 1 - 2 e^(-2x) of tanh) would take
as many bits as the difference is small; where it is below 2^-ROOT_BITS of the result its side is all that
matters (`beside`).  Results beyond 2^LARGEST and below 2^-LARGEST lie beyond every format: a power of two
stands for them, finite and not zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from refimpl.spec.arithmetic import ROOT_BITS
from refimpl.spec.enclosures import Enclosure, Undecided
from refimpl.spec.float_codes import Value, floor_log2

LARGEST = 1 << 18  # no format reaches 2^LARGEST: exponents are at most 2^16, biases 2^17
MOST_BITS = 1 << 22


def exactly(x: Fraction | int) -> Value:
    """Return the Value of a rational number."""
    return Value("finite", x < 0, abs(Fraction(x)))


def beside(x: Fraction | int, above: bool) -> Value:
    """Return what is next to x, above or below in magnitude by less than 2^-ROOT_BITS of it, to odd."""
    x = Fraction(x)
    shift = max(ROOT_BITS, abs(x.numerator).bit_length() + 2) - floor_log2(abs(x))
    n = abs(x) * power_of_two(shift)
    whole = n.numerator // n.denominator
    if n != whole:  # not of few bits: cut as it is
        return Value("finite", x < 0, (whole | 1) / power_of_two(shift))
    return Value("finite", x < 0, (whole + (1 if above else -1)) / power_of_two(shift))


def beyond(large: bool, negative: bool = False) -> Value:
    """Return what stands for a number beyond every format, or for one below all their values but 0."""
    return Value("finite", negative, power_of_two(LARGEST if large else -LARGEST))


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
            return Value("finite", negative, (low >> shift | 1) * power_of_two(exponent + shift))
        bits *= 2
    raise ArithmeticError(f"not decided with {MOST_BITS} bits: the result may be exact")


def power_of_two(exponent: int) -> Fraction:
    """Return 2^exponent."""
    return Fraction(2) ** exponent


def signed(x: Value) -> Fraction:
    """Return the number that a finite Value is."""
    return -x.magnitude if x.negative else x.magnitude


def tiny(x: Fraction) -> bool:
    """Tell whether x^2 and |x| are below 2^-ROOT_BITS, so that what follows the first term of a series is."""
    return floor_log2(abs(x)) < -ROOT_BITS - 4


def root(square: Fraction) -> Value:
    """Return the root of a rational number above 0, to odd."""
    shift = 2 * ROOT_BITS - floor_log2(square)
    shift += shift % 2
    scaled = square * power_of_two(shift)
    whole = math.isqrt(math.floor(scaled))
    return Value("finite", False, (whole if whole * whole == scaled else whole | 1) * power_of_two(-shift // 2))
