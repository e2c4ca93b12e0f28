"""The main job's default method is not worse than the paper's where it is used."""

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
        leave_one_out(embedded, n_measurements=n, groups=groups, **method) for method in ({}, {"method": "ed-mf"})
    )
    for metric in ("budget_regret", "regret", "convergence", "hyper_diff"):
        difference, error = paired_difference(best[metric], paper[metric])
        assert difference <= error, metric  # 18 tasks: worse by no more than one standard error
    assert paired_difference(best["budget_regret"], paper["budget_regret"])[0] < 0
    assert 0.8 < best["coverage"].mean() < 0.98
