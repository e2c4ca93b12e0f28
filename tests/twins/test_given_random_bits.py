"""Random integers given for stochastic rounding are those that the definitions take, in every operation that rounds."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.ops import definitions
from refimpl.spec import blocks, float_codes, integers, sums
from refimpl.spec.random_bits import random_word

MODES = [("stochastic", 32), ("stochastic_a", 3), ("stochastic_b", 7), ("stochastic_c", 5)]


def drawn(mode, shape, seed=0):
    """Arguments of a call, and the random integers in them."""
    rounding, bits = mode
    random = np.random.default_rng(seed).integers(0, 1 << bits, shape)
    return {"rounding": rounding, "random": random} | ({} if rounding == "stochastic" else {"random_bits": bits})


def spec_values(x, fmt):
    return [float_codes.decode(int(c), fmt) for c in rf.encode(x, fmt).reshape(-1)]


@pytest.fixture(params=["kernels", "definitions"])
def either(request, monkeypatch):
    monkeypatch.setattr(definitions, "elements_left", 10**6 if request.param == "definitions" else 0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", sums.ORDERS)
def test_a_sum_takes_its_random_integers_in_the_order_of_its_roundings(order, mode, either):
    a_format, into = rf.format("float8_e4m3fn"), rf.format("float8_e5m2")
    rng = np.random.default_rng(1)
    a, b = (rf.quantize(rng.standard_normal(shape), a_format) for shape in ((3, 7), (7, 2)))
    chunk = 3 if order == "chunked" else None
    how = drawn(mode, (3, 2, sums.roundings(order, 7, chunk or 1)))
    got = rf.matmul(a, b, a_format, accumulate=into, order=order, chunk=chunk, **how)
    for i in range(3):
        for j in range(2):
            x, y = spec_values(a[i], a_format), spec_values(b[:, j], a_format)
            given = how["random"][i, j].tolist()
            expected = sums.dot(x, y, into, order, chunk or 1, mode[0], random=given, random_bits=mode[1])
            assert rf.encode(got[i, j], into) == float_codes.encode(expected, into)
            one = {**how, "random": how["random"][i, j]}
            assert rf.dot(a[i], b[:, j], a_format, accumulate=into, order=order, chunk=chunk, **one) == got[i, j]


def test_sums_along_an_axis_take_a_row_of_random_integers_for_each_result(either):
    x = rf.quantize(np.random.default_rng(2).standard_normal((4, 5, 3)), "float8_e5m2")
    how = drawn(("stochastic_a", 4), (4, 3, 5))
    got = rf.sum(x, "float8_e5m2", axis=1, **how)
    for i in range(4):
        for j in range(3):
            one = {**how, "random": how["random"][i, j]}
            assert got[i, j] == rf.sum(x[i, :, j], "float8_e5m2", **one)
    shared = rf.sum(x, "float8_e5m2", axis=1, **{**how, "random": how["random"][0, 0]})
    assert shared[0, 0] == got[0, 0]


def test_the_words_of_a_seed_given_as_integers_are_the_seed():
    a, b = np.full((3, 9), 0.40625), np.full((9, 2), 0.8125)
    words = np.array(
        [[[random_word(12 * (2 * i + j) + k, 5, 1) for k in range(9)] for j in range(2)] for i in range(3)]
    )
    by_seed = rf.matmul(a, b, "float16", accumulate="float8_e4m3fn", rounding="stochastic", seed=5, stream=1)
    given = rf.matmul(a, b, "float16", accumulate="float8_e4m3fn", rounding="stochastic", random=words)
    assert (by_seed == given).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("quotient", ["exact", "float32"])
def test_integers_are_rounded_by_the_integers_given(quotient, mode, either):
    x = np.random.default_rng(3).standard_normal((4, 6)).astype(np.float32)
    how = drawn(mode, x.shape)
    codes, scale, _ = rf.quantize_int(x, "int8", axis=0, quotient=quotient, **how)
    for i, row in enumerate(x.tolist()):
        for j, value in enumerate(row):
            random = int(how["random"][i, j])
            place = float(scale[i, 0]), 0, mode[0], quotient
            assert codes[i, j] == integers.encode(value, rf.format("int8"), *place, random, mode[1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fmt", ["mxfp4_e2m1", "mxint8", "nvfp4"])
def test_blocks_are_rounded_by_the_integers_given(fmt, mode, either):
    to = rf.format(fmt)
    x = np.random.default_rng(4).standard_normal((to.block_size, 3)).astype(np.float32)
    how = drawn(mode, x.shape)
    coded = rf.quantize_blocks(x, fmt, axis=0, **how)
    for j in range(3):
        values = spec_values(x[:, j], rf.format("float32"))
        random = how["random"][:, j].tolist()
        scale = int(coded.scales[0, j])
        rule = "" if to.tensor_scale else "floor"
        rest = coded.tensor_scale, mode[0], random, mode[1], scale if to.tensor_scale else None
        assert blocks.encode_block(values, to, rule, *rest)[1] == coded.codes[:, j].tolist()


def test_scaled_floats_are_rounded_by_the_integers_given(either):
    x = np.random.default_rng(5).standard_normal((3, 8)).astype(np.float32)
    how = drawn(("stochastic_a", 2), x.shape)
    codes, _ = rf.quantize_scaled(x, "float8_e4m3fn", scale=0.25, **how)
    assert (codes == rf.encode(x / 0.25, "float8_e4m3fn", overflow="saturate", **how)).all()


CALLS = [
    (lambda **how: rf.matmul(np.ones((2, 3)), np.ones((3, 4)), "float16", **how), (2, 4, 3)),
    (lambda **how: rf.sum(np.ones((2, 3)), "float16", axis=0, order="pairwise", **how), (3, 3)),
    (lambda **how: rf.dot(np.ones(3), np.ones(3), "float16", order="exact", **how), (1,)),
    (lambda **how: rf.quantize_int(np.ones((2, 3)), "int8", **how), (2, 3)),
    (lambda **how: rf.quantize_blocks(np.ones((2, 32)), "mxfp4_e2m1", **how), (2, 32)),
    (lambda **how: rf.quantize_scaled(np.ones((2, 3)), "float8_e4m3fn", **how), (2, 3)),
]


@pytest.mark.parametrize("call, shape", CALLS)
def test_random_integers_that_do_not_fit_are_refused(call, shape):
    call(rounding="stochastic_a", random_bits=4, random=np.zeros(shape, int))
    call(rounding="stochastic_a", random_bits=4, random=15)
    bad = [
        ({"random": np.zeros((*shape, 2), int)}, "random is of shape .*; allowed is of a shape that broadcasts"),
        ({"random": 16}, "random is 16; allowed is an integer from 0 to 15"),
        ({"random": 0.5}, "random is .*; allowed is integers"),
        ({"random": 3, "seed": 1}, "seed, random"),
        ({}, "seed"),
    ]
    for how, message in bad:
        with pytest.raises((ValueError, TypeError), match=message):
            call(rounding="stochastic_a", random_bits=4, **how)
    with pytest.raises(ValueError, match="random"):
        call(random=3)


def test_products_answer_like_what_is_asked():
    torch = pytest.importorskip("torch")
    a, b = np.ones((2, 3), np.float32), np.ones((3, 2), np.float32)
    for got in (
        rf.matmul(a, b, "float16", like=torch.ones(1, dtype=torch.bfloat16)),
        rf.matmul(a, b, "float16", unit="volta-f16", like=torch.ones(1, dtype=torch.bfloat16)),
        rf.sum(a, "float16", axis=1, like=torch.ones(1, dtype=torch.bfloat16)),
        rf.dot(a[0], b[:, 0], "float16", like=torch.ones(1, dtype=torch.bfloat16)),
    ):
        assert got.dtype == torch.bfloat16 and (got == 3).all()
    assert rf.matmul(a, b, "float16", like=np.ones(1, np.float16)).dtype == np.float16
    with pytest.raises(ValueError, match="a value of float16, the dtype of like"):
        rf.sum([1.0, 2.0**-20], "float32", like=np.ones(1, np.float16))
    with pytest.raises(TypeError, match="like"):
        rf.dot(a[0], b[:, 0], "float16", like="torch")
