"""The simplest region that holds all failures and none of what is right.

A region is a conjunction of properties (true or false of each case: negative, a tie, ...) and of bounds of measures
(a number for each case: its size, the part of a step, ...).  Each part has a cost; of the regions that leave out all
that must be left out, the one of least cost is taken.  Where there is none, two regions are tried, and else the
smallest is given with what is wrongly in it, which `Region.pure` tells.

*Notation*: inside are the cases that must lie in a region, outside those that must not; others are free.  Arrays of
properties and measures broadcast to these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

MOST_PARTS = 60  # of which a conjunction is sought: they are bits of a word
MOST_KINDS = 3000  # kinds of cases, alike in all parts, that are told apart
NARROWER = 0.9  # of an impure region a part is said only if without it the region were larger
LONGEST = 5  # parts of one region
BOUND = 1.2  # the cost of a bound
BINADES = {1: "in the binade of", 2: "in the two binades from", 3: "in the three binades from"}


class Property(NamedTuple):
    """Where something holds: words such as "negative inputs" or "in the first row", an array of truths, and a cost."""

    words: str
    mask: np.ndarray
    cost: float = 1.0


class Measure(NamedTuple):
    """A number for each case, NaN where it has none, under words such as "of sizes"."""

    words: str
    values: np.ndarray
    cost: float = BOUND


class Region(NamedTuple):
    """A region in words, where it is, what its words cost, and whether it leaves out all that it must."""

    words: str
    mask: np.ndarray
    cost: float
    pure: bool


class _Bound(NamedTuple):
    measure: str
    lower: bool
    said: str
    exact: bool
    mask: np.ndarray
    cost: float
    value: float


def region(
    properties: Iterable[Property],
    measures: Sequence[Measure],
    inside: np.ndarray,
    outside: np.ndarray,
    split=True,
    noun="inputs",
) -> Region:
    """Return the simplest region with all of `inside` and, where there is one, nothing of `outside`.

    `noun`: what a case is called, where properties are kinds of it; none where their words say a place.

    >>> x = np.array([-4.0, -3.0, -2.0, -1.0, 1.0, 3.0])
    >>> found = region([Property("negative", x < 0)], [Measure("of sizes", abs(x))], (x < -1.5) & (x > -4), x >= -1.5)
    >>> found.words, found.pure
    ('negative, of sizes from 2', True)
    """
    every = list(properties)
    found = _conjunction(every, measures, inside, outside, noun)
    if found.pure or not split:
        return found
    best = found
    for a, b in _splits(every, measures, inside, outside):
        halves = []
        for part in (a, b):
            half = _conjunction(every, measures, inside & part, outside, noun)
            if not half.pure:
                break
            halves.append(half)
        if len(halves) == 2 and (not best.pure or sum(h.cost for h in halves) + 2 < best.cost):
            words = " or ".join(half.words for half in halves)
            best = Region(words, halves[0].mask | halves[1].mask, sum(h.cost for h in halves) + 2, True)
    return best


def _conjunction(properties, measures, inside, outside, noun) -> Region:
    if not inside.any() or not outside.any():
        return Region("", np.ones(inside.shape, bool), 0.0, True)
    parts: list = [p for p in properties if _at(p.mask, inside).all() and not _at(p.mask, outside).all()]
    for m in measures:
        parts += _bounds(m, inside, outside)
    parts = sorted(parts, key=lambda part: part.cost)[:MOST_PARTS]
    bits = np.zeros(np.count_nonzero(outside), np.uint64)
    for k, part in enumerate(parts):
        bits |= (~_at(part.mask, outside)).astype(np.uint64) << np.uint64(k)
    kinds = np.unique(bits)
    pure = bool(kinds[0] != 0)
    wanted = _least([int(kind) for kind in kinds[:: max(1, kinds.size // MOST_KINDS)] if kind])
    chosen = _cover(wanted, [part.cost for part in parts])
    if chosen is None:
        chosen, pure = _greedy(wanted, [part.cost for part in parts]), False
    some = [parts[k] for k in sorted(chosen)]
    if not pure:
        some = _narrowing(some, inside | outside)
    mask = _all_of(np.ones(inside.shape, bool), some)
    return Region(_words(some, noun), mask, sum(part.cost for part in some), pure and not (mask & outside).any())


def _at(mask: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.broadcast_to(mask, where.shape)[where]


def _all_of(mask: np.ndarray, parts) -> np.ndarray:
    for part in parts:
        mask = mask & part.mask
    return mask


def _narrowing(parts: list, of: np.ndarray) -> list:
    """Return the parts without each of which a conjunction would be larger by a tenth."""
    kept = list(parts)
    for part in parts:
        rest = [p for p in kept if p is not part]
        without = _all_of(of, rest)
        if np.count_nonzero(without & part.mask) > NARROWER * np.count_nonzero(without):
            kept = [p for p in kept if p is not part]
    return kept


def _least(kinds: list[int]) -> list[int]:
    """Return those of some sets of bits that hold no other: what covers these covers all."""
    found: list[int] = []
    for kind in sorted(kinds, key=int.bit_count):
        if not any(kind & other == other for other in found):
            found.append(kind)
    return found


def _cover(wanted: list[int], costs: list[float]) -> list[int] | None:
    """Return the cheapest choice of bits of which each number has one; None if more than `LONGEST` are needed."""
    best: tuple[float, list[int] | None] = (np.inf, None)
    tried = 0

    def extend(left, chosen, cost):
        nonlocal best, tried
        tried += 1
        if not left:
            if cost < best[0]:
                best = (cost, chosen)
            return
        if len(chosen) == LONGEST or tried > 3000:
            return
        hardest = min(left, key=int.bit_count)
        for k in range(hardest.bit_length()):
            if hardest >> k & 1 and cost + costs[k] < best[0]:
                extend([number for number in left if not number >> k & 1], [*chosen, k], cost + costs[k])

    extend(wanted, [], 0.0)
    return best[1]


def _greedy(wanted: list[int], costs: list[float]) -> list[int]:
    """Return bits that leave few of the numbers, the most useful first."""
    chosen: list[int] = []
    left = wanted
    while left and len(chosen) < LONGEST:
        counts = [sum(number >> k & 1 for number in left) / cost for k, cost in enumerate(costs)]
        k = int(np.argmax(counts))
        if not counts[k]:
            break
        chosen.append(k)
        left = [number for number in left if not number >> k & 1]
    return chosen


def _bounds(measure: Measure, inside, outside) -> list[_Bound]:
    """Return the bounds of what is inside, each the simplest number that tells it from what is beyond."""
    values = measure.values
    within, beyond = _at(values, inside), _at(values, outside)
    if np.isnan(within).any():
        return []
    low, high, found = within.min(), within.max(), []
    below, above = beyond[beyond < low], beyond[beyond > high]
    with np.errstate(invalid="ignore"):
        if below.size:
            t = simplest(below.max(), low)
            mask = values > t if t == below.max() else values >= t
            found.append(_Bound(measure.words, True, say(t), t != below.max(), mask, measure.cost, t))
        if above.size:
            t = simplest(high, above.min(), upper=True)
            mask = values < t if t == above.min() else values <= t
            found.append(_Bound(measure.words, False, say(t), t != above.min(), mask, measure.cost, t))
    return found


def say(x: float, digits: int | None = None) -> str:
    """Return a number as one says it: in decimal if that is short, else as a multiple of a power of two.

    `digits`: to which it is rounded where neither is short.

    >>> [say(x) for x in (448.0, 0.1, 0.125, 2.0**-13, -3 * 2.0**-20, 65504.0, 1 + 2.0**-20, np.inf)]
    ['448', '0.1', '0.125', '2^-13', '-3 * 2^-20', '65504', '1.0000009536743164', 'inf']
    >>> say(1 + 2.0**-20, 4), say(2.0**-13 + 2.0**-40, 4)
    ('1', '0.0001221')
    """
    forms = (f"{x:.6g}", f"{x:.9g}", f"{x:.0f}", repr(float(x)))
    plain = min((text for text in forms if float(text) == x or text == forms[-1]), key=len)
    m, e = np.frexp(abs(x))
    if not np.isfinite(x) or len(plain) <= (5 if m == 0.5 else 7):
        return plain
    for bits in range(1, 6):  # of the multiple
        times = float(np.ldexp(m, bits))
        if times.is_integer():
            return "-" * bool(x < 0) + f"{times:.0f} * " * (bits > 1) + f"2^{e - bits}"
    return plain if digits is None or len(plain) <= digits else f"{x:.{digits}g}"


def simplest(low: float, high: float, upper: bool = False) -> float:
    """Return the simplest number from low to high, in binary if that is short, else in decimal.

    >>> simplest(255.99998, 256.0), simplest(0.0999999, 0.1000001), simplest(2.9, 3.4)
    (256.0, 0.1, 3.0)
    """
    if not (np.isfinite(low) and np.isfinite(high)) or low == high:
        return float(high if np.isfinite(high) and not upper or not np.isfinite(low) else low)
    if low <= 0 <= high:
        return 0.0
    sign, a, b = (1.0, low, high) if low > 0 else (-1.0, -high, -low)
    exponent = int(np.frexp(b)[1])
    found = [b]
    for bits in range(1, 54):
        t = float(np.ldexp(np.floor(np.ldexp(b, bits - exponent)), exponent - bits))
        if t >= a:
            if bits <= 6:
                return sign * t
            found.append(t)
            break
    for digits in range(1, 17):
        t = float(f"{b:.{digits}g}")
        if a <= t <= b:
            found.append(t)
            break
    return sign * min(found, key=lambda t: len(repr(t)))


def _words(parts, noun: str) -> str:
    """Return the words of properties, and of bounds, those of one measure together."""
    said = [part.words for part in parts if isinstance(part, Property)]
    bounds = [part for part in parts if isinstance(part, _Bound)]
    limited = []
    for name in dict.fromkeys(bound.measure for bound in bounds):
        limited.append(f"{name} {_limits(name, [b for b in bounds if b.measure == name])}")
    if not noun:
        return " and ".join([*said, *limited])
    text = " that are also ".join([*said[:1], " and ".join(said[1:])][: len(said)]) or (noun if bounds else "")
    return text + "".join(f"{',' * bool(said)} {words}" for words in limited)


def _limits(name: str, bounds: list[_Bound]) -> str:
    """Return one or two bounds of a measure in words: from 2, above 2, up to 4, below 4, in the binade of 2."""
    low = next((b for b in bounds if b.lower), None)
    high = next((b for b in bounds if not b.lower), None)
    if low and high and low.value == high.value:
        return f"exactly {low.said}"
    if (
        low
        and high
        and low.exact
        and not high.exact
        and name.endswith(("size", "sizes", "magnitude is"))
        and low.value > 0
    ):
        count = np.log2(high.value / low.value)
        if np.frexp(low.value)[0] == 0.5 and count in BINADES:
            return f"{BINADES[count]} {low.said}"
    words = [f"{'from' if low.exact else 'above'} {low.said}"] if low else []
    if high:
        words += [
            f"{'to' if low else 'up to' if high.exact else ''} {'' if high.exact else 'below '}{high.said}".strip()
        ]
    return " ".join(words)


def _splits(properties, measures, inside, outside) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return ways to take what is inside apart: by a property, or where much of the outside lies between."""
    found = []
    for p in properties:
        if p.mask[inside].any() and not p.mask[inside].all() and p.cost <= 1:
            found.append((p.mask, ~p.mask))
    for m in measures[:1]:
        values = np.sort(np.unique(m.values[inside]))
        values = values[np.isfinite(values)]
        if values.size < 2:
            continue
        beyond = np.sort(m.values[outside])
        between = np.searchsorted(beyond, values[1:], side="left") - np.searchsorted(beyond, values[:-1], side="right")
        for k in np.argsort(-between, kind="stable")[:3]:
            if between[k] > 0:
                found.append((m.values <= values[k], m.values > values[k]))
    return found[:16]
