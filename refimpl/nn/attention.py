"""Layers of a transformer: embedding, layer norm, attention, made of primitives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refimpl import _arguments as check
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.nn import every_operation
from refimpl.nn.layer import Kept, Layer
from refimpl.nn.layers import Linear, Round, Sequential
from refimpl.nn.products import product


@dataclass
class Embedding(Layer):
    """Rows of a table by number, one for each token; the input is integers (tokens,).

    Weights are drawn from N(0, 1) / sqrt(features).
    """

    words: int
    features: int

    def __post_init__(self):
        check.integer("Embedding", "words", self.words, check.Interval(1))
        check.integer("Embedding", "features", self.features, check.Interval(1))

    def initialize(self, rng):
        table = rng.standard_normal((self.words, self.features), np.float32)
        self._parameter("weight", table / np.float32(math.sqrt(self.features)))

    def parameter_count(self):
        return self.words * self.features

    def output_shape(self, shape):
        if len(shape) != 1:
            raise ValueError(f"{self}: takes a row of tokens, got shape {shape}")
        return (*shape, self.features)

    def __call__(self, x, run):
        return p.embedding(self.parameters["weight"], tokens=self.tokens(x.data))

    def tokens(self, x: np.ndarray) -> np.ndarray:
        """Return x as integers; ValueError unless all are rows of the table."""
        wrong = (x < 0) | (x >= self.words) | (x != np.floor(x))
        if wrong.any():
            raise ValueError(f"{self}: got the token {x[wrong][0]}; allowed is an integer from 0 to {self.words - 1}")
        return x.astype(np.int64)


@dataclass
class Unembedding(Layer):
    """Logits of every token of an `Embedding`, x W^T with W its table: the same parameters, counted there alone."""

    embedding: Embedding

    def output_shape(self, shape):
        if shape[-1] != self.embedding.features:
            raise ValueError(f"{self}: takes {self.embedding.features} features, got shape {shape}")
        return (*shape[:-1], self.embedding.words)

    def __call__(self, x, run):
        table = self.embedding.parameters["weight"].transpose()
        return product(p.matmul, x, table, run.rounder, self.name, exact=run.exact)


@dataclass
class ImageRows(Layer):
    """An image as a sequence: each row of pixels one vector (height, width * channels)."""

    def output_shape(self, shape):
        if len(shape) != 3:
            raise ValueError(f"{self}: takes images, got shape {shape}")
        return shape[0], shape[1] * shape[2]

    def __call__(self, x, run):
        batch, height, width, channels = x.shape
        return p.reshape(x, shape=(batch, height, width * channels))


@dataclass
class Positions(Layer):
    """Add a learned vector to each place of a sequence, drawn from N(0, 0.02^2)."""

    places: int
    features: int

    def __post_init__(self):
        check.integer("Positions", "places", self.places, check.Interval(1))
        check.integer("Positions", "features", self.features, check.Interval(1))

    def initialize(self, rng):
        drawn = rng.standard_normal((self.places, self.features), np.float32)
        self._parameter("weight", drawn * np.float32(0.02))

    def parameter_count(self):
        return self.places * self.features

    def output_shape(self, shape):
        if shape != (self.places, self.features):
            raise ValueError(f"{self}: takes ({self.places}, {self.features}), got shape {shape}")
        return shape

    def __call__(self, x, run):
        return x + self.parameters["weight"]


@dataclass
class LayerNorm(Layer):
    """Layer normalization of the last axis."""

    features: int
    epsilon: float = 1e-5

    def __post_init__(self):
        check.integer("LayerNorm", "features", self.features, check.Interval(1))
        check.number("LayerNorm", "epsilon", self.epsilon, check.FLOAT32_OR_0)

    def initialize(self, rng):
        self._parameter("scale", np.ones(self.features))
        self._parameter("shift", np.zeros(self.features))

    def parameter_count(self):
        return 2 * self.features

    def output_shape(self, shape):
        if shape[-1] != self.features:
            raise ValueError(f"{self}: takes {self.features} features, got shape {shape}")
        return shape

    def __call__(self, x, run):
        how, vectors = run.every_operation("layer norm", self), (self.parameters["scale"], self.parameters["shift"])
        if how is None:
            return p.layer_norm(x, *vectors, epsilon=self.epsilon)
        return every_operation.layer_norm(x, *vectors, epsilon=self.epsilon, how=how)


@dataclass
class GELU(Layer):
    """x Phi(x), by its tanh formula."""

    def __call__(self, x, run):
        how = run.every_operation("gelu", self)
        return p.gelu(x) if how is None else every_operation.gelu(x, how=how)

    def kept_for_backward(self, output):
        return [Kept(math.prod(output), "high")]  # its input, as it comes out of the layer before


@dataclass
class MeanOfTokens(Layer):
    """Mean over the places of a sequence."""

    def output_shape(self, shape):
        if len(shape) != 2:
            raise ValueError(f"{self}: takes sequences (places, features), got shape {shape}")
        return shape[1:]

    def __call__(self, x, run):
        how = run.every_operation("mean", self)
        return p.mean(x, axis=1) if how is None else every_operation.mean(x, how=how)


@dataclass
class Attention(Layer):
    """Multi-head self-attention: softmax(q k^T / sqrt(d)) v for each head, d = features / heads.

    If `causal`, each place attends to itself and to those before it alone.
    Rounding points: queries, keys and values; the attention weights; the mixed values.  Its products are those
    of the four linear layers inside, ``scores`` (q k^T) and ``mix`` (the attention weights by v).
    """

    features: int
    heads: int
    causal: bool = False

    def __post_init__(self):
        check.integer("Attention", "features", self.features, check.Interval(1))
        check.integer("Attention", "heads", self.heads, check.Interval(1))
        check.flag("Attention", "causal", self.causal)
        if self.features % self.heads:
            raise ValueError(f"{self}: features must be a multiple of heads")
        self.projections = [Linear(self.features, self.features, initializer="xavier") for _ in range(3)]
        self.output = Linear(self.features, self.features, initializer="xavier")
        self.points = [Round("activation") for _ in range(5)]

    def children(self):
        found = []
        for name, layer, point in zip(("query", "key", "value"), self.projections, self.points[:3], strict=True):
            found += [(name, layer), (f"round {name}", point)]
        return [*found, ("round shares", self.points[3]), ("round mixed", self.points[4]), ("out", self.output)]

    def initialize(self, rng):
        for layer in (*self.projections, self.output):
            layer.initialize(rng)

    def output_shape(self, shape):
        if len(shape) != 2:
            raise ValueError(f"{self}: takes sequences (places, features), got shape {shape}")
        return self.output.output_shape(shape)

    def products(self):
        return [f"{self.name}/scores", f"{self.name}/mix"]

    def walk(self, shape):
        """Yield the calls of attention, its own last."""
        places = self.output_shape(shape)[0]
        shapes = [*6 * [shape], (self.heads, places, places), shape, shape]
        for (_, child), output in zip(self.children(), shapes, strict=True):
            yield child.name, child, output
        yield self.name, self, shape

    def kept_for_backward(self, output):
        return [Kept(self.heads * output[0] ** 2, "high")]  # what softmax makes, before it is rounded

    def __call__(self, x, run):
        batch, places, _ = x.shape
        size = self.features // self.heads
        q, k, v = (
            point(layer(x, run), run).reshape(batch, places, self.heads, size).transpose(0, 2, 1, 3)
            for layer, point in zip(self.projections, self.points[:3], strict=True)
        )
        keys = k.transpose(0, 1, 3, 2)
        of_scores, of_mix = self.products()
        scores = product(p.matmul, q, keys, run.rounder, of_scores, exact=run.exact)
        factor, how = 1 / math.sqrt(size), run.every_operation("softmax", self)
        if how is None:
            shares = p.softmax(scores * factor, causal=self.causal)
        else:
            shares = every_operation.softmax(scores, scale=factor, causal=self.causal, how=how)
        weights = self.points[3](shares, run)
        mixed = product(p.matmul, weights, v, run.rounder, of_mix, exact=run.exact)
        mixed = mixed.transpose(0, 2, 1, 3).reshape(batch, places, self.features)
        return self.output(self.points[4](mixed, run), run)


@dataclass
class Sum(Layer):
    """x + main(x), rounded as an activation."""

    main: Sequential

    def __post_init__(self):
        self.round_sum = Round("activation")

    def children(self):
        return [("main", self.main), ("round sum", self.round_sum)]

    def initialize(self, rng):
        self.main.initialize(rng)

    def walk(self, shape):
        """Yield the calls of main, then the rounding of the sum, then its own."""
        yield from self.main.walk(shape)
        yield self.round_sum.name, self.round_sum, shape
        yield self.name, self, shape

    def __call__(self, x: Tensor, run):
        return self.round_sum(x + self.main(x, run), run)


def block(features: int, heads: int, hidden: int, *, causal: bool = False) -> Sequential:
    """Return one block of a transformer, normalizing first: attention, then two linear layers.

    >>> block(32, 4, 64).output_shape((8, 32))
    (8, 32)
    """
    return Sequential(
        [
            Sum(Sequential([LayerNorm(features), Round("activation"), Attention(features, heads, causal)])),
            Sum(
                Sequential(
                    [
                        LayerNorm(features),
                        Round("activation"),
                        Linear(features, hidden, initializer="xavier"),
                        GELU(),
                        Round("activation"),
                        Linear(hidden, features, initializer="xavier"),
                    ]
                )
            ),
        ]
    )
