"""What a language model foretells: how well, and text of its own."""

from __future__ import annotations

import math

import numpy as np

from refimpl import _arguments as check
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.nn import checks
from refimpl.nn.attention import Positions
from refimpl.nn.layer import Pass
from refimpl.nn.layers import Sequential
from refimpl.nn.precision import Precision
from refimpl.nn.rounder import Rounder
from refimpl.nn.training import logits


def bits_per_token(
    model: Sequential, images: np.ndarray, labels: np.ndarray, *, precision: Precision | None = None
) -> float:
    """Return the mean of -log2 of the probability that a trained network gives to the right label.

    Parameters
    ----------
    model : Sequential
        As `refimpl.nn.fit` leaves it.
    images, labels : ndarray
        As of a task; of a language model float32 and int64 (n, places).
    precision : Precision, optional
        What it was trained with, to round as in training; by default nothing is rounded.

    Returns
    -------
    float
        Bits; of characters, bits per character.  Knowing nothing costs log2(classes).

    Raises
    ------
    ValueError, TypeError
        For a network without weights, images that it does not take, and unless there is one label, a class, for each
        prediction.

    Examples
    --------
    >>> import refimpl as rf
    >>> model, task = rf.nn.language_model(), rf.data.manual()
    >>> model.initialize(np.random.default_rng(0))
    >>> model.layers[0].parameters["weight"].data[:] = 0
    >>> round(bits_per_token(model, task.test_images[:8], task.test_labels[:8]), 3), round(math.log2(96), 3)
    (6.585, 6.585)
    """
    model = checks.trained("bits_per_token", model)
    check.of_dtype("bits_per_token", "images", images, np.float32)
    *shape, classes = model.output_shape(images.shape[1:])
    checks.arrays("bits_per_token", "", images, labels, classes)
    check.of_shape("bits_per_token", "labels", labels, (len(images), *shape))
    found = logits(model, images, _rounder("bits_per_token", precision))
    return float(p.cross_entropy(found.astype(np.float64), labels=labels).data) / math.log(2)


def generate(
    model: Sequential,
    start: np.ndarray,
    count: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    precision: Precision | None = None,
) -> np.ndarray:
    """Go on from the tokens of a start, one token after the other, each drawn as a language model foretells it.

    Parameters
    ----------
    model : Sequential
        As `refimpl.nn.fit` leaves a `language_model`, whose `places` are how far back it looks.
    start : ndarray of integers, shape (n,)
        At least one.
    count : int
        How many to draw.
    seed : int
        Draws them.
    temperature : float
        Logits are divided by it; 0 takes the likeliest token.
    precision : Precision, optional
        As of `bits_per_token`.

    Returns
    -------
    ndarray of int64, shape (count,)

    Raises
    ------
    ValueError, TypeError
        For a network that is no language model or has no weights, a start without tokens or with others, a count or
        temperature below 0, and logits that are not finite.

    Examples
    --------
    >>> import refimpl as rf
    >>> model = rf.nn.language_model(places=8, blocks=1)
    >>> model.initialize(np.random.default_rng(0))
    >>> len(rf.data.text.decode(generate(model, rf.data.text.encode("def "), 5)))
    5
    """
    model = checks.trained("generate", model)
    places = next((layer.places for layer in model.every_layer() if isinstance(layer, Positions)), 0)
    if not places or len(model.output_shape((places,))) != 2:
        raise check.wrong_kind("generate", "model", model, "one that foretells tokens, refimpl.nn.language_model()")
    words = model.output_shape((places,))[-1]
    start = check.numbers("generate", "start", start, (None,))
    known = (start >= 0) & (start < words) & (start == np.floor(start))
    check.every("generate", "start", start, known, f"an integer from 0 to {words - 1}")
    tokens = [int(token) for token in start]
    if not tokens:
        raise check.wrong_value("generate", "start", start.shape, "at least one token")
    count = check.integer("generate", "count", count, check.NOT_NEGATIVE)
    temperature = check.number("generate", "temperature", temperature, check.NOT_NEGATIVE)
    rng = np.random.default_rng(check.integer("generate", "seed", seed, check.NOT_NEGATIVE))
    run = Pass(_rounder("generate", precision), training=False)
    for _ in range(count):
        seen = tokens[-places:]
        window = np.zeros((1, places), np.float32)
        window[0, : len(seen)] = seen  # what comes after them does not matter to them
        last = model(Tensor(window), run).data[0, len(seen) - 1].astype(np.float64)
        check.finite("generate", "the network's logits", last, "it has diverged; train it anew")
        if temperature:
            with np.errstate(over="ignore"):  # far below the likeliest, in a low temperature
                cumulative = np.cumsum(np.exp((last - last.max()) / temperature))
            tokens.append(int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")))
        else:
            tokens.append(int(last.argmax()))
    return np.array(tokens[len(start) :], np.int64)


def _rounder(caller: str, precision: Precision | None) -> Rounder:
    precision = checks.precision_of(precision, caller)
    return Rounder(precision, precision.seed(0) ^ 1)
