"""Batch norm, ReLU and the roundings around them, a few thousand elements at a time.

Each function is a pass of `refimpl.kernels.normalization` with the roundings that precede or follow
it.  A whole tensor rounded at once goes through memory once more, which costs as much as the
rounding; a chunk that stays in the first-level cache does not.  No bit changes: the operations on an
element, and their order, are those of the passes one by one, and sums still run row after row.

*Notation*: x, dy, out are (n, channels), one row per pixel; a `Site` says how a pass rounds.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from refimpl.kernels.column_sums import add_columns, add_columns_and_squares
from refimpl.kernels.float32_codes import (
    Float32Target,
    quantize_stochastic_from,
    quantize_ties_to_even,
)
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


@njit(cache=True, error_model="numpy", nogil=True)
def round_part(x, out, start, site):
    """Round x into out, both parts of tensors beginning at element `start` (a multiple of 4)."""
    if site.how == STOCHASTIC:
        quantize_stochastic_from(
            x.view(np.uint32), out.view(np.uint32), site.target, site.seed, site.stream,
            np.uint64(start // 4),
        )  # fmt: skip
    elif site.how == TO_EVEN:
        quantize_ties_to_even(x.view(np.uint32), out.view(np.uint32), site.target)
    else:
        copy(out.ctypes.data, x.ctypes.data, x.size)
    if site.how != NONE and site.counts.size:
        beyond, zeros = census(x, site.largest)
        site.counts[0] += x.size
        site.counts[1] += beyond
        site.counts[2] += census(out, site.largest)[1] - zeros


@njit(cache=True, error_model="numpy", nogil=True)
def round_all(x, out, site):
    """Round x (float32 (n,)) into out, which may be x."""
    scratch = np.empty(min(CHUNK, x.size), np.float32)
    for start in range(0, x.size, CHUNK):
        old = scratch[: min(CHUNK, x.size - start)]
        copy(old.ctypes.data, x[start:].ctypes.data, old.size)
        round_part(old, out[start : start + CHUNK], start, site)


@njit(cache=True, error_model="numpy", nogil=True)
def round_sum(x, y, out, first, second):
    """Write x + y, y rounded at the first site and the sum at the second; float32 (n,) each."""
    size = min(CHUNK, x.size)
    term, total = np.empty(size, np.float32), np.empty(size, np.float32)
    for start in range(0, x.size, CHUNK):
        count = min(CHUNK, x.size - start)
        a, b, c = x[start : start + count], term[:count], total[:count]
        round_part(y[start : start + count], b, start, first)
        for i in range(count):
            c[i] = a[i] + b[i]
        round_part(c, out[start : start + count], start, second)


@njit(cache=True, error_model="numpy", nogil=True)
def _several(n, channels):
    """Return how many rows to take as one: a vector loop takes a while to begin."""
    several = min(256 // channels, 64) if 256 % channels == 0 else 1
    return several if n % several == 0 else 1


@njit(cache=True, error_model="numpy", nogil=True)
def _tiled(vectors, several):
    """Return float32 (k, channels) as (k, several channels), each row repeated."""
    n, channels = vectors.shape
    out = np.empty((n, several, channels), np.float32)
    for i in range(n):
        for j in range(several):
            for k in range(channels):
                out[i, j, k] = vectors[i, k]
    return out.reshape((n, several * channels))


@njit(cache=True, error_model="numpy", nogil=True)
def _stack(a, b, c, d, e, f):
    out = np.empty((6, a.size), np.float32)
    for k in range(a.size):
        out[0, k], out[1, k], out[2, k] = a[k], b[k], c[k]
        out[3, k], out[4, k], out[5, k] = d[k], e[k], f[k]
    return out


@njit(cache=True, error_model="numpy", nogil=True)
def _chunks(n, channels):
    """Return the rows of a chunk, a multiple of 64: about CHUNK elements."""
    return max(CHUNK // channels // 64 * 64, 64)


@njit(cache=True, error_model="numpy", nogil=True)
def round_and_moments(x, site, mean, variance):
    """Round x where it is; write mean and biased variance of its columns."""
    n, channels = x.shape
    total, squares = np.zeros(channels), np.zeros(channels)
    step = _chunks(n, channels)
    scratch = np.empty(step * channels, np.float32)
    for start in range(0, n, step):
        part = x[start : start + step]
        if site.how != NONE:
            flat = part.reshape(-1)
            old = scratch[: flat.size]
            copy(old.ctypes.data, flat.ctypes.data, flat.size)
            round_part(old, flat, start * channels, site)
        add_columns_and_squares(total, squares, part)
    for k in range(channels):
        average = total[k] / n
        mean[k] = average
        variance[k] = np.maximum(squares[k] / n - average * average, 0.0)


@njit(cache=True, error_model="numpy", nogil=True)
def _normalize(x, v, relu, out):
    """Write rows normalized by v = (mean, inverse, scale, shift, ...)."""
    zero = np.float32(0)
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            y = (x[i, k] - v[0, k]) * v[1, k] * v[2, k] + v[3, k]
            out[i, k] = zero if relu and y < zero else y


@njit(cache=True, error_model="numpy", nogil=True)
def normalize_and_round(x, mean, inverse, scale, shift, relu, site, out):
    """Write x normalized, through the ReLU, and rounded."""
    n, channels = x.shape
    several, step = _several(n, channels), _chunks(n, channels)
    wide = several * channels
    v = _tiled(_stack(mean, inverse, scale, shift, shift, shift), several)
    scratch = np.empty(step * channels, np.float32)
    for start in range(0, n, step):
        part, there = x[start : start + step].reshape(-1), out[start : start + step].reshape(-1)
        made = there if site.how == NONE else scratch[: part.size]
        _normalize(part.reshape(-1, wide), v, relu, made.reshape(-1, wide))
        if site.how != NONE:
            round_part(made, there, start * channels, site)


@njit(cache=True, error_model="numpy", nogil=True)
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


@njit(cache=True, error_model="numpy", nogil=True)
def round_and_gradient_sums(x, dy, mean, inverse, scale, shift, relu, site, out, dscale, dshift):
    """Write dy rounded and stopped where the ReLU does, dscale and dshift."""
    n, channels = x.shape
    several, step = _several(n, channels), _chunks(n, channels)
    wide = several * channels
    v = _tiled(_stack(mean, inverse, scale, shift, shift, shift), several)
    by_scale, by_shift = np.zeros(channels), np.zeros(channels)
    scratch = np.empty(step * channels, np.float32)
    for start in range(0, n, step):
        part, passed = x[start : start + step].reshape(-1), out[start : start + step].reshape(-1)
        given, products = dy[start : start + step].reshape(-1), scratch[: part.size]
        round_part(given, passed, start * channels, site)
        _stop(part.reshape(-1, wide), passed.reshape(-1, wide), v, relu, products.reshape(-1, wide))
        add_columns(
            by_scale, by_shift, products.reshape(-1, channels), passed.reshape(-1, channels)
        )
    for k in range(channels):
        dscale[k], dshift[k] = by_scale[k], by_shift[k]


@njit(cache=True, error_model="numpy", nogil=True)
def _dx(x, passed, v, out):
    """Write dx by v = (mean, inverse, -, dscale / -n, dshift / n, scale * inverse)."""
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            hat = (x[i, k] - v[0, k]) * v[1, k]
            out[i, k] = (hat * v[3, k] + passed[i, k] - v[4, k]) * v[5, k]


@njit(cache=True, error_model="numpy", nogil=True)
def gradient_and_round(x, passed, mean, inverse, scale, dscale, dshift, of_batch, site):
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
        round_part(made, there, start * channels, site)
