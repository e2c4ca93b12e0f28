"""Derivatives of elementwise functions; two arguments are broadcast against each other."""

from __future__ import annotations

import numpy as np

from refimpl.autodiff.tensor import primitive


def to_shape(dy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum dy over the axes along which an array of this shape was broadcast."""
    if dy.shape == shape:
        return dy
    dy = dy.sum(axis=tuple(range(dy.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and dy.shape[i] != 1)
    return dy.sum(axis=stretched, keepdims=True)


@primitive
def add(a, b):
    """a + b, broadcast."""
    return a + b, lambda dy: (to_shape(dy, a.shape), to_shape(dy, b.shape))


@primitive
def subtract(a, b):
    """a - b, broadcast."""
    return a - b, lambda dy: (to_shape(dy, a.shape), to_shape(-dy, b.shape))


@primitive
def multiply(a, b):
    """a * b, broadcast."""
    return a * b, lambda dy: (to_shape(dy * b, a.shape), to_shape(dy * a, b.shape))


@primitive
def divide(a, b):
    """a / b, broadcast."""
    y = a / b
    return y, lambda dy: (to_shape(dy / b, a.shape), to_shape(-dy * y / b, b.shape))


@primitive
def exp(x):
    """Exponential."""
    y = np.exp(x)
    return y, lambda dy: (dy * y,)


@primitive
def log(x):
    """Natural logarithm."""
    return np.log(x), lambda dy: (dy / x,)


@primitive
def relu(x):
    """max(x, 0); the derivative at 0 is taken as 0."""
    y = np.maximum(x, 0)
    return y, lambda dy: (dy * (y > 0),)


@primitive
def sqrt(x):
    """Square root."""
    y = np.sqrt(x)
    return y, lambda dy: (dy / (y + y),)


@primitive
def tanh(x):
    """Hyperbolic tangent."""
    y = np.tanh(x)
    return y, lambda dy: (dy * (1 - y * y),)


@primitive
def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow on either side."""
    small = np.exp(-np.abs(x))
    y = np.where(x >= 0, 1, small) / (1 + small)
    return y, lambda dy: (dy * y * (1 - y),)


@primitive
def gelu(x):
    """x Phi(x) by its tanh formula: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
    c, d = x.dtype.type(np.sqrt(2 / np.pi)), x.dtype.type(0.044715)
    t = np.tanh(c * (x + d * x * x * x))
    half = x.dtype.type(0.5)

    def vjp(dy):
        slope = c * (1 + 3 * d * x * x)
        return (dy * half * (1 + t + x * (1 - t * t) * slope),)

    return half * x * (1 + t), vjp


@primitive
def maximum(a, b):
    """The larger of a and b; where they are equal each takes half of the gradient."""
    half = a.dtype.type(0.5)
    fraction = (a > b) + half * (a == b)
    return np.maximum(a, b), lambda dy: (to_shape(dy * fraction, a.shape), to_shape(dy * (1 - fraction), b.shape))
