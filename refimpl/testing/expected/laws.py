"""Laws: what is true of every correct implementation, whatever its format, and some false ones.

A law looks at results alone and knows no expected codes, so it also holds an implementation to
something when the definition itself is in doubt.  Each is a sentence, a test of whether it applies,
and a function that finds the inputs which break it.

*Notation*: q is the implementation (float64 or float32 values to float64 values), x are inputs of one
dtype, y = q(x); low and high are the values of the format either side of x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from refimpl import ops
from refimpl.formats import FloatFormat, IntFormat, PositFormat
from refimpl.testing.expected.behaviour import NEAREST, Behaviour, values_of

_LAWS: list[Law] = []


@dataclass(frozen=True)
class Law:
    """A named property of implementations.

    `applies(behaviour)` tells for whom it is a law; `broken(q, behaviour, x)` returns the results y
    (float64), where they break the law (bool), and what would satisfy it, in words.

    Examples
    --------
    >>> import refimpl as rf
    >>> [law.statement for law in rf.testing.laws() if law.name == "idempotence"]
    ['rounding again changes nothing']
    """

    name: str
    statement: str
    applies: Callable
    broken: Callable

    def holds(self, q, fmt, x, **rules) -> bool:
        """Tell whether the law holds for a callable q at x.

        >>> laws()[3].holds(lambda x: np.round(x), "int8", np.array([1.5, 2.2]))
        True
        """
        x = np.atleast_1d(np.asarray(x))
        with np.errstate(all="ignore"):
            return not self.broken(q, Behaviour(fmt, **rules), x)[1].any()


def _law(name, statement, applies=lambda b: not b.is_stochastic):
    def enter(broken):
        _LAWS.append(Law(name, statement, applies, broken))
        return broken

    return enter


def laws() -> tuple[Law, ...]:
    """Return the laws.

    >>> [law.name for law in laws()][:4]
    ['determinism', 'elementwise', 'closure', 'idempotence']
    """
    return tuple(_LAWS)


def _same(a, b):
    return (a == b) | np.isnan(a) & np.isnan(b)


def neighbours(x: np.ndarray, fmt) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return low, high (float64) and whether x (float64) lies within the range of values."""
    values = values_of(fmt)
    inside = (x >= values[0]) & (x <= values[-1])
    below = np.clip(np.searchsorted(values, x, side="right") - 1, 0, len(values) - 1)
    low = values[below]
    high = np.where(low == x, low, values[np.minimum(below + 1, len(values) - 1)])
    return low, high, inside


def _all_values_known(behaviour):
    return behaviour.format.bits <= 16


# -- of every deterministic implementation ---------------------------------------------------------


@_law("determinism", "the same input gives the same result")
def _determinism(q, behaviour, x):
    y, again = q(x), q(x)
    return y, ~_same(y, again), "the first result again"


@_law("elementwise", "a result does not depend on the other elements", lambda b: True)
def _elementwise(q, behaviour, x):
    if behaviour.is_stochastic:
        return q(x), np.zeros(x.shape, bool), ""
    y = q(x)
    return y, ~_same(y, q(x[::-1].copy())[::-1]), "what it gives in another order"


@_law("closure", "every result is a value of the format", lambda b: _all_values_known(b))
def _closure(q, behaviour, x):
    y, fmt = q(x), behaviour.format
    special = np.zeros(x.shape, bool)
    if isinstance(fmt, PositFormat) or getattr(fmt, "nan_code", None) is not None:
        special |= np.isnan(y)
    if getattr(fmt, "infinity_code", None) is not None:
        special |= np.isinf(y) & ((y > 0) | fmt.signed)
    if isinstance(fmt, IntFormat):
        special |= np.isnan(x)
    known = np.isin(y, values_of(fmt))
    if isinstance(fmt, FloatFormat) and not fmt.has_minus_zero:
        known &= ~((y == 0) & np.signbit(y))
    return y, ~(special | known), "a value of the format"


@_law("idempotence", "rounding again changes nothing", lambda b: True)
def _idempotence(q, behaviour, x):
    y = q(x)
    with np.errstate(all="ignore"):
        narrow = y.astype(x.dtype)
    fits = np.isfinite(y) & (narrow == y)
    again = q(np.where(fits, narrow, x.dtype.type(1)))
    return y, fits & (again != y), "a result that stays when it is rounded again"


@_law("monotonicity", "a larger input never gives a smaller result")
def _monotonicity(q, behaviour, x):
    y = q(x)
    keep = np.flatnonzero(np.isfinite(x) & ~np.isnan(y))
    order = keep[np.argsort(x[keep], kind="stable")]
    bad = np.zeros(x.shape, bool)
    bad[order[1:]] = (np.diff(y[order]) < 0) & (np.diff(x[order].astype(np.float64)) > 0)
    return y, bad, "at least what the next smaller input gives"


@_law(
    "oddness",
    "in a mode that is the same for both signs, q(-x) = -q(x)",
    lambda b: (
        b.rounding not in ("toward_positive", "toward_negative")
        and not b.is_stochastic
        and b.format.__class__ is not IntFormat
        and getattr(b.format, "signed", True)
    ),
)
def _oddness(q, behaviour, x):
    y, mirrored = q(x), q(-x)
    return y, ~(_same(y, -mirrored) | np.isnan(x)), "minus what -x gives"


@_law("faithfulness", "the result is one of the two values next to the input", _all_values_known)
def _faithfulness(q, behaviour, x):
    y, (low, high, inside) = q(x), neighbours(x.astype(np.float64), behaviour.format)
    return y, inside & (y != low) & (y != high), "one of the two neighbours"


