"""Laws of rows that differ in scale, and of where the true frontier is to be expected."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from refimpl.peppp import frontier as fronts
from refimpl.peppp.estimators.belief import Belief
from refimpl.peppp.estimators.calibration import LeftOut, frontier_fraction
from refimpl.peppp.estimators.expected_frontier import expected_frontier, expected_least
from refimpl.peppp.estimators.factors import Factors, closed_form
from refimpl.peppp.estimators.scaled_rows import SCALES, ScaledRows, learn_probabilities

seeds = st.integers(0, 2**32)


def rows_of(seed, columns=6, rank=2, lucky=False):
    rng = np.random.default_rng(seed)
    factors = Factors(
        rng.uniform(size=columns), 0.2 * rng.standard_normal((columns, rank)), 0.01 * rng.uniform(0.5, 2, columns)
    )
    luck = 0.01 * rng.uniform(0.5, 1.2, columns) if lucky else None
    return ScaledRows(factors, rng.dirichlet(np.ones(len(SCALES))), luck, 3.0 if lucky else 1.0), rng


def of_scales(rows, far, scale):
    """The Gaussian of rows of these scales, written out, with the luck of a training."""
    w, noise = rows.factors.loadings, rows.factors.noise
    if rows.luck is None:
        return Belief(rows.factors.mean, far * w @ w.T + np.diag(scale * noise))
    return Belief(rows.factors.mean, far * w @ w.T + np.diag(noise - rows.luck / 3), scale * rows.luck)


@settings(deadline=None, max_examples=30)
@given(seeds, st.booleans())
def test_the_density_of_a_row_is_that_of_a_gaussian_for_all_scales(seed, lucky):
    rows, rng = rows_of(seed, lucky=lucky)
    values, seen = rng.uniform(size=6), [0, 2, 3, 5]
    values[[1, 4]] = np.nan
    for k, (far, scale) in enumerate(SCALES):
        gaussian = of_scales(rows, far, scale)
        covariance = gaussian.covariance + (np.diag(gaussian.luck / 3) if lucky else 0)
        expected = multivariate_normal.logpdf(values[seen], gaussian.mean[seen], covariance[np.ix_(seen, seen)])
        np.testing.assert_allclose(rows.log_density(values)[k] - 2 * np.log(2 * np.pi), expected, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(0, 5), st.booleans())
def test_a_row_of_which_entries_are_known_is_the_mixture_over_scales(seed, n, lucky):
    rows, rng = rows_of(seed, lucky=lucky)
    columns, errors, counts = np.arange(n), rng.uniform(size=n), rng.integers(1, 4, n)
    probabilities, parts = [], []
    for (far, scale), probability in zip(SCALES, rows.probabilities, strict=True):
        gaussian = of_scales(rows, far, scale)
        parts.append(gaussian.given(columns, errors, counts))
        density = 1.0
        if n:
            of_errors = gaussian.covariance[:n, :n] + (np.diag(gaussian.luck[:n] / counts) if lucky else 0)
            density = multivariate_normal.pdf(errors, gaussian.mean[:n], of_errors)
        probabilities.append(probability * density)
    probabilities = np.array(probabilities) / np.sum(probabilities)
    mean = sum(c * p.mean for c, p in zip(probabilities, parts, strict=True))
    covariance = sum(
        c * (p.covariance + np.outer(p.mean - mean, p.mean - mean)) for c, p in zip(probabilities, parts, strict=True)
    )
    found = rows.given(columns, errors, counts)
    np.testing.assert_allclose(found.mean, mean, atol=1e-4)  # what is less probable than 1e-6 is left out
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-4)
    if lucky:
        np.testing.assert_allclose(found.luck, (probabilities @ SCALES[:, 1]) * rows.luck, rtol=1e-3)
    else:
        assert found.mean[:n].tolist() == errors.tolist() and found.luck is None


def test_a_row_far_from_all_others_is_followed_there():
    """Ten deviations out: believing it to be like the others would expect its neighbour half way back."""
    factors = Factors(np.full(3, 0.5), np.full((3, 1), 0.03), np.full(3, 0.03**2))
    near = (SCALES == 1).all(axis=1).astype(float)
    also_far = np.where(SCALES[:, 1] == 1, 1 / 4, 0.0)
    stays, follows = (ScaledRows(factors, p).given([0, 1], [0.8, 0.8]).mean[2] for p in (near, also_far))
    assert stays == pytest.approx(0.5 + 0.3 * 2 / 3) and follows > 0.76


def test_how_lucky_a_row_is_tells_the_variance_between_its_trainings():
    rows, rng = rows_of(1, columns=40, lucky=True)
    for k in (3, 6, 9):  # among the twelve scales of luck
        variance = SCALES[k, 1] * rows.luck * rng.chisquare(2, 40) / 2
        density = rows.log_density(rows.factors.mean, variance)
        assert abs(int(np.argmax(density)) % 12 - k) <= 1


def test_how_often_rows_are_noisy_is_learned_from_them():
    rows, rng = rows_of(0, columns=40)
    factors = rows.factors
    quiet = rng.random(300) < 0.75
    deviations = rng.standard_normal((300, 40)) * np.sqrt(factors.noise)
    scale = np.where(quiet, SCALES[2, 1], SCALES[8, 1])[:, None]
    values = factors.mean + rng.standard_normal((300, 2)) @ factors.loadings.T
    probabilities = learn_probabilities([rows.log_density(row) for row in values + np.sqrt(scale) * deviations])
    assert probabilities[1:4].sum() == pytest.approx(quiet.mean(), abs=0.02)
    assert probabilities[7:10].sum() == pytest.approx(1 - quiet.mean(), abs=0.02)


def test_with_few_rows_the_likeliest_noise_is_far_too_small_and_the_unbiased_is_right():
    rng = np.random.default_rng(0)
    likeliest, unbiased = [], []
    for _ in range(50):
        values = rng.standard_normal((8, 3)) @ rng.standard_normal((3, 40))
        values += 0.1 * rng.standard_normal((8, 40))
        likeliest.append(closed_form(values, np.ones(40), [3])[0].noise[0])
        unbiased.append(closed_form(values, np.ones(40), [3], unbiased=True)[0].noise[0])
    assert np.mean(likeliest) < 0.006
    assert np.mean(unbiased) == pytest.approx(0.01, rel=0.05)


def uncertain(seed, columns=7):
    rng = np.random.default_rng(seed)
    root = 0.05 * rng.standard_normal((columns, columns))
    memory = rng.integers(1, 5, columns).astype(float)
    return memory, Belief(rng.uniform(0.3, 0.7, columns), root @ root.T), rng


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_the_least_of_two_is_expected_where_integration_says(seed):
    _, belief, _ = uncertain(seed, columns=2)
    found = expected_least([[1.0, 2.0]], [belief.mean], [belief.covariance])[0]
    spread = np.sqrt(np.array([1, -1]) @ belief.covariance @ np.array([1, -1]))
    z = norm.ppf((np.arange(40_000) + 0.5) / 40_000)
    gap = belief.mean[1] - belief.mean[0] + spread * z
    assert found[0] == belief.mean[0]
    assert found[1] == pytest.approx(belief.mean[0] + np.minimum(gap, 0).mean(), abs=1e-5)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_the_least_of_several_is_expected_within_a_tenth_of_a_deviation_of_where_draws_have_it(seed):
    memory, belief, rng = uncertain(seed)
    found = expected_least([memory], [belief.mean], [belief.covariance])[0]
    draws = rng.multivariate_normal(belief.mean, belief.covariance, 20_000, method="eigh")
    for mb, value in zip(memory, found, strict=True):
        least = draws[:, memory <= mb].min(axis=1)
        assert abs(value - least.mean()) < 0.1 * belief.deviation.max()
        assert value <= belief.mean[memory <= mb].min() + 1e-12


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_what_is_certain_is_expected_as_it_is(seed):
    memory, belief, _ = uncertain(seed)
    found = expected_least([memory], [belief.mean], [np.zeros((7, 7))])[0]
    least = [belief.mean[memory <= mb].min() for mb in memory]
    np.testing.assert_allclose(found, least, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(seeds, st.floats(0, 1))
def test_lowering_the_frontier_leaves_it_where_it_is_in_memory(seed, fraction):
    memory, belief, _ = uncertain(seed)
    least = expected_least([memory], [belief.mean], [belief.covariance])[0]
    lowered = expected_frontier(memory, belief.mean, least, fraction)
    front = fronts.non_dominated(memory, belief.mean)
    assert (lowered[~front] == belief.mean[~front]).all()
    assert (lowered <= belief.mean).all() and (lowered >= 0).all()
    assert (fronts.non_dominated(memory, lowered) == front).all()
    assert (expected_frontier(memory, belief.mean, least, 0.0) == belief.mean).all()


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_no_other_fraction_brings_the_hypervolumes_nearer(seed):
    rng = np.random.default_rng(seed)
    memory, left = np.empty((5, 7)), []
    for row in range(5):
        memory[row], after, _ = uncertain(seed + row)
        true = rng.multivariate_normal(after.mean, after.covariance, method="eigh").clip(0, 1)
        left.append(LeftOut(row, true[None], np.array([], dtype=int), after))
    corner = (memory.max(), 1.0)

    def missed(fraction):
        total = 0.0
        for mb, (_, (true,), _, after) in zip(memory, left, strict=True):
            least = expected_least([mb], [after.mean], [after.covariance])[0]
            shown = expected_frontier(mb, after.mean.clip(0, 1), least, fraction)
            total += abs(fronts.hypervolume(mb, shown, corner) - fronts.hypervolume(mb, true, corner))
        return total

    best = missed(frontier_fraction(left, memory))
    assert best <= min(missed(fraction) for fraction in np.linspace(0, 1, 21)) + 1e-9
