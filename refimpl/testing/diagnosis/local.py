"""Defects that hold in a region alone, and what is said of failures in general.

A defect that predicts all failures, and something wrong for results that are right, may be one of a region: the
failures lie inside, what it would break outside.  The simplest defect in the simplest region is said first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from refimpl.testing.diagnosis.conjunctions import Measure, Property, Region, region
from refimpl.testing.diagnosis.properties import measures, properties

LIKELIEST = 30  # defects of which regions are sought
DOUBTED = 6  # of which two regions are
ENOUGH = 1.7  # what costs less is not looked beyond
CONSTANT = ("gives zero", "gives NaN", "gives infinity", "gives the ")
ONE_VALUE = 1.5  # the cost of a mechanism in a region where one value is all that comes: whatever gives it would fit
CLOSE = 0.3  # what costs so much more than the simplest is said too


class Local(NamedTuple):
    """A sentence that explains every observation, and what it costs: less is simpler."""

    sentence: str
    cost: float


class Failures:
    """Which results are wrong, with properties and measures of all cases; `noun` is what a case is called."""

    noun = "inputs"
    wrong: np.ndarray
    properties: list[Property]
    measures: list[Measure]

    def region(self, inside, outside, split=False) -> Region:
        """Return the simplest region."""
        return region(self.properties, self.measures, inside, outside, split, self.noun)

    @property
    def count(self) -> str:
        """How many fail."""
        return f"{int(self.wrong.sum())} of {self.wrong.size} results are wrong"

    @property
    def extent(self) -> str:
        """How many fail, and the sizes from which to which they do."""
        sizes = self.measures[0]
        failing = sizes.values[self.wrong]
        if not np.isfinite(failing).all():
            return self.count
        low, high = f"{failing.min():.7g}", f"{failing.max():.7g}"
        return f"{self.count}, {sizes.words} {low}" + f" to {high}" * (low != high)


class Observations(Failures):
    """All observations of a rounding (route, inputs, expected, got) in arrays."""

    def __init__(self, behaviour, asked):
        self.behaviour, self.asked = behaviour, asked
        self.x = np.concatenate([s.x.astype(np.float64) for s in asked])
        self.expected, self.got = (np.concatenate([getattr(s, name) for s in asked]) for name in ("expected", "got"))
        self.itemsizes = np.concatenate([np.full(s.x.size, s.x.dtype.itemsize) for s in asked])
        with np.errstate(all="ignore"):
            self.wrong = ~behaviour.same(self.x, self.expected, self.got)

    @cached_property
    def properties(self) -> list[Property]:  # type: ignore[override]
        """The properties of inputs."""
        return properties(self.behaviour, self.x, self.expected, self.itemsizes)

    @cached_property
    def measures(self) -> list[Measure]:  # type: ignore[override]
        """The measures of inputs."""
        return measures(self.behaviour, self.x, self.expected)


def in_regions(seen: Failures, own: Sequence, known: Sequence, breaks: Callable) -> list[Local]:
    """Return the sentences of defects in a region that explain everything, the simplest first.

    `own` are defects read off the failures, `known` others; `breaks(defect)` tells which results it does not predict.
    """
    wrong, candidates = seen.wrong, []
    constant = any(defect.sentence.startswith(CONSTANT) for defect in own)
    for order, defect in enumerate([*own, *known]):
        with np.errstate(all="ignore"):
            broken = breaks(defect)
        if not broken[wrong].any():
            candidates.append((int(broken.sum()), order, defect, broken))
    candidates.sort(key=lambda c: c[:2])
    found: list[Local] = []
    for split, most in ((False, LIKELIEST), (True, DOUBTED)):
        likely = sorted(candidates[:most], key=lambda c: _cost(c[2].sentence, c[1] < len(own)))
        for _, order, defect, broken in likely:
            where = seen.region(wrong, broken, split)
            if where.pure:
                one = constant and order >= len(own) and where.words and not where.words.startswith("inputs of float")
                text = f"{defect.sentence}, only for {where.words}" if where.words else defect.sentence
                found.append(Local(text, where.cost + _cost(defect.sentence, order < len(own)) + ONE_VALUE * bool(one)))
                if found[-1].cost < ENOUGH:
                    break
        if found and min(f.cost for f in found) < 4:
            break
    found.sort(key=lambda f: f.cost)
    best = list({f.sentence: f for f in found if f.cost <= found[0].cost + CLOSE}.values())
    return [f._replace(sentence=f"{f.sentence} ({seen.extent})") for f in best[:2]]


def _cost(sentence: str, own: bool) -> float:
    """Return what it costs to believe in a defect: one value for all is the simplest, another format the least so."""
    if own:
        return 0.5 if sentence.startswith(CONSTANT) else 0.9
    if sentence.startswith(("is ", "computes in ", "decodes as ")):
        return 1.3
    return 1.0 if "decimal" in sentence else 0.6


def among(where: Region, wrong: np.ndarray, noun: str) -> str:
    """Return where failures are: all of a region, or among it."""
    words = where.words or f"{noun} of all kinds"
    if where.pure:
        return f"all of {words}"
    return f"all among {words} ({where.mask.sum()} in all)"
