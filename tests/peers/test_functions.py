"""Functions against MPFR, by gmpy2, in every mode: `benchmarks/functions.py` says how it is asked."""

import json
import random
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import refimpl as rf
from refimpl.spec import functions as spec
from refimpl.spec.float_codes import floor_log2

pytest.importorskip("gmpy2")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import functions as mpfr  # noqa: E402
import mpfr as compiled  # noqa: E402

BITS = 120  # more than any boundary of rounding has


def cut(value):
    """Return a Value cut to BITS bits, odd where it had more: what all formats and modes see of it."""
    if value.kind != "finite" or value.magnitude == 0:
        return value
    unit = Fraction(2) ** (floor_log2(value.magnitude) + 1 - BITS)
    whole, rest = divmod(value.magnitude, unit)
    if abs(floor_log2(value.magnitude)) > 1 << 17:  # beyond every format, whatever it is
        return value._replace(magnitude=Fraction(2 if value.magnitude > 1 else 1))
    return value._replace(magnitude=(whole | bool(rest)) * unit)


def operands(name, count, seed):
    """Yield dyadic fractions of few and many bits, small, large and next to powers of two."""
    generator = random.Random(f"{name} {seed}")
    for _ in range(count):
        bits = generator.choice([1, 2, 3, 8, 11, 24, 53])
        x = Fraction(2 ** (bits - 1) + generator.choice([0, 1, generator.getrandbits(bits)]), 2**bits)
        x *= Fraction(2) ** generator.choice([0, 0, 0, 1, 1, 2, 3, 6, 9, 40, 127, 1000, -1, -2, -9, -30, -149, -1000])
        if name in ("asin", "acos", "asinpi", "acospi", "atanh") and x > 1 and generator.random() < 0.9:
            x = 1 / Fraction(2) ** (floor_log2(x) + 1) * x
        yield x if name in ("acosh", "log", "log2", "log10", "rsqrt") else x * generator.choice([1, -1])


@pytest.mark.parametrize("name", mpfr.UNARY)
def test_a_function_to_odd_is_mpfr_s_at_any_operand(name):
    for x in operands(name, 300, 0):
        assert cut(spec.FUNCTIONS[name](spec.exactly(x))) == cut(mpfr.to_odd(name, (x,), BITS)), x


@pytest.mark.parametrize("name", ["hypot", "atan2", "pow"])
def test_a_function_of_two_operands_to_odd_is_mpfr_s(name):
    for x, y in zip(operands(name, 600, 1), operands(name, 600, 2), strict=True):
        if name == "pow":
            x, y = abs(x) ** random.Random(int(1000 * x)).choice([1, 2, 4]), y
        assert cut(spec.FUNCTIONS[name](spec.exactly(x), spec.exactly(y))) == cut(mpfr.to_odd(name, (x, y), BITS)), (
            x,
            y,
        )


@pytest.mark.parametrize("name", mpfr.UNARY)
def test_mpfr_is_asked_enough_to_notice_a_wrong_last_bit(name):
    """Of 100 results moved by a unit in the 118th bit none passes for MPFR's."""
    for x in operands(name, 100, 3):
        result = spec.FUNCTIONS[name](spec.exactly(x))
        if result.kind == "finite" and result.magnitude and abs(floor_log2(result.magnitude)) < 1 << 17:
            moved = result._replace(magnitude=result.magnitude * (1 + Fraction(1, 2**117)))
            assert cut(moved) != cut(mpfr.to_odd(name, (x,), BITS)), x


# -- arrays: all codes, in every mode ----------------------------------------------------------------

