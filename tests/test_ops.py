"""Operations: what they take, what they give back, and what they refuse before any work."""

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import CodeBook
from refimpl.ops.rounding import RoundingRule

VALUES = np.array([[0.3, -1.06, 500.0, 0.0], [-0.0, 2.0**-20, 17.0, -448.0]], np.float32)
ROUNDED = [[0.3125, -1.0, np.nan, 0.0], [-0.0, 0.0, 16.0, -448.0]]  # E4M3FN; 17 is a tie
CODES = [[0x2A, 0xB8, 0x7F, 0x00], [0x80, 0x00, 0x58, 0xFE]]


def identical(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return (
        a.shape == b.shape
        and a.dtype == b.dtype
        and ((a == b) & (np.signbit(a) == np.signbit(b)) | (np.isnan(a) & np.isnan(b))).all()
    )


# -- what it takes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_quantize_keeps_dtype_and_shape(dtype):
    x = np.array([[0.3, -1.06], [0.0, 17.0]], dtype)
    assert identical(ops.quantize(x, "e4m3fn"), np.array([[0.3125, -1.0], [0.0, 16.0]], dtype))


def test_integers_lists_and_scalars_are_taken_as_float64():
    for x in ([3, 17, -500], np.array([3, 17, -500], np.int16), np.array([3, 17, -500])):
        got = ops.quantize(x, "e4m3fn", overflow="saturate")
        assert identical(got, np.array([3.0, 16.0, -448.0]))
    assert identical(ops.quantize(17, "e4m3fn"), np.float64(16))
    assert identical(ops.quantize(True, "e4m3fn"), np.float64(1))


def test_any_strides_give_the_same_codes():
    base = np.zeros((4, 8), np.float32)
    strided = base[::2, ::2]
    strided[...] = VALUES
    reverse = VALUES[::-1, ::-1].copy()[::-1, ::-1]
    swapped = VALUES.astype(">f4")
    for x in (VALUES, strided, np.asfortranarray(VALUES), reverse, swapped, VALUES.tolist()):
        assert ops.encode(x, "e4m3fn").tolist() == CODES
    for x in (strided, np.asfortranarray(VALUES), reverse, swapped):
        got = ops.quantize(x, "e4m3fn")
        assert identical(got.astype(np.float32), np.array(ROUNDED, np.float32))


def test_read_only_arrays_are_read():
    x = VALUES.copy()
    x.setflags(write=False)
    assert ops.encode(x, "e4m3fn").tolist() == CODES
    assert identical(ops.quantize(x, "e4m3fn"), np.array(ROUNDED, np.float32))
    codes = np.array(CODES, np.uint8)
    codes.setflags(write=False)
    assert identical(ops.decode(codes, "e4m3fn"), np.array(ROUNDED))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 1), (), (1, 1, 1)])
def test_empty_and_zero_dimensional_arrays_keep_their_shape(shape):
    x = np.ones(shape, np.float32)
    for rounding in ("ties_to_even", "to_odd", "stochastic"):
        assert identical(ops.quantize(x, "e4m3fn", rounding=rounding, seed=1), x)
        codes = ops.encode(x, "e4m3fn", rounding=rounding, seed=1)
        assert codes.shape == shape and codes.dtype == np.uint8 and (codes == 0x38).all()
    assert ops.decode(codes, "e4m3fn").shape == shape
    assert ops.decode([], "e4m3fn").shape == (0,)


@pytest.mark.parametrize(
    "name, dtype",
    [
        ("e2m1fn", np.uint8),
        ("e4m3fn", np.uint8),
        ("e4m4", np.uint16),
        ("float16", np.uint16),
        ("tf32", np.uint32),
        ("float32", np.uint32),
        ("e11m30", np.uint64),
        ("float64", np.uint64),
    ],
)
def test_codes_come_in_the_smallest_unsigned_dtype(name, dtype):
    codes = ops.encode([1.0, -2.0], name)
    assert codes.dtype == dtype
    assert ops.decode(codes, name).tolist() == [1, -2]


