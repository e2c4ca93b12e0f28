"""Laws of D-optimal and random design."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.peppp.estimators.design import d_optimal, random_design


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
def test_the_log_determinant_never_falls_as_columns_are_added(problem):
    embedding, n = problem
    design = d_optimal(embedding, n)
    dets = [determinant(embedding, design[:m]) for m in range(len(embedding), n + 1)]
    assert all(b >= a * (1 - 1e-9) for a, b in itertools.pairwise(dets))


@given(problems())
def test_one_more_column_multiplies_the_determinant_by_one_plus_its_score(problem):
    """The matrix determinant lemma, by which the greedy step is the best possible."""
    embedding, n = problem
    design = d_optimal(embedding, n)
    for m in range(len(embedding), n):
        y = embedding[:, design[:m]]
        new = embedding[:, design[m]]
        factor = 1 + new @ np.linalg.solve(y @ y.T, new)
        assert determinant(embedding, design[: m + 1]) == pytest.approx(
            factor * determinant(embedding, design[:m]), rel=1e-6
        )


@given(problems())
def test_each_column_after_the_pivots_is_the_best_single_addition(problem):
    embedding, n = problem
    design = d_optimal(embedding, n)
    for m in range(len(embedding), n):
        before = design[:m].tolist()
        best = best_determinant(embedding, m + 1, before)
        assert determinant(embedding, design[: m + 1]) >= best * (1 - 1e-6)


@given(problems())
def test_the_pivots_reach_the_proven_share_of_the_best_determinant(problem):
    """Greedy volume is at least 1/k! of the largest (Civril and Magdon-Ismail, 2009)."""
    embedding, _ = problem
    rank = len(embedding)
    share = 1 / math.factorial(rank) ** 2  # det(X) is the volume squared
    found = determinant(embedding, d_optimal(embedding, rank))
    assert found >= share * best_determinant(embedding, rank) * (1 - 1e-6)


@given(problems())
def test_greedy_additions_gain_the_proven_share_of_the_best_log_determinant(problem):
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


@pytest.mark.parametrize(
    ("embedding", "n", "allowed", "message"),
    [
        (np.eye(3), 2, None, r"n = 2; allowed is at least 3, the embedding's rank"),
        (np.eye(3), 4, None, r"n = 4; allowed are at most the 3"),
        (np.eye(2), 2, [True, False], r"n = 2; allowed are at most the 1"),
        (np.ones((2, 4)), 3, None, r"spanning only 1 of the embedding's 2 dimensions"),
        (np.hstack([np.eye(2), [[2], [0]]]), 2, [True, False, True], r"spanning only 1"),
        (np.zeros((1, 3)), 2, None, r"spanning only 0"),
        (np.full((1, 3), np.nan), 2, None, r"nan at row 0, column 0 of embedding .3 such"),
        (np.eye(2), 2, [0, 1], r"boolean mask of shape \(2,\)"),
    ],
)
def test_impossible_designs_are_refused_with_the_remedy(embedding, n, allowed, message):
    with pytest.raises(ValueError, match=message):
        d_optimal(embedding, n, allowed)


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


@pytest.mark.parametrize("n", [0, 5])
def test_a_random_design_of_an_impossible_size_is_refused(n):
    with pytest.raises(ValueError, match=f"n = {n}"):
        random_design(4, n, seed=0)
