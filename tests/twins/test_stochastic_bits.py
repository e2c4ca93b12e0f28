"""Stochastic rounding A, B and C of IEEE P3109 with N random bits: every random integer, exactly."""

import math
from fractions import Fraction

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import format as format_of
from refimpl.kernels import float_codes as kernel
from refimpl.ops import arrays
from refimpl.spec import float_codes as spec

NAMES = ["float8_e4m3fn", "binary6p3se", "binary5p1sf", "e2m1fn", "e4m2_flush", "binary6p3ue"]


def kernel_codes(x, fmt, rounding, n, integers):
    """The kernel's codes where element i has the random integer integers[i]."""
    codes = np.empty(len(x), np.uint64)
    words = (np.asarray(integers, np.uint64) << np.uint64(32 - n)).astype(np.uint32)
    kernel.encode(
        x.view(np.uint64),
        codes,
        kernel.fields(format_of("float64")),
        kernel.fields(fmt),
        kernel.mode(rounding, random_bits=n),
        words,
    )
    return codes


def formula(rounding, nu, n):
    """How many of the 2^n integers R round up by P3109's rules, counted by hand."""
    if rounding == "stochastic_a":
        return math.floor(nu * 2**n)
    if rounding == "stochastic_b":  # floor(nu 2^(n+1)) + 2R + 1 >= 2^(n+1)
        return sum(math.floor(nu * 2 ** (n + 1)) + 2 * r + 1 >= 2 ** (n + 1) for r in range(2**n))
    return round(nu * 2**n)


@pytest.mark.parametrize("rounding", ["stochastic_a", "stochastic_b", "stochastic_c"])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("name", NAMES)
def test_every_random_integer_decides_as_defined(name, n, rounding):
    fmt = format_of(name)
    low = Fraction(fmt.smallest_normal)
    steps = [Fraction(k, 2 ** (n + 3)) for k in range(2 ** (n + 3) + 1)]
    x = [float(low * (1 + fmt.eps * nu)) for nu in map(float, steps)]
    x += [float(low * nu / 2) for nu in steps] + [-v for v in x[:5]]
    x += [math.nextafter(v, 1) for v in x[:: 2**n]]
    x = np.repeat(np.array(x), 2**n)
    integers = np.tile(np.arange(2**n), len(x) // 2**n)
    expected = [
        spec.encode(spec.from_float(float(v)), fmt, rounding, random=int(r), random_bits=n)
        for v, r in zip(x, integers, strict=True)
    ]
    assert kernel_codes(x, fmt, rounding, n, integers).tolist() == expected


@pytest.mark.parametrize("rounding", ["stochastic_a", "stochastic_b", "stochastic_c"])
@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_the_number_of_integers_that_round_up_is_the_formula(n, rounding):
    fmt = format_of("float8_e4m3fn")
    for k in range(0, 2**10, 7):
        nu = Fraction(k, 2**10)
        x = np.full(2**n, float(1 + nu / 8))
        up = kernel_codes(x, fmt, rounding, n, np.arange(2**n)) > 0x38
        assert int(up.sum()) == formula(rounding, nu, n)


@pytest.mark.parametrize("n", [11, 12, 13, 20, 31, 32])
@pytest.mark.parametrize("rounding", ["stochastic_a", "stochastic_b", "stochastic_c"])
def test_many_random_bits_decide_by_what_lies_far_below_them(rounding, n):
    # on and beside 2^-(n+1) of the smallest value, where C ties and float64 has 52 more bits
    fmt = format_of("float8_e4m3fn")
    middle = fmt.smallest_subnormal * 2.0 ** -(n + 1)
    x = [middle, math.nextafter(middle, 1), math.nextafter(middle, 0), 3 * middle, 2 * middle]
    x = np.array([*x, math.nextafter(3 * middle, 1), math.nextafter(3 * middle, 0)])
    for r in (2**n - 1, 2**n - 2, 2**n - 3, 0):
        expected = [spec.encode(spec.from_float(float(v)), fmt, rounding, random=r, random_bits=n) for v in x]
        assert kernel_codes(x, fmt, rounding, n, np.full(len(x), r)).tolist() == expected


# Measured elsewhere: mean and largest bias of the probability over nu on a grid of step 2^-(N+6)
BIAS = {
    (1, "stochastic_a"): (-0.246, 0.492),
    (1, "stochastic_b"): (0.0039, 0.25),
    (1, "stochastic_c"): (0, 0.25),
    (2, "stochastic_a"): (-0.123, 0.246),
    (2, "stochastic_b"): (0.0020, 0.125),
    (2, "stochastic_c"): (0, 0.125),
    (4, "stochastic_a"): (-0.0308, 0.0615),
    (4, "stochastic_b"): (0.0005, 0.031),
    (4, "stochastic_c"): (0, 0.031),
}


@pytest.mark.parametrize("n, rounding", BIAS)
def test_the_bias_is_the_printed_one(n, rounding):
    fmt, size = format_of("float8_e4m3fn"), 2 ** (n + 6)
    bias = []
    for k in range(size):
        x = np.full(2**n, 1 + k / size / 8)
        up = kernel_codes(x, fmt, rounding, n, np.arange(2**n)) > 0x38
        bias.append(up.mean() - k / size)
    mean, largest = BIAS[n, rounding]
    assert math.isclose(np.mean(bias), mean, rel_tol=0.02, abs_tol=5e-5)
    assert math.isclose(np.abs(bias).max(), largest, rel_tol=0.02)


def test_stochastic_is_a_with_32_bits():
    x = np.random.default_rng(0).standard_normal(999)
    ours = ops.encode(x, "e4m3fn", rounding="stochastic", seed=3, stream=1)
    assert (ours == ops.encode(x, "e4m3fn", rounding="stochastic_a", random_bits=32, seed=3, stream=1)).all()


def test_n_random_bits_are_the_leading_bits_of_the_element_s_word():
    from refimpl.spec.random_bits import random_word

    x = np.random.default_rng(0).standard_normal(101)
    fmt = format_of("e4m3fn")
    for rounding in ("stochastic_a", "stochastic_b", "stochastic_c"):
        got = ops.encode(x, fmt, rounding=rounding, random_bits=5, seed=3, stream=1)
        expected = [
            spec.encode(spec.from_float(float(v)), fmt, rounding, random=random_word(i, 3, 1) >> 27, random_bits=5)
            for i, v in enumerate(x)
        ]
        assert got.tolist() == expected
        values = ops.quantize(x, fmt, rounding=rounding, random_bits=5, seed=3, stream=1)
        assert (values == ops.decode(got, fmt)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64])
