"""Blocks of elements that share a scale; the definitions are `refimpl.spec.blocks`.

*Rows*: x has one block in each row.  The notation (kind, negative, significand, exponent) is that of
`refimpl.kernels.float_codes`.
"""

from typing import NamedTuple

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels.float_codes import (
    FINITE,
    NAN,
    NAN_ZERO,
    OVERFLOW,
    SATURATE,
    TIES_TO_EVEN,
    ZERO,
    FloatFields,
    Mode,
    _random_integer,
    fields,
    normalise,
    pack,
    unpack,
)

SCALE_RULES = ("floor", "ceil", "ceil_log2", "even", "nearest")
FLOOR, CEIL, CEIL_LOG2, EVEN, NEAREST, GIVEN = range(6)

_0, _1, _32 = (np.uint64(k) for k in (0, 1, 32))
_11 = np.uint64(11)
_HALF = np.uint64(1 << 63)


class BlockFields(NamedTuple):
    """A BlockFormat as plain integers."""

    grid: FloatFields
    scale: FloatFields
    integer_bits: int  # of an integer element, 0 for floats
    max_exponent: int  # emax
    top_significand: np.uint64  # the largest element, as unpack gives it
    top_exponent: int
    top_bits: int  # fraction bits of the largest elements
    smallest_scale: int  # exponents
    largest_scale: int


def block_fields(fmt) -> BlockFields:
    """Return the BlockFields of a BlockFormat."""
    grid = fmt.grid
    m, e = grid.mantissa_bits, fmt.max_exponent
    field, mantissa = divmod(grid.max_code, 1 << m)
    if field == 0:  # fixed point
        significand, top_bits = mantissa, mantissa.bit_length() - 1
    else:
        significand, top_bits = (1 << m) + mantissa, m
    return BlockFields(
        fields(grid),
        fields(fmt.scale),
        0 if hasattr(fmt.element, "mantissa_bits") else fmt.element.bits,
        e,
        np.uint64(significand << (64 - significand.bit_length())),
        e,
        top_bits,
        -fmt.scale.bias,
        fmt.scale.max_code - fmt.scale.bias,
    )


@compiled
def largest(x, tops, source):
    """Write the bits of the largest magnitude of each row of x, those of infinity and NaN being the largest.

    x: bits of floats with fields `source`, unsigned (rows, n); tops: alike (rows,).
    """
    mask = x.dtype.type((_1 << np.uint64(source.sign_shift)) - _1)
    for row in range(x.shape[0]):
        top = x.dtype.type(0)
        for i in range(x.shape[1]):
            magnitude = x.dtype.type(x[row, i] & mask)
            top = magnitude if magnitude > top else top
        tops[row] = top


@compiled
def scale_exponent(significand, exponent, f, rule):
    """Return the exponent of the scale of a block with this largest magnitude."""
    if significand == _0:
        return f.smallest_scale
    e = exponent - f.max_exponent
    if rule == EVEN:
        # up to the next power of two, if rounded to top_bits of fraction it carries so far
        limit = ~(_HALF >> np.uint64(f.top_bits + 1)) + _1  # 1.11...1 and a half step, a tie: up
        if f.top_bits + 1 < 64 and significand >= limit:
            e += 1
    elif rule == CEIL_LOG2:
        e += 1 if significand != _HALF else 0
    elif rule != FLOOR:
        # significand / top lies in (1/2, 2): compare it with the power of two in between.
        # Inputs have at most 53 bits, and so the low 11 are zeros.
        a, top = significand >> _11, f.top_significand >> _11
        if rule == CEIL:
            e += 1 if a > top else 0
        elif a >= top:
            e += 1 if a + a >= top + top + top else 0
        else:
            e -= 0 if (a << _1) + (a << _1) >= top + top + top else 1
    return min(max(e, f.smallest_scale), f.largest_scale)


@compiled
def _element(code, f):
    """Return the code of an element: two's complement for integers."""
    if f.integer_bits == 0:
        return code
    top = _1 << np.uint64(f.integer_bits - 1)
    return ((top << _1) - (code ^ top)) & ((top << _1) - _1) if code >= top else code


@compiled
def _unpack_element(code, f):
    if f.integer_bits == 0:
        return unpack(code, f.grid)
    top = _1 << np.uint64(f.integer_bits - 1)
    negative = code >= top
    magnitude = (top << _1) - code if negative else code
    if magnitude == _0:
        return ZERO, False, _0, 0
    significand, exponent = normalise(magnitude, 65 - f.integer_bits)
    return FINITE, negative, significand, exponent


