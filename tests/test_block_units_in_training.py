"""Training on units with block scales: each product cuts its two operands into blocks along what it sums."""

from dataclasses import replace

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.formats import BlockFormat
from refimpl.formats.units import UNITS
from refimpl.formats.units import unit as unit_of
from refimpl.nn import SUM_ROLES, Accumulator, Precision, attention, layers
from refimpl.nn.layer import Pass
from refimpl.nn.products import product
from refimpl.nn.rounder import Rounder
from refimpl.numerics.tolerance import predict

E4, E5, NV = "mxfp8_e4m3", "mxfp8_e5m2", "nvfp4"
OPERANDS = ("left operand", "right operand", "product gradient")
CASES = [("blackwell-mxfp8", (E4, "mxfp6_e2m3", E5)), ("blackwell-mxfp4", ("mxfp4_e2m1",) * 3)]
CASES += [("blackwell-nvfp4", (NV,) * 3), ("rtx-blackwell-mxfp8", (E5, "mxfp4_e2m1", E4))]
each_unit = pytest.mark.parametrize("unit, formats", CASES)


def policy(unit, formats, **more):
    roles = dict(zip(OPERANDS, formats, strict=True))
    return Precision(roles=roles, products=unit, rounding="ties_to_even", loss_scale=1.0, **more)


def by_hand(unit, names, a, b):
    """Return a b, (..., m, k) by (k, n) or (..., k, n): blocks along k, codes and scales to values, `rf.matmul`."""
    k = a.shape[-1]
    fill = (0, -k % unit_of(unit).terms)
    a = np.pad(a, (*[(0, 0)] * (a.ndim - 1), fill))
    b = np.pad(b, (*[(0, 0)] * (b.ndim - 2), fill, (0, 0)))
    first, second = map(rf.format, names)
    x, y = rf.quantize_blocks(a, first, axis=-1), rf.quantize_blocks(b, second, axis=-2)
    values = [rf.decode(x.codes, first.element), rf.decode(y.codes, second.element)]
    scales = [rf.decode(x.scales, first.scale), rf.decode(y.scales, second.scale)]
    out = np.empty((*a.shape[:-1], b.shape[-1]), np.float32)
    for at in np.ndindex(a.shape[:-2]):
        there = at if b.ndim > 2 else ()
        out[at] = rf.matmul(
            values[0][at],
            values[1][there],
            (first.element, second.element),
            unit=unit,
            scales=(scales[0][at], scales[1][there]),
            scale_format=first.scale,
        )
    return out * np.float32(x.tensor_scale * y.tensor_scale)


def three(unit, formats):
    """Return y = a b, dy b' and a' dy by hand, for primitives."""
    left, right, gradient = formats
    return [
        lambda a, b, names=names: by_hand(unit, names, a, b)
        for names in ((left, right), (gradient, right), (left, gradient))
    ]


def ran(layer, x, dy, how):
    """Run a layer forward and backward; return its output, with the gradients of the input and of its parameters."""
    given = Tensor(x, requires_grad=True)
    y = layer(given, Pass(Rounder(how, 0), training=True))
    (y * Tensor(dy)).sum().backward()
    return y.data, given.grad


def wild(rng, *shape):
    """Return numbers over many binades, so that blocks have scales of their own."""
    return (rng.standard_normal(shape) * np.exp(2 * rng.standard_normal(shape))).astype(np.float32)


@each_unit
@pytest.mark.parametrize("size, batch", [(70, 9), (128, 64)])
def test_the_three_products_of_a_linear_layer_are_those_of_the_unit_on_blocks_of_their_own(unit, formats, size, batch):
    rng = np.random.default_rng(0)
    layer = layers.Linear(size, 5)
    layer.initialize(rng)
    x, dy = wild(rng, batch, size), wild(rng, batch, 5)
    y, dx = ran(layer, x, dy, policy(unit, formats))
    weight, bias = (layer.parameters[name] for name in ("weight", "bias"))
    forward, left, right = three(unit, formats)
    assert np.array_equal(y, forward(x, weight.data) + bias.data)
    assert np.array_equal(dx, left(dy, weight.data.T))
    assert np.array_equal(weight.grad, right(x.T, dy))


