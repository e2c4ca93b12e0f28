"""Which way of adding explains every sum that was seen: one, two together, one in a region; else where it fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from refimpl.testing.diagnosis.local import Failures, in_regions
from refimpl.testing.diagnosis.regions import Measure, Property
from refimpl.testing.expected.cases import evenly
from refimpl.testing.implementations.findings import Finding
from refimpl.testing.operations.sum_ways import Way, together, ways_of
from refimpl.testing.operations.summed import Sums, dtype_of, same_sums
from refimpl.testing.summation import identify_sum

MOST = 3  # sentences
TRIED = 40  # ways that are looked for in a region
SIMPLE = 4.5  # the cost up to which one in a region is believed
MANY = 0.1  # of the results in some rows or columns must be wrong, for their number to be said
CHANCE = 1e-4  # up to which all wrong results would be there by chance
FEW = 6  # rows of each group of cases that fail, which ways are held against first


CONSTANT = (  # defects in some region alone
    Way("gives zero", after=lambda y, c: 0.0 * np.nan_to_num(y)),
    Way("gives NaN", after=lambda y, c: np.full(y.shape, np.nan)),
    Way("gives the first accumulator", after=lambda y, c: 0.0 * y if c is None else c),
)


class Seen(NamedTuple):
    """A group of cases: operands, first accumulators or None, what was got and is right, and scales or None."""

    name: str
    a: np.ndarray
    b: np.ndarray
    c: Any
    got: np.ndarray
    right: np.ndarray
    scales: Any = None


def diagnose(expected: Sums, function, seen: list[Seen]) -> tuple[tuple[str, ...], str]:
    """Return sentences that explain all that was got, else a description of where it fails."""
    known = list(ways_of(expected))
    few = [_few(expected, s) for s in _thinned(expected, seen)]
    few = [s for s in few if s.got.size]
    hits = np.array([np.concatenate([_hits(expected, way, s) for s in few]) for way in known])
    wrong = np.concatenate([~same_sums(expected, s.right, s.got).reshape(-1) for s in few])

    def holds(way: Way) -> bool:
        return all(_hits(expected, way, s).all() for s in sorted(seen, key=lambda s: s.got.size))

    found: dict[str, None] = {}
    for k in np.flatnonzero(hits.all(axis=1)):
        if len(found) < MOST and holds(known[k]):
            found[known[k].words] = None
    if found:
        return tuple(found), ""
    useful = np.flatnonzero(hits[:, wrong].any(axis=1))
    for i, j in combinations(useful, 2):
        if len(found) == MOST or (hits[i] | hits[j])[wrong].mean() < 0.5:
            continue
        both = together(known[i], known[j])
        if both is not None and all(_hits(expected, both, s).all() for s in few) and holds(both):
            found[both.words] = None
    if found:
        return tuple(found), ""
    texts = _somewhere(expected, seen, [known[k] for k in np.flatnonzero(hits[:, wrong].all(axis=1))])
    if texts:
        return tuple(texts), ""
    described = _described(expected, seen)
    told = _told(expected, function, seen)
    return ((told,), described) if told else ((), described)


def _thinned(expected: Sums, seen: list[Seen]) -> list[Seen]:
    """Return the groups of cases, of those of many lengths a few that fail and one that does not."""
    lengths = [k for k, s in enumerate(seen) if s.name == "lengths"]
    bad = np.array([bool((~same_sums(expected, seen[k].right, seen[k].got)).any()) for k in lengths], bool)
    kept = {lengths[i] for which, n in ((bad, 3), (~bad, 1)) for i in evenly(np.flatnonzero(which), n)}
    return [s for k, s in enumerate(seen) if s.name != "lengths" or k in kept]


def _few(expected: Sums, s: Seen) -> Seen:
    """Return some rows that fail, and one that does not; a square stays one."""
    if s.a.shape[0] == s.a.shape[1]:
        return s
    bad = (~same_sums(expected, s.right, s.got)).any(axis=1)
    rows = np.concatenate([evenly(np.flatnonzero(which), n) for which, n in ((bad, FEW), (~bad, 1))])
    scales = s.scales and (s.scales[0][rows], s.scales[1])
    return Seen(s.name, s.a[rows], s.b, None if s.c is None else s.c[rows], s.got[rows], s.right[rows], scales)


def _hits(expected: Sums, way: Way, s: Seen) -> np.ndarray:
    """Return which results a way predicts, none where it cannot be asked."""
    with contextlib.suppress(ValueError, TypeError, OverflowError), np.errstate(all="ignore"):
        return same_sums(expected, way.results(expected.by(s.scales), s.a, s.b, s.c), s.got).reshape(-1)
    return np.zeros(s.got.size, bool)


def _told(expected: Sums, function, seen: list[Seen]) -> str:
    """Return what `identify_sum` makes of a function, nothing where that is what it should be, or needs scales."""
    if expected.scaled:
        return ""
    with contextlib.suppress(ValueError, TypeError, Finding):
        asked: dict[str, Any] = {"kind": expected.kind, "terms": expected.terms, "fmt": expected.fmt}
        asked["dtype"] = dtype_of(*(array for s in seen for array in (s.a, s.b)))  # as in the cases
        told, right = identify_sum(function, **asked), identify_sum(_as_expected(expected), **asked)
        differs = (right.tree, right.known) != (told.tree, told.known)
        if differs and (told.tree is not None or told.known):
            which = "one row and one column: " if expected.kind == "matmul" else ""  # all that was asked
            return f"adds otherwise: {which}{told.order}" + (f", as {told.known[0]}" if told.known else "")
    return ""


def _as_expected(expected: Sums):
    """Return the function that is expected."""
    if expected.kind == "sum":
        return lambda x: expected.results(x[None], np.ones((len(x), 1)))[0, 0]
    if expected.kind == "dot":
        return lambda a, b: expected.results(a[None], b[:, None])[0, 0]
    return expected.results


def _somewhere(expected: Sums, seen: list[Seen], ways: list[Way]) -> list[str]:
    """Return sentences of ways that explain everything in a region alone."""
    constant = CONSTANT if any(s.c is not None for s in seen) else CONSTANT[:-1]

    def broken(ways):
        return ((w.words, ~np.concatenate([_hits(expected, w, s) for s in seen])) for w in ways)

    found = in_regions(Results(expected, seen), broken(constant), broken(ways[:TRIED]))
    return [f.sentence for f in found if f.cost <= SIMPLE]


class Results(Failures):
    """Which sums are wrong, and kinds of sums."""

    noun, what = "", "sums"
    halves = False

    def __init__(self, expected: Sums, seen: list[Seen]):
        self.wrong = np.concatenate([~same_sums(expected, s.right, s.got).reshape(-1) for s in seen])
        self.properties = [Property(*named) for named in _kinds(expected, seen)]
        if expected.kind == "matmul":  # other sums are calls of their own, that have no place among others
            self.properties += [Property(*named) for named in _places(seen, self.wrong)]
        for name in dict.fromkeys(s.name for s in seen):
            here = _cells(seen, lambda s, name=name: s.name == name)
            self.properties.append(Property(f"in the cases {name}", here, 1.3))
        numbers = {
            "in sums of so many terms:": lambda s: s.a.shape[1],
            "where so many terms are not zero:": _products,
            "where the result is of a size": lambda s: np.abs(s.right),
            "where the largest product is of a size": _largest,
        }
        self.measures = [Measure(words, _cells(seen, work)) for words, work in numbers.items()]


def _cells(seen: list[Seen], work) -> np.ndarray:
    """Return a number of every sum."""
    with np.errstate(all="ignore"):
        return np.concatenate([np.broadcast_to(work(s), s.got.shape).reshape(-1) for s in seen])


def _kinds(expected: Sums, seen: list[Seen]) -> Iterator[tuple[str, np.ndarray]]:
    k = expected.terms
    right = _cells(seen, lambda s: s.right)
    yield "where the result is negative", right < 0
    yield "where the result is positive", right > 0
    yield "where the result is zero", right == 0
    yield "where the result is infinite", np.isinf(right)
    yield "where the result is NaN", np.isnan(right)
    yield "where the result is finite", np.isfinite(right)
    yield "where every product has an operand that is zero", _cells(seen, _products) == 0
    finite = _cells(seen, lambda s: np.isfinite(s.a).all(axis=1)[:, None] & np.isfinite(s.b).all(axis=0))
    yield "where operands are finite", finite
    yield "where operands are not finite", ~finite
    if any(s.c is not None for s in seen):
        first = _cells(seen, lambda s: 0.0 if s.c is None else s.c)
        yield "where there is a first accumulator", first != 0
        yield "where the first accumulator is zero", first == 0
        yield "where the first accumulator is negative", first < 0
    negative = _cells(seen, lambda s: (s.a < 0).astype(float) @ (s.b > 0) + (s.a > 0).astype(float) @ (s.b < 0) > 0)
    yield "where a product is negative", negative
    yield "where no product is negative", ~negative
    for n in (2, 4, 8, 16, 32, 64, 128):
        if n < k and k % n:
            yield (
                f"where what is left after groups of {n} terms is not zero",
                _cells(seen, lambda s, n=n: _without(s, n) > 0),
            )
        if n < k:
            yield (
                f"where terms from number {n} on are not zero",
                _cells(seen, lambda s, n=n: (s.a[:, n:] != 0).astype(float) @ (s.b[n:] != 0) > 0),
            )


def _places(seen: list[Seen], must: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield kinds of rows and columns in which many results are wrong, more than by chance."""
    call = np.concatenate([np.full(s.got.size, i) for i, s in enumerate(seen)])
    failing = np.isin(call, call[must])
    for axis, name in enumerate(("row", "column")):
        at = _cells(seen, lambda s, axis=axis: np.indices(s.got.shape)[axis])
        count = _cells(seen, lambda s, axis=axis: s.got.shape[axis])
        first, last = (int(of(at[must], initial=0)) for of in (np.min, np.max))
        for words, region in (
            (f"in the first {name}", at == 0),
            (f"in all {name}s but the first", at > 0),
            (f"in the last {name}", at == count - 1),
            (f"in {name}s of odd number", at % 2 == 1),
            (f"in {name}s of even number", at % 2 == 0),
            (f"in {name}s up to number {last}", at <= last),
            (f"in {name}s from number {first} on", at >= first),
        ):
            inside = failing & region
            by_chance = (inside.sum() / failing.sum()) ** must.sum()
            if inside.any() and by_chance <= CHANCE and must[inside].mean() >= MANY:
                yield words, region


