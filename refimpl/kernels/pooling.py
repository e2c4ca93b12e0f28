"""Largest values of windows side by side; images are (batch, height, width, channels)."""

from refimpl.kernels._compiled import compiled


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
    dx[:] = 0
    for b in range(batch):
        for i in range(down):
            for j in range(across):
                for k in range(channels):
                    y, z = _largest(x, b, i * size, j * size, k, size)
                    dx[b, y, z, k] += dy[b, i, j, k]
