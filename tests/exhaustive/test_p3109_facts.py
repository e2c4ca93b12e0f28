"""Facts of IEEE P3109, interim report 4.0, each a line: what is projected, how, and what must come out.

Computed outside of this project, in exact fractions, by a transcription of the report's rules.
"""

import math
from fractions import Fraction

import numpy as np
import pytest

import refimpl as rf
from refimpl.spec import moved, operations
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


# -- operations, by the standard's names: `Op operands [rounding[/saturation]] [format]=result; ...` -------------
# Operands and results are values, or codes: 0x7e.  The formats are Binary8p4se, or those behind `:` of an operand.

OPERATIONS = """
13 Convert 0x80000000:s s=0x0; Convert 0xffc00001:s =0x80; Convert 0x80 h=0x7e00; Convert 0x80 g=0x7fc0
13 Convert 0x8000:g =0x0
14 Convert 0x3dcccccd:s =0x25; Convert 0x3dcccccd:s b=0x32; Convert 0x7f7fffff:s =0x7f
14 Convert 0x7f7fffff:s TZ =0x7e; Convert 0x7f7fffff:s NTE/SP =0x7e; Convert 0xff800000:s =0xff
14 Convert 0xff800000:s NTE/SF =0xfe; Convert 0xff800000:s u=0xff; Convert 0xff800000:s NTE/SF u=0x0
15 Convert 0x1:P h=0x0; Convert 0x1:P TP h=0x1; Convert 0x7e:P h=0x7c00; Convert 0x7e:P NTE/SF h=0x7bff
15 Convert 0x7e:P TZ h=0x7bff; Convert 0x01:u g=0x40; Convert 0xff f=0xf; Convert 0x7e:b =0x7f
15 Convert 0x7e:b NTE/SF =0x7e
16 Abs 0xff =0x7f; Abs 0xff NTE/SF =0x7e; Negate 0x0 =0x0; Negate 0x80:v v=0xff; Negate 0x80:v TZ v=0x0
16 Negate 0x80:v NTE/SF v=0x0
17 CopySign -3 0 =0x4c; CopySign 3 nan =0x80; CopySign inf -1 =0xff; CopySign 3 -1 v=0xff
18 Add 0x7e 0x58 =0x7e; Add 0x7e 0x58 NTA =0x7f; Add 0x7e 0x59 =0x7f; Add 0x7e 0x59 NTE/SF =0x7e
18 Add 0x7e 0x59 TZ =0x7e; Add 0x40 0x01 =0x40; Add 0x40 0x01 TP =0x41; Add inf -inf =0x80
18 Add inf 1 NTE/SF =0x7e; Add inf 1 NTE/SP =0x7f
19 Subtract 1 1 TN =0x0; Multiply 0 inf =0x80; Multiply 0x01 0x01 =0x0; Multiply 0x01 0x01 TP =0x1
19 Multiply 0x01 0x01 TO =0x1; Multiply -inf 2 =0xff
20 Multiply 3:f 3:f =0x59; Multiply 3:f 3:f b=0x4c; Multiply 3:f -3:f v=0xff; Multiply 3:f -3:f TZ v=0x0
20 Multiply 3:f -3:f NTE/SF v=0x0; Add 0x01 3:f s=0x40401000
21 Divide 1 0 =0x80; Divide inf 0 =0x80; Divide inf inf =0x80; Divide -1 inf =0x0; Divide 1 3 =0x33
21 Divide 1 -3 =0xb3
22 FMA 1.125 1.125 -1.25 =0x10; FMA 0 inf 1 =0x80; FMA -1 inf inf =0x80; FMA 224 2 -224 =0x7e
23 FAA 224 224 -224 =0x7e; FAA inf 1 -inf =0x80; FAA 16 1 2**-10 =0x61
24 Sqrt 2 =0x43; Sqrt 2 TP =0x44; Sqrt -1 =0x80; Recip 0 =0x80; Recip -inf =0x0; Recip 0x01 =0x7f
24 Recip 3:f s=0x3eaaaaab
25 RSqrt 0 =0x80; RSqrt 2 =0x3b; RSqrt inf =0x0; Hypot 3 4 =0x52; Hypot inf nan =0x80; Hypot -inf 0 =0x7f
26 Exp 0 =0x40; Exp 1 =0x4b; Exp 6 =0x7f; Exp 6 NTE/SF =0x7e; Exp 6 TZ =0x7e; Exp -inf TP =0x0
26 Exp -224 =0x0; Exp -224 TP =0x1; Exp -224 TO =0x1
27 Exp2 3 =0x58; Exp2 -11 =0x0; Exp2 -11 NTA =0x1; Exp2 .5 =0x43
28 Log 0 =0xff; Log 0 NTE/SF =0xfe; Log 0 v=0xff; Log 0 NTE/SF v=0x0; Log 0 f=0xf; Log -1 =0x80; Log 2 =0x3b
28 Log2 0x01 TN =0xda; Log2 3 =0x45
29 LogOnePlus -1 =0xff; LogOnePlus -2 =0x80; LogOnePlus 0x01 =0x1; LogOnePlus 0x01 TZ =0x0
29 ExpMinusOne -inf =0xc0; ExpMinusOne 0x01 =0x1; ExpMinusOne 0x01 TP =0x2; ExpMinusOne 1 =0x46
30 Softplus 0 =0x3b; Softplus -inf =0x0; Softplus 224 =0x7e; Softplus 224 TP =0x7f; Softplus -224 =0x0
30 Softplus -224 TP =0x1
31 Sin 3 =0x29; Sin 224 =0xbd; Sin inf =0x80; Cos 224 =0xb9; Tan 1.5 =0x5e
32 ArcSin 1 =0x45; ArcCos 2 =0x80; ArcCos -1 =0x4d; ArcTan inf =0x45; ArcTan inf TZ =0x44
33 Sinh -inf =0xff; Cosh -inf =0x7f; Cosh 2 =0x4f; Tanh 14 =0x40; Tanh 14 TZ =0x3f; Tanh inf TZ =0x40
34 ArcCosh .5 =0x80; ArcTanh 1 =0x7f; ArcTanh 1 NTE/SF =0x7e; ArcTanh inf =0x80; ArcSinh 2 =0x44
35 SinPi .5 =0x40; SinPi 3 TN =0x0; SinPi .25 =0x3b; CosPi 1.5 TN =0x0; CosPi 224 =0x40
36 TanPi .5 =0x80; TanPi .25 TN =0x40; TanPi .75 =0xc0; ArcSinPi .5 =0x2b; ArcCosPi -1 =0x40; ArcTanPi -inf =0xb8
37 ArcTan2 0 0 =0x80; ArcTan2 0 -1 =0x4d; ArcTan2 -1 -inf =0x4d; ArcTan2 -1 -224 =0xcd; ArcTan2 inf -inf =0x80
37 ArcTan2 -inf 3 =0xc5; ArcTan2 3 inf =0x0
38 ArcTan2Pi -1 -1 =0xbc; ArcTan2Pi 1 -1 TN =0x3c; ArcTan2Pi -1 -inf =0x40; ArcTan2Pi 1 2 =0x29
39 Minimum nan 1 =0x80; MinimumNumber nan 1 =0x40; MinimumNumber -inf nan =0xff
40 MinimumMagnitude 2 -2 =0xc8; MinimumMagnitude inf -inf =0xff; MinimumMagnitude -inf nan =0x80
40 MaximumMagnitude -2 2 =0x48; MaximumMagnitude -inf 3 =0xff; MaximumMagnitude -inf inf =0x7f
41 MinimumFinite -inf 3 =0x4c; MinimumFinite inf -inf =0xff; MaximumFinite inf 3 =0x4c; MaximumFinite nan inf =0x7f
42 Clamp 5 1 -1 =0x80; Clamp -inf 1 2 =0x40; Clamp 3 inf inf =0x7f; Clamp 5 -1 nan =0x80
"""
SHORT = {"s": "binary32", "h": "binary16", "g": "BFloat16", "P": "Binary8p1se", **FORMATS}
LONG = {
    "NTE": "NearestTiesToEven",
    "NTA": "NearestTiesToAway",
    "TZ": "TowardZero",
    "TP": "TowardPositive",
    "TN": "TowardNegative",
    "TO": "ToOdd",
    "SN": "SatNone",
    "SF": "SatFinite",
    "SP": "SatPropagate",
}


