"""Arithmetic in a format: every operation exact, then rounded once.

Operands are values *of their format*, as hardware has them in its registers; what is not one is refused
and named, because rounding it silently would round twice.  Round first: ``add(quantize(x, fmt),
quantize(y, fmt), fmt)``.  Formats may differ, of the operands and of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, Unpack

import numpy as np

from refimpl import _arguments
from refimpl.formats import FloatFormat, PositFormat
from refimpl.formats.floats import FLOATS
from refimpl.ops import arithmetic_paths, arrays, definitions, float_paths, floats
from refimpl.ops.definitions import KERNELS, kernels
from refimpl.ops.floats import Number
from refimpl.ops.operations import (
    MOST_MANTISSA_BITS,
    Integers,
    OperationOptions,
    broadcast,
    compute,
    is_narrow,
    operand_formats,
    refuse_nan,
    table_of,
)
from refimpl.ops.remembered import TABLE_BITS, is_tabulated, look_up, may_be_tabulated, tabulated
from refimpl.ops.rounding import RoundingRule, known
from refimpl.spec import arithmetic as spec
from refimpl.spec import operations as spec_operations
from refimpl.spec.operations import is_p3109

PIECE = 1 << 18  # elements worked on at a time: what each call costs is little beside them
RELATIONS = {"<": (0,), "<=": (0, 1), "==": (1,), "!=": (0, 2, 3), ">=": (1, 2), ">": (2,), "unordered": (3,)}
Relation = Literal["<", "<=", "==", "!=", ">=", ">", "unordered"]


class ValueOptions(OperationOptions, total=False):
    """The keyword arguments of an operation on values: those of one on codes, and what the result is like."""

    like: Any


def add(a, b, fmt: Number | tuple[Number, ...], **options: Unpack[ValueOptions]) -> np.ndarray:
    """Return a + b, rounded once to the format.

    Parameters
    ----------
    a, b : array_like of float16, bfloat16, float32, float64 or integers, any shapes that broadcast
        Values of the format.
    fmt : FloatFormat, PositFormat, its name or a dtype; or a tuple of these, one for each operand
        Formats whose values float64 holds.
    out_format : the same, optional
        The format of the result, by default that of the operands.
    rounding, overflow, nan, random_bits, seed, stream, random
        As for `quantize`: an infinite result (1 / 0) goes by `overflow` like an infinite input, a
        NaN that the format does not have (0 / 0) by `nan`.  Element i of the result, in C order,
        takes random word i.
    like : ndarray or tensor of PyTorch, optional
        As for `quantize`.

    Returns
    -------
    ndarray, or a tensor
        Of the broadcast shape.  Its dtype is the operands' common one if that holds every value of
        the format, else float32 or float64, whichever does.  Exact, but for the one rounding.

    Raises
    ------
    TypeError, ValueError
        For an operand that is not a value of its format, which is named; for wider formats, unknown
        modes, a missing seed; and for a NaN result where the format has none and ``nan="raise"``.

    Notes
    -----
    NaN operands, inf - inf, 0 * inf, 0 / 0, inf / inf and roots below zero give NaN, without a sign;
    x / 0 gives infinity.  A sum that is zero though its terms are not zeros of one sign is +0, and
    -0 when rounding toward negative.  Posits: all of these are NaR.  If one of the formats is of P3109, its
    rules hold: x / 0 is NaN, and zero has no sign.

    Compiled for formats of at most 25 significant bits; float64 is some 100 times slower.

    *Source*: IEEE 754-2019, clauses 5.4.1 and 6; IEEE P3109 interim report 4.0; `refimpl.spec.arithmetic`.

    Examples
    --------
    >>> add([1.0, 1.0, 448.0], [0.0625, 0.1875, 16.0], "e4m3fn").tolist()
    [1.0, 1.25, 448.0]
    >>> add([1.0, 448.0], [2.0**-9, 64.0], ("e4m3fn", "bfloat16"), out_format="float16").tolist()
    [1.001953125, 512.0]
    >>> add(0.1, 0.2, "e4m3fn")
    Traceback (most recent call last):
    ...
    ValueError: add: a is 0.1; allowed is a value of float8_e4m3fn; the nearest is 0.1015625: quantize first
    """
    return calculate("add", (a, b), fmt, options)


def sub(a, b, fmt: Number | tuple[Number, ...], **options: Unpack[ValueOptions]) -> np.ndarray:
    """Return a - b, rounded once to the format; parameters, result and errors as for `add`.

    Examples
    --------
    >>> sub([1.0, 1.0], [1.0, 0.001953125], "e4m3fn", rounding="toward_negative").tolist()
    [-0.0, 0.9375]
    """
    return calculate("sub", (a, b), fmt, options)


def mul(a, b, fmt: Number | tuple[Number, ...], **options: Unpack[ValueOptions]) -> np.ndarray:
    """Return a * b, rounded once to the format; parameters, result and errors as for `add`.

    Examples
    --------
    >>> mul([1.125, 256.0], [1.125, 2.0], "e4m3fn").tolist()
    [1.25, nan]
    >>> mul(256.0, 2.0, "e4m3fn", overflow="saturate").item()
    448.0
    """
    return calculate("mul", (a, b), fmt, options)


def div(a, b, fmt: Number | tuple[Number, ...], **options: Unpack[ValueOptions]) -> np.ndarray:
    """Return a / b, rounded once to the format; parameters, result and errors as for `add`.

    Examples
    --------
    >>> div([1.0, 1.0, -1.0, 0.0], [3.0, 7.0, 0.0, 0.0], "e5m2ieee").tolist()
    [0.3125, 0.15625, -inf, nan]
    >>> div([1.0, 1.0], [3.0, 0.0], "posit8_2").tolist()
    [0.34375, nan]
    """
    return calculate("div", (a, b), fmt, options)


def sqrt(a, fmt: Number | tuple[Number, ...], **options: Unpack[ValueOptions]) -> np.ndarray:
    """Return the square root of a, rounded once to the format; all else as for `add`.

    Examples
    --------
    >>> sqrt([2.0, 2.25, -0.0, -1.0], "bfloat16").tolist()
    [1.4140625, 1.5, -0.0, nan]
    """
    return calculate("sqrt", (a,), fmt, options)


def fma(a, b, c, fmt: Number | tuple[Number, ...], **options: Unpack[ValueOptions]) -> np.ndarray:
    """Return a * b + c, rounded once to the format: the product is not; all else as for `add`.

    Examples
    --------
    >>> fma(1.125, 1.125, -1.25, "e4m3fn").item()  # 1.265625 is not a value of E4M3
    0.015625
    >>> add(mul(1.125, 1.125, "e4m3fn"), -1.25, "e4m3fn").item()
    0.0
    """
    return calculate("fma", (a, b, c), fmt, options)


def compare(a, b, fmt: Number | tuple[Number, ...], relation: Relation) -> np.ndarray:
    """Tell where a relation holds between values of a format.

    Parameters
    ----------
    a, b : array_like
        As for `add`.
    fmt : FloatFormat, PositFormat or its name
    relation : str
        ``< <= == != >= >`` or ``unordered``.

    Returns
    -------
    ndarray of bool
        IEEE: a NaN is unordered with everything, itself too, so that of all relations only ``!=``
        and ``unordered`` hold; -0 equals +0.  Posits: NaR equals itself and is less than all else.

    Raises
    ------
    TypeError, ValueError
        As for `add`, and for an unknown relation.

    Examples
    --------
    >>> compare([1.0, -0.0, np.nan], [2.0, 0.0, np.nan], "e4m3fn", "<=").tolist()
    [True, True, False]
    >>> compare([np.nan, np.nan], [np.nan, -4096.0], "posit8_2", "<=").tolist()
    [True, True]
    """
    _arguments.choice("compare", "relation", relation, RELATIONS)
    return told("compare", (a, b), fmt, partial(holding_relation, relation=relation), np.bool_)


def holding_relation(codes, formats, relation: Relation) -> np.ndarray:
    """Return where a relation holds between codes of two formats (unsigned (n,) each)."""
    bits = [fmt.bits for fmt in formats]
    if is_tabulated(bits, codes):
        fill = partial(_relations, formats=formats)
        found = tabulated(("compare", formats), bits, codes, np.dtype(np.uint8), fill, all(map(is_narrow, formats)))
    else:
        found = _relations([column.astype(np.uint64, copy=False) for column in codes], formats)
    return np.isin(range(4), RELATIONS[relation])[found]


def _relations(codes, formats) -> np.ndarray:
    """Return which relation of `refimpl.kernels.arithmetic` holds between codes (uint64 (n,) each)."""
    a, b = codes
    if all(map(is_narrow, formats)):
        kernel, relations = kernels(a.size).arithmetic, np.empty(a.size, np.uint8)
        kernel.relations(a, b, relations, *map(kernel.layout, formats))
        return relations
    posit = any(isinstance(fmt, PositFormat) for fmt in formats)

    def case(x, y):
        values = (spec_operations.decode(code, fmt) for code, fmt in zip((x, y), formats, strict=True))
        return ("<", "==", ">", "unordered").index(spec.relation(*values, posit=posit)), 0

    return look_up(("compare", formats), [fmt.bits for fmt in formats], codes, case)[0]


# -- from values to codes and back -----------------------------------------------------------------


def exact_format(caller: str, got, name: str = "fmt") -> FloatFormat | PositFormat:
    """Return the format, refusing one that the kernels do not compute in exactly."""
    fmt = floats.float_format(caller, got, name)
    if isinstance(fmt, FloatFormat):
        if fmt.mantissa_bits > MOST_MANTISSA_BITS:
            text = f"{fmt}, of {fmt.mantissa_bits + 1} significant bits"
            hint = "results are exact so far, and in refimpl.spec.arithmetic beyond"
            raise ValueError(_arguments.message(caller, name, text, f"at most {MOST_MANTISSA_BITS + 1}", hint))
        if not fmt.fits_float64:
            hint = "refimpl.spec.arithmetic computes in it exactly"
            raise ValueError(_arguments.message(caller, name, str(fmt), "a format whose values float64 holds", hint))
    return fmt


def holding(dtype: np.dtype, fmt: FloatFormat | PositFormat) -> np.dtype:
    """Return the dtype if it holds every value of the format, else float32 or float64."""
    for candidate in (dtype, np.dtype(np.float32)):
        if _holds(candidate, fmt):
            return candidate
    return np.dtype(np.float64)


def _holds(dtype: np.dtype, fmt) -> bool:
    wide = FLOATS[dtype.name]  # type: ignore[index]  # float16, bfloat16, float32 or float64
    if isinstance(fmt, PositFormat):
        bits, top = max(fmt.bits - 3 - fmt.exponent_bits, 0), (fmt.bits - 2) << fmt.exponent_bits
        return bits <= wide.mantissa_bits and top < wide.maxexp and -top >= wide.min_exponent
    return (
        fmt.mantissa_bits <= wide.mantissa_bits
        and fmt.maxexp <= wide.maxexp
        and fmt.min_exponent - fmt.mantissa_bits >= wide.min_exponent - wide.mantissa_bits
    )


def codes_of(caller: str, x: np.ndarray, fmt, start: int, name: str, shape) -> np.ndarray:
    """Return the codes (uint64) of values, refusing what is not a value of the format.

    x: a contiguous piece of an array `name` of a shape, beginning at element `start`.
    """
    return narrow_codes_of(caller, x, fmt, start, name, shape).astype(np.uint64)


def narrow_codes_of(caller: str, x: np.ndarray, fmt, start: int, name: str, shape) -> np.ndarray:
    """Do as `codes_of`, in the smallest unsigned dtype of codes."""
    if arrays.is_float(x) and fmt == floats.format_of(arrays.name_of(x.dtype)):
        return arrays.bits_of(x)
    codes = floats.encode(x, fmt)
    back = values_of(codes, fmt, holding(arrays.float_dtype(x), fmt))
    wrong = x != back
    if wrong.any() and (wrong := wrong & ~(np.isnan(x) & np.isnan(back))).any():
        at = int(np.argmax(wrong))
        if np.isnan(x[at]):
            hint = "it has no NaN"
        elif np.isfinite(back[at]):
            hint = f"the nearest is {back[at]}: quantize first"
        else:
            hint = f"they go from {fmt.min} to {fmt.max}: clip first"
        raise ValueError(
            _arguments.message(
                caller, arrays.place(name, start + at, shape), str(x[at]), f"a value of {fmt.name}", hint
            )
        )
    return codes


def _operands(caller, operands, formats, into, names="abc"):
    """Return broadcast operands and the dtype of results."""
    for name, fmt in zip(("fmt",) * len(formats) + ("out_format",), (*formats, into), strict=True):
        if isinstance(fmt, FloatFormat) and not fmt.fits_float64:
            allowed, hint = "a format whose values float64 holds", "refimpl.codes has the operations on codes"
            raise ValueError(_arguments.message(caller, name, str(fmt), allowed, hint))
    operands = [arrays.real(caller, name, x) for name, x in zip(names, operands, strict=False)]
    kinds = [arrays.float_dtype(x) for x, fmt in zip(operands, formats, strict=True) if fmt != Integers()]
    return broadcast(caller, names, operands), holding(np.result_type(*kinds), into)


def _pieces(operands, start, stop, count):
    """Yield parts of range(start, stop) and the values of each operand there."""
    for several in zip(*(arrays.chunks(x, start, stop, count=count) for x in operands), strict=True):
        yield several[0][0], [x for _, x in several]


def _codes(caller, pieces, formats, start, shape, names="abc"):
    """Return the codes of each operand's piece."""
    return [
        fmt.codes(caller, x) if isinstance(fmt, Integers) else narrow_codes_of(caller, x, fmt, start, name, shape)
        for name, fmt, x in zip(names, formats, pieces, strict=False)
    ]


