"""By which kernels values become codes, or values of a format, and codes values.

- A table, for inputs of at most 16 bits: it holds the result of each of their values.
- The loops of `refimpl.kernels.float32_codes` and `refimpl.kernels.float32_stochastic`, of float32 alone.
- A loop of `refimpl.kernels.float_bits`, for formats that lie within float32 or float64.  What overflow,
  infinities, NaN and zeros become is asked of the definition, and handed to it.
- The general path, `refimpl.kernels.float_codes` and `refimpl.kernels.posits`, for all else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from refimpl.formats import FloatFormat, PositFormat
from refimpl.formats import format as format_of
from refimpl.ops import arrays
from refimpl.ops.definitions import DEFINITIONS, KERNELS
from refimpl.ops.rounding import RoundingRule
from refimpl.spec import float_codes as spec
from refimpl.spec import operations

CHUNK = 1 << 15  # elements: as many words of 64 bits stay in the second-level cache
_EXACT = 1 << 53  # integers up to this one are float64s

Write = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


def round_all(use, x: np.ndarray, out: np.ndarray, fmt, rule: RoundingRule, *, values: bool) -> None:
    """Write the codes of x, or its rounded values, into `out`.

    use: what `definitions.kernels` gave; out: codes, or bits of floats of x's dtype, of float64 for integers;
    flat, its memory that of x or apart from it.
    """
    table, write = None, None
    if use is not DEFINITIONS:
        whole = _of_float32(x, out, fmt, rule, values)
        if whole is not None:
            arrays.in_threads(x.size, whole)
            return
        table = _table_for(x, fmt, rule, values)
        write = loop(x.dtype.newbyteorder("="), fmt, rule, values) if table is None else None
    general = _general(use, fmt, rule, values)

    def work(start, stop):
        for part, piece in arrays.chunks(x, start, stop, count=CHUNK):
            if table is not None:
                use.tables.look_up(piece.view(f"u{piece.itemsize}"), out[part], table)
            else:
                by = write if write is not None and _is_float64(piece) else general
                by(piece, rule.words(piece.size, part.start), out[part])

    arrays.in_threads(x.size, work)


def decode_all(use, codes: np.ndarray, out: np.ndarray, fmt) -> None:
    """Write the values of codes into `out` (floats, flat), rounded to its dtype once, ties to even."""
    bits, write = arrays.bits_of(out), decoder(use, fmt, out.dtype, codes.size)

    def work(start, stop):
        for part, piece in arrays.chunks(codes, start, stop, count=CHUNK):
            write(piece, bits[part])

    arrays.in_threads(codes.size, work)


def decoder(use, fmt, dtype: np.dtype, size: int) -> Callable[[np.ndarray, np.ndarray], None]:
    """Return what writes the values of codes into bits of floats of a dtype, for `size` elements in all."""
    name = dtype.name
    few = fmt.bits <= 8 or (fmt.bits <= 16 and (isinstance(fmt, PositFormat) or name == "float16"))
    if use is not DEFINITIONS and few and size >= 1 << fmt.bits:
        table, narrow = table_of_values(fmt, dtype), arrays.code_dtype(fmt.bits)
        return lambda codes, bits: use.tables.look_up(codes.astype(narrow, copy=False), bits, table)
    if use is not DEFINITIONS and name in LAYOUTS and isinstance(fmt, FloatFormat) and _bits().fits(fmt, name):
        word, record = arrays.FLOATS[name], target(fmt, name)
        return lambda codes, bits: _bits().decode_words(codes.astype(word, copy=False), bits, record)
    short = use is not DEFINITIONS and dtype.itemsize == 2
    if short and isinstance(fmt, FloatFormat) and _bits().fits(fmt, "float32"):
        record, into = target(fmt, "float32"), KERNELS.float32_codes.float32_code_target(format_of(name))

        def by_float32(codes, bits):  # which holds the values, so that they are rounded once
            exact = np.empty(codes.size, np.uint32)
            _bits().decode_words(codes.astype(np.uint32, copy=False), exact, record)
            KERNELS.float32_codes.encode_ties_to_even(exact, bits, into)

        return by_float32
    kernel, fields_of = kernel_of(fmt, use)
    wide = fields(name, use)
    return lambda codes, bits: kernel.decode(codes, bits, fields_of, wide)


def nearest(dtype: np.dtype, fmt) -> Callable[[np.ndarray, np.ndarray], None]:
    """Return what writes the values of a format nearest to floats of a dtype, as bits like theirs."""
    rule, fast = RoundingRule(), KERNELS.float32_codes
    if dtype == np.float32 and isinstance(fmt, FloatFormat) and fast.fits_float32(fmt):
        value_target = fast.float32_target(fmt, rule.overflow, rule.nan)
        return lambda x, bits: fast.quantize_ties_to_even(arrays.bits_of(x), bits, value_target)
    if dtype.itemsize == 2:
        table = _table_of_results(dtype, fmt, rule, True)
        return lambda x, bits: KERNELS.tables.look_up(arrays.bits_of(x), bits, table)
    write, no_words = loop(dtype, fmt, rule, True) or _general(KERNELS, fmt, rule, True), np.empty(0, np.uint32)
    return lambda x, bits: write(x, no_words, bits)


# -- what formats hold ------------------------------------------------------------------------------


def exponents(fmt: FloatFormat | PositFormat) -> tuple[int, int]:
    """Return the exponents of the smallest and the largest value."""
    if isinstance(fmt, PositFormat):
        top = (fmt.bits - 2) << fmt.exponent_bits
        return -top, top
    return fmt.min_exponent - fmt.mantissa_bits, fmt.maxexp


def precision(fmt: FloatFormat | PositFormat) -> int:
    """Return how many bits a significand has at most."""
    return fmt.bits - 2 - fmt.exponent_bits if isinstance(fmt, PositFormat) else fmt.mantissa_bits + 1


# -- the general path --------------------------------------------------------------------------------


def kernel_of(fmt, use) -> tuple[Any, Any]:
    """Return the kernels of a format and its record for them."""
    kernel = use.posits if isinstance(fmt, PositFormat) else use.float_codes
    return kernel, kernel.fields(fmt)


def fields(name: str, use):
    """Return the record of a named float format."""
    return use.float_codes.fields(format_of(name))


def _general(use, fmt, rule: RoundingRule, values: bool) -> Write:
    (kernel, record), mode = kernel_of(fmt, use), rule.for_kernels(use)

    def write(x, words, out):
        if not arrays.is_float(x):
            codes = np.empty(x.size, arrays.code_dtype(fmt.bits)) if values else out
            wide = np.uint64 if x.dtype == np.uint64 else np.int64
            kernel.encode_integers(x.astype(wide, copy=False), codes, record, mode, words)
            if values:
                kernel.decode(codes, out, record, fields("float64", use))
            return
        call = kernel.quantize if values else kernel.encode
        call(arrays.bits_of(x), out, fields(x.dtype.name, use), record, mode, words)

    return write


# -- loops of float32 --------------------------------------------------------------------------------


def _of_float32(x: np.ndarray, out: np.ndarray, fmt, rule: RoundingRule, values: bool):
    """Return what writes results of elements from one to another, ties to even or stochastic; None for all else."""
    flat, fast, nan = arrays.flat(x), KERNELS.float32_codes, "zero" if rule.nan == "raise" else rule.nan
    if x.dtype != np.float32 or flat is None or not isinstance(fmt, FloatFormat) or not fast.fits_float32(fmt):
        return None
    bits = arrays.bits_of(flat)
    if rule.mode == "ties_to_even" and values:
        value_target = fast.float32_target(fmt, rule.overflow, nan)
        return lambda start, stop: fast.quantize_ties_to_even(bits[start:stop], out[start:stop], value_target)
    if rule.mode == "ties_to_even":
        code_target = fast.float32_code_target(fmt, rule.overflow, nan)
        return lambda start, stop: fast.encode_ties_to_even(bits[start:stop], out[start:stop], code_target)
    if rule.mode == "stochastic" and values and rule.given is None:
        stochastic = KERNELS.float32_stochastic.quantize_stochastic
        key = fast.float32_target(fmt, rule.overflow, nan), np.uint64(rule.seed), np.uint64(rule.stream)
        return lambda start, stop: stochastic(bits[start:stop], out[start:stop], *key, np.uint64(start // 4))
    return None


# -- loops on bits -----------------------------------------------------------------------------------


def _bits() -> Any:
    return KERNELS.float_bits


LAYOUTS = ("float32", "float64")


def _is_float64(x: np.ndarray) -> bool:
    """Tell whether float64 holds all of x."""
    if x.dtype.kind not in "iu" or x.itemsize < 8:
        return True
    return bool(x.max() <= _EXACT and x.min() >= -_EXACT)


def loop(dtype: np.dtype, fmt, rule: RoundingRule, values: bool, p3109: bool = False) -> Write | None:
    """Return what writes results of arrays of a dtype that float64 holds, or None where no loop serves.

    p3109: whether by P3109's rules in IEEE's formats, too.
    """
    if isinstance(fmt, PositFormat):
        return _loop_of_posits(dtype, fmt, values)
    kernel, kind = _bits(), dtype.name if dtype.name in arrays.FLOATS else "float64"
    found = encoder(fmt, rule, LAYOUTS[kind == "float64" :], p3109)
    if found is None:
        return None
    name, encode = found
    record, word, narrow = target(fmt, name), arrays.FLOATS[name], arrays.code_dtype(min(fmt.bits, 16))
    table = table_of_values(fmt, np.dtype(dtype)) if values and kind != name and fmt.bits <= 16 else None

    def write(x, words, out):
        codes = encode(widened(x, name), words)
        if not values:
            out[:] = codes
        elif kind == name:
            kernel.decode_words(codes, out, record)
        elif table is not None:
            KERNELS.tables.look_up(codes.astype(narrow), out, table)
        else:
            wide = np.empty(x.size, word)
            kernel.decode_words(codes, wide, record)
            kernel.encode_words(wide, codes, target(format_of(kind), name), kernel.rule("ties_to_even", 32, name))
            out[:] = codes

    return write


def encoder(fmt: FloatFormat, rule: RoundingRule, names, p3109: bool = False) -> tuple[str, Callable] | None:
    """Return the first of named float types that serves a format under a rule, and what makes codes of its bits."""
    kernel = _bits()
    for name in names:
        how = kernel.rule(rule.mode, rule.random_bits, name)
        if how is not None and kernel.fits(fmt, name):
            break
    else:
        return None
    record = target(fmt, name, rule.mode, rule.overflow, "zero" if rule.nan == "raise" else rule.nan, p3109)

    def encode(bits, words):
        codes = np.empty_like(bits)
        if rule.stochastic:
            kernel.encode_words_stochastic(bits, words, codes, record, how)
        else:
            kernel.encode_words(bits, codes, record, how)
        return codes

    return name, encode


def _loop_of_posits(dtype: np.dtype, fmt: PositFormat, values: bool) -> Write:
    kernel, record = kernel_of(fmt, KERNELS)
    kind = dtype if dtype.name in arrays.FLOATS else np.dtype(np.float64)
    table = table_of_values(fmt, kind) if values and fmt.bits <= 16 else None

    def write(x, words, out):
        codes = np.empty(x.size, np.uint64)
        kernel.encode_float64(widened(x, "float64"), codes, record)
        if not values:
            out[:] = codes
        elif table is not None:
            KERNELS.tables.look_up(codes.astype(np.uint16), out, table)
        else:
            kernel.decode(codes, out, record, fields(kind.name, KERNELS))

    return write


def widened(x: np.ndarray, name: str) -> np.ndarray:
    """Return the bits of x as floats of a type that holds them."""
    if x.dtype.name == name:
        return arrays.bits_of(x)
    if x.dtype.name not in arrays.FLOATS:
        return arrays.bits_of(x.astype(name))
    bits = np.empty(x.size, arrays.FLOATS[name])  # not by the machine, which may flush subnormals
    if x.itemsize == 2 and x.size >= CHUNK:
        KERNELS.tables.look_up(arrays.bits_of(x), bits, table_of_values(format_of(x.dtype.name), np.dtype(name)))
        return bits
    _bits().decode_words(arrays.bits_of(x).astype(bits.dtype), bits, target(format_of(x.dtype.name), name))
    return bits


@lru_cache(maxsize=128)
def target(fmt: FloatFormat, name: str, rounding="ties_to_even", overflow="overflow", nan="zero", p3109=False):
    """Return the loops' record of a format, for a mode and rules."""
    beyond = Fraction(2) ** (fmt.maxexp + 2)
    cases = ("finite", Fraction(0)), ("infinite", Fraction(0)), ("nan", Fraction(0)), ("finite", beyond)

    def code(kind, negative, size):
        return operations.encode(spec.Value(kind, negative, size), fmt, rounding, overflow, nan, p3109=p3109)

    specials = tuple((code(kind, False, size), code(kind, True, size)) for kind, size in cases)
    return _bits().target(fmt, name, specials)


