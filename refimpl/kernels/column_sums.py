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
    """Make a function that adds 16 columns to totals and, perhaps, their squares to others."""

    @intrinsic
    def add(typing, total, squared, rows, stride, count):
        def generate(context, b, signature, arguments):
            total, squared, rows, stride, count = arguments
            places = [b.inttoptr(at, _TOTAL.as_pointer()) for at in (total, squared)[: 1 + squares]]
            sums = [cgutils.alloca_once(b, _TOTAL) for _ in places]
            for place, kept in zip(places, sums, strict=True):
                b.store(b.load(place, align=8), kept)
            with cgutils.for_range(b, count) as loop:
                at = b.add(rows, b.shl(b.mul(loop.index, stride), _INT(2)))
                row = b.fpext(b.load(b.inttoptr(at, _ROW.as_pointer()), align=4), _TOTAL)
                b.store(b.fadd(b.load(sums[0]), row), sums[0])
                if squares:
                    b.store(b.fadd(b.load(sums[1]), b.fmul(row, row)), sums[1])
            for place, kept in zip(places, sums, strict=True):
                b.store(b.load(kept), place, align=8)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), generate

    return add


_add_16, _add_16_and_squares = _adder(False), _adder(True)


@njit(cache=True, error_model="numpy", nogil=True)
def add_columns(total, rows):
    """Add rows (float32 (n, channels)) to total (float64 (channels,)), one after the other."""
    n, channels = rows.shape
    whole = channels // LANES * LANES
    for k in range(0, whole, LANES):
        _add_16(total.ctypes.data + 8 * k, 0, rows.ctypes.data + 4 * k, channels, n)
    for i in range(n):
        for k in range(whole, channels):
            total[k] += np.float64(rows[i, k])


@njit(cache=True, error_model="numpy", nogil=True)
def add_columns_and_squares(total, squares, rows):
    """Do as `add_columns`, and add the squares, exact in float64, to `squares`."""
    n, channels = rows.shape
    whole = channels // LANES * LANES
    for k in range(0, whole, LANES):
        _add_16_and_squares(
            total.ctypes.data + 8 * k, squares.ctypes.data + 8 * k, rows.ctypes.data + 4 * k, channels, n
        )  # fmt: skip
    for i in range(n):
        for k in range(whole, channels):
            value = np.float64(rows[i, k])
            total[k] += value
            squares[k] += value * value
