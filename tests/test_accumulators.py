"""Products with a stated accumulator, forward and both backward: against `rf.matmul` and exact sums."""

import math

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.data import Task
from refimpl.nn import SUM_ROLES, Accumulator, Precision, attention, layers
from refimpl.nn.layer import Pass
from refimpl.nn.rounder import Rounder

RNG = np.random.default_rng(0)
DIGITS = rf.data.load("digits")
FEW = Task(
    "few",
    DIGITS.train_images[:96],
    DIGITS.train_labels[:96],
    DIGITS.test_images[:32],
    DIGITS.test_labels[:32],
    classes=10,
    images_from="digits",
)
QUIRE = Accumulator(format="posit8_2", order="exact")
HOWS = [
    QUIRE,
    Accumulator(format="posit8_2"),
    Accumulator(format="posit16_1", order="exact"),
    Accumulator(format="float16"),
    Accumulator(format="bfloat16", order="pairwise"),
    Accumulator(format="float8_e4m3fn", order="kahan"),
]


def posits(*shape):
    return rf.quantize(RNG.standard_normal(shape).astype(np.float32), "posit8_2")


def through(layer, x, dy, how, roles=SUM_ROLES):
    """Return what a layer makes of x, and the gradients it makes of dy: of x and of its parameters."""
    policy = Precision(roles=dict.fromkeys(roles, how))
    x = Tensor(x, requires_grad=True)
    for tensor in layer.parameters.values():
        tensor.grad = None
    y = layer(x, Pass(Rounder(policy, 0), training=True))
    (y * Tensor(dy)).sum().backward()
    return y.data, x.grad, [t.grad for t in layer.parameters.values()]


def linear(features, outputs):
    layer = layers.Linear(features, outputs)
    layer.initialize(np.random.default_rng(1))
    for tensor in layer.parameters.values():
        tensor.data = rf.quantize(tensor.data, "posit8_2")
    return layer


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_the_three_products_of_a_linear_layer_are_those_of_matmul_with_the_bias_last(how):
    layer, x, dy = linear(20, 7), posits(9, 20), posits(9, 7)
    weight, bias = (layer.parameters[name].data for name in ("weight", "bias"))

    def matmul(a, b):
        return rf.matmul(a, b, "posit8_2", accumulate=how.format, order=how.order)

    y, dx, (dw, db) = through(layer, x, dy, how)
    assert np.array_equal(y, matmul(np.hstack([x, np.ones((9, 1), np.float32)]), np.vstack([weight, bias])))
    assert np.array_equal(dx, matmul(dy, weight.T))
    assert np.array_equal(dw, matmul(x.T, dy))
    assert np.array_equal(db, rf.sum(dy, "posit8_2", axis=0, accumulate=how.format, order=how.order))


@pytest.mark.parametrize("fmt", ["posit8_2", "float8_e5m2", "float8_e4m3fn"])
def test_products_may_be_rounded_before_they_are_added(fmt, monkeypatch):
    monkeypatch.setattr(rf.nn.products, "PRODUCTS_AT_ONCE", 300)  # two rows at a time
    layer, x, dy = linear(20, 7), posits(9, 20), posits(9, 7)
    weight, bias = (layer.parameters[name].data for name in ("weight", "bias"))

    def products(a, b):
        total = np.zeros((len(a), b.shape[1]), np.float32)
        for k in range(a.shape[1]):
            total = rf.add(total, rf.quantize(np.float64(a[:, k, None]) * b[k], fmt).astype(np.float32), fmt)
        return total

    how = Accumulator(format=fmt, products="rounded")
    y, dx, (dw, db) = through(layer, x, dy, how)
    assert np.array_equal(y, products(np.hstack([x, np.ones((9, 1), np.float32)]), np.vstack([weight, bias])))
    assert np.array_equal(dx, products(dy, weight.T))
    assert np.array_equal(np.vstack([dw, db]), products(np.hstack([x, np.ones((9, 1), np.float32)]).T, dy))
    assert not np.array_equal(y, through(layer, x, dy, Accumulator(format=fmt))[0])


def test_a_policy_that_existed_before_products_could_be_rounded_draws_the_same_noise():
    assert repr(Accumulator(format="float16")).endswith("order='sequential')")
    assert "products='rounded'" in repr(Accumulator(format="float16", products="rounded"))


