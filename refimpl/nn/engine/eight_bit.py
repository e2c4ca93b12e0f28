"""Eight-bit optimizer state decoded and encoded in one pass; the same in NumPy's words is `refimpl.nn.eight_bit`.

*Notation*: `places`, int64 (n, 4), has a row for each block: where it begins in the vector, its elements, where it
begins in the codes, and its number; of tensors in float32 where they begin among these, and -1.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.nn.engine.rounding import largest_magnitude

_1, _TINY = np.float32(1), np.float32(1e-38)


def first_codes(between) -> np.ndarray:
    """Return uint8 (65536,): of all float32 with these upper bits the code of the least; the last for NaN."""
    bits = np.arange(1 << 16, dtype=np.uint32) << 16
    bits[1 << 15 :] |= 0xFFFF  # the least of negative numbers is the farthest from zero
    return np.searchsorted(between, bits.view(np.float32)).astype(np.uint8)


@compiled
def read(codes, largest, kept, table, places, out):
    """Write the vector, float32 (n,)."""
    for j in range(places.shape[0]):
        start, size, at, block = places[j, 0], places[j, 1], places[j, 2], places[j, 3]
        if block < 0:
            for i in range(size):
                out[start + i] = kept[at + i]
        else:
            for i in range(size):
                out[start + i] = table[codes[at + i]] * largest[block]


@compiled
def write(x, codes, largest, kept, between, first, places):
    """Write codes, largest and kept of a vector; between: float32, halfway between neighbours of the table."""
    for j in range(places.shape[0]):
        start, size, at, block = places[j, 0], places[j, 1], places[j, 2], places[j, 3]
        part = x[start : start + size]
        if block < 0:
            kept[at : at + size] = part
            continue
        top = np.float32(largest_magnitude(part))
        largest[block] = top
        inverse = _1 / (_TINY if top < _TINY else top)
        for i in range(size):
            value = np.float32(part[i] * inverse)
            value = -_1 if value < -_1 else _1 if value > _1 else value
            code = np.int64(first[np.float32(value).view(np.uint32) >> np.uint32(16)])
            while code < between.size and between[code] < value:
                code += 1
            codes[at + i] = code
