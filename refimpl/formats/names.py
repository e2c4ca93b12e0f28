"""The catalogue of named formats, and names for all the others: `format` reads what `.name` writes."""

from __future__ import annotations

import difflib
import re
from functools import cache

from refimpl.formats.blocks import BlockFormat
from refimpl.formats.codebooks import NF4, CodeBook, dynamic_values
from refimpl.formats.floats import FloatFormat, default_bias
from refimpl.formats.integers import IntFormat
from refimpl.formats.posits import PositFormat

Format = FloatFormat | IntFormat | PositFormat | BlockFormat | CodeBook

_FLOATS: dict[str, FloatFormat] = {
    "float16": FloatFormat(exponent_bits=5, mantissa_bits=10),
    "bfloat16": FloatFormat(exponent_bits=8, mantissa_bits=7),
    "tf32": FloatFormat(exponent_bits=8, mantissa_bits=10),
    "float32": FloatFormat(exponent_bits=8, mantissa_bits=23),
    "float64": FloatFormat(exponent_bits=11, mantissa_bits=52),
    "float8_e3m4": FloatFormat(exponent_bits=3, mantissa_bits=4),
    "float8_e4m3": FloatFormat(exponent_bits=4, mantissa_bits=3),
    "float8_e5m2": FloatFormat(exponent_bits=5, mantissa_bits=2),
    "float8_e4m3fn": FloatFormat(exponent_bits=4, mantissa_bits=3, specials="fn"),
    "float8_e4m3fnuz": FloatFormat(exponent_bits=4, mantissa_bits=3, specials="fnuz"),
    "float8_e4m3b11fnuz": FloatFormat(exponent_bits=4, mantissa_bits=3, bias=11, specials="fnuz"),
    "float8_e5m2fnuz": FloatFormat(exponent_bits=5, mantissa_bits=2, specials="fnuz"),
    "float8_e8m0fnu": FloatFormat(exponent_bits=8, mantissa_bits=0, signed=False, specials="e8m0"),
    "float6_e2m3fn": FloatFormat(exponent_bits=2, mantissa_bits=3, specials="none"),
    "float6_e3m2fn": FloatFormat(exponent_bits=3, mantissa_bits=2, specials="none"),
    "float4_e2m1fn": FloatFormat(exponent_bits=2, mantissa_bits=1, specials="none"),
}
_INTEGERS: dict[str, IntFormat] = {
    record.name: record
    for record in [
        *(IntFormat(bits=bits) for bits in (2, 4, 8, 16)),
        *(IntFormat(bits=bits, symmetric=False) for bits in (1, 2, 4, 8, 16)),
        *(IntFormat(bits=bits, signed=False) for bits in (1, 2, 4, 8, 16)),
    ]
}
_POSITS: dict[str, PositFormat] = {record.name: record for record in [PositFormat(bits, 2) for bits in (8, 16, 32)]}


def _mx(element) -> BlockFormat:
    return BlockFormat(element=element, scale=_FLOATS["float8_e8m0fnu"], block_size=32)


_BLOCKS: dict[str, BlockFormat] = {
    "mxfp8_e4m3": _mx(_FLOATS["float8_e4m3fn"]),
    "mxfp8_e5m2": _mx(_FLOATS["float8_e5m2"]),
    "mxfp6_e2m3": _mx(_FLOATS["float6_e2m3fn"]),
    "mxfp6_e3m2": _mx(_FLOATS["float6_e3m2fn"]),
    "mxfp4_e2m1": _mx(_FLOATS["float4_e2m1fn"]),
    "mxint8": _mx(_INTEGERS["int8"]),
    "nvfp4": BlockFormat(
        element=_FLOATS["float4_e2m1fn"], scale=_FLOATS["float8_e4m3fn"], block_size=16, tensor_scale=True
    ),
}
_BOOKS = {  # made when they are first asked for
    "nf4": lambda: NF4,
    "dynamic8": dynamic_values,
    "dynamic8_unsigned": lambda: dynamic_values(signed=False),
}
_CATALOGUE: dict[str, Format] = {**_FLOATS, **_INTEGERS, **_POSITS, **_BLOCKS}
_NAMES: dict[Format, str] = {record: name for name, record in _CATALOGUE.items()}

