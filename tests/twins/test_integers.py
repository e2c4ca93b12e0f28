"""Symmetric integer quantization: the kernel is the definition in `refimpl.spec`, code for code."""

import math
import struct
from fractions import Fraction

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import IntFormat
from refimpl.spec import integers as spec


def rounded_to_float32(x: Fraction) -> float:
    """x to float32, ties to even, by the C library's conversion of a float64 rounded to odd."""
    nearest = x.numerator / x.denominator  # Python's int division is correctly rounded
    if Fraction(nearest) != x and struct.pack(">d", nearest)[7] % 2 == 0:
        nearest = math.nextafter(nearest, math.inf if Fraction(nearest) < x else -math.inf)
    return float(np.float32(nearest))


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 12, 16])
@pytest.mark.parametrize("symmetric", [True, False])
def test_codes_and_scale_are_as_defined(bits, symmetric):
    fmt = IntFormat(bits=bits, symmetric=symmetric)
    rng = np.random.default_rng(bits)
    for spread in (1.0, 1e-38, 1e30, 2.0**-140):
        x = (rng.standard_normal(300) * spread).astype(np.float32)
        codes, scale, zero_point = ops.quantize_int(x, fmt)
        assert zero_point == 0
        assert float(scale) == spec.scale(float(np.abs(x).max()), fmt)
        assert codes.tolist() == [spec.encode(float(v), fmt, float(scale)) for v in x]
        assert codes.min() >= fmt.min and codes.max() <= fmt.max


@pytest.mark.parametrize("scale", [1.0, 0.1, 1 / 3, 2.0**-149, 2.0**-126, 3e38, 1.17549435e-38])
def test_ties_and_their_neighbours_are_as_defined(scale):
    scale = float(np.float32(scale))
    fmt = IntFormat(bits=8)
    with np.errstate(over="ignore"):
        middle = (np.arange(-140, 140) * 0.5 * scale).astype(np.float32)
    x = np.concatenate([middle, np.nextafter(middle, np.float32(np.inf)),
                        np.nextafter(middle, np.float32(-np.inf))])  # fmt: skip
    x = x[np.isfinite(x)]
    codes, _, _ = ops.quantize_int(x, fmt, scale=scale)
    assert codes.tolist() == [spec.encode(float(v), fmt, scale) for v in x]


def test_the_definition_clips_and_takes_ties_to_even():
    fmt = IntFormat(bits=8)
    cases = {
        0.5: 0,
        1.5: 2,
        2.5: 2,
        -0.5: 0,
        -1.5: -2,
        126.5: 126,
        127.5: 127,
        1e30: 127,
        -1e30: -127,
    }
    assert {x: spec.encode(x, fmt, 1.0) for x in cases} == cases


@pytest.mark.parametrize("largest", [1.0, 127.0, 0.1, 3e38, 2.0**-149, 2.0**-126, 1e-40])
def test_the_scale_is_the_exact_quotient_rounded_to_float32(largest):
    largest = float(np.float32(largest))
    for bits in (4, 8, 16):
        fmt = IntFormat(bits=bits)
        expected = max(rounded_to_float32(Fraction(largest) / (2 ** (bits - 1) - 1)), 2.0**-149)
        assert spec.scale(largest, fmt) == expected
        assert float(ops.quantize_int(np.float32([largest]), fmt)[1]) == expected


def test_one_scale_for_each_index_of_an_axis():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7
    for axis in (0, 1, 2, -1):
        codes, scale, _ = ops.quantize_int(x, "int8", axis=axis)
        for i in range(x.shape[axis]):
            alone, alone_scale, _ = ops.quantize_int(x.take(i, axis), "int8")
            assert (codes.take(i, axis) == alone).all()
            assert scale.take(i, axis).item() == alone_scale
