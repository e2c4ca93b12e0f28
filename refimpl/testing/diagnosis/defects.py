"""The catalogue of known defects: ways of computing wrong results on purpose.

A defect may change the input first, change the rules, and change the result last.  `diagnosis` compares
what it predicts with what was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from refimpl.formats import FloatFormat, IntFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.expected.behaviour import DETERMINISTIC, DIRECTED, Behaviour, round_whole, step_above, values_of


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
    """Return the known defects that make sense for a format and mode, the plainest first."""
    fmt, found = behaviour.format, []
    if isinstance(fmt, IntFormat):
        return tuple(_of_integers(behaviour))
    found += _of_inputs()
    found += _of_zero_and_nan(fmt)
    if isinstance(fmt, FloatFormat):
        found += _of_rules(behaviour)
        found += _of_overflow(behaviour)
        found += _of_subnormals(fmt)
        found += _of_arithmetic(behaviour)
    found += _of_formats(fmt)
    return tuple(found)


def _of_inputs():
    def through(dtype):
        def before(x):
            with np.errstate(all="ignore"):
                return x.astype(dtype).astype(x.dtype) if x.dtype.itemsize > dtype().itemsize else x

        return before

    def flush(x):
        tiny = np.abs(x) < np.finfo(x.dtype).smallest_normal
        return np.where(tiny, np.copysign(x.dtype.type(0), x), x)

    def flush32(x):
        tiny = np.abs(x) < np.finfo(np.float32).smallest_normal
        return np.where(tiny, np.copysign(x.dtype.type(0), x), x)

    yield Defect("rounds float64 through float32", before=through(np.float32))
    yield Defect("rounds its input through float16", before=through(np.float16))
    yield Defect("flushes subnormal inputs to zero", before=flush)
    yield Defect("flushes inputs that are subnormal in float32 to zero", before=flush32)


def _of_rules(behaviour):
    def ruled(**rules):
        return lambda b: replace(b, **rules)

    for mode in DETERMINISTIC:
        if mode != behaviour.rounding:
            yield Defect(mode, change=ruled(rounding=mode))
    said = {
        "saturate": "saturates infinity and finite overflow",
        "propagate": "saturates finite overflow and keeps infinity",
        "overflow": "overflows instead of saturating",
    }
    for rule, sentence in said.items():
        if rule != behaviour.overflow:
            yield Defect(sentence, change=ruled(overflow=rule))
    if getattr(behaviour.format, "nan_code", 0) is None:
        other = "max" if behaviour.nan == "zero" else "zero"
        yield Defect(f"gives {'the largest value' if other == 'max' else 'zero'} for NaN", change=ruled(nan=other))


def _of_overflow(behaviour):
    fmt = behaviour.format
    values = values_of(fmt)
    largest, second = fmt.max, float(values[values < fmt.max][-1])
    step = step_above(fmt)

    def overflowed(x, behaviour):
        return replace(behaviour, rounding="ties_to_even").values(np.copysign(np.inf, x))

    def when(beyond):
        return lambda x, y, b: np.where(beyond(x), overflowed(x, b), y)

    def clip(x, y, b):
        return np.where(np.isfinite(y) & (np.abs(y) > second), np.copysign(second, y), y)

    def to_nan(x, y, b):
        return np.where(np.isfinite(x) & (np.abs(x) >= largest + step / 2) & np.isinf(y), np.nan, y)

    if behaviour.rounding in (*DIRECTED, "toward_zero", "to_odd"):
        yield Defect("overflows in this mode as rounding to nearest does", after=when(lambda x: np.abs(x) > largest))
        yield Defect(
            "overflows in this mode as rounding to nearest does", after=when(lambda x: np.abs(x) >= largest + step)
        )
    for mode in ("toward_zero", *DIRECTED):  # simple ones overflow after any rounding alike
        if mode != behaviour.rounding:
            yield Defect(
                mode, change=lambda b, m=mode: replace(b, rounding=m), after=when(lambda x: np.abs(x) >= largest + step)
            )
    yield Defect("saturates infinity", after=lambda x, y, b: np.where(np.isinf(x), np.copysign(largest, x), y))
    yield Defect("gives infinity for infinity", after=lambda x, y, b: np.where(np.isinf(x), x, y))
    yield Defect("gives NaN for infinity", after=lambda x, y, b: np.where(np.isinf(x), np.nan, y))
    yield Defect("gives zero for infinity", after=lambda x, y, b: np.where(np.isinf(x), np.copysign(0.0, x), y))
    yield Defect("gives NaN instead of infinity on finite overflow", after=to_nan)
    yield Defect(
        "overflows everything above the largest value, before rounding", after=when(lambda x: np.abs(x) > largest)
    )
    yield Defect(
        "overflows at exactly half a step above the largest value",
        after=when(lambda x: np.abs(x) == largest + step / 2),
    )
    yield Defect(
        "saturates until a whole step above the largest value",
        after=lambda x, y, b: np.where(
            (np.abs(x) > largest) & (np.abs(x) < largest + step), np.copysign(largest, x), y
        ),
    )
    yield Defect(
        "saturates at exactly half a step above the largest value",
        after=lambda x, y, b: np.where(np.abs(x) == largest + step / 2, np.copysign(largest, x), y),
    )
    yield Defect(f"has a largest value one code too small ({second:g})", after=clip)
    yield Defect(
        f"has a largest value one code too small ({second:g})", after=when(lambda x: np.abs(x) > (second + largest) / 2)
    )
    yield Defect(
        f"has a largest value one code too small ({second:g})",
        after=when(lambda x: np.abs(x) >= (second + largest) / 2),
    )


def _of_zero_and_nan(fmt):
    def positive(which):
        return lambda x, y, b: np.where((y == 0) & which(x), 0.0, y)

    yield Defect("loses the sign of zeros", after=positive(lambda x: True))
    yield Defect("loses the sign of minus zero", after=positive(lambda x: x == 0))
    yield Defect("loses the sign on underflow", after=positive(lambda x: x != 0))
    yield Defect(
        "gives minus zero, which the format does not have",
        after=lambda x, y, b: np.where((y == 0) & np.signbit(x), -0.0, y),
    )
    yield Defect(
        "writes minus zero, whose code is NaN here", after=lambda x, y, b: np.where((y == 0) & np.signbit(x), np.nan, y)
    )
    yield Defect(
        "writes NaN for an input of minus zero", after=lambda x, y, b: np.where((x == 0) & np.signbit(x), np.nan, y)
    )
    yield Defect(
        "writes NaN for negative values that underflow", after=lambda x, y, b: np.where((y == 0) & (x < 0), np.nan, y)
    )
    yield Defect("loses the sign", after=lambda x, y, b: np.abs(y))
    for sentence, value in (("gives zero for NaN", 0.0), ("gives infinity for NaN", np.inf)):
        yield Defect(sentence, after=lambda x, y, b, v=value: np.where(np.isnan(x), np.copysign(v, x), y))
    if isinstance(fmt, FloatFormat):
        yield Defect(
            "gives the largest value for NaN", after=lambda x, y, b: np.where(np.isnan(x), np.copysign(fmt.max, x), y)
        )
        top = (1 << min(fmt.mantissa_bits, 52)) - 1
        for sentence, value in (("infinity", np.inf), ("the largest value", fmt.max), ("zero", 0.0)):
            yield Defect(
                f"turns NaN into {sentence} where its payload lies in dropped bits",
                after=lambda x, y, b, v=value: np.where(
                    np.isnan(x) & (_payload(x) >> (52 - b.format.mantissa_bits) & top == 0), np.copysign(v, x), y
                ),
            )


def _payload(x):
    """Return the mantissa of float64 from `widen`, whose high bits are those of the input."""
    return x.view(np.uint64).astype(np.int64) & ((1 << 52) - 1)


def _of_subnormals(fmt):
    small, normal = fmt.smallest_subnormal, fmt.smallest_normal

    def flush(x, y, b):
        return np.where((np.abs(y) < normal) & (y != 0), np.copysign(0.0, y), y)

    if fmt.has_subnormals and fmt.mantissa_bits and fmt.exponent_bits:
        yield Defect("flushes results that are subnormal to zero", after=flush)
        yield Defect(
            "flushes results that are subnormal to zero, without their sign",
            after=lambda x, y, b: np.where((np.abs(y) < normal) & (y != 0), 0.0, y),
        )
        yield Defect(
            "flushes everything below the smallest normal before rounding",
            after=lambda x, y, b: np.where(np.abs(x) < normal, np.copysign(0.0, x), y),
        )
        yield Defect("has no subnormals", change=lambda b: replace(b, format=replace(b.format, has_subnormals=False)))
    yield Defect(
        "never underflows: gives the smallest value instead of zero",
        after=lambda x, y, b: np.where((y == 0) & (x != 0), np.copysign(small, x), y),
    )
    if not fmt.has_zero:
        yield Defect(
            "rounds up whatever lies between the two smallest scales",
            after=lambda x, y, b: np.where((x > small) & (x < 2 * small), 2 * small, y),
        )
    yield Defect(
        "rounds up to the smallest value at exactly half of it",
        after=lambda x, y, b: np.where(np.abs(x) == small / 2, np.copysign(small, x), y),
    )
    yield Defect(
        "gives zero for everything below the smallest value",
        after=lambda x, y, b: np.where(np.abs(x) < small, np.copysign(0.0, x), y),
    )


def _of_arithmetic(behaviour):
    def bracket(x, b):
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

    yield Defect("ties toward zero", after=at_ties(lambda low, high, y: low))
    yield Defect("ties to odd", after=at_ties(lambda low, high, y: np.where(np.abs(y) == low, high, low)))
    yield Defect("loses the carry into the exponent", after=lost_carry)
    yield Defect("loses the carry into the exponent", after=lost_every_carry)
    if behaviour.rounding in DIRECTED:
        yield Defect(f"applies {behaviour.rounding} to the magnitude", after=magnitude_mode(behaviour.rounding))
    yield Defect("rounds away from zero", after=magnitude_mode("toward_positive"))
    yield Defect("has an exponent bias one too small", change=_biased(-1))
    yield Defect("has an exponent bias one too large", change=_biased(1))
    fmt = behaviour.format
    if fmt.smallest_subnormal > 2.0**-1000:

        def add_half(x, y, b):
            low, _ = bracket(x, b)
            exponent = np.maximum(np.frexp(x)[1] - 1, b.format.min_exponent)
            ulp = np.ldexp(1.0, exponent - b.format.mantissa_bits)
            rounded = np.copysign(np.floor(np.abs(x) / ulp + 0.5) * ulp, x)
            return np.where(np.abs(rounded) <= b.format.max, rounded, y)

        yield Defect("adds one half and truncates, which float64 rounds up just below a tie", after=add_half)
    if fmt.mantissa_bits < 40 and 0 < fmt.exponent_bits < 10 and fmt.signed:
        for extra in (1, 2, 3):
            wide = replace(
                fmt,
                mantissa_bits=fmt.mantissa_bits + extra,
                specials="none",
                exponent_bits=fmt.exponent_bits + 1,
                bias=fmt.bias,
            )
            yield Defect(
                f"rounds twice, first to {extra} more bits",
                before=lambda x, w=wide: np.where(np.isfinite(x) & (np.abs(x) < fmt.max * 2), _quantized(x, w), x),
            )


def _quantized(x, fmt):
    from refimpl import ops

    with np.errstate(all="ignore"):
        return ops.quantize(x, fmt)


def _biased(by: int):
    def change(b):
        return replace(b, format=replace(b.format, bias=b.format.bias + by))

    return change


def _of_formats(fmt):
    for name in names():
        other = format_of(name)
        if (
            isinstance(other, type(fmt))
            and other.bits == fmt.bits
            and other != fmt
            and isinstance(other, FloatFormat)
            and other.fits_float64
        ):
            yield Defect(f"is {name}", change=lambda b, o=other: replace(b, format=o))
    if isinstance(fmt, FloatFormat) and fmt.specials in ("fn", "ieee", "fnuz"):
        all_finite = replace(fmt, specials="none")
        yield Defect("uses the codes of special values as numbers", change=lambda b: replace(b, format=all_finite))


def _of_integers(behaviour):
    fmt = behaviour.format

    low = -(1 << fmt.bits - 1) if fmt.signed else 0

    def wrapped(rounding, huge=None, limit=2.0**31 - 1):
        def after(x, y, b):
            sure = (x < limit) & (x > -limit - 1)  # beyond, casts in C give the lowest integer
            whole = round_whole(np.where(sure, x, 0.0), rounding)
            wrap = np.mod(whole - low, 1 << fmt.bits) + low
            return np.where(sure, wrap, y if huge is None else huge)

        return after

    for mode in DETERMINISTIC[:5]:
        if mode != behaviour.rounding:
            yield Defect(mode, change=lambda b, m=mode: replace(b, rounding=m))
    yield Defect("wraps around instead of saturating", after=wrapped(behaviour.rounding))
    yield Defect("rounds toward zero and wraps around", after=wrapped("toward_zero"))
    yield Defect("wraps around instead of saturating", after=wrapped(behaviour.rounding, 0.0))
    yield Defect("rounds toward zero and wraps around", after=wrapped("toward_zero", 0.0))
    yield Defect("rounds toward zero and wraps around", after=wrapped("toward_zero", 0.0, 2.0**63))
    yield Defect(
        "does not saturate",
        after=lambda x, y, b: np.where((x > fmt.max) | (x < fmt.min), round_whole(x, b.rounding), y),
    )
    full = (
        IntFormat(bits=fmt.bits, signed=fmt.signed, symmetric=not fmt.symmetric and fmt.signed) if fmt.bits > 1 else fmt
    )
    if fmt.signed:
        yield Defect(
            "also uses the lowest code" if fmt.symmetric else "does not use the lowest code",
            change=lambda b: replace(b, format=full),
        )
    yield Defect("gives zero for infinity", after=lambda x, y, b: np.where(np.isinf(x), 0.0, y))
    yield Defect("gives the lowest value for infinity", after=lambda x, y, b: np.where(np.isinf(x), float(fmt.min), y))
    yield Defect("rounds float64 through float32", before=lambda x: x.astype(np.float32).astype(x.dtype))
