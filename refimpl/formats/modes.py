"""The names of rounding modes, overflow and NaN rules, scale rules, and families of special codes."""

from typing import Literal, get_args

Specials = Literal["ieee", "fn", "fnuz", "none", "p3109_extended", "p3109_finite", "e8m0"]
RoundingMode = Literal[
    "ties_to_even",
    "ties_to_away",
    "toward_zero",
    "toward_positive",
    "toward_negative",
    "to_odd",
    "stochastic",
    "stochastic_a",
    "stochastic_b",
    "stochastic_c",
]
Overflow = Literal["overflow", "saturate", "propagate"]
NanRule = Literal["zero", "max", "raise"]
ScaleRule = Literal["floor", "ceil", "even", "nearest"]

ROUNDINGS: tuple[str, ...] = get_args(RoundingMode)
OVERFLOWS: tuple[str, ...] = get_args(Overflow)
NAN_RULES: tuple[str, ...] = get_args(NanRule)
SCALE_RULES: tuple[str, ...] = get_args(ScaleRule)
FAMILIES: tuple[str, ...] = get_args(Specials)


def whole(value) -> bool:
    """Tell whether a value is an int and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)
