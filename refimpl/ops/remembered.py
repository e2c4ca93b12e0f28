"""What operations give for codes of few bits, remembered: tables of all codes, filled as codes are asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from refimpl.formats import FloatFormat, PositFormat
from refimpl.ops.definitions import KERNELS as COMPILED
from refimpl.ops.rounding import RoundingRule

TABLE_BITS = 16
PAIRS = 1 << 12
"""Fewer elements than this are not worth a table of all pairs of 8-bit codes."""


def may_be_tabulated(bits: Sequence[int], into: FloatFormat | PositFormat, rule: RoundingRule, size: int) -> bool:
    """Tell whether a table of all codes has what an operation gives for `size` operands of some bits."""
    known = into.bits <= 16 and not rule.stochastic and not rule.refuses_nan(into)
    return known and len(bits) <= 2 and sum(bits) <= TABLE_BITS and size >= PAIRS


def is_tabulated(bits: Sequence[int], codes: Sequence[np.ndarray]) -> bool:
    """Tell whether `tabulated` serves codes of some bits."""
    return len(codes) <= 2 and sum(bits) <= TABLE_BITS and codes[0].size >= PAIRS


def tabulated(
    key: Hashable,
    bits: Sequence[int],
    codes: Sequence[np.ndarray],
    dtype: np.dtype,
    fill: Callable[[list[np.ndarray]], np.ndarray],
    at_once: bool = False,
) -> np.ndarray:
    """Return, for codes of one or two operands, what a table of all their codes has, in an unsigned dtype.

    key: all that results depend on, but the codes; fill: returns results of codes (uint64 (n,) each), and is asked
    for those that are missing, or for all `at_once`.
    """
    table = entries(key, sum(bits), dtype)
    narrow = np.uint8 if max(bits) <= 8 else np.uint16
    a, b = (np.ascontiguousarray(column, narrow) for column in (codes[0], codes[-1]))
    shift = bits[1] if len(codes) == 2 else 0
    results = np.empty(a.size, dtype)
    if COMPILED.tables.look_up_pairs(a, b, shift, results, table):
        places = np.arange(table.size)
        if not at_once:
            wanted = np.zeros(table.size, bool)
            wanted[a.astype(np.intp) << shift | b.astype(np.intp)] = True
            places = np.flatnonzero(wanted & (table < 0))
        columns = [places >> shift, places & (1 << shift) - 1][: len(codes)]
        table[places] = fill([column.astype(np.uint64) for column in columns])
        COMPILED.tables.look_up_pairs(a, b, shift, results, table)
    return results


@lru_cache(maxsize=64)
def entries(key: Hashable, bits: int, dtype: np.dtype) -> np.ndarray:
    """Return an empty table: -1 stands for what is missing."""
    return np.full(1 << bits, -1, np.int16 if dtype.itemsize == 1 else np.int32)


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
        return np.array([f[0] for f in found], np.uint64), np.array([f[1] for f in found], np.uint8)
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
