"""Float32 on its bits, without branches, at about the speed of memory.

Serves formats that `fits_float32`, ties to even here and stochastic rounding in
`refimpl.kernels.float32_stochastic`; other modes, types and formats are `refimpl.kernels.float_bits`' affair.
Integer arithmetic but for one conversion.

*Notation*: a float32 magnitude is significand * 2^exponent with an integer significand; `dropped` is
how many of its low bits the target format has no room for.
"""

from typing import NamedTuple

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels._memory import copy

FAST_PATH_OF = "float_codes"

_U1, _U23, _U31, _U32 = np.uint32(1), np.uint32(23), np.uint32(31), np.uint32(32)
_SIGN32 = np.uint32(0x80000000)
_MAGNITUDE32 = np.uint32(0x7FFFFFFF)
_HIDDEN32 = np.uint32(0x00800000)
_INFINITY32 = np.uint32(0x7F800000)
_NAN32 = np.uint32(0x7FC00000)
_FRACTION32 = np.uint32(0x007FFFFF)

BLOCK = 1024  # elements worked on at a time where something is kept in between: whole groups of words


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
    addend: np.uint32  # `dropped` as an exponent, where rounding by addition serves; else 0
    scales: np.uint32  # 1 where stochastic rounding may divide by the step


def fits_float32(fmt) -> bool:
    """Tell whether the fast path serves a FloatFormat: its grid lies within float32's.

    Its subnormals have to be normal numbers of float32, which no machine flushes to zero, or to
    begin where those of float32 begin, so that they need no arithmetic.
    """
    return (
        fmt.signed
        and fmt.has_subnormals
        and fmt.mantissa_bits <= 22
        and -126 <= fmt.min_exponent <= 127
        and (fmt.min_exponent == -126 or fmt.min_exponent - fmt.mantissa_bits >= -126)
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
        addend=np.uint32(_addend(fmt)),
        scales=np.uint32(_scales(fmt)),
        dropped=np.uint32(23 - fmt.mantissa_bits),
        min_exponent_field=np.uint32(fmt.min_exponent + 127),
        # Where the normals begin with those of float32 nothing needs it, and a product with a float32
        # subnormal, though not used, would take ten times as long.
        smallest_subnormal=np.float32(
            2.0 ** (fmt.min_exponent - fmt.mantissa_bits) if fmt.min_exponent > -126 else 1.0
        ),
        max_bits=largest,
        overflow_bits=largest if overflow == "propagate" else beyond,
        infinity_bits=beyond,
        nan_bits=of_nan,
        nan_sign_flip=_SIGN32 if of_nan == 0 else np.uint32(0),
        nan_sign_mask=_SIGN32 if fmt.nan_has_sign else np.uint32(0),
        zero_sign_mask=_SIGN32 if fmt.has_minus_zero else np.uint32(0),
    )


def _scales(fmt) -> bool:
    """Tell whether `_stochastic_by_scaling` serves: a float32 subnormal has no bit it would see."""
    return fmt.mantissa_bits >= 1 and fmt.min_exponent - fmt.mantissa_bits - 32 >= -126


def _addend(fmt) -> int:
    """Return the dropped bits as a float32 exponent where `_sum_with_power` serves, else 0."""
    dropped = 23 - fmt.mantissa_bits
    serves = (
        fmt.mantissa_bits >= 1  # without mantissa bits ties go by the exponent
        and fmt.min_exponent - fmt.mantissa_bits > -126  # what float32 subnormals give is zero
        and fmt.maxexp + dropped <= 127  # the sum stays finite
    )
    return dropped << 23 if serves else 0


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
    addend: np.uint32  # as in Float32Target
    beyond_bits: np.uint32  # of the float32 power of two above all values


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
                _addend(fmt),
                min(fmt.maxexp + 127, 255) << 23,
            ),
        )
    )


# Numba computes uint32 expressions in 64 bits; the casts after each operation, and the masks on
# the amounts of shifts, let LLVM narrow them again and fill vectors with twice as many elements.


@compiled
def split(bits, t):
    """Return magnitude, exponent field, significand and number of dropped bits of float32 bits."""
    magnitude = np.uint32(bits & _MAGNITUDE32)
    field = np.uint32(magnitude >> _U23)
    field = field if field > _U1 else _U1  # a float32 subnormal: field 1 and no hidden bit
    hidden = _HIDDEN32 if magnitude >= _HIDDEN32 else np.uint32(0)
    significand = np.uint32(np.uint32(magnitude & _FRACTION32) | hidden)
    lowest = t.min_exponent_field
    dropped = np.uint32(t.dropped + ((lowest if lowest > field else field) - field))
    return magnitude, field, significand, dropped


