"""One known defect of arithmetic, and what an implementation that has it gives.

*Notation*: o is an `Operation`, v the values of its operands (a list of float64 arrays), y results (float64),
e exact results, cut to odd (`Operation.exact`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refimpl.formats import FloatFormat
from refimpl.testing.operations.operation import Operation


@dataclass(frozen=True)
class Defect:
    """A named way to be wrong: `before(o, v)` gives operands, `core(o, v)` and `after(o, v, y)` results."""

    sentence: str
    before: Callable | None = None
    core: Callable | None = None
    after: Callable | None = None


def predict(defects, o: Operation, v) -> np.ndarray:
    """Return what an implementation with these defects gives, float64.

    >>> from refimpl.testing.operations.defects import defects_of
    >>> flush = next(d for d in defects_of(Operation("add", "e4m3fn")) if "subnormal results" in d.sentence)
    >>> predict((flush,), Operation("add", "e4m3fn"), [np.array([0.002, 1.0]), np.array([0.002, 1.0])]).tolist()
    [0.0, 2.0]
    """
    core = Operation.evaluate
    for defect in defects:
        v = defect.before(o, v) if defect.before else v
        core = defect.core or core
    y = core(o, v)
    for defect in defects:
        y = defect.after(o, v, y) if defect.after else y
    return y


def rounds(o: Operation) -> bool:
    """Tell whether an operation has exact results that a float format rounds."""
    return o.is_rounded and isinstance(o.into, FloatFormat) and o.name != "round_to_integral"


def giving(value, where: Callable) -> Callable:
    """Return an `after` that puts a value, with the sign of the result, where something holds."""
    return lambda o, v, y: np.where(where(o, v, y), np.copysign(value, y), y)
