"""Sums of products, many columns side by side in float64's vectors: the fast path of `refimpl.kernels.sums`.

All orders are made of one step on rows of neighbouring columns, out = round(x + factor * y), in which every
column keeps its own order of additions.  A format, its mode and its overflow are numbers that the step takes.

*The step.*  float64 holds the product (see `refimpl.ops.sum_paths`), and s + error is the exact sum, s the nearest
float64 (Knuth's two-sum).  Let `unit` be the distance of the format's values around s: a power of two, by which
dividing is exact.  Then (|s| + error) / unit = whole + fraction + error / unit, whole an integer, 0 <= fraction <= 1
(1 where error is negative and |s| / unit an integer), and the magnitude rounds to whole + 1 units where

    fraction + error / unit > threshold,    or equals it and `tie` says so,

else to whole units.  To nearest the threshold is 1/2, toward zero 2; stochastic rounding by R of N bits has
1 - R / 2^N.  The comparison is that of fraction - threshold with -error / unit: where these two are close, the
difference is exact (Sterbenz), for a fraction as large as that has no bits below 2^-53 of it, and where they are not,
its rounding changes nothing, as |error| / unit is below 2^-52 of a fraction, or of whole.
"""

from typing import NamedTuple

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels.arithmetic import Layout, pack, unpack
from refimpl.kernels.float32_codes import quantize_ties_to_even
from refimpl.kernels.float_codes import FloatFields, Mode
from refimpl.kernels.float_codes import pack as pack_float
from refimpl.kernels.float_codes import unpack as unpack_float
from refimpl.kernels.random_bits import LANES, fill_groups_apart
from refimpl.kernels.sums import CHUNKED, KAHAN, PAIRWISE, roundings

FAST_PATH_OF = "sums"

COLUMNS = 128  # whose rows stay in the first-level cache
WIDE_COLUMNS = 1024  # of float32

_0, _1, _32 = (np.uint64(k) for k in (0, 1, 32))
_52, _MAGNITUDE, _SIGN = np.uint64(52), np.uint64((1 << 63) - 1), np.uint64(1 << 63)
_POWER_SUM = np.int64(2046 << 52)  # bits of 2^e and of 2^-e together


class Accumulator(NamedTuple):
    """A format and how it rounds."""

    min_field: int  # float64's exponent field of the smallest normal value
    scale_base: int  # less the exponent field: that of 1 / unit
    low_scale: int  # bits of 1 / unit below the normal values
    parity: int  # 1 where values have no mantissa: the last bit of codes is the exponent's
    threshold_even: float
    threshold_odd: float
    threshold_more: float  # what is added to it for negative sums
    tie_even: bool
    tie_odd: bool
    limit: float  # the largest value
    limit_negative: float  # its magnitude, 0 for unsigned formats
    beyond: float  # what a sum beyond the largest value becomes
    beyond_negative: float
    infinite: float  # what an infinite sum becomes
    infinite_negative: float
    no_sign_to: float  # magnitudes above it have a sign: 0, or -1 where there is -0; NaN has none
    downward: bool  # whether an exact zero is negative
    stochastic: bool
    word_shift: int  # of a random word, to its leading bits
    word_scale: float  # 1 / 2^N
    word_offset: float  # 1/2 in modes b and c
    word_ties: bool  # whether ties go by the random integer's last bit, as in mode c
    dropped: np.ndarray  # uint64, of `dropped_bits`, of a posit; empty for floats, and so is what follows
    largest: np.uint64  # bits of the largest value
    layout: Layout
    wide: FloatFields  # of float64
    mode: Mode


@compiled
def _rounded(s, error, threshold_even, threshold_odd, tie_even, tie_odd, f):
    """Return s + error rounded; without a branch, as vectors want it."""
    bits = np.float64(s).view(np.int64)
    negative, magnitude = bits < 0, abs(s)
    error = -error if negative else error
    # just below a power of two the unit is that of the binade below
    field = ((bits - (1 if error < 0.0 else 0)) >> 52) & 2047
    scale = f.low_scale if field < f.min_field else (f.scale_base - field) << 52
    inverse = np.int64(scale).view(np.float64)
    x, e = magnitude * inverse, error * inverse
    whole = np.floor(x)
    fraction = x - whole
    below = (fraction == 0.0) & (e < 0.0)
    whole -= 1.0 if below else 0.0
    fraction = 1.0 if below else fraction
    half = whole * 0.5
    odd = (half != np.floor(half)) ^ ((max(field - f.min_field, 0) & f.parity) != 0)
    threshold = threshold_odd if odd else threshold_even
    threshold += f.threshold_more if negative else 0.0
    difference = fraction - threshold
    up = (difference > -e) | ((difference == -e) & (tie_odd if odd else tie_even))
    whole += 1.0 if up else 0.0
    rounded = whole * np.int64(_POWER_SUM - scale).view(np.float64)
    sign = bits & np.int64(-(2**63))
    sign = sign if rounded > f.no_sign_to else 0
    signed = np.int64(np.float64(rounded).view(np.int64) | sign).view(np.float64)
    limit = f.limit_negative if negative else f.limit
    beyond = f.beyond_negative if negative else f.beyond
    infinite = f.infinite_negative if negative else f.infinite
    signed = beyond if rounded > limit else signed
    return infinite if magnitude == np.inf else signed


