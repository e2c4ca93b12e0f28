"""The catalogue of known defects of arithmetic: ways of computing wrong results on purpose.

A defect may change operands first, compute in another way, and change results last.  `diagnosis` compares what
it predicts with what was seen.  Those of rounding are in `roundings`, other ways to compute in `formulas`.

*Notation*: as in `defect`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from refimpl.formats import FloatFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.expected.behaviour import step_above
from refimpl.testing.operations import formulas, roundings
from refimpl.testing.operations.defect import Defect, giving, rounds
from refimpl.testing.operations.operation import (
    CLASS,
    COUNTED,
    NUMBER,
    OF_INTEGERS,
    RELATIONS,
    SIGNALING,
    Operation,
    decoded,
    encoded,
)
from refimpl.testing.operations.roundings import flushed_result, ruled, terms_of

PLAIN: dict[str, Callable] = {  # of operands of 8 bits, in float64
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "fma": lambda a, b, c: a * b + c,
}


def defects_of(o: Operation) -> tuple[Defect, ...]:
    """Return the known defects that make sense for an operation, the simplest first."""
    families = [roundings.of_rules, roundings.of_precision, formulas.defects, roundings.of_alignment]
    families += [_of_operands, _of_zeros, _of_specials, roundings.of_range, roundings.of_ties]
    families += [_of_integers, _of_truths, _of_formats]
    return tuple(defect for family in families for defect in family(o))


# -- operands --------------------------------------------------------------------------------------


def _of_operands(o: Operation) -> Iterator[Defect]:
    small = [getattr(fmt, "has_subnormals", False) and fmt.smallest_normal for fmt in o.formats]
    if any(small):
        for words, zero in (("", lambda x: np.copysign(0.0, x)), (", without their sign", np.zeros_like)):
            yield Defect(f"flushes subnormal operands to zero{words}", before=partial(_flushed, zero=zero))
            if rounds(o) and o.into.has_subnormals:
                yield Defect(
                    f"flushes subnormal operands and results to zero{words}",
                    before=partial(_flushed, zero=zero),
                    after=partial(flushed_result, zero=zero),
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
    if rounds(o):
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
    one_nan = all(getattr(f, "specials", "") == "fn" and f.nan_code is not None and f.bits <= 8 for f in o.formats)
    if one_nan and o.name in PLAIN:
        said = " and ".join(f"{_beyond(fmt):g}" for fmt in dict.fromkeys(o.formats))
        yield Defect(f"takes the codes of NaN for numbers, of size {said}", core=_nan_as_numbers)
    if _has_nan(o):
        for name, value in instead.items():
            if not (finite_only and name == "infinity"):
                yield Defect(f"gives {name} for NaN", after=giving(value, lambda o, v, y: np.isnan(y)))
                yield Defect(f"gives {name} for NaN where no operand is NaN (inf - inf, 0 / 0, ...)",
                             after=giving(value, _invalid))  # fmt: skip
                yield Defect(f"gives {name} where an operand is NaN",
                             after=giving(value, lambda o, v, y: np.isnan(y) & _any_nan(v)))  # fmt: skip
        for k in range(o.operands if o.operands > 1 else 0):
            text = f"overlooks a NaN in its {('first', 'second', 'third')[k]} operand: takes it for infinity"
            yield Defect(text, before=partial(_nan_as, k=k, value=np.inf))
            yield Defect(text.replace("infinity", "zero"), before=partial(_nan_as, k=k, value=0.0))
        yield Defect("gives NaN where an operand is infinite", after=giving(np.nan, lambda o, v, y: _any_inf(v)))
        yield Defect("gives NaN where infinities meet that agree", after=_agreeing)
        yield Defect("gives NaN for every zero divided or multiplied",
                     after=giving(np.nan, lambda o, v, y: np.any([x == 0 for x in v], axis=0)))  # fmt: skip
        if o.name in ("div", "recip", "rsqrt", "logb", "log", "log2", "log10"):
            yield Defect("gives NaN for a division by zero", after=giving(np.nan, _pole))
            yield Defect("gives zero for a division by zero", after=giving(0.0, _pole))
            yield Defect("gives the largest value for a division by zero", after=giving(o.into.max, _pole))
            yield Defect(
                "gives +infinity for every division by zero", after=lambda o, v, y: np.where(_pole(o, v, y), np.inf, y)
            )
            yield Defect(
                "gives infinity for 0 / 0", after=giving(np.inf, lambda o, v, y: _invalid(o, v, y) & (v[-1] == 0))
            )
        if o.name == "fma":
            yield Defect("gives NaN where the product overflows the format of the addend", after=_product_overflows)
    if not finite_only:
        yield Defect("gives NaN instead of infinity on overflow", after=giving(np.nan, _overflows))
        yield Defect("gives NaN instead of infinity, always", after=giving(np.nan, lambda o, v, y: np.isinf(y)))
        yield Defect("gives the largest value instead of infinity on overflow, and keeps infinity",
                     after=giving(o.into.max, _overflows))  # fmt: skip
        yield Defect("gives +infinity where -infinity is right", after=lambda o, v, y: np.where(np.isinf(y), np.inf, y))
    if o.name in ("sqrt", "rsqrt", "log", "log2", "log10"):
        yield Defect("takes the root or logarithm of the magnitude", before=partial(_unsigned, k=0))
        yield Defect("gives zero for negative operands", after=lambda o, v, y: np.where(v[0] < 0, 0.0, y))


def _invalid(o, v, y):
    return np.isnan(y) & ~_any_nan(v) & (np.isnan(o.exact(v)) if rounds(o) else True)


def _overflows(o, v, y):
    return np.isinf(y) & (np.isfinite(o.exact(v)) if rounds(o) else ~_any_inf(v))


def _has_nan(o) -> bool:
    return o.into.nan_code is not None


def _any_nan(v):
    return np.any([np.isnan(x) for x in v], axis=0)


def _any_inf(v):
    return np.any([np.isinf(x) for x in v], axis=0)


def _nan_as(o, v, k, value):
    return [np.where(np.isnan(x), np.copysign(value, x), x) if i == k else x for i, x in enumerate(v)]


def _beyond(fmt) -> float:
    """Return what the code behind the largest value would be, were it a number."""
    return float(fmt.max) + step_above(fmt)


def _nan_as_numbers(o, v):
    numbers = (np.where(np.isnan(x), np.copysign(_beyond(fmt), x), x) for x, fmt in zip(v, o.formats, strict=True))
    with np.errstate(all="ignore"):
        return o.rounded(PLAIN[o.name](*numbers))


def _agreeing(o, v, y):
    both = np.all([np.isinf(x) for x in v], axis=0)
    return np.where(both, np.nan, y)


def _pole(o, v, y):
    finite = np.all([np.isfinite(x) for x in v], axis=0)
    return finite & np.isinf(o.exact(v)) if rounds(o) else finite & np.isinf(y)


def _product_overflows(o, v, y):
    product = replace(o, name="mul", formats=o.formats[:2]).evaluate(v[:2])
    return np.where(~np.isfinite(product) & np.isfinite(v[0]) & np.isfinite(v[1]), np.nan, y)


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
            yield Defect(said[rule], core=partial(ruled, overflow=rule))
            yield Defect(
                f"rounds toward_zero, and {said[rule]}", core=partial(ruled, overflow=rule, rounding="toward_zero")
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
    yield Defect("adds 1/2 whatever the sign and cuts off, as (int)(x + 0.5)", after=lambda o, v, y: np.where(
        np.isfinite(v[0]), np.clip(np.trunc(v[0] + 0.5), low, high), y))  # fmt: skip
    yield Defect("adds one half and rounds toward negative", after=lambda o, v, y: np.where(
        np.isfinite(v[0]), np.clip(np.floor(v[0] + 0.5), low, high), y))  # fmt: skip


def _of_truths(o: Operation) -> Iterator[Defect]:
    if o.kind == NUMBER or o.integer:
        return
    if o.kind == CLASS:
        yield Defect("takes subnormal operands for normal ones", after=partial(_classes, to={4: 3, 7: 8}))
        yield Defect("takes every NaN for a quiet one", after=partial(_classes, to={0: 1}))
        yield Defect("has quiet and signaling NaNs the wrong way round", after=partial(_classes, to={0: 1, 1: 0}))
        yield Defect("takes infinity for NaN", after=partial(_classes, to={2: 1, 9: 1}))
        yield Defect("has the signs wrong", after=partial(_classes, to={k: 11 - k for k in range(2, 10)}))
        yield Defect("overlooks the sign of zero", after=partial(_classes, to={5: 6}))
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


def _classes(o, v, y, to):
    return np.select([y == k for k in to], [float(k) for k in to.values()], y)


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
    if not (rounds(o) and len({*o.formats, o.into}) == 1) or o.into.bits > 16:
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
