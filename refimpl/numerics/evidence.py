"""What candidate formats would do to the operands of a network's products, measured on a run.

A candidate is a `refimpl.nn.Rounding`, as the trainer takes it; evidence is
measured by the trainer's own rounding, on whole tensors, one operand at a time, the others exact.
Of every operand and candidate the worst over the recorded steps is kept of

==================  ==============================================================================
``backward error``  median of |error| / (|a| |b|) over the elements of a product the operand goes
                    into; the worse of its two products
``relative error``  norm of the error / norm of the operand
``noise``           minus the signal-to-quantization-noise ratio, decibels
``underflow``       fraction of the elements other than 0 that became 0
==================  ==============================================================================

For all of them less is better.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product as every
from typing import Literal, get_args

import numpy as np

from refimpl import _arguments as check
from refimpl.nn.precision import PRODUCT_ROLES, Precision, Rounding
from refimpl.nn.products import Product, round_operand
from refimpl.nn.rounder import Rounder
from refimpl.numerics.capture import Capture, capture
from refimpl.numerics.metrics import normwise_error, sqnr, underflow

Metric = Literal["backward error", "relative error", "noise", "underflow"]
METRICS: tuple[Metric, ...] = get_args(Metric)

ALIASES = {"e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2"}
"""Here the paper's short names mean OCP's formats, as in the paper.  Elsewhere in refimpl plain
``e4m3`` and ``e5m2`` are those of PEPPP, every code finite."""


SCALE_BITS = 32  # of each scale, a float32


@dataclass(frozen=True)
class Candidate:
    """A way to round an operand.

    Parameters
    ----------
    rounding : refimpl.nn.Rounding
        With a scale.

    Examples
    --------
    >>> found = Candidate(Rounding(format="int8", per="row"))
    >>> found.name, found.bits((32, 64), of_images=False)
    ('int8 per row', 8.5)
    """

    rounding: Rounding

    def __post_init__(self):
        check.instance("Candidate", "rounding", self.rounding, Rounding, "a refimpl.nn.Rounding with a scale")

    @property
    def name(self) -> str:
        """Format, and what else is not as usual."""
        r = self.rounding
        per = "" if r.per == "tensor" else " per row" if r.per == "row" else f" per block of {r.per}"
        return r.format.name + per + ("" if r.rounding == "ties_to_even" else f" {r.rounding}")

    def bits(self, shape: tuple[int, ...], *, of_images: bool, role: str = "left operand") -> float:
        """Return the bits an element takes with its part of the scales, 32 for each scale."""
        size = int(np.prod(shape))
        if role == "right operand":
            row = size // shape[-1] if of_images else shape[-2]
        else:
            row = size // shape[0] if of_images else shape[-1]
        per = self.rounding.per
        blocks = 1 if isinstance(per, str) else -(-row // per)
        scales = 1 if per == "tensor" else size // row * blocks
        return self.rounding.format.bits + SCALE_BITS * scales / size


def candidates(
    formats=("int8", "e4m3", "e5m2"), *, scalings=("tensor",), roundings=("ties_to_even",)
) -> list[Candidate]:
    """Return every format with every scaling and every rounding.

    Parameters
    ----------
    formats : sequence of str or formats
        ``e4m3`` and ``e5m2`` mean OCP's (`ALIASES`).
    scalings : sequence of {"tensor", "row"} or int
        What shares a scale; a number is the size of a block.
    roundings : sequence of str

    Raises
    ------
    TypeError, ValueError
        Where a list is empty or something else, for unknown names, and for what cannot be trained in.

    Examples
    --------
    >>> [c.name for c in candidates(["int8", "e4m3"], scalings=["tensor", "row"])]
    ['int8', 'int8 per row', 'float8_e4m3fn', 'float8_e4m3fn per row']
    """
    formats = check.sequence("candidates", "formats", formats, "['int8', 'e4m3', 'e5m2']")
    scalings = check.sequence("candidates", "scalings", scalings, "['tensor', 'row', 32]")
    roundings = check.sequence("candidates", "roundings", roundings, "['ties_to_even', 'stochastic']")
    found = [
        Candidate(Rounding(format=ALIASES.get(f, f) if isinstance(f, str) else f, rounding=r, scaling="current", per=s))
        for f, s, r in every(formats, scalings, roundings)
    ]
    return list(dict.fromkeys(found))


@dataclass
class Operand:
    """What is known of one operand.

    Attributes
    ----------
    layer, role : str
    shape : tuple of int
    of_images : bool
    values : ndarray of float64, shape (candidates, metrics)
        The worst found, metrics in the order of `METRICS`.
    shared : (str, str) or None
        The operand that is the same tensor, if one came before it (queries, keys and values are
        made of the same).
    """

    layer: str
    role: str
    shape: tuple[int, ...]
    of_images: bool
    values: np.ndarray
    shared: tuple[str, str] | None = None

    @property
    def size(self) -> int:
        """Number of elements in a batch."""
        return int(np.prod(self.shape))


@dataclass(repr=False)
class Evidence:
    """What every candidate does to every operand.

    Attributes
    ----------
    candidates : list of Candidate
    operands : dict of (layer, role) to Operand
        In the order of the backward pass.
    capture : Capture
        The distributions.

    Examples
    --------
    >>> import refimpl as rf
    >>> found = rf.numerics.measure(rf.nn.mlp(), rf.data.load("digits"), rf.numerics.candidates(), steps=1)
    >>> [candidate.name for candidate in found.candidates], len(found.operands)
    (['int8', 'float8_e4m3fn', 'float8_e5m2'], 9)
    """

    candidates: list[Candidate]
    operands: dict[tuple[str, str], Operand] = field(default_factory=dict)
    capture: Capture | None = None

    def __repr__(self) -> str:
        return f"<Evidence: {len(self.operands)} operands x {', '.join(c.name for c in self.candidates)}>"

    def value(self, key: tuple[str, str], metric: Metric) -> np.ndarray:
        """Return a metric of an operand for each candidate; ValueError if there is no such operand."""
        check.choice("value", "metric", metric, METRICS)
        if key not in self.operands:
            such = next(iter(self.operands), None)
            raise check.wrong_value("value", "key", key, f"a (layer, role) of evidence.operands, such as {such}")
        return self.operands[key].values[:, METRICS.index(metric)]

    def see(self, product: Product) -> None:
        """Take in a product of a training step."""
        if not all(np.isfinite(x).all() for x in product.tensors.values()):
            return
        if any(layer == product.layer for (layer, _), _ in self._step.values()):
            self._step.clear()  # this layer again: another step
        errors = _BackwardErrors(product)
        for role, x in product.tensors.items():
            key = product.layer, role
            known = self.operands.get(key)
            if known is None:
                worst = np.full((len(self.candidates), len(METRICS)), -np.inf)
                known = self.operands[key] = Operand(*key, x.shape, product.of_images, worst)
            place = x.__array_interface__["data"][0], x.size
            first, _ = self._step.setdefault(place, (key, x))  # x is kept: its place stays its own
            known.shared = None if first == key else first
            for row, rounder in zip(known.values, self._rounders, strict=True):
                y = round_operand(rounder, x, role, product.layer, product.of_images)
                found = errors(role, y), normwise_error(x, y), -sqnr(x, y), underflow(x, y)
                np.maximum(row, found, out=row)

    @cached_property
    def _rounders(self) -> list[Rounder]:
        return [
            Rounder(Precision(roles=dict.fromkeys(PRODUCT_ROLES, c.rounding)), seed=i)
            for i, c in enumerate(self.candidates)
        ]

    @cached_property
    def _step(self) -> dict[tuple[int, int], tuple]:
        """The operands of the step by their places in memory."""
        return {}


class _BackwardErrors:
    """The backward errors of the products that one operand goes into, the others being exact."""

    def __init__(self, product: Product):
        self._product = product
        self._exact = {r: x.astype(np.float64) for r, x in product.tensors.items()}
        a, b, dy = (np.abs(x) for x in self._exact.values())
        y, back = self._multiply(a, b)
        self._bounds = (y, *back(dy))

    def __call__(self, role: str, rounded: np.ndarray) -> float:
        """Return the worse of the medians of |error| / (|a| |b|), where that is not 0 / 0."""
        changed = {**self._exact, role: rounded - self._exact[role]}
        y, back = self._multiply(changed["left operand"], changed["right operand"])
        da, db = back(changed["product gradient"])
        left, right = self._product.needed
        products = {
            "left operand": ((y, 0), (db, 2) if right else None),
            "right operand": ((y, 0), (da, 1) if left else None),
            "product gradient": ((da, 1) if left else None, (db, 2) if right else None),
        }[role]
        medians = []
        for error, place in filter(None, products):
            counted = self._bounds[place] > 0
            ratio = np.abs(error[counted]) / self._bounds[place][counted]
            medians.append(float(np.median(ratio)) if ratio.size else 0.0)
        return max(medians, default=0.0)

    def _multiply(self, a, b):
        return self._product.multiply.__wrapped__(a, b, **self._product.options)


def measure(
    model, task, candidates: list[Candidate], *, steps: int = 4, epochs: int = 1, seed: int = 0, **training
) -> Evidence:
    """Train in float32 and measure what every candidate would do to every operand.

    Parameters
    ----------
    model, task, epochs, seed, training
        As for `refimpl.numerics.capture.capture`.
    candidates : list of Candidate
        As `refimpl.numerics.candidates` returns them.
    steps : int
        Steps measured, spread evenly over the run.

    Returns
    -------
    Evidence

    Raises
    ------
    TypeError, ValueError
        Without candidates, or for other things than those; as `capture`.

    Examples
    --------
    >>> import refimpl as rf
    >>> evidence = measure(rf.nn.mlp(), rf.data.load("digits"), candidates(), steps=1)
    >>> int8, e4m3, e5m2 = evidence.value(("2 Linear", "right operand"), "backward error")
    >>> bool(int8 < e4m3 < e5m2)  # initial weights are uniform: no tails at all
    True
    """
    such = "what refimpl.numerics.candidates(['int8', 'e4m3']) returns"
    candidates = check.sequence("measure", "candidates", candidates, such)
    for i, candidate in enumerate(candidates):
        check.instance("measure", f"candidates[{i}]", candidate, Candidate, f"a Candidate, as in {such}")
    evidence = Evidence(candidates)
    evidence.capture = capture(model, task, steps=steps, epochs=epochs, seed=seed, also=evidence.see, **training)
    evidence._step.clear()
    return evidence
