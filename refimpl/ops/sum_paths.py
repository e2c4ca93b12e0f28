"""Fast paths of sums of products, and where each of them is allowed."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from refimpl.formats import FloatFormat, PositFormat
from refimpl.formats.floats import FLOATS
from refimpl.ops import arrays
from refimpl.ops.arithmetic import values_of
from refimpl.ops.definitions import KERNELS
from refimpl.ops.float_paths import exponents, precision
from refimpl.ops.floats import quantize
from refimpl.ops.rounding import RoundingRule

MOST_SLICES = 16
Number = FloatFormat | PositFormat


def fast(
    x: np.ndarray, y: np.ndarray, formats: tuple[Number, Number], into: Number, rule: RoundingRule, order: str, chunk
) -> np.ndarray | None:
    """Return the sums of products of values (m, k) and (k, n), as floats that hold them, None where no path serves.

    NaN is the definition's, whichever the processor makes: the quiet one without a payload, and without a sign but
    where a negative sum is rounded to it, in formats without infinity.
    """
    found = _by_path(x, y, formats, into, rule, order, chunk)
    if found is not None:
        missing = np.isnan(found)
        if missing.any():
            found[missing] = np.copysign(np.nan, found[missing])
    return found


def _by_path(x, y, formats, into: Number, rule: RoundingRule, order: str, chunk) -> np.ndarray | None:
    x, y = (v if getattr(f, "has_minus_zero", False) else v + 0.0 for v, f in zip((x, y), formats, strict=True))
    if order == "exact":
        return exact(x, y, into, rule)
    nearest = rule.mode == "ties_to_even" and order == "sequential"
    turned = y.shape[1] < min(x.shape[0], 64)  # many rows make better vectors than few columns
    places = (y.shape[1], 1)
    if turned:
        x, y, formats, places = y.T, x.T, formats[::-1], places[::-1]
    first, second = formats
    if nearest and fused(first, second, into, rule):
        found = _fused(x, y)
    elif nearest and rounds_in_float32(first, second, into, rule):
        found = _in_float32(x, y, into, rule)
    elif steps_in_float64(first, second, into):
        found = _in_float64(x, y, into, rule, order, chunk, places)
    else:
        return None
    return found.T if turned else found


def span(first: Number, second: Number) -> tuple[int, int]:
    """Return the exponents of the lowest bit and of the highest bit a product may have.

    >>> span(FLOATS["float16"], FLOATS["float16"])  # behind a product's leading bit stand 63 more
    (-111, 33)
    """
    lows, highs = zip(*(exponents(fmt) for fmt in (first, second)), strict=True)
    # a significand of 64 bits reaches that far below the leading bit of the smallest product
    return lows[0] + lows[1] - 63, highs[0] + highs[1] + 1


# -- additions by the machine ---------------------------------------------------------------------------


def fused(first: Number, second: Number, into: Number, rule: RoundingRule) -> bool:
    """Tell whether the machine's fused multiply-add of float32 is the step of a sequential sum.

    That instruction gives the float32 nearest to the exact a b + c, ties to even, and infinity beyond the largest
    one: which is the definition of a step into a float32 accumulator that overflows, for all operands that are
    float32 values, whether or not their products are.  (Where products are float32 values too, of at most 24 bits
    and within its range, as those of all pairs of formats of 8 bits and of float16 are, adding them is the same.)

    >>> fused(FLOATS["bfloat16"], FLOATS["bfloat16"], FLOATS["float32"], RoundingRule())
    True
    """
    held = all(
        precision(fmt) <= 24 and exponents(fmt)[0] >= -149 and exponents(fmt)[1] <= 128 for fmt in (first, second)
    )
    return held and into == FLOATS["float32"] and rule.overflow == "overflow"


def _fused(x, y) -> np.ndarray:
    """Return the products of float32 values (m, k) and (k, n), each sum by fused multiply-adds in turn."""
    from refimpl.kernels.tiles import LANES, add_products

    (m, k), n = x.shape, y.shape[1]
    width = -(-n // LANES) * LANES
    a, b = np.ascontiguousarray(x, np.float32), np.zeros((k, width), np.float32)
    b[:, :n] = y
    out = np.zeros((m, width), np.float32)

    def work(start, stop):
        c_at, a_at = out.ctypes.data + 4 * width * start, a.ctypes.data + 4 * k * start
        lines, line = (width, 0, 0), (k, 0, 0)
        add_products(
            c_at, *lines, a_at, *line, 0, 0, 1, b.ctypes.data, 0, 0, width, 1, 1, k, False, stop - start, width
        )

    if k:
        arrays.by_rows(m, k * n, work, faster=64)
    return np.abs(out[:, :n], out=out[:, :n], where=np.isnan(out[:, :n]))


def rounds_in_float32(first: Number, second: Number, into: Number, rule: RoundingRule) -> bool:
    """Tell whether adding in float32 and rounding to `into` is the same as rounding the exact sum.

    Let p be the accumulator's precision, products have at most p bits, and 24 >= 2 p + 1.  If float32
    rounds a sum s in the binade of 2^e onto a midpoint M of the accumulator's that s is not, s is
    inexact in 24 bits, so the smaller term is below 2^(e - 24 + p) and M is within 2^(e - p - 1) of
    the larger.  Both are multiples of 2^(e - p), so the larger term is M, which has p + 1 bits: but
    terms have p at most.  Below the accumulator's normal values its steps are wider; there float32
    has to hold all sums exactly.
    """
    from refimpl.kernels.float32_codes import fits_float32

    if isinstance(first, PositFormat) or isinstance(second, PositFormat) or isinstance(into, PositFormat):
        return False
    p = into.mantissa_bits + 1
    lowest = first.min_exponent - first.mantissa_bits + second.min_exponent - second.mantissa_bits
    return (
        fits_float32(into)
        and first.mantissa_bits + second.mantissa_bits + 2 <= p <= 11
        and lowest >= -126
        and first.maxexp + second.maxexp <= 127
        and (into.maxexp <= 127 or rule.overflow != "propagate")
        and into.min_exponent - min(lowest, into.min_exponent - into.mantissa_bits) <= 24
    )


def _in_float32(x, y, into, rule: RoundingRule) -> np.ndarray:
    """Return the products of values (m, k) and (k, n) by float32's vectors."""
    from refimpl.kernels import sums_by_columns
    from refimpl.kernels.float32_codes import float32_target

    x, y = (np.ascontiguousarray(v, np.float32) for v in (x, y))
    out = np.empty((x.shape[0], y.shape[1]), np.float32)
    target = float32_target(into, rule.overflow)

    def work(start, stop):
        sums_by_columns.products_in_float32(x[start:stop], y, out[start:stop], target)

    arrays.by_rows(len(x), y.size, work, faster=64)
    return out


