"""Adders, multipliers, dividers, fused multiply-adds, functions, comparisons and conversions.

`Unit` is one on codes, in integers, as hardware does it; the others are NumPy's arithmetic with something around it.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

import refimpl as rf
from faults import Correct, Fault

E4M3, E5M2 = "float8_e4m3fn", "float8_e5m2"
INF, NAN = math.inf, math.nan


class Unit:
    """A floating-point unit of an 8-bit format on codes, in Python's integers; keywords plant defects."""

    def __init__(self, name=E4M3, **faults):
        self.e, self.m, self.bias, self.largest = (4, 3, 7, 0x7E) if name == E4M3 else (5, 2, 15, 0x7B)
        self.has_infinity = name == E5M2
        self.faults = faults

    def read(self, code):
        """Return kind, sign, significand and exponent: the value is significand * 2^exponent."""
        sign, rest = code >> 7, code & 0x7F
        field, mantissa = rest >> self.m, rest & ((1 << self.m) - 1)
        if rest > self.largest:
            return ("inf" if self.has_infinity and mantissa == 0 else "nan"), sign, 0, 0
        if field == 0:
            if self.faults.get("flush_operands"):
                mantissa = 0
            return "number", sign, mantissa, 1 - self.bias - self.m
        return "number", sign, mantissa | 1 << self.m, field - self.bias - self.m

    def nan(self):
        """Return a NaN."""
        return self.faults.get("nan", 0x7F)

    def infinity(self, sign):
        """Return an infinity, or what an overflow gives where there is none."""
        if self.faults.get("saturate"):
            return sign << 7 | self.largest
        return (sign << 7 | self.largest + 1) if self.has_infinity and not self.faults.get("overflow_nan") else 0x7F

    def write(self, sign, significand, exponent, rest=False):
        """Return the code of significand * 2^exponent, rounded; rest: something more lies below."""
        f = self.faults
        if significand == 0 and not rest:
            return sign << 7
        bits = significand.bit_length()
        drop = max(bits - self.m - 1, 1 - self.bias - self.m - exponent)
        if drop <= 0 and rest:
            significand, exponent, drop = significand << 1 - drop, exponent - (1 - drop), 1
        if drop > 0:
            kept, lost = significand >> drop, significand & ((1 << drop) - 1)
            seen = f.get("bits_behind")
            if seen is not None:
                lost = lost >> max(drop - seen, 0) << max(drop - seen, 0)
                rest = False
            half = 1 << drop - 1
            up = lost > half or (lost == half and (rest or kept & 1))
            if f.get("tie") == "away":
                up = lost >= half
            if f.get("tie") == "odd" and lost == half and not rest:
                up = not kept & 1
            if f.get("truncate"):
                up = False
            carried = (kept + up).bit_length() > kept.bit_length() and kept.bit_length() == self.m + 1
            if f.get("no_carry") and carried:
                kept, up = 1 << self.m, 0
            significand, exponent = kept + up, exponent + drop
        while significand and significand.bit_length() <= self.m and exponent > 1 - self.bias - self.m:
            significand, exponent = significand << 1, exponent - 1
        if significand.bit_length() > self.m + 1:
            significand, exponent = significand >> 1, exponent + 1
        field = exponent + self.bias + self.m if significand >> self.m else 0
        code = field << self.m | significand & ((1 << self.m) - 1) if field else significand
        if f.get("flush_results") and field <= 0:
            code = 0
        return self.infinity(sign) if code > self.largest else sign << 7 | code

    def add(self, a, b):
        """Return a + b."""
        (ka, sa, x, ex), (kb, sb, y, ey) = self.read(a), self.read(b)
        f = self.faults
        if "nan" in (ka, kb):
            return f.get("nan_operand", self.nan())
        if "inf" in (ka, kb):
            if ka == kb and sa != sb:
                return f.get("invalid", self.nan())
            return self.infinity(sa if ka == "inf" else sb)
        if "guard" in f and x and y:
            top = max(ex, ey) - f["guard"]
            x, y = (v << e - top if e >= top else v >> top - e for v, e in ((x, ex), (y, ey)))
            ex = ey = top
        low = min(ex, ey)
        total = (-1) ** sa * (x << ex - low) + (-1) ** sb * (y << ey - low)
        if total == 0:
            if x == y == 0 and sa == sb:
                return 0 if f.get("plus_zero") else sa << 7
            return 0x80 if f.get("minus_zero") else 0
        return self.write(int(total < 0), abs(total), low)

    def sub(self, a, b):
        """Return a - b."""
        return self.add(b, a ^ 0x80) if self.faults.get("swapped") else self.add(a, b ^ 0x80)

    def mul(self, a, b):
        """Return a b."""
        (ka, sa, x, ex), (kb, sb, y, ey) = self.read(a), self.read(b)
        sign = sa ^ sb
        if "nan" in (ka, kb):
            return self.nan()
        if "inf" in (ka, kb):
            zero = (ka == "number" and x == 0) or (kb == "number" and y == 0)
            return self.faults.get("invalid", self.nan()) if zero else self.infinity(sign)
        if x * y == 0 and self.faults.get("plus_zero"):
            return 0
        return self.write(sign, x * y, ex + ey)

    def div(self, a, b):
        """Return a / b."""
        (ka, sa, x, ex), (kb, sb, y, ey) = self.read(a), self.read(b)
        sign = sa ^ sb
        if "nan" in (ka, kb) or (ka == kb == "inf"):
            return self.nan()
        if ka == "inf":
            return self.infinity(sign)
        if kb == "inf":
            return sign << 7
        if y == 0:
            if x == 0:
                return self.faults.get("invalid", self.nan())
            if self.faults.get("pole") == "nan":
                return self.nan()
            return self.infinity(0 if self.faults.get("pole") == "plus" else sign)
        quotient, rest = divmod(x << 20, y)
        return self.write(sign, quotient, ex - ey - 20, bool(rest) and not self.faults.get("no_remainder"))

    def fma(self, a, b, c):
        """Return a b + c."""
        if self.faults.get("unfused"):
            return self.add(self.mul(a, b), c)
        (ka, sa, x, ex), (kb, sb, y, ey), (kc, sc, z, ez) = self.read(a), self.read(b), self.read(c)
        sc ^= self.faults.get("minus_c", 0)
        sign = sa ^ sb
        if "nan" in (ka, kb, kc):
            return self.nan()
        if "inf" in (ka, kb):
            if (ka == "number" and x == 0) or (kb == "number" and y == 0) or (kc == "inf" and sc != sign):
                return self.nan()
            return self.infinity(sign)
        if kc == "inf":
            return self.infinity(sc)
        low = min(ex + ey, ez)
        total = (-1) ** sign * (x * y << ex + ey - low) + (-1) ** sc * (z << ez - low)
        if total == 0:
            return sign << 7 if x * y == z == 0 and sign == sc else 0
        return self.write(int(total < 0), abs(total), low)

    def sqrt(self, a):
        """Return the root of a."""
        k, s, x, e = self.read(a)
        if k == "nan" or (s and (x or k == "inf")):
            return self.nan()
        if k == "inf":
            return self.infinity(0)
        if x == 0:
            return self.nan() if s and self.faults.get("minus_zero_is_negative") else a
        x, e = (x << 41, e - 41) if (e - 41) % 2 == 0 else (x << 40, e - 40)
        root = math.isqrt(x)
        return self.write(0, root, e // 2, root * root != x)

    def on(self, name):
        """Return an operation on arrays of codes."""
        one = np.frompyfunc(getattr(self, name), {"sqrt": 1, "fma": 3}.get(name, 2), 1)
        return rf.testing.Implementation(
            on_codes=lambda *codes: one(*(c.astype(object) for c in codes)).astype(np.int64), name=f"integers, {name}"
        )


# -- on values, by NumPy -----------------------------------------------------------------------------


def rounded(x, mantissa_bits, least=-149):
    """Return float64 x at a precision, to even; steps of subnormals are 2^least."""
    x = np.asarray(x, np.float64)
    step = np.ldexp(1.0, np.maximum(np.frexp(x)[1] - 1 - mantissa_bits, least))
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(x), np.rint(x / step) * step, x)