@pytest.mark.parametrize("name", ["e4m3fn", "e6m2b40"])
def test_element_i_takes_word_i_in_every_chunk(dtype, name):
    from refimpl.spec.random_bits import random_word

    fmt, size = format_of(name), 2 * arrays.CHUNK + 5
    x = np.resize(np.array([17, 19, 37, -45, 41], dtype), size)
    ours = {
        "encode": ops.encode(x, fmt, rounding="stochastic", seed=3, stream=1),
        "quantize": ops.encode(ops.quantize(x, fmt, rounding="stochastic", seed=3, stream=1), fmt),
        "of a transposed array": ops.encode(np.array([x, x]).T, fmt, rounding="stochastic", seed=3, stream=1)[:, 0],
    }
    for i in (0, 1, *range(arrays.CHUNK - 3, arrays.CHUNK + 6), *range(size - 9, size)):
        for label, codes in ours.items():
            word = random_word(2 * i if label.startswith("of") else i, 3, 1)
            assert codes[i] == spec.encode(spec.from_float(float(x[i])), fmt, "stochastic", random=word), (label, i)


def test_the_mean_over_seeds_is_the_value():
    # 4000 seeds: the mean of a Bernoulli variable has a standard error below 1/126; five of them
    x = np.array([1 + 0.3 / 8, -(1 + 0.3 / 8), 0.3 * 2.0**-9, 300.0])
    mean = np.mean([ops.quantize(x, "e4m3fn", rounding="stochastic", seed=s) for s in range(4000)], 0)
    steps = np.array([1 / 8, 1 / 8, 2.0**-9, 32.0])
    assert (np.abs(mean - x) < 5 * steps / 126).all()


FAST = ["e4m3", "e5m2", "e2m1fn", "e4m1", "float8_e4m3fnuz", "e6m9", "e8m7", "bfloat16", "e7m22", "e3m4b5"]


@pytest.mark.parametrize("name", FAST)
def test_float32_without_nan_or_infinity_rounds_as_beside_one(name):
    """Blocks of finite numbers take a faster path; one with a NaN takes the general path,
    which the tests of float codes hold to the definition."""
    fmt, rng = format_of(name), np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 4096, dtype=np.uint32)
    anywhere = bits.view(np.float32)
    near = np.float32(rng.standard_normal(4096) * 2.0 ** rng.integers(-12, 12, 4096) * fmt.smallest_normal)
    large = np.float32(min(fmt.max, 3e38) * rng.uniform(-1.0, 1.0, 2048))
    x = np.concatenate([anywhere, near, large, np.float32([0.0, -0.0, fmt.smallest_subnormal])])
    x = x[np.isfinite(x)]
    x = x[: len(x) // 1023 * 1023].reshape(-1, 1023)
    with_nan = np.concatenate([x, np.full((len(x), 1), np.nan, np.float32)], axis=1)
    with_zero = np.concatenate([x, np.zeros((len(x), 1), np.float32)], axis=1)
    for overflow in ("saturate", "overflow"):
        beside, alone = (
            ops.quantize(part, fmt, rounding="stochastic", overflow=overflow, seed=5)[:, :1023]
            for part in (with_nan, with_zero)
        )
        assert alone.view(np.uint32).tolist() == beside.view(np.uint32).tolist()
