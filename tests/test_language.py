"""Language models: what each place sees, the tied table, the loss, text that goes on, Python's manual as a task."""

import math

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor, check_gradient
from refimpl.autodiff import primitives as p
from refimpl.data import text
from refimpl.nn.layer import Pass
from refimpl.nn.rounder import Rounder
from refimpl.peppp import configuration
from refimpl.peppp.memory import count

MANUAL = rf.data.manual(16)
ROWS = MANUAL.test_images[:3], MANUAL.test_labels[:3]
SMALL = {"places": 16, "features": 16, "heads": 2, "blocks": 1}
ADAM = {"optimizer": rf.nn.Adam(epsilon=1e-4), "learning_rate": 0.005}  # 1e-8 is 0 in float16


def drawn(factor=1.0, **sizes):
    model = rf.nn.language_model(**(SMALL | sizes))
    model.initialize(np.random.default_rng(0))
    model.layers[0].parameters["weight"].data *= np.float32(factor)
    return model


def classifier():
    model = rf.nn.mlp()
    model.initialize(np.random.default_rng(0))
    return model


def windows(tokens, places=16):
    cut = np.lib.stride_tricks.sliding_window_view(np.array(tokens), places + 1)
    return rf.data.TokenTask(
        "windows", *(cut[:, :-1].astype(np.float32), cut[:, 1:].copy()) * 2, classes=96, images_from="", words=96
    )


def part(count, test=8):
    return rf.data.TokenTask(
        "part of the manual",
        MANUAL.train_images[:count],
        MANUAL.train_labels[:count],
        MANUAL.test_images[:test],
        MANUAL.test_labels[:test],
        classes=96,
        images_from="",
        words=96,
    )


@pytest.mark.parametrize("policy", ["float32", "peppp"])
def test_other_tokens_later_change_no_bit_of_what_is_foretold_before(policy):
    precision = rf.nn.preset(policy)
    model = drawn(blocks=2)
    tokens = MANUAL.test_images[:4].copy()

    def logits():
        return model(Tensor(tokens), Pass(Rounder(precision, 3), training=True)).data

    before = logits()
    tokens[:, 9:] = (tokens[:, 9:] + 17) % 96
    after = logits()
    assert before[:, :9].tobytes() == after[:, :9].tobytes()
    assert (before[:, 9:] != after[:, 9:]).any(axis=(0, 2)).all()


@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_through_causal_attention_and_the_tied_table_is_that_of_finite_differences(tied):
    model = drawn(words=7, places=5, features=6, tied=tied)
    tokens = np.random.default_rng(1).integers(0, 7, (3, 6))
    run = Pass(Rounder(rf.Precision(), 0), training=True)
    places = [(layer, name) for layer in model.every_layer() for name in layer.parameters]
    values = [layer.parameters[name].data.astype(np.float64) for layer, name in places]

    def loss(*tensors):
        for (layer, name), tensor in zip(places, tensors, strict=True):
            layer.parameters[name] = tensor
        return p.cross_entropy(model(Tensor(tokens[:, :-1].astype(np.float64)), run), labels=tokens[:, 1:])

    check_gradient(loss, *values, seed=0)


def test_every_place_s_error_counts_the_same():
    """The loss of (batch, places) is that of batch x places classifications."""
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((3, 4, 5)), rng.integers(0, 5, (3, 4))
    rows = zip(logits.reshape(-1, 5), labels.reshape(-1), strict=True)
    each = [-math.log(math.exp(row[label]) / sum(map(math.exp, row))) for row, label in rows]
    assert float(p.cross_entropy(logits, labels=labels).data) == pytest.approx(sum(each) / 12)


def test_who_knows_nothing_pays_log2_of_the_words():
    model = drawn()
    model.layers[0].parameters["weight"].data[:] = 0
    assert rf.nn.bits_per_token(model, MANUAL.test_images, MANUAL.test_labels) == pytest.approx(
        math.log2(96), rel=1e-12
    )


def test_the_error_is_the_fraction_of_next_tokens_foretold_wrongly():
    """Without the table's logits all are 0, and the first of equal ones, the end of a line, is foretold."""
    model = drawn()
    model.layers[0].parameters["weight"].data[:] = 0
    found = rf.nn.training.error(model, MANUAL.test_images, MANUAL.test_labels, Rounder(rf.Precision(), 0))
    held_out = "".join(rf.data.text.manual_stretches()[1])
    assert found == pytest.approx(1 - held_out.count("\n") / len(held_out), abs=0.001)


