"""What is believed of one row of errors: a Gaussian over the errors of all configurations.

Measuring some entries turns the expectation of the others, and their standard deviations, by the
ordinary rules for conditioning a Gaussian. `prior` learns one from other tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Belief"]


@dataclass(frozen=True, eq=False)
class Belief:
    """A Gaussian over one row of an error matrix.

    Parameters
    ----------
    mean : ndarray of float64, shape (columns,)
    covariance : ndarray of float64, shape (columns, columns)
        Symmetric, positive semi-definite.

    Examples
    --------
    >>> prior = Belief(np.array([0.5, 0.25]), np.array([[0.02, 0.01], [0.01, 0.02]]))
    >>> after = prior.given([0], [0.6])
    >>> after.mean.round(3), after.deviation.round(3)
    (array([0.6, 0.3]), array([0.   , 0.122]))
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation of each entry, shape (columns,)."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    def given(self, columns: ArrayLike, errors: ArrayLike) -> Belief:
        """Return the belief after some entries have been measured.

        Parameters
        ----------
        columns : array_like of int, shape (n,)
            Distinct columns.
        errors : array_like of float, shape (n,)
            What was measured there; reproduced exactly by the new mean.

        Returns
        -------
        Belief

        Raises
        ------
        ValueError
            If what was measured is already certain under the belief: the equations are singular.

        Notes
        -----
        *Source*: conditioning of a multivariate Gaussian, by Cholesky factorization.
        """
        columns = np.asarray(columns, dtype=np.intp)
        errors = np.asarray(errors, dtype=np.float64)
        if len(columns) == 0:
            return self
        cross = self.covariance[columns]
        try:
            root = np.linalg.cholesky(cross[:, columns])
        except np.linalg.LinAlgError:
            raise ValueError(
                f"Belief.given: got columns {columns.tolist()}, some of which follow exactly from "
                "the others; allowed are columns with a deviation of their own; measure each once"
            ) from None
        half = np.linalg.solve(root, cross)
        mean = self.mean + half.T @ np.linalg.solve(root, errors - self.mean[columns])
        covariance = self.covariance - half.T @ half
        covariance[columns] = covariance[:, columns] = 0.0
        mean[columns] = errors
        return Belief(mean, covariance)
