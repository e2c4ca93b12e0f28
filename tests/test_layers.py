"""Batch norm's running statistics, evaluation by them, and initial weights: PyTorch's definitions by hand."""

import math

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.nn.attention import Attention, Embedding, MeanOfTokens, Positions
from refimpl.nn.layer import Pass
from refimpl.nn.layers import BatchNorm, Convolution, Dropout, Linear, ReLU, Round, Sequential
from refimpl.nn.rounder import Rounder

NOTHING = Rounder(rf.nn.presets.float32(), 0)


def sequence(*layers):
    model = Sequential(list(layers))
    model.initialize(np.random.default_rng(0))
    return model


def test_running_statistics_move_a_tenth_of_the_way_to_the_batch_s_unbiased_ones():
    """Two channels, four pixels: 1 2 3 6 has mean 3, variance 14/3 (unbiased); 0 0 0 8 mean 2, 16.

    From 0 and 1: .9 * 0 + .1 * 3 = .3, .9 * 1 + .1 * 14/3; again with the second batch.
    """
    model = sequence(BatchNorm(2), ReLU())
    norm, run = model.layers[0], Pass(NOTHING, training=True)
    first = np.array([[[[1, 10]], [[2, 10]]], [[[3, 10]], [[6, 10]]]], np.float32)
    second = np.array([[[[0, -5]], [[0, -5]]], [[[0, 5]], [[8, 5]]]], np.float32)
    model(Tensor(first), run)
    assert norm.mean == pytest.approx([0.3, 1.0], rel=1e-6)
    assert norm.variance == pytest.approx([0.9 + 0.1 * 14 / 3, 0.9], rel=1e-6)
    model(Tensor(second), run)
    assert norm.mean == pytest.approx([0.9 * 0.3 + 0.1 * 2, 0.9], rel=1e-6)
    assert norm.variance == pytest.approx([0.9 * (0.9 + 0.1 * 14 / 3) + 0.1 * 16, 0.9 * 0.9 + 0.1 * 100 / 3], rel=1e-6)


def test_training_normalizes_by_the_batch_s_biased_variance():
    """1 2 3 6: mean 3, variance 14/4."""
    x = np.array([1, 2, 3, 6], np.float32).reshape(4, 1, 1, 1)
    y = sequence(BatchNorm(1))(Tensor(x), Pass(NOTHING, training=True))
    expected = (np.array([1.0, 2, 3, 6]) - 3) / math.sqrt(14 / 4 + 1e-5)
    assert y.data.ravel() == pytest.approx(expected, rel=1e-6)


def test_evaluation_goes_by_the_running_statistics_and_leaves_them_alone():
    model = sequence(BatchNorm(1))
    norm = model.layers[0]
    norm.mean, norm.variance = np.array([2], np.float32), np.array([9], np.float32)
    norm.parameters["scale"].data[:], norm.parameters["shift"].data[:] = 6, 1
    x = np.array([-1, 2, 8], np.float32).reshape(3, 1, 1, 1)
    run = Pass(NOTHING, training=False)
    assert model(Tensor(x), run).data.ravel() == pytest.approx([-5, 1, 13], abs=1e-4)
    assert model(Tensor(x[2:]), run).data.ravel() == pytest.approx([13], abs=1e-4)
    assert norm.mean == [2] and norm.variance == [9]


