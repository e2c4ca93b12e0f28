"""The roundings of a step, part by part, and counting what they did.

*Notation*: `site` is an array of one record, `SITE`: how a rounding point rounds.  `noise` is what all
roundings of a step share, an array of uint64: the seed, the first stream of this pass, whether to count,
and then for each role, where anybody counts, the elements rounded, overflows and underflows so far.  Element i
of a tensor takes word i of the stream.  `round` is the address of `round_part`.
"""

import numba
import numpy as np
from numba import types

from refimpl.kernels._by_address import by_address
from refimpl.kernels._compiled import compiled
from refimpl.kernels._memory import copy
from refimpl.kernels.float32_codes import Float32Target, quantize_ties_to_even
from refimpl.kernels.float32_stochastic import quantize_stochastic_from

NONE, TO_EVEN, STOCHASTIC = range(3)
CHUNK = 2048  # elements worked on at a time: four vectors of 8 KB fit the first-level cache
SEED, FIRST_STREAM, COUNTING, COUNTS = range(4)  # places in noise

SITE = np.dtype(
    [("how", np.int64), ("role", np.int64), ("stream", np.uint64), ("largest", np.uint32)]
    + list(Float32Target.__annotations__.items()),
    align=True,
)
"""NONE, TO_EVEN or STOCHASTIC; the role's number; the stream after the first of the pass; what lies above, in
magnitude, is an overflow; and the target."""

_MAGNITUDE = np.uint32(0x7FFFFFFF)
_FLOATS, _SITE, _NOISE = (types.Array(t, 1, "C") for t in (types.float32, numba.from_dtype(SITE), types.uint64))


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


@compiled
def round_part(x, out, start, site, noise):
    """Round x into out, which may be x: parts of tensors beginning at element `start` (a multiple of 4)."""
    s = site[0]
    counted = s.how != NONE and noise[COUNTING] != 0
    beyond, zeros = census(x, s.largest) if counted else (0, 0)
    target = Float32Target(
        s.dropped,
        s.min_exponent_field,
        s.smallest_subnormal,
        s.max_bits,
        s.overflow_bits,
        s.infinity_bits,
        s.nan_bits,
        s.nan_sign_flip,
        s.nan_sign_mask,
        s.zero_sign_mask,
        s.addend,
        s.scales,
    )
    if s.how == STOCHASTIC:
        stream, counter = noise[FIRST_STREAM] + s.stream, np.uint64(start // 4)
        quantize_stochastic_from(x.view(np.uint32), out.view(np.uint32), target, noise[SEED], stream, counter)
    elif s.how == TO_EVEN:
        quantize_ties_to_even(x.view(np.uint32), out.view(np.uint32), target)
    elif x.ctypes.data != out.ctypes.data:
        copy(out.ctypes.data, x.ctypes.data, x.size)
    if counted:
        at = COUNTS + 3 * s.role
        noise[at] += np.uint64(x.size)
        noise[at + 1] += np.uint64(beyond)
        noise[at + 2] += np.uint64(census(out, s.largest)[1] - zeros)


call_round_part, ROUND_PART = by_address(round_part, _FLOATS, _FLOATS, types.int64, _SITE, _NOISE)


@compiled
def round_sum(x, y, out, first, second, noise, round):
    """Write x + y, y rounded at the first site and the sum at the second; float32 (n,) each."""
    term = np.empty(min(CHUNK, x.size), np.float32)
    for start in range(0, x.size, CHUNK):
        count = min(CHUNK, x.size - start)
        a, b, c = x[start : start + count], term[:count], out[start : start + count]
        call_round_part(round, y[start : start + count], b, start, first, noise)
        for i in range(count):
            c[i] = a[i] + b[i]
        call_round_part(round, c, c, start, second, noise)
