"""The operands of every product of a training run, as distributions: streaming, in bounded memory.

Each product y = a b of a training step has three operands, forward and backward: the left (what
comes in), the right (weights, keys, values), and the gradient of y (`refimpl.nn.products`).  Of each
are kept a histogram of magnitudes by octaves, exactly counted, mean and standard deviation, and
a uniform sample: about 20 kB an operand, however long the run and however large the tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from refimpl import _arguments as check
from refimpl.nn.products import Product
from refimpl.nn.training import fit
from refimpl.numerics.tails import StudentT, fit_student_t

LOWEST, HIGHEST = -149, 127  # exponents of float32's values
SAMPLE = 4096  # values kept of each operand


class Distribution:
    """A stream of values, summed up.

    Attributes
    ----------
    count, zeros : int
        Values seen; those that were 0.
    mean, deviation : float
        Of all values; the deviation is that of the population.
    largest : float
        Largest magnitude.
    octaves : ndarray of int64, shape (277,)
        How many magnitudes lay in [2^e, 2^(e+1)), for e from -149 to 127.
    sample : ndarray of float32, shape (at most 4096,)
        Each value seen is in it with the same probability.

    Examples
    --------
    >>> found = Distribution()
    >>> found.add(np.float32([0.0, 1.0, -1.5, 0.25]))
    >>> found.count, found.zeros, found.mean, found.largest, found.octaves[149 - 2 : 149 + 1].tolist()
    (4, 1, -0.0625, 1.5, [1, 0, 2])
    """

    def __init__(self, seed: int | Sequence[int] = 0):
        self.count = self.zeros = 0
        self.mean = self.largest = 0.0
        self.octaves = np.zeros(HIGHEST - LOWEST + 1, np.int64)
        self._squares = 0.0  # of the distances from the mean
        self._sample, self._rng = np.empty(SAMPLE, np.float32), np.random.default_rng(seed)

    def add(self, x: np.ndarray) -> None:
        """Take in values (float32, finite, any shape)."""
        x = np.ascontiguousarray(x, np.float32).reshape(-1)
        if not x.size:
            return
        _, exponents = np.frexp(x[x != 0])
        self.octaves += np.bincount(exponents - 1 - LOWEST, minlength=len(self.octaves))
        self.zeros += x.size - len(exponents)
        self.largest = max(self.largest, float(np.abs(x).max()))
        mean, squares = float(x.mean(dtype=np.float64)), x.size * float(x.var(dtype=np.float64))
        total = self.count + x.size  # Chan, Golub and LeVeque's formula for joining two samples
        shift = mean - self.mean
        self._squares += squares + shift**2 * self.count * x.size / total
        self.mean += shift * x.size / total
        # Vitter's algorithm R: the i-th value replaces one of the sample with probability SAMPLE / i
        start = max(0, min(SAMPLE - self.count, x.size))
        self._sample[self.count : self.count + start] = x[:start]
        places = self._rng.integers(0, np.arange(self.count + start, total) + 1)
        kept = places < SAMPLE
        self._sample[places[kept]] = x[start:][kept]
        self.count = total

    @property
    def deviation(self) -> float:
        """Standard deviation of all values."""
        return math.sqrt(self._squares / self.count) if self.count else 0.0

    @property
    def sample(self) -> np.ndarray:
        """A uniform sample of the values, in no order."""
        return self._sample[: self.count].copy()

    def student_t(self) -> StudentT:
        """Return a Student t fitted to those of the sample that are not 0.

        Exact zeros are a ReLU's or a dropout's doing, and no format loses them.
        """
        kept = self.sample
        return fit_student_t(kept[kept != 0])


@dataclass(repr=False)
class Capture:
    """What was recorded of a run.

    Attributes
    ----------
    operands : dict of (layer, role) to Distribution
        In the order in which they were first seen, which is backwards.
    steps : tuple of int
        The steps recorded, of `total`.

    Examples
    --------
    >>> import refimpl as rf
    >>> found = capture(rf.nn.mlp(), rf.data.load("digits"), steps=1)
    >>> list(found.operands)[0]
    ('8 Linear', 'left operand')
    """

    operands: dict[tuple[str, str], Distribution] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    total: int = 0

    def __repr__(self) -> str:
        return f"<Capture: {len(self.operands)} operands in {len(self.steps)} of {self.total} steps>"

    def of(self, layer: str, role: str) -> Distribution:
        """Return the operand of a role in the one layer whose name ends in `layer`.

        Raises
        ------
        ValueError
            If no such operand was recorded, or several.
        """
        found = [key for key in self.operands if key[1] == role and key[0].endswith(str(layer))]
        if len(found) != 1:
            got = f"{layer!r}, which with role {role!r} fits {', '.join(repr(name) for name, _ in found) or 'none'}"
            allowed = "the end of one of " + ", ".join(dict.fromkeys(repr(name) for name, _ in self.operands))
            raise ValueError(check.message("of", "layer", got, allowed))
        return self.operands[found[0]]

    def __str__(self) -> str:
        width = max((len(layer) for layer, _ in self.operands), default=5)
        lines = [f"{'layer':<{width}}  role                values   zeros   deviation    largest"]
        for (layer, role), d in sorted(self.operands.items()):
            lines.append(
                f"{layer:<{width}}  {role:<16} {d.count:>9}  {d.zeros / d.count:>6.1%}"
                f"  {d.deviation:>10.3g} {d.largest:>10.3g}"
            )
        return "\n".join(lines)


def capture(
    model,
    task,
    *,
    steps: int = 8,
    epochs: int = 1,
    seed: int = 0,
    also: Callable[[Product], None] | None = None,
    **training,
) -> Capture:
    """Train a network and record the operands of every product on a few of the steps.

    Parameters
    ----------
    model : Sequential
        Any of `refimpl.nn`; initialized and trained here.
    task : Task
    steps : int
        Steps to record, spread evenly over the run from its first to its last.
    epochs, seed, training
        As for `refimpl.nn.fit`; with `precision`, operands are recorded before they are rounded,
        and gradients are those of the scaled loss.
    also : callable, optional
        Given every product of those steps too.

    Returns
    -------
    Capture

    Raises
    ------
    ValueError
        For steps below 1; as `refimpl.nn.fit`; and if training diverged before anything was seen.

    Notes
    -----
    Steps that are not recorded run as they do without a capture, and all compute the same bits.

    Examples
    --------
    >>> import refimpl as rf
    >>> found = capture(rf.nn.mlp(), rf.data.load("digits"), steps=2)
    >>> found.steps, len(found.operands), found.of("2 Linear", "right operand").count
    ((0, 43), 9, 16384)
    """
    steps = check.integer("capture", "steps", steps, check.Interval(1))
    if also is not None:
        check.function("capture", "also", also, "a function of a product")
    found = Capture()
    chosen: set[int] = set()

    def see(product: Product) -> None:
        for role, x in product.tensors.items():
            key = product.layer, role
            if key not in found.operands:
                found.operands[key] = Distribution((seed, len(found.operands)))
            if np.isfinite(x).all():
                found.operands[key].add(x)
        if also is not None:
            also(product)

    def watch(step: int, total: int):
        if not chosen:
            chosen.update(np.linspace(0, total - 1, min(steps, total)).astype(int).tolist())
            found.steps, found.total = tuple(sorted(chosen)), total
        return see if step in chosen else None

    fit(model, task, epochs=epochs, seed=seed, watch=watch, **training)
    if not found.operands:
        raise ValueError("capture: training diverged before a product was seen; lower the rate")
    return found
