"""Eight-bit optimizer state: the dynamic map, block by block.

A code stands for one of 256 values in [-1, 1] whose spacing grows with their size, seven decades
of them; each block of elements is divided by its largest magnitude first.

*Source*: Dettmers et al. (arXiv 2110.02861) and the code released with it.
"""

from __future__ import annotations

import numpy as np


def values(*, signed: bool) -> np.ndarray:
    """Return the 256 values of the map, ascending, float32.

    For i = 0 .. 6, between 0.1 and 1 lie 2^i (signed) or 2^(i+1) equal intervals; their midpoints
    times 10^(i-6), of both signs if signed, are values, and so are 0 and 1.

    Examples
    --------
    >>> table = values(signed=True)
    >>> table.size, float(table[-1]), round(float(table[0]), 7)
    (256, 1.0, -0.9929687)
    """
    found = [0.0, 1.0]
    for i in range(7):
        bounds = np.linspace(0.1, 1, (2**i if signed else 2 ** (i + 1)) + 1, dtype=np.float32)
        middles = (bounds[:-1] + bounds[1:]) / np.float32(2) * np.float32(10.0 ** (i - 6))
        found += [*middles, *(-middles if signed else ())]
    return np.sort(np.array(found, np.float32))


class EightBit:
    """A float32 vector kept as one code for each element and one magnitude for each block.

    Parameters
    ----------
    size : int
        Elements.
    signed : bool
        Unsigned for what is never negative, such as Adam's second moment.
    block : int
        Elements of a block; the last one may be shorter.
    """

    def __init__(self, size: int, *, signed: bool, block: int = 256):
        self.table, self.block = values(signed=signed), block
        self._between = (self.table[:-1] + self.table[1:]) / np.float32(2)
        self.codes = np.full(size, np.searchsorted(self.table, 0), np.uint8)
        self.largest = np.zeros(-(-size // block), np.float32)

    def read(self) -> np.ndarray:
        """Return the vector, decoded."""
        return self.table[self.codes] * np.repeat(self.largest, self.block)[: self.codes.size]

    def write(self, x: np.ndarray) -> None:
        """Keep the nearest of the values for each element, the smaller one in the middle.

        Not finite elements spoil their block, and nothing else.
        """
        blocks = np.zeros(self.largest.size * self.block, np.float32)
        blocks[: x.size] = x
        blocks = blocks.reshape(-1, self.block)
        self.largest = np.abs(blocks).max(axis=1)
        inverse = 1 / np.maximum(self.largest, np.float32(1e-38))
        scaled = np.clip(blocks * inverse[:, np.newaxis], -1, 1).reshape(-1)[: x.size]
        self.codes = np.searchsorted(self._between, scaled, side="left").astype(np.uint8)
