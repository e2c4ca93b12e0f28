"""Decide at random which entries of a meta-training matrix to measure, and with what chance.

*Source*: PEPPP (arXiv 2106.09686): every entry alike, or cheap ones more often.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl.peppp.arguments import finite_matrix, number, numbers, seed_of, whole

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
    propensity = numbers("sample", "chances", propensity)
    if propensity.ndim != 2 or propensity.size == 0:
        raise ValueError(
            f"sample: got chances of shape {propensity.shape}; allowed is a matrix of at least one "
            "row and one column; pass the chance of every entry"
        )
    bad = np.argwhere(~((propensity > 0) & (propensity <= 1)))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"sample: got the chance {propensity[row, column]} at row {row}, column {column}; "
            "allowed are numbers in (0, 1]; raise those that are zero or leave their entries out"
        )
    seed = seed_of("sample", seed)
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
    number("uniform_sample", "ratio", ratio, "in (0, 1]", lambda x: 0 < x <= 1)
    if not isinstance(shape, Sequence) or len(shape) != 2:
        raise TypeError(
            f"uniform_sample: got shape {shape!r}; allowed are two whole numbers of at least 1; pass (rows, columns)"
        )
    sizes = zip(("rows", "columns"), shape, strict=True)
    shape = tuple(whole("uniform_sample", name, size, 1) for name, size in sizes)
    propensity = np.full(shape, float(ratio))
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
        Finite, any unit; only its order counts.
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
    number("memory_biased_sample", "largest", largest, "in (0, 1]", lambda x: 0 < x <= 1)
    memory = finite_matrix("memory_biased_sample", "memory", memory, "pass that of every entry")
    ordered = np.sort(memory, axis=None)
    at_least = memory.size - np.searchsorted(ordered, memory, side="left")
    propensity = largest * at_least / memory.size
    return sample(propensity, seed=seed), propensity
