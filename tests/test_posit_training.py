"""Training in posits: what each role is rounded to, underflow, NaR, and that a network learns."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.nn import Precision, Rounding, fit
from refimpl.nn.precision import PRODUCT_ROLES, ROLES
from refimpl.nn.rounder import Rounder
from refimpl.spec import posits
from refimpl.spec.float_codes import from_float, to_float

DIGITS = rf.data.load("digits")
F32 = np.float32
POSIT = Precision(low="posit8_2", high="posit16_2", rounding="ties_to_even", loss_scale=1.0)


def rounded(x, **rounding):
    return Rounder(Precision(roles={"weight": Rounding(**rounding)}), seed=0)(F32(x), "weight")


@pytest.mark.parametrize("fmt", ["posit8_0", "posit8_1", "posit8_2", "posit16_1", "posit16_2"])
@pytest.mark.parametrize("count", [7, 100_000])
def test_a_tensor_is_rounded_as_the_posit_standard_says(fmt, count):
    """The definition, value for value; many values take another way through the code than few."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(count) * 2.0 ** rng.integers(-70, 70, count)).astype(F32)
    x[:3] = 0, np.inf, np.nan
    found, of = rounded(x, format=fmt), rf.format(fmt)
    for i in range(min(count, 500)):
        expected = to_float(posits.decode(posits.encode(from_float(x[i].item()), of), of))
        assert found[i] == expected or np.isnan(found[i]) and np.isnan(expected)


def test_below_the_smallest_posit_all_but_zero_is_the_smallest_unless_underflow_to_zero_is_asked_for():
    """posit8_2's smallest is 2^-24; a float would round its half to even, to zero."""
    x = [2.0**-24, 2.0**-25, 1.0001 * 2.0**-25, 2.0**-60, -(2.0**-60), 0.0, 3e38]
    smallest = 2.0**-24
    assert rounded(x, format="posit8_2").tolist() == [*[smallest] * 4, -smallest, 0.0, 2.0**24]
    assert rounded(x, format="posit8_2", underflow="minpos").tolist() == [*[smallest] * 4, -smallest, 0.0, 2.0**24]
    zero = rounded(x, format="posit8_2", underflow="zero").tolist()
    assert zero == [smallest, 0.0, smallest, 0.0, 0.0, 0.0, 2.0**24]


def test_a_rounding_tells_of_its_underflow_where_it_has_one():
    usual = "posit8_2, ties_to_even, saturate"
    assert str(Rounding(format="posit8_2")) == usual
    assert str(Rounding(format="posit8_2", underflow="zero")) == f"{usual}, underflow to zero"


def test_forward_backward_and_optimizer_round_to_posits_of_their_own():
    formats = dict(zip([*ROLES, *PRODUCT_ROLES], [f"posit{8 + i}_{i % 3}" for i in range(12)], strict=True))
    plan = rf.nn.rounding_plan(
        rf.nn.mlp(), DIGITS, Precision(roles=formats, rounding="ties_to_even", loss_scale=1.0), batch_size=8
    )
    assert {row["role"]: row["format"] for row in plan} == formats


@pytest.mark.parametrize("role", ROLES)
def test_a_role_in_posits_holds_posits_and_the_others_do_not(role):
    """A network's tensors after a step, against `quantize`."""
    model = rf.nn.mlp(widths=(8,))
    result = fit(
        model, DIGITS, epochs=1, precision=Precision(roles={role: Rounding(format="posit8_2")}, loss_scale=1.0)
    )
    held = all(np.array_equal(t.data, rf.quantize(t.data, "posit8_2")) for t in model.tensors())
    assert held == (role in ("weight", "master weight")) and not result.diverged
    assert set(result.history[0]["counts"]) == {role}


def test_posit8_with_a_posit16_optimizer_learns_the_digits_and_posit8_alone_does_not():
    """PositNN (arXiv 2105.00053): eight bits are enough where optimizer and loss have more."""
    assert fit(rf.nn.mlp(), DIGITS, precision=POSIT, epochs=4).test_error < 0.1
    alone = Precision(low="posit8_2", high="posit8_2", rounding="ties_to_even", loss_scale=1.0)
    assert fit(rf.nn.mlp(), DIGITS, precision=alone, epochs=4).test_error > 0.4


def test_layer_by_layer_and_the_usual_way_give_the_same_bits():
    models = [rf.nn.cnn(), rf.nn.cnn()]
    for model, slow in zip(models, (True, False), strict=True):
        fit(model, DIGITS, precision=POSIT, epochs=1, layer_by_layer=slow)
    assert all(np.array_equal(a.data, b.data) for a, b in zip(*(m.tensors() for m in models), strict=True))


def test_nar_is_divergence():
    result = fit(
        rf.nn.mlp(),
        DIGITS,
        precision=Precision(roles={"weight": Rounding(format="posit8_2")}),
        epochs=2,
        learning_rate=1e25,
    )
    assert result.diverged and result.test_error == 0.9


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("rounding of posit8_2 is 'stochastic'; allowed is ties_to_even", {"rounding": "stochastic"}),
        ("scaling of posit8_2 is 'current'; allowed is none", {"scaling": "current"}),
        ("scaling of posit8_2 is 'current'", {"per": "row"}),
        ("unknown underflow 'minpoz'; did you mean 'minpos'", {"underflow": "minpoz"}),
        ("underflow is 'zero'; allowed is None", {"format": "float16", "underflow": "zero"}),
        ("format is 'posit32_2'; allowed is", {"format": "posit32_2"}),  # 27 fraction bits
        ("format is 'posit16_4'; allowed is", {"format": "posit16_4"}),  # up to 2^224
    ],
)
def test_roundings_of_posits_that_make_no_sense_are_refused(words, settings):
    with pytest.raises(ValueError, match=r"Rounding: .*") as refusal:
        Rounding(**{"format": "posit8_2", **settings})
    assert words in str(refusal.value)


def test_policies_that_differ_in_underflow_alone_do_not_share_a_checkpoint(tmp_path):
    file = tmp_path / "run.npz"
    for underflow in ("minpos", "zero"):
        policy = Precision(roles={"weight": Rounding(format="posit8_2", underflow=underflow)})
        if underflow == "zero":
            with pytest.raises(ValueError, match="another precision"):
                fit(rf.nn.mlp(), DIGITS, precision=policy, epochs=1, checkpoint=file)
        else:
            fit(rf.nn.mlp(), DIGITS, precision=policy, epochs=1, checkpoint=file)
