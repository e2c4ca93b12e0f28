"""The networks, as lists of layers with PEPPP's rounding points (SOURCES 1.3).

Batch norm's output is rounded after the ReLU; the stem convolution's output is not rounded
before batch norm; the input and the logits are rounded to the high format.
"""

from __future__ import annotations

from refimpl.nn.layers import (
    AveragePool,
    BatchNorm,
    Convolution,
    Flatten,
    Linear,
    ReLU,
    Round,
    Sequential,
)


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


def mlp(
    *, features: int = 64, classes: int = 10, widths: tuple[int, ...] = (128, 128)
) -> Sequential:
    """Return a multilayer perceptron for flattened images.

    Examples
    --------
    >>> mlp().output_shape((8, 8, 1))
    (10,)
    """
    layers = [Round("input"), Flatten()]
    for before, width in zip((features, *widths[:-1]), widths, strict=True):
        layers += [Linear(before, width), ReLU(), Round("activation")]
    return Sequential([*layers, Linear(widths[-1], classes), Round("logits")])
