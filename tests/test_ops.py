"""Operations: what they take, what they give back, and what they refuse before any work."""

import numpy as np
import pytest

from refimpl import ops

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
    "complex": (TypeError, "complex128", dict(x=np.ones(3, complex))),
    "object": (TypeError, "object", dict(x=np.array([1, None]))),
    "text": (TypeError, "values must be", dict(x=np.array(["1"]))),
    "unknown format": (ValueError, "did you mean float8_e4m3fn", dict(fmt="float8_e4m3fm")),
    "format of the wrong type": (TypeError, "is 8 ", dict(fmt=8)),
    "integer format": (TypeError, "quantize_int", dict(fmt="int8")),
    "unknown rounding": (ValueError, "unknown rounding 'nearest'; one of ties_to_even", dict(rounding="nearest")),
    "unknown overflow": (ValueError, "unknown overflow 'wrap'; one of", dict(overflow="wrap")),
    "unknown NaN rule": (ValueError, "unknown nan 'keep'; one of", dict(nan="keep")),
    "no seed": (ValueError, "needs a seed", dict(rounding="stochastic")),
    "negative seed": (ValueError, "needs a seed", dict(rounding="stochastic", seed=-1)),
    "huge seed": (ValueError, "needs a seed", dict(rounding="stochastic", seed=2**64)),
    "NaN where there is none": (
        ValueError,
        r"NaN at index \(1,\)",
        dict(x=np.array([1, np.nan], np.float32), fmt="e2m1fn", nan="raise"),
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_refused_before_any_work(case):
    error, message, arguments = BAD_CALLS[case]
    arguments = {"x": np.ones(3, np.float32), "fmt": "e4m3fn", **arguments}
    with pytest.raises(error, match=message):
        ops.encode(**arguments)
    out = np.full(np.shape(arguments["x"]), 7, np.float32)
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


@pytest.mark.parametrize(
    "codes, error, message",
    [
        ([0, 16], ValueError, r"code 16 at index \(1,\) is not a code of float4_e2m1fn"),
        ([-1], ValueError, r"code -1 at index \(0,\)"),
        ([[1, 2], [3, 99]], ValueError, r"code 99 at index \(1, 1\)"),
        ([0.5], TypeError, "integers"),
        (["1"], TypeError, "integers"),
    ],
)
def test_codes_out_of_range_are_refused(codes, error, message):
    with pytest.raises(error, match=message):
        ops.decode(codes, "float4_e2m1fn")


BAD_FORMATS = {
    "exponent_bits": dict(exponent_bits=-1, mantissa_bits=3),
    "mantissa_bits": dict(exponent_bits=4, mantissa_bits=53),
    "unknown specials": dict(exponent_bits=4, mantissa_bits=3, specials="finite"),
    "fnuz needs a sign bit": dict(exponent_bits=4, mantissa_bits=3, signed=False, specials="fnuz"),
    "ieee needs": dict(exponent_bits=4, mantissa_bits=0),
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


BAD_INTEGERS = {
    "not finite": (ValueError, dict(x=[1.0, np.nan])),
    "scale": (ValueError, dict(x=[1.0], scale=0.0)),
    "axis 2": (ValueError, dict(x=[1.0], axis=2)),
    "integer format": (TypeError, dict(x=[1.0], fmt="e4m3")),
}


@pytest.mark.parametrize("message", BAD_INTEGERS)
def test_integer_quantization_refuses_what_it_cannot_do(message):
    error, arguments = BAD_INTEGERS[message]
    with pytest.raises(error, match=message):
        ops.quantize_int(**{"fmt": "int8", **arguments})


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


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: ops.decode([1], "e4m3fn", dtype=np.int8), TypeError, "dtype must be float16"),
        (lambda: ops.decode([1], "e4m3fn", out=np.empty(2)), ValueError, "out is float64"),
        (lambda: ops.encode([1.0], "e4m3fn", out=np.empty(1)), ValueError, "out is float64"),
        (lambda: ops.encode([1.0], "e4m3fn", out=[0]), ValueError, "out is list"),
        (lambda: ops.encode([1.0], "mxfp4"), TypeError, "quantize_blocks"),
        (lambda: ops.encode([1.0], "nf4"), TypeError, "quantize_codebook"),
        (lambda: ops.decode([1], "int8"), TypeError, "quantize_int"),
        (lambda: ops.values("float32"), ValueError, "codes; decode the ones you need"),
    ],
)
def test_more_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


RAGGED = [[1, 2], [3]]


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.quantize(RAGGED, "e4m3"),
        lambda: ops.encode(RAGGED, "e4m3"),
        lambda: ops.decode(RAGGED, "e4m3"),
        lambda: ops.add(1.0, RAGGED, "e4m3"),
        lambda: ops.matmul(RAGGED, [[1]], "e4m3"),
        lambda: ops.matmul_int([[1]], RAGGED),
        lambda: ops.matmul_int([[1]], [[1]], zero_points=(0, RAGGED)),
        lambda: ops.matmul_lookup(RAGGED, [[1]], "int4", "int4"),
        lambda: ops.quantize_int(RAGGED, "int8"),
        lambda: ops.decode_int(RAGGED, 1.0),
        lambda: ops.quantize_blocks(RAGGED, "mxfp4_e2m1"),
        lambda: ops.quantize_codebook(RAGGED, "nf4"),
        lambda: ops.pack_bits(RAGGED, 4),
        lambda: ops.unpack_bits(RAGGED, 4, 2),
        lambda: ops.qtorch_float_quantize(RAGGED, 4, 3),
    ],
)
def test_rows_of_different_lengths_are_no_array_and_said_to_be_none(call):
    with pytest.raises(ValueError, match="^[a-z_]+: these values are no array .*; give rows of one length"):
        call()


@pytest.mark.parametrize("name", ["nope", ""])
def test_where_no_name_is_near_none_is_suggested_but_where_the_list_is(name):
    with pytest.raises(ValueError, match=f"unknown format '{name}'; `refimpl format --list` prints"):
        ops.quantize([1.0], name)


@pytest.mark.parametrize(
    "name, near",
    [
        ("E4M3", "e4m3fn"),
        ("fp8", "float8_e4m3fn"),
        ("fp4", "nvfp4"),
        ("FP16", "fp16"),
        ("BF16", "bf16"),
        ("Float32", "float32"),
        ("NF4", "nf4"),
        ("Binary8p4se", "binary8p4se"),
        ("float8_e4m3fm", "float8_e4m3fn"),
    ],
)
def test_names_in_another_case_or_of_several_formats_are_answered_by_those_that_exist(name, near):
    from refimpl.formats import format as format_of

    with pytest.raises(ValueError, match=f"unknown format '{name}'; did you mean .*{near}"):
        format_of(name)
    format_of(near)


@pytest.mark.parametrize(
    "alias, name", [("fp16", "float16"), ("bf16", "bfloat16"), ("fp32", "float32"), ("fp64", "float64")]
)
def test_short_names_that_one_format_has_are_its_aliases(alias, name):
    from refimpl.formats import format as format_of

    assert format_of(alias) is format_of(name)


def test_values_are_the_finite_values_in_order():
    from refimpl.formats import format as format_of

    for name in ("e2m1fn", "float8_e5m2", "e8m0fnu", "binary6p3ue", "e3m2_flush", "posit8_1", "float16"):
        values = ops.values(name)
        assert (np.diff(values) > 0).all() and np.isfinite(values).all()
        assert values.tolist() == format_of(name).values()
