"""Memory is counted from the layers and obeys the paper's formula."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.nn import Precision, transformer
from refimpl.nn.layer import Pass
from refimpl.nn.rounder import Rounder
from refimpl.peppp.configs import CONFIGURATIONS, Configuration, configuration
from refimpl.peppp.memory import KINDS, MIXED_PRECISION, count
from refimpl.peppp.sweeping.cell import Settings, memory_of


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


def test_vgg_11_is_counted_as_by_hand():
    """(filters, height and width) of its eight convolutions; five of them feed a pool."""
    convolutions = [(64, 32), (128, 16), (256, 8), (256, 8), (512, 4), (512, 4), (512, 2), (512, 2)]
    pools = [(64, 16), (128, 8), (256, 4), (512, 2), (512, 1)]
    channels = [3, *(filters for filters, _ in convolutions)]
    parameters = sum(9 * a * b + 2 * b for a, b in zip(channels[:-1], channels[1:], strict=True))
    parameters += 512 * 10 + 10
    # input's rounding; conv, round, bn, relu, round; pools; average; linear, its rounding; all
    outputs = 3 * 32**2 + 5 * sum(f * r * r for f, r in convolutions)
    outputs = 32 * (outputs + sum(f * r * r for f, r in pools) + 512 + 3 * 10)
    low, high = parameters + 2 * (outputs - 320), 2 * parameters + 32 * 3 * 32**2 + 2 * 320
    c = Configuration("e4m3", "e8m7")
    counted = count(rf.nn.vgg11(), (32, 32, 3), c)
    assert counted.total_mb == pytest.approx((low * 8 + high * 16) / 2**23, rel=1e-12)
    assert counted.by_kind()["weights"] == parameters


def test_an_mlp_in_mixed_precision_needs_twelve_bytes_a_parameter():
    """Two for the weight, two for its gradient, four for the master weight, four for momentum."""
    parameters = 64 * 256 + 256 + 256 * 32 + 32 + 32 * 10 + 10
    network = rf.nn.mlp(widths=(256, 32))
    kinds = count(network, (8, 8, 1), MIXED_PRECISION, accounting="needed").by_kind()
    assert [kinds[k] / parameters for k in ("weights", "weight gradients", "master weights", "momentum")] == [
        2,
        2,
        4,
        4,
    ]


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
    memory = memory_of(rf.data.load("digits"), CONFIGURATIONS, Settings()).reshape(11, 9)
    bits = np.array([[c.low_bits + 1j * c.high_bits for c in CONFIGURATIONS]]).reshape(11, 9)
    for i in range(11):
        order = np.argsort(bits[i].imag, kind="stable")
        assert (np.diff(memory[i][order]) >= 0).all()
    assert len(np.unique(memory)) == 35  # as in the released matrix: 5 low by 7 high widths


def options(**kinds):
    return count(rf.nn.cnn(), (8, 8, 1), Configuration("e4m3", "e8m7"), **kinds)


def test_what_is_needed_is_less_than_what_the_paper_counts_and_no_activation_is_held_twice():
    paper, needed = options(), options(accounting="needed")
    assert needed.total_mb < paper.total_mb
    held = [item for item in needed.items if item.kind == "activations"]
    # by hand, batch 32: stem conv 16x8x8 (high), its sign, its rounding; second conv's rounding
    # 32x4x4, sign, rounding; pool 32; logits 10 (high)
    assert [(i.elements // 32, i.bits) for i in held] == [
        (1024, 16),
        (1024, 1),
        (1024, 8),
        (512, 8),
        (512, 1),
        (512, 8),
        (32, 8),
        (10, 16),
    ]
    gradients = [item for item in needed.items if item.kind == "activation gradients"]
    assert [(i.layer, i.elements // 32) for i in gradients] == [("2 BatchNorm", 2048)]


def test_each_optimizer_remembers_its_numbers_of_every_parameter():
    parameters = 5178  # of the small network, in bytes at 8 bits each
    for optimizer, kept in (("sgd", 0), ("momentum", 1), ("adam", 2)):
        for accounting in ("paper", "needed"):
            kinds = options(optimizer=optimizer, accounting=accounting).by_kind()
            state = kinds["momentum"] + kinds.get("second moment", 0)
            assert state == kept * parameters * 2
    eight = options(optimizer="adam", state_bits=8).by_kind()
    assert eight["momentum"] == eight["second moment"]
    assert eight["momentum"] == pytest.approx(parameters * (1 + 4 / 2048), rel=1e-12)


def test_checkpointing_keeps_every_kth_activation_and_the_largest_stretch():
    def held(**more):
        memory = options(accounting="needed", **more)
        return sum(item.bytes for item in memory.items if item.kind == "activations")

    sizes = [1024 * 16, 1024, 1024 * 8, 512 * 8, 512, 512 * 8, 32 * 8, 10 * 16]  # bits per image
    for k in (1, 2, 3, 4, 8, 20):
        parts = [sizes[i : i + k] for i in range(0, 8, k)]
        kept = sum(p[-1] for p in parts) + max(sum(p[:-1]) for p in parts)
        assert held(checkpoint_every=k) == (kept if k > 1 else sum(sizes)) * 32 / 8
    assert held(checkpoint_every=3) < held()
    assert options(checkpoint_every=4).total_mb < options().total_mb


def test_a_layer_called_twice_has_its_parameters_once_and_its_outputs_twice():
    class Twice:
        def walk(self, shape):
            for name in ("first", "second"):
                yield name, self, shape

        def parameter_count(self):
            return 100

    memory = count(Twice(), (10,), Configuration("e4m3", "e8m7"), batch_size=1)
    assert memory.by_kind()["weights"] == 100
    assert memory.by_kind()["activations"] == 10 + 10 + 20


def test_a_transformer_holds_the_inputs_of_its_gelus_and_what_softmax_makes():
    """Both are no rounding point's, and their derivatives read them: 2 blocks, 32 images of 8 places.

    GELU: 8 x 64 numbers of 16 bits (65,536 bytes); softmax: 4 heads x 8 x 8 (32,768 bytes).
    """
    memory = count(transformer(), (8, 8, 1), configuration("e4m3+e8m7"), batch_size=32, accounting="needed")
    of = {
        name: size for name, size in memory.by_layer_and_kind().items() if "GELU" in name or name.endswith("Attention")
    }
    held = {name: kinds["activations"] for name, kinds in of.items()}
    assert sorted(held.values()) == [16384, 16384, 32768, 32768]
    assert sum(item.bytes for item in memory.items) == 335_100 + 65_536 + 32_768


def test_what_the_layers_state_is_what_their_derivatives_hold():
    """Walk the closures of a transformer's backward pass: arrays of these sizes are there, unrounded."""
    model = transformer()
    model.initialize(np.random.default_rng(0))
    rounder = Rounder(Precision(low="e4m3", high="e8m7"), 0)
    output = model(Tensor(np.random.default_rng(1).random((32, 8, 8, 1), np.float32)), Pass(rounder, training=True))
    seen, arrays, stack = set(), {}, [output]
    while stack:
        tensor = stack.pop()
        if id(tensor) not in seen:
            seen.add(id(tensor))
            stack.extend(tensor._parents)
            for cell in getattr(tensor._vjp, "__closure__", None) or ():
                if isinstance(cell.cell_contents, np.ndarray):
                    arrays.setdefault(tensor._vjp.__qualname__.split(".")[0], []).append(cell.cell_contents)
    assert {a.shape for a in arrays["gelu"] if a.ndim} == {(32, 8, 64)}
    assert {a.shape for a in arrays["softmax"]} == {(32, 4, 8, 8)}
    assert len({id(a) for a in arrays["softmax"]}) == 2
