"""Rounding a whole tensor in one call, and counting what it did.

The two roads of `refimpl.kernels.float_codes` under one name, so that a training step calls once
for each tensor it rounds.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels.float_codes import quantize_stochastic, quantize_ties_to_even

_MAGNITUDE = np.uint32(0x7FFFFFFF)


@compiled
def round_tensor(x, out, target, stochastic, seed, stream):
    """Round x (float32 (n,)) into out (alike, elsewhere), by the stream or to even."""
    if stochastic:
        quantize_stochastic(x.view(np.uint32), out.view(np.uint32), target, seed, stream)
    else:
        quantize_ties_to_even(x.view(np.uint32), out.view(np.uint32), target)


@compiled
def census(x, largest):
    """Return how many elements of x (float32 (n,)) exceed `largest` (bits) in magnitude, and how many are 0."""
    bits = x.view(np.uint32)
    beyond, zeros = 0, 0
    for i in range(bits.size):
        magnitude = np.uint32(bits[i] & _MAGNITUDE)
        beyond += magnitude > largest
        zeros += magnitude == np.uint32(0)
    return beyond, zeros
