"""A new layer is one class: it trains, both ways, is counted, planned and bounded by what it says of itself."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

import refimpl as rf
from refimpl.nn.engine.program import network_program
from refimpl.nn.layer import Kept, Layer
from refimpl.nn.layers import BatchNorm, Convolution, Flatten, Linear, ReLU, Round, Sequential
from refimpl.nn.rounder import Rounder
from refimpl.numerics.rounding_error import forward_error_bound
from refimpl.papers import metric_driven
from refimpl.peppp import configuration
from refimpl.peppp.memory import count

DIGITS = rf.data.load("digits")
FEW = replace(DIGITS, train_images=DIGITS.train_images[:96], train_labels=DIGITS.train_labels[:96])
POLICY = rf.Precision(low="e4m3", high="e8m7")


def square(x, y):
    np.multiply(x, x, out=y)


def square_gradient(x, dy, dx):
    np.multiply(dy, x, out=dx)
    np.add(dx, dx, out=dx)


@dataclass
class Square(Layer):
    """x times x."""

    def __call__(self, x, run):
        return x * x

    def kept_for_backward(self, output):
        return [Kept(math.prod(output), "high")]

    def error_bound(self, c, d, bounds):
        """|x^2 - c^2 - 2 c (x - c)| = (x - c)^2, and one product is rounded, or underflows."""
        size = (np.abs(c.data) + d) ** 2
        fresh = d * d + 2.0**-23 * size + 2.0**-149
        return bounds.note(c * c, 2 * np.abs(c.data) * d + fresh, fresh)

    def program(self, writer, x):
        y = writer.space.take(x.shape, x.needs_gradient)
        writer.call(square, x.flat, y.flat)
        writer.keep_for_backward(x)

        def backward(dy):
            dx = writer.space.take(x.shape)
            writer.call(square_gradient, x.flat, dy.flat, dx.flat)
            writer.space.give(x, dy)
            return dx

        return y, backward


def network(kind=Square):
    layers = [Flatten(), Linear(64, 16), kind(), Round("activation"), Linear(16, 10), Round("logits")]
    return Sequential([Round("input"), *layers])


def test_it_is_trained_by_the_engine_as_layer_by_layer():
    bits = []
    for layer_by_layer in (False, True):
        result = rf.nn.fit(network(), DIGITS, precision=POLICY, epochs=1, layer_by_layer=layer_by_layer)
        bits.append((result.test_error, *(t.data.tobytes() for t in result.model.tensors())))
    assert bits[0] == bits[1]
    model = network()
    model.initialize(np.random.default_rng(0))
    assert network_program(model, (8, 8, 8, 1), Rounder(POLICY, 0), training=True) is not None


def test_without_a_program_the_network_goes_layer_by_layer():
    class Unprogrammed(Square):
        program = Layer.program

    model = network(Unprogrammed)
    model.initialize(np.random.default_rng(0))
    assert network_program(model, (8, 8, 8, 1), Rounder(POLICY, 0), training=True) is None


def test_another_function_does_not_inherit_the_program():
    class Doubled(Square):
        def __call__(self, x, run):
            return x * x + x * x

    class Named(Doubled):
        pass

    model = network(Named)
    model.initialize(np.random.default_rng(0))
    assert network_program(model, (8, 8, 8, 1), Rounder(POLICY, 0), training=True) is None


def test_nor_does_one_that_would_be_computed_with_its_neighbours():
    class Doubled(ReLU):
        def __call__(self, x, run):
            y = super().__call__(x, run)
            return y + y

    for kind in (ReLU, Doubled):
        model = Sequential([Convolution(1, 4, 3), BatchNorm(4), kind(), Flatten(), Linear(256, 10)])
        model.initialize(np.random.default_rng(0))
        program = network_program(model, (8, 8, 8, 1), Rounder(POLICY, 0), training=True)
        assert (program is None) == (kind is Doubled)


@pytest.mark.parametrize("operand", metric_driven.OPERANDS)
@pytest.mark.parametrize("fmt", ["float32", "int8", metric_driven.E4M3])
def test_planted_outliers_are_trained_as_layer_by_layer(operand, fmt):
    ways = () if fmt == "float32" else ((operand, fmt, "tensor", metric_driven.NEAREST),)
    policy, bits = metric_driven.precision(ways), []
    for layer_by_layer in (False, True):
        model = metric_driven.mlp(operand)
        result = rf.nn.fit(model, FEW, precision=policy, epochs=1, batch_size=16, layer_by_layer=layer_by_layer)
        bits.append((result.test_error, *(t.data.tobytes() for t in result.model.tensors())))
    assert bits[0] == bits[1]


def test_what_its_backward_pass_reads_is_counted():
    memory = count(network(), (8, 8, 1), configuration("e4m3+e8m7"), batch_size=32, accounting="needed")
    (held,) = (item for item in memory.items if item.layer == "3 Square" and item.kind == "activations")
    assert (held.elements, held.bits) == (32 * 16, 16)


def test_the_plan_lists_the_roundings_around_it():
    plan = rf.nn.rounding_plan(network(), DIGITS, POLICY, batch_size=8)
    assert ("activation", "4 Round", (8, 16)) in [(row["role"], row["layer"], row["shape"]) for row in plan]


def test_no_output_is_further_from_the_exact_one_than_its_bound():
    policy = rf.Precision(low="float16", high="float16", rounding="ties_to_even")
    model = rf.nn.fit(network(), DIGITS, epochs=1).model
    images = DIGITS.test_images[:50]
    exact, bound = forward_error_bound(model, images, policy)
    computed = rf.nn.training.logits(model, images, Rounder(policy, 0))
    assert np.isfinite(bound).all() and (np.abs(computed - exact) <= bound).all()
    assert np.abs(computed - exact).max() > 1e-5


def test_a_layer_without_a_bound_is_named():
    class Unbounded(Square):
        error_bound = Layer.error_bound

    model = rf.nn.fit(network(Unbounded), DIGITS, epochs=1, layer_by_layer=True).model
    with pytest.raises(ValueError, match="3 Unbounded"):
        forward_error_bound(model, DIGITS.test_images[:5], POLICY)
