"""IEEE P3109 4.0: results of its functions, computed by a transcription of its rules and checked against MPFR.

Formats: a binary8p4se, b binary8p3se, u binary8p1uf, v binary8p3ue, f binary4p2sf.  Where nothing else is said,
operands and results are of a, rounded to nearest even and overflowing to infinity.
"""

from fractions import Fraction

import pytest

import refimpl as rf
from refimpl.spec.float_codes import encode, from_float
from refimpl.spec.functions import FUNCTIONS, exactly
from refimpl.spec.operations import calculate

FORMATS = {
    name: rf.format(full)
    for name, full in zip(
        "abuvf", ("binary8p4se", "binary8p3se", "binary8p1uf", "binary8p3ue", "binary4p2sf"), strict=True
    )
}
A = FORMATS["a"]
INF, NAN = float("inf"), float("nan")
SF, TZ, TP, TN = {"overflow": "saturate"}, *({"rounding": f"toward_{way}"} for way in ("zero", "positive", "negative"))
NTA, TO = {"rounding": "ties_to_away"}, {"rounding": "to_odd"}

FACTS = [  # function, operands, what is said of rounding, code of the result in a
    ("recip", 0, {}, 0x80),
    ("recip", -INF, {}, 0x00),
    ("recip", 2**-10, {}, 0x7F),
    ("rsqrt", 0, {}, 0x80),
    ("rsqrt", 2, {}, 0x3B),
    ("rsqrt", INF, {}, 0x00),
    ("hypot", (3, 4), {}, 0x52),
    ("hypot", (INF, NAN), {}, 0x80),
    ("hypot", (-INF, 0), {}, 0x7F),
    ("exp", 0, {}, 0x40),
    ("exp", 1, {}, 0x4B),
    ("exp", 6, {}, 0x7F),
    ("exp", 6, SF, 0x7E),
    ("exp", 6, TZ, 0x7E),
    ("exp", -INF, TP, 0x00),
    ("exp", -224, {}, 0x00),
    ("exp", -224, TP, 0x01),
    ("exp", -224, TO, 0x01),
    ("exp2", 3, {}, 0x58),
    ("exp2", -11, {}, 0x00),
    ("exp2", -11, NTA, 0x01),
    ("exp2", 0.5, {}, 0x43),
    ("log", 0, {}, 0xFF),
    ("log", 0, SF, 0xFE),
    ("log", -1, {}, 0x80),
    ("log", 2, {}, 0x3B),
    ("log2", 2**-10, TN, 0xDA),
    ("log2", 3, {}, 0x45),
    ("log1p", -1, {}, 0xFF),
    ("log1p", -2, {}, 0x80),
    ("log1p", 2**-10, {}, 0x01),
    ("log1p", 2**-10, TZ, 0x00),
    ("expm1", -INF, {}, 0xC0),
    ("expm1", 2**-10, {}, 0x01),
    ("expm1", 2**-10, TP, 0x02),
    ("expm1", 1, {}, 0x46),
    ("softplus", 0, {}, 0x3B),
    ("softplus", -INF, {}, 0x00),
    ("softplus", 224, {}, 0x7E),
    ("softplus", 224, TP, 0x7F),
    ("softplus", -224, {}, 0x00),
    ("softplus", -224, TP, 0x01),
    ("sin", 3, {}, 0x29),
    ("sin", 224, {}, 0xBD),
    ("sin", INF, {}, 0x80),
    ("cos", 224, {}, 0xB9),
    ("tan", 1.5, {}, 0x5E),
    ("asin", 1, {}, 0x45),
    ("acos", 2, {}, 0x80),
    ("acos", -1, {}, 0x4D),
    ("atan", INF, {}, 0x45),
    ("atan", INF, TZ, 0x44),
    ("sinh", -INF, {}, 0xFF),
    ("cosh", -INF, {}, 0x7F),
    ("cosh", 2, {}, 0x4F),
    ("tanh", 14, {}, 0x40),
    ("tanh", 14, TZ, 0x3F),
    ("tanh", INF, TZ, 0x40),
    ("acosh", 0.5, {}, 0x80),
    ("atanh", 1, {}, 0x7F),
    ("atanh", 1, SF, 0x7E),
    ("atanh", INF, {}, 0x80),
    ("asinh", 2, {}, 0x44),
    ("sinpi", 0.5, {}, 0x40),
    ("sinpi", 3, TN, 0x00),
    ("sinpi", 0.25, {}, 0x3B),
    ("cospi", 1.5, TN, 0x00),
    ("cospi", 224, {}, 0x40),
    ("tanpi", 0.5, {}, 0x80),
    ("tanpi", 0.25, TN, 0x40),
    ("tanpi", 0.75, {}, 0xC0),
    ("asinpi", 0.5, {}, 0x2B),
    ("acospi", -1, {}, 0x40),
    ("atanpi", -INF, {}, 0xB8),
    ("atan2", (0, 0), {}, 0x80),
    ("atan2", (0, -1), {}, 0x4D),
    ("atan2", (-1, -INF), {}, 0x4D),
    ("atan2", (-1, -224), {}, 0xCD),
    ("atan2", (INF, -INF), {}, 0x80),
    ("atan2", (-INF, 3), {}, 0xC5),
    ("atan2", (3, INF), {}, 0x00),
    ("atan2pi", (-1, -1), {}, 0xBC),
    ("atan2pi", (1, -1), TN, 0x3C),
    ("atan2pi", (-1, -INF), {}, 0x40),
    ("atan2pi", (1, 2), {}, 0x29),
]


