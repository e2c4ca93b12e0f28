"""The memory of training a network in a low-precision configuration, counted from its layers.

Two accountings. **paper** is PEPPP's rule, which reproduces its released memory matrix: with P
parameters, B images in a batch, A the summed elements, over a batch, of the output of every layer
of the forward pass and of the network as a whole, C classes, I elements of one image, and L and H
the widths of the low and the high format in bits,

    bits = L (P + 2 (A - B C))          weights; outputs of layers, forward and backward
         + H (2 P + 2 B C + B I)        gradients and momentum; logits, both ways; input

It counts the outputs of batch norm, of ReLU and of rounding points each as a tensor of its own,
keeps every gradient to the end, costs weight gradients high and forgets the master weights.

**needed** is what training has to hold at its fullest: the low weights and their gradients, the
high master weights and optimizer state; of the activations those that a backward pass reads, each
once (what feeds a convolution or linear layer, what batch norm normalised, one bit per element for
the sign of a ReLU); of the activation gradients the largest one and the one it is made from.

A network is anything with ``walk(shape)``, which yields (name, layer, output shape) for every
forward call, in order, of every module that is not a plain sequence of others: residual blocks
included, each after its inside, and layers called twice yielded twice; the network as a whole is
not yielded. ``layer.parameter_count()`` counts a module's own parameters, not those inside it;
``layer.kept_for_backward(output)`` says what the second accounting holds of a call.

*Source*: PEPPP (arXiv 2106.09686); Micikevicius et al., Mixed precision training (2017); Dettmers et al., 8-bit
optimizers via block-wise quantization (2021); Chen et al., Training deep nets with sublinear
memory cost (2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from refimpl._arguments import Interval, choice, instance, integer, wrong_kind
from refimpl._display import Shown
from refimpl.peppp.configs import Configuration

__all__ = ["KINDS", "MIXED_PRECISION", "Memory", "count", "released_mb"]

KINDS = ("weights", "activations", "activation gradients", "weight gradients", "momentum", "input")
"""What memory is spent on by the paper's rule; the other accounting adds some."""

MIXED_PRECISION = Configuration("e5m10", "e8m23")
"""The usual mixed precision: half precision with single-precision weights and optimizer state."""

STATES: dict[str, tuple[str, ...]] = {"sgd": (), "momentum": ("momentum",), "adam": ("momentum", "second moment")}
"""What each optimizer keeps of every parameter."""

BATCH = Interval(1, 2**40)
"""Images in a batch; more is a typing error, and soon beyond floats."""

BLOCK = 2048
"""Elements that share one 32-bit scale in 8-bit optimizer states."""

Accounting = Literal["paper", "needed"]
Optimizer = Literal["sgd", "momentum", "adam"]


@dataclass(frozen=True)
class Item:
    """One tensor that is kept: which layer's, of what kind, how many elements, how wide.

    Examples
    --------
    >>> Item("1 Convolution", "weights", 144, 8)
    Item(layer='1 Convolution', kind='weights', elements=144, bits=8)
    """

    layer: str
    kind: str
    elements: int
    bits: float

    @property
    def bytes(self) -> float:
        """Size in bytes (a fraction where elements are not whole bytes)."""
        return self.elements * self.bits / 8


