"""Everything a training run refuses, one clear error each, before it trains."""

import dataclasses
import math

import numpy as np
import pytest

import refimpl as rf
from refimpl.nn import LossScale, attention, layers, schedules

DIGITS = rf.data.load("digits")
FEW = rf.data.Task(
    "few",
    DIGITS.train_images[:96],
    DIGITS.train_labels[:96],
    DIGITS.test_images[:8],
    DIGITS.test_labels[:8],
    classes=10,
    images_from="digits",
)


def scaled(value):
    return {"precision": rf.Precision(low="e4m3", high="e8m7", loss_scale=value)}


def task(**fields):
    """Make a data set of one's own kind, which no Task has looked at."""
    given = {f.name: getattr(FEW, f.name) for f in dataclasses.fields(FEW)}
    return type("Mine", (), {**given, **fields})


def changed(**fields):
    """Return the digits with arrays changed after a Task has checked them."""
    digits = rf.data.load("digits")
    for name, (at, value) in fields.items():
        getattr(digits, name)[at] = value
    return digits


SETTINGS = {
    "batch_size": [1438, 0, -1, 32.0, True, "32"],
    "epochs": [0, -3, 1.5, None, math.nan],
    "seed": [-1, 0.5, "0", None],
    "learning_rate": [0, -0.1, math.nan, math.inf, 1e39, 1e-46, "0.1", 1j],
    "final_rate": [math.nan, -0.1],
    "momentum": [1.0, -0.1, math.nan, "much"],
    "weight_decay": [-1e-4, math.nan],
    "precision": ["peppp"],
    "optimizer": ["adam"],
    "watch": [1],
    "switch": [3, (1, "pure16"), (10, None), (0, None), (0.5, None)],
    "schedule": ["cosine", lambda done: math.nan, lambda done: 0.5 - done],
    "checkpoint": [5, "", ".", "none/run.npz"],
    "shuffle": ["no", 1],
    "progress": [None],
    "validate": [0],
}


