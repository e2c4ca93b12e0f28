"""Test vectors of arithmetic say what the definition says, and `verify` notices what is wrong."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.spec import operations as spec
from refimpl.testing import Behaviour, Vectors, verify
from refimpl.testing.vectors.operands import OPERANDS

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
        given, result = line.split(" ")
        assert (len(given), len(result)) == (one * count, one)
        codes = tuple(int(given[one * k : one * (k + 1)], 16) for k in range(count))
        expected = spec.calculate(operation, codes, fmt, behaviour.rounding, behaviour.overflow, behaviour.nan)
        assert int(result, 16) == expected, line


def test_all_pairs_of_a_format_are_every_pair_in_order():
    lines = lines_of(Vectors("add", Behaviour("float6_e2m3fn"), "all"))
    assert [line.split(" ")[0] for line in lines] == [f"{a:02x}{b:02x}" for a in range(64) for b in range(64)]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_right_results_pass_and_a_wrong_one_is_named(operation):
    vectors = Vectors(operation, Behaviour("float8_e4m3fn"), "1")
    lines = [line.encode() + b"\n" for line in lines_of(vectors)]
    assert verify(vectors, lines).passed and verify(vectors, lines[::-1]).passed
    assert verify(vectors, [line.split(b" ")[1] for line in lines]).passed
    at = next(k for k, line in enumerate(lines) if not line.endswith((b"7f\n", b"ff\n")))
    given = lines[at].split(b" ")[0]
    lines[at] = given + b" 7f\n"
    report = verify(vectors, lines)
    assert not report.passed and "operands  0x" in str(report) and "got       nan" in str(report)


def test_the_pair_that_did_not_come_back_is_named():
    vectors = Vectors("mul", Behaviour("float4_e2m1fn"), "all")
    lines = [line.encode() + b"\n" for line in lines_of(vectors)]
    report = verify(vectors, lines[:17] + lines[18:])
    assert "1 inputs did not come back, the first of them the input 11" in str(report)


def test_rounding_sums_twice_is_found_on_the_pipe():
    """An adder that rounds to 6 bits on the way to the 4 of E4M3FN makes ties that were none."""
    vectors = Vectors("add", Behaviour("float8_e4m3fn"), "all")
    x = np.concatenate(list(vectors.inputs()))
    a, b = (rf.decode(x >> np.uint64(8 * k) & np.uint64(255), "float8_e4m3fn") for k in (1, 0))
    wide = rf.quantize(a + b, "e5m5ieee")
    wrong = rf.encode(wide, "float8_e4m3fn")
    report = verify(vectors, [b"".join(b"%02x\n" % code for code in wrong.tolist())])
    assert [(r.name, r.failed > 0) for r in report.failures] == [("add", True)]


def test_beside_the_pairs_of_chosen_codes_stand_neighbours_of_equal_and_of_opposite_signs():
    lines = lines_of(Vectors("add", Behaviour("float16"), "1"))
    pairs = [divmod(int(line.split(" ")[0], 16), 1 << 16) for line in lines]
    chosen = {a for a, _ in pairs}
    near = [(a, b) for a, b in pairs if b not in chosen]
    assert {(b - a) % (1 << 15) for a, b in near} == {0, 1, 2, 3}
    assert {(a ^ b) >> 15 for a, b in near} == {0, 1}
