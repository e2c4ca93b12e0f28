"""Matrix units: every path is the definition, bit for bit, and the definition is what was measured on hardware."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats.units import ALIGNMENTS, CUTS, FP22, UNITS, MatrixUnit, unit
from refimpl.kernels import units as kernel
from refimpl.ops import units as operation

E5M2 = "float8_e5m2"
DTYPES = {8: np.uint8, 16: np.uint16, 32: np.uint32}


def values(fmt, shape, rng, kind):
    """Return values of a format: of any codes, of finite ones, or of a few binades around 1, some of them zeros."""
    fmt = rf.format(fmt)
    if kind == "around one" or fmt.bits == 64:
        x = rng.standard_normal(shape) * 2.0 ** rng.integers(-6, 7, shape)
        x = x if fmt.bits == 64 else rf.quantize(x, fmt, overflow="saturate")
    else:
        dtype = DTYPES[max(8, 1 << (fmt.bits - 1).bit_length())]
        x = rf.decode(rng.integers(0, 2**fmt.bits, shape).astype(dtype), fmt, dtype=np.float64)
        if kind == "finite":
            x[~np.isfinite(x)] = 1.0
    if fmt.has_zero:
        x[rng.random(shape) < 0.1] = 0.0
    return x


def both(u, fmt, kind, seed, accumulate=None, groups=2):
    """Return what definition and kernels make of the same operands."""
    rng = np.random.default_rng(seed)
    k = max(groups * u.terms, 2 * (u.promote or 0))
    a, b = values(fmt[0], (3, k), rng, kind), values(fmt[1], (k, 3), rng, kind)
    own = accumulate or (u.into.name if u.into.bits in (16, 64) else "float32")
    c = values(own, (3, 3), rng, kind)
    keywords = {"unit": u, "initial": c, "accumulate": accumulate}
    if u.scales:
        shapes = (3, k // u.block), (k // u.block, 3)
        keywords["scales"] = tuple(np.abs(values(u.scales[0], shape, rng, kind)) for shape in shapes)
    found = []
    for define in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("refimpl.ops.definitions.elements_left", 10**9 if define else 0)
            found.append(rf.matmul(a, b, fmt, **keywords))
    return found


def same(x, y):
    return x.dtype == y.dtype and x.tobytes() == y.tobytes()


@pytest.mark.parametrize("kind", ["around one", "finite", "all codes"])
@pytest.mark.parametrize("name", UNITS)
def test_kernels_of_a_named_unit_are_its_definition(name, kind):
    u = UNITS[name]
    for seed, (first, second) in enumerate(zip(u.operands, reversed(u.operands), strict=True)):
        for accumulate in ("float32", "float16") if u.float16 else (None,):
            defined, computed = both(u, (first, second), kind, seed, accumulate)
            assert same(defined, computed), (first, second, accumulate)


OWN = [
    *(
        MatrixUnit(terms=4, fraction_bits=n, cut=cut, align=way)
        for n in (0, 7, 30)
        for cut in CUTS
        for way in ALIGNMENTS
    ),
    *(MatrixUnit(terms=5, fraction_bits=12, carry_bits=n) for n in (0, 1, 3)),
    MatrixUnit(terms=6, fraction_bits=20, halves=True, joined=(24, 22)),
    MatrixUnit(terms=6, fraction_bits=20, halves=True, joined=(10, 30), reach=8, cut="ties_to_even", minus_zero=True),
    MatrixUnit(terms=3, joined=(12, 12), align="products", infinite_from=4),
    MatrixUnit(terms=4, infinite_from=0),
    MatrixUnit(terms=8, into=FP22, promote=16, rounding="ties_to_even"),
    MatrixUnit(terms=4, into=rf.format("float16"), rounding="ties_to_even", minus_zero=True),
    MatrixUnit(terms=4, into=rf.format("bfloat16"), operand_bits=3),
    MatrixUnit(terms=7, sum="pairwise", flush=True, nan_ones=False),
    MatrixUnit(terms=3, sum="fma", into=rf.format("float32")),
    MatrixUnit(operands=("float8_e4m3fn",), terms=16, fraction_bits=35, scales=("float8_e4m3fn",), block=8, inner=4),
]


@pytest.mark.parametrize("index", range(len(OWN)))
def test_kernels_of_a_unit_of_ones_own_are_its_definition(index):
    u = OWN[index]
    fmt = (u.operands[0], u.operands[-1])
    for seed, kind in enumerate(("around one", "finite", "all codes")):
        defined, computed = both(u, fmt, kind, seed, groups=3)
        assert same(defined, computed), kind


def test_measured_instructions_come_out_bit_for_bit():
    """Volta's and Ada's instructions of NVIDIA, CDNA3's of AMD: A, B, C and what the model validated on them gives."""
    path = Path(os.environ.get("REFIMPL_PEPPP_DATA", "")).parent / "accelerator_samples.npz"
    if not os.environ.get("REFIMPL_PEPPP_DATA") or not path.exists():
        pytest.skip("no accelerator_samples.npz beside the directory that REFIMPL_PEPPP_DATA names")
    samples = np.load(path)
    names = {
        "Volta|mma|m8n8k4.f32.f16.f16.f32": ("volta-f16", "float16"),
        "Ada Lovelace|mma|m16n8k32.f32.e4m3.e4m3.f32": ("ada-fp8", "float8_e4m3fn"),
        "CDNA3|mfma|f32_16x16x16_f16": ("cdna3-f16", "float16"),
    }
    for key, (name, fmt) in names.items():
        a, b, c, d = (samples[f"{key}|normal|{part}"] for part in "ABCD")
        a, b = (x.view(np.float16) if fmt == "float16" else rf.decode(x, fmt) for x in (a, b))
        found = rf.matmul(a, b, fmt, unit=name, initial=c.view(np.float32))
        assert (found.view(np.int32) == d).all(), name


