"""Functions on arrays of codes: by float64 where that decides the rounding, by definition where it does not.

For each function float64 gives h + c, which is off by less than a bound e: where h + c - e and h + c + e
round to one code, that is the result (`refimpl.kernels.functions`), else `refimpl.spec.functions` is asked, for
one result of float32 in some hundred thousand.  A unary function of a format of at most 16 bits is computed
once for every code and looked up.

*The bounds*: NumPy documents its functions of float64 to 4 units in the last place where vectorised and those
of the C library are known to 1 to 3 (Zimmermann and others, Accuracy of Mathematical Functions); SciPy's
ndtr is Cephes', to 6e-14.  e is `MARGIN` = 2^-42 of the result, a thousand units: 2^-38 for the two GELUs.
Where results lie next to a number of few bits, h is that number and c the distance, from the series below or
from a function of it, to 2^-36 of c (`OF_DISTANCE` where the series ends sooner).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import numpy as np

from refimpl.formats import format as format_of
from refimpl.ops import arrays, floats
from refimpl.ops.definitions import KERNELS
from refimpl.ops.rounding import RoundingRule
from refimpl.spec import operations as spec
from refimpl.spec.float_codes import from_float, to_float

MARGIN = 2.0**-42
OF_DISTANCE = {"expm1": 2.0**-30, "log1p": 2.0**-26}  # where the next term of the series is below a quarter of it
SMALL = 2.0**-9
FAR = 2.0**300  # operands beyond, or as small, are left to the definitions
FAINT = 690  # e^-FAINT is a float64, and beside any h too little for its size to matter
BITS = 53  # of float64
RANGE = 2.0**1000  # results beyond, or as small, lie beyond a format of fewer exponents
PI = np.pi
Pair = tuple[Any, ...]  # h, c or None for none, and where h alone is the result


# -- h and c ---------------------------------------------------------------------------------------


def _odd(function, cubic: float, quintic: float):
    """x + cubic x^3 + quintic x^5 near 0: the next term is below 2^-36 of the first two."""

    def pair(x) -> Pair:
        small = abs(x) < SMALL
        square = x * x
        return np.where(small, x, function(x)), np.where(small, x * square * (cubic + quintic * square), 0.0)

    return pair


def _above_one(function, less_one):
    """1 + less_one(x) near 0."""

    def pair(x) -> Pair:
        small = abs(x) < SMALL
        return np.where(small, 1.0, function(x)), np.where(small, less_one(x), 0.0)

    return pair


def _expm1(x) -> Pair:
    small, low = abs(x) < SMALL, x < -20
    c = np.where(small, x * x * (1 / 2 + x * (1 / 6 + x / 24)), np.where(low, np.exp(np.maximum(x, -FAINT)), 0.0))
    return np.where(small, x, np.where(low, -1.0, np.expm1(x))), c


def _log1p(x) -> Pair:
    small = abs(x) < SMALL
    return np.where(small, x, np.log1p(x)), np.where(small, x * x * (-1 / 2 + x * (1 / 3 - x / 4)), 0.0)


def _tanh(x) -> Pair:
    h, c = _odd(np.tanh, -1 / 3, 2 / 15)(x)
    large = abs(x) > 10
    return np.where(large, np.sign(x), h), np.where(
        large, -2 * np.sign(x) / (np.exp(np.minimum(2 * abs(x), FAINT)) + 1), c
    )


def _turns(x):
    """Return |x| modulo 2, exact: as np.fmod, which takes the longer the larger x is."""
    return abs(x) - 2 * np.floor(abs(x) / 2)


def _sinpi(x) -> Pair:
    turns = _turns(x)
    r = np.where(turns > 1, turns - 1, turns)
    exact = 2 * turns == np.rint(2 * turns)
    sine = np.sin(PI * np.minimum(r, 1 - r))
    h = np.copysign(np.where(exact, np.round(sine), sine), x)  # a zero has the sign of x
    return np.where((turns > 1) & (turns != 2), -h, h), None, exact


def _cospi(x) -> Pair:
    turns = _turns(x)
    turns = np.minimum(turns, 2 - turns)
    small = turns < SMALL
    exact = 2 * turns == np.rint(2 * turns)
    h = np.where(exact, 1 - 2 * turns, np.where(small, 1.0, np.sin(PI * (0.5 - turns))))
    return h, np.where(small & ~exact, -2 * np.sin(PI / 2 * turns) ** 2, 0.0), exact


def _tanpi(x) -> Pair:
    turns = _turns(x)
    odd = turns >= 1
    turns = np.where(odd, turns - 1, turns)
    r = np.minimum(turns, 1 - turns)
    exact = (4 * turns == np.rint(4 * turns)) & (r != 0.5)
    h = np.where(r > 0.25, 1 / np.tan(PI * (0.5 - r)), np.tan(PI * r))
    h = np.where(exact, np.round(h), h)
    uneven = odd & (r == 0)  # a zero at an odd integer has the sign that x has not
    return np.copysign(1.0, x) * np.where((turns > 0.5) | uneven, -h, h), None, exact


def _acospi(x) -> Pair:
    small = abs(x) < SMALL
    return np.where(small, 0.5, np.arccos(x) / PI), np.where(small, -np.arcsin(x) / PI, 0.0)


def _atanpi(x) -> Pair:
    large = abs(x) > 1 / SMALL
    return np.where(large, np.copysign(0.5, x), np.arctan(x) / PI), np.where(large, -np.arctan(1 / x) / PI, 0.0)


def _softplus(x) -> Pair:
    large = x > 1
    rest = np.log1p(np.exp(-np.minimum(abs(x), FAINT)))
    return np.where(large, x, np.log1p(np.exp(np.minimum(x, 1)))), np.where(large, rest, 0.0)


def _gate(a):
    """Return 1 / (1 + e^-a), and what it lacks of 1."""
    return 1 / (1 + np.exp(-a)), 1 / (1 + np.exp(np.minimum(a, FAINT)))


def _sigmoid(x) -> Pair:
    small, large = abs(x) < SMALL, x > 17
    gate, rest = _gate(x)
    h = np.where(small, 0.5, np.where(large, 1.0, gate))
    return h, np.where(small, np.tanh(x / 2) / 2, np.where(large, -rest, 0.0))


def _gated(x, gate, rest, over_half) -> Pair:
    """x times a gate, which is 1 - rest far above zero, 1/2 + over_half near it."""
    small, large = abs(x) < SMALL, x > 5
    h = np.where(small, x / 2, np.where(large, x, x * gate))
    return h, np.where(small, x * over_half, np.where(large, -x * rest, 0.0))


def _silu(x) -> Pair:
    gate, rest = _gate(x)
    return _gated(x, gate, rest, np.tanh(x / 2) / 2)


def _gelu(x) -> Pair:
    from scipy.special import erf, ndtr

    return _gated(x, ndtr(x), np.maximum(ndtr(-x), 1e-300), erf(x / np.sqrt(2)) / 2)


def _gelu_tanh(x) -> Pair:
    a = np.sqrt(8 / PI) * (x + 0.044715 * x * x * x)
    gate, rest = _gate(a)
    return _gated(x, gate, rest, np.tanh(a / 2) / 2)


def _hypot(x, y) -> Pair:
    """The larger and what it lacks of the root where the other is far smaller; exact where that can be seen."""
    large, small = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    ratio = small / large
    near = (ratio < SMALL / 2) & (ratio > 1 / FAR)
    square, rest = large * large, small * small  # of at most 25 bits each: exact
    total = square + rest
    root = np.sqrt(total)
    exact = (total - square == rest) & (total - rest == square) & (root == root.astype(np.float32))
    exact &= (root * root == total) & ~near
    rest = ratio * ratio
    return np.where(near, large, root), np.where(near, large * rest * (0.5 - rest / 8), 0.0), exact


def _pow(x, y) -> Pair:
    """x^y; it is exact for powers of two, and for integers y and x of so few bits that their product with y is 53."""
    h = np.power(x, y)
    fraction, exponent = np.frexp(x)
    shift = (exponent - 1) * y
    of_two = (fraction == 0.5) & (shift == np.rint(shift)) & (abs(shift) < 1000)
    h[of_two] = np.ldexp(1.0, shift[of_two].astype(np.int64))
    whole = np.flatnonzero((y == np.rint(y)) & (y >= 1) & (y <= BITS) & np.isfinite(x))
    integer = np.ldexp(fraction[whole], BITS).astype(np.int64)
    bits = BITS + 1 - np.frexp(integer & -integer)[1]
    few = whole[(bits * y[whole] <= BITS) & (abs(exponent[whole] * y[whole]) < 1000)]
    n, square, power = y[few].astype(np.int64), x[few], np.ones(few.size)
    for _ in range(BITS.bit_length()):
        power = np.where(n & 1, power * square, power)
        n, square = n >> 1, square * square
    h[few], of_two[few] = power, True
    return h, None, of_two


def _plain(function) -> Callable[..., Pair]:
    return lambda *x: (function(*x), None)


LN2, LN10 = np.log(2), np.log(10)
APPROXIMATIONS: dict[str, Callable[..., Pair]] = {
    "exp": _above_one(np.exp, np.expm1),
    "exp2": _above_one(np.exp2, lambda x: np.expm1(x * LN2)),
    "exp10": _above_one(lambda x: np.power(10.0, x), lambda x: np.expm1(x * LN10)),
    "expm1": _expm1,
    "log": _plain(np.log),
    "log2": _plain(np.log2),
    "log10": _plain(np.log10),
    "log1p": _log1p,
    "sin": _odd(np.sin, -1 / 6, 1 / 120),
    "cos": _above_one(np.cos, lambda x: -2 * np.sin(x / 2) ** 2),
    "tan": _odd(np.tan, 1 / 3, 2 / 15),
    "asin": _odd(np.arcsin, 1 / 6, 3 / 40),
    "acos": _plain(np.arccos),
    "atan": _odd(np.arctan, -1 / 3, 1 / 5),
    "sinh": _odd(np.sinh, 1 / 6, 1 / 120),
    "cosh": _above_one(np.cosh, lambda x: 2 * np.sinh(x / 2) ** 2),
    "tanh": _tanh,
    "asinh": _odd(np.arcsinh, -1 / 6, 3 / 40),
    "acosh": _plain(np.arccosh),
    "atanh": _odd(np.arctanh, 1 / 3, 1 / 5),
    "sinpi": _sinpi,
    "cospi": _cospi,
    "tanpi": _tanpi,
    "asinpi": _plain(lambda x: np.arcsin(x) / PI),
    "acospi": _acospi,
    "atanpi": _atanpi,
    "rsqrt": _plain(lambda x: 1 / np.sqrt(x)),
    "softplus": _softplus,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hypot": _hypot,
    "atan2": _plain(np.arctan2),
    "atan2pi": _plain(lambda y, x: np.arctan2(y, x) / PI),
    "pow": _pow,
}
VANISHING = ("log", "log2", "log10", "log1p", "acos", "acosh", "acospi", "atanh", "tanpi")
"""Functions that are 0 or infinite at operands other than 0: of others float64 says so beyond its range alone."""


# -- codes -----------------------------------------------------------------------------------------


def applies(name: str, formats: Sequence[Any], into: Any) -> bool:
    """Tell whether `evaluate` computes a function of operands of some formats."""
    return name in APPROXIMATIONS and all(getattr(fmt, "fits_float64", True) for fmt in (*formats, into))


def evaluate(
    name: str,
    codes: Sequence[np.ndarray],
    formats: tuple[Any, ...],
    into: Any,
    rule: RoundingRule,
    words: np.ndarray,
    p3109: bool,
) -> tuple[np.ndarray, int]:
    """Return the codes (uint64 (n,)) of a function of codes, and the index of the first NaN, or -1."""
    of, size = formats[0], codes[0].size
    if len(codes) == 1 and of.bits <= 16 and not rule.stochastic and 8 * size >= 1 << of.bits:
        table, nans = _table(name, of, into, replace(rule, seed=0, stream=0), p3109)
        found = table[codes[0]].astype(np.uint64)
        nan = nans[codes[0]] if nans.size else nans
    else:
        found, nan = _computed(name, codes, formats, into, rule, words, p3109)
    return found, int(np.argmax(nan)) if nan.any() else -1


@lru_cache(maxsize=32)
def _table(name, fmt, into, rule, p3109) -> tuple[np.ndarray, np.ndarray]:
    """Return the code of the result for every code of a format, and which are NaN: an empty array if none is."""
    every = np.arange(1 << fmt.bits, dtype=np.uint64)
    found, nan = _computed(name, [every], (fmt,), into, rule, np.empty(0, np.uint32), p3109)
    return found.astype(arrays.code_dtype(into.bits)), nan if nan.any() else nan[:0]


def _computed(name, codes, formats, into, rule, words, p3109) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes of results and which of them are NaN."""
    x = [floats.decode(c.astype(arrays.code_dtype(f.bits)), f) for c, f in zip(codes, formats, strict=True)]
    with np.errstate(all="ignore"):
        h, c, e = _enclosed(name, x, into)
        if len(x) == 1:
            _at_specials(name, x[0], h, c, e, p3109)
        elif not p3109:
            _at_special_pairs(name, x, h, c, e)
    undecided = np.isinf(e)
    found, nan = np.empty(h.size, np.uint64), np.isnan(h)
    wide, layout = KERNELS.float_codes.fields(format_of("float64")), KERNELS.arithmetic.layout(into, p3109)
    ends = [arrays.bits_of(np.ascontiguousarray(a)) for a in (h, c - e, c + e)]
    mode = rule.for_kernels(KERNELS)
    KERNELS.functions.round_between(*ends, found, undecided, wide, layout, mode, words)

    @cache
    def defined(random: int, *given: int) -> tuple[int, bool]:
        values = tuple(spec.decode(code, fmt, p3109) for code, fmt in zip(given, formats, strict=True))
        exact, nan = spec.exact(name, values, p3109=p3109), "zero" if rule.nan == "raise" else rule.nan
        code = spec.encode(exact, into, rule.mode, rule.overflow, nan, random, rule.random_bits, p3109)
        return code, exact.kind == "nan"

    for i in np.flatnonzero(undecided).tolist():
        random = int(words[i]) >> (32 - rule.random_bits) if rule.stochastic else 0
        found[i], nan[i] = defined(random, *(int(column[i]) for column in codes))
    return found, nan


