"""The precision policy: what each role is rounded to, the presets, scales, and the plan of a step."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.nn import LossScale, Precision, Rounding, presets
from refimpl.nn.precision import PRODUCT_ROLES, ROLES
from refimpl.nn.rounder import Rounder

DIGITS = rf.data.load("digits")
F32 = np.float32


def test_low_and_high_serve_the_roles_of_the_paper():
    policy = Precision(low="e4m3", high="e8m7")
    high = {role for role in ROLES if policy.format_of(role).name == "e8m7"}
    assert high == {"input", "logits", "logits gradient", "master weight", "momentum"}


def test_a_role_and_a_layer_may_do_otherwise_and_the_last_pattern_counts():
    policy = Precision(
        low="e4m3",
        high="e8m7",
        roles={"weight": "e5m2"},
        layers={"*": {"weight": "e3m4"}, "1*": {"weight": None}, "11 Linear": {"weight": "e8m3"}},
    )
    assert policy.format_of("weight", "2 BatchNorm").name == "e3m4"
    assert policy.format_of("weight", "1 Convolution") is None
    assert policy.format_of("weight", "11 Linear").name == "e8m3"
    assert policy.rounding_of("weight", "2 BatchNorm").rounding == "stochastic"
    assert Precision(low="e4m3", high="e8m7", roles={"weight": "e5m2"}).format_of("weight").name == "e5m2"


def test_policies_that_differ_in_a_role_or_a_layer_draw_other_noise():
    low = dict(low="e4m3", high="e8m7")
    policies = [
        Precision(**low),
        Precision(**low, roles={"momentum": "e5m2"}),
        Precision(**low, roles={"momentum": None}),
        Precision(**low, layers={"*Linear": {"weight": None}}),
    ]
    assert len({policy.seed(0) for policy in policies}) == 4
    assert policies[1].seed(0) == Precision(**low, roles={"momentum": "e5m2"}).seed(0) != policies[1].seed(1)


def test_rounding_by_role_equals_the_rounding_of_quantize():
    x = np.random.default_rng(0).standard_normal(1000).astype(F32)
    rounder = Rounder(
        Precision(
            low="e4m3",
            high="e8m7",
            roles={"momentum": Rounding(format="e5m2", rounding="toward_zero", overflow="saturate")},
        ),
        seed=3,
    )
    expected = [
        rf.quantize(x, "e4m3", rounding="stochastic", overflow="saturate", seed=3, stream=0),
        rf.quantize(x, "e8m7", rounding="stochastic", overflow="saturate", seed=3, stream=1),
        rf.quantize(x, "e5m2", rounding="toward_zero", overflow="saturate"),
    ]
    found = [rounder(x, role) for role in ("activation", "master weight", "momentum")]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert rounder.calls == 3


def test_current_scaling_moves_the_largest_value_into_the_top_binade_exactly():
    """448 = 1.75 * 2^8 is E4M3's largest: 3 * 2^-20 scaled by 2^27 is 384, and 2^8 < 384 <= 448."""
    x = np.array([3 * 2.0**-20, 2.0**-22, 2.0**-32, -(2.0**-37)], F32)
    rounder = Rounder(Precision(roles={"weight": Rounding(format="e4m3fn", scaling="current")}), seed=0)
    rounder.plan = {}
    # the smallest subnormal is 2^-9 * 2^-27 = 2^-36: 2^-37 is half of it, and goes to even, 0
    assert rounder(x, "weight").tolist() == [3 * 2.0**-20, 2.0**-22, 2.0**-32, 0.0]
    assert rounder.plan[0][-1] == 2.0**27


@pytest.mark.parametrize(("largest", "scale"), [(448, 1), (449, 0.5), (224, 2), (1e-30, 2.0**108)])
def test_scales_are_the_largest_powers_of_two_that_do_not_overflow(largest, scale):
    rounder = Rounder(Precision(roles={"weight": Rounding(format="e4m3fn", scaling="current")}), seed=0)
    rounder.plan = {}
    rounder(np.array([largest], F32), "weight")
    assert rounder.plan[0][-1] == scale


