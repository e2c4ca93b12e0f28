"""Uniform integer quantization: per tensor, per index of an axis, or per block."""

from __future__ import annotations

import numpy as np

from refimpl import _arguments
from refimpl.formats import IntFormat
from refimpl.formats.names import read
from refimpl.ops import arrays
from refimpl.ops.definitions import kernels
from refimpl.ops.rows import to_rows

_FLOAT32 = _arguments.Interval(2.0**-149, (2 - 2.0**-23) * 2.0**127)


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
        One scale for each block of this many neighbours along `axis` (default: the last axis) instead; the
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
    caller = "quantize_int"
    to: IntFormat = read(caller, "fmt", fmt, IntFormat)
    x = arrays.finite_float32(caller, "x", x)
    affine = not to.signed if affine is None else _arguments.flag(caller, "affine", affine)
    rows, layout = to_rows(caller, x, axis, block_size)
    kernel = kernels(x.size).integers
    scales, zeros = np.empty(len(rows), np.float32), np.zeros(len(rows), np.int32)
    if scale is not None:
        if clip is not None:
            raise _arguments.wrong_value(caller, "clip", clip, "None beside a scale")
        scales[...] = layout.rows_of("scale", arrays.scales(caller, "scale", scale))
        if affine != (zero_point is not None):
            allowed = "integers beside an affine scale, and None beside a symmetric one"
            raise _arguments.wrong_value(caller, "zero_point", zero_point, allowed, f"affine is {affine}")
        if affine:
            codes_of = f"a code of {to}, {to.min} to {to.max}"
            given = arrays.integers(caller, "zero_point", zero_point, to.min, to.max, codes_of)
            zeros[...] = layout.rows_of("zero_point", given)
    elif zero_point is not None:
        raise _arguments.wrong_value(caller, "zero_point", zero_point, "None without a scale")
    elif affine:
        low, high = rows.min(axis=1, initial=0), rows.max(axis=1, initial=0)
        if clip is not None:
            low[...], high[...] = _range_of(caller, clip)
        kernel.affine(low, high, scales, zeros, to.min, to.max)
    elif clip is not None:
        limit = _arguments.number(caller, "clip", clip, _FLOAT32)
        kernel.scale(np.full((len(rows), 1), limit, np.float32), scales, max(to.max, 1))
    else:
        kernel.scale(rows, scales, max(to.max, 1))
    codes = np.empty(rows.shape, f"{'i' if to.signed else 'u'}{1 if to.bits <= 8 else 2}")
    kernel.encode(rows, codes, scales, zeros, to.min, to.max)
    return layout.elements(codes), layout.scales(scales), layout.scales(zeros) if affine else 0


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
    caller = "decode_int"
    codes = arrays.integers(caller, "codes", codes, -(2**31), 2**32 - 1)
    rows, layout = to_rows(caller, codes, axis, block_size)
    kernel = kernels(codes.size).integers
    scales, zeros = np.empty(len(rows), np.float32), np.empty(len(rows), np.int32)
    scales[...] = layout.rows_of("scale", arrays.finite_float32(caller, "scale", scale))
    zeros[...] = layout.rows_of("zero_point", arrays.integers(caller, "zero_point", zero_point, -(2**31), 2**31 - 1))
    x = np.empty(rows.shape, np.float32)
    kernel.decode(rows, x, scales, zeros)
    return layout.elements(x)


def _range_of(caller: str, clip) -> np.ndarray:
    """Return the two ends of an affine range."""
    ends = _arguments.finite(caller, "clip", _arguments.numbers(caller, "clip", clip, (2,)))
    if not ends[0] < ends[1] or max(abs(ends)) > _FLOAT32.high:
        raise _arguments.wrong_value(caller, "clip", clip, "a lower and a higher float32")
    return ends
