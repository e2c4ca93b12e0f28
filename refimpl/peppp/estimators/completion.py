"""Complete an error matrix of which only some entries were measured.

Notation
--------
E        the matrix; Omega its observed entries; Z the completed matrix
W        weight of each observed entry: 1, or one over the probability of its having been observed
lam      strength of the penalty lam ||Z||_*, the sum of the singular values

    minimise  F(Z) = 1/2 sum over Omega of W_ij (Z_ij - E_ij)^2 + lam ||Z||_*

*Source*: Mazumder, Hastie and Tibshirani, Spectral regularization (SoftImpute, 2010); Ma and Chen,
Missing not at random in matrix completion (2019) for the weights; Beck and Teboulle, A fast
iterative shrinkage-thresholding algorithm (2009); PEPPP (arXiv 2106.09686).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from refimpl._arguments import NOT_NEGATIVE, Interval, every, integer, message, number, numbers
from refimpl.peppp.checks import observed_errors, propensities, seeds

__all__ = ["Completion", "inverse_propensity", "rank_by_cross_validation", "soft_impute"]


@dataclass(frozen=True, eq=False)
class Completion:
    """A completed matrix and how it was reached.

    Parameters
    ----------
    values : ndarray of float64, shape (rows, columns)
        All entries, clipped to [0, 1].
    converged : bool
        Whether the last step moved the matrix by less than the tolerance, relative to its norm.
    iterations : int
    objective : ndarray of float64, shape (iterations,)
        F after each iteration, before clipping.
    """

    values: NDArray[np.float64]
    converged: bool
    iterations: int
    objective: NDArray[np.float64]


def inverse_propensity(propensity: ArrayLike, *, clip: float | None = 20.0) -> NDArray[np.float64]:
    """Turn the probabilities of being observed into weights.

    Parameters
    ----------
    propensity : array_like of float
        Probabilities in (0, 1], any shape.
    clip : float, optional
        Largest ratio of a weight to the smallest weight; larger ones are cut. Without it (None) a
        weighted sum over observed entries is an unbiased estimate of the sum over all entries, and
        a few rare entries decide everything.

    Returns
    -------
    ndarray of float64, of the same shape
        1 / propensity, clipped.

    Raises
    ------
    ValueError
        If a probability is not in (0, 1] or `clip` is below 1.

    Examples
    --------
    >>> inverse_propensity([0.5, 1.0, 0.01], clip=20)
    array([ 2.,  1., 20.])
    """
    weights = 1 / propensities("inverse_propensity", propensity)
    if clip is None or clip == np.inf:
        return weights
    clip = number("inverse_propensity", "clip", clip, Interval(1))
    return np.minimum(weights, clip * weights.min())


def soft_impute(
    values: ArrayLike,
    *,
    penalty: float = 0.1,
    rank: int = 5,
    weights: ArrayLike | None = None,
    accelerate: bool = True,
    max_iterations: int = 10_000,
    tolerance: float = 1e-6,
) -> Completion:
    """Complete a matrix by a low-rank one with a small sum of singular values.

    A proximal gradient step goes down the squared error on the observed entries, then shrinks every
    singular value by the penalty times the step size and keeps the `rank` largest. Acceleration
    takes each step from a point extrapolated by the momentum of the last, and forgets the momentum
    whenever the objective would rise.

    Parameters
    ----------
    values : array_like of float, shape (rows, columns)
        Errors in [0, 1]; nan where not measured.
    penalty : float, default 0.1
        lam, at least 0.
    rank : int, default 5
        Largest rank of the completed matrix (before clipping).
    weights : array_like of float, shape (rows, columns), optional
        W, positive on the observed entries (see `inverse_propensity`); default 1.
    accelerate : bool, default True
        False takes unaccelerated steps, as the released code does. With its 2500 iterations they have not
        converged where weights are strongly unequal.
    max_iterations : int, default 10 000
    tolerance : float, default 1e-6
        Converged when ||Z_new - Z|| <= tolerance * max(1, ||Z||).

    Returns
    -------
    Completion
        Its ``converged`` says whether to believe it.

    Raises
    ------
    ValueError
        If a row or column has no measured entry, a value is outside [0, 1], the rank or penalty is
        out of range, fewer entries are observed than even rank 1 needs (rows + columns - 1) or than
        twice the rank, or a weight is not positive.

    Notes
    -----
    *Source*: see the head of this file. Step size 1 / max W. With a rank below the smaller side the
    problem is not convex; a momentum restart keeps F from rising all the same.

    Examples
    --------
    >>> task = np.linspace(0.25, 0.75, 6)[:, None] * np.linspace(1.0, 0.5, 5)
    >>> task[0, 4] = np.nan
    >>> completed = soft_impute(task, penalty=1e-4, rank=1)
    >>> completed.converged, completed.values[0, 4].round(3)
    (True, np.float64(0.125))
    """
    errors = observed_errors("soft_impute", "values", values)
    seen = ~np.isnan(errors)
    w = _weights(weights, seen)
    rows, columns = errors.shape
    rank = integer("soft_impute", "rank", rank, Interval(1, min(rows, columns)), "the smaller side of the matrix")
    penalty = number("soft_impute", "penalty", penalty, NOT_NEGATIVE)
    max_iterations = integer("soft_impute", "max_iterations", max_iterations, Interval(1))
    tolerance = number("soft_impute", "tolerance", tolerance, NOT_NEGATIVE)
    needed = max(rows + columns - 1, 2 * rank)  # what determines a matrix of rank 1, at least
    if seen.sum() < needed and not seen.all():
        allowed = f"at least {needed} for rank {rank} of a {rows} x {columns} matrix"
        hint = "measure more or lower the rank"
        raise ValueError(message("soft_impute", "the number of observed entries", f"{seen.sum()}", allowed, hint))
    target, step = np.where(seen, errors, 0.0), 1 / w.max()
    current = previous = np.zeros_like(target)
    momentum, lowest = 1.0, np.inf
    objective: list[float] = []

    def advance(point):
        moved = point - step * w * (point - target)
        left, sigma, right = np.linalg.svd(moved, full_matrices=False)
        sigma = np.maximum(sigma[:rank] - penalty * step, 0.0)
        shrunk = (left[:, :rank] * sigma) @ right[:rank]
        misfit = 0.5 * float((w * (shrunk - target) ** 2).sum())
        return shrunk, misfit + penalty * float(sigma.sum())

    converged = False
    with threadpool_limits(1, user_api="blas"):  # of small matrices, more threads are slower
        for _ in range(max_iterations):
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            pace = (momentum - 1) / following if accelerate else 0.0
            ahead, value = advance(current + pace * (current - previous))
            if value > lowest and pace > 0:  # the momentum overshot: forget it
                following = 1.0
                ahead, value = advance(current)
            previous, current, momentum = current, ahead, following
            lowest = min(lowest, value)
            objective.append(value)
            if np.linalg.norm(current - previous) <= tolerance * max(1.0, float(np.linalg.norm(previous))):
                converged = True
                break
    return Completion(np.clip(current, 0.0, 1.0), converged, len(objective), np.array(objective))


def _weights(weights, seen) -> NDArray[np.float64]:
    """Return the weights of the observed entries, 0 elsewhere."""
    if weights is None:
        return seen.astype(np.float64)
    given = numbers("soft_impute", "weights", weights, seen.shape)
    every("soft_impute", "weights", given, ~seen | ((given > 0) & (given < np.inf)), "a finite number above 0")
    return np.where(seen, given, 0.0)


def rank_by_cross_validation(
    values: ArrayLike, *, largest: int = 8, folds: int = 5, penalty: float = 0.1, seed: int = 0
) -> int:
    """Find the rank at which held-out observed entries are completed best.

    Parameters
    ----------
    values : array_like of float, shape (rows, columns)
        Errors in [0, 1]; nan where not measured.
    largest : int, default 8
        Largest rank tried.
    folds : int, default 5
        Parts into which the observed entries are dealt at random; each is held out once. An entry
        that would leave a row or column empty stays.
    penalty : float, default 0.1
        For `soft_impute`.
    seed : int, default 0

    Returns
    -------
    int
        The rank of smallest squared error on held-out entries; ties go to the lowest.

    Raises
    ------
    ValueError
        As `soft_impute`.

    Notes
    -----
    *Source*: cross-validation over entries (Owen and Perry, 2009, discuss it).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.dirichlet(np.ones(2), 20) @ rng.uniform(size=(2, 15))
    >>> rank_by_cross_validation(truth, largest=4, penalty=0.001)
    2
    """
    caller = "rank_by_cross_validation"
    errors = observed_errors(caller, "values", values)
    largest = min(integer(caller, "largest", largest, Interval(1)), *errors.shape)
    folds = integer(caller, "folds", folds, Interval(2))
    cells = np.argwhere(~np.isnan(errors))
    part = np.random.default_rng(seeds(caller, seed)).permutation(len(cells)) % folds
    missed = np.zeros(largest)
    for fold in range(folds):
        rest = errors.copy()
        held = []
        for row, column in cells[part == fold]:
            before = rest[row, column]
            rest[row, column] = np.nan
            if np.isnan(rest[row]).all() or np.isnan(rest[:, column]).all():
                rest[row, column] = before
            else:
                held.append((row, column))
        at = tuple(np.array(held, dtype=np.intp).reshape(-1, 2).T)
        for rank in range(1, largest + 1):
            completed = soft_impute(rest, rank=rank, penalty=penalty, tolerance=1e-4).values
            missed[rank - 1] += ((completed[at] - errors[at]) ** 2).sum()
    return int(np.argmax(missed <= missed.min() * (1 + 1e-9))) + 1
