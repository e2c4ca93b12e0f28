"""The strategies draw what they promise, shrink to what can be read, and find what is wrong."""

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import refimpl as rf
from refimpl.formats import FloatFormat
from refimpl.testing import strategies as draw
from refimpl.testing.expected.behaviour import values_of

few = settings(max_examples=60, deadline=None)


@few
@given(draw.formats())
def test_formats_print_as_the_call_that_makes_them(fmt):
    assert eval(repr(fmt), {"FloatFormat": FloatFormat}) == fmt
    assert 3 <= fmt.bits <= 8


@few
@given(st.data(), draw.formats() | draw.posits(max_bits=10))
def test_codes_are_codes_and_values_are_values(data, fmt):
    assert 0 <= data.draw(draw.codes(fmt)) < 2**fmt.bits
    assert data.draw(draw.finite_values(fmt)) in values_of(fmt)


@few
@given(draw.inputs("float8_e4m3fn"), draw.arrays("float8_e4m3fn", "float64"))
def test_inputs_have_their_dtype(x, array):
    assert isinstance(x, np.float32) and array.dtype == np.float64 and array.ndim == 1


@few
@given(st.data(), st.sampled_from(["float8_e4m3fn", "posit8_2", "int8", "float4_e2m1fn"]))
def test_behaviours_are_those_a_format_has(data, name):
    assert data.draw(draw.behaviours(name)).format == rf.format(name)


@few
@given(draw.scaled_blocks(block_size=4))
def test_blocks_are_finite_float32(x):
    assert x.dtype == np.float32 and x.shape == (8,) and np.isfinite(x).all()


@few
@given(draw.scaled_blocks("mxint8", blocks=3, finite=False) | draw.scaled_blocks("mxfp8_e4m3", blocks=3, finite=False))
def test_a_block_does_not_depend_on_its_neighbours(x):
    codes, scales, _ = rf.quantize_blocks(x, "mxfp8_e4m3")
    again, scale, _ = rf.quantize_blocks(x[32:64], "mxfp8_e4m3")
    assert scales[1] == scale[0] and (codes[32:64] == again).all()


@pytest.mark.parametrize(
    "seen",
    [
        lambda x: (x == 0).all(),
        lambda x: 0 < np.abs(x).max() < 2.0**-140,
        lambda x: np.abs(x).max() > 2.0**127,
        lambda x: np.isnan(x).any() and np.isfinite(x[:4]).all(),
        lambda x: (np.abs(x) == np.inf).any(),
        lambda x: (np.abs(x[:4]) < np.abs(x[:4]).max() / 1e9).sum() == 3 and (x[:4] != 0).all(),
    ],
)
def test_blocks_of_every_kind_are_drawn(seen):
    with np.errstate(all="ignore"):
        find(draw.scaled_blocks(block_size=4, finite=False), seen, settings=settings(max_examples=5000))


@few
@given(draw.scaled_integers("uint4"))
def test_scaled_integers_are_a_scale_a_zero_point_and_what_is_hard_under_them(drawn):
    x, scale, zero = drawn
    assert x.dtype == np.float32 and np.isfinite(x).all() and scale == np.float32(scale) > 0 and 0 <= zero <= 15
    codes, _, _ = rf.quantize_int(x, "uint4", scale=scale, zero_point=zero, affine=True)
    assert (codes == rf.testing.conformance.ScaledIntegers(rf.format("uint4"), scale, zero).codes(x)).all()


def test_a_zero_point_added_before_rounding_is_found_at_a_tie():
    def wrong(drawn):
        x, scale, zero = drawn
        with np.errstate(all="ignore"):
            early = np.clip(np.rint(x.astype(np.float64) / scale + zero), 0, 255)
        return (early != rf.quantize_int(x, "uint8", scale=scale, zero_point=zero, affine=True)[0]).any()

    x, scale, zero = find(draw.scaled_integers("uint8"), wrong, settings=settings(max_examples=5000))
    assert (x.size, zero % 2) == (1, 1) and (x[0] / scale) % 1 == 0.5


@few
@given(draw.special_values("float8_e5m2"), draw.integer_formats())
def test_special_values_and_integer_formats_are_drawn(x, fmt):
    assert isinstance(x, float) and 2 <= fmt.bits <= 16


def test_a_wrong_tie_rule_is_found_and_shrinks_to_a_tie_one_can_read():
    def wrong(x):
        right = rf.quantize([x], "float8_e4m3fn")[0]
        return rf.quantize([x], "float8_e4m3fn", rounding="ties_to_away")[0] != right and x == x

    with np.errstate(invalid="ignore"):
        x = float(find(draw.inputs("float8_e4m3fn"), wrong, settings=settings(max_examples=2000)))
    significand = np.frexp(x)[0] * 2**5
    assert significand == np.rint(significand)  # at most five significant bits, as 1.0625 has


def test_a_property_finds_that_ml_dtypes_rounds_float64_twice_and_shrinks_it_to_one_unit_beside_a_tie():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="the peer ml_dtypes is not installed")

    def differs(x):
        with np.errstate(all="ignore"):
            return x.astype(ml_dtypes.float8_e4m3fn).view(np.uint8) != rf.encode(x, "float8_e4m3fn")

    found = find(draw.inputs("float8_e4m3fn", dtype="float64"), differs, settings=settings(max_examples=10_000))
    values = rf.values("float8_e4m3fn")
    ties = (values[1:] + values[:-1]) / 2
    assert {np.nextafter(found, -np.inf), np.nextafter(found, np.inf)} & set(ties) and found not in ties


def test_the_strategies_show_their_own_names_alone():
    assert {name for name in vars(draw) if name in dir(draw)} == set(draw.__all__) == set(dir(draw))
    assert all(getattr(draw, name).__module__ in ("refimpl.testing.strategies", None) for name in draw.__all__)
    assert "strategies" in dir(rf.testing) and all(hasattr(rf.testing, name) for name in dir(rf.testing))


@pytest.mark.parametrize("special", [0.0, 448.0, -448.0])
def test_special_values_reach_the_ends(special):
    assert find(draw.special_values("float8_e4m3fn"), lambda x: x == special) == special
