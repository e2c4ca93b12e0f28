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
    Configuration,
    ErrorMatrix,
    Estimate,
    Settings,
    Study,
    TaskStudy,
    configuration,
    estimate_frontier,
    leave_one_out,
    meta_training,
    paired_difference,
    plan_sweep,
    run_sweep,
)
from refimpl.peppp.estimators.belief import Belief
from refimpl.peppp.estimators.completion import inverse_propensity, rank_by_cross_validation, soft_impute
from refimpl.peppp.estimators.design import (
    d_optimal,
    design_value,
    exhaustive_design,
    greedy_design,
    random_design,
    relaxed_design,
)
from refimpl.peppp.estimators.embedding import rank_by_rule, svd_embedding
from refimpl.peppp.estimators.factors import probabilistic_pca
from refimpl.peppp.estimators.methods import METHODS, learn
from refimpl.peppp.estimators.prior import learn_prior
from refimpl.peppp.estimators.regression import predict
from refimpl.peppp.estimators.sequential import measure_by
from refimpl.peppp.frontier import convergence, hypervolume, knee, non_dominated, recommend, regret
from refimpl.peppp.matrix.sampling import memory_biased_sample, sample, uniform_sample
from refimpl.peppp.memory import count
from refimpl.peppp.sweeping.cell import row_of

RNG = np.random.default_rng(0)
FINE = np.clip(RNG.uniform(size=(9, 2)) @ RNG.uniform(size=(2, 7)) / 2, 0.01, 1)
MEMORY = np.arange(1.0, 8)
DIGITS = data.load("digits")
ERRORS = meta_training(DIGITS)
EVERY = slice(None)
NAN = np.nan


def but(row, column, value, of=FINE):
    """Return the matrix that is fine, but for an entry, a row or a column."""
    changed = of.copy()
    changed[row, column] = value
    return changed


def partly(row, column):
    """Return the matrix that ships, with nothing measured in one place."""
    return ErrorMatrix(but(row, column, NAN, ERRORS.values), ERRORS.rows, ERRORS.columns, memory_mb=ERRORS.memory_mb)


def left_out(errors=FINE, memory=MEMORY, n=3, **options):
    return leave_one_out(errors, memory, n_measurements=n, **{"method": "ed-mf", "rank": 2} | options)


def matrix(values=FINE, rows=tuple(f"task {i}" for i in range(9)), columns=tuple("abcdefg"), **more):
    return ErrorMatrix(values, rows, columns, **more)


def estimate(**changes):
    fields = {"names": ["a", "b"], "memory_mb": [1, 2], "predicted": [0.5, 0.25], "measured": [0.5, NAN], "chosen": [0]}
    return Estimate(**fields | changes)


def study(**changes):
    return TaskStudy(**{"errors": ERRORS, "task": DIGITS} | changes)


def table(**changes):
    return Study(**{"errors": FINE} | changes)


def twice():
    study = table(measured={"1": 0.5})
    study.observe("1", 0.5)


def early():
    table(method="ed-mf", rank=2, measured={"1": 0.5}).recommend()


def counted(**changes):
    fine = {"network": nn.cnn(), "shape": (8, 8, 1), "configuration": configuration("e4m3+e8m7")}
    return count(**fine | changes)


def trained_as(row):
    return row_of(row, Settings())


ROW = np.array([[1.0, 2.0, 3.0]])
SINGULAR = np.ones((2, 5))
WIDE = np.random.default_rng(0).standard_normal((5, 99))
DIAGONAL = np.where(np.eye(12) > 0, 0.5, NAN)