def code(text, fmt):
    """A code, or that of a value, exactly."""
    if text.startswith("0x"):
        return int(text, 16)
    x = float(eval(text, {"nan": nan, "inf": inf}))
    kind = "nan" if x != x else "infinite" if math.isinf(x) else "finite"
    value = Value(kind, x < 0, abs(Fraction(x)) if kind == "finite" else Fraction(0))
    found = project(value, fmt)
    assert kind != "finite" or number(decode(found, fmt)) == x
    return found


@pytest.mark.parametrize("line", OPERATIONS.strip().splitlines(), ids=lambda line: line.split()[0])
def test_operations_give_what_the_report_s_rules_give(line):
    for fact in line.split(" ", 1)[1].split(";"):
        name, *words = fact.split()
        into, result = words.pop().split("=")
        rho = words.pop() if words[-1][0] in "NT" and words[-1] not in ("nan",) else "NTE"
        mode, _, saturation = rho.partition("/")
        formats = [SHORT[w.partition(":")[2] or "a"] for w in words]
        operation = getattr(rf.p3109, name)(*formats, SHORT[into or "a"], (LONG[mode], LONG[saturation or "SN"]))
        codes = [code(w.partition(":")[0], rf.format(f)) for w, f in zip(words, formats, strict=True)]
        assert hex(operation(*codes)) == result, fact
        assert rf.p3109.operation(str(operation)) == operation


