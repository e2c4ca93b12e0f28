"""What a number format *is*: plain frozen records, their named catalogue, and the names of modes.

Standard library only.  How values are decoded, rounded and encoded stands in `refimpl.spec`.

===========  ====================================================================
`floats`     `FloatFormat`: sign, exponent, mantissa, and a family of special codes
`posits`     `PositFormat`
`integers`   `IntFormat`, for scaled quantization
`blocks`     `BlockFormat`: small codes that share a scale
`codebooks`  `CodeBook`: codes that are places in a list of values
`names`      the catalogue: `format` (name to format) and `names`
`sheet`      what all formats share, and a format on one sheet
`modes`      the names of rounding modes, overflow and NaN rules
`units`      `MatrixUnit`, how accelerators add products, and units by name
===========  ====================================================================
"""

from refimpl.formats.blocks import BlockFormat
from refimpl.formats.codebooks import CodeBook
from refimpl.formats.floats import FloatFormat
from refimpl.formats.integers import IntFormat
from refimpl.formats.modes import (
    NAN_RULES,
    OTHER_NAMES,
    OVERFLOWS,
    QUOTIENTS,
    ROUNDINGS,
    SCALE_RULES,
    NanRule,
    Overflow,
    Quotient,
    RoundingMode,
    ScaleRule,
    Specials,
)
from refimpl.formats.names import format, names, p3109_names
from refimpl.formats.posits import PositFormat
from refimpl.formats.units import MatrixUnit

__all__ = [
    "NAN_RULES",
    "OTHER_NAMES",
    "OVERFLOWS",
    "QUOTIENTS",
    "ROUNDINGS",
    "SCALE_RULES",
    "BlockFormat",
    "CodeBook",
    "FloatFormat",
    "IntFormat",
    "MatrixUnit",
    "NanRule",
    "Overflow",
    "PositFormat",
    "Quotient",
    "RoundingMode",
    "ScaleRule",
    "Specials",
    "format",
    "names",
    "p3109_names",
]
