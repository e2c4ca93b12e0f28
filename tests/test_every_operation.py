"""Batch norm and the loss with every operation rounded: against the operations of `rf`, one by one."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.data import Task
from refimpl.nn import Accumulator, Precision, every_operation, presets
from refimpl.nn.layer import Pass
from refimpl.nn.layers import BatchNorm
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


@pytest.mark.parametrize("fmt", ["float16", "bfloat16"])
def test_pure_training_with_every_operation_rounded_learns_and_keeps_sixteen_bits_alone(fmt):
    model, policy = rf.nn.cnn(), presets.pure16(fmt, every_operation=True)
    result = rf.nn.fit(model, FEW, precision=policy, epochs=2, batch_size=16)
    plain = rf.nn.fit(rf.nn.cnn(), FEW, precision=presets.pure16(fmt), epochs=2, batch_size=16)
    assert not result.diverged and result.history[1]["loss"] < result.history[0]["loss"]
    assert result.history[1]["loss"] != plain.history[1]["loss"]
    kept = [*(t.data for t in model.tensors()), *(a for layer in model.every_layer() for a in layer.state().values())]
    assert all(np.array_equal(a, rf.quantize(a, fmt)) for a in kept)


def test_a_role_of_operations_takes_an_accumulator_alone():
    with pytest.raises(TypeError, match="Precision: loss in roles is 'float16'; allowed is an Accumulator"):
        Precision(roles={"loss": "float16"})
    with pytest.raises(TypeError, match="pure16: every_operation is 1"):
        presets.pure16(every_operation=1)


@pytest.mark.parametrize("role", ["loss", "batch norm"])
def test_each_of_them_is_rounded_alone_on_the_usual_way_and_layer_by_layer(role):
    policy = Precision(roles={role: Accumulator(format="bfloat16")}, loss_scale=1.0)
    models = [rf.nn.cnn() for _ in range(3)]
    rf.nn.fit(models[0], FEW, epochs=1, batch_size=16)
    for model, slow in zip(models[1:], (True, False), strict=True):
        rf.nn.fit(model, FEW, epochs=1, batch_size=16, precision=policy, layer_by_layer=slow)
    plain, slow, usual = ([t.data for t in model.tensors()] for model in models)
    assert all(np.array_equal(*pair) for pair in zip(slow, usual, strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(plain, usual, strict=True))
