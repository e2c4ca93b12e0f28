"""How wide must a band be, and how low a frontier, to be right about rows never seen?

A belief states a standard deviation for each prediction, and where the frontier is to be expected.
Whether those are honest is measured, not assumed: rows are left out in turn and estimated from a few
of their entries, by the strategy that is used for new ones. The band is as many standard deviations wide as it takes
to hold 90 % of the others; the frontier goes as far from the predictions towards its expectation as was right for most.

*Source*: cross-conformal prediction (Vovk, 2015), with standardized residuals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl.peppp import frontier as fronts
from refimpl.peppp.estimators import sequential
from refimpl.peppp.estimators.belief import Belief
from refimpl.peppp.estimators.expected_frontier import expected_frontier, expected_least
from refimpl.peppp.estimators.scaled_rows import ScaledRows

__all__ = ["NORMAL_90", "LeftOut", "band_width", "frontier_fraction", "rehearse"]

NORMAL_90 = 1.6448536269514722
"""Half width of the band that holds 90 % of a normal distribution, in standard deviations."""


class LeftOut(NamedTuple):
    """A row that was left out, and what was believed of it after a few of its entries.

    `true`, shape (trainings, columns), are the trainings that were not measured; nan where there was none.
    """

    row: int
    true: NDArray[np.float64]
    measured: NDArray[np.intp]
    after: Belief


def rehearse(
    parts: Iterable[tuple[ScaledRows, NDArray[np.intp]]],
    draws: NDArray[np.float64],
    choose: Callable[[ScaledRows, int, NDArray[np.bool_]], sequential.Strategy],
) -> list[LeftOut]:
    """Estimate each row from a few of its entries and what was learned without it, as a new row will be.

    Parameters
    ----------
    parts : iterable of (ScaledRows, ndarray of int)
        What was learned, each with the rows that were left out of it; from `prior.learn_prior`.
    draws : ndarray of float64, shape (trainings, rows, columns)
        Errors; nan where not measured. The first training of a row is what is measured of it; the others are
        the truth, or the first itself where there is only one.
    choose : callable
        Of what was learned, the row and the columns that were measured in it, returns the strategy that will be used.

    Returns
    -------
    list of LeftOut

    Notes
    -----
    Rows are exchangeable, entries of one row are not independent: what is learned from these holds on
    average over rows. The kind of belief (rank, noise) was chosen on all rows together.
    """
    left = []
    for learned, rows in parts:
        for row in rows:
            there = ~np.isnan(draws[0, row])
            strategy = choose(learned, int(row), there)
            chosen, errors = sequential.measure_by(strategy, draws[0, row].__getitem__)
            true = draws[1:, row] if len(draws) > 1 else draws[:, row]
            left.append(LeftOut(int(row), true, chosen, learned.given(chosen, errors)))
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
        The `level` quantile of |error - prediction| / deviation over the unmeasured entries of all rows,
        each column counting as much as it would if it were known in every row; `NORMAL_90` where there are none.

    Examples
    --------
    >>> left = LeftOut(0, np.array([[0.4, 0.5, 0.8]]), np.array([1]), Belief(np.full(3, 0.5), 0.01 * np.eye(3)))
    >>> round(band_width([left], 1.0), 6)
    3.0
    """
    if not rehearsed:
        return NORMAL_90
    residuals = np.array(
        [np.abs(left.true - left.after.mean) / np.maximum(left.after.deviation, 1e-150) for left in rehearsed]
    )
    for of_row, left in zip(residuals, rehearsed, strict=True):
        of_row[:, left.measured] = np.nan
    known = ~np.isnan(residuals)
    if not known.any():
        return NORMAL_90
    often = known.any(axis=1).sum(axis=0)  # in how many rows each column is known
    weights = np.broadcast_to(1 / np.maximum(often, 1), known.shape)[known]
    return float(np.quantile(residuals[known], level, weights=weights, method="inverted_cdf"))


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
    >>> low = LeftOut(0, np.array([[0.5, 0.45]]), np.array([], int), after)
    >>> round(frontier_fraction([low], [[1.0, 2.0]]), 3)
    0.0
    """
    rehearsed = [left for left in rehearsed if not np.isnan(left.true).all(axis=0).any()]
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
        misses.append(fronts.hypervolume(mb, np.nanmean(left.true, axis=0), corner) - volume)
        gains.append(fronts.hypervolume(mb, lowered, corner) - volume)
    missing, gained = np.array(misses), np.maximum(gains, 1e-12 * corner[0])
    order = np.argsort(missing / gained)
    middle = np.searchsorted(np.cumsum(gained[order]), gained.sum() / 2)
    return float(np.clip((missing / gained)[order][min(middle, len(order) - 1)], 0.0, 1.0))
