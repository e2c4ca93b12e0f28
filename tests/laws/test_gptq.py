"""GPTQ: what it is defined to do, done here with least squares, and what follows from that."""

import numpy as np
import pytest

from refimpl.numerics import gptq

RNG = np.random.default_rng(0)


def mixed(n, features):
    """Return inputs that are correlated, as activations are."""
    return RNG.standard_normal((n, features)) @ RNG.standard_normal((features, features))


def nearest(weight, scale, bits):
    top = 2 ** (bits - 1) - 1
    return np.clip(np.rint(weight / scale), -top, top) * scale


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_each_error_is_made_up_for_by_least_squares_over_the_features_left(bits):
    x, weight, scale = mixed(50, 6), RNG.standard_normal((6, 3)), 0.5 + RNG.random((6, 3))
    h = x.T @ x
    h += 0.01 * np.trace(h) / 6 * np.eye(6)
    left, expected = weight.copy(), np.zeros((6, 3))
    rest = sorted(range(6), key=lambda k: -h[k, k])
    while rest:
        k, *rest = rest
        expected[k] = nearest(left[k], scale[k], bits)
        left[rest] -= np.linalg.solve(h[np.ix_(rest, rest)], np.outer(h[rest, k], expected[k] - left[k]))
    assert gptq(weight, x, scale, bits=bits) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("features", [4, 32, 128])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_outputs_change_less_than_with_rounding_to_nearest(bits, features):
    x, weight = mixed(4 * features, features), RNG.standard_normal((features, 8))
    scale = np.abs(weight).max(axis=0) / (2 ** (bits - 1) - 1)
    ways = gptq(weight, x, scale, bits=bits), nearest(weight, scale, bits)
    fed_back, plain = (np.linalg.norm(x @ (way - weight)) for way in ways)
    assert fed_back <= plain


def test_inputs_that_have_nothing_in_common_leave_nothing_to_make_up_for():
    weight = RNG.standard_normal((8, 3))
    assert np.array_equal(gptq(weight, np.diag(RNG.random(8)), 0.25, bits=4), nearest(weight, 0.25, 4))


def test_weights_on_the_grid_stay_and_inputs_of_zeros_round_to_nearest():
    weight = RNG.standard_normal((8, 3))
    assert np.array_equal(gptq(weight, np.zeros((5, 8)), 0.25, bits=4), nearest(weight, 0.25, 4))
    grid = nearest(weight, 0.25, 4)
    assert np.array_equal(gptq(grid, mixed(20, 8), 0.25, bits=4), grid)


@pytest.mark.parametrize(
    ("said", "changed"),
    [
        ("gptq: weight is of shape (3,)", {"weight": np.ones(3)}),
        ("gptq: weight[0, 1] is nan", {"weight": [[1, np.nan]] * 3}),
        ("gptq: inputs is of shape (5, 4)", {"inputs": np.ones((5, 4))}),
        ("gptq: scale[1] is 0", {"scale": [1.0, 0.0]}),
        ("gptq: scale is of shape (3,)", {"scale": np.ones(3)}),
        ("gptq: bits is 1", {"bits": 1}),
        ("gptq: damping is 0", {"damping": 0}),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(said, changed):
    good = {"weight": np.ones((3, 2)), "inputs": np.ones((5, 3)), "scale": 1.0, "bits": 4}
    with pytest.raises(ValueError) as refused:
        gptq(**{**good, **changed})
    assert said in str(refused.value) and "\n" not in str(refused.value)
