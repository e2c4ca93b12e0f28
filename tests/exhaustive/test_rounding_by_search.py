"""The definition of rounding against a search through the list of a format's values.

The search knows nothing of exponents and significands: it finds the two neighbours of x among the
values and decides by their distances, so that it is independent of how the definition computes.
"""

from bisect import bisect_right
from fractions import Fraction

import pytest

from refimpl.formats import ROUNDINGS, FloatFormat
from refimpl.formats import format as format_of
from refimpl.spec.float_codes import Value, decode, encode, magnitude

NAMES = [
    "float4_e2m1fn",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "e2m2",
    "e3m1fnuz",
    "e2m2ieee",
    "e3m0fn",
    "e0m4",
    "e3m2_flush",
    "e3m2p3109e",
    "e4m0p3109e",
    "e3m2p3109f_unsigned",
    "e3m3fn_unsigned",
    "float8_e4m3fn",
    "e5m2ieee",
]
ROUNDINGS = [rounding for rounding in ROUNDINGS if not rounding.startswith("stochastic")]


def by_search(x: Fraction, fmt: FloatFormat, rounding: str):
    """The magnitude code of x >= 0, max_code + 1 standing for everything beyond."""
    code_of = {}
    for code in range(fmt.max_code + 2):  # the last is the value the format would have next
        code_of.setdefault(magnitude(code, fmt), code)
    values = sorted(code_of)
    i = bisect_right(values, x) - 1
    if i == len(values) - 1:
        return fmt.max_code + 1
    low, high = values[i], values[i + 1]
    if x == low:
        return code_of[low]
    below, above = x - low, high - x
    up = {
        "ties_to_even": above < below or (above == below and code_of[low] % 2 == 1),
        "ties_to_away": above <= below,
        "toward_zero": False,
        "toward_positive": True,
        "toward_negative": False,
        "to_odd": code_of[low] % 2 == 0,
    }[rounding]
    return code_of[high if up else low]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", NAMES)
def test_the_definition_picks_the_value_a_search_picks(name, rounding):
    fmt = format_of(name)
    values = [magnitude(code, fmt) for code in range(fmt.max_code + 2)]
    points = {values[1] / 4, values[1] / 2}
    for low, high in zip(values, values[1:], strict=False):
        points |= {low, (low + high) / 2, (low * 3 + high) / 4, (low + high * 3) / 4}
        points |= {(low + high) / 2 + Fraction(1, 2**80), (low + high) / 2 - Fraction(1, 2**80)}
    for x in sorted(point for point in points if 0 < point < values[-1]):
        expected = by_search(x, fmt, rounding)
        got = encode(Value("finite", False, x), fmt, rounding)
        if expected <= fmt.max_code:
            assert got == expected, (x, rounding)
            if fmt.signed:  # the mirror image, with the directed modes exchanged
                mirror = {"toward_positive": "toward_negative", "toward_negative": "toward_positive"}.get(
                    rounding, rounding
                )
                negative = decode(encode(Value("finite", True, x), fmt, mirror), fmt)
                assert negative.magnitude == decode(got, fmt).magnitude
                assert negative.negative or negative.magnitude == 0
        else:
            beyond = got in (fmt.infinity_code, fmt.nan_code)
            assert beyond or (rounding == "to_odd" or fmt.specials in ("none", "p3109_finite"))
            assert beyond or got == fmt.max_code


@pytest.mark.parametrize(
    "name, ties",
    [
        ("float4_e2m1fn", {".25": 0, ".75": 1, "1.25": 1, "1.75": 2, "2.5": 2, "3.5": 4, "5": 4}),
        ("float8_e4m3fn", {"464": 448}),
        ("float8_e5m2", {"61439": 57344}),
    ],
)
def test_the_printed_ties_go_where_printed(name, ties):
    fmt = format_of(name)
    for x, rounded in ties.items():
        assert decode(encode(Value("finite", False, Fraction(x)), fmt), fmt).magnitude == rounded


def test_the_printed_overflows_overflow():
    for name, x, kind in (
        ("float8_e4m3fn", "464.001", "nan"),
        ("float8_e5m2", "61440", "infinite"),
        ("float16", "65520", "infinite"),
    ):
        fmt = format_of(name)
        assert decode(encode(Value("finite", False, Fraction(x)), fmt), fmt).kind == kind
