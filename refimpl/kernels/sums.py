"""Sums of products with a stated accumulator; the definitions are `refimpl.spec.sums`.

`products` computes in integers, for all formats, orders and modes, with the operations of
`refimpl.kernels.arithmetic`; fast paths are in `refimpl.kernels.sums_by_columns`.

*The exact sum* is a number of fixed point, in limbs of 32 bits that are kept in int64, so that 2^31
terms can be added before a carry has to move.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels.arithmetic import add, mul, negate, pack, unpack
from refimpl.kernels.float_codes import FINITE, STOCHASTIC, TOWARD_NEGATIVE, ZERO, leading_zeros
from refimpl.kernels.random_bits import random_words_from

ORDERS = ("sequential", "pairwise", "chunked", "kahan", "exact")
SEQUENTIAL, PAIRWISE, CHUNKED, KAHAN, EXACT = range(5)

_0, _1, _32, _64 = (np.uint64(k) for k in (0, 1, 32, 64))
_LIMB = np.uint64(0xFFFFFFFF)


@compiled
def roundings(order, terms, chunk):
    """Return how many results are rounded in a sum."""
    if order == SEQUENTIAL:
        return terms
    if order == PAIRWISE:
        return max(2 * terms - 1, 0)
    if order == CHUNKED:
        return terms + -(-terms // chunk)
    return 4 * terms if order == KAHAN else 1


@compiled
def products(a, b, out, first_row, fa, fb, f, mode, order, chunk, seed, stream, given, lowest, limbs):
    """Write the code of the sum of a[i, :] * b[j, :] into out[i, j].

    a: codes, uint64 (m, k), with Layout fa; b: uint64 (n, k), fb; out: uint64 (m, n), f; first_row:
    that of the whole product at which `a` begins.  Element (i, j) of the whole takes the random words
    from w (i n + j) on, w being the number of its roundings, up to a multiple of 4.  Or those of given[i, j]:
    uint32 (m, n, roundings); (0, 0, 0) if there are none.
    lowest, limbs: for EXACT, the weight (exponent) of the lowest bit, and the number of limbs.
    """
    m, terms, n = a.shape[0], a.shape[1], b.shape[0]
    stochastic = mode.rounding >= STOCHASTIC and not f.is_posit
    blocks = (roundings(order, terms, chunk) + 3) // 4
    words = np.zeros(4 * blocks if stochastic else 1, np.uint32)
    level = np.empty(terms if order == PAIRWISE else 0, np.uint64)
    fixed = np.empty(limbs if order == EXACT else 0, np.int64)
    for i in range(m):
        for j in range(n):
            if stochastic and given.shape[0] > 0:
                words = given[i, j]
            elif stochastic:
                counter = np.uint64(blocks) * np.uint64((first_row + i) * n + j)
                random_words_from(words, seed, stream, counter)
            x, y = a[i], b[j]
            if order == SEQUENTIAL:
                out[i, j] = _in_turn(x, y, fa, fb, f, mode, words, 0)
            elif order == PAIRWISE:
                out[i, j] = _pairwise(x, y, fa, fb, f, mode, words, level)
            elif order == CHUNKED:
                out[i, j] = _chunked(x, y, fa, fb, f, mode, words, chunk)
            elif order == KAHAN:
                out[i, j] = _kahan(x, y, fa, fb, f, mode, words)
            else:
                total = _exact(x, y, fa, fb, mode, f, lowest, fixed)
                out[i, j] = _rounded(total, f, mode, words, 0)


@compiled
def _rounded(number, f, mode, words, at):
    """Return the code of a number, rounded with random word `at`."""
    random = _0
    if mode.rounding >= STOCHASTIC and not f.is_posit:
        random = np.uint64(words[at]) >> (_32 - np.uint64(mode.random_bits))
    return pack(number, f, mode, random)


@compiled
def _downward(f, mode):
    return mode.rounding == TOWARD_NEGATIVE and not f.is_posit


@compiled
def _in_turn(x, y, fa, fb, f, mode, words, at):
    total, downward = _0, _downward(f, mode)  # code 0 is +0 in every accumulator
    for k in range(x.size):
        exact = add(mul(unpack(x[k], fa), unpack(y[k], fb)), unpack(total, f), downward)
        total = _rounded(exact, f, mode, words, at + k)
    return total


@compiled
def _pairwise(x, y, fa, fb, f, mode, words, level):
    downward, at, left = _downward(f, mode), x.size, x.size
    if left == 0:
        return _0
    for k in range(left):
        level[k] = _rounded(mul(unpack(x[k], fa), unpack(y[k], fb)), f, mode, words, k)
    while left > 1:
        for k in range(left // 2):
            exact = add(unpack(level[2 * k], f), unpack(level[2 * k + 1], f), downward)
            level[k] = _rounded(exact, f, mode, words, at)
            at += 1
        if left % 2:
            level[left // 2] = level[left - 1]
        left = (left + 1) // 2
    return level[0]


@compiled
def _chunked(x, y, fa, fb, f, mode, words, chunk):
    total, downward, at = _0, _downward(f, mode), 0
    for start in range(0, x.size, chunk):
        end = min(start + chunk, x.size)
        part = _in_turn(x[start:end], y[start:end], fa, fb, f, mode, words, at)
        at += end - start
        total = _rounded(add(unpack(total, f), unpack(part, f), downward), f, mode, words, at)
        at += 1
    return total


@compiled
def _kahan(x, y, fa, fb, f, mode, words):
    total, lost, downward = _0, _0, _downward(f, mode)
    for k in range(x.size):
        exact = add(mul(unpack(x[k], fa), unpack(y[k], fb)), negate(unpack(lost, f)), downward)
        term = _rounded(exact, f, mode, words, 4 * k)
        new = _rounded(add(unpack(total, f), unpack(term, f), downward), f, mode, words, 4 * k + 1)
        gained = add(unpack(new, f), negate(unpack(total, f)), downward)
        gained = _rounded(gained, f, mode, words, 4 * k + 2)
        exact = add(unpack(gained, f), negate(unpack(term, f)), downward)
        lost = _rounded(exact, f, mode, words, 4 * k + 3)
        lost = lost if unpack(new, f)[0] <= FINITE else _0
        total = new
    return total


@compiled
def _exact(x, y, fa, fb, mode, f, lowest, fixed):
    """Return the sum of products as a number, to odd."""
    fixed[:] = 0
    downward = _downward(f, mode)
    others = (ZERO, False, _0, 0)  # the sum of all that is not finite, or zero
    some = False
    for k in range(x.size):
        product = mul(unpack(x[k], fa), unpack(y[k], fb))
        kind, negative, significand, exponent = product
        if kind != FINITE:
            others = add(others, product, downward)
            continue
        some = True
        _add_fixed(fixed, negative, significand, exponent - 63 - lowest)
    if not some or others[0] != ZERO:
        return others
    return _number_of(fixed, lowest, downward)


@compiled
def _add_fixed(fixed, negative, significand, place):
    """Add significand * 2^place, or take it away."""
    limb, shift = place >> 5, np.uint64(place & 31)
    low = np.int64((significand << shift) & _LIMB)
    middle = np.int64((significand >> (_32 - shift)) & _LIMB)
    high = np.int64((significand >> (_64 - shift)) if shift != _0 else _0)
    sign = -1 if negative else 1
    fixed[limb] += sign * low
    fixed[limb + 1] += sign * middle
    fixed[limb + 2] += sign * high


@compiled
def _number_of(fixed, lowest, downward):
    """Return the number that limbs stand for, to odd; the two lowest limbs are 0."""
    carry = np.int64(0)
    for k in range(fixed.size):
        carry += fixed[k]
        fixed[k] = carry & 0xFFFFFFFF
        carry >>= 32
    negative = carry < 0
    if negative:
        carry = np.int64(1)
        for k in range(fixed.size):
            carry += ~fixed[k] & 0xFFFFFFFF
            fixed[k] = carry & 0xFFFFFFFF
            carry >>= 32
    top = fixed.size - 1
    while top >= 2 and fixed[top] == 0:
        top -= 1
    if top < 2:
        return ZERO, downward, _0, 0
    head = np.uint64(fixed[top]) << _32 | np.uint64(fixed[top - 1])
    zeros = leading_zeros(head)  # fewer than 32
    below = np.uint64(fixed[top - 2]) << _32  # its bits from the top
    significand = head << zeros | (below >> (_64 - zeros) if zeros != _0 else _0)
    some = below << zeros != _0
    for k in range(top - 2):
        some |= fixed[k] != 0
    exponent = lowest + 32 * (top - 1) - np.int64(zeros) + 63
    return FINITE, negative, significand | np.uint64(some), exponent


@compiled
def sums_of_slices(parts, rows, columns, bits, out, first_row, f, mode, seed, stream):
    """Write the code of the sum over d of parts[d, i, j] * 2^(rows[i] + columns[j] - bits d) into out[i, j].

    parts: float64 (slices, m, n), integers below 2^53; rows, columns: int64; out: uint64 (m, n), of a Layout f;
    first_row: that of the whole at which `rows` begin.  Element (i, j) of the whole takes random word 4 (i n + j).
    """
    n, last = columns.size, parts.shape[0] - 1
    stochastic, downward = mode.rounding >= STOCHASTIC and not f.is_posit, _downward(f, mode)
    words = np.zeros(4 * n if stochastic else 1, np.uint32)
    fixed = np.empty((bits * last + 192) // 32 + 2, np.int64)  # two limbs below, and above for carries
    for i in range(rows.size):
        if stochastic:
            random_words_from(words, seed, stream, np.uint64(first_row + i) * np.uint64(n))
        for j in range(n):
            fixed[:] = 0
            for d in range(last + 1):
                part = parts[d, i, j]
                _add_fixed(fixed, part < 0.0, np.uint64(abs(part)), 64 + bits * (last - d))
            total = _number_of(fixed, rows[i] + columns[j] - bits * last - 64, downward)
            out[i, j] = _rounded(total, f, mode, words, 4 * j if stochastic else 0)
