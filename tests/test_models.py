"""The networks: PEPPP's ResNet-18 to the last parameter and output, and all of them train."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.data import Task
from refimpl.peppp.configs import Configuration
from refimpl.peppp.memory import count


def task(shape, classes=10, images=32, whole=False):
    rng = np.random.default_rng(0)
    pixels = rng.random((images, *shape), np.float32)
    labels = np.arange(images) % classes
    return Task("random", pixels, labels, pixels, labels, classes=classes, images_from="random")


@pytest.mark.parametrize("classes", [5, 10, 100])
def test_resnet18_has_the_paper_s_number_of_parameters(classes):
    """11,168,832 + 513 C, and 11,173,962 for ten classes."""
    assert rf.nn.resnet18(classes=classes).parameter_total() == 11_168_832 + 513 * classes
    assert rf.nn.resnet18().parameter_total() == 11_173_962


@pytest.mark.parametrize(("size", "outputs"), [(32, 3_575_326), (64, 14_299_678)])
def test_resnet18_s_forward_calls_have_the_outputs_the_paper_counts(size, outputs):
    """A / B, the elements every forward call makes of one image; the network's own are C."""
    walked = rf.nn.resnet18().walk((size, size, 3))
    assert sum(int(np.prod(shape)) for _, _, shape in walked) + 10 == outputs


@pytest.mark.parametrize(
    ("low", "high", "size", "classes", "megabytes"),
    [
        ("e3m1", "e6m7", 32, 10, 180.509933),
        ("e5m3", "e8m11", 32, 10, 311.003357),
        ("e3m1", "e6m7", 32, 5, 180.498932),
        ("e3m1", "e6m7", 64, 100, 590.301819),
        ("e5m3", "e8m11", 64, 100, 1048.385010),
    ],
)
def test_resnet18_s_memory_is_the_released_matrix_s(low, high, size, classes, megabytes):
    """PEPPP's memory matrix, rows 0, 1 and 21; released in float32, 1.4e-7 relative."""
    network = rf.nn.resnet18(classes=classes)
    found = count(network, (size, size, 3), Configuration(low, high), batch_size=32).total_mb
    assert found == pytest.approx(megabytes, rel=2e-7)


def test_the_order_of_a_block_s_calls_is_the_paper_s():
    block = rf.nn.blocks.basic_block(16, 32, stride=2)
    kinds = [type(layer).__name__ for _, layer, _ in block.walk((8, 8, 16))]
    main = ["Convolution", "Round", "BatchNorm", "ReLU", "Round"] * 2
    assert kinds == [*main, "Convolution", "BatchNorm", "Round", "Round", "Residual"]


