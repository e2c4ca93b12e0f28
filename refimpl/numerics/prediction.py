"""Does a metric measured before training predict the quality after it?

Policies of every quality are trained: each candidate for every operand, and mixtures drawn at random;
`predictive_power` is the rank correlation of their metric with what they came to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

import numpy as np

from refimpl import _arguments as check
from refimpl._files import add_record, records
from refimpl.nn import checks
from refimpl.nn.layers import Sequential
from refimpl.nn.precision import Precision
from refimpl.nn.training import Result, fit
from refimpl.numerics.evidence import Evidence, Metric
from refimpl.numerics.selection import Assignment, check_evidence, uniform

LADDER = (
    "int2",
    "int3",
    "int4",
    "int5",
    "int6",
    "int8",
    "e2m1fn",
    "e2m2",
    "e3m1",
    "e3m2fn",
    "e2m3fn",
    "e3m3",
    "e4m1",
    "e4m2",
    "e5m1",
    "e4m3",
    "e5m2",
)
"""Formats from hopeless to harmless."""

ASSIGNMENT = "what refimpl.numerics.choose returns"


@dataclass(frozen=True)
class Trained:
    """What a policy came to.

    Attributes
    ----------
    name : str
    metric : float
        Mean over the operands.
    test_error, loss : float
        Means over seeds, of the fraction misclassified and of the last epoch's loss.
    diverged : int
        Seeds whose training diverged; their loss counts as that of guessing.
    test_errors : tuple of float
        Of each seed: those of two policies trained from the same seeds are paired.
    """

    name: str
    metric: float
    test_error: float
    loss: float
    diverged: int
    test_errors: tuple[float, ...]


def train(make: Callable, task, assignment: Assignment | None, *, name: str = "", seeds=(0,), **training) -> Trained:
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

    Raises
    ------
    TypeError, ValueError
        Where `make` makes nothing, for something else than an assignment, and without seeds; as `refimpl.nn.fit`.

    Examples
    --------
    >>> import refimpl as rf
    >>> found = train(rf.nn.mlp, rf.data.load("digits"), None, epochs=1, seeds=(0, 1))
    >>> len(found.test_errors)
    2
    """
    if assignment is not None:
        check.instance("train", "assignment", assignment, Assignment, ASSIGNMENT)
    seeds = _maker_and_seeds("train", make, seeds)
    policy = Precision(loss_scale=1.0) if assignment is None else assignment.precision()
    results = [fit(make(), task, precision=policy, seed=seed, **training) for seed in seeds]
    return Trained(
        name,
        0.0 if assignment is None else assignment.summary(),
        float(np.mean([r.test_error for r in results])),
        float(np.mean([_loss(r, task) for r in results])),
        sum(r.diverged for r in results),
        tuple(float(r.test_error) for r in results),
    )


def _maker_and_seeds(verb: str, make, seeds) -> list[int]:
    """Return the seeds, refusing a network instead of what makes one."""
    if isinstance(make, Sequential) or not callable(make):
        raise check.wrong_kind(verb, "make", make, "a function that returns a new network, such as refimpl.nn.mlp")
    seeds = check.sequence(verb, "seeds", seeds, "[0, 1]")
    return [check.integer(verb, f"seeds[{i}]", seed, check.NOT_NEGATIVE) for i, seed in enumerate(seeds)]


def _loss(result: Result, task) -> float:
    guessing = float(np.log(task.classes))
    return guessing if result.diverged else min(result.history[-1]["loss"], guessing)


def policies(
    evidence: Evidence, count: int, *, metric: Metric = "backward error", seed: int = 0
) -> dict[str, Assignment]:
    """Return `count` assignments by name: each candidate for everything, then candidates drawn per operand.

    Raises
    ------
    TypeError, ValueError
        For other things than evidence and a metric, a count below 1, a seed below 0.

    Examples
    --------
    >>> import refimpl as rf
    >>> evidence = rf.numerics.measure(rf.nn.mlp(), rf.data.load("digits"), rf.numerics.candidates(), steps=1)
    >>> list(policies(evidence, 4))
    ['int8', 'float8_e4m3fn', 'float8_e5m2', 'mixture 0']
    """
    check_evidence("policies", evidence, metric)
    count = check.integer("policies", "count", count, check.Interval(1))
    seed = check.integer("policies", "seed", seed, check.NOT_NEGATIVE)
    known = [uniform(evidence, i, metric) for i in range(len(evidence.candidates))]
    found = {evidence.candidates[i].name: known[i] for i in range(min(count, len(known)))}
    rng = np.random.default_rng(seed)
    for i in range(count - len(known)):
        drawn = rng.integers(len(known), size=len(evidence.operands))
        choices = tuple(known[k].choices[place] for place, k in enumerate(drawn))
        found[f"mixture {i}"] = Assignment(evidence, metric, np.inf, choices)
    return found


