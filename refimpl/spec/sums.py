"""Sums of products with a stated accumulator: its format, the order of additions, each rounding.

Every product is exact; only what goes into the accumulator is rounded, each time once, as a fused
multiply-add does.  `round` below is that rounding; a register begins at +0.

==============  ==================================================================================
order           sum of the products p1, ..., pk
==============  ==================================================================================
``sequential``  total = round(total + p) for each p in turn
``pairwise``    round each p; then add neighbours, level by level, an odd one out passes up
``chunked``     each `chunk` products sequentially from +0; then these sums, sequentially from +0
``kahan``       y = round(p - c); t = round(total + y); c = round(round(t - total) - y); total = t
                (c = 0 where t is not finite)
``exact``       round(p1 + ... + pk), once; for a posit accumulator what its quire gives
==============  ==================================================================================

*Sources*: Kahan (1965); chunks: Wang et al., Training DNNs with 8-bit floating point numbers
(arXiv 1812.08011); Kahan's update in bfloat16: arXiv 2010.06192; quire: the posit standard (2022).
"""

from __future__ import annotations

from collections.abc import Sequence

from refimpl.formats import FloatFormat, PositFormat
from refimpl.spec import float_codes, posits
from refimpl.spec.arithmetic import add, fma, mul, sub
from refimpl.spec.float_codes import RANDOM_BITS, Value

ORDERS = ("sequential", "pairwise", "chunked", "kahan", "exact")
ZERO = Value("finite", False)


def dot(
    a: Sequence[Value],
    b: Sequence[Value],
    fmt: FloatFormat | PositFormat,
    order: str = "sequential",
    chunk: int = 1,
    rounding: str = "ties_to_even",
    overflow: str = "overflow",
    random: Sequence[int] = (),
    random_bits: int = RANDOM_BITS,
) -> Value:
    """Return the sum of the products of a and b in an accumulator of a format.

    `random` has the integers for stochastic rounding, in the order in which results are rounded.

    >>> from refimpl.formats import format
    >>> ones = [Value("finite", False, 1)] * 20
    >>> float(dot(ones, ones, format("float8_e4m3fn")).magnitude)  # 16 + 1 is a tie, and goes to 16
    16.0
    >>> float(dot(ones, ones, format("float8_e4m3fn"), "exact").magnitude)
    20.0
    """
    numbers = iter(random)

    def round(exact: Value) -> Value:
        if isinstance(fmt, PositFormat):
            return posits.decode(posits.encode(exact, fmt), fmt)
        number = next(numbers, 0)
        code = float_codes.encode(exact, fmt, rounding, overflow, "zero", number, random_bits)
        return float_codes.decode(code, fmt)

    def in_turn(pairs) -> Value:
        total = ZERO
        for x, y in pairs:
            total = round(fma(x, y, total, rounding))
        return total

    pairs = list(zip(a, b, strict=True))
    match order:
        case "sequential":
            return in_turn(pairs)
        case "pairwise":
            level = [round(mul(x, y)) for x, y in pairs] or [ZERO]
            while len(level) > 1:
                odd = level[-1:] if len(level) % 2 else []
                both = zip(level[::2], level[1::2], strict=False)
                level = [round(add(x, y, rounding)) for x, y in both] + odd
            return level[0]
        case "chunked":
            total = ZERO
            for start in range(0, len(pairs), chunk):
                total = round(add(total, in_turn(pairs[start : start + chunk]), rounding))
            return total
        case "kahan":
            total = lost = ZERO
            for x, y in pairs:
                term = round(sub(mul(x, y), lost, rounding))
                new = round(add(total, term, rounding))
                lost = round(sub(round(sub(new, total, rounding)), term, rounding))
                lost = lost if new.kind == "finite" else ZERO  # nothing is lost to an infinity: it stays one
                total = new
            return total
        case "exact":
            total = ZERO
            for x, y in pairs:
                total = fma(x, y, total, rounding)
            return round(total)
    raise ValueError(f"unknown order {order!r}")


def roundings(order: str, terms: int, chunk: int = 1) -> int:
    """Return how many results `dot` rounds, each with a random integer.

    >>> [roundings(order, 5, 2) for order in ORDERS]
    [5, 9, 8, 20, 1]
    """
    chunks = -(-terms // chunk)
    return {
        "sequential": terms,
        "pairwise": max(2 * terms - 1, 0),
        "chunked": terms + chunks,
        "kahan": 4 * terms,
        "exact": 1,
    }[order]