def _by_leading_bits(operands, formats, into, dtype: np.dtype, table: np.ndarray):
    """Return what writes the results of pieces by a table of all codes, and tells whether all were in it; or None."""
    codes = [_codes_by_leading_bits(x.dtype.newbyteorder("="), fmt) for x, fmt in zip(operands, formats, strict=True)]
    first, last = codes[0], codes[-1]
    if first is None or last is None or (len(formats) == 1 and first[0] == 0):  # whose bits are codes
        return None
    values, shift = float_paths.table_of_values(into, dtype), formats[1].bits if len(formats) == 2 else 0

    def write(pieces, out):
        a, b = (arrays.bits_of(x) for x in (pieces[0], pieces[-1]))
        look_up = KERNELS.tables.look_up_pairs_of_floats
        return not look_up(a, b, first, last, shift, arrays.bits_of(out), table, values)

    return write


@lru_cache(maxsize=64)
def _codes_by_leading_bits(dtype: np.dtype, fmt) -> tuple[np.uint64, np.ndarray] | None:
    """Return how many low bits of the values in a dtype are 0, and codes by the others; None where these are many."""
    if dtype.name not in arrays.FLOATS or isinstance(fmt, Integers) or holding(dtype, fmt) != dtype:
        return None
    most = fmt.mantissa_bits if isinstance(fmt, FloatFormat) else max(fmt.bits - 3 - fmt.exponent_bits, 0)
    low, word = floats.format_of(dtype.name).mantissa_bits - most, arrays.FLOATS[dtype.name]
    count = 8 * dtype.itemsize - low
    if count > TABLE_BITS:
        return None
    x = (np.arange(1 << count, dtype=word) << word(low)).view(dtype)
    codes = floats.encode(x, fmt)
    back = values_of(codes, fmt, dtype)
    held = (x == back) | np.isnan(x) & np.isnan(back)
    return np.uint64(low), np.where(held, codes, -1).astype(np.int32)


