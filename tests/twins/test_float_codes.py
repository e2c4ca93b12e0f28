"""The kernels of `refimpl.kernels.float_codes` are their definitions in `refimpl.spec`, bit for bit.

Formats of at most 8 bits: every combination of fields with its default bias, all codes, all values
and midpoints with their float64 and float32 neighbours.  The default run gives each format two of
the rounding modes in turn; the whole product is marked slow.  Wider formats: values around every
edge of the format, of float32 and of float64, and random bit patterns.
"""

import math
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import NAN_RULES, OVERFLOWS, ROUNDINGS, FloatFormat, Specials
from refimpl.formats import format as format_of
from refimpl.kernels import float_codes as kernel
from refimpl.kernels.random_bits import random_words
from refimpl.spec import float_codes as spec
from refimpl.spec.random_bits import random_word

FAMILIES = Specials.__args__
DETERMINISTIC = [rounding for rounding in ROUNDINGS if not rounding.startswith("stochastic")]
LAST_WORD = 2**32 - 1


def valid_formats(largest):
    """Every format of at most `largest` bits with its default bias."""
    found = []
    for exponent_bits in range(largest + 1):
        for mantissa_bits in range(largest + 1 - exponent_bits):
            for signed in (True, False):
                for family in FAMILIES:
                    for has_subnormals in (True, False):
                        try:
                            fmt = FloatFormat(
                                exponent_bits=exponent_bits,
                                mantissa_bits=mantissa_bits,
                                signed=signed,
                                specials=family,
                                has_subnormals=has_subnormals,
                            )
                        except ValueError:
                            continue
                        if fmt.bits <= largest:
                            found.append(fmt)
    return list(dict.fromkeys(found))


SMALL = valid_formats(8)
WIDE = [
    "bfloat16",
    "float16",
    "tf32",
    "float32",
    "e8m23fn",
    "e5m10fnuz",
    "e11m20",
    "e8m7_flush",
    "e5m10ieee_unsigned",
    "e10m8b400",
    "e6m9b-3",
    "e4m3b5000",
    "e4m3b-5000",
    *(f"e{e}m{m}" for e, m in ((3, 1), (3, 2), (3, 3), (3, 4), (4, 1), (4, 2), (4, 3), (4, 4), (5, 1), (5, 2), (5, 3))),
    *(f"e{e}m{m}" for e in (6, 7, 8) for m in (7, 9, 11)),
]


@cache
def values_of_codes(fmt):
    """The value of each magnitude code of a format of few bits."""
    return [spec.magnitude(code, fmt) for code in range(fmt.max_code + 2)]


@cache
def inputs(fmt):
    """Values and midpoints of a small format, each with its float64 and float32 neighbours."""
    values = values_of_codes(fmt)
    points = {0.0, 2.0**-149, 2.0**-1074, 2.0**-1022, 2.0**127, 1e300, 1.7976931348623157e308}
    for low, high in zip(values, values[1:], strict=False):
        points.update((float(low), float((low + high) / 2), float(high)))
    points.update((float(values[1]) / 2, 2 * float(values[-1])))
    near = set()
    for point in points:
        near.update((point, math.nextafter(point, 0), math.nextafter(point, math.inf)))
        if point < 2.0**127:
            single = np.float32(point)
            for neighbour in (single, np.nextafter(single, np.float32(0)), np.nextafter(single, np.float32(np.inf))):
                near.add(float(neighbour))
    magnitudes = np.array(sorted(near))
    return np.concatenate([magnitudes, -magnitudes, [np.inf, -np.inf, np.nan, -np.nan]])


@cache
def inputs_at_the_edges(fmt):
    """Of those, what overflow and NaN rules can matter for: zeros, the top and the specials."""
    x = inputs(fmt)
    top = float(values_of_codes(fmt)[-2 if fmt.max_code > 1 else -1])
    with np.errstate(invalid="ignore"):
        return x[~(np.abs(x) < top) | (x == 0) | (x == float(values_of_codes(fmt)[1]))]


