"""Where something holds: named regions of what was seen, and the simplest that holds one set and stays in another.

A region is a boolean array that broadcasts to the observations.  Those of numbers have bounds that are found: the
roundest that separate what must be inside from what must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

MOST = 60  # regions that are put together
NARROWER = 0.9  # a further region is said only if what is left is smaller
SAMPLE = 4000  # of what must not be inside, that they are held against first
AND = " and "
Named = tuple[str, np.ndarray]


def where(must: np.ndarray, may: np.ndarray, regions: Sequence[Named], most: int = 3) -> str | None:
    """Return words for the simplest region, of up to so many together, that holds all of `must` and is within `may`.

    >>> x = np.arange(-3.0, 4.0)
    >>> where(x < -1, x < 0, [("positive", x > 0), ("negative", x < 0)])
    'negative'
    """
    holding = [(words, region) for words, region in regions if not (must & ~region).any()][:MOST]
    at = np.flatnonzero(np.broadcast_to(~may, must.shape))
    if not at.size:
        return "everywhere"
    few = at[:: max(1, at.size // SAMPLE)]
    inside = [np.broadcast_to(region, must.shape).reshape(-1)[few] for _, region in holding]
    for count in range(1, most + 1):
        for group in combinations(range(len(holding)), count):
            if np.logical_and.reduce([inside[i] for i in group]).any():
                continue
            left = ~may
            for i in group:
                left = left & holding[i][1]
            if not left.any():
                return AND.join(holding[i][0] for i in group)
        if inside and np.logical_and.reduce(inside).any():
            return None
    return None


def smallest(must: np.ndarray, regions: Sequence[Named], most: int = 3) -> tuple[str, bool]:
    """Return words for the smallest region of a few together that holds all of `must`, and whether it is no larger."""
    holding = [(words, region) for words, region in regions if not (must & ~region).any()]
    best: list[str] = []
    inside = np.ones(must.shape, bool)
    for _ in range(most):
        sizes = [(np.count_nonzero(inside & region), i) for i, (_, region) in enumerate(holding)]
        if not sizes:
            break
        size, i = min(sizes)
        if size >= NARROWER * np.count_nonzero(inside):
            break
        inside = inside & holding[i][1]
        best.append(holding[i][0])
    return AND.join(best), bool(must[inside].all())


def among(words: str, every: bool) -> str:
    """Return what follows "are wrong": the words of a region, and whether all that is in it is; nothing for none."""
    return words and f", {'all' if every else 'all of them among those'} {words}"


def bounds(value: np.ndarray, must: np.ndarray, may: np.ndarray, say: Callable) -> Iterator[Named]:
    """Yield the regions above and below what must be inside, of numbers that are not NaN.

    `say` puts a relation (``at least``, ``below``, ...) and a bound in words.
    """
    value = np.broadcast_to(value, must.shape)
    inside, outside = value[must], value[~may]
    if not inside.size or np.isnan(inside).any():
        return
    low, high = inside.min(), inside.max()
    less, more = outside[outside < low], outside[outside > high]
    if less.size:
        bound = roundest(less.max(), low)
        yield say("at least", bound), value >= low
    if more.size:
        bound = roundest(high, more.min())
        yield say("below", bound), value <= high


def said_bound(bound: float) -> str:
    """Return a bound in words: powers of two far from one as such."""
    m, e = np.frexp(bound)
    return f"2^{e - 1}" if m == 0.5 and abs(e - 1) > 12 else f"{bound:.9g}"


def roundest(low: float, high: float) -> float:
    """Return the number of fewest bits above low, at most high.

    >>> roundest(0.9, 1.3), roundest(447.0, 448.0), roundest(0.9375, 0.97)
    (1.0, 448.0, 0.96875)
    """
    for bits in range(1, 12):
        found = _at_most(high, bits)
        if low < found:
            return found
    return float(high)


def _at_most(x: float, bits: int) -> float:
    """Return the largest number of so many significant bits that is not above x."""
    if x == 0 or not np.isfinite(x):
        return float(x)
    m, e = np.frexp(x)
    return float(np.ldexp(np.floor(np.ldexp(m, bits)), e - bits))
