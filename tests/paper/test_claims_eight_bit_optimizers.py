"""Claims of the 8-bit optimizers paper: their machinery on small cases, and verdicts that can come out either way."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.nn.eight_bit import EightBit
from refimpl.papers import eight_bit_optimizers as paper
from refimpl.papers.claim import Bench


def test_a_stable_embedding_is_xavier_s_and_normalized():
    task = rf.data.load("topics")
    model = paper.network("transformer", task, stable=True)
    model.initialize(np.random.default_rng(0))
    table = model.layers[0].parameters["weight"].data
    assert np.abs(table).max() <= (6 / sum(table.shape)) ** 0.5
    assert [name for name, *_ in model.named_tensors()][:3] == ["0 StableEmbedding", "1 LayerNorm", "1 LayerNorm"]


def test_with_every_tensor_called_small_eight_bits_train_as_32_do():
    state, block, _, stable = paper.STATES["linear"]
    of = [paper.train("transformer", "Adam", state, block, least, stable, 1, 0) for least in (0, 10**9)]
    assert of[0] != of[1] == paper.train("transformer", "Adam", *paper.EXACT, 1, 0)


def test_stored_moments_are_better_in_blocks_by_the_dynamic_map(monkeypatch):
    assert paper.state_errors(Bench()).verdict == "holds"
    alike = dict.fromkeys(paper.MAPS, (True, paper.WHOLE))
    monkeypatch.setattr(paper, "MAPS", alike)
    assert paper.state_errors(Bench()).verdict == "cannot be checked here"
    monkeypatch.setattr(paper, "MAPS", alike | {"dynamic, whole tensor": (False, 256)})
    assert paper.state_errors(Bench()).verdict == "does not hold here"


def test_state_in_eight_bits_takes_a_quarter_and_the_scales(monkeypatch):
    found = paper.memory_saved(Bench())
    assert found.verdict == "holds"
    n = 89_382_480 // 8  # parameters of ResNet-18 for one channel and ten classes
    assert rf.nn.resnet18(channels=1).parameter_total() == n
    assert 0.74 < found.numbers["saved"][2] < 0.75
    monkeypatch.setattr(EightBit, "nbytes", property(lambda state: 4 * state.codes.size))
    assert paper.memory_saved(Bench()).verdict == "does not hold here"


CHECKS = (  # a claim, the states that must lose for it to hold, and states that make it fail
    (paper.parity, (), ("dynamic, blocks",)),
    (paper.dynamic_needed, ("linear", "linear, blocks"), ()),
    (paper.dynamic_needed, ("linear", "linear, blocks"), ("linear", "linear, blocks", "dynamic, blocks")),
    (paper.blocks_needed, ("dynamic",), ("dynamic, blocks",)),
    (paper.stable_helps, ("linear", "linear, blocks"), ("linear, stable", "linear, blocks, stable")),
)


@pytest.mark.parametrize(("check", "holds", "fails"), CHECKS)
def test_what_trains_well_decides(check, holds, fails, monkeypatch):
    for losing, verdict in ((holds, "holds"), (fails, "does not hold here")):

        def train(network, optimizer, state, block, least, stable, epochs, seed, losing=losing):
            loses = (state, block, least, stable) in [paper.STATES[name] for name in losing]
            return 0.1 + 0.01 * (seed % 3) + (0.2 if loses else 0.0)

        monkeypatch.setattr(paper, "train", train)
        assert check(Bench(quick=True)).verdict == verdict
