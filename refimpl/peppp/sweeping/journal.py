"""The journal of a sweep: a line of JSON for every cell trained, on the disk as soon as it is.

Each line ends with a checksum of the rest of it, ``"crc"``; a line whose checksum, or whose error, is not as it
must be is not believed, which is said on standard error: that cell is trained again.
"""

from __future__ import annotations

import logging
import math
import os
from dataclasses import asdict
from pathlib import Path

import refimpl
from refimpl._arguments import message
from refimpl._files import append, checked_line, read_checked

JOURNAL = "cells.jsonl"


class Journal:
    """The cells trained so far, in a file that only grows.

    The first line says how the cells are trained; each further line is a cell, known by its task,
    its configuration, its seed and the fingerprint of the images and labels it was trained on: where the
    files of a data set have changed since, its old cells are not used.  A last line cut short by a kill is
    dropped, a damaged one passed over: those cells are trained again.  While it is open nobody else may
    write to it (where the file system has locks).

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
            self.cells, length, damaged = self._parse(self.path, self._file.read(), settings)
        except ValueError:
            self.close()
            raise
        self._file.truncate(length)
        if damaged:
            said = "1 line is" if damaged == 1 else f"{damaged} lines are"
            text = f"journal: {said} damaged or cut short in {self.path} and not believed"
            logging.getLogger(__name__).warning(text)
        if not length:
            append(self._file, self._head(settings))

    @classmethod
    def peek(cls, directory: str | os.PathLike, settings) -> dict[tuple[str, str, int, str], dict]:
        """Return the cells of a journal, which another process may be writing; none without one."""
        path = Path(directory) / JOURNAL
        return cls._parse(path, path.read_bytes(), settings)[0] if path.exists() else {}

    @staticmethod
    def _head(settings) -> dict:
        return {"journal": 3, "version": refimpl.__version__, **asdict(settings)}

    @classmethod
    def _parse(cls, path, content: bytes, settings):
        """Return the cells, how many bytes are complete lines (0 for a new journal), how many lines are damaged."""
        head = cls._head(settings)
        complete, newline, cut = content.rpartition(b"\n")
        lines = complete.split(b"\n") if newline else []
        if not lines and checked_line(head).startswith(cut):  # new, or killed at its start
            return {}, 0, 0
        written = read_checked(lines[0]) if lines else None
        if written is None or "journal" not in written:
            raise ValueError(f"journal: {path} is damaged or not a journal; move it away or choose another directory")
        for key in head:
            if written.get(key) == head[key]:
                continue
            if key in ("journal", "version"):
                raise ValueError(
                    f"journal: {path} was written by another version ({key} {written.get(key)!r}, "
                    f"now {head[key]!r}); choose another directory, or move it away"
                )
            raise ValueError(
                f"journal: {path} was written with {key}={written.get(key)!r}, now it is "
                f"{head[key]!r}; use the same again or another directory"
            )
        cells = [cell for cell in map(read_checked, lines[1:]) if cell is not None and _is_cell(cell)]
        damaged = len(lines) - 1 - len(cells) + (cut != b"")
        return {cls.key(cell): cell for cell in cells}, len(complete) + len(newline), damaged

    @staticmethod
    def key(cell: dict) -> tuple[str, str, int, str]:
        """Return what a cell is known by: task, configuration, seed, fingerprint of the data."""
        return cell["task"], cell["configuration"], cell["seed"], cell["data"]

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

    def add(self, cell: dict) -> None:
        """Write a cell down, on the disk when this returns."""
        append(self._file, cell)
        self.cells[self.key(cell)] = cell

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _is_cell(record: dict) -> bool:
    """Tell whether a record holds what a cell must."""
    known = [isinstance(record.get(key), str) for key in ("task", "configuration", "data")]
    known += [isinstance(record.get(key), int | float) for key in ("seed", "error", "seconds", "fall")]
    if not all(known):
        return False
    return 0 <= record["error"] <= 1 and 0 <= record["seconds"] < math.inf
