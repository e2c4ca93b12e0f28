"""Products of matrices of integer codes, and of codes of few bits by looking products up."""

from __future__ import annotations

import numpy as np

from refimpl.formats import CodeBook, FloatFormat, IntFormat, PositFormat
from refimpl.formats import format as format_of
from refimpl.ops import arrays
from refimpl.ops.floats import decode

INT32 = np.iinfo(np.int32)
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
    The accumulators add the codes' own products; then sum (a - za) (b - zb) = sum a b - za sum b
    - zb sum a + k za zb, so that zero points cost one pass over each matrix and not a wider product.

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
    a, b = _codes("a", a), _codes("b", b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul_int: shapes (m, k) and (k, n), got {a.shape} and {b.shape}")
    if not isinstance(zero_points, (tuple, list)) or len(zero_points) != 2:
        raise ValueError(f"matmul_int: zero_points must be a pair, of a and of b, got {zero_points!r}")
    (m, k), n = a.shape, b.shape[1]
    a_zero, b_zero = (
        _zero_points(name, zero, axis, count)
        for name, zero, axis, count in zip("ab", zero_points, (0, 1), (m, n), strict=True)
    )
    from refimpl.kernels import integer_products as kernel

    out = np.empty((m, n), np.int64)
    wrong, terms = kernel.products(a, np.ascontiguousarray(b.T), out)
    if wrong >= 0:
        raise OverflowError(
            f"matmul_int: the accumulator at index {divmod(wrong, n)} leaves int32 "
            f"after {terms} of {k} terms; split the sum, or use narrower codes"
        )
    out += k * a_zero * b_zero - a_zero * b.sum(axis=0) - b_zero * a.sum(axis=1, keepdims=True)
    if (bad := (out < INT32.min) | (out > INT32.max)).any():
        index = arrays.first(bad)
        raise OverflowError(
            f"matmul_int: the result at index {index} is {out[index]}, beyond int32; "
            "split the sum, or use narrower codes"
        )
    return out.astype(np.int32)


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
    one, other = (_values_of(fmt) for fmt in (first, second))
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
        Where so many integer products might leave int32.
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
    table = product_table(first, second)
    codes = [_patterns(name, x, fmt) for name, x, fmt in (("a", a, first), ("b", b, second))]
    x, y = codes
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
        raise ValueError(f"matmul_lookup: shapes (m, k) and (k, n), got {x.shape} and {y.shape}")
    if table.dtype == np.int32 and x.shape[1] * int(abs(table).max()) > INT32.max:
        raise OverflowError(
            f"matmul_lookup: {x.shape[1]} products of up to {abs(table).max()} may leave int32; split the sum"
        )
    from refimpl.kernels import integer_products as kernel

    out = np.empty((x.shape[0], y.shape[1]), table.dtype)
    kernel.looked_up(x, np.ascontiguousarray(y.T), out, table)
    return out


def _codes(name: str, codes) -> np.ndarray:
    codes = arrays.array("matmul_int", codes)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"matmul_int: {name} must hold integer codes, got {codes.dtype}")
    wide = codes.astype(np.int64)
    if codes.itemsize > 2 and (bad := (wide < -(2**15)) | (wide >= 2**16)).any():
        index = arrays.first(bad)
        raise ValueError(f"matmul_int: {codes[index]} at index {index} of {name} is no code of at most 16 bits")
    return wide


def _zero_points(name: str, zero, axis: int, count: int) -> np.ndarray:
    """Return zero points as a column (axis 0) or a row (axis 1)."""
    zero = arrays.array("matmul_int", zero)
    if zero.dtype.kind not in "iu" or zero.size not in (1, count):
        raise ValueError(
            f"matmul_int: the zero point of {name} is one integer or {count}, got {zero.dtype} of shape {zero.shape}"
        )
    return zero.astype(np.int64).reshape((-1, 1) if axis == 0 else (1, -1))


def _few_bits(fmt: Coded):
    fmt = format_of(fmt)
    if not isinstance(fmt, (IntFormat, FloatFormat, PositFormat, CodeBook)):
        raise TypeError(f"matmul_lookup: {fmt} is a block format, which needs scales; give its element")
    if fmt.bits > 4:
        raise ValueError(f"matmul_lookup: {fmt} has {fmt.bits} bits, and a table of all products serves at most 4")
    return fmt


def _values_of(fmt: Coded) -> np.ndarray:
    """Return the value of every code, by its pattern of bits."""
    fmt = _few_bits(fmt)
    patterns = np.arange(1 << fmt.bits, dtype=np.uint8)
    if isinstance(fmt, IntFormat):
        codes = patterns.astype(np.int32)
        return codes - ((codes >> (fmt.bits - 1)) << fmt.bits) if fmt.signed else codes
    if isinstance(fmt, CodeBook):
        return np.resize(np.array(fmt.book, np.float32), patterns.size)
    return decode(patterns, fmt, dtype=np.float32)


def _patterns(name: str, codes, fmt: Coded) -> np.ndarray:
    """Return codes as patterns of bits (uint8), refusing what is no code."""
    fmt, codes = _few_bits(fmt), arrays.array("matmul_lookup", codes)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"matmul_lookup: {name} must hold integer codes, got {codes.dtype}")
    least, most = (fmt.min, fmt.max) if isinstance(fmt, IntFormat) else (0, (1 << fmt.bits) - 1)
    if isinstance(fmt, CodeBook):
        most = len(fmt.book) - 1
    if (bad := (codes < least) | (codes > most)).any():
        index = arrays.first(bad)
        raise ValueError(
            f"matmul_lookup: {codes[index]} at index {index} of {name} is not a code of "
            f"{fmt}, which go from {least} to {most}"
        )
    return (codes & ((1 << fmt.bits) - 1)).astype(np.uint8)
