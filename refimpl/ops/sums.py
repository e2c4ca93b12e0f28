"""Sums, dot products and products of matrices, with an accumulator that says what it does."""

from __future__ import annotations

import math
from typing import Any, Literal, Unpack, get_args

import numpy as np

from refimpl import _arguments
from refimpl.formats import FloatFormat, Overflow, RoundingMode
from refimpl.formats.units import MatrixUnit
from refimpl.ops import arrays, sum_paths, units
from refimpl.ops.arithmetic import codes_of, exact_format, holding, values_of
from refimpl.ops.definitions import DEFINITIONS, kernels
from refimpl.ops.floats import Number
from refimpl.ops.rounding import RoundingRule, SumRounding, known
from refimpl.spec.sums import roundings

Order = Literal["sequential", "pairwise", "chunked", "kahan", "exact"]
ORDERS: tuple[Order, ...] = get_args(Order)


class SumOptions(SumRounding, total=False):
    """The keyword arguments of a sum; `matmul` describes them."""

    like: Any
    accumulate: Number | None
    order: Order
    chunk: int | None


class ProductOptions(SumOptions, total=False):
    """The keyword arguments of a product, of which `unit` leaves the other ones of a sum without a say."""

    unit: str | MatrixUnit | None
    initial: Any
    scales: tuple | None
    scale_format: Number | None


@arrays.answers_like
def sum(x, fmt: Number, *, axis: int | None = None, **options: Unpack[SumOptions]) -> np.ndarray:
    """Return the sum of x, over all elements in C order, or along an axis.

    Parameters, result and errors are those of `matmul`, every second factor being 1.

    Examples
    --------
    >>> ones = np.ones(4096, np.float16)
    >>> [float(sum(ones, "float16", order=order)) for order in ("sequential", "pairwise")]
    [2048.0, 4096.0]
    """
    x = arrays.real("sum", "x", x)
    along = None if axis is None else arrays.axis("sum", axis, x.ndim)
    terms = x.size if along is None else x.shape[along]
    shape = () if along is None else x.shape[:along] + x.shape[along + 1 :]

    def rows_of(codes):
        rows = codes if along is None else np.moveaxis(codes, along, -1)
        return rows.reshape(math.prod(shape), terms)

    ones = np.ones((terms, 1), np.float32)
    total = _products("sum", x, ones, (fmt, "float32"), options, shape, (rows_of, None), "x1")
    return total.reshape(shape)


@arrays.answers_like
def dot(a, b, fmt: Number | tuple[Number, Number], **options: Unpack[ProductOptions]) -> np.ndarray:
    """Return the sum of the products of two vectors; parameters, result and errors as for `matmul`.

    Examples
    --------
    >>> a, b = [1.0, 2.0**-9, -1.0], [448.0, 1.0, 448.0]
    >>> [dot(a, b, "e4m3fn", accumulate="float16", order=o).item() for o in ("sequential", "exact")]
    [0.0, 0.001953125]
    """
    a, b = arrays.real("dot", "a", a), arrays.real("dot", "b", b)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(_arguments.message("dot", "a, b", f"of shapes {a.shape}, {b.shape}", "(n,), (n,)"))
    if (got := _on_unit("dot", a[None, :], b[:, None], fmt, options)) is not None:
        return got.reshape(())
    arrange = (lambda codes: codes[None, :], lambda codes: codes[:, None])
    return _products("dot", a, b, fmt, options, (), arrange).reshape(())


