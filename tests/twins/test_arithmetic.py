"""Arithmetic: kernels against definitions in wide formats and random modes, and the arrays."""

import math
from fractions import Fraction

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats import OVERFLOWS, PositFormat
from refimpl.kernels import arithmetic as kernel
from refimpl.kernels import float64_arithmetic
from refimpl.kernels.float_codes import mode
from refimpl.ops import arithmetic, arithmetic_paths, arrays, definitions
from refimpl.ops.rounding import RoundingRule
from refimpl.spec import operations as spec
from refimpl.spec.random_bits import random_word

DETERMINISTIC = ["ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative", "to_odd"]
FORMATS = [
    "float16",
    "bfloat16",
    "tf32",
    "float32",
    "e8m24",
    "e11m20",
    "e16m24",
    "e5m24b-900ieee",
    "e0m13",
    "e8m24fn",
    "e5m10fnuz",
    "e8m7_flush",
    "e5m10ieee_unsigned",
    "e4m11p3109e",
    "binary12p5ue",
    "e2m20b3000",
    "posit16_1",
    "posit16_2",
    "posit32_0",
    "posit32_2",
    "posit32_5",
    "posit5_3",
    "posit3_0",
]


def operands(fmt, count, seed):
    """Codes: random, random beside each other and of both signs, and runs of ones and zeros."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 1 << fmt.bits, (3, count), dtype=np.uint64)
    third = count // 3
    codes[1, :third] = codes[0, :third] + rng.integers(0, 4, third, dtype=np.uint64)
    codes[1, : third // 2] ^= np.uint64(1 << (fmt.bits - 1))
    runs = (1 << rng.integers(0, fmt.bits, (3, third))) - rng.integers(0, 2, (3, third))
    codes[:, -third:] = runs.astype(np.uint64) << rng.integers(0, fmt.bits, third, dtype=np.uint64)
    return codes & np.uint64((1 << fmt.bits) - 1)


def in_integers(operation, codes, formats, into, rule):
    """Results of the kernel that takes every format."""
    layouts, p3109 = list(map(kernel.layout, formats)), spec.is_p3109(*formats, into)
    a, b, c = ([x.astype(np.uint64) for x in codes] * 3)[:3]
    fa, fb, fc = (layouts * 3)[:3]
    got, words = np.empty(a.size, np.uint64), np.empty(0, np.uint32) if rule.given is None else rule.given
    how, number = mode(rule.mode, rule.overflow, rule.nan, rule.random_bits), kernel.OPERATIONS.index(operation)
    kernel.calculate(number, a, b, c, got, fa, fb, fc, kernel.layout(into, p3109), how, words, p3109)
    return got


def in_float64(operation, codes, formats, into, rule):
    """Results of the kernel that is fast."""
    assert arithmetic_paths.serves(operation, formats, into, rule)
    return arithmetic_paths.compute_codes(operation, codes, formats, into, rule, 0, spec.is_p3109(*formats, into))[0]


def check(fmt, operation, rounding, overflow="overflow", nan="zero", bits=32, count=48):
    seed = len(fmt.name) + len(operation)
    codes = operands(fmt, count, seed)
    words = np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)
    words[:4] = 0, 2**32 - 1, 2**31, 2**31 - 1
    got = np.empty(count, np.uint64)
    layout, how = kernel.layout(fmt), mode(rounding, overflow, nan, bits)
    number = kernel.OPERATIONS.index(operation)
    kernel.calculate(number, *codes, got, *[layout] * 4, how, words, spec.is_p3109(fmt))
    for i in range(count):
        several = tuple(int(c) for c in codes[: spec.OPERATIONS[operation].operands, i])
        expected = spec.calculate(operation, several, fmt, rounding, overflow, nan, int(words[i]) >> (32 - bits), bits)
        assert int(got[i]) == expected, (str(fmt), operation, rounding, [hex(c) for c in several])


@pytest.mark.parametrize("name", FORMATS)
def test_operations_of_a_wide_format_are_as_defined(name):
    fmt = rf.format(name)
    posit = isinstance(fmt, PositFormat)
    for k, operation in enumerate(kernel.OPERATIONS):
        for j, rounding in enumerate(DETERMINISTIC[:1] if posit else DETERMINISTIC):
            overflow = ("overflow", "saturate", "propagate")[(k + j) % 3]
            check(fmt, operation, rounding, "overflow" if posit else overflow)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float32", "e8m24", "e0m13", "e16m24"])
def test_operations_round_stochastically_as_defined(name):
    fmt = rf.format(name)
    for operation in kernel.OPERATIONS:
        check(fmt, operation, "stochastic")
        for rounding, bits in (("stochastic_a", 3), ("stochastic_b", 32), ("stochastic_c", 9)):
            check(fmt, operation, rounding, bits=bits, count=24)


def test_element_i_of_a_result_takes_random_word_i_whatever_its_shape():
    rng = np.random.default_rng(0)
    a = rf.quantize(rng.standard_normal((70, 5)), "e4m3fn")
    b = rf.quantize(rng.standard_normal(5), "e4m3fn")
    got = rf.mul(a, b, "e4m3fn", rounding="stochastic", seed=6, stream=2)
    codes = [rf.encode(x, "e4m3fn") for x in np.broadcast_arrays(a, b)]
    expected = [
        spec.calculate("mul", pair, rf.format("e4m3fn"), "stochastic", random=random_word(i, 6, 2))
        for i, pair in enumerate(zip(*(c.reshape(-1).tolist() for c in codes), strict=True))
    ]
    assert rf.encode(got, "e4m3fn").reshape(-1).tolist() == expected


@pytest.mark.parametrize(
    "operation, operands", [("add", 2), ("sub", 2), ("mul", 2), ("div", 2), ("sqrt", 1), ("fma", 3)]
)
def test_the_stream_is_0_unless_another_is_given(operation, operands):
    values = rf.quantize(np.random.default_rng(1).uniform(1, 8, (operands, 400)), "e4m3fn")

    def call(**stream):
        return getattr(rf, operation)(*values, "e4m3fn", rounding="stochastic", seed=3, **stream).tolist()

    assert call() == call(stream=0) != call(stream=1)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "e8m7_flush"])
def test_what_is_rounded_down_is_minus_what_is_rounded_up_of_the_negatives(name):
    fmt = rf.format(name)
    rng = np.random.default_rng(1)
    a, b = (rf.decode(rng.integers(0, 1 << fmt.bits, 5000), fmt) for _ in range(2))
    for operation in (rf.add, rf.sub, rf.mul, rf.div):
        second = b if operation in (rf.mul, rf.div) else -b
        down = operation(a, b, fmt, rounding="toward_negative")
        up = operation(-a, second, fmt, rounding="toward_positive")
        assert ((down == -up) | np.isnan(down) & np.isnan(up)).all()


# -- what is taken and refused ---------------------------------------------------------------------


def test_the_signs_of_zeros_are_those_of_ieee():
    x = np.array([1.5, 0.0, -0.0, 0.0])
    y = np.array([-1.5, -0.0, -0.0, 0.0])
    for rounding in DETERMINISTIC:
        signs = np.signbit(rf.add(x, y, "float16", rounding=rounding)).tolist()
        down = rounding == "toward_negative"
        assert signs == [down, down, True, False]
        assert np.signbit(rf.sub(x, -y, "float16", rounding=rounding)).tolist() == signs
        assert np.signbit(rf.fma(x, 1.0, y, "float16", rounding=rounding)).tolist() == signs
    assert np.signbit(rf.mul([0.0, -0.0, -(2.0**-24)], [-1.0, -1.0, 2.0**-24], "float16")).tolist() == [
        True,
        False,
        True,
    ]
    assert rf.div([1.0, 1.0], [0.0, -0.0], "float16").tolist() == [np.inf, -np.inf]


def test_formats_without_nan_infinity_or_minus_zero_go_by_their_rules():
    assert rf.div(1.0, 0.0, "e4m3fn", overflow="saturate") == 448.0
    assert np.isnan(rf.div(1.0, 0.0, "e4m3fn"))
    assert rf.div(-1.0, 0.0, "e2m1fn") == -6.0
    assert rf.div(0.0, 0.0, "e2m1fn", nan="max") == 6.0
    assert not np.signbit(rf.mul(-1.0, 0.0, "float8_e4m3fnuz"))
    assert rf.sub(1.0, 2.0, "e5m2ieee_unsigned", overflow="saturate") == 0.0
    with pytest.raises(ValueError, match=r"div: the result\[1\] is NaN"):
        rf.div([1.0, 0.0], [1.0, 0.0], "e2m1fn", nan="raise")


def test_results_come_in_a_dtype_that_holds_the_format():
    half, single = np.ones(2, np.float16), np.ones(2, np.float32)
    assert rf.add(half, half, "float16").dtype == rf.add(half, half, "e4m3fn").dtype == np.float16
    assert rf.add(half, half, "bfloat16").dtype == rf.add(half, single, "e4m3").dtype == np.float32
    assert rf.add(half, half, "e10m20").dtype == rf.add([1], [2], "e4m3").dtype == np.float64
    assert rf.add(single, single, "posit32_2").dtype == np.float64
    assert rf.add(single, single, "posit16_2").dtype == np.float32
    assert rf.add(np.ones((3, 1)), np.ones(4), "e4m3").shape == (3, 4)
    assert rf.add(np.ones((0, 4)), np.ones(4), "e4m3").shape == (0, 4)


def test_any_strides_and_byte_orders_are_taken():
    x = rf.quantize(np.random.default_rng(2).standard_normal((6, 7)), "e4m3fn")
    expected = rf.add(x, x[::-1], "e4m3fn")
    for y in (np.asfortranarray(x), x.astype(">f4"), x.astype(np.float16)):
        assert np.array_equal(rf.add(y, y[::-1], "e4m3fn"), expected)


@pytest.mark.parametrize(
    "relation, holds",
    [
        ("<", [True, False, False, False]),
        ("<=", [True, True, False, False]),
        ("==", [False, True, False, False]),
        ("!=", [True, False, True, True]),
        (">=", [False, True, True, False]),
        (">", [False, False, True, False]),
        ("unordered", [False, False, False, True]),
    ],
)
def test_relations_hold_as_ieee_says(relation, holds):
    assert rf.compare([1.0, -0.0, 2.0, np.nan], [np.inf, 0.0, -2.0, 1.0], "float16", relation).tolist() == holds


# -- bits that no deterministic mode sees ----------------------------------------------------------


def fraction_of(number):
    kind, negative, significand, exponent = number
    assert kind == kernel.FINITE and not negative and significand >> 63 == 1
    return Fraction(int(significand)) * Fraction(2) ** (int(exponent) - 63)


def assert_to_odd(number, exact):
    """Exact; or odd in one of the last three of 64 bits, and off by less than that bit."""
    unit = Fraction(2) ** (int(number[3]) - 63)
    found = fraction_of(number)
    odd = int(number[2]) & -int(number[2])
    assert found == exact or (odd <= 4 and abs(found - exact) < odd * unit)


def significands(bits, count, seed):
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 1 << (bits - 1), count)
    low[:4] = 0, 1, (1 << (bits - 1)) - 1, (1 << (bits - 1)) - 2
    return [np.uint64((1 << (bits - 1)) + int(x)) << np.uint64(64 - bits) for x in low]


@pytest.mark.parametrize("bits", [25, 30, 32])
def test_quotients_keep_62_bits_and_are_odd_where_not_exact(bits):
    ones, others = significands(bits, 300, 1), significands(bits, 300, 2)
    for x, y in zip(ones + ones[:4], others + others[1:4] + others[:1], strict=True):
        a, b = (kernel.FINITE, False, x, 5), (kernel.FINITE, False, y, -3)
        assert_to_odd(kernel.div(a, b), fraction_of(a) / fraction_of(b))


def test_sums_keep_62_bits_and_are_odd_where_not_exact():
    for bits in (25, 50, 60):
        for distance in (0, 1, 2, 13, 14, 24, 25, 36, 61, 62, 63, 64, 200):
            for x, y in zip(significands(bits, 20, 3), significands(25, 20, distance), strict=True):
                a, b = (kernel.FINITE, False, x, distance + 7), (kernel.FINITE, False, y, 7)
                assert_to_odd(kernel.add(a, b, False), fraction_of(a) + fraction_of(b))
                difference = fraction_of(a) - fraction_of(b)
                found = kernel.add(a, kernel.negate(b), False)
                if difference == 0:
                    assert found[0] == kernel.ZERO
                    continue
                assert bool(found[1]) == (difference < 0)
                assert_to_odd((found[0], False, *found[2:]), abs(difference))


def test_roots_keep_62_bits_and_are_odd_where_not_exact():
    # Squares of k less a little: there the root of the first 32 bits, in float64, rounds up to k.
    k = np.random.default_rng(0).integers(2**31, 2**32, 1 << 23, dtype=np.uint64)
    little = k * k & np.uint64(2**32 - 1)
    near = k[(little > 0) & (little < 2**11)]
    assert near.size >= 3
    below = [np.uint64(int(v) ** 2 >> 32 << 32) for v in near if int(v) ** 2 >= 2**63]
    squares = [np.uint64((2**16 - 1) ** 2) << np.uint64(32), np.uint64(46341**2) << np.uint64(32)]
    for significand in [*significands(32, 300, 5), *significands(25, 300, 6), *below, *squares]:
        for exponent in (8, 9):
            number = (kernel.FINITE, False, significand, exponent)
            square = fraction_of(number) * 4**100
            root = Fraction(math.isqrt(math.floor(square)), 2**100)  # cut, far beyond 64 bits
            found = kernel.sqrt(number)
            if root**2 == fraction_of(number):
                assert fraction_of(found) == root
            else:
                assert fraction_of(found) != root
                assert_to_odd(found, root)


# -- formats that differ, and random integers that are given ---------------------------------------

MIXTURES = [
    (("float8_e4m3fn", "bfloat16", "float32"), "float16"),
    (("float32", "float16", "float8_e5m2"), "float8_e4m3fn"),
    (("binary8p4se", "binary8p3se", "binary4p2sf"), "float32"),
    (("float32", "bfloat16", "float16"), "binary8p3ue"),
    (("binary8p1uf", "float16", "binary8p3ue"), "binary16p5se"),
    (("posit8_2", "float16", "e8m24"), "posit16_1"),
    (("float4_e2m1fn", "e8m0fnu", "float16"), "e16m24"),
]


@pytest.mark.parametrize("names, into", MIXTURES)
def test_operations_of_mixed_formats_are_as_defined(names, into):
    formats, out = tuple(rf.format(name) for name in names), rf.format(into)
    rng = np.random.default_rng(len(into))
    for operation in kernel.OPERATIONS:
        count = spec.OPERATIONS[operation].operands
        codes = [rng.integers(0, 1 << f.bits, 3000, dtype=np.uint64) for f in formats[:count]]
        for x, f in zip(codes, formats, strict=False):
            x[:40] = rng.choice([0, 1, (1 << f.bits - 1) - 1, 1 << (f.bits - 1), (1 << f.bits) - 1], 40)
        modes = DETERMINISTIC[:1] if isinstance(out, PositFormat) else DETERMINISTIC
        for rounding in modes:
            got = rf.codes.add if operation == "add" else getattr(rf.codes, operation)
            got = got(*codes, formats[:count], out_format=out, rounding=rounding)
            for i in [*range(40), *range(40, 3000, 60)]:
                several = tuple(int(x[i]) for x in codes)
                expected = spec.calculate(operation, several, formats[:count], rounding, out_format=out)
                assert int(got[i]) == expected, (operation, rounding, [hex(c) for c in several])


def test_values_of_mixed_formats_are_rounded_once():
    # 1 + 2^-9 is not in E4M3, and is in float16; into float8_e5m2 by way of E4M3 it would be lost
    a, b = np.float32([1.0, 2.0**8]), np.float32([2.0**-9, 1.0])
    assert rf.add(a, b, ("e4m3fn", "bfloat16"), out_format="float16").tolist() == [1 + 2.0**-9, 257.0]
    up = rf.add(a, b, ("e4m3fn", "bfloat16"), out_format="float8_e5m2", rounding="toward_positive")
    assert up.tolist() == [1.25, 320.0]
    with pytest.raises(ValueError, match="out_format is None; allowed is a format where those"):
        rf.add(a, b, ("e4m3fn", "bfloat16"))
    with pytest.raises(ValueError, match="fmt is .*; allowed is one format or a tuple of 2"):
        rf.add(a, b, ("e4m3fn",))
    assert rf.compare(a, [1.0, 256.0], ("e4m3fn", "float16"), "==").tolist() == [True, True]


@pytest.mark.parametrize(
    "kind, bits", [("stochastic", None), ("stochastic_a", 5), ("stochastic_b", 1), ("stochastic_c", 32)]
)
def test_given_random_integers_are_those_that_the_definition_takes(kind, bits):
    fmt, width = rf.format("e4m3fn"), 32 if bits is None else bits
    rng = np.random.default_rng(3)
    how = {"rounding": kind} | ({} if bits is None else {"random_bits": bits})
    for count in (20, 4000):  # by definition, and compiled
        codes = [rng.integers(0, 127, count, dtype=np.uint8) for _ in "ab"]
        random = rng.integers(0, 2**width, count, dtype=np.uint64)
        got = rf.codes.mul(*codes, fmt, random=random, **how)
        values = rf.mul(*(rf.decode(c, fmt) for c in codes), fmt, random=random, **how)
        assert np.array_equal(rf.encode(values, fmt), got)
        for i in range(0, count, max(count // 50, 1)):
            pair = int(codes[0][i]), int(codes[1][i])
            assert int(got[i]) == spec.calculate("mul", pair, fmt, kind, random=int(random[i]), random_bits=width)
        exact = rng.standard_normal(count).astype(np.float32)
        one = rf.encode(exact, fmt, random=random, **how)
        assert np.array_equal(rf.encode(rf.quantize(exact, fmt, random=random, **how), fmt), one)
    with pytest.raises(ValueError, match="seed, random is given; allowed is one of them"):
        rf.quantize(1.0, fmt, seed=1, random=0, **how)
    with pytest.raises(ValueError, match=r"random is of shape \(2,\); allowed is of a shape that broadcasts"):
        rf.quantize([1.0, 2.0, 3.0], fmt, random=[0, 0], **how)


# -- tables of all pairs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "formats, into",
    [
        (("float8_e4m3fn",) * 2, "float8_e4m3fn"),
        (("float8_e4m3fn", "float8_e5m2"), "float16"),
        (("float4_e2m1fn", "float8_e5m2"), "float8_e4m3fn"),
        (("posit8_2",) * 2, "posit8_2"),
        (("e4m7", "e2m1fn"), "bfloat16"),
        (("binary8p3se",) * 2, "binary8p3se"),
    ],
)
def test_every_pair_of_codes_in_a_long_array_has_the_result_of_the_definition(formats, into):
    formats, into = tuple(map(rf.format, formats)), rf.format(into)
    counts = [1 << fmt.bits for fmt in formats]
    every = np.indices(counts).reshape(2, -1)
    a, b = (np.resize(column, max(every.shape[1], 5000)) for column in every)  # short arrays take no table
    chosen = np.random.default_rng(0).integers(0, every.shape[1], 150)
    posit = isinstance(into, PositFormat)
    for name in ("add", "sub", "mul", "div", "maximum", "copysign"):
        lazy = name in ("maximum", "copysign")  # these ask the definition for every pair there is
        pairs = (a, b) if not lazy else (np.resize(a[chosen], 5000), np.resize(b[chosen], 5000))
        for rounding in ("ties_to_even",) if posit or lazy else ("ties_to_even", "toward_negative", "to_odd"):
            got = getattr(rf.codes, name)(*pairs, formats, out_format=into, rounding=rounding)
            short = getattr(rf.codes, name)(*(x[:150] for x in pairs), formats, out_format=into, rounding=rounding)
            assert (got[:150] == short).all()
            for i in range(150) if lazy else chosen:
                codes = int(pairs[0][i]), int(pairs[1][i])
                values = tuple(
                    spec.decode(c, f, spec.is_p3109(*formats, into)) for c, f in zip(codes, formats, strict=True)
                )
                exact = spec.exact(name, values, rounding, spec.is_p3109(*formats, into))
                expected = spec.encode(exact, into, rounding, "overflow", "zero", 0, 32, spec.is_p3109(*formats, into))
                assert got[i] == expected, (name, rounding, codes)


def test_the_table_has_what_the_kernel_gives_for_every_pair_in_every_mode_and_overflow_rule():
    fmt, into = rf.format("float8_e4m3fn"), rf.format("float8_e5m2")
    a, b = np.indices((256, 256)).reshape(2, -1).astype(np.uint64)
    for name in ("add", "mul", "div"):
        for rounding in DETERMINISTIC:
            for overflow in ("overflow", "saturate", "propagate"):
                got = rf.codes.calculate(name, (a, b), fmt, dict(out_format=into, rounding=rounding, overflow=overflow))
                expected, layout = np.empty(a.size, np.uint64), kernel.layout(fmt)
                layouts, how = (layout, layout, layout, kernel.layout(into)), mode(rounding, overflow)
                number = kernel.OPERATIONS.index(name)
                kernel.calculate(number, a, b, b, expected, *layouts, how, np.empty(0, np.uint32), False)
                assert (got == expected).all()


def test_relations_and_facts_of_long_arrays_are_those_of_short_ones():
    a, b = (np.resize(column, 5000) for column in np.random.default_rng(1).integers(0, 256, (2, 97)))
    for fmt in ("float8_e4m3fn", "posit8_2"):
        for relation in ("<", "==", "unordered"):
            assert (rf.codes.compare(a, b, fmt, relation)[:97] == rf.codes.compare(a[:97], b[:97], fmt, relation)).all()
        for name in ("is_nan", "next_up"):
            assert (getattr(rf.codes, name)(a, fmt)[:97] == getattr(rf.codes, name)(a[:97], fmt)).all()


def test_a_nan_that_a_format_lacks_is_refused_in_a_long_array_too():
    x = np.ones(5000)
    x[4321] = 0
    with pytest.raises(ValueError, match=r"the result\[4321\] is NaN"):
        rf.div(x, x, "e2m1fn", nan="raise")


# -- float64, to odd -------------------------------------------------------------------------------

SERVED = [
    "float8_e4m3fn",
    "float8_e5m2fnuz",
    "float6_e2m3fn",
    "e8m0fnu",
    "binary8p3ue",
    "float16",
    "bfloat16",
    "tf32",
    "float32",
    "e8m22fn",
    "e0m13",
    "e5m10fnuz",
    "e8m7_flush",
    "e5m10ieee_unsigned",
    "e4m11p3109e",
    "binary16p8ue",
    "posit8_2",
    "posit16_2",
]
RULES = [*((mode, None) for mode in DETERMINISTIC)]
RULES += [("stochastic", 32), ("stochastic_a", 3), ("stochastic_b", 20), ("stochastic_b", 32), ("stochastic_c", 9)]


def agree(names, into, count, seed):
    """Hold one kernel to the other, in every mode that both have; return which operations and modes these are."""
    formats, out, rng = tuple(map(rf.format, names)), rf.format(into), np.random.default_rng(seed)
    words = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, *rng.integers(0, 2**32, 20)], count).astype(np.uint32)
    posit, seen = isinstance(out, PositFormat), set()
    for k, operation in enumerate(kernel.OPERATIONS):
        several = formats[: spec.OPERATIONS[operation].operands]
        codes = [operands(fmt, count, seed + k)[i] for i, fmt in enumerate(several)]
        for j, (rounding, bits) in enumerate(RULES[:1] if posit else RULES):
            overflow, nan = "overflow" if posit else OVERFLOWS[(k + j) % 3], ("zero", "max")[j % 2]
            rule = RoundingRule(rounding, overflow, nan, bits or 32, given=words if bits else None)
            if arithmetic_paths.serves(operation, several, out, rule):
                seen.add((operation, rounding))
                expected, got = (way(operation, codes, several, out, rule) for way in (in_integers, in_float64))
                wrong = np.flatnonzero(expected != got)
                first = [hex(int(x[i])) for i in wrong[:1] for x in (*codes, expected, got)]
                assert not wrong.size, (operation, rule, first)
    return seen


@pytest.mark.parametrize("name", SERVED)
def test_float64_gives_what_integers_do_in_every_mode(name):
    seen = agree((name,) * 3, name, 6000, len(name))
    posit = isinstance(rf.format(name), PositFormat)
    assert {operation for operation, _ in seen} == set(kernel.OPERATIONS)
    assert {rounding for _, rounding in seen} == ({"ties_to_even"} if posit else {rounding for rounding, _ in RULES})


@pytest.mark.parametrize(
    "names, into",
    [
        *MIXTURES[:4],
        (("binary8p1uf", "float16", "binary8p3ue"), "binary16p8se"),
        (("float32", "e8m22fn", "posit16_1"), "posit32_2"),
        (("float32",) * 3, "e10m40"),
    ],
)
def test_float64_gives_what_integers_do_in_mixed_formats(names, into):
    assert {operation for operation, _ in agree(names, into, 6000, len(into))} == set(kernel.OPERATIONS)


@pytest.mark.parametrize(
    "name, kind, bits",
    [
        ("bfloat16", "stochastic", 32),
        ("float16", "stochastic_b", 32),
        ("bfloat16", "stochastic_c", 32),
        ("tf32", "stochastic_a", 32),
        ("e8m13", "stochastic", 32),
        ("float32", "stochastic_a", 27),  # all of float64's bits: 24 + 27 + 2
        ("float32", "stochastic_b", 27),
        ("float32", "stochastic_c", 27),
        ("float32", "stochastic_a", 24),  # and all of the 50 of a root
        ("float32", "stochastic", 32),  # more: settled by two float64 numbers, or in integers
        ("float32", "stochastic_b", 30),
        ("float32", "stochastic_c", 32),
    ],
)
def test_float64_goes_up_from_the_same_random_integer_on_as_integers_do(name, kind, bits):
    fmt, count = rf.format(name), 3000
    tried = 0
    for operation in kernel.OPERATIONS:
        several = (fmt,) * spec.OPERATIONS[operation].operands
        codes = list(operands(fmt, count, 5)[: len(several)])
        if operation == "sqrt":
            codes = [codes[0] & np.uint64(fmt.sign_mask - 1)]

        def drawn(way, random, operation=operation, codes=codes, several=several):
            words = (random << np.uint64(32 - bits)).astype(np.uint32)
            return way(operation, codes, several, fmt, RoundingRule(kind, random_bits=bits, given=words))

        low, high = np.zeros(count, np.uint64), np.full(count, 2**bits - 1, np.uint64)
        down, moves = drawn(in_integers, low), drawn(in_integers, low) != drawn(in_integers, high)
        for _ in range(bits):
            middle = (low + high) // np.uint64(2)
            up = drawn(in_integers, middle) != down
            low, high = np.where(up | (low == high), low, middle + np.uint64(1)), np.where(up, middle, high)
        if not arithmetic_paths.serves(operation, several, fmt, RoundingRule(kind, random_bits=bits)):
            continue
        tried += 1
        assert moves.sum() > count // 20 or operation in ("add", "sub")
        for random in (high, np.maximum(high, np.uint64(1)) - np.uint64(1)):
            assert (drawn(in_float64, random) == drawn(in_integers, random)).all(), operation
    assert tried >= 5


def test_results_that_two_roundings_would_spoil_are_left_to_integers():
    single, stochastic = rf.format("float32"), RoundingRule("stochastic")
    assert not arithmetic_paths.serves("sqrt", (single,), rf.format("e8m48"), RoundingRule())
    assert not arithmetic_paths.serves("add", (single,) * 2, rf.format("float64"), RoundingRule())
    assert not arithmetic_paths.serves("add", (rf.format("e10m5"),) * 2, single, RoundingRule())
    assert not arithmetic_paths.serves("add", (single,) * 2, rf.format("e8m30"), stochastic)  # 31 + 32 + 2 bits
    for name in ("add", "mul"):  # what two float64 numbers do not settle is left to integers one by one
        assert arithmetic_paths.serves(name, (single,) * 2, single, stochastic)


def far_and_wide(count, seed):
    """Float64s of at most 26 bits, exponents to 2^+-300, some close to each other's negatives."""
    rng = np.random.default_rng(seed)
    a, b, c = (rng.integers(1, 1 << rng.integers(1, 27, count)) * rng.choice([-1.0, 1.0], count) for _ in "abc")
    far = rng.integers(-300, 274, (3, count)) * (rng.random(count) < 0.5)
    a, b, c = (np.ldexp(x, e) for x, e in zip((a, b, c), far, strict=True))
    near = -a * (1 + 2.0 ** -rng.integers(1, 20, count))
    short = near.view(np.uint64) & np.uint64((1 << 27) - 1) == 0
    return a, np.where((rng.random(count) < 0.3) & short, near, b), c


