"""The memory of training a network in a low-precision configuration, counted from its layers.

*Notation*: P parameters; B images in a batch; A the summed elements, over a batch, of the output
of every layer of the forward pass and of the network as a whole; L and H the widths of the low
and the high format in bits.

    bits = L (P + 2 (A - B C))          weights; outputs of layers, forward and backward
         + H (2 P + 2 B C + B I)        gradients and momentum; logits, both ways; input

with C classes and I elements of one image.  This is the paper's rule: it counts the outputs of
batch norm, of ReLU and of rounding points each as a tensor of its own, and costs batch-norm
parameters low and weight gradients high.

*Source*: SOURCES 1.5, the rule that reproduces the memory matrix released with PEPPP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from refimpl.peppp.configs import Configuration

__all__ = ["KINDS", "Memory", "count"]

KINDS = ("weights", "activations", "activation gradients", "weight gradients", "momentum", "input")
"""What memory is spent on."""


@dataclass(frozen=True)
class Item:
    """One tensor that is kept: which layer's, of what kind, how many elements, how wide."""

    layer: str
    kind: str
    elements: int
    bits: int

    @property
    def bytes(self) -> float:
        """Size in bytes (a fraction where elements are not whole bytes)."""
        return self.elements * self.bits / 8


@dataclass(frozen=True)
class Memory:
    """The memory of one training run, tensor by tensor.

    Attributes
    ----------
    items : tuple of Item
        In the order of the forward pass.

    Examples
    --------
    >>> from refimpl.nn import cnn
    >>> from refimpl.peppp.configs import configuration
    >>> memory = count(cnn(), (8, 8, 1), configuration("e4m3+e8m7"), batch_size=32)
    >>> round(memory.total_mb, 4), round(memory.by_kind()["weights"])
    (0.4431, 5178)
    """

    items: tuple[Item, ...]

    @property
    def total_mb(self) -> float:
        """The sum in MB of 2^20 bytes."""
        return math.fsum(item.bytes for item in self.items) / 2**20

    def by_kind(self) -> dict[str, float]:
        """Return bytes for each of `KINDS`."""
        return {
            kind: math.fsum(item.bytes for item in self.items if item.kind == kind)
            for kind in KINDS
        }

    def by_layer(self) -> dict[str, float]:
        """Return bytes for each layer, in the order of the forward pass."""
        layers = dict.fromkeys(item.layer for item in self.items)
        return {
            layer: math.fsum(item.bytes for item in self.items if item.layer == layer)
            for layer in layers
        }


def count(
    network, shape: tuple[int, ...], configuration: Configuration, *, batch_size: int = 32
) -> Memory:
    """Count the memory of training a network by the paper's rule.

    Parameters
    ----------
    network : refimpl.nn network
        Its layers are walked; nothing is run.
    shape : tuple of int
        Of one input image: (height, width, channels).
    configuration : Configuration
        Says the widths of the two formats.
    batch_size : int

    Returns
    -------
    Memory

    Raises
    ------
    ValueError
        Where the network does not take images of that shape, or for a batch without images.
    """
    if batch_size < 1:
        raise ValueError(f"count: batch_size is {batch_size}; it must be at least 1")
    low, high = configuration.low_bits, configuration.high_bits
    items = [Item("input", "input", batch_size * math.prod(shape), high)]

    def outputs(layer, elements, bits):
        items.append(Item(layer, "activations", elements, bits))
        items.append(Item(layer, "activation gradients", elements, bits))

    for name, layer, output in network.walk(shape):
        parameters = layer.parameter_count()
        if parameters:
            items.append(Item(name, "weights", parameters, low))
            items.append(Item(name, "weight gradients", parameters, high))
            items.append(Item(name, "momentum", parameters, high))
        outputs(name, batch_size * math.prod(output), low)
    outputs("network", batch_size * math.prod(output), high)
    return Memory(tuple(items))
