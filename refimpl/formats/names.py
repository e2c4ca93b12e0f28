"""The catalogue of named formats, and names for all the others: `format` reads what `.name` writes."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar, overload

from refimpl import _arguments
from refimpl.formats.blocks import BLOCKS, BlockFormat, BlockName
from refimpl.formats.codebooks import BOOKS, BookName, CodeBook, named_book
from refimpl.formats.floats import FLOATS, SUFFIXES, FloatFormat, FloatName
from refimpl.formats.integers import INTEGERS, IntFormat, IntName
from refimpl.formats.posits import POSITS, PositFormat, PositName
from refimpl.formats.sheet import NumberFormat

Format = FloatFormat | IntFormat | PositFormat | BlockFormat | CodeBook
F = TypeVar("F", FloatFormat, IntFormat, PositFormat, BlockFormat, CodeBook)

_CATALOGUE: dict[str, Format] = {**FLOATS, **INTEGERS, **POSITS, **BLOCKS}  # type: ignore[dict-item]

FloatAlias = Literal[
    "binary16",
    "binary32",
    "binary64",
    "half",
    "fp16",
    "bf16",
    "fp32",
    "fp64",
    "e4m3fn",
    "e4m3fnuz",
    "e5m2fnuz",
    "e4m3b11fnuz",
    "e8m0fnu",
    "e2m3fn",
    "e3m2fn",
    "e2m1fn",
]
# Other names, among them the part of a standard name behind "floatN_", where it does not also read as
# a systematic name.
_ALIASES: dict[str, str] = {
    "binary16": "float16",
    "binary32": "float32",
    "binary64": "float64",
    "half": "float16",
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
    "fp64": "float64",
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
# Names that several formats go by.
_SEVERAL = {
    "e4m3": "e4m3fn (OCP FP8), e4m3 (every code finite)",
    "e5m2": "float8_e5m2 (OCP FP8), e5m2 (every code finite)",
    "fp8": "float8_e4m3fn, float8_e5m2",
    "float8": "float8_e4m3fn, float8_e5m2",
    "fp6": "float6_e2m3fn, float6_e3m2fn",
    "float6": "float6_e2m3fn, float6_e3m2fn",
    "fp4": "float4_e2m1fn, mxfp4_e2m1, nvfp4, nf4",
    "float4": "float4_e2m1fn, mxfp4_e2m1, nvfp4, nf4",
    "mxfp8": "mxfp8_e4m3, mxfp8_e5m2",
    "mxfp6": "mxfp6_e2m3, mxfp6_e3m2",
    "posit": "posit8_2, posit16_2",
    "posit8": "posit8_2, posit8_0",
    "posit16": "posit16_2, posit16_1",
}
_SYSTEMATIC = re.compile(
    r"e(?P<e>\d+)m(?P<m>\d+)(b(?P<bias>-?\d+))?(?P<suffix>ieee|fnuz|fn|p3109e|p3109f|scale)?"
    r"(?P<unsigned>_unsigned)?(?P<flush>_flush)?"
)
_P3109 = re.compile(r"binary(?P<k>\d+)p(?P<p>\d+)(?P<sign>[su])(?P<domain>[ef])")
_INTEGER = re.compile(r"(?P<u>u?)int(?P<bits>\d+)(?P<full>_full)?")
_POSIT = re.compile(r"posit(?P<bits>\d+)_(?P<es>\d+)")


def names() -> tuple[str, ...]:
    """Return the names of the catalogue; `p3109_names` has those of IEEE P3109.

    Examples
    --------
    >>> "bfloat16" in names(), "mxfp4_e2m1" in names()
    (True, True)
    """
    return (*_CATALOGUE, *BOOKS)


def p3109_names(k: int) -> tuple[str, ...]:
    """Return the names of all P3109 formats of k bits, 3 <= k <= 16.

    Examples
    --------
    >>> p3109_names(3)[:4], len(p3109_names(8))
    (('binary3p1se', 'binary3p1sf', 'binary3p1ue', 'binary3p1uf'), 30)
    """
    k = _arguments.integer("p3109_names", "k", k, _arguments.Interval(3, 16))
    return tuple(
        f"binary{k}p{p}{sign}{domain}"
        for p in range(1, k + 1)
        for sign in "su"
        for domain in "ef"
        if p < k or sign == "u"
    )


@overload
def format(name: FloatName | FloatAlias) -> FloatFormat: ...
@overload
def format(name: IntName) -> IntFormat: ...
@overload
def format(name: PositName) -> PositFormat: ...
@overload
def format(name: BlockName | Literal["mxfp4"]) -> BlockFormat: ...
@overload
def format(name: BookName) -> CodeBook: ...
@overload
def format(name: F) -> F: ...
@overload
def format(name: str | NumberFormat) -> Any: ...
def format(name):
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
    TypeError
        For what is neither a name nor a format.

    Examples
    --------
    >>> format("e4m3").max, format("e4m3fn").max, format("float8_e4m3").max
    (480.0, 448.0, 240.0)
    >>> format("e5m2").name, format("int8").max, format("binary8p3se").max
    ('e5m2', 127, 49152.0)
    """
    return read("format", "name", name)