# -- facts of the published measurements, worked out by hand --------------------------------------------


def row(*terms):
    return np.array([terms], np.float64)


def ones(k):
    return np.ones((k, 1))


@pytest.mark.parametrize(("name", "bits"), [("volta", 23), ("turing", 24), ("ampere", 24), ("hopper", 25)])
def test_the_number_of_bits_behind_the_point_is_the_measured_one(name, bits):
    """1 - 1 + 2^-t in one group: what is left of 2^-t was kept in alignment."""
    for t, kept in ((bits, 2.0**-bits), (bits + 1, 0.0)):
        a = row(1.0, -1.0, 2.0**-12, 0.0)
        b = np.array([[1.0], [1.0], [2.0 ** (12 - t)], [0.0]])
        assert rf.matmul(a, b, "float16", unit=f"{name}-f16").item() == kept


def test_fp8_sums_of_hopper_keep_thirteen_bits_and_those_of_blackwell_twenty_five():
    a = row(1.0, -1.0, 2.0**-14)
    found = [rf.matmul(a, ones(3), E5M2, unit=name).item() for name in ("hopper-fp8", "ada-fp8", "blackwell-fp8")]
    assert found == [0.0, 0.0, 2.0**-14]


def test_promotion_every_128_products_keeps_what_the_narrow_accumulator_loses():
    """4096 products of 1, and 2^-3 each: FP22 has 14 bits, so from 2^12 on a group of 32 eighths is still seen, but
    single eighths are not; in groups of thirty-two products of 2^-9, added to 2^12, nothing arrives."""
    a = np.concatenate([np.full((1, 32), 128.0), np.full((1, 96), 0.0), np.full((1, 1280), 2.0**-9)], axis=1)
    b = np.concatenate([np.full((32, 1), 1.0), np.full((96, 1), 0.0), np.full((1280, 1), 1.0)])
    plain, promoted = (rf.matmul(a, b, E5M2, unit=n).item() for n in ("hopper-fp8", "hopper-fp8-promoted"))
    assert plain == 4096.0
    assert promoted == 4096.0 + 1280 * 2.0**-9


def test_sums_are_cut_toward_zero_on_nvidia_and_rounded_to_nearest_on_amd():
    """4.5 + 3/4 of float32's step there."""
    a, b, c = row(1.5, 1.5), np.full((2, 1), 1.5), 3 * 2.0**-23
    assert rf.matmul(a, b, "float16", unit="hopper-f16", initial=c).item() == 4.5
    assert rf.matmul(a, b, "float16", unit="cdna3-f16", initial=c).item() == 4.5 + 2.0**-21


def test_cdna2_flushes_subnormals_and_cdna1_does_not():
    a, b = row(2.0**-20), ones(1)
    assert rf.matmul(a, b, "float16", unit="cdna1-f16").item() == 2.0**-20
    assert rf.matmul(a, b, "float16", unit="cdna2-f16").item() == 0.0


def test_nan_and_infinity_are_the_unit_s():
    """NVIDIA writes NaN with all bits set; a product of 2^128 is infinite on CDNA3 even if another takes it back."""
    found = rf.matmul(row(np.inf, -np.inf), ones(2), "float16", unit="hopper-f16")
    assert found.view(np.uint32).item() == 0x7FFFFFFF
    assert rf.matmul(row(np.inf, 1.0), ones(2), "float16", unit="hopper-f16").item() == np.inf
    half = rf.matmul(row(np.nan), ones(1), "float16", unit="hopper-f16", accumulate="float16")
    assert half.view(np.uint16).item() == 0x7FFF
    a, b = row(2.0**127, -(2.0**127)), np.array([[2.0], [2.0]])
    assert rf.matmul(a[:, :1], b[:1], "bfloat16", unit="cdna3-bf16").item() == np.inf
    assert np.isnan(rf.matmul(a, b, "bfloat16", unit="cdna3-bf16").item())
    assert rf.matmul(a, b, "bfloat16", unit="hopper-bf16").item() == 0.0