def words_of(caller: str, dtype: np.dtype, fmt, name: str, shape):
    """Return what turns values (n,) of a dtype, of elements `start` and after, into words, and whose these are.

    As `refimpl.ops.arithmetic_paths.reader` does for codes, a chunk at a time: the next may take the memory of the
    last.  What is no value of the format is refused.
    """
    dtype = dtype.newbyteorder("=")
    own = floats.format_of(dtype.name) if dtype.name in arrays.FLOATS else None
    if own is None or own.bits > 32 or holding(dtype, fmt) != dtype:
        read, source = arithmetic_paths.reader(fmt)
        return lambda x, start: read(narrow_codes_of(caller, x, fmt, start, name, shape)), source
    read, source = arithmetic_paths.reader(own)
    if fmt == own:
        return lambda x, start: read(arrays.bits_of(x)), source
    nearest, space = float_paths.nearest(dtype, fmt), np.empty(arithmetic_paths.CHUNK, dtype)

    def checked(x, start):
        back = space[: x.size]
        nearest(x, arrays.bits_of(back))
        same = x == back
        if not same.all() and not (same | np.isnan(x) & np.isnan(back)).all():
            narrow_codes_of(caller, x, fmt, start, name, shape)  # which says what is wrong
        return read(arrays.bits_of(back))

    return checked, source


