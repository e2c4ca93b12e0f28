"""Misuse of the testing kit is refused before any work, and the message names what is wrong."""

import re

import numpy as np
import pytest

import refimpl as rf
from refimpl.testing import Behaviour, Vectors

T = rf.testing
E4M3 = Behaviour("float8_e4m3fn")


def q(x):
    return x


MISUSE = [  # a call, its keywords, and what the message names
    (T.conform, (q, None), {}, "format"),
    (T.conform, (q, "float16"), {"op": "add", "axis": 0}, "axis is 0; allowed is None"),
    (T.conform, (q, "float16"), {"op": "sum", "not_finite": "open"}, "not_finite is 'open'"),
    (T.conform, (q, "float16"), {"op": "softmax", "axis": 0}, "axis is 0; allowed is None"),
    (T.conform, (q, "float16"), {"op": "softmax", "random_bits": 3}, "random_bits is 3"),
    (T.conform, (q, None), {"op": "Abs<Binary4p2se, Binary4p2se, (ToOdd, SatNone)>", "order": "exact"}, "order is"),
    (T.conform, (q, "float16"), {"op": "softmaxx"}, "did you mean 'softmax'"),
    (T.conform, (q, "nf4"), {}, "block_size of nf4 is None"),
    (T.conform, (q, "float8_e4m3fx"), {}, "did you mean"),
    (T.conform, (q, "float16"), {"op": "multiply"}, "did you mean 'mul'"),
    (T.conform, (q, "float16"), {"op": "Subtract"}, "did you mean 'sub'"),
    (T.conform, (q, "float16"), {"op": "power"}, "did you mean 'pow'"),
    (T.conform, (q, "float16"), {"op": "max"}, "did you mean 'maximum'"),
    (T.conform, (q, "float16"), {"op": "gemm"}, "did you mean 'matmul'"),
    (T.conform, (q, "float16"), {"op": "matmull"}, "did you mean 'matmul'"),
    (T.conform, (3, "e4m3fn"), {}, "implementation is 3"),
    (T.conform, (T.Program("true"), "mxfp4_e2m1"), {}, "of a block format"),
    (T.conform, (q, "mxfp4_e2m1"), {"not_finite": "zero"}, "not_finite 'zero'"),
    (T.conform, (q, "float8_e4m3fn"), {"rounding": "Toward_Zero"}, "did you mean 'toward_zero'"),
    (T.conform, (q, "float8_e4m3fn"), {"rounding": "stochastic_a"}, "random_bits"),
    (T.conform, (q, "float8_e4m3fn"), {"rounding": "stochastic_a", "random_bits": 9}, "random_bits is 9"),
    (T.conform, (q, "float8_e4m3fn"), {"random_bits": 3}, "random_bits is 3"),
    (T.conform, (q, "float8_e4m3fn"), {"nan": "raise"}, "nan 'raise'"),
    (T.conform, (q, "float8_e4m3fn"), {"overflow": "wrap"}, "overflow 'wrap'"),
    (T.conform, (q, "float8_e4m3fn"), {"inputs": ["int8"]}, "'int8'"),
    (T.conform, (q, "float8_e4m3fn"), {"inputs": []}, "inputs"),
    (T.conform, (q, "float8_e4m3fn"), {"time_limit": 0}, "time_limit is 0"),
    (T.conform, (q, "float8_e4m3fn"), {"scale_rule": "ceil"}, "scale_rule is 'ceil'"),
    (T.conform, (q, "float8_e4m3fn"), {"tensor_scale": 2.0}, "tensor_scale is 2.0"),
    (T.conform, (q, "float8_e4m3fn"), {"scale": 2.0}, "scale is 2.0"),
    (T.conform, (q, "posit8_2"), {"rounding": "to_odd"}, "rounding of posit8_2 'to_odd'"),
    (T.conform, (q, "posit8_2"), {"overflow": "saturate"}, "overflow of posit8_2 'saturate'"),
    (T.conform, (q, "int8"), {"rounding": "to_odd"}, "rounding of int8 'to_odd'"),
    (T.conform, (q, "int8"), {"overflow": "propagate"}, "overflow of int8 'propagate'"),
    (T.conform, (q, "int8"), {"zero_point": 3}, "zero_point is 3"),
    (T.conform, (q, "int8"), {"scale": 0.0}, "scale is 0.0"),
    (T.conform, (q, "int8"), {"scale": 1.0, "zero_point": 200}, "zero_point of int8 is 200"),
    (T.conform, (q, "int8"), {"scale": 1.0, "rounding": "to_odd"}, "rounding of int8 'to_odd'"),
    (T.conform, (q, "int8"), {"scale": 1.0, "nan": "max"}, "nan is 'max'"),
    (T.conform, (q, "mxfp4_e2m1"), {"scale": 0.5}, "scale is 0.5"),
    (T.conform, (q, "mxfp4_e2m1"), {"rounding": "stochastic"}, "'stochastic'"),
    (T.conform, (q, "mxfp4_e2m1"), {"overflow": "saturate"}, "overflow is 'saturate'"),
    (T.conform, (q, "nvfp4"), {"scale_rule": "ceil"}, "scale_rule"),
    (T.conform, (q, T.Program("./no-such-program")), {}, "format"),
    (T.conform, (T.Program("./no-such-program"), "float8_e4m3fn"), {}, "no-such-program"),
    (T.Program, ("",), {}, "command"),
    (T.Program, ("./mine", "negative"), {}, "'negative'"),
    (T.Implementation, (), {}, "nothing to test"),
    (T.Implementation, (), {"encode": 3}, "encode is 3"),
    (Behaviour, ("float128_e15m112",), {}, "float128_e15m112"),
    (Behaviour, ("nf4",), {}, "rf.quantize_codebook"),
    (Vectors, ("negative", E4M3), {}, "'negative'"),
    (Vectors, ("encode", E4M3, "3"), {}, "level '3'"),
    (Vectors, ("encode", E4M3, "2", "int8"), {}, "input 'int8'"),
    (Vectors, ("encode", E4M3, "all", "float64"), {}, "64 bits wide"),
    (Vectors, ("decode", Behaviour("float64"), "all"), {}, "64 bits wide"),
    (Vectors, ("encode", Behaviour("int8")), {}, "int8"),
    (Vectors, ("encode", Behaviour("e4m3", "stochastic")), {}, "stochastic"),
    (Vectors, ("add", Behaviour("float16"), "all"), {}, "operands of add float16.* is 32"),
]


@pytest.mark.parametrize(
    ("call", "arguments", "keywords", "names"), MISUSE, ids=lambda v: re.sub(" at 0x\\w+", "", str(v))[:40]
)
def test_misuse_is_refused_before_work(call, arguments, keywords, names):
    with pytest.raises((TypeError, ValueError), match=names):
        call(*arguments, **keywords)


@pytest.mark.parametrize("right", [np.float16, T.Implementation(quantize=q)])
def test_what_is_right_is_taken(right):
    T.pytest_tests(right, "float16")
