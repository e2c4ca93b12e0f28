"""Case groups of block quantizers: every scale, every binade of the largest magnitude, whatever a block may hold.

A call gets rows of two blocks (of eight in one group), and, where blocks are short, as many rows as a block has
elements, so that one that cuts the first axis answers too.  Under a tensor scale that comes from the largest
magnitude, a call is a tensor: its first block holds that magnitude.

*Notation*: unit is what an element of 1 stands for: tensor scale * block scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from refimpl.formats import BlockFormat
from refimpl.spec import blocks
from refimpl.testing.checks.scaled import Group
from refimpl.testing.diagnosis.block_stages import cut
from refimpl.testing.expected.behaviour import step_above, values_of
from refimpl.testing.expected.cases import around, ties

ROWS = 32  # of a call: fewer where blocks are shorter
LONG = 1 << 16  # elements, of which a row has more: no whole number of what is repeated in it
NEAR = [2.0**-k for k in (3, 5, 7, 8, 9, 10, 12, 16, 20, 23)]  # how far from a change of scale, relatively


@dataclass(frozen=True)
class BlockCases:
    """The case groups of a block format; `given` is a tensor scale that does not come from the values."""

    format: BlockFormat
    given: float | None = None

    def groups(self) -> tuple[Group, ...]:
        """Return the groups."""
        return tuple(
            Group(name, statement, lambda dtype, make=make: _made(self, make, np.dtype(dtype)), name == "tails")
            for name, statement, make in (
                ("ties", "ties between elements, and one unit either side, go where they must", BlockCases._ties),
                ("scales", "the scale is right where the largest magnitude is near a change of it", BlockCases._scales),
                ("every_scale", "blocks of every scale that the format has are right", BlockCases._every_scale),
                ("every_binade", "a block is right whatever its largest magnitude", BlockCases._binades),
                ("saturation", "elements that the scale leaves too large saturate", BlockCases._saturation),
                (
                    "one_large",
                    "small elements beside a large one, wherever it stands, are right",
                    BlockCases._one_large,
                ),
                ("zeros", "zeros keep their sign, and a block of them does no harm", BlockCases._zeros),
                ("blocks_apart", "a block's scale comes from that block alone", BlockCases._apart),
                ("extremes", "the largest and smallest numbers of the input's type are right", BlockCases._extremes),
                ("any", "numbers of any size", BlockCases._any),
                ("long_rows", "blocks are right wherever they stand in a long row", BlockCases._long_rows),
                ("tails", "a row may end in a part of a block", BlockCases._tails),
                (
                    "not_finite",
                    "a block with NaN or an infinity is NaN, and its neighbours are not",
                    BlockCases._not_finite,
                ),
            )
        )

    # -- layout ------------------------------------------------------------------------------------

    @property
    def _top(self) -> float:
        return float(self.format.grid.max)

    @property
    def _size(self) -> int:
        return self.format.block_size

    @property
    def dynamic(self) -> bool:
        """Whether there is a tensor scale that comes from the values."""
        return self.format.tensor_scale and self.given is None

    def _tensors(self, dtype, most=None) -> list[tuple[float, float]]:
        """Return largest magnitudes of tensors with their scales; one of nothing, where there is none to find."""
        if not self.dynamic:
            return [(np.inf, self.given or 1.0)]
        even = self._top * self.format.scale.max
        sizes = [even, 1.0, even * 2.0**-20, even * 2.0**20, 3.7e-5, 1.2e4, 1e-38, 1e-42, 1e38, 1e-60, 1e60]
        if dtype.itemsize == 2:
            sizes = [even, 1.0, even * 2.0**-14, even * 2.0**4, 3.7e-5, 1.2e4]
        with np.errstate(all="ignore"):
            sizes = [float(dtype.type(size)) for size in sizes]
        sizes = [size for size in sizes if 0 < size < np.inf][:most]
        return [(size, blocks.tensor_scale(Fraction(size), self.format)) for size in sizes]

    def _block_scales(self) -> np.ndarray:
        """Return the values of all block scales, ascending."""
        values = values_of(self.format.scale)
        return values[values > 0]

    def _units(self, dtype, most: int) -> Iterator[tuple[float, np.ndarray]]:
        """Yield tensors and some units under them, both ends of the scales among them."""
        scales = self._block_scales()
        some = scales[[0, 1, len(scales) // 3, -2, -1]]
        middle = np.array([1.0, 2.0**-9, 2.0**20] if not self.format.tensor_scale else [1.0, 13.0, 0.0625])
        for largest, tensor_scale in self._tensors(dtype, most):
            yield largest, np.concatenate([middle, some]) * tensor_scale

    def _calls(self, found, largest, dtype, across=2) -> list[np.ndarray]:
        """Return blocks as arrays of rows for one call each; those that the dtype cannot hold are left out."""
        with np.errstate(all="ignore"):
            x = np.asarray(found, np.float64).reshape(-1, self._size).astype(dtype)
        x = x[~np.isinf(x).any(axis=1)]
        if self.dynamic:
            x = x[(np.abs(x.astype(np.float64)) <= largest).all(axis=1)]
        return self._rows(x, largest, dtype, across)

    def _rows(self, x, largest, dtype, across=2) -> list[np.ndarray]:
        if not len(x):
            return []
        rows = min(self._size, ROWS)
        if not self.dynamic:
            whole = across * rows
            x = np.resize(x, (-(-len(x) // whole) * whole, self._size))
            return [x.reshape(-1, across * self._size)]
        first = np.resize(np.array([largest, -0.3 * largest, 0.07 * largest, 0, 0.004 * largest]), self._size)
        first = first.astype(dtype)
        room = across * rows - 1
        x = np.resize(x, (-(-len(x) // room), room, self._size))
        with_first = np.concatenate([np.broadcast_to(first, (len(x), 1, self._size)), x], axis=1)
        return list(with_first.reshape(len(x), rows, across * self._size))

    def _filled(self, anchors, others) -> np.ndarray:
        """Return blocks that hold the others, as many as it takes, once with each anchor somewhere."""
        size, room = self._size, max(self._size - 1, 1)
        others = np.asarray(others, np.float64)
        count = max(1, -(-len(others) // room))
        cells = np.resize(others, (count, room))
        found = [np.insert(cell[: size - 1], (i * 7) % size, a) for a in anchors for i, cell in enumerate(cells)]
        return np.array(found, np.float64)

    # -- the groups --------------------------------------------------------------------------------

    def _points(self, unit, dtype) -> np.ndarray:
        """Return ties of elements and their neighbours, within the largest element, as float64."""
        points = around(ties(self.format.grid) * unit, dtype).astype(np.float64)
        return points[np.abs(points) <= self._top * unit]

    def _ties(self, dtype):
        top = self._top
        for largest, units in self._units(dtype, 3):
            found = [self._filled([top * u, -top * u], self._points(u, dtype)) for u in units]
            yield from self._calls(np.concatenate(found), largest, dtype)

    def _changes(self) -> np.ndarray:
        """Return where the scale of MX changes by one of the rules, for the scale 1."""
        power = 2.0**self.format.max_exponent
        half = step_above(self.format.grid) / 2
        return np.array([power, 2 * power - half, self._top, self._top * 1.5, power * 1.5, self._top / 2])

    def _scales(self, dtype):
        parts = np.array([1, -0.5, 0.3, -0.26, 0.11, 0.0625, 0.007, 0.93])
        near = np.concatenate([[1], 1 + np.array(NEAR), 1 - np.array(NEAR)])
        for seen, (largest, units) in enumerate(self._units(dtype, 4)):
            if self.format.tensor_scale:  # ties between scales, and their ends
                values = self._block_scales()
                changes = np.concatenate([values[:-1] / 2 + values[1:] / 2, [values[0] / 2, values[0] / 4, values[-1]]])
                changes = np.concatenate([changes, values[-1] * np.array([1.02, 1.04, 1.1, 2, 100])])
                changes = changes[:: 3 if seen else 1] * (self._top * units[0])
                near = np.concatenate([1 + np.array(NEAR[5::2]), 1 - np.array(NEAR[5::2])])
            else:
                changes = np.concatenate([self._changes() * unit for unit in units])
            exact = around(changes, dtype, signs=(1,)).astype(np.float64)
            points = np.concatenate([exact, (changes[:, None] * near).ravel()])
            found = [self._filled([a * (-1) ** i], a * parts) for i, a in enumerate(points)]
            yield from self._calls(np.concatenate(found), largest, dtype)

    def _every_scale(self, dtype):
        values = self._block_scales()
        for k, (largest, tensor_scale) in enumerate(self._tensors(dtype)):
            found = []
            for i, value in enumerate(values[:: 1 if k < 4 else 5]):
                unit = value * tensor_scale
                anchors = np.array([self._top])
                if not self.format.tensor_scale:
                    changes = self._changes()
                    before = changes * (1 - np.finfo(dtype).eps)
                    more = [changes[i % 6], before[(i + 2) % 6], changes[(i + 4) % 6] * (1 + np.finfo(dtype).eps)]
                    anchors = np.array([self._top, changes[0], 2 * changes[0] * (1 - np.finfo(dtype).eps), *more])
                with np.errstate(all="ignore"):
                    points = self._points(unit, dtype)
                if points.size:
                    some = np.roll(points, -i * 11)[: self._size - 1]
                    found.append(self._filled(anchors * unit, some[: max(self._size - 1, 1)]))
            yield from self._calls(np.concatenate(found), largest, dtype)

    def _binades(self, dtype):
        info = np.finfo(dtype)
        powers = np.arange(info.minexp - info.nmant, info.maxexp)
        parts = np.array([1, -0.7, 0.49, -0.31, 0.13, -0.06, 0.02, 0.004, 0.75, -1, 0.25, 0.0])
        anchors = np.array([1.0, 1.75, 1.3])
        for largest, _ in self._tensors(dtype, 3):
            near = powers if dtype.itemsize < 8 or not self.dynamic else powers[(powers > -160) & (powers < 130)]
            sizes = [np.ldexp(anchors[: 3 if -160 < p < 140 else 1], p) for p in near]
            sizes = [size for some in sizes for size in some]
            found = [self._filled([s], np.roll(s * parts, i)) for i, s in enumerate(sizes)]
            yield from self._calls(np.concatenate(found), largest, dtype)
        if self.dynamic:  # and tensors of every size
            far = (powers < -155) | (powers > 128)
            for p in np.concatenate([powers[~far], powers[far][::24], powers[:2], powers[-2:]]):
                largest = float(dtype.type(np.ldexp(1.37 if p > powers[0] else 1.0, p)))
                yield from self._calls(self._filled([largest], largest * parts * 0.4), largest, dtype)

    def _saturation(self, dtype):
        power = 2.0 ** (self.format.max_exponent + 1)
        for largest, units in self._units(dtype, 2):
            for unit in units:
                with np.errstate(all="ignore"):
                    last = float(np.nextafter(dtype.type(power * unit), dtype.type(0)))
                above = around((self._top + (power - self._top) * np.array([0, 0.25, 0.5, 0.75])) * unit, dtype)
                above = above.astype(np.float64)
                yield from self._calls(self._filled([last, -last], above[np.abs(above) <= last]), largest, dtype)

    def _one_large(self, dtype):
        values = values_of(self.format.grid)
        small = float(values[values > 0][0])
        info = np.finfo(dtype)
        parts = np.array([1, 0.5, 0.25, 0.75, 1.5, 2.0**-10, 1 + 2.0**-9, 3.5])
        for largest, units in self._units(dtype, 2):
            tiny = [
                float(info.smallest_subnormal),
                float(info.smallest_normal),
                -float(info.smallest_subnormal),
                0,
                -0.0,
            ]
            cells = np.concatenate([*(np.array([1, -1])[:, None] * parts).ravel() * small * units[:1, None], tiny])
            cells = np.resize(cells, self._size)
            found = []
            for place in range(self._size):
                for sign in (1, -1):
                    block = np.roll(cells, place)
                    block[place] = sign * self._top * units[0]
                    found.append(block)
            yield from self._calls(np.array(found), largest, dtype)

    def _zeros(self, dtype):
        for largest, units in self._units(dtype, 2):
            one = self._filled([units[0], -3 * units[0]], [0.0, -0.0])
            zero, minus = 0 * np.abs(one[:1]), -0.0 * np.abs(one[:1])
            yield from self._calls(np.concatenate([one, zero, one, minus, zero, minus]), largest, dtype)
        if self.dynamic:
            yield np.zeros((min(self._size, ROWS), 2 * self._size), dtype)

    def _apart(self, dtype):
        parts = np.array([1, -0.7, 0.31, 0.12, -0.05, 0.9])
        for largest, units in self._units(dtype, 2):
            one = self._filled([1.0], parts)[:1] * units[0]
            far = 3 if self.format.tensor_scale else 12
            powers = np.resize([far, -far, 0, far // 2, -far // 3, 1, -1], 24)
            yield from self._calls(np.ldexp(one, powers[:, None]), largest, dtype)

    def _extremes(self, dtype):
        info = np.finfo(dtype)
        parts = np.array([1, -1, 0.75, 0.5, -0.26, 0.13, 0.01])
        most, least, normal = float(info.max), float(info.smallest_subnormal), float(info.smallest_normal)
        sizes = [most, -most, least, 2 * least, 3 * least, normal, normal - least, 5 * normal, 63 * least, most / 3]
        if self.dynamic:
            for size in sizes:
                yield from self._calls(self._filled([size], abs(size) * parts), abs(size), dtype)
        else:
            yield from self._calls(np.concatenate([self._filled([s], s * parts) for s in sizes]), np.inf, dtype)

    def _any(self, dtype):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((256, self._size))
        x *= np.repeat(2.0 ** rng.uniform(-8, 8, (len(x) // 4, 1)), 4, axis=0)
        yield from self._calls(x, float(np.abs(x).max()), dtype, across=8)

    def _long_rows(self, dtype):
        rng = np.random.default_rng(1)
        x = rng.standard_normal((min(self._size, ROWS), 40 * self._size))
        x = (x * 2.0 ** rng.integers(-6, 7, x.shape)).astype(dtype)
        yield x
        yield np.tile(x[:1], LONG // x.shape[1] + 1)

    def _tails(self, dtype):
        """Yield rows that end in a quarter or so of a block; all together they are no whole number of blocks."""
        rng = np.random.default_rng(2)
        for large in (1.0, 100.0, 0.01):
            x = rng.standard_normal((3, self._size + self._size // 4 + 2))
            x[:, self._size :] *= large
            yield x.astype(dtype)

    def _not_finite(self, dtype):
        bits = np.dtype(f"u{dtype.itemsize}")
        signalling = (np.array([np.inf], dtype).view(bits) + bits.type(1)).view(dtype)[0]
        odd = [np.nan, np.inf, -np.inf, -np.nan]
        for largest, units in self._units(dtype, 2):
            plain = self._filled([3.7 * units[0]], units[0] * np.array([1.1, -0.3, 0.0, -2.6, 0.07, 0.9]))[0]
            found = []
            for i, place in enumerate((0, 1, self._size // 2, self._size - 1)):
                for value in odd:
                    found += [plain.copy(), np.roll(plain, i)]
                    found[-1 - i % 2][place % self._size] = value
            several = plain.copy()
            several[:4:2], several[1:4:2] = np.nan, np.inf
            zeros = np.zeros(self._size)
            zeros[0] = np.nan
            found += [several, plain, plain, np.full(self._size, np.nan), zeros, plain, 0 * plain, several, plain]
            x = np.array(found).astype(dtype)
            x[-1][0] = signalling
            yield from self._rows(x, largest, dtype)


@lru_cache(maxsize=64)  # of the groups of three formats
def _made(cases: BlockCases, make, dtype) -> list[np.ndarray]:
    return [x for x in make(cases, dtype) if x.size]


def holds_not_finite(x: np.ndarray, size: int) -> np.ndarray:
    """Return for each element whether its block, along the last axis, holds NaN or an infinity."""
    bad = cut(~np.isfinite(x), size).any(axis=-1)
    return np.repeat(bad, size, axis=-1)[..., : x.shape[-1]]