@compiled
def mx_scales(tops, scales, source, f, rule):
    """Write the scale code of each row with this largest magnitude, or leave it where the rule is GIVEN (MX).

    tops: as `largest` writes them; scales: unsigned (rows,).
    """
    for row in range(tops.size):
        kind, _, significand, exponent = unpack(np.uint64(tops[row]), source)
        if kind > FINITE:
            scales[row] = f.scale.nan_code
        elif rule != GIVEN:
            scales[row] = scale_exponent(significand, exponent, f, rule) - f.smallest_scale


@compiled
def encode(x, codes, scales, source, f, rule, mode, words):
    """Write element codes and scale codes of each row (MX).

    x: bits of floats with fields `source`, unsigned (rows, n); codes: unsigned (rows, n); scales:
    unsigned (rows,), read where the rule is GIVEN; words: uint32 (rows, n), read by stochastic rounding alone.
    """
    mode = Mode(mode.rounding, SATURATE, NAN_ZERO, mode.random_bits)
    tops = np.empty(x.shape[0], x.dtype)
    largest(x, tops, source)
    mx_scales(tops, scales, source, f, rule)
    for row in range(x.shape[0]):
        if np.int64(scales[row]) == f.scale.nan_code:
            codes[row, :] = 0
            continue
        e = np.int64(scales[row]) + f.smallest_scale
        for i in range(x.shape[1]):
            kind, negative, significand, exponent = unpack(np.uint64(x[row, i]), source)
            random = _random_integer(words[row], i, mode)
            code = pack(kind, negative, significand, exponent - e, f.grid, mode, random)
            codes[row, i] = _element(code, f)


@compiled
def decode(codes, scales, x, f, tensor_scale, target):
    """Write tensor scale * block scale * element, rounded once, as bits of floats `target`.

    codes: unsigned (rows, n); scales: unsigned (rows,); x: unsigned (rows, n); tensor_scale: bits of
    a positive finite float32 (uint64).
    """
    nearest = Mode(TIES_TO_EVEN, OVERFLOW, NAN_ZERO, 32)
    tensor, tensor_exponent = _float32(tensor_scale)
    for row in range(codes.shape[0]):
        kind, minus, significand, exponent = unpack(np.uint64(scales[row]), f.scale)
        factor, factor_exponent = _times(tensor, tensor_exponent, significand, exponent, 8)
        is_nan, is_zero = kind == NAN, kind == ZERO
        for i in range(codes.shape[1]):
            kind, negative, significand, exponent = _unpack_element(np.uint64(codes[row, i]), f)
            if kind == FINITE and not is_zero:
                # 24 bits of tensor scale, 8 of block scale and 16 of element fit 64
                significand, exponent = normalise(
                    (significand >> np.uint64(47)) * factor, exponent + factor_exponent - 16 + 63
                )
            elif kind == FINITE:
                kind = ZERO
            if is_nan:
                kind, negative = NAN, minus
            x[row, i] = pack(kind, negative != minus, significand, exponent, target, nearest, _0)


# -- two levels ------------------------------------------------------------------------------------


@compiled
def _float32(bits):
    """Return a positive float32 as an integer of 24 bits and the exponent of its unit."""
    field, mantissa = np.int64(bits >> np.uint64(23)), bits & np.uint64(0x7FFFFF)
    if field == 0:
        return mantissa, -149
    return mantissa | np.uint64(0x800000), field - 150


@compiled
def _times(integer, unit, significand, exponent, bits):
    """Multiply an integer * 2^unit by a significand of at most so many bits: again integer and unit."""
    return integer * (significand >> np.uint64(64 - bits)), unit + exponent - (bits - 1)


@compiled
def _divide(significand, exponent, divisor, unit):
    """Return significand * 2^(exponent - 63) / (divisor * 2^unit), divisor below 2^32.

    64 bits of the quotient, the last of which is set too where something is left: rounding to fewer
    bits decides by it as by the exact quotient.
    """
    high, rest = significand // divisor, significand % divisor
    low, rest = (rest << _32) // divisor, (rest << _32) % divisor
    shifted, place = normalise(high, exponent - unit)
    room = np.uint64(exponent - unit - place)  # at most 32 bits
    kept = low >> (_32 - room)
    left = rest != _0 or kept << (_32 - room) != low
    return shifted | kept | np.uint64(left), place


