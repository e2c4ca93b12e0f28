"""The law every derivative is held to: it agrees with directional finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refimpl.autodiff.tensor import Tensor


def check_gradient(function: Callable, *inputs, seed: int, step: float = 1e-5, tolerance: float = 1e-6) -> float:
    """Compare the backward pass with central differences along one random direction.

    For L(x) = sum(weights * f(x)) with random weights and a random direction v, the derivative of
    L along v from `backward` must equal (L(x + h v) - L(x - h v)) / 2h.

    Parameters
    ----------
    function : callable
        Of Tensors, returning a Tensor of any shape.
    inputs : array_like
        Used as float64.
    seed : int
    step : float
        h; the central difference errs by O(h^2) in truncation and O(2^-53 ``|L|`` / h) in rounding.
    tolerance : float
        Largest difference allowed, relative to ``1 + |derivative|``.

    Returns
    -------
    float
        The relative difference found.

    Raises
    ------
    AssertionError
        If it is above the tolerance, with both numbers.

    Examples
    --------
    >>> check_gradient(lambda x, y: x * y, [1.0, 2.0], [3.0, 4.0], seed=0) < 1e-9
    True
    """
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(x, np.float64) for x in inputs]
    directions = [rng.standard_normal(x.shape) for x in arrays]
    tensors = [Tensor(x, requires_grad=True) for x in arrays]
    output = function(*tensors)
    weights = rng.standard_normal(output.shape)
    (output * weights).sum().backward()
    analytic = sum(float(np.sum(t.grad * v)) for t, v in zip(tensors, directions, strict=True) if t.grad is not None)

    def value(h):
        moved = [Tensor(x + h * v) for x, v in zip(arrays, directions, strict=True)]
        return float(np.sum(function(*moved).data * weights))

    numeric = (value(step) - value(-step)) / (2 * step)
    difference = abs(analytic - numeric) / (1 + abs(numeric))
    if not difference <= tolerance:
        raise AssertionError(
            f"check_gradient: backward gives {analytic!r} along the direction, central differences "
            f"{numeric!r}: relative difference {difference:.2e}, allowed {tolerance:.0e}"
        )
    return difference