def test_the_result_goes_into_out_and_out_may_be_the_input():
    for dtype in (np.float32, np.float64):
        x = VALUES.astype(dtype)
        out = np.full_like(x, 7)
        assert ops.quantize(x, "e4m3fn", out=out) is out
        assert identical(out, np.array(ROUNDED, dtype))
        assert ops.quantize(x, "e4m3fn", out=x) is x
        assert identical(x, np.array(ROUNDED, dtype))


def test_the_input_is_not_changed():
    for rounding in ("ties_to_even", "to_odd", "stochastic"):
        x = VALUES.copy()
        ops.quantize(x, "e4m3fn", rounding=rounding, seed=1)
        ops.encode(x, "e4m3fn", rounding=rounding, seed=1)
        assert identical(x, VALUES)


# -- what it refuses -------------------------------------------------------------------------------

BAD_CALLS = {
    "x": (TypeError, dict(x=np.ones(3, complex))),
    "fmt": (TypeError, dict(fmt=8)),
    "quantize_int": (TypeError, dict(fmt="int8")),
    "did you mean 'ties_to_even'": (ValueError, dict(rounding="nearest")),
    "overflow": (ValueError, dict(overflow="wrap")),
    "nan": (ValueError, dict(nan="keep")),
    "seed": (TypeError, dict(rounding="stochastic")),
    "seed is -1": (ValueError, dict(rounding="stochastic", seed=-1)),
    r"x\[1\] is nan": (ValueError, dict(x=np.array([1, np.nan, 2], np.float32), fmt="e2m1fn", nan="raise")),
}


@pytest.mark.parametrize("message", BAD_CALLS)
def test_bad_input_is_refused_before_any_work(message):
    error, arguments = BAD_CALLS[message]
    arguments = {"x": np.ones(3, np.float32), "fmt": "e4m3fn", **arguments}
    with pytest.raises(error, match=message):
        ops.encode(**arguments)
    out = np.full(3, 7, np.float32)
    with pytest.raises(error, match=message):
        ops.quantize(**arguments, out=out)
    assert (out == 7).all()


@pytest.mark.parametrize(
    "out",
    [
        np.full(4, 7, np.float32),
        np.full((3, 1), 7, np.float32),
        np.full(3, 7, np.float64),
        np.full(6, 7, np.float32)[::2],
    ],
)
def test_an_out_that_does_not_fit_is_refused_and_untouched(out):
    with pytest.raises(ValueError, match="out"):
        ops.quantize(np.ones(3, np.float32), "e4m3fn", out=out)
    assert (out == 7).all()


