"""Reference implementation of low-precision training research, with bit-exact number formats."""

import importlib

from refimpl.formats import BlockFormat, CodeBook, FloatFormat, IntFormat, PositFormat, format
from refimpl.ops import (
    BlockCodes,
    add,
    compare,
    decode,
    decode_blocks,
    decode_codebook,
    decode_int,
    div,
    dot,
    encode,
    fma,
    matmul,
    matmul_int,
    matmul_lookup,
    mul,
    pack_bits,
    product_table,
    qtorch_float_quantize,
    quantile_codebook,
    quantize,
    quantize_blocks,
    quantize_codebook,
    quantize_int,
    sqrt,
    sub,
    sum,
    unpack_bits,
    values,
)

__version__ = "0.1.0"
__all__ = [
    "BlockCodes", "BlockFormat", "CodeBook", "FloatFormat", "IntFormat", "PositFormat",
    "Precision", "add", "autodiff", "compare", "data", "decode", "decode_blocks",
    "decode_codebook", "decode_int", "div", "dot", "encode", "fma", "format", "matmul", "matmul_int",
    "matmul_lookup", "mul", "nn", "numerics", "pack_bits", "peppp", "plots", "product_table",
    "qtorch_float_quantize", "quantile_codebook", "quantize", "quantize_blocks",
    "quantize_codebook", "quantize_int", "sqrt", "sub", "sum", "testing", "unpack_bits", "values",
]  # fmt: skip


def __getattr__(name: str):
    """Load the rooms when they are first asked for, so that importing refimpl stays quick."""
    if name in ("autodiff", "data", "nn", "numerics", "peppp", "plots", "testing"):
        return importlib.import_module(f"refimpl.{name}")
    if name == "Precision":
        return importlib.import_module("refimpl.nn").Precision
    raise AttributeError(f"module 'refimpl' has no attribute {name!r}")
