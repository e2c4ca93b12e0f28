"""Enclosures of real numbers: two integers and a power of two between which a number surely lies.

    low * 2^exponent <= number <= high * 2^exponent

Every function here takes such enclosures, or exact fractions, and the number of `bits` to work with, and
returns an enclosure of the result, of relative width some units of 2^-bits where the operands are exact.
More bits give narrower enclosures, down to any width: `refimpl.spec.functions` asks for more until the
rounding is decided.

*How errors are bounded*: series are summed in fixed point, numbers n standing for n * 2^-w, and every
step cuts off less than a unit 2^-w.  A comment counts units; the count is added on both sides.  It is
generous wherever a bit costs nothing.

*Sources*: series and reductions are those of Brent and Zimmermann, Modern Computer Arithmetic, chapter 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple


class Undecided(ArithmeticError):
    """An operand's enclosure is too wide to say anything, as that of a divisor that may be zero."""


class Enclosure(NamedTuple):
    """Numbers from low * 2^exponent to high * 2^exponent."""

    low: int
    high: int
    exponent: int

    @property
    def top(self) -> int:
        """A power of two that no number of the enclosure reaches: all are below 2^top in magnitude."""
        return max(abs(self.low), abs(self.high)).bit_length() + self.exponent


# -- arithmetic ------------------------------------------------------------------------------------


def of(x: Fraction | int, bits: int) -> Enclosure:
    """Return the enclosure of a fraction: exact where its denominator is a power of two.

    >>> of(Fraction(3, 4), 8), of(Fraction(1, 3), 8)
    (Enclosure(low=3, high=3, exponent=-2), Enclosure(low=682, high=683, exponent=-11))
    """
    numerator, denominator = x.numerator, x.denominator
    if denominator & (denominator - 1) == 0:
        return Enclosure(numerator, numerator, 1 - denominator.bit_length())
    return div(Enclosure(numerator, numerator, 0), Enclosure(denominator, denominator, 0), bits)


def neg(a: Enclosure) -> Enclosure:
    """Return -a."""
    return Enclosure(-a.high, -a.low, a.exponent)


def add(a: Enclosure, b: Enclosure, bits: int) -> Enclosure:
    """Return a + b."""
    exponent = max(min(a.exponent, b.exponent), max(a.top, b.top) - bits - 2)
    (a_low, a_high), (b_low, b_high) = _at(a, exponent), _at(b, exponent)
    return Enclosure(a_low + b_low, a_high + b_high, exponent)


def sub(a: Enclosure, b: Enclosure, bits: int) -> Enclosure:
    """Return a - b."""
    return add(a, neg(b), bits)


def mul(a: Enclosure, b: Enclosure, bits: int) -> Enclosure:
    """Return a * b."""
    products = [x * y for x in a[:2] for y in b[:2]]
    return _short(min(products), max(products), a.exponent + b.exponent, bits)


