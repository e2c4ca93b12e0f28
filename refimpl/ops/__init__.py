"""The NumPy-like operations: validate, choose dtypes, call one kernel.

=======================================  =======================================================
`quantize`, `encode`, `decode`           values and codes of float formats and posits
`values`                                 all values of a small format
`add`, `sub`, `mul`, `div`, `sqrt`       arithmetic on values of a format, rounded once
`fma`, `compare`                         the fused multiply-add; <, ==, ... with NaN unordered
`minimum`, `clamp`, `next_up`, ...       extrema, signs, neighbours, classes, integers, remainders
`exp`, `sinpi`, `gelu`, `pow`, ...       functions, correctly rounded: `refimpl.spec.functions` lists them
`softmax`                                each step rounded in a stated format
`sum`, `dot`, `matmul`                   with a stated accumulator, order and compensation
`quantize_int`, `decode_int`             scaled integer codes, symmetric and affine
`requantize`, `fixed_multiplier`         int32 sums to codes, by a multiplier and a shift
`matmul_int`                             products of integer codes in int32 accumulators
`matmul_int16`                           the same in 16-bit accumulators, outliers apart
`matmul_lookup`, `product_table`         products of codes of 4 bits, looked up
`quantize_blocks`, `decode_blocks`       MX and NVFP4: elements that share a scale
`quantize_scaled`, `decode_scaled`       float formats under scales of tensors, axes or tiles
`quantize_codebook`, `decode_codebook`   NF4, dynamic and quantile codes
`quantile_codebook`                      a code book made from data
`pack_bits`, `unpack_bits`               codes of few bits, side by side in bytes
`qtorch_float_quantize`                  QPyTorch's function, bit for bit
=======================================  =======================================================

Every function rounds exactly once from the values it is given; see `refimpl.spec` for the
definitions.  Kernels are compiled on first use and cached on disk.
"""

from refimpl.ops.arithmetic import add, compare, div, fma, mul, sqrt, sub
from refimpl.ops.blocks import BlockCodes, decode_blocks, decode_scaled, quantize_blocks, quantize_scaled
from refimpl.ops.codebooks import decode_codebook, quantile_codebook, quantize_codebook
from refimpl.ops.elementwise import (
    abs,
    acos,
    acosh,
    acospi,
    asin,
    asinh,
    asinpi,
    atan,
    atan2,
    atan2pi,
    atanh,
    atanpi,
    clamp,
    classify,
    copysign,
    cos,
    cosh,
    cospi,
    exp,
    exp2,
    exp10,
    expm1,
    faa,
    gelu,
    gelu_tanh,
    hypot,
    is_finite,
    is_infinite,
    is_nan,
    is_normal,
    is_one,
    is_sign_minus,
    is_signaling,
    is_subnormal,
    is_zero,
    log,
    log1p,
    log2,
    log10,
    logb,
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
    negate,
    next_down,
    next_up,
    pow,
    recip,
    remainder,
    round_to_integral,
    rsqrt,
    scaleb,
    sigmoid,
    silu,
    sin,
    sinh,
    sinpi,
    softplus,
    tan,
    tanh,
    tanpi,
    to_integer,
    total_order,
)
from refimpl.ops.exponentials import softmax
from refimpl.ops.floats import decode, encode, quantize, values
from refimpl.ops.integer_products import matmul_int, matmul_int16, matmul_lookup, product_table
from refimpl.ops.integers import decode_int, fixed_multiplier, quantize_int, requantize
from refimpl.ops.packing import pack_bits, unpack_bits
from refimpl.ops.qtorch import qtorch_float_quantize
from refimpl.ops.sums import dot, matmul, sum

__all__ = [
    "BlockCodes",
    "abs",
    "acos",
    "acosh",
    "acospi",
    "add",
    "asin",
    "asinh",
    "asinpi",
    "atan",
    "atan2",
    "atan2pi",
    "atanh",
    "atanpi",
    "clamp",
    "classify",
    "compare",
    "copysign",
    "cos",
    "cosh",
    "cospi",
    "decode",
    "decode_blocks",
    "decode_codebook",
    "decode_int",
    "decode_scaled",
    "div",
    "dot",
    "encode",
    "exp",
    "exp10",
    "exp2",
    "expm1",
    "faa",
    "fixed_multiplier",
    "fma",
    "gelu",
    "gelu_tanh",
    "hypot",
    "is_finite",
    "is_infinite",
    "is_nan",
    "is_normal",
    "is_one",
    "is_sign_minus",
    "is_signaling",
    "is_subnormal",
    "is_zero",
    "log",
    "log10",
    "log1p",
    "log2",
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
    "pack_bits",
    "pow",
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
    "rsqrt",
    "scaleb",
    "sigmoid",
    "silu",
    "sin",
    "sinh",
    "sinpi",
    "softmax",
    "softplus",
    "sqrt",
    "sub",
    "sum",
    "tan",
    "tanh",
    "tanpi",
    "to_integer",
    "total_order",
    "unpack_bits",
    "values",
]
