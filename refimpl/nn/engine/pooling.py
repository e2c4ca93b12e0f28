"""Largest values of windows side by side, means of images; images are (batch, height, width, channels)."""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels._memory import clear


@compiled
def _largest(x, b, i, j, k, size):
    """Return the first place of the largest value in a window, a NaN counting as largest."""
    top, left = i, j
    value = x[b, i, j, k]
    for y in range(i, i + size):
        for z in range(j, j + size):
            found = x[b, y, z, k]
            if value == value and (found > value or found != found):
                top, left, value = y, z, found
    return top, left


@compiled
def max_pool(x, size, out):
    """Write the largest value of each size x size window."""
    batch, down, across, channels = out.shape
    for b in range(batch):
        for i in range(down):
            for j in range(across):
                for k in range(channels):
                    y, z = _largest(x, b, i * size, j * size, k, size)
                    out[b, i, j, k] = x[b, y, z, k]


@compiled
def max_pool_gradient(x, dy, size, dx):
    """Write dL/dx: the first of equal values in a window takes its gradient."""
    batch, down, across, channels = dy.shape
    clear(dx.ctypes.data, dx.size)
    for b in range(batch):
        for i in range(down):
            for j in range(across):
                for k in range(channels):
                    y, z = _largest(x, b, i * size, j * size, k, size)
                    dx[b, y, z, k] += dy[b, i, j, k]


@compiled
def image_means(x, out):
    """Write the means (batch, channels) over the pixels of x (batch, pixels, channels), summed in float64."""
    batch, pixels, channels = x.shape
    total = np.empty(channels)
    for b in range(batch):
        for k in range(channels):
            total[k] = 0
        for i in range(pixels):
            for k in range(channels):
                total[k] += np.float64(x[b, i, k])
        for k in range(channels):
            out[b, k] = total[k] / pixels


@compiled
def image_means_gradient(dy, dx):
    """Write dL/dx (batch, pixels, channels), given dL/d(means)."""
    batch, pixels, channels = dx.shape
    count = np.float32(pixels)
    for b in range(batch):
        for i in range(pixels):
            for k in range(channels):
                dx[b, i, k] = dy[b, k] / count
