"""The catalogue of named formats, and names for all the others: `format` reads what `.name` writes."""

from __future__ import annotations

import re
from typing import Any, Literal, Protocol, TypeVar, overload

from refimpl import _arguments
from refimpl.formats.blocks import BLOCKS, BlockFormat, BlockName
from refimpl.formats.codebooks import BOOKS, BookName, CodeBook, named_book
from refimpl.formats.floats import FLOATS, SUFFIXES, FloatFormat, FloatName
from refimpl.formats.integers import INTEGERS, IntFormat, IntName
from refimpl.formats.posits import POSITS, PositFormat, PositName
from refimpl.formats.sheet import NumberFormat

Format = FloatFormat | IntFormat | PositFormat | BlockFormat | CodeBook
F = TypeVar("F", FloatFormat, IntFormat, PositFormat, BlockFormat, CodeBook)


class Dtype(Protocol):
    """A dtype of NumPy or PyTorch."""

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""


_CATALOGUE: dict[str, Format] = {**FLOATS, **INTEGERS, **POSITS, **BLOCKS}  # type: ignore[dict-item]

FloatAlias = Literal[
    "binary16",
    "binary32",
    "binary64",
    "half",
    "single",
    "double",
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
    "single": "float32",
    "double": "float64",
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
# Names that several formats go by; E4M3 and its like in capitals, as standards write them, too.
_SEVERAL = {
    "e4m3": "e4m3fn (OCP FP8), e4m3 (every code finite)",
    "e5m2": "float8_e5m2 (OCP FP8), e5m2 (every code finite)",
    "e8m0": "float8_e8m0fnu (OCP scale), e8m0 (signed, every code finite)",
    "fp8_e4m3": "float8_e4m3fn (OCP FP8), float8_e4m3 (of IEEE's kind, the largest 240)",
    "fp8": "float8_e4m3fn, float8_e5m2",
    "float8": "float8_e4m3fn, float8_e5m2",
    "fp6": "float6_e2m3fn, float6_e3m2fn",
    "float6": "float6_e2m3fn, float6_e3m2fn",
    "fp4": "float4_e2m1fn, mxfp4_e2m1, nvfp4, nf4, bitsandbytes_fp4",
    "float4": "float4_e2m1fn, mxfp4_e2m1, nvfp4, nf4, bitsandbytes_fp4",
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
_MACHINE = re.compile(r"(float|fp|f)(?P<bits>[468])_?(?P<fields>e\d+m\d+[a-z0-9]*)")
_P3109 = re.compile(r"binary(?P<k>\d+)p(?P<p>\d+)(?P<sign>[su])(?P<domain>[ef])")
_INTEGER = re.compile(r"(?P<u>u?)int(?P<bits>\d+)(?P<full>_full)?")
_POSIT = re.compile(r"posit(?P<bits>\d+)_(?P<es>\d+)")
_BLOCKS = re.compile(r"blocks of (?P<size>\d{1,9}) (?P<element>\S+) scaled by (?P<scale>\S+)(?P<tensor> and float32)?")


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
def format(name: str | NumberFormat | type | Dtype) -> Any: ...
def format(name):
    """Return the format of a name or a dtype; a format is returned as it is.

    Parameters
    ----------
    name : str, or a dtype of NumPy, ml_dtypes or PyTorch, Python's float, or a FormatInfo or BlockFormatInfo of gfloat
        A name, in small letters or capitals.  Of the catalogue (``float8_e4m3fn``, or short ``e4m3fn``),
        ``int8``, ``uint4``, ``posit8_2``, ``binary8p3se`` (IEEE P3109: K bits, precision P, signed or unsigned,
        extended or finite), ``mxfp4_e2m1``, ``nf4``, or a systematic one, ``e4m3``: E exponent and M
        mantissa bits and *every code finite* (the formats of the PEPPP paper), to which may be
        added ``b`` and a bias, a family (``ieee fn fnuz p3109e p3109f``), ``_unsigned``, and
        ``_flush`` for no subnormals.  Names of ONNX, StableHLO and safetensors (``F8E4M3FN``) are read, too.
        Blocks by their parts: ``blocks of 16 e2m3 scaled by e8m0fnu``; a scale of another kind than E8M0 takes
        one of the tensor, ``... scaled by float8_e5m2 and float32``.
        A dtype of integers is one of all its codes: that of ``numpy.int8`` is ``int8_full``.

    Raises
    ------
    ValueError
        If no format has this name, for which near ones are suggested, or several have.
    TypeError
        For what is neither a name nor a format.

    Examples
    --------
    >>> format("e4m3").max, format("e4m3fn").max, format("float8_e4m3").max
    (480.0, 448.0, 240.0)
    >>> format("e5m2").name, format("int8").max, format("binary8p3se").max
    ('e5m2', 127, 49152.0)
    >>> import numpy as np
    >>> format(np.float16).name, format(np.dtype("int8")).name, format("BF16").name
    ('float16', 'int8_full', 'bfloat16')
    >>> format("blocks of 16 e2m1 scaled by e8m0fnu").bits_per_element
    4.5
    >>> format("FP8")
    Traceback (most recent call last):
    ValueError: format: 'FP8' is what several formats are called; allowed are float8_e4m3fn, float8_e5m2
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
    fmt: Any
    if isinstance(got, NumberFormat):
        fmt = got
    elif isinstance(got, str):
        fmt = _format_of(caller, got)
    elif (fmt := _format_of_type(caller, name, got)) is None:
        raise _arguments.wrong_kind(caller, name, got, "a format, its name or a dtype")
    if kinds and not isinstance(fmt, kinds):
        allowed = " or ".join(_KINDS[kind][0] for kind in kinds)
        serving = next((verb for kind, (_, verb) in _KINDS.items() if isinstance(fmt, kind)), "")
        raise TypeError(_arguments.message(caller, name, str(fmt), allowed, f"{serving} takes {fmt}"))
    return fmt


def _format_of(caller: str, name: str) -> Format:
    small = name.strip().lower()
    several = _SEVERAL.get(small)
    for key in (name,) if several else (name, small):
        key = _ALIASES.get(key, key)
        if key not in _CATALOGUE and (machine := _MACHINE.fullmatch(key)):
            key = f"float{machine['bits']}_{machine['fields']}"
            several = _SEVERAL["fp8_e4m3"] if key == "float8_e4m3" else ""
            key = "" if several else key if key in _CATALOGUE else key + "fn"
        if key in _CATALOGUE:
            return _CATALOGUE[key]
        if key in BOOKS:
            return named_book(key)
        if fields := _BLOCKS.fullmatch(key):
            parts = [_format_of(caller, fields[part]) for part in ("element", "scale")]
            try:
                return _block(fields, *parts)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{caller}: there is no format {name!r}: {error}") from None
        for pattern, make in ((_SYSTEMATIC, _float), (_P3109, _p3109), (_INTEGER, _integer), (_POSIT, _posit)):
            if (fields := pattern.fullmatch(key)) and len(key) <= 40:
                try:
                    return make(fields)
                except ValueError as error:
                    raise ValueError(f"{caller}: there is no format {name!r}: {error}") from None
    if several:
        raise ValueError(f"{caller}: {name!r} is what several formats are called; allowed are {several}")
    near = ", ".join(_arguments.nearest(name, [*names(), *_ALIASES, "e8m7", "binary8p3se", "posit8_0"], 3))
    hint = f"did you mean {near}?" if near else "`refimpl format --list` prints the named ones"
    raise ValueError(
        f"{caller}: unknown format {_arguments.shown(name)}; {hint} (any eEmM such as e5m2 is a format too)"
    )


def _format_of_type(caller: str, name: str, got: Any) -> Format | None:
    """Return the format of a type of NumPy, ml_dtypes, PyTorch or gfloat, known by its module's name; or None."""
    if got is float:  # Python's own
        return _CATALOGUE["float64"]
    kind = got if isinstance(got, type) else type(got)
    module = kind.__module__.partition(".")[0]
    if module == "gfloat" and hasattr(got, "num_high_nans"):
        return _of_gfloat(caller, name, got)
    if module == "gfloat" and hasattr(got, "etype"):
        integers = got.etype.name == "ocp_int8"  # with a point: MXINT8's elements
        element = BLOCKS["mxint8"].element if integers else _of_gfloat(caller, name, got.etype)
        return BlockFormat(element=element, scale=_of_gfloat(caller, name, got.stype), block_size=got.k)
    if module in ("numpy", "ml_dtypes") and (isinstance(got, type) or hasattr(got, "byteorder")):
        text = got.__name__ if isinstance(got, type) else got.name
    elif module == "torch" and kind.__name__ == "dtype":
        text = str(got).removeprefix("torch.").removesuffix("_x2")  # two codes to a byte
    else:
        return None
    text = re.sub(r"^(int\d+)$", r"\1_full", text)
    if text not in _CATALOGUE:
        raise _arguments.wrong_value(caller, name, got, "a dtype of floats, or of integers of at most 16 bits")
    return _CATALOGUE[text]


def _of_gfloat(caller: str, name: str, info: Any) -> FloatFormat:
    extended, high = info.domain.name == "Extended", info.num_high_nans
    specials: Any = {
        (True, True, 2 ** (info.precision - 1) - 1): "ieee",
        (True, False, 1): "fn",
        (True, False, 0): "none",
        (False, True, int(not info.is_signed)): "p3109_extended",
        (False, False, int(not info.is_signed)): "fnuz" if info.is_signed else "p3109_finite",
    }.get((info.has_nz, extended, high))
    if info.precision == 1 and not info.has_subnormals:
        specials = "e8m0"
    if info.name.startswith("p3109") and specials == "fnuz":
        specials = "p3109_finite"  # the same values by another name
    if info.is_twos_complement:
        allowed = "a format of floats; integers with a point are elements of mxint8"
        raise _arguments.wrong_value(caller, name, info.name, allowed)
    if specials is None:
        raise _arguments.wrong_value(
            caller, name, info.name, "a format of gfloat whose special codes are of a known family"
        )
    return FloatFormat(
        exponent_bits=info.expBits,
        mantissa_bits=info.precision - 1,
        bias=info.bias,
        signed=info.is_signed,
        specials=specials,
        has_subnormals=info.has_subnormals,
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
    if not (k >= 3 and 1 <= p <= k - signed):
        most = "bits - 1" if signed else "bits"
        raise ValueError(f"a P3109 format has at least 3 bits and a precision of 1 to {most}; got {k} and {p}")
    return FloatFormat(
        exponent_bits=k - p + (not signed),
        mantissa_bits=p - 1,
        signed=signed,
        specials="p3109_extended" if fields["domain"] == "e" else "p3109_finite",
    )


def _integer(fields: re.Match) -> IntFormat:
    signed = not fields["u"]
    return IntFormat(bits=int(fields["bits"]), signed=signed, symmetric=signed and not fields["full"])


def _block(fields: re.Match, element: Any, scale: Any) -> BlockFormat:
    tensor = fields["tensor"] is not None
    return BlockFormat(element=element, scale=scale, block_size=int(fields["size"]), tensor_scale=tensor)


def _posit(fields: re.Match) -> PositFormat:
    return PositFormat(int(fields["bits"]), int(fields["es"]))
