"""The testing kit: hold any implementation of a format to its definition.

==================  ================================================================================
`conform`           every case group and law; a `Report` with the smallest failures explained in bits;
                    with ``op="add"``, ``"exp"``, ``"matmul"``, ... of an operation
`pytest_tests`      the same as tests of a downstream project, in one line
`case_groups`       the inputs that have broken implementations, by name
`laws`              properties of every correct implementation; `false_laws` those of none
`Behaviour`         a format with its rules, as expected; `explain` one case of it
`identify`          which format and rounding an unknown quantizer has; with ``op=``, an operation
`identify_sum`      in which order, how wide and how rounded an unknown function adds
`strategies`        Hypothesis strategies (needs hypothesis, loaded when asked for)
`Vectors`           test vectors as text; `verify` the results that come back
`Implementation`    the functions of an implementation; `Program` one on a pipe
`scaled_blocks`     what is expected of MX and NVFP4 quantizers; `scaled_integers`, of integers
                    with a scale and a zero point
==================  ================================================================================

The expected side is `refimpl.spec`, one value at a time, and the kernels held to it, in bulk.
"""

import importlib
from typing import TYPE_CHECKING

from refimpl.testing.checks.report import CheckResult, Failure, Report
from refimpl.testing.conformance import conform
from refimpl.testing.expected.behaviour import Behaviour
from refimpl.testing.expected.cases import CaseGroup, case_groups
from refimpl.testing.expected.explain import explain
from refimpl.testing.expected.laws import FalseLaw, Law, false_laws, laws
from refimpl.testing.for_pytest import pytest_tests
from refimpl.testing.identification import Identification, identify
from refimpl.testing.implementations.findings import Finding
from refimpl.testing.implementations.implementations import Implementation
from refimpl.testing.implementations.programs import Program
from refimpl.testing.summation import SumReport, identify_sum
from refimpl.testing.vectors.vectors import Vectors
from refimpl.testing.vectors.verification import verify

if TYPE_CHECKING:
    from refimpl.testing import strategies

__all__ = [
    "Behaviour",
    "CaseGroup",
    "CheckResult",
    "Failure",
    "FalseLaw",
    "Finding",
    "Identification",
    "Implementation",
    "Law",
    "Program",
    "Report",
    "SumReport",
    "Vectors",
    "case_groups",
    "conform",
    "explain",
    "false_laws",
    "identify",
    "identify_sum",
    "laws",
    "pytest_tests",
    "strategies",
    "verify",
]


def __getattr__(name: str):
    """Load the strategies, and with them hypothesis, when they are first asked for."""
    if name == "strategies":
        return importlib.import_module("refimpl.testing.strategies")
    raise AttributeError(f"module 'refimpl.testing' has no attribute {name!r}")


def __dir__():
    return __all__
