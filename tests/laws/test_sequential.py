"""Laws of measuring one thing after the other."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import ndtr, ndtri

from refimpl.peppp.estimators import sequential
from refimpl.peppp.estimators.belief import Belief
from refimpl.peppp.estimators.gaussian_process import expected_improvement, fit_gaussian_process
from refimpl.peppp.estimators.methods import METHODS, learn

seeds = st.integers(0, 2**32)


def problem(seed, columns=8):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((columns, columns))
    luck = rng.uniform(0, 0.1, columns) if seed % 2 else None  # without it, what is measured is exact
    belief = Belief(rng.uniform(size=columns), 0.01 * (root @ root.T + np.eye(columns)), luck)
    return belief, rng


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 4))
def test_each_column_lowers_the_weighted_variance_more_than_any_other_would(seed, n):
    belief, rng = problem(seed)
    weights, everything = rng.uniform(size=8), np.ones(8, bool)
    chosen = sequential.variance_reduction(belief, n, weights=weights, allowed=everything).tolist()

    def left(columns):
        return weights @ belief.given(columns, np.zeros(len(columns))).deviation ** 2

    before = chosen[:-1]
    others = [left([*before, j]) for j in range(8) if j not in before]
    assert left(chosen) <= min(others) * (1 + 1e-6)


def worth(belief, memory, column, z, weights):
    """How much the least mean under each cap falls when `column` is measured, averaged over z: a fifth of it
    under the user's own cap, which is the largest, the rest shared by all."""
    step = belief.covariance[column] / belief.deviation[column]
    caps = np.unique(memory)

    def least(mean):
        each = np.array([mean[..., memory <= cap].min(axis=-1) for cap in caps])
        return 0.8 * each.mean(axis=0) + 0.2 * each[-1]

    return least(belief.mean) - weights @ least(belief.mean + z[:, None] * step)


ELEVEN, WEIGHTS = hermegauss(11)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
MANY = ndtri((np.arange(20_000) + 0.5) / 20_000)
EQUAL = np.full(20_000, 1 / 20_000)


@settings(deadline=None, max_examples=300)
@given(seeds)
def test_the_knowledge_gradient_takes_a_column_of_largest_worth_by_its_eleven_points(seed):
    belief, rng = problem(seed, columns=5)
    memory = rng.integers(1, 4, 5).astype(float)
    strategy = sequential.knowledge_gradient(
        belief, 1, memory=memory, weights=np.ones(5), allowed=np.ones(5, bool), first=0
    )
    assert next(strategy).size == 0
    found = strategy.send(np.empty(0))
    each = [worth(belief, memory, j, ELEVEN, WEIGHTS) for j in range(5)]
    assert each[found[0]] >= max(each) - 1e-11


@settings(deadline=None, max_examples=50)
@given(seeds)
def test_the_knowledge_gradient_chooses_by_what_everything_measured_so_far_says(seed):
    belief, rng = problem(seed, columns=6)
    memory, errors = rng.integers(1, 4, 6).astype(float), rng.uniform(size=6)
    strategy = sequential.knowledge_gradient(
        belief, 5, memory=memory, weights=np.ones(6), allowed=np.ones(6, bool), first=2
    )
    chosen = next(strategy).tolist()
    while len(chosen) < 5:
        found = strategy.send(errors[chosen[2:][-1:] or chosen]).item()
        after = belief.given(chosen, errors[chosen])
        each = {j: worth(after, memory, j, ELEVEN, WEIGHTS) for j in range(6) if j not in chosen}
        assert each[found] >= max(each.values()) - 1e-11
        chosen.append(found)


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_eleven_points_find_the_worth_of_a_column_to_three_hundredths_of_the_slopes_spread(seed):
    """The least mean is a straight line in z, less kinks max(0, z - t) whose slopes add up to at most
    the spread of the slopes.  The rule is exact for the line and errs by at most .03 for a kink."""
    kinks = np.linspace(-6, 6, 2001)
    by_rule = WEIGHTS @ np.maximum(ELEVEN[:, None] - kinks, 0)
    density = np.exp(-(kinks**2) / 2) / np.sqrt(2 * np.pi)
    assert np.abs(by_rule - (density - kinks * ndtr(-kinks))).max() < 0.03
    belief, rng = problem(seed, columns=5)
    memory = rng.integers(1, 4, 5).astype(float)
    for j in range(5):
        slopes = belief.covariance[j] / belief.deviation[j]
        found = worth(belief, memory, j, ELEVEN, WEIGHTS)
        assert abs(found - worth(belief, memory, j, MANY, EQUAL)) <= 0.03 * np.ptp(slopes) + 1e-4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_every_method_measures_exactly_n_distinct_allowed_columns(method, seed):
    rng = np.random.default_rng(seed)
    values, memory = rng.uniform(size=(12, 10)), rng.uniform(1, 9, 10)
    allowed = rng.permutation(10) < 8
    learned = learn(method, values, memory, rank=2)
    true = rng.uniform(size=10)
    for n in (learned.fewest, 5, 8):
        strategy = learned.strategy(n, memory=memory, allowed=allowed, seed=seed)
        chosen, errors = sequential.measure_by(strategy, lambda c: true[c])
        assert len(chosen) == len(set(chosen.tolist())) == n
        assert allowed[chosen].all() and (errors == true[chosen]).all()
        predicted, _ = learned.predict(chosen, errors)
        assert predicted.shape == (10,) and ((predicted >= 0) & (predicted <= 1)).all()


