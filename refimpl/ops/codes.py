"""Operations on codes: codes in, codes out, with NaN's signs, and exception flags on request.

    rf.codes.add(0x38, 0x39, "e4m3fn")      # 1 + 1.125
    rf.codes.mul(a, b, ("e4m3fn", "e5m2fn"), out_format="float16", flags=True)

Every operation of `refimpl` on values has its like here, by the same name and with the same options.  Nothing is
decoded to float64 in between, so that formats may reach beyond it.

*NaN*: what becomes NaN is the quiet one without a sign and payload that the format encodes (`fmt.nan_code`);
`abs`, `negate` and `copysign` change the sign of a NaN that has one, and nothing else of it, in IEEE's families.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypedDict, Unpack

import numpy as np

from refimpl import _arguments
from refimpl.formats import RoundingMode
from refimpl.ops import arrays
from refimpl.ops.arithmetic import RELATIONS, Relation, holding_relation
from refimpl.ops.definitions import DEFINITIONS, KERNELS, kernels
from refimpl.ops.operations import (
    ABC,
    CODE,
    FEW,
    FLAGS,
    NUMBER,
    QUIET,
    TABLE,
    TRUTH,
    Integers,
    OperationOptions,
    broadcast,
    compute,
    facts,
    look_up,
    operand_formats,
    refuse_nan,
)
from refimpl.ops.rounding import RoundingRule, known
from refimpl.spec import operations as spec

Tininess = Literal["after", "before"]


class CodesOptions(OperationOptions, total=False):
    """The keyword arguments of an operation on codes."""

    flags: bool
    tininess: Tininess


def calculate(name: str, operands, fmt, options: CodesOptions, names=ABC, p3109: bool | None = None) -> Any:
    """Return the codes of results, and flags if they are asked for: the body of every operation."""
    given: dict[str, Any] = dict(known(name, options, CodesOptions))
    flags = _arguments.flag(name, "flags", given.pop("flags", False))
    tininess = _arguments.choice(name, "tininess", given.pop("tininess", "after"), ("after", "before"))
    formats, into = operand_formats(name, fmt, names[: len(operands)], given.pop("out_format", None))
    codes, shape = _codes(name, operands, formats, names)
    rule = RoundingRule.of(name, into, shape, **given)
    found, raised, first_nan = compute(name, codes, formats, into, rule, 0, tininess if flags else "", p3109)
    if rule.refuses_nan(into):
        refuse_nan(name, first_nan, into, shape)
    if name in QUIET and formats[0] == into and not spec.is_p3109(*formats):
        found = _payloads_kept(codes[0], found, into)
    found = found.astype(arrays.code_dtype(into.bits), copy=False).reshape(shape)
    return (found, raised.reshape(shape)) if flags else found


def _payloads_kept(codes: np.ndarray, found: np.ndarray, fmt) -> np.ndarray:
    """Return results of operations on the sign bit, of which a NaN keeps the other bits."""
    if not getattr(fmt, "nan_has_sign", False):
        return found
    sign = np.uint64(fmt.sign_mask)
    return np.where((codes & ~sign) > np.uint64(fmt.max_code), codes & ~sign | found & sign, found)


def tell(name: str, operands, fmt, names=ABC) -> tuple[np.ndarray, tuple[int, ...], tuple[Any, ...]]:
    """Return what an operation that rounds nothing gives (uint64 (n,)), the shape, and the formats."""
    formats, _ = operand_formats(name, fmt, names[: len(operands)], "float16")
    codes, shape = _codes(name, operands, formats, names)
    return facts(name, codes, formats), shape, formats


def _codes(caller: str, operands, formats, names=ABC) -> tuple[list[np.ndarray], tuple[int, ...]]:
    """Return codes, unsigned (n,), and the shape they broadcast to."""
    found = [
        fmt.codes(caller, x) if isinstance(fmt, Integers) else arrays.codes(caller, name, x, fmt.name, 1 << fmt.bits)
        for name, x, fmt in zip(names, operands, formats, strict=False)
    ]
    found = broadcast(caller, names, found)
    return [np.ascontiguousarray(x).reshape(-1) for x in found], found[0].shape


def compare(a, b, fmt, relation: Relation, *, flags: bool = False) -> Any:
    """Tell where a relation holds between codes: see `refimpl.compare`; ``< <= >= >`` signal a NaN as invalid.

    Examples
    --------
    >>> compare([0x38, 0x80], [0x40, 0x00], "e4m3fn", "==").tolist()
    [False, True]
    """
    _arguments.choice("compare", "relation", relation, RELATIONS)
    formats, _ = operand_formats("compare", fmt, "ab", "float16")
    codes, shape = _codes("compare", (a, b), formats)
    holds = holding_relation(codes, formats, relation).reshape(shape)
    if not _arguments.flag("compare", "flags", flags):
        return holds
    signals = "is_nan" if relation in ("<", "<=", ">=", ">") else "is_signaling"
    invalid = np.any([facts(signals, [x], (f,)) for x, f in zip(codes, formats, strict=True)], axis=0)
    return holds, (invalid * FLAGS["invalid"]).astype(np.uint8).reshape(shape)


def classify(a, fmt) -> np.ndarray:
    """Return the class of each code, one of the ten of IEEE 754, as text.

    Examples
    --------
    >>> classify([0x80, 0x01, 0x38, 0x7F], "e4m3fn").tolist()
    ['negative zero', 'positive subnormal', 'positive normal', 'quiet NaN']
    """
    found, shape, _ = tell("classify", (a,), fmt)
    return np.array(spec.CLASSES)[found.astype(np.intp)].reshape(shape)


IntegerOverflow = Literal["saturate", "wrap", "indefinite", "raise"]


def to_integer(
    a,
    fmt,
    *,
    bits: int = 32,
    signed: bool = True,
    rounding: RoundingMode = "ties_to_even",
    overflow: IntegerOverflow = "saturate",
    flags: bool = False,
    **random: Any,
) -> Any:
    """Return the integers that codes become.

    Parameters
    ----------
    a : array_like of codes
    fmt : the format of a
    bits : int
        Of the integers, 1 to 64.
    signed : bool
    rounding : str
        As for `quantize`, with random_bits, seed, stream and random.
    overflow : str
        What becomes of what is no such integer.  ``saturate``: the nearest end, and 0 of NaN.  ``wrap``: the
        integer modulo 2^bits, and 0 of infinities and NaN.  ``indefinite``: always the one that x86 gives, the
        least if signed, else the largest.  ``raise``: an error.
    flags : bool
        Return exception flags (`FLAGS`) as well: invalid of what is no such integer, else inexact.

    Returns
    -------
    ndarray of the smallest signed or unsigned dtype of `bits` bits; with flags, this and uint8

    Raises
    ------
    TypeError, ValueError
        For what is no code, unknown modes, and with ``raise`` for what is no such integer, which is named.

    Examples
    --------
    >>> to_integer([0x42, 0xFE, 0x7F], "e4m3fn", bits=8).tolist()  # 2.5, -448 and NaN
    [2, -128, 0]
    """
    caller = "to_integer"
    bits = _arguments.integer(caller, "bits", bits, _arguments.Interval(1, 64))
    signed, flags = _arguments.flag(caller, "signed", signed), _arguments.flag(caller, "flags", flags)
    _arguments.choice(caller, "overflow", overflow, ("saturate", "wrap", "indefinite", "raise"))
    formats, _ = operand_formats(caller, fmt, "a", "float16")
    codes, shape = _codes(caller, (a,), formats)
    rule = RoundingRule.of(caller, None, shape, rounding=rounding, **known(caller, random, OperationOptions))
    found, raised = integers_of(codes[0], formats[0], bits, signed, overflow, rule)
    if overflow == "raise" and (raised & FLAGS["invalid"]).any():
        first = int(np.argmax(raised & FLAGS["invalid"] != 0))
        where, allowed = (
            arrays.place("a", first, shape),
            f"{'a signed' if signed else 'an unsigned'} integer of {bits} bits",
        )
        raise ValueError(
            _arguments.message(caller, where, hex(int(codes[0][first])), f"a code that rounds to {allowed}")
        )
    found = narrowed(found, bits, signed).reshape(shape)
    return (found, raised.reshape(shape)) if flags else found


def narrowed(found: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Return integers modulo 2^64 (uint64) in the smallest dtype of some bits."""
    wide = np.min_scalar_type((1 << bits) - 1)
    return found.astype(wide).view(f"i{wide.itemsize}" if signed else wide)


