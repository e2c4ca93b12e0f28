"""Files of error matrices: npz and CSV, as the fields that `ErrorMatrix` is made of.

CSV is for spreadsheets and other programs: one line a cell, ``task,configuration,error,memory_mb,seconds``,
and where trainings were repeated ``error_1,error_2,...``, of which ``error`` is the mean; an empty field is an
unmeasured error or a number there is none of.  A first line ``# {...}`` holds the metadata as JSON, and under
``images`` the marks of the images of each row.  A table is read too: configurations in the first line, a task
and its errors in each further one.  Fields may be separated by semicolons or tabs, as spreadsheets of some countries
do it; `fill_csv` keeps the separator.  Files are written atomically and read without unpickling anything.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refimpl._arguments import message
from refimpl._files import read_arrays, writing

__all__ = ["MATRICES", "fill_csv", "read_csv", "read_npz", "write_csv", "write_npz"]

MATRICES = ("values", "memory_mb", "seconds")
"""Fields that are matrices; the first is never missing."""

REPEAT = "error_"
"""Beginning of the name of a CSV file's column with single trainings."""

LONE = "surrogatepass"
"""How CSV holds what stands in a name for bytes that are no UTF-8, as in the names of files."""

KINDS = {name: ("fiu", 2, "a matrix of numbers") for name in MATRICES}
KINDS |= {name: ("U", 1, "a list of strings") for name in ("rows", "columns")}
KINDS |= {"repeats": ("fiu", 3, "matrices of numbers"), "images": ("u", 2, "a matrix of unsigned integers")}
"""Of the arrays in an npz file: kind, number of axes, and both in words."""

FIELDS = ("task", "configuration", "error", "memory_mb", "seconds")


def _refusal(path: Path, got: str, allowed: str) -> ValueError:
    return ValueError(message("ErrorMatrix", str(path), got, allowed))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refusal(path, f"not to be read ({error.strerror})", "the file of an error matrix") from None


def write_npz(path: Path, fields: Mapping[str, Any]) -> None:
    """Write the fields of an ErrorMatrix to one file; raises OSError where it cannot be written."""
    arrays = {name: fields[name] for name in MATRICES if fields[name] is not None}
    arrays |= {name: np.array(fields[name], dtype=np.str_) for name in ("rows", "columns")}
    arrays["metadata"] = np.array(json.dumps(fields["metadata"], sort_keys=True))
    if fields["repeats"] is not None:
        arrays["repeats"] = fields["repeats"]
    if fields["images"] is not None:  # rows of one length: 0 is no mark
        arrays["images"] = np.zeros((len(fields["images"]), max(map(len, fields["images"]), default=0)), np.uint64)
        for row, marks in zip(arrays["images"], fields["images"], strict=True):
            row[: len(marks)] = marks
    with writing(path) as file:
        np.savez_compressed(file, **arrays)


def read_npz(path: Path) -> dict[str, Any]:
    """Return the fields of an ErrorMatrix, from an npz file of whatever content; raises ValueError."""
    try:
        held = read_arrays(path)
    except ValueError as error:
        raise _refusal(path, str(error), "a complete npz file of plain arrays") from None
    fields: dict[str, Any] = {}
    for name, (kinds, axes, what) in KINDS.items():
        if name not in held:
            if name in ("values", "rows", "columns"):
                raise _refusal(path, f"a file without the array {name!r}", "one that ErrorMatrix.save wrote")
            continue
        array = held[name]
        if array.dtype.kind not in kinds or array.ndim != axes:
            raise _refusal(path, f"a file with something else under {name!r}", f"{what} under {name!r}")
        fields[name] = array
    if "images" in fields:
        fields["images"] = [marks[marks != 0] for marks in fields["images"]]
    if "metadata" in held:
        fields["metadata"] = _metadata(path, str(held["metadata"]))
    return fields