def test_tf32_operands_lose_their_low_thirteen_bits_first():
    x = np.float32(1.0 + 2.0**-11)
    assert rf.matmul(np.float32([[x]]), np.float32([[1.0]]), "float32", unit="hopper-tf32").item() == 1.0


def test_block_scales_multiply_products():
    rng = np.random.default_rng(0)
    for name, fmt in (("mxfp8", "float8_e4m3fn"), ("mxfp4", "float4_e2m1fn"), ("nvfp4", "float4_e2m1fn")):
        u = unit(f"blackwell-{name}")
        a, b = (values(fmt, shape, rng, "finite") for shape in ((4, 128), (128, 4)))
        scales = 2.0 ** rng.integers(-2, 3, (4, 128 // u.block)), 2.0 ** rng.integers(-2, 3, (128 // u.block, 4))
        exact = (a * np.repeat(scales[0], u.block, 1)) @ (b * np.repeat(scales[1], u.block, 0))
        found = rf.matmul(a, b, fmt, unit=f"blackwell-{name}", scales=scales)
        assert np.abs(found - exact).max() <= 2.0**-20 * np.abs(exact).max()


@pytest.mark.parametrize("name", ["hopper-fp8", "blackwell-fp8", "hopper-f16", "cdna3-fp8", "hopper-tf32"])
def test_a_product_is_the_same_by_rows_and_by_columns_with_all_bits_set(name):
    """Of few columns and many rows the other side is taken many at a time; the largest significands carry most."""
    rng = np.random.default_rng(2)
    fmt = rf.format(unit(name).operands[0])
    full = fmt.max / 2.0 ** (fmt.maxexp - 1)  # all bits of the significand
    a = full * 2.0 ** rng.integers(-3, 1, (150, 64))
    a[:2] = full  # no terms are larger together
    b = np.full((64, 3), full) * [1.0, -1.0, 0.5]
    whole = rf.matmul(a, b, fmt, unit=name)
    assert same(whole, np.ascontiguousarray(rf.matmul(b.T, a.T, fmt, unit=name).T))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("refimpl.ops.definitions.elements_left", 10**9)
        assert same(rf.matmul(a[:4], b, fmt, unit=name), whole[:4])


@pytest.mark.parametrize("name", ["hopper-fp8", "hopper-fp8-promoted", "blackwell-f16", "cdna3-fp8", "hopper-tf32"])
@pytest.mark.parametrize("shape", [(5, 36, 3), (3, 9, 150), (40, 131, 2)])
def test_a_stack_s_products_do_not_depend_on_how_it_lies_in_memory(name, shape):
    """As of convolutions: odd depths, windows turned round, of any codes; by the definition."""
    (m, k, n), fmt = shape, rf.format(unit(name).operands[0])
    rng = np.random.default_rng(k)
    for kind in ("around one", "all codes"):
        a, b = (values(fmt, (2, *sides), rng, kind).astype(np.float32) for sides in ((m, k), (k, n)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("refimpl.ops.definitions.elements_left", 10**9)
            defined = rf.matmul(a[1, :4], b[1][:, :4], fmt, unit=name)
        turned = [np.ascontiguousarray(v.swapaxes(1, 2)).swapaxes(1, 2) for v in (a, b)]
        apart = [np.repeat(v, 2, axis=0)[::2] for v in (a, b)]
        for left, right in ((a, b), turned, (a, turned[1]), apart):
            found = operation.stacks(left, right, (fmt, fmt), name, "float32")
            assert same(np.ascontiguousarray(found[1, :4, :4]), defined)


def test_a_sum_does_not_depend_on_how_its_rows_are_divided_among_threads(monkeypatch):
    rng = np.random.default_rng(1)
    a, b = (values("float16", shape, rng, "around one") for shape in ((64, 96), (96, 70)))
    whole = rf.matmul(a, b, "float16", unit="ampere-f16")
    rows = np.concatenate([rf.matmul(a[i : i + 7], b, "float16", unit="ampere-f16") for i in range(0, 64, 7)])
    assert same(whole, rows)


def test_dot_is_the_product_of_a_row_and_a_column():
    a, b = np.float16([1.0, 2.0, 3.0]), np.float16([0.5, 0.25, 1.0])
    assert rf.dot(a, b, "float16", unit="volta-f16", initial=1.0).item() == 5.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit": "hoper-fp8"}, "unknown unit 'hoper-fp8'; did you mean 'hopper-fp8'?"),
        ({"unit": "hopper-fp8", "fmt": "float16"}, "fmt is 'float16'; allowed is what 'hopper-fp8' multiplies"),
        ({"unit": "hopper-bf16", "fmt": "bfloat16", "accumulate": "float16"}, "accumulate is 'float16'"),
        ({"unit": "hopper-fp8", "order": "pairwise"}, "order is 'pairwise'; allowed is 'sequential' on a unit"),
        ({"unit": "hopper-fp8", "initial": np.zeros((3, 3))}, "initial is of shape (3, 3); allowed is (2, 2)"),
        ({"unit": "hopper-fp8", "initial": 0.1}, "initial is 0.1; allowed is a value of float32"),
        (
            {"unit": "hopper-fp8", "scales": (1, 1)},
            "scales is (1, 1); allowed is None: 'hopper-fp8' has no block scales",
        ),
        ({"unit": "blackwell-mxfp8"}, "k is 4; allowed is a multiple of 32"),
        ({"initial": 1.0}, "initial is 1.0; allowed is None without a unit"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message):
    arguments = {"fmt": E5M2} | arguments
    fmt = arguments.pop("fmt")
    with pytest.raises((ValueError, TypeError)) as error:
        rf.matmul(np.ones((2, 4)), np.ones((4, 2)), fmt, **arguments)
    assert message in str(error.value)


def test_scales_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"scales\[1\] is of shape \(1, 1\); allowed is \(1, 2\)"):
        rf.matmul(
            np.ones((2, 32)), np.ones((32, 2)), E5M2, unit="blackwell-mxfp8", scales=(np.ones((2, 1)), np.ones((1, 1)))
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"terms": 0},
        {"cut": "up"},
        {"promote": 5},
        {"block": 4},
        {"joined": (1,)},
        {"inner": 2},
        {"operands": ()},
        {"operands": ("fp8",)},
        {"operands": ("float64",)},
        {"scales": ("e8m0",), "block": 16},
        {"flush": "yes"},
        {"halves": 1},
    ],
)
def test_fields_that_make_no_unit_are_refused(fields):
    with pytest.raises((ValueError, TypeError), match="MatrixUnit|unknown"):
        replace(MatrixUnit(), **fields)
    with pytest.raises(ValueError, match="did you mean 'to_odd'"):
        MatrixUnit(cut="sticky")


def test_sums_may_be_joined_in_0_to_48_bits():
    assert MatrixUnit(joined=(0, 48)).joined == (0, 48)
    for bits in ((-1, 24), (24, 49)):
        with pytest.raises(ValueError, match="joined is .*; allowed is None or two numbers of bits, 0 to 48"):
            MatrixUnit(joined=bits)


def test_the_fast_paths_are_taken_by_the_named_units():
    """All but one fused multiply-add after the other."""
    x = np.ones((1, 1))
    slow = {n for n, u in UNITS.items() if u.sum == "aligned" and not operation._columns_at_once(u, x, x)}
    assert slow == {n for n in UNITS if n.endswith(("mxfp4", "nvfp4"))}
    for name in slow:
        pair = (rf.format(UNITS[name].operands[0]),) * 2
        for scale in UNITS[name].scales:
            assert operation._sums_at_once(
                UNITS[name], pair, operation._record(kernel, UNITS[name], pair, rf.format(scale))
            )


SCALED = MatrixUnit(operands=("float4_e2m1fn",), terms=16, scales=("float8_e4m3fn",), block=8, inner=4)


@pytest.mark.parametrize("index", range(4))
def test_scaled_sums_of_many_columns_are_those_of_one(index, monkeypatch):
    """Of the definition's own kernel: over more columns than fit at once, an accumulator that is NaN or infinite."""
    more = ({}, {"fraction_bits": 20, "promote": 32}, {"into": FP22, "inner": 8}, {"fraction_bits": 3})[index]
    u, rng = replace(SCALED, **more), np.random.default_rng(index)
    a, b = (values("float4_e2m1fn", shape, rng, "all codes") for shape in ((3, 64), (64, 150)))
    c = values("float32", (3, 150), rng, "all codes")
    scales = tuple(np.abs(values("float8_e4m3fn", shape, rng, "finite")) for shape in ((3, 8), (8, 150)))
    served, taken = operation._sums_at_once, []
    monkeypatch.setattr(operation, "_sums_at_once", lambda *given: taken.append(served(*given)) or taken[-1])
    quick = rf.matmul(a, b, "float4_e2m1fn", unit=u, initial=c, scales=scales)
    assert taken == [True]
    monkeypatch.setattr(operation, "_sums_at_once", lambda *_: False)
    assert same(quick, rf.matmul(a, b, "float4_e2m1fn", unit=u, initial=c, scales=scales))
