"""The fast path through a network computes the same bits as layer after layer."""

import dataclasses
import itertools

import numpy as np
import pytest

import refimpl as rf
from refimpl.data import Task
from refimpl.formats import BlockFormat
from refimpl.nn.eight_bit import EightBit
from refimpl.nn.engine import rounding
from refimpl.nn.engine.program import network_program
from refimpl.nn.engine.workspace import Workspace
from refimpl.nn.optimizer import EIGHT_BIT_PARTS
from refimpl.nn.precision import PRODUCT_ROLES, ROLES
from refimpl.nn.rounder import Rounder

RNG = np.random.default_rng(0)


def operands(values, gradients, **how):
    """Return a policy that rounds what is multiplied, gradients stochastically."""
    value, gradient = (
        rf.nn.Rounding(format=f, rounding=r, **how) for f, r in ((values, "ties_to_even"), (gradients, "stochastic"))
    )
    return rf.Precision(roles=dict(zip(PRODUCT_ROLES, (value, value, gradient), strict=True)))


POLICIES = {
    "float32": rf.nn.presets.float32(),
    "stochastic": rf.nn.presets.peppp(),
    "to even": rf.Precision(low="e3m2", high="e6m7", rounding="ties_to_even"),
    "mixed": rf.nn.presets.mixed(),
    "pure16": rf.nn.presets.pure16(),
    "stochastic bfloat16": rf.nn.presets.pure16("bfloat16", rounding="stochastic"),
    "fp8": rf.nn.presets.fp8(),
    "fp8 delayed": rf.nn.presets.fp8("delayed"),
    "int8": rf.nn.presets.int8(),
    "all scaled": rf.Precision(
        roles={
            role: rf.nn.Rounding(format="int8", rounding="stochastic", scaling=scaling)
            for role, scaling in zip(ROLES, itertools.cycle(["current", "delayed"]), strict=False)
        }
    ),
    "values only": rf.Precision(low="e4m3", high="e8m7", roles={"activation gradient": None}),
    "momentum kept": rf.Precision(low="e4m3", high="e8m7", roles={"momentum": None}),
    "gradients only": rf.Precision(roles={"activation gradient": "e5m2"}),
    "biases wider": rf.Precision(low="e4m3", high="e8m7", layers={"* Linear": {"weight": "e8m7"}}),
    "one layer alone": rf.Precision(layers={"* Linear": {"weight": "e4m3", "activation gradient": "e5m2"}}),
    "one layer anew": rf.Precision(low="e4m3", high="e8m7", layers={"*": {"weight": None}, "1 *": {"weight": "e3m2"}}),
    "one layer scaled": rf.Precision(low="e4m3", high="e8m7", layers={"* Linear": {"weight": "int8"}}),
    "blocks": operands("mxfp8_e4m3", "mxfp8_e5m2"),
    "blocks of integers": operands("mxint8", "mxint8"),
    "blocks of two levels": rf.nn.presets.nvfp4(hadamard=None),
    "operands scaled": operands("e4m3", "e5m2", scaling="current"),
    "operands by rows": operands("int8", "int8", per="row"),
    "directed": rf.Precision(low="e4m3", high="e8m7", rounding="toward_zero"),
    "posits": rf.Precision(low="posit8_2", high="posit16_2", rounding="ties_to_even"),
    "code book": rf.Precision(
        roles={"activation": rf.nn.Rounding(format="nf4"), "left operand": rf.nn.Rounding(format="nf4", per=7)}
    ),
}
OF_OPTIMIZERS = ("float32", "stochastic", "mixed", "fp8", "fp8 delayed", "all scaled", "biases wider", "directed")
SUMS = rf.Precision(roles={"product": rf.nn.Accumulator(format="float16")})


def task(size, channels, images=34):
    pixels = RNG.random((images, size, size, channels), np.float32)
    labels = np.arange(images) % 10
    return Task("random", pixels, labels, pixels[:20], labels[:20], classes=10, images_from="random")


def trained(network, data, policy, layer_by_layer, optimizer=None):
    result = rf.nn.fit(
        network, data, precision=policy, epochs=1, batch_size=8, optimizer=optimizer, layer_by_layer=layer_by_layer
    )
    statistics = [a for layer in network.every_layer() for a in layer.state().values()]
    bits = b"".join(a.tobytes() for a in [*(t.data for t in network.tensors()), *statistics])
    epoch = result.history[0]
    return bits, epoch["loss"], epoch["counts"], epoch["skipped"], result.test_error


