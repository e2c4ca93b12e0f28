"""Facts of 16-bit training: the table of epsilons, batch norm's variance, updates that are lost.

The failures are those named by arXiv 2305.10947, 2301.12809 and 2010.06192; the expected values were
worked out by hand from the definitions of the formats.
"""

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.nn import SGD, Adam, Precision, fit, layers, mlp, preset, schedules
from refimpl.nn.rounder import Rounder
from refimpl.numerics.sixteen_bit import batch_norm, first_adam_step, halting_radius, in_format

F = np.float32
DIGITS = rf.data.load("digits")


# -- Adam's epsilon -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "held"), [(1e-8, 0.0), (1e-7, 2 * 2.0**-24), (1e-5, 1.0014e-5), (1e-3, 1.00040e-3)]
)
def test_epsilon_in_binary16(epsilon, held):
    found = in_format(Adam(epsilon=epsilon), "float16").epsilon
    assert found == pytest.approx(held, rel=5e-5) and (held or found == 0.0)


def test_betas_in_16_bits():
    assert in_format(Adam(), "float16").beta2 == pytest.approx(0.9990234, abs=1e-7)
    bfloat16 = in_format(Adam(), "bfloat16")
    assert (bfloat16.beta1, bfloat16.beta2) == (0.8984375, 1.0)


def test_a_gradient_s_square_underflows_in_binary16_up_to_2_to_the_minus_12_5():
    edge = 2.0**-12.5
    below, above = (float(np.float16(edge * (1 + s * 2e-3))) for s in (-1, 1))
    assert below < edge < above
    squares = rf.quantize(np.array([below, above]) ** 2, "float16")
    assert squares.tolist() == [0.0, 2.0**-24]


@pytest.mark.parametrize(
    ("gradient", "epsilon", "step"), [(1e-4, 1e-7, 84.0), (1e-4, 1e-8, np.inf), (0.0, 1e-8, np.nan), (1e-4, 1e-3, 0.01)]
)
def test_adam_s_first_step_in_binary16(gradient, epsilon, step):
    found = first_adam_step(gradient, "float16", epsilon=epsilon)
    np.testing.assert_allclose(found, step, rtol=0.01)


def test_adam_s_first_step_agrees_with_numpy_s_own_float16():
    """Operation by operation; NumPy rounds single operations on float16 correctly."""
    h, g = (np.float16, np.random.default_rng(0).standard_normal(5000).astype(np.float16) * np.float16(0.01))
    with np.errstate(all="ignore"):
        m, v = (h(1) - h(0.9)) * g, (h(1) - h(0.999)) * (g * g)
        expected = m / (np.sqrt(v) + h(1e-7))
    np.testing.assert_array_equal(first_adam_step(g, "float16", epsilon=1e-7), expected)


def trained(format, rule):
    return fit(mlp(), DIGITS, precision=preset("pure16", format), optimizer=rule, epochs=2, learning_rate=0.002)


def test_adam_in_binary16_trains_with_epsilon_1e_3_and_not_with_1e_8():
    assert trained("float16", in_format(Adam(epsilon=1e-8), "float16")).diverged
    cured = trained("float16", in_format(Adam(epsilon=1e-3), "float16"))
    assert not cured.diverged and cured.test_error < 0.15


def test_adam_in_bfloat16_needs_a_second_beta_below_1():
    assert trained("bfloat16", in_format(Adam(epsilon=1e-3), "bfloat16")).diverged
    cured = trained("bfloat16", in_format(Adam(beta2=0.99, epsilon=1e-3), "bfloat16"))
    assert not cured.diverged and cured.test_error < 0.15


# -- batch norm -----------------------------------------------------------------------------


def channel(scale, mean=0.0, n=64):
    x = np.random.default_rng(1).standard_normal((n, 1))
    return (x - x.mean()) / x.std() * scale + mean


def off(x, **how):
    """The largest error of a channel normalized in binary16."""
    x = np.asarray(rf.quantize(np.asarray(x, float), "float16"))
    exact = (x - x.mean()) / np.sqrt(x.var() + how.get("epsilon", 1e-5))
    return np.abs(batch_norm(x, "float16", **how) - exact).max()


def test_the_square_of_256_is_beyond_binary16():
    assert off([[-180.0], [180.0]]) < 0.01
    assert off([[-181.5], [181.5]]) > 0.9  # the sum of two squares is already infinite: all becomes 0
    assert off([[-256.0], [256.0]]) > 0.9
    assert np.isfinite(rf.quantize(255.9**2, "float16")) and np.isinf(rf.quantize(256.0**2, "float16"))
    assert off([[-256.0], [256.0]], statistics="float32") < 0.01


def test_mean_square_minus_squared_mean_cancels_and_centring_does_not():
    x = channel(0.1, mean=30.0)
    assert not off(x) < 0.5  # the variance is the difference of two numbers near 900: multiples of 1/2
    assert off(x, statistics="float32") < 0.05
    x = channel(0.5, mean=100.0)
    assert not off(x) < 0.5
    assert off(x, formula="centred") < off(x)


