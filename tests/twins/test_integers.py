"""Symmetric integer quantization: the kernel is the definition in `refimpl.spec`, code for code."""

import decimal
import math
import random
import struct
from fractions import Fraction

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import QUOTIENTS, ROUNDINGS, IntFormat
from refimpl.formats import format as format_of
from refimpl.formats.floats import to_float32
from refimpl.kernels import float_codes
from refimpl.kernels import integers as kernel
from refimpl.ops.rows import to_rows
from refimpl.spec import integers as spec
from refimpl.spec.random_bits import random_word


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


@pytest.mark.parametrize("name", ["uint8", "int8_full"])
def test_a_range_beside_zero_is_taken_to_reach_it(name):
    """A clip may leave zero out, values with their zero do not."""
    fmt, low, high = format_of(name), np.float32([0.5, 2, 300, -5, -0.25]), np.float32([0.75, 5, 301, -2, -0.125])
    scales, zero_points = np.empty(5, np.float32), np.empty(5, np.int32)
    kernel.affine(low, high, scales, zero_points, fmt.min, fmt.max)
    expected = [spec.affine(float(a), float(b), fmt) for a, b in zip(low, high, strict=True)]
    assert list(zip(scales.tolist(), zero_points.tolist(), strict=True)) == expected


@pytest.mark.parametrize("name", ["uint8", "uint4", "int8_full", "int8", "uint16", "uint1", "uint2"])
def test_affine_scales_zero_points_and_codes_are_as_defined(name):
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


def test_a_symmetric_unsigned_format_has_its_zero_in_the_middle():
    x = np.array([-3.0, -0.5, 0.25, 9.0], np.float32)
    codes, scale, zero = ops.quantize_int(x, "uint8", affine=False)
    signed, same, _ = ops.quantize_int(x, "int8")
    assert zero == 128 and codes.dtype == np.uint8 and scale == same
    assert (codes - 128.0 == signed).all()
    assert (ops.decode_int(codes, scale, zero) == ops.decode_int(signed, scale)).all()
    assert ops.quantize_int(x, "uint4", affine=False, scale=1.0)[2] == 8


# -- other modes and quotients ---------------------------------------------------------------------

ODD_SCALES = [1.0, 0.3, 1 / 3, 7.0, 2.0**-100, 2.0**-127, 3e38, 1e-10]


def ties(scale):
    """Return quarters of steps, and the float32 numbers beside them."""
    with np.errstate(over="ignore"):
        x = (np.arange(-300, 300) * 0.25 * scale).astype(np.float32)
    x = np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))])
    return np.r_[x[np.isfinite(x)], np.float32([3e38, -3e38, 1e-45, -1e-45, 0.0, -0.0])]


