"""Whatever an implementation does is a finding with the input that did it, never a traceback of ours."""

import json
import re
import sys
import time
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import refimpl as rf

T = rf.testing


def right(x):
    return rf.quantize(x, "float8_e4m3fn")


def raises_at_three_quarters(x):
    if (x == 0.75).any():
        raise RuntimeError("no such number")
    return right(x)


def leaves(x):
    raise SystemExit(3)


def hangs_at_one_quarter(x):
    while (x == 0.25).any():
        pass
    return right(x)


def unreadable(x):
    class Strange:
        def __array__(self, *_, **__):
            raise KeyError("strange")

    return Strange()


def in_place(x):
    x[...] = right(x)
    return x


BAD = {
    "raises": (raises_at_three_quarters, "raised RuntimeError: no such number.*= 0.75"),
    "leaves": (leaves, "raised SystemExit: 3"),
    "returns nothing": (lambda x: None, "returned shape"),
    "another shape": (lambda x: right(x)[:-1], "returned shape"),
    "a scalar": (lambda x: 1.0, "returned shape"),
    "complex numbers": (lambda x: right(x) + 0j, "returned complex"),
    "text": (lambda x: np.full(x.shape, "1.0"), "returned <U3"),
    "another dtype": (lambda x: right(x).astype(np.int64), "returned int64 for float32"),
    "what no array is": (unreadable, "Strange that is not an array"),
    "writes into its input": (in_place, "changed its input in place"),
    "codes out of range": ((lambda x: np.full(x.shape, 256), None), "returned 256, not a code of"),
    "codes that are floats": ((lambda x: np.ones(x.shape), None), "returned float64; codes are"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_compared_is_a_finding(kind):
    implementation, words = BAD[kind]
    report = T.conform(implementation, "float8_e4m3fn", inputs=["float32"])
    assert not report.passed
    text = " ".join(str(report).split())
    assert re.search(words, text), str(report)
    ElementTree.fromstring(report.to_junit())
    assert json.loads(report.to_json())["passed"] is False


def test_one_that_compiles_at_its_first_call_is_waited_for():
    waits = {"__name__": "numba.core.stand_in", "sleep": time.sleep}
    exec("def compiled_in(seconds): sleep(seconds)", waits)
    ready = []

    def implementation(x):
        if not ready:
            waits["compiled_in"](0.5)
            ready.append(True)
        return rf.quantize(x, "float8_e4m3fn")

    assert T.conform(implementation, "float8_e4m3fn", inputs=["float32"], time_limit=0.2).passed


def test_one_that_hangs_is_given_up_and_its_input_named():
    start = time.monotonic()
    report = T.conform(hangs_at_one_quarter, "float8_e4m3fn", inputs=["float32"], time_limit=0.3)
    assert time.monotonic() - start < 30
    assert "did not return within 0.3 s" in str(report) and "= 0.25" in str(report)
    assert any(result.skipped and "hangs" in result.skipped for result in report.results)


def test_nothing_conforms_without_anything_tried():
    report = T.conform(T.Implementation(pack=lambda c: c), "float8_e4m3fn")
    assert [result.statement for result in report.failures] == ["something can be tried"]


# -- programs on a pipe ----------------------------------------------------------------------------

PROGRAM = """
import struct, sys
for number, line in enumerate(sys.stdin):
    bits = line.strip()
    (x,) = struct.unpack(">f", bytes.fromhex(bits))
    {body}
"""


def program(body, **options):
    return T.Program((sys.executable, "-c", PROGRAM.format(body=body)), "encode", **options)


def test_a_program_that_is_right_conforms_with_and_without_echo():
    # E5M2 is the upper half of binary16; keep to inputs where cutting off is exact by odd rounding
    code = (
        "s = struct.pack('>f', x)[0] & 128\n"
        "    import math\n"
        "    a = abs(x)\n"
        "    v = 255 if not 0 < x < math.inf else 0\n"
        "    f, e = math.frexp(a) if v == 0 else (0, 0)\n"
        "    v = v or max(e - 1 + (f >= 0.75) + 127, 0)\n"
        "    v = v if a >= 2.0 ** -127 or v == 255 else 0\n"
        "    v = min(v, 255)\n"
    )
    for printed in ("print(f'{v:02x}')", "print(bits, f'{v:02x}')", "print(f'0x{v:X}')"):
        report = T.conform(program(code + "    " + printed), "float8_e8m0fnu", inputs=["float32"])
        assert report.passed, str(report)


BAD_PROGRAMS = {
    "rubbish": ("print('hello' if number == 7 else '00')", "line 8 is 'hello', not hexadecimal"),
    "too few lines": ("print('00') if number else None", "lines with"),
    "another input echoed": ("print('0', '00')", "line 1 has 2 fields or echoes another input|line 2"),
    "a code too large": ("print('100')", "returned 256, not a code"),
    "death": ("sys.exit('out of paper') if x == 1 else print('00')", "status 1: out of paper"),
    "death by signal": ("import os; os.kill(os.getpid(), 9)", "signal 9"),
    "three fields": ("print(1, 2, 3)", "line 1 has 3 fields"),
}


@pytest.mark.parametrize("kind", BAD_PROGRAMS)
def test_what_a_program_does_wrong_is_a_finding(kind):
    body, words = BAD_PROGRAMS[kind]
    tests = T.pytest_tests(program(body), "float8_e4m3fn", inputs=["float32"])
    (check,) = (check for check in tests.pytestmark[0].args[1] if check.name == "representable")
    with pytest.raises(pytest.fail.Exception, match=f"(?s){words}"):
        tests(check)


def test_a_program_that_hangs_is_killed():
    sleepy = program("import time; time.sleep(60)", time_limit=0.5)
    report = T.conform(sleepy, "float8_e4m3fn", inputs=["float32"])
    assert "did not answer" in str(report)