A, U, V, F, S = (SHORT[k] for k in "auvfs")
NTE = ("NearestTiesToEven", "SatNone")


def codes_of(values, fmt):
    return [code(v if isinstance(v, str) else repr(v), rf.format(fmt)) for v in values]


def test_comparisons_and_orders():  # 43, 44
    a = rf.p3109
    nan_, low = 0x80, 0xFF
    assert not a.CompareEqual(A, A)(nan_, nan_) and not a.CompareLess(A, A)(low, nan_)
    assert a.CompareEqual(A, F)(0x48, 0x06)
    order = a.TotalOrder(A, A)
    assert order(nan_, low) and not order(low, nan_) and order(nan_, nan_) and a.TotalOrder(V, V)(0xFF, 0x00)


def test_predicates_classes_and_queries():  # 45, 46, 47
    p = rf.p3109
    for name, fmt, c, expected in (
        ("IsSignMinus", A, 0x80, False),
        ("IsSignMinus", A, 0x81, True),
        ("IsSubnormal", A, 0x07, True),
        ("IsNormal", A, 0x08, True),
        ("IsOne", A, 0x40, True),
        ("IsFinite", A, 0x80, False),
        ("IsNormal", U, 0x01, True),
        ("IsZero", S, 0x80000000, True),
        ("IsSignMinus", S, 0xFFC00000, False),
    ):
        assert getattr(p, name)(fmt)(c) == expected, (name, fmt, c)
    classes = p.Class(A)([0x80, 0x81, 0xFF, 0x00, 0x08]).tolist()
    assert [c.removeprefix("Cls") for c in classes] == [
        "NaN",
        "NegativeSubnormal",
        "NegativeInfinity",
        "Zero",
        "PositiveNormal",
    ]
    asked = ("MaxFiniteOf", "MinFiniteOf", "MinPositiveOf", "MaxSubnormalOf", "MinNormalOf")
    asked += ("ExponentBitwidthOf", "TrailingSignificandBitwidthOf", "ExponentBiasOf")
    assert [getattr(p, q)(A)() for q in asked] == [0x7E, 0xFE, 1, 7, 8, 4, 3, 8]
    assert [getattr(p, q)(U)() for q in asked] == [0xFE, 0, 1, 0xFF, 1, 8, 0, 128]
    assert [getattr(p, q)("Binary5p5uf")() for q in (asked[5], asked[7])] == [1, 1]
    assert [getattr(p, q)("binary16")() for q in ("MaxFiniteOf", "MinNormalOf")] == [0x7BFF, 0x0400]
    assert (p.RoundOf(NTE)(), p.SatOf(NTE)()) == NTE


