"""IEEE P3109, interim report 4.0, section 4, by the report's own names: on values, one at a time.

Values are extended reals: zero has no sign, NaN neither.  A value operation decodes its operands exactly, applies
an operation on values and projects once (`refimpl.spec.operations` with ``p3109=True``); here stand the names of
all of them, and what there is besides: predicates, classes, queries of formats, blocks, kappa.

*Source*: IEEE P3109 interim report 4.0.  What changed again afterwards is in one place, `refimpl.spec.moved`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from typing import Any, NamedTuple

from refimpl.formats import FloatFormat
from refimpl.spec import arithmetic, operations
from refimpl.spec.arithmetic import NAN
from refimpl.spec.float_codes import Value
from refimpl.spec.operations import ONE, ZERO, decode, div_p3109, encode, exact, extremum

ROUNDINGS = {
    "NearestTiesToEven": "ties_to_even",
    "NearestTiesToAway": "ties_to_away",
    "TowardPositive": "toward_positive",
    "TowardNegative": "toward_negative",
    "TowardZero": "toward_zero",
    "ToOdd": "to_odd",
    "StochasticA": "stochastic_a",
    "StochasticB": "stochastic_b",
    "StochasticC": "stochastic_c",
}
SATURATIONS = {"SatNone": "overflow", "SatFinite": "saturate", "SatPropagate": "propagate"}

UNARY = {
    "Convert": "convert",
    "Abs": "abs",
    "Negate": "negate",
    "Sqrt": "sqrt",
    "Recip": "recip",
    "RSqrt": "rsqrt",
    "Exp": "exp",
    "Exp2": "exp2",
    "ExpMinusOne": "expm1",
    "Log": "log",
    "Log2": "log2",
    "LogOnePlus": "log1p",
    "Softplus": "softplus",
    **{
        f"{inverse}{name}{ending}": f"{'a' if inverse else ''}{name.lower()}{ending.lower()}"
        for name in ("Sin", "Cos", "Tan")
        for inverse in ("", "Arc")
        for ending in ("", "h", "Pi")
    },
}
BINARY = {
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Divide": "div",
    "Hypot": "hypot",
    "CopySign": "copysign",
    "ArcTan2": "atan2",
    "ArcTan2Pi": "atan2pi",
    **{
        which + ending: which.lower() + ours
        for which in ("Minimum", "Maximum")
        for ending, ours in {
            "": "",
            "Number": "_number",
            "Magnitude": "_magnitude",
            "MagnitudeNumber": "_magnitude_number",
            "Finite": "_finite",
        }.items()
    },
}
TERNARY = {"FMA": "fma", "FAA": "faa", "Clamp": "clamp"}
OPERANDS = {**dict.fromkeys(UNARY, 1), **dict.fromkeys(BINARY, 2), **dict.fromkeys(TERNARY, 3)}
NAMES = {**UNARY, **BINARY, **TERNARY}
"""What the operations are called in `refimpl.spec.operations` and `refimpl.spec.functions`."""
COMPARISONS = {
    "CompareLess": "<",
    "CompareLessEqual": "<=",
    "CompareEqual": "==",
    "CompareGreater": ">",
    "CompareGreaterEqual": ">=",
}


# -- facts of a code ---------------------------------------------------------------------------------


def class_of(code: int, fmt: FloatFormat) -> str:
    """Return the class of a code.

    >>> from refimpl.formats import format
    >>> class_of(0x81, format("binary8p4se")), class_of(0x80000000, format("float32"))
    ('ClsNegativeSubnormal', 'ClsZero')
    """
    kind = operations.class_of(code, fmt).title().replace(" ", "")
    return "Cls" + ("NaN" if kind.endswith("Nan") else "Zero" if kind.endswith("Zero") else kind)


CLASSES = (
    "ClsNaN",
    "ClsNegativeInfinity",
    "ClsNegativeNormal",
    "ClsNegativeSubnormal",
    "ClsZero",
    "ClsPositiveSubnormal",
    "ClsPositiveNormal",
    "ClsPositiveInfinity",
)
PREDICATES: dict[str, Callable[[int, FloatFormat], bool]] = {
    "IsZero": lambda code, fmt: class_of(code, fmt) == "ClsZero",
    "IsOne": lambda code, fmt: decode(code, fmt) == ONE,
    "IsNaN": lambda code, fmt: decode(code, fmt).kind == "nan",
    "IsInfinite": lambda code, fmt: decode(code, fmt).kind == "infinite",
    "IsFinite": lambda code, fmt: decode(code, fmt).kind == "finite",
    "IsSignMinus": lambda code, fmt: decode(code, fmt, True).negative,
    "IsNormal": lambda code, fmt: class_of(code, fmt).endswith("Normal"),
    "IsSubnormal": lambda code, fmt: class_of(code, fmt).endswith("Subnormal"),
}


def next_code(code: int, fmt: FloatFormat, up: bool) -> int:
    """Return NextGreaterThan (`up`) or NextLessThan of a code; of an external format as of one of P3109.

    >>> from refimpl.formats import format
    >>> hex(next_code(0x7F800000, format("float32"), True)), hex(next_code(0x80000001, format("float32"), True))
    ('0x7fc00000', '0x0')
    """
    value = decode(code, fmt, True)
    if value.kind == "infinite" and value.negative != up:
        return encode(NAN, fmt, p3109=True)
    found = operations.next_code(0 if value == ZERO else code, fmt, up)
    return 0 if decode(found, fmt, True) == ZERO else found


def query(name: str, fmt: FloatFormat) -> int | str:
    """Return what a query of a format gives: a number, a word, or a code.

    >>> from refimpl.formats import format
    >>> [query(name, format("binary8p1uf")) for name in ("ExponentBiasOf", "ExponentBitwidthOf", "DomainOf")]
    [128, 8, 'Finite']
    """
    infinity, nan = fmt.infinity_code, fmt.nan_code
    assert nan is not None
    return {
        "BitwidthOf": fmt.bits,
        "PrecisionOf": fmt.mantissa_bits + 1,
        "SignednessOf": "Signed" if fmt.signed else "Unsigned",
        "DomainOf": "Finite" if infinity is None else "Extended",
        "ExponentBitwidthOf": fmt.exponent_bits,
        "TrailingSignificandBitwidthOf": fmt.mantissa_bits,
        "ExponentBiasOf": fmt.bias,
        "MaxFiniteOf": fmt.max_code,
        "MinFiniteOf": fmt.max_code | fmt.sign_mask if fmt.signed else 0,
        "MinPositiveOf": 1,
        "MaxSubnormalOf": (1 << fmt.mantissa_bits) - 1 if fmt.mantissa_bits else nan,
        "MinNormalOf": 1 << fmt.mantissa_bits,
    }[name]


QUERIES = (
    "BitwidthOf",
    "PrecisionOf",
    "SignednessOf",
    "DomainOf",
    "ExponentBitwidthOf",
    "TrailingSignificandBitwidthOf",
    "ExponentBiasOf",
    "MaxFiniteOf",
    "MinFiniteOf",
    "MinPositiveOf",
    "MaxSubnormalOf",
    "MinNormalOf",
)


# -- blocks ------------------------------------------------------------------------------------------


def scaled(scale: Value, x: Value) -> Value:
    """Return the value of an element of a block: scale times element, 0 * inf being NaN."""
    return exact("mul", (scale, x), p3109=True)


def unscaled(scale: Value, x: Value) -> Value:
    """Return what BlockProject projects of a value: x / scale, 0 under the scale 0, its sign under infinity."""
    if "nan" in (scale.kind, x.kind):
        return NAN
    if scale.kind == "infinite":
        if x.kind == "finite" and x.magnitude == 0:
            return ZERO
        return Value("finite", x.negative != scale.negative, Fraction(1))
    return ZERO if scale.magnitude == 0 else div_p3109(x, scale)


def max_abs_finite(values: Sequence[Value]) -> Value:
    """Return the largest magnitude of values, by MaximumFinite: NaN where all are, infinite where no finite one is.

    >>> two, infinite = Value("finite", True, Fraction(2)), Value("infinite", False)
    >>> max_abs_finite([infinite, two, NAN])
    Value(kind='finite', negative=False, magnitude=Fraction(2, 1))
    """
    magnitudes = (exact("abs", (v,)) for v in values)
    return reduce(lambda a, b: extremum(a, b, largest=True, finite=True), magnitudes, NAN)


def total(values: Sequence[Value]) -> Value:
    """Return the exact sum of values."""
    return reduce(arithmetic.add, values, ZERO)


def product(values: Sequence[Value]) -> Value:
    """Return the exact product of values."""
    return reduce(arithmetic.mul, values, ONE)


# -- approximations ----------------------------------------------------------------------------------


def kappa(defined: Sequence[Value], computed: Sequence[Value], values: Sequence[Fraction]) -> float:
    """Return how far an approximate operation is off: by how many of a format's values, or nan, or inf.

    defined, computed: results for all operands.  values: all finite values of the format, ascending.

    >>> some = [Fraction(n) for n in range(5)]
    >>> kappa([Value("finite", False, Fraction(4))], [Value("finite", False, Fraction(1))], some)
    3
    """
    from bisect import bisect_left

    pairs = list(zip(defined, computed, strict=True))
    if any((d.kind == "nan") != (a.kind == "nan") for d, a in pairs):
        return math.nan
    if any(d.kind != a.kind or (d.kind == "infinite" and d.negative != a.negative) for d, a in pairs):
        return math.inf
    places: dict[Value, int] = {}
    for value in {v for pair in pairs for v in pair if v.kind == "finite"}:
        places[value] = bisect_left(values, -value.magnitude if value.negative else value.magnitude)
    return max((abs(places[d] - places[a]) for d, a in pairs if d.kind == "finite"), default=0)


class Rho(NamedTuple):
    """A projection: a rounding mode of `refimpl`, its random bits, and what becomes of an overflow."""

    rounding: str
    random_bits: int
    overflow: str

    def project(self, value: Value, fmt: FloatFormat, random: int = 0) -> int:
        """Return the code of a value."""
        return encode(value, fmt, self.rounding, self.overflow, "zero", random, self.random_bits, True)


def calculate(name: str, codes: tuple[int, ...], formats: tuple[FloatFormat, ...], into: FloatFormat, rho: Rho) -> Any:
    """Return the code of the result of an operation, by the standard's name.

    >>> from refimpl.formats import format
    >>> f = format("binary8p4se")
    >>> hex(calculate("Divide", (0x40, 0x00), (f, f), f, Rho("ties_to_even", 32, "overflow")))
    '0x80'
    """
    values = tuple(decode(code, fmt, True) for code, fmt in zip(codes, formats, strict=True))
    return rho.project(exact(NAMES[name], values, rho.rounding, True), into)
