"""Designs that make a regression on an embedding precise, and how far from the best they are.

Errors linear in the embedding are estimated with covariance proportional to X^-1. Three ways of
making X large, each a number to be maximised:

    D    log det X            the volume of the confidence ellipsoid
    A    - trace X^-1         the mean variance of the coordinates
    E    smallest eigenvalue  the variance in the worst direction

Notation
--------
Y, y_j   the embedding, rank x columns, and its column for configuration j
X        the information matrix, sum over the chosen j of y_j y_j^T
c_j      what measuring j costs

*Source*: Pukelsheim, Optimal Design of Experiments (1993); Boyd and Vandenberghe, Convex
Optimization (2004), section 7.5; PEPPP (arXiv 2106.09686) for D.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl.peppp.arguments import finite_matrix, number, numbers, one_of
from refimpl.peppp.estimators.design import allowed_columns, at_least_the_rank
from refimpl.peppp.estimators.embedding import first_largest

__all__ = ["Relaxation", "design_value", "exhaustive_design", "greedy_design", "relaxed_design"]

Criterion = Literal["D", "A", "E"]
MOST_DESIGNS = 2_000_000
"""Designs that `exhaustive_design` is willing to try."""


def _checked(embedding: ArrayLike, criterion: str, caller: str) -> NDArray[np.float64]:
    embedding = finite_matrix(caller, "embedding", embedding, "pass that of svd_embedding")
    one_of(caller, "criterion", criterion, ("D", "A", "E"))
    return embedding


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
    embedding = _checked(embedding, criterion, "design_value")
    columns = np.asarray(columns)
    there = columns.dtype.kind in "iu" and ((columns >= 0) & (columns < embedding.shape[1])).all()
    if columns.ndim != 1 or not columns.size or not there:
        raise ValueError(
            f"design_value: got columns {columns.tolist()}; allowed are integers from 0 to "
            f"{embedding.shape[1] - 1}, at least one; pass a design of this embedding"
        )
    chosen = embedding[:, columns]
    return float(_values((chosen @ chosen.T)[None], criterion)[0])


def _values(information: NDArray[np.float64], criterion: str) -> NDArray[np.float64]:
    """The criterion of a stack of information matrices, shape (designs, rank, rank)."""
    eigenvalues = np.linalg.eigvalsh(information)
    rank = information.shape[-1]
    negligible = np.finfo(np.float64).eps * rank * np.maximum(eigenvalues[:, -1:], 0)
    eigenvalues = np.where(eigenvalues <= negligible, 0.0, eigenvalues)
    with np.errstate(divide="ignore"):
        if criterion == "D":
            return np.log(eigenvalues).sum(axis=1)
        return -(1 / eigenvalues).sum(axis=1) if criterion == "A" else eigenvalues[:, 0]


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
    before it (squared, per unit of cost). Each further one gains most: for D and A by rank-one
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
    *Source*: see the head of this file. Without costs and with "D" this is `design.d_optimal`.

    Examples
    --------
    >>> greedy_design([[1.0, 0.0, 2.0, 1.0], [0.0, 1.0, 0.0, 1.0]], 3)
    array([2, 1, 3])
    >>> greedy_design([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]], costs=[1, 1, 9], budget=2)
    array([0, 1])
    """
    embedding = _checked(embedding, criterion, "greedy_design")
    rank, columns = embedding.shape
    costs, budget = _costs(costs, budget, columns)
    if n is None and not np.isfinite(budget):
        raise ValueError("greedy_design: got neither n nor a budget; allowed is either or both; say how many")
    n = None if n is None else at_least_the_rank("greedy_design", n, rank)
    usable = allowed_columns(columns, rank if n is None else n, allowed, "greedy_design")
    n = len(usable) if n is None else n
    chosen, spent = _spanning(embedding, usable, costs, budget)
    scale = embedding[:, chosen]  # in coordinates where the first columns are the unit vectors,
    z = np.linalg.solve(scale, embedding)  # X starts as the identity
    metric = np.linalg.inv(scale.T @ scale)  # trace of X^-1 in the embedding's own coordinates
    inverse = np.eye(rank)
    while len(chosen) < n:
        fits = usable[(costs[usable] <= budget - spent) & ~np.isin(usable, chosen)]
        if len(fits) == 0:
            break
        step = inverse @ z[:, fits]
        growth = 1 + (z[:, fits] * step).sum(axis=0)
        if criterion == "D":
            gain = np.log(growth)
        elif criterion == "A":
            gain = (step * (metric @ step)).sum(axis=0) / growth
        else:
            information = embedding[:, chosen] @ embedding[:, chosen].T
            outer = embedding[:, fits].T[:, :, None] * embedding[:, fits].T[:, None, :]
            gain = _values(information + outer, "E") - _values(information[None], "E")
        at = first_largest(np.maximum(gain, 0.0) / costs[fits])
        inverse = inverse - np.outer(step[:, at], step[:, at]) / growth[at]
        chosen.append(int(fits[at]))
        spent += costs[fits[at]]
    return np.array(chosen, dtype=np.intp)