def from_spec(x, fmt, rounding, overflow="overflow", nan="zero", words=None):
    """The definition's codes."""
    return [
        spec.encode(spec.from_float(float(v)), fmt, rounding, overflow, nan, 0 if words is None else int(words[i]))
        for i, v in enumerate(x)
    ]


def from_kernel(x, fmt, rounding, overflow="overflow", nan="zero", words=None):
    """The kernel's codes under given random words."""
    codes = np.empty(len(x), np.uint64)
    words = np.zeros(0, np.uint32) if words is None else np.asarray(words, np.uint32)
    kernel.encode(
        np.asarray(x, np.float64).view(np.uint64),
        codes,
        kernel.fields(format_of("float64")),
        kernel.fields(fmt),
        kernel.mode(rounding, overflow, nan),
        words,
    )
    return codes


def assert_codes(got, expected, x, *context):
    """Compare codes, and name the first input that differs."""
    expected = np.asarray(expected, np.uint64)
    wrong = np.flatnonzero(np.asarray(got, np.uint64) != expected)
    assert not wrong.size, (
        f"{[str(c) for c in context]}: {len(wrong)} of {len(x)} differ, first "
        f"{x[wrong[0]]!r} ({float(x[wrong[0]]).hex()}): code {int(got[wrong[0]]):#x}, "
        f"defined as {int(expected[wrong[0]]):#x}"
    )


def assert_values(got, codes, fmt, *context):
    """Compare quantized values with those of the definition's codes; any NaN equals any NaN."""
    table = {code: spec.to_float(spec.decode(code, fmt)) for code in set(map(int, codes))}
    with np.errstate(over="ignore"):
        expected = np.array([table[int(code)] for code in codes]).astype(got.dtype)
    view = f"u{got.dtype.itemsize}"
    same = (got.view(view) == expected.view(view)) | (np.isnan(got) & np.isnan(expected))
    assert same.all(), ([str(c) for c in context], got[~same][:5], expected[~same][:5])


def check_every_rounding(fmt, roundings):
    x = inputs(fmt)
    with np.errstate(over="ignore", invalid="ignore"):
        is_single = ~(np.abs(x) > 3.4028234663852886e38) | np.isinf(x)
        is_single &= (x.astype(np.float32) == x) | np.isnan(x)
        single = x[is_single].astype(np.float32)
    for rounding in roundings:
        expected = np.array(from_spec(x, fmt, rounding), np.uint64)
        assert_codes(from_kernel(x, fmt, rounding), expected, x, fmt, rounding)
        assert_values(ops.quantize(x, fmt, rounding=rounding), expected, fmt, rounding)
        # the same as float32, where another kernel may serve
        assert_codes(ops.encode(single, fmt, rounding=rounding), expected[is_single], single, fmt)
        assert_values(ops.quantize(single, fmt, rounding=rounding), expected[is_single], fmt, rounding)


def check_every_rule(fmt, roundings, overflows=OVERFLOWS):
    x = inputs_at_the_edges(fmt)
    with np.errstate(over="ignore"):
        single = x.astype(np.float32)
    for rounding in roundings:
        for overflow in overflows:
            for nan in ("zero", "max"):
                expected = from_spec(x, fmt, rounding, overflow, nan)
                context = fmt, rounding, overflow, nan
                assert_codes(from_kernel(x, fmt, rounding, overflow, nan), expected, x, *context)
                expected = from_spec(single, fmt, rounding, overflow, nan)
                rules = {"rounding": rounding, "overflow": overflow, "nan": nan}
                assert_codes(ops.encode(single, fmt, **rules), expected, single, *context)
                assert_values(ops.quantize(single, fmt, **rules), expected, fmt, *context)


