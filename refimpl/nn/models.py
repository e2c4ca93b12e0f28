"""The networks, as lists of layers with PEPPP's rounding points.

Batch norm's output is rounded after the ReLU; the stem convolution's output is not rounded
before batch norm; the input and the logits are rounded to the high format.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable
from typing import Literal

from refimpl import _arguments as check
from refimpl.nn.attention import Embedding, ImageRows, LayerNorm, MeanOfTokens, Positions, Unembedding, block
from refimpl.nn.blocks import basic_block
from refimpl.nn.layer import Layer
from refimpl.nn.layers import AveragePool, BatchNorm, Convolution, Flatten, Linear, MaxPool, ReLU, Round, Sequential

Stage = int | Literal["M"]
"""Filters of a convolution, or "M" for a pooling that halves the image."""


def cnn(*, channels: int = 1, classes: int = 10, widths: tuple[int, int] = (16, 32)) -> Sequential:
    """Return a small convolutional network: stem, one strided convolution, average, linear.

    Parameters
    ----------
    channels : int
        Of the input images, of any height and width.
    classes : int
    widths : (int, int)
        Filters of the two 3x3 convolutions; the second has stride 2.

    Examples
    --------
    >>> cnn().output_shape((8, 8, 1))
    (10,)
    """
    check.sequence("cnn", "widths", widths, "(16, 32)", 2)
    if len(widths) > 2:
        raise check.wrong_value("cnn", "widths", widths, "two, one for each convolution")
    first, second = widths
    return Sequential(
        [
            Round("input"),
            Convolution(channels, first),
            BatchNorm(first),
            ReLU(),
            Round("activation"),
            Convolution(first, second, stride=2),
            Round("activation"),
            BatchNorm(second),
            ReLU(),
            Round("activation"),
            AveragePool(),
            Linear(second, classes),
            Round("logits"),
        ]
    )


def mlp(*, features: int = 64, classes: int = 10, widths: tuple[int, ...] = (128, 128)) -> Sequential:
    """Return a multilayer perceptron for flattened images.

    Examples
    --------
    >>> mlp().output_shape((8, 8, 1))
    (10,)
    """
    check.sequence("mlp", "widths", widths, "(128, 128)")
    layers: list[Layer] = [Round("input"), Flatten()]
    for before, width in zip((features, *widths[:-1]), widths, strict=True):
        layers += [Linear(before, width), ReLU(), Round("activation")]
    return Sequential([*layers, Linear(widths[-1], classes), Round("logits")])


def resnet(*, channels: int = 3, classes: int = 10, widths: tuple[int, ...], blocks: int) -> Sequential:
    """Return a residual network with PEPPP's roundings: stem, `blocks` blocks for each width, linear.

    The first block of each width but the first halves the image.
    """
    layers: list[Layer] = [
        Round("input"),
        Convolution(channels, widths[0]),
        BatchNorm(widths[0]),
        ReLU(),
        Round("activation"),
    ]
    before = widths[0]
    for stage, width in enumerate(widths):
        for i in range(blocks):
            layers.append(basic_block(before, width, stride=2 if stage and not i else 1))
            before = width
    return Sequential([*layers, AveragePool(), Linear(before, classes), Round("logits")])


def resnet8(*, channels: int = 3, classes: int = 10) -> Sequential:
    """Return three basic blocks of 16, 32 and 64 filters, for images of 8x8 to 64x64.

    >>> resnet8().output_shape((32, 32, 3)), resnet8().parameter_total()
    ((10,), 78042)
    """
    return resnet(channels=channels, classes=classes, widths=(16, 32, 64), blocks=1)


def resnet14(*, channels: int = 3, classes: int = 10) -> Sequential:
    """Return six basic blocks, two each of 16, 32 and 64 filters.

    >>> resnet14().output_shape((8, 8, 3))
    (10,)
    """
    return resnet(channels=channels, classes=classes, widths=(16, 32, 64), blocks=2)


def resnet18(*, channels: int = 3, classes: int = 10) -> Sequential:
    """Return PEPPP's network, the CIFAR variant: 3x3 stem without pooling, two blocks each of 64 to 512.

    *Source*: PEPPP's released code; it has 11,168,832 + 513 classes parameters.

    >>> resnet18().parameter_total()
    11173962
    """
    return resnet(channels=channels, classes=classes, widths=(64, 128, 256, 512), blocks=2)


def lenet(*, channels: int = 1, classes: int = 10, size: int = 32) -> Sequential:
    """Return LeNet-5 with ReLU and max pooling: two 5x5 convolutions, three linear layers.

    `size` is the height and width of the images: a multiple of 4, at least 8.

    >>> lenet(size=28).output_shape((28, 28, 1))
    (10,)
    """
    if check.integer("lenet", "size", size, check.Interval(8)) % 4:
        raise check.wrong_value("lenet", "size", size, "a multiple of 4, at least 8")
    layers: list[Layer] = [Round("input")]
    before = channels
    for filters in (6, 16):
        layers += [
            Convolution(before, filters, size=5, padding=2, initializer="he"),
            ReLU(),
            MaxPool(),
            Round("activation"),
        ]
        before = filters
    layers.append(Flatten())
    features = 16 * (size // 4) ** 2
    for outputs in (120, 84):
        layers += [Linear(features, outputs), ReLU(), Round("activation")]
        features = outputs
    return Sequential([*layers, Linear(features, classes), Round("logits")])


def vgg(*, channels: int = 3, classes: int = 10, plan: tuple[Stage, ...] = (32, "M", 64, "M", 128)) -> Sequential:
    """Return a plain stack of 3x3 convolutions with batch norm, "M" in the plan halving the image.

    >>> vgg().output_shape((16, 16, 3))
    (10,)
    """
    layers: list[Layer] = [Round("input")]
    before = channels
    for item in check.sequence("vgg", "plan", plan, '(32, "M", 64)'):
        if item == "M":
            layers.append(MaxPool())
            continue
        layers += [
            Convolution(before, item, initializer="he"),
            Round("activation"),
            BatchNorm(item),
            ReLU(),
            Round("activation"),
        ]
        before = item
    return Sequential([*layers, AveragePool(), Linear(before, classes), Round("logits")])


def vgg11(*, channels: int = 3, classes: int = 10) -> Sequential:
    """Return VGG-11 for images of 32x32 and more: eight convolutions, one linear layer.

    >>> vgg11().output_shape((32, 32, 3)), vgg11().parameter_total()
    ((10,), 9228362)
    """
    plan: tuple[Stage, ...] = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
    return vgg(channels=channels, classes=classes, plan=plan)


def transformer(
    *,
    features: int = 32,
    heads: int = 4,
    hidden: int = 64,
    blocks: int = 2,
    classes: int = 10,
    places: int = 8,
    inputs: int = 8,
    words: int | None = None,
) -> Sequential:
    """Return a small transformer encoder that classifies sequences.

    Without `words` it reads images, each row of pixels (`inputs` numbers) as one of `places`
    vectors; with `words` it reads `places` tokens, integers below `words`.

    >>> transformer().output_shape((8, 8, 1)), transformer(words=100).output_shape((8,))
    ((10,), (10,))
    """
    check.integer("transformer", "blocks", blocks, check.NOT_NEGATIVE)
    if words is None:
        start = [Round("input"), ImageRows(), Linear(inputs, features, initializer="xavier")]
    else:
        start = [Embedding(words, features)]
    return Sequential(
        [
            *start,
            Positions(places, features),
            Round("activation"),
            *(block(features, heads, hidden) for _ in range(blocks)),
            LayerNorm(features),
            MeanOfTokens(),
            Round("activation"),
            Linear(features, classes),
            Round("logits"),
        ]
    )


def language_model(
    *, words: int = 96, places: int = 64, features: int = 64, heads: int = 4, blocks: int = 2, tied: bool = True
) -> Sequential:
    """Return a transformer that foretells, at each of `places` tokens, the next one of `words`.

    Its attention is causal, its inner layers have 4 x `features` units; if `tied`, the rows of the
    embedding are those of the last layer too.

    >>> language_model().output_shape((64,)), language_model().parameter_total()
    ((64, 96), 110336)
    """
    check.integer("language_model", "blocks", blocks, check.NOT_NEGATIVE)
    check.flag("language_model", "tied", tied)
    embedding = Embedding(words, features)
    return Sequential(
        [
            embedding,
            Positions(places, features),
            Round("activation"),
            *(block(features, heads, 4 * features, causal=True) for _ in range(blocks)),
            LayerNorm(features),
            Round("activation"),
            Unembedding(embedding) if tied else Linear(features, words, initializer="xavier"),
            Round("logits"),
        ]
    )


NETWORKS: dict[str, Callable[..., Sequential]] = {
    f.__name__: f for f in (cnn, lenet, mlp, resnet8, resnet14, resnet18, transformer, vgg, vgg11)
}
"""Every network by name."""

OWN = "package.module:function, which takes (shape, classes) and returns a network"
"""How a network of one's own is named."""