def rounded(x, role, seed=0, **rounding):
    rounder = Rounder(Precision(roles={role: Rounding(**rounding)}), seed)
    rounder.plan = {}
    return rounder(x, role), rounder.plan[0][-1]


@pytest.mark.parametrize("fmt", ["e4m3fn", "e2m1fn", "int8"])
def test_each_row_is_rounded_like_a_tensor_of_its_own_whatever_its_magnitude(fmt):
    x = np.random.default_rng(0).standard_normal((14, 5)).astype(F32)
    x *= F32([[2.0**-140, 1e-35, 1e-30, 0.1, 1, 100, 127, 448, 1e4, 1e20, 1e37, 0, np.inf, np.nan]]).T
    with np.errstate(invalid="ignore"):  # infinities
        for per, ends in (("row", [5]), (1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5]), (9, [5])):
            found, _ = rounded(x, "left operand", format=fmt, per=per)
            for row, got in zip(x, found, strict=True):
                parts = np.split(row, ends[:-1])
                alone = [rounded(part, "left operand", format=fmt, scaling="current")[0] for part in parts]
                np.testing.assert_array_equal(got, np.concatenate(alone))


def test_scales_reach_the_ends_of_float32_and_leave_alone_what_tells_them_nothing():
    for fmt, largest, scale in [
        ("int8", 2.0**-130, 127 * 2.0**130),
        ("int8", 254.0, 0.5),
        ("int8", 0.0, 1.0),
        ("int8", np.inf, 1.0),
        ("e2m1fn", 2.0**-149, 2.0**151),
        ("e2m1fn", 2.0**100, 2.0**-98),
        ("e2m1fn", 2e38, 2.0**-125),
        ("e2m1fn", np.inf, 1.0),
    ]:
        with np.errstate(invalid="ignore"):
            found, got = rounded(F32([largest]), "weight", format=fmt, scaling="current")
            assert got == scale
            if 0 < largest < np.inf:
                assert found == pytest.approx(largest, rel=0.25)


def test_a_tensor_at_the_end_of_float32_is_rounded_like_the_same_tensor_in_its_middle():
    x = F32([1e34, 3.3e33, -5e31, 0])
    middle, _ = rounded(x / F32(2.0**100), "weight", format="e4m3fn", scaling="current")
    found, _ = rounded(x, "weight", format="e4m3fn", scaling="current")
    assert np.array_equal(found, middle * F32(2.0**100))


@pytest.mark.parametrize("fmt", ["int8", "e4m3", "e2m1fn", "e2m1fn_flush", "e4m3fn", "float16", "bfloat16"])
@pytest.mark.parametrize("rounding", ["ties_to_even", "stochastic", "toward_zero"])
@pytest.mark.parametrize("scaling", ["none", "current"])
def test_a_tensor_s_nan_stays_nan_in_every_format(fmt, rounding, scaling):
    if fmt == "int8" and rounding == "toward_zero":
        return  # refused
    x = F32([1.0, np.nan, -np.nan, 2.0])
    found, _ = rounded(x, "weight", format=fmt, rounding=rounding, scaling=scaling)
    assert np.isnan(found).tolist() == [False, True, True, False]


@pytest.mark.parametrize("policy", [presets.int8(), presets.peppp(), Precision(roles={"weight": "e2m1fn"})])
def test_a_rate_that_makes_nan_of_the_weights_is_divergence_in_formats_without_nan_too(policy):
    result = rf.nn.fit(rf.nn.mlp(), DIGITS, precision=policy, epochs=2, learning_rate=1e25)
    assert result.diverged and result.test_error == 0.9


