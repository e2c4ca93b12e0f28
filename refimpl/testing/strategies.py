"""Hypothesis strategies for formats, codes, inputs and modes.

Needs hypothesis, which is in the extra ``test``; nothing else of `refimpl` imports it.  Strategies
shrink towards values that are easy to read: few significant bits, near one, positive; formats print
as the calls that make them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from refimpl._arguments import wrong_kind
from refimpl.formats import NAN_RULES, OVERFLOWS, BlockFormat, FloatFormat, IntFormat, PositFormat
from refimpl.formats import format as format_of
from refimpl.formats.modes import FAMILIES
from refimpl.testing.checks.checks import complexity
from refimpl.testing.expected.behaviour import DETERMINISTIC, OF_INTEGERS, Behaviour, decode, values_of
from refimpl.testing.expected.cases import case_groups, distinct

__all__ = [
    "arrays",
    "behaviours",
    "codes",
    "finite_values",
    "formats",
    "inputs",
    "integer_formats",
    "posits",
    "roundings",
    "scaled_blocks",
    "scaled_integers",
    "special_values",
]


def __dir__():
    return __all__


@st.composite
def formats(draw, families=FAMILIES, min_bits: int = 3, max_bits: int = 8) -> FloatFormat:
    """Draw a float format of some families (names of `specials`) and widths in bits.

    >>> from hypothesis import find
    >>> find(formats(families=["fn"], min_bits=8), lambda fmt: fmt.max == 448).bits
    8
    """
    family = draw(st.sampled_from(sorted(families, key=FAMILIES.index)))
    bits = draw(st.integers(min_bits, max_bits))
    signed = family != "e8m0" and (family == "fnuz" or draw(st.sampled_from([True, False])))
    exponent_bits = draw(st.integers(0, min(bits - signed, 11)))
    subnormals = draw(st.sampled_from([True, False]))
    bias = draw(st.none() | st.integers(-20, 60))
    try:
        fmt = FloatFormat(
            exponent_bits=exponent_bits,
            mantissa_bits=bits - signed - exponent_bits,
            bias=bias,
            signed=signed,
            specials=family,
            has_subnormals=subnormals,
        )
    except ValueError:
        assume(False)
    assume(fmt.fits_float64)
    return fmt


def posits(min_bits: int = 3, max_bits: int = 16):
    """Draw a posit format.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(posits(), lambda fmt: fmt.bits >= 4).bits
    4
    """
    return st.builds(PositFormat, st.integers(min_bits, max_bits), st.integers(0, 3))


def integer_formats(min_bits: int = 2, max_bits: int = 16):
    """Draw an integer format.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(integer_formats(), lambda fmt: not fmt.signed).signed
    False
    """
    bits = st.integers(min_bits, max_bits)
    return st.builds(IntFormat, bits=bits) | st.builds(
        IntFormat, bits=bits, signed=st.booleans(), symmetric=st.just(False)
    )


def codes(fmt):
    """Draw a code of a format (int): of an integer format, its signed value.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(codes("float8_e4m3fn"), lambda code: code > 0x7E)
    127
    """
    fmt = format_of(fmt)
    if isinstance(fmt, IntFormat):
        return st.integers(fmt.min, fmt.max)
    return st.integers(0, (1 << fmt.bits) - 1)


def finite_values(fmt):
    """Draw a finite value of a format of at most 16 bits (float).

    Examples
    --------
    >>> from hypothesis import find
    >>> float(find(finite_values("float8_e4m3fn"), lambda x: x > 416))
    448.0
    """
    return st.sampled_from(_readable(values_of(format_of(fmt))))


def special_values(fmt):
    """Draw zeros, infinities, NaN, and the ends of the range of a format (float).

    Examples
    --------
    >>> from hypothesis import find
    >>> find(special_values("float8_e4m3fn"), lambda x: x > 1)
    448.0
    """
    fmt = format_of(fmt)
    values = values_of(fmt)
    small = float(values[values > 0][0])
    found = [0.0, -0.0, float(values[-1]), float(values[0]), small, -small]
    return st.sampled_from([*found, float("inf"), float("-inf"), float("nan")])


def inputs(fmt, dtype="float32"):
    """Draw an input (NumPy scalar of a float dtype) weighted to what breaks implementations.

    Half from the case groups of the format: ties and their neighbours, the overflow boundary,
    underflow, values before powers of two, signed zeros, NaN patterns; half any float at all.  Those of
    the groups are drawn as a value and a step of one unit, so that each shrinks by itself.

    >>> from hypothesis import find
    >>> float(find(inputs("float8_e4m3fn"), lambda x: x > 448)) > 448
    True
    """
    fmt, dtype = format_of(fmt), np.dtype(dtype)
    groups = [group(fmt, dtype) for group in case_groups() if group.kind == "values"]
    steps = st.sampled_from([0, 1, -1])
    weighted = [st.builds(_stepped, st.sampled_from(_readable(_simple(x))), steps) for x in groups if x.size]
    anything = st.floats(width=8 * dtype.itemsize).map(dtype.type)
    return st.one_of(*weighted, *[anything] * 3)


def arrays(fmt, dtype="float32", max_size: int = 20):
    """Draw a one-dimensional array of `inputs`.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(arrays("float8_e4m3fn"), lambda x: x.size == 2).shape
    (2,)
    """
    return st.lists(inputs(fmt, dtype), max_size=max_size).map(lambda x: np.array(x, dtype))


def roundings(fmt):
    """Draw a deterministic rounding mode that a format has.

    Examples
    --------
    >>> import refimpl as rf
    >>> from hypothesis import find
    >>> find(roundings(rf.format("float8_e4m3fn")), lambda mode: "zero" in mode)
    'toward_zero'
    """
    fmt = format_of(fmt)
    if isinstance(fmt, PositFormat):
        return st.just("ties_to_even")
    return st.sampled_from(OF_INTEGERS if isinstance(fmt, IntFormat) else DETERMINISTIC)


@st.composite
def behaviours(draw, fmt):
    """Draw a `Behaviour`: rounding, overflow and NaN rules valid for a format.

    Examples
    --------
    >>> import refimpl as rf
    >>> from hypothesis import find
    >>> find(behaviours(rf.format("float8_e4m3fn")), lambda one: one.rounding == "to_odd").rounding
    'to_odd'
    """
    fmt = format_of(fmt)
    if not isinstance(fmt, FloatFormat):
        return Behaviour(fmt, draw(roundings(fmt)))
    rules = NAN_RULES[: 2 if fmt.nan_code is None else 1]
    return Behaviour(fmt, draw(roundings(fmt)), draw(st.sampled_from(OVERFLOWS)), draw(st.sampled_from(rules)))


@st.composite
def scaled_blocks(
    draw, element="float4_e2m1fn", block_size: int = 32, blocks: int = 2, *, dtype="float32", finite: bool = True
):
    """Draw an array (blocks * block_size,) of blocks of every size that the dtype has.

    Each block is a power of two times values of the element format, ties between them, or neighbours of ties; or one
    large value among tiny ones; or zeros; or, where not `finite`, has NaN or an infinity in it.  `element` may
    be a block format, which has its own block size.

    Examples
    --------
    >>> import refimpl as rf
    >>> from hypothesis import find
    >>> find(scaled_blocks(rf.format("float8_e4m3fn")), lambda x: True).shape
    (64,)
    >>> bool(np.isnan(find(scaled_blocks("nvfp4", finite=False), lambda x: np.isnan(x).any())).any())
    True
    """
    fmt: Any = format_of(element)
    dtype = np.dtype(dtype)
    if isinstance(fmt, BlockFormat):
        fmt, block_size = fmt.grid, fmt.block_size
    if not isinstance(fmt, FloatFormat):
        raise wrong_kind("scaled_blocks", "element", element, "a float format, or a block format")
    info = np.finfo(dtype)
    lowest, highest = info.minexp - info.nmant, info.maxexp - fmt.maxexp
    ends = [0, lowest, highest, -127, -126, 127 - fmt.maxexp, info.minexp]
    exponents = st.sampled_from([e for e in ends if lowest <= e <= highest]) | st.integers(lowest, highest)
    kinds = st.sampled_from(["values", "values", "one_large", "zeros", *["not_finite"] * (not finite)])
    found = [_block(draw, draw(kinds), fmt, block_size, draw(exponents), dtype) for _ in range(blocks)]
    return np.concatenate(found)


def _block(draw, kind, fmt, size, exponent, dtype) -> np.ndarray:
    choice = draw(hnp.arrays(np.uint16, size, elements=st.integers(0, (1 << fmt.bits) - 1)))
    values = np.nan_to_num(decode(choice, fmt), nan=0.0, posinf=0.0, neginf=0.0)
    values = values * draw(st.sampled_from([1.0, 1.25, 0.75]))
    if kind == "zeros":
        values = values * 0.0
    place = draw(st.integers(0, size - 1))
    if kind == "one_large":
        values = values * 2.0 ** draw(st.sampled_from([-6, -12, -40, -200]))
        values[place] = draw(st.sampled_from([1.0, -1.0])) * fmt.max
    with np.errstate(all="ignore"):
        x = np.ldexp(values, exponent).astype(dtype)
    x = np.where(np.isfinite(x), x, np.finfo(dtype).max).astype(dtype)
    if kind == "not_finite":
        x[place] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    else:
        x[place] = _stepped(
            x[place], draw(st.sampled_from([0, 0, 1, -1])) * bool(abs(x[place]) < np.finfo(dtype).max / 2)
        )
    return x


@st.composite
def scaled_integers(draw, fmt, max_size: int = 8, dtype="float32"):
    """Draw (x, scale, zero_point): a float32 scale, a code of an integer format, and what is hard under them.

    x is a one-dimensional array: codes, ties between them, both ends and beyond, their neighbours, and
    anything else that is finite.  Zero points are both ends, the middle, or any.

    Examples
    --------
    >>> from hypothesis import find
    >>> x, scale, zero_point = find(scaled_integers("uint8"), lambda drawn: drawn[0].size > 1)
    >>> x.shape, scale, zero_point
    ((2,), 1.0, 0)
    """
    fmt, dtype = format_of(fmt), np.dtype(dtype)
    if not isinstance(fmt, IntFormat):
        raise wrong_kind("scaled_integers", "fmt", fmt, "an integer format")
    simple = st.sampled_from([1.0, 0.5, 0.1, 3.0, 2.0**-126, 1e-30, 2.0**100])
    scale = float(np.float32(draw(simple | st.floats(2.0**-126, 2.0**100, width=32))))
    zero = draw(st.sampled_from([max(fmt.min, 0), fmt.min, fmt.max, (fmt.min + fmt.max + 1) // 2]) | codes(fmt))
    ends = [fmt.min - 0.5, fmt.max + 0.5, fmt.min - 1.0, fmt.max + 1.0, 2.0 * fmt.max, 2.0**31, -(2.0**31), 2.0**63]
    points = codes(fmt).map(float) | codes(fmt).map(lambda code: code + 0.5) | st.sampled_from(ends)

    def near(point, step):
        with np.errstate(all="ignore"):
            x = dtype.type((point - zero) * scale)
            return _stepped(x if np.isfinite(x) else dtype.type(0), step)

    hard = st.builds(near, points, st.sampled_from([0, 1, -1]))
    anything = st.floats(width=8 * dtype.itemsize, allow_nan=False, allow_infinity=False).map(dtype.type)
    return np.array(draw(st.lists(hard | anything, max_size=max_size)), dtype), scale, zero


def _simple(x: np.ndarray) -> np.ndarray:
    """Return the values of an array that are not one unit beside a simpler one of it."""
    x = np.sort(distinct(x))
    with np.errstate(all="ignore"):
        beside, hard = np.nextafter(x[:-1], x[1:]) == x[1:], complexity(x)
    keep = np.ones(x.size, bool)
    keep[1:] &= ~(beside & (hard[:-1] < hard[1:]))
    keep[:-1] &= ~(beside & (hard[1:] < hard[:-1]))
    return x[keep]


def _stepped(x, by: int):
    """Return a float, or its neighbour above (1) or below (-1)."""
    with np.errstate(all="ignore"):
        return np.nextafter(x, x.dtype.type(by * np.inf)) if by else x


def _readable(x: np.ndarray) -> list:
    """Return the values of an array, the easiest to read first."""
    x = distinct(np.asarray(x))
    with np.errstate(all="ignore"):
        return list(x[np.argsort(complexity(x), kind="stable")])
