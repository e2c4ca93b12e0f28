"""Every argument of every operation, given what it is not: an error in words that names it, or a result.

The table is systematic: each operation's good call, and for each of its arguments each hostile value.
"""

import re
import warnings
from operator import attrgetter

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats import p3109_names
from refimpl.formats.codebooks import dynamic_values

X, CODES, ROUNDED = [[1.0, -2.0, 0.5, 0.25]], [[1, 2, 3, 4]], [[1.0, 0.5], [2.0, 0.25]]
DRAWN = {"rounding": "stochastic_a", "random_bits": 8, "seed": 1, "stream": 2}
HOW = {**DRAWN, "overflow": "saturate", "nan": "max"}
SUMS = {**DRAWN, "overflow": "saturate", "accumulate": "float16", "order": "chunked", "chunk": 2}
SCALES = {"axis": -1, "block_size": 2}

GOOD = {
    "quantize": dict(x=X, fmt="e4m3fn", out=np.empty((1, 4)), **HOW),
    "encode": dict(x=X, fmt="e4m3fn", out=np.empty((1, 4), np.uint8), **HOW),
    "decode": dict(codes=CODES, fmt="e4m3fn", dtype="float32", out=np.empty((1, 4), np.float32)),
    "values": dict(fmt="e2m1fn"),
    "add": dict(a=X, b=1.0, fmt="e4m3fn", **HOW),
    "sub": dict(a=X, b=1.0, fmt="e4m3fn", **HOW),
    "mul": dict(a=X, b=1.0, fmt="e4m3fn", **HOW),
    "div": dict(a=X, b=1.0, fmt="e4m3fn", **HOW),
    "sqrt": dict(a=X, fmt="e4m3fn", **HOW),
    "fma": dict(a=X, b=1.0, c=2.0, fmt="e4m3fn", **HOW),
    "compare": dict(a=X, b=1.0, fmt="e4m3fn", relation="<"),
    "add of two formats": dict(a=X, b=1.0, fmt=("e4m3fn", "e5m2ieee"), out_format="float16", **HOW),
    "mul with given integers": dict(
        a=X, b=1.0, fmt="e4m3fn", rounding="stochastic_b", random_bits=4, random=[1, 2, 3, 15]
    ),
    "clamp": dict(a=X, low=-1.0, high=1.0, fmt="e4m3fn", **HOW),
    "exp": dict(a=X, fmt="e4m3fn", **HOW),
    "softmax": dict(x=X, fmt="e4m3fn", axis=1, accumulator="float32", out_format="float16"),
    "atan2": dict(a=X, b=1.0, fmt="e4m3fn", **HOW),
    "scaleb": dict(a=X, n=[1, 2, 3, 4], fmt="e4m3fn", **HOW),
    "round_to_integral": dict(a=X, fmt="e4m3fn", **HOW),
    "to_integer": dict(a=X, fmt="e4m3fn", bits=8, signed=True, rounding="stochastic", seed=1, overflow="wrap"),
    "next_up": dict(a=X, fmt="e4m3fn"),
    "total_order": dict(a=X, b=1.0, fmt="e4m3fn"),
    "codes.fma": dict(a=CODES, b=1, c=2, fmt="e4m3fn", flags=True, tininess="before", out_format="float16", **HOW),
    "codes.to_integer": dict(a=CODES, fmt="e4m3fn", bits=8, signed=False, flags=True),
    "codes.compare": dict(a=CODES, b=1, fmt="e4m3fn", relation="<", flags=True),
    "sum": dict(x=X, fmt="e4m3fn", axis=1, **SUMS),
    "dot": dict(a=[1.0, 2.0], b=[1.0, 2.0], fmt="e4m3fn", **SUMS),
    "matmul": dict(a=ROUNDED, b=ROUNDED, fmt="e4m3fn", **SUMS),
    "quantize_int": dict(x=X, fmt="uint8", affine=True, scale=0.5, zero_point=3, **SCALES),
    "quantize_int with a clip": dict(x=X, fmt="uint8", affine=True, clip=(-1, 1), **SCALES),
    "quantize_int with one limit": dict(x=X, fmt="int8", affine=False, clip=2.0),
    "quantize_int as drawn": dict(x=X, fmt="uint8", affine=False, quotient="float32", axis=(0, 1), **DRAWN),
    "requantize": dict(x=CODES, fmt="int8", multiplier=2**30, shift=-1, zero_point=3, rounding="gemmlowp"),
    "fixed_multiplier": dict(scale=X[0][2:]),
    "decode_int": dict(codes=CODES, scale=0.5, zero_point=3, **SCALES),
    "matmul_int": dict(a=[[1, 2], [3, 4]], b=[[1, 2], [3, 4]], zero_points=(1, [2, 3])),
    "product_table": dict(first="int4", second="e2m1fn"),
    "matmul_int16": dict(a=[[1, 2]], b=[[3], [4]]),
    "matmul_lookup": dict(a=[[1, 2]], b=[[3], [4]], first="int4", second="e2m1fn"),
    "quantize_blocks": dict(x=X, fmt="mxfp4", axis=-1, scale_rule="even", **DRAWN),
    "quantize_blocks with a tensor scale": dict(x=X, fmt="nvfp4", tensor_scale=0.5),
    "quantize_blocks with a least scale": dict(x=X, fmt="nvfp4", least_scale=0.5),
    "quantize_blocks with scales": dict(x=X, fmt="mxfp4", scales=[[127]]),
    "quantize_scaled": dict(x=X, fmt="e4m3fn", scale=2.0, scale_format="float16", **SCALES, **DRAWN),
    "decode_scaled": dict(codes=CODES, scale=0.5, fmt="e4m3fn", dtype="float32", **SCALES),
    "decode_blocks": dict(codes=CODES, scales=[[3]], fmt="nvfp4", tensor_scale=0.5, axis=1, dtype="float32"),
    "quantize_codebook": dict(x=X, book="nf4", scale=2.0, **SCALES),
    "decode_codebook": dict(codes=CODES, scale=2.0, book="nf4", **SCALES),
    "quantile_codebook": dict(x=X, bits=2, name="mine"),
    "pack_bits": dict(codes=CODES, bits=4, signed=True, order="high"),
    "unpack_bits": dict(packed=np.array([0x21, 0x43], np.uint8), bits=4, count=4, signed=True, order="high"),
    "qtorch_float_quantize": dict(x=np.ones(2, np.float32), exponent_bits=4, mantissa_bits=3, rounding="nearest"),
    "qtorch_float_quantize with noise": dict(
        x=np.ones(2, np.float32), exponent_bits=4, mantissa_bits=3, rounding="stochastic", random=[1, 2]
    ),
    "qtorch_float_quantize with a seed": dict(
        x=np.ones(2, np.float32), exponent_bits=4, mantissa_bits=3, rounding="stochastic", seed=1, stream=2
    ),
    "format": dict(name="e4m3"),
    "p3109_names": dict(k=8),
    "dynamic_values": dict(bits=8, exponent_bits=7),
    "FloatFormat": dict(exponent_bits=4, mantissa_bits=3, bias=7, signed=True, specials="fn", has_subnormals=True),
    "IntFormat": dict(bits=8, signed=True, symmetric=True),
    "PositFormat": dict(bits=8, exponent_bits=2),
    "BlockFormat": dict(
        element=rf.format("e2m1fn"), scale=rf.format("e8m0fnu"), block_size=32, tensor_scale=False
    ),
    "CodeBook": dict(name="mine", book=(-1.0, 0.0, 1.0)),
}  # fmt: skip
OTHERS = {"p3109_names": p3109_names, "dynamic_values": dynamic_values}

