"""Continuing in another precision, and the small functions of `refimpl.numerics.sixteen_bit`."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.nn import SGD, Adam, fit, mlp, preset
from refimpl.nn.training import TrainingState

DIGITS = rf.data.load("digits")


def test_going_on_under_the_same_policy_changes_no_bit():
    whole, switched = (
        fit(mlp(), DIGITS, precision=preset("float32"), epochs=2, switch=s) for s in (None, (1, preset("float32")))
    )
    for one, other in zip(whole.model.tensors(), switched.model.tensors(), strict=True):
        np.testing.assert_array_equal(one.data, other.data)


@pytest.mark.parametrize("rule", [SGD(), SGD(update="kahan"), Adam(), Adam(state="8-bit")])
def test_everything_kept_is_cast_to_the_new_policy_s_format(rule):
    run = TrainingState(mlp(), DIGITS, preset("float32"), rule, 0, layer_by_layer=False)
    vectors = [run.optimizer.master_weights, *(s for s in run.optimizer.state if isinstance(s, np.ndarray))]
    for vector in vectors:
        vector[:] = np.random.default_rng(0).standard_normal(vector.size)
    before = [v.copy() for v in vectors]
    run.switch_precision(preset("pure16", "bfloat16"))
    for old, new in zip(before, vectors, strict=True):
        np.testing.assert_array_equal(new, rf.quantize(old, "bfloat16"))
    np.testing.assert_array_equal(run.optimizer.weights, run.optimizer.master_weights)


def test_training_goes_on_and_ends_in_the_new_format():
    found = fit(mlp(), DIGITS, epochs=3, switch=(2, preset("pure16")))
    for tensor in found.model.tensors():
        np.testing.assert_array_equal(tensor.data, tensor.data.astype(np.float16))
    assert found.history[2]["loss"] < found.history[1]["loss"] and found.test_error < 0.1
