"""Sums of the columns of float32 matrices in float64, row after row.

Sixteen columns at a time are held in vector registers, which Numba's compiler does not do by itself.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from refimpl.kernels.tiles import LANES

_INT, _HALF = ir.IntType(64), ir.IntType(32)
_ROW, _TOTAL = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.DoubleType(), LANES)


def _adder(squares: bool):
    """Make a function that adds 16 columns to totals, and their squares, or those of a second matrix, to others."""

    @intrinsic
    def add(typing, first, second, rows, more, stride, count):
        def generate(context, b, signature, arguments):
            first, second, rows, more, stride, count = arguments
            places = [b.inttoptr(at, _TOTAL.as_pointer()) for at in (first, second)]
            sums = [cgutils.alloca_once(b, _TOTAL) for _ in places]
            for place, kept in zip(places, sums, strict=True):
                b.store(b.load(place, align=8), kept)
            with cgutils.for_range(b, count) as loop:
                offset = b.shl(b.mul(loop.index, stride), _INT(2))

                def row_of(matrix):
                    at = b.inttoptr(b.add(matrix, offset), _ROW.as_pointer())
                    return b.fpext(b.load(at, align=4), _TOTAL)

                row = row_of(rows)
                terms = row, b.fmul(row, row) if squares else row_of(more)
                for term, kept in zip(terms, sums, strict=True):
                    b.store(b.fadd(b.load(kept), term), kept)
            for place, kept in zip(places, sums, strict=True):
                b.store(b.load(kept), place, align=8)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return add


_add_two, _add_squares = _adder(False), _adder(True)


@njit(cache=True, error_model="numpy", nogil=True)
def add_columns(first, second, rows, more):
    """Add rows to first and more to second (float32 (n, channels), float64 (channels,)), one after the other."""
    n, channels = rows.shape
    whole = channels // LANES * LANES
    for k in range(0, whole, LANES):
        _add_two(
            first.ctypes.data + 8 * k, second.ctypes.data + 8 * k, rows.ctypes.data + 4 * k,
            more.ctypes.data + 4 * k, channels, n,
        )  # fmt: skip
    for i in range(n):
        for k in range(whole, channels):
            first[k] += np.float64(rows[i, k])
            second[k] += np.float64(more[i, k])


@njit(cache=True, error_model="numpy", nogil=True)
def add_columns_and_squares(total, squares, rows):
    """Add rows to total and their squares, exact in float64, to `squares`."""
    n, channels = rows.shape
    whole = channels // LANES * LANES
    for k in range(0, whole, LANES):
        _add_squares(
            total.ctypes.data + 8 * k, squares.ctypes.data + 8 * k, rows.ctypes.data + 4 * k, 0,
            channels, n,
        )  # fmt: skip
    for i in range(n):
        for k in range(whole, channels):
            value = np.float64(rows[i, k])
            total[k] += value
            squares[k] += value * value
