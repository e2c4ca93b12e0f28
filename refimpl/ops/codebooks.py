"""Code books: NF4, the dynamic map of 8-bit optimizers, quantile codes, and those of one's own."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from refimpl import _arguments
from refimpl.formats import CodeBook
from refimpl.formats.codebooks import quantile_values
from refimpl.formats.names import read
from refimpl.ops import arrays
from refimpl.ops.rows import Axes, to_rows


def quantize_codebook(
    x, book: CodeBook | str, *, axis: Axes = None, block_size: Axes = None, scale=None
) -> tuple[np.ndarray, np.ndarray]:
    """Replace values by the codes of the nearest in a book, times a scale.

    Parameters
    ----------
    x : array_like of float32 (others are rounded to it first), finite, any shape
    book : CodeBook or its name
        ``nf4``, ``dynamic8``, ``dynamic8_unsigned``, ``bitsandbytes_fp4``, ``bitsandbytes_af4``, whose codes are in the
        order in which bitsandbytes stores them, or one from `quantile_codebook`.
    axis, block_size : int or tuple of int, optional
        What shares a scale, as for `quantize_int`: everything, each index of an axis, or each block
        of neighbours along it.
    scale : array_like of float32, optional
        Default: the largest magnitude, 1 where everything is zero.

    Returns
    -------
    codes : ndarray of uint8, shape of x
        Number of the value; of two equally near ones that of the lower, where the boundary between
        two values is their midpoint rounded to float32.
    scale : ndarray of float32
        Of the shape described at `quantize_int`.

    Raises
    ------
    TypeError, ValueError
        For other formats, values that are not finite, scales that are not positive.

    Notes
    -----
    *Source*: arXiv 2110.02861 (dynamic map), 2305.14314 (NF4), 2212.09720; `refimpl.spec.codebooks`.

    Examples
    --------
    >>> codes, scale = quantize_codebook([0.0, -2.0, 1.0], "nf4")
    >>> codes.tolist(), float(scale), decode_codebook(codes, scale, "nf4").round(4).tolist()
    ([7, 0, 12], 2.0, [0.0, -2.0, 0.8813999891281128])
    """
    caller = "quantize_codebook"
    to: CodeBook = read(caller, "book", book, CodeBook)
    x = arrays.finite_float32(caller, "x", x)
    rows, layout = to_rows(caller, x, axis, block_size)
    from refimpl.kernels import codebooks as kernel

    scales = np.empty(len(rows), np.float32)
    if scale is None:
        kernel.scale(rows, scales)
    else:
        scales[...] = layout.rows_of("scale", arrays.scales(caller, "scale", scale))
    codes = np.empty(rows.shape, np.uint8)
    boundaries, surely, most, stored = _tables(to)
    kernel.encode(rows, codes, scales, boundaries, surely, most)
    if stored is not None:
        codes = stored[codes]
    return layout.elements(codes), layout.scales(scales)


@lru_cache(maxsize=16)
def _tables(book: CodeBook) -> tuple[np.ndarray, np.ndarray, int, np.ndarray | None]:
    """Return what `kernels.codebooks.encode` wants, and the codes where they are not ascending numbers."""
    from refimpl.kernels import codebooks as kernel

    boundaries, stored = np.array(book.boundaries), book.codes
    ascending = stored == tuple(range(len(stored)))
    return (np.append(boundaries, np.inf), *kernel.cells(boundaries), None if ascending else np.array(stored, np.uint8))


def decode_codebook(codes, scale, book: CodeBook | str, *, axis: Axes = None, block_size: Axes = None) -> np.ndarray:
    """Return scale * value of the code, rounded once to float32.

    Parameters
    ----------
    codes, scale, book, axis, block_size
        As `quantize_codebook` took and returned them.

    Returns
    -------
    ndarray of float32, shape of codes

    Raises
    ------
    TypeError, ValueError
        For codes the book does not have and scales that do not fit.

    Examples
    --------
    >>> decode_codebook([15, 7, 0], 3.0, "nf4").tolist()
    [3.0, 0.0, -3.0]
    """
    caller = "decode_codebook"
    of: CodeBook = read(caller, "book", book, CodeBook)
    codes = arrays.codes(caller, "codes", codes, of.name, len(of.book))
    rows, layout = to_rows(caller, codes, axis, block_size)
    from refimpl.kernels import codebooks as kernel

    scales = np.empty(len(rows), np.float32)
    scales[...] = layout.rows_of("scale", arrays.finite_float32(caller, "scale", scale))
    x = np.empty(rows.shape, np.float32)
    kernel.decode(rows, x, scales, np.array(of.book))
    return layout.elements(x)


def quantile_codebook(x, bits: int, *, name: str = "quantile") -> CodeBook:
    """Return a book of at most 2^bits values that equally many elements of x fall to.

    Parameters
    ----------
    x : array_like of floats or integers, finite, not all zero
    bits : int
        1 to 8.
    name : str

    Returns
    -------
    CodeBook
        Value i is the mean of the quantiles of levels i / 2^bits and (i + 1) / 2^bits (linear
        between neighbours), divided by the largest magnitude of them all, rounded to float32 once.

    Raises
    ------
    TypeError, ValueError
        For other dtypes and numbers of bits, and for fewer than two different values.

    Notes
    -----
    *Source*: quantile quantization of Dettmers and Zettlemoyer (arXiv 2212.09720).

    Examples
    --------
    >>> quantile_codebook([-4.0, -1.0, 0.0, 1.0, 4.0], 2).values()
    [-1.0, -0.20000000298023224, 0.20000000298023224, 1.0]
    """
    caller = "quantile_codebook"
    x = _arguments.finite(caller, "x", arrays.real(caller, "x", x))
    bits = _arguments.integer(caller, "bits", bits, _arguments.Interval(1, 8))
    _arguments.instance(caller, "name", name, str, "a string")
    if x.size == 0 or (x == x.reshape(-1)[0]).all():
        text = f"of {x.size} equal values"
        raise ValueError(_arguments.message(caller, "x", text, "numbers of which two differ"))
    return CodeBook(name, quantile_values(np.sort(x, axis=None).astype(np.float64).tolist(), bits))
