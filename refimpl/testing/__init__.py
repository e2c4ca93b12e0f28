"""The testing kit: hold any implementation of a format to its definition.

==================  ================================================================================
`conform`           every case group and law; a `Report` with the smallest failures explained in bits
`pytest_tests`      the same as tests of a downstream project, in one line
`case_groups`       the inputs that have broken implementations, by name
`laws`              properties of every correct implementation; `false_laws` those of none
`Behaviour`         a format with its rules, as expected; `explain` one case of it
`Implementation`    the functions of an implementation; `Program` one on a pipe
==================  ================================================================================

The expected side is `refimpl.spec`, one value at a time, and the kernels held to it, in bulk.
"""

from refimpl.testing.behaviour import Behaviour
from refimpl.testing.cases import CaseGroup, case_groups
from refimpl.testing.conformance import conform, pytest_tests
from refimpl.testing.explain import explain
from refimpl.testing.implementations import Implementation
from refimpl.testing.laws import FalseLaw, Law, false_laws, laws
from refimpl.testing.programs import Program
from refimpl.testing.report import CheckResult, Failure, Report

__all__ = ["Behaviour", "CaseGroup", "CheckResult", "Failure", "FalseLaw", "Implementation", "Law",
           "Program", "Report", "case_groups", "conform", "explain", "false_laws", "laws",
           "pytest_tests"]  # fmt: skip
