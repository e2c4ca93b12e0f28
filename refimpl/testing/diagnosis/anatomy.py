"""What rounding sees of an input: the code below, the part of a step that is left, and on which side it goes.

An input of size |x| lies between the values of two codes without sign, `code` and the next.  The codes count
on beyond the largest, as if the exponent had more bits.  `part` is what is left, from 0 to below 1 in steps.

*Notation*: a is an `Anatomy`, up a boolean array: take the next code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from refimpl.formats import FloatFormat, IntFormat
from refimpl.testing.expected.behaviour import Behaviour


@dataclass(frozen=True)
class Anatomy:
    """The inputs x (float64) of a float or integer format, taken apart."""

    x: np.ndarray
    finite: np.ndarray
    negative: np.ndarray
    code: np.ndarray  # int64
    part: np.ndarray
    first_normal: int  # the code of the smallest normal value; integers have no others
    top: int  # the code of the largest value

    @property
    def odd(self) -> np.ndarray:
        """Whether the code below is odd."""
        return self.code % 2 == 1

    @property
    def inexact(self) -> np.ndarray:
        """Whether there is something to round."""
        return self.part > 0


def has_anatomy(fmt) -> bool:
    """Tell whether inputs of a format can be taken apart: floats with a zero and subnormals, integers."""
    if isinstance(fmt, FloatFormat):
        return fmt.has_zero and fmt.has_subnormals and fmt.mantissa_bits < 50 and fmt.smallest_subnormal > 2.0**-1000
    return isinstance(fmt, IntFormat)


def anatomy(x: np.ndarray, fmt) -> Anatomy:
    """Return the anatomy of x (float64) for a format that has one.

    >>> from refimpl.formats import format
    >>> a = anatomy(np.array([1.0625, -0.01, 1000.0]), format("float8_e4m3fn"))
    >>> a.code.tolist(), a.part.tolist(), a.top
    ([56, 5, 135], [0.5, 0.1200000000000001, 0.625], 126)
    """
    finite = np.isfinite(x)
    size = np.where(finite, np.abs(x), 0.0)
    if isinstance(fmt, IntFormat):
        whole = np.minimum(np.floor(size), 2.0**62)
        return Anatomy(x, finite, np.signbit(x), whole.astype(np.int64), size - np.floor(size), 0, fmt.max)
    m = fmt.mantissa_bits
    exponent = np.where(size > 0, np.maximum(np.frexp(size)[1] - 1, fmt.min_exponent), fmt.min_exponent)
    scaled = np.ldexp(size, m - exponent)
    whole = np.floor(scaled)
    code = whole.astype(np.int64) + ((exponent - fmt.min_exponent).astype(np.int64) << m)
    return Anatomy(x, finite, np.signbit(x), code, scaled - whole, 1 << m, fmt.max_code)


def far(b: Behaviour, size: float, x: np.ndarray) -> np.ndarray:
    """Return what numbers of a size beyond all values become, with the signs of x."""
    return np.where(np.signbit(x), *_far(b, size))


@lru_cache(maxsize=64)
def _far(b: Behaviour, size: float) -> tuple[float, float]:
    minus, plus = b.values(np.array([-size, size])).tolist()
    return minus, plus


def value_of(code: np.ndarray, fmt) -> np.ndarray:
    """Return the values of codes without sign, those beyond the largest too."""
    if isinstance(fmt, IntFormat):
        return code.astype(np.float64)
    m = fmt.mantissa_bits
    field = code >> m
    significand = np.where(field > 0, code & (1 << m) - 1 | 1 << m, code).astype(np.float64)
    return np.ldexp(significand, np.minimum(np.maximum(field, 1) - 1 + fmt.min_exponent - m, 1100))


def with_codes(a: Anatomy, code, y, b: Behaviour) -> np.ndarray:
    """Return y with the values of other codes, signed, where x is finite; beyond the largest, what overflow gives."""
    value = np.copysign(value_of(code, b.format), a.x)
    if isinstance(b.format, IntFormat):
        value = np.clip(value + 0.0, b.format.min, b.format.max)
        return np.where(a.finite, value, y)
    if not getattr(b.format, "has_minus_zero", False):
        value = np.where(value == 0, 0.0, value)
    mode = replace(b, rounding="ties_to_even") if not b.is_stochastic else b
    value = np.where(code > a.top, far(mode, 1e300, a.x), value)
    signed = getattr(b.format, "signed", True)
    return np.where(a.finite & (signed | ~a.negative), value, y)


# -- modes: who goes up --------------------------------------------------------------------------------


def nearest(tied: Callable) -> Callable:
    """Return the mode that takes the nearer code, and at a tie the next where `tied(a)`."""
    return lambda a: (a.part > 0.5) | (a.part == 0.5) & tied(a)


def _cut(bits: int, how: Callable = np.floor) -> Callable:
    """Return ties_to_even of what is left of the part after some bits."""

    def up(a):
        part = np.ldexp(how(np.ldexp(a.part, bits)), -bits)
        return (part > 0.5) | (part == 0.5) & a.odd

    return up


def _guard_too_low(a):
    quarter = np.floor(a.part * 4) % 2 == 1
    return quarter & ((a.part * 4 != np.floor(a.part * 4)) | a.odd)


MODES: dict[str, Callable] = {
    "ties_to_even": nearest(lambda a: a.odd),
    "ties_to_away": nearest(lambda a: True),
    "toward_zero": lambda a: np.zeros(a.part.shape, bool),
    "toward_positive": lambda a: a.inexact & ~a.negative,
    "toward_negative": lambda a: a.inexact & a.negative,
    "away from zero": lambda a: a.inexact,
    "ties toward zero": nearest(lambda a: False),
    "ties to odd": nearest(lambda a: ~a.odd),
    "ties toward_positive (half up)": nearest(lambda a: ~a.negative),
    "ties toward_negative (half down)": nearest(lambda a: a.negative),
    "to_odd": lambda a: a.inexact & ~a.odd,
    "to even, however small the rest": lambda a: a.inexact & a.odd,
    "the guard bit taken one too low": _guard_too_low,
    "the sticky bit lost (only ties are seen above one half)": _cut(1),
}
"""Who goes up."""

REGIONS: dict[str, Callable] = {
    "": lambda a: True,
    "negative values": lambda a: a.negative,
    "positive values": lambda a: ~a.negative,
    "subnormal results": lambda a: a.code < a.first_normal,
    "normal results": lambda a: a.code >= a.first_normal,
    "values below the smallest": lambda a: a.code == 0,
    "the last step below a power of two": lambda a: (a.code + 1) % max(a.first_normal, 1) == 0,
}
"""Where a mode may hold alone; the first is everywhere."""


def in_region(a: Anatomy, up, where, y, b: Behaviour) -> np.ndarray:
    """Return y with the results of going up in a region."""
    return np.where(where, with_codes(a, a.code + up, y, b), y)
