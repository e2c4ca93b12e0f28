"""Networks train in MX, NVFP4 and code books: what is multiplied is what those make of the vectors that are summed."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.nn import Precision, Rounding, layers
from refimpl.nn.precision import PRODUCT_ROLES
from refimpl.nn.products import round_operand
from refimpl.nn.rounder import Rounder

NAMES = ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4_e2m1", "mxint8", "nvfp4")
RNG = np.random.default_rng(0)


def policy(name):
    """Return the policy that rounds what is multiplied, to nearest, and nothing else."""
    return Precision(roles=dict.fromkeys(PRODUCT_ROLES, name), rounding="ties_to_even", loss_scale=1.0)


def blocks(x, name, axis, **how):
    """Return x as the public operations round it."""
    codes, scales, tensor_scale = rf.quantize_blocks(x, name, axis=axis, **how)
    return rf.decode_blocks(codes, scales, name, tensor_scale=tensor_scale, axis=axis)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [5, 32, 70])
def test_operands_are_rounded_in_blocks_along_what_is_summed(name, size):
    x = (RNG.standard_normal((9, size)) * np.exp(4 * RNG.standard_normal((9, size)))).astype(np.float32)
    rounder = Rounder(policy(name), seed=0)
    for role, operand, axis in (("left operand", x, 1), ("product gradient", x, 1), ("right operand", x.T, 0)):
        found = round_operand(rounder, np.ascontiguousarray(operand), role, "0 Linear", images=False)
        assert np.array_equal(found, blocks(operand, name, axis)), role


def test_a_convolution_s_weights_are_cut_along_their_patch():
    weight = RNG.standard_normal((3, 3, 8, 4)).astype(np.float32)  # height, width, channels, filters
    rounder = Rounder(policy("mxfp4_e2m1"), seed=0)
    found = round_operand(rounder, weight, "right operand", "", images=True)
    assert np.array_equal(found.reshape(72, 4), blocks(weight.reshape(72, 4), "mxfp4_e2m1", 0))


def test_stochastic_blocks_differ_from_call_to_call_and_are_right_on_average():
    x = np.float32([[1.0, *[0.3] * 31]])
    rounder = Rounder(Precision(roles={"left operand": Rounding(format="mxfp4_e2m1", rounding="stochastic")}), seed=0)
    drawn = np.array([rounder(x, "left operand") for _ in range(400)])
    assert set(np.unique(drawn[..., 1:])) == {0.25, 0.375}  # the grid's neighbours of .3 at scale 1/4
    assert abs(drawn[..., 1:].mean() - 0.3) < 4 * 0.0625 / np.sqrt(400 * 31)


@pytest.mark.parametrize("name", NAMES)
def test_a_product_is_that_of_the_rounded_operands_forward_and_backward(name):
    layer = layers.Linear(40, 6)
    layer.initialize(np.random.default_rng(1))
    x, dy = (RNG.standard_normal(shape).astype(np.float32) for shape in ((7, 40), (7, 6)))
    weight = layer.parameters["weight"].data
    run = rf.nn.layer.Pass(rounder=Rounder(policy(name), seed=0), training=True)
    given = Tensor(x, requires_grad=True)
    y = layer(given, run)
    assert y.data == pytest.approx(
        blocks(x, name, 1) @ blocks(weight, name, 0) + layer.parameters["bias"].data, abs=1e-5
    )
    (y * Tensor(dy)).sum().backward()
    assert given.grad == pytest.approx(blocks(dy, name, 1) @ blocks(weight, name, 0).T, abs=1e-5)
    assert layer.parameters["weight"].grad == pytest.approx(blocks(x, name, 1).T @ blocks(dy, name, 1), abs=1e-5)


@pytest.mark.parametrize("book", ["nf4", "dynamic8", rf.quantile_codebook(RNG.standard_normal(999), 3, name="three")])
@pytest.mark.parametrize("per", ["tensor", "row", 4, 64])
def test_a_code_book_s_operands_are_what_it_makes_of_what_shares_a_scale(book, per):
    x = (RNG.standard_normal((9, 21)) * np.exp(2 * RNG.standard_normal((9, 21)))).astype(np.float32)
    rounding = Rounding(format=book, per=per)
    rounder = Rounder(Precision(roles=dict.fromkeys(PRODUCT_ROLES, rounding)), seed=0)
    parts = {"tensor": [slice(None)], "row": [slice(None)], 4: [slice(i, i + 4) for i in range(0, 21, 4)]}
    expected = np.empty_like(x)
    for rows in [slice(None)] if per == "tensor" else range(9):
        for part in parts.get(per, [slice(None)]):
            codes, scale = rf.quantize_codebook(x[rows, part], book)
            assert scale == np.abs(x[rows, part]).max()
            expected[rows, part] = rf.decode_codebook(codes, scale, book)
    for role, operand in (("left operand", x), ("right operand", x.T)):
        found = round_operand(rounder, np.ascontiguousarray(operand), role, "", images=False)
        assert np.array_equal(found if role == "left operand" else found.T, expected)


def test_a_network_trains_in_nf4_about_as_in_float32_and_otherwise_than_in_three_values():
    task, found = rf.data.load("digits"), {}
    ternary = rf.formats.CodeBook("ternary", (-1.0, 0.0, 1.0))
    ways = {"float32": {}, "nf4": {"right operand": Rounding(format="nf4", per=16)}, "ternary": {"weight": ternary}}
    for name, roles in ways.items():
        precision = Precision(roles=roles, rounding="ties_to_even", loss_scale=1.0)
        found[name] = rf.nn.fit(rf.nn.mlp(widths=(32,)), task, precision=precision, epochs=2).history[-1]["loss"]
    assert abs(found["nf4"] - found["float32"]) < 0.05 < found["ternary"] - found["float32"]


@pytest.mark.parametrize("rounding", ["nvfp4", Rounding(format="nf4", per=16), "nf4"])
@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_nan_is_never_hidden(rounding, lost):
    rounder = Rounder(Precision(roles={"left operand": rounding}, rounding="ties_to_even"), seed=0)
    x = np.ones((2, 16), np.float32)
    x[1, 3] = lost
    assert np.isnan(rounder(x, "left operand")[1, 3]) and not np.isnan(rounder(x, "left operand")[0]).any()


def test_a_network_trains_in_mxfp8_about_as_in_float32_and_otherwise_than_in_mxfp4():
    task, found = rf.data.load("digits"), {}
    for name in ("float32", "mxfp8_e4m3", "mxfp4_e2m1"):
        precision = Precision() if name == "float32" else policy(name)
        found[name] = rf.nn.fit(rf.nn.mlp(widths=(32,)), task, precision=precision, epochs=2, seed=0)
    losses = {name: result.history[-1]["loss"] for name, result in found.items()}
    eight, four = (losses[name] - losses["float32"] for name in ("mxfp8_e4m3", "mxfp4_e2m1"))
    assert abs(eight) < 0.05 < four


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Precision(roles={"weight": "mxfp8_e4m3"}), "per of weight"),
        (lambda: Precision(low="mxfp8_e4m3", high="bfloat16"), "low is 'mxfp8_e4m3'; allowed is a format of whole"),
        (lambda: Rounding(format="nvfp4", per=32), "per of nvfp4 is 32; allowed is its 16"),
        (lambda: Rounding(format="mxfp8_e4m3", scaling="delayed"), "each block is scaled by its largest"),
        (lambda: Rounding(format="mxfp8_e4m3", overflow="overflow"), "each block is scaled by its largest"),
        (lambda: Rounding(format="nf4", rounding="stochastic"), "unknown rounding of nf4 'stochastic'"),
        (lambda: Rounding(format="nf4", scaling="delayed"), "scaling of nf4 is 'delayed'"),
        (lambda: Rounding(format="dynamic8_unsigned"), "allowed is a code book with values of both signs"),
        (lambda: Precision(roles={"weight": Rounding(format="nf4", per=64)}), "per of weight"),
        (lambda: Precision(low="nf4", high="bfloat16"), "unknown rounding of nf4 'stochastic'"),
    ],
)
def test_what_blocks_cannot_be_used_for_is_refused(make, said):
    with pytest.raises(ValueError) as refusal:
        make()
    assert said in str(refusal.value)
