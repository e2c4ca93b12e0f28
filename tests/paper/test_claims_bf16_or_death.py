"""BF16 or death: networks are served as said, and another outcome is another verdict."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.nn.layer import Pass
from refimpl.nn.rounder import Rounder
from refimpl.papers import bf16_or_death as paper
from refimpl.papers.claim import Bench

RNG = np.random.default_rng(0)


def layer(features=6, outputs=3):
    found = paper.Served(features, outputs)
    found.initialize(RNG)
    return found


def called(one, x):
    return one(Tensor(np.float32(x)), Pass(Rounder(rf.nn.Precision(), 0), training=False)).data


def to_nearest(x, top):
    """Return a vector in steps of its largest magnitude over `top`."""
    step = np.abs(x).max() / top
    return np.rint(x / step) * step


@pytest.mark.parametrize("per", ["token", "tensor"])
def test_inputs_share_a_scale_by_token_or_all_of_them(per):
    one, x = layer(), RNG.standard_normal((2, 4, 6)).astype(np.float32)
    weight, bias = (one.parameters[name].data for name in ("weight", "bias"))
    one.serve(np.ones(6, np.float32), weight, "int8", per)
    tokens = np.stack([to_nearest(token, 127) for token in x.reshape(-1, 6)]).reshape(x.shape)
    expected = (tokens if per == "token" else to_nearest(x, 127)) @ weight + bias
    assert called(one, x) == pytest.approx(expected, abs=1e-5)


def test_planted_outliers_and_smoothing_do_not_change_what_is_not_rounded():
    one, x = layer(), RNG.standard_normal((5, 6)).astype(np.float32)
    weight = one.parameters["weight"].data
    plain = x @ weight + one.parameters["bias"].data
    factor = np.float32([1, 64, 1, 1, 64, 1])
    by = paper.smoothing(weight / factor[:, None], x * factor)
    one.serve(factor / by, weight / (factor / by)[:, None])
    assert called(one, x) == pytest.approx(plain, rel=1e-5, abs=1e-6)
    # half way: largest inputs and largest weights of each feature are as large as each other
    inputs, weights = x * factor / by, weight / (factor / by)[:, None]
    assert np.abs(inputs).max(axis=0) == pytest.approx(np.abs(weights).max(axis=1))


@pytest.mark.parametrize("group", [0, 2, 4])
def test_a_group_of_neighbours_of_an_output_shares_a_step(group):
    weight = RNG.standard_normal((6, 3))
    steps = paper.scales(weight, 4, group, clipped=False)
    for start in range(0, 6, group or 6):
        largest = np.abs(weight[start : start + (group or 6)]).max(axis=0)
        assert steps[start : start + (group or 6)] == pytest.approx(
            np.tile(largest / 7, (min(group or 6, 6 - start), 1)), rel=1e-3
        )


def test_clipping_leaves_no_more_squares_of_errors():
    weight = RNG.standard_t(3, (64, 16))
    plain, clipped = (
        ((paper.nearest(weight, paper.scales(weight, 4, 32, clipped=c), 4) - weight) ** 2).sum(axis=0)
        for c in (False, True)
    )
    assert (clipped <= plain).all() and clipped.sum() < 0.95 * plain.sum()


def test_bytes_are_codes_scales_and_16_bits_of_all_else():
    layers = [layer(100, 8), layer(32, 4)]
    assert paper.size_of(layers, 50, paper.WAYS["E4M3"]) == 928 + 12 * 2 + 50 * 2
    assert paper.size_of(layers, 50, paper.WAYS["int4/32 gptq"]) == 928 / 2 + (4 * 8 + 4) * 2 + 50 * 2


@pytest.mark.parametrize(("scheme", "top", "groups"), [("float32", 99, 4), ("W8A8", 127, 1), ("W4A16", 7, 2)])
def test_what_is_timed_multiplies_exactly_what_its_scheme_holds(scheme, top, groups):
    def whole(shape):
        found = RNG.integers(-top, top, shape, endpoint=True)
        found[..., 0] = top
        return found

    steps = 2.0 ** RNG.integers(-3, 3, (groups, 1, 5))  # a scale for each group of each output
    weight = (whole((groups, 5, 256 // groups)).transpose(0, 2, 1) * steps).reshape(256, 5)
    x = whole((3, 256)) * np.array([[0.5], [1.0], [2.0]])
    assert (paper.served_with(np.float32(weight))[scheme](np.float32(x)) == x @ weight).all()


def test_a_trained_perceptron_is_served_in_every_way(monkeypatch):
    fit = rf.nn.fit
    monkeypatch.setattr(rf.nn, "fit", lambda *a, **k: fit(*a, **{**k, "epochs": 2}))
    found = paper.train("mlp", 0)
    for of in found.values():
        assert of.keys() == {"16 bits", "ratios", *paper.WAYS} and len(of["ratios"]) == 3
        assert max(of["ratios"]) < 1 and of["int8 tuned"][2] < 0.55 * of["16 bits"][2]
    assert found["planted"]["16 bits"] == pytest.approx(found["plain"]["16 bits"], rel=1e-4)
    assert found["planted"]["int8 SmoothQuant"] == pytest.approx(found["plain"]["int8 SmoothQuant"], rel=1e-3)
    assert found["planted"]["int8 per tensor"][1] > found["planted"]["int8 SmoothQuant"][1]


def fake(ratio=0.5, **worse):
    """Return a stand-in for training: 90 % and 1 bit in 16 bits; ways lose points, and as many 0.01 bits."""

    def train(network, seed):
        lost = dict.fromkeys(paper.WAYS, 0.1) | {"int8 per tensor": 4.0, "int8": 2.0, "int8 SmoothQuant": 1.0}
        lost |= {name: 0.8 for name in paper.WAYS if name.endswith("clipped")} | {
            name.replace("_", " "): by for name, by in worse.items()
        }
        of = {
            name: [90 - by + 0.01 * (seed % 3), 1 + by / 100 + 0.001 * (seed % 3) * by, 10] for name, by in lost.items()
        }
        return dict.fromkeys(("plain", "planted"), {**of, "16 bits": [90.0, 1.0, 20], "ratios": [0.2, ratio]})

    return train


def verdicts(monkeypatch, *args, slower=1.0, **how):
    def made_up(ways, repeats):
        return {name: np.linspace(1, 1.1, repeats) * (1 if name == "float32" else 0.5 * slower) for name in ways}

    monkeypatch.setattr(paper, "seconds", made_up)
    monkeypatch.setattr(paper, "train", fake(*args, **how))
    return {claim.name: claim.check(Bench(quick=True)).verdict for claim in paper.PAPER.claims}


def test_verdicts_follow_from_what_is_lost(monkeypatch):
    assert set(verdicts(monkeypatch).values()) == {"holds"}


@pytest.mark.parametrize(
    ("claim", "how"),
    [
        ("fp8-lossless", {"E4M3": 2.0}),
        ("int8-little-loss", {"int8_tuned": 5.0}),
        ("int4-competitive", {"int4/128_gptq": 3.0}),
        ("gptq-better", {"int4/32_gptq": 0.9}),
        ("gptq-better", {"ratio": 1.1}),
        ("finer-scales", {"int8": 5.0}),
        ("finer-scales", {"int8_SmoothQuant": 3.0}),
        ("faster", {"slower": 3.0}),
    ],
)
def test_another_outcome_is_another_verdict(monkeypatch, claim, how):
    assert verdicts(monkeypatch, **how)[claim] == "does not hold here"
