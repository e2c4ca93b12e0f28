"""Laws of D-, A- and E-optimal designs, their bound, and designs that cost."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refimpl.peppp.estimators.design import d_optimal
from refimpl.peppp.estimators.optimal_design import design_value, exhaustive_design, greedy_design, relaxed_design

criteria = st.sampled_from(["D", "A", "E"])


@st.composite
def problems(draw):
    rank = draw(st.integers(1, 3))
    columns = draw(st.integers(rank + 1, 8))
    n = draw(st.integers(rank, columns))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.standard_normal((rank, columns)), n


def value(embedding, columns, criterion):
    """The criterion straight from its definition."""
    x = embedding[:, list(columns)] @ embedding[:, list(columns)].T
    if criterion == "D":
        return np.linalg.slogdet(x)[1]
    return -np.trace(np.linalg.inv(x)) if criterion == "A" else np.linalg.eigvalsh(x)[0]


@settings(deadline=None)
@given(problems(), criteria)
def test_the_value_is_that_of_the_definition(problem, criterion):
    embedding, n = problem
    columns = range(n)
    assert design_value(embedding, columns, criterion) == pytest.approx(
        value(embedding, columns, criterion), rel=1e-6, abs=1e-9
    )


@settings(deadline=None)
@given(problems())
def test_greedy_d_without_costs_is_the_design_of_the_paper(problem):
    embedding, n = problem
    assert greedy_design(embedding, n).tolist() == d_optimal(embedding, n).tolist()


@settings(deadline=None)
@given(problems(), criteria)
def test_each_column_after_the_first_gains_most(problem, criterion):
    embedding, n = problem
    rank = len(embedding)
    design = greedy_design(embedding, n, criterion=criterion).tolist()
    for m in range(rank, n):
        others = [j for j in range(embedding.shape[1]) if j not in design[:m]]
        best = max(value(embedding, [*design[:m], j], criterion) for j in others)
        assert value(embedding, design[: m + 1], criterion) >= best - 1e-6 * abs(best)


@settings(deadline=None)
@given(problems(), criteria)
def test_exhaustive_search_finds_what_trying_everything_finds(problem, criterion):
    embedding, n = problem
    found = exhaustive_design(embedding, n, criterion=criterion)
    every = itertools.combinations(range(embedding.shape[1]), n)
    best = max(value(embedding, c, criterion) for c in every)
    assert value(embedding, found, criterion) == pytest.approx(best, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=40)
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


@settings(deadline=None)
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


WIDE = np.random.default_rng(0).standard_normal((5, 99))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: greedy_design(np.eye(3), 2), r"n = 2; allowed is at least 3, the embedding's rank"),
        (lambda: greedy_design(np.eye(3)), r"neither n nor a budget"),
        (lambda: greedy_design(np.eye(3), 4), r"at most the 3"),
        (lambda: greedy_design(np.ones((2, 4)), 3), r"spanning only 1 of the embedding's 2"),
        (lambda: greedy_design(np.eye(2), budget=1), r"budget of 1, of which 1 paid for 1 columns"),
        (lambda: greedy_design(np.eye(2), 2, costs=[1, 0]), r"positive finite"),
        (lambda: greedy_design(np.eye(2), 2, costs=[1]), r"costs of shape \(1,\)"),
        (lambda: greedy_design(np.eye(2), 2, budget=0), r"budget = 0"),
        (lambda: greedy_design(np.eye(2), 2, criterion="F"), r"'D', 'A', 'E'"),
        (lambda: exhaustive_design(WIDE, 15), r"allowed are 2000000; use greedy_design"),
        (lambda: exhaustive_design(np.ones((2, 4)), 3), r"none of whose designs spans"),
        (lambda: relaxed_design(np.ones((2, 4)), 3), r"spanning only 1"),
        (lambda: relaxed_design([[np.nan]], 1), r"nan at row 0, column 0 of embedding .1 such"),
    ],
)
def test_impossible_designs_are_refused_with_the_remedy(call, message):
    with pytest.raises(ValueError, match=message):
        call()
