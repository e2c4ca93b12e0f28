"""The NumPy-like door to the kernels: validate, choose dtypes, call one kernel.

=============  ==========================================================
`quantize`     value to value: round to the format, keep the dtype
`encode`       value to code
`decode`       code to value
`quantize_int` values to integer codes, scale and zero point
=============  ==========================================================

Every function rounds exactly once from the values it is given; see `refimpl.spec` for the
definitions.  Kernels are compiled on first use and cached on disk.
"""

from __future__ import annotations

import numpy as np

from refimpl.formats import NAN_RULES, OVERFLOWS, ROUNDINGS, FloatFormat, IntFormat
from refimpl.formats import format as format_of

_FLOATS = ("float16", "float32", "float64")


def quantize(
    x, fmt: FloatFormat | str, *, rounding="ties_to_even", overflow="overflow", nan="zero",
    seed: int | None = None, stream: int = 0, out: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Round values to a format.

    Parameters
    ----------
    x : array_like of float16, float32, float64 or integers, any shape
    fmt : FloatFormat or its name
    rounding : str
        ``ties_to_even ties_to_away toward_zero toward_positive toward_negative to_odd stochastic``.
    overflow : str
        What becomes of values that round beyond the largest finite one: ``overflow`` (infinity if
        the format has it, else NaN, else the largest value), ``saturate`` (the largest value, for
        infinities too), ``propagate`` (the largest value, but infinities stay).
    nan : str
        What becomes of NaN in a format without one: ``zero`` (of the opposite sign, as ml_dtypes
        does), ``max`` (of the same sign), ``raise``.
    seed, stream : int
        64-bit integers, for stochastic rounding: element i, in C order, takes word i of the
        Philox4x32-10 sequence (seed, stream); the magnitude goes up iff its fraction, cut to 32
        bits, plus that word carries.
    out : ndarray, optional
        Like the result and C-contiguous; may be x itself.

    Returns
    -------
    ndarray
        Shape of x; dtype of x, and float64 for integers.  Exact: every value is one of the format
        (rounded once more only where the dtype cannot hold it, as float32 cannot hold 2^128).

    Raises
    ------
    TypeError, ValueError
        Before any work: for other dtypes, unknown modes, a missing seed, an `out` that does not fit.

    Examples
    --------
    >>> quantize([1.06, 500.0], "e4m3fn", overflow="saturate").tolist()
    [1.0, 448.0]
    >>> quantize(np.full(4, 1.0625, np.float32), "e4m3fn", rounding="stochastic", seed=7).tolist()
    [1.125, 1.125, 1.0, 1.0]
    """
    fmt = _float_format("quantize", fmt)
    x = _real("quantize", x)
    _check_modes("quantize", fmt, x, rounding, overflow, nan, seed)
    dtype = x.dtype if x.dtype.name in _FLOATS else np.dtype(np.float64)
    if out is None:
        out = np.empty(x.shape, dtype)
    elif out.shape != x.shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(f"quantize: out is {out.dtype} {out.shape}; it must be a C-contiguous "
                         f"{dtype} array of shape {x.shape}")  # fmt: skip
    from refimpl.kernels import float_codes as kernel

    if (
        dtype == np.float32
        and rounding in ("ties_to_even", "stochastic")
        and kernel.fits_float32(fmt)
    ):
        target = kernel.float32_target(fmt, overflow, "zero" if nan == "raise" else nan)
        bits, result = (
            np.ascontiguousarray(x).reshape(-1).view(np.uint32),
            out.reshape(-1).view(np.uint32),
        )
        if rounding == "stochastic":
            kernel.quantize_stochastic(bits, result, target, np.uint64(seed), np.uint64(stream))
        else:
            kernel.quantize_ties_to_even(bits, result, target)
        return out
    codes = encode(x, fmt, rounding=rounding, overflow=overflow, nan=nan, seed=seed, stream=stream)
    with np.errstate(over="ignore"):
        out[...] = decode(codes, fmt)
    return out


def encode(
    x, fmt: FloatFormat | str, *, rounding="ties_to_even", overflow="overflow", nan="zero",
    seed: int | None = None, stream: int = 0,
) -> np.ndarray:  # fmt: skip
    """Return the codes of values; parameters and errors as for `quantize`.

    Returns
    -------
    ndarray
        Shape of x, the smallest unsigned dtype that holds the codes.  Exact.

    Examples
    --------
    >>> encode([1.0, 448.0], "float8_e4m3fn")
    array([ 56, 126], dtype=uint8)
    """
    fmt = _float_format("encode", fmt)
    x = _real("encode", x)
    _check_modes("encode", fmt, x, rounding, overflow, nan, seed)
    from refimpl.kernels import float_codes as kernel

    with np.errstate(invalid="ignore"):  # a signalling NaN
        values = np.ascontiguousarray(x, dtype=np.float64).reshape(-1)
    codes = np.empty(values.size, _code_dtype(fmt))
    words = np.empty(0, np.uint32)
    if rounding == "stochastic":
        from refimpl.kernels.random_bits import random_words

        words = np.empty(-(-values.size // 4) * 4, np.uint32)
        random_words(words, np.uint64(seed), np.uint64(stream))
    kernel.encode(
        values,
        codes,
        kernel.fields(fmt),
        kernel.ROUNDINGS.index(rounding),
        kernel.OVERFLOWS.index(overflow),
        kernel.NAN_RULES.index("zero" if nan == "raise" else nan),
        words,
    )
    return codes.reshape(x.shape)


def decode(codes, fmt: FloatFormat | str) -> np.ndarray:
    """Return the values of codes.

    Parameters
    ----------
    codes : array_like of integers from 0 to 2^fmt.bits - 1, any shape
    fmt : FloatFormat or its name

    Returns
    -------
    ndarray of float64
        Exact for every value float64 can hold, else rounded to it once.

    Raises
    ------
    TypeError, ValueError
        For codes that are not integers, or out of range (the first is named).

    Examples
    --------
    >>> decode([0x01, 0x7E, 0x7F], "float8_e4m3fn").tolist()
    [0.001953125, 448.0, nan]
    """
    fmt = _float_format("decode", fmt)
    codes = np.asarray(codes)
    if codes.size == 0 and codes.dtype == np.float64:  # an empty list
        codes = codes.astype(np.uint8)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"decode: codes must be integers, got {codes.dtype}")
    wrong = (codes < 0) | (codes >= 1 << fmt.bits) if fmt.bits < 64 else codes < 0
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"decode: code {codes[index]} at index {index} is not a code of {fmt.name}, "
                         f"which go from 0 to {(1 << fmt.bits) - 1}")  # fmt: skip
    from refimpl.kernels import float_codes as kernel

    values = np.empty(codes.size, np.float64)
    kernel.decode(codes.reshape(-1).astype(np.uint64), values, kernel.fields(fmt))
    return values.reshape(codes.shape)


def quantize_int(x, fmt: IntFormat | str, *, axis: int | None = None, scale=None):
    """Quantize uniformly and symmetrically: code = clip(round(x / scale)), ties to even.

    Parameters
    ----------
    x : array_like of float32 (others are rounded to it first), finite, any shape
    fmt : IntFormat or its name
        A signed one; ``int8`` has the codes -127 to 127.
    axis : int, optional
        One scale for each index along this axis; by default one for the whole tensor.
    scale : array_like of float32, optional
        Default: largest magnitude / largest code, the exact quotient rounded to float32, and 1
        where everything is zero.

    Returns
    -------
    codes : ndarray of int8 or int16, shape of x
    scale : ndarray of float32, of a shape that broadcasts against x
    zero_point : int
        Always 0: the quantization is symmetric.  ``scale * codes`` decodes.

    Raises
    ------
    TypeError, ValueError
        For an unsigned format, values that are not finite, a scale that is not positive.

    Examples
    --------
    >>> codes, scale, zero_point = quantize_int([0.5, -2.54, 1.27], "int8")
    >>> codes, float(scale), zero_point
    (array([  25, -127,   64], dtype=int8), 0.019999999552965164, 0)
    """
    fmt = format_of(fmt)
    if not isinstance(fmt, IntFormat) or not fmt.signed:
        raise TypeError(f"quantize_int: expected a signed integer format such as int8, got {fmt}")
    x = np.asarray(_real("quantize_int", x), dtype=np.float32)
    if not np.isfinite(x).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(
            f"quantize_int: {x[index]} at index {index} is not finite; remove or clip it"
        )
    if axis is not None and not -x.ndim <= axis < x.ndim:
        raise ValueError(f"quantize_int: axis {axis} of an array with {x.ndim} axes")
    rows = x.reshape(1, -1) if axis is None else np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    shape = () if axis is None else tuple(-1 if i == axis % x.ndim else 1 for i in range(x.ndim))
    if scale is None:
        largest = np.abs(rows).max(axis=1, initial=0).astype(np.float64)
        tiny = np.float32(2.0**-149)
        scales = np.where(
            largest == 0, np.float32(1), np.maximum((largest / fmt.max).astype(np.float32), tiny)
        )
    else:
        scales = np.broadcast_to(np.asarray(scale, np.float32).reshape(-1), rows.shape[0])
        if not (np.isfinite(scales) & (scales > 0)).all():
            raise ValueError("quantize_int: every scale must be finite and above zero")
    from refimpl.kernels import integers as kernel

    codes = np.empty(rows.shape, np.int8 if fmt.bits <= 8 else np.int16)
    scales = np.ascontiguousarray(scales, np.float32)
    kernel.encode(np.ascontiguousarray(rows), codes, scales, fmt.min, fmt.max)
    if axis is not None:
        moved = np.moveaxis(x, axis, 0).shape
        codes = np.ascontiguousarray(np.moveaxis(codes.reshape(moved), 0, axis))
    return codes.reshape(x.shape), scales.reshape(shape), 0


# -- at the door ----------------------------------------------------------------------------------


def _float_format(verb: str, fmt) -> FloatFormat:
    fmt = format_of(fmt)
    if not isinstance(fmt, FloatFormat):
        raise TypeError(
            f"{verb}: {fmt} is an integer format, which needs a scale; use quantize_int"
        )
    return fmt


def _real(verb: str, x) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.kind not in "fiub" or (x.dtype.kind == "f" and x.dtype.name not in _FLOATS):
        raise TypeError(
            f"{verb}: values must be float16, float32, float64 or integers, got {x.dtype}"
        )
    if x.dtype.itemsize == 8 and x.dtype.kind in "iu" and ((x > 2**53) | (x < -(2**53))).any():
        raise ValueError(f"{verb}: integers beyond 2^53 are not exact in float64; scale them down")
    return x


def _check_modes(verb, fmt, x, rounding, overflow, nan, seed) -> None:
    for what, got, allowed in (("rounding", rounding, ROUNDINGS), ("overflow", overflow, OVERFLOWS),
                               ("nan", nan, NAN_RULES)):  # fmt: skip
        if got not in allowed:
            raise ValueError(f"{verb}: unknown {what} {got!r}; one of {', '.join(allowed)}")
    if rounding == "stochastic" and (seed is None or not 0 <= seed < 2**64):
        raise ValueError(
            f"{verb}: stochastic rounding needs a seed from 0 to 2^64 - 1, got {seed!r}"
        )
    if nan == "raise" and fmt.nan_code is None and x.dtype.kind == "f" and np.isnan(x).any():
        index = tuple(int(i) for i in np.argwhere(np.isnan(x))[0])
        raise ValueError(f"{verb}: NaN at index {index}, and {fmt.name} has no NaN; "
                         "use nan='zero' or nan='max'")  # fmt: skip


def _code_dtype(fmt: FloatFormat) -> np.dtype:
    return np.min_scalar_type((1 << fmt.bits) - 1)
