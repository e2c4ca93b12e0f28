"""A study trains what its design says, predicts the rest, and is scored by the truth."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from refimpl import data, peppp
from refimpl.__main__ import main
from refimpl.nn.layers import Flatten, Linear, Round, Sequential
from refimpl.peppp import Estimate, Settings, TaskStudy, compare, estimate_frontier, meta_training
from refimpl.peppp import frontier as fronts
from refimpl.peppp.estimators import sequential
from refimpl.peppp.estimators.design import d_optimal
from refimpl.peppp.estimators.embedding import svd_embedding
from refimpl.peppp.matrix.error_matrix import ErrorMatrix

DIGITS = data.load("digits")
ERRORS = meta_training(DIGITS)
TRUE = np.clip(ERRORS.values.mean(axis=0) + np.linspace(-0.02, 0.02, 99), 0, 1)


@pytest.fixture
def trained(monkeypatch):
    """Train nothing: give each configuration its error in TRUE, and note the settings asked for."""
    asked = []

    def train(task, configuration, settings, fingerprint):
        asked.append((task, configuration, settings))
        error = float(TRUE[ERRORS.columns.index(configuration)])
        known = {"task": "digits", "configuration": configuration, "seed": settings.seed, "data": fingerprint}
        return known | {"error": error, "seconds": 0.0, "diverged": False, "fall": 0.0}

    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", train)
    return asked


def everywhere(monkeypatch, error, fall):
    """Let every training come to one error, and to one fall of the training error in its last quarter."""

    def train(task, configuration, settings, fingerprint):
        known = {"task": task.name, "configuration": configuration, "seed": settings.seed, "data": fingerprint}
        return known | {"error": error, "seconds": 0.0, "diverged": False, "fall": fall}

    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", train)


def advised(capsys, tmp_path):
    """Return what `refimpl frontier` says last, above where it wrote."""
    assert main(["frontier", "digits", "--measurements", "3", "--quiet", "--jobs", "1", "--out", str(tmp_path)]) == 0
    return capsys.readouterr().out.split("\n\n")[-1]


def test_ed_mf_trains_the_d_optimal_design_of_the_rank_five_embedding(trained):
    study = TaskStudy(ERRORS, DIGITS, measurements=7, method="ed-mf", settings=Settings(seed=3))
    found = study.measure(jobs=1, progress=False)
    chosen = d_optimal(svd_embedding(ERRORS.values, 5), 7)
    assert sorted(found.chosen) == sorted(chosen)
    assert {name for _, name, _ in trained} == {ERRORS.columns[i] for i in chosen}
    assert all(settings.seed == 3 for _, _, settings in trained)
    assert np.array_equal(found.measured[chosen], TRUE[chosen])


def test_a_configuration_exactly_at_the_cap_is_within_it(trained):
    memory = TaskStudy(ERRORS, DIGITS).costs
    cap = float(np.median(memory))
    found = TaskStudy(ERRORS, DIGITS, memory_cap_mb=cap).measure(jobs=1, progress=False)
    assert np.array_equal(found.allowed, memory <= cap) and (memory == cap).any()
    assert memory[found.chosen].max() <= cap


def test_the_comparison_scores_the_estimate_against_the_truth_and_not_the_reverse():
    memory = np.array([1.0, 2.0, 3.0])
    estimate = Estimate(["a", "b", "c"], memory, [0.5, 0.1, 0.3], [np.nan] * 3, [])
    true = np.array([0.5, 0.4, 0.2])
    scores = compare(estimate, true)
    assert scores["regret of the recommendation"] == pytest.approx(0.2)  # picks b, c is best
    assert scores["convergence"] == fronts.convergence(memory, true, [0.5, 0.1, 0.3])
    assert scores["convergence"] != fronts.convergence(memory, [0.5, 0.1, 0.3], true)
    assert scores["HyperDiff"] == fronts.hyper_diff(memory, true, [0.5, 0.1, 0.3]) > 0
    assert scores["budget regret"] == pytest.approx(0.2 / 3)  # the cap of c alone
    capped = compare(Estimate(["a", "b", "c"], memory, [0.5, 0.1, 0.3], [np.nan] * 3, [], memory_cap_mb=2), true)
    assert capped["regret of the recommendation"] == capped["budget regret"] == 0.0


def test_the_report_names_what_was_measured_the_frontier_and_what_to_buy(trained, tmp_path, capsys):
    assert main(["frontier", "digits", "--measurements", "3", "--quiet", "--jobs", "1", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "frontier.json").read_text())
    of = {c["name"]: c for c in record["configurations"]}
    measured, front = (part.splitlines()[1:] for part in capsys.readouterr().out.split("\n\n")[1:3])
    assert [line.split() for line in measured] == [
        [name, f"{of[name]['memory_mb']:.3f}", f"{of[name]['measured']:.3f}"] for name in record["chosen"]
    ]
    assert [line.split()[:3] for line in front] == [
        [name, f"{of[name]['memory_mb']:.3f}", f"{of[name]['error']:.3f}"] for name in record["frontier"]
    ]
    for name, line in zip(record["frontier"], front, strict=True):
        assert ("measured" in line) == (name in record["chosen"])
        assert ("<- recommended" in line) == (name == record["recommended"])
        if name not in record["chosen"]:
            low, high = of[name]["band"]
            assert f"predicted ({low:.3f} to {high:.3f})" in line


def test_exhaustive_trains_all_and_records_truth_and_comparison(trained, tmp_path, capsys):
    assert main(["frontier", "digits", "--exhaustive", "--jobs", "1", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "frontier.json").read_text())
    assert list(record["true"].values()) == TRUE.tolist()
    best = record["true"][record["recommended"]] - TRUE.min()
    assert record["comparison"]["regret of the recommendation"] == pytest.approx(best)
    assert f"regret of the recommendation       {best:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize(("error", "none"), [(0.89, True), (0.7, False)])
def test_where_nothing_beats_the_majority_class_that_is_said_and_only_what_was_trained_recommended(
    monkeypatch, tmp_path, capsys, error, none
):
    guess = 1 - np.bincount(DIGITS.test_labels).max() / len(DIGITS.test_labels)
    assert 0.7 < guess - 0.1 < 0.89
    everywhere(monkeypatch, error, 0.0)
    said = advised(capsys, tmp_path)
    record = json.loads((tmp_path / "frontier.json").read_text())
    assert (f"always answering the majority class (error {guess:.3f}): none is recommended" in said) == none
    assert not none or record["recommended"] in record["chosen"]
    assert ("the best of what was trained:" in said) == none and ("recommended:" in said) != none
    assert len(record["notes"]) == none


@pytest.mark.parametrize(("fall", "over"), [(0.2, False), (0.001, True)])
def test_training_that_has_not_converged_is_said_to_have_not(monkeypatch, tmp_path, capsys, fall, over):
    everywhere(monkeypatch, 0.3, fall)
    said = advised(capsys, tmp_path)
    assert (
        f"has not converged: in the best configuration trained the error on the training images fell by {fall}" in said
    ) != over


def test_repeats_train_each_chosen_configuration_from_the_next_seeds_and_believe_their_mean(monkeypatch):
    asked = []

    def train(task, configuration, settings, fingerprint):
        asked.append((configuration, settings.seed))
        known = {"task": "digits", "configuration": configuration, "seed": settings.seed, "data": fingerprint}
        return known | {"error": 0.25 + settings.seed / 8, "seconds": 0.0, "diverged": False, "fall": 0.0}

    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", train)
    study = TaskStudy(ERRORS, DIGITS, measurements=2, repeats=3, settings=Settings(seed=1))
    found = study.measure(jobs=1, progress=False)
    assert sorted(asked) == sorted((found.names[i], seed) for i in found.chosen for seed in (1, 2, 3))
    assert found.measured[found.chosen].tolist() == [0.5, 0.5]
    asked.clear()
    assert study.measure_all(jobs=1, progress=False).tolist() == [0.75] * 99  # of a seed that was not measured
    assert {seed for _, seed in asked} == {4}


def test_settings_given_on_the_command_line_reach_the_training(trained, tmp_path):
    words = "--tasks digits --configurations e4m3+e8m7 --seed 4 --epochs 2 --loss-scale 8 --jobs 1 --quiet --out"
    assert main(["sweep", *words.split(), str(tmp_path)]) == 0
    (_, _, settings), *_ = trained
    assert (settings.seed, settings.epochs, settings.loss_scale) == (4, 2, 8.0)


def one_layer(shape, classes):
    """Return a network of one's own."""
    return Sequential([Round("input"), Flatten(), Linear(int(np.prod(shape)), classes), Round("logits")])


