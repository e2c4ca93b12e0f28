"""Defects that hold in a region alone, or by position, layout or call, are named and located.

What is right here comes from tables made by the formula of E4M3, none from the package.
"""

import numpy as np
import pytest

import refimpl as rf
from refimpl.testing.diagnosis.regions import Measure, Property, region, simplest

T = rf.testing
CODES = np.arange(0x80)
GRID = np.where(
    CODES < 8, CODES * 2.0**-9, (8 + CODES % 8) * 2.0 ** (CODES // 8 - 10.0)
)  # and 480, to which one rounds


def right(x, cut=False, before=None):
    """Round to E4M3, ties to even, or cut."""
    wide = np.asarray(x, np.float64)
    wide = wide if before is None else before(wide)
    size = np.where(np.isfinite(wide), np.abs(wide), 500.0)
    k = np.clip(np.searchsorted(GRID, size, side="right") - 1, 0, 0x7E)
    middle = (GRID[k] + GRID[k + 1]) / 2
    code = k + ((size > middle) | (size == middle) & (k % 2 == 1)) * (not cut)
    y = np.where((code > 0x7E) | (size >= 480), np.nan, GRID[np.minimum(code, 0x7E)])
    return np.copysign(y, wide).astype(np.asarray(x).dtype)


def only(where, wrong):
    """Be wrong where something holds of inputs."""
    return lambda x: np.where(where(x), wrong(x), right(x)).astype(x.dtype)


def cut(x):
    return right(x, cut=True)


LOCAL = {  # a defect, and the words that name and locate it
    "one sign, some binades": (only(lambda x: (x < 0) & (x >= -16) & (x <= -4), cut), ("toward_zero", "negative", "4")),
    "one type": (only(lambda x: x.dtype == np.float64, cut), ("toward_zero", "float64")),
    "a sign among subnormals": (
        only(lambda x: np.abs(right(x)) < 2.0**-6, lambda x: np.abs(right(x))),
        ("loses the sign", "subnormal"),
    ),
    "odd exponents": (
        only(lambda x: (np.frexp(x)[1] % 2 == 0) & (np.abs(x) < 400), cut),
        ("toward_zero", "odd exponents"),
    ),
    "powers of two": (
        only(lambda x: (np.abs(np.frexp(x)[0]) == 0.5) & (np.abs(x) < 200), lambda x: right(x) * 1.125),
        ("1.125 times|bit 0", "powers of two"),
    ),
    "a threshold": (
        only(lambda x: (np.abs(x) > 3) & (np.abs(x) < 3.2), lambda x: np.copysign(3, x)),
        ("from 3|above 3", "3.2"),
    ),
    "printed digits": (
        lambda x: right(x, before=lambda v: np.array([float(f"{one:.2g}") for one in v])),
        ("2 decimal digits",),
    ),
    "fixed point first": (
        lambda x: right(x, before=lambda v: np.where(np.abs(v) < 128, np.rint(v * 256) / 256, v)),
        ("8 bits behind the binary point",),
    ),
}


@pytest.mark.parametrize("defect", LOCAL)
def test_a_defect_in_a_region_is_named_and_located(defect):
    wrong, words = LOCAL[defect]
    report = T.conform(wrong, "float8_e4m3fn", inputs=["float32"] if defect != "one type" else ["float32", "float64"])
    said = report.diagnoses[0]
    assert all(any(word in said for word in choice.split("|")) for choice in words), said


def by_position(where):
    """Cut where something holds of position and length."""

    def quantize(x):
        y, i = right(x), np.arange(x.size).reshape(x.shape)
        return np.where(where(i, x.size), cut(x), y).astype(x.dtype)

    return quantize


@pytest.mark.parametrize(
    "where, words",
    [
        (lambda i, n: i >= n - n % 8, "last multiple of 8"),
        (lambda i, n: i % 3 == 1, "every third element, from position 1"),
        (lambda i, n: i == n - 1, "the last element"),
        (lambda i, n: i >= 512, "from position 512 on"),
        (lambda i, n: (n % 2 == 1) & (i >= 0), "an odd number of elements"),
    ],
)
def test_what_depends_on_the_position_is_said_with_what_is_wrong_there(where, words):
    said = T.conform(by_position(where), "float8_e4m3fn", inputs=["float32"]).diagnoses[0]
    assert words in said and "toward_zero" in said


def test_what_depends_on_neighbours_or_on_earlier_calls_is_said():
    calls = [0]

    def every_third(x):
        calls[0] += 1
        return cut(x) if calls[0] % 3 == 0 else right(x)

    def beside_negatives(x):
        before = np.concatenate([[1.0], x.ravel()[:-1]]).reshape(x.shape) if x.size else x
        return np.where(before < 0, cut(x), right(x)).astype(x.dtype)

    assert "every third call is wrong" in T.conform(every_third, "float8_e4m3fn", inputs=["float32"]).diagnosis
    said = T.conform(beside_negatives, "float8_e4m3fn", inputs=["float32"]).diagnosis
    assert "depends on the element before it" in said


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda x: x.ndim == 2, "two dimensions"),
        (lambda x: x.ndim == 0, "no dimensions"),
        (lambda x: x.ndim == 1 and not x.flags.c_contiguous, "every second element"),
    ],
)
def test_layouts_that_give_other_results_are_caught(wrong, words):
    report = T.conform(lambda x: cut(x) if wrong(x) else right(x), "float8_e4m3fn", inputs=["float32"])
    assert not report.passed and words in report.diagnosis


