"""Which known defect of arithmetic explains everything that was seen of an operation.

What a defect predicts is compared with every observation, right results too; one that a single observation
refutes is not named.  First single defects, then pairs that change different steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice, product
from typing import NamedTuple

import numpy as np

from refimpl.testing.diagnosis.anatomy import MODES, anatomy, value_of, with_codes
from refimpl.testing.diagnosis.local import described, in_regions
from refimpl.testing.diagnosis.seen_defects import of_results
from refimpl.testing.expected.behaviour import Behaviour, alike
from refimpl.testing.expected.cases import evenly
from refimpl.testing.operations.defect import Defect, predict, rounds
from refimpl.testing.operations.defects import defects_of
from refimpl.testing.operations.operation import NUMBER, Operation
from refimpl.testing.operations.properties import NAMES, Cases

FIRST = 400  # observations of each kind, failures and others, that a defect is held against first
MOST = 4000  # where exact results take long
PAIRS = 2000  # tried at most
CANDIDATES = 12  # pairs that explain everything, of which the likeliest are said
SAID = 8  # special operands that are said
PEELED = 4  # defects that are taken for one of two
SIMPLE = 4.5  # the cost up to which a defect in a region is believed before two everywhere


class Observed(NamedTuple):
    """What was asked of an operation and came back: values of operands, expected and got (float64)."""

    values: list[np.ndarray]
    expected: np.ndarray
    got: np.ndarray

    def at(self, where) -> Observed:
        """Return some of it."""
        return Observed([v[where] for v in self.values], self.expected[where], self.got[where])


def together(seen: Sequence[Observed]) -> Observed:
    """Return several observations as one."""
    values = [np.concatenate(columns) for columns in zip(*(s.values for s in seen), strict=True)]
    return Observed(values, *(np.concatenate([s[k] for s in seen]) for k in (1, 2)))


def diagnose(operation: Operation, seen: Observed) -> tuple[str, ...]:
    """Return the sentences of the defects that explain all observations, simplest first.

    >>> import refimpl as rf
    >>> add, a = Operation("add", "e4m3fn"), rf.decode(np.arange(127, dtype=np.uint8), "e4m3fn")
    >>> a, b = np.repeat(a, 127), np.tile(a, 127)
    >>> got = rf.quantize(a + b, "e4m3fn", rounding="toward_zero", overflow="overflow")
    >>> diagnose(add, Observed([a, b], add.evaluate([a, b]), got))[0]
    'rounds toward_zero'
    """
    same = _alike(operation, seen.expected, seen.got)
    bad = np.flatnonzero(~same)
    if not bad.size:
        return ()
    with np.errstate(all="ignore"):
        rest = np.flatnonzero(same)
        if (operation.is_slow or getattr(operation.into, "mantissa_bits", 0) > 22) and seen.got.size > MOST:
            bad, rest = evenly(bad, MOST // 2), evenly(rest, MOST // 2)
            seen = seen.at(np.sort(np.concatenate([bad, rest])))
            bad, rest = (np.flatnonzero(w) for w in (~_alike(operation, *seen[1:]), _alike(operation, *seen[1:])))
        few = seen.at(np.concatenate([evenly(bad, FIRST), evenly(rest, FIRST)]))
        known = defects_of(operation)
        singles = [d for d in known if _explains((d,), operation, few) and _explains((d,), operation, seen)]
        if singles:
            said = list(dict.fromkeys(d.sentence for d in singles))
            return tuple(text for text in said if not any(text.startswith(f"{other}, ") for other in said))[:3]
        if special := _of_specials(operation, seen):
            return (special,)
        local = _in_regions(operation, known, few, seen)
        if local and local[0].cost <= SIMPLE:
            return tuple(found.sentence for found in local)
        found: dict[str, int] = {}
        for pair in islice(_pairs(known), PAIRS):
            if _explains(pair, operation, few) and _explains(pair, operation, seen):
                found.setdefault(" and ".join(d.sentence for d in pair), _astray(pair, operation, few))
                if len(found) == CANDIDATES:
                    break
        if found:
            return tuple(sorted(found, key=found.__getitem__))[:3]
        return _one_and_the_rest(operation, known, few, seen) or tuple(
            f.sentence for f in local if f.cost <= SIMPLE + 2
        )


def _astray(pair, operation: Operation, seen: Observed) -> int:
    """Count the results that one of two defects alone makes neither right nor what was got: the fewer, the likelier."""
    alone = [predict((defect,), operation, seen.values) for defect in pair]
    return sum(int((~_alike(operation, y, seen.got) & ~_alike(operation, y, seen.expected)).sum()) for y in alone)


def _of_specials(operation: Operation, seen: Observed) -> str:
    """Say what becomes of NaN, infinities and zeros where they alone are wrong, always and alike; else nothing."""
    wrong = ~_alike(operation, seen.expected, seen.got)
    if operation.kind != NUMBER or len(seen.values) < 2:
        return ""
    if not np.all([~np.isfinite(v[wrong]) | (v[wrong] == 0) for v in seen.values]):
        return ""

    def name(x: float) -> str:
        return ("-" if np.signbit(x) and not np.isnan(x) else "") + ("NaN" if np.isnan(x) else f"{abs(x):g}")

    said: dict[tuple[str, ...], set[tuple[str, str]]] = {}
    rows = zip(*(v[wrong].tolist() for v in seen.values), strict=True)
    for row, right, got in zip(rows, seen.expected[wrong].tolist(), seen.got[wrong].tolist(), strict=True):
        said.setdefault(tuple(map(name, row)), set()).add((name(right), name(got)))
    for row, results in said.items():  # and nothing of this kind is right
        here = np.all([_named(v, text) for v, text in zip(seen.values, row, strict=True)], axis=0)
        if len(results) > 1 or (here & ~wrong).any():
            return ""
    texts = [f"{operation.name}({', '.join(row)}) = {got}, not {right}" for row, ((right, got),) in said.items()]
    more = f" and {len(texts) - SAID} more" if len(texts) > SAID else ""
    return f"gives special operands wrong results, and no others: {'; '.join(texts[:SAID])}{more}"


def _named(v: np.ndarray, text: str) -> np.ndarray:
    x = float(text)
    return np.isnan(v) if np.isnan(x) else (v == x) & (np.signbit(v) == np.signbit(x))


def _one_and_the_rest(operation: Operation, known: Sequence[Defect], few: Observed, seen: Observed) -> tuple[str, ...]:
    """Return a defect that explains a part of the failures and breaks nothing, and one in a region for the rest."""
    right = few.at(_alike(operation, few.expected, few.got))
    bad = few.at(~_alike(operation, few.expected, few.got))
    useful = []
    for k, defect in enumerate(known):
        if _explains((defect,), operation, right):
            explained = int(_alike(operation, predict((defect,), operation, bad.values), bad.got).sum())
            useful += [(-explained, k)] if explained else []
    later = [d for d in known if d.after and not d.before and not d.core]
    for _, k in sorted(useful)[:PEELED]:
        rest, some = (s._replace(expected=predict((known[k],), operation, s.values)) for s in (seen, few))
        local = _in_regions(operation, later, some, rest, (known[k],))
        if local and local[0].cost <= SIMPLE:
            return tuple(f"{known[k].sentence}, and of what that leaves: {found.sentence}" for found in local)
    return ()


def _in_regions(operation: Operation, known: Sequence[Defect], few: Observed, seen: Observed, first=()) -> list:
    """Return defects that explain everything behind others, if they hold in a region alone."""
    wrong = ~_alike(operation, seen.expected, seen.got)
    if not wrong.any():
        return []
    cases = Cases(operation, seen.values, seen.expected, seen.got, wrong)
    bad = ~_alike(operation, few.expected, few.got)
    failures = few.at(bad)
    likely = [d for d in known if _explains((*first, d), operation, failures)]

    def broken(defects):
        for d in defects:
            yield d.sentence, ~_alike(operation, predict((*first, d), operation, seen.values), seen.got)

    return in_regions(cases, broken(_own(operation, seen.at(wrong))), broken(likely))


def _own(operation: Operation, failures: Observed) -> Iterator[Defect]:
    """Yield the defects that are read off the failures."""
    fmt = operation.into if operation.kind == NUMBER else None
    for text, change in of_results(fmt, failures.expected, failures.expected, failures.got):
        yield Defect(text, after=lambda o, v, y, change=change: change(y, y))
    for k, x in enumerate(failures.values):
        which = f"its {NAMES[k]} operand" if len(failures.values) > 1 else "its operand"
        yield Defect(f"gives {which}", after=lambda o, v, y, k=k: v[k] + 0.0)
        if operation.kind == NUMBER:
            yield Defect(f"gives {which}, rounded", after=lambda o, v, y, k=k: o.rounded(v[k]))
        if (failures.got == -x).any():
            yield Defect(f"gives {which} with the other sign", after=lambda o, v, y, k=k: -v[k])
    if rounds(operation):
        yield Defect("goes to the wrong one of the two values on either side", after=_other)
        for mode in ("toward_zero", "away from zero"):
            yield Defect(f"rounds {mode}", after=partial(_by_mode, mode=MODES[mode]))


def _other(o, v, y):
    e = o.exact(v)
    a = anatomy(e, o.into)
    up = np.abs(y) > value_of(a.code, o.into)
    return with_codes(a, a.code + ~up, y, Behaviour(o.into, overflow=o.overflow))


def _by_mode(o, v, y, mode):
    a = anatomy(o.exact(v), o.into)
    return with_codes(a, a.code + mode(a), y, Behaviour(o.into, overflow=o.overflow))


def _pairs(known: Sequence[Defect]):
    """Yield pairs of defects that change different steps of a computation."""
    before = [d for d in known if d.before and not d.after]
    cores = [d for d in known if d.core]
    after = [d for d in known if d.after and not d.before]
    yield from product(cores, after)
    yield from product(before, after)
    yield from product(before, cores)
    yield from ((a, b) for i, a in enumerate(after) for b in after[i + 1 :])


def _explains(defects, operation: Operation, seen: Observed) -> bool:
    return bool(_alike(operation, predict(defects, operation, seen.values), seen.got).all())


def _alike(operation: Operation, a, b) -> np.ndarray:
    return alike(a, b) if operation.kind == NUMBER else a == b


def describe(operation: Operation, seen: Observed) -> str:
    """Say where results are wrong and how, for failures that no defect explains.

    >>> v = [np.array([1.0, 2.0, 3.0])]
    >>> seen = Observed(v, np.array([1.0, 1.375, 1.75]), np.array([1.0, 0.0, 1.75]))
    >>> describe(Operation("sqrt", "e4m3fn"), seen).partition(", ")[0]
    '1 of 3 results are wrong'
    """
    wrong = ~_alike(operation, seen.expected, seen.got)
    if not wrong.any():
        return ""
    cases = Cases(operation, seen.values, seen.expected, seen.got, wrong)
    one = seen.values[0] if operation.name == "convert" else None
    fmt = operation.into if operation.kind == NUMBER else None
    return described(cases, fmt, one, seen.expected, seen.got)