# -- steps in float64 -----------------------------------------------------------------------------------


def steps_in_float64(first: Number, second: Number, into: Number) -> bool:
    """Tell whether float64 holds every product of two formats, and what rounding to `into` divides by."""
    lowest, highest = span(first, second)
    bottom, top = exponents(into)
    products = precision(first) + precision(second) <= 53 and lowest + 63 >= -1022 and highest <= 1000
    reach = min(bottom, lowest + 63) - max(top, 0) >= -1000 and bottom >= -1000 and top <= 1000
    return products and reach


def _in_float64(x, y, into: Number, rule: RoundingRule, order: str, chunk, places) -> np.ndarray:
    """Return the products of values (m, k) and (k, n), each step rounded, as float64.

    places: by how many elements of the result, in C order, its rows and its columns are apart.
    """
    from refimpl.kernels import sums, sums_by_columns

    x, y = (np.ascontiguousarray(v, np.float64) for v in (x, y))
    out = np.empty((len(x), y.shape[1]))
    accumulator = _accumulator(into, rule.mode, rule.overflow, rule.random_bits)
    key = sums.ORDERS.index(order), chunk or 1, accumulator, np.uint64(rule.seed), np.uint64(rule.stream)
    down, across = map(np.uint64, places)

    def work(start, stop):
        at = np.uint64(start) * down, down, across
        sums_by_columns.products(x[start:stop], y, out[start:stop], at, *key)

    arrays.by_rows(len(x), y.size, work, faster=16)
    return out


