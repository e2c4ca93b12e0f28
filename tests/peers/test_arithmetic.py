"""Arithmetic against NumPy's float16 and float32, and bfloat16 by float32.

NumPy computes float16 in float32 and rounds again, which for one operation on 11 bits is as good as
rounding once (24 >= 2 * 11 + 2, Figueroa); so does this test for the 8 bits of bfloat16.
"""

import numpy as np
import pytest

import refimpl as rf

OPERATIONS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}


def random_bits(count, dtype, seed):
    rng = np.random.default_rng(seed)
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    bits = rng.integers(0, np.iinfo(unsigned).max, size=(2, count), dtype=unsigned, endpoint=True)
    near = rng.integers(0, 4, size=count // 4).astype(unsigned)
    sign = unsigned.type(1 << (8 * unsigned.itemsize - 1))
    bits[1, : count // 4] = (bits[0, : count // 4] + near) ^ (near % unsigned.type(2)) * sign
    return bits.view(dtype)


def same(got, expected):
    view = f"u{got.dtype.itemsize}"
    return got.dtype == expected.dtype and bool(
        ((got.view(view) == expected.view(view)) | np.isnan(got) & np.isnan(expected)).all()
    )


def check(dtype, name, count, seed):
    a, b = random_bits(count, dtype, seed)
    with np.errstate(all="ignore"):
        for operation, theirs in OPERATIONS.items():
            assert same(getattr(rf, operation)(a, b, name), theirs(a, b)), operation
        assert same(rf.sqrt(a, name), np.sqrt(a))
        for relation, theirs in (
            ("<", np.less),
            ("<=", np.less_equal),
            ("==", np.equal),
            ("!=", np.not_equal),
            (">=", np.greater_equal),
            (">", np.greater),
        ):
            assert (rf.compare(a, b, name, relation) == theirs(a, b)).all(), relation


@pytest.mark.parametrize("name", ["float16", "float32"])
def test_arithmetic_is_numpy_s(name):
    check(np.dtype(name), name, 200_000, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_arithmetic_of_ten_million_pairs_of_float16_is_numpy_s(seed):
    check(np.float16, "float16", 1_000_000, seed)


@pytest.mark.slow
def test_arithmetic_of_millions_of_pairs_of_float32_is_numpy_s():
    check(np.float32, "float32", 4_000_000, seed=2)


def test_arithmetic_of_bfloat16_is_that_of_float32_rounded():
    upper = random_bits(300_000, np.uint16, seed=3).astype(np.uint32) << 16
    a, b = upper.view(np.float32)
    with np.errstate(all="ignore"):
        for operation, theirs in OPERATIONS.items():
            expected = rf.quantize(theirs(a, b), "bfloat16")
            assert same(getattr(rf, operation)(a, b, "bfloat16"), expected), operation
        assert same(rf.sqrt(a, "bfloat16"), rf.quantize(np.sqrt(a), "bfloat16"))


def test_arithmetic_of_bfloat16_and_float8_is_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name, count in (
        ("bfloat16", 100_000),
        ("float8_e5m2", 0),
        ("float8_e4m3fn", 0),
        ("float8_e4m3fnuz", 0),
        ("float8_e3m4", 0),
    ):
        dtype = np.dtype(getattr(ml_dtypes, name))
        if count:
            a, b = random_bits(count, np.uint16, seed=4).view(dtype)
        else:
            bits = np.arange(2**16, dtype=np.uint16)
            a, b = ((bits >> 8).astype(np.uint8).view(dtype), bits.astype(np.uint8).view(dtype))
        wide_a, wide_b = a.astype(np.float32), b.astype(np.float32)
        with np.errstate(all="ignore"):
            for operation, theirs in OPERATIONS.items():
                expected = theirs(a, b).astype(np.float32)
                got = getattr(rf, operation)(wide_a, wide_b, name)
                ok = (got == expected) & (np.signbit(got) == np.signbit(expected))
                ok |= np.isnan(got) & np.isnan(expected)
                assert ok.all(), (name, operation, a[~ok][:4], b[~ok][:4], got[~ok][:4])
