"""Products of matrices of integer codes, and of codes of few bits by looking products up."""

from __future__ import annotations

import numpy as np

from refimpl import _arguments
from refimpl.formats import CodeBook, FloatFormat, IntFormat, PositFormat
from refimpl.formats.names import read
from refimpl.ops import arrays
from refimpl.ops.floats import decode

INT16, INT32 = np.iinfo(np.int16), np.iinfo(np.int32)
Coded = IntFormat | FloatFormat | PositFormat | CodeBook | str


def matmul_int(a, b, *, zero_points=(0, 0)) -> np.ndarray:
    """Return the product of two matrices of codes, less their zero points, from int32 accumulators.

    Parameters
    ----------
    a, b : array_like of integers of at most 16 bits, (m, k) and (k, n)
        Codes, as `quantize_int` gives them.
    zero_points : pair of int or array_like of int
        That of `a`, one or one for each row, and that of `b`, one or one for each column.

    Returns
    -------
    ndarray of int32, (m, n)
        The sum of (a - za) * (b - zb), exact; times both scales it is the product of the values.

    Raises
    ------
    OverflowError
        Where a running sum of products of codes, or a result, leaves the range of int32.
    TypeError, ValueError
        For codes that are not integers of at most 16 bits, and shapes that do not fit.

    Notes
    -----
    Where no sum can leave int32, sums of floats hold them exactly, and NumPy makes them, in float32 so many
    terms at a time as cannot pass 2^24; elsewhere a kernel adds one product after the other.  The
    accumulators add the codes' own products; then
    sum (a - za) (b - zb) = sum a b - za sum b - zb sum a + k za zb, so that zero points cost one pass over
    each matrix and not a wider product.

    *Source*: Jacob et al., arXiv 1712.05877, and FBGEMM, arXiv 2101.05615; `refimpl.spec.integers`.

    Examples
    --------
    >>> from refimpl import quantize_int
    >>> a, sa, za = quantize_int([[-1.0, 0.5]], "uint8")
    >>> b, sb, zb = quantize_int([[2.0], [1.0]], "int8")
    >>> product = matmul_int(a, b, zero_points=(za, zb))
    >>> product.tolist(), float((product * (sa * sb)).round(3).item())
    ([[-16150]], -1.496)
    """
    caller, narrow = "matmul_int", (-(2**15), 2**16 - 1, "an integer of at most 16 bits")
    a, b = (arrays.integers(caller, name, x, *narrow) for name, x in (("a", a), ("b", b)))
    arrays.matrices(caller, a, b)
    (m, k), n = a.shape, b.shape[1]
    pair = _arguments.sequence(caller, "zero_points", zero_points, "(0, 128)", 2)
    if len(pair) != 2:
        raise _arguments.wrong_value(caller, "zero_points", zero_points, "a pair, of a and of b")
    a_zero, b_zero = (arrays.integers(caller, f"zero_points[{i}]", zero, *narrow) for i, zero in enumerate(pair))
    for i, zero, one, other in ((0, a_zero, (m,), (m, 1)), (1, b_zero, (n,), (1, n))):
        if zero.size != 1 and zero.shape not in (one, other):
            text = _arguments.message(caller, f"zero_points[{i}]", f"of shape {zero.shape}", f"(), {one} or {other}")
            raise ValueError(text)
    a_zero, b_zero = a_zero.astype(np.int64).reshape(-1, 1), b_zero.astype(np.int64).reshape(1, -1)
    out = _products(a, b)
    if not (a_zero.any() or b_zero.any()):
        return out.astype(np.int32, copy=False)
    a_sums, b_sums = (x.sum(axis=axis, keepdims=True, dtype=np.int64) for x, axis in ((a, 1), (b, 0)))
    whole = out + (k * a_zero * b_zero - a_zero * b_sums - b_zero * a_sums)
    if (bad := (whole < INT32.min) | (whole > INT32.max)).any():
        index = _arguments.first(bad)
        raise OverflowError(
            f"matmul_int: the result at index {index} is {whole[index]}, beyond int32; "
            "split the sum, or use narrower codes"
        )
    return whole.astype(np.int32)


