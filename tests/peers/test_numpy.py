"""NumPy's float16 and float32: all codes, and float64 rounded to them, which NumPy does once."""

import numpy as np
import pytest

from refimpl import ops


def adversarial(dtype, count=200_000):
    """Float64 on, and one unit beside, values and midpoints of a narrower type; random bits."""
    rng = np.random.default_rng(4)
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    low = rng.integers(np.iinfo(unsigned).max // 2, size=count).astype(unsigned)
    with np.errstate(all="ignore"):
        a, b = low.view(dtype).astype(float), (low + unsigned.type(1)).view(dtype).astype(float)
        middle = (a + b) / 2
        x = np.concatenate([middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf), a])
    x = np.concatenate([x, rng.integers(2**64, size=count, dtype=np.uint64).view(np.float64)])
    return np.concatenate([x, -x])


@pytest.mark.parametrize("name", ["float16", "float32"])
def test_float64_rounds_as_numpy_rounds_it(name):
    dtype = np.dtype(name)
    x = adversarial(dtype)
    with np.errstate(all="ignore"):
        expected = x.astype(dtype)
    codes = ops.encode(x, name)
    same = codes == expected.view(codes.dtype)
    assert (same | np.isnan(expected)).all()
    assert np.isnan(ops.decode(codes[np.isnan(expected)], name)).all()


def test_every_float16_code_decodes_as_numpy_reads_it():
    codes = np.arange(2**16, dtype=np.uint16)
    expected = codes.view(np.float16)
    for dtype in (np.float64, np.float32, np.float16):
        got = ops.decode(codes, "float16", dtype=dtype)
        assert got.dtype == dtype
        with np.errstate(invalid="ignore"):
            assert ((got == expected.astype(dtype)) | np.isnan(got) & np.isnan(expected)).all()
        assert (np.signbit(got) == np.signbit(expected))[~np.isnan(got)].all()


def test_float32_and_float64_codes_are_their_bits():
    rng = np.random.default_rng(6)
    bits = rng.integers(2**32, size=100_000, dtype=np.uint32)
    x = bits.view(np.float32)
    assert (ops.encode(x, "float32") == bits)[~np.isnan(x)].all()
    assert (ops.decode(bits, "float32", dtype=np.float32) == x)[~np.isnan(x)].all()
    bits = rng.integers(2**64, size=100_000, dtype=np.uint64)
    x = bits.view(np.float64)
    assert (ops.encode(x, "float64") == bits)[~np.isnan(x)].all()
    assert (ops.decode(bits, "float64") == x)[~np.isnan(x)].all()
