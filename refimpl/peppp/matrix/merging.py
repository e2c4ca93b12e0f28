"""Two error matrices merged into one, their provenance kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refimpl.peppp.arguments import one_of
from refimpl.peppp.matrix.error_matrix import MATRICES

_NONE = object()


def merged(one, other, on_conflict: str):
    """Return one ErrorMatrix with the rows and columns of both; see `ErrorMatrix.merge`."""
    one_of("merge", "on_conflict", on_conflict, ("raise", "first", "second"))
    if type(other) is not type(one):
        raise TypeError(f"merge: got a {type(other).__name__}; allowed is an ErrorMatrix; load or make one")
    rows = tuple(dict.fromkeys(one.rows + other.rows))
    columns = tuple(dict.fromkeys(one.columns + other.columns))
    spread = [{name: _spread(m, name, rows, columns) for name in ("values", *MATRICES)} for m in (one, other)]
    mine, yours = spread
    differ = mine["values"] != yours["values"]
    differ &= ~np.isnan(mine["values"]) & ~np.isnan(yours["values"])
    if on_conflict == "raise" and differ.any():
        i, j = np.argwhere(differ)[0]
        raise ValueError(
            f"merge: got errors {mine['values'][i, j]} and {yours['values'][i, j]} in row "
            f"{rows[i]!r}, column {columns[j]!r}; allowed are equal errors; pass "
            "on_conflict='first' or 'second'"
        )
    take_mine = ~np.isnan(mine["values"])
    if on_conflict == "second":
        take_mine &= np.isnan(yours["values"])
    parts = {name: np.where(take_mine, mine[name], yours[name]) for name in ("values", "seconds")}
    parts["memory_mb"] = _merged_memory(one, mine, yours, other, rows, columns)
    if one.seconds is None and other.seconds is None:
        parts["seconds"] = None
    alike = {k: v for k, v in one.metadata.items() if other.metadata.get(k, _NONE) == v}
    alike["merged_from"] = [_provenance(m) for m in (one, other)]
    return type(one)(rows=rows, columns=columns, metadata=alike, **parts)


def _spread(matrix, name, rows, columns) -> NDArray[np.float64]:
    """A part of a matrix in the places it has among more rows and columns, nan elsewhere."""
    wide = np.full((len(rows), len(columns)), np.nan)
    part = getattr(matrix, name)
    if part is not None:
        at_row, at_column = map(rows.index, matrix.rows), map(columns.index, matrix.columns)
        wide[np.ix_(list(at_row), list(at_column))] = part
    return wide


def _merged_memory(one, mine, yours, other, rows, columns):
    if one.memory_mb is None and other.memory_mb is None:
        return None
    a, b = mine["memory_mb"], yours["memory_mb"]
    differ = np.abs(a - b) > 1e-9 * np.maximum(a, b)  # false where one is nan
    merged = np.where(np.isnan(a), b, a)
    bad = np.argwhere(differ | np.isnan(merged))
    if len(bad):
        i, j = bad[0]
        raise ValueError(
            f"merge: got memory {a[i, j]} and {b[i, j]} MB in row {rows[i]!r}, column "
            f"{columns[j]!r}; allowed are equal memories, known in one of the two; correct "
            "them, or merge without memory"
        )
    return merged


def _provenance(matrix) -> dict[str, Any]:
    return {
        "rows": list(matrix.rows),
        "columns": list(matrix.columns),
        "metadata": matrix.metadata,
        "fingerprint": matrix.fingerprint,
    }
