"""A small block of sums of products, held in vector registers: the heart of every convolution.

*Notation*: a block of P x N computes, for P rows i of C and N = 16 or 32 neighbouring columns,

    C[i, :] = (C[i, :] if add else 0) + sum over m, then o, then n, of A[i, m, o, n] * B[m, o, n, :]

in float32, each product added by one fused multiply-add, in this order, whatever P and N: which
block computes an element does not change its bits, and neither does the machine.  Everything is
addressed by strides (in elements), so that one block serves a convolution's forward pass (rows are
pixels, o filter rows, n filter columns and channels) and both of its gradients (for the filters',
m are images, o and n lines and pixels of them).

Why not plain loops: Numba's compiler keeps no block of sums in registers, and is ten times slower;
BLAS asks for patches copied out of the image, which costs more than multiplying them.  So the
block is written in LLVM's own vector instructions: P x N/16 vectors of 16 float32, which LLVM cuts
to what the machine has.  Tall blocks reuse B, wide ones A; 8x32 and 16x16 fill the 32 registers of
AVX-512 as far as is good, other machines (16 registers of 8) take 4x16.
"""

import functools

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from refimpl.kernels._by_address import by_address
from refimpl.kernels._compiled import compiled, intrinsic, memory

FAST_PATH_OF = "convolution"

LANES = 16

_HOST = llvmlite.binding.get_host_cpu_features()
WIDE = bool(_HOST.get("avx512f"))  # 32 registers of 16 float32

_INT, _FLOAT = ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


def _fused(a, b, c):
    """Return a * b + c of float32 arrays, rounded once: the sum in float64 is rounded to odd first."""
    product, c = np.multiply(a, b, dtype=np.float64), c.astype(np.float64)
    total = product + c
    part = total - product
    error = (product - (total - part)) + (c - part)
    even = total.view(np.uint64) & np.uint64(1) == 0
    odd = np.where(even & (error != 0), np.nextafter(total, np.copysign(np.inf, error)), total)
    return odd.astype(np.float32)


def _block(rows: int, vectors: int):
    """Make the block of `rows` rows and 16 `vectors` columns.

    Addresses are integers; strides, counts and addresses int64, add a boolean.  Rows come in fours:
    the second begins `far` after the first, the third and fourth `farther` after these two.
    """

    def in_python(
        c,
        c_row,
        c_far,
        c_farther,
        a,
        a_row,
        a_far,
        a_farther,
        a_most,
        a_outer,
        a_inner,
        b,
        b_most,
        b_outer,
        b_inner,
        most,
        outer,
        inner,
        add,
    ):
        def places(address, row, far, farther):
            offsets = (row * (i % 4) + far * (i // 4 % 2) + farther * (i >= 8) for i in range(rows))
            return [address + 4 * offset for offset in offsets]

        lines = [memory(at, LANES * vectors) for at in places(c, c_row, c_far, c_farther)]
        sums = np.stack(lines) if add else np.zeros((rows, LANES * vectors), np.float32)
        for m, o, n in np.ndindex(most, outer, inner):
            at = a + 4 * (m * a_most + o * a_outer + n * a_inner)
            factors = [memory(place, 1) for place in places(at, a_row, a_far, a_farther)]
            b_row = memory(b + 4 * (m * b_most + o * b_outer + n * b_inner), LANES * vectors)
            sums = _fused(np.stack(factors), b_row, sums)
        for line, total in zip(lines, sums, strict=True):
            line[:] = total

    @intrinsic(in_python)
    def add_products(
        typing,
        c,
        c_row,
        c_far,
        c_farther,
        a,
        a_row,
        a_far,
        a_farther,
        a_most,
        a_outer,
        a_inner,
        b,
        b_most,
        b_outer,
        b_inner,
        most,
        outer,
        inner,
        add,
    ):
        def generate(context, builder, signature, arguments):
            names = (
                "c c_row c_far c_farther a a_row a_far a_farther a_most a_outer a_inner "
                "b b_most b_outer b_inner most outer inner add"
            ).split()
            v = dict(zip(names, arguments, strict=True))

            def vector_at(base, offset, part):
                address = builder.add(base, builder.shl(builder.add(offset, _INT(LANES * part)), _INT(2)))
                return builder.inttoptr(address, _VECTOR.as_pointer())

            def row_at(i, of):
                place = builder.mul(v[f"{of}_row"], _INT(i % 4))
                if i // 4 % 2:
                    place = builder.add(place, v[f"{of}_far"])
                return builder.add(place, v[f"{of}_farther"]) if i >= 8 else place

            def number_at(base, offset):
                address = builder.add(base, builder.shl(offset, _INT(2)))
                return builder.load(builder.inttoptr(address, _FLOAT.as_pointer()), align=4)

            def everywhere(number):
                one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.IntType(32)(0))
                lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), lanes)

            block = [(i, j) for i in range(rows) for j in range(vectors)]
            sums = {at: cgutils.alloca_once(builder, _VECTOR) for at in block}
            places = {(i, j): vector_at(v["c"], row_at(i, "c"), j) for i, j in block}
            with builder.if_else(v["add"]) as (adding, anew):
                with adding:
                    for at in block:
                        builder.store(builder.load(places[at], align=4), sums[at])
                with anew:
                    for at in block:
                        builder.store(ir.Constant(_VECTOR, [0.0] * LANES), sums[at])
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{LANES}f32"
            )
            with (
                cgutils.for_range(builder, v["most"]) as m,
                cgutils.for_range(builder, v["outer"]) as o,
                cgutils.for_range(builder, v["inner"]) as n,
            ):
                loops = (m.index, "most"), (o.index, "outer"), (n.index, "inner")
                a_at, b_at = (
                    functools.reduce(builder.add, [builder.mul(i, v[f"{of}_{loop}"]) for i, loop in loops])
                    for of in "ab"
                )
                b_row = [builder.load(vector_at(v["b"], b_at, j), align=4) for j in range(vectors)]
                for i in range(rows):
                    factor = everywhere(number_at(v["a"], builder.add(a_at, row_at(i, "a"))))
                    for j in range(vectors):
                        total = builder.load(sums[i, j])
                        builder.store(builder.call(fma, [factor, b_row[j], total]), sums[i, j])
            for at in block:
                builder.store(builder.load(sums[at]), places[at], align=4)
            return context.get_dummy_value()

        integers = [types.int64] * 18
        return types.void(*integers, types.boolean), generate

    return add_products


