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
Quotient = Literal["exact", "float32", "reciprocal", "fbgemm"]
ScaleRule = Literal["floor", "ceil", "ceil_log2", "even", "nearest"]

ROUNDINGS: tuple[RoundingMode, ...] = get_args(RoundingMode)
OVERFLOWS: tuple[Overflow, ...] = get_args(Overflow)
NAN_RULES: tuple[NanRule, ...] = get_args(NanRule)
QUOTIENTS: tuple[Quotient, ...] = get_args(Quotient)
SCALE_RULES: tuple[ScaleRule, ...] = get_args(ScaleRule)
FAMILIES: tuple[Specials, ...] = get_args(Specials)

OTHER_NAMES: dict[str, RoundingMode] = {
    **dict.fromkeys(("nearest", "nearest_even", "round", "rne", "rn", "even", "half_even"), "ties_to_even"),
    **dict.fromkeys(("nearest_away", "rna", "away", "half_away", "half_up"), "ties_to_away"),
    **dict.fromkeys(("zero", "rz", "rtz", "truncate", "trunc", "down_to_zero"), "toward_zero"),
    **dict.fromkeys(("up", "ru", "ceil", "ceiling", "rup"), "toward_positive"),
    **dict.fromkeys(("down", "rd", "floor", "rdn"), "toward_negative"),
    **dict.fromkeys(("odd", "ro", "rto"), "to_odd"),
    **dict.fromkeys(("sr", "random", "stochastic_rounding"), "stochastic"),
}
"""What other libraries and papers call rounding modes: proposed where such a name is given."""
