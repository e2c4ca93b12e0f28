"""Formats, arrays and tensors of other libraries: their types name formats, their values are read exactly.

Witnesses: what ml_dtypes, PyTorch and gfloat say that their codes mean.
"""

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats import FloatFormat


def same(a, b):
    return np.array_equal(np.asarray(a, np.float64), np.asarray(b, np.float64), equal_nan=True)


NUMPY = [np.float16, np.float32, np.float64, np.int8, np.int16, np.uint8, np.uint16]


@pytest.mark.parametrize("kind", NUMPY)
def test_a_type_and_a_dtype_of_numpy_name_the_format_of_all_their_values(kind):
    info = np.finfo(kind) if issubclass(kind, np.floating) else np.iinfo(kind)
    for got in (kind, np.dtype(kind), np.dtype(kind).newbyteorder(">")):
        fmt = rf.format(got)
        assert (fmt.bits, fmt.min, fmt.max) == (info.bits, info.min, info.max)


@pytest.mark.parametrize("kind", [np.int32, np.bool_, np.longdouble, np.complex64, np.dtype("M8[s]")])
def test_types_of_which_there_is_no_format_are_refused_by_name(kind):
    with pytest.raises(ValueError, match="quantize: fmt is .*; allowed is a dtype of floats, or of integers"):
        rf.quantize([1.0], kind)


ML_FLOATS = """bfloat16 float8_e3m4 float8_e4m3 float8_e4m3b11fnuz float8_e4m3fn float8_e4m3fnuz float8_e5m2
    float8_e5m2fnuz float8_e8m0fnu float6_e2m3fn float6_e3m2fn float4_e2m1fn""".split()


def every_value(ml_dtypes, name):
    """Return all codes of a type of ml_dtypes, as values of that type."""
    kind = np.dtype(getattr(ml_dtypes, name))
    fmt = rf.format(kind)
    return kind, fmt, np.arange(1 << fmt.bits).astype(np.uint16 if fmt.bits > 8 else np.uint8)


@pytest.mark.parametrize("name", ML_FLOATS)
def test_a_type_of_ml_dtypes_is_the_format_of_its_name_and_its_arrays_are_read_as_their_values(name):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    kind, fmt, codes = every_value(ml_dtypes, name)
    x = codes.view(kind)
    assert rf.format(kind) == rf.format(kind.type) == fmt == rf.format(name)
    assert same(rf.decode(codes, kind), x.astype(np.float64))
    usual = x[np.isfinite(x.astype(np.float64))]
    assert (rf.encode(usual, kind) == usual.view(codes.dtype)).all()
    assert same(rf.quantize(x, "float64"), x.astype(np.float64))
    back = rf.quantize(x.astype(np.float32), kind, like=x)
    assert back.dtype == kind and same(back.astype(np.float64), x.astype(np.float64))


@pytest.mark.parametrize("name", ["int2", "int4", "uint2", "uint4"])
def test_arrays_of_narrow_integers_of_ml_dtypes_are_read_as_their_values(name):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    kind = getattr(ml_dtypes, name)
    low, high = int(ml_dtypes.iinfo(kind).min), int(ml_dtypes.iinfo(kind).max)
    x = np.arange(low, high + 1)
    assert (rf.format(kind).min, rf.format(kind).max) == (low, high)
    assert rf.decode_int(x.astype(kind), 0.5).tolist() == (x / 2).tolist()
    assert rf.quantize(x.astype(kind), "float32").tolist() == x.tolist()
    if name.startswith("u"):
        assert (rf.decode(x.astype(kind), "e2m1fn") == rf.decode(x, "e2m1fn")).all()


def test_an_array_of_floats_where_codes_belong_is_refused_with_the_remedy():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    with pytest.raises(TypeError, match="codes is an array of float8_e4m3fn .*; its view as uint8 has the codes"):
        rf.decode(np.ones(2, ml_dtypes.float8_e4m3fn), "e4m3fn")


TORCH = "float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu bfloat16 float16".split()


@pytest.mark.parametrize("name", TORCH)
def test_a_dtype_of_pytorch_is_a_format_and_its_tensors_are_read_and_made(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    kind = getattr(torch, name)
    fmt = rf.format(kind)
    codes = np.arange(1 << fmt.bits).astype(np.uint16 if fmt.bits > 8 else np.uint8)
    x = torch.from_numpy(codes.view(f"i{codes.itemsize}")).view(kind)
    exact = x.to(torch.float64).numpy()
    assert same(rf.decode(codes, kind), exact)
    assert same(rf.quantize(x, "float64"), exact)
    back = rf.quantize(x, kind, like=x)
    assert back.dtype == kind and same(back.to(torch.float64).numpy(), exact)
    assert isinstance(rf.encode(x, kind, like=x), torch.Tensor)
    assert same(rf.decode(torch.from_numpy(codes), kind, like=x).to(torch.float64).numpy(), exact)


def test_tensors_with_gradients_of_any_strides_are_read_and_sparse_ones_refused():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = torch.arange(6.0, requires_grad=True).reshape(2, 3).T
    assert rf.quantize(x, "e4m3").tolist() == [[0, 3], [1, 4], [2, 5]]
    assert rf.format(torch.int8).name == "int8_full" and rf.format(torch.float4_e2m1fn_x2).name == "float4_e2m1fn"
    for wrong in (torch.ones(2, 2).to_sparse(), torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)):
        with pytest.raises(TypeError, match="quantize: x is .*; allowed is a dense tensor of real numbers"):
            rf.quantize(wrong, "e4m3")
    with pytest.raises(TypeError, match="quantize: x is "):
        rf.quantize(torch.ones(2, dtype=torch.complex64), "e4m3")


