"""Posits on arrays; the definitions are `refimpl.spec.posits`.

`pack` writes the bit string of the value as if codes had no end, cuts it, and rounds to even by
what was cut off; that is the rule of the specification, seen from the bits.
The notation (kind, negative, significand, exponent) is that of `refimpl.kernels.float_codes`.
"""

from typing import NamedTuple

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels.float_codes import FINITE, NAN, NAN_ZERO, OVERFLOW, TIES_TO_EVEN, ZERO, Mode, normalise
from refimpl.kernels.float_codes import pack as pack_float
from refimpl.kernels.float_codes import unpack as unpack_float

_0, _1, _63, _64 = (np.uint64(k) for k in (0, 1, 63, 64))
_HALF = np.uint64(1 << 63)


class PositFields(NamedTuple):
    """A PositFormat as plain integers."""

    bits: int
    exponent_bits: int


def fields(fmt) -> PositFields:
    """Return the PositFields of a PositFormat."""
    return PositFields(fmt.bits, fmt.exponent_bits)


@compiled
def unpack(code, f):
    """Return kind, negative, significand and exponent of a code (uint64)."""
    if code == _0:
        return ZERO, False, _0, 0
    nar = _1 << np.uint64(f.bits - 1)
    if code == nar:
        return NAN, False, _0, 0
    negative = code > nar
    if negative:
        code = (nar << _1) - code
    body = code << np.uint64(65 - f.bits)  # the bits behind the sign, to the top; zeros follow
    ones = body >= _HALF
    left, run = normalise(~body if ones else body, 0)  # minus the length of the run
    regime = -run - 1 if ones else run
    # A run to the end of the code leaves nothing: shifting by its bits and one more gives zero.
    used = np.uint64(1 - run)
    rest = body << used if used < _64 else _0
    es = np.uint64(f.exponent_bits)
    exponent = np.int64(rest >> (_64 - es)) if f.exponent_bits > 0 else 0
    significand = _HALF | ((rest << es) >> _1)
    return FINITE, negative, significand, (regime << f.exponent_bits) + exponent


@compiled
def pack(kind, negative, significand, exponent, f):
    """Return the code of a value, rounded once."""
    nar = _1 << np.uint64(f.bits - 1)
    if kind == ZERO:
        return _0
    if kind != FINITE:
        return nar
    regime = exponent >> f.exponent_bits
    if regime >= f.bits - 2:
        code = nar - _1
    elif regime < -(f.bits - 2):
        code = _1
    else:
        es = np.uint64(f.exponent_bits)
        tail = significand << _1  # the fraction, from the top
        sticky = False
        if f.exponent_bits > 0:
            sticky = tail & ((_1 << es) - _1) != _0
            field = np.uint64(exponent - (regime << f.exponent_bits))
            tail = (tail >> es) | (field << (_64 - es))
        if regime >= 0:
            head, length = (_1 << np.uint64(regime + 2)) - np.uint64(2), regime + 2
        else:
            head, length = _1, 1 - regime
        kept = np.uint64(f.bits - 1 - length)
        if kept > _0:
            head = (head << kept) | (tail >> (_64 - kept))
            tail <<= kept
        up = tail > _HALF or (tail == _HALF and (sticky or head & _1 != _0))
        code = min(max(head + np.uint64(up), _1), nar - _1)
    return (nar << _1) - code if negative else code


@compiled
def encode(x, codes, source, f, mode, words):
    """Write the code of each x (bits of floats with fields `source`) into codes (unsigned (n,))."""
    for i in range(x.size):
        kind, negative, significand, exponent = unpack_float(np.uint64(x[i]), source)
        codes[i] = pack(kind, negative, significand, exponent, f)


@compiled
def encode_integers(x, codes, f, mode, words):
    """Write the code of each integer of x (int64 or uint64 (n,)) into codes, rounded once."""
    for i in range(x.size):
        value = x[i]
        negative = value < 0
        magnitude = np.uint64(-value) if negative else np.uint64(value)
        kind = FINITE if magnitude != _0 else ZERO
        significand, exponent = normalise(magnitude, 63)
        codes[i] = pack(kind, negative, significand, exponent, f)


_TOP, _LOW, _52, _62 = np.uint64((1 << 63) - 1), np.uint64((1 << 52) - 1), np.uint64(52), np.uint64(62)
_INFINITY, _FAR = np.uint64(0x7FF << 52), np.uint64(1 << 16)  # _FAR: a multiple of all 2^es, and beyond all exponents


@compiled
def encode_float64(x, codes, f):
    """Write the code of each x (uint64 (n,), bits of float64) into codes (uint64 (n,), apart): `pack` without branches.

    The bit string is the regime's first bit and its opposite, the exponent's bits and the fraction, shifted
    right by what the regime is longer, with copies of its first bit.
    """
    es, n = np.uint64(f.exponent_bits), np.uint64(f.bits)
    nar, lowest, most = _1 << (n - _1), np.int64(_FAR >> es), np.int64(n - _1)
    for i in range(x.size):
        magnitude = x[i] & _TOP
        exponent = (magnitude >> _52) + _FAR - np.uint64(1023)
        regime = np.int64(exponent >> es) - lowest
        ones = regime >= 0
        length = min(regime if ones else -regime - 1, most)
        tail = ((exponent & ((_1 << es) - _1)) << _52 | (magnitude & _LOW)) << (np.uint64(10) - es)
        flip = _0 - np.uint64(ones)  # all ones; shifting right what is flipped copies a one
        string = ((_1 << (_62 + np.uint64(ones)) | tail) ^ flip) >> np.uint64(length) ^ flip
        sticky = np.uint64(tail << (_63 - np.uint64(length)) << _1 != _0)
        head = string >> (_64 + _1 - n)
        rest = (string << (n - _1) | sticky << _1) >> _1
        up = rest + ((_1 << _62) - _1) + (head & _1) >> _63
        code = np.uint64(min(max(np.int64(head + up), 1), np.int64(nar - _1)))
        code = (nar << _1) - code if x[i] > _TOP else code
        code = _0 if magnitude == _0 else code
        codes[i] = nar if np.int64(magnitude) >= np.int64(_INFINITY) else code


@compiled
def decode(codes, x, f, target):
    """Write the value of each code (unsigned (n,)) into x, bits of floats with fields `target`."""
    nearest = Mode(TIES_TO_EVEN, OVERFLOW, NAN_ZERO, 32)
    for i in range(codes.size):
        kind, negative, significand, exponent = unpack(np.uint64(codes[i]), f)
        x[i] = pack_float(kind, negative, significand, exponent, target, nearest, _0)


@compiled
def quantize(x, out, source, f, mode, words):
    """Round each x to the format and write it into out, both bits of floats with fields `source`."""
    nearest = Mode(TIES_TO_EVEN, OVERFLOW, NAN_ZERO, 32)
    for i in range(x.size):
        kind, negative, significand, exponent = unpack_float(np.uint64(x[i]), source)
        code = pack(kind, negative, significand, exponent, f)
        kind, negative, significand, exponent = unpack(code, f)
        out[i] = pack_float(kind, negative, significand, exponent, source, nearest, _0)
