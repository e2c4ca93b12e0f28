"""What an operation is expected to do: its name, the formats of operands and result, and the rule of rounding.

In bulk from `refimpl.codes`, which the tests of that room hold to `refimpl.spec`; one case at a time, for whatever
is reported, from the definition itself.

*Names*: those of the functions of `refimpl` (`add`, `fma`, `exp`, `maximum_number`, ...); `eq`, `ne`, `lt`, `le`,
`gt`, `ge`, `unordered`, or the relations themselves, for comparisons; `to_int8`, `to_uint32`, ... for integers, and
`from_int8`, ... for what integers become, of which the format is that of the result.  `classify` gives the number of a
class in the order of IEEE 754, clause 5.7.2, from 0: P3109's ClsNaN is 1 and its ClsZero 6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, cached_property
from typing import Any

import numpy as np

from refimpl import _arguments, ops
from refimpl.formats import NAN_RULES, OTHER_NAMES, OVERFLOWS, ROUNDINGS, FloatFormat, PositFormat
from refimpl.formats import format as format_of
from refimpl.ops import codes as on_codes
from refimpl.ops.arrays import code_dtype
from refimpl.ops.operations import CODE, FLAGS, KERNELS, MOST_MANTISSA_BITS, NUMBER, TABLE, TRUTH, facts
from refimpl.spec import arithmetic
from refimpl.spec import operations as spec
from refimpl.spec.float_codes import RANDOM_BITS, Value
from refimpl.spec.functions import OPERANDS as FUNCTIONS

Number = Any  # FloatFormat, PositFormat, or a Whole
RELATIONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "unordered": "unordered"}
SIGNALING = {"eq_signaling": True, "lt_quiet": False, "le_quiet": False}  # names of TestFloat: which NaNs are invalid
RELATIONS |= {"eq_signaling": "==", "lt_quiet": "<", "le_quiet": "<="}
OPERANDS = {"add": 2, **{name: len(line.operands) for name, line in TABLE.items()}}
OPERANDS |= dict.fromkeys(RELATIONS, 2) | {"classify": 1}
INTEGER = re.compile(r"to_(u?)int([1-9]\d?)")
OF_INTEGER = re.compile(r"from_(u?)int([1-9]\d?)")
OF_INTEGERS = ("overflow", "saturate", "wrap", "indefinite")
COUNTED = ("stochastic_a", "stochastic_b", "stochastic_c")
WIDE = FloatFormat(exponent_bits=10, mantissa_bits=24)  # kernels compute in it; to odd it stands for the exact result
WIDER = FloatFormat(exponent_bits=10, mantissa_bits=50)
KEPT = 6  # exact results remembered: defects ask for the same again and again
_EXACT: dict = {}
NUMPY = {  # names of NumPy, where they are others
    "sub": "subtract", "mul": "multiply", "div": "divide", "recip": "reciprocal", "negate": "negative",
    "maximum_number": "fmax", "minimum_number": "fmin", "round_to_integral": "rint", "pow": "power", "atan2": "arctan2",
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    "scaleb": "ldexp", "is_nan": "isnan", "is_infinite": "isinf", "is_finite": "isfinite", "is_sign_minus": "signbit",
}  # fmt: skip
MEANT = {name: own for own, name in NUMPY.items()}  # what others call them, or who writes them out
MEANT |= {
    "addition": "add", "plus": "add", "subtraction": "sub", "minus": "sub", "multiplication": "mul", "times": "mul",
    "division": "div", "fdiv": "div", "max": "maximum", "min": "minimum", "neg": "negate", "inverse": "recip",
    "square_root": "sqrt", "exponential": "exp", "ln": "log", "logarithm": "log", "round": "round_to_integral",
    "nearbyint": "round_to_integral", "fmod": "remainder", "cast": "convert", "astype": "convert",
    "nextafter": "next_up", "swish": "silu", "logistic": "sigmoid", "absolute": "abs", "fused_multiply_add": "fma",
    "dot_product": "dot",
    "matrix_product": "matmul", "gemm": "matmul", "mm": "matmul", "summation": "sum", "less_than": "lt",
    "greater_than": "gt", "isnormal": "is_normal", "copy_sign": "copysign", "reciprocal_sqrt": "rsqrt",
    "class": "classify", "fpclassify": "classify", "fclass": "classify",
}  # fmt: skip
KINDS = {"number": NUMBER, "code": NUMBER, "truth": TRUTH}
CLASS = "class"
OF_PAYLOADS = ("is_signaling", "total_order", "classify")  # which see more of a NaN than float64 carries


@dataclass(frozen=True)
class Whole:
    """What stands for the format of an operand that is an integer: as codes, modulo 2^bits."""

    bits: int
    signed: bool

    @property
    def name(self) -> str:
        """Such as int32."""
        return f"{'' if self.signed else 'u'}int{self.bits}"

    @property
    def min(self) -> int:
        """The least integer."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """The largest."""
        return self.min + (1 << self.bits) - 1

    def integers(self, codes: np.ndarray) -> np.ndarray:
        """Return the integers of codes: int64, or uint64 if they are unsigned."""
        codes = np.asarray(codes, np.uint64)
        shift = np.int64(64 - self.bits)
        return (codes.astype(np.int64) << shift) >> shift if self.signed else codes

    def integer(self, code: int) -> int:
        """Return the integer of a code."""
        return code - (1 << self.bits) if self.signed and code >> (self.bits - 1) else code

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Return the codes (uint64) of the integers nearest to values (float64)."""
        whole = np.nan_to_num(np.rint(values))
        found = [int(np.clip(x, self.min, self.max)) % (1 << self.bits) for x in whole.tolist()]
        return np.array([min(code, (1 << self.bits) - 1) for code in found], np.uint64)

    def __str__(self) -> str:
        return self.name


