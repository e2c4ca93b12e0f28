"""Choose measurements one after the other by what a Gaussian belief expects to gain.

Each function is a *strategy*: a generator that yields columns to measure and is sent their errors.
Those that do not look at the errors yield all columns at once, so that they can be trained in
parallel.

Notation
--------
m, S     mean and covariance of the belief (`refimpl.peppp.estimators.belief`)
l_c      luck: variance of a single training of column c about its expected error
w_c      weight of column c: how often it stood on the frontier of another task
caps     the distinct memory values; under each cap a configuration is to be recommended

*Source*: Frazier, Powell and Dayanik, The knowledge-gradient
policy for correlated normal beliefs (2009); Jones, Schonlau and Welch, Efficient global
optimization (1998).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import ArrayLike, NDArray

from refimpl.peppp import frontier as fronts
from refimpl.peppp.checks import measurements
from refimpl.peppp.estimators.belief import Belief
from refimpl.peppp.estimators.embedding import first_largest

__all__ = ["frontier_frequency", "knowledge_gradient", "measure_by", "most_useful", "variance_reduction"]


class Rows(Protocol):
    """What is believed of a row, which more is measured of."""

    def given(self, columns: ArrayLike, errors: ArrayLike) -> Belief: ...


Strategy = Generator[NDArray[np.intp], NDArray[np.float64], None]

FLOOR = 0.1
"""Added to every weight, so that columns never yet on a frontier count too."""

CAP_SHARE = 0.2
"""Weight of the user's own cap, the largest that is allowed, among all caps; the others share the rest equally."""

FIRST = 4
"""Columns the knowledge gradient lets `variance_reduction` choose before anything is known."""

OUTCOMES, WEIGHTS = hermegauss(11)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
"""Outcomes of a measurement, in standard deviations, and their weights (Gauss and Hermite's)."""


def frontier_frequency(values: ArrayLike, memory: ArrayLike) -> NDArray[np.float64]:
    """Return on which fraction of the rows' frontiers each column stands.

    Parameters
    ----------
    values, memory : array_like of float, shape (rows, columns)
        Complete errors, and memory in any unit.

    Returns
    -------
    ndarray of float64, shape (columns,)
        Numbers in [0, 1].

    Examples
    --------
    >>> frontier_frequency([[0.5, 0.25, 0.5], [0.5, 0.5, 0.25]], [[1, 2, 3]] * 2)
    array([1. , 0.5, 0.5])
    """
    rows = zip(np.asarray(memory), np.asarray(values), strict=True)
    return np.mean([fronts.non_dominated(m, e) for m, e in rows], axis=0)


def variance_reduction(belief: Belief, n: int, *, weights: ArrayLike, allowed: ArrayLike) -> NDArray[np.intp]:
    """Choose columns greedily so that the weighted variance left over is small.

    Measuring j lowers the sum over c of w_c Var(e_c) by sum_c w_c S_cj^2 / (S_jj + l_j): take the largest,
    condition on it (which needs no measured value), repeat.

    Parameters
    ----------
    belief : Belief
    n : int
        Number of columns, at most as many as allowed.
    weights : array_like of float, shape (columns,)
        How much each column's variance matters, >= 0.
    allowed : array_like of bool, shape (columns,)

    Returns
    -------
    ndarray of int, shape (n,)
        Distinct allowed columns in the order of choice; ties go to the lowest index.

    Notes
    -----
    Each step is the best possible one.

    Examples
    --------
    >>> belief = Belief(np.zeros(3), np.array([[4, 3, 0], [3, 4, 0], [0, 0, 5.0]]))
    >>> variance_reduction(belief, 2, weights=np.ones(3), allowed=np.ones(3, bool))
    array([0, 2])
    """
    covariance, luck = belief.covariance.copy(), 0.0 if belief.luck is None else belief.luck
    weights = np.asarray(weights, dtype=np.float64)
    open_ = np.array(allowed, dtype=bool)
    chosen = []
    for _ in range(n):
        variance = np.maximum(np.diag(covariance) + luck, 1e-300)
        gain = np.where(open_, weights @ covariance**2 / variance, -np.inf)
        best = first_largest(gain)
        chosen.append(best)
        open_[best] = False
        covariance -= np.outer(covariance[best], covariance[best]) / variance[best]
    return np.array(chosen, dtype=np.intp)


def by_variance(rows, n, *, memory, weights, allowed, first=FIRST) -> Strategy:
    """Measure what `variance_reduction` chooses, all at once."""
    yield variance_reduction(rows.given([], []), n, weights=weights, allowed=allowed)


