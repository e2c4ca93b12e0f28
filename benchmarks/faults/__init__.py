"""A catalogue of faulty implementations, and of correct ones: what the judge is judged by.

A file of this folder is a family.  It holds two lists, FAULTS and CORRECT, of implementations as a user or
an author of hardware would write them: by tables, by scaling, by bits; none computes with refimpl.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FAMILIES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def by_conform(case: Fault | Correct) -> tuple[bool, tuple[str, ...], str]:
    """Return whether `refimpl.testing.conform` passes an implementation, its diagnoses, or else its description."""
    import refimpl as rf

    report = rf.testing.conform(case.implementation, **case.expected)
    return report.passed, report.diagnoses, report.hint


@dataclass(frozen=True)
class Correct:
    """A correct implementation: what it means to be, as arguments of `conform`, and what `conform` gets.

    `ask` returns what `by_conform` does, where that is not for `conform` alone to do.
    """

    name: str
    expected: dict[str, Any]
    implementation: Any
    ask: Callable = field(default=by_conform, kw_only=True)


@dataclass(frozen=True)
class Fault(Correct):
    """A faulty implementation.

    `right` are regular expressions: a sentence in which one is found names the defect.  `true` are those of
    diagnoses that do not name it and hold all the same (what no input tells apart).  Any other diagnosis is
    counted as unlisted.  A description of where it fails, which `conform` gives where it knows no diagnosis, is right
    where one of `right` is found in it, and never unlisted: it is computed from all that was seen.
    """

    right: tuple[str, ...]
    true: tuple[str, ...] = ()


def family(name: str) -> tuple[list[Fault], list[Correct]]:
    """Return the faulty and the correct implementations of a family; those of optional packages are left out."""
    module = importlib.import_module(f"faults.{name}")
    return module.FAULTS, module.CORRECT
