"""How operations on codes are computed: by a kernel where there is one, else by definition, each case once.

`refimpl.spec.operations` has the definitions.  Of those that no kernel computes every tuple of codes is
evaluated once and remembered, in a table if it has at most 16 bits: an operation of an 8-bit format soon runs
at the speed of a table, another takes some 20 microseconds for each distinct tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from refimpl import _arguments
from refimpl.formats import FloatFormat, PositFormat
from refimpl.formats.names import read
from refimpl.ops import arrays
from refimpl.ops.definitions import kernels
from refimpl.ops.rounding import RoundingOptions, RoundingRule
from refimpl.spec import operations as spec

MOST_MANTISSA_BITS = 24  # exactness of the kernels: 25 significant bits
KERNELS = ("add", "sub", "mul", "div", "sqrt", "fma")
TABLE_BITS = 16
FLAGS = {
    "inexact": spec.INEXACT,
    "underflow": spec.UNDERFLOW,
    "overflow": spec.OVERFLOW,
    "divide_by_zero": spec.DIVIDE_BY_ZERO,
    "invalid": spec.INVALID,
}
"""The bits of exception flags, which are those of SoftFloat and TestFloat."""

Format = FloatFormat | PositFormat


class OperationOptions(RoundingOptions, total=False):
    """The keyword arguments of an operation: how to round, and into which format."""

    out_format: Any


def formats_of(caller: str, fmt, count: int, out_format=None) -> tuple[tuple[Format, ...], Format]:
    """Return the formats of operands, all the same or a tuple of one each, and that of the result."""
    given = fmt if isinstance(fmt, tuple) else (fmt,) * count
    if len(given) != count:
        some = "one format" if count == 1 else f"one format or a tuple of {count}"
        raise _arguments.wrong_value(caller, "fmt", fmt, some)
    several = tuple(read(caller, "fmt", f, FloatFormat, PositFormat) for f in given)
    if out_format is None:
        if len(set(several)) > 1:
            raise _arguments.wrong_value(caller, "out_format", None, "a format where those of the operands differ")
        return several, several[0]
    return several, read(caller, "out_format", out_format, FloatFormat, PositFormat)


def compute(
    name: str,
    codes: Sequence[np.ndarray],
    formats: tuple[Format, ...],
    into: Format,
    rule: RoundingRule,
    start: int = 0,
    tininess: str = "",
    p3109: bool | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the codes of results, exception flags, and the index of the first NaN where no kernel tells, or -1.

    codes: uint64 (n,) each, elements `start` and those after it of the operands.  tininess: ``before`` or
    ``after``, if flags are asked for.  p3109: whether by P3109's rules; by default where a format is P3109's.
    """
    p3109 = spec.is_p3109(*formats, into) if p3109 is None else p3109
    size = codes[0].size
    words = rule.words(size, start)
    if name in KERNELS and not tininess and all(map(is_narrow, (*formats, into))):
        use = kernels(size)
        kernel = use.arithmetic
        a, b, c = (list(codes) * 3)[:3]
        layouts = [kernel.layout(fmt) for fmt in (list(formats) * 3)[:3]] + [kernel.layout(into, p3109)]
        result, mode = np.empty(size, np.uint64), rule.for_kernels(use)
        number = kernel.OPERATIONS.index(name)
        first_nan = kernel.calculate(number, a, b, c, result, *layouts, mode, words, p3109)
        return result, np.empty(0, np.uint8), first_nan
    columns, decoders = [*codes], [_decoder(fmt, p3109) for fmt in formats]
    if rule.stochastic:
        columns.append(words[:size].astype(np.uint64) >> np.uint64(32 - rule.random_bits))
    how = rule.mode, rule.overflow, "zero" if rule.nan == "raise" else rule.nan

    def case(*given: int) -> tuple[int, int]:
        random = given[-1] if rule.stochastic else 0
        values = tuple(decode(code) for decode, code in zip(decoders, given, strict=False))
        exact = spec.exact(name, values, rule.mode, p3109)
        code = spec.encode(exact, into, *how, random, rule.random_bits, p3109)
        found = NAN if exact.kind == "nan" else 0
        if tininess and isinstance(into, FloatFormat):
            signaling = any(map(spec.is_signaling, given, formats)) and name not in QUIET
            product = name == "fma" and {values[0].kind, values[1].kind} == {"infinite", "finite"}
            product = product and spec.exact("mul", values[:2]).kind == "nan"
            after = tininess == "after", random, rule.random_bits
            found |= spec.flags(values, signaling, exact, into, rule.mode, *after, product)
        return code, found

    key = (name, formats, into, how, rule.random_bits if rule.stochastic else 0, tininess, p3109)
    result, found = look_up(key, [*(f.bits for f in formats), rule.random_bits][: len(columns)], columns, case)
    nans = found & NAN != 0
    return result, found & np.uint8(127), int(np.argmax(nans)) if nans.any() else -1


