"""How far a sum of products can be from the exact one, before anything is added: orders, accumulators, matrix units.

*Notation*: S is the sum of |a b| over all k products, and of what the sum begins with; P that of 2^(e + f), e and f
being the exponents of a and of b, which is at least the largest of them (below the normal values the format's
smallest exponent counts; for zero -126); v = 2^-p for rounding to nearest in p bits, and twice that in any other mode;
h half the smallest subnormal, or twice that.  A result x becomes x (1 + delta) + eta with |delta| <= v, |eta| <= h, one
of them 0.  What is added to a product by eta is as if the product had been another one: with R roundings,
error <= f S' + R h with S' = S + R h, f as follows.

==============  =======================================================================================
sequential      k v to nearest, whatever k: let D be the error after k - 1 steps, p the next product.  The sum
                rounds to the nearest, and the old sum is a value, so that the new error is at most |p|.  If
                |p| <= v S(k-1), D <= (k-1) v S(k-1) grows to at most k v S(k-1).  Else (k-1) v S(k-1) < (k-1) |p|,
                and D + v (D + S(k)) <= (k-1) v S(k-1) + (k-1) v |p| + v S(k) = k v S(k) (after Jeannerod and
                Rump, for fused multiply-adds).  Toward zero no sum is larger than S: k v too.  Else (1 + v)^k - 1
chunked         chunks of c, n of them: c v + n v (1 + c v) to nearest, c v + n v toward zero, else (1 + v)^(c + n) - 1
pairwise        every product is rounded, and meets ceil(log2 k) additions: (1 + v)^(that + 1) - 1
kahan           with exact differences, sum - lost would grow by products alone; y, t - total and lost are
                rounded, which `_kahan` adds up.  About 4 v, as long as k v^2 is small; infinite beyond
exact           v
==============  =======================================================================================

*Aligned units.*  G groups of t terms; A = 2^-fraction_bits (half of it where terms are cut to nearest).  One group
cuts off at most t + 1 terms, each by less than A 2^top; the accumulator c has |c| + z >= 2^(its exponent), z the
smallest normal value.  With A' = (t + 1) A, the sum of a group is off by A' (P_group + |c| + z), and rounding it by v
of itself and h.  Accumulators are at most M = r^G (S + A' P + G (A' z + h)), r = (1 + v) (1 + A'); where all is cut
toward zero, S.  So

    error <= A' P + G (A' + v) M + G (A' z + h).

Where the accumulator joins afterwards, A' is t A (and 2 A for halves) for products, plus what is cut then, which
alone meets c.  A unit promoted every n products does so with the groups of n, then n' = k / n float32 additions:
n' 2^-24 of all that is added.  ``pairwise`` units are trees of 1 + log2 t roundings in float32 and one more a group;
``fma`` ones are sequential.  An operand cut to n bits loses up to 2^(e - n), times a
factor below 2^(f + 1): 2^(1 - n) P more for each.

*Source*: Higham, Accuracy and Stability of Numerical Algorithms, 4.2; Jeannerod, Rump, Improved error bounds for inner
products in floating-point arithmetic (2013); for aligned sums, the definition in `refimpl.spec.units`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from refimpl.formats import FloatFormat
from refimpl.formats.units import MatrixUnit

NEAREST = ("ties_to_even", "ties_to_away")
SINGLE, SINGLE_STEP = 2.0**-24, 2.0**-150


class SumBound(NamedTuple):
    """A bound: sizes S + floors P + constant."""

    sizes: float
    floors: float
    constant: float


def of_order(
    terms: int, fmt: FloatFormat, order: str = "sequential", chunk: int = 1, rounding: str = "ties_to_even"
) -> SumBound:
    """Return the bound of sums of so many products in an accumulator, in one of `refimpl.matmul`'s orders.

    >>> from refimpl.formats import format
    >>> of_order(1024, format("float16")).sizes, of_order(1024, format("float16"), "exact").sizes
    (0.5, 0.00048828125)
    """
    nearest, zero = rounding in NEAREST, rounding == "toward_zero"
    v, h = _steps(fmt, nearest)
    count, part = -(-terms // chunk), min(chunk, terms)
    if order == "kahan":
        factor = _kahan(terms, v)
    elif order == "exact":
        factor = v
    elif order == "pairwise":
        factor = _grown(math.ceil(math.log2(max(terms, 1))) + 1, v)
    elif order == "chunked":
        one, all_ = part * v, count * v
        factor = one + all_ * (1 + one) if nearest else one + all_ if zero else _grown(part + count, v)
    else:
        factor = terms * v if nearest or zero else _grown(terms, v)
    results = {"kahan": 4 * terms, "exact": 1, "pairwise": 2 * terms, "chunked": terms + count}
    lost = results.get(order, terms) * h
    return SumBound(factor, 0.0, (1 + factor) * lost)


def of_unit(terms: int, unit: MatrixUnit, formats: tuple[FloatFormat, FloatFormat]) -> SumBound:
    """Return the bound of sums of so many products on a unit; what it flushes is not in it.

    ValueError for one whose register may wrap around.

    >>> from refimpl.formats import format
    >>> from refimpl.formats.units import unit
    >>> [of_unit(4096, unit(n), (format("float8_e4m3fn"),) * 2).sizes for n in ("hopper-fp8", "blackwell-fp8")]
    [0.53125, 0.000141143798828125]
    """
    groups = -(-terms // unit.terms)
    if unit.sum == "fma":
        return of_order(terms, unit.into)
    if unit.sum == "pairwise":
        factor = _grown(1 + math.ceil(math.log2(unit.terms)) + groups, SINGLE)
        lost = (2 * unit.terms + 1) * groups * (2.0**-126 if unit.flush else SINGLE_STEP)
        return SumBound(factor, 0.0, (1 + factor) * lost)
    if unit.promote:
        sums = -(-terms // unit.promote)
        part = _aligned(min(groups, unit.promote // unit.terms), unit)
        more = sums * SINGLE
        found = SumBound(
            part.sizes + more * (1 + part.sizes), part.floors * (1 + more), sums * part.constant * (1 + more)
        )
    else:
        found = _aligned(groups, unit)
    return found._replace(floors=found.floors + 2 * sum(_cut_off(f, unit) for f in formats))


def _cut_off(fmt: FloatFormat, unit: MatrixUnit) -> float:
    """Return what part of an operand's power of two the unit does not take."""
    kept = unit.operand_bits
    return 0.0 if kept is None or kept >= fmt.mantissa_bits else 2.0**-kept


