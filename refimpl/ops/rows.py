"""Lay an array out in rows that share a scale, and put results back into its shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refimpl import _arguments
from refimpl.ops import arrays


@dataclass(frozen=True)
class RowLayout:
    """How the rows of `to_rows` lie in the array.

    `moved` is the shape with the axis at its place (first where a row is an index, last where it is
    a block of neighbours); scales have `scale_shape`.
    """

    caller: str
    shape: tuple[int, ...]
    axis: int | None
    block_size: int | None
    scale_shape: tuple[int, ...]

    def elements(self, rows: np.ndarray) -> np.ndarray:
        """Return values of the rows in the shape of the array."""
        if self.axis is None:
            return rows.reshape(self.shape)
        if self.block_size is None:
            moved = (self.shape[self.axis], *np.delete(self.shape, self.axis))
            return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, self.axis))
        length = self.shape[self.axis]
        rest = tuple(np.delete(self.shape, self.axis))
        full = rows.reshape(*rest, -(-length // self.block_size) * self.block_size)[..., :length]
        return np.ascontiguousarray(np.moveaxis(full, -1, self.axis))

    def scales(self, values: np.ndarray) -> np.ndarray:
        """Return one value for each row in the shape of the scales."""
        if self.axis is None or self.block_size is None:
            return values.reshape(self.scale_shape)
        moved = (*np.delete(self.scale_shape, self.axis), self.scale_shape[self.axis])
        return np.ascontiguousarray(np.moveaxis(values.reshape(moved), -1, self.axis))

    def rows_of(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return values given in (or broadcast to) the shape of the scales, one for each row."""
        try:
            full = np.broadcast_to(values, self.scale_shape)
        except ValueError:
            if values.ndim != 1 or values.size != math.prod(self.scale_shape):
                allowed = f"one that broadcasts to {self.scale_shape}"
                text = _arguments.message(self.caller, name, f"of shape {values.shape}", allowed)
                raise ValueError(text) from None
            full = values.reshape(self.scale_shape)
        if self.axis is not None and self.block_size is not None:
            full = np.moveaxis(full, self.axis, -1)
        return full.reshape(-1)


def to_rows(caller: str, x: np.ndarray, axis: int | None, block_size: int | None) -> tuple[np.ndarray, RowLayout]:
    """Return x as C-contiguous rows that share a scale, and the layout that undoes it.

    Without axis and block size there is one row; with an axis one for each of its indices; with a
    block size one for each block along the axis (default: the last), the last block of an axis
    filled up with zeros.
    """
    if block_size is not None:
        block_size = _arguments.integer(caller, "block_size", block_size, _arguments.Interval(1))
        axis = -1 if axis is None else axis
    if axis is None:
        return np.ascontiguousarray(x).reshape(1, -1), RowLayout(caller, x.shape, None, None, ())
    axis = arrays.axis(caller, axis, x.ndim)
    length = x.shape[axis]
    if block_size is None:
        shape = tuple(length if i == axis else 1 for i in range(x.ndim))
        rows = np.ascontiguousarray(np.moveaxis(x, axis, 0))
        rows = rows.reshape(length, x.size // length if length else 0)
        return rows, RowLayout(caller, x.shape, axis, None, shape)
    block_size = min(block_size, max(length, 1))  # a block is as long as what there is
    count = -(-length // block_size)
    shape = tuple(count if i == axis else n for i, n in enumerate(x.shape))
    last = np.moveaxis(x, axis, -1)
    if count * block_size != length:
        filled = np.zeros((*last.shape[:-1], count * block_size), x.dtype)
        filled[..., :length] = last
        last = filled
    rows = np.ascontiguousarray(last).reshape(-1, block_size)
    return rows, RowLayout(caller, x.shape, axis, block_size, shape)
