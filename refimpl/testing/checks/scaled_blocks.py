"""Blocks that share a scale (MX, NVFP4): what a quantizer of arrays, along the last axis, should do.

The expected side is `refimpl.quantize_blocks`, whose kernels are held to `refimpl.spec.blocks`; of a
block that fails, the explanation is computed from `refimpl.spec.blocks` itself.  Blocks with NaN or an
infinity in them are not tried: OCP MX 1.0 leaves open what becomes of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from refimpl import ops
from refimpl._arguments import choice
from refimpl.formats import SCALE_RULES, BlockFormat, IntFormat, RoundingMode, ScaleRule, names
from refimpl.formats import format as format_of
from refimpl.spec import blocks, float_codes
from refimpl.testing.checks.scaled import Group, Scaled, ScaledLaw
from refimpl.testing.expected.behaviour import DETERMINISTIC, Behaviour, step_above, values_of
from refimpl.testing.expected.cases import around, ties
from refimpl.testing.expected.explain import explain, shortest

ROWS = 8  # of a tensor that has a scale of its own


@dataclass(frozen=True)
class ScaledBlocks(Scaled):
    """Describe what a block quantizer is expected to do.

    Parameters
    ----------
    format : BlockFormat
    rounding : str
        Of the elements; a deterministic mode; others are a ValueError.
    scale_rule : str, optional
        For MX: ``floor`` (default), ``ceil``, ``even``, ``nearest``.
    tensor_scale : float, optional
        For NVFP4, where it is given; by default it comes from the largest magnitude of the array.

    Examples
    --------
    >>> ScaledBlocks(format_of("mxfp4_e2m1")).values(np.array([[1.0, -6.5, 0.3]])).tolist()
    [[1.0, -6.0, 0.5]]
    """

    format: BlockFormat
    rounding: RoundingMode = "ties_to_even"
    scale_rule: ScaleRule | None = None
    tensor_scale: float | None = None

    def __post_init__(self):
        choice("testing", "rounding of elements of blocks", self.rounding, DETERMINISTIC)
        self.values(np.zeros((1, 2), np.float32))  # refuses what does not belong together

    def __str__(self) -> str:
        words = [str(self.format), self.rounding]
        words += [] if self.format.tensor_scale else [f"scale rule {self._rule}"]
        words += [] if self.tensor_scale is None else [f"tensor scale {self.tensor_scale!r}"]
        return ", ".join(words)

    @property
    def _rule(self) -> str:
        return self.scale_rule or "floor"

    def values(self, x):
        """Return the expected results of x, float64; see `Scaled`."""
        codes, scales, tensor_scale = self._coded(x)
        return ops.decode_blocks(codes, scales, self.format, tensor_scale=tensor_scale, dtype=np.float64)

    def _coded(self, x) -> ops.BlockCodes:
        return ops.quantize_blocks(
            x, self.format, rounding=self.rounding, scale_rule=self.scale_rule, tensor_scale=self.tensor_scale
        )

    def same(self, x, a, b):
        """Tell where results are one and the same; a zero of integer elements has no sign."""
        return (a == b) if isinstance(self.format.element, IntFormat) else super().same(x, a, b)

    # -- cases -------------------------------------------------------------------------------------

    def groups(self):
        """Return the case groups; see `Scaled`."""
        return tuple(
            Group(name, statement, lambda dtype, make=make: self._tensors(make(dtype)))
            for name, statement, make in (
                ("ties", "ties between elements, and one unit either side, go where they must", self._ties),
                ("scales", "the scale is right where the largest magnitude is near a change of it", self._scales),
                ("saturation", "elements that the scale leaves too large saturate", self._saturation),
                ("zeros", "zeros keep their sign, and a block of them does no harm", self._zeros),
                ("blocks_apart", "a block's scale comes from that block alone", self._apart),
                ("extremes", "blocks of very large and very small numbers", self._extremes),
                ("any", "numbers of any size", self._any),
            )
        )

    def _tensors(self, rows) -> list[np.ndarray]:
        """Return rows of two blocks as arrays for one call each."""
        if not self.format.tensor_scale or self.tensor_scale is not None:
            return [rows]
        return [rows[i : i + ROWS] for i in range(0, len(rows), ROWS)]

    @property
    def _top(self) -> float:
        return float(self.format.grid.max)

    def _filled(self, anchors, others, dtype) -> np.ndarray:
        """Return rows of two blocks that hold the others, each block with an anchor somewhere."""
        size = self.format.block_size
        room = max(size - 1, 1)
        count = 2 * max(1, -(-len(others) // (2 * room)))
        cells = np.resize(np.asarray(others, np.float64), (count, room))
        found = []
        for anchor in anchors:
            found += [np.insert(cell[: size - 1], (i * 7) % size, anchor) for i, cell in enumerate(cells)]
        with np.errstate(all="ignore"):
            return np.array(found, np.float64).astype(dtype).reshape(-1, 2 * size)

    def _ties(self, dtype):
        grid = self.format.grid
        points = around(ties(grid), dtype)
        points = points[np.abs(points) <= self._top].astype(np.float64)
        rows = self._filled([self._top, -self._top], points, dtype)
        return np.concatenate([rows, np.ldexp(rows, -9), np.ldexp(rows, 20)]).astype(dtype)

    def _scales(self, dtype):
        power = 2.0**self.format.max_exponent
        points = [power, 2 * power, self._top, self._top * 1.5, power * 1.5]
        points.append(2 * power - step_above(self.format.grid) / 2)
        largest = around(points, dtype, signs=(1,)).astype(np.float64)
        parts = [1, -0.5, 0.3, -0.26, 0.11, 0.0625, 0.007, 0.93]
        return np.concatenate([self._filled([a], a * np.array(parts), dtype) for a in largest])

    def _saturation(self, dtype):
        power = 2.0 ** (self.format.max_exponent + 1)
        with np.errstate(all="ignore"):
            last = float(np.nextafter(dtype.type(power), dtype.type(0)))
        above = around(self._top + (power - self._top) * np.array([0, 0.25, 0.5, 0.75]), dtype)
        above = above.astype(np.float64)
        return self._filled([last, -last], above[np.abs(above) <= last], dtype)

    def _zeros(self, dtype):
        one = self._filled([1.0, -3.0], [0.0, -0.0], dtype)
        return np.concatenate([one, np.zeros_like(one[:1]), -np.zeros_like(one[:1])])

    def _apart(self, dtype):
        parts = np.array([1, -0.7, 0.31, 0.12, -0.05, 0.9])
        rows = self._filled([1.0], parts, dtype)
        rows = np.repeat(rows[:1], 12, axis=0)
        far = 3 if self.format.tensor_scale else 12
        powers = np.resize([far, -far, 0, far // 2, -far // 3], (12, 2))
        return np.ldexp(rows, np.repeat(powers, self.format.block_size, axis=1)).astype(dtype)

    def _extremes(self, dtype):
        rows = self._filled([1.0], [0.7, -0.4, 0.13, 0.02], dtype)[:1]
        ends = [100, 60, -60, -100] if dtype.itemsize > 2 else [14, 8, -8, -12]
        return np.concatenate([np.ldexp(rows, e) for e in ends]).astype(dtype)

    def _any(self, dtype):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((64, 2 * self.format.block_size))
        return (x * 2.0 ** rng.uniform(-8, 8, (64, 1))).astype(dtype)

    # -- laws --------------------------------------------------------------------------------------

    def laws(self):
        """Return the laws; see `Scaled`."""
        found = [ScaledLaw("determinism", "the same input gives the same result", self._determinism)]
        if self.tensor_scale is None:
            found.append(ScaledLaw("scaling_by_two", "doubling the input doubles the result", self._scaling))
        if not self.rounding.startswith("toward_") or self.rounding == "toward_zero":
            found.append(ScaledLaw("oddness", "q(-x) = -q(x)", self._oddness))
        if not self.format.tensor_scale:
            found.append(ScaledLaw("independence", "a block does not depend on its neighbours", self._independence))
        return tuple(found)

    def _determinism(self, q, x):
        y = q(x)
        return y, ~self.same(x, y, q(x))

    def _scaling(self, q, x):
        inside = (np.abs(x).max() < np.finfo(x.dtype).max / 4) & (np.abs(x).max() > 2.0**-8)
        y = q(x)
        if not inside or x.dtype.itemsize < 4:  # results may over- or underflow
            return y, np.zeros(x.shape, bool)
        rows = np.abs(x).max(axis=-1, keepdims=True) > 2.0**-40
        return y, ~self.same(x, 2 * y, q(x * x.dtype.type(2))) & rows

    def _oddness(self, q, x):
        y = q(x)
        return y, (y != -q(-x)) & ~np.isnan(y)

    def _independence(self, q, x):
        y, size = q(x), self.format.block_size
        return y, ~self.same(x, y, np.roll(q(np.roll(x, size, axis=-1)), -size, axis=-1))

    # -- explanation -------------------------------------------------------------------------------

    def explain(self, x, at, got):
        """Explain one element by the definition of its block; see `Scaled`."""
        fmt, size = self.format, self.format.block_size
        row, column = divmod(at, x.shape[-1])
        first = column // size * size
        block = x.reshape(-1, x.shape[-1])[row, first : first + size].astype(np.float64)
        values = [float_codes.from_float(float(v)) for v in block]
        given = self.tensor_scale or 1.0
        if fmt.tensor_scale and self.tensor_scale is None:
            given = blocks.tensor_scale(Fraction(float(np.abs(x).max())), fmt)
        code, codes = blocks.encode_block(values, fmt, self._rule, given, self.rounding)
        scale = float_codes.decode(code, fmt.scale).magnitude * Fraction(given)
        right = float_codes.to_float(blocks.decode_element(codes[column - first], fmt))
        lines = [
            f"row {row}, element {column}: {x.dtype} {shortest(float(block[column - first]))}",
            f"its block's largest magnitude is {shortest(float(np.abs(block).max()))}, so the scale "
            f"has code 0x{code:x}, and is {shortest(float(scale))}" + f" (tensor scale {given!r})" * fmt.tensor_scale,
            "divided by the scale:",
        ]
        scaled = np.array([float(Fraction(float(block[column - first])) / scale)])
        rules = Behaviour(fmt.grid, self.rounding, overflow="saturate")
        return "\n".join([*lines, explain(rules, scaled, got / float(scale), right=right)])

    # -- known defects -----------------------------------------------------------------------------

    def defects(self):
        """Return known defects; see `Scaled`."""
        fmt = self.format

        def other(x, **rules):
            return replace(self, **rules).values(x)

        def cut(x, size):
            return other(x, format=replace(fmt, block_size=size))

        def ruled(**rules):
            return lambda x: other(x, **rules)

        def spoiled(**how):
            return lambda x: self._by_scales(x, **how)

        found = [(f"rounds elements {mode}", ruled(rounding=mode)) for mode in DETERMINISTIC if mode != self.rounding]
        if not fmt.tensor_scale:
            rules = [rule for rule in SCALE_RULES if rule != self._rule]
            found += [(f"has the scale rule {rule}", ruled(scale_rule=rule)) for rule in rules]
            found += [(f"has scales twice too {word}", spoiled(shift=k)) for word, k in (("large", 1), ("small", -1))]
        elif self.tensor_scale is None:
            found.append(("leaves the tensor scale out", ruled(tensor_scale=1.0)))
        for size in (8, 16, 32, 64, 128):
            if size != fmt.block_size:
                found.append((f"cuts blocks of {size}", lambda x, size=size: cut(x, size)))
        found += [
            ("has one scale for a whole row", lambda x: cut(x, x.shape[-1])),
            ("has one scale for the whole array", lambda x: cut(x.reshape(1, -1), x.size).reshape(x.shape)),
            ("cuts blocks along the first axis", lambda x: self.values(x.T.copy()).T),
            ("loses the sign of zeros", lambda x: self.values(x) + 0.0),
            ("flushes subnormal elements to zero", spoiled(flush=True)),
            ("does not saturate: elements too large become NaN", spoiled(beyond=np.nan)),
            ("does not saturate: elements too large become NaN", spoiled(beyond=np.nan, reach=np.greater)),
            ("does not saturate: elements too large stay as they are", spoiled(beyond=None)),
            ("rounds its input to bfloat16 first", lambda x: self.values(ops.quantize(x, "bfloat16"))),
        ]
        for name in names():
            there = format_of(name)
            if isinstance(there, BlockFormat) and there != fmt and there.tensor_scale == fmt.tensor_scale:
                found.append((f"is {name}", ruled(format=there)))
        return tuple(found)

    def _by_scales(self, x, *, shift=0, flush=False, beyond="saturate", reach=np.greater_equal):
        """Quantize elements with the right scales, moved or mistreated."""
        fmt = self.format
        coded = self._coded(x)
        scales = ops.decode(coded.scales, fmt.scale) * coded.tensor_scale * 2.0**shift
        wide = np.repeat(scales, fmt.block_size, axis=-1)[..., : x.shape[-1]]
        elements = x.astype(np.float64) / wide
        y = ops.quantize(elements, fmt.grid, rounding=self.rounding, overflow="saturate")
        if flush:
            y = np.where(np.abs(y) < fmt.grid.smallest_normal, np.copysign(0.0, y), y)
        if beyond != "saturate":
            last = values_of(fmt.grid)[-1] + step_above(fmt.grid) / 2
            y = np.where(reach(np.abs(elements), last), elements if beyond is None else beyond, y)
        return y * wide
