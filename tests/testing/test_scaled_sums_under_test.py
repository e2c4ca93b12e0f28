"""`conform` of products on units with block scales: they pass as themselves, faults of unit and scales are named."""

import re
from dataclasses import replace

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats import BlockFormat
from refimpl.formats.units import UNITS

conform = rf.testing.conform
E2M1, E4M3, E8M0 = (rf.format(name) for name in ("float4_e2m1fn", "float8_e4m3fn", "float8_e8m0fnu"))
UNDER_TEST = [
    ("blackwell-mxfp8", "float8_e4m3fn", E4M3, E8M0),
    ("blackwell-mxfp8", "mxfp8_e5m2", rf.format("float8_e5m2"), E8M0),
    ("blackwell-mxfp4", "mxfp4_e2m1", E2M1, E8M0),
    ("rtx-blackwell-nvfp4", "nvfp4", E2M1, E4M3),
    ("blackwell-nvfp4", BlockFormat(element=E2M1, scale=E8M0, block_size=16), E2M1, E8M0),
]


def on(unit, element=E2M1, scale=E4M3):
    """Return a product on a unit, with a first accumulator that may be left out."""

    def product(a, b, left, right, c=None):
        return rf.matmul(a, b, element, unit=unit, scales=(left, right), scale_format=scale, initial=c)

    return product


@pytest.mark.parametrize("unit, fmt, element, scale", UNDER_TEST)
def test_a_unit_passes_as_itself_with_scales_and_first_accumulators(unit, fmt, element, scale):
    report = conform(on(unit, element, scale), fmt, op="matmul", unit=unit)
    names = [result.name for result in report.results]
    assert report.passed and {"initial", "scale_gaps", "every_scale"} <= set(names), str(report)


def test_a_dot_product_is_given_the_scales_of_its_row_and_its_column():
    def dot(a, b, left, right):
        how = {"unit": "blackwell-nvfp4", "scales": (left[None], right[:, None])}
        return rf.matmul(a[None], b[:, None], E2M1, **how)[0, 0]

    assert conform(dot, "nvfp4", op="dot", unit="blackwell-nvfp4").passed


OF_UNITS = [
    ({"fraction_bits": 34}, "keeps 34 bits behind the point, not 35"),
    ({"align": "products"}, "exponents of products"),
    ({"inner": 8}, "scales exact sums of 8 products, not sums of 16"),
]


@pytest.mark.parametrize("fields, said", OF_UNITS, ids=lambda v: str(v)[:20])
def test_a_unit_with_one_fault_is_caught_the_fault_named_and_a_sum_explained_with_its_scales(fields, said):
    """Of the numbers in a line the last is the product of the others."""
    wrong = replace(UNITS["blackwell-nvfp4"], **fields)
    report = conform(on(wrong), "nvfp4", op="matmul", unit="blackwell-nvfp4")
    assert not report.passed and any(said in text for text in report.diagnoses), report.diagnoses
    line = re.search(r"terms (\d+)-(\d+) +sum (\S+) \* (\S+) \* (\S+) = (\S+) +shifted by (\d+)", str(report))
    low, high, total, left, right, product, _ = map(float, line.groups())
    assert high - low == 15 and np.isclose(total * left * right, product)
    assert "35 bits kept behind the point, the rest cut toward_zero" in str(report) and "lost" in str(report)


def test_each_product_is_explained_where_its_scales_add_to_its_exponent():
    wrong = replace(UNITS["blackwell-mxfp8"], fraction_bits=22)
    report = conform(on(wrong, E4M3, E8M0), E4M3, op="matmul", unit="blackwell-mxfp8")
    assert report.diagnoses[0].endswith("keeps 22 bits behind the point, not 25")
    line = re.search(r"term \d+ +(\S+) \* (\S+) \* (\S+) \* (\S+) = (\S+) +shifted by", str(report))
    *factors, product = map(float, line.groups())
    assert np.isclose(np.prod(factors), product) and "lost" in str(report)


def changed(left=lambda x: x, right=lambda x: x):
    product = on("blackwell-nvfp4")
    return lambda a, b, x, y: product(a, b, left(x), right(y))


def in_float32(a, b, left, right):
    """Dequantize, and add one after the other."""
    a, b = a * np.repeat(left, 16, axis=1), b * np.repeat(right, 16, axis=0)
    total = np.zeros((len(a), b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        total = np.float32(total + a[:, k : k + 1].astype(np.float64) * b[k : k + 1])
    return total


OF_SCALES = {
    "left out": (changed(np.ones_like, np.ones_like), "leaves out the scales of both operands"),
    "next block": (changed(lambda x: np.roll(x, -1, 1)), "has the scale of the next block of the first operand"),
    "powers": (
        changed(right=lambda x: np.where(x > 0, np.exp2(np.floor(np.log2(np.maximum(x, 2.0**-9)))), x)),
        "cuts the scales of the second operand to powers of two",
    ),
    "flushed": (
        changed(*[lambda x: np.where(x < 2.0**-6, 0, x)] * 2),
        "takes subnormal scales of both operands for zero",
    ),
    "float32": (in_float32, "multiplies operands by their scales, and adds with order=sequential in float32"),
}


@pytest.mark.parametrize("function, said", OF_SCALES.values(), ids=OF_SCALES)
def test_scales_gone_wrong_are_caught_and_named(function, said):
    report = conform(function, "nvfp4", op="matmul", unit="blackwell-nvfp4")
    assert not report.passed and report.diagnosis == f"consistent with: {said}", report.diagnosis


@pytest.mark.parametrize(
    "function, fmt, options, said",
    [
        (np.dot, "nvfp4", {"op": "sum"}, "unknown op of a unit with block scales 'sum'; .* dot, matmul"),
        (np.dot, "mxfp4_e2m1", {}, "format is 'mxfp4_e2m1'; allowed is one with blocks of 16"),
        (np.dot, "float8_e4m3fn", {}, "float8_e4m3fn.* float4_e2m1fn"),
        (np.dot, "mxint8", {"unit": "blackwell-mxfp8"}, "format of a sum is 'int8'"),
        (rf.testing.Program("cat", "matmul"), "nvfp4", {}, "a function of operands and scales"),
    ],
)
def test_misuse_is_refused(function, fmt, options, said):
    with pytest.raises((ValueError, TypeError), match=said):
        conform(function, fmt, **{"op": "matmul", "unit": "blackwell-nvfp4"} | options)


def test_a_function_that_takes_no_scales_is_told_so():
    report = conform(lambda a, b: a @ b, "nvfp4", op="matmul", unit="blackwell-nvfp4")
    assert not report.passed and "positional arguments" in str(report)


def test_in_a_test_file_each_group_of_cases_is_a_test():
    tests = rf.testing.pytest_tests(on("blackwell-nvfp4"), "nvfp4", op="matmul", unit="blackwell-nvfp4")
    assert {"scale_gaps", "every_scale", "initial"} <= set(tests.pytestmark[0].args[1])


def test_halves_are_for_accumulators_that_join_later():
    with pytest.raises(ValueError, match="halves is True; allowed is False where the accumulator is one of the terms"):
        rf.MatrixUnit(halves=True)
