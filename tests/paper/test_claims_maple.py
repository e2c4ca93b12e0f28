"""MAPLE: times of networks in settings, predicted from others; what turns the verdicts."""

import numpy as np
import pytest

from refimpl.nn import cnn, mlp
from refimpl.papers import maple
from refimpl.papers.claim import Bench


def test_a_network_is_described_by_its_counts():
    multiplications, convolved, weights, activations, layers = maple.described(mlp(widths=(32,)))
    assert 2**multiplications == pytest.approx(64 * 32 + 32 * 10) and convolved == 0
    assert 2**weights == pytest.approx(64 * 32 + 32 + 32 * 10 + 10)
    found = maple.described(cnn(widths=(4, 8)))
    stem, second = 9 * 4 * 64, 9 * 4 * 8 * 16  # of 8 x 8 and of 4 x 4 places
    assert 2 ** found[1] == pytest.approx(stem + second + 1)
    assert 2 ** found[0] == pytest.approx(stem + second + 80)


@pytest.mark.parametrize("model", [mlp, cnn])
def test_every_backend_makes_the_same_logits(model):
    found = {backend: maple.runner(model(), backend, 4)() for backend in maple.BACKENDS}
    for backend, logits in found.items():
        near = 0.02 if "float16" in backend else 1e-5
        assert logits == pytest.approx(found["layer by layer"], abs=near), backend


def test_times_are_of_all_probes_and_networks():
    probes, times = maple.measure("engine", 1, 2, 2, 0)
    assert len(probes) == len(maple.PROBES) and len(times) == 2 and min(*probes, *times) > 0


def test_networks_of_other_seeds_are_others():
    made = [[maple.described(model) for model in maple.networks(4, seed)] for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]


def test_regression_finds_a_law_and_noise_its_size():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3))
    same = np.repeat(np.arange(6), 10)
    y = x @ [1.0, 2.0, -1.0]
    kernel = maple.likeness(x, np.zeros((60, 0)), same)
    told = maple.regression(kernel, y, np.arange(50), np.arange(50, 60), 0.02)
    assert np.abs(told - y[50:]).max() < 0.3
    assert maple.noise(kernel, y) < maple.noise(kernel, y + 0.5 * rng.standard_normal(60))


def devices(bench, mixed_up=False):
    """Return times on made-up machines: overhead, a speed of arithmetic, and one of memory each."""
    rng = np.random.default_rng(7)
    settings, count = len(maple.SETTINGS), 24
    overhead, speed, memory = 10 ** rng.uniform(-0.5, 0.5, (3, settings, 1))
    work, size = 10 ** rng.uniform(-1, 1, (2, 1, count))
    probe_work, probe_size = np.array([[0.0, 5.0, 0.0]]), np.array([[0.0, 0.0, 5.0]])
    times = (overhead + work / speed + size / memory) * np.exp(0.02 * rng.standard_normal((settings, count)))
    probes = overhead + probe_work / speed + probe_size / memory
    if mixed_up:
        probes = rng.permutation(probes)
    return times, probes, np.log2(np.concatenate([work, size]).T)


@pytest.mark.parametrize("claim", [maple.descriptor, maple.unseen_backend, maple.samples])
def test_a_descriptor_of_made_up_machines_predicts_them(monkeypatch, claim):
    monkeypatch.setattr(maple, "measured", devices)
    assert claim(Bench(quick=True)).verdict == "holds"


def test_descriptors_of_other_machines_turn_the_verdict(monkeypatch):
    monkeypatch.setattr(maple, "measured", lambda bench: devices(bench, mixed_up=True))
    assert maple.descriptor(Bench(quick=True)).verdict != "holds"
    assert maple.three_beat_ten(Bench(quick=True)).verdict == "does not hold here"


def test_a_descriptor_that_tells_nothing_is_no_better_on_an_unseen_backend(monkeypatch):
    times, probes, features = devices(None)
    monkeypatch.setattr(maple, "measured", lambda bench: (times, np.ones_like(probes), features))
    assert maple.unseen_backend(Bench(quick=True)).verdict != "holds"


def test_measurements_that_are_not_learned_from_turn_the_verdict(monkeypatch):
    monkeypatch.setattr(maple, "measured", devices)
    right, networks = maple.regression, 24

    def deaf(kernel, y, known, wanted, noise):
        return right(kernel, y, known[known // networks != wanted[0] // networks], wanted, noise)

    monkeypatch.setattr(maple, "regression", deaf)
    assert maple.samples(Bench(quick=True)).verdict != "holds"
