"""Products of integer codes: the definition, the algebra of zero points, lookups, overflow."""

from fractions import Fraction

import numpy as np
import pytest

import refimpl as rf
from refimpl.spec import integers as spec

RNG = np.random.default_rng(4)


def codes(fmt, shape):
    fmt = rf.format(fmt)
    return RNG.integers(fmt.min, fmt.max, shape, endpoint=True).astype("int16" if fmt.signed else "uint16")


@pytest.mark.parametrize("formats", [("uint8", "int8"), ("uint8", "uint8"), ("int4", "uint4")])
def test_products_of_codes_are_as_defined_with_zero_points_for_all_or_each(formats):
    a, b = codes(formats[0], (4, 9)), codes(formats[1], (9, 5))
    for a_zero, b_zero in ((0, 0), (17, -3), (RNG.integers(0, 255, 4), RNG.integers(-9, 9, 5))):
        got = rf.matmul_int(a, b, zero_points=(a_zero, b_zero))
        za, zb = np.broadcast_to(a_zero, 4).tolist(), np.broadcast_to(b_zero, 5).tolist()
        assert got.dtype == np.int32
        assert got.tolist() == [
            [spec.dot(a[i].tolist(), b[:, j].tolist(), za[i], zb[j]) for j in range(5)] for i in range(4)
        ]


def test_the_algebra_of_zero_points_gives_the_product_of_the_values_exactly():
    x, y = RNG.uniform(-1, 3, (3, 20)), RNG.standard_normal((20, 4))
    a, sa, za = rf.quantize_int(x, "uint8")
    b, sb, zb = rf.quantize_int(y, "int8", axis=1)
    got = rf.matmul_int(a, b, zero_points=(za, 0))
    for i in range(3):
        for j in range(4):
            exact = sum(
                Fraction(float(sa.item())) * (int(p) - int(za)) * Fraction(float(sb.reshape(-1)[j])) * int(q)
                for p, q in zip(a[i], b[:, j], strict=True)
            )
            scales = Fraction(float(sa.item())) * Fraction(float(sb.reshape(-1)[j]))
            assert exact == scales * int(got[i, j])


def test_an_accumulator_that_leaves_int32_is_reported_with_its_place_and_not_wrapped():
    terms = 2**31 // 255**2 + 1  # 33026 products of 255 * 255 are the first to exceed 2^31 - 1
    a, b = np.zeros((2, terms), np.uint8), np.full((terms, 3), 255, np.uint8)
    assert rf.matmul_int(a, b).max() == 0
    a[1] = 255
    with pytest.raises(OverflowError, match=rf"index \(1, 0\) leaves int32 after {terms} of {terms}"):
        rf.matmul_int(a, b)
    fits = rf.matmul_int(a[:, 1:], b[1:])
    assert fits[1, 0] == (terms - 1) * 255**2 == spec.dot([255] * (terms - 1), [255] * (terms - 1))
    with pytest.raises(OverflowError):
        spec.dot([255] * terms, [255] * terms)


def test_a_sum_that_leaves_int32_and_comes_back_has_left_it():
    a = np.array([[2**15 - 1] * 4])
    b = np.array([[2**15], [2**15], [2**15], [-(2**15)]])
    with pytest.raises(OverflowError, match="after 3 of 4"):
        rf.matmul_int(a, b)


