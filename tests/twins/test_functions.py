"""Functions of two operands on arrays: where results are exact, special, or next to a number of few bits."""

import itertools

import numpy as np
import pytest

import refimpl as rf
from refimpl.spec import operations as spec

NUMBERS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.5, 0.25, 0.75, 1.5, 2.25, 12.0, 33.0, np.inf)


def pairs(fmt):
    """All pairs of small numbers, special values and the ends of the range, of both signs."""
    codes = [int(c) for c in rf.encode(np.array(NUMBERS), fmt)]
    codes += [1, fmt.max_code, codes[1] + 1, codes[1] - 1, fmt.nan_code]
    codes += [code | fmt.sign_mask for code in codes]
    return np.array(list(itertools.product(codes, codes)), np.uint64).T.copy()


@pytest.mark.parametrize("rounding", ["ties_to_even", "toward_negative", "to_odd"])
@pytest.mark.parametrize("name", ["hypot", "pow", "atan2", "atan2pi"])
@pytest.mark.parametrize("fmt", ["float16", "float32"])
def test_functions_of_special_pairs_and_small_numbers_are_as_defined(fmt, name, rounding):
    fmt = rf.format(fmt)
    first, second = pairs(fmt)
    got = getattr(rf.codes, name)(first, second, fmt, rounding=rounding)
    for a, b, found in zip(first.tolist(), second.tolist(), got.tolist(), strict=True):
        assert found == spec.calculate(name, (a, b), fmt, rounding), (hex(a), hex(b), hex(found))


@pytest.mark.parametrize("rounding", ["ties_to_even", "toward_positive", "toward_negative"])
def test_roots_of_squares_far_apart_and_of_whole_squares_are_as_defined(rounding):
    rng = np.random.default_rng(0)
    x = (1 + rng.random(400)).astype(np.float32)
    y = np.ldexp((1 + rng.random(400)).astype(np.float32), rng.integers(-150, -4, 400))
    x[::4], y[::4] = 3 * np.round(99 * x[::4]), 4 * np.round(99 * x[::4])  # 5 n is the root
    y = y.astype(np.float32)
    got = rf.hypot(x, y, "float32", rounding=rounding)
    codes = zip(x.view(np.uint32).tolist(), y.view(np.uint32).tolist(), strict=True)
    expected = [spec.calculate("hypot", pair, rf.format("float32"), rounding) for pair in codes]
    assert got.view(np.uint32).tolist() == expected
    assert (got[::4] == x[::4] / 3 * 5).all()
