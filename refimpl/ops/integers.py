"""Uniform integer quantization: per tensor, per index of axes, or per block; and int32 sums back to few bits."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from refimpl import _arguments
from refimpl.formats import QUOTIENTS, ROUNDINGS, IntFormat, Quotient, RoundingMode
from refimpl.formats.names import Dtype, read
from refimpl.ops import arrays
from refimpl.ops.definitions import kernels
from refimpl.ops.rounding import RoundingRule
from refimpl.ops.rows import Axes, to_rows

_FLOAT32 = _arguments.Interval(2.0**-149, (2 - 2.0**-23) * 2.0**127)
_LEAST_WITH_RECIPROCAL = 2.0**-128 + 2.0**-149  # float32 rounds 1 / 2^-128 to infinity
_INT32 = np.iinfo(np.int32)


def quantize_int(
    x,
    fmt: IntFormat | str | type | Dtype,
    *,
    axis: Axes = None,
    block_size: Axes = None,
    affine: bool | None = None,
    clip=None,
    scale=None,
    zero_point=None,
    rounding: RoundingMode = "ties_to_even",
    quotient: Quotient = "exact",
    random_bits: int | None = None,
    seed: int | None = None,
    stream: int = 0,
    random=None,
):
    """Quantize uniformly: code = clip(round(x / scale) + zero point).

    Parameters
    ----------
    x : array_like of float32 (others are rounded to it first), finite, any shape
    fmt : IntFormat or its name
        ``int8`` has the codes -127 to 127, ``int8_full`` -128 too, ``uint8`` 0 to 255.
    axis : int or tuple of int, optional
        One scale for each index along this axis, or along these; by default one for the whole tensor.
    block_size : int or tuple of int, optional
        One scale for each block of this many neighbours along `axis` (default: the last axis) instead, or
        for each box such as ``(128, 128)`` along as many axes; the last block may be shorter.
    affine : bool, optional
        Whether the range may lie unevenly about zero; default: for unsigned formats.  An unsigned format that is
        not affine has its zero in the middle, at 2^(bits - 1).
    clip : float or pair of floats, optional
        The range to spread the codes over instead of that of the values: the largest magnitude,
        or (affine) the lowest and the highest value.
    scale : array_like of float32, optional
        Instead of a scale from the values: of a shape that broadcasts against the scale returned.
    zero_point : array_like of int, optional
        With `scale`, for affine quantization.
    rounding, random_bits, seed, stream, random
        Of the quotient, before the zero point is added, as for `quantize`; element i in C order takes random word i.
    quotient : str
        ``exact``; ``float32``, rounded to float32 first, as ONNX's QuantizeLinear and NumPy compute it;
        ``reciprocal``, x times 1 / scale, each rounded to float32, as PyTorch's fake_quantize functions do; or
        ``fbgemm``, the same plus the zero point in one step, before it is rounded, as PyTorch's
        quantize_per_tensor does through FBGEMM.

    Returns
    -------
    codes : ndarray of int8, uint8, int16 or uint16, shape of x
    scale : ndarray of float32
        Of a shape that broadcasts against x; with `block_size`, the shape of x with its axes
        shortened to the number of blocks.  Symmetric: largest magnitude / largest code above the zero point,
        the exact quotient rounded to float32.  Affine: width of the range, zero included, / number of steps.
        1 where everything is zero; and never so large that a code is decoded as infinity.
    zero_point : int, or ndarray of int32 of the shape of scale
        0 for symmetric quantization, 2^(bits - 1) in unsigned formats.  `decode_int` decodes.

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
    _arguments.choice(caller, "quotient", quotient, QUOTIENTS)
    drawn: dict[str, Any] = {"random_bits": random_bits, "seed": seed, "stream": stream, "random": random}
    rule = RoundingRule.of(caller, to, x.shape, rounding=rounding, **drawn)
    rows, layout = to_rows(caller, x, axis, block_size)
    use = kernels(x.size)
    kernel = use.integers
    middle = 0 if to.signed or affine else 1 << (to.bits - 1)
    most = max(to.max - middle, 1)
    scales, zeros = np.empty(len(rows), np.float32), np.full(len(rows), middle, np.int32)
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
        kernel.scale(np.full((len(rows), 1), limit, np.float32), scales, most)
    else:
        kernel.scale(rows, scales, most)
    codes = np.empty(rows.shape, f"{'i' if to.signed else 'u'}{1 if to.bits <= 8 else 2}")
    if quotient == "exact" and rounding == "ties_to_even":
        kernel.encode(rows, codes, scales, zeros, to.min, to.max)
    else:
        if quotient in ("reciprocal", "fbgemm") and (scales < _LEAST_WITH_RECIPROCAL).any():
            allowed = f"at least {_LEAST_WITH_RECIPROCAL}, of which float32 has the reciprocal"
            raise _arguments.wrong_value(caller, "scale", scales.min(), allowed)
        how, mode = QUOTIENTS.index(quotient), rule.for_kernels(use)

        def work(part, words):
            at = part[0]
            kernel.encode_as(rows[part], codes[part], scales[at], zeros[at], to.min, to.max, how, mode, words)

        layout.in_pieces(rule, work)
    return layout.elements(codes), layout.scales(scales), layout.scales(zeros) if affine else middle