@pytest.mark.parametrize("quotient", QUOTIENTS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_mode_and_quotient_is_as_defined(rounding, quotient):
    drawn = {"seed": 5, "stream": 2} if rounding.startswith("stochastic") else {}
    fmt = IntFormat(bits=8, signed=False)
    for i, scale in enumerate(ODD_SCALES):
        if quotient in ("reciprocal", "fbgemm") and scale < 2.0**-127:
            continue
        drawn |= {"random_bits": (3, 1, 31, 32)[i % 4]} if rounding[-2:] in ("_a", "_b", "_c") else {}
        scale, x = float(np.float32(scale)), ties(scale)[::3]
        got = ops.quantize_int(x, fmt, scale=scale, zero_point=77, rounding=rounding, quotient=quotient, **drawn)[0]
        bits = drawn.get("random_bits", 32)
        words = [random_word(i, 5, 2) >> (32 - bits) for i in range(len(x))]
        expected = [
            spec.encode(float(v), fmt, scale, 77, rounding, quotient, word, bits)
            for v, word in zip(x, words, strict=True)
        ]
        assert got.tolist() == expected


def test_random_words_decide_by_the_exact_quotient_where_float64_rounds_it_onto_one_of_their_steps():
    rng, close = np.random.default_rng(7), []
    multiples = np.arange(1 << 23, 1 << 24, 17, dtype=np.uint64)
    for divisor in (2 * rng.integers(1 << 22, 1 << 23, 12) + 1).tolist():
        rest = (multiples << np.uint64(38)) % np.uint64(divisor)  # of a quotient of 64 to 128, in 2^-32
        near = np.minimum(rest, np.uint64(divisor) - rest) < divisor >> 16
        close += [(64.0 * m, float(divisor)) for m in multiples[near].tolist() if (m << 38) % divisor]
    x, scales = np.float32(close).T
    rounded = x.astype(float) / scales
    onto = (rounded * 2.0**32 == np.rint(rounded * 2.0**32)).sum()
    assert onto > 20
    fmt, mode = IntFormat(bits=9, symmetric=False), float_codes.mode("stochastic", "saturate")
    steps = np.rint(rounded * 2.0**32) % 2.0**32
    for more in (0, 1):
        words = ((2.0**32 - steps) % 2.0**32 + more).astype(np.uint32)
        codes = np.empty((len(x), 1), np.int16)
        kernel.encode_as(
            x[:, None], codes, scales, np.zeros(len(x), np.int32), fmt.min, fmt.max, 0, mode, words[:, None]
        )
        expected = [
            spec.encode(float(v), fmt, float(scale), 0, "stochastic", random=int(word))
            for v, scale, word in zip(x, scales, words, strict=True)
        ]
        assert codes[:, 0].tolist() == expected


@pytest.mark.parametrize("rounding", ["toward_negative", "stochastic"])
def test_rows_of_any_length_and_pieces_of_them_are_quantized_as_defined(rounding):
    x = (np.random.default_rng(8).standard_normal((9001, 11)) * 9).astype(np.float32)
    how = {"seed": 5} if rounding == "stochastic" else {}
    for tiles in ({}, {"axis": 0}, {"axis": 1}, {"block_size": 5}, {"block_size": (7, 2)}):
        codes, scale, zero = ops.quantize_int(x, "int8_full", affine=True, rounding=rounding, **how, **tiles)
        rows, layout = to_rows("test", np.arange(x.size).reshape(x.shape), tiles.get("axis"), tiles.get("block_size"))
        full = [layout.elements(np.broadcast_to(np.reshape(v, (-1, 1)), rows.shape)) for v in (scale, zero)]
        for i, j in np.random.default_rng(9).integers(0, x.shape, (100, 2)).tolist():
            word = random_word(11 * i + j, 5, 0) if how else 0
            place = float(full[0][i, j]), int(full[1][i, j]), rounding
            expected = spec.encode(float(x[i, j]), format_of("int8_full"), *place, random=word)
            assert codes[i, j] == expected, (tiles, i, j)


def test_random_words_go_by_element_in_c_order_whatever_the_tiles():
    x = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    how = {"rounding": "stochastic", "seed": 3}
    whole = ops.quantize_int(x, "int8", scale=0.1, **how)[0]
    for tiles in ({"axis": 0}, {"axis": (0, 1)}, {"block_size": (4, 3)}, {"axis": 0, "block_size": 5}):
        assert (ops.quantize_int(x, "int8", scale=0.1, **how, **tiles)[0] == whole).all()


def test_a_scale_without_a_reciprocal_is_refused_where_it_is_multiplied_by():
    for quotient in ("reciprocal", "fbgemm"):
        with pytest.raises(ValueError, match="quantize_int: scale is .*; allowed is at least 2.9"):
            ops.quantize_int([1.0], "int8", scale=2.0**-128, quotient=quotient)
        ops.quantize_int([1.0], "int8", scale=np.nextafter(np.float32(2.0**-128), np.float32(1)), quotient=quotient)


@pytest.mark.parametrize("name", ["int4", "int8", "int16", "uint8", "uint4", "uint16", "int8_full"])
def test_what_is_finite_is_decoded_as_finite(name):
    most = np.finfo(np.float32).max
    for x in ([most, -most], [most, 0], [-most, 1], [most, -most / 3], [most / 2, -most]):
        for affine in (False, True):
            for less in (0, 1, 5):
                x = np.float32(x) * (np.float32(1) - np.float32(2.0**-23) * less)
                codes, scale, zero = ops.quantize_int(x, name, affine=affine)
                back = ops.decode_int(codes, scale, zero)
                assert np.isfinite(back).all() and (abs(back / 2 - x / 2) <= float(scale) / 2 * 1.01).all()


# -- tiles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [(128, 128), (1, 128), (4, 3), (5, 1), (6, 8), (1, 1)])
def test_a_tile_is_quantized_as_if_it_were_alone(tile):
    x = np.random.default_rng(1).standard_normal((2, 6, 8)).astype(np.float32)
    codes, scale, _ = ops.quantize_int(x, "int8", block_size=tile)
    rows, columns = -(-6 // tile[0]), -(-8 // tile[1])
    assert scale.shape == (2, rows, columns)
    for i in range(2):
        for j in range(rows):
            for k in range(columns):
                part = (i, slice(j * tile[0], (j + 1) * tile[0]), slice(k * tile[1], (k + 1) * tile[1]))
                alone, one, _ = ops.quantize_int(x[part], "int8")
                assert (codes[part] == alone).all() and scale[i, j, k] == one
    assert (abs(ops.decode_int(codes, scale, block_size=tile) - x) <= scale.max() / 2 * 1.0001).all()


def test_several_axes_have_a_scale_for_each_pair_of_their_indices():
    x = np.random.default_rng(1).standard_normal((2, 6, 8)).astype(np.float32)
    codes, scale, _ = ops.quantize_int(x, "int8", axis=(0, -1))
    assert scale.shape == (2, 1, 8)
    for i in range(2):
        for k in range(8):
            alone, one, _ = ops.quantize_int(x[i, :, k], "int8")
            assert (codes[i, :, k] == alone).all() and scale[i, 0, k] == one
    assert (ops.decode_int(codes, scale, axis=(2, 0)) == codes * scale).all()
    for wrong in ({"axis": (0, 0)}, {"axis": ()}, {"axis": 0, "block_size": (2, 2)}, {"axis": (0, 3)}):
        with pytest.raises(ValueError, match=r"quantize_int: (axis|block_size) is "):
            ops.quantize_int(x, "int8", **wrong)


# -- requantization --------------------------------------------------------------------------------


def gemmlowp(x, multiplier, shift):
    """TFLite's MultiplyByQuantizedMultiplier, as its C++ is written: division truncates, masks and thresholds."""
    left, right = max(shift, 0), max(-shift, 0)
    product = (x << left) * multiplier
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    total = product + nudge
    high = abs(total) // (1 << 31) * (1 if total >= 0 else -1)
    mask = (1 << right) - 1
    threshold = (mask >> 1) + (high < 0)
    return (high >> right) + ((high & mask) > threshold)


SUMS = [0, 1, -1, 2, -2, 3, -3, 5, -5, 127, -128, 1000, -1001, 2**20 + 1, -(2**25) - 3, 2**31 - 1, -(2**31)]


@pytest.mark.parametrize("mode", [*(m for m in ROUNDINGS if "stochastic" not in m), "gemmlowp"])
def test_requantized_sums_are_as_defined(mode):
    rng = np.random.default_rng(0)
    sums = np.r_[SUMS, rng.integers(-(2**31), 2**31, 40)]
    for multiplier in (0, 1, 2**30, 2**31 - 1, 1518500250, 3 * 2**29):
        for shift in (-31, -20, -9, -2, -1, 0):
            got = ops.requantize(sums, "int8_full", multiplier=multiplier, shift=shift, zero_point=-3, rounding=mode)
            fmt = IntFormat(bits=8, symmetric=False)
            expected = [spec.requantize(int(x), multiplier, shift, fmt, -3, mode) for x in sums]
            assert got.dtype == np.int8 and got.tolist() == expected
            if mode == "gemmlowp":
                assert expected == [min(max(gemmlowp(int(x), multiplier, shift) - 3, -128), 127) for x in sums]


def test_requantization_moves_left_too_and_gemmlowp_does_not_beyond_int32():
    int16 = IntFormat(bits=16)
    for mode in ("ties_to_even", "gemmlowp"):
        got = ops.requantize([3, -3, 100], int16, multiplier=2**30, shift=[1, 5, 7], rounding=mode)
        assert got.tolist() == [3, -48, 6400]
    with pytest.raises(OverflowError, match=r"requantize: x\[1\] is 1073741824"):
        ops.requantize([1, 2**30], int16, multiplier=1, shift=1, rounding="gemmlowp")
    assert ops.requantize([1, 2**30], int16, multiplier=2**30, shift=30).tolist() == [2**15 - 1] * 2
    per_channel = ops.requantize(
        [[4, 4], [8, 8]], "int8", multiplier=[2**30, 2**30], shift=[1, 0], zero_point=[[0], [1]]
    )
    assert per_channel.tolist() == [[4, 2], [9, 5]]
    assert spec.saturating_doubling_high(-(2**31), -(2**31)) == 2**31 - 1


def test_a_multiplier_and_a_shift_stand_for_a_scale_to_the_nearest_of_31_bits():
    scales = np.r_[np.geomspace(2.0**-33, 2.0**29, 500), 0.5, 1.0, 0.75, 1 - 2.0**-40, 2.0**-32, 2.0**-31 * 0.99]
    multiplier, shift = ops.fixed_multiplier(scales)
    for scale, m, s in zip(scales.tolist(), multiplier.tolist(), shift.tolist(), strict=True):
        assert (m, s) == spec.multiplier(scale)
        if scale >= 2.0**-32:
            assert 2**30 <= m < 2**31 and abs(Fraction(scale) - Fraction(m) * Fraction(2) ** (s - 31)) <= Fraction(
                2
            ) ** (s - 32)
    for wrong in (0.0, -1.0, 2.0**30, np.nan):
        with pytest.raises(ValueError, match="fixed_multiplier: scale is"):
            ops.fixed_multiplier(wrong)


def test_empty_arrays_and_zero_dimensions():
    for shape, axis in (((0,), None), ((0, 3), 0), ((3, 0), 0), ((3, 0), 1)):
        codes, scale, _ = ops.quantize_int(np.empty(shape, np.float32), "int8", axis=axis)
        assert codes.shape == shape and codes.dtype == np.int8 and np.size(scale) <= 3
    codes, scale, _ = ops.quantize_int(np.float32(3), "int8")
    assert codes.shape == () and int(codes) == 127
