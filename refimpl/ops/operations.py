"""How operations on codes are computed: by a kernel where there is one, else by definition, each case once.

`refimpl.spec.operations` has the definitions.  What no kernel computes (exception flags, formats of more bits than
kernels are exact in, a few elements) is evaluated once for every tuple of codes and remembered, in a table if it has
at most 16 bits: else it takes some 20 microseconds for each distinct tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from refimpl import _arguments
from refimpl.formats import FloatFormat, PositFormat
from refimpl.formats.names import read
from refimpl.ops import arithmetic_paths, arrays, definitions, functions
from refimpl.ops.definitions import DEFINITIONS, kernels
from refimpl.ops.definitions import KERNELS as COMPILED
from refimpl.ops.remembered import entries, is_tabulated, look_up, may_be_tabulated, tabulated
from refimpl.ops.rounding import RoundingOptions, RoundingRule
from refimpl.spec import operations as spec

MOST_MANTISSA_BITS = 24  # exactness of the kernels: 25 significant bits
KERNELS = ("add", "sub", "mul", "div", "sqrt", "fma")
OF_NARROW = ("faa", "recip", "remainder")  # of kernels.operations, exact as KERNELS are
OF_ALL = ("scaleb", "logb", "round_to_integral", "convert", "abs", "negate", "copysign", "clamp")  # in every format
FLAGS = {
    "inexact": spec.INEXACT,
    "underflow": spec.UNDERFLOW,
    "overflow": spec.OVERFLOW,
    "divide_by_zero": spec.DIVIDE_BY_ZERO,
    "invalid": spec.INVALID,
}
"""The bits of exception flags, which are those of SoftFloat and TestFloat."""

Format = FloatFormat | PositFormat


NUMBER, CODE, TRUTH = "number", "code", "truth"
A, AB, ABC = ("a",), ("a", "b"), ("a", "b", "c")


class Line(NamedTuple):
    """An operation of the table: its operands, and what it gives."""

    operands: tuple[str, ...]
    kind: str  # NUMBER: rounded to out_format.  CODE: of the operand's format.  TRUTH: bool.
    text: str
    on_values: str  # an example, without the format, which is E4M3FN
    gives: str
    on_codes: str
    gives_code: str


def _extremum(which: str, suffix: str, value: str, code: str) -> Line:
    order = "by magnitude, of equal ones by value" if "magnitude" in suffix else "-0 being less than +0"
    nan = "of a NaN and a number the number" if "number" in suffix else "NaN if one is"
    if "finite" in suffix:
        nan = "of a NaN and another the other, of an infinity, of either sign, and a finite one the finite one"
    text = f"Return the {which} of a and b, {order}; {nan}."
    return Line(AB, NUMBER, text, "[1.0, -2.0], [np.nan, 1.0]", value, "0xc0, 0x38", code)


FUNCTIONS = (  # name, text, and examples as of a Line
    ("exp", "e^a", "[1.0, -2.0]", "[2.75, 0.140625]", "0xc0", "0x21"),
    ("exp2", "2^a", "[1.0, -2.0]", "[2.0, 0.25]", "0xc0", "0x28"),
    ("exp10", "10^a", "[1.0, -2.0]", "[10.0, 0.009765625]", "0xc0", "0x5"),
    ("expm1", "e^a - 1", "[1.0, -2.0]", "[1.75, -0.875]", "0xc0", "0xb6"),
    ("log", "the natural logarithm of a", "[1.0, 0.0]", "[0.0, nan]", "0x0", "0xff"),
    ("log2", "the logarithm of a to base 2", "[8.0, 3.0]", "[3.0, 1.625]", "0x44", "0x3d"),
    ("log10", "the logarithm of a to base 10", "[10.0, 3.0]", "[1.0, 0.46875]", "0x44", "0x2f"),
    ("log1p", "log(1 + a)", "[1.0, -2.0]", "[0.6875, nan]", "0xc0", "0x7f"),
    ("sin", "the sine of a, in radians", "[1.0, -2.0]", "[0.8125, -0.9375]", "0xc0", "0xb7"),
    ("cos", "the cosine of a, in radians", "[1.0, -2.0]", "[0.5625, -0.40625]", "0xc0", "0xad"),
    ("tan", "the tangent of a, in radians", "[1.0, -2.0]", "[1.5, 2.25]", "0xc0", "0x41"),
    ("asin", "the angle, in radians, whose sine is a", "[1.0, -0.5]", "[1.625, -0.5]", "0xb0", "0xb0"),
    ("acos", "the angle, in radians, whose cosine is a", "[1.0, -0.5]", "[0.0, 2.0]", "0xb0", "0x40"),
    ("atan", "the angle, in radians, whose tangent is a", "[1.0, -2.0]", "[0.8125, -1.125]", "0xc0", "0xb9"),
    ("sinh", "(e^a - e^-a) / 2", "[1.0, -2.0]", "[1.125, -3.75]", "0xc0", "0xc7"),
    ("cosh", "(e^a + e^-a) / 2", "[1.0, -2.0]", "[1.5, 3.75]", "0xc0", "0x47"),
    ("tanh", "sinh(a) / cosh(a)", "[1.0, -2.0]", "[0.75, -0.9375]", "0xc0", "0xb7"),
    ("asinh", "the number whose sinh is a", "[1.0, -2.0]", "[0.875, -1.5]", "0xc0", "0xbc"),
    ("acosh", "the number, not below 0, whose cosh is a", "[1.0, 2.0]", "[0.0, 1.375]", "0x40", "0x3b"),
    ("atanh", "the number whose tanh is a", "[0.0, 0.5]", "[0.0, 0.5625]", "0x30", "0x31"),
    ("sinpi", "sin(pi a)", "[1.0, -2.0]", "[0.0, -0.0]", "0xc0", "0x80"),
    ("cospi", "cos(pi a)", "[1.0, -2.0]", "[-1.0, 1.0]", "0xc0", "0x38"),
    ("tanpi", "tan(pi a)", "[1.0, -2.0]", "[-0.0, -0.0]", "0xc0", "0x80"),
    ("asinpi", "asin(a) / pi", "[1.0, -0.5]", "[0.5, -0.171875]", "0xb0", "0xa3"),
    ("acospi", "acos(a) / pi", "[1.0, -0.5]", "[0.0, 0.6875]", "0xb0", "0x33"),
    ("atanpi", "atan(a) / pi", "[1.0, -2.0]", "[0.25, -0.34375]", "0xc0", "0xab"),
    ("rsqrt", "1 / sqrt(a)", "[4.0, 2.0]", "[0.5, 0.6875]", "0x40", "0x33"),
    ("softplus", "log(1 + e^a)", "[1.0, -2.0]", "[1.375, 0.125]", "0xc0", "0x20"),
    ("sigmoid", "1 / (1 + e^-a)", "[1.0, -2.0]", "[0.75, 0.1171875]", "0xc0", "0x1f"),
    ("silu", "a / (1 + e^-a)", "[1.0, -2.0]", "[0.75, -0.234375]", "0xc0", "0xa7"),
    (
        "gelu",
        "a times the probability that a standard normal number is below a",
        "[1.0, -2.0]",
        "[0.8125, -0.046875]",
        "0xc0",
        "0x94",
    ),
    (
        "gelu_tanh",
        "a (1 + tanh(sqrt(2 / pi) (a + 0.044715 a^3))) / 2",
        "[1.0, -2.0]",
        "[0.8125, -0.046875]",
        "0xc0",
        "0x94",
    ),
    ("hypot", "sqrt(a^2 + b^2)", "3.0, 4.0", "5.0", "0x44, 0x48", "0x4a"),
    ("pow", "a^b", "2.25, 1.5", "3.5", "0x41, 0x3c", "0x46"),
    ("atan2", "the angle, in radians, of the point (b, a)", "1.0, -1.0", "2.25", "0x38, 0xb8", "0x41"),
    ("atan2pi", "the angle of the point (b, a), divided by pi", "1.0, -1.0", "0.75", "0x38, 0xb8", "0x34"),
)

TABLE: dict[str, Line] = {
    "sub": Line(AB, NUMBER, "Return a - b.", "1.0, 0.25", "0.75", "0x38, 0x38", "0x0"),
    "mul": Line(AB, NUMBER, "Return a * b.", "1.5, 1.5", "2.25", "0x3c, 0x3c", "0x41"),
    "div": Line(AB, NUMBER, "Return a / b.", "1.0, 4.0", "0.25", "0x38, 0x48", "0x28"),
    "sqrt": Line(A, NUMBER, "Return the square root of a.", "2.25", "1.5", "0x41", "0x3c"),
    "fma": Line(
        ABC, NUMBER, "Return a * b + c, rounded once.", "1.125, 1.125, -1.25", "0.015625", "0x39, 0x39, 0xba",
        "0x8",
    ),
    "faa": Line(
        ABC, NUMBER, "Return a + b + c, rounded once.", "256.0, 256.0, -256.0", "256.0", "0x78, 0x78, 0xf8", "0x78"
    ),
    "recip": Line(A, NUMBER, "Return 1 / a.", "[4.0, -3.0]", "[0.25, -0.34375]", "0x48", "0x28"),
    "remainder": Line(
        AB,
        NUMBER,
        "Return a - n b, which is exact, for the integer n nearest to a / b, ties to even (IEEE 754).",
        "[5.0, -6.0], 4.0",
        "[1.0, 2.0]",
        "0x4a, 0x48",
        "0x38",
    ),
    "scaleb": Line(
        ("a", "n"), NUMBER, "Return a * 2^n for integers n.", "[1.5, 1.0], [3, -12]", "[12.0, 0.0]", "0x38, 1",
        "0x40",
    ),
    "logb": Line(
        A,
        NUMBER,
        "Return the exponent of a, the integer floor(log2 |a|); of 0 it is -inf.",
        "[12.0, 0.75]",
        "[3.0, -1.0]",
        "0x48",
        "0x40",
    ),
    "round_to_integral": Line(
        A,
        NUMBER,
        "Return a rounded to an integer by `rounding`, with its sign; it takes no out_format.",
        "[2.5, 3.5, -0.375]",
        "[2.0, 4.0, -0.0]",
        "0x42",
        "0x40",
    ),
    "convert": Line(
        A, NUMBER, "Return a in another format.", "1.0625, out_format='float16'", "1.0", "0x39, out_format='float16'",
        "0x3c80",
    ),
    "abs": Line(A, NUMBER, "Return a without its sign.", "[-2.0, 0.5]", "[2.0, 0.5]", "0xc0", "0x40"),
    "negate": Line(A, NUMBER, "Return -a.", "[-2.0, 0.0]", "[2.0, -0.0]", "0xff", "0x7f"),
    "copysign": Line(
        AB, NUMBER, "Return a with the sign of b.", "[2.0, 3.0], [-0.0, 1.0]", "[-2.0, 3.0]", "0x40, 0x80", "0xc0"
    ),
    "clamp": Line(
        ("a", "low", "high"),
        NUMBER,
        "Return the smaller of high and the larger of a and low; NaN if one is, or low lies above high.",
        "[-2.0, 1.5, 9.0], 0.0, 6.0",
        "[0.0, 1.5, 6.0]",
        "0xc0, 0x00, 0x40",
        "0x0",
    ),
    "minimum": _extremum("smaller", "", "[nan, -2.0]", "0xc0"),
    "maximum": _extremum("larger", "", "[nan, 1.0]", "0x38"),
    "minimum_number": _extremum("smaller", "number", "[1.0, -2.0]", "0xc0"),
    "maximum_number": _extremum("larger", "number", "[1.0, 1.0]", "0x38"),
    "minimum_magnitude": _extremum("smaller", "magnitude", "[nan, 1.0]", "0x38"),
    "maximum_magnitude": _extremum("larger", "magnitude", "[nan, -2.0]", "0xc0"),
    "minimum_magnitude_number": _extremum("smaller", "magnitude number", "[1.0, 1.0]", "0x38"),
    "maximum_magnitude_number": _extremum("larger", "magnitude number", "[1.0, -2.0]", "0xc0"),
    "minimum_finite": _extremum("smaller", "finite", "[1.0, -2.0]", "0xc0"),
    "maximum_finite": _extremum("larger", "finite", "[1.0, 1.0]", "0x38"),
    **{
        name: Line(AB if name in ("hypot", "pow", "atan2", "atan2pi") else A, NUMBER, f"Return {text}.", *examples)
        for name, text, *examples in FUNCTIONS
    },
    "next_up": Line(
        A,
        CODE,
        "Return the least value greater than a; beyond the largest what an overflow gives.",
        "[1.0, 0.0, 448.0]",
        "[1.125, 0.001953125, nan]",
        "0x38",
        "0x39",
    ),
    "next_down": Line(
        A,
        CODE,
        "Return the greatest value less than a; beyond the least what an overflow gives.",
        "[1.0, 0.0]",
        "[0.9375, -0.001953125]",
        "0x00",
        "0x81",
    ),
    "is_nan": Line(A, TRUTH, "Tell which are NaN.", "[1.0, np.nan]", "[False, True]", "0xff", "True"),
    "is_infinite": Line(A, TRUTH, "Tell which are infinite.", "[1.0, 0.0]", "[False, False]", "0x7f", "False"),
    "is_finite": Line(A, TRUTH, "Tell which are finite.", "[1.0, np.nan]", "[True, False]", "0x7e", "True"),
    "is_zero": Line(A, TRUTH, "Tell which are zero.", "[1.0, -0.0]", "[False, True]", "0x80", "True"),
    "is_one": Line(A, TRUTH, "Tell which are 1.", "[1.0, -1.0]", "[True, False]", "0x38", "True"),
    "is_normal": Line(
        A,
        TRUTH,
        "Tell which are finite and have the full precision: not below the smallest normal value.",
        "[1.0, 2.0**-9]",
        "[True, False]",
        "0x08",
        "True",
    ),
    "is_subnormal": Line(
        A, TRUTH, "Tell which are below the smallest normal value, and not 0.", "[1.0, 2.0**-9]", "[False, True]",
        "0x07", "True"
    ),
    "is_sign_minus": Line(
        A, TRUTH, "Tell which have their sign bit set; of P3109, which are less than 0.", "[-0.0, 1.0]",
        "[True, False]", "0xff", "True"
    ),
    "is_signaling": Line(
        A, TRUTH, "Tell which are signaling NaNs, which the formats of IEEE 754 have alone.", "[1.0, np.nan]",
        "[False, False]", "0x7f", "False"
    ),
    "total_order": Line(
        AB,
        TRUTH,
        "Tell where a precedes or equals b in the total order: IEEE 754's, of NaNs too; P3109's, NaN being the least.",
        "[-0.0, np.nan], [0.0, 448.0]",
        "[True, False]",
        "0x80, 0x00",
        "True",
    ),
}  # fmt: skip


class Integers(NamedTuple):
    """What stands for the format of an operand that is an integer: n of scaleb."""

    bits: int = 20  # twice as far as any two values of formats lie apart

    def codes(self, caller: str, got: Any) -> np.ndarray:
        """Return integers as codes; those beyond come to the same as the last."""
        limit = 1 << (self.bits - 1)
        n = arrays.integers(caller, "n", got, -(2**63), 2**63 - 1)
        return (np.clip(n.astype(np.int64), -limit, limit - 1) + limit).astype(np.uint64)


class OperationOptions(RoundingOptions, total=False):
    """The keyword arguments of an operation: how to round, and into which format."""

    out_format: Any


def formats_of(caller: str, fmt, count: int, out_format=None) -> tuple[tuple[Format, ...], Format]:
    """Return the formats of operands, all the same or a tuple of one each, and that of the result."""
    given = fmt if isinstance(fmt, tuple) else (fmt,) * count
    if len(given) != count:
        some = "one format" if count == 1 else f"one format or a tuple of {count}"
        raise _arguments.wrong_value(caller, "fmt", fmt, some)
    several = tuple(read(caller, "fmt", f, FloatFormat, PositFormat) for f in given)
    if out_format is None:
        if len(set(several)) > 1:
            raise _arguments.wrong_value(caller, "out_format", None, "a format where those of the operands differ")
        return several, several[0]
    return several, read(caller, "out_format", out_format, FloatFormat, PositFormat)


def operand_formats(caller: str, fmt, names: Sequence[str], out_format=None) -> tuple[tuple[Any, ...], Format]:
    """Return what `formats_of` does, with Integers for an operand n; and refuse an out_format that rounds twice."""
    integers = (Integers(),) if "n" in names else ()
    formats, into = formats_of(caller, fmt, len(names) - len(integers), out_format)
    if caller == "round_to_integral" and into != formats[0]:
        raise _arguments.wrong_value(caller, "out_format", str(into), f"None, for {formats[0]}")
    return (*formats, *integers), into


def compute(
    name: str,
    codes: Sequence[np.ndarray],
    formats: tuple[Any, ...],
    into: Format,
    rule: RoundingRule,
    start: int = 0,
    tininess: str = "",
    p3109: bool | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the codes of results, exception flags, and the index of the first NaN where no kernel tells, or -1.

    codes: unsigned (n,) each, elements `start` and those after it of the operands.  tininess: ``before`` or
    ``after``, if flags are asked for.  p3109: whether by P3109's rules; by default where a format is P3109's.
    """
    p3109 = spec.is_p3109(*formats, into) if p3109 is None else p3109
    bits = [fmt.bits for fmt in formats]
    if tininess or not may_be_tabulated(bits, into, rule, codes[0].size):
        compiled = name in KERNELS and not tininess and codes[0].size > definitions.elements_left
        if compiled and arithmetic_paths.serves(name, formats, into, rule):
            result, first_nan = arithmetic_paths.compute_codes(name, codes, formats, into, rule, start, p3109)
            return result, np.empty(0, np.uint8), first_nan
        return _computed(name, codes, formats, into, rule, start, tininess, p3109)
    narrow = all(map(is_narrow, (*formats, into)))
    at_once = narrow and (name in KERNELS or has_kernel(name, narrow) or functions.applies(name, formats, into))

    def fill(columns):
        return _computed(name, columns, formats, into, rule, 0, "", p3109)[0]

    key = _key(name, formats, into, rule, p3109)
    return tabulated(key, bits, codes, arrays.code_dtype(into.bits), fill, at_once), np.empty(0, np.uint8), -1


