"""Codes of few bits side by side: code i takes bits i * width to (i + 1) * width of the stream.

Order ``low``: bit 0 of the stream is the lowest bit of the first byte, so that the first code lies in the low
bits.  Order ``high``: the stream begins with the highest bit of the first code, which lies in the high bits of the
first byte.  The last byte is filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence


def pack(codes: Sequence[int], width: int, order: str = "low") -> bytes:
    """Return the bytes of codes of `width` bits each; negative ones in two's complement.

    >>> pack([0x1, 0x2, 0x3], 4).hex(), pack([1, 2, 3, 0], 2).hex(), pack([0x1, 0x2, 0x3], 4, "high").hex()
    ('2103', '39', '1230')
    """
    count = -(-len(codes) * width // 8)
    codes = [code % 2**width for code in codes]
    if order == "low":
        return sum(code << (i * width) for i, code in enumerate(codes)).to_bytes(count, "little")
    return sum(code << (8 * count - (i + 1) * width) for i, code in enumerate(codes)).to_bytes(count, "big")


def unpack(packed: bytes, width: int, count: int, order: str = "low", signed: bool = False) -> list[int]:
    """Return the first `count` codes.

    >>> unpack(bytes.fromhex("2103"), 4, 3), unpack(bytes.fromhex("f8"), 4, 2, "high", signed=True)
    ([1, 2, 3], [-1, -8])
    """
    stream = int.from_bytes(packed, "little" if order == "low" else "big")
    places = [i * width if order == "low" else 8 * len(packed) - (i + 1) * width for i in range(count)]
    codes = [stream >> place & (2**width - 1) for place in places]
    return [code - 2**width if signed and code >= 2 ** (width - 1) else code for code in codes]
