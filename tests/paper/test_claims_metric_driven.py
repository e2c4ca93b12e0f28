"""Claims of the metric-driven paper: their machinery on small cases, and verdicts that can come out either way."""

import functools

import numpy as np
import pytest

import refimpl as rf
from refimpl.nn import Precision
from refimpl.papers import metric_driven as paper
from refimpl.papers.claim import Bench

QUICK = functools.partial(Bench, quick=True)


NETWORKS = pytest.mark.parametrize("network", [paper.mlp, paper.cnn])


def losses(network, planted, ways=()):
    policy = paper.precision(ways)
    return [r["loss"] for r in rf.nn.fit(network(planted), rf.data.load("digits"), precision=policy, epochs=2).history]


@NETWORKS
@pytest.mark.parametrize("operand", paper.OPERANDS)
def test_planted_outliers_change_nothing_in_float32_to_the_last_bit(network, operand):
    assert losses(network, operand) == losses(network, "")


@NETWORKS
@pytest.mark.parametrize("operand", paper.OPERANDS)
def test_planted_outliers_spoil_one_scale_for_int8_and_not_for_e4m3(network, operand, monkeypatch):
    int8, e4m3 = (((operand, fmt, "tensor", paper.NEAREST),) for fmt in ("int8", paper.E4M3))
    exact = losses(network, "")[-1]
    assert losses(network, operand, int8)[-1] > 1.3 * exact
    assert losses(network, operand, e4m3)[-1] < 1.1 * exact
    monkeypatch.setattr(paper, "LARGER", 1.0)  # nothing planted
    assert losses(network, operand, int8)[-1] < 1.1 * exact


def trainings(monkeypatch, worse):
    """Let trainings come out as `worse` says of a way, with the noise of seeds."""

    def train(network, planted, ways, epochs, seed):
        return 0.1 + 0.01 * (seed % 3) + (0.2 if worse(planted, ways) else 0.0)

    monkeypatch.setattr(paper, "train", train)


CHECKS = (  # a claim, what must lose for it to hold, and what must not
    (paper.weights_lossless, lambda ways: False, lambda ways: True),
    (paper.finer, lambda ways: ways and ways[0][2] == "tensor", lambda ways: False),
    (paper.finer, lambda ways: ways and ways[0][2] == "tensor", lambda ways: bool(ways)),
    (paper.rounding_matters, lambda ways: ways and ways[0][3] == paper.NEAREST, lambda ways: False),
    (paper.fp8_converges, lambda ways: ways and ways[-1][3] == paper.NEAREST, lambda ways: len(ways) == 3),
)


@pytest.mark.parametrize("planted", [False, True])
@pytest.mark.parametrize(("check", "holds", "fails"), CHECKS)
def test_what_trains_well_decides(check, holds, fails, planted, monkeypatch):
    trainings(monkeypatch, lambda planted, ways: holds(ways))
    assert check(QUICK(), planted=planted).verdict == "holds"
    trainings(monkeypatch, lambda planted, ways: ways and fails(ways))
    assert check(QUICK(), planted=planted).verdict == "does not hold here"


def test_errors_of_int8_grow_with_the_tails_and_those_of_floats_would_be_seen_to(monkeypatch):
    tails = paper.tails
    monkeypatch.setattr(paper, "tails", lambda scaling, size, seed: tails(scaling, 96, seed))
    found = paper.bounded(QUICK())
    assert found.verdict == "holds" and [len(chart.series) for chart in found.charts] == [6, 3]
    monkeypatch.setattr(paper, "FORMATS", ("int8", "int8", "int8"))

    def all_as_int8(scaling, size, seed):
        return [row for row in tails(scaling, 96, seed)[::3] for _ in range(3)]

    monkeypatch.setattr(paper, "tails", all_as_int8)
    assert paper.bounded(QUICK()).verdict == "does not hold here"


def test_a_linear_layer_multiplies_rounded_operands_forward_and_backward(monkeypatch):
    assert paper.rewritten(QUICK()).verdict == "holds"
    monkeypatch.setattr(paper, "precision", lambda ways: Precision(loss_scale=1.0))
    assert paper.rewritten(QUICK()).verdict == "does not hold here"


def test_five_tensors_of_a_query_projection_are_fitted_and_a_bad_fit_of_an_operand_is_told(monkeypatch):
    found = paper.query_tensors(1, 0)
    assert len(found) == 5
    for parts, nu, distance, zeros in found:
        assert sum(parts) + zeros == pytest.approx(1, abs=1e-3) and nu > 0 and 0 < distance < 0.3
    (parts, nu, distance, zeros), *_ = found
    assert distance < 0.05
    for place, bad, verdict in ((0, 0.01, "holds"), (2, 0.2, "does not hold here"), (3, 0.2, "holds")):
        rows = [(parts, nu, bad if i == place else 0.01, zeros) for i in range(5)]
        monkeypatch.setattr(paper, "query_tensors", lambda epochs, seed, rows=rows: rows)
        of = paper.operand_tails(QUICK())
        assert of.verdict == verdict and len(of.charts[0].series) == len(of.tables[0].rows) == 5


def test_a_metric_that_ranks_policies_upside_down_does_not_hold(monkeypatch):
    loss = np.linspace(0.1, 2, 20)
    for said, verdict in (
        (loss**2, "holds"),
        (1 / loss, "does not hold here"),
        (loss % 0.31, "cannot be checked here"),
    ):
        of = {**dict.fromkeys(paper.METRICS, said.tolist()), "loss": loss.tolist(), "test error": loss.tolist()}
        monkeypatch.setattr(paper, "ladder", lambda network, count, seed, of=of: of)
        assert paper.predicts(QUICK()).verdict == verdict
