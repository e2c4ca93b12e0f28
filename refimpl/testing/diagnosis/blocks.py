"""Diagnosis of block quantizers: which known defects explain every block that was seen, or what else is true of them.

Blocks with NaN or an infinity are looked at last, and apart from the others: quantizers that are right, or wrong
in one of the known ways, do many different things with them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from refimpl.testing.diagnosis.block_codes import of_decoding
from refimpl.testing.diagnosis.block_defects import by_sign, defects_of
from refimpl.testing.diagnosis.block_located import located
from refimpl.testing.diagnosis.block_search import Search
from refimpl.testing.diagnosis.block_stages import Plan, cut, is_dynamic
from refimpl.testing.diagnosis.block_table import FRONT, Part, right_of
from refimpl.testing.diagnosis.diagnosis import Diagnosis
from refimpl.testing.diagnosis.stages import Defect, likely_pairs, merged, sentences, singles
from refimpl.testing.expected.cases import evenly

USUAL = (2.0**-60, 2.0**60)  # magnitudes, beyond which quantizers may do something else besides
LONG = 1 << 16  # elements of a row
FEW = (1, 12)  # calls, or rows of a call, that fail, and as many that do not, which hypotheses are held against first


def diagnose(behaviour, seen: list) -> Diagnosis:
    """Return what explains everything that was seen, at most three sentences, or describes it."""
    decoded = [s for s in seen if s.route == "decode"]
    if any(not behaviour.same(np.zeros(s.x.shape), s.expected, s.got).all() for s in decoded):
        return Diagnosis(of_decoding(behaviour, decoded))
    parts = _parts(behaviour, [s for s in seen if s.route != "decode"])
    finite, others = ([p for p in (_with(part, which) for part in parts) if p.x.size] for which in (True, False))
    groups: list[tuple[Defect, ...]] = [()]
    size = behaviour.format.block_size
    tails = [part for part in finite if part.x.shape[-1] % size]
    long = [part for part in finite if part.x.shape[-1] > LONG]
    usual = [part for part in finite if part.x.shape[-1] % size == 0 and part.x.shape[-1] <= LONG]
    if any(part.bad.any() for part in usual):  # what becomes of the others may be another defect
        finite = usual
    elif not any(part.bad.any() for part in tails):
        finite = long
    if any(part.bad.any() for part in finite):
        groups, texts, description = _explanations(behaviour, finite)
        if not groups:
            return Diagnosis(tuple(texts), description)
    words = sentences(groups) if groups != [()] else ()
    named = {"parts of blocks at the end of a row": tails, f"rows of more than {LONG} elements": long}
    for what, those in named.items():
        if words and not _explained(behaviour, merged(groups[0]), those):
            words = tuple(f"{text}; and {what} are wrong in another way" for text in words)
    if not any(part.bad.any() for part in others):
        return Diagnosis(words)
    return Diagnosis(_of_not_finite(behaviour, groups[0], words, others))


def _parts(behaviour, seen) -> list[Part]:
    """Return the observations; calls of one shape in one part, and of MX one call in each."""
    found: dict[Any, list] = {}
    for i, s in enumerate(seen):
        alone = 0 if is_dynamic(behaviour) else i
        found.setdefault((s.route, s.x.dtype, s.x.shape, alone), []).append(s)
    parts = []
    for (route, *_), same in found.items():
        x, expected, got = (np.stack([getattr(s, name) for s in same]) for name in ("x", "expected", "got"))
        parts.append(Part(route, x, got, ~behaviour.same(x, expected, got)))
    return parts


def _blocks_not_finite(behaviour, x) -> np.ndarray:
    """Return which elements a value that is not finite concerns: those of its block."""
    size = behaviour.format.block_size
    return np.repeat((~np.isfinite(x)).reshape(*x.shape[:-1], -1, size).any(axis=-1), size, axis=-1)


def _with(part: Part, finite: bool) -> Part:
    """Return the calls in which everything is finite, or the others."""
    keep = np.isfinite(part.x).all(axis=(1, 2)) == finite
    return Part(part.route, *(array[keep] for array in part[1:]))


def _explained(behaviour, stages, parts) -> bool:
    return all(right_of(behaviour, Plan(behaviour, stages), part).all() for part in parts)


def _explanations(behaviour, parts) -> tuple[list, list[str], str]:
    """Return groups of defects that explain finite blocks; else sentences of more; else a description."""
    whole = _Hypotheses(behaviour, parts)
    found = whole.singles() or whole.pairs()
    if found:
        return found, [], ""
    core = _Hypotheses(behaviour, _core(behaviour, parts))
    core = core if any(part.bad.any() for part in core.parts) else whole
    hypotheses: list[Callable[[], list]] = [whole.search.alone, whole.search.beside]
    if core is not whole:
        hypotheses = [core.singles, *hypotheses, core.pairs, core.search.alone, core.search.beside]
    hypotheses += [lambda: whole.search.everywhere(3)] + [lambda: core.search.everywhere(3)] * (core is not whole)
    for look in hypotheses:
        found = look()
        if found:
            texts = found if isinstance(found[0], str) else [*sentences(found)]
            return [], texts, ""
    return [], [], located(core.search)


class _Hypotheses:
    """Hypotheses about some observations."""

    def __init__(self, behaviour, parts):
        self.behaviour, self.parts = behaviour, parts
        self.levels = [_together([_some(behaviour, part, few) for part in parts]) for few in FEW] + [parts]
        self.known = defects_of(behaviour)

    @cached_property
    def search(self) -> Search:
        return Search(self.behaviour, self.parts, self.known)

    def _explains(self, stages, level) -> bool:
        return _explained(self.behaviour, stages, self.levels[level])

    def singles(self) -> list:
        """Return the defects that explain everything."""
        return singles((self.known, by_sign()), self._explains)

    def pairs(self) -> list:
        """Return the pairs that do: of elements and scales; else of any that predict half of the failures alone."""
        found = self.search.everywhere(2)
        if found:
            return found
        bad = [part for part in self.levels[0] if part.bad.any()]

        def hits(defect):
            plan = Plan(self.behaviour, defect.stages)
            return np.concatenate([right_of(self.behaviour, plan, part)[part.bad] for part in bad])

        some = [defect for defect in self.known if not defect.needs_all and not defect.stages.keys() <= FRONT]
        predicted = np.array([hits(defect) for defect in some]).reshape(len(some), -1)
        return likely_pairs(some, predicted, self._explains)


def _core(behaviour, parts) -> list[Part]:
    """Return the calls, or rows, in which all magnitudes are usual ones."""
    found = []
    for part in parts:
        if not is_dynamic(behaviour):
            part = Part(part.route, *(array.reshape(-1, 1, array.shape[-1]) for array in part[1:]))
        largest = cut(np.abs(part.x.astype(np.float64)), behaviour.format.block_size).max(axis=-1)
        low, high = USUAL
        keep = ((largest == 0) | (largest >= low) & (largest < high)).all(axis=(1, 2))
        if keep.any():
            found.append(Part(part.route, *(array[keep] for array in part[1:])))
    return found


def _some(behaviour, part: Part, few: int) -> Part:
    """Return some calls of a part, or some rows of its only one: that fail, and that do not."""
    if not is_dynamic(behaviour):
        part = Part(part.route, *(array.reshape(-1, 1, array.shape[-1]) for array in part[1:]))
    bad = part.bad.any(axis=(1, 2))
    at = [evenly(np.flatnonzero(which), few) for which in (bad, ~bad)]
    return Part(part.route, *(array[np.concatenate(at)] for array in part[1:]))


def _together(parts: list[Part]) -> list[Part]:
    """Return observations of one shape in one part, those with most failures first."""
    found: dict[Any, list[Part]] = {}
    for part in parts:
        found.setdefault((part.route, part.x.dtype, part.x.shape[1:]), []).append(part)
    joined = [
        Part(same[0].route, *(np.concatenate(c) for c in list(zip(*same, strict=True))[1:])) for same in found.values()
    ]
    return sorted((part for part in joined if part.x.size), key=lambda part: -part.bad.sum())


# -- NaN and infinities ----------------------------------------------------------------------------

OF_NAN = {
    "block": "",
    "nan": "NaN is left out of its block's scale, and stays NaN alone",
    "zero": "NaN is left out of its block's scale, and becomes zero",
}
OF_INFINITY = {
    "block": "",
    "huge": "an infinity counts as the largest number of its type",
    "beyond": "an infinity makes its block's scale the largest",
    "nan": "an infinity is left out of its block's scale, and becomes NaN alone",
    "infinity": "an infinity is left out of its block's scale, and stays infinity",
    "zero": "an infinity is left out of its block's scale, and becomes zero",
}


def _of_not_finite(behaviour, group, words, parts) -> tuple[str, ...]:
    """Return the sentences with what is said of blocks that are not finite."""
    plan = Plan(behaviour, merged(group))
    if all(right_of(behaviour, plan, part).all() for part in parts):
        return words
    what = ""
    for nan in OF_NAN:
        for infinity in OF_INFINITY:
            if not what and all(_alternative(behaviour, plan, part, nan, infinity) for part in parts):
                what = " and ".join(filter(None, (OF_NAN[nan], OF_INFINITY[infinity])))
    what = what or _facts_of_not_finite(behaviour, parts)
    if words:
        return tuple(f"{text}; and {what}" for text in words)
    neighbours = any((part.bad & ~_blocks_not_finite(behaviour, part.x)).any() for part in parts)
    advice = (
        "" if neighbours or is_dynamic(behaviour) else " (OCP MX leaves it open: with not_finite='open' it conforms)"
    )
    return (what + advice,)


def _alternative(behaviour, plan: Plan, part: Part, nan: str, infinity: str) -> bool:
    x, size = part.x, behaviour.format.block_size
    is_nan, is_infinite = np.isnan(x), np.isinf(x)
    clean = np.where(is_nan, 0, x).astype(np.float64)
    huge = {"huge": float(np.finfo(x.dtype).max), "beyond": float(np.finfo(np.float64).max)}.get(infinity, 0.0)
    y = plan.predict(np.where(is_infinite, np.copysign(huge, clean), clean))
    instead = {"nan": np.nan, "infinity": np.inf, "zero": 0.0}
    for how, where in ((nan, is_nan), (infinity, is_infinite)):
        if how in instead:
            y = np.where(where, np.copysign(instead[how], x), y)
        elif how == "block":
            whole = where.reshape(*x.shape[:-1], -1, size).any(axis=-1)
            y = np.where(np.repeat(whole, size, axis=-1), np.nan, y)
    y = behaviour.narrow(y, part.route, x.dtype)
    right = behaviour.same(x, y, part.got) | is_nan & (y == part.got)
    return bool(right.all())


def _facts_of_not_finite(behaviour, parts) -> str:
    """Return what is true of the results of blocks that are not finite."""
    found = []
    size = behaviour.format.block_size
    for word, test in (("NaN", np.isnan), ("an infinity", np.isinf)):
        for part in parts:
            own = test(part.x).reshape(*part.x.shape[:-1], -1, size).any(axis=-1, keepdims=True)
            got = np.isnan(part.got).reshape(*part.x.shape[:-1], -1, size)
            if (own & ~got).any():
                found.append(f"a block with {word} is not NaN altogether")
                break
    for part in parts:
        own = np.repeat((~np.isfinite(part.x)).reshape(*part.x.shape[:-1], -1, size).any(axis=-1), size, axis=-1)
        if (part.bad & ~own).any():
            found.append("a block with NaN or an infinity changes others")
            break
    return " and ".join(found)
