"""Every operation has its vectors, is verified, and is judged; results are the definition's."""

import json
import os
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

import refimpl as rf
from refimpl.ops.operations import FLAGS, TABLE
from refimpl.spec import operations as spec
from refimpl.spec import p3109
from refimpl.spec.float_codes import Value
from refimpl.testing import Behaviour, Implementation, Vectors, conform, verify
from refimpl.testing.operations import judging
from refimpl.testing.operations.operation import OPERANDS, RELATIONS, Operation
from refimpl.testing.vectors import testfloat
from refimpl.testing.vectors.vectors import OPERATIONS

STANDARD = """
abs negate add sub mul div fma faa recip rsqrt sqrt hypot exp exp2 exp10 expm1 log log2 log10 log1p pow sin cos tan
sinh cosh tanh asin acos atan asinh acosh atanh sinpi cospi tanpi asinpi acospi atanpi atan2 atan2pi softplus sigmoid
gelu gelu_tanh silu minimum maximum minimum_number maximum_number minimum_magnitude maximum_magnitude
minimum_magnitude_number maximum_magnitude_number minimum_finite maximum_finite clamp copysign eq ne lt le gt ge
unordered total_order is_zero is_one is_nan is_infinite is_finite is_sign_minus is_normal is_subnormal is_signaling
classify next_up next_down convert round_to_integral remainder scaleb logb
""".split()
INTEGERS = ("to_int8", "to_uint32", "to_int64", "from_int8", "from_uint32", "from_int64")
EVERY = (*OPERATIONS, *INTEGERS)


def lines_of(vectors):
    return b"".join(vectors.text()).splitlines(keepends=True)


def test_every_operation_of_refimpl_is_among_them():
    assert set(TABLE) | {"add", "eq", "lt", "unordered"} <= set(OPERANDS) and set(OPERANDS) < set(EVERY)
    others = {"compare", "to_integer"}  # by names of their own
    public = {name for name, f in vars(rf.codes).items() if getattr(f, "__module__", "") == "refimpl.ops.codes"}
    assert {name for name in public if hasattr(rf, name)} <= set(OPERANDS) | others


def test_every_operation_that_the_standards_name_is_among_them():
    assert set(STANDARD) <= set(OPERANDS)
    assert set(p3109.NAMES.values()) <= set(OPERANDS)  # those of P3109 on values; others have their names:
    others = {
        "Class": "classify",
        "TotalOrder": "total_order",
        "NextGreaterThan": "next_up",
        "NextLessThan": "next_down",
    }
    assert {re.sub("(?<=.)(?=[A-Z])", "_", name).replace("_Na_N", "_nan").lower() for name in p3109.PREDICATES} | {
        word for word, relation in RELATIONS.items() if relation in set(p3109.COMPARISONS.values())
    } | set(others.values()) <= set(OPERANDS)
    blocks = {name for name in rf.p3109.NAMES if "Block" in name or name.startswith("Scaled")}
    named = {*p3109.NAMES, *p3109.PREDICATES, *p3109.COMPARISONS, *others, *blocks, *p3109.QUERIES}
    assert set(rf.p3109.NAMES) == named | {"RoundOf", "SatOf"}


@pytest.mark.parametrize("name", EVERY)
def test_vectors_are_written_and_verified_in_every_shape(name, monkeypatch):
    vectors = Vectors(name, Behaviour("float8_e4m3fn"), "1")
    lines = lines_of(vectors)
    assert len(lines) >= 60 and verify(vectors, lines).passed and verify(vectors, lines[::-1]).passed
    assert verify(vectors, [line.split(b" ")[-1] for line in lines]).passed
    assert len(b"".join(vectors.readmemh()).splitlines()) == len(lines) + 2
    records = [json.loads(line) for line in b"".join(vectors.json_lines()).splitlines()]
    assert len(records) == len(lines) and lines[5].decode().strip() == f"{records[5]['input']} {records[5]['result']}"
    if vectors.is_arithmetic:
        monkeypatch.setattr(judging, "diagnose", lambda *_: ())  # which has tests of its own, and takes its time
        at = len(lines) // 2
        *given, result = lines[at].split()
        wrong = b"%0*x" % (len(result), int(result, 16) ^ 1)  # NaN has but one code
        report = verify(vectors, [*lines[:at], b" ".join([*given, wrong]) + b"\n", *lines[at + 1 :]])
        assert [case["got"] for case in report.cases] == [wrong.decode()] and "right  " in str(report)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in OPERATIONS[:3]])
