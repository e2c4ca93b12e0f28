"""`conform` of sums, dot products and matrix products: units and orders pass as themselves and as nothing else."""

import re
from dataclasses import replace

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats.units import UNITS

conform = rf.testing.conform
E4M3 = "float8_e4m3fn"
UNDER_TEST = [("hopper-fp8", E4M3), ("ampere-f16", "float16"), ("cdna3-f16", "float16"), ("cdna2-f16", "float16")]


@pytest.mark.parametrize("unit, fmt", UNDER_TEST)
def test_a_unit_passes_as_itself_with_first_accumulators(unit, fmt):
    report = conform(lambda a, b, c: rf.matmul(a, b, fmt, unit=unit, initial=c), fmt, op="matmul", unit=unit)
    assert report.passed and "initial" in [result.name for result in report.results], str(report)


FAULTS = [
    ({"fraction_bits": 12}, "keeps 12 bits behind the point, not 13"),
    ({"cut": "ties_to_even"}, "cut ties_to_even"),
    ({"align": "products"}, "exponents of products"),
    ({"rounding": "ties_to_even"}, "accumulator ties_to_even"),
    ({"terms": 16}, "16 terms at a time"),
    ({"carry_bits": 0}, "0 bits for carries"),
    ({"into": rf.format("float32")}, "accumulator is float32"),
]


@pytest.mark.parametrize("fields, said", FAULTS, ids=lambda v: re.sub(" at 0x\\w+", "", str(v))[:20])
def test_a_unit_with_one_fault_is_caught_and_the_fault_named(fields, said):
    wrong = replace(UNITS["hopper-fp8"], **fields)
    report = conform(lambda a, b: rf.matmul(a, b, E4M3, unit=wrong), E4M3, op="matmul", unit="hopper-fp8")
    assert not report.passed and any(said in text for text in report.diagnoses), report.diagnoses


def test_another_unit_is_named():
    report = conform(lambda a, b: rf.dot(a, b, "float16", unit="turing-f16"), "float16", op="dot", unit="volta-f16")
    assert not report.passed and any("turing-f16" in text for text in report.diagnoses), report.diagnoses


def test_the_smallest_failure_is_explained_term_by_term():
    wrong = replace(UNITS["hopper-fp8"], fraction_bits=12)
    text = str(conform(lambda a, b: rf.matmul(a, b, E4M3, unit=wrong), E4M3, op="matmul", unit="hopper-fp8"))
    assert "13 bits kept behind the point, the rest cut toward_zero" in text and "lost" in text and "shifted by" in text


