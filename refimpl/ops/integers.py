"""Uniform integer quantization: per tensor, per index of an axis, or per block."""

from __future__ import annotations

import numpy as np

from refimpl.formats import IntFormat
from refimpl.formats import format as format_of
from refimpl.ops import arrays
from refimpl.ops.definitions import kernels
from refimpl.ops.rows import to_rows


def quantize_int(
    x,
    fmt: IntFormat | str,
    *,
    axis: int | None = None,
    block_size: int | None = None,
    affine: bool | None = None,
    clip=None,
    scale=None,
    zero_point=None,
):
    """Quantize uniformly: code = clip(round(x / scale) + zero point), ties to even.

    Parameters
    ----------
    x : array_like of float32 (others are rounded to it first), finite, any shape
    fmt : IntFormat or its name
        ``int8`` has the codes -127 to 127, ``int8_full`` -128 too, ``uint8`` 0 to 255.
    axis : int, optional
        One scale for each index along this axis; by default one for the whole tensor.
    block_size : int, optional
        One scale for each so many neighbours along `axis` (default: the last axis) instead; the
        last block may be shorter.
    affine : bool, optional
        Whether the range may lie unevenly about zero; default: for unsigned formats.
    clip : float or pair of floats, optional
        The range to spread the codes over instead of that of the values: the largest magnitude,
        or (affine) the lowest and the highest value.
    scale : array_like of float32, optional
        Instead of a scale from the values: of a shape that broadcasts against the scale returned.
    zero_point : array_like of int, optional
        With `scale`, for affine quantization.

    Returns
    -------
    codes : ndarray of int8, uint8, int16 or uint16, shape of x
    scale : ndarray of float32
        Of a shape that broadcasts against x; with `block_size`, the shape of x with the axis
        shortened to the number of blocks.  Symmetric: largest magnitude / largest code, the exact
        quotient rounded to float32.  Affine: width of the range, zero included, / number of steps.
        1 where everything is zero.
    zero_point : int, or ndarray of int32 of the shape of scale
        0 for symmetric quantization.  `decode_int` decodes.

    Raises
    ------
    TypeError, ValueError
        For values that are not finite, a scale that is not positive, arguments that do not belong
        together.

    Notes
    -----
    *Source*: Rasquinha and Tabak (arXiv 2408.02897); affine as in FBGEMM (arXiv 2101.05615); `refimpl.spec.integers`.

    Examples
    --------
    >>> codes, scale, zero_point = quantize_int([0.5, -2.54, 1.27], "int8")
    >>> codes, float(scale), zero_point
    (array([  25, -127,   64], dtype=int8), 0.019999999552965164, 0)
    >>> codes, scale, zero_point = quantize_int([-1.0, 0.0, 1.55], "uint8")
    >>> codes.tolist(), int(zero_point), decode_int(codes, scale, zero_point).round(6).tolist()
    ([0, 100, 255], 100, [-1.0, 0.0, 1.5499999523162842])
    """
    fmt = _integer_format("quantize_int", fmt)
    x = arrays.real("quantize_int", x)
    arrays.finite("quantize_int", x)
    with np.errstate(over="ignore"):
        x = np.asarray(x, dtype=np.float32)
    arrays.finite("quantize_int", x)
    affine = not fmt.signed if affine is None else affine
    rows, layout = to_rows("quantize_int", x, axis, block_size)
    kernel = kernels(x.size).integers
    scales, zeros = np.empty(len(rows), np.float32), np.zeros(len(rows), np.int32)
    if scale is not None:
        if clip is not None:
            raise ValueError("quantize_int: give a clip or a scale, not both")
        scales[...] = layout.rows_of("scale", scale, np.float32)
        if not (np.isfinite(scales) & (scales > 0)).all():
            raise ValueError("quantize_int: every scale must be finite and above zero")
        if affine != (zero_point is not None):
            raise ValueError(
                "quantize_int: an affine scale needs a zero_point, and a symmetric one "
                f"has none; got affine={affine}, zero_point={zero_point!r}"
            )
        if affine:
            zeros[...] = layout.rows_of("zero_point", zero_point, np.int32)
    elif zero_point is not None:
        raise ValueError("quantize_int: a zero_point needs its scale")
    elif affine:
        low, high = rows.min(axis=1, initial=0), rows.max(axis=1, initial=0)
        if clip is not None:
            low[...], high[...] = _range_of(clip)
        kernel.affine(low, high, scales, zeros, fmt.min, fmt.max)
    elif clip is not None:
        largest = np.full((len(rows), 1), _magnitude_of(clip), np.float32)
        kernel.scale(largest, scales, max(fmt.max, 1))
    else:
        kernel.scale(rows, scales, max(fmt.max, 1))
    if affine and not ((zeros >= fmt.min) & (zeros <= fmt.max)).all():
        raise ValueError(f"quantize_int: a zero_point of {fmt} lies from {fmt.min} to {fmt.max}")
    codes = np.empty(rows.shape, _code_dtype(fmt))
    kernel.encode(rows, codes, scales, zeros, fmt.min, fmt.max)
    zeros = layout.scales(zeros) if affine else 0
    return layout.elements(codes), layout.scales(scales), zeros


def decode_int(codes, scale, zero_point=0, *, axis: int | None = None, block_size: int | None = None) -> np.ndarray:
    """Return scale * (code - zero point), rounded once to float32.

    Parameters
    ----------
    codes : array_like of integers, any shape
    scale, zero_point : array_like
        As `quantize_int` returned them.
    axis, block_size : int, optional
        As they were given to `quantize_int`.

    Returns
    -------
    ndarray of float32, shape of codes

    Raises
    ------
    TypeError, ValueError
        For codes that are not integers and scales that do not fit.

    Examples
    --------
    >>> decode_int([25, -127], 0.5).tolist()
    [12.5, -63.5]
    """
    codes = arrays.array("decode_int", codes)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"decode_int: codes must be integers, got {codes.dtype}")
    rows, layout = to_rows("decode_int", codes, axis, block_size)
    kernel = kernels(codes.size).integers
    scales, zeros = np.empty(len(rows), np.float32), np.empty(len(rows), np.int32)
    scales[...] = layout.rows_of("scale", scale, np.float32)
    zeros[...] = layout.rows_of("zero_point", zero_point, np.int32)
    x = np.empty(rows.shape, np.float32)
    kernel.decode(rows, x, scales, zeros)
    return layout.elements(x)


def _integer_format(verb: str, fmt) -> IntFormat:
    fmt = format_of(fmt)
    if not isinstance(fmt, IntFormat):
        raise TypeError(f"{verb}: expected an integer format such as int8, got {fmt}")
    return fmt


def _code_dtype(fmt: IntFormat) -> np.dtype:
    return np.dtype(f"{'i' if fmt.signed else 'u'}{1 if fmt.bits <= 8 else 2}")


def _magnitude_of(clip) -> float:
    if np.ndim(clip) != 0 or not 0 < clip < np.inf:
        raise ValueError(f"quantize_int: a symmetric clip is one finite number above zero, got {clip!r}")
    return float(clip)


def _range_of(clip) -> tuple[float, float]:
    if np.shape(clip) != (2,) or not -np.inf < clip[0] < clip[1] < np.inf:
        raise ValueError(f"quantize_int: an affine clip is a pair (lowest, highest) of finite numbers, got {clip!r}")
    return float(clip[0]), float(clip[1])
