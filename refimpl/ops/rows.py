"""Lay an array out in rows that share a scale, and put results back into its shape.

A tile is what shares a scale: the whole array; one index of an axis, or of several, and all of the others; so
many neighbours along an axis; or a box of so many along several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from refimpl import _arguments
from refimpl.ops import arrays
from refimpl.ops.rounding import RoundingRule

Axes = int | tuple[int, ...] | None


@dataclass(frozen=True)
class RowLayout:
    """How the rows of `to_rows` lie in the array: a row is a tile, in C order of tiles and of elements in each."""

    caller: str
    shape: tuple[int, ...]
    tile: tuple[int, ...]
    tiles: tuple[int, ...]
    scale_shape: tuple[int, ...]

    @property
    def in_order(self) -> bool:
        """Whether the rows, one behind the other, are the array in C order."""
        pairs = zip(self.tiles, self.tile, strict=True)
        turned = [inside for pair in pairs for inside, n in enumerate(pair) if n != 1]
        return turned == sorted(turned) and np.prod(self.shape) == np.prod(self.tiles) * np.prod(self.tile)

    def words(self, rule: RoundingRule) -> np.ndarray:
        """Return the random words of all elements as rows, of no columns where none are drawn."""
        if not rule.stochastic:
            return np.empty((int(np.prod(self.tiles)), 0), np.uint32)
        size = int(np.prod(self.shape))
        return self.rows(rule.words(size)[:size].reshape(self.shape))

    def in_pieces(self, rule: RoundingRule, work: Callable[[tuple[slice, slice], np.ndarray], None]) -> None:
        """Call work(part, words) on parts of the rows that stay in the cache, with the random words of their elements.

        Words are drawn for the part alone where rows are in order; they have no columns where none are drawn.
        """
        rows, length = int(np.prod(self.tiles)), int(np.prod(self.tile))
        words = None if self.in_order and rule.stochastic else self.words(rule)
        step = max(arrays.CHUNK // max(length, 1), 1)

        def some(start, stop):
            for top in range(start, stop, step):
                for left in range(0, length, arrays.CHUNK):
                    part = slice(top, min(top + step, stop)), slice(left, min(left + arrays.CHUNK, length))
                    shape = tuple(one.stop - one.start for one in part)
                    if words is None:
                        count = shape[0] * shape[1]
                        drawn = rule.words(count, top * length + left)[:count].reshape(shape)
                    else:
                        drawn = words[part]
                    work(part, drawn)

        arrays.in_threads(rows, some, least=max(arrays.ELEMENTS_PER_THREAD // max(length, 1), 1))

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Return an array as rows, tiles that are not full filled up with zeros."""
        whole = tuple(n * t for n, t in zip(self.tiles, self.tile, strict=True))
        if whole != self.shape:
            filled = np.zeros(whole, x.dtype)
            filled[tuple(map(slice, self.shape))] = x
            x = filled
        split = [size for pair in zip(self.tiles, self.tile, strict=True) for size in pair]
        order = [*range(0, 2 * len(self.tile), 2), *range(1, 2 * len(self.tile), 2)]
        rows = np.ascontiguousarray(x.reshape(split).transpose(order))
        return rows.reshape(int(np.prod(self.tiles)), int(np.prod(self.tile)))

    def elements(self, rows: np.ndarray) -> np.ndarray:
        """Return values of the rows in the shape of the array."""
        order = [place for i in range(len(self.tile)) for place in (i, len(self.tile) + i)]
        whole = [n * t for n, t in zip(self.tiles, self.tile, strict=True)]
        x = rows.reshape((*self.tiles, *self.tile)).transpose(order).reshape(whole)
        return np.ascontiguousarray(x[tuple(map(slice, self.shape))]).reshape(self.shape)

    def scales(self, values: np.ndarray) -> np.ndarray:
        """Return one value for each row in the shape of the scales."""
        return values.reshape(self.scale_shape)

    def rows_of(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return values given in (or broadcast to) the shape of the scales, one for each row."""
        try:
            return np.broadcast_to(values, self.scale_shape).reshape(-1)
        except ValueError:
            one_axis = sum(n != 1 for n in self.scale_shape) == 1
            if not one_axis or values.ndim != 1 or values.size != np.prod(self.scale_shape):
                allowed = f"one that broadcasts to {self.scale_shape}"
                text = _arguments.message(self.caller, name, f"of shape {values.shape}", allowed)
                raise ValueError(text) from None
            return values


def to_rows(caller: str, x: np.ndarray, axis: Axes, block_size: Axes) -> tuple[np.ndarray, RowLayout]:
    """Return x as C-contiguous rows that share a scale, and the layout that undoes it.

    Without axis and block size there is one row; with an axis, or several, one for each of its indices; with a
    block size one for each block along the axis (default: the last), and with several sizes for each box along as
    many axes (default: the last ones).
    """
    if block_size is None:
        along = [] if axis is None else axes(caller, axis, x.ndim)
        tile = [1 if i in along else n for i, n in enumerate(x.shape)]
        tiles = [n if i in along else 1 for i, n in enumerate(x.shape)]
    else:
        sizes = list(block_size) if isinstance(block_size, (tuple, list)) else [block_size]
        sizes = [_arguments.integer(caller, "block_size", size, _arguments.Interval(1)) for size in sizes]
        along = axes(caller, tuple(range(-len(sizes), 0)) if axis is None else axis, x.ndim)
        if len(along) != len(sizes):
            allowed = f"as many sizes as axes, {len(along)}"
            raise _arguments.wrong_value(caller, "block_size", block_size, allowed, f"axis is {axis}")
        tile = [1] * x.ndim
        for i, size in zip(along, sizes, strict=True):
            tile[i] = min(size, max(x.shape[i], 1))  # a block is as long as what there is
        tiles = [-(-n // t) for n, t in zip(x.shape, tile, strict=True)]
    shape = () if axis is None and block_size is None else tuple(tiles)
    layout = RowLayout(caller, x.shape, tuple(tile), tuple(tiles), shape)
    return layout.rows(x), layout


def axes(caller: str, got: Axes | Sequence[int], dimensions: int) -> list[int]:
    """Return the numbers of different axes, counted from the first."""
    given = got if isinstance(got, (tuple, list)) else (got,)
    found = [arrays.axis(caller, one, dimensions) for one in given]
    if len(set(found)) < len(found) or not found:
        raise _arguments.wrong_value(caller, "axis", got, "one axis, or different ones")
    return found