def convolved(x, weight, stride):
    """Cross-correlate in float64 with one zero around the border."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwcij,ijcf->nhwf", windows, weight)


def test_the_test_error_is_that_of_the_network_written_out_with_running_statistics():
    task, model = rf.data.load("digits"), rf.nn.cnn()
    found = rf.nn.fit(model, task, epochs=1).test_error
    wide = [t.data.astype(np.float64) for t in model.tensors()]
    w1, scale1, shift1, w2, scale2, shift2, w, b = wide
    norms = [layer for layer in model.layers if isinstance(layer, BatchNorm)]

    def error(statistics):
        x = task.test_images.astype(np.float64)
        for norm, weight, stride, scale, shift in zip(
            norms, (w1, w2), (1, 2), (scale1, scale2), (shift1, shift2), strict=True
        ):
            x = convolved(x, weight, stride)
            mean, variance = statistics(norm, x)
            x = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0)
        logits = x.mean(axis=(1, 2)) @ w + b
        return float(np.mean(logits.argmax(axis=1) != task.test_labels))

    assert found == error(lambda norm, x: (norm.mean, norm.variance))
    assert found != error(lambda norm, x: (x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))))


def deviation(layer):
    layer.initialize(np.random.default_rng(1))
    weight = layer.parameters["weight"].data.astype(np.float64)
    return weight.std(), 4 / math.sqrt(2 * weight.size)  # of a normal deviate, four standard errors


@pytest.mark.parametrize(
    ("layer", "variance"),
    [
        (Convolution(16, 64), 2 / (3 * 3 * 64)),
        (Convolution(64, 16, size=1, padding=0), 2 / 16),
        (Convolution(16, 64, initializer="he"), 2 / (3 * 3 * 16)),
        (Convolution(16, 64, size=5, initializer="he"), 2 / (5 * 5 * 16)),
        (Convolution(16, 64, groups=4, initializer="he"), 2 / (3 * 3 * 4)),
        (Convolution(16, 64, groups=4), 2 / (3 * 3 * 64)),
        (Convolution(16, 64, initializer="xavier"), 2 / (3 * 3 * (16 + 64))),
        (Linear(100, 400), 1 / (3 * 100)),
        (Linear(100, 400, initializer="he"), 2 / 100),
        (Linear(100, 400, initializer="xavier"), 2 / 500),
    ],
)
def test_initial_weights_vary_as_pytorch_s_fans_say(layer, variance):
    """fan_in = inputs of a group x area, fan_out = filters x area (of all groups).

    kaiming_normal_ 2 / fan, xavier 2 / (fan_in + fan_out), Linear's own +-1 / sqrt(fan_in): 1 / (3 fan_in).
    """
    found, allowed = deviation(layer)
    assert found == pytest.approx(math.sqrt(variance), rel=allowed)


def test_a_linear_layer_s_weights_and_biases_fill_one_over_root_inputs():
    layer = Linear(100, 400)
    layer.initialize(np.random.default_rng(1))
    for tensor in layer.parameters.values():
        assert 0.098 < abs(tensor.data).max() <= 0.1 and abs(tensor.data.mean()) < 0.01
    assert abs(layer.parameters["bias"].data.std() / (0.1 / math.sqrt(3)) - 1) < 0.1
    other = Linear(100, 400, initializer="he")
    other.initialize(np.random.default_rng(1))
    assert not other.parameters["bias"].data.any()


def test_the_paper_s_networks_draw_every_filter_by_its_outputs():
    """PEPPP's code: N(0, sqrt(2 / (k k Cout))), the 1x1 ones of the shortcuts too; batch norm 1 and 0."""
    model = rf.nn.resnet14()
    model.initialize(np.random.default_rng(2))
    filters = 0
    for layer in model.every_layer():
        tensors = {name: t.data for name, t in layer.parameters.items()}
        if isinstance(layer, Convolution):
            size, _, _, outputs = tensors["weight"].shape
            expected = math.sqrt(2 / (size * size * outputs))
            allowed = 5 / math.sqrt(2 * tensors["weight"].size)
            assert tensors["weight"].std() == pytest.approx(expected, rel=allowed)
            filters += 1
        elif isinstance(layer, BatchNorm):
            assert (tensors["scale"] == 1).all() and (tensors["shift"] == 0).all()
            assert (layer.mean == 0).all() and (layer.variance == 1).all()
    assert filters == 1 + 2 * 6 + 2


