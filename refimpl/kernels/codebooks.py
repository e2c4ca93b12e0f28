"""Code books on arrays; the definitions are `refimpl.spec.codebooks`."""

import numpy as np

from refimpl.kernels._compiled import compiled


@compiled
def scale(x, scales):
    """Write the largest magnitude of each row (float32 (rows, n), finite), 1 for zeros."""
    for row in range(x.shape[0]):
        largest = np.float32(0)
        for i in range(x.shape[1]):
            largest = max(largest, abs(x[row, i]))
        scales[row] = largest if largest > 0 else np.float32(1)


@compiled
def encode(x, codes, scales, boundaries):
    """Write how many boundaries lie below each x / scale.

    x: float32 (rows, n); codes: uint8 (rows, n); scales: float32 (rows,); boundaries: float64, of
    float32 numbers, ascending: scale * boundary is exact in float64.
    """
    for row in range(x.shape[0]):
        step = np.float64(scales[row])
        for i in range(x.shape[1]):
            value = np.float64(x[row, i])
            low, high = 0, boundaries.size
            while low < high:
                middle = (low + high) >> 1
                if value > step * boundaries[middle]:
                    low = middle + 1
                else:
                    high = middle
            codes[row, i] = low


@compiled
def decode(codes, x, scales, book):
    """Write scale * book[code], rounded once to float32 (exact in float64, as is the book)."""
    for row in range(codes.shape[0]):
        step = np.float64(scales[row])
        for i in range(codes.shape[1]):
            x[row, i] = np.float32(step * book[codes[row, i]])
