"""PEPPP's claims: each verdict can be another, on matrices made for it and by breaking what it stands on."""

import numpy as np
import pytest

from refimpl.papers import peppp
from refimpl.papers.claim import Bench
from refimpl.peppp import CONFIGURATIONS, ErrorMatrix
from refimpl.peppp.estimators.completion import Completion

NAMES = [c.name for c in CONFIGURATIONS]


def matrix(values):
    """Return errors of made-up tasks, with the memory of the low format's bits."""
    memory = np.broadcast_to([float(c.low_bits * 100 + c.high_bits) for c in CONFIGURATIONS], values.shape)
    return ErrorMatrix(values, [f"made up {i}" for i in range(len(values))], NAMES, memory_mb=memory)


def few_factors(rows=14, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    curve = np.linspace(0.9, 0.2, 99)
    values = rng.uniform(0.3, 1, (rows, 1)) * curve + 0.05 * rng.standard_normal((rows, 1)) * np.sin(np.arange(99))
    return np.clip(values + noise * rng.standard_normal(values.shape), 0, 1)


@pytest.fixture
def released(monkeypatch):
    """Let a made-up matrix stand for the released one."""

    def put(values):
        monkeypatch.setattr(peppp, "load_released", lambda place: matrix(values))

    return put


def test_without_the_matrices_it_is_said_what_is_missing(monkeypatch):
    monkeypatch.delenv("REFIMPL_PEPPP_DATA", raising=False)
    found = peppp.low_rank(Bench())
    assert found.verdict == "cannot be checked here" and "--data" in found.why


def test_a_matrix_of_other_singular_values_is_not_the_published_one(released):
    released(few_factors())
    found = peppp.low_rank(Bench())
    assert found.verdict == "does not hold here" and found.numbers["part"] == pytest.approx(1)


def test_counts_that_are_the_poster_s_by_no_rule_are_said(released):
    released(few_factors())
    assert peppp.frontier_widths(Bench()).verdict == "does not hold here"


def test_rows_that_rank_alike_are_correlated_and_random_ones_are_not(released):
    released(few_factors(60))
    alike = peppp.correlated(Bench())
    released(np.random.default_rng(1).uniform(size=(60, 99)))
    random = peppp.correlated(Bench())
    assert alike.verdict == "holds" and alike.numbers["all pairs"][0] > 0.7
    assert random.verdict != "holds" and abs(random.numbers["all pairs"][0]) < 0.02


def test_few_factors_are_completed_and_a_completion_that_fills_in_zeros_is_none(released, monkeypatch):
    released(few_factors(20))
    found = peppp.completed(Bench(quick=True))
    of = {name: np.mean(rows, axis=0)[0] for name, rows in list(found.numbers["uniform 0.2"].items())[:2]}
    assert found.verdict == "holds" and of["completed"] < 0.7 * of["column means"]
    zeros = lambda seen, **options: Completion(np.nan_to_num(seen), True, 1, np.zeros(1))  # noqa: E731
    monkeypatch.setattr(peppp, "soft_impute", zeros)
    assert peppp.completed(Bench(quick=True)).verdict == "does not hold here"


def scored(ed_mf, others):
    """Return scores of five data sets at two numbers of measurements."""
    near = np.linspace(0.9, 1.1, 5)
    return {
        name: {metric: np.array([value * near] * 2) for metric in peppp.SCORED}
        for name, value in {"ed-mf": ed_mf, **dict.fromkeys(peppp.RIVALS, others)}.items()
    }


@pytest.mark.parametrize(
    ("released_rule", "one_rule", "verdict"),
    [
        ((0.1, 0.2), (0.1, 0.2), "holds"),
        ((0.1, 0.2), (0.2, 0.1), "holds only with the flaw"),
        ((0.2, 0.1), (0.2, 0.1), "does not hold here"),
        ((0.1, 0.2), (0.1, 0.1), "cannot be checked here"),
    ],
)
def test_outperforming_is_asked_of_both_rules(released_rule, one_rule, verdict):
    found = peppp.judged({"as released": scored(*released_rule), "one rule": scored(*one_rule)}, (5, 10))
    assert found.verdict == verdict
    ratio = one_rule[1] / one_rule[0]
    (chart,) = [c for c in found.charts if c.name == "convergence-one-rule"]
    assert chart.series["bo-mf"][1] == pytest.approx([ratio, ratio])
    assert chart.series["ed-mf"][1] == pytest.approx([1, 1])


def test_one_rule_measures_as_often_for_every_method_and_the_released_one_does_not(released, monkeypatch):
    runs = {}

    def noted(bench, asked, label):
        runs[label] = asked
        return {name: {metric: np.ones((1, 3)) * [1, 2, 3] for metric in peppp.SCORED} for name in asked}

    monkeypatch.setattr(peppp, "scores", noted)
    released(few_factors())
    peppp.outperforms(Bench(quick=True))
    assert {counts for _, counts, _ in runs["one rule"].values()} == {(10,)}
    assert runs["as released"]["ed-mf"][1] == (15,) and runs["as released"]["bo-mf"][0] == "bo-mf-released"
    assert all(options == () for _, _, options in runs["one rule"].values())


def test_ranks_and_settings_are_those_of_leave_one_out(released):
    released(few_factors(9, noise=0.02))
    found = peppp.settings(Bench(quick=True))
    assert set(found.numbers) == {"ed-mf, full", "ed-mf, uniform 20 %"}
    ranks = peppp.ranking(Bench(quick=True)).numbers["no cap, regret"]
    assert sum(ranks.values()) == pytest.approx(sum(range(1, 8)))


def given(monkeypatch, values):
    """Let scores be as told of each run, of five data sets, by which all differ alike."""
    near = 0.001 * np.arange(5)

    def scores(bench, asked, label):
        return {name: {metric: np.array([values(name, metric) + near]) for metric in peppp.SCORED} for name in asked}

    monkeypatch.setattr(peppp, "scores", scores)


@pytest.mark.parametrize(("beaten_in", "verdict"), [(None, "holds"), ("hyper_diff", "does not hold here")])
def test_one_ranking_that_another_method_leads_turns_the_verdict(released, monkeypatch, beaten_in, verdict):
    released(few_factors(5))
    lead = {"ed-mf": lambda metric: 0.1, "bo-mf": lambda metric: 0.05 if metric == beaten_in else 0.3}
    given(monkeypatch, lambda name, metric: lead.get(name, lambda metric: 0.4)(metric))
    assert peppp.ranking(Bench()).verdict == verdict


@pytest.mark.parametrize(("lost", "verdict"), [(0.005, "holds"), (0.03, "does not hold here")])
def test_what_is_lost_by_learning_from_a_fifth_decides(released, monkeypatch, lost, verdict):
    released(few_factors(5))
    given(monkeypatch, lambda name, metric: 0.1 + lost * name.endswith("uniform 20 %"))
    assert peppp.settings(Bench()).verdict == verdict


def test_the_figure_s_formula_lacks_zero_and_the_subnormals():
    rows = {(name, bias): int(differ) for name, bias, _, differ in peppp.figure_format(Bench()).tables[0].rows}
    # a zero exponent field has 2^m codes, none of which the formula without subnormals gives
    assert [rows["e3m4", "3"], rows["e4m3", "7"], rows["e5m2", "15"]] == [2**4, 2**3, 2**2]
    assert rows["e3m4", "7"] == 128


def test_formats_without_zero_and_subnormals_would_be_those_of_the_figure(monkeypatch):
    assert peppp.figure_format(Bench()).verdict == "does not hold here"

    def without(codes, fmt):  # of every field 2^m numbers evenly apart, the smallest field too
        field, place = np.divmod(codes.astype(int) & 127, 2**fmt.mantissa_bits)
        return 2.0 ** (field - fmt.bias) * (1 + place / 2**fmt.mantissa_bits)

    monkeypatch.setattr(peppp.rf, "decode", without)
    assert peppp.figure_format(Bench()).verdict == "holds"


def test_the_figure_s_formula_is_drawn_beside_the_codes_trained_with():
    drawn = {name: y for name, (_, y) in peppp.figure_format(Bench()).charts[0].series.items()}
    trained, right, wrong = drawn["as trained with"], drawn["(1 + f) 2^(E - 3)"], drawn["(1 + f) 2^(E - 7)"]
    assert trained[0] == 0 and trained[1] == 2.0**-6 and right[0] == 0.125  # (1 + 0) 2^(0 - 3)
    assert (trained[16:] == right[16:]).all() and (wrong == right / 16).all()


@pytest.mark.parametrize(("narrow", "verdict"), [(0.5, "holds"), (0.1, "does not hold here")])
def test_a_narrow_optimizer_is_judged_by_its_errors(monkeypatch, narrow, verdict):
    monkeypatch.setattr(
        peppp, "train", lambda low, high, seed, epochs: (narrow if high == low else 0.3) + 0.01 * (seed % 2)
    )
    assert peppp.wide_optimizer(Bench(quick=True)).verdict == verdict


def test_a_narrow_optimizer_is_trained_as_its_name_says():
    assert peppp.train("e4m1", "e4m1", 0, 1) != peppp.train("e4m1", "e8m7", 0, 1)