def test_a_rounding_point_between_joined_layers_does_not_change_the_running_statistics_format():
    """They are never rounded: 1/3 of the way stays float32."""
    policy = rf.Precision(low="e3m1", high="e6m7", rounding="ties_to_even")
    model = sequence(Round("activation"), BatchNorm(1), ReLU(), Round("activation"))
    x = np.array([1, 2, 3, 6], np.float32).reshape(4, 1, 1, 1)  # all on the grid of e3m1
    model(Tensor(x), Pass(Rounder(policy, 0), training=True))
    assert model.layers[1].mean == pytest.approx([0.3], rel=1e-6)
    assert model.layers[1].variance == pytest.approx([0.9 + 1.4 / 3], rel=1e-6)


def test_a_layer_s_state_stays_as_it_was_when_training_goes_on_and_can_be_put_back_twice():
    layer, run = sequence(BatchNorm(1)).layers[0], Pass(NOTHING, training=True)
    x = Tensor(np.array([[1.0], [5.0]], np.float32))
    layer(x, run)
    kept = layer.state()
    for _ in range(2):
        layer.load_state(kept)
        assert layer.mean == pytest.approx([0.3])
        layer(x, run)
        assert layer.mean == pytest.approx([0.57]) and kept["mean"] == pytest.approx([0.3])


def test_a_network_has_the_layers_that_a_generator_gives():
    assert Sequential(Linear(8, 8) for _ in range(3)).parameter_total() == 3 * 72


def test_dropout_keeps_the_mean_in_training_and_everything_in_evaluation():
    layer = sequence(Dropout(0.25)).layers[0]
    x = Tensor(np.ones((200, 500), np.float32), requires_grad=True)
    y, again = (layer(x, Pass(NOTHING, training=True)) for _ in range(2))
    kept = y.data != 0
    assert set(np.unique(y.data)) == {0, np.float32(1) / np.float32(0.75)}
    assert kept.mean() == pytest.approx(0.75, abs=5 * math.sqrt(0.75 * 0.25 / 1e5))
    assert not np.array_equal(kept, again.data != 0)
    y.sum().backward()
    assert np.array_equal(x.grad, y.data)
    assert layer(x, Pass(NOTHING, training=False)) is x


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("exact", [False, True])
def test_a_grouped_convolution_is_one_for_each_group_of_channels(groups, exact):
    layer = sequence(Convolution(4, 8, groups=groups, stride=2)).layers[0]
    x = np.random.default_rng(1).standard_normal((2, 5, 6, 4)).astype(np.float32)
    whole = layer(Tensor(x), Pass(NOTHING, training=True, exact=exact)).data
    weight, c, f = layer.parameters["weight"].data, 4 // groups, 8 // groups
    for g in range(groups):
        part = sequence(Convolution(c, f, stride=2)).layers[0]
        part.parameters["weight"] = Tensor(weight[..., g * f : (g + 1) * f])
        alone = part(Tensor(x[..., g * c : (g + 1) * c]), Pass(NOTHING, training=True, exact=exact))
        assert np.array_equal(whole[..., g * f : (g + 1) * f], alone.data)


def test_attention_sums_exactly_where_it_is_asked_to():
    """To nearest, its float32 products rounded once from float64 are those of exact_sums alone."""
    layer = sequence(Attention(64, 1)).layers[0]
    x = Tensor(np.random.default_rng(3).standard_normal((2, 48, 64)).astype(np.float32))
    seen = {}

    def look(name, exact):
        rounder = Rounder(rf.nn.presets.float32(), 0)
        rounder.watch = lambda product: seen.setdefault((name, exact), []).append(product)
        return layer(Tensor(x.data, requires_grad=True), Pass(rounder, training=True, exact=exact))

    for exact in (False, True):
        look("", exact).sum().backward()
    for product in seen["", True]:
        a, b = (product.tensors[role] for role in ("left operand", "right operand"))
        assert product.options["exact"]
        once = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)
        assert np.array_equal(product.multiply(Tensor(a), Tensor(b), exact=True).data, once)
    assert len(seen["", True]) == 6 and not any(q.options["exact"] for q in seen["", False])


