"""Blocks that share a scale (MX, NVFP4): what a quantizer of arrays, along the last axis, should do.

The expected side is `refimpl.spec.blocks`: of a sample of every group, and of every block whose failure is
explained.  In bulk it is `refimpl.quantize_blocks`, whose kernels tests hold to it bit for bit.
OCP MX 1.0 leaves open what becomes of a block with NaN or an infinity in it; here all of it is NaN,
unless `not_finite` is ``open``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from refimpl import ops
from refimpl._arguments import choice
from refimpl.formats import BlockFormat, IntFormat, RoundingMode, ScaleRule
from refimpl.spec import blocks, float_codes
from refimpl.testing.checks import block_codes
from refimpl.testing.checks.block_cases import BlockCases, holds_not_finite
from refimpl.testing.checks.scaled import Scaled, ScaledLaw
from refimpl.testing.diagnosis.blocks import diagnose
from refimpl.testing.expected.behaviour import DETERMINISTIC, Behaviour
from refimpl.testing.expected.explain import explain, shortest

NotFinite = Literal["nan", "open"]


@dataclass(frozen=True)
class ScaledBlocks(Scaled):
    """Describe what a block quantizer is expected to do.

    Parameters
    ----------
    format : BlockFormat
    rounding : str
        Of the elements; a deterministic mode; others are a ValueError.
    scale_rule : str, optional
        For MX: ``floor`` (default), ``ceil``, ``ceil_log2``, ``even``, ``nearest``.
    tensor_scale : float, optional
        For NVFP4, where it is given; by default it comes from the largest magnitude of the array.
    not_finite : str
        ``nan`` (default): a block with NaN or an infinity is NaN; ``open``: anything but its neighbours.

    Examples
    --------
    >>> from refimpl.formats import format
    >>> ScaledBlocks(format("mxfp4_e2m1")).values(np.array([[1.0, -6.5, 0.3]])).tolist()
    [[1.0, -6.0, 0.5]]
    """

    format: BlockFormat
    rounding: RoundingMode = "ties_to_even"
    scale_rule: ScaleRule | None = None
    tensor_scale: float | None = None
    not_finite: NotFinite = "nan"

    def __post_init__(self):
        choice("testing", "rounding of elements of blocks", self.rounding, DETERMINISTIC)
        choice("testing", "not_finite", self.not_finite, ("nan", "open"))
        self.values(np.zeros((1, 2), np.float32))  # refuses what does not belong together

    def __str__(self) -> str:
        words = [str(self.format), self.rounding]
        words += [] if self.format.tensor_scale else [f"scale rule {self.rule}"]
        words += [] if self.tensor_scale is None else [f"tensor scale {self.tensor_scale!r}"]
        words += ["blocks with NaN or infinities open"] if self.not_finite == "open" else []
        return ", ".join(words)

    @property
    def rule(self) -> ScaleRule:
        """The scale rule, of MX."""
        return self.scale_rule or "floor"

    def coded(self, x) -> ops.BlockCodes:
        """Return the expected codes."""
        return ops.quantize_blocks(
            x, self.format, rounding=self.rounding, scale_rule=self.scale_rule, tensor_scale=self.tensor_scale
        )

    def values(self, x):
        """Return the expected results of x, float64; see `Scaled`."""
        codes, scales, tensor_scale = self.coded(x)
        return ops.decode_blocks(codes, scales, self.format, tensor_scale=tensor_scale, dtype=np.float64)

    def same(self, x, a, b):
        """Tell where results are one and the same; a zero of integer elements has no sign."""
        alike = (a == b) | np.isnan(a) & np.isnan(b)
        if not isinstance(self.format.element, IntFormat):
            alike = super().same(x, a, b)
        if self.not_finite == "nan" or np.isfinite(x).all():
            return alike
        whole = self.format.tensor_scale and self.tensor_scale is None
        return alike | (True if whole else holds_not_finite(x, self.format.block_size))

    def groups(self):
        """Return the case groups; see `Scaled`."""
        return BlockCases(self.format, self.tensor_scale).groups()

    def code_checks(self):
        """Return checks of codes and scales; see `Scaled`."""
        return block_codes.checks(self)

    def ask(self, probe, route, x):
        """Return what an implementation makes of x; what it encodes is read by the definition."""
        return probe.ask(route, x) if route == "quantize" else block_codes.read(probe, self, x)

    def diagnose(self, seen):
        """Return the defects that explain everything seen; see `Scaled`."""
        return diagnose(self, seen)

    # -- the definition ----------------------------------------------------------------------------

    def _tensor_scale(self, x) -> float:
        """Return the tensor scale of an array by the definition."""
        if not self.format.tensor_scale or self.tensor_scale is not None:
            return self.tensor_scale or 1.0
        finite = x[~holds_not_finite(x, self.format.block_size)]
        return blocks.tensor_scale(Fraction(float(np.abs(finite).max(initial=0))), self.format)

    def by_definition(self, x, row: int, first: int) -> tuple[float, int, list[int]]:
        """Return tensor scale, scale code and codes of one block of an array: a row, and where in it."""
        block = x.reshape(-1, x.shape[-1])[row, first : first + self.format.block_size]
        values = [float_codes.from_float(float(v)) for v in block]
        given = self._tensor_scale(x)
        return given, *blocks.encode_block(values, self.format, self.rule, given, self.rounding)

    def hold_to_the_definition(self):
        """Compare the bulk of the expected side with the definition: two blocks of each group."""
        for group in self.groups():
            for dtype in (np.float32, np.float64):
                calls = group.arrays(np.dtype(dtype))
                x = calls[len(calls) // 2]
                row, found = len(x) // 3, self.values(x)
                for first in (0, self.format.block_size):
                    given, code, codes = self.by_definition(x, row, first)
                    exact = blocks.decode_block(code, codes, self.format, given)
                    bulk = found[row, first : first + self.format.block_size]
                    if not self.same(x[:0], np.array([float_codes.to_float(v) for v in exact]), bulk).all():
                        raise RuntimeError(
                            f"refimpl's kernels and its definition disagree about a block of {self}, {group.name}; "
                            "please report this"
                        )

    def explain(self, x, at, got):
        """Explain one element by the definition of its block; see `Scaled`."""
        fmt, size = self.format, self.format.block_size
        row, column = divmod(at, x.shape[-1])
        first = column // size * size
        block = x.reshape(-1, x.shape[-1])[row, first : first + size].astype(np.float64)
        given, code, codes = self.by_definition(x, row, first)
        lines = [f"row {row}, element {column}: {x.dtype} {shortest(float(block[column - first]))}"]
        if not np.isfinite(block).all():
            lines += ["its block holds NaN or an infinity", "right  NaN, for all of the block", f"got    {got:g}"]
            return "\n".join(lines)
        scale = float_codes.decode(code, fmt.scale).magnitude * Fraction(given)
        right = float_codes.to_float(blocks.decode_element(codes[column - first], fmt))
        lines += [
            f"its block's largest magnitude is {shortest(float(np.abs(block).max()))}, so the scale "
            f"has code 0x{code:x}, and is {_number(scale)}" + f" (tensor scale {given!r})" * fmt.tensor_scale,
            "divided by the scale:",
        ]
        scaled = np.array([float(Fraction(float(block[column - first])) / scale)])
        rules = Behaviour(fmt.grid, self.rounding, overflow="saturate")
        over = float(Fraction(got) / scale) if np.isfinite(got) else got
        return "\n".join([*lines, explain(rules, scaled, np.copysign(over, got), right=right)])

    # -- laws --------------------------------------------------------------------------------------

    def laws(self):
        """Return the laws; see `Scaled`."""
        found = [ScaledLaw("determinism", "the same input gives the same result", self._determinism)]
        if self.tensor_scale is None:
            found.append(ScaledLaw("scaling_by_two", "doubling the input doubles the result", self._scaling))
        if not self.rounding.startswith("toward_") or self.rounding == "toward_zero":
            found.append(ScaledLaw("oddness", "q(-x) = -q(x)", self._oddness))
        if not self.format.tensor_scale or self.tensor_scale is not None:
            found.append(ScaledLaw("independence", "a block does not depend on its neighbours", self._independence))
        return tuple(found)

    def _determinism(self, q, x):
        y = q(x)
        return y, ~self.same(x, y, q(x))

    def _scaling(self, q, x):
        size = np.abs(x)
        inside = (size.max() < np.finfo(x.dtype).max / 4) & (size.max() < 2.0**110) & (size.max() > 2.0**-8)
        y = q(x)
        if not inside or x.dtype.itemsize < 4:  # results may over- or underflow
            return y, np.zeros(x.shape, bool)
        rows = size.max(axis=-1, keepdims=True) > 2.0**-40
        each = size.reshape(*x.shape[:-1], -1, self.format.block_size).max(axis=-1)
        rows &= ((each > 2.0**-40) | (each == 0)).all(axis=-1, keepdims=True)
        return y, ~self.same(x, 2 * y, q(x * x.dtype.type(2))) & rows

    def _oddness(self, q, x):
        y = q(x)
        return y, ~self.same(x, y, -q(-x))

    def _independence(self, q, x):
        y, size = q(x), self.format.block_size
        return y, ~self.same(x, y, np.roll(q(np.roll(x, size, axis=-1)), -size, axis=-1))


def _number(x: Fraction) -> str:
    return shortest(float(x)) if float(x) else f"about 2^{x.numerator.bit_length() - x.denominator.bit_length()}"
