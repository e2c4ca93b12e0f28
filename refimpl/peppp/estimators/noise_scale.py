"""Rows differ in how noisy they are: factors, and noise of a size that is the row's own.

A row is e = m + W z + sqrt(s) d, as in `factors`, but that s differs from row to row: a task with many
test images, or one whose errors are all near that of guessing, has small s. Measured entries tell s, and so how
far to trust the factors and how uncertain the other entries are.

Notation
--------
m, W, z, d   see `factors`
s            scale of the row's noise variance, one of `SCALES`
g, Q         eigenvalues and eigenvectors of W_S^T N_S^-1 W_S (S measured, N the noise): in these
             coordinates the factors' posterior is diagonal for every s at once
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl.peppp.estimators.belief import Belief
from refimpl.peppp.estimators.factors import Factors

__all__ = ["SCALES", "ScaledNoise", "learn_probabilities"]

SCALES = 2.0 ** np.arange(-6, 6)
"""Scales of the noise variance that a row may have."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScaledNoise:
    """Factors, and probabilities of the scales that a row's noise may have.

    Parameters
    ----------
    factors : Factors
        Its noise is that of a row of scale 1.
    probabilities : ndarray of float64, shape (scales,)
        Of `SCALES`; they add up to 1.

    Examples
    --------
    >>> factors = Factors(np.full(3, 0.5), np.full((3, 1), 0.1), np.full(3, 0.01))
    >>> rows = ScaledNoise(factors, np.full(len(SCALES), 1 / len(SCALES)))
    >>> quiet, noisy = rows.given([0, 1], [0.5, 0.5]), rows.given([0, 1], [0.3, 0.8])
    >>> quiet.deviation.round(2), noisy.deviation.round(2)
    (array([0.  , 0.  , 0.07]), array([0.  , 0.  , 0.35]))
    """

    factors: Factors
    probabilities: Vector

    def log_density(self, rows: ArrayLike) -> Vector:
        """Log density of complete rows, less a constant, for every scale.

        Returns
        -------
        ndarray of float64, shape (rows, scales)
        """
        return self._posterior(np.asarray(rows, dtype=np.float64), slice(None))[0]

    def _posterior(self, rows, columns):
        """Log densities (rows, scales), and the factors' posterior in the coordinates Q.

        By the matrix inversion lemma: the mean for scale s is t / (s + g), the variance s / (s + g).
        """
        loadings, noise = self.factors.loadings[columns], self.factors.noise[columns]
        centred = rows - self.factors.mean[columns]
        g, q = np.linalg.eigh(loadings.T @ (loadings / noise[:, None]))
        g, t = np.maximum(g, 0.0), (centred / noise) @ loadings @ q
        scales = SCALES[:, None]
        distance = (centred**2 / noise).sum(axis=1)[:, None] / SCALES
        distance -= t**2 @ (1 / (scales * (scales + g))).T
        volume = np.log(noise).sum() + len(noise) * np.log(SCALES) + np.log1p(g / scales).sum(axis=1)
        return -0.5 * (distance + volume), g, q, t

    def given(self, columns: ArrayLike, errors: ArrayLike) -> Belief:
        """Return what is believed of a row of which some entries have been measured.

        Parameters
        ----------
        columns : array_like of int, shape (n,)
            Distinct columns.
        errors : array_like of float, shape (n,)
            What was measured there; reproduced exactly by the mean.

        Returns
        -------
        Belief
            Mean and covariance of the mixture over scales.
        """
        columns, errors = np.asarray(columns, dtype=np.intp), np.asarray(errors, dtype=np.float64)
        density, g, q, t = self._posterior(errors[None], columns)
        density = np.where(self.probabilities > 0, density[0], -np.inf)
        probabilities = self.probabilities * np.exp(density - density.max())
        probabilities /= probabilities.sum()
        centres = t / (SCALES[:, None] + g)
        centre = probabilities @ centres
        apart = centres - centre
        within = np.diag(probabilities @ (SCALES[:, None] / (SCALES[:, None] + g)))
        basis = self.factors.loadings @ q
        mean = self.factors.mean + basis @ centre
        covariance = basis @ (within + (apart.T * probabilities) @ apart) @ basis.T
        covariance[np.diag_indices_from(covariance)] += self.factors.noise * (probabilities @ SCALES)
        covariance[columns] = covariance[:, columns] = 0.0
        mean[columns] = errors
        return Belief(mean, covariance)


def learn_probabilities(density: ArrayLike) -> Vector:
    """Learn how frequent the scales are among rows.

    Parameters
    ----------
    density : array_like of float, shape (rows, scales)
        Log density of each row under each scale.

    Returns
    -------
    ndarray of float64, shape (scales,)
        Probabilities that make the rows, and one more of which nothing is known, as likely as can be:
        a hundred steps of expectation maximization from equal probabilities.

    Examples
    --------
    >>> learn_probabilities(np.log([[1.0, 1e-9], [1.0, 1e-9], [1e-9, 1.0]])).round(2)
    array([0.63, 0.37])
    """
    density = np.asarray(density, dtype=np.float64)
    likelihood = np.exp(density - density.max(axis=1, keepdims=True))
    count = density.shape[1]
    probabilities = np.full(count, 1 / count)
    for _ in range(100):
        weighted = probabilities * likelihood
        probabilities = (weighted / weighted.sum(axis=1, keepdims=True)).sum(axis=0) + 1 / count
        probabilities /= probabilities.sum()
    return probabilities
