"""The training loop."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from refimpl import _arguments as check
from refimpl._display import Shown
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.nn import checkpoint as checkpoints
from refimpl.nn import checks, every_operation
from refimpl.nn.engine.compiling import told
from refimpl.nn.engine.program import NetworkProgram, network_program
from refimpl.nn.layer import Pass
from refimpl.nn.layers import Sequential
from refimpl.nn.loss_scale import LossScale
from refimpl.nn.optimizer import Optimizer
from refimpl.nn.precision import Precision
from refimpl.nn.rounder import COUNTED_STEPS, Rounder
from refimpl.nn.schedules import Schedule, linear

STARTING = "the first run compiles"  # what progress bars say until there is something to say
EVALUATED_AT_ONCE = 512  # test images of 8x8; fewer larger ones, down to 32, in as much memory


@dataclass(repr=False)
class Result(Shown):
    """What a training run came to.

    Attributes
    ----------
    test_error : float
        Fraction of the test set classified wrongly; 1 - 1/classes, that of guessing, where training
        diverged.
    history : list of dict
        For each epoch

        - ``loss``: mean over its steps; ``error``: fraction of the training images classified wrongly
          at the step that used them, before it moved the weights;
        - ``test_error``, only with `validate`: that of the test images after the epoch;
        - ``seconds`` of its training; ``loss_scale`` at its end; ``skipped``: steps left out
          because gradients overflowed a dynamic loss scale;
        - ``counts``: for each role that is rounded, on the first of every sixteen steps, the
          ``elements`` rounded, those of ``overflow`` (in magnitude above the format's largest value,
          as they came to be rounded; infinities and NaN too) and of ``underflow`` (not zero, but
          rounded to zero).  A tensor with a scale of its own fits by construction: there only NaN
          count as overflow.
    diverged : bool
        Whether the loss, or it times a constant loss scale, stopped being finite, upon which training
        stopped (the epoch's loss is then infinite), or all logits of the test set are NaN.
    seconds : float
    model : Sequential
        The trained network.

    Examples
    --------
    >>> from refimpl import data, nn
    >>> result = nn.fit(nn.mlp(), data.load("digits"), epochs=3, seed=0)
    >>> result.diverged, result.test_error < 0.2, len(result.history)
    (False, True, 3)
    """

    test_error: float
    model: Sequential
    history: list[dict] = field(default_factory=list)
    diverged: bool = False
    seconds: float = 0.0

    def _shown(self):
        said = ", diverged" * self.diverged
        line = f"test error {self.test_error:.3f} after {len(self.history)} epochs, {self.seconds:.1f} s{said}"
        heads = [
            key for key in ("loss", "error", "test_error", "loss_scale", "seconds") if key in (self.history or [{}])[0]
        ]
        return line, ("epoch", *heads), [(i, *map(epoch.get, heads)) for i, epoch in enumerate(self.history, 1)]


def fit(
    model: Sequential,
    task,
    *,
    precision: Precision | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float = 0.05,
    final_rate: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    seed: int = 0,
    progress: bool = False,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    shuffle: bool = True,
    checkpoint: str | os.PathLike | None = None,
    validate: bool = False,
    layer_by_layer: bool = False,
    exact_sums: bool = False,
    switch: tuple[int, Precision] | None = None,
    watch=None,
) -> Result:
    """Train a network on a task and measure its test error.

    Batches are shuffled anew each epoch and an incomplete last one is dropped.  The same arguments
    give the same bits, for any number of threads or processes.  Between machines the convolutions,
    linear layers, batch norm, pooling and the loss sum in one stated order, in float32 with fused
    multiply-add or in float64, so that MLPs and convolutional networks come out alike there too,
    but for the last bit of a machine's exp and log where that decides a rounding from float64 to
    float32 (a probability of about 2^-28 each).  Attention, layer norm, softmax and GELU leave the order
    of float32 sums to NumPy and its BLAS, and can differ; stochastic rounding then amplifies the
    difference to that of two seeds.

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
    momentum, weight_decay : float
        Of SGD, unless an optimizer is given.
    seed : int
        Draws weights and batches; rounding noise is drawn from the seed and the policy.
    progress : bool
        Show a bar with the loss and the time left.
    optimizer : Optimizer, optional
        Instead of SGD.
    schedule : callable, optional
        Instead of the straight line: the factor of the rate, of the fraction of training done.
    shuffle : bool
        Whether to; the paper's code did not.
    checkpoint : path, optional
        Written after each epoch; where it exists, training goes on from there, and ends with the
        same bits as if it had never stopped.
    validate : bool
        Measure the test error after each epoch too.
    layer_by_layer : bool
        Take every layer by itself: the same bits, more slowly.
    exact_sums : bool
        Sum the products of convolutions, linear layers and attention in float64 and round each once: other bits
        than without, several times slower, and the same in any order of summation wherever the
        formats allow it (`refimpl.nn.exactness`).
    switch : (int, Precision), optional
        After this number of epochs, continue in another precision: weights and optimizer state are rounded to
        what that keeps them in, and the loss scale starts anew.  Batch norm's running statistics,
        which are never rounded, stay.
    watch : callable, optional
        Given the number of each step and of all steps, returns what is to see the products of that
        step (`refimpl.nn.products.Product`), or None.

    Raises
    ------
    ValueError, TypeError
        Before training: where shapes do not fit (the layer is named), for labels that are not integers
        or out of range, NaN in images, a class without images, a batch larger than the set, batch norm
        of a single value,
        settings that make no sense, and a checkpoint of other settings or that cannot be written.
    OSError
        If a checkpoint cannot be written; the one before is still there.

    Examples
    --------
    >>> import refimpl as rf
    >>> task = rf.data.load("digits")
    >>> rf.nn.fit(rf.nn.cnn(), task, epochs=2, seed=0).test_error < 0.5
    True
    """
    precision = checks.precision_of(precision)
    optimizer = checks.optimizer_of(optimizer, momentum=momentum, weight_decay=weight_decay)
    flags = {"progress": progress, "shuffle": shuffle, "validate": validate, "exact_sums": exact_sums}
    for name, value in {**flags, "layer_by_layer": layer_by_layer}.items():
        check.flag("fit", name, value)
    epochs = check.integer("fit", "epochs", epochs, check.Interval(1))
    seed = check.integer("fit", "seed", seed, check.NOT_NEGATIVE)
    batch_size = check.integer("fit", "batch_size", batch_size)
    learning_rate = check.number("fit", "learning_rate", learning_rate, check.FLOAT32)
    if schedule is None:
        schedule = linear(check.number("fit", "final_rate", final_rate, check.FLOAT32_OR_0))
    checks.model_and_task(model, task)
    checks.patterns(model, precision)
    checks.sums(exact_sums, precision)
    steps = checks.steps_of_an_epoch(len(task.train_images), batch_size)
    checks.batch_norms(model, task.train_images.shape[1:], batch_size)
    factors = checks.factors(schedule, epochs * steps)
    switch = checks.switch_of(switch, epochs)
    if watch is not None:
        check.function("fit", "watch", watch, "a function of the step and the number of steps")
    if checkpoint is not None:
        checks.checkpoint_place(checkpoint)
    run = TrainingState(model, task, precision, optimizer, seed, layer_by_layer, exact_sums)
    result = Result(test_error=1 - 1 / task.classes, model=model)
    identity = _identity(
        model, task, precision, optimizer, epochs, batch_size, learning_rate, factors, seed, shuffle, exact_sums, switch
    )
    if checkpoint is not None:
        run.resume(checkpoint, identity, result, switch)
    _keep_freed_memory()
    before, started = result.seconds, time.perf_counter()
    images, labels = task.train_images, task.train_labels
    with (
        # One thread: products this small gain nothing from more, and their sums keep one order.
        threadpool_limits(1, user_api="blas"),
        np.errstate(over="ignore", invalid="ignore", divide="ignore"),  # divergence is reported
        _bar(epochs * steps, len(result.history) * steps, progress) as bar,
        told(bar.set_postfix_str) if progress else nullcontext(),
    ):
        for epoch in range(len(result.history), epochs):
            if switch is not None and epoch == switch[0]:
                run.switch_precision(switch[1])
            order = run.batches.permutation(len(images)) if shuffle else np.arange(len(images))
            record = EpochRecord()
            for step in range(steps):
                chosen = order[step * batch_size : (step + 1) * batch_size]
                done = (epoch * steps + step) / (epochs * steps)
                run.rounder.counting = step % COUNTED_STEPS == 0
                if watch is not None:
                    run.rounder.watch = watch(epoch * steps + step, epochs * steps)
                run.step(images[chosen], labels[chosen], learning_rate * schedule(done), record)
                if not math.isfinite(record.losses[-1]):
                    result.diverged = True
                    break
                bar.update()
            run.rounder.counting, run.rounder.watch = False, None
            result.history.append(record.summary(run))
            bar.set_postfix(loss=f"{result.history[-1]['loss']:.3f}")
            if result.diverged:
                break
            if validate:
                result.history[-1]["test_error"] = run.validation_error()
            if checkpoint is not None:
                result.seconds = before + time.perf_counter() - started
                run.save(checkpoint, identity, result)
        if not result.diverged:
            found = error(model, task.test_images, task.test_labels, run.rounder, **run.options)
            result.diverged = math.isnan(found)
            result.test_error = result.test_error if result.diverged else found
    result.seconds = before + time.perf_counter() - started
    return result


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed: glibc else may return and fetch every tensor, a third of a step's time.

    Freeing a block that was mapped by itself tells it (M_MMAP_THRESHOLD in mallopt(3)) that such come and go; 32 MiB
    is the largest it learns from, and it then keeps up to twice as much.
    """
    np.empty(2**25 - 2**16, np.uint8)


class TrainingState:
    """What moves while a network trains."""

    def __init__(self, model, task, precision, optimizer, seed, layer_by_layer, exact=False):
        self.model, self.task, self.seed = model, task, seed
        self.options = {"layer_by_layer": layer_by_layer, "exact": exact}
        weight_seed, batch_seed = np.random.SeedSequence(seed).spawn(2)
        model.initialize(np.random.default_rng(weight_seed))
        self.batches = np.random.default_rng(batch_seed)
        self.rounder = Rounder(precision, precision.seed(seed))
        self.optimizer = optimizer.start(model.named_tensors(), self.rounder, one_by_one=layer_by_layer)
        self.scale = LossScale.of(precision.loss_scale).start()
        self.forward = Pass(self.rounder, training=True, exact=self.options["exact"])
        self._programs: dict[tuple, NetworkProgram | None] = {}

    def step(self, images, labels, rate, record) -> None:
        """Train on a batch, unless its loss is not finite."""
        gradients = self._gradients(images, labels, record)
        if gradients is None:
            return
        adapts = self.scale.rule.adapts
        moved = self.optimizer.step(rate, gradients, self.scale.value, guarded=adapts)
        if adapts:
            self.scale.after(overflowed=not moved)
        record.skipped += not moved

    def _gradients(self, images, labels, record) -> np.ndarray | None:
        """Return the gradients of the scaled loss of a batch, None unless that is finite."""
        program = self._program(images)
        if program is not None:
            program.images[:] = images
            record.note(program.forward(labels), program.logits, labels)
            return program.backward(self.scale.value) if self._loss_is_finite(record) else None
        logits = self.model(Tensor(images), self.forward)
        how = self.rounder.precision.accumulator_of("loss")
        cross_entropy = p.cross_entropy if how is None else partial(every_operation.cross_entropy, how=how)
        loss = cross_entropy(logits, labels=labels)
        record.note(loss.data, logits.data, labels)
        if not self._loss_is_finite(record):
            return None
        (loss * self.scale.value).backward()
        return self.optimizer.collect()

    def _loss_is_finite(self, record) -> bool:
        """Return whether the last loss is finite, scaled too if nothing would lower the scale."""
        loss = record.losses[-1]
        if not self.scale.rule.adapts and not math.isfinite(np.float32(loss * self.scale.value)):
            loss = record.losses[-1] = math.inf
        return math.isfinite(loss)

    def _program(self, images) -> NetworkProgram | None:
        """Return the network as a program for batches like this one, if that may be used."""
        if any(self.options.values()) or (self.rounder.plan, self.rounder.watch) != (None, None):
            return None
        if images.shape not in self._programs:
            program = None
            if images.dtype != np.float64:
                beside = self.optimizer.calls()
                program = network_program(self.model, images.shape, self.rounder, training=True, beside=beside)
            self._programs = {images.shape: program}
        return self._programs[images.shape]

    def validation_error(self) -> float:
        """Return the test error, without moving the stream of rounding noise."""
        precision = self.rounder.precision
        apart = Rounder(precision, precision.seed(self.seed) ^ 1)
        task = self.task
        return error(self.model, task.test_images, task.test_labels, apart, **self.options)

    def save(self, path, identity, result) -> None:
        """Write a checkpoint."""
        arrays = {f"optimizer {k}": v for k, v in self.optimizer.arrays().items()}
        for layer in self.model.every_layer():
            for name, array in layer.state().items():
                arrays[f"layer {layer.name} {name}"] = array
        checkpoints.save(
            path,
            arrays,
            {
                "identity": identity,
                "history": result.history,
                "seconds": result.seconds,
                "batches": self.batches.bit_generator.state,
                "calls": self.rounder.calls,
                "magnitudes": {place: past.tolist() for place, past in self.rounder.magnitudes.items()},
                "scale": [self.scale.value, self.scale.good],
            },
        )

    def switch_precision(self, precision) -> None:
        """Change to another policy."""
        self.rounder = Rounder(precision, precision.seed(self.seed))
        self.optimizer.switch_precision(self.rounder)
        self.scale = LossScale.of(precision.loss_scale).start()
        self.forward = Pass(self.rounder, training=True, exact=self.options["exact"])
        self._programs = {}

    def resume(self, path, identity, result, switch=None) -> None:
        """Continue from a checkpoint, if there is one."""
        found = checkpoints.load(path)
        if found is None:
            return
        arrays, kept = found
        wrong = [k for k in identity if kept["identity"].get(k) != identity[k]]
        if wrong:
            raise ValueError(
                f"fit: checkpoint {path} was written with another {wrong[0]}: "
                f"{kept['identity'].get(wrong[0])!r}, now it is {identity[wrong[0]]!r}; "
                "use the same again or another file"
            )
        if switch is not None and len(kept["history"]) > switch[0]:
            self.switch_precision(switch[1])
        self.optimizer.restore(
            {name.removeprefix("optimizer "): a for name, a in arrays.items() if name.startswith("optimizer ")}
        )
        for layer in self.model.every_layer():
            layer.load_state({n: arrays[f"layer {layer.name} {n}"] for n in layer.state()})
        self.batches.bit_generator.state = kept["batches"]
        self.rounder.restore(kept["calls"], kept["magnitudes"])
        self.scale.value, self.scale.good = kept["scale"]
        result.history, result.seconds = kept["history"], kept["seconds"]


@dataclass
class EpochRecord:
    """What is noted down during an epoch."""

    losses: list[float] = field(default_factory=list)
    wrong: int = 0
    seen: int = 0
    skipped: int = 0
    started: float = field(default_factory=time.perf_counter)

    def note(self, loss, logits, labels) -> None:
        """Note a step's loss and how many images were classified, or next tokens predicted, wrongly."""
        self.losses.append(float(loss))
        self.wrong += int(np.count_nonzero(logits.argmax(axis=-1) != labels))
        self.seen += labels.size

    def summary(self, run: TrainingState) -> dict:
        """Return the epoch's entry of the history, and start counting anew."""
        counts = {
            role: dict(zip(("elements", "overflow", "underflow"), map(int, found), strict=True))
            for role, found in run.rounder.counts.items()
        }
        run.rounder.counts = {}
        return {
            "loss": float(np.mean(self.losses)),
            "error": self.wrong / self.seen,
            "seconds": time.perf_counter() - self.started,
            "loss_scale": run.scale.value,
            "skipped": self.skipped,
            "counts": counts,
        }


def error(
    model: Sequential,
    images: np.ndarray,
    labels: np.ndarray,
    rounder: Rounder,
    *,
    layer_by_layer: bool = False,
    exact: bool = False,
) -> float:
    """Return the fraction of images a trained network classifies (of next tokens, foretells) wrongly.

    It rounds as in training.  An image of which it makes NaN is wrong; where it makes nothing else, the error is NaN.
    """
    found = logits(model, images, rounder, layer_by_layer=layer_by_layer, exact=exact)
    lost = np.isnan(found).any(axis=-1)
    return math.nan if lost.all() else int(np.sum((found.argmax(axis=-1) != labels) | lost)) / labels.size


def logits(
    model: Sequential, images: np.ndarray, rounder: Rounder, *, layer_by_layer: bool = False, exact: bool = False
) -> np.ndarray:
    """Return what a trained network makes of images, float32 (n, ..., classes), rounding as in training."""
    run, found, ready = Pass(rounder, training=False, exact=exact), [], None
    pixels = math.prod(images.shape[1:3])
    at_once = min(EVALUATED_AT_ONCE, max(EVALUATED_AT_ONCE * 64 // pixels, 32))
    for start in range(0, len(images), at_once):
        batch = images[start : start + at_once]
        if layer_by_layer or exact or batch.dtype == np.float64:
            ready = None
        elif ready is None or ready.images.shape != batch.shape:
            ready = network_program(model, batch.shape, rounder, training=False)
        if ready is None:
            found.append(model(Tensor(batch), run).data)
        else:
            ready.images[:] = batch
            ready.forward(0)
            found.append(ready.logits.copy())
    return np.concatenate(found)


def _identity(model, task, precision, optimizer, epochs, batch_size, rate, factors, seed, shuffle, exact_sums, switch):
    """Return what must be the same for a checkpoint to be continued."""
    digest = hashlib.sha256()
    for part in (task.train_images, task.train_labels, task.test_images, task.test_labels):
        digest.update(part.tobytes())
    identity = {
        "model": repr(model),
        "task": f"{task.name} {digest.hexdigest()[:16]}",
        "precision": repr(precision),
        "optimizer": repr(optimizer),
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": rate,
        "schedule": factors,
        "seed": seed,
        "shuffle": shuffle,
        "exact_sums": exact_sums,
        "switch": None if switch is None else repr(switch),
    }
    return json.loads(json.dumps(identity))


def _bar(total: int, done: int, show: bool):
    from tqdm.auto import tqdm

    bar = tqdm(total=total, initial=done, unit="step", disable=not show, leave=False)
    bar.set_postfix_str(STARTING)
    return bar
