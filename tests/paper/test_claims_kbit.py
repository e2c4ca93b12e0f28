"""The case for 4-bit precision: bits are counted and blocks rounded as said, and another outcome is another verdict."""

import numpy as np
import pytest

from refimpl.formats import CodeBook
from refimpl.papers import kbit
from refimpl.papers.claim import Bench

RNG = np.random.default_rng(0)


def test_codes_scales_and_what_is_no_matrix_are_counted():
    # 100 weights in blocks of 64: two scales; 12 in one block of their own; 7 parameters more
    assert kbit.bits_of([100, 12], 7, 4, 64) == 112 * 4 + 3 * 16 + 7 * 16


@pytest.mark.parametrize("block", [4, 7, 100])
def test_each_block_is_rounded_to_the_nearest_value_times_its_largest(block):
    weights = RNG.standard_normal((5, 4)).astype(np.float32)
    book = CodeBook("thirds", (-1.0, -0.25, 0.0, 0.25, 1.0))
    flat, found = weights.ravel(), kbit.rounded(weights, book, block).ravel()
    for start in range(0, 20, block):
        part = flat[start : start + block]
        scale = np.float32(np.float16(np.abs(part).max()))
        nearest = [min(book.values(), key=lambda value: abs(value - x / scale)) * scale for x in part]
        assert found[start : start + block].tolist() == np.float32(nearest).tolist()


@pytest.mark.parametrize("kind", kbit.KINDS)
@pytest.mark.parametrize("bits", kbit.BITS)
def test_a_data_type_has_at_most_two_to_the_bits_values_from_minus_one_to_one(kind, bits):
    values = kbit.book(kind, bits, 64, [RNG.standard_normal((64, 64)).astype(np.float32)]).values()
    assert 2 ** (bits - 1) < len(values) <= 2**bits and max(np.abs(values)) == 1
    assert kind == "quantile" or 0.0 in values


def test_likely_outliers_are_inputs_made_by_the_widest_weights_of_the_matrix_before():
    sizes = [("Embedding", 9, 4), ("0/query", 4, 4), ("0/key", 4, 4), ("0/value", 4, 4), ("0/out", 4, 4)]
    sizes += [("0/2 Linear", 4, 8), ("0/5 Linear", 8, 4), ("1/query", 4, 4)]
    named = [(name, RNG.standard_normal((n, m)).astype(np.float32)) for name, n, m in sizes]
    wide = {"Embedding": 2, "0/value": 1, "0/out": 3, "0/2 Linear": 6, "0/5 Linear": 0, "0/query": 3, "0/key": 3}
    for name, weights in named:
        if name in wide:
            weights[:, wide[name]] *= 50
    found = [np.flatnonzero(rows).tolist() for rows in kbit.outliers(named)]
    assert found == [[], [2], [2], [2], [1], [3], [6], [0]]


def fake(best=4, blocks=-0.01, types=-0.1, outliers=0.02):
    """Return a stand-in for training: loss falls with size, rises with distance from the best width."""

    def train(features, layers, part, seed):
        size = features**2 * layers
        found = {"parameters": size, "16": [16 * size, 2.0]}
        for kind, bits, block in kbit.cases():
            loss = 4 - 0.1 * np.log2(size) + 0.1 * np.log2(bits) + 0.2 * abs(bits - best)
            loss -= blocks * (np.log2(block) - np.log2(4096))
            loss += types * (kind in ("float", "quantile", "float and outliers")) + 0.001 * (seed % 3)
            loss += outliers * (kind == "float and outliers")
            found[f"{kind} {bits} {block}"] = [kbit.bits_of([size], 0, bits, block), loss]
        return found

    return train


def verdicts(monkeypatch, **how):
    monkeypatch.setattr(kbit, "train", fake(**how))
    return {claim.name: claim.check(Bench(quick=True)).verdict for claim in kbit.PAPER.claims}


def test_verdicts_follow_from_the_losses(monkeypatch):
    assert set(verdicts(monkeypatch).values()) == {"holds"}


@pytest.mark.parametrize(
    ("claim", "how"),
    [
        ("four-bits", {"best": 8}),
        ("small-blocks", {"blocks": 0.01}),
        ("data-types", {"types": 0.1}),
        ("outliers", {"outliers": -0.02}),
    ],
)
def test_another_outcome_is_another_verdict(monkeypatch, claim, how):
    assert verdicts(monkeypatch, **how)[claim] == "does not hold here"


@pytest.mark.slow
def test_a_trained_model_loses_less_with_more_bits():
    found = kbit.train(16, 1, 0.05, 0)
    assert found["int 3 64"][1] > found["int 8 64"][1] == pytest.approx(found["16"][1], abs=0.02)
    wide, narrow = (found[f"{kind} 4 64"][0] for kind in ("float and outliers", "float"))
    assert 0 < (wide - narrow) / (16 - 4) < 0.07 * found["parameters"]  # one of 16 inputs, or two of 64, and no scales