@_law(
    "nearest",
    "rounding to nearest gives no value that is farther than another",
    lambda b: b.rounding in NEAREST and _all_values_known(b) and not isinstance(b.format, PositFormat),
)
def _nearest(q, behaviour, x):
    wide = x.astype(np.float64)
    y, (low, high, inside) = q(x), neighbours(wide, behaviour.format)
    with np.errstate(invalid="ignore"):
        middle = low / 2 + high / 2
        bad = (y <= low) & (wide > middle) | (y >= high) & (wide < middle)
    return y, inside & bad & (low != high), "the nearer neighbour"


@_law(
    "bracketing",
    "a directed mode gives the last value on its side of the input",
    lambda b: b.rounding.startswith("toward") and _all_values_known(b),
)
def _bracketing(q, behaviour, x):
    wide = x.astype(np.float64)
    y, (low, high, inside) = q(x), neighbours(wide, behaviour.format)
    up = behaviour.rounding == "toward_positive"
    if behaviour.rounding == "toward_zero":
        up = wide < 0
    return y, inside & (y != np.where(up, high, low)), "the neighbour on the mode's side"


@_law(
    "to_odd_then_nearest",
    "rounding to odd, then to two bits less, is rounding once",
    lambda b: (
        b.rounding == "to_odd"
        and isinstance(b.format, FloatFormat)
        and b.format.mantissa_bits >= 2
        and b.format.has_subnormals
        and b.format.has_zero
    ),
)
def _to_odd(q, behaviour, x):
    fmt = behaviour.format
    narrow = replace(fmt, mantissa_bits=fmt.mantissa_bits - 2, specials="none")
    y = q(x)
    inside = np.isfinite(x) & (np.abs(x) <= min(narrow.max, fmt.max)) & np.isfinite(y)
    inside &= (x >= 0) | fmt.signed
    once = ops.quantize(x.astype(np.float64), narrow)
    twice = ops.quantize(np.where(inside, y, 0.0), narrow)
    return y, inside & (once != twice), "the odd neighbour, so that no tie appears"


@_law("sign", "the result has the sign of the input or is zero", lambda b: getattr(b.format, "signed", True))
def _sign(q, behaviour, x):
    y = q(x)
    return y, (y * np.sign(x) < 0) & ~np.isnan(x), "a result of the sign of the input"


@_law(
    "nan",
    "NaN gives NaN where the format has one, and nothing else but overflow does",
    lambda b: isinstance(b.format, PositFormat) or getattr(b.format, "nan_code", None) is not None,
)
def _nan(q, behaviour, x):
    y = q(x)
    made = np.isnan(y) & ~np.isnan(x)
    if isinstance(behaviour.format, FloatFormat):
        fmt = behaviour.format
        made &= np.abs(x) <= fmt.max
        made &= (x > 0) if not fmt.has_zero else (x >= 0) | fmt.signed
    else:
        made &= np.isfinite(x)
    return y, np.isnan(x) & ~np.isnan(y) | made, "NaN for NaN, and a number for a number in range"


@_law(
    "scaling_by_two",
    "among normal values, doubling the input doubles the result",
    lambda b: (
        isinstance(b.format, FloatFormat)
        and not b.is_stochastic
        and b.rounding != "to_odd"
        and b.format.mantissa_bits > 0
    ),
)
def _scaling(q, behaviour, x):
    fmt, info = behaviour.format, np.finfo(x.dtype)
    low = max(fmt.smallest_normal, float(info.smallest_normal))
    size = np.abs(x)
    inside = (size >= low) & (size <= min(fmt.max, float(info.max)) / 4)
    inside &= (x > 0) | fmt.signed
    some = np.where(inside, x, x.dtype.type(0))
    y, twice = q(some), q(some * x.dtype.type(2))
    return y, inside & (twice != 2 * y), "half of what twice the input gives"


# -- known false laws ------------------------------------------------------------------------------


@dataclass(frozen=True)
class FalseLaw:
    """A property that many believe and that does not hold.

    `holds(q, *numbers)` tests it for q, a function of one float, at `arity` numbers.

    >>> false_laws()[0].holds(lambda x: float(ops.quantize(x, "float8_e4m3fn")), 1.05, 2.1)
    False
    """

    name: str
    statement: str
    arity: int
    holds: Callable


def false_laws() -> tuple[FalseLaw, ...]:
    """Return properties that are often assumed and false.

    Examples
    --------
    >>> [law.name for law in false_laws()][:2]
    ['additivity', 'associativity']
    """
    return (
        FalseLaw("additivity", "q(a + b) = q(q(a) + q(b))", 2, lambda q, a, b: q(a + b) == q(q(a) + q(b))),
        FalseLaw(
            "associativity",
            "rounded addition of values is associative",
            3,
            lambda q, a, b, c: q(q(q(a) + q(b)) + q(c)) == q(q(a) + q(q(b) + q(c))),
        ),
        FalseLaw(
            "distributivity",
            "rounded multiplication distributes over rounded addition",
            3,
            lambda q, a, b, c: q(q(a) * q(q(b) + q(c))) == q(q(q(a) * q(b)) + q(q(a) * q(c))),
        ),
        FalseLaw("injectivity", "different inputs give different results", 2, lambda q, a, b: a == b or q(a) != q(b)),
        FalseLaw("reciprocal", "q(x * q(1 / x)) = q(x / x) for values x", 1, lambda q, a: q(q(a) * q(1 / q(a))) == 1),
        FalseLaw("scaling_by_three", "q(3 x) = 3 q(x)", 1, lambda q, a: q(3 * a) == 3 * q(a)),
        FalseLaw(
            "exactness_of_the_middle",
            "the rounded mean of two values lies between them and is not one of them",
            2,
            lambda q, a, b: q(a) == q(b) or min(q(a), q(b)) < q(q(a) / 2 + q(b) / 2) < max(q(a), q(b)),
        ),
    )