def requantize(
    x,
    fmt: IntFormat | str | type | Dtype,
    *,
    multiplier,
    shift=0,
    zero_point=0,
    rounding: RoundingMode | Literal["gemmlowp"] = "ties_to_even",
) -> np.ndarray:
    """Return the codes of int32 sums: clip(round(x * multiplier * 2^(shift - 31)) + zero point).

    Parameters
    ----------
    x : array_like of integers of 32 bits, any shape
        Such as `matmul_int` returns.
    fmt : IntFormat or its name
    multiplier, shift : array_like of integers, of shapes that broadcast against x
        0 to 2^31 - 1, and -31 to 30: `fixed_multiplier` makes them of a scale.
    zero_point : array_like of codes of the format, of a shape that broadcasts against x
    rounding : str
        Of the exact product, once, by any mode of `quantize` but the stochastic ones; or ``gemmlowp``, which rounds
        twice as TFLite's kernels do: the doubled product's upper half with ties up, saturated, then shifted
        right with ties away from zero.

    Returns
    -------
    ndarray of int8, uint8, int16 or uint16, shape of x

    Raises
    ------
    TypeError, ValueError
        For what are not such integers, and shapes that do not fit.
    OverflowError
        Where ``gemmlowp`` shifts a sum to the left and out of int32.

    Notes
    -----
    *Source*: Jacob et al., arXiv 1712.05877; gemmlowp's fixedpoint.h and TFLite's MultiplyByQuantizedMultiplier;
    `refimpl.spec.integers`.

    Examples
    --------
    >>> multiplier, shift = fixed_multiplier(0.25)
    >>> requantize([3, 5, 6, -2, 10**6], "int8_full", multiplier=multiplier, shift=shift).tolist()
    [1, 1, 2, 0, 127]
    >>> requantize([3, 5, 6, -2], "int8_full", multiplier=multiplier, shift=shift, rounding="gemmlowp").tolist()
    [1, 2, 2, -1]
    """
    caller = "requantize"
    to: IntFormat = read(caller, "fmt", fmt, IntFormat)
    x = arrays.integers(caller, "x", x, _INT32.min, _INT32.max, "an integer of 32 bits").astype(np.int64)
    codes_of = f"a code of {to}, {to.min} to {to.max}"
    factor, places, zero = (
        _along(caller, name, arrays.integers(caller, name, got, *allowed), x.shape)
        for name, got, allowed in (
            ("multiplier", multiplier, (0, _INT32.max)),
            ("shift", shift, (-31, 30)),
            ("zero_point", zero_point, (to.min, to.max, codes_of)),
        )
    )
    modes = (*(mode for mode in ROUNDINGS if not mode.startswith("stochastic")), "gemmlowp")
    _arguments.choice(caller, "rounding", rounding, modes)
    if rounding == "gemmlowp":
        moved = x << np.maximum(places, 0)
        if (wrong := (moved < _INT32.min) | (moved > _INT32.max)).any():
            index = _arguments.first(wrong)
            raise OverflowError(
                f"{caller}: x[{', '.join(map(str, index))}] is {x[index]}; shifted left it leaves int32"
            )
        high = (moved * factor + 2**30) >> 31  # a multiplier is not negative: nothing saturates
        found = _shifted(high, np.maximum(-places, 0), "ties_to_away")
    else:
        found = _shifted(x * factor, 31 - places, rounding)
    return (found + zero).clip(to.min, to.max).astype(f"{'i' if to.signed else 'u'}{1 if to.bits <= 8 else 2}")


