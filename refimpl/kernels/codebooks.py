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


def cells(boundaries) -> tuple[np.ndarray, int]:
    """Return how many boundaries lie below all numbers of each cell, and the most there are about one.

    A cell is all float32 numbers of the same 16 leading bits, and 2^-22 of each more, on either side.
    """
    least = np.arange(1 << 15, dtype=np.uint32) << np.uint32(16)
    with np.errstate(invalid="ignore"):  # the last are NaN
        near, far = least.view(np.float32).astype(float), (least + np.uint32(0xFFFF)).view(np.float32).astype(float)
    near, far = near * (1 - 2.0**-22) - 2.0**-140, far * (1 + 2.0**-22) + 2.0**-140
    near[0x7F80:], far[0x7F80:] = near[0x7F7F], np.inf  # of infinity
    low, high = np.concatenate([near, -far]), np.concatenate([far, -near])
    surely = np.searchsorted(boundaries, low)
    return surely.astype(np.uint8), int((np.searchsorted(boundaries, high) - surely).max())


@compiled
def encode(x, codes, scales, boundaries, surely, most):
    """Write how many boundaries lie below each x / scale.

    x: float32 (rows, n); codes: uint8 (rows, n); scales: float32 (rows,); boundaries: float64, of float32 numbers,
    ascending, and an infinity after them: scale * boundary is exact in float64; surely, most: as `cells` has them.
    """
    for row in range(x.shape[0]):
        step = np.float64(scales[row])
        inverse = 1 / step
        for i in range(x.shape[1]):
            value = np.float64(x[row, i])
            below = np.int64(surely[np.float32(value * inverse).view(np.uint32) >> np.uint32(16)])
            for _ in range(most):
                below += np.int64(value > step * boundaries[below])
            codes[row, i] = below


@compiled
def decode(codes, x, scales, book):
    """Write scale * book[code], rounded once to float32 (exact in float64, as is the book)."""
    for row in range(codes.shape[0]):
        step = np.float64(scales[row])
        for i in range(codes.shape[1]):
            x[row, i] = np.float32(step * book[codes[row, i]])
