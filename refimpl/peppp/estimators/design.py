"""Choose the few configurations to train on a new data set, and bound how far from the best they are.

If a new data set's errors are linear in the embedding, they are estimated from the configurations S
with covariance proportional to X^-1, X = sum of y_j y_j^T over j in S. Three ways of making X large,
each a number to be maximised:

    D    log det X            the volume of the confidence ellipsoid
    A    - trace X^-1         the mean variance of the coordinates
    E    smallest eigenvalue  the variance in the worst direction

Notation
--------
Y, y_j   the embedding, rank x columns, and its column for configuration j
X        the design's information matrix, rank x rank
c_j      what measuring j costs

*Source*: Pukelsheim, Optimal Design of Experiments (1993); Boyd and Vandenberghe, Convex
Optimization (2004), section 7.5; PEPPP (arXiv 2106.09686) for D.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl._arguments import POSITIVE, Interval, choice, every, integer, message, number, numbers
from refimpl.peppp.checks import mask, matrix, seeds
from refimpl.peppp.estimators.embedding import first_largest

__all__ = [
    "Relaxation",
    "d_optimal",
    "design_value",
    "exhaustive_design",
    "greedy_design",
    "random_design",
    "relaxed_design",
]

Criterion = Literal["D", "A", "E"]
MOST_DESIGNS = 2_000_000
"""Designs that `exhaustive_design` is willing to try."""


def _given(
    caller: str, embedding: ArrayLike, n: int | None, criterion: str, allowed: ArrayLike | None
) -> tuple[NDArray[np.float64], int, NDArray[np.intp]]:
    """Return what every design is given: the embedding, how many columns, and those that may be chosen."""
    y = matrix(caller, "embedding", embedding)
    choice(caller, "criterion", criterion, get_args(Criterion))
    columns = np.flatnonzero(mask(caller, allowed, y.shape[1], 0))
    if n is None:
        return y, len(columns), columns
    hint = "from the embedding's rank, or the regression has no unique solution, to the number of allowed columns"
    return y, integer(caller, "n", n, Interval(len(y), len(columns)), hint), columns


def d_optimal(embedding: ArrayLike, n: int, allowed: ArrayLike | None = None) -> NDArray[np.intp]:
    """Choose exactly `n` columns whose information matrix has a large determinant.

    The first `rank` columns are the pivots of a column-pivoted QR decomposition. Each further one
    maximises y_j^T X^-1 y_j, which multiplies det(X) by 1 + y_j^T X^-1 y_j: the largest factor
    that one more column can give. It is `greedy_design` with its defaults.

    Parameters
    ----------
    embedding : array_like of float, shape (rank, columns)
        Embedding of the configurations, finite.
    n : int
        Number of columns to choose, at least `rank`.
    allowed : array_like of bool, shape (columns,), optional
        Columns that may be chosen, such as those under a memory cap; default all.

    Returns
    -------
    ndarray of int, shape (n,)
        Distinct column indices in the order of choice. Ties (to a relative 1e-9) go to the lowest
        index.

    Raises
    ------
    ValueError
        If `n` is below the rank or above the number of allowed columns, an entry is not finite,
        or the allowed columns do not span the embedding, so that every design is singular.

    Notes
    -----
    *Source*: ED-MF in PEPPP (arXiv 2106.09686); the code released with it adds `n` columns *to*
    the first `rank` and so measures n + rank. Greedy: each step is the best possible one, the
    whole need not be. The pivots alone reach at least 1/(rank!)^2 of the largest determinant.

    Examples
    --------
    >>> d_optimal([[1.0, 0.0, 2.0, 1.0], [0.0, 1.0, 0.0, 1.0]], n=3)
    array([2, 1, 3])
    """
    return _greedy("d_optimal", embedding, n, "D", allowed, None, None)


def greedy_design(
    embedding: ArrayLike,
    n: int | None = None,
    *,
    criterion: Criterion = "D",
    allowed: ArrayLike | None = None,
    costs: ArrayLike | None = None,
    budget: float | None = None,
) -> NDArray[np.intp]:
    """Choose columns one by one, each the one that gains most per unit of cost.

    The first `rank` columns span the space, each the one with the largest part orthogonal to those
    before it (squared, per unit of cost), as in column-pivoted QR. Each further one gains most: for D and A by rank-one
    updates of X^-1, for E by the eigenvalues themselves.

    Parameters
    ----------
    embedding : array_like of float, shape (rank, columns)
    n : int, optional
        Number of columns, at least the rank; may be left out where there is a budget.
    criterion : {"D", "A", "E"}, default "D"
    allowed : array_like of bool, shape (columns,), optional
        Columns that may be chosen, such as those under a memory cap.
    costs : array_like of float, shape (columns,), optional
        What measuring each costs (seconds, say), positive; default 1.
    budget : float, optional
        Largest total cost. Columns that no longer fit are passed over.

    Returns
    -------
    ndarray of int
        Distinct columns in the order of choice; `n` of them unless the budget ends it earlier.

    Raises
    ------
    ValueError
        If `n` is below the rank or above the allowed columns, the allowed columns do not span the
        embedding, or the budget does not pay for a design that spans it.

    Notes
    -----
    *Source*: see the head of this file. Without costs and with "D" this is `d_optimal`.

    Examples
    --------
    >>> greedy_design([[1.0, 0.0, 2.0, 1.0], [0.0, 1.0, 0.0, 1.0]], 3)
    array([2, 1, 3])
    >>> greedy_design([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]], costs=[1, 1, 9], budget=2)
    array([0, 1])
    """
    return _greedy("greedy_design", embedding, n, criterion, allowed, costs, budget)


def _greedy(
    caller: str,
    embedding: ArrayLike,
    n: int | None,
    criterion: str,
    allowed: ArrayLike | None,
    costs: ArrayLike | None,
    budget: float | None,
) -> NDArray[np.intp]:
    y, count, usable = _given(caller, embedding, n, criterion, allowed)
    rank, columns = y.shape
    if n is None and budget is None:
        raise TypeError(message(caller, "n", "None, and so is the budget", "either or both"))
    price = np.ones(columns)
    if costs is not None:
        price = numbers(caller, "costs", costs, (columns,))
        every(caller, "costs", price, (price > 0) & (price < np.inf), "a finite number above 0")
    most = np.inf if budget is None else number(caller, "budget", budget, POSITIVE)
    chosen, spent = _spanning(caller, y, usable, price, most)
    scale = y[:, chosen]  # in coordinates where the first columns are the unit vectors,
    z = np.linalg.solve(scale, y)  # X starts as the identity
    metric = np.linalg.inv(scale.T @ scale) if criterion == "A" else None  # of the embedding's own coordinates
    inverse = np.eye(rank)
    while len(chosen) < count:
        fits = usable[(price[usable] <= most - spent) & ~np.isin(usable, chosen)]
        if len(fits) == 0:
            break
        step = inverse @ z[:, fits]
        growth = 1 + (z[:, fits] * step).sum(axis=0)
        if criterion == "D":
            gain = np.log(growth)
        elif metric is not None:
            gain = (step * (metric @ step)).sum(axis=0) / growth
        else:
            information = y[:, chosen] @ y[:, chosen].T
            outer = y[:, fits].T[:, :, None] * y[:, fits].T[:, None, :]
            gain = _values(information + outer, "E") - _values(information[None], "E")
        at = first_largest(np.maximum(gain, 0.0) / price[fits])
        inverse = inverse - np.outer(step[:, at], step[:, at]) / growth[at]
        chosen.append(int(fits[at]))
        spent += price[fits[at]]
    return np.array(chosen, dtype=np.intp)


def _spanning(
    caller: str, y: NDArray[np.float64], usable: NDArray[np.intp], price: NDArray[np.float64], budget: float
) -> tuple[list[int], float]:
    """Return the first columns, spanning the space within the budget, and what they cost.

    Written out because a library's column exchanges would decide ties by where a column happens to stand.
    """
    rest = y[:, usable].copy()
    negligible = (np.finfo(np.float64).eps * max(rest.shape)) ** 2 * (rest**2).sum(axis=0).max(initial=0.0)
    chosen: list[int] = []
    spent = 0.0
    while len(chosen) < len(y):
        size = (rest**2).sum(axis=0)
        if not size.max(initial=0.0) > negligible:
            got, allowed = (
                f"spanning only {len(chosen)} of the embedding's {len(y)} dimensions",
                "columns that span all",
            )
            raise ValueError(message(caller, "the allowed columns", got, allowed, "lower the rank or allow more"))
        affordable = (size > negligible) & (price[usable] <= budget - spent)
        if not affordable.any():
            allowed = f"what pays for {len(y)} columns that span the embedding"
            got = f"{budget:g}, of which {spent:g} pays for {len(chosen)} columns"
            raise ValueError(message(caller, "budget", got, allowed))
        at = first_largest(np.where(affordable, size / price[usable], -np.inf))
        direction = rest[:, at] / np.sqrt(size[at])
        for _ in range(2):  # the second pass removes what rounding left of the first
            rest -= np.outer(direction, direction @ rest)
        chosen.append(int(usable[at]))
        spent += price[usable[at]]
    return chosen, spent


def design_value(embedding: ArrayLike, columns: ArrayLike, criterion: Criterion = "D") -> float:
    """Return what a design is worth; larger is better for every criterion.

    Parameters
    ----------
    embedding : array_like of float, shape (rank, columns)
    columns : array_like of int, shape (n,)
        The design.
    criterion : {"D", "A", "E"}

    Returns
    -------
    float
        log det X, - trace X^-1 or the smallest eigenvalue of X; -inf (0 for "E") if X is singular.

    Examples
    --------
    >>> design_value([[1.0, 0.0, 1.0], [0.0, 2.0, 1.0]], [0, 1], "A")
    -1.25
    """
    y, _, _ = _given("design_value", embedding, None, criterion, None)
    design = np.asarray(columns)
    exist = design.dtype.kind in "iu" and ((design >= 0) & (design < y.shape[1])).all()
    if design.ndim != 1 or not design.size or not exist:
        allowed = f"integers from 0 to {y.shape[1] - 1}, at least one"
        raise ValueError(message("design_value", "columns", f"{design.tolist()}", allowed))
    chosen = y[:, design]
    return float(_values((chosen @ chosen.T)[None], criterion)[0])


def _values(information: NDArray[np.float64], criterion: str) -> np.ndarray:
    """Return the criterion of a stack of information matrices, shape (designs, rank, rank)."""
    eigenvalues = np.linalg.eigvalsh(information)
    rank = information.shape[-1]
    negligible = np.finfo(np.float64).eps * rank * np.maximum(eigenvalues[:, -1:], 0)
    eigenvalues = np.where(eigenvalues <= negligible, 0.0, eigenvalues)
    if criterion == "E":
        return eigenvalues[:, 0]
    with np.errstate(divide="ignore"):
        parts = np.log(eigenvalues) if criterion == "D" else -1 / eigenvalues
    return parts.sum(axis=1)


def exhaustive_design(
    embedding: ArrayLike, n: int, *, criterion: Criterion = "D", allowed: ArrayLike | None = None
) -> NDArray[np.intp]:
    """Try every design of `n` columns and return the best.

    Parameters
    ----------
    embedding, n, criterion, allowed
        As for `greedy_design`.

    Returns
    -------
    ndarray of int, shape (n,)
        Ascending; the first in lexicographic order among those that tie to a relative 1e-9.

    Raises
    ------
    ValueError
        If there are more than two million designs, none spans the embedding, or as `greedy_design`.

    Examples
    --------
    >>> exhaustive_design([[1.0, 0.0, 2.0, 1.0], [0.0, 1.0, 0.0, 1.0]], 2)
    array([1, 2])
    """
    y, n, usable = _given("exhaustive_design", embedding, n, criterion, allowed)
    designs = math.comb(len(usable), n)
    if designs > MOST_DESIGNS:
        hint = "use greedy_design, and relaxed_design for a bound"
        raise ValueError(
            message("exhaustive_design", "the number of designs", f"{designs}", f"at most {MOST_DESIGNS}", hint)
        )
    best, design = -np.inf, None
    combinations = itertools.combinations(usable.tolist(), n)
    while batch := list(itertools.islice(combinations, 20_000)):
        chosen = y.T[np.array(batch, dtype=np.intp)]
        values = _values(chosen.transpose(0, 2, 1) @ chosen, criterion)
        at = int(values.argmax())
        if values[at] > best + 1e-9 * abs(best) if np.isfinite(best) else values[at] > best:
            close = values >= values[at] - 1e-9 * abs(values[at])
            at = int(np.argmax(close))
            best, design = values[at], batch[at]
    if design is None or not np.isfinite(best) or (criterion == "E" and best <= 0):
        raise ValueError(
            message("exhaustive_design", "the embedding", "not spanned by any design", "columns that span it")
        )
    return np.array(design, dtype=np.intp)


@dataclass(frozen=True, eq=False)
class Relaxation:
    """The solution of a design problem in which columns may be measured in part.

    Parameters
    ----------
    weights : ndarray of float64, shape (columns,)
        How much of each column is measured, in [0, 1].
    value : float
        The criterion of these weights.
    bound : float
        No design, with columns measured in part or not, is worth more than this: a certificate, computed
        from the gradient and not from trust in the solver.
    """

    weights: NDArray[np.float64]
    value: float
    bound: float

    def gap(self, value: float) -> float:
        """How much more than `value` the best design could be worth; at least 0."""
        return max(self.bound - value, 0.0)


def relaxed_design(
    embedding: ArrayLike, n: int, *, criterion: Criterion = "D", allowed: ArrayLike | None = None
) -> Relaxation:
    """Solve the convex relaxation, in which columns may be measured in part.

    Maximise the criterion of sum_j w_j y_j y_j^T over 0 <= w_j <= 1, sum_j w_j = n.

    Parameters
    ----------
    embedding, n, criterion, allowed
        As for `greedy_design`.

    Returns
    -------
    Relaxation
        Its ``bound`` limits every design of `n` columns; ``gap(design_value(...))`` says how far
        from the best a design can be.

    Raises
    ------
    ValueError
        As `greedy_design`.

    Notes
    -----
    *Source*: Boyd and Vandenberghe (2004), section 7.5. Solved by SciPy's SLSQP ("E" through a
    smooth minimum). D and A are concave, so f(v) <= f(w) + grad f(w) (v - w) for every v, and the
    right side is largest for the n largest entries of the gradient; the smallest eigenvalue is at
    most trace(Z X) for every Z >= 0 of trace 1.

    Examples
    --------
    >>> y = np.random.default_rng(0).standard_normal((2, 12))
    >>> relaxed, best = relaxed_design(y, 4), exhaustive_design(y, 4)
    >>> 0 <= relaxed.gap(design_value(y, best)) < 0.1
    True
    """
    from scipy.optimize import minimize

    y, n, usable = _given("relaxed_design", embedding, n, criterion, allowed)
    rank, columns = y.shape
    _spanning("relaxed_design", y, usable, np.ones(columns), np.inf)  # raises if they do not span
    y = y[:, usable]
    scale = float((y**2).sum() * n / (len(usable) * rank))  # typical eigenvalue of X

    def ascent(w):
        value, gradient = _concave(y, w, criterion, sharpness=200 / scale)
        return -value, -gradient

    start = np.full(len(usable), n / len(usable))
    solved = minimize(
        ascent,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(usable),
        constraints={"type": "eq", "fun": lambda w: w.sum() - n, "jac": np.ones_like},
        options={"maxiter": 300, "ftol": 1e-9},
    )
    w = np.clip(solved.x, 0.0, 1.0)
    _, gradient = _concave(y, w, criterion, sharpness=200 / scale)
    best = np.sort(gradient)[-n:].sum()
    value = float(_values(((y * w) @ y.T)[None], criterion)[0])
    # trace(Z X) of the best weights for E, the tangent plane's highest point for D and A
    bound = best if criterion == "E" else value + best - gradient @ w
    weights = np.zeros(columns)
    weights[usable] = w
    return Relaxation(weights, value, float(bound))


def _concave(y, w, criterion, sharpness):
    """Return criterion and gradient at weights w; for E of a smooth minimum of the eigenvalues."""
    eigenvalues, vectors = np.linalg.eigh((y * w) @ y.T)
    eigenvalues = np.maximum(eigenvalues, 1e-12 * max(eigenvalues[-1], 1e-300))
    along = (vectors.T @ y) ** 2  # eigenvectors x columns
    if criterion == "D":
        return float(np.log(eigenvalues).sum()), (along / eigenvalues[:, None]).sum(axis=0)
    if criterion == "A":
        return float(-(1 / eigenvalues).sum()), (along / eigenvalues[:, None] ** 2).sum(axis=0)
    weights = np.exp(-sharpness * (eigenvalues - eigenvalues[0]))
    smooth = eigenvalues[0] - np.log(weights.sum()) / sharpness
    return float(smooth), (weights / weights.sum()) @ along


def random_design(
    n_columns: int, n: int, allowed: ArrayLike | None = None, *, seed: int | Sequence[int]
) -> NDArray[np.intp]:
    """Choose `n` distinct columns uniformly at random.

    Parameters
    ----------
    n_columns : int
        Number of columns there are.
    n : int
        Number of columns to choose, at least 1.
    allowed : array_like of bool, shape (n_columns,), optional
        Columns that may be chosen; default all.
    seed : int or sequence of int
        Seed; the same seed gives the same design.

    Returns
    -------
    ndarray of int, shape (n,)
        Distinct column indices in the order of choice.

    Raises
    ------
    ValueError
        If `n` is below 1 or above the number of allowed columns.

    Notes
    -----
    *Source*: Random-MF in PEPPP (arXiv 2106.09686), with a generator of NumPy's.

    Examples
    --------
    >>> sorted(random_design(3, 3, seed=0).tolist())
    [0, 1, 2]
    """
    n_columns = integer("random_design", "n_columns", n_columns, Interval(1))
    columns = np.flatnonzero(mask("random_design", allowed, n_columns))
    n = integer("random_design", "n", n, Interval(1, len(columns)), "the number of allowed columns")
    return np.random.default_rng(seeds("random_design", seed)).choice(columns, size=n, replace=False)