def test_the_tied_table_is_one_parameter_and_is_counted_once():
    """96 x 16 table, 16 x 16 positions, a block of 12 f^2 + 13 f, the last layer norm 2 f."""
    tied, untied = drawn(), drawn(tied=False)
    block = 12 * 16**2 + 13 * 16
    assert tied.parameter_total() == 96 * 16 + 16 * 16 + block + 2 * 16 == sum(t.data.size for t in tied.tensors())
    assert untied.parameter_total() == tied.parameter_total() + (16 + 1) * 96
    for model in (tied, untied):
        memory = count(model, (16,), configuration("e4m3+e8m7"), batch_size=2)
        assert memory.by_kind()["weights"] == model.parameter_total()
        assert memory.by_kind()["momentum"] == 2 * model.parameter_total()


@pytest.mark.parametrize("policy", ["float32", "peppp", "mixed", "pure16", "fp8", "int8"])
def test_under_every_policy_it_learns(policy):
    result = rf.nn.fit(drawn(), part(1024), epochs=1, batch_size=16, precision=rf.nn.preset(policy), **ADAM)
    assert not result.diverged
    task = part(64, 64)
    assert rf.nn.bits_per_token(result.model, task.test_images, task.test_labels, precision=rf.nn.preset(policy)) < 5.5


def test_a_repeating_text_is_learned_by_heart_and_goes_on():
    again = "to be, or not to be? "
    model, task = rf.nn.language_model(**SMALL), windows(text.encode(again * 8))
    result = rf.nn.fit(model, task, epochs=60, batch_size=16, optimizer=rf.nn.Adam(), learning_rate=0.02)
    assert result.test_error < 0.06  # what follows "to be" tells only what stands before it
    assert rf.nn.bits_per_token(model, task.test_images, task.test_labels) < 0.3
    for start in ("or not", again):
        found = text.decode(rf.nn.generate(model, text.encode(start), 40, temperature=0))
        at = (again * 2).index(start) + len(start)
        assert found == (again * 5)[at : at + 40]


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(tmp_path):
    settings = {"batch_size": 16, "precision": rf.nn.preset("peppp"), **ADAM}
    whole = rf.nn.fit(rf.nn.language_model(**SMALL), part(128), epochs=3, **settings)

    class Stop(Exception):
        pass

    def watch(step, steps):
        if step == 10:  # in the second epoch of 8 steps
            raise Stop

    with pytest.raises(Stop):
        rf.nn.fit(
            rf.nn.language_model(**SMALL), part(128), epochs=3, checkpoint=tmp_path / "c", watch=watch, **settings
        )
    resumed = rf.nn.fit(rf.nn.language_model(**SMALL), part(128), epochs=3, checkpoint=tmp_path / "c", **settings)
    assert [t.data.tobytes() for t in resumed.model.tensors()] == [t.data.tobytes() for t in whole.model.tensors()]
    assert resumed.test_error == whole.test_error