def test_formats_train_if_float32_holds_them_but_for_a_binade_at_the_top():
    for name in ("float32", "e8m0b127", "e8m0b150", "e5m23b15"):
        assert Rounding(format=name).format == rf.format(name)
    for name in ("e8m0b126", "e8m0b151", "e5m24b15", "e4m3_unsigned", "e8m0fnu", "float64", "uint8"):
        with pytest.raises(ValueError, match="Rounding: format"):
            Rounding(format=name)


def test_delayed_scaling_goes_by_what_was_seen_before_and_forgets_after_sixteen():
    rounder = Rounder(Precision(roles={"weight": Rounding(format="e4m3fn", scaling="delayed")}), seed=0)
    rounder.plan = {}
    seen = [448.0, 896.0, 448.0, *[224.0] * 17]
    for largest in seen:
        rounder(np.array([largest], F32), "weight")
    scales = [entry[-1] for entry in rounder.plan.values()]
    assert scales[:3] == [1.0, 1.0, 0.5]  # the first goes by itself, the others by what was before
    assert scales[17] == 0.5 and scales[18] == 1.0 and scales[19] == 2.0


@pytest.mark.parametrize("spoiled", [np.inf, np.nan])
def test_delayed_scaling_does_not_keep_a_tensor_that_overflowed(spoiled):
    rounder = Rounder(Precision(roles={"weight": Rounding(format="e4m3fn", scaling="delayed")}), seed=0)
    rounder.plan = {}
    for largest in (224.0, spoiled, 224.0, 224.0):
        rounder(np.array([largest], F32), "weight")
    assert [entry[-1] for entry in rounder.plan.values()] == [2, 2, 2, 2]


def test_int8_is_codes_from_minus_127_to_127_times_the_largest_magnitude_over_127():
    x = np.array([-2.54, 0.5, 0.01, 1.27], F32)
    rounder = Rounder(presets.int8(), seed=0)
    codes = rounder(x, "weight") / (F32(2.54) / 127)
    assert np.rint(codes).tolist() == [-127, 25, 0, 64]  # .01 / .02 = .5: a tie, or nearly
    assert abs(codes - np.rint(codes)).max() < 1e-4


def test_overflow_and_underflow_are_counted():
    rounder = Rounder(Precision(low="e4m3", high="e8m7", rounding="ties_to_even"), seed=0)
    rounder.counting = True
    # largest 480, smallest subnormal 2^-9; half of it goes to even, to zero; zero is not an underflow
    rounder(np.array([480, 481, -1e9, np.inf, 2.0**-9, 2.0**-10, -(2.0**-11), 0, 1], F32), "activation")
    assert rounder.counts["activation"].tolist() == [9, 3, 2]


@pytest.mark.parametrize("name", ["float32", "peppp", "mixed", "pure16", "fp8", "int8"])
def test_every_preset_learns_the_digits(name):
    result = rf.nn.fit(rf.nn.cnn(), DIGITS, precision=rf.nn.preset(name), epochs=4)
    assert not result.diverged and result.test_error < 0.3


def test_delayed_scaling_and_bfloat16_learn_too():
    for policy in (presets.fp8("delayed"), presets.mixed("bfloat16"), presets.pure16("bfloat16")):
        assert rf.nn.fit(rf.nn.cnn(), DIGITS, precision=policy, epochs=4).test_error < 0.3


def test_mixed_precision_keeps_float32_weights_and_sixteen_bit_copies():
    from refimpl.nn.training import EpochRecord, TrainingState

    run = TrainingState(rf.nn.mlp(), DIGITS, presets.mixed(), rf.nn.SGD(), 0, layer_by_layer=False)
    run.step(DIGITS.train_images[:32], DIGITS.train_labels[:32], 0.05, EpochRecord())
    kept, used = run.optimizer.master_weights, run.optimizer.weights
    assert np.array_equal(used, kept.astype(np.float16).astype(F32)) and not np.array_equal(used, kept)


