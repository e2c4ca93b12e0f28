"""Settings of all tests: none of them asserts a time, and what they compute kernels compute, few elements too."""

import shlex

import pytest
from hypothesis import settings

from refimpl.__main__ import main
from refimpl.ops import definitions

settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")
definitions.elements_left = 0


@pytest.fixture
def run(capsys):
    """Return a function that runs a command: exit status, output, errors; strings are split as a shell does."""

    def command(*arguments):
        try:
            status = main([word for a in arguments for word in (shlex.split(a) if isinstance(a, str) else [str(a)])])
        except SystemExit as stop:
            status = stop.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


@pytest.fixture
def refused(run):
    """Return a function that demands a refusal in one line, status 2, nothing written; it returns the line."""

    def command(out, *arguments):
        status, printed, line = run(*arguments, "--out", out)
        assert status == 2 and printed == ""
        assert line.count("\n") == 1 and "Traceback" not in line
        assert not out.exists()
        return line

    return command
