"""Explain one case in bits: the input, its two neighbours, which is right and why, what was got."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from refimpl.formats import FloatFormat, IntFormat, PositFormat
from refimpl.spec import float_codes, posits
from refimpl.testing.expected.behaviour import Behaviour, alike


def explain(behaviour: Behaviour, x: np.ndarray, got: float, *, right: float | None = None) -> str:
    """Return the explanation of one case as lines of text.

    Parameters
    ----------
    behaviour : Behaviour
    x : ndarray of one float
        The input, in its own dtype.
    got : float
        The value that the implementation gave.
    right : float, optional
        The value that was expected, where it does not follow from the format alone.

    Examples
    --------
    >>> print(explain(Behaviour("float8_e4m3fn"), np.array([1.0625], np.float32), 1.125))
    input  float32 0x3f880000 = 1.0625 = 17/16
    below  0x38  0 0111 000 = 1
    above  0x39  0 0111 001 = 1.125
    right  0x38  0 0111 000 = 1  because it is half way, and ties_to_even takes the even code
    got    0x39  0 0111 001 = 1.125
    """
    value, fmt = float(x[0]), behaviour.format
    lines = [f"input  {_input(x)}"]
    neighbours = _neighbours(value, fmt)
    if neighbours:
        names = ("is", "") if neighbours[0] == neighbours[1] else ("below", "above")
        lines += [f"{name:<6} {_coded(v, fmt)}" for name, v in zip(names, neighbours, strict=True) if name]
    if not behaviour.is_stochastic or right is not None:
        why = "" if behaviour.is_stochastic else f"  because {_reason(behaviour, value, neighbours)}"
        right = _value_by_definition(behaviour, value) if right is None else right
        lines.append(f"right  {_coded(right, fmt)}{why}")
    lines.append(f"got    {_coded(got, fmt)}")
    return "\n".join(lines)


def shortest(value: float) -> str:
    """Return a float in as few digits as tell it from all others."""
    text = f"{value:.6g}"
    return text if np.isnan(value) or float(text) == value else repr(float(value))


def _value_by_definition(behaviour, value: float) -> float:
    code = behaviour.code_by_definition(value)
    return value_of_code(code, behaviour.format)


def value_of_code(code: int, fmt) -> float:
    """Return the value of a code, from `refimpl.spec`."""
    if isinstance(fmt, IntFormat):
        return float(code)
    room = posits if isinstance(fmt, PositFormat) else float_codes
    return float_codes.to_float(room.decode(int(code), fmt))


def _input(x) -> str:
    bits, value = x.view(f"u{x.dtype.itemsize}")[0], float(x[0])
    text = f"{x.dtype} 0x{bits:0{2 * x.dtype.itemsize}x} = {shortest(value)}"
    if np.isfinite(value) and value:
        ratio = Fraction(value)
        exact = str(ratio) if len(str(ratio)) <= 40 else value.hex()
        text += f" = {exact}" if exact != shortest(value) else ""
    return text


def _code_of(value: float, fmt) -> int:
    """Return the code of a value of the format."""
    if isinstance(fmt, IntFormat):
        return int(value)
    encode = posits.encode if isinstance(fmt, PositFormat) else float_codes.encode
    return encode(float_codes.from_float(value), fmt)


def _coded(value: float, fmt) -> str:
    """Return code, bits and value; only the value where the format does not have it."""
    if isinstance(fmt, IntFormat):
        return shortest(value)
    code = _code_of(value, fmt)
    back = value_of_code(code, fmt)
    if not alike(back, value):
        return f"{shortest(value)}, which is not a value of {fmt}"
    return f"0x{code:0{-(-fmt.bits // 4)}x}  {_fields(code, fmt)} = {shortest(value)}"


def _fields(code: int, fmt) -> str:
    text = f"{code:0{fmt.bits}b}"
    if isinstance(fmt, PositFormat):
        return f"{text[0]} {text[1:]}"
    cut = [int(fmt.signed), int(fmt.signed) + fmt.exponent_bits]
    return " ".join(part for part in (text[: cut[0]], text[cut[0] : cut[1]], text[cut[1] :]) if part)


def _neighbours(value: float, fmt) -> tuple[float, float] | None:
    """Return the values either side of a finite value within the range, None outside it.

    Above the largest value that is the one which would come next if the format went on.
    """
    if not np.isfinite(value) or value == 0:
        return None
    if isinstance(fmt, IntFormat):
        inside = fmt.min <= value <= fmt.max
        return (float(np.floor(value)), float(np.ceil(value))) if inside else None
    exact = Fraction(value)
    if isinstance(fmt, FloatFormat):
        if value < 0 and not fmt.signed:
            return None
        down = float_codes.round_to_precision(abs(exact), value < 0, fmt, "toward_zero")
        if down > fmt.max_code:
            return None
        low = float_codes.magnitude(down, fmt)
        if low > abs(exact):  # e8m0 has nothing below its smallest
            return None
        high = low
        if low != abs(exact):
            up = float_codes.round_to_precision(abs(exact), False, fmt, "toward_positive")
            high = float_codes.magnitude(up, fmt)  # beyond the largest, what would come next
    else:
        near = posits.round_to_code(abs(exact), fmt)
        found = posits.magnitude(near, fmt.bits, fmt.exponent_bits)
        other = near + (1 if found < abs(exact) else -1 if found > abs(exact) else 0)
        if not 0 < other < fmt.nar_code:
            return None
        low, high = sorted((found, posits.magnitude(other, fmt.bits, fmt.exponent_bits)))
    pair = float(low), float(high)
    return pair if value > 0 else (-pair[1], -pair[0])


def _reason_at_the_top(behaviour: Behaviour, fmt: FloatFormat, size: Fraction, beyond: Fraction) -> str:
    """Explain a value between the largest and the one that would come next."""
    following, largest = f"{shortest(float(beyond))}, which would come next", Fraction(fmt.max)
    rule = f"the rule overflow={behaviour.overflow!r} holds"
    middle = (largest + beyond) / 2
    if behaviour.rounding not in ("ties_to_even", "ties_to_away"):
        return f"between the largest value and {following}, {behaviour.rounding} decides, and {rule}"
    if size < middle:
        return f"it is nearer to the largest value than to {following}"
    if size > middle:
        return f"it is nearer to {following}, beyond the largest value, and {rule}"
    stays = behaviour.rounding == "ties_to_even" and fmt.max_code % 2 == 0
    toward = "the even code, that of the largest value" if stays else f"that, beyond the largest value, and {rule}"
    return f"it is half way to {following}, and {behaviour.rounding} takes {toward}"


def _reason(behaviour: Behaviour, value: float, neighbours) -> str:
    fmt, mode = behaviour.format, behaviour.rounding
    if np.isnan(value):
        if isinstance(fmt, FloatFormat) and fmt.nan_code is None:
            return f"{fmt} has no NaN, and the rule nan={behaviour.nan!r} holds"
        return "NaN stays NaN" if not isinstance(fmt, IntFormat) else "integers have no NaN"
    if isinstance(fmt, FloatFormat) and not fmt.has_zero and 0 <= value < fmt.smallest_subnormal:
        if value:
            return f"{fmt} has nothing below its smallest value"
        return f"{fmt} has no zero, and the rule overflow={behaviour.overflow!r} holds"
    if value == 0:
        return "zero stays zero" + (" of its sign" if getattr(fmt, "has_minus_zero", False) else "")
    if value < 0 and not getattr(fmt, "signed", True):
        return f"{fmt} has no negative values, and the rule overflow={behaviour.overflow!r} holds"
    if isinstance(fmt, PositFormat) and neighbours is None:
        return "posits neither overflow nor underflow"
    if np.isinf(value):
        return f"of the rule overflow={behaviour.overflow!r} for infinities"
    if isinstance(fmt, IntFormat) and neighbours is None:
        return "it lies beyond the range, and integers saturate"
    if neighbours is None:
        return (
            f"it lies beyond the largest value or rounds there in the mode {mode}, under the rule "
            f"overflow={behaviour.overflow!r}"
        )
    low, high = map(Fraction, neighbours)
    if low == high:
        return "it is a value of the format, and those stay in every mode"
    exact = Fraction(value)
    if isinstance(fmt, FloatFormat) and max(-low, high) > fmt.max:
        return _reason_at_the_top(behaviour, fmt, abs(exact), max(-low, high))
    if mode in ("toward_zero", "toward_positive", "toward_negative"):
        return f"that is the neighbour {mode.replace('_', ' ')}"
    if mode == "to_odd":
        return "it is inexact, and to_odd takes the odd code"
    if isinstance(fmt, PositFormat):
        return "that is the nearest code (posits round on their codes)"
    if exact * 2 == low + high:
        toward = "the even code" if mode == "ties_to_even" else "the one away from zero"
        if not getattr(fmt, "has_zero", True):
            return "it is half way, and ties between powers of two go up: all significands are 1"
        return f"it is half way, and {mode} takes {toward}"
    return "that is the nearer neighbour"