HOSTILE = {
    "None": None,
    "a word": "abc",
    "no word": "",
    "bytes": b"x",
    "truth": True,
    "no": "no",
    "nan": float("nan"),
    "infinity": float("inf"),
    "minus one": -1,
    "zero": 0,
    "a fraction": 1.5,
    "huge": 2**30,
    "beyond int64": 2**64,
    "beyond float64": 10**400,
    "complex": 1j,
    "uint8": np.uint8(64),
    "int64": np.int64(-1),
    "float16": np.float16("nan"),
    "a date": np.datetime64("2020-01-01"),
    "a type": np.int8,
    "an object": object(),
    "a dict": {},
    "a set": {1, 2},
    "a function": len,
    "an empty list": [],
    "two numbers": [1.0, 2.0],
    "a ragged list": [[1, 2], [3]],
    "words": ["a", "b"],
    "three": (1, 2, 3),
    "with None": np.array([1, None]),
    "complex numbers": np.zeros((1, 4), complex),
    "records": np.zeros(2, [("a", int)]),
    "wrong shape": np.zeros((3, 1, 5)),
    "empty": np.zeros((2, 0)),
    "signed": np.array([[-1, -8, 3, 4]]),
    "uint64": np.array([[2**64 - 1, 0, 0, 0]], np.uint64),
    "big-endian": np.array([[1, 2, 3, 4]], ">i4"),
    "with NaN": np.array([[np.nan, 1.0, 2.0, 4.0]]),
    "read-only": np.broadcast_to(np.float32(1), (1, 4)),
    "int8": "int8",
    "block format": "mxfp4",
    "code book": "nf4",
    "posit": "posit8_2",
    "wide format": "e16m40",
    "no format": "e99m99",
    "another case": "FLOAT16",
    "nearest": "nearest",
}
# What else a message may be about: arguments that have to agree with the one that was changed.
AGREE = {
    "accumulator": {"format"},
    "x": {"scales", "out", "axis", "random", "name"},
    "codes": {"out", "axis", "scale", "scales", "zero_point", "block_size", "packed"},
    "packed": {"count"},
    "bits": {"codes", "packed", "exponent_bits", "symmetric", "signed"},
    "count": {"packed"},
    "signed": {"codes"},
    "a": {"b", "zero_points"},
    "b": {"a", "zero_points"},
    "random": {"seed"},
    "tensor_scale": {"scale"},
    "c": {"a", "b"},
    "quotient": {"scale"},
    "multiplier": {"x"},
    "out_format": {"format", "rounding"},
    "scale_format": {"scale"},
    "fmt": {"x", "a", "b", "c", "codes", "out", "rounding", "overflow", "zero_point", "scales", "scale_rule",
            "seed", "tensor_scale", "least_scale", "format", "clip", "affine"},
    "accumulate": {"x", "a", "b", "rounding", "overflow", "format"},
    "first": {"a", "b", "format"},
    "second": {"a", "b", "format"},
    "book": {"codes", "format"},
    "name": {"format"},
    "dtype": {"out"},
    "rounding": {"random_bits", "seed"},
    "order": {"chunk"},
    "chunk": {"order"},
    "affine": {"clip", "zero_point"},
    "scale": {"zero_point", "clip", "affine"},
    "axis": {"scale", "scales", "zero_point", "block_size"},
    "block_size": {"scale", "zero_point"},
    "clip": {"affine"},
    "zero_points": {"a", "b"},
    "exponent_bits": {"bits"},
}  # fmt: skip