def _key(name, formats, into, rule, p3109) -> Hashable:
    return (name, formats, into, rule.mode, rule.overflow, rule.nan, p3109)


def table_of(name: str, formats: tuple[Any, ...], into: Format, rule: RoundingRule) -> np.ndarray:
    """Return the table in which `compute` looks results up, as far as it is filled."""
    key = _key(name, formats, into, rule, spec.is_p3109(*formats, into))
    return entries(key, sum(fmt.bits for fmt in formats), arrays.code_dtype(into.bits))


def _computed(name, codes, formats, into, rule, start, tininess, p3109) -> tuple[np.ndarray, np.ndarray, int]:
    """Do as `compute`, for every element."""
    size = codes[0].size
    words = rule.words(size, start)
    codes = [np.asarray(column, np.uint64) for column in codes]
    narrow, use = all(map(is_narrow, (*formats, into))) and not tininess, None
    if name in KERNELS and narrow:
        use = kernels(size)
        kernel = use.arithmetic
    elif has_kernel(name, narrow) and not tininess and size >= FEW and kernels(size) is not DEFINITIONS:
        use = COMPILED
        kernel = use.operations
    if use is not None:
        if name == "scaleb":
            codes = codes[0], codes[1].astype(np.int64) - (1 << (formats[1].bits - 1))
            formats = formats[:1]
        a, b, c = (list(codes) * 3)[:3]
        layouts = [use.arithmetic.layout(fmt) for fmt in (list(formats) * 3)[:3]] + [use.arithmetic.layout(into, p3109)]
        result, mode = np.empty(size, np.uint64), rule.for_kernels(use)
        number = kernel.OPERATIONS.index(name)
        first_nan = kernel.calculate(number, a, b, c, result, *layouts, mode, words, p3109)
        return result, np.empty(0, np.uint8), first_nan

    if functions.applies(name, formats, into) and narrow:
        if size >= FEW and kernels(size) is not DEFINITIONS:
            result, first_nan = functions.evaluate(name, codes, formats, into, rule, words, p3109)
            return result, np.empty(0, np.uint8), first_nan
    columns, decoders = [*codes], [_decoder(fmt, p3109) for fmt in formats]
    if rule.stochastic:
        columns.append(words[:size].astype(np.uint64) >> np.uint64(32 - rule.random_bits))
    how = rule.mode, rule.overflow, "zero" if rule.nan == "raise" else rule.nan

    def case(*given: int) -> tuple[int, int]:
        random = given[-1] if rule.stochastic else 0
        values = tuple(decode(code) for decode, code in zip(decoders, given, strict=False))
        if name == "round_to_integral":
            exact = spec.round_to_integral(values[0], rule.mode, random, rule.random_bits)
        else:
            exact = spec.exact(name, values, rule.mode, p3109)
        code = spec.encode(exact, into, *how, random, rule.random_bits, p3109)
        found = NAN if exact.kind == "nan" else 0
        if tininess and isinstance(into, FloatFormat):
            signaling = any(map(spec.is_signaling, given, formats)) and name not in QUIET
            product = name == "fma" and {values[0].kind, values[1].kind} == {"infinite", "finite"}
            product = product and spec.exact("mul", values[:2]).kind == "nan"
            after = tininess == "after", random, rule.random_bits
            numbers = values[:1] if name == "scaleb" else values
            found |= spec.flags(numbers, signaling, exact, into, rule.mode, *after, product)
            if name == "round_to_integral" and exact.magnitude != values[0].magnitude:
                found |= spec.INEXACT
        return code, found

    key = (name, formats, into, how, rule.random_bits if rule.stochastic else 0, tininess, p3109)
    result, found = look_up(key, [*(f.bits for f in formats), rule.random_bits][: len(columns)], columns, case)
    nans = found & NAN != 0
    return result, found & np.uint8(127), int(np.argmax(nans)) if nans.any() else -1


