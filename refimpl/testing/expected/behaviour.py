"""What an implementation is expected to do: a format and the rules of rounding, as one record.

The expected side comes from `refimpl.spec` (Python int and Fraction) one value at a time
(`Behaviour.code_by_definition`), and in bulk from the kernels through `refimpl.ops`, which the
tests of this package hold to the definition bit for bit (`Behaviour.codes`, `Behaviour.values`).
Every failure that is reported is computed again from the definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from refimpl import ops
from refimpl._arguments import Interval, choice, integer, wrong_kind, wrong_value
from refimpl.formats import (
    NAN_RULES,
    OTHER_NAMES,
    OVERFLOWS,
    ROUNDINGS,
    CodeBook,
    FloatFormat,
    IntFormat,
    NanRule,
    Overflow,
    PositFormat,
    RoundingMode,
)
from refimpl.formats import format as format_of
from refimpl.spec import float_codes, integers, posits

ElementFormat = FloatFormat | PositFormat | IntFormat
DIRECTED: tuple[RoundingMode, ...] = ("toward_positive", "toward_negative")
NEAREST: tuple[RoundingMode, ...] = ("ties_to_even", "ties_to_away")
OF_INTEGERS: tuple[RoundingMode, ...] = (*NEAREST, "toward_zero", *DIRECTED)
DETERMINISTIC: tuple[RoundingMode, ...] = (*OF_INTEGERS, "to_odd")
COUNTED: tuple[RoundingMode, ...] = ("stochastic_a", "stochastic_b", "stochastic_c")


@dataclass(frozen=True)
class Behaviour:
    """Describe what an implementation is expected to do.

    Parameters
    ----------
    format : FloatFormat, PositFormat, IntFormat or a name
        Values of a float format must lie within float64.  An integer format is meant with scale 1:
        values become integers and saturate.
    rounding, overflow, nan : str
        As for `refimpl.quantize`; `nan` is ``zero`` (of either sign) or ``max``.
    random_bits : int, optional
        1 to 8, N of stochastic A, B and C.

    Raises
    ------
    TypeError, ValueError
        For block formats, unknown modes, and modes that the format does not have.

    Examples
    --------
    >>> e4m3 = Behaviour("float8_e4m3fn")
    >>> e4m3.values(np.array([1.0625, 500.0])).tolist(), e4m3.code_by_definition(1.0625)
    ([1.0, nan], 56)
    """

    format: ElementFormat
    rounding: RoundingMode = "ties_to_even"
    overflow: Overflow = "overflow"
    nan: NanRule = "zero"
    random_bits: int | None = None

    if TYPE_CHECKING:  # a format may be given by its name

        def __init__(
            self,
            format: ElementFormat | str,
            rounding: RoundingMode = "ties_to_even",
            overflow: Overflow = "overflow",
            nan: NanRule = "zero",
            random_bits: int | None = None,
        ): ...

    def __post_init__(self):
        fmt = format_of(self.format)
        if not isinstance(fmt, ElementFormat):
            allowed = "a float, posit or integer format"
            hint = "test the elements of blocks"
            if isinstance(fmt, CodeBook):
                hint = f"what a code book should give is rf.quantize_codebook(x, {fmt.name!r}, scale=1)"
            raise wrong_kind("testing", "format", str(fmt), allowed, hint)
        object.__setattr__(self, "format", fmt)
        choice("testing", "rounding", self.rounding, ROUNDINGS, meant=OTHER_NAMES)
        choice("testing", "overflow", self.overflow, OVERFLOWS)
        choice("testing", "nan", self.nan, NAN_RULES[:2])
        if self.rounding in COUNTED:
            integer("testing", "random_bits", self.random_bits, Interval(1, 8), f"{self.rounding} counts them")
        elif self.random_bits is not None:
            raise wrong_value("testing", "random_bits", self.random_bits, f"None with rounding {self.rounding!r}")
        if isinstance(fmt, FloatFormat) and not fmt.fits_float64:
            raise wrong_value("testing", "format", fmt, "a format within float64, in which results are compared")
        if isinstance(fmt, PositFormat):
            choice("testing", f"rounding of {fmt}", self.rounding, ("ties_to_even",))
            choice("testing", f"overflow of {fmt}", self.overflow, ("overflow",))
        if isinstance(fmt, IntFormat):
            choice("testing", f"rounding of {fmt}", self.rounding, OF_INTEGERS)
            choice("testing", f"overflow of {fmt}", self.overflow, ("overflow", "saturate"))

    @property
    def is_stochastic(self) -> bool:
        """Whether results are random."""
        return self.rounding.startswith("stochastic")

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Return the expected codes of x (float16, float32 or float64): int64 for integers."""
        if isinstance(self.format, IntFormat):
            return round_to_integers(x, self.format, self.rounding)
        if isinstance(self.format, PositFormat):
            return ops.encode(x, self.format)
        return ops.encode(x, self.format, rounding=self.rounding, overflow=self.overflow, nan=self.nan)

    def values(self, x: np.ndarray) -> np.ndarray:
        """Return the expected values of x as float64."""
        return decode(self.codes(x), self.format)

    def code_by_definition(self, x: float, random: int = 0) -> int:
        """Return the expected code of one value, from `refimpl.spec`."""
        fmt = self.format
        if isinstance(fmt, IntFormat):
            if np.isnan(x):
                return 0
            if np.isinf(x):
                return fmt.max if x > 0 else fmt.min
            return integers.encode(x, fmt, 1.0, rounding=self.rounding)
        value = float_codes.from_float(x)
        if isinstance(fmt, PositFormat):
            return posits.encode(value, fmt)
        bits = self.random_bits or float_codes.RANDOM_BITS
        return float_codes.encode(value, fmt, self.rounding, self.overflow, self.nan, random, bits)

    def read(self, codes: np.ndarray) -> np.ndarray:
        """Return what codes stand for, float64."""
        return decode(codes, self.format)

    def same(self, x: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Tell where results a and b of x (float64) are one and the same.

        NaN is NaN whatever its sign and payload, and minus zero is not zero; but what becomes of a
        NaN is compared without its sign, and in integers not at all.
        """
        if isinstance(self.format, IntFormat):
            return (a == b) | np.isnan(a) & np.isnan(b) | np.isnan(x) & np.isfinite(a)
        return alike(a, b) | np.isnan(x) & (np.abs(a) == np.abs(b))

    def __str__(self) -> str:
        words = [self.format.name, self.rounding]
        words += [self.overflow] if self.overflow != "overflow" else []
        words += [f"NaN gives {self.nan}"] if self.nan != "zero" else []
        words += [f"{self.random_bits} random bits"] if self.random_bits else []
        return ", ".join(words)


def alike(a, b):
    """Tell where two results are one and the same: NaN is NaN, and minus zero is not zero."""
    return (a == b) & (np.signbit(a) == np.signbit(b)) | np.isnan(a) & np.isnan(b)


def decode(codes: np.ndarray, fmt: ElementFormat) -> np.ndarray:
    """Return the values of codes as float64; the code of an integer format is its value."""
    if isinstance(fmt, IntFormat):
        return np.asarray(codes, np.float64)
    return ops.decode(codes, fmt)


def step_above(fmt: ElementFormat) -> float:
    """Return the distance from the largest value to the next that a wider exponent would give.

    >>> from refimpl.formats import format
    >>> step_above(format("float8_e4m3fn")), step_above(format("float8_e8m0fnu")) == 2.0**127
    (32.0, True)
    """
    if isinstance(fmt, IntFormat):
        return 1.0
    if isinstance(fmt, PositFormat):
        return float(fmt.max)
    return 2.0 ** (max(fmt.maxexp - 1, fmt.min_exponent) - fmt.mantissa_bits)


@lru_cache(maxsize=64)
def values_of(fmt: ElementFormat) -> np.ndarray:
    """Return finite values of a format, ascending, as float64 (read-only).

    All of them up to 16 bits.  Of a wider one, those whose significands are all zeros, all ones, or
    have a single one, in every binade.
    """
    if isinstance(fmt, IntFormat):
        found = np.arange(fmt.min, fmt.max + 1, dtype=np.float64)
    elif fmt.bits <= 16:
        found = ops.values(fmt)
    elif isinstance(fmt, PositFormat):
        shift = fmt.bits - 16
        codes = np.arange(1 << 16, dtype=np.uint64) << np.uint64(shift)
        codes = np.unique(np.concatenate([codes, codes + np.uint64(1), codes[1:] - np.uint64(1)]))
        found = decode(codes[codes != fmt.nar_code], fmt)
    else:
        m = fmt.mantissa_bits
        low = {0, 1, (1 << m) - 1, (1 << m) - 2} | {1 << k for k in range(m)}
        every = {(field << m) | bits for field in range(1 << fmt.exponent_bits) for bits in low}
        found = decode(np.array(sorted(code for code in every if code <= fmt.max_code), np.uint64), fmt)
        found = np.concatenate([found, -found]) if fmt.signed else found
    found = np.unique(found[np.isfinite(found)]) + 0.0
    found.setflags(write=False)
    return found


def round_to_integers(x: np.ndarray, fmt: IntFormat, rounding: str) -> np.ndarray:
    """Return x rounded to integers and saturated, int64; NaN gives 0.

    >>> from refimpl.formats import format
    >>> x = np.array([2.5, -2.5, 0.49999999999999994, 1e9])
    >>> round_to_integers(x, format("int8"), "ties_to_away").tolist()
    [3, -3, 0, 127]
    """
    rounded = round_to_integral(np.asarray(x, np.float64), rounding)
    return np.clip(np.nan_to_num(rounded, nan=0.0), fmt.min, fmt.max).astype(np.int64)


def round_to_integral(x: np.ndarray, rounding: str) -> np.ndarray:
    """Return float64 x rounded to integers, exactly, still as float64."""
    simple = {"toward_positive": np.ceil, "toward_negative": np.floor, "ties_to_even": np.rint}
    if rounding in simple:
        return simple[rounding](x)
    cut = np.trunc(x)
    if rounding == "toward_zero":
        return cut
    with np.errstate(invalid="ignore"):
        return cut + np.where(np.abs(x - cut) >= 0.5, np.copysign(1.0, x), 0.0)