def refused(call, *words):
    """Assert that a call ends in one line that says all these words."""
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    said = str(error.value)
    assert "\n" not in said and all(word in said for word in words), said


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SETTINGS.items() for value in values])
def test_settings_that_make_no_sense_are_refused(name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    word = "precision" if value == (1, "pure16") else name
    refused(lambda: rf.nn.fit(rf.nn.cnn(), DIGITS, **{name: value}), word)


BAD = {
    "loss_scale": [lambda x=x: scaled(x) for x in (0, -1.0, math.nan, 1e39, 1e-40, "1000", None)],
    "LossScale: growth": [lambda: LossScale(growth=0.5)],
    "LossScale: backoff": [lambda: LossScale(backoff=2.0), lambda: LossScale(backoff=0)],
    "LossScale: patience": [lambda: LossScale(patience=0)],
    "LossScale: largest": [lambda: LossScale(largest=math.inf)],
    "LossScale: initial": [lambda: LossScale(initial=16.0, growth=4, smallest=2, largest=8)],
    "Adam: beta1": [lambda: rf.nn.Adam(beta1=1.0)],
    "Adam: beta2": [lambda: rf.nn.Adam(beta2=math.nan), lambda: rf.nn.Adam(beta2=1.01)],
    "Adam: epsilon": [lambda: rf.nn.Adam(epsilon=-1e-8)],
    "Adam: unknown state '4-bit'": [lambda: rf.nn.Adam(state="4-bit")],
    "Adam: decoupled": [lambda: rf.nn.Adam(decoupled="no")],
    "SGD: block": [lambda: rf.nn.SGD(block=0)],
    "SGD: unknown update 'kahn'; did you mean 'kahan'": [lambda: rf.nn.SGD(update="kahn")],
    "SGD: weight_decay": [lambda: rf.nn.SGD(weight_decay=-1)],
    "SGD: nesterov": [lambda: rf.nn.SGD(nesterov=1)],
    "Precision: roles": [lambda: rf.Precision(roles=5)],
    "Precision: layers": [lambda: rf.Precision(layers=["*Linear"])],
    "Precision: layers['*Linear']": [lambda: rf.Precision(layers={"*Linear": "e4m3"})],
    "Precision: unknown role in roles 'wieght'; did you mean 'weight'": [
        lambda: rf.Precision(roles={"wieght": "e4m3"})
    ],
    "Precision: unknown role in layers['*'] 'acc'": [lambda: rf.Precision(layers={"*": {"acc": None}})],
    "Precision: unknown gradients_rounded 'never'": [lambda: rf.Precision(gradients_rounded="never")],
    "Precision: per of weight in roles": [
        lambda: rf.Precision(roles={"weight": rf.nn.Rounding(format="int8", per="row")})
    ],
    "both or neither": [lambda: rf.Precision(low="e4m3")],
    "unknown format 'nothing'": [
        lambda: rf.Precision(low="e4m3", high="nothing"),
        lambda: rf.Precision(roles={"weight": "nothing"}),
    ],
    "Rounding: format": [
        lambda name=name: rf.Precision(low=name, high="e8m7") for name in ("uint8", "float64", "float8_e8m0fnu")
    ],
    "Rounding: unknown rounding 'nearest'; did you mean 'ties_to_even'": [
        lambda: rf.Precision(low="e4m3", high="e8m7", rounding="nearest")
    ],
    "Rounding: unknown scaling 'daily'": [lambda: rf.nn.Rounding(format="e4m3", scaling="daily")],
    "Rounding: unknown rounding of nf4 'stochastic'": [lambda: rf.Precision(low="nf4", high="e8m7")],
    "Rounding: unknown rounding of int8 'toward_zero'": [lambda: rf.nn.Rounding(format="int8", rounding="toward_zero")],
    "Rounding: per": [
        lambda per=per: rf.nn.Rounding(format="int8", per=per) for per in ("column", 0, 2.5, True, np.zeros(3))
    ],
    "Rounding: scaling": [lambda: rf.nn.Rounding(format="int8", per="row", scaling="delayed")],
    "preset: unknown policy 'fp9'; did you mean 'fp8'": [lambda: rf.nn.preset("fp9")],
    "warm_up: fraction": [
        lambda: schedules.warm_up(0, schedules.constant()),
        lambda: schedules.warm_up(1.5, schedules.constant()),
    ],
    "Convolution: channels": [lambda: layers.Convolution(0, 4)],
    "Convolution: filters": [lambda: layers.Convolution(1, 4.0)],
    "Convolution: stride": [lambda: layers.Convolution(1, 4, stride=0)],
    "Convolution: size": [lambda: layers.Convolution(1, 4, size=0)],
    "Convolution: padding": [lambda: layers.Convolution(1, 4, padding=-1)],
    "Convolution: groups": [lambda: layers.Convolution(4, 4, groups=0)],
    "groups": [lambda: layers.Convolution(4, 6, groups=4)],
    "unknown initializer 'zeros'": [lambda: layers.Convolution(1, 4, initializer="zeros")],
    "draw: unknown initializer 'hee'; did you mean 'he'": [
        lambda: rf.nn.initializers.draw("hee", (2, 2), np.random.default_rng(0))
    ],
    "Linear: features": [lambda: layers.Linear(0, 4)],
    "BatchNorm: epsilon": [lambda: layers.BatchNorm(4, epsilon=-1.0)],
    "role 'activations'": [lambda: layers.Round("activations")],
    "heads": [lambda: attention.Attention(8, 0), lambda: attention.Attention(8, 3)],
    "Embedding: words": [lambda: attention.Embedding(0, 8)],
    "Positions: features": [lambda: attention.Positions(8, -1)],
    "LayerNorm: features": [lambda: attention.LayerNorm(0)],
    "MaxPool: size": [lambda: layers.MaxPool(0)],
    "tanh": [lambda: layers.Sequential([np.tanh])],
    "mlp: widths": [lambda: rf.nn.mlp(widths=()), lambda: rf.nn.mlp(widths=128)],
    "cnn: widths": [lambda: rf.nn.cnn(widths=16), lambda: rf.nn.cnn(widths=(1, 2, 3)), lambda: rf.nn.cnn(widths=(1,))],
    "vgg: plan": [lambda: rf.nn.vgg(plan=3), lambda: rf.nn.vgg(plan="M")],
    "lenet: size": [lambda: rf.nn.lenet(size=10), lambda: rf.nn.lenet(size="28")],
    "transformer: blocks": [lambda: rf.nn.transformer(blocks=-1)],
    "network: unknown network 'CNN'; did you mean 'cnn'": [lambda: rf.nn.network("CNN", (8, 8, 1), 10)],
    "network: shape": [lambda: rf.nn.network("cnn", 8, 10), lambda: rf.nn.network("cnn", (16,), 8)],
    "network: name": [lambda: rf.nn.network("cnn", (16,), 8, words=9)],
    "most_exact_terms: format": [lambda: rf.nn.exactness.most_exact_terms("e4m3", "int8")],
}


@pytest.mark.parametrize(("words", "make"), [(words, make) for words, makes in BAD.items() for make in makes])
def test_policies_optimizers_and_layers_that_make_no_sense_are_refused(words, make):
    refused(make, words)


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (rf.nn.cnn(), "digits", "task is 'digits'"),
        ("cnn", FEW, "model is 'cnn'"),
        (rf.nn.cnn, FEW, "model is <function"),
        (rf.nn.cnn(), task(train_labels=FEW.train_labels.astype(float)), "train_labels is an array of float64"),
        (rf.nn.cnn(), task(test_labels=FEW.test_labels.tolist()), "test_labels is ["),
        (rf.nn.cnn(), task(train_images=FEW.train_images.astype(float)), "train_images is an array of float64"),
        (rf.nn.cnn(), task(train_labels=FEW.train_labels[:90]), "train_labels is an array of int64 and shape (90,)"),
        (rf.nn.cnn(), task(test_images=FEW.test_images[:0], test_labels=FEW.test_labels[:0]), "at least one image"),
        (rf.nn.cnn(), task(test_images=FEW.test_images[:, :4]), "test_images is of shape (8, 4, 8, 1)"),
        (rf.nn.cnn(), task(classes="ten"), "task.classes is 'ten'"),
        (
            layers.Sequential([layers.AveragePool()]),
            task(classes=1, train_labels=0 * FEW.train_labels, test_labels=0 * FEW.test_labels),
            "something to learn",
        ),
        (rf.nn.cnn(classes=7), FEW, "build the network with classes=10"),
        (rf.nn.cnn(), changed(train_images=((3, 0, 1, 0), np.nan)), "train_images[3, 0, 1, 0] is nan"),
        (rf.nn.cnn(), changed(test_images=((0, 0, 0, 0), np.inf)), "test_images[0, 0, 0, 0] is inf"),
        (rf.nn.cnn(), changed(train_labels=(5, 10)), "train_labels[5] is 10"),
        (rf.nn.cnn(), changed(test_labels=(5, -1)), "test_labels[5] is -1"),
        (rf.nn.cnn(), changed(train_labels=(DIGITS.train_labels == 7, 1)), "class 7 of digits has no training image"),
    ],
)
def test_networks_and_tasks_that_do_not_fit_are_refused(model, data, words):
    for use in (rf.nn.fit, lambda *given: rf.nn.rounding_plan(*given, rf.Precision())):
        refused(lambda use=use: use(model, data), "fit: ", words)


