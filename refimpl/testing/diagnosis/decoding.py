"""Which defect explains the values that an implementation reads codes as."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refimpl import ops
from refimpl.formats import FloatFormat, IntFormat, PositFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.expected.behaviour import alike


def diagnose_decoding(fmt, decoding) -> tuple[tuple[str, ...], str]:
    """Return the sentences that explain how all codes are read; else none, and what is wrong with which codes."""
    codes = np.concatenate([s.x for s in decoding]).astype(np.int64)
    right, got = (np.concatenate(c) for c in zip(*((s.expected, s.got) for s in decoding), strict=True))
    known = [(sentence, read(codes, right)) for sentence, read in _readings(fmt)]
    with np.errstate(all="ignore"):
        found = [sentence for sentence, values in known if alike(values, got).all()]
        if found:
            return tuple(dict.fromkeys(found))[:3], ""
        # two at once, where no code is read wrong by both
        hits = [(s, alike(v, got), ~alike(v, right)) for s, v in known]
        bad = ~alike(right, got)
        pairs = [
            f"{a} and {b}"
            for k, (a, hit_a, changed_a) in enumerate(hits)
            for b, hit_b, changed_b in hits[k + 1 :]
            if not (changed_a & changed_b).any()
            and (hit_a | ~changed_a).all()
            and (hit_b | ~changed_b).all()
            and ((changed_a | changed_b) >= bad).all()
            and changed_a.any()
            and changed_b.any()
        ]
        return tuple(pairs[:1]), "" if pairs else _regions(fmt, codes, right, got, bad)


def _readings(fmt) -> Iterator[tuple[str, Callable]]:
    """Yield sentences with functions of codes and right values."""
    width = 1 << fmt.bits
    if isinstance(fmt, IntFormat):
        return
    for name in names():
        other = format_of(name)
        if isinstance(other, (FloatFormat, PositFormat)) and other.bits == fmt.bits and other != fmt:
            if not isinstance(other, FloatFormat) or other.fits_float64:
                yield f"decodes as {name}", lambda c, v, other=other: ops.decode(c.astype(np.uint64), other)
    yield "loses the sign of codes", lambda c, v: np.abs(v)
    yield "decodes NaN as zero", lambda c, v: np.where(np.isnan(v), 0.0, v)
    if isinstance(fmt, PositFormat):
        for other in (PositFormat(fmt.bits, k) for k in range(5) if k != fmt.exponent_bits):
            yield f"decodes as {other.name}", lambda c, v, other=other: ops.decode(c.astype(np.uint64), other)
        half = width >> 1
        magnitude = lambda c, v: np.where(c > half, -ops.decode((c % half).astype(np.uint64), fmt), v)  # noqa: E731
        yield "decodes negative codes as sign and magnitude, not as two's complement", magnitude
        yield "decodes NaR as infinity", lambda c, v: np.where(np.isnan(v), np.inf, v)
        return
    yield from _of_floats(fmt, width)


def _of_floats(fmt: FloatFormat, width: int) -> Iterator[tuple[str, Callable]]:
    m, sign = fmt.mantissa_bits, fmt.sign_mask

    def size(c):
        return c & ((1 << fmt.exponent_bits + m) - 1)

    def side(c):
        return np.where(c & sign, -1.0, 1.0)

    def small(c):
        return (size(c) < 1 << m) & (size(c) > 0)

    def number(c, field, mantissa):
        significand = np.where(field > 0, mantissa | 1 << m, mantissa).astype(np.float64)
        return side(c) * np.ldexp(significand, np.maximum(field, 1) - 1 + fmt.min_exponent - m)

    normal = fmt.smallest_normal
    yield "decodes special codes as numbers", lambda c, v: number(c, size(c) >> m, size(c) & (1 << m) - 1)
    special = lambda c, v: np.where(np.isfinite(v), v, number(c, size(c) >> m, size(c) & (1 << m) - 1))  # noqa: E731
    yield "decodes special codes as numbers", special
    nan = {"infinity": np.inf, "the largest value": fmt.max}
    for what, value in nan.items():
        yield f"decodes NaN as {what}", lambda c, v, value=value: np.where(np.isnan(v), side(c) * value, v)
    yield "decodes infinity as NaN", lambda c, v: np.where(np.isinf(v), np.nan, v)
    yield "decodes infinity as the largest value", lambda c, v: np.where(np.isinf(v), side(c) * fmt.max, v)
    yield "decodes minus zero as zero", lambda c, v: np.where(v == 0, 0.0, v)
    yield "decodes minus zero as NaN", lambda c, v: np.where((v == 0) & (c > 0), np.nan, v)
    yield "decodes subnormals as zero", lambda c, v: np.where(small(c), side(c) * 0.0, v)
    yield "decodes subnormals as zero, without their sign", lambda c, v: np.where(small(c) | (v == 0), 0.0, v)
    hidden = "decodes subnormals as if they had a hidden bit"
    for start in (1, 0):  # zero too, or not
        for by in (1, 0.5):
            yield (
                hidden,
                lambda c, v, by=by, start=start: np.where(
                    (size(c) < 1 << m) & (size(c) >= start), by * (v + side(c) * normal), v
                ),
            )
    yield "decodes subnormals with the exponent of field 0: half their value", lambda c, v: np.where(small(c), v / 2, v)
    yield "decodes subnormals as twice their value", lambda c, v: np.where(small(c), v * 2, v)
    for by, word in ((1, "small"), (-1, "large")):
        scale = 2.0**by
        yield f"decodes with a bias one too {word}", lambda c, v, s=scale: np.where(np.isfinite(v), v * s, v)
        yield (
            f"decodes normal codes with a bias one too {word}",
            lambda c, v, s=scale: np.where((size(c) >= 1 << m) & np.isfinite(v), v * s, v),
        )
    complement = lambda c, v: np.where(c & sign, -ops.decode((-c & (sign - 1)).astype(np.uint64), fmt), v)  # noqa: E731
    if sign:
        yield "decodes negative codes as two's complement", complement
        yield "decodes with the other sign", lambda c, v: -v
        yield (
            "decodes with the sign in the lowest bit",
            lambda c, v: ops.decode((c >> 1 | (c & 1) * sign).astype(np.uint64), fmt),
        )
    if fmt.exponent_bits and m:
        swapped = lambda c, v: number(c, c & (1 << fmt.exponent_bits) - 1, c >> fmt.exponent_bits & (1 << m) - 1)  # noqa: E731
        yield "decodes the fields in the other order: mantissa before exponent", swapped
        numbers = lambda c, v: np.where(np.isnan(v), v, swapped(c, v))  # noqa: E731
        yield "decodes the fields in the other order: mantissa before exponent", numbers
    if fmt.bits == 16:
        yield (
            "decodes the two bytes in the other order",
            lambda c, v: ops.decode(((c & 255) << 8 | c >> 8).astype(np.uint64), fmt),
        )
    if fmt.bits < 8:
        yield "decodes with bits in reverse", lambda c, v: ops.decode(_reversed(c, fmt.bits), fmt)


def _reversed(codes, bits):
    return sum((codes >> k & 1) << bits - 1 - k for k in range(bits)).astype(np.uint64)


def _regions(fmt, codes, right, got, bad) -> str:
    """Say which codes are read wrongly, and as what."""
    normal = getattr(fmt, "smallest_normal", 0.0)
    kinds = {
        "NaN": np.isnan(right),
        "infinity": np.isinf(right),
        "zero": right == 0,
        "subnormals": (np.abs(right) < normal) & (right != 0),
        "positive codes": right > 0,
        "negative codes": right < 0,
        "normal codes": (np.abs(right) >= normal) & np.isfinite(right),
    }
    where = [(mask.sum(), name) for name, mask in kinds.items() if (mask >= bad).all()]
    place = f", {'all' if min(where)[0] == bad.sum() else 'some'} of {min(where)[1]}" if where else ""
    with np.errstate(all="ignore"):
        ratio = got[bad] / right[bad]
    how = f": {ratio[0]:g} times their value" if (ratio == ratio[0]).all() and np.isfinite(ratio[0]) else ""
    if alike(got[bad], np.full(bad.sum(), got[bad][0])).all():
        how = f": as {got[bad][0]:g}"
    return f"decodes {bad.sum()} of {len(codes)} codes wrongly{place}{how}"
