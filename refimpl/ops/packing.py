"""Codes of 1 to 8 bits side by side in bytes."""

from __future__ import annotations

import numpy as np

from refimpl import _arguments
from refimpl.ops import arrays

_BITS = _arguments.Interval(1, 8)


def pack_bits(codes, bits: int) -> np.ndarray:
    """Put codes of few bits side by side, along the last axis, the first one in the low bits.

    Parameters
    ----------
    codes : array_like of integers from 0 to 2^bits - 1, at least one axis
    bits : int
        1 to 8: the width of a code, such as 4 for ``e2m1fn``.

    Returns
    -------
    ndarray of uint8
        The last axis holds ceil(n * bits / 8) bytes; the last byte is filled up with zeros.

    Raises
    ------
    TypeError, ValueError
        For codes out of range and other numbers of bits.

    Notes
    -----
    Code i takes bits i * bits to (i + 1) * bits of a stream whose bit 0 is the lowest of the first
    byte, as torchao packs 4 bits.  *Source*: `refimpl.spec.packing`.

    Examples
    --------
    >>> [hex(byte) for byte in pack_bits([0x1, 0x2, 0x3], 4)]
    ['0x21', '0x3']
    """
    bits = _arguments.integer("pack_bits", "bits", bits, _BITS)
    codes = arrays.codes("pack_bits", "codes", codes, f"{bits} bits", 1 << bits)
    if codes.ndim == 0:
        raise _arguments.wrong_value("pack_bits", "codes", codes.item(), "an array of at least one axis")
    from refimpl.kernels import packing as kernel

    count = codes.shape[-1]
    packed = np.empty((*codes.shape[:-1], -(-count * bits // 8)), np.uint8)
    rows = codes.size // count if count else 0
    kernel.pack(
        np.ascontiguousarray(codes, np.uint8).reshape(rows, count), packed.reshape(rows, packed.shape[-1]), bits
    )
    return packed


def unpack_bits(packed, bits: int, count: int) -> np.ndarray:
    """Take codes of few bits apart: what `pack_bits` put side by side.

    Parameters
    ----------
    packed : array_like of uint8, at least one axis
    bits : int
        1 to 8.
    count : int
        Codes along the last axis.

    Returns
    -------
    ndarray of uint8, the last axis of length count

    Raises
    ------
    TypeError, ValueError
        For other dtypes, and a number of bytes that is not that of the codes.

    Examples
    --------
    >>> unpack_bits(np.array([0x21, 0x03], np.uint8), 4, 3)
    array([1, 2, 3], dtype=uint8)
    """
    bits = _arguments.integer("unpack_bits", "bits", bits, _BITS)
    count = _arguments.integer("unpack_bits", "count", count, _arguments.NOT_NEGATIVE)
    given = packed
    packed = _arguments.array("unpack_bits", "packed", packed)
    if packed.dtype != np.uint8:
        raise _arguments.wrong_kind("unpack_bits", "packed", packed if packed.ndim else given, "an array of uint8")
    need = -(-count * bits // 8)
    if packed.ndim == 0 or packed.shape[-1] != need:
        allowed = f"one whose last axis has {need} bytes, for {count} codes of {bits} bits"
        raise ValueError(_arguments.message("unpack_bits", "packed", f"of shape {packed.shape}", allowed))
    from refimpl.kernels import packing as kernel

    codes = np.empty((*packed.shape[:-1], count), np.uint8)
    rows = codes.size // count if count else 0
    kernel.unpack(np.ascontiguousarray(packed).reshape(rows, need), codes.reshape(rows, count), bits)
    return codes
