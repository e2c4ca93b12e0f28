"""Embed training configurations: a few numbers for each column of an error matrix.

The error matrix is close to low rank: what a configuration does to one data set tells much about
what it does to another. Its leading right singular vectors therefore describe the configurations.

Notation
--------
E = U S V^T   the error matrix (tasks x configurations) and its singular value decomposition
Y             the embedding, the first `rank` rows of V^T: one column per configuration
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl._arguments import Interval, integer, message, number
from refimpl.peppp.checks import matrix

__all__ = ["first_largest", "rank_by_rule", "svd_embedding"]

_TIE = 1e-9


def first_largest(scores: NDArray[np.float64]) -> int:
    """Find the lowest index whose score ties with the largest.

    Scores within a relative 1e-9 of the largest count as tied, so that a choice between equals
    does not hang on the rounding of a particular linear algebra library.

    Parameters
    ----------
    scores : ndarray of float64, shape (n,), n >= 1
        Non-negative numbers, or -inf for what may not be chosen.

    Returns
    -------
    int
        An index into `scores`.

    Notes
    -----
    *Source*: a rule of this package. Exact, up to the stated meaning of a tie.

    Examples
    --------
    >>> first_largest(np.array([1.0, 3.0, 3.0 + 1e-15]))
    1
    """
    largest = scores.max()
    return int(np.argmax(scores >= largest - _TIE * abs(largest)))


def _complete_matrix(values: ArrayLike, caller: str) -> NDArray[np.float64]:
    """Return `values` as a matrix of finite numbers, not empty and not all zero."""
    complete = matrix(caller, "values", values)
    if not complete.any():
        raise ValueError(message(caller, "values", "all 0", "a matrix with a nonzero entry"))
    return complete


def rank_by_rule(values: ArrayLike, threshold: float = 0.03) -> int:
    """Count the singular values that are at least `threshold` times the largest.

    Parameters
    ----------
    values : array_like of float, shape (rows, columns)
        A matrix without missing entries.
    threshold : float, default 0.03
        A number in (0, 1].

    Returns
    -------
    int
        The approximate rank, between 1 and min(rows, columns).

    Raises
    ------
    ValueError
        If an entry is nan or infinite, the matrix is empty or all zero, or the threshold is not
        in (0, 1].

    Notes
    -----
    *Source*: the code released with PEPPP (arXiv 2106.09686). A singular value is computed to
    within a modest multiple of 2^-52 times the largest; the count is exact except for ratios that
    close to the threshold.

    Examples
    --------
    >>> rank_by_rule(np.diag([1.0, 0.5, 0.02]))
    2
    """
    complete = _complete_matrix(values, "rank_by_rule")
    threshold = number("rank_by_rule", "threshold", threshold, Interval(0, 1, open_low=True))
    sigma = np.linalg.svd(complete, compute_uv=False)
    return int(np.count_nonzero(sigma >= threshold * sigma[0]))


def svd_embedding(values: ArrayLike, rank: int) -> NDArray[np.float64]:
    """Embed columns by the first right singular vectors, without centring.

    Parameters
    ----------
    values : array_like of float, shape (rows, columns)
        A matrix without missing entries, such as errors of tasks x configurations.
    rank : int
        Number of singular vectors, from 1 to the numerical rank of `values`.

    Returns
    -------
    ndarray of float64, shape (rank, columns)
        Orthonormal rows, by descending singular value. Signs are fixed so that in each row the
        entry of largest magnitude is positive (the first one, if several tie to a relative 1e-9).

    Raises
    ------
    ValueError
        If an entry is nan or infinite, the matrix is empty or all zero, or `rank` is below 1 or
        above the numerical rank: singular vectors of a zero singular value would be arbitrary.

    Notes
    -----
    *Source*: the code released with PEPPP (arXiv 2106.09686). Rows are orthonormal to a modest
    multiple of 2^-52; a row is as well determined as its singular value is separated from the
    others.

    Examples
    --------
    >>> svd_embedding([[0.3, 0.4], [0.6, 0.8]], rank=1)
    array([[0.6, 0.8]])
    """
    complete = _complete_matrix(values, "svd_embedding")
    _, sigma, vectors = np.linalg.svd(complete, full_matrices=False)
    resolved = np.finfo(np.float64).eps * max(complete.shape) * sigma[0]
    numerical_rank = int(np.count_nonzero(sigma > resolved))
    rank = integer("svd_embedding", "rank", rank, Interval(1, numerical_rank), "the numerical rank of the matrix")
    embedding = vectors[:rank]
    largest = [first_largest(np.abs(row)) for row in embedding]
    return embedding * np.sign(embedding[np.arange(rank), largest])[:, None]