def _enclosed(name: str, x: list[np.ndarray], into) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return h, c and e at finite operands other than 0; e is infinite where nothing is known."""
    h, c, *exact = APPROXIMATIONS[name](*x)
    known = exact[0] if exact else np.zeros(h.size, bool)
    c = np.zeros_like(h) if c is None else c
    margin = 2.0**-38 if name.startswith("gelu") else MARGIN
    e = np.where(known, 0.0, np.where(c != 0, abs(c) * OF_DISTANCE.get(name, 2.0**-36), abs(h) * margin))
    far = np.zeros(h.size, bool)
    for operand in x:
        far |= ~((abs(operand) < FAR) & (abs(operand) > 1 / FAR))
    beyond = ((abs(h) > RANGE) | (abs(h) < 1 / RANGE)) & ~known
    if name in VANISHING or not (
        getattr(into, "maxexp", 0) < 990 and getattr(into, "min_exponent", 0) - getattr(into, "mantissa_bits", 0) > -960
    ):
        far |= beyond
    h = np.where(beyond, np.copysign(np.where(abs(h) > 1, RANGE, 1 / RANGE), h), h)
    return h, np.where(beyond, 0.0, c), np.where(far, np.inf, np.where(beyond, abs(h) / 8, e))


def _at_specials(name: str, x, h, c, e, p3109: bool) -> None:
    """Set what a function is at 0, infinities and NaN, which the definition says."""
    special = ~np.isfinite(x) | (x == 0)
    if not special.any():
        return
    for value in (0.0, -0.0, np.inf, -np.inf, np.nan):
        here = np.isnan(x) if np.isnan(value) else (x == value) & (np.signbit(x) == np.signbit(value))
        exact = spec.exact(name, (from_float(value),), p3109=p3109)
        h[here], c[here] = to_float(exact), 0.0
        rational = exact.kind != "finite" or from_float(to_float(exact)) == exact
        e[here] = 0.0 if rational else abs(to_float(exact)) * 2.0**-50


def _at_special_pairs(name: str, x, h, c, e) -> None:
    """Set what a function is where an operand is 0, infinite or NaN: as C has it, to which IEEE 754 agrees."""
    special = np.zeros(h.size, bool)
    for operand in x:
        special |= ~np.isfinite(operand) | (operand == 0)
    if not special.any():
        return
    function = {"hypot": np.hypot, "pow": np.power}.get(name, np.arctan2)
    value = function(*(operand[special] for operand in x))
    if name == "atan2pi":
        value = np.rint(value * (4 / PI)) / 4
    h[special], c[special] = value, 0.0
    e[special] = abs(value) * 2.0**-50 if name == "atan2" else 0.0
