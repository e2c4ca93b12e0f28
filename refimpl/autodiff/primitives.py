"""The table of derivatives: each primitive's forward and vector-Jacobian product, side by side.

Images are (batch, height, width, channels), convolution weights (height, width, in, out).
Everything keeps the dtype it is given, so that float64 runs can check float32 ones.
"""

from __future__ import annotations

from collections.abc import Callable

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


METHODS: dict[str, Callable] = {
    "__add__": _method(add),
    "__radd__": _method(add),
    "__mul__": _method(multiply),
    "__rmul__": _method(multiply),
    "__sub__": _method(subtract),
    "__rsub__": _method(subtract, swap=True),
    "__truediv__": _method(divide),
    "__rtruediv__": _method(divide, swap=True),
    "__matmul__": _method(matmul),
    "__neg__": lambda self: self * -1.0,
    "sum": lambda self, axis=None: sum(self, axis=axis),
    "mean": lambda self, axis=None: mean(self, axis=axis),
    "reshape": lambda self, *shape: reshape(self, shape=shape),
    "transpose": lambda self, *axes: transpose(self, axes=axes or None),
    "__getitem__": lambda self, at: index(self, at=at),
}
for name, method in METHODS.items():
    setattr(Tensor, name, method)
