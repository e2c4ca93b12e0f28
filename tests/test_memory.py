"""Memory is counted from the layers and obeys the paper's formula."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.peppp.configs import CONFIGURATIONS, Configuration
from refimpl.peppp.memory import KINDS, count
from refimpl.peppp.sweep import memory_of


def by_hand(channels, size, classes, low, high, batch=32):
    """Write the paper's rule out for the two-convolution network, counted by hand."""
    parameters = 9 * channels * 16 + 2 * 16 + 9 * 16 * 32 + 2 * 32 + 32 * classes + classes
    half = -(-size // 2)
    first, second = 16 * size * size, 32 * half * half
    # input's rounding; conv bn relu round; conv round bn relu round; pool; linear, its rounding; all
    outputs = batch * (channels * size * size + 4 * first + 5 * second + 32 + 3 * classes)
    bits_low = parameters + 2 * (outputs - batch * classes)
    bits_high = 2 * parameters + channels * size * size * batch + 2 * batch * classes
    return (bits_low * low + bits_high * high) / (8 * 2**20)


@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 8, 10), (3, 32, 7)])
def test_the_count_equals_the_paper_s_formula(channels, size, classes):
    network = rf.nn.cnn(channels=channels, classes=classes)
    for c in CONFIGURATIONS[::7]:
        counted = count(network, (size, size, channels), c).total_mb
        expected = by_hand(channels, size, classes, c.low_bits, c.high_bits)
        assert counted == pytest.approx(expected, rel=1e-12)


def test_kinds_and_layers_each_add_up_to_the_total():
    memory = count(rf.nn.mlp(), (8, 8, 1), Configuration("e4m3", "e8m7"))
    total = memory.total_mb * 2**20
    assert tuple(memory.by_kind()) == KINDS
    assert sum(memory.by_kind().values()) == pytest.approx(total, rel=1e-12)
    assert sum(memory.by_layer().values()) == pytest.approx(total, rel=1e-12)


def test_the_parameters_counted_are_those_drawn():
    for network in (rf.nn.cnn(), rf.nn.mlp()):
        network.initialize(np.random.default_rng(0))
        drawn = sum(t.data.size for t in network.tensors())
        assert drawn == sum(layer.parameter_count() for layer in network.layers)


def test_memory_grows_with_each_width_and_there_are_many_ties():
    memory = memory_of(rf.data.load("digits"), CONFIGURATIONS).reshape(11, 9)
    bits = np.array([[c.low_bits + 1j * c.high_bits for c in CONFIGURATIONS]]).reshape(11, 9)
    for i in range(11):
        order = np.argsort(bits[i].imag, kind="stable")
        assert (np.diff(memory[i][order]) >= 0).all()
    assert len(np.unique(memory)) == 35  # as in the released matrix: 5 low by 7 high widths


def test_images_that_do_not_fit_and_empty_batches_are_refused():
    with pytest.raises(ValueError, match="3 channels, got shape"):
        count(rf.nn.cnn(channels=3), (8, 8, 1), CONFIGURATIONS[0])
    with pytest.raises(ValueError, match="batch_size is 0"):
        count(rf.nn.cnn(), (8, 8, 1), CONFIGURATIONS[0], batch_size=0)
