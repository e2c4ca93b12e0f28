"""Symmetric integer quantization: the kernel is the definition in `refimpl.spec`, code for code."""

import decimal
import math
import random
import struct
from fractions import Fraction

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import IntFormat
from refimpl.formats.floats import to_float32
from refimpl.spec import integers as spec


def rounded_to_float32(x: Fraction) -> float:
    """x to float32, ties to even, by the C library's conversion of a float64 rounded to odd."""
    try:
        nearest = x.numerator / x.denominator  # Python's int division is correctly rounded
    except OverflowError:
        return math.copysign(math.inf, x)
    if Fraction(nearest) != x and struct.pack(">d", nearest)[7] % 2 == 0:
        nearest = math.nextafter(nearest, math.inf if Fraction(nearest) < x else -math.inf)
    with np.errstate(over="ignore"):
        return float(np.float32(nearest))


def test_exact_numbers_become_float32_once_as_the_c_library_rounds_them():
    rng = random.Random(1)
    ends = [
        Fraction(2) ** -149,
        Fraction(2) ** -150,
        Fraction(2) ** -126,
        Fraction(2**128 - 2**103),
        Fraction(2) ** 200,
    ]
    near = [e * (1 + sign * Fraction(1, 2**k)) for e in ends for sign in (-1, 0, 1) for k in (2, 24, 25, 60)]
    some = [Fraction(rng.getrandbits(60), 1) * Fraction(2) ** rng.randint(-230, 80) for _ in range(2000)]
    ties = [Fraction(2 * rng.getrandbits(24) + 1) * Fraction(2) ** rng.randint(-152, 100) for _ in range(2000)]
    for x in [Fraction(0), *near, *some, *ties]:
        assert to_float32(x) == rounded_to_float32(x) and to_float32(-x) == -rounded_to_float32(x), x


@pytest.mark.parametrize(
    "mode, rule",
    [
        ("ties_to_even", decimal.ROUND_HALF_EVEN),
        ("ties_to_away", decimal.ROUND_HALF_UP),
        ("toward_zero", decimal.ROUND_DOWN),
        ("toward_positive", decimal.ROUND_CEILING),
        ("toward_negative", decimal.ROUND_FLOOR),
    ],
)
def test_a_quotient_is_rounded_in_each_mode_as_decimals_are(mode, rule):
    for quarter in range(-40, 41):
        for zero_point in (0, 3):
            for fmt in (IntFormat(bits=4), IntFormat(bits=4, symmetric=False), IntFormat(bits=4, signed=False)):
                rounded = int(decimal.Decimal(quarter * 25).scaleb(-2).quantize(decimal.Decimal(1), rule))
                expected = min(max(rounded + zero_point, fmt.min), fmt.max)
                assert spec.encode(quarter / 2, fmt, 2.0, zero_point, mode) == expected


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
    x = np.concatenate([middle, np.nextafter(middle, np.float32(np.inf)), np.nextafter(middle, np.float32(-np.inf))])
    x = x[np.isfinite(x)]
    codes, _, _ = ops.quantize_int(x, fmt, scale=scale)
    assert codes.tolist() == [spec.encode(float(v), fmt, scale) for v in x]


def test_the_definition_clips_and_takes_ties_to_even():
    fmt = IntFormat(bits=8)
    cases = {0.5: 0, 1.5: 2, 2.5: 2, -0.5: 0, -1.5: -2, 126.5: 126, 127.5: 127, 1e30: 127, -1e30: -127}
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


# -- affine, clipped, in blocks --------------------------------------------------------------------


def affine_rows():
    """Ranges of all kinds: on one side of zero, far apart, tiny, with ties of the scale."""
    rng = np.random.default_rng(2)
    rows = [
        rng.uniform(low, high, 40)
        for low, high in ((-1, 3), (2, 5), (-5, -2), (0, 1e30), (-1e-30, 1e30), (-3e38, 3e38), (-1e-44, 1e-44))
    ]
    rows += [np.zeros(40), np.r_[1e-40, np.zeros(39)], np.r_[-1.0, 2.0**-60, np.zeros(38)]]
    rows += [np.r_[-1.0, 2.0**-k, np.zeros(38)] for k in (22, 23, 24, 25, 30, 53, 80)]
    rows += [np.r_[-k, 255.0 * 2 - k, np.zeros(38)] for k in (0, 1, 3, 255)]
    # width / 255 lies just below a tie between float32 scales, and float64 rounds it onto the tie
    rows += [np.r_[-(1 - 2.0**-24), 255 * 2.0**24 + 65024, np.zeros(38)]]
    rows += [np.r_[-k - 0.5, 253.5 - k, np.zeros(38)] for k in (0, 1, 2)]  # the zero point on a tie
    return np.array(rows).astype(np.float32)


