"""Arithmetic on arrays of codes; the definitions are `refimpl.spec.arithmetic`.

A number is (kind, negative, significand, exponent), as `refimpl.kernels.float_codes` unpacks it: a
positive finite one is significand * 2^(exponent - 63) with 2^63 <= significand < 2^64.  An operation
takes such numbers and gives one: exact, or *rounded to odd*, the last bit set where something was cut
off.  At least 62 bits are kept.  By the theorem of Boldo and Melquiond rounding that again to p bits
is rounding the exact result, in any mode, if p + 2 <= 62; and p + N + 2 <= 62 for a stochastic
rounding that looks at N bits.  So one body serves floats of at most 25 significant bits and posits,
whatever their range, in integers alone.

*Limits*: significands of operands have at most 30 bits, those of an addend (a product) at most 60.
"""

from typing import NamedTuple

import numpy as np

from refimpl.kernels import float_codes, posits
from refimpl.kernels._compiled import compiled
from refimpl.kernels.float_codes import FINITE, INFINITE, NAN, STOCHASTIC, TOWARD_NEGATIVE, ZERO, FloatFields, normalise
from refimpl.kernels.float_codes import pack as pack_float
from refimpl.kernels.float_codes import unpack as unpack_float
from refimpl.kernels.posits import PositFields
from refimpl.kernels.posits import pack as pack_posit
from refimpl.kernels.posits import unpack as unpack_posit

OPERATIONS = ("add", "sub", "mul", "div", "sqrt", "fma")
ADD, SUB, MUL, DIV, SQRT, FMA = range(6)
LESS, EQUAL, GREATER, UNORDERED = range(4)

_0, _1, _32, _63 = (np.uint64(k) for k in (0, 1, 32, 63))


class Layout(NamedTuple):
    """A format of either sort: one compiled body serves both, and mixtures."""

    is_posit: bool
    float: FloatFields
    posit: PositFields


def layout(fmt, p3109: bool = False) -> Layout:
    """Return the Layout of a FloatFormat or PositFormat; as P3109 sees it, without -0, if so asked."""
    if hasattr(fmt, "nar_code"):
        return Layout(True, FloatFields(*[0] * len(FloatFields._fields)), posits.fields(fmt))
    fields = float_codes.fields(fmt)
    if p3109 and fmt.specials == "ieee":
        fields = fields._replace(p3109=float_codes.P3109_EXTENDED, has_minus_zero=0, nan_has_sign=0)
    return Layout(False, fields, PositFields(0, 0))


@compiled
def unpack(code, f):
    """Return the number of a code (uint64) in a Layout."""
    if f.is_posit:
        return unpack_posit(code, f.posit)
    return unpack_float(code, f.float)


@compiled
def pack(number, f, mode, random):
    """Return the code of a number in a Layout, rounded once."""
    kind, negative, significand, exponent = number
    if f.is_posit:
        return pack_posit(kind, negative, significand, exponent, f.posit)
    return pack_float(kind, negative, significand, exponent, f.float, mode, random)


# -- operations on numbers -------------------------------------------------------------------------


@compiled
def negate(a):
    """Return -a."""
    return a[0], not a[1], a[2], a[3]


@compiled
def add(a, b, toward_negative):
    """Return a + b, to odd; an exact zero is -0 where rounding goes toward negative."""
    a_kind, a_negative, a_significand, a_exponent = a
    b_kind, b_negative, b_significand, b_exponent = b
    if a_kind != FINITE or b_kind != FINITE:
        if a_kind == NAN or b_kind == NAN:
            return NAN, False, _0, 0
        if a_kind == INFINITE:
            if b_kind == INFINITE and a_negative != b_negative:
                return NAN, False, _0, 0
            return a
        if b_kind == INFINITE or a_kind == ZERO and b_kind == FINITE:
            return b
        if b_kind == ZERO and a_kind == FINITE:
            return a
        return ZERO, (a_negative if a_negative == b_negative else toward_negative), _0, 0
    if a_exponent < b_exponent or (a_exponent == b_exponent and a_significand < b_significand):
        a_negative, b_negative = b_negative, a_negative
        a_significand, b_significand = b_significand, a_significand
        a_exponent, b_exponent = b_exponent, a_exponent
    # Both one place down, so that a carry fits; their lowest bits are zeros, see the limits.
    high, low = a_significand >> _1, b_significand >> _1
    distance = a_exponent - b_exponent
    if distance > 63:
        low = _1
    elif distance > 0:
        shift = np.uint64(distance)
        shifted = low >> shift
        low = shifted | np.uint64(shifted << shift != low)
    if a_negative == b_negative:
        total = high + low
    else:
        # `high` is even, so that the difference of it and an odd `low` is odd, on the right side
        total = high - low
        if total == _0:
            return ZERO, toward_negative, _0, 0
    total, exponent = normalise(total, a_exponent + 1)
    return FINITE, a_negative, total, exponent


@compiled
def mul(a, b):
    """Return a * b, exact."""
    a_kind, a_negative, a_significand, a_exponent = a
    b_kind, b_negative, b_significand, b_exponent = b
    negative = a_negative != b_negative
    if a_kind != FINITE or b_kind != FINITE:
        if a_kind == NAN or b_kind == NAN:
            return NAN, False, _0, 0
        if a_kind == INFINITE or b_kind == INFINITE:
            if a_kind == ZERO or b_kind == ZERO:
                return NAN, False, _0, 0
            return INFINITE, negative, _0, 0
        return ZERO, negative, _0, 0
    product = (a_significand >> _32) * (b_significand >> _32)  # from 2^62 to below 2^64
    exponent = a_exponent + b_exponent + 1
    if product >> _63 == _0:
        product <<= _1
        exponent -= 1
    return FINITE, negative, product, exponent