def _calculate_in_float64(caller: str, operands, formats, into, rule: RoundingRule, out: np.ndarray, names) -> None:
    """Write the results of an operation that `refimpl.ops.arithmetic_paths` serves into out."""
    shape, result, p3109 = out.shape, arrays.bits_of(out.reshape(-1)), is_p3109(*formats, into)
    own, kind = into == floats.format_of(out.dtype.name), np.uint32 if into.bits <= 32 else np.uint64

    def work(start, stop):
        named = zip(operands, formats, names, strict=False)
        read = [words_of(caller, x.dtype, fmt, name, shape) for x, fmt, name in named]
        compute = arithmetic_paths.computer(caller, [source for _, source in read], into, rule, p3109)
        decode = float_paths.decoder(KERNELS, into, out.dtype, out.size)
        space = np.empty(0 if own else min(stop - start, arithmetic_paths.CHUNK), kind)
        for part, pieces in _pieces(operands, start, stop, arithmetic_paths.CHUNK):
            words = [words_in(x, part.start) for (words_in, _), x in zip(read, pieces, strict=True)]
            found = result[part] if own else space[: part.stop - part.start]
            first_nan = compute(words, part.start, found)
            if first_nan >= 0:
                refuse_nan(caller, part.start + first_nan, into, shape)
            if not own:
                decode(found, result[part])

    arrays.in_threads(out.size, work, least=arithmetic_paths.ELEMENTS_PER_THREAD)


