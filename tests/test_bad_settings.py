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


SETTINGS = {
    "batch_size": [
        (1438, "a batch of 1438 from 1437 images; use 1 to 1437"),
        (0, "a batch of 0"),
        (-1, "a batch of -1"),
        (32.0, r"batch_size is 32.0; it must be a whole number"),
        (True, "batch_size is True"),
        ("32", "batch_size is '32'"),
    ],
    "epochs": [
        (0, "epochs is 0; it must be at least 1"),
        (-3, "epochs is -3"),
        (1.5, "epochs is 1.5; it must be a whole"),
        (None, "epochs is None"),
        (math.nan, "epochs is nan"),
    ],
    "seed": [
        (-1, "seed is -1; it must be at least 0"),
        (0.5, "seed is 0.5"),
        ("0", "seed is '0'"),
        (None, "seed is None"),
    ],
    "learning_rate": [
        (0, "learning_rate is 0; it must be finite and above 0"),
        (-0.1, "learning_rate is -0.1"),
        (math.nan, "learning_rate is nan"),
        (math.inf, "learning_rate is inf"),
        (1e39, "learning_rate is 1e.39.*float32's range"),
        (1e-46, "learning_rate is 1e-46.*float32"),
        ("0.1", "learning_rate is '0.1'; it must be a number"),
        (1j, "learning_rate is 1j"),
    ],
    "final_rate": [(math.nan, "final_rate is nan; it must be finite and at least 0"), (-0.1, "final_rate is -0.1")],
    "momentum": [
        (1.0, "momentum is 1.0; it must be at least 0 and below 1"),
        (-0.1, "momentum is -0.1"),
        (math.nan, "momentum is nan"),
        ("much", "momentum is 'much'; it must be a number"),
    ],
    "weight_decay": [
        (-1e-4, "weight_decay is -0.0001; it must be finite and at least 0"),
        (math.nan, "weight_decay is nan"),
    ],
    "precision": [("peppp", r"precision is 'peppp'; give a refimpl.Precision, or refimpl.nn.preset\(name\)")],
    "optimizer": [("adam", r"optimizer is 'adam'; give one such as refimpl.nn.Adam\(\)")],
    "watch": [(1, "watch is 1; give a function")],
    "switch": [
        (3, "switch is 3; give"),
        ((1, "pure16"), "precision is 'pure16'"),
        ((10, None), "switch after 10 of 10 epochs"),
        ((0.5, None), "switch is 0.5; it must be a whole number"),
    ],
    "schedule": [
        ("cosine", "schedule is 'cosine'; give a function"),
        (lambda done: math.nan, "schedule's factor at 0.0 is nan"),
        (lambda done: 0.5 - done, "schedule's factor at 0.625 is -0.125"),
    ],
    "checkpoint": [
        (5, "checkpoint is 5; give the path of a file"),
        ("", "is a directory; name a file in it"),
        (".", "is a directory"),
        ("none/run.npz", "there is no directory 'none'"),
    ],
}


