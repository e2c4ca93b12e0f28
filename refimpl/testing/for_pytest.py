"""`pytest_tests`: the checks of `conform` as tests of a project of your own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from refimpl._arguments import wrong_value
from refimpl.formats import format as format_of
from refimpl.testing.checks.report import CheckResult, Report
from refimpl.testing.conformance import checks_of, concluded, conform, probe_of
from refimpl.testing.implementations.implementations import VERBS, Implementation
from refimpl.testing.operations import softmaxes
from refimpl.testing.operations.cases import groups
from refimpl.testing.operations.operation import Operation
from refimpl.testing.operations.specializations import Asked, is_one
from refimpl.testing.operations.sums import KINDS, names_of_checks

RULES = ("rounding", "overflow", "nan", "random_bits")  # those of operations


def pytest_tests(implementation, format=None, *, op: str | None = None, out_format=None, **options):
    """Return a test function for pytest: one test for each case group and law, named by it.

    Parameters
    ----------
    implementation : as for `conform`, or str
        A string is the name of a fixture that gives it, such as one that compiles a program first.
    format, op, out_format, options
        As for `conform`.

    Returns
    -------
    function
        Parametrized: ``test_mine = pytest_tests(mine, "float8_e4m3fn")`` gives ``test_mine[ties]``,
        ``test_mine[monotonicity]`` and so on, and ``pytest -k ties`` runs those of this name. In a class write
        ``staticmethod(pytest_tests(...))``. What fails is explained as `conform` does, without a traceback; after a
        call that hangs the others are skipped.

    Raises
    ------
    TypeError, ValueError
        As `conform`, when the tests are collected.

    Examples
    --------
    >>> import numpy as np
    >>> tests = pytest_tests(np.float16)
    >>> tests.pytestmark[0].args[1][:3]
    ['returns', 'kept', 'ties']
    """
    import pytest

    if isinstance(implementation, str) and format is None:
        raise wrong_value("pytest_tests", "format", None, "the name of one, where a fixture gives the implementation")
    if op is not None:
        names = _of_operation(implementation, format, op, out_format, options)
        judge = functools.lru_cache(1)(lambda thing: _together(thing, format, op, out_format, options))
    else:
        options = {"inputs": ("float32", "float64"), "time_limit": 10.0} | options
        every: dict = dict.fromkeys(VERBS, len)
        some = Implementation(**every) if isinstance(implementation, str) else implementation
        names = [check.name for check in checks_of(probe_of(some, format, **options))]
        judge = functools.lru_cache(1)(lambda thing: _one_by_one(thing, format, options))

    def judged(thing, name: str) -> None:
        result, report = judge(thing)(name)
        if result.skipped:
            pytest.skip(result.skipped)
        if result.failed:
            said = [f"{result.statement}: {result.failed} of {result.tried} cases fail"]
            said += [result.failure.explanation] if result.failure else []
            said += [f"diagnosis: {report.diagnosis}"] if report.diagnoses else []
            pytest.fail("\n".join(said), pytrace=False)

    def of_fixture(check, request):
        judged(request.getfixturevalue(implementation), check)

    def test(check):
        judged(implementation, check)

    return pytest.mark.parametrize("check", names)(of_fixture if isinstance(implementation, str) else test)


Judge = Callable[[str], tuple[CheckResult, Report]]


def _one_by_one(thing, format, options) -> Judge:
    """Return what runs the check of a name, when it is asked to, and concludes from it alone."""
    probe = probe_of(thing, format, **options)
    checks = {check.name: check for check in checks_of(probe)}
    hung: list[str] = []

    def judge(name: str):
        check = checks[name]
        if hung:
            check = check._replace(skipped=f"not tried: the implementation hangs, as {hung[0]} shows")
        result, tally = check.result(probe)
        hung.extend([name] * tally.hung)
        return result, concluded(probe, [result], [tally])

    return judge


def _together(thing, format, op, out_format, options) -> Judge:
    """Return what looks up the check of a name in the report of all."""
    report = conform(thing, format, op=op, out_format=out_format, **options)
    results = {result.name: result for result in report.results}

    def judge(name: str):
        last = report.results[-1]
        return results.get(name) or replace(last, failed=0, skipped=f"not tried, as {last.name} shows"), report

    return judge


def _of_operation(implementation, format, op, out_format, options) -> list[str]:
    if is_one(op):
        return [Asked(op).of.name]
    if op in KINDS:
        return names_of_checks(implementation, op, format, options)
    if op == "softmax":
        return [name for name, *_ in softmaxes.groups_of(format_of(format))]
    rules = {name: options[name] for name in RULES if name in options}
    return [group.name for group in groups(Operation(op, format, out_format, **rules))]
