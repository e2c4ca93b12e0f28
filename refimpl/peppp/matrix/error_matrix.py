"""The error matrix: what training every task in every configuration came to.

Rows are tasks, columns are configurations, an entry is a test error in [0, 1], and nan marks what
has not been measured. Beside the errors stand the memory each training needs, the seconds it
took, and free metadata. One matrix is one npz file, read without unpickling anything.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl._arguments import (
    choice,
    instance,
    message,
    names,
    numbers,
    of_shape,
    sequence,
    unknown,
    wrong_kind,
    wrong_value,
)
from refimpl._display import Shown
from refimpl.peppp.matrix import files

__all__ = ["ErrorMatrix"]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class ErrorMatrix(Shown):
    """Errors of tasks x configurations, with names.

    Parameters
    ----------
    values : array_like of float, shape (rows, columns)
        Test errors in [0, 1]; nan where not measured.
    rows, columns : sequence of str
        Distinct names of the tasks and of the configurations.
    memory_mb : array_like of float, shape (rows, columns), optional
        Memory of each training in MB (2^20 bytes), finite and >= 0.
    seconds : array_like of float, shape (rows, columns), optional
        Duration of each training in seconds, >= 0; nan where not measured.
    metadata : dict, optional
        Anything JSON can hold: settings, seed, version; not of single rows, and no key ``images``.
    repeats : array_like of float, shape (k, rows, columns), optional
        Errors of single trainings from different seeds, nan where there were fewer; `values` are their means.
    images : sequence of array_like of uint64, length rows, optional
        Marks of the images each row was made from (`refimpl.data.Task.marks`); empty where not known.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, a name is empty or occurs twice, a number is outside its range (the
        message names row and column), or the metadata cannot be written as JSON.

    Notes
    -----
    The arrays are private copies in float64 and read-only. Saving and loading is exact.
    *Source*: PEPPP (arXiv 2106.09686), whose matrix holds accuracies: error = 1 - accuracy.

    Examples
    --------
    >>> m = ErrorMatrix([[0.5, np.nan]], rows=["digits"], columns=["e4m3+e8m7", "e3m1+e6m7"])
    >>> m.row("digits")
    array([0.5, nan])
    >>> m.select(columns=["e4m3+e8m7"]).values
    array([[0.5]])
    """

    values: NDArray[np.float64]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    memory_mb: NDArray[np.float64] | None
    seconds: NDArray[np.float64] | None
    metadata: dict[str, Any]
    repeats: NDArray[np.float64] | None
    images: tuple[NDArray[np.uint64], ...] | None

    def __init__(
        self,
        values: ArrayLike,
        rows: Sequence[str],
        columns: Sequence[str],
        memory_mb: ArrayLike | None = None,
        seconds: ArrayLike | None = None,
        metadata: Mapping[str, Any] | None = None,
        repeats: ArrayLike | None = None,
        images: Sequence[ArrayLike] | None = None,
    ):
        fields = self.__dict__  # frozen for everyone else
        fields["rows"], fields["columns"] = names("ErrorMatrix", "row", rows), names("ErrorMatrix", "column", columns)
        fields["values"] = self._part("values", values, 1.0, "an error in [0, 1], or nan where not measured")
        largest = float(np.finfo(np.float64).max)
        memory = None if memory_mb is None else self._part("memory_mb", memory_mb, largest, "finite, at least 0")
        time = None if seconds is None else self._part("seconds", seconds, largest, "at least 0, or nan")
        fields["memory_mb"], fields["seconds"] = memory, time
        try:
            copied = json.loads(json.dumps({} if metadata is None else metadata, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(message("ErrorMatrix", "metadata", str(error), "what JSON can hold")) from None
        fields["metadata"] = instance("ErrorMatrix", "metadata", copied, dict, "a dict")
        if "images" in copied:
            raise ValueError(message("ErrorMatrix", "metadata", "with a key 'images'", "any other key"))
        fields["repeats"] = None if repeats is None else self._repeated(repeats)
        fields["images"] = None if images is None else self._marks(images)

    def _repeated(self, repeats: ArrayLike) -> NDArray[np.float64]:
        """Return errors of single trainings, checked to be those that the values are the means of."""
        array = numbers("ErrorMatrix", "repeats", repeats, (None, len(self.rows), len(self.columns)))
        if len(array) == 0:
            raise ValueError(message("ErrorMatrix", "repeats", "empty", "at least one training of each cell"))
        parts = np.stack([self._part("repeats", part, 1.0, "an error in [0, 1], or nan") for part in array])
        mean = np.nanmean(np.concatenate([parts, np.where(np.isnan(parts).all(axis=0), 0.0, np.nan)[None]]), axis=0)
        differ = ~np.isclose(mean, self.values, rtol=0, atol=1e-9) & ~(np.isnan(self.values) & (mean == 0))
        for i, j in np.argwhere(differ)[:1]:
            place = f"values[{self.rows[i]!r}, {self.columns[j]!r}]"
            raise ValueError(
                message("ErrorMatrix", place, f"{self.values[i, j]}", f"the mean of its repeats, {mean[i, j]}")
            )
        parts.setflags(write=False)
        return parts

    def _marks(self, images: Sequence[ArrayLike]) -> tuple[NDArray[np.uint64], ...]:
        given = sequence("ErrorMatrix", "images", images, "[task.marks]", 0)
        if len(given) != len(self.rows):
            raise ValueError(
                message("ErrorMatrix", "images", f"of {len(given)} rows", f"marks of all {len(self.rows)}")
            )
        marks = []
        for row, of_row in zip(self.rows, given, strict=True):
            try:
                marks.append(np.array(of_row, dtype=np.uint64))
                same = np.array_equal(marks[-1], np.array(of_row, dtype=object))
            except (TypeError, ValueError, OverflowError):
                same = False
            if not same or marks[-1].ndim != 1:
                allowed = "a list of integers of 64 bits, as Task.marks"
                raise wrong_value("ErrorMatrix", f"images[{row!r}]", of_row, allowed)
            marks[-1].setflags(write=False)
        return tuple(marks)

    def _part(self, name: str, got: ArrayLike, largest: float, allowed: str) -> NDArray[np.float64]:
        """Return a matrix of this one's shape as a checked read-only copy."""
        shape = len(self.rows), len(self.columns)
        array = of_shape("ErrorMatrix", name, np.array(numbers("ErrorMatrix", name, got), order="C"), shape)
        good = (array >= 0) & (array <= largest) | (np.isnan(array) if "nan" in allowed else False)
        for i, j in np.argwhere(~good)[:1]:
            place = f"{name}[{self.rows[i]!r}, {self.columns[j]!r}]"
            raise ValueError(message("ErrorMatrix", place, str(array[i, j]), allowed))
        array.setflags(write=False)
        return array

    def _index(self, kind: Literal["row", "column"], name: str) -> int:
        """Return the position of a row or column."""
        known = self.rows if kind == "row" else self.columns
        if name not in known:
            raise unknown("ErrorMatrix", kind, name, known)
        return known.index(name)

    def row(self, name: str) -> NDArray[np.float64]:
        """Return the errors of one task.

        Parameters
        ----------
        name : str
            Name of the row.

        Returns
        -------
        ndarray of float64, shape (columns,)
            Its errors, read-only; nan where not measured.

        Raises
        ------
        ValueError
            If there is no such row.
        """
        return self.values[self._index("row", name)]

    def select(self, *, rows: Sequence[str] | None = None, columns: Sequence[str] | None = None) -> ErrorMatrix:
        """Return the named rows and columns as a matrix of its own.

        Parameters
        ----------
        rows, columns : sequence of str, optional
            Names, in the order wanted; default all.

        Returns
        -------
        ErrorMatrix
            The part, with the same metadata.

        Raises
        ------
        ValueError
            If a name is unknown or given twice.
        """
        rows, columns = self.rows if rows is None else rows, self.columns if columns is None else columns
        i, j = [self._index("row", name) for name in rows], [self._index("column", name) for name in columns]
        cells = np.ix_(np.array(i, dtype=np.intp), np.array(j, dtype=np.intp))
        memory, seconds = (None if part is None else part[cells] for part in (self.memory_mb, self.seconds))
        repeats = None if self.repeats is None else self.repeats[:, cells[0], cells[1]]
        images = None if self.images is None else [self.images[k] for k in i]
        return ErrorMatrix(self.values[cells], rows, columns, memory, seconds, self.metadata, repeats, images)

    def rows_sharing(self, marks: ArrayLike) -> tuple[str, ...]:
        """Return the names of the rows made from images that marks say are there too.

        Two marks in common are enough: one may be chance, where images are small and plain.

        Parameters
        ----------
        marks : array_like of uint64
            Of a task: `refimpl.data.Task.marks`.

        Returns
        -------
        tuple of str
            In the order of the rows; none where the matrix has no marks.
        """
        known = self.images or [np.empty(0, np.uint64)] * len(self.rows)
        return tuple(row for row, own in zip(self.rows, known, strict=True) if np.isin(own, marks).sum() > 1)

    def without_rows(self, names: Iterable[str]) -> ErrorMatrix:
        """Return the matrix without the named rows, as when one task is held out.

        Parameters
        ----------
        names : iterable of str
            Names of rows to leave out.

        Returns
        -------
        ErrorMatrix
            The rest, in the same order, with the same metadata.

        Raises
        ------
        ValueError
            If there is no such row.
        """
        out = {self._index("row", name) for name in names}
        return self.select(rows=[name for i, name in enumerate(self.rows) if i not in out])

    def merge(self, other: ErrorMatrix, *, on_conflict: Literal["raise", "first", "second"] = "raise") -> ErrorMatrix:
        """Return one matrix with the rows and columns of both.

        A cell measured in one is taken from there; what is in neither is unmeasured. Rows and
        columns of `other` that are new come after those of this matrix.

        Parameters
        ----------
        other : ErrorMatrix
            Memory must be known in both or in neither and must agree (to a relative 1e-9) where
            both have it; then every cell of the result must have it from one of them.
        on_conflict : {"raise", "first", "second"}, default "raise"
            What to do where both measured a cell and the errors differ.

        Returns
        -------
        ErrorMatrix
            Its metadata keep what both say alike; where they differ, and for the provenance of
            the parts, see ``merged_from``, a list of {rows, columns, metadata, fingerprint}.

        Raises
        ------
        ValueError
            If both measured a cell differently, memories differ, or only one has memories.

        Examples
        --------
        >>> one = ErrorMatrix([[0.5, np.nan]], rows=["a"], columns=["x", "y"])
        >>> two = ErrorMatrix([[0.25]], rows=["a"], columns=["y"])
        >>> one.merge(two).values
        array([[0.5 , 0.25]])
        """
        choice("merge", "on_conflict", on_conflict, ("raise", "first", "second"))
        instance("merge", "other", other, ErrorMatrix, "an ErrorMatrix")
        rows, columns = (
            tuple(dict.fromkeys(a + b)) for a, b in ((self.rows, other.rows), (self.columns, other.columns))
        )
        parts = {name: [m._spread(name, rows, columns) for m in (self, other)] for name in files.MATRICES}

        def agree(what: str, bad: NDArray[np.bool_], allowed: str) -> None:
            for i, j in np.argwhere(bad):
                a, b = (part[i, j] for part in parts[what])
                raise ValueError(message("merge", f"{what}[{rows[i]!r}, {columns[j]!r}]", f"{a} and {b}", allowed))

        mine, yours = parts["values"]
        differ = (mine != yours) & ~np.isnan(mine) & ~np.isnan(yours)
        if on_conflict == "raise":
            agree("values", differ, "the same in both, or on_conflict='first' or 'second'")
        first = ~np.isnan(mine) & (np.isnan(yours) | (on_conflict != "second"))
        values, seconds = (np.where(first, *parts[name]) for name in ("values", "seconds"))
        memory = None
        if self.memory_mb is not None or other.memory_mb is not None:
            a, b = parts["memory_mb"]
            memory = np.where(np.isnan(a), b, a)
            differ = np.abs(a - b) > 1e-9 * np.maximum(a, b)  # false where one is nan
            agree("memory_mb", differ | np.isnan(memory), "the same in both, or known in one")
        alike = {k: v for k, v in self.metadata.items() if k in other.metadata and other.metadata[k] == v}
        alike["merged_from"] = [
            {"rows": m.rows, "columns": m.columns, "metadata": m.metadata, "fingerprint": m.fingerprint}
            for m in (self, other)
        ]
        timed = self.seconds is not None or other.seconds is not None
        repeats = None
        if self.repeats is not None or other.repeats is not None:
            a, b = (m._spread("values" if m.repeats is None else "repeats", rows, columns, 3) for m in (self, other))
            most = max(len(a), len(b))
            a, b = (np.pad(part, ((0, most - len(part)), (0, 0), (0, 0)), constant_values=np.nan) for part in (a, b))
            repeats = np.where(first, a, b)
        images = None
        if self.images is not None or other.images is not None:
            known: dict[str, list] = {row: [] for row in rows}
            for m in (self, other):
                for row, marks in zip(m.rows, m.images or (), strict=m.images is not None):
                    known[row].append(marks)
            images = [np.unique(np.concatenate([np.empty(0, np.uint64), *marks])) for marks in known.values()]
        return ErrorMatrix(values, rows, columns, memory, seconds if timed else None, alike, repeats, images)

    def _spread(self, name: str, rows: Sequence[str], columns: Sequence[str], axes: int = 2) -> NDArray[np.float64]:
        """Return a part in the places it has among more rows and columns, nan elsewhere."""
        part = getattr(self, name)
        part = part[None] if part is not None and part.ndim < axes else part
        wide = np.full((*(() if part is None else part.shape[:-2]), len(rows), len(columns)), np.nan)
        if part is not None:
            wide[..., [[rows.index(r)] for r in self.rows], [columns.index(c) for c in self.columns]] = part
        return wide

    def _shown(self):
        known = ~np.isnan(self.values)
        line = f"{len(self.rows)} tasks x {len(self.columns)} configurations, {known.sum()} of {known.size} measured"
        if known.any():
            line += f", errors {np.nanmin(self.values):.3g} to {np.nanmax(self.values):.3g}"
        if self.repeats is not None:
            line += f", means of up to {len(self.repeats)} trainings"
        few, more = 8, ("...",) * (len(self.columns) > 8)  # rows and columns of a table
        rows = [(name, *v[:few], *more) for name, v in zip(self.rows[:few], self.values, strict=False)]
        rows += [("...",) * (1 + min(few, len(self.columns)) + len(more))] * (len(self.rows) > few)
        return line, ("", *self.columns[:few], *more), rows

    @classmethod
    def from_frame(cls, frame, **others) -> ErrorMatrix:
        """Return the matrix of a pandas DataFrame of errors: a row for each task, a column for each configuration.

        Parameters
        ----------
        frame : pandas.DataFrame
            Its index and columns are the names.
        others
            As of `ErrorMatrix`: `memory_mb`, `seconds`, `metadata`, ...

        Raises
        ------
        ValueError, TypeError
            As `ErrorMatrix`.

        Examples
        --------
        >>> import pytest
        >>> pandas = pytest.importorskip("pandas")
        >>> ErrorMatrix.from_frame(pandas.DataFrame({"e4m3+e8m7": [0.5]}, index=["digits"])).rows
        ('digits',)
        """
        if not all(hasattr(frame, part) for part in ("index", "columns", "to_numpy")):
            raise wrong_kind("from_frame", "frame", frame, "a pandas DataFrame")
        return cls(frame.to_numpy(dtype=float, na_value=np.nan), list(frame.index), list(frame.columns), **others)

    def to_frame(self):
        """Return the errors as a pandas DataFrame, a row for each task; pandas must be installed.

        Returns
        -------
        pandas.DataFrame
        """
        import pandas

        index, columns = pandas.Index(self.rows, name="task"), pandas.Index(self.columns, name="configuration")
        return pandas.DataFrame(self.values.copy(), index=index, columns=columns)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of names, errors and memories: the same for the same content, wherever from."""
        digest = hashlib.sha256(json.dumps([self.rows, self.columns]).encode())
        for part in (self.values, self.memory_mb, *([] if self.repeats is None else [self.repeats])):
            canonical = np.full(0, 0.0) if part is None else np.where(np.isnan(part), -1.0, part)
            digest.update((canonical + 0.0).astype("<f8").tobytes())
        return digest.hexdigest()

    def save(self, path: str | os.PathLike) -> None:
        """Write the matrix to one npz file, atomically. Equal matrices give equal bytes.

        Parameters
        ----------
        path : path-like
            Destination, in a directory that exists; an existing file is replaced.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        files.write_npz(Path(path), self.__dict__)

    def save_csv(self, path: str | os.PathLike) -> None:
        """Write the matrix as CSV, a line for each cell; `load_csv` gives back the same matrix.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        files.write_csv(Path(path), self.__dict__)

    @classmethod
    def load(cls, path: str | os.PathLike, columns: Sequence[str] | None = None) -> ErrorMatrix:
        """Read a matrix that `save` wrote. Nothing is ever unpickled.

        Parameters
        ----------
        path : path-like
            An npz file with the arrays ``values``, ``rows`` and ``columns``, and possibly
            ``memory_mb``, ``seconds``, ``repeats``, ``images`` and ``metadata`` (a JSON string).
        columns : sequence of str, optional
            Column names the file must have, in this order; default any.

        Returns
        -------
        ErrorMatrix

        Raises
        ------
        ValueError
            If the file is missing, is not a complete npz archive, contains a pickle, lacks an
            array, has other columns than demanded (the message names the first that differs), or
            holds what the constructor refuses.
        """
        loaded = cls._of(path, files.read_npz(Path(path)))
        if columns is not None and loaded.columns != tuple(columns):
            pairs = zip((*loaded.columns, "missing"), (*columns, "no further column"), strict=False)
            at, (got, allowed) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
            raise ValueError(message("ErrorMatrix", f"column {at} of {path}", got, allowed))
        return loaded

    @classmethod
    def load_csv(cls, path: str | os.PathLike) -> ErrorMatrix:
        """Read what `save_csv` wrote, or a table of errors with names in its first line and column.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        ErrorMatrix

        Raises
        ------
        ValueError
            If the file cannot be read, is not such a table, or holds what the constructor refuses.
        """
        return cls._of(path, files.read_csv(Path(path)))

    @classmethod
    def _of(cls, path, fields) -> ErrorMatrix:
        try:
            return cls(**fields)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{path}: {error}") from None