@dataclass(frozen=True, repr=False)
class Memory(Shown):
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

    def _shown(self):
        rows = [(kind, size / 2**20, f"{size / 2**20 / self.total_mb:.1%}") for kind, size in self.by_kind().items()]
        return f"{self.total_mb:.4g} MB of 2^20 bytes", ("kind", "MB", "of it"), rows

    @property
    def total_mb(self) -> float:
        """The sum in MB of 2^20 bytes."""
        return math.fsum(item.bytes for item in self.items) / 2**20

    def by_kind(self) -> dict[str, float]:
        """Return bytes for each of `KINDS`, and for other kinds there are."""
        kinds = dict.fromkeys((*KINDS, *(item.kind for item in self.items)))
        return {kind: self._sum(kind=kind) for kind in kinds}

    def by_layer(self) -> dict[str, float]:
        """Return bytes for each layer, in the order of the forward pass."""
        layers = dict.fromkeys(item.layer for item in self.items)
        return {layer: self._sum(layer=layer) for layer in layers}

    def by_layer_and_kind(self) -> dict[str, dict[str, float]]:
        """Return bytes for each layer and, within it, each kind it has."""
        table: dict[str, dict[str, float]] = {}
        for item in self.items:
            row = table.setdefault(item.layer, {})
            row[item.kind] = row.get(item.kind, 0.0) + item.bytes
        return table

    def _sum(self, **wanted) -> float:
        ((name, value),) = wanted.items()
        return math.fsum(item.bytes for item in self.items if getattr(item, name) == value)


def count(
    network,
    shape: tuple[int, ...],
    configuration: Configuration,
    *,
    batch_size: int = 32,
    accounting: Accounting = "paper",
    optimizer: Optimizer = "momentum",
    state_bits: int | None = None,
    checkpoint_every: int | None = None,
) -> Memory:
    """Count the memory of training a network.

    Parameters
    ----------
    network : object with ``walk(shape)``
        Its layers are walked; nothing is run.
    shape : tuple of int
        Of one input image: (height, width, channels).
    configuration : Configuration
        Says the widths of the two formats.
    batch_size : int
    accounting : {"paper", "needed"}, default "paper"
        See the head of this file.
    optimizer : {"sgd", "momentum", "adam"}, default "momentum"
        Keeps nothing, one or two numbers of each parameter.
    state_bits : int, optional
        Width of those numbers; default the high format's. 8 adds one 32-bit scale per 2048.
    checkpoint_every : int, optional
        Keep only one activation in this number, and compute the others again when the backward pass
        comes to them, one stretch at a time; default keep all.

    Returns
    -------
    Memory

    Raises
    ------
    ValueError
        Where the network does not take images of that shape, for a batch without images, or an
        option that is not one of those named.

    Examples
    --------
    >>> from refimpl.nn import cnn
    >>> small = count(cnn(), (8, 8, 1), MIXED_PRECISION, accounting="needed", optimizer="adam")
    >>> [kind for kind, size in small.by_kind().items() if size and kind not in KINDS]
    ['master weights', 'second moment']
    """
    _check(network, configuration, batch_size, accounting, optimizer, state_bits, checkpoint_every)
    low, high = configuration.low_bits, configuration.high_bits
    state: float = high if state_bits is None else 8 + 32 / BLOCK if state_bits == 8 else state_bits
    walked = list(network.walk(shape))
    logits = batch_size * math.prod(walked[-1][2])
    items = [Item("input", "input", batch_size * math.prod(shape), high)]
    seen = set()
    for name, layer, _ in walked:
        parameters = layer.parameter_count()
        if not parameters or id(layer) in seen:
            continue
        seen.add(id(layer))
        items.append(Item(name, "weights", parameters, low))
        if accounting == "paper":
            items.append(Item(name, "weight gradients", parameters, high))
        else:
            items.append(Item(name, "weight gradients", parameters, low))
            items.append(Item(name, "master weights", parameters, high))
        items += [Item(name, kind, parameters, state) for kind in STATES[optimizer]]
    if accounting == "paper":
        kept = [Item(name, "activations", batch_size * math.prod(output), low) for name, _, output in walked]
        kept.append(Item("network", "activations", logits, high))
        kept = _checkpointed(kept, checkpoint_every)
        back = [Item(item.layer, "activation gradients", item.elements, item.bits) for item in kept]
    else:
        kept = _checkpointed(_read_by_backward(walked, batch_size, low, high), checkpoint_every)
        sizes = [math.prod(shape), *(math.prod(output) for _, _, output in walked)]
        at = max(range(1, len(sizes)), key=lambda i: sizes[i - 1] + sizes[i])
        pair = batch_size * (sizes[at - 1] + sizes[at])
        back = [Item(walked[at - 1][0], "activation gradients", pair, low)]
    place = {name: i for i, name in enumerate(["input", *(n for n, _, _ in walked), "network"])}
    return Memory(tuple(sorted([*items, *kept, *back], key=lambda item: place[item.layer])))


