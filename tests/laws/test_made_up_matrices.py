"""Estimation works on matrices it has never seen: few factors and noise, of many shapes and kinds.

Every row is a level times a curve that falls with memory, plus a few factors and noise, clipped to
[0, 1]. What must hold on all of them: it runs without a warning, every score is finite and in its
range, and bands are ordered. Which method is better is judged elsewhere, on real matrices.
"""

import signal
import warnings

import numpy as np
import pytest

from refimpl import data
from refimpl.peppp import CONFIGURATIONS, ErrorMatrix, estimate_frontier, leave_one_out
from refimpl.peppp.estimators.methods import BEST, METHODS
from refimpl.peppp.evaluation import _map, paired_difference
from refimpl.peppp.study import Study

DIGITS = data.load("digits")
KINDS = {
    "plain": {},
    "with nan": {"missing": 0.1},
    "with few memories": {"memories": 3},
    "all of one memory": {"memories": 1},
    "with constant columns": {"constant": 2},
    "with a row of ones": {"ones": True},
    "without noise": {"noise": 0.0},
    "mostly noise": {"noise": 0.3},
    "with all of it": {"missing": 0.1, "memories": 4, "constant": 1, "ones": True},
}


def made_up(rows, columns, *, noise=0.02, missing=0.0, memories=None, constant=0, ones=False):
    """Return errors and the memory of every column."""
    rng = np.random.default_rng([rows, columns])
    memory = np.sort(rng.uniform(1, 9, columns))
    if memories:
        memory = np.sort(rng.integers(1, memories + 1, columns)).astype(float)
    level = rng.uniform(0.1, 0.9, (rows, 1))
    factors = 0.1 * rng.standard_normal((rows, 3)) @ rng.uniform(-0.5, 0.5, (3, columns))
    values = level * (0.4 + 0.6 * np.exp(-memory / 4)) + factors
    values = np.clip(values + noise * rng.standard_normal(values.shape), 0, 1)
    values[:, :constant] = 0.5
    if ones:
        values[rows // 2] = 1.0
    gone = rng.uniform(size=values.shape) < missing
    gone[np.arange(rows), np.arange(rows) % columns] = False  # something of every row ...
    gone[np.arange(columns) % rows, np.arange(columns)] = False  # ... and column is measured
    return np.where(gone, np.nan, values), memory


def test_the_standard_error_of_two_rows_is_half_the_distance_of_their_differences():
    assert paired_difference([0.5, 0.25], [0.25, 0.5]) == (0.0, pytest.approx(0.25, rel=1e-15))


def scores(values, memory, method, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return leave_one_out(values, memory, method=method, **{"n_measurements": (2, 3), "rank": 2} | options)


def hold(found, rows):
    for name, values in found.items():
        assert values.shape == (2, rows), name
        if name == "coverage":
            values = values[~np.isnan(values)]
            assert ((values >= 0) & (values <= 1)).all()
            continue
        assert np.isfinite(values).all() and (values >= 0).all(), name
        # a distance between two points of the unit square, a fraction of it, an error less another
        assert name == "relative_error" or values.max() <= np.sqrt(2), name
        assert "regret" not in name or values.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_scores_every_row_of_a_small_matrix(kind, method):
    values, memory = made_up(8, 7, **KINDS[kind])
    hold(scores(values, memory, method), 8)


@pytest.mark.parametrize("shape", [(8, 120), (24, 6), (12, 30)])
@pytest.mark.parametrize("method", [BEST, "ed-mf"])
def test_any_shape_is_estimated(shape, method):
    for kind in ("plain", "with all of it"):
        values, memory = made_up(*shape, **KINDS[kind])
        hold(scores(values, memory, method), shape[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "with all of it"])
@pytest.mark.parametrize("columns", [6, 120])
def test_many_rows_are_estimated(columns, kind):
    values, memory = made_up(60, columns, **KINDS[kind])
    hold(scores(values, memory, BEST), 60)


@pytest.mark.parametrize(
    "options",
    [
        {"meta_training": "uniform", "ratio": 0.8},
        {"meta_training": "memory-biased", "ratio": 1.0},
        {"meta_training": "memory-biased", "ratio": 1.0, "leak": True},
        {"memory_cap_mb": 7.0},
        {"groups": [str(i // 2) for i in range(10)]},
        {"plug_in": False},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("method", [BEST, "ed-mf"])
def test_any_setting_is_estimated(options, method):
    values, memory = made_up(10, 9, missing=0.05)
    hold(scores(values, memory, method, **options), 10)
    every = memory * np.linspace(1, 1.2, 10)[:, None]  # each row has memories of its own
    hold(scores(values, every, method, **options), 10)


def test_two_processes_score_as_one_does_to_the_bit():
    values, memory = made_up(12, 9, **KINDS["with all of it"])
    one, two = (scores(values, memory, BEST, jobs=jobs, seed=3) for jobs in (1, 2))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_a_worker_that_is_killed_is_said_to_have_been_killed():
    with pytest.raises(RuntimeError, match="^a worker process was killed"):
        list(_map(signal.raise_signal, [signal.SIGKILL] * 2, 2, False, ""))


def test_an_entry_that_was_not_measured_is_never_looked_at():
    """The scores of a row are those of the matrix without the columns it was not measured in."""
    values, memory = made_up(9, 8)
    holed = values.copy()
    holed[4, [1, 6]] = np.nan
    rest = [0, 2, 3, 4, 5, 7]
    for method in (BEST, "ed-mf"):
        found = scores(holed, memory, method)
        less = scores(values[:, rest], np.broadcast_to(memory, (9, 8))[:, rest], method)
        for name in set(found) - {"convergence", "hyper_diff", "inverted_distance"}:  # scaled by all
            np.testing.assert_array_equal(found[name][:, 4], less[name][:, 4])


@pytest.mark.parametrize("rows", [8, 30])
@pytest.mark.parametrize("kind", ["plain", "with constant columns", "with a row of ones", "mostly noise"])
def test_a_frontier_has_ordered_bands_around_what_is_predicted(rows, kind, monkeypatch):
    names = [c.name for c in CONFIGURATIONS]
    values, memory = made_up(rows + 1, 99, **KINDS[kind])
    truth = dict(zip(names, values[0], strict=True))

    def train(task, name, settings, fingerprint):
        known = {"task": "digits", "configuration": name, "seed": settings.seed, "data": fingerprint}
        return known | {"error": float(truth[name]), "seconds": 0.0, "diverged": False, "fall": 0.0}

    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", train)
    errors = ErrorMatrix(
        values[1:], [f"made up {i}" for i in range(rows)], names, memory_mb=np.broadcast_to(memory, (rows, 99))
    )
    first, again = (estimate_frontier(errors, DIGITS, budget=6, jobs=1, progress=False) for _ in "ab")
    low, high = first.band
    assert (low >= 0).all() and (low <= first.error).all()
    assert (first.error <= high).all() and (high <= 1).all()
    assert np.array_equal(low[first.chosen], values[0][first.chosen])
    assert np.array_equal(high[first.chosen], values[0][first.chosen])
    assert first.frontier.any() and 0 <= first.recommended < 99
    for one, other in zip((*first.band, first.predicted), (*again.band, again.predicted), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_estimates_a_frontier(method):
    values, memory = made_up(9, 99)
    errors = ErrorMatrix(
        values[1:],
        [f"made up {i}" for i in range(8)],
        [c.name for c in CONFIGURATIONS],
        memory_mb=np.broadcast_to(memory, (8, 99)),
    )
    study = Study(errors, method=method, measurements=6)
    while (suggested := study.suggest()) is not None:
        study.observe(suggested.name, values[0][errors.columns.index(suggested.name)])
    found = study.estimate()
    assert len(set(found.chosen.tolist())) == 6
    assert ((found.predicted >= 0) & (found.predicted <= 1)).all()
    assert np.array_equal(found.measured[found.chosen], values[0][found.chosen])
