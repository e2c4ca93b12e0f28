"""Code books: NF4, the dynamic map, quantile codes; kernels against definitions and printed values."""

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import CodeBook
from refimpl.formats import format as format_of
from refimpl.formats.codebooks import dynamic_values
from refimpl.spec import codebooks as spec

BOOKS = [
    format_of("nf4"),
    format_of("dynamic8"),
    format_of("dynamic8_unsigned"),
    format_of("bitsandbytes_fp4"),
    format_of("bitsandbytes_af4"),
    CodeBook("dynamic4", dynamic_values(4, 3)),
    CodeBook("ternary", (-1.0, 0.0, 1.0)),
    CodeBook("close together", (-1.0, -(2.0**-40), 0.0, *(1 - k * 2.0**-22 for k in range(9, 0, -1)), 1.0)),
]


def edge_values(book, scale):
    """Values and boundaries times a scale, and their float32 neighbours."""
    points = np.array([*book.book, *book.boundaries]) * float(scale)
    x = points.astype(np.float32)
    up, down = np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))
    return np.concatenate([x, up, down])


@pytest.mark.parametrize("scale", [1.0, 0.1, 3.0, 2.0**-100, 1e30])
@pytest.mark.parametrize("book", BOOKS, ids=str)
def test_codes_are_as_defined_on_values_boundaries_and_neighbours(book, scale):
    scale = float(np.float32(scale))
    x = edge_values(book, scale)
    x = x if x.size < 200 else x[int(scale) % 7 :: 11]
    codes, _ = ops.quantize_codebook(x, book, scale=scale)
    assert codes.tolist() == [spec.encode(float(v), scale, book) for v in x]
    back = ops.decode_codebook(codes, scale, book)
    assert back.tolist() == [spec.decode(int(c), scale, book) for c in codes]


@pytest.mark.parametrize("book", BOOKS, ids=str)
def test_blocks_are_as_defined(book):
    x = np.random.default_rng(1).standard_normal((4, 50)) * [[1], [1e-30], [0], [1e20]]
    x = x.astype(np.float32)
    codes, scales = ops.quantize_codebook(x, book, block_size=16)
    assert codes.shape == x.shape and scales.shape == (4, 4)
    for i in range(4):
        for j in range(4):
            part = slice(16 * j, 16 * j + 16)
            scale, expected = spec.encode_block([float(v) for v in x[i, part]], book)
            assert scales[i, j] == scale and codes[i, part].tolist() == expected
    back = ops.decode_codebook(codes, scales, book, block_size=16)
    assert (back[2] == 0).all() and not np.signbit(back[2]).any()


@pytest.mark.parametrize("book", BOOKS, ids=str)
def test_every_value_of_a_book_comes_back(book):
    codes, scale = ops.quantize_codebook(np.array(book.values(), np.float32), book)
    assert scale == 1 and codes.tolist() == list(book.codes)
    assert ops.decode_codebook(codes, scale, book).tolist() == book.values()


def test_nf4_has_the_printed_values_and_is_made_of_normal_quantiles():
    printed = [
        -1,
        -0.696193,
        -0.525073,
        -0.394917,
        -0.284441,
        -0.184773,
        -0.09105,
        0,
        0.07958,
        0.16093,
        0.246112,
        0.337915,
        0.44071,
        0.562617,
        0.722957,
        1,
    ]  # NF4, bitsandbytes
    nf4 = format_of("nf4").values()
    assert np.allclose(nf4, printed, atol=6e-7, rtol=0)
    normal = NormalDist()
    positive = [normal.inv_cdf(p) for p in np.linspace(0.9677083, 0.5, 9)[:-1]]
    negative = [-normal.inv_cdf(p) for p in np.linspace(0.9677083, 0.5, 8)[:-1]]
    made = np.array(sorted([*positive, 0.0, *negative])) / max(positive)
    assert np.allclose(nf4, made, atol=2e-6, rtol=0)  # the offset is printed to seven digits


def test_the_dynamic_map_has_the_printed_values():
    # the published map
    signed, unsigned = format_of("dynamic8").values(), format_of("dynamic8_unsigned").values()
    assert len(signed) == len(set(signed)) == 256 == len(set(unsigned))
    assert sum(v < 0 for v in signed) == 127 and sum(v > 0 for v in signed) == 128
    assert math.isclose(signed[0], -0.9929687, rel_tol=1e-6) and signed[-1] == 1.0
    smallest = [v for v in signed if v > 0][:3]
    assert np.allclose(smallest, [5.5e-7, 3.25e-6, 7.75e-6], rtol=1e-6, atol=0)
    assert sum(v > 0 for v in unsigned) == 255 and math.isclose(unsigned[1], 3.25e-7, rel_tol=1e-6)
    assert np.allclose(
        dynamic_values(4, 3),
        [
            -0.8875,
            -0.6625,
            -0.4375,
            -0.2125,
            -0.0775,
            -0.0325,
            -0.0055,
            0,
            0.0055,
            0.0325,
            0.0775,
            0.2125,
            0.4375,
            0.6625,
            0.8875,
            1,
        ],
        rtol=1e-6,
    )


