"""MX and NVFP4: blocks of elements that share a scale; and floats of few bits under scales of any tile."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import DTypeLike

from refimpl import _arguments
from refimpl.formats import SCALE_RULES, BlockFormat, FloatFormat, IntFormat, RoundingMode, ScaleRule
from refimpl.formats import format as format_of
from refimpl.formats.names import Dtype, read
from refimpl.ops import arrays, float_paths
from refimpl.ops.definitions import DEFINITIONS, kernels
from refimpl.ops.floats import _fields, decode, encode, quantize
from refimpl.ops.rounding import RoundingRule
from refimpl.ops.rows import Axes, RowLayout, to_rows
from refimpl.spec.blocks import Scaled

ScaleFormat = Literal["float32", "float16", "bfloat16"]


class BlockCodes(NamedTuple):
    """What `quantize_blocks` returns, in the order `decode_blocks` takes it.

    Examples
    --------
    >>> from refimpl import quantize_blocks
    >>> coded = quantize_blocks([1.0, -6.0], "mxfp4_e2m1")
    >>> coded.codes.tolist(), coded.scales.tolist(), coded.tensor_scale
    ([2, 15], [127], 1.0)
    """

    codes: np.ndarray
    scales: np.ndarray
    tensor_scale: float


def quantize_blocks(
    x,
    fmt: BlockFormat | str,
    *,
    axis: int = -1,
    scale_rule: ScaleRule | None = None,
    rounding: RoundingMode = "ties_to_even",
    random_bits: int | None = None,
    seed: int | None = None,
    stream: int = 0,
    random=None,
    tensor_scale: float | None = None,
    scales=None,
    least_scale: float | None = None,
) -> BlockCodes:
    """Quantize neighbours along an axis to elements that share a scale.

    Parameters
    ----------
    x : array_like of float16, bfloat16, float32, float64, or integers that float64 holds
        At least one axis.  A block with NaN or an infinity in it becomes NaN altogether.
    fmt : BlockFormat or its name
        ``mxfp8_e4m3 mxfp8_e5m2 mxfp6_e2m3 mxfp6_e3m2 mxfp4_e2m1 mxint8 nvfp4``.
    axis : int
        Along which blocks are cut; the last block may be shorter.
    scale_rule : str, optional
        For MX: ``floor`` (as OCP MX 1.0, the default), ``ceil`` (no element saturates; torchao's RCEIL),
        ``ceil_log2`` (torchao's CEIL), ``even``, ``nearest``; `refimpl.spec.blocks` defines them.
    rounding, random_bits, seed, stream, random
        Of the elements, as for `quantize`; element i in C order of x takes random word i.
    tensor_scale : float, optional
        For NVFP4: positive, held exactly by float32; default: largest magnitude / (448 * 6).  1 is without one.
    scales : array_like of integers, optional
        Codes of the blocks' scales instead of scales from the values, as they are returned.
    least_scale : float, optional
        For NVFP4: a value of the scales' format below which no scale goes, those of zeros included; torchao has
        2^-6.  Default: none, and a scale that rounds to zero is 1.

    Returns
    -------
    codes : ndarray of uint8 or uint16, shape of x
        Element codes; `pack_bits` puts those of 4 and 6 bits side by side.
    scales : ndarray of uint8 or uint16
        Scale codes: the shape of x with the axis shortened to the number of blocks.
    tensor_scale : float
        1.0 for MX.

    Raises
    ------
    TypeError, ValueError
        Before any work: for other formats, dtypes, axes and modes.

    Notes
    -----
    Every element is the exact quotient rounded once; elements beyond the largest saturate.
    *Source*: OCP Microscaling formats 1.0, NVIDIA's NVFP4; `refimpl.spec.blocks`.

    Examples
    --------
    >>> codes, scales, _ = quantize_blocks([1.0, -6.5, 0.3], "mxfp4_e2m1")
    >>> codes.tolist(), scales.tolist(), decode_blocks(codes, scales, "mxfp4_e2m1").tolist()
    ([2, 15, 1], [127], [1.0, -6.0, 0.5])
    """
    caller = "quantize_blocks"
    to: BlockFormat = read(caller, "fmt", fmt, BlockFormat)
    x = arrays.real(caller, "x", x)
    drawn: dict[str, Any] = {"random_bits": random_bits, "seed": seed, "stream": stream, "random": random}
    rule = RoundingRule.of(caller, to, x.shape, rounding=rounding, overflow="saturate", **drawn)
    if to.tensor_scale and scale_rule is not None:
        hint = "its scales are not powers of two"
        raise _arguments.wrong_value(caller, "scale_rule", scale_rule, f"None for {to}", hint)
    if scales is not None and (scale_rule, least_scale) != (None, None):
        raise ValueError(f"{caller}: scales are given; allowed is no scale_rule and no least_scale beside them")
    scale_rule = "floor" if scale_rule is None else scale_rule
    _arguments.choice(caller, "scale_rule", scale_rule, SCALE_RULES)
    given = None if tensor_scale is None else _tensor_scale(caller, to, tensor_scale)
    values = x = _floats(caller, x)
    rows, layout = to_rows(caller, arrays.bits_of(values.reshape(-1)).reshape(x.shape), axis, to.block_size)
    use = kernels(x.size)
    kernel = use.blocks
    record, source = kernel.block_fields(to), _fields(x.dtype.name, use)
    codes = np.empty(rows.shape, arrays.code_dtype(to.bits))
    known, least = scales is not None, _least(caller, to, least_scale)
    found = np.empty(len(rows), arrays.code_dtype(to.scale.bits))
    if known:
        found[...] = layout.rows_of("scales", _scale_codes(caller, to, scales, layout.scale_shape))
    which = kernel.GIVEN if known else kernel.SCALE_RULES.index(scale_rule)
    tops = _tops(use, rows, source)
    if to.tensor_scale and given is None:
        given = kernel.scale_of_tensor(tops, to, source, _fields("float32", use))
    single = np.float32(1) if given is None else given
    bits = np.uint64(single.view(np.uint32))
    one = np.uint64(least or to.scale.bias << to.scale.mantissa_bits)
    two_levels = bits, one, np.uint64(least), known
    if _is_fast(use, to):
        if not to.tensor_scale:
            kernel.mx_scales(tops, found, source, record, which)
        elif known or not use.block_quotients.fits(to.scale, to.scale):
            kernel.two_level_scales(tops, found, source, record, *two_levels)
        else:  # likewise, by the quotients that elements go by
            row, pair = to_rows(caller, tops, None, None), Scaled(to.scale, to.scale)
            by = np.array([to.grid.max * float(single)])
            _divided(use, row[0], found[None], by, source, pair, RoundingRule(), row[1])
            np.maximum(found, least, out=found)
            found[found == 0] = one
            found[tops > source.max_code] = to.scale.nan_code
        _divided(use, rows, codes, _values_of(to.scale)[found] * np.float64(single), source, to, rule, layout)
    elif to.tensor_scale:
        how = *two_levels, rule.for_kernels(use), layout.words(rule)
        kernel.encode_two_levels(rows, codes, found, source, record, *how)
    else:
        kernel.encode(rows, codes, found, source, record, which, rule.for_kernels(use), layout.words(rule))
    return BlockCodes(layout.elements(codes), layout.scales(found), float(single))


def _is_fast(use, fmt) -> bool:
    """Tell whether `refimpl.kernels.block_quotients` serves a block format: always, but for odd ones."""
    return use is not DEFINITIONS and use.block_quotients.fits(fmt.grid, fmt.scale)


def _tops(use, rows: np.ndarray, source) -> np.ndarray:
    """Return the bits of the largest magnitude of each row."""
    if use is DEFINITIONS:
        return rows
    tops = np.empty(len(rows), rows.dtype)
    use.blocks.largest(rows, tops, source)
    return tops


def _divided(use, rows, codes, divisors, source, fmt, rule: RoundingRule, layout: RowLayout) -> None:
    """Write the codes of elements, each row's over a divisor (float64, NaN for zeros) and rounded once."""
    fast = rule.mode == "ties_to_even" and use.float32_codes.fits_float32(fmt.grid)
    target = use.float32_codes.float32_code_target(fmt.grid, "saturate") if fast else None
    has_all = not fmt.tensor_scale and source.mantissa_bits < 52  # float32, of the quotients
    encoder = float_paths.encoder(fmt.grid, rule, float_paths.LAYOUTS[rule.stochastic and not has_all :])
    assert encoder is not None  # float64 always serves
    name, encode = encoder
    dtype, sign = arrays.FLOATS[name], 1 << (fmt.bits - 1) if isinstance(fmt.element, IntFormat) else 0

    def work(part, words):
        scaled = np.empty(rows[part].shape, dtype)
        use.block_quotients.quotients(rows[part], divisors[part[0]], scaled, source)
        scaled, into = scaled.reshape(-1), codes[part].reshape(-1)
        if fast:
            use.float32_codes.encode_ties_to_even(scaled, into, target)
        else:
            into[:] = encode(scaled, words.reshape(-1))
        if sign:
            use.block_quotients.to_twos_complement(into, sign)

    layout.in_pieces(rule, work)


@lru_cache(maxsize=32)
def _values_of(fmt) -> np.ndarray:
    """Return the values of all codes of an element or a scale, as float64."""
    codes = np.arange(1 << fmt.bits)
    if isinstance(fmt, IntFormat):
        return np.where(codes < 1 << (fmt.bits - 1), codes, codes - (1 << fmt.bits)) * 2.0 ** (2 - fmt.bits)
    return decode(codes, fmt)


class ScaledCodes(NamedTuple):
    """What `quantize_scaled` returns, in the order `decode_scaled` takes it."""

    codes: np.ndarray
    scale: np.ndarray


def quantize_scaled(
    x,
    fmt: FloatFormat | str | type | Dtype,
    *,
    axis: Axes = None,
    block_size: Axes = None,
    scale=None,
    scale_format: ScaleFormat = "float32",
    quotient: Literal["exact", "float32"] = "exact",
    rounding: RoundingMode = "ties_to_even",
    random_bits: int | None = None,
    seed: int | None = None,
    stream: int = 0,
    random=None,
) -> ScaledCodes:
    """Quantize to a float format under scales of whole tensors, axes, or tiles: scaled FP8.

    Parameters
    ----------
    x : array_like of float16, bfloat16, float32, float64, or integers that float64 holds, finite, any shape
    fmt : FloatFormat or its name
        Signed, of at most 16 bits.
    axis, block_size : int or tuple of int, optional
        What shares a scale, as for `quantize_int`: everything, each index of one axis or of several, or each tile,
        such as ``block_size=(128, 128)`` or ``(1, 128)``.
    scale : array_like, optional
        Values of `scale_format` above zero instead of scales from the values.
    scale_format : str
        ``float32``, ``float16`` or ``bfloat16``.
    quotient : str
        Of elements and scales: ``exact``, rounded once, or ``float32``, divided in float32 and rounded again, as
        PyTorch and torchao do.
    rounding, random_bits, seed, stream, random
        Of the elements, as for `quantize`; element i in C order of x takes random word i.

    Returns
    -------
    codes : ndarray of uint8 or uint16, shape of x
    scale : ndarray of float32, or of float16 for such a format
        As for `quantize_int`: largest magnitude / largest value, the exact quotient rounded to the scale's format,
        where it saturates and does not become zero; 1 where everything is zero.

    Raises
    ------
    TypeError, ValueError
        For values that are not finite, scales that are not of the format, and formats and tiles that do not fit.

    Notes
    -----
    Elements beyond the largest saturate.  With scales that are powers of two both quotients are the same.
    *Source*: `refimpl.spec.blocks`.

    Examples
    --------
    >>> codes, scale = quantize_scaled([[896.0, -3.0], [0.0, 1.0]], "float8_e4m3fn", axis=0)
    >>> codes.tolist(), scale.tolist(), decode_scaled(codes, scale, "float8_e4m3fn", axis=0).tolist()
    ([[126, 188], [0, 126]], [[2.0], [0.0022321429569274187]], [[896.0, -3.0], [0.0, 1.0]])
    """
    caller = "quantize_scaled"
    to = _element(caller, fmt)
    _arguments.choice(caller, "scale_format", scale_format, get_args(ScaleFormat))
    _arguments.choice(caller, "quotient", quotient, ("exact", "float32"))
    of = format_of(scale_format)
    x = _floats(caller, _arguments.finite(caller, "x", arrays.real(caller, "x", x)))
    drawn: dict[str, Any] = {"random_bits": random_bits, "seed": seed, "stream": stream, "random": random}
    rule = RoundingRule.of(caller, to, x.shape, rounding=rounding, overflow="saturate", **drawn)
    rows, layout = to_rows(caller, arrays.bits_of(x.reshape(-1)).reshape(x.shape), axis, block_size)
    use = kernels(x.size)
    codes, scales = np.empty(rows.shape, arrays.code_dtype(to.bits)), np.empty(len(rows), arrays.code_dtype(of.bits))
    if scale is not None:
        given = arrays.scales(caller, "scale", scale)
        back = quantize(given, of)
        _arguments.every(caller, "scale", given, (given == back) & (back > 0), f"a value of {of} above zero")
        scales[...] = layout.rows_of("scale", encode(given, of))
    pair, one, known = Scaled(to, of), np.uint64(of.bias << of.mantissa_bits), scale is not None
    source, record = _fields(x.dtype.name, use), use.blocks.block_fields(pair)
    two_levels = np.uint64(0), one, np.uint64(1), known
    if _is_fast(use, pair):
        use.blocks.two_level_scales(_tops(use, rows, source), scales, source, record, *two_levels)
        _divided(use, rows, codes, decode(scales, of), source, pair, rule, layout)
    else:
        how = *two_levels, rule.for_kernels(use), layout.words(rule)
        use.blocks.encode_two_levels(rows, codes, scales, source, record, *how)
    dtype = np.float16 if scale_format == "float16" else np.float32
    found = layout.elements(codes)
    if quotient == "float32":
        wide = np.broadcast_to(decode(scales, of, dtype=np.float32)[:, None], rows.shape)
        with np.errstate(all="ignore"):
            ratio = quantize(x, "float32").astype(np.float32) / layout.elements(wide)
        found = encode(ratio, to, rounding=rounding, overflow="saturate", **drawn)
    return ScaledCodes(found, layout.scales(decode(scales, of, dtype=dtype)))


def decode_scaled(
    codes,
    scale,
    fmt: FloatFormat | str | type | Dtype,
    *,
    axis: Axes = None,
    block_size: Axes = None,
    dtype: DTypeLike = np.float32,
) -> np.ndarray:
    """Return scale * value of the code, the exact product rounded once.

    Parameters
    ----------
    codes, scale, fmt, axis, block_size
        As `quantize_scaled` took and returned them; scales are rounded to float32 first.
    dtype : float16, float32 or float64

    Returns
    -------
    ndarray of dtype, shape of codes

    Raises
    ------
    TypeError, ValueError
        For codes out of range and shapes that do not belong together.

    Examples
    --------
    >>> decode_scaled([126, 188], 2.0, "float8_e4m3fn").tolist()
    [896.0, -3.0]
    """
    caller = "decode_scaled"
    of = _element(caller, fmt)
    codes = arrays.codes(caller, "codes", codes, of.name, 1 << of.bits)
    dtype = arrays.dtype(caller, dtype)
    rows, layout = to_rows(caller, codes, axis, block_size)
    scales = layout.rows_of("scale", arrays.finite_float32(caller, "scale", scale)).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # float64 holds every product
        return layout.elements((decode(rows, of) * scales[:, None]).astype(dtype))


def _element(caller: str, got) -> FloatFormat:
    fmt: FloatFormat = read(caller, "fmt", got, FloatFormat)
    if fmt.bits > 16 or not fmt.signed or not fmt.has_zero or fmt.exponent_bits > 8:
        text = "a signed format of at most 16 bits and 8 exponent bits"
        raise ValueError(_arguments.message(caller, "fmt", str(fmt), text))
    return fmt


def _floats(caller: str, x: np.ndarray) -> np.ndarray:
    """Return floats in native order and without gaps; integers as float64."""
    if not arrays.is_float(x):
        exact = "an integer that float64 holds, of at most 2^53"
        x = arrays.integers(caller, "x", x, -(2**53), 2**53, exact) if x.dtype.kind != "b" else x
        x = x.astype(np.float64)
    return np.ascontiguousarray(x, x.dtype.newbyteorder("=")).reshape(x.shape)


def _scale_codes(caller: str, fmt: BlockFormat, got, shape) -> np.ndarray:
    """Return codes of given scales: positive, finite ones, or NaN in E8M0."""
    codes = arrays.codes(caller, "scales", got, fmt.scale.name, 1 << fmt.scale.bits)
    if codes.shape != shape:
        allowed = f"{shape}, one for {fmt.block_size} values"
        raise ValueError(_arguments.message(caller, "scales", f"of shape {codes.shape}", allowed))
    if fmt.tensor_scale:
        holds = (codes > 0) & (codes <= fmt.scale.max_code)
        _arguments.every(caller, "scales", codes, holds, f"the code of a value above zero, 1 to {fmt.scale.max_code}")
    return codes


def _least(caller: str, fmt: BlockFormat, got) -> int:
    """Return the code of the least scale, 0 for none."""
    if got is None:
        return 0
    value = _arguments.number(caller, "least_scale", got, _arguments.POSITIVE)
    if not fmt.tensor_scale or float(quantize(value, fmt.scale)) != value:
        allowed = f"a value of {fmt.scale}" if fmt.tensor_scale else f"None for {fmt}"
        raise _arguments.wrong_value(caller, "least_scale", got, allowed)
    return int(encode(value, fmt.scale))


def decode_blocks(
    codes, scales, fmt: BlockFormat | str, *, tensor_scale: float = 1.0, axis: int = -1, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """Return tensor scale * block scale * element, the exact product rounded once.

    Parameters
    ----------
    codes, scales, tensor_scale
        As `quantize_blocks` returned them.
    fmt : BlockFormat or its name
    axis : int
        As it was given to `quantize_blocks`.
    dtype : float16, float32 or float64

    Returns
    -------
    ndarray of dtype, shape of codes

    Raises
    ------
    TypeError, ValueError
        For codes out of range and shapes that do not belong together.

    Examples
    --------
    >>> decode_blocks([2, 15, 1], [128], "mxfp4_e2m1").tolist()
    [2.0, -12.0, 1.0]
    """
    caller = "decode_blocks"
    to: BlockFormat = read(caller, "fmt", fmt, BlockFormat)
    codes = arrays.codes(caller, "codes", codes, to.element.name, 1 << to.bits)
    scales = arrays.codes(caller, "scales", scales, to.scale.name, 1 << to.scale.bits)
    dtype = arrays.dtype(caller, dtype)
    single = _tensor_scale(caller, to, tensor_scale)
    rows, layout = to_rows(caller, codes, axis, to.block_size)
    if scales.shape != layout.scale_shape:
        allowed = f"{layout.scale_shape}, one for {to.block_size} codes"
        raise ValueError(_arguments.message(caller, "scales", f"of shape {scales.shape}", allowed))
    use = kernels(codes.size)
    by_row = layout.rows_of("scales", scales)
    by_table = to.bits <= 8 and not (to.tensor_scale and to.grid.infinity_code)  # a scale of 0 leaves infinity
    if use is not DEFINITIONS and by_table and use.block_quotients.fits(to.grid, to.scale):
        x = np.empty(rows.shape, np.float32 if dtype == np.float32 else np.float64)
        table = _values_of(to.element)
        table = np.concatenate([table, np.negative(table)])
        use.block_quotients.decode(rows, _values_of(to.scale)[by_row] * np.float64(single), x, table)
        with np.errstate(over="ignore"):
            return layout.elements(x.astype(dtype, copy=False))
    x = np.empty(rows.shape, dtype)
    tensor, into = np.uint64(single.view(np.uint32)), x.view(arrays.FLOATS[dtype.name])
    use.blocks.decode(rows, by_row, into, use.blocks.block_fields(to), tensor, _fields(dtype.name, use))
    return layout.elements(x)


def _tensor_scale(caller: str, fmt: BlockFormat, got) -> np.float32:
    value = _arguments.number(caller, "tensor_scale", got, _arguments.POSITIVE)
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(value)
    if not np.isfinite(single) or float(single) != value:
        hint = f"the nearest is {float(single)!r}" if 0 < single < np.inf else ""
        raise _arguments.wrong_value(
            caller, "tensor_scale", got, "a number above zero that float32 holds exactly", hint
        )
    if not fmt.tensor_scale and single != 1:
        raise _arguments.wrong_value(caller, "tensor_scale", got, f"1 for {fmt}, which has none")
    return single
