"""What the failures of a quantizer or encoder depend on beside their inputs: it is asked again, in other arrays."""

from __future__ import annotations

from functools import partial

import numpy as np

from refimpl.testing.checks import arrays
from refimpl.testing.checks.checks import Seen, narrow, pool
from refimpl.testing.checks.scaled import Scaled, every
from refimpl.testing.diagnosis.arrangement import Arrangement, arrangement, depends, fill
from refimpl.testing.diagnosis.diagnosis import diagnose
from refimpl.testing.implementations.findings import Finding
from refimpl.testing.implementations.probe import Probe

OF_INPUTS = {"determinism", "elementwise"}  # laws by which the input alone decides


def of_arrangement(probe: Probe, seen: list, failed: list[str], hints: list[str]) -> str:
    """Return what decides in words, and what is wrong there; nothing where the inputs alone do.

    `failed` are the names of checks, `hints` what they said.
    """
    routes = [r for r in probe.routes if not hasattr(probe.implementation.function(r), "limited")]
    if probe.behaviour.is_stochastic or probe.behaviour.random_bits or not routes:
        return ""
    flagged = bool(OF_INPUTS & {*failed}) or any(hint.startswith(arrays.UNEQUAL) for hint in hints)
    scaled = isinstance(probe.behaviour, Scaled)
    if scaled and not (flagged and probe.behaviour.is_elementwise):
        return ""
    try:
        for s in _batches(probe, seen, routes, flagged):
            wrong = partial(_bad_of, probe, s.route)
            if not flagged and not depends(wrong, [s.x], _bad(probe, s)):
                continue
            found = arrangement(wrong, [s.x], _bad(probe, s))
            if found is not None:
                return _with_defect(probe, s, found)
    except Finding:
        return ""
    return ""


def _batches(probe, seen, routes, flagged):
    """Yield observations that hold failures: one of each route and dtype, then such as only a law has found."""
    known: dict = {}
    for s in seen:
        if s.route in routes and _bad(probe, s).any():
            known.setdefault((s.route, s.x.dtype), []).append(s)
    for some in known.values():
        some.sort(key=lambda s: -s.x.size)
        yield from (some[0], some[-1])[: len(some)]
    if not known and flagged:
        for dtype in probe.inputs:
            for route in routes:
                x = _pool(probe, dtype)
                for some in (x, x[::-1].copy(), x[:1001], x[:100], x[:13], x[:3]):
                    bad, expected, got = _wrong(probe, route, some)
                    if bad.any():
                        yield Seen(route, some, expected, got)
                        break


def _pool(probe: Probe, dtype: str) -> np.ndarray:
    return every(probe.behaviour, dtype) if isinstance(probe.behaviour, Scaled) else pool(probe.behaviour.format, dtype)


def _bad(probe, s) -> np.ndarray:
    return ~probe.behaviour.same(s.x.astype(np.float64), s.expected, s.got)


def _bad_of(probe: Probe, route: str, columns) -> np.ndarray:
    return _wrong(probe, route, columns[0])[0]


def _wrong(probe: Probe, route: str, x: np.ndarray):
    """Ask, and return which results are wrong, what is right, and what came."""
    with np.errstate(all="ignore"):
        got, expected = probe.ask(route, x), probe.behaviour.values(x)
        expected = narrow(probe.behaviour, expected, route, x.dtype)
        if isinstance(probe.behaviour, Scaled):
            got = probe.behaviour.narrow(got, route, x.dtype)
        return ~probe.behaviour.same(x.astype(np.float64), expected, got), expected, got


def _with_defect(probe: Probe, s: Seen, found: Arrangement) -> str:
    """Return the sentence with what is wrong where the position decides."""
    right = s.x[~_bad(probe, s)][:1]
    parts = []
    for columns, at in fill(found, [_pool(probe, s.x.dtype.name)], [right if right.size else s.x[:1]]):
        _, expected, got = _wrong(probe, s.route, columns[0])
        parts.append(Seen(s.route, columns[0][at], expected[at], got[at]))
    if not parts:
        return found.sentence
    said = _said(probe, parts)
    return (f"{found.sentence}: {said}" if said else found.sentence) + _elsewhere(probe, s, found)


def _said(probe: Probe, parts: list[Seen]) -> str:
    scaled = isinstance(probe.behaviour, Scaled)
    diagnoses, description = probe.behaviour.diagnose(parts) if scaled else diagnose(probe.behaviour, parts)
    return "; or: ".join(diagnoses) or description


def _elsewhere(probe: Probe, s: Seen, found: Arrangement) -> str:
    """Return what is wrong at positions too that do not decide, nothing where all is right there."""
    if found.elsewhere is None:
        return ""
    rest, parts = s.x[np.argsort(_bad(probe, s))][:1], []
    for columns, at in fill(Arrangement("", *found.elsewhere), [_pool(probe, s.x.dtype.name)], [rest]):
        _, expected, got = _wrong(probe, s.route, columns[0])
        parts.append(Seen(s.route, columns[0][at], expected[at], got[at]))
    wrong, asked = sum(int(_bad(probe, p).sum()) for p in parts), sum(p.x.size for p in parts)
    return f"; and {wrong} of {asked} results are wrong at other positions: {_said(probe, parts)}" if wrong else ""
