"""Weights rounded after training, each error made up for by the weights still to be rounded (arXiv 2210.17323)."""

from __future__ import annotations

import numpy as np

from refimpl import _arguments as check


def gptq(weight, inputs, scale, *, bits: int, damping: float = 0.01) -> np.ndarray:
    """Round a layer's weights to integers times scales so that its outputs, x W, change little.

    Parameters
    ----------
    weight : array_like of floats, shape (features, outputs)
    inputs : array_like of floats, shape (n, features)
        What comes into the layer, of a few data.
    scale : array_like of floats above 0, that broadcasts to the shape of `weight`
        The step of the integers of each weight.
    bits : int
        2 to 16; integers go from -(2^(bits-1) - 1) to 2^(bits-1) - 1.
    damping : float
        Part of the mean of the diagonal of H that is added to it.

    Returns
    -------
    ndarray of float64, shape of `weight`

    Raises
    ------
    TypeError, ValueError
        For arrays that are not finite or do not fit each other, scales or a damping not above 0, other bits.

    Notes
    -----
    The outputs change by tr(D' H D), H = x'x, for a change D of the weights.  Features are rounded one after the
    other, the largest in H first, and the error of each is carried to those left as makes this least: by the rows
    of the upper Cholesky factor of the inverse of H.

    Examples
    --------
    >>> x = np.array([[1.0, 1.0]])  # both weights see the same input: their sum alone matters
    >>> gptq([[1.4], [1.4]], x, 1.0, bits=4).ravel().tolist(), np.rint([1.4, 1.4]).tolist()
    ([1.0, 2.0], [1.0, 1.0])
    """
    verb = "gptq"
    w = check.finite(verb, "weight", check.numbers(verb, "weight", weight, (None, None)))
    x = check.finite(verb, "inputs", check.numbers(verb, "inputs", inputs, (None, len(w))))
    top = 2 ** (check.integer(verb, "bits", bits, check.Interval(2, 16)) - 1) - 1
    damping = check.number(verb, "damping", damping, check.POSITIVE)
    steps = check.finite(verb, "scale", check.numbers(verb, "scale", scale))
    check.every(verb, "scale", steps, steps > 0, "above 0")
    try:
        steps = np.broadcast_to(steps, w.shape)
    except ValueError:
        raise ValueError(
            check.message(verb, "scale", f"of shape {steps.shape}", f"one that broadcasts to {w.shape}")
        ) from None
    h = x.T @ x
    h += np.eye(len(h)) * (damping * h.trace() / len(h) or 1.0)
    order = np.argsort(-np.diag(h), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(h[np.ix_(order, order)])).T
    left, found = w[order], np.empty_like(w)
    for i, feature in enumerate(order):
        found[feature] = np.clip(np.rint(left[i] / steps[feature]), -top, top) * steps[feature]
        error = (left[i] - found[feature]) / upper[i, i]
        left[i + 1 :] -= np.outer(upper[i, i + 1 :], error)
    return found
