"""The journal of a sweep: a line of JSON for every cell trained, on the disk as soon as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

import refimpl
from refimpl._arguments import message

JOURNAL = "cells.jsonl"


class Journal:
    """The cells trained so far, in a file that only grows.

    The first line says how the cells are trained; each further line is a cell, known by its task,
    its configuration and the fingerprint of the images and labels it was trained on: where the files
    of a data set have changed since, its old cells are not used.  A last line cut short by a kill is
    dropped: that cell is trained again.  While it is open nobody else may write to it (where the file
    system has locks).

    Parameters
    ----------
    directory : path
        Made if need be.
    settings : dataclass
        How they are trained.

    Raises
    ------
    ValueError
        If the directory cannot be written, if another process writes there, if its journal was
        written under other settings or by another version (the difference is named), or if the file
        is not a journal.
    """

    def __init__(self, directory: str | os.PathLike, settings):
        if not os.fspath(directory):
            raise ValueError(message("journal", "directory", "''", "the path of one"))
        self.path = Path(directory) / JOURNAL
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab+")  # noqa: SIM115 - kept open, closed by close()
        except OSError as error:
            raise ValueError(
                f"journal: cannot write in {self.path.parent} ({error.strerror}); "
                "choose a directory you can write to with --out"
            ) from None
        try:
            self._lock()
            self._file.seek(0)
            self.cells, length = self._parse(self.path, self._file.read(), settings)
        except ValueError:
            self.close()
            raise
        self._file.truncate(length)
        if not length:
            self._append(self._head(settings))

    @classmethod
    def peek(cls, directory: str | os.PathLike, settings) -> dict[tuple[str, str, str], dict]:
        """Return the cells of a journal, which another process may be writing; none without one."""
        path = Path(directory) / JOURNAL
        return cls._parse(path, path.read_bytes(), settings)[0] if path.exists() else {}

    @staticmethod
    def _head(settings) -> dict:
        return {"journal": 2, "version": refimpl.__version__, **asdict(settings)}

    @classmethod
    def _parse(cls, path, content: bytes, settings):
        """Return the cells, and how many bytes are complete lines; 0 for a journal that is new."""
        head = cls._head(settings)
        complete, newline, cut = content.rpartition(b"\n")
        lines = complete.splitlines()
        if not lines and json.dumps(head).encode().startswith(cut):  # new, or killed at its start
            return {}, 0
        damaged = ValueError(f"journal: {path} is damaged or not a journal; move it away or choose another directory")
        try:
            written, *cells = map(json.loads, lines)
            different = [k for k in head if written.get(k) != head[k]]
        except (ValueError, AttributeError):
            raise damaged from None
        if different:
            key = different[0]
            if key in ("journal", "version"):
                raise ValueError(
                    f"journal: {path} was written by another version ({key} {written.get(key)!r}, "
                    f"now {head[key]!r}); choose another directory, or move it away"
                )
            raise ValueError(
                f"journal: {path} was written with {key}={written.get(key)!r}, now it is "
                f"{head[key]!r}; use the same again or another directory"
            )
        try:
            by_key = {cls.key(cell): cell for cell in cells}
        except (TypeError, KeyError):
            raise damaged from None
        return by_key, len(complete) + len(newline)

    @staticmethod
    def key(cell: dict) -> tuple[str, str, str]:
        """Return what a cell is known by: task, configuration, fingerprint of the data."""
        return cell["task"], cell["configuration"], cell["data"]

    def _lock(self) -> None:
        """Keep other writers out until the file is closed, however this process ends."""
        try:
            import fcntl
        except ImportError:  # not a Unix
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"journal: another process is training into {self.path.parent}; wait until it "
                "is done, or choose another directory with --out"
            ) from None
        except OSError:  # a file system without locks
            return

    def _append(self, record: dict) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def add(self, cell: dict) -> None:
        """Write a cell down, on the disk when this returns."""
        self._append(cell)
        self.cells[self.key(cell)] = cell

    def row(self, what: str, task, configurations: Iterable[str]) -> np.ndarray:
        """Return the "error" or "seconds" of a task in these configurations, nan where not trained."""
        cells = (self.cells.get((task.name, c, task.fingerprint), {}) for c in configurations)
        return np.array([cell.get(what, np.nan) for cell in cells], float)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
