"""Case groups: the inputs that have broken implementations, each group under a name.

A group makes its inputs from the format alone: deterministic, finite in number, each pattern once, both
signs where they matter.

*Kinds*: ``values`` are floats to quantize or encode; ``codes`` are codes to decode and encode again;
``stochastic`` are floats with the fraction of a step known; ``packing`` are runs of codes to pack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refimpl import ops
from refimpl.formats import FloatFormat, IntFormat, PositFormat
from refimpl.formats import format as format_of
from refimpl.testing.expected.behaviour import step_above, values_of

INPUTS = ("float16", "float32", "float64")
_GROUPS: list[CaseGroup] = []


@dataclass(frozen=True)
class CaseGroup:
    """Name a group of inputs.

    `statement` is what a correct implementation does with them; `generate(format, dtype)` returns
    them, ``values`` and ``stochastic`` as a one-dimensional array of the dtype, ``codes`` and
    ``packing`` as one of unsigned integers; `applies(format)` tells whether the format has such.

    Examples
    --------
    >>> import refimpl as rf
    >>> overflow = {group.name: group for group in rf.testing.case_groups()}["overflow_boundary"]
    >>> overflow.applies(rf.format("float8_e4m3fn")), overflow.statement
    (True, 'the largest value reaches exactly as far as its rounding does')
    """

    number: int
    name: str
    kind: str
    statement: str
    applies: Callable
    generate: Callable

    def __call__(self, fmt, dtype="float32") -> np.ndarray:
        """Return the inputs for a format (or its name)."""
        fmt = format_of(fmt)
        if not self.applies(fmt):
            return np.empty(0, dtype if self.kind in ("values", "stochastic") else np.uint8)
        return self.generate(fmt, np.dtype(dtype))


def _group(number, name, statement, applies=lambda fmt: True, kind="values"):
    def enter(generate):
        _GROUPS.append(CaseGroup(number, name, kind, statement, applies, generate))
        return generate

    return enter


def case_groups() -> tuple[CaseGroup, ...]:
    """Return the case groups.

    >>> [group.name for group in case_groups()][:3]
    ['ties', 'overflow_boundary', 'far_overflow']
    >>> case_groups()[1]("float8_e4m3fn")[-2:].tolist()
    [-480.0, -480.0000305175781]
    """
    return tuple(_GROUPS)


# -- building blocks -------------------------------------------------------------------------------


def evenly(x: np.ndarray, most: int) -> np.ndarray:
    """Return an even choice of at most so many.

    >>> evenly(np.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    return x[:: max(1, -(-len(x) // most))]


def distinct(x: np.ndarray) -> np.ndarray:
    """Return every bit pattern of x once, ordered by its bits."""
    bits = x.view(f"u{x.dtype.itemsize}")
    return np.unique(bits).view(x.dtype)


def around(points, dtype, signs=(1, -1)) -> np.ndarray:
    """Return points in a float dtype and the values one unit of that dtype either side."""
    with np.errstate(all="ignore"):
        x = np.asarray(points, np.float64).astype(dtype)
        up, down = dtype.type(np.inf), dtype.type(-np.inf)
        x = np.concatenate([x, np.nextafter(x, up), np.nextafter(x, down)])
        x = np.concatenate([x * dtype.type(sign) for sign in signs])
    return distinct(x[np.isfinite(x)])


def ties(fmt) -> np.ndarray:
    """Return the points half way between neighbouring values, ascending, as float64."""
    if isinstance(fmt, PositFormat) and fmt.bits < 17:  # half way between codes
        wider = PositFormat(fmt.bits + 1, fmt.exponent_bits)
        odd = np.arange(1, 1 << wider.bits, 2)
        return np.unique(ops.decode(odd[odd != wider.nar_code], wider))
    values = values_of(fmt)
    if fmt.bits > 16:  # the values are a sample: a neighbour is one step away
        values = values[np.abs(values) < values[-1]]
        return values + _step_above(values, fmt) / 2
    return values[:-1] / 2 + values[1:] / 2


def _step_above(values, fmt) -> np.ndarray:
    """Return the distance from values to the next ones away from zero, with their sign."""
    if isinstance(fmt, PositFormat):
        codes = ops.encode(values, fmt)
        return ops.decode(codes + codes.dtype.type(1), fmt) - values
    exponent = np.frexp(values)[1] - 1
    exponent = np.maximum(exponent, fmt.min_exponent) - fmt.mantissa_bits
    return np.copysign(np.ldexp(1.0, exponent), values)


def _largest(fmt) -> tuple[float, float]:
    """Return the largest value and the step above it."""
    return float(fmt.max), step_above(fmt)


def _smallest(fmt) -> float:
    values = values_of(fmt)
    return float(values[values > 0][0])


# -- the groups ------------------------------------------------------------------------------------


@_group(1, "ties", "ties, and inputs one unit either side, go to the right neighbour")
def _ties(fmt, dtype):
    return around(ties(fmt), dtype)


@_group(2, "overflow_boundary", "the largest value reaches exactly as far as its rounding does")
def _overflow_boundary(fmt, dtype):
    largest, step = _largest(fmt)
    points = [largest + step * part for part in (0, 0.25, 0.5, 0.75, 1.0)]
    if isinstance(fmt, IntFormat):
        points += [-(fmt.min - part) for part in (0, 0.5, 1)]
    return around(points, dtype)


@_group(3, "far_overflow", "values far beyond the largest follow the overflow rule of their mode")
def _far_overflow(fmt, dtype):
    largest, step = _largest(fmt)
    with np.errstate(all="ignore"):
        points = [largest + 2 * step, largest * 1.5, largest * 2, largest * 3.3, largest * 1024]
        points += [float(np.finfo(dtype).max), float(np.finfo(dtype).max) / 2]
        return around([p for p in points if np.isfinite(p)], dtype)


@_group(4, "infinities", "infinity follows the overflow rule, apart from finite overflow")
def _infinities(fmt, dtype):
    return np.array([np.inf, -np.inf], dtype)


def _has_nan(fmt):
    return isinstance(fmt, PositFormat) or getattr(fmt, "nan_code", None) is not None


@_group(5, "nan_patterns", "every NaN, of either sign, quiet or not, with any payload, is a NaN", _has_nan)
def _nan_patterns(fmt, dtype):
    bits = np.dtype(f"u{dtype.itemsize}")
    info = np.finfo(dtype)
    top = ((1 << info.iexp) - 1) << info.nmant if info.iexp else 0
    payloads = {1 << k for k in range(info.nmant)} | {(1 << info.nmant) - 1, 3}
    patterns = [top | p for p in payloads]
    patterns += [p | 1 << (8 * dtype.itemsize - 1) for p in patterns]
    return np.array(sorted(patterns), bits).view(dtype)


@_group(6, "nan_into_formats_without", "a NaN does not disturb a format that has none", lambda fmt: not _has_nan(fmt))
def _nan_without(fmt, dtype):
    return np.concatenate([_nan_patterns(fmt, dtype), np.array([np.inf, -np.inf, 1], dtype)])


@_group(7, "signed_zeros", "zeros, and underflow to them, keep their sign where the format can")
def _signed_zeros(fmt, dtype):
    small = _smallest(fmt)
    tiny = [0.0, -0.0, -small / 4, small / 4, -small / 1024, small / 1024, -small, small]
    tiny += [-float(np.finfo(dtype).smallest_subnormal), float(np.finfo(dtype).smallest_normal)]
    with np.errstate(all="ignore"):
        return distinct(np.array(tiny, dtype))


@_group(8, "underflow", "half the smallest value, its neighbours, and subnormal inputs")
def _underflow(fmt, dtype):
    small, info = _smallest(fmt), np.finfo(dtype)
    points = [small * part for part in (0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5)]
    normal = getattr(fmt, "smallest_normal", small)
    points += [normal, normal / 2, normal * 0.75, normal - small / 2]
    tiny = float(info.smallest_subnormal)
    points += [tiny, 3 * tiny, float(info.smallest_normal) / 2, float(info.smallest_normal) * 0.75]
    points += [tiny * 2**k for k in range(info.nmant + 1)]
    return around(points, dtype)


@_group(9, "before_powers_of_two", "the last input before a power of two rounds as its size demands")
def _before_powers(fmt, dtype):
    exponents = np.arange(-1074, 1024)
    powers = np.ldexp(1.0, exponents)
    inside = (powers >= _smallest(fmt) / 4) & (powers <= _largest(fmt)[0] * 2)
    powers = powers[inside]
    return around(np.concatenate([powers, powers * (1 - 2.0**-9), powers * (1 + 2.0**-9)]), dtype)


@_group(10, "representable", "values of the format stay as they are, in every mode")
def _representable(fmt, dtype):
    values = values_of(fmt)
    with np.errstate(all="ignore"):
        x = values.astype(dtype)
    return distinct(x[(x == values) & np.isfinite(x)])


@_group(11, "round_trip", "encode(decode(code)) is the code, for all codes of numbers", kind="codes")
def _round_trip(fmt, dtype):
    if isinstance(fmt, IntFormat):
        return np.arange(fmt.min, fmt.max + 1)
    if fmt.bits <= 16:
        return np.arange(1 << fmt.bits, dtype=np.uint16)
    return np.unique(ops.encode(values_of(fmt), fmt)).astype(np.uint64)


@_group(
    12,
    "scales",
    "zero, negatives, ties and both ends of a format of powers of two",
    lambda fmt: getattr(fmt, "specials", "") == "e8m0",
)
def _scales(fmt, dtype):
    low, high = _smallest(fmt), _largest(fmt)[0]
    points = [0.0, *(low * part for part in (1, 0.5, 0.25, 0.75, 1.5, 1.36)), 1.0, 1.25, 1.5, 1.75, 2.0**0.5, 3.0]
    points += [high * part for part in (1, 1.25, 1.5)]
    return around([p for p in points if np.isfinite(p)], dtype)


@_group(
    13,
    "stochastic_fractions",
    "stochastic rounding goes up as often as the fraction says, and never moves exact values",
    lambda fmt: isinstance(fmt, FloatFormat) and fmt.mantissa_bits <= 20 and fmt.has_zero,
    kind="stochastic",
)
def _stochastic(fmt, dtype):
    values = values_of(fmt)
    values = values[values >= 0]
    last = max(len(values) - 2, 0)
    wanted = {0, 1, last // 4, last // 2, last, int(np.searchsorted(values, 1.0))}
    near = np.searchsorted(values, getattr(fmt, "smallest_normal", 0))
    wanted |= {int(near) - 1, int(near)}  # the last subnormal and the carry into the normals
    low = np.array(sorted(k for k in wanted if 0 <= k <= last))
    fractions = np.array([0, 3 / 64, 1 / 16, 1 / 4, 1 / 2, 11 / 16, 15 / 16])
    x = values[low, None] + (values[low + 1] - values[low])[:, None] * fractions
    x = np.concatenate([x.ravel(), -x.ravel()]) if fmt.signed else x.ravel()
    with np.errstate(all="ignore"):
        narrow = x.astype(dtype)
    return distinct(narrow[narrow == x])


@_group(14, "float_to_int", "floats become integers by rounding and saturating", lambda fmt: isinstance(fmt, IntFormat))
def _float_to_int(fmt, dtype):
    points = [0.5, 1.5, 2.5, 0.49999999999999994, fmt.max, fmt.max + 0.5, fmt.max + 1, fmt.max * 2 + 1.5]
    points += [2.0**fmt.bits, 2.0**31, 2.0**32, 2.0**63, 1e30, -fmt.min + 0.5]
    special = np.array([np.inf, -np.inf, np.nan], dtype)
    return np.concatenate([around(points, dtype), special])


@_group(
    15,
    "packing",
    "packed codes lie with the first element in the low bits",
    lambda fmt: fmt.bits in (1, 2, 4, 6) and not isinstance(fmt, PositFormat),
    kind="packing",
)
def _packing(fmt, dtype):
    codes = np.arange(1 << fmt.bits, dtype=np.uint8)
    together = np.concatenate([codes, codes[::-1], codes * 7 % (1 << fmt.bits)])
    return together.astype(np.uint8)[: len(together) // 4 * 4 * 2]


@_group(16, "one_bit_more", "every bit of an input counts: one bit more than a value or a tie, whichever bit")
def _one_bit_more(fmt, dtype):
    values = values_of(fmt)
    values = values[values >= 0]
    last = len(values) - 1
    wanted = {0, 1, 2, last - 1, last, int(np.searchsorted(values, 1.0))} | {last * k // 12 for k in range(12)}
    normal = int(np.searchsorted(values, getattr(fmt, "smallest_normal", 0)))
    wanted |= {normal - 2, normal - 1, normal, normal + 1}
    low = values[sorted(k for k in wanted if 0 <= k <= last)]
    if fmt.bits <= 16:
        step = np.append(np.diff(values), step_above(fmt))[np.searchsorted(values, low)]
    else:
        step = _step_above(low, fmt)
    bits = 2.0 ** -np.arange(1, np.finfo(dtype).nmant + 2)
    parts = np.concatenate([bits, 0.5 + bits[1:], 0.5 - bits[1:], 1 - bits[1:]])
    with np.errstate(all="ignore"):
        x = (low[:, None] + step[:, None] * parts).ravel().astype(dtype)
    return distinct(np.concatenate([x, -x])[np.tile(np.isfinite(x), 2)])


@_group(17, "spread", "bits as they come, of every size that the format has and of every size there is")
def _spread(fmt, dtype):
    bits = np.dtype(f"u{dtype.itemsize}")
    info = np.finfo(dtype)
    hashed = (np.arange(1, 2001, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - info.bits)
    anything = hashed.astype(bits).view(dtype)
    low, high = np.frexp(_smallest(fmt) / 4)[1], np.frexp(min(_largest(fmt)[0], float(info.max)))[1]
    fraction = 1 + (hashed & np.uint64((1 << info.nmant) - 1)).astype(np.float64) / (1 << info.nmant)
    with np.errstate(all="ignore"):
        x = np.ldexp(fraction, low + np.arange(2000) % max(high - low, 1)).astype(dtype)
    x = np.concatenate([x, -x[::2], anything])
    return distinct(x[~np.isnan(x)])
