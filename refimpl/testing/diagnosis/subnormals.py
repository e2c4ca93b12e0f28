"""Defects among subnormal results, and at the smallest value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from refimpl.formats import FloatFormat
from refimpl.testing.diagnosis.defects import SUBNORMALS, Defect, gives


def of_floats(fmt: FloatFormat) -> Iterator[Defect]:
    """Yield the defects of a float format."""
    small, normal = fmt.smallest_subnormal, fmt.smallest_normal
    if fmt.has_subnormals and fmt.mantissa_bits and fmt.exponent_bits:
        yield from _flushed(normal)
        yield Defect("has no subnormals", change=lambda b: replace(b, format=replace(b.format, has_subnormals=False)))
        yield from _shifted(fmt, normal)
        if small > 2.0**-900:
            yield from _bounded_elsewhere(fmt, normal)
    for sentence, value, where in (
        ("never underflows: gives the smallest value instead of zero", small, lambda x, y: (y == 0) & (x != 0)),
        ("rounds up to the smallest value at exactly half of it", small, lambda x, y: np.abs(x) == small / 2),
        ("gives zero for everything below the smallest value", 0.0, lambda x, y: np.abs(x) < small),
    ):
        yield Defect(sentence, after=gives(value, where), stage=SUBNORMALS)
    if not fmt.has_zero:
        yield Defect(
            "rounds up whatever lies between the two smallest scales",
            after=gives(2 * small, lambda x, y: (x > small) & (x < 2 * small)),
            stage=SUBNORMALS,
        )


def _flushed(normal: float) -> Iterator[Defect]:
    for words, zero in (("", lambda y: np.copysign(0.0, y)), (", without their sign", np.zeros_like)):
        yield Defect(
            f"flushes results that are subnormal to zero{words}",
            after=lambda x, y, b, zero=zero: np.where((np.abs(y) < normal) & (y != 0), zero(y), y),
            stage=SUBNORMALS,
        )
    for sentence, value, where in (
        ("flushes everything below the smallest normal before rounding", 0.0, lambda x, y: np.abs(x) < normal),
        ("gives the smallest normal for whatever is subnormal", normal, lambda x, y: (np.abs(x) < normal) & (x != 0)),
        (
            "gives the smallest normal for results that are subnormal",
            normal,
            lambda x, y: (np.abs(y) < normal) & (y != 0),
        ),
    ):
        yield Defect(sentence, after=gives(value, where), stage=SUBNORMALS)


def _shifted(fmt: FloatFormat, normal: float) -> Iterator[Defect]:
    """The significand of a subnormal result is shifted by a wrong number of places, or has no hidden bit."""

    def of_other(other):
        def after(x, y, b):
            with np.errstate(all="ignore"):
                inside = np.isfinite(x) & (np.abs(x) < normal)
                return np.where(inside, b.values(np.where(inside, other(x), 0.0)), y)

        return after

    def headless(x):
        return x - np.copysign(np.ldexp(1.0, np.frexp(x)[1] - 1), x) * (x != 0)

    yield Defect(
        "shifts subnormal results one bit too far: half their value", after=of_other(lambda x: x / 2), stage=SUBNORMALS
    )
    yield Defect(
        "shifts subnormal results one bit too little: twice their value",
        after=of_other(lambda x: x * 2),
        stage=SUBNORMALS,
    )
    yield Defect("loses the hidden bit of what becomes subnormal", after=of_other(headless), stage=SUBNORMALS)
    hidden = of_other(lambda x: x + np.copysign(normal, x) * (x != 0))
    yield Defect("writes a hidden bit into subnormal results", after=hidden, stage=SUBNORMALS)


def _bounded_elsewhere(fmt: FloatFormat, normal: float) -> Iterator[Defect]:
    """The smallest exponent, below which steps stay the same, is another, or there is none."""

    def stepped(below, power):
        """Round what is smaller to steps of 2^power(exponents)."""

        def after(x, y, b):
            inside = np.isfinite(x) & (np.abs(x) < below)
            v = np.where(inside, x, 0.0)
            at = power(np.frexp(v)[1] - 1)
            return np.where(inside, np.copysign(np.ldexp(np.rint(np.ldexp(v, -at)), at), x), y)

        return after

    m, lowest = fmt.mantissa_bits, fmt.min_exponent
    for by, word in ((1, "one too large"), (2, "two too large")):
        wide = stepped(normal * 2**by, lambda e, by=by: np.full(e.shape, lowest + by - m))
        yield Defect(
            f"has a smallest exponent {word}: wider steps among subnormal results", after=wide, stage=SUBNORMALS
        )
    for by, word in ((1, "one too small"), (2, "two too small")):
        fine = stepped(normal, lambda e, by=by: np.maximum(e, lowest - by) - m)
        yield Defect(
            f"has a smallest exponent {word}: finer steps among subnormal results", after=fine, stage=SUBNORMALS
        )
    yield Defect(
        "has no smallest exponent: small results keep all significant bits",
        after=stepped(normal, lambda e: e - m),
        stage=SUBNORMALS,
    )