@arrays.answers_like
def matmul(
    a,
    b,
    fmt: Number | tuple[Number, Number],
    *,
    accumulate: Number | None = None,
    order: Order = "sequential",
    chunk: int | None = None,
    rounding: RoundingMode = "ties_to_even",
    overflow: Overflow = "overflow",
    random_bits: int | None = None,
    seed: int | None = None,
    stream: int = 0,
    random=None,
    unit: str | MatrixUnit | None = None,
    initial=None,
    scales: tuple | None = None,
    scale_format: Number | None = None,
    like=None,
) -> np.ndarray:
    """Return the product of two matrices of values of a format.

    Every product is exact, and only what goes into the accumulator is rounded: each step is one
    fused multiply-add.  Or the product is made as a matrix unit of an accelerator makes it.

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
    random : array_like of int, optional
        In place of a seed, the random integers themselves, as for `quantize`: of a shape that broadcasts to that of
        the result with one more axis, of the roundings of an element in order: k of a sequential sum, 2 k - 1 of a
        pairwise one, k and one a chunk of a chunked one, 4 k with Kahan's compensation, 1 of an exact sum.
    unit : str or MatrixUnit
        A matrix unit, by name (``hopper-fp8``; `refimpl.formats.units.UNITS` has all) or described; then it
        decides order and rounding, and of the arguments above only `accumulate` has a say: ``float32``, the
        default, or ``float16`` where the unit has it.  For longer k instructions follow one another, the
        accumulator of one beginning the next.
    initial : array_like, (m, n) or a number
        With `unit`: what is added, the C of A B + C; values of float32, or of the accumulator's format.
    scales : pair of array_like, (m, k / block) and (k / block, n)
        With a unit that has block scales: those of `a` and of `b`, values of `scale_format`.
    scale_format : FloatFormat or its name
        By default the first that the unit takes: E8M0 of ``mxfp8`` and ``mxfp4``, E4M3 of ``nvfp4``.
    like : ndarray or tensor of PyTorch, optional
        As for `quantize`.

    Returns
    -------
    ndarray (m, n)
        Values of the accumulator's format; dtype as for `add`.  The bits do not depend on the
        number of threads.

    Raises
    ------
    TypeError, ValueError
        As for `add`; for shapes that do not fit, an accumulator without a zero, and NaN or infinity
        where the accumulator has no NaN; for a format that the unit does not multiply.

    Notes
    -----
    *Source*: `refimpl.spec.sums`, which defines each order in a line or two.

    *Speed*: `refimpl.ops.sum_paths` has the fast paths and why they give the same bits.  Into float32,
    sequentially with ties to even, each step is the machine's fused multiply-add; float8 into float16
    and bfloat16, among others, runs in float32's vectors; all other orders, modes and accumulators in
    float64's, an exact sum through products of integer matrices.  What is left to slower integers:
    products of more than 53 bits (posit32), and exact sums of numbers spread over hundreds of binades.
    What takes more than two seconds shows a bar, on terminals.

    Examples
    --------
    >>> a, b = np.full((1, 64), 0.25), np.full((64, 1), 1.0)
    >>> matmul(a, b, "e4m3fn").item(), matmul(a, b, "e4m3fn", accumulate="float16").item()
    (4.0, 16.0)
    >>> a, b = [[1.0] + [2.0**-14] * 31], np.ones((32, 1))  # Hopper keeps 13 bits behind the point, Blackwell 25
    >>> [float(matmul(a, b, "float8_e5m2", unit=unit)[0, 0]) for unit in ("hopper-fp8", "blackwell-fp8")]
    [1.0, 1.00189208984375]
    """
    a, b = arrays.real("matmul", "a", a), arrays.real("matmul", "b", b)
    arrays.matrices("matmul", a, b)
    options: ProductOptions = {
        "accumulate": accumulate,
        "order": order,
        "chunk": chunk,
        "rounding": rounding,
        "overflow": overflow,
        "random_bits": random_bits,
        "seed": seed,
        "stream": stream,
        "random": random,
        "unit": unit,
        "initial": initial,
        "scales": scales,
        "scale_format": scale_format,
    }
    if (got := _on_unit("matmul", a, b, fmt, options)) is not None:
        return got
    return _products("matmul", a, b, fmt, options, (a.shape[0], b.shape[1]))


DEFAULTS: dict[str, Any] = {"order": "sequential", "chunk": None, "rounding": "ties_to_even", "overflow": "overflow"}
DEFAULTS |= {"random_bits": None, "seed": None, "stream": 0, "random": None}


