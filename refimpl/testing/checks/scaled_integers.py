"""Integers with a scale and a zero point: code = clip(round(x / scale) + zero point).

The quotient is exact and rounded once, in the mode asked for; the zero point is added after that.  What
a code stands for is scale * (code - zero point), rounded once to float32.  Everything expected is computed by
`refimpl.spec.integers`.  *Source*: Jacob et al., Quantization and training of neural networks for efficient
integer-arithmetic-only inference (2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from refimpl._arguments import POSITIVE, Interval, choice, integer, message, number, wrong_value
from refimpl.formats import IntFormat, RoundingMode
from refimpl.ops import arrays
from refimpl.ops.rows import RowLayout, to_rows
from refimpl.spec import integers
from refimpl.testing.checks.checks import Check, Seen, Tally
from refimpl.testing.checks.scaled import Group, Scaled, ScaledLaw
from refimpl.testing.diagnosis.integers import diagnose
from refimpl.testing.expected.behaviour import OF_INTEGERS
from refimpl.testing.expected.cases import around
from refimpl.testing.expected.explain import shortest
from refimpl.testing.implementations.findings import Finding, once

MOST = 3000  # codes of which ties and values are tried, all scales together


@dataclass(frozen=True, eq=False)
class ScaledIntegers(Scaled):
    """Describe what a quantizer to scaled integers is expected to do.

    Parameters
    ----------
    format : IntFormat
    scale : float, or array_like of float32
        Positive and finite.  One float: inputs have one dimension.
    zero_point : int, or array_like of them
        Codes of the format.
    rounding : str
        A deterministic mode, not ``to_odd``; others are a ValueError.
    axis : int, optional
        0 or 1 (or -1): inputs have two dimensions, and each index along this axis its scale.
    block_size : int, optional
        Inputs have the shape of the scales, the last axis as many times longer: each block of the last axis has its
        scale, as `refimpl.quantize_int` returns them.

    Examples
    --------
    >>> from refimpl.formats import format
    >>> expected = ScaledIntegers(format("uint8"), 0.5, 10)
    >>> expected.codes(np.array([1.25, -100.0])).tolist(), expected.values(np.array([1.25])).tolist()
    ([12, 0], [1.0])
    >>> by_rows = ScaledIntegers(format("int8"), [0.5, 2.0], axis=0)
    >>> by_rows.codes(np.array([[1.0, 3.0], [1.0, 4.0]])).tolist()
    [[2, 6], [0, 2]]
    """

    format: IntFormat
    scale: float | np.ndarray = 1.0
    zero_point: int | np.ndarray = 0
    rounding: RoundingMode = "ties_to_even"
    axis: int | None = None
    block_size: int | None = None

    def __post_init__(self):
        fmt = self.format
        choice("testing", f"rounding of {fmt}", self.rounding, OF_INTEGERS)
        if self.axis is None and self.block_size is None:
            number("testing", "scale", self.scale, POSITIVE)
            integer("testing", f"zero_point of {fmt}", self.zero_point, Interval(fmt.min, fmt.max))
            return
        if self.axis is not None and self.block_size is not None:
            raise wrong_value("testing", "axis", self.axis, "None", "blocks lie along the last axis")
        scale = arrays.scales("testing", "scale", self.scale)
        if self.axis is not None:
            integer("testing", "axis", self.axis, Interval(-2, 1))
            scale = scale.reshape(-1)
        else:
            integer("testing", "block_size", self.block_size, Interval(1))
        if scale.size == 0 or scale.ndim == 0:
            raise ValueError(message("testing", "scale", f"of shape {scale.shape}", "an array of one or more scales"))
        codes_of = f"a code of {fmt}, {fmt.min} to {fmt.max}"
        zero = arrays.integers("testing", "zero_point", self.zero_point, fmt.min, fmt.max, codes_of)
        zero = zero.reshape(-1) if self.axis is not None and zero.ndim else zero
        if zero.ndim and zero.shape != scale.shape:
            allowed = f"one, or of the shape of scale, {scale.shape}"
            raise ValueError(message("testing", "zero_point", f"of shape {zero.shape}", allowed))
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", np.broadcast_to(zero, scale.shape))

    def __str__(self) -> str:
        where = "" if self.block_size is None else f", blocks of {self.block_size}"
        where += "" if self.axis is None else f" along axis {self.axis}"
        scale, zero = self.lanes()
        if len(scale) == 1:
            return f"{self.format}, scale {scale[0]!r}, zero point {zero[0]}, {self.rounding}{where}"
        zeros = f"zero point {zero[0]}" if len(set(zero)) == 1 else f"zero points {min(zero)} to {max(zero)}"
        return f"{self.format}, {len(scale)} scales, {zeros}, {self.rounding}{where}"

    @property
    def has_arrays(self) -> bool:
        """Whether there may be several scales, and inputs of their shape."""
        return self.axis is not None or self.block_size is not None

    @property
    def is_elementwise(self) -> bool:
        """With one scale a result depends on its own input alone."""
        return not self.has_arrays

    def lanes(self) -> tuple[list[float], list[int]]:
        """Return scales and zero points in C order."""
        scale, zero = np.asarray(self.scale, np.float64), np.asarray(self.zero_point)
        return scale.reshape(-1).tolist(), zero.reshape(-1).tolist()

    def _lane(self) -> tuple[float, int]:
        scales, zeros = self.lanes()
        return scales[0], zeros[0]

    def layout(self, x) -> tuple[np.ndarray, RowLayout]:
        """Return x as rows, each with one scale, and what undoes it."""
        return to_rows("testing", x, self.axis, self.block_size)

    def wide(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Return the scale and the zero point of each element of x, float64 and int64."""
        scale, zero = self.lanes()
        rows, layout = self.layout(x)
        each = [np.repeat(np.array(values)[:, None], rows.shape[1], axis=1) for values in (scale, zero)]
        return layout.elements(each[0]).astype(np.float64), layout.elements(each[1]).astype(np.int64)

    # -- what is expected ----------------------------------------------------------------------------

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Return the expected codes, int64, from exact fractions; NaN gives the zero point."""
        x = np.asarray(x, np.float64)
        if not self.has_arrays:
            distinct, back = np.unique(x, return_inverse=True)
            return np.array([self._code(v, *self._lane()) for v in distinct.tolist()], np.int64)[back].reshape(x.shape)
        rows, layout = self.layout(x)
        lanes = zip(rows.tolist(), *self.lanes(), strict=True)
        found = [[self._code(value, scale, zero) for value in row] for row, scale, zero in lanes]
        return layout.elements(np.array(found, np.int64).reshape(rows.shape))

    def _code(self, value: float, scale: float, zero_point: int) -> int:
        if math.isnan(value):
            return zero_point
        if math.isinf(value):
            return self.format.max if value > 0 else self.format.min
        return integers.encode(value, self.format, scale, zero_point, self.rounding)

    def read(self, codes: np.ndarray) -> np.ndarray:
        """Return what codes stand for: float32 numbers, as float64."""
        rows, layout = self.layout(np.asarray(codes, np.int64))
        tables = [_meanings(self.format, scale, zero) for scale, zero in zip(*self.lanes(), strict=True)]
        found = [table[row - self.format.min] for table, row in zip(tables, rows, strict=True)]
        return layout.elements(np.array(found).reshape(rows.shape))

    def values(self, x):
        """Return the expected results of x, float64; see `Scaled`."""
        return self.read(self.codes(x))

    def narrow(self, y, route, dtype):
        """Return results as float32 holds them, as float64."""
        with np.errstate(over="ignore"):
            return y.astype(np.float32).astype(np.float64)

    def same(self, x, a, b):
        """Tell where results are equal; a zero has no sign, and what NaN becomes is open."""
        return (a == b) | np.isnan(x)

    def ask(self, probe, route, x):
        """Return what an implementation makes of x; one with several scales gets whole inputs alone."""
        if not self.has_arrays:
            return probe.ask(route, x)

        def whole(values):
            try:
                return once(probe.implementation.function(route), values, time_limit=probe.time_limit)
            except Finding as found:
                found.about_input = False
                raise

        found = whole(x)
        if route == "quantize" and not (found.dtype.kind in "fiu" or found.dtype.name.startswith(("float", "bfloat"))):
            raise Finding(f"returned {found.dtype}; values are floats", about_input=False)
        if route == "quantize":
            return found.astype(np.float64)
        if found.dtype.kind not in "iu":
            raise Finding(f"returned {found.dtype}; codes are integers", about_input=False)
        if ((found < self.format.min) | (found > self.format.max)).any():
            allowed = f"{self.format.min} to {self.format.max}"
            raise Finding(f"returned codes {found.min()} to {found.max()}; those of {self.format} go from {allowed}")
        return self.read(found)

    def diagnose(self, seen):
        """Return the defects that explain everything seen; see `Scaled`."""
        return diagnose(self, seen)

    # -- cases ---------------------------------------------------------------------------------------

    def groups(self):
        """Return the case groups; see `Scaled`."""
        fmt, lanes = self.format, len(self.lanes()[0])
        codes = np.arange(fmt.min, fmt.max + 1)
        codes = np.unique(np.append(codes[:: -(-codes.size * lanes // MOST)], [fmt.min, fmt.max]))
        edge = [-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2]
        ends = [fmt.min + d for d in edge] + [fmt.max + d for d in edge]
        far = [
            fmt.max * 2 + 1.5,
            *(2.0**k for k in (fmt.bits - 1, fmt.bits, fmt.bits + 1, 15, 16, 24, 31, 32, 53, 63, 64)),
        ]
        far += [f * 1.3 for f in far] + [1e30, 1e38]

        def near(points):
            return lambda scale, zero, dtype: (np.asarray(points, np.float64) - zero) * scale

        def coarse(scale, zero, dtype):  # what fewer bits make ties of
            some = codes[:: -(-codes.size // 40)] + 0.5 - zero
            return np.concatenate([some * (1 + by) for k in (9, 12, 20, 24) for by in (2.0**-k, -(2.0**-k))]) * scale

        def tiny(scale, zero, dtype):
            info = np.finfo(dtype)
            return np.array([0.0, scale / 4, scale * 2.0**-20, info.smallest_subnormal, info.smallest_normal])

        def extremes(scale, zero, dtype):
            powers = np.arange(-1074 if dtype.itemsize == 8 else -149, 1024 if dtype.itemsize == 8 else 128, 7)
            return np.concatenate([np.ldexp(1.0, powers), [float(np.finfo(dtype).max)]])

        halfway = "half way between two codes, and one unit either side, go where they must"
        made = (
            ("ties", halfway, near(codes + 0.5)),
            ("representable", "what codes stand for stays", near(codes)),
            ("near_ties", "what lies beside a tie is not taken for one", coarse),
            ("range", "both ends of the codes are reached and not passed", near(ends)),
            ("far_overflow", "values far outside saturate", near([*far, *(-f for f in far)])),
            ("extremes", "values of every size are right", extremes),
            ("zero", "zero and tiny values become the zero point, or round as the mode says", tiny),
        )
        groups = [Group(name, text, lambda dtype, make=make: self._calls(make, dtype)) for name, text, make in made]
        infinite = Group("infinities", "infinities saturate", self._infinities)
        return (*groups, infinite)

    def _calls(self, make, dtype) -> list[np.ndarray]:
        scale, zero = self.lanes()
        with np.errstate(all="ignore"):
            found = [around(make(s, z, dtype), dtype) for s, z in zip(scale, zero, strict=True)]
        return self._laid_out(found, dtype)

    def _infinities(self, dtype):
        found = np.array([np.inf, -np.inf], dtype)
        return self._laid_out([found] * len(self.lanes()[0]), dtype)

    def _laid_out(self, rows, dtype) -> list[np.ndarray]:
        """Return points of each scale as arrays for one call each."""
        if not self.has_arrays:
            return rows
        longest = max(map(len, rows))
        x = np.array([np.resize(row, longest) for row in rows], dtype)
        if self.axis is not None:
            shape = (len(rows), longest) if self.axis in (0, -2) else (longest, len(rows))
            return [self.layout(np.empty(shape, dtype))[1].elements(x)]
        size, scale = self.block_size or 1, np.asarray(self.scale)
        layout = self.layout(np.empty((*scale.shape[:-1], scale.shape[-1] * size), dtype))[1]
        x = np.array([np.resize(row, -(-longest // size) * size) for row in x], dtype)
        return [layout.elements(np.ascontiguousarray(x[:, i : i + size])) for i in range(0, x.shape[1], size)]

    def code_checks(self):
        """Return the check of a decoder: every code, with every scale."""

        def decode(probe, tally: Tally) -> None:
            codes = np.arange(self.format.min, self.format.max + 1)
            narrow = np.dtype(f"{'i' if self.format.signed else 'u'}{1 if self.format.bits <= 8 else 2}")
            for x in self._laid_out([codes] * len(self.lanes()[0]), np.int64):
                expected = self.read(x)
                with tally.noting("decode"):
                    given = x.astype(narrow)
                    try:
                        got = once(probe.implementation.decode, given, time_limit=probe.time_limit)
                    except Finding as found:
                        found.input = None
                        raise
                    got = self.narrow(got.astype(np.float64), "decode", None)

                    def text(i, x=x, right=expected, got=got):
                        values = shortest(float(right.flat[i])), shortest(float(got.flat[i]))
                        return "code   {}\nright  {}\ngot    {}".format(x.flat[i], *values)

                    tally.count("decode", x.reshape(-1), (got != expected).reshape(-1), text)
                    tally.seen.append(Seen("decode", x, expected, got))

        return (Check("decode", "case group", "every code stands for scale * (code - zero point)", decode, "decode"),)

    # -- laws ----------------------------------------------------------------------------------------

    def laws(self):
        """Return the laws; see `Scaled`."""

        def monotonicity(q, x):
            rows, layout = self.layout(x)
            y = self.layout(q(x))[0]
            order = np.argsort(rows, axis=1, kind="stable")
            down = np.diff(np.take_along_axis(y, order, axis=1), axis=1) < 0
            bad = np.zeros(rows.shape, bool)
            np.put_along_axis(bad, order[:, 1:], down, axis=1)
            return layout.elements(y), layout.elements(bad)

        def determinism(q, x):
            y = q(x)
            return y, q(x) != y

        def zeros(x):
            return np.where(x == 0, x, x.dtype.type(0))

        def zero(q, x):
            y = q(zeros(x))
            return y, y != 0

        return (
            ScaledLaw("determinism", "the same input gives the same result", determinism),
            ScaledLaw("monotonicity", "a larger input never gives a smaller result", monotonicity),
            ScaledLaw("exact_zero", "zero stays zero: the zero point stands for it", zero, zeros),
        )

    def explain(self, x, at, got):
        """Explain one result; see `Scaled`."""
        value = float(x.reshape(-1)[at])
        scales, zeros = self.wide(x)
        scale, zero = float(scales.reshape(-1)[at]), int(zeros.reshape(-1)[at])
        where = f" at {tuple(map(int, np.unravel_index(at, x.shape)))}" * self.has_arrays
        lines = [f"input  {x.dtype} = {shortest(value)}{where}"]
        code = self._code(value, scale, zero)
        if math.isfinite(value):
            over = Fraction(value) / Fraction(scale)
            shown = shortest(float(over)) if abs(over) < 2**1000 else "huge"
            lines.append(f"over the scale {scale!r} it is {shown}, exactly {_short(over)}")
        right = float(_meanings(self.format, scale, zero)[code - self.format.min])
        lines.append(
            f"right  code {code} = {shortest(right)}  ({self.rounding}, then plus {zero}, "
            f"within {self.format.min} to {self.format.max})"
        )
        return "\n".join([*lines, f"got    {shortest(got)}"])


@lru_cache(maxsize=256)
def _meanings(fmt: IntFormat, scale: float, zero_point: int) -> np.ndarray:
    """Return what each code stands for, from the lowest on."""
    codes = range(fmt.min, fmt.max + 1)
    return np.array([integers.decode(code, scale, zero_point) for code in codes])


def _short(x: Fraction) -> str:
    text = str(x)
    return text if len(text) <= 40 else f"{shortest(float(x)) if abs(x) < 2**1000 else 'a huge number'} and more digits"