REFUSED = [  # what belongs together, and the argument or value that the message names
    (lambda: ops.decode([0, 16], "e2m1fn"), r"codes\[1\] is 16"),
    (lambda: ops.decode([[1, 2], [3, 99]], "e2m1fn"), r"codes\[1, 1\] is 99"),
    (lambda: ops.values("float32"), "float32"),
    (lambda: ops.encode([1.0], "e4m3fn", rounding="stochastic_a", seed=1), "random_bits is None"),
    (lambda: ops.encode([1.0], "e4m3fn", rounding="stochastic", seed=1, random_bits=3), "random_bits is 3"),
    (lambda: ops.encode([1.0], "posit8_2", rounding="toward_zero"), "toward_zero"),
    (lambda: ops.encode([1.0], "posit8_2", overflow="saturate"), "saturate"),
    (lambda: ops.add([1.0, 0.3], 1.0, "e4m3fn"), r"a\[1\] is 0.3; .* nearest is 0.3125"),
    (lambda: ops.fma(1.0, 1.0, [[449.0]], "e4m3fn"), r"c\[0, 0\] is 449.0"),
    (lambda: ops.add(np.inf, 1.0, "e4m3fn"), "a is inf; .* -448.0 to 448.0: clip first"),
    (lambda: ops.add(0, 1.0, "e8m0scale"), "a is 0; .* clip first"),
    (lambda: ops.add(np.nan, 1.0, "e4m3"), "a is nan; .* no NaN"),
    (lambda: ops.matmul([[1.0]], [[1.0]], "float64"), "53 significant bits"),
    (lambda: ops.add(1.0, 1.0, "e12m3"), "e12m3"),
    (lambda: ops.add([1.0, 2.0], [1.0, 2.0, 3.0], "e4m3"), r"a, b is of shapes \(2,\), \(3,\)"),
    (lambda: ops.matmul(np.ones((2, 3)), np.ones((2, 3)), "e4m3fn"), r"a, b is of shapes \(2, 3\), \(2, 3\)"),
    (lambda: ops.dot([1.0], [1.0, 2.0], "e4m3fn"), r"a, b is of shapes \(1,\), \(2,\)"),
    (lambda: ops.sum([1.0], "e4m3fn", order="chunked"), "chunk is None"),
    (lambda: ops.sum([1.0], "e4m3fn", chunk=4), "chunk is 4"),
    (lambda: ops.sum([], "e8m0scale"), "e8m0"),
    (lambda: ops.sum([1.0, 0.3], "e4m3fn"), r"x\[1\] is 0.3"),
    (lambda: ops.sum([np.nan], "e4m3fn", accumulate="e5m10"), r"x\[0\] is nan"),
    (lambda: ops.matmul_int([[70000]], [[1]]), "70000"),
    (lambda: ops.matmul_int([[1]], [[1]], zero_points=(1,)), "zero_points"),
    (lambda: ops.matmul_lookup([[2]], [[1]], "int2", "int4"), r"a\[0, 0\] is 2; .* -1 to 1"),
    (lambda: ops.matmul_lookup([[-2]], [[1]], "int2", "int4"), r"a\[0, 0\] is -2; .* -1 to 1"),
    (lambda: ops.matmul_lookup([[-1]], [[1]], "uint2", "int4"), r"a\[0, 0\] is -1; .* 0 to 3"),
    (lambda: ops.matmul_lookup([[1]], [[1]], "int8", "int4"), "first is int8"),
    (lambda: ops.quantize_int([1.0], "int8", clip=0.0), "clip is 0"),
    (lambda: ops.quantize_int([1.0], "int8", clip=np.inf), "clip is inf"),
    (lambda: ops.quantize_int([1.0], "int8", clip=np.nan), "clip is nan"),
    (lambda: ops.quantize_int([1.0], "int8", clip=-1.0), "clip is -1.0"),
    (lambda: ops.quantize_int([1.0], "int8", clip=(1.0, 2.0)), "clip"),
    (lambda: ops.quantize_int([1.0], "int8", clip=(2.0, 1.0), affine=True), "clip"),
    (lambda: ops.quantize_int([1.0], "int8", clip=(1.0, 1.0), affine=True), "clip"),
    (lambda: ops.quantize_int([1.0], "int8", clip=(0.0, np.inf), affine=True), r"clip\[1\] is inf"),
    (lambda: ops.quantize_int([1.0], "int8", clip=1.0, affine=True), "clip"),
    (lambda: ops.quantize_int([1.0], "int8", clip=1.0, scale=1.0), "clip"),
    (lambda: ops.quantize_int([1.0], "int8", scale=0.0), "scale is 0"),
    (lambda: ops.quantize_int([1.0], "int8", scale=1.0, affine=True), "zero_point is None"),
    (lambda: ops.quantize_int([1.0], "int8", scale=1.0, zero_point=3), "zero_point is 3"),
    (lambda: ops.quantize_int([1.0], "int8", zero_point=3), "zero_point is 3"),
    (lambda: ops.quantize_int([1.0], "int8", scale=1.0, zero_point=-128, affine=True), "zero_point is -128"),
    (lambda: ops.quantize_int([1.0], "int8", scale=[1.0, 2.0]), r"scale is of shape \(2,\)"),
    (lambda: ops.quantize_int([1e39], "int8"), r"x\[0\] is inf"),
    (lambda: ops.quantize_blocks([1.0], "nvfp4", scale_rule="floor"), "scale_rule is 'floor'"),
    (lambda: ops.quantize_blocks([1.0], "mxfp4", tensor_scale=2.0), "tensor_scale is 2.0"),
    (lambda: ops.quantize_blocks([1.0], "nvfp4", tensor_scale=0.1), "tensor_scale is 0.1"),
    (lambda: ops.quantize_blocks(1.0, "mxfp4"), "axis is -1"),
    (lambda: ops.quantize_blocks([2**53 + 1], "mxfp4"), r"x\[0\] is 9007199254740993"),
    (lambda: ops.decode_blocks([1], [127, 127], "mxfp4"), r"scales is of shape \(2,\)"),
    (lambda: ops.quantize_codebook([1.0], "nf4", scale=-1.0), "scale is -1.0"),
    (lambda: ops.decode_codebook([3], 1.0, CodeBook("ternary", (-1, 0, 1))), r"codes\[0\] is 3"),
    (lambda: ops.quantile_codebook([1.0, 1.0], 4), "equal"),
    (lambda: CodeBook("x", (0.0,)), "book"),
    (lambda: CodeBook("x", (0.0, 2.0)), r"book\[1\] is 2.0"),
    (lambda: CodeBook("x", (0.0, 0.1)), r"book\[1\] is 0.1"),
    (lambda: CodeBook("x", (1.0, 1.0)), "values that are not all equal"),
    (lambda: ops.pack_bits([16], 4), r"codes\[0\] is 16"),
    (lambda: ops.pack_bits(3, 4), "codes is 3"),
    (lambda: ops.unpack_bits(np.zeros(2, np.uint8), 4, 5), "3 bytes"),
    (lambda: ops.qtorch_float_quantize(np.ones(3), 4, 3), "x"),
    (lambda: ops.qtorch_float_quantize(np.ones(3, np.float32), 4, 3, rounding="stochastic", random=[1]), "random"),
]


