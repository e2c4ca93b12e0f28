"""Test vectors of arithmetic say what the definition says, and `verify` notices what is wrong."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.spec import operations as spec
from refimpl.testing import Behaviour, Vectors, verify
from refimpl.testing.implementations import hexadecimal
from refimpl.testing.operations.operation import OPERANDS, Operation
from refimpl.testing.vectors import testfloat

OPERATIONS = ["add", "sub", "mul", "div", "sqrt", "fma", "maximum_number", "remainder", "clamp", "logb", "exp"]
BEHAVIOURS = [
    Behaviour("float8_e4m3fn"),
    Behaviour("float6_e2m3fn", "toward_negative"),
    Behaviour("bfloat16", "to_odd"),
    Behaviour("posit8_2"),
    Behaviour("float8_e5m2fnuz", "toward_zero", "saturate"),
]


def lines_of(vectors):
    return b"".join(vectors.text()).decode().splitlines()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
def test_lines_of_operations_say_what_the_definition_says(operation, behaviour):
    fmt, count = behaviour.format, OPERANDS[operation]
    one = -(-fmt.bits // 4)
    lines = lines_of(Vectors(operation, behaviour, "1"))
    assert len(set(lines)) == len(lines) >= 64
    for line in lines[:: max(1, len(lines) // 60)]:
        *given, result = line.split(" ")
        assert [len(word) for word in (*given, result)] == [one] * (count + 1)
        codes = tuple(int(word, 16) for word in given)
        expected = spec.calculate(operation, codes, fmt, behaviour.rounding, behaviour.overflow, behaviour.nan)
        assert int(result, 16) == expected, line


def test_all_pairs_of_a_format_are_every_pair_in_order():
    lines = lines_of(Vectors("add", Behaviour("float6_e2m3fn"), "all"))
    assert [line[:5] for line in lines] == [f"{a:02x} {b:02x}" for a in range(64) for b in range(64)]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_right_results_pass_and_a_wrong_one_is_named(operation):
    vectors = Vectors(operation, Behaviour("float8_e4m3fn"), "1")
    lines = [line.encode() + b"\n" for line in lines_of(vectors)]
    assert verify(vectors, lines).passed and verify(vectors, lines[::-1]).passed
    assert verify(vectors, [line.split(b" ")[-1] for line in lines]).passed
    joined = [b"".join(line.split(b" ")[:-1]) + b" " + line.split(b" ")[-1] for line in lines]
    assert verify(vectors, joined).passed
    at = next(k for k, line in enumerate(lines) if not line.endswith((b"7f\n", b"ff\n")))
    lines[at] = lines[at][: lines[at].rindex(b" ")] + b" 7f\n"
    report = verify(vectors, lines)
    assert not report.passed and "a      0x" in str(report) and "got    0x7f  0 1111 111 = nan" in str(report)
    assert [case["got"] for case in report.cases] == ["7f"]


def test_the_pair_that_did_not_come_back_is_named():
    vectors = Vectors("mul", Behaviour("float4_e2m1fn"), "all")
    lines = [line.encode() + b"\n" for line in lines_of(vectors)]
    report = verify(vectors, lines[:17] + lines[18:])
    assert "1 inputs did not come back, the first of them the input 1 1" in str(report)


def test_rounding_sums_twice_is_found_on_the_pipe():
    """An adder that rounds to 6 bits on the way to the 4 of E4M3FN makes ties that were none."""
    vectors = Vectors("add", Behaviour("float8_e4m3fn"), "all")
    a, b = (rf.decode(codes, "float8_e4m3fn") for codes in np.concatenate(list(vectors.inputs())).T)
    wide = rf.quantize(a + b, "e5m5ieee")
    wrong = rf.encode(wide, "float8_e4m3fn")
    report = verify(vectors, [b"".join(b"%02x\n" % code for code in wrong.tolist())])
    assert [(r.name, r.failed > 0) for r in report.failures] == [("add", True)]
    assert "rounds twice" in report.diagnoses[0]
    assert report.failures[0].failed == len(report.cases)


def test_beside_the_pairs_of_chosen_codes_stand_neighbours_of_equal_and_of_opposite_signs():
    lines = lines_of(Vectors("add", Behaviour("float16"), "1"))
    pairs = [tuple(int(word, 16) for word in line.split(" ")[:2]) for line in lines]
    chosen = {a for a, _ in pairs}
    near = [(a, b) for a, b in pairs if b not in chosen]
    assert {(b - a) % (1 << 15) for a, b in near} == {0, 1, 2, 3}
    assert {(a ^ b) >> 15 for a, b in near} == {0, 1}


@pytest.mark.parametrize(
    "name, into", [("lt", None), ("convert", "float32"), ("to_int8", None), ("convert", "float4_e2m1fn")]
)
def test_comparisons_and_conversions_have_vectors(name, into):
    vectors = Vectors(name, Behaviour("float16"), "1", out_format=into)
    lines = b"".join(vectors.text())
    assert verify(vectors, [lines]).passed
    operation = Operation(name, "float16", into)
    for line in lines.decode().splitlines()[::37]:
        *codes, result = (int(word, 16) for word in line.split(" "))
        assert operation.by_definition(codes)[1] == result or name == "convert"


def test_words_for_readmemh_are_joined_behind_a_comment_and_addresses_and_read_back():
    vectors = Vectors("add", Behaviour("float8_e4m3fn"), "all")
    text = b"".join(vectors.readmemh())
    lines = text.decode().splitlines()
    assert lines[0].startswith("// add float8_e4m3fn") and lines[1] == "@0" and lines[2 + 0x3820] == "382039"
    results = b"".join(vectors.readmemh(inputs=False))
    assert verify(vectors, [results]).passed
    assert verify(vectors, [b"// 0x00000000\n" + results.replace(b"@0\n", b"@00000000\n")]).passed


# Lines as testfloat_gen writes them; by hand from IEEE 754, flags as in its documentation.
TESTFLOAT = [
    ("f16_add", "3C00 1000 3C00 01"),  # 1 + 2^-11: a tie, inexact
    ("f16_add", "7BFF 7BFF 7C00 05"),
    ("f16_sub", "7C00 7C00 FE00 10"),
    ("f16_mul", "0400 3800 0200 00"),  # exact, tiny
    ("f16_mul", "0001 3800 0000 03"),
    ("f16_div", "3C00 0000 7C00 08"),
    ("f16_sqrt", "BC00 FE00 10"),
    ("f16_mulAdd", "3C01 3C01 BC02 0010 00"),
    ("f16_rem", "4500 4200 BC00 00"),
    ("f16_roundToInt", "3E00 4000 00"),
    ("f16_lt", "3C00 7E00 0 10"),
    ("f16_lt_quiet", "3C00 7E00 0 00"),
    ("f16_eq", "7E00 7E00 0 00"),
    ("f16_eq_signaling", "7E00 7E00 0 10"),
    ("f16_to_f32", "3C00 3F800000 00"),
    ("f32_to_f16", "33000000 0000 03"),
    ("f32_to_i32", "4F000000 7FFFFFFF 10"),
    ("f32_to_ui32", "BF800000 FFFFFFFF 10"),
    ("f32_to_i64", "40200000 0000000000000002 00"),
    ("f64_add", "3FF0000000000000 3FF0000000000000 4000000000000000 00"),
]


@pytest.mark.parametrize("name, line", TESTFLOAT)
def test_lines_of_testfloat_are_right_and_any_change_of_flags_is_not(name, line):
    call = testfloat.function(name)
    operation = Operation(call["operation"], call["format"], call["out_format"])
    assert testfloat.verify_lines(operation, [line.encode() + b"\n"] * 3).passed
    changed = f"{line[:-2]}{int(line[-2:], 16) ^ 2:02X}\n".encode()
    report = testfloat.verify_lines(operation, [changed])
    assert not report.passed and "underflow" in report.diagnosis


@pytest.mark.parametrize("name", ["f16_add", "f16_le", "f16_to_i32", "f32_mul"])
def test_what_is_written_for_testfloat_is_read_back(name):
    call = testfloat.function(name)
    vectors = Vectors(call["operation"], Behaviour(call["format"]), "1", out_format=call["out_format"])
    lines = list(testfloat.lines(vectors))
    assert testfloat.verify_lines(vectors.arithmetic, lines).passed
    table = hexadecimal.read(b"".join(lines))
    assert set(table.counts) == {vectors.arithmetic.operands + 2}


def test_tininess_before_rounding_is_told_from_after():
    operation = Operation("mul", "float16")
    line = [b"03FF 3C01 0400 03\n"]  # 1023 * 1025 / 1024 units: tiny before rounding alone
    assert testfloat.verify_lines(operation, line, tininess="before").passed
    assert not testfloat.verify_lines(operation, line).passed


@pytest.mark.parametrize("text, said", [(b"3C00 1000 3C00\n", "4 are needed"), (b"", "no lines"), (b"x\n", "line 1")])
def test_lines_that_are_none_of_testfloat_are_failures(text, said):
    assert said in str(testfloat.verify_lines(Operation("add", "float16"), [text] if text else []))
