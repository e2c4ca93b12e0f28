"""Decode by table; a table holds the value of every code."""

from refimpl.kernels._compiled import compiled

FAST_PATH_OF = "float_codes"


@compiled
def look_up(codes, x, table):
    """Write table[code] of each code (unsigned (n,)) into x; values as their bits, unsigned."""
    for i in range(codes.size):
        x[i] = table[codes[i]]
