"""Codes of few bits side by side: code i takes bits i * width to (i + 1) * width of the stream.

Bit 0 of the stream is the lowest bit of the first byte, so that the first code lies in the low bits.
The last byte is filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence


def pack(codes: Sequence[int], width: int) -> bytes:
    """Return the bytes of codes of `width` bits each.

    >>> pack([0x1, 0x2, 0x3], 4).hex(), pack([1, 2, 3, 0], 2).hex()
    ('2103', '39')
    """
    stream = sum(code << (i * width) for i, code in enumerate(codes))
    return stream.to_bytes(-(-len(codes) * width // 8), "little")


def unpack(packed: bytes, width: int, count: int) -> list[int]:
    """Return the first `count` codes.

    >>> unpack(bytes.fromhex("2103"), 4, 3)
    [1, 2, 3]
    """
    stream = int.from_bytes(packed, "little")
    return [stream >> (i * width) & (2**width - 1) for i in range(count)]
