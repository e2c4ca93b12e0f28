"""Laws of completing a matrix and of sampling it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refimpl.peppp.estimators.completion import inverse_propensity, rank_by_cross_validation, soft_impute
from refimpl.peppp.matrix.sampling import memory_biased_sample, sample, uniform_sample

seeds = st.integers(0, 2**32)


def matrix(seed, rows=12, columns=9, rank=2):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(rank), rows) @ rng.uniform(size=(rank, columns)), rng


def objective(z, values, weights, penalty):
    seen = ~np.isnan(values)
    squares = (weights * (z - values) ** 2)[seen].sum()
    return 0.5 * squares + penalty * np.linalg.svd(z, compute_uv=False).sum()


@settings(deadline=None, max_examples=30)
@given(seeds, st.booleans())
def test_with_everything_observed_completion_is_one_soft_threshold(seed, accelerate):
    values, _ = matrix(seed)
    left, sigma, right = np.linalg.svd(values, full_matrices=False)
    exact = (left * np.maximum(sigma - 0.3, 0)) @ right
    found = soft_impute(values, penalty=0.3, rank=9, accelerate=accelerate)
    assert found.converged
    np.testing.assert_allclose(found.values, np.clip(exact, 0, 1), atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_without_a_penalty_a_complete_matrix_is_returned(seed):
    values, _ = matrix(seed)
    np.testing.assert_allclose(soft_impute(values, penalty=0, rank=9).values, values, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(seeds, st.booleans(), st.booleans())
def test_the_objective_never_rises_and_is_the_one_stated(seed, accelerate, weighted):
    values, rng = matrix(seed)
    mask, propensity = sample(p := rng.uniform(0.3, 1, values.shape), seed=seed), p
    values = np.where(mask, values, np.nan)
    weights = 1 / propensity if weighted else np.ones(values.shape)
    found = soft_impute(values, rank=9, weights=weights, accelerate=accelerate, max_iterations=60)
    assert (np.diff(found.objective) <= 1e-9).all()
    if (found.values > 0).all() and (found.values < 1).all():  # nothing was clipped
        assert found.objective[-1] == pytest.approx(objective(found.values, values, weights, 0.1), rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_acceleration_reaches_the_same_optimum_in_fewer_steps(weighted):
    values, rng = matrix(0, 40, 30, 3)
    mask = rng.random(values.shape) < 0.4
    weights = rng.uniform(1, 20, values.shape) if weighted else None
    runs = [
        soft_impute(
            np.where(mask, values, np.nan),
            rank=30,
            weights=weights,
            accelerate=accelerate,
            tolerance=1e-8,
            max_iterations=20000,
        )
        for accelerate in (True, False)
    ]
    assert all(run.converged for run in runs)
    assert runs[0].iterations < runs[1].iterations / 2
    assert runs[0].objective[-1] == pytest.approx(runs[1].objective[-1], rel=1e-5)


def test_a_run_cut_short_says_that_it_did_not_converge():
    values, rng = matrix(0)
    values[rng.random(values.shape) < 0.4] = np.nan
    found = soft_impute(values, max_iterations=3)
    assert not found.converged and found.iterations == 3


def test_equal_weights_change_only_the_strength_of_the_penalty():
    values, rng = matrix(1)
    values[rng.random(values.shape) < 0.4] = np.nan
    plain = soft_impute(values, penalty=0.1)
    doubled = soft_impute(values, penalty=0.2, weights=np.full(values.shape, 2.0))
    np.testing.assert_allclose(plain.values, doubled.values, atol=1e-4)


def test_inverse_propensities_make_the_observed_sum_unbiased_and_clipping_does_not():
    rng = np.random.default_rng(0)
    squares, propensity = rng.uniform(size=(20, 20)), rng.uniform(0.05, 1, (20, 20))
    masks = [sample(propensity, seed=s) for s in range(400)]
    sums = [(squares * inverse_propensity(propensity, clip=None))[m].sum() for m in masks]
    error = np.std(sums) / np.sqrt(len(sums))
    assert abs(np.mean(sums) - squares.sum()) < 4 * error
    cut = [(squares * inverse_propensity(propensity, clip=2))[m].sum() for m in masks]
    assert np.mean(cut) < squares.sum() - 4 * error


def test_weights_are_cut_at_the_clip_times_the_smallest_weight_not_at_the_clip():
    propensity = [0.5, 0.25, 0.1]  # weights 2, 4, 10
    assert inverse_propensity(propensity, clip=3).tolist() == [2.0, 4.0, 6.0]
    assert inverse_propensity(propensity, clip=1).tolist() == [2.0, 2.0, 2.0]
    for none in (None, np.inf):
        assert inverse_propensity(propensity, clip=none).tolist() == [2.0, 4.0, 10.0]
    assert inverse_propensity([1.0, 0.01]).tolist() == [1.0, 20.0]


def test_cross_validation_finds_the_rank_of_a_noisy_matrix():
    for rank in (1, 2, 3):
        values, rng = matrix(rank, 60, 40, rank)
        noisy = np.clip(values + 0.01 * rng.standard_normal(values.shape), 0, 1)
        assert rank_by_cross_validation(noisy, largest=5, penalty=0.01) == rank


def test_cross_validation_does_not_hold_out_the_only_entry_of_a_row_or_of_a_column():
    values, _ = matrix(0, 20, 15)
    values[0, 1:] = values[:5, 1] = values[6:, 1] = np.nan
    assert rank_by_cross_validation(values, largest=4, penalty=0.001) == 2


@settings(deadline=None, max_examples=30)
@given(st.floats(0.05, 1), seeds)
def test_uniform_samples_keep_something_of_every_row_and_column(ratio, seed):
    mask, propensity = uniform_sample((8, 6), ratio, seed=seed)
    assert mask.any(axis=0).all() and mask.any(axis=1).all()
    assert (propensity == ratio).all()
    assert (uniform_sample((8, 6), ratio, seed=seed)[0] == mask).all()


def test_samples_observe_each_entry_as_often_as_its_propensity_says():
    memory = np.random.default_rng(0).uniform(1, 9, (10, 12))
    times = np.zeros(memory.shape)
    for seed in range(2000):
        mask, propensity = memory_biased_sample(memory, 0.9, seed=seed)
        times += mask
    spread = np.sqrt(propensity * (1 - propensity) / 2000)
    # rows and columns are never left empty, which at these probabilities happens about never
    assert (np.abs(times / 2000 - propensity) < 5 * spread + 1e-3).all()


def test_memory_biased_propensities_are_a_distribution_function():
    memory = np.array([[1.0, 2.0], [2.0, 4.0]])
    _, propensity = memory_biased_sample(memory, 0.8, seed=0)
    assert propensity.tolist() == [[0.8, 0.8 * 3 / 4], [0.8 * 3 / 4, 0.8 / 4]]


def test_as_many_entries_as_determine_a_matrix_of_rank_one_are_enough():
    cross = np.full((9, 9), np.nan)
    cross[0], cross[:, 0] = 0.5, 0.5
    assert soft_impute(cross, rank=1, penalty=1e-6).values == pytest.approx(np.full((9, 9), 0.5), abs=1e-3)
