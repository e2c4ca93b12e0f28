"""Where nothing known explains a block quantizer: which stage deviates, where, and how its results differ.

All that is said is true of every block that was looked at.
"""

from __future__ import annotations

import numpy as np

from refimpl.testing.diagnosis import stages
from refimpl.testing.diagnosis.block_regions import Blocks
from refimpl.testing.diagnosis.block_search import Search
from refimpl.testing.diagnosis.block_table import Table, candidates, column_of, explained, units
from refimpl.testing.diagnosis.local import how
from refimpl.testing.diagnosis.regions import say
from refimpl.testing.expected.cases import evenly

MOST = 1500  # blocks that are looked at


def located(search: Search) -> str:
    """Return a sentence about all failures."""
    behaviour, table = search.behaviour, search.table
    bad = table.bad.any(axis=1)
    backs = sorted(search.backs, key=lambda pair: len(pair[0]))
    at = evenly(np.flatnonzero(bad), MOST)
    some = table.take(at)
    numbers = (np.isfinite(table.got) & (table.got != 0))[table.bad].any()
    for back, _ in backs if numbers else ():  # zeros and NaN show nothing of scales
        possible = explained(behaviour, stages.merged(back), some)
        if possible.any(axis=1).all():
            begin = f"{stages.said(back)}; " if back else ""
            return begin + _of_scales(search, some, possible)
    return _of_elements(search, some, numbers)


def _of_scales(search: Search, some: Table, possible) -> str:
    """Return what is true of scales, where elements are right for the scale that their block has."""
    behaviour, table = search.behaviour, search.table
    own = column_of(behaviour, some, some.s)
    order = np.arange(possible.shape[1])
    nearest = np.where(possible, np.abs(order[None, :] - own[:, None]), 10**6).argmin(axis=1)
    got = np.take_along_axis(candidates(behaviour, some), nearest[:, None], axis=1)
    wrong = got != some.s
    count, of = int(table.bad.any(axis=1).sum()), len(table.x)
    ratio = (got / some.s)[wrong]
    head = "the elements are right for the scale that their block has, but scales are wrong"
    return f"{head} in {count} of {of} blocks{_among(search)}: {_ratios(behaviour, some, got, wrong, ratio)}"


def _among(search: Search) -> str:
    """Return where the blocks are that are wrong."""
    seen = Blocks(search.behaviour, search.table, search.table.bad.any(axis=1, keepdims=True))
    return seen.among(seen.region(seen.wrong, ~seen.wrong))


def _ratios(behaviour, some: Table, got, wrong, ratio) -> str:
    """Say by how much scales are wrong."""
    if not behaviour.format.tensor_scale:
        powers, counts = np.unique(np.log2(ratio).astype(int), return_counts=True)
        shown = [(int(n), _times(int(k))) for k, n in zip(powers, counts, strict=True)]
    else:
        values = np.log2(ratio)
        at = column_of(behaviour, some, got)[wrong[:, 0]] - column_of(behaviour, some, some.s)[wrong[:, 0]]
        steps, counts = np.unique(at, return_counts=True)
        if len(steps) > 4:
            low, high = 2.0 ** values.min(), 2.0 ** values.max()
            return f"they are {low:.3g} to {high:.3g} times what they should be"
        shown = [(int(n), _codes(int(k))) for k, n in zip(steps, counts, strict=True)]
    shown.sort(reverse=True)
    if len(shown) == 1:
        return f"they are {shown[0][1]}"
    return "they are " + ", ".join(f"{text} (in {100 * n / len(ratio):.0f} % of those)" for n, text in shown[:4])


def _times(k: int) -> str:
    many = "one power of two" if abs(k) == 1 else f"2^{abs(k)} times"
    return f"{many} too {'large' if k > 0 else 'small'}"


def _codes(k: int) -> str:
    many = "one code" if abs(k) == 1 else f"{abs(k)} codes"
    return f"{many} too {'large' if k > 0 else 'small'}"


def _of_elements(search: Search, some: Table, numbers) -> str:
    """Return what is true of elements, where no scale that was tried explains all blocks."""
    behaviour, table = search.behaviour, search.table
    unit, said = units(behaviour, some, divided=True), "the elements are right for another scale"
    rest = int(np.isnan(unit).sum())
    if rest:
        unit, said = units(behaviour, some, divided=False), "the elements are right, but another scale multiplies them"
    count, of = int(table.bad.any(axis=1).sum()), len(table.x)
    if numbers and not np.isnan(unit).any():
        head = f"scales are wrong in {count} of {of} blocks{_among(search)}"
        ratio = (unit / (some.s * some.t)[:, 0])[np.isfinite(unit)]
        parts = []
        if ratio.size:
            low, high = (say(value, 3) for value in (ratio.min(), ratio.max()))
            times = low if low == high else f"{low} to {high}"
            what = "block and tensor scale together are" if behaviour.format.tensor_scale else "they are"
            parts.append(f"{what} {times} times what they should be")
        if len(ratio) < len(unit):
            parts.append(f"{len(unit) - len(ratio)} of {len(unit)} blocks hold nothing but zeros and NaN")
        return f"{head}: {said}; " + ", ".join(parts)
    must = table.bad
    seen = Blocks(behaviour, table, must, elements=True)
    where = seen.region(must, ~must & table.here)
    with np.errstate(all="ignore"):
        by = table.s * table.t
        expected, got = (np.where(must, array / by, 0.0)[must] for array in (table.right, table.got))
        differ = how(behaviour.format.grid, (table.x / by)[must], expected, got)
    alone = f"; in {rest} of {len(unit)} wrong blocks another scale alone does not explain it" if numbers else ""
    return f"{seen.count}{seen.among(where)}: {differ}{alone}"
