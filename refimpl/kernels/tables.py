"""Decode by table; a table holds the value of every code."""

import numpy as np

from refimpl.kernels._compiled import compiled

FAST_PATH_OF = "float_codes"


@compiled
def look_up(codes, x, table):
    """Write table[code] of each code (unsigned (n,)) into x; values as their bits, unsigned."""
    for i in range(codes.size):
        x[i] = table[codes[i]]


@compiled
def look_up_pairs(a, b, shift, results, table):
    """Write table[a * 2^shift + b] of codes into results; return whether one of them is below 0, that is missing.

    a, b, results: unsigned (n,); table: signed.
    """
    seen = np.int64(0)
    for i in range(a.size):
        entry = table[(np.int64(a[i]) << shift) | np.int64(b[i])]
        seen |= np.int64(entry)
        results[i] = entry
    return seen < 0
