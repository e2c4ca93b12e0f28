"""Layers, the loss and optimizers with every operation rounded: against the operations of `rf`, one by one."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.data import Task
from refimpl.nn import Accumulator, Precision, every_operation, presets
from refimpl.nn.layer import Pass
from refimpl.nn.layers import BatchNorm
from refimpl.nn.optimizer import SGD, Adam, AdamW
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
FORMATS = ["float16", "bfloat16", "float8_e4m3fn", "posit16_2", "posit8_0"]


def values(fmt, *shape):
    return rf.quantize(RNG.standard_normal(shape).astype(np.float32), fmt)


def column_sums(x, fmt):
    """Row after row, by `rf.add`."""
    total = np.zeros(x.shape[1], np.float32)
    for row in x:
        total = rf.add(total, row, fmt)
    return total


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_calculator_s_operations_are_those_of_the_format(fmt):
    codes = RNG.integers(0, 1 << rf.format(fmt).bits, (2, 5000))
    a, b = (rf.decode(c, fmt, dtype=np.float32) for c in codes)
    q = every_operation.Calculator(Accumulator(format=fmt))
    with np.errstate(all="ignore"):
        pairs = [
            (q.add(a, b), rf.add(a, b, fmt)),
            (q.subtract(a, b), rf.sub(a, b, fmt)),
            (q.multiply(a, b), rf.mul(a, b, fmt)),
            (q.divide(a, b), rf.div(a, b, fmt)),
            (q.apply(np.sqrt, a), rf.sqrt(a, fmt)),
        ]
    for found, expected in pairs:
        assert np.array_equal(found, expected, equal_nan=True)
    x = values(fmt, 9, 4)
    assert np.array_equal(q.sum(x), column_sums(x, fmt))


@pytest.mark.parametrize("fmt", FORMATS)
def test_batch_norm_is_its_formula_with_every_operation_rounded(fmt):
    x, scale, shift, dy = values(fmt, 12, 3), values(fmt, 3), values(fmt, 3), values(fmt, 12, 3)
    n, epsilon = np.float32(12), rf.quantize(np.float32(0.01), fmt)
    mean = rf.div(column_sums(x, fmt), n, fmt)
    centred = rf.sub(x, mean, fmt)
    variance = rf.div(column_sums(rf.mul(centred, centred, fmt), fmt), n, fmt)
    inverse = rf.div(np.float32(1), rf.sqrt(rf.add(variance, epsilon, fmt), fmt), fmt)
    hat = rf.mul(centred, inverse, fmt)
    y = rf.add(rf.mul(hat, scale, fmt), shift, fmt)
    dscale, dshift = column_sums(rf.mul(dy, hat, fmt), fmt), column_sums(dy, fmt)
    inner = rf.sub(rf.sub(dy, rf.div(dshift, n, fmt), fmt), rf.mul(hat, rf.div(dscale, n, fmt), fmt), fmt)
    dx = rf.mul(rf.mul(scale, inverse, fmt), inner, fmt)

    layer, role = BatchNorm(3, epsilon=0.01), {"batch norm": Accumulator(format=fmt)}
    layer.initialize(np.random.default_rng(0))
    for name, of in (("scale", scale), ("shift", shift)):
        layer.parameters[name].data = of
    tensor = Tensor(x, requires_grad=True)
    out = layer(tensor, Pass(Rounder(Precision(roles=role), 0), training=True))
    (out * Tensor(dy)).sum().backward()
    found = out.data, tensor.grad, *(layer.parameters[name].grad for name in ("scale", "shift"))
    assert all(np.array_equal(*pair) for pair in zip(found, (y, dx, dscale, dshift), strict=True))
    kept = layer.state()
    assert all(np.array_equal(v, rf.quantize(v, fmt)) for v in kept.values())
    assert np.allclose(kept["mean"], 0.1 * mean, rtol=0.1, atol=0.02)


def test_the_loss_is_its_formula_with_every_operation_rounded():
    fmt, labels = "bfloat16", np.array([2, 0, 1, 2, 2])
    logits = values(fmt, 5, 3)
    above = rf.sub(logits, logits.max(axis=1, keepdims=True), fmt)
    e = rf.quantize(np.exp(above.astype(np.float64)), fmt).astype(np.float32)
    totals = column_sums(e.T, fmt)
    log = rf.quantize(np.log(totals.astype(np.float64)), fmt).astype(np.float32)
    losses = rf.sub(log, above[np.arange(5), labels], fmt)
    loss = rf.div(column_sums(losses[:, None], fmt), np.float32(5), fmt)
    shares = rf.div(e, totals[:, None], fmt)
    shares[np.arange(5), labels] = rf.sub(shares[np.arange(5), labels], np.float32(1), fmt)
    tensor = Tensor(logits, requires_grad=True)
    found = every_operation.cross_entropy(tensor, labels=labels, how=Accumulator(format=fmt))
    assert found.data == loss[0]
    (found * 8.0).backward()
    assert np.array_equal(tensor.grad, rf.mul(shares, rf.div(np.float32(8), np.float32(5), fmt), fmt))


def total(x, fmt):
    """Return the sums of vectors along the last axis, kept, by `rf.add`."""
    return column_sums(x.reshape(-1, x.shape[-1]).T, fmt).reshape(*x.shape[:-1], 1)


def rounded(function, x, fmt):
    """Return a function of float64, rounded once."""
    return rf.quantize(function(np.float64(x)), fmt).astype(np.float32)


def through(primitive, *arrays, dy, **options):
    """Return what a primitive makes of arrays, and the gradients of dy."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = primitive(*tensors, **options)
    (y * Tensor(dy)).sum().backward()
    return [y.data, *(t.grad for t in tensors)]