def test_neighbours():  # 48, 49
    up, down = rf.p3109.NextGreaterThan, rf.p3109.NextLessThan
    assert up(A)([0x7E, 0x7F, 0xFF, 0x81, 0x82, 0x00]).tolist() == [0x7F, 0x80, 0xFE, 0x00, 0x81, 0x01]
    assert up(F)(0x07) == 0x08 and up(V)([0xFD, 0xFE]).tolist() == [0xFE, 0xFF]
    assert down(A)([0x00, 0xFE, 0xFF, 0x7F]).tolist() == [0x81, 0xFF, 0x80, 0x7E]
    assert down(F)(0x0F) == 0x08 and down(V)(0x00) == 0xFF


def block(fact, name, parameters, operands, *expected):
    found = getattr(rf.p3109, name)(*parameters)(*operands)
    found = found if isinstance(found, tuple) else (found,)
    assert [x.tolist() for x in found] == list(expected), fact


def test_blocks_are_decoded():  # 50
    x = codes_of([3, -2, 0.25, "nan"], F)
    block("50", "ConvertFromBlock", (4, U, F, A, NTE), (code(".25", rf.format(U)), x), [0x3C, 0xB8, 0x20, 0x80])
    x = codes_of(["inf", 3], A)
    block("50, s=0", "ConvertFromBlock", (2, U, A, A, NTE), (0, x), [0x80, 0x00])
    block("50, s=inf", "ConvertFromBlock", (2, V, A, A, NTE), (0xFE, codes_of([0, -3], A)), [0x80, 0xFF])


def test_blocks_are_made():  # 51 to 55
    x = codes_of([5, -3, 0, "nan", "-inf"], A)
    two = code("2", rf.format(U))
    block("51", "ConvertToBlock", (5, A, U, F, NTE), (x, two), two, [0x06, 0x0D, 0x00, 0x08, 0x0F])
    block("51", "ConvertToBlock", (5, A, U, A, NTE), (x, two), two, [0x4A, 0xC4, 0x00, 0x80, 0xFF])
    block("52, s=0", "ConvertToBlock", (5, A, U, A, NTE), (x, 0), 0, [0, 0, 0, 0x80, 0])
    block("52, s=nan", "ConvertToBlock", (5, A, U, A, NTE), (x, 0xFF), 0xFF, [0x80] * 5)
    block("52, s=inf", "ConvertToBlock", (5, A, V, F, NTE), (x, 0xFE), 0xFE, [0x04, 0x0C, 0x00, 0x08, 0x0C])
    block("52, s=-inf", "ConvertToBlock", (5, A, A, F, NTE), (x, 0xFF), 0xFF, [0x0C, 0x04, 0x00, 0x08, 0x04])
    name, up = "ConvertToBlockMaxAbsFinite", ("TowardPositive", "SatNone")
    x = codes_of([5, -3, 0.5, "inf"], A)
    block("53", name, (4, A, U, F, NTE, NTE), (x,), 0x82, [0x04, 0x0B, 0x00, 0x07])
    block("53", name, (4, A, U, F, up, NTE), (x,), 0x83, [0x02, 0x0A, 0x00, 0x07])
    x = codes_of(["nan", "inf", -6], A)
    block("54", name, (3, A, U, F, NTE, NTE), (x,), 0x82, [0x08, 0x07, 0x0D])
    block("54", name, (2, A, U, F, NTE, NTE), ([0x80, 0x80],), 0xFF, [0x08, 0x08])
    block("54", name, (2, A, U, F, NTE, NTE), ([0, 0],), 0, [0, 0])
    for into, fs, scale, elements in (
        (F, U, 0xFE, [0x07, 0x0F]),
        (A, U, 0xFE, [0x7F, 0xFF]),
        (F, V, 0xFE, [0x04, 0x0C]),
    ):
        block("54", name, (2, A, fs, into, NTE, NTE), ([0x7F, 0xFF],), scale, elements)
    b = FORMATS["b"]
    block("55", name, (2, b, F, b, NTE, NTE), (codes_of([0.125, 0.0625], b),), 0, [0, 0])


