"""Defects that hold in a region alone, that come two at once, or that nobody foresaw: where they are is said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refimpl as rf
from refimpl.testing.diagnosis.regions import Measure, Property, region, say
from refimpl.testing.operations.sum_cases import groups_of
from refimpl.testing.operations.summed import Sums

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6.0])


def nearest(v):
    size = np.minimum(np.abs(v), 6.0)
    k = np.minimum(np.searchsorted(E2M1, size, side="right") - 1, 6)
    middle = (E2M1[k] + E2M1[k + 1]) / 2
    return np.copysign(E2M1[k + ((size > middle) | (size == middle) & (k % 2 == 1))], v)


def mxfp4(
    top=lambda b: np.abs(b).max(axis=-1, keepdims=True), element=nearest, factor=lambda b: 1.0, after=lambda b: b
):
    """A quantizer to MXFP4 of rows of any length, along the last axis; the keywords plant defects."""

    def quantize(x):
        n = x.shape[-1]
        b = np.pad(x.astype(np.float64), [(0, 0)] * (x.ndim - 1) + [(0, -n % 32)])
        b = b.reshape(*x.shape[:-1], -(-n // 32), 32)
        a = top(b)
        bad = ~np.isfinite(b).all(axis=-1, keepdims=True)
        e = np.where(bad | (a == 0), -127, np.clip(np.frexp(np.where(bad, 1, a))[1] - 3, -127, 127))
        s = 2.0 ** e.astype(float) * factor(b)
        y = np.where(bad, np.nan, after(element(np.where(bad, 0, b) / s) * s))
        return y.reshape(*x.shape[:-1], -(-n // 32) * 32)[..., :n].astype(x.dtype)

    return quantize


def first_twice(b):
    factor = np.ones((*b.shape[:-1], 1))
    factor[..., 0, :] = 2
    return factor


def of_parts(b):
    """The sum of the largest magnitudes of three parts: nothing that is known."""
    return sum(np.abs(b[..., i::3]).max(axis=-1, keepdims=True) for i in range(3))


LOCATED = {
    "takes mean + 3 standard deviations": mxfp4(
        top=lambda b: np.abs(b).mean(axis=-1, keepdims=True) + 3 * np.abs(b).std(axis=-1, keepdims=True)
    ),
    "has scales twice too large, after they are clamped, only in the first block of a row": mxfp4(factor=first_twice),
    "rounds elements ties toward zero and takes the second largest magnitude": mxfp4(
        top=lambda b: np.sort(np.abs(b), axis=-1)[..., -2:-1],
        element=lambda v: nearest(np.copysign(np.nextafter(np.abs(v), 0), v)),
    ),
    "the elements are right for the scale that their block has, but scales are wrong": mxfp4(top=of_parts),
}


def test_a_right_quantizer_of_rows_of_any_length_passes():
    report = rf.testing.conform(mxfp4(), "mxfp4_e2m1", inputs=["float32"])
    assert report.passed and {"tails", "long_rows"} <= {r.name for r in report.results if r.tried}, str(report)


@pytest.mark.parametrize("said", LOCATED)
def test_what_is_wrong_with_a_block_quantizer_is_said_and_where(said):
    report = rf.testing.conform(LOCATED[said], "mxfp4_e2m1", inputs=["float32"])
    assert not report.passed and said in report.diagnosis, report.diagnosis
    places = {"check", "input", "place", "right", "got"}
    assert report.cases and set(report.cases[0]) == places


def test_a_quantizer_that_counts_elements_of_a_row_in_sixteen_bits_is_caught():
    def wraps(x):
        y = mxfp4()(x)
        beyond = y[..., 1 << 16 :]
        beyond[...] = y[..., : beyond.shape[-1]]
        return y

    report = rf.testing.conform(wraps, "mxfp4_e2m1", inputs=["float32"])
    assert [r.name for r in report.failures] == ["long_rows"]
    assert "blocks of a row numbered (the first is 0) from 2048" in report.diagnosis, report.diagnosis


def test_rows_that_end_in_a_part_of_a_block_may_be_refused_but_not_rounded_wrongly():
    def refuses(x):
        if x.shape[-1] % 32:
            raise ValueError("whole blocks, please")
        return mxfp4()(x)

    def leaves(x):
        y, whole = mxfp4()(x), x.shape[-1] // 32 * 32
        return np.concatenate([y[..., :whole], x[..., whole:]], axis=-1)

    report = rf.testing.conform(refuses, "mxfp4_e2m1", inputs=["float32"])
    assert report.passed and any("whole blocks" in (r.skipped or "") for r in report.results)
    wrong = rf.testing.conform(leaves, "mxfp4_e2m1", inputs=["float32"])
    assert [r.name for r in wrong.failures] == ["tails"]
    assert "leaves elements as they are, only in blocks that are not full" in wrong.diagnosis


@pytest.mark.parametrize(
    "work, said",
    [
        (
            lambda v: np.where(v < 0, np.trunc(v), np.rint(v)),
            "rounds positive values to nearest, ties to even, negative",
        ),
        (lambda v: np.rint(v + 0.1), "right for quotients with about 0.1"),
        (lambda v: np.rint(v * 0.99), "right for scales 1.01"),
    ],
)
def test_what_is_wrong_with_a_quantizer_of_integers_is_said(work, said):
    def quantize(x):
        v = np.nan_to_num(x.astype(np.float64) / 0.25, posinf=1e300, neginf=-1e300)
        return (np.clip(work(v), -127, 127) * 0.25).astype(x.dtype)

    report = rf.testing.conform(quantize, "int8", scale=0.25, inputs=["float32"])
    assert not report.passed and said in report.diagnosis, report.diagnosis


def in_turn(a, b):
    total = np.zeros((len(a), b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        total = (total + a[:, k : k + 1].astype(np.float64) * b[k].astype(np.float64)).astype(np.float32)
    return total


@pytest.mark.parametrize(
    "function, said",
    [
        (lambda a, b: in_turn(a[:, : a.shape[1] // 8 * 8], b[: a.shape[1] // 8 * 8]), "left after groups of 8 terms"),
        (lambda a, b: in_turn(a[:, ::-1], b[::-1]), "adds the terms in the opposite order"),
        (
            lambda a, b: np.where(np.arange(b.shape[1]) == 1, 0, in_turn(a, b)),
            "gives zero, only in all columns but the first and in columns up to number 1",
        ),
    ],
)
def test_what_is_wrong_with_a_product_of_matrices_is_said(function, said):
    report = rf.testing.conform(function, "float16", op="matmul", accumulate="float32")
    assert not report.passed and said in report.diagnosis, report.diagnosis


def saturating(a, b):
    total = np.float16(0)
    for x, y in zip(a, b, strict=True):
        with np.errstate(all="ignore"):
            total = np.float16(np.clip(np.float64(total) + np.float64(np.float16(x * y)), -65504, 65504))
    return total


def blas(a, b):
    """Several sums side by side, in the dtype of what is given."""
    parts = np.zeros(8, a.dtype)
    for k in range(0, len(a), 8):
        parts[: len(a[k : k + 8])] += a[k : k + 8] * b[k : k + 8]
    return parts[:4].sum(dtype=a.dtype) + parts[4:].sum(dtype=a.dtype)


def test_dot_products_that_are_calls_of_their_own_have_no_rows():
    report = rf.testing.conform(saturating, "float16", op="dot", accumulate="float16")
    assert not report.passed and " row" not in report.diagnosis and " column" not in report.diagnosis, report.diagnosis


def test_a_dot_product_is_identified_in_the_dtype_of_its_cases():
    report = rf.testing.conform(blas, "float16", op="dot", accumulate="float32")
    assert "8 sums side by side" in report.diagnosis and "float16" not in report.diagnosis, report.diagnosis


def test_terms_that_are_left_out_for_a_zero_are_said_and_no_way_of_adding_that_gives_it():
    def skips_zeros(a, b):
        total = np.float32(0)
        for x, y in zip(a.astype(np.float64), b.astype(np.float64), strict=True):
            with np.errstate(all="ignore"):
                total = total if x == 0 or y == 0 else np.float32(total + x * y)
        return total

    report = rf.testing.conform(skips_zeros, "bfloat16", op="dot", accumulate="float32")
    (said,) = report.diagnoses
    assert said == "skips terms that are zero in either operand: 0 * infinity and 0 * NaN count as nothing", said


def test_a_defect_of_long_products_is_not_one_of_even_rows():
    def halves(a, b):
        k = a.shape[1] // 2
        return in_turn(a, b) if a.shape[1] <= 64 else in_turn(a[:, :k], b[:k]) + in_turn(a[:, k:], b[k:])

    report = rf.testing.conform(halves, "bfloat16", op="matmul", accumulate="float32")
    assert "in sums of so many terms: " in report.diagnosis and " rows" not in report.diagnosis


def test_sums_have_terms_that_are_left_after_groups_of_any_power_of_two():
    expected = Sums("dot", rf.format("float16"), {"accumulate": "float32"})
    lengths = {a.shape[1] for _, _, a, *_ in groups_of(expected, False)}
    for size in (2, 4, 8, 16, 32, 64, 128):
        assert any(n > size and n % size for n in lengths)


def test_a_region_holds_what_it_must_and_nothing_else():
    x = np.arange(-8.0, 9.0)
    kinds = [Property("negative", x < 0), Property("even", x % 2 == 0), Property("small", np.abs(x) < 3)]
    found = region(kinds, [], x == -2, x != -2, noun="")
    assert found.words == "negative and even and small" and found.pure and (found.mask == (x == -2)).all()
    assert not region(kinds, [], x == 5, x != 5).pure


def test_kinds_of_rows_and_of_elements_make_one_region():
    x = np.arange(12.0).reshape(3, 4)
    rows, odd = Property("in the last row", np.arange(3)[:, None] == 2), Property("at odd places", x % 2 == 1)
    inside = (x == 9) | (x == 11)
    found = region([rows, odd], [Measure("of sizes", x)], inside, ~inside, noun="")
    assert found.words == "in the last row and at odd places" and found.pure


@pytest.mark.parametrize(
    "low, high, said",
    [
        (2.0**-13, 2.0**-11, "of sizes in the two binades from 2^-13"),
        (4.0, 8.0, "of sizes in the binade of 4"),
        (3.0, 100.0, "of sizes from 3 to below 100"),
        (1.0, 16.0, "of sizes from 1 to below 16"),
    ],
)
def test_bounds_are_said_as_one_would(low, high, said):
    x = np.concatenate([np.linspace(low, high, 100, endpoint=False), [np.nextafter(low, 0), high, 0, 1e9]])
    inside = (x >= low) & (x < high)
    assert region([], [Measure("of sizes", x)], inside, ~inside, noun="").words == said


@given(st.floats(allow_nan=False) | st.builds(np.ldexp, st.integers(-40, 40).map(float), st.integers(-1000, 1000)))
def test_a_number_that_is_said_is_that_number_and_no_longer_than_in_decimal(x):
    factor, _, power = say(x).rpartition("2^")
    value = (
        float({"": "1", "-": "-1"}.get(factor, factor.strip(" *"))) * 2.0 ** int(power)
        if "^" in say(x)
        else float(say(x))
    )
    assert value == x and len(say(x)) <= max(len(repr(x)), 5)


def other_multiplier(x):
    """Codes of MXFP8 whose scales are signed exponents, not biased."""
    codes, scales, _ = rf.quantize_blocks(x, "mxfp8_e4m3")
    return codes, (scales.astype(int) - 127 & 255).astype(np.uint8)


def of_the_first_row(x):
    """NVFP4 whose tensor scale is that of the first row."""
    top = np.abs(x[:1][np.isfinite(x[:1])]).max(initial=0.0) if x.ndim > 1 else np.abs(x[np.isfinite(x)]).max(initial=0)
    scale = np.float32(np.clip(top / 2688, 2.0**-149, 3e38)) if top else np.float32(1)
    return rf.decode_blocks(
        *rf.quantize_blocks(x, "nvfp4", tensor_scale=scale)[:2], "nvfp4", tensor_scale=scale
    ).astype(x.dtype)


def cut_elements_of_some(x):
    """MXFP4 of which elements are cut, and nothing else, by a rule that nobody foresaw."""
    q = mxfp4(element=lambda v: nearest(np.where(np.abs(v * 7 % 1) < 0.3, v * 0.8, v)))
    return q(x)


@pytest.mark.parametrize(
    "implementation, fmt, said",
    [
        ((other_multiplier, None), "mxfp8_e4m3", "the elements are right, but another scale multiplies them"),
        pytest.param(
            of_the_first_row,
            "nvfp4",
            "the elements are right for another scale; block and tensor scale together",
            marks=pytest.mark.slow,
        ),
        (cut_elements_of_some, "mxfp4_e2m1", "another scale alone does not explain it"),
    ],
)
def test_no_stage_is_called_right_or_wrong_that_was_not_shown_to_be(implementation, fmt, said):
    report = rf.testing.conform(implementation, fmt, inputs=["float32"])
    assert not report.passed and said in report.diagnosis, report.diagnosis
    assert "no scale makes" not in report.diagnosis and "scales are right" not in report.diagnosis


def test_blocks_that_come_out_zero_or_nan_name_no_rule_of_scales():
    q = mxfp4(after=lambda b: b)

    def small_scales_are_zero(x):
        size = np.abs(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % 32)]))
        top = np.repeat(size.reshape(*size.shape[:-1], -1, 32).max(axis=-1), 32, axis=-1)[..., : x.shape[-1]]
        return np.where((top > 0) & (top < 2.0**-14), np.where(x == 0, np.nan, x * 0), q(x)).astype(x.dtype)

    report = rf.testing.conform(small_scales_are_zero, "mxfp4_e2m1", inputs=["float16"])
    assert "powers of two, only" not in report.diagnosis and "below 2^-14" in report.diagnosis, report.diagnosis
