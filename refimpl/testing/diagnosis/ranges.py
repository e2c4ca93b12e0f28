"""Defects at the largest value and beyond: where the range ends, and what becomes of what lies outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from refimpl.formats import FloatFormat, IntFormat
from refimpl.testing.diagnosis.anatomy import anatomy, far, has_anatomy, value_of
from refimpl.testing.diagnosis.defects import OVERFLOW, SPECIAL, Defect, Facts, gives, half_and_step
from refimpl.testing.expected.behaviour import DIRECTED, Behaviour, round_to_integral, values_of


def _when(beyond: Callable) -> Callable:
    """Return an `after` by which what overflows, infinity to nearest, does so where `beyond(size)`."""

    def after(x, y, b):
        size = np.abs(x)
        return np.where(beyond(size), far(replace(b, rounding="ties_to_even"), np.inf, x), y)

    return after


def of_overflow(behaviour: Behaviour, fmt: FloatFormat, facts: Facts) -> Iterator[Defect]:
    """Yield the defects of a float format."""
    largest, half, end = half_and_step(fmt)
    if behaviour.rounding in (*DIRECTED, "toward_zero", "to_odd"):
        for beyond in (lambda size: size > largest, lambda size: size >= end):
            yield Defect("overflows in this mode as rounding to nearest does", after=_when(beyond), stage=OVERFLOW)
    for mode in ("toward_zero", *DIRECTED):  # simple ones overflow after any rounding alike
        if mode != behaviour.rounding:
            change = lambda b, mode=mode: replace(b, rounding=mode)  # noqa: E731
            yield Defect(mode, change=change, after=_when(lambda size: size >= end), stage=OVERFLOW)
    for sentence, beyond in (
        ("overflows everything above the largest value, before rounding", lambda size: size > largest),
        ("overflows at exactly half a step above the largest value", lambda size: size == half),
    ):
        yield Defect(sentence, after=_when(beyond), stage=OVERFLOW)
    yield Defect(
        "saturates until a whole step above the largest value",
        after=gives(largest, lambda x, y: (np.abs(x) > largest) & (np.abs(x) < end)),
        stage=OVERFLOW,
    )
    yield Defect(
        "saturates at exactly half a step above the largest value",
        after=gives(largest, lambda x, y: np.abs(x) == half),
        stage=OVERFLOW,
    )
    yield from _instead(fmt, largest, half)
    yield from _ends_elsewhere(behaviour, fmt, facts)
    if has_anatomy(fmt) and fmt.bits <= 16:
        yield from _wrapping(fmt)


def _instead(fmt, largest: float, half: float) -> Iterator[Defect]:
    """Something else where finite values overflow."""
    yield Defect(
        "gives NaN instead of infinity on finite overflow",
        after=gives(np.nan, lambda x, y: np.isfinite(x) & (np.abs(x) >= half) & np.isinf(y)),
        stage=OVERFLOW,
    )
    end = 2 * half - largest
    # with an even largest code a tie stays at the largest value
    tie = np.greater_equal if fmt.max_code % 2 else np.greater
    wheres = (
        ("that overflow", lambda size: tie(size, half)),
        ("above the largest", lambda size: size > largest),
        ("from half a step above the largest on", lambda size: size >= half),
        ("from a whole step above the largest on", lambda size: size >= end),
    )
    for where, beyond in wheres:
        for what, value in (("zero", 0.0), ("infinity", np.inf), ("NaN", np.nan), ("the largest value", largest)):
            for too in ("finite values", "values, infinity too,"):
                if what == "infinity" and fmt.infinity_code is None:
                    continue

                def hit(x, y, beyond=beyond, infinite=too[0] == "v"):
                    return beyond(np.abs(x)) & (infinite | np.isfinite(x))

                yield Defect(f"gives {what} for {too} {where}", after=gives(value, hit), stage=OVERFLOW)


def _ends_elsewhere(behaviour, fmt: FloatFormat, facts: Facts) -> Iterator[Defect]:
    """The largest value is another: the next smaller one, or what was seen."""
    values = values_of(fmt)
    positive = values[values > 0]
    known = {1: float(positive[-2])} if len(positive) > 1 else {}
    if facts.largest is not None and 0 < facts.largest < fmt.max and fmt.bits <= 16:
        known[len(positive) - int(np.searchsorted(positive, facts.largest)) - 1] = facts.largest
    for fewer, top in known.items():
        if fewer < 1:
            continue
        up = float(positive[-fewer])
        count = "one code" if fewer == 1 else f"{fewer} codes"
        for after in (
            lambda x, y, b, top=top: np.where(np.isfinite(y) & (np.abs(y) > top), np.copysign(top, y), y),
            _when(lambda size, middle=(top + up) / 2: size > middle),
            _when(lambda size, middle=(top + up) / 2: size >= middle),
            _when(lambda size, up=up: size >= up),
            _when(lambda size, top=top: size > top),
            gives(top, lambda x, y, middle=top: (np.abs(x) > middle) & ~np.isnan(x)),
        ):
            yield Defect(f"has a largest value {count} too small ({top:g})", after=after, stage=OVERFLOW)
    if not has_anatomy(fmt) or facts.largest is None or facts.largest <= fmt.max:
        return
    for limit in {facts.largest, np.inf}:

        def after(x, y, b, limit=limit):
            a = anatomy(x, b.format)
            size = value_of(a.code + ((a.part > 0.5) | (a.part == 0.5) & a.odd), b.format)
            over = np.where(size > limit, far(replace(b, rounding="ties_to_even"), 1e300, x), size)
            return np.where(np.isfinite(x), np.copysign(over, x), y)

        text = (
            "does not overflow" if np.isinf(limit) else f"has a largest value of {limit:g}, beyond that of the format"
        )
        yield Defect(text, after=after, stage=OVERFLOW)


def _wrapping(fmt: FloatFormat) -> Iterator[Defect]:
    """The code of what overflows counts on: into the special codes, the sign, or with a saturated exponent."""
    bits = fmt.exponent_bits + fmt.mantissa_bits

    mantissa, last = (1 << fmt.mantissa_bits) - 1, fmt.max_code >> fmt.mantissa_bits

    def read(change):
        def after(x, y, b):
            a = anatomy(x, b.format)
            code = a.code + ((a.part > 0.5) | (a.part == 0.5) & a.odd)
            over = a.finite & (code > a.top)
            value = b.read((change(code, a.code) & (1 << b.format.bits) - 1).astype(np.uint16))
            return np.where(over, np.where(np.signbit(x), -value, value), y)

        return after

    def kept(code, where):
        """Keep the mantissa where a field, after rounding or before, lies beyond the last."""
        beyond = where >> fmt.mantissa_bits > last
        return np.where(beyond, np.minimum(last << fmt.mantissa_bits | code & mantissa, fmt.max_code), fmt.max_code)

    for sentence, change in (
        ("wraps around: the exponent of what overflows starts again", lambda code, cut: code & (1 << bits) - 1),
        (
            "wraps around: the exponent of what overflows starts again",
            lambda code, cut: np.minimum(code & (1 << bits) - 1, fmt.max_code),
        ),
        ("wraps around: the code of what overflows runs into the sign", lambda code, cut: code),
        ("saturates the exponent of what overflows and keeps its mantissa", lambda code, cut: kept(code, code)),
        ("saturates the exponent of what overflows and keeps its mantissa", kept),
    ):
        yield Defect(sentence, after=read(change), stage=OVERFLOW)


def of_integers(fmt: IntFormat, facts: Facts) -> Iterator[Defect]:
    """Yield the defects of an integer format."""
    low = -(1 << fmt.bits - 1) if fmt.signed else 0

    def wrapped(rounding, limit, huge):
        def after(x, y, b):
            sure = (x < limit) & (x >= -limit)  # beyond, a cast in C gives what it likes
            rounded = round_to_integral(np.where(sure, x, 0.0), rounding or b.rounding)
            return np.where(sure, np.mod(rounded - low, 1 << fmt.bits) + low, y if huge is None else huge)

        return after

    def outside(x):
        return (x > fmt.max) | (x < fmt.min)

    for power in (31, 32, 40, 53, 63, 1024):
        for huge in (None, 0.0, float(low)):
            for words, mode in (
                ("wraps around instead of saturating", None),
                ("toward_zero and wraps around", "toward_zero"),
            ):
                yield Defect(words, after=wrapped(mode, 2.0 ** min(power, 1023), huge), stage=OVERFLOW)
    for power in (15, 31):

        def narrowed(x, y, b, power=power):
            first = np.clip(round_to_integral(x, b.rounding), -(2.0**power), 2.0**power - 1)
            return np.where(np.isnan(x), y, np.mod(first - low, 1 << fmt.bits) + low)

        text = f"saturates to int{power + 1} first and wraps around from there"
        yield Defect(text, after=narrowed, stage=OVERFLOW)
    yield Defect(
        "does not saturate",
        after=lambda x, y, b: np.where(outside(x), round_to_integral(x, b.rounding), y),
        stage=OVERFLOW,
    )
    yield Defect(
        "wraps around one beyond the largest value, to the lowest",
        after=lambda x, y, b: np.where(round_to_integral(x, b.rounding) > fmt.max, float(low), y),
        stage=OVERFLOW,
    )
    yield Defect(
        "wraps around at exactly one beyond the largest value, to the lowest",
        after=lambda x, y, b: np.where(round_to_integral(x, b.rounding) == fmt.max + 1, float(low), y),
        stage=OVERFLOW,
    )
    for power in (31, 32, 63):
        far = 2.0**power
        yield Defect(
            f"gives the lowest value from 2^{power} on, as where it does not fit int{power + power % 2}",
            after=lambda x, y, b, far=far: np.where(np.isfinite(x) & (x >= far), float(fmt.min), y),
            stage=OVERFLOW,
        )
        yield Defect(
            f"gives the lowest value from 2^{power} on, infinity too, as where it does not fit int{power + power % 2}",
            after=lambda x, y, b, far=far: np.where(x >= far, float(fmt.min), y),
            stage=OVERFLOW,
        )
    if fmt.signed:
        zero = lambda x, y, b: np.maximum(y, 0.0)  # noqa: E731
        yield Defect("gives zero for negative values", after=zero, stage=OVERFLOW)
    else:
        yield Defect("takes the magnitude of negative values", after=lambda x, y, b: b.values(np.abs(x)))
    if facts.largest is not None and 0 < facts.largest < fmt.max:
        top = facts.largest
        for bottom in {-top, -top - 1, float(fmt.min)}:
            after = lambda x, y, b, top=top, bottom=bottom: np.clip(y, bottom, top)  # noqa: E731
            yield Defect(f"has a largest value of {top:g} instead of {fmt.max}", after=after, stage=OVERFLOW)
    yield Defect(
        "gives the lowest value for infinity",
        after=lambda x, y, b: np.where(np.isinf(x), float(fmt.min), y),
        stage=SPECIAL,
    )
