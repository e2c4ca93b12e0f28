"""Which rounding and rule of overflow has an unknown implementation of an operation, or what is wrong with it?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from refimpl.formats import OVERFLOWS, PositFormat
from refimpl.testing.expected.behaviour import DETERMINISTIC
from refimpl.testing.operations.asked import Asked
from refimpl.testing.operations.cases import tuples
from refimpl.testing.operations.diagnosis import Observed, describe, diagnose
from refimpl.testing.operations.operation import OF_INTEGERS, Operation, decoded


@dataclass(frozen=True)
class IdentifiedOperation:
    """What `identify` found of an operation; printed, it says so in words.

    `operation` with rounding and overflow, None where no rules explain every answer; `alternatives`, others that do;
    `diagnoses`, if there are none, the known defects that do, in an implementation of ties to even; `description`, if
    none do, says where such an implementation would give other results.

    Examples
    --------
    >>> import refimpl as rf
    >>> found = rf.testing.identify(lambda a, b: rf.add(a, b, "e5m2", rounding="to_odd"), op="add", format="e5m2")
    >>> found.operation.rounding, [other.overflow for other in found.alternatives]  # the largest is odd: none overflows
    ('to_odd', ['saturate', 'propagate'])
    """

    operation: Operation | None
    alternatives: tuple[Operation, ...] = ()
    diagnoses: tuple[str, ...] = ()
    description: str = ""

    def __str__(self) -> str:
        if self.operation is None:
            return (
                "; or: ".join(self.diagnoses)
                or f"no rounding and no known defect explains it; if ties to even is meant, {self.description}"
            )
        return "\n  or ".join(map(str, (self.operation, *self.alternatives)))


def identify_operation(implementation, operation: Operation, time_limit: float = 10.0) -> IdentifiedOperation:
    """Return which rules an implementation of an operation follows; raise Finding if it cannot be asked."""
    codes = tuples(operation)
    got = Asked(implementation, operation, time_limit=time_limit)(codes)
    found = []
    modes = DETERMINISTIC if operation.is_rounded or operation.integer else ("ties_to_even",)
    rules = OF_INTEGERS[1:] if operation.integer else OVERFLOWS if operation.is_rounded else ("overflow",)
    if isinstance(operation.into, PositFormat):
        modes, rules = ("ties_to_even",), ("overflow",)
    for rounding, overflow in product(modes, rules):
        candidate = replace(operation, rounding=rounding, overflow=overflow)
        if got.valid.all() and candidate.same(candidate.results(codes), got.codes).all():
            found.append(candidate)
    if found:
        return IdentifiedOperation(found[0], tuple(found[1:]))
    values = [decoded(c, fmt) for c, fmt in zip(codes, operation.formats, strict=True)]
    with np.errstate(all="ignore"):
        seen = Observed(values, operation.values_of(operation.results(codes)), got.values)
        found_defects = diagnose(operation, seen)
        return IdentifiedOperation(None, (), found_defects, "" if found_defects else describe(operation, seen))
