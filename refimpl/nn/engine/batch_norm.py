"""Batch norm, ReLU and the roundings around them, a few thousand elements at a time.

Each function is a pass over memory with the roundings that precede or follow it.  A whole tensor rounded
at once goes through memory once more, which costs as much as the rounding; a chunk that stays in the
first-level cache does not.  `hat` is computed again in the backward pass instead of being kept.

*Notation*: x, dy, dx, out are float32 (n, channels), one row per pixel; the definition is
`refimpl.autodiff.networks.normalize`, with the same operations on an element in the same order, rounded one
by one; sums run row after row in float64.  `vectors` are mean and inverse deviation of each channel; `site`,
`noise` and `round` are those of `refimpl.nn.engine.rounding`.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.nn.engine import columns
from refimpl.nn.engine.rounding import CHUNK, call_round_part

_1 = np.float32(1)


@compiled(inline="always")
def _chunk(channels):
    """Return the rows of a chunk: about CHUNK elements, in fours."""
    return max(CHUNK // channels // 4 * 4, 4)


@compiled
def moments(x, mean, variance, momentum, epsilon, training, vectors, site, noise, round):
    """Round x where it is and write what to normalize by: in training its moments, which move mean and variance."""
    n, channels = x.shape
    total, squares = np.zeros(channels), np.zeros(channels)
    step = _chunk(channels)
    for start in range(0, n, step):
        part = x[start : start + step]
        flat = part.reshape(-1)
        call_round_part(round, flat, flat, start * channels, site, noise)
        if training:
            columns.add_moments(part, total, squares)
    correction = np.float32(n / max(n - 1, 1))
    for k in range(channels):
        if training:
            average = total[k] / n
            vectors[0, k], vectors[1, k] = average, np.maximum(squares[k] / n - average * average, 0.0)
            mean[k] = (_1 - momentum) * mean[k] + momentum * vectors[0, k]
            variance[k] = (_1 - momentum) * variance[k] + momentum * (vectors[1, k] * correction)
        else:
            vectors[0, k], vectors[1, k] = mean[k], variance[k]
        vectors[1, k] = _1 / np.sqrt(vectors[1, k] + epsilon)


@compiled
def normalize(x, vectors, scale, shift, relu, out, site, noise, round):
    """Write x normalized, through the ReLU, and rounded."""
    n, channels = x.shape
    v = np.empty((4, channels), np.float32)
    for k in range(channels):
        v[0, k], v[1, k], v[2, k], v[3, k] = vectors[0, k], vectors[1, k], scale[k], shift[k]
    step = _chunk(channels)
    for start in range(0, n, step):
        part = out[start : start + step]
        columns.normalize(x[start : start + step], v, relu, part)
        flat = part.reshape(-1)
        call_round_part(round, flat, flat, start * channels, site, noise)


@compiled
def gradient_sums(x, dy, vectors, scale, shift, relu, out, dscale, dshift, site, noise, round):
    """Write dy rounded and stopped where the ReLU does, dscale and dshift."""
    n, channels = x.shape
    v = np.empty((4, channels), np.float32)
    for k in range(channels):
        v[0, k], v[1, k], v[2, k], v[3, k] = vectors[0, k], vectors[1, k], scale[k], shift[k]
    by_scale, by_shift = np.zeros(channels), np.zeros(channels)
    step = _chunk(channels)
    for start in range(0, n, step):
        part = out[start : start + step]
        incoming = dy[start : start + step].reshape(-1)
        call_round_part(round, incoming, part.reshape(-1), start * channels, site, noise)
        columns.stop(x[start : start + step], v, relu, part, by_scale, by_shift)
    for k in range(channels):
        dscale[k], dshift[k] = by_scale[k], by_shift[k]


@compiled
def gradient(x, passed, vectors, scale, dscale, dshift, site, noise, round):
    """Turn `passed`, which `gradient_sums` has written, into dx, rounded, in its place."""
    n, channels = x.shape
    count = np.float32(n)
    v = np.empty((6, channels), np.float32)
    for k in range(channels):
        v[0, k], v[1, k], v[2, k] = vectors[0, k], vectors[1, k], scale[k]
        v[3, k], v[4, k], v[5, k] = dscale[k] / -count, dshift[k] / count, scale[k] * vectors[1, k]
    step = _chunk(channels)
    for start in range(0, n, step):
        part = passed[start : start + step]
        columns.gradient(x[start : start + step], v, part)
        flat = part.reshape(-1)
        call_round_part(round, flat, flat, start * channels, site, noise)
