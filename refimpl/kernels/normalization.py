"""Batch normalization, optionally with the ReLU that follows it, in as few passes as it needs.

*Notation*: x, dy, dx, out are (n, channels), one row per pixel; vectors have one entry per channel:

    hat = (x - mean) * inverse,   out = hat * scale + shift,   and max(out, 0) with `relu`

The backward passes compute `hat` again from x instead of keeping it: a pass over memory saved, and
a third of what training would have to remember.  Elementwise operations are rounded to the dtype
of x one by one, in the order written, as `refimpl.autodiff.primitives.normalize` does in NumPy;
sums over rows run in float64, row after row, and are so exact that no float32 result shows it.
"""

import numpy as np

from refimpl.kernels._compiled import compiled


@compiled
def moments(x):
    """Return mean and biased variance of each column of x, as E[x^2] - E[x]^2 in float64.

    Squares of float32 are exact in float64, so cancellation costs nothing float32 could show
    unless the deviation is below 2^-14 of the mean or so.
    """
    n, channels = x.shape
    total, squares = np.zeros(channels), np.zeros(channels)
    for i in range(n):
        for k in range(channels):
            value = np.float64(x[i, k])
            total[k] += value
            squares[k] += value * value
    mean = total / n
    variance = np.maximum(squares / n - mean * mean, 0.0)
    return mean.astype(x.dtype), variance.astype(x.dtype)


@compiled
def normalize(x, mean, inverse, scale, shift, relu):
    """Return out."""
    out = np.empty_like(x)
    n, channels = x.shape
    zero = x.dtype.type(0)
    for i in range(n):
        for k in range(channels):
            y = (x[i, k] - mean[k]) * inverse[k] * scale[k] + shift[k]
            out[i, k] = zero if relu and y < zero else y  # a NaN stays one
    return out


@compiled
def gradient_sums(x, dy, mean, inverse, scale, shift, relu):
    """Return dscale and dshift."""
    n, channels = x.shape
    dscale, dshift = np.zeros(channels), np.zeros(channels)
    zero = x.dtype.type(0)
    for i in range(n):
        for k in range(channels):
            hat = (x[i, k] - mean[k]) * inverse[k]
            shut = relu and not (hat * scale[k] + shift[k] > zero)
            passed = zero if shut else dy[i, k]
            dscale[k] += np.float64(passed * hat)
            dshift[k] += np.float64(passed)
    return dscale.astype(x.dtype), dshift.astype(x.dtype)


@compiled
def gradient(x, dy, mean, inverse, scale, shift, relu, dscale, dshift, of_batch):
    """Return dx; with `of_batch`, mean and inverse depend on x."""
    n, channels = x.shape
    rows, zero = x.dtype.type(n), x.dtype.type(0)
    by_scale, by_shift, factor = dscale / -rows, dshift / rows, scale * inverse
    if not of_batch:
        by_scale[:], by_shift[:] = zero, zero
    # Short rows are taken several at a time: vector loops do not begin below 32 elements.
    several = 64 // channels if 64 % channels == 0 and n % (64 // channels) == 0 else 1
    wide = (n // several, several * channels)
    xs, dys, out = x.reshape(wide), dy.reshape(wide), np.empty(wide, x.dtype)
    v = np.empty((7, wide[1]), x.dtype)
    for j in range(several):
        part = v[:, j * channels : (j + 1) * channels]
        part[0], part[1], part[2], part[3] = mean, inverse, scale, shift
        part[4], part[5], part[6] = by_scale, by_shift, factor
    for i in range(wide[0]):
        for k in range(wide[1]):
            hat = (xs[i, k] - v[0, k]) * v[1, k]
            shut = relu and not (hat * v[2, k] + v[3, k] > zero)
            passed = zero if shut else dys[i, k]
            out[i, k] = (hat * v[4, k] + passed - v[5, k]) * v[6, k]
    return out.reshape(n, channels)


@compiled
def image_means(x):
    """Return the mean over the pixels of x (batch, pixels, channels)."""
    out = np.empty((x.shape[0], x.shape[2]), x.dtype)
    write_image_means(x, out)
    return out


@compiled
def write_image_means(x, out):
    """Do as `image_means`, into out."""
    batch, pixels, channels = x.shape
    total = np.empty(channels)
    for b in range(batch):
        total[:] = 0
        for i in range(pixels):
            for k in range(channels):
                total[k] += np.float64(x[b, i, k])
        for k in range(channels):
            out[b, k] = total[k] / pixels


@compiled
def write_image_means_gradient(dy, dx):
    """Write dL/dx (batch, pixels, channels), given dL/d(means)."""
    batch, pixels, channels = dx.shape
    count = dx.dtype.type(pixels)
    for b in range(batch):
        share = dy[b] / count
        for i in range(pixels):
            for k in range(channels):
                dx[b, i, k] = share[k]
