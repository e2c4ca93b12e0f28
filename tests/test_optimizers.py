"""Optimizers: against their formulas written out, Kahan and stochastic updates, 8-bit state."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.formats.codebooks import dynamic_values
from refimpl.nn import SGD, Adam, AdamW, Precision, Rounding, schedules
from refimpl.nn.eight_bit import EightBit
from refimpl.nn.rounder import Rounder

F = np.float32
DIGITS = rf.data.load("digits")


def start(rule, initial, precision=None):
    tensor = Tensor(np.array(initial, F), requires_grad=True)
    return rule.start([("0 Linear", "weight", tensor)], Rounder(precision or Precision(), 0))


def steps(rule, gradients, rate=0.1, initial=(1.0, -2.0), **kw):
    running = start(rule, initial, **kw)
    for g in gradients:
        running.step(rate, np.array(g, F), 1.0)
    return running


GRADIENTS = np.random.default_rng(0).standard_normal((5, 2))


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_follows_its_formula(nesterov):
    w, v = np.array([1.0, -2.0]), None
    for g in GRADIENTS:
        d = g + 0.01 * w
        v = d if v is None else 0.9 * v + d
        w = w - 0.1 * (d + 0.9 * v if nesterov else v)
    found = steps(SGD(momentum=0.9, nesterov=nesterov, weight_decay=0.01), GRADIENTS).weights
    np.testing.assert_allclose(found, w, rtol=1e-6)


LOW = dict(low="e4m3", high="e8m7")
POLICIES = {
    "all four rounded": Precision(**LOW),
    "to even": Precision(**LOW, rounding="ties_to_even"),
    "momentum kept": Precision(**LOW, roles={"momentum": None}),
    "gradient kept": Precision(**LOW, roles={"weight gradient": None}, gradients_rounded="scaled"),
    "nothing rounded": Precision(),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_in_one_pass_is_sgd_role_by_role(policy, nesterov):
    """To the bit, and both leave the stream of noise where the other does; over several chunks."""
    rng = np.random.default_rng(3)
    initial, gradients = rng.standard_normal(5003), rng.standard_normal((3, 5003))
    paths = []
    for plan in (None, {}):  # a plan is filled role by role
        running = start(SGD(nesterov=nesterov), initial, POLICIES[policy])
        running.rounder.plan = plan
        for g in gradients:
            running.step(0.1, np.array(1000 * g, F), 1000.0)
        paths.append([running.rounder.calls, *(a.tobytes() for a in running.arrays().values())])
    assert paths[0] == paths[1]


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_follows_its_formula(decoupled):
    w, m, v = np.array([1.0, -2.0]), 0.0, 0.0
    for t, g in enumerate(GRADIENTS, start=1):
        decay = 0.1 * 0.02 * w if decoupled else 0
        g = g if decoupled else g + 0.02 * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - decay - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    found = steps(Adam(weight_decay=0.02, decoupled=decoupled), GRADIENTS).weights
    np.testing.assert_allclose(found, w, rtol=1e-5)
    assert AdamW(weight_decay=0.02) == Adam(weight_decay=0.02, decoupled=True)


def test_the_settings_of_optimizers_are_the_customary_ones_unless_given():
    usual = dict(update="plain", state="rounded", block=256)
    assert SGD() == SGD(momentum=0.9, nesterov=False, weight_decay=5e-4, **usual)
    assert Adam() == Adam(beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0, decoupled=False, **usual)
    assert AdamW() == Adam(weight_decay=0.01, decoupled=True)


@pytest.mark.parametrize("rule", [SGD(weight_decay=0), Adam(), AdamW(weight_decay=0)])
def test_weights_without_a_gradient_stay(rule):
    state = start(rule, [1.0, -2.0])
    gradient = state.collect()
    assert gradient.tolist() == [0.0, 0.0]
    state.step(0.1, gradient, 1.0)
    assert state.weights.tolist() == [1.0, -2.0]


def bfloat16(rounding="ties_to_even"):
    return Precision(low="bfloat16", high="bfloat16", rounding=rounding, overflow="overflow")


def a_thousand_updates(rule):
    """w = 1, and 1000 updates of +.001 (Zamirai et al., arXiv 2010.06192)."""
    running = start(rule, [1.0], precision=bfloat16())
    for _ in range(1000):
        running.step(1.0, np.array([-0.001], F) * 1, 1.0)
    return running


def test_updates_below_half_a_step_are_lost_to_nearest():
    assert a_thousand_updates(SGD(momentum=0, weight_decay=0)).master_weights == 1.0


def test_kahan_s_update_loses_nothing():
    """Kahan's sum ends at 2.0, with c = -.003143 carried (from -.001 in bfloat16 each)."""
    running = a_thousand_updates(SGD(momentum=0, weight_decay=0, update="kahan"))
    assert running.master_weights == 2.0
    assert running.carried[0] == pytest.approx(-0.003143, abs=5e-7)