def _products(s: Seen) -> np.ndarray:
    """Return how many products of each sum have no operand that is zero."""
    return (s.a != 0).astype(float) @ (s.b != 0)


def _without(s: Seen, n: int) -> np.ndarray:
    """Return how many terms that are not zero are left after full groups of n."""
    whole = s.a.shape[1] // n * n
    return (s.a[:, whole:] != 0).astype(float) @ (s.b[whole:] != 0)


def _largest(s: Seen) -> np.ndarray:
    p = np.abs(s.a[:, None, :] * s.b.T[None, :, :])
    return np.where(np.isfinite(p), p, 0.0).max(axis=2)


def _described(expected: Sums, seen: list[Seen]) -> str:
    """Return where results are wrong, and by how much, in words."""
    results = Results(expected, seen)
    must = results.wrong
    got, right = _cells(seen, lambda s: s.got), _cells(seen, lambda s: s.right)
    count = results.count + results.among(results.region(must, ~must))
    with np.errstate(all="ignore"):
        off = got[must] - right[must]
        larger = np.abs(got[must]) > np.abs(right[must])
        ratio = np.abs(off / right[must])
    said, left = [], np.ones(off.shape, bool)
    for text, of in (
        ("NaN", np.isnan(got[must])),
        ("infinite", np.isinf(got[must])),
        ("zero", got[must] == 0),
        ("too large in size", larger),
        ("too small in size", ~larger),
    ):
        if (left & of).any():
            said.append(f"{text} ({int((left & of).sum())})")
        left &= ~of
    finite = ratio[np.isfinite(ratio)]
    by = f", at most by {finite.max():.2g} of the right result" if finite.size else ""
    lost = _one_term(expected, seen)
    return count + ": they are " + ", ".join(said) + by + lost


def _one_term(expected: Sums, seen: list[Seen]) -> str:
    """Return the number of the term without which, alone, failures stand; nothing where none is it."""
    found = np.ones(expected.terms, bool)
    for s in seen:
        bad = ~same_sums(expected, s.right, s.got)
        if s.a.shape[1] != expected.terms:
            continue
        for i, j in np.argwhere(bad)[:20]:
            found &= (s.a[i] != 0) & (s.b[:, j] != 0)
    places = np.flatnonzero(found)
    if 0 < len(places) <= 3:
        return f"; in every wrong sum term {' and '.join(map(str, places))} (counted from 0) is not zero"
    return ""