NEAREST = {"rounding": "ties_to_even"}
MODES = [
    NEAREST,
    {"rounding": "ties_to_away"},
    {"rounding": "toward_zero"},
    {"rounding": "toward_positive", "overflow": "saturate"},
    {"rounding": "toward_negative"},
    {"rounding": "to_odd", "overflow": "propagate"},
    {"rounding": "stochastic", "seed": 1},
    {"rounding": "stochastic_a", "random_bits": 3, "seed": 2},
    {"rounding": "stochastic_b", "random_bits": 9, "seed": 3},
    {"rounding": "stochastic_c", "random_bits": 16, "seed": 4},
]
EIGHT = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e3m4"]
EIGHT += ["binary8p4se", "binary8p3se", "binary8p3ue", "binary8p1ue", "binary8p4sf", "posit8_2"]


def agrees(name, fmt, *columns, modes=MODES):
    """Hold results of codes to MPFR's, to odd as float64: enough for 16 bits and 32 random ones, or float32."""
    values = [rf.decode(c, fmt) for c in columns]
    expected = mpfr.as_float64(name, values, p3109=fmt.startswith("binary"))
    for how in modes[: 1 if fmt.startswith("posit") else None]:
        got = getattr(rf.codes, name)(*columns, fmt, **how)
        wanted = rf.encode(expected, fmt, **how)
        wrong = (got != wanted) & ~np.isnan(expected)  # a NaN has no sign, and fmt.nan_code
        assert not wrong.any(), (how, [hex(c[wrong][0]) for c in columns], hex(got[wrong][0]), hex(wanted[wrong][0]))
        assert np.isnan(rf.decode(got, fmt)[np.isnan(expected)]).all()


@pytest.mark.parametrize("name", mpfr.UNARY)
@pytest.mark.parametrize("fmt", EIGHT)
def test_a_function_of_all_codes_of_8_bits_is_mpfr_s_in_every_mode(fmt, name):
    agrees(name, fmt, np.arange(256, dtype=np.uint8))


OFTEN = ["exp", "log2", "sin", "tanh"]
or_slow = [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in mpfr.UNARY]


@pytest.mark.parametrize("name", or_slow)
@pytest.mark.parametrize("fmt", ["float16", "bfloat16"])
def test_a_function_of_all_codes_of_16_bits_is_mpfr_s_in_every_mode(fmt, name):
    agrees(name, fmt, np.arange(1 << 16, dtype=np.uint16))