def train_policies(
    make: Callable,
    task,
    assignments: dict[str, Assignment],
    *,
    journal: str | os.PathLike | None = None,
    show: bool = False,
    **training,
) -> list[Trained]:
    """Train in each assignment; with a journal, those are not trained again that stand in it.

    Parameters
    ----------
    make, task, training
        As for `train`.
    assignments : dict of name to Assignment
    journal : path, optional
        A file to which each result is added, a line of JSON with a checksum, the moment it is there.
    show : bool
        Show a bar of the policies.

    Raises
    ------
    TypeError, ValueError
        As `train`.

    Examples
    --------
    >>> import refimpl as rf
    >>> task = rf.data.load("digits")
    >>> evidence = rf.numerics.measure(rf.nn.mlp(), task, rf.numerics.candidates(), steps=1)
    >>> found = train_policies(rf.nn.mlp, task, {"all int8": rf.numerics.uniform(evidence, 0)}, epochs=1)
    >>> [trained.name for trained in found]
    ['all int8']
    """
    verb = "train_policies"
    check.instance(verb, "assignments", assignments, dict, "what refimpl.numerics.policies returns")
    for name, assignment in assignments.items():
        check.instance(verb, f"assignments[{name!r}]", assignment, Assignment, ASSIGNMENT)
    _maker_and_seeds(verb, make, training.get("seeds", (0,)))
    checks.model_and_task(make(), task)
    from tqdm.auto import tqdm

    known = {}
    for record in [] if journal is None else records(journal):
        if record.keys() == {"key", *(field.name for field in fields(Trained))}:
            key = record.pop("key")
            known[key] = Trained(**record | {"test_errors": tuple(record["test_errors"])})
    found = []
    for name, assignment in tqdm(assignments.items(), unit="policy", disable=not show, leave=False):
        text = f"{task.name} {task.fingerprint} {make()!r} {assignment.precision()} {assignment.metric} {training}"
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        if key not in known:
            known[key] = train(make, task, assignment, name=name, **training)
            if journal is not None:
                add_record(journal, {"key": key, **asdict(known[key])})
        found.append(known[key])
    return found


@dataclass(frozen=True)
class Power:
    """How well a metric predicts quality: Spearman's rank correlation.

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
        return (
            f"rank correlation {self.correlation:.2f} "
            f"(95 % {self.low:.2f} to {self.high:.2f}, {self.policies} policies)"
        )


def predictive_power(metric, quality, *, resamples: int = 2000, seed: int = 0) -> Power:
    """Return the rank correlation of a metric with a quality, and its interval over policies drawn anew.

    Parameters
    ----------
    metric, quality : array_like of float, shape (policies,)
        At least 4, finite, not all the same.
    resamples : int
        Of the bootstrap (percentile), each of as many policies, drawn with replacement.
    seed : int

    Raises
    ------
    TypeError, ValueError
        For fewer policies, other shapes, values that are not finite numbers or all the same.

    Examples
    --------
    >>> print(predictive_power([1, 2, 3, 4, 5], [1, 2, 3, 5, 4], seed=1).correlation.__round__(6))
    0.9
    """
    from scipy import stats

    caller = "predictive_power"
    x = check.numbers(caller, "metric", metric, (None,))
    y = check.numbers(caller, "quality", quality, x.shape)
    resamples = check.integer(caller, "resamples", resamples, check.Interval(1))
    seed = check.integer(caller, "seed", seed, check.NOT_NEGATIVE)
    for name, values in (("metric", x), ("quality", y)):
        check.finite(caller, name, values)
        if len(values) < 4 or np.ptp(values) == 0:
            raise check.wrong_value(caller, name, values.tolist(), "at least 4 numbers, not all the same")
    drawn = np.random.default_rng(seed).integers(len(x), size=(resamples, len(x)))
    ranks = [stats.rankdata(values[drawn], axis=1) for values in (x, y)]
    rx, ry = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    size = np.sqrt((rx**2).sum(axis=1) * (ry**2).sum(axis=1))
    usual = size > 0  # not where one policy alone was drawn
    low, high = np.quantile((rx * ry).sum(axis=1)[usual] / size[usual], [0.025, 0.975])
    return Power(float(stats.spearmanr(x, y).statistic), float(low), float(high), len(x))