NETWORKS = {
    "convolutions": lambda: rf.nn.cnn(channels=3),
    "residual": rf.nn.resnet8,
    "stack with pooling": rf.nn.vgg,
    "without batch norm": lambda: rf.nn.lenet(channels=3, size=8),
    "perceptron": lambda: rf.nn.mlp(features=192),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("network", ["convolutions", "residual", "perceptron"])
def test_a_network_trained_on_the_engine_equals_one_trained_layer_by_layer(network, policy):
    data = task(8, 3)
    fast, slow = (trained(NETWORKS[network](), data, POLICIES[policy], p) for p in (False, True))
    assert fast == slow


@pytest.mark.parametrize("name", ["stack with pooling", "without batch norm"])
def test_other_networks_equal_themselves_too(name):
    data = task(8, 3)
    fast, slow = (trained(NETWORKS[name](), data, POLICIES["stochastic"], p) for p in (False, True))
    assert fast == slow


OPTIMIZERS = {
    "nesterov": rf.nn.SGD(nesterov=True),
    "stochastic update": rf.nn.SGD(update="stochastic"),
    "kahan": rf.nn.SGD(update="kahan"),
    "adam": rf.nn.Adam(),
    "adam decoupled": rf.nn.AdamW(),
    "8-bit adam": rf.nn.Adam(state="8-bit", block=100, unquantized=("1*",)),
    "8-bit sgd": rf.nn.SGD(state="8-bit linear", least=200),
}


@pytest.mark.parametrize("policy", OF_OPTIMIZERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_takes_the_same_steps_both_ways(optimizer, policy):
    data = task(4, 1)
    fast, slow = (
        trained(rf.nn.mlp(features=16, widths=(24,)), data, POLICIES[policy], p, OPTIMIZERS[optimizer])
        for p in (False, True)
    )
    assert fast == slow


def test_steps_whose_gradients_overflow_are_left_out_both_ways():
    data = task(8, 1, images=66)
    scale = rf.nn.LossScale.dynamic(2.0**22, backoff=2.0**-6)
    policy = dataclasses.replace(POLICIES["mixed"], loss_scale=scale)
    fast, slow = (trained(rf.nn.cnn(), data, policy, p) for p in (False, True))
    assert fast == slow
    assert 0 < fast[3] < 8


def test_weight_gradients_rounded_before_or_after_unscaling_are_the_same_both_ways():
    data = task(6, 1)
    bits = {
        (gradients, layer_by_layer): trained(
            rf.nn.cnn(widths=(4, 8)),
            data,
            rf.Precision(low="e4m3", high="e8m7", gradients_rounded=gradients),
            layer_by_layer,
        )[0]
        for gradients in ("scaled", "unscaled")
        for layer_by_layer in (False, True)
    }
    assert bits["scaled", False] == bits["scaled", True] != bits["unscaled", False]


def test_odd_channels_and_short_chunks_change_nothing():
    """7 channels: rows are no part of 64; 5x5 images: the last chunk is short."""
    data = task(5, 2)
    fast, slow = (
        trained(rf.nn.cnn(channels=2, widths=(7, 24)), data, POLICIES["stochastic"], p) for p in (False, True)
    )
    assert fast == slow


def test_counting_and_planning_change_nothing(monkeypatch):
    data = task(8, 1)
    once = trained(rf.nn.cnn(), data, POLICIES["stochastic"], False)
    monkeypatch.setattr("refimpl.nn.training.COUNTED_STEPS", 1)
    always = trained(rf.nn.cnn(), data, POLICIES["stochastic"], False)
    assert once[:2] == always[:2] and once[2] != always[2]


def written(network, shape, policy, training=True):
    network.initialize(np.random.default_rng(0))
    return network_program(network, shape, Rounder(policy, 0), training=training)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_engine_serves_these_networks(name):
    """Else the comparisons above would compare layer by layer with itself."""
    assert written(NETWORKS[name](), (4, 8, 8, 3), POLICIES["stochastic"]) is not None


@pytest.mark.parametrize("name", POLICIES)
def test_the_engine_serves_these_policies(name):
    assert written(rf.nn.resnet8(), (4, 8, 8, 3), POLICIES[name]) is not None


@pytest.mark.parametrize("name", POLICIES)
def test_where_all_is_said_to_be_rounded_stochastically_all_is(name):
    policy, layers = POLICIES[name], [layer.name for layer in rf.nn.resnet8().every_layer()]
    found = [policy.rounding_of(role, layer) for role in (*ROLES, *PRODUCT_ROLES) for layer in layers]
    always = all(r is None or (r.rounding, r.scaling) == ("stochastic", "none") for r in found)
    assert always or not policy.always_stochastic
    assert policy.always_stochastic or name not in ("float32", "stochastic", "values only", "momentum kept")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("policy", OF_OPTIMIZERS)
def test_a_step_is_one_pass_but_for_kahan_s_and_some_formats(policy, optimizer):
    network = rf.nn.mlp()
    network.initialize(np.random.default_rng(0))
    start = OPTIMIZERS[optimizer].start
    state, plain = (start(network.named_tensors(), Rounder(POLICIES[policy], 0), one_by_one=p) for p in (False, True))
    at_once = optimizer != "kahan" and policy != "directed"
    assert (bool(state.calls()), plain.calls()) == (at_once, [])


@pytest.mark.parametrize("policy", ["stochastic", "biases wider", "stochastic bfloat16"])
def test_a_step_not_taken_draws_for_gradients_alone_both_ways(policy):
    """NaN is met after gradients are rounded, before anything else is."""
    found = []
    for one_by_one in (False, True):
        network = rf.nn.mlp(features=4, widths=(3,))
        network.initialize(np.random.default_rng(0))
        rounder = Rounder(POLICIES[policy], 0)
        state = rf.nn.SGD().start(network.named_tensors(), rounder, one_by_one=one_by_one)
        gradient = np.full(state.weights.size, 0.25, np.float32)
        gradient[0] = np.nan
        assert not state.step(0.1, gradient, 1.0, guarded=True)
        found.append(rounder.calls)
        assert state.step(0.1, np.full(state.weights.size, 0.3, np.float32), 1.0, guarded=True)
        found.append(state.weights.tobytes())
    assert found[:2] == found[2:]


def test_sums_that_are_rounded_go_layer_by_layer():
    assert written(rf.nn.cnn(), (4, 8, 8, 1), SUMS) is None


MAGNITUDES = np.float32([0.0, np.inf, np.nan, 1e-45, 3e-39, 1e-30, 0.007, 0.4375, 1.0, 447.0, 448.0, 449.0, 3.4e38])


@np.errstate(all="ignore")
@pytest.mark.parametrize("scaling", ["current", "delayed"])
@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "int8", "int16"])
def test_the_scale_of_a_tensor_and_what_it_makes_of_it_are_those_found_in_numpy_s_words(name, scaling):
    rule = rf.nn.Rounding(format=name, rounding="stochastic", scaling=scaling)
    plain, kernels = (Rounder(rf.Precision(roles={"activation": rule}), 1) for _ in range(2))
    site = kernels.site("activation")
    for largest in [*MAGNITUDES, *MAGNITUDES[::-1], *(RNG.random(9, np.float32) * 1000)]:
        x = largest * np.float32(RNG.uniform(-1, 1, 70))
        x[7] = -largest
        expected, found = plain(x, "activation"), np.empty_like(x)
        rounding.find_scale(x, site)
        with kernels.drawing(1):
            rounding.round_part(x, found, 0, site, kernels.noise)
        assert np.array_equal(found, expected, equal_nan=True), largest
    assert all(np.array_equal(kernels.magnitudes[k], past) for k, past in plain.magnitudes.items())


