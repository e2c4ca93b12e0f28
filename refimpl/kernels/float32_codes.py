"""Float32 on its bits, without branches, at about the speed of memory.

Serves formats that `fits_float32`, ties to even and stochastic rounding; all else goes the general
road of `refimpl.kernels.float_codes`.  Integer arithmetic but for one conversion.

*Notation*: a float32 magnitude is significand * 2^exponent with an integer significand; `dropped` is
how many of its low bits the target format has no room for.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from refimpl.kernels.random_bits import BLOCK, fill

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
    """Tell whether the fast road serves a FloatFormat: its grid lies within float32's."""
    return (
        fmt.signed
        and fmt.has_subnormals
        and fmt.mantissa_bits <= 22
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


class Float32CodeTarget(NamedTuple):
    """What encoding float32 in a format needs to know; codes are magnitude codes."""

    dropped: np.uint32
    min_exponent_field: np.uint32
    mantissa_bits: np.uint32
    sign_shift: np.uint32
    max_code: np.uint32
    overflow_code: np.uint32
    infinity_code: np.uint32
    nan_code: np.uint32
    nan_sign_flip: np.uint32  # 1 where NaN becomes a zero of the other sign
    zero_sign_mask: np.uint32  # 1 where a zero has a sign


def float32_code_target(fmt, overflow: str = "overflow", nan: str = "zero") -> Float32CodeTarget:
    """Return the Float32CodeTarget of a FloatFormat that `fits_float32`."""
    beyond = fmt.max_code
    if overflow != "saturate" and fmt.infinity_code is not None:
        beyond = fmt.infinity_code
    elif overflow == "overflow" and fmt.nan_code is not None and fmt.specials != "p3109_finite":
        beyond = fmt.nan_code
    of_nan = {"zero": 0, "max": fmt.max_code}[nan] if fmt.nan_code is None else fmt.nan_code
    return Float32CodeTarget(
        *map(
            np.uint32,
            (
                23 - fmt.mantissa_bits,
                fmt.min_exponent + 127,
                fmt.mantissa_bits,
                fmt.exponent_bits + fmt.mantissa_bits,
                fmt.max_code,
                fmt.max_code if overflow == "propagate" else beyond,
                beyond,
                of_nan,
                of_nan == 0,
                fmt.has_minus_zero,
            ),
        )
    )


# Numba computes uint32 expressions in 64 bits; the casts after each operation, and the masks on
# the amounts of shifts, let LLVM narrow them again and fill vectors with twice as many elements.


@njit(cache=True, error_model="numpy", nogil=True)
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


@njit(cache=True, error_model="numpy", nogil=True)
def _join(bits, magnitude, field, lower, t):
    """Return the float32 bits of the rounded significand `lower`, special cases mended."""
    # The exponent field counts the hidden bit that `lower` still has: take it off.  A carry out of
    # the significand moves into the exponent by itself.
    normal = np.uint32(
        np.uint32(field << _U23) + np.uint32(lower << (t.dropped & _U31)) - _HIDDEN32
    )
    # lower * 2^k below the target's normals: as a float32 with k added to its exponent field, or
    # shifted into a float32 subnormal.  (A product would do where no machine flushes subnormals.)
    k = np.int32(np.int32(t.min_exponent_field + t.dropped) - np.int32(150))
    whole = np.float32(np.int32(lower)).view(np.uint32)
    scaled = np.uint32(whole + np.uint32(np.uint32(k) << _U23))
    shifted = np.uint32(lower << np.uint32(np.uint32(k + np.int32(149)) & _U31))
    is_tiny = np.int32(np.int32(whole >> _U23) + k) <= np.int32(0)
    subnormal = shifted if is_tiny or lower == np.uint32(0) else scaled
    result = subnormal if field < t.min_exponent_field else normal
    result = t.overflow_bits if result > t.max_bits else result
    result = t.infinity_bits if magnitude == _INFINITY32 else result
    result = t.nan_bits if magnitude > _INFINITY32 else result
    sign = np.uint32(bits & _SIGN32)
    sign = np.uint32(sign ^ t.nan_sign_flip) if magnitude > _INFINITY32 else sign
    sign = np.uint32(sign & t.nan_sign_mask) if result > _INFINITY32 else sign
    sign = np.uint32(sign & t.zero_sign_mask) if result == np.uint32(0) else sign
    return np.uint32(result | sign)


@njit(cache=True, error_model="numpy", nogil=True)
def _nearest(significand, field, dropped, t):
    """Return the significand rounded to nearest, ties to the even code."""
    dropped = dropped if dropped < _U31 else _U31  # all of 24 bits is below half already
    dropped = np.uint32(dropped & _U31)
    odd = np.uint32(significand >> dropped)
    # Without mantissa bits the parity of a code is that of its exponent field.
    lowest = t.min_exponent_field
    steps = np.uint32((field if field > lowest else lowest) - lowest)
    odd = np.uint32(np.uint32(odd + steps if t.dropped == _U23 else odd) & _U1)
    just_below_half = np.uint32(np.uint32(np.uint32(_U1 << dropped) >> _U1) - _U1)
    return np.uint32(np.uint32(significand + just_below_half + odd) >> dropped)


@njit(cache=True, error_model="numpy", nogil=True)
def quantize_ties_to_even(x, out, t):
    """Round x (uint32 (n,), bits of float32) to the format, into out (alike; may be x itself)."""
    for i in range(x.size):
        magnitude, field, significand, dropped = _split(x[i], t)
        lower = _nearest(significand, field, dropped, t)
        out[i] = _join(x[i], magnitude, field, lower, t)


@njit(cache=True, error_model="numpy", nogil=True)
def encode_ties_to_even(x, codes, t):
    """Write the code of each x (uint32 (n,), bits of float32) into codes (unsigned (n,))."""
    for i in range(x.size):
        magnitude, field, significand, dropped = _split(x[i], t)
        lower = _nearest(significand, field, dropped, t)
        lowest = t.min_exponent_field
        binade = np.uint32((field if field > lowest else lowest) - lowest)
        # max_code + 1 stands for everything beyond, so that no shift runs out of its word
        room = np.uint32(t.max_code >> (t.mantissa_bits & _U31))
        code = np.uint32(np.uint32(binade << (t.mantissa_bits & _U31)) + lower)
        code = np.uint32(t.max_code + _U1) if binade > room else code
        code = t.overflow_code if code > t.max_code else code
        code = t.infinity_code if magnitude == _INFINITY32 else code
        is_nan = magnitude > _INFINITY32
        code = t.nan_code if is_nan else code
        sign = np.uint32(x[i] >> _U31)
        sign = np.uint32(sign ^ t.nan_sign_flip) if is_nan else sign
        sign = np.uint32(sign & t.zero_sign_mask) if code == np.uint32(0) else sign
        codes[i] = np.uint32(code | np.uint32(sign << (t.sign_shift & _U31)))


@njit(cache=True, error_model="numpy", nogil=True)
def quantize_stochastic(x, out, t, seed, stream):
    """Round x (uint32 (n,), bits of float32) stochastically; element i takes word i of the stream.

    The magnitude goes up iff floor(nu 2^32) + word >= 2^32, nu being its fraction of a step.
    out: like x, may be x itself; seed, stream: uint64.
    """
    quantize_stochastic_from(x, out, t, seed, stream, np.uint64(0))


@njit(cache=True, error_model="numpy", nogil=True)
def quantize_stochastic_from(x, out, t, seed, stream, first_counter):
    """Round a part of an array: x[0] takes word 4 * first_counter (uint64)."""
    words = np.empty(BLOCK, np.uint32)
    for start in range(0, x.size, BLOCK):
        count = min(BLOCK, x.size - start)
        fill(words[: 4 * ((count + 3) // 4)], first_counter + np.uint64(start // 4), seed, stream)
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