@pytest.mark.parametrize("operation", ["add", "sub", "mul", "div", "sqrt", "fma"])
def test_what_float64_gives_is_exact_or_odd_and_next_to_the_exact_result(operation):
    a, b, c = far_and_wide(2000, 1)
    if operation == "sqrt":
        squares = np.arange(1.0, 3001.0) ** 2
        a = b = c = np.concatenate([np.abs(a), squares, squares + 1, squares - 0.5])
    out = np.empty(a.size, np.uint64)
    float64_arithmetic.to_odd(kernel.OPERATIONS.index(operation), a, b, c, out, False, False)
    found = out.view(np.float64)
    for x, y, z, bit, got in zip(a.tolist(), b.tolist(), c.tolist(), out.tolist(), found.tolist(), strict=True):
        x, y, z, result = map(Fraction, (x, y, z, got))
        if operation == "sqrt":
            unit = 8 * Fraction(math.ulp(got))
            near, same = (result - unit) ** 2 < x < (result + unit) ** 2, result**2 == x
        else:
            exact = {"add": x + y, "sub": x - y, "mul": x * y, "div": x / y, "fma": x * y + z}[operation]
            near, same = abs(result - exact) < Fraction(math.ulp(got)), result == exact
        assert same or (near and bit & 1), (operation, x, y, z)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4", "int32"])