def network(name: str, shape: tuple[int, ...], classes: int, *, words: int | None = None) -> Sequential:
    """Return a network by name, made for inputs of a shape.

    Parameters
    ----------
    name : str
        One of `NETWORKS`, or ``package.module:function`` of a function of one's own, which is given
        the shape of an input and the number of classes and returns a network.
    shape : tuple of int
        Of one input: (height, width, channels), or (places,) of tokens.
    classes : int
    words : int, optional
        Number of different tokens, where inputs are tokens.

    Raises
    ------
    ValueError
        For an unknown name, a function that cannot be imported or returns something else, and a network that
        cannot take such inputs.

    Examples
    --------
    >>> network("mlp", (8, 8, 1), 10).output_shape((8, 8, 1))
    (10,)
    >>> network("transformer", (16,), 8, words=512).output_shape((16,))
    (8,)
    """
    shape = tuple(check.sequence("network", "shape", shape, "(8, 8, 1)"))
    if isinstance(name, str) and ":" in name:
        made = _own(name, shape, classes)
    else:
        made = _known(check.choice("network", "network", name, NETWORKS, f"or {OWN}"), shape, classes, words)
    try:
        got = made.output_shape(shape)
    except Exception as error:
        hint = f"{_said(error)}; take larger images or another network"
        raise check.wrong_value("network", "the shape of an input", shape, f"what {name} takes", hint) from error
    if got != (classes,):
        raise check.wrong_value("network", f"the output of {name}", got, f"({classes},), a number for each class")
    return made


