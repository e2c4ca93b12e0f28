"""Integers with a scale and a zero point: code = clip(round(x / scale) + zero point).

The quotient is exact and rounded once, in the mode asked for; the zero point is added after that.  What
a code stands for is scale * (code - zero point), rounded once to float32.  *Source*: Jacob et al.,
Quantization and training of neural networks for efficient integer-arithmetic-only inference (2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np

from refimpl._arguments import POSITIVE, Interval, choice, integer, number
from refimpl.formats import IntFormat, RoundingMode
from refimpl.spec import integers
from refimpl.testing.checks.scaled import Group, Scaled, ScaledLaw
from refimpl.testing.expected.behaviour import OF_INTEGERS
from refimpl.testing.expected.cases import around
from refimpl.testing.expected.explain import shortest

MOST = 3000  # ties that are tried of one format


@dataclass(frozen=True)
class ScaledIntegers(Scaled):
    """Describe what a quantizer to scaled integers is expected to do.

    Parameters
    ----------
    format : IntFormat
    scale : float
        Positive and finite.
    zero_point : int
        A code of the format.
    rounding : str
        A deterministic mode, not ``to_odd``; others are a ValueError.

    Examples
    --------
    >>> from refimpl.formats import format
    >>> expected = ScaledIntegers(format("uint8"), 0.5, 10)
    >>> expected.codes(np.array([1.25, -100.0])).tolist(), expected.values(np.array([1.25])).tolist()
    ([12, 0], [1.0])
    """

    format: IntFormat
    scale: float = 1.0
    zero_point: int = 0
    rounding: RoundingMode = "ties_to_even"

    def __post_init__(self):
        fmt = self.format
        number("testing", "scale", self.scale, POSITIVE)
        integer("testing", f"zero_point of {fmt}", self.zero_point, Interval(fmt.min, fmt.max))
        choice("testing", f"rounding of {fmt}", self.rounding, OF_INTEGERS)

    def __str__(self) -> str:
        return f"{self.format}, scale {self.scale!r}, zero point {self.zero_point}, {self.rounding}"

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Return the expected codes, int64, from exact fractions; NaN gives the zero point."""
        found = [self._code(value) for value in x.astype(np.float64).ravel().tolist()]
        return np.array(found, np.int64).reshape(x.shape)

    def _code(self, value: float) -> int:
        if math.isnan(value):
            return self.zero_point
        if math.isinf(value):
            return self.format.max if value > 0 else self.format.min
        return integers.encode(value, self.format, self.scale, self.zero_point, self.rounding)

    def read(self, codes: np.ndarray) -> np.ndarray:
        """Return what codes stand for: float32 numbers, as float64."""
        table = _meanings(self.format, self.scale, self.zero_point)
        return table[np.asarray(codes, np.int64) - self.format.min]

    def values(self, x):
        """Return the expected results of x, float64; see `Scaled`."""
        return self.read(self.codes(x))

    def narrow(self, y, dtype):
        """Return results as float32 holds them, as float64."""
        return super().narrow(y, np.float32)

    def same(self, x, a, b):
        """Tell where results are equal; a zero has no sign, and what NaN becomes is open."""
        return (a == b) | np.isnan(x)

    def _points(self, steps) -> np.ndarray:
        return (np.asarray(steps, np.float64) - self.zero_point) * self.scale

    def groups(self):
        """Return the case groups; see `Scaled`."""
        fmt, codes = self.format, np.arange(self.format.min, self.format.max + 1)
        codes = codes[:: -(-codes.size // MOST)]
        ends = [fmt.min + d for d in (-1, -0.5, 0, 0.5)] + [fmt.max + d for d in (-0.5, 0, 0.5, 1)]
        far = [fmt.max * 2 + 1.5, 2.0**fmt.bits, 2.0**31, 2.0**32, 2.0**63]

        def near(points):
            return lambda dtype: [around(self._points(points), dtype)]

        def tiny(dtype):
            info = np.finfo(dtype)
            points = [0.0, self.scale / 4, info.smallest_subnormal, info.smallest_normal]
            return [around(np.array(points, np.float64), dtype)]

        halfway = "half way between two codes, and one unit either side, go where they must"
        return (
            Group("ties", halfway, near(codes + 0.5)),
            Group("representable", "what codes stand for stays", near(codes)),
            Group("range", "both ends of the codes are reached and not passed", near(ends)),
            Group("far_overflow", "values far outside saturate", near([*far, *(-f for f in far)])),
            Group("zero", "zero and tiny values become the zero point, or round as the mode says", tiny),
            Group("infinities", "infinities saturate", lambda dtype: [np.array([np.inf, -np.inf], dtype)]),
        )

    def laws(self):
        """Return the laws; see `Scaled`."""

        def monotonicity(q, x):
            y = q(x)
            order = np.argsort(x, kind="stable")
            bad = np.zeros(x.shape, bool)
            bad[order[1:]] = np.diff(y[order]) < 0
            return y, bad

        def determinism(q, x):
            y = q(x)
            return y, q(x) != y

        def zero(q, x):
            y = q(np.where(x == 0, x, x.dtype.type(0)))
            return y, y != 0

        return (
            ScaledLaw("determinism", "the same input gives the same result", determinism),
            ScaledLaw("monotonicity", "a larger input never gives a smaller result", monotonicity),
            ScaledLaw("exact_zero", "zero stays zero: the zero point stands for it", zero),
        )

    def explain(self, x, at, got):
        """Explain one result; see `Scaled`."""
        value = float(x.reshape(-1)[at])
        lines = [f"input  {x.dtype} = {shortest(value)}"]
        code = self._code(value)
        if math.isfinite(value):
            lines.append(
                f"over the scale {self.scale!r} it is {shortest(value / self.scale)}, exactly "
                f"{_short(Fraction(value) / Fraction(self.scale))}"
            )
        right = float(self.read(np.array([code]))[0])
        lines.append(
            f"right  code {code} = {shortest(right)}  ({self.rounding}, then plus {self.zero_point}, "
            f"within {self.format.min} to {self.format.max})"
        )
        return "\n".join([*lines, f"got    {shortest(got)}"])

    def defects(self):
        """Return known defects; see `Scaled`."""
        fmt, zero, scale = self.format, self.zero_point, self.scale

        def ruled(**rules):
            return replace(self, **rules).values

        def clipped(codes):
            return self.read(np.clip(np.nan_to_num(codes), fmt.min, fmt.max))

        def quotient(x, work):
            with np.errstate(all="ignore"):
                return work(x.astype(np.float32)).astype(np.float64)

        def through(work):  # float32 between, rounded to nearest even
            return lambda x: clipped(np.rint(quotient(x, work)) + zero)

        def early(x):  # the zero point joins before rounding: the parity of ties may change
            with np.errstate(all="ignore"):
                return clipped(np.rint(x.astype(np.float64) / scale + zero))

        def wrapped(x):  # beyond int32, casts in C give the lowest integer
            with np.errstate(all="ignore"):
                wide = np.rint(x.astype(np.float64) / scale)
                sure = np.abs(wide) < 2.0**31
                low = -(1 << fmt.bits - 1) if fmt.signed else 0
                code = np.mod(np.where(sure, wide, -(2.0**31)) + zero - low, 1 << fmt.bits) + low
            return (code - zero) * scale

        def shifted(x):  # clipped about zero before the zero point is added, and again after
            with np.errstate(all="ignore"):
                return clipped(np.clip(np.rint(x.astype(np.float64) / scale), fmt.min, fmt.max) + zero)

        single = np.float32(scale)
        found: list[tuple[str, Callable]] = [
            (mode, ruled(rounding=mode)) for mode in OF_INTEGERS if mode != self.rounding
        ]
        if self.rounding == "ties_to_even":
            found += [
                ("divides by the scale in float32, and so rounds twice", through(lambda v: v / single)),
                (
                    "multiplies by the reciprocal of the scale in float32",
                    through(lambda v: v * (np.float32(1) / single)),
                ),
                ("wraps around instead of saturating", wrapped),
            ]
        if zero:
            found += [
                ("ignores the zero point", ruled(zero_point=0)),
                ("adds the zero point before rounding", early),
                ("saturates before the zero point is added", shifted),
            ]
        if fmt.signed:
            other = IntFormat(bits=fmt.bits, symmetric=not fmt.symmetric)
            if other.min <= zero:
                said = "also uses the lowest code" if fmt.symmetric else "does not use the lowest code"
                found.append((said, ruled(format=other)))
        return tuple(found)


@lru_cache(maxsize=16)
def _meanings(fmt: IntFormat, scale: float, zero_point: int) -> np.ndarray:
    """Return what each code stands for, from the lowest on."""
    codes = range(fmt.min, fmt.max + 1)
    return np.array([integers.decode(code, scale, zero_point) for code in codes])


def _short(x: Fraction) -> str:
    text = str(x)
    return text if len(text) <= 40 else f"{float(x)!r} and more digits"
