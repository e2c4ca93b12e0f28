"""Complete an error matrix of which only some entries were measured.

Notation
--------
E        the matrix; Omega its observed entries; Z the completed matrix
W        weight of each observed entry: 1, or one over the chance of its having been observed
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

from refimpl.peppp.arguments import number, numbers, seed_of, whole
from refimpl.peppp.estimators.factors import observed_errors

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
    """Turn the chances of being observed into weights.

    Parameters
    ----------
    propensity : array_like of float
        Chances in (0, 1], any shape.
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
        If a chance is not in (0, 1] or `clip` is below 1.

    Examples
    --------
    >>> inverse_propensity([0.5, 1.0, 0.01], clip=20)
    array([ 2.,  1., 20.])
    """
    propensity = numbers("inverse_propensity", "chances", propensity)
    good = (propensity > 0) & (propensity <= 1)
    if not good.size or not good.all():
        got = f"the chance {propensity[~good][0]}" if good.size else "no chances"
        raise ValueError(
            f"inverse_propensity: got {got}; allowed are numbers in "
            "(0, 1]; an entry that is never observed cannot be weighted"
        )
    if clip is not None:
        number("inverse_propensity", "clip", clip, "at least 1, or None", lambda x: x >= 1)
    weights = 1 / propensity
    return weights if clip is None else np.minimum(weights, clip * weights.min())


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
        False takes plain steps, as the released code does. With its 2500 iterations they have not
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
    >>> found = soft_impute(task, penalty=1e-4, rank=1)
    >>> found.converged, found.values[0, 4].round(3)
    (True, np.float64(0.125))
    """
    values = observed_errors(values, "soft_impute")
    seen = ~np.isnan(values)
    weights = _weights(weights, seen)
    shape = "{} x {}".format(*values.shape)
    rank = whole("soft_impute", "rank", rank, 1, min(values.shape), f" for a {shape} matrix")
    number("soft_impute", "penalty", penalty, "finite and >= 0", lambda x: 0 <= x < np.inf)
    max_iterations = whole("soft_impute", "max_iterations", max_iterations, 1)
    number("soft_impute", "tolerance", tolerance, "finite and >= 0", lambda x: 0 <= x < np.inf)
    needed = max(sum(values.shape) - 1, 2 * rank)  # what determines a matrix of rank 1, at least
    if seen.sum() < needed and not seen.all():
        raise ValueError(
            f"soft_impute: got {seen.sum()} observed entries; rank {rank} of a {shape} matrix needs "
            f"at least {needed}; measure more or lower the rank"
        )
    target, step = np.where(seen, values, 0.0), 1 / weights.max()
    current = previous = np.zeros_like(target)
    momentum, objective = 1.0, []
    lowest = np.inf

    def advance(point):
        moved = point - step * weights * (point - target)
        left, sigma, right = np.linalg.svd(moved, full_matrices=False)
        sigma = np.maximum(sigma[:rank] - penalty * step, 0.0)
        found = (left[:, :rank] * sigma) @ right[:rank]
        misfit = 0.5 * float((weights * (found - target) ** 2).sum())
        return found, misfit + penalty * float(sigma.sum())

    converged = False
    with threadpool_limits(1, user_api="blas"):  # of small matrices, more threads are slower
        for _ in range(max_iterations):
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            pace = (momentum - 1) / following if accelerate else 0.0
            found, reached = advance(current + pace * (current - previous))
            if reached > lowest and pace > 0:  # the momentum overshot: forget it
                following = 1.0
                found, reached = advance(current)
            previous, current, momentum = current, found, following
            lowest = min(lowest, reached)
            objective.append(reached)
            if np.linalg.norm(current - previous) <= tolerance * max(1.0, np.linalg.norm(previous)):
                converged = True
                break
    return Completion(np.clip(current, 0.0, 1.0), converged, len(objective), np.array(objective))


def _weights(weights, seen) -> NDArray[np.float64]:
    """Weights of the observed entries, 0 elsewhere."""
    if weights is None:
        return seen.astype(np.float64)
    weights = numbers("soft_impute", "weights", weights)
    if weights.shape != seen.shape:
        raise ValueError(
            f"soft_impute: got weights of shape {weights.shape}; allowed is {seen.shape}, one per "
            "entry of the matrix; pass for example inverse_propensity(propensity)"
        )
    bad = np.argwhere(seen & ~((weights > 0) & (weights < np.inf)))
    if len(bad):
        raise ValueError(
            f"soft_impute: got weight {weights[tuple(bad[0])]} at row {bad[0][0]}, column "
            f"{bad[0][1]}, an observed entry; allowed are positive finite numbers; see "
            "inverse_propensity"
        )
    return np.where(seen, weights, 0.0)


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
    values = observed_errors(values, "rank_by_cross_validation")
    largest = min(whole("rank_by_cross_validation", "largest", largest, 1), *values.shape)
    folds = whole("rank_by_cross_validation", "folds", folds, 2)
    seed = seed_of("rank_by_cross_validation", seed)
    cells = np.argwhere(~np.isnan(values))
    part = np.random.default_rng(seed).permutation(len(cells)) % folds
    missed = np.zeros(largest)
    for fold in range(folds):
        rest = values.copy()
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
            found = soft_impute(rest, rank=rank, penalty=penalty, tolerance=1e-4).values
            missed[rank - 1] += ((found[at] - values[at]) ** 2).sum()
    return int(np.argmax(missed <= missed.min() * (1 + 1e-9))) + 1
