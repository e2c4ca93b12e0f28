"""Dot products as matrix units add them; the definitions are `refimpl.spec.units`.

`products` takes any unit, one sum after the other.  `aligned_products`, `scaled_products` and `pairwise_products` are
fast paths for what named units do, which go through a group for many columns at once.

An operand is (significand, exponent), integers: significand * 2^(exponent - its format's mantissa bits).
An accumulator is a float64 that holds a value of float32 (float64 where the unit computes in it).
"""

from typing import NamedTuple

import numpy as np
from numba.core import types

from refimpl.kernels._compiled import compiled, intrinsic
from refimpl.kernels._fused import fused

ALIGNED, PAIRWISE, FMA = range(3)
TOWARD_ZERO, TOWARD_NEGATIVE, TIES_TO_EVEN, TO_ODD = range(4)
FINITE, INFINITE, NAN = 0, 1, 2  # kinds of operands; the sign of an infinity is that of its significand
COLUMNS = 128  # whose sums stay in the first-level cache


class Unit(NamedTuple):
    """A MatrixUnit as kernels take it; -1 stands for None, fractions are bits behind a point."""

    sum: int
    terms: int
    bits: int
    cut: int
    by_products: bool
    carry: int
    halves: bool
    joined: int
    joined_accumulator: int
    reach: int
    infinite_from: int
    minus_zero: bool
    precision: int
    emin: int
    emax: int
    nearest: bool
    flush: bool
    promote: int
    block: int
    inner: int
    fraction: int  # of a product of two significands
    scale_fraction: int  # of a product of two scales' significands
    lowest: int  # exponent of the smallest product


class Operands(NamedTuple):
    """One side of a product: arrays of a row for each row of the first factor, or column of the second."""

    significands: np.ndarray  # int32 (rows, k)
    exponents: np.ndarray  # int32 (rows, k)
    kinds: np.ndarray  # int8 (rows, k)
    values: np.ndarray  # float64 (rows, k)
    scale_significands: np.ndarray  # int32 (rows, blocks)
    scale_exponents: np.ndarray  # int32 (rows, blocks)
    scale_kinds: np.ndarray  # int8 (rows, blocks)


@compiled
def products(a, b, out, u):
    """Add the products of a's rows and b's rows to out, float64 (m, n), whose values are the first accumulators."""
    count = u.terms // u.inner
    significands, exponents = np.empty(count, np.int64), np.empty(count, np.int64)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = _dot(a, b, i, j, out[i, j], u, significands, exponents)


@compiled
def _dot(a, b, i, j, c, u, significands, exponents):
    """Return the accumulator that begins with c and takes all groups."""
    k = a.significands.shape[1]
    register = c
    if u.flush and abs(c) < 2.0**-126:
        c = 0.0
    total = 0.0 if u.promote > 0 else c
    for start in range(0, k, u.terms):
        end = min(start + u.terms, k)
        if u.sum == FMA:
            for at in range(start, end):
                if u.precision == 24:
                    total = np.float64(
                        fused(np.float32(a.values[i, at]), np.float32(b.values[j, at]), np.float32(total))
                    )
                else:
                    total = fused(a.values[i, at], b.values[j, at], total)
        elif u.sum == PAIRWISE:
            total = np.float64(_single(np.float32(total) + _halves(a, b, i, j, start, end - start, u), u))
        else:
            total = _group(a, b, i, j, start, end, total, u, significands, exponents)
        if u.promote > 0 and (end % u.promote == 0 or end == k):
            register = np.float64(np.float32(register) + np.float32(total))
            total = 0.0
    return register if u.promote > 0 else total


