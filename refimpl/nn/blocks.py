"""Layers made of layers: residual blocks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from refimpl.nn.error_bounds import LARGEST, UNIT, gamma
from refimpl.nn.layer import Layer
from refimpl.nn.layers import BatchNorm, Convolution, ReLU, Round, Sequential


@dataclass
class Residual(Layer):
    """The addition of PEPPP: Q(main(x) + Q(skip(x))), Q rounding activations; no ReLU after it.

    `skip` is empty where main keeps the shape.  *Source*: PEPPP's code.
    """

    main: Sequential
    skip: Sequential = field(default_factory=lambda: Sequential([]))

    def __post_init__(self):
        self.round_skip, self.round_sum = Round("activation"), Round("activation")

    def children(self):
        return [
            ("main", self.main),
            ("skip", self.skip),
            ("round skip", self.round_skip),
            ("round sum", self.round_sum),
        ]

    def initialize(self, rng):
        self.main.initialize(rng)
        self.skip.initialize(rng)

    def output_shape(self, shape):
        shapes = self.main.output_shape(shape), self.skip.output_shape(shape)
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{self.name or 'Residual'}: main makes {shapes[0]} of {shape} and "
                f"skip {shapes[1]}; they must agree to be added"
            )
        return shapes[0]

    def walk(self, shape):
        """Yield the calls of a basic block in the paper's order, its own last."""
        output = self.output_shape(shape)
        yield from self.main.walk(shape)
        yield from self.skip.walk(shape)
        yield self.round_skip.name, self.round_skip, output
        yield self.round_sum.name, self.round_sum, output
        yield self.name, self, output

    def __call__(self, x, run):
        y = self.main(x, run)
        rounded = self.round_skip(self.skip(x, run), run)
        return self.round_sum(y + rounded, run)

    def program(self, writer, x):
        """Write both branches and their sum, with its two roundings."""
        from refimpl.nn.engine import elementwise, rounding

        main, main_backward = self.main.program(writer, writer.space.share(x))
        skip, skip_backward = self.skip.program(writer, x)
        skip, first = writer.rounding_of(self.round_skip, skip)
        y = writer.space.take(main.shape, main.needs_gradient)
        second = writer.rounding_after(self.round_sum, y)
        writer.call(rounding.round_sum, main.flat, skip.flat, y.flat, first[0], *second)
        writer.space.give(main, skip)

        def backward(dy):
            dy = writer.round(self.round_sum, dy, backward=True)
            dx = main_backward(writer.space.share(dy))
            other = writer.round(self.round_skip, dy, backward=True) if skip.needs_gradient else writer.space.give(dy)
            other = None if other is None else skip_backward(other)
            if dx is None or other is None:
                return dx or other
            writer.call(elementwise.add, dx.flat, other.flat, dx.flat)
            writer.space.give(other)
            return dx

        return y, backward

    def error_bound(self, c, d, bounds):
        first, d1 = self.main.error_bound(c, d, bounds)
        second, d2 = self.skip.error_bound(c, d, bounds)
        second, d2 = self.round_skip.error_bound(second, d2, bounds)
        sizes = np.abs(first.data) + d1 + np.abs(second.data) + d2
        fresh = np.where(sizes * (1 + UNIT) > LARGEST, np.inf, gamma(1) * sizes)
        total, d = bounds.note(first + second, d1 + d2 + fresh, fresh)
        return self.round_sum.error_bound(total, d, bounds)


def basic_block(channels: int, filters: int, *, stride: int = 1) -> Residual:
    """Return the block of two 3x3 convolutions that ResNet-18 is made of, with PEPPP's roundings.

    >>> basic_block(16, 32, stride=2).output_shape((8, 8, 16))
    (4, 4, 32)
    """
    main = [
        Convolution(channels, filters, stride=stride),
        *_after(filters),
        Convolution(filters, filters),
        *_after(filters),
    ]
    skip = []
    if stride != 1 or channels != filters:
        skip = [Convolution(channels, filters, size=1, stride=stride, padding=0), BatchNorm(filters)]
    return Residual(Sequential(main), Sequential(skip))


def _after(filters: int) -> list[Layer]:
    return [Round("activation"), BatchNorm(filters), ReLU(), Round("activation")]
