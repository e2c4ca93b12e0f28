"""Diagnosis of quantizers to scaled integers: which known defects explain everything seen, or where it deviates.

One defect; two; one in some region alone; the same for usual quotients, where far ones come out otherwise, too.
`integer_defects` has stages and defects, and the notation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from refimpl.testing.diagnosis.diagnosis import Diagnosis
from refimpl.testing.diagnosis.integer_defects import by_sign, defects_of, exact_quotient, right_stages
from refimpl.testing.diagnosis.local import Failures, in_regions
from refimpl.testing.diagnosis.regions import Measure, Property
from refimpl.testing.diagnosis.stages import likely_pairs, sentences, singles
from refimpl.testing.expected.cases import evenly

FEW = (40, 600)  # wrong and right results of a kind that hypotheses are held against first
USUAL = 2.0**20  # quotients, beyond which quantizers may do something else besides
TRIED = 60  # defects that are looked for in a region
SIMPLE = 4.5  # the cost up to which a defect in a region is believed


class Part(NamedTuple):
    """Observations, one-dimensional: inputs, scales and zero points, results and whether they are wrong.

    `lane` and `across`: which scale, and the place among what shares it; `place`, `of`: in a call of so many.
    """

    route: str
    x: np.ndarray
    s: np.ndarray
    z: np.ndarray
    got: np.ndarray
    bad: np.ndarray
    lane: np.ndarray
    across: np.ndarray
    place: np.ndarray
    of: np.ndarray


def part_of(behaviour, route: str, x, got, bad) -> Part:
    """Return the observations of one call."""
    s, z = behaviour.wide(x)
    rows, layout = behaviour.layout(x)
    places = [layout.elements(np.broadcast_to(i, rows.shape)) for i in np.ogrid[: rows.shape[0], : rows.shape[1]]]
    place = np.arange(x.size)
    columns = (x, s, z, got, bad, *places, place, np.full(x.size, x.size))
    return Part(route, *(a.reshape(-1) for a in columns))


def diagnose(behaviour, seen: list) -> Diagnosis:
    """Return what explains everything that was seen, at most three sentences, or describes it."""
    parts: dict[Any, list[Part]] = {}
    for item in seen:
        bad = ~behaviour.same(item.x, item.expected, item.got)
        part = part_of(behaviour, item.route, item.x, item.got, bad)
        parts.setdefault((item.route, item.x.dtype), []).append(part)
    full = [_joined(same) for same in parts.values()]
    if not any(part.bad.any() for part in full):
        return Diagnosis(())
    decoded = [part for part in full if part.route == "decode"]
    full = decoded if any(part.bad.any() for part in decoded) else [part for part in full if part.route != "decode"]
    whole = _Hypotheses(behaviour, full)
    core = _Hypotheses(behaviour, [_usual(part) for part in full])
    looked: list[Callable[[], list]] = [whole.singles, whole.pairs, whole.alone]
    if any(part.bad.any() for part in core.parts) and sum(p.x.size for p in core.parts) < sum(p.x.size for p in full):
        looked = [whole.singles, whole.pairs, core.singles, whole.alone, core.pairs, core.alone]
    else:
        core = whole
    for look in looked:
        found = look()
        if found:
            texts = found if isinstance(found[0], str) else sentences(found)
            return Diagnosis(tuple(texts))
    return Diagnosis((), located(behaviour, core.parts))


def _joined(parts: list[Part]) -> Part:
    return Part(parts[0].route, *(np.concatenate(c) for c in list(zip(*parts, strict=True))[1:]))


def _usual(part: Part) -> Part:
    if part.route == "decode":
        return part
    q = exact_quotient(part.x.astype(np.float64), part.s)
    keep = np.isfinite(q) & (np.abs(q) < USUAL)
    return Part(part.route, *(array[keep] for array in part[1:]))


def _some(part: Part, few: int) -> Part:
    at = [evenly(np.flatnonzero(which), few) for which in (part.bad, ~part.bad)]
    return Part(part.route, *(array[np.concatenate(at)] for array in part[1:]))


def _right(behaviour, stages, part: Part) -> np.ndarray:
    predicted = behaviour.narrow(predict(behaviour, stages, part), part.route, part.x.dtype)
    return behaviour.same(part.x, predicted, part.got) | np.isnan(predicted) & np.isnan(part.got)


def predict(behaviour, stages: dict[str, Any], part: Part) -> np.ndarray:
    """Return what comes of inputs where some stages are replaced, float64.

    Results of one stage that are codes already, of infinities too, are given as `clip` leaves them.
    """
    p: dict[str, Callable] = {**right_stages(behaviour), **stages}
    with np.errstate(all="ignore"):
        s, z = part.s, part.z
        scales, zeros = (np.array(values) for values in behaviour.lanes())
        if "lane_of_scale" in stages:
            s = scales[p["lane_of_scale"](part.lane, part.across, len(scales))]
        if "lane_of_zero" in stages:
            z = zeros[p["lane_of_zero"](part.lane, part.across, len(scales))]
        s, z = p["scale"](s), p["zero"](z)
        if part.route == "decode":
            return p["back"](p["read"](part.x.astype(np.float64)), s, z)
        x = p["before"](part.x)
        q = p["divide"](x.astype(np.float64), s)
        v = p["whole"](p["early"](q, z))
        c = p["clip"](p["late"](v, z), v, z)
        return p["back"](p["read"](c), s, z)


class _Hypotheses:
    """Hypotheses about some observations."""

    def __init__(self, behaviour, parts: list[Part]):
        self.behaviour, self.parts = behaviour, [part for part in parts if part.x.size]
        self.levels = [[_some(part, few) for part in self.parts] for few in FEW] + [self.parts]
        self.known = defects_of(behaviour)

    def _explains(self, stages, level) -> bool:
        return all(_right(self.behaviour, stages, part).all() for part in self.levels[level])

    def singles(self) -> list:
        """Return the defects that explain everything."""
        return singles((self.known, by_sign()), self._explains)

    def _hits(self) -> np.ndarray:
        """Return which of some failures each defect predicts."""
        parts = self.levels[1]
        return np.array(
            [np.concatenate([_right(self.behaviour, d.stages, p)[p.bad] for p in parts]) for d in self.known]
        )

    def pairs(self) -> list:
        """Return the pairs of defects that do, of which half of the failures are predicted by one or the other."""
        return likely_pairs(self.known, self._hits(), self._explains)

    def alone(self) -> list[str]:
        """Return sentences of defects that explain everything in a region alone."""
        hits = self._hits()
        likely = [self.known[k] for k in np.flatnonzero(hits.all(axis=1))[:TRIED]]
        broken = (
            (d.sentence, np.concatenate([~_right(self.behaviour, d.stages, p) for p in self.parts])) for d in likely
        )
        return [f.sentence for f in in_regions(Results(self.behaviour, self.parts), [], broken) if f.cost <= SIMPLE]


# -- regions and descriptions ----------------------------------------------------------------------


def _column(parts: list[Part], name: str) -> np.ndarray:
    return np.concatenate([getattr(part, name).astype(np.float64) for part in parts])


def _quotients(parts: list[Part]) -> np.ndarray:
    found = []
    for part in parts:
        x = part.x.astype(np.float64)
        found.append(x - part.z if part.route == "decode" else exact_quotient(x, part.s))
    return np.concatenate(found)


class Results(Failures):
    """Which results are wrong, and kinds of inputs."""

    noun = ""
    halves = False

    def __init__(self, behaviour, parts: list[Part]):
        self.wrong = np.concatenate([part.bad for part in parts])
        self.properties = [Property(*named) for named in _kinds(behaviour, parts)]
        q, z = _quotients(parts), _column(parts, "z")
        self.measures = [
            Measure("where value / scale + zero point is", q + z),
            Measure("where value / scale is in size", np.abs(q)),
            Measure("under scales", _column(parts, "s")),
            Measure("under zero points", z),
            Measure("for values of a size", np.abs(_column(parts, "x"))),
            Measure("at places of a call (the first is 0)", _column(parts, "place")),
            Measure("at places under each scale (the first is 0)", _column(parts, "across")),
        ]


def _kinds(behaviour, parts: list[Part]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield kinds of inputs."""
    fmt, q, z = behaviour.format, _quotients(parts), _column(parts, "z")
    lane, place, count = (_column(parts, name) for name in ("lane", "place", "of"))
    with np.errstate(all="ignore"):
        finite = np.isfinite(q)
        steps = np.where(finite, np.abs(q), 0.0)
        part, code = steps - np.floor(steps), np.where(finite, np.rint(np.where(finite, q, 0.0)), q) + z
        yield "for negative values", q < 0
        yield "for positive values", q > 0
        yield "for zero", q == 0
        yield "for infinities", np.isinf(q)
        yield "for numbers", finite
        yield "for ties", finite & (part == 0.5)
        yield "for values that are no ties", part != 0.5
        yield "above a tie", part > 0.5
        yield "below a tie", (part < 0.5) & (part > 0)
        yield "for values that codes stand for", part == 0
        yield "for values between two codes", part > 0
        yield "for values smaller than half a step", steps < 0.5
        yield "for values smaller than one step", steps < 1
        yield "beyond the largest code", code > fmt.max
        yield "beyond the lowest code", code < fmt.min
        yield "beyond the range of codes", (code > fmt.max) | (code < fmt.min)
        yield "within the range of codes", (code >= fmt.min) & (code <= fmt.max)
        yield "at the largest code and beyond", code >= fmt.max
        yield "at the lowest code and beyond", code <= fmt.min
        yield "for negative codes", code < 0
        yield "for positive codes", code > 0
        yield "for the code 0", code == 0
        yield "for odd codes", code % 2 == 1
        yield "for even codes", code % 2 == 0
    size = np.concatenate([np.full(p.x.size, p.x.dtype.itemsize if p.x.dtype.kind == "f" else 0) for p in parts])
    for itemsize in np.unique(size):
        yield f"for float{8 * int(itemsize)} inputs", size == itemsize
    lanes = len(behaviour.lanes()[0])
    if lanes > 1:
        yield "under the first scale", lane == 0
        yield "under all scales but the first", lane > 0
        yield "under the last scale", lane == lanes - 1
        yield "under all scales but the last", lane < lanes - 1
        yield "under every second scale, the first among them", lane % 2 == 0
        yield "under every second scale, from the second on", lane % 2 == 1
        for i in range(1, min(lanes - 1, 16)):
            yield f"under scale {i} (counted from 0)", lane == i
        across = _column(parts, "across")
        yield "in the first element under each scale", across == 0
        yield "at even places under each scale", across % 2 == 0
        yield "at odd places under each scale", across % 2 == 1
    yield "in the first element of a call", place == 0
    yield "in the last element of a call", place == count - 1
    yield "at even places of a call", place % 2 == 0
    yield "at odd places of a call", place % 2 == 1
    for whole in (4, 8, 16, 32, 64):
        yield f"in what is left of a call after groups of {whole}", place >= count // whole * whole
        yield f"in full groups of {whole} of a call", place < count // whole * whole
        yield f"at every place of a call that is a multiple of {whole}", place % whole == 0
    yield "under zero points above zero", z > 0
    yield "under zero points below zero", z < 0
    yield "under the zero point zero", z == 0


