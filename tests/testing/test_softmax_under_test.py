"""Softmax under test: right ones pass, and the step that is another is named."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.testing import conform

BF16 = "bfloat16"


def bf16(x):
    return np.asarray(rf.quantize(x, BF16))


def steps(x, *, shift=np.max, base=rf.exp, add=BF16, reciprocal=False):
    """Softmax in bfloat16, written out."""
    less = rf.sub(x, shift(x, axis=1, keepdims=True), BF16)
    powers = base(less, BF16)
    total = bf16(rf.sum(powers, add, axis=1))[:, None]
    return rf.mul(powers, rf.div(1.0, total, BF16), BF16) if reciprocal else rf.div(powers, total, BF16)


def coarse(x):
    """Softmax whose exponentials are off by up to a hundredth."""
    return steps(x, base=lambda less, fmt: bf16(np.exp(less) * (1 + 0.01 * np.sin(100 * np.maximum(less, -50)))))


def masked(x):
    y = np.array(steps(x))
    y[(x == -np.inf).all(axis=1)] = 0
    return y


def of_32(x):
    y = np.array(steps(x))
    if x.shape[1] > 32:
        y[:, :32] = steps(x[:, :32])
    return y


@pytest.mark.parametrize("fmt, options", [(BF16, {}), ("e4m3fn", {"accumulate": "float16"}),
                                          ("float16", {"accumulate": "float32", "out_format": "e5m2"})])  # fmt: skip
def test_ours_conforms(fmt, options):
    how = {"accumulator": options.get("accumulate"), "out_format": options.get("out_format")}
    report = conform(lambda x: rf.softmax(x, fmt, **how), fmt, op="softmax", **options)
    assert report.passed and sum(r.tried for r in report.results) > 1000


def test_one_written_out_conforms():
    assert conform(steps, BF16, op="softmax").passed


@pytest.mark.parametrize(
    "wrong, said",
    [
        (
            lambda x: steps(x, shift=lambda x, **_: np.zeros((len(x), 1))),
            "does not subtract the largest value of a row",
        ),
        (lambda x: steps(x, shift=lambda x, **_: x.max()), "subtracts the largest value of all rows"),
        (lambda x: steps(x, base=rf.exp2), "takes powers of 2, not of e"),
        (lambda x: steps(x, add="float32"), "adds in float32"),
        (lambda x: steps(x, reciprocal=True), "multiplies by the reciprocal of the sum, which is rounded"),
        (lambda x: rf.softmax(x, BF16, accumulator="float32"), "takes all steps in float32"),
        (lambda x: steps(x.T).T, "is taken over columns"),
        (masked, "gives 0 for a row of k times -inf, not NaN"),
    ],
)
def test_the_step_that_is_another_is_named(wrong, said):
    report = conform(wrong, BF16, op="softmax")
    assert not report.passed and report.diagnoses[0] == said
    assert "exponentials" in report.failures[0].failure.explanation


def test_what_is_not_known_is_measured_and_located():
    assert "rows of 33 elements or more: results lie up to" in conform(of_32, BF16, op="softmax").hint
    assert conform(lambda x: np.log(steps(x)), BF16, op="softmax").hint.startswith("gives no positive results")
    assert "bfloat16 from the right ones" in conform(coarse, BF16, op="softmax").hint


def test_one_that_raises_or_hangs_or_returns_another_shape_is_a_finding():
    assert "returned shape" in conform(lambda x: x[:, 0], BF16, op="softmax").diagnosis
    report = conform(lambda x: __import__("time").sleep(3), BF16, op="softmax", time_limit=0.2)
    assert "did not return" in report.diagnosis and report.results[-1].skipped


@pytest.mark.parametrize(
    "options, said",
    [
        ({"order": "pairwise"}, "order"),
        ({"rounding": "to_odd"}, "rounding is .to_odd."),
        ({"accumulate": "int8"}, "accumulate of softmax"),
        ({"scale": 2.0}, "scale"),
    ],
)
def test_what_softmax_does_not_take_is_refused(options, said):
    with pytest.raises((TypeError, ValueError), match=said):
        conform(steps, BF16, op="softmax", **options)
