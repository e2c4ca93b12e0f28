"""Diagnosis of block quantizers: which known defects explain every block that was seen, or what else is true of them.

Blocks with NaN or an infinity are looked at last, and apart from the others: quantizers that are right, or wrong
in one of the known ways, do many different things with them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from refimpl.testing.diagnosis.block_codes import of_decoding
from refimpl.testing.diagnosis.block_defects import defects_of
from refimpl.testing.diagnosis.block_stages import Plan, is_dynamic
from refimpl.testing.diagnosis.diagnosis import Diagnosis
from refimpl.testing.diagnosis.stages import Defect, merged, search, sentences

FEW = (1, 12)  # calls, or rows of a call, that fail, and as many that do not, which hypotheses are held against first


class Part(NamedTuple):
    """Observations of one route, dtype and shape: x and got (calls, rows, columns), and what is wrong of it."""

    route: str
    x: np.ndarray
    got: np.ndarray
    bad: np.ndarray


def diagnose(behaviour, seen: list) -> Diagnosis:
    """Return what explains everything that was seen, at most three sentences, or describes it."""
    decoded = [s for s in seen if s.route == "decode"]
    if any(not behaviour.same(np.zeros(s.x.shape), s.expected, s.got).all() for s in decoded):
        return Diagnosis(of_decoding(behaviour, decoded))
    parts = _parts(behaviour, [s for s in seen if s.route != "decode"])
    finite, others = ([p for p in (_with(part, which) for part in parts) if p.x.size] for which in (True, False))
    groups: list[tuple[Defect, ...]] = [()]
    if any(part.bad.any() for part in finite):
        groups = _explanations(behaviour, finite)
        if not groups:
            return Diagnosis((), "; ".join(_facts(behaviour, finite)))
    words = sentences(groups) if groups != [()] else ()
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
    return all(_right(behaviour, Plan(behaviour, stages), part).all() for part in parts)


def _right(behaviour, plan: Plan, part: Part) -> np.ndarray:
    """Return where a plan predicts what was got."""
    predicted = behaviour.narrow(plan.predict(part.x), part.route, part.x.dtype)
    return behaviour.same(part.x, predicted, part.got)


def _explanations(behaviour, parts) -> list:
    """Return the groups of defects that explain finite blocks."""
    levels = [_together([_some(behaviour, part, few) for part in parts]) for few in FEW]
    levels.append(parts)
    known = defects_of(behaviour)

    def explains(stages, level):
        return _explained(behaviour, stages, levels[level])

    found = search(known, explains, sizes=(1,))
    if found:
        return found
    bad = [part for part in levels[0] if part.bad.any()]

    def helps(defect):
        plan = Plan(behaviour, defect.stages)
        return not defect.needs_all and any((_right(behaviour, plan, part) & part.bad).any() for part in bad)

    return search([defect for defect in known if helps(defect)], explains, sizes=(2,))


def _some(behaviour, part: Part, few: int) -> Part:
    """Return some calls of a part, or some rows of its only one: that fail, and that do not."""
    if not is_dynamic(behaviour):
        part = Part(part.route, *(array.reshape(-1, 1, array.shape[-1]) for array in part[1:]))
    bad = part.bad.any(axis=(1, 2))
    at = [_evenly(np.flatnonzero(which), few) for which in (bad, ~bad)]
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


def _evenly(at, few: int) -> np.ndarray:
    return at[:: max(1, -(-len(at) // few))]


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
    if all(_right(behaviour, plan, part).all() for part in parts):
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


# -- what is true of failures that nothing explains ------------------------------------------------


def _facts(behaviour, parts) -> tuple[str, ...]:
    """Return which blocks or elements alone are wrong, if that can be said."""
    of_blocks = _of_sizes(behaviour, parts)
    if of_blocks:
        return (of_blocks,)
    found = []
    bad = np.concatenate([part.bad.ravel() for part in parts])
    x = np.concatenate([part.x.astype(np.float64).ravel() for part in parts])
    got = np.concatenate([part.got.ravel() for part in parts])
    exact = np.concatenate([Plan(behaviour).predict(part.x).ravel() for part in parts])
    of_float64 = np.concatenate([np.full(part.x.size, part.x.dtype == np.float64) for part in parts])
    of_codes = np.concatenate([np.full(part.x.size, part.route == "encode") for part in parts])
    for words, where in (
        ("zeros", x == 0),
        ("negative numbers", x < 0),
        ("positive numbers", x > 0),
        ("numbers that become zero", exact == 0),
        ("float64 inputs", of_float64 & ~of_float64.all()),
        ("float32 inputs", ~of_float64 & of_float64.any()),
        ("codes, not for values,", of_codes & ~of_codes.all()),
    ):
        if not (bad & ~where).any():
            found.append(f"is wrong for {words} alone")
    for words, value in (("NaN", np.isnan(got)), ("infinity", np.isinf(got)), ("zero", got == 0)):
        if value[bad].all():
            found.append(f"is wrong by giving {words}")
    return (" and ".join(found[:2]),) if found else ()


def _of_sizes(behaviour, parts) -> str:
    """Return that blocks with a largest magnitude below or above a power of two are wrong, and no others."""
    largest, wrong, values = [], [], []
    size = behaviour.format.block_size
    for part in parts:
        blocks = [array.reshape(-1, size) for array in (np.abs(part.x.astype(np.float64)), part.bad, part.got)]
        keep = blocks[0].max(axis=1) > 0
        largest.append(blocks[0].max(axis=1)[keep])
        wrong.append(blocks[1].any(axis=1)[keep])
        values.append(blocks[2][keep])
    a, bad, got = np.concatenate(largest), np.concatenate(wrong), np.concatenate(values)
    if not bad.any() or bad.all():
        return ""
    what = "is wrong"
    for words, test in (("NaN", np.isnan), ("zero", lambda v: v == 0), ("infinity", np.isinf)):
        if test(got[bad]).all():
            what = f"gives {words}"
    if a[bad].max() < a[~bad].min():
        power = int(np.frexp(a[~bad].min())[1]) - 1
        return f"{what} where a block's largest magnitude is below 2^{power}" * bool(a[bad].max() < 2.0**power)
    if a[bad].min() > a[~bad].max():
        power = int(np.frexp(a[bad].min())[1]) - 1
        return f"{what} where a block's largest magnitude is 2^{power} or more" * bool(a[~bad].max() < 2.0**power)
    return ""
