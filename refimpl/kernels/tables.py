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


@compiled
def look_up_pairs_of_floats(a, b, first, last, shift, results, table, values):
    """Do as `look_up_pairs` for floats, and write values; return whether something is missing, or not of a format.

    a, b: bits of floats, unsigned (n,); first, last: (low, codes) of a and of b, codes (int32) of floats by their bits
    but for the lowest `low`, which have to be 0, and -1 where there is none; results: unsigned (n,), values[entry] of
    the entries of table.  Lengths of tables are powers of two.
    """
    (low_a, codes_a), (low_b, codes_b) = first, last
    mask_a, mask_b = (np.uint64(1) << low_a) - np.uint64(1), (np.uint64(1) << low_b) - np.uint64(1)
    seen, rest = np.int64(0), np.uint64(0)
    for i in range(a.size):
        x, y = np.uint64(a[i]), np.uint64(b[i])
        rest |= (x & mask_a) | (y & mask_b)
        p, q = np.int64(codes_a[x >> low_a]), np.int64(codes_b[y >> low_b])
        entry = np.int64(table[((p << shift) | q) & (table.size - 1)])
        seen |= p | q | entry
        results[i] = values[entry & (values.size - 1)]
    return seen < 0 or rest != np.uint64(0)