def matmul_int16(a, b, *, dense_bits: int = 7, pairs: int | None = None) -> np.ndarray:
    """Return the product of two matrices of codes, summed in 16 bits that saturate, outliers of `b` apart.

    Two products at a time are added and saturated, as the vector instructions for 8-bit codes do; so many
    `pairs` are summed in 16 bits, saturating, before they go to int32.  Codes of `b` of more than `dense_bits`
    bits are taken out into a sparse matrix, and multiplied in int32.

    Parameters
    ----------
    a, b : array_like of integers, (m, k) and (k, n)
        Codes from 0 to 255, and from -128 to 127; k is at most 65793, so that int32 holds all sums.
    dense_bits : int
        1 to 8; with 8 nothing is taken out.
    pairs : int, optional
        Default: as many as cannot saturate, 2^(7 - dense_bits); but one for 8 bits, of which a pair may saturate.

    Returns
    -------
    ndarray of int32, (m, n)
        By default, and with all pairs that cannot saturate, exactly `matmul_int`.

    Raises
    ------
    TypeError, ValueError
        For other codes, shapes that do not fit, and numbers out of range.

    Notes
    -----
    *Source*: FBGEMM, arXiv 2101.05615; `refimpl.spec.integers.dot16`.

    Examples
    --------
    >>> a, b = [[255, 255, 1]], [[127], [127], [-3]]
    >>> matmul_int16(a, b).tolist(), matmul_int16(a, b, dense_bits=8).tolist()
    ([[64767]], [[32764]])
    """
    caller = "matmul_int16"
    x = arrays.integers(caller, "a", a, 0, 255, "a code from 0 to 255").astype(np.int32)
    y = arrays.integers(caller, "b", b, -128, 127, "a code from -128 to 127").astype(np.int32)
    arrays.matrices(caller, x, y)
    k = x.shape[1]
    if k > INT32.max // (255 * 128):
        allowed = f"at most {INT32.max // (255 * 128)} columns"
        raise ValueError(_arguments.message(caller, "a", f"of shape {x.shape}", allowed, "split the sum"))
    reach = 1 << (_arguments.integer(caller, "dense_bits", dense_bits, _arguments.Interval(1, 8)) - 1)
    if pairs is None:
        pairs = max(1, INT16.max // (2 * 255 * reach))
    group = 2 * _arguments.integer(caller, "pairs", pairs, _arguments.Interval(1))
    outlying = (y < -reach) | (y >= reach)
    out, dense = _products(x, np.where(outlying, y, 0)).astype(np.int32), np.where(outlying, 0, y)
    for start in range(0, k, group):
        narrow = np.zeros_like(out)
        for i in range(start, min(start + group, k), 2):
            pair = x[:, i : i + 2] @ dense[i : i + 2]
            narrow = (narrow + pair.clip(INT16.min, INT16.max)).clip(INT16.min, INT16.max)
        out += narrow
    return out


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the products of the codes themselves, int32 or int64, as int32 accumulators give them."""
    terms, product = a.shape[1], _largest(a) * _largest(b)
    if terms * product <= INT32.max:  # integers that floats hold, whatever the order of their sums
        at_once = 2**24 // max(product, 1)
        if at_once < min(terms, 256):
            return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int32)
        x, y = a.astype(np.float32), b.astype(np.float32)
        if at_once >= terms:
            return (x @ y).astype(np.int32)
        out = np.zeros((a.shape[0], b.shape[1]), np.int32)
        for start in range(0, terms, at_once):
            part = slice(start, start + at_once)
            out += (x[:, part] @ y[part]).astype(np.int32)
        return out
    a, b = a.astype(np.int64), b.astype(np.int64)
    from refimpl.kernels import integer_products as kernel

    out = np.empty((a.shape[0], b.shape[1]), np.int64)
    wrong, terms = kernel.products(a, np.ascontiguousarray(b.T), out)
    if wrong >= 0:
        raise OverflowError(
            f"matmul_int: the accumulator of the result at index {divmod(wrong, out.shape[1])} leaves int32 "
            f"after {terms} of {a.shape[1]} terms of a and b; split the sum, or use narrower codes"
        )
    return out


def _largest(x: np.ndarray) -> int:
    """Return the largest magnitude of integers."""
    return max(abs(int(x.max(initial=0))), abs(int(x.min(initial=0))))


def product_table(first: Coded, second: Coded) -> np.ndarray:
    """Return the products of all pairs of codes of two formats of at most 4 bits.

    Parameters
    ----------
    first, second : IntFormat, FloatFormat, PositFormat, CodeBook or a name
        Of 1 to 4 bits each.

    Returns
    -------
    ndarray (2^bits of the first, 2^bits of the second)
        Of int32 for two integer formats, whose codes are meant by their lowest bits; else of float32:
        each product rounded once, which changes something for code books alone.

    Raises
    ------
    TypeError, ValueError
        For wider formats, and formats that share scales.

    Examples
    --------
    >>> product_table("uint2", "int2_full").tolist()
    [[0, 0, 0, 0], [0, 1, -2, -1], [0, 2, -4, -2], [0, 3, -6, -3]]
    """
    one, other = (_values_of("product_table", name, fmt) for name, fmt in (("first", first), ("second", second)))
    if one.dtype != other.dtype:
        one, other = one.astype(np.float32), other.astype(np.float32)
    with np.errstate(invalid="ignore"):
        return one[:, None] * other[None, :]


def matmul_lookup(a, b, first: Coded, second: Coded) -> np.ndarray:
    """Return the product of two matrices of codes of at most 4 bits, looking every product up.

    Parameters
    ----------
    a, b : array_like of integers, (m, k) and (k, n)
        Codes of the formats; signed ones of signed integer formats.
    first, second
        As for `product_table`.

    Returns
    -------
    ndarray (m, n) of the table's dtype
        Bit for bit what decoding the codes, multiplying, and adding one product after the other in
        that dtype gives.

    Raises
    ------
    OverflowError
        Where the sum of that many integer products might leave int32.
    TypeError, ValueError
        For wider formats, other codes, and shapes that do not fit.

    Notes
    -----
    *Source*: DeepGEMM, arXiv 2304.09049.  Vector units look up 16 entries in one instruction; here a
    lookup is a load, and slower than multiplying.

    Examples
    --------
    >>> matmul_lookup([[1, -2, 1]], [[3], [1], [2]], "int2_full", "uint2").tolist()
    [[3]]
    >>> float(matmul_lookup([[0, 15]], [[7], [15]], "nf4", "float4_e2m1fn")[0, 0])
    -12.0
    """
    caller = "matmul_lookup"
    formats = [_few_bits(caller, name, fmt) for name, fmt in (("first", first), ("second", second))]
    x, y = (_patterns(caller, name, codes, fmt) for name, codes, fmt in zip("ab", (a, b), formats, strict=True))
    arrays.matrices(caller, x, y)
    table = product_table(*formats)
    if table.dtype == np.int32 and x.shape[1] * int(abs(table).max()) > INT32.max:
        raise OverflowError(
            f"matmul_lookup: {x.shape[1]} products of up to {abs(table).max()} may leave int32; split the sum"
        )
    from refimpl.kernels import integer_products as kernel

    out = np.empty((x.shape[0], y.shape[1]), table.dtype)
    kernel.looked_up(x, np.ascontiguousarray(y.T), out, table)
    return out


def _few_bits(caller: str, name: str, got: Coded) -> IntFormat | FloatFormat | PositFormat | CodeBook:
    fmt = read(caller, name, got, IntFormat, FloatFormat, PositFormat, CodeBook)
    if fmt.bits > 4:
        raise ValueError(_arguments.message(caller, name, f"{fmt}, of {fmt.bits} bits", "at most 4 bits"))
    return fmt


def _values_of(caller: str, name: str, got: Coded) -> np.ndarray:
    """Return the value of every code, by its pattern of bits."""
    fmt = _few_bits(caller, name, got)
    patterns = np.arange(1 << fmt.bits, dtype=np.uint8)
    if isinstance(fmt, IntFormat):
        codes = patterns.astype(np.int32)
        return codes - ((codes >> (fmt.bits - 1)) << fmt.bits) if fmt.signed else codes
    if isinstance(fmt, CodeBook):
        return np.resize(np.array(fmt.book, np.float32), patterns.size)
    return decode(patterns, fmt, dtype=np.float32)


def _patterns(caller: str, name: str, got, fmt) -> np.ndarray:
    """Return codes as patterns of bits (uint8), refusing what is not a code."""
    low, high = (fmt.min, fmt.max) if isinstance(fmt, IntFormat) else (0, (1 << fmt.bits) - 1)
    if isinstance(fmt, CodeBook):
        high = len(fmt.book) - 1
    codes = arrays.integers(caller, name, got, low, high, f"a code of {fmt}, {low} to {high}")
    return (codes & ((1 << fmt.bits) - 1)).astype(np.uint8)
