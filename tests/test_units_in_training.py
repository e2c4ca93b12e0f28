"""Training on a matrix unit: each of the three products of a layer is the unit's, scales taken off and put back."""

from dataclasses import replace

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.nn import SUM_ROLES, Accumulator, Precision, Rounding, attention, layers
from refimpl.nn.layer import Pass
from refimpl.nn.rounder import Rounder
from refimpl.numerics.tolerance import predict

E4M3 = Rounding(format="float8_e4m3fn", scaling="current")
E5M2 = Rounding(format="float8_e5m2", scaling="current")
ROLES = {"left operand": E4M3, "right operand": E4M3, "product gradient": E5M2}


def policy(unit, **more):
    return Precision(roles=ROLES, products=unit, loss_scale=1.0, **more)


def scaled(x, fmt):
    """Round under a power of two that brings the largest to the top binade, by hand: values of the format, exponent."""
    fmt = rf.format(fmt)
    exponent = int(np.floor(np.log2(np.abs(x).max()))) - (fmt.maxexp - 1)
    return rf.quantize(np.ldexp(x, -exponent), fmt, overflow="saturate"), exponent


def test_the_three_products_of_a_linear_layer_are_those_of_the_unit():
    rng = np.random.default_rng(0)
    layer = layers.Linear(70, 5)
    layer.initialize(rng)
    x = (rng.standard_normal((9, 70)) * 2.0**-12).astype(np.float32)
    dy = (rng.standard_normal((9, 5)) * 2.0**5).astype(np.float32)
    for tensor in (x, dy, layer.parameters["weight"].data):  # a power of two is the largest: nothing saturates
        tensor[0, 0] = 2.0 ** np.ceil(np.log2(np.abs(tensor).max()))
    given = Tensor(x, requires_grad=True)
    y = layer(given, Pass(Rounder(policy("hopper-fp8"), 0), training=True))
    (y * Tensor(dy)).sum().backward()
    weight, bias = (layer.parameters[name] for name in ("weight", "bias"))
    (a, i), (b, j), (g, k) = scaled(x, E4M3.format), scaled(weight.data, E4M3.format), scaled(dy, E5M2.format)

    def product(left, right, formats, exponent):
        return np.ldexp(rf.matmul(left, right, formats, unit="hopper-fp8"), exponent)

    e4, e5 = E4M3.format, E5M2.format
    assert np.array_equal(y.data, product(a, b, (e4, e4), i + j) + bias.data)
    assert np.array_equal(given.grad, product(g, b.T, (e5, e4), k + j))
    assert np.array_equal(weight.grad, product(a.T, g, (e4, e5), i + k))


def test_attention_s_stacks_of_products_are_those_of_the_unit_one_by_one():
    rng = np.random.default_rng(1)
    a = rf.quantize(rng.standard_normal((3, 4, 8)), "float8_e5m2").astype(np.float32)
    b = rf.quantize(rng.standard_normal((3, 8, 4)), "float8_e5m2").astype(np.float32)
    pair = (rf.format("float8_e5m2"),) * 2
    found = rf.nn.products._on_unit(a, b, Accumulator(unit="ada-fp8"), pair)
    for i in range(3):
        assert np.array_equal(found[i], rf.matmul(a[i], b[i], pair, unit="ada-fp8"))


@pytest.mark.parametrize("make", [rf.nn.mlp, rf.nn.cnn])
def test_a_unit_that_loses_nothing_trains_as_float32_s_sums_do_and_a_narrow_one_otherwise(make):
    """Sums of a wide unit differ from float32's in the last bits alone, where these are not exact."""
    task = rf.data.load("digits")
    errors = {}
    for unit in (None, "blackwell-fp8", "hopper-fp8"):
        found = rf.nn.fit(make(), task, precision=policy(unit), epochs=1, seed=0)
        errors[unit] = found.history[-1]["loss"]
    assert abs(errors["blackwell-fp8"] - errors[None]) < 1e-3
    assert errors["hopper-fp8"] != errors["blackwell-fp8"]


def test_what_is_predicted_is_the_unit_s_too():
    task = rf.data.load("digits")
    model = rf.nn.fit(rf.nn.mlp(), task, epochs=1, seed=0).model
    narrow, wide = (predict(model, task.test_images[:8], policy(u)) for u in ("hopper-fp8", None))
    assert narrow.shape == wide.shape and not np.array_equal(narrow, wide)
    assert np.abs(narrow - wide).max() < 0.05


def test_products_of_a_policy_are_short_for_its_three_roles_of_sums():
    narrow, wide = Accumulator(unit="hopper-fp8"), Accumulator(unit="blackwell-fp8")
    by_roles = Precision(roles=ROLES | dict.fromkeys(SUM_ROLES, narrow), loss_scale=1.0)
    assert policy("hopper-fp8") == by_roles and policy("hopper-fp8").seed(3) == by_roles.seed(3)
    mixed = Precision(roles={"left gradient": wide}, products="hopper-fp8", layers={"2*": {"product": wide}})
    found = [mixed.accumulator_of(role, layer) for role in SUM_ROLES for layer in ("2 Linear", "4 Linear")]
    assert found == [wide, narrow, wide, wide, narrow, narrow]
    assert replace(mixed, loss_scale=1.0).accumulator_of("product") == narrow


