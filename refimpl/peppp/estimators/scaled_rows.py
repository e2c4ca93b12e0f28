"""Rows differ in how far they lie from the mean and in how noisy they are: factors, and scales of both.

A row is e = m + sqrt(q) W z + d, as in `factors`, and a training of it is e + l. A row like the others has q near
1; one of a kind that was not met before lies further out. Of the deviation from the factors, d is the row's own and
there in every training; l is the luck of one training, and another seed has another. Where trainings were repeated
both are known, and a measured error is believed as far as it would come again; the scale s is then that of the row's
luck. Without repeats nothing is known of luck, what is measured is taken for exact, and s is the scale of d.

Measured entries tell q and s, and so how far to trust the factors and how uncertain the other entries are.

Notation
--------
m, W, z      see `factors`
q, s         scales of the row: `FACTOR_SCALES` x `NOISE_SCALES`, each pair with a probability
D, L         variances of d and of l, for each column
N            noise of what was measured: D + s L / (number of trainings), or s D
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl.peppp.estimators.belief import Belief
from refimpl.peppp.estimators.factors import Factors

__all__ = ["SCALES", "ScaledRows", "learn_probabilities"]

FACTOR_SCALES = 4.0 ** np.arange(4)
NOISE_SCALES = 2.0 ** np.arange(-6, 6)
SCALES = np.array(list(itertools.product(FACTOR_SCALES, NOISE_SCALES)))
"""Pairs of scales that a row may have, shape (48, 2)."""

LEAST_OWN = 0.05
"""Part of the noise that is the row's own, at least: luck is an estimate too."""

NEGLIGIBLE = 1e-6
"""Scales that are less probable than this are left out of a mixture."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScaledRows:
    """Factors, and probabilities of the scales that a row may have.

    Parameters
    ----------
    factors : Factors
        Its noise is that of errors that are means of `trainings` trainings each, of a row whose scales are 1.
    probabilities : ndarray of float64, shape (scales,)
        Of `SCALES`; they add up to 1.
    luck : ndarray of float64, shape (columns,), optional
        L; default none: what was measured is taken for exact.
    trainings : float, default 1

    Examples
    --------
    >>> factors = Factors(np.full(3, 0.5), np.full((3, 1), 0.1), np.full(3, 0.01))
    >>> rows = ScaledRows(factors, np.where(SCALES[:, 0] == 1, 1 / 12, 0.0))
    >>> quiet, noisy = rows.given([0, 1], [0.5, 0.5]), rows.given([0, 1], [0.3, 0.8])
    >>> quiet.deviation.round(2), noisy.deviation.round(2)
    (array([0.  , 0.  , 0.07]), array([0.  , 0.  , 0.35]))
    """

    factors: Factors
    probabilities: Vector
    luck: Vector | None = None
    trainings: float = 1.0

    @property
    def own(self) -> Vector:
        """D, shape (columns,)."""
        noise = self.factors.noise
        return noise if self.luck is None else np.maximum(noise - self.luck / self.trainings, LEAST_OWN * noise)

    def _variances(self, columns, counts) -> tuple[Vector, Vector]:
        """Return D and N for each pair of scales, both of shape (scales, columns)."""
        own, scale = self.own[columns], SCALES[:, 1:]
        if self.luck is None:
            return scale * own, scale * own
        noise = own + scale * (self.luck[columns] / counts)
        return np.broadcast_to(own, noise.shape), noise

    def _posterior(self, columns, errors, noise):
        """Return log densities of entries of a row, less a constant, the factors' means, and roots R of their
        covariances R R^T; each for every pair of scales, by the matrix inversion lemma."""
        loadings, residual = self.factors.loadings[columns], errors - self.factors.mean[columns]
        far = SCALES[:, 0]
        rank = loadings.shape[1]
        outer = (loadings[:, :, None] * loadings[:, None, :]).reshape(len(loadings), rank * rank)
        precision = ((1 / noise) @ outer).reshape(-1, rank, rank) + np.eye(rank) / far[:, None, None]
        g, vectors = np.linalg.eigh(precision)
        g = np.maximum(g, 1 / far[:, None])  # below it by rounding alone
        root = vectors / np.sqrt(g)[:, None, :]
        half = np.einsum("srq,sr->sq", root, (residual / noise) @ loadings)
        distance = (residual**2 / noise).sum(axis=1) - (half**2).sum(axis=1)
        volume = np.log(noise).sum(axis=1) + np.log(g).sum(axis=1) + rank * np.log(far)
        return -0.5 * (distance + volume), np.einsum("srq,sq->sr", root, half), root

    def log_density(self, row: ArrayLike, variance: ArrayLike | None = None) -> Vector:
        """Log density of the row of a matrix, less a constant, for each pair of scales.

        Parameters
        ----------
        row : array_like of float, shape (columns,)
            Means of `trainings` trainings; nan where not measured.
        variance : array_like of float, shape (columns,), optional
            Between the trainings of each; nan where there was one only.

        Returns
        -------
        ndarray of float64, shape (scales,)
        """
        row = np.asarray(row, dtype=np.float64)
        columns = np.flatnonzero(~np.isnan(row))
        density = self._posterior(columns, row[columns], self._variances(columns, self.trainings)[1])[0]
        if self.luck is None or variance is None:
            return density
        ratio = (np.asarray(variance) / self.luck)[~np.isnan(variance)]  # chi-squared, but for the scale
        freedom = (self.trainings - 1) / 2
        return density - freedom * (len(ratio) * np.log(SCALES[:, 1]) + ratio.sum() / SCALES[:, 1])

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
        own, noise = self._variances(columns, 1.0 if counts is None else np.asarray(counts, dtype=np.float64))
        density, centre, root = self._posterior(columns, errors, noise)
        density = np.where(self.probabilities > 0, density, -np.inf)
        weight = self.probabilities * np.exp(density - density.max())
        likely = weight > NEGLIGIBLE * weight.sum()
        weight, scale = weight[likely] / weight[likely].sum(), SCALES[likely, 1]
        believed = np.zeros((len(weight), len(self.own)))  # how much of a deviation from the factors is the row's own
        believed[:, columns] = (own / noise)[likely]
        means = self.factors.mean + centre[likely] @ self.factors.loadings.T
        means[:, columns] += believed[:, columns] * (errors - means[:, columns])
        mean = weight @ means
        apart = (means - mean) * np.sqrt(weight)[:, None]
        root = root[likely] * np.sqrt(weight)[:, None, None]
        basis = (1 - believed)[:, :, None] * (self.factors.loadings @ root)
        basis = basis.transpose(1, 0, 2).reshape(len(mean), -1)
        covariance = basis @ basis.T + apart.T @ apart
        everywhere = self._variances(slice(None), 1.0)[0][likely]
        covariance[np.diag_indices_from(covariance)] += weight @ (everywhere * (1 - believed))
        if self.luck is None:
            covariance[columns] = covariance[:, columns] = 0.0
            mean[columns] = errors
            return Belief(mean, covariance)
        return Belief(mean, covariance, (weight @ scale) * self.luck)


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