@compiled
def _group(a, b, i, j, start, end, c, u, significands, exponents):
    """Return the accumulator after one group of an aligned sum."""
    nan, infinities = np.isnan(c), np.zeros(2, np.bool_)
    if np.isinf(c):
        infinities[1 if c < 0.0 else 0] = True
    large = np.zeros(2, np.bool_)
    for at in range(start, end):
        x, y = np.int64(a.significands[i, at]), np.int64(b.significands[j, at])
        kind = max(a.kinds[i, at], b.kinds[j, at])
        negative = 1 if (x < 0) != (y < 0) else 0
        if kind == NAN or kind == INFINITE and (x == 0 or y == 0):
            nan = True
        elif kind == INFINITE:
            infinities[negative] = True
        elif u.infinite_from >= 0 and x != 0 and y != 0:
            exponent = np.int64(a.exponents[i, at]) + np.int64(b.exponents[j, at])
            if _length(abs(x * y)) - 1 - u.fraction + exponent >= u.infinite_from:
                large[negative] = True
    if u.block > 0:
        for at in range(start // u.block, end // u.block):
            nan |= a.scale_kinds[i, at] == NAN or b.scale_kinds[j, at] == NAN
    if not (infinities[0] or infinities[1]):
        infinities = large
    if nan or infinities[0] and infinities[1]:
        return np.nan
    if infinities[0] or infinities[1]:
        return np.inf if infinities[0] else -np.inf
    fraction = u.fraction
    count = (end - start) // u.inner
    if u.inner == 1:
        for t in range(count):
            at = start + t
            significands[t] = np.int64(a.significands[i, at]) * np.int64(b.significands[j, at])
            exponents[t] = np.int64(a.exponents[i, at]) + np.int64(b.exponents[j, at])
            if u.block > 0:
                place = at // u.block
                exponents[t] += np.int64(a.scale_exponents[i, place]) + np.int64(b.scale_exponents[j, place])
    else:
        fraction += u.scale_fraction - u.lowest
        for t in range(count):
            exact = np.int64(0)
            for at in range(start + t * u.inner, start + (t + 1) * u.inner):
                product = np.int64(a.significands[i, at]) * np.int64(b.significands[j, at])
                if product != 0:
                    exact += product << (np.int64(a.exponents[i, at]) + np.int64(b.exponents[j, at]) - u.lowest)
            place = (start + t * u.inner) // u.block
            factor = np.int64(a.scale_significands[i, place]) * np.int64(b.scale_significands[j, place])
            significands[t] = exact * factor
            exponents[t] = np.int64(a.scale_exponents[i, place]) + np.int64(b.scale_exponents[j, place])
    ce = _exponent(c, u)
    cs = np.int64(c * _power(23 - ce))
    if u.joined < 0:
        top = _top(significands, exponents, count, 0, 1, fraction, u)
        c_top = _product_exponent(cs, ce, 23) if u.by_products else ce
        top = max(top, c_top)
        total = _sum(significands, exponents, count, 0, 1, fraction, top, u) + _cut(cs, u.bits - 23 + ce - top, u.cut)
        return _output(_wrapped(total, u), top - u.bits, u)
    if u.halves and count > 1:
        top0 = _top(significands, exponents, count, 0, 2, fraction, u)
        top1 = _top(significands, exponents, count, 1, 2, fraction, u)
        even = _wrapped(_sum(significands, exponents, count, 0, 2, fraction, top0, u), u)
        odd = _wrapped(_sum(significands, exponents, count, 1, 2, fraction, top1, u), u)
        top = max(top0, top1)
        total = _cut(even, top0 - top, TOWARD_NEGATIVE) + _cut(odd, top1 - top, TOWARD_NEGATIVE)
    else:
        top = _top(significands, exponents, count, 0, 1, fraction, u)
        total = _wrapped(_sum(significands, exponents, count, 0, 1, fraction, top, u), u)
    both = max(top, ce)
    if u.reach >= 0 and ce < both - u.reach:
        cs = np.int64(0)
    total = _cut(total, u.joined - u.bits + top - both, TOWARD_NEGATIVE)
    cs = _cut(cs, u.joined_accumulator - 23 + ce - both, TOWARD_NEGATIVE)
    more = max(u.joined, u.joined_accumulator)
    return _output((total << (more - u.joined)) + (cs << (more - u.joined_accumulator)), both - more, u)


@compiled
def _top(significands, exponents, count, first, step, fraction, u):
    """Return the largest exponent."""
    top = np.int64(-(1 << 40))
    for t in range(first, count, step):
        e = exponents[t]
        if u.by_products:
            e = _product_exponent(significands[t], e, fraction)
        top = max(top, e)
    return top


@compiled
def _sum(significands, exponents, count, first, step, fraction, top, u):
    """Return the sum of terms, each cut, in units of 2^(top - bits)."""
    total = np.int64(0)
    for t in range(first, count, step):
        total += _cut(significands[t], u.bits - fraction + exponents[t] - top, u.cut)
    return total


@compiled
def _product_exponent(significand, exponent, fraction):
    return exponent if significand == 0 else exponent + _length(abs(significand)) - 1 - fraction


@compiled
def _wrapped(total, u):
    if u.carry < 0 or u.bits + 3 + u.carry > 63:
        return total
    drop = 64 - (u.bits + 3 + u.carry)
    return (total << drop) >> drop


@compiled
def _cut(s, shift, how):
    """Return the integer kept of s * 2^shift."""
    if shift >= 0:
        return s << shift if s != 0 else s
    right = min(-shift, 63)
    floor = s >> right
    if how == TOWARD_NEGATIVE or floor << right == s:
        return floor
    if how == TOWARD_ZERO:
        return floor + 1 if s < 0 else floor
    if how == TO_ODD:
        return floor | 1
    if right == 63:  # |s| < 2^62
        return np.int64(0)
    rest, half = s - (floor << right), np.int64(1) << (right - 1)
    return floor + 1 if rest > half or rest == half and floor & 1 else floor


@compiled
def _length(x):
    """Return the number of bits of a positive int64."""
    n = 0
    for step in (32, 16, 8, 4, 2, 1):
        if x >> step:
            n += step
            x >>= step
    return n + 1


@compiled
def _power(exponent):
    """Return 2^exponent, of a normal float64."""
    return np.int64((exponent + 1023) << 52).view(np.float64)


@compiled
def _exponent(c, u):
    """Return the exponent of an accumulator: -126 of zero, at least the format's smallest of others."""
    if c == 0.0:
        return np.int64(-126)
    field = (np.float64(c).view(np.int64) >> 52) & 2047
    return max(field - 1023, np.int64(u.emin))


@compiled
def _output(total, unit_exponent, u):
    """Return total * 2^unit_exponent, rounded to the accumulator."""
    if total == 0:
        return 0.0
    magnitude = abs(total)
    step = max(_length(magnitude) - 1 + unit_exponent, u.emin) - (u.precision - 1)
    if step > unit_exponent:
        magnitude = _cut(magnitude, unit_exponent - step, TIES_TO_EVEN if u.nearest else TOWARD_ZERO)
    else:
        step = unit_exponent
    if magnitude == 0:
        return -0.0 if u.minus_zero and total < 0 else 0.0
    if _length(magnitude) - 1 + step > u.emax:
        return -np.inf if total < 0 else np.inf
    while step < -900:  # far below float64's normal numbers the magnitude is even often enough
        magnitude >>= 1
        step += 1
    value = np.float64(magnitude) * _power(step)
    return -value if total < 0 else value


@compiled
def split(x, bits, lowest, significands, exponents, kinds):
    """Write the operands of values, float64, all flat: integers of so many fraction bits, the lowest exponent given."""
    for i in range(x.size):
        field = (np.float64(x[i]).view(np.int64) >> 52) & 2047
        significands[i], exponents[i], kinds[i] = 0, -126, FINITE
        if field == 2047:
            kinds[i] = NAN if np.isnan(x[i]) else INFINITE
            significands[i] = 0 if np.isnan(x[i]) else 1 if x[i] > 0.0 else -1
        elif x[i] != 0.0:
            exponent = max(field - 1023, np.int64(lowest))
            significand = np.int64(x[i] * _power(bits - exponent))
            if significand != 0:
                significands[i], exponents[i] = significand, exponent


@compiled
def split_float32(x, strides, bits, lowest, significands, exponents):
    """Do what `split` does, for float32 of any layout; return whether all are finite.

    x: int32, the bits of all values, flat; strides: of the three axes in it; bits: at most 23; significands, exponents:
    int32 (s, rows, columns), to be written.
    """
    number, rows, columns = significands.shape
    finite, drop = True, np.int32(23 - bits)
    along = columns if strides[2] == 1 else 64
    down = 1 if strides[2] == 1 else 16  # by tiles where columns lie apart
    for s in range(number):
        for top in range(0, rows, down):
            for first in range(0, columns, along):
                last = min(first + along, columns)
                for i in range(top, min(top + down, rows)):
                    start = s * strides[0] + i * strides[1]
                    into, at = significands[s, i], exponents[s, i]
                    for j in range(first, last):
                        word = np.int32(x[start + j * strides[2]])
                        field = np.int32((word >> 23) & 255)
                        finite &= field != 255
                        normal = np.int32(field != 0)
                        exponent = np.int32(field - 126 - normal)
                        shift = np.int32(drop + max(np.int32(lowest - exponent), np.int32(0)))
                        mantissa = np.int32((word & 0x7FFFFF) | (normal << 23))
                        kept = _shifted(mantissa, min(shift, np.int32(31)))
                        negative = np.int32(word >> 31)
                        into[j] = np.int32((kept ^ negative) - negative)
                        at[j] = max(exponent, np.int32(lowest)) if kept != 0 else np.int32(-126)
    return finite


# -- float32 arithmetic, and fused multiply-adds --------------------------------------------------------


@compiled
def _single(x, u):
    return x * np.float32(0) if u.flush and abs(x) < np.float32(2.0**-126) else x


@compiled
def _halves(a, b, i, j, start, count, u):
    """Return the sum of products in float32, halves first: a binary tree, the left half the smaller."""
    if count == 1:
        return _single(np.float32(a.values[i, start]) * np.float32(b.values[j, start]) + np.float32(0), u)
    middle = count // 2
    left = _halves(a, b, i, j, start, middle, u)
    return _single(left + _halves(a, b, i, j, start + middle, count - middle, u), u)


# -- many columns at once ------------------------------------------------------------------------------


@compiled
def aligned_products(sa, ea, sb, eb, out, u, begin, end):
    """Add the products to rows of a stack, out, float64 (s, m, n), by groups of `terms`, all finite.

    sa, ea: int32 (s, m, k); sb, eb: int32 (s, k, n); begin, end: of s * m rows.  u: a Unit that cuts toward zero, by
    exponents of factors, with all carries, without scales of sums, whose sums have at most 53 bits; finite products.
    """
    m, n, k = out.shape[1], out.shape[2], sa.shape[2]
    lanes = 2 if u.halves else 1
    tops, sums = np.empty((2, COLUMNS), np.int32), np.empty((2, COLUMNS), np.int64)
    cs, ce = np.empty(COLUMNS, np.int64), np.empty(COLUMNS, np.int32)
    lead, drop = np.int64(max(u.bits - u.fraction, 0)), np.int32(max(u.fraction - u.bits, 0))
    at_once = (2**31 - 1) // (1 << (max(u.bits, u.fraction) + 2))  # terms whose sum int32 holds
    narrow = at_once > 3
    at_once = at_once if narrow else u.terms
    part = np.empty(COLUMNS, np.int32)
    for number in range(begin, end):
        s, i = number // m, number % m
        for first in range(0, n, COLUMNS):
            width = min(COLUMNS, n - first)
            row = out[s, i, first : first + width]
            registers = row.copy()
            if u.promote > 0:
                row[:] = 0.0
            for start in range(0, k, u.terms):
                end = min(start + u.terms, k)  # zeros that would fill up a group come below all terms
                for j in range(width):
                    e = _exponent(row[j], u)
                    cs[j] = np.int64(row[j] * _power(23 - e)) if abs(row[j]) < np.inf else np.int64(0)
                    ce[j] = e
                for lane in range(lanes):
                    top, total = tops[lane], sums[lane]
                    for j in range(width):
                        top[j] = ce[j] if u.joined < 0 else np.int32(-(1 << 30))
                        total[j] = 0
                    for at in range(start + lane, end, lanes):
                        e, exponents = ea[s, i, at], eb[s, at, first : first + width]
                        for j in range(width):
                            top[j] = max(top[j], np.int32(e + exponents[j]))
                    for begins in range(start + lane, end, lanes * at_once):
                        ends = min(begins + lanes * at_once, end)
                        if narrow:
                            part[:] = 0
                            for at in range(begins, ends, lanes):
                                _add_narrow(
                                    sa[s, i, at] << lead,
                                    ea[s, i, at] - drop,
                                    sb[s, at, first : first + width],
                                    eb[s, at, first : first + width],
                                    top,
                                    part,
                                )
                            for j in range(width):
                                total[j] += part[j]
                        else:
                            for at in range(begins, ends, lanes):
                                _add_wide(
                                    sa[s, i, at] << lead,
                                    ea[s, i, at] - drop,
                                    sb[s, at, first : first + width],
                                    eb[s, at, first : first + width],
                                    top,
                                    total,
                                )
                for j in range(width):
                    top, total = np.int64(tops[0, j]), sums[0, j]
                    if u.halves:
                        other = np.int64(tops[1, j])
                        both = max(top, other)
                        total = (total >> min(both - top, 63)) + (sums[1, j] >> min(both - other, 63))
                        top = both
                    unit_exponent = top - u.bits
                    if u.joined < 0:
                        total += _cut(cs[j], u.bits - 23 + ce[j] - top, TOWARD_ZERO)
                    else:
                        both = max(top, np.int64(ce[j]))
                        c = np.int64(0) if u.reach >= 0 and ce[j] < both - u.reach else cs[j]
                        more = max(u.joined, u.joined_accumulator)
                        total = _cut(total, u.joined - u.bits + top - both, TOWARD_NEGATIVE) << (more - u.joined)
                        c = _cut(c, u.joined_accumulator - 23 + ce[j] - both, TOWARD_NEGATIVE)
                        total += c << (more - u.joined_accumulator)
                        unit_exponent = both - more
                    if abs(row[j]) < np.inf:
                        row[j] = _output_of_53_bits(total, unit_exponent, u)
                if u.promote > 0 and (end % u.promote == 0 or end == k):
                    for j in range(width):
                        registers[j] = np.float64(np.float32(registers[j]) + np.float32(row[j]))
                        row[j] = 0.0
            if u.promote > 0:
                row[:] = registers


@intrinsic(lambda x, n: x >> n)
def _shifted(context, x, n):
    """Return x >> n of int32, neither below 0, n below 32: Numba would make int64 of it."""

    def code(context, builder, signature, arguments):
        return builder.lshr(*arguments)

    return types.int32(types.int32, types.int32), code


@compiled
def _add_narrow(factor, exponent, significands, exponents, top, out):
    """Add factor * significands, each cut toward zero in its place below the top, to out; all int32."""
    factor, exponent, most = np.int32(factor), np.int32(exponent), np.int32(31)
    for j in range(len(significands)):
        product = np.int32(factor * significands[j])
        negative = np.int32(product >> 31)
        shift = min(np.int32(top[j] - exponent - exponents[j]), most)
        kept = _shifted(np.int32((product ^ negative) - negative), shift)
        out[j] += np.int32((kept ^ negative) - negative)


@compiled
def _add_wide(factor, exponent, significands, exponents, top, out):
    """Do that in int64."""
    factor, exponent, most = np.int64(factor), np.int32(exponent), np.int32(63)
    for j in range(len(significands)):
        product = factor * np.int64(significands[j])
        negative = product >> 63
        shift = np.int64(min(np.int32(top[j] - exponent - exponents[j]), most))
        out[j] += ((((product ^ negative) - negative) >> shift) ^ negative) - negative


@compiled
def scaled_products(a, b, sa, ea, sb, eb, out, u):
    """Add the products to out, float64 (m, n), by groups of `terms` (k a multiple), all operands and scales finite.

    a, b: int32 (m, k) and (k, n), operands in units of their formats' smallest, sums of `inner` products of which int32
    holds; sa, ea, sb, eb: int32 (m, blocks) and (blocks, n), of scales; u: a Unit with scales of sums that cuts toward
    zero, by exponents of factors, with all carries, its accumulator one of the terms, whose sums have at most 53 bits.
    """
    m, n, k = out.shape[0], out.shape[1], a.shape[1]
    count = u.terms // u.inner
    partial, significands = np.empty(COLUMNS, np.int32), np.empty((count, COLUMNS), np.int64)
    exponents, top = np.empty((count, COLUMNS), np.int32), np.empty(COLUMNS, np.int32)
    total = np.empty(COLUMNS, np.int64)
    fraction = u.fraction + u.scale_fraction - u.lowest
    lead, drop = np.int64(max(u.bits - fraction, 0)), np.int32(max(fraction - u.bits, 0))
    most = np.int32(63)
    for i in range(m):
        for first in range(0, n, COLUMNS):
            width = min(COLUMNS, n - first)
            row = out[i, first : first + width]
            registers = row.copy()
            if u.promote > 0:
                row[:] = 0.0
            for start in range(0, k, u.terms):
                for j in range(width):
                    top[j] = _exponent(row[j], u)
                for t in range(count):
                    begin = start + t * u.inner
                    partial[:] = 0
                    for at in range(begin, begin + u.inner):
                        factor, others = a[i, at], b[at, first : first + width]
                        for j in range(width):
                            partial[j] += factor * others[j]
                    place = begin // u.block
                    factor, others = sa[i, place], sb[place, first : first + width]
                    into = significands[t]
                    for j in range(width):
                        into[j] = np.int64(partial[j]) * np.int64(factor * others[j])
                    factor, others, scales = ea[i, place], eb[place, first : first + width], exponents[t]
                    for j in range(width):
                        scales[j] = factor + others[j]
                        top[j] = max(top[j], scales[j])
                for j in range(width):
                    e = _exponent(row[j], u)
                    c = np.int64(row[j] * _power(23 - e)) if abs(row[j]) < np.inf else np.int64(0)
                    total[j] = _cut(c, u.bits - 23 + e - top[j], TOWARD_ZERO)
                for t in range(count):
                    sums, scales = significands[t], exponents[t]
                    for j in range(width):
                        negative = sums[j] >> 63
                        shift = np.int64(min(np.int32(top[j] - scales[j] + drop), most))
                        total[j] += ((((sums[j] ^ negative) - negative) << lead >> shift) ^ negative) - negative
                for j in range(width):
                    if abs(row[j]) < np.inf:
                        row[j] = _output_of_53_bits(total[j], np.int64(top[j]) - u.bits, u)
                if u.promote > 0 and ((start + u.terms) % u.promote == 0 or start + u.terms == k):
                    for j in range(width):
                        registers[j] = np.float64(np.float32(registers[j]) + np.float32(row[j]))
                        row[j] = 0.0
            if u.promote > 0:
                row[:] = registers


@compiled
def _output_of_53_bits(total, unit_exponent, u):
    """Return what `_output` does, for a total that float64 holds."""
    exact = np.float64(total) * _power(unit_exponent)
    if abs(exact) < _power(u.emin):  # subnormal, or zero
        return _output(total, unit_exponent, u)
    bits = np.float64(exact).view(np.int64)
    drop = 53 - u.precision
    if u.nearest:
        bits += (np.int64(1) << (drop - 1)) - 1 + ((bits >> drop) & 1)
    rounded = np.int64(bits >> drop << drop).view(np.float64)
    if abs(rounded) >= _power(u.emax + 1):
        return np.inf if total > 0 else -np.inf
    return rounded


@compiled
def pairwise_products(a, b, out, u):
    """Add the products to out, float64 (m, n), by groups of `terms` (a power of two, k a multiple) in float32.

    a: float32 (m, k); b: float32 (k, n).
    """
    m, n, k = out.shape[0], out.shape[1], a.shape[1]
    level = np.empty((u.terms, COLUMNS), np.float32)
    for i in range(m):
        for first in range(0, n, COLUMNS):
            width = min(COLUMNS, n - first)
            row = out[i, first : first + width]
            if u.flush:
                for j in range(width):
                    row[j] = 0.0 if abs(row[j]) < 2.0**-126 else row[j]
            for start in range(0, k, u.terms):
                for t in range(u.terms):
                    into, factor, others = level[t], a[i, start + t], b[start + t, first : first + width]
                    for j in range(width):
                        into[j] = _single(factor * others[j] + np.float32(0), u)
                left = u.terms
                while left > 1:
                    left >>= 1
                    for t in range(left):
                        x, y, into = level[2 * t], level[2 * t + 1], level[t]
                        for j in range(width):
                            into[j] = _single(x[j] + y[j], u)
                for j in range(width):
                    row[j] = np.float64(_single(np.float32(row[j]) + level[0, j], u))
