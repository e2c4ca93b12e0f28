"""Codes of few bits side by side, row by row; the definition is `refimpl.spec.packing`."""

import numpy as np

from refimpl.kernels._compiled import compiled


@compiled
def pack(codes, packed, width):
    """Write codes (uint8 (rows, n)) of `width` bits into packed (uint8 (rows, bytes))."""
    for row in range(codes.shape[0]):
        held, buffer, place = 0, 0, 0  # bits waiting for their byte
        for i in range(codes.shape[1]):
            buffer |= np.int64(codes[row, i]) << held
            held += width
            while held >= 8:
                packed[row, place] = buffer & 0xFF
                buffer >>= 8
                held -= 8
                place += 1
        if held:
            packed[row, place] = buffer


@compiled
def unpack(packed, codes, width):
    """Read packed (uint8 (rows, bytes)) into codes (uint8 (rows, n)) of `width` bits."""
    mask = (1 << width) - 1
    for row in range(codes.shape[0]):
        held, buffer, place = 0, 0, 0
        for i in range(codes.shape[1]):
            while held < width:
                buffer |= np.int64(packed[row, place]) << held
                held += 8
                place += 1
            codes[row, i] = buffer & mask
            buffer >>= width
            held -= width
