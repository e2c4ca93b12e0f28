"""Eight-bit optimizer state: the dynamic map, block by block.

A code stands for one of 256 values in [-1, 1] whose spacing grows with their size, seven decades
of them (`refimpl.formats.codebooks.dynamic_values`); each block of elements is divided by its largest
magnitude first.

*Source*: Dettmers et al. (arXiv 2110.02861) and the code released with it.
"""

from __future__ import annotations

import numpy as np

from refimpl.formats.codebooks import dynamic_values


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
        self.block = min(block, max(size, 1))
        self.table = np.array(dynamic_values(signed=signed), np.float32)
        self._between = (self.table[:-1] + self.table[1:]) / np.float32(2)
        self.codes = np.full(size, np.searchsorted(self.table, 0), np.uint8)
        self.largest = np.zeros(-(-size // self.block), np.float32)

    def read(self) -> np.ndarray:
        """Return the vector, decoded."""
        return self.table[self.codes] * np.repeat(self.largest, self.block)[: self.codes.size]

    def write(self, x: np.ndarray) -> None:
        """Keep the nearest of the values for each element, the smaller one in the middle.

        Not finite elements spoil their block, and nothing else.
        """
        padded = np.zeros(self.largest.size * self.block, np.float32)
        padded[: x.size] = x
        blocks = padded.reshape(-1, self.block)
        self.largest = np.abs(blocks).max(axis=1)
        inverse = 1 / np.maximum(self.largest, np.float32(1e-38))
        scaled = np.clip(blocks * inverse[:, np.newaxis], -1, 1).reshape(-1)[: x.size]
        self.codes = np.searchsorted(self._between, scaled, side="left").astype(np.uint8)