def test_blocks_are_reduced():  # 56 to 58
    two = code("2", rf.format(U))
    for s, x, expected in (
        (two, [224, 224, -224, -224, "2**-10"], 0x02),
        (two, [1, "inf"], 0x7F),
        (two, ["inf", "-inf"], 0x80),
        (0, [1, "inf"], 0x80),
    ):
        block("56", "BlockReduceAdd", (len(x), U, A, A, NTE), (s, codes_of(x, A)), expected)
    for x, expected in (([3, 3], 0x69), ([0, "inf"], 0x80), ([-1, "inf"], 0xFF)):
        block("57", "BlockReduceMultiply", (2, U, A, A, NTE), (two, codes_of(x, A)), expected)
    x = codes_of([224, 224, "2**-7", "2**-7"], A)
    block("57, exact 49", "BlockReduceMultiply", (4, U, A, A, NTE), (two, x), 0x6C)
    x, y = codes_of([1, 2, 3, -4], A), codes_of([0.5, 1, 1.5, 2], A)
    half, four, one = (code(t, rf.format(U)) for t in (".5", "4", "1"))
    block("58", "BlockDotProduct", (4, U, A, U, A, S, NTE), (half, x, four, y), 0xC0000000)
    x, y = codes_of([224, -224, 1], A), codes_of([224, 224, 0.25], A)
    block("58", "BlockDotProduct", (3, U, A, U, A, A, NTE), (half, x, four, y), 0x38)
    x, y = codes_of(["inf", 1], A), codes_of([0, 1], A)
    block("58", "BlockDotProduct", (2, U, A, U, A, A, NTE), (one, x, one, y), 0x80)


def test_operations_on_blocks():  # 59, 60
    scales = [code(t, rf.format(U)) for t in ("8", ".25", "2", "1", "4")]
    three, less = codes_of([3, -1.5], F)
    block("59", "ScaledMultiply", ((U, F), (U, F), A, NTE), (scales[0], three, scales[1], less), 0xD9)
    block("59", "ScaledAdd", ((U, F), (U, F), A, NTE), (scales[0], three, scales[1], less), 0x64)
    x, y = codes_of([3, 1, "nan", -3], F), codes_of([2, 1, 1, -3], F)
    parameters = (4, (U, F), (U, F), U, F, NTE)
    block("60", "BlockAdd", parameters, (scales[2], x, scales[3], y, scales[4]), scales[4], [0x06, 0x03, 0x08, 0x0E])


@pytest.mark.parametrize("defined, computed, expected", [(4, 0, 4), (7, 8, 1), (0x7E, 0x7F, inf), (0x80, 0x00, nan)])
def test_kappa_counts_the_values_between(defined, computed, expected):  # 61
    convert = rf.p3109.Convert(A, A, NTE)
    found = rf.p3109.kappa(lambda x: x - x + np.uint8(computed), convert, [np.uint8([defined])])
    assert found == expected or (found != found and expected != expected)


def test_flushing_subnormal_results_of_exp_is_an_approximation_of_kappa_4():  # the report's example
    exp = rf.p3109.Exp("binary32", A, NTE)

    def flushing(x):
        found = exp(x)
        return np.where(found <= 4, 0, np.where(found < 8, 8, found)).astype(np.uint8)

    x = np.linspace(-8, 0, 401).astype(np.float32).view(np.uint32)
    low = exp(x) <= 4
    assert [rf.p3109.kappa(flushing, exp, [part]) for part in (x, x[low], x[~low])] == [4, 4, 3]