@compiled
def _step(x, factor, y, out, scratch, f, downward, words, at):
    """Write round(x + factor * y) into out, which may be x.

    scratch: float64 (2, columns); downward: whether an exact zero that is not of zeros +0 is -0; words: uint32, four
    a column, of which word `at` modulo 4 is taken where a mode asks.
    """
    sums, errors = scratch[0], scratch[1]
    for j in range(out.size):  # the sum, and exactly how far it is off
        term = factor * y[j]
        s = x[j] + term
        back = s - x[j]
        errors[j] = (x[j] - (s - back)) + (term - back)
        sums[j] = s
    if downward:
        for j in range(out.size):
            sums[j] = -0.0 if sums[j] == 0.0 and (np.signbit(x[j]) or np.signbit(factor * y[j])) else sums[j]
    if f.dropped.size > 0:
        _round_to_posit(sums, errors, out, f)
    elif f.stochastic:
        shift, which = np.uint32(f.word_shift), at & 3
        for j in range(out.size):
            integer = words[4 * j + which] >> shift
            threshold = 1.0 - (np.float64(integer) + f.word_offset) * f.word_scale
            tie = (not f.word_ties) | (integer & np.uint32(1) == np.uint32(0))
            out[j] = _rounded(sums[j], errors[j], threshold, threshold, tie, tie, f)
    else:
        for j in range(out.size):
            out[j] = _rounded(sums[j], errors[j], f.threshold_even, f.threshold_odd, f.tie_even, f.tie_odd, f)


@compiled
def _round_to_posit(sums, errors, out, f):
    """Write sums + errors, rounded to a posit, into out.

    Rounded to odd in float64 first, which a second rounding to at most 51 bits cannot see.
    """
    bits = sums.view(np.uint64)
    for j in range(out.size):
        magnitude, sign = bits[j] & _MAGNITUDE, bits[j] & _SIGN
        if errors[j] != 0.0 and magnitude < np.uint64(0x7FF0000000000000):
            # to odd: cut, and a last bit that says that something was cut
            magnitude = (magnitude - np.uint64((errors[j] < 0.0) != (sums[j] < 0.0))) | _1
        drop = f.dropped[magnitude >> _52]
        # a bias of 1024, a multiple of any 2^es, so that a posit's exponent is the lowest bits of the field
        rounded = magnitude + (_1 << _52)
        rounded = (rounded + ((_1 << drop) >> _1) - _1 + ((rounded >> drop) & _1)) >> drop << drop
        rounded -= _1 << _52
        if drop != _0 and rounded <= f.largest:
            bits[j] = rounded | sign
        elif magnitude == _0:
            bits[j] = _0
        else:
            code = pack(unpack_float(magnitude | sign, f.wide), f.layout, f.mode, _0)
            kind, negative, significand, exponent = unpack(code, f.layout)
            bits[j] = pack_float(kind, negative, significand, exponent, f.wide, f.mode, _0)
    out[:] = sums


