"""The roundings of a step, part by part, and counting what they did.

*Notation*: `site` is an array of one record, `SITE`: how a rounding point rounds.  `noise` is what all
roundings of a step share, an array of uint64: the seed, the first stream of this pass, whether to count,
and then for each role, where anybody counts, the elements rounded, overflows and underflows so far.  Element i
of a tensor takes word i of the stream.  `round` is the address of `round_part` or `round_stochastic_part`.
Where tensors are scaled, `find_scale` sees the whole of one before its first part is rounded.
"""

import math

import numba
import numpy as np
from numba import types

from refimpl.kernels._by_address import by_address
from refimpl.kernels._compiled import compiled
from refimpl.kernels._memory import copy
from refimpl.kernels.block_quotients import float32_word, quotients_of_float32
from refimpl.kernels.float32_codes import Float32Target, quantize_ties_to_even
from refimpl.kernels.float32_stochastic import quantize_stochastic
from refimpl.kernels.random_bits import fill

NONE, TO_EVEN, STOCHASTIC = range(3)
UNSCALED, CURRENT, DELAYED = range(3)
CHUNK = 2048  # elements worked on at a time: four vectors of 8 KB fit the first-level cache
REMEMBERED = 16  # largest magnitudes kept for delayed scaling
WHOLE = -1
SEED, FIRST_STREAM, COUNTING, COUNTS = range(4)  # places in noise

_TARGET = list(Float32Target.__annotations__.items())
SITE = np.dtype(
    [("how", np.int64), ("role", np.int64), ("stream", np.uint64), ("largest", np.uint32)]
    + _TARGET
    + [("scaling", np.int64), ("integer", np.int64), ("past", np.int64), ("top", np.float64), ("scale", np.float64)]
    + [("block", np.int64), ("top_exponent", np.int64), ("top_scale", np.float64)]
    + [("of_scales", np.dtype(_TARGET, align=True))],
    align=True,
)
"""NONE, TO_EVEN or STOCHASTIC; the role's number; the stream after the first of the pass; what lies above, in
magnitude, is an overflow; the target; and where tensors are scaled: how, whether to an integer format, the address of
the magnitudes remembered, the format's largest value, and the tensor's scale, which `find_scale` writes; and where
blocks are scaled: their size; in MX the exponent of the format's largest power of two; and under two levels (NVFP4)
the largest scale and the target of scales."""

_MAGNITUDE, _INFINITY = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)
_SMALLEST, _LARGEST = 2.0**-126, float(np.finfo(np.float32).max)
_FLOATS, _SITE, _NOISE = (types.Array(t, 1, "C") for t in (types.float32, numba.from_dtype(SITE), types.uint64))


@compiled
def census(x, largest):
    """Return how many elements of x (float32 (n,)) exceed `largest` (bits) in magnitude, and how many are 0."""
    bits = x.view(np.uint32)
    beyond, zeros = 0, 0
    for i in range(bits.size):
        magnitude = np.uint32(bits[i] & _MAGNITUDE)
        beyond += magnitude > largest
        zeros += magnitude == np.uint32(0)
    return beyond, zeros


@compiled
def largest_magnitude(x):
    """Return the largest magnitude of x, NaN if there is one."""
    bits, found = x.view(np.uint32), np.uint32(0)
    for i in range(bits.size):
        magnitude = np.uint32(bits[i] & _MAGNITUDE)
        found = magnitude if magnitude > found else found
    return np.uint32(found).view(np.float32)


@compiled
def find_scale(x, site):
    """Write the scale of a whole tensor, float32 (n,), as `refimpl.nn.rounder` defines it."""
    s, largest = site[0], largest_magnitude(x)
    used = largest
    if s.scaling == DELAYED:
        past = np.empty(REMEMBERED, np.float32)
        copy(past.ctypes.data, s.past, REMEMBERED)
        known = past[0]
        for i in range(1, REMEMBERED):  # an element at a time: NumPy's maximum and moves take seconds to compile
            known = max(known, past[i])
            past[i - 1] = past[i]
        used = known if known >= 0 else largest  # the first time there is nothing to go by
        past[REMEMBERED - 1] = largest if largest < np.inf else np.float32(0)
        copy(s.past, past.ctypes.data, REMEMBERED)
    scale = 1.0
    if 0 < used < np.inf:
        wide = np.float64(used)
        if s.integer:
            scale = s.top / wide
        else:  # the power of two that brings it to the format's top binade
            scale = math.ldexp(1.0, math.frexp(s.top)[1] - math.frexp(wide)[1])
            scale = scale / 2 if wide * scale > s.top else scale
    site[0].scale = np.float64(np.float32(scale)) if _SMALLEST <= scale <= _LARGEST else scale