def test_a_sequence_of_vectors_is_summed_over_all_of_its_places():
    layer, x, dy = linear(5, 3), posits(2, 4, 5), posits(2, 4, 3)
    flat = through(layer, x.reshape(8, 5), dy.reshape(8, 3), QUIRE)
    found = through(layer, x, dy, QUIRE)
    assert all(np.array_equal(a.reshape(b.shape), b) for a, b in zip(found[:2], flat[:2], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(found[2], flat[2], strict=True))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (3, 2, 0), (2, 3, 2), (3, 1, 4)])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_in_the_quire_is_the_exact_convolution_rounded_once(shape, groups):
    """float64 holds these sums of products of posits without error; float32 would not."""
    size, stride, padding = shape
    layer = layers.Convolution(4, 6, size=size, stride=stride, padding=padding, groups=groups)
    layer.initialize(np.random.default_rng(1))
    weight = layer.parameters["weight"]
    weight.data = rf.quantize(weight.data, "posit8_2")
    x = posits(2, 7, 6, 4)
    dy = posits(2, *layer.output_shape((7, 6, 4)))
    y, dx, (dw,) = through(layer, x, dy, QUIRE)
    wide = Tensor(x.astype(np.float64), requires_grad=True)
    filters = Tensor(weight.data.astype(np.float64), requires_grad=True)
    exact = p.convolve(wide, filters, stride=stride, padding=padding, groups=groups)
    (exact * Tensor(dy.astype(np.float64))).sum().backward()
    for found, expected in ((y, exact.data), (dx, wide.grad), (dw, filters.grad)):
        assert np.array_equal(found, rf.quantize(expected, "posit8_2").astype(np.float32))


def test_a_pixel_s_gradient_is_one_sum_in_the_order_of_the_outputs_it_went_into():
    layer = layers.Convolution(1, 2, size=3, stride=1, padding=1)
    layer.initialize(np.random.default_rng(1))
    weight = layer.parameters["weight"].data = rf.quantize(layer.parameters["weight"].data, "posit8_2")
    dy = posits(1, 4, 4, 2)
    _, dx, _ = through(layer, posits(1, 4, 4, 1), dy, Accumulator(format="posit8_2"))
    total = np.float32(0)
    for i, j in [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]:
        for f in range(2):
            total = rf.fma(dy[0, i, j, f], weight[1 - i + 1, 2 - j + 1, 0, f], total, "posit8_2")
    assert dx[0, 1, 2, 0] == total


def test_the_products_of_attention_are_matrix_after_matrix():
    a, b = posits(2, 3, 5, 4), posits(2, 3, 4, 6)
    sums = [lambda x, y: rf.nn.products.sums_of_products(x, y, QUIRE)] * 3
    found = p.matmul(Tensor(a), Tensor(b), sums=sums).data
    for i in range(2):
        for j in range(3):
            assert np.array_equal(found[i, j], rf.matmul(a[i, j], b[i, j], "posit8_2", order="exact"))


@pytest.mark.parametrize("role", SUM_ROLES)
def test_each_of_the_three_products_has_an_accumulator_of_its_own_and_the_others_stay_as_they_are(role):
    layer, x, dy = linear(20, 7), posits(9, 20), posits(9, 7)
    plain, stated, alone = (through(layer, x, dy, QUIRE, roles) for roles in ((), SUM_ROLES, (role,)))
    for i, name in enumerate(SUM_ROLES):
        found, expected = alone[i], (stated if name == role else plain)[i]
        found, expected = (np.concatenate([np.ravel(a) for a in v]) for v in (found, expected))
        assert np.array_equal(found, expected) and not np.array_equal(plain[i][0], stated[i][0])


@pytest.mark.parametrize("network", [rf.nn.mlp, rf.nn.cnn, lambda: rf.nn.lenet(size=8)])
def test_stated_float32_sums_are_the_bits_of_training_without_a_statement(network):
    """Kernels add in the same order: layer after layer, forward and backward, agrees with exact arithmetic."""
    models = [network(), network()]
    for model, roles in zip(models, ({}, dict.fromkeys(SUM_ROLES, Accumulator(format="float32"))), strict=True):
        rf.nn.fit(model, FEW, epochs=1, batch_size=16, precision=Precision(roles=roles, loss_scale=1.0))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(*(m.tensors() for m in models), strict=True))