_KINDS: dict[type, tuple[str, str]] = {
    FloatFormat: ("a float format such as float8_e4m3fn", "quantize"),
    PositFormat: ("a posit such as posit8_2", "quantize"),
    IntFormat: ("an integer format such as int8", "quantize_int"),
    BlockFormat: ("a block format such as mxfp4_e2m1", "quantize_blocks"),
    CodeBook: ("a code book such as nf4", "quantize_codebook"),
}
"""What a kind of format is called, and the operation that serves it."""


def read(caller: str, name: str, got: Any, *kinds: type) -> Any:
    """Return the format that the argument `name` of `caller` is or names; of these kinds, if some are given."""
    if isinstance(got, NumberFormat):
        fmt = got
    elif isinstance(got, str):
        fmt = _format_of(caller, got)
    else:
        raise _arguments.wrong_kind(caller, name, got, "a format or its name")
    if kinds and not isinstance(fmt, kinds):
        allowed = " or ".join(_KINDS[kind][0] for kind in kinds)
        serving = next((verb for kind, (_, verb) in _KINDS.items() if isinstance(fmt, kind)), "")
        raise TypeError(_arguments.message(caller, name, str(fmt), allowed, f"{serving} takes {fmt}"))
    return fmt


def _format_of(caller: str, name: str) -> Format:
    key = _ALIASES.get(name, name)
    if key in _CATALOGUE:
        return _CATALOGUE[key]
    if key in BOOKS:
        return named_book(key)
    for pattern, make in ((_SYSTEMATIC, _float), (_P3109, _p3109), (_INTEGER, _integer), (_POSIT, _posit)):
        if (fields := pattern.fullmatch(key)) and len(key) <= 40:
            try:
                return make(fields)
            except ValueError as error:
                raise ValueError(f"{caller}: there is no format {name!r}: {error}") from None
    known = [*names(), *_ALIASES, "e4m3", "e8m7", "binary8p3se", "binary8p4se", "posit8_0"]
    near = _SEVERAL.get(name.strip().lower()) or ", ".join(_arguments.nearest(name, known, 3))
    hint = f"did you mean {near}?" if near else "`refimpl format --list` prints the named ones"
    raise ValueError(
        f"{caller}: unknown format {_arguments.shown(name)}; {hint} (any eEmM such as e5m2 is a format too)"
    )


def _float(fields: re.Match) -> FloatFormat:
    bias = {} if fields["bias"] is None else {"bias": int(fields["bias"])}
    return FloatFormat(
        exponent_bits=int(fields["e"]),
        mantissa_bits=int(fields["m"]),
        specials=next(family for family, suffix in SUFFIXES.items() if suffix == (fields["suffix"] or "")),
        signed=not (fields["unsigned"] or fields["suffix"] == "scale"),
        has_subnormals=not fields["flush"],
        **bias,
    )


def _p3109(fields: re.Match) -> FloatFormat:
    k, p, signed = int(fields["k"]), int(fields["p"]), fields["sign"] == "s"
    if not (3 <= k <= 16 and 1 <= p <= k - signed):
        most = "bits - 1" if signed else "bits"
        raise ValueError(f"a P3109 format has 3 to 16 bits and a precision of 1 to {most}; got {k} and {p}")
    return FloatFormat(
        exponent_bits=k - p + (not signed),
        mantissa_bits=p - 1,
        signed=signed,
        specials="p3109_extended" if fields["domain"] == "e" else "p3109_finite",
    )


def _integer(fields: re.Match) -> IntFormat:
    signed = not fields["u"]
    return IntFormat(bits=int(fields["bits"]), signed=signed, symmetric=signed and not fields["full"])


def _posit(fields: re.Match) -> PositFormat:
    return PositFormat(int(fields["bits"]), int(fields["es"]))
