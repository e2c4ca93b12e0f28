"""A catalogue of faulty implementations, and of correct ones: what the judge is judged by.

A file of this folder is a family.  It holds two lists, FAULTS and CORRECT, of implementations as a user or
an author of hardware would write them: by tables, by scaling, by bits; none calls refimpl.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FAMILIES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def by_conform(case: Fault | Correct) -> tuple[bool, tuple[str, ...]]:
    """Return whether `refimpl.testing.conform` passes an implementation, and what it says of it."""
    import refimpl as rf

    report = rf.testing.conform(case.implementation, **case.expected)
    said = report.diagnoses or ((report.hint,) if report.hint else ())
    return report.passed, said


@dataclass(frozen=True)
class Correct:
    """A correct implementation: what it means to be, as arguments of `conform`, and what `conform` gets.

    `ask` returns whether it is passed and what is said of it, where that is not for `conform` to do.
    """

    name: str
    expected: dict[str, Any]
    implementation: Any
    ask: Callable = field(default=by_conform, kw_only=True)


@dataclass(frozen=True)
class Fault(Correct):
    """A faulty implementation.

    `right` are regular expressions: a sentence in which one is found names the defect.  `true` are those of
    sentences that do not name it and hold all the same (a description, or what no input tells apart).  Any
    other sentence is a false diagnosis.
    """

    right: tuple[str, ...]
    true: tuple[str, ...] = ()


def family(name: str) -> tuple[list[Fault], list[Correct]]:
    """Return the faulty and the correct implementations of a family; those of optional packages are left out."""
    module = importlib.import_module(f"faults.{name}")
    return module.FAULTS, module.CORRECT
