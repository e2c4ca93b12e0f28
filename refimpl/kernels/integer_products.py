"""Sums of products of integer codes; the definition is `refimpl.spec.integers.dot`."""

import numpy as np

from refimpl.kernels._compiled import compiled

FAST_PATH_OF = "integers"

_LEAST, _MOST = np.int64(-(2**31)), np.int64(2**31 - 1)


@compiled
def products(a, b, out):
    """Write the sum of a[i, :] * b[j, :] into out[i, j], as int32 accumulators would.

    a: int64 (m, k) of at most 17 bits; b: int64 (n, k); out: int64 (m, n).  Returns the index i n + j
    of the first sum that leaves int32, and the number of terms at which it does; or -1, 0.
    """
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            total, least, most = np.int64(0), np.int64(0), np.int64(0)
            for k in range(a.shape[1]):
                total += a[i, k] * b[j, k]
                least, most = min(least, total), max(most, total)
            if least < _LEAST or most > _MOST:
                return i * b.shape[0] + j, _terms(a[i], b[j])
            out[i, j] = total
    return -1, 0


@compiled
def _terms(x, y):
    """Return after how many terms the sum leaves int32."""
    total = np.int64(0)
    for k in range(x.size):
        total += x[k] * y[k]
        if total < _LEAST or total > _MOST:
            return k + 1
    return 0


@compiled
def looked_up(a, b, out, table):
    """Write the sum of table[a[i, :], b[j, :]] into out[i, j], added one after the other.

    a: uint8 (m, k); b: uint8 (n, k); table: int32 or float32; out: of its dtype, (m, n).
    """
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            total = table.dtype.type(0)
            for k in range(a.shape[1]):
                total += table[a[i, k], b[j, k]]
            out[i, j] = total