def test_layouts_may_be_refused():
    def of_vectors(x):
        if x.ndim != 1 or not x.flags.c_contiguous:
            raise ValueError("one-dimensional contiguous arrays only")
        return right(x)

    report = T.conform(of_vectors, "float8_e4m3fn", inputs=["float32"])
    assert report.passed, str(report)


def test_an_exception_is_said_plainly_with_an_input():
    def refuses(x):
        if np.isinf(x).any():
            raise OverflowError("too large")
        return right(x)

    said = T.conform(refuses, "float8_e4m3fn", inputs=["float32"]).diagnosis
    assert said == "quantize raised OverflowError: too large, for input inf"


def test_what_two_defects_leave_is_described():
    """Rounding through float32 explains a part, and the rest follows no rule that is known."""

    def mine(x):
        y = right(x.astype(np.float32)).astype(np.float64)
        strange = np.where(np.isfinite(y), y * (1 + np.floor(np.abs(x) * 1e6) % 5 / 8), y)
        return np.where(np.abs(x) < 2.0**-7, strange, y).astype(x.dtype)

    said = T.conform(mine, "float8_e4m3fn").diagnosis
    assert said.startswith("rounds float64 through float32; and of what that leaves") and "below 2^-7" in said


def add(a, b):
    return right(a.astype(np.float64) + b.astype(np.float64))


OPERATIONS = {
    "unequal signs": (lambda a, b, y: np.signbit(a) != np.signbit(b), "unequal signs"),
    "a gap of exponents": (lambda a, b, y: np.frexp(a)[1] - np.frexp(b)[1] == 3, "exponent"),
    "the second is larger": (lambda a, b, y: (np.abs(a) < np.abs(b)) & (y < 0), "second is larger in size"),
}


@pytest.mark.parametrize("defect", OPERATIONS)
def test_a_defect_of_an_adder_in_a_region_is_named_and_located(defect):
    where, words = OPERATIONS[defect]

    def adder(a, b):
        y = add(a, b)
        return np.where(where(a, b, y), right(a.astype(np.float64) + b, cut=True), y)

    report = T.conform(adder, "float8_e4m3fn", op="add")
    assert "rounds toward_" in report.diagnoses[0] and words in report.diagnoses[0], report.diagnosis


