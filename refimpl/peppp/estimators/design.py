"""Choose the few configurations to train on a new data set.

If a new data set's errors are linear in the embedding, the uncertainty left after measuring the
configurations S shrinks with det(X), X = sum of y_j y_j^T over j in S. D-optimal design picks S
to make that determinant large.

Notation
--------
Y, y_j   the embedding, rank x columns, and its column for configuration j
X        the design's information matrix, rank x rank
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl.peppp.arguments import finite_matrix, mask, seed_of, whole
from refimpl.peppp.estimators.embedding import first_largest

__all__ = ["d_optimal", "random_design"]


def allowed_columns(n_columns: int, n: int, allowed: ArrayLike | None, caller: str) -> NDArray:
    """Indices of the allowed columns, of which there are at least `n`."""
    columns = np.flatnonzero(mask(caller, allowed, n_columns, 0))
    if n > len(columns):
        raise ValueError(
            f"{caller}: got n = {n}; allowed are at most the {len(columns)} allowed columns; "
            "measure fewer or raise the memory cap"
        )
    return columns


def at_least_the_rank(caller: str, n: int, rank: int) -> int:
    """Return how many columns to choose, enough for the regression."""
    why = ", the embedding's rank, or the regression has no unique solution"
    return whole(caller, "n", n, rank, why=why)


def _pivots(matrix: NDArray[np.float64]) -> list[int]:
    """First `rank` pivots of column-pivoted QR; fewer if the columns do not span the space.

    Each pivot is the column with the largest part orthogonal to the pivots before it. Written out
    because a library's column exchanges would decide ties by where a column happens to stand.
    """
    rest = matrix.copy()
    size = (rest**2).sum(axis=0)
    negligible = (np.finfo(np.float64).eps * max(matrix.shape)) ** 2 * size.max()
    pivots = []
    while len(pivots) < len(matrix) and size.max() > negligible:
        pivots.append(first_largest(size))
        direction = rest[:, pivots[-1]] / np.sqrt(size[pivots[-1]])
        for _ in range(2):  # the second pass removes what rounding left of the first
            rest -= np.outer(direction, direction @ rest)
        size = (rest**2).sum(axis=0)
    return pivots


def d_optimal(embedding: ArrayLike, n: int, allowed: ArrayLike | None = None) -> NDArray[np.intp]:
    """Choose exactly `n` columns whose information matrix has a large determinant.

    The first `rank` columns are the pivots of a column-pivoted QR decomposition. Each further one
    maximises y_j^T X^-1 y_j, which multiplies det(X) by 1 + y_j^T X^-1 y_j: the largest factor
    that one more column can give.

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
    embedding = finite_matrix("d_optimal", "embedding", embedding, "pass that of svd_embedding")
    rank, n_columns = embedding.shape
    n = at_least_the_rank("d_optimal", n, rank)
    columns = allowed_columns(n_columns, n, allowed, "d_optimal")
    candidates = embedding[:, columns]
    chosen = _pivots(candidates)
    if len(chosen) < rank:
        raise ValueError(
            f"d_optimal: got {len(columns)} allowed columns spanning only {len(chosen)} of the "
            f"embedding's {rank} dimensions; allowed are columns that span all of them; lower the "
            "rank or allow more columns"
        )
    # In coordinates where the pivots are the unit vectors X starts as the identity; a change of
    # coordinates scales all determinants alike. `score` is y^T X^-1 y for every candidate.
    z = np.linalg.solve(candidates[:, chosen], candidates)
    inverse = np.eye(rank)
    score = (z**2).sum(axis=0)
    score[chosen] = -np.inf
    while len(chosen) < n:
        best = first_largest(score)
        step = inverse @ z[:, best]
        scale = 1 + z[:, best] @ step
        inverse -= np.outer(step, step) / scale
        score -= (step @ z) ** 2 / scale
        score[best] = -np.inf
        chosen.append(best)
    return columns[chosen]


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
    n = whole("random_design", "n", n, 1)
    n_columns = whole("random_design", "n_columns", n_columns, 1)
    columns = allowed_columns(n_columns, n, allowed, "random_design")
    seed = seed_of("random_design", seed)
    return np.random.default_rng(seed).choice(columns, size=n, replace=False)