@compiled
def tensor_scale(significand, exponent, divisor, unit, single):
    """Return the bits of the float32 nearest to a magnitude / (divisor * 2^unit), not 0 or infinite.

    single: the fields of float32.
    """
    significand, exponent = _divide(significand, exponent, divisor, unit)
    mode = Mode(TIES_TO_EVEN, SATURATE, NAN_ZERO, 32)
    return max(pack(FINITE, False, significand, exponent, single, mode, _0), _1)


def scale_of_tensor(tops, fmt, source, single) -> np.float32:
    """Return the float32 scale of a tensor from the largest magnitudes of its rows, those that are finite.

    tops: as `largest` writes them; source, single: fields of theirs and of float32.
    """
    bits = int(tops.max(initial=0, where=tops <= source.max_code))
    if bits == 0:
        return np.float32(1)
    _, _, top, place = unpack(np.uint64(bits), source)
    # the largest scale times the largest element, as an integer times a power of two
    f, m = block_fields(fmt), fmt.scale.mantissa_bits
    field, mantissa = divmod(fmt.scale.max_code, 1 << m)
    divisor = ((1 << m) + mantissa) * (int(f.top_significand) >> 56)
    unit = field - fmt.scale.bias - m + f.top_exponent - 7
    bits = tensor_scale(np.uint64(top), place, np.uint64(divisor), unit, single)
    return np.uint32(bits).view(np.float32)


@compiled
def _divisor(f, tensor_bits):
    """Return the tensor scale as integer and unit, how many bits scales have, and scale * largest element."""
    tensor, unit, bits = _1, 0, 24
    if tensor_bits != _0:
        tensor, unit = _float32(tensor_bits)
        bits = 8
    top, top_unit = _times(tensor, unit, f.top_significand, f.top_exponent, bits)
    return tensor, unit, bits, top, top_unit


@compiled
def two_level_scales(tops, scales, source, f, tensor_bits, one, least, given):
    """Write the scale code of each row with this largest magnitude under a tensor scale, or without one.

    tops: as `largest` writes them; the others: as for `encode_two_levels`.
    """
    nearest = Mode(TIES_TO_EVEN, SATURATE, NAN_ZERO, 32)
    _, _, _, divisor, unit = _divisor(f, tensor_bits)
    for row in range(tops.size):
        kind, _, top, place = unpack(np.uint64(tops[row]), source)
        if kind > FINITE:
            scales[row] = f.scale.nan_code
        elif not given:
            scale = one
            if top != _0:
                significand, exponent = _divide(top, place, divisor, unit)
                scale = max(pack(FINITE, False, significand, exponent, f.scale, nearest, _0), least)
            scales[row] = scale if scale != _0 else one


@compiled
def encode_two_levels(x, codes, scales, source, f, tensor_bits, one, least, given, mode, words):
    """Write element codes and scale codes of each row under a tensor scale (NVFP4), or without one.

    As `encode`; tensor_bits: bits of a positive float32 (uint64), 0 for none, where scales may have 24 bits;
    one: the code of the scale of zeros, and where it rounds to zero; least: that of the least scale of others;
    given: whether scales are read.
    """
    mode = Mode(mode.rounding, SATURATE, NAN_ZERO, mode.random_bits)
    tensor, unit, bits, _, _ = _divisor(f, tensor_bits)
    tops = np.empty(x.shape[0], x.dtype)
    largest(x, tops, source)
    two_level_scales(tops, scales, source, f, tensor_bits, one, least, given)
    for row in range(x.shape[0]):
        if np.int64(scales[row]) == f.scale.nan_code:
            codes[row, :] = 0
            continue
        _, _, significand, exponent = unpack(np.uint64(scales[row]), f.scale)
        factor, factor_unit = _times(tensor, unit, significand, exponent, bits)
        for i in range(x.shape[1]):
            kind, negative, significand, exponent = unpack(np.uint64(x[row, i]), source)
            if kind == FINITE:
                significand, exponent = _divide(significand, exponent, factor, factor_unit)
            random = _random_integer(words[row], i, mode)
            codes[row, i] = pack(kind, negative, significand, exponent, f.grid, mode, random)
