"""Defects that hold in a region alone, and what is said of failures in general.

A defect that predicts all failures, and something wrong for results that are right, may be one of a region: the
failures lie inside, what it would break outside.  The simplest defect in the simplest region is said first.

Where no known defect fits, a description says what is true of all observations: the simplest region that holds all
failures, whether every case of it fails, and how results differ from the right ones; where they differ in several ways,
the region of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from refimpl.testing.diagnosis.properties import measures, properties
from refimpl.testing.diagnosis.regions import Measure, Property, Region, region, say
from refimpl.testing.expected.behaviour import Behaviour, alike

WAYS = 4  # of being wrong that are said
LIKELIEST = 30  # defects of which regions are sought
DOUBTED = 6  # of which two regions are
ENOUGH = 1.7  # what costs less is not looked beyond
CONSTANT = re.compile(r"gives (zero|NaN|infinity|the |-?[\d.e+-]+($| whatever))")  # one value, whatever the input
ONE_VALUE = 1.5  # the cost of a mechanism in a region where one value is all that comes: whatever gives it would fit
CLOSE = 0.3  # what costs so much more than the simplest is said too


class Local(NamedTuple):
    """A sentence that explains every observation, and what it costs: less is simpler."""

    sentence: str
    cost: float


class Failures:
    """Which results are wrong, with properties and measures of all cases.

    `noun` is what a case is called; none where the words of properties say a place ("in the first row").  `what` is
    wrong of it, of so many `cases`, all if that is None.  `halves`: regions of two parts are looked for.
    """

    noun, what = "inputs", "results"
    cases: int | None = None
    halves = True
    wrong: np.ndarray
    properties: list[Property]
    measures: list[Measure]

    def region(self, inside, outside, split=False) -> Region:
        """Return the simplest region."""
        return region(self.properties, self.measures, inside, outside, split, self.noun)

    @property
    def count(self) -> str:
        """How many fail."""
        return f"{int(self.wrong.sum())} of {self.cases or self.wrong.size} {self.what} are wrong"

    def among(self, where: Region) -> str:
        """Return where failures are, as it follows "are wrong": all of a region, or among it."""
        words = where.words or (self.noun and f"{self.noun} of all kinds")
        if not words:
            return ""
        if where.pure:
            return f", all {'of ' * bool(self.noun)}{words}"
        return f", all {'among' if self.noun else 'of them'} {words} ({where.mask.sum()} in all)"

    @property
    def extent(self) -> str:
        """How many fail, and the sizes from which to which they do."""
        sizes = self.measures[0]
        failing = sizes.values[self.wrong] if self.noun else np.array([np.nan])
        if not np.isfinite(failing).all():
            return self.count
        low, high = say(failing.min(), 4), say(failing.max(), 4)
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


def in_regions(seen: Failures, own: Iterable, known: Iterable) -> list[Local]:
    """Return the sentences of defects in a region that explain everything, the simplest first.

    Pairs of a sentence and which results the defect does not predict: `own` are those read off the failures, or that
    give one value.
    """
    wrong, constant = seen.wrong, False
    candidates: list[tuple[int, int, str, bool, np.ndarray]] = []
    with np.errstate(all="ignore"):
        for is_own, defects in ((True, own), (False, known)):
            for sentence, broken in defects:
                if not broken[wrong].any():
                    constant |= is_own and bool(CONSTANT.match(sentence))
                    candidates.append((int(broken.sum()), len(candidates), sentence, is_own, broken))
    candidates.sort(key=lambda c: c[:2])
    found: list[Local] = []
    for split, most in ((False, LIKELIEST), (True, DOUBTED * seen.halves)):
        for _, _, sentence, is_own, broken in sorted(candidates[:most], key=lambda c: _cost(*c[2:4])):
            where = seen.region(wrong, broken, split)
            if where.pure:
                steps = sentence.startswith(("rounds ", "cuts ", "away ", "toward"))
                unsaid = steps or not is_own and "largest value" not in sentence  # does not say the value itself
                one = constant and unsaid and where.words and not where.words.startswith("inputs of float")
                text = f"{sentence}, only {'for ' * bool(seen.noun)}{where.words}" if where.words else sentence
                found.append(Local(text, where.cost + _cost(sentence, is_own) + ONE_VALUE * bool(one)))
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
        return 0.5 if CONSTANT.match(sentence) else 1.5 if " times the right" in sentence else 0.9
    if sentence.startswith(("is ", "computes in ", "decodes as ")):
        return 1.3
    return 1.0 if "decimal" in sentence else 0.6


# -- descriptions --------------------------------------------------------------------------------------


def described(seen: Failures, fmt, x, expected, got) -> str:
    """Return a sentence about all failures; x are inputs, None where there are several, fmt as for `ways_of`."""
    wrong = seen.wrong
    with np.errstate(all="ignore"):
        where = seen.region(wrong, ~wrong, split=True)
        ways, said = ways_of(fmt, x, expected, got, wrong), []
        for name, mask in ways[:WAYS]:
            part = seen.region(mask, ~mask)
            of = f", all of {part.words}" if part.pure and part.words and part.words != where.words else ""
            said.append(f"{name} ({int(mask.sum())}{of})" if len(ways) > 1 else name)
    return f"{seen.count}{seen.among(where)}: they are {', '.join(said)}"


def how(fmt, x: np.ndarray, expected: np.ndarray, got: np.ndarray) -> str:
    """Say how wrong results differ from right ones: the ways, the commonest first."""
    found = ways_of(fmt, x, expected, got, np.ones(got.shape, bool))
    if len(found) == 1:
        return f"they are {found[0][0]}"
    return "they are " + ", ".join(f"{name} ({int(here.sum())})" for name, here in found[:WAYS])


def ways_of(fmt, x, expected, got, wrong) -> list[tuple[str, np.ndarray]]:
    """Return how wrong results differ from right ones: the ways and their failures, the commonest first.

    Without a format results are integers or truths.
    """
    everything = np.ones(got.shape, bool)
    if fmt is None:
        ways = {
            "true instead of false": (got == 1) & (expected == 0),
            "false instead of true": (got == 0) & (expected == 1),
            "one too large": got == expected + 1,
            "one too small": got == expected - 1,
            "too large": got > expected,
            "too small": got < expected,
            "something else": everything,
        }
    else:
        plain = Behaviour(fmt)
        a, b = (plain.codes(np.abs(v)).astype(np.int64) for v in (expected, got))
        known = alike(plain.values(got), got)
        same_sign = known & np.isfinite(expected) & (np.signbit(got) == np.signbit(expected))
        ways = {
            "NaN": np.isnan(got),
            "infinity": np.isinf(got),
            "the input, not rounded": (got == x) & ~known if x is not None else ~everything,
            "no value of the format": ~known & (got != 0),
            "of the other sign": (got == -expected) & ~same_sign & (got != 0),
            "zero of the other sign": (got == 0) & (expected == 0),
            "zero": got == 0,
            "one step too far from zero": same_sign & (b == a + 1),
            "one step too near to zero": same_sign & (b == a - 1),
            "twice too large": got == 2 * expected,
            "half as large": got == expected / 2,
            "the largest value": np.abs(got) == float(fmt.max),
            "more than a step too far from zero": same_sign & (b > a),
            "more than a step too near to zero": same_sign & (b < a),
            "something else": everything,
        }
    found, left = [], wrong.copy()
    for name, mask in ways.items():
        if (left & mask).any():
            found.append((name, left & mask))
        left &= ~mask
    return sorted(found, key=lambda pair: -int(pair[1].sum()))
