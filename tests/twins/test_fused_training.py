"""The fast road through a network computes the same bits as layer after layer."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.data import Task

RNG = np.random.default_rng(0)
POLICIES = {
    "float32": rf.nn.presets.float32(),
    "stochastic": rf.Precision(low="e4m3", high="e8m7"),
    "to even": rf.Precision(low="e3m2", high="e6m7", rounding="ties_to_even"),
    "values only": rf.Precision(low="e4m3", high="e8m7", roles={"activation gradient": None}),
    "gradients only": rf.Precision(roles={"activation gradient": "e5m2"}),
    "first layer wider": rf.Precision(low="e4m3", high="e8m7", layers={"4 *": {"activation": "e8m7"}}),
    "one directed": rf.Precision(
        low="e4m3", high="e8m7", layers={"6 Round": {"activation": rf.nn.Rounding(
            format="e4m3", rounding="toward_zero")}}),
    "scaled": rf.nn.presets.fp8("delayed"),
}  # fmt: skip


def task(size, channels, images=70):
    pixels = RNG.random((images, size, size, channels), np.float32)
    labels = np.arange(images) % 10
    return Task(
        "random", pixels, labels, pixels[:20], labels[:20], classes=10, images_from="random"
    )


def trained(network, data, policy, plain):
    result = rf.nn.fit(network, data, precision=policy, epochs=1, batch_size=8, plain=plain)
    statistics = [a for layer in network.every_layer() for a in layer.memory().values()]
    bits = b"".join(a.tobytes() for a in [*(t.data for t in network.tensors()), *statistics])
    return bits, result.history[0]["loss"], result.history[0]["counts"]


@pytest.mark.parametrize("name", POLICIES)
def test_a_network_trained_on_the_fast_road_equals_one_trained_layer_by_layer(name):
    data = task(8, 1)
    fast, plain = (trained(rf.nn.cnn(), data, POLICIES[name], p) for p in (False, True))
    assert fast == plain


@pytest.mark.parametrize("network", [rf.nn.resnet8, rf.nn.vgg])
def test_residual_and_plain_stacks_equal_themselves_too(network):
    data = task(8, 3)
    fast, plain = (trained(network(), data, POLICIES["stochastic"], p) for p in (False, True))
    assert fast == plain


def test_odd_channels_and_short_chunks_change_nothing():
    """7 channels: rows are no part of 64; 5x5 images: the last chunk is short."""
    data = task(5, 2)
    fast, plain = (
        trained(rf.nn.cnn(channels=2, widths=(7, 24)), data, POLICIES["stochastic"], p)
        for p in (False, True)
    )
    assert fast == plain


def test_counting_and_planning_change_nothing(monkeypatch):
    data = task(8, 1)
    once = trained(rf.nn.cnn(), data, POLICIES["stochastic"], False)
    monkeypatch.setattr("refimpl.nn.training.COUNTED_STEPS", 1)
    always = trained(rf.nn.cnn(), data, POLICIES["stochastic"], False)
    assert once[:2] == always[:2] and once[2] != always[2]
