"""Softmax with every step rounded in a stated format."""

from __future__ import annotations

from typing import Any

import numpy as np

from refimpl.ops import arrays, sums
from refimpl.ops.arithmetic import codes_of, div, exact_format, sub
from refimpl.ops.elementwise import exp
from refimpl.ops.floats import Number


def softmax(x, fmt: Number, *, axis: int = -1, accumulator: Number | None = None, out_format: Any = None) -> np.ndarray:
    """Return e^x / sum(e^x) over an axis, each step rounded once, to nearest even, in the accumulator's format.

    Parameters
    ----------
    x : array_like
        Values of the format.
    fmt : FloatFormat, its name or a dtype
    axis : int
    accumulator : the same, optional
        The format of all steps, by default that of x: 1. x - max(x); 2. its exponential; 3. their sum, one
        after the other; 4. each exponential divided by the sum, rounded to `out_format`.
    out_format : the same, optional
        By default that of x.

    Returns
    -------
    ndarray
        Shape of x, in a dtype that holds the values of `out_format`.

    Raises
    ------
    TypeError, ValueError
        As for `add`, and for an axis that x does not have.

    Examples
    --------
    >>> softmax([1.0, 2.0, 3.0], "bfloat16").tolist()
    [0.09033203125, 0.2451171875, 0.66796875]
    >>> softmax([1.0, 2.0, 3.0], "bfloat16", accumulator="float32").tolist()
    [0.08984375, 0.2451171875, 0.6640625]
    """
    x = arrays.real("softmax", "x", x)
    of = exact_format("softmax", fmt)
    steps = of if accumulator is None else exact_format("softmax", accumulator, "accumulator")
    into = of if out_format is None else exact_format("softmax", out_format, "out_format")
    shape, x = x.shape, np.atleast_1d(x)
    axis = arrays.axis("softmax", axis, x.ndim)
    codes_of("softmax", x.reshape(-1), of, 0, "x", shape)
    if x.size == 0:
        return exp(x, of, out_format=into)
    top = np.max(x, axis=axis, keepdims=True)
    powers = exp(sub(x, top, (of, of), out_format=steps), steps)
    total = np.expand_dims(sums.sum(powers, steps, axis=axis), axis)
    return div(powers, total, (steps, steps), out_format=into).reshape(shape)
