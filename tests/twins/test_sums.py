"""Sums of products: all paths are the definition, bit for bit, in every order and mode."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats import ROUNDINGS, PositFormat
from refimpl.ops import definitions
from refimpl.ops import sum_paths as paths
from refimpl.ops.arithmetic import codes_of
from refimpl.ops.rounding import RoundingRule
from refimpl.spec import float_codes, posits
from refimpl.spec import sums as spec
from refimpl.spec.random_bits import random_word

FORMATS = [
    ("float8_e4m3fn", "float16"),
    ("float8_e5m2", "bfloat16"),
    ("float8_e4m3fnuz", "e4m3"),
    ("float4_e2m1fn", "float8_e4m3fn"),
    ("float16", "float32"),
    ("bfloat16", "bfloat16"),
    ("e8m7_flush", "e5m10fnuz"),
    ("posit8_2", "posit16_2"),
    ("posit16_1", "float16"),
    ("float8_e3m4", "posit16_2"),
    ("e5m2ieee_unsigned", "e6m4ieee_unsigned"),
    ("float8_e8m0fnu", "float32"),
]
ORDERS = [("sequential", None), ("pairwise", None), ("chunked", 3), ("kahan", None), ("exact", None)]


def decoded(values, fmt):
    """Exact Values of a format's values."""
    fmt = rf.format(fmt)
    decode = posits.decode if isinstance(fmt, PositFormat) else float_codes.decode
    flat = np.ascontiguousarray(values, np.float64).reshape(-1)
    codes = codes_of("test", flat, fmt, 0, "x", flat.shape)
    return [decode(int(code), fmt) for code in codes]


def some_values(fmt, shape, rng):
    """Values from all the format's range and, half of them, from a few binades; zeros; specials."""
    fmt = rf.format(fmt)
    x = rf.decode(rng.integers(0, 1 << fmt.bits, shape, dtype=np.uint64), fmt)
    few = rng.standard_normal(shape) * 2.0 ** rng.integers(-2, 3, shape)
    near = rf.quantize(abs(few) if not getattr(fmt, "signed", True) else few, fmt)
    x = np.where(rng.random(shape) < 0.6, near, x)
    keep = np.isfinite(x) | (rng.random(shape) < 0.02)
    return np.where(keep, x, near)


def same(got, expected):
    got, expected = np.asarray(got, np.float64), np.asarray(expected)
    return (got.view(np.uint64) == expected.view(np.uint64)) | np.isnan(got) & np.isnan(expected)


