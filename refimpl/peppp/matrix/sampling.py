"""Decide at random which entries of a meta-training matrix to measure, and with what probability.

*Source*: PEPPP (arXiv 2106.09686): every entry alike, or cheap ones more often.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl._arguments import Interval, integer, message, number, sequence
from refimpl.peppp.checks import matrix, propensities, seeds

__all__ = ["memory_biased_sample", "sample", "uniform_sample"]

RATIO = Interval(0, 1, open_low=True)


def sample(propensity: ArrayLike, *, seed: int | Sequence[int]) -> NDArray[np.bool_]:
    """Observe each entry with its own probability, independently.

    A row or column left without any entry gets its most likely one (the first of equals), since
    nothing could be said about it otherwise; for the sizes in use this is rare.

    Parameters
    ----------
    propensity : array_like of float, shape (rows, columns)
        Probabilities in (0, 1].
    seed : int or sequence of int

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        True where measured.

    Raises
    ------
    ValueError
        If a probability is not in (0, 1].

    Examples
    --------
    >>> sample([[1.0, 1e-9], [1.0, 1e-9]], seed=0)
    array([[ True,  True],
           [ True, False]])
    """
    likely = propensities("sample", propensity)
    if likely.ndim != 2:
        raise ValueError(message("sample", "propensity", f"of shape {likely.shape}", "(rows, columns)"))
    mask = np.random.default_rng(seeds("sample", seed)).random(likely.shape) < likely
    for row in np.flatnonzero(~mask.any(axis=1)):
        mask[row, likely[row].argmax()] = True
    for column in np.flatnonzero(~mask.any(axis=0)):
        mask[likely[:, column].argmax(), column] = True
    return mask


def uniform_sample(
    shape: tuple[int, int], ratio: float, *, seed: int | Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Observe every entry with the same probability.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    ratio : float
        The probability, in (0, 1].
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
    ratio = number("uniform_sample", "ratio", ratio, RATIO)
    rows, columns = (integer("uniform_sample", "shape", size, Interval(1)) for size in _pair(shape))
    propensity = np.full((rows, columns), ratio)
    return sample(propensity, seed=seed), propensity


def _pair(shape) -> list:
    pair = sequence("uniform_sample", "shape", shape, "(rows, columns)", 2)
    if len(pair) > 2:
        raise ValueError(message("uniform_sample", "shape", f"{tuple(pair)}", "(rows, columns)"))
    return pair


def memory_biased_sample(
    memory: ArrayLike, largest: float, *, seed: int | Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Observe entries that take little memory more often.

    The probability of an entry is `largest` times the fraction of entries that take at least as much
    memory as it does: the empirical distribution function of 1 / memory.

    Parameters
    ----------
    memory : array_like of float, shape (rows, columns)
        Finite, any unit; only its order counts.
    largest : float
        Probability of the entries of smallest memory, in (0, 1].
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
    largest = number("memory_biased_sample", "largest", largest, RATIO)
    sizes = matrix("memory_biased_sample", "memory", memory)
    at_least = sizes.size - np.searchsorted(np.sort(sizes, axis=None), sizes, side="left")
    propensity = largest * at_least / sizes.size
    return sample(propensity, seed=seed), propensity
