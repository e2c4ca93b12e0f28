"""The small passes of a network: biases, ReLU, sums."""

import numpy as np

from refimpl.kernels._compiled import compiled

_0, _1 = np.float32(0), np.float32(1)


@compiled
def add_bias(y, bias):
    """Add bias (m,) to every row of y (n, m)."""
    for i in range(y.shape[0]):
        for k in range(y.shape[1]):
            y[i, k] += bias[k]


@compiled
def sum_columns(dy, out):
    """Write the float32 sums of the columns of dy (n, m), added row after row."""
    for k in range(dy.shape[1]):
        out[k] = dy[0, k]
    for i in range(1, dy.shape[0]):
        for k in range(dy.shape[1]):
            out[k] += dy[i, k]


@compiled
def relu(x, y):
    """Write max(x, 0), float32 (n,); a NaN stays one."""
    for i in range(x.size):
        y[i] = _0 if x[i] < _0 else x[i]


@compiled
def relu_gradient(y, dy, dx):
    """Write dy where y is above 0, else dy times 0."""
    for i in range(y.size):
        dx[i] = dy[i] * (_1 if y[i] > _0 else _0)


@compiled
def add(x, z, y):
    """Write x + z, float32 (n,) each; y may be one of them."""
    for i in range(x.size):
        y[i] = x[i] + z[i]