@compiled
def _mend(bits, magnitude, result, t):
    """Return a rounded magnitude with overflow, infinity, NaN and the sign put right."""
    result = t.overflow_bits if result > t.max_bits else result
    result = t.infinity_bits if magnitude == _INFINITY32 else result
    result = t.nan_bits if magnitude > _INFINITY32 else result
    sign = np.uint32(bits & _SIGN32)
    sign = np.uint32(sign ^ t.nan_sign_flip) if magnitude > _INFINITY32 else sign
    sign = np.uint32(sign & t.nan_sign_mask) if result > _INFINITY32 else sign
    sign = np.uint32(sign & t.zero_sign_mask) if result == np.uint32(0) else sign
    return np.uint32(result | sign)


@compiled
def _sum_with_power(magnitude, beyond_bits, t):
    """Return x + M rounded by float32's own addition, M, and the bits of the binade of x.

    M is the power of two whose float32 spacing is that of the format around x.  The addition leaves
    no room for what the format has no room for, and rounds to nearest, ties to even.  M is at least
    twice the power of two below x, so the sum stays in M's binade, and the difference of the two,
    in values as in bits, is exact.  Magnitudes from `beyond_bits` on count as that.
    """
    held = magnitude if magnitude < beyond_bits else beyond_bits
    lowest = np.uint32(t.min_exponent_field << _U23)
    binade = np.uint32(np.uint32(held) & _INFINITY32)
    binade = binade if binade > lowest else lowest
    power = np.uint32(binade + t.addend).view(np.float32)
    return np.float32(np.uint32(held).view(np.float32) + power), power, binade


@compiled
def _by_addition(bits, t):
    """Return float32 bits rounded to nearest even, for a target with an addend."""
    magnitude = np.uint32(bits & _MAGNITUDE32)
    beyond_bits = np.uint32(np.uint32(t.max_bits & _INFINITY32) + _HIDDEN32)
    total, power, _ = _sum_with_power(magnitude, beyond_bits, t)
    return _mend(bits, magnitude, np.float32(total - power).view(np.uint32), t)


@compiled
def _rounded_in_place(magnitude, t):
    """Return the bits of a magnitude rounded to nearest even where the binades are float32's."""
    odd = np.uint32(np.uint32(magnitude >> (t.dropped & _U31)) & _U1)
    just_below_half = np.uint32(np.uint32(np.uint32(_U1 << (t.dropped & _U31)) >> _U1) - _U1)
    kept = np.uint32(~np.uint32(np.uint32(_U1 << (t.dropped & _U31)) - _U1))
    return np.uint32(np.uint32(magnitude + just_below_half + odd) & kept)


@compiled
def join(bits, magnitude, field, lower, t):
    """Return the float32 bits of the rounded significand `lower`, special cases mended."""
    # The exponent field counts the hidden bit that `lower` still has: take it off.  A carry out of
    # the significand moves into the exponent by itself.
    normal = np.uint32(np.uint32(field << _U23) + np.uint32(lower << (t.dropped & _U31)) - _HIDDEN32)
    # Neither factor nor product is a float32 subnormal: see fits_float32.
    subnormal = np.float32(np.float32(np.int32(lower)) * t.smallest_subnormal).view(np.uint32)
    result = subnormal if field < t.min_exponent_field else normal
    return _mend(bits, magnitude, result, t)


@compiled
def _nearest(significand, dropped, parity):
    """Return the significand rounded to nearest; on a tie so that it is even, plus a parity."""
    dropped = dropped if dropped < _U31 else _U31  # all of 24 bits is below half already
    dropped = np.uint32(dropped & _U31)
    odd = np.uint32(np.uint32(np.uint32(significand >> dropped) + parity) & _U1)
    just_below_half = np.uint32(np.uint32(np.uint32(_U1 << dropped) >> _U1) - _U1)
    return np.uint32(np.uint32(significand + just_below_half + odd) >> dropped)


@compiled
def _binade(field, t):
    """Return how many binades above the lowest normal one; 0 for what lies below, too."""
    lowest = t.min_exponent_field
    return np.uint32((field if field > lowest else lowest) - lowest)