def test_a_variance_below_the_smallest_subnormal_vanishes():
    x = channel(1e-4)  # squares near 10^-8; what is below 2^-25 becomes 0
    assert off(x, epsilon=0.0, formula="centred") > 0.3
    assert off(x, epsilon=0.0, statistics="float32") < 0.01
    assert off(x * 2.0**13, epsilon=0.0, formula="centred") < 0.05  # scaled up, it normalizes


def test_a_sum_of_4096_ones_stalls_at_2048_and_so_halves_the_mean():
    found = batch_norm(np.ones((4096, 1)), "float16", formula="centred", epsilon=1.0)
    assert found[0, 0] == pytest.approx(0.5 / np.sqrt(0.25 / 2 + 1), abs=0.05)
    assert batch_norm(np.ones((4096, 1)), "float16", statistics="float32").max() == 0


@pytest.mark.parametrize("formula", ["moments", "centred"])
def test_batch_norm_agrees_with_numpy_s_own_float16(formula):
    """Operation by operation, sums too; NumPy rounds single operations on float16 correctly."""
    h, x = (np.float16, (np.random.default_rng(2).standard_normal((100, 3)) * 4 + 1).astype(np.float16))

    def mean(rows):
        total = np.zeros(3, h)
        for row in rows:
            total = total + row
        return total / h(100)

    m = mean(x)
    v = mean(x * x) - m * m if formula == "moments" else mean((x - m) * (x - m))
    expected = (x - m) * (h(1) / np.sqrt(v + h(1e-3)))
    found = batch_norm(x, "float16", epsilon=1e-3, formula=formula)
    np.testing.assert_array_equal(found, expected)


def test_in_a_wide_format_batch_norm_is_batch_norm():
    x = channel(3.0, mean=7.0)
    exact = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    np.testing.assert_allclose(batch_norm(x, "float32"), exact, atol=2e-5)


# -- lost updates ---------------------------------------------------------------------------


def descend(rate, update, steps=4000, start=3.0, best=1.3671875):
    """Minimize (w - w*)^2 / 2 by gradient descent, w* being 1.37 in bfloat16; return the distance."""
    tensor = Tensor(np.array([start], F), requires_grad=True)
    rounder = Rounder(preset("pure16", "bfloat16"), 3)
    running = SGD(momentum=0, weight_decay=0, update=update).start([("0", "weight", tensor)], rounder)
    for _ in range(steps):
        running.step(rate, running.weights - F(best), 1.0)
    return abs(float(running.weights[0]) - best)


@pytest.mark.parametrize(
    ("rate", "halts", "radius"), [(0.1, 0.039, 0.026), (0.01, 0.773, 0.224), (0.001, 1.633, 0.906)]
)
def test_rounding_updates_to_nearest_halts_outside_the_radius(rate, halts, radius):
    assert halting_radius(rate, 1.37) == pytest.approx(radius, abs=5e-4)
    assert descend(rate, "plain") == pytest.approx(halts, abs=5e-4)


@pytest.mark.parametrize("update", ["kahan", "stochastic"])
@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_kahan_and_stochastic_updates_pass_the_radius(rate, update):
    assert descend(rate, update) < min(0.05, halting_radius(rate, 1.37) + 0.01)


def test_stochastic_and_kahan_updates_close_the_gap_that_nearest_leaves_in_logistic_regression():
    """arXiv 2010.06192: only the update's rounding matters; at least nine tenths of the gap closes."""
    pure = preset("pure16", "bfloat16")
    kept = dict.fromkeys(("master weight", "weight", "momentum"))  # in float32
    only_passes = Precision(
        low="bfloat16", high="bfloat16", rounding="ties_to_even", overflow="overflow", loss_scale=1.0, roles=kept
    )
    ways = {
        "float32": (preset("float32"), "plain"),
        "nearest": (pure, "plain"),
        "stochastic": (pure, "stochastic"),
        "kahan": (pure, "kahan"),
        "float32 weights": (only_passes, "plain"),
    }
    loss = {}
    for name, (precision, update) in ways.items():
        model = layers.Sequential(
            [layers.Round("input"), layers.Flatten(), layers.Linear(64, 10), layers.Round("logits")]
        )
        rule = SGD(momentum=0, weight_decay=0, update=update)
        found = fit(
            model,
            DIGITS,
            precision=precision,
            optimizer=rule,
            epochs=10,
            learning_rate=0.01,
            schedule=schedules.constant(),
        )
        loss[name] = found.history[-1]["loss"]
    gap = loss["nearest"] - loss["float32"]
    assert gap > 0.05
    for name in ("stochastic", "kahan", "float32 weights"):
        assert abs(loss[name] - loss["float32"]) < 0.1 * gap
