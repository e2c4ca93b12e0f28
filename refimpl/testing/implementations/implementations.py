"""Implementations under test: whatever a user has, brought to a few named functions.

=============================  =====================================================
what you give                  becomes
=============================  =====================================================
a callable on arrays           ``quantize`` (value to value; for stochastic A, B, C it
                               also takes the random integers: ``f(x, random)``)
a pair (encode, decode)        those; either may be None
a NumPy dtype                  ``astype`` and back: ml_dtypes, float16
a torch dtype                  ``to`` and back, if torch is installed
a gfloat format                its functions on arrays, if gfloat is installed
a `Program`                    an external program on a pipe
an `Implementation`            itself
=============================  =====================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refimpl._arguments import choice, function, wrong_kind
from refimpl.formats import FloatFormat, IntFormat, Specials
from refimpl.testing.implementations.programs import Program


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """Name the functions of an implementation; any of them may be missing.

    Parameters
    ----------
    quantize : callable, optional
        Floats (n,) to floats (n,).
    encode : callable, optional
        Floats (n,) to integer codes (n,).
    decode : callable, optional
        Unsigned codes (n,) to floats (n,).
    on_values, on_codes : callable, optional
        An operation, for ``conform(..., op=)``: floats (n,) for each operand to floats, truths or integers (n,); or
        codes of the smallest unsigned dtype to codes.
    pack, unpack : callable, optional
        Codes uint8 (n,) to bytes uint8 (n * bits / 8,), and ``unpack(bytes, n)`` back.
    name : str

    Raises
    ------
    ValueError, TypeError
        If nothing is given, or something that cannot be called.

    Examples
    --------
    >>> import refimpl as rf
    >>> mine = Implementation(quantize=lambda x: rf.quantize(x, "e4m3fn"), name="mine")
    >>> rf.testing.conform(mine, "e4m3fn").passed
    True
    """

    quantize: Callable | None = None
    encode: Callable | None = None
    decode: Callable | None = None
    pack: Callable | None = None
    unpack: Callable | None = None
    on_values: Callable | None = None
    on_codes: Callable | None = None
    name: str = "implementation"

    def __post_init__(self):
        given = [verb for verb in VERBS if self.has(verb)]
        if not given:
            raise ValueError(f"Implementation: nothing to test; allowed are functions {', '.join(VERBS)}")
        for verb in given:
            function("Implementation", verb, self.function(verb), "a function")

    def has(self, *verbs: str) -> bool:
        """Tell whether all these functions are there."""
        return all(getattr(self, verb) is not None for verb in verbs)

    def function(self, verb: str) -> Callable:
        """Return one of them that is there."""
        return getattr(self, verb)


VERBS = ("quantize", "encode", "decode", "pack", "unpack", "on_values", "on_codes")


def implementation_of(thing, behaviour) -> Implementation:
    """Return an Implementation for whatever the user has, held to a Behaviour; see the table above.

    Raises TypeError for anything else.

    >>> implementation_of(np.trunc, None).name
    'trunc'
    """
    if isinstance(thing, Implementation):
        return thing
    if isinstance(thing, Program):
        return Implementation(**{thing.operation: thing}, name=str(thing))
    if isinstance(thing, tuple) and len(thing) == 2 and any(map(callable, thing)):
        return Implementation(encode=thing[0], decode=thing[1], name=_name(thing[0] or thing[1]))
    if _from(thing, "torch") and type(thing).__name__ == "dtype":
        return _torch(thing)
    if _from(thing, "gfloat") and hasattr(thing, "precision"):
        return _gfloat(thing, behaviour)
    if (dtype := numpy_dtype(thing)) is not None:
        return _numpy(dtype, behaviour)
    if callable(thing):
        return Implementation(quantize=thing, name=_name(thing))
    allowed = (
        "a function, a pair (encode, decode), a NumPy or torch dtype, a gfloat format, a Program, an Implementation"
    )
    raise wrong_kind("conform", "implementation", thing, allowed)


def format_of_implementation(thing):
    """Return the name of the format that a dtype or gfloat format stands for, or None."""
    if _from(thing, "torch"):
        return str(thing).removeprefix("torch.")
    if _from(thing, "gfloat") and hasattr(thing, "precision"):
        return _format_of_gfloat(thing)
    dtype = numpy_dtype(thing)
    if dtype is None:
        return None
    return f"{dtype.name}_full" if dtype.name.startswith("int") else dtype.name


def numpy_dtype(thing) -> np.dtype | None:
    """Return the dtype that is meant, None for anything that is not a numeric dtype or its type."""
    if not isinstance(thing, np.dtype) and not (
        isinstance(thing, type) and (issubclass(thing, np.generic) or thing.__module__ == "ml_dtypes")
    ):
        return None
    return np.dtype(thing)


def _from(thing, package: str) -> bool:
    return type(thing).__module__.partition(".")[0] == package


def _name(function) -> str:
    return getattr(function, "__name__", None) or type(function).__name__


def _numpy(dtype: np.dtype, behaviour) -> Implementation:
    if isinstance(behaviour.format, IntFormat):
        return Implementation(quantize=lambda x: x.astype(dtype).astype(np.int64), name=dtype.name)
    bits = np.dtype(f"u{dtype.itemsize}")
    return Implementation(
        encode=lambda x: x.astype(dtype).view(bits),
        decode=lambda codes: codes.astype(bits).view(dtype).astype(np.float64),
        name=dtype.name,
    )


def _torch(dtype) -> Implementation:
    import torch

    codes, read = (torch.uint8, np.uint8) if dtype.itemsize == 1 else (torch.int16, np.uint16)
    signed = np.uint8 if dtype.itemsize == 1 else np.int16  # torch has no uint16 to view
    return Implementation(
        encode=lambda x: torch.from_numpy(x.copy()).to(dtype).view(codes).numpy().view(read),
        decode=lambda c: torch.from_numpy(c.astype(read).view(signed)).view(dtype).double().numpy(),
        name=str(dtype),
    )


_GFLOAT_MODES = ("ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative")


def _gfloat(info, behaviour) -> Implementation:
    import gfloat

    name = choice("conform", "rounding of a gfloat format", behaviour.rounding, _GFLOAT_MODES)
    mode = gfloat.RoundMode["".join(word.capitalize() for word in name.split("_"))]
    saturate = behaviour.overflow == "saturate"

    def quantize(x):
        return gfloat.round_ndarray(info, x.astype(np.float64), mode, saturate).astype(x.dtype)

    return Implementation(
        quantize=quantize,
        encode=lambda x: gfloat.encode_ndarray(info, gfloat.round_ndarray(info, x.astype(np.float64), mode, saturate)),
        decode=lambda codes: gfloat.decode_ndarray(info, codes.astype(np.int64)),
        name=f"gfloat {info.name}",
    )


def _format_of_gfloat(info) -> FloatFormat:
    """Return the FloatFormat that a gfloat format describes."""
    extended = info.domain.name == "Extended"
    specials: Specials
    if info.precision == 1 and not info.is_signed and info.num_high_nans == 1 and not extended:
        specials = "e8m0"
    elif info.num_high_nans > 1 and extended:
        specials = "ieee"
    elif info.num_high_nans == 1:
        specials = "fn"
    elif info.has_nz:
        specials = "none"
    else:
        specials = "p3109_extended" if extended else "fnuz"
    return FloatFormat(
        exponent_bits=info.expBits,
        mantissa_bits=info.precision - 1,
        bias=info.bias,
        signed=info.is_signed,
        specials=specials,
        has_subnormals=info.has_subnormals,
    )
