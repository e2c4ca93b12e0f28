"""Diagnosis of what is computed stage by stage: a defect replaces stages, two defects others.

A plan is a dictionary of stages by name; what it predicts is compared with every observation, not with the
failures alone, so that a defect that one input refutes is not said.  To be fast, hypotheses are first held
against a few observations, then against more, then against all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

MOST_PAIRS = 3  # that are said


class Defect(NamedTuple):
    """A named way to be wrong: stages that replace those of a right plan.

    `needs_all` where a part of the observations is not enough to predict any of them.
    """

    sentence: str
    stages: dict[str, Any]
    needs_all: bool = False


def singles(tables: Iterable[Sequence[Defect]], explains: Callable) -> list[tuple[Defect, ...]]:
    """Return the defects that explain everything, of the first table that has some."""
    return next(filter(None, (searched([(d,) for d in table], explains) for table in tables)), [])


def likely_pairs(known: Sequence[Defect], hits: np.ndarray, explains: Callable) -> list[tuple[Defect, ...]]:
    """Return the pairs that explain everything, of which one or the other predicts half of some failures.

    `hits`: which failures each defect predicts, a row a defect.
    """
    pairs = combinations(np.flatnonzero(hits.any(axis=1)).tolist(), 2)
    return searched([(known[i], known[j]) for i, j in pairs if (hits[i] | hits[j]).mean() > 0.5], explains)


def searched(
    groups: Sequence[tuple[Defect, ...]], explains: Callable[[dict[str, Any], int], bool], levels: int = 3
) -> list[tuple[Defect, ...]]:
    """Return the groups of one or two defects that explain everything, each once by its sentence.

    `explains(stages, level)` tells whether stages predict the observations of a level, the last of which is all.
    """
    found = [g for g in groups if len(g) == 1 or not g[0].stages.keys() & g[1].stages.keys()]
    found = [g for g in found if len(g) == 1 or not g[0].needs_all | g[1].needs_all]
    for level in range(levels):
        found = [g for g in found if any(d.needs_all for d in g) or explains(merged(g), level)]
    found = [g for g in found if not any(d.needs_all for d in g) or explains(merged(g), levels - 1)]
    return list({said(group): group for group in reversed(found)}.values())[::-1]


def said(group) -> str:
    """Return the sentence of one or two defects."""
    return " and ".join(defect.sentence for defect in group)


def sentences(groups: list) -> tuple[str, ...]:
    """Return what is said of the groups that `search` found."""
    found = tuple(said(group) for group in groups[:MOST_PAIRS])
    if groups and len(groups[0]) == 2 and len(groups) > 1:
        return tuple(f"{text} (one of {len(groups)} pairs that would explain it)" for text in found)
    return found


def merged(group) -> dict[str, Any]:
    """Return the stages that defects replace."""
    return {name: stage for defect in group for name, stage in defect.stages.items()}