def _aligned(groups: int, unit: MatrixUnit) -> SumBound:
    """Return the bound of so many groups."""
    count = unit.terms // unit.inner
    if unit.carry_bits is not None and 4 * count + 2 > 2 ** (2 + unit.carry_bits):
        raise ValueError(f"sum_bound: there is none for a unit whose register of {unit.carry_bits} carries may wrap")
    v, h = _steps(unit.into, unit.rounding == "ties_to_even")
    z = 2.0**unit.into.min_exponent
    step = 2.0**-unit.fraction_bits / (2 if unit.cut == "ties_to_even" else 1)
    if unit.joined is None:
        of_products = of_sum = (count + 1) * step
    else:
        of_sum = sum(2.0**-bits for bits in unit.joined) + (0.0 if unit.reach is None else 2.0**-unit.reach)
        of_products = count * step + 2 * 2.0**-unit.fraction_bits * unit.halves + of_sum
    each = of_sum * z + h
    growth = _grown(groups, v + of_sum + v * of_sum) + 1
    if unit.joined is None and unit.cut == unit.rounding == "toward_zero":
        largest = SumBound(1.0, 0.0, 0.0)
    else:
        largest = SumBound(growth, growth * of_products, growth * groups * each)
    factor = groups * (of_sum + v)
    return SumBound(
        factor * largest.sizes, of_products + factor * largest.floors, factor * largest.constant + groups * each
    )


def _steps(fmt: FloatFormat, nearest: bool) -> tuple[float, float]:
    """Return v and h."""
    return 2.0 ** -(fmt.mantissa_bits + nearest), fmt.smallest_subnormal / (2 if nearest else 1)


def _grown(n: int, v: float) -> float:
    """Return (1 + v)^n - 1, infinite where no float holds it."""
    power = n * math.log1p(v)
    return math.expm1(power) if power < 700 else math.inf


def _kahan(k: int, v: float) -> float:
    """Return the factor of a compensated sum: the fixed point of how errors bound each other, of S = 1.

    With y = p - lost + e1, t = total + y + e2, gained = t - total + e3 and lost' = gained - y + e4, one has lost' =
    e2 + e3 + e4 and t - lost' = total - lost + p + e1 - e3 - e4.  With all |lost| <= C, and all errors of total - lost
    at most D: |t| <= 1 + D + C, |e2| <= v |t| / (1 - v), |e1| <= v (|p| + C), |e3| <= v (|y| + |e2|) and
    |e4| <= v (|e2| + |e3|).
    """
    error = lost = 0.0
    for _ in range(1000):
        second = v * (1 + error + lost) / (1 - v)
        y = 1 + k * lost  # of |p| + |lost|, summed
        third = v * ((1 + v) * y + k * second)
        new_error = v * y + third + v * (k * second + third)
        new_lost = (1 + v) * (second + v * ((1 + v) * (1 + lost) + second))
        if abs(new_error - error) + abs(new_lost - lost) <= 1e-12 * (new_error + new_lost):
            return (new_error + new_lost) * (1 + 1e-9)
        error, lost = new_error, new_lost
        if error > 1e6:
            break
    return math.inf
