"""How wide must a band be, and how low a frontier, to be right about rows never seen?

A belief states a standard deviation for each prediction, and where the frontier is to be expected.
Whether those are honest is measured, not assumed: rows are left out in turn and estimated from a few
of their entries. The band is as many standard deviations wide as it takes to hold 90 % of the others;
the frontier goes as far from the predictions towards its expectation as was right for most.

*Source*: cross-conformal prediction (Vovk, 2015), with standardized residuals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl.peppp import frontier as fronts
from refimpl.peppp.estimators import sequential
from refimpl.peppp.estimators.belief import Belief
from refimpl.peppp.estimators.expected_frontier import expected_frontier, expected_least
from refimpl.peppp.estimators.noise_scale import ScaledNoise

__all__ = ["NORMAL_90", "LeftOut", "band_width", "frontier_fraction", "rehearse"]

NORMAL_90 = 1.6448536269514722
"""Half width of the band that holds 90 % of a normal distribution, in standard deviations."""


class LeftOut(NamedTuple):
    """A row that was left out, and what was believed of it after a few of its entries."""

    row: int
    true: NDArray[np.float64]
    measured: NDArray[np.intp]
    after: Belief


def rehearse(
    parts: Iterable[tuple[ScaledNoise, NDArray[np.intp]]], values: ArrayLike, n: int, *, weights: NDArray[np.float64]
) -> list[LeftOut]:
    """Estimate each row from `n` of its entries and what was learned without it.

    Parameters
    ----------
    parts : iterable of (ScaledNoise, ndarray of int)
        What was learned, each with the rows that were left out of it; from `prior.learn_prior`.
    values : array_like of float, shape (rows, columns)
        Complete.
    n : int
        Entries that will be measured of a new row.
    weights : ndarray of float64, shape (columns,)
        For `sequential.variance_reduction`, which chooses them.

    Returns
    -------
    list of LeftOut

    Notes
    -----
    Rows are exchangeable, entries of one row are not independent: what is learned from these holds on
    average over rows. The kind of belief (rank, noise) was chosen on all rows together.
    """
    errors = np.asarray(values, dtype=np.float64)
    everything = np.ones(errors.shape[1], dtype=bool)
    left = []
    for learned, rows in parts:
        chosen = sequential.variance_reduction(learned.factors.belief, n, weights=weights, allowed=everything)
        for row in rows:
            after = learned.given(chosen, errors[row, chosen])
            left.append(LeftOut(int(row), errors[row], chosen, after))
    return left


def band_width(rehearsed: Sequence[LeftOut], level: float = 0.9) -> float:
    """Find the half width, in standard deviations, of a band that holds `level` of new entries.

    Parameters
    ----------
    rehearsed : sequence of LeftOut
        From `rehearse`.
    level : float, default 0.9

    Returns
    -------
    float
        The `level` quantile of |error - prediction| / deviation over the unmeasured entries of
        all rows; `NORMAL_90` where there are none.

    Examples
    --------
    >>> from refimpl.peppp.estimators.prior import learn_prior
    >>> rng = np.random.default_rng(0)
    >>> values = 0.5 + 0.1 * rng.standard_normal((60, 8)).clip(-3, 3)
    >>> rehearsed = rehearse(learn_prior(values).left_out, values, 2, weights=np.ones(8))
    >>> 1.4 < band_width(rehearsed) < 1.9
    True
    """
    of_rows = [
        np.delete(np.abs(true - after.mean) / np.maximum(after.deviation, 1e-150), measured)
        for _, true, measured, after in rehearsed
    ]
    residuals = np.concatenate(of_rows) if of_rows else np.empty(0)
    return float(np.quantile(residuals, level)) if residuals.size else NORMAL_90


def frontier_fraction(rehearsed: Sequence[LeftOut], memory: ArrayLike) -> float:
    """Find how far the frontier goes from the predictions (0) towards its expectation (1).

    Parameters
    ----------
    rehearsed : sequence of LeftOut
        From `rehearse`.
    memory : array_like of float, shape (rows, columns)
        Of all rows, the left-out ones among them.

    Returns
    -------
    float
        The fraction in [0, 1] for which the hypervolumes of the left-out rows' frontiers differ least
        (in absolute value, on average) from the true ones; 1 if there are none.

    Notes
    -----
    The hypervolume is linear in the fraction, so that the best one is a weighted median.

    Examples
    --------
    >>> after = Belief(np.array([0.5, 0.5]), 0.01 * np.eye(2))
    >>> low = LeftOut(0, np.array([0.5, 0.45]), np.array([], int), after)
    >>> round(frontier_fraction([low], [[1.0, 2.0]]), 3)
    0.0
    """
    if not rehearsed:
        return 1.0
    sizes = np.asarray(memory, dtype=np.float64)[[left.row for left in rehearsed]]
    least = expected_least(
        sizes, [left.after.mean for left in rehearsed], np.array([left.after.covariance for left in rehearsed])
    )
    corner = (float(sizes.max()), 1.0)
    misses, gains = [], []
    for mb, low, left in zip(sizes, least, rehearsed, strict=True):
        predicted = np.clip(left.after.mean, 0.0, 1.0)
        volume = fronts.hypervolume(mb, predicted, corner)
        lowered = expected_frontier(mb, predicted, low, 1.0)
        misses.append(fronts.hypervolume(mb, left.true, corner) - volume)
        gains.append(fronts.hypervolume(mb, lowered, corner) - volume)
    missing, gained = np.array(misses), np.maximum(gains, 1e-12 * corner[0])
    order = np.argsort(missing / gained)
    middle = np.searchsorted(np.cumsum(gained[order]), gained.sum() / 2)
    return float(np.clip((missing / gained)[order][min(middle, len(order) - 1)], 0.0, 1.0))
