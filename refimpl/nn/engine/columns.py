"""Passes over the columns of float32 matrices, sixteen of them held in vector registers.

*Notation*: x, y are (n, channels), one row per pixel; v has one row for each vector of numbers, one
for each channel; totals are float64 (channels,), added to row after row.  Elementwise operations are
rounded to float32 one by one, in the order written; nothing is fused.  Each pass is written twice,
in LLVM's vector instructions and, for the columns that are left over, plainly: the same bits.

Why not plain loops alone: Numba's compiler reads v again for every element and keeps no totals in
registers, and a loop over a short row takes longer to begin than to run.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from refimpl.kernels._compiled import compiled, intrinsic, memory
from refimpl.kernels.tiles import LANES

_INT, _HALF = ir.IntType(64), ir.IntType(32)
_ROW, _TOTAL = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.DoubleType(), LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)
_ZERO = ir.Constant(_ROW, [0.0] * LANES)

_f0 = np.float32(0)


def _pass(body, vectors: int, totals: int, in_python):
    """Make a function that takes sixteen columns through `body`, or through `in_python`, which does the same.

    body(builder, x, y, v, relu) gets functions that read a row of x and of y, the vectors and
    whether there is a ReLU, in each lane; it returns what replaces y, or None, and a term for each
    total.
    """

    def python(x, y, v, v_stride, first, second, relu, stride, count):
        of_channel = [memory(v + 4 * v_stride * i, LANES) for i in range(vectors)]
        sums = [memory(at, LANES, np.float64) for at in (first, second)[:totals]]
        for offset in range(0, 4 * stride * count, 4 * stride):
            place = memory(y + offset, LANES) if y else np.empty(LANES, np.float32)
            result, *terms = in_python(memory(x + offset, LANES), place, of_channel, relu)
            if result is not None:
                place[:] = result
            for term, total in zip(terms, sums, strict=True):
                total += term

    @intrinsic(python)
    def run(typing, x, y, v, v_stride, first, second, relu, stride, count):
        """Addresses are integers; strides, in elements, and counts int64, relu a boolean."""

        def generate(context, b, signature, arguments):
            x, y, v, v_stride, first, second, relu, stride, count = arguments

            def address(base, elements):
                return b.inttoptr(b.add(base, b.shl(elements, _INT(2))), _ROW.as_pointer())

            relus = b.insert_element(ir.Constant(_MASK, ir.Undefined), relu, _HALF(0))
            lanes = ir.Constant(ir.VectorType(_HALF, LANES), [0] * LANES)
            relus = b.shuffle_vector(relus, relus, lanes)
            of_channel = [b.load(address(v, b.mul(v_stride, _INT(i))), align=4) for i in range(vectors)]
            places = [b.inttoptr(at, _TOTAL.as_pointer()) for at in (first, second)[:totals]]
            sums = [cgutils.alloca_once(b, _TOTAL) for _ in places]
            for place, kept in zip(places, sums, strict=True):
                b.store(b.load(place, align=8), kept)
            with cgutils.for_range(b, count) as loop:
                offset = b.mul(loop.index, stride)
                result, *terms = body(
                    b,
                    lambda: b.load(address(x, offset), align=4),
                    lambda: b.load(address(y, offset), align=4),
                    of_channel,
                    relus,
                )
                if result is not None:
                    b.store(result, address(y, offset), align=4)
                for term, kept in zip(terms, sums, strict=True):
                    b.store(b.fadd(b.load(kept), term), kept)
            for place, kept in zip(places, sums, strict=True):
                b.store(b.load(kept), place, align=8)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6, types.boolean, types.int64, types.int64), generate

    return run


def _hat(b, x, v):
    return b.fmul(b.fsub(x, v[0]), v[1])


def _moments_body(b, x, y, v, relu):
    row = b.fpext(x(), _TOTAL)
    return None, row, b.fmul(row, row)


def _moments_in_python(x, y, v, relu):
    row = x.astype(np.float64)
    return None, row, row * row


def _normalize_body(b, x, y, v, relu):
    out = b.fadd(b.fmul(_hat(b, x(), v), v[2]), v[3])
    below = b.and_(b.fcmp_ordered("<", out, _ZERO), relu)
    return (b.select(below, _ZERO, out),)


def _normalize_in_python(x, y, v, relu):
    out = (x - v[0]) * v[1] * v[2] + v[3]
    return (np.where((out < 0) & bool(relu), _f0, out),)


def _stop_body(b, x, y, v, relu):
    hat = _hat(b, x(), v)
    above = b.fcmp_ordered(">", b.fadd(b.fmul(hat, v[2]), v[3]), _ZERO)
    passed = b.select(b.or_(above, b.not_(relu)), y(), _ZERO)
    return passed, b.fpext(b.fmul(passed, hat), _TOTAL), b.fpext(passed, _TOTAL)


def _stop_in_python(x, y, v, relu):
    hat = (x - v[0]) * v[1]
    passed = np.where((hat * v[2] + v[3] > 0) | (not relu), y, _f0)
    return passed, passed * hat, passed


def _gradient_body(b, x, y, v, relu):
    hat = _hat(b, x(), v)
    return (b.fmul(b.fsub(b.fadd(b.fmul(hat, v[3]), y()), v[4]), v[5]),)


def _gradient_in_python(x, y, v, relu):
    return (((x - v[0]) * v[1] * v[3] + y - v[4]) * v[5],)


_moments = _pass(_moments_body, 0, 2, _moments_in_python)
_normalize = _pass(_normalize_body, 4, 0, _normalize_in_python)
_stop = _pass(_stop_body, 4, 2, _stop_in_python)
_gradient = _pass(_gradient_body, 6, 0, _gradient_in_python)


@compiled(inline="always")
def add_moments(x, total, squares):
    """Add rows to total and their squares, exact in float64, to `squares`."""
    n, channels = x.shape
    whole = channels // LANES * LANES
    for k in range(0, whole, LANES):
        to, by = total.ctypes.data + 8 * k, squares.ctypes.data + 8 * k
        _moments(x.ctypes.data + 4 * k, 0, 0, 0, to, by, False, channels, n)
    for i in range(n):
        for k in range(whole, channels):
            value = np.float64(x[i, k])
            total[k] += value
            squares[k] += value * value


@compiled(inline="always")
def normalize(x, v, relu, out):
    """Write x normalized, and through the ReLU, by v = (mean, inverse, scale, shift)."""
    n, channels = x.shape
    whole = channels // LANES * LANES
    for k in range(0, whole, LANES):
        _normalize(
            x.ctypes.data + 4 * k, out.ctypes.data + 4 * k, v.ctypes.data + 4 * k, channels, 0, 0, relu, channels, n
        )
    for i in range(n):
        for k in range(whole, channels):
            y = (x[i, k] - v[0, k]) * v[1, k] * v[2, k] + v[3, k]
            out[i, k] = _f0 if relu and y < _f0 else y


@compiled(inline="always")
def stop(x, v, relu, dy, by_scale, by_shift):
    """Zero dy where the ReLU does; add dy * hat to by_scale and dy to by_shift; v as in `normalize`."""
    n, channels = x.shape
    whole = channels // LANES * LANES
    for k in range(0, whole, LANES):
        _stop(
            x.ctypes.data + 4 * k,
            dy.ctypes.data + 4 * k,
            v.ctypes.data + 4 * k,
            channels,
            by_scale.ctypes.data + 8 * k,
            by_shift.ctypes.data + 8 * k,
            relu,
            channels,
            n,
        )
    for i in range(n):
        for k in range(whole, channels):
            hat = (x[i, k] - v[0, k]) * v[1, k]
            if relu and not (hat * v[2, k] + v[3, k] > _f0):
                dy[i, k] = _f0
            by_scale[k] += np.float64(dy[i, k] * hat)
            by_shift[k] += np.float64(dy[i, k])


@compiled(inline="always")
def gradient(x, v, passed):
    """Turn passed into dx by v = (mean, inverse, -, dscale / -n, dshift / n, scale * inverse)."""
    n, channels = x.shape
    whole = channels // LANES * LANES
    for k in range(0, whole, LANES):
        _gradient(
            x.ctypes.data + 4 * k, passed.ctypes.data + 4 * k, v.ctypes.data + 4 * k, channels, 0, 0, False, channels, n
        )
    for i in range(n):
        for k in range(whole, channels):
            hat = (x[i, k] - v[0, k]) * v[1, k]
            passed[i, k] = (hat * v[3, k] + passed[i, k] - v[4, k]) * v[5, k]
