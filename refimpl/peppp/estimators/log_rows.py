"""Rows of errors that are alike by ratio rather than by difference: a belief about their logarithms.

Where tasks differ much in how hard they are, what a format costs is in proportion: an error of .02 becomes .03 where
one of .4 becomes .6, and of 0 nothing is known by its logarithm.  So what is believed is

    y = log(1 + e / offset) / log(1 + 1 / offset)

which is nearly straight in e below the offset, nearly logarithmic above it, and from 0 to 1 as e is.  `prior` decides
by rows that were left out whether a table's rows are better described so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import ArrayLike, NDArray

from refimpl.peppp.estimators.belief import Belief
from refimpl.peppp.estimators.scaled_rows import ScaledRows

__all__ = ["LogRows", "log_slope", "logarithms"]

POINTS, WEIGHTS = hermegauss(15)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
"""Of a standard normal distribution (Gauss and Hermite's)."""


def logarithms(errors: ArrayLike, offset: float) -> NDArray[np.float64]:
    """Return y of errors in [0, 1]; nan stays nan.

    >>> logarithms([0.0, 0.1, 1.0], 0.1).round(3)
    array([0.   , 0.289, 1.   ])
    """
    return np.log1p(np.asarray(errors, dtype=np.float64) / offset) / np.log1p(1 / offset)


def log_slope(errors: ArrayLike, offset: float) -> NDArray[np.float64]:
    """Return the logarithm of dy/de: what a log density of y becomes one of e by.

    >>> log_slope([0.1], 0.1).round(3)
    array([0.735])
    """
    return -np.log((offset + np.asarray(errors, dtype=np.float64)) * np.log1p(1 / offset))


@dataclass(frozen=True, eq=False)
class LogRows:
    """Rows of errors of whose logarithms something is known.

    Parameters
    ----------
    rows : ScaledRows
        Of y.
    offset : float
        Above 0.

    Examples
    --------
    >>> from refimpl.peppp.estimators.factors import Factors
    >>> from refimpl.peppp.estimators.scaled_rows import SCALES
    >>> factors = Factors(np.full(2, 0.5), np.full((2, 1), 0.2), np.full(2, 1e-4))
    >>> rows = LogRows(ScaledRows(factors, (SCALES == 1).all(axis=1) * 1.0), 0.1)
    >>> small, large = rows.given([0], [0.05]), rows.given([0], [0.5])
    >>> small.deviation.round(3), large.deviation.round(3)
    (array([0.   , 0.005]), array([0.  , 0.02]))
    """

    rows: ScaledRows
    offset: float

    @property
    def luck(self) -> NDArray[np.float64] | None:
        """As of `rows`: variances of single trainings' y."""
        return self.rows.luck

    def given(self, columns: ArrayLike, errors: ArrayLike, counts: ArrayLike | None = None) -> Belief:
        """Return what is believed of a row's errors, of which some have been measured; as `ScaledRows.given`.

        Returns
        -------
        Belief
            Means and deviations of errors within [0, 1], by quadrature; correlations are those of y.
        """
        columns, errors = np.asarray(columns, dtype=np.intp), np.asarray(errors, dtype=np.float64)
        of_logs = self.rows.given(columns, logarithms(errors, self.offset), counts)
        deviation = np.maximum(of_logs.deviation, 1e-150)
        y = of_logs.mean[:, None] + deviation[:, None] * POINTS
        with np.errstate(over="ignore"):  # far above 1, which is cut off
            outcomes = np.clip(self.offset * np.expm1(y * np.log1p(1 / self.offset)), 0.0, 1.0)
        mean = outcomes @ WEIGHTS
        ratio = np.sqrt((outcomes - mean[:, None]) ** 2 @ WEIGHTS) / deviation
        if of_logs.luck is None:
            mean[columns] = errors
        luck = None if of_logs.luck is None else of_logs.luck * ratio**2
        return Belief(mean, of_logs.covariance * np.outer(ratio, ratio), luck)