def test_what_no_defect_explains_of_an_adder_is_described_and_not_called_consistent():
    def adder(a, b):
        y = add(a, b).astype(np.float64)
        strange = np.where(np.isfinite(y), right(y * (1 + np.abs(np.rint(a * 8 + b * 8)) % 3 / 4)), y)
        return np.where(a > 100, strange, y)

    report = T.conform(adder, "float8_e4m3fn", op="add")
    assert report.diagnoses == () and "first operands of sizes" in report.diagnosis, report.diagnosis


def test_a_loop_that_forgets_the_tail_of_an_operation_is_found():
    def adder(a, b):
        tail = np.arange(a.size).reshape(a.shape) >= a.size // 4 * 4
        return np.where(tail, right(a.astype(np.float64) + b, cut=True), add(a, b))

    said = T.conform(adder, "float8_e4m3fn", op="add").diagnosis
    assert "last multiple of 4" in said and "toward_zero" in said


def test_some_codes_read_wrongly_are_located():
    table = np.concatenate([GRID, -GRID])
    table[[0x7F, 0xFF]] = np.nan
    wrong = np.where((table < -1) & (np.arange(256) & 4 > 0), table * 2, table)
    said = T.conform((None, lambda codes: wrong[codes]), "float8_e4m3fn").diagnosis
    assert "bit 2 set" in said and "negative" in said and ("twice" in said or "bias" in said)


def test_identify_says_what_is_wrong_with_what_is_nearly_a_format():
    found = T.identify(only(lambda x: (x < 0) & (x > -8), cut))
    assert found.behaviour is None
    assert "toward_zero" in found.diagnosis and "negative" in found.diagnosis and "float8_e4m3fn" in str(found)


@pytest.mark.parametrize("seed", range(20))
def test_a_region_made_of_parts_is_found_again(seed):
    """Whatever holds of all that is inside and of nothing outside is a right answer; there is one."""
    rng = np.random.default_rng(seed)
    x, marks = rng.normal(size=3000), rng.random((5, 3000)) < 0.5
    a, b = rng.choice(5, 2, replace=False)
    inside = marks[a] & ~marks[b] & (x > -0.5) & (x <= 1)
    properties = [Property(f"{k}", m) for k, m in enumerate(marks)] + [
        Property(f"not {k}", ~m) for k, m in enumerate(marks)
    ]
    found = region(properties, [Measure("of x", x)], inside, ~inside)
    assert found.pure and (found.mask == inside).all()
    assert {*found.words.partition(",")[0].split(" that are also ")} == {f"{a}", f"not {b}"}


@pytest.mark.parametrize(
    "low, high", [(0.1, 0.3), (-3.7, -3.2), (255.9, 256), (1e-300, 1e-299), (2.9999999, 3.0000001)]
)
def test_the_simplest_number_lies_between_its_limits(low, high):
    assert low <= simplest(low, high) <= high
    assert low <= simplest(low, high, upper=True) <= high


def test_what_is_wrong_at_all_positions_is_said_beside_what_is_wrong_at_some():
    def tail_and_nan(x):
        y = right(x)
        y = np.where(np.abs(y) > 240, np.nan, y).astype(x.dtype)
        if x.size % 2:
            y[-1] = x[-1]
        return y

    report = rf.testing.conform(tail_and_nan, "float8_e4m3fn", inputs=["float32"])
    assert "behind the last multiple of 2" in report.diagnosis
    assert "results are wrong at other positions: has a largest value" in report.diagnosis, report.diagnosis


def test_one_value_where_carries_are_wrong_names_no_mechanism():
    def misses_carries(x):
        y = rf.quantize(x, "float8_e5m2", overflow="saturate")
        return np.where((np.abs(x) >= 61440) & (np.abs(x) < 65536), np.copysign(np.inf, x), y).astype(x.dtype)

    report = rf.testing.conform(misses_carries, "float8_e5m2", overflow="saturate", inputs=["float32"])
    assert report.diagnoses[0].startswith("gives infinity, only for "), report.diagnosis
