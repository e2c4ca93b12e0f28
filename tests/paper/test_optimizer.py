"""A training step rounds what PEPPP rounds, in its order.

The steps are written out here once more, from the description, with a rounding of their own.
"""

import itertools

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.nn.layer import Pass
from refimpl.nn.optimizer import SGD
from refimpl.nn.rounder import Rounder

LOW, HIGH = "e4m2", "e6m7"
f32 = np.float32


def calls(seed):
    """Return a rounding function that takes the next stream at each call."""
    count = itertools.count()
    return lambda x, name: rf.quantize(
        x, name, rounding="stochastic", overflow="saturate", seed=seed, stream=next(count)
    )


def test_optimizer_steps_follow_the_order_of_roundings_of_the_paper():
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (4,)]
    initial = [rng.standard_normal(s).astype(f32) for s in shapes]
    gradients = [[(1000 * rng.standard_normal(s)).astype(f32) for s in shapes] for _ in range(4)]

    tensors = [Tensor(x.copy(), requires_grad=True) for x in initial]
    precision = rf.Precision(low=LOW, high=HIGH)
    named = [("0 Linear", str(i), t) for i, t in enumerate(tensors)]
    optimizer = SGD(momentum=0.9, weight_decay=5e-4).start(named, Rounder(precision, seed=5))
    assert all(np.array_equal(t.data, x) for t, x in zip(tensors, initial, strict=True))

    q = calls(5)
    acc = np.concatenate([x.reshape(-1) for x in initial])
    buf = None
    for step, gradient in enumerate(gradients):
        for t, g in zip(tensors, gradient, strict=True):
            t.grad = g.copy()
        rate = 0.05 / (step + 1)
        optimizer.step(rate, optimizer.collect(), 1000.0)

        g = q(np.concatenate([x.reshape(-1) for x in gradient]) * f32(1 / 1000), LOW)
        w = acc
        d = g + f32(5e-4) * w
        buf = d if buf is None else f32(0.9) * buf + d
        w = w - f32(rate) * buf
        acc = q(w, HIGH)
        weights = q(acc, LOW)
        buf = q(buf, HIGH)
        ours = np.concatenate([t.data.reshape(-1) for t in tensors])
        assert np.array_equal(ours.view(np.uint32), weights.view(np.uint32)), step
        assert np.array_equal(optimizer.master_weights, acc)


def test_the_cnn_rounds_where_the_paper_rounds():
    """input H; L after stem's ReLU; L after the second convolution; L after its ReLU; logits H."""
    precision = rf.Precision(low=LOW, high=HIGH)
    model = rf.nn.cnn()
    model.initialize(np.random.default_rng(0))
    x = np.random.default_rng(1).random((5, 8, 8, 1)).astype(f32)
    logits = model(Tensor(x), Pass(Rounder(precision, seed=9), training=True))

    q = calls(9)
    conv1, bn1, conv2, bn2, linear = (layer.parameters for layer in model.layers if layer.parameters)

    def norm(h, parameters):
        mean, variance = p.moments(h)
        return p.normalize(
            h, parameters["scale"].data, parameters["shift"].data, mean=mean, variance=variance, of_batch=True
        ).data

    h = p.convolve(q(x, HIGH), conv1["weight"].data, padding=1).data
    h = q(np.maximum(norm(h, bn1), 0), LOW)
    h = q(p.convolve(h, conv2["weight"].data, stride=2, padding=1).data, LOW)
    h = q(np.maximum(norm(h, bn2), 0), LOW)
    h = h.mean(axis=(1, 2), dtype=np.float64).astype(f32)
    h = q(p.matmul(h, linear["weight"].data).data + linear["bias"].data, HIGH)
    assert np.array_equal(logits.data, h)


def test_gradients_are_rounded_at_the_same_points_in_the_backward_pass():
    seen = []

    class Witness(Rounder):
        def __call__(self, x, role, layer="", *, out=None):
            seen.append((role, x.shape))
            return super().__call__(x, role, layer, out=out)

    model = rf.nn.cnn()
    model.initialize(np.random.default_rng(0))
    x = np.random.default_rng(1).random((5, 8, 8, 1)).astype(f32)
    run = Pass(Witness(rf.Precision(low=LOW, high=HIGH), seed=9), training=True)
    logits = model(Tensor(x), run)
    (p.cross_entropy(logits, labels=np.zeros(5, int)) * 1000.0).backward()
    points = [
        ("activation", (5, 8, 8, 16)),
        ("activation", (5, 4, 4, 32)),
        ("activation", (5, 4, 4, 32)),
        ("logits", (5, 10)),
    ]
    forward, backward = seen[:5], seen[5:]
    assert forward == [("input", (5, 8, 8, 1)), *points]
    back = [(f"{role} gradient", shape) for role, shape in points[::-1]]
    assert backward == back  # none for the input, which needs no gradient


def test_rounding_noise_differs_between_configurations_that_round_to_the_same_grid():
    seeds = {rf.Precision(low=LOW, high=h).seed(0) for h in ("e6m7", "e7m7", "e8m7")}
    assert len(seeds) == 3


@pytest.mark.parametrize("rounding", ["stochastic", "ties_to_even"])
def test_trained_weights_are_values_of_the_low_format(rounding):
    model, task = rf.nn.cnn(), rf.data.load("digits")
    rf.nn.fit(model, task, precision=rf.Precision(low=LOW, high=HIGH, rounding=rounding), epochs=1)
    for tensor in model.tensors():
        assert np.array_equal(tensor.data, rf.quantize(tensor.data, LOW))
