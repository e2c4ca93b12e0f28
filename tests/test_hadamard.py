"""Products rotated before they are rounded: random Hadamard transforms, as NVFP4 training has them."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.nn import SUM_ROLES, Accumulator, Precision, Rounding, layers
from refimpl.nn.layer import Pass
from refimpl.nn.precision import PRODUCT_ROLES
from refimpl.nn.products import rotate
from refimpl.nn.rounder import Rounder

RNG = np.random.default_rng(0)
ROTATED = Accumulator(format="float32", hadamard=16)
EVERY = dict.fromkeys(SUM_ROLES, ROTATED)


def through(layer, x, dy, roles, seed=0):
    """Return what a layer makes of x, and the gradients it makes of dy: of x and of its weights."""
    layer.parameters["weight"].grad = None
    given = Tensor(x, requires_grad=True)
    y = layer(given, Pass(Rounder(Precision(roles=roles), seed), training=True))
    (y * Tensor(dy)).sum().backward()
    return y.data, given.grad, layer.parameters["weight"].grad


def linear(features=40, outputs=24, batch=20):
    """Return a layer without bias, its input and the gradient of its output, of sizes that 16 does not divide."""
    layer = layers.Linear(features, outputs)
    layer.initialize(np.random.default_rng(1))
    layer.parameters["bias"].data[:] = 0
    x, dy = (RNG.standard_normal(shape).astype(np.float32) for shape in ((batch, features), (batch, outputs)))
    return layer, x, dy


def products(x, weight, dy):
    """Return the three products of a linear layer."""
    return x @ weight, dy @ weight.T, x.T @ dy


def blocks(x):
    """Return NVFP4 blocks along the last axis, as values."""
    found = rf.quantize_blocks(x, "nvfp4")
    return rf.decode_blocks(*found[:2], "nvfp4", tensor_scale=found.tensor_scale).astype(np.float64)


@pytest.mark.parametrize("size", [2, 4, 8, 16, 64])
def test_a_rotation_is_orthogonal_and_made_of_random_signs_and_the_hadamard_matrix(size):
    found = rotate(np.eye(size, dtype=np.float32), size, 5).astype(np.float64)
    if size in (4, 16, 64):
        assert np.array_equal(found @ found.T, np.eye(size)) and set(np.abs(found).ravel()) == {size**-0.5}
    assert np.allclose(found @ found.T, np.eye(size), atol=1e-6)
    hadamard = np.ones((1, 1))
    while len(hadamard) < size:
        hadamard = np.kron([[1, 1], [1, -1]], hadamard)
    assert np.array_equal(np.sign(found * found[:, :1]), hadamard)
    others = [np.sign(rotate(np.eye(size, dtype=np.float32), size, seed)[:, 0]).tolist() for seed in range(20)]
    assert len({tuple(signs) for signs in others}) > 1


def test_without_rounding_the_three_products_are_what_they_were():
    """Rotated values are rounded once: by Cauchy and Schwarz, k + 3 roundings of |a| |b| for sums of k terms."""
    layer, x, dy = linear()
    weight = layer.parameters["weight"].data
    found = through(layer, x, dy, EVERY)
    exact = products(*(v.astype(np.float64) for v in (x, weight, dy)))
    pairs = ((x, weight.T, 48), (dy, weight, 32), (x.T, dy.T, 32))
    for got, true, (a, b, terms) in zip(found, exact, pairs, strict=True):
        norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
        assert (np.abs(got - true) <= (terms + 3) * 2.0**-24 * norms).all()
    assert any(not np.array_equal(*pair) for pair in zip(found, through(layer, x, dy, EVERY, seed=1), strict=True))


@pytest.mark.parametrize("rotated", SUM_ROLES)
def test_each_product_rounds_its_operands_along_what_it_sums_the_rotated_one_having_rotated_them(rotated):
    layer, x, dy = linear()
    weight = layer.parameters["weight"].data
    found = through(layer, x, dy, {**dict.fromkeys(PRODUCT_ROLES, Rounding(format="nvfp4")), rotated: ROTATED})
    turn = {role: (lambda v: rotate(v, 16, 0)) if role == rotated else (lambda v: v) for role in SUM_ROLES}
    pairs = ((x, weight.T), (dy, weight), (x.T, dy.T))
    for got, role, (a, b) in zip(found, SUM_ROLES, pairs, strict=True):
        assert got == pytest.approx(blocks(turn[role](a)) @ blocks(turn[role](b)).T, abs=1e-4), role


def test_a_convolution_s_patches_are_rotated_too():
    layer = layers.Convolution(3, 5, stride=2)
    layer.initialize(np.random.default_rng(1))
    x, dy = (RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 7, 7, 3), (2, 4, 4, 5)))
    for plain, found in zip(through(layer, x, dy, {}), through(layer, x, dy, EVERY), strict=True):
        assert np.allclose(plain, found, atol=1e-5) and not np.array_equal(plain, found)


def test_an_outlier_is_spread_over_its_block_so_that_integers_lose_less():
    layer, x, dy = linear(features=64, batch=64)
    x[7, 5] = 60
    exact = x.T.astype(np.float64) @ dy
    left, errors = {"left operand": Rounding(format="int4", per="row")}, []
    for size in (2, 64):
        roles = {**left, "right gradient": Accumulator(format="float32", hadamard=size)}
        errors.append(np.linalg.norm(through(layer, x, dy, roles)[2][5] - exact[5]))
    assert errors[1] < 0.7 * errors[0]


def test_nvfp4_learns_the_digits_with_rotations_and_without_to_other_bits():
    task = rf.data.load("digits")
    found = [
        rf.nn.fit(rf.nn.mlp(widths=(32,)), task, precision=rf.nn.presets.nvfp4(size), epochs=4) for size in (16, None)
    ]
    assert max(result.test_error for result in found) < 0.3
    assert found[0].history[0]["loss"] != found[1].history[0]["loss"]


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("Accumulator: hadamard is 12; allowed is a power of 2", lambda: Accumulator(format="float32", hadamard=12)),
        ("Accumulator: hadamard is 1;", lambda: Accumulator(format="float32", hadamard=1)),
        ("Precision: hadamard of loss in roles is 16", lambda: Precision(roles={"loss": ROTATED})),
    ],
)
def test_rotations_that_make_no_sense_are_refused(words, make):
    with pytest.raises(ValueError) as refusal:
        make()
    assert words in str(refusal.value)