@compiled
def _target(s):
    return Float32Target(
        s.dropped,
        s.min_exponent_field,
        s.smallest_subnormal,
        s.max_bits,
        s.overflow_bits,
        s.infinity_bits,
        s.nan_bits,
        s.nan_sign_flip,
        s.nan_sign_mask,
        s.zero_sign_mask,
        s.addend,
        s.scales,
    )


@compiled
def _before(x, site, noise):
    """Return the census of what is to be rounded, if somebody counts."""
    return census(x, site[0].largest) if noise[COUNTING] != 0 else (0, 0)


@compiled
def _count(before, out, site, noise):
    """Count what was rounded, if somebody counts."""
    if noise[COUNTING] != 0 and site[0].how != NONE:
        at = COUNTS + 3 * site[0].role
        noise[at] += np.uint64(out.size)
        noise[at + 1] += np.uint64(before[0])
        noise[at + 2] += np.uint64(census(out, site[0].largest)[1] - before[1])


@compiled
def _stochastically(x, out, start, s, noise):
    stream, counter = noise[FIRST_STREAM] + s.stream, np.uint64(start // 4)
    quantize_stochastic(x.view(np.uint32), out.view(np.uint32), _target(s), noise[SEED], stream, counter)


@compiled
def _as_it_is(x, out):
    if x.ctypes.data != out.ctypes.data:
        copy(out.ctypes.data, x.ctypes.data, x.size)


@compiled
def _round(x, out, start, s, noise):
    if s.how == STOCHASTIC:
        _stochastically(x, out, start, s, noise)
    elif s.how == TO_EVEN:
        quantize_ties_to_even(x.view(np.uint32), out.view(np.uint32), _target(s))
    else:
        _as_it_is(x, out)


@compiled
def round_part(x, out, start, site, noise):
    """Round x into out, which may be x: parts of tensors beginning at element `start` (a multiple of 4).

    Where start is WHOLE, x is all of a tensor, whose scale is found first if it has one.
    """
    s, before = site[0], _before(x, site, noise)
    if start == WHOLE:
        start = 0
        if s.scaling != UNSCALED:
            find_scale(x, site)
    if s.scaling == UNSCALED:
        _round(x, out, start, s, noise)
    else:
        # in float32, which gives the bits of float64 rounded to it, where it holds the scale
        narrow, factor = _SMALLEST <= s.scale <= _LARGEST, np.float32(s.scale)
        scratch = np.empty(min(CHUNK, x.size), np.float32)
        for at in range(0, x.size, CHUNK):
            a, b = x[at : at + CHUNK], out[at : at + CHUNK]
            c = scratch[: b.size]
            for i in range(c.size):
                c[i] = a[i] * factor if narrow else np.float32(np.float64(a[i]) * s.scale)
            _round(c, b, start + at, s, noise)
            for i in range(b.size):
                b[i] = b[i] / factor if narrow else np.float32(np.float64(b[i]) / s.scale)
    _count(before, out, site, noise)


@compiled
def round_stochastic_part(x, out, start, site, noise):
    """Round as `round_part` does what has no scale and is rounded stochastically or not at all: less to compile."""
    s, before = site[0], _before(x, site, noise)
    if s.how == STOCHASTIC:
        _stochastically(x, out, start, s, noise)
    else:
        _as_it_is(x, out)
    _count(before, out, site, noise)


_PART = _FLOATS, _FLOATS, types.int64, _SITE, _NOISE
call_round_part, ROUND_PART = by_address(round_part, *_PART)
_, ROUND_STOCHASTIC_PART = by_address(round_stochastic_part, *_PART)


@compiled
def _tops(x, size):
    """Return the largest magnitude of each block of so many neighbours in rows (rows, n), NaN if there is one."""
    bits, blocks = x.view(np.uint32), (x.shape[1] + size - 1) // size
    tops = np.empty((x.shape[0], blocks), np.uint32)
    for row in range(x.shape[0]):
        for k in range(blocks):
            top = np.uint32(0)
            for i in range(k * size, min((k + 1) * size, x.shape[1])):  # slices would take longer than the loop
                magnitude = np.uint32(bits[row, i] & _MAGNITUDE)
                top = magnitude if magnitude > top else top
            tops[row, k] = top
    return tops.view(np.float32)


@compiled
def _power(exponent):
    """Return a power of two from 2^-127 to 2^127 as float32."""
    bits = np.uint32((exponent + 127) << 23) if exponent > -127 else np.uint32(1 << 22)
    return np.uint32(bits).view(np.float32)


@compiled
def round_blocks(x, out, site, noise, round):
    """Round float32 (rows, n) into out, neighbours in a row sharing a scale, a power of two; a spoilt block is NaN."""
    size, flat, exponents = site[0].block, out.reshape(-1), _tops(x, site[0].block).view(np.int32)
    before = _before(x.reshape(-1), site, noise)
    for row in range(x.shape[0]):
        for k in range(exponents.shape[1]):
            field = exponents[row, k] >> np.int32(23)  # by OCP's rule, from -127 to 127; 128 if not all of it is finite
            e = np.int64(128 if field == 255 else max(np.int64(field) - 127 - site[0].top_exponent, -127))
            exponents[row, k] = e
            factor = _power(-e) if e < 128 else np.float32(0)
            for i in range(k * size, min((k + 1) * size, x.shape[1])):
                out[row, i] = x[row, i] * factor if e < 128 else np.float32(0)
    quiet = noise.copy()
    quiet[COUNTING] = 0
    call_round_part(round, flat, flat, 0, site, quiet)
    for row in range(x.shape[0]):
        for k in range(exponents.shape[1]):
            e = np.int64(exponents[row, k])
            factor = _power(e) if e < 128 else np.float32(np.nan)
            for i in range(k * size, min((k + 1) * size, x.shape[1])):
                out[row, i] = out[row, i] * factor
    _count(before, flat, site, noise)


@compiled
def _divisors(x, site):
    """Return what each block of float32 (rows, n) is divided by, its scale times the tensor's; NaN for spoilt ones."""
    s, shaped, top = site[0], _tops(x, site[0].block), np.float32(0)
    tops = shaped.reshape(-1)
    for i in range(tops.size):
        top = tops[i] if tops[i] < np.inf and tops[i] > top else top
    # one division, and one rounding to float32: of 24 bits by so few no quotient lies so near the middle of two
    tensor = np.float64(max(np.float32(np.float64(top) / (s.top_scale * s.top)), np.float32(2.0**-149)))
    tensor = tensor if top > 0 else np.float64(1)
    scales, most = np.empty(tops.size, np.uint32), s.top * tensor
    for i in range(tops.size):
        scales[i] = float32_word(np.float64(tops[i]), most, tops[i] > 0, np.uint32(0))
    quantize_ties_to_even(scales, scales, _target(s.of_scales))
    divisors, values = np.empty(tops.size, np.float64), scales.view(np.float32)
    for i in range(tops.size):
        scale = values[i] if values[i] > 0 else np.float32(1)
        divisors[i] = np.float64(scale) * tensor if tops[i] < np.inf else np.nan
    return divisors.reshape(shaped.shape)


@compiled
def _round_stochastically(quotients, words, out, s):
    """Write quotients (float64, rounded to odd) rounded stochastically to float32: in steps, floor and fraction."""
    lowest = np.int64(s.min_exponent_field) + 896 << 52  # bits of float64: where normal values begin
    below = np.int64(23 - s.dropped) << 52
    for i in range(quotients.size):
        size = abs(quotients[i])
        binade = np.float64(size).view(np.int64) & np.int64(0x7FF << 52)
        step = (binade if binade > lowest else lowest) - below
        steps = size * np.int64((2046 << 52) - step).view(np.float64)
        floor = np.int64(steps)
        fraction = np.int64((steps - np.float64(floor)) * 4294967296.0)
        floor += (fraction + np.int64(words[i])) >> 32
        found = np.float32(min(np.float64(floor) * np.int64(step).view(np.float64), s.top))
        out[i] = -found if quotients[i] < 0 or (found == 0 and np.signbit(quotients[i])) else found


@compiled
def _words(start, count, s, noise):
    """Return the random words of so many elements of a tensor from `start` on; none where rounding takes none."""
    if s.how != STOCHASTIC:
        return np.empty(0, np.uint32)
    skipped = start % 4
    words = np.empty((skipped + count + 3) // 4 * 4, np.uint32)
    fill(words, np.uint64(start // 4), noise[SEED], noise[FIRST_STREAM] + s.stream)
    return words[skipped : skipped + count]


@compiled
def _round_rows(x, out, divisors, words, s):
    """Round float32 (rows, n) into out, each row over a divisor."""
    flat, bits = out.reshape(-1), out.view(np.uint32)
    if s.how == STOCHASTIC:
        longs = np.empty(x.shape, np.uint64)
        quotients_of_float32(x.view(np.uint32), divisors, longs)
        _round_stochastically(longs.reshape(-1).view(np.float64), words, flat, s)
    else:
        quotients_of_float32(x.view(np.uint32), divisors, bits)
        quantize_ties_to_even(bits.reshape(-1), bits.reshape(-1), _target(s))
    for row in range(x.shape[0]):
        divisor = divisors[row]
        for i in range(x.shape[1]):
            out[row, i] = np.float32(np.float64(out[row, i]) * divisor)


@compiled
def round_two_levels(x, out, site, noise, round):
    """Round float32 (rows, n) into out as NVFP4 does: neighbours in a row share a scale, and all of them another.

    `round` is not asked: of quotients, which are longer than float32, it does not know.
    """
    s, (rows, length), divisors = site[0], x.shape, _divisors(x, site)
    before = _before(x.reshape(-1), site, noise)
    if length <= s.block or length % s.block == 0:
        width = max(min(length, s.block), 1)
        a, b, by, step = x.reshape(-1, width), out.reshape(-1, width), divisors.reshape(-1), max(CHUNK // width, 1)
        for top in range(0, a.shape[0], step):
            part = slice(top, top + step)
            _round_rows(a[part], b[part], by[part], _words(top * width, a[part].size, s, noise), s)
    else:  # the last block of a row is filled up
        blocks = divisors.shape[1]
        full = blocks * s.block
        step = max(min(CHUNK // full, rows), 1)
        given, found = np.zeros((step, full), np.float32), np.empty((step, full), np.float32)
        drawn = np.zeros((step, full), np.uint32)
        for top in range(0, rows, step):
            count = min(step, rows - top)
            words = _words(top * length, count * length, s, noise)
            for row in range(count):
                for i in range(length):
                    given[row, i] = x[top + row, i]
            if words.size:
                for row in range(count):
                    for i in range(length):
                        drawn[row, i] = words[row * length + i]
            a, b = given[:count].reshape(-1, s.block), found[:count].reshape(-1, s.block)
            _round_rows(a, b, divisors[top : top + count].reshape(-1), drawn[:count].reshape(-1), s)
            for row in range(count):
                for i in range(length):
                    out[top + row, i] = found[row, i]
    _count(before, out.reshape(-1), site, noise)


@compiled
def transpose(x, out):
    """Write the transpose of x (n, m)."""
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            out[k, i] = x[i, k]


@compiled
def round_sum(x, y, out, first, second, noise, round):
    """Write x + y, y rounded at the first site and the sum at the second; float32 (n,) each."""
    term = np.empty(min(CHUNK, x.size), np.float32)
    for start in range(0, x.size, CHUNK):
        count = min(CHUNK, x.size - start)
        a, b, c = x[start : start + count], term[:count], out[start : start + count]
        call_round_part(round, y[start : start + count], b, start, first, noise)
        for i in range(count):
            c[i] = a[i] + b[i]
        call_round_part(round, c, c, start, second, noise)