NAN = 128  # beside the flags of a case: its result is NaN
QUIET = ("abs", "negate", "copysign")  # operations on the sign bit, which signal nothing


def is_narrow(fmt: Format) -> bool:
    """Tell whether kernels are exact in a format."""
    return isinstance(fmt, PositFormat) or fmt.mantissa_bits <= MOST_MANTISSA_BITS


@lru_cache(maxsize=64)
def _decoder(fmt: Format, p3109: bool) -> Callable[[int], Any]:
    return lru_cache(maxsize=1 << 16)(partial(spec.decode, fmt=fmt, p3109=p3109))


def look_up(
    key: Hashable, bits: Sequence[int], columns: Sequence[np.ndarray], case: Callable[..., tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a case gives for each row of columns (uint64 (n,)) of some bits, as uint64 and uint8.

    key: all that a case depends on, but its arguments.
    """
    total = sum(bits)
    if total > 64:
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        known = {row: case(*row) for row in set(rows)}
        found = [known[row] for row in rows]
        return (np.array([f[k] for f in found], dtype) for k, dtype in enumerate((np.uint64, np.uint8)))  # type: ignore[return-value]
    index = np.zeros(columns[0].size, np.uint64)
    for column, width in zip(columns, bits, strict=True):
        index = index << np.uint64(width) | column if width < 64 else column
    inverse: Any = index
    if total <= TABLE_BITS:
        done, result, flags = _table(key, total)
        missing = np.zeros(done.size, bool)
        missing[index] = True
        places = np.flatnonzero(missing & ~done)
        cases = places.astype(np.uint64)
    else:
        cases, inverse = np.unique(index, return_inverse=True)
        places, result, flags = np.arange(cases.size), np.empty(cases.size, np.uint64), np.empty(cases.size, np.uint8)
    shifts = [sum(bits[k + 1 :]) for k in range(len(bits))]
    for place, packed in zip(places.tolist(), cases.tolist(), strict=True):
        given = [packed >> shift & (1 << width) - 1 for shift, width in zip(shifts, bits, strict=True)]
        result[place], flags[place] = case(*given)
    if total <= TABLE_BITS:
        done[places] = True
    return result[inverse], flags[inverse]


@lru_cache(maxsize=256)
def _table(key: Hashable, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(1 << bits, bool), np.zeros(1 << bits, np.uint64), np.zeros(1 << bits, np.uint8)


def broadcast(caller: str, names: str | Sequence[str], operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return operands broadcast against each other."""
    try:
        return list(np.broadcast_arrays(*operands))
    except ValueError:
        shapes = ", ".join(str(x.shape) for x in operands)
        got = ", ".join(names[: len(operands)])
        raise ValueError(_arguments.message(caller, got, f"of shapes {shapes}", "shapes that broadcast")) from None


def refuse_nan(caller: str, first: int, into: Format, shape: tuple[int, ...]) -> None:
    """Refuse a result that is NaN where the format has none, unless `first` is -1."""
    if first >= 0:
        where = arrays.place("the result", first, shape)
        hint = "nan='zero' and nan='max' replace it"
        raise ValueError(_arguments.message(caller, where, "NaN", f"a number, for {into} has no NaN", hint))