@compiled
def quantize_ties_to_even(x, out, t):
    """Round x (uint32 (n,), bits of float32) to the format, into out (alike; may be x itself)."""
    if x.ctypes.data != out.ctypes.data:
        _to_even(x, out, t)
        return
    old = np.empty(min(BLOCK, x.size), np.uint32)  # over itself, a loop cannot use vectors
    for start in range(0, x.size, BLOCK):
        part = x[start : start + BLOCK]
        copy(old.ctypes.data, part.ctypes.data, part.size)
        _to_even(old[: part.size], out[start : start + BLOCK], t)  # x may be read-only by type


@compiled
def _to_even(x, out, t):
    if t.addend:
        for i in range(x.size):
            out[i] = _by_addition(x[i], t)
    elif t.dropped == _U23:  # no mantissa bits: the parity of a code is that of its binade
        for i in range(x.size):
            magnitude, field, significand, dropped = split(x[i], t)
            lower = _nearest(significand, dropped, _binade(field, t))
            out[i] = join(x[i], magnitude, field, lower, t)
    elif t.min_exponent_field == _U1:
        for i in range(x.size):
            magnitude = np.uint32(x[i] & _MAGNITUDE32)
            out[i] = _mend(x[i], magnitude, _rounded_in_place(magnitude, t), t)
    else:
        for i in range(x.size):
            magnitude, field, significand, dropped = split(x[i], t)
            lower = _nearest(significand, dropped, np.uint32(0))
            out[i] = join(x[i], magnitude, field, lower, t)


@compiled
def encode_ties_to_even(x, codes, t):
    """Write the code of each x (uint32 (n,), bits of float32) into codes (unsigned (n,))."""
    wide = np.empty(BLOCK, np.uint32)  # 32 bits wide first: narrowing apart takes half the time
    for start in range(0, x.size, BLOCK):
        count = min(BLOCK, x.size - start)
        _encode_block(x[start : start + count], wide, t)
        target = codes[start : start + count]
        for j in range(count):
            target[j] = wide[j]


@compiled
def _encode_block(x, codes, t):
    if t.addend:
        for i in range(x.size):
            magnitude = np.uint32(x[i] & _MAGNITUDE32)
            total, power, binade = _sum_with_power(magnitude, t.beyond_bits, t)
            lower = np.uint32(np.float32(total).view(np.uint32) - np.float32(power).view(np.uint32))
            above = np.uint32(np.uint32(binade >> _U23) - t.min_exponent_field)
            codes[i] = _code(x[i], magnitude, above, lower, t)
        return
    if t.min_exponent_field == _U1 and t.dropped < _U23:
        for i in range(x.size):
            magnitude = np.uint32(x[i] & _MAGNITUDE32)
            lower = np.uint32(_rounded_in_place(magnitude, t) >> (t.dropped & _U31))
            codes[i] = _code(x[i], magnitude, np.uint32(0), lower, t)
        return
    if t.dropped == _U23:  # no mantissa bits: the parity of a code is that of its binade
        for i in range(x.size):
            magnitude, field, significand, dropped = split(x[i], t)
            binade = _binade(field, t)
            codes[i] = _code(x[i], magnitude, binade, _nearest(significand, dropped, binade), t)
        return
    for i in range(x.size):
        magnitude, field, significand, dropped = split(x[i], t)
        lower = _nearest(significand, dropped, np.uint32(0))
        codes[i] = _code(x[i], magnitude, _binade(field, t), lower, t)


@compiled
def _code(bits, magnitude, binade, lower, t):
    """Return the code of the rounded significand `lower`, special cases mended."""
    # lower counts the hidden bit, and so is the distance from the code at which its binade begins
    code = np.uint32(np.uint32(binade << (t.mantissa_bits & _U31)) + lower)
    code = t.overflow_code if code > t.max_code else code
    code = t.infinity_code if magnitude == _INFINITY32 else code
    is_nan = magnitude > _INFINITY32
    code = t.nan_code if is_nan else code
    sign = np.uint32(bits >> _U31)
    sign = np.uint32(sign ^ t.nan_sign_flip) if is_nan else sign
    sign = np.uint32(sign & t.zero_sign_mask) if code == np.uint32(0) else sign
    return np.uint32(code | np.uint32(sign << (t.sign_shift & _U31)))
