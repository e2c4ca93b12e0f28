"""Everything `refimpl.numerics` refuses ends in one line that names the function and the argument."""

import math

import numpy as np
import pytest

import refimpl as rf
from refimpl import numerics as N
from refimpl.nn import Precision, Rounding, mlp, transformer
from refimpl.numerics import sixteen_bit
from refimpl.numerics.evidence import Candidate, Evidence
from refimpl.numerics.tails import draw
from refimpl.numerics.tolerance import cast

DIGITS = rf.data.load("digits")
IMAGES = DIGITS.test_images
HALF = rf.nn.preset("pure16")
RAGGED = [[1.0, 2.0], [3.0]]


@pytest.fixture(scope="module")
def evidence():
    return N.measure(mlp(), DIGITS, N.candidates(), steps=1)


@pytest.fixture(scope="module")
def trained():
    return rf.nn.fit(mlp(), DIGITS, epochs=1).model


def with_nan():
    model = mlp()
    model.initialize(np.random.default_rng(0))
    model.tensors()[0].data[0, 0] = np.nan
    return model


def rounded(fmt):
    return Precision(roles=dict.fromkeys(("input", "activation", "weight", "logits"), fmt))


METRICS = {
    "relative_error: x[1] is nan": lambda: N.relative_error([1.0, np.nan], [1.0, 1.0]),
    "relative_error: x ": lambda: N.relative_error(RAGGED, 1.0),
    "relative_error: y is of shape (3,)": lambda: N.relative_error([1.0, 2.0], [1.0, 2.0, 3.0]),
    "sqnr: y is of shape (3,)": lambda: N.sqnr([1.0, 2.0], [1.0, 2.0, 3.0]),
    "sqnr: y is of shape (2,)": lambda: N.sqnr([[1.0, 2.0]] * 2, [1.0, 2.0]),
    "sqnr: x[0] is nan": lambda: N.sqnr([np.nan], [1.0]),
    "sqnr: x is 'a'": lambda: N.sqnr("a", [1.0]),
    "normwise_error: y is of shape ()": lambda: N.normwise_error([1.0, 2.0], 1.0),
    "underflow: y is of shape ()": lambda: N.underflow([1.0, 2.0], 0.0),
    "overflow: scale[0] is 0.0": lambda: N.overflow([1.0], "int8", scale=0.0),
    "overflow: scale is of shape (3,)": lambda: N.overflow([1.0, 2.0], "int8", scale=[1.0] * 3),
    "backward_error: b is of shape (2, 1)": lambda: N.backward_error([[1.0]], [[1.0], [2.0]], [[1.0]], [[1.0], [2.0]]),
    "backward_error: b is of shape (1,)": lambda: N.backward_error([1.0], [1.0], [1.0], [1.0]),
    "backward_error: b is of shape (3, 1, 1)": lambda: N.backward_error(*[np.ones((n, 1, 1)) for n in (2, 3, 2, 3)]),
    "backward_error: qa is of shape ()": lambda: N.backward_error([[1.0]], [[1.0]], 1.0, [[1.0]]),
    "backward_error: normwise": lambda: N.backward_error(*[[[1.0]]] * 4, normwise="yes"),
    "round_scaled: x[1] is inf": lambda: N.round_scaled([1.0, np.inf], "int8"),
    "round_scaled: format is 'uint8'": lambda: N.round_scaled([1.0], "uint8"),
    "round_scaled: format is 'posit8_2'": lambda: N.round_scaled([1.0], "posit8_2"),
    "round_scaled: format is 'mxfp4_e2m1'": lambda: N.round_scaled([1.0], "mxfp4_e2m1"),
    "round_scaled: format is 'nf4'": lambda: N.round_scaled([1.0], "nf4"),
    "round_scaled: format is 'float8_e8m0fnu'": lambda: N.round_scaled([1.0], "float8_e8m0fnu"),
    "'sideways'": lambda: N.round_scaled([1.0], "int8", rounding="sideways"),
    "seed": lambda: N.round_scaled([1.0], "int8", rounding="stochastic"),
    "axis": lambda: N.round_scaled([1.0], "int8", axis=1),
    "error_profile: octaves": lambda: N.error_profile("int8", octaves=0),
    "error_profile: samples": lambda: N.error_profile("int8", samples="many"),
    "draw: nu": lambda: draw(0.0, 3, np.random.default_rng(0)),
    "fit_student_t: values is 100 numbers, 1 of them different": lambda: N.fit_student_t([1.0] * 100),
    "fit_student_t: values[0] is inf": lambda: N.fit_student_t([np.inf] * 100),
    "fit_student_t: values ": lambda: N.fit_student_t(RAGGED),
    "fit_student_t: seed": lambda: N.fit_student_t(np.arange(20), seed=-1),
    "fit_student_t: most": lambda: N.fit_student_t(np.arange(20), most=0),
    "product_errors: size": lambda: N.product_errors(3.0, "int8", size=0),
    "product_errors: seed": lambda: N.product_errors(3.0, "int8", seed=-1),
    "product_errors: unknown scaling 'col'": lambda: N.product_errors(3.0, "int8", scaling="col"),
    "product_errors: nu": lambda: N.product_errors("a", "int8"),
    "tail_table: nus is []": lambda: N.tail_table(nus=[]),
    "tail_table: nu is -1.0": lambda: N.tail_table(nus=[3.0, -1.0]),
    "tail_table: nus is 3.0": lambda: N.tail_table(nus=3.0),
    "tail_table: formats is []": lambda: N.tail_table(formats=[]),
    "unknown format 'nope'": lambda: N.tail_table(formats=["int8", "nope"]),
    "tail_table: size": lambda: N.tail_table(size=1.5),
    "tail_table: trials": lambda: N.tail_table(trials=0),
    "batch_norm: unknown formula 'moment'; did you mean 'moments'": lambda: sixteen_bit.batch_norm(
        [[1.0]], "float16", formula="moment"
    ),
    "batch_norm: x is of shape (1,)": lambda: sixteen_bit.batch_norm([1.0], "float16"),
    "batch_norm: format is 'float64'": lambda: sixteen_bit.batch_norm([[1.0]], "float64"),
    "batch_norm: x ": lambda: sixteen_bit.batch_norm(RAGGED, "float16"),
    "batch_norm: epsilon": lambda: sixteen_bit.batch_norm([[1.0]], "float16", epsilon=None),
    "first_adam_step: format is 'int8'": lambda: sixteen_bit.first_adam_step(1.0, "int8"),
    "first_adam_step: gradient is 'a'": lambda: sixteen_bit.first_adam_step("a", "float16"),
    "in_format: rule": lambda: sixteen_bit.in_format("adam", "float16"),
    "halting_radius: rate is 'a'": lambda: sixteen_bit.halting_radius("a", 1.0),
    "halting_radius: rate is 0.0": lambda: sixteen_bit.halting_radius(0.0, 1.0),
    "halting_radius: weight": lambda: sixteen_bit.halting_radius(0.1, math.nan),
    "halting_radius: curvature": lambda: sixteen_bit.halting_radius(0.1, 1.0, curvature=-1),
    "halting_radius: format": lambda: sixteen_bit.halting_radius(0.1, 1.0, "int8"),
    "floating_point_error: second is of shape (2, 2)": lambda: N.floating_point_error([[0, 1]], [[0, 1], [1, 0]]),
    "tolerance: outputs is of shape (3,)": lambda: N.tolerance([1, 2, 3]),
    "tolerance: outputs is an array of float64 and shape (2, 1)": lambda: N.tolerance([[1], [2]]),
    "probabilities: logits is of shape (0,)": lambda: N.probabilities([]),
    "predictive_power: metric": lambda: N.predictive_power("abcde", [1, 2, 3, 4]),
    "predictive_power: resamples": lambda: N.predictive_power([1, 2, 3, 4], [1, 2, 4, 3], resamples=0),
    "predictive_power: metric is [1.0, 2.0, 3.0]": lambda: N.predictive_power([1, 2, 3], [1, 2, 3]),
    "predictive_power: metric is [1.0, 1.0, 1.0, 1.0]": lambda: N.predictive_power([1, 1, 1, 1], [1, 2, 3, 4]),
    "predictive_power: quality is of shape (3,)": lambda: N.predictive_power([1, 2, 3, 4], [1, 2, 3]),
    "predictive_power: metric[3] is nan": lambda: N.predictive_power([1, 2, 3, np.nan], [1, 2, 3, 4]),
    "candidates: formats is []": lambda: N.candidates([]),
    "candidates: formats is 'int8'": lambda: N.candidates("int8"),
    "candidates: scalings is []": lambda: N.candidates(["int8"], scalings=[]),
    "IntFormat: bits": lambda: N.candidates(["int9000"]),
    "'e4q3'": lambda: N.candidates(["e4q3"]),
    "unknown rounding 'up'": lambda: N.candidates(["int8"], roundings=["up"]),
    "per is 'column'": lambda: N.candidates(["int8"], scalings=["column"]),
    "format is 'uint8'": lambda: N.candidates(["uint8"]),
    "measure: candidates is []": lambda: N.measure(mlp(), DIGITS, []),
    "measure: candidates[0] is 'int8'": lambda: N.measure(mlp(), DIGITS, ["int8"]),
    "measure: candidates is 3": lambda: N.measure(mlp(), DIGITS, 3),
    "takes 63 features": lambda: N.measure(mlp(features=63), DIGITS, N.candidates()),
    "capture: steps": lambda: N.capture(mlp(), DIGITS, steps=0),
    "capture: also": lambda: N.capture(mlp(), DIGITS, also=3),
    "choose: evidence is None": lambda: N.choose(None, tolerance=0.1),
    "choose: evidence is without operands": lambda: N.choose(Evidence(N.candidates()), tolerance=0.1),
    "policies: evidence is None": lambda: N.policies(None, 5),
    "Candidate: rounding is 'int8'": lambda: Candidate("int8"),
    "train: make": lambda: N.train(mlp(), DIGITS, None),
    "train: assignment is 'int8'": lambda: N.train(mlp, DIGITS, "int8"),
    "train: seeds is ()": lambda: N.train(mlp, DIGITS, None, seeds=()),
    "train: seeds[1] is -1": lambda: N.train(mlp, DIGITS, None, seeds=(0, -1)),
    "train_policies: make": lambda: N.train_policies(mlp(), DIGITS, {}),
    "task is 'digits'": lambda: N.train_policies(mlp, "digits", {}),
    "train_policies: seeds is ()": lambda: N.train_policies(mlp, DIGITS, {}, seeds=()),
    "certify: layer '2 Linear' is without weights": lambda: N.certify(mlp(), IMAGES, HALF),
    "certify: weight of layer '2 Linear'[0, 0] is nan": lambda: N.certify(with_nan(), IMAGES, HALF),
    "certify: there is no bound for layer '1 ImageRows'": lambda: N.certify(transformer(), IMAGES, HALF),
}
EVIDENCE = {
    "choose: tolerance is nan": lambda e: N.choose(e, tolerance=math.nan),
    "choose: tolerance is 'a'": lambda e: N.choose(e, tolerance="a"),
    "choose: unknown metric 'luck'": lambda e: N.choose(e, tolerance=0.1, metric="luck"),
    "uniform: place is 5": lambda e: N.uniform(e, 5),
    "uniform: place is -1": lambda e: N.uniform(e, -1),
    "uniform: place is 'int8'": lambda e: N.uniform(e, "int8"),
    "uniform: unknown metric 'luck'": lambda e: N.uniform(e, 0, "luck"),
    "value: key is ('9 Linear', 'noise')": lambda e: e.value(("9 Linear", "noise"), "noise"),
    "value: unknown metric 'luck'": lambda e: e.value(("8 Linear", "left operand"), "luck"),
    "of: layer is '9 Linear', which with role 'left operand' fits none": lambda e: e.capture.of(
        "9 Linear", "left operand"
    ),
    "fits '8 Linear', '5 Linear', '2 Linear'": lambda e: e.capture.of("Linear", "left operand"),
    "policies: count is 0": lambda e: N.policies(e, 0),
    "policies: count is 2.5": lambda e: N.policies(e, 2.5),
    "policies: seed is -1": lambda e: N.policies(e, 5, seed=-1),
    "policies: unknown metric 'luck'": lambda e: N.policies(e, 5, metric="luck"),
    "train_policies: assignments is [<Evidence": lambda e: N.train_policies(mlp, DIGITS, [e]),
    "train_policies: assignments['a'] is <Evidence": lambda e: N.train_policies(mlp, DIGITS, {"a": e}),
}