@pytest.mark.parametrize("call, message", REFUSED)
def test_arguments_that_do_not_belong_together_are_refused_and_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


BAD_FORMATS = {
    "exponent_bits": dict(exponent_bits=-1, mantissa_bits=3),
    "mantissa_bits": dict(exponent_bits=4, mantissa_bits=53),
    "unknown specials": dict(exponent_bits=4, mantissa_bits=3, specials="finite"),
    "fnuz needs a sign bit": dict(exponent_bits=4, mantissa_bits=3, signed=False, specials="fnuz"),
    "ieee needs": dict(exponent_bits=4, mantissa_bits=0),
    "ieee needs exponent_bits": dict(exponent_bits=0, mantissa_bits=3),
    "without subnormals": dict(exponent_bits=0, mantissa_bits=3, specials="fn", has_subnormals=False),
    "leave a finite value above zero": dict(exponent_bits=0, mantissa_bits=1, specials="fn"),
    "bias is": dict(exponent_bits=4, mantissa_bits=3, bias=1.5),
    "signed is": dict(exponent_bits=4, mantissa_bits=3, signed=1),
}


@pytest.mark.parametrize("rule", BAD_FORMATS)
def test_impossible_fields_are_refused_by_the_rule_they_break(rule):
    from refimpl.formats import FloatFormat

    with pytest.raises((TypeError, ValueError), match=rule):
        FloatFormat(**BAD_FORMATS[rule])


# -- memory, threads, import -----------------------------------------------------------------------


@pytest.mark.parametrize("rounding", ["ties_to_even", "stochastic", "to_odd"])
def test_results_do_not_depend_on_the_number_of_threads(rounding, monkeypatch):
    from refimpl.ops import arrays

    x = np.random.default_rng(0).standard_normal(200_001).astype(np.float32)
    key = {"rounding": rounding, "seed": 5}
    for values in (x, x.astype(np.float64)):
        found = []
        for threads, least in ((1, 1 << 19), (3, 1000)):
            monkeypatch.setattr(arrays, "_thread_count", lambda threads=threads: threads)
            monkeypatch.setattr(arrays, "ELEMENTS_PER_THREAD", least)
            codes = ops.encode(values, "e4m3fn", **key)
            found.append((ops.quantize(values, "e4m3fn", **key), codes, ops.decode(codes, "e4m3fn")))
        for one, three in zip(*found, strict=True):
            assert identical(one, three)


