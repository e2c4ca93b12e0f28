"""Implementations that return the codes of blocks, or read them.

=========  =======================================================================================
encode     ``f(x)`` returns (codes, scales), or (codes, scales, tensor_scale) where the format has one
decode     ``f(codes, scales)``, or ``f(codes, scales, tensor_scale)``, returns values
=========  =======================================================================================

in the order of `refimpl.quantize_blocks`.  *codes* have the shape of x (rows, n): unsigned integers, int8 of
integer elements, or a one-byte dtype of ml_dtypes; or the shape (rows, n * bits / 8): packed bytes, the first element
in the low bits.  *scales* are codes of the shape (rows, n / block size), or one dimension more at the end.
`decode` is given codes as `encode` returns them, one to an element where there is no `encode`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from refimpl import ops
from refimpl.formats import IntFormat
from refimpl.spec import blocks, float_codes
from refimpl.testing.checks.checks import Check, Tally
from refimpl.testing.expected.explain import shortest
from refimpl.testing.implementations.findings import Finding, call, once

if TYPE_CHECKING:
    from refimpl.testing.checks.scaled_blocks import ScaledBlocks


class Decoded(NamedTuple):
    """Observations of a decoder: codes, scales, tensor scale, expected and got as dtype holds them (in float64)."""

    route: str
    x: np.ndarray
    expected: np.ndarray
    got: np.ndarray
    scales: np.ndarray
    tensor_scale: float
    dtype: type


MOST_CODES = 256  # of an element, tried with every scale


def checks(behaviour: ScaledBlocks) -> tuple[Check, ...]:
    """Return the checks of codes; `skipped` names what an implementation needs for each."""

    def scales(probe, tally):
        _scales(probe, behaviour, tally)

    def decode(probe, tally):
        _decode(probe, behaviour, tally)

    return (
        Check("scale_codes", "case group", "the code of every block's scale is right", scales, "encode"),
        Check("decode", "case group", "codes of elements are right with every scale", decode, "decode"),
    )


def read(probe, behaviour: ScaledBlocks, x: np.ndarray) -> np.ndarray:
    """Return the values that encoded blocks stand for, float64; raise Finding."""
    fmt = behaviour.format

    def quantize(x):
        codes, scales, tensor_scale, _ = parts(probe.implementation.encode(x), x, behaviour)
        return ops.decode_blocks(codes, scales, fmt, tensor_scale=tensor_scale, dtype=np.float64)

    return call(quantize, x, time_limit=probe.time_limit)


def parts(result, x, behaviour: ScaledBlocks) -> tuple[np.ndarray, np.ndarray, float, bool]:
    """Return codes, one to an element, scale codes, tensor scale, and whether codes came packed."""
    fmt = behaviour.format
    if not isinstance(result, (tuple, list)) or len(result) not in (2, 3):
        got = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise Finding(f"returned {got}; encoded blocks are (codes, scales) or (codes, scales, tensor_scale)")
    codes, scales = _bits("codes", result[0], fmt.bits), _bits("scales", result[1], fmt.scale.bits)
    blocks_of = (*x.shape[:-1], -(-x.shape[-1] // fmt.block_size))
    if scales.size != np.prod(blocks_of) or scales.shape[: x.ndim] != blocks_of:
        raise Finding(f"returned scales of shape {scales.shape} for {x.shape}; one for {fmt.block_size} is {blocks_of}")
    packed = (*x.shape[:-1], -(-x.shape[-1] * fmt.bits // 8))
    is_packed = codes.shape != x.shape and codes.shape == packed and fmt.bits < 8
    if is_packed:
        codes = ops.unpack_bits(codes.astype(np.uint8), fmt.bits, x.shape[-1])
    if codes.shape != x.shape:
        raise Finding(f"returned codes of shape {codes.shape} for {x.shape}")
    for name, found, bits in (("codes", codes, fmt.bits), ("scales", scales, fmt.scale.bits)):
        if (found >= 1 << bits).any():
            raise Finding(f"returned {name} up to {found.max()}; those of {fmt} have {bits} bits")
    return codes, scales.reshape(blocks_of), _tensor_scale(result, behaviour), is_packed


def _tensor_scale(result, behaviour: ScaledBlocks) -> float:
    if not behaviour.format.tensor_scale:
        return 1.0
    if len(result) == 2:
        if behaviour.tensor_scale is None:
            raise Finding(f"returned no tensor scale, which {behaviour.format} has", about_input=False)
        return behaviour.tensor_scale
    found = np.asarray(result[2], np.float64)
    single = found.astype(np.float32)
    if found.size != 1 or not 0 < float(single.reshape(())) < np.inf or single != found:
        raise Finding(f"returned the tensor scale {result[2]!r}, which is not a float32 above zero")
    return float(single.reshape(()))


def _bits(name: str, got, bits: int) -> np.ndarray:
    got = np.asarray(got)
    if got.dtype.kind not in "iu":
        if got.dtype.itemsize != 1 or got.dtype.kind == "b":
            raise Finding(f"returned {name} of dtype {got.dtype}; codes are integers", about_input=False)
        got = got.view(np.uint8)
    return got.astype(np.int64) & ((1 << bits) - 1) if got.dtype.kind == "i" else got


def _scales(probe, behaviour: ScaledBlocks, tally: Tally) -> None:
    """Compare the codes of scales: of blocks of zeros and of NaN only what they stand for counts."""
    size = behaviour.format.block_size

    def scale_codes(x):
        found = parts(probe.implementation.encode(x), x, behaviour)[1]
        return np.repeat(found.astype(np.int64), size, axis=-1)[..., : x.shape[-1]]

    for dtype in probe.inputs:
        for group in behaviour.groups():
            for x in group.arrays(np.dtype(dtype)) if not group.optional else ():
                try:
                    got = call(scale_codes, x, time_limit=probe.time_limit)[..., ::size]
                except Finding as found:
                    tally.find("encode", found)
                    return
                right = behaviour.coded(x).scales.astype(np.int64)
                largest = np.abs(x).reshape(*x.shape[:-1], -1, size).max(axis=-1)
                wrong = np.isfinite(largest) & (largest > 0) & (got != right)
                text = _explains(x, got, right, largest, behaviour)
                tally.count("encode", largest.reshape(-1), wrong.reshape(-1), text)


def _explains(x, got, right, largest, behaviour):
    def text(i):
        row, block = divmod(i, largest.shape[-1])
        _, code, _ = behaviour.by_definition(x, row, block * behaviour.format.block_size)
        said = f"row {row}, block {block}: the largest magnitude is {shortest(float(largest.reshape(-1)[i]))}"
        return f"{said}\nright  scale code 0x{code:02x}\ngot    scale code 0x{int(got.reshape(-1)[i]):02x}"

    return text


def _decode(probe, behaviour: ScaledBlocks, tally: Tally) -> None:
    """Compare decoded values, of every code of an element with every scale, and of some with others."""
    fmt, decode = behaviour.format, probe.implementation.decode
    packs = False
    if probe.implementation.has("encode"):
        example = np.ones((1, 2 * fmt.block_size), np.float32)
        with contextlib.suppress(Exception):  # what is wrong with it, others say
            packs = parts(probe.implementation.encode(example), example, behaviour)[3]
    for tensor_scale in (behaviour.tensor_scale or 1.0, 2.0**-7 * 1.7109375)[: 1 + fmt.tensor_scale]:
        codes, scales = every_code(behaviour)
        exact = ops.decode_blocks(codes, scales, fmt, tensor_scale=tensor_scale, dtype=np.float64)

        def values(codes, scales=scales, tensor_scale=tensor_scale):
            given = ops.pack_bits(codes, fmt.bits) if packs else codes
            if isinstance(fmt.element, IntFormat) and not packs:
                given = codes.view(np.int8) if fmt.bits == 8 else codes
            return decode(given, scales.copy(), *(np.float32(tensor_scale),) * fmt.tensor_scale)

        with tally.noting("decode"):
            try:
                got = once(values, codes, time_limit=probe.time_limit)
            except Finding as found:
                found.input = None
                raise
            if got.dtype.kind != "f" and not got.dtype.name.startswith(("float", "bfloat")):
                raise Finding(f"returned {got.dtype}; values are floats", about_input=False)
            narrow = np.float64 if got.dtype == np.float64 else np.float32
            with np.errstate(over="ignore"):
                expected, got = exact.astype(narrow).astype(np.float64), got.astype(np.float64)

            def text(i, codes=codes, scales=scales, got=got, given=tensor_scale):
                row, column = divmod(i, codes.shape[-1])
                scale, code = int(scales[row, column // fmt.block_size]), int(codes[row, column])
                right = blocks.decode_block(scale, [code], fmt, given)[0]
                return (
                    f"code   0x{code:x} with the scale code 0x{scale:02x}\nright  "
                    f"{shortest(float_codes.to_float(right))}\ngot    {shortest(float(got.reshape(-1)[i]))}"
                )

            bad = ~behaviour.same(np.zeros(codes.shape), expected, got)
            tally.count("decode", codes.reshape(-1), bad.reshape(-1), text)
            tally.seen.append(Decoded("decode", codes, expected, got, scales, tensor_scale, narrow))  # type: ignore[arg-type]


def every_code(behaviour: ScaledBlocks) -> tuple[np.ndarray, np.ndarray]:
    """Return codes (rows of two blocks) and scales: every scale, and every code of an element with it or others."""
    fmt, size = behaviour.format, behaviour.format.block_size
    scales = np.arange(1 << fmt.scale.bits)
    if fmt.tensor_scale:
        scales = scales[: fmt.scale.max_code + 1 + (fmt.scale.specials == "fn")]
    step = max(1, (1 << fmt.bits) // MOST_CODES)
    codes = np.resize(np.arange(0, 1 << fmt.bits, step), -(-max(MOST_CODES, size) // size) * size)
    codes = np.tile(codes.reshape(-1, size), (len(scales), 1))
    scales = np.repeat(scales, len(codes) // len(scales))
    if len(codes) % 2:
        codes, scales = np.concatenate([codes, codes[:1]]), np.append(scales, scales[0])
    unsigned = np.uint8 if fmt.bits <= 8 else np.uint16
    of_scales = np.uint8 if fmt.scale.bits <= 8 else np.uint16
    return codes.reshape(-1, 2 * size).astype(unsigned), scales.reshape(-1, 2).astype(of_scales)
