"""Codes of 1 to 8 bits side by side in bytes."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from refimpl import _arguments
from refimpl.ops import arrays

_BITS = _arguments.Interval(1, 8)
Order = Literal["low", "high"]
_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1), axis=1, bitorder="little")[:, 0]


def pack_bits(codes, bits: int, *, signed: bool = False, order: Order = "low") -> np.ndarray:
    """Put codes of few bits side by side, along the last axis.

    Parameters
    ----------
    codes : array_like of integers from 0 to 2^bits - 1, at least one axis
    bits : int
        1 to 8: the width of a code, such as 4 for ``e2m1fn``.
    signed : bool
        Whether codes go from -2^(bits - 1) to 2^(bits - 1) - 1, in two's complement, such as those of ``int4``.
    order : str
        Which bits of a byte the first code takes: ``low``, as torchao, ml_dtypes and ONNX have it, or ``high``, as
        bitsandbytes does.

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
    Code i takes bits i * bits to (i + 1) * bits of a stream whose bit 0 is the lowest of the first byte, or the
    highest.  *Source*: `refimpl.spec.packing`.

    Examples
    --------
    >>> [hex(byte) for byte in pack_bits([0x1, 0x2, 0x3], 4)]
    ['0x21', '0x3']
    >>> [hex(byte) for byte in pack_bits([-8, -1], 4, signed=True, order="high")]
    ['0x8f']
    """
    bits, half = _checked("pack_bits", bits, signed, order)
    allowed = f"a code of {bits} bits, {-half} to {(1 << bits) - 1 - half}"
    hint = f"; signed=True takes {-(1 << bits - 1)} to {(1 << bits - 1) - 1}" if not half else ""
    codes = arrays.integers("pack_bits", "codes", codes, -half, (1 << bits) - 1 - half, allowed + hint)
    codes = (codes & ((1 << bits) - 1)).astype(np.uint8)
    if codes.ndim == 0:
        raise _arguments.wrong_value("pack_bits", "codes", codes.item(), "an array of at least one axis")
    from refimpl.kernels import packing as kernel

    count = codes.shape[-1]
    packed = np.empty((*codes.shape[:-1], -(-count * bits // 8)), np.uint8)
    rows = codes.size // count if count else 0
    if order == "high":
        codes = _REVERSED[codes] >> (8 - bits)
    kernel.pack(np.ascontiguousarray(codes).reshape(rows, count), packed.reshape(rows, packed.shape[-1]), bits)
    return packed if order == "low" else _REVERSED[packed]


def unpack_bits(packed, bits: int, count: int, *, signed: bool = False, order: Order = "low") -> np.ndarray:
    """Take codes of few bits apart: what `pack_bits` put side by side.

    Parameters
    ----------
    packed : array_like of uint8, at least one axis
    bits : int
        1 to 8.
    count : int
        Codes along the last axis.
    signed, order
        As for `pack_bits`.

    Returns
    -------
    ndarray of uint8, or of int8 if signed, the last axis of length count

    Raises
    ------
    TypeError, ValueError
        For other dtypes, and a number of bytes that is not that of the codes.

    Examples
    --------
    >>> unpack_bits(np.array([0x21, 0x03], np.uint8), 4, 3)
    array([1, 2, 3], dtype=uint8)
    """
    bits, half = _checked("unpack_bits", bits, signed, order)
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
    packed = packed if order == "low" else _REVERSED[packed]
    kernel.unpack(np.ascontiguousarray(packed).reshape(rows, need), codes.reshape(rows, count), bits)
    codes = codes if order == "low" else _REVERSED[codes] >> (8 - bits)
    return ((codes ^ half).astype(np.int16) - half).astype(np.int8) if half else codes


def _checked(caller: str, bits, signed, order) -> tuple[int, int]:
    """Return the bits of a code, and half of their range where codes are signed."""
    bits = _arguments.integer(caller, "bits", bits, _BITS)
    _arguments.choice(caller, "order", order, get_args(Order))
    return bits, 1 << (bits - 1) if _arguments.flag(caller, "signed", signed) else 0