def test_without_a_quire_a_sum_of_ones_stops_where_the_format_is_too_coarse_and_with_it_goes_on():
    """posit8_2 has 1.5, 2, 3, 4, 5, 6, 7, 8, 10 and on: 8 + 1 is a tie that goes to 8."""
    layer = linear(64, 1)
    layer.parameters["weight"].data = np.ones((64, 1), np.float32)
    layer.parameters["bias"].data = np.zeros(1, np.float32)
    x = np.ones((1, 64), np.float32)
    sums = [
        through(layer, x, x[:, :1], Accumulator(format="posit8_2", order=o))[0].item() for o in ("sequential", "exact")
    ]
    codes = rf.values("posit8_2")
    assert sums[1] == 64 and sums[0] in codes and math.isclose(sums[0], 16)


def test_the_quire_does_not_mind_the_order_of_terms_and_an_accumulator_without_one_does():
    layer, x, dy = linear(40, 3), posits(6, 40), posits(6, 3)
    order = RNG.permutation(40)
    for how, same in ((QUIRE, True), (Accumulator(format="posit8_2"), False)):
        usual = through(layer, x, dy, how)[0]
        weight = layer.parameters["weight"].data
        layer.parameters["weight"].data = np.ascontiguousarray(weight[order])
        turned = through(layer, x[:, order], dy, how)[0]
        layer.parameters["weight"].data = weight
        assert np.array_equal(usual, turned) == same


def test_nar_and_infinities_of_sums_reach_the_loss():
    layer = linear(4, 2)
    x = np.float32([[1, np.nan, 0, 0], [1e30, 1e30, 1e30, 1e30]])
    y = through(layer, x, posits(2, 2), QUIRE)[0]
    assert np.isnan(y[0]).all() and np.abs(y[1]).max() == 2.0**24
    layer.parameters["weight"].data = np.full((4, 2), 60000, np.float32)
    with np.errstate(invalid="ignore"):
        y = through(layer, np.ones((1, 4), np.float32), posits(1, 2), Accumulator(format="float16"))[0]
    assert np.isinf(y).all()


def test_a_layer_and_a_product_within_attention_may_sum_otherwise():
    policy = Precision(roles={"product": QUIRE}, layers={"*scores": {"product": None}, "2 *": {"product": HOWS[3]}})
    found = [policy.accumulator_of("product", layer) for layer in ("1 Linear", "5 Attention/scores", "2 Linear")]
    assert found == [QUIRE, None, HOWS[3]]
    model = rf.nn.transformer(blocks=1)
    rf.nn.fit(model, FEW, epochs=1, batch_size=96, precision=policy)
    assert isinstance(model.layers[3], attention.Layer)


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("Accumulator: format is 'e4m3'", lambda: Accumulator(format="e4m3")),  # has no NaN
        ("Accumulator: format is 'float64'", lambda: Accumulator(format="float64")),
        ("Accumulator: format is 'int8'", lambda: Accumulator(format="int8")),
        ("Accumulator: format is 'posit32_2'", lambda: Accumulator(format="posit32_2")),
        ("Accumulator: unknown products 'none'", lambda: Accumulator(format="float16", products="none")),
        ("Accumulator: unknown order 'forward'", lambda: Accumulator(format="float16", order="forward")),
        (
            "Precision: product in roles is 'float16'; allowed is an Acc",
            lambda: Precision(roles={"product": "float16"}),
        ),
        ("Precision: weight in roles is Accumulator", lambda: Precision(roles={"weight": QUIRE})),
        (
            "fit: exact_sums is True",
            lambda: rf.nn.fit(rf.nn.mlp(), FEW, exact_sums=True, precision=Precision(layers={"*": {"product": QUIRE}})),
        ),
        (
            "no bound for Accumulator(format=",
            lambda: rf.numerics.certify(
                rf.nn.fit(rf.nn.mlp(), FEW, epochs=1).model, FEW.test_images, Precision(roles={"product": QUIRE})
            ),
        ),
    ],
)
def test_accumulators_that_make_no_sense_are_refused(words, make):
    with pytest.raises((ValueError, TypeError)) as refusal:
        make()
    assert words in str(refusal.value)
