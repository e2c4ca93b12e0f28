"""Operations on values that are not arithmetic: extrema, signs, neighbours, classes, integers.

`TABLE` of `refimpl.ops.operations` lists those that are called alike; functions on values are made of it here, and
functions on codes in `refimpl.ops.codes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refimpl import _arguments
from refimpl.formats import RoundingMode
from refimpl.ops import arithmetic, arrays
from refimpl.ops.arithmetic import told
from refimpl.ops.codes import IntegerOverflow, NoOptions, by_operands, integers_of, named, narrowed
from refimpl.ops.operations import CODE, FLAGS, NUMBER, TABLE, OperationOptions, facts, operand_formats
from refimpl.ops.rounding import RoundingRule, known
from refimpl.spec.operations import CLASSES


def _made(name: str) -> Callable[..., Any]:
    """Return the function on values of a line of the table."""
    line = TABLE[name]

    def act(operands, fmt, options):
        if line.kind == NUMBER:
            return arithmetic.calculate(name, operands, fmt, options, line.operands)
        known(name, options, NoOptions)

        def tell(codes, formats):
            return facts(name, codes, formats)

        if line.kind != CODE:
            return told(name, operands, fmt, tell, np.bool_, line.operands)
        of = operand_formats(name, fmt, line.operands)[1]
        dtype = arithmetic.holding(arrays.float_dtype(arrays.real(name, "a", operands[0])), of)
        codes = told(name, operands, fmt, tell, np.uint64, line.operands)
        return arithmetic.values_of(codes.reshape(-1), of, dtype).reshape(codes.shape)

    first, _, more = line.on_values.partition(", out_format")
    example = f'>>> {name}({first}, "e4m3fn"{", out_format" + more if more else ""}).tolist()\n    {line.gives}'
    options = "all else is as for `add`" if line.kind == NUMBER else "operands are as for `add`; there are no options"
    return named(by_operands(line.operands, act), __name__, name, f"{line.text}\n\n    Of values; {options}.", example)


def classify(a, fmt) -> np.ndarray:
    """Return the class of each value, one of the ten of IEEE 754, as text; the operand is as for `add`.

    Examples
    --------
    >>> classify([-0.0, 2.0**-9, 1.0, np.nan], "e4m3fn").tolist()
    ['negative zero', 'positive subnormal', 'positive normal', 'quiet NaN']
    """
    found = told("classify", (a,), fmt, lambda codes, formats: facts("classify", codes, formats), np.intp)
    return np.array(CLASSES)[found]


def to_integer(
    a,
    fmt,
    *,
    bits: int = 32,
    signed: bool = True,
    rounding: RoundingMode = "ties_to_even",
    overflow: IntegerOverflow = "saturate",
    **random: Any,
) -> np.ndarray:
    """Return the integers that values of a format become; see `refimpl.codes.to_integer`.

    Parameters
    ----------
    a : array_like
        As for `add`.
    fmt : FloatFormat, PositFormat, its name or a dtype
    bits, signed
        Of the integers: 1 to 64 bits.
    rounding, random_bits, seed, stream, random
        As for `quantize`.
    overflow : str
        What becomes of what is no such integer: ``saturate wrap indefinite raise``.

    Returns
    -------
    ndarray of the smallest signed or unsigned dtype of `bits` bits

    Raises
    ------
    TypeError, ValueError
        As for `add`, and with ``raise`` for what is no such integer.

    Examples
    --------
    >>> to_integer([2.5, -448.0, np.nan], "e4m3fn", bits=8).tolist()
    [2, -128, 0]
    >>> to_integer([2.5, -2.5], "e4m3fn", bits=4, rounding="toward_positive").tolist()
    [3, -2]
    """
    caller = "to_integer"
    a = arrays.real(caller, "a", a)
    bits = _arguments.integer(caller, "bits", bits, _arguments.Interval(1, 64))
    signed = _arguments.flag(caller, "signed", signed)
    _arguments.choice(caller, "overflow", overflow, ("saturate", "wrap", "indefinite", "raise"))
    rule = RoundingRule.of(caller, None, a.shape, rounding=rounding, **known(caller, random, OperationOptions))
    raised: list[np.ndarray] = []

    def tell(codes, formats):
        found, flags = integers_of(codes[0], formats[0], bits, signed, overflow, rule, sum(map(len, raised)))
        raised.append(flags)
        return found

    found = told(caller, (a,), fmt, tell, np.uint64)
    if overflow == "raise":
        invalid = np.concatenate([*raised, np.empty(0, np.uint8)]) & FLAGS["invalid"] != 0
        allowed = f"what rounds to {'a signed' if signed else 'an unsigned'} integer of {bits} bits"
        _arguments.every(caller, "a", a, ~invalid.reshape(a.shape), allowed)
    return narrowed(found.reshape(-1), bits, signed).reshape(a.shape)


faa = _made("faa")
recip = _made("recip")
remainder = _made("remainder")
scaleb = _made("scaleb")
logb = _made("logb")
round_to_integral = _made("round_to_integral")
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