NAN = 128  # beside the flags of a case: its result is NaN
QUIET = ("abs", "negate", "copysign")  # operations on the sign bit, which signal nothing


def is_narrow(fmt: Any) -> bool:
    """Tell whether kernels are exact in a format."""
    return isinstance(fmt, (PositFormat, Integers)) or fmt.mantissa_bits <= MOST_MANTISSA_BITS


def has_kernel(name: str, narrow: bool) -> bool:
    """Tell whether `refimpl.kernels.operations` has an operation, of `narrow` formats or of any."""
    return (name in OF_NARROW and narrow) or name in OF_ALL or name.startswith(("minimum", "maximum"))


def facts(name: str, codes: Sequence[np.ndarray], formats: tuple[Format, ...]) -> np.ndarray:
    """Return what an operation that rounds nothing gives for codes (unsigned (n,) each), unsigned."""

    def case(*given: int) -> tuple[int, int]:
        if name in spec.PREDICATES:
            return int(spec.PREDICATES[name](given[0], formats[0])), 0
        if name == "total_order":
            return int(spec.total_order(given[0], given[1], formats[0], formats[1])), 0
        if name == "classify":
            return spec.CLASSES.index(spec.class_of(given[0], formats[0])), 0
        return spec.next_code(given[0], formats[0], name == "next_up"), 0

    bits = [fmt.bits for fmt in formats]

    def fill(columns):
        by = _TOLD.get(name, _classified)
        if columns[0].size < FEW or kernels(columns[0].size) is DEFINITIONS:
            return look_up((name, formats), bits, columns, case)[0]
        found, rest = by(name, columns, formats)
        if rest.any():
            found[rest] = look_up((name, formats), bits, [column[rest] for column in columns], case)[0]
        return found

    codes_of = arrays.code_dtype(formats[0].bits)
    return tabulated((name, formats), bits, codes, codes_of, fill) if is_tabulated(bits, codes) else fill(codes)