def refused(call, words):
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value), str(error.value)


@pytest.mark.parametrize("words", METRICS)
def test_what_is_not_allowed_is_refused_by_name(words):
    refused(METRICS[words], words)


@pytest.mark.parametrize("words", EVIDENCE)
def test_what_evidence_does_not_have_is_refused_by_name(words, evidence):
    refused(lambda: EVIDENCE[words](evidence), words)


@pytest.mark.parametrize("use", [N.certify, N.predict, N.forward_error_bound])
@pytest.mark.parametrize(
    ("images", "precision", "words"),
    [
        (np.full((1, 8, 8, 1), np.nan, np.float32), HALF, "images[0, 0, 0, 0] is nan"),
        (np.zeros((1, 8, 7, 1), np.float32), HALF, "images is an array of float32 and shape (1, 8, 7, 1)"),
        (IMAGES[0], HALF, "a single image is image[np.newaxis]"),
        (IMAGES[:0], HALF, "at least one image"),
        (RAGGED, HALF, "images is"),
        (np.zeros((1, 8, 8, 1)), HALF, "images is an array of float64"),
        (IMAGES, "float16", "precision is 'float16'"),
    ],
)
def test_whoever_refuses_says_its_own_name(trained, use, images, precision, words):
    refused(lambda: use(trained, images, precision), words)
    for model in (None, "cnn"):
        refused(lambda model=model: use(model, images, precision), f"{use.__name__}: model is {model!r}")


@pytest.mark.parametrize("fmt", ["int8", Rounding(format="e4m3fn", scaling="current")])
def test_formats_without_a_bound_are_refused(trained, fmt):
    refused(lambda: N.certify(trained, IMAGES, rounded(fmt)), "certify: there is no bound for input of layer '0 Round'")


def test_other_outputs_and_casts_are_refused(trained):
    refused(lambda: N.certify(trained, IMAGES, HALF, outputs="classes"), "certify: unknown outputs 'classes'")
    refused(lambda: cast(trained, "float16"), "cast: precision is 'float16'")
    refused(lambda: cast(trained, HALF, seed="a"), "cast: seed is 'a'")
