"""The catalogue of known defects: ways of computing wrong results on purpose.

A defect may change the input first, change the rules, and change the result last.  `diagnosis` compares
what it predicts with what was seen.

*Notation*: x are inputs and y results (float64), size = abs(x), b a `Behaviour`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from refimpl import ops
from refimpl.formats import FloatFormat, IntFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.expected.behaviour import (
    DETERMINISTIC,
    DIRECTED,
    OF_INTEGERS,
    Behaviour,
    round_to_integral,
    step_above,
    values_of,
)


@dataclass(frozen=True)
class Defect:
    """A named way to be wrong.

    `before(x)` changes inputs (in their dtype), `change(behaviour)` the rules, and
    `after(x, y, behaviour)` the results y (float64) of inputs x (float64).
    """

    sentence: str
    before: Callable | None = None
    change: Callable | None = None
    after: Callable | None = None


def defects_of(behaviour: Behaviour) -> tuple[Defect, ...]:
    """Return the known defects that make sense for a format and mode, the simplest first."""
    fmt = behaviour.format
    if isinstance(fmt, IntFormat):
        return tuple(_of_integers(behaviour, fmt))
    found = [*_of_inputs(), *_of_zero_and_nan(fmt)]
    if isinstance(fmt, FloatFormat):
        found += [*_of_rules(behaviour, fmt), *_of_overflow(behaviour, fmt), *_of_subnormals(fmt)]
        found += [*_of_arithmetic(behaviour, fmt), *_of_formats(fmt)]
    return tuple(found)


def _ruled(**rules) -> Callable:
    return lambda b: replace(b, **rules)


def _gives(value: float, where: Callable) -> Callable:
    """Return an `after` by which results are a value, with the sign of x, where `where(x, y)`."""
    return lambda x, y, b: np.where(where(x, y), np.copysign(value, x), y)


def _of_inputs() -> Iterator[Defect]:
    def through(dtype):
        def before(x):
            with np.errstate(all="ignore"):
                return x.astype(dtype).astype(x.dtype) if x.dtype.itemsize > dtype().itemsize else x

        return before

    def flush(x, dtype=None):
        return np.where(np.abs(x) < np.finfo(dtype or x.dtype).smallest_normal, np.copysign(x.dtype.type(0), x), x)

    yield Defect("rounds float64 through float32", before=through(np.float32))
    yield Defect("rounds its input through float16", before=through(np.float16))
    yield Defect("flushes subnormal inputs to zero", before=flush)
    yield Defect("flushes inputs that are subnormal in float32 to zero", before=lambda x: flush(x, np.float32))


def _of_rules(behaviour: Behaviour, fmt: FloatFormat) -> Iterator[Defect]:
    yield from (Defect(mode, change=_ruled(rounding=mode)) for mode in DETERMINISTIC if mode != behaviour.rounding)
    said = {
        "saturate": "saturates infinity and finite overflow",
        "propagate": "saturates finite overflow and keeps infinity",
        "overflow": "overflows instead of saturating",
    }
    yield from (Defect(text, change=_ruled(overflow=r)) for r, text in said.items() if r != behaviour.overflow)
    if fmt.nan_code is None:
        other, what = ("max", "the largest value") if behaviour.nan == "zero" else ("zero", "zero")
        yield Defect(f"gives {what} for NaN", change=_ruled(nan=other))


def _of_overflow(behaviour: Behaviour, fmt: FloatFormat) -> Iterator[Defect]:
    values = values_of(fmt)
    largest, second, step = fmt.max, float(values[values < fmt.max][-1]), step_above(fmt)
    half = largest + step / 2

    def when(beyond):
        """What overflows, infinity to nearest, does so where `beyond(size)`."""

        def after(x, y, b):
            return np.where(beyond(np.abs(x)), replace(b, rounding="ties_to_even").values(np.copysign(np.inf, x)), y)

        return after

    if behaviour.rounding in (*DIRECTED, "toward_zero", "to_odd"):
        for beyond in (lambda size: size > largest, lambda size: size >= largest + step):
            yield Defect("overflows in this mode as rounding to nearest does", after=when(beyond))
    for mode in ("toward_zero", *DIRECTED):  # simple ones overflow after any rounding alike
        if mode != behaviour.rounding:
            yield Defect(mode, change=_ruled(rounding=mode), after=when(lambda size: size >= largest + step))
    for sentence, value, where in (
        ("saturates infinity", largest, lambda x, y: np.isinf(x)),
        ("gives infinity for infinity", np.inf, lambda x, y: np.isinf(x)),
        ("gives NaN for infinity", np.nan, lambda x, y: np.isinf(x)),
        ("gives zero for infinity", 0.0, lambda x, y: np.isinf(x)),
        (
            "gives NaN instead of infinity on finite overflow",
            np.nan,
            lambda x, y: np.isfinite(x) & (np.abs(x) >= half) & np.isinf(y),
        ),
    ):
        yield Defect(sentence, after=_gives(value, where))
    yield Defect("overflows everything above the largest value, before rounding", after=when(lambda v: v > largest))
    yield Defect("overflows at exactly half a step above the largest value", after=when(lambda v: v == half))
    yield Defect(
        "saturates until a whole step above the largest value",
        after=_gives(largest, lambda x, y: (np.abs(x) > largest) & (np.abs(x) < largest + step)),
    )
    yield Defect(
        "saturates at exactly half a step above the largest value",
        after=_gives(largest, lambda x, y: np.abs(x) == half),
    )
    for after in (
        lambda x, y, b: np.where(np.isfinite(y) & (np.abs(y) > second), np.copysign(second, y), y),
        when(lambda size: size > (second + largest) / 2),
        when(lambda size: size >= (second + largest) / 2),
    ):
        yield Defect(f"has a largest value one code too small ({second:g})", after=after)


def _of_zero_and_nan(fmt) -> Iterator[Defect]:
    for sentence, which in (
        ("loses the sign of zeros", lambda x: True),
        ("loses the sign of minus zero", lambda x: x == 0),
        ("loses the sign on underflow", lambda x: x != 0),
    ):
        yield Defect(sentence, after=lambda x, y, b, which=which: np.where((y == 0) & which(x), 0.0, y))
    for sentence, value, where in (
        ("gives minus zero, which the format does not have", 0.0, lambda x, y: (y == 0) & np.signbit(x)),
        ("writes minus zero, whose code is NaN here", np.nan, lambda x, y: (y == 0) & np.signbit(x)),
        ("writes NaN for an input of minus zero", np.nan, lambda x, y: (x == 0) & np.signbit(x)),
        ("writes NaN for negative values that underflow", np.nan, lambda x, y: (y == 0) & (x < 0)),
    ):
        yield Defect(sentence, after=_gives(value, where))
    yield Defect("loses the sign", after=lambda x, y, b: np.abs(y))
    instead = {"zero": 0.0, "infinity": np.inf}
    if isinstance(fmt, FloatFormat):
        instead["the largest value"] = fmt.max
    for name, value in instead.items():
        yield Defect(f"gives {name} for NaN", after=_gives(value, lambda x, y: np.isnan(x)))
    if isinstance(fmt, FloatFormat):
        kept = ((1 << min(fmt.mantissa_bits, 52)) - 1) << (52 - min(fmt.mantissa_bits, 52))
        for name, value in instead.items():
            yield Defect(
                f"turns NaN into {name} where its payload lies in dropped bits",
                after=_gives(value, lambda x, y: np.isnan(x) & (x.view(np.int64) & kept == 0)),
            )


def _of_subnormals(fmt: FloatFormat) -> Iterator[Defect]:
    small, normal = fmt.smallest_subnormal, fmt.smallest_normal
    if fmt.has_subnormals and fmt.mantissa_bits and fmt.exponent_bits:
        for words, zero in (("", lambda y: np.copysign(0.0, y)), (", without their sign", np.zeros_like)):
            yield Defect(
                f"flushes results that are subnormal to zero{words}",
                after=lambda x, y, b, zero=zero: np.where((np.abs(y) < normal) & (y != 0), zero(y), y),
            )
        yield Defect(
            "flushes everything below the smallest normal before rounding",
            after=_gives(0.0, lambda x, y: np.abs(x) < normal),
        )
        yield Defect("has no subnormals", change=lambda b: replace(b, format=replace(b.format, has_subnormals=False)))
    yield Defect(
        "never underflows: gives the smallest value instead of zero",
        after=_gives(small, lambda x, y: (y == 0) & (x != 0)),
    )
    if not fmt.has_zero:
        yield Defect(
            "rounds up whatever lies between the two smallest scales",
            after=_gives(2 * small, lambda x, y: (x > small) & (x < 2 * small)),
        )
    yield Defect(
        "rounds up to the smallest value at exactly half of it",
        after=_gives(small, lambda x, y: np.abs(x) == small / 2),
    )
    yield Defect(
        "gives zero for everything below the smallest value", after=_gives(0.0, lambda x, y: np.abs(x) < small)
    )


def _of_arithmetic(behaviour: Behaviour, fmt: FloatFormat) -> Iterator[Defect]:
    def bracket(x, b):
        """The magnitudes either side of those within the range."""
        inside = np.where(np.abs(x) <= b.format.max, x, 0.0)
        down = replace(b, rounding="toward_zero", overflow="saturate").values(inside)
        up = replace(b, rounding="toward_positive", overflow="saturate").values(np.abs(inside))
        return np.abs(down), np.abs(up)

    def at_ties(choose):
        def after(x, y, b):
            low, high = bracket(x, b)
            tie = (np.abs(x) - low == high - np.abs(x)) & (low != high) & (np.abs(x) <= b.format.max)
            return np.where(tie, np.copysign(choose(low, high, y), x), y)

        return after

    def lost_carry(x, y, b):
        """A carry out of the significand is lost: 1.99 becomes 1, not 2."""
        size = np.abs(y)
        power = np.isfinite(y) & (size > np.abs(x)) & (np.frexp(size)[0] == 0.5)
        return np.where(power & (size > b.format.smallest_normal), y / 2, y)

    def lost_every_carry(x, y, b):
        """Out of the subnormals too: what becomes the smallest normal is zero."""
        first = (np.abs(y) == b.format.smallest_normal) & (np.abs(x) < b.format.smallest_normal)
        return lost_carry(x, np.where(first, np.copysign(0.0, y), y), b)

    def magnitude_mode(mode):
        return lambda x, y, b: np.copysign(1.0, x) * replace(b, rounding=mode).values(np.abs(x))

    def add_half(x, y, b):
        exponent = np.maximum(np.frexp(x)[1] - 1, b.format.min_exponent)
        ulp = np.ldexp(1.0, exponent - b.format.mantissa_bits)
        rounded = np.copysign(np.floor(np.abs(x) / ulp + 0.5) * ulp, x)
        return np.where(np.abs(rounded) <= b.format.max, rounded, y)

    yield Defect("ties toward zero", after=at_ties(lambda low, high, y: low))
    yield Defect("ties to odd", after=at_ties(lambda low, high, y: np.where(np.abs(y) == low, high, low)))
    yield Defect("loses the carry into the exponent", after=lost_carry)
    yield Defect("loses the carry into the exponent", after=lost_every_carry)
    if behaviour.rounding in DIRECTED:
        yield Defect(f"applies {behaviour.rounding} to the magnitude", after=magnitude_mode(behaviour.rounding))
    yield Defect("rounds away from zero", after=magnitude_mode("toward_positive"))
    for by, word in ((-1, "small"), (1, "large")):
        yield Defect(
            f"has an exponent bias one too {word}",
            change=lambda b, by=by: replace(b, format=replace(b.format, bias=b.format.bias + by)),
        )
    if fmt.smallest_subnormal > 2.0**-1000:
        yield Defect("adds one half and truncates, which float64 rounds up just below a tie", after=add_half)
    if fmt.mantissa_bits < 40 and 0 < fmt.exponent_bits < 10 and fmt.signed:
        wide = replace(fmt, specials="none", exponent_bits=fmt.exponent_bits + 1, bias=fmt.bias)
        for extra in (1, 2, 3):
            first = _quantizer(replace(wide, mantissa_bits=fmt.mantissa_bits + extra), fmt.max * 2)
            yield Defect(f"rounds twice, first to {extra} more bits", before=first)


def _quantizer(fmt: FloatFormat, reach: float) -> Callable:
    """Return a function that rounds to a format what is below `reach`."""

    def before(x):
        with np.errstate(all="ignore"):
            return np.where(np.isfinite(x) & (np.abs(x) < reach), ops.quantize(x, fmt), x)

    return before


def _of_formats(fmt: FloatFormat) -> Iterator[Defect]:
    for name in names():
        other = format_of(name)
        if isinstance(other, FloatFormat) and other.bits == fmt.bits and other != fmt and other.fits_float64:
            yield Defect(f"is {name}", change=_ruled(format=other))
    if fmt.specials in ("fn", "ieee", "fnuz"):
        yield Defect("uses the codes of special values as numbers", change=_ruled(format=replace(fmt, specials="none")))


def _of_integers(behaviour: Behaviour, fmt: IntFormat) -> Iterator[Defect]:
    low = -(1 << fmt.bits - 1) if fmt.signed else 0

    def wrapped(rounding, huge=None, limit=2.0**31 - 1):
        def after(x, y, b):
            sure = (x < limit) & (x > -limit - 1)  # beyond, casts in C give the lowest integer
            rounded = round_to_integral(np.where(sure, x, 0.0), rounding)
            return np.where(sure, np.mod(rounded - low, 1 << fmt.bits) + low, y if huge is None else huge)

        return after

    for mode in OF_INTEGERS:
        if mode != behaviour.rounding:
            yield Defect(mode, change=_ruled(rounding=mode))
    for huge in (None, 0.0):
        yield Defect("wraps around instead of saturating", after=wrapped(behaviour.rounding, huge))
        yield Defect("rounds toward zero and wraps around", after=wrapped("toward_zero", huge))
    yield Defect("rounds toward zero and wraps around", after=wrapped("toward_zero", 0.0, 2.0**63))
    yield Defect(
        "does not saturate",
        after=lambda x, y, b: np.where((x > fmt.max) | (x < fmt.min), round_to_integral(x, b.rounding), y),
    )
    if fmt.signed:
        said = "also uses the lowest code" if fmt.symmetric else "does not use the lowest code"
        full = fmt if fmt.bits == 1 else replace(fmt, symmetric=not fmt.symmetric)
        yield Defect(said, change=_ruled(format=full))
    yield Defect("gives zero for infinity", after=_gives(0.0, lambda x, y: np.isinf(x)))
    yield Defect("gives the lowest value for infinity", after=lambda x, y, b: np.where(np.isinf(x), float(fmt.min), y))
    yield Defect("rounds float64 through float32", before=lambda x: x.astype(np.float32).astype(x.dtype))
