"""Functions: special values as IEEE 754 and P3109 have them, formats that differ, softmax, and what is refused."""

import math
from fractions import Fraction

import numpy as np
import pytest

import refimpl as rf
from refimpl.spec import operations as spec

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    "name, operands, expected",
    [  # IEEE 754-2019, clause 9.2.1
        ("log", (-0.0,), -INF),
        ("log1p", (-0.0,), -0.0),
        ("expm1", (-0.0,), -0.0),
        ("rsqrt", (-0.0,), -INF),  # MPFR's rec_sqrt differs, as its manual says
        ("rsqrt", (0.0,), INF),
        ("atanh", (-1.0,), -INF),
        ("tan", (-0.0,), -0.0),
        ("sinpi", (-3.0,), -0.0),
        ("sinpi", (2.0,), 0.0),
        ("cospi", (-1.5,), 0.0),
        ("tanpi", (3.0,), -0.0),
        ("tanpi", (-3.0,), 0.0),
        ("tanpi", (0.5,), INF),
        ("tanpi", (1.5,), -INF),
        ("hypot", (NAN, -INF), INF),
        ("atan2pi", (0.0, -0.0), 1.0),
        ("atan2pi", (-0.0, -1.0), -1.0),
        ("atan2pi", (INF, -INF), 0.75),
        ("atan2pi", (-1.0, -INF), -1.0),
        ("atan2", (-0.0, 1.0), -0.0),
        ("pow", (NAN, 0.0), 1.0),
        ("pow", (1.0, NAN), 1.0),
        ("pow", (-1.0, INF), 1.0),
        ("pow", (-0.0, -3.0), -INF),
        ("pow", (-0.0, -2.0), INF),
        ("pow", (-INF, 3.0), -INF),
        ("pow", (-2.0, 3.0), -8.0),
        ("pow", (0.5, -INF), INF),
        ("silu", (-INF,), -0.0),
        ("sigmoid", (-INF,), 0.0),
    ],
)
@pytest.mark.parametrize("count", [1, 300])
def test_a_special_value_is_ieee_s_for_few_and_for_many(name, operands, expected, count):
    got = getattr(rf, name)(*(np.full(count, x, np.float32) for x in operands), "float32")
    assert (got == expected).all() and (np.signbit(got) == np.signbit(expected)).all()


@pytest.mark.parametrize("name, x", [("log", -1.0), ("sin", INF), ("acosh", 0.5), ("asin", 1.5), ("rsqrt", -1.0)])
def test_what_is_not_defined_is_nan(name, x):
    assert np.isnan(getattr(rf, name)(np.full(300, x), "float32")).all()
    assert np.isnan(rf.pow(np.full(300, -2.0), 0.5, "float32")).all()


def test_operands_and_results_may_be_of_different_formats():
    x = rf.values("e4m3fn")
    got = rf.exp(x, "e4m3fn", out_format="float16")
    codes = rf.encode(x, "e4m3fn").tolist()
    e4m3, half = rf.format("e4m3fn"), rf.format("float16")
    expected = [spec.calculate("exp", (c,), e4m3, out_format=half) for c in codes]
    assert rf.encode(got, "float16").tolist() == expected


def test_element_i_of_a_function_takes_random_word_i():
    from refimpl.spec.random_bits import random_word

    x = rf.quantize(np.random.default_rng(0).standard_normal(400), "float16")
    got = rf.encode(rf.tanh(x, "float16", rounding="stochastic", seed=3), "float16")
    half = rf.format("float16")
    for i, code in enumerate(rf.encode(x, "float16").tolist()):
        assert got[i] == spec.calculate("tanh", (code,), half, "stochastic", random=random_word(i, 3, 0))


def test_the_steps_of_softmax_are_those_it_says():
    x = rf.quantize(np.random.default_rng(1).standard_normal((5, 40)) * 3, "bfloat16")
    got = rf.softmax(x, "bfloat16", accumulator="float16", axis=1)
    shifted = rf.sub(x, x.max(axis=1, keepdims=True), ("bfloat16", "bfloat16"), out_format="float16")
    powers = rf.exp(shifted, "float16")
    total = rf.sum(powers, "float16", axis=1)[:, None]
    assert np.array_equal(got, rf.div(powers, total, ("float16", "float16"), out_format="bfloat16"))
    exact = np.exp(x - x.max(axis=1, keepdims=True))
    assert np.allclose(got, exact / exact.sum(axis=1, keepdims=True), rtol=0.05)
    assert not np.array_equal(got, rf.softmax(x, "bfloat16", accumulator="float32", axis=1))
    with pytest.raises(ValueError, match="softmax: axis"):
        rf.softmax(x, "bfloat16", axis=2)


def test_an_exact_result_is_exact_in_every_mode():
    roots = np.arange(1, 200) / 16
    for rounding in ("toward_positive", "toward_negative", "to_odd"):
        assert (rf.rsqrt(np.full(300, 2.0**-20), "float32", rounding=rounding) == 2.0**10).all()
        assert np.array_equal(rf.pow(roots**2, 0.5, "float32", rounding=rounding), roots.astype(np.float32))
        assert np.array_equal(rf.exp2(np.arange(-40.0, 40), "float32", rounding=rounding), 2.0 ** np.arange(-40.0, 40))
        assert math.isclose(rf.log2(float(Fraction(1, 8)), "float32", rounding=rounding), -3)