def integers_of(
    codes: np.ndarray, fmt, bits: int, signed: bool, overflow: str, rule: RoundingRule, start: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return integers modulo 2^64 (uint64) and flags of codes (uint64 (n,)), of elements `start` and after."""
    overflow = "saturate" if overflow == "raise" else overflow
    if codes.size >= FEW and kernels(codes.size) is not DEFINITIONS:
        found, raised = np.empty(codes.size, np.uint64), np.empty(codes.size, np.uint8)
        kernel, layout = KERNELS.operations, KERNELS.arithmetic.layout(fmt)
        mode, words = rule.for_kernels(KERNELS), rule.words(codes.size, start)
        kernel.to_integer(codes, found, raised, layout, bits, signed, kernel.OVERFLOWS.index(overflow), mode, words)
        return found, raised
    columns, how = [codes.astype(np.uint64, copy=False)], (rule.mode, overflow)
    if rule.stochastic:
        columns.append(
            rule.words(codes.size, start)[: codes.size].astype(np.uint64) >> np.uint64(32 - rule.random_bits)
        )

    def case(code: int, random: int = 0) -> tuple[int, int]:
        value = spec.decode(code, fmt)
        number, fits = spec.to_integer(value, bits, signed, *how, random, rule.random_bits)
        inexact = fits and number != (-1 if value.negative else 1) * value.magnitude
        return number % 2**64, spec.INEXACT * inexact + spec.INVALID * (not fits)

    key = ("to_integer", fmt, bits, signed, how, rule.random_bits)
    return look_up(key, [fmt.bits, rule.random_bits][: len(columns)], columns, case)


def named(function: Callable[..., Any], module: str, name: str, text: str, example: str) -> Callable[..., Any]:
    """Give a function its name and its docstring."""
    function.__module__, function.__name__, function.__qualname__ = module, name, name
    function.__doc__ = f"{text}\n\n    Examples\n    --------\n    {example}\n    "
    return function


def by_operands(operands: tuple[str, ...], act: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of operands of these names, a format and options, which calls act(operands, fmt, options)."""

    def unary(a, fmt, **options):
        return act((a,), fmt, options)

    def scaled(a, n, fmt, **options):
        return act((a, n), fmt, options)

    def binary(a, b, fmt, **options):
        return act((a, b), fmt, options)

    def ternary(a, b, c, fmt, **options):
        return act((a, b, c), fmt, options)

    def between(a, low, high, fmt, **options):
        return act((a, low, high), fmt, options)

    every: list[Callable[..., Any]] = [unary, binary, ternary]
    special: dict[tuple[str, ...], Callable[..., Any]] = {("a", "n"): scaled, ("a", "low", "high"): between}
    return special.get(operands) or every[len(operands) - 1]


class NoOptions(TypedDict):
    """Of what rounds nothing."""


def _made(name: str) -> Callable[..., Any]:
    """Return the function of a line of the table."""
    line = TABLE[name]

    def act(operands, fmt, options):
        if line.kind == NUMBER:
            return calculate(name, operands, fmt, options, line.operands)
        known(name, options, NoOptions)
        found, shape, formats = tell(name, operands, fmt, line.operands)
        return found.astype(arrays.code_dtype(formats[0].bits) if line.kind == CODE else np.bool_).reshape(shape)

    first, _, more = line.on_codes.partition(", out_format")
    call = f'{name}({first}, "e4m3fn"{", out_format" + more if more else ""})'
    result = line.gives_code if line.kind == TRUTH else f"'{line.gives_code}'"
    example = f">>> {'bool' if line.kind == TRUTH else 'hex'}({call})\n    {result}"
    options = "parameters and errors are as for `add`" if line.kind == NUMBER else "there are no options"
    return named(by_operands(line.operands, act), __name__, name, f"{line.text}\n\n    Of codes; {options}.", example)


def add(a, b, fmt, **options: Unpack[CodesOptions]) -> Any:
    """Return the codes of a + b, rounded once.

    Parameters
    ----------
    a, b : array_like of integers, any shapes that broadcast
        Codes of the format.
    fmt : FloatFormat, PositFormat, its name or a dtype; or a tuple of these, one for each operand
    out_format : the same, optional
        The format of the result, by default that of the operands.
    rounding, overflow, nan, random_bits, seed, stream, random
        As for `refimpl.add`.
    flags : bool
        Return the exceptions of every element as well, the sum of bits of `FLAGS`, which are TestFloat's: inexact 1,
        underflow 2, overflow 4, divide by zero 8, invalid 16.
    tininess : str
        Whether underflow is found ``after`` rounding with unbounded exponent, or ``before``.

    Returns
    -------
    ndarray of codes, the smallest unsigned dtype that holds them; with flags, this and uint8

    Raises
    ------
    TypeError, ValueError
        For what is not a code of its format, which is named, and as for `refimpl.add`.

    Notes
    -----
    Flags: overflow and inexact also where the result is saturated; underflow only of inexact results; invalid of
    NaN that comes of no NaN, of signaling NaNs, and of 0 * inf + NaN.
    *Source*: IEEE 754-2019, clause 7; `refimpl.spec.operations.flags`.

    Examples
    --------
    >>> hex(add(0x38, 0x39, "e4m3fn"))  # 1 + 1.125
    '0x40'
    >>> add([0x7BFF, 0x3C00], [0x7BFF, 0x0001], "float16", flags=True)
    (array([31744, 15360], dtype=uint16), array([5, 1], dtype=uint8))
    """
    return calculate("add", (a, b), fmt, options)


sub = _made("sub")
mul = _made("mul")
div = _made("div")
sqrt = _made("sqrt")
fma = _made("fma")
faa = _made("faa")
recip = _made("recip")
remainder = _made("remainder")
scaleb = _made("scaleb")
logb = _made("logb")
round_to_integral = _made("round_to_integral")
convert = _made("convert")
abs = _made("abs")
negate = _made("negate")
copysign = _made("copysign")
clamp = _made("clamp")
minimum = _made("minimum")
maximum = _made("maximum")
minimum_number = _made("minimum_number")
maximum_number = _made("maximum_number")
minimum_magnitude = _made("minimum_magnitude")
maximum_magnitude = _made("maximum_magnitude")
minimum_magnitude_number = _made("minimum_magnitude_number")
maximum_magnitude_number = _made("maximum_magnitude_number")
minimum_finite = _made("minimum_finite")
maximum_finite = _made("maximum_finite")
exp = _made("exp")
exp2 = _made("exp2")
exp10 = _made("exp10")
expm1 = _made("expm1")
log = _made("log")
log2 = _made("log2")
log10 = _made("log10")
log1p = _made("log1p")
sin = _made("sin")
cos = _made("cos")
tan = _made("tan")
asin = _made("asin")
acos = _made("acos")
atan = _made("atan")
sinh = _made("sinh")
cosh = _made("cosh")
tanh = _made("tanh")
asinh = _made("asinh")
acosh = _made("acosh")
atanh = _made("atanh")
sinpi = _made("sinpi")
cospi = _made("cospi")
tanpi = _made("tanpi")
asinpi = _made("asinpi")
acospi = _made("acospi")
atanpi = _made("atanpi")
rsqrt = _made("rsqrt")
softplus = _made("softplus")
sigmoid = _made("sigmoid")
silu = _made("silu")
gelu = _made("gelu")
gelu_tanh = _made("gelu_tanh")
hypot = _made("hypot")
pow = _made("pow")
atan2 = _made("atan2")
atan2pi = _made("atan2pi")
next_up = _made("next_up")
next_down = _made("next_down")
total_order = _made("total_order")
is_nan = _made("is_nan")
is_infinite = _made("is_infinite")
is_finite = _made("is_finite")
is_zero = _made("is_zero")
is_one = _made("is_one")
is_normal = _made("is_normal")
is_subnormal = _made("is_subnormal")
is_sign_minus = _made("is_sign_minus")
is_signaling = _made("is_signaling")