def half(x):
    """Return x in float16."""
    with np.errstate(all="ignore"):
        return np.asarray(x).astype(np.float16)


def brain(x):
    """Return float64 x in bfloat16, as float64."""
    y = rounded(x, 7, -133)
    return np.where(np.abs(y) > 3.3895313892515355e38, np.copysign(INF, y), y)


def wide(*x):
    """Return arrays as float64."""
    return tuple(np.asarray(v, np.float64) for v in x)


def in_halves(function):
    """Return a function computed in float64 and rounded once to float16."""
    return lambda *x: half(function(*wide(*x)))


def stepwise(function):
    """Return a function that rounds each step to float16: it is given them so."""
    return lambda *x: function(*(half(v) for v in x))


def sigmoid(x):
    """Return 1 / (1 + e^-x), each step in float16."""
    return half(1) / half(half(1) + half(np.exp(-x.astype(np.float64))))


def truncated(x):
    """Return float32 x cut to bfloat16: its upper half."""
    return (x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def signed(x):
    """Return float16 codes as two's complement integers."""
    return half(x).view(np.int16)


def to_int8(x, *, cut=False, nan=0, wrap=False):
    """Return int8."""
    y = np.trunc(x) if cut else np.rint(x)
    if wrap:
        return np.nan_to_num(y, nan=0, posinf=0, neginf=0).astype(np.int64).astype(np.int8)
    return np.where(np.isnan(x), nan, np.clip(np.nan_to_num(y, posinf=200, neginf=-200), -128, 127)).astype(np.int8)


def ask(case):
    """Put an implementation to `conform`, without NumPy's warnings."""
    from faults import by_conform

    with np.errstate(all="ignore"):
        return by_conform(case)


def unit(name, right, operation, fmt=E4M3, true=(), **faults):
    """Return a faulty integer unit."""
    expected = {"format": fmt, "op": operation}
    return Fault(f"{operation}: {name}", expected, Unit(fmt, **faults).on(operation), right, true, ask=ask)


def function(name, operation, right, implementation, fmt="float16", true=(), **more):
    """Return a faulty function of values."""
    return Fault(f"{operation}: {name}", {"format": fmt, "op": operation, **more}, implementation, right, true, ask=ask)


FAULTS = [
    unit("cuts off", ("toward_zero",), "add", truncate=True),
    unit("half up", ("ties_to_away",), "add", tie="away"),
    unit("ties to odd", ("ties go to odd",), "add", tie="odd"),
    unit("no guard bit", ("no bits, the rest cut off",), "add", guard=0),
    unit("one guard bit, no sticky", ("1 guard bit, the rest cut off",), "add", guard=1),
    unit("two guard bits, no sticky", ("2 guard bits, the rest cut off",), "add", E5M2, guard=2),
    unit("one bit behind, no sticky", ("1 bit behind the last and no sticky",), "add", bits_behind=1),
    unit("two bits behind, no sticky", ("2 bits behind the last and no sticky",), "mul", bits_behind=2),
    unit("flushes results", ("flushes .*results",), "mul", flush_results=True),
    unit("flushes operands", ("flushes subnormal operands to zero",), "mul", flush_operands=True),
    unit("flushes both", ("flushes subnormal operands and results",), "mul", E5M2, flush_operands=True,
         flush_results=True),
    unit("carry lost", ("loses the carry",), "add", no_carry=True),
    unit("carry lost", ("loses the carry",), "mul", E5M2, no_carry=True),
    unit("x - x is -0", ("gives -0 for an exact zero",), "add", minus_zero=True),
    unit("-0 + -0 is +0", ("[+]0 for -0 [+] -0", "without their sign"), "add", plus_zero=True),
    unit("inf - inf is inf", ("infinity for NaN where no operand",), "add", E5M2, invalid=0x7C),
    unit("NaN becomes 0", ("zero where an operand is NaN",), "add", E5M2, nan_operand=0),
    unit("all NaN become 0", ("gives zero for NaN$",), "mul", E5M2, nan=0),
    unit("saturates", ("saturates",), "add", E5M2, saturate=True),
    unit("saturates", ("saturates",), "mul", saturate=True),
    unit("overflow is NaN", ("NaN instead of infinity",), "mul", E5M2, overflow_nan=True,
         true=("infinity",)),
    unit("swapped", ("swaps its operands",), "sub", swapped=True),
    unit("zero products are +0", ("zero",), "mul", plus_zero=True),
    unit("0 inf is 0", ("zero for NaN where no operand",), "mul", E5M2, invalid=0),
    unit("remainder ignored", ("sticky", "cut", "rounds twice"), "div", no_remainder=True, bits_behind=2),
    unit("1 / 0 is NaN", ("NaN for a division by zero",), "div", E5M2, pole="nan"),
    unit("-1 / 0 is +inf", ("[+]infinity for every division",), "div", E5M2, pole="plus"),
    unit("0 / 0 is inf", ("infinity for 0 / 0", "infinity for NaN where no operand is NaN"), "div", E5M2, invalid=0x7C),
    unit("not fused", ("not fused",), "fma", unfused=True),
    unit("not fused", ("not fused",), "fma", E5M2, unfused=True),
    unit("a b - c", ("sign of its third operand",), "fma", minus_c=1),
    unit("root of -0 is NaN", ("-0 for a negative number",), "sqrt", minus_zero_is_negative=True),
    function("by bfloat16", "add", ("computes in bfloat16",), lambda a, b: e4m3(brain(a + b)), E4M3,
             true=("rounds twice",)),
    function("to two more bits", "mul", ("first to 2 more bits",),
             lambda a, b: half(rounded(np.multiply(*wide(a, b)), 12)),
             true=("rounds twice",)),
    function("by the reciprocal", "div", ("reciprocal of b",), stepwise(lambda a, b: a * (half(1) / b))),
    function("a rsqrt a", "sqrt", ("reciprocal root",), stepwise(lambda a: a * half(1 / np.sqrt(a.astype(float))))),
    function("of the magnitude", "sqrt", ("of the magnitude", "sign of its first operand"),
             lambda a: np.sqrt(np.abs(half(a)))),
    function("product in float16", "fma", ("not fused",), stepwise(lambda a, b, c: a * b + c)),
    function("e^x - 1", "expm1", ("then - 1",), stepwise(lambda x: half(np.exp(x.astype(float))) - half(1))),
    function("log(1 + x)", "log1p", ("1 [+] a, then",), stepwise(lambda x: half(np.log((half(1) + x).astype(float))))),
    function("stepwise", "sigmoid", ("1 / [(]1 [+] e",), stepwise(sigmoid)),
    function("x sigmoid(x)", "silu", ("a times sigmoid",),
             stepwise(lambda x: x * half(1 / (1 + np.exp(-x.astype(float)))))),
    function("by cosine and sine", "tan", ("sine divided by cosine",),
             stepwise(lambda x: half(np.sin(x.astype(float))) / half(np.cos(x.astype(float))))),
    function("fmod", "remainder", ("fmod",), lambda a, b: np.fmod(half(a), half(b))),
    function("a > b ? a : b", "maximum", ("a > b [?] a : b",), lambda a, b: np.where(a > b, a, b)),
    function("drops NaN", "minimum", ("minimum_number",),
             lambda a, b: np.where(a == b, np.where(np.signbit(a), a, b), np.fmin(a, b))),
    function("negation of >=", "lt", ("negation of >=",), lambda a, b: ~(a >= b)),
    function("by codes", "lt", ("two's complement",), lambda a, b: signed(a) < signed(b)),
    function("by bits", "eq", ("codes",), lambda a, b: signed(a) == signed(b)),
    function("NaN equals NaN", "eq", ("NaN equal to NaN",), lambda a, b: (a == b) | (np.isnan(a) & np.isnan(b))),
    function("upper half", "convert", ("toward_zero",), lambda x: np.where(np.isnan(x), NAN, truncated(x)), "float32",
             out_format="bfloat16"),
    function("wraps", "to_int8", ("wraps around",), lambda x: to_int8(x, wrap=True)),
    function("cuts", "to_int8", ("toward_zero",), lambda x: to_int8(x, cut=True)),
    function("NaN is the least", "to_int8", ("least integer for NaN",), lambda x: to_int8(x, nan=-128)),
]  # fmt: skip


def e4m3(x):
    """Return float64 x in E4M3, as float64: by scaling."""
    y = rounded(x, 3, -9)
    return np.where(np.abs(y) > 448, NAN, y)


def by_fractions(operation):
    """Return float16 arithmetic by Python's fractions, one at a time; specials by NumPy."""
    exact = {"add": Fraction.__add__, "mul": Fraction.__mul__}[operation]

    def one(a, b):
        if not (math.isfinite(a) and math.isfinite(b)) or a == 0 or b == 0:
            return float({"add": np.add, "mul": np.multiply}[operation](np.float16(a), np.float16(b)))
        result = exact(Fraction(a), Fraction(b))
        if result == 0:
            return 0.0
        size, exponent = abs(result), -24
        while size >= Fraction(2) ** (exponent + 11):
            exponent += 1
        whole = round(size / Fraction(2) ** exponent)
        found = whole * 2.0**exponent
        return math.copysign(INF if found > 65504 else found, -1 if result < 0 else 1)

    return one


def correct(operation, implementation, fmt, name, **more):
    """Return a correct implementation."""
    return Correct(f"{name}: {operation} {fmt}", {"format": fmt, "op": operation, **more}, implementation, ask=ask)


CORRECT = [
    *(correct(op, Unit(fmt).on(op), fmt, "integers") for fmt in (E4M3, E5M2)
      for op in ("add", "sub", "mul", "div", "fma", "sqrt")),
    *(correct(op, np.float16, "float16", "NumPy") for op in ("add", "sub", "mul", "div", "sqrt", "le", "is_nan")),
    *(correct(op, np.float32, "float32", "NumPy") for op in ("add", "mul", "div", "sqrt", "ne")),
    correct("add", by_fractions("add"), "float16", "fractions"),
    correct("mul", by_fractions("mul"), "float16", "fractions"),
    correct("sqrt", lambda x: math.sqrt(x) if x >= 0 else NAN, "float64", "math"),
    correct("exp", in_halves(np.exp), "float16", "float64 and once"),
    correct("tanh", in_halves(np.tanh), "float16", "float64 and once"),
    correct("convert", lambda x: half(x), "float32", "NumPy", out_format="float16"),
    correct("to_int8", to_int8, "float16", "NumPy"),
    correct("fma", lambda a, b, c: e4m3(np.multiply(*wide(a, b)) + wide(c)[0]), E4M3, "float64"),
]  # fmt: skip

try:
    import ml_dtypes

    CORRECT += [
        correct(op, getattr(ml_dtypes, fmt), fmt, "ml_dtypes")
        for fmt in ("bfloat16", E4M3, E5M2)
        for op in ("add", "mul", "sub")
    ]
except ImportError:
    pass

try:
    import torch

    CORRECT += [correct(op, torch.bfloat16, "bfloat16", "torch") for op in ("add", "mul", "lt")]
except ImportError:
    pass
