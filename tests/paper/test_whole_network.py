"""Whole steps of PEPPP's residual networks agree, bit for bit, with the paper's code written out in NumPy.

The transcription shares nothing with the trainer but the rounding of an array (`rf.quantize`, held
to its definition elsewhere): the order of layers and roundings, convolution, batch norm and its
running statistics, all derivatives and the optimizer are here once more.  Products are summed in
float64 and rounded once on both sides (exact_sums), to nearest, so that no order of sums matters.
"""

import numpy as np
import pytest

import refimpl as rf

f32, f64 = np.float32, np.float64
LOW, HIGH, RATE = "e4m3", "e8m7", 0.05


def low(x):
    return rf.quantize(x, LOW, overflow="saturate")


def high(x):
    return rf.quantize(x, HIGH, overflow="saturate")


def total(x):
    """Sum rows in float64, one after the other."""
    return np.cumsum(x.reshape(-1, x.shape[-1]), axis=0, dtype=f64)[-1]


class Conv:
    """Square filters (size, size, in, out) without bias, as one product for each of their places."""

    def __init__(self, weight, stride=1):
        self.weight, self.stride, self.padding = weight, stride, len(weight) // 2

    def places(self, padded, shape):
        s = self.stride
        for i, j in np.ndindex(self.weight.shape[:2]):
            yield (i, j), padded[:, i : i + s * shape[1] : s, j : j + s * shape[2] : s]

    def forward(self, x):
        p, s = self.padding, self.stride
        self.x = np.pad(x.astype(f64), ((0, 0), (p, p), (p, p), (0, 0)))
        height, width = ((n + 2 * p - len(self.weight)) // s + 1 for n in x.shape[1:3])
        y = np.zeros((len(x), height, width, self.weight.shape[3]))
        for at, part in self.places(self.x, y.shape):
            y += part @ self.weight[at].astype(f64)
        return y.astype(f32)

    def backward(self, dy):
        dy, dx, self.gradient = dy.astype(f64), np.zeros_like(self.x), np.zeros(self.weight.shape)
        flat = dy.reshape(-1, dy.shape[3])
        for (at, part), (_, into) in zip(self.places(self.x, dy.shape), self.places(dx, dy.shape), strict=True):
            self.gradient[at] = part.reshape(-1, part.shape[3]).T @ flat
            into += dy @ self.weight[at].astype(f64).T
        self.gradient = self.gradient.astype(f32)
        p = self.padding
        return dx[:, p : dx.shape[1] - p, p : dx.shape[2] - p].astype(f32)


class Norm:
    """Batch norm, with or without ReLU; running statistics move by a tenth, the variance unbiased."""

    def __init__(self, channels, relu=True):
        self.scale, self.shift = np.ones(channels, f32), np.zeros(channels, f32)
        self.mean, self.variance, self.relu = np.zeros(channels, f32), np.ones(channels, f32), relu

    def forward(self, x):
        n = x[..., 0].size
        mean = total(x) / n
        variance = total(x.astype(f64) ** 2) / n - mean * mean
        mean, variance = mean.astype(f32), variance.astype(f32)
        self.mean = f32(0.9) * self.mean + f32(0.1) * mean
        self.variance = f32(0.9) * self.variance + f32(0.1) * (variance * f32(n / (n - 1)))
        self.inverse = f32(1) / np.sqrt(variance + f32(1e-5))
        self.hat = (x - mean) * self.inverse
        y = self.hat * self.scale + self.shift
        self.open = y > 0 if self.relu else np.ones(y.shape, bool)
        return np.where(self.open, y, f32(0))

    def backward(self, dy):
        dy, n = np.where(self.open, dy, f32(0)), f32(dy[..., 0].size)
        self.dscale, self.dshift = total(dy * self.hat).astype(f32), total(dy).astype(f32)
        dx = self.hat * (self.dscale / -n) + dy - self.dshift / n
        return dx * (self.scale * self.inverse)


class Block:
    """o = Q(conv1(x)), Q(relu(bn1(o))), Q(conv2(o)), Q(relu(bn2(o))); Q(o + Q(r)), no ReLU after it."""

    def __init__(self, convs, stride):
        first, second, *skip = convs
        widths = [c.shape[3] for c in convs]
        self.convs = [Conv(first, stride), Conv(second), *(Conv(w, stride) for w in skip)]
        self.norms = [Norm(widths[0]), Norm(widths[1]), *(Norm(widths[2], relu=False) for _ in skip)]

    def forward(self, x):
        o = x
        for conv, norm in zip(self.convs[:2], self.norms[:2], strict=True):
            o = low(norm.forward(low(conv.forward(o))))
        r = x
        if len(self.convs) == 3:
            r = self.norms[2].forward(self.convs[2].forward(x))
        return low(o + low(r))

    def backward(self, d):
        d = o = low(d)
        for conv, norm in zip(self.convs[1::-1], self.norms[1::-1], strict=True):
            o = conv.backward(low(norm.backward(low(o))))
        r = low(d)
        if len(self.convs) == 3:
            r = self.convs[2].backward(self.norms[2].backward(r))
        return o + r


class Network:
    """Stem, blocks, average, linear; trained as the paper's code does with QPyTorch's OptimLP."""

    def __init__(self, weights, widths, blocks):
        weights = iter(weights)
        self.stem, self.norm, self.blocks = Conv(next(weights)), Norm(widths[0]), []
        for stage in range(len(widths)):
            for i in range(blocks):
                halves = stage and not i
                convs = [next(weights) for _ in range(3 if halves else 2)]
                self.blocks.append(Block(convs, 2 if halves else 1))
        self.w, self.b = weights
        convs, norms = [self.stem], [self.norm]
        for block in self.blocks:
            convs, norms = convs + block.convs, norms + block.norms
        self.norms = norms
        self.held = [(c, "weight", "gradient") for c in convs]
        self.held += [(n, s, f"d{s}") for n in norms for s in ("scale", "shift")]
        self.held += [(self, "w", "dw"), (self, "b", "db")]
        self.masters = [getattr(owner, name) for owner, name, _ in self.held]
        self.buffers = [None] * len(self.held)

    def step(self, images, labels):
        n = len(labels)
        x = low(self.norm.forward(self.stem.forward(high(images))))
        for block in self.blocks:
            x = block.forward(x)
        pixels = x.shape[1] * x.shape[2]
        mean = (x.reshape(n, pixels, -1).sum(axis=1, dtype=f64) / pixels).astype(f32)
        logits = high((mean.astype(f64) @ self.w.astype(f64)).astype(f32) + self.b)
        z = np.exp(logits.astype(f64) - logits.max(axis=1, keepdims=True))
        shares = z / z.sum(axis=1, keepdims=True)
        loss = -np.log(shares[np.arange(n), labels]).mean()
        shares[np.arange(n), labels] -= 1
        d = high((shares * (1000 / n)).astype(f32))
        self.dw, self.db = (mean.T.astype(f64) @ d.astype(f64)).astype(f32), d.sum(axis=0)
        d = (d.astype(f64) @ self.w.T.astype(f64)).astype(f32) / f32(pixels)
        d = np.broadcast_to(d[:, None, None], x.shape)
        for block in reversed(self.blocks):
            d = block.backward(d)
        self.stem.backward(self.norm.backward(low(d)))
        for i, (owner, name, gradient) in enumerate(self.held):
            g, w, v = (low(getattr(owner, gradient) * f32(1 / 1000)), self.masters[i], self.buffers[i])
            v = g + f32(5e-4) * w if v is None else f32(0.9) * v + (g + f32(5e-4) * w)
            self.masters[i], self.buffers[i] = high(w - f32(RATE) * v), high(v)
            setattr(owner, name, low(self.masters[i]))
        return loss


@pytest.mark.parametrize(
    ("make", "widths", "blocks", "size", "batch", "steps"),
    [
        (rf.nn.resnet8, (16, 32, 64), 1, 8, 8, 3),
        pytest.param(rf.nn.resnet18, (64, 128, 256, 512), 2, 32, 32, 1, marks=pytest.mark.slow),
    ],
)
def test_low_precision_steps_equal_the_transcription_bit_for_bit(make, widths, blocks, size, batch, steps):
    from refimpl.nn.training import EpochRecord, TrainingState

    rng = np.random.default_rng(5)
    images = rng.random((batch * steps, size, size, 3), np.float32)
    labels = np.arange(batch * steps) % 10
    task = rf.data.Task("random", images, labels, images, labels, classes=10, images_from="random")
    policy = rf.Precision(low=LOW, high=HIGH, rounding="ties_to_even")
    run = TrainingState(make(), task, policy, rf.nn.SGD(), 7, layer_by_layer=False, exact=True)
    tensors = run.model.named_tensors()
    weights = [t.data.copy() for layer, name, t in tensors if "Norm" not in layer]
    theirs = Network(weights, widths, blocks)
    for i in range(steps):
        part, record = slice(i * batch, (i + 1) * batch), EpochRecord()
        run.step(images[part], labels[part], RATE, record)
        assert record.losses[0] == pytest.approx(theirs.step(images[part], labels[part]), rel=1e-6)
        weights = iter([getattr(o, n) for o, n, _ in theirs.held if n in ("weight", "w", "b")])
        norms = iter([getattr(o, n) for o, n, _ in theirs.held if n in ("scale", "shift")])
        for layer, name, tensor in tensors:
            expected = next(norms if "Norm" in layer else weights)
            assert np.array_equal(tensor.data.view(np.uint32), expected.view(np.uint32)), (layer, name)
        running = [layer for layer in run.model.every_layer() if layer.state()]
        for ours, norm in zip(running, theirs.norms, strict=True):
            assert np.array_equal(ours.mean, norm.mean)
            assert np.array_equal(ours.variance, norm.variance)
