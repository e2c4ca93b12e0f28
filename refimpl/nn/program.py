"""A network written out as a program: the fast road through it, in training and out of it.

`Program` walks a network once for batches of one shape.  It lays out every tensor of a step in one
block of memory, gives space back as soon as a tensor has been used for the last time, and writes
down the operations in the order layer after layer has them, the backward pass included;
`refimpl.kernels.machine` carries them out, several layers at a time where that saves passes over
memory.  The results are the same to the bit, which the tests demand.

It knows convolutions, linear layers, batch norm, ReLU, pooling and residual blocks, and roundings of
the plain kind: to a format that float32 holds, to even or stochastically, without scales.  For
anything else `program` returns None, and the network goes layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from refimpl.nn.blocks import Residual
from refimpl.nn.layers import (
    AveragePool,
    BatchNorm,
    Convolution,
    Flatten,
    Layer,
    Linear,
    MaxPool,
    ReLU,
    Round,
    Sequential,
)
from refimpl.nn.precision import PRODUCT_ROLES
from refimpl.nn.rounder import Rounder
from refimpl.nn.workspace import LINE, Block, Workspace


class _NotServedError(Exception):
    """The network or its precision has something only the plain road knows."""


def program(
    model: Sequential, shape: tuple[int, ...], rounder: Rounder, *, training: bool, weights: np.ndarray | None = None
) -> Program | None:
    """Return the Program of a network for batches of this shape, None where there is none."""
    try:
        return Program(model, shape, rounder, training=training, weights=weights)
    except _NotServedError:
        return None


class Program:
    """A network ready to run on batches of one shape.

    Parameters
    ----------
    model : Sequential
        In training, the running statistics of its batch norms become parts of a vector of ours.
    shape : tuple of int
        Of a batch.
    rounder : Rounder
    training : bool
        Whether there is a way back.
    weights : ndarray of float32, shape (parameters,), optional
        What the model's tensors are parts of; by default a copy of them.

    Attributes
    ----------
    images : ndarray of float32, of that shape
        Where `forward` expects the batch; it is overwritten later.
    logits : ndarray of float32, shape (batch, classes)
    """

    def __init__(self, model, shape, rounder, *, training, weights=None):
        from refimpl.kernels import machine

        tensors = model.tensors()
        if not tensors or any(t.data.dtype != np.float32 for t in tensors):
            raise _NotServedError
        if weights is None:
            weights = np.concatenate([t.data.reshape(-1) for t in tensors])
        self.rounder, self._carry_out = rounder, machine.run
        writer = _Writer(model, rounder, training)
        images = writer.space.take(shape, needs_gradient=False)
        logits, back = writer.sequence(model.layers, images)
        if len(logits.shape) != 2:
            raise _NotServedError
        loss = writer.space.take((1, 1))
        writer.write("LOSS", x=logits.at, y=loss.at, **logits.extent)
        self._forward = writer.finish()
        if training:
            gradient = writer.space.take(logits.shape)
            writer.write("LOSS_BACK", x=logits.at, dx=gradient.at, **logits.extent)
            writer.space.give(back(gradient))
            self._backward = writer.finish()
        memory = np.empty(writer.space.size + LINE, np.float32)
        memory = memory[-(memory.ctypes.data // 4) % LINE :]
        self.images, self.logits, self._loss = (
            memory[block.at : block.at + block.size].reshape(block.shape) for block in (images, logits, loss)
        )
        sites = np.array(writer.sites, machine.SITE)
        self._vectors = memory, weights, np.zeros_like(weights), writer.statistics(), sites

    def forward(self, labels: np.ndarray) -> np.float32:
        """Compute `logits` of `images`; return their mean cross-entropy with labels (int64)."""
        self._run(*self._forward, labels, 1.0)
        return self._loss[0, 0]

    def backward(self, labels: np.ndarray, scale: float) -> np.ndarray:
        """Return the gradients of `scale` times the loss of the last forward pass, laid out as the weights."""
        self._run(*self._backward, labels, float(np.float32(scale)))
        return self._vectors[2]

    def _run(self, operations, roundings, labels, scale) -> None:
        noise = self.rounder.noise()
        self._carry_out(operations, *self._vectors, noise, labels, scale)
        self.rounder.drawn(noise, roundings)


Back = Callable[[Block], "Block | None"]


class _Writer:
    """Writes layers down as operations.

    A method for a layer owns its input: it gives it back when nobody needs it any more, in training
    often not before the way back.  It returns the output and the way back, which likewise owns the
    gradient it is given and returns that of the input, or None if nobody needs it.
    """

    def __init__(self, model: Sequential, rounder: Rounder, training: bool):
        self.rounder, self.training = rounder, training
        self.places, start = {}, 0  # of parameters in the vector of weights
        for tensor in model.tensors():
            self.places[id(tensor)] = start
            start += tensor.data.size
        self.operations: list[dict] = []
        self.streams = 0
        self.sites: list[tuple] = [(0,) * 15]  # the first: nothing
        self.norms: list[BatchNorm] = []
        self.space = Workspace()
        self.methods = {
            Convolution: self.convolution,
            Linear: self.linear,
            ReLU: self.relu,
            Round: self.round,
            AveragePool: self.average_pool,
            MaxPool: self.max_pool,
            Flatten: self.flatten,
            Residual: self.residual,
            Sequential: lambda layer, x: self.sequence(layer.layers, x),
        }

    def keep_for_back(self, *blocks: Block) -> None:
        """Give tensors back now if there is no way back, which would do it."""
        if not self.training:
            self.space.give(*blocks)

    # operations

    def write(self, kind: str, **fields) -> None:
        """Write an operation down."""
        self.operations.append({"kind": kind, **fields})

    def finish(self):
        """Return the operations written since the last time, and how many streams they draw from."""
        from refimpl.kernels import machine

        table = np.zeros(len(self.operations), machine.OPERATION)
        for row, fields in zip(table, self.operations, strict=True):
            fields["kind"] = getattr(machine, fields["kind"])
            for name, value in fields.items():
                row[name] = value
        streams, self.operations, self.streams = self.streams, [], 0
        return table, streams

    def statistics(self) -> np.ndarray:
        """Return all running statistics as one vector; in training, the layers' become parts of it."""
        vectors = [v for norm in self.norms for v in (norm.mean, norm.variance)]
        flat = np.concatenate([np.empty(0, np.float32), *vectors])
        if self.training:
            parts = iter(np.split(flat, np.cumsum([v.size for v in vectors])))
            for norm in self.norms:
                norm.mean, norm.variance = next(parts), next(parts)
        return flat

    def site(self, layer: Round | None, back: bool = False, prefix: str = "") -> dict[str, int]:
        """Return the fields of an operation that say how it rounds, at a rounding point or not at all."""
        row = self.sites[0]
        if layer is not None:
            row = self.rounder.site(f"{layer.role} gradient" if back else layer.role, layer.name)
        if row is None:
            raise _NotServedError
        if not row[0]:
            return {f"{prefix}site": 0, f"{prefix}stream": 0}
        if row not in self.sites:
            self.sites.append(row)
        self.streams += 1
        return {f"{prefix}site": self.sites.index(row), f"{prefix}stream": self.streams - 1}

    # layers

    def sequence(self, layers: list[Layer], x: Block) -> tuple[Block, Back]:
        """Write layers one after the other, [Round] BatchNorm [ReLU] [Round] as one."""
        ways, i, fresh = [], 0, False
        while i < len(layers):
            before = None
            # Rounding in place: only a convolution's output is nobody else's.
            if fresh and isinstance(layers[i], Round) and isinstance(_at(layers, i + 1), BatchNorm):
                before, i = layers[i], i + 1
            layer, i = layers[i], i + 1
            if isinstance(layer, BatchNorm):
                relu = isinstance(_at(layers, i), ReLU)
                i += relu
                after = layers[i] if isinstance(_at(layers, i), Round) else None
                i += after is not None
                x, back = self.batch_norm(before, layer, relu, after, x)
            elif type(layer) in self.methods:
                x, back = self.methods[type(layer)](layer, x)
            else:
                raise _NotServedError
            fresh = isinstance(layer, Convolution)
            ways.append(back)

        def all_back(dy):
            for back in reversed(ways):
                dy = None if dy is None else back(dy)
            return dy

        return x, all_back

    def round(self, layer: Round, x: Block):
        """Write a rounding point."""
        y, site = x, self.site(layer)
        if site["site"]:
            y = self.space.take(x.shape, x.needs_gradient)
            self.write("ROUND", x=x.at, y=y.at, **x.extent, **site)
            self.space.give(x)
        return y, lambda dy: self.round_back(layer, dy) if x.needs_gradient else self.space.give(dy)

    def round_back(self, layer: Round, dy: Block) -> Block:
        """Write a rounding point on the way back."""
        site = self.site(layer, back=True)
        if not site["site"]:
            return dy
        dx = self.space.take(dy.shape)
        self.write("ROUND", x=dy.at, y=dx.at, **dy.extent, **site)
        self.space.give(dy)
        return dx

    def convolution(self, layer: Convolution, x: Block):
        """Write a convolution."""
        if layer.groups != 1:
            raise _NotServedError
        padding = layer.padding
        y = self.space.take((x.shape[0], *layer.output_shape(x.shape[1:])))
        padded = self.pad(x, (padding, padding), (padding, padding))
        back = self.products(layer, x, padded, y, x.extent, layer.filters, layer.size, layer.stride, padding)
        return y, back

    def pad(self, x: Block, rows: tuple[int, int], columns: tuple[int, int]) -> Block:
        """Write images with margins of zeros, so many rows and columns before and after them."""
        if not any(rows + columns):
            return x
        batch, height, width, channels = x.shape
        padded = self.space.take((batch, height + sum(rows), width + sum(columns), channels))
        self.write(
            "PAD", x=x.at, y=padded.at, top=rows[0], bottom=rows[1], left=columns[0], right=columns[1], **x.extent
        )
        self.space.give(x)
        return padded

    def products(self, layer, x, padded, y, extent, filters, size=1, stride=1, padding=0) -> Back:
        """Write the products of a convolution or linear layer; return the way back."""
        from refimpl.kernels.direct_convolution import margins

        if any(self.rounder.way(role, layer.name) for role in PRODUCT_ROLES):
            raise _NotServedError
        weight = self.places[id(layer.parameters["weight"])]
        common = {**extent, "filters": filters, "size": size, "stride": stride, "padding": padding, "weight": weight}
        self.write("CONVOLVE", x=padded.at, y=y.at, **common)
        self.keep_for_back(padded)

        def back(dy):
            self.write("CONVOLVE_BACK_FILTERS", x=padded.at, dy=dy.at, **common)
            self.space.give(padded)
            if not x.needs_gradient:
                return self.space.give(dy)
            dx = self.space.take(x.shape)
            if size > 1:
                rows, columns = (
                    margins.py_func(extent[side], outputs, size, stride, padding)
                    for side, outputs in zip(("height", "width"), y.shape[1:3], strict=True)
                )
                dy = self.pad(dy, rows, columns)
            self.write("CONVOLVE_BACK_INPUT", dy=dy.at, dx=dx.at, **common)
            self.space.give(dy)
            return dx

        return back

    def linear(self, layer: Linear, x: Block):
        """Write a linear layer: a convolution of an image one pixel high, and a bias."""
        if len(x.shape) != 2:
            raise _NotServedError
        rows, features = x.shape
        y = self.space.take((rows, layer.outputs))
        extent = {"batch": 1, "height": 1, "width": rows, "channels": features}
        products_back = self.products(layer, x, x, y, extent, layer.outputs)
        bias = self.places[id(layer.parameters["bias"])]
        self.write("BIAS", y=y.at, weight=bias, **y.extent)

        def back(dy):
            self.write("BIAS_BACK", dy=dy.at, weight=bias, **y.extent)
            return products_back(dy)

        return y, back

    def batch_norm(self, before: Round | None, norm: BatchNorm, relu, after: Round | None, x: Block):
        """Write batch norm with the rounding of x before it, the ReLU and the rounding after it."""
        channels = norm.channels
        vectors = self.space.take((2, channels))
        running = 2 * sum(other.channels for other in self.norms)
        self.norms.append(norm)
        common = {
            "x": x.at,
            "vectors": vectors.at,
            "relu": relu,
            **x.extent,
            "weight": self.places[id(norm.parameters["scale"])],
            "shift": self.places[id(norm.parameters["shift"])],
        }
        self.write(
            "MOMENTS",
            running=running,
            training=self.training,
            epsilon=norm.epsilon,
            movement=norm.momentum,
            **common,
            **self.site(before),
        )
        y = self.space.take(x.shape)
        self.write("NORMALIZE", y=y.at, **common, **self.site(after))
        self.keep_for_back(x, vectors)

        def back(dy):
            dx = self.space.take(x.shape)
            self.write("NORMALIZE_BACK_SUMS", dy=dy.at, dx=dx.at, **common, **self.site(after, back=True))
            self.space.give(dy)
            if x.needs_gradient:
                self.write("NORMALIZE_BACK", dx=dx.at, **common, **self.site(before, back=True))
            self.space.give(x, vectors)
            return dx if x.needs_gradient else self.space.give(dx)

        return y, back

    def relu(self, layer: ReLU, x: Block):
        """Write a ReLU."""
        y = self.space.take(x.shape, x.needs_gradient)
        self.write("RELU", x=x.at, y=y.at, **x.extent)
        self.space.give(x)
        if self.training:
            self.space.share(y)

        def back(dy):
            dx = self.space.take(x.shape)
            self.write("RELU_BACK", y=y.at, dy=dy.at, dx=dx.at, **x.extent)
            self.space.give(y, dy)
            return dx

        return y, back

    def flatten(self, layer: Flatten, x: Block):
        """Write nothing: it is the same place."""
        y = Block(x.at, (x.shape[0], prod(x.shape[1:])), x.needs_gradient)
        return y, lambda dy: Block(dy.at, x.shape, True)

    def average_pool(self, layer: AveragePool, x: Block):
        """Write the mean over each image."""
        if len(x.shape) != 4:
            raise _NotServedError
        y = self.space.take((x.shape[0], x.shape[-1]), x.needs_gradient)
        self.write("IMAGE_MEAN", x=x.at, y=y.at, **x.extent)
        self.space.give(x)

        def back(dy):
            dx = self.space.take(x.shape)
            self.write("IMAGE_MEAN_BACK", dy=dy.at, dx=dx.at, **x.extent)
            self.space.give(dy)
            return dx

        return y, back

    def max_pool(self, layer: MaxPool, x: Block):
        """Write the largest values of windows."""
        y = self.space.take((x.shape[0], *layer.output_shape(x.shape[1:])), x.needs_gradient)
        self.write("MAX_POOL", x=x.at, y=y.at, size=layer.size, **x.extent)
        self.keep_for_back(x)

        def back(dy):
            dx = self.space.take(x.shape)
            self.write("MAX_POOL_BACK", x=x.at, dy=dy.at, dx=dx.at, size=layer.size, **x.extent)
            self.space.give(x, dy)
            return dx

        return y, back

    def residual(self, layer: Residual, x: Block):
        """Write both branches and their sum, with its two roundings."""
        main, main_back = self.sequence(layer.main.layers, self.space.share(x))
        skip, skip_back = self.sequence(layer.skip.layers, x)
        y = self.space.take(main.shape, main.needs_gradient)
        self.write(
            "ROUND_SUM",
            x=main.at,
            z=skip.at,
            y=y.at,
            **y.extent,
            **self.site(layer.round_skip),
            **self.site(layer.round_sum, prefix="second_"),
        )
        self.space.give(main, skip)

        def back(dy):
            dy = self.round_back(layer.round_sum, dy)
            dx = main_back(self.space.share(dy))
            other = self.round_back(layer.round_skip, dy) if skip.needs_gradient else self.space.give(dy)
            other = None if other is None else skip_back(other)
            if dx is None or other is None:
                return dx or other
            self.write("ADD", x=dx.at, z=other.at, y=dx.at, **dx.extent)
            self.space.give(other)
            return dx

        return y, back


def _at(layers, i):
    return layers[i] if i < len(layers) else None
