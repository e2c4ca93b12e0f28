"""Revisiting BFloat16: the paper's numbers, real trainings, and what turns each verdict."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.papers import bfloat16 as paper
from refimpl.papers.claim import Bench


def quick():
    return Bench(quick=True)  # a bench trains nothing twice, and would not notice what is broken


def rounded(monkeypatch, **given):
    """Let values be rounded otherwise than the claims ask."""
    right = rf.quantize
    monkeypatch.setattr(rf, "quantize", lambda x, fmt, **how: right(x, given.get("fmt", fmt), **how | given["how"]))


def test_a_thousandth_is_lost_a_thousand_times_to_nearest_and_not_at_random_nor_by_kahan():
    found = paper.cancels(quick())
    assert found.verdict == "holds"
    assert found.numbers["nearest"] == 1 and found.numbers["Kahan"] == 2
    mean, error = found.numbers["stochastic"]
    assert abs(mean - 2.002) < 4 * error and error < 0.01  # deviation .084 over runs


@pytest.mark.parametrize(("fmt", "how"), [("float32", {}), ("bfloat16", {"rounding": "ties_to_even"})])
def test_sums_that_lose_nothing_or_are_never_rounded_at_random_turn_the_verdict(monkeypatch, fmt, how):
    rounded(monkeypatch, fmt=fmt, how=how)
    assert paper.cancels(quick()).verdict == "does not hold here"


def test_descent_halts_where_half_a_gap_is_more_than_the_step(monkeypatch):
    found = paper.halts(quick())
    assert found.verdict == "holds"
    places = {0.1: 1.3671875 + 0.0390625, 0.01: 1.3671875 + 0.7734375, 0.001: 3.0}  # beside 1.37 in bfloat16
    assert {rate: 1.37 + far for rate, far, _ in found.numbers["rows"]} == pytest.approx(places)
    for rate, far, least in found.numbers["rows"]:
        assert rate * far <= (2.0**-8 if 1.37 + far < 2 else 2.0**-7)
        assert least == pytest.approx({0.1: 0.026, 0.01: 0.224, 0.001: 0.906}[rate], abs=1e-3)
    rounded(monkeypatch, fmt="float32", how={})
    assert paper.halts(quick()).verdict == "does not hold here"


def test_ways_differ_by_what_they_are_called():
    assert not paper.precision("float32").rounds
    assert paper.precision("pure16").format_of("master weight").name == "bfloat16"
    mixed = paper.precision("mixed")
    assert mixed.format_of("master weight") is None and mixed.format_of("activation").name == "bfloat16"
    assert len({paper.train("mlp", way, paper.RATE, 1, 0)[1] for way in paper.WAYS}) == len(paper.WAYS)


def test_updates_to_nearest_lose_and_at_the_usual_rate_they_do_not(monkeypatch):
    found = paper.nearest_loses(quick())
    assert found.verdict == "holds" and found.numbers["mlp, to nearest"]["less float32"][0] > 0.2
    usual = paper.errors(quick(), ("float32", "to nearest"), rate=0.05)["mlp"]
    assert np.mean(usual["to nearest"]) - np.mean(usual["float32"]) < 0.02
    monkeypatch.setitem(paper.WAYS, "to nearest", paper.WAYS["Kahan"])  # nothing is lost any more
    assert paper.nearest_loses(quick()).verdict != "holds"


def test_cures_match_float32():
    assert paper.cures_match(quick()).verdict == "holds"


@pytest.mark.parametrize("way", ["stochastic", "Kahan", "float32 weights"])
def test_a_cure_that_is_none_turns_the_verdict(monkeypatch, way):
    monkeypatch.setitem(paper.WAYS, way, paper.WAYS["to nearest"])
    assert paper.cures_match(quick()).verdict == "does not hold here"
