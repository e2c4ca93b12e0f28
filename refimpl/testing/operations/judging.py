"""Put the cases of an operation to an implementation, and say what is wrong with it, or which rules it follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from refimpl._arguments import POSITIVE, choice, number
from refimpl.formats import OVERFLOWS, PositFormat
from refimpl.testing.checks import arrays
from refimpl.testing.checks.checks import complexity
from refimpl.testing.checks.report import MOST_CASES, CheckResult, Failure, Report
from refimpl.testing.diagnosis.arrangement import arrangement, depends, fill
from refimpl.testing.expected.behaviour import DETERMINISTIC
from refimpl.testing.expected.cases import INPUTS
from refimpl.testing.implementations.findings import Finding
from refimpl.testing.operations.asked import Asked, Got
from refimpl.testing.operations.cases import Group, groups, tuples
from refimpl.testing.operations.diagnosis import Observed, describe, diagnose, together
from refimpl.testing.operations.explain import explain_operation
from refimpl.testing.operations.operation import NUMBER, OF_INTEGERS, Operation, decoded

KEPT = 70_000  # observations kept for the diagnosis
ARRANGED = 4000  # cases of a group that are asked again, in other arrays
FEW = 2000  # failures of each piece beyond them
DRAWS = 4  # random integers each case of stochastic rounding is tried with


def conform_operation(
    implementation, operation: Operation, *, inputs: Sequence[str] = ("float32", "float64"), time_limit: float = 10.0
) -> Report:
    """Return the report of an implementation of an operation; `refimpl.testing.conform` describes it."""
    for dtype in inputs:
        choice("conform", "dtype of inputs", dtype, INPUTS)
    number("conform", "time_limit", time_limit, POSITIVE)
    asked = Asked(implementation, operation, inputs, time_limit)
    every = []
    for group in groups(operation):
        if (here := asked.seen(group.codes)).any():
            every.append(group._replace(codes=[c[here] for c in group.codes]))
    _hold_to_the_definition(operation, every)
    results, seen, hints = [], [], []
    cases: list[dict[str, str]] = []
    hung = False
    for group in every:
        if hung:
            results.append(CheckResult(group.name, "case group", group.statement, skipped="not tried: it hangs"))
            continue
        try:
            got = _got(asked, operation, group.codes)
        except Finding as found:
            hung = found.hangs
            hints.append(f"{operation.name} {found.text}")
            failure = Failure(operation.name, None, None, _of_finding(operation, found))
            results.append(CheckResult(group.name, "case group", group.statement, 1, 1, failure))
            continue
        result, observed = compared(operation, group.name, group.statement, *got)
        results.append(result)
        if result.failed:
            codes, expected, came, _ = got
            shown = np.where(came.valid, came.codes.astype(object), came.values.astype(object))
            bad = ~(operation.same(expected, came.codes) & came.valid)
            cases += failing(operation, group.name, codes, expected, shown, bad, MOST_CASES - len(cases))
        seen.append(observed)
    arranged = ""
    if asked.takes_arrays and not hung and not hints and not operation.random_bits:
        result, arranged, raised = _of_arrays(asked, operation, every, results)
        results.append(result)
        hints += [raised] if raised else []
    failed = [result.name for result in results if result.failed]
    diagnoses: tuple[str, ...] = (arranged,) if arranged else ()
    if failed and seen and not diagnoses and not operation.random_bits:
        diagnoses = diagnose(operation, together(seen))
    described = ""
    if failed and seen and not diagnoses and not operation.random_bits:
        described = describe(operation, together(seen))
    hint = "; ".join(filter(None, (described, *hints[:1])))
    if failed and not diagnoses and not hint:
        hint = f"no single known defect or pair of them explains: {', '.join(failed)}"
    return Report(asked.name, str(operation), tuple(results), diagnoses, hint, tuple(cases))


def _of_arrays(asked: Asked, operation: Operation, every: Sequence[Group], results) -> tuple[CheckResult, str, str]:
    """Ask for arrays of all lengths and layouts: the result, what else than operands decides, and what was raised."""
    columns = [np.concatenate(c) for c in zip(*(group.codes for group in every), strict=True)]
    order = np.argsort(sum(complexity(decoded(c, f)) for c, f in zip(columns, operation.formats, strict=True)))
    chosen = arrays.mixed(np.arange(order.size), order)
    some, hint, tried, failed = [c[chosen] for c in columns], "", 0, 0
    known: dict = {}

    def wrong(codes):
        got = asked(codes)
        return ~(operation.same(operation.results(codes), got.codes) & got.valid)

    name, statement = "arrays", "results depend on no length, position or layout of an array"
    try:
        arrays.keeps(asked.function, asked.given(some), asked.time_limit)
        right, shown = operation.results(some), None
        for words, where, got in asked.in_layouts(some):
            codes = [c[where] for c in some]
            bad = ~(operation.same(right[where], got.codes) & got.valid)
            tried, failed = tried + bad.size, failed + int(bad.sum())
            if not hint and (hint := arrays.unequal(words, codes, bad, known)):
                shown = codes
        result = CheckResult(name, "use", statement, tried, failed)
        failing = next((g for g, r in zip(every, results, strict=True) if r.failed), None)
        tried_on = [c[:ARRANGED] for c in failing.codes] if failing else some
        bad = wrong(tried_on)
        if shown and not bad.any():
            tried_on, bad = shown, wrong(shown)
        if not hint and not depends(wrong, tried_on, bad):
            return result, "", ""
        arranged = arrangement(wrong, tried_on, bad)
        if arranged is None:
            return result, hint, ""
        rest = [c[~bad][:1] if (~bad).any() else c[:1] for c in tried_on]
        parts = []
        for filled, at in fill(arranged, columns, rest):
            codes, got = [c[at] for c in filled], asked(filled)
            values = [decoded(c, fmt) for c, fmt in zip(codes, operation.formats, strict=True)]
            parts.append(Observed(values, operation.values_of(operation.results(codes)), got.values[at]))
        said = (diagnose(operation, together(parts)) or (describe(operation, together(parts)),)) if parts else ()
        return result, arranged.sentence + f": {'; or: '.join(said)}" * bool(said), ""
    except Finding as found:
        failure = Failure(operation.name, None, None, _of_finding(operation, found))
        return CheckResult(name, "use", statement, tried + 1, failed + 1, failure), "", f"{operation.name} {found.text}"


def _got(asked: Asked, operation: Operation, codes) -> tuple[list[np.ndarray], np.ndarray, Got, np.ndarray | None]:
    """Return codes of operands, the results expected and got, and the random integers."""
    if not operation.random_bits:
        return codes, operation.results(codes), asked(codes), None
    columns = [np.tile(c, DRAWS) for c in codes]
    most = 1 << operation.random_bits
    random = np.random.default_rng(0).integers(0, most, columns[0].size, dtype=np.uint32)
    random[: codes[0].size], random[-codes[0].size :] = 0, most - 1
    return columns, operation.results(columns, random), asked(columns, random), random


def compared(
    operation: Operation, name: str, statement: str, codes, expected: np.ndarray, got: Got, random=None
) -> tuple[CheckResult, Observed]:
    """Return what a group of cases came to, the smallest failure explained, and what was observed."""
    bad = ~(operation.same(expected, got.codes) & got.valid)
    values = [decoded(c, fmt) for c, fmt in zip(codes, operation.formats, strict=True)]
    observed = Observed(values, operation.values_of(expected), got.values)
    failure = None
    if bad.any():
        at = smallest(values, bad)
        row = tuple(int(c[at]) for c in codes)
        words = " ".join(f"{c:0{-(-fmt.bits // 4)}x}" for c, fmt in zip(row, operation.formats, strict=True))
        came = int(got.codes[at]) if got.valid[at] else None
        given = 0 if random is None else int(random[at])
        said = explain_operation(operation, row, came, float(got.values[at]), given)
        said += f"\nrandom {given}" if random is not None else ""
        failure = Failure(operation.name, operation.formats[0].name, words, said)
    return CheckResult(name, "case group", statement, expected.size, int(bad.sum()), failure), observed


class Judged:
    """Counts results that come as bare integers, keeps the smallest failure, and diagnoses."""

    def __init__(self, operation: Operation):
        self.operation, self.tried, self.failed = operation, 0, 0
        self.failure: Failure | None = None
        self.more: tuple[Failure, ...] = ()  # `cases` has the others
        self.size = np.inf
        self.seen: list[Observed] = []
        self.cases: list[dict[str, str]] = []

    def count(self, name: str, codes, got: np.ndarray, lenient=None, random=None) -> np.ndarray:
        """Count results (uint64) of codes; return which are wrong. `lenient`: where any result will do."""
        operation = self.operation
        expected = operation.results(codes, random)
        most = np.uint64((1 << operation.result_bits) - 1)
        valid = got <= most
        came = Got(got & most, operation.values_of(got & most), valid)
        if lenient is not None:
            came = Got(np.where(lenient, expected, came.codes), came.values, came.valid)
        result, observed = compared(operation, name, "", codes, expected, came, random)
        bad = ~(operation.same(expected, came.codes) & valid)
        self.tried += result.tried
        self.failed += result.failed
        if result.failed:
            size = complexity_of(observed.values, smallest(observed.values, bad))
            if size < self.size:
                self.size, self.failure = size, result.failure
            self.cases += failing(operation, name, codes, expected, got, bad, MOST_CASES - len(self.cases))
        if sum(s.got.size for s in self.seen) < KEPT:
            self.seen.append(observed)
        elif result.failed:
            self.seen.append(observed.at(np.flatnonzero(bad)[:FEW]))
        return bad

    def diagnoses(self) -> tuple[tuple[str, ...], str]:
        """Return the defects that explain what was seen, else a description of the failures."""
        if not self.seen or self.operation.random_bits:
            return (), ""
        seen = together(self.seen)
        found = diagnose(self.operation, seen)
        return found, "" if found or not self.failed else describe(self.operation, seen)


def failing(operation: Operation, name: str, codes, expected, got, bad, most: int) -> list[dict[str, str]]:
    """Return failing cases as plain data, at most some."""
    at = np.flatnonzero(bad)[:most]
    widths = [-(-fmt.bits // 4) for fmt in operation.formats]
    wide = -(-operation.result_bits // 4)
    rows = zip(*(c[at].tolist() for c in codes), strict=True)
    return [
        {
            "check": name,
            "input": " ".join(f"{code:0{w}x}" for code, w in zip(row, widths, strict=True)),
            "right": f"{right:0{wide}x}",
            "got": f"{came:0{wide}x}" if isinstance(came, int) else str(came),
        }
        for row, right, came in zip(rows, expected[at].tolist(), got[at].tolist(), strict=True)
    ]


def complexity_of(values, at: int) -> float:
    """Return how hard a case is to read."""
    return float(sum(complexity(v[at : at + 1])[0] for v in values))


def smallest(values, bad: np.ndarray) -> int:
    """Return the index of the failing case that is easiest to read."""
    wrong = np.flatnonzero(bad)
    return int(wrong[np.argmin(sum(complexity(v[wrong]) for v in values))])


def _of_finding(operation: Operation, found: Finding) -> str:
    text = f"{operation.name} {found.text}"
    if found.input is not None:
        text += f"\nfor the first operand {found.input[0]}"
    return text


def _hold_to_the_definition(operation: Operation, every: Sequence[Group]) -> None:
    """Compare the bulk of the expected side with the definition on a few cases of each group."""
    for group in every if operation.kind == NUMBER else ():
        step = max(1, group.codes[0].size // 4)
        codes = [c[::step] for c in group.codes]
        random = np.zeros(codes[0].size, np.uint32) if operation.random_bits else None
        for row, code in zip(
            zip(*(c.tolist() for c in codes), strict=True), operation.results(codes, random), strict=True
        ):
            right = np.array([operation.by_definition(row)[1]], np.uint64)
            if not operation.same(right, np.array([code])).all():
                raise RuntimeError(
                    f"refimpl's kernels and its definition disagree about {row} in {operation}; please report this"
                )


# -- identification ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IdentifiedOperation:
    """What `identify` found of an operation; printed, it says so in words.

    `operation` with rounding and overflow, None where no rules explain every answer; `alternatives`, others that do;
    `diagnoses`, if there are none, the known defects that do, in an implementation of ties to even; `description`, if
    none do, says where such an implementation would give other results.

    Examples
    --------
    >>> import refimpl as rf
    >>> found = rf.testing.identify(lambda a, b: rf.add(a, b, "e5m2", rounding="to_odd"), op="add", format="e5m2")
    >>> found.operation.rounding, [other.overflow for other in found.alternatives]  # the largest is odd: none overflows
    ('to_odd', ['saturate', 'propagate'])
    """

    operation: Operation | None
    alternatives: tuple[Operation, ...] = ()
    diagnoses: tuple[str, ...] = ()
    description: str = ""

    def __str__(self) -> str:
        if self.operation is None:
            return (
                "; or: ".join(self.diagnoses)
                or f"no rounding and no known defect explains it; if ties to even is meant, {self.description}"
            )
        return "\n  or ".join(map(str, (self.operation, *self.alternatives)))


def identify_operation(implementation, operation: Operation, time_limit: float = 10.0) -> IdentifiedOperation:
    """Return which rules an implementation of an operation follows; raise Finding if it cannot be asked."""
    codes = tuples(operation)
    got = Asked(implementation, operation, time_limit=time_limit)(codes)
    found = []
    modes = DETERMINISTIC if operation.is_rounded or operation.integer else ("ties_to_even",)
    rules = OF_INTEGERS[1:] if operation.integer else OVERFLOWS if operation.is_rounded else ("overflow",)
    if isinstance(operation.into, PositFormat):
        modes, rules = ("ties_to_even",), ("overflow",)
    for rounding, overflow in product(modes, rules):
        candidate = replace(operation, rounding=rounding, overflow=overflow)
        if got.valid.all() and candidate.same(candidate.results(codes), got.codes).all():
            found.append(candidate)
    if found:
        return IdentifiedOperation(found[0], tuple(found[1:]))
    values = [decoded(c, fmt) for c, fmt in zip(codes, operation.formats, strict=True)]
    with np.errstate(all="ignore"):
        seen = Observed(values, operation.values_of(operation.results(codes)), got.values)
        found_defects = diagnose(operation, seen)
        return IdentifiedOperation(None, (), found_defects, "" if found_defects else describe(operation, seen))