def knowledge_gradient(
    rows: Rows, n: int, *, memory: ArrayLike, weights: ArrayLike, allowed: ArrayLike, first: int = FIRST
) -> Strategy:
    """Measure a few columns to find out what kind of task this is, then the most useful next one.

    The first columns are chosen by `variance_reduction`. From then on, for each candidate j the
    belief's mean after measuring it is m + z S_j / sqrt(S_jj + l_j) with z standard normal. Under each
    memory cap one would recommend the smallest mean; j is worth how much lower that is expected to
    get, averaged over z (by Gauss and Hermite's eleven points) and over caps, of which the user's own counts
    for more (`CAP_SHARE`). Measure the column
    of largest worth, update, repeat.

    Parameters
    ----------
    rows : Belief or ScaledRows
        What is believed before anything is measured; its ``given(columns, errors)`` says what is believed after.
    n : int
        Number of columns.
    memory : array_like of float, shape (columns,)
        Memory of each column, any unit.
    weights : array_like of float, shape (columns,)
        For `variance_reduction`.
    allowed : array_like of bool, shape (columns,)
        Columns that may be measured and recommended.
    first : int, default `FIRST`
        Columns chosen before anything is known.

    Yields
    ------
    ndarray of int
        The first columns together, then one at a time; send back their errors.

    Notes
    -----
    *Source*: the knowledge gradient (Frazier, Powell and Dayanik, 2009) of this package's budget
    regret. It looks one measurement ahead, which is why it does not start alone.
    """
    memory, allowed = np.asarray(memory, dtype=np.float64), np.asarray(allowed, dtype=bool)
    columns = np.flatnonzero(allowed)
    columns = columns[np.argsort(memory[columns], kind="stable")]
    starts = np.flatnonzero(np.append(True, np.diff(memory[columns]) > 0))  # of each memory level
    chosen = variance_reduction(rows.given([], []), min(first, n), weights=weights, allowed=allowed)
    errors = yield chosen
    while len(chosen) < n:
        best = most_useful(rows.given(chosen, errors), columns, starts, ~np.isin(columns, chosen))
        error = yield np.array([best])
        chosen, errors = np.append(chosen, best), np.append(errors, error)


def most_useful(belief: Belief, columns, starts, open_) -> int:
    """Return the column of largest worth; `columns` by ascending memory, `starts` of each memory level."""
    mean, covariance = belief.mean[columns], belief.covariance[np.ix_(columns, columns)]
    luck = np.zeros(len(columns)) if belief.luck is None else belief.luck[columns]
    candidates = np.flatnonzero(open_)
    variance = np.maximum(np.diag(covariance)[candidates] + luck[candidates], 1e-300)
    change = covariance[candidates] / np.sqrt(variance)[:, None]
    caps = np.full(len(starts), (1 - CAP_SHARE) / len(starts))
    caps[-1] += CAP_SHARE
    worth = np.zeros(len(candidates))
    for z, weight in zip(OUTCOMES, WEIGHTS, strict=True):
        levels = np.minimum.reduceat(mean + z * change, starts, axis=1)
        worth -= weight * (np.minimum.accumulate(levels, axis=1) @ caps)
    # the smallest means without measuring are the same for all: subtract, so that ties show
    worth = worth + np.minimum.accumulate(np.minimum.reduceat(mean, starts)) @ caps
    return int(columns[candidates[np.argmax(worth >= worth.max() - 1e-12)]])


def measure_by(
    strategy: Strategy, measure: Callable[[NDArray[np.intp]], ArrayLike]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Carry a strategy out.

    Parameters
    ----------
    strategy : generator
        Yields columns, is sent errors.
    measure : callable
        Takes columns (ndarray of int) and returns their errors in [0, 1].

    Returns
    -------
    columns : ndarray of int, shape (n,)
        In the order of choice.
    errors : ndarray of float64, shape (n,)

    Examples
    --------
    >>> belief = Belief(np.full(2, 0.5), np.eye(2))
    >>> strategy = by_variance(belief, 2, memory=[1, 2], weights=[1, 2], allowed=[True, True])
    >>> measure_by(strategy, lambda columns: columns / 2)
    (array([1, 0]), array([0.5, 0. ]))
    """
    chosen: list[int] = []
    errors: list[float] = []
    try:
        columns = next(strategy)
        while True:
            measured = measurements("measure_by", columns, measure(columns), max(columns) + 1)[1]
            chosen.extend(columns.tolist())
            errors.extend(measured.tolist())
            columns = strategy.send(measured)
    except StopIteration:
        return np.array(chosen, dtype=np.intp), np.array(errors, dtype=np.float64)


STRATEGIES = {"knowledge-gradient": knowledge_gradient, "variance-reduction": by_variance}
"""The strategies that start from a belief, by name."""