def fixed_multiplier(scale) -> tuple[np.ndarray, np.ndarray]:
    """Return multipliers and shifts of scales, as `requantize` takes them: scale = multiplier * 2^(shift - 31).

    Parameters
    ----------
    scale : array_like of floats, above zero and below 2^30, any shape

    Returns
    -------
    multiplier : ndarray of int32, shape of scale
        2^30 to 2^31 - 1, the nearest, ties up; 0 for scales below 2^-32.
    shift : ndarray of int32, shape of scale
        -31 to 30.

    Raises
    ------
    TypeError, ValueError
        For what are not such numbers.

    Notes
    -----
    *Source*: TFLite's QuantizeMultiplier; `refimpl.spec.integers.multiplier`.

    Examples
    --------
    >>> multiplier, shift = fixed_multiplier([0.75, 1.0])
    >>> multiplier.tolist(), shift.tolist()
    ([1610612736, 1073741824], [0, 1])
    """
    caller = "fixed_multiplier"
    x = _arguments.finite(caller, "scale", arrays.real(caller, "scale", scale)).astype(np.float64)
    allowed = _arguments.Interval(0, 2**30 - 1, open_low=True)
    _arguments.every(caller, "scale", x, (x > 0) & (x <= allowed.high), f"a number {allowed}")
    fraction, shift = np.frexp(x)
    value = np.floor(fraction * 2.0**31 + 0.5)  # 53 bits and one below them: exact, as 2^31 moves them up
    shift = shift + (value == 2.0**31)
    value = np.where(shift < -31, 0, np.minimum(value, 2.0**31 - (value == 2.0**31) * 2.0**30))
    return value.astype(np.int32), np.where(shift < -31, 0, shift).astype(np.int32)


def _along(caller: str, name: str, values: np.ndarray, shape) -> np.ndarray:
    """Return integers as int64 that broadcast to a shape."""
    try:
        return np.broadcast_to(values.astype(np.int64), shape)
    except ValueError:
        raise ValueError(
            _arguments.message(caller, name, f"of shape {values.shape}", f"one that broadcasts to {shape}")
        ) from None


def _shifted(x: np.ndarray, places: np.ndarray, rounding: str) -> np.ndarray:
    """Return int64 / 2^places, 0 to 62 of them, rounded in a mode that is not stochastic."""
    low = x >> places
    rest, half = x - (low << places), (np.int64(1) << places) >> 1
    odd, negative, some = low & 1 == 1, x < 0, rest != 0
    up = {
        "ties_to_even": (rest > half) | ((rest == half) & odd),
        "ties_to_away": (rest > half) | ((rest == half) & ~negative),
        "toward_zero": negative,
        "toward_positive": True,
        "toward_negative": False,
        "to_odd": ~odd,
    }[rounding]
    return low + (up & some)


def decode_int(codes, scale, zero_point=0, *, axis: Axes = None, block_size: Axes = None) -> np.ndarray:
    """Return scale * (code - zero point), rounded once to float32.

    Parameters
    ----------
    codes : array_like of integers, any shape
    scale, zero_point : array_like
        As `quantize_int` returned them.
    axis, block_size : int or tuple of int, optional
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