def _check(network, configuration, batch_size, accounting, optimizer, state_bits, checkpoint_every):
    if not hasattr(network, "walk"):
        raise wrong_kind("count", "network", network, "one with walk(shape), such as refimpl.nn.cnn()")
    instance("count", "configuration", configuration, Configuration, "a Configuration")
    integer("count", "batch_size", batch_size, BATCH)
    choice("count", "accounting", accounting, get_args(Accounting))
    choice("count", "optimizer", optimizer, STATES)
    if state_bits is not None:
        integer("count", "state_bits", state_bits, Interval(1, 64), "8 is usual")
    if checkpoint_every is not None:
        hint = "about the square root of the number of layers saves most"
        integer("count", "checkpoint_every", checkpoint_every, Interval(1), hint)


def _read_by_backward(walked, batch_size, low, high) -> list[Item]:
    """Return the activations that a backward pass reads, each once; the input is counted elsewhere."""
    widths = {"low": low, "high": high, "sign": 1}
    items = []
    last = len(walked) - 1
    for i, (name, layer, output) in enumerate(walked):
        rounded_next = i < last and walked[i + 1][1].is_rounding_point
        for kept in layer.kept_for_backward(output) if i else ():  # the first rounds the input, counted as such
            if not (kept.unless_rounded and rounded_next):
                bits = high if i == last else widths[kept.held]
                items.append(Item(name, "activations", batch_size * kept.elements, bits))
    return items


def _checkpointed(kept: list[Item], every: int | None) -> list[Item]:
    """Return one activation in `every`, and those of the largest stretch between two."""
    if every is None or every == 1:
        return kept
    stretches = [kept[i : i + every] for i in range(0, len(kept), every)]
    inside = [stretch[:-1] for stretch in stretches]
    largest = max(inside, key=lambda items: sum(item.bytes for item in items))
    return [
        item
        for stretch in stretches
        for item in stretch
        if item is stretch[-1] or any(item is other for other in largest)
    ]


def released_mb(network, shape: tuple[int, ...], configuration: Configuration, *, batch_size: int = 32) -> np.float32:
    """Evaluate the paper's rule as the released matrix was: in float32, in its order.

    Parameters
    ----------
    network, shape, configuration, batch_size
        As for `count`.

    Returns
    -------
    numpy.float32
        MB of 2^20 bytes, bit for bit that of the released matrix for its networks.

    Notes
    -----
    *Source*: the matrix released with PEPPP (arXiv 2106.09686). The exact rule,
    ``count(...).total_mb``, is within 1.4e-7 of it.

    Examples
    --------
    >>> from refimpl.nn import cnn
    >>> print(released_mb(cnn(), (8, 8, 1), Configuration("e4m3", "e8m7")))
    0.44314766
    """
    walked = list(network.walk(shape))
    parameters = sum({id(layer): layer.parameter_count() for _, layer, _ in walked}.values())
    logits = batch_size * math.prod(walked[-1][2])
    outputs = batch_size * sum(math.prod(output) for _, _, output in walked)
    image = batch_size * math.prod(shape)
    low, high, unit = configuration.low_bits, configuration.high_bits, 8 * 2**20
    total = np.float32(parameters * low / unit)
    total += np.float32(2 * outputs * low / unit + 2 * logits * high / unit)
    total += np.float32(image * high / unit)
    return np.float32(total + np.float32(2 * parameters * high / unit))
