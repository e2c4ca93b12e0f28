"""Diagnosis: which known defects explain everything that was seen.

The prediction of each defect is compared with every observation of `conform`, not only with the failures, so
that a defect that would have shown elsewhere is not accused.  First single defects, then pairs, then three.
There are tens of thousands of pairs, so that one may fit by chance: it is said how many do, and a pair is
believed only if held-out failures speak for each of its halves.  Where nothing fits, it is said what the
failures have in common.

*Notation*: a row of `hits` says for one defect which observations it predicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from refimpl.testing.diagnosis.decoding import diagnose_decoding
from refimpl.testing.diagnosis.defects import Defect, Facts
from refimpl.testing.diagnosis.grammar import defects_of
from refimpl.testing.diagnosis.local import Observations, described, in_regions
from refimpl.testing.diagnosis.seen_defects import of_failures
from refimpl.testing.expected.behaviour import Behaviour, alike
from refimpl.testing.expected.cases import evenly

SAMPLE = 80  # inputs of each kind that pairs of defects are held against first
ENOUGH = 5  # held-out failures that must speak for each part of several defects
SIMPLE = 4.5  # the cost up to which a defect in a region is believed before several everywhere
CHAINED = 60  # failures and others of each kind that chains of defects are held against
CHAINS = 15  # chains of a length that are held against everything
BEAM = 6  # chains that are made longer
MANY = 0.1  # of the failures: a defect that explains so many is said before the rest is described
PEELED = 4  # defects that are taken for one of two
VERIFIED = 400  # pairs, and sets of three, that are looked at closely


def predict(defects: tuple[Defect, ...], behaviour: Behaviour, x: np.ndarray) -> np.ndarray:
    """Return what an implementation with these defects gives for x, float64.

    >>> flush = next(d for d in defects_of(Behaviour("e4m3fn")) if d.sentence.startswith("flushes r"))
    >>> predict((flush,), Behaviour("e4m3fn"), np.array([0.01, 1.0])).tolist()
    [0.0, 1.0]
    """
    changes = tuple((d.before, d.change) for d in defects if d.before or d.change)
    with np.errstate(all="ignore"):
        behaviour, wide, y = (_of_few if x.size < 2000 else _of_many)(changes, behaviour, _Same(x))
        for defect in sorted(defects, key=lambda defect: defect.stage):
            y = defect.after(wide, y, behaviour) if defect.after else y
    return y


class _Same(NamedTuple):
    """An array that equals itself alone."""

    x: np.ndarray

    def __hash__(self):
        return id(self.x)

    def __eq__(self, other):
        return self.x is other.x


def _rounded(changes, behaviour: Behaviour, same: _Same) -> tuple[Behaviour, np.ndarray, np.ndarray]:
    """Return rules, inputs and results of defects before what comes after rounding; many defects share these."""
    x = same.x
    for before, change in changes:
        x = before(x) if before else x
        behaviour = change(behaviour) if change else behaviour
    return behaviour, widen(x), behaviour.values(x)


_of_few, _of_many = (lru_cache(maxsize=size)(_rounded) for size in (4000, 20))


def widen(x: np.ndarray) -> np.ndarray:
    """Return x as float64; NaNs keep their bits, which a conversion would make quiet."""
    wide = x.astype(np.float64)
    if x.dtype == np.float64:
        return wide
    info = np.finfo(x.dtype)
    payload = x.view(f"u{x.dtype.itemsize}").astype(np.uint64) & np.uint64((1 << info.nmant) - 1)
    bits = payload << np.uint64(52 - info.nmant) | np.uint64(0x7FF << 52)
    bits |= np.signbit(x).astype(np.uint64) << np.uint64(63)
    return np.where(np.isnan(x), bits, wide.view(np.uint64)).view(np.float64)


class Diagnosis(NamedTuple):
    """Sentences that explain all observations, and one that describes the failures."""

    sentences: tuple[str, ...]
    description: str = ""


def diagnose(behaviour: Behaviour, seen: list) -> Diagnosis:
    """Return the sentences of the defects that explain all observations, simplest first.

    `seen` are tuples (route, inputs, expected, got).  What fails with one route or one dtype of inputs alone is
    explained for that alone if it is not explained for all.
    """
    for known in (_of_few, _of_many):
        known.cache_clear()  # of the last diagnosis
    decoding = [s for s in seen if s.route == "decode"]
    if any(not alike(s.expected, s.got).all() for s in decoding):
        return Diagnosis(*diagnose_decoding(behaviour.format, decoding))
    asked = _by_route(s for s in seen if s.route != "decode")
    wrong = [s for s in asked if _wrong(behaviour, s).any()]
    if not wrong:
        return Diagnosis(())
    found = _explained(behaviour, asked)
    for part, of in (("route", lambda s: s.route), ("x", lambda s: s.x.dtype.name)):
        kinds = {of(s) for s in wrong}
        if not found and len(kinds) == 1 and {of(s) for s in asked} != kinds:
            (kind,) = kinds
            said = f"in {kind} alone: " if part == "route" else f"with inputs of {kind} alone: "
            found = tuple(said + text for text in _explained(behaviour, [s for s in asked if of(s) == kind]))
    return Diagnosis(found, "" if found else _description(behaviour, asked))


def _description(behaviour, asked) -> str:
    """Describe the failures; where one defect explains many of them and breaks nothing, those that it leaves."""
    known = defects_of(behaviour, _facts(asked))
    narrow = [s for s in (_sample(behaviour, s) for s in asked) if s.x.size]
    hits = np.array([_hits((defect,), behaviour, narrow) for defect in known])
    wrong = np.concatenate([_wrong(behaviour, s) for s in narrow])
    explained = np.where(hits[:, ~wrong].all(axis=1), hits[:, wrong].sum(axis=1), 0)
    first = known[int(np.argmax(explained))]
    broken = any((_unexplained((first,), behaviour, s) & ~_wrong(behaviour, s)).any() for s in asked)
    if explained.max() > MANY * wrong.sum() and not broken:
        rest = [s._replace(expected=_predicted((first,), behaviour, s)) for s in asked]
        return f"{first.sentence}; and of what that leaves, {_described(Observations(behaviour, rest))}"
    return _described(Observations(behaviour, asked))


def _described(seen: Observations) -> str:
    return described(seen, seen.behaviour.format, seen.x, seen.expected, seen.got)


def _wrong(behaviour, seen):
    with np.errstate(invalid="ignore"):
        return ~behaviour.same(seen.x.astype(np.float64), seen.expected, seen.got)


def _by_route(asked) -> list:
    """Return the observations of each route and input type in one, so that none counts twice."""
    found: dict[tuple, list] = {}
    for seen in asked:
        found.setdefault((seen.route, seen.x.dtype), []).append(seen)
    joined = []
    for (route, dtype), parts in found.items():
        x, expected, got = (np.concatenate(c) for c in list(zip(*parts, strict=True))[1:])
        _, first = np.unique(x.view(f"u{dtype.itemsize}"), return_index=True)
        joined.append(type(parts[0])(route, x[first], expected[first], got[first]))
    return joined


def _explained(behaviour, asked) -> tuple[str, ...]:
    known = defects_of(behaviour, _facts(asked))
    narrow = [s for s in (_sample(behaviour, s) for s in asked) if s.x.size]
    hits = np.array([_hits((defect,), behaviour, narrow) for defect in known])
    moved = np.array([_moved((defect,), behaviour, narrow) for defect in known])
    wrong = np.concatenate([_wrong(behaviour, s) for s in narrow])
    singles = [(known[k],) for k in np.flatnonzero(hits.all(axis=1))]
    sentences = _said(group for group in singles if _explains(group, behaviour, asked))
    if sentences:
        return tuple(sentences)[:3]
    everything = Observations(behaviour, asked)
    general = [known[k] for k in np.flatnonzero(hits[:, wrong].all(axis=1)) if " among " not in known[k].sentence]
    local = _local(everything, general)
    if local and local[0].cost <= SIMPLE:
        return tuple(found.sentence for found in local)
    several = _several(behaviour, asked, known, hits, moved, wrong, narrow)
    if several:
        return several
    rest = _one_and_the_rest(behaviour, asked, known, hits, wrong)
    return rest or tuple(found.sentence for found in local if found.cost <= SIMPLE + 2)


def _local(seen: Observations, known, first: tuple[Defect, ...] = ()) -> list:
    """Return the defects in a region that explain everything, behind others."""
    wrong, behaviour = seen.wrong, seen.behaviour
    own = [*of_failures(behaviour, seen.x[wrong], seen.expected[wrong], seen.got[wrong])]

    def broken(defects):
        return (
            (d.sentence, np.concatenate([_unexplained((*first, d), behaviour, s) for s in seen.asked])) for d in defects
        )

    return in_regions(seen, broken(own), broken(known))


def _one_and_the_rest(behaviour, asked, known, hits, wrong) -> tuple[str, ...]:
    """Return a defect that explains a part of the failures and breaks nothing, and one in a region for the rest."""
    useful = [k for k in np.flatnonzero(hits[:, ~wrong].all(axis=1)) if hits[k, wrong].any()]
    useful.sort(key=lambda k: (-int(hits[k, wrong].sum()), k))
    for k in useful[:PEELED]:
        first = known[k]
        rest = [s._replace(expected=_predicted((first,), behaviour, s)) for s in asked]
        later = [d for d in known if d.after and not d.before and not d.change and " among " not in d.sentence]

        local = _local(Observations(behaviour, rest), later, (first,))
        if local and local[0].cost <= SIMPLE:
            return tuple(f"{first.sentence}, and of what that leaves: {found.sentence}" for found in local)
    return ()


def _several(behaviour, asked, known, hits, moved, wrong, narrow) -> tuple[str, ...]:
    """Return the sentences of two or three defects that explain everything together."""
    useful = _different(hits, moved, wrong)
    for candidates in (_pairs(hits[useful], wrong), None, _threes(hits[useful], wrong)):
        if candidates is None:
            chain = _chain(known, behaviour, narrow, asked)
            if chain:
                return _of_several({" and ".join(d.sentence for d in chain): chain}, behaviour, asked)
            continue
        groups = [tuple(sorted(useful[k] for k in group)) for group in candidates]
        groups = [g for g in groups if _explains(_of(known, g), behaviour, narrow)]
        said = _said(_of(known, g) for g in sorted(groups, key=sum) if _explains(_of(known, g), behaviour, asked))
        if said:
            return _of_several(said, behaviour, asked)
    return ()


def _chain(known, behaviour, narrow, asked) -> tuple[Defect, ...]:
    """Return up to three defects, one behind the other, that explain more and more and then everything."""
    few = []
    for s in narrow:
        wrong = _wrong(behaviour, s)
        at = np.concatenate([evenly(np.flatnonzero(w), CHAINED) for w in (wrong, ~wrong)])
        few.append(s._replace(x=s.x[at], expected=s.expected[at], got=s.got[at]))
    general = [d for d in known if " among " not in d.sentence and "by printing" not in d.sentence]
    order = {d: k for k, d in enumerate(general)}
    beam: list[tuple[int, tuple[Defect, ...]]] = [(0, ())]
    for _ in range(3):
        longer: dict[frozenset, tuple[int, tuple[Defect, ...]]] = {}
        for _, chain in beam:
            for defect in general:
                if defect not in chain:
                    group = tuple(sorted((*chain, defect), key=lambda d: order[d]))
                    if frozenset(group) not in longer:
                        longer[frozenset(group)] = (int(_hits(group, behaviour, few).sum()), group)
        best = sorted(longer.values(), key=lambda found: (-found[0], sum(order[d] for d in found[1])))
        everything = sum(s.x.size for s in few)
        whole = [group for count, group in best if count == everything]
        for _ in range(CHAINS):
            if not whole:
                break
            against = [s for s in (_counterexamples(whole[0], behaviour, s) for s in asked) if s.x.size]
            if not against:
                return whole[0]
            few += against
            whole = [group for group in whole if _explains(group, behaviour, against)]
        best = [(int(_hits(group, behaviour, few).sum()), group) for _, group in best[: 10 * BEAM]]
        kinds: dict[int, list] = {}
        for found in sorted(best, key=lambda found: -found[0]):  # of those that explain as many, a few
            kinds.setdefault(found[0], []).append(found)
        beam = [found for k in list(kinds)[:BEAM] for found in kinds[k][:2]][:BEAM]
    return ()


def _counterexamples(group, behaviour, seen):
    at = evenly(np.flatnonzero(_unexplained(group, behaviour, seen)), 20)
    return seen._replace(x=seen.x[at], expected=seen.expected[at], got=seen.got[at])


def _of(known, group) -> tuple[Defect, ...]:
    return tuple(known[k] for k in group)


def _facts(asked) -> Facts:
    """Look at the largest result, and at what becomes of NaN and infinity where that is one size."""

    def one(which):
        sizes = np.concatenate([np.abs(s.got[which(s.x)]) for s in asked])
        alone = sizes.size and alike(sizes, np.full(sizes.shape, sizes[0])).all()
        return float(sizes[0]) if alone else None

    numbers = np.concatenate([np.abs(s.got[np.isfinite(s.got) & np.isfinite(s.x)]) for s in asked])
    return Facts(float(numbers.max(initial=0.0)), one(np.isnan), one(np.isinf))


def _sample(behaviour, seen):
    """Return an even choice of every kind of input: half of the failures, and of what is right."""
    x, fmt, wrong = seen.x.astype(np.float64), behaviour.format, _wrong(behaviour, seen)
    size = np.abs(x)
    kinds = [np.isnan(x), np.isinf(x), size == 0, size > float(fmt.max), size < getattr(fmt, "smallest_normal", 0.0)]
    kind = sum(mask.astype(int) << k for k, mask in enumerate([*kinds, np.signbit(x), wrong]))
    chosen = []
    for here in (np.flatnonzero(kind == k) for k in np.unique(kind)):
        here = here[::2] if wrong[here[0]] else here
        chosen.append(here[:: max(1, here.size // SAMPLE)])
    at = np.sort(np.concatenate(chosen))
    return type(seen)(seen.route, seen.x[at], seen.expected[at], seen.got[at])


def _hits(defects, behaviour, observations) -> np.ndarray:
    return np.concatenate([~_unexplained(defects, behaviour, s) for s in observations])


def _moved(defects, behaviour, observations) -> int:
    """Count the results that these defects change."""
    right = [s._replace(got=s.expected) for s in observations]
    return int((~_hits(defects, behaviour, right)).sum())


def _explains(defects, behaviour, observations) -> bool:
    return not any(_unexplained(defects, behaviour, s).any() for s in observations)


def _unexplained(defects, behaviour, seen):
    """Return where the defects do not predict what was got."""
    with np.errstate(all="ignore"):
        return ~behaviour.same(seen.x.astype(np.float64), _predicted(defects, behaviour, seen), seen.got)


def _predicted(defects, behaviour, seen) -> np.ndarray:
    predicted = predict(defects, behaviour, seen.x)
    with np.errstate(all="ignore"):
        if seen.route == "quantize":  # which cannot return what its dtype cannot hold
            predicted = predicted.astype(seen.x.dtype).astype(np.float64)
    return predicted


def _said(groups) -> dict[str, tuple]:
    """Return groups by what is said of them; what holds everywhere is not said of a region again."""
    found: dict[str, tuple] = {}
    known = set()
    for group in groups:
        general = frozenset(defect.sentence.partition(" among ")[0] for defect in group)
        text = " and ".join(defect.sentence for defect in group)
        if text not in found and general not in known:
            found[text] = group
        if all(" among " not in defect.sentence for defect in group):
            known.add(general)
    return found


def _different(hits, moved, wrong) -> np.ndarray:
    """Return the defects that predict some failure, of those that predict the same the few that change least."""
    useful = np.flatnonzero(hits[:, wrong].any(axis=1))
    useful = useful[np.argsort(moved[useful], kind="stable")]
    _, kind = np.unique(hits[useful], axis=0, return_inverse=True)
    found = [np.flatnonzero(kind.ravel() == k)[:4] for k in range(kind.max(initial=-1) + 1)]
    return useful[np.sort(np.concatenate(found))] if found else useful


def _pairs(hits, wrong) -> Iterator[tuple[int, ...]]:
    """Yield pairs of which, for almost every failure, one predicts it; those that break least first."""
    failures = hits[:, wrong]
    missed = (~failures).astype(np.float32) @ (~failures).astype(np.float32).T  # predicted by neither
    broken = (~hits[:, ~wrong]).sum(axis=1)
    a, b = np.triu_indices(len(hits), 1)
    few = missed[a, b] <= 0.04 * wrong.sum()
    a, b = a[few], b[few]
    order = np.lexsort((a + b, broken[a] + broken[b] + 4 * missed[a, b]))[:VERIFIED]
    yield from zip(a[order].tolist(), b[order].tolist(), strict=True)


def _threes(hits, wrong) -> Iterator[tuple[int, ...]]:
    """Yield three defects that predict every failure between them, from the pairs that predict most."""
    failures, broken = hits[:, wrong], (~hits[:, ~wrong]).sum(axis=1)
    missed = (~failures).astype(np.float32) @ (~failures).astype(np.float32).T
    a, b = np.triu_indices(len(hits), 1)
    order = np.argsort(missed[a, b] + broken[a] + broken[b], kind="stable")[: VERIFIED // 2]
    found = set()
    for i, j in zip(a[order].tolist(), b[order].tolist(), strict=True):
        left = ~(failures[i] | failures[j])
        for k in np.flatnonzero(failures[:, left].all(axis=1)):
            found.add(tuple(sorted((i, j, int(k)))))
    whole = sorted((group for group in found if len(set(group)) == 3), key=lambda g: (sum(broken[list(g)]), g))
    yield from whole[:VERIFIED]


def _of_several(said: dict, behaviour, asked) -> tuple[str, ...]:
    """Return pairs (or threes) that explain everything, with how far to believe them."""
    sentences = tuple(said)[:3]
    if len(said) > 1:
        return tuple(f"{text} (one of {len(said)} combinations that would explain it)" for text in sentences)
    (group,) = said.values()
    # a held-out failure speaks for a part where the others alone do not explain it
    rests = [group[:k] + group[k + 1 :] for k in range(len(group))]
    support = min(sum(_speaking(rest, behaviour, s) for s in asked) for rest in rests)
    number = {2: "two", 3: "three"}[len(group)]
    doubt = f" (perhaps: only {support} held-out inputs speak for one of the {number})"
    return (sentences[0] + doubt * (support < ENOUGH),)


def _speaking(rest: tuple[Defect, ...], behaviour, seen) -> int:
    """Count the held-out failures that other defects do not explain."""
    held = np.flatnonzero(_wrong(behaviour, seen))[1::2]
    part = type(seen)(seen.route, seen.x[held], seen.expected[held], seen.got[held])
    return int(_unexplained(rest, behaviour, part).sum()) if held.size else 0
