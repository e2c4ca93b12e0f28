"""Where no known defect fits: what the failures have in common, which is true of all observations.

A description names the smallest region (of up to three properties of inputs) that holds all failures, says
whether every input of it fails, and how the results differ from the right ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from refimpl.formats import FloatFormat
from refimpl.testing.diagnosis.anatomy import anatomy, has_anatomy
from refimpl.testing.expected.behaviour import values_of


def described(behaviour, asked) -> str:
    """Return a sentence about all failures of observations (route, inputs, expected, got)."""
    x = np.concatenate([s.x.astype(np.float64) for s in asked])
    expected, got = (np.concatenate([getattr(s, name) for s in asked]) for name in ("expected", "got"))
    dtypes = np.concatenate([np.full(s.x.size, s.x.dtype.itemsize) for s in asked])
    with np.errstate(all="ignore"):
        wrong = ~behaviour.same(x, expected, got)
        regions = dict(_regions(behaviour, x, expected, dtypes))
        where, every = _smallest(regions, x, wrong)
        differ = how(behaviour.format, x[wrong], expected[wrong], got[wrong])
    count = f"{int(wrong.sum())} of {wrong.size} results are wrong"
    return f"{count}, {'all of' if every else 'all among'} {where}: {differ}"


def _regions(behaviour, x, expected, dtypes) -> Iterator[tuple[str, np.ndarray]]:
    fmt, size, finite = behaviour.format, np.abs(x), np.isfinite(x)
    yield "NaN inputs", np.isnan(x)
    yield "infinite inputs", np.isinf(x)
    yield "zeros", x == 0
    yield "numbers", finite
    yield "negative inputs", np.signbit(x)
    yield "positive inputs", ~np.signbit(x)
    yield "inputs that need more than float32", finite & (x.astype(np.float32) != x)
    yield "inputs of 8 significant bits or fewer", finite & (np.ldexp(np.frexp(x)[0], 8) % 1 == 0)
    for itemsize in np.unique(dtypes):
        yield f"inputs of float{8 * itemsize}", dtypes == itemsize
    yield "values of the format", finite & (x == expected)
    largest = float(fmt.max)
    smallest = float(values_of(fmt)[values_of(fmt) > 0][0])
    yield "inputs beyond the largest value", finite & (size > largest)
    yield "inputs within the range", finite & (size <= largest)
    yield "inputs below the smallest value", (size < smallest) & (x != 0)
    yield "results that are zero", expected == 0
    if isinstance(fmt, FloatFormat):
        normal = fmt.smallest_normal
        yield "inputs below the smallest normal", (size < normal) & (x != 0)
        yield "results that are subnormal", (np.abs(expected) < normal) & (expected != 0)
        yield "inputs from the smallest normal on", (size >= normal) & finite
    if has_anatomy(fmt):
        a = anatomy(x, fmt)
        yield "ties", finite & (a.part == 0.5)
        yield "inputs that are no ties", finite & (a.part != 0.5)
        yield "inputs above a tie", finite & (a.part > 0.5)
        yield "inputs below a tie", finite & (a.part < 0.5) & (a.part > 0)
        yield "inputs within 1/16 of a step above a tie", finite & (a.part > 0.5) & (a.part < 0.5625)
        yield "inputs within 1/16 of a step below a tie", finite & (a.part < 0.5) & (a.part > 0.4375)
        yield "odd codes below", finite & a.odd
        yield "even codes below", finite & ~a.odd
        if a.first_normal > 1:
            yield "the last step below a power of two", finite & ((a.code + 1) % a.first_normal == 0)
            yield "the first step above a power of two", finite & (a.code % a.first_normal == 0)


def _smallest(regions, x, wrong) -> tuple[str, bool]:
    """Return the smallest region that holds all failures, in words, and whether all of it fails."""
    base, words = np.ones(x.shape, bool), ""
    if np.isfinite(x[wrong]).all():
        low, high = (float(f(np.abs(x[wrong]))) for f in (np.min, np.max))
        bounded = (np.abs(x) >= low) & (np.abs(x) <= high)
        if bounded.sum() < 0.9 * x.size:
            base, words = bounded, f", of sizes from {low:g} to {high:g}"
    holding = {name: mask & base for name, mask in regions.items() if (mask | ~wrong).all()}
    some = {name: mask[:: max(1, x.size // 8000)] for name, mask in holding.items()}
    best: tuple[str, ...] = ()
    fewest = int(base[:: max(1, x.size // 8000)].sum())
    for count in (1, 2, 3):
        for names in combinations(holding, count):
            inside = int(np.logical_and.reduce([some[name] for name in names]).sum())
            if inside < 0.9 * fewest:
                best, fewest = names, inside
    mask = np.logical_and.reduce([base, *(holding[name] for name in best)])
    return (" that are also ".join(best) or "inputs of all kinds") + words, bool(wrong[mask].all())


def how(fmt, x, expected, got) -> str:
    """Say how wrong results differ from right ones: the ways, commonest first."""
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
    found, left = [], np.ones(x.shape, bool)
    for name, mask in ways.items():
        here = left & mask
        if here.any():
            found.append((int(here.sum()), name))
        left &= ~mask
    found.sort(key=lambda pair: -pair[0])
    if len(found) == 1:
        return f"they are {found[0][1]}"
    return "they are " + ", ".join(f"{name} ({count})" for count, name in found[:4])
