"""Operations that are not arithmetic: kernels against definitions, in every format and mode."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats import PositFormat
from refimpl.kernels import arithmetic, float_codes
from refimpl.kernels import operations as kernel
from refimpl.ops import operations as ops
from refimpl.spec import operations as spec

FORMATS = (
    *("float16", "bfloat16", "tf32", "float32", "e11m20", "e5m24b-900ieee", "e0m13", "e8m24fn", "e5m10fnuz"),
    *("e8m7_flush", "e5m10ieee_unsigned", "e4m11p3109e", "binary12p5ue", "e2m20b3000", "float8_e8m0fnu"),
    *("float8_e4m3fn", "binary8p4sf", "posit16_1", "posit32_2", "posit5_3"),
)
WIDE = ("float64", "e11m40fn")  # for operations that compute nothing
DETERMINISTIC = ["ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative", "to_odd"]


def codes_of(fmt, count, seed):
    """Three columns: random, near each other, near 1 and other powers of two, and special ones."""
    rng = np.random.default_rng(seed)
    mask = np.uint64((1 << fmt.bits) - 1)
    codes = rng.integers(0, 1 << 63, (3, count), dtype=np.uint64) * np.uint64(2) + rng.integers(0, 2, dtype=np.uint64)
    codes &= mask
    part = count // 4
    codes[1, :part] = codes[0, :part] + rng.integers(-2, 3, part).astype(np.uint64)
    codes[2, : part // 2] = codes[1, : part // 2]
    codes[1, : part // 2] ^= np.uint64(1 << (fmt.bits - 1))
    edges = [0, 1, 2, fmt.bits, (1 << fmt.bits) - 1, 1 << (fmt.bits - 1), (1 << (fmt.bits - 1)) - 1]
    if not isinstance(fmt, PositFormat):
        one = spec.encode(spec.ONE, fmt)
        places = [one, one + 1, one + 2 * (1 << fmt.mantissa_bits), one + (1 << fmt.mantissa_bits >> 1)]
        edges += [fmt.max_code, fmt.max_code + 1, fmt.max_code + 2, fmt.max_code - 1, 1 << fmt.mantissa_bits, *places]
        edges += [e | fmt.sign_mask for e in edges]
    codes[:, part : 3 * part] = rng.choice(np.array(edges, np.uint64), (3, 2 * part))
    near = codes[:, 2 * part : 3 * part]
    near += rng.integers(0, 4, near.shape).astype(np.uint64) << np.uint64(max(getattr(fmt, "mantissa_bits", 3) - 1, 0))
    return codes & mask


def check(operation, formats, into, rounding, overflow="overflow", bits=32, count=80):
    seed = len(into.name) + len(operation) + len(rounding)
    codes = np.array([codes_of(f, count, seed + k)[k] for k, f in enumerate(formats)])
    words = np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)
    words[:4] = 0, 2**32 - 1, 2**31, 2**31 - 1
    p3109 = spec.is_p3109(*formats, into)
    if operation == "scaleb":
        codes[1] = (codes[1] % np.uint64(601)) - np.uint64(300)  # integers modulo 2^64
    layouts = [arithmetic.layout(f) for f in formats] + [arithmetic.layout(into, p3109)]
    how = float_codes.mode(rounding, overflow, "zero", bits)
    got = np.empty(count, np.uint64)
    first = kernel.calculate(kernel.OPERATIONS.index(operation), *codes, got, *layouts, how, words, p3109)
    operands = spec.OPERATIONS[operation].operands if operation in spec.OPERATIONS else 1
    nans = []
    for i in range(count):
        random = int(words[i]) >> (32 - bits)
        values = [spec.decode(int(c), f, p3109) for c, f in zip(codes[:operands, i], formats, strict=False)]
        if operation == "scaleb":
            values[1] = int(codes[1, i].astype(np.int64))
        if operation == "round_to_integral":
            exact = spec.round_to_integral(values[0], rounding, random, bits)
        else:
            exact = spec.exact(operation, tuple(values), rounding, p3109)
        nans.append(exact.kind == "nan")
        wanted = spec.encode(exact, into, rounding, overflow, "zero", random, bits, p3109)
        several = [hex(c) for c in codes[:operands, i]]
        assert int(got[i]) == wanted, (operation, str(into), rounding, several, hex(got[i]), hex(wanted))
    assert first == (nans.index(True) if any(nans) else -1)


@pytest.mark.parametrize("name", FORMATS)
def test_every_operation_of_a_format_is_as_defined(name):
    fmt = rf.format(name)
    for k, operation in enumerate(kernel.OPERATIONS):
        if isinstance(fmt, PositFormat):
            check(operation, [fmt] * 3, fmt, "ties_to_even")
            continue
        check(operation, [fmt] * 3, fmt, DETERMINISTIC[k % 6], ("overflow", "saturate", "propagate")[k % 3])
        check(operation, [fmt] * 3, fmt, "toward_negative" if operation == "faa" else DETERMINISTIC[(k + 3) % 6])


@pytest.mark.parametrize("rounding", DETERMINISTIC)
@pytest.mark.parametrize("operation", ["faa", "remainder", "recip", "round_to_integral"])
def test_what_rounds_does_so_as_defined_in_every_mode(operation, rounding):
    for name in ("float16", "float32", "e5m2b20ieee", "e4m11p3109e"):
        check(operation, [rf.format(name)] * 3, rf.format(name), rounding, count=200)


@pytest.mark.parametrize("name", ["float32", "posit32_2"])
def test_sums_of_three_are_exact_however_far_apart_and_whatever_cancels(name):
    fmt, rng = rf.format(name), np.random.default_rng(5)
    a, b, c = np.float32(rng.choice([-1, 1], (3, 1500)) * (1 + rng.random((3, 1500))))
    b = np.ldexp(b, -rng.integers(0, 50, b.size))
    c = np.where(rng.random(c.size) < 0.3, np.ldexp(c, -rng.integers(0, 90, c.size)), -b)
    c[::7], a[::11] = np.nextafter(c[::7], np.float32(0)), -b[::11]
    b[::13] = 0
    far = rng.integers(24, 50, b[1::4].size)  # a sum that one random word sees on the side where c has it
    b[1::4], c[1::4] = np.ldexp(1.0, -far), np.ldexp(c[1::4], -rng.choice([70, 120], far.size))
    columns = rng.permuted([rf.encode(x, fmt).astype(np.uint64) for x in (a, b, c)], axis=0)
    layout = arithmetic.layout(fmt)
    words = rng.choice([0, 1, 2**32 - 1, 2**31], a.size).astype(np.uint32)
    unit = 2 ** np.minimum(55 - far, 31)
    words[1::4] = np.where(a[1::4] > 0, 2**32 - unit, unit)
    for rounding in [*DETERMINISTIC, "stochastic"] if name == "float32" else DETERMINISTIC[:1]:
        got, how = np.empty(a.size, np.uint64), float_codes.mode(rounding)
        kernel.calculate(kernel.FAA, *columns, got, *[layout] * 4, how, words, False)
        for found, word, *codes in zip(got.tolist(), words.tolist(), *columns.tolist(), strict=True):
            wanted = spec.calculate("faa", tuple(codes), fmt, rounding, random=word)
            assert found == wanted, (rounding, [hex(x) for x in codes])


@pytest.mark.parametrize("name", WIDE)
def test_operations_that_compute_nothing_are_as_defined_in_wide_formats(name):
    fmt = rf.format(name)
    for operation in kernel.OPERATIONS:
        if operation not in ops.OF_NARROW:
            check(operation, [fmt] * 3, fmt, "toward_positive")


@pytest.mark.parametrize("operation", kernel.OPERATIONS)
def test_operands_and_result_may_be_of_four_formats(operation):
    formats = [rf.format(f) for f in ("float16", "posit16_1", "float32")]
    for into in ("bfloat16", "float8_e4m3fn", "binary8p3se"):
        check(operation, formats, rf.format(into), "ties_to_even", count=60)


@pytest.mark.parametrize("mode", [("stochastic", 32), ("stochastic_a", 3), ("stochastic_b", 9), ("stochastic_c", 5)])
def test_stochastic_results_are_as_defined(mode):
    for operation in ("faa", "recip", "round_to_integral", "scaleb", "convert"):
        check(operation, [rf.format("float32")] * 3, rf.format("bfloat16"), mode[0], bits=mode[1])


TOLD = ("is_nan", "is_infinite", "is_finite", "is_zero", "is_one", "is_normal", "is_subnormal", "is_sign_minus")
TOLD += ("is_signaling", "classify", "next_up", "next_down", "total_order")


@pytest.mark.parametrize("name", [*FORMATS, *WIDE])
def test_what_is_told_of_many_codes_is_as_defined(name):
    fmt = rf.format(name)
    codes = codes_of(fmt, 400, 1)
    for operation in TOLD:
        columns = list(codes[: 1 + (operation == "total_order")])
        formats = (fmt,) * len(columns)
        got = ops.facts(operation, columns, formats)
        few = [ops.facts(operation, [c[i : i + 40] for c in columns], formats) for i in range(0, 400, 40)]
        assert np.array_equal(got, np.concatenate(few)), operation


def test_a_total_order_of_two_formats_is_as_defined():
    formats = rf.format("float16"), rf.format("float32")
    columns = [codes_of(f, 400, k)[k] for k, f in enumerate(formats)]
    columns[1][::3] = rf.encode(rf.decode(columns[0][::3].astype(np.uint16), "float16"), "float32")
    got = ops.facts("total_order", columns, formats)
    assert got.tolist() == [spec.total_order(int(a), int(b), *formats) for a, b in zip(*columns, strict=True)]


@pytest.mark.parametrize("overflow", ["saturate", "wrap", "indefinite"])
@pytest.mark.parametrize("name", ["float16", "float32", "float64", "e8m7_flush", "binary8p4se", "posit32_2"])
def test_integers_of_many_codes_are_as_defined(name, overflow):
    fmt = rf.format(name)
    codes = codes_of(fmt, 300, 2)[0]
    if not isinstance(fmt, PositFormat):  # half of them of the size of integers
        one, step = spec.encode(spec.ONE, fmt), 1 << fmt.mantissa_bits
        codes[::2] = (one - 2 * step + codes[::2] % np.uint64(min(70 * step, fmt.max_code - one))) | codes[
            ::2
        ] & np.uint64(fmt.sign_mask)
    for bits, signed in ((8, True), (64, True), (64, False), (1, False), (17, True), (1, True)):
        for rounding in ("ties_to_even", "toward_negative", "stochastic_b"):
            how = {"random_bits": 7, "seed": 3} if rounding == "stochastic_b" else {}
            call = {"bits": bits, "signed": signed, "overflow": overflow, "flags": True, "rounding": rounding}
            got, flags = rf.codes.to_integer(codes, fmt, **call, **how)
            words = ops.RoundingRule.of("", None, codes.shape, rounding=rounding, **how).words(codes.size)
            for i, code in enumerate(codes.tolist()):
                random = int(words[i]) >> 25 if how else 0
                value = spec.decode(code, fmt)
                number, fits = spec.to_integer(value, bits, signed, rounding, overflow, random, 7)
                inexact = fits and number != (-1 if value.negative else 1) * value.magnitude
                assert (int(got[i]), int(flags[i])) == (number, inexact + 16 * (not fits)), (hex(code), bits, signed)