def test_a_task_in_memory_and_a_network_of_one_s_own_are_studied():
    few = dataclasses.replace(
        DIGITS, name="few", train_images=DIGITS.train_images[:64], train_labels=DIGITS.train_labels[:64]
    )
    settings = Settings(model=one_layer, epochs=1)
    found = estimate_frontier(ERRORS, few, budget=2, settings=settings, jobs=1, progress=False)
    assert len(found.chosen) == 2 and not np.isnan(found.measured[found.chosen]).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in data.names() if name != "digits"])
def test_every_data_set_that_ships_has_a_frontier(name, tmp_path, capsys):
    words = "--epochs 1 --measurements 2 --quiet --jobs 1 --out"
    assert main(["frontier", name, *words.split(), str(tmp_path)]) == 0
    assert "recommended" in capsys.readouterr().out and (tmp_path / "frontier.png").stat().st_size > 10_000


def test_a_matrix_with_a_row_made_from_the_same_images_is_refused_whatever_it_is_called(tmp_path):
    errors = ErrorMatrix(TRUE[None], ["x"], ERRORS.columns, images=[DIGITS.marks])
    mine = dataclasses.replace(DIGITS, name="mine", images_from="")
    for task in (DIGITS, mine):
        with pytest.raises(ValueError, match=f"row 'x', made from the images of {task.name}"):
            TaskStudy(errors, task)


