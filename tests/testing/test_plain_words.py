"""Faults that other mechanisms would fit too: the plainest words come first, and every word is true."""

import numpy as np
import pytest

import refimpl as rf

conform = rf.testing.conform


def special(op, where, value):
    """`op` of E5M2, but for a value (of a and b) in some cases."""

    def f(a, b):
        with np.errstate(all="ignore"):
            y = np.asarray(getattr(rf, op)(a, b, "float8_e5m2"), np.float64)
            return np.where(where(a, b), value(a, b), y).astype(a.dtype)

    return f


def thresholds(of_three):
    """E2M1 by thresholds, the one between 3 and 4 given."""

    def f(x):
        size = np.abs(x)
        limits = [size <= 0.25, size < 0.75, size <= 1.25, size < 1.75, size <= 2.5, size < of_three, size <= 5]
        y = np.copysign(np.select(limits, [0, 0.5, 1, 1.5, 2, 3, 4], 6.0), x)
        return np.where(np.isnan(x), np.where(np.signbit(x), 0.0, -0.0), y).astype(x.dtype)

    return f


def to_bfloat16(y):
    return np.asarray(rf.quantize(np.asarray(y, np.float64), "bfloat16"), np.float64)


def gelu(x):
    v = x.astype(np.float64)
    with np.errstate(all="ignore"):
        y = 0.5 * v * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3)))
    return to_bfloat16(np.where(v == -np.inf, -0.0, y)).astype(x.dtype)


def exp(x):
    with np.errstate(all="ignore"):
        return to_bfloat16(np.exp2(to_bfloat16(x.astype(np.float64) * np.log2(np.e)))).astype(x.dtype)


def drops(a, b):
    x, y = a.astype(np.float64), b.astype(np.float64)
    p, q = (np.maximum(np.where(v == 0, -6, np.frexp(np.where(np.isfinite(v), v, 1))[1] - 1), -6) for v in (x, y))
    s = np.where(p - q >= 5, x, np.where(q - p >= 5, y, x + y))
    s = np.where(np.isnan(x) | np.isnan(y), np.nan, s)
    return np.asarray(rf.quantize(s, "float8_e4m3fn")).astype(a.dtype)


def nan_codes(a, b):
    x, y = (np.asarray(rf.decode(c, "float8_e4m3fn"), np.float64) for c in (a, b))
    x, y = (np.where(np.isnan(v), np.where(c >= 128, -480.0, 480.0), v) for v, c in ((x, a), (y, b)))
    return rf.encode(x + y, "float8_e4m3fn")


def cut_first(x):
    y = x.astype(np.float64)
    if x.dtype == np.float64:
        with np.errstate(all="ignore"):
            narrow = x.astype(np.float32)
        y = np.where(np.abs(narrow) > np.abs(x), np.nextafter(narrow, np.float32(0)), narrow).astype(np.float64)
    return to_bfloat16(y).astype(x.dtype)


def half_up(x):
    with np.errstate(invalid="ignore"):
        return np.clip(np.trunc(np.where(np.isnan(x), 0, x + 0.5)), -128, 127).astype(np.int64)


CASES = {
    "inf - inf": (
        special("add", lambda a, b: np.isinf(a) & (a == -b), lambda a, b: a),
        ("float8_e5m2",),
        {"op": "add"},
        "add(inf, -inf) = inf, not NaN; add(-inf, inf) = -inf, not NaN",
    ),
    "0 inf": (
        special("mul", lambda a, b: (a == 0) & np.isinf(b), lambda a, b: a * np.sign(b)),
        ("float8_e5m2",),
        {"op": "mul"},
        "mul(0, inf) = 0, not NaN",
    ),
    "threshold": (thresholds(3.25), ("float4_e2m1fn",), {}, "gives 4, only for inputs of sizes from 3.25"),
    "gelu": (gelu, ("bfloat16",), {"op": "gelu"}, "the tanh form"),
    "exp": (exp, ("bfloat16",), {"op": "exp"}, "2^(a log2 e), one step of it rounded to bfloat16"),
    "drops": (drops, ("float8_e4m3fn",), {"op": "add"}, "exponent is 5 or more below"),
    "NaN codes": (
        rf.testing.Implementation(on_codes=nan_codes),
        ("float8_e4m3fn",),
        {"op": "add"},
        "the codes of NaN for numbers, of size 480",
    ),
    "cut": (cut_first, ("bfloat16",), {}, "cuts float64 to float32, toward zero"),
    "(int)(x + 0.5)": (half_up, ("float16",), {"op": "to_int8"}, "(int)(x + 0.5)"),
}


@pytest.mark.parametrize("function, formats, how, said", CASES.values(), ids=CASES)
def test_the_plain_words_are_the_only_ones(function, formats, how, said):
    report = conform(function, *formats, **how)
    assert not report.passed and len(report.diagnoses) == 1, report.diagnoses
    assert said in report.diagnoses[0]


def test_a_rounding_and_an_overflow_of_another_are_both_said():
    def f(a, b):
        with np.errstate(all="ignore"):
            y = np.asarray(rf.mul(a, b, "float8_e5m2", rounding="toward_zero"), np.float64)
            exact = np.abs(a.astype(np.float64) * b)
        return np.where((exact >= 65536) & np.isfinite(exact), np.copysign(np.inf, y), y).astype(a.dtype)

    said = str(rf.testing.identify(f, op="mul", format="float8_e5m2"))
    assert "toward_zero" in said and ("overflow" in said or "largest" in said)


@pytest.mark.parametrize(
    "kept, said", [(15, "loses bits 4 and 5 in every code at a position i with i % 4 = 2"), (63, "")]
)
def test_bits_that_unpacking_loses_are_named_with_their_places(kept, said):
    def unpack(data, n):
        bits = np.unpackbits(data, bitorder="little")[: 6 * n].reshape(-1, 6)
        codes = bits @ (1 << np.arange(6))
        codes[2::4] &= kept
        return codes.astype(np.uint8)

    report = conform(rf.testing.Implementation(unpack=unpack), "float6_e3m2fn")
    assert report.passed == (not said) and said in report.diagnosis


def test_a_tensor_scale_that_float32_does_not_hold_is_refused_with_one_that_it_does():
    with pytest.raises(ValueError, match="0.0001.*float32 holds exactly; the nearest is 9.99999974"):
        rf.quantize_blocks([1.0], "nvfp4", tensor_scale=0.0001)
    rf.quantize_blocks([1.0], "nvfp4", tensor_scale=9.999999747378752e-05)


def test_a_largest_value_of_its_own_is_named_although_one_value_is_all_that_comes():
    def f(x):
        y = np.asarray(rf.quantize(x, "float8_e4m3fn"))
        return np.where(y == -448, y.dtype.type(-416), y)

    assert "has a largest value one code too small (416)" in conform(f, "float8_e4m3fn").diagnoses[0]
