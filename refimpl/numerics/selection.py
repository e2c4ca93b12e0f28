"""A format for every operand of a network: the cheapest whose metric is within a tolerance.

`choose` makes an `Assignment` of evidence; its `precision()` is a policy that rounds every operand of
every product, forward and backward, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context

import numpy as np

from refimpl import _arguments as check
from refimpl._display import Shown
from refimpl.formats.units import MatrixUnit
from refimpl.formats.units import unit as unit_of
from refimpl.nn.precision import Accumulator, Precision, Rounding, multiplied, multiplies
from refimpl.numerics.evidence import METRICS, Candidate, Evidence, Metric
from refimpl.peppp.memory import Item, Memory

KINDS = {"left operand": "activations", "right operand": "weights", "product gradient": "activation gradients"}


@dataclass(frozen=True)
class Choice:
    """The candidate an operand was given.

    Attributes
    ----------
    layer, role : str
    candidate : Candidate
    value : float
        The metric's.
    bits : float
        Of an element, with its part of the scales.
    """

    layer: str
    role: str
    candidate: Candidate
    value: float
    bits: float


@dataclass(frozen=True, repr=False)
class Assignment(Shown):
    """A candidate for every operand.

    Attributes
    ----------
    evidence : Evidence
    metric : str
    tolerance : float
    choices : tuple of Choice
        In the order of the evidence.
    products : str or MatrixUnit, optional
        The matrix unit whose products they are.

    Examples
    --------
    >>> import refimpl as rf
    >>> from refimpl.numerics import candidates, choose, measure
    >>> chosen = choose(measure(rf.nn.mlp(), rf.data.load("digits"), candidates(), steps=1), tolerance=0.01)
    >>> chosen.counts()
    {'int8': 8, 'float8_e4m3fn': 1}
    """

    evidence: Evidence
    metric: Metric
    tolerance: float
    choices: tuple[Choice, ...]
    products: str | MatrixUnit | None = None

    def _shown(self):
        given = ", ".join(f"{name} to {n}" for name, n in self.counts().items())
        line = f"{given} operands, by {self.metric} of at most {self.tolerance:g}"
        rows = [(c.layer, c.role, c.candidate.name, c.bits, c.value) for c in self.choices]
        return line, ("layer", "operand", "chosen", "bits", self.metric), rows

    def precision(self) -> Precision:
        """Return the policy that rounds every operand as chosen, and nothing else; products are the unit's, if any."""
        layers: dict[str, dict[str, Rounding]] = {}
        for choice in self.choices:
            layers.setdefault(choice.layer, {})[choice.role] = choice.candidate.rounding
        return Precision(layers=layers, loss_scale=1.0, products=self.products)

    def memory(self, bits: float | None = None) -> Memory:
        """Return what the operands take, those of one batch: each tensor once for each format it is in.

        `bits` is the width of every element instead, such as 32 for what float32 takes.
        """
        items, held = [], set()
        for choice in self.choices:
            operand = self.evidence.operands[choice.layer, choice.role]
            what = operand.shared or (choice.layer, choice.role)
            kind = choice.candidate if bits is None else None
            if (what, kind) not in held:
                held.add((what, kind))
                items.append(
                    Item(choice.layer, KINDS[choice.role], operand.size, choice.bits if bits is None else bits)
                )
        return Memory(tuple(items))

    def summary(self) -> float:
        """Return the mean of the metric over the operands; noise is counted as -200 dB at least.

        To first order the errors that the operands bring into a product add up.
        """
        return float(np.mean(np.maximum([choice.value for choice in self.choices], -200.0)))

    def counts(self) -> dict[str, int]:
        """Return how many operands were given each candidate."""
        names = [c.name for c in self.evidence.candidates]
        given = [choice.candidate.name for choice in self.choices]
        return {name: given.count(name) for name in names if name in given}