def test_random_integers_are_given_to_each_projected_element():  # 12, by operations
    rho = ("StochasticB(3)", "SatNone")
    x = code("16", rf.format(A))
    added = rf.p3109.Add(A, A, A, rho)([x] * 8, codes_of([0.375], A), random=list(range(8)))
    assert rf.decode(added, A).tolist() == [16.0] * 6 + [18.0] * 2  # 16.375
    halves = rf.encode([16.375, 16.375], "float16")
    converted = rf.p3109.ConvertFromBlock(2, U, "binary16", A, rho)(0x80, halves, random=[5, 6])  # scale 1
    assert rf.decode(converted, A).tolist() == [16.0, 18.0]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda p: p.Add(A, A, A), r"Add: takes the parameters format, format, format, rho; got 3"),
        (lambda p: p.Add("e4m3fn", A, A, NTE), "Add: the format is 'float8_e4m3fn'; allowed is one of P3109"),
        (lambda p: p.Add(A, A, A, ("ToEven", "SatNone")), "Add: unknown rounding mode 'ToEven'"),
        (lambda p: p.Add(A, A, A, ("StochasticA", "SatNone")), r"rounding mode is 'StochasticA'; .*StochasticA\(8\)"),
        (
            lambda p: p.Add(A, A, A, ("StochasticA(4)", "SatNone"))(1, 2),
            "Add: random is None; allowed is integers of 4",
        ),
        (lambda p: p.Add(A, A, A, NTE)(1, 256), "Add: y is 256; allowed is a code of Binary8p4se, 0 to 255"),
        (lambda p: p.Add(A, A, A, NTE)(1), r"takes 2 operands \(x, y\); got 1"),
        (lambda p: p.BlockReduceAdd(2, U, A, A, NTE)(1, [1, 2, 3]), r"BlockReduceAdd: x is of shape \(3,\)"),
        (lambda p: p.operation("Exp<Binary8p4se"), "p3109.operation: text is 'Exp<Binary8p4se'"),
        (lambda p: p.operation("Expo<Binary8p4se>"), "unknown operation 'Expo'; did you mean 'Exp'"),
    ],
)
def test_misuse_is_refused_in_a_line(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call(rf.p3109)


def test_what_changed_after_4_0_stands_in_one_place(monkeypatch):
    """With the drafts' rules in `refimpl.spec.moved` definitions are the drafts', and change nowhere else."""
    modes = ("ties_to_even", "toward_zero", "toward_positive", "toward_negative", "to_odd")
    formats = [rf.format(f"binary5p2{name}") for name in ("se", "sf", "ue", "uf")]
    values = [
        Value(kind, sign, Fraction(10**6) * (kind == "finite"))
        for kind in ("finite", "infinite")
        for sign in (False, True)
    ]

    def everything():
        found = {
            (fmt.name, value.kind, value.negative, mode): decode(project(value, fmt, mode, "overflow"), fmt)
            for fmt in formats
            for value in values
            for mode in modes
        }
        half, minus = Value("finite", False, Fraction(1, 2)), Value("finite", True, Fraction(1))
        found["tanpi"] = operations.exact("tanpi", (half,), p3109=True)
        found["rsqrt"] = operations.exact("rsqrt", (operations.ZERO,), p3109=True)
        for y in (half, minus, operations.ZERO):
            found["atan2pi", y] = operations.exact("atan2pi", (y, Value("infinite", True)), p3109=True)
        return found

    before = everything()
    as_it_was = moved.saturate

    def drafts(negative, infinite, signed, extended, rounding, overflow):
        if overflow == "overflow" and not extended:
            toward = ("toward_zero", "toward_positive" if negative else "toward_negative")
            return "limit" if not infinite and rounding in toward else "nan"
        if rounding == "to_odd" and not infinite and not negative:
            rounding = "ties_to_even"
        return as_it_was(negative, infinite, signed, extended, rounding, overflow)

    monkeypatch.setattr(moved, "saturate", drafts)
    monkeypatch.setattr(moved, "tangent_has_poles", lambda: True)
    monkeypatch.setattr(moved, "angle_is_negative", lambda below: below)
    after = everything()
    changed = {key for key, value in after.items() if value != before[key]}
    nans = {(f"binary5p2{s}f", "infinite", sign, m) for s in "su" for sign in (0, 1) for m in modes}
    nans |= {("binary5p2sf", "finite", sign, m) for sign in (0, 1) for m in ("ties_to_even", "to_odd")}
    nans |= {("binary5p2sf", "finite", 0, "toward_positive"), ("binary5p2sf", "finite", 1, "toward_negative")}
    nans |= {("binary5p2uf", "finite", 0, m) for m in ("ties_to_even", "to_odd", "toward_positive")}
    nans -= {("binary5p2uf", "infinite", 1, m) for m in modes}  # NaN already
    minus = Value("finite", True, Fraction(1))
    assert changed == nans | {("binary5p2ue", "finite", 0, "to_odd"), "tanpi", ("atan2pi", minus)}
    assert all(after[key].kind == "nan" for key in nans)
    assert after["tanpi"] == Value("infinite", False) and after["atan2pi", minus] == minus
    assert after["binary5p2ue", "finite", 0, "to_odd"] == Value("infinite", False)