@pytest.mark.parametrize("terms", [4, 200, 1000, 40_000])
def test_products_are_exact_near_every_bound_that_floats_and_accumulators_have(terms):
    a = np.resize([255, 255, 254], (2, terms)).astype(np.uint8)
    b = np.resize([127, -127, 126, -125], (terms, 3)).astype(
        np.int8
    )  # at most 2^24; 2^31; beyond, though the sum is not
    exact = sum(int(x) * int(y) for x, y in zip(a[1], b[:, 2], strict=True))
    assert rf.matmul_int(a, b)[1, 2] == exact
    assert rf.matmul_int(a, abs(b) // 2)[0, 0] == sum(
        int(x) * (abs(int(y)) // 2) for x, y in zip(a[0], b[:, 0], strict=True)
    )


def test_a_result_beyond_int32_is_reported_though_the_accumulator_held_the_sum():
    a, b = np.full((1, 40000), 0), np.full((40000, 1), 200)
    with pytest.raises(OverflowError, match="the result"):
        rf.matmul_int(a, b, zero_points=(-300, 0))
    with pytest.raises(OverflowError, match="the result"):
        spec.dot([0] * 40000, [200] * 40000, -300, 0)


@pytest.mark.parametrize("dense_bits", [1, 4, 6, 7, 8])
@pytest.mark.parametrize("pairs", [None, 1, 3, 100])
@pytest.mark.parametrize("terms", [0, 1, 8, 51])
def test_sums_in_16_bits_saturate_as_defined(dense_bits, pairs, terms):
    a, b = codes("uint8", (3, terms)), codes("int8_full", (terms, 4))
    a[0], b[:, 0] = 255, 127
    got = rf.matmul_int16(a, b, dense_bits=dense_bits, pairs=pairs)
    taken = pairs or max(1, 2 ** (7 - dense_bits))
    assert got.dtype == np.int32
    assert got.tolist() == [
        [spec.dot16(a[i].tolist(), b[:, j].tolist(), dense_bits, taken) for j in range(4)] for i in range(3)
    ]


@pytest.mark.parametrize("dense_bits", range(1, 8))
def test_sums_in_16_bits_are_exact_once_outliers_are_apart_and_not_with_one_pair_more(dense_bits):
    worst = (1 << (dense_bits - 1)) - 1 or -1
    for b in (codes("int8_full", (1000, 3)), np.full((1000, 3), worst), np.full((1000, 3), -(1 << (dense_bits - 1)))):
        a = np.full((2, 1000), 255)
        assert (rf.matmul_int16(a, b, dense_bits=dense_bits) == rf.matmul_int(a, b)).all()
    least = np.full((1000, 3), -(1 << (dense_bits - 1)))
    wrong = rf.matmul_int16(a, least, dense_bits=dense_bits, pairs=2 ** (7 - dense_bits) + 1)
    assert (wrong > rf.matmul_int(a, least)).all()


FEW = [
    "uint2",
    "int2",
    "int2_full",
    "uint4",
    "int4",
    "int4_full",
    "int3",
    "float4_e2m1fn",
    "nf4",
    "e2m1ieee",
    "e2m0",
    "posit4_0",
    "posit4_2",
]


def one_by_one(x, y):
    """Sums of products in the values' own dtype, in order: decode, multiply, add."""
    total = np.zeros((x.shape[0], y.shape[1]), x.dtype)
    with np.errstate(invalid="ignore"):
        for k in range(x.shape[1]):
            total = total + x[:, k, None] * y[None, k]
    return total


@pytest.mark.parametrize("first", FEW)
@pytest.mark.parametrize("second", FEW[::3])
def test_lookups_give_the_bits_of_decoding_then_multiplying(first, second):
    def some(fmt, shape):
        fmt = rf.format(fmt)
        if hasattr(fmt, "symmetric"):
            found = codes(fmt, shape)
            return found, found.astype(np.int32)
        found = RNG.integers(0, 1 << fmt.bits, shape).astype(np.uint8)
        if hasattr(fmt, "book"):
            return found, np.array(fmt.book, np.float32)[found]
        return found, rf.decode(found, fmt, dtype=np.float32)

    (a, x), (b, y) = some(first, (5, 33)), some(second, (33, 6))
    if x.dtype != y.dtype:
        x, y = x.astype(np.float32), y.astype(np.float32)
    got, expected = rf.matmul_lookup(a, b, first, second), one_by_one(x, y)
    assert got.dtype == expected.dtype
    same = (got == expected) & (np.signbit(got) == np.signbit(expected))
    assert (same | np.isnan(got) & np.isnan(expected)).all()