BY_E5M2 = BlockFormat(
    element=rf.format("float8_e4m3fn"), scale=rf.format("float8_e5m2"), block_size=8, tensor_scale=True
)


@pytest.mark.parametrize("mode", ["ties_to_even", "stochastic"])
@pytest.mark.parametrize("name", ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp4_e2m1", "mxint8", "nvfp4", BY_E5M2])
def test_blocks_far_apart_short_zero_or_not_finite_are_rounded_as_blocks_are(name, mode):
    precision = rf.Precision(roles={"left operand": rf.nn.Rounding(format=name, rounding=mode)})
    wide = np.float32(RNG.standard_normal((9, 101)) * 10.0 ** np.arange(-44, 38, 10)[:, None])
    wide[0, :5], wide[1, 3], wide[2, -1], wide[3, 32:64] = [0, -0.0, 1e-45, -1e-45, 3e38], np.nan, -np.inf, -0.0
    near = np.float32(RNG.standard_normal((700, 101)))
    for x in (
        wide,
        near,
        near.reshape(1, -1),
        near[:, :3],
        near[:, :2].reshape(-1, 1),
        1e-44 * near,
        0 * near,
        near[:0],
    ):
        x = np.ascontiguousarray(x, np.float32)
        kernels, how = Rounder(precision, 1), {} if mode == "ties_to_even" else {"seed": 1}
        codes, scales, tensor = rf.quantize_blocks(x, name, rounding=mode, **how)
        expected, found = rf.decode_blocks(codes, scales, name, tensor_scale=tensor), np.empty_like(x)
        kernels.counting = True
        with kernels.drawing(1):
            site, known = kernels.site("left operand"), kernels.rounding("left operand")
            known.in_blocks(x, found, site, kernels.noise, rounding.ROUND_PART.value)
        assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))
        lost, nan = (found == 0).sum() - (x == 0).sum(), np.isnan(x).sum()  # under scales nothing else is beyond
        assert kernels.counts.get("left operand", np.zeros(3)).tolist() == [x.size, nan, lost]


