"""Which elementwise operations float64 computes: the machine's result to odd, then rounded as any float64 is.

`refimpl.kernels.float64_arithmetic` holds for operands of at most 26 significant bits, as long as nothing leaves the
range of float64's normal values, and for results that a second rounding of its bits to odd cannot spoil.  Where
stochastic rounding looks at more bits than that, the two float64 numbers around the result are rounded, which settles
it where both become the same, as rounding by one random word is monotone; the few others are computed in integers.
Operands come as codes of at most 32 bits: those of the values' own type, or of the number format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from refimpl.formats import FloatFormat, PositFormat
from refimpl.formats.floats import FLOATS
from refimpl.ops import arrays, float_paths
from refimpl.ops.definitions import KERNELS
from refimpl.ops.float_paths import exponents, precision
from refimpl.ops.rounding import RoundingRule

OPERATIONS = ("add", "sub", "mul", "div", "sqrt", "fma")
CHUNK = 1 << 16  # elements
ELEMENTS_PER_THREAD = 4 * CHUNK  # a millisecond or two
MOST_BITS = 26  # of an operand
FARTHEST = 300  # exponent of an operand: not even what a quotient of two is off by lies beyond float64's normal values
KEPT = {"sqrt": 50}  # bits of a result to odd, 53 of others
INTEGER_BITS = 62  # of a result to odd in integers, see `refimpl.kernels.arithmetic`
FLOAT64 = np.dtype(np.float64)

Format = FloatFormat | PositFormat


def serves(name: str, formats: Sequence[Any], into: Format, rule: RoundingRule) -> bool:
    """Tell whether an operation on operands of some formats is computed in float64."""
    if name not in OPERATIONS or not all(map(_is_operand, formats)):
        return False
    between = rule.stochastic and _bits_asked(into, rule) <= INTEGER_BITS
    return (between or _is_held(name, into, rule)) and float_paths.loop(FLOAT64, into, rule, False) is not None


def _bits_asked(into: Format, rule: RoundingRule) -> int:
    return precision(into) + (rule.random_bits if rule.stochastic else 0) + 2


def _is_held(name: str, into: Format, rule: RoundingRule) -> bool:
    """Tell whether rounding a result to odd is rounding the exact one."""
    return name == "mul" or _bits_asked(into, rule) <= KEPT.get(name, 53)


def _is_operand(fmt: Any) -> bool:
    if isinstance(fmt, PositFormat):
        return fmt.bits <= 16 and exponents(fmt)[1] <= 126  # in float32, by a table
    if not isinstance(fmt, FloatFormat) or fmt.bits > 32 or precision(fmt) > MOST_BITS:
        return False
    lowest, highest = exponents(fmt)
    return -FARTHEST <= lowest and highest <= FARTHEST


def reader(fmt: Format) -> tuple[Callable[[np.ndarray], np.ndarray], FloatFormat]:
    """Return what turns codes (unsigned (n,)) of a format that is served into words, and the format these are of.

    Words are codes (uint32 (n,)) as the kernel takes them.
    """
    if isinstance(fmt, FloatFormat):
        return lambda codes: codes.astype(np.uint32, copy=False), fmt
    table, single = float_paths.table_of_values(fmt, np.dtype(np.float32)), FLOATS["float32"]

    def values(codes):
        bits = np.empty(codes.size, np.uint32)
        KERNELS.tables.look_up(codes.astype(np.uint16, copy=False), bits, table)
        return bits

    return values, single


def computer(
    name: str, sources: Sequence[FloatFormat], into: Format, rule: RoundingRule, p3109: bool
) -> Callable[[Sequence[np.ndarray], int, np.ndarray], int]:
    """Return what computes an operation on words of `sources`, of elements `start` and after, and writes codes.

    It returns the index of the first NaN if one is refused, and -1 where none is.
    """
    kernel, number = KERNELS.float64_arithmetic, OPERATIONS.index(name)
    targets = [float_paths.target(source, "float64") for source in (list(sources) * 3)[:3]]
    downward = rule.mode == "toward_negative" and isinstance(into, FloatFormat)
    write = float_paths.loop(FLOAT64, into, rule, False, p3109)
    assert write is not None  # as `serves` has told

    def between(words, start, codes):
        a, b, c = (list(words) * 3)[:3]
        low, random = np.empty(a.size, np.uint64), rule.words(a.size, start)
        kernel.to_odd_of_codes(number, a, b, c, low, *targets, downward, p3109)
        cut, spare = low & np.uint64(1), np.uint64((1 << 53 - KEPT.get(name, 53)) - 1 | 1)  # to odd: 1 where cut off
        low &= ~(cut * spare)
        high, other = low + cut * (spare + np.uint64(1)), np.empty_like(codes)
        write(low.view(FLOAT64), random, codes)
        write(high.view(FLOAT64), random, other)
        open_ = np.flatnonzero(codes != other)
        if open_.size:
            exactly, found = KERNELS.arithmetic, np.empty(open_.size, np.uint64)
            layouts = [exactly.layout(fmt) for fmt in (list(sources) * 3)[:3]] + [exactly.layout(into, p3109)]
            some = [x[open_].astype(np.uint64) for x in (a, b, c)]
            exactly.calculate(number, *some, found, *layouts, rule.for_kernels(KERNELS), random[open_], p3109)
            codes[open_] = found
        nans = np.isnan(low.view(FLOAT64)) if rule.refuses_nan(into) else np.zeros(0, bool)
        return int(np.argmax(nans)) if nans.any() else -1

    def in_steps(words, start, codes):
        a, b, c = (list(words) * 3)[:3]
        exact = np.empty(a.size, np.uint64)
        kernel.to_odd_of_codes(number, a, b, c, exact, *targets, downward, p3109)
        results = exact.view(FLOAT64)
        write(results, rule.words(a.size, start), codes)
        nans = np.isnan(results) if rule.refuses_nan(into) else np.zeros(0, bool)
        return int(np.argmax(nans)) if nans.any() else -1

    if not _is_held(name, into, rule):
        return between
    if isinstance(into, PositFormat) or into.bits > 32 or rule.refuses_nan(into):
        return in_steps
    how = KERNELS.float_bits.rule(rule.mode, rule.random_bits, "float64")
    nan = "zero" if rule.nan == "raise" else rule.nan
    target = float_paths.target(into, "float64", rule.mode, rule.overflow, nan, p3109)

    def at_once(words, start, codes):
        a, b, c = (list(words) * 3)[:3]
        found = codes if codes.dtype == np.uint32 else np.empty(a.size, np.uint32)
        kernel.calculate(number, a, b, c, found, *targets, target, how, rule.words(a.size, start), downward, p3109)
        if found is not codes:
            codes[:] = found
        return -1

    return at_once


def compute_codes(
    name: str, codes: Sequence[np.ndarray], formats: Sequence[Any], into: Format, rule: RoundingRule, start: int, p3109
) -> tuple[np.ndarray, int]:
    """Return the codes of results for codes (unsigned (n,)) of operands, whatever their number, and that index."""
    size = codes[0].size
    found = np.empty(size, arrays.code_dtype(into.bits))
    reads, sources = zip(*map(reader, formats), strict=True)
    compute = computer(name, sources, into, rule, p3109)
    first_nans: list[int] = []

    def work(begin, stop):
        for first in range(begin, stop, CHUNK):
            part = slice(first, min(first + CHUNK, stop))
            words = [read(column[part]) for read, column in zip(reads, codes, strict=True)]
            nan = compute(words, start + first, found[part])
            first_nans.extend([first + nan] * (nan >= 0))

    arrays.in_threads(size, work, least=ELEMENTS_PER_THREAD)
    return found, min(first_nans, default=-1)
