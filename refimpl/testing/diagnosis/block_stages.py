"""A block quantizer stage by stage, on float64 arrays; what a defect of `block_defects` replaces is a stage.

=============  ===========================================================================
before         inputs as they are taken
turn           the array with the blocks one after the other along its last axis
turned_back    undoes it
size           elements of a block
of             from each block to the one whose scale it gets
largest        the largest magnitude of each block
tensor         the scale of the tensor
own            the largest magnitude as the block's own scale has it, where the tensor's has another
power, clamp   MX: exponent of the scale, and its range; of_no_power: the scale, where it is no power of two
ratio, scale   others: block scale before and after rounding to its format
zero           others: the block scale instead of zero
used, kept     what elements are divided by, and what multiplies them
written        from each block to the one whose scale multiplies its elements
divide         the quotient, so exact that rounding it is right
grid, whole    elements: the format, and rounding to integers
limit, small   elements beyond the largest, and near zero
product        element times scale
after          results
=============  ===========================================================================

*Notation*: p the plan, b blocks (..., blocks, size), a largest magnitudes and s block scales (..., blocks, 1), t the
tensor's scale (..., 1, 1, 1), q quotients, e elements.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from refimpl import ops
from refimpl.formats import BlockFormat, FloatFormat
from refimpl.testing.expected.behaviour import step_above
from refimpl.testing.expected.quotients import quotient

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
SMALLEST_FLOAT32 = 2.0**-149


class Plan:
    """The stages of a right quantizer of these rules, some of them replaced."""

    def __init__(self, behaviour, stages: dict[str, Any] | None = None):
        self.behaviour = behaviour
        self.format: BlockFormat = behaviour.format
        self.stages = {**right_stages(behaviour), **(stages or {})}

    def __getattr__(self, name):
        stage = self.stages[name]
        return (lambda *arguments: stage(self, *arguments)) if callable(stage) else stage

    @property
    def top(self) -> float:
        """The largest element of the right format."""
        return float(self.format.grid.max)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return what comes of x (calls, rows, columns), float64."""
        with np.errstate(all="ignore"):
            taken = self.turn(self.before(x).astype(np.float64))
            shape, n = taken.shape, taken.shape[-1]
            b = self.cut(taken)
            s, t = self.scales(b)
            e = self.element(self.divide(b, self.used(s), t))
            y = self.product(e, self.kept(self.written(s)), t)
            y = y.reshape(*y.shape[:-2], -1)[..., :n] if self.size is not None else y.reshape(shape)
            return self.after(x.astype(np.float64), self.turned_back(y))

    def cut(self, taken: np.ndarray) -> np.ndarray:
        """Return blocks, the last of a row filled with zeros."""
        if self.size is None:  # the whole of a call
            return taken.reshape(len(taken), 1, 1, -1)
        return cut(taken, min(self.size, taken.shape[-1]))

    def scales(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the scales of blocks, and the tensor's."""
        a = self.of(self.largest(b))
        t = self.tensor(a)
        return self.scale_of(self.own(b, a), t), t

    def scale_of(self, a, t):
        """Return the scale of a block from its largest magnitude."""
        if "of_no_power" in self.stages:
            return self.of_no_power(a)
        if self.format.tensor_scale:
            s = self.scale(self.ratio(a, t))
            return self.zero(np.where(np.isnan(a), np.nan, s))
        exponent = self.clamp(np.where(a == 0, -np.inf, self.power(a)))
        return np.where(np.isnan(a), np.nan, 2.0**exponent)

    def element(self, q):
        """Round quotients to elements."""
        fmt = self.grid
        exponent = np.frexp(q)[1] - 1 - fmt.mantissa_bits
        unit = np.ldexp(1.0, np.maximum(exponent, unit_exponent(fmt)) if fmt.exponent_bits else unit_exponent(fmt))
        e = self.whole(q / unit) * unit
        e = np.where(e == 0, np.copysign(0.0, q), e)
        return self.small(q, self.limit(q, e))


def cut(x: np.ndarray, size: int) -> np.ndarray:
    """Return the last axis in blocks (..., blocks, size), the last of them filled with zeros."""
    filled = np.zeros((*x.shape[:-1], -(-x.shape[-1] // size) * size), x.dtype)
    filled[..., : x.shape[-1]] = x
    return filled.reshape(*x.shape[:-1], -1, size)


def whole(b: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return blocks joined again, as long as they were."""
    return b.reshape(*b.shape[:-2], -1)[..., : like.shape[-1]]


@lru_cache(maxsize=16)
def unit_exponent(fmt: FloatFormat) -> int:
    """Return the exponent of the smallest element."""
    return int(np.frexp(fmt.smallest_subnormal if fmt.has_subnormals else fmt.smallest_normal)[1]) - 1


def right_stages(behaviour) -> dict[str, Any]:
    """Return the stages of a right quantizer."""
    fmt = behaviour.format
    return {
        "before": lambda p, x: x,
        "turn": lambda p, x: x,
        "turned_back": lambda p, y: y,
        "size": fmt.block_size,
        "of": lambda p, a: a,
        "largest": lambda p, b: not_finite_is_nan(np.abs(b).max(axis=-1, keepdims=True)),
        "own": lambda p, b, a: a,
        "tensor": (lambda p, a: tensor_scale(a, p.top * fmt.scale.max)) if is_dynamic(behaviour) else given,
        "power": lambda p, a: exponents(behaviour.rule, a, fmt),
        "clamp": lambda p, e: np.clip(e, -fmt.scale.bias, fmt.scale.max_code - fmt.scale.bias),
        "ratio": lambda p, a, t: quotient(a, p.top * t),
        "scale": lambda p, r: ops.quantize(r, fmt.scale, overflow="saturate"),
        "zero": lambda p, s: np.where(s == 0, 1.0, s),
        "used": lambda p, s: s,
        "kept": lambda p, s: s,
        "written": lambda p, s: s,
        "divide": lambda p, b, s, t: quotient(b, s * t),
        "grid": fmt.grid,
        "whole": lambda p, v: integral(v, behaviour.rounding),
        "limit": lambda p, q, e: np.where(np.abs(e) > p.grid.max, np.copysign(float(p.grid.max), e), e),
        "small": lambda p, q, e: e,
        "product": lambda p, e, s, t: e * (s * t),
        "after": lambda p, x, y: y,
    }


def is_dynamic(behaviour) -> bool:
    """Return whether a tensor scale comes from the values."""
    return behaviour.format.tensor_scale and behaviour.tensor_scale is None


def not_finite_is_nan(a):
    """Return largest magnitudes, NaN for infinity."""
    return np.where(np.isfinite(a), a, np.nan)


def given(p: Plan, a):
    """Return the tensor scale that is given, or 1."""
    return np.float64(p.behaviour.tensor_scale or 1.0)


def largest_of_all(a):
    """Return the largest of the magnitudes of each call that are not NaN."""
    return np.nan_to_num(np.where(np.isnan(a), 0.0, a)).max(axis=(1, 2, 3), keepdims=True)


def tensor_scale(a, parts: float):
    """Return the scale of each tensor: its largest magnitude over so many, in float32."""
    top = largest_of_all(a)
    found = np.clip(quotient(top, parts), SMALLEST_FLOAT32, LARGEST_FLOAT32).astype(np.float32).astype(np.float64)
    return np.where(top == 0, 1.0, found)


def exponents(rule: str, a, fmt: BlockFormat):
    """Return the exponents of MX's scales by a rule, of magnitudes above zero."""
    m, e = np.frexp(a)
    e = e.astype(np.float64)
    top, of_top = np.frexp(float(fmt.grid.max))
    if rule == "floor":
        return e - 1 - fmt.max_exponent
    if rule == "ceil_log2":
        return e - 1 - fmt.max_exponent + (m > 0.5)
    if rule == "even":
        power = 2.0**fmt.max_exponent
        carries = m >= (2 * power - step_above(fmt.grid) / 2) / (2 * power)
        return e - 1 - fmt.max_exponent + carries
    if rule == "ceil":
        return e - of_top + (m > top)
    return e - of_top - 1 + (m >= 0.75 * top) + (m >= 1.5 * top)


WORDS = {
    "ties_to_even": "to nearest, ties to even",
    "ties_to_away": "to nearest, ties away from zero",
    "ties_to_zero": "to nearest, ties toward zero",
    "toward_zero": "toward zero",
    "away_from_zero": "away from zero",
}


def sign_pairs() -> list[tuple[str, str]]:
    """Return pairs of modes, of positive and of negative numbers, that together are no mode of their own."""
    named = [{"ties_to_away", "ties_to_zero"}, {"toward_zero", "away_from_zero"}]
    return [(a, b) for a in WORDS for b in WORDS if a != b and {a, b} not in named]


def integral(v, rounding: str):
    """Return float64 numbers rounded to integers in any mode."""
    if rounding == "ties_to_even":
        return np.rint(v)
    size = np.abs(v)
    low = np.floor(size)
    rest, odd, minus = size - low, low % 2 == 1, v < 0
    tie, above = rest == 0.5, rest > 0.5
    up = {
        "ties_to_away": lambda: above | tie,
        "ties_to_zero": lambda: above,
        "ties_up": lambda: above | tie & ~minus,
        "ties_down": lambda: above | tie & minus,
        "ties_to_odd": lambda: above | tie & ~odd,
        "toward_zero": lambda: np.zeros(v.shape, bool),
        "away_from_zero": lambda: rest > 0,
        "toward_positive": lambda: (rest > 0) & ~minus,
        "toward_negative": lambda: (rest > 0) & minus,
        "to_odd": lambda: (rest > 0) & ~odd,
    }[rounding]()
    return np.copysign(low + up, v)
