"""The lemma of tolerance, and the bound on a network's rounding error: looked for counterexamples."""

from fractions import Fraction

import numpy as np
import pytest

import refimpl as rf
from refimpl.nn import Precision, attention, blocks, layers
from refimpl.nn.blocks import Residual, basic_block
from refimpl.nn.rounder import Rounder
from refimpl.nn.training import logits
from refimpl.numerics import certify, floating_point_error, probabilities, tolerance
from refimpl.numerics.rounding_error import forward_error_bound
from refimpl.numerics.tolerance import _largest_difference, cast

DIGITS = rf.data.load("digits")
F = np.float32
FORMATS = {  # policy: (format, rounding, overflow)
    "float16": ("float16", "ties_to_even", "overflow"),
    "bfloat16": ("bfloat16", "ties_to_even", "overflow"),
    "float16, stochastic": ("float16", "stochastic", "overflow"),
    "e5m2, toward zero": ("e5m2", "toward_zero", "saturate"),
    "e3m2, saturating": ("e3m2", "ties_to_even", "saturate"),
    "e4m3, odd": ("float8_e4m3fn", "to_odd", "overflow"),
    "no subnormals": (
        rf.FloatFormat(exponent_bits=4, mantissa_bits=5, has_subnormals=False),
        "ties_to_even",
        "saturate",
    ),
}


def policy(name):
    if name == "float32":
        return Precision(loss_scale=1.0)
    fmt, rounding, overflow = FORMATS[name]
    return Precision(low=fmt, high=fmt, rounding=rounding, overflow=overflow, loss_scale=1.0)


# -- the lemma ------------------------------------------------------------------------------


def pairs(seed, n=200_000, classes=5):
    """Outputs of two networks, the second as far from the first as makes the lemma hard."""
    rng = np.random.default_rng(seed)
    first = rng.dirichlet(np.ones(classes), n)
    delta = tolerance(first) / 2 * rng.choice([0.5, 0.999, 1.001, 2.0], n)
    moves = rng.choice([-1, 1], (n, classes)) * delta[:, np.newaxis]
    worst = rng.random(n) < 0.5  # the leader down, all the others up
    moves[worst] = delta[worst, np.newaxis]
    moves[np.flatnonzero(worst), first[worst].argmax(axis=1)] *= -1
    return first, first + moves


@pytest.mark.parametrize("seed", range(3))
def test_a_tolerance_above_twice_the_error_implies_the_same_class(seed):
    first, second = pairs(seed)
    certain = tolerance(first) > 2 * floating_point_error(first, second)
    assert 0.3 < certain.mean() < 0.9
    assert (first.argmax(axis=1) == second.argmax(axis=1))[certain].all()


def test_a_tolerance_a_hair_below_twice_the_error_does_not_imply_it():
    first, second = np.array([[0.6, 0.4]]), np.array([[0.4999, 0.5001]])
    assert 1.99 < tolerance(first)[0] / floating_point_error(first, second)[0] < 2
    assert first.argmax() != second.argmax()
    first, second = pairs(9)
    nearly = tolerance(first) > 1.98 * floating_point_error(first, second)
    assert (first.argmax(axis=1) != second.argmax(axis=1))[nearly].any()


def test_with_equality_the_second_network_may_tie():
    first, second = np.array([[0.75, 0.25]]), np.array([[0.5, 0.5]])
    assert tolerance(first) == 2 * floating_point_error(first, second)


def test_outputs_that_are_not_finite_certify_nothing():
    first = np.array([[0.9, 0.1], [np.nan, 0.5], [0.9, 0.1]])
    second = np.array([[np.nan, 0.1], [0.4, 0.5], [np.inf, 0.1]])
    assert np.isinf(floating_point_error(first, second)).all()
    assert tolerance(first)[1] == 0


# -- the bound ------------------------------------------------------------------------------


