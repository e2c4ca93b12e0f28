"""The one way files are written, whole or not at all, and npz files read, whatever they hold."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

LARGEST = 2**32
"""Bytes of the largest array read from a file."""

DEFLATE = 1032
"""Bytes that one of gzip or zip can unpack to, at most: https://zlib.net/zlib_tech.html."""


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
    mark = f"@{platform.node()}.writing"
    _clear(path.parent, mark)
    beside = path.with_name(f".{path.name}.{os.getpid()}{mark}")
    try:
        with naming(path), open(beside, "w" if text else "wb", encoding="utf-8" if text else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _clear(directory: Path, mark: str) -> None:
    """Delete what was being written by processes of this machine that were killed."""
    for left in directory.glob(f".*{mark}") if os.name == "posix" else ():
        with contextlib.suppress(OSError, ValueError):
            try:
                os.kill(int(left.name.removesuffix(mark).rpartition(".")[2]), 0)
            except ProcessLookupError:
                left.unlink()


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Let an OSError say which file it is about: a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = error.filename or str(path)
        raise


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
        with tempfile.TemporaryFile(dir=there):  # has no name that a kill could leave behind
            return None
    except OSError as error:
        return f"nothing can be made in {there}: {error.strerror}"


class _Refusal(ValueError):
    pass


def checked_line(record: dict) -> bytes:
    """Return a record as a line of JSON, with a checksum at its end."""
    text = json.dumps(record)
    return f'{text[:-1]}, "crc": {zlib.crc32(text.encode())}}}'.encode()


def read_checked(line: bytes) -> dict | None:
    """Return what `checked_line` wrote, or None where it did not write this."""
    try:
        record = json.loads(line)
        del record["crc"]
        return record if checked_line(record) == line else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def append(file: IO[bytes], record: dict) -> None:
    """Append a record to an open journal, as a line that `checked_line` makes; it is on the disk when this returns."""
    file.write(checked_line(record) + b"\n")
    file.flush()
    os.fsync(file.fileno())


def add_record(path: str | os.PathLike, record: dict) -> None:
    """Append a record to a journal, beginning a line of its own where a kill has left half of one."""
    with naming(path), open(path, "ab+") as file:
        file.seek(max(file.tell() - 1, 0))
        if file.read() not in (b"", b"\n"):
            file.write(b"\n")
        append(file, record)


def records(path: str | os.PathLike) -> list[dict]:
    """Return the whole and undamaged records of a journal; none where there is no file."""
    lines = Path(path).read_bytes().split(b"\n") if Path(path).exists() else []
    return [record for record in map(read_checked, lines) if record is not None]


def read_arrays(path: str | os.PathLike, only: Collection[str] = ()) -> dict[str, Any]:
    """Read an npz file of whatever content, unpickling nothing; sizes are believed once the file can have them.

    Parameters
    ----------
    path : path
    only : collection of str
        Names of the arrays to read, if not all; the others in the file become None.

    Raises
    ------
    ValueError
        That says what the file is instead, and not which it is.
    """
    try:
        file = open(path, "rb")
    except OSError as error:
        raise ValueError(f"not to be read ({error.strerror})") from None
    with file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy and Python, on odd headers
        try:
            if file.read(1) == b"\x80":  # how a pickle of protocol 2 or later begins
                raise _pickled()
            held = file.seek(0, os.SEEK_END)
            with zipfile.ZipFile(file) as archive:
                members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
                return {
                    name: _array(archive, member, held) if not only or name in only else None
                    for name, member in members.items()
                }
        except _Refusal:
            raise
        except MemoryError:
            raise ValueError("more than fits into memory") from None
        except Exception:  # a dozen kinds, from zipfile down to struct
            raise ValueError("truncated, damaged or not an npz file") from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, held: int) -> np.ndarray:
    """Read an array of an archive of so many bytes."""
    from numpy.lib import format as npy

    with archive.open(member) as stream:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
        shape, _, dtype = read_header(stream)
        size = stream.tell() + dtype.itemsize * math.prod(shape)
    if dtype.hasobject:
        raise _pickled()
    if size > LARGEST:
        raise _Refusal(f"a file with an array of {size} bytes, more than the {LARGEST} that are read")
    ratio = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: DEFLATE}[member.compress_type]
    if size != member.file_size or size > ratio * min(member.compress_size, held):
        raise ValueError
    with archive.open(member) as stream:
        array = npy.read_array(stream, allow_pickle=False)
    if dtype.kind == "U":
        array.tolist()  # refuses numbers that are no characters
    return array


def _pickled() -> _Refusal:
    return _Refusal("a file with a pickle, which was not unpickled")
