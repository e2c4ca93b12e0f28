"""Derivatives of the larger pieces networks are made of: products, normalization, the loss, rounding."""

from __future__ import annotations

import numpy as np

from refimpl.autodiff.tensor import primitive


@primitive
def matmul(a, b, *, exact: bool = False, sums=None, needed=(True, True)):
    """Matrix product: (..., n, k) with (k, m), or with (..., k, m) of the same leading axes.

    A float32 matrix b is handled as a 1x1 convolution, whose order of summation is stated
    (`refimpl.kernels.direct_convolution`); everything else goes to BLAS, whose is not.

    With `exact`, float32 products are summed in float64 and rounded to float32 once.  A product of
    two float32 is exact there, and so is the sum, in any order, if every product is a multiple of
    some 2^q and their magnitudes add up to at most 2^(53 + q): `refimpl.nn.exactness` says for
    which formats that always holds.

    `sums`, three functions of two stacks of matrices, compute a b, dy b' and a' dy instead.
    """
    if a.ndim < 1 or b.ndim < 2 or a.shape[-1] != b.shape[-2] or b.shape[:-2] not in ((), a.shape[:-2]):
        raise ValueError(
            f"matmul: shapes {a.shape} and {b.shape} do not fit; give (..., n, k) and (k, m), or "
            "(..., k, m) with the same leading axes"
        )
    if sums is not None:
        return _by(a, b, needed, *sums)
    if exact and a.dtype == np.float32:
        return _in_float64(a, b, needed)
    if b.ndim == 2 and a.dtype == np.float32:
        return _as_convolution(a, b, needed)

    return _by(a, b, needed)


def _by(a, b, needed, forward=np.matmul, left=np.matmul, right=np.matmul):
    def vjp(dy):
        da = left(dy, np.swapaxes(b, -1, -2)) if needed[0] else None
        if not needed[1]:
            return da, None
        if b.ndim == 2:
            return da, right(a.reshape(-1, a.shape[-1]).T, dy.reshape(-1, dy.shape[-1]))
        return da, right(np.swapaxes(a, -1, -2), dy)

    return forward(a, b), vjp


def _in_float64(a, b, needed):
    y, back = _by(a.astype(np.float64), b.astype(np.float64), needed)

    def vjp(dy):
        gradients = back(dy.astype(np.float64))
        return tuple(None if g is None else g.astype(np.float32) for g in gradients)

    return y.astype(np.float32), vjp


def _as_convolution(a, b, needed):
    from refimpl.kernels import direct_convolution as kernel

    rows = a.size // a.shape[-1]
    width = rows if rows % 128 else 128  # lines whose sums over pixels stay in the cache, where they come out even
    image = np.ascontiguousarray(a).reshape(1, -1, width, a.shape[-1])
    filters = np.ascontiguousarray(b).reshape(1, 1, *b.shape)
    height, (k, m) = image.shape[1], b.shape

    def vjp(dy):
        dy = np.ascontiguousarray(dy).reshape(1, height, width, m)
        da = kernel.input_gradient(filters, dy, height, width, 1, 0).reshape(a.shape) if needed[0] else None
        db = kernel.weight_gradient(image, dy, 1, 1, 1, 0).reshape(k, m) if needed[1] else None
        return da, db

    return kernel.forward(image, filters, 1, 0).reshape(*a.shape[:-1], m), vjp


@primitive
def softmax(x, *, causal: bool = False):
    """exp(x) / sum(exp(x)) over the last axis; if causal, row i of (..., n, n) takes its first i + 1 elements alone."""
    if causal:
        x = np.where(np.tri(x.shape[-1], dtype=bool), x, x.dtype.type(-np.inf))
    y = x - x.max(axis=-1, keepdims=True)
    np.exp(y, out=y)
    y /= y.sum(axis=-1, keepdims=True)
    return y, lambda dy: (y * (dy - (dy * y).sum(axis=-1, keepdims=True)),)


@primitive
def layer_norm(x, scale, shift, *, epsilon: float = 1e-5):
    """Normalize each vector along the last axis to mean 0 and variance 1, then scale and shift it."""
    _one_for_each_feature("layer_norm", x, scale, shift)
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    inverse = 1 / np.sqrt(variance + x.dtype.type(epsilon))
    hat = centred * inverse

    def vjp(dy):
        rows = tuple(range(x.ndim - 1))
        dhat = dy * scale
        dx = dhat - dhat.mean(axis=-1, keepdims=True)
        dx -= hat * (dhat * hat).mean(axis=-1, keepdims=True)
        return dx * inverse, (dy * hat).sum(axis=rows), dy.sum(axis=rows)

    return hat * scale + shift, vjp