Told = tuple[np.ndarray, np.ndarray]  # what an operation gives (uint64 (n,)), and where the definition is asked


def _classified(name, codes, formats) -> Told:
    """Return what a code's class says, or its sign."""
    (column,), (fmt,) = codes, formats
    found: np.ndarray
    classes = np.empty(column.size, np.uint8)
    signaling = getattr(fmt, "specials", "") == "ieee"
    COMPILED.operations.classify(column, classes, COMPILED.arithmetic.layout(fmt), signaling)
    if name == "is_sign_minus":
        found = classes >> np.uint8(4)
    elif name == "is_one":
        found = column == np.uint64(spec.encode(spec.ONE, fmt))
        if spec.decode(spec.encode(spec.ONE, fmt), fmt) != spec.ONE:
            found[:] = False
    else:
        classes &= np.uint8(15)
        found = np.isin(classes, _CLASSES_OF[name]) if name in _CLASSES_OF else classes
    return found.astype(np.uint64), np.zeros(column.size, bool)


def _ordered(name, codes, formats) -> Told:
    """Return the total order."""
    found = np.empty(codes[0].size, np.bool_)
    layouts = [COMPILED.arithmetic.layout(fmt) for fmt in formats]
    COMPILED.operations.total_order(*codes, found, *layouts, spec.is_p3109(*formats))
    return found.astype(np.uint64), np.zeros(found.size, bool)


