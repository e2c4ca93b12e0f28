"""The training loop."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits

from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.nn.layers import Pass, Sequential
from refimpl.nn.optimizer import SGD
from refimpl.nn.precision import Precision, Rounder


@dataclass
class Result:
    """What a training run came to.

    Attributes
    ----------
    test_error : float
        Share of the test set classified wrongly; 1 - 1/classes, that of guessing, where training
        diverged.
    history : list of dict
        For each epoch ``loss`` (mean over its steps) and ``seconds``.
    diverged : bool
        Whether the loss stopped being finite, upon which training stopped.
    seconds : float
    model : Sequential
        The trained network.
    """

    test_error: float
    model: Sequential
    history: list[dict] = field(default_factory=list)
    diverged: bool = False
    seconds: float = 0.0


def fit(
    model: Sequential, task, *, precision: Precision | None = None, epochs: int = 10,
    batch_size: int = 32, learning_rate: float = 0.05, final_rate: float = 0.05,
    momentum: float = 0.9, weight_decay: float = 5e-4, seed: int = 0, progress: bool = False,
) -> Result:  # fmt: skip
    """Train a network on a task and measure its test error.

    Batches are shuffled anew each epoch and an incomplete last one is dropped.  The same arguments
    give the same bits, whatever else runs beside; between machines, float32 sums of products may be
    taken in another order, and stochastic rounding amplifies the difference to that of two seeds.

    Parameters
    ----------
    model : Sequential
        Initialized here.
    task : Task
        As `refimpl.data.load` returns it.
    precision : Precision, optional
        Default: float32, nothing rounded.
    learning_rate, final_rate : float
        The rate falls linearly from `learning_rate` to `final_rate` times it.
    seed : int
        Draws weights and batches; rounding noise is drawn from the seed and the two formats.
    progress : bool
        Show a bar with the loss and the time left.

    Raises
    ------
    ValueError
        Before training: where shapes do not fit (the layer is named), for a batch larger than the
        set, for settings that make no sense.

    Examples
    --------
    >>> import refimpl as rf
    >>> task = rf.data.load("digits")
    >>> rf.nn.fit(rf.nn.cnn(), task, epochs=3, seed=0).test_error < 0.4
    True
    """
    precision = precision or Precision()
    images, labels = task.train_images, task.train_labels
    steps = len(images) // batch_size if batch_size >= 1 else 0
    if steps < 1:
        raise ValueError(
            f"fit: a batch of {batch_size} from {len(images)} images; use 1 to {len(images)}"
        )
    if epochs < 1:
        raise ValueError(f"fit: epochs is {epochs}; it must be at least 1")
    if model.output_shape(images.shape[1:]) != (task.classes,):
        raise ValueError(f"fit: the network has outputs {model.output_shape(images.shape[1:])}, "
                         f"{task.name} has {task.classes} classes; build it with classes={task.classes}")  # fmt: skip
    weight_seed, batch_seed = np.random.SeedSequence(seed).spawn(2)
    model.initialize(np.random.default_rng(weight_seed))
    batches = np.random.default_rng(batch_seed)
    rounder = Rounder(precision, rounding_seed(seed, precision))
    optimizer = SGD(model.tensors(), rounder, momentum=momentum, weight_decay=weight_decay)
    run = Pass(rounder, training=True)
    result = Result(test_error=1 - 1 / task.classes, model=model)
    started = time.perf_counter()
    # One thread: products this small gain nothing from more, and their sums keep one order.
    with (
        threadpool_limits(1, user_api="blas"),
        np.errstate(over="ignore", invalid="ignore", divide="ignore"),  # divergence is reported
        _bar(epochs * steps, progress) as bar,
    ):
        for epoch in range(epochs):
            losses, epoch_started = [], time.perf_counter()
            order = batches.permutation(len(images))
            for step in range(steps):
                chosen = order[step * batch_size : (step + 1) * batch_size]
                logits = model(Tensor(images[chosen]), run)
                loss = p.cross_entropy(logits, labels=labels[chosen])
                losses.append(float(loss.data))
                if not np.isfinite(losses[-1]):
                    result.diverged = True
                    break
                (loss * precision.loss_scale).backward()
                done = (epoch * steps + step) / (epochs * steps)
                optimizer.step(learning_rate * (1 - (1 - final_rate) * done))
                bar.update()
            mean = float(np.mean(losses))
            bar.set_postfix(loss=f"{mean:.3f}")
            result.history.append({"loss": mean, "seconds": time.perf_counter() - epoch_started})
            if result.diverged:
                break
        if not result.diverged:
            result.test_error = error(model, task.test_images, task.test_labels, rounder)
    result.seconds = time.perf_counter() - started
    return result


def error(model: Sequential, images: np.ndarray, labels: np.ndarray, rounder: Rounder) -> float:
    """Return the share of images a trained network classifies wrongly, rounding as in training."""
    logits = model(Tensor(images), Pass(rounder, training=False))
    return float(np.mean(logits.data.argmax(axis=1) != labels))


def rounding_seed(seed: int, precision: Precision) -> int:
    """Return the 64-bit seed of a run's rounding noise, different for every pair of formats.

    Without the formats in it, configurations whose high formats differ only in unused exponents
    would round alike to the last bit, and 99 configurations would be but 33 (TRAINING).
    """
    text = f"{seed} {precision.low} {precision.high}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _bar(total: int, show: bool):
    from tqdm import tqdm

    return tqdm(total=total, unit="step", disable=not show, leave=False)
