"""What is multiplied may be rounded right there: forward, and in both products behind."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.nn import Precision, Rounding
from refimpl.nn.precision import PRODUCT_ROLES
from refimpl.nn.products import product
from refimpl.nn.rounder import Rounder, TensorRounding

DIGITS = rf.data.load("digits")
FORMATS = dict(zip(PRODUCT_ROLES, ("e4m3fn", "e3m2fn", "float8_e5m2"), strict=True))


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_all_three_products_are_of_operands_rounded_once():
    a, b, dy = draw(6, 5), draw(5, 4, seed=1), draw(6, 4, seed=2)
    roles = {role: Rounding(format=name) for role, name in FORMATS.items()}
    rounder = Rounder(Precision(roles=roles), seed=0)
    ta, tb = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    y = product(p.matmul, ta, tb, rounder, "here")
    (y * Tensor(dy)).sum().backward()
    qa, qb, qdy = (
        rf.quantize(x.astype(np.float64), FORMATS[role], overflow="saturate")
        for x, role in zip((a, b, dy), PRODUCT_ROLES, strict=True)
    )
    for found, expected, unrounded in (
        (y.data, qa @ qb, a @ b),
        (ta.grad, qdy @ qb.T, dy @ b.T),
        (tb.grad, qa.T @ qdy, a.T @ dy),
    ):
        assert np.allclose(found, expected, rtol=0, atol=1e-5)
        assert not np.allclose(found, unrounded, rtol=0, atol=1e-3)


@pytest.mark.parametrize("model", [rf.nn.cnn, rf.nn.mlp, rf.nn.transformer])
def test_watching_changes_no_bit_and_sees_every_product_of_the_watched_steps_alone(model):
    seen = []
    watched = rf.nn.fit(model(), DIGITS, epochs=1, watch=lambda step, total: seen.append if step == 3 else None)
    alone = rf.nn.fit(model(), DIGITS, epochs=1)
    for x, y in zip(watched.model.tensors(), alone.model.tensors(), strict=True):
        assert np.array_equal(x.data, y.data)
    layers = [found.layer for found in seen]
    assert len(layers) == len(set(layers))
    named = {layer.name for layer in alone.model.every_layer() if type(layer).__name__ in ("Convolution", "Linear")}
    extra = {name for name in layers if name.endswith(("/scores", "/mix"))}
    assert set(layers) == named | extra
    assert len(extra) == (4 if model is rf.nn.transformer else 0)


def test_a_policy_without_products_and_one_that_rounds_them_to_float32_train_to_the_same_bits():
    alike = Precision(roles=dict.fromkeys(PRODUCT_ROLES, "float32"), loss_scale=1.0)
    one, other = (
        rf.nn.fit(rf.nn.cnn(), DIGITS, epochs=1, precision=policy) for policy in (alike, Precision(loss_scale=1.0))
    )
    for x, y in zip(one.model.tensors(), other.model.tensors(), strict=True):
        assert np.array_equal(x.data, y.data)


@pytest.mark.parametrize("fmt", ["int8", "e4m3fn", "float8_e5m2"])
def test_scales_bring_any_magnitude_to_the_top_of_the_format(fmt):
    """The largest code for integers; the top binade for floats, by a power of two."""
    scaled, largest = TensorRounding(Rounding(format=fmt, scaling="current")), rf.format(fmt).max
    magnitudes = np.float32([0.0, np.inf, 1e-45, 1e-30, 0.007, 0.4375, 1.0, 447.0, 448.0, 449.0, 3e38])
    scales = scaled.scales(magnitudes)
    assert scales[:2].tolist() == [1, 1]
    top = magnitudes[2:].astype(np.float64) * scales[2:]
    if fmt == "int8":
        assert np.allclose(top, largest, rtol=2.0**-23, atol=0)
    else:
        assert (np.frexp(scales)[0] == 0.5).all() and (np.frexp(top)[1] <= np.frexp(largest)[1]).all()
        assert ((top <= largest) & (2 * top > largest)).all()


@pytest.mark.parametrize("fmt", ["int8", "e4m3fn"])
@pytest.mark.parametrize(("per", "parts"), [("row", [slice(0, 7)]), (3, [slice(0, 3), slice(3, 6), slice(6, 7)])])
def test_rows_and_blocks_are_rounded_as_tensors_of_their_own(fmt, per, parts):
    x = draw(5, 7) * 2.0 ** np.arange(5, dtype=np.float32)[:, None]

    def rounder(per):
        rounding = Rounding(format=fmt, scaling="current", per=per)
        return Rounder(Precision(roles={"left operand": rounding}), seed=0)

    found = rounder(per)(x, "left operand")
    for i in range(5):
        for part in parts:
            assert np.array_equal(found[i, part], rounder("tensor")(x[i, part], "left operand"))


@pytest.mark.parametrize("make", [p.matmul, p.convolve])
def test_a_row_of_the_right_operand_is_what_one_output_is_made_of(make):
    """Doubling one output's weights must not change how the others are rounded."""
    images = make is p.convolve
    shape = (3, 3, 2, 4) if images else (6, 4)
    weights = draw(*shape)
    rounder = Rounder(Precision(roles={"right operand": Rounding(format="int8", per="row")}), seed=0)
    from refimpl.nn.products import round_operand

    before = round_operand(rounder, weights, "right operand", "", images)
    weights[..., 2] *= 64
    after = round_operand(rounder, weights, "right operand", "", images)
    assert np.array_equal(before[..., [0, 1, 3]], after[..., [0, 1, 3]])
    assert np.array_equal(after[..., 2], 64 * before[..., 2])


def test_a_tiny_tensor_with_zeros_stays_finite_in_int8():
    x = np.float32([0.0, 1e-44, -1e-42])
    for per in ("tensor", "row"):
        rounding = Rounding(format="int8", per=per)
        found = Rounder(Precision(roles={"left operand": rounding}), seed=0)(x, "left operand")
        assert np.isfinite(found).all()
