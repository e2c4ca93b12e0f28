"""MX and NVFP4: blocks of elements that share a scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from refimpl.formats import SCALE_RULES, BlockFormat, RoundingMode, ScaleRule
from refimpl.formats import format as format_of
from refimpl.ops import arrays
from refimpl.ops.definitions import kernels
from refimpl.ops.floats import _fields, _mode
from refimpl.ops.rows import to_rows


class BlockCodes(NamedTuple):
    """What `quantize_blocks` returns, in the order `decode_blocks` takes it."""

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
    tensor_scale: float | None = None,
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
        For MX: ``floor`` (as OCP MX 1.0, the default), ``ceil`` (no element saturates), ``even``,
        ``nearest``; `refimpl.spec.blocks` defines them.
    rounding, random_bits, seed, stream
        Of the elements, as for `quantize`; element i in C order of x takes random word i.
    tensor_scale : float, optional
        For NVFP4: a positive float32; default: largest magnitude / (448 * 6).

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
    verb = "quantize_blocks"
    fmt = _block_format(verb, fmt)
    x = arrays.real(verb, x)
    arrays.check_rounding(verb, rounding, random_bits, seed, stream)
    if fmt.tensor_scale and scale_rule is not None:
        raise ValueError(f"{verb}: {fmt} has no scale_rule, its scales are not powers of two; got {scale_rule!r}")
    scale_rule = "floor" if scale_rule is None else scale_rule
    arrays.one_of(verb, "scale_rule", scale_rule, SCALE_RULES)
    given = None if tensor_scale is None else _tensor_scale(verb, fmt, tensor_scale)
    if not arrays.is_float(x):
        if x.size and ((x > 2**53) | (x < -(2**53))).any():
            raise ValueError(f"{verb}: integers beyond 2^53 are not exact in float64; scale them down")
        x = x.astype(np.float64)
    values = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
    rows, layout = to_rows(verb, arrays.bits_of(values.reshape(-1)).reshape(x.shape), axis, fmt.block_size)
    words = np.empty((len(rows), 0), np.uint32)
    if rounding.startswith("stochastic"):
        words = arrays.random_words(rounding, x.size, seed, stream)[: x.size].reshape(x.shape)
        words, _ = to_rows(verb, words, axis, fmt.block_size)
    use = kernels(x.size)
    kernel = use.blocks
    record, source = kernel.block_fields(fmt), _fields(x.dtype.name, use)
    mode = _mode(use, rounding, "saturate", "zero", random_bits)
    codes = np.empty(rows.shape, arrays.code_dtype(fmt.bits))
    scales = np.empty(len(rows), arrays.code_dtype(fmt.scale.bits))
    if not fmt.tensor_scale:
        rule = kernel.SCALE_RULES.index(scale_rule)
        kernel.encode(rows, codes, scales, source, record, rule, mode, words)
        return BlockCodes(layout.elements(codes), layout.scales(scales), 1.0)
    if given is None:
        given = kernel.scale_of_tensor(rows, fmt, source, _fields("float32", use))
    one = np.uint64(fmt.scale.bias << fmt.scale.mantissa_bits)
    bits = np.uint64(np.float32(given).view(np.uint32))
    kernel.encode_two_levels(rows, codes, scales, source, record, bits, one, mode, words)
    return BlockCodes(layout.elements(codes), layout.scales(scales), float(given))


def decode_blocks(
    codes, scales, fmt: BlockFormat | str, *, tensor_scale: float = 1.0, axis: int = -1, dtype=np.float32
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
    verb = "decode_blocks"
    fmt = _block_format(verb, fmt)
    codes = arrays.check_codes(verb, codes, fmt.bits, fmt.element.name)
    scales = arrays.check_codes(verb, scales, fmt.scale.bits, fmt.scale.name)
    dtype = np.dtype(dtype)
    if dtype.name not in ("float16", "float32", "float64"):
        raise TypeError(f"{verb}: dtype must be float16, float32 or float64, got {dtype}")
    tensor_scale = _tensor_scale(verb, fmt, tensor_scale)
    rows, layout = to_rows(verb, codes, axis, fmt.block_size)
    if scales.shape != layout.scale_shape:
        raise ValueError(
            f"{verb}: scales have shape {scales.shape}; codes of shape {codes.shape} in "
            f"blocks of {fmt.block_size} need {layout.scale_shape}"
        )
    use = kernels(codes.size)
    x = np.empty(rows.shape, dtype)
    use.blocks.decode(
        rows,
        layout.rows_of("scales", scales, scales.dtype),
        x.view(arrays.FLOATS[dtype.name]),
        use.blocks.block_fields(fmt),
        np.uint64(np.float32(tensor_scale).view(np.uint32)),
        _fields(dtype.name, use),
    )
    return layout.elements(x)


def _block_format(verb: str, fmt) -> BlockFormat:
    fmt = format_of(fmt)
    if not isinstance(fmt, BlockFormat):
        raise TypeError(f"{verb}: expected a block format such as mxfp4_e2m1, got {fmt}")
    return fmt


def _tensor_scale(verb: str, fmt: BlockFormat, value) -> np.float32:
    single = np.float32(value)
    if not (0 < single < np.inf and float(single) == float(value)):
        raise ValueError(f"{verb}: tensor_scale must be a positive float32, got {value!r}")
    if not fmt.tensor_scale and single != 1:
        raise ValueError(f"{verb}: {fmt} has no tensor scale; leave it out, got {value!r}")
    return single
