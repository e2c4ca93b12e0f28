"""Facts of IEEE P3109, interim report 4.0, each a line: what is projected, how, and what must come out.

Computed outside of this project, in exact fractions, by a transcription of the report's rules.
"""

import math
from fractions import Fraction

import numpy as np
import pytest

import refimpl as rf
from refimpl.spec.float_codes import Value, decode, encode, project

MODES = {
    "NTE": "ties_to_even",
    "NTA": "ties_to_away",
    "TZ": "toward_zero",
    "TP": "toward_positive",
    "TN": "toward_negative",
    "TO": "to_odd",
}
SATURATIONS = {"SN": "overflow", "SF": "saturate", "SP": "propagate"}
FORMATS = {
    "a": "binary8p4se",
    "b": "binary8p3se",
    "u": "binary8p1uf",
    "v": "binary8p3ue",
    "f": "binary4p2sf",
    "p1": "binary4p1se",
    "ue": "binary4p2ue",
    "uf": "binary4p2uf",
}
nan, inf = math.nan, math.inf

PROJECTED = """
a 232 NTE SN,SF,SP 224
a 232 NTA,TP,TO SN inf
a 232 TZ SN 224
a 233 NTE SN inf
a 233 NTE SF,SP 224
a -233 TN SN -inf
a -233 TP,TZ SN -224
a 225 TO SN inf
a 225 TO SF 224
a inf TZ SN,SP inf
a inf NTE SP inf
a inf NTE SF 224
a 2**-11 NTE SN 0
a 2**-11 NTA,TP,TO SN 2**-10
a 3*2**-11 NTE SN 2**-9
a 17 NTE SN 16
a 17 NTA,TO SN 18
a 19 NTE SN 20
p1 3 NTE,NTA SN 4
p1 3 TO SN 2
p1 1.5 NTE SN 1
p1 1.5 TO SN 2
p1 6 NTE SN 4
p1 6.1 NTE SN inf
p1 1/16 NTE SN 0
p1 1/16 NTA SN 1/8
p1 5 TO SN inf
p1 5 TO SP 4
ue 7 NTE SN inf
ue 7 TO SN 6
ue 8 NTE,TP SN inf
ue 8 TO,TZ,TN SN 6
ue inf TO,TZ SN inf
f 100 NTE,TP SN 3
f inf NTE SN,SF,SP 3
f -inf NTE SN -3
f nan NTE SN,SF,SP nan
uf 100 NTE,NTA,TZ,TP,TN,TO SN,SF,SP 8
v -5 NTE,NTA,TN,TO SN nan
v -5 TZ,TP SN 0
v -5 NTE,NTA,TZ,TP,TN,TO SF,SP 0
v -2**-40 NTE,NTA,TZ,TP SN 0
v -2**-40 TN,TO SN nan
v -inf NTE,NTA,TZ,TP,TN,TO SN nan
v -inf NTE,NTA,TZ,TP,TN,TO SP,SF 0
"""


def number(value):
    if value.kind == "nan":
        return nan
    return (-1 if value.negative else 1) * (inf if value.kind == "infinite" else value.magnitude)


@pytest.mark.parametrize("line", PROJECTED.strip().splitlines())
def test_values_are_projected_as_the_report_says(line):
    name, x, modes, saturations, expected = line.split()
    fmt, x, expected = rf.format(FORMATS[name]), float(eval(x)), float(eval(expected))
    for mode in modes.split(","):
        for saturation in saturations.split(","):
            rule = {"rounding": MODES[mode], "overflow": SATURATIONS[saturation]}
            value = Value("nan", False) if x != x else Value("infinite", x < 0)
            if math.isfinite(x):
                value = Value("finite", x < 0, abs(Fraction(x)))
            code = encode(value, fmt, *rule.values())
            got = [float(number(decode(code, fmt)))]
            for count in (1, 5000):  # by definition, and compiled
                for dtype in (np.float32, np.float64):
                    array = np.full(count, x, dtype)
                    got += [rf.quantize(array, fmt, **rule)[-1], rf.decode(rf.encode(array, fmt, **rule), fmt)[-1]]
            assert all(g == expected or (g != g and expected != expected) for g in got), (line, mode, saturation, got)


def test_external_formats_overflow_to_odd_to_infinity_and_have_no_minus_zero():
    half = rf.format("float16")
    assert project(Value("finite", False, Fraction(10**6)), half, "to_odd") == 0x7C00
    assert project(Value("finite", True, Fraction(1, 2**40)), half) == 0


@pytest.mark.parametrize(
    "x, kind, least",
    [(16.375, "a", 7), (16.375, "b", 6), (16.375, "c", 6), (16.625, "a", 6), (16.625, "b", 5), (16.625, "c", 6)],
)
def test_random_integers_round_up_from_the_least_that_the_report_says(x, kind, least):
    rule = {"rounding": f"stochastic_{kind}", "random_bits": 3}
    for repeated in (1, 1000):
        values, integers = np.full(8 * repeated, x), np.tile(np.arange(8), repeated)
        got = rf.quantize(values, "binary8p4se", **rule, random=integers)
        assert (got == np.where(integers >= least, 18, 16)).all()