N = Whole(16, True)  # of scaleb: twice as far as any two values within float64 lie apart


def known_name(name: str, caller: str = "conform", others: tuple[str, ...] = ()) -> str:
    """Return the name of an operation; ValueError, which proposes the nearest or one of the others, for what is none.

    >>> known_name("<="), known_name("to_uint8")
    ('le', 'to_uint8')
    """
    name = {relation: word for word, relation in reversed(RELATIONS.items())}.get(name, name)
    found = (INTEGER.fullmatch(name) or OF_INTEGER.fullmatch(name)) if isinstance(name, str) else None
    if found and int(found[2]) <= 64:
        return name
    known = (*others, *OPERANDS, "to_int8", "from_int8")
    meant = {long: own for long, own in MEANT.items() if own in known}
    return _arguments.choice(caller, "operation", name, known, meant=meant)


@dataclass(frozen=True)
class Operation:
    """An operation with its formats and rules.

    Parameters
    ----------
    name : str
    formats : format, its name, or a tuple of these
        Of the operands; one stands for all of them.  Their values lie within float64.
    out_format : format or its name, optional
        By default that of the operands.
    rounding, overflow, nan : str
        As for `refimpl.add`, deterministic or stochastic A, B, C; of conversions to integers `overflow` is
        ``saturate`` (default), ``wrap`` or ``indefinite``, as for `refimpl.to_integer`.
    random_bits : int, optional
        Of stochastic A, B and C.

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Examples
    --------
    >>> add = Operation("add", "float8_e4m3fn")
    >>> add.results([np.array([0x38], np.uint64), np.array([0x39], np.uint64)]).tolist()  # 1 + 1.125
    [64]
    """

    name: str
    formats: Any  # a tuple of one for each operand, once made
    out_format: Any = None
    rounding: Any = "ties_to_even"
    overflow: Any = "overflow"
    nan: Any = "zero"
    random_bits: int | None = None

    def __post_init__(self):
        name = known_name(self.name)
        object.__setattr__(self, "name", name)
        count, integer = self.operands, OF_INTEGER.fullmatch(name)
        given = self.formats if isinstance(self.formats, tuple) else (self.formats,) * count
        if integer and not isinstance(given[0], Whole):
            if self.out_format is not None and format_of(self.out_format) != format_of(given[0]):
                raise _arguments.wrong_value("conform", "out_format", str(self.out_format), f"None for {name}")
            object.__setattr__(self, "out_format", given[0])
            given = (Whole(int(integer[2]), not integer[1]),)
        if name == "scaleb":
            given = (given[0], N)
        if len(given) != count:
            raise _arguments.wrong_value("conform", "format", self.formats, f"one format or a tuple of {count}")
        formats = tuple(_number(fmt) for fmt in given)
        object.__setattr__(self, "formats", formats)
        into = self.out_format
        if into is None and self.kind == NUMBER:
            if len({fmt for fmt in formats if fmt != N}) > 1:
                raise _arguments.wrong_value("conform", "out_format", None, "a format where the operands' differ")
            into = formats[0]
        if into is not None:
            if self.kind != NUMBER or TABLE.get(name) is not None and TABLE[name].kind == CODE:
                if into != formats[0]:
                    raise _arguments.wrong_value("conform", "out_format", str(into), f"None for {name}")
            object.__setattr__(self, "out_format", _number(into) if self.kind == NUMBER else None)
        _arguments.choice("conform", "rounding", self.rounding, ROUNDINGS, meant=OTHER_NAMES)
        _arguments.choice("conform", "overflow", self.overflow, OF_INTEGERS if self.integer else OVERFLOWS)
        _arguments.choice("conform", "nan", self.nan, NAN_RULES[:2])
        if self.rounding in COUNTED:
            _arguments.integer("conform", "random_bits", self.random_bits, _arguments.Interval(1, 16))
        elif self.rounding == "stochastic":
            hint = "with random bits of its own an operation cannot be held to bits"
            raise _arguments.wrong_value("conform", "rounding", "stochastic", f"one of {', '.join(COUNTED)}", hint)
        elif self.random_bits is not None:
            raise _arguments.wrong_value("conform", "random_bits", self.random_bits, f"None with {self.rounding}")
        if isinstance(self.out_format, PositFormat) and (self.rounding, self.overflow) != ("ties_to_even", "overflow"):
            got = f"{self.rounding}, {self.overflow}"
            raise _arguments.wrong_value("conform", "rounding, overflow", got, "the defaults for posits")

    @property
    def operands(self) -> int:
        """How many operands there are."""
        return OPERANDS.get(self.name, 1)

    @property
    def integer(self) -> tuple[bool, int] | None:
        """Whether it is signed, and the bits, of the integer that results; None for others."""
        found = INTEGER.fullmatch(self.name)
        return (not found[1], int(found[2])) if found else None

    @property
    def words(self) -> tuple[Any, ...]:
        """The formats of the operands, and of the random integer of stochastic rounding behind them."""
        if self.random_bits is None or not (self.is_rounded or self.integer):
            return self.formats
        return (*self.formats, Whole(self.random_bits, False))

    def split(self, columns: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray | None]:
        """Return the operands among columns of words, and the random integers."""
        return list(columns[: self.operands]), columns[self.operands] if len(columns) > self.operands else None

    @property
    def kind(self) -> str:
        """``number``, ``truth``, ``integer`` or ``class``: what results."""
        if self.integer or self.name == "classify":
            return "integer" if self.integer else CLASS
        return TRUTH if self.name in RELATIONS else KINDS[TABLE[self.name].kind] if self.name in TABLE else NUMBER

    @property
    def into(self) -> Any:
        """The format of a result that is a number."""
        return self.out_format or self.formats[0]

    @property
    def is_rounded(self) -> bool:
        """Whether its result is one that is rounded, rather than looked up."""
        return self.kind == NUMBER and self.name not in ("next_up", "next_down")

    @property
    def result_bits(self) -> int:
        """The width of a result."""
        if self.integer:
            return self.integer[1]
        return {TRUTH: 1, CLASS: 4}.get(self.kind) or self.into.bits

    @cached_property
    def how(self) -> dict:
        """The keyword arguments of the function of `refimpl.codes`."""
        if self.integer:
            signed, bits = self.integer
            overflow = "saturate" if self.overflow == "overflow" else self.overflow
            return {"signed": signed, "bits": bits, "rounding": self.rounding, "overflow": overflow}
        if not self.is_rounded:
            return {}
        rules = {"rounding": self.rounding, "overflow": self.overflow, "nan": self.nan}
        if self.name != "round_to_integral":
            rules["out_format"] = self.out_format
        return rules

    def results(self, codes: Sequence[np.ndarray], random=None, *, flags: bool = False, tininess: str = "after"):
        """Return the results of codes, uint64 (n,): codes, truths as 0 and 1, integers modulo 2^bits; and flags."""
        if flags and self.name in SIGNALING:
            truths = self.results(codes)
            signals = on_codes.is_nan if SIGNALING[self.name] else on_codes.is_signaling
            invalid = np.any([signals(c, fmt) for c, fmt in zip(codes, self.formats, strict=True)], axis=0)
            return truths, invalid.astype(np.uint8) * np.uint8(FLAGS["invalid"])
        if isinstance(self.formats[0], Whole):
            return self._of_integers(codes[0], random, flags, tininess == "after")
        if flags and not (
            self.is_rounded or self.integer or self.name in RELATIONS
        ):  # only a signaling NaN is signaled
            found = self.results(codes)
            if self.kind != NUMBER:
                return found, np.zeros(found.size, np.uint8)
            return found, on_codes.is_signaling(codes[0], self.formats[0]).astype(np.uint8) * np.uint8(FLAGS["invalid"])
        if self.kind == CLASS:
            return facts(self.name, codes, self.formats).astype(np.uint64)
        narrow = [
            fmt.integers(c) if isinstance(fmt, Whole) else c.astype(code_dtype(fmt.bits))
            for c, fmt in zip(codes, self.formats, strict=True)
        ]
        formats = self.formats if len(self.formats) > 1 and self.name != "scaleb" else self.formats[0]
        options = dict(self.how)
        if random is not None and (self.is_rounded or self.integer):
            options |= {"random": random, "random_bits": self.random_bits}
        if flags:
            options["flags"] = True
            if self.kind == NUMBER:
                options["tininess"] = tininess
        function: Any = getattr(on_codes, "to_integer" if self.integer else self.name, on_codes.compare)
        relation = (RELATIONS[self.name],) if self.name in RELATIONS else ()
        with np.errstate(all="ignore"):
            if self.name == "convert" and not flags and self._is_cast():
                found = self.rounded(decoded(codes[0], formats))
                return encoded(found, self.into)
            found = function(*narrow, formats, *relation, **options)
        result, raised = found if flags else (found, None)
        if self.integer:
            result = np.asarray(result).view(f"u{np.asarray(result).dtype.itemsize}")
        result = np.asarray(result).astype(np.uint64) & np.uint64((1 << self.result_bits) - 1)
        return (result, np.asarray(raised)) if flags else result

    def _of_integers(self, codes: np.ndarray, random, flags: bool, after: bool):
        """Return the codes that integers become, and flags."""
        given = {} if random is None else {"random": random, "random_bits": self.random_bits}
        rule: dict[str, Any] = {"rounding": self.rounding, "overflow": self.overflow, "nan": self.nan} | given
        found = ops.encode(self.formats[0].integers(codes), self.into, **rule).astype(np.uint64)
        if not flags:
            return found
        numbers = [0] * codes.size if random is None else np.asarray(random).tolist()

        @cache
        def raised(code: int, number: int) -> int:
            value = self.by_definition((code,), number)[0]
            rest = self.rounding, after, number, self.random_bits or RANDOM_BITS
            return spec.flags((), False, value, self.into, *rest) if isinstance(self.into, FloatFormat) else 0  # type: ignore[arg-type]

        every = [raised(code, number) for code, number in zip(codes.tolist(), numbers, strict=True)]
        return found, np.array(every, np.uint8)

    def _is_cast(self) -> bool:
        """Whether converting is rounding the values, which a kernel does."""
        both = (self.formats[0], self.into)
        return not self.random_bits and all(isinstance(fmt, FloatFormat) for fmt in both) and not spec.is_p3109(*both)

    @property
    def is_slow(self) -> bool:
        """Whether no kernel computes it."""
        wide = any(getattr(fmt, "mantissa_bits", 0) > MOST_MANTISSA_BITS for fmt in (*self.formats, self.into))
        if isinstance(self.formats[0], Whole):
            return False
        return wide or not (self.name in KERNELS or self.name in FUNCTIONS or self.kind == TRUTH or self._is_cast())

    def values_of(self, results: np.ndarray) -> np.ndarray:
        """Return results as float64: of codes their values, truths as 0 and 1, integers, numbers of classes."""
        if self.integer:
            signed, bits = self.integer
            found = results.astype(np.float64)
            return np.where(found >= 2.0 ** (bits - 1), found - 2.0**bits, found) if signed else found
        return decoded(results, self.into) if self.kind == NUMBER else results.astype(np.float64)

    def same(self, expected: np.ndarray, got: np.ndarray) -> np.ndarray:
        """Tell where two results are one and the same: NaN is NaN whatever its sign and payload."""
        if self.kind != NUMBER:
            return expected == got
        return (expected == got) | is_nan(expected, self.into) & is_nan(got, self.into)

    def evaluate(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Return the results (float64) of values (float64) of the operands' formats."""
        return self.values_of(self.results([encoded(v, fmt) for v, fmt in zip(values, self.formats, strict=True)]))

    def exact(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Return the exact results of values, cut to odd: they round to `into` as the exact ones do."""
        key = (self, hash(tuple(v.tobytes() for v in values)))
        if key not in _EXACT:
            while len(_EXACT) >= KEPT:
                _EXACT.pop(next(iter(_EXACT)))
            _EXACT[key] = self._exact(values)
        return _EXACT[key]

    def _exact(self, values: Sequence[np.ndarray]) -> np.ndarray:
        wide = WIDE if getattr(self.into, "mantissa_bits", self.into.bits) <= 22 else WIDER
        found = replace(self, out_format=wide, rounding="to_odd", overflow="overflow", random_bits=None).evaluate(
            values
        )
        if self.rounding == "toward_negative":  # of which only the sign of an exact zero depends on the mode
            found = np.where(found == 0, self.evaluate(values) * 0.0, found)
        return found

    def rounded(self, exact: np.ndarray) -> np.ndarray:
        """Return exact results, as `exact` gives them, rounded to the format of results."""
        if isinstance(self.into, PositFormat):
            return ops.quantize(exact, self.into)
        return ops.quantize(exact, self.into, rounding=self.rounding, overflow=self.overflow, nan=self.nan)

    def by_definition(self, codes: Sequence[int], random: int = 0) -> tuple[Value | str | int, int]:
        """Return the exact result of one case and the result, from `refimpl.spec`."""
        p3109 = spec.is_p3109(*self.formats, *((self.out_format,) if self.out_format else ()))
        values: tuple[Any, ...] = tuple(
            fmt.integer(code) if isinstance(fmt, Whole) else spec.decode(code, fmt, p3109)
            for code, fmt in zip(codes, self.formats, strict=True)
        )
        bits = self.random_bits or RANDOM_BITS
        if self.name in RELATIONS:
            posit = any(isinstance(fmt, PositFormat) for fmt in self.formats)
            found = arithmetic.relation(values[0], values[1], posit=posit)
            relation = RELATIONS[self.name]
            holds = {"!=": found != "==", "<=": found in ("<", "=="), ">=": found in (">", "==")}
            return found, int(holds.get(relation, found == relation))
        if self.integer:
            signed, width = self.integer
            overflow = str(self.how["overflow"])
            return values[0], spec.to_integer(values[0], width, signed, self.rounding, overflow, random, bits)[0] % (
                1 << width
            )
        if self.kind == CLASS:
            return "", spec.CLASSES.index(spec.class_of(codes[0], self.formats[0]))
        if self.kind == TRUTH:
            if self.name == "total_order":
                return "", int(spec.total_order(codes[0], codes[1], *self.formats))
            return "", int(spec.PREDICATES[self.name](codes[0], self.formats[0]))
        if not self.is_rounded:
            code = spec.next_code(codes[0], self.formats[0], self.name == "next_up")
            return spec.decode(code, self.into, p3109), code
        if self.name == "round_to_integral":
            exact = spec.round_to_integral(values[0], self.rounding, random, bits)
        elif isinstance(self.formats[0], Whole):
            exact = Value("finite", values[0] < 0, Fraction(abs(values[0])))
        else:
            exact = spec.exact(self.name, values, self.rounding, p3109)
        return exact, spec.encode(exact, self.into, self.rounding, self.overflow, self.nan, random, bits, p3109)

    def __str__(self) -> str:
        names = [fmt.name for fmt in self.formats]
        words = [f"{self.name} {names[0] if len(set(names)) == 1 else ', '.join(names)}"]
        words[0] += f" to {self.into.name}" if self.kind == NUMBER and {self.into.name} != set(names) else ""
        words += [self.rounding] if self.is_rounded or self.integer else []
        words += [self.overflow] if self.overflow != "overflow" else []
        words += [f"NaN gives {self.nan}"] if self.nan != "zero" else []
        return ", ".join(words)


def _number(fmt) -> Any:
    if isinstance(fmt, Whole):
        return fmt
    found = format_of(fmt)
    if not isinstance(found, (FloatFormat, PositFormat)):
        raise _arguments.wrong_kind("conform", "format of an operation", str(found), "a float or posit format")
    if isinstance(found, FloatFormat) and not found.fits_float64:
        raise _arguments.wrong_value("conform", "format", str(found), "a format within float64, in which one compares")
    return found


def decoded(codes: np.ndarray, fmt: Number) -> np.ndarray:
    """Return the values (float64) of codes."""
    if isinstance(fmt, Whole):
        return fmt.integers(codes).astype(np.float64)
    return ops.decode(np.asarray(codes).astype(code_dtype(fmt.bits)), fmt)


def encoded(values: np.ndarray, fmt: Number) -> np.ndarray:
    """Return the codes (uint64) of values."""
    if isinstance(fmt, Whole):
        return fmt.codes(values)
    return ops.encode(np.asarray(values, np.float64), fmt).astype(np.uint64)


def is_nan(codes: np.ndarray, fmt: Number) -> np.ndarray:
    """Tell which codes (uint64) are NaN."""
    if isinstance(fmt, PositFormat):
        return codes == np.uint64(fmt.nar_code)
    return np.isnan(decoded(codes, fmt))