@pytest.mark.parametrize(("name", "value", "message"), [(k, *case) for k, cases in SETTINGS.items() for case in cases])
def test_settings_that_make_no_sense_are_refused(name, value, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError), match=message):
        rf.nn.fit(rf.nn.cnn(), DIGITS, **{name: value})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: scaled(0), "loss_scale is 0; it must be finite and above 0"),
        (lambda: scaled(-1.0), "loss_scale is -1.0"),
        (lambda: scaled(math.nan), "loss_scale is nan"),
        (lambda: scaled(1e39), "loss_scale is 1e.39; .*within float32's range"),
        (lambda: scaled(1e-40), "loss_scale is 1e-40"),
        (lambda: scaled("1000"), "loss_scale is '1000'; it must be a number"),
        (lambda: scaled(None), "loss_scale is None"),
        (lambda: LossScale(growth=0.5), "growth is 0.5; it must be finite and at least 1"),
        (lambda: LossScale(backoff=2.0), "backoff is 2.0; it must be above 0 and at most 1"),
        (lambda: LossScale(patience=0), "patience is 0; it must be at least 1"),
        (lambda: LossScale(largest=math.inf), "largest is inf"),
        (lambda: rf.nn.Adam(beta1=1.0), "beta1 is 1.0; it must be at least 0 and below 1"),
        (lambda: rf.nn.Adam(beta2=math.nan), "beta2 is nan"),
        (lambda: rf.nn.Adam(epsilon=-1e-8), "epsilon is -1e-08"),
        (lambda: rf.nn.SGD(block=0), "block is 0; it must be at least 1"),
        (lambda: rf.nn.SGD(update="exact"), "update 'exact' is not one of plain, kahan, stochastic"),
        (lambda: rf.Precision(roles=5), "roles is 5; give a dict of roles"),
        (lambda: rf.Precision(layers=["*Linear"]), r"layers is \['.Linear'\]; give a dict of patterns"),
        (lambda: rf.Precision(layers={"*Linear": "e4m3"}), "Linear is 'e4m3'; give a dict of roles"),
        (lambda: schedules.warm_up(0, schedules.constant()), "share is 0; it must be above 0"),
        (lambda: layers.Convolution(0, 4), "Convolution: channels is 0; it must be at least 1"),
        (lambda: layers.Convolution(1, 4.0), "filters is 4.0; it must be a whole number"),
        (lambda: layers.Convolution(1, 4, stride=0), "stride is 0"),
        (lambda: layers.Convolution(1, 4, size=0), "size is 0"),
        (lambda: layers.Convolution(1, 4, padding=-1), "padding is -1; it must be at least 0"),
        (lambda: layers.Convolution(4, 4, groups=0), "groups is 0"),
        (lambda: layers.Convolution(4, 6, groups=4), "must be multiples of groups"),
        (lambda: layers.Convolution(1, 4, initializer="zeros"), "'zeros' is not one of peppp"),
        (lambda: layers.Linear(0, 4), "features is 0"),
        (lambda: layers.BatchNorm(4, movement=1.5), "movement is 1.5; it must be 0 to 1"),
        (lambda: layers.BatchNorm(4, epsilon=-1.0), "epsilon is -1.0"),
        (lambda: layers.Round("activations"), "role 'activations' is not one of input, activation, logits"),
        (lambda: attention.Attention(8, 0), "Attention: heads is 0; it must be at least 1"),
        (lambda: attention.Attention(8, 3), "features must be a multiple of heads"),
        (lambda: attention.Embedding(0, 8), "words is 0"),
        (lambda: attention.Positions(8, -1), "features is -1"),
        (lambda: attention.LayerNorm(0), "LayerNorm: features is 0"),
        (lambda: layers.Dropout(1.0), "share is 1.0; it must be at least 0 and below 1"),
        (lambda: layers.MaxPool(0), "size is 0"),
        (lambda: layers.Sequential([np.tanh]), "tanh.* is no layer"),
        (lambda: rf.nn.mlp(widths=()), r"mlp: widths is \(\); give a tuple of at least one"),
        (lambda: rf.nn.mlp(widths=128), "mlp: widths is 128; give a tuple"),
        (lambda: rf.nn.cnn(widths=16), "cnn: widths is 16; give two"),
        (lambda: rf.nn.transformer(blocks=-1), "blocks is -1; it must be at least 0"),
        (lambda: rf.nn.exactness.most_exact_terms("e4m3", "int8"), "int8.* is no floating-point format"),
        (lambda: rf.nn.cnn(widths=(1, 2, 3)), "cnn: widths is .1, 2, 3.; give two"),
        (lambda: rf.nn.preset("pepp"), "unknown policy 'pepp'.*did you mean 'peppp'"),
    ],
)
def test_policies_optimizers_and_layers_that_make_no_sense_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (rf.nn.cnn(), "digits", "the task is str 'digits'; give a Task, as refimpl.data.load returns it"),
        ("cnn", FEW, r"the model is str 'cnn'; give a network, such as refimpl.nn.cnn\(\)"),
        (rf.nn.cnn, FEW, "the model is function"),
        (
            rf.nn.cnn(),
            task(train_labels=FEW.train_labels.astype(float)),
            "train_labels are float64; convert them to whole numbers",
        ),
        (rf.nn.cnn(), task(test_labels=FEW.test_labels.tolist()), "test_labels are list"),
        (rf.nn.cnn(), task(train_images=FEW.train_images.astype(float)), "train_images are float64; convert them"),
        (
            rf.nn.cnn(),
            task(train_labels=FEW.train_labels[:90]),
            r"train_labels have the shape \(90,\) and train_images \(96, 8, 8, 1\)",
        ),
        (rf.nn.cnn(), task(test_images=FEW.test_images[:0], test_labels=FEW.test_labels[:0]), "at least one image"),
        (
            rf.nn.cnn(),
            task(test_images=FEW.test_images[:, :4]),
            r"\(8, 8, 1\) in train_images and \(4, 8, 1\) in test_images",
        ),
        (
            layers.Sequential([layers.AveragePool()]),
            task(classes=1, train_labels=0 * FEW.train_labels, test_labels=0 * FEW.test_labels),
            "the network has no parameters to learn",
        ),
        (rf.nn.cnn(classes=7), FEW, "the network has outputs .7,., few has 10 classes; build it with classes=10"),
    ],
)
def test_networks_and_tasks_that_are_none_or_do_not_fit_are_refused(model, data, message):
    for use in (rf.nn.fit, lambda *given: rf.nn.rounding_plan(*given, rf.Precision())):
        with pytest.raises((ValueError, TypeError), match=message):
            use(model, data)


