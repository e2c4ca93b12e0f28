"""Gradients and training against PyTorch, where it is installed (it is not a dependency)."""

import sys
from pathlib import Path

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional
RNG = np.random.default_rng(0)
first = (0, 3, 1, 2)  # channels last to first
last = (0, 2, 3, 1)


def normal(*shape):
    return RNG.standard_normal(shape)


def images(function):
    """Let a PyTorch function of channels-first images take channels-last ones."""
    return lambda x, *rest: function(x.permute(first), *rest).permute(last)


def filters(w):
    return w.permute(3, 2, 0, 1)


LABELS, TOKENS = np.array([0, 3, 1, 1]), np.array([[0, 4], [4, 2]])
CASES = {
    "matmul": (p.matmul, torch.matmul, normal(2, 5, 3), normal(3, 4)),
    "softmax": (p.softmax, lambda x: F.softmax(x, -1), normal(4, 5)),
    "sigmoid": (p.sigmoid, torch.sigmoid, normal(7)),
    "tanh": (p.tanh, torch.tanh, normal(7)),
    "gelu": (p.gelu, lambda x: F.gelu(x, approximate="tanh"), normal(7)),
    "maximum": (p.maximum, torch.maximum, normal(7), normal(7)),
    "layer norm": (p.layer_norm, lambda x, g, b: F.layer_norm(x, (5,), g, b), normal(3, 5), normal(5), normal(5)),
    "embedding": (
        lambda t: p.embedding(t, tokens=TOKENS),
        lambda t: F.embedding(torch.from_numpy(TOKENS), t),
        normal(5, 3),
    ),
    "cross entropy": (
        lambda z: p.cross_entropy(z, labels=LABELS),
        lambda z: F.cross_entropy(z, torch.from_numpy(LABELS)),
        normal(4, 5),
    ),
    "convolution": (
        lambda x, w: p.convolve(x, w, stride=2, padding=1),
        images(lambda x, w: F.conv2d(x, filters(w), stride=2, padding=1)),
        normal(2, 7, 6, 3),
        normal(3, 3, 3, 5),
    ),
    "grouped convolution": (
        lambda x, w: p.convolve(x, w, padding=2, groups=2),
        images(lambda x, w: F.conv2d(x, filters(w), padding=2, groups=2)),
        normal(2, 5, 6, 4),
        normal(5, 5, 2, 6),
    ),
    "max pool": (
        lambda x: p.max_pool(x, size=3, stride=2),
        images(lambda x: F.max_pool2d(x, 3, 2)),
        normal(2, 7, 8, 3),
    ),
    "average pool": (
        lambda x: p.average_pool(x, size=2, stride=2),
        images(lambda x: F.avg_pool2d(x, 2)),
        normal(2, 6, 6, 3),
    ),
    "batch norm": (
        lambda x, g, b: p.normalize(
            x, g, b, **dict(zip(("mean", "variance"), p.moments(x.data), strict=True)), of_batch=True
        ),
        images(lambda x, g, b: F.batch_norm(x, None, None, g, b, training=True)),
        normal(4, 3, 3, 2),
        normal(2),
        normal(2),
    ),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_pytorch_s(name, dtype):
    """To 1e-12 in float64 and 1e-5 in float32, relative to the largest element: sums of a few dozen."""
    ours, theirs, *inputs = CASES[name]
    mine = [Tensor(x.astype(dtype), requires_grad=True) for x in inputs]
    its = [torch.tensor(x.astype(dtype), requires_grad=True) for x in inputs]
    y, z = ours(*mine), theirs(*its)
    weights = RNG.standard_normal(y.shape).astype(dtype)
    (y * Tensor(weights)).sum().backward()
    (z * torch.from_numpy(np.asarray(weights))).sum().backward()
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    pairs = [(y.data, z.detach().numpy()), *((a.grad, b.grad.numpy()) for a, b in zip(mine, its, strict=True))]
    for a, b in pairs:
        assert abs(a - b).max() <= tolerance * max(1, abs(b).max())


@pytest.mark.parametrize(("name", "bound"), [("mlp", 1e-6), ("cnn", 1e-6), ("res8", 1e-3)])
def test_five_float32_steps_end_at_pytorch_s_weights(name, bound):
    """Bounds: ten times what the order of float32 sums has been seen to make (see test_torch_networks)."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    import training

    assert training.parity(name, *training.batch_of(training.MODELS[name][1], 32)) < bound


def test_optimizers_are_pytorch_s():
    start, gradients = normal(6).astype(np.float32), normal(5, 6).astype(np.float32)
    rules = [
        (rf.nn.SGD(momentum=0.9, weight_decay=0.01), lambda w: torch.optim.SGD(w, 0.1, 0.9, weight_decay=0.01)),
        (
            rf.nn.SGD(momentum=0.9, nesterov=True, weight_decay=0.01),
            lambda w: torch.optim.SGD(w, 0.1, 0.9, weight_decay=0.01, nesterov=True),
        ),
        (rf.nn.Adam(weight_decay=0.01), lambda w: torch.optim.Adam(w, 0.1, weight_decay=0.01)),
        (rf.nn.AdamW(weight_decay=0.01), lambda w: torch.optim.AdamW(w, 0.1, weight_decay=0.01)),
    ]
    for rule, make in rules:
        tensor = Tensor(start.copy(), requires_grad=True)
        running = rule.start([("0 Linear", "weight", tensor)], rf.nn.rounder.Rounder(rf.Precision(), 0))
        weight = torch.tensor(start.copy(), requires_grad=True)
        optimizer = make([weight])
        for g in gradients:
            running.step(0.1, g.copy(), 1.0)
            weight.grad = torch.from_numpy(g.copy())
            optimizer.step()
        np.testing.assert_allclose(tensor.data, weight.detach().numpy(), rtol=2e-5, atol=1e-7)
