"""Laws of D-, A- and E-optimal designs, of their bound, of designs that cost and of random ones."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refimpl.peppp.estimators.design import (
    d_optimal,
    design_value,
    exhaustive_design,
    greedy_design,
    random_design,
    relaxed_design,
)


@st.composite
def problems(draw):
    """A generic embedding and a number of columns small enough to try all designs."""
    rank = draw(st.integers(1, 3))
    n_columns = draw(st.integers(rank, 7))
    n = draw(st.integers(rank, n_columns))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.standard_normal((rank, n_columns)), n


def determinant(embedding, design):
    y = embedding[:, list(design)]
    return np.linalg.det(y @ y.T)


def best_determinant(embedding, n, containing=()):
    others = [j for j in range(embedding.shape[1]) if j not in containing]
    return max(
        determinant(embedding, [*containing, *more]) for more in itertools.combinations(others, n - len(containing))
    )


@given(problems())
def test_a_design_has_exactly_n_distinct_columns(problem):
    embedding, n = problem
    design = d_optimal(embedding, n)
    assert len(design) == len(set(design.tolist())) == n


@given(problems())
def test_the_pivots_reach_the_proven_fraction_of_the_best_determinant(problem):
    """Greedy volume is at least 1/k! of the largest (Civril and Magdon-Ismail, 2009)."""
    embedding, _ = problem
    rank = len(embedding)
    fraction = 1 / math.factorial(rank) ** 2  # det(X) is the volume squared
    found = determinant(embedding, d_optimal(embedding, rank))
    assert found >= fraction * best_determinant(embedding, rank) * (1 - 1e-6)


@given(problems())
def test_greedy_additions_gain_the_proven_fraction_of_the_best_log_determinant(problem):
    """1 - 1/e of the best gain, log det being monotone and submodular (Nemhauser et al., 1978)."""
    embedding, n = problem
    design = d_optimal(embedding, n)
    start = design[: len(embedding)].tolist()
    base = determinant(embedding, start)
    best = math.log(best_determinant(embedding, n, start) / base)
    assert math.log(determinant(embedding, design) / base) >= (1 - 1 / math.e) * best - 1e-6


@given(problems())
def test_the_pivots_are_those_of_column_pivoted_qr(problem):
    from scipy.linalg import qr

    embedding, _ = problem
    _, pivots = qr(embedding, mode="r", pivoting=True)
    rank = len(embedding)
    assert d_optimal(embedding, rank).tolist() == pivots[:rank].tolist()


@given(st.permutations([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
def test_among_axis_parallel_columns_the_design_is_the_best_there_is(lengths):
    embedding = np.zeros((2, 6))
    embedding[0, :3], embedding[1, 3:] = lengths[:3], lengths[3:]
    found = determinant(embedding, d_optimal(embedding, 2))
    assert found == pytest.approx(best_determinant(embedding, 2), rel=1e-12)


@given(problems(), st.integers(0, 2**32))
def test_rotating_the_embedding_does_not_change_the_design(problem, seed):
    """A rotation of the embedding changes neither lengths nor determinants."""
    embedding, n = problem
    rank = len(embedding)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((rank, rank)))
    assert d_optimal(rotation @ embedding, n).tolist() == d_optimal(embedding, n).tolist()


@given(problems(), st.data())
def test_only_allowed_columns_are_chosen_and_as_if_the_others_did_not_exist(problem, data):
    embedding, n = problem
    extra = data.draw(st.integers(1, 4))
    wide = np.concatenate([embedding, 100 * np.ones((len(embedding), extra))], axis=1)
    order = np.array(data.draw(st.permutations(range(wide.shape[1]))))
    allowed = order < embedding.shape[1]
    own = order[allowed]  # the allowed columns, in the order in which they now stand
    expected = np.flatnonzero(allowed)[d_optimal(embedding[:, own], n)]
    assert d_optimal(wide[:, order], n, allowed).tolist() == expected.tolist()


def test_ties_go_to_the_lowest_index():
    one = np.array([[0.3], [0.7]])
    other = np.array([[0.6], [-0.1]])
    twins = np.hstack([one, other, one, other, -one])
    assert d_optimal(twins, 2).tolist() == [0, 1]
    assert d_optimal(np.ones((1, 5)), 4).tolist() == [0, 1, 2, 3]


def test_numbers_that_differ_by_rounding_are_ties():
    assert 0.1 + 0.2 > 0.3
    assert d_optimal([[0.3, 0.1 + 0.2]], 1).tolist() == [0]
    assert d_optimal([[1.0, 0.3, 0.1 + 0.2]], 2).tolist() == [0, 1]


def test_columns_span_a_dimension_unless_only_rounding_sets_them_apart():
    # the second part of the second column is eps / 2, far within rounding, or 16 eps of the first
    assert d_optimal([[1.0, 1.0], [0.0, 2.0**-48]], 2).tolist() == [0, 1]
    with pytest.raises(ValueError, match="spanning only 1"):
        d_optimal([[1.0, 1.0], [0.0, 2.0**-53]], 2)


@given(st.integers(1, 20), st.data())
def test_a_random_design_has_n_distinct_allowed_columns_and_repeats_with_its_seed(n_columns, data):
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=n_columns, max_size=n_columns)))
    allowed[data.draw(st.integers(0, n_columns - 1))] = True
    n = data.draw(st.integers(1, int(allowed.sum())))
    seed = data.draw(st.integers(0, 2**32))
    design = random_design(n_columns, n, allowed, seed=seed)
    assert len(set(design.tolist())) == n
    assert allowed[design].all()
    assert random_design(n_columns, n, allowed, seed=seed).tolist() == design.tolist()


def test_random_designs_take_every_column_equally_often():
    times = np.zeros(10)
    for seed in range(2000):
        times[random_design(10, 3, seed=seed)] += 1
    # binomial(2000, 0.3): mean 600, standard deviation 20.5; five of them on each side
    assert abs(times - 600).max() < 5 * 20.5


criteria = st.sampled_from(["D", "A", "E"])


def value(embedding, columns, criterion):
    """The criterion straight from its definition."""
    x = embedding[:, list(columns)] @ embedding[:, list(columns)].T
    if criterion == "D":
        return np.linalg.slogdet(x)[1]
    return -np.trace(np.linalg.inv(x)) if criterion == "A" else np.linalg.eigvalsh(x)[0]


@given(problems(), criteria)
def test_the_value_is_that_of_the_definition(problem, criterion):
    embedding, n = problem
    columns = range(n)
    assert design_value(embedding, columns, criterion) == pytest.approx(
        value(embedding, columns, criterion), rel=1e-6, abs=1e-9
    )


@given(problems(), criteria)
def test_each_column_after_the_first_gains_most(problem, criterion):
    embedding, n = problem
    rank = len(embedding)
    design = greedy_design(embedding, n, criterion=criterion).tolist()
    for m in range(rank, n):
        others = [j for j in range(embedding.shape[1]) if j not in design[:m]]
        best = max(value(embedding, [*design[:m], j], criterion) for j in others)
        assert value(embedding, design[: m + 1], criterion) >= best - 1e-6 * abs(best)


@given(problems(), criteria)
def test_exhaustive_search_finds_what_trying_everything_finds(problem, criterion):
    embedding, n = problem
    found = exhaustive_design(embedding, n, criterion=criterion)
    every = itertools.combinations(range(embedding.shape[1]), n)
    best = max(value(embedding, c, criterion) for c in every)
    assert value(embedding, found, criterion) == pytest.approx(best, rel=1e-6, abs=1e-9)


@settings(max_examples=40)
@given(problems(), criteria)
def test_no_design_is_worth_more_than_the_bound_of_the_relaxation(problem, criterion):
    embedding, n = problem
    relaxed = relaxed_design(embedding, n, criterion=criterion)
    best = design_value(embedding, exhaustive_design(embedding, n, criterion=criterion), criterion)
    assert relaxed.bound >= best - 1e-7 * max(1, abs(best))
    assert relaxed.bound >= relaxed.value - 1e-7 * max(1, abs(relaxed.value))
    assert relaxed.weights.sum() == pytest.approx(n, abs=1e-6)
    assert (relaxed.weights >= 0).all() and (relaxed.weights <= 1).all()


@pytest.mark.parametrize(("criterion", "tight"), [("D", 1e-3), ("A", 1e-3), ("E", 5e-2)])
def test_on_a_problem_of_the_usual_size_the_bound_is_tight(criterion, tight):
    embedding = np.linalg.qr(np.random.default_rng(0).standard_normal((99, 5)))[0].T
    relaxed = relaxed_design(embedding, 15, criterion=criterion)
    assert relaxed.bound - relaxed.value < tight * abs(relaxed.value)
    greedy = design_value(embedding, greedy_design(embedding, 15, criterion=criterion), criterion)
    # for E nothing is gained until every direction is, so one column at a time goes astray
    assert relaxed.gap(greedy) < {"D": 0.1, "A": 0.1, "E": 0.6}[criterion] * abs(greedy)


@given(problems(), st.data())
def test_a_budget_is_kept_and_used_up(problem, data):
    embedding, _ = problem
    rank, columns = embedding.shape
    costs = np.array(data.draw(st.lists(st.integers(1, 9), min_size=columns, max_size=columns)))
    budget = data.draw(st.integers(9 * rank, 60))
    design = greedy_design(embedding, costs=costs, budget=budget)
    spent = costs[design].sum()
    assert spent <= budget and len(set(design.tolist())) == len(design) >= rank
    left = np.setdiff1d(np.arange(columns), design)
    assert all(costs[j] > budget - spent for j in left)


def test_of_two_equal_columns_the_cheaper_is_measured():
    y = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    assert sorted(greedy_design(y, 2, costs=[2, 1, 1, 2])) == [1, 2]


def test_a_design_may_only_use_what_is_allowed():
    y = np.random.default_rng(0).standard_normal((2, 6))
    allowed = np.array([True, False, True, True, False, True])
    for criterion in "DAE":
        assert allowed[greedy_design(y, 3, criterion=criterion, allowed=allowed)].all()
        assert allowed[exhaustive_design(y, 3, criterion=criterion, allowed=allowed)].all()
        assert not relaxed_design(y, 3, criterion=criterion, allowed=allowed).weights[~allowed].any()


def test_the_signs_of_an_embedding_change_nothing_about_its_relaxed_design():
    y = np.random.default_rng(0).uniform(size=(3, 12))
    for criterion in "DAE":
        one, other = (relaxed_design(sign * y, 4, criterion=criterion) for sign in (1, -1))
        assert (one.weights == other.weights).all() and one.bound == other.bound
