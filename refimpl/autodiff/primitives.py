"""The table of derivatives: each primitive's forward and vector-Jacobian product, side by side.

Images are (batch, height, width, channels), convolution weights (height, width, in, out).
Everything keeps the dtype it is given, so that float64 runs can check float32 ones.
"""

from __future__ import annotations

import numpy as np

from refimpl.autodiff.elementwise import (
    add,
    divide,
    exp,
    gelu,
    log,
    maximum,
    multiply,
    relu,
    sigmoid,
    sqrt,
    subtract,
    tanh,
)
from refimpl.autodiff.images import average_pool, convolve, image_mean, max_pool
from refimpl.autodiff.networks import cross_entropy, layer_norm, matmul, moments, normalize, rounded, softmax
from refimpl.autodiff.shapes import concatenate, embedding, index, max, mean, reshape, sum, transpose
from refimpl.autodiff.tensor import Tensor

TABLE = {
    f.__name__: f
    for f in (
        add,
        subtract,
        multiply,
        divide,
        exp,
        log,
        sqrt,
        tanh,
        sigmoid,
        gelu,
        relu,
        maximum,
        sum,
        mean,
        max,
        reshape,
        transpose,
        index,
        concatenate,
        embedding,
        matmul,
        softmax,
        layer_norm,
        normalize,
        cross_entropy,
        rounded,
        convolve,
        max_pool,
        average_pool,
        image_mean,
    )
}
"""Every primitive by name."""

__all__ = [*TABLE, "TABLE", "moments"]


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
Tensor.__getitem__ = lambda self, at: index(self, at=at)