REFUSED = {  # who refuses: what is given, and what the message names
    left_out: [
        ({"errors": FINE[0]}, "errors is of shape (7,)"),
        ({"errors": np.empty((0, 0))}, "errors is of shape (0, 0)"),
        ({"errors": FINE[:2]}, "at least 3 rows"),
        ({"errors": FINE[:, :1], "memory": [1.0]}, "2 columns"),
        ({"errors": [["a"] * 7] * 9}, "real numbers"),
        ({"errors": [[0.5, 0.5], [0.5]] * 3}, "rows differ in length"),
        ({"errors": FINE * 1j}, "complex128"),
        ({"errors": None}, "errors is"),
        ({"errors": but(2, 3, 1.5)}, "errors[2, 3] is 1.5; allowed is an error in [0, 1]"),
        ({"errors": but(2, 3, -0.5)}, "errors[2, 3] is -0.5"),
        ({"errors": but(2, 3, np.inf)}, "errors[2, 3] is inf"),
        ({"errors": but(2, EVERY, NAN)}, "row 2 of errors is all nan"),
        ({"errors": but(EVERY, 3, NAN)}, "column 3 of errors is all nan"),
        ({"errors": but(4, slice(2, None), NAN)}, "n_measurements is 3; allowed is an integer, 2 to 2", "row 4"),
        ({"memory": None}, "memory_mb is None"),
        ({"memory": MEMORY[:6]}, "memory_mb is of shape (6,); allowed is (9, 7) or (7,)"),
        ({"memory": ["a"] * 7}, "memory_mb"),
        ({"memory": -MEMORY}, "memory_mb[0, 0] is -1.0"),
        ({"memory": [1, 2, np.inf, 4, 5, 6, 7]}, "memory_mb[0, 2] is inf"),
        ({"memory": np.zeros(7)}, "memory_mb is all 0"),
        ({"n": 1}, "n_measurements is 1; allowed is an integer, 2 to 7", "rank of the embedding"),
        ({"n": 8}, "n_measurements is 8"),
        ({"n": (3, 8)}, "n_measurements is 8"),
        ({"n": 3.0}, "n_measurements is 3.0"),
        ({"n": True}, "n_measurements is True"),
        ({"n": None}, "n_measurements is None"),
        ({"n": []}, "n_measurements is []"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2.5}, "seed is 2.5"),
        ({"rank": 0}, "rank is 0; allowed is an integer, 1 to 8", "left to learn from"),
        ({"rank": 9}, "rank is 9"),
        ({"rank": 3, "errors": np.tile(FINE[:1], (9, 1))}, "with row 0 held out", "rank is 3", "1 to 1"),
        ({"errors": np.zeros((9, 7))}, "with row 0 held out", "values is all 0"),
        ({"method": "ed"}, "method 'ed'", "ed-mf"),
        ({"method": ["ed-mf"]}, "method ['ed-mf']"),
        ({"meta_training": "half"}, "'half'", "memory-biased"),
        ({"duplicates": "drop"}, "'drop'", "eliminate"),
        ({"ratio": 0}, "ratio is 0"),
        ({"ratio": "half"}, "ratio is 'half'"),
        ({"meta_training": "uniform", "ratio": 0.01}, "held out", "observed entries"),
        ({"memory_cap_mb": 1.5}, "row 0 within 1.5 MB is 1; allowed is at least 2"),
        ({"memory_cap_mb": 2, "n": 3}, "n_measurements is 3"),
        ({"memory_cap_mb": 0}, "memory_cap_mb is 0"),
        ({"memory_cap_mb": NAN}, "memory_cap_mb is nan"),
        ({"jobs": 0}, "jobs is 0"),
        ({"groups": 5}, "groups is 5"),
        ({"groups": ["a"] * 3}, "groups is of shape (3,)"),
        ({"groups": ["a"] * 8 + ["b"]}, "groups", "at least 2 rows beside each"),
    ],
    d_optimal: [
        ((ROW, 2.0), "n is 2.0"),
        ((ROW * 1j, 1), "complex128"),
        ((np.empty((0, 3)), 1), "embedding is of shape (0, 3)"),
        ((ROW * NAN, 1), "embedding[0, 0] is nan"),
        ((SINGULAR, 2), "spanning only 1 of"),
        ((np.zeros((1, 3)), 2), "spanning only 0"),
        ((np.hstack([np.eye(2), [[2], [0]]]), 2, [True, False, True]), "spanning only 1"),
        ((np.eye(3), 2), "n is 2; allowed is an integer, 3 to 3", "rank"),
        ((np.eye(3), 4), "n is 4"),
        ((np.eye(2), 2, [0, 1]), "allowed is an array of int64"),
        ((np.eye(2), 2, [True]), "allowed is of shape (1,)"),
    ],
    greedy_design: [
        ({"embedding": ROW}, "n is None, and so is the budget"),
        ({"embedding": ROW, "n": 2.5}, "n is 2.5"),
        ({"embedding": np.eye(2), "n": 2, "criterion": "F"}, "criterion 'F'"),
        ({"embedding": ROW, "n": 2, "costs": [1, 0, 1]}, "costs[1] is 0"),
        ({"embedding": ROW, "n": 2, "costs": [1]}, "costs is of shape (1,)"),
        ({"embedding": ROW, "budget": "much"}, "budget is 'much'"),
        ({"embedding": ROW, "budget": 0}, "budget is 0"),
        ({"embedding": np.eye(2), "budget": 1}, "budget is 1, of which 1 pays for 1 columns"),
    ],
    exhaustive_design: [((WIDE, 15), "at most 2000000"), ((SINGULAR, 3), "not spanned by any design")],
    relaxed_design: [((SINGULAR, 3), "spanning only 1"), (([[NAN]], 1), "embedding[0, 0] is nan")],
    design_value: [((ROW, [3]), "columns is [3]", "0 to 2"), ((ROW, []), "at least one")],
    random_design: [
        ({"n_columns": 3, "n": 0, "seed": 0}, "n is 0"),
        ({"n_columns": 4, "n": 5, "seed": 0}, "n is 5"),
        ({"n_columns": 0, "n": 1, "seed": 0}, "n_columns is 0"),
        ({"n_columns": 3, "n": 1, "seed": -1}, "seed is -1"),
        ({"n_columns": 3, "n": 1, "seed": None}, "seed is None"),
        ({"n_columns": 3, "n": 1, "seed": (0, -1)}, "seed is -1"),
    ],
    svd_embedding: [
        ((FINE, 2.0), "rank is 2.0"),
        ((FINE, 0), "rank is 0"),
        ((np.full((3, 3), 0.5), 2), "rank is 2; allowed is an integer, 1 to 1"),
        ((but(2, 3, NAN), 2), "values[2, 3] is nan"),
        (([[1, 2], [3]], 1), "rows differ in length"),
        (([0.5], 1), "values is of shape (1,)"),
    ],
    rank_by_rule: [((np.zeros((2, 2)),), "values is all 0"), ((ROW, 0), "threshold is 0")],
    predict: [
        ((SINGULAR, [0, 1], [0.5, 0.5]), "spanning only 1"),
        ((ROW, [], []), "measurements is 0"),
        ((ROW, [3], [0.5]), "columns is [3]"),
        ((ROW, [1, 1], [0.5, 0.5]), "columns is [1, 1]; allowed is distinct"),
        ((ROW, [1], [1.5]), "errors[0] is 1.5"),
        ((ROW, [1], [0.5, 0.5]), "columns is of shape (1,); allowed is (2,)"),
    ],
    soft_impute: [
        ({"values": but(2, 3, NAN), "rank": 2.0}, "rank is 2.0"),
        ({"values": FINE, "rank": 8}, "rank is 8; allowed is an integer, 1 to 7"),
        ({"values": FINE, "max_iterations": 0}, "max_iterations is 0"),
        ({"values": FINE, "tolerance": NAN}, "tolerance is nan"),
        ({"values": FINE, "penalty": -1}, "penalty is -1"),
        ({"values": FINE, "weights": [1]}, "weights is of shape (1,)"),
        ({"values": FINE, "weights": 0 * FINE}, "weights[0, 0] is 0.0"),
        ({"values": DIAGONAL, "rank": 1}, "observed entries is 12; allowed is at least 23"),
        ({"values": [[0.5, 0.5], [NAN, NAN]]}, "row 1 of values is all nan"),
    ],
    rank_by_cross_validation: [((FINE,), {"folds": 1}, "folds is 1"), ((FINE,), {"largest": 0}, "largest is 0")],
    probabilistic_pca: [
        ((FINE, 2.5), "rank is 2.5"),
        ((np.full((3, 4), 0.5), 3), "rank is 3; allowed is an integer, 1 to 2"),
        ((DIAGONAL, 2), "observed entries is 12; allowed is at least"),
        (([[0.5, 1.5], [0.5, 0.5]], 1), "values[0, 1] is 1.5"),
    ],
    learn_prior: [({"values": FINE, "folds": 0}, "folds is 0"), ({"values": FINE, "largest_rank": -1}, "rank is -1")],
    Belief(np.zeros(2), np.ones((2, 2))).given: [(([0, 1], [0.5, 0.5]), "[0, 1]")],
    inverse_propensity: [
        (([],), "propensity is of shape (0,)"),
        (([0.5, 0.0],), "propensity[1] is 0.0"),
        (([0.5],), {"clip": "20"}, "clip is '20'"),
        (([0.5],), {"clip": 0.5}, "clip is 0.5"),
        (([0.5],), {"clip": NAN}, "clip is nan"),
    ],
    sample: [
        (([[0.5, 0.0]],), {"seed": 0}, "propensity[0, 1] is 0.0"),
        ((np.empty((3, 0)),), {"seed": 0}, "propensity is of shape (3, 0)"),
        (([0.5],), {"seed": 0}, "propensity is of shape (1,)"),
    ],
    uniform_sample: [
        (((3,), 0.5), {"seed": 0}, "shape is (3,)"),
        (((3, 1, 2), 0.5), {"seed": 0}, "shape is (3, 1, 2)"),
        (((3, 0), 0.5), {"seed": 0}, "shape is 0"),
        (((3, 4), 0.0), {"seed": 0}, "ratio is 0"),
        (((3, 4), 0.5), {"seed": 2.5}, "seed is 2.5"),
    ],
    memory_biased_sample: [
        (([[1, NAN]], 0.5), {"seed": 0}, "memory[0, 1] is nan"),
        (([[1.0]], 1.5), {"seed": 0}, "largest is 1.5"),
    ],
    paired_difference: [((["a", "b"], [1, 2]), "a is"), (([1], [1]), "at least 2"), (([1, 2], [1]), "b is of shape")],
    non_dominated: [
        (([1, 2], [0.5]), "error is of shape (1,); allowed is (2,)"),
        (([], []), "memory is empty"),
        (([1], [NAN]), "error[0] is nan"),
        (([1], [0.5]), {"duplicates": "drop"}, "'drop'"),
    ],
    knee: [(([1], [np.inf]), "error[0] is inf")],
    hypervolume: [(([1], [0.5], (1, 2, 3)), "reference is of"), (([1], [0.5], (np.inf, 1)), "reference[0] is inf")],
    convergence: [
        (([0, 0], [0.5, 0.5], [0.5, 0.5]), "memory is from 0 to 0"),
        (([4], [0.5], [0.5]), {"memory_scale": 2}, "memory_scale is 2; allowed is a finite number, at least 4"),
        (([4, 4], [0.5, 0.5], [0.5, 0.25]), {"duplicates": "eliminate"}, "the frontier is empty", "'keep'"),
    ],
    recommend: [(([1], [0.5], "much"), "cap is 'much'"), (([4, 3], [0.5, 0.5], 2), "at least 3", "index 1")],
    regret: [
        (([0.5], 0.0), "chosen is 0.0"),
        (([0.5], 1), "chosen is 1"),
        (([0.5, 0.5], 0, [False, True]), "chosen is 0"),
        (([0.5], 0, [False]), "allowed columns is 0"),
    ],
    matrix: [
        ({"values": FINE.T}, "values is of shape (7, 9); allowed is (9, 7)"),
        ({"values": [["x"] * 7] * 9}, "values is"),
        ({"values": but(0, 2, 1.5)}, "values['task 0', 'c'] is 1.5"),
        ({"values": but(8, 0, -0.5)}, "values['task 8', 'a'] is -0.5"),
        ({"values": but(0, 0, np.inf)}, "values['task 0', 'a'] is inf"),
        ({"rows": "abcdefghi"}, "names of rows"),
        ({"rows": 3}, "names of rows"),
        ({"rows": ["a"] * 9}, "row 'a' is named twice"),
        ({"columns": ["a", "", *"cdefg"]}, "column 1 is ''"),
        ({"columns": ["a", 2, *"cdefg"]}, "column 1 is 2"),
        ({"memory_mb": MEMORY}, "memory_mb is of shape (7,)"),
        ({"memory_mb": np.full((9, 7), np.inf)}, "memory_mb['task 0', 'a'] is inf"),
        ({"memory_mb": np.full((9, 7), NAN)}, "memory_mb['task 0', 'a'] is nan"),
        ({"seconds": -FINE}, "seconds['task 0', 'a'] is -"),
        ({"metadata": {"when": object()}}, "metadata"),
        ({"metadata": {"loss": NAN}}, "metadata"),
        ({"metadata": ["a"]}, "metadata is ['a']"),
        ({"images": 3}, "images is 3"),
        ({"images": [[1, 2]]}, "images is of 1 rows; allowed is marks of all 9"),
        *(
            ({"images": [[1], [wrong]] + [[]] * 7}, "images['task 1'] is [")
            for wrong in (-1, 1.5, "5", None, [1], 2**64)
        ),
        ({"images": [5] + [[]] * 8}, "images['task 0'] is 5"),
        ({"repeats": [FINE, FINE + 0.01]}, "the mean of its repeats"),
        ({"repeats": FINE}, "repeats is of shape (9, 7)"),
        ({"repeats": np.empty((0, 9, 7))}, "repeats is empty"),
        ({"repeats": [but(2, 3, 1.5)]}, "repeats['task 2', 'd'] is 1.5"),
    ],
    matrix().merge: [((3,), "other is 3"), ((matrix(),), {"on_conflict": "both"}, "'both'")],
    matrix().select: [({"rows": ["task 10"]}, "did you mean 'task 1'"), ({"columns": ["A"]}, "did you mean 'a'")],
    estimate: [
        ({"names": ["a", "a"]}, "configuration 'a' is named twice"),
        ({"names": [], "memory_mb": [], "predicted": [], "measured": [], "chosen": []}, "names is empty"),
        ({"memory_mb": [1, -1]}, "memory_mb[1] is -1.0"),
        ({"predicted": [0.5, 1.5]}, "predicted[1] is 1.5"),
        ({"measured": [0.5]}, "measured is of shape (1,)"),
        ({"chosen": [0.0]}, "chosen is 0.0"),
        ({"chosen": []}, "chosen is []; allowed is what was measured, [0]"),
        ({"memory_cap_mb": "1"}, "memory_cap_mb is '1'"),
        ({"memory_cap_mb": 0.5}, "memory_cap_mb is 0.5; allowed is at least 1, which the smallest"),
        ({"band": [["x", "y"]] * 2}, "band is"),
        ({"band": [[0.5, 0.5]]}, "band is of shape (1, 2)"),
        ({"error": [0.5]}, "error is of shape (1,)"),
    ],
    study: [
        ({"errors": ERRORS.values}, "errors is an array", "an ErrorMatrix"),
        ({"task": "digits"}, "task is 'digits'"),
        ({"errors": partly(3, EVERY)}, f"row {ERRORS.rows[3]!r} of errors is all nan"),
        ({"errors": partly(EVERY, 3)}, "column 'e3m1+e7m7' of errors"),
        ({"errors": ERRORS.select(rows=ERRORS.rows[:1])}, "at least 2 rows"),
        ({"measurements": 0}, "0 measurements", "1 "),
        ({"measurements": 100}, "100 measurements", "to 99"),
        ({"measurements": 8.5}, "measurements is 8.5"),
        ({"measurements": True}, "measurements is True"),
        ({"method": "ed-mf", "measurements": 4}, "4 measurements", "5 (the rank"),
        ({"method": "best"}, "method 'best'"),
        ({"memory_cap_mb": 0.1}, "0.1 MB admits no configuration; the cheapest, e3m1+e6m7, needs 0.2832"),
        ({"memory_cap_mb": 0.284, "method": "ed-mf"}, "0.284 MB admits 1 configuration", "at least 5"),
        *(({"memory_cap_mb": cap}, f"memory_cap_mb is {cap!r}") for cap in ("1", NAN, np.inf, -1.0, 0.0)),
        ({"rank": 0, "method": "ed-mf"}, "rank is 0"),
        ({"repeats": 0}, "repeats is 0"),
        ({"settings": {}}, "settings is {}", "a Settings"),
    ],
    table: [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2.5}, "seed is 2.5"),
        ({"errors": but(1, 2, 1.5)}, "errors['1', '2'] is 1.5", "losses=True"),
        ({"errors": but(1, 2, -0.5)}, "errors['1', '2'] is -0.5", "in [0, 1]"),
        ({"errors": but(1, 2, -0.5), "losses": True}, "errors['1', '2'] is -0.5", "at least 0"),
        ({"errors": but(1, EVERY, NAN)}, "row '1' of errors is all nan"),
        ({"errors": but(EVERY, 2, NAN)}, "column '2' of errors is all nan"),
        ({"errors": [0.5, 0.5]}, "errors is of shape (2,); allowed is (n, m)"),
        ({"errors": np.empty((0, 3))}, "errors is of shape (0, 3)"),
        ({"errors": FINE[:1]}, "errors is of shape (1, 7)", "at least 2 rows and 2 columns"),
        ({"errors": "table.csv"}, "errors is 'table.csv'"),
        ({"names": ["a"]}, "errors is of shape (9, 7), with 1 names"),
        ({"names": ["a"] * 7}, "configuration 'a' is named twice"),
        ({"costs": np.arange(7)}, "the cost of '0' is 0.0", "above 0"),
        ({"costs": -MEMORY}, "the cost of '0' is -1.0"),
        ({"costs": MEMORY * NAN}, "the cost of '0' is nan"),
        ({"costs": [1.0, 2.0]}, "costs is of shape (2,)", "(7,) or (9, 7)"),
        ({"costs": {"0": 1.0}}, "costs is without '1'"),
        ({"costs": {str(i): 1.0 for i in range(8)}}, "unknown configuration in costs '7'"),
        ({"costs": MEMORY, "cap": 0.5}, "a cap of 0.5 admits no configuration; the cheapest, 0, needs 1"),
        ({"cap": 0}, "cap is 0"),
        ({"measurements": 8}, "8 measurements", "1 (what the method needs) to 7"),
        ({"losses": 1}, "losses is 1"),
        ({"method": "best"}, "method 'best'"),
        ({"measured": {"x": 0.5}}, "unknown configuration 'x'"),
        ({"measured": {"1": 1.5}}, "the error of 1 is 1.5"),
        ({"measured": {"1": -1.5}, "losses": True}, "the loss of 1 is -1.5"),
        ({"measured": {"1": np.inf}, "losses": True}, "the loss of 1 is inf", "any large loss"),
        ({"measured": {"1": "low"}}, "the error of 1 is 'low'"),
    ],
    learn: [(("gp", FINE, MEMORY), {}, "features is none", "'gp'")],
    twice: [({}, "configuration '1' is observed twice", "repeated trainings")],
    early: [({}, "the number observed is 1; allowed is at least 2")],
    counted: [
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2**41}, "batch_size is 2199023255552", "2^40"),
        ({"accounting": "mine"}, "'mine'", "needed"),
        ({"optimizer": "lion"}, "'lion'", "adam"),
        ({"state_bits": 0}, "state_bits is 0"),
        ({"state_bits": 2.5}, "state_bits is 2.5"),
        ({"checkpoint_every": True}, "checkpoint_every is True"),
        ({"configuration": "e4m3+e8m7"}, "configuration is 'e4m3+e8m7'"),
        ({"network": "cnn"}, "network is 'cnn'"),
        ({"network": nn.cnn(channels=3)}, "3"),
    ],
    configuration: [
        (("e4m3+e8m8",), "did you mean", "e4m3+e8m7"),
        (("E4M3+E8M7",), "did you mean e4m3+e8m7"),
        ((7,), "is 7"),
        (("",), "is ''"),
    ],
    Configuration: [
        ((name, "e8m7"), repr(name)) for name in ("m3", "e0m3", "e4m", "e4m03", "E4M3", "float8", "", None)
    ],
    Settings: [
        ({"learning_rate": NAN}, "learning_rate is nan"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"loss_scale": 1e39}, "loss_scale"),
    ],
    trained_as: [
        (("digits@",), "unknown data set 'digits@'"),
        (("digits@epochs",), "unknown data set 'digits@epochs'"),
        (("@epochs=3",), "unknown data set ''"),
        (("digits@epochs=",), "digits@epochs=: epochs is ''; allowed is of type int"),
        (("digits@epochs=3.5",), "epochs is '3.5'"),
        (("digits@epochs=0",), "digits@epochs=0: ", "epochs is 0; allowed is an integer, at least 1"),
        (("digits@epochs=3,epochs=3",), "digits@epochs=3,epochs=3: epochs is given twice"),
        (("digits@epochs=3,",), "unknown setting ''"),
        (("digits@seed=3",), "unknown setting 'seed'; allowed are model, epochs"),
        (("digits@epoch=3",), "did you mean 'epochs'"),
        (("digits@learning_rate=1e400",), "digits@learning_rate=1e400: ", "learning_rate is inf"),
        (("digits@loss_scale=nan",), "digits@loss_scale=nan: ", "loss_scale is nan"),
        (("digits@model=cmn",), "digits@model=cmn: ", "unknown model 'cmn'"),
    ],
}


