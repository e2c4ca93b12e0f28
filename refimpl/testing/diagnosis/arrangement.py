"""Does a failure depend on more than its input: its place in the array, other elements, earlier calls?

The implementation is asked again: the same array twice, a failing input alone and as arrays of nothing else, and
with its neighbours.  Where the answers differ, the rule of positions or lengths that fits all of them is said.

*Notation*: columns are the arrays of operands (one for a quantizer), n their length, i a position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

LENGTHS = (*range(1, 36), 47, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 1000)
FIRST = (1, 2, 7, 8, 33, 1000)  # lengths tried with every failing input
LONG = (4099, 20_011, 70_001)  # tried where only long arrays fail
FRESH = (1019, 1021)  # lengths that nothing else asks for
TRIED = 12  # failing inputs
CALLS = 24
FILLED = 600  # inputs put where results are wrong, to see how


class Arrangement(NamedTuple):
    """What a failure depends on in words, and a length and positions at which it shows, if those decide.

    `elsewhere`: a length and positions at which it does not.
    """

    sentence: str
    length: int = 0
    positions: np.ndarray | None = None
    elsewhere: tuple[int, np.ndarray] | None = None


Columns = list[np.ndarray]


def depends(wrong: Callable[[Columns], np.ndarray], columns: Columns, bad: np.ndarray) -> bool:
    """Return whether other results are wrong in another order, or where those that fail are alone."""
    order = np.random.default_rng(0).permutation(bad.size)
    shuffled = wrong([c[order] for c in columns])
    return bool((shuffled != bad[order]).any() or bad.any() and not wrong([c[bad] for c in columns]).all())


def arrangement(wrong: Callable[[Columns], np.ndarray], columns: Columns, bad: np.ndarray) -> Arrangement | None:
    """Return what failures depend on beside their inputs, None if on nothing.

    `wrong(columns)` asks the implementation and tells which results are wrong; `bad` is what it was at first.
    """
    again, third = wrong(columns), wrong(columns)
    if (again != third).any() or (again != bad).any():
        return Arrangement(_of_calls(wrong, columns, again != third if (again != third).any() else again != bad))
    if said := _of_the_first_of_a_length(wrong, columns):
        return Arrangement(said)
    at = np.flatnonzero(bad)
    at = at[:: max(1, at.size // TRIED)][:TRIED]
    if said := _of_the_call_before(wrong, columns, at):
        return Arrangement(said)
    never = []
    for i in at.tolist():
        one = [c[i : i + 1] for c in columns]
        asked = {n: wrong(_repeated(one, n)) for n in FIRST}
        if all(b.all() for b in asked.values()):
            continue
        if any(b.any() for b in asked.values()):
            if _of_others(wrong, columns, i, asked):
                return _of_neighbours(wrong, columns, i)
            return _of_positions({n: wrong(_repeated(one, n)) for n in LENGTHS})
        never.append(i)
    for i in never[:2]:
        one = [c[i : i + 1] for c in columns]
        asked = {n: wrong(_repeated(one, n)) for n in LENGTHS + tuple(n for n in LONG if n < 2 * bad.size + 5000)}
        if any(b.any() for b in asked.values()):
            return _of_positions(asked)
    return _of_neighbours(wrong, columns, never[0]) if never else None


def _repeated(one: Columns, n: int) -> Columns:
    return [np.repeat(c, n) for c in one]


# -- calls -----------------------------------------------------------------------------------------


def _of_calls(wrong, columns: Columns, changed: np.ndarray) -> str:
    said = "gives the same inputs different results in different calls"
    i = int(np.flatnonzero(changed)[0])
    one = [c[i : i + 1] for c in columns]
    calls = [bool(wrong(one)[0]) for _ in range(CALLS)]
    if len(set(calls)) > 1:
        for period in range(2, CALLS // 3 + 1):
            if calls[:-period] == calls[period:]:
                few = sum(calls[:period])
                which = f"every {_nth(period)} call" if few == 1 else f"{few} of every {period} calls"
                return f"{said}: it keeps state between calls, and {which} is wrong"
        if calls == sorted(calls) or calls == sorted(calls, reverse=True):
            when = "after some calls" if not calls[0] else "in the first calls"
            return f"{said}: it keeps state between calls, and is wrong {when} alone"
        return f"{said}, at random as it seems"
    return f"{said}: it keeps state between calls, and a result depends on the calls before"


def _of_the_first_of_a_length(wrong, columns: Columns) -> str:
    """Ask twice for arrays of lengths that were not asked for yet: is the first right, and the second wrong?"""
    ones = [np.ones_like(c) for c in columns]
    for n, (first, second) in zip(FRESH, ((columns, ones), (ones, columns)), strict=True):
        if wrong([np.resize(c, n) for c in first]).any() or not wrong([np.resize(c, n) for c in second]).any():
            return ""
    said = "the first call of each length is right and later ones are not, as from a cache by shape"
    return f"keeps state between calls: {said}"


def _of_the_call_before(wrong, columns: Columns, at: np.ndarray) -> str:
    """Ask for failing inputs after calls with others: do their results stay the same?"""
    others = np.unique(np.linspace(0, len(columns[0]) - 1, 12).astype(int))
    for i in at[:: max(1, at.size // 4)].tolist():
        one, after = [c[i : i + 1] for c in columns], set()
        for k in others:
            wrong([c[k : k + 1] for c in columns])
            after.add(bool(wrong(one)[0]))
        if len(after) > 1:
            return "keeps state between calls: a result depends on what was asked in the call before"
    return ""


def _nth(k: int) -> str:
    return {2: "second", 3: "third", 4: "fourth", 5: "fifth"}.get(k, f"{k}th")


# -- positions -------------------------------------------------------------------------------------


def _of_positions(asked: dict[int, np.ndarray]) -> Arrangement:
    """Return the first rule of position i and length n that says exactly what is wrong."""
    n = np.concatenate([np.full(k, k) for k in asked])
    i = np.concatenate([np.arange(k) for k in asked])
    bad = np.concatenate([*asked.values()])
    length = max(asked, key=lambda k: (asked[k].mean() > 0, min(asked[k].sum(), FILLED // 4), asked[k].mean()))
    other = max(asked, key=lambda k: min(int((~asked[k]).sum()), FILLED // 4))
    shown = length, asked[length], (other, ~asked[other])
    for words, where in _rules(i, n, bad):
        if (where == bad).all():
            return Arrangement(f"depends on the position in the array: wrong {words}", *shown)
    some = [k for k in asked if asked[k].any()]
    at = np.flatnonzero(asked[some[0]])[:6].tolist()
    text = f"depends on the position in the array or its length: in arrays of {some[0]} wrong at positions {at}"
    return Arrangement(text, *shown)


def _of_others(wrong, columns: Columns, i: int, asked: dict[int, np.ndarray]) -> bool:
    """Return whether a failing input among equals becomes right at the same place among others."""
    n = next(n for n in asked if n > 1 and asked[n].any()) if any(asked[n].any() for n in asked if n > 1) else 0
    if not n:
        return False
    place = int(np.flatnonzero(asked[n])[-1])
    for k in np.linspace(0, columns[0].size - 1, 12).astype(int):
        mixed = _repeated([c[k : k + 1] for c in columns], n)
        for column, own in zip(mixed, columns, strict=True):
            column[place] = own[i]
        if not wrong(mixed)[place]:
            return True
    return False


def _rules(i, n, bad):
    yield "for the first element alone", i == 0
    yield "for the last element alone", i == n - 1
    yield "for the first and the last element", (i == 0) | (i == n - 1)
    yield "for all but the first element", i > 0
    yield "for all but the last element", i < n - 1
    yield "in arrays of one element", n == 1
    yield "in arrays of more than one element", n > 1
    yield "in arrays of an odd number of elements", n % 2 == 1
    yield "in arrays of an even number of elements", n % 2 == 0
    for k in range(2, 65):
        for j in range(k):
            yield f"for every {_nth(k)} element, from position {j} on", i % k == j
    for k in range(2, 257):
        rest = f"behind the last multiple of {k} (length modulo {k}: the tail of a loop over {k} at a time)"
        yield f"for the elements {rest}", i >= n - n % k
        yield f"for the last element if the length is no multiple of {k}", (i == n - 1) & (n % k > 0)
        yield f"for all but the elements {rest}", i < n - n % k
        yield f"in arrays whose length is no multiple of {k}", n % k > 0
        yield f"in arrays whose length is a multiple of {k}", n % k == 0
    for k in range(2, 65):
        yield f"for the last {k} elements", i >= n - k
        yield f"for the first {k} elements", i < k
        yield f"in alternating runs of {k} elements, the second of each two", i // k % 2 == 1
        yield f"in alternating runs of {k} elements, the first of each two", i // k % 2 == 0
        yield f"for the first element of each {k} but the first", (i % k == 0) & (i > 0)
    yield "in the second half of an array", 2 * i >= n
    yield "in the first half of an array", 2 * i < n
    first, fewest, most = int(i[bad].min()), int(n[bad].min()), int(n[bad].max())
    yield f"from position {first} on", i >= first
    yield f"in arrays of {fewest} elements or more", n >= fewest
    yield f"in arrays of up to {most} elements", n <= most
    for k in (2, 3, 4, 8, 16, 32, 64):
        for j in range(k):
            yield (
                f"for every {_nth(k)} element, from position {j} on, from the {first}th on",
                (i % k == j) & (i >= first),
            )


# -- neighbours ------------------------------------------------------------------------------------


def _of_neighbours(wrong, columns: Columns, i: int) -> Arrangement:
    said = "depends on other elements of the array"
    size = columns[0].size

    def shows(start, stop):
        return start >= 0 and stop <= size and bool(wrong([c[start:stop] for c in columns])[i - start])

    if shows(i - 1, i + 1):
        return Arrangement(f"{said}: a result depends on the element before it")
    if shows(i, i + 2):
        return Arrangement(f"{said}: a result depends on the element behind it")
    for k in (2, 3, 4, 5, 6, 8, 10, 12, 16, 32, 64, 128, 256):
        start = i // k * k
        if shows(start, min(start + k, size)):
            return Arrangement(
                f"{said}: a result depends on the others of its {k} neighbours (positions {k} at a time)"
            )
    for k in (2, 4, 8, 16, 32, 64, 128):
        if shows(max(i - k, 0), min(i + k, size)):
            return Arrangement(f"{said}: a result depends on those up to {k} places before or behind")
    return Arrangement(f"{said}: an input that is wrong among others is right alone")


def fill(arranged: Arrangement, pool: Sequence[np.ndarray], rest: Columns) -> list[tuple[Columns, np.ndarray]]:
    """Return arrays with the inputs of a pool at the positions of an arrangement, the rest elsewhere; and positions."""
    if arranged.positions is None or not arranged.positions.any():
        return []
    at = np.flatnonzero(arranged.positions)[: pool[0].size]
    found = []
    size = min(pool[0].size, max(FILLED, at.size))
    some = [p[np.linspace(0, p.size - 1, size).astype(int)] for p in pool]
    for start in range(0, size - at.size + 1, at.size):
        columns = _repeated(rest, arranged.length)
        for column, values in zip(columns, some, strict=True):
            column[at] = values[start : start + at.size]
        found.append((columns, at))
    return found[:200]
