"""Functions against MPFR, by gmpy2, in every mode: `benchmarks/functions.py` says how it is asked."""

import random
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from refimpl.spec import functions as spec
from refimpl.spec.float_codes import floor_log2

pytest.importorskip("gmpy2")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import functions as mpfr  # noqa: E402

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