def located(behaviour, parts: list[Part]) -> str:
    """Return a sentence about all failures: what deviates, where, and by how much."""
    seen = Results(behaviour, parts)
    must = seen.wrong
    count = seen.count + seen.among(seen.region(must, ~must))
    got, s, z = (_column(parts, name) for name in ("got", "s", "z"))
    if parts[0].route == "decode":
        return f"decodes codes wrongly: {count}: {_of_values(behaviour, parts, must)}"
    with np.errstate(all="ignore"):
        code = np.rint(got / s) + z
        meant = behaviour.narrow(s * (code - z), "quantize", None)
        of_codes = np.isfinite(got) & (meant == got)
        right = np.concatenate([_expected(behaviour, part) for part in parts])
    if not of_codes[must].all():
        rest = int((~of_codes & must).sum())
        return f"gives values that no code stands for, so decodes wrongly ({rest} of them): {count}"
    outside = (code < behaviour.format.min) | (code > behaviour.format.max)
    off = (code - right)[must]
    also = f", {int((outside & must).sum())} outside the range" if (outside & must).any() else ""
    return f"codes are wrong{also}: {count}: {_steps(off)}{_affine(_quotients(parts), code, right, z, behaviour)}"


def _expected(behaviour, part: Part) -> np.ndarray:
    values = predict(behaviour, {"back": lambda c, s, z: c}, part)
    return values


