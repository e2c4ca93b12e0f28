"""What only long arrays, odd lengths or a second call show is found, and said: with right implementations beside."""

import numpy as np
import pytest

import refimpl as rf

conform = rf.testing.conform
E4M3, BF16 = "float8_e4m3fn", "bfloat16"
UINT4 = {"format": "uint4", "scale": 0.5, "zero_point": 8}


def e4m3(x):
    return rf.quantize(x, E4M3).astype(x.dtype)


def uint4(x):
    codes = np.rint(np.nan_to_num(x.astype(np.float64), posinf=1e9, neginf=-1e9) / 0.5) + 8
    return ((np.clip(codes, 0, 15) - 8) * 0.5).astype(x.dtype)


def add(a, b):
    return rf.add(a, b, E4M3)


def product(a, b):
    total = np.zeros((len(a), b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        total += a[:, k : k + 1] * b[k : k + 1]
    return total


def in_its_own_buffer(function):
    """Return the function with one buffer for all results of a shape."""
    buffers = {}

    def into_buffer(*columns):
        y = function(*columns)
        buffer = buffers.setdefault((y.shape, y.dtype), np.empty_like(y))
        buffer[...] = y
        return buffer

    return into_buffer


def zero_from(function, first):
    """Return the function with zeros from a position on."""

    def cut(*columns):
        y = function(*columns)
        y.reshape(-1)[first:] = 0
        return y

    return cut


def of_odd_length_the_last_is_lost(x):
    y = uint4(x)
    if x.size % 2:
        y.reshape(-1)[-1] = 0
    return y


BUFFERED = [
    (e4m3, {"format": E4M3}),
    (uint4, UINT4),
    (add, {"format": E4M3, "op": "add"}),
    (product, {"format": "float16", "op": "matmul", "accumulate": "float32"}),
]


@pytest.mark.parametrize("function, asked", BUFFERED)
def test_a_result_that_the_next_call_overwrites_is_no_result(function, asked):
    assert conform(function, **asked).passed
    report = conform(in_its_own_buffer(function), **asked)
    assert not report.passed and "returns the same buffer each time: the next call" in report.diagnosis


def test_codes_that_the_next_call_overwrites_are_caught_too():
    pair = (lambda x: rf.encode(x, E4M3), lambda codes: rf.decode(codes, E4M3))
    assert conform(pair, E4M3).passed
    for buffered in ((in_its_own_buffer(pair[0]), pair[1]), (pair[0], in_its_own_buffer(pair[1]))):
        report = conform(buffered, E4M3)
        assert [result.name for result in report.failures] == ["kept"]


def remembered(function, key):
    """Return the function with a cache by a key that does not tell what its arrays hold."""
    known = {}

    def from_cache(*columns):
        y = known.setdefault(key(columns), function(*columns))
        return y.copy() if y.shape == columns[0].shape else function(*columns)

    return from_cache


@pytest.mark.parametrize("function, asked", BUFFERED[::2])
def test_a_cache_by_shape_is_named(function, asked):
    report = conform(remembered(function, lambda columns: (columns[0].shape, columns[0].dtype)), **asked)
    assert not report.passed and "as from a cache by shape" in report.diagnosis, report.diagnosis


def test_a_cache_by_the_array_itself_is_caught():
    pointer = remembered(e4m3, lambda columns: (columns[0].ctypes.data, columns[0].shape, columns[0].dtype))
    report = conform(pointer, E4M3)
    assert not report.passed and "a cache by the array, not by what it holds" in str(report), str(report)


LONG = [(e4m3, {"format": E4M3}), (uint4, UINT4), (add, {"format": E4M3, "op": "add"})]


@pytest.mark.parametrize("function, asked", LONG)
@pytest.mark.parametrize("first", [40_000, 1 << 16])
def test_what_goes_wrong_far_behind_in_a_call_is_caught_and_said(function, asked, first):
    report = conform(zero_from(function, first), **asked)
    assert not report.passed and f"wrong from position {first} on" in report.diagnosis


def test_an_element_that_packing_loses_of_an_odd_length_is_caught_and_said():
    report = conform(of_odd_length_the_last_is_lost, **UINT4)
    assert not report.passed and "behind the last multiple of 2" in report.diagnosis


def test_alternatives_of_the_same_words_are_said_once():
    def cut_and_flushed(a, b):
        exact = a.astype(np.float64) * b
        with np.errstate(all="ignore"):
            fraction, exponent = np.frexp(exact)
            kept = np.where(np.isfinite(exact), np.ldexp(np.trunc(fraction * 512) / 512, exponent), exact)
            y = rf.quantize(kept, BF16)
        return np.where(np.abs(y) < 2.0**-126, np.copysign(0, y), y)

    found = conform(cut_and_flushed, BF16, op="mul").diagnoses
    assert found and len(set(found)) == len(found)


@pytest.mark.parametrize("x, said", [(0.0, "has no zero, and the rule"), (1e-42, "has nothing below its smallest")])
def test_a_format_without_zero_is_explained_as_one(x, said):
    text = rf.testing.explain(rf.testing.Behaviour("float8_e8m0fnu"), np.array([x]), 1.0)
    assert said in text and "zero stays zero" not in text


def test_a_long_call_adds_nothing_to_the_diagnosis_of_what_is_wrong_everywhere():
    assert conform(lambda x: rf.quantize(x, E4M3, rounding="toward_zero"), E4M3).diagnoses == ("toward_zero",)


def test_the_law_of_zeros_shows_the_case_that_happened():
    report = conform(lambda x: (uint4(x) + 1).astype(x.dtype), **UINT4)
    law = next(result for result in report.failures if result.name == "exact_zero")
    assert law.failure.explanation.splitlines()[0] == "input  float32 = 0" and "got    1" in law.failure.explanation