# -- tables ------------------------------------------------------------------------------------------


def _table_for(x: np.ndarray, fmt, rule: RoundingRule, values: bool) -> np.ndarray | None:
    """Return the results of all values of x's type, where these are few and x is large enough."""
    dtype = x.dtype.newbyteorder("=")
    if dtype.itemsize > 2 or rule.stochastic or x.size < 1 << (8 * dtype.itemsize - 2):
        return None
    return _table_of_results(dtype, fmt, replace(rule, seed=0, stream=0), values)


@lru_cache(maxsize=32)
def _table_of_results(dtype: np.dtype, fmt, rule: RoundingRule, values: bool) -> np.ndarray:
    """Return the results of all values of a type of at most 16 bits, by their bits."""
    every = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    x = every != 0 if dtype.kind == "b" else every.view(dtype)
    kind = (np.uint64 if x.dtype.name not in arrays.FLOATS else every.dtype) if values else arrays.code_dtype(fmt.bits)
    table, no_words = np.empty(x.size, kind), np.empty(0, np.uint32)
    write = loop(dtype, fmt, rule, values) or _general(KERNELS, fmt, rule, values)
    for part, piece in arrays.chunks(x):
        write(piece, no_words, table[part])
    table.setflags(write=False)
    return table


@lru_cache(maxsize=32)
def table_of_values(fmt, dtype: np.dtype) -> np.ndarray:
    """Return the bits of the values of all codes of a format of at most 16 bits."""
    kernel, record = kernel_of(fmt, KERNELS)
    table = np.empty(1 << fmt.bits, arrays.FLOATS[dtype.name])
    kernel.decode(np.arange(1 << fmt.bits, dtype=np.uint16), table, record, fields(dtype.name, KERNELS))
    table.setflags(write=False)
    return table