def fault(verb: str, call, argument: str, arguments: dict) -> str:
    """Return what is wrong with the answer to a hostile call; empty where nothing is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(**arguments)
    except (TypeError, ValueError, OverflowError) as error:
        text = str(error)
        named = set(re.findall(r"\w+", text)) & ({argument} | AGREE.get(argument, set()))
        if isinstance(error, OverflowError) and verb not in ("matmul_int", "matmul_lookup", "requantize"):
            return f"OverflowError: {text}"
        return "" if text.startswith(f"{verb}: ") and named else text or type(error).__name__
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("case", GOOD)
def test_a_hostile_argument_is_named_by_the_operation_that_refuses_it(case):
    path = case.split()[0]
    verb = path.removeprefix("codes.")
    call, good = OTHERS.get(verb) or attrgetter(path)(rf), GOOD[case]
    call(**good)  # the good call is one
    faults = []
    for argument in good:
        for label, value in HOSTILE.items():
            said = fault(verb, call, argument, {**good, argument: value})
            if said:
                faults.append(f"{argument} = {label}: {said}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("case", [case for case in GOOD if set(GOOD[case]) & {"rounding"} and "blocks" not in case])
def test_an_argument_that_an_operation_does_not_have_is_refused(case):
    verb = case.split()[0]
    with pytest.raises(TypeError, match="roundin"):
        attrgetter(verb)(rf)(**GOOD[case], roundin="to_odd")


def test_a_block_size_beyond_the_axis_takes_no_more_memory_than_the_axis():
    import tracemalloc

    rf.quantize_int([1.0, 2.0], "int8", block_size=2)
    tracemalloc.start()
    codes, scale, _ = rf.quantize_int([1.0, 2.0], "int8", block_size=2**30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert codes.tolist() == [64, 127] and scale.shape == (1,) and peak < 2**20
    assert rf.decode_int(codes, scale, block_size=2**30).shape == (2,)


def test_sizes_that_are_integers_of_numpy_are_computed_with_as_integers():
    assert rf.unpack_bits(np.zeros(32, np.uint8), np.uint8(4), np.uint8(64)).tolist() == [0] * 64
    with pytest.raises(ValueError, match="packed"):
        rf.unpack_bits(np.zeros(0, np.uint8), 4, np.uint8(64))
    packed = rf.pack_bits(np.zeros(100, np.uint8), np.int8(7))
    assert packed.size == 88
    assert rf.quantize_int(np.ones(300, np.float32), "int8", block_size=np.uint8(200))[1].shape == (2,)


def test_zero_points_are_as_many_as_the_rows_or_columns_and_lie_along_them():
    a, b = [[1, 2], [3, 4]], [[5, 6], [7, 8]]
    for zero in (10, [1, 10], [[1, 10]]):
        expected = np.array(a) @ (np.array(b) - np.array(zero))
        assert (rf.matmul_int(a, b, zero_points=(0, zero)) == expected).all()
    for zero in ([[1], [10]], [1, 2, 3]):
        with pytest.raises(ValueError, match="zero_points"):
            rf.matmul_int(a, b, zero_points=(0, zero))


BOUNDS = {  # a call with one integer, and the lowest and the highest it takes
    "bits of pack_bits": (lambda v: rf.pack_bits([0], v), 1, 8),
    "bits of unpack_bits": (lambda v: rf.unpack_bits(np.zeros(1, np.uint8), v, 1), 1, 8),
    "bits of quantile_codebook": (lambda v: rf.quantile_codebook(range(300), v), 1, 8),
    "random_bits": (lambda v: rf.encode(1, "e4m3", rounding="stochastic_a", seed=0, random_bits=v), 1, 32),
    "seed": (lambda v: rf.encode(1, "e4m3", rounding="stochastic", seed=v), 0, 2**64 - 1),
    "stream": (lambda v: rf.encode(1, "e4m3", rounding="stochastic", seed=0, stream=v), 0, 2**64 - 1),
    "chunk": (lambda v: rf.sum([1.0], "e4m3fn", order="chunked", chunk=v), 1, 2**63 - 1),
    "axis of sum": (lambda v: rf.sum(np.ones((2, 3)), "e4m3fn", axis=v), -2, 1),
    "axis of quantize_int": (lambda v: rf.quantize_int(np.ones((2, 3)), "int8", axis=v), -2, 1),
    "block_size": (lambda v: rf.quantize_int([1.0], "int8", block_size=v), 1, None),
    "zero point of int8": (lambda v: rf.quantize_int([1.0], "int8", scale=1, zero_point=v, affine=True), -127, 127),
    "zero point of uint4": (lambda v: rf.quantize_int([1.0], "uint4", scale=1, zero_point=v), 0, 15),
    "codes of decode_int": (lambda v: rf.decode_int([v], 1.0), -(2**31), 2**32 - 1),
    "zero point of decode_int": (lambda v: rf.decode_int([0], 1.0, v), -(2**31), 2**31 - 1),
    "codes of matmul_int": (lambda v: rf.matmul_int([[v]], [[1]]), -(2**15), 2**16 - 1),
    "sums of requantize": (lambda v: rf.requantize([v], "int8", multiplier=1), -(2**31), 2**31 - 1),
    "multiplier": (lambda v: rf.requantize([1], "int8", multiplier=v), 0, 2**31 - 1),
    "shift": (lambda v: rf.requantize([1], "int8", multiplier=1, shift=v), -31, 30),
    "zero point of requantize": (lambda v: rf.requantize([1], "int4", multiplier=1, zero_point=v), -7, 7),
    "zero points": (lambda v: rf.matmul_int([[1]], [[1]], zero_points=(v, 0)), -(2**15), 2**16 - 1),
    "first codes of matmul_int16": (lambda v: rf.matmul_int16([[v]], [[1]]), 0, 255),
    "second codes of matmul_int16": (lambda v: rf.matmul_int16([[1]], [[v]]), -128, 127),
    "dense_bits": (lambda v: rf.matmul_int16([[1]], [[1]], dense_bits=v), 1, 8),
    "pairs": (lambda v: rf.matmul_int16([[1]], [[1]], pairs=v), 1, None),
    "codes of matmul_lookup": (lambda v: rf.matmul_lookup([[v]], [[1]], "int4_full", "int4"), -8, 7),
    "codes of decode": (lambda v: rf.decode([v], "e2m1fn"), 0, 15),
    "codes of decode_codebook": (lambda v: rf.decode_codebook([v], 1.0, "nf4"), 0, 15),
    "integers in blocks": (lambda v: rf.quantize_blocks([v], "mxfp4"), -(2**53), 2**53),
    "exponent_bits of QPyTorch": (lambda v: rf.qtorch_float_quantize(np.ones(1, np.float32), v, 3), 1, 8),
    "mantissa_bits of QPyTorch": (lambda v: rf.qtorch_float_quantize(np.ones(1, np.float32), 4, v), 0, 23),
    "random of QPyTorch": (
        lambda v: rf.qtorch_float_quantize(np.ones(1, np.float32), 4, 3, rounding="stochastic", random=[v]),
        0,
        2**32 - 1,
    ),
    "exponent_bits": (lambda v: rf.FloatFormat(exponent_bits=v, mantissa_bits=3, specials="none"), 0, 16),
    "mantissa_bits": (lambda v: rf.FloatFormat(exponent_bits=8, mantissa_bits=v, specials="none"), 0, 52),
    "bias": (lambda v: rf.FloatFormat(exponent_bits=8, mantissa_bits=3, bias=v), -(2**17), 2**17),
    "bits of integers": (lambda v: rf.IntFormat(bits=v, signed=False), 1, 16),
    "bits of posits": (lambda v: rf.PositFormat(v, 2), 3, 32),
    "exponent bits of posits": (lambda v: rf.PositFormat(8, v), 0, 5),
    "k of P3109": (p3109_names, 3, 16),
    "bits of the dynamic map": (lambda v: dynamic_values(v, 1), 2, 8),
    "exponent bits of the dynamic map": (lambda v: dynamic_values(8, v), 1, 7),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_integers_are_taken_up_to_their_bounds_and_not_beyond(case):
    call, low, high = BOUNDS[case]
    call(low)
    with pytest.raises(ValueError, match=f" {low - 1};"):
        call(low - 1)
    if high is not None:
        call(high)
        with pytest.raises(ValueError, match=f" {high + 1};"):
            call(high + 1)
