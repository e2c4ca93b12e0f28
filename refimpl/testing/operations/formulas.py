"""Operations computed by way of others, every step rounded: what is mathematically the same, and not in bits.

A formula is a function of a `Steps`, which computes with one rounding each, and of the operands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from refimpl.formats import FloatFormat
from refimpl.formats import format as format_of
from refimpl.testing.operations.defect import Defect
from refimpl.testing.operations.operation import NUMBER, Number, Operation

FORMULAS: dict[str, list[tuple[str, Callable]]] = {
    "fma": [("a product and a sum: it is not fused", lambda s, a, b, c: s("add", s("mul", a, b), c))],
    "faa": [
        ("a + b, then + c", lambda s, a, b, c: s("add", s("add", a, b), c)),
        ("b + c, then a +", lambda s, a, b, c: s("add", a, s("add", b, c))),
    ],
    "div": [("a times the reciprocal of b", lambda s, a, b: s("mul", a, s("recip", b)))],
    "sqrt": [
        ("a times the reciprocal root of a", lambda s, a: s("mul", a, s("rsqrt", a))),
        ("the reciprocal of the reciprocal root", lambda s, a: s("recip", s("rsqrt", a))),
        ("2^(log2(a) / 2)", lambda s, a: s("exp2", s("mul", s("log2", a), s.of(0.5)))),
    ],
    "rsqrt": [
        ("the reciprocal of the root", lambda s, a: s("recip", s("sqrt", a))),
        ("the root of the reciprocal", lambda s, a: s("sqrt", s("recip", a))),
    ],
    "recip": [("the square of the reciprocal root", lambda s, a: s("mul", s("rsqrt", a), s("rsqrt", a)))],
    "hypot": [("the root of a rounded sum of squares",
               lambda s, a, b: s("sqrt", s("add", s("mul", a, a), s("mul", b, b))))],
    "exp": [("2^(a log2 e)", lambda s, a: s("exp2", s("mul", a, s.of(math.log2(math.e)))))],
    "exp2": [("e^(a ln 2)", lambda s, a: s("exp", s("mul", a, s.of(math.log(2)))))],
    "exp10": [("e^(a ln 10)", lambda s, a: s("exp", s("mul", a, s.of(math.log(10)))))],
    "expm1": [("e^a, then - 1", lambda s, a: s("sub", s("exp", a), s.of(1.0)))],
    "log": [("ln 2 times log2 a", lambda s, a: s("mul", s("log2", a), s.of(math.log(2))))],
    "log2": [
        ("ln a divided by ln 2", lambda s, a: s("div", s("log", a), s.of(math.log(2)))),
        ("ln a times log2 e", lambda s, a: s("mul", s("log", a), s.of(math.log2(math.e)))),
    ],
    "log10": [("ln a divided by ln 10", lambda s, a: s("div", s("log", a), s.of(math.log(10))))],
    "log1p": [("1 + a, then its logarithm", lambda s, a: s("log", s("add", s.of(1.0), a)))],
    "tan": [("sine divided by cosine", lambda s, a: s("div", s("sin", a), s("cos", a)))],
    "tanh": [
        ("2 sigmoid(2 a) - 1",
         lambda s, a: s("sub", s("mul", s.of(2.0), s("sigmoid", s("mul", s.of(2.0), a))), s.of(1.0))),
        ("sinh divided by cosh", lambda s, a: s("div", s("sinh", a), s("cosh", a))),
        ("(e^2a - 1) / (e^2a + 1)", lambda s, a: (lambda t: s("div", s("sub", t, s.of(1.0)), s("add", t, s.of(1.0))))(
            s("exp", s("add", a, a)))),
    ],
    "sinh": [("(e^a - e^-a) / 2", lambda s, a: s("mul", s.of(0.5), s("sub", s("exp", a), s("exp", -a))))],
    "cosh": [("(e^a + e^-a) / 2", lambda s, a: s("mul", s.of(0.5), s("add", s("exp", a), s("exp", -a))))],
    "sigmoid": [
        ("1 / (1 + e^-a)", lambda s, a: s("recip", s("add", s.of(1.0), s("exp", -a)))),
        ("(1 + tanh(a / 2)) / 2",
         lambda s, a: s("mul", s.of(0.5), s("add", s.of(1.0), s("tanh", s("mul", s.of(0.5), a))))),
    ],
    "silu": [
        ("a times sigmoid a", lambda s, a: s("mul", a, s("sigmoid", a))),
        ("a / (1 + e^-a)", lambda s, a: s("div", a, s("add", s.of(1.0), s("exp", -a)))),
    ],
    "softplus": [("log(1 + e^a)", lambda s, a: s("log", s("add", s.of(1.0), s("exp", a)))),
                 ("log1p(e^a)", lambda s, a: s("log1p", s("exp", a)))],
    "gelu": [
        ("gelu_tanh", lambda s, a: s("gelu_tanh", a)),
        ("a times sigmoid(1.702 a)", lambda s, a: s("mul", a, s("sigmoid", s("mul", s.of(1.702), a)))),
        ("silu", lambda s, a: s("silu", a)),
    ],
    "gelu_tanh": [("gelu", lambda s, a: s("gelu", a))],
    "pow": [("2^(b log2 a)", lambda s, a, b: s("exp2", s("mul", b, s("log2", a)))),
            ("e^(b ln a)", lambda s, a, b: s("exp", s("mul", b, s("log", a))))],
    "atan2": [("atan(a / b)", lambda s, a, b: s("atan", s("div", a, b)))],
    "sinpi": [("sin of a rounded pi a", lambda s, a: s("sin", s("mul", s.of(math.pi), a)))],
    "cospi": [("cos of a rounded pi a", lambda s, a: s("cos", s("mul", s.of(math.pi), a)))],
    "tanpi": [("tan of a rounded pi a", lambda s, a: s("tan", s("mul", s.of(math.pi), a)))],
    "clamp": [
        ("the larger of low and the smaller of a and high",
         lambda s, a, low, high: s("maximum", s("minimum", a, high), low)),
        ("the smaller of high and the larger of a and low, NaNs dropped",
         lambda s, a, low, high: s("minimum_number", s("maximum_number", a, low), high)),
    ],
}  # fmt: skip
BY_VALUES: dict[str, list[tuple[str, Callable]]] = {
    "remainder": [
        ("fmod: the quotient is cut off", lambda a, b: np.fmod(a, b)),
        ("the remainder of a quotient rounded toward negative", lambda a, b: a - np.floor(a / b) * b),
        ("a - b rint(a / b), the quotient rounded first", lambda a, b: a - np.rint((a / b).astype(np.float32)) * b),
    ],
    "fma": [("a b + c in float64 and converts: rounds twice", lambda a, b, c: a * b + c)],
}
ONE_STEP: dict[str, list[tuple[str, Callable]]] = {  # in float64, but for a step that r rounds
    "div": [("a times the reciprocal of b", lambda r, a, b: a * r(1 / b))],
    "rsqrt": [("the reciprocal of the root", lambda r, a: 1 / r(np.sqrt(a)))],
    "exp": [("2^(a log2 e)", lambda r, a: np.exp2(r(a * math.log2(math.e))))],
    "exp2": [("e^(a ln 2)", lambda r, a: np.exp(r(a * math.log(2))))],
    "exp10": [("e^(a ln 10)", lambda r, a: np.exp(r(a * math.log(10))))],
    "tanh": [("1 - 2 / (1 + e^2a)", lambda r, a: 1 - 2 / (1 + r(np.exp(2 * a))))],
    "sigmoid": [("1 / (1 + e^-a)", lambda r, a: 1 / (1 + r(np.exp(-a)))),
                ("(1 + tanh(a / 2)) / 2", lambda r, a: 0.5 * (1 + r(np.tanh(a / 2))))],
    "silu": [("a times sigmoid a", lambda r, a: a * r(1 / (1 + np.exp(-a))))],
    "softplus": [("log(1 + e^a)", lambda r, a: np.log(1 + r(np.exp(a))))],
    "gelu": [("a / 2 (1 + tanh(sqrt(2 / pi) (a + 0.044715 a^3))), the tanh form,",
              lambda r, a: 0.5 * a * (1 + r(np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))))),
             ("a times sigmoid(1.702 a), the sigmoid form,", lambda r, a: a * r(1 / (1 + np.exp(-1.702 * a))))],
}  # fmt: skip
EXTREMA = [
    f"{which}{suffix}"
    for which in ("minimum", "maximum")
    for suffix in ("", "_number", "_magnitude", "_magnitude_number", "_finite")
]


class Steps:
    """Computes with values, every step rounded to one format."""

    def __init__(self, operation: Operation, mid: Number):
        self.operation, self.mid = operation, mid

    def of(self, constant: float) -> np.ndarray:
        """Return a constant, rounded."""
        from refimpl import ops

        return np.asarray(ops.quantize(np.array([constant]), self.mid))

    def __call__(self, name: str, *values: np.ndarray) -> np.ndarray:
        """Return the result of an operation on float64 arrays, rounded to the format of the steps."""
        size = max(v.size for v in values)
        given = [np.broadcast_to(v, size) for v in values]
        wide = format_of("float32")
        into = Operation(name, wide, self.mid, rounding=self._mode(), overflow="overflow")
        return into.evaluate(given)

    def _mode(self) -> str:
        mode = self.operation.rounding
        return "ties_to_even" if mode.startswith("stochastic") or not isinstance(self.mid, FloatFormat) else mode


def defects(o: Operation) -> Iterator[Defect]:
    """Yield the ways to compute an operation by way of others."""
    if o.kind != NUMBER or not all(isinstance(fmt, FloatFormat) for fmt in (*o.formats, o.into)):
        return
    if any(fmt.mantissa_bits > 23 for fmt in (*o.formats, o.into)):
        return
    for text, formula in FORMULAS.get(o.name, ()):
        for mid in dict.fromkeys((o.into, format_of("float32"), format_of("bfloat16"), format_of("float16"))):
            if mid == o.into or mid.mantissa_bits > o.into.mantissa_bits:
                step = f", every step rounded to {mid.name}"
                yield Defect(f"computes {text}{step}", core=partial(_by_formula, formula=formula, mid=mid))
    for text, formula in ONE_STEP.get(o.name, ()):
        for name in (None, *dict.fromkeys((o.into.name, "float32", "bfloat16", "float16"))):
            how = f", one step of it rounded to {name}" if name else " in float64"
            for finite in (False, True):
                core = partial(_by_one_step, formula=formula, name=name, finite=finite)
                yield Defect(f"computes {text}{how}", core=core)
    for text, function in BY_VALUES.get(o.name, ()):
        yield Defect(f"computes {text}", core=partial(_by_values, function=function))
    if o.name in EXTREMA:
        for other in EXTREMA:
            if other != o.name:
                yield Defect(f"is {other}", core=partial(_other, name=other))
        larger = o.name.startswith("maximum")
        sign = ">" if larger else "<"
        for text, function in (
            (f"a {sign} b ? a : b, which gives b where a NaN is, and of equal zeros",
             lambda a, b: np.where(a > b if larger else a < b, a, b)),
            (f"a {sign}= b ? a : b", lambda a, b: np.where(a >= b if larger else a <= b, a, b)),
            (f"b {sign} a ? b : a, which gives a where a NaN is, and of equal zeros",
             lambda a, b: np.where(b > a if larger else b < a, b, a)),
            (f"b {sign}= a ? b : a", lambda a, b: np.where(b >= a if larger else b <= a, b, a)),
        ):  # fmt: skip
            yield Defect(f"computes {text}", core=partial(_by_values, function=function))
        yield Defect("takes zeros of either sign for equal, and gives the first", after=partial(_of_zeros, which=0))
        yield Defect("takes zeros of either sign for equal, and gives the second", after=partial(_of_zeros, which=1))


def _by_formula(o, v, formula, mid):
    with np.errstate(all="ignore"):
        found = formula(Steps(o, mid), *v)
    return found if mid == o.into and o.overflow == "overflow" else o.rounded(np.asarray(found))


def _by_one_step(o, v, formula, name, finite):
    """Compute in float64, one step rounded; if `finite`, operands that are not give what they should."""
    from refimpl import ops

    with np.errstate(all="ignore"):
        y = o.rounded(formula(lambda x: np.asarray(ops.quantize(x, name), np.float64) if name else x, *v))
    return np.where(np.all([np.isfinite(x) for x in v], axis=0), y, o.evaluate(v)) if finite else y


def _by_values(o, v, function):
    with np.errstate(all="ignore"):
        return o.rounded(function(*v))


def _other(o, v, name):
    return replace(o, name=name).evaluate(v)


def _of_zeros(o, v, y, which):
    return np.where((v[0] == 0) & (v[1] == 0), v[which], y)