def same(found, expected):
    return all(np.array_equal(*pair, equal_nan=True) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("fmt", FORMATS)
def test_layer_norm_is_its_formula_with_every_operation_rounded(fmt):
    x, scale, shift, dy = (values(fmt, *shape) for shape in ((2, 3, 5), (5,), (5,), (2, 3, 5)))
    n, one, epsilon = np.float32(5), np.float32(1), rf.quantize(np.float32(0.01), fmt)
    centred = rf.sub(x, rf.div(total(x, fmt), n, fmt), fmt)
    variance = rf.div(total(rf.mul(centred, centred, fmt), fmt), n, fmt)
    inverse = rf.div(one, rf.sqrt(rf.add(variance, epsilon, fmt), fmt), fmt)
    hat = rf.mul(centred, inverse, fmt)
    y = rf.add(rf.mul(hat, scale, fmt), shift, fmt)
    dhat = rf.mul(dy, scale, fmt)
    dx = rf.sub(dhat, rf.div(total(dhat, fmt), n, fmt), fmt)
    dx = rf.sub(dx, rf.mul(hat, rf.div(total(rf.mul(dhat, hat, fmt), fmt), n, fmt), fmt), fmt)
    dscale = column_sums(rf.mul(dy, hat, fmt).reshape(6, 5), fmt)
    found = through(every_operation.layer_norm, x, scale, shift, dy=dy, epsilon=0.01, how=Accumulator(format=fmt))
    assert same(found, (y, rf.mul(dx, inverse, fmt), dscale, column_sums(dy.reshape(6, 5), fmt)))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("fmt", FORMATS)
def test_softmax_and_the_factor_before_it_are_their_formulas_with_every_operation_rounded(fmt, causal):
    x, dy = values(fmt, 2, 4, 4), values(fmt, 2, 4, 4)
    factor = rf.quantize(np.float32(1 / math.sqrt(3)), fmt)
    scaled, y, dx = rf.mul(x, factor, fmt), np.zeros_like(x), np.zeros_like(x)
    for i in range(4):  # row after row, those of a causal one alone
        seen = slice(0, i + 1 if causal else 4)
        row, back = scaled[:, i, seen], dy[:, i, seen]
        e = rounded(np.exp, rf.sub(row, row.max(axis=-1, keepdims=True), fmt), fmt)
        y[:, i, seen] = shares = rf.div(e, total(e, fmt), fmt)
        inner = total(rf.mul(back, shares, fmt), fmt)
        dx[:, i, seen] = rf.mul(rf.mul(shares, rf.sub(back, inner, fmt), fmt), factor, fmt)
    how = {"scale": 1 / math.sqrt(3), "causal": causal, "how": Accumulator(format=fmt)}
    assert same(through(every_operation.softmax, x, dy=dy, **how), (y, dx))


@pytest.mark.parametrize("fmt", FORMATS)
def test_gelu_is_its_formula_with_every_operation_rounded(fmt):
    x, dy = values(fmt, 40), values(fmt, 40)
    c, d, half, one, three = rf.quantize(np.float32([math.sqrt(2 / math.pi), 0.044715, 0.5, 1, 3]), fmt)
    cube = rf.mul(rf.mul(rf.mul(d, x, fmt), x, fmt), x, fmt)
    t = rounded(np.tanh, rf.mul(c, rf.add(x, cube, fmt), fmt), fmt)
    y = rf.mul(rf.mul(half, x, fmt), rf.add(one, t, fmt), fmt)
    slope = rf.mul(c, rf.add(one, rf.mul(rf.mul(rf.mul(three, d, fmt), x, fmt), x, fmt), fmt), fmt)
    bend = rf.mul(rf.mul(x, rf.sub(one, rf.mul(t, t, fmt), fmt), fmt), slope, fmt)
    dx = rf.mul(rf.mul(dy, half, fmt), rf.add(rf.add(one, t, fmt), bend, fmt), fmt)
    assert same(through(every_operation.gelu, x, dy=dy, how=Accumulator(format=fmt)), (y, dx))


@pytest.mark.parametrize("shape", [(3, 7, 4), (3, 2, 5, 4)])
@pytest.mark.parametrize("fmt", FORMATS)
def test_a_mean_of_places_or_pixels_is_a_sum_rounded_after_every_addition_and_a_division(fmt, shape):
    x, dy = values(fmt, *shape), values(fmt, 3, 4)
    places = x.reshape(3, -1, 4)
    count = rf.quantize(np.float32(places.shape[1]), fmt)
    y = rf.div(np.stack([column_sums(image, fmt) for image in places]), count, fmt)
    dx = np.broadcast_to(rf.div(dy, count, fmt)[:, None], places.shape).reshape(shape)
    assert same(through(every_operation.mean, x, dy=dy, how=Accumulator(format=fmt)), (y, dx))


def steps_of(rule, policy, steps=3):
    """Return weights and state after some steps of an optimizer on two layers."""
    model, rng = rf.nn.mlp(features=6, classes=4, widths=(5,)), np.random.default_rng(3)
    model.initialize(rng)
    state = rule.start(model.named_tensors(), Rounder(policy, 0))
    for _ in range(steps):
        with np.errstate(all="ignore"):  # float16 has no epsilon of 1e-8
            state.step(0.013, rng.standard_normal(state.weights.size).astype(np.float32), 1.0)
    return [a.copy() for a in state.arrays().values()]


RULES = [SGD(), SGD(momentum=0.9, nesterov=True), Adam(), Adam(weight_decay=0.01), AdamW(), SGD(update="kahan")]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_an_optimizer_s_update_with_every_operation_in_float32_is_the_plain_one_to_the_bit(rule):
    stated = Precision(roles={"optimizer": Accumulator(format="float32")}, loss_scale=1.0)
    half = Precision(roles={"optimizer": Accumulator(format="float16")}, loss_scale=1.0)
    plain, exact, low = (steps_of(rule, policy) for policy in (Precision(loss_scale=1.0), stated, half))
    assert same(plain, exact) and not same(plain, low)


@pytest.mark.parametrize("fmt", FORMATS)
def test_sgd_is_its_formula_with_every_operation_rounded(fmt):
    w, g, v = (values(fmt, 50) for _ in range(3))
    rate, momentum, decay = rf.quantize(np.float32([0.05, 0.9, 0.1]), fmt)
    d = rf.add(g, rf.mul(decay, w, fmt), fmt)
    new = rf.add(rf.mul(momentum, v, fmt), d, fmt)
    ahead = rf.add(d, rf.mul(momentum, new, fmt), fmt)
    q = every_operation.Calculator(Accumulator(format=fmt))
    for first, nesterov, expected in ((True, False, (d, d)), (False, False, (new, new)), (False, True, (new, ahead))):
        found = every_operation.sgd(q, w, g, v, 0.05, 0.9, 0.1, first, nesterov)
        assert same(found, (expected[0], -rf.mul(rate, expected[1], fmt)))


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("fmt", FORMATS)
def test_adam_is_its_formula_with_every_operation_rounded(fmt, decoupled):
    w, g, m, s = (values(fmt, 50) for _ in range(4))
    s, step = np.abs(s), 3
    given = [0.05, 0.9, 0.75, 0.02, 0.1, 1 - 0.9**step, math.sqrt(1 - 0.75**step)]
    rate, beta1, beta2, epsilon, decay, correction1, correction2 = rf.quantize(np.array(given), fmt).astype(np.float32)
    one, decayed = np.float32(1), rf.add(g, rf.mul(decay, w, fmt), fmt)
    d = g if decoupled else decayed
    mean = rf.add(rf.mul(beta1, m, fmt), rf.mul(rf.sub(one, beta1, fmt), d, fmt), fmt)
    square = rf.add(rf.mul(beta2, s, fmt), rf.mul(rf.sub(one, beta2, fmt), rf.mul(d, d, fmt), fmt), fmt)
    below = rf.add(rf.div(rf.sqrt(square, fmt), correction2, fmt), epsilon, fmt)
    update = -rf.div(rf.mul(rf.div(rate, correction1, fmt), mean, fmt), below, fmt)
    if decoupled:
        update = rf.sub(update, rf.mul(rf.mul(rate, decay, fmt), w, fmt), fmt)
    q = every_operation.Calculator(Accumulator(format=fmt))
    found = every_operation.adam(q, w, g, m, s, 0.05, 0.9, 0.75, 0.02, 0.1, decoupled, step)
    assert same(found, (mean, square, update))


def test_adam_in_float16_has_no_epsilon_and_divides_by_zero_where_squares_of_gradients_vanish():
    with np.errstate(all="ignore"):
        q = every_operation.Calculator(Accumulator(format="float16"))
        small = np.float32([1e-4])
        update = every_operation.adam(q, 0 * small, small, 0 * small, 0 * small, 1, 0.9, 0.999, 1e-8, 0, False, 1)[2]
    assert update == -np.inf


@pytest.mark.parametrize("fmt", ["float32", "float16", "bfloat16"])
def test_transformer_operations_are_those_computed_otherwise_within_the_format_s_precision(fmt):
    """The longest way, through layer norm and back, is of some 40 roundings, none of which is enlarged by much here."""
    how = Accumulator(format=fmt)
    x, dy, scale, shift = (values(fmt, *shape) for shape in ((2, 6, 6), (2, 6, 6), (6,), (6,)))
    cases = [
        ((x, scale, shift), dy, partial(p.layer_norm, epsilon=1e-3), partial(every_operation.layer_norm, epsilon=1e-3)),
        ((x,), dy, p.gelu, every_operation.gelu),
        ((x,), dy[:, 0], partial(p.mean, axis=1), every_operation.mean),
        ((x,), dy, lambda t: p.softmax(t * 0.5, causal=True), partial(every_operation.softmax, scale=0.5, causal=True)),
    ]
    for arrays, back, plain, mine in cases:
        for a, b in zip(through(plain, *arrays, dy=back), through(mine, *arrays, dy=back, how=how), strict=True):
            assert np.abs(a - b).max() <= 40 * rf.format(fmt).eps / 2 * max(np.abs(a).max(), 1)


def test_the_loss_of_a_sequence_is_that_of_its_places():
    logits, labels, how = values("float16", 2, 3, 5), RNG.integers(0, 5, (2, 3)), Accumulator(format="float16")
    found = through(every_operation.cross_entropy, logits, dy=np.float32(1), labels=labels, how=how)
    flat = through(
        every_operation.cross_entropy, logits.reshape(6, 5), dy=np.float32(1), labels=labels.reshape(6), how=how
    )
    assert found[0] == flat[0] and np.array_equal(found[1].reshape(6, 5), flat[1])


def test_in_float32_they_are_what_is_computed_otherwise_within_its_precision():
    how, labels = Accumulator(format="float32"), RNG.integers(0, 4, 20)
    x, scale, shift = (RNG.standard_normal(s).astype(np.float32) for s in ((20, 4), 4, 4))
    pairs = []
    for mine in (True, False):
        tensors = [Tensor(t, requires_grad=True) for t in (x, scale, shift)]
        if mine:
            mean, variance = every_operation.moments(x, every_operation.Calculator(how))
        else:
            mean, variance = p.moments(x)
        more = {"mean": mean, "variance": variance, "of_batch": True, "epsilon": 1e-5}
        y = every_operation.normalize(*tensors, **more, how=how) if mine else p.normalize(*tensors, **more)
        loss = every_operation.cross_entropy(y, labels=labels, how=how) if mine else p.cross_entropy(y, labels=labels)
        loss.backward()
        pairs.append([y.data, loss.data, *(t.grad for t in tensors)])
    assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*pairs, strict=True))