@pytest.mark.parametrize("name, operands, said, code", FACTS, ids=lambda x: str(x))
def test_a_function_is_what_p3109_says(name, operands, said, code):
    operands = operands if isinstance(operands, tuple) else (operands,)
    codes = tuple(encode(from_float(float(x)), A) for x in operands)
    assert calculate(name, codes, A, **said) == code


@pytest.mark.parametrize(
    "name, operand, said, to, code", [("log", 0, {}, "v", 0xFF), ("log", 0, SF, "v", 0x00), ("log", 0, {}, "f", 0x0F)]
)
def test_a_result_in_another_format_goes_by_its_rules(name, operand, said, to, code):
    assert calculate(name, (encode(from_float(operand), A),), A, out_format=FORMATS[to], **said) == code


def test_a_third_of_4_bits_is_that_of_binary32():
    f = FORMATS["f"]
    three = encode(from_float(3.0), f)
    assert calculate("recip", (three,), f, out_format=rf.format("float32")) == 0x3EAAAAAB


@pytest.mark.parametrize(
    "name, power, up, down",
    [  # results beyond and beneath every number, and next to one: exp(2^16000), tanh(2^16000), ...
        ("exp", 16000, "inf", "largest"),
        ("exp", -16000, "after 1", "1"),
        ("tanh", 16000, "1", "before 1"),
        ("cosh", -16000, "after 1", "1"),
        ("sigmoid", 16000, "1", "before 1"),
        ("exp2", -16000, "after 1", "1"),
    ],
)
def test_results_that_no_digits_reach_are_rounded_to_their_side(name, power, up, down):
    result = FUNCTIONS[name](exactly(Fraction(2) ** power))
    codes = {"inf": 0x7F, "largest": 0x7E, "1": 0x40, "after 1": 0x41, "before 1": 0x3F}
    assert encode(result, A, "toward_positive") == codes[up]
    assert encode(result, A, "toward_zero") == codes[down]


def test_exp_of_minus_10_to_the_300_is_above_zero():
    result = FUNCTIONS["exp"](exactly(-(10**300)))
    assert encode(result, A, "toward_positive") == 1 and encode(result, A) == 0


def test_the_sine_of_2_to_the_1000_takes_a_thousand_digits_of_pi():
    # as MPFR 4.2 has it
    result = FUNCTIONS["sin"](exactly(2**1000))
    assert encode(result, rf.format("float64")) == encode(from_float(-0.15920170308624243), rf.format("float64"))
