"""What a layer is: all that has to be said of it, in one class.

A layer knows the shape it makes of a shape, so that a network can be checked and its memory
counted without running it.  Shapes are per image: (height, width, channels) or (features,).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from refimpl.autodiff import Tensor
from refimpl.nn.rounder import Rounder

if TYPE_CHECKING:
    from refimpl.nn.engine.program import Backward, Writer
    from refimpl.nn.engine.workspace import Block
    from refimpl.nn.error_bounds import Bounds
    from refimpl.nn.precision import Accumulator


@dataclass
class Pass:
    """One pass through a network: who rounds, and whether statistics are those of the batch.

    `exact` sums products in float64, see `refimpl.nn.exactness`.
    """

    rounder: Rounder
    training: bool
    exact: bool = False

    def every_operation(self, role: str, layer: Layer) -> Accumulator | None:
        """Return how every operation of a layer is rounded, None where they are not."""
        return self.rounder.precision.accumulator_of(role, layer.name)


class Kept(NamedTuple):
    """What a backward pass reads of a call: the number of elements per image, and how they are held.

    In the low format, in the high one, or as signs; nothing apart `unless_rounded` by the next layer.
    """

    elements: int
    held: Literal["low", "high", "sign"]
    unless_rounded: bool = False


@dataclass
class Layer:
    """A step of a network.  Subclasses say all that is known of it.

    That is: what it computes, and the shape it has; and, where it has them, its parameters and state, what its
    backward pass reads, how the engine computes it, and how far rounding can take it from the exact result.

    `name` is the layer's place in its network, such as "3 Residual/main/0 Convolution"; `is_rounding_point`
    tells those that round from other layers.
    """

    is_rounding_point: ClassVar[bool] = False

    parameters: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    name: str = field(default="", init=False, repr=False)

    def __str__(self) -> str:
        return f"layer {self.name!r}, {self!r}" if self.name else repr(self)

    def children(self) -> list[tuple[str, Layer]]:
        """Return the layers inside this one, by name, in the order they run."""
        return []

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw the parameters (float32)."""

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape made of a shape; ValueError if it does not fit."""
        return shape

    def parameter_count(self) -> int:
        """Return the number of this layer's own parameters, known before they are drawn."""
        return 0

    def walk(self, shape: tuple[int, ...]):
        """Yield (name, layer, output shape) of each forward call, checking shapes; itself last."""
        yield self.name, self, self.output_shape(shape)

    def products(self) -> list[str]:
        """Return the names of products within this layer that are not layers of their own."""
        return []

    def __call__(self, x: Tensor, run: Pass) -> Tensor:
        """Compute the layer's output for a batch."""
        raise NotImplementedError

    def kept_for_backward(self, output: tuple[int, ...]) -> list[Kept]:
        """Return what a backward pass reads of a call with this output, beside what is kept of the calls before."""
        return []

    def error_bound(self, c: Tensor, d: np.ndarray, bounds: Bounds) -> tuple[Tensor, np.ndarray]:
        """Return exact output and bound, given those of the input: see `refimpl.numerics.rounding_error`.

        A layer without such a method is one that no bound is known for.
        """
        raise NotImplementedError(f"{self}: no bound is known")

    def program(self, writer: Writer, x: Block) -> tuple[Block, Backward]:
        """Write down how the engine computes the layer: see `refimpl.nn.engine.program.Writer`.

        Without such a method, a network that has the layer goes layer by layer; so it does where the method is
        inherited and `__call__` is not, as it would be the program of another function.
        """
        from refimpl.nn.engine.program import NotServed

        raise NotServed

    def state(self) -> dict[str, np.ndarray]:
        """Return what the layer keeps from batch to batch besides its parameters."""
        return {}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state` returned."""

    def _parameter(self, name: str, values: np.ndarray) -> None:
        self.parameters[name] = Tensor(values.astype(np.float32), requires_grad=True)


def name_layers(layer: Layer, prefix: str = "") -> None:
    """Tell every layer inside this one its name."""
    for name, child in layer.children():
        child.name = prefix + name
        name_layers(child, f"{child.name}/")
