"""Whatever an implementation does is a finding with the input that did it, never a traceback of ours."""

import json
import os
import re
import signal
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import refimpl as rf
from refimpl.testing.implementations.findings import call

T = rf.testing


def right(x):
    return rf.quantize(x, "float8_e4m3fn")


def raises_at_three_quarters(x):
    if (x == 0.75).any():
        raise RuntimeError("no such number")
    return right(x)


def leaves(x):
    raise SystemExit(3)


def interrupts(x):
    raise KeyboardInterrupt


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


def out_of_memory(x):
    return np.ones(1 << 50)


def without_end(x):
    return without_end(x)


def changes_what_is_drawn(x, random):
    random += 1
    return x


class Endless:
    """What never becomes an array."""

    def __array__(self, *_, **__):
        while True:
            pass


BAD = {
    "raises": (raises_at_three_quarters, "raised RuntimeError: no such number.*= 0.75"),
    "leaves": (leaves, "raised SystemExit: 3"),
    "raises what Ctrl-C does": (interrupts, "raised KeyboardInterrupt"),
    "recurs for ever": (without_end, "raised RecursionError"),
    "asks for a petabyte": (out_of_memory, "raised .*MemoryError: Unable to allocate"),
    "returns nothing": (lambda x: None, "returned None"),
    "returns a generator": (lambda x: (float(v) for v in x), "returned a generator, not an array"),
    "returns a set": (lambda x: {1.0}, "returned a set, not an array"),
    "a broadcast of a petabyte": (lambda x: np.broadcast_to(x[:1], (1 << 50, x.size)), "returned shape"),
    "a ragged list": (lambda x: [[1.0], [1.0, 2.0]], "returned a list that is not an array"),
    "an object for each": (lambda x: np.full(x.shape, object()), "returned object"),
    "dates": (lambda x: np.zeros(x.shape, "M8[s]"), "returned datetime64"),
    "truths": (lambda x: x > 0, "returned bool"),
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


def test_a_result_without_an_end_is_given_up_too():
    with pytest.raises(T.Finding, match="did not return within 0.2 s, given 3 inputs"):
        call(lambda x: Endless(), np.ones(3, np.float32), time_limit=0.2)


def test_one_that_is_slow_blames_no_input():
    with pytest.raises(T.Finding, match="given 256 inputs; no single input takes so long") as found:
        call(lambda x: (time.sleep(x.size / 200), x)[1], np.ones(256, np.float32), time_limit=0.6)
    assert found.value.input is None


def test_what_only_many_inputs_do_blames_none_of_them():
    def few(x):
        return right(x) if x.size < 50 else right(x)[:50]

    with pytest.raises(T.Finding, match=r"given 62 inputs at once; no single input") as found:
        call(few, np.linspace(1, 2, 1000, dtype=np.float32), time_limit=5)
    assert found.value.input is None


def test_random_integers_belong_to_the_caller():
    x, random = np.ones(2, np.float32), np.zeros(2, np.uint32)
    with pytest.raises(T.Finding, match="changed its input in place"):
        call(changes_what_is_drawn, x, random, time_limit=5)
    assert not random.any()


@pytest.fixture
def interruptible():
    """Let SIGINT interrupt, also where this process was started with it ignored, as jobs in the background are."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_judge_and_what_it_waits_for():
    began, ended = threading.Event(), threading.Event()

    def hangs(x):
        try:
            began.set()
            while True:
                pass
        finally:
            ended.set()

    def interrupt():
        began.wait()
        time.sleep(0.3)  # until the judge waits for the answer
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        T.conform(hangs, "float8_e4m3fn", time_limit=60)
    assert ended.wait(10)


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
    "too few lines": ("print('00') if number else None", "answered 1 line with 0"),
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
    with pytest.raises(pytest.fail.Exception, match=f"(?s){words}"):
        tests("representable")


def test_a_program_that_hangs_is_killed():
    sleepy = program("import time; time.sleep(60)", time_limit=0.5)
    report = T.conform(sleepy, "float8_e4m3fn", inputs=["float32"])
    assert "did not answer" in str(report)