def calculate(caller: str, operands, fmt, options: ValueOptions, names: Sequence[str] = "abc") -> np.ndarray:
    """Check, compute, return values: the body of every operation."""
    given: dict[str, Any] = dict(known(caller, options, ValueOptions))
    formats, into = operand_formats(caller, fmt, names[: len(operands)], given.pop("out_format", None))
    like = arrays.known_like(caller, given.pop("like", None))
    operands, dtype = _operands(caller, operands, formats, into, names)
    rule = RoundingRule.of(caller, into, operands[0].shape, **given)
    refuses_nan = rule.refuses_nan(into)
    out = np.empty(operands[0].shape, dtype)
    result = out.reshape(-1)
    tabulated = may_be_tabulated([fmt.bits for fmt in formats], into, rule, out.size)
    compiled = out.size > definitions.elements_left and not tabulated
    if compiled and arithmetic_paths.serves(caller, formats, into, rule):
        _calculate_in_float64(caller, operands, formats, into, rule, out, names)
        return arrays.alike(caller, out, like)

    quick = None
    if out.size > definitions.elements_left and tabulated:
        table = table_of(caller, formats, into, rule)
        quick = _by_leading_bits(operands, formats, into, dtype, table) if (table >= 0).any() else None

    def work(start, stop):
        for part, pieces in _pieces(operands, start, stop, PIECE):
            if quick is not None and quick(pieces, result[part]):
                continue
            codes = _codes(caller, pieces, formats, part.start, out.shape, names)
            found, _, first_nan = compute(caller, codes, formats, into, rule, part.start)
            if refuses_nan and first_nan >= 0:
                refuse_nan(caller, part.start + first_nan, into, out.shape)
            result[part] = values_of(found, into, dtype)

    arrays.in_threads(out.size, work, least=arithmetic_paths.ELEMENTS_PER_THREAD)
    return arrays.alike(caller, out, like)


def told(caller: str, operands, fmt, tell: Callable[..., np.ndarray], dtype: Any, names: Sequence[str] = "abc"):
    """Return what `tell(codes, formats)` says of values, as an array of a dtype."""
    formats, _ = operand_formats(caller, fmt, names[: len(operands)], "float16")
    operands, _ = _operands(caller, operands, formats, formats[0], names)
    out = np.empty(operands[0].shape, dtype)
    result = out.reshape(-1)
    for part, pieces in _pieces(operands, 0, out.size, PIECE):
        result[part] = tell(_codes(caller, pieces, formats, part.start, out.shape, names), formats)
    return out


def values_of(codes: np.ndarray, fmt, dtype: np.dtype) -> np.ndarray:
    """Return the values of codes (unsigned) in a dtype that holds them all."""
    if dtype.name in arrays.FLOATS and fmt == floats.format_of(dtype.name):
        return codes.astype(arrays.FLOATS[dtype.name]).view(dtype)
    wide = np.float64 if dtype.name == "bfloat16" else dtype
    values = np.empty(codes.size, wide)
    codes = codes.astype(arrays.code_dtype(fmt.bits), copy=False)
    float_paths.decode_all(kernels(codes.size), codes, values, fmt)
    return values.astype(dtype, copy=False)