def threshold_words(x, fmt):
    """The last word at which |x| stays and the first at which it goes up: 2^32 - floor(nu 2^32)."""
    values = values_of_codes(fmt)
    values = [v for i, v in enumerate(values) if i == 0 or v > values[i - 1]]
    stay = np.zeros(len(x), np.uint32)
    for i, v in enumerate(x):
        if not math.isfinite(v) or abs(v) >= values[-1] or abs(Fraction(v)) < values[0]:
            continue
        exact = abs(Fraction(v))
        c = next(c for c in range(len(values)) if exact < values[c + 1])
        nu = (exact - values[c]) / (values[c + 1] - values[c])
        stay[i] = min(2**32 - math.floor(nu * 2**32), LAST_WORD + 1) - 1
    return stay, np.minimum(stay.astype(np.uint64) + 1, LAST_WORD).astype(np.uint32)


def check_stochastic(fmt, x):
    stay, go = threshold_words(x, fmt)
    some = np.random.default_rng(0).integers(2**32, size=len(x), dtype=np.uint32)
    for words in (np.zeros_like(stay), np.full_like(stay, LAST_WORD), stay, go, some):
        expected = from_spec(x, fmt, "stochastic", words=words)
        assert_codes(from_kernel(x, fmt, "stochastic", words=words), expected, x, fmt, "stochastic")


# -- formats of at most 8 bits -------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_code_of_every_small_format_decodes_as_defined(family):
    for fmt in (fmt for fmt in SMALL if fmt.specials == family):
        codes = np.arange(2**fmt.bits, dtype=np.uint8 if fmt.bits < 8 else np.uint16)
        expected = np.array([spec.to_float(spec.decode(int(code), fmt)) for code in codes])
        got = ops.decode(codes, fmt)
        same = (got.view(np.uint64) == expected.view(np.uint64)) | (np.isnan(got) & np.isnan(expected))
        assert same.all(), (fmt, codes[~same])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_small_format_rounds_as_defined(family):
    # Each format takes one rounding mode and one set of rules in turn, those of 3 bits take all.
    for i, fmt in enumerate(fmt for fmt in SMALL if fmt.specials == family):
        every = fmt.bits <= 3
        check_every_rounding(fmt, DETERMINISTIC if every else [DETERMINISTIC[i % 6]])
        check_every_rule(
            fmt, DETERMINISTIC if every else [DETERMINISTIC[(i + 3) % 6]], OVERFLOWS if every else [OVERFLOWS[i % 3]]
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_small_format_rounds_stochastically_as_defined(family):
    for i, fmt in enumerate(fmt for fmt in SMALL if fmt.specials == family):
        x = inputs(fmt)
        check_stochastic(fmt, x if fmt.bits <= 4 else x[i % 40 :: 40])


@pytest.mark.slow
@pytest.mark.parametrize("rounding", DETERMINISTIC)
def test_every_small_format_rounds_as_defined_in_every_mode(rounding):
    for fmt in SMALL:
        check_every_rounding(fmt, [rounding])
        check_every_rule(fmt, [rounding])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_small_format_rounds_stochastically_as_defined_everywhere(family):
    for fmt in (fmt for fmt in SMALL if fmt.specials == family):
        check_stochastic(fmt, inputs(fmt)[::5])


# -- wider formats -------------------------------------------------------------------------------


def boundary_weighted(fmt, seed=0, count=400):
    """Float32 values: one-bit and all-ones significands at special exponents, and random bits."""
    rng = np.random.default_rng(seed)
    m, low = fmt.mantissa_bits, fmt.min_exponent
    top = low + (fmt.max_code >> m) + 1
    exponents = {
        -149,
        -148,
        -127,
        -126,
        -125,
        0,
        126,
        127,
        low - m - 33,
        low - m - 2,
        low - m - 1,
        low - m,
        low - 1,
        low,
        low + 1,
        top - 2,
        top - 1,
        top,
    }
    halves = [0, 1, 2, 3, 2**22, 2**23 - 1, 2**23 - 2]
    for k in {23 - m - 1, 23 - m, 23 - m + 1}:
        if 0 <= k < 23:
            halves += [2**k, 2**k - 1, 2**k + 1, 3 * 2**k, 2**23 - 2**k, 2**23 - 2**k - 1]
    found = [0.0, np.inf, np.nan, 3.4028234663852886e38]
    for exponent in exponents:
        if -149 <= exponent <= 127:
            found += [math.ldexp(1 + half % 2**23 / 2**23, exponent) for half in halves]
    x = np.array(found).astype(np.float32)
    x = np.concatenate([x, rng.integers(2**32, size=count, dtype=np.uint32).view(np.float32)])
    least, most = (min(max(exponent, -149), 127) for exponent in (low - m - 3, top + 2))
    spread = rng.standard_normal(count) * 2.0 ** rng.integers(least, most + 1, size=count)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([x, -x, spread.astype(np.float32)])


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("rounding", DETERMINISTIC)
def test_both_paths_of_a_wider_format_round_float32_as_defined(name, rounding):
    fmt = format_of(name)
    x = boundary_weighted(fmt, count=100)
    for overflow in OVERFLOWS if rounding in ("ties_to_even", "toward_positive") else OVERFLOWS[:1]:
        for nan in ("zero", "max") if fmt.nan_code is None else ("zero",):
            rules = {"rounding": rounding, "overflow": overflow, "nan": nan}
            expected = from_spec(x, fmt, **rules)
            assert_codes(from_kernel(x, fmt, **rules), expected, x, name, rules)
            assert_codes(ops.encode(x, fmt, **rules), expected, x, name, rules)
            assert_values(ops.quantize(x, fmt, **rules), expected, fmt, name, rules)


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "bfloat16", "e11m51b900fn"])
def test_a_wide_format_rounds_float64_as_defined(name):
    fmt = format_of(name)
    rng = np.random.default_rng(3)
    x = np.concatenate(
        [
            rng.integers(2**64, size=300, dtype=np.uint64).view(np.float64),
            rng.integers(2**20, size=60, dtype=np.uint64).view(np.float64),
            [0.0, -0.0, 5e-324, -5e-324, 2.0**-1022, np.inf, -np.inf, np.nan, 1.7976931348623157e308],
            [65519.99999999999, 65520.0, 1 + 2.0**-11, 1 + 2.0**-11 + 2.0**-52, 3.4028235677973366e38],
        ]
    )
    for rounding in DETERMINISTIC:
        expected = from_spec(x, fmt, rounding)
        assert_codes(from_kernel(x, fmt, rounding), expected, x, name, rounding)