MODELS = {
    "mlp": (lambda: rf.nn.mlp(), (8, 8, 1)),
    "cnn": (lambda: rf.nn.cnn(), (8, 8, 1)),
    "lenet": (lambda: rf.nn.lenet(size=8), (8, 8, 1)),
    "vgg": (lambda: rf.nn.vgg(), (8, 8, 3)),
    "resnet8": (lambda: rf.nn.resnet8(), (8, 8, 3)),
    "resnet14": (lambda: rf.nn.resnet14(), (8, 8, 3)),
    "transformer": (lambda: rf.nn.transformer(), (8, 8, 1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_network_learns_thirty_two_images_by_heart_in_float32(name):
    make, shape = MODELS[name]
    settings = {"optimizer": rf.nn.Adam(), "learning_rate": 0.003} if name == "transformer" else {}
    history = rf.nn.fit(make(), task(shape), epochs=40, batch_size=8, **settings).history
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]


@pytest.mark.parametrize("name", MODELS)
def test_every_network_takes_a_low_precision_step_and_its_parameters_are_counted(name):
    make, shape = MODELS[name]
    model = make()
    rf.nn.fit(model, task(shape), epochs=1, precision=rf.Precision(low="e4m3", high="e8m7"))
    assert sum(t.data.size for t in model.tensors()) == model.parameter_total()
    walked = {name for name, _, _ in model.walk(shape)}
    assert walked and all(layer.name for layer in model.every_layer()[1:])
    for tensor in model.tensors():
        assert np.array_equal(tensor.data, rf.quantize(tensor.data, "e4m3"))


@pytest.mark.parametrize("size", [8, 16, 32, 64])
@pytest.mark.parametrize("make", [rf.nn.resnet8, rf.nn.resnet14])
def test_residual_networks_take_a_low_precision_step_on_images_of_every_size(make, size):
    model = make()
    few = task((size, size, 3), classes=10, images=10)
    result = rf.nn.fit(model, few, epochs=1, batch_size=10, precision=rf.nn.presets.peppp())
    assert not result.diverged
    last = [shape for name, _, shape in model.walk((size, size, 3)) if "Residual" in name][-1]
    assert last == (size // 4, size // 4, 64)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [None, rf.Precision(low="e4m3", high="e8m7")])
@pytest.mark.parametrize("make", [rf.nn.vgg11, rf.nn.resnet18])
def test_the_large_networks_take_a_step_on_a_batch_of_32(make, precision):
    model = make()
    result = rf.nn.fit(model, task((32, 32, 3)), epochs=1, precision=precision)
    assert not result.diverged and np.isfinite(result.history[0]["loss"])
    assert sum(t.data.size for t in model.tensors()) == model.parameter_total()


def test_the_transformer_reads_tokens_too():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 20, (64, 8))
    labels = tokens[:, 0] % 2

    class Words:
        name, classes = "words", 2
        train_images = test_images = tokens.astype(np.float32)
        train_labels = test_labels = labels

    model = rf.nn.transformer(words=20, classes=2, blocks=1)
    result = rf.nn.fit(model, Words, epochs=30, batch_size=16, optimizer=rf.nn.Adam(), learning_rate=0.005)
    assert result.test_error < 0.1


def test_tokens_the_table_does_not_have_are_refused():
    layer = rf.nn.attention.Embedding(4, 3)
    layer.initialize(np.random.default_rng(0))
    with pytest.raises(ValueError, match="got the token 4.0; allowed is an integer from 0 to 3"):
        layer(rf.autodiff.Tensor(np.array([[1.0, 4.0]])), None)


@pytest.mark.parametrize("wrong", [20.0, -1.0, 0.5])
@pytest.mark.parametrize("part", ["train_images", "test_images"])
def test_tokens_that_are_not_rows_are_refused_before_training(part, wrong):
    class Words:
        name, classes = "words", 2
        train_images = np.zeros((64, 8), np.float32)
        test_images = np.zeros((64, 8), np.float32)
        train_labels = test_labels = np.arange(64) % 2

    getattr(Words, part)[-1, -1] = wrong
    trained = []
    with pytest.raises(ValueError, match=f"layer '0 Embedding'.*got the token {wrong}"):
        rf.nn.fit(rf.nn.transformer(words=20, classes=2), Words, watch=lambda *at: trained.append(at))
    assert not trained


@pytest.mark.parametrize("rule", ["peppp", "he", "xavier", "pytorch"])
def test_initial_weights_have_the_variance_of_their_rule(rule):
    """With fan_in 9*16, fan_out 9*32: 2/fan_out, 2/fan_in, 2/(fan_in + fan_out), 1/(3 fan_in)."""
    drawn = rf.nn.initializers.draw(rule, (3, 3, 16, 3200), np.random.default_rng(0))
    fan_in, fan_out = 9 * 16, 9 * 3200
    variance = {"peppp": 2 / fan_out, "he": 2 / fan_in, "xavier": 2 / (fan_in + fan_out), "pytorch": 1 / (3 * fan_in)}[
        rule
    ]
    assert drawn.var() == pytest.approx(variance, rel=0.01) and drawn.dtype == np.float32


def test_residual_branches_that_do_not_fit_are_refused():
    from refimpl.nn.layers import Convolution, Sequential

    block = rf.nn.blocks.Residual(Sequential([Convolution(4, 8)]))
    with pytest.raises(ValueError, match=r"main makes \(5, 5, 8\).*skip \(5, 5, 4\)"):
        block.output_shape((5, 5, 4))
