"""Where no known defect fits: what the failures have in common, which is true of all observations.

A description names the simplest region that holds all failures, says whether every input of it fails, and how the
results differ from the right ones; where they differ in several ways, the region of each.
"""

from __future__ import annotations

import numpy as np

from refimpl.testing.diagnosis.local import Observations, among
from refimpl.testing.expected.behaviour import values_of

WAYS = 4  # that are said


def described(seen: Observations) -> str:
    """Return a sentence about all failures."""
    wrong = seen.wrong
    with np.errstate(all="ignore"):
        where = seen.region(wrong, ~wrong, split=True)
        ways = _ways(seen.behaviour.format, seen.x, seen.expected, seen.got, wrong)
        text = f"{seen.count}, {among(where, wrong, seen.noun)}: they are "
        if len(ways) == 1:
            return text + ways[0][0]
        said = []
        for name, mask in ways[:WAYS]:
            part = seen.region(mask, ~mask, split=False)
            of = f", all of {part.words}" if part.pure and part.words and part.words != where.words else ""
            said.append(f"{name} ({int(mask.sum())}{of})")
    return text + ", ".join(said)


def how(fmt, x: np.ndarray, expected: np.ndarray, got: np.ndarray) -> str:
    """Say how wrong results differ from right ones: the ways, the commonest first."""
    found = _ways(fmt, x, expected, got, np.ones(x.shape, bool))
    if len(found) == 1:
        return f"they are {found[0][0]}"
    return "they are " + ", ".join(f"{name} ({int(here.sum())})" for name, here in found[:WAYS])


def _ways(fmt, x, expected, got, wrong) -> list[tuple[str, np.ndarray]]:
    """Return how wrong results differ from right ones: the ways and their failures, the commonest first."""
    values = values_of(fmt)

    def place(y):
        return np.searchsorted(values, y) * np.where(np.isfinite(y), 1, np.nan)

    steps = (place(np.abs(got)) - place(np.abs(expected))) if fmt.bits <= 16 else np.full(x.shape, np.nan)
    known = np.isin(got, values) | ~np.isfinite(got)
    same_sign = np.signbit(got) == np.signbit(expected)
    limit = float(fmt.max)
    ways = {
        "NaN": np.isnan(got),
        "infinity": np.isinf(got),
        "the input, not rounded": (got == x) & ~known,
        "no value of the format": ~known & (fmt.bits <= 16),
        "of the other sign": (got == -expected) & ~same_sign & (got != 0),
        "zero of the other sign": (got == 0) & (expected == 0),
        "zero": got == 0,
        "one step too far from zero": same_sign & (steps == 1),
        "one step too near to zero": same_sign & (steps == -1),
        "twice too large": got == 2 * expected,
        "half as large": got == expected / 2,
        "the largest value": np.abs(got) == limit,
        "more than a step too far from zero": same_sign & (steps > 1),
        "more than a step too near to zero": same_sign & (steps < -1),
        "something else": np.ones(x.shape, bool),
    }
    found, left = [], wrong.copy()
    for name, mask in ways.items():
        here = left & mask
        if here.any():
            found.append((name, here))
        left &= ~mask
    return sorted(found, key=lambda pair: -int(pair[1].sum()))