@compiled
def products(a, b, out, places, order, chunk, f, seed, stream):
    """Write the sums of a[i, :] * b[:, j] into out[i, j], values of an accumulator's format.

    a: float64 (m, k); b: float64 (k, n), whose products float64 holds; out: float64 (m, n); places: (first, down,
    across), so that the sum at i, j takes the random words of the (first + i down + j across)-th; f: an Accumulator.
    """
    m, terms, n = a.shape[0], a.shape[1], b.shape[1]
    blocks = np.uint64((roundings(order, terms, chunk) + 3) // 4)
    first, down, across = blocks * places[0], blocks * places[1], blocks * places[2]
    levels = 1
    while order == PAIRWISE and terms >> levels > 0:
        levels += 1
    held = np.empty(levels + 1, np.int64)
    for begin in range(0, n, COLUMNS):
        width = min(COLUMNS, n - begin)
        rows, scratch = np.empty((levels + 4, width)), np.empty((2, width))
        columns = b[:, begin : begin + width].copy()
        words = np.empty((levels + 1, 4 * (-(-width // LANES) * LANES) if f.stochastic else 0), np.uint32)
        for i in range(m):
            held[:] = -1
            counter = first + np.uint64(i) * down + np.uint64(begin) * across
            key = counter, across, seed, stream
            total = out[i, begin : begin + width]
            if order == PAIRWISE:
                _pairwise(a[i], columns, total, rows, scratch, f, words, held, key)
            elif order == KAHAN:
                _kahan(a[i], columns, total, rows, scratch, f, words, held, key)
            else:
                _in_turn(a[i], columns, total, rows, scratch, chunk if order == CHUNKED else 0, f, words, held, key)


@compiled
def _drawn(words, held, slot, at, f, key):
    """Return the row of words, four a column, among which are those of index `at`; held[slot] of them are there."""
    if f.stochastic and held[slot] != at >> 2:
        held[slot] = at >> 2
        first, stride, seed, stream = key
        fill_groups_apart(words[slot], first + np.uint64(at >> 2), stride, seed, stream)
    return words[slot]


@compiled
def _in_turn(a, b, total, rows, scratch, chunk, f, words, held, key):
    """Add products one after the other, by chunks unless 0."""
    total[:] = 0.0
    part, at = (rows[0] if chunk > 0 else total), 0
    for start in range(0, a.size, chunk if chunk > 0 else max(a.size, 1)):
        part[:] = 0.0
        end = min(start + chunk, a.size) if chunk > 0 else a.size
        for k in range(start, end):
            _step(part, a[k], b[k], part, scratch, f, f.downward, _drawn(words, held, 0, at, f, key), at)
            at += 1
        if chunk > 0:
            _step(total, 1.0, part, total, scratch, f, f.downward, _drawn(words, held, 0, at, f, key), at)
            at += 1


@compiled
def _kahan(a, b, total, rows, scratch, f, words, held, key):
    gained, term, new, regained = rows[0], rows[1], rows[2], rows[3]  # gained: minus what is lost
    total[:] = 0.0
    gained[:] = -0.0
    for k in range(a.size):
        drawn, at = _drawn(words, held, 0, 4 * k, f, key), 4 * k
        _step(gained, a[k], b[k], term, scratch, f, f.downward, drawn, at)
        _step(total, 1.0, term, new, scratch, f, f.downward, drawn, at + 1)
        _step(new, -1.0, total, regained, scratch, f, f.downward, drawn, at + 2)
        _step(regained, -1.0, term, gained, scratch, f, f.downward, drawn, at + 3)
        for j in range(gained.size):
            gained[j] = -gained[j] if abs(new[j]) < np.inf else -0.0
            total[j] = new[j]


@compiled
def _pairwise(a, b, total, rows, scratch, f, words, held, key):
    """Add neighbours as soon as there are two: rows[d] are the sums of ever fewer products, as in a binary counter.

    Roundings are counted level by level: node i of level l > 0 has the index first + i, where first is the
    number of the products and of all nodes below that are sums.
    """
    terms = a.size
    total[:] = 0.0
    nothing = rows[rows.shape[0] - 1]
    nothing[:] = -0.0
    depth = 0
    for k in range(terms):
        _step(nothing, a[k], b[k], rows[depth], scratch, f, False, _drawn(words, held, 0, k, f, key), k)
        depth += 1
        level, size, first, last = 0, terms, terms, k + 1 == terms
        node = k  # index of the latest in its level
        while depth > 1 and (node & 1 == 1 or last):
            if node & 1 == 1:
                at = first + (node >> 1)
                drawn = _drawn(words, held, level + 1, at, f, key)
                _step(rows[depth - 2], 1.0, rows[depth - 1], rows[depth - 2], scratch, f, f.downward, drawn, at)
                depth -= 1
            first += size >> 1
            size, node, level = (size + 1) >> 1, node >> 1, level + 1
    if terms > 0:
        total[:] = rows[0]


def dropped_bits(fmt) -> np.ndarray:
    """Return for each exponent field of float64 how many bits a posit drops there.

    uint64 (2048,); 0 where nothing is left of the significand and the exponent, by whose last bit ties go.
    """
    exponent = np.arange(2048) - 1023
    regime = exponent >> fmt.exponent_bits
    left, of = fmt.bits - 1 - np.where(regime >= 0, regime + 2, 1 - regime), 52 + fmt.exponent_bits
    return np.where((left >= 1) & (exponent > -1023) & (exponent < 1024), of - left, 0).astype(np.uint64)


@compiled
def products_in_float32(a, b, out, target):
    """Write the sums of products into out, added one after the other and rounded to the target.

    a: float32 (m, k); b: float32 (k, n); out: float32 (m, n); target: a Float32Target.
    """
    m, terms, n = a.shape[0], a.shape[1], b.shape[1]
    # Read from one array and written to another, so that LLVM sees that vectors may be used.
    wide = np.empty(WIDE_COLUMNS, np.float32)
    for i in range(m):
        for start in range(0, n, WIDE_COLUMNS):
            end = min(start + WIDE_COLUMNS, n)
            total, exact = out[i, start:end], wide[: end - start]
            total[:] = np.float32(0)
            for k in range(terms):
                factor, row = a[i, k], b[k, start:end]
                for j in range(end - start):
                    exact[j] = total[j] + factor * row[j]
                if k == terms - 1:
                    for j in range(end - start):  # NaN of either sign, as the processor likes it
                        exact[j] = np.float32(np.nan) if exact[j] != exact[j] else exact[j]
                quantize_ties_to_even(exact.view(np.uint32), total.view(np.uint32), target)