# The part of a standard name behind "floatN_", where it does not also read as a systematic name.
_ALIASES = {
    "binary16": "float16",
    "binary32": "float32",
    "binary64": "float64",
    "half": "float16",
    "e4m3fn": "float8_e4m3fn",
    "e4m3fnuz": "float8_e4m3fnuz",
    "e5m2fnuz": "float8_e5m2fnuz",
    "e4m3b11fnuz": "float8_e4m3b11fnuz",
    "e8m0fnu": "float8_e8m0fnu",
    "e2m3fn": "float6_e2m3fn",
    "e3m2fn": "float6_e3m2fn",
    "e2m1fn": "float4_e2m1fn",
    "mxfp4": "mxfp4_e2m1",
}

_SUFFIX = {
    "none": "",
    "ieee": "ieee",
    "fn": "fn",
    "fnuz": "fnuz",
    "p3109_extended": "p3109e",
    "p3109_finite": "p3109f",
    "e8m0": "scale",
}
_SYSTEMATIC = re.compile(
    r"e(?P<e>\d+)m(?P<m>\d+)(b(?P<bias>-?\d+))?(?P<suffix>ieee|fnuz|fn|p3109e|p3109f|scale)?"
    r"(?P<unsigned>_unsigned)?(?P<flush>_flush)?"
)
_P3109 = re.compile(r"binary(?P<k>\d+)p(?P<p>\d+)(?P<sign>[su])(?P<domain>[ef])")
_INTEGER = re.compile(r"(?P<u>u?)int(?P<bits>\d+)(?P<full>_full)?")
_POSIT = re.compile(r"posit(?P<bits>\d+)_(?P<es>\d+)")


def float_name(fmt: FloatFormat) -> str:
    """Return the catalogue's name of a float format, or one `format` reads back."""
    if fmt in _NAMES:
        return _NAMES[fmt]
    usual = fmt.bias == default_bias(fmt.exponent_bits, fmt.signed, fmt.specials)
    if fmt.specials.startswith("p3109") and usual and fmt.has_subnormals and fmt.exponent_bits:
        return (
            f"binary{fmt.bits}p{fmt.mantissa_bits + 1}{'s' if fmt.signed else 'u'}"
            f"{'e' if fmt.specials == 'p3109_extended' else 'f'}"
        )
    return (
        f"e{fmt.exponent_bits}m{fmt.mantissa_bits}"
        + ("" if usual else f"b{fmt.bias}")
        + _SUFFIX[fmt.specials]
        + ("" if fmt.signed else "_unsigned")
        + ("" if fmt.has_subnormals or fmt.specials == "e8m0" else "_flush")
    )


def block_name(fmt: BlockFormat) -> str:
    """Return the catalogue's name of a block format, or a description."""
    return _NAMES.get(fmt) or (
        f"blocks of {fmt.block_size} {fmt.element.name} scaled by {fmt.scale.name}"
        + (" and float32" if fmt.tensor_scale else "")
    )


def names() -> tuple[str, ...]:
    """Return the names of the catalogue; `p3109_names` has those of IEEE P3109.

    Examples
    --------
    >>> "bfloat16" in names(), "mxfp4_e2m1" in names()
    (True, True)
    """
    return (*_CATALOGUE, *_BOOKS)


