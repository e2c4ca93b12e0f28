"""`pytest_tests`: the checks of `conform` as tests of a project of your own."""

from __future__ import annotations

from refimpl.testing.checks.checks import Check
from refimpl.testing.conformance import checks_of, probe_of


def pytest_tests(implementation, format=None, **options):
    """Return a test function for pytest: one test per case group and law, with readable ids.

    Parameters are those of `conform`.  In a test module of yours:

        test_my_quantizer = rf.testing.pytest_tests(my_quantizer, "float8_e4m3fn")

    gives ``test_my_quantizer[ties]``, ``test_my_quantizer[monotonicity]`` and so on.

    >>> import numpy as np
    >>> tests = pytest_tests(np.float16)
    >>> tests.pytestmark[0].name
    'parametrize'
    """
    import pytest

    options = {"inputs": ("float32", "float64"), "time_limit": 10.0} | options
    probe = probe_of(implementation, format, **options)

    @pytest.mark.parametrize("check", checks_of(probe), ids=lambda check: check.name)
    def test(check: Check):
        if check.skipped:
            pytest.skip(check.skipped)
        result, _ = check.result(probe)
        if result.failed:
            text = result.failure.explanation if result.failure else ""
            pytest.fail(f"{result.statement}: {result.failed} of {result.tried} cases fail\n{text}", pytrace=False)

    return test