def test_blocks_whose_scales_reach_too_far_for_kernels_are_rounded_as_blocks_are():
    of = {"element": rf.format("float4_e2m1fn"), "scale": rf.format("bfloat16"), "block_size": 8, "tensor_scale": True}
    far = BlockFormat(**of)
    x = np.float32(RNG.standard_normal((9, 40)) * 10.0 ** np.arange(-44, 38, 10)[:, None])
    rounder = Rounder(rf.Precision(roles={"left operand": rf.nn.Rounding(format=far)}), 1)
    codes, scales, tensor = rf.quantize_blocks(x, far)
    assert rounder.site("left operand") is None
    assert np.array_equal(rounder(x, "left operand"), rf.decode_blocks(codes, scales, far, tensor_scale=tensor))


@np.errstate(all="ignore")
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_eight_bit_state_is_read_and_written_in_one_pass_as_in_numpy_s_words(signed, linear):
    sizes, exact = (9000, 70, 300, 1), (False, True, False, False)
    plain, kernels = (EightBit(sizes, signed=signed, block=100, linear=linear, exact=exact) for _ in range(2))
    x = np.float32(RNG.standard_normal(sum(sizes)) * 10.0 ** RNG.integers(-7, 1, sum(sizes)))
    x = x if signed else np.abs(x)
    x[100 : 100 + plain._between.size] = plain._between
    x[200] = x[100] = x[300] = 1  # so that the blocks' scale is 1
    x[400:500], x[510], x[620] = 0, np.nan, np.inf
    plain.write(x)
    (read, arguments), (write, given) = kernels.calls(x)
    write(*given)
    assert all(np.array_equal(getattr(plain, p), getattr(kernels, p), equal_nan=p != "codes") for p in EIGHT_BIT_PARTS)
    read(*arguments)
    assert np.array_equal(x, plain.read(), equal_nan=True)


def test_no_tensor_lies_where_another_still_lives_and_all_memory_comes_back():
    """Random taking, sharing and giving back, as layers do it."""
    space, owned = Workspace(), []
    for _ in range(800):
        if owned and RNG.random() < 0.5:
            space.give(owned.pop(int(RNG.integers(len(owned)))))
        else:
            owned.append(space.take((int(RNG.integers(1, 100)),)))
            if RNG.random() < 0.3:
                owned.append(space.share(owned[-1]))
        places = sorted({(block.at, block.at + block.size) for block in owned})
        assert all(end <= start for (_, end), (start, _) in zip(places, places[1:], strict=False))
    space.give(*owned)
    assert space.take((space.size,)).at == 0  # all of it is free, in one piece


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_needs_at_most_half_as_much_again_as_the_tensors_that_layers_make(name):
    """Images with their margins of zeros are larger than without; what is not needed makes room."""
    network = NETWORKS[name]()
    shape = (32, 8, 8, 3)
    made = sum(int(np.prod(output)) for _, _, output in network.walk(shape[1:]))
    held = written(network, shape, POLICIES["stochastic"]).memory
    assert held <= 1.5 * 32 * (made + int(np.prod(shape[1:])))
