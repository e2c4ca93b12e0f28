"""Error matrices as CSV, for spreadsheets and other programs.

One line per cell, ``task,configuration,error,memory_mb,seconds``; an empty field is an unmeasured
error or a number there is none of. A first line ``# {...}`` holds the metadata as JSON. A plain
table is read too: configurations in the first line, a task and its errors in each further one.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np

from refimpl.peppp.matrix.npz_files import whole_or_not

__all__ = ["read_csv", "write_csv"]

FIELDS = ("task", "configuration", "error", "memory_mb", "seconds")


def write_csv(matrix, path) -> None:
    """Write a matrix, every number with the digits that give it back exactly.

    Parameters
    ----------
    matrix : ErrorMatrix
    path : path-like

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with whole_or_not(path) as binary:
        file = io.TextIOWrapper(binary, encoding="utf-8", newline="", write_through=True)
        file.write(f"# {json.dumps(matrix.metadata, sort_keys=True)}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for i, task in enumerate(matrix.rows):
            for j, configuration in enumerate(matrix.columns):
                numbers = (
                    None if part is None else part[i, j] for part in (matrix.values, matrix.memory_mb, matrix.seconds)
                )
                writer.writerow([task, configuration, *map(_text, numbers)])
        file.detach()  # leaves the file open, to be closed by who opened it


def _text(number) -> str:
    return "" if number is None or np.isnan(number) else repr(float(number))


def read_csv(path) -> dict:
    """Read the fields of an ErrorMatrix from either kind of CSV.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        Arguments for `ErrorMatrix`.

    Raises
    ------
    ValueError
        If the file does not exist, is not such a table, gives a cell twice or a field that is not
        a number; the message names the line.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"read_csv: got {path}, which cannot be read as UTF-8 text ({error}); allowed is a CSV file; check the path"
        ) from None
    metadata, before = {}, 0
    if text.startswith("#"):
        first, _, text = text.partition("\n")
        try:
            metadata = json.loads(first[1:])
        except ValueError:
            raise ValueError(
                f"read_csv: got {path} whose first line starts with # but is not JSON; allowed is "
                "'# {...}' or none; correct or drop it"
            ) from None
        before = 1
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        table = [(before + reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ValueError(
            f"read_csv: got line {before + reader.line_num} of {path}, which is no CSV ({error}); "
            "allowed are lines of fields with commas between; correct it"
        ) from None
    if len(table) < 2 or len(table[0][1]) < 2:
        raise ValueError(
            f"read_csv: got {path} without a table; allowed is a first line of names and a line "
            f"for each cell or task; write it with ErrorMatrix.save_csv (fields {','.join(FIELDS)})"
        )
    head = table[0][1]
    long = head[:3] == list(FIELDS[:3])
    fields = _read_cells(path, table) if long else _read_table(path, table)
    return fields | {"metadata": metadata}


def _number(path, line, text) -> float:
    if text.strip().lower() in ("", "nan"):
        return np.nan
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"read_csv: got {text!r} in line {line} of {path}; allowed are numbers, or an empty "
            "field for unmeasured; correct it"
        ) from None


def _demand(path, line, row, count):
    if len(row) != count:
        raise ValueError(
            f"read_csv: got {len(row)} fields in line {line} of {path}; allowed are {count}, as in "
            "the first line; correct it"
        )


def _read_table(path, table) -> dict:
    head = table[0][1]
    values = []
    for line, row in table[1:]:
        _demand(path, line, row, len(head))
        values.append([_number(path, line, text) for text in row[1:]])
    return {"values": values, "rows": [row[0] for _, row in table[1:]], "columns": head[1:]}


def _read_cells(path, table) -> dict:
    head = table[0][1]
    numbers = [name for name in FIELDS[2:] if name in head]
    rows, columns, cells = {}, {}, {}
    for line, row in table[1:]:
        _demand(path, line, row, len(head))
        cell = dict(zip(head, row, strict=True))
        key = cell["task"], cell["configuration"]
        if key in cells:
            raise ValueError(
                f"read_csv: got task {key[0]!r}, configuration {key[1]!r} a second time in line "
                f"{line} of {path}; allowed is each cell once; drop one"
            )
        rows.setdefault(key[0], len(rows))
        columns.setdefault(key[1], len(columns))
        cells[key] = [_number(path, line, cell[name]) for name in numbers]
    arrays = np.full((len(numbers), len(rows), len(columns)), np.nan)
    for (task, configuration), found in cells.items():
        arrays[:, rows[task], columns[configuration]] = found
    parts = dict(zip(numbers, arrays, strict=True))
    # a part that no cell has is a part the matrix does not have
    optional = {k: v for k, v in parts.items() if k != "error" and not np.isnan(v).all()}
    return {"values": parts["error"], "rows": list(rows), "columns": list(columns), **optional}
