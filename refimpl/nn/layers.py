"""Layers: what a network computes, and the points at which it rounds.

A layer knows the shape it makes of a shape, so that a network can be checked and its memory
counted without running it.  Shapes are per image: (height, width, channels) or (features,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.nn.precision import Rounder


@dataclass
class Pass:
    """One way through a network: who rounds, and whether statistics are those of the batch."""

    rounder: Rounder
    training: bool


@dataclass
class Layer:
    """A step of a network.  Subclasses say what they compute and the shape it has."""

    parameters: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw the parameters (float32)."""

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape made of a shape; ValueError if it does not fit."""
        return shape

    def parameter_count(self) -> int:
        """Return the number of parameters, known before they are drawn."""
        return 0

    def __call__(self, x: Tensor, run: Pass) -> Tensor:
        """Compute the layer's output for a batch."""
        raise NotImplementedError

    def _parameter(self, name: str, values: np.ndarray) -> None:
        self.parameters[name] = Tensor(values.astype(np.float32), requires_grad=True)


@dataclass
class Round(Layer):
    """A rounding point: values on the way forward, and gradients on the way back, in one format."""

    role: str

    def __call__(self, x: Tensor, run: Pass) -> Tensor:
        if not run.rounder.precision.rounds:
            return x

        def rounding(array):
            return run.rounder(array, self.role)

        return p.rounded(x, forward=rounding, backward=rounding)


@dataclass
class Convolution(Layer):
    """Square filters without bias; weights drawn from N(0, 2 / (size^2 filters)), as in PEPPP."""

    channels: int
    filters: int
    size: int = 3
    stride: int = 1
    padding: int = 1

    def initialize(self, rng):
        deviation = math.sqrt(2 / (self.size**2 * self.filters))
        shape = (self.size, self.size, self.channels, self.filters)
        self._parameter("weight", rng.standard_normal(shape, np.float32) * np.float32(deviation))

    def parameter_count(self):
        return self.size**2 * self.channels * self.filters

    def output_shape(self, shape):
        if len(shape) != 3 or shape[2] != self.channels:
            raise ValueError(f"{self}: takes images of {self.channels} channels, got shape {shape}")
        height, width = ((n + 2 * self.padding - self.size) // self.stride + 1 for n in shape[:2])
        if min(height, width) < 1:
            raise ValueError(f"{self}: its filter is larger than an image of shape {shape}")
        return height, width, self.filters

    def __call__(self, x, run):
        return p.convolve(x, self.parameters["weight"], stride=self.stride, padding=self.padding)


@dataclass
class BatchNorm(Layer):
    """Batch normalization; running statistics (never rounded) move by 0.1 and serve evaluation."""

    channels: int
    epsilon: float = 1e-5
    movement: float = 0.1

    def initialize(self, rng):
        self._parameter("scale", np.ones(self.channels))
        self._parameter("shift", np.zeros(self.channels))
        self.mean = np.zeros(self.channels, np.float32)
        self.variance = np.ones(self.channels, np.float32)

    def parameter_count(self):
        return 2 * self.channels

    def output_shape(self, shape):
        if shape[-1] != self.channels:
            raise ValueError(f"{self}: takes {self.channels} channels, got shape {shape}")
        return shape

    def __call__(self, x, run):
        scale, shift = self.parameters["scale"], self.parameters["shift"]
        mean, variance = self.mean, self.variance
        if run.training:
            mean, variance = p.moments(x.data)
            count = x.data.size // self.channels
            unbiased = variance * np.float32(count / max(count - 1, 1))
            step = np.float32(self.movement)
            self.mean = (1 - step) * self.mean + step * mean
            self.variance = (1 - step) * self.variance + step * unbiased
        return p.normalize(
            x,
            scale,
            shift,
            mean=mean,
            variance=variance,
            of_batch=run.training,
            epsilon=self.epsilon,
        )


@dataclass
class ReLU(Layer):
    """max(x, 0)."""

    def __call__(self, x, run):
        return p.relu(x)


@dataclass
class AveragePool(Layer):
    """Mean over the whole image."""

    def output_shape(self, shape):
        return shape[-1:]

    def __call__(self, x, run):
        return p.mean(x, axis=(1, 2))


@dataclass
class Flatten(Layer):
    """An image as one row of features."""

    def output_shape(self, shape):
        return (math.prod(shape),)

    def __call__(self, x, run):
        return p.reshape(x, shape=(x.shape[0], -1))


@dataclass
class Linear(Layer):
    """x W + b, both drawn uniformly from +-1/sqrt(features), as PyTorch does."""

    features: int
    outputs: int

    def initialize(self, rng):
        bound = 1 / math.sqrt(self.features)
        self._parameter("weight", rng.uniform(-bound, bound, (self.features, self.outputs)))
        self._parameter("bias", rng.uniform(-bound, bound, self.outputs))

    def parameter_count(self):
        return (self.features + 1) * self.outputs

    def output_shape(self, shape):
        if shape != (self.features,):
            raise ValueError(f"{self}: takes {self.features} features, got shape {shape}")
        return (self.outputs,)

    def __call__(self, x, run):
        return x @ self.parameters["weight"] + self.parameters["bias"]


@dataclass
class Sequential(Layer):
    """Layers one after the other."""

    layers: list[Layer]

    def initialize(self, rng):
        for layer in self.layers:
            layer.initialize(rng)

    def walk(self, shape: tuple[int, ...]):
        """Yield (name, layer, output shape) in the order of the forward pass, checking shapes."""
        for i, layer in enumerate(self.layers):
            shape = layer.output_shape(shape)
            yield f"{i} {type(layer).__name__}", layer, shape

    def output_shape(self, shape):
        *_, (_, _, output) = self.walk(shape)
        return output

    def __call__(self, x, run):
        for layer in self.layers:
            x = layer(x, run)
        return x

    def tensors(self) -> list[Tensor]:
        """Return every parameter, in the order of the layers."""
        return [tensor for layer in self.layers for tensor in layer.parameters.values()]