def test_stochastic_updates_arrive_in_the_mean():
    """Measured elsewhere: mean 2.002, standard deviation .084; of 400 parallel runs, within 5 / 20 of it."""
    running = start(SGD(momentum=0, weight_decay=0, update="stochastic"), np.ones(400), bfloat16())
    for _ in range(1000):
        running.step(1.0, np.full(400, -0.001, F), 1.0)
    assert running.master_weights.mean() == pytest.approx(2.002, abs=5 * 0.084 / 20)
    assert running.master_weights.std() == pytest.approx(0.084, abs=0.02)


@pytest.mark.parametrize("rule", [SGD(), Adam(), SGD(state="8-bit"), Adam(update="kahan")])
def test_a_skipped_step_leaves_everything_as_it_was(rule):
    """Adam's corrections count steps too: one that was skipped must not be among them."""
    initial, good = [1.0, -2.0, 3.0], np.array([0.5, -0.25, 1.0], F)
    with_skips, without = start(rule, initial), start(rule, initial)
    for _ in range(3):
        for bad in (np.inf, np.nan):
            assert not with_skips.step(0.1, np.array([0.5, bad, 1.0], F), 1.0, guarded=True)
        assert with_skips.step(0.1, good.copy(), 1.0, guarded=True)
        without.step(0.1, good.copy(), 1.0)
    assert {k: a.tolist() for k, a in with_skips.arrays().items()} == {
        k: a.tolist() for k, a in without.arrays().items()
    }


@pytest.mark.parametrize("rule", [SGD(update="kahan"), Adam(update="kahan")])
def test_under_another_policy_all_that_an_optimizer_keeps_is_rounded(rule):
    running = steps(rule, GRADIENTS, precision=Precision())
    running.carried[:] = 1 / 3  # nothing was lost in float32
    before = {k: a.copy() for k, a in running.arrays().items() if k != "steps"}
    running.switch_precision(Rounder(bfloat16(), 0))
    assert len(before) == 3 + len(rule.signs)
    for name, vector in before.items():
        expected = before["master weight"] if name == "weights" else vector
        assert np.array_equal(running.arrays()[name], rf.quantize(expected, "bfloat16")), name
        assert not np.array_equal(running.arrays()[name], vector)


def test_tensors_of_a_layer_have_delayed_scales_of_their_own():
    """E4M3's largest is 448: a weight of 448 has the scale 1, a bias of 2^-20 becomes 2^8 by 2^28."""
    policy = Precision(roles={role: Rounding(format="e4m3fn", scaling="delayed") for role in ("weight", "momentum")})
    tensors = [Tensor(np.array(x, F), requires_grad=True) for x in ([448.0], [2.0**-20])]
    named = [("0 Linear", name, t) for name, t in zip(("weight", "bias"), tensors, strict=True)]
    rounder = Rounder(policy, 0)
    running = Adam(weight_decay=0.0).start(named, rounder)
    for _ in range(2):
        rounder.plan = {}
        running.step(1e-30, np.array([2.0**-10, 2.0**-10], F), 1.0)
    scales = {}
    for role, _, _, _, scale in rounder.plan.values():
        scales.setdefault(role, []).append(scale)
    assert scales["weight"] == [1.0, 2.0**28]
    # the first moment is .1 g, the second .001 g^2, of weight and bias alike
    first, second = (2.0 ** (8 - np.floor(np.log2(m))) for m in (0.1 * 2.0**-10, 0.001 * 2.0**-20))
    assert scales["momentum"] == [first, first, second, second]


def values(*, signed):
    return np.array(dynamic_values(signed=signed), F)


def test_the_state_uses_the_dynamic_map_of_the_code_books():
    """127 negative, 0, 128 positive, the extremes of the published map; unsigned 255 and 0."""
    table, unsigned = (EightBit([1], signed=signed).table for signed in (True, False))
    assert np.array_equal(table, rf.format("dynamic8").values()) and np.array_equal(unsigned, values(signed=False))
    assert ((table < 0).sum(), (table > 0).sum(), table[-1]) == (127, 128, 1.0)
    assert table[0] == pytest.approx(-0.9929687, abs=1e-7)
    assert unsigned.size == 256 and (unsigned[0], unsigned[-1]) == (0, 1)


def test_a_block_is_no_larger_than_its_tensor():
    kept = EightBit([5], signed=True, block=10**9)
    kept.write(np.arange(5, dtype=F))
    assert kept.largest.tolist() == [4.0] and kept.read()[-1] == 4.0


@pytest.mark.parametrize("signed", [True, False])
def test_values_of_the_map_come_back_exactly(signed):
    table = values(signed=signed)
    kept = EightBit([256], signed=signed, block=256)
    kept.write(table * 3)
    np.testing.assert_array_equal(kept.read(), table * F(3))


