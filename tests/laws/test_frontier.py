"""Laws of frontiers, hypervolume, regrets and the knee.

Coordinates are multiples of 1/8, on which sums and products are exact in float64, so that every
comparison is an equality.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from refimpl.peppp.frontier import (
    budget_regret,
    convergence,
    hyper_diff,
    hypervolume,
    inverted_distance,
    knee,
    non_dominated,
    recommend,
    regret,
)

GRID = 8
point = st.tuples(st.integers(0, GRID), st.integers(0, GRID))
points = st.lists(point, min_size=1, max_size=12)
CORNER = (1.0, 1.0)


def split(cloud):
    memory, error = np.array(cloud, dtype=float).T / GRID
    return memory, error


def dominates(p, q):
    return p[0] <= q[0] and p[1] <= q[1] and p != q


def cells_dominated(cloud):
    """Unit cells below the corner that some point dominates, counted one by one."""
    return sum(any(m <= a and e <= b for m, e in cloud) for a in range(GRID) for b in range(GRID))


@given(points)
@example([(1, 1), (1, 1)])  # exact duplicates: both stay
@example([(1, 2), (1, 1)])  # equal memory: only the better stays
@example([(1, 1), (2, 1)])  # equal error: only the smaller stays
def test_the_frontier_is_exactly_the_points_that_no_point_dominates(cloud):
    expected = [not any(dominates(p, q) for p in cloud) for q in cloud]
    assert non_dominated(*split(cloud)).tolist() == expected


@given(points)
def test_every_dropped_point_is_dominated_by_a_frontier_point(cloud):
    front = non_dominated(*split(cloud))
    kept = [p for p, on in zip(cloud, front, strict=True) if on]
    for q, on in zip(cloud, front, strict=True):
        assert on or any(dominates(p, q) for p in kept)


@given(points)
@example([(1, 1), (1, 1)])  # they eliminate each other and leave nothing
def test_eliminating_duplicates_keeps_points_with_no_other_point_at_least_as_good(cloud):
    expected = [all(p[0] > q[0] or p[1] > q[1] for j, p in enumerate(cloud) if j != i) for i, q in enumerate(cloud)]
    assert non_dominated(*split(cloud), duplicates="eliminate").tolist() == expected


@given(points)
@example([(GRID, 0)])  # on the reference's edge: no area
def test_hypervolume_is_the_area_counted_cell_by_cell(cloud):
    area = Fraction(cells_dominated(cloud), GRID**2)
    assert Fraction(hypervolume(*split(cloud), CORNER)) == area


@given(points)
def test_a_point_beyond_the_reference_adds_no_hypervolume(cloud):
    reference = (0.5, 0.75)
    inside = [(m, e) for m, e in cloud if m < 4 and e < 6]
    assume(inside)
    assert hypervolume(*split(cloud), reference) == hypervolume(*split(inside), reference)


unit = st.floats(0, 1)
real_points = st.lists(st.tuples(unit, unit), min_size=1, max_size=12)


@given(real_points, st.randoms(use_true_random=False))
def test_hypervolume_of_real_points_does_not_depend_on_order_duplicates_or_dominated(cloud, random):
    memory, error = np.array(cloud).T
    front = non_dominated(memory, error)
    expected = hypervolume(memory[front], error[front], CORNER)
    mixed = cloud + random.choices(cloud, k=3)
    random.shuffle(mixed)
    assert hypervolume(*np.array(mixed).T, CORNER) == expected


def test_hypervolume_of_a_long_frontier_does_not_depend_on_dominated_points():
    rng = np.random.default_rng(0)
    for _ in range(20):
        memory, error = np.sort(rng.uniform(size=50)), -np.sort(-rng.uniform(size=50))
        more = np.append(memory, memory + 0.01), np.append(error, error + 0.01)
        assert hypervolume(*more, CORNER) == hypervolume(memory, error, CORNER)


@given(points, point)
def test_hypervolume_never_shrinks_by_another_point(cloud, another):
    assert hypervolume(*split([*cloud, another]), CORNER) >= hypervolume(*split(cloud), CORNER)


rows = st.lists(st.tuples(st.integers(1, GRID), st.integers(0, GRID), st.integers(0, GRID)), min_size=1, max_size=12)


def columns(table):
    return np.array(table, dtype=float).T / GRID


@given(rows)
def test_a_perfect_prediction_scores_zero(table):
    memory, true, _ = columns(table)
    assert convergence(memory, true, true) == 0
    assert hyper_diff(memory, true, true) == 0
    assert inverted_distance(memory, true, true) == 0
    assert budget_regret(memory, true, true) == 0


@given(rows, st.randoms(use_true_random=False))
def test_convergence_and_hyper_diff_do_not_depend_on_order(table, random):
    shuffled = random.sample(table, k=len(table))
    assert hyper_diff(*columns(table)) == hyper_diff(*columns(shuffled))
    # a mean of at most 12 distances below 2 in another order: 12 roundings of 2^-52 at the most
    assert abs(convergence(*columns(table)) - convergence(*columns(shuffled))) <= 12 * 2**-52


@given(rows)
def test_hyper_diff_is_the_difference_of_the_areas_counted_cell_by_cell(table):
    memory = [(m, t, p) for m, t, p in table] + [(GRID, GRID, GRID)]  # makes the largest memory 1
    true, predicted = ([(row[0], row[k]) for row in memory] for k in (1, 2))
    area = Fraction(abs(cells_dominated(true) - cells_dominated(predicted)), GRID**2)
    assert Fraction(hyper_diff(*columns(memory))) == area


def test_convergence_averages_the_distance_of_predicted_points_to_the_true_frontier():
    # Predicted frontier (1/4, 1), (1, 1/2). True frontier (1/4, 3/4), the only point.
    # Distances 1/4 and hypot(3/4, 1/4).
    got = convergence([2, 8], true=[0.75, 0.75], predicted=[1.0, 0.5])
    assert got == pytest.approx((0.25 + np.hypot(0.75, 0.25)) / 2, rel=1e-15)


def frontier_of(points):
    return [p for p in set(points) if not any(dominates(q, p) for q in points)]


@given(rows)
@example([(1, 6, 6), (2, 4, 7), (3, 2, 2)])  # the point in the middle is not predicted
def test_the_inverted_distance_asks_every_true_frontier_point_for_its_nearest_predicted_one(table):
    largest = max(m for m, _, _ in table)
    true, predicted = ([(row[0], row[k]) for row in table] for k in (1, 2))
    distances = [
        min(math.hypot((m - n) / largest, (e - f) / GRID) for n, f in frontier_of(predicted))
        for m, e in (p for p in true if p in frontier_of(true))  # duplicates count twice
    ]
    expected = sum(distances) / len(distances)
    assert abs(inverted_distance(*columns(table)) - expected) <= 20 * 2**-52


@given(rows)
def test_the_inverted_distance_is_the_convergence_of_the_true_frontier_to_the_predicted(table):
    memory, true, predicted = columns(table)
    assert inverted_distance(memory, true, predicted) == convergence(memory, predicted, true)


def test_a_frontier_with_points_left_out_converges_and_is_found_out_by_the_inverted_distance():
    points = [1, 2, 4], [0.75, 0.5, 0.25], [0.75, 0.75, 0.25]
    assert convergence(*points) == 0
    # of three true points, (1/2, 1/2) is a hypot(1/4, 1/4) away from (1/4, 3/4)
    assert inverted_distance(*points) == pytest.approx(np.hypot(0.25, 0.25) / 3, rel=1e-15)


def test_predictions_above_one_enlarge_the_unit_of_error():
    # (1, 2) against (1, 1) in units of 2: distance 1/2. Area up to (1, 2): memory 1 gives none.
    assert convergence([1], true=[1.0], predicted=[2.0]) == 0.5
    # Points (1/2, 3/2) and (1/2, 1/2) below the reference (1, 2): areas 1/4 and 3/4.
    assert hyper_diff([1, 2], true=[0.5, 1.0], predicted=[1.5, 2.0]) == 0.5


def test_hyper_diff_keeps_duplicates_unless_told_to_eliminate_them():
    # Predicted frontier (1/2, 1/4), area 3/8. True frontier twice (1/2, 1/2), area 1/4, or empty.
    points = [1, 1, 2], [0.5, 0.5, 0.75], [0.5, 0.25, 0.75]
    assert hyper_diff(*points) == 0.125
    assert hyper_diff(*points, duplicates="eliminate") == 0.375


def test_a_larger_memory_scale_brings_points_together():
    assert convergence([1, 2], [0.5, 0.5], [0.5, 0.25], memory_scale=2.0) == pytest.approx(
        np.hypot(0.5, 0.25) / 2, rel=1e-15
    )
    assert convergence([1, 2], [0.5, 0.5], [0.5, 0.25], memory_scale=4.0) == pytest.approx(
        np.hypot(0.25, 0.25) / 2, rel=1e-15
    )


@given(rows, st.integers(1, GRID))
def test_the_recommendation_is_affordable_and_none_affordable_is_better(table, cap):
    memory, _, predicted = columns(table)
    cap = cap / GRID
    assume((memory <= cap).any())
    expected = min((i for i in range(len(table)) if memory[i] <= cap), key=lambda i: (predicted[i], memory[i], i))
    assert recommend(memory, predicted, cap) == expected


@given(rows)
def test_budget_regret_is_the_mean_over_caps_of_the_regret_of_the_recommendation(table):
    memory, true, predicted = columns(table)
    lost = []
    for cap in sorted({m for m, _, _ in table}):
        affordable = [row for row in table if row[0] <= cap]
        pick = min(affordable, key=lambda row: (row[2], row[0], table.index(row)))
        lost.append(Fraction(pick[1] - min(row[1] for row in affordable), GRID))
    expected = float(sum(lost) / len(lost))
    assert budget_regret(memory, true, predicted) == pytest.approx(expected, abs=2**-53)


def test_regret_compares_with_the_best_allowed_configuration():
    true = [0.125, 0.5, 0.25]
    assert regret(true, 1) == 0.375
    assert regret(true, 1, [False, True, True]) == 0.25


@given(points)
def test_the_knee_is_on_the_frontier_and_no_frontier_point_is_farther_below_the_chord(cloud):
    memory, error = split(cloud)
    front = [cloud[i] for i in np.flatnonzero(non_dominated(memory, error))]
    found = cloud[knee(memory, error)]
    assert found in front
    (m0, e0), (m1, e1) = min(front), max(front)

    def depth(p):  # twice the area of the triangle with the chord, positive below it
        return (m1 - m0) * (e0 - e1) - (p[0] - m0) * (e0 - e1) - (p[1] - e1) * (m1 - m0)

    assert depth(found) == max(depth(p) for p in front) or depth(found) == 0
    assert depth(found) >= max(depth(p) for p in front)


def test_one_point_is_its_own_knee_and_of_two_the_smaller_is():
    assert knee([3], [0.5]) == 0
    assert knee([3, 1], [0.25, 0.5]) == 1
    assert knee([3, 1, 1], [0.25, 0.5, 0.5]) == 1  # a duplicate: the lower index


def test_errors_that_do_not_come_near_zero_do_not_hide_a_knee():
    assert knee([1, 2, 3], [0.9, 0.7, 0.6]) == 1


def test_knees_as_deep_to_a_relative_1e_9_are_ties_and_deeper_ones_are_not():
    memory = [0.0, 1.0, 2.0, 4.0]  # the two in the middle lie 1/4 below the chord, if e is 0
    for e, index in ((0.0, 1), (1e-10, 1), (1e-8, 2), (-1e-8, 1)):
        assert knee(memory, [1.0, 0.5, 0.25 - e, 0.0]) == index


def test_a_frontier_bulging_above_its_chord_has_its_knee_at_the_smallest_memory():
    assert knee([0, 3, 4], [1.0, 0.75, 0.0]) == 0