def check(pair, order, chunk, rounding, seed):
    first, into = pair
    rng = np.random.default_rng(seed)
    m, k, n = 3, int(rng.integers(1, 14)), 4
    a, b = some_values(first, (m, k), rng), some_values(first, (k, n), rng)
    if getattr(rf.format(into), "nan_code", 0) is None:
        a, b = np.where(np.isfinite(a), a, 0), np.where(np.isfinite(b), b, 0)
    key = {"seed": 5, "stream": 3} if rounding.startswith("stochastic") else {}
    bits = {"random_bits": 7} if rounding == "stochastic_b" else {}
    got = rf.matmul(a, b, first, accumulate=into, order=order, chunk=chunk, rounding=rounding, **key, **bits)
    width = -(-spec.roundings(order, k, chunk or 1) // 4) * 4
    x, y = decoded(a, first), decoded(b.T, first)
    expected = np.empty((m, n))
    for i in range(m):
        for j in range(n):
            at = (i * n + j) * width
            shift = 32 - bits.get("random_bits", 32)
            words = [random_word(at + w, 5, 3) >> shift for w in range(width)] if key else ()
            value = spec.dot(
                x[i * k : (i + 1) * k],
                y[j * k : (j + 1) * k],
                rf.format(into),
                order,
                chunk or 1,
                rounding,
                "overflow",
                words,
                32 - shift,
            )
            expected[i, j] = float_codes.to_float(value)
    assert same(got, expected).all(), (pair, order, rounding, a, b, got, expected)


@pytest.mark.parametrize("pair", FORMATS, ids="-".join)
def test_sums_are_as_defined_in_every_order(pair):
    for seed, (order, chunk) in enumerate(ORDERS * 3):
        check(pair, order, chunk, "ties_to_even", seed)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_sums_are_as_defined_in_every_mode(rounding):
    if rounding in ("stochastic_a", "stochastic_c"):
        rounding = "stochastic_b"
    floats = [pair for pair in FORMATS if not pair[1].startswith("posit")]
    for seed, pair in enumerate(floats):
        order, chunk = ORDERS[seed % 5]
        check(pair, order, chunk, rounding, seed)
        check(pair, *ORDERS[(seed + 2) % 5], rounding, seed + 100)


def test_the_path_of_float32_gives_the_bits_of_the_other(monkeypatch):
    rng = np.random.default_rng(8)
    pairs = [
        ("float8_e4m3fn", "float16"),
        ("float8_e5m2", "float16"),
        ("float8_e4m3fn", "e6m9"),
        ("float4_e2m1fn", "float8_e3m4"),
        ("float8_e4m3fnuz", "bfloat16"),
        ("e3m1", "e4m4"),
        ("float6_e3m2fn", "float16"),
        ("e4m3b11fnuz", "e8m7fn"),
        ("e5m2", "e6m7"),
    ]
    for pair in pairs:
        for overflow in ("overflow", "saturate", "propagate"):
            formats = [rf.format(name) for name in (pair[0], *pair)]
            if not paths.rounds_in_float32(*formats, RoundingRule(overflow=overflow)):
                assert pair[1] in ("bfloat16", "e8m7fn") and overflow == "propagate"
                continue
            a, b = some_values(pair[0], (40, 50), rng), some_values(pair[0], (50, 60), rng)
            if formats[-1].nan_code is None:
                a, b = np.where(np.isfinite(a), a, 0), np.where(np.isfinite(b), b, 0)
            rules = {"accumulate": pair[1], "overflow": overflow}
            fast = rf.matmul(a, b, pair[0], **rules)
            with monkeypatch.context() as patched:
                patched.setattr(paths, "rounds_in_float32", lambda *_: False)
                between = rf.matmul(a, b, pair[0], **rules)
                patched.setattr(paths, "fast", lambda *_: None)
                slow = rf.matmul(a, b, pair[0], **rules)
            assert same(fast, slow).all() and same(between, slow).all(), (pair, overflow)


INTO = ["float16", "bfloat16", "float32", "float8_e4m3fn", "float8_e4m3fnuz", "e4m3", "e5m10", "e2m0", "e4m3fn_flush"]
INTO += ["binary8p3se", "binary8p4uf", "binary8p3ue", "e2m1", "e5m10fnuz", "e8m12", "e5m2ieee_unsigned", "e8m23_flush"]
INTO += ["float4_e2m1fn", "posit8_0", "posit8_2", "posit16_1", "posit6_3", "posit5_1", "posit8_5", "posit12_5"]


@pytest.mark.parametrize("into", INTO)
def test_fast_paths_give_the_bits_of_the_integers_in_every_order_mode_and_overflow(into, monkeypatch):
    """Spread over few binades and many, so that sums round to zero, subnormals and infinity; a row of minus zeros."""
    rng, to = np.random.default_rng(9), rf.format(into)
    fast, turn, taken = paths.fast, 0, []

    def spied(*given):
        taken.append(fast(*given))
        return taken[-1]

    cases = [(o, m) for o in ORDERS for m in (ROUNDINGS if not isinstance(to, PositFormat) else ["ties_to_even"] * 3)]
    for case, ((order, chunk), rounding) in enumerate(cases):
        spread, turn = (0, 1, 8, 30)[case % 4], turn + 1
        shapes = ((7, 21), (21, 34)) if case % 3 else ((34, 20), (20, 7))
        a, b = (rng.standard_normal(s) * 2.0 ** rng.integers(-spread, spread + 1, s) for s in shapes)
        first, second = (("bfloat16", "bfloat16"), ("float32", "e4m3"), ("posit8_2", "float16"))[turn % 3]
        a, b = (rf.quantize(x, f) for x, f in ((a, first), (b, second)))
        a[rng.random(a.shape) < 0.2], a[1] = 0, -0.0
        a[2] = rf.quantize(a[2], "e2m1")  # ties, and sums that cancel
        b[:, :3] = rf.quantize(b[:, :3], "e2m1")
        if getattr(to, "nan_code", 0) is not None:
            a[3, 5], b[7, 3] = np.nan, (-np.inf if second != "e4m3" else 0)
            a[4, 4] = np.inf if first != "posit8_2" else 0
        else:
            a, b = (np.where(np.isfinite(x), x, 0) for x in (a, b))
        overflow = "overflow" if isinstance(to, PositFormat) else ("overflow", "saturate", "propagate")[turn % 3 - 1]
        rules = {"accumulate": into, "order": order, "chunk": chunk, "overflow": overflow, "rounding": rounding}
        rules |= {"seed": case, "stream": 2} if rounding.startswith("stochastic") else {}
        rules |= {"random_bits": 1 + 5 * turn % 32} if rounding[-2:] in ("_a", "_b", "_c") else {}
        with monkeypatch.context() as patched:
            patched.setattr(paths, "fast", spied)
            quick = rf.matmul(a, b, (first, second), **rules)
            patched.setattr(paths, "fast", lambda *_: None)
            slow = rf.matmul(a, b, (first, second), **rules)
        assert taken.pop() is not None
        assert same(quick, slow).all() and quick.dtype == slow.dtype, (rules, first, second)


@pytest.mark.parametrize("order", ["pairwise", "exact"])
@pytest.mark.parametrize("terms", [*range(1, 20), 63, 64, 65])
def test_any_number_of_terms_is_added_as_defined(order, terms, monkeypatch):
    rng = np.random.default_rng(terms)
    a, b = (rf.quantize(rng.standard_normal(s), "float8_e5m2") for s in ((3, terms), (terms, 5)))
    rules = {"accumulate": "e4m3", "order": order, "rounding": "stochastic", "seed": terms}
    quick = rf.matmul(a, b, "float8_e5m2", **rules)
    monkeypatch.setattr(paths, "fast", lambda *_: None)
    assert same(quick, rf.matmul(a, b, "float8_e5m2", **rules)).all()


@pytest.mark.parametrize("fmt", ["float16", "bfloat16", "float32", "float8_e4m3fn", "posit16_2"])
def test_sums_in_float32_are_fused_multiply_adds_of_the_machine(fmt, monkeypatch):
    """Products that float32 does not hold among them: of 48 bits, beyond its range, and below its smallest value."""
    rng = np.random.default_rng(3)
    for spread in (1, 70):
        a, b = (rng.standard_normal(s) * 2.0 ** rng.integers(-spread, spread, s) for s in ((9, 40), (40, 37)))
        a, b = (rf.quantize(x, fmt, **({} if "posit" in fmt else {"overflow": "saturate"})) for x in (a, b))
        if "posit" not in fmt:
            a[1, 3], a[2, 4] = np.nan, (np.inf if fmt != "float8_e4m3fn" else 0)
        quick = rf.matmul(a, b, fmt, accumulate="float32")
        with monkeypatch.context() as patched:
            patched.setattr(paths, "fused", lambda *_: False)
            between = rf.matmul(a, b, fmt, accumulate="float32")
            patched.setattr(paths, "fast", lambda *_: None)
            slow = rf.matmul(a, b, fmt, accumulate="float32")
        assert same(quick, slow).all() and same(between, slow).all()
        assert spread == 70 or not np.array_equal(quick, rf.matmul(a, b, fmt, accumulate="float32", order="pairwise"))


def test_a_sum_just_below_a_power_of_two_is_cut_to_the_binade_below():
    """float64 rounds 16 - 2^-60 to 16: what is lost says that it was less."""
    x = np.array([[16.0, -(2.0**-60)]])
    for rounding, expected in (("toward_zero", 15.0), ("toward_positive", 16.0), ("to_odd", 15.0)):
        assert rf.sum(x, "float32", axis=1, accumulate="e5m3", rounding=rounding).item() == expected


@pytest.mark.parametrize(
    "first, into",
    [
        ("float16", "float16"),  # products have 22 bits
        ("float8_e4m3fn", "e8m12"),  # 24 < 2 * 13 + 1
        ("float8_e4m3fn", "float8_e4m3fn"),  # a product may be a midpoint of the accumulator's
        ("bfloat16", "float32"),
        ("posit8_2", "float16"),
    ],
)
def test_float32_is_not_computed_in_where_rounding_twice_could_be_seen(first, into):
    assert not paths.rounds_in_float32(*(rf.format(name) for name in (first, first, into)), RoundingRule())


def test_the_sum_of_products_does_not_depend_on_threads_and_rows():
    rng = np.random.default_rng(1)
    a, b = (rf.quantize(rng.standard_normal(s), "e4m3fn") for s in ((50, 300), (300, 40)))
    rules = {"accumulate": "float16", "rounding": "stochastic", "seed": 9}
    whole = rf.matmul(a, b, "e4m3fn", **rules)
    row = rf.matmul(a[:1], b, "e4m3fn", **rules)
    assert np.array_equal(whole[:1], row) and not np.array_equal(whole[:1], whole[1:2])


def test_an_exact_sum_does_not_depend_on_the_order_of_its_terms():
    rng = np.random.default_rng(2)
    for fmt in ("posit8_2", "float32", "bfloat16", "posit32_2"):
        a, b = some_values(fmt, 200, rng), some_values(fmt, 200, rng)
        a, b = np.where(np.isfinite(a * b), a, 1), np.where(np.isfinite(a * b), b, 1)
        first = rf.dot(a, b, fmt, order="exact")
        turn = rng.permutation(200)
        assert first == rf.dot(a[turn], b[turn], fmt, order="exact")


@pytest.mark.parametrize(
    ("fmt", "least"),
    [("float32", 2.0**-149), ("posit8_2", 2.0**-24), ("posit16_2", 2.0**-56), ("posit32_2", 2.0**-120)],
)
def test_an_exact_sum_of_squares_of_the_smallest_value_is_their_number_times_the_square(fmt, least):
    x = np.full(3072, least)
    assert rf.dot(x, x, fmt, accumulate="e10m23", order="exact") == 3072 * least**2


def test_sums_along_axes_are_the_sums_of_their_lines():
    x = rf.quantize(np.random.default_rng(3).standard_normal((3, 4, 5)), "e4m3fn")
    for axis in (0, 1, -1):
        got = rf.sum(x, "e4m3fn", axis=axis)
        lines = np.moveaxis(x, axis, -1)
        expected = [rf.sum(line, "e4m3fn").item() for line in lines.reshape(-1, lines.shape[-1])]
        assert got.reshape(-1).tolist() == expected and got.shape == lines.shape[:-1]
    assert rf.sum(x, "e4m3fn") == rf.sum(x.reshape(-1), "e4m3fn")


@pytest.mark.parametrize(("shape", "axis"), [((0,), None), ((0, 3), 0), ((0, 3), 1), ((2, 0, 3), 1)])
@pytest.mark.parametrize("order", [o for o in rf.ops.sums.ORDERS if o != "chunked"])
def test_a_sum_of_nothing_is_plus_zero_in_the_shape_of_numpy_s(shape, axis, order):
    got = rf.sum(np.zeros(shape, np.float16), "e4m3fn", axis=axis, order=order)
    assert got.shape == np.sum(np.zeros(shape), axis=axis).shape and got.dtype == np.float16
    assert not got.any() and not np.signbit(got).any()


@pytest.mark.parametrize("rules", [{"order": "kahan"}, {"rounding": "stochastic", "seed": 5}, {}])
def test_a_long_product_shows_a_bar_after_two_seconds_and_has_the_same_bits(rules, monkeypatch):
    """By 5 columns rather than 11 rows, in 3 blocks of 2, the last of 1; without rules in float32."""
    shown = []
    monkeypatch.setattr("tqdm.auto.tqdm", lambda blocks, **how: shown.append((len(blocks), how)) or blocks)
    rng = np.random.default_rng(8)
    a, b = (rf.quantize(rng.standard_normal(shape), "e4m3fn") for shape in ((11, 7), (7, 5)))
    whole = rf.matmul(a, b, "e4m3fn", accumulate="float16", **rules)
    assert not shown
    rf.matmul(-a, b, "e4m3fn", accumulate="float16", **rules)  # no memory shall have the answer
    monkeypatch.setattr(rf.ops.arrays, "STEPS_AT_ONCE", 10 if rules else 3)
    assert np.array_equal(rf.matmul(a, b, "e4m3fn", accumulate="float16", **rules), whole)
    bar = {"unit": "block", "delay": 2, "leave": False, "disable": None}
    assert shown == [(3, bar)]


def test_exact_sums_of_numbers_spread_over_all_of_float64_are_left_to_the_integers():
    rule, ones = RoundingRule(), np.ones((3, 1))
    for low, served in ((2.0**-60, True), (2.0**-300, True), (2.0**-700, False)):
        found = paths.exact(np.array([[1.0, low, -1.0]]), ones, rf.format("e10m23"), rule)
        assert (found is not None) == served and (found is None or found == low)


@pytest.mark.parametrize("order", ["sequential", "pairwise", "kahan", "exact"])
def test_an_infinite_sum_stays_infinite_in_every_order(order):
    inf, nan = np.inf, np.nan
    for terms, total in (([inf, 0], inf), ([1, -inf, 5, 7], -inf), ([60000, 59968, 1, 1], inf), ([inf, 1, -inf], nan)):
        got = rf.sum(terms, "float16", order=order)
        assert np.array_equal(got, total, equal_nan=True)


@pytest.mark.parametrize("order", ["sequential", "pairwise", "kahan", "exact"])
@pytest.mark.parametrize("into", ["float32", "float16", "float8_e4m3fn", "posit16_2"])
@pytest.mark.parametrize("last", [-np.inf, -np.nan, -448.0])
def test_nan_of_a_sum_has_the_sign_and_payload_of_the_definition_s(order, into, last, monkeypatch):
    a, b = np.array([[np.inf, 1.0, last], [1.0, 1.0, last]], np.float32), np.full((3, 2), 448.0, np.float32)
    got = []
    for elements in (0, 10**9):
        monkeypatch.setattr(definitions, "elements_left", elements)
        got.append(rf.matmul(a, b, "float32", accumulate=into, order=order).view(np.uint32).tolist())
    assert got[0] == got[1]
