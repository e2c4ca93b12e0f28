"""Dot products as matrix units add them; what the fields of a unit mean stands in `refimpl.formats.units`.

A term is (significand, exponent): its value is significand * 2^exponent, exactly.  One group of an aligned sum:

1. Products are exact: significands multiply, exponents add.
2. E is the largest exponent of all terms, zeros included.
3. Each significand s of exponent e becomes cut(s 2^(F + e - E)), an integer number of units of 2^(E - F).
4. The sum of these is exact; it is rounded once to the accumulator.

*Sources*: those of `refimpl.formats.units`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from refimpl.formats import FloatFormat
from refimpl.formats.floats import FLOATS
from refimpl.formats.units import MatrixUnit
from refimpl.spec import float_codes
from refimpl.spec.arithmetic import add, fma, mul
from refimpl.spec.float_codes import Value, floor_log2

NAN, ZERO, SINGLE = Value("nan", False), Value("finite", False), FLOATS["float32"]
ZERO_EXPONENT = -126
Term = tuple[Fraction, int]


def dot(
    a: Sequence[Value],
    b: Sequence[Value],
    c: Value,
    unit: MatrixUnit,
    formats: tuple[FloatFormat, FloatFormat],
    scales: tuple[Sequence[Value], Sequence[Value]] = ((), ()),
    scale_format: FloatFormat | None = None,
) -> Value:
    """Return the accumulator that begins with c and takes the products of a and b, group after group.

    a, b: values of the two formats; c: one of the accumulator's, or of float32 where that is FP22; scales: those of
    the blocks of a and of b, values of their format.

    >>> from refimpl.formats.units import unit
    >>> one, tiny = (float_codes.from_float(x) for x in (1.0, 2.0**-14))
    >>> e5m2 = (FLOATS["float8_e5m2"],) * 2
    >>> [float(dot([one, tiny], [one, one], ZERO, unit(name), e5m2).magnitude)
    ...  for name in ("hopper-fp8", "blackwell-fp8")]  # 13 bits behind the point, and 25
    [1.0, 1.00006103515625]
    """
    a, b = ([_operand(x, fmt, unit) for x in side] for side, fmt in zip((a, b), formats, strict=True))
    if unit.flush:
        c = _flushed(c, unit.into, sign=False)
    register, total = (c, ZERO) if unit.promote else (ZERO, c)
    for start in range(0, len(a), unit.terms):
        parts = [side[start : start + unit.terms] for side in (a, b)]
        factors = [side[start // unit.block : (start + unit.terms) // unit.block] for side in scales if unit.scales]
        total = group(parts[0], parts[1], total, unit, formats, factors, scale_format)
        done = start + unit.terms
        if unit.promote and (done % unit.promote == 0 or done >= len(a)):
            register, total = _rounded(add(register, total), SINGLE), ZERO
    return register if unit.promote else total


def group(a, b, c: Value, unit: MatrixUnit, formats, scales=(), scale_format=None) -> Value:
    """Return the accumulator after one group."""
    if unit.sum == "fma":
        for x, y in zip(a, b, strict=True):
            c = _rounded(fma(x, y, c), unit.into)
        return c
    if unit.sum == "pairwise":
        return _single(add(c, _halves(a, b, unit)), unit)
    special = _special(a, b, c, unit, scales)
    if special is not None:
        return special
    a, b = (terms_of(side, fmt) for side, fmt in zip((a, b), formats, strict=True))
    terms = [(x * y, e + f) for (x, e), (y, f) in zip(a, b, strict=True)]
    if unit.scales:
        terms = _scaled(terms, unit, [terms_of(map(_absolute, side), scale_format) for side in scales])
    accumulator = terms_of([c], unit.into)
    bits = unit.fraction_bits
    if unit.joined is None:
        total, exponent = aligned(terms + accumulator, bits, unit)
    else:
        parts = (terms[::2], terms[1::2]) if unit.halves else (terms,)
        sums = [aligned(part, bits, unit) for part in parts if part]
        if unit.halves:
            sums = [_meeting(sums, [bits] * len(sums))]
        far = max(sums[0][1], accumulator[0][1])
        if unit.reach is not None and accumulator[0][1] < far - unit.reach:
            accumulator = [(Fraction(0), far)]
        total, exponent = _meeting(sums + accumulator, unit.joined)
    return _output(total * Fraction(2) ** exponent, unit)


def terms_of(values: Iterable[Value], fmt: FloatFormat) -> list[Term]:
    """Return significands and exponents of finite values of a format."""

    def term(value: Value) -> Term:
        if value.magnitude == 0:
            return Fraction(0), ZERO_EXPONENT
        exponent = max(floor_log2(value.magnitude), fmt.min_exponent)
        return (-1 if value.negative else 1) * value.magnitude / Fraction(2) ** exponent, exponent

    return [term(value) for value in values]


def aligned(terms: Sequence[Term], bits: int, unit: MatrixUnit) -> Term:
    """Return the sum of terms aligned to their largest exponent, cut to so many bits behind the point.

    >>> from refimpl.formats.units import unit
    >>> aligned([(Fraction(1), 0), (Fraction(-7, 4), -2)], 2, unit("hopper-f16"))  # 1 - 7/16, of which 3/16 is cut
    (Fraction(3, 4), 0)
    """
    if unit.align == "products":
        terms = [_normalised(term) for term in terms]
    top = max(exponent for _, exponent in terms)
    whole = sum(cut(s * Fraction(2) ** (bits + e - top), unit.cut) for s, e in terms)
    if unit.carry_bits is not None:  # two's complement: a sign, two bits of a product, those for carries, the fraction
        half = 1 << (bits + 2 + unit.carry_bits)
        whole = (whole + half) % (2 * half) - half
    return Fraction(whole, 1 << bits), top


def cut(x: Fraction, how: str) -> int:
    """Return the integer that a register keeps of x.

    >>> [cut(Fraction(-5, 4), how) for how in ("toward_zero", "toward_negative", "ties_to_even", "to_odd")]
    [-1, -2, -1, -1]
    """
    if how == "toward_negative":
        return math.floor(x)
    if how == "ties_to_even":
        return round(x)
    whole = math.trunc(x)
    if how == "to_odd" and whole != x and whole % 2 == 0:
        return whole - 1 if x < 0 else whole + 1
    return whole


def _normalised(term: Term) -> Term:
    significand, exponent = term
    if significand == 0:
        return term
    more = floor_log2(abs(significand))
    return significand / Fraction(2) ** more, exponent + more


def _meeting(terms: Sequence[Term], bits: Sequence[int]) -> Term:
    """Return the sum of terms aligned to the larger exponent, each cut toward negative to bits of its own."""
    top = max(exponent for _, exponent in terms)
    cuts = [cut(s * Fraction(2) ** (n + e - top), "toward_negative") for (s, e), n in zip(terms, bits, strict=True)]
    return sum(Fraction(whole, 1 << n) for whole, n in zip(cuts, bits, strict=True)), top  # type: ignore[return-value]


def _scaled(terms: Sequence[Term], unit: MatrixUnit, scales: Sequence[Sequence[Term]]) -> list[Term]:
    """Return terms with the scales of their blocks: of each product, or of each exact sum of `inner` products."""
    factors = [(s * t, e + f) for (s, e), (t, f) in zip(*scales, strict=True)]
    if unit.inner == 1:
        return [(s, e + factors[i // unit.block][1]) for i, (s, e) in enumerate(terms)]
    found = []
    for start in range(0, len(terms), unit.inner):
        total = sum(s * Fraction(2) ** e for s, e in terms[start : start + unit.inner])
        significand, exponent = factors[start // unit.block]
        found.append((total * significand, exponent))
    return found


def _absolute(value: Value) -> Value:
    return value._replace(negative=False)


def _special(a, b, c: Value, unit: MatrixUnit, scales) -> Value | None:
    """Return NaN or infinity where the group gives one, else None.

    The sum of the exact products and c decides first, as in float64, which holds products beyond 2^128: where c is
    -infinity, it stays that beside a large positive product.  So does an earlier version of the public model, where
    this place is marked as open; its version 2 gives NaN.  AMD documents neither.
    """
    values = [c, *(mul(x, y) for x, y in zip(a, b, strict=True))]
    if any(value.kind == "nan" for value in [*values, *(scale for side in scales for scale in side)]):
        return NAN
    limit = math.inf if unit.infinite_from is None else Fraction(2) ** unit.infinite_from
    infinite = values[0].kind == "infinite"
    signs = {c.negative} if infinite else set()
    products = values[1:]
    signs |= {value.negative for value in products if value.kind == "infinite"}
    if not signs:  # only then do large products count
        signs = {value.negative for value in products if value.magnitude >= limit}
    if len(signs) == 2:
        return NAN
    return Value("infinite", signs.pop()) if signs else None


def _output(total: Fraction, unit: MatrixUnit) -> Value:
    """Return the accumulator's value of an exact total."""
    if total == 0:
        return ZERO
    value = Value("finite", total < 0, abs(total))
    if unit.rounding == "ties_to_even":
        rounded = _rounded(value, unit.into)
    else:
        code = float_codes.round_to_precision(value.magnitude, value.negative, unit.into, "toward_zero", 0, 32)
        if code > unit.into.max_code:
            return Value("infinite", value.negative)
        rounded = float_codes.decode(code, unit.into)._replace(negative=value.negative)
    if rounded == ZERO._replace(negative=True) and not unit.minus_zero:
        return ZERO
    return rounded