def networks(rng):
    """Small networks of every kind of layer that has a bound."""
    yield [
        layers.Round("input"),
        layers.Flatten(),
        layers.Linear(72, 9),
        layers.ReLU(),
        layers.Round("activation"),
        layers.Dropout(),
        layers.Linear(9, 3),
        layers.Round("logits"),
    ]
    yield [
        layers.Round("input"),
        layers.Convolution(2, 4),
        layers.BatchNorm(4),
        layers.ReLU(),
        layers.Round("activation"),
        layers.Convolution(4, 6, stride=2, groups=2),
        layers.Round("activation"),
        layers.MaxPool(),
        layers.AveragePool(),
        layers.Linear(6, 3),
        layers.Round("logits"),
    ]
    yield [
        layers.Round("input"),
        layers.Convolution(2, 4),
        basic_block(4, 5, stride=2),
        layers.AveragePool(),
        layers.Linear(5, 3),
    ]


def hostile(rng, shape, scale):
    """Float32 numbers of many sizes and all signs, zeros among them, some beyond every format."""
    values = rng.standard_normal(shape) * scale * 2.0 ** rng.integers(-6, 4, shape)
    values[rng.random(shape) < 0.1] = 0
    return np.clip(values, -3e38, 3e38).astype(F)


def disturbed(model, rng, scale):
    model.initialize(rng)
    for layer, _, tensor in model.named_tensors():
        tensor.data = hostile(rng, tensor.shape, scale if "Linear" in layer else 0.3)
    for layer in model.every_layer():
        if isinstance(layer, layers.BatchNorm):
            layer.mean = hostile(rng, layer.mean.shape, 1)
            layer.variance = np.abs(hostile(rng, layer.variance.shape, scale)) ** 2
    return model


@pytest.mark.parametrize("name", ["float32", *FORMATS])
def test_no_network_and_no_image_is_off_by_more_than_the_bound(name):
    ratios, infinite = [], 0
    for trial in range(24):
        rng = np.random.default_rng(trial)
        for made in networks(rng):
            scale = 4.0 ** rng.integers(-9, 4)
            model = disturbed(layers.Sequential(made), rng, min(scale, 4))
            images = hostile(rng, (6, 6, 6, 2), scale)
            precision = policy(name)
            model = cast(model, precision, seed=trial)
            exact, bound = forward_error_bound(model, images, precision)
            with np.errstate(over="ignore", invalid="ignore"):
                found = logits(model, images, Rounder(precision, trial)).astype(float)
                off = np.abs(found - exact)
            assert not np.isnan(bound).any()
            assert ((off <= bound) | np.isinf(bound)).all()
            infinite += np.isinf(bound).mean() / 72
            known = np.isfinite(bound) & (bound > 0)
            ratios.append((off[known] / bound[known]).max(initial=0))
    assert infinite < 0.7  # it says something
    assert max(ratios) > (0.3 if name != "float32" else 0.05)  # and not far from what happens


def alone(kind):
    """One kind of layer, so that nothing else hides what it does."""
    made = {
        "sum": [Residual(layers.Sequential([layers.BatchNorm(2)]))],
        "norm": [layers.BatchNorm(2)],
        "mean": [layers.AveragePool()],
        "product": [layers.Convolution(2, 3)],
        "cancelling": [layers.Round("activation"), layers.Convolution(2, 3), layers.ReLU()],
        "ReLU": [layers.Round("activation"), layers.ReLU()],
    }
    return layers.Sequential([*made[kind], layers.Flatten()])