@each_unit
@pytest.mark.parametrize("stride, padding", [(1, 1), (2, 0)])
def test_a_convolution_sums_over_windows_filters_and_positions(unit, formats, stride, padding):
    rng = np.random.default_rng(1)
    layer = layers.Convolution(3, 4, size=3, stride=stride, padding=padding)
    layer.initialize(rng)
    n, height, width, channels, filters = 2, 6, 5, 3, 4
    x, weight = wild(rng, n, height, width, channels), layer.parameters["weight"]
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    down, across = ((v + 2 * padding - 3) // stride + 1 for v in (height, width))
    dy = wild(rng, n, down, across, filters)
    places = list(np.ndindex(n, down, across))
    windows = np.stack([padded[i, r * stride :, c * stride :][:3, :3].ravel() for i, r, c in places])
    y, dx = ran(layer, x, dy, policy(unit, formats))
    forward, left, right = three(unit, formats)
    assert np.array_equal(y.reshape(-1, filters), forward(windows, weight.data.reshape(-1, filters)))
    assert np.array_equal(weight.grad.reshape(-1, filters), right(windows.T, dy.reshape(-1, filters)))
    # of each pixel: the gradients of the outputs that saw it, by the filters' weights through which they did
    seen, through = np.zeros((n, height, width, 3, 3, filters), np.float32), np.empty((3, 3, filters, channels))
    for i, r, c in places:
        for u, v in np.ndindex(3, 3):
            row, column = r * stride + u - padding, c * stride + v - padding
            if 0 <= row < height and 0 <= column < width:
                seen[i, row, column, 2 - u, 2 - v] = dy[i, r, c]
    for u, v in np.ndindex(3, 3):
        through[2 - u, 2 - v] = weight.data[u, v].T
    expected = left(seen.reshape(-1, 9 * filters), through.astype(np.float32).reshape(-1, channels))
    assert np.array_equal(dx.reshape(-1, channels), expected)


@each_unit
def test_attention_is_that_of_six_products_on_the_unit(unit, formats):
    rng = np.random.default_rng(2)
    layer = attention.Attention(8, heads=2)
    layer.initialize(rng)
    x, dy = rng.standard_normal((2, 5, 8)).astype(np.float32), wild(rng, 2, 5, 8)
    y, dx = ran(layer, x, dy, policy(unit, formats))
    inside = [*layer.projections, layer.output]
    grads = [tensor.grad for part in inside for tensor in part.parameters.values()]
    by = {"sums": three(unit, formats)}
    tensors = [Tensor(t.data, requires_grad=True) for part in inside for t in part.parameters.values()]
    given = Tensor(x, requires_grad=True)
    q, k, v = (
        (p.matmul(given, tensors[i], **by) + tensors[i + 1]).reshape(2, 5, 2, 4).transpose(0, 2, 1, 3)
        for i in (0, 2, 4)
    )
    shares = p.softmax(p.matmul(q, k.transpose(0, 1, 3, 2), **by) * (1 / np.sqrt(4)))
    mixed = p.matmul(shares, v, **by).transpose(0, 2, 1, 3).reshape(2, 5, 8)
    expected = p.matmul(mixed, tensors[6], **by) + tensors[7]
    (expected * Tensor(dy)).sum().backward()
    assert np.array_equal(y, expected.data) and np.array_equal(dx, given.grad)
    for found, tensor in zip(grads, tensors, strict=True):
        assert np.array_equal(found, tensor.grad)


@pytest.mark.parametrize("lost", [0.0, np.nan])
@pytest.mark.parametrize("changed", [{}, {"cut": "to_odd"}, {"align": "products"}])
@pytest.mark.parametrize("name, fmt", [("blackwell-mxfp8", E4), ("blackwell-nvfp4", NV)])
def test_stacks_of_products_are_those_of_one_after_the_other_on_any_unit(name, fmt, changed, lost):
    rng = np.random.default_rng(7)
    a, b = wild(rng, 2, 3, 40, 70), wild(rng, 2, 3, 70, 4)
    a[1, 2, 0, 3] = lost
    unit = replace(UNITS[name], **changed)
    found = product(p.matmul, Tensor(a), Tensor(b), Rounder(policy(unit, (fmt,) * 3), 0), "").data
    expected = by_hand(unit, (fmt, fmt), a, b)
    assert np.array_equal(found, expected, equal_nan=True) and np.isnan(found).sum() == (4 if np.isnan(lost) else 0)


@each_unit
def test_a_network_trains_as_in_blocks_on_float32_s_sums_and_is_predicted_on_the_unit(unit, formats):
    """To nearest; the unit's sums are wide: only the blocks of the backward products are others."""
    task = rf.data.load("digits")
    how = policy(unit, formats)
    trained = rf.nn.fit(rf.nn.mlp(widths=(32,)), task, precision=how, epochs=1, seed=0)
    plain = Precision(roles=dict(zip(OPERANDS, formats, strict=True)), rounding="ties_to_even", loss_scale=1.0)
    other = rf.nn.fit(rf.nn.mlp(widths=(32,)), task, precision=plain, epochs=1, seed=0)
    assert 0 < abs(trained.history[-1]["loss"] - other.history[-1]["loss"]) < 0.05
    narrow = replace(UNITS[unit], fraction_bits=0)
    ways = how, plain, policy(narrow, formats)
    found, expected, off = (predict(trained.model, task.test_images[:8], way) for way in ways)
    assert np.allclose(found, expected, rtol=0, atol=1e-4) and np.abs(off - expected).max() > 1e-3


def test_stochastic_blocks_are_drawn_anew_for_every_product_and_by_the_seed():
    rng = np.random.default_rng(3)
    layer = layers.Linear(64, 32)
    layer.initialize(rng)
    x = wild(rng, 32, 64)
    how = Precision(roles=dict.fromkeys(OPERANDS, NV), products="blackwell-nvfp4", rounding="stochastic")

    def forward(rounder):
        return layer(Tensor(x), Pass(rounder, training=True)).data

    rounder = Rounder(how, 0)
    first, second = forward(rounder), forward(rounder)
    assert not np.array_equal(first, second) and np.array_equal(first, forward(Rounder(how, 0)))
    assert not np.array_equal(first, forward(Rounder(how, 1)))


@pytest.mark.parametrize("lost", [np.nan, np.inf])
@pytest.mark.parametrize("unit, name", [("blackwell-mxfp8", E4), ("blackwell-nvfp4", NV)])
def test_a_number_that_is_lost_loses_the_sums_that_it_goes_into(unit, name, lost):
    layer = layers.Linear(64, 3)
    layer.initialize(np.random.default_rng(4))
    x = np.ones((2, 64), np.float32)
    x[1, 40] = lost
    y = layer(Tensor(x), Pass(Rounder(policy(unit, (name,) * 3), 0), training=True)).data
    assert np.isfinite(y[0]).all() and np.isnan(y[1]).all()


def test_what_becomes_zero_in_blocks_is_counted():
    layer = layers.Linear(64, 3)
    layer.initialize(np.random.default_rng(5))
    x = np.full((1, 64), 2.0**-20, np.float32)
    x[0, 0] = 1.0  # the other 15 of its block of 16 vanish beside it
    rounder = Rounder(policy("blackwell-nvfp4", (NV,) * 3), 0)
    rounder.counting = True
    layer(Tensor(x), Pass(rounder, training=True))
    assert rounder.counts["left operand"].tolist()[:2] == [64, 0] and rounder.counts["left operand"][2] >= 15


def test_one_product_may_be_on_such_a_unit_another_on_a_plain_one_and_the_third_in_float32():
    rng = np.random.default_rng(6)
    layer = layers.Linear(64, 32)
    layer.initialize(rng)
    x, dy = (v / np.abs(v).max() for v in (wild(rng, 32, 64), wild(rng, 32, 32)))
    plain, scaled = Accumulator(unit="hopper-f16"), Accumulator(unit="blackwell-mxfp8")
    roles = {"left operand": E4, "right operand": E5, "product gradient": "float16"}
    roles |= {"product": scaled, "right gradient": None}
    how = Precision(roles=roles, rounding="ties_to_even", loss_scale=1.0)
    y, dx = ran(layer, x, dy, how)
    weight = layer.parameters["weight"]
    assert np.array_equal(y, by_hand("blackwell-mxfp8", (E4, E5), x, weight.data) + layer.parameters["bias"].data)
    blocks = rf.quantize_blocks(weight.data.T, E5, axis=0)
    right = rf.decode_blocks(blocks.codes, blocks.scales, E5, axis=0)
    assert np.allclose(dx, rf.quantize(dy, "float16") @ right, rtol=1e-5, atol=1e-6)
    roles |= {"right operand": "float16", "left operand": "float16", "product": None, "left gradient": plain}
    how = Precision(roles=roles, rounding="ties_to_even", loss_scale=1.0)
    rotated = how.roles | {"right gradient": Accumulator(format="float32", hadamard=16)}
    dx = [ran(layer, x, dy, Precision(roles=r, rounding="ties_to_even", loss_scale=1.0))[1] for r in (roles, rotated)]
    assert np.array_equal(*dx)  # that another product is rotated leaves the unit's what it was


SMALL = BlockFormat(element=rf.format("float4_e2m1fn"), scale=rf.format("float8_e8m0fnu"), block_size=16)


@pytest.mark.parametrize(
    ("unit", "roles", "message"),
    [
        ("blackwell-mxfp8", {}, "left operand is float32 in 2 Linear; allowed is what 'blackwell-mxfp8' multiplies"),
        ("blackwell-mxfp8", {"left operand": "float8_e4m3fn"}, "multiplies: mxfp8_e4m3, mxfp8_e5m2, mxfp6_e2m3, mxfp6"),
        ("blackwell-nvfp4", {"left operand": E4}, "left operand is mxfp8_e4m3, .* multiplies: nvfp4"),
        ("blackwell-mxfp8", dict.fromkeys(OPERANDS, "mxint8"), "left operand is mxint8"),
        ("blackwell-mxfp8", dict.fromkeys(OPERANDS, NV), "left operand is nvfp4"),
        (
            "hopper-fp8",
            dict.fromkeys(OPERANDS, E4),
            "what 'hopper-fp8' multiplies: float8_e4m3fn, float8_e5m2, per tensor",
        ),
        (
            "blackwell-nvfp4",
            {"left operand": NV, "right operand": SMALL, "product gradient": NV},
            "scale of right operand is float8_e8m0fnu in 2 Linear; allowed is float8_e4m3fn, that of left operand",
        ),
    ],
)
def test_blocks_that_the_unit_does_not_multiply_are_refused_before_anything_is_trained(unit, roles, message):
    wrong = Precision(roles=roles, products=unit, rounding="ties_to_even", loss_scale=1.0)
    model = rf.nn.mlp()
    with pytest.raises(ValueError, match=message) as refusal:
        rf.nn.fit(model, rf.data.load("digits"), precision=wrong, epochs=1, seed=0)
    assert "\n" not in str(refusal.value)


def test_formats_are_chosen_among_the_unit_s_blocks():
    task = rf.data.load("digits")
    candidates = rf.numerics.candidates(["int8", "float8_e4m3fn", E4, "mxfp4_e2m1", NV])
    evidence = rf.numerics.measure(rf.nn.mlp(), task, candidates, steps=1)
    chosen = rf.numerics.choose(evidence, tolerance=0.1, products="blackwell-mxfp8")
    assert {c.candidate.rounding.format.name for c in chosen.choices} == {E4, "mxfp4_e2m1"}
    how = chosen.precision()
    assert {how.accumulator_of(role).unit for role in SUM_ROLES} == {"blackwell-mxfp8"}
    assert np.isfinite(rf.nn.fit(rf.nn.mlp(), task, precision=how, epochs=1, seed=0).history[-1]["loss"])
    with pytest.raises(ValueError, match="there is no bound for left operand .* formats without scales"):
        rf.numerics.certify(rf.nn.fit(rf.nn.mlp(), task, epochs=1).model, task.test_images[:4], how)


def test_scales_are_for_aligned_sums():
    with pytest.raises(ValueError, match="scales"):
        rf.MatrixUnit(operands=("float4_e2m1fn",), sum="pairwise", scales=("float8_e8m0fnu",), block=16)
