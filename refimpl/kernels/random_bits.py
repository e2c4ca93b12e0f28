"""Philox4x32-10 in blocks; the definition is `refimpl.spec.random_bits`.

Ten rounds of two 32x32-bit multiplications are written in LLVM's vector instructions, many counters
at a time, one in each 64-bit lane: a lane's upper half holds what is left of the last round, which
the multiplication does not look at, so that nothing is moved between lanes until the end.
"""

import numpy as np
from llvmlite import ir
from numba import types

from refimpl.kernels._compiled import compiled, intrinsic, memory
from refimpl.kernels.tiles import WIDE

LANES = 32 if WIDE else 8  # counters worked on at a time: their four words fill the registers
GROUP = 4 * LANES  # words these make

_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85

_INT, _HALF = ir.IntType(64), ir.IntType(32)
_VECTOR, _HALVES = ir.VectorType(_INT, LANES), ir.VectorType(_HALF, 2 * LANES)
_ANY, _ANY_HALVES = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_HALVES, ir.Undefined)


def _places(lanes):
    return ir.Constant(ir.VectorType(_HALF, len(lanes)), lanes)


def _everywhere(builder, number):
    one = builder.insert_element(_ANY, number, _HALF(0))
    return builder.shuffle_vector(one, _ANY, _places([0] * LANES))


def _high_by_shift(builder, vector):
    return builder.lshr(vector, ir.Constant(_VECTOR, [32] * LANES))


def _high_by_move(builder, vector):
    """Likewise but for the upper half, by an instruction that another unit of the machine does."""
    halves = builder.bitcast(vector, _HALVES)
    moved = builder.shuffle_vector(halves, _ANY_HALVES, _places([i | 1 for i in range(2 * LANES)]))
    return builder.bitcast(moved, _VECTOR)


def _group_in_python(address, first_counter, stride, seed, stream):
    low, up = np.uint64(0xFFFFFFFF), np.uint64(32)
    counter = np.uint64(first_counter) + np.arange(LANES, dtype=np.uint64) * np.uint64(stride)
    c0, c1, c2, c3 = counter & low, counter >> up, np.uint64(stream) & low, np.uint64(stream) >> up
    k0, k1 = np.uint64(seed) & low, np.uint64(seed) >> up
    for _ in range(10):
        p0, p1 = np.uint64(_M0) * c0, np.uint64(_M1) * c2
        c0, c1, c2, c3 = (p1 >> up) ^ c1 ^ k0, p1 & low, (p0 >> up) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(_W0)) & low, (k1 + np.uint64(_W1)) & low
    memory(address, GROUP, np.uint32).reshape(LANES, 4)[:] = np.stack((c0, c1, c2, c3), axis=1)


@intrinsic(_group_in_python)
def _fill_group(typing, address, first_counter, stride, seed, stream):
    """Write the GROUP words of every stride-th counter from `first_counter` on at an address (int64)."""

    def generate(context, b, signature, arguments):
        address, first, stride, seed, stream = arguments
        low = ir.Constant(_VECTOR, [0xFFFFFFFF] * LANES)
        steps = b.mul(_everywhere(b, stride), ir.Constant(_VECTOR, list(range(LANES))))
        c0 = b.add(_everywhere(b, first), steps)
        c2 = _everywhere(b, stream)
        c1, c3 = _high_by_shift(b, c0), _high_by_shift(b, c2)
        k0, k1 = seed, b.lshr(seed, _INT(32))
        for _ in range(10):
            p0 = b.mul(b.and_(c0, low), ir.Constant(_VECTOR, [_M0] * LANES))
            p1 = b.mul(b.and_(c2, low), ir.Constant(_VECTOR, [_M1] * LANES))
            c0 = b.xor(b.xor(_high_by_move(b, p1), c1), _everywhere(b, k0))
            c2 = b.xor(b.xor(_high_by_shift(b, p0), c3), _everywhere(b, k1))
            c1, c3 = p1, p0
            k0, k1 = b.add(k0, _INT(_W0)), b.add(k1, _INT(_W1))
        up = ir.Constant(_VECTOR, [32] * LANES)
        first_two = b.or_(b.and_(c0, low), b.shl(c1, up))
        last_two = b.or_(b.and_(c2, low), b.shl(c3, up))
        in_order = [place for i in range(LANES) for place in (i, LANES + i)]
        words = b.shuffle_vector(first_two, last_two, _places(in_order))
        b.store(words, b.inttoptr(address, words.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.uint64, types.uint64, types.uint64, types.uint64), generate


@compiled
def fill_groups(words, first_counter, seed, stream):
    """Do as `fill` for a whole number of groups."""
    fill_groups_apart(words, first_counter, np.uint64(1), seed, stream)


@compiled
def fill_groups_apart(words, first_counter, stride, seed, stream):
    """Write words[4 j + w] = word w of counter first_counter + j stride, for a whole number of groups."""
    for j in range(0, words.size // 4, LANES):
        _fill_group(words.ctypes.data + 16 * j, first_counter + np.uint64(j) * stride, stride, seed, stream)


@compiled
def fill(words, first_counter, seed, stream):
    """Write words[4 j + w] = word w of counter first_counter + j, for len(words) / 4 counters.

    Parameters: words uint32 (4 n,); first_counter, seed, stream uint64.
    """
    whole = words.size // GROUP * GROUP
    fill_groups(words[:whole], first_counter, seed, stream)
    if whole < words.size:
        group = np.empty(GROUP, np.uint32)
        fill_groups(group, first_counter + np.uint64(whole // 4), seed, stream)
        for j in range(whole, words.size):
            words[j] = group[j - whole]


@compiled
def random_words(words, seed, stream):
    """Fill words (uint32, a whole number of blocks of 4) with elements 0, 1, 2, ... of the stream."""
    fill(words, np.uint64(0), seed, stream)


@compiled
def random_words_from(words, seed, stream, first_counter):
    """Fill words with elements 4 * first_counter (uint64), ... of the stream."""
    fill(words, first_counter, seed, stream)
