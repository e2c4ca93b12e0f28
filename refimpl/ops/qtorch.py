"""QPyTorch's own rounding, for comparing with results that were made by it."""

from __future__ import annotations

import numpy as np

from refimpl.ops import arrays


def qtorch_float_quantize(
    x,
    exponent_bits: int,
    mantissa_bits: int,
    *,
    rounding: str = "nearest",
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
    verb = "qtorch_float_quantize"
    x = arrays.array(verb, x)
    if x.dtype != np.float32:
        raise TypeError(f"{verb}: QPyTorch rounds float32 alone, got {x.dtype}; convert it first")
    for name, got, low, high in (("exponent_bits", exponent_bits, 1, 8), ("mantissa_bits", mantissa_bits, 0, 23)):
        if not isinstance(got, (int, np.integer)) or not low <= got <= high:
            raise ValueError(f"{verb}: {name} must be a whole number from {low} to {high}, got {got!r}")
    arrays.one_of(verb, "rounding", rounding, ("nearest", "stochastic"))
    stochastic = rounding == "stochastic"
    words = np.empty(0, np.uint32)
    if stochastic and random is not None:
        random = arrays.array(verb, random)
        if random.dtype.kind not in "iu" or random.shape != x.shape:
            raise ValueError(
                f"{verb}: random must hold an integer for each of the {x.shape} values, "
                f"got {random.dtype} {random.shape}"
            )
        if random.size and (random.min() < 0 or random.max() >= 2**32):
            raise ValueError(f"{verb}: random integers go from 0 to 2^32 - 1, got {random.min()} to {random.max()}")
        words = np.ascontiguousarray(random, np.uint32).reshape(-1)
    elif stochastic:
        arrays.check_rounding(verb, rounding, None, seed, stream)
        words = arrays.random_words(rounding, x.size, seed, stream)
    from refimpl.kernels import qtorch as kernel

    out = np.empty(x.shape, np.float32)
    bits = np.ascontiguousarray(x, np.float32).reshape(-1).view(np.uint32)
    if mantissa_bits == 23:
        out.reshape(-1)[...] = bits.view(np.float32)
        return out
    kernel.float_quantize(
        bits, out.reshape(-1).view(np.uint32), int(exponent_bits), int(mantissa_bits), stochastic, words
    )
    return out