def test_a_policy_for_layers_the_network_has_not_is_refused_with_those_it_has():
    policy = rf.Precision(low="e4m3", high="e8m7", layers={"*Linaer": {"weight": None}})
    message = "layers={'.Linaer': ...} fits no layer; they are called 0 Round, 1 Convolution.*11 Linear"
    for use in (
        lambda: rf.nn.fit(rf.nn.cnn(), FEW, precision=policy),
        lambda: rf.nn.rounding_plan(rf.nn.cnn(), FEW, policy),
    ):
        with pytest.raises(ValueError, match=message):
            use()


def test_a_layer_that_stands_twice_is_refused_if_it_learns_and_welcome_if_not():
    def network(hidden, relu):
        first = [layers.Flatten(), layers.Linear(64, 64), relu, hidden]
        return layers.Sequential([*first, relu, layers.Linear(64, 10)])

    twice = layers.Linear(64, 64)
    model = layers.Sequential([layers.Flatten(), twice, layers.ReLU(), twice, layers.Linear(64, 10)])
    with pytest.raises(ValueError, match="the same Linear stands in the network twice"):
        rf.nn.fit(model, FEW)
    rf.nn.fit(network(layers.Linear(64, 64), layers.ReLU()), FEW, epochs=1)


def test_a_step_that_leaves_nothing_but_nan_behind_is_divergence_even_if_it_was_the_last():
    result = rf.nn.fit(rf.nn.mlp(), FEW, epochs=1, batch_size=96, learning_rate=1e37)
    assert math.isfinite(result.history[0]["loss"])
    assert result.diverged and result.test_error == 0.9


def test_a_file_that_is_no_checkpoint_is_not_taken_for_one(tmp_path):
    np.savez(tmp_path / "run.npz", settings=np.frombuffer(b"{}", np.uint8))
    with pytest.raises(ValueError, match="run.npz is not a checkpoint of a training run"):
        rf.nn.fit(rf.nn.mlp(), FEW, checkpoint=tmp_path / "run.npz")


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
