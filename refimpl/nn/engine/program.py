"""A network written out as a list of calls: the fast path through it, in training and out of it.

`network_program` walks a network once for batches of one shape.  Every layer writes down, by its method
`program`, which kernels compute it, forward and backward; the tensors of a step are laid out in one block of
memory, and space is given back as soon as a tensor has been used for the last time.  To run, then, is to call
one kernel after the other on parts of that memory.  The results are those of the layers one by one, to the
bit, which the tests demand.

Where a layer or a rounding has no program, `network_program` returns None: the network goes layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from refimpl.nn.engine.workspace import LINE, Block, Workspace

if TYPE_CHECKING:
    from refimpl.nn.layer import Layer
    from refimpl.nn.layers import Round, Sequential
    from refimpl.nn.rounder import Rounder

Backward = Callable[[Block], "Block | None"]
"""Writes a layer's backward pass: owns the gradient of the output, returns that of the input, None if unwanted."""

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class NotServed(Exception):  # noqa: N818  (says what, not that something is wrong)
    """The network or its precision has something that is computed layer by layer only."""


def network_program(
    model: Sequential, shape: tuple[int, ...], rounder: Rounder, *, training: bool, beside: Sequence[Call] = ()
) -> NetworkProgram | None:
    """Return the NetworkProgram of a network for batches of this shape, None where there is none."""
    try:
        return NetworkProgram(model, shape, rounder, training=training, beside=beside)
    except NotServed:
        return None