def test_pure_sixteen_bit_training_keeps_everything_in_sixteen_bits():
    from refimpl.nn.training import EpochRecord, TrainingState

    run = TrainingState(rf.nn.mlp(), DIGITS, presets.pure16(), rf.nn.SGD(), 0, layer_by_layer=False)
    for _ in range(3):
        run.step(DIGITS.train_images[:32], DIGITS.train_labels[:32], 0.05, EpochRecord())
    for vector in (run.optimizer.master_weights, run.optimizer.weights, *run.optimizer.state):
        assert np.array_equal(vector, vector.astype(np.float16).astype(F32))


def test_the_dynamic_loss_scale_backs_off_until_gradients_fit_and_skips_those_steps():
    policy = Precision(roles=presets.mixed().roles, gradients_rounded="scaled", loss_scale=LossScale.dynamic(2.0**24))
    result = rf.nn.fit(rf.nn.cnn(), DIGITS, precision=policy, epochs=3)
    first = result.history[0]
    assert first["skipped"] >= 1 and first["loss_scale"] == 2.0 ** (24 - first["skipped"])
    assert result.history[-1]["loss"] < first["loss"]


def test_loss_scales_are_dynamic_as_is_customary_and_constant_unless_told():
    customary = dict(initial=2.0**16, growth=2.0, backoff=0.5, patience=2000, smallest=2.0**-24, largest=2.0**24)
    assert LossScale.dynamic() == LossScale(**customary) and LossScale.dynamic().adapts
    assert LossScale() == LossScale(**customary | dict(initial=1.0, growth=1.0, backoff=1.0)) and not LossScale().adapts
    assert LossScale(growth=1.5).adapts and LossScale(backoff=0.5).adapts


def test_the_dynamic_loss_scale_grows_after_its_patience():
    scale = LossScale.dynamic(8.0, patience=3).start()
    values = []
    for overflowed in (False, False, False, True, False, False, True, False, False, False):
        scale.after(overflowed)
        values.append(scale.value)
    assert values == [8, 8, 16, 8, 8, 8, 4, 4, 4, 8]


def test_the_dynamic_loss_scale_stays_within_its_bounds():
    scale = LossScale(initial=4.0, growth=4, backoff=0.25, patience=1, smallest=2, largest=8).start()
    values = []
    for overflowed in (False, False, True, True, True, False):
        scale.after(overflowed)
        values.append(scale.value)
    assert values == [8, 8, 2, 2, 2, 8]
    assert LossScale(initial=1e30).start().value == 1e30  # a constant one is what it is


def test_presets_round_what_their_table_says():
    """Each role's format, rounding and scaling: E4M3 forward and E5M2 back (arXiv 2209.05433), and so on."""
    e4m3, e5m2 = "float8_e4m3fn ties_to_even current", "float8_e5m2 ties_to_even current"
    values, gradients = (("input", "activation", "weight"), ("activation gradient", "logits gradient"))
    half = "float16 ties_to_even none"
    table = {
        "float32": {},
        "peppp": {role: f"{'e8m7' if which == 'high' else 'e4m3'} stochastic none" for role, which in ROLES.items()},
        "mixed": dict.fromkeys((*values, *gradients, "logits", "weight gradient"), half),
        "pure16": dict.fromkeys(ROLES, half),
        "fp8": {**dict.fromkeys(values, e4m3), **dict.fromkeys(gradients, e5m2)},
        "nvfp4": {
            **dict.fromkeys(PRODUCT_ROLES[:2], "nvfp4 ties_to_even current"),
            "product gradient": "nvfp4 stochastic current",
        },
        "int8": {
            **dict.fromkeys(values, "int8 ties_to_even current"),
            **dict.fromkeys(gradients, "int8 stochastic current"),
        },
    }
    assert set(table) == set(presets.PRESETS)
    for name, expected in table.items():
        ways = {role: rf.nn.preset(name).rounding_of(role) for role in (*ROLES, *PRODUCT_ROLES)}
        assert expected == {
            role: f"{way.format.name} {way.rounding} {way.scaling}" for role, way in ways.items() if way
        }
    scales = {name: rf.nn.preset(name).loss_scale for name in table}
    ones = dict.fromkeys(("float32", "pure16", "fp8", "nvfp4", "int8"), 1)
    assert scales == {**ones, "peppp": 1000, "mixed": LossScale.dynamic()}
    assert rf.nn.preset("mixed", "bfloat16").loss_scale == 1
    assert {n for n in table if rf.nn.preset(n).gradients_rounded == "scaled"} == {"mixed"}
    overflows = {n: {w.overflow for r in ROLES if (w := rf.nn.preset(n).rounding_of(r))} for n in table}
    assert overflows["mixed"] == overflows["pure16"] == {"overflow"} and overflows["peppp"] == {"saturate"}


