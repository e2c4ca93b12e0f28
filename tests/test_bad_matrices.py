"""Everything that learns from an error matrix refuses what makes no sense, one clear error each.

Each error says what was got and where, and what is allowed; it comes before anything is learned,
trained or written.
"""

import subprocess
import sys

import numpy as np
import pytest

from refimpl import data, nn
from refimpl.peppp import (
    Estimate,
    Study,
    configuration,
    estimate_frontier,
    leave_one_out,
    meta_training,
    paired_difference,
    plan_sweep,
    run_sweep,
)
from refimpl.peppp.estimators.completion import inverse_propensity, rank_by_cross_validation, soft_impute
from refimpl.peppp.estimators.design import d_optimal, random_design
from refimpl.peppp.estimators.embedding import svd_embedding
from refimpl.peppp.estimators.factors import probabilistic_pca
from refimpl.peppp.estimators.methods import METHODS, learn
from refimpl.peppp.estimators.optimal_design import design_value, greedy_design
from refimpl.peppp.estimators.prior import learn_prior
from refimpl.peppp.estimators.regression import predict
from refimpl.peppp.estimators.sequential import measure_by
from refimpl.peppp.frontier import convergence, hypervolume, recommend, regret
from refimpl.peppp.matrix.error_matrix import ErrorMatrix
from refimpl.peppp.matrix.sampling import memory_biased_sample, sample, uniform_sample
from refimpl.peppp.memory import count

RNG = np.random.default_rng(0)
FINE = np.clip(RNG.uniform(size=(9, 2)) @ RNG.uniform(size=(2, 7)) / 2, 0.01, 1)
MEMORY = np.arange(1.0, 8)
DIGITS = data.load("digits")


def but(row, column, value):
    """Return the matrix that is fine, but for an entry, a row or a column."""
    changed = FINE.copy()
    changed[row, column] = value
    return changed


EVERY = slice(None)


