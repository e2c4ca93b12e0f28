"""Known defects of rounding: modes and rules, steps in between, bits that are lost, ties, the ends of the range.

*Notation*: as in `defect`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from refimpl import ops
from refimpl.formats import OVERFLOWS, FloatFormat
from refimpl.formats import format as format_of
from refimpl.testing.expected.behaviour import DETERMINISTIC, DIRECTED, step_above
from refimpl.testing.operations.defect import Defect, giving, rounds
from refimpl.testing.operations.operation import Operation

MORE_BITS = 10  # to which results are tried to have been rounded first
GUARD_BITS = 5


# -- rules -----------------------------------------------------------------------------------------


def of_rules(o: Operation) -> Iterator[Defect]:
    if not (o.is_rounded or o.integer) or not isinstance(o.into, FloatFormat):
        return
    for mode in DETERMINISTIC:
        if mode != o.rounding:
            yield Defect(f"rounds {mode}", core=partial(ruled, rounding=mode))
            if rounds(o):  # many overflow after any rounding alike
                text = f"rounds {mode}, and overflows as to nearest whatever the direction"
                yield Defect(text, core=lambda o, v, mode=mode: _overflowed(o, _unbounded(o, v, mode)))
    if o.integer or o.name == "round_to_integral":
        return
    said = {
        "saturate": "saturates: gives the largest value for infinity and overflow",
        "propagate": "saturates on overflow, and keeps infinity",
        "overflow": "overflows instead of saturating",
    }
    for rule in OVERFLOWS:
        if rule != o.overflow:
            yield Defect(said[rule], core=partial(ruled, overflow=rule))
    if o.into.nan_code is None:
        yield Defect(
            "gives zero or the largest value for NaN, whichever is wrong",
            core=partial(ruled, nan="max" if o.nan == "zero" else "zero"),
        )
    if o.rounding in DIRECTED:
        yield Defect(f"applies {o.rounding} to the magnitude", after=_by_magnitude(o.rounding))
    yield Defect("rounds away from zero", after=_by_magnitude("toward_positive"))


def _grid(fmt: FloatFormat, more_bits: int = 0) -> FloatFormat:
    """Return a format of the same smallest exponent and twice the range, with more bits behind the last."""
    mantissa, exponent = fmt.mantissa_bits + more_bits, fmt.exponent_bits + 1
    return replace(fmt, mantissa_bits=mantissa, exponent_bits=exponent, bias=fmt.bias, specials="ieee", signed=True)


def _unbounded(o, v, rounding, more_bits: int = 0) -> np.ndarray:
    """Return exact results, rounded on the grid of a format without its upper end."""
    return np.asarray(ops.quantize(o.exact(v), _grid(o.into, more_bits), rounding=rounding, overflow="propagate"))


def _overflowed(o, y) -> np.ndarray:
    """Return results rounded without an upper end, where they lie beyond it what an overflow to nearest gives."""
    return replace(o, rounding="ties_to_even").rounded(y)


def ruled(o, v, **rules) -> np.ndarray:
    return replace(o, **rules, random_bits=None).evaluate(v)


def _by_magnitude(mode) -> Callable:
    def after(o, v, y):
        e = o.exact(v)
        return np.where(np.isfinite(e) & (e != 0), np.copysign(replace(o, rounding=mode).rounded(np.abs(e)), e), y)

    return after


# -- precision -------------------------------------------------------------------------------------


def of_precision(o: Operation) -> Iterator[Defect]:
    if not rounds(o):
        return
    fmt = o.into
    for name in ("float32", "bfloat16", "float16", "tf32"):
        wide = format_of(name)
        if wide.mantissa_bits > fmt.mantissa_bits or wide.mantissa_bits <= fmt.mantissa_bits and wide != fmt:
            how = "computes in" if wide.mantissa_bits > fmt.mantissa_bits else "loses bits: computes in"
            yield Defect(f"{how} {name} and converts: rounds twice", core=partial(_through, wide=wide))
    yield Defect("rounds to full precision before rounding on the subnormal grid", core=_to_bits(0, "ties_to_even"))
    for mode in ("toward_zero", "ties_to_away"):
        text = f"rounds to full precision before it rounds {mode} on the subnormal grid"
        yield Defect(text, core=partial(_full_before_subnormal, mode=mode))
    for extra in range(1, MORE_BITS + 1):
        yield Defect(f"rounds twice, first to {extra} more bits", core=_to_bits(extra, "ties_to_even"))
    for extra in range(1, MORE_BITS + 1):
        text = f"keeps {extra} bit{'s' * (extra > 1)} behind the last and no sticky bit: cuts the rest off"
        yield Defect(text, core=_to_bits(extra, "toward_zero"))
        yield Defect(text, core=partial(_to_grid, extra=extra))
    for fewer in (1, 2, 3):
        if fmt.mantissa_bits > fewer:
            narrow = replace(fmt, mantissa_bits=fmt.mantissa_bits - fewer, specials="none", bias=fmt.bias)
            yield Defect(f"rounds to {fewer} bits fewer", core=partial(_through, wide=narrow))
    yield Defect("loses the carry of rounding into the exponent", after=_lost_carry)
    yield Defect("loses the carry of rounding into the exponent", core=_lost_carry_of_normals)


def _through(o, v, wide) -> np.ndarray:
    """Compute in another format, rounding to nearest, and round the result."""
    first = replace(o, out_format=wide, rounding="ties_to_even", overflow="overflow", random_bits=None).evaluate(v)
    return o.rounded(first)


def _to_bits(extra: int, mode) -> Callable:
    def core(o, v):
        wide = FloatFormat(exponent_bits=10, mantissa_bits=o.into.mantissa_bits + extra)
        return o.rounded(ops.quantize(o.exact(v), wide, rounding=mode))

    return core


def _full_before_subnormal(o, v, mode):
    first = ops.quantize(o.exact(v), FloatFormat(exponent_bits=10, mantissa_bits=o.into.mantissa_bits))
    small = np.abs(first) < o.into.smallest_normal
    return np.where(small, replace(o, rounding=mode).rounded(first), o.rounded(first))


def _to_grid(o, v, extra):
    return o.rounded(_unbounded(o, v, "toward_zero", extra))


def _lost_carry_of_normals(o, v):
    e, y = o.exact(v), _unbounded(o, v, o.rounding)
    size = np.abs(y)
    power = np.isfinite(y) & (size > np.abs(e)) & (np.frexp(size)[0] == 0.5) & (size > o.into.smallest_normal)
    return _overflowed(o, np.where(power, y / 2, y))


def _lost_carry(o, v, y):
    """1.99 becomes 1, not 2; and what becomes the smallest normal value, zero."""
    size, fmt = np.abs(y), o.into
    power = np.isfinite(y) & (size > np.abs(o.exact(v))) & (np.frexp(size)[0] == 0.5)
    first = power & (size == fmt.smallest_normal)
    return np.where(first, np.copysign(0.0, y), np.where(power & (size > fmt.smallest_normal), y / 2, y))


# -- alignment -------------------------------------------------------------------------------------


def of_alignment(o: Operation) -> Iterator[Defect]:
    if o.name not in ("add", "sub", "fma", "faa") or not rounds(o):
        return
    for bits in range(GUARD_BITS + 1):
        kept = "no bits" if not bits else f"{bits} guard bit{'s' * (bits > 1)}"
        for cut, how in ((np.trunc, "cut off"), (np.floor, "cut toward negative"), (_sticky, "or-ed into the last")):
            if bits or cut is not _sticky:
                text = f"aligns operands with {kept}, the rest {how}"
                yield Defect(text, core=partial(_aligned, bits=bits, cut=cut))

    if o.name in ("add", "sub"):
        for far in range(2, o.into.mantissa_bits + 5):
            text = f"drops an operand whose exponent is {far} or more below that of the other"
            yield Defect(text, core=partial(_dropping, far=far))


def _dropping(o, v, far: int) -> np.ndarray:
    terms = terms_of(o, v)
    a, b = (
        np.where(
            t == 0, fmt.min_exponent, np.maximum(np.frexp(np.where(np.isfinite(t), t, 1.0))[1] - 1, fmt.min_exponent)
        )
        for t, fmt in zip(terms, o.formats, strict=True)
    )
    finite = np.isfinite(terms[0]) & np.isfinite(terms[1])
    y = np.where(finite & (b - a >= far) & (terms[0] != 0), o.rounded(terms[1]), o.evaluate(v))
    return np.where(finite & (a - b >= far) & (terms[1] != 0), o.rounded(terms[0]), y)


def terms_of(o: Operation, v) -> list[np.ndarray]:
    """Return what a sum adds."""
    return {
        "add": lambda: [v[0], v[1]],
        "sub": lambda: [v[0], -v[1]],
        "fma": lambda: [v[0] * v[1], v[2]],
        "faa": lambda: list(v),
    }[o.name]()


def _sticky(x):
    whole = np.trunc(x)
    return np.where((whole != x) & (whole % 2 == 0), whole + np.copysign(1.0, x), whole)


def _aligned(o, v, bits: int, cut) -> np.ndarray:
    right = o.evaluate(v)
    terms = terms_of(o, v)
    top = np.max([np.where(t == 0, -2000, np.frexp(t)[1] - 1) for t in terms], axis=0)
    place = np.clip(top - o.into.mantissa_bits - bits, -1000, 1000)
    total = sum(np.ldexp(cut(np.ldexp(t, -place)), place) for t in terms)
    good = np.isfinite(total) & (total != 0)
    return np.where(
        good, o.rounded(np.where(good, total, 0.0)), np.where(total == 0, np.where(right == 0, right, 0.0), right)
    )


# -- the ends of the range -------------------------------------------------------------------------


def of_range(o: Operation) -> Iterator[Defect]:
    if not rounds(o):
        return
    fmt, step = o.into, step_above(o.into)
    if fmt.has_subnormals and fmt.mantissa_bits:
        for words, zero in (("", lambda y: np.copysign(0.0, y)), (", without their sign", np.zeros_like)):
            yield Defect(f"flushes subnormal results to zero{words}", after=partial(flushed_result, zero=zero))
        yield Defect(
            "flushes results that are subnormal before rounding to zero",
            after=giving(0.0, lambda o, v, y: np.abs(o.exact(v)) < fmt.smallest_normal),
        )
    yield Defect(
        "never underflows: gives the smallest value instead of zero",
        after=giving(fmt.smallest_subnormal, lambda o, v, y: (y == 0) & (o.exact(v) != 0)),
    )
    yield Defect(
        "gives zero for everything below the smallest value",
        after=giving(0.0, lambda o, v, y: np.abs(o.exact(v)) < fmt.smallest_subnormal),
    )
    beyond = replace(o, rounding="ties_to_even").rounded(np.array([fmt.max * 4, -fmt.max * 4]))
    for text, where in (
        ("overflows everything above the largest value, before rounding", lambda e: e > fmt.max),
        ("overflows at exactly half a step above the largest value", lambda e: e == fmt.max + step / 2),
        ("overflows at the largest value already", lambda e: e >= fmt.max),
        ("overflows only a whole step above the largest value", lambda e: e >= fmt.max + step),
    ):

        def after(o, v, y, where=where):
            e = o.exact(v)
            if where(fmt.max + step * 0.75):
                return np.where(np.isfinite(e) & where(np.abs(e)), np.where(e < 0, beyond[1], beyond[0]), y)
            near = np.isfinite(e) & (np.abs(e) > fmt.max) & (np.abs(e) < fmt.max + step)
            return np.where(near & ~where(np.abs(e)), np.copysign(fmt.max, e), y)

        yield Defect(text, after=after)
    top = 2.0 ** (fmt.maxexp - 1)

    def early(o, v, y):
        return np.where(np.isfinite(y) & (np.abs(y) >= top), np.where(y < 0, beyond[1], beyond[0]), y)

    yield Defect("overflows one binade early", after=early)


def flushed_result(o, v, y, zero):
    return np.where((np.abs(y) < o.into.smallest_normal) & (y != 0), zero(y), y)


def _at_half(o, e):
    """Tell which exact results lie half way between two values."""
    exponent = np.maximum(np.frexp(e)[1] - 1, o.into.min_exponent) - o.into.mantissa_bits
    steps = np.abs(np.ldexp(e, -exponent))
    return steps - np.floor(steps) == 0.5


def of_ties(o: Operation) -> Iterator[Defect]:
    if not rounds(o):
        return

    def at_ties(choose):
        def after(o, v, y):
            e, nearest = o.exact(v), np.abs(_unbounded(o, v, "ties_to_even"))
            low = np.abs(_unbounded(o, v, "toward_zero"))
            high = np.where(nearest > low, nearest, 2 * np.abs(e) - low)
            inside = np.isfinite(e) & (np.abs(e) <= o.into.max + step_above(o.into))
            tie = inside & (np.abs(e) - low == high - np.abs(e)) & (low != high) & _at_half(o, e)
            return np.where(tie, _overflowed(o, np.copysign(choose(low, high, nearest, e), e)), y)

        return after

    yield Defect("ties go toward zero", after=at_ties(lambda low, high, y, e: low))
    yield Defect("ties go to odd", after=at_ties(lambda low, high, y, e: np.where(np.abs(y) == low, high, low)))
    yield Defect("ties go toward positive", after=at_ties(lambda low, high, y, e: np.where(e > 0, high, low)))
    yield Defect("ties go toward negative", after=at_ties(lambda low, high, y, e: np.where(e > 0, low, high)))