def test_most_exponent_bits_fill_the_codes_and_fewer_may_meet_one_value_twice():
    for bits in range(2, 9):
        for signed in (True, False):
            assert len(dynamic_values(bits, bits - 1, signed)) == 2**bits
            for exponent_bits in range(1, bits - 1):
                assert len(dynamic_values(bits, exponent_bits, signed)) <= 2**bits


def test_values_of_a_book_are_float32_and_so_are_boundaries():
    for book in BOOKS:
        assert all(float(np.float32(v)) == v for v in (*book.book, *book.boundaries))
        for a, b, middle in zip(book.values(), book.values()[1:], book.boundaries, strict=False):
            exact = (Fraction(a) + Fraction(b)) / 2
            error = abs(Fraction(middle) - exact)
            assert error <= Fraction(float(np.spacing(np.float32(abs(middle))))) / 2


def test_gaussian_blocks_lose_as_much_as_printed():
    # measured elsewhere: mean squared error for N(0, 1), blocks of 64, 4 bits; standard errors below 1 %
    x = np.random.default_rng(3).standard_normal((20_000, 64)).astype(np.float32)
    seven = CodeBook("int", tuple(float(np.float32(k / 7)) for k in range(-7, 8)))
    four = CodeBook("e2m1", tuple(float(np.float32(v / 6)) for v in format_of("e2m1fn").values()))
    printed = {
        format_of("nf4"): 0.00846,
        four: 0.01120,
        seven: 0.01167,
        CodeBook("dynamic4", dynamic_values(4, 3)): 0.0195,
    }
    for book, expected in printed.items():
        codes, scales = ops.quantize_codebook(x, book, block_size=64)
        error = ops.decode_codebook(codes, scales, book, block_size=64) - x
        assert math.isclose((error**2).mean(), expected, rel_tol=0.02), book.name


def test_quantile_codes_are_used_equally_often():
    x = np.random.default_rng(4).standard_normal(100_000).astype(np.float32)
    book = ops.quantile_codebook(x, 4)
    assert len(book.book) == 16 and book.book[0] == -1 or book.book[-1] == 1
    codes, _ = ops.quantize_codebook(x, book, scale=_scale_of(x, 4))
    share = np.bincount(codes, minlength=16) / x.size
    assert (np.abs(share[2:-2] - 1 / 16) < 0.005).all()


def test_quantile_books_have_up_to_256_values():
    x = np.arange(999)
    assert len(ops.quantile_codebook(x, 8).book) == 256
    with pytest.raises(ValueError, match="bits is 9; allowed is an integer, 1 to 8"):
        ops.quantile_codebook(x, 9)


def _scale_of(x, bits):
    """The largest magnitude of the values before the book divides them by it."""
    edges = np.quantile(x.astype(float), np.linspace(0, 1, 2**bits + 1))
    return np.float32(np.abs((edges[1:] + edges[:-1]) / 2).max())


def test_quantile_values_are_those_of_numpy():
    x = np.random.default_rng(5).standard_normal(999)
    edges = np.quantile(x, np.linspace(0, 1, 17))
    means = (edges[1:] + edges[:-1]) / 2
    expected = means / np.abs(means).max()
    assert np.allclose(ops.quantile_codebook(x, 4).book, expected, rtol=1e-6, atol=1e-7)


def test_a_dynamic_map_has_a_value_for_every_code_however_few_its_decades():
    assert [len(dynamic_values(bits, exponent_bits)) for bits, exponent_bits in ((5, 1), (8, 4))] == [32, 256]


def test_a_book_in_the_order_in_which_it_is_stored_gives_its_codes():
    book = format_of("bitsandbytes_fp4")
    assert (book.min, book.max, len(book.values())) == (-1, 1, 15)
    x = np.float32([12, 8, 6, 4, 3, 2, 0.0625, 0, -12, -8, -6, -4, -3, -2, -0.0625])
    codes, scale = ops.quantize_codebook(x, book)
    assert codes.tolist() == [3, 2, 5, 4, 7, 6, 1, 0, 11, 10, 13, 12, 15, 14, 9] and scale == 12
    assert np.allclose(ops.decode_codebook(codes, scale, book), x, rtol=1e-7)
    y = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    codes, scale = ops.quantize_codebook(y, book)
    assert codes.tolist() == [spec.encode(float(v), float(scale), book) for v in y]
    with pytest.raises(ValueError, match="not all equal"):
        CodeBook("one", (0.5, 0.5))
