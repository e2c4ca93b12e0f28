"""What is believed of one row of errors: a Gaussian over the errors of all configurations.

Measuring some entries turns the expectation of the others, and their standard deviations, by the
ordinary rules for conditioning a Gaussian. What is measured is the error of one training, which is the error
to be expected and luck: of two trainings from different seeds, neither is the truth. `prior` learns a belief from
other tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Belief"]


@dataclass(frozen=True, eq=False)
class Belief:
    """A Gaussian over one row of expected errors, and how far single trainings scatter about them.

    Parameters
    ----------
    mean : ndarray of float64, shape (columns,)
    covariance : ndarray of float64, shape (columns, columns)
        Symmetric, positive semi-definite.
    luck : ndarray of float64, shape (columns,), optional
        Variance of a single training's error about the expected one; default none: what is measured is exact.

    Examples
    --------
    >>> prior = Belief(np.array([0.5, 0.25]), np.array([[0.02, 0.01], [0.01, 0.02]]))
    >>> after = prior.given([0], [0.6])
    >>> after.mean.round(3), after.deviation.round(3)
    (array([0.6, 0.3]), array([0.   , 0.122]))
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    luck: NDArray[np.float64] | None = None

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation of the error of one more training in each configuration, shape (columns,)."""
        variance = np.diag(self.covariance) + (0.0 if self.luck is None else self.luck)
        return np.sqrt(np.maximum(variance, 0.0))

    def given(self, columns: ArrayLike, errors: ArrayLike, counts: ArrayLike | None = None) -> Belief:
        """Return the belief after some entries have been measured.

        Parameters
        ----------
        columns : array_like of int, shape (n,)
            Distinct columns.
        errors : array_like of float, shape (n,)
            What was measured there: the means of so many trainings as `counts` says. Without luck it is
            reproduced exactly by the new mean.
        counts : array_like of float, shape (n,), optional
            Trainings of each; default one.

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
        luck = np.zeros(len(columns)) if self.luck is None else self.luck[columns] / (1 if counts is None else counts)
        try:
            root = np.linalg.cholesky(cross[:, columns] + np.diag(luck))
        except np.linalg.LinAlgError:
            raise ValueError(
                f"Belief.given: got columns {columns.tolist()}, some of which follow exactly from "
                "the others; allowed are columns with a deviation of their own; measure each once"
            ) from None
        half = np.linalg.solve(root, cross)
        mean = self.mean + half.T @ np.linalg.solve(root, errors - self.mean[columns])
        covariance = self.covariance - half.T @ half
        exact = columns[luck == 0]
        covariance[exact] = covariance[:, exact] = 0.0
        mean[exact] = errors[luck == 0]
        return Belief(mean, covariance, self.luck)
