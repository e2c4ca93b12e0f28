"""Explain one case of an operation: operands, exact result, its neighbours, which is right and why, what was got."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from refimpl.formats import FloatFormat, PositFormat
from refimpl.spec import float_codes, posits
from refimpl.spec.float_codes import Value
from refimpl.spec.operations import CLASSES
from refimpl.testing.expected.explain import shortest
from refimpl.testing.operations.operation import CLASS, NUMBER, RELATIONS, Number, Operation, Whole

NAMES = {1: ("a",), 2: ("a", "b"), 3: ("a", "b", "c")}
OF_OPERANDS = {"clamp": ("a", "low", "high"), "scaleb": ("a", "n")}
DIGITS = 17  # of an exact result that is no short fraction
SYMBOLS = {"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "fma": "{0} * {1} + {2}"}


def explain_operation(
    operation: Operation, codes: Sequence[int], got: int | None, value: float | None = None, random: int = 0
) -> str:
    """Return the explanation of one case as lines of text.

    Parameters
    ----------
    operation : Operation
    codes : sequence of int
        Of the operands.
    got : int or None
        The code (truth, integer modulo 2^bits) that came back; None where a value came that has none.
    value : float, optional
        The value that came back, where it has no code.
    random : int
        The random integer of stochastic rounding.

    Examples
    --------
    >>> print(explain_operation(Operation("add", "float8_e4m3fn"), (0x38, 0x18), 0x39))
    a      0x38  0 0111 000 = 1
    b      0x18  0 0011 000 = 0.0625 = 1/16
    exact  1 + 0.0625 = 1.0625 = 17/16
    below  0x38  0 0111 000 = 1
    above  0x39  0 0111 001 = 1.125
    right  0x38  0 0111 000 = 1  because it is half way, and ties_to_even takes the even code
    got    0x39  0 0111 001 = 1.125
    """
    names = OF_OPERANDS.get(operation.name) or NAMES[operation.operands]
    lines = [
        f"{name:<6} {_coded(code, fmt, fraction=True)}"
        for name, code, fmt in zip(names, codes, operation.formats, strict=True)
    ]
    exact, right = operation.by_definition(codes, random)
    if operation.kind != NUMBER:
        lines.append(f"right  {_told(operation, right)}{_of_relation(operation, exact)}")
        lines.append(f"got    {_told(operation, got) if got is not None else shortest(value or 0.0)}")
        return "\n".join(lines)
    assert isinstance(exact, Value)
    into = operation.into
    said = _exact(operation, codes, exact)
    if operation.is_rounded:
        lines.append(f"exact  {said}")
    around = neighbours(exact, into)
    if around and operation.is_rounded and around[0] != around[1]:
        lines += [f"{name}  {text}" for name, (_, text) in zip(("below", "above"), around, strict=True)]
    lines.append(f"right  {_coded(right, into)}  because {_reason(operation, codes, exact, around)}")
    none = f"{shortest(value)}, which is not a value of {into}" if value is not None else "nothing"
    lines.append(f"got    {none if got is None else _coded(got, into)}")
    return "\n".join(lines)


def _told(operation: Operation, result: int) -> str:
    if operation.integer:
        signed, bits = operation.integer
        number = result - (1 << bits) if signed and result >> (bits - 1) else result
        return f"0x{result:0{-(-bits // 4)}x} = {number}"
    if operation.kind == CLASS:
        return f"{result:x} = {CLASSES[result] if result < len(CLASSES) else 'no class'}"
    return str(bool(result)).lower()


def _of_relation(operation: Operation, exact) -> str:
    if isinstance(exact, Value):
        return f"  of {_number(exact)}, {operation.rounding}, {operation.how['overflow']}"
    if operation.name in RELATIONS:
        word = "unordered" if exact == "unordered" else f"a {exact} b"
        return f"  because they are {word}" if exact == "unordered" else f"  because {word}"
    return ""


def _value(code: int, fmt: Number) -> Value:
    if isinstance(fmt, Whole):
        return Value("finite", fmt.integer(code) < 0, Fraction(abs(fmt.integer(code))))
    return posits.decode(code, fmt) if isinstance(fmt, PositFormat) else float_codes.decode(code, fmt)


def _coded(code: int, fmt: Number, fraction: bool = False) -> str:
    """Return a code, padded, its fields and its value."""
    if isinstance(fmt, Whole):
        return f"0x{code:0{-(-fmt.bits // 4)}x}  {fmt} = {fmt.integer(code)}"
    text = f"{code:0{fmt.bits}b}"
    if isinstance(fmt, PositFormat):
        fields = f"{text[0]} {text[1:]}"
    else:
        cut = [int(fmt.signed), int(fmt.signed) + fmt.exponent_bits]
        fields = " ".join(part for part in (text[: cut[0]], text[cut[0] : cut[1]], text[cut[1] :]) if part)
    value = _value(code, fmt)
    said = _number(value, fraction) if fraction else shortest(float_codes.to_float(value))
    return f"0x{code:0{-(-fmt.bits // 4)}x}  {fields} = {said}"


def _number(value: Value, fraction: bool = True) -> str:
    """Return a value in few digits, and as a fraction where that says more."""
    if value.kind != "finite":
        return "nan" if value.kind == "nan" else "-inf" if value.negative else "inf"
    exact = -value.magnitude if value.negative else value.magnitude
    about = float_codes.to_float(value)
    text = shortest(about)
    if value.magnitude.denominator & (value.magnitude.denominator - 1) or Fraction(about) != exact:
        ratio = str(exact)
        return f"{ratio} = {_decimal(exact)}..." if len(ratio) <= 40 else f"{_decimal(exact)}..."
    ratio = str(exact)
    return f"{text} = {ratio}" if fraction and ratio != text and len(ratio) <= 40 else text


def _decimal(exact: Fraction) -> str:
    """Return the first digits of an exact number, cut off."""
    if exact == 0:
        return "0"
    magnitude, sign = abs(exact), "-" if exact < 0 else ""
    power = len(str(magnitude.numerator)) - len(str(magnitude.denominator))
    power -= magnitude < Fraction(10) ** power
    digits = str(int(magnitude / Fraction(10) ** (power - DIGITS + 1)))
    if -5 <= power < DIGITS:
        places = DIGITS - 1 - power
        whole = digits.rjust(places + 1, "0")
        return f"{sign}{whole[: len(whole) - places]}.{whole[len(whole) - places :]}".rstrip(".")
    return f"{sign}{digits[0]}.{digits[1:]}e{power}"


def _exact(operation: Operation, codes, exact: Value) -> str:
    values = [_value(c, fmt) for c, fmt in zip(codes, operation.formats, strict=True)]
    terms = [shortest(float_codes.to_float(v)) for v in values]
    asked = (
        SYMBOLS.get(operation.name, operation.name + "({})").format(*terms)
        if operation.name in SYMBOLS
        else (f"{operation.name}({', '.join(terms)})")
    )
    return f"{asked} = {_number(exact)}"


def neighbours(exact: Value, fmt: Number) -> tuple[tuple[Fraction, str], tuple[Fraction, str]] | None:
    """Return the values either side of an exact result, with their codes as text; None for zero, infinity, NaN.

    Above the largest value stands the one that a wider exponent would give.
    """
    if exact.kind != "finite" or exact.magnitude == 0:
        return None
    x, negative = exact.magnitude, exact.negative
    if isinstance(fmt, PositFormat):
        near = posits.round_to_code(x, fmt)
        found = posits.magnitude(near, fmt.bits, fmt.exponent_bits)
        other = near + (1 if found < x else -1 if found > x else 0)
        if not 0 < other < fmt.nar_code:
            return None
        pairs = sorted((posits.magnitude(c, fmt.bits, fmt.exponent_bits), c) for c in (near, other))
        sign = lambda code: (1 << fmt.bits) - code if negative else code  # noqa: E731
        both = [(m, _coded(sign(code), fmt)) for m, code in pairs]
    else:
        if negative and not fmt.signed:
            return None
        codes = [float_codes.round_to_precision(x, False, fmt, mode) for mode in ("toward_zero", "toward_positive")]
        both = [(float_codes.magnitude(code, fmt), _within(code, negative, fmt)) for code in codes]
        if codes[0] > fmt.max_code:
            return None
    if negative:
        both = [(-m, text) for m, text in reversed(both)]
    return both[0], both[1]


def _within(magnitude_code: int, negative: bool, fmt: FloatFormat) -> str:
    if magnitude_code > fmt.max_code:
        value = float_codes.magnitude(magnitude_code, fmt)
        return f"{shortest(float(-value if negative else value))}, beyond the largest value"
    return _coded(magnitude_code | (fmt.sign_mask if negative else 0), fmt)


def _reason(operation: Operation, codes, exact: Value, around) -> str:
    fmt, mode = operation.into, operation.rounding
    values = [_value(c, f) for c, f in zip(codes, operation.formats, strict=True)]
    if not operation.is_rounded:
        return "that is the next value" if exact.kind != "nan" else "NaN stays NaN"
    if exact.kind == "nan":
        if isinstance(fmt, FloatFormat) and fmt.nan_code is None:
            return f"{fmt} has no NaN, and the rule nan={operation.nan!r} holds"
        if any(v.kind == "nan" for v in values):
            return "an operand is NaN"
        return f"{operation.name} of these operands is invalid, and gives NaN"
    if exact.kind == "infinite":
        if any(v.kind == "infinite" for v in values):
            return f"an operand is infinite (overflow={operation.overflow!r})"
        return f"it is infinite, exactly (overflow={operation.overflow!r})"
    if exact.magnitude == 0:
        if operation.name in ("add", "sub", "fma", "faa") and any(v.magnitude for v in values):
            return f"an exact zero of operands that are none is {'-0' if exact.negative else '+0'} in the mode {mode}"
        return f"it is exactly zero, {'-0' if exact.negative else '+0'}"
    if exact.negative and not getattr(fmt, "signed", True):
        return f"{fmt} has no negative values, and the rule overflow={operation.overflow!r} holds"
    if isinstance(fmt, PositFormat):
        return "posits neither overflow nor underflow" if around is None else "that is the nearest code"
    if around is None:
        return f"it lies beyond the largest value (overflow={operation.overflow!r})"
    low, high = around[0][0], around[1][0]
    x = -exact.magnitude if exact.negative else exact.magnitude
    if low == high:
        return "it is a value of the format, and those stay in every mode"
    beyond = max(abs(low), abs(high)) > float_codes.magnitude(fmt.max_code, fmt)
    more = f" (overflow={operation.overflow!r})" if beyond else ""
    if mode in ("toward_zero", "toward_positive", "toward_negative"):
        return f"that is the neighbour {mode.replace('_', ' ')}{more}"
    if mode == "to_odd":
        return f"it is inexact, and to_odd takes the odd code{more}"
    if mode.startswith("stochastic"):
        return f"{mode} decides so by its random bits{more}"
    if x * 2 == low + high:
        toward = "the even code" if mode == "ties_to_even" else "the one away from zero"
        return f"it is half way, and {mode} takes {toward}{more}"
    share = abs(x - low) / (high - low)
    return f"that is the nearer neighbour: {_part(share)} of the way up{more}"


def _part(share: Fraction) -> str:
    text = str(share)
    return text if len(text) <= 12 else f"{float(share):.6f}".rstrip("0")
