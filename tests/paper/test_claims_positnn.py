"""PositNN's claims: the policies are what they are called, and breaking the effect flips its verdict."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.nn import SUM_ROLES
from refimpl.papers import positnn
from refimpl.papers.claim import Bench

FAILS = ("all posit8", "without the quire", "no exponent bits")


def errors(**others):
    """Return a stand-in for training: those that fail err half the time, the others as in float32."""
    known = {way: 0.5 if way in FAILS else 0.05 for way in positnn.WAYS} | others
    return lambda way, epochs, seed: [known[way] + 0.001 * (seed % 2), 1.0]


def verdicts(monkeypatch, train):
    monkeypatch.setattr(positnn, "train", train)
    return {claim.name: claim.check(Bench(quick=True)).verdict for claim in positnn.PAPER.claims}


def test_verdicts_follow_from_what_was_trained(monkeypatch):
    assert verdicts(monkeypatch, errors()) == {
        "like-float32": "holds",
        "wider-optimizer": "holds",
        "quire": "holds",
        "exponent-bits": "holds only with the flaw",
        "underflow": "holds",
    }


@pytest.mark.parametrize(
    ("changed", "claim", "verdict"),
    [
        ({positnn.EIGHT: 0.3}, "like-float32", "does not hold here"),
        ({"all posit16": 0.3}, "like-float32", "does not hold here"),
        ({"all posit8": 0.01}, "wider-optimizer", "does not hold here"),
        ({"without the quire": 0.01}, "quire", "does not hold here"),
        ({"no exponent bits, underflow to zero": 0.5}, "exponent-bits", "holds"),
        ({"no exponent bits": 0.01}, "exponent-bits", "does not hold here"),
        ({"underflow to zero": 0.5}, "underflow", "does not hold here"),
    ],
)
def test_another_outcome_is_another_verdict(monkeypatch, changed, claim, verdict):
    assert verdicts(monkeypatch, errors(**changed))[claim] == verdict


def test_the_smallest_posit_is_blamed_only_where_zero_in_its_place_trains(monkeypatch):
    (claim,) = (claim for claim in positnn.PAPER.claims if claim.name == "exponent-bits")
    for changed, blamed in (({}, True), ({"no exponent bits": 0.01}, False)):
        monkeypatch.setattr(positnn, "train", errors(**changed))
        assert ("1/64" in claim.check(Bench(quick=True)).why) == blamed


def test_each_way_is_what_it_is_called():
    eight = positnn.precision(*positnn.WAYS[positnn.EIGHT])
    assert eight.format_of("weight").name == eight.format_of("activation gradient").name == "posit8_2"
    assert eight.format_of("master weight").name == eight.format_of("logits gradient").name == "posit16_2"
    assert {eight.accumulator_of(role).order for role in SUM_ROLES} == {"exact"}
    rounded = positnn.precision(*positnn.WAYS["without the quire"])
    found = {(how.order, how.products) for how in map(rounded.accumulator_of, SUM_ROLES)}
    assert found == {("sequential", "rounded")}
    zero = positnn.precision(*positnn.WAYS["no exponent bits, underflow to zero"])
    assert zero.rounding_of("weight").underflow == "zero" and zero.format_of("weight").name == "posit8_0"
    assert not positnn.precision(*positnn.WAYS["float32"]).rounds


def test_a_quire_that_rounds_is_no_quire():
    """The effect itself: sums of products of posits, exact and rounded after every addition, part."""
    rng = np.random.default_rng(0)
    a, b = (rf.quantize(rng.standard_normal((8, 64)), "posit8_2") for _ in "ab")
    quire, rounded = (rf.matmul(a, b.T, "posit8_2", order=order) for order in ("exact", "sequential"))
    true = rf.quantize(a @ b.T, "posit8_2")  # float64 holds these sums of products without error
    assert np.array_equal(quire, true) and not np.array_equal(rounded, true)


@pytest.mark.slow
def test_posit8_fails_where_its_optimizer_is_posit8_too():
    wide, narrow = (positnn.train(way, 5, 0)[0] for way in (positnn.EIGHT, "all posit8"))
    assert wide < 0.3 < 0.5 < narrow


@pytest.mark.slow
def test_trained_for_real_a_quire_that_rounds_turns_the_verdict(monkeypatch):
    train, precision = positnn.train, positnn.precision
    monkeypatch.setattr(positnn, "train", lambda way, epochs, seed: train(way, 2, seed))
    assert positnn.quire_is_needed(Bench(quick=True)).verdict == "holds"
    monkeypatch.setattr(
        positnn,
        "precision",
        lambda bits, optimizer, exponent, order, underflow: precision(bits, optimizer, exponent, "rounded", underflow),
    )
    assert positnn.quire_is_needed(Bench(quick=True)).verdict != "holds"