@cache
def _accumulator(into: Number, mode, overflow, random_bits: int) -> Any:
    """Return what the kernel knows of an accumulator."""
    from refimpl.kernels import arithmetic, float_codes, sums_by_columns

    nearest = {"threshold_even": 0.5, "threshold_odd": 0.5, "threshold_more": 0.0, "tie_even": False, "tie_odd": True}
    how = {
        "ties_to_even": nearest,
        "ties_to_away": nearest | {"tie_even": True},
        "toward_zero": nearest | {"threshold_even": 2.0, "threshold_odd": 2.0},
        "toward_positive": nearest | {"threshold_even": 0.0, "threshold_odd": 0.0, "threshold_more": 2.0},
        "toward_negative": nearest | {"threshold_even": 2.0, "threshold_odd": 2.0, "threshold_more": -2.0},
        "to_odd": nearest | {"threshold_even": 0.0, "threshold_odd": 2.0},
    }.get(mode, nearest)
    if mode not in ("ties_to_even", "ties_to_away"):
        how = how | {"tie_odd": False}
    wide = float_codes.fields(FLOATS["float64"])
    common: dict[str, Any] = {
        **how,
        **_ends(into, mode, overflow, random_bits),
        "limit": into.max,
        "downward": mode == "toward_negative",
        "stochastic": mode.startswith("stochastic"),
        "word_shift": 32 - random_bits,
        "word_scale": 2.0**-random_bits,
        "word_offset": 0.5 if mode in ("stochastic_b", "stochastic_c") else 0.0,
        "word_ties": mode == "stochastic_c",
        "largest": np.float64(into.max).view(np.uint64),
        "layout": arithmetic.layout(into),
        "wide": wide,
        "mode": float_codes.mode(),
    }
    if isinstance(into, PositFormat):
        unused: dict[str, Any] = {"min_field": 0, "scale_base": 0, "low_scale": 0, "parity": 0}
        dropped = sums_by_columns.dropped_bits(into)
        return sums_by_columns.Accumulator(**unused, **common, limit_negative=into.max, no_sign_to=0.0, dropped=dropped)
    m, lowest = into.mantissa_bits, into.min_exponent
    return sums_by_columns.Accumulator(
        **common,
        min_field=1023 + lowest,
        scale_base=2046 + m,
        low_scale=(1023 + (m if into.has_subnormals else 0) - lowest) << 52,
        parity=int(m == 0),
        limit_negative=into.max if into.signed else 0.0,
        no_sign_to=-1.0 if into.has_minus_zero else 0.0,
        dropped=np.zeros(0, np.uint64),
    )


def _ends(into: Number, mode, overflow, random_bits: int) -> dict[str, float]:
    """Return what sums beyond the largest value become, and infinite ones."""
    names = "beyond", "beyond_negative", "infinite", "infinite_negative"
    if isinstance(into, PositFormat):
        return dict.fromkeys(names, float("nan"))
    far = 4 * max(into.max, 1.0)
    how: dict[str, Any] = {"seed": 0} if mode.startswith("stochastic") else {}
    how |= {"random_bits": random_bits} if mode[-2:] in ("_a", "_b", "_c") else {}
    found = quantize(np.array([far, -far, np.inf, -np.inf]), into, rounding=mode, overflow=overflow, **how)
    return dict(zip(names, found.tolist(), strict=True))


# -- exact sums -----------------------------------------------------------------------------------------


