"""Rows differ in how noisy they are: factors, and noise of a size that is the row's own.

A row is e = m + W z + sqrt(s) (d + l), as in `factors`, but that s differs from row to row: a task with many
test images, or one whose errors are all near that of guessing, has small s. Measured entries tell s, and so how
far to trust the factors and how uncertain the other entries are. Of the deviation from the factors, d is the row's
own, and there in every training; l is the luck of one training, and another seed has another. Where trainings were
repeated both are known, and a measured error is believed as far as it would come again.

Notation
--------
m, W, z, d   see `factors`
s            scale of the row's noise variance, one of `SCALES`
D, L         variances of d and of l, for each column
N            noise of what was measured: D + L / (number of trainings)
g, Q         eigenvalues and eigenvectors of W_S^T N_S^-1 W_S (S measured): in these
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

LEAST_LASTING = 0.05
"""Part of the noise that is the row's own, at least."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScaledNoise:
    """Factors, and probabilities of the scales that a row's noise may have.

    Parameters
    ----------
    factors : Factors
        Its noise is that of a row of scale 1, of errors that are means of `trainings` trainings each.
    probabilities : ndarray of float64, shape (scales,)
        Of `SCALES`; they add up to 1.
    luck : ndarray of float64, shape (columns,), optional
        L of a row of scale 1; default 0: what was measured is taken for exact.
    trainings : float, default 1

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
    luck: Vector | None = None
    trainings: float = 1.0

    @property
    def lasting(self) -> Vector:
        """D, shape (columns,): at least a twentieth of the noise, for L is an estimate too."""
        noise = self.factors.noise
        return noise if self.luck is None else np.maximum(noise - self.luck / self.trainings, LEAST_LASTING * noise)

    def log_density(self, rows: ArrayLike) -> Vector:
        """Log density of complete rows, less a constant, for every scale.

        Returns
        -------
        ndarray of float64, shape (rows, scales)
        """
        return self._posterior(np.asarray(rows, dtype=np.float64), slice(None), self.factors.noise)[0]

    def _posterior(self, rows, columns, noise):
        """Log densities (rows, scales), and the factors' posterior in the coordinates Q.

        By the matrix inversion lemma: the mean for scale s is t / (s + g), the variance s / (s + g).
        """
        loadings = self.factors.loadings[columns]
        centred = rows - self.factors.mean[columns]
        g, q = np.linalg.eigh(loadings.T @ (loadings / noise[:, None]))
        g, t = np.maximum(g, 0.0), (centred / noise) @ loadings @ q
        scales = SCALES[:, None]
        distance = (centred**2 / noise).sum(axis=1)[:, None] / SCALES
        distance -= t**2 @ (1 / (scales * (scales + g))).T
        volume = np.log(noise).sum() + len(noise) * np.log(SCALES) + np.log1p(g / scales).sum(axis=1)
        return -0.5 * (distance + volume), g, q, t

    def given(self, columns: ArrayLike, errors: ArrayLike, counts: ArrayLike | None = None) -> Belief:
        """Return what is believed of a row of which some entries have been measured.

        Parameters
        ----------
        columns : array_like of int, shape (n,)
            Distinct columns.
        errors : array_like of float, shape (n,)
            What was measured there; without luck, reproduced exactly by the mean.
        counts : array_like of float, shape (n,), optional
            Of how many trainings each is the mean; default one.

        Returns
        -------
        Belief
            Mean and covariance of the mixture over scales.
        """
        columns, errors = np.asarray(columns, dtype=np.intp), np.asarray(errors, dtype=np.float64)
        lasting = self.lasting
        luck = np.zeros(len(lasting)) if self.luck is None else self.luck
        noise = lasting[columns] + luck[columns] / (1 if counts is None else np.asarray(counts, dtype=np.float64))
        density, g, q, t = self._posterior(errors[None], columns, noise)
        density = np.where(self.probabilities > 0, density[0], -np.inf)
        probabilities = self.probabilities * np.exp(density - density.max())
        probabilities /= probabilities.sum()
        centres = t / (SCALES[:, None] + g)
        centre = probabilities @ centres
        apart = centres - centre
        within = np.diag(probabilities @ (SCALES[:, None] / (SCALES[:, None] + g)))
        basis = self.factors.loadings @ q
        mean = self.factors.mean + basis @ centre
        believed = np.zeros(len(mean))  # how much of a deviation from the factors is the row's own
        believed[columns] = lasting[columns] / noise
        mean[columns] += believed[columns] * (errors - mean[columns])
        basis = basis * (1 - believed)[:, None]
        covariance = basis @ (within + (apart.T * probabilities) @ apart) @ basis.T
        scale = probabilities @ SCALES
        covariance[np.diag_indices_from(covariance)] += scale * lasting * (1 - believed)
        exact = columns[believed[columns] == 1]
        mean[exact] = errors[believed[columns] == 1]
        return Belief(mean, covariance, None if self.luck is None else scale * luck)


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