def test_each_element_becomes_the_nearest_value_and_the_smaller_one_in_the_middle():
    table = values(signed=True)
    x = np.concatenate([np.random.default_rng(0).uniform(-1, 1, 254), [1.0, 0.0]]).astype(F)
    kept = EightBit([256], signed=True, block=256)
    kept.write(x)
    nearest = np.abs(x[:, None].astype(float) - table).min(axis=1)
    assert (np.abs(kept.read() - x) <= nearest + 1e-7).all()
    middle = (table[200] + table[201]) / F(2)
    kept.write(np.array([middle, *[1.0] * 255], F))
    assert kept.read()[0] == table[200]


def test_blocks_are_scaled_by_themselves_and_the_last_may_be_short():
    x = np.array([1.0, 0.5, 1e-6, 5e-7, 3.0], F)
    kept = EightBit([5], signed=True, block=2)
    kept.write(x)
    assert kept.largest.tolist() == [1.0, F(1e-6), 3.0]
    assert abs(kept.read() - x).max() < 0.02 and abs(kept.read()[2:4] / x[2:4] - 1).max() < 0.03


def test_every_tensor_begins_with_a_block_of_its_own_and_some_stay_in_float32():
    x = np.array([1.0, 1e-6, 5e-7, 3.0, 0.3, 7.1], F)
    kept = EightBit([1, 2, 1, 2], signed=True, block=256, exact=[False, False, True, False])
    kept.write(x)
    assert kept.largest.tolist() == [1.0, F(1e-6), F(7.1)] and kept.kept.tolist() == [3.0]
    assert abs(kept.read() / x - 1).max() < 0.05 and kept.read()[3] == 3.0
    assert kept.nbytes == 5 + 4 * 3 + 4


def test_evenly_spaced_values_are_127_steps_to_each_side():
    signed, unsigned = (EightBit([1], signed=signed, linear=True).table for signed in (True, False))
    np.testing.assert_allclose(signed, np.arange(-127, 128) / 127, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(unsigned, np.arange(256) / 255, rtol=1e-6)


def test_small_tensors_and_named_layers_keep_their_state_in_float32():
    """Where all do, the optimizer is the one of 32 bits, to the last bit."""

    def loss(**settings):
        rule = Adam(**settings)
        return rf.nn.fit(rf.nn.cnn(), DIGITS, optimizer=rule, learning_rate=0.005, epochs=1).history[0]["loss"]

    exact = loss()
    assert loss(state="8-bit", least=10**9) == loss(state="8-bit", unquantized=("*",)) == exact
    assert (
        len({exact, loss(state="8-bit"), loss(state="8-bit", least=100), loss(state="8-bit", unquantized=("*Linear",))})
        == 4
    )


@pytest.mark.parametrize(
    "rule",
    [
        SGD(state="8-bit"),
        Adam(state="8-bit", least=100),
        Adam(),
        AdamW(),
        SGD(nesterov=True),
        SGD(update="kahan"),
        SGD(update="stochastic"),
    ],
)
def test_every_optimizer_learns_the_digits(rule):
    rate = 0.005 if isinstance(rule, Adam) else 0.05
    result = rf.nn.fit(rf.nn.cnn(), DIGITS, optimizer=rule, learning_rate=rate, epochs=4)
    assert result.test_error < 0.2


def test_adam_in_float16_needs_a_larger_epsilon():
    """1e-8 is 0 in float16 and makes parameters infinite; here state and weights are float16."""
    policy = Precision(
        roles={r: Rounding(format="float16", overflow="overflow") for r in ("weight", "master weight", "momentum")}
    )
    tiny = np.full((3, 2), 1e-5)  # its square, times 1 - beta2, is zero in float16
    lost = steps(Adam(epsilon=1e-12), tiny, precision=policy, rate=0.01)
    kept = steps(Adam(epsilon=1e-3), tiny, precision=policy, rate=0.01)
    assert abs(kept.weights - [1, -2]).max() < 0.01 < abs(lost.weights - [1, -2]).max()


def test_schedules_start_and_end_where_they_say():
    assert [schedules.linear(0.1)(x) for x in (0, 1)] == [1, pytest.approx(0.1)]
    assert [schedules.cosine(0.2)(x) for x in (0, 1)] == [1, pytest.approx(0.2)]
    assert [schedules.steps(0.5)(x) for x in (0.49, 0.5)] == [1, 0.1]
    assert schedules.constant()(0.7) == 1


def test_a_warm_up_rises_and_then_leaves_the_schedule_alone():
    warm = schedules.warm_up(0.25, schedules.linear(0.0))
    assert [warm(x) for x in (0, 0.125, 0.25, 0.5)] == [0, 0.5 * 0.875, 0.75, 0.5]
