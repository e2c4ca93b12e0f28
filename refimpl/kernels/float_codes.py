"""Decode, encode and quantize arrays; the definitions are `refimpl.spec.float_codes`.

This is the general path: every format, every mode, any floating-point or integer input, in integer
arithmetic alone, so that it also holds where the machine flushes subnormals to zero.  An input of
16, 32 or 64 bits is a code of its own format, hence one pair of functions does everything:

    unpack: code -> (kind, negative, significand, exponent)
    pack:   (kind, negative, significand, exponent) -> code, rounding once

*Notation*: a positive finite value is significand * 2^(exponent - 63) with an integer significand
from 2^63 to 2^64 - 1.  `dropped` is how many of its low bits the target has no room for.
The fast paths are in `refimpl.kernels.float_bits` and, for float32 alone, `refimpl.kernels.float32_codes`.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from refimpl.kernels._compiled import compiled, intrinsic

ROUNDINGS = (
    "ties_to_even",
    "ties_to_away",
    "toward_zero",
    "toward_positive",
    "toward_negative",
    "to_odd",
    "stochastic",
    "stochastic_a",
    "stochastic_b",
    "stochastic_c",
)
(
    TIES_TO_EVEN,
    TIES_TO_AWAY,
    TOWARD_ZERO,
    TOWARD_POSITIVE,
    TOWARD_NEGATIVE,
    TO_ODD,
    STOCHASTIC,
    STOCHASTIC_A,
    STOCHASTIC_B,
    STOCHASTIC_C,
) = range(10)
OVERFLOWS = ("overflow", "saturate", "propagate")
OVERFLOW, SATURATE, PROPAGATE = range(3)
NAN_RULES = ("zero", "max")  # "raise" is the caller's business
NAN_ZERO, NAN_MAX = range(2)
ZERO, FINITE, INFINITE, NAN = range(4)  # kinds
P3109_EXTENDED, P3109_FINITE = 1, 2  # families in which an overflow goes by other rules


class FloatFields(NamedTuple):
    """A FloatFormat as plain integers; codes are magnitude codes, and -1 stands for none."""

    mantissa_bits: int
    min_exponent: int
    sign_shift: int  # position of the sign bit, -1 for unsigned
    max_code: int
    infinity_code: int
    nan_code: int
    nan_has_sign: int
    has_minus_zero: int
    has_zero: int
    has_subnormals: int
    p3109: int  # 0, or P3109_EXTENDED or P3109_FINITE


class Mode(NamedTuple):
    """How to round: indices into ROUNDINGS, OVERFLOWS, NAN_RULES, and N of stochastic A, B, C."""

    rounding: int
    overflow: int
    nan: int
    random_bits: int


def fields(fmt) -> FloatFields:
    """Return the FloatFields of a FloatFormat."""
    return FloatFields(
        fmt.mantissa_bits,
        fmt.min_exponent,
        fmt.exponent_bits + fmt.mantissa_bits if fmt.signed else -1,
        fmt.max_code,
        -1 if fmt.infinity_code is None else fmt.infinity_code,
        # the one NaN of fnuz and P3109 sits at the code of minus zero; -2 says so
        -1 if fmt.nan_code is None else -2 if fmt.nan_code == fmt.sign_mask != 0 else fmt.nan_code,
        int(fmt.nan_has_sign),
        int(fmt.has_minus_zero),
        int(fmt.has_zero),
        int(fmt.has_subnormals),
        {"p3109_extended": P3109_EXTENDED, "p3109_finite": P3109_FINITE}.get(fmt.specials, 0),
    )


def mode(rounding="ties_to_even", overflow="overflow", nan="zero", random_bits=32) -> Mode:
    """Return the Mode of names of modes."""
    return Mode(ROUNDINGS.index(rounding), OVERFLOWS.index(overflow), NAN_RULES.index(nan), random_bits)


_0, _1, _32, _63, _64 = (np.uint64(k) for k in (0, 1, 32, 63, 64))
_HALF = np.uint64(1 << 63)


# -- code to value ---------------------------------------------------------------------------------


def _leading_zeros(x):
    return np.uint64(64 - int(x).bit_length())


@intrinsic(_leading_zeros)
def leading_zeros(typing, x):
    """Count the zeros above the highest bit of a uint64: one machine instruction."""

    def generate(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@compiled
def normalise(significand, exponent):
    """Shift a significand above 0 up to its highest bit; the value stays."""
    zeros = leading_zeros(significand)
    return significand << zeros, exponent - np.int64(zeros)


@compiled
def unpack(code, f):
    """Return kind, negative, significand and exponent of a code (uint64)."""
    negative = f.sign_shift >= 0 and (code >> np.uint64(max(f.sign_shift, 0))) & _1 != _0
    if f.nan_code == -2 and code == _1 << np.uint64(f.sign_shift):
        return NAN, False, _0, 0
    magnitude_code = code & ~_sign(True, f)
    if magnitude_code > np.uint64(f.max_code):
        if np.int64(magnitude_code) == f.infinity_code:
            return INFINITE, negative, _0, 0
        return NAN, negative, _0, 0
    m = np.uint64(f.mantissa_bits)
    field = np.int64(magnitude_code >> m)
    significand = magnitude_code & ((_1 << m) - _1)
    if f.has_zero and field == 0:
        if significand == _0 or not f.has_subnormals:
            return ZERO, negative, _0, 0
        field = 1
    else:
        significand |= _1 << m
    exponent = field - (1 if f.has_zero else 0) + f.min_exponent
    significand, exponent = normalise(significand << (_63 - m), exponent)
    return FINITE, negative, significand, exponent


# -- value to code ---------------------------------------------------------------------------------


@compiled
def pack(kind, negative, significand, exponent, f, mode, random):
    """Return the code of a value, rounded once."""
    if kind == NAN:
        return _code_of_nan(negative, f, mode.nan)
    if kind == INFINITE:
        return _code_of_overflow(negative, f, TIES_TO_EVEN, mode.overflow, False)
    if kind == ZERO:
        return _code_of_zero(negative, f, mode.overflow)
    code = round_to_precision(significand, exponent, negative, f, mode, random)
    if negative and f.sign_shift < 0:
        toward_zero = mode.rounding == TOWARD_ZERO or mode.rounding == TOWARD_POSITIVE
        return _code_of_negative_in_unsigned(code, f, SATURATE if f.p3109 and toward_zero else mode.overflow)
    if code > np.uint64(f.max_code):
        return _code_of_overflow(negative, f, mode.rounding, mode.overflow, True)
    if code == _0 and f.has_zero:
        return _code_of_zero(negative, f, mode.overflow)
    return code | _sign(negative, f)


@compiled
def round_to_precision(significand, exponent, negative, f, mode, random):
    """Return the magnitude code of the value, rounded; max_code + 1 for everything beyond it."""
    m = np.uint64(f.mantissa_bits)
    below_normals = exponent < f.min_exponent
    if below_normals and not f.has_zero:
        return _0
    whole_binade = below_normals and not f.has_subnormals
    dropped = _63 + np.uint64(max(f.min_exponent - exponent, 0))
    if not whole_binade:
        dropped -= m
    # f = lower and nu = fraction / 2^64, plus something smaller if sticky
    if dropped < _64:
        lower, fraction, sticky = significand >> dropped, significand << (_64 - dropped), False
    elif dropped == _64:
        lower, fraction, sticky = _0, significand, False
    elif dropped < np.uint64(128):
        lower, fraction = _0, significand >> (dropped - _64)
        sticky = fraction << (dropped - _64) != significand
    else:
        lower, fraction, sticky = _0, _0, True
    if whole_binade:
        even = lower & _1 == _0
        up = round_away(even, fraction, sticky, negative, mode, random)
        return (lower + np.uint64(up)) << m
    binade = max(exponent - f.min_exponent, 0)
    if binade > f.max_code >> f.mantissa_bits:  # and no shifting of what may not fit
        return np.uint64(f.max_code) + _1
    code = (np.uint64(binade) << m) + lower
    if not f.has_zero:
        code -= _1 << m
    even = f.has_zero != 0 and code & _1 == _0
    return code + np.uint64(round_away(even, fraction, sticky, negative, mode, random))


@compiled
def round_away(even, fraction, sticky, negative, mode, random):
    """Decide whether the magnitude goes up; random: uint64 below 2^random_bits."""
    rounding = mode.rounding
    if rounding == TIES_TO_EVEN:  # a fraction of one half has all its bits: nothing sticks there
        return fraction > _HALF or (fraction == _HALF and not even)
    if rounding == TIES_TO_AWAY:
        return fraction >= _HALF
    if rounding == TOWARD_ZERO:
        return False
    some = fraction != _0 or sticky
    if rounding == TOWARD_POSITIVE:
        return some and not negative
    if rounding == TOWARD_NEGATIVE:
        return some and negative
    if rounding == TO_ODD:
        return some and even
    n = np.uint64(mode.random_bits)
    if rounding == STOCHASTIC_B:
        return (fraction >> (_63 - n)) + (random << _1) + _1 >= _1 << (n + _1)
    head = fraction >> (_64 - n)
    if rounding == STOCHASTIC_C:
        rest = fraction << n
        head += np.uint64(rest > _HALF or (rest == _HALF and (sticky or head & _1 != _0)))
    return head + random >= _1 << n


@compiled
def _sign(negative, f):
    return _1 << np.uint64(f.sign_shift) if negative and f.sign_shift >= 0 else _0


@compiled
def _code_of_nan(negative, f, nan):
    if f.nan_code == -2:
        return _1 << np.uint64(f.sign_shift)
    if f.nan_code >= 0:
        return np.uint64(f.nan_code) | _sign(negative and f.nan_has_sign != 0, f)
    if nan == NAN_MAX:
        return np.uint64(f.max_code) | _sign(negative, f)
    return _sign(not negative, f)


@compiled
def _code_of_zero(negative, f, overflow):
    if not f.has_zero:
        return np.uint64(f.nan_code) if overflow == OVERFLOW else _0
    return _sign(negative and f.has_minus_zero != 0, f)


@compiled
def _code_of_negative_in_unsigned(rounded, f, overflow):
    if rounded == _0 and f.has_zero:
        return _0
    return np.uint64(f.nan_code) if overflow == OVERFLOW and f.nan_code >= 0 else _0


@compiled
def _code_of_overflow(negative, f, rounding, overflow, finite):
    if negative and f.sign_shift < 0:
        return _code_of_negative_in_unsigned(_1, f, overflow)
    sign = _sign(negative, f)
    largest = np.uint64(f.max_code) | sign
    toward_zero = rounding == TOWARD_ZERO or rounding == (TOWARD_POSITIVE if negative else TOWARD_NEGATIVE)
    if overflow == SATURATE or (overflow == PROPAGATE and finite):
        return largest
    if finite and toward_zero:
        return largest
    odd = f.max_code % 2 != 0 and (f.p3109 == 0 or f.sign_shift < 0)  # P3109 goes by the signedness
    if finite and rounding == TO_ODD and (f.infinity_code < 0 or odd):
        return largest
    if f.infinity_code >= 0:
        return np.uint64(f.infinity_code) | sign
    if overflow == PROPAGATE or f.p3109 == P3109_FINITE or f.nan_code == -1:
        return largest
    return _code_of_nan(negative, f, NAN_ZERO)


# -- arrays ----------------------------------------------------------------------------------------


@compiled
def _random_integer(words, i, mode):
    """Return the leading random_bits bits of word i; 0 where there are no words."""
    if mode.rounding < STOCHASTIC:
        return _0
    return np.uint64(words[i]) >> (_32 - np.uint64(mode.random_bits))


@compiled
def encode(x, codes, source, f, mode, words):
    """Write the code of each x into codes.

    x: bits of floats, unsigned (n,), of the format with the fields `source`; codes: unsigned (n,);
    words: uint32 (n,), one random word for each element, of any length where no mode asks.
    """
    for i in range(x.size):
        kind, negative, significand, exponent = unpack(np.uint64(x[i]), source)
        random = _random_integer(words, i, mode)
        codes[i] = pack(kind, negative, significand, exponent, f, mode, random)


@compiled
def encode_integers(x, codes, f, mode, words):
    """Write the code of each integer of x (int64 or uint64 (n,)) into codes, rounded once."""
    for i in range(x.size):
        value = x[i]
        negative = value < 0
        magnitude = np.uint64(-value) if negative else np.uint64(value)  # -2^63 wraps onto itself
        kind = FINITE if magnitude != _0 else ZERO
        significand, exponent = normalise(magnitude, 63)
        random = _random_integer(words, i, mode)
        codes[i] = pack(kind, negative, significand, exponent, f, mode, random)


@compiled
def decode(codes, x, f, target):
    """Write the value of each code (unsigned (n,)) into x, bits of floats with fields `target`.

    Where the target has no such value it is rounded to it, ties to even.
    """
    nearest = Mode(TIES_TO_EVEN, OVERFLOW, NAN_ZERO, 32)
    for i in range(codes.size):
        kind, negative, significand, exponent = unpack(np.uint64(codes[i]), f)
        x[i] = pack(kind, negative, significand, exponent, target, nearest, _0)


@compiled
def quantize(x, out, source, f, mode, words):
    """Round each x to the format and write it into out, both bits of floats with fields `source`."""
    nearest = Mode(TIES_TO_EVEN, OVERFLOW, NAN_ZERO, 32)
    for i in range(x.size):
        kind, negative, significand, exponent = unpack(np.uint64(x[i]), source)
        random = _random_integer(words, i, mode)
        code = pack(kind, negative, significand, exponent, f, mode, random)
        kind, negative, significand, exponent = unpack(code, f)
        out[i] = pack(kind, negative, significand, exponent, source, nearest, _0)


@compiled
def first_beyond(codes, f, target):
    """Return the index of the first finite code whose value the target does not hold, or -1."""
    exact = Mode(TOWARD_ZERO, OVERFLOW, NAN_ZERO, 32)
    for i in range(codes.size):
        kind, negative, significand, exponent = unpack(np.uint64(codes[i]), f)
        if kind == FINITE:
            held = pack(kind, negative, significand, exponent, target, exact, _0)
            if unpack(held, target) != (kind, negative, significand, exponent):
                return i
    return -1
