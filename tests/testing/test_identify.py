"""`identify` names formats and modes it is not told, from their answers alone."""

import random

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats import FloatFormat, IntFormat, PositFormat
from refimpl.formats.modes import FAMILIES, OVERFLOWS
from refimpl.testing.expected.behaviour import COUNTED, DETERMINISTIC, Behaviour

T = rf.testing


def drawn(rng) -> Behaviour:
    """Draw a format of at most 12 bits and a mode."""
    kind = rng.random()
    if kind < 0.08:
        return Behaviour(PositFormat(rng.randint(3, 12), rng.randint(0, 3)))
    if kind < 0.16:
        signed = rng.random() < 0.7
        fmt = IntFormat(bits=rng.randint(2, 12), signed=signed, symmetric=signed and rng.random() < 0.5)
        return Behaviour(fmt, rng.choice(DETERMINISTIC[:5]))
    while True:
        e, m = rng.randint(0, 8), rng.randint(0, 10)
        family = rng.choice(FAMILIES)
        try:
            fmt = FloatFormat(
                exponent_bits=e,
                mantissa_bits=m,
                signed=rng.random() < 0.75,
                bias=rng.choice([None, None, rng.randint(-9, 30)]),
                specials=family,
                has_subnormals=rng.random() < 0.8,
            )
        except ValueError:
            continue
        if fmt.bits <= 12 and fmt.fits_float64:
            break
    overflow, nan = rng.choice(OVERFLOWS), rng.choice(["zero", "max"])
    nan = nan if fmt.nan_code is None else "zero"
    if rng.random() < 0.15 and fmt.has_zero:
        return Behaviour(fmt, "stochastic", overflow, nan)
    return Behaviour(fmt, rng.choice(DETERMINISTIC), overflow, nan)


def unknown(truth: Behaviour, seed=0):
    """Return a quantizer that behaves so, as a black box."""
    if isinstance(truth.format, IntFormat):
        return truth.values
    seeds = np.random.default_rng(seed)
    rules = (
        {}
        if isinstance(truth.format, PositFormat)
        else {
            "rounding": truth.rounding,
            "overflow": truth.overflow,
            "nan": truth.nan,
            "random_bits": truth.random_bits,
        }
    )
    if truth.is_stochastic:
        return lambda x: rf.quantize(x, truth.format, seed=int(seeds.integers(2**60)), **rules)
    return lambda x: rf.quantize(x, truth.format, **rules)


def is_named(truth, found) -> bool:
    """Exactly, or as an equivalent that no value tells apart."""
    equal = [o for o, x in zip(found.alternatives, found.apart, strict=True) if x is None]
    return truth == found.behaviour or truth in equal


def share_named(count, seed):
    rng = random.Random(seed)
    named, missed = 0, []
    for k in range(count):
        truth = drawn(rng)
        found = T.identify(unknown(truth, k))
        assert found.calls <= 200
        named += is_named(truth, found)
        if not is_named(truth, found):
            missed.append((truth, str(found)))
    return named / count, missed


def test_of_sixty_drawn_formats_and_modes_at_least_95_in_100_are_named():
    share, missed = share_named(60, seed=1)
    assert share >= 0.95, missed


@pytest.mark.slow
def test_of_a_thousand_drawn_formats_and_modes_at_least_95_in_100_are_named():
    share, missed = share_named(1000, seed=2)
    assert share >= 0.95, missed[:5]


@pytest.mark.parametrize("name", ["float8_e4m3fn", "int4", "posit6_1"])
def test_scalars_take_less_than_20_000_calls(name):
    truth = Behaviour(name)
    quantize = unknown(truth)
    found = T.identify(lambda x: float(quantize(np.array([x]))[0]), scalar=True)
    assert is_named(truth, found), str(found)
    assert 1000 < found.calls <= 20_000


@pytest.mark.parametrize("kind", COUNTED)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_random_bits_are_counted(kind, bits):
    truth = Behaviour("float8_e4m3fn", kind, random_bits=bits)
    found = T.identify(unknown(truth))
    assert (found.rounding, found.random_bits) == (kind, bits), str(found)


def test_an_integer_format_is_found_under_its_scale():
    found = T.identify(lambda x: 0.3 * np.clip(np.rint(np.nan_to_num(x / 0.3)), -128, 127))
    assert found.format.name == "int8_full" and found.scale == pytest.approx(0.3)
    assert found.alternatives and found.apart[0] is not None  # ties are lost in the scale


def test_an_implementation_of_another_library_is_recognised():
    found = T.identify(lambda x: x.astype(np.float16).astype(np.float64))
    assert found.format.name == "float16" and found.rounding == "ties_to_even"


@pytest.mark.parametrize("nonsense", [np.sqrt, np.abs, lambda x: x, lambda x: x * 0])
def test_what_is_not_a_format_is_not_given_a_name(nonsense):
    found = T.identify(nonsense)
    assert found.behaviour is None and found.format is None
    assert "no format" in str(found)


def test_an_implementation_that_raises_is_a_finding():
    with pytest.raises(T.Finding, match="ZeroDivisionError"):
        T.identify(lambda x: 1 // 0)
