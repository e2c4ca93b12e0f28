"""What is common to implementations of scaled formats: blocks that share a scale, scaled integers.

Their results depend on a scale beside the format, so that the case groups and laws of other formats do
not fit.  A `Scaled` brings its own: groups of inputs, what is expected of them, and the diagnosis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from refimpl.testing.checks import arrays
from refimpl.testing.checks.checks import (
    KEPT,
    Check,
    Seen,
    Tally,
    check_of_arrays,
    check_of_keeping,
    check_of_use,
    complexity,
    returns,
)
from refimpl.testing.diagnosis.diagnosis import Diagnosis
from refimpl.testing.expected.behaviour import alike
from refimpl.testing.implementations.findings import Finding

MOST_FOR_LAWS = 20_000  # elements of one dtype


class Group(NamedTuple):
    """A named group of inputs: `arrays(dtype)` is a list of them, each for one call; of some an implementation may
    refuse by raising.
    """

    name: str
    statement: str
    arrays: Callable
    optional: bool = False


class ScaledLaw(NamedTuple):
    """A named property: `broken(q, x)` returns results and where they break it; `of(x)` is what is asked for first."""

    name: str
    statement: str
    broken: Callable
    of: Callable = np.asarray


class Scaled(ABC):
    """What an implementation of a scaled format is expected to do; see the subclasses."""

    is_stochastic = False

    @property
    def has_arrays(self) -> bool:
        """Whether inputs have to be of one shape, that of scales in an array."""
        return False

    @property
    def is_elementwise(self) -> bool:
        """Whether a result depends on its own input alone, wherever it stands."""
        return False

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

    @abstractmethod
    def explain(self, x: np.ndarray, at: int, got: float) -> str:
        """Explain the result of one element of x (counted in C order) in lines of text."""

    @abstractmethod
    def diagnose(self, seen: list[Seen]) -> Diagnosis:
        """Return the sentences of the defects that explain all observations, or what describes the failures."""

    def hold_to_the_definition(self) -> None:  # noqa: B027
        """Raise RuntimeError where the expected side, if it is not `refimpl.spec` itself, differs on a sample."""

    def code_checks(self) -> tuple[Check, ...]:
        """Return checks of implementations that take or return codes."""
        return ()

    def ask(self, probe, route: str, x: np.ndarray) -> np.ndarray:
        """Return the values (float64) that an implementation rounds x to; raise Finding."""
        return probe.ask(route, x)

    def same(self, x, a, b) -> np.ndarray:
        """Tell where results a and b are one and the same; minus zero is not zero."""
        return alike(a, b)

    def narrow(self, y: np.ndarray, route: str, dtype) -> np.ndarray:
        """Return results as the dtype of the inputs can hold them, as float64; codes stand for what they do."""
        with np.errstate(over="ignore"):
            return y.astype(dtype).astype(np.float64) if route == "quantize" else y


def scaled_checks(probe) -> list[Check]:
    """Return the checks for an implementation of a scaled format."""
    why = probe.takes_no_values
    found: list[Check] = []
    if not probe.behaviour.has_arrays:
        example = probe.behaviour.groups()[0].arrays(np.dtype(np.float32))[0][:2]
        found.append(check_of_use(probe, lambda probe, tally: returns(probe, tally, example)))
    found.append(check_of_keeping(probe, lambda dtype: probe.behaviour.groups()[0].arrays(np.dtype(dtype))[0]))
    for group in probe.behaviour.groups():
        found.append(Check(group.name, "case group", group.statement, _of_group(group), why))
    for check in probe.behaviour.code_checks():
        lacks = None if probe.implementation.has(check.skipped) else f"has no {check.skipped}"
        found.append(check._replace(skipped=lacks))
    for law in probe.behaviour.laws():
        found.append(Check(law.name, "law", law.statement, _of_law(law), why))
    if probe.behaviour.is_elementwise:
        found.append(check_of_arrays(probe, lambda dtype: _mixed(probe, dtype), probe.behaviour.explain))
    return found


def _mixed(probe, dtype) -> np.ndarray:
    """Return inputs, hard ones and simple ones in turn."""
    x = every(probe.behaviour, dtype)
    return arrays.mixed(x, np.argsort(complexity(x), kind="stable"))


def every(behaviour: Scaled, dtype) -> np.ndarray:
    """Return the inputs of all groups in one dimension."""
    return np.concatenate([x.reshape(-1) for group in behaviour.groups() for x in group.arrays(np.dtype(dtype))])


def _of_group(group: Group):
    def run(probe, tally: Tally) -> None:
        behaviour = probe.behaviour
        for dtype in probe.inputs:
            for x in group.arrays(np.dtype(dtype)):
                exact = behaviour.values(x)
                for route in probe.routes:
                    expected = behaviour.narrow(exact, route, dtype)
                    try:
                        got = behaviour.narrow(behaviour.ask(probe, route, x), route, dtype)
                    except Finding as found:
                        if group.optional and found.text.startswith("raised") and not tally.failed:
                            tally.skipped = f"refused: {found.text}"
                            return
                        tally.find(route, found)
                        return
                    _count(probe, tally, route, x, ~behaviour.same(x, expected, got), got)
                    tally.seen.append(Seen(route, x, expected, got))

    return run


def _of_law(law: ScaledLaw):
    def run(probe, tally: Tally) -> None:
        for dtype in probe.inputs:
            for x in _for_laws(probe.behaviour, np.dtype(dtype)):
                for route in probe.routes:
                    try:
                        y, bad = law.broken(lambda v, r=route: probe.behaviour.ask(probe, r, v), x)
                    except Finding as found:
                        tally.find(route, found)
                        return
                    _count(probe, tally, route, law.of(x), bad, y)

    return run


def _for_laws(behaviour: Scaled, dtype) -> Iterator[np.ndarray]:
    """Yield calls of every group, some of each."""
    groups = behaviour.groups()
    for group in groups:
        if group.optional or group.name == "not_finite":  # what becomes of those may be left open
            continue
        calls = group.arrays(dtype)
        left = MOST_FOR_LAWS // len(groups)
        for x in calls[:: max(1, sum(x.size for x in calls) // left)]:
            yield x if x.ndim == 1 else x[: max(32, left // x.shape[-1] // 32 * 32)]


def _count(probe, tally: Tally, route, x, bad, got) -> None:
    """Count cases; once enough are kept, one of a call at most is explained, where it is simpler than all."""
    flat, wrong = x.reshape(-1), np.flatnonzero(bad)
    shown = bad.reshape(-1).copy()
    if len(tally.simplest) >= KEPT and wrong.size:
        shown[:] = False
        at = wrong[np.argmin(complexity(flat[wrong]))]
        shown[at] = complexity(flat[at : at + 1])[0] < tally.simplest[0][0]
    tally.failed += wrong.size - int(shown.sum())
    tally.count(route, flat, shown, lambda i: probe.behaviour.explain(x, i, float(got.reshape(-1)[i])))
