"""The catalogue of known defects of arithmetic: ways of computing wrong results on purpose.

A defect may change operands first, compute in another way, and change results last.  `diagnosis` compares what
it predicts with what was seen.

*Notation*: o is an `Operation`, v the values of its operands (a list of float64 arrays), y results (float64),
e exact results, cut to odd (`Operation.exact`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from refimpl import ops
from refimpl.formats import OVERFLOWS, FloatFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.expected.behaviour import DETERMINISTIC, DIRECTED, step_above
from refimpl.testing.operations import formulas
from refimpl.testing.operations.operation import (
    COUNTED,
    NUMBER,
    OF_INTEGERS,
    RELATIONS,
    SIGNALING,
    Operation,
    decoded,
    encoded,
)

MORE_BITS = 10  # to which results are tried to have been rounded first
GUARD_BITS = 5


@dataclass(frozen=True)
class Defect:
    """A named way to be wrong: `before(o, v)` gives operands, `core(o, v)` and `after(o, v, y)` results."""

    sentence: str
    before: Callable | None = None
    core: Callable | None = None
    after: Callable | None = None


def predict(defects, o: Operation, v) -> np.ndarray:
    """Return what an implementation with these defects gives, float64.

    >>> flush = next(d for d in defects_of(Operation("add", "e4m3fn")) if "subnormal results" in d.sentence)
    >>> predict((flush,), Operation("add", "e4m3fn"), [np.array([0.002, 1.0]), np.array([0.002, 1.0])]).tolist()
    [0.0, 2.0]
    """
    core = Operation.evaluate
    for defect in defects:
        v = defect.before(o, v) if defect.before else v
        core = defect.core or core
    y = core(o, v)
    for defect in defects:
        y = defect.after(o, v, y) if defect.after else y
    return y


def defects_of(o: Operation) -> tuple[Defect, ...]:
    """Return the known defects that make sense for an operation, the simplest first."""
    found: list[Defect] = []
    for family in (_of_rules, _of_precision, formulas.defects, _of_alignment, _of_operands, _of_zeros, _of_specials):
        found += [d if isinstance(d, Defect) else Defect(*d) for d in family(o)]
    for family in (_of_range, _of_ties, _of_integers, _of_truths, _of_formats):
        found += family(o)
    return tuple(found)


def _rounds(o: Operation) -> bool:
    """Tell whether an operation has exact results that a float format rounds."""
    return o.is_rounded and isinstance(o.into, FloatFormat) and o.name != "round_to_integral"


def _where(value, where: Callable) -> Callable:
    """Return an `after` that puts a value, with the sign of the result, where something holds."""
    return lambda o, v, y: np.where(where(o, v, y), np.copysign(value, y), y)


# -- rules -----------------------------------------------------------------------------------------


def _of_rules(o: Operation) -> Iterator[Defect]:
    if not (o.is_rounded or o.integer) or not isinstance(o.into, FloatFormat):
        return
    for mode in DETERMINISTIC:
        if mode != o.rounding:
            yield Defect(f"rounds {mode}", core=partial(_ruled, rounding=mode))
            if _rounds(o):  # many overflow after any rounding alike
                yield Defect(f"rounds {mode}", core=lambda o, v, mode=mode: _overflowed(o, _unbounded(o, v, mode)))
    if o.integer or o.name == "round_to_integral":
        return
    said = {
        "saturate": "saturates: gives the largest value for infinity and overflow",
        "propagate": "saturates on overflow, and keeps infinity",
        "overflow": "overflows instead of saturating",
    }
    for rule in OVERFLOWS:
        if rule != o.overflow:
            yield Defect(said[rule], core=partial(_ruled, overflow=rule))
    if o.into.nan_code is None:
        yield Defect("gives zero or the largest value for NaN, whichever is wrong",
                     core=partial(_ruled, nan="max" if o.nan == "zero" else "zero"))  # fmt: skip
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


def _ruled(o, v, **rules) -> np.ndarray:
    return replace(o, **rules, random_bits=None).evaluate(v)


def _by_magnitude(mode) -> Callable:
    def after(o, v, y):
        e = o.exact(v)
        return np.where(np.isfinite(e) & (e != 0), np.copysign(replace(o, rounding=mode).rounded(np.abs(e)), e), y)

    return after


# -- precision -------------------------------------------------------------------------------------


def _of_precision(o: Operation) -> Iterator[Defect]:
    if not _rounds(o):
        return
    fmt = o.into
    for name in ("float32", "bfloat16", "float16", "tf32"):
        wide = format_of(name)
        if wide.mantissa_bits > fmt.mantissa_bits or wide.mantissa_bits <= fmt.mantissa_bits and wide != fmt:
            how = "computes in" if wide.mantissa_bits > fmt.mantissa_bits else "loses bits: computes in"
            yield Defect(f"{how} {name} and converts: rounds twice", core=partial(_through, wide=wide))
    yield Defect("rounds to full precision before rounding on the subnormal grid", core=_to_bits(0, "ties_to_even"))
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


def _of_alignment(o: Operation) -> Iterator[Defect]:
    if o.name not in ("add", "sub", "fma", "faa") or not _rounds(o):
        return
    for bits in range(GUARD_BITS + 1):
        kept = "no bits" if not bits else f"{bits} guard bit{'s' * (bits > 1)}"
        for cut, how in ((np.trunc, "cut off"), (np.floor, "cut toward negative"), (_sticky, "or-ed into the last")):
            if bits or cut is not _sticky:
                text = f"aligns operands with {kept}, the rest {how}"
                yield Defect(text, core=partial(_aligned, bits=bits, cut=cut))


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


# -- operands --------------------------------------------------------------------------------------


def _of_operands(o: Operation) -> Iterator[Defect]:
    small = [getattr(fmt, "has_subnormals", False) and fmt.smallest_normal for fmt in o.formats]
    if any(small):
        for words, zero in (("", lambda x: np.copysign(0.0, x)), (", without their sign", np.zeros_like)):
            yield Defect(f"flushes subnormal operands to zero{words}", before=partial(_flushed, zero=zero))
            if _rounds(o) and o.into.has_subnormals:
                yield Defect(
                    f"flushes subnormal operands and results to zero{words}",
                    before=partial(_flushed, zero=zero),
                    after=partial(_flushed_result, zero=zero),
                )
    if o.operands == 2:
        yield Defect("swaps its operands", core=_swapped)
    for k in range(o.operands):
        which = ("first", "second", "third")[k]
        yield Defect(f"ignores the sign of its {which} operand", before=partial(_unsigned, k=k))
        for j in range(o.operands):
            if j != k:
                yield Defect(f"takes its {which} operand twice, as the {('first', 'second', 'third')[j]} too",
                             before=partial(_copied, k=k, j=j))  # fmt: skip
    if o.name in ("fma", "add", "sub", "faa"):
        for k in range(1, o.operands):
            yield Defect(
                f"has the sign of its {('', 'second', 'third')[k]} operand wrong", before=partial(_negated, k=k)
            )


def _flushed(o, v, zero):
    return [
        np.where(np.abs(x) < fmt.smallest_normal, zero(x), x) if isinstance(fmt, FloatFormat) else x
        for x, fmt in zip(v, o.formats, strict=True)
    ]


def _flushed_result(o, v, y, zero):
    return np.where((np.abs(y) < o.into.smallest_normal) & (y != 0), zero(y), y)


def _swapped(o, v):
    return replace(o, formats=o.formats[::-1]).evaluate(v[::-1])


def _unsigned(o, v, k):
    return [np.abs(x) if i == k else x for i, x in enumerate(v)]


def _negated(o, v, k):
    return [-x if i == k else x for i, x in enumerate(v)]


def _copied(o, v, k, j):
    return [v[k] if i == j else x for i, x in enumerate(v)]


# -- zeros -----------------------------------------------------------------------------------------


def _of_zeros(o: Operation) -> Iterator[Defect]:
    if o.kind != NUMBER:
        return
    yield Defect("gives zero results without their sign", after=lambda o, v, y: np.where(y == 0, 0.0, y))
    if o.name in ("add", "sub", "fma", "faa"):
        exact = "an exact zero of unequal signs"
        for sign, text in ((-1.0, f"gives -0 for {exact}"), (1.0, f"gives +0 for {exact}")):
            if (o.rounding == "toward_negative") == (sign > 0):
                yield Defect(text, after=partial(_exact_zero, sign=sign))
        yield Defect(f"gives {exact} the sign of the first operand", after=_zero_by_first)
        yield Defect("gives +0 for -0 + -0", after=lambda o, v, y: np.where(_all_zero(o, v) & (y == 0), 0.0, y))
        yield Defect("gives -0 for a sum of zeros of which one is -0", after=_any_minus)
    if o.name in ("mul", "div"):
        yield Defect("gives products and quotients that are zero the sign of the first operand",
                     after=lambda o, v, y: np.where(y == 0, np.copysign(0.0, v[0]), y))  # fmt: skip
    if o.operands > 1:
        yield Defect("gives zero without its sign where an operand is zero", after=_zero_of_zero)
    if _rounds(o):
        yield Defect("loses the sign of results that underflow to zero", after=_underflow_positive)
        yield Defect("loses the sign of results", after=lambda o, v, y: np.abs(y))
    if o.name in ("sqrt", "round_to_integral", "remainder", "logb"):
        yield Defect("gives zero where an operand is zero no sign",
                     after=lambda o, v, y: np.where((v[0] == 0) & (y == 0), 0.0, y))  # fmt: skip
        yield Defect("takes -0 for a negative number, and gives NaN",
                     after=lambda o, v, y: np.where((v[0] == 0) & np.signbit(v[0]), np.nan, y))  # fmt: skip


def _zero_of_zero(o, v, y):
    return np.where((y == 0) & np.any([x == 0 for x in v], axis=0), 0.0, y)


def _all_zero(o, v):
    return np.all([t == 0 for t in terms_of(o, v)], axis=0)


def _exact_zero(o, v, y, sign):
    terms = terms_of(o, v)
    same = np.all([np.signbit(t) == np.signbit(terms[0]) for t in terms], axis=0)
    exact = (o.exact(v) == 0) & ~(_all_zero(o, v) & same)
    return np.where(exact & (y == 0), sign * 0.0, y)


def _zero_by_first(o, v, y):
    return np.where((o.exact(v) == 0) & (y == 0), np.copysign(0.0, terms_of(o, v)[0]), y)


def _any_minus(o, v, y):
    minus = np.any([np.signbit(t) for t in terms_of(o, v)], axis=0)
    return np.where(_all_zero(o, v) & minus & (y == 0), -0.0, y)


def _underflow_positive(o, v, y):
    return np.where((y == 0) & (o.exact(v) != 0), 0.0, y)


# -- NaN, infinity ---------------------------------------------------------------------------------


def _of_specials(o: Operation) -> Iterator[Defect]:
    if o.kind != NUMBER or not isinstance(o.into, FloatFormat):
        return
    instead = {"zero": 0.0, "infinity": np.inf, "the largest value": o.into.max}
    finite_only = o.into.infinity_code is None
    if _has_nan(o):
        for name, value in instead.items():
            if not (finite_only and name == "infinity"):
                yield Defect(f"gives {name} for NaN", after=_where(value, lambda o, v, y: np.isnan(y)))
                yield Defect(f"gives {name} for NaN where no operand is NaN (inf - inf, 0 / 0, ...)",
                             after=_where(value, _invalid))  # fmt: skip
                yield Defect(f"gives {name} where an operand is NaN",
                             after=_where(value, lambda o, v, y: np.isnan(y) & _any_nan(v)))  # fmt: skip
        for k in range(o.operands if o.operands > 1 else 0):
            text = f"overlooks a NaN in its {('first', 'second', 'third')[k]} operand: takes it for infinity"
            yield Defect(text, before=partial(_nan_as, k=k, value=np.inf))
            yield Defect(text.replace("infinity", "zero"), before=partial(_nan_as, k=k, value=0.0))
        yield Defect("gives NaN where an operand is infinite", after=_where(np.nan, lambda o, v, y: _any_inf(v)))
        yield Defect("gives NaN where infinities meet that agree", after=_agreeing)
        yield Defect("gives NaN for every zero divided or multiplied",
                     after=_where(np.nan, lambda o, v, y: np.any([x == 0 for x in v], axis=0)))  # fmt: skip
        if o.name in ("div", "recip", "rsqrt", "logb", "log", "log2", "log10"):
            yield Defect("gives NaN for a division by zero", after=_where(np.nan, _pole))
            yield Defect("gives zero for a division by zero", after=_where(0.0, _pole))
            yield Defect("gives the largest value for a division by zero", after=_where(o.into.max, _pole))
            yield Defect(
                "gives +infinity for every division by zero", after=lambda o, v, y: np.where(_pole(o, v, y), np.inf, y)
            )
            yield Defect(
                "gives infinity for 0 / 0", after=_where(np.inf, lambda o, v, y: _invalid(o, v, y) & (v[-1] == 0))
            )
        if o.name == "fma":
            yield Defect("gives NaN where the product overflows the format of the addend", after=_product_overflows)
    if not finite_only:
        yield Defect("gives NaN instead of infinity on overflow", after=_where(np.nan, _overflows))
        yield Defect("gives NaN instead of infinity, always", after=_where(np.nan, lambda o, v, y: np.isinf(y)))
        yield Defect("gives the largest value instead of infinity on overflow, and keeps infinity",
                     after=_where(o.into.max, _overflows))  # fmt: skip
        yield Defect("gives +infinity where -infinity is right", after=lambda o, v, y: np.where(np.isinf(y), np.inf, y))
    if o.name in ("sqrt", "rsqrt", "log", "log2", "log10"):
        yield Defect("takes the root or logarithm of the magnitude", before=partial(_unsigned, k=0))
        yield Defect("gives zero for negative operands", after=lambda o, v, y: np.where(v[0] < 0, 0.0, y))


def _invalid(o, v, y):
    return np.isnan(y) & ~_any_nan(v) & (np.isnan(o.exact(v)) if _rounds(o) else True)


def _overflows(o, v, y):
    return np.isinf(y) & (np.isfinite(o.exact(v)) if _rounds(o) else ~_any_inf(v))


def _has_nan(o) -> bool:
    return o.into.nan_code is not None


def _any_nan(v):
    return np.any([np.isnan(x) for x in v], axis=0)


def _any_inf(v):
    return np.any([np.isinf(x) for x in v], axis=0)


def _nan_as(o, v, k, value):
    return [np.where(np.isnan(x), np.copysign(value, x), x) if i == k else x for i, x in enumerate(v)]


def _agreeing(o, v, y):
    both = np.all([np.isinf(x) for x in v], axis=0)
    return np.where(both, np.nan, y)


def _pole(o, v, y):
    finite = np.all([np.isfinite(x) for x in v], axis=0)
    return finite & np.isinf(o.exact(v)) if _rounds(o) else finite & np.isinf(y)


def _product_overflows(o, v, y):
    product = replace(o, name="mul", formats=o.formats[:2]).evaluate(v[:2])
    return np.where(~np.isfinite(product) & np.isfinite(v[0]) & np.isfinite(v[1]), np.nan, y)


# -- the ends of the range -------------------------------------------------------------------------


def _of_range(o: Operation) -> Iterator[Defect]:
    if not _rounds(o):
        return
    fmt, step = o.into, step_above(o.into)
    if fmt.has_subnormals and fmt.mantissa_bits:
        for words, zero in (("", lambda y: np.copysign(0.0, y)), (", without their sign", np.zeros_like)):
            yield Defect(f"flushes subnormal results to zero{words}", after=partial(_flushed_result, zero=zero))
        yield Defect("flushes results that are subnormal before rounding to zero",
                     after=_where(0.0, lambda o, v, y: np.abs(o.exact(v)) < fmt.smallest_normal))  # fmt: skip
    yield Defect("never underflows: gives the smallest value instead of zero",
                 after=_where(fmt.smallest_subnormal, lambda o, v, y: (y == 0) & (o.exact(v) != 0)))  # fmt: skip
    yield Defect("gives zero for everything below the smallest value",
                 after=_where(0.0, lambda o, v, y: np.abs(o.exact(v)) < fmt.smallest_subnormal))  # fmt: skip
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


def _at_half(o, e):
    """Tell which exact results lie half way between two values."""
    exponent = np.maximum(np.frexp(e)[1] - 1, o.into.min_exponent) - o.into.mantissa_bits
    steps = np.abs(np.ldexp(e, -exponent))
    return steps - np.floor(steps) == 0.5


def _of_ties(o: Operation) -> Iterator[Defect]:
    if not _rounds(o):
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


# -- integers, truths, formats ---------------------------------------------------------------------


def _of_integers(o: Operation) -> Iterator[Defect]:
    if not o.integer:
        return
    signed, bits = o.integer
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    said = {
        "saturate": "saturates",
        "wrap": "wraps around instead of saturating",
        "indefinite": "gives x86's one integer for all that does not fit",
    }
    for rule in OF_INTEGERS[1:]:
        if rule != o.how["overflow"]:
            yield Defect(said[rule], core=partial(_ruled, overflow=rule))
            yield Defect(
                f"rounds toward_zero, and {said[rule]}", core=partial(_ruled, overflow=rule, rounding="toward_zero")
            )
    for name, value in (("zero", 0.0), ("the largest integer", high), ("the least integer", low)):
        yield Defect(f"gives {name} for NaN", after=lambda o, v, y, value=value: np.where(np.isnan(v[0]), value, y))
        yield Defect(
            f"gives {name} for infinity", after=lambda o, v, y, value=value: np.where(np.isinf(v[0]), value, y)
        )
    if signed:
        yield Defect("does not use the lowest integer", after=lambda o, v, y: np.maximum(y, low + 1))
    else:
        yield Defect("takes the magnitude of negative numbers", before=partial(_unsigned, k=0))
    yield Defect("adds one half and cuts off", after=lambda o, v, y: np.where(
        np.isfinite(v[0]), np.clip(np.trunc(v[0] + np.copysign(0.5, v[0])), low, high), y))  # fmt: skip
    yield Defect("adds one half and rounds toward negative", after=lambda o, v, y: np.where(
        np.isfinite(v[0]), np.clip(np.floor(v[0] + 0.5), low, high), y))  # fmt: skip


def _of_truths(o: Operation) -> Iterator[Defect]:
    if o.kind == NUMBER or o.integer:
        return
    if o.name not in RELATIONS:
        yield Defect("is the negation", after=lambda o, v, y: 1.0 - y)
        for other in ("is_nan", "is_infinite", "is_finite", "is_zero", "is_normal", "is_subnormal", "is_sign_minus"):
            if o.operands == 1 and other != o.name:
                yield Defect(f"is {other}", core=partial(_named, name=other))
        yield Defect("is false for NaN", after=lambda o, v, y: np.where(_any_nan(v), 0.0, y))
        yield Defect("is true for NaN", after=lambda o, v, y: np.where(_any_nan(v), 1.0, y))
        yield Defect("flushes", before=partial(_flushed, zero=np.zeros_like))
        return
    for other in RELATIONS:
        if RELATIONS[other] != RELATIONS[o.name] and other not in SIGNALING:
            yield Defect(f"is {RELATIONS[other]}", core=partial(_named, name=other))
    opposite = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}.get(o.name)
    if opposite:
        text = f"is the negation of {RELATIONS[opposite]}, which holds of no NaN"
        yield Defect(text, core=lambda o, v: 1.0 - _named(o, v, opposite))
    yield Defect("holds wherever an operand is NaN", after=lambda o, v, y: np.where(_any_nan(v), 1.0, y))
    yield Defect("does not hold where an operand is NaN", after=lambda o, v, y: np.where(_any_nan(v), 0.0, y))
    yield Defect("finds NaN equal to NaN", after=_nan_equal)
    yield Defect("tells -0 from +0, as codes", core=partial(_by_codes, how="sign"))
    yield Defect("compares codes as unsigned integers", core=partial(_by_codes, how="unsigned"))
    yield Defect("compares codes as two's complement integers", core=partial(_by_codes, how="signed"))
    yield Defect("compares magnitudes", before=lambda o, v: [np.abs(x) for x in v])


def _named(o, v, name):
    return replace(o, name=name).evaluate(v)


def _nan_equal(o, v, y):
    return np.where(np.isnan(v[0]) & np.isnan(v[1]), float(o.name in ("eq", "le", "ge")), y)


def _by_codes(o, v, how):
    a, b = (encoded(x, fmt).astype(np.int64) for x, fmt in zip(v, o.formats, strict=True))
    top = np.int64(1) << (o.formats[0].bits - 1)
    if how != "unsigned":
        a, b = (np.where(c >= top, (-1 - (c - top)) if how == "sign" else c - 2 * top, c) for c in (a, b))
    order = {"lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b, "eq": a == b, "ne": a != b}
    holds = order.get(o.name, np.zeros(a.shape, bool)).astype(np.float64)
    return np.where(_any_nan(v), float(o.name == "ne"), holds) if how == "sign" else holds


def _of_formats(o: Operation) -> Iterator[Defect]:
    if not (_rounds(o) and len({*o.formats, o.into}) == 1) or o.into.bits > 16:
        return
    for name in names():
        other = format_of(name)
        if isinstance(other, FloatFormat) and other.bits == o.into.bits and other != o.into and other.fits_float64:
            yield Defect(f"computes in {name}", core=partial(_in_another, other=other))


def _in_another(o, v, other):
    codes = [encoded(x, o.into) for x in v]
    rounding = o.rounding if o.rounding not in COUNTED else "ties_to_even"
    there = Operation(o.name, other, rounding=rounding, overflow=o.overflow, nan=o.nan)
    return decoded(there.results(codes), o.into)