def test_a_policy_for_layers_the_network_has_not_is_refused_with_those_it_has():
    policy = rf.Precision(low="e4m3", high="e8m7", layers={"*Linaer": {"weight": None}})
    words = "'*Linaer'; did you mean '11 Linear'?; allowed are 0 Round, 1 Convolution"
    refused(lambda: rf.nn.fit(rf.nn.cnn(), FEW, precision=policy), words)
    refused(lambda: rf.nn.rounding_plan(rf.nn.cnn(), FEW, policy), words)


@pytest.mark.parametrize("setting", [{"optimizer": "adam"}, {"seed": "0"}, {"batch_size": 0}])
def test_the_rounding_plan_refuses_what_fit_refuses(setting):
    refused(lambda: rf.nn.rounding_plan(rf.nn.cnn(), DIGITS, rf.Precision(), **setting), "fit: ", *setting)


def test_a_layer_that_stands_twice_is_refused_if_it_learns_and_welcome_if_not():
    def network(hidden, relu):
        first = [layers.Flatten(), layers.Linear(64, 64), relu, hidden]
        return layers.Sequential([*first, relu, layers.Linear(64, 10)])

    twice = layers.Linear(64, 64)
    model = layers.Sequential([layers.Flatten(), twice, layers.ReLU(), twice, layers.Linear(64, 10)])
    refused(lambda: rf.nn.fit(model, FEW), "the same Linear stands in model twice")
    dropout = layers.Dropout()
    model = layers.Sequential([layers.Flatten(), dropout, layers.Linear(64, 10), dropout])
    refused(lambda: rf.nn.fit(model, FEW), "the same Dropout stands in model twice")
    rf.nn.fit(network(layers.Linear(64, 64), layers.ReLU()), FEW, epochs=1)