@primitive
def normalize(x, scale, shift, *, mean, variance, of_batch: bool, epsilon: float = 1e-5):
    """Batch normalization over all axes but the last: (x - mean) / sqrt(variance + epsilon) * scale + shift.

    If `of_batch`, mean and variance are the `moments` of x and differentiated as such; otherwise
    they are constants, as in evaluation.
    """
    _one_for_each_feature("normalize", x, scale, shift, mean, variance)
    inverse = 1 / np.sqrt(variance + x.dtype.type(epsilon))
    hat = (x - mean) * inverse

    def vjp(dy):
        count = x.dtype.type(x.size // x.shape[-1])
        dscale, dshift = (total.astype(x.dtype) for total in (sum_of_rows(dy * hat), sum_of_rows(dy)))
        if of_batch:
            return (hat * (dscale / -count) + dy - dshift / count) * (scale * inverse), dscale, dshift
        return dy * (scale * inverse), dscale, dshift

    return hat * scale + shift, vjp


def sum_of_rows(x: np.ndarray) -> np.ndarray:
    """Return the float64 sums over all axes but the last, added one row after the other, from 0 on."""
    return np.add.accumulate(x.reshape(-1, x.shape[-1]), axis=0, dtype=np.float64)[-1] + 0.0


def _one_for_each_feature(name: str, x, *vectors) -> None:
    """Refuse vectors that have not one element for each of the last axis of x."""
    for vector in vectors:
        if vector.shape != x.shape[-1:]:
            raise ValueError(
                f"{name}: x has the shape {x.shape} and a vector {vector.shape}; give vectors of shape {x.shape[-1:]}"
            )


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and (biased) variance over all axes but the last, as E[x^2] - E[x]^2 in float64.

    Squares of float32 are exact in float64, so cancellation costs nothing float32 could show
    unless the deviation is below 2^-14 of the mean or so.
    """
    wide, count = x.astype(np.float64), x.size // x.shape[-1]
    mean = sum_of_rows(wide) / count
    variance = np.maximum(sum_of_rows(wide * wide) / count - mean * mean, 0.0)
    return mean.astype(x.dtype), variance.astype(x.dtype)


@primitive
def cross_entropy(logits, *, labels):
    """Mean over all labels of -log softmax(logits)[label]; logits (..., classes), labels integers (...).

    In float64, so that the last bit of a machine's exp and log, where they differ, is rounded away.
    """
    labels = np.ascontiguousarray(labels, np.int64)
    if logits.ndim < 2 or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: logits of shape {logits.shape} and labels of shape {labels.shape}; give "
            "(batch, classes) and (batch,), or (batch, places, classes) and (batch, places)"
        )
    if labels.size and not (0 <= labels.min() and labels.max() < logits.shape[-1]):
        raise ValueError(
            f"cross_entropy: labels go from {labels.min()} to {labels.max()}, allowed are 0 to {logits.shape[-1] - 1}"
        )

    labels = labels.reshape(-1)
    batch = np.arange(len(labels))
    wide = logits.reshape(-1, logits.shape[-1]).astype(np.float64)
    above = wide - wide.max(axis=1, keepdims=True)
    exponentials = np.exp(above)
    totals = np.add.accumulate(exponentials, axis=1)[:, -1:]
    losses = np.log(totals[:, 0]) - above[batch, labels]

    def vjp(dy):
        probabilities = exponentials / totals
        probabilities[batch, labels] -= 1
        return ((probabilities * (float(dy) / len(labels))).astype(logits.dtype).reshape(logits.shape),)

    return logits.dtype.type(np.add.accumulate(losses)[-1] / len(labels)), vjp


@primitive
def rounded(x, *, forward=None, backward=None):
    """Apply `forward` to the values and `backward` to the gradients, each array to array, or None.

    A straight-through estimator: the derivative of rounding is taken as 1.
    """
    y = x if forward is None else forward(x)
    return y, lambda dy: (dy if backward is None else backward(dy),)