def test_a_row_of_other_images_may_have_any_name():
    marks = [data.load("greek-ten").marks] * 2
    errors = ErrorMatrix([TRUE, TRUE], ["digits", "b"], ERRORS.columns, images=marks)
    assert TaskStudy(errors, DIGITS, measurements=1).names == ERRORS.columns


def test_what_peppp_has_is_listed_and_there_without_another_import():
    code = "import refimpl as rf; print(*dir(rf.peppp)); rf.peppp.memory.count, rf.peppp.estimators, rf.peppp.Study"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed = done.stdout.split()
    assert {"ErrorMatrix", "Study", "frontier", "leave_one_out", "memory", "run_sweep"} <= set(listed)
    assert all(hasattr(peppp, name) for name in listed) and "importlib" not in listed


@pytest.mark.parametrize("measured", [[0, 8], [1, 6, 8], [0, 1, 6, 8], [0, 1, 2, 6, 8]])
def test_after_measurements_of_ones_own_choice_what_tells_most_comes_next_and_from_the_fourth_on_what_is_most_useful(
    measured,
):
    rng, columns = np.random.default_rng(1), np.arange(9)
    rows = np.linspace(0.6, 0.1, 9) * rng.uniform(0.4, 1.6, (24, 1))
    rows = rows + 0.08 * rng.standard_normal((24, 1)) * np.cos(columns) + 0.02 * rng.standard_normal((24, 9))
    rows = np.clip(rows, 0, 1)
    study = peppp.Study(rows, columns + 1.0)
    for column in measured:
        study.observe(study.names[column], rows[3, column])
    open_, prior = ~np.isin(columns, measured), study.learned.prior.rows
    before, given = prior.given([], []), (measured, rows[3, measured])
    of_few, weights = before.given(*given), study.learned.weights
    tells_most = sequential.variance_reduction(of_few, 1, weights=weights, allowed=open_)[0]
    most_useful = sequential.most_useful(prior.given(*given), columns, columns, open_)
    assert tells_most != most_useful
    assert study.suggest().name == study.names[tells_most if len(measured) < 4 else most_useful]