def test_lines_with_flags_are_written_and_verified(name):
    vectors = Vectors(name, Behaviour("float16"), "1")
    lines = b"".join(testfloat.lines(vectors)).splitlines(keepends=True)
    assert len(lines) >= 60 and testfloat.verify_lines(vectors.arithmetic, lines).passed
    *given, flags = lines[len(lines) // 2].split()
    lines[len(lines) // 2] = b" ".join([*given, b"%02X" % (int(flags, 16) ^ FLAGS["overflow"])]) + b"\n"
    report = testfloat.verify_lines(vectors.arithmetic, lines)
    assert [result.name for result in report.failures] == ["flags"] and "of the flags overflow" in report.diagnoses[0]


@pytest.mark.parametrize("name", ["scaleb", *INTEGERS[3:]])
def test_results_of_operands_that_are_integers_are_the_definition_s(name):
    for fmt in ("float8_e5m2", "float16", "binary8p3se", "posit16_1"):
        rounding = "ties_to_even" if fmt.startswith("posit") else "toward_positive"
        operation = Vectors(name, Behaviour(fmt, rounding), "1").arithmetic
        for line in lines_of(Vectors(name, Behaviour(fmt, rounding), "1"))[::7]:
            *codes, result = (int(word, 16) for word in line.split())
            of = rf.format(fmt)
            if name == "scaleb":
                n = codes[1] - (1 << 16) * (codes[1] >> 15)
                expected = spec.encode(spec.scaleb(spec.decode(codes[0], of, spec.is_p3109(of)), n), of, rounding)
            else:
                bits, signed = operation.formats[0].bits, name[5] == "i"
                n = codes[0] - (1 << bits) * (signed and codes[0] >> (bits - 1))
                expected = spec.encode(Value("finite", n < 0, Fraction(abs(n))), of, rounding)
            assert result == expected, (name, fmt, line)


RIGHT = {
    "scaleb": lambda a, n: rf.scaleb(a, n, "float8_e5m2"),
    "from_int8": lambda n: rf.quantize(n, "float8_e5m2"),
    "from_uint32": lambda n: rf.quantize(n, "float8_e5m2"),
    "logb": lambda a: rf.logb(a, "float8_e5m2"),
}
WRONG = {
    "scaleb": lambda a, n: rf.scaleb(a, np.clip(n, -10, 10), "float8_e5m2"),
    "from_int8": lambda n: rf.quantize(np.abs(n.astype(int)), "float8_e5m2"),
    "from_uint32": lambda n: rf.quantize(n.astype(np.int32), "float8_e5m2"),
    "logb": lambda a: rf.logb(np.abs(a) + 1e-5 * 0, "float8_e5m2") + 1,
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_ones_conform_and_wrong_ones_are_explained(name, monkeypatch):
    monkeypatch.setattr(judging, "diagnose", lambda *_: ())
    assert conform(RIGHT[name], "float8_e5m2", op=name).passed
    report = conform(WRONG[name], "float8_e5m2", op=name)
    assert not report.passed and "right  0x" in str(report)


@pytest.mark.parametrize("fmt", ["float16", "float8_e4m3fn", "binary8p4se", "posit8_0"])
@pytest.mark.parametrize("name", ["classify", "is_signaling", "total_order"])
def test_right_ones_conform_where_values_do_not_carry_a_nan_s_payload(name, fmt):
    on_values, on_codes = (by_place(getattr(module, name), fmt) for module in (rf, rf.codes))
    assert conform(on_values, fmt, op=name).passed
    assert conform(Implementation(on_codes=on_codes), fmt, op=name).passed


def by_place(function, fmt):
    """Return a function of operands alone, as many as it takes."""
    return lambda *operands: function(*operands, fmt)


def test_classes_may_be_named_as_ieee_or_p3109_names_them():
    named = rf.p3109.Class("Binary8p4se")
    assert conform(Implementation(on_codes=named), "binary8p4se", op="classify").passed
    report = conform(
        Implementation(on_codes=lambda x: np.where(x == 0, "Cls0", named(x))), "binary8p4se", op="classify"
    )
    assert [case["got"] for case in report.cases] == ["a"] and "right  6 = positive zero" in str(report)


def test_what_is_wrong_with_classes_is_said():
    def without(word, instead):
        found = lambda x: np.char.replace(rf.codes.classify(x, "float16"), word, instead)  # noqa: E731
        return conform(Implementation(on_codes=found), "float16", op="classify")

    assert "flushes subnormal operands to zero" in without("subnormal", "zero").diagnosis
    assert without("signaling", "quiet").diagnosis == "consistent with: takes every NaN for a quiet one"


def test_an_integer_operand_comes_as_an_integer_and_numpy_s_conform():
    seen = []

    def on_codes(a, n):
        seen.append(n.dtype)
        return rf.codes.scaleb(a, n, "float8_e5m2")

    assert conform(Implementation(on_codes=on_codes), "float8_e5m2", op="scaleb").passed
    assert seen[0] == np.int16
    assert conform(np.float32, op="from_int32").passed and conform(np.float16, op="from_uint8").passed
    assert conform(np.float16, op="scaleb").passed


@pytest.mark.parametrize("fmt", ["float8_e4m3fn", "float16"])
@pytest.mark.parametrize("name", ["add", "convert", "exp", "fma", "from_int8", "scaleb", "to_int8"])
def test_vectors_carry_the_random_integer_of_each_case(name, fmt):
    vectors = Vectors(name, Behaviour(fmt, "stochastic_a", random_bits=5), "1")
    lines = lines_of(vectors)
    assert verify(vectors, lines).passed
    seen = set()
    for line in lines[::5]:
        *codes, random, result = (int(word, 16) for word in line.split())
        seen.add(random)
        assert result == Operation(name, fmt, None, "stochastic_a", random_bits=5).by_definition(codes, random)[1], line
    assert len(seen) >= 3
    at = next(
        k for k, line in enumerate(lines) if int(line.split()[-1], 16) < (0x70 if fmt == "float8_e4m3fn" else 0x7000)
    )
    *given, result = lines[at].split()
    lines[at] = b" ".join([*given, b"%0*x" % (len(result), int(result, 16) ^ 1)]) + b"\n"
    assert "\nrandom " in verify(vectors, lines).failures[0].failure.explanation


def test_the_command_line_knows_them():
    def run(*words, data=b""):
        command = [sys.executable, "-m", "refimpl", *words]
        return subprocess.run(command, input=data, capture_output=True, check=False, env={**os.environ})

    written = run("vectors", "i32_to_f16", "--testfloat", "--level", "1")
    assert written.returncode == 0 and run("verify", "i32_to_f16", "--testfloat", data=written.stdout).returncode == 0
    how = ("convert", "float32", "--out-format", "float8_e4m3fn", "--level", "1")
    drawn = run("vectors", *how, "--rounding", "stochastic_b", "--random-bits", "3")
    assert [len(word) for word in drawn.stdout.splitlines()[0].split()] == [8, 1, 2]