def test_a_seed_draws_the_same_text_again_and_another_seed_another():
    model, start = drawn(), text.encode("def ")
    first, again, other = (rf.nn.generate(model, start, 30, seed=seed).tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_tokens_are_drawn_as_often_as_their_probabilities_say():
    """With a bias alone for logits: 1/2, 1/4, 1/4, and their squares, made to sum to 1, at temperature 1/2."""
    model = drawn(words=3, places=1, tied=False)
    last = model.layers[-2].parameters
    last["weight"].data[:] = 0
    last["bias"].data[:] = np.log([2, 1, 1])
    for temperature, expected in ((1.0, [2 / 4, 1 / 4, 1 / 4]), (0.5, [4 / 6, 1 / 6, 1 / 6])):
        found = rf.nn.generate(model, np.array([0]), 2000, temperature=temperature)
        shares = np.bincount(found, minlength=3) / 2000
        assert abs(shares - expected).max() < 4 * math.sqrt(0.25 / 2000)


def test_the_manual_is_cut_into_windows_labelled_by_what_comes_next():
    from pydoc_data.topics import topics

    every = "\n".join(topics.values())
    for images, labels in ((MANUAL.train_images, MANUAL.train_labels), (MANUAL.test_images, MANUAL.test_labels)):
        assert images.shape == labels.shape and images.shape[1] == 16
        found = [text.decode([*row, last]) for row, last in zip(images[::300], labels[::300, -1], strict=True)]
        assert np.mean([row in every for row in found]) > 0.8  # others have paragraphs between them left out, or “”
        assert (images[:, 1:] == labels[:, :-1]).all()


def test_text_for_testing_is_not_among_that_for_training():
    train, test = text.manual_stretches()
    seen = {stretch[i : i + 100] for stretch in train for i in range(len(stretch) - 99)}
    held_out = [stretch[i : i + 100] for stretch in test for i in range(0, len(stretch) - 99, 100)]
    assert np.mean([piece in seen for piece in held_out]) < 0.01  # sentences that the manual itself repeats
    assert 8 < len("".join(train)) / len("".join(test)) < 10


def test_characters_become_tokens_and_back():
    assert text.decode(text.encode("“a”–’\n~")) == '"a"-\'\n~'
    assert text.decode(text.encode("é\t")) == "??"
    assert text.encode(text.CHARACTERS).tolist() == list(range(96))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rf.data.manual(0), "manual: places is 0; allowed is an integer, 1 to 1024"),
        (lambda: rf.nn.generate(classifier(), np.array([1]), 1), "generate: model is .*language_model"),
        (lambda: rf.nn.generate(rf.nn.language_model(), np.array([1]), 1), "generate: model is without weights"),
        (lambda: rf.nn.generate(drawn(), np.array([], int), 1), r"generate: start is \(0,\); allowed is at least one"),
        (lambda: rf.nn.generate(drawn(), np.array([[1]]), 1), r"generate: start is of shape \(1, 1\)"),
        (lambda: rf.nn.generate(drawn(), np.array([96]), 1), r"start\[0\] is 96.0; allowed is an integer from 0 to 95"),
        (lambda: rf.nn.generate(drawn(), np.array([np.nan]), 1), r"start\[0\] is nan; allowed is an integer"),
        (lambda: rf.nn.generate(drawn(), "def ", 1), "generate: start is 'def '; allowed is real numbers"),
        (lambda: rf.nn.generate(drawn(np.nan), np.array([1]), 1), r"network's logits\[0\] is nan; .*; it has diverged"),
        (lambda: rf.nn.bits_per_token(None, *ROWS), "bits_per_token: model is None"),
        (lambda: rf.nn.bits_per_token(rf.nn.language_model(), *ROWS), "bits_per_token: model is without weights"),
        (lambda: rf.nn.bits_per_token(drawn(), ROWS[0][:0], ROWS[1][:0]), "allowed is one label for each of at least"),
        (lambda: rf.nn.bits_per_token(drawn(), ROWS[0][:1], ROWS[1]), "bits_per_token: labels is .*one label for each"),
        (
            lambda: rf.nn.bits_per_token(drawn(), ROWS[0][:, :4], ROWS[1][:, :4]),
            r"takes \(16, \d+\), got shape \(4, \d+\)",
        ),
        (
            lambda: rf.nn.bits_per_token(drawn(), ROWS[0], ROWS[1] + 96),
            r"labels\[0, 0\] is .*; allowed is a class, 0 to 95",
        ),
        (
            lambda: rf.nn.bits_per_token(drawn(), ROWS[0], ROWS[1][:, 0]),
            r"labels is of shape \(3,\); allowed is \(3, 16\)",
        ),
        (lambda: rf.nn.bits_per_token(drawn(), *ROWS, precision="e4m3"), "bits_per_token: precision is 'e4m3'"),
        (lambda: text.encode(5), "encode: text is 5"),
        (lambda: text.decode([1, 96]), r"decode: tokens\[1\] is 96.0; allowed is an integer from 0 to 95"),
        (lambda: rf.nn.generate(drawn(), np.array([1]), -1), "generate: count is -1"),
        (lambda: rf.nn.generate(drawn(), np.array([1]), 1, temperature=-1), "generate: temperature is -1"),
        (lambda: rf.nn.language_model(tied=2), "language_model: tied is 2"),
        (lambda: rf.nn.language_model(features=6, heads=4), "features must be a multiple of heads"),
        (
            lambda: rf.nn.fit(rf.nn.transformer(words=96, places=16, classes=96), MANUAL),
            r"outputs is \(96,\); allowed is \(16, 96\); take rf.nn.language_model",
        ),
        (
            lambda: rf.nn.fit(rf.nn.language_model(words=512, places=16), rf.data.load("topics")),
            r"outputs is \(16, 512\); allowed is \(8,\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_labels_of_some_tokens_alone_are_refused():
    with pytest.raises(ValueError, match=r"TokenTask: train_labels is of shape \(2, 3\); allowed is \(2, 4\)"):
        tokens, labels = np.zeros((2, 4), np.float32), np.zeros((2, 3), np.int64)
        rf.data.TokenTask("short", tokens, labels, tokens, labels, classes=2, images_from="", words=2)