@pytest.mark.parametrize(
    ("call", "case"),
    [(call, case) for call, cases in REFUSED.items() for case in cases],
    ids=lambda x: getattr(x, "__name__", str(x))[:40],
)
def test_what_makes_no_sense_is_refused_by_its_name(call, case):
    positional = next((part for part in case if isinstance(part, tuple)), ())
    named = next((part for part in case if isinstance(part, dict)), {})
    with pytest.raises((ValueError, TypeError)) as caught:
        call(*positional, **named)
    said = str(caught.value)
    assert all(part in said for part in case if isinstance(part, str)) and "\n" not in said, said


@pytest.mark.parametrize("method", METHODS)
def test_every_method_refuses_what_makes_no_sense_in_its_name(method):
    def refused(caller, name, call, *given, **options):
        with pytest.raises((ValueError, TypeError)) as caught:
            call(*given, **options)
        assert str(caught.value).startswith(f"{caller}: ") and name in str(caught.value)

    for values, options, name in [
        (FINE[0], {}, "values is of shape (7,)"),
        (but(2, EVERY, NAN), {}, "row 2 of values"),
        (but(2, 3, 1.5), {}, "values[2, 3] is 1.5"),
        (FINE, {"memory": MEMORY[:6]}, "memory_mb is of shape (6,)"),
        (FINE, {"rank": 2.5}, "rank is 2.5"),
        (FINE, {"propensity": [0.5]}, "propensity is of shape (1,)"),
    ]:
        refused("learn", name, learn, method, values, **options)
    learned = learn(method, FINE, MEMORY, rank=2)
    fine = {"n": 3, "memory": MEMORY, "allowed": np.ones(7, bool), "seed": 0}
    for change, name in [
        ({"n": 0}, "n is 0"),
        ({"n": 8}, "n is 8"),
        ({"n": 2.0}, "n is 2.0"),
        ({"allowed": np.zeros(7, bool)}, "allowed columns is 0"),
        ({"allowed": np.arange(7) < 2}, "n is 3"),
        ({"allowed": [1] * 7}, "allowed is an array of int64"),
        ({"memory": MEMORY[:6]}, "memory is of shape (6,); allowed is (7,)"),
        ({"memory": np.full(7, NAN)}, "memory[0] is nan"),
        ({"seed": 2.5}, "seed is 2.5"),
        ({"seed": None}, "seed is None"),
    ]:
        refused(method, name, learned.strategy, **fine | change)
    for columns, errors, name in [
        ([0, 1], [0.5], "columns is of shape (2,)"),
        ([0, 0], [0.5, 0.5], "columns is [0, 0]; allowed is distinct integers from 0 to 6"),
        ([0, 7], [0.5, 0.5], "columns is [0, 7]"),
        ([0, -1], [0.5, 0.5], "columns is [0, -1]"),
        ([0.0, 1.0], [0.5, 0.5], "columns is [0.0, 1.0]"),
        ([0, 3], [0.5, NAN], "errors[1] is nan"),
        ([0, 3], [0.5, 1.5], "errors[1] is 1.5"),
    ]:
        refused(method, name, learned.predict, columns, errors)
    for measured in (lambda columns: np.full(len(columns), NAN), lambda columns: []):
        refused("measure_by", "errors" if measured([0]) else "columns", measure_by, learned.strategy(**fine), measured)


