"""Which defect explains the values that an implementation reads codes as."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refimpl import ops
from refimpl.formats import FloatFormat, IntFormat, PositFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.diagnosis.local import Failures, in_regions
from refimpl.testing.diagnosis.regions import Measure, Property
from refimpl.testing.diagnosis.seen_defects import of_results
from refimpl.testing.expected.behaviour import alike

FEW = 4  # codes that are named
SIMPLE = 4.5  # the cost up to which a way of reading some codes is believed


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
        said = tuple(pairs[:1]) or _in_regions(fmt, codes, right, got)
        return said, "" if said else _described(fmt, codes, right, got)


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


class Codes(Failures):
    """How codes are read: the properties of codes."""

    noun = "codes"

    def __init__(self, fmt, codes, right, got):
        self.codes, self.right, self.got = codes, right, got
        self.wrong = ~alike(right, got)
        self.properties = [p for p in _properties(fmt, codes, right) if p.mask.any() and not p.mask.all()]
        if self.wrong.sum() <= FEW:
            words = " and ".join(f"0x{code:x}" for code in codes[self.wrong].tolist())
            self.properties.append(Property(f"codes that are {words}", self.wrong))
        number = np.where(np.isfinite(right), np.abs(right), np.nan)
        self.measures = [
            Measure("that stand for sizes", number),
            Measure("with numbers", codes.astype(np.float64), 2.3),
        ]

    @property
    def count(self) -> str:
        """How many are wrong, and which if they are few."""
        wrong = self.codes[self.wrong]
        which = " (" + ", ".join(f"0x{code:x}" for code in wrong[:4].tolist()) + ")" if wrong.size <= FEW else ""
        return f"{wrong.size} of {self.codes.size} codes{which} are read wrongly"

    extent = count


def _properties(fmt, codes, right) -> Iterator[Property]:
    yield Property("codes of NaN", np.isnan(right))
    yield Property("codes of infinity", np.isinf(right))
    yield Property("codes of numbers", np.isfinite(right), 0.6)
    yield Property("codes of zero", right == 0)
    yield Property("codes of what is not zero", right != 0, 0.8)
    yield Property("negative codes", codes >> (fmt.bits - 1) & 1 == 1)
    yield Property("positive codes", codes >> (fmt.bits - 1) & 1 == 0)
    yield Property("odd codes", codes & 1 == 1, 1.1)
    yield Property("even codes", codes & 1 == 0, 1.1)
    for bit in range(1, fmt.bits - 1):
        yield Property(f"codes with bit {bit} set", codes >> bit & 1 == 1, 1.3)
        yield Property(f"codes with bit {bit} clear", codes >> bit & 1 == 0, 1.3)
    yield Property("codes of integers", np.rint(right) == right, 1.4)
    yield Property("codes of powers of two", np.abs(np.frexp(right)[0]) == 0.5, 1.2)
    yield Property("codes of sizes from 1", np.abs(right) >= 1, 1.1)
    yield Property("codes of sizes below 1", np.abs(right) < 1, 1.1)
    if isinstance(fmt, FloatFormat):
        normal, m = fmt.smallest_normal, fmt.mantissa_bits
        yield Property("subnormals", (np.abs(right) < normal) & (right != 0))
        yield Property("normal codes", (np.abs(right) >= normal) & np.isfinite(right))
        field, mantissa = codes >> m & ((1 << fmt.exponent_bits) - 1), codes & ((1 << m) - 1)
        yield Property("codes of which all bits of the exponent are set", field == (1 << fmt.exponent_bits) - 1, 1.1)
        yield Property("codes with an empty mantissa", mantissa == 0, 1.1)
        yield Property("codes with a full mantissa", mantissa == (1 << m) - 1, 1.1)
        yield Property("codes with odd exponents", field % 2 == 1, 1.4)
        yield Property("codes with even exponents", field % 2 == 0, 1.4)


def _in_regions(fmt, codes, right, got) -> tuple[str, ...]:
    """Return ways of reading that explain everything if they hold for some codes alone."""
    seen = Codes(fmt, codes, right, got)
    wrong = seen.wrong
    own = [
        (sentence.replace("gives", "reads", 1), ~alike(change(right, right), got))
        for sentence, change in of_results(None, right[wrong], right[wrong], got[wrong])
    ]
    known = [(sentence, ~alike(read(codes, right), got)) for sentence, read in _readings(fmt)]
    found = in_regions(seen, own, known)
    return tuple(f.sentence for f in found if f.cost <= SIMPLE)


def _described(fmt, codes, right, got) -> str:
    """Say which codes are read wrongly, and as what."""
    seen = Codes(fmt, codes, right, got)
    where = seen.region(seen.wrong, ~seen.wrong, split=True)
    bad = np.flatnonzero(seen.wrong)[:FEW]
    some = ", ".join(f"0x{int(codes[k]):x} as {got[k]:g} (right {right[k]:g})" for k in bad)
    return f"{seen.count}{seen.among(where)}: {some}{', ...' * bool(seen.wrong.sum() > FEW)}"