def _metadata(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(path, f"a file with metadata that is not JSON ({error})", "a JSON object") from None


def write_csv(path: Path, fields: Mapping[str, Any]) -> None:
    """Write the fields of an ErrorMatrix, every number with the digits that give it back exactly."""
    text = io.StringIO(newline="")
    marks = {} if fields["images"] is None else {"images": [row.tolist() for row in fields["images"]]}
    text.write(f"# {json.dumps(fields['metadata'] | marks, sort_keys=True)}\n")
    writer = csv.writer(text, lineterminator="\n")
    repeats = () if fields["repeats"] is None else fields["repeats"]
    writer.writerow([*FIELDS, *(f"{REPEAT}{k + 1}" for k in range(len(repeats)))])
    for i, task in enumerate(fields["rows"]):
        for j, configuration in enumerate(fields["columns"]):
            parts = (*(fields[name] for name in MATRICES), *repeats)
            cells = (None if part is None else part[i, j] for part in parts)
            known = ("" if cell is None or np.isnan(cell) else repr(float(cell)) for cell in cells)
            writer.writerow([task, configuration, *known])
    with writing(path) as file:
        file.write(text.getvalue().encode(errors=LONE))


def read_csv(path: Path) -> dict[str, Any]:
    """Return the fields of an ErrorMatrix, from either kind of CSV; raises ValueError, naming the line."""
    comment, text = _text(path)
    metadata, before = (_metadata(path, comment[1:]), 1) if comment else ({}, 0)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text))
    try:
        table = [(before + reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise _refusal(path, f"not CSV in line {before + reader.line_num} ({error})", "a CSV file") from None
    if len(table) < 2 or len(table[0][1]) < 2:
        allowed = f"a first line of names and a line for each task, or cell (fields {','.join(FIELDS)})"
        raise _refusal(path, "a file without a table", allowed)
    head = table[0][1]
    for line, row in table:
        if len(row) != len(head):
            raise _refusal(path, f"of {len(row)} fields in line {line}", f"{len(head)}, as in the first line")
    cells = head[:3] == list(FIELDS[:3])
    images = metadata.pop("images", None) if isinstance(metadata, dict) else None
    return (_read_cells if cells else _read_table)(path, table) | {"metadata": metadata, "images": images}


def fill_csv(path: str, task: str, errors: Mapping[str, Sequence[float]]) -> None:
    """Write errors of a task into the empty fields of a CSV that `read_csv` reads, of either kind; leave the rest.

    Where there are fields for single trainings, each error fills one, and ``error`` is the mean of all that are there.
    Raises ValueError, before anything is written, where fewer are empty.
    """
    comment, text = _text(Path(path))
    separator = _separator(text)
    table = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    head = next(row for row in table if row)
    singles: list[int] = []
    if head[:3] != list(FIELDS[:3]):
        row = next(row for row in table if row and row is not head and row[0] == task)
        fields = {name: (row, head.index(name)) for name in errors}
    else:
        there = {row[1]: (row, 2) for row in table if row and row[0] == task}
        fields = {name: there.get(name, ([task, name, *[""] * (len(head) - 2)], 2)) for name in errors}
        table += [row for name, (row, _) in fields.items() if name not in there]
        singles = [i for i, name in enumerate(head) if name.startswith(REPEAT)]
    for name, (row, place) in fields.items():
        held = {i: _number(path, name, row[i]) for i in (place, *singles)}
        empty = [i for i in singles or [place] if np.isnan(held[i])]
        seen = [held[i] for i in singles if i not in empty]
        if len(empty) < len(errors[name]) or (not seen and not np.isnan(held[place])):
            allowed = "an empty field: leave what was observed, or empty it in the file"
            raise _refusal(Path(path), f"a table with {row[place]!r} for {name!r} of {task!r}", allowed)
        for i, error in zip(empty, errors[name], strict=False):
            row[i] = repr(float(error))
        row[place] = repr(float(np.mean([*seen, *errors[name]])))
    filled = io.StringIO(newline="")
    csv.writer(filled, delimiter=separator, lineterminator="\n").writerows(table)
    with writing(path) as file:
        file.write(f"{comment}{filled.getvalue()}".encode(errors=LONE))


def _text(path: Path) -> tuple[str, str]:
    """Return the comment in the first line, if there is one, and what follows."""
    try:
        text = _content(path).decode("utf-8-sig", LONE)
    except UnicodeDecodeError as error:
        raise _refusal(path, f"not UTF-8 text ({error})", "a CSV file") from None
    comment, end, rest = text.partition("\n")
    return (comment + end, rest) if text.startswith("#") else ("", text)


def _separator(text: str) -> str:
    """Return what separates fields: a comma, unless the line of names has none but semicolons or tabs."""
    names = text.lstrip("\r\n").partition("\n")[0]
    return next((mark for mark in ",;\t" if mark in names), ",")


def _number(path, line, text) -> float:
    if text.strip().lower() in ("", "nan"):
        return np.nan
    try:
        return float(text)
    except ValueError:
        allowed = "a number, or nothing where not measured"
        raise _refusal(path, f"a file with {text!r} in line {line}", allowed) from None


def _read_table(path, table) -> dict[str, Any]:
    values = [[_number(path, line, text) for text in row[1:]] for line, row in table[1:]]
    return {"values": values, "rows": [row[0] for _, row in table[1:]], "columns": table[0][1][1:]}


def _read_cells(path, table) -> dict[str, Any]:
    head = table[0][1]
    names = [name for name in head[2:] if name in FIELDS or name.startswith(REPEAT)]
    cells: dict[tuple[str, str], list[float]] = {}
    for line, row in table[1:]:
        cell = dict(zip(head, row, strict=True))
        key = cell["task"], cell["configuration"]
        if key in cells:
            raise _refusal(path, f"a file with {key} a second time in line {line}", "each cell once")
        cells[key] = [_number(path, line, cell[name]) for name in names]
    rows, columns = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    arrays = np.full((len(names), len(rows), len(columns)), np.nan)
    for (task, configuration), numbers in cells.items():
        arrays[:, rows.index(task), columns.index(configuration)] = numbers
    parts = dict(zip(names, arrays, strict=True))
    # a part that no cell has is a part the matrix does not have
    optional = {name: parts[name] for name in MATRICES[1:] if name in parts and not np.isnan(parts[name]).all()}
    repeats = [part for name, part in parts.items() if name.startswith(REPEAT)]
    return {"values": parts["error"], "rows": rows, "columns": columns, "repeats": repeats or None, **optional}
