"""Decide at random which entries of a meta-training matrix to measure, and with what chance.

*Source*: PEPPP (arXiv 2106.09686): every entry alike, or cheap ones more often.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["memory_biased_sample", "sample", "uniform_sample"]


def sample(propensity: ArrayLike, *, seed: int | Sequence[int]) -> NDArray[np.bool_]:
    """Observe each entry with its own chance, independently.

    A row or column left without any entry gets its most likely one (the first of equals), since
    nothing could be said about it otherwise; for the sizes in use this is rare.

    Parameters
    ----------
    propensity : array_like of float, shape (rows, columns)
        Chances in (0, 1].
    seed : int or sequence of int

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        True where measured.

    Raises
    ------
    ValueError
        If a chance is not in (0, 1].

    Examples
    --------
    >>> sample([[1.0, 1e-9], [1.0, 1e-9]], seed=0)
    array([[ True,  True],
           [ True, False]])
    """
    propensity = np.asarray(propensity, dtype=np.float64)
    if propensity.ndim != 2 or not ((propensity > 0) & (propensity <= 1)).all():
        raise ValueError(
            f"sample: got chances of shape {propensity.shape}; allowed is a matrix of numbers in "
            "(0, 1]; raise those that are zero or leave their entries out"
        )
    mask = np.random.default_rng(seed).random(propensity.shape) < propensity
    for row in np.flatnonzero(~mask.any(axis=1)):
        mask[row, propensity[row].argmax()] = True
    for column in np.flatnonzero(~mask.any(axis=0)):
        mask[propensity[:, column].argmax(), column] = True
    return mask


def uniform_sample(
    shape: tuple[int, int], ratio: float, *, seed: int | Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Observe every entry with the same chance.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    ratio : float
        The chance, in (0, 1].
    seed : int or sequence of int

    Returns
    -------
    mask : ndarray of bool, shape (rows, columns)
    propensity : ndarray of float64, shape (rows, columns)

    Raises
    ------
    ValueError
        If the ratio is not in (0, 1].

    Examples
    --------
    >>> mask, propensity = uniform_sample((20, 50), 0.2, seed=0)
    >>> int(mask.sum()), float(propensity[0, 0])
    (193, 0.2)
    """
    propensity = np.full(shape, ratio, dtype=np.float64)
    return sample(propensity, seed=seed), propensity


def memory_biased_sample(
    memory: ArrayLike, largest: float, *, seed: int | Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Observe entries that take little memory more often.

    The chance of an entry is `largest` times the share of all entries that take at least as much
    memory as it does: the empirical distribution function of 1 / memory.

    Parameters
    ----------
    memory : array_like of float, shape (rows, columns)
        Positive, any unit.
    largest : float
        Chance of the entries of smallest memory, in (0, 1].
    seed : int or sequence of int

    Returns
    -------
    mask, propensity
        As for `uniform_sample`.

    Raises
    ------
    ValueError
        If `largest` is not in (0, 1].

    Notes
    -----
    *Source*: PEPPP (arXiv 2106.09686), non-uniform sampling.

    Examples
    --------
    >>> memory_biased_sample([[1, 2], [4, 2]], 1.0, seed=0)[1]
    array([[1.  , 0.75],
           [0.25, 0.75]])
    """
    memory = np.asarray(memory, dtype=np.float64)
    ordered = np.sort(memory, axis=None)
    at_least = memory.size - np.searchsorted(ordered, memory, side="left")
    propensity = largest * at_least / memory.size
    return sample(propensity, seed=seed), propensity
