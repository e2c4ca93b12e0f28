"""Stochastic rounding of float32 on its bits; the counterpart of `refimpl.kernels.float32_codes`."""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels._memory import copy
from refimpl.kernels.float32_codes import BLOCK, join, split
from refimpl.kernels.random_bits import GROUP, fill_groups

FAST_PATH_OF = "float_codes"

_U1, _U23, _U31, _U32 = np.uint32(1), np.uint32(23), np.uint32(31), np.uint32(32)
_SIGN32 = np.uint32(0x80000000)
_MAGNITUDE32 = np.uint32(0x7FFFFFFF)
_INFINITY32 = np.uint32(0x7F800000)
_TWICE_BIAS = np.uint32(254 << 23)
_2_TO_32 = np.float32(2.0**32)


@compiled
def quantize_stochastic(x, out, t, seed, stream, first_counter):
    """Round x (uint32 (n,), bits of float32) stochastically; element i takes word 4 first_counter + i of the stream.

    The magnitude goes up iff floor(nu 2^32) + word >= 2^32, nu being its fraction of a step.
    out: like x, may be x itself; seed, stream, first_counter: uint64.
    """
    words = np.empty(BLOCK, np.uint32)
    for start in range(0, x.size, BLOCK):
        source, target = x[start : start + BLOCK], out[start : start + BLOCK]
        needed = words[: (source.size + GROUP - 1) // GROUP * GROUP]
        fill_groups(needed, first_counter + np.uint64(start // 4), seed, stream)
        # Loops that read and write one array can use vectors, those over two that are one cannot.
        if target.ctypes.data != source.ctypes.data:
            copy(target.ctypes.data, source.ctypes.data, source.size)
        if not _all_finite(target):
            _stochastic_any(target, words, t)
        elif t.min_exponent_field == _U1:
            _stochastic_in_binades(target, words, t)
        elif t.scales:
            _stochastic_by_scaling(target, words, t)
        else:
            _stochastic_any(target, words, t)


@compiled
def _all_finite(x):
    largest = np.uint32(0)
    for j in range(x.size):
        magnitude = np.uint32(x[j] & _MAGNITUDE32)
        largest = magnitude if magnitude > largest else largest
    return largest < _INFINITY32


@compiled
def _mend_finite(bits, result, t):
    """Do as `_mend` where there is neither infinity nor NaN."""
    if t.max_bits == t.overflow_bits and t.zero_sign_mask == _SIGN32:  # the usual: less to do
        result = result if result < t.max_bits else t.max_bits
        return np.uint32(result | np.uint32(bits & _SIGN32))
    result = t.overflow_bits if result > t.max_bits else result
    sign = np.uint32(bits & _SIGN32)
    sign = np.uint32(sign & t.nan_sign_mask) if result > _INFINITY32 else sign
    sign = np.uint32(sign & t.zero_sign_mask) if result == np.uint32(0) else sign
    return np.uint32(result | sign)


@compiled
def _stochastic_in_binades(x, words, t):
    """Round finite x where the binades are float32's: the word is added to the dropped bits."""
    kept = np.uint32(~np.uint32(np.uint32(_U1 << (t.dropped & _U31)) - _U1))
    shift = np.uint32(np.uint32(_U32 - t.dropped) & _U31)
    for j in range(x.size):
        magnitude = np.uint32(x[j] & _MAGNITUDE32)
        noise = np.uint32(words[j] >> shift)
        x[j] = _mend_finite(x[j], np.uint32(np.uint32(magnitude + noise) & kept), t)


@compiled
def _stochastic_by_scaling(x, words, t):
    """Round finite x for a target that `scales`: in steps of the format around x, floor and fraction.

    The step is a power of two, so dividing by it, and multiplying again, is exact; so are the
    fraction and, but for the floor that is meant, the first 32 bits of it.
    """
    lowest = np.uint32(t.min_exponent_field << _U23)
    mantissa = np.uint32(np.uint32(_U23 - t.dropped) << _U23)  # a step is 2^-mantissa_bits of a binade
    top = np.uint32(_TWICE_BIAS + mantissa)
    for j in range(x.size):
        magnitude = np.uint32(x[j] & _MAGNITUDE32)
        binade = np.uint32(magnitude & _INFINITY32)
        binade = binade if binade > lowest else lowest
        steps = np.float32(magnitude.view(np.float32) * np.uint32(top - binade).view(np.float32))
        floor = np.float32(np.int32(steps))
        fraction = np.uint32(np.float32(np.float32(steps - floor) * _2_TO_32))
        up = np.uint32(fraction + words[j]) < words[j]
        floor = np.float32(floor + np.float32(1)) if up else floor
        result = np.float32(floor * np.uint32(binade - mantissa).view(np.float32))
        x[j] = _mend_finite(x[j], result.view(np.uint32), t)


@compiled
def _stochastic_any(x, words, t):
    """Round any x for any target, in integers."""
    for j in range(x.size):
        magnitude, field, significand, dropped = split(x[j], t)
        word = words[j]
        near = dropped if dropped < _U31 else _U31
        near = np.uint32(near & _U31)
        noise = np.uint32(np.uint32(word >> _U1) >> np.uint32(_U31 - near))
        lower = np.uint32(np.uint32(significand + noise) >> near)
        # 32 bits dropped or more: compare the first 32 bits of the fraction with the word
        far = np.uint32((dropped if dropped > _U32 else _U32) - _U32)
        far = far if far < _U31 else _U31
        tiny = np.uint32(np.uint32(significand >> np.uint32(far & _U31)) + word)
        carry = _U1 if tiny < word else np.uint32(0)
        lower = carry if dropped >= _U32 else lower
        x[j] = join(x[j], magnitude, field, lower, t)