def test_attention_weighs_values_by_the_scaled_products_of_queries_and_keys():
    """Vaswani et al. (1706.03762), equation 1, head after head in float64."""
    layer = sequence(Attention(6, 2)).layers[0]
    x = np.random.default_rng(2).standard_normal((3, 5, 6)).astype(np.float32)
    found = layer(Tensor(x), Pass(NOTHING, training=True)).data
    weight, bias = (
        [part.parameters[name].data.astype(np.float64) for part in (*layer.projections, layer.output)]
        for name in ("weight", "bias")
    )
    for one, of_one in zip(x.astype(np.float64), found, strict=True):
        q, k, v = (one @ w + b for w, b in zip(weight[:3], bias[:3], strict=True))
        heads = []
        for head in (np.s_[:, :3], np.s_[:, 3:]):
            weights = np.exp(q[head] @ k[head].T / math.sqrt(3))
            heads.append(weights / weights.sum(axis=1, keepdims=True) @ v[head])
        expected = np.concatenate(heads, axis=1) @ weight[3] + bias[3]
        np.testing.assert_allclose(of_one, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (rf.nn.cnn(channels=3), (8, 8, 1), r"layer '1 Convolution', Convolution\(channels=3.*got shape \(8, 8, 1\)"),
        (rf.nn.resnet8(channels=3), (8, 8, 3, 1), r"layer '1 Convolution'.*got shape \(8, 8, 3, 1\)"),
        (rf.nn.vgg11(channels=1), (8, 8, 1), r"layer '.* MaxPool', MaxPool\(size=2\): .*got shape \(1, 1, 512\)"),
        (Sequential([Attention(4, 2)]), (8, 8, 4), r"layer '0 Attention'.*sequences.*got shape \(8, 8, 4\)"),
        (rf.nn.transformer(), (9, 8, 1), r"layer '3 Positions'.*takes \(8, 32\), got shape \(9, 32\)"),
    ],
)
def test_of_layers_alike_the_one_that_does_not_fit_is_named_by_its_place(model, shape, message):
    with pytest.raises(ValueError, match=message):
        model.output_shape(shape)


def test_no_two_layers_of_a_transformer_are_drawn_alike():
    model = rf.nn.transformer(features=32, hidden=32, inputs=32)
    model.initialize(np.random.default_rng(0))
    drawn = [t.data for _, name, t in model.named_tensors() if name == "weight" and t.data.ndim == 2]
    assert len(drawn) == 2 + 2 * 6 + 1
    assert len({array.tobytes() for array in drawn}) == len(drawn)


def test_embeddings_and_positions_vary_as_they_say():
    """N(0, 1) / sqrt(features), and N(0, .02^2)."""
    for layer, expected in ((Embedding(500, 64), 1 / 8), (Positions(500, 64), 0.02)):
        found, allowed = deviation(layer)
        assert found == pytest.approx(expected, rel=allowed)


def test_the_mean_of_tokens_is_over_places():
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    assert MeanOfTokens()(Tensor(x), Pass(NOTHING, training=True)).data.tolist() == [[2, 3], [8, 9]]


def test_an_image_of_which_a_network_makes_nan_is_classified_wrongly():
    rows = np.array([[np.nan, 1], [1, 0], [0, 1], [np.nan, np.nan]], np.float32)

    def network(images, run):
        return Tensor(rows[: len(images.data)])

    images, labels = np.zeros((4, 8, 8, 1), np.float32), np.array([0, 0, 1, 0])
    assert rf.nn.training.error(network, images, labels, NOTHING, layer_by_layer=True) == 0.5
    rows[:] = np.nan
    assert math.isnan(rf.nn.training.error(network, images, labels, NOTHING, layer_by_layer=True))


def test_more_test_images_than_are_evaluated_at_once_are_all_evaluated():
    model = rf.nn.cnn()
    model.initialize(np.random.default_rng(0))
    images = np.random.default_rng(1).random((1025, 8, 8, 1), np.float32)  # 512, 512 and 1
    fast, slow = (rf.nn.training.logits(model, images, NOTHING, layer_by_layer=p) for p in (False, True))
    assert fast.shape == (1025, 10) and np.array_equal(fast, slow)
    assert np.array_equal(fast[1024:], rf.nn.training.logits(model, images[1024:], NOTHING))
