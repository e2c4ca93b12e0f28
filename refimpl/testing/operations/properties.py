"""What can be said of a case of an operation: the properties and measures by which regions are described.

*Notation*: as in `defect`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from refimpl.formats import FloatFormat
from refimpl.testing.diagnosis.anatomy import anatomy, has_anatomy
from refimpl.testing.diagnosis.local import Failures
from refimpl.testing.diagnosis.regions import Measure, Property
from refimpl.testing.operations.defect import rounds
from refimpl.testing.operations.operation import NUMBER, Operation, encoded

NAMES = ("first", "second", "third")


class Cases(Failures):
    """The cases of an operation."""

    noun = "cases"

    def __init__(self, operation: Operation, v: list[np.ndarray], expected, got, wrong: np.ndarray):
        self.operation, self.v, self.expected, self.got, self.wrong = operation, v, expected, got, wrong
        with np.errstate(all="ignore"):
            every = [*_of_operands(operation, v), *_of_pairs(v), *_of_results(operation, v, expected)]
            self.properties = [p for p in every if p.mask.any() and not p.mask.all()]
            self.measures = [*_measures(operation, v, expected)]


def _of_operands(o: Operation, v) -> Iterator[Property]:
    finite = np.all([np.isfinite(x) for x in v], axis=0)
    yield Property("finite operands", finite, 0.6)
    if len(v) > 1:
        yield Property("cases with a NaN", np.any([np.isnan(x) for x in v], axis=0))
        yield Property("cases with an infinite operand", np.any([np.isinf(x) for x in v], axis=0))
        yield Property("cases with an operand that is zero", np.any([x == 0 for x in v], axis=0))
        yield Property("operands that are not zero", np.all([x != 0 for x in v], axis=0), 0.8)
    for x, fmt, name in zip(v, o.formats, NAMES, strict=False):
        of = f"{name} operands" if len(v) > 1 else "operands"
        size = np.abs(x)
        yield Property(f"{of} that are NaN", np.isnan(x))
        yield Property(f"{of} that are infinite", np.isinf(x))
        yield Property(f"{of} that are zero", x == 0)
        yield Property(f"{of} that are not zero", x != 0, 0.9)
        yield Property(f"{of} that are no NaN", ~np.isnan(x), 0.9)
        yield Property(f"negative {of}", np.signbit(x))
        yield Property(f"positive {of}", ~np.signbit(x))
        yield Property(f"{of} that are powers of two", np.abs(np.frexp(x)[0]) == 0.5, 1.2)
        yield Property(f"{of} that are integers", np.rint(x) == x, 1.3)
        yield Property(f"{of} that are no integers", np.isfinite(x) & (np.rint(x) != x), 1.3)
        yield Property(f"{of} of even exponents", np.isfinite(x) & (x != 0) & (np.frexp(x)[1] % 2 == 1), 1.6)
        yield Property(f"{of} of odd exponents", np.isfinite(x) & (x != 0) & (np.frexp(x)[1] % 2 == 0), 1.6)
        yield Property(f"{of} that are the largest value", size == float(fmt.max), 1.2)
        if isinstance(fmt, FloatFormat):
            yield Property(f"subnormal {of}", (size < fmt.smallest_normal) & (x != 0))
            yield Property(f"{of} that are normal", (size >= fmt.smallest_normal) & np.isfinite(x))
        codes = encoded(x, fmt)
        yield Property(f"{of} with odd codes", np.isfinite(x) & (codes & np.uint64(1) == 1), 1.3)
        yield Property(f"{of} with even codes", np.isfinite(x) & (codes & np.uint64(1) == 0), 1.3)


def _of_pairs(v) -> Iterator[Property]:
    for j in range(len(v)):
        for k in range(j + 1, len(v)):
            a, b = v[j], v[k]
            of = "operands" if len(v) == 2 else f"{NAMES[j]} and {NAMES[k]} operands"
            yield Property(f"{of} of the same sign", np.signbit(a) == np.signbit(b))
            yield Property(f"{of} of unequal signs", np.signbit(a) != np.signbit(b))
            yield Property(f"{of} of equal size", np.abs(a) == np.abs(b))
            yield Property(f"{of} of unequal sizes", np.abs(a) != np.abs(b))
            yield Property(f"equal {of}", a == b)
            yield Property(f"{of} of which the {NAMES[j]} is larger in size", np.abs(a) > np.abs(b))
            yield Property(f"{of} of which the {NAMES[k]} is larger in size", np.abs(a) < np.abs(b))
            yield Property(f"{of} of which the {NAMES[j]} is larger", a > b, 1.1)
            yield Property(f"{of} of which the {NAMES[k]} is larger", a < b, 1.1)
            both = np.isfinite(a) & np.isfinite(b) & (a != 0) & (b != 0)
            yield Property(f"{of} of the same binade", both & (np.frexp(a)[1] == np.frexp(b)[1]), 1.1)
            yield Property(f"{of} of unequal binades", both & (np.frexp(a)[1] != np.frexp(b)[1]), 1.1)
            odd = (np.frexp(a)[1] + np.frexp(b)[1]) % 2 == 1
            yield Property(f"{of} whose exponents have an odd sum", both & odd, 1.6)
            yield Property(f"{of} whose exponents have an even sum", both & ~odd, 1.6)


def _of_results(o: Operation, v, expected) -> Iterator[Property]:
    if o.kind != NUMBER:
        yield Property("results that are zero or false", expected == 0)
        yield Property("results that are not zero or false", expected != 0)
        yield Property("negative results", expected < 0)
        return
    size, into = np.abs(expected), o.into
    yield Property("results that are NaN", np.isnan(expected))
    yield Property("results that are infinite", np.isinf(expected))
    yield Property("results that are numbers", np.isfinite(expected), 0.8)
    yield Property("results that are zero", expected == 0)
    yield Property("results that are not zero", expected != 0, 0.8)
    yield Property("negative results", np.signbit(expected))
    yield Property("positive results", ~np.signbit(expected))
    yield Property("results that are the largest value", size == float(into.max), 1.2)
    yield Property("results that are powers of two", np.abs(np.frexp(expected)[0]) == 0.5, 1.2)
    if isinstance(into, FloatFormat):
        yield Property("subnormal results", (size < into.smallest_normal) & (expected != 0))
        yield Property("results that are normal", (size >= into.smallest_normal) & np.isfinite(expected))
        yield Property("results that are the smallest normal", size == into.smallest_normal, 1.2)
    for x, name in zip(v, NAMES, strict=False):
        of = f"their {name} operand" if len(v) > 1 else "the operand"
        yield Property(f"results equal to {of}", expected == x, 1.1)
    codes = encoded(expected, into)
    yield Property("results with odd codes", np.isfinite(expected) & (codes & np.uint64(1) == 1), 1.3)
    yield Property("results with even codes", np.isfinite(expected) & (codes & np.uint64(1) == 0), 1.3)
    if not rounds(o):
        return
    e = o.exact(v)
    yield Property("overflows", np.isfinite(e) & (np.abs(e) > into.max))
    yield Property("underflows to zero", (e != 0) & (expected == 0))
    yield Property("exact results", e == expected, 0.9)
    yield Property("results that are rounded", (e != expected) & ~np.isnan(e), 0.9)
    yield Property("results rounded up in size", size > np.abs(e), 1.1)
    yield Property("results rounded down in size", size < np.abs(e), 1.1)
    if len(v) > 1:
        top = np.max([np.where(x == 0, -5000, np.frexp(x)[1]) for x in v], axis=0)
        yield Property("results of a smaller binade than the larger operand's", np.frexp(e)[1] < top, 1.1)
        yield Property("results of a larger binade than the larger operand's", np.frexp(e)[1] > top, 1.1)
    if has_anatomy(into):
        a = anatomy(e, into)
        finite = np.isfinite(e)
        yield Property("ties", finite & (a.part == 0.5), 0.9)
        yield Property("results that are no ties", finite & (a.part != 0.5))
        yield Property("exact results above a tie", finite & (a.part > 0.5))
        yield Property("exact results below a tie", finite & (a.part < 0.5) & (a.part > 0))
        yield Property("odd codes below the exact result", finite & a.odd, 1.1)
        yield Property("even codes below the exact result", finite & ~a.odd, 1.1)
        last = (a.code + 1) % max(a.first_normal, 1) == 0
        yield Property("carries of rounding into the exponent", last & (size > np.abs(e)) & finite)
        small = (np.abs(e) < into.smallest_normal) & (size == into.smallest_normal)
        yield Property("results that round up to the smallest normal", small, 1.1)


def _measures(o: Operation, v, expected) -> Iterator[Measure]:
    for x, name in zip(v, NAMES, strict=False):
        of = f"with {name} operands" if len(v) > 1 else "with operands"
        yield Measure(f"{of} of sizes", np.abs(x), 1.3)
    if o.kind == NUMBER:
        yield Measure("with results of sizes", np.abs(expected), 1.3)
    exponents = [np.where(np.isfinite(x) & (x != 0), np.frexp(x)[1].astype(float), np.nan) for x in v]
    if len(v) == 2:
        gap = exponents[0] - exponents[1]
        yield Measure("whose operands' exponents differ by", np.abs(gap), 1.2)
        yield Measure("with an exponent of the first operand less that of the second", gap, 1.4)
        fractions = [2 * np.abs(np.frexp(x)[0]) for x in v]
        normal = ~np.isnan(gap)
        if o.name == "mul":
            product = np.where(normal, fractions[0] * fractions[1], np.nan)
            yield Measure("with a product of significands", product, 1.2)
        if o.name == "div":
            quotient = np.where(normal, fractions[0] / fractions[1], np.nan)
            yield Measure("with a quotient of significands", quotient, 1.2)
    for x, exponent, name in zip(v, exponents, NAMES, strict=False):
        of = f"the {name} operand" if len(v) > 1 else "the operand"
        yield Measure(
            f"with a significand of {of}", np.where(np.isnan(exponent), np.nan, 2 * np.abs(np.frexp(x)[0])), 1.5
        )
    if rounds(o) and has_anatomy(o.into):
        e = o.exact(v)
        a = anatomy(e, o.into)
        yield Measure(
            "with exact results at parts of the step between two values", np.where(a.finite, a.part, np.nan), 1.3
        )
        if len(v) > 1:
            top = np.max([np.where(x == 0, -5000, np.frexp(x)[1]) for x in v], axis=0)
            down = np.where(np.isfinite(e) & (e != 0), top - np.frexp(e)[1], np.nan).astype(float)
            yield Measure("whose exact results lose leading bits, so many:", down, 1.4)
