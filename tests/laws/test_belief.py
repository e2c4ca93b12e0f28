"""Laws of Gaussian beliefs about a row of errors, and of learning them from other rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from refimpl.peppp.estimators import sequential
from refimpl.peppp.estimators.belief import Belief
from refimpl.peppp.estimators.calibration import NORMAL_90, LeftOut, band_width, rehearse
from refimpl.peppp.estimators.factors import probabilistic_pca
from refimpl.peppp.estimators.log_rows import LogRows, log_slope, logarithms
from refimpl.peppp.estimators.prior import learn_prior

seeds = st.integers(0, 2**32)


def belief(seed, columns=6):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((columns, columns))
    return Belief(rng.uniform(size=columns), root @ root.T + 0.1 * np.eye(columns)), rng


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 5))
def test_conditioning_is_the_textbook_formula_and_reproduces_what_was_measured(seed, n):
    before, rng = belief(seed)
    seen, rest = np.arange(n), np.arange(n, 6)
    errors = rng.uniform(size=n)
    after = before.given(seen, errors)
    s = before.covariance
    gain = s[np.ix_(rest, seen)] @ np.linalg.inv(s[np.ix_(seen, seen)])
    assert after.mean[seen].tolist() == errors.tolist() and not after.deviation[seen].any()
    np.testing.assert_allclose(after.mean[rest], before.mean[rest] + gain @ (errors - before.mean[seen]), atol=1e-6)
    np.testing.assert_allclose(
        after.covariance[np.ix_(rest, rest)], s[np.ix_(rest, rest)] - gain @ s[np.ix_(seen, rest)], atol=1e-6
    )


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_measuring_in_two_steps_is_measuring_at_once(seed):
    before, rng = belief(seed)
    errors = rng.uniform(size=3)
    once = before.given([4, 0, 2], errors)
    twice = before.given([4], errors[:1]).given([0, 2], errors[1:])
    np.testing.assert_allclose(once.mean, twice.mean, atol=1e-6)
    np.testing.assert_allclose(once.covariance, twice.covariance, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(0, 5))
def test_no_measurement_makes_anything_less_certain(seed, column):
    before, _ = belief(seed)
    after = before.given([column], [0.5])
    assert (after.deviation <= before.deviation + 1e-9).all()


def samples(seed, rows=30, columns=7, rank=2, noise=0.02):
    rng = np.random.default_rng(seed)
    factors, loadings = (rng.standard_normal((rows, rank)), 0.1 * rng.standard_normal((rank, columns)))
    exact = 0.5 + factors @ loadings + noise * rng.standard_normal((rows, columns))
    return np.clip(exact, 0, 1), rng


def likelihood(found, values):
    """Log density of the observed entries, entry set by entry set, straight from the Gaussian."""
    total = 0.0
    for row in values:
        seen = ~np.isnan(row)
        total += multivariate_normal.logpdf(row[seen], found.mean[seen], found.belief.covariance[np.ix_(seen, seen)])
    return total


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 4))
def test_no_other_factors_make_complete_rows_more_likely(seed, rank):
    values, rng = samples(seed)
    found = probabilistic_pca(values, rank)
    best = likelihood(found, values)
    for _ in range(10):
        near = type(found)(
            found.mean + 0.01 * rng.standard_normal(7),
            found.loadings + 0.01 * rng.standard_normal((7, rank)),
            found.noise * np.exp(0.1 * rng.standard_normal()),
        )
        assert likelihood(near, values) <= best + 1e-6


def test_expectation_maximization_climbs_and_ends_where_no_neighbour_is_higher():
    values, rng = samples(3)
    values[rng.random(values.shape) < 0.3] = np.nan
    reached = [
        likelihood(probabilistic_pca(values, 2, max_iterations=n, tolerance=0), values)
        for n in (1, 2, 4, 8, 16, 64, 1000)
    ]
    assert (np.diff(reached) >= -1e-7).all()
    found = probabilistic_pca(values, 2, max_iterations=5000, tolerance=1e-10)
    assert found.converged
    for _ in range(20):
        near = type(found)(
            found.mean + 0.003 * rng.standard_normal(7),
            found.loadings + 0.003 * rng.standard_normal((7, 2)),
            found.noise,
        )
        assert likelihood(near, values) <= likelihood(found, values) + 1e-3


def test_with_one_entry_missing_the_iteration_ends_near_the_closed_form():
    values, _ = samples(5)
    whole = probabilistic_pca(values, 2)
    values[0, 0] = np.nan
    nearly = probabilistic_pca(values, 2, max_iterations=5000, tolerance=1e-10)
    np.testing.assert_allclose(nearly.belief.covariance, whole.belief.covariance, atol=2e-3)


def test_as_many_factors_are_learned_as_rows_and_columns_leave_room_for():
    assert [probabilistic_pca(samples(0, 4, 6)[0], rank).loadings.shape[1] for rank in (1, 3)] == [1, 3]
    assert [probabilistic_pca(samples(0, 6, 4)[0], rank).loadings.shape[1] for rank in (1, 3)] == [1, 3]


def test_missing_entries_of_a_low_rank_matrix_are_completed():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(2), 40) @ rng.uniform(size=(2, 20))
    values = np.where(rng.random(truth.shape) < 0.4, truth, np.nan)
    found = probabilistic_pca(values, 1).complete(values)
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.005
    seen = ~np.isnan(values)
    assert (found[seen] == truth[seen]).all()


def test_the_rank_is_that_of_the_rows_and_uneven_noise_is_noticed():
    rng = np.random.default_rng(1)
    values, _ = samples(1, rows=80, columns=12, rank=2, noise=0.01)
    assert np.linalg.matrix_rank(learn_prior(values).rows.given([], []).covariance - 1e-4 * np.eye(12), 1e-3) <= 3
    noisy = np.clip(values + 0.1 * (np.arange(12) % 2) * rng.standard_normal((80, 12)), 0, 1)
    left = learn_prior(noisy).rows.factors.belief.given(np.arange(12)[:6], noisy[0, :6]).deviation[6:]
    assert left[1::2].min() > 0.06 and left[0::2].max() < 0.04  # .1 and .01 of noise


def rank(prior):
    """Return how many factors were learned, of errors or of their logarithms."""
    rows = prior.rows.rows if isinstance(prior.rows, LogRows) else prior.rows
    return rows.factors.loadings.shape[1]


def test_with_few_rows_of_several_factors_more_than_one_is_believed_in():
    """Levels, rates and three factors more, little noise, seven rows: one factor predicts badly."""
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        spent = np.linspace(0, 1, 40)
        level, rate = rng.uniform(0.05, 0.5, (7, 1)), rng.uniform(1, 8, (7, 1))
        shared = rng.normal(0, 0.15, (7, 3)) @ rng.normal(0, 0.15, (3, 40))
        values = level + (0.9 - level) * np.exp(-rate * spent) + shared
        values = np.clip(values + 0.02 * rng.standard_normal((7, 40)), 0, 1)
        found.append(rank(learn_prior(values)))
    assert np.median(found) >= 3


def test_no_more_factors_are_learned_than_asked_for_whether_or_not_entries_are_missing():
    values, _ = samples(1, noise=0.01)
    holed = values.copy()
    holed[::5, 0] = np.nan
    for rows in (values, holed):
        found = [rank(learn_prior(rows, largest_rank=most)) for most in (1, 2)]
        assert found == [1, 2]


@pytest.mark.parametrize("n", [4, 9])
def test_a_row_never_seen_lies_about_a_mean_known_from_n_rows_by_a_factor_1_plus_1_over_n_more_in_variance(n):
    rng = np.random.default_rng(n)
    values = 0.5 + 0.05 * rng.standard_normal((n, 1)) + 0.02 * rng.standard_normal((n, 5))
    values[0, 0] = np.nan  # then the factors are those of `probabilistic_pca`
    prior = learn_prior(values, largest_rank=1)
    for rows, learned in ((values, prior.rows), (values[1:], prior.left_out[0][0])):
        seen = probabilistic_pca(rows, 1)
        np.testing.assert_allclose(learned.factors.noise, seen.noise * (1 + 1 / len(rows)))
        np.testing.assert_allclose(learned.factors.loadings**2, seen.loadings**2 * (1 + 1 / len(rows)))


def test_a_belief_learns_nothing_from_a_row_it_is_not_given():
    values, rng = samples(2)
    kept = learn_prior(values[1:]).rows.given([], [])
    values[0] = rng.uniform(size=7)
    np.testing.assert_array_equal(kept.covariance, learn_prior(values[1:]).rows.given([], []).covariance)


def test_of_two_rows_none_is_left_out_and_of_three_each_is():
    values = samples(2)[0]
    assert learn_prior(values[:2]).left_out == ()
    assert sorted(int(row) for _, rows in learn_prior(values[:3]).left_out for row in rows) == [0, 1, 2]


def test_bands_are_as_wide_as_heavier_tails_demand():
    rng = np.random.default_rng(0)
    heavy = np.clip(0.5 + 0.01 * rng.standard_t(3, (2000, 6)), 0, 1)

    def choose(rows, row, there):
        return sequential.by_variance(rows, 1, memory=np.arange(6), weights=np.ones(6), allowed=there)

    rehearsed = rehearse(learn_prior(heavy).left_out, heavy[None], choose)
    width = band_width(rehearsed)
    # of t with 3 degrees of freedom: half width of the middle 90 % over standard deviation
    assert width == pytest.approx(2.353 / np.sqrt(3), abs=0.1)
    assert width < NORMAL_90 - 0.1


def test_a_row_left_out_is_measured_by_its_first_training_and_judged_by_all_the_others():
    draws = np.random.default_rng(0).uniform(size=(3, 6, 4))

    def choose(rows, row, there):
        return sequential.by_variance(rows, 2, memory=np.arange(4), weights=np.ones(4), allowed=there)

    parts = list(learn_prior(draws[0]).left_out)
    for several in (draws, draws[:2], draws[:1]):
        rehearsed = rehearse(parts, several, choose)
        assert sorted(left.row for left in rehearsed) == list(range(6))
        for left in rehearsed:
            others = several[1:, left.row] if len(several) > 1 else several[:, left.row]
            assert np.array_equal(left.true, others) and len(left.measured) == 2
            assert np.array_equal(left.after.mean[left.measured], draws[0, left.row, left.measured])


def test_a_band_is_the_quantile_of_unmeasured_residuals_and_nothing_where_all_is_certain_and_right():
    after = Belief(np.array([0.5, 0.5, 0.5]), np.diag([0.01, 0.04, 0.0]))
    left = LeftOut(0, np.array([[0.6, 0.1, 0.5]]), np.array([2]), after)  # residuals 1, 2 and, measured, 0
    assert band_width([left], 0.5) == pytest.approx(1.0)
    assert band_width([left], 1.0) == pytest.approx(2.0)
    certain = LeftOut(0, np.array([[0.5, 0.25]]), np.array([], int), Belief(np.array([0.5, 0.25]), np.zeros((2, 2))))
    assert band_width([certain]) == 0.0
    # a column known in one row of three counts as much as one known in all: half of the weight lies at 3
    sure = Belief(np.full(2, 0.5), 0.01 * np.eye(2))
    rows = [LeftOut(i, np.array([[0.5, 0.8 if i == 0 else np.nan]]), np.array([], int), sure) for i in range(3)]
    assert band_width(rows, 0.49) == 0.0 and band_width(rows, 0.51) == pytest.approx(3.0)
    assert band_width([]) == band_width([left._replace(measured=np.arange(3))]) == NORMAL_90


def test_what_part_of_a_deviation_comes_again_is_learned_from_repeats_and_believed():
    """Rows around a common mean, their own deviations of variance .02 and luck of .06: a quarter is believed."""
    rng = np.random.default_rng(0)
    own = 0.5 + np.sqrt(0.02) * rng.standard_normal((400, 6))
    draws = own + np.sqrt(0.06) * rng.standard_normal((3, 400, 6))
    draws = 0.5 + (draws - 0.5) / 4  # within [0, 1]
    rows = learn_prior(draws.mean(axis=0), repeats=draws).rows
    after = rows.given([0], [0.55])
    assert after.mean[0] == pytest.approx(0.5 + 0.05 / 4, abs=0.003)
    often = rows.given([0], [0.55], counts=[3])
    assert often.mean[0] == pytest.approx(0.5 + 0.05 / 2, abs=0.004)
    # the truth is the row's own error: how far from it what is believed is expected to be
    assert np.sqrt(after.covariance[0, 0]) == pytest.approx(np.sqrt(0.02 * 0.75) / 4, rel=0.15)
    assert after.deviation[0] == pytest.approx(np.sqrt(0.02 * 0.75 + 0.06) / 4, rel=0.1)  # of another training


def test_without_repeats_what_is_measured_is_exact():
    rows = learn_prior(np.random.default_rng(1).uniform(size=(20, 5))).rows
    after = rows.given([3, 1], [0.125, 0.75])
    assert after.mean[[3, 1]].tolist() == [0.125, 0.75] and after.deviation[[3, 1]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("seed", range(3))
def test_a_belief_with_luck_is_conditioned_as_the_joint_gaussian_of_errors_and_trainings(seed):
    rng = np.random.default_rng(seed)
    root, luck, mean = rng.standard_normal((5, 5)), rng.uniform(0.5, 2, 5), rng.standard_normal(5)
    belief = Belief(mean, root @ root.T, luck)
    columns, errors, counts = [4, 1], np.array([0.3, -0.2]), np.array([1, 3])
    after = belief.given(columns, errors, counts)
    pick = np.eye(5)[columns]
    joint = pick @ belief.covariance @ pick.T + np.diag(luck[columns] / counts)
    gain = belief.covariance @ pick.T @ np.linalg.inv(joint)
    np.testing.assert_allclose(after.mean, mean + gain @ (errors - pick @ mean), rtol=1e-9)
    np.testing.assert_allclose(after.covariance, belief.covariance - gain @ pick @ belief.covariance, atol=1e-9)


@pytest.mark.parametrize("offset", [0.01, 0.1, 1.0])
def test_logarithms_keep_order_and_the_ends_and_their_slope_is_the_derivative(offset):
    errors = np.linspace(0, 1, 1001)
    y = logarithms(errors, offset)
    assert (y[0], y[-1]) == (0, 1) and (np.diff(y) > 0).all()
    np.testing.assert_allclose(np.exp(log_slope(errors[1:-1], offset)), (y[2:] - y[:-2]) / 0.002, rtol=0.02)


def falling(rng, by_ratio, rows=40, columns=12):
    """Return rows whose last errors are what the others are plus, or times, something; levels from .01 to .5."""
    level, spent = np.exp(rng.uniform(np.log(0.01), np.log(0.5), (rows, 1))), np.linspace(1, 0, columns)
    more = rng.uniform(0.5, 1, (rows, 1)) * spent
    errors = level * np.exp(0.6 * more) if by_ratio else level + 0.3 * more
    return errors * np.exp(0.02 * rng.standard_normal((rows, columns))) if by_ratio else errors


@pytest.mark.parametrize("by_ratio", [False, True])
def test_errors_are_believed_in_by_ratio_where_rows_left_out_are_more_probable_so_and_only_there(by_ratio):
    values = falling(np.random.default_rng(5), by_ratio)
    for rows in (values, np.where(np.random.default_rng(6).random(values.shape) < 0.8, values, np.nan)):
        prior = learn_prior(rows)
        assert isinstance(prior.rows, LogRows) is by_ratio
        assert {isinstance(left, LogRows) for left, _ in prior.left_out} <= {by_ratio}


def test_a_belief_by_ratio_predicts_errors_within_0_and_1_and_keeps_what_was_measured():
    rng = np.random.default_rng(7)
    prior = learn_prior(falling(rng, True))
    new = falling(rng, True, rows=200)
    missed = []
    for row in new:
        after = prior.rows.given([0, 11], row[[0, 11]])
        assert after.mean[[0, 11]].tolist() == row[[0, 11]].tolist() and after.deviation[[0, 11]].tolist() == [0, 0]
        assert (after.mean >= 0).all() and (after.mean <= 1).all()
        assert np.linalg.eigvalsh(after.covariance).min() > -1e-12
        missed.append((row - after.mean)[1:11] / after.deviation[1:11])
    assert np.mean(np.square(missed)) == pytest.approx(1, abs=0.25)
    assert (prior.rows.given([], []).mean > 0).all()


def test_luck_of_trainings_is_a_part_of_the_deviation_of_a_belief_by_ratio():
    rng = np.random.default_rng(8)
    draws = falling(rng, True, rows=60) * np.exp(0.1 * rng.standard_normal((3, 60, 12)))
    prior = learn_prior(draws.mean(axis=0), repeats=draws)
    assert isinstance(prior.rows, LogRows)
    easy, hard = (prior.rows.given([0], [error]) for error in (0.03, 0.3))
    for after, error in ((easy, 0.03), (hard, 0.3)):
        np.testing.assert_allclose(after.deviation**2, np.diag(after.covariance) + after.luck, rtol=1e-9)
        assert abs(after.mean[0] - error) < 0.1 * error  # a tenth is luck, and some of it is believed
    assert hard.luck[0] > 10 * easy.luck[0]


@pytest.mark.parametrize("middle", [0.0, 1e-310, 1e-300])
def test_a_table_of_errors_that_are_mostly_nothing_is_learned_from(middle):
    values = np.full((9, 4), middle)
    values[::3, 0] = np.linspace(0.1, 0.9, 3)
    after = learn_prior(values).rows.given([1], [0.0])
    assert np.isfinite(after.mean).all() and np.isfinite(after.covariance).all()
