"""Hold sums, dot products and products of matrices to a matrix unit or an order of summation.

`sum_cases` has the cases, `sum_ways` what is known to be wrong, `sum_diagnosis` what explains what was seen.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from refimpl import _arguments
from refimpl.testing.checks.arrays import keeps
from refimpl.testing.checks.report import CheckResult, Failure, Report
from refimpl.testing.implementations.findings import Finding, call
from refimpl.testing.implementations.programs import Program
from refimpl.testing.operations.sum_cases import groups_of
from refimpl.testing.operations.sum_diagnosis import Seen, diagnose
from refimpl.testing.operations.sum_explained import explain_sum
from refimpl.testing.operations.summed import Sums, dtype_of, same_sums

KINDS = ("sum", "dot", "matmul")
CALLS = 50  # sums and dot products that are given the time of one call


def conform_sum(implementation: Callable, kind: str, fmt, *, time_limit: float = 10.0, **how) -> Report:
    """Return the report of a function that sums; `refimpl.testing.conform` describes it."""
    _arguments.function("conform", "implementation", implementation, "a function of arrays, or a Program")
    if isinstance(implementation, Program) and implementation.operation != kind:
        raise _arguments.wrong_value("conform", "op", kind, f"{implementation.operation!r}, what the program does")
    expected = Sums.of(kind, fmt, how)
    if expected.scaled and isinstance(implementation, Program):
        raise _arguments.wrong_kind("conform", "implementation", implementation, "a function of operands and scales")
    k, few = (expected.terms, expected.terms // expected.unit.block) if expected.unit and expected.scaled else (2, 0)
    try:
        asked = expected.by((np.ones((1, few)), np.ones((few, 1))) if few else None)
        asked.results(np.zeros((1, k)), np.zeros((k, 1)))  # what cannot be asked is refused here
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("matmul:", f"{kind}:", 1)) from None
    third = _first_accumulator(implementation, expected)
    results: list[CheckResult] = []
    seen, hints = [], []
    for name, statement, a, b, c, scales in groups_of(expected, bool(third)):
        before = results.pop() if results and results[-1].name == name else CheckResult(name, "case group", statement)
        if third == "required" and c is None:
            c = np.zeros((len(a), b.shape[1]))
        right = expected.by(scales).results(a, b, c)
        try:
            got = _asked(implementation, kind, expected.fmt, a, b, c, scales or (), time_limit)
        except Finding as finding:
            hints.append(f"{kind} {finding.text}")
            failure = Failure(kind, None, None, f"{kind} {finding.text}")
            results.append(_and(before, 1, 1, failure))
            if finding.hangs:
                break
            continue
        seen.append(Seen(name, a, b, c, got, right, scales))
        bad = ~same_sums(expected, right, got)
        said = None
        if bad.any():
            i, j = _smallest(a, b, c, bad)
            first = 0.0 if c is None else float(c[i, j])
            one = expected.by(scales and (scales[0][i], scales[1][:, j]))
            text = explain_sum(one, a[i], b[:, j], first, right[i, j], got[i, j])
            said = Failure(kind, expected.fmt.name, None, text)
        results.append(_and(before, right.size, int(bad.sum()), said))
    failed = [result.name for result in results if result.failed]
    diagnoses, hint = diagnose(expected, implementation, seen) if failed and not hints else ((), "")
    if kind == "matmul" and seen and not isinstance(implementation, Program):
        result = _kept(implementation, seen, third == "required", time_limit)
        hint = "; ".join(filter(None, (hint, result.failure.explanation if result.failure else "")))
        results.append(result)
    diagnoses = diagnoses or tuple(dict.fromkeys(hints))[:1]
    own = type(implementation).__name__
    name = str(implementation) if isinstance(implementation, Program) else getattr(implementation, "__name__", own)
    return Report(name, str(expected), tuple(results), diagnoses, hint)


def names_of_checks(implementation, kind: str, fmt, how: dict) -> list[str]:
    """Return the names of the results of `conform_sum`; a str, the name of a fixture, takes no first accumulator."""
    expected = Sums.of(kind, fmt, {name: how.get(name) for name in ("unit", "chunk")})
    third = callable(implementation) and _first_accumulator(implementation, expected)
    names = dict.fromkeys(name for name, *_ in groups_of(expected, bool(third)))
    return [*names, *["kept"] * (kind == "matmul" and not isinstance(implementation, Program))]


def _and(before: CheckResult, tried: int, failed: int, failure: Failure | None) -> CheckResult:
    """Return the result of a group of cases with more of them."""
    return replace(before, tried=before.tried + tried, failed=before.failed + failed, failure=before.failure or failure)


def _kept(function: Callable, seen: list[Seen], with_initial: bool, time_limit: float) -> CheckResult:
    """Return whether a product stays as it is when the next one is asked for."""
    name, statement = "kept", "a product stays as it is when the next one is asked for"
    s = next((s for s in seen if s.name == "square"), seen[0])
    columns = [x.astype(np.float32) for x in (s.a, s.b, *(s.scales or ()), *([s.c] if with_initial else []))]
    try:
        keeps(function, columns, time_limit)
    except Finding as found:
        return CheckResult(name, "use", statement, 1, 1, Failure("matmul", None, None, f"matmul {found.text}"))
    return CheckResult(name, "use", statement, 1)


def _first_accumulator(function: Callable, expected: Sums) -> str:
    """Return whether a function takes the first accumulator: it stands after operands and scales."""
    return _argument(function, 4 if expected.scaled else 2) if expected.unit and expected.kind != "sum" else ""


def _argument(function: Callable, place: int) -> str:
    """Return whether an argument at a place from 0, the first accumulator, is ``required``, ``optional`` or none.

    One that may be left out is None or 0 then, and is not named ``out``.

    >>> _argument(lambda a, b, c: a, 2), _argument(lambda a, b, c=None: a, 2), _argument(lambda a, b: a, 2)
    ('required', 'optional', '')
    """
    try:
        every = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ""
    by_position = [p for p in every if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)]
    if len(by_position) <= place:
        return ""
    third = by_position[place]
    if third.default is third.empty:
        return "required"
    none = third.default is None or isinstance(third.default, int | float) and third.default == 0
    return "optional" if none and third.name != "out" else ""


def _asked(function, kind: str, fmt, a, b, c, scales, time_limit: float) -> np.ndarray:
    """Return what the function gives for every row of a and column of b, and their scales, float64 (m, n)."""
    dtype = dtype_of(a, b)
    x, y = a.astype(dtype), b.astype(dtype)
    factors = [side.astype(np.float32) for side in scales]
    shape = len(x), y.shape[1]
    if isinstance(function, Program):
        pairs = [(x[i], y[:, j]) for i, j in np.ndindex(shape)]
        cases: list = [(x, y)] if kind == "matmul" else [pair[: 1 + (kind == "dot")] for pair in pairs]
        return np.concatenate(function.limited(time_limit).sums(cases, fmt)).reshape(shape)

    def everything(_):
        if kind == "matmul":
            more = [*factors, *([] if c is None else [c.astype(dtype)])]
            return np.asarray(function(x, y, *more), np.float64)
        found = np.empty(shape)
        for i, j in np.ndindex(shape):
            if kind == "sum":
                found[i, j] = function(x[i])
            else:
                more = [factors[0][i], factors[1][:, j]] if factors else []
                found[i, j] = function(x[i], y[:, j], *more, *([] if c is None else [dtype(c[i, j])]))
        return found

    longer = 1 if kind == "matmul" else len(x) * y.shape[1] / CALLS  # a call of which is one
    return call(everything, np.zeros(shape), time_limit=time_limit * max(1, longer))


def _smallest(a, b, c, bad) -> tuple[int, int]:
    """Return the failing row and column of the fewest terms, and of these the one nearest to few bits."""
    rows, columns = np.nonzero(bad)
    products = (a[rows] != 0) & (b[:, columns].T != 0)
    size = products.sum(axis=1) + (0 if c is None else (c[rows, columns] != 0))
    finite = np.isfinite(a[rows]).all(axis=1) & np.isfinite(b[:, columns]).all(axis=0)
    at = int(np.lexsort((np.abs(a[rows]).sum(axis=1), size, ~finite))[0])
    return int(rows[at]), int(columns[at])
