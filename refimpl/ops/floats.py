"""Values and codes of float formats and posits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Unpack

import numpy as np
from numpy.typing import DTypeLike

from refimpl import _arguments
from refimpl.formats import FloatFormat, NanRule, Overflow, PositFormat, RoundingMode
from refimpl.formats import format as format_of  # noqa: F401  (what others here call it by)
from refimpl.formats.names import Dtype, read
from refimpl.ops import arrays
from refimpl.ops.definitions import kernels
from refimpl.ops.float_paths import decode_all, kernel_of, round_all
from refimpl.ops.float_paths import fields as _fields
from refimpl.ops.rounding import RoundingOptions, RoundingRule, known
from refimpl.spec import operations
from refimpl.spec.float_codes import to_float

Number = FloatFormat | PositFormat | str | type | Dtype


@arrays.answers_like
def quantize(
    x,
    fmt: Number,
    *,
    rounding: RoundingMode = "ties_to_even",
    overflow: Overflow = "overflow",
    nan: NanRule = "zero",
    random_bits: int | None = None,
    seed: int | None = None,
    stream: int = 0,
    random=None,
    out: np.ndarray | None = None,
    like=None,
) -> np.ndarray:
    """Round values to a format.

    Parameters
    ----------
    x : array_like of float16, bfloat16, float32, float64 or integers, any shape
        Narrower types of ml_dtypes, and tensors of PyTorch that NumPy has no dtype for, are read as float32,
        which holds their values.
    fmt : FloatFormat, PositFormat, its name or a dtype
    rounding : str
        ``ties_to_even ties_to_away toward_zero toward_positive toward_negative to_odd``,
        ``stochastic``, or ``stochastic_a stochastic_b stochastic_c`` (IEEE P3109) with `random_bits`.
        Posits round to even alone.
    overflow : str
        What becomes of values that round beyond the largest finite one: ``overflow`` (infinity if
        the format has it, else NaN, else the largest value), ``saturate`` (the largest value, for
        infinities too), ``propagate`` (the largest value, but infinities stay where the format has them).
    nan : str
        What becomes of NaN in a format without one: ``zero`` (of the opposite sign, as ml_dtypes
        does), ``max`` (of the same sign), ``raise``.
    random_bits : int
        N, 1 to 32, for stochastic A, B and C: R is the leading N bits of the element's random word.
    seed, stream : int
        64-bit integers, for stochastic rounding: element i, in C order, takes word i of the
        Philox4x32-10 sequence (seed, stream).
    random : array_like of integers, optional
        In place of a seed, R of every element itself: from 0 to 2^random_bits - 1 (2^32 - 1 for plain
        ``stochastic``), of a shape that broadcasts to that of x.
    out : ndarray, optional
        Like the result and C-contiguous; may be x itself.
    like : ndarray or tensor of PyTorch, optional
        The result comes as a tensor where this is one, on its device; and in its dtype, where that is one of floats.

    Returns
    -------
    ndarray, or a tensor
        Shape of x; dtype of x, and float64 for integers.  Exact: every value is one of the format
        (rounded once more only where the dtype cannot hold it, as float32 cannot hold 2^128).

    Raises
    ------
    TypeError, ValueError
        Before any work: for other dtypes, unknown modes, a missing seed, an `out` that does not fit.  After it,
        where the dtype of `like` does not hold a value of the result, which is named.

    Notes
    -----
    Stochastic rounding raises the magnitude iff floor(nu 2^32) + word >= 2^32, nu being the
    fraction of a step it lies above the lower neighbour.  As far as nu has at most 32 bits, the
    probability is nu exactly: always, where float32 rounds within the format's normal range (23
    bits are dropped at most), and for a format of at least 20 mantissa bits float64 too.  Beyond,
    nu is cut to 32 bits: the probability is too small by less than 2^-32, never too large, and what
    is below 2^-32 of the smallest value becomes zero.

    *Source*: IEEE P3109 interim report 4.0, IEEE 754-2019; `refimpl.spec.float_codes`, `refimpl.spec.posits`.

    Examples
    --------
    >>> quantize([1.06, 500.0], "e4m3fn", overflow="saturate").tolist()
    [1.0, 448.0]
    >>> quantize(np.full(4, 1.0625, np.float32), "e4m3fn", rounding="stochastic", seed=7).tolist()
    [1.125, 1.125, 1.0, 1.0]
    >>> quantize([1e-9, 3.1, 1e9], "posit8_2").tolist()
    [5.960464477539063e-08, 3.0, 16777216.0]
    """
    options: RoundingOptions = {
        "rounding": rounding,
        "overflow": overflow,
        "nan": nan,
        "random_bits": random_bits,
        "seed": seed,
        "stream": stream,
        "random": random,
    }
    to, x, rule = _checked("quantize", x, fmt, options)
    dtype = arrays.float_dtype(x)
    if out is None:
        out = np.empty(x.shape, dtype)
    else:
        arrays.result_in("quantize", out, x.shape, dtype)
        x = arrays.apart(x, out)
    result = arrays.bits_of(out.reshape(-1))
    round_all(kernels(x.size), x, result, to, rule, values=True)
    return out


@arrays.answers_like
def encode(
    x, fmt: Number, *, out: np.ndarray | None = None, like=None, **options: Unpack[RoundingOptions]
) -> np.ndarray:
    """Return the codes of values; parameters and errors as for `quantize`.

    Returns
    -------
    ndarray
        Shape of x, the smallest unsigned dtype that holds the codes.  Exact, integers beyond 2^53
        too: every value is rounded once, from its own type.

    Examples
    --------
    >>> encode([1.0, 448.0], "float8_e4m3fn")
    array([ 56, 126], dtype=uint8)
    >>> encode([0.0, 1.0, -1.0, np.nan], "posit8_2").tolist()
    [0, 64, 192, 128]
    """
    to, x, rule = _checked("encode", x, fmt, options)
    dtype = arrays.code_dtype(to.bits)
    if out is None:
        out = np.empty(x.shape, dtype)
    else:
        arrays.result_in("encode", out, x.shape, dtype)
        arrays.own("encode", out, x, "x")
    round_all(kernels(x.size), x, out.reshape(-1), to, rule, values=False)
    return out


@arrays.answers_like
def decode(
    codes, fmt: Number, *, dtype: DTypeLike | None = None, out: np.ndarray | None = None, like=None
) -> np.ndarray:
    """Return the values of codes.

    Parameters
    ----------
    codes : array_like of integers from 0 to 2^fmt.bits - 1, any shape
    fmt : FloatFormat, PositFormat or its name
    dtype : float16, float32 or float64; or object
        By default float64, and object where a value lies beyond it, which happens in formats that reach beyond it
        alone: then values are Python's floats, and exact fractions where float64 does not hold them.
    out : ndarray, optional
        Of shape and dtype of the result, C-contiguous, with memory of its own; not for object.
    like : ndarray or tensor of PyTorch, optional
        As for `quantize`.

    Returns
    -------
    ndarray of dtype
        Exact in float64; in the narrower ones rounded to them once, ties to even.  NaR of a posit
        is NaN.

    Raises
    ------
    TypeError, ValueError
        For codes that are not integers, out of range, or (in float64, where it is asked for) of a value that
        float64 cannot hold; the first is named.

    Examples
    --------
    >>> decode([0x01, 0x7E, 0x7F], "float8_e4m3fn").tolist()
    [0.001953125, 448.0, nan]
    >>> decode([0x40, 0x80, 0xFF], "posit8_2").tolist()
    [1.0, nan, -5.960464477539063e-08]
    >>> one, large = decode([0x8000, 0xFFFD], "binary16p1ue")
    >>> one, large == Fraction(2) ** 32765
    (1.0, True)
    """
    of = float_format("decode", fmt)
    codes = arrays.codes("decode", "codes", codes, of.name, 1 << of.bits)
    given, dtype = dtype, np.float64 if dtype is None else dtype
    if dtype is object and out is None:
        return _exactly(codes, of)
    dtype = arrays.dtype("decode", dtype)
    if out is not None:
        arrays.result_in("decode", out, codes.shape, dtype)
        arrays.own("decode", out, codes, "codes")
    use = kernels(codes.size)
    if isinstance(of, FloatFormat) and not of.fits_float64 and dtype == np.float64:
        beyond = _beyond_float64(use, codes, of)
        if beyond and given is None and out is None:
            return _exactly(codes, of)
        if beyond:
            raise ValueError(beyond)
    if out is None:
        out = np.empty(codes.shape, dtype)
    decode_all(use, codes, out.reshape(-1), of)
    return out


def values(fmt: Number) -> np.ndarray:
    """Return every finite value of a format of at most 16 bits once, ascending, as float64.

    Raises
    ------
    TypeError, ValueError
        For integer and block formats, wider formats, and values beyond float64.

    Examples
    --------
    >>> values("e2m1fn")[7:].tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    """
    of = float_format("values", fmt)
    if of.bits > 16:
        raise ValueError(f"values: fmt is {of}, of {of.bits} bits; allowed is at most 16; decode the codes you need")
    every = decode(np.arange(1 << of.bits, dtype=np.uint16), of, dtype=np.float64)
    return np.unique(every[np.isfinite(every)]) + 0.0  # and no minus zero


# -- what the calls share --------------------------------------------------------------------------


def float_format(caller: str, got, name: str = "fmt") -> Any:
    """Return a float or posit format, refusing those that need scales."""
    return read(caller, name, got, FloatFormat, PositFormat)


def _checked(caller: str, x, fmt, options: RoundingOptions) -> tuple[Any, np.ndarray, RoundingRule]:
    to = float_format(caller, fmt)
    x = arrays.real(caller, "x", x)
    rule = RoundingRule.of(caller, to, x.shape, **known(caller, options, RoundingOptions))
    if rule.refuses_nan(to) and arrays.is_float(x) and any(np.isnan(piece).any() for _, piece in arrays.chunks(x)):
        allowed = f"a number, for {to} has no NaN"
        _arguments.every(caller, "x", x, ~np.isnan(x), allowed, "nan='zero' and nan='max' replace it")
    return to, x, rule


def _exactly(codes: np.ndarray, fmt) -> np.ndarray:
    """Return values as Python's floats where these hold them, else as fractions."""
    known: dict[int, float | Fraction] = {}
    for code in np.unique(codes).tolist():
        value = operations.decode(code, fmt)
        near = to_float(value)
        held = value.kind != "finite" or (np.isfinite(near) and abs(Fraction(near)) == value.magnitude)
        known[code] = near if held else -value.magnitude if value.negative else value.magnitude
    out = np.empty(codes.shape, object)
    out.reshape(-1)[:] = [known[code] for code in codes.reshape(-1).tolist()]
    return out


def _beyond_float64(use, codes, fmt) -> str:
    """Return what is wrong where float64 does not hold the values of codes, else nothing."""
    kernel, record = kernel_of(fmt, use)
    for part, piece in arrays.chunks(codes):
        first = kernel.first_beyond(piece, record, _fields("float64", use))
        if first >= 0:
            where = arrays.place("codes", part.start + first, codes.shape)
            hint = "dtype=object gives exact fractions, refimpl.codes computes with codes"
            allowed = f"a code of {fmt.name} whose value float64 holds"
            return _arguments.message("decode", where, str(piece[first]), allowed, hint)
    return ""
