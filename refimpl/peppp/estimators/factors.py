"""Probabilistic principal component analysis: a few factors and noise explain rows of errors.

A row is e = m + W z + d, with a few factors z (standard normal) and independent deviations d, which
are what remains of a training that cannot be predicted (its seed, its test images).

Notation
--------
m        mean of the rows
W        loadings, columns x factors
noise    variance of the deviation d of each column

*Source*: Tipping and Bishop, Probabilistic principal component analysis (1999).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl._arguments import Interval, integer, message
from refimpl.peppp.checks import observed_errors
from refimpl.peppp.estimators.belief import Belief

__all__ = ["Factors", "closed_form", "probabilistic_pca"]

LEAST_NOISE = 1e-10
"""Smallest variance of a deviation (a standard deviation of 1e-5): keeps covariances regular."""


@dataclass(frozen=True, eq=False)
class Factors:
    """Probabilistic PCA as it was fitted: what `probabilistic_pca` returns.

    Parameters
    ----------
    mean : ndarray of float64, shape (columns,)
    loadings : ndarray of float64, shape (columns, rank)
    noise : ndarray of float64, shape (columns,)
    converged : bool
        Whether the iteration settled (True for a complete matrix: no iteration).
    iterations : int
    """

    mean: NDArray[np.float64]
    loadings: NDArray[np.float64]
    noise: NDArray[np.float64]
    converged: bool = True
    iterations: int = 0

    @property
    def belief(self) -> Belief:
        """The Gaussian these factors describe."""
        return Belief(self.mean, self.loadings @ self.loadings.T + np.diag(self.noise))

    def complete(self, values: ArrayLike) -> NDArray[np.float64]:
        """Fill the missing entries with their expectation given those observed, in [0, 1]."""
        filled, belief = np.array(values, dtype=np.float64), self.belief
        for row in filled:
            seen = np.flatnonzero(~np.isnan(row))
            row[:] = np.clip(belief.given(seen, row[seen]).mean, 0.0, 1.0)
        return filled


def probabilistic_pca(values: ArrayLike, rank: int, *, max_iterations: int = 500, tolerance: float = 1e-6) -> Factors:
    """Fit a few factors and one noise variance to rows of which entries may be missing.

    Without missing entries the maximum of the likelihood is known in closed form. With them it is
    climbed by expectation maximization on the observed entries only.

    Parameters
    ----------
    values : array_like of float, shape (rows, columns)
        Errors in [0, 1]; nan where not measured.
    rank : int
        Number of factors, from 1 to min(rows - 1, columns - 1).
    max_iterations : int, default 500
    tolerance : float, default 1e-6
        The iteration stops when the log likelihood per observed entry gains less.

    Returns
    -------
    Factors
        With ``mean``, ``loadings``, ``noise``, ``converged`` and ``iterations``.

    Raises
    ------
    ValueError
        If a row or column has no measured entry, a value is outside [0, 1], or fewer entries are
        observed than the factors have parameters.

    Notes
    -----
    *Source*: Tipping and Bishop (1999), equation for the maximum, and the EM algorithm of section
    3.3 restricted to observed entries. No step lowers the likelihood.

    Examples
    --------
    >>> level = np.linspace(0.1, 0.9, 9)[:, None]
    >>> fitted = probabilistic_pca(level * [1.0, 0.5, 0.25], rank=1)
    >>> fitted.loadings[:, 0].round(2)
    array([0.26, 0.13, 0.06])
    """
    errors = observed_errors("probabilistic_pca", "values", values)
    rows, columns = errors.shape
    most = Interval(1, min(rows - 1, columns - 1))
    rank = integer("probabilistic_pca", "rank", rank, most, f"for a {rows} x {columns} matrix")
    seen = ~np.isnan(errors)
    needed = rank * (rows + columns - rank) + columns
    if seen.sum() < min(needed, errors.size):
        allowed = f"at least {needed} for rank {rank} of a {rows} x {columns} matrix"
        hint = "measure more or lower the rank"
        raise ValueError(message("probabilistic_pca", "the number of observed entries", f"{seen.sum()}", allowed, hint))
    if seen.all():
        return closed_form(errors, np.ones(columns), [rank])[0]
    return _by_expectation_maximization(errors, seen, rank, max_iterations, tolerance)


def closed_form(values, scale, ranks, *, unbiased=False) -> list[Factors]:
    """Maximum likelihood factors of a complete matrix, one fit for each rank.

    `scale`, shape (columns,), holds relative standard deviations of the columns' noise; the fit is
    that of ordinary probabilistic PCA to values / scale, taken back to the values' own units. With
    few rows the likeliest noise is far too small, since mean and factors were fitted to it;
    `unbiased` divides by the degrees of freedom that are left.
    """
    mean = values.mean(axis=0)
    rows, columns = values.shape
    _, sigma, directions = np.linalg.svd((values - mean) / scale, full_matrices=False)
    fits = []
    for rank in ranks:
        freedom, left = (rows - 1, rows - 1 - rank) if unbiased else (rows, rows)
        noise = float((sigma[rank:] ** 2).sum()) / max(left * (columns - rank), 1)
        noise = max(noise, LEAST_NOISE)
        strength = np.sqrt(np.maximum(sigma[:rank] ** 2 / freedom - noise, 0.0))
        loadings = directions[:rank].T * strength * scale[:, None]
        fits.append(Factors(mean, loadings, np.maximum(noise * scale**2, LEAST_NOISE)))
    return fits


def _by_expectation_maximization(values, seen, rank, max_iterations, tolerance) -> Factors:
    """Climb the likelihood of the observed entries; the start is the closed form of a guess."""
    count = seen.sum(axis=0)
    filled = np.where(seen, values, np.nan)
    column_mean = np.nanmean(filled, axis=0)
    offset = np.nanmean(filled - column_mean, axis=1, keepdims=True)
    guess = np.where(seen, values, column_mean + offset)
    start = closed_form(guess, np.ones(values.shape[1]), [rank])[0]
    mean, loadings, noise = start.mean, start.loadings, max(float(start.noise[0]), 1e-4)
    zeroed, before = np.where(seen, values, 0.0), -np.inf
    mask = seen.astype(float)
    for iteration in range(1, max_iterations + 1):
        # E: moments of each row's factors given its observed entries (batched rank x rank solves)
        outer = loadings[:, :, None] * loadings[:, None, :]
        gram = np.tensordot(mask, outer, axes=1)  # rows x rank x rank
        precision = np.eye(rank) + gram / noise
        residual = zeroed - mask * mean
        spread = np.linalg.inv(precision)
        factors = np.einsum("ijk,ik->ij", spread, residual @ loadings / noise)
        likelihood = -0.5 * (
            seen.sum() * np.log(2 * np.pi * noise)
            + np.linalg.slogdet(precision)[1].sum()
            + ((residual**2).sum() - np.einsum("ij,ij->", residual @ loadings, factors)) / noise
        )
        if likelihood - before < tolerance * seen.sum():
            return _factors(mean, loadings, noise, True, iteration)
        before = likelihood
        # M: a regression of each column on the factors and a constant, then the noise
        ones = np.ones((len(values), 1))
        extended = np.hstack([factors, ones])
        moments = extended[:, :, None] * extended[:, None, :]
        moments[:, :rank, :rank] += spread
        left = np.tensordot(mask.T, moments, axes=1)
        right = zeroed.T @ extended
        left += 1e-9 * np.eye(rank + 1)  # a column seen in very few rows leaves its regression open
        solved = np.linalg.solve(left, right[..., None])[..., 0]
        loadings, mean = solved[:, :rank], solved[:, rank]
        fit = zeroed - mask * (factors @ loadings.T + mean)
        unsure = np.einsum("cj,ijk,ck->ic", loadings, spread, loadings)
        noise = max(float(((fit**2) + mask * unsure).sum() / count.sum()), LEAST_NOISE)
    return _factors(mean, loadings, noise, False, max_iterations)


def _factors(mean, loadings, noise, converged, iterations) -> Factors:
    return Factors(mean, loadings, np.full(len(mean), noise), converged, iterations)