@compiled
def div(a, b):
    """Return a / b, to odd, by long division in two digits of 32 bits."""
    a_kind, a_negative, a_significand, a_exponent = a
    b_kind, b_negative, b_significand, b_exponent = b
    negative = a_negative != b_negative
    if a_kind != FINITE or b_kind != FINITE:
        if a_kind == NAN or b_kind == NAN or (a_kind == b_kind):  # 0 / 0, inf / inf
            return NAN, False, _0, 0
        if a_kind == INFINITE or b_kind == ZERO:
            return INFINITE, negative, _0, 0
        return ZERO, negative, _0, 0
    dividend, divisor = a_significand >> _1, b_significand >> _32
    first = dividend // divisor
    rest = (dividend - first * divisor) << _32
    second = rest // divisor
    quotient = (first << _32) | second | np.uint64(rest != second * divisor)
    quotient, exponent = normalise(quotient, a_exponent - b_exponent)
    return FINITE, negative, quotient, exponent


@compiled
def sqrt(a):
    """Return the root of a, to odd, in two digits of 32 bits (Zimmermann's Karatsuba square root)."""
    kind, negative, significand, exponent = a
    if kind == ZERO:
        return a
    if kind == NAN or negative:
        return NAN, False, _0, 0
    if kind == INFINITE:
        return a
    # 2^(exponent - 63) has a root where the exponent is odd.  Looked for is the root of s * 2^64.
    s = significand if exponent & 1 else significand >> _1
    first = np.uint64(np.sqrt(np.float64(s)))  # s has 32 bits and zeros: a float64
    first -= np.uint64(first * first > s)
    rest = (s - first * first) << np.uint64(31)  # at most 2 first 2^31, and first is below 2^32
    second = rest // first
    # s 2^64 = (first 2^32 + second)^2 + left 2^32 - second^2
    left = (rest - second * first) << _1
    square = second * second
    inexact, over = True, second >> _32 != _0
    if not over:
        over = left < square >> _32 or (left == square >> _32 and square << _32 != _0)
        inexact = left << _32 != square
    root = (first << _32) + second - np.uint64(over)
    return FINITE, False, root | np.uint64(inexact), exponent >> 1


@compiled
def relation(a, b, posit):
    """Return which of LESS, EQUAL, GREATER, UNORDERED holds; NaR equals itself and is the least."""
    if a[0] == NAN or b[0] == NAN:
        if not posit:
            return UNORDERED
        return EQUAL if a[0] == b[0] else LESS if a[0] == NAN else GREATER
    if a[0] == ZERO and b[0] == ZERO:
        return EQUAL
    if a[0] == ZERO or b[0] == ZERO or a[1] != b[1]:
        below = a[1] if a[0] != ZERO else not b[1]
        return LESS if below else GREATER
    if a[0] == b[0] and a[2] == b[2] and a[3] == b[3]:
        return EQUAL
    if a[0] != b[0]:
        larger = a[0] == INFINITE
    else:
        larger = a[3] > b[3] or (a[3] == b[3] and a[2] > b[2])
    return GREATER if larger != a[1] else LESS


# -- arrays ----------------------------------------------------------------------------------------


@compiled
def calculate(operation, a, b, c, codes, fa, fb, fc, f, mode, words, p3109):
    """Write the code of the result of an operation (an index into OPERATIONS) on codes into codes.

    a, b, c, codes: uint64 (n,), an operand the operation does not have being ignored; fa, fb, fc, f: their
    Layouts, f that of codes; words: uint32 (n,), one random word for each element, of any length where no mode
    asks; p3109: whether division by zero is NaN.
    Returns the index of the first result that is NaN, or -1.
    """
    first_nan = -1
    downward = mode.rounding == TOWARD_NEGATIVE and not f.is_posit
    for i in range(codes.size):
        x = unpack(a[i], fa)
        if operation == SQRT:
            exact = sqrt(x)
        elif operation == MUL:
            exact = mul(x, unpack(b[i], fb))
        elif operation == DIV:
            y = unpack(b[i], fb)
            exact = div(x, y)
            if p3109 and y[0] == ZERO:
                exact = NAN, False, _0, 0
        else:
            y = unpack(b[i], fb)
            if operation == FMA:
                x, y = mul(x, y), unpack(c[i], fc)
            exact = add(x, negate(y) if operation == SUB else y, downward)
        random = _0
        if mode.rounding >= STOCHASTIC:
            random = np.uint64(words[i]) >> (_32 - np.uint64(mode.random_bits))
        codes[i] = pack(exact, f, mode, random)
        if exact[0] == NAN and first_nan < 0:
            first_nan = i
    return first_nan


@compiled
def relations(a, b, out, fa, fb):
    """Write the relation of codes a and b (uint64 (n,)) into out (uint8 (n,))."""
    for i in range(out.size):
        out[i] = relation(unpack(a[i], fa), unpack(b[i], fb), fa.is_posit or fb.is_posit)
