"""`conform` of operations: right implementations pass, planted defects are caught, named and explained."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest

import refimpl as rf
from refimpl.spec import operations as spec
from refimpl.testing.operations.cases import groups, tuples
from refimpl.testing.operations.operation import OPERANDS, Operation

conform, Implementation = rf.testing.conform, rf.testing.Implementation
E4M3 = "float8_e4m3fn"


def q(x, fmt=E4M3, **rules):
    return rf.quantize(np.asarray(x, np.float64), fmt, **rules)


def table(name, fmt, **rules):
    """An implementation on codes by the definition, one by one, remembered."""
    known = {}

    def on_codes(*columns):
        rows = list(zip(*(c.tolist() for c in columns), strict=True))
        for row in rows:
            if row not in known:
                known[row] = spec.calculate(name, row, rf.format(fmt), **rules)
        return np.array([known[row] for row in rows])

    return Implementation(on_codes=on_codes, name="by definition")


RIGHT = [
    ("add", E4M3, lambda a, b: q(a.astype(np.float64) + b), {}),
    ("sub", E4M3, lambda a, b: q(a.astype(np.float64) - b), {}),
    ("mul", "bfloat16", lambda a, b: q(a.astype(np.float64) * b, "bfloat16"), {}),
    ("add", "float16", np.add, {"inputs": ["float16"]}),
    ("div", "float32", np.divide, {}),
    ("sqrt", "float32", np.sqrt, {}),
    ("sqrt", "float16", lambda x: np.float16(math.sqrt(x) if x >= 0 else math.nan), {}),
    ("fma", E4M3, lambda a, b, c: q(a.astype(np.float64) * b + c), {}),
    ("convert", "bfloat16", lambda a: a.astype(np.float16), {"out_format": "float16"}),
    ("add", ("float8_e5m2", E4M3), lambda a, b: q(a.astype(np.float64) + b, "bfloat16"), {"out_format": "bfloat16"}),
    ("<", "float16", np.less, {}),
    ("unordered", E4M3, lambda a, b: np.isnan(a) | np.isnan(b), {}),
    ("to_int8", E4M3, lambda a: np.clip(np.nan_to_num(np.rint(a)), -128, 127).astype(np.int8), {}),
    ("exp", E4M3, lambda a: q(np.exp(a.astype(np.float64))), {}),
    ("maximum_number", "float16", lambda a, b: np.where((a == b), np.where(np.signbit(a), b, a), np.fmax(a, b)), {}),
    ("is_nan", "float16", np.isnan, {}),
]


@pytest.mark.parametrize("name, fmt, function, options", RIGHT, ids=lambda v: re.sub(" at 0x\\w+", "", str(v))[:20])
def test_right_implementations_pass(name, fmt, function, options):
    report = conform(function, fmt, op=name, **options)
    assert report.passed, str(report)


@pytest.mark.parametrize("rules", [{"rounding": "to_odd"}, {"rounding": "toward_negative", "overflow": "saturate"}])
@pytest.mark.parametrize("name", ["add", "mul", "remainder", "minimum_finite", "copysign"])
def test_every_rule_is_asked_for_on_codes(name, rules):
    assert conform(table(name, "float6_e2m3fn", **rules), "float6_e2m3fn", op=name, **rules).passed
    if name in ("add", "mul"):
        assert not conform(table(name, "float6_e2m3fn"), "float6_e2m3fn", op=name, **rules).passed


def test_codes_come_in_the_smallest_unsigned_dtype():
    seen = set()

    def on_codes(a, b):
        seen.add((a.dtype.name, b.dtype.name))
        return rf.codes.add(a, b, "float8_e4m3fn")

    assert conform(Implementation(on_codes=on_codes), E4M3, op="add").passed and seen == {("uint8", "uint8")}


def test_random_integers_of_stochastic_rounding_are_handed_over():
    rules = {"rounding": "stochastic_a", "random_bits": 3}
    right = Implementation(on_values=lambda a, b, random: rf.add(a, b, E4M3, random=random, **rules))
    wrong = Implementation(on_values=lambda a, b, random: rf.add(a, b, E4M3, random=random ^ 1, **rules))
    assert conform(right, E4M3, op="add", **rules).passed
    report = conform(wrong, E4M3, op="add", **rules)
    assert not report.passed and "random " in str(report)


WRONG = [
    ("add", E4M3, lambda a, b: q(a + b, rounding="ties_to_away"), "rounds ties_to_away"),
    ("add", E4M3, lambda a, b: q(q(a + b, "bfloat16")), "computes in bfloat16"),
    ("add", "bfloat16", lambda a, b: q(q(a + b, "e8m9ieee"), "bfloat16"), "first to 2 more bits"),
    ("div", E4M3, lambda a, b: q(a * q(1 / b.astype(np.float64))), "the reciprocal of b"),
    ("fma", "bfloat16", lambda a, b, c: q(q(a * b, "bfloat16") + c, "bfloat16"), "not fused"),
    ("<", "float16", lambda a, b: ~(a >= b), "negation of >="),
    ("maximum", "float16", lambda a, b: np.where(a > b, a, b), "a > b ? a : b"),
    ("sub", E4M3, lambda a, b: q(b - a), "swaps its operands"),
    ("mul", E4M3, lambda a, b: np.abs(q(a * b)) * np.sign(q(a * b)), "zero"),
    ("to_int8", "float16", lambda a: np.nan_to_num(np.rint(a), posinf=0, neginf=0).astype(np.int64).astype(np.int8),
     "wraps around"),
    ("remainder", E4M3, lambda a, b: q(np.fmod(a, b)), "fmod"),
    ("log1p", "float16", lambda a: q(np.log(q(1.0 + a.astype(np.float64), "float16")), "float16"), "1 \\+ a, then"),
]  # fmt: skip


@pytest.mark.parametrize("name, fmt, function, said", WRONG, ids=lambda v: re.sub(" at 0x\\w+", "", str(v))[:20])
def test_planted_defects_are_named_first(name, fmt, function, said):
    with np.errstate(all="ignore"):
        report = conform(function, fmt, op=name)
    assert not report.passed
    assert said.replace("\\", "") in report.diagnoses[0], report.diagnoses


def test_the_smallest_failure_is_explained_in_codes_and_exact_values():
    report = conform(lambda a, b: q(a + b, rounding="ties_to_away"), E4M3, op="add")
    text = str(report)
    assert "exact  " in text and "half way, and ties_to_even takes the even code" in text
    assert "below  0x" in text and "above  0x" in text


def test_a_tie_at_the_top_is_explained_as_one():
    def cut(a, b):
        return np.where(np.abs(a + b) == 464, 0.0, q(a + b))

    text = str(conform(cut, E4M3, op="add"))
    assert "480, beyond the largest value" in text and "half way" in text


def test_cases_of_a_wide_format_reach_every_group():
    names = {group.name for group in groups(Operation("fma", "bfloat16"))}
    assert names >= {"special_values", "zeros", "overflow", "subnormal_results", "ties", "cancellation"}


@pytest.mark.parametrize("name", ["add", "fma", "exp"])
def test_no_tuple_of_cases_comes_twice(name):
    columns = np.stack(tuples(Operation(name, "float16" if name != "add" else "float32")))
    assert np.unique(columns, axis=1).shape == columns.shape


def test_groups_hold_every_pair_of_an_eight_bit_format_once():
    found = np.concatenate(
        [group.codes[0] << np.uint64(8) | group.codes[1] for group in groups(Operation("add", E4M3))]
    )
    assert np.sort(found).tolist() == list(range(1 << 16))


def test_exact_results_round_as_the_definition_says():
    add = Operation("add", "bfloat16")
    values = [np.array([1.0, 1.0, 3e38, -1.0]), np.array([2.0**-8, 2.0**-120, 3e38, 1.0])]
    assert add.rounded(add.exact(values)).tolist() == add.evaluate(values).tolist()
    assert Fraction(add.exact(values)[0]) == 1 + Fraction(1, 256)


@pytest.mark.parametrize("name", sorted(OPERANDS))
def test_every_operation_can_be_asked_for(name):
    operation = Operation(name, "float4_e2m1fn" if OPERANDS[name] > 1 else "float6_e2m3fn")
    asked = Implementation(on_codes=lambda *codes: operation.results([c.astype(np.uint64) for c in codes]))
    assert conform(asked, operation.formats, op=name).passed


def test_findings_are_failures_and_hanging_ends_it():
    report = conform(lambda a, b: a[:1], E4M3, op="add")
    assert not report.passed and "shape" in report.diagnosis


@pytest.mark.parametrize(
    "options, said",
    [
        ({"op": "ad"}, "did you mean 'add'"),
        ({"op": "to_int99"}, "operation"),
        ({"op": "add", "scale": 1.0}, "scale"),
        ({"op": "add", "rounding": "stochastic"}, "stochastic_a"),
        ({"op": "add", "format": ("e4m3fn",) * 3}, "tuple of 2"),
        ({"op": "add", "format": ("e4m3fn", "float16")}, "out_format"),
        ({"op": "<", "out_format": "float16"}, "out_format"),
        ({"op": "add", "overflow": "wrap"}, "wrap"),
        ({"op": "add", "format": "int8"}, "int8"),
        ({"out_format": "float16"}, "without op"),
    ],
)
def test_misuse_is_refused(options, said):
    with pytest.raises((ValueError, TypeError), match=said):
        conform(np.add, **{"format": E4M3} | options)


@pytest.mark.parametrize("rules", [{"rounding": "ties_to_away"}, {"rounding": "toward_zero", "overflow": "saturate"}])
def test_the_rules_of_an_unknown_operation_are_found(rules):
    found = rf.testing.identify(lambda a, b: rf.mul(a, b, "float8_e5m2", **rules), op="mul", format="float8_e5m2")
    assert found.operation.rounding == rules["rounding"] and str(found.operation).startswith("mul float8_e5m2")
    assert rules.get("overflow", "overflow") in [o.overflow for o in (found.operation, *found.alternatives)]


def test_an_unknown_operation_that_is_wrong_is_diagnosed():
    found = rf.testing.identify(lambda a, b: q(a * q(1 / b.astype(np.float64))), op="div", format=E4M3)
    assert found.operation is None and "reciprocal" in str(found)