@pytest.mark.parametrize("name", ["uint8", "uint4", "int8_full", "int8", "uint16", "uint1", "uint2"])
def test_affine_scales_zero_points_and_codes_are_as_defined(name):
    from refimpl.formats import format as format_of

    fmt = format_of(name)
    x = affine_rows()
    codes, scale, zero_point = ops.quantize_int(x, fmt, axis=0, affine=True)
    back = ops.decode_int(codes, scale, zero_point, axis=0)
    for i, row in enumerate(x.tolist()):
        step, zero = spec.affine(min(row), max(row), fmt)
        assert (float(scale[i, 0]), int(zero_point[i, 0])) == (step, zero), i
        assert codes[i].tolist() == [spec.encode(v, fmt, step, zero) for v in row]
        assert back[i].tolist() == [spec.decode(int(c), step, zero) for c in codes[i]]
        assert spec.encode(0.0, fmt, step, zero) == zero  # zero has a code of its own


def test_the_affine_definition_is_the_printed_identity():
    # FBGEMM: x ~ s (q - z)
    fmt = IntFormat(bits=8, signed=False)
    assert spec.affine(-1.0, 1.55, fmt) == (float(np.float32(0.01)), 100)
    assert spec.affine(0.0, 255.0, fmt) == (1.0, 0)
    assert spec.affine(2.0, 255.0, fmt) == (1.0, 0)  # zero is included
    assert spec.affine(-255.0, -3.0, fmt) == (1.0, 255)
    assert spec.affine(0.0, 0.0, fmt) == (1.0, 0)
    assert spec.decode(30, 0.5, 10) == 10.0


@pytest.mark.parametrize("axis, count", [(None, (2, 4, 2)), (-1, (2, 4, 2)), (1, (2, 1, 7)), (0, (1, 4, 7))])
def test_blocks_are_cut_along_their_axis(axis, count):
    x = np.random.default_rng(3).standard_normal((2, 4, 7)).astype(np.float32)
    codes, scale, _ = ops.quantize_int(x, "int8", axis=axis, block_size=5)
    assert scale.shape == count
    place = -1 if axis is None else axis
    for j in range(scale.shape[place]):
        part = np.take(x, range(5 * j, min(5 * j + 5, x.shape[place])), place)
        expected = np.abs(part).max(place).astype(float)
        got = scale.take(j, place)
        assert got.ravel().tolist() == [spec.scale(v, IntFormat(bits=8)) for v in expected.ravel().tolist()]
    back = ops.decode_int(codes, scale, axis=axis, block_size=5)
    assert np.abs(back - x).max() <= scale.max() / 2 * 1.0001


def test_a_given_clip_or_scale_takes_the_place_of_the_values():
    x = np.array([-3.0, -0.5, 0.25, 9.0], np.float32)
    codes, scale, _ = ops.quantize_int(x, "int8", clip=2.0)
    assert float(scale) == spec.scale(2.0, IntFormat(bits=8))
    assert codes.tolist() == [-127, -32, 16, 127]
    codes, scale, zero = ops.quantize_int(x, "uint8", clip=(-1.0, 1.55))
    assert (float(scale), int(zero)) == (float(np.float32(0.01)), 100)
    assert codes.tolist() == [0, 50, 125, 255]
    codes, scale, zero = ops.quantize_int(x, "uint8", scale=0.5, zero_point=10)
    assert codes.tolist() == [4, 9, 10, 28] and float(scale) == 0.5 and int(zero) == 10
    codes, _, zero = ops.quantize_int(np.abs(x), "uint4", affine=False)
    assert zero == 0 and codes.dtype == np.uint8 and codes.max() == 15


def test_empty_arrays_and_zero_dimensions():
    for shape, axis in (((0,), None), ((0, 3), 0), ((3, 0), 0), ((3, 0), 1)):
        codes, scale, _ = ops.quantize_int(np.empty(shape, np.float32), "int8", axis=axis)
        assert codes.shape == shape and codes.dtype == np.int8 and np.size(scale) <= 3
    codes, scale, _ = ops.quantize_int(np.float32(3), "int8")
    assert codes.shape == () and int(codes) == 127