def exact(x, y, into: Number, rule: RoundingRule) -> np.ndarray | None:
    """Return the exact sums of products of values (m, k) and (k, n), rounded once; None if spread too far.

    Every row of x and column of y is cut, from its largest exponent down, into slices of a few bits, integers times
    powers of two.  Products of slices are products of matrices of integers, all of whose sums float64 holds, in
    whatever order NumPy's library adds; those of equal weight are added, and the kernel adds up the rest.  With
    k < 2^c terms and s slices, slices have (53 - c - 4) / 2 bits and s is at most 16: sums are below
    s 2^c 2^(2 bits) <= 2^53.

    *Source*: Ozaki, Ogita, Oishi, Rump, Error-free transformations of matrix multiplication (2012).
    """
    from refimpl.kernels import arithmetic, sums

    x, y = (np.asarray(v, np.float64) for v in (x, y))
    special = not (np.isfinite(x).all() and np.isfinite(y).all())
    finite = [np.where(np.isfinite(v), v, 0.0) for v in (x, y)] if special else [x, y]
    bits = (49 - x.shape[1].bit_length()) // 2
    one, other = _slices(finite[0], bits), _slices(finite[1].T, bits)
    if one is None or other is None:
        return None
    (a, rows), (b, columns) = one, other
    parts = np.zeros((max(len(a) + len(b) - 1, 1), x.shape[0], y.shape[1]))
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            parts[i + j] += left @ right.T
    codes = np.empty(parts.shape[1:], np.uint64)
    rest = arithmetic.layout(into), rule.for_kernels(KERNELS), np.uint64(rule.seed), np.uint64(rule.stream)

    def work(start, stop):
        some, into_rows = np.ascontiguousarray(parts[:, start:stop]), codes[start:stop]
        sums.sums_of_slices(some, rows[start:stop], columns, bits, into_rows, start, *rest)

    arrays.by_rows(len(x), 64 * y.shape[1], work)
    out = values_of(codes.reshape(-1), into, np.dtype(np.float64)).reshape(codes.shape)
    if rule.mode == "toward_negative":
        out[_of_plus_zeros(x, y)] = 0.0
    if special:
        signs = [np.where(np.isfinite(v), np.sign(v), v) for v in (x, y)]
        with np.errstate(invalid="ignore"):
            found = np.einsum("ik,kj->ij", *signs)  # no library's product, which may leave out zeros times infinity
        found[np.isnan(found)] = np.nan  # of either sign, as the processor likes it
        there = ~np.isfinite(found)
        out[there] = quantize(found[there], into, overflow=rule.overflow)
    return out


def _slices(x: np.ndarray, bits: int) -> tuple[list[np.ndarray], np.ndarray] | None:
    """Return slices of the rows of x, integers of so many bits, and each row's exponent of the first slice's unit.

    None where there are more than 16.

    >>> _slices(np.array([[1.0, -0.375]]), 2)
    ([array([[ 2., -0.]]), array([[ 0., -3.]])], array([-1]))
    """
    top = np.where(x == 0, -2000, np.frexp(x)[1]).max(axis=1, initial=-2000)
    top[top == -2000] = 0
    lowest = _lowest_bit(x).min(axis=1, initial=2000)
    width = int(np.where(lowest < 2000, top - lowest, 0).max(initial=0))
    if width > MOST_SLICES * max(bits, 0):
        return None
    rest, found = np.ldexp(x, -top[:, None]), []
    for _ in range(-(-width // bits)):
        rest = rest * 2.0**bits
        whole = np.trunc(rest)
        rest -= whole
        found.append(whole)
    return found, (top - bits).astype(np.int64)


def _lowest_bit(x: np.ndarray) -> np.ndarray:
    """Return the exponent of the lowest bit of each float64, 2000 for zero."""
    fraction, exponent = np.frexp(x)
    significand = np.ldexp(np.abs(fraction), 53).astype(np.int64)
    trailing = np.frexp((significand & -significand).astype(np.float64))[1] - 1
    return np.where(x == 0, 2000, exponent - 53 + trailing)


def _of_plus_zeros(x, y) -> np.ndarray:
    """Tell which sums of products have no term but +0."""
    minus = [(np.signbit(v)).astype(np.float32) for v in (x, y)]
    some = [(v != 0).astype(np.float32) for v in (x, y)]
    return some[0] @ some[1] + minus[0] @ (1 - minus[1]) + (1 - minus[0]) @ minus[1] == 0
