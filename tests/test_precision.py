"""The precision policy: what each role is rounded to, the presets, scales, and the plan of a step."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.nn import LossScale, Precision, Rounding, presets
from refimpl.nn.precision import ROLES
from refimpl.nn.rounder import Rounder

DIGITS = rf.data.load("digits")
F32 = np.float32


def test_low_and_high_serve_the_roles_of_the_paper():
    policy = Precision(low="e4m3", high="e8m7")
    high = {role for role in ROLES if policy.format_of(role).name == "e8m7"}
    assert high == {"input", "logits", "logits gradient", "accumulator", "momentum"}


def test_a_role_and_a_layer_may_do_otherwise_and_the_last_pattern_counts():
    policy = Precision(
        low="e4m3", high="e8m7", roles={"weight": "e5m2"},
        layers={"*": {"weight": "e3m4"}, "1*": {"weight": None}, "11 Linear": {"weight": "e8m3"}},
    )  # fmt: skip
    assert policy.format_of("weight", "2 BatchNorm").name == "e3m4"
    assert policy.format_of("weight", "1 Convolution") is None
    assert policy.format_of("weight", "11 Linear").name == "e8m3"
    assert policy.rounding_of("weight", "2 BatchNorm").rounding == "stochastic"
    assert (
        Precision(low="e4m3", high="e8m7", roles={"weight": "e5m2"}).format_of("weight").name
        == "e5m2"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"roles": {"wieght": "e4m3"}}, "role 'wieght'; the roles are input, activation"),
        ({"layers": {"*": {"acc": None}}}, r"\* names the role 'acc'"),
        ({"gradients_rounded": "never"}, "'never' is not one of unscaled, scaled"),
        ({"roles": {"weight": "nothing"}}, "unknown format 'nothing'"),
    ],
)
def test_unknown_roles_and_names_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Precision(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "e4m3", "scaling": "daily"}, "'daily' is not one of none, current, delayed"),
        ({"format": "int8", "rounding": "toward_zero"}, "signed integer format"),
        ({"format": "float64"}, "at most 23 mantissa bits"),
        ({"format": "float8_e8m0fnu"}, "cannot be trained in"),
    ],
)
def test_roundings_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Rounding(**arguments)


def test_an_unknown_policy_is_refused_and_the_nearest_proposed():
    with pytest.raises(
        ValueError, match="unknown policy 'fp9'.*float32, peppp.*did you mean 'fp8'"
    ):
        rf.nn.preset("fp9")


def test_rounding_by_role_equals_the_door_s_rounding():
    x = np.random.default_rng(0).standard_normal(1000).astype(F32)
    rounder = Rounder(Precision(low="e4m3", high="e8m7", roles={
        "momentum": Rounding(format="e5m2", rounding="toward_zero", overflow="saturate")}), seed=3)  # fmt: skip
    expected = [
        rf.quantize(x, "e4m3", rounding="stochastic", overflow="saturate", seed=3, stream=0),
        rf.quantize(x, "e8m7", rounding="stochastic", overflow="saturate", seed=3, stream=1),
        rf.quantize(x, "e5m2", rounding="toward_zero", overflow="saturate"),
    ]
    found = [rounder(x, role) for role in ("activation", "accumulator", "momentum")]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert rounder.calls == 3


def test_current_scaling_moves_the_largest_value_into_the_top_binade_exactly():
    """448 = 1.75 * 2^8 is E4M3's largest: 3 * 2^-20 scaled by 2^27 is 384, and 2^8 < 384 <= 448."""
    x = np.array([3 * 2.0**-20, 2.0**-22, 2.0**-32, -(2.0**-37)], F32)
    rounder = Rounder(
        Precision(roles={"weight": Rounding(format="e4m3fn", scaling="current")}), seed=0
    )
    rounder.plan = {}
    # the smallest subnormal is 2^-9 * 2^-27 = 2^-36: 2^-37 is half of it, and goes to even, 0
    assert rounder(x, "weight").tolist() == [3 * 2.0**-20, 2.0**-22, 2.0**-32, 0.0]
    assert rounder.plan[0][-1] == 2.0**27


@pytest.mark.parametrize(("largest", "scale"), [(448, 1), (449, 0.5), (224, 2), (1e-30, 2.0**100)])
def test_scales_are_the_largest_powers_of_two_that_do_not_overflow(largest, scale):
    rounder = Rounder(
        Precision(roles={"weight": Rounding(format="e4m3fn", scaling="current")}), seed=0
    )
    rounder.plan = {}
    rounder(np.array([largest], F32), "weight")
    assert rounder.plan[0][-1] == scale


def test_delayed_scaling_goes_by_what_was_seen_before_and_forgets_after_sixteen():
    rounder = Rounder(
        Precision(roles={"weight": Rounding(format="e4m3fn", scaling="delayed")}), seed=0
    )
    rounder.plan = {}
    seen = [448.0, 896.0, 448.0, *[224.0] * 17]
    for largest in seen:
        rounder(np.array([largest], F32), "weight")
    scales = [entry[-1] for entry in rounder.plan.values()]
    assert scales[:3] == [1.0, 1.0, 0.5]  # the first goes by itself, the others by what was before
    assert scales[17] == 0.5 and scales[18] == 1.0 and scales[19] == 2.0