def test_arithmetic_on_tensors_gives_tensors_where_asked_to():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    a, b = (torch.tensor(x, dtype=torch.bfloat16) for x in ([1.0, 3.0], [0.0625, 5.0]))
    for name, theirs in (("add", a + b), ("mul", a * b), ("div", a / b), ("maximum", torch.maximum(a, b))):
        got = getattr(rf, name)(a, b, torch.bfloat16, like=a)
        assert got.dtype == torch.bfloat16 and torch.equal(got, theirs)
    with pytest.raises(TypeError, match="add: like is 3"):
        rf.add(a, b, "bfloat16", like=3)


def test_a_result_that_the_dtype_of_like_does_not_hold_is_refused_and_named():
    with pytest.raises(ValueError, match=r"quantize: the result\[1\] is 99840.0; allowed is a value of float16"):
        rf.quantize([0.3, 1e5], "bfloat16", like=np.zeros(1, np.float16))
    with pytest.raises(TypeError, match="quantize: like is 'float16'; allowed is an array or a tensor"):
        rf.quantize([0.3], "bfloat16", like="float16")


def test_every_record_of_gfloat_is_the_format_of_its_values():
    gfloat = pytest.importorskip("gfloat", reason="gfloat is not installed")
    formats = pytest.importorskip("gfloat.formats", reason="gfloat is not installed")
    records = [f for f in vars(formats).values() if isinstance(f, gfloat.FormatInfo) and f.name != "ocp_int8"]
    records += [
        formats.format_info_p3109(k, p, signedness, domain)
        for k, p in ((3, 1), (4, 2), (8, 3), (8, 4), (8, 7))
        for signedness in gfloat.Signedness
        for domain in gfloat.Domain
    ]
    assert len(records) > 25
    for record in records:
        fmt = rf.format(record)
        assert isinstance(fmt, FloatFormat) and fmt.bits == record.k
        codes = np.unique(np.linspace(0, 2**fmt.bits - 1, 512).astype(np.uint64))
        expected = [gfloat.decode_float(record, int(c)).fval for c in codes]
        assert same(rf.decode(codes, record), expected), record.name
    with pytest.raises(ValueError, match="ocp_int8"):
        rf.format(formats.format_info_ocp_int8)


def test_every_record_of_blocks_of_gfloat_is_the_format_of_its_values():
    gfloat = pytest.importorskip("gfloat", reason="gfloat is not installed")
    formats = pytest.importorskip("gfloat.formats", reason="gfloat is not installed")
    records = [f for f in vars(formats).values() if isinstance(f, gfloat.BlockFormatInfo)]
    records.append(gfloat.BlockFormatInfo("mine", formats.format_info_ocp_e3m2, 16, formats.format_info_ocp_e8m0))
    assert len(records) > 6
    for record in records:
        fmt = rf.format(record)
        assert fmt.block_size == record.k and fmt.element.bits == record.etype.k and fmt.scale.bits == record.stype.k
        scale = 0x7E  # 1/2 in E8M0
        codes = np.resize(np.arange(2**record.etype.k), (-(-(2**record.etype.k) // record.k), record.k))
        expected = [list(gfloat.decode_block(record, iter([scale, *map(int, row)]))) for row in codes]
        scales = np.full((len(codes), 1), scale, np.uint8)
        assert same(rf.decode_blocks(codes.astype(np.uint8), scales, record), expected), record.name
        if record.name != "mine":
            assert fmt == rf.format(record.name)


@pytest.mark.parametrize(
    "text, name",
    [  # ONNX, StableHLO, safetensors, P3109's own spelling, and capitals
        ("FLOAT8E4M3FN", "float8_e4m3fn"),
        ("F8E4M3B11FNUZ", "float8_e4m3b11fnuz"),
        ("F8_E5M2", "float8_e5m2"),
        ("f8E8M0FNU", "float8_e8m0fnu"),
        ("FLOAT4E2M1", "float4_e2m1fn"),
        ("fp6_e3m2", "float6_e3m2fn"),
        ("Binary8p3se", "binary8p3se"),
        ("BF16", "bfloat16"),
        ("FP16", "float16"),
        ("NF4", "nf4"),
        ("E2M1", "float4_e2m1fn"),
        ("INT8", "int8"),
    ],
)
def test_names_that_others_write_are_read(text, name):
    assert rf.format(text).name == name


@pytest.mark.parametrize(
    "text, candidates",
    [
        ("E4M3", "e4m3fn .*, e4m3 "),
        ("fp8", "float8_e4m3fn, float8_e5m2"),
        ("FP4", "float4_e2m1fn, mxfp4_e2m1, nvfp4, nf4"),
        ("F8_E4M3", "float8_e4m3fn .*, float8_e4m3 "),
        ("FLOAT8E4M3", "float8_e4m3fn .*, float8_e4m3 "),
    ],
)
def test_a_name_that_several_formats_have_is_refused_with_all_of_them(text, candidates):
    with pytest.raises(ValueError, match=f"'{text}' is what several formats are called; allowed are {candidates}"):
        rf.quantize([1.0], text)
