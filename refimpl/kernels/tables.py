"""Decode by table; a table holds the value of every code."""

from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def look_up(codes, x, table):
    """Write table[code] of each code (unsigned (n,)) into x; values as their bits, unsigned."""
    for i in range(codes.size):
        x[i] = table[codes[i]]
