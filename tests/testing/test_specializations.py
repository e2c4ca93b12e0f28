"""Specializations of IEEE P3109 are judged, written and verified, every operation of the standard among them."""

import subprocess
import sys

import numpy as np
import pytest

import refimpl as rf
from refimpl.ops.p3109 import BLOCK_OPERATIONS, SCALED_OPERATIONS
from refimpl.spec import p3109 as spec
from refimpl.testing import conform
from refimpl.testing.operations.specializations import Asked, verify_lines

F, U, S = "Binary4p2sf", "Binary8p1uf", "Binary6p3se"
RHO = "(NearestTiesToEven, SatNone)"
PAIR = f"({U}, {F})"
TEXTS = {name: f"{name}<{', '.join([S] * count)}, {S}, {RHO}>" for name, count in spec.OPERANDS.items()}
TEXTS |= {name: f"{name}<2, {', '.join([PAIR] * n)}, {U}, {F}, {RHO}>" for name, n in BLOCK_OPERATIONS.items()}
TEXTS |= {name: f"{name}<{', '.join([PAIR] * n)}, {S}, {RHO}>" for name, n in SCALED_OPERATIONS.items()}
TEXTS |= {name: f"{name}<{S}, {F}>" for name in (*spec.COMPARISONS, "TotalOrder")}
TEXTS |= {name: f"{name}<{S}>" for name in (*spec.PREDICATES, "Class", "NextGreaterThan", "NextLessThan")}
TEXTS |= {
    name: f"{name}<2, {U}, {F}, {S}, {RHO}>" for name in ("ConvertFromBlock", "BlockReduceAdd", "BlockReduceMultiply")
}
TEXTS["ConvertToBlock"] = f"ConvertToBlock<2, {S}, {U}, {F}, {RHO}>"
TEXTS["ConvertToBlockMaxAbsFinite"] = f"ConvertToBlockMaxAbsFinite<2, {S}, {U}, {F}, {RHO}, {RHO}>"
TEXTS["BlockDotProduct"] = f"BlockDotProduct<2, {U}, {F}, {U}, {F}, {S}, {RHO}>"


def test_every_operation_of_the_standard_that_has_operands_is_among_them():
    assert set(TEXTS) == set(rf.p3109.NAMES) - {*spec.QUERIES, "RoundOf", "SatOf"}


@pytest.mark.parametrize("name", TEXTS)
def test_lines_are_written_and_verified_and_one_that_is_wrong_is_found(name):
    lines = b"".join(Asked(TEXTS[name]).lines("1")).splitlines(keepends=True)
    assert len(lines) >= 30 and verify_lines(TEXTS[name], lines[::-1]).passed
    *given, result = lines[7].split()
    wrong = b" ".join([*given, b"%x" % (int(result, 16) ^ 1)]) + b"\n"
    report = verify_lines(TEXTS[name], [*lines[:7], wrong, *lines[8:]])
    assert len(report.cases) == 1 and report.cases[0]["got"].split()[-1] == f"{int(result, 16) ^ 1:x}"
    assert "right  0x" in str(report)


def test_words_are_those_of_the_report_s_example():
    text = f"BlockAdd<4, {PAIR}, {PAIR}, {U}, {F}, {RHO}>"  # facts 60: s1=2 [3,1,nan,-3], s2=1 [2,1,1,-3], sr=4
    scales = [int(rf.encode(x, U)) for x in (2.0, 1.0, 4.0)]
    words = [scales[0], 7, 4, 8, 15, scales[1], 6, 4, 4, 15, scales[2], scales[2], 6, 3, 8, 14]
    line = " ".join(f"{word:x}" for word in words).encode() + b"\n"
    assert verify_lines(text, [line]).passed and not verify_lines(text, [line.replace(b" e\n", b" d\n")]).passed


@pytest.mark.parametrize("name", ["Exp", "BlockAdd", "ConvertToBlockMaxAbsFinite", "Class", "CompareLess", "ScaledFMA"])
def test_right_ones_conform_and_wrong_ones_are_shown(name):
    right = rf.p3109.operation(TEXTS[name])
    assert conform(right, op=TEXTS[name]).passed

    def wrong(*codes):
        found = right(*codes)
        if name == "Class":
            return np.where(found == "ClsZero", "ClsPositiveSubnormal", found)
        return (found[0], found[1] * 0) if isinstance(found, tuple) else found * 0

    report = conform(wrong, op=right)
    assert not report.passed and report.cases and "right  0x" in str(report)


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda: conform(abs, "e4m3fn", op=TEXTS["Abs"]),
            "conform: format is e4m3fn; allowed is None: a specialization",
        ),
        (lambda: conform(3, op=TEXTS["Abs"]), "conform: implementation is 3 .int.; allowed is a function of codes"),
        (lambda: Asked(f"BitwidthOf<{S}>"), "allowed is an operation that has operands"),
        (lambda: Asked(f"Abs<{S}, {S}, (StochasticA(3), SatNone)>"), "allowed is a deterministic rounding mode"),
        (lambda: Asked("Ab<Binary8p3se>"), "unknown operation 'Ab'; did you mean 'Abs'"),
    ],
)
def test_misuse_is_refused_in_a_line(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


NO_CODES = [
    (lambda x: x.astype(float), "results are codes"),
    (lambda x: 1 / 0, "ZeroDiv"),
    (lambda x: (x, x), "2 words a case; 1 are needed"),
    (lambda x: x[:3], "shape"),
]


@pytest.mark.parametrize("function, said", NO_CODES)
def test_what_gives_no_codes_fails(function, said):
    report = conform(function, op=TEXTS["Abs"])
    assert not report.passed and said in str(report)


@pytest.mark.parametrize(
    "text, said", [(b"", "no lines"), (b"x\n", "line 1"), (b"1\n", "2 are needed"), (b"40 1\n", "no code")]
)
def test_lines_that_are_none_are_failures(text, said):
    assert said in str(verify_lines(TEXTS["Abs"], [text] if text else []))


def test_the_command_line_writes_and_verifies_them():
    def run(*words, data=b""):
        return subprocess.run([sys.executable, "-m", "refimpl", *words], input=data, capture_output=True, check=False)

    written = run("vectors", TEXTS["BlockMultiply"], "--level", "1")
    assert written.returncode == 0 and run("verify", TEXTS["BlockMultiply"], data=written.stdout).returncode == 0
    assert run("verify", TEXTS["BlockSubtract"], data=run("vectors", TEXTS["BlockAdd"]).stdout).returncode == 1
    refused = run("vectors", TEXTS["Abs"], "--rounding", "to_odd")
    assert refused.returncode == 2 and b"a specialization names its own" in refused.stderr
