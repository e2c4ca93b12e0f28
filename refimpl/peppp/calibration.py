"""How wide must a band be, to hold nine in ten entries of a row never seen?

A Gaussian belief states a standard deviation for each prediction. Whether those are honest is
measured, not assumed: rows are left out in turn, estimated from a few of their entries, and the
band is as many standard deviations wide as it takes to hold 90 % of the others.

*Source*: cross-conformal prediction (Vovk, 2015), with standardized residuals.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from refimpl.peppp import sequential
from refimpl.peppp.belief import Belief

__all__ = ["NORMAL_90", "band_width"]

NORMAL_90 = 1.6448536269514722
"""Half width of the band that holds 90 % of a normal distribution, in standard deviations."""


def band_width(
    parts: Iterable[tuple[Belief, NDArray[np.float64]]], n: int, *, weights: NDArray[np.float64],
    level: float = 0.9,
) -> float:  # fmt: skip
    """Find the half width, in standard deviations, of a band that holds `level` of new entries.

    Parameters
    ----------
    parts : iterable of (Belief, ndarray of float64, shape (rows, columns))
        Beliefs, each with complete rows that were left out of it; from `prior.learn_prior`.
    n : int
        Entries that will be measured of a new row.
    weights : ndarray of float64, shape (columns,)
        For `sequential.variance_reduction`, which chooses them.
    level : float, default 0.9

    Returns
    -------
    float
        The `level` quantile of |error - prediction| / deviation over the unmeasured entries of
        all rows; `NORMAL_90` where there are none.

    Notes
    -----
    Rows are exchangeable, entries of one row are not independent: the level holds on average over
    rows. The kind of belief (rank, noise) was chosen on all rows together.

    Examples
    --------
    >>> from refimpl.peppp.prior import learn_prior
    >>> rng = np.random.default_rng(0)
    >>> values = 0.5 + 0.1 * rng.standard_normal((60, 8)).clip(-3, 3)
    >>> 1.4 < band_width(learn_prior(values).left_out, 2, weights=np.ones(8)) < 1.9
    True
    """
    found = []
    for belief, rows in parts:
        allowed = np.ones(rows.shape[1], dtype=bool)
        chosen = sequential.variance_reduction(belief, n, weights=weights, allowed=allowed)
        found.append(_standardized(belief, chosen, rows).ravel())
    residuals = np.concatenate(found) if found else np.empty(0)
    return float(np.quantile(residuals, level)) if residuals.size else NORMAL_90


def _standardized(belief: Belief, chosen, rows) -> NDArray[np.float64]:
    """|error - prediction| / deviation of the unmeasured entries of several rows."""
    rest = np.setdiff1d(np.arange(rows.shape[1]), chosen)
    covariance = belief.covariance
    gain = np.linalg.solve(covariance[np.ix_(chosen, chosen)], covariance[np.ix_(chosen, rest)])
    predicted = belief.mean[rest] + (rows[:, chosen] - belief.mean[chosen]) @ gain
    variance = np.diag(covariance)[rest] - (covariance[np.ix_(chosen, rest)] * gain).sum(axis=0)
    return np.abs(rows[:, rest] - predicted) / np.sqrt(np.maximum(variance, 1e-300))
