"""A format for every operand of a network: the cheapest whose metric is within a tolerance.

`choose` makes an `Assignment` of evidence; its `precision()` is a policy that rounds every operand of
every product, forward and backward, and nothing else; `compare` trains in policies and in float32;
`predictive_power` asks whether the metric, measured before training, foretold the quality after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from refimpl.nn.precision import Precision, Rounding
from refimpl.nn.training import Result, fit
from refimpl.numerics.evidence import METRICS, Candidate, Evidence
from refimpl.peppp.memory import Item, Memory

KINDS = {"left operand": "activations", "right operand": "weights",
         "product gradient": "activation gradients"}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """The candidate an operand was given.

    Attributes
    ----------
    layer, role : str
    candidate : Candidate
    value : float
        The metric's.
    bits : float
        Of an element, with its share of the scales.
    """

    layer: str
    role: str
    candidate: Candidate
    value: float
    bits: float


@dataclass(frozen=True)
class Assignment:
    """A candidate for every operand.

    Attributes
    ----------
    evidence : Evidence
    metric : str
    tolerance : float
    choices : tuple of Choice
        In the order of the evidence.
    """

    evidence: Evidence
    metric: str
    tolerance: float
    choices: tuple[Choice, ...]

    def precision(self) -> Precision:
        """Return the policy that rounds every operand as chosen, and nothing else."""
        layers: dict[str, dict[str, Rounding]] = {}
        for choice in self.choices:
            layers.setdefault(choice.layer, {})[choice.role] = choice.candidate.rounding
        return Precision(layers=layers, loss_scale=1.0)

    def memory(self, bits: float | None = None) -> Memory:
        """Return what the operands take, those of one batch: each tensor once for each format it is in.

        `bits` is the width of every element instead, such as 32 for what float32 takes.
        """
        items, held = [], set()
        for choice in self.choices:
            operand = self.evidence.operands[choice.layer, choice.role]
            what = operand.shared or (choice.layer, choice.role)
            kind = choice.candidate if bits is None else None
            if (what, kind) not in held:
                held.add((what, kind))
                items.append(Item(choice.layer, KINDS[choice.role], operand.size,
                                  choice.bits if bits is None else bits))  # fmt: skip
        return Memory(tuple(items))

    def counts(self) -> dict[str, int]:
        """Return how many operands were given each candidate."""
        names = [c.name for c in self.evidence.candidates]
        given = [choice.candidate.name for choice in self.choices]
        return {name: given.count(name) for name in names if name in given}


def choose(evidence: Evidence, *, tolerance: float, metric: str = "backward error") -> Assignment:
    """Give each operand the candidate of fewest bits within the tolerance; of equal ones the best.

    Parameters
    ----------
    evidence : Evidence
    tolerance : float
        The metric may be at most this; for ``noise``, minus the least ratio in decibels.
    metric : str
        One of `METRICS`.

    Raises
    ------
    ValueError
        For an unknown metric, a tolerance that is no number, and where no candidate is within it for
        some operand: that operand is named for which the best candidate is farthest off.

    Examples
    --------
    >>> import refimpl as rf
    >>> from refimpl.numerics import candidates, measure
    >>> evidence = measure(rf.nn.mlp(), rf.data.load("digits"), candidates(), steps=1)
    >>> choose(evidence, tolerance=0.01).counts()
    {'int8': 8, 'float8_e4m3fn': 1}
    """
    if metric not in METRICS:
        raise ValueError(f"choose: unknown metric {metric!r}; one of {', '.join(METRICS)}")
    if not np.isfinite(tolerance):
        raise ValueError(f"choose: tolerance is {tolerance}; it must be a finite number")
    hardest = max(evidence.operands, key=lambda key: evidence.value(key, metric).min())
    values = evidence.value(hardest, metric)
    if values.min() > tolerance:
        best = int(values.argmin())
        raise ValueError(
            f"choose: no candidate has a {metric} of at most {tolerance:g} for the {hardest[1]} of "
            f"{hardest[0]!r}; the closest is {evidence.candidates[best].name} with {values[best]:.4g}: "
            "raise the tolerance or add candidates of more bits"
        )
    choices = []
    for key, operand in evidence.operands.items():
        how = {"of_images": operand.of_images, "role": operand.role}
        costs = [
            (candidate.bits(operand.shape, **how), value, i)
            for i, (candidate, value) in enumerate(
                zip(evidence.candidates, evidence.value(key, metric), strict=True)
            ) if value <= tolerance
        ]  # fmt: skip
        bits, value, i = min(costs)
        choices.append(Choice(*key, evidence.candidates[i], float(value), bits))
    return Assignment(evidence, metric, float(tolerance), tuple(choices))


def uniform(evidence: Evidence, place: int, metric: str = "backward error") -> Assignment:
    """Return the assignment of one candidate, by its place, to every operand."""
    candidate = evidence.candidates[place]
    choices = tuple(
        Choice(*key, candidate, float(evidence.value(key, metric)[place]),
               candidate.bits(operand.shape, of_images=operand.of_images, role=operand.role))
        for key, operand in evidence.operands.items()
    )  # fmt: skip
    return Assignment(evidence, metric, np.inf, choices)


@dataclass(frozen=True)
class Trained:
    """What a policy came to.

    Attributes
    ----------
    name : str
    metric : float
        Mean over the operands.
    test_error, loss : float
        Means over seeds, of the share misclassified and of the last epoch's loss.
    diverged : int
        Seeds whose training diverged; their loss counts as that of guessing.
    """

    name: str
    metric: float
    test_error: float
    loss: float
    diverged: int


def summary(assignment: Assignment) -> float:
    """Return the mean of the metric over the operands; noise is counted as -200 dB at least.

    To first order the errors that the operands bring into a product add up.
    """
    values = [choice.value for choice in assignment.choices]
    return float(np.mean(np.maximum(values, -200.0)))


def train(
    make: Callable, task, assignment: Assignment | None, *, name: str = "", seeds=(0,), **training
) -> Trained:
    """Train in an assignment, or in float32 without one, for each seed.

    Parameters
    ----------
    make : callable
        Returns a new network.
    task : Task
    assignment : Assignment, optional
    name : str
    seeds : sequence of int
    training
        As for `refimpl.nn.fit`.
    """
    policy = Precision(loss_scale=1.0) if assignment is None else assignment.precision()
    results = [fit(make(), task, precision=policy, seed=seed, **training) for seed in seeds]
    return Trained(name, 0.0 if assignment is None else summary(assignment),
                   float(np.mean([r.test_error for r in results])),
                   float(np.mean([_loss(r, task) for r in results])),
                   sum(r.diverged for r in results))  # fmt: skip


def _loss(result: Result, task) -> float:
    guessing = float(np.log(task.classes))
    return guessing if result.diverged else min(result.history[-1]["loss"], guessing)


def policies(
    evidence: Evidence, count: int, *, metric: str = "backward error", seed: int = 0
) -> Iterator[tuple[str, Assignment]]:
    """Yield so many assignments: each candidate for everything, then candidates drawn per operand.

    Raises
    ------
    ValueError
        For a count below 1.
    """
    if count < 1:
        raise ValueError(f"policies: count is {count}; it must be at least 1")
    known = [uniform(evidence, i, metric) for i in range(len(evidence.candidates))]
    for i, assignment in enumerate(known[:count]):
        yield evidence.candidates[i].name, assignment
    rng = np.random.default_rng(seed)
    for i in range(count - len(known)):
        drawn = rng.integers(len(known), size=len(evidence.operands))
        choices = tuple(known[k].choices[place] for place, k in enumerate(drawn))
        yield f"mixture {i}", Assignment(evidence, metric, np.inf, choices)


@dataclass(frozen=True)
class Power:
    """How well a metric foretells quality: Spearman's rank correlation.

    Attributes
    ----------
    correlation : float
        Near 1 if a larger metric goes with a worse network.
    low, high : float
        The middle 95 percent of resampled correlations.
    policies : int
    """

    correlation: float
    low: float
    high: float
    policies: int

    def __str__(self) -> str:
        return (f"rank correlation {self.correlation:.2f} "
                f"(95 % {self.low:.2f} to {self.high:.2f}, {self.policies} policies)")  # fmt: skip


def predictive_power(metric, quality, *, resamples: int = 2000, seed: int = 0) -> Power:
    """Return the rank correlation of a metric with a quality, and its interval over policies drawn anew.

    Parameters
    ----------
    metric, quality : array_like of float, shape (policies,)
        At least 4, finite, not all the same.
    resamples : int
        Of the bootstrap (percentile): so many times as many policies are drawn with replacement.
    seed : int

    Raises
    ------
    ValueError
        For fewer policies, other shapes, values that are not finite or all the same.

    Examples
    --------
    >>> print(predictive_power([1, 2, 3, 4, 5], [1, 2, 3, 5, 4], seed=1).correlation.__round__(6))
    0.9
    """
    from scipy import stats

    x, y = np.asarray(metric, float), np.asarray(quality, float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 4:
        raise ValueError(f"predictive_power: shapes {x.shape} and {y.shape}; give at least 4 policies, "
                         "a metric and a quality for each")  # fmt: skip
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError(
            "predictive_power: metric and quality must be finite and not the same for all policies"
        )
    rng, found = np.random.default_rng(seed), []
    while len(found) < resamples:
        drawn = rng.integers(len(x), size=len(x))
        if np.ptp(x[drawn]) > 0 and np.ptp(y[drawn]) > 0:
            found.append(stats.spearmanr(x[drawn], y[drawn]).statistic)
    low, high = np.quantile(found, [0.025, 0.975])
    return Power(float(stats.spearmanr(x, y).statistic), float(low), float(high), len(x))