def test_batch_norm_of_one_value_is_refused_and_of_one_image_of_many_pixels_is_not():
    flat = layers.Sequential([layers.Flatten(), layers.Linear(64, 16), layers.BatchNorm(16), layers.Linear(16, 10)])
    refused(lambda: rf.nn.fit(flat, FEW, batch_size=1), "fit: batch_size is 1; allowed is at least 2", "'2 BatchNorm'")
    refused(lambda: rf.nn.rounding_plan(flat, FEW, rf.Precision(), batch_size=1), "'2 BatchNorm'")
    rf.nn.fit(flat, FEW, epochs=1, batch_size=2)
    rf.nn.fit(rf.nn.cnn(), FEW, epochs=1, batch_size=1)


def test_a_step_that_leaves_nothing_but_nan_behind_is_divergence_even_if_it_was_the_last():
    result = rf.nn.fit(rf.nn.mlp(), FEW, epochs=1, batch_size=96, learning_rate=1e37)
    assert math.isfinite(result.history[0]["loss"])
    assert result.diverged and result.test_error == 0.9


def test_a_file_that_is_not_a_checkpoint_is_not_taken_for_one(tmp_path):
    np.savez(tmp_path / "run.npz", settings=np.frombuffer(b"{}", np.uint8))
    refused(lambda: rf.nn.fit(rf.nn.mlp(), FEW, checkpoint=tmp_path / "run.npz"), "run.npz is damaged, or not a check")


def test_a_loss_beyond_float32_once_scaled_is_divergence_and_not_silence():
    result = rf.nn.fit(rf.nn.mlp(), FEW, epochs=1, **scaled(2.0**127))
    assert result.diverged and result.test_error == 1 - 1 / 10
    assert result.history[0]["loss"] == math.inf


def test_numbers_of_numpy_are_as_good_as_python_s():
    settings = {
        "epochs": np.int64(1),
        "batch_size": np.int32(16),
        "seed": np.uint8(3),
        "learning_rate": np.float32(0.5),
    }
    plain = {name: value.item() for name, value in settings.items()}
    ours, theirs = (rf.nn.fit(rf.nn.mlp(), FEW, **s) for s in (settings, plain))
    assert ours.test_error == theirs.test_error
    assert ours.history[0]["loss"] == theirs.history[0]["loss"]
    rf.nn.fit(rf.nn.mlp(), FEW, epochs=1, schedule=schedules.cosine())
