"""Regression by a Gaussian process, as the paper's Bayesian optimization uses it.

*Source*: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1;
PEPPP (arXiv 2106.09686) for the kernel; Jones, Schonlau and Welch (1998) for expected improvement.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import ndtr

__all__ = ["expected_improvement", "fit_gaussian_process"]

START = np.log([20.0, 1.0])
"""Length scale 20 and noise variance 1, from which the likelihood is climbed."""

BOUNDS = [(np.log(1e-5), np.log(1e5))] * 2


def _squared_distances(a, b):
    return cdist(a, b, "sqeuclidean")


def fit_gaussian_process(
    features: NDArray[np.float64], measured: NDArray[np.intp], errors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predict the errors of all configurations from those measured.

    The kernel is exp(-|a - b|^2 / (2 length^2)) plus white noise; length and noise maximise the
    likelihood of what was measured, from 20 and 1 on, within 1e-5 to 1e5. The prior mean is 0.

    Parameters
    ----------
    features : ndarray of float64, shape (columns, features)
    measured : ndarray of int, shape (n,)
    errors : ndarray of float64, shape (n,)

    Returns
    -------
    mean, deviation : ndarray of float64, shape (columns,)
        Of a new measurement there (its noise included).

    Examples
    --------
    >>> mean, deviation = fit_gaussian_process(np.array([[0.0], [1.0], [9.0]]),
    ...                                        np.array([0, 2]), np.array([0.2, 0.8]))
    >>> bool(0 < mean[1] < 0.8), bool((deviation > 0).all())
    (True, True)
    """
    near = _squared_distances(features[measured], features[measured])
    count = len(errors)

    def negative_log_likelihood(parameters):
        length, noise = np.exp(parameters)
        similar = np.exp(-0.5 * near / length**2)
        root = cholesky(similar + (noise + 1e-10) * np.eye(count), lower=True)
        weights = cho_solve((root, True), errors)
        value = 0.5 * errors @ weights + np.log(np.diag(root)).sum()
        inner = np.outer(weights, weights) - cho_solve((root, True), np.eye(count))
        slope = [(inner * similar * near / length**2).sum(), noise * np.trace(inner)]
        return value, -0.5 * np.array(slope)

    best = minimize(negative_log_likelihood, START, jac=True, method="L-BFGS-B", bounds=BOUNDS)
    length, noise = np.exp(best.x)
    root = cholesky(np.exp(-0.5 * near / length**2) + (noise + 1e-10) * np.eye(count), lower=True)
    across = np.exp(-0.5 * _squared_distances(features, features[measured]) / length**2)
    mean = across @ cho_solve((root, True), errors)
    variance = 1 + noise - (across * cho_solve((root, True), across.T).T).sum(axis=1)
    return mean, np.sqrt(np.maximum(variance, 1e-20))


def expected_improvement(mean, deviation, least: float, margin: float = 0.01):
    """Return how far a measurement is expected to fall below the least error so far.

    EI = s (g Phi(g) + phi(g)) with g = (least - mean - margin) / s.

    Parameters
    ----------
    mean, deviation : array_like of float, shape (n,)
    least : float
        Smallest measured error.
    margin : float, default 0.01

    Returns
    -------
    ndarray of float64, shape (n,)

    Examples
    --------
    >>> expected_improvement([0.5], [0.25], least=0.51).round(6)  # g = 0: s / sqrt(2 pi)
    array([0.099736])
    """
    mean, deviation = np.asarray(mean, np.float64), np.asarray(deviation, np.float64)
    g = (least - mean - margin) / deviation
    return deviation * (g * ndtr(g) + np.exp(-0.5 * g**2) / np.sqrt(2 * np.pi))
