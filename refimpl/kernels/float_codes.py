"""Decode, encode and quantize arrays; the definitions are `refimpl.spec.float_codes`.

Two roads.  `encode` and `decode` go through float64 and serve every format and mode.
`quantize_ties_to_even` and `quantize_stochastic` work on the bits of float32 without branches,
at about the speed of memory, for formats that `fits_float32`.

*Notation*: a float32 or float64 magnitude is significand * 2^exponent with an integer
significand; `dropped` is how many of its low bits the target format has no room for.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from refimpl.kernels.random_bits import BLOCK, fill

ROUNDINGS = ("ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative",
             "to_odd", "stochastic")  # fmt: skip
TIES_TO_EVEN, TIES_TO_AWAY, TOWARD_ZERO, TOWARD_POSITIVE, TOWARD_NEGATIVE, TO_ODD, STOCHASTIC = (
    range(7)
)
OVERFLOWS = ("overflow", "saturate", "propagate")
OVERFLOW, SATURATE, PROPAGATE = range(3)
NAN_RULES = ("zero", "max")  # "raise" is the caller's business
NAN_ZERO, NAN_MAX = range(2)


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
    overflows_to_max: int  # finite by its standard: overflow gives the largest value, not NaN


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
        fmt.nan_has_sign,
        fmt.has_minus_zero,
        fmt.has_zero,
        fmt.has_subnormals,
        fmt.specials == "p3109_finite",
    )


_0, _1, _32, _52 = np.uint64(0), np.uint64(1), np.uint64(32), np.uint64(52)
_HIDDEN64 = np.uint64(1 << 52)
_FRACTION64 = np.uint64((1 << 52) - 1)


@njit(cache=True, error_model="numpy")
def _sign(negative, f):
    return _1 << np.uint64(f.sign_shift) if negative and f.sign_shift >= 0 else _0


@njit(cache=True, error_model="numpy")
def _code_of_nan(negative, f, nan):
    if f.nan_code == -2:
        return _1 << np.uint64(f.sign_shift)
    if f.nan_code >= 0:
        return np.uint64(f.nan_code) | _sign(negative and f.nan_has_sign, f)
    if nan == NAN_MAX:
        return np.uint64(f.max_code) | _sign(negative, f)
    return _sign(not negative, f)


@njit(cache=True, error_model="numpy")
def _code_of_zero(negative, f, overflow):
    if not f.has_zero:
        return np.uint64(f.nan_code) if overflow == OVERFLOW else _0
    return _sign(negative and f.has_minus_zero, f)


@njit(cache=True, error_model="numpy")
def _code_of_negative_in_unsigned(rounded, f, overflow):
    if rounded == 0 and f.has_zero:
        return _0
    return np.uint64(f.nan_code) if overflow == OVERFLOW and f.nan_code >= 0 else _0


@njit(cache=True, error_model="numpy")
def _code_of_overflow(negative, f, rounding, overflow, finite):
    if negative and f.sign_shift < 0:
        return _code_of_negative_in_unsigned(1, f, overflow)
    sign = _sign(negative, f)
    largest = np.uint64(f.max_code) | sign
    toward_zero = rounding == TOWARD_ZERO or rounding == (
        TOWARD_POSITIVE if negative else TOWARD_NEGATIVE
    )
    if overflow == SATURATE or (overflow == PROPAGATE and finite):
        return largest
    if finite and toward_zero:
        return largest
    if finite and rounding == TO_ODD and (f.infinity_code < 0 or f.max_code % 2):
        return largest
    if f.infinity_code >= 0:
        return np.uint64(f.infinity_code) | sign
    if overflow == PROPAGATE or f.overflows_to_max or f.nan_code == -1:
        return largest
    return _code_of_nan(negative, f, NAN_ZERO)


@njit(cache=True, error_model="numpy")
def round_to_precision(significand, exponent, negative, f, rounding, random):
    """Return the magnitude code of significand * 2^(exponent - 52), 53-bit and normalised."""
    below_normals = exponent < f.min_exponent
    if below_normals and not f.has_zero:
        return _0
    whole_binade = below_normals and not f.has_subnormals
    dropped = _52 + np.uint64(max(f.min_exponent - exponent, 0))
    if not whole_binade:
        dropped -= np.uint64(f.mantissa_bits)
    # nu = rest / 2^dropped, reduced to what the modes ask: against 1/2, and its first 32 bits
    if dropped == 0:
        lower, above_half, half, some, first_bits = significand, False, False, False, _0
    elif dropped < 64:
        lower = significand >> dropped
        rest = significand & ((_1 << dropped) - _1)
        middle = _1 << (dropped - _1)
        above_half, half, some = rest > middle, rest == middle, rest != 0
        first_bits = rest << (_32 - dropped) if dropped <= 32 else rest >> (dropped - _32)
    else:
        lower, above_half, half, some = _0, False, False, True
        first_bits = significand >> (dropped - _32) if dropped < 96 else _0
    if whole_binade:
        code = lower
        even = lower % np.uint64(2) == 0
    else:
        binade = np.uint64(max(exponent, f.min_exponent) - f.min_exponent)
        code = (binade << np.uint64(f.mantissa_bits)) + lower
        if not f.has_zero:
            code -= _1 << np.uint64(f.mantissa_bits)
        even = f.has_zero and code % np.uint64(2) == 0
    if rounding == TIES_TO_EVEN:
        away = above_half or (half and not even)
    elif rounding == TIES_TO_AWAY:
        away = above_half or half
    elif rounding == TOWARD_ZERO:
        away = False
    elif rounding == TOWARD_POSITIVE:
        away = some and not negative
    elif rounding == TOWARD_NEGATIVE:
        away = some and negative
    elif rounding == TO_ODD:
        away = some and even
    else:
        away = (first_bits + np.uint64(random)) >> _32 != 0
    code += np.uint64(away)
    return code << np.uint64(f.mantissa_bits) if whole_binade else code


@njit(cache=True, error_model="numpy")
def _encode_one(bits, f, rounding, overflow, nan, random):
    negative = bits >> np.uint64(63) != 0
    field = np.int64((bits >> _52) & np.uint64(0x7FF))
    significand = bits & _FRACTION64
    if field == 0x7FF:
        if significand:
            return _code_of_nan(negative, f, nan)
        return _code_of_overflow(negative, f, TIES_TO_EVEN, overflow, False)
    exponent = field - 1023
    if field:
        significand |= _HIDDEN64
    elif significand == 0:
        return _code_of_zero(negative, f, overflow)
    else:  # a float64 subnormal: normalise
        exponent = -1022
        while significand < _HIDDEN64:
            significand <<= _1
            exponent -= 1
    code = round_to_precision(significand, exponent, negative, f, rounding, random)
    if negative and f.sign_shift < 0:
        return _code_of_negative_in_unsigned(code, f, overflow)
    if code > np.uint64(f.max_code):
        return _code_of_overflow(negative, f, rounding, overflow, True)
    if code == 0 and f.has_zero:
        return _code_of_zero(negative, f, overflow)
    return code | _sign(negative, f)


@njit(cache=True, error_model="numpy")
def encode(x, codes, f, rounding, overflow, nan, random):
    """Write the code of each x (float64 (n,)) into codes (unsigned (n,)).

    random: uint32 (n,), read by stochastic rounding alone; otherwise of any length.
    """
    bits = x.view(np.uint64)
    for i in range(x.size):
        word = random[i] if rounding == STOCHASTIC else np.uint32(0)
        codes[i] = _encode_one(bits[i], f, rounding, overflow, nan, word)


@njit(cache=True, error_model="numpy")
def decode(codes, x, f):
    """Write the value of each code (uint64 (n,)) into x (float64 (n,)), rounded to float64."""
    mantissa_mask = (_1 << np.uint64(f.mantissa_bits)) - _1
    for i in range(codes.size):
        code = codes[i]
        negative = f.sign_shift >= 0 and (code >> np.uint64(max(f.sign_shift, 0))) & _1 != 0
        if f.nan_code == -2 and code == _1 << np.uint64(f.sign_shift):
            x[i] = np.nan
            continue
        magnitude_code = code & ~_sign(True, f)
        if magnitude_code <= np.uint64(f.max_code):
            field = np.int64(magnitude_code >> np.uint64(f.mantissa_bits))
            significand = magnitude_code & mantissa_mask
            if f.has_zero and field == 0:
                value = np.float64(significand) if f.has_subnormals else 0.0
                field = 1
            else:
                value = np.float64(significand + mantissa_mask + _1)
            first = 1 if f.has_zero else 0
            value = _scale(value, field - first + f.min_exponent - f.mantissa_bits)
        elif np.int64(magnitude_code) == f.infinity_code:
            value = np.inf
        else:
            value = np.nan
        x[i] = -value if negative else value


@njit(cache=True, error_model="numpy")
def _scale(value, exponent):
    """Return value * 2^exponent for an integer value below 2^53, rounded once."""
    # Two factors, each a normal power of two: the first product is exact, so one rounding.
    first = min(max(exponent, -1000), 900)
    second = min(max(exponent - first, -1022), 1000)
    return value * 2.0**first * 2.0**second


# -- float32 in, float32 out, on the bits --------------------------------------------------------

_U1, _U23, _U31, _U32 = np.uint32(1), np.uint32(23), np.uint32(31), np.uint32(32)
_SIGN32 = np.uint32(0x80000000)
_MAGNITUDE32 = np.uint32(0x7FFFFFFF)
_HIDDEN32 = np.uint32(0x00800000)
_INFINITY32 = np.uint32(0x7F800000)
_NAN32 = np.uint32(0x7FC00000)
_FRACTION32 = np.uint32(0x007FFFFF)


class Float32Target(NamedTuple):
    """What rounding float32 to a format needs to know; `_bits` are those of a float32 magnitude."""

    dropped: np.uint32  # mantissa bits a normal value loses
    min_exponent_field: np.uint32  # of float32: min_exponent + 127
    smallest_subnormal: np.float32
    max_bits: np.uint32  # the largest value; infinity where float32 cannot hold it
    overflow_bits: np.uint32  # what a finite overflow gives
    infinity_bits: np.uint32  # what an infinity gives
    nan_bits: np.uint32  # what a NaN gives
    nan_sign_flip: np.uint32  # the sign bit where NaN becomes a zero of the other sign
    nan_sign_mask: np.uint32  # the sign bit where a NaN has one
    zero_sign_mask: np.uint32  # the sign bit where a zero has one


def fits_float32(fmt) -> bool:
    """Tell whether the branch-free road serves a FloatFormat: its grid lies within float32's.

    Without mantissa bits the parity that ties go by is that of the exponent, which the road does
    not look at.
    """
    return (
        fmt.signed
        and fmt.has_subnormals
        and 1 <= fmt.mantissa_bits <= 22
        and -126 <= fmt.min_exponent <= 127
        and fmt.min_exponent - fmt.mantissa_bits >= -149
    )


def float32_target(fmt, overflow: str = "overflow", nan: str = "zero") -> Float32Target:
    """Return the Float32Target of a FloatFormat that `fits_float32`, for a mode that is not directed."""
    with np.errstate(over="ignore"):
        largest = np.float32(fmt.max).view(np.uint32)
    beyond = largest
    if overflow != "saturate" and fmt.infinity_code is not None:
        beyond = _INFINITY32
    elif overflow == "overflow" and fmt.nan_code is not None and fmt.specials != "p3109_finite":
        beyond = _NAN32
    of_nan = {"zero": np.uint32(0), "max": largest}[nan] if fmt.nan_code is None else _NAN32
    return Float32Target(
        dropped=np.uint32(23 - fmt.mantissa_bits),
        min_exponent_field=np.uint32(fmt.min_exponent + 127),
        smallest_subnormal=np.float32(2.0 ** (fmt.min_exponent - fmt.mantissa_bits)),
        max_bits=largest,
        overflow_bits=largest if overflow == "propagate" else beyond,
        infinity_bits=beyond,
        nan_bits=of_nan,
        nan_sign_flip=_SIGN32 if of_nan == 0 else np.uint32(0),
        nan_sign_mask=_SIGN32 if fmt.nan_has_sign else np.uint32(0),
        zero_sign_mask=_SIGN32 if fmt.has_minus_zero else np.uint32(0),
    )


# Numba computes uint32 expressions in 64 bits; the casts after each operation, and the masks on
# the amounts of shifts, let LLVM narrow them again and fill vectors with twice as many elements.


@njit(cache=True, error_model="numpy")
def _split(bits, t):
    """Return magnitude, exponent field, significand and number of dropped bits of float32 bits."""
    magnitude = np.uint32(bits & _MAGNITUDE32)
    field = np.uint32(magnitude >> _U23)
    field = field if field > _U1 else _U1  # a float32 subnormal: field 1 and no hidden bit
    hidden = _HIDDEN32 if magnitude >= _HIDDEN32 else np.uint32(0)
    significand = np.uint32(np.uint32(magnitude & _FRACTION32) | hidden)
    lowest = t.min_exponent_field
    dropped = np.uint32(t.dropped + ((lowest if lowest > field else field) - field))
    return magnitude, field, significand, dropped


@njit(cache=True, error_model="numpy")
def _join(bits, magnitude, field, lower, t):
    """Return the float32 bits of the rounded significand `lower`, special cases mended."""
    # The exponent field counts the hidden bit that `lower` still has: take it off.  A carry out of
    # the significand moves into the exponent by itself.
    normal = np.uint32(
        np.uint32(field << _U23) + np.uint32(lower << (t.dropped & _U31)) - _HIDDEN32
    )
    subnormal = np.float32(np.float32(np.int32(lower)) * t.smallest_subnormal).view(np.uint32)
    result = subnormal if field < t.min_exponent_field else normal
    result = t.overflow_bits if result > t.max_bits else result
    result = t.infinity_bits if magnitude == _INFINITY32 else result
    result = t.nan_bits if magnitude > _INFINITY32 else result
    sign = np.uint32(bits & _SIGN32)
    sign = np.uint32(sign ^ t.nan_sign_flip) if magnitude > _INFINITY32 else sign
    sign = np.uint32(sign & t.nan_sign_mask) if result > _INFINITY32 else sign
    sign = np.uint32(sign & t.zero_sign_mask) if result == np.uint32(0) else sign
    return np.uint32(result | sign)


@njit(cache=True, error_model="numpy")
def quantize_ties_to_even(x, out, t):
    """Round x (uint32 (n,), bits of float32) to the format, into out (alike; may be x itself)."""
    for i in range(x.size):
        magnitude, field, significand, dropped = _split(x[i], t)
        dropped = dropped if dropped < _U31 else _U31  # all of 24 bits is below half already
        dropped = np.uint32(dropped & _U31)
        odd = np.uint32(np.uint32(significand >> dropped) & _U1)
        just_below_half = np.uint32(np.uint32(np.uint32(_U1 << dropped) >> _U1) - _U1)
        lower = np.uint32(np.uint32(significand + just_below_half + odd) >> dropped)
        out[i] = _join(x[i], magnitude, field, lower, t)


@njit(cache=True, error_model="numpy")
def quantize_stochastic(x, out, t, seed, stream):
    """Round x (uint32 (n,), bits of float32) stochastically; element i takes word i of the stream.

    The magnitude goes up iff floor(nu 2^32) + word >= 2^32, nu being its fraction of a step.
    out: like x, may be x itself; seed, stream: uint64.
    """
    words = np.empty(BLOCK, np.uint32)
    for start in range(0, x.size, BLOCK):
        count = min(BLOCK, x.size - start)
        fill(words[: 4 * ((count + 3) // 4)], np.uint64(start // 4), seed, stream)
        source, target = x[start : start + count], out[start : start + count]
        for j in range(count):
            magnitude, field, significand, dropped = _split(source[j], t)
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
            target[j] = _join(source[j], magnitude, field, lower, t)