def test_a_sum_in_sixteen_bits_stops_and_batch_norm_with_it():
    """float16 adds ones up to 2048 and no further: the mean of 4096 ones is a half."""
    mean, _ = every_operation.moments(
        np.ones((4096, 1), np.float32), every_operation.Calculator(Accumulator(format="float16"))
    )
    assert mean == 0.5


@pytest.mark.parametrize("make", [rf.nn.cnn, rf.nn.transformer])
@pytest.mark.parametrize("fmt", ["float16", "bfloat16"])
def test_pure_training_with_every_operation_rounded_learns_and_keeps_sixteen_bits_alone(fmt, make):
    model, policy = make(), presets.pure16(fmt, every_operation=True)
    result = rf.nn.fit(model, FEW, precision=policy, epochs=2, batch_size=16)
    plain = rf.nn.fit(make(), FEW, precision=presets.pure16(fmt), epochs=2, batch_size=16)
    assert not result.diverged and result.history[1]["loss"] < result.history[0]["loss"]
    assert result.history[1]["loss"] != plain.history[1]["loss"]
    kept = [*(t.data for t in model.tensors()), *(a for layer in model.every_layer() for a in layer.state().values())]
    assert all(np.array_equal(a, rf.quantize(a, fmt)) for a in kept)


def test_a_role_of_operations_takes_an_accumulator_alone():
    with pytest.raises(TypeError, match="Precision: loss in roles is 'float16'; allowed is an Accumulator"):
        Precision(roles={"loss": "float16"})
    with pytest.raises(TypeError, match="pure16: every_operation is 1"):
        presets.pure16(every_operation=1)