def choose(
    evidence: Evidence, *, tolerance: float, metric: Metric = "backward error", products: str | MatrixUnit | None = None
) -> Assignment:
    """Give each operand the candidate of fewest bits within the tolerance; of equal ones the best.

    Parameters
    ----------
    evidence : Evidence
    tolerance : float
        The metric may be at most this; for ``noise``, minus the least ratio in decibels.
    metric : str
        One of `METRICS`.
    products : str or MatrixUnit, optional
        A matrix unit: of the candidates those that it multiplies.  Its sums are no part of the metric;
        `refimpl.numerics.sum_bound` and `certify` bound what they add.

    Raises
    ------
    TypeError, ValueError
        For something else than evidence, an unknown metric or unit, a unit that multiplies no candidate, a tolerance
        that is not a number, and where no candidate is within it for some operand: that operand is named for which
        the best candidate is farthest off, and the least tolerance that all can meet.

    Examples
    --------
    >>> import refimpl as rf
    >>> from refimpl.numerics import candidates, measure
    >>> evidence = measure(rf.nn.mlp(), rf.data.load("digits"), candidates(), steps=1)
    >>> choose(evidence, tolerance=0.01).counts()
    {'int8': 8, 'float8_e4m3fn': 1}
    """
    check_evidence("choose", evidence, metric)
    tolerance = check.number("choose", "tolerance", tolerance)
    able = _multiplied(evidence, products)
    hardest = max(evidence.operands, key=lambda key: evidence.value(key, metric)[able].min())
    values = evidence.value(hardest, metric)
    if values[able].min() > tolerance:
        best = able[int(values[able].argmin())]
        raise ValueError(
            f"choose: no candidate has a {metric} of at most {tolerance:g} for the {hardest[1]} of "
            f"{hardest[0]!r}; the closest is {evidence.candidates[best].name} with {values[best]:.4g}: "
            f"pass a tolerance of {_at_least(values[best])} or more, or candidates of more bits"
        )
    choices = []
    for key, operand in evidence.operands.items():
        costs = [
            (candidate.bits(operand.shape, of_images=operand.of_images, role=operand.role), value, i)
            for i, (candidate, value) in enumerate(zip(evidence.candidates, evidence.value(key, metric), strict=True))
            if value <= tolerance and i in able
        ]
        bits, value, i = min(costs)
        choices.append(Choice(*key, evidence.candidates[i], float(value), bits))
    return Assignment(evidence, metric, tolerance, tuple(choices), products)


def _multiplied(evidence: Evidence, products: str | MatrixUnit | None) -> list[int]:
    """Return the places of the candidates that a unit multiplies, all without one."""
    if products is None:
        return list(range(len(evidence.candidates)))
    Accumulator(unit=products)  # refuses what no training runs on
    unit = unit_of(products, "choose")
    able = [i for i, candidate in enumerate(evidence.candidates) if multiplies(unit, candidate.rounding)]
    if not able:
        names = ", ".join(candidate.name for candidate in evidence.candidates)
        about = repr(products) if isinstance(products, str) else "the unit"
        raise check.wrong_value(
            "choose", "products", products, f"a unit for one of {names}", f"{about} multiplies {multiplied(unit)}"
        )
    return able


def check_evidence(caller: str, evidence: Evidence, metric: Metric) -> None:
    """Refuse other things than evidence, evidence of nothing, and an unknown metric."""
    measured = "what refimpl.numerics.measure returns"
    check.instance(caller, "evidence", evidence, Evidence, measured)
    if not evidence.operands:
        raise ValueError(check.message(caller, "evidence", "without operands", measured))
    check.choice(caller, "metric", metric, METRICS)


def _at_least(value: float) -> str:
    """Return a number in three digits, rounded up."""
    return f"{float(Context(prec=3, rounding=ROUND_CEILING).create_decimal(float(value))):g}"


def uniform(evidence: Evidence, place: int, metric: Metric = "backward error") -> Assignment:
    """Return the assignment of one candidate, by its place from 0, to every operand.

    TypeError or ValueError for other things than evidence, a metric and a place.

    Examples
    --------
    >>> import refimpl as rf
    >>> evidence = rf.numerics.measure(rf.nn.mlp(), rf.data.load("digits"), rf.numerics.candidates(), steps=1)
    >>> uniform(evidence, 0).counts()
    {'int8': 9}
    """
    check_evidence("uniform", evidence, metric)
    place = check.integer("uniform", "place", place, check.Interval(0, len(evidence.candidates) - 1))
    candidate = evidence.candidates[place]
    choices = tuple(
        Choice(
            *key,
            candidate,
            float(evidence.value(key, metric)[place]),
            candidate.bits(operand.shape, of_images=operand.of_images, role=operand.role),
        )
        for key, operand in evidence.operands.items()
    )
    return Assignment(evidence, metric, np.inf, choices)