@pytest.mark.parametrize("name", ["float32", "bfloat16", "no subnormals"])
@pytest.mark.parametrize("kind", ["sum", "norm", "mean", "product", "cancelling", "ReLU"])
def test_no_layer_by_itself_is_off_by_more_than_the_bound(kind, name):
    """Numbers of ordinary size, so small that products underflow, so large that they overflow."""
    for trial, scale in enumerate([1.0, 2.0**-3, 2.0**-70, 2.0**-74, 2.0**-140, 2.0**61, 2.0**125]):
        rng = np.random.default_rng(trial)
        model, precision = disturbed(alone(kind), rng, min(scale, 2.0**30)), policy(name)
        for layer in model.every_layer():
            if isinstance(layer, layers.BatchNorm):
                layer.mean *= F(min(scale, 2.0**100))
                layer.parameters["scale"].data *= F(min(scale, 2.0**100))
                layer.parameters["shift"].data *= 0
            elif isinstance(layer, layers.Convolution):
                layer.parameters["weight"].data *= F(scale if scale < 2.0**100 else 2.0**-30)
        model = cast(model, precision)
        images = np.concatenate([hostile(rng, (40, 6, 6, 2), scale), np.full((1, 6, 6, 2), scale, F)])
        exact, bound = forward_error_bound(model, images, precision)
        with np.errstate(over="ignore", invalid="ignore"):
            off = np.abs(logits(model, images, Rounder(precision, trial)) - exact)
        assert ((off <= bound) | np.isinf(bound)).all(), scale


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "e3m2, saturating"])
def test_climbing_towards_the_bound_does_not_pass_it(name):
    """Change images step by step so that the error, as a share of the bound, grows."""
    rng, precision = np.random.default_rng(3), policy(name)
    model = layers.Sequential(next(networks(rng)))
    model.initialize(rng)
    model = cast(model, precision)

    def share(images):
        exact, bound = forward_error_bound(model, images, precision)
        with np.errstate(over="ignore", invalid="ignore"):
            return (np.abs(logits(model, images, Rounder(precision, 0)) - exact) / bound).max(axis=1)

    best = rng.random((64, 6, 6, 2), F)
    found = start = share(best)
    for _ in range(60):
        trial = best * (1 + (rng.random(best.shape) < 0.2) * rng.standard_normal(best.shape) * 0.1)
        trial = trial.astype(F)
        reached = share(trial)
        best[reached > found] = trial[reached > found]
        found = np.maximum(found, reached)
    assert found.max() <= 1
    assert found.mean() > 1.2 * start.mean()  # the search did search


def test_the_bound_holds_against_exact_fractions():
    """Linear, ReLU, Linear in float16, every sum of the reference a Fraction."""
    for trial in range(20):
        rng = np.random.default_rng(trial)
        scale = 2.0 ** rng.integers(-22, 8)
        model = layers.Sequential(
            [
                layers.Round("input"),
                layers.Flatten(),
                layers.Linear(4, 3),
                layers.ReLU(),
                layers.Round("activation"),
                layers.Linear(3, 2),
                layers.Round("logits"),
            ]
        )
        model.initialize(rng)
        precision = policy("float16")
        model = cast(model, precision)
        image = (rng.standard_normal((1, 2, 2, 1)) * scale).astype(F)
        x = [Fraction(float(v)) for v in image.reshape(-1)]
        for i in (2, 5):
            weight, bias = (model.layers[i].parameters[n].data for n in ("weight", "bias"))
            x = [
                sum((Fraction(float(w)) * v for w, v in zip(column, x, strict=True)), Fraction(float(b)))
                for column, b in zip(weight.T, bias, strict=True)
            ]
            x = [max(v, Fraction(0)) for v in x] if i == 2 else x
        _, bound = forward_error_bound(model, image, precision)
        computed = logits(model, image, Rounder(precision, 0))[0]
        for value, found, most in zip(x, computed, bound[0], strict=True):
            assert abs(Fraction(float(found)) - value) <= Fraction(float(most))


def test_the_bound_of_a_single_product_is_almost_reached():
    """One weight, rounded twice: the input halfway between two float16, then the product too."""
    model = layers.Sequential([layers.Round("input"), layers.Flatten(), layers.Linear(1, 2)])
    model.initialize(np.random.default_rng(0))
    model.layers[2].parameters["weight"].data = np.array([[1, 1]], F)
    model.layers[2].parameters["bias"].data = np.zeros(2, F)
    image = np.full((1, 1, 1, 1), 1 + 2.0**-11, F)
    exact, bound = forward_error_bound(model, image, policy("float16"))
    off = np.abs(logits(model, image, Rounder(policy("float16"), 0)) - exact)
    assert (0.999 * bound < off).all() and (off <= bound).all()