def _neighbours(name, codes, formats) -> Told:
    """Return the next codes of finite numbers, but for the first and the last."""
    (column,), (fmt,) = codes, formats
    one = np.uint64(1)
    if isinstance(fmt, PositFormat):
        return (column + one if name == "next_up" else column - one) & np.uint64((1 << fmt.bits) - 1), column < 0
    sign = np.uint64(fmt.sign_mask)
    magnitude = column & ~sign
    first = 1 if fmt.has_zero and fmt.has_subnormals else 1 << fmt.mantissa_bits
    rest = (magnitude <= np.uint64(first)) | (magnitude >= np.uint64(fmt.max_code))
    up = (column == magnitude) == (name == "next_up")
    return np.where(up, column + one, column - one), rest


_CLASSES_OF = {
    "is_signaling": (0,),
    "is_nan": (0, 1),
    "is_infinite": (2, 9),
    "is_normal": (3, 8),
    "is_subnormal": (4, 7),
    "is_zero": (5, 6),
    "is_finite": (3, 4, 5, 6, 7, 8),
}  # by their places in spec.CLASSES
_TOLD = {"total_order": _ordered, "next_up": _neighbours, "next_down": _neighbours}
FEW = 256
"""Of fewer elements definitions answer, where there is no other kernel."""


@lru_cache(maxsize=64)
def _decoder(fmt: Any, p3109: bool) -> Callable[[int], Any]:
    if isinstance(fmt, Integers):
        return lambda code: code - (1 << (fmt.bits - 1))
    return lru_cache(maxsize=1 << 16)(partial(spec.decode, fmt=fmt, p3109=p3109))


def broadcast(caller: str, names: str | Sequence[str], operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return operands broadcast against each other."""
    try:
        return list(np.broadcast_arrays(*operands))
    except ValueError:
        shapes = ", ".join(str(x.shape) for x in operands)
        got = ", ".join(names[: len(operands)])
        raise ValueError(_arguments.message(caller, got, f"of shapes {shapes}", "shapes that broadcast")) from None


def refuse_nan(caller: str, first: int, into: Format, shape: tuple[int, ...]) -> None:
    """Refuse a result that is NaN where the format has none, unless `first` is -1."""
    if first >= 0:
        where = arrays.place("the result", first, shape)
        hint = "nan='zero' and nan='max' replace it"
        raise ValueError(_arguments.message(caller, where, "NaN", f"a number, for {into} has no NaN", hint))