def test_the_rounding_plan_lists_the_paper_s_roundings_in_order():
    plan = rf.nn.rounding_plan(rf.nn.cnn(), DIGITS, Precision(low="e4m3", high="e8m7"))
    roles = [row["role"] for row in plan]
    assert roles == (
        ["input", *["activation"] * 3, "logits", "logits gradient", *["activation gradient"] * 3]
        + ["weight gradient", "master weight", "weight", "momentum"]
    )
    assert [row["call"] for row in plan] == list(range(13))
    assert {row["format"] for row in plan if row["role"] in ("input", "master weight")} == {"e8m7"}
    assert str(plan).count("\n") == 13 and "weight gradient" in str(plan)


@pytest.mark.parametrize("role", [*ROLES, *PRODUCT_ROLES])
def test_each_role_can_be_rounded_alone(role):
    """Forward and backward apart: the plan has this role's roundings and no others."""
    policy = Precision(roles={role: Rounding(format="e3m1", scaling="current")}, loss_scale=1.0)
    plan = rf.nn.rounding_plan(rf.nn.cnn(), DIGITS, policy, batch_size=8)
    plain = rf.nn.fit(rf.nn.cnn(), DIGITS, epochs=1).history[0]["loss"]
    assert plan and {row["role"] for row in plan} == {role}
    assert {row["format"] for row in plan} == {"e3m1"}
    assert rf.nn.fit(rf.nn.cnn(), DIGITS, epochs=1, precision=policy).history[0]["loss"] != plain


def test_a_layer_s_weights_can_be_rounded_alone():
    model, policy = rf.nn.cnn(), Precision(layers={"5 Convolution": {"weight": "e4m3"}})
    rf.nn.fit(model, DIGITS, epochs=1, precision=policy)
    rounded = [np.array_equal(t.data, rf.quantize(t.data, "e4m3")) for _, _, t in model.named_tensors()]
    assert [name for (name, _, _), done in zip(model.named_tensors(), rounded, strict=True) if done] == [
        "5 Convolution"
    ]


def test_the_rounding_plan_of_a_transformer_has_every_point_of_attention():
    policy = Precision(low="e4m3", high="e8m7")
    plan = rf.nn.rounding_plan(rf.nn.transformer(blocks=1), DIGITS, policy, batch_size=4)
    first, second = "5 Sequential/0 Sum", "5 Sequential/1 Sum"
    inside = f"{first}/main/2 Attention"
    points = [
        "4 Round",
        f"{first}/main/1 Round",
        *(f"{inside}/round {what}" for what in ("query", "key", "value", "shares", "mixed")),
        f"{first}/round sum",
        f"{second}/main/1 Round",
        f"{second}/main/4 Round",
        f"{second}/round sum",
        "8 Round",
    ]
    forward = [row["layer"] for row in plan if row["role"] == "activation"]
    assert forward == points
    assert sorted(row["layer"] for row in plan if row["role"] == "activation gradient") == sorted(points)
    shapes = {row["layer"]: row["shape"] for row in plan}
    assert shapes[f"{inside}/round shares"] == (4, 4, 8, 8)  # batch, heads, places, places
