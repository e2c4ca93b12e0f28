"""The bound of a product of matrices is never exceeded, and is within ten times what bad cases come to."""

import math
from dataclasses import replace

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats import ROUNDINGS
from refimpl.formats.units import FP22, UNITS, MatrixUnit, unit
from refimpl.nn import Accumulator, Precision, Rounding
from refimpl.numerics import forward_error_bound, predict, sum_bound

MODES = [mode for mode in ROUNDINGS if mode[-2:] not in ("_a", "_b", "_c")]
ORDERS = [("sequential", None), ("pairwise", None), ("chunked", 5), ("kahan", None), ("exact", None)]


def exact(a, b, c=0.0):
    """Sums of products (of at most 53 bits each), correctly rounded to float64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    c = np.broadcast_to(c, (len(a), b.shape[1]))
    return np.array([[math.fsum([*(a[i] * b[:, j]), c[i, j]]) for j in range(b.shape[1])] for i in range(len(a))])


def operands(kind, fmt, shape, rng):
    """Random values of a format; spread over all its range; cancelling; one of them far above all others."""
    fmt = rf.format(fmt)
    x = rng.standard_normal(shape)
    reach = min(fmt.maxexp - 2, 500)
    if kind == "spread":
        x = x * 2.0 ** rng.integers(max(fmt.min_exponent - fmt.mantissa_bits, -500), reach, shape)
    elif kind == "cancelling":
        x = 1 + x / 8
        x[..., ::2] *= np.sign(x[..., ::2] - 1)
    elif kind == "one large":
        x = np.abs(x) * 2.0 ** -(fmt.mantissa_bits + 1)
        x[..., 0] = 2.0 ** min(reach // 2, 8)
    elif kind == "small":
        x = x * 2.0 ** (fmt.min_exponent + rng.integers(-2, 3, shape))
    return rf.quantize(x, fmt, overflow="saturate") if fmt.bits < 64 else x


KINDS = ["normal", "spread", "cancelling", "one large", "small"]


def held(got, a, b, bound, c=0.0):
    got = np.asarray(got, np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(got), np.abs(got - exact(a, b, c)) <= bound, np.isinf(bound)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("into", ["float16", "bfloat16", "float32", "float8_e4m3fn", "e5m4_flush", "e8m12"])
def test_no_order_and_no_mode_is_further_off_than_its_bound(into, kind):
    rng = np.random.default_rng(0)
    for order, chunk in ORDERS:
        for mode in MODES:
            for first in ("float8_e4m3fn", "bfloat16"):
                a, b = operands(kind, first, (3, 60), rng), operands(kind, first, (4, 60), rng).T
                how = {"accumulate": into, "order": order, "chunk": chunk, "rounding": mode}
                got = rf.matmul(a, b, first, **how, **({"seed": 3} if mode == "stochastic" else {}))
                assert held(got, a, b, sum_bound(a, b, first, **how)), (first, how)


OWN = {
    "to nearest, by products": MatrixUnit(terms=4, fraction_bits=7, cut="ties_to_even", align="products"),
    "to odd": MatrixUnit(terms=8, fraction_bits=9, cut="to_odd", rounding="ties_to_even"),
    "toward negative": MatrixUnit(terms=8, fraction_bits=3, cut="toward_negative", into=FP22),
    "carries": MatrixUnit(terms=2, fraction_bits=12, carry_bits=2),
    "halves": MatrixUnit(terms=6, fraction_bits=20, halves=True, joined=(10, 30), reach=8),
    "promoted": MatrixUnit(terms=8, into=FP22, fraction_bits=11, promote=16, rounding="ties_to_even"),
    "bfloat16": MatrixUnit(terms=4, into=rf.format("bfloat16"), operand_bits=3),
    "float16": unit("hopper-f16").accumulating("float16"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*UNITS, *OWN])
def test_no_unit_is_further_off_than_its_bound(name, kind):
    u, rng = (UNITS | OWN)[name], np.random.default_rng(1)
    first, second = u.operands[0], u.operands[-1]
    k = 3 * max(u.terms, u.promote or 0) if u.terms > 1 else 40
    a, b = operands(kind, first, (3, k), rng), operands(kind, second, (3, k), rng).T
    own = u.into.name if u.into.bits in (16, 64) else "float32"
    for c in (0.0, operands(kind, own, (3, 3), rng)):
        how, x, y = {"unit": u, "initial": c}, np.float64(a), np.float64(b)
        if u.scales:
            powers = 2.0 ** rng.integers(-4, 5, (3, k // u.block)), 2.0 ** rng.integers(-4, 5, (k // u.block, 3))
            how["scales"] = powers
            x, y = (v * np.repeat(s, u.block, axis) for v, s, axis in zip((x, y), powers, (1, 0), strict=True))
        got, bound = rf.matmul(a, b, (first, second), **how), sum_bound(a, b, (first, second), **how)
        assert held(got, x, y, bound, c)


@pytest.mark.parametrize("order, chunk", ORDERS)
def test_a_bad_sum_is_within_a_tenth_of_its_bound(order, chunk):
    """1 and halves of its last place, each of which is lost; by chunks, so in each; products that are ties."""
    one, half = [1.0], [2.0**-11]
    a = {"sequential": one + half * 60, "kahan": one + half, "chunked": (one + half * 4) * 5}.get(order)
    a, b = (np.array([a]), np.ones((len(a), 1))) if a else (np.full((1, 4), 1 + 2.0**-10), np.full((4, 1), 1.5))
    if order == "exact":
        a, b = a[:, :1], b[:1]
    got = rf.matmul(a, b, "float16", order=order, chunk=chunk)
    bound = sum_bound(a, b, "float16", order=order, chunk=chunk)
    assert 0 < abs(got - exact(a, b)) <= bound <= 10 * abs(got - exact(a, b))


@pytest.mark.parametrize("mode", ["toward_zero", "toward_positive"])
def test_a_bad_directed_sum_is_within_a_tenth_of_its_bound(mode):
    a, b = np.array([[1.0] + [2.0**-10 - 2.0**-20 if mode == "toward_zero" else 2.0**-20] * 60]), np.ones((61, 1))
    got = rf.matmul(a, b, "float16", rounding=mode)
    bound = sum_bound(a, b, "float16", rounding=mode)
    assert 0 < abs(got - exact(a, b)) <= bound <= 10 * abs(got - exact(a, b))


@pytest.mark.parametrize("name", [n for n, u in UNITS.items() if u.inner == 1])
def test_a_bad_sum_on_a_unit_is_within_a_tenth_of_its_bound(name):
    """1, and products just below the last bit that is kept beside it; or just below half of it, to nearest."""
    u = UNITS[name]
    first = second = next((f for f in u.operands if "e5m2" in f), u.operands[-1])
    fmt = rf.format(first)
    bits = u.fraction_bits if u.sum == "aligned" else u.into.mantissa_bits + 1 + math.log2(u.terms)
    m = fmt.mantissa_bits if u.operand_bits is None else u.operand_bits
    groups = (u.promote or 0) // u.terms or (2 if u.joined else 1 if u.sum == "aligned" else 32)
    k, low = groups * u.terms, int(bits + 1)
    a = np.full((1, k), (2 - 2.0**-m) * 2.0 ** -(low // 2))
    b = np.full((k, 1), 2.0 ** -(low - low // 2))
    a[0, 0] = b[0, 0] = 1.0
    if u.joined:
        a[0, :: u.terms] = b[:: u.terms, 0] = 1.0
    how = {"unit": u, **({"scales": (np.ones((1, k // u.block)), np.ones((k // u.block, 1)))} if u.scales else {})}
    got, bound = rf.matmul(a, b, (first, second), **how), sum_bound(a, b, (first, second), **how)
    off = abs(np.float64(got) - exact(a, b))
    assert 0 < off <= bound <= 10 * off


@pytest.mark.parametrize(("name", "low"), [("blackwell-mxfp4", 25), ("blackwell-nvfp4", 34)])
def test_a_bad_sum_of_scaled_blocks_is_within_a_tenth_of_its_bound(name, low):
    """1, and a block of sixteen times 36 whose scales bring it below the last bit that float32 keeps beside it."""
    u = UNITS[name]
    a, b = np.zeros((1, u.terms)), np.zeros((u.terms, 1))
    a[0, 0] = b[0, 0] = 1.0
    a[0, u.inner :], b[u.inner :, 0] = 6.0, 6.0
    scales = np.ones((1, u.terms // u.block)), np.ones((u.terms // u.block, 1))
    scales[0][0, 1:], scales[1][1:, 0] = 2.0 ** -(low // 2), 2.0 ** -(low - low // 2)
    how = {"unit": u, "scales": scales, "scale_format": "float8_e8m0fnu"}
    got, bound = rf.matmul(a, b, "float4_e2m1fn", **how), sum_bound(a, b, "float4_e2m1fn", **how)
    x, y = (v * np.repeat(s, u.block, axis) for v, s, axis in zip((a, b), scales, (1, 0), strict=True))
    off = abs(np.float64(got) - exact(x, y))
    assert 0 < off <= bound <= 10 * off


def test_promotion_narrows_the_bound_and_what_cannot_be_bounded_is_said():
    a, b = np.ones((1, 4096)), np.ones((4096, 1))
    plain, promoted, wide = (
        sum_bound(a, b, "float8_e4m3fn", unit=n).item() for n in ("hopper-fp8", "hopper-fp8-promoted", "blackwell-fp8")
    )
    assert plain > 16 * promoted > 16 * wide
    assert np.isinf(sum_bound(6e4 * a[:, :2], b[:2], "float16"))
    assert np.isinf(sum_bound(np.full((1, 2), np.nan), b[:2], "float16"))
    with pytest.raises(ValueError, match="a floating-point format: a posit's precision varies"):
        sum_bound(a, b, "posit16_2")
    with pytest.raises(ValueError, match="fmt is 'float16'; allowed is what 'hopper-fp8' multiplies"):
        sum_bound(a, b, "float16", unit="hopper-fp8")
    with pytest.raises(ValueError, match="register of 1 carries may wrap"):
        sum_bound(a, b, "float16", unit=replace(MatrixUnit(), carry_bits=1))


def policy(operand, **how):
    roles = {} if operand is None else dict.fromkeys(("left operand", "right operand"), Rounding(format=operand))
    return Precision(roles=roles | {"product": Accumulator(**how)}, loss_scale=1.0)


@pytest.fixture(scope="module")
def trained():
    task = rf.data.load("digits")
    return {name: rf.nn.fit(rf.nn.network(name, (8, 8, 1), 10), task, epochs=1).model for name in ("mlp", "cnn")}


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize(
    "how",
    [
        policy("float8_e4m3fn", unit="hopper-fp8"),
        policy("float8_e5m2", unit="blackwell-fp8"),
        policy("float16", unit="hopper-f16"),
        policy("float16", unit="cdna3-f16"),
        policy(None, unit="hopper-tf32"),
        policy("bfloat16", unit="hopper-bf16"),
        policy(None, format="float16"),
        policy("float8_e4m3fn", format="bfloat16", products="rounded", order="pairwise"),
        policy("bfloat16", format="float16", order="kahan"),
    ],
    ids=lambda how: str(how.roles["product"].unit or how.roles["product"].order),
)
def test_a_network_whose_sums_a_policy_states_is_within_its_bound(trained, name, how):
    images = rf.data.load("digits").test_images[:16]
    exact_logits, bound = forward_error_bound(trained[name], images, how)
    off = np.abs(predict(trained[name], images, how) - exact_logits)
    plain = forward_error_bound(trained[name], images, rf.nn.preset("float32"))[1]
    assert (off <= bound).all() and (bound > plain).all() and np.isfinite(bound).all() and off.max() > 0


def test_networks_are_certified_under_a_unit_and_what_has_no_bound_is_refused(trained):
    images = rf.data.load("digits").test_images[:32]
    found = rf.numerics.certify(trained["mlp"], images, policy("float16", unit="hopper-f16"))
    assert found.proved.mean() > 0.5 and found.same[found.proved].all() and (found.delta <= found.bound).all()
    with pytest.raises(ValueError, match="no bound for Accumulator"):
        rf.numerics.certify(trained["mlp"], images, policy("float16", unit="cdna2-f16"))