def test_values_have_the_results_of_their_codes_in_any_type(monkeypatch, kind):
    monkeypatch.setattr(definitions, "elements_left", 0)
    for name in ("float16", "bfloat16", "e8m22fn", "float8_e4m3fnuz", "binary8p4se", "posit8_2", "posit16_2", "e6m9"):
        fmt, rng = rf.format(name), np.random.default_rng(7)
        codes = rng.integers(0, 1 << fmt.bits, (3, 5000), dtype=np.uint64)
        values = rf.decode(codes, fmt)
        with np.errstate(all="ignore"):
            typed = values.astype(kind)
            codes = codes[:, ((typed == values) | np.isnan(values) & np.isnan(typed)).all(axis=0)]
            typed = rf.decode(codes, fmt).astype(kind)
        for operation in kernel.OPERATIONS:
            count = spec.OPERATIONS[operation].operands
            how = {} if isinstance(fmt, PositFormat) else {"rounding": "toward_negative"}
            got = getattr(rf, operation)(*typed[:count], fmt, **how)
            if kind == "int32":  # which have no -0
                continue
            expected = getattr(rf.codes, operation)(*codes[:count], fmt, **how)
            assert (rf.encode(got, fmt) == expected).all(), (name, operation)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name, into", [("float8_e4m3fnuz", "bfloat16"), ("float8_e5m2",) * 2, ("posit8_1",) * 2])