def test_a_task_of_the_usual_kind_is_told_from_one_of_the_other_kind():
    """Two kinds of task; the strategies look at a column where they differ, and then know."""
    rng = np.random.default_rng(0)
    kinds = np.array([[0.2, 0.4, 0.8, 0.6], [0.8, 0.4, 0.2, 0.6]])
    values = kinds[rng.integers(0, 2, 40)] + 0.005 * rng.standard_normal((40, 4))
    for method in ("variance-reduction", "knowledge-gradient"):
        learned = learn(method, values, [1, 2, 3, 4])
        strategy = learned.strategy(1, memory=np.arange(1.0, 5), allowed=np.ones(4, bool), seed=0)
        chosen, errors = sequential.measure_by(strategy, lambda c: kinds[1][c])
        assert chosen[0] in (0, 2)
        np.testing.assert_allclose(learned.predict(chosen, errors)[0], kinds[1], atol=0.02)


def test_frontier_frequencies_count_rows():
    values = [[0.5, 0.4, 0.3], [0.5, 0.6, 0.4], [0.5, 0.5, 0.5]]
    assert (3 * sequential.frontier_frequency(values, [[1, 2, 3]] * 3)).round().tolist() == [3, 1, 2]


def test_columns_count_by_how_often_they_stand_on_a_frontier_and_alike_where_memory_is_not_known():
    rng = np.random.default_rng(0)
    values, memory = rng.uniform(size=(9, 4)), rng.permuted(np.tile(np.arange(1.0, 5), (9, 1)), axis=1)
    often = [
        np.mean([not ((m < m[j]) & (e <= e[j])).any() for m, e in zip(memory, values, strict=True)]) for j in range(4)
    ]
    known, unknown = (learn("variance-reduction", values, m).weights for m in (memory, None))
    np.testing.assert_allclose(known, sequential.FLOOR + np.array(often))
    assert len({*often}) > 1 and (unknown == unknown[0]).all()


def test_a_gaussian_process_agrees_with_the_formula_at_the_hyperparameters_it_ends_at():
    """Against a search over a grid: no grid point makes the measurements likelier."""
    rng = np.random.default_rng(0)
    features, measured = rng.uniform(0, 40, (9, 1)), np.arange(6)
    errors = 0.5 + 0.4 * np.sin(features[:6, 0] / 20)
    mean, deviation = fit_gaussian_process(features, measured, errors)
    best, at = -np.inf, None
    d = (features[:6] - features[:6].T) ** 2
    for length, noise in itertools.product(np.geomspace(0.1, 1e3, 81), np.geomspace(1e-5, 10, 61)):
        k = np.exp(-d / (2 * length**2)) + noise * np.eye(6)
        value = -0.5 * errors @ np.linalg.solve(k, errors) - 0.5 * np.linalg.slogdet(k)[1]
        if value > best:
            best, at = value, (length, noise)
    across = np.exp(-((features - features[:6].T) ** 2) / (2 * at[0] ** 2))
    k = np.exp(-d / (2 * at[0] ** 2)) + at[1] * np.eye(6)
    np.testing.assert_allclose(mean, across @ np.linalg.solve(k, errors), atol=0.02)


def test_expected_improvement_is_the_mean_improvement_of_draws():
    draws = 0.4 + 0.1 * np.random.default_rng(0).standard_normal(400_000)
    simulated = np.maximum(0.45 - 0.01 - draws, 0).mean()
    assert expected_improvement([0.4], [0.1], least=0.45)[0] == pytest.approx(simulated, rel=0.01)