def _steps(off: np.ndarray) -> str:
    steps, counts = np.unique(off, return_counts=True)
    order = np.argsort(-counts)
    shown = [(f"{abs(steps[i]):g}", "large" if steps[i] > 0 else "small", int(counts[i])) for i in order[:3]]
    said = ", ".join(f"{step} too {word} ({n})" for step, word, n in shown)
    return f"they are {said}" + (f", and {len(steps) - 3} other distances" if len(steps) > 3 else "")


def _of_values(behaviour, parts: list[Part], must) -> str:
    got = _column(parts, "got")
    right = np.concatenate([behaviour.narrow(predict(behaviour, {}, part), part.route, None) for part in parts])
    with np.errstate(all="ignore"):
        ratio = (got / right)[must & (right != 0)]
        off = ((got - right) / _column(parts, "s"))[must]
    if ratio.size and np.allclose(ratio, ratio[0], rtol=1e-5, atol=0):
        return f"they are {ratio[0]:.7g} times what they should be"
    if off.size and np.allclose(off, off[0], rtol=1e-4, atol=1e-6):
        return f"they are {abs(off[0]):g} steps too {'large' if off[0] > 0 else 'small'}"
    return "they differ in many ways"


def _affine(q, code, right, z, behaviour) -> str:
    """Say whether one factor, or one summand, of quotients before rounding explains all codes within the range."""
    fmt = behaviour.format
    inside = np.isfinite(q) & (code > fmt.min) & (code < fmt.max) & (right > fmt.min) & (right < fmt.max)
    inside &= np.abs(q) > 2
    if behaviour.rounding not in ("ties_to_even", "ties_to_away") or inside.sum() < 10:
        return ""
    v, q = (code - z)[inside], q[inside]
    low, high = np.sort(np.stack([(v - 0.5) / q, (v + 0.5) / q]), axis=0)
    if low.max() <= high.min() and not low.max() <= 1 <= high.min():
        return f"; they are right for scales {1 / ((low.max() + high.min()) / 2):.7g} times as large"
    for words, sign in (("", 1.0), (" to their size", np.sign(q))):
        ends = np.sort(np.stack([sign * (v - 0.5 - q), sign * (v + 0.5 - q)]), axis=0)
        if ends[0].max() <= ends[1].min() and not ends[0].max() <= 0 <= ends[1].min():
            return f"; they are right for quotients with about {(ends[0].max() + ends[1].min()) / 2:.4g} added{words}"
    return ""
