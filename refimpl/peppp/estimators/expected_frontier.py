"""Where the true frontier is to be expected, which is below the predictions.

The best of many configurations is better than the prediction of any one of them: the least of uncertain
errors is expected below the least of their expectations. A frontier drawn through predictions is
therefore too high, the more so the more there is to be unsure of.

*Source*: Clark, The greatest of a finite set of random variables (1961).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from refimpl.peppp import frontier as fronts

__all__ = ["expected_frontier", "expected_least"]


def expected_least(memory: ArrayLike, mean: ArrayLike, covariance: ArrayLike) -> NDArray[np.float64]:
    """Expect the least error within the memory that each configuration takes.

    Configurations are taken by ascending memory. The least of those so far is treated as normal,
    with the moments that the lesser of two normal variables has.

    Parameters
    ----------
    memory, mean : array_like of float, shape (rows, columns)
    covariance : array_like of float, shape (rows, columns, columns)
        Of the errors of each row, which are normal.

    Returns
    -------
    ndarray of float64, shape (rows, columns)
        Not above the least mean within that memory.

    Notes
    -----
    Exact for two configurations. For more, the least is not quite normal: among seven, the tests
    find it within a tenth of their largest standard deviation.

    Examples
    --------
    >>> expected_least([[1.0, 2.0]], [[0.5, 0.5]], [0.01 * np.eye(2)]).round(4)
    array([[0.5   , 0.4436]])
    """
    memory, mean = np.asarray(memory, np.float64), np.asarray(mean, np.float64)
    rows = np.arange(len(mean))[:, None]
    order = np.lexsort((mean, memory), axis=1)
    memory, mean = memory[rows, order], mean[rows, order]
    covariance = np.asarray(covariance)[rows[:, :, None], order[:, :, None], order[:, None, :]]
    least, variance, cross = mean[:, 0], covariance[:, 0, 0], covariance[:, 0]
    running = [least]
    for k in range(1, mean.shape[1]):
        other, own = mean[:, k], covariance[:, k, k]
        spread = np.sqrt(np.maximum(variance + own - 2 * cross[:, k], 1e-20))
        apart = (other - least) / spread
        stays, density = ndtr(apart), np.exp(-0.5 * apart**2) / np.sqrt(2 * np.pi)
        square = (variance + least**2) * stays + (own + other**2) * (1 - stays)
        square -= (least + other) * spread * density
        least = np.minimum(least, other) - spread * (density - np.abs(apart) * ndtr(-np.abs(apart)))
        variance = np.maximum(square - least**2, 0.0)
        cross = cross * stays[:, None] + covariance[:, k] * (1 - stays)[:, None]
        running.append(least)
    expected = np.empty_like(mean)
    for row, (sizes, values) in enumerate(zip(memory, np.transpose(running), strict=True)):
        expected[row, order[row]] = values[np.searchsorted(sizes, sizes, side="right") - 1]
    return expected


def expected_frontier(
    memory: ArrayLike, predicted: ArrayLike, least: ArrayLike, fraction: float
) -> NDArray[np.float64]:
    """Lower the configurations on the predicted frontier towards the least error to be expected.

    Parameters
    ----------
    memory, predicted, least : array_like of float, shape (columns,)
        `least` as of `expected_least`.
    fraction : float
        How far to go, from 0 (stay) to 1.

    Returns
    -------
    ndarray of float64, shape (columns,)
        In [0, 1] as `predicted`, with the same frontier.

    Examples
    --------
    >>> expected_frontier([1, 2, 3], [0.5, 0.6, 0.4], [0.5, 0.4, 0.2], fraction=0.5)
    array([0.5, 0.6, 0.3])
    """
    predicted = np.asarray(predicted, dtype=np.float64)
    least = np.clip(np.minimum(least, predicted), 0.0, 1.0)
    front = fronts.non_dominated(memory, predicted)
    return np.where(front, predicted + fraction * (least - predicted), predicted)