def test_int8_is_codes_from_minus_127_to_127_times_the_largest_magnitude_over_127():
    x = np.array([-2.54, 0.5, 0.01, 1.27], F32)
    rounder = Rounder(presets.int8(), seed=0)
    codes = rounder(x, "weight") / (F32(2.54) / 127)
    assert np.rint(codes).tolist() == [-127, 25, 0, 64]  # .01 / .02 = .5: a tie, or nearly
    assert abs(codes - np.rint(codes)).max() < 1e-4


def test_overflow_and_underflow_are_counted():
    rounder = Rounder(Precision(low="e4m3", high="e8m7", rounding="ties_to_even"), seed=0)
    rounder.counting = True
    # largest 480, smallest subnormal 2^-9; half of it goes to even, to zero; zero is no underflow
    rounder(
        np.array([480, 481, -1e9, np.inf, 2.0**-9, 2.0**-10, -(2.0**-11), 0, 1], F32), "activation"
    )
    assert rounder.counts["activation"].tolist() == [9, 3, 2]


@pytest.mark.parametrize("name", ["float32", "peppp", "mixed", "pure16", "fp8", "int8"])
def test_every_preset_learns_the_digits(name):
    result = rf.nn.fit(rf.nn.cnn(), DIGITS, precision=rf.nn.preset(name), epochs=4)
    assert not result.diverged and result.test_error < 0.3


def test_delayed_scaling_and_bfloat16_learn_too():
    for policy in (presets.fp8("delayed"), presets.mixed("bfloat16"), presets.pure16("bfloat16")):
        assert rf.nn.fit(rf.nn.cnn(), DIGITS, precision=policy, epochs=4).test_error < 0.3


def test_mixed_precision_keeps_float32_weights_and_sixteen_bit_copies():
    from refimpl.nn.training import _Record, _Run

    run = _Run(rf.nn.mlp(), DIGITS, presets.mixed(), rf.nn.SGD(), 0, plain=False)
    run.step(DIGITS.train_images[:32], DIGITS.train_labels[:32], 0.05, _Record())
    kept, used = run.optimizer.accumulator, run.optimizer.weights
    assert np.array_equal(used, kept.astype(np.float16).astype(F32)) and not np.array_equal(
        used, kept
    )


def test_pure_sixteen_bit_training_keeps_everything_in_sixteen_bits():
    from refimpl.nn.training import _Record, _Run

    run = _Run(rf.nn.mlp(), DIGITS, presets.pure16(), rf.nn.SGD(), 0, plain=False)
    for _ in range(3):
        run.step(DIGITS.train_images[:32], DIGITS.train_labels[:32], 0.05, _Record())
    for vector in (run.optimizer.accumulator, run.optimizer.weights, *run.optimizer.state):
        assert np.array_equal(vector, vector.astype(np.float16).astype(F32))


def test_the_dynamic_loss_scale_backs_off_until_gradients_fit_and_skips_those_steps():
    policy = Precision(roles=presets.mixed().roles, gradients_rounded="scaled",
                       loss_scale=LossScale.dynamic(2.0**24))  # fmt: skip
    result = rf.nn.fit(rf.nn.cnn(), DIGITS, precision=policy, epochs=3)
    first = result.history[0]
    assert first["skipped"] >= 1 and first["loss_scale"] == 2.0 ** (24 - first["skipped"])
    assert result.history[-1]["loss"] < first["loss"]


def test_the_dynamic_loss_scale_grows_after_its_patience():
    scale = LossScale.dynamic(8.0, patience=3).start()
    values = []
    for overflowed in (False, False, False, True, False, False, True, False, False, False):
        scale.after(overflowed)
        values.append(scale.value)
    assert values == [8, 8, 16, 8, 8, 8, 4, 4, 4, 8]


@pytest.mark.parametrize(
    "arguments", [{"growth": 0.5}, {"backoff": 0}, {"patience": 0}, {"initial": np.inf}]
)
def test_loss_scales_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ValueError, match="Scale|loss_scale"):
        LossScale(**arguments)


def test_the_rounding_plan_lists_the_paper_s_roundings_in_order():
    plan = rf.nn.rounding_plan(rf.nn.cnn(), DIGITS, Precision(low="e4m3", high="e8m7"))
    roles = [row["role"] for row in plan]
    assert roles == (
        ["input", *["activation"] * 3, "logits", "logits gradient", *["activation gradient"] * 3]
        + ["weight gradient", "accumulator", "weight", "momentum"]
    )
    assert [row["call"] for row in plan] == list(range(13))
    assert {row["format"] for row in plan if row["role"] in ("input", "accumulator")} == {"e8m7"}
    assert str(plan).count("\n") == 13 and "weight gradient" in str(plan)
