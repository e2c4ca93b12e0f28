"""MX and NVFP4: blocks of elements that share a scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from refimpl import _arguments
from refimpl.formats import SCALE_RULES, BlockFormat, RoundingMode, ScaleRule
from refimpl.formats.names import read
from refimpl.ops import arrays
from refimpl.ops.definitions import kernels
from refimpl.ops.floats import _fields
from refimpl.ops.rounding import RoundingRule
from refimpl.ops.rows import to_rows


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
    caller = "quantize_blocks"
    to: BlockFormat = read(caller, "fmt", fmt, BlockFormat)
    x = arrays.real(caller, "x", x)
    rule = RoundingRule.of(
        caller, to, rounding=rounding, overflow="saturate", random_bits=random_bits, seed=seed, stream=stream
    )
    if to.tensor_scale and scale_rule is not None:
        hint = "its scales are not powers of two"
        raise _arguments.wrong_value(caller, "scale_rule", scale_rule, f"None for {to}", hint)
    scale_rule = "floor" if scale_rule is None else scale_rule
    _arguments.choice(caller, "scale_rule", scale_rule, SCALE_RULES)
    given = None if tensor_scale is None else _tensor_scale(caller, to, tensor_scale)
    if not arrays.is_float(x):
        exact = "an integer that float64 holds, of at most 2^53"
        x = arrays.integers(caller, "x", x, -(2**53), 2**53, exact) if x.dtype.kind != "b" else x
        x = x.astype(np.float64)
    values = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
    rows, layout = to_rows(caller, arrays.bits_of(values.reshape(-1)).reshape(x.shape), axis, to.block_size)
    words = np.empty((len(rows), 0), np.uint32)
    if rule.stochastic:
        words, _ = to_rows(caller, rule.words(x.size)[: x.size].reshape(x.shape), axis, to.block_size)
    use = kernels(x.size)
    kernel = use.blocks
    record, source = kernel.block_fields(to), _fields(x.dtype.name, use)
    mode = rule.for_kernels(use)
    codes = np.empty(rows.shape, arrays.code_dtype(to.bits))
    scales = np.empty(len(rows), arrays.code_dtype(to.scale.bits))
    if not to.tensor_scale:
        which = kernel.SCALE_RULES.index(scale_rule)
        kernel.encode(rows, codes, scales, source, record, which, mode, words)
        return BlockCodes(layout.elements(codes), layout.scales(scales), 1.0)
    if given is None:
        given = kernel.scale_of_tensor(rows, to, source, _fields("float32", use))
    one = np.uint64(to.scale.bias << to.scale.mantissa_bits)
    bits = np.uint64(np.float32(given).view(np.uint32))
    kernel.encode_two_levels(rows, codes, scales, source, record, bits, one, mode, words)
    return BlockCodes(layout.elements(codes), layout.scales(scales), float(given))


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
    x = np.empty(rows.shape, dtype)
    use.blocks.decode(
        rows,
        layout.rows_of("scales", scales),
        x.view(arrays.FLOATS[dtype.name]),
        use.blocks.block_fields(to),
        np.uint64(single.view(np.uint32)),
        _fields(dtype.name, use),
    )
    return layout.elements(x)


def _tensor_scale(caller: str, fmt: BlockFormat, got) -> np.float32:
    value = _arguments.number(caller, "tensor_scale", got, _arguments.POSITIVE)
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(value)
    if not np.isfinite(single) or float(single) != value:
        raise _arguments.wrong_value(caller, "tensor_scale", got, "a float32 above zero")
    if not fmt.tensor_scale and single != 1:
        raise _arguments.wrong_value(caller, "tensor_scale", got, f"1 for {fmt}, which has none")
    return single
