"""Quantizers to code books under test: right ones pass, wrong ones are named."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.testing import conform

SIZE = 16
BOOK = np.array(rf.format("nf4").book, np.float32)
ENDS = ((BOOK[1:].astype(np.float64) + BOOK[:-1]) / 2).astype(np.float32)


def encode(x, book="nf4", size=SIZE):
    return rf.quantize_codebook(x, book, axis=-1, block_size=size)


def decode(codes, scales, book="nf4", size=SIZE):
    return rf.decode_codebook(codes, scales, book, axis=-1, block_size=size)


def in_blocks(function):
    """Return a quantizer of rows, of a function of blocks (rows, blocks, size) and of their largest magnitudes."""

    def quantize(x):
        y = np.pad(x.astype(np.float32), ((0, 0), (0, -x.shape[1] % SIZE))).reshape(len(x), -1, SIZE)
        top = np.abs(y).max(axis=-1, keepdims=True)
        return function(y, np.where(top == 0, np.float32(1), top)).reshape(len(x), -1)[:, : x.shape[1]]

    return quantize


def above(y, scale, book=BOOK, ends=ENDS):
    """Return the values of a book, counted without a quotient: products of two float32 are exact in float64."""
    return book[(y[..., None].astype(np.float64) > scale[..., None].astype(np.float64) * ends).sum(-1)]


def of_bitsandbytes_fp4_in_ascending_order(x):
    codes, scales = encode(x, "bitsandbytes_fp4")
    book = rf.format("bitsandbytes_fp4").book
    return np.argsort(np.argsort(book, kind="stable"), kind="stable")[codes], scales


@pytest.mark.parametrize("book, size", [("nf4", 64), ("nf4", 1), ("bitsandbytes_fp4", 16), ("dynamic8", 256)])
def test_ours_conforms_as_values_and_as_codes(book, size):
    pair = (lambda x: encode(x, book, size)), (lambda codes, scales: decode(codes, scales, book, size))
    assert conform(pair, book, block_size=size).passed
    report = conform(lambda x: pair[1](*pair[0](x)), book, block_size=size)
    assert report.passed and sum(r.tried for r in report.results) > 1000


def test_one_of_another_making_conforms():
    assert conform(in_blocks(lambda y, s: above(y, s) * s), "nf4", block_size=SIZE).passed


def largest(y, _):
    top = y.max(axis=-1, keepdims=True)
    top = np.where(top == 0, np.float32(1), top)
    return above(y, top) * top


four = np.round(BOOK, 4)
four_ends = ((four[1:].astype(np.float64) + four[:-1]) / 2).astype(np.float32)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda y, s: BOOK[((y * (np.float32(1) / s))[..., None] > ENDS).sum(-1)] * s, "multiplies by the reciprocal"),
        (lambda y, s: BOOK[((y / s)[..., None] > ENDS).sum(-1)] * s, "divides by the scale in float32"),
        (lambda y, s: -above(-y, s, -BOOK[::-1], -ENDS[::-1]) * s, "gives the upper of two values"),
        (largest, "takes the largest value of a block for the scale, not the largest magnitude"),
        (lambda y, s: above(y, s, four, four_ends) * s, "has its book in 4 decimals"),
        (lambda y, s: above(y, s), "does not multiply by the scale again"),
        (
            lambda y, s: np.where((y == 0).all(-1, keepdims=True), np.nan, above(y, s) * s),
            "gives NaN for a block of zeros",
        ),
    ],
)
def test_a_mistake_is_named(wrong, said):
    with np.errstate(all="ignore"):
        report = conform(in_blocks(wrong), "nf4", block_size=SIZE)
    assert not report.passed and report.diagnoses[0].startswith(said)


def test_mistakes_of_codes_and_of_decoders_are_named():
    pair = of_bitsandbytes_fp4_in_ascending_order, lambda c, s: decode(c, s, "bitsandbytes_fp4")
    report = conform(pair, "bitsandbytes_fp4", block_size=SIZE)
    assert report.diagnoses[0] == "numbers its codes from the smallest value up, not in the order of the book"
    report = conform((encode, lambda c, s: decode(c[:, ::-1], s)), "nf4", block_size=SIZE)
    assert [r.name for r in report.failures] == ["decode"]
    shared = conform(lambda x: decode(*encode(x, size=8), size=8), "nf4", block_size=SIZE)
    assert shared.diagnoses[0] == "shares a scale among 8 neighbours, not 16"


def test_what_is_not_known_is_located():
    def third(x):
        y = np.array(decode(*encode(x)))
        y[:, 3::SIZE] = 0
        return y

    assert conform(third, "nf4", block_size=SIZE).hint.endswith("all of them elements of odd number")


def test_a_failure_shows_scale_boundaries_and_code():
    report = conform(in_blocks(lambda y, s: above(y, s, ends=BOOK[1:]) * s), "nf4", block_size=SIZE)
    said = next(r.failure.explanation for r in report.failures if r.failure)
    assert "its block's largest magnitude, the scale, is" in said and "becomes" in said and "right  code" in said


@pytest.mark.parametrize(
    "encoder, said",
    [
        (lambda x: encode(x)[0], "an encoder returns (codes, scales)"),
        (lambda x: (encode(x)[0][:, ::2], encode(x)[1]), "one integer an element, not packed"),
        (lambda x: (encode(x)[0], encode(x)[1][:, :1]), "scales"),
        (lambda x: (encode(x)[0] + np.uint8(16), encode(x)[1]), "those of nf4 have 4 bits"),
    ],
)
def test_what_is_not_codes_and_scales_is_a_finding(encoder, said):
    report = conform((encoder, None), "nf4", block_size=SIZE)
    assert not report.passed and said in str(report)


@pytest.mark.parametrize("options", [{}, {"block_size": 0}, {"block_size": 4, "rounding": "to_odd"}, {"scale": 1.0}])
def test_what_books_do_not_take_is_refused(options):
    with pytest.raises((TypeError, ValueError), match="block_size|rounding|scale"):
        conform(encode, "nf4", **options)
