"""Diagnosis of quantizers to scaled integers: stages, known defects, and which of them explain everything seen.

*Stages*: before (inputs as they are taken), scale and zero (of each element), divide (so exact that rounding is
right), early (added before rounding), whole (to an integer), late (added after it), clip, back (the values).
*Notation*: x inputs, s scales and z zero points (of each element), q quotients, v integers, c codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from refimpl.testing.diagnosis.block_defects import LEAST
from refimpl.testing.diagnosis.block_stages import integral
from refimpl.testing.diagnosis.diagnosis import Diagnosis
from refimpl.testing.diagnosis.narrow import single, through
from refimpl.testing.diagnosis.stages import Defect, search, sentences
from refimpl.testing.expected.behaviour import OF_INTEGERS
from refimpl.testing.expected.quotients import quotient

_LARGEST = float(np.finfo(np.float64).max)


class Part(NamedTuple):
    """Observations: inputs, scales and zero points, results and whether they are wrong, one-dimensional."""

    route: str
    x: np.ndarray
    s: np.ndarray
    z: np.ndarray
    got: np.ndarray
    bad: np.ndarray


def diagnose(behaviour, seen: list) -> Diagnosis:
    """Return what explains everything that was seen, at most three sentences, or describes it."""
    parts: dict[Any, list[Part]] = {}
    for item in seen:
        s, z = behaviour.wide(item.x)
        bad = ~behaviour.same(item.x, item.expected, item.got)
        part = Part(item.route, *(a.reshape(-1) for a in (item.x, s, z, item.got, bad)))
        parts.setdefault((item.route, item.x.dtype), []).append(part)
    full = [
        Part(same[0].route, *(np.concatenate(c) for c in list(zip(*same, strict=True))[1:])) for same in parts.values()
    ]
    if not any(part.bad.any() for part in full):
        return Diagnosis(())
    decoded = [part for part in full if part.route == "decode"]
    full = decoded if any(part.bad.any() for part in decoded) else [part for part in full if part.route != "decode"]
    levels = [[_some(part, few) for part in full] for few in (40, 600)] + [full]
    known = defects_of(behaviour)

    def explains(stages, level):
        return all(_right(behaviour, stages, part).all() for part in levels[level])

    found = search(known, explains, sizes=(1,))
    if not found:

        def helps(defect):
            return any((_right(behaviour, defect.stages, part) & part.bad).any() for part in levels[1])

        found = search([defect for defect in known if helps(defect)], explains, sizes=(2,))
    return Diagnosis(sentences(found), "" if found else "; ".join(_facts(full)))


def _some(part: Part, few: int) -> Part:
    at = []
    for which in (part.bad, ~part.bad):
        places = np.flatnonzero(which)
        at.append(places[:: max(1, -(-len(places) // few))])
    return Part(part.route, *(array[np.concatenate(at)] for array in part[1:]))


def _right(behaviour, stages, part: Part) -> np.ndarray:
    predicted = behaviour.narrow(predict(behaviour, stages, part), part.route, part.x.dtype)
    return behaviour.same(part.x, predicted, part.got) | np.isnan(predicted) & np.isnan(part.got)


def predict(behaviour, stages: dict[str, Any], part: Part) -> np.ndarray:
    """Return what comes of inputs where some stages are replaced, float64.

    Results of one stage that are codes already, of infinities too, are given as `clip` leaves them.
    """
    p: dict[str, Callable] = {**_right_stages(behaviour), **stages}
    with np.errstate(all="ignore"):
        s, z = p["scale"](part.s), p["zero"](part.z)
        if part.route == "decode":
            return p["back"](part.x.astype(np.float64), s, z)
        x = p["before"](part.x)
        q = p["divide"](x.astype(np.float64), s)
        v = p["whole"](p["early"](q, z))
        c = p["clip"](p["late"](v, z), v, z)
        return p["back"](c, s, z)


def _right_stages(behaviour) -> dict[str, Callable]:
    fmt = behaviour.format
    return {
        "before": lambda x: x,
        "scale": lambda s: s,
        "zero": lambda z: z,
        "divide": _quotient,
        "early": lambda q, z: q,
        "whole": lambda q: np.where(np.isfinite(q), integral(np.where(np.isfinite(q), q, 0), behaviour.rounding), q),
        "late": lambda v, z: v + z,
        "clip": lambda c, v, z: np.clip(c, fmt.min, fmt.max),
        "back": lambda c, s, z: s * (c - z),
    }


def _quotient(x, s):
    q = np.where(np.isfinite(x), quotient(np.where(np.isfinite(x), x, 0), s), x)
    with np.errstate(all="ignore"):  # beyond, all are integers: as they are computed
        far = np.where(np.isfinite(x), np.clip(x / s, -_LARGEST, _LARGEST), x)
    return np.where(np.abs(q) < 2.0**52, q, far)


def defects_of(behaviour) -> tuple[Defect, ...]:
    """Return the known defects of quantizers to scaled integers of these rules, the likeliest first."""
    found = [*_of_rounding(behaviour), *_of_zero_points(behaviour), *_of_range(behaviour), *_of_arithmetic(behaviour)]
    return tuple(found)


def _of_rounding(behaviour) -> Iterator[Defect]:
    def rounded(work):
        return {"whole": lambda q: np.where(np.isfinite(q), work(np.where(np.isfinite(q), q, 0)), q)}

    for mode in OF_INTEGERS:
        if mode != behaviour.rounding:
            yield Defect(mode, rounded(lambda v, mode=mode: integral(v, mode)))
    for way, sentence in (
        ("ties_up", "rounds half up: ties toward positive"),
        ("ties_to_zero", "rounds ties toward zero"),
        ("ties_down", "rounds half down: ties toward negative"),
        ("ties_to_odd", "rounds ties to odd"),
        ("away_from_zero", "rounds away from zero"),
        ("to_odd", "rounds to odd"),
    ):
        yield Defect(sentence, rounded(lambda v, way=way: integral(v, way)))
    yield Defect("does not round", {"whole": lambda q: q})
    half = "adds one half and rounds down, in float32, which rounds up just below a tie"
    yield Defect(half, rounded(lambda v: np.floor(single(v + 0.5))))
    yield Defect(
        "adds one half and cuts, in float32, which rounds up just below a tie",
        rounded(lambda v: np.trunc(single(v + np.copysign(0.5, v)))),
    )


def _of_zero_points(behaviour) -> Iterator[Defect]:
    fmt = behaviour.format
    low, count = (fmt.min if not fmt.signed else -(1 << fmt.bits - 1)), 1 << fmt.bits
    zeros = {np.asarray(z).item() for z in behaviour.lanes()[1]}
    rounding = behaviour.rounding

    def whole(v):
        return np.where(np.isfinite(v), integral(np.where(np.isfinite(v), v, 0), rounding), v)

    # whatever the zero point is, in decoding alone
    for by, word in ((-1, "small"), (1, "large")):

        def moved(z, by=by):
            return np.mod(z + by - low, count) + low

        at = fmt.min if by < 0 else fmt.max
        wrap = f"reads the zero point {at} as {moved(at)}" if at in zeros else ""
        wrapped = f": {wrap}" if wrap else ""
        yield Defect(f"decodes zero points one too {word}{wrapped}", {"back": lambda c, s, z, m=moved: s * (c - m(z))})
        yield Defect(f"decodes zero points one too {word}", {"back": lambda c, s, z, by=by: s * (c - z - by)})
        yield Defect(f"encodes with zero points one too {word}", {"late": lambda v, z, by=by: v + z + by})
        yield Defect(f"has zero points one too {word}", {"zero": lambda z, by=by: np.clip(z + by, fmt.min, fmt.max)})
        yield Defect(f"has zero points one too {word}", {"zero": lambda z, m=moved: m(z)})
    if zeros != {0}:
        yield Defect("ignores the zero point", {"zero": lambda z: 0 * z})
        yield Defect(
            "adds the zero point before rounding", {"early": lambda q, z: _added(q, z), "late": lambda v, z: v}
        )
        yield Defect(
            "adds the zero point before rounding, in float64, which rounds",
            {"divide": lambda x, s: x / s, "early": lambda q, z: q + z, "late": lambda v, z: v},
        )
        yield Defect(
            "adds the zero point before rounding, in float32, which rounds",
            {
                "divide": lambda x, s: single(single(x) / single(s)),
                "early": lambda q, z: single(q + z),
                "late": lambda v, z: v,
            },
        )
        yield Defect(
            "adds the zero point before rounding, after the product with the reciprocal, all in float32",
            {
                "divide": lambda x, s: single(single(x) * single(1 / single(s))),
                "early": lambda q, z: single(q + z),
                "late": lambda v, z: v,
            },
        )
        yield Defect(
            "adds the zero point before rounding, after the product with the reciprocal, all in float32",
            {
                "divide": lambda x, s: single(x) * single(1 / single(s)),
                "early": lambda q, z: single(q + z),
                "late": lambda v, z: v,
            },
        )
        yield Defect(
            "saturates before the zero point is added",
            {"clip": lambda c, v, z: np.clip(np.clip(v, fmt.min, fmt.max) + z, fmt.min, fmt.max)},
        )
        yield Defect("subtracts the zero point in encoding", {"late": lambda v, z: v - z})
        yield Defect("does not add the zero point in encoding", {"late": lambda v, z: v})
        yield Defect("does not subtract the zero point in decoding", {"back": lambda c, s, z: s * c})
        yield Defect("adds the zero point in decoding", {"back": lambda c, s, z: s * (c + z)})
        yield Defect("subtracts the zero point after the product in decoding", {"back": lambda c, s, z: s * c - z})
        yield Defect(
            "rounds the products of scale with code and zero point to float32, before they are subtracted",
            {"back": lambda c, s, z: single(single(s * c) - single(s * z))},
        )
        yield Defect("negates the zero point", {"zero": lambda z: np.clip(-z, fmt.min, fmt.max)})
    middle = 1 << (fmt.bits - 1)
    if not fmt.signed and zeros != {middle}:
        yield Defect(f"has the zero point {middle}", {"zero": lambda z: 0 * z + middle})
    if len(behaviour.lanes()[1]) > 1:
        scales, every = behaviour.lanes()
        for name, at in (("first", 0), ("last", -1)):
            yield Defect(f"uses the {name} scale for all", {"scale": lambda s, v=scales[at]: 0 * s + v})
            yield Defect(f"uses the {name} zero point for all", {"zero": lambda z, v=every[at]: 0 * z + v})
            yield Defect(
                f"uses the {name} scale and zero point for all",
                {"scale": lambda s, v=scales[at]: 0 * s + v, "zero": lambda z, v=every[at]: 0 * z + v},
            )
        yield Defect("uses the largest scale for all", {"scale": lambda s: 0 * s + max(scales)})


def _added(q, z):
    """Return q + z so exact that rounding the sum is right."""
    total = q + z
    back = total - z
    lost = (q - back) + (z - (total - back))
    toward = np.nextafter(total, np.where(lost > 0, np.inf, -np.inf))
    even = np.ascontiguousarray(total).view(np.int64) & 1 == 0
    return np.where((lost != 0) & np.isfinite(total) & even, toward, total)


def _of_range(behaviour) -> Iterator[Defect]:
    fmt = behaviour.format
    full = -(1 << fmt.bits - 1) if fmt.signed else 0
    count = 1 << fmt.bits

    def wrap(c):
        return np.mod(np.mod(c, count) - full, count) + full

    def converted(bits, huge):
        """Through a C integer: what it cannot hold becomes its lowest, or zero, or the nearest."""
        most = 2.0 ** (bits - 1)

        def work(c):
            sure = (c < most) & (c >= -most)
            instead = {"low": -most, "zero": 0.0, "nearest": np.clip(c, -most, most - 1)}[huge]
            return np.where(sure, c, instead)

        return work

    for bits in (64, 32, 16):
        for huge in ("low", "zero", "nearest"):
            cast = converted(bits, huge)
            yield Defect("wraps around instead of saturating", {"clip": lambda c, v, z, cast=cast: wrap(cast(c))})
            yield Defect("wraps around instead of saturating", {"clip": lambda c, v, z, cast=cast: wrap(cast(v) + z)})
            yield Defect(
                f"converts to {bits} bits before it saturates",
                {"clip": lambda c, v, z, cast=cast: np.clip(cast(c), fmt.min, fmt.max)},
            )
            yield Defect(
                f"converts to {bits} bits before it saturates",
                {"clip": lambda c, v, z, cast=cast: np.clip(cast(v) + z, fmt.min, fmt.max)},
            )
    yield Defect("does not saturate", {"clip": lambda c, v, z: c})
    yield Defect("saturates at the largest code alone", {"clip": lambda c, v, z: np.minimum(c, fmt.max)})
    yield Defect("saturates at the lowest code alone", {"clip": lambda c, v, z: np.maximum(c, fmt.min)})
    ranges: dict[str, tuple[int, int]] = {
        "does not use the largest code": (fmt.min, fmt.max - 1),
        "uses a code above the largest": (fmt.min, fmt.max + 1),
    }
    if fmt.signed:
        ranges["saturates at half the range"] = (fmt.min // 2, fmt.max // 2)
        ranges["saturates at the range of unsigned codes"] = (0, count - 1)
    else:
        ranges["saturates at the range of signed codes"] = (-(count // 2), count // 2 - 1)
        ranges["saturates at the range of signed codes without the lowest"] = (1 - count // 2, count // 2 - 1)
        ranges["saturates at the largest signed code"] = (0, count // 2 - 1)
    if fmt.signed and fmt.symmetric:
        ranges["also uses the lowest code"] = (full, fmt.max)
    else:
        ranges["does not use the lowest code"] = (fmt.min + 1, fmt.max)
    for sentence, ends in ranges.items():
        if ends != (fmt.min, fmt.max):
            yield Defect(sentence, {"clip": lambda c, v, z, ends=ends: np.clip(c, *ends)})
    for sentence, value in (
        ("gives the zero point for infinities", None),
        ("gives the lowest code for infinities", fmt.min),
        ("gives the code 0 for infinities", 0),
    ):
        yield Defect(
            sentence,
            {
                "clip": lambda c, v, z, value=value: np.where(
                    np.isinf(v), z if value is None else value, np.clip(c, fmt.min, fmt.max)
                )
            },
        )
    yield Defect(
        "gives NaN for infinities",
        {"clip": lambda c, v, z: np.where(np.isinf(v), np.nan, np.clip(c, fmt.min, fmt.max))},
    )


def _of_arithmetic(behaviour) -> Iterator[Defect]:
    divided: dict[str, Callable] = {
        "divides by the scale in float32, and so rounds twice": lambda x, s: single(single(x) / single(s)),
        "multiplies by the reciprocal of the scale in float32": lambda x, s: single(single(x) * single(1 / single(s))),
        "divides by the scale in float64, and so rounds twice": lambda x, s: x / s,
        "multiplies by the reciprocal of the scale in float64": lambda x, s: x * (1 / s),
        "multiplies by the scale instead of dividing by it": lambda x, s: x * s,
        "takes no account of the scale in encoding": lambda x, s: x,
    }
    for name in ("bfloat16", "float16"):
        divided[f"rounds quotients to {name}"] = lambda x, s, n=name: through(_quotient(x, s), n)
    for sentence, stage in divided.items():
        yield Defect(sentence, {"divide": stage})
    for name in ("bfloat16", "float16", "float32"):
        yield Defect(f"rounds scales to {name}", {"scale": lambda s, n=name: through(s, n)})
        yield Defect(f"rounds its input to {name} first", {"before": lambda x, n=name: through(x, n)})
    yield Defect(
        "cuts its input to bfloat16 first",
        {"before": lambda x: np.where(np.isfinite(x), through(x, "bfloat16", "toward_zero"), x)},
    )
    for power, word in ((np.floor, "down"), (np.ceil, "up"), (np.rint, "to the nearest")):
        yield Defect(
            f"rounds scales {word} to powers of two", {"scale": lambda s, power=power: 2.0 ** power(np.log2(s))}
        )
    for by in (2.0, 0.5):
        yield Defect(f"has scales twice too {'large' if by > 1 else 'small'}", {"scale": lambda s, by=by: s * by})
    for least in LEAST:
        yield Defect(f"has no scale below {least:g}", {"scale": lambda s, v=least: np.maximum(s, v)})
        yield Defect(f"adds {least:g} to the scale", {"divide": lambda x, s, v=least: _quotient(x, s + v)})
    for name in ("bfloat16", "float16"):
        yield Defect(f"rounds results to {name}", {"back": lambda c, s, z, n=name: through(s * (c - z), n)})
    yield Defect("returns codes, not values", {"back": lambda c, s, z: c})
    yield Defect("divides by the scale in decoding", {"back": lambda c, s, z: (c - z) / s})
    yield Defect("loses the sign", {"before": np.abs})
    yield Defect("loses the sign of results", {"back": lambda c, s, z: np.abs(s * (c - z))})
    yield Defect("takes negative values for zero", {"before": lambda x: np.maximum(x, 0)})
    yield Defect(
        "takes values smaller than one step for zero",
        {"divide": lambda x, s: np.where(np.abs(x) < s, 0.0, _quotient(x, s))},
    )


def _facts(parts) -> tuple[str, ...]:
    """Return which inputs alone are wrong, if that can be said."""
    x = np.concatenate([part.x.astype(np.float64) for part in parts])
    bad = np.concatenate([part.bad for part in parts])
    q = np.concatenate([_quotient(part.x.astype(np.float64), part.s) for part in parts])
    with np.errstate(invalid="ignore"):
        tie = np.abs(q - np.trunc(q)) == 0.5
    wide = np.concatenate([np.full(part.x.size, part.x.dtype == np.float64) for part in parts])
    for words, where in (
        ("infinities", np.isinf(x)),
        ("zero", x == 0),
        ("ties", tie),
        ("negative ties", tie & (x < 0)),
        ("negative values", x < 0),
        ("positive values", x > 0),
        ("float64 inputs", wide & ~wide.all()),
    ):
        if not (bad & ~where).any():
            return (f"is wrong for {words} alone",)
    return ()
