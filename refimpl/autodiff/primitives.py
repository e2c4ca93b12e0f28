"""The table of derivatives: each primitive's forward and vector-Jacobian product, side by side.

Images are (batch, height, width, channels), convolution weights (height, width, in, out).
Everything keeps the dtype it is given, so that float64 runs can check float32 ones.
"""

from __future__ import annotations

import numpy as np

from refimpl.autodiff.tensor import Tensor, primitive


def _to_shape(dy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum dy over the axes along which an array of this shape was broadcast."""
    if dy.shape == shape:
        return dy
    dy = dy.sum(axis=tuple(range(dy.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and dy.shape[i] != 1)
    return dy.sum(axis=stretched, keepdims=True)


# -- elementwise --------------------------------------------------------------------------------


@primitive
def add(a, b):
    """a + b, broadcast."""
    return a + b, lambda dy: (_to_shape(dy, a.shape), _to_shape(dy, b.shape))


@primitive
def subtract(a, b):
    """a - b, broadcast."""
    return a - b, lambda dy: (_to_shape(dy, a.shape), _to_shape(-dy, b.shape))


@primitive
def multiply(a, b):
    """a * b, broadcast."""
    return a * b, lambda dy: (_to_shape(dy * b, a.shape), _to_shape(dy * a, b.shape))


@primitive
def divide(a, b):
    """a / b, broadcast."""
    y = a / b
    return y, lambda dy: (_to_shape(dy / b, a.shape), _to_shape(-dy * y / b, b.shape))


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


# -- reductions and shapes ------------------------------------------------------------------------


@primitive
def sum(x, *, axis=None):
    """Sum over all or some axes."""

    def vjp(dy):
        kept = dy if axis is None else np.expand_dims(dy, axis)
        return (np.broadcast_to(kept, x.shape),)

    return x.sum(axis=axis), vjp


@primitive
def mean(x, *, axis=None):
    """Mean over all or some axes."""
    y = x.mean(axis=axis)
    count = x.dtype.type(x.size // y.size)

    def vjp(dy):
        kept = dy if axis is None else np.expand_dims(dy, axis)
        return (np.broadcast_to(kept / count, x.shape),)

    return y, vjp


@primitive
def reshape(x, *, shape):
    """The same elements in another shape."""
    return x.reshape(shape), lambda dy: (dy.reshape(x.shape),)


@primitive
def transpose(x, *, axes=None):
    """Axes in another order, reversed by default."""
    back = None if axes is None else np.argsort(axes)
    return x.transpose(axes), lambda dy: (dy.transpose(back),)


# -- layers -----------------------------------------------------------------------------------------


@primitive
def matmul(a, b):
    """Matrix product of (..., n, k) and (k, m)."""

    def vjp(dy):
        rows, dy_rows = a.reshape(-1, a.shape[-1]), dy.reshape(-1, dy.shape[-1])
        return dy @ b.T, rows.T @ dy_rows

    return a @ b, vjp


@primitive
def convolve(x, weight, *, stride: int = 1, padding: int = 0):
    """Cross-correlate images with a bank of filters, zeros around the border.

    x: (batch, height, width, in), weight: (rows, columns, in, out); the result is
    (batch, (height + 2 padding - rows) // stride + 1, likewise, out).
    """
    from refimpl.kernels import convolution as kernel

    batch, height, width, channels = x.shape
    rows, columns, _, filters = weight.shape
    down = (height + 2 * padding - rows) // stride + 1
    across = (width + 2 * padding - columns) // stride + 1
    patches = np.empty((batch * down * across, rows * columns * channels), x.dtype)
    x = np.ascontiguousarray(x)
    kernel.gather(x, patches, rows, columns, down, across, stride, padding)
    matrix = weight.reshape(-1, filters)

    def vjp(dy):
        dy = dy.reshape(-1, filters)
        dx = np.zeros_like(x)
        kernel.scatter(dy @ matrix.T, dx, rows, columns, down, across, stride, padding)
        return dx, (patches.T @ dy).reshape(weight.shape)

    return (patches @ matrix).reshape(batch, down, across, filters), vjp


@primitive
def normalize(x, scale, shift, *, mean, variance, of_batch: bool, epsilon: float = 1e-5):
    """Batch normalization over all axes but the last: (x - mean) / sqrt(variance + epsilon) * scale + shift.

    If `of_batch`, mean and variance are the `moments` of x and differentiated as such; otherwise
    they are constants, as in evaluation.
    """
    rows = x.reshape(-1, x.shape[-1])
    inverse = 1 / np.sqrt(variance + x.dtype.type(epsilon))
    hat = rows - mean
    hat *= inverse
    y = hat * scale
    y += shift

    def vjp(dy):
        dy = dy.reshape(rows.shape)
        dscale, dshift = _column_sums(dy * hat), _column_sums(dy)
        if of_batch:
            n = x.dtype.type(len(rows))
            dx = hat * (dscale / -n)
            dx += dy
            dx -= dshift / n
            dx *= scale * inverse
        else:
            dx = dy * (scale * inverse)
        return dx.reshape(x.shape), dscale, dshift

    return y.reshape(x.shape), vjp


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and (biased) variance over all axes but the last."""
    rows = x.reshape(-1, x.shape[-1])
    n = x.dtype.type(len(rows))
    mean = _column_sums(rows) / n
    centred = rows - mean
    centred *= centred
    return mean, _column_sums(centred) / n


def _column_sums(rows: np.ndarray) -> np.ndarray:
    """Sum over rows by a product with ones, several times faster than ``sum(axis=0)`` for few columns."""
    return np.ones(len(rows), rows.dtype) @ rows


@primitive
def cross_entropy(logits, *, labels):
    """Mean over the batch of -log softmax(logits)[label]; logits (batch, classes), labels integers."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    picked = np.arange(len(labels)), labels
    n = logits.dtype.type(len(labels))
    loss = (np.log(totals[:, 0]) - shifted[picked]).sum() / n

    def vjp(dy):
        dx = exponentials / totals
        dx[picked] -= 1
        return (dx * (dy / n),)

    return loss, vjp


@primitive
def rounded(x, *, forward=None, backward=None):
    """Apply `forward` to the values and `backward` to the gradients, each array to array, or None.

    A straight-through estimator: the derivative of rounding is taken as 1.
    """
    y = x if forward is None else forward(x)
    return y, lambda dy: (dy if backward is None else backward(dy),)


def _method(function, swap: bool = False):
    def apply(self, other):
        other = other if isinstance(other, Tensor) else Tensor(np.asarray(other, self.data.dtype))
        return function(other, self) if swap else function(self, other)

    return apply


Tensor.__add__ = Tensor.__radd__ = _method(add)
Tensor.__mul__ = Tensor.__rmul__ = _method(multiply)
Tensor.__sub__, Tensor.__rsub__ = _method(subtract), _method(subtract, swap=True)
Tensor.__truediv__, Tensor.__rtruediv__ = _method(divide), _method(divide, swap=True)
Tensor.__matmul__ = _method(matmul)
Tensor.__neg__ = lambda self: self * -1.0
Tensor.sum = lambda self, axis=None: sum(self, axis=axis)
Tensor.mean = lambda self, axis=None: mean(self, axis=axis)
Tensor.reshape = lambda self, *shape: reshape(self, shape=shape)
Tensor.transpose = lambda self, *axes: transpose(self, axes=axes or None)