_1x16, _3x16, _4x16, _8x16, _16x16 = (_block(rows, 1) for rows in (1, 3, 4, 8, 16))
_1x32, _4x32, _8x32 = (_block(rows, 2) for rows in (1, 4, 8))


@compiled
def add_products(
    c,
    c_row,
    c_far,
    c_farther,
    a,
    a_row,
    a_far,
    a_farther,
    a_most,
    a_outer,
    a_inner,
    b,
    b_most,
    b_outer,
    b_inner,
    most,
    outer,
    inner,
    add,
    rows,
    columns,
):
    """Cover `rows` x `columns` (a multiple of 16) of C with blocks; see the module for the sum.

    Rows of C and A lie c_row and a_row apart; or, with a c_far other than 0, in fours that lie apart: then
    there are 8 rows of 32 columns or 16 of 16.
    """
    if c_far == 0:
        c_far, c_farther, a_far, a_farther = 4 * c_row, 8 * c_row, 4 * a_row, 8 * a_row
    j = 0
    while j < columns:
        pair = WIDE and columns - j >= 2 * LANES
        i = 0
        while i < rows:
            left = rows - i
            height = 8 if WIDE and left >= 8 else 4 if left >= 4 else 1
            height = 3 if left == 3 and not pair else height  # three columns of a grey image
            height = 16 if WIDE and left >= 16 and not pair else height
            block = (
                c + 4 * (c_row * i + j),
                c_row,
                c_far,
                c_farther,
                a + 4 * a_row * i,
                a_row,
                a_far,
                a_farther,
                a_most,
                a_outer,
                a_inner,
                b + 4 * j,
                b_most,
                b_outer,
                b_inner,
                most,
                outer,
                inner,
                add,
            )
            if height == 16:
                _16x16(*block)
            elif height == 8 and pair:
                _8x32(*block)
            elif height == 8:
                _8x16(*block)
            elif height == 4 and pair:
                _4x32(*block)
            elif height == 4:
                _4x16(*block)
            elif height == 3:
                _3x16(*block)
            elif pair:
                _1x32(*block)
            else:
                _1x16(*block)
            i += height
        j += 2 * LANES if pair else LANES


call_add_products, ADD_PRODUCTS = by_address(add_products, *[types.int64] * 18, types.boolean, types.int64, types.int64)
