"""Passes over columns held in vector registers give the bits of NumPy's operations one by one."""

import numpy as np
import pytest

from refimpl.nn.engine import columns

CHANNELS = pytest.mark.parametrize("channels", [1, 7, 16, 19, 32, 50])
RELU = pytest.mark.parametrize("relu", [False, True])


def matrices(channels):
    """Return x, dy (float32 (37, channels)) of all sizes, and six vectors; x[7, 0] becomes zero."""
    rng = np.random.default_rng(channels)
    size = 10.0 ** rng.integers(-9, 9, (2, 37, 1))
    x, dy = np.float32(rng.standard_normal((2, 37, channels)) * size)
    x[3, 0], x[5, -1], dy[4, 0] = np.nan, np.inf, -0.0
    v = np.float32(rng.standard_normal((6, channels)))
    x[7, 0], v[3, 0] = v[0, 0], 0
    return x, dy, v


def added_row_after_row(start, rows):
    """Return the float64 totals of Python's own additions."""
    totals = list(map(float, start))
    for row in rows.tolist():
        totals = [total + value for total, value in zip(totals, row, strict=True)]
    return np.array(totals)


def same(a, b):
    return a.dtype == b.dtype and np.array_equal(np.nan_to_num(a, nan=7.5), np.nan_to_num(b, nan=7.5))


@CHANNELS
def test_columns_and_their_squares_are_added_row_after_row(channels):
    x = matrices(channels)[0]
    start = np.random.default_rng(1).standard_normal(channels)
    total, squares = start.copy(), start.copy()
    columns.add_moments(x, total, squares)
    assert same(total, added_row_after_row(start, x))
    assert same(squares, added_row_after_row(start, np.float64(x) ** 2))


@RELU
@CHANNELS
def test_a_row_is_normalized_by_four_operations_and_a_relu_that_lets_nan_pass(channels, relu):
    x, _, v = matrices(channels)
    out = np.empty_like(x)
    columns.normalize(x, v, relu, out)
    with np.errstate(all="ignore"):
        expected = (x - v[0]) * v[1] * v[2] + v[3]
        expected = np.where((expected < 0) & relu, np.float32(0), expected)
    assert same(out, expected)
    assert np.isnan(out).any()
    assert (out[~np.isnan(out)] < 0).any() != relu


@RELU
@CHANNELS
def test_a_gradient_is_stopped_where_the_relu_was_shut_and_summed(channels, relu):
    x, dy, v = matrices(channels)
    start = np.random.default_rng(2).standard_normal((2, channels))
    by_scale, by_shift, passed = *start.copy(), dy.copy()
    columns.stop(x, v, relu, passed, by_scale, by_shift)
    with np.errstate(all="ignore"):
        hat = (x - v[0]) * v[1]
        expected = np.where((hat * v[2] + v[3] > 0) | (not relu), dy, np.float32(0))
        assert same(passed, expected)
        assert same(by_scale, added_row_after_row(start[0], expected * hat))
    assert same(by_shift, added_row_after_row(start[1], expected))


@CHANNELS
def test_a_gradient_becomes_that_of_the_input_in_its_place(channels):
    x, dy, v = matrices(channels)
    passed = dy.copy()
    columns.gradient(x, v, passed)
    with np.errstate(all="ignore"):
        assert same(passed, ((x - v[0]) * v[1] * v[3] + dy - v[4]) * v[5])