def test_an_out_that_overlaps_the_input_elsewhere_gives_the_same_values():
    for rounding in ("ties_to_even", "to_odd"):
        buffer = np.random.default_rng(1).standard_normal(100_001).astype(np.float32)
        expected = ops.quantize(buffer[:-1], "e4m3fn", rounding=rounding)
        got = ops.quantize(buffer[:-1], "e4m3fn", rounding=rounding, out=buffer[1:])
        assert identical(got, expected)


def test_no_temporary_is_larger_than_the_output():
    import tracemalloc

    x = np.random.default_rng(2).standard_normal(1_000_000).astype(np.float32)
    work = {
        "quantize": lambda: ops.quantize(x, "e4m3fn"),
        "quantize in an odd mode": lambda: ops.quantize(x, "e4m3fn", rounding="to_odd"),
        "stochastic": lambda: ops.quantize(x, "e4m3fn", rounding="stochastic", seed=1),
        "a transposed array": lambda: ops.quantize(x.reshape(1000, 1000).T, "e4m3fn"),
        "encode": lambda: ops.encode(x, "e4m3fn"),
        "encode stochastically": lambda: ops.encode(x, "e4m3fn", rounding="stochastic", seed=1),
        "decode": lambda: ops.decode(x.view(np.uint8)[: x.size], "e4m3fn"),
    }
    for label, call in work.items():
        size = call().nbytes  # and everything is compiled
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * size + 2**20, label  # the output, as much again, and a chunk's buffers


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_decode_gives_the_dtype_asked_for(dtype):
    codes = np.arange(256, dtype=np.uint8)
    wide = ops.decode(codes, "e4m3fn")
    got = ops.decode(codes, "e4m3fn", dtype=dtype)
    assert identical(got, wide.astype(dtype))
    out = np.empty(256, dtype)
    assert ops.decode(codes, "e4m3fn", dtype=dtype, out=out) is out
    assert identical(out, got)
    few = ops.decode(codes[:7], "e4m3fn", dtype=dtype)  # too few for a table
    assert identical(few, got[:7])


@pytest.mark.parametrize("name", ["nope", ""])
def test_where_no_name_is_near_none_is_suggested_but_where_the_list_is(name):
    with pytest.raises(ValueError, match=f"unknown format '{name}'; `refimpl format --list` prints"):
        ops.quantize([1.0], name)


def test_a_name_that_no_format_has_is_answered_by_those_near_it():
    from refimpl.formats import format as format_of

    with pytest.raises(ValueError, match="unknown format 'float8_e4m3fm'; did you mean .*float8_e4m3fn"):
        format_of("float8_e4m3fm")


@pytest.mark.parametrize(
    "alias, name",
    [
        ("fp16", "float16"),
        ("bf16", "bfloat16"),
        ("fp32", "float32"),
        ("fp64", "float64"),
        ("half", "float16"),
        ("single", "float32"),
        ("double", "float64"),
        (float, "float64"),
    ],
)
def test_short_names_that_one_format_has_are_its_aliases(alias, name):
    from refimpl.formats import format as format_of

    assert format_of(alias) is format_of(name)


def test_values_are_the_finite_values_in_order():
    from refimpl.formats import format as format_of

    for name in ("e2m1fn", "float8_e5m2", "e8m0fnu", "binary6p3ue", "e3m2_flush", "posit8_1", "float16"):
        values = ops.values(name)
        assert (np.diff(values) > 0).all() and np.isfinite(values).all()
        assert not np.signbit(values[values == 0]).any()
        assert values.tolist() == format_of(name).values()


def test_the_rule_made_of_nothing_is_that_of_a_call_without_options():
    assert RoundingRule() == RoundingRule.of("encode", None)