def test_values_of_8_bits_are_looked_up_by_their_leading_bits(monkeypatch, name, into, kind):
    monkeypatch.setattr(definitions, "elements_left", 0)
    fmt, every = rf.format(name), np.indices((256, 256)).reshape(2, -1)
    with np.errstate(all="ignore"):
        a, b = x = [rf.decode(codes, fmt, dtype="float64").astype(kind) for codes in every]
    x = [np.where((v == 0) & (np.arange(v.size) % 2 == 1), -v, v) for v in x]  # zeros of either sign
    operations = [(rf.sub, rf.codes.sub, 2), (rf.div, rf.codes.div, 2), (rf.tanh, rf.codes.tanh, 1)]
    first = [on_values(*x[:n], fmt, out_format=into) for on_values, _, n in operations]
    with monkeypatch.context() as without:
        without.setattr(arithmetic, "compute", None)  # which fills the tables
        again = [on_values(*x[:n], fmt, out_format=into) for on_values, _, n in operations]
    for (_, on_codes, n), once, twice in zip(operations, first, again, strict=True):
        assert once.dtype == twice.dtype and (once.view(f"u{once.itemsize}") == twice.view(f"u{once.itemsize}")).all()
        codes = [rf.encode(v, fmt) for v in x[:n]]
        assert (rf.encode(once, into) == on_codes(*codes, fmt, out_format=into)).all()
    strange = np.full(5000, np.nan, kind)
    strange.view(f"u{strange.itemsize}")[:] += 1  # a NaN with low bits
    assert np.isnan(rf.sub(strange, 0.0, fmt)).all()
    a = np.resize(a, 5000)
    a[4321] = 0.7
    with pytest.raises(ValueError, match=r"sub: b\[4321\] is 0.7\d*; allowed is a value of"):
        rf.sub(0.0, a, fmt)