@pytest.mark.parametrize("name", ["e2m50b16385", "e2m50b100000", "e2m50b-100000", "e1m40b131072", "e0m10b-131072"])
def test_a_bias_far_from_the_input_overflows_or_underflows_as_defined(name):
    fmt = format_of(name)
    x = np.array([1.0, -1.5, 1e308, 5e-324, 0.0, 3.5, 1 - 2.0**-53])
    for rounding in DETERMINISTIC:
        expected = from_spec(x, fmt, rounding)
        assert_codes(from_kernel(x, fmt, rounding), expected, x, name, rounding)


@pytest.mark.parametrize("name", WIDE)
def test_element_i_of_a_long_array_takes_random_word_i(name):
    # 700 elements: several blocks of the generator, and one that is not full
    fmt = format_of(name)
    x = np.resize(boundary_weighted(fmt, seed=5, count=60), 700)
    seed, stream = 2**63 + 12345, 2**40 + 7
    words = [random_word(i, seed, stream) for i in range(700)]
    expected = from_spec(x, fmt, "stochastic", words=words)
    key = {"rounding": "stochastic", "seed": seed, "stream": stream}
    assert_codes(ops.encode(x, fmt, **key), expected, x, name)
    assert_values(ops.quantize(x, fmt, **key), expected, fmt, name)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 255, 256, 257, 1023])
