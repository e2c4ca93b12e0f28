"""What a defect is, and the known ones of rules, modes, carries, formats, special values and signs.

*Notation*: x are inputs and y results (float64), size = abs(x), b a `Behaviour`, a an `Anatomy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from refimpl.formats import FloatFormat, IntFormat, PositFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.diagnosis.anatomy import MODES, REGIONS, anatomy, far, has_anatomy, in_region, value_of, with_codes
from refimpl.testing.expected.behaviour import DETERMINISTIC, DIRECTED, OF_INTEGERS, Behaviour, step_above, values_of

ROUNDING, SUBNORMALS, OVERFLOW, SPECIAL, SIGN = range(5)


@dataclass(frozen=True)
class Defect:
    """A named way to be wrong.

    `before(x)` changes inputs (in their dtype), `change(behaviour)` the rules, and
    `after(x, y, behaviour)` the results y (float64) of inputs x (float64), in the order of `stage`.
    """

    sentence: str
    before: Callable | None = None
    change: Callable | None = None
    after: Callable | None = None
    stage: int = ROUNDING


@dataclass(frozen=True)
class Facts:
    """What is seen at first sight: the largest finite size of results, their one size for NaN and infinity."""

    largest: float | None = None
    for_nan: float | None = None
    for_infinity: float | None = None


def gives(value: float, where: Callable) -> Callable:
    """Return an `after` by which results are a value, with the sign of x, where `where(x, y)`."""

    def after(x, y, b):
        negative = np.signbit(x) & (value != 0 or getattr(b.format, "has_minus_zero", False))
        return np.where(where(x, y), np.where(negative, -value, value), y)

    return after


def _ruled(**rules) -> Callable:
    return lambda b: replace(b, **rules)


def of_rules(behaviour: Behaviour, fmt: FloatFormat) -> Iterator[Defect]:
    yield from (Defect(mode, change=_ruled(rounding=mode)) for mode in DETERMINISTIC if mode != behaviour.rounding)
    said = {
        "saturate": "saturates infinity and finite overflow",
        "propagate": "saturates finite overflow and keeps infinity",
        "overflow": "overflows instead of saturating",
    }
    if fmt.infinity_code is None:
        del said["propagate"]  # the same as to saturate
    yield from (Defect(text, change=_ruled(overflow=r)) for r, text in said.items() if r != behaviour.overflow)
    if fmt.nan_code is None:
        other, what = ("max", "the largest value") if behaviour.nan == "zero" else ("zero", "zero")
        yield Defect(f"gives {what} for NaN", change=_ruled(nan=other))


def of_modes(behaviour: Behaviour) -> Iterator[Defect]:
    """Each mode, everywhere or in one region alone."""

    def after(mode, region):
        def change(x, y, b):
            a = anatomy(x, b.format)
            return in_region(a, MODES[mode](a), REGIONS[region](a), y, b)

        return change

    if behaviour.rounding in DIRECTED:
        yield Defect(f"applies {behaviour.rounding} to the magnitude", after=after("away from zero", ""))
    for sentence, whole in (
        ("adds one half and truncates, which float64 rounds up just below a tie", _half_up_in_float64),
        ("adds one half and truncates, of negative values too", lambda v: np.trunc(v + 0.5)),
        ("adds one half and takes the floor, which float64 rounds up just below a tie", lambda v: np.floor(v + 0.5)),
    ):
        yield Defect(sentence, after=on_steps(whole))
    for region in REGIONS:
        if isinstance(behaviour.format, IntFormat) and ("normal" in region or "power" in region):
            continue
        for mode in MODES:
            if mode != behaviour.rounding and (region or mode not in DETERMINISTIC):
                yield Defect(f"{mode} among {region}" if region else mode, after=after(mode, region))


def _half_up_in_float64(v):
    return np.copysign(np.floor(np.abs(v) + 0.5), v)


def on_steps(whole: Callable, finer: int = 0) -> Callable:
    """Return an `after` that rounds x, counted in steps of the format or of a few bits more, by integers."""

    def after(x, y, b):
        fmt, v = b.format, np.where(np.isfinite(x), x, 0.0)
        power = np.zeros(x.shape, int)
        if isinstance(fmt, FloatFormat):
            power = np.maximum(np.frexp(v)[1] - 1, fmt.min_exponent) - fmt.mantissa_bits
        power = power - finer
        rounded = np.copysign(np.ldexp(whole(np.ldexp(v, -power)), power), x)
        if isinstance(fmt, IntFormat):
            return np.where(np.isfinite(x), np.clip(rounded + 0.0, fmt.min, fmt.max), y)
        return np.where(np.isfinite(x), np.where(np.abs(rounded) > fmt.max, far(b, 1e300, x), rounded), y)

    return after


def of_carries(fmt) -> Iterator[Defect]:
    """A carry out of the significand goes wrong: 1.99 becomes 1, or 1.875, not 2."""
    if not isinstance(fmt, FloatFormat) or not fmt.mantissa_bits:
        return
    mask = (1 << fmt.mantissa_bits) - 1

    def after(becomes, first, last):
        def change(x, y, b):
            a = anatomy(x, b.format)
            with np.errstate(invalid="ignore"):
                up = np.where(a.code > a.top, MODES["ties_to_even"](a), ~(np.abs(y) <= value_of(a.code, b.format)))
            up &= np.isfinite(x)
            carries = up & (a.code & mask == mask) & (a.code >= first) & (a.code <= last)
            return np.where(carries, with_codes(a, becomes(a.code), y, b), y)

        return change

    half = (mask >> 1) + 1
    for sentence, becomes in (
        ("loses the carry into the exponent", lambda code: code & ~mask),
        ("does not carry: the significand stays at its largest", lambda code: code),
        ("carries into the exponent and leaves the mantissa at one half", lambda code: code + 1 + half),
        ("carries into the exponent twice", lambda code: code + 2 + mask),
    ):
        for first in (0, mask + 1):
            for last in (fmt.max_code - 1, fmt.max_code, 1 << 60):
                yield Defect(sentence, after=after(becomes, first, last))
    lost = "loses the carry into the exponent where the last subnormal becomes normal"
    yield Defect(lost, after=after(lambda code: 0 * code, mask, mask))


def of_formats(behaviour: Behaviour) -> Iterator[Defect]:
    fmt = behaviour.format
    for name in names():
        other = format_of(name)
        if type(other) is not type(fmt) or other.bits != fmt.bits or other == fmt:
            continue
        if not isinstance(other, FloatFormat) or other.fits_float64:
            yield from _confused(name, other)
    if isinstance(fmt, PositFormat):
        for other in (PositFormat(fmt.bits, k) for k in range(4) if k != fmt.exponent_bits):
            yield from _confused(other.name, other)
    if not isinstance(fmt, FloatFormat):
        return
    if fmt.specials in ("fn", "ieee", "fnuz"):
        yield Defect("uses the codes of special values as numbers", change=_ruled(format=replace(fmt, specials="none")))
    for by, word in ((-1, "one too small"), (1, "one too large"), (-2, "two too small"), (2, "two too large")):
        for other in _format(f"has an exponent bias {word}", fmt, bias=fmt.bias + by):
            yield other
            scaled = lambda x, y, b, by=by: y * 2.0**by  # noqa: E731
            yield replace(other, sentence=f"encodes with an exponent bias {word}", after=scaled)
    for by, word in ((-1, "one bit of the mantissa too few"), (1, "one bit of the mantissa too many")):
        yield from _format(f"keeps {word}", fmt, mantissa_bits=fmt.mantissa_bits + by)
        if has_anatomy(fmt):
            yield Defect(f"keeps {word}", after=on_steps(np.rint, by))


def _confused(name: str, other) -> Iterator[Defect]:
    """Yield an implementation that is another format: it gives its values, or its codes, read as of this one."""

    def written(x, y, b):
        codes = Behaviour(other).codes(x).astype(np.uint64) & np.uint64((1 << b.format.bits) - 1)
        return b.read(codes.astype(np.uint16 if b.format.bits <= 16 else np.uint64))

    yield Defect(f"is {name}", change=_ruled(format=other))
    yield Defect(f"is {name}: writes its codes", after=written)


def _format(sentence: str, fmt: FloatFormat, **fields) -> Iterator[Defect]:
    try:
        other = replace(fmt, **fields)
    except ValueError:
        return
    if other.fits_float64:
        yield Defect(sentence, change=_ruled(format=other))


def of_special(behaviour: Behaviour, facts: Facts) -> Iterator[Defect]:
    """What becomes of NaN and infinity: usual things, and whatever was seen."""
    fmt = behaviour.format
    instead = {"zero": 0.0, "NaN": np.nan, "infinity": np.inf}
    if isinstance(fmt, FloatFormat):
        instead["the largest value"] = fmt.max
        if fmt.infinity_code is None:
            del instead["infinity"]
    known = {"NaN": dict(instead), "infinity": dict(instead)}
    for what, seen in (("NaN", facts.for_nan), ("infinity", facts.for_infinity)):
        if seen is not None and not np.isin(seen, [*instead.values()]).any() and not np.isnan(seen):
            known[what]["infinity" if np.isinf(seen) else f"{seen:g}"] = seen
    for name, value in known["NaN"].items():
        if name != "NaN":
            yield Defect(f"gives {name} for NaN", after=gives(value, lambda x, y: np.isnan(x)), stage=SPECIAL)
    for name, value in known["infinity"].items():
        if name == "the largest value":
            yield Defect("saturates infinity", after=gives(value, lambda x, y: np.isinf(x)), stage=SPECIAL)
        else:
            yield Defect(f"gives {name} for infinity", after=gives(value, lambda x, y: np.isinf(x)), stage=SPECIAL)
    for side, which in (("minus", lambda x: x < 0), ("plus", lambda x: x > 0)):
        for name, value in known["infinity"].items():
            yield Defect(
                f"gives {name} for {side} infinity",
                after=gives(value, lambda x, y, which=which: np.isinf(x) & which(x)),
                stage=SPECIAL,
            )
    if isinstance(fmt, FloatFormat):
        kept = ((1 << min(fmt.mantissa_bits, 52)) - 1) << (52 - min(fmt.mantissa_bits, 52))
        for name, value in instead.items():
            yield Defect(
                f"turns NaN into {name} where its payload lies in dropped bits",
                after=gives(value, lambda x, y: np.isnan(x) & (x.view(np.int64) & kept == 0)),
                stage=SPECIAL,
            )
        for away in (False, True):
            yield Defect(
                "rounds the bits of NaN as if it were a number", after=partial(_rounded_nan, away=away), stage=SPECIAL
            )


def _rounded_nan(x, y, b, away):
    """Add half (less one) of the last place to the bits of a NaN, which may carry into the exponent and sign."""
    m = b.format.mantissa_bits
    shift = np.uint64(52 - m)
    bits = x.view(np.uint64)
    one = np.uint64(1)
    # narrower inputs: the carry behaves the same, their bits stand at the top of these
    bits = bits + (one << shift - one) + (np.uint64(0) if away else (bits >> shift & one) - one) >> shift
    payload, negative = bits & np.uint64((1 << m) - 1), bits >> np.uint64(m + 11) & one
    field = bits >> np.uint64(m) & np.uint64(0x7FF)
    value = np.where(field == 0x7FF, np.where(payload > 0, np.nan, np.inf), 0.0)
    return np.where(np.isnan(x), np.where(negative == 1, -value, value), y)


def of_signs(fmt) -> Iterator[Defect]:
    for sentence, which in (
        ("loses the sign of zeros", lambda x: True),
        ("loses the sign of minus zero", lambda x: x == 0),
        ("loses the sign on underflow", lambda x: x != 0),
    ):
        yield Defect(sentence, after=lambda x, y, b, which=which: np.where((y == 0) & which(x), 0.0, y), stage=SIGN)
    for sentence, value, where in (
        ("writes minus zero, whose code is NaN here", np.nan, lambda x, y: (y == 0) & np.signbit(x)),
        ("writes NaN for an input of minus zero", np.nan, lambda x, y: (x == 0) & np.signbit(x)),
        ("writes NaN for negative values that underflow", np.nan, lambda x, y: (y == 0) & (x < 0)),
    ):
        yield Defect(sentence, after=gives(value, where), stage=SIGN)
    minus = "gives minus zero, which the format does not have"
    yield Defect(minus, after=lambda x, y, b: np.where(y == 0, np.copysign(y, x), y), stage=SIGN)
    yield Defect("loses the sign", after=lambda x, y, b: np.abs(y), stage=SIGN)
    yield Defect("gives the other sign", after=lambda x, y, b: -y, stage=SIGN)
    yield Defect("gives zero for negative values", after=lambda x, y, b: np.where(np.signbit(x), 0.0, y), stage=SIGN)
    if fmt.bits <= 16:

        def written(change):
            def after(x, y, b):
                codes = Behaviour(b.format).codes(np.where(np.isnan(y) & np.signbit(x), -y, y)).astype(np.int64)
                return b.read(change(codes, b.format.bits).astype(np.uint16))

            return after

        def complement(codes, bits):
            sign = 1 << bits - 1
            return np.where(codes & sign, -(codes & sign - 1) & (1 << bits) - 1, codes)

        if isinstance(fmt, FloatFormat) and fmt.signed:
            yield Defect("writes negative codes as two's complement", after=written(complement), stage=SIGN)
        if fmt.bits == 16:
            swap = written(lambda codes, bits: (codes & 255) << 8 | codes >> 8)
            yield Defect("writes the two bytes in the other order", after=swap, stage=SIGN)


def of_integers(behaviour: Behaviour, fmt: IntFormat) -> Iterator[Defect]:
    for mode in OF_INTEGERS:
        if mode != behaviour.rounding:
            yield Defect(mode, change=_ruled(rounding=mode))
    if fmt.signed:
        said = "also uses the lowest code" if fmt.symmetric else "does not use the lowest code"
        full = fmt if fmt.bits == 1 else replace(fmt, symmetric=not fmt.symmetric)
        yield Defect(said, change=_ruled(format=full))


def of_posits(fmt: PositFormat) -> Iterator[Defect]:
    grid = values_of(fmt)
    grid = grid[grid >= 0]
    wider = values_of(PositFormat(fmt.bits + 1, fmt.exponent_bits)) if fmt.bits < 16 else None
    small, largest = float(grid[1]), float(grid[-1])

    def after(between, tied):
        def change(x, y, b):
            size = np.where(np.isfinite(x), np.abs(x), 0.0)
            k = np.clip(np.searchsorted(grid, size, side="right") - 1, 0, len(grid) - 2)
            up = (size > between[k]) | (size == between[k]) & tied(k) | (k == 0) & (size > 0)
            return np.where(np.isfinite(x), np.copysign(1, x) * grid[k + up] + 0.0, y)

        return change

    values = grid[:-1] / 2 + grid[1:] / 2
    yield Defect("rounds to the nearest value, not on codes", after=after(values, lambda k: k % 2 == 1))
    if wider is not None:
        codes = wider[wider > 0][::2][: len(values)]
        ties = {"ties away from zero": lambda k: True, "ties toward zero": lambda k: False, "toward zero": None}
        for sentence, tied in ties.items():
            points = np.full(len(values), np.inf) if tied is None else codes
            yield Defect(sentence, after=after(points, tied or ties["ties toward zero"]))
    for sentence, value, where in (
        ("gives zero up to half the smallest value", 0.0, lambda x, y: np.abs(x) <= small / 2),
        ("gives zero below the smallest value", 0.0, lambda x, y: np.abs(x) < small),
        ("gives NaN beyond the largest value", np.nan, lambda x, y: np.isfinite(x) & (np.abs(x) > largest)),
        ("gives zero beyond the largest value", 0.0, lambda x, y: np.isfinite(x) & (np.abs(x) > largest)),
    ):
        yield Defect(sentence, after=lambda x, y, b, v=value, w=where: np.where(w(x, y), v, y), stage=OVERFLOW)


def half_and_step(fmt) -> tuple[float, float, float]:
    """Return the largest value, the point half a step above, and that a whole step above."""
    largest, step = float(fmt.max), step_above(fmt)
    return largest, largest + step / 2, largest + step
