"""Reference implementation of low-precision training research, with bit-exact number formats."""

import importlib

TYPE_CHECKING = False  # by its name, editors take it for true; importing typing would take time
if TYPE_CHECKING:  # at run time everything is loaded when it is first asked for
    from refimpl import autodiff, data, formats, kernels, nn, numerics, ops, papers, peppp, plots, spec, testing
    from refimpl.formats import BlockFormat, CodeBook, FloatFormat, IntFormat, MatrixUnit, PositFormat, format
    from refimpl.nn import Precision
    from refimpl.ops import (
        BlockCodes,
        abs,
        add,
        clamp,
        classify,
        compare,
        copysign,
        decode,
        decode_blocks,
        decode_codebook,
        decode_int,
        decode_scaled,
        div,
        dot,
        encode,
        faa,
        fixed_multiplier,
        fma,
        is_finite,
        is_infinite,
        is_nan,
        is_normal,
        is_one,
        is_sign_minus,
        is_signaling,
        is_subnormal,
        is_zero,
        logb,
        matmul,
        matmul_int,
        matmul_int16,
        matmul_lookup,
        maximum,
        maximum_finite,
        maximum_magnitude,
        maximum_magnitude_number,
        maximum_number,
        minimum,
        minimum_finite,
        minimum_magnitude,
        minimum_magnitude_number,
        minimum_number,
        mul,
        negate,
        next_down,
        next_up,
        pack_bits,
        product_table,
        qtorch_float_quantize,
        quantile_codebook,
        quantize,
        quantize_blocks,
        quantize_codebook,
        quantize_int,
        quantize_scaled,
        recip,
        remainder,
        requantize,
        round_to_integral,
        scaleb,
        sqrt,
        sub,
        sum,
        to_integer,
        total_order,
        unpack_bits,
        values,
    )
    from refimpl.ops import codes as codes
    from refimpl.ops import p3109 as p3109

__version__ = "0.1.0"
__all__ = [
    "BlockCodes",
    "BlockFormat",
    "CodeBook",
    "FloatFormat",
    "IntFormat",
    "MatrixUnit",
    "PositFormat",
    "Precision",
    "abs",
    "add",
    "autodiff",
    "clamp",
    "classify",
    "codes",
    "compare",
    "copysign",
    "data",
    "decode",
    "decode_blocks",
    "decode_codebook",
    "decode_int",
    "decode_scaled",
    "div",
    "dot",
    "encode",
    "faa",
    "fixed_multiplier",
    "fma",
    "format",
    "formats",
    "is_finite",
    "is_infinite",
    "is_nan",
    "is_normal",
    "is_one",
    "is_sign_minus",
    "is_signaling",
    "is_subnormal",
    "is_zero",
    "kernels",
    "logb",
    "matmul",
    "matmul_int",
    "matmul_int16",
    "matmul_lookup",
    "maximum",
    "maximum_finite",
    "maximum_magnitude",
    "maximum_magnitude_number",
    "maximum_number",
    "minimum",
    "minimum_finite",
    "minimum_magnitude",
    "minimum_magnitude_number",
    "minimum_number",
    "mul",
    "negate",
    "next_down",
    "next_up",
    "nn",
    "numerics",
    "ops",
    "p3109",
    "pack_bits",
    "papers",
    "peppp",
    "plots",
    "product_table",
    "qtorch_float_quantize",
    "quantile_codebook",
    "quantize",
    "quantize_blocks",
    "quantize_codebook",
    "quantize_int",
    "quantize_scaled",
    "recip",
    "remainder",
    "requantize",
    "round_to_integral",
    "scaleb",
    "spec",
    "sqrt",
    "sub",
    "sum",
    "testing",
    "to_integer",
    "total_order",
    "unpack_bits",
    "values",
]

_ROOMS = frozenset("autodiff data formats kernels nn numerics ops papers peppp plots spec testing".split())
_FORMATS = frozenset(
    name for name in __all__ if name.endswith("Format") or name in ("CodeBook", "MatrixUnit", "format")
)

if not TYPE_CHECKING:

    def __getattr__(name: str):
        """Load what is asked for, so that importing refimpl, and Ctrl-C while it is, cost nothing."""
        if name in _ROOMS:
            return importlib.import_module(f"refimpl.{name}")
        if name in ("codes", "p3109"):
            return importlib.import_module(f"refimpl.ops.{name}")
        if name not in __all__:
            raise AttributeError(f"module 'refimpl' has no attribute {name!r}")
        room = "formats" if name in _FORMATS else "nn" if name == "Precision" else "ops"
        found = globals()[name] = getattr(importlib.import_module(f"refimpl.{room}"), name)
        return found


def __dir__():
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
