"""Eight-bit optimizer state: the dynamic map, block by block.

A code stands for one of 256 values in [-1, 1] whose spacing grows with their size, seven decades
of them (`refimpl.formats.codebooks.dynamic_values`); each block of elements is divided by its largest
magnitude first.  For comparison there is a map of equal spacing.

*Source*: Dettmers et al. (arXiv 2110.02861) and the code released with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from refimpl.formats.codebooks import dynamic_values


class EightBit:
    """A float32 vector of tensors kept as one code for each element and one magnitude for each block.

    Parameters
    ----------
    sizes : sequence of int
        Elements of each tensor; each begins with a new block.
    signed : bool
        Unsigned for what is never negative, such as Adam's second moment.
    block : int
        Elements of a block; the last one of a tensor may be shorter.
    linear : bool
        Whether values are equally spaced.
    exact : sequence of bool, optional
        Of each tensor: whether it is kept in float32 instead.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        signed: bool,
        block: int = 256,
        linear: bool = False,
        exact: Sequence[bool] | None = None,
    ):
        exact = [False] * len(sizes) if exact is None else exact
        self._exact = np.repeat(np.asarray(exact, bool), sizes)
        self._places = _places(sizes, exact, block)
        kept = [size for size, as_it_is in zip(sizes, exact, strict=True) if not as_it_is]
        ends = np.cumsum([0, *kept])
        starts = [np.arange(end - size, end, block) for size, end in zip(kept, ends[1:], strict=True)]
        self._starts = np.concatenate([np.zeros(0, np.int64), *starts])
        self._lengths = np.diff([*self._starts, ends[-1]])
        even = np.linspace(-1, 1, 255) if signed else np.linspace(0, 1, 256)
        self.table = np.array(even if linear else dynamic_values(signed=signed), np.float32)
        self._between = (self.table[:-1] + self.table[1:]) / np.float32(2)
        self.codes = np.full(ends[-1], np.searchsorted(self.table, 0), np.uint8)
        self.largest = np.zeros(self._starts.size, np.float32)
        self.kept = np.zeros(self._exact.sum(), np.float32)

    def calls(self, x: np.ndarray) -> list[tuple[Callable, tuple]]:
        """Return the calls of kernels that read into x, and write from it, in one pass each."""
        from refimpl.nn.engine import eight_bit as kernels

        kept = self.codes, self.largest, self.kept
        first = _first_codes(self._between.tobytes())
        return [
            (kernels.read, (*kept, self.table, self._places, x)),
            (kernels.write, (x, *kept, self._between, first, self._places)),
        ]

    @property
    def nbytes(self) -> int:
        """Bytes of codes, magnitudes, and what is in float32."""
        return self.codes.nbytes + self.largest.nbytes + self.kept.nbytes

    def read(self) -> np.ndarray:
        """Return the vector, decoded."""
        found = np.empty(self._exact.size, np.float32)
        found[self._exact] = self.kept
        found[~self._exact] = self.table[self.codes] * np.repeat(self.largest, self._lengths)
        return found

    def write(self, x: np.ndarray) -> None:
        """Keep the nearest of the values for each element, the smaller one in the middle.

        Not finite elements spoil their block, and nothing else.
        """
        self.kept, x = x[self._exact], x[~self._exact]
        if not x.size:
            return
        self.largest = np.maximum.reduceat(np.abs(x), self._starts)
        inverse = 1 / np.maximum(self.largest, np.float32(1e-38))
        scaled = np.clip(x * np.repeat(inverse, self._lengths), -1, 1)
        self.codes = np.searchsorted(self._between, scaled, side="left").astype(np.uint8)


def _places(sizes: Sequence[int], exact: Sequence[bool], block: int) -> np.ndarray:
    """Return where each block lies: see `refimpl.nn.engine.eight_bit`."""
    found, start, codes, kept, number = [], 0, 0, 0, 0
    for size, as_it_is in zip(sizes, exact, strict=True):
        if as_it_is:
            found.append((start, size, kept, -1))
            kept += size
        for at in () if as_it_is else range(0, size, block):
            found.append((start + at, min(block, size - at), codes + at, number))
            number += 1
        codes += 0 if as_it_is else size
        start += size
    return np.array(found, np.int64).reshape(-1, 4)


@lru_cache(maxsize=4)
def _first_codes(between: bytes) -> np.ndarray:
    from refimpl.nn.engine.eight_bit import first_codes

    return first_codes(np.frombuffer(between, np.float32))
