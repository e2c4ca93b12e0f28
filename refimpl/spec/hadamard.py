"""Random Hadamard transforms of blocks: signs, then sums and differences of halves.

    H_1 = (1),   H_2n = ( H_n   H_n )     y = H_n (s x) / sqrt n,   s_i = 1 or -1
                        ( H_n  -H_n )

All in float64, the additions stage by stage as below, neighbours first; a result is rounded to float32 once.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence


def rotate(x: Sequence[float], signs: Sequence[float]) -> list[float]:
    """Return a block of 2^k numbers rotated.

    >>> rotate([0.0, 8.0, 0.0, 0.0], [1.0, -1.0, 1.0, 1.0])
    [-4.0, 4.0, -4.0, 4.0]
    """
    y = [a * sign for a, sign in zip(x, signs, strict=True)]
    half = 1
    while half < len(y):
        for i in range(len(y)):
            if i & half == 0:
                y[i], y[i + half] = y[i] + y[i + half], y[i] - y[i + half]
        half *= 2
    root = 1 / math.sqrt(len(y))
    return [_float32(a * root) for a in y]


def _float32(x: float) -> float:
    """Return a float64 rounded to float32: struct does, but for what overflows."""
    try:
        return struct.unpack("f", struct.pack("f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)