def test_a_matrix_is_not_saved_where_there_is_no_directory(tmp_path):
    with pytest.raises(OSError, match="there is no directory"):
        matrix().save(tmp_path / "none" / "errors.npz")


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"jobs": 0}, "jobs is 0"),
        ({"jobs": 2.5}, "jobs is 2.5"),
        ({"executor": 3}, "executor is 3"),
        ({"directory": ""}, "directory is ''"),
        ({"memory_cap_mb": "1"}, "memory_cap_mb is '1'"),
        ({"memory_cap_mb": -1}, "memory_cap_mb is -1"),
        ({"memory_cap_mb": 0.1}, "0.1 MB admits no"),
    ],
)
def test_nothing_is_trained_or_written_where_it_cannot_be_run(more, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", None)
    where = {"progress": False, "directory": tmp_path / "out"} | more
    for call in (
        lambda: estimate_frontier(ERRORS, DIGITS, **where),
        lambda: run_sweep(["digits"], ["e4m3+e8m7"], **where),
        *([lambda: plan_sweep(["digits"], ["e4m3+e8m7"], tmp_path, **more)] if "memory_cap_mb" in more else []),
    ):
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        assert name in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", [0, 20, 40])
def test_a_study_learns_from_a_matrix_measured_in_part(task):
    truth, others = ERRORS.values[task], [row for row in ERRORS.rows if row != ERRORS.rows[task]]
    partial = partly(3, 7).select(rows=others)
    found = Study(partial, measured=dict(zip(ERRORS.columns[::11], truth[::11], strict=True))).estimate()
    assert found.band is not None
    nothing = np.nanmean(partial.values, axis=0)  # the mean of the others, without any measurement
    assert np.abs(found.predicted - truth).mean() < np.abs(nothing - truth).mean() / 2


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