def _rounded(value: Value, fmt: FloatFormat) -> Value:
    return float_codes.decode(float_codes.encode(value, fmt), fmt)


# -- operands, and sums in float32 -------------------------------------------------------------------


def _operand(value: Value, fmt: FloatFormat, unit: MatrixUnit) -> Value:
    """Return an operand as the unit sees it."""
    if value.kind == "finite" and unit.operand_bits is not None and value.magnitude:
        step = Fraction(2) ** (max(floor_log2(value.magnitude), fmt.min_exponent) - unit.operand_bits)
        value = value._replace(magnitude=math.floor(value.magnitude / step) * step)
    return _flushed(value, fmt, sign=False) if unit.flush else value


def _flushed(value: Value, fmt: FloatFormat, sign: bool = True) -> Value:
    if value.kind == "finite" and value.magnitude < Fraction(2) ** fmt.min_exponent:
        return Value("finite", value.negative and sign)
    return value


def _single(value: Value, unit: MatrixUnit) -> Value:
    value = _rounded(value, SINGLE)
    return _flushed(value, SINGLE) if unit.flush else value


def _halves(a, b, unit: MatrixUnit) -> Value:
    """Return the sum of products in float32, halves of the group first."""
    if len(a) == 1:
        return _single(fma(a[0], b[0], ZERO), unit)
    middle = len(a) // 2
    return _single(add(_halves(a[:middle], b[:middle], unit), _halves(a[middle:], b[middle:], unit)), unit)
