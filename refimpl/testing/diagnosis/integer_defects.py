"""Known defects of quantizers to scaled integers: stages that replace the right ones.

*Stages*: before (inputs as they are taken), lane_of_scale and lane_of_zero (whose scale and zero point an element
gets), scale and zero (of each element), divide (so exact that rounding is right), early (added before rounding), whole
(to an integer), late (added after it), clip, read (codes as decoding takes them), back (the values).
*Notation*: x inputs, s scales and z zero points (of each element), q quotients, v integers, c codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refimpl import ops
from refimpl.formats import FloatFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.diagnosis.block_largest import LEAST
from refimpl.testing.diagnosis.block_stages import WORDS, integral, sign_pairs
from refimpl.testing.diagnosis.stages import Defect
from refimpl.testing.expected.behaviour import OF_INTEGERS
from refimpl.testing.expected.quotients import fewer, quotient, single, through

_LARGEST = float(np.finfo(np.float64).max)


def right_stages(behaviour) -> dict[str, Callable]:
    fmt = behaviour.format
    return {
        "before": lambda x: x,
        "lane_of_scale": lambda lane, across, count: lane,
        "lane_of_zero": lambda lane, across, count: lane,
        "scale": lambda s: s,
        "zero": lambda z: z,
        "divide": exact_quotient,
        "early": lambda q, z: q,
        "whole": lambda q: np.where(np.isfinite(q), integral(np.where(np.isfinite(q), q, 0), behaviour.rounding), q),
        "late": lambda v, z: v + z,
        "clip": lambda c, v, z: np.clip(c, fmt.min, fmt.max),
        "read": lambda c: c,
        "back": lambda c, s, z: s * (c - z),
    }


def exact_quotient(x, s):
    q = np.where(np.isfinite(x), quotient(np.where(np.isfinite(x), x, 0), s), x)
    with np.errstate(all="ignore"):  # beyond, all are integers: as they are computed
        far = np.where(np.isfinite(x), np.clip(x / s, -_LARGEST, _LARGEST), x)
    return np.where(np.abs(q) < 2.0**52, q, far)


def defects_of(behaviour) -> tuple[Defect, ...]:
    """Return the known defects of quantizers to scaled integers of these rules, the likeliest first."""
    found = [*_of_rounding(behaviour), *_of_zero_points(behaviour), *_of_range(behaviour), *_of_arithmetic(behaviour)]
    found += [*_of_lanes(behaviour), *_of_codes(behaviour), *_on_the_way()]
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


def by_sign() -> list[Defect]:
    """Return defects that round positive values in one mode and negative ones in another."""

    def rounded(one, other):
        def whole(q):
            v = np.where(np.isfinite(q), q, 0)
            return np.where(np.isfinite(q), np.where(v > 0, integral(v, one), integral(v, other)), q)

        return {"whole": whole}

    said = "rounds positive values {}, negative ones {}"
    return [Defect(said.format(WORDS[one], WORDS[other]), rounded(one, other)) for one, other in sign_pairs()]


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
    if zeros - set(range(middle)):
        read = "reads zero points as signed" if not fmt.signed else "reads zero points as unsigned"
        yield Defect(read, {"zero": lambda z: np.mod(z + middle * (not fmt.signed), count) - middle * (not fmt.signed)})
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

    yield Defect(
        "saturates before the zero point is added, and wraps around after it",
        {"clip": lambda c, v, z: wrap(np.clip(v, fmt.min, fmt.max) + z)},
    )
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
        divided[f"rounds quotients to {name}"] = lambda x, s, n=name: through(exact_quotient(x, s), n)
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
        yield Defect(f"adds {least:g} to the scale", {"divide": lambda x, s, v=least: exact_quotient(x, s + v)})
    for name in ("bfloat16", "float16"):
        yield Defect(f"rounds results to {name}", {"back": lambda c, s, z, n=name: through(s * (c - z), n)})
    yield Defect("returns codes, not values", {"back": lambda c, s, z: c})
    yield Defect("divides by the scale in decoding", {"back": lambda c, s, z: (c - z) / s})
    yield Defect("loses the sign", {"before": np.abs})
    yield Defect("loses the sign of results", {"back": lambda c, s, z: np.abs(s * (c - z))})
    yield Defect("takes negative values for zero", {"before": lambda x: np.maximum(x, 0)})
    yield Defect(
        "takes values smaller than one step for zero",
        {"divide": lambda x, s: np.where(np.abs(x) < s, 0.0, exact_quotient(x, s))},
    )


def _of_lanes(behaviour) -> Iterator[Defect]:
    """Yield defects by which an element gets the scale or the zero point of another lane."""
    if len(behaviour.lanes()[0]) < 2:
        return
    ways: dict[str, Callable] = {
        "{} in the opposite order": lambda lane, across, count: count - 1 - lane,
        "{} of the one before": lambda lane, across, count: (lane - 1) % count,
        "{} of the one after": lambda lane, across, count: (lane + 1) % count,
        "{} along the other axis": lambda lane, across, count: across % count,
        "{} of each element's place in turn": lambda lane, across, count: (across + lane) % count,
        "two neighbours the first of their {}": lambda lane, across, count: lane // 2 * 2,
    }
    shape = np.shape(behaviour.scale)
    if len(shape) == 2:

        def transposed(lane, across, count):
            return lane % shape[1] * shape[0] + lane // shape[1]

        def untransposed(lane, across, count):
            return lane % shape[0] * shape[1] + lane // shape[0]

        ways["{} of columns after columns, not of rows after rows"] = transposed
        ways["{} of rows after rows where those of columns after columns are read"] = untransposed
        ways["{} of the first block of a row for all of it"] = lambda lane, across, count: lane // shape[1] * shape[1]
        ways["{} of the last block of a row for all of it"] = lambda lane, across, count: (
            lane // shape[1] * shape[1] + shape[1] - 1
        )
        ways["{} of the first row for all"] = lambda lane, across, count: lane % shape[1]
    for words, way in ways.items():
        for said, stages in (
            ("scales", ("lane_of_scale",)),
            ("zero points", ("lane_of_zero",)),
            ("scales and zero points", ("lane_of_scale", "lane_of_zero")),
        ):
            yield Defect("takes " + words.format(said), dict.fromkeys(stages, way))


def _of_codes(behaviour) -> Iterator[Defect]:
    """Yield defects of codes as they are stored and read, and of quotients that have many bits."""
    fmt = behaviour.format
    count, half = 1 << fmt.bits, 1 << fmt.bits - 1
    if any(np.any(z) for z in behaviour.lanes()[1]):
        for low, high in ((1 - half, half - 1), (-half, half - 1), (0, 2 * half - 1), (1 - 2 * half, 2 * half - 1)):
            if (low, high) != (fmt.min, fmt.max):
                yield Defect(
                    f"saturates at {low} to {high} before the zero point is added",
                    {"clip": lambda c, v, z, ends=(low, high): np.clip(np.clip(v, *ends) + z, fmt.min, fmt.max)},
                )
                yield Defect(
                    f"saturates at {low} to {high} before the zero point is added, and not after it",
                    {"clip": lambda c, v, z, ends=(low, high): np.clip(v, *ends) + z},
                )
    if fmt.signed:
        yield Defect("reads codes as unsigned", {"read": lambda c: np.mod(c, count)})
        yield Defect("reads codes half the range too large", {"read": lambda c: c + half})
        yield Defect("reads codes as sign and magnitude", {"read": lambda c: np.where(c < 0, -(c + half), c)})
        yield Defect("loses the sign bit of codes", {"read": lambda c: np.mod(c, half)})
    else:
        yield Defect("reads codes as signed", {"read": lambda c: np.mod(c + half, count) - half})
        yield Defect("reads codes half the range too small", {"read": lambda c: c - half})
        yield Defect("loses the highest bit of codes", {"read": lambda c: np.mod(c, half)})
    yield Defect("loses the lowest bit of codes", {"read": lambda c: np.floor(c / 2) * 2})
    yield Defect("reads codes with the sign turned", {"read": lambda c: -c})
    for name in ("bfloat16", "float16"):
        yield Defect(
            f"rounds scales to {name}, in encoding alone",
            {"divide": lambda x, s, n=name: exact_quotient(x, through(s, n))},
        )
        yield Defect(
            f"rounds scales to {name}, in decoding alone", {"back": lambda c, s, z, n=name: through(s, n) * (c - z)}
        )
    yield Defect(
        "computes results in bfloat16", {"back": lambda c, s, z: through(through(s, "bfloat16") * (c - z), "bfloat16")}
    )
    yield Defect("takes zero points for values", {"back": lambda c, s, z: s * c - z})
    n = float(count)
    for words, by in (
        (f"{n / 2:g} / {n / 2 - 1:g}", n / 2 / (n / 2 - 1)),
        (f"{n / 2 - 1:g} / {n / 2:g}", (n / 2 - 1) / (n / 2)),
        (f"{n - 1:g} / {n:g}", (n - 1) / n),
        (f"{n:g} / {n - 1:g}", n / (n - 1)),
        (f"{n - 2:g} / {n - 1:g}", (n - 2) / (n - 1)),
    ):
        yield Defect(f"has scales {words} times as large", {"scale": lambda s, by=by: s * by})
        yield Defect(
            f"has scales {words} times as large, in encoding alone",
            {"divide": lambda x, s, by=by: exact_quotient(x, s * by)},
        )
        yield Defect(
            f"has scales {words} times as large, in decoding alone", {"back": lambda c, s, z, by=by: s * by * (c - z)}
        )
    for kind, work in (("float32", single), ("float64", lambda v: v)):
        yield Defect(
            f"adds one half and rounds down, in {kind}, which rounds up just below a tie",
            {"whole": lambda q, work=work: np.where(np.isfinite(q), np.floor(work(q + 0.5)), q)},
        )
        yield Defect(
            f"adds one half and cuts, in {kind}, which rounds up just below a tie",
            {"whole": lambda q, work=work: np.where(np.isfinite(q), np.trunc(work(q + np.copysign(0.5, q))), q)},
        )
        yield Defect(
            f"adds one half and cuts, also below zero, in {kind}",
            {"whole": lambda q, work=work: np.where(np.isfinite(q), np.trunc(work(q + 0.5)), q)},
        )


def _on_the_way() -> Iterator[Defect]:
    """Yield roundings of quotients, and reciprocals of few bits."""
    for bits in range(1, 13):
        yield Defect(
            f"rounds quotients to multiples of 2^-{bits} first",
            {"divide": lambda x, s, k=2.0**bits: np.rint(exact_quotient(x, s) * k) / k},
        )
        yield Defect(
            f"cuts quotients to multiples of 2^-{bits} first",
            {"divide": lambda x, s, k=2.0**bits: np.trunc(exact_quotient(x, s) * k) / k},
        )
    for name in names():
        of = format_of(name)
        if isinstance(of, FloatFormat) and of.signed and of.fits_float64 and of.bits <= 19 and of.has_zero:
            if name not in ("bfloat16", "float16"):
                yield Defect(f"rounds quotients to {name} first", {"divide": _through(of)})
    for bits in (6, 7, 8, 10, 11, 12, 15, 16, 23, 24, 30, 31):
        yield Defect(
            f"multiplies by the reciprocal of the scale, rounded to {bits + 1} significant bits",
            {"divide": lambda x, s, bits=bits: x * fewer(1 / s, bits)},
        )


def _through(of: FloatFormat) -> Callable:
    def divide(x, s):
        q = exact_quotient(x, s)
        return np.where(np.isfinite(q), ops.quantize(np.where(np.isfinite(q), q, 0.0), of, overflow="saturate"), q)

    return divide