def left_out(errors=FINE, memory=MEMORY, n=3, **options):
    return leave_one_out(errors, memory, n_measurements=n, **{"method": "ed-mf", "rank": 2} | options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"errors": FINE[0]}, r"errors of shape \(7,\); allowed is a matrix of at least 3 rows"),
        ({"errors": np.empty((0, 0))}, r"errors of shape \(0, 0\)"),
        ({"errors": FINE[:2]}, r"errors of shape \(2, 7\)"),
        (
            {"errors": FINE[:, :1], "memory": [1.0]},
            r"shape \(9, 1\); allowed is a matrix of at least 2 rows and 2 columns",
        ),
        ({"errors": np.empty((5, 0))}, r"shape \(5, 0\)"),
        ({"errors": [["a"] * 7] * 9}, "errors of type list; allowed are real numbers"),
        ({"errors": [[0.5, 0.5], [0.5]] * 3}, "errors of type list; .* in rows of one length"),
        ({"errors": FINE * 1j}, "complex128 array"),
        ({"errors": None}, r"errors of shape \(\)"),
        ({"errors": but(2, 3, 1.5)}, r"1.5 at row 2, column 3; allowed are errors in \[0, 1\]"),
        ({"errors": but(2, 3, -0.5)}, "-0.5 at row 2, column 3"),
        ({"errors": but(2, 3, np.inf)}, "inf at row 2, column 3"),
        ({"errors": but(2, EVERY, np.nan)}, "row 2 without a measured entry; .* leave this row out"),
        ({"errors": but(EVERY, 3, np.nan)}, "column 3 without a measured entry; .* leave this column out"),
        (
            {"errors": but(4, slice(2, None), np.nan)},
            "n_measurements = 3; allowed is 2 to 2, from the rank of the embedding to the measurable "
            "configurations of row 4",
        ),
        ({"memory": None}, "no memory_mb"),
        ({"memory": MEMORY[:6]}, r"memory_mb of shape \(6,\); allowed are \(9, 7\) and \(7,\)"),
        ({"memory": FINE.T}, r"memory_mb of shape \(7, 9\)"),
        ({"memory": ["a"] * 7}, "memory_mb of type list"),
        ({"memory": -MEMORY}, "memory -1.0 at row 0, column 0; allowed are finite numbers >= 0"),
        ({"memory": [1, 2, np.inf, 4, 5, 6, 7]}, "memory inf at row 0, column 2"),
        ({"memory": [1, 2, np.nan, 4, 5, 6, 7]}, "memory nan at row 0, column 2"),
        ({"memory": np.zeros(7)}, "memory_mb of nothing but 0"),
        ({"n": 0}, "n_measurements = 0; allowed is 2 to 7, from the rank of the embedding to"),
        ({"n": 1}, "n_measurements = 1; allowed is 2 to 7"),
        ({"n": -1}, "n_measurements = -1"),
        ({"n": 8}, "n_measurements = 8; allowed is 2 to 7"),
        ({"n": (3, 8)}, "n_measurements = 8"),
        ({"n": 3.0}, "n_measurements = 3.0; allowed is a whole number"),
        ({"n": True}, "n_measurements = True"),
        ({"n": "3"}, "n_measurements = '3'"),
        ({"n": None}, "n_measurements = None"),
        ({"n": []}, "no n_measurements; allowed is at least one"),
        ({"seed": -1}, "seed = -1; allowed is at least 0"),
        ({"seed": 2.5}, "seed = 2.5; allowed is a whole number"),
        ({"seed": True}, "seed = True"),
        ({"rank": 0}, "rank = 0; allowed is 1 to 8, the rows left to learn from"),
        ({"rank": 9}, "rank = 9; allowed is 1 to 8"),
        ({"rank": 2.0}, "rank = 2.0"),
        ({"rank": 3, "errors": np.tile(FINE[:1], (9, 1))}, "with row 0 held out, .*rank = 3; allowed is 1 to 1"),
        ({"errors": np.zeros((9, 7))}, "with row 0 held out, .*matrix of zeros"),
        ({"method": "ed"}, "method 'ed'; allowed are 'knowledge-gradient', .*'ed-mf'"),
        ({"method": ["ed-mf"]}, r"method \['ed-mf'\]; allowed are"),
        ({"meta_training": "half"}, "meta_training 'half'; allowed are 'full'"),
        ({"duplicates": "drop"}, "duplicates 'drop'; allowed are 'keep', 'eliminate'"),
        ({"ratio": 0}, "ratio = 0; allowed is a number above 0 and at most 1"),
        ({"ratio": "half"}, "ratio = 'half'"),
        ({"meta_training": "uniform", "ratio": 0.01}, r"with row \d held out, .*observed entries; .*needs at least"),
        (
            {"memory_cap_mb": 1.5},
            "row 0 with 1 measured configurations within 1.5 MB; allowed is at least 2.* raise the cap",
        ),
        ({"memory_cap_mb": 0.5}, "row 0 with 0 measured configurations within 0.5 MB"),
        ({"memory_cap_mb": 2, "n": 3}, "n_measurements = 3; allowed is 2 to 2"),
        ({"memory_cap_mb": 0}, "memory_cap_mb = 0; allowed is a number above 0"),
        ({"memory_cap_mb": np.nan}, "memory_cap_mb = nan"),
        ({"memory_cap_mb": "4"}, "memory_cap_mb = '4'"),
        ({"jobs": 0}, "jobs = 0; allowed is at least 1"),
        ({"jobs": 1.5}, "jobs = 1.5"),
        ({"groups": 5}, "groups = 5; allowed is a sequence of one name for each row"),
        ({"groups": ["a"] * 8 + ["b"]}, "at least 2 rows outside every group"),
    ],
)
def test_leave_one_out_refuses_what_makes_no_sense(given, message):
    with pytest.raises((ValueError, TypeError), match=f"^leave_one_out: .*{message}"):
        left_out(**given)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (FINE[0], {}, r"values of shape \(7,\)"),
        (FINE[:1], {}, r"values of shape \(1, 7\)"),
        (FINE[:, :1], {}, r"values of shape \(9, 1\)"),
        (but(2, EVERY, np.nan), {}, "row 2 without a measured entry"),
        (but(EVERY, 3, np.nan), {}, "column 3 without a measured entry"),
        (but(2, 3, 1.5), {}, "1.5 at row 2, column 3"),
        (FINE, {"memory": MEMORY[:6]}, r"memory_mb of shape \(6,\)"),
        (FINE, {"memory": -MEMORY}, "memory -1.0 at row 0, column 0"),
        (FINE, {"rank": 0}, "rank = 0"),
        (FINE, {"rank": 2.5}, "rank = 2.5"),
        (FINE, {"propensity": [0.5]}, r"propensity of shape \(1,\)"),
    ],
)
def test_every_method_refuses_to_learn_from_what_makes_no_sense(method, values, options, message):
    with pytest.raises((ValueError, TypeError), match=f"^learn: .*{message}"):
        learn(method, values, **options)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_refuses_measurements_that_make_no_sense(method):
    learned = learn(method, FINE, MEMORY, rank=2)
    fine = {"n": 3, "memory": MEMORY, "allowed": np.ones(7, bool), "seed": 0}
    for change, message in [
        ({"n": 0}, "n = 0; allowed is"),
        ({"n": 8}, "n = 8; allowed is . to 7"),
        ({"n": 2.0}, "n = 2.0; allowed is a whole number"),
        ({"n": True}, "n = True"),
        ({"allowed": np.zeros(7, bool)}, "0 allowed columns; allowed is at least"),
        ({"allowed": np.arange(7) < 2}, "n = 3; allowed is . to 2"),
        ({"allowed": [1] * 7}, "allowed of dtype int64"),
        ({"memory": MEMORY[:6]}, r"memory of shape \(6,\); allowed is \(7,\)"),
        ({"memory": np.full(7, np.nan)}, "memory nan at index 0"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2.5}, "seed = 2.5"),
        ({"seed": None}, "seed = None"),
    ]:
        with pytest.raises((ValueError, TypeError), match=f"^{method}: got {message}"):
            learned.strategy(**fine | change)
    for columns, errors, message in [
        ([0, 1], [0.5], r"\(2,\) measured columns and \(1,\) errors"),
        ([0, 0], [0.5, 0.5], r"columns \[0, 0\]; allowed are distinct integers from 0 to 6"),
        ([0, 7], [0.5, 0.5], r"columns \[0, 7\]"),
        ([0, -1], [0.5, 0.5], r"columns \[0, -1\]"),
        ([0.0, 1.0], [0.5, 0.5], r"columns \[0.0, 1.0\]"),
        ([0, 3], [0.5, np.nan], "error nan measured in column 3"),
        ([0, 3], [0.5, 1.5], "error 1.5 measured in column 3"),
    ]:
        with pytest.raises(ValueError, match=f"^{method}: got .*{message}"):
            learned.predict(columns, errors)
    with pytest.raises(ValueError, match="^measure_by: got error nan measured in column"):
        measure_by(learned.strategy(**fine), lambda columns: np.full(len(columns), np.nan))
    with pytest.raises(ValueError, match=r"^measure_by: got \(.,\) measured columns and \(0,\) errors"):
        measure_by(learned.strategy(**fine), lambda columns: [])


