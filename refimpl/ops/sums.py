"""Sums, dot products and products of matrices, with an accumulator that says what it does."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from refimpl.formats import FloatFormat, PositFormat, RoundingMode
from refimpl.ops import arrays
from refimpl.ops.arithmetic import codes_of, exact_format, holding, values_of
from refimpl.ops.definitions import DEFINITIONS, kernels
from refimpl.ops.floats import _mode

ORDERS = ("sequential", "pairwise", "chunked", "kahan", "exact")
Order = Literal["sequential", "pairwise", "chunked", "kahan", "exact"]
Number = FloatFormat | PositFormat | str
STEPS_PER_THREAD = 1 << 16  # of the integer road: some milliseconds
STEPS_AT_ONCE = 1 << 22  # some tenths of a second, two seconds at most


def sum(
    x,
    fmt: Number,
    *,
    axis: int | None = None,
    accumulate: Number | None = None,
    order: Order = "sequential",
    chunk: int | None = None,
    rounding: RoundingMode = "ties_to_even",
    overflow="overflow",
    random_bits: int | None = None,
    seed: int | None = None,
    stream: int = 0,
) -> np.ndarray:
    """Return the sum of x, over all elements in C order, or along an axis.

    Parameters, result and errors are those of `matmul`, every second factor being 1.

    Examples
    --------
    >>> ones = np.ones(4096, np.float16)
    >>> [float(sum(ones, "float16", order=order)) for order in ("sequential", "pairwise")]
    [2048.0, 4096.0]
    """
    x = arrays.real("sum", x)
    if axis is not None and not (arrays.is_whole(axis) and -x.ndim <= axis < x.ndim):
        raise ValueError(
            f"sum: axis {axis!r} of an array of {x.ndim} dimensions; allowed are {-x.ndim} to {x.ndim - 1}"
        )
    terms = x.size if axis is None else x.shape[axis]
    shape = () if axis is None else np.delete(x.shape, axis).tolist()

    def rows_of(codes):
        rows = codes if axis is None else np.moveaxis(codes, axis, -1)
        return rows.reshape(math.prod(shape), terms)

    ones = np.ones((terms, 1), np.float32)
    found = _products(
        "sum",
        x,
        ones,
        (fmt, "float32"),
        accumulate,
        order,
        chunk,
        rounding,
        overflow,
        random_bits,
        seed,
        stream,
        (rows_of, None),
        "x1",
    )
    return found.reshape(shape)


def dot(
    a,
    b,
    fmt: Number | tuple[Number, Number],
    *,
    accumulate: Number | None = None,
    order: Order = "sequential",
    chunk: int | None = None,
    rounding: RoundingMode = "ties_to_even",
    overflow="overflow",
    random_bits: int | None = None,
    seed: int | None = None,
    stream: int = 0,
) -> np.ndarray:
    """Return the sum of the products of two vectors; parameters, result and errors as for `matmul`.

    Examples
    --------
    >>> a, b = [1.0, 2.0**-9, -1.0], [448.0, 1.0, 448.0]
    >>> [dot(a, b, "e4m3fn", accumulate="float16", order=o).item() for o in ("sequential", "exact")]
    [0.0, 0.001953125]
    """
    a, b = arrays.real("dot", a), arrays.real("dot", b)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"dot: two vectors of one length, got shapes {a.shape} and {b.shape}")
    arrange = (lambda codes: codes[None, :], lambda codes: codes[:, None])
    found = _products(
        "dot", a, b, fmt, accumulate, order, chunk, rounding, overflow, random_bits, seed, stream, arrange
    )
    return found.reshape(())


def matmul(
    a,
    b,
    fmt: Number | tuple[Number, Number],
    *,
    accumulate: Number | None = None,
    order: Order = "sequential",
    chunk: int | None = None,
    rounding: RoundingMode = "ties_to_even",
    overflow="overflow",
    random_bits: int | None = None,
    seed: int | None = None,
    stream: int = 0,
) -> np.ndarray:
    """Return the product of two matrices of values of a format.

    Every product is exact, and only what goes into the accumulator is rounded: each step is one
    fused multiply-add.

    Parameters
    ----------
    a, b : array_like of float16, bfloat16, float32, float64 or integers, (m, k) and (k, n)
        Values of the format, as for `add`.
    fmt : FloatFormat, PositFormat or its name; or a pair, that of `a` and that of `b`
    accumulate : FloatFormat, PositFormat or its name
        The format of the accumulator and of the result; by default that of `a`.
    order : str
        ``sequential``; ``pairwise``: products rounded, then neighbours added level by level;
        ``chunked``: sequentially in chunks of `chunk` products, then the sums of the chunks;
        ``kahan``: sequentially with Kahan's compensation; ``exact``: the true sum, rounded once
        (for posits: the quire).
    chunk : int
        For ``chunked``.
    rounding, overflow, random_bits, seed, stream
        Of every rounding in the accumulator, as for `quantize`.  Stochastic: element e of the
        result, in C order, takes the random words e w, e w + 1, ..., one for each of its roundings,
        in order; w is the number of these, up to a multiple of 4.

    Returns
    -------
    ndarray (m, n)
        Values of the accumulator's format; dtype as for `add`.  The bits do not depend on the
        number of threads.

    Raises
    ------
    TypeError, ValueError
        As for `add`; for shapes that do not fit, an accumulator without a zero, and NaN or infinity
        where the accumulator has no NaN.

    Notes
    -----
    *Source*: `refimpl.spec.sums`, which defines each order in a line or two.

    *Speed*: sequential sums with ties to even run in float32's vectors, two orders of magnitude faster
    than the rest, wherever adding in float32 and rounding again is rounding once: where products have
    no more bits p than the accumulator, 2 p + 1 <= 24, and the accumulator's smallest steps lie in
    reach (float8 into float16, among others).  What takes more than two seconds shows a bar, on
    terminals.

    Examples
    --------
    >>> a, b = np.full((1, 64), 0.25), np.full((64, 1), 1.0)
    >>> matmul(a, b, "e4m3fn").item(), matmul(a, b, "e4m3fn", accumulate="float16").item()
    (4.0, 16.0)
    """
    a, b = arrays.real("matmul", a), arrays.real("matmul", b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul: shapes (m, k) and (k, n), got {a.shape} and {b.shape}")
    return _products("matmul", a, b, fmt, accumulate, order, chunk, rounding, overflow, random_bits, seed, stream)


def _products(
    verb,
    a,
    b,
    fmt,
    accumulate,
    order,
    chunk,
    rounding,
    overflow,
    random_bits,
    seed,
    stream,
    arrange=(None, None),
    names="ab",
):
    """Check everything, choose a road, return the sums of products as values, (m, n).

    arrange: functions from codes in the shapes of a and b to those of (m, k) and (k, n).
    """
    pair = fmt if isinstance(fmt, tuple) else (fmt, fmt)
    if len(pair) != 2:
        raise ValueError(f"{verb}: one format or a pair of formats, got {len(pair)}")
    first, second = (exact_format(verb, name) for name in pair)
    into = first if accumulate is None else exact_format(verb, accumulate)
    arrays.one_of(verb, "order", order, ORDERS)
    if (order == "chunked") != (chunk is not None):
        raise ValueError(f"{verb}: chunk belongs to order='chunked'; got order={order!r}, chunk={chunk!r}")
    if chunk is not None and not (arrays.is_whole(chunk) and 1 <= chunk < 2**63):
        raise ValueError(f"{verb}: chunk must be a whole number from 1 to 2^63 - 1, got {chunk!r}")
    arrays.check_rounding(verb, rounding, random_bits, seed, stream)
    arrays.check_rules(verb, into, a, rounding, overflow, "zero")
    if isinstance(into, FloatFormat):
        if not into.has_zero:
            raise ValueError(f"{verb}: {into.name} has no zero to begin a sum with")
        if into.nan_code is None:
            arrays.finite(verb, a), arrays.finite(verb, b)
    dtype = holding(_dtype(a) if verb == "sum" else np.result_type(_dtype(a), _dtype(b)), into)
    codes = []
    for x, f, name, laid in zip((a, b), (first, second), names, arrange, strict=True):
        flat = np.ascontiguousarray(x, _dtype(x)).reshape(-1)
        found = codes_of(verb, flat, f, 0, name, x.shape).reshape(x.shape)
        codes.append(found if laid is None else laid(found))
    x, y = codes
    use = kernels(x.size * y.shape[1])
    if (
        use is not DEFINITIONS
        and rounding == "ties_to_even"
        and order == "sequential"
        and (_in_float32(first, second, into, overflow))
    ):
        return _fast(x, y, first, second, into, overflow).astype(dtype, copy=False)
    arithmetic, sums = use.arithmetic, use.sums
    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y.T)
    layouts = [arithmetic.layout(f) for f in (first, second, into)]
    lowest, highest = _span(first, second)
    # two limbs below it for rounding, and above for 2^31 terms
    fixed = lowest - 64, (highest - lowest) // 32 + 6
    out = np.empty((len(x), len(y)), np.uint64)
    mode = _mode(use, rounding, overflow, "zero", random_bits)

    def work(start, stop):
        sums.products(
            x[start:stop],
            y,
            out[start:stop],
            start,
            *layouts,
            mode,
            ORDERS.index(order),
            chunk or 1,
            np.uint64(seed or 0),
            np.uint64(stream),
            *fixed,
        )

    _by_rows(len(x), y.size, work)
    return values_of(out.reshape(-1), into, dtype).reshape(out.shape)


def _span(first, second) -> tuple[int, int]:
    """Return the exponents of the lowest bit and of the highest bit a product may have."""
    lows, highs = zip(*(_exponents(fmt) for fmt in (first, second)), strict=True)
    # a significand of 64 bits reaches that far below the leading bit of the smallest product
    return lows[0] + lows[1] - 63, highs[0] + highs[1] + 1


def _exponents(fmt) -> tuple[int, int]:
    """Return the exponents of the smallest and the largest value."""
    if isinstance(fmt, PositFormat):
        top = (fmt.bits - 2) << fmt.exponent_bits
        return -top, top
    return fmt.min_exponent - fmt.mantissa_bits, fmt.maxexp


def _in_float32(first, second, into, overflow) -> bool:
    """Tell whether adding in float32 and rounding to `into` is the same as rounding the exact sum.

    Let p be the accumulator's precision, products have at most p bits, and 24 >= 2 p + 1.  If float32
    rounds a sum s in the binade of 2^e onto a midpoint M of the accumulator's that s is not, s is
    inexact in 24 bits, so the smaller term is below 2^(e - 24 + p) and M is within 2^(e - p - 1) of
    the larger.  Both are multiples of 2^(e - p), so the larger term is M, which has p + 1 bits: but
    terms have p at most.  Below the accumulator's normal values its steps are wider; there float32
    has to hold all sums exactly.
    """
    from refimpl.kernels.float32_codes import fits_float32

    if not all(isinstance(fmt, FloatFormat) for fmt in (first, second, into)):
        return False
    p = into.mantissa_bits + 1
    lowest = first.min_exponent - first.mantissa_bits + second.min_exponent - second.mantissa_bits
    return (
        fits_float32(into)
        and first.mantissa_bits + second.mantissa_bits + 2 <= p <= 11
        and lowest >= -126
        and first.maxexp + second.maxexp <= 127
        and (into.maxexp <= 127 or overflow != "propagate")
        and into.min_exponent - min(lowest, into.min_exponent - into.mantissa_bits) <= 24
    )


def _dtype(x: np.ndarray) -> np.dtype:
    return x.dtype.newbyteorder("=") if arrays.is_float(x) else np.dtype(np.float64)


def _fast(x, y, first, second, into, overflow) -> np.ndarray:
    """Return the products of codes (m, k) and (k, n) on the float32 road."""
    from refimpl.kernels import sums
    from refimpl.kernels.float32_codes import float32_target

    single = np.dtype(np.float32)
    x = values_of(x.reshape(-1), first, single).reshape(x.shape)
    y = values_of(y.reshape(-1), second, single).reshape(y.shape)
    out = np.empty((x.shape[0], y.shape[1]), single)
    target = float32_target(into, overflow)

    def work(start, stop):
        sums.products_in_float32(x[start:stop], y, out[start:stop], target)

    _by_rows(len(x), y.size, work, faster=64)
    return out


def _by_rows(rows: int, steps: int, work, *, faster: int = 1) -> None:
    """Call work(start, stop) on all rows, of so many steps each; show a bar of what takes long.

    The bar appears after two seconds, on terminals alone.
    """
    steps = max(steps, 1)
    block = max(faster * STEPS_AT_ONCE // steps, 1)
    starts = range(0, rows, block)
    if len(starts) > 1:
        from tqdm import tqdm

        starts = tqdm(starts, unit="block", delay=2, leave=False, disable=None)
    for begin in starts:
        arrays.in_threads(
            min(block, rows - begin),
            lambda start, stop, begin=begin: work(begin + start, begin + stop),
            least=max(faster * STEPS_PER_THREAD // steps, 1),
        )
