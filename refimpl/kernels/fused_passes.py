"""Batch norm, ReLU and the roundings around them, a few thousand elements at a time.

Each function is a pass of `refimpl.kernels.normalization` with the roundings that precede or follow
it.  A whole tensor rounded at once goes through memory once more, which costs as much as the
rounding; a chunk that stays in the first-level cache does not.  No bit changes: the operations on an
element, and their order, are those of the passes one by one, and sums still run row after row.

*Notation*: x, dy, out are (n, channels), one row per pixel; a `Site` says how a pass rounds.
"""

from typing import NamedTuple

import numpy as np

from refimpl.kernels import columns
from refimpl.kernels._compiled import compiled
from refimpl.kernels.float32_codes import Float32Target, quantize_ties_to_even
from refimpl.kernels.float32_stochastic import quantize_stochastic_from
from refimpl.kernels.memory import copy
from refimpl.kernels.rounding_passes import census

NONE, TO_EVEN, STOCHASTIC = range(3)
CHUNK = 2048  # elements worked on at a time: four vectors of 8 KB fit the first-level cache


class Site(NamedTuple):
    """A rounding; element i of the whole tensor takes word i of the stream."""

    how: int  # NONE, TO_EVEN or STOCHASTIC
    target: Float32Target
    largest: np.uint32  # what lies above, in magnitude, is counted as overflow
    seed: np.uint64
    stream: np.uint64
    counts: np.ndarray  # int64: elements, overflows, underflows so far; or empty, and nobody counts


@compiled
def round_part(x, out, start, site):
    """Round x into out, which may be x: parts of tensors beginning at element `start` (a multiple of 4)."""
    counted = site.how != NONE and site.counts.size
    beyond, zeros = census(x, site.largest) if counted else (0, 0)
    if site.how == STOCHASTIC:
        quantize_stochastic_from(
            x.view(np.uint32), out.view(np.uint32), site.target, site.seed, site.stream, np.uint64(start // 4)
        )
    elif site.how == TO_EVEN:
        quantize_ties_to_even(x.view(np.uint32), out.view(np.uint32), site.target)
    else:
        copy(out.ctypes.data, x.ctypes.data, x.size)
    if counted:
        site.counts[0] += x.size
        site.counts[1] += beyond
        site.counts[2] += census(out, site.largest)[1] - zeros


@compiled
def round_here(x, start, site):
    """Round x, a part of a tensor beginning at element `start` (a multiple of 4), where it is."""
    if site.how != NONE:
        round_part(x, x, start, site)


@compiled
def round_sum(x, y, out, first, second):
    """Write x + y, y rounded at the first site and the sum at the second; float32 (n,) each."""
    term = np.empty(min(CHUNK, x.size), np.float32)
    for start in range(0, x.size, CHUNK):
        count = min(CHUNK, x.size - start)
        a, b, c = x[start : start + count], term[:count], out[start : start + count]
        round_part(y[start : start + count], b, start, first)
        for i in range(count):
            c[i] = a[i] + b[i]
        round_here(c, start, second)


@compiled
def _stack(vectors):
    """Return float32 (channels,) vectors, a tuple of them, as the rows of a matrix."""
    out = np.empty((len(vectors), vectors[0].size), np.float32)
    for i in range(len(vectors)):
        for k in range(vectors[i].size):
            out[i, k] = vectors[i][k]
    return out


@compiled
def _chunk(channels):
    """Return the rows of a chunk: about CHUNK elements, in fours."""
    return max(CHUNK // channels // 4 * 4, 4)


@compiled
def round_and_moments(x, site, mean, variance):
    """Round x where it is; write mean and biased variance of its columns."""
    n, channels = x.shape
    total, squares = np.zeros(channels), np.zeros(channels)
    step = _chunk(channels)
    for start in range(0, n, step):
        part = x[start : start + step]
        round_here(part.reshape(-1), start * channels, site)
        columns.add_moments(part, total, squares)
    for k in range(channels):
        average = total[k] / n
        mean[k] = average
        variance[k] = np.maximum(squares[k] / n - average * average, 0.0)


@compiled
def normalize_and_round(x, mean, inverse, scale, shift, relu, site, out):
    """Write x normalized, through the ReLU, and rounded."""
    n, channels = x.shape
    v = _stack((mean, inverse, scale, shift))
    step = _chunk(channels)
    for start in range(0, n, step):
        part = out[start : start + step]
        columns.normalize(x[start : start + step], v, relu, part)
        round_here(part.reshape(-1), start * channels, site)


@compiled
def round_and_gradient_sums(x, dy, mean, inverse, scale, shift, relu, site, out, dscale, dshift):
    """Write dy rounded and stopped where the ReLU does, dscale and dshift."""
    n, channels = x.shape
    v = _stack((mean, inverse, scale, shift))
    by_scale, by_shift = np.zeros(channels), np.zeros(channels)
    step = _chunk(channels)
    for start in range(0, n, step):
        part = out[start : start + step]
        round_part(dy[start : start + step].reshape(-1), part.reshape(-1), start * channels, site)
        columns.stop(x[start : start + step], v, relu, part, by_scale, by_shift)
    for k in range(channels):
        dscale[k], dshift[k] = by_scale[k], by_shift[k]


@compiled
def gradient_and_round(x, passed, mean, inverse, scale, dscale, dshift, of_batch, site):
    """Turn `passed`, as the pass before returns it, into dx, rounded, in its place."""
    n, channels = x.shape
    count = np.float32(n)
    by_scale, by_shift = dscale / -count, dshift / count
    if not of_batch:
        by_scale[:], by_shift[:] = np.float32(0), np.float32(0)
    v = _stack((mean, inverse, scale, by_scale, by_shift, scale * inverse))
    step = _chunk(channels)
    for start in range(0, n, step):
        part = passed[start : start + step]
        columns.gradient(x[start : start + step], v, part)
        round_here(part.reshape(-1), start * channels, site)