def _known(name: str, shape: tuple[int, ...], classes: int, words: int | None) -> Sequential:
    """Return one of `NETWORKS`, with what it must be told of its inputs."""
    if (len(shape) == 1) != (words is not None) or len(shape) not in (1, 3):
        allowed = "(height, width, channels) without words, and (places,) with them"
        raise check.wrong_value("network", "shape", shape, allowed, f"words is {words}")
    if words is not None and name != "transformer":
        raise check.wrong_value("network", "name", name, "transformer, where inputs are rows of tokens")
    if name == "transformer":
        inputs = 0 if words else shape[1] * shape[2]
        return transformer(places=shape[0], inputs=inputs, words=words, classes=classes)
    if name == "mlp":
        return mlp(features=math.prod(shape), classes=classes)
    if name == "lenet":
        return lenet(channels=shape[2], classes=classes, size=shape[0])
    return NETWORKS[name](channels=shape[2], classes=classes)


def _own(name: str, shape: tuple[int, ...], classes: int) -> Sequential:
    """Return what a function somewhere else makes; its module is found here or on Python's path."""
    module, _, function = name.partition(":")
    path = os.getcwd()
    sys.path.insert(0, path)  # as python -m does
    try:
        found = importlib.import_module(module)
    except Exception as error:  # whatever a module of one's own raises
        allowed = "that of a module in this directory or on Python's path"
        raise ValueError(check.message("network", f"the module of {name}", _said(error), allowed)) from error
    finally:
        sys.path.remove(path)
    if not callable(getattr(found, function, None)):
        known = [key for key, value in vars(found).items() if callable(value) and key[0] != "_"]
        raise check.unknown("network", f"function of {module}", function, known, "give a def at the top of a module")
    try:
        made = getattr(found, function)(shape, classes)
    except Exception as error:
        raise ValueError(check.message("network", f"{name}{shape, classes}", _said(error), OWN)) from error
    if not isinstance(made, Sequential):
        raise check.wrong_value("network", f"what {name} returned", made, "a refimpl.nn.layers.Sequential")
    return made


def _said(error: Exception) -> str:
    """Return an error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
