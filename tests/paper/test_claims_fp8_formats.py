"""Claims of the FP8 paper: their machinery on small cases, and verdicts that can come out either way."""

import pytest

import refimpl as rf
from refimpl.nn import preset
from refimpl.papers import fp8_formats as paper
from refimpl.papers.claim import Bench


def test_the_codes_of_both_formats_are_the_paper_s(monkeypatch):
    found = paper.special_values(Bench())
    assert found.verdict == "holds"
    assert found.tables[0].rows == (
        ("E4M3", "0", "2", "448", "0.015625", "0.00195312", "240"),
        ("E5M2", "2", "6", "57344", "6.10352e-05", "1.52588e-05", "57344"),
    )
    monkeypatch.setattr(paper, "FORMATS", {**paper.FORMATS, "E4M3": "float8_e4m3"})  # with IEEE's special values
    assert paper.special_values(Bench()).verdict == "does not hold here"


def test_the_recipe_taken_apart_is_the_preset():
    """Roundings alone: the order of roles is of no meaning."""
    for scaling in ("current", "delayed"):
        assert paper.fp8(scaling=scaling) == preset("fp8", scaling)


def test_without_scales_small_gradients_become_zero_and_with_them_they_do_not():
    def lost(way):
        policy, task = paper.WAYS[way](), rf.data.load("digits")
        counts = rf.nn.fit(rf.nn.cnn(), task, precision=policy, epochs=1).history[-1]["counts"]["activation gradient"]
        return counts["underflow"] / counts["elements"]

    scaled, e5m2, e4m3 = (lost(way) for way in ("FP8", "no scales", "no scales, gradients E4M3"))
    assert scaled < 0.001 < e5m2 < e4m3


CHECKS = (  # a claim, the ways that must lose for it to hold, and ways that make it fail
    (paper.matches, (), ("FP8",)),
    (paper.range_needed, ("gradients E4M3",), ()),
    (paper.scales_needed, ("no scales",), ()),
    (paper.scales_needed, ("no scales",), ("no scales", "FP8")),
    (paper.range_alone, ("no scales, gradients E4M3",), ("no scales, gradients E4M3", "no scales")),
    (paper.delayed, (), ("FP8, scales delayed",)),
)


@pytest.mark.parametrize(("check", "holds", "fails"), CHECKS)
def test_what_trains_well_decides(check, holds, fails, monkeypatch):
    for losing, verdict in ((holds, "holds"), (fails, "does not hold here")):

        def train(network, way, epochs, seed, losing=losing):
            return 0.1 + 0.01 * (seed % 3) + (0.2 if way in losing else 0.0)

        monkeypatch.setattr(paper, "train", train)
        assert check(Bench(quick=True)).verdict == verdict
