"""The main job's default method is not worse than the paper's where it is used."""

import numpy as np
import pytest

from refimpl import data
from refimpl.peppp import ErrorMatrix, leave_one_out, meta_training
from refimpl.peppp.evaluation import paired_difference


@pytest.fixture(scope="module")
def embedded() -> ErrorMatrix:
    return meta_training(data.load("digits"))


@pytest.mark.parametrize("n", [5, 8, 15])
def test_the_default_method_is_no_worse_than_ed_mf_on_tasks_of_images_never_seen(embedded, n):
    """Each task is estimated from the tasks made of other images, as a user's data set is."""
    groups = embedded.metadata["images_from"]
    best, paper = (
        leave_one_out(embedded, n_measurements=n, groups=groups, **method)
        for method in ({}, {"method": "ed-mf"})
    )
    for metric in ("budget_regret", "regret", "convergence", "hyper_diff"):
        difference, error = paired_difference(best[metric], paper[metric])
        assert difference <= error, metric  # 18 tasks: worse by no more than one standard error
    assert paired_difference(best["budget_regret"], paper["budget_regret"])[0] < 0
    assert 0.8 < best["coverage"].mean() < 0.98


def few_rows(seed, rows=8, columns=40):
    """Errors that fall with memory, to tasks' own levels and at their own rates, and memory."""
    rng = np.random.default_rng(seed)
    share = np.linspace(0, 1, columns)
    level, rate = rng.uniform(0.05, 0.5, (rows, 1)), rng.uniform(1, 8, (rows, 1))
    errors = (
        level + (0.9 - level) * np.exp(-rate * share) + 0.02 * rng.standard_normal((rows, columns))
    )
    return np.clip(errors, 0, 1), 100 + 900 * share


def test_the_default_method_is_no_worse_than_ed_mf_when_other_tasks_are_few():
    regrets = {"knowledge-gradient": [], "ed-mf": []}
    for seed in range(4):
        for method, found in regrets.items():
            scores = leave_one_out(*few_rows(seed), n_measurements=5, method=method)
            found.extend(scores["budget_regret"])
    difference, error = paired_difference(*regrets.values())
    assert difference <= error
