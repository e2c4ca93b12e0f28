"""Batch norm, ReLU and the roundings around them, a few thousand elements at a time.

Each function is a pass of `refimpl.kernels.normalization` with the roundings that precede or follow
it.  A whole tensor rounded at once goes through memory once more, and through newly mapped memory at
that, which costs as much as the rounding; a chunk that stays in the first-level cache does not.  No
bit changes: the operations on an element, and their order, are those of the passes one by one, and
sums still run row after row.

A rounding is (how, target, stream): how is NONE, TO_EVEN or STOCHASTIC, and the element's random word
is that of its place in the whole tensor.
"""

import numpy as np
from numba import njit

from refimpl.kernels.float32_codes import quantize_stochastic_from, quantize_ties_to_even

NONE, TO_EVEN, STOCHASTIC = range(3)
CHUNK = 4096  # elements worked on at a time: 16 KB


@njit(cache=True, error_model="numpy")
def _round(x, out, start, how, target, seed, stream):
    """Round x into out, both parts of tensors beginning at element `start` (a multiple of 4)."""
    if how == STOCHASTIC:
        quantize_stochastic_from(
            x.view(np.uint32), out.view(np.uint32), target, seed, stream, np.uint64(start // 4)
        )
    elif how == TO_EVEN:
        quantize_ties_to_even(x.view(np.uint32), out.view(np.uint32), target)
    else:
        out[:] = x


@njit(cache=True, error_model="numpy")
def _several(n, channels):
    """Return how many rows to take as one: vector loops do not begin below 32 elements or so."""
    several = 64 // channels if 64 % channels == 0 else 1
    return several if n % several == 0 else 1


@njit(cache=True, error_model="numpy")
def _tiled(vectors, several):
    """Return float32 (k, channels) as (k, several channels), each row repeated."""
    k, channels = vectors.shape
    out = np.empty((k, several * channels), np.float32)
    for j in range(several):
        out[:, j * channels : (j + 1) * channels] = vectors
    return out


@njit(cache=True, error_model="numpy")
def _stack(a, b, c, d, e, f):
    out = np.empty((6, a.size), np.float32)
    out[0], out[1], out[2], out[3], out[4], out[5] = a, b, c, d, e, f
    return out


@njit(cache=True, error_model="numpy")
def _add_rows(total, rows):
    """Add rows (float32 (n, channels)) to total (float64 (channels,)), one after the other."""
    for i in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            total[k] += np.float64(rows[i, k])


@njit(cache=True, error_model="numpy")
def _add_squares(total, rows):
    """Likewise their squares, exact in float64."""
    for i in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            value = np.float64(rows[i, k])
            total[k] += value * value


@njit(cache=True, error_model="numpy")
def _chunks(n, channels):
    """Return the rows of a chunk, a multiple of 64: about 4096 elements."""
    return max(CHUNK // channels // 64 * 64, 64)


@njit(cache=True, error_model="numpy")
def round_and_moments(x, how, target, seed, stream):
    """Round x (n, channels) where it is; return mean and biased variance of its columns."""
    n, channels = x.shape
    total, squares = np.zeros(channels), np.zeros(channels)
    step = _chunks(n, channels)
    scratch = np.empty(step * channels, np.float32)
    for start in range(0, n, step):
        part = x[start : start + step]
        if how != NONE:
            flat = part.reshape(-1)
            old = scratch[: flat.size]
            old[:] = flat
            _round(old, flat, start * channels, how, target, seed, stream)
        _add_rows(total, part)
        _add_squares(squares, part)
    mean = total / n
    variance = np.maximum(squares / n - mean * mean, 0.0)
    return mean.astype(np.float32), variance.astype(np.float32)


@njit(cache=True, error_model="numpy")
def _normalize(x, v, relu, out):
    """Write rows normalized by v = (mean, inverse, scale, shift, ...)."""
    zero = np.float32(0)
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            y = (x[i, k] - v[0, k]) * v[1, k] * v[2, k] + v[3, k]
            out[i, k] = zero if relu and y < zero else y


@njit(cache=True, error_model="numpy")
def normalize_and_round(x, mean, inverse, scale, shift, relu, how, target, seed, stream):
    """Return x (n, channels) normalized, through the ReLU, and rounded."""
    n, channels = x.shape
    several, step = _several(n, channels), _chunks(n, channels)
    wide = several * channels
    v = _tiled(_stack(mean, inverse, scale, shift, shift, shift), several)
    out = np.empty_like(x)
    scratch = np.empty(step * channels, np.float32)
    for start in range(0, n, step):
        part, there = x[start : start + step].reshape(-1), out[start : start + step].reshape(-1)
        made = scratch[: part.size]
        _normalize(part.reshape(-1, wide), v, relu, made.reshape(-1, wide))
        _round(made, there, start * channels, how, target, seed, stream)
    return out


@njit(cache=True, error_model="numpy")
def _stop(x, dy, v, relu, products):
    """Zero dy where the ReLU does; write dy * hat."""
    zero = np.float32(0)
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            hat = (x[i, k] - v[0, k]) * v[1, k]
            shut = relu and not (hat * v[2, k] + v[3, k] > zero)
            value = zero if shut else dy[i, k]
            dy[i, k] = value
            products[i, k] = value * hat


@njit(cache=True, error_model="numpy")
def round_and_gradient_sums(
    x, dy, mean, inverse, scale, shift, relu, how, target, seed, stream
):  # fmt: skip
    """Return dy (n, channels) rounded and stopped where the ReLU does, dscale and dshift."""
    n, channels = x.shape
    several, step = _several(n, channels), _chunks(n, channels)
    wide = several * channels
    v = _tiled(_stack(mean, inverse, scale, shift, shift, shift), several)
    out = np.empty_like(x)
    dscale, dshift = np.zeros(channels), np.zeros(channels)
    scratch = np.empty(step * channels, np.float32)
    for start in range(0, n, step):
        part, passed = x[start : start + step].reshape(-1), out[start : start + step].reshape(-1)
        given, products = dy[start : start + step].reshape(-1), scratch[: part.size]
        _round(given, passed, start * channels, how, target, seed, stream)
        _stop(part.reshape(-1, wide), passed.reshape(-1, wide), v, relu, products.reshape(-1, wide))
        _add_rows(dscale, products.reshape(-1, channels))
        _add_rows(dshift, passed.reshape(-1, channels))
    return out, dscale.astype(np.float32), dshift.astype(np.float32)


@njit(cache=True, error_model="numpy")
def _dx(x, passed, v, out):
    """Write dx by v = (mean, inverse, -, dscale / -n, dshift / n, scale * inverse)."""
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            hat = (x[i, k] - v[0, k]) * v[1, k]
            out[i, k] = (hat * v[3, k] + passed[i, k] - v[4, k]) * v[5, k]


@njit(cache=True, error_model="numpy")
def gradient_and_round(
    x, passed, mean, inverse, scale, dscale, dshift, of_batch, how, target, seed, stream
):  # fmt: skip
    """Turn `passed`, as the pass before returns it, into dx, rounded, in its place."""
    n, channels = x.shape
    several, step = _several(n, channels), _chunks(n, channels)
    wide = several * channels
    count = np.float32(n)
    by_scale, by_shift = dscale / -count, dshift / count
    if not of_batch:
        by_scale[:], by_shift[:] = np.float32(0), np.float32(0)
    v = _tiled(_stack(mean, inverse, scale, by_scale, by_shift, scale * inverse), several)
    scratch = np.empty(step * channels, np.float32)
    for start in range(0, n, step):
        part, there = x[start : start + step].reshape(-1), passed[start : start + step].reshape(-1)
        made = scratch[: part.size]
        _dx(part.reshape(-1, wide), there.reshape(-1, wide), v, made.reshape(-1, wide))
        _round(made, there, start * channels, how, target, seed, stream)