CNN, TRANSFORMER = (lambda: rf.nn.cnn(widths=(4, 8))), (lambda: rf.nn.transformer(blocks=1))
OF = {"loss": CNN, "batch norm": CNN, "mean": CNN, "optimizer": CNN} | dict.fromkeys(
    ("layer norm", "softmax", "gelu", "mean "), TRANSFORMER
)


@pytest.mark.parametrize("role", OF)
def test_each_of_them_is_rounded_alone_on_the_usual_way_and_layer_by_layer(role):
    policy = Precision(roles={role.strip(): Accumulator(format="bfloat16")}, loss_scale=1.0)
    models = [OF[role]() for _ in range(3)]
    rf.nn.fit(models[0], FEW, epochs=1, batch_size=16)
    for model, slow in zip(models[1:], (True, False), strict=True):
        rf.nn.fit(model, FEW, epochs=1, batch_size=16, precision=policy, layer_by_layer=slow)
    plain, slow, usual = ([t.data for t in model.tensors()] for model in models)
    assert all(np.array_equal(*pair) for pair in zip(slow, usual, strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(plain, usual, strict=True))


def test_an_optimizer_rounds_the_layers_it_is_told_to_and_no_others():
    how = {"optimizer": Accumulator(format="float8_e4m3fn")}
    named = Precision(layers={"5 *": how}, loss_scale=1.0)
    plain, alone = (steps_of(SGD(), policy) for policy in (Precision(loss_scale=1.0), named))
    same_until = 6 * 5 + 5  # weights of the first linear layer
    assert np.array_equal(plain[0][:same_until], alone[0][:same_until])
    assert not np.array_equal(plain[0][same_until:], alone[0][same_until:])


def test_a_language_model_trains_with_every_operation_rounded():
    task = rf.data.manual(16)
    part = {
        f"{kind}_{name}": getattr(task, f"{kind}_{name}")[:32]
        for kind in ("train", "test")
        for name in ("images", "labels")
    }
    few = replace(task, **part)
    model = rf.nn.language_model(places=16, features=8, heads=2, blocks=1)
    policy = presets.pure16("bfloat16", every_operation=True)
    found = rf.nn.fit(model, few, precision=policy, epochs=2, batch_size=8)
    assert not found.diverged and found.history[1]["loss"] < found.history[0]["loss"]