def _on_unit(caller: str, a, b, fmt, options: ProductOptions) -> np.ndarray | None:
    """Return what a unit makes of it, None where none is asked for; `options` keeps what is not a unit's."""
    known(caller, options, ProductOptions)
    given: dict[str, Any] = {name: options.pop(name, None) for name in ("unit", "initial", "scales", "scale_format")}  # type: ignore[misc]
    unit = given.pop("unit")
    if unit is None:
        for name, got in given.items():
            if got is not None:
                raise _arguments.wrong_value(caller, name, got, "None without a unit")
        return None
    for name, default in DEFAULTS.items():
        got = options.get(name, default)
        if got is not None and (default is None or got != default):
            raise _arguments.wrong_value(caller, name, got, f"{default!r} on a unit, which decides it itself")
    return units.products(caller, a, b, fmt, unit, options.get("accumulate"), **given)


def _products(
    caller: str, a, b, fmt, options: SumOptions, shape: tuple[int, ...], arrange=(None, None), names: str = "ab"
) -> np.ndarray:
    """Check everything, choose a kernel, return the sums of products as values, (m, n).

    shape: of the result.  arrange: functions from codes in the shapes of a and b to those of (m, k) and (k, n).
    """
    pair = fmt if isinstance(fmt, tuple) else (fmt, fmt)
    if len(pair) != 2:
        raise _arguments.wrong_value(caller, "fmt", fmt, "one format or a pair of formats")
    first, second = (exact_format(caller, name) for name in pair)
    given = dict(known(caller, options, SumOptions))
    accumulate, order, chunk = (given.pop(name, None) for name in ("accumulate", "order", "chunk"))
    into = first if accumulate is None else exact_format(caller, accumulate, "accumulate")
    order = _arguments.choice(caller, "order", "sequential" if order is None else order, ORDERS)
    if chunk is not None:
        chunk = _arguments.integer(caller, "chunk", chunk, _arguments.Interval(1, 2**63 - 1))
    if (order == "chunked") != (chunk is not None):
        allowed = "an integer for order='chunked', and None for the others"
        raise _arguments.wrong_value(caller, "chunk", chunk, allowed, f"order is {order!r}")
    terms = a.size // max(math.prod(shape), 1) if caller != "matmul" else a.shape[1]
    count = roundings(order, terms, chunk or 1)
    rule = RoundingRule.of(caller, into, (*shape, count), **given)
    if isinstance(into, FloatFormat):
        if not into.has_zero:
            name = "fmt" if accumulate is None else "accumulate"
            raise _arguments.wrong_value(caller, name, str(into), "a format with a zero, which sums begin with")
        if into.nan_code is None:
            for name, x in zip(names, (a, b), strict=True):
                _arguments.finite(caller, name, x, f"{into} has no NaN")
    kinds = [arrays.float_dtype(x) for x in (a, b)]
    dtype = holding(kinds[0] if caller == "sum" else np.result_type(*kinds), into)
    codes: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for x, kind, f, name, laid in zip((a, b), kinds, (first, second), names, arrange, strict=True):
        flat = np.ascontiguousarray(x, kind).reshape(-1)
        for found, of in ((codes, codes_of(caller, flat, f, 0, name, x.shape)), (values, flat)):
            of = of.reshape(x.shape)
            found.append(of if laid is None else laid(of))
    x, y = codes
    use = kernels(x.size * y.shape[1])
    if use is not DEFINITIONS and rule.given is None:
        quick = sum_paths.fast(values[0], values[1], (first, second), into, rule, order, chunk)
        if quick is not None:
            return quick.astype(dtype, copy=False)
    arithmetic, sums = use.arithmetic, use.sums
    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y.T)
    layouts = [arithmetic.layout(f) for f in (first, second, into)]
    lowest, highest = sum_paths.span(first, second)
    # two limbs below it for rounding, and above for 2^31 terms
    fixed = lowest - 64, (highest - lowest) // 32 + 6
    out = np.empty((len(x), len(y)), np.uint64)
    mode, key = rule.for_kernels(use), (np.uint64(rule.seed), np.uint64(rule.stream))
    none = np.empty((0, 0, 0), np.uint32)
    words = none if rule.given is None else rule.given.reshape(*out.shape, count)

    def work(start, stop):
        rows, into_rows, given_rows = x[start:stop], out[start:stop], words[start:stop]
        how = mode, ORDERS.index(order), chunk or 1, *key, given_rows, *fixed
        sums.products(rows, y, into_rows, start, *layouts, *how)

    arrays.by_rows(len(x), y.size, work)
    return values_of(out.reshape(-1), into, dtype).reshape(out.shape)