def _costs(costs, budget, columns):
    """Costs as positive numbers, and a budget."""
    costs = np.ones(columns) if costs is None else numbers("greedy_design", "costs", costs)
    fine = (costs > 0) & (costs < np.inf)
    if costs.shape != (columns,) or not fine.all():
        got = f"shape {costs.shape}" if costs.shape != (columns,) else f"{costs[~fine][0]}"
        where = "" if costs.shape != (columns,) else f" for column {np.argmin(fine)}"
        raise ValueError(
            f"greedy_design: got costs of {got}{where}; allowed are ({columns},) positive finite "
            "numbers, one per configuration; pass for example the seconds each takes"
        )
    if budget is None:
        return costs, np.inf
    budget = number("greedy_design", "budget", budget, "above 0", lambda x: x > 0)
    return costs, budget


def _spanning(embedding, usable, costs, budget):
    """The first columns, spanning the space within the budget, and their cost."""
    rest = embedding[:, usable].copy()
    negligible = (np.finfo(np.float64).eps * max(rest.shape)) ** 2 * (rest**2).sum(axis=0).max()
    chosen, spent = [], 0.0
    while len(chosen) < len(embedding):
        size = (rest**2).sum(axis=0)
        if size.max() <= negligible:
            raise ValueError(
                f"greedy_design: got {len(usable)} allowed columns spanning only {len(chosen)} of "
                f"the embedding's {len(embedding)} dimensions; allowed are columns that span all "
                "of them; lower the rank or allow more columns"
            )
        affordable = (size > negligible) & (costs[usable] <= budget - spent)
        if not affordable.any():
            raise ValueError(
                f"greedy_design: got a budget of {budget:g}, of which {spent:g} paid for "
                f"{len(chosen)} columns and the rest does not pay for another that is needed to "
                f"span {len(embedding)} dimensions; raise the budget or lower the rank"
            )
        at = first_largest(np.where(affordable, size / costs[usable], -np.inf))
        direction = rest[:, at] / np.sqrt(size[at])
        for _ in range(2):  # the second pass removes what rounding left of the first
            rest -= np.outer(direction, direction @ rest)
        chosen.append(int(usable[at]))
        spent += costs[usable[at]]
    return chosen, spent


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
    embedding = _checked(embedding, criterion, "exhaustive_design")
    n = at_least_the_rank("exhaustive_design", n, len(embedding))
    usable = allowed_columns(embedding.shape[1], n, allowed, "exhaustive_design")
    designs = math.comb(len(usable), n)
    if designs > MOST_DESIGNS:
        raise ValueError(
            f"exhaustive_design: got {designs} designs of {n} out of {len(usable)} columns; "
            f"allowed are {MOST_DESIGNS}; use greedy_design, and relaxed_design for a bound"
        )
    best, found = -np.inf, None
    every = itertools.combinations(usable.tolist(), n)
    while batch := list(itertools.islice(every, 20_000)):
        y = embedding.T[np.array(batch, dtype=np.intp)]
        values = _values(y.transpose(0, 2, 1) @ y, criterion)
        at = int(values.argmax())
        if values[at] > best + 1e-9 * abs(best) if np.isfinite(best) else values[at] > best:
            close = values >= values[at] - 1e-9 * abs(values[at])
            at = int(np.argmax(close))
            best, found = values[at], batch[at]
    if found is None or not np.isfinite(best) or (criterion == "E" and best <= 0):
        raise ValueError(
            "exhaustive_design: got columns none of whose designs spans the embedding; allowed are "
            "columns that span it; lower the rank or allow more columns"
        )
    return np.array(found, dtype=np.intp)


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
        No design whatever, whole or in part, is worth more than this: a certificate, computed from
        the gradient and not from trust in the solver.
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

    embedding = _checked(embedding, criterion, "relaxed_design")
    rank, columns = embedding.shape
    n = at_least_the_rank("relaxed_design", n, rank)
    usable = allowed_columns(columns, n, allowed, "relaxed_design")
    _spanning(embedding, usable, np.ones(columns), np.inf)  # raises if they do not span
    y = embedding[:, usable]
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
    """Criterion and gradient at weights w; for E of a smooth minimum of the eigenvalues."""
    eigenvalues, vectors = np.linalg.eigh((y * w) @ y.T)
    eigenvalues = np.maximum(eigenvalues, 1e-12 * max(eigenvalues[-1], 1e-300))
    along = (vectors.T @ y) ** 2  # eigenvectors x columns
    if criterion == "D":
        return float(np.log(eigenvalues).sum()), (along / eigenvalues[:, None]).sum(axis=0)
    if criterion == "A":
        return float(-(1 / eigenvalues).sum()), (along / eigenvalues[:, None] ** 2).sum(axis=0)
    share = np.exp(-sharpness * (eigenvalues - eigenvalues[0]))
    smooth = eigenvalues[0] - np.log(share.sum()) / sharpness
    return float(smooth), (share / share.sum()) @ along
