"""The one way files are written: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def writing(path: str | os.PathLike, *, text: bool = False, keep: str | os.PathLike | None = None) -> Iterator[IO[Any]]:
    """Yield a file beside `path`, and rename it to that once it is complete and on the disk.

    Whatever interrupts, a full disk or a kill, what was there before still is.

    Parameters
    ----------
    path : path
        In a directory that exists.
    text : bool
        Whether it is written as UTF-8 text.
    keep : path, optional
        Where the file that was there before goes.

    Raises
    ------
    OSError
        That names the file, where it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with writing(place, text=True) as file:
    ...     _ = file.write("all of it")
    >>> place.read_text()
    'all of it'
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no directory {path.parent}; make it")
    beside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        with open(beside, "w" if text else "wb", encoding="utf-8" if text else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(beside, path)
    except OSError as error:
        if error.errno is not None:
            error.filename = error.filename or str(path)  # a full disk does not say where
        raise
    finally:
        beside.unlink(missing_ok=True)


def refusal(path: str | os.PathLike) -> str | None:
    """Return why a file could not be written, None where it could; directories not there yet are no reason."""
    path = Path(path)
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if path.is_dir():
        return "it is a directory"
    if there != path and not there.is_dir():
        return f"{there} is not a directory"
    if there == path:
        return None if os.access(path, os.W_OK) else "permission denied"
    try:
        with tempfile.TemporaryDirectory(dir=there):
            return None
    except OSError as error:
        return f"nothing can be made in {there}: {error.strerror}"
