"""What is common to implementations of scaled formats: blocks that share a scale, scaled integers.

Their results depend on a scale beside the format, so that the case groups and laws of other formats do
not fit.  A `Scaled` brings its own: groups of inputs, what is expected of them, and known defects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from refimpl.testing.checks.checks import Check, Seen, Tally, check_of_use, returns
from refimpl.testing.expected.behaviour import alike
from refimpl.testing.implementations.findings import Finding


class Group(NamedTuple):
    """A named group of inputs: `arrays(dtype)` is a list of them, each for one call."""

    name: str
    statement: str
    arrays: Callable


class ScaledLaw(NamedTuple):
    """A named property: `broken(q, x)` returns results and where they break it."""

    name: str
    statement: str
    broken: Callable


class Scaled(ABC):
    """What an implementation of a scaled format is expected to do; see the subclasses."""

    is_stochastic = False
    random_bits = None

    @abstractmethod
    def groups(self) -> tuple[Group, ...]:
        """Return the case groups."""

    @abstractmethod
    def laws(self) -> tuple[ScaledLaw, ...]:
        """Return the laws that hold for these rules."""

    @abstractmethod
    def values(self, x: np.ndarray) -> np.ndarray:
        """Return the expected results of x as float64, shape of x."""

    def read(self, codes: np.ndarray) -> np.ndarray:
        """Return what codes stand for, where a code stands for something by itself."""
        raise TypeError(f"{self} has no codes that mean something alone")

    @abstractmethod
    def defects(self) -> tuple[tuple[str, Callable], ...]:
        """Return known defects: a sentence, and what one with it gives for x."""

    @abstractmethod
    def explain(self, x: np.ndarray, at: int, got: float) -> str:
        """Explain the result of one element of x (counted in C order) in lines of text."""

    def same(self, x, a, b) -> np.ndarray:
        """Tell where results a and b are one and the same; minus zero is not zero."""
        return alike(a, b)

    def narrow(self, y: np.ndarray, dtype) -> np.ndarray:
        """Return results as the dtype of the inputs can hold them, as float64."""
        with np.errstate(over="ignore"):
            return y.astype(dtype).astype(np.float64)

    def diagnose(self, seen: list) -> tuple[str, ...]:
        """Return the sentences of the defects that explain all observations."""
        found = []
        for sentence, predict in self.defects():
            if all(self.same(s.x, self.narrow(predict(s.x), s.x.dtype), s.got).all() for s in seen):
                found.append(sentence)
        return tuple(dict.fromkeys(found))[:3]


def scaled_checks(probe) -> list[Check]:
    """Return the checks for an implementation of a scaled format."""
    why = probe.takes_no_values
    example = probe.behaviour.groups()[0].arrays(np.dtype(np.float32))[0][:2]
    found = [check_of_use(probe, lambda probe, tally: returns(probe, tally, example))]
    for group in probe.behaviour.groups():
        found.append(Check(group.name, "case group", group.statement, _of_group(group), why))
    for law in probe.behaviour.laws():
        found.append(Check(law.name, "law", law.statement, _of_law(law), why))
    return found


def _of_group(group: Group):
    def run(probe, tally: Tally) -> None:
        behaviour = probe.behaviour
        for dtype in probe.inputs:
            for x in group.arrays(np.dtype(dtype)):
                expected = behaviour.narrow(behaviour.values(x), dtype)
                for route in probe.routes:
                    try:
                        got = behaviour.narrow(probe.ask(route, x), dtype)
                    except Finding as found:
                        _find(tally, route, found)
                        return
                    _count(probe, tally, route, x, ~behaviour.same(x, expected, got), got)
                    tally.seen.append(Seen(route, x, expected, got))

    return run


def _of_law(law: ScaledLaw):
    def run(probe, tally: Tally) -> None:
        for dtype in probe.inputs:
            for x in (x for g in probe.behaviour.groups() for x in g.arrays(np.dtype(dtype))):
                for route in probe.routes:
                    try:
                        y, bad = law.broken(lambda v, r=route: probe.ask(r, v), x)
                    except Finding as found:
                        _find(tally, route, found)
                        return
                    _count(probe, tally, route, x, bad, y)

    return run


def _find(tally: Tally, route: str, found: Finding) -> None:
    """Count a finding; a row that alone does it is shown by its numbers."""
    if found.input is not None and found.input.ndim > 1:
        row = ", ".join(f"{value:g}" for value in found.input[0][:8])
        found.text += f"\nfor a row that begins {row}"
        found.input = None
    tally.find(route, found)


def _count(probe, tally, route, x, bad, got) -> None:
    tally.count(
        route, x.reshape(-1), bad.reshape(-1), lambda i: probe.behaviour.explain(x, i, float(got.reshape(-1)[i]))
    )
