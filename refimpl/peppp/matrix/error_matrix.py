"""The error matrix: what training every task in every configuration came to.

Rows are tasks, columns are configurations, an entry is a test error in [0, 1], and nan marks what
has not been measured. Beside the errors stand the memory each training needs, the seconds it
took, and free metadata. One matrix is one npz file, read without unpickling anything.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from refimpl.peppp.arguments import names_of, numbers

__all__ = ["ErrorMatrix"]

MATRICES = ("memory_mb", "seconds")


@dataclass(frozen=True, eq=False)
class ErrorMatrix:
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
        Anything JSON can hold: settings, seed, version.

    Raises
    ------
    ValueError
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
    memory_mb: NDArray[np.float64] | None = None
    seconds: NDArray[np.float64] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", names_of("ErrorMatrix", "row", self.rows))
        object.__setattr__(self, "columns", names_of("ErrorMatrix", "column", self.columns))
        self._keep("values", 1.0, "numbers in [0, 1], or nan for unmeasured", may_be_nan=True)
        if self.memory_mb is not None:
            self._keep("memory_mb", np.finfo(np.float64).max, "finite numbers >= 0")
        if self.seconds is not None:
            self._keep("seconds", np.finfo(np.float64).max, "numbers >= 0", may_be_nan=True)
        try:
            metadata = json.loads(json.dumps(self.metadata, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"ErrorMatrix: got metadata that JSON cannot hold ({error}); allowed are dicts, "
                "lists, strings, finite numbers, booleans and None; convert the rest"
            ) from None
        if not isinstance(metadata, dict):
            raise ValueError(
                f"ErrorMatrix: got metadata of type {type(self.metadata).__name__}; allowed is a dict; wrap it in one"
            )
        object.__setattr__(self, "metadata", metadata)

    def _keep(self, name: str, largest: float, allowed: str, *, may_be_nan: bool = False) -> None:
        """Replace the field `name` by a checked read-only copy."""
        array = np.array(numbers("ErrorMatrix", name, getattr(self, name)), order="C")
        shape = len(self.rows), len(self.columns)
        if array.shape != shape:
            raise ValueError(
                f"ErrorMatrix: got {name} of shape {array.shape}; allowed is {shape}, the number "
                "of row names by the number of column names; make them fit"
            )
        good = (array >= 0) & (array <= largest)
        if may_be_nan:
            good |= np.isnan(array)
        bad = np.argwhere(~good)
        if len(bad):
            row, column = bad[0]
            raise ValueError(
                f"ErrorMatrix: got {name} {array[row, column]} in row {self.rows[row]!r}, column "
                f"{self.columns[column]!r}; allowed are {allowed}; correct this entry"
            )
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    def _index(self, kind: str, name: str) -> int:
        """Position of a row or column name."""
        names = self.rows if kind == "row" else self.columns
        if name in names:
            return names.index(name)
        import difflib  # only a misspelling needs it

        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.0)
        raise ValueError(
            f"ErrorMatrix: got the {kind} {name!r}; allowed are the {len(names)} {kind} names; "
            f"did you mean {' or '.join(near)}?"
        )

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

    def select(self, *, rows: Sequence[str] | None = None, columns: Sequence[str] | None = None) -> "ErrorMatrix":
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
        rows = self.rows if rows is None else tuple(rows)
        columns = self.columns if columns is None else tuple(columns)
        cells = np.ix_(
            np.array([self._index("row", name) for name in rows], dtype=np.intp),
            np.array([self._index("column", name) for name in columns], dtype=np.intp),
        )
        parts = {
            name: None if getattr(self, name) is None else getattr(self, name)[cells] for name in ("values", *MATRICES)
        }
        return ErrorMatrix(rows=rows, columns=columns, metadata=self.metadata, **parts)

    def without_rows(self, names: Iterable[str]) -> "ErrorMatrix":
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

    def merge(
        self, other: "ErrorMatrix", *, on_conflict: Literal["raise", "first", "second"] = "raise"
    ) -> "ErrorMatrix":
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
        from refimpl.peppp.matrix.merging import merged

        return merged(self, other, on_conflict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of names, errors and memories: the same for the same content, wherever from."""
        digest = hashlib.sha256(json.dumps([self.rows, self.columns]).encode())
        for part in (self.values, self.memory_mb):
            canonical = np.full(0, 0.0) if part is None else np.where(np.isnan(part), -1.0, part)
            digest.update((canonical + 0.0).astype("<f8").tobytes())
        return digest.hexdigest()

    def save_csv(self, path: str | os.PathLike) -> None:
        """Write one line per cell; see `error_matrix_csv`. Reading it gives an equal matrix.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from refimpl.peppp.matrix.csv_files import write_csv

        write_csv(self, path)

    @classmethod
    def load_csv(cls, path: str | os.PathLike) -> "ErrorMatrix":
        """Read what `save_csv` wrote, or a plain table of errors with names.

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
        from refimpl.peppp.matrix.csv_files import read_csv

        try:
            return cls(**read_csv(path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def save(self, path: str | os.PathLike) -> None:
        """Write the matrix to one npz file, whole or not at all.

        The file is written beside its destination and moved over it when complete, so a reader
        or a crash never meets half a file. Equal matrices give equal bytes.

        Parameters
        ----------
        path : path-like
            Destination, in a directory that exists; an existing file is replaced.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from refimpl.peppp.matrix.npz_files import write_npz

        write_npz(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike, columns: Sequence[str] | None = None) -> "ErrorMatrix":
        """Read a matrix that `save` wrote. Nothing is ever unpickled.

        Parameters
        ----------
        path : path-like
            An npz file with the arrays ``values``, ``rows`` and ``columns``, and possibly
            ``memory_mb``, ``seconds`` and ``metadata`` (a JSON string).
        columns : sequence of str, optional
            Column names the file must have, in this order; default any.

        Returns
        -------
        ErrorMatrix
            The matrix.

        Raises
        ------
        ValueError
            If the file is missing, is not a complete npz archive, contains a pickle, lacks an
            array, has other columns than demanded (the message names the first that differs), or
            holds what the constructor refuses.
        """
        from refimpl.peppp.matrix.npz_files import demand_columns, read_npz

        fields = read_npz(Path(path))
        try:
            matrix = cls(**fields)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if columns is not None:
            demand_columns(path, matrix.columns, tuple(columns))
        return matrix