def div(a: Enclosure, b: Enclosure, bits: int) -> Enclosure:
    """Return a / b."""
    if b.low <= 0 <= b.high:
        raise Undecided
    if b.high < 0:
        a, b = neg(a), neg(b)
    shift = max(bits + 2 + b.high.bit_length() - max(abs(a.low), abs(a.high)).bit_length(), 0)
    low, high = a.low << shift, a.high << shift
    low //= b.high if low >= 0 else b.low
    high = -(-high // (b.low if high >= 0 else b.high))
    return _short(low, high, a.exponent - b.exponent - shift, bits + 2)


def sqrt(a: Enclosure, bits: int) -> Enclosure:
    """Return the root of a."""
    if a.low < 0:
        raise Undecided
    shift = max(2 * bits + 2 - a.high.bit_length(), 0)
    shift += (a.exponent - shift) % 2
    return Enclosure(math.isqrt(a.low << shift), math.isqrt(a.high << shift) + 1, (a.exponent - shift) // 2)


def scale(a: Enclosure, exponent: int) -> Enclosure:
    """Return a * 2^exponent."""
    return a._replace(exponent=a.exponent + exponent)


def _at(a: Enclosure, exponent: int) -> tuple[int, int]:
    """Return the ends in units of 2^exponent, outward."""
    shift = a.exponent - exponent
    if shift >= 0:
        return a.low << shift, a.high << shift
    return a.low >> -shift, -(-a.high >> -shift)


def _short(low: int, high: int, exponent: int, bits: int) -> Enclosure:
    """Return an enclosure cut to a number of bits, outward."""
    excess = max(max(abs(low), abs(high)).bit_length() - bits, 0)
    return Enclosure(low >> excess, -(-high >> excess), exponent + excess)


# -- constants -------------------------------------------------------------------------------------


def pi(bits: int) -> Enclosure:
    """Return the enclosure of pi.

    >>> pi(8)
    Enclosure(low=803, high=805, exponent=-8)
    """
    n = _pi(bits)
    return Enclosure(n - 1, n + 1, -bits)


def ln2(bits: int) -> Enclosure:
    """Return the enclosure of the logarithm of 2."""
    n = _ln2(bits)
    return Enclosure(n - 1, n + 1, -bits)


def _fixed(formula: Callable[[int], int]) -> Callable[[int], int]:
    """Return n(w) with |n - constant 2^w| <= 1 of a formula good to 2^16 w units, kept by hundreds of bits."""
    kept = lru_cache(maxsize=64)(formula)

    def constant(w: int) -> int:
        wide = (w + 64 + w.bit_length()) // 256 * 256 + 256  # 2^16 w units there are less than one of 2^-w here
        return kept(wide) >> (wide - w)

    return constant


def _inverse(n: int, w: int, sign: int) -> int:
    """Return atanh(1 / n), or with sign -1 atan(1 / n), to 3 units a term: there are fewer than w terms."""
    power, total, i = (1 << w) // n, 0, 1
    square, s = n * n, 1
    while power:
        total += s * (power // i)
        power //= square
        i, s = i + 2, s * sign
    return total


# Machin's formula for pi, and one like it for ln 2: factors of at most 18 on sums wrong by 3 w units.
_pi = _fixed(lambda w: 16 * _inverse(5, w, -1) - 4 * _inverse(239, w, -1))
_ln2 = _fixed(lambda w: 18 * _inverse(26, w, 1) - 2 * _inverse(4801, w, 1) + 8 * _inverse(8749, w, 1))


# -- functions -------------------------------------------------------------------------------------


def exp(a: Enclosure, bits: int) -> Enclosure:
    """Return e^a: with x = k ln 2 + r, it is 2^k (the series of e^(r / 2^j))^(2^j).

    Units: r is wrong by 2, t = r / 2^j by 3; each of the terms, all positive, by 3 more; the square of
    y < 2 wrong by E is wrong by less than 4 E + E^2 2^-w + 1 < 8 E.  An operand wider by d moves e^x by a
    factor below 1 + 2 d.

    >>> low, high, exponent = exp(of(1, 60), 60)
    >>> low * 2.0**exponent
    2.718281828459045
    """
    j = math.isqrt(bits)
    w = bits + 3 * j + 24
    extra = max(a.top, 0) + 8
    low, high = _at(a, -w)
    width = high - low
    if width >> w:
        raise Undecided
    log2 = _ln2(w + extra)
    k = (low << extra) // log2
    t = (low - (k * log2 >> extra)) >> j
    term = t
    y, i = (1 << w) + t, 1
    while term > 0:
        i += 1
        term = (term * t >> w) // i
        y += term
    for _ in range(j):
        y = y * y >> w
    error = ((3 * i + 16) << 3 * j) + 4 * width
    return _short(y - error, y + error, k - w, bits)


def log(a: Enclosure, bits: int) -> Enclosure:
    """Return log a: with x = 2^k m, m around 1, it is k ln 2 + 2 atanh((m - 1) / (m + 1)).

    Units: each power of z wrong by 2, each quotient by 3, the sum by 3 for each term; k ln 2 by 2.  An
    operand from x to y gives at most (y - x) / x more.

    >>> low, high, exponent = log(of(4, 60), 60)
    >>> low * 2.0**exponent
    1.3862943611198906
    """
    n = a.low
    if n <= 0:
        raise Undecided
    shift = n.bit_length() - 1
    shift += n * n >> (2 * shift + 1)  # m above the root of 2: half of it
    k = a.exponent + shift
    difference = n - (1 << shift)
    w = bits + 8 + (max(shift - abs(difference).bit_length(), 0) if k == 0 else 0)
    z = (abs(difference) << w) // (n + (1 << shift))
    square, total, i = z * z >> w, 0, 1
    while z:
        total += z // i
        z = z * square >> w
        i += 2
    extra = abs(k).bit_length()
    value = (2 * total if difference > 0 else -2 * total) + (k * _ln2(w + extra) >> extra)
    error = 3 * i + 10 if difference else 2 if k else 0
    wider = -(-(a.high - a.low << w) // n)
    return _short(value - error, value + error + wider + (a.high > n), -w, bits + 8)


def sin_cos(a: Enclosure, bits: int) -> tuple[Enclosure, Enclosure]:
    """Return sin a and cos a: by their series at x - k pi / 2, with as many bits of pi as k needs.

    Units: x - k pi / 2 is wrong by 3 and the width of a; each term, where q = r^2 < 0.7 is wrong by 1, by
    less than 4.  Both functions move by at most as much as their operand.
    """
    w = bits + 16 + max(-a.top, 0)
    extra = max(a.top, 0) + 8
    low, high = _at(a, -w)
    half_pi = _pi(w + extra - 1)
    k = ((low << extra) + half_pi // 2) // half_pi
    r = low - (k * half_pi >> extra)
    square, i = r * r >> w, 0
    sine, cosine, p, c, s = 0, 0, abs(r), 1 << w, 1
    while p or c:
        cosine += s * c
        sine += s * p
        c = (c * square >> w) // ((2 * i + 1) * (2 * i + 2))
        p = (p * square >> w) // ((2 * i + 2) * (2 * i + 3))
        i, s = i + 1, -s
    sine = sine if r >= 0 else -sine
    for _ in range(k % 4):
        sine, cosine = cosine, -sine
    error = 4 * i + 10 + high - low
    return tuple(_short(v - error, v + error, -w, bits + 16) for v in (sine, cosine))  # type: ignore[return-value]


def atan(a: Enclosure, bits: int) -> Enclosure:
    """Return atan a: of 1 / a from 2 on, halved three times, then by its series.

    atan x = 2 atan(x / (1 + sqrt(1 + x^2))).  Units: each power wrong by 2, each quotient by 3, the sum
    by 3 for each term; it moves by at most as much as its operand.

    >>> low, high, exponent = atan(of(1, 60), 60)
    >>> 4 * low * 2.0**exponent
    3.141592653589793
    """
    if a.high <= 0:
        return neg(atan(neg(a), bits))
    if a.low <= 0:
        raise Undecided
    one, work = Enclosure(1, 1, 0), bits + 16
    if a.low.bit_length() + a.exponent >= 2:  # at least 2
        return sub(scale(pi(work), -1), atan(div(one, a, work), work), work)
    for _ in range(3):
        root = sqrt(add(one, mul(a, a, work), work), work)
        a = div(a, add(one, root, work), work)
    w = work + max(-a.top, 0)
    low, high = _at(a, -w)
    square, total, i, p, s = low * low >> w, 0, 1, low, 1
    while p:
        total += s * (p // i)
        p = p * square >> w
        i, s = i + 2, -s
    error = 3 * i + 4 + high - low
    return _short(total - error, total + error, 3 - w, bits + 8)


def normal_probability(x: Fraction, bits: int) -> Enclosure:
    """Return the probability that a standard normal number is below x: (1 + erf(x / sqrt 2)) / 2.

    It is 1/2 + f(x) (x + x^3 / 3 + x^5 / (3 5) + ...), f(x) = e^(-x^2 / 2) / sqrt(2 pi), all terms of one
    sign; far from 0 the tail is f(x) / |x| (1 - 1 / x^2 + 3 / x^4 - 3 5 / x^6 + ...), whose partial sums
    lie on either side of it (Abramowitz and Stegun 26.2.11, 26.2.12).

    Units: a step cuts off less than 1, which grows or falls as the terms after it do, so by at most
    total / |x| in all, or by one for each term where they fall; the rest after i > 2 x^2 is less than
    twice the last term.  Of the second sum each term is wrong by at most its number.
    """
    work = bits + 32
    square = x * x
    density = exp(neg(of(square / 2, work)), work)
    density = div(density, sqrt(scale(pi(work), 1), work), work)
    q, r, i = square.numerator, square.denominator, 1
    if 5 * square > 7 * work + 64:  # e^(-x^2 / 2) < 2^-work: the least terms are that small
        term, sums = 1 << work, (0, 1 << work)
        while term > 1 and i * r < q:
            term = term * i * r // q
            sums = sums[1], sums[1] + (-term if i % 4 == 1 else term)
            i += 2
        between = Enclosure(min(sums) - i * i, max(sums) + i * i, -work)
        beyond = div(mul(density, between, work), of(abs(x), work), work)
        return sub(Enclosure(1, 1, 0), beyond, bits) if x > 0 else beyond
    low, high = _at(of(abs(x), work), -work)
    total, term = 0, low
    while term or i * r < 2 * q:
        total += term
        i += 2
        term = term * q // (r * i)
    growth = total // low + 1
    error = i * (growth + i + 8) + (high - low) * growth
    upper = mul(density, Enclosure(total - error, total + error, -work), work)
    return add(Enclosure(1, 1, -1), upper if x > 0 else neg(upper), bits + 32)
