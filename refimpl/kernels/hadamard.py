"""Random Hadamard transforms of blocks; the definition is `refimpl.spec.hadamard`."""

import numpy as np

from refimpl.kernels._compiled import compiled


@compiled
def rotate(x, signs, out):
    """Write vectors x (float32 (rows, n)), block by block rotated, into out (float32 (rows, blocks of `signs`)).

    Vectors are filled up with zeros.
    """
    size, y, root = signs.size, np.empty(signs.size, np.float64), 1 / np.sqrt(np.float64(signs.size))
    for row in range(x.shape[0]):
        for start in range(0, out.shape[1], size):
            here = min(size, x.shape[1] - start)
            for i in range(here):
                y[i] = x[row, start + i] * signs[i]
            y[here:] = 0
            half = 1
            while half < size:
                for i in range(0, size, 2 * half):
                    for j in range(i, i + half):
                        a, b = y[j], y[j + half]
                        y[j], y[j + half] = a + b, a - b
                half *= 2
            for i in range(size):
                out[row, start + i] = np.float32(y[i] * root)
