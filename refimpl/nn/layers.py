"""Layers: what a network computes, and the points at which it rounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from refimpl import _arguments as check
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.nn import every_operation
from refimpl.nn.error_bounds import LARGEST, SMALLEST, gamma, rounding_bound
from refimpl.nn.initializers import RULES, Rule, draw
from refimpl.nn.layer import Kept, Layer, name_layers
from refimpl.nn.products import product

if TYPE_CHECKING:
    from refimpl.nn.engine.program import Backward

ROUNDED = ("input", "activation", "logits")  # what rounding points round


@dataclass
class Round(Layer):
    """A rounding point: values are rounded in the forward pass, gradients in the backward pass.

    `role` is ``input``, ``activation`` or ``logits``; the gradient's is ``<role> gradient``.
    """

    is_rounding_point: ClassVar[bool] = True

    role: str

    def __post_init__(self):
        check.choice("Round", "role", self.role, ROUNDED)

    def __call__(self, x, run):
        rounder, back = run.rounder, f"{self.role} gradient"
        needed = x.requires_grad and rounder.rounding(back, self.name) is not None
        if rounder.rounding(self.role, self.name) is None and not needed:
            return x
        return p.rounded(
            x,
            forward=lambda array: rounder(array, self.role, self.name),
            backward=(lambda array: rounder(array, back, self.name)) if needed else None,
        )

    def program(self, writer, x):
        y = writer.round(self, x)

        def backward(dy):
            return writer.round(self, dy, backward=True) if x.needs_gradient else writer.space.give(dy)

        return y, backward

    def kept_for_backward(self, output):
        return [Kept(math.prod(output), "low")]

    def error_bound(self, c, d, bounds):
        fresh = rounding_bound(np.abs(c.data) + d, bounds.precision.rounding_of(self.role, self.name))
        return bounds.note(c, d + fresh, fresh)


@dataclass
class Convolution(Layer):
    """Square filters without bias; weights drawn as `initializer` says, by default as in PEPPP."""

    channels: int
    filters: int
    size: int = 3
    stride: int = 1
    padding: int = 1
    groups: int = 1
    initializer: Rule = "peppp"

    def __post_init__(self):
        for name in ("channels", "filters", "size", "stride", "groups"):
            check.integer("Convolution", name, getattr(self, name), check.Interval(1))
        check.integer("Convolution", "padding", self.padding, check.NOT_NEGATIVE)
        check.choice("Convolution", "initializer", self.initializer, RULES)
        if self.channels % self.groups or self.filters % self.groups:
            raise ValueError(f"{self}: channels and filters must be multiples of groups")

    def initialize(self, rng):
        shape = (self.size, self.size, self.channels // self.groups, self.filters)
        self._parameter("weight", draw(self.initializer, shape, rng))

    def parameter_count(self):
        return self.size**2 * self.channels // self.groups * self.filters

    def output_shape(self, shape):
        if len(shape) != 3 or shape[2] != self.channels:
            raise ValueError(f"{self}: takes images of {self.channels} channels, got shape {shape}")
        height, width = ((n + 2 * self.padding - self.size) // self.stride + 1 for n in shape[:2])
        if min(height, width) < 1:
            raise ValueError(f"{self}: its filter is larger than an image of shape {shape}")
        return height, width, self.filters

    def __call__(self, x, run):
        return product(
            p.convolve,
            x,
            self.parameters["weight"],
            run.rounder,
            self.name,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
            exact=run.exact,
        )

    def program(self, writer, x):
        if self.groups != 1:
            return super().program(writer, x)
        y = writer.space.take((x.shape[0], *self.output_shape(x.shape[1:])))
        return y, writer.products(self, "weight", x, y, self.stride, self.padding)

    def kept_for_backward(self, output):
        return [Kept(math.prod(output), "high", unless_rounded=True)]

    def error_bound(self, c, d, bounds):
        def multiply(x, weight):
            return p.convolve(x, weight, stride=self.stride, padding=self.padding, groups=self.groups)

        weight = self.parameters["weight"].data.astype(np.float64)
        return bounds.products(c, d, multiply, weight, 0.0, math.prod(weight.shape[:3]), self.name)


@dataclass
class BatchNorm(Layer):
    """Batch normalization; running statistics move by 0.1 and serve evaluation.

    They are rounded only under a policy with the role ``batch norm``.
    """

    channels: int
    epsilon: float = 1e-5
    momentum: float = 0.1

    def __post_init__(self):
        check.integer("BatchNorm", "channels", self.channels, check.Interval(1))
        check.number("BatchNorm", "epsilon", self.epsilon, check.FLOAT32_OR_0)
        check.number("BatchNorm", "momentum", self.momentum, check.FRACTION)

    def initialize(self, rng):
        self._parameter("scale", np.ones(self.channels))
        self._parameter("shift", np.zeros(self.channels))
        self.mean = np.zeros(self.channels, np.float32)
        self.variance = np.ones(self.channels, np.float32)

    def parameter_count(self):
        return 2 * self.channels

    def state(self):
        return {"mean": self.mean.copy(), "variance": self.variance.copy()}  # training goes on in the same arrays

    def load_state(self, state):
        self.mean, self.variance = (np.array(state[name], np.float32) for name in ("mean", "variance"))

    def output_shape(self, shape):
        if shape[-1] != self.channels:
            raise ValueError(f"{self}: takes {self.channels} channels, got shape {shape}")
        return shape

    def __call__(self, x, run):
        how = run.every_operation("batch norm", self)
        moments: Callable = p.moments
        normalize: Callable = p.normalize
        rounded: Callable = np.asarray
        if how is not None:
            q = every_operation.Calculator(how)
            moments, normalize = partial(every_operation.moments, q=q), partial(every_operation.normalize, how=how)
            rounded = q.round
        if run.training:
            mean, variance = moments(x.data)
            self.move(mean, variance, x.data.size // self.channels, rounded)
        else:
            mean, variance = self.mean, self.variance
        return normalize(
            x,
            self.parameters["scale"],
            self.parameters["shift"],
            mean=mean,
            variance=variance,
            of_batch=run.training,
            epsilon=self.epsilon,
        )

    def program(self, writer, x, before=None, relu=False, after=None):
        """Write batch norm, with a rounding of x before it, a ReLU and a rounding after it in the same passes."""
        from refimpl.nn.engine import batch_norm as kernels

        if writer.accumulates("batch norm", self):
            return super().program(writer, x)
        vectors = writer.space.take((2, self.channels))
        scale, shift = (writer.parameter(self, name) for name in ("scale", "shift"))
        settings = np.float32(self.momentum), np.float32(self.epsilon), writer.training
        x, rounding = writer.rounding_of(before, x)
        writer.call(kernels.moments, x.rows, self.mean, self.variance, *settings, vectors, *rounding)
        y = writer.space.take(x.shape)
        rounding = writer.rounding_after(after, y)
        writer.call(kernels.normalize, x.rows, vectors, scale, shift, relu, y.rows, *rounding)
        writer.keep_for_backward(x, vectors)

        def backward(dy):
            dx = writer.space.take(x.shape)
            gradients = [writer.gradient_of(self, name) for name in ("scale", "shift")]
            dy, rounding = writer.rounding_of(after, dy, backward=True)
            known = x.rows, dy.rows, vectors, scale, shift, relu
            writer.call(kernels.gradient_sums, *known, dx.rows, *gradients, *rounding)
            writer.space.give(dy)
            if x.needs_gradient:
                rounding = writer.rounding_after(before, dx, backward=True)
                writer.call(kernels.gradient, x.rows, dx.rows, vectors, scale, *gradients, *rounding)
            writer.space.give(x, vectors)
            return dx if x.needs_gradient else writer.space.give(dx)

        return y, backward

    def error_bound(self, c, d, bounds):
        inverse = 1 / np.sqrt(self.variance + np.float32(self.epsilon))  # in float32, as evaluated
        a, mean = inverse.astype(np.float64), self.mean.astype(np.float64)
        scale, shift = (self.parameters[n].data.astype(np.float64) for n in ("scale", "shift"))
        first = np.abs(c.data - mean) + d
        last = first * np.abs(a * scale) + np.abs(shift)
        fresh = gamma(4) * last + 2 * (np.abs(scale) + 1) * SMALLEST
        largest = np.maximum(np.maximum(first, first * np.abs(a)), last)
        fresh = np.where(largest * (1 + gamma(4)) > LARGEST, np.inf, fresh)
        return bounds.note((c - mean) * (a * scale) + shift, np.abs(a * scale) * d + fresh, fresh)

    def move(self, mean: np.ndarray, variance: np.ndarray, count: int, rounded=np.asarray) -> None:
        """Move the running statistics towards those of a batch of `count` values a channel, rounding what is kept."""
        unbiased = variance * np.float32(count / max(count - 1, 1))
        step = np.float32(self.momentum)
        self.mean[:] = rounded((1 - step) * self.mean + step * mean)
        self.variance[:] = rounded((1 - step) * self.variance + step * unbiased)


@dataclass
class ReLU(Layer):
    """max(x, 0)."""

    def __call__(self, x, run):
        return p.relu(x)

    def program(self, writer, x):
        from refimpl.nn.engine import elementwise as kernels

        y = writer.space.take(x.shape, x.needs_gradient)
        writer.call(kernels.relu, x.flat, y.flat)
        writer.space.give(x)
        if writer.training:
            writer.space.share(y)

        def backward(dy):
            dx = writer.space.take(x.shape)
            writer.call(kernels.relu_gradient, y.flat, dy.flat, dx.flat)
            writer.space.give(y, dy)
            return dx

        return y, backward

    def kept_for_backward(self, output):
        return [Kept(math.prod(output), "sign")]

    def error_bound(self, c, d, bounds):
        moved = np.where(c.data > 0, d, np.maximum(c.data + d, 0))
        return bounds.note(p.relu(c), moved, np.maximum(d - np.abs(c.data), 0))


@dataclass
class AveragePool(Layer):
    """Mean over the whole image."""

    def output_shape(self, shape):
        return shape[-1:]

    def __call__(self, x, run):
        how = run.every_operation("mean", self)
        return p.image_mean(x) if how is None else every_operation.mean(x, how=how)

    def program(self, writer, x):
        from refimpl.nn.engine import pooling as kernels

        if len(x.shape) != 4 or writer.accumulates("mean", self):
            return super().program(writer, x)
        pixels = x.reshape(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])
        y = writer.space.take((x.shape[0], x.shape[3]), x.needs_gradient)
        writer.call(kernels.image_means, pixels, y)
        writer.space.give(x)

        def backward(dy):
            dx = writer.space.take(x.shape)
            writer.call(kernels.image_means_gradient, dy, dx.reshape(*pixels.shape))
            writer.space.give(dy)
            return dx

        return y, backward

    def kept_for_backward(self, output):
        return [Kept(math.prod(output), "low")]

    def error_bound(self, c, d, bounds):
        fresh = gamma(2) * (np.abs(c.data) + d).mean(axis=(1, 2)) + SMALLEST
        return bounds.note(c.mean(axis=(1, 2)), d.mean(axis=(1, 2)) + fresh, fresh)


@dataclass
class Flatten(Layer):
    """An image as one row of features."""

    def output_shape(self, shape):
        return (math.prod(shape),)

    def __call__(self, x, run):
        return p.reshape(x, shape=(x.shape[0], -1))

    def program(self, writer, x):
        """Write nothing: it is the same place."""
        return x.reshape(x.shape[0], math.prod(x.shape[1:])), lambda dy: dy.reshape(*x.shape)

    def error_bound(self, c, d, bounds):
        return c.reshape(len(d), -1), d.reshape(len(d), -1)


@dataclass
class Linear(Layer):
    """x W + b over the last axis; by default both drawn uniformly from +-1/sqrt(features), as PyTorch does."""

    features: int
    outputs: int
    initializer: Rule = "pytorch"

    def __post_init__(self):
        check.integer("Linear", "features", self.features, check.Interval(1))
        check.integer("Linear", "outputs", self.outputs, check.Interval(1))
        check.choice("Linear", "initializer", self.initializer, RULES)

    def initialize(self, rng):
        self._parameter("weight", draw(self.initializer, (self.features, self.outputs), rng))
        bound = 1 / math.sqrt(self.features)
        drawn = rng.uniform(-bound, bound, self.outputs)
        self._parameter("bias", drawn if self.initializer == "pytorch" else 0 * drawn)

    def parameter_count(self):
        return (self.features + 1) * self.outputs

    def output_shape(self, shape):
        if shape[-1] != self.features:
            raise ValueError(f"{self}: takes {self.features} features, got shape {shape}")
        return (*shape[:-1], self.outputs)

    def __call__(self, x, run):
        weight, bias = (self.parameters[name] for name in ("weight", "bias"))
        return product(p.matmul, x, weight, run.rounder, self.name, bias=bias, exact=run.exact)

    def program(self, writer, x):
        """Write a convolution of an image one pixel high, and a bias."""
        from refimpl.nn.engine import elementwise as kernels

        if len(x.shape) != 2:
            return super().program(writer, x)
        rows = x.shape[0]
        y = writer.space.take((rows, self.outputs))
        image, products = x.reshape(1, 1, rows, self.features), y.reshape(1, 1, rows, self.outputs)
        products_backward = writer.products(self, "weight", image, products)
        writer.call(kernels.add_bias, y, writer.parameter(self, "bias"))

        def backward(dy):
            writer.call(kernels.sum_columns, dy, writer.gradient_of(self, "bias"))
            dx = products_backward(dy.reshape(*products.shape))
            return None if dx is None else dx.reshape(*x.shape)

        return y, backward

    def error_bound(self, c, d, bounds):
        weight, bias = (self.parameters[n].data.astype(np.float64) for n in ("weight", "bias"))
        return bounds.products(c, d, p.matmul, weight, bias, self.features, self.name)


@dataclass
class Dropout(Layer):
    """Set a fraction p of the elements to zero in training, and enlarge the others to make up for it."""

    p: float = 0.5
    _key = _batches = 0  # until there is a network to draw them for

    def __post_init__(self):
        check.number("Dropout", "p", self.p, check.BELOW_ONE)

    def initialize(self, rng):
        self._key, self._batches = int(rng.integers(2**63)), 0

    def state(self):
        return {"batches": np.array(self._batches)}

    def load_state(self, state):
        self._batches = int(state["batches"])

    def __call__(self, x, run):
        if not run.training:
            return x
        draws = np.random.default_rng((self._key, self._batches))
        self._batches += 1
        kept = draws.random(x.shape, np.float32) >= self.p
        return x * Tensor(kept / np.float32(1 - self.p))

    def kept_for_backward(self, output):
        return [Kept(math.prod(output), "sign")]

    def error_bound(self, c, d, bounds):
        return c, d


@dataclass
class MaxPool(Layer):
    """Largest value of each size x size window, windows side by side."""

    size: int = 2

    def __post_init__(self):
        check.integer("MaxPool", "size", self.size, check.Interval(1))

    def output_shape(self, shape):
        if len(shape) != 3 or min(shape[:2]) < self.size:
            raise ValueError(f"{self}: takes images of at least its size, got shape {shape}")
        return shape[0] // self.size, shape[1] // self.size, shape[2]

    def __call__(self, x, run):
        return p.max_pool(x, size=self.size, stride=self.size)

    def program(self, writer, x):
        from refimpl.nn.engine import pooling as kernels

        y = writer.space.take((x.shape[0], *self.output_shape(x.shape[1:])), x.needs_gradient)
        writer.call(kernels.max_pool, x, self.size, y)
        writer.keep_for_backward(x)

        def backward(dy):
            dx = writer.space.take(x.shape)
            writer.call(kernels.max_pool_gradient, x, dy, self.size, dx)
            writer.space.give(x, dy)
            return dx

        return y, backward

    def kept_for_backward(self, output):
        return [Kept(math.prod(output), "low")]

    def error_bound(self, c, d, bounds):
        def largest(x):
            return p.max_pool(x, size=self.size, stride=self.size)

        def windows(x):
            """Return (batch, down, across, channels, size^2): the windows side by side, each row by row."""
            batch, height, width, channels = x.shape
            down, across = height // self.size, width // self.size
            x = x[:, : down * self.size, : across * self.size]
            x = x.reshape(batch, down, self.size, across, self.size, channels)
            return x.transpose(0, 1, 3, 5, 2, 4).reshape(batch, down, across, channels, self.size**2)

        values, errors = windows(c.data), windows(d)
        leader = np.expand_dims(values.argmax(axis=-1), -1)
        least = np.take_along_axis(values - errors, leader, -1)[..., 0]
        others = values + errors
        np.put_along_axis(others, leader, -np.inf, -1)
        return bounds.note(largest(c), largest(Tensor(d)).data, np.maximum(others.max(axis=-1) - least, 0))


@dataclass
class Sequential(Layer):
    """Layers one after the other."""

    layers: list[Layer]

    def __post_init__(self):
        such = "a layer, such as those of refimpl.nn.layers"
        layers = check.sequence("Sequential", "layers", self.layers, "[Linear(64, 10)]", 0)
        if not isinstance(self.layers, (list, tuple)):  # a generator, say, which gives its layers once
            self.layers = layers
        for i, layer in enumerate(layers):
            check.instance("Sequential", f"layers[{i}]", layer, Layer, such)
        name_layers(self)

    def children(self):
        return [(f"{i} {type(layer).__name__}", layer) for i, layer in enumerate(self.layers)]

    def initialize(self, rng):
        for layer in self.layers:
            layer.initialize(rng)

    def walk(self, shape):
        """Yield (name, layer, output shape) in the order of the forward pass, checking shapes.

        A sequence is not a call of its own: it is what its layers are.
        """
        for layer in self.layers:
            yield from layer.walk(shape)
            shape = layer.output_shape(shape)

    def output_shape(self, shape):
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def __call__(self, x, run):
        for layer in self.layers:
            x = layer(x, run)
        return x

    def program(self, writer, x):
        """Write layers one after the other, [Round] BatchNorm [ReLU] [Round] as one."""
        backwards: list[Backward] = []
        rest = list(self.layers)
        fresh = False  # whether x is a convolution's output, nobody else's, and may be rounded where it is
        while rest:
            layer = rest.pop(0)
            if fresh and isinstance(layer, Round) and rest and isinstance(rest[0], BatchNorm):
                before, layer = layer, rest.pop(0)
            else:
                before = None
            fresh = isinstance(layer, Convolution)
            if isinstance(layer, BatchNorm):
                relu = bool(rest) and isinstance(rest[0], ReLU) and bool(rest.pop(0))
                after = rest.pop(0) if rest and isinstance(rest[0], Round) else None
                x, backward = layer.program(writer, x, before, relu, after)
            else:
                x, backward = layer.program(writer, x)
            backwards.append(backward)

        def all_backward(dy):
            for backward in reversed(backwards):
                dy = None if dy is None else backward(dy)
            return dy

        return x, all_backward

    def error_bound(self, c, d, bounds):
        for layer in self.layers:
            c, d = layer.error_bound(c, d, bounds)
        return c, d

    def every_layer(self) -> list[Layer]:
        """Return all layers, those inside others too, in the order they are named."""
        found: list[Layer] = []
        stack: list[Layer] = [self]
        while stack:
            layer = stack.pop()
            found.append(layer)
            stack.extend(child for _, child in reversed(layer.children()))
        return found

    def named_tensors(self) -> list[tuple[str, str, Tensor]]:
        """Return (layer, parameter, tensor) for every parameter, in the order of the layers."""
        return [(layer.name, name, tensor) for layer in self.every_layer() for name, tensor in layer.parameters.items()]

    def tensors(self) -> list[Tensor]:
        """Return every parameter, in the order of the layers."""
        return [tensor for _, _, tensor in self.named_tensors()]

    def parameter_total(self) -> int:
        """Return the number of parameters of all layers, known before they are drawn."""
        return sum(layer.parameter_count() for layer in self.every_layer())