def test_what_overflows_only_because_of_an_earlier_rounding_has_no_bound():
    """Exactly, 65503.9; but the input is rounded up by almost 2^-11, and that makes 65535.75."""
    model = layers.Sequential([layers.Round("input"), layers.Flatten(), layers.Linear(1, 2), layers.Round("logits")])
    model.initialize(np.random.default_rng(0))
    model.layers[2].parameters["weight"].data = np.array([[65408, -65408]], F)
    model.layers[2].parameters["bias"].data = np.zeros(2, F)
    image = np.full((1, 1, 1, 1), 1 + 2.0**-10 + 1.003 * 2.0**-11, F)
    exact, bound = forward_error_bound(model, image, policy("float16"))
    assert (np.abs(exact) < 65504).all() and np.isinf(bound).all()
    assert np.isinf(logits(model, image, Rounder(policy("float16"), 0))).all()


def test_a_pool_s_leader_may_be_overtaken_by_a_less_certain_one():
    """1 leads 257.1 - 256.2; in bfloat16 that is 258 - 256, and leads 1."""
    model = layers.Sequential(
        [layers.Round("activation"), layers.Convolution(2, 1, size=1, padding=0), layers.MaxPool(), layers.Flatten()]
    )
    model.initialize(np.random.default_rng(0))
    model.layers[1].parameters["weight"].data = np.ones((1, 1, 2, 1), F)
    image = np.zeros((1, 2, 2, 2), F)
    image[0, 0, 0], image[0, 1, 1] = (1, 0), (257.1, -256.2)
    exact, bound = forward_error_bound(model, image, policy("bfloat16"))
    found = logits(model, image, Rounder(policy("bfloat16"), 0))
    assert (exact, found) == (1, 2) and 1 < bound < 4


def test_probabilities_move_no_further_than_said():
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((200, 4)) * 4
    exact, bound = wide + rng.standard_normal(wide.shape) * 0.1, rng.random(wide.shape) * 2
    most = _largest_difference(probabilities(wide), exact, bound)
    for _ in range(300):
        inside = exact + bound * rng.choice([-1, -0.5, 0, 0.7, 1], wide.shape)
        assert (floating_point_error(probabilities(wide), probabilities(inside)) <= most).all()


@pytest.fixture(scope="module")
def trained():
    return rf.nn.fit(rf.nn.cnn(), DIGITS, epochs=3).model


@pytest.mark.parametrize("outputs", ["probabilities", "logits"])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float16, stochastic", "e3m2, saturating"])
def test_what_is_proved_is_observed_and_what_is_observed_is_so(trained, name, outputs):
    found = certify(trained, DIGITS.test_images, policy(name), outputs=outputs)
    assert (found.delta <= found.bound).all()
    assert (found.proved <= found.observed).all() and (found.observed <= found.same).all()
    if name == "float16":
        assert found.proved.mean() > 0.8


def test_mixed_precision_has_a_bound_too(trained):
    found = certify(trained, DIGITS.test_images, rf.nn.preset("mixed", "float16"))
    assert found.proved.mean() > 0.8 and (found.delta <= found.bound).all()


def test_certifying_leaves_the_network_as_it_was(trained):
    before = [t.data.copy() for t in trained.tensors()]
    certify(trained, DIGITS.test_images, policy("bfloat16"))
    for array, tensor in zip(before, trained.tensors(), strict=True):
        np.testing.assert_array_equal(array, tensor.data)


def test_every_kind_of_layer_with_a_bound_was_tried():
    tried = {type(layer) for made in networks(None) for layer in layers.Sequential(made).every_layer()}
    shipped = {
        kind for module in (layers, blocks, attention) for kind in vars(module).values() if isinstance(kind, type)
    }
    known = {
        kind for kind in shipped if issubclass(kind, layers.Layer) and kind.error_bound is not layers.Layer.error_bound
    }
    assert len(known) == 11 and known <= tried
