"""Predict a new task's errors by regression on an embedding of the configurations.

Notation
--------
Y     the embedding, rank x columns
S     the measured columns
e     errors of the new data set, one per column
x     its coordinates: e is about x^T Y
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl._arguments import message
from refimpl.peppp.checks import matrix, measurements

__all__ = ["predict"]


def predict(
    embedding: ArrayLike, measured_columns: ArrayLike, measured_errors: ArrayLike, *, plug_in: bool = True
) -> NDArray[np.float64]:
    """Predict the errors of all configurations from those measured.

    Least squares x = argmin ||Y_S^T x - e_S||, prediction Y^T x clipped to [0, 1].

    Parameters
    ----------
    embedding : array_like of float, shape (rank, columns)
        Embedding of the configurations.
    measured_columns : array_like of int, shape (n,)
        Distinct columns that were measured, n >= rank.
    measured_errors : array_like of float, shape (n,)
        Their errors in [0, 1].
    plug_in : bool, default True
        Whether measured errors replace their predictions. The code released with the paper does
        not do it for the frontier; a measured value is then overruled by the model.

    Returns
    -------
    ndarray of float64, shape (columns,)
        Errors in [0, 1].

    Raises
    ------
    ValueError
        If fewer columns than the rank are measured, a column is out of range or measured twice,
        an error is outside [0, 1], or the measured columns do not determine x: there is no silent
        pseudo-inverse.

    Notes
    -----
    *Source*: ED-MF in PEPPP (arXiv 2106.09686). The rounding error grows with the condition
    number of Y_S, which D-optimal design keeps small.

    Examples
    --------
    >>> predict([[1.0, 2.0, 4.0]], measured_columns=[0], measured_errors=[0.125])
    array([0.125, 0.25 , 0.5  ])
    """
    y = matrix("predict", "embedding", embedding)
    rank, n_columns = y.shape
    columns, errors = measurements("predict", measured_columns, measured_errors, n_columns)
    if len(columns) < rank:
        allowed, hint = f"at least {rank}, the embedding's rank", "measure more or lower the rank"
        raise ValueError(message("predict", "the number of measurements", f"{len(columns)}", allowed, hint))
    x, _, determined, _ = np.linalg.lstsq(y[:, columns].T, errors, rcond=None)
    if determined < rank:
        got = f"spanning only {determined} of the embedding's {rank} dimensions"
        raise ValueError(message("predict", "what was measured", got, "columns that span all, as of d_optimal"))
    prediction = np.clip(x @ y, 0.0, 1.0)
    if plug_in:
        prediction[columns] = errors
    return prediction