def test_random_words_do_not_depend_on_how_many_elements_there_are(count):
    x = np.linspace(-3, 3, 1024, dtype=np.float32)
    key = {"rounding": "stochastic", "seed": 11, "stream": 3}
    for values in (x, x.astype(np.float64)):
        whole = ops.quantize(values, "e4m3", **key)
        assert (ops.quantize(values[:count], "e4m3", **key) == whole[:count]).all()


@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e8m7", "float16"])
def test_the_probability_of_going_up_is_the_fraction_exactly(name):
    # Below 12 dropped bits the decision only looks at the leading bits of the word: enumerate them.
    fmt = format_of(name)
    dropped = 12
    step = Fraction(2) ** -fmt.mantissa_bits
    tail = np.arange(2**dropped, dtype=np.uint64)
    for k in (0, 1, 2, 5, 2**11, 2**12 - 1):
        x = float(1 + step * Fraction(k, 2**dropped))
        words = (tail << np.uint64(32 - dropped)).astype(np.uint32)
        up = from_kernel(np.full(2**dropped, x), fmt, "stochastic", words=words)
        assert int((up > up.min()).sum()) == (k if k else 0)


@pytest.mark.parametrize("name", ["e4m3", "e6m9", "e8m11"])
def test_the_fast_stochastic_kernel_flips_at_the_word_the_definition_flips_at(name):
    # The kernel draws its own words: choose inputs around the threshold that each word sets.
    fmt = format_of(name)
    seed, stream, count = 5, 9, 512
    words = [random_word(i, seed, stream) for i in range(count)]
    dropped = 23 - fmt.mantissa_bits
    x = []
    for i, word in enumerate(words):
        least = -(-(2**32 - word) // 2 ** (32 - dropped))  # smallest tail that goes up
        tail = min(max(least - i % 2, 0), 2**dropped - 1)
        x.append(1 + tail * 2.0**-23)
    x = np.array(x, np.float32)
    got = ops.quantize(x, fmt, rounding="stochastic", seed=seed, stream=stream)
    assert_values(got, from_spec(x, fmt, "stochastic", words=words), fmt, name)
    up = got > 1
    assert up[::2].mean() > 0.95 and up[1::2].mean() < 0.05


def test_nan_rules_are_all_tried():
    assert set(NAN_RULES) == {"zero", "max", "raise"}  # raise is an error: tests/test_ops.py


@pytest.mark.parametrize("name", ["e4m3", "e5m2ieee", "e3m4fnuz"])
def test_values_far_below_the_smallest_go_up_at_the_defined_word(name):
    fmt = format_of(name)
    smallest = fmt.smallest_subnormal
    x = np.array([smallest * f * 2.0**-k for k in range(1, 36) for f in (1.0, 1.25, 1 + 2.0**-23)])
    words = [min(2**32 - math.floor(Fraction(v) / Fraction(smallest) * 2**32), LAST_WORD) for v in x]
    for shift in (-1, 0):
        shifted = [max(word + shift, 0) for word in words]
        assert_codes(
            from_kernel(x, fmt, "stochastic", words=shifted),
            from_spec(x, fmt, "stochastic", words=shifted),
            x,
            name,
            shift,
        )


@pytest.mark.parametrize("name", ["e4m3", "e5m2ieee", "e3m4fnuz"])
def test_values_far_below_the_smallest_go_up_as_often_as_their_words_say(name):
    fmt = format_of(name)
    words = np.empty(2**18, np.uint32)
    random_words(words, np.uint64(8), np.uint64(4))  # held to the definition in test_random_bits
    for k in (1, 5, 7, 8, 9, 10, 11, 12, 14):
        tiny = fmt.smallest_subnormal * 1.75 * 2.0**-k
        for x in (np.float32(tiny), np.float64(tiny)):
            got = ops.quantize(np.full(2**18, x), fmt, rounding="stochastic", seed=8, stream=4)
            assert ((got > 0) == (words >= 2**32 - int(1.75 * 2 ** (32 - k)))).all()
            assert set(np.unique(got)) == {0.0, fmt.smallest_subnormal}
