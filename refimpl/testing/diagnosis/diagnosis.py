"""Diagnosis: which known defect explains everything that was seen.

The prediction of each defect is compared with every observation of `conform`, not only with the
failures, so that a defect that would have shown elsewhere is not accused.  First single defects, then
pairs.  There are thousands of pairs, so that one may fit by chance: it is said how many do, and a pair
is believed only if held-out failures speak for each of its two halves.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from refimpl import ops
from refimpl.formats import FloatFormat, PositFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.diagnosis.defects import Defect, defects_of
from refimpl.testing.expected.behaviour import Behaviour, alike

MOST = 4000  # observations that pairs of defects are held against
ENOUGH = 5  # held-out failures that must speak for each half of a pair


def predict(defects: tuple[Defect, ...], behaviour: Behaviour, x: np.ndarray) -> np.ndarray:
    """Return what an implementation with these defects gives for x, float64.

    >>> flush = next(d for d in defects_of(Behaviour("e4m3fn")) if d.sentence.startswith("flushes r"))
    >>> predict((flush,), Behaviour("e4m3fn"), np.array([0.01, 1.0])).tolist()
    [0.0, 1.0]
    """
    for defect in defects:
        x = defect.before(x) if defect.before else x
        behaviour = defect.change(behaviour) if defect.change else behaviour
    y = behaviour.values(x)
    wide = widen(x)
    for defect in defects:
        y = defect.after(wide, y, behaviour) if defect.after else y
    return y


def widen(x: np.ndarray) -> np.ndarray:
    """Return x as float64; NaNs keep their bits, which a conversion would make quiet."""
    wide = x.astype(np.float64)
    if x.dtype == np.float64:
        return wide
    info = np.finfo(x.dtype)
    payload = x.view(f"u{x.dtype.itemsize}").astype(np.uint64) & np.uint64((1 << info.nmant) - 1)
    bits = payload << np.uint64(52 - info.nmant) | np.uint64(0x7FF << 52)
    bits |= np.signbit(x).astype(np.uint64) << np.uint64(63)
    return np.where(np.isnan(x), bits, wide.view(np.uint64)).view(np.float64)


def diagnose(behaviour: Behaviour, seen: list) -> tuple[str, ...]:
    """Return the sentences of the defects that explain all observations, simplest first.

    `seen` are tuples (route, inputs, expected, got).
    """
    decoding = [s for s in seen if s.route == "decode"]
    asked = [s for s in seen if s.route != "decode"]
    wrong_codes = any(not alike(s.expected, s.got).all() for s in decoding)
    if wrong_codes:
        return _of_decoding(behaviour.format, decoding)
    known = defects_of(behaviour)
    asked = _by_route(asked)
    narrow = [_failing_and_some(behaviour, s) for s in asked]
    for size in (1, 2):
        found = [*combinations(known, size)]
        for observations in (narrow, asked):
            found = [group for group in found if _explains(group, behaviour, observations)]
        said = {" and ".join(d.sentence for d in group): group for group in reversed(found)}
        if size == 1 and said:
            return tuple(reversed(said))[:3]
        if said:
            return _of_pairs(said, behaviour, asked)
    return ()


def _explains(defects, behaviour, observations) -> bool:
    return not any(_unexplained(defects, behaviour, s).any() for s in observations)


def _unexplained(defects, behaviour, seen):
    """Return where the defects do not predict what was got."""
    predicted = predict(defects, behaviour, seen.x)
    return ~behaviour.same(seen.x.astype(np.float64), predicted, seen.got)


def _failing(behaviour, seen):
    """Return the indices of what is wrong, each input once."""
    bad = np.flatnonzero(~behaviour.same(seen.x.astype(np.float64), seen.expected, seen.got))
    _, first = np.unique(seen.x[bad].view(f"u{seen.x.dtype.itemsize}"), return_index=True)
    return bad[np.sort(first)]


def _failing_and_some(behaviour, seen):
    """Return every other failure, up to a tenth of MOST, and an even choice of what is right."""
    bad = _failing(behaviour, seen)
    few = bad[::2][: MOST // 10]
    wrong = np.isin(np.arange(seen.x.size), bad)
    rest = np.flatnonzero(~wrong)[:: max(1, seen.x.size * 10 // MOST)]
    at = np.sort(np.concatenate([few, rest]))
    return type(seen)(seen.route, seen.x[at], seen.expected[at], seen.got[at])


def _of_pairs(said: dict, behaviour, asked) -> tuple[str, ...]:
    """Return pairs that explain everything, with how far to believe them."""
    sentences = tuple(reversed(said))[:3]
    if len(said) > 1:
        return tuple(f"{text} (one of {len(said)} pairs that would explain it)" for text in sentences)
    (group,) = said.values()
    # a held-out failure speaks for one half where the other half alone does not explain it
    support = min(sum(_speaking(half, behaviour, s) for s in asked) for half in group)
    doubt = f" (perhaps: only {support} held-out inputs speak for one of the two)"
    return (sentences[0] + doubt * (support < ENOUGH),)


def _by_route(asked) -> list:
    """Return the observations of each route and input type in one, so that none counts twice."""
    found: dict[tuple, list] = {}
    for seen in asked:
        found.setdefault((seen.route, seen.x.dtype), []).append(seen)
    return [
        type(parts[0])(route, *(np.concatenate(c) for c in list(zip(*parts, strict=True))[1:]))
        for (route, _), parts in found.items()
    ]


def _speaking(half: Defect, behaviour, seen) -> int:
    """Count the held-out failures that the other half of a pair is needed to explain."""
    held = _failing(behaviour, seen)[1::2]
    return int(_unexplained((half,), behaviour, seen)[held].sum())


def _of_decoding(fmt, decoding) -> tuple[str, ...]:
    found = []
    for name in names():
        other = format_of(name)
        if isinstance(other, (FloatFormat, PositFormat)) and other.bits == fmt.bits:
            if all(alike(ops.decode(s.x, other), s.got).all() for s in decoding):
                found.append(f"decodes as {name}")
    for s in decoding:
        special = ~np.isfinite(s.expected)
        bad = ~alike(s.expected, s.got)
        if (bad & ~special).any():
            small = isinstance(fmt, FloatFormat) and (np.abs(s.expected[bad]) < fmt.smallest_normal).all()
            if small and (s.got[bad] == 0).all():
                found.append(
                    "decodes minus zero as zero" if (s.expected[bad] == 0).all() else "decodes subnormals as zero"
                )
            elif small:
                found.append("decodes subnormals as if they had a hidden bit")
        elif np.isfinite(s.got[bad]).all():
            found.append("decodes special codes as numbers")
    return tuple(dict.fromkeys(found)) or ("decodes some codes wrongly",)