def float32_codes(name, count, seed):
    """Half of the codes random, half between 2^-30 and 2^8: most of float32 is where functions are simple."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    codes[::2] = (rng.integers(97, 135, codes[::2].size, dtype=np.uint32) << 23) | (codes[::2] & 0x807FFFFF)
    if name in ("acosh", "log", "log2", "log10", "rsqrt"):
        codes &= 0x7FFFFFFF
    return codes


@pytest.mark.parametrize("name", mpfr.UNARY)
def test_a_function_of_some_float32_is_mpfr_s_in_every_deterministic_mode(name):
    agrees(name, "float32", float32_codes(name, 2_000, 6), modes=MODES[:6])


# -- float32: ten million a function -----------------------------------------------------------------

EVERY = [*mpfr.UNARY, *compiled.PAIRS]
RECORDED = json.loads(compiled.DIGESTS.read_text())


def of_float32(name, columns):
    return getattr(rf, name)(*columns, "float32")


@pytest.mark.parametrize("name", EVERY)
def test_what_calls_mpfr_in_compiled_loops_gets_what_python_gets_of_it(name):
    columns = [c[:400] for c in compiled.operands(name, 77)]
    found = compiled.results(name, columns)
    if name == "atan2pi":  # gmpy2 has none
        assert (found.astype(np.float32) == of_float32(name, columns))[~np.isnan(found)].all()
    else:
        with np.errstate(invalid="ignore"):
            expected = mpfr.as_float64(name, columns)
        assert (
            np.array_equal(found.view(np.uint64), expected.view(np.uint64))
            or (
                (found == expected) & (np.signbit(found) == np.signbit(expected)) | np.isnan(found) & np.isnan(expected)
            ).all()
        )


@pytest.mark.parametrize("name", ["exp", "log2", "sin", "tanh", "gelu", "pow"])
def test_a_million_float32_are_mpfr_s(name):
    assert compiled.digest(of_float32(name, compiled.operands(name, 0))) == RECORDED[name][0]


def test_one_wrong_result_of_a_million_is_noticed():
    found = of_float32("exp", compiled.operands("exp", 0))
    found[int(np.flatnonzero(np.isfinite(found))[500_000])] *= np.float32(1 + 2**-23)
    assert compiled.digest(found) != RECORDED["exp"][0]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_ten_million_float32_are_mpfr_s(name):
    for chunk, recorded in enumerate(RECORDED[name]):
        columns = compiled.operands(name, chunk)
        found = of_float32(name, columns)
        if compiled.digest(found) != recorded:
            expected = compiled.expected(name, columns)
            wrong = (found != expected) & ~(np.isnan(found) & np.isnan(expected))
            raise AssertionError([[x.item().hex() for x in c[wrong][:3]] for c in (*columns, found, expected)])
    assert len(RECORDED[name]) * compiled.CHUNK >= 10**7


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", RECORDED)
def test_mpfr_asked_anew_answers_as_recorded(name):
    for chunk, recorded in enumerate(RECORDED[name]):
        assert compiled.digest(compiled.expected(name, compiled.operands(name, chunk))) == recorded


# -- pairs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hypot", "atan2", "pow"])
@pytest.mark.parametrize("fmt", ["float8_e4m3fn", "float8_e5m2", "binary8p3se"])
def test_a_function_of_all_pairs_of_8_bits_is_mpfr_s(fmt, name):
    pairs = np.arange(1 << 16)
    first, second = (pairs >> 8).astype(np.uint8), (pairs & 255).astype(np.uint8)
    if name == "pow" and fmt.startswith("binary"):
        pytest.skip("P3109 has no power")
    finite = np.isfinite(rf.decode(first, fmt)) & np.isfinite(rf.decode(second, fmt))
    finite &= (rf.decode(first, fmt) != 0) & (rf.decode(second, fmt) != 0)
    agrees(name, fmt, first[finite], second[finite], modes=[MODES[k] for k in (0, 3, 4, 5)])


@pytest.mark.parametrize("name", ["hypot", "atan2", "pow"])
@pytest.mark.parametrize("fmt", ["float16", "bfloat16", "float32"])
def test_a_function_of_random_pairs_is_mpfr_s(fmt, name):
    bits = rf.format(fmt).bits
    rng = np.random.default_rng(7)
    first, second = rng.integers(0, 1 << bits, (2, 4000)).astype(f"u{bits // 8}")
    second[:2000] = first[:2000] + rng.integers(-3, 4, 2000).astype(second.dtype)
    finite = np.isfinite(rf.decode(first, fmt)) & np.isfinite(rf.decode(second, fmt))
    agrees(name, fmt, first[finite], second[finite], modes=[MODES[k] for k in (0, 3, 4)])


def test_rounding_through_float32_or_trusting_float64_is_wrong_somewhere():
    """What correct rounding is for: both usual roads fail on float16, and what is right is MPFR's."""
    codes = np.arange(1 << 16, dtype=np.uint16)
    x = codes.view(np.float16)
    expected = mpfr.as_float64("exp", [x.astype(float)])
    with np.errstate(all="ignore"):
        twice = np.exp(x.astype(np.float64)).astype(np.float32).astype(np.float16)
    number = np.isfinite(expected)
    right = rf.exp(x, "float16")
    assert (right[number] == rf.quantize(expected, "float16")[number]).all()
    assert 1 <= (twice[number] != right[number]).sum() <= 40  # rounded to float32 and again to float16
    up = rf.exp(x, "float16", rounding="toward_positive")
    with np.errstate(all="ignore"):
        naive = rf.quantize(np.exp(x.astype(np.float64)), "float16", rounding="toward_positive")
    assert (naive[number] != up[number]).sum() > 100  # exp(-2^-24) is 1 - 2^-24 to float64, exp(2^-14) is ...
