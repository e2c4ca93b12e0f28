"""Laws of the embedding and of predicting a row from a few of its entries."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from refimpl.peppp.estimate import Estimate
from refimpl.peppp.estimators.calibration import NORMAL_90
from refimpl.peppp.estimators.design import d_optimal, random_design
from refimpl.peppp.estimators.embedding import rank_by_rule, svd_embedding
from refimpl.peppp.estimators.methods import METHODS
from refimpl.peppp.estimators.regression import predict
from refimpl.peppp.evaluation import METRICS, _coverage, leave_one_out
from refimpl.peppp.frontier import budget_regret, convergence, hyper_diff, inverted_distance, recommend, regret
from refimpl.peppp.matrix import sampling


@st.composite
def low_rank(draw):
    """Errors in [0, 1] of exact rank k: convex combinations of k random rows, a row each."""
    k = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    base = rng.uniform(0, 1, (k, draw(st.integers(k + 1, 12))))
    weights = rng.dirichlet(np.ones(k), size=k + draw(st.integers(2, 6)))
    matrix = weights @ base
    sigma = np.linalg.svd(matrix, compute_uv=False)
    # rows, columns and every matrix without one row shall be well conditioned at rank k
    rest = [np.linalg.svd(np.delete(matrix, i, 0), compute_uv=False) for i in range(len(matrix))]
    assume(min(s[k - 1] / s[0] for s in (sigma, *rest)) > 1e-3)
    return matrix, k


@given(low_rank())
def test_embedding_rows_are_orthonormal(case):
    matrix, k = case
    embedding = svd_embedding(matrix, k)
    np.testing.assert_allclose(embedding @ embedding.T, np.eye(k), atol=1e-13)


@given(low_rank())
def test_an_embedding_of_full_rank_spans_every_row(case):
    matrix, k = case
    embedding = svd_embedding(matrix, k)
    np.testing.assert_allclose(matrix @ embedding.T @ embedding, matrix, atol=1e-12)


def test_no_other_subspace_keeps_more_of_the_matrix():
    """Eckart and Young: the leading singular vectors are the best subspace of their dimension."""
    rng = np.random.default_rng(0)
    matrix = rng.uniform(size=(9, 7))
    kept = np.linalg.norm(matrix @ svd_embedding(matrix, 2).T)
    for _ in range(200):
        other, _ = np.linalg.qr(rng.standard_normal((7, 2)))
        assert np.linalg.norm(matrix @ other) <= kept


@given(low_rank(), st.integers(0, 2**32))
def test_signs_do_not_depend_on_the_order_of_the_rows(case, seed):
    matrix, k = case
    sigma = np.linalg.svd(matrix, compute_uv=False)[:k]
    assume(k == 1 or (sigma[:-1] / sigma[1:]).min() > 1.01)
    shuffled = np.random.default_rng(seed).permutation(matrix)
    np.testing.assert_allclose(svd_embedding(shuffled, k), svd_embedding(matrix, k), atol=1e-7)


@given(low_rank())
def test_the_entry_of_largest_magnitude_is_positive(case):
    matrix, k = case
    for row in svd_embedding(matrix, k):
        assert row.max() >= -row.min() * (1 - 1e-9)


def test_the_first_of_entries_that_differ_by_rounding_is_positive():
    assert svd_embedding([[0.3, -0.1 - 0.2]], 1)[0, 0] > 0
    assert svd_embedding([[-0.3, 0.1 + 0.2]], 1)[0, 0] > 0


def test_the_rank_rule_counts_singular_values_at_or_above_the_threshold():
    matrix = np.diag([1.0, 0.5, 0.25, 0.0])
    assert rank_by_rule(matrix, 0.25) == 3
    assert rank_by_rule(matrix, 0.26) == 2
    assert rank_by_rule(matrix, 1.0) == 1


@given(low_rank(), st.data())
def test_measured_values_are_reproduced_and_the_rest_stays_between_zero_and_one(case, data):
    matrix, k = case
    embedding = svd_embedding(matrix, k)
    design = d_optimal(embedding, data.draw(st.integers(k, matrix.shape[1])))
    errors = data.draw(st.lists(st.floats(0, 1), min_size=len(design), max_size=len(design)).map(np.array))
    prediction = predict(embedding, design, errors)
    assert np.array_equal(prediction[design], errors)
    assert (prediction >= 0).all() and (prediction <= 1).all()


@given(low_rank(), st.integers(0, 2**32))
def test_a_row_of_an_exactly_low_rank_matrix_is_recovered_from_any_sufficient_design(case, seed):
    matrix, k = case
    embedding = svd_embedding(matrix[1:], k)
    design = random_design(matrix.shape[1], k, seed=seed)
    condition = np.linalg.cond(embedding[:, design])
    assume(condition < 1e6)
    prediction = predict(embedding, design, matrix[0, design])
    # 1e-12 is the error of the embedding of rows conditioned to 1e-3, amplified by the regression
    np.testing.assert_allclose(prediction, matrix[0], atol=1e-12 * max(1, condition))


@given(low_rank())
def test_leave_one_out_on_an_exactly_low_rank_matrix_makes_no_error(case):
    matrix, k = case
    memory = np.arange(1.0, matrix.shape[1] + 1)
    scores = leave_one_out(matrix, memory, n_measurements=k, rank=k, method="ed-mf")
    assert tuple(scores) == METRICS
    assert np.isnan(scores.pop("coverage")).all()  # a regression states no deviations
    for values in scores.values():
        assert values.shape == (len(matrix),)
    # Rounding could only add or drop a frontier point where two errors tie; random ones do not.
    assert max(values.max() for values in scores.values()) < 1e-6


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from(sorted(METHODS)))
def test_leave_one_out_measures_everything_when_n_is_everything(seed, method):
    values = np.random.default_rng(seed).uniform(size=(5, 6))
    scores = leave_one_out(values, np.arange(6.0) + 1, n_measurements=6, rank=2, method=method, seed=seed)
    assert np.isnan(scores.pop("coverage")).all()  # nothing was left to predict
    assert all((score == 0).all() for score in scores.values())


@given(st.integers(0, 2**32), st.booleans(), st.sampled_from(["keep", "eliminate"]))
def test_leave_one_out_knows_of_the_held_out_row_only_what_it_measures(seed, plug_in, duplicates):
    """Row 0 scores what predicting it from the other rows and three of its entries scores."""
    rng = np.random.default_rng(seed)
    values, memory = rng.uniform(size=(6, 8)), rng.uniform(1, 9, size=(6, 8))
    scores = leave_one_out(
        values, memory, n_measurements=3, rank=2, plug_in=plug_in, duplicates=duplicates, method="ed-mf"
    )
    embedding = svd_embedding(values[1:], 2)
    design = d_optimal(embedding, 3)
    only_measured = np.full(8, np.nan)
    only_measured[design] = values[0, design]
    predicted = predict(embedding, design, only_measured[design])
    drawn = predict(embedding, design, only_measured[design], plug_in=plug_in)
    options = {"memory_scale": memory.max(), "duplicates": duplicates}
    expected = {
        "convergence": convergence(memory[0], values[0], drawn, **options),
        "hyper_diff": hyper_diff(memory[0], values[0], drawn, **options),
        "regret": regret(values[0], recommend(memory[0], predicted)),
        "budget_regret": budget_regret(memory[0], values[0], predicted),
        "inverted_distance": inverted_distance(memory[0], values[0], drawn, **options),
    }
    assert {name: scores[name][0] for name in expected} == expected
    relative = np.linalg.norm(values[0] - drawn) / np.linalg.norm(values[0])
    assert scores["relative_error"][0] == pytest.approx(relative, rel=1e-12)


def estimate(**changes):
    fields = {
        "names": ["a", "b", "c", "d"],
        "memory_mb": [1.0, 2.0, 3.0, 4.0],
        "predicted": [0.5, 0.1, 0.375, 0.125],
        "measured": [np.nan, 0.25, np.nan, np.nan],
        "chosen": [1],
        "memory_cap_mb": 3.0,
    }
    return Estimate(**(fields | changes))


def test_an_estimate_prefers_measured_errors_and_respects_the_cap():
    e = estimate()
    assert e.error.tolist() == [0.5, 0.25, 0.375, 0.125]
    assert e.allowed.tolist() == [True, True, True, False]
    assert e.frontier.tolist() == [True, True, False, False]
    assert (e.recommended, e.knee) == (1, 0)
    assert estimate(memory_cap_mb=None).recommended == 3
    assert estimate(memory_cap_mb=None).knee == 1


def test_where_single_trainings_are_believed_in_part_that_is_recommended_from():
    e = estimate(error=[0.5, 0.3, 0.29, 0.0])
    assert e.recommended == 2 and e.measured[1] == 0.25
    assert e.frontier.tolist() == [True, True, True, False]


def test_predictions_that_are_not_trusted_are_not_recommended_while_anything_was_measured():
    assert estimate(memory_cap_mb=None, trusted=False).recommended == 1
    nothing = {"measured": [np.nan] * 4, "chosen": []}
    assert estimate(memory_cap_mb=None, trusted=False, **nothing).recommended == 1
    assert estimate(trusted=False, predicted=[0.5, 0.3, 0.1, 0.1], **nothing).recommended == 2


def test_rows_of_a_held_out_row_s_group_are_left_out_too():
    """A twin of each row would give it away; as its group it must not."""
    values = np.repeat(np.random.default_rng(0).uniform(size=(6, 9)), 2, axis=0)
    options = {"n_measurements": 1, "method": "ed-mf", "rank": 1}
    groups = [f"pair {i // 2}" for i in range(12)]
    apart = leave_one_out(values, np.arange(9.0), groups=groups, **options)
    alone = leave_one_out(values[1::2], np.arange(9.0), **options)
    np.testing.assert_allclose(apart["relative_error"][1::2], alone["relative_error"], rtol=1e-9)


def test_leave_one_out_is_the_same_in_one_process_and_in_two():
    values = np.random.default_rng(0).uniform(size=(8, 6))
    one, two = (leave_one_out(values, np.arange(6.0), n_measurements=(1, 3), jobs=jobs) for jobs in (1, 2))
    for name in one:
        assert one[name].shape == (2, 8)
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize("method", ["ed-mf", "knowledge-gradient"])
@pytest.mark.parametrize("meta_training", ["uniform", "memory-biased"])
def test_an_incomplete_meta_training_matrix_is_completed_and_costs_little(method, meta_training):
    rng = np.random.default_rng(0)
    values = rng.dirichlet(np.ones(2), 14) @ rng.uniform(size=(2, 12))
    memory = rng.uniform(1, 9, 12)
    options = {"n_measurements": 4, "rank": 2, "method": method}
    whole = leave_one_out(values, memory, **options)["relative_error"].mean()
    part = leave_one_out(values, memory, meta_training=meta_training, ratio=0.9, **options)
    assert whole <= part["relative_error"].mean() < 0.2


def test_an_estimate_survives_json():
    import json

    record = json.loads(json.dumps(estimate().to_dict(), allow_nan=False))
    assert record["chosen"] == ["b"] and record["frontier"] == ["a", "b"]
    assert record["recommended"] == "b" and record["knee"] == "a" and record["notes"] == []
    assert record["configurations"][3] == {
        "name": "d",
        "memory_mb": 4.0,
        "error": 0.125,
        "predicted": 0.125,
        "measured": None,
        "band": None,
        "allowed": False,
        "frontier": False,
    }


def test_a_row_of_which_nothing_was_sampled_is_left_out():
    rng = np.random.default_rng(3)
    errors = np.clip(rng.uniform(0.2, 0.8, (12, 1)) * rng.uniform(0.5, 1, 6), 0, 1)
    memory = np.arange(1.0, 7.0)
    masks = [sampling.uniform_sample((11, 6), 0.5, seed=(0, i, 1))[0][:, :4] for i in range(12)]
    assert any(not mask.any(axis=1).all() for mask in masks)  # it happens here
    found = leave_one_out(
        errors, memory, n_measurements=2, method="ed-mf", rank=1, meta_training="uniform", ratio=0.5, memory_cap_mb=4
    )
    assert np.isfinite(found["budget_regret"]).all()


@pytest.mark.parametrize("band", [None, 2.0])
def test_coverage_counts_what_was_not_measured_and_lies_in_the_band_or_on_its_edge(band):
    learned = SimpleNamespace(band=lambda n: band)
    width = NORMAL_90 if band is None else band
    modelled, deviation = np.zeros(5), np.full(5, 0.125)
    true = np.array([0.0, width / 8, -width / 8, width / 7, width / 2])
    true = true[None]  # of one training
    assert _coverage(learned, true, [0], modelled, deviation) == 0.5
    assert _coverage(learned, true, [0, 4], modelled, deviation) == 2 / 3
    two = np.concatenate([true, 0 * true])  # and another one, all of it inside
    assert _coverage(learned, two, [0], modelled, deviation) == 0.75
    assert _coverage(learned, true * 0 + 0.5, [0], modelled + 0.5, deviation) == 1
    assert np.isnan(_coverage(learned, true, np.arange(5), modelled, deviation))
    assert np.isnan(_coverage(learned, true, [0], modelled, None))
