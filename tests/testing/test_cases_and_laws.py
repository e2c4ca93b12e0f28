"""The case groups contain what they promise; the laws hold of the definition and of nothing less."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.spec import integers as spec_integers
from refimpl.testing.checks.checks import pool
from refimpl.testing.expected.behaviour import (
    DETERMINISTIC,
    OF_INTEGERS,
    Behaviour,
    alike,
    decode,
    round_to_integers,
    values_of,
)
from refimpl.testing.expected.explain import value_of_code

T = rf.testing
NAN = np.nan
GROUPS = {group.name: group for group in T.case_groups()}
FORMATS = [
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn",
    "float6_e2m3fn",
    "posit8_2",
    "binary8p3se",
    "binary6p1ue",
    "e4m3_flush",
    "e0m4",
]
MODES = {"posit8_2": ["ties_to_even"]} | {name: OF_INTEGERS for name in ("int8", "int4_full", "uint8")}
EVERY = [*FORMATS, "int8", "int4_full", "uint8"]


def modes(name):
    return MODES.get(name, DETERMINISTIC)


def test_there_are_seventeen_groups_numbered_in_order():
    assert [group.number for group in T.case_groups()] == list(range(1, 18))
    assert len(GROUPS) == 17


@pytest.mark.parametrize(
    "group, fmt, dtype, members",
    [
        ("ties", "float8_e4m3fn", "float32", [1.0625, np.nextafter(np.float32(1.0625), 2), -1.0625]),
        ("ties", "float8_e4m3fn", "float64", [np.nextafter(1.0625, 2), 2.0**-10, -(2.0**-10)]),
        ("overflow_boundary", "float8_e4m3fn", "float32", [448, 464, 480, -464]),
        ("overflow_boundary", "float8_e5m2", "float32", [57344, 61440, np.nextafter(np.float32(61440), 0)]),
        ("overflow_boundary", "float16", "float64", [65520, np.nextafter(65520, 0)]),
        ("infinities", "float8_e5m2", "float64", [np.inf, -np.inf]),
        ("underflow", "float8_e4m3fn", "float32", [2.0**-10, 2.0**-149, 2.0**-127]),
        ("before_powers_of_two", "float8_e4m3fn", "float64", [np.nextafter(8, 0), np.nextafter(8, 9)]),
        ("representable", "float8_e4m3fn", "float16", [448, -448, 2.0**-9, 1.125]),
        ("scales", "float8_e8m0fnu", "float64", [0, -1, 1.5, 2.0**-127, 2.0**-128, 1.5 * 2.0**127]),
        ("float_to_int", "int4", "float32", [2.5, 7.5, 8, -7.5, 2.0**31, np.inf]),
        ("stochastic_fractions", "float8_e4m3fn", "float32", [1 + 1 / 128, -(1 + 1 / 16), 2.0**-9 / 16]),
    ],
)
def test_a_group_contains_the_inputs_that_have_bitten(group, fmt, dtype, members):
    x = GROUPS[group](fmt, dtype)
    assert x.dtype == dtype and x.ndim == 1
    assert np.isin(np.array(members, dtype), x).all()


def test_nan_patterns_have_both_signs_quiet_and_payloads_in_the_lowest_bit():
    bits = set(GROUPS["nan_patterns"]("float8_e5m2", "float32").view(np.uint32).tolist())
    assert {0x7F800001, 0xFF800001, 0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0x7F900000} <= bits


def test_signed_zeros_are_both_there():
    x = GROUPS["signed_zeros"]("float8_e4m3fnuz", "float32")
    assert {0x00000000, 0x80000000} <= set(x.view(np.uint32).tolist())


@pytest.mark.parametrize("group", GROUPS)
def test_groups_are_the_same_every_time_and_without_repetition(group):
    for fmt in (*FORMATS, "int8"):
        x = GROUPS[group](fmt, "float32")
        assert x.tobytes() == GROUPS[group](fmt, "float32").tobytes()
        if GROUPS[group].kind == "values" and group not in ("infinities", "float_to_int"):
            assert len(np.unique(x.view(np.uint32))) == x.size


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_expected_side_in_bulk_is_the_definition(name, dtype):
    for mode in modes(name):
        behaviour = Behaviour(name, mode)
        x = pool(behaviour.format, dtype, most=400)
        with np.errstate(all="ignore"):
            values = behaviour.values(x)
        exact = [value_of_code(behaviour.code_by_definition(float(one)), behaviour.format) for one in x]
        assert alike(values, np.array(exact)).all()


@pytest.mark.parametrize(
    "mode, results",
    [
        ("ties_to_even", [2, -2, 0, 127, 3]),
        ("ties_to_away", [3, -3, 0, 127, 3]),
        ("toward_zero", [2, -2, 0, 127, 2]),
        ("toward_positive", [3, -2, 1, 127, 3]),
        ("toward_negative", [2, -3, 0, 127, 2]),
    ],
)
def test_integers_round_by_hand(mode, results):
    x, int8 = np.array([2.5, -2.5, 0.49999999999999994, 1e9, 2.75]), rf.format("int8")
    assert round_to_integers(x, int8, mode).tolist() == results
    assert [spec_integers.encode(v, int8, 1.0, rounding=mode) for v in x] == results
    assert [spec_integers.encode(v * 0.25, int8, 0.25, -7, mode) for v in x[:3]] == [r - 7 for r in results[:3]]


@pytest.mark.parametrize("law", T.laws(), ids=lambda law: law.name)
def test_a_law_holds_of_the_definition(law):
    tried = 0
    for name in EVERY:
        for mode in modes(name):
            behaviour = Behaviour(name, mode)
            if law.applies(behaviour):
                tried += 1
                x = pool(behaviour.format, "float32", most=4000)
                with np.errstate(all="ignore"):
                    bad = law.broken(behaviour.values, behaviour, x)[1]
                assert not bad.any(), (name, mode, x[bad][:3])
    assert tried


def e4m3(x, **rules):
    return rf.quantize(x, "float8_e4m3fn", **rules).astype(np.float64)


calls = iter(range(10**9))
LAWLESS = {  # for each law an implementation that breaks it
    "determinism": (lambda x: e4m3(x) * (1 + next(calls) % 2), {}),
    "elementwise": (lambda x: e4m3(x) + 8.0 * (np.arange(x.size) == 5), {}),
    "closure": (lambda x: x.astype(np.float64), {}),
    "idempotence": (lambda x: e4m3(x * 1.125), {}),
    "monotonicity": (lambda x: np.where(np.abs(x) > 100, 0, e4m3(x)), {}),
    "oddness": (lambda x: e4m3(x, rounding="toward_positive"), {}),
    "faithfulness": (lambda x: e4m3(x, rounding="ties_to_even") * 2, {}),
    "nearest": (lambda x: e4m3(x, rounding="toward_zero"), {}),
    "bracketing": (lambda x: e4m3(x), {"rounding": "toward_positive"}),
    "to_odd_then_nearest": (lambda x: e4m3(x), {"rounding": "to_odd"}),
    "sign": (lambda x: np.abs(e4m3(x)), {}),
    "nan": (lambda x: np.nan_to_num(e4m3(x)), {}),
    "scaling_by_two": (lambda x: np.where(np.abs(x) < 1, e4m3(x, rounding="toward_zero"), e4m3(x)), {}),
}


@pytest.mark.parametrize("law", T.laws(), ids=lambda law: law.name)
def test_a_law_is_broken_by_an_implementation_that_breaks_it(law):
    q, rules = LAWLESS[law.name]
    x = pool(rf.format("float8_e4m3fn"), "float32")
    assert not law.holds(q, "float8_e4m3fn", x, **rules)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "e5m5"])
@pytest.mark.parametrize("law", T.false_laws(), ids=lambda law: law.name)
def test_a_false_law_has_a_counterexample(law, name):
    values = values_of(rf.format(name))
    middle = np.searchsorted(values, 1.0)
    near = values[middle - 16 : middle + 16] if law.arity > 1 else values[(values > 0) & (values < values[-1] / 8)]
    points = np.random.default_rng(0).choice(np.concatenate([near, near * (1 + 2.0**-20)]), (2000, law.arity))
    assert not all(law.holds(lambda x: float(rf.quantize(x, name)), *numbers) for numbers in points.tolist())


@pytest.mark.parametrize("law", T.false_laws(), ids=lambda law: law.name)
def test_what_is_false_of_rounding_is_true_without_it(law):
    if law.name == "exactness_of_the_middle":
        return  # of real numbers it is true as it stands: nothing to compute
    assert law.holds(lambda x: x, *(2.0, 0.5, 4.0)[: law.arity])


def test_stochastic_integers_are_held_to_the_definition_one_by_one():
    def right(x, random):
        behaviour = Behaviour("float6_e2m3fn", "stochastic_b", random_bits=3)
        codes = [behaviour.code_by_definition(float(v), int(r)) for v, r in zip(x, random, strict=True)]
        return decode(np.array(codes, np.uint8), behaviour.format).astype(x.dtype)

    rules = {"rounding": "stochastic_b", "random_bits": 3, "inputs": ["float64"]}
    assert T.conform(right, "float6_e2m3fn", **rules).passed
    off = T.conform(lambda x, r: right(x, np.minimum(r + 1, 7)), "float6_e2m3fn", **rules)
    assert not off.passed and "random integer" in str(off)


KINDS = "stochastic_a", "stochastic_b", "stochastic_c"


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("asked", KINDS)
def test_stochastic_a_b_and_c_are_told_apart_with_any_number_of_random_bits(asked, bits):
    def own(kind):
        def f(x, random):  # of magnitudes in [1, 2) and below the smallest normal, whose steps are known
            size = np.abs(x.astype(np.float64))
            step = np.where(size < 2.0**-6, 2.0**-9, np.ldexp(1.0, np.frexp(size)[1] - 4))
            whole = np.floor(size / step)
            part, count = size / step - whole, 1 << bits
            up = {
                "stochastic_a": np.floor(part * count) + random >= count,
                "stochastic_b": np.floor(part * 2 * count) + 2 * random.astype(int) + 1 >= 2 * count,
                "stochastic_c": np.rint(part * count) + random >= count,
            }[kind]
            y = step * (whole + up)
            y = np.where((y > 448) | np.isinf(x), NAN, y)
            return np.copysign(y, x).astype(x.dtype)

        return f

    for kind in KINDS:
        report = T.conform(own(kind), "float8_e4m3fn", rounding=asked, random_bits=bits, inputs="float32")
        assert report.passed == (kind == asked), kind
        if kind != asked:
            assert f"decides as {kind}" in report.diagnosis


def shared(way, calls=[0]):  # noqa: B006
    def f(x):
        rng = np.random.default_rng(calls[0])
        calls[0] += 1
        n = x.size
        u = {
            "no": lambda: rng.random(n),
            "every call": lambda: np.random.default_rng(5).random(n),
            "4 neighbours": lambda: np.repeat(rng.random(-(-n // 4)), 4)[:n],
            "1000 places": lambda: np.resize(rng.random(1000), n),
            "pairs": lambda: np.abs(np.tile([0.0, 1.0], n)[:n] - np.repeat(rng.random(-(-n // 2)), 2)[:n]),
        }[way]()
        size = np.abs(x.astype(np.float64))
        step = np.where(size < 2.0**-6, 2.0**-9, np.ldexp(1.0, np.frexp(size)[1] - 4))
        y = step * np.floor(size / step + u)
        y = np.where((y > 448) | np.isinf(x), NAN, y)
        return np.copysign(y, x).astype(x.dtype)

    return f


@pytest.mark.parametrize(
    "way, said",
    [
        ("no", ""),
        ("every call", "the same random numbers in every call"),
        ("4 neighbours", "one random number for 4 neighbours"),
        ("1000 places", "results 1000 places apart agree in 98"),
        ("pairs", "results 1 places apart agree in 2"),
    ],
)
def test_random_numbers_that_elements_or_calls_share_are_found(way, said):
    report = T.conform(shared(way), "float8_e4m3fn", rounding="stochastic", inputs="float32")
    assert report.passed == (not said) and said in report.diagnosis


def test_every_code_of_a_sixteen_bit_format_is_decoded():
    assert GROUPS["round_trip"]("bfloat16").size == 2**16


def test_downstream_projects_get_one_test_for_each_group_and_law():
    tests = T.pytest_tests(np.float16)
    names = tests.pytestmark[0].args[1]
    assert {"ties", "overflow_boundary", "monotonicity", "round_trip"} <= set(names)
    tests("ties")
    with pytest.raises(pytest.skip.Exception):
        tests("packing")
    with pytest.raises(pytest.fail.Exception, match="half way"):
        T.pytest_tests(np.trunc, "int8")("ties")