def test_formats_are_chosen_among_those_that_the_unit_multiplies_and_trained_and_predicted_on_it():
    """int8 is what would be chosen without; on the unit E4M3 and E5M2 are left, and whole tensors.

    What has scales cannot be certified, on a unit or not; what has none is, on the unit.
    """
    task = rf.data.load("digits")
    candidates = rf.numerics.candidates(["int8", "e4m3", "e5m2"], scalings=("tensor", "row"))
    evidence = rf.numerics.measure(rf.nn.mlp(), task, candidates, steps=1)
    assert rf.numerics.choose(evidence, tolerance=0.1).counts().keys() >= {"int8"}
    chosen = rf.numerics.choose(evidence, tolerance=0.1, products="hopper-fp8")
    assert set(chosen.counts()) <= {"float8_e4m3fn", "float8_e5m2"} and sum(chosen.counts().values()) == 9
    how = chosen.precision()
    assert {how.accumulator_of(role).unit for role in SUM_ROLES} == {"hopper-fp8"}
    trained = rf.nn.fit(rf.nn.mlp(), task, precision=how, epochs=1, seed=0)
    plain = rf.nn.fit(rf.nn.mlp(), task, precision=replace(how, roles={}), epochs=1, seed=0)
    assert 0 < abs(trained.history[-1]["loss"] - plain.history[-1]["loss"]) < 0.01
    images = task.test_images[:16]
    on_another = Precision(layers=how.layers, products="blackwell-fp8", loss_scale=1.0)
    assert not np.array_equal(predict(trained.model, images, how), predict(trained.model, images, on_another))
    with pytest.raises(ValueError, match="there is no bound for left operand .* formats without scales"):
        rf.numerics.certify(trained.model, images, how)
    unscaled = Precision(roles=dict.fromkeys(ROLES, "float16"), products="hopper-f16", loss_scale=1.0)
    certificate = rf.numerics.certify(trained.model, images, unscaled)
    assert (certificate.delta <= certificate.bound).all() and certificate.delta.max() > 0


@pytest.mark.parametrize(
    ("products", "message"),
    [
        ("hoper-fp8", "unknown unit 'hoper-fp8'; did you mean 'hopper-fp8'"),
        ("hopper-f64", "allowed is a unit that accumulates in float32"),
        ("blackwell-nvfp4", "allowed is a unit for one of int8, .*; 'blackwell-nvfp4' multiplies nvfp4"),
        ("hopper-bf16", "allowed is a unit for one of int8, .*; 'hopper-bf16' multiplies bfloat16"),
    ],
)
def test_units_that_multiply_none_of_the_candidates_are_refused(products, message):
    evidence = rf.numerics.measure(rf.nn.mlp(), rf.data.load("digits"), rf.numerics.candidates(), steps=1)
    with pytest.raises(ValueError, match=message):
        rf.numerics.choose(evidence, tolerance=0.1, products=products)
    if "multiplies" not in message:
        with pytest.raises(ValueError, match=message):
            Precision(products=products)


def test_operands_that_the_unit_does_not_multiply_are_refused_before_anything_is_trained():
    task = rf.data.load("digits")
    for roles, message in (
        ({}, "left operand is float32 in 2 Linear; allowed is what 'hopper-fp8' multiplies"),
        (ROLES | {"right operand": "float16"}, "right operand is float16, .* allowed is what 'hopper-fp8' multiplies"),
        (ROLES | {"left operand": Rounding(format="float8_e5m2", per="row")}, "per row"),
    ):
        wrong = Precision(roles=roles | dict.fromkeys(SUM_ROLES, Accumulator(unit="hopper-fp8")), loss_scale=1.0)
        with pytest.raises(ValueError, match=message):
            rf.nn.fit(rf.nn.mlp(), task, precision=wrong, epochs=1, seed=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"unit": "hoper"}, "unknown unit 'hoper'"),
        ({"unit": "hopper-fp8", "order": "pairwise"}, "order is 'pairwise'; allowed is left out"),
        ({"unit": "blackwell-mxfp8", "format": "float16"}, "format is 'float16'; allowed is float32 on this unit"),
        ({"unit": "hopper-bf16", "format": "float16"}, "format is 'float16'; allowed is float32 on this unit"),
    ],
)
def test_accumulators_that_no_unit_has_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Accumulator(**fields)


def test_attention_trains_on_a_unit():
    rng = np.random.default_rng(2)
    layer = attention.Attention(8, heads=2)
    layer.initialize(rng)
    x = Tensor(rng.standard_normal((2, 5, 8)).astype(np.float32), requires_grad=True)
    layer(x, Pass(Rounder(policy("hopper-fp8"), 0), training=True)).sum().backward()
    assert np.isfinite(x.grad).all() and np.abs(x.grad).max() > 0
