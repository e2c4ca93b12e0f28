"""Stochastic rounding: exact where the implementation takes its random integers, bounded otherwise.

*Bound*: the fraction of n independent draws lies farther than t from its probability with a probability
of at most 2 exp(-2 n t^2) (Hoeffding).  With n = 2^14 draws and t = 1/32 this is below 3e-14 an input, so
that a correct implementation is not accused, and a bias of 1/16 of a step is found.
"""

from __future__ import annotations

import numpy as np

from refimpl.spec import float_codes
from refimpl.testing.expected.behaviour import Behaviour, values_of
from refimpl.testing.expected.explain import explain, shortest, value_of_code
from refimpl.testing.implementations.findings import Finding

DRAWS, TOLERANCE = 1 << 14, 1 / 32


def check(probe, tally, group) -> None:
    """Hold the decisions of stochastic rounding to their probabilities."""
    for dtype in probe.inputs:
        x = group(probe.behaviour.format, dtype)
        for route in probe.routes:
            with tally.noting(route):
                (_enumerated if probe.behaviour.random_bits else _sampled)(probe, tally, route, x)


def _enumerated(probe, tally, route, x) -> None:
    """Put every random integer to every input."""
    behaviour = probe.behaviour
    count = 1 << behaviour.random_bits
    every = np.repeat(x, count)
    random = np.tile(np.arange(count, dtype=np.uint32), x.size)
    got = probe.ask(route, every, random)
    fmt = behaviour.format
    expected = np.array(
        [value_of_code(behaviour.code_by_definition(float(v), int(r)), fmt) for v, r in zip(every, random, strict=True)]
    )
    bad = ~behaviour.same(every.astype(np.float64), expected, got)

    def text(i):
        said = explain(behaviour, every[i : i + 1], got[i], right=float(expected[i]))
        return f"{said}\nwith   random integer {random[i]} of {count}"

    tally.count(route, every, bad, text)
    if bad.any():
        tally.hints.append(_biased(x, got.reshape(-1, count), fmt))


def _sampled(probe, tally, route, x) -> None:
    """Draw many times, a chunk of inputs at a time."""
    fmt = probe.behaviour.format
    every = np.repeat(x, DRAWS)
    got = probe.ask(route, every).reshape(x.size, DRAWS)
    low, high, nu = steps(x, fmt)
    size = np.abs(got)
    stray = ~((size == low[:, None]) | (size == high[:, None])).all(axis=1)
    upward = (size == high[:, None]).mean(axis=1)
    moved = (nu == 0) & ~(size == low[:, None]).all(axis=1)
    bad = stray | moved | (np.abs(upward - nu) > TOLERANCE) & (nu > 0)

    def text(i):
        other = got[i][size[i] != low[i]] if moved[i] else got[i]
        return (
            explain(probe.behaviour, x[i : i + 1], float(other[0]))
            + f"\nwanted away from zero with probability {shortest(nu[i])}"
            + f"\nseen   {shortest(upward[i])} of {DRAWS} draws"
        )

    tally.count(route, x, bad, text)
    if bad.any():
        tally.hints.append(_biased(x, got, fmt))


def certain(probe, tally, group) -> None:
    """Check what stochastic rounding leaves no choice about: representable values and NaN."""
    behaviour = probe.behaviour
    for dtype in probe.inputs:
        x = group(behaviour.format, dtype)
        down, up = (
            Behaviour(behaviour.format, mode, behaviour.overflow, behaviour.nan).values(x)
            for mode in ("toward_negative", "toward_positive")
        )
        wide = x.astype(np.float64)
        sure = behaviour.same(wide, down, up)
        # beyond the largest value the carry decides: only infinity and exact values are certain
        largest = values_of(behaviour.format)[-1]
        sure &= ~np.isfinite(wide) | (np.abs(wide) <= largest)
        for route in probe.routes:
            try:
                got = probe.ask(route, x, *probe.random_integers(x.shape, (1 << (behaviour.random_bits or 0)) - 1))
            except Finding as found:
                tally.find(route, found)
                continue
            either = behaviour.same(wide, down, got) | behaviour.same(wide, up, got)
            inside = np.abs(wide) <= largest
            bad = sure & ~behaviour.same(wide, down, got) | inside & ~either & (got != 0)

            def text(i, x=x, got=got, down=down):
                return explain(behaviour, x[i : i + 1], got[i], right=down[i])

            tally.count(route, x, bad, text)
            moved = sure & (got != down) & np.isfinite(wide)
            if moved.any():
                tally.hints.append("moves values that are exact")


def steps(x: np.ndarray, fmt) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the magnitudes either side of x and the fraction of the step between, from the definition."""
    found: list[tuple[float, float, float]] = []
    for v in x:
        exact = float_codes.from_float(float(v)).magnitude
        if exact == 0:
            found.append((0.0, 0.0, 0.0))
            continue
        code = float_codes.round_to_precision(exact, False, fmt, "toward_zero")
        below, above = (float_codes.magnitude(c, fmt) for c in (code, code + 1))
        if not fmt.has_subnormals and below == 0:
            above = float_codes.magnitude(1 << fmt.mantissa_bits, fmt)
        part = (exact - below) / (above - below)
        found.append((float(below), float(above if part else below), float(part)))
    low, high, nu = np.array(found).T
    return low, high, nu


def _biased(x, got, fmt) -> str:
    """Name the defect that the fractions of results (inputs, draws) show."""
    low, high, nu = steps(x, fmt)
    up = (np.abs(got) == high[:, None]).mean(axis=1)
    exact = nu == 0
    if (np.abs(got[exact]) != low[exact, None]).any():
        return "moves values that are exact"
    inner = ~exact
    if not inner.any():
        return "breaks its probabilities"
    nu, up, sign = nu[inner], up[inner], np.sign(x[inner].astype(np.float64))
    normal = low[inner] >= fmt.smallest_normal
    stray = ~((np.abs(got[inner]) == low[inner, None]) | (np.abs(got[inner]) == high[inner, None]))
    if ((got == got[:, :1]).all()) and not stray.any():
        return "rounds deterministically, not stochastically"
    if not normal.all() and np.abs(up - nu)[normal].max(initial=0) < TOLERANCE:
        return "breaks its probabilities among subnormals alone"
    if np.allclose(up, 0.5, atol=TOLERANCE):
        return "goes up with probability one half, whatever the fraction"
    if np.abs(up - np.where(sign < 0, 1 - nu, nu)).max() < TOLERANCE:
        return "is not symmetric in sign: negative values go away from zero with the wrong probability"
    bias = float(np.median(up - nu))
    direction = "too often" if bias > 0 else "too seldom"
    return f"goes away from zero {direction}, by {abs(bias):.3f} of a step"
