"""Derivatives of reductions, and of what only moves elements about."""

from __future__ import annotations

import numpy as np

from refimpl.autodiff.tensor import primitive


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
    back = None if axes is None else np.argsort([axis % x.ndim for axis in axes])
    return x.transpose(axes), lambda dy: (dy.transpose(back),)


@primitive
def max(x, *, axis: int):
    """Largest element along an axis; the first of equal ones takes the gradient."""
    at = np.expand_dims(x.argmax(axis=axis), axis)

    def vjp(dy):
        dx = np.zeros_like(x)
        np.put_along_axis(dx, at, np.expand_dims(dy, axis), axis)
        return (dx,)

    return np.take_along_axis(x, at, axis).squeeze(axis), vjp


@primitive
def index(x, *, at):
    """x[at], for anything NumPy indexes by; elements taken twice receive both gradients."""

    def vjp(dy):
        dx = np.zeros_like(x)
        if np.may_share_memory(x[at], x):  # a view: no element twice
            dx[at] = dy
        else:
            np.add.at(dx, at, dy)
        return (dx,)

    return x[at], vjp


@primitive
def concatenate(*arrays, axis: int = 0):
    """The arrays one after the other along an axis."""
    ends = np.cumsum([a.shape[axis] for a in arrays])[:-1]
    return np.concatenate(arrays, axis), lambda dy: tuple(np.split(dy, ends, axis))


@primitive
def embedding(table, *, tokens):
    """Rows of a table (words, features) by number; tokens are integers of any shape, below words.

    A gradient row is the sum over the tokens that asked for it, in their order.
    """
    tokens = np.asarray(tokens)
    if tokens.size and not (0 <= tokens.min() and tokens.max() < len(table)):
        raise ValueError(
            f"embedding: tokens go from {tokens.min()} to {tokens.max()}, the table has rows 0 to {len(table) - 1}"
        )

    def vjp(dy):
        dtable = np.zeros_like(table)
        np.add.at(dtable, tokens.reshape(-1), dy.reshape(-1, table.shape[1]))
        return (dtable,)

    return table[tokens], vjp