def one_after_the_other(a, b):
    total = np.zeros((len(a), b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        total = total + a[:, k : k + 1] * b[k : k + 1]
    return total


def test_an_order_passes_as_itself_and_is_named_where_another_is_asked_for():
    passed = conform(one_after_the_other, "float16", op="matmul", accumulate="float32")
    assert passed.passed, str(passed)
    report = conform(one_after_the_other, "float16", op="matmul", unit="hopper-f16")
    assert not report.passed and "sequential in float32" in report.diagnoses[0]


def test_a_sum_of_another_order_is_told_by_its_tree():
    def outwards(x):
        middle = len(x) // 2
        return np.float32(np.cumsum(np.concatenate([x[middle:], x[:middle][::-1]]))[-1])

    report = conform(outwards, "float32", op="sum")
    assert not report.passed and "adds otherwise" in report.diagnosis
    assert conform(lambda x: np.cumsum(x)[-1], "float32", op="sum").passed


def where_square(x):
    return x.T if len(x) == x.shape[1] else x


TRANSPOSED = [
    (lambda a, b: one_after_the_other(a, where_square(b)), "reads the second operand transposed where square"),
    (lambda a, b: one_after_the_other(where_square(a), b), "reads the first operand transposed where square"),
    (lambda a, b: where_square(one_after_the_other(a, b)), "writes the result transposed where square"),
]


@pytest.mark.parametrize("function, said", TRANSPOSED)
def test_what_is_transposed_only_where_shapes_do_not_tell_is_caught_and_named(function, said):
    report = conform(function, "float16", op="matmul", accumulate="float32")
    assert not report.passed and report.diagnosis == f"consistent with: {said}"


@pytest.mark.parametrize("wrong_in", [(1, None), (None, 1)])
def test_products_of_one_row_or_one_column_are_tried(wrong_in):
    def vector_path_loses_the_last_term(a, b):
        vector = any(n == m for n, m in zip(wrong_in, (len(a), b.shape[1]), strict=True))
        return one_after_the_other(a[:, :-1], b[:-1]) if vector else one_after_the_other(a, b)

    assert not conform(vector_path_loses_the_last_term, "float16", op="matmul", accumulate="float32").passed


def test_an_optional_third_argument_gets_the_first_accumulator_and_is_left_out_elsewhere():
    given = []

    def product(a, b, c=None):
        given.append(c is not None)
        return rf.matmul(a, b, "float16", unit="ampere-f16", initial=c)

    def ignores(a, b, c=None):
        return rf.matmul(a, b, "float16", unit="ampere-f16")

    assert conform(product, "float16", op="matmul", unit="ampere-f16").passed and set(given) == {True, False}
    report = conform(ignores, "float16", op="matmul", unit="ampere-f16")
    assert report.diagnosis == "consistent with: leaves the first accumulator out"


@pytest.mark.parametrize(
    "options, said",
    [
        ({"op": "matmul", "out_format": "float32"}, "None with op='matmul'; accumulate= is the format of the sum"),
        ({"op": "dot", "scale": 2.0}, "scale is 2.0; allowed is None, the default, with op=.dot."),
        ({"op": "sum", "accumulate": "float99"}, "^sum: unknown format 'float99'"),
        ({"op": "matmul", "unit": "hoper-fp8"}, "did you mean"),
        ({"op": "matmul", "unit": "ampere-f16"}, "float16"),
        ({"op": "add", "unit": "hopper-fp8"}, "None unless op"),
        ({"op": "dot", "order": "backwards"}, "backwards"),
    ],
)
def test_misuse_is_refused(options, said):
    with pytest.raises((ValueError, TypeError), match=said):
        conform(np.dot, E4M3, **options)


def test_the_command_line_takes_what_sums_and_scales_in_arrays_need(tmp_path, monkeypatch, capsys):
    from refimpl.__main__ import main

    (tmp_path / "mine_under_test.py").write_text(
        "import numpy as np\nimport refimpl as rf\nS = np.array([[0.5], [0.25]])\n"
        "def matmul(a, b): return rf.matmul(a, b, 'float16', order='chunked', chunk=4, accumulate='float32')\n"
        "def dot(a, b): return rf.dot(a, b, 'float16', unit='ampere-f16')\n"
        "def blocks(x):\n"
        "    y = np.nan_to_num(x.astype(float), posinf=1e9, neginf=-1e9).reshape(2, -1) / S\n"
        "    return (np.clip(np.rint(y), -127, 127) * S).reshape(x.shape).astype(x.dtype)\n"
    )
    monkeypatch.chdir(tmp_path)
    float16, scales = ["float16", "--operation"], ["--scale", "0.5,0.25"]
    for arguments in (
        ["mine_under_test.matmul", *float16, "matmul", "--order=chunked", "--chunk=4", "--accumulate=float32"],
        ["mine_under_test.dot", *float16, "dot", "--unit=ampere-f16"],
        ["mine_under_test.blocks", "int8", *scales, "--block-size=16"],
        ["mine_under_test.blocks", "int8", *scales, "--axis=0"],
    ):
        assert main(["conform", *arguments]) == 0, capsys.readouterr().out
    assert main(["conform", "mine_under_test.blocks", "int8", "--scale=0.25,0.5", "--axis=0"]) == 1


def leaving_out(kept):
    return lambda a, b: one_after_the_other(a[:, : kept(a.shape[1])], b[: kept(a.shape[1])])


def skipping(x, y):
    """Products of which a term with a zero in x is left out."""
    with np.errstate(all="ignore"):
        total = np.zeros((len(x), y.shape[1]), np.float32)
        for k in range(x.shape[1]):
            total = np.where(x[:, k : k + 1] == 0, total, total + x[:, k : k + 1] * y[k : k + 1])
    return total


WRONG_TERMS = {
    "odd": (leaving_out(lambda n: n // 2 * 2), ["leaves out what is left after groups of 2 terms"]),
    "twelve": (leaving_out(lambda n: n // 12 * 12 or n), None),
    "power": (leaving_out(lambda n: 1 << (n.bit_length() - 1)), ["as many as the largest power of two"]),
    "zero first": (skipping, ["zero in the first operand"]),
    "zero second": (lambda a, b: skipping(b.T, a.T).T, ["zero in the second operand"]),
}


@pytest.mark.parametrize("function, said", WRONG_TERMS.values(), ids=WRONG_TERMS)
def test_terms_left_out_are_caught_and_the_rule_said_holds_for_every_length(function, said):
    report = conform(function, "float8_e5m2", op="matmul", accumulate="float32")
    assert not report.passed
    if said is None:  # a rule that is not known: no other may be named
        assert not any("leaves out" in text for text in report.diagnoses), report.diagnoses
    else:
        assert len(report.diagnoses) == 1 and said[0] in report.diagnoses[0], report.diagnoses