class Writer:
    """Writes layers down as calls of kernels.

    A layer's ``program(writer, x)`` owns its input: it gives it back when nobody needs it any more, in
    training often not before the backward pass.  It returns the output, and a function that writes the
    backward pass.

    Attributes
    ----------
    training : bool
        Whether there is a backward pass.
    """

    def __init__(self, model: Sequential, rounder: Rounder, training: bool):
        from refimpl.kernels.tiles import ADD_PRODUCTS

        self.training, self._rounder = training, rounder
        self.space = Workspace()
        self._calls: list[Call] = []
        self._after: list[Call] = []
        self._streams = 0
        self.block, self.round_part = ADD_PRODUCTS, rounder.round_part
        tensors = model.tensors()
        self.gradient = np.zeros(sum(t.data.size for t in tensors) if training else 0, np.float32)
        self._gradients: dict[int, np.ndarray] = {}
        start = 0
        for tensor in tensors if training else ():
            end = start + tensor.data.size
            self._gradients[id(tensor)] = self.gradient[start:end].reshape(tensor.shape)
            start = end

    def call(self, kernel: Callable, *arguments) -> None:
        """Write a call down; among the arguments, a Block becomes an array, and an Address its value."""
        self._calls += [(kernel, arguments), *self._after]
        self._after = []

    def finish(self) -> tuple[list[Call], int]:
        """Return the calls written since the last time, and how many streams they draw from."""
        found, self._calls, self._streams = (self._calls, self._streams), [], 0
        return found

    def keep_for_backward(self, *blocks: Block) -> None:
        """Give tensors back now if there is no backward pass, which would do it."""
        if not self.training:
            self.space.give(*blocks)

    def parameter(self, layer: Layer, name: str) -> np.ndarray:
        """Return a layer's parameter."""
        return layer.parameters[name].data

    def gradient_of(self, layer: Layer, name: str) -> np.ndarray:
        """Return the place for the gradient of a layer's parameter."""
        return self._gradients[id(layer.parameters[name])]

    def accumulates(self, role: str, layer: Layer) -> bool:
        """Tell whether every operation of a layer is to be rounded."""
        return self._rounder.precision.accumulator_of(role, layer.name) is not None

    def _site(self, role: str, layer: str) -> tuple[np.ndarray | None, int]:
        """Return how a role is rounded in a layer, None where kernels do not know how; and the stream it draws from."""
        site = self._rounder.site(role, layer)
        stream = self._streams
        if site is None or site["how"][0]:
            self._streams += 1
        if site is not None:
            site["stream"] = stream
        return site, stream

    def _nothing(self) -> tuple:
        """Return what a kernel that rounds is told where nothing is to be rounded, or was or will be by other calls."""
        from refimpl.nn.engine.rounding import SITE

        return np.zeros(1, SITE), self._rounder.noise, self.round_part

    def rounding_of(self, layer: Round | None, x: Block, *, backward: bool = False) -> tuple[Block, tuple]:
        """Return what a kernel that rounds x, part by part, is to be given: x, and ``(site, noise, address)``.

        A scale is found in a call of its own, before; so is rounded, into another block, what kernels cannot.
        """
        from refimpl.nn.engine.rounding import find_scale

        if layer is None:
            return x, self._nothing()
        role = f"{layer.role} gradient" if backward else layer.role
        site, stream = self._site(role, layer.name)
        if site is None:
            y = self.space.take(x.shape, x.needs_gradient)
            self.call(self._rounder.within, x, y, role, layer.name, stream)
            self.space.give(x)
            return y, self._nothing()
        if site["scaling"][0]:
            self.call(find_scale, x.flat, site)
        return x, (site, self._rounder.noise, self.round_part)

    def rounding_after(self, layer: Round | None, y: Block, *, backward: bool = False) -> tuple:
        """Return ``(site, noise, address)`` for the kernel of the next call, which makes y and rounds its parts.

        Where y is scaled, it has to be there before it can be rounded: that is done in calls of its own, afterwards.
        """
        if layer is None:
            return self._nothing()
        role = f"{layer.role} gradient" if backward else layer.role
        site, stream = self._site(role, layer.name)
        if site is None:
            self._after = [(self._rounder.within, (y, y, role, layer.name, stream))]
        elif site["scaling"][0]:
            self._after = [self._whole(y.flat, y.flat, site)]
        else:
            return site, self._rounder.noise, self.round_part
        return self._nothing()

    def _whole(self, x, y, site: np.ndarray) -> Call:
        """Return the call that rounds all of a tensor x into y, its scale found first if it has one."""
        from refimpl.nn.engine.rounding import WHOLE

        return self.round_part.kernel, (x, y, WHOLE if site["scaling"][0] else 0, site, self._rounder.noise)

    def round(self, layer: Round, x: Block, *, backward: bool = False) -> Block:
        """Write a rounding; x itself where nothing is rounded."""
        from refimpl.nn.engine.rounding import NONE

        y, (site, noise, _) = self.rounding_of(layer, x, backward=backward)
        if site["how"][0] == NONE:
            return y
        y = self.space.take(x.shape, x.needs_gradient)
        self.call(self.round_part.kernel, x.flat, y.flat, 0, site, noise)
        self.space.give(x)
        return y

    def _operand(self, role: str, layer: str, x, rows: int, *, turned: bool = False):
        """Write the rounding of a tensor of a product, a Block or an array; return where it then is.

        What shares a scale, where not all of it does, are neighbours in each of so many rows; in columns if turned.
        """
        from refimpl.nn.engine.rounding import transpose

        known, noise = self._rounder.rounding(role, layer), self._rounder.noise
        if known is None:
            return x
        site, stream = self._site(role, layer)
        y = self.space.take(x.shape, getattr(x, "needs_gradient", True))
        if known.rule.per == "tensor":
            if site is None:
                self.call(self._rounder.within, x, y, role, layer, stream)
            else:
                kernel, arguments = self._whole(x.reshape(x.size), y.flat, site)
                self.call(kernel, *arguments)
        else:
            a, b = x.reshape(rows, x.size // rows), y.reshape(rows, x.size // rows)
            first, last = [self.space.take(a.shape[::-1]) for _ in range(2)] if turned else (a, b)
            if turned:
                self.call(transpose, a, first)
            if site is None:
                self.call(self._rounder.within, first, last, role, layer, stream)
            else:
                self.call(known.in_blocks, first, last, site, noise, self.round_part)
            if turned:
                self.call(transpose, last, b)
                self.space.give(first, last)
        if isinstance(x, Block):
            self.space.give(x)
        return y

    def pad(self, x: Block, rows: tuple[int, int], columns: tuple[int, int]) -> Block:
        """Write images with margins of zeros: numbers of rows and columns before and after them."""
        from refimpl.kernels.direct_convolution import write_padded

        if not any(rows + columns):
            return x
        batch, height, width, channels = x.shape
        padded = self.space.take((batch, height + sum(rows), width + sum(columns), channels))
        self.call(write_padded, x, rows[0], columns[0], padded)
        self.space.give(x)
        return padded

    def products(self, layer: Layer, weight: str, x: Block, y: Block, stride: int = 1, padding: int = 0) -> Backward:
        """Write the products of images by a layer's filters into y; return the backward pass."""
        from refimpl.kernels import direct_convolution as kernels

        if self._rounder.rounds_sums(layer.name):
            raise NotServed
        filters = self.parameter(layer, weight)
        images = filters.ndim == 4
        shape = filters.shape if images else (1, 1, *filters.shape)
        size, rows = shape[0], x.shape[0 if images else 2]
        x = self._operand("left operand", layer.name, x, rows)
        kept = self._operand("right operand", layer.name, filters, filters.size // shape[3], turned=True)
        filters = kept.reshape(*shape)
        padded = self.pad(x, (padding, padding), (padding, padding))
        self.call(kernels.write_forward, padded, filters, stride, y, self.block)
        rounded = [kept] if isinstance(kept, Block) else []
        self.keep_for_backward(padded, *rounded)

        def backward(dy: Block) -> Block | None:
            dy = self._operand("product gradient", layer.name, dy, rows)
            gradient = self.gradient_of(layer, weight).reshape(shape)
            self.call(kernels.write_weight_gradient, padded, dy, stride, gradient, self.block)
            self.space.give(padded)
            if not x.needs_gradient:
                self.space.give(dy, *rounded)
                return None
            dx = self.space.take(x.shape)
            if size > 1:
                rows_and_columns = (
                    kernels.margins(length, outputs, size, stride, padding)
                    for length, outputs in zip(x.shape[1:3], y.shape[1:3], strict=True)
                )
                dy = self.pad(dy, *rows_and_columns)
            self.call(kernels.write_input_gradient, filters, dy, stride, padding, dx, self.block)
            self.space.give(dy, *rounded)
            return dx

        return backward


class NetworkProgram:
    """A network ready to run on batches of one shape.

    Parameters
    ----------
    model : Sequential
        Its parameters are read where they are, and in training its running statistics are written there.
    shape : tuple of int
        Of a batch.
    rounder : Rounder
    training : bool
        Whether there is a backward pass.
    beside : sequence of (kernel, arguments)
        What else a step calls: compiled with the kernels of the network, where the cache does not have it.

    Attributes
    ----------
    images : ndarray of float32, of that shape
        Where `forward` expects the batch; it is overwritten later.
    logits : ndarray of float32, shape (batch, classes)
    """

    def __init__(
        self,
        model: Sequential,
        shape: tuple[int, ...],
        rounder: Rounder,
        *,
        training: bool,
        beside: Sequence[Call] = (),
    ):
        from refimpl.kernels._by_address import Address
        from refimpl.nn.engine import losses
        from refimpl.nn.engine.compiling import compile_ahead

        tensors = model.tensors()
        if not tensors or any(t.data.dtype != np.float32 or not t.data.flags.c_contiguous for t in tensors):
            raise NotServed
        if training and rounder.precision.accumulator_of("loss"):
            raise NotServed
        if any(_computes_something_else(type(layer)) for layer in model.every_layer()):
            raise NotServed
        self._rounder = rounder
        self._labels, self._scale = np.zeros(shape[0], np.int64), np.ones(1)
        writer = Writer(model, rounder, training)
        images = writer.space.take(shape, needs_gradient=False)
        logits, backward = model.program(writer, images)
        if len(logits.shape) != 2:
            raise NotServed
        loss = writer.space.take((1,))
        writer.call(losses.cross_entropy, logits, self._labels, loss)
        forward_calls, self._forward_streams = writer.finish()
        backward_calls: list[Call] = []
        if training:
            gradient = writer.space.take(logits.shape)
            writer.call(losses.cross_entropy_gradient, logits, self._labels, self._scale, gradient)
            writer.space.give(backward(gradient))
            backward_calls, self._backward_streams = writer.finish()
        memory = np.empty(writer.space.size + LINE, np.float32)
        memory = memory[-(memory.ctypes.data // 4) % LINE :]

        def view(argument):
            if isinstance(argument, Block):
                return memory[argument.at : argument.at + argument.size].reshape(argument.shape)
            return argument

        self.images, self.logits, self._loss = view(images), view(logits), view(loss)
        bound = [
            [(kernel, tuple(map(view, arguments))) for kernel, arguments in calls]
            for calls in (forward_calls, backward_calls)
        ]
        compile_ahead([*beside, *(call for calls in bound for call in calls)])
        self._forward, self._backward = (
            [(kernel, tuple(a.value if isinstance(a, Address) else a for a in found)) for kernel, found in calls]
            for calls in bound
        )
        self._gradient = writer.gradient
        self.memory = memory.size

    def forward(self, labels: np.ndarray | int) -> np.float32:
        """Compute `logits` of `images`; return their mean cross-entropy with labels (integers, or one for all)."""
        self._labels[:] = labels
        self._run(self._forward, self._forward_streams)
        return self._loss[0]

    def backward(self, scale: float) -> np.ndarray:
        """Return the gradients of `scale` times the loss of the last forward pass, laid out as the weights."""
        self._scale[0] = np.float32(scale)
        self._run(self._backward, self._backward_streams)
        return self._gradient

    def _run(self, calls: list[Call], streams: int) -> None:
        with self._rounder.drawing(streams):
            for kernel, arguments in calls:
                kernel(*arguments)


def _computes_something_else(kind: type) -> bool:
    """Tell whether a kind of layer has a `__call__` of its own, and the program of a class it is made from."""
    call, program = (next(k for k in kind.__mro__ if name in vars(k)) for name in ("__call__", "program"))
    return not issubclass(program, call)