def test_a_value_that_is_not_one_of_the_format_is_named_in_a_long_array():
    x = np.ones((3, 90000), np.float32)
    x[1, 7] = 1 + 2.0**-10
    with pytest.raises(ValueError, match=r"b\[7\] is 1.0009\d*; allowed is a value of bfloat16; the nearest is 1.0"):
        rf.fma(*x, "bfloat16")
    some = np.where(np.arange(90000) == 70000, np.nan, 1.0)
    with pytest.raises(ValueError, match=r"b\[70000\] is nan; allowed is a value of e8m5; it has no NaN"):
        rf.add(x[0], some, "e8m5")
    with pytest.raises(ValueError, match=r"the result\[70000\] is NaN"):
        rf.div(x[0] * 0, np.where(np.isnan(some), 0.0, 1.0), "e8m8", nan="raise")


def test_two_threads_give_what_one_does(monkeypatch):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**15, (2, 2 * arithmetic_paths.ELEMENTS_PER_THREAD + 3), dtype=np.uint16)
    small = rf.decode(codes >> 8, "e4m3fn")
    calls = [
        lambda: rf.codes.mul(*codes, "bfloat16", rounding="stochastic", seed=1),
        lambda: rf.fma(*small, small[0], "e4m3fn", rounding="stochastic", seed=1),
        lambda: rf.div(*small, "e4m3fn"),
    ]
    found = []
    for count in (1, 2):
        monkeypatch.setattr(arrays, "_thread_count", lambda count=count: count)
        found.append([call() for call in calls])
    for one, two in zip(*found, strict=True):
        assert np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    ones = np.ones(codes.shape[1], np.float32)
    with pytest.raises(ValueError, match=r"the result\[70000\] is NaN"):
        rf.div(ones * 0, np.where(np.isin(np.arange(ones.size), [70000, ones.size - 1]), 0, ones), "e8m8", nan="raise")


def test_zeros_have_no_sign_where_the_format_has_none_though_the_values_do(monkeypatch):
    monkeypatch.setattr(definitions, "elements_left", 0)
    zeros, ones = np.full(5000, -0.0, np.float32), np.ones(5000, np.float32)
    assert not np.signbit(rf.add(zeros, zeros, "e5m10fnuz")).any()
    assert np.signbit(rf.add(zeros, zeros, "bfloat16")).all()
    assert (rf.div(ones, zeros, ("e5m10fnuz",) * 2, out_format="float16") == np.inf).all()
    assert (rf.div(ones, zeros, "bfloat16") == -np.inf).all()
    assert np.isnan(rf.div(ones, zeros, ("binary16p8se", "bfloat16"), out_format="float16")).all()
