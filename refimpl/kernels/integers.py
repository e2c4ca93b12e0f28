"""Uniform symmetric integer quantization of arrays; the definition is `refimpl.spec.integers`."""

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
def encode(x, codes, scales, smallest, largest):
    """Write clip(round(x / scale)), ties to even, of each row of x under that row's scale.

    x: float32 (rows, n), finite; codes: int16 or int32 (rows, n); scales: float32 (rows,).
    The float64 quotient of two float32 numbers is never rounded onto a tie it is not on: a
    quotient that is not k + 1/2 differs from it by a part of at least 2^-(24 + 17), so one
    rounding to float64 and one to an integer give the correctly rounded integer.
    """
    for row in range(x.shape[0]):
        scale = np.float64(scales[row])
        for i in range(x.shape[1]):
            code = np.rint(np.float64(x[row, i]) / scale)
            codes[row, i] = np.int32(min(max(code, smallest), largest))


@njit(cache=True, error_model="numpy")
def decode(codes, x, scales):
    """Write scale * code, rounded once to float32 (the product is exact in float64)."""
    for row in range(x.shape[0]):
        scale = np.float64(scales[row])
        for i in range(x.shape[1]):
            x[row, i] = np.float32(scale * np.float64(codes[row, i]))
