"""16 bits alone: each claim's machinery, and what turns its verdict."""

import numpy as np
import pytest

from refimpl.papers import sixteen_bit
from refimpl.papers.claim import Bench


def quick():
    return Bench(quick=True)


def made_up(worse=0.0, rises=0.0, of=lambda way, batch: way.endswith(("float16", "every operation"))):
    """Return a stand-in of `train` in which some ways are worse."""

    def train(name, task, way, epochs, batch, seed):
        error = 0.1 + 0.001 * (seed % 7) + worse * of(way, batch)
        return [error, 0.5, 0.4 + rises, 1.0]

    return train


def test_a_policy_is_what_its_name_says():
    assert not sixteen_bit.policy("float32").rounds
    assert sixteen_bit.policy("mixed").format_of("master weight") is None
    alone, every = sixteen_bit.policy("float16"), sixteen_bit.policy("float16, every operation")
    assert alone.format_of("momentum").name == every.format_of("momentum").name == "float16"
    assert every.accumulator_of("batch norm").format.name == "float16" and not alone.accumulator_of("product")


def test_trainings_share_their_seed_and_differ_by_precision():
    ways = ("float32", "float16", "float16, every operation", "float32, then float16")
    found = [sixteen_bit.train("narrow mlp", "digits", way, 2, 240, 0) for way in ways]
    assert len({tuple(of[:3]) for of in found}) == 4
    assert all(of[2] < of[1] and abs(of[1] - found[0][1]) < 0.05 for of in found)
    assert found[3][1] == found[0][1]  # the first epoch is float32's


@pytest.mark.parametrize("claim", ["parity", "every_operation", "continued"])
@pytest.mark.parametrize(("worse", "verdict"), [(0.002, "holds"), (0.03, "does not hold here")])
def test_sixteen_bits_match_within_a_point_and_not_beyond(monkeypatch, claim, worse, verdict):
    monkeypatch.setattr(sixteen_bit, "train", made_up(worse))
    assert getattr(sixteen_bit, claim)(quick()).verdict == verdict


def test_a_loss_that_rises_after_the_switch_turns_the_verdict(monkeypatch):
    monkeypatch.setattr(sixteen_bit, "train", made_up(rises=0.2))
    assert sixteen_bit.continued(quick()).verdict == "does not hold here"


@pytest.mark.parametrize(("worse", "verdict"), [(0.05, "holds"), (0.0, "does not hold here")])
def test_a_gap_that_grows_with_the_batch_is_found(monkeypatch, worse, verdict):
    monkeypatch.setattr(sixteen_bit, "train", made_up(worse, of=lambda way, batch: way == "float16" and batch == 128))
    assert sixteen_bit.batches(quick()).verdict == verdict


def answered(certain=0.99, moved=0.0, other=0):
    def answers(name, task, epochs, seed):
        counts = {"pairs": 10, "applies": 9, "contradict": other}
        both = {"before": 0.1, "after": 0.1 + moved, "certain": certain, "delta": 0.001, "gamma": 0.9}
        return counts | both | {"proved": 0.5, "proved and other": other}

    return answers


@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        ({}, "holds"),
        ({"certain": 0.5}, "does not hold here"),
        ({"moved": 0.02}, "does not hold here"),
        ({"other": 1}, "does not hold here"),
    ],
)
def test_answers_must_be_certain_and_survive_the_cast(monkeypatch, how, verdict):
    monkeypatch.setattr(sixteen_bit, "answers", answered(**how))
    assert sixteen_bit.certain(quick()).verdict == verdict


def test_the_lemma_speaks_only_of_pairs_within_the_bound_and_a_wider_bound_has_counterexamples(monkeypatch):
    wide = np.array([[0.6, 0.4], [0.6, 0.4], [0.6, 0.4]])
    low = np.array([[0.51, 0.49], [0.5, 0.5], [0.45, 0.55]])
    assert sixteen_bit._lemma(wide[:1], low[:1]) == {"pairs": 1, "applies": 1, "contradict": 0}
    assert sixteen_bit._lemma(wide[2:], low[2:])["applies"] == 0
    monkeypatch.setattr(sixteen_bit, "answers", answered())
    found = sixteen_bit.lemma(quick())
    ratio, moved = map(np.array, found.charts[0].series["random outputs"])
    assert found.verdict == "holds" and not moved[ratio < 0.5].any() and (moved[ratio > 1] > 0.1).all()
    true = sixteen_bit.tolerance
    monkeypatch.setattr(sixteen_bit, "tolerance", lambda outputs: 2 * true(outputs))
    found = sixteen_bit.lemma(quick())
    assert found.verdict == "does not hold here" and found.numbers["counts"]["random outputs"]["contradict"] > 0


def test_answers_are_counted_of_a_network_and_its_cast():
    found = sixteen_bit.answers("mlp", "digits", 1, 0)
    assert found["pairs"] == 360 and found["contradict"] == found["proved and other"] == 0
    assert 0 < found["proved"] <= found["certain"] <= found["applies"] / 360 and found["delta"] < found["gamma"]


@pytest.mark.parametrize(("fails", "verdict"), [(True, "holds"), (False, "does not hold here")])
def test_an_epsilon_of_0_must_fail_and_a_larger_one_train(monkeypatch, fails, verdict):
    def adam(fmt, epsilon, beta2, epochs, seed):
        lost = fmt != "float32" and epsilon < 1e-6 and beta2 == 0.999 and fails
        return [0.9 if lost else 0.1, float(lost)]

    monkeypatch.setattr(sixteen_bit, "adam", adam)
    assert sixteen_bit.epsilon(quick()).verdict == verdict


def test_adam_in_float16_diverges_with_its_usual_epsilon_alone():
    assert sixteen_bit.adam("float16", 1e-8, 0.999, 1, 0)[1] and not sixteen_bit.adam("float16", 1e-3, 0.999, 1, 0)[1]


def test_batch_norm_that_loses_nothing_in_float16_turns_the_verdict(monkeypatch):
    assert sixteen_bit.normalized(quick()).verdict == "holds"
    right = sixteen_bit.batch_norm
    monkeypatch.setattr(
        sixteen_bit, "batch_norm", lambda x, fmt, **how: right(x, fmt, **{**how, "statistics": "float32"})
    )
    assert sixteen_bit.normalized(quick()).verdict == "does not hold here"


def test_time_is_not_judged_and_memory_is_about_half(monkeypatch):
    monkeypatch.setattr(sixteen_bit, "train", made_up())
    found = sixteen_bit.faster(quick())
    assert found.verdict == "cannot be checked here"
    assert all(0.45 < float(row[3]) < 0.75 for row in found.numbers["rows"])