def p3109_names(k: int) -> tuple[str, ...]:
    """Return the names of all P3109 formats of k bits, 3 <= k <= 16.

    Examples
    --------
    >>> p3109_names(3)[:4], len(p3109_names(8))
    (('binary3p1se', 'binary3p1sf', 'binary3p1ue', 'binary3p1uf'), 30)
    """
    if not isinstance(k, int) or not 3 <= k <= 16:
        raise ValueError(f"p3109_names: k must be a whole number from 3 to 16, got {k!r}")
    return tuple(
        f"binary{k}p{p}{sign}{domain}"
        for p in range(1, k + 1)
        for sign in "su"
        for domain in "ef"
        if p < k or sign == "u"
    )


def format(name: str | Format) -> Format:
    """Return the format of a name; a format is returned as it is.

    Parameters
    ----------
    name : str
        A name of the catalogue (``float8_e4m3fn``, or short ``e4m3fn``), ``int8``, ``uint4``,
        ``posit8_2``, ``binary8p3se`` (IEEE P3109: K bits, precision P, signed or unsigned,
        extended or finite), ``mxfp4_e2m1``, ``nf4``, or a systematic one, ``e4m3``: E exponent and M
        mantissa bits and *every code finite* (the formats of the PEPPP paper), to which may be
        added ``b`` and a bias, a family (``ieee fn fnuz p3109e p3109f``), ``_unsigned``, and
        ``_flush`` for no subnormals.

    Raises
    ------
    ValueError
        If no format has this name; near names are suggested.

    Examples
    --------
    >>> format("e4m3").max, format("e4m3fn").max, format("float8_e4m3").max
    (480.0, 448.0, 240.0)
    >>> format("e5m2").name, format("int8").max, format("binary8p3se").max
    ('e5m2', 127, 49152.0)
    """
    if isinstance(name, Format):
        return name
    if not isinstance(name, str):
        raise TypeError(f"format: expected a format or its name, got {type(name).__name__}")
    key = _ALIASES.get(name, name)
    if key in _CATALOGUE:
        return _CATALOGUE[key]
    if key in _BOOKS:
        return _book(key)
    if found := _SYSTEMATIC.fullmatch(key):
        return FloatFormat(
            exponent_bits=int(found["e"]),
            mantissa_bits=int(found["m"]),
            bias=None if found["bias"] is None else int(found["bias"]),
            specials=next(k for k, v in _SUFFIX.items() if v == (found["suffix"] or "")),
            signed=not (found["unsigned"] or found["suffix"] == "scale"),
            has_subnormals=not found["flush"],
        )
    if found := _P3109.fullmatch(key):
        return _p3109(int(found["k"]), int(found["p"]), found["sign"] == "s", found["domain"] == "e")
    if found := _INTEGER.fullmatch(key):
        return IntFormat(
            bits=int(found["bits"]), signed=not found["u"], symmetric=False if found["full"] or found["u"] else None
        )
    if found := _POSIT.fullmatch(key):
        return PositFormat(int(found["bits"]), int(found["es"]))
    known = [*names(), *_ALIASES, "e4m3", "e8m7", "binary8p3se", "binary8p4se", "posit8_0"]
    near = ", ".join(difflib.get_close_matches(name, known, n=3))
    hint = f"did you mean {near}?" if near else "`refimpl format --list` prints the named ones"
    raise ValueError(f"format: unknown format {name!r}; {hint} (any eEmM such as e5m2 is a format too)")


@cache
def _book(name: str) -> CodeBook:
    return CodeBook(name, _BOOKS[name]())


def _p3109(k: int, p: int, signed: bool, extended: bool) -> FloatFormat:
    if not (3 <= k <= 16 and 1 <= p <= k - signed):
        raise ValueError(
            f"format: a P3109 format has 3 to 16 bits and a precision of 1 to "
            f"{'bits - 1' if signed else 'bits'}; got {k} bits, precision {p}"
        )
    return FloatFormat(
        exponent_bits=k - p + (not signed),
        mantissa_bits=p - 1,
        signed=signed,
        specials="p3109_extended" if extended else "p3109_finite",
    )