ROW = np.array([[1.0, 2.0, 3.0]])
SINGULAR = np.ones((2, 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: d_optimal(ROW, 2.0), "n = 2.0; allowed is a whole number"),
        (lambda: d_optimal(ROW, True), "n = True"),
        (lambda: d_optimal(ROW * 1j, 1), "complex128"),
        (lambda: d_optimal(np.empty((0, 3)), 1), r"embedding of shape \(0, 3\)"),
        (lambda: d_optimal(SINGULAR, 2), "spanning only 1 of the embedding's 2 dimensions"),
        (lambda: greedy_design(ROW, 2.5), "n = 2.5"),
        (lambda: greedy_design(ROW, 2, costs=[1, 0, 1]), "costs of 0.0 for column 1"),
        (lambda: greedy_design(ROW, budget="much"), "budget = 'much'"),
        (lambda: greedy_design(ROW, costs=[2, 3, 4], budget=1), "budget of 1, .* raise the budget"),
        (lambda: design_value(ROW, [3]), r"columns \[3\]; allowed are integers from 0 to 2"),
        (lambda: design_value(ROW, []), "at least one"),
        (lambda: random_design(3, 0, seed=0), "n = 0; allowed is at least 1"),
        (lambda: random_design(0, 1, seed=0), "n_columns = 0"),
        (lambda: random_design(3, 1, seed=-1), "seed = -1"),
        (lambda: random_design(3, 1, seed=None), "seed = None"),
        (lambda: random_design(3, 1, seed=(0, -1)), "seed = -1"),
        (lambda: svd_embedding(FINE, 2.0), "rank = 2.0"),
        (lambda: svd_embedding(but(2, 3, np.nan), 2), "nan at row 2, column 3 of values .1 such"),
        (lambda: svd_embedding([[1, 2], [3]], 1), "rows of one length"),
        (lambda: predict(SINGULAR, [0, 1], [0.5, 0.5]), "spanning only 1 of the embedding's 2"),
        (lambda: predict(ROW * np.nan, [0], [0.5]), "nan at row 0, column 0 of embedding"),
        (lambda: soft_impute(but(2, 3, np.nan), rank=2.0), "rank = 2.0"),
        (lambda: soft_impute(FINE, max_iterations=0), "max_iterations = 0; allowed is at least 1"),
        (lambda: soft_impute(FINE, tolerance=np.nan), "tolerance = nan"),
        (lambda: soft_impute(FINE, penalty="0.1"), "penalty = '0.1'"),
        (
            lambda: soft_impute(np.where(np.eye(12) > 0, 0.5, np.nan), rank=1),
            "12 observed entries; rank 1 of a 12 x 12 matrix needs at least 23",
        ),
        (lambda: rank_by_cross_validation(FINE, folds=1), "folds = 1; allowed is at least 2"),
        (lambda: rank_by_cross_validation(FINE, largest=0), "largest = 0"),
        (lambda: probabilistic_pca(FINE, 2.5), "rank = 2.5"),
        (lambda: learn_prior(FINE, folds=0), "folds = 0"),
        (lambda: learn_prior(FINE, largest_rank=-1), "largest_rank = -1"),
        (lambda: inverse_propensity([]), "no chances"),
        (lambda: inverse_propensity([0.5], clip="20"), "clip = '20'"),
        (lambda: sample([[0.5, 0.0]], seed=0), "chance 0.0 at row 0, column 1"),
        (lambda: sample(np.empty((3, 0)), seed=0), r"chances of shape \(3, 0\)"),
        (lambda: uniform_sample((3,), 0.5, seed=0), r"shape \(3,\); allowed are two"),
        (lambda: uniform_sample((3, 0), 0.5, seed=0), "columns = 0"),
        (lambda: uniform_sample((3, 4), 0.5, seed=2.5), "seed = 2.5"),
        (lambda: memory_biased_sample([[1, np.nan]], 0.5, seed=0), "nan at row 0, column 1 of memory"),
        (lambda: paired_difference(["a", "b"], [1, 2]), "a of type list"),
        (lambda: convergence([0, 0], [0.5, 0.5], [0.5, 0.5]), "memory from 0 to 0"),
        (lambda: hypervolume([1], [0.5], (1, 2, 3)), "two finite numbers"),
        (lambda: recommend([1], [0.5], "much"), "cap = 'much'"),
        (lambda: recommend([1, 2], [0.5, 0.25], 0.5), "cap 0.5; allowed is at least 1"),
        (lambda: regret([0.5], 0.0), "chosen = 0.0"),
    ],
)
def test_the_parts_refuse_what_makes_no_sense(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def matrix(values=FINE, rows=None, columns=None, **more):
    rows = [f"task {i}" for i in range(9)] if rows is None else rows
    return ErrorMatrix(values, rows, list("abcdefg") if columns is None else columns, **more)


def estimate(**changes):
    fields = {
        "names": ["a", "b"],
        "memory_mb": [1, 2],
        "predicted": [0.5, 0.25],
        "measured": [0.5, np.nan],
        "chosen": [0],
    }
    return Estimate(**fields | changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matrix(FINE.T), r"values of shape \(7, 9\); allowed is \(9, 7\)"),
        (lambda: matrix([["x"] * 7] * 9), "values of type list"),
        (lambda: matrix(rows="abcdefghi"), "'abcdefghi' as names of rows; allowed is a sequence"),
        (lambda: matrix(columns=None, rows=3), "3 as names of rows"),
        (lambda: matrix(rows=["a"] * 9), "row name 'a' twice"),
        (lambda: matrix(memory_mb=MEMORY), r"memory_mb of shape \(7,\)"),
        (lambda: matrix(memory_mb=np.full((9, 7), np.inf)), "memory_mb inf in row 'task 0', column 'a'"),
        (lambda: matrix().merge(3), "merge: got a int; allowed is an ErrorMatrix"),
        (lambda: matrix().merge(matrix(), on_conflict="both"), "on_conflict 'both'"),
        (lambda: estimate(names=["a", "a"]), "configuration name 'a' twice"),
        (lambda: estimate(names=[], memory_mb=[], predicted=[], measured=[], chosen=[]), "no names"),
        (lambda: estimate(chosen=[0.0]), "chosen"),
        (lambda: estimate(memory_cap_mb="1"), "memory_cap_mb = '1'"),
        (lambda: estimate(half_width=["x", "y"]), "half_width of type list"),
    ],
)
def test_matrices_and_estimates_that_make_no_sense_cannot_be_made(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_matrix_is_not_saved_where_there_is_no_directory(tmp_path):
    with pytest.raises(OSError, match="there is no directory"):
        matrix().save(tmp_path / "none" / "errors.npz")


ERRORS = meta_training(DIGITS)


def partly(row, column):
    """Return the matrix that ships, with nothing measured in one place."""
    values = ERRORS.values.copy()
    values[row, column] = np.nan
    return ErrorMatrix(values, ERRORS.rows, ERRORS.columns, memory_mb=ERRORS.memory_mb)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"errors": ERRORS.values}, "errors of type ndarray .* an ErrorMatrix"),
        ({"task": "digits"}, "a task of type str"),
        ({"errors": partly(3, EVERY)}, f"nothing but nan in row '{ERRORS.rows[3]}'"),
        ({"errors": partly(EVERY, 3)}, "nothing but nan in column 'e3m1.e7m7'"),
        ({"errors": ERRORS.select(rows=ERRORS.rows[:1])}, "at least 2 rows"),
        ({"measurements": 0}, "0 measurements; allowed are 1"),
        ({"measurements": 100}, "100 measurements; allowed are 1 .* to 99"),
        ({"method": "ed-mf", "measurements": 4}, "4 measurements; allowed are 5 .the rank"),
        ({"method": "best"}, "method 'best'; allowed are"),
        ({"memory_cap_mb": 0.1}, "0.1 MB admits no configuration; the smallest, e3m1.e6m7, needs 0.2832"),
        ({"memory_cap_mb": 0.284, "method": "ed-mf"}, "0.284 MB admits 1 configuration; .* at least 5"),
        ({"memory_cap_mb": "1"}, "memory_cap_mb = '1'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2.5}, "seed is 2.5"),
        ({"rank": 0, "method": "ed-mf"}, "rank = 0"),
    ],
)
def test_a_study_refuses_what_makes_no_sense(given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Study(**{"errors": ERRORS, "task": DIGITS} | given)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"jobs": 0}, "jobs is 0; it must be at least 1"),
        ({"jobs": 2.5}, "jobs is 2.5; it must be a whole number"),
        ({"executor": 3}, "executor is a int; it must have submit"),
        ({"directory": ""}, "journal: the directory is ''"),
    ],
)
def test_nothing_is_trained_or_written_where_it_cannot_be_run(more, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", None)
    with pytest.raises((ValueError, TypeError), match=message):
        estimate_frontier(ERRORS, DIGITS, progress=False, **{"directory": tmp_path / "out"} | more)
    with pytest.raises((ValueError, TypeError), match=message):
        run_sweep(["digits"], ["e4m3+e8m7"], progress=False, **{"directory": tmp_path / "out"} | more)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"memory_cap_mb": "1"}, "memory_cap_mb = '1'"),
        ({"memory_cap_mb": -1}, "memory_cap_mb = -1; allowed is a number above 0"),
        ({"memory_cap_mb": 0.1}, "0.1 MB admits no cell; the smallest needs 0.4431 MB"),
        ({"settings": {"epochs": 3}}, "settings is {'epochs': 3}; give refimpl.peppp.Settings"),
    ],
)
def test_a_plan_refuses_what_a_sweep_refuses(more, message, tmp_path):
    for call in (plan_sweep, run_sweep):
        with pytest.raises((ValueError, TypeError), match=message):
            call(["digits"], ["e4m3+e8m7"], tmp_path / "out", **more)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"batch_size": 2.5}, "batch_size = 2.5"),
        ({"batch_size": 2**41}, r"batch_size = 2199023255552; allowed is 1 to 1099511627776 .2\^40."),
        ({"state_bits": 2.5}, "state_bits = 2.5"),
        ({"checkpoint_every": True}, "checkpoint_every = True"),
        ({"configuration": "e4m3+e8m7"}, "configuration 'e4m3.e8m7'; allowed is a Configuration"),
        ({"network": "cnn"}, "a str as network"),
    ],
)
def test_memory_is_not_counted_of_what_makes_no_sense(more, message):
    fine = {"network": nn.cnn(), "shape": (8, 8, 1), "configuration": configuration("e4m3+e8m7")}
    with pytest.raises((ValueError, TypeError), match=f"^count: got {message}"):
        count(**fine | more)


def test_a_study_learns_from_a_matrix_measured_in_part_and_states_no_band(monkeypatch):
    truth = ERRORS.values.mean(axis=0)

    def train(task, name, settings):
        error = float(truth[ERRORS.columns.index(name)])
        return {"task": task, "configuration": name, "data": DIGITS.fingerprint, "error": error, "seconds": 0.0}

    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", train)
    found = Study(partly(3, 7), DIGITS).measure(jobs=1, progress=False)
    whole = Study(ERRORS, DIGITS).measure(jobs=1, progress=False)
    assert found.band is None and whole.band is not None
    assert np.abs(found.predicted - truth).mean() < 0.02


SCRIPT = """
import numpy as np
from refimpl.peppp import leave_one_out
print("started", flush=True)
leave_one_out(np.full((4, 3), 0.5), [1, 2, 3], n_measurements=1, jobs=2)
"""


def test_a_script_that_leaves_out_without_a_guard_is_told_of_it(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1
    assert "must stand under `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]
    assert "jobs=1" in done.stderr.splitlines()[-1]
