"""Operations on values and codes against the machine's C library: results, and exception flags one by one."""

import ctypes
import math

import numpy as np
import pytest

import refimpl as rf
from refimpl.ops.codes import FLAGS

try:
    LIBM = ctypes.CDLL("libm.so.6")
except OSError:
    pytest.skip("no C library of this name", allow_module_level=True)

# x86's bits in the order of FLAGS; others have others, and other words for the modes
BITS = {"inexact": 0x20, "underflow": 0x10, "overflow": 0x08, "divide_by_zero": 0x04, "invalid": 0x01}
MODES = {"ties_to_even": 0, "toward_negative": 0x400, "toward_positive": 0x800, "toward_zero": 0xC00}
x86 = pytest.mark.skipif(
    not any(name in __import__("platform").machine() for name in ("x86_64", "AMD64")), reason="flags are x86's"
)


def singles(count, seed):
    """Bits of float32: random ones, specials, and those near the ends of the exponents."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**32, count, dtype=np.uint64).astype(np.uint32)
    special = np.uint32(
        [0, 1, 0x7FFFFF, 0x800000, 0x800001, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x3F800000, 0x4B000001]
    )
    special = np.concatenate([special, special | np.uint32(1 << 31)])
    chosen = rng.random(count) < 0.3
    bits[chosen] = rng.choice(special, chosen.sum())
    near = rng.random(count) < 0.3  # exponents whose products lie about the subnormals
    bits[near] = bits[near] & np.uint32(0x807FFFFF) | rng.integers(60, 68, near.sum()).astype(np.uint32) << np.uint32(
        23
    )
    quiet = np.isnan(bits.view(np.float32))  # ctypes makes signaling NaNs quiet on their way
    bits[quiet] |= np.uint32(0x400000)
    return bits


def called(name, arguments, result, operands, mode):
    """Results and flags of a function of the C library, one call after the other."""
    function = getattr(LIBM, name)
    function.argtypes, function.restype = arguments, result
    found, flags = [], []
    LIBM.fesetround(MODES[mode])
    try:
        for several in zip(*(x.tolist() for x in operands), strict=True):
            LIBM.feclearexcept(0x3D)
            value = function(*several)
            flags.append(LIBM.fetestexcept(0x3D))
            found.append(value)
    finally:
        LIBM.fesetround(0)
    as_ours = [sum(FLAGS[key] for key, bit in BITS.items() if raised & bit) for raised in flags]
    return found, np.array(as_ours, np.uint8)


def same(got, expected):
    got, expected = np.asarray(got, np.float32), np.float32(expected)
    return (got.view(np.uint32) == expected.view(np.uint32)) | np.isnan(got) & np.isnan(expected)


@x86
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("operation", ["fma", "add", "mul", "sqrt", "remainder", "round_to_integral"])
def test_results_and_flags_are_those_of_the_c_library(operation, mode):
    name, operands = {"sqrt": ("sqrtf", 1), "remainder": ("remainderf", 2), "round_to_integral": ("rintf", 1)}.get(
        operation, ("fmaf", 3)
    )
    codes = [singles(400, 10 * k + len(operation)) for k in range(operands)]
    if operation == "add":
        codes[0][:] = 0x3F800000
    if operation == "mul":  # x * y - 0, and + 0 of a negative product: which adds nothing
        products = codes[0] ^ codes[1]
        codes[2] = np.where(products >> 31 != 0, np.uint32(1 << 31), np.uint32(0))
    values = [c.view(np.float32) for c in codes]
    single = ctypes.c_float
    expected, raised = called(name, [single] * operands, single, values, mode)
    given = {"add": codes[1:], "mul": codes[:2]}.get(operation, codes)
    if operation == "remainder":
        mode = "ties_to_even"  # by which the quotient goes in any mode
    got, flags = getattr(rf.codes, operation)(*given, "float32", rounding=mode, flags=True)
    assert same(got.view(np.float32), expected).all()
    if operation != "remainder":  # whose flags the library does not keep clean
        # 0 * inf + NaN is invalid here, and IEEE leaves it open
        open_ = np.zeros(len(flags), bool)
        if operation == "fma":
            with np.errstate(all="ignore"):
                open_ = np.isnan(values[0] * values[1]) & np.isnan(values[2])
        assert (flags == raised)[~open_].all(), [
            ([hex(c[i]) for c in given], flags[i], raised[i]) for i in np.flatnonzero((flags != raised) & ~open_)[:3]
        ]


def test_tininess_before_rounding_is_found_where_it_is_not_after():
    # (1 + 2^-23) * (2^-126 - 2^-149) = 2^-126 (1 - 2^-46): rounded to 24 bits it is 2^-126, and not tiny
    result, after = rf.codes.mul(0x3F800001, 0x007FFFFF, "float32", flags=True)
    _, before = rf.codes.mul(0x3F800001, 0x007FFFFF, "float32", flags=True, tininess="before")
    assert (int(result), int(after), int(before)) == (0x00800000, 1, 3)


def test_what_raises_what():
    half = {"fmt": "float16", "flags": True}
    one, zero, infinity, quiet, signaling, largest = 0x3C00, 0, 0x7C00, 0x7E00, 0x7C01, 0x7BFF
    codes = rf.codes
    for found, expected in (
        (codes.div(one, zero, **half), (infinity, 8)),
        (codes.div(zero, zero, **half), (quiet, 16)),
        (codes.logb(zero, **half), (0xFC00, 8)),
        (codes.add(signaling, one, **half), (quiet, 16)),
        (codes.add(quiet, one, **half), (quiet, 0)),
        (codes.minimum_number(signaling, one, **half), (one, 16)),
        (codes.abs(0xFC01, **half), (signaling, 0)),
        (codes.negate(quiet, **half), (0xFE00, 0)),
        (codes.mul(largest, largest, overflow="saturate", **half), (largest, 5)),
        (codes.convert(signaling, "float16", out_format="float32", flags=True), (0x7FC00000, 16)),
        (codes.compare(quiet, one, "float16", "<", flags=True), (False, 16)),
        (codes.compare(quiet, one, "float16", "==", flags=True), (False, 0)),
        (codes.to_integer(quiet, "float16", flags=True), (0, 16)),
        (codes.to_integer(0x3E00, "float16", flags=True), (2, 1)),
        (codes.to_integer(quiet, "float16", overflow="indefinite", flags=True), (-(2**31), 16)),
    ):
        assert tuple(int(x) for x in found) == expected


def test_neighbours_scales_and_exponents_are_numpy_s():
    x = singles(600, 1).view(np.float32)
    n = np.random.default_rng(2).integers(-300, 300, 600)
    with np.errstate(all="ignore"):
        assert same(rf.next_up(x, "float32"), np.nextafter(x, np.float32(np.inf))).all()
        assert same(rf.next_down(x, "float32"), np.nextafter(x, np.float32(-np.inf))).all()
        assert same(rf.scaleb(x, n, "float32"), np.ldexp(x.astype(np.float64), n).astype(np.float32)).all()
        finite = np.isfinite(x) & (x != 0)
        assert (rf.logb(x[finite], "float32") == np.frexp(x[finite])[1] - 1).all()
        assert same(rf.copysign(x, x[::-1], "float32"), np.copysign(x, x[::-1])).all()
        assert same(rf.abs(x, "float32"), np.abs(x)).all() and same(rf.negate(x, "float32"), -x).all()


def test_extrema_are_numpy_s_where_these_order_zeros_or_none_is_zero():
    x, y = singles(500, 3).view(np.float32), singles(500, 4).view(np.float32)
    some = (x != 0) | (y != 0)
    x, y = x[some], y[some]
    for ours, theirs in (
        ("minimum", np.minimum),
        ("maximum", np.maximum),
        ("minimum_number", np.fmin),
        ("maximum_number", np.fmax),
    ):
        assert same(getattr(rf, ours)(x, y, "float32"), theirs(x, y)).all(), ours
    assert np.signbit(rf.minimum([0.0, -0.0], [-0.0, 0.0], "float16")).all()
    assert not np.signbit(rf.maximum([0.0, -0.0], [-0.0, 0.0], "float16")).any()


def test_integers_are_numpy_s():
    x = singles(600, 5).view(np.float32)
    whole = {
        "ties_to_even": np.rint,
        "toward_zero": np.trunc,
        "toward_positive": np.ceil,
        "toward_negative": np.floor,
        "ties_to_away": lambda v: np.trunc(v + np.copysign(0.5, v)),
    }
    wide = x[np.isfinite(x)].astype(np.float64)
    for mode, function in whole.items():
        for bits, signed in ((8, True), (8, False), (32, True), (53, False)):
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
            got = rf.to_integer(wide, "float32", bits=bits, signed=signed, rounding=mode)
            assert (got == np.clip(function(wide), low, high)).all(), (mode, bits, signed)
    got = rf.to_integer(wide, "float32", bits=16, overflow="wrap")
    assert got.tolist() == [(round(v) + 2**15) % 2**16 - 2**15 for v in wide.tolist()]
    assert got.dtype == np.int16


def test_classes_are_those_of_numpy_s_predicates():
    x = singles(400, 6).view(np.float32)
    assert (rf.is_nan(x, "float32") == np.isnan(x)).all() and (rf.is_finite(x, "float32") == np.isfinite(x)).all()
    assert (rf.is_infinite(x, "float32") == np.isinf(x)).all()
    assert (rf.is_sign_minus(x, "float32") == np.signbit(x)).all()
    tiny = (x != 0) & (np.abs(x) < np.finfo(np.float32).tiny)
    assert (rf.is_subnormal(x, "float32") == tiny).all()
    assert (rf.is_normal(x, "float32") == (np.isfinite(x) & (x != 0) & ~tiny)).all()
    assert set(rf.classify(x, "float32")) >= {"quiet NaN", "negative zero", "positive subnormal", "negative infinity"}


def test_the_total_order_is_that_of_the_bits_read_with_their_sign():
    bits = singles(300, 7).astype(np.int64)
    key = np.where(bits >> 31 != 0, -(bits & 0x7FFFFFFF) - 1, bits)
    a, b = bits[:150], bits[150:]
    assert (rf.codes.total_order(a, b, "float32") == (key[:150] <= key[150:])).all()


def test_remainders_are_python_s():
    x, y = singles(300, 8).view(np.float32), singles(300, 9).view(np.float32)
    for a, b, got in zip(x.tolist(), y.tolist(), rf.remainder(x, y, "float32").tolist(), strict=True):
        if math.isfinite(a) and math.isfinite(b) and b:
            assert got == math.remainder(a, b) and math.copysign(1, got) == math.copysign(1, math.remainder(a, b))


def test_codes_beyond_float64_are_computed_with():
    wide = "binary16p1ue"  # to 2^32765
    assert rf.codes.mul([0xFFFD, 0x8001], [0x8000, 0x8001], wide).tolist() == [0xFFFD, 0x8002]
    assert rf.codes.convert([0xFFFD, 0x8001], wide, out_format="float16").tolist() == [0x7C00, 0x4000]
