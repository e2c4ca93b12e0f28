"""QPyTorch's own rounding, for comparing with results that were made by it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from refimpl import _arguments
from refimpl.ops import arrays
from refimpl.ops.rounding import RoundingRule


def qtorch_float_quantize(
    x,
    exponent_bits: int,
    mantissa_bits: int,
    *,
    rounding: Literal["nearest", "stochastic"] = "nearest",
    random=None,
    seed: int | None = None,
    stream: int = 0,
) -> np.ndarray:
    """Round as QPyTorch's `float_quantize` does, bit for bit, its quirks included.

    Use `quantize` for new work: this "nearest" takes ties away from zero, rounds twice below the
    normal range, loses the sign of zero and turns NaN into numbers (`refimpl.spec.qtorch` lists the
    quirks).

    Parameters
    ----------
    x : array_like of float32, any shape
    exponent_bits : int
        1 to 8.
    mantissa_bits : int
        0 to 23.
    rounding : str
        QPyTorch's names: ``nearest`` or ``stochastic``.
    random : array_like of integers from 0 to 2^32 - 1, shape of x, optional
        For stochastic rounding: the low 23 - mantissa_bits bits are added to those dropped.  QPyTorch
        draws them from a generator nobody can seed; here they are given, or drawn as below.
    seed, stream : int, optional
        Instead of `random`: element i takes word i of the Philox4x32-10 sequence (seed, stream).

    Returns
    -------
    ndarray of float32, shape of x

    Raises
    ------
    TypeError, ValueError
        For other dtypes, numbers of bits and roundings; for missing random integers.

    Notes
    -----
    *Source*: the published source of QPyTorch (arXiv 1910.04540); `refimpl.spec.qtorch`.

    Examples
    --------
    >>> x = np.array([1.0625, 1e9, -1e-9, np.inf], np.float32)
    >>> qtorch_float_quantize(x, 4, 3).tolist()
    [1.125, 480.0, 0.0, 480.0]
    """
    caller = "qtorch_float_quantize"
    given = x
    x = _arguments.array(caller, "x", x)
    if x.dtype.name != "float32":
        raise _arguments.wrong_kind(caller, "x", x if x.ndim else given, "an array of float32")
    exponent_bits = _arguments.integer(caller, "exponent_bits", exponent_bits, _arguments.Interval(1, 8))
    mantissa_bits = _arguments.integer(caller, "mantissa_bits", mantissa_bits, _arguments.Interval(0, 23))
    _arguments.choice(caller, "rounding", rounding, ("nearest", "stochastic"))
    words = np.empty(0, np.uint32)
    if random is not None:
        random = arrays.integers(caller, "random", random, 0, 2**32 - 1)
        _arguments.of_shape(caller, "random", random, x.shape)
    if rounding == "stochastic":
        if random is None:
            words = RoundingRule.of(caller, None, rounding=rounding, seed=seed, stream=stream).words(x.size)
        else:
            words = np.ascontiguousarray(random, np.uint32).reshape(-1)
    from refimpl.kernels import qtorch as kernel

    out = np.empty(x.shape, np.float32)
    bits = np.ascontiguousarray(x, np.float32).reshape(-1).view(np.uint32)
    if mantissa_bits == 23:
        out.reshape(-1)[...] = bits.view(np.float32)
        return out
    kernel.float_quantize(
        bits, out.reshape(-1).view(np.uint32), exponent_bits, mantissa_bits, rounding == "stochastic", words
    )
    return out
