"""How every kernel is compiled, and where its machine code is kept for the next process.

Numba keeps compiled functions on disk too, but takes one to be fresh as long as the file it stands
in is unchanged, though the code of every function it calls is compiled into it.  Here one digest of
all kernel files names the directory in which all compiled functions are kept: whatever is edited,
everything compiled from it is compiled anew, and undoing the edit finds the old code again.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import pickle
import shutil
import sys
import tempfile
from functools import cache, wraps
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numba.extending
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

from refimpl._files import writing

_PACKAGE = Path(__file__).parents[1]
NOT_COMPILED = bool(getattr(numba.config, "DISABLE_JIT", False))
_KEPT = 4  # directories, one for each state of the sources: the latest used


def compiled(function=None, **options) -> Any:
    """Compile a kernel when it is first called; options are those of `numba.njit`.

    Under NUMBA_DISABLE_JIT=1 it stays the Python function it is, to the same bits.
    """
    if function is None:
        return lambda function: compiled(function, **options)
    if NOT_COMPILED:
        return _in_python(function)
    options |= {"error_model": "numpy", "nogil": True}
    njit: Any = numba.njit
    kernel = njit(**options)(function)
    kernel.__class__ = _Kernel
    kernel.inner = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)
    kernel.inner.__class__ = _Inner
    if options.get("inline", "never") == "never":
        kernel._cache, kernel.inner._cache = _Cache(function), _Cache(function, "inner")
    return kernel


class _Inner(CPUDispatcher):
    """A compiled function as other kernels call it: one version whatever constants they call it with."""

    def get_call_template(self, args, kws):
        unliteral = numba.types.unliteral
        return super().get_call_template(
            tuple(map(unliteral, args)), {name: unliteral(kind) for name, kind in kws.items()}
        )


class _Kernel(CPUDispatcher):
    """A compiled function as Python calls it; `inner` is it as other kernels call it.

    What lets Python call a function, or others by its address, takes a third of the time of compiling
    it, and most are never called so.
    """

    inner: Any  # an _Inner

    @property
    def _numba_type_(self):
        return self.inner._numba_type_  # what Numba takes this object for where a kernel names it


def _in_python(function):
    """Return the function with NumPy's numbers overflowing as the machine's do, without a word."""

    def quietly(*arguments):
        with np.errstate(all="ignore"):
            return function(*map(_with_fields, arguments))

    kernel: Any = wraps(function)(quietly)
    kernel.py_func = function
    return kernel


def _with_fields(argument):
    """Return an array of records as one whose records have attributes, and everything else as it is."""
    return argument.view(np.recarray) if isinstance(argument, np.ndarray) and argument.dtype.names else argument


def intrinsic(in_python):
    """Make an intrinsic of what generates LLVM code for it; `in_python` does the same where nothing is compiled."""
    return lambda generator: in_python if NOT_COMPILED else numba.extending.intrinsic(generator)


def memory(address, count, dtype=np.float32) -> np.ndarray:
    """Return `count` numbers at an address, for what stands in for an intrinsic."""
    return np.frombuffer((ctypes.c_char * (int(count) * np.dtype(dtype).itemsize)).from_address(int(address)), dtype)


def is_kept(kernel, argument_types: tuple) -> bool:
    """Tell whether the cache has a kernel compiled for arguments of these types."""
    place, kept = directory(), kernel._cache
    return place is not None and kept._path(place, kept._index_key(argument_types, kernel.targetctx.codegen())).exists()


def sources() -> list[Path]:
    """Return the files that kernels are compiled from."""
    return sorted([*_PACKAGE.glob("kernels/*.py"), *_PACKAGE.glob("nn/engine/*.py")])


def _digest() -> str:
    """Return a digest of all kernel files and of what compiles them."""
    digest = hashlib.sha256(repr((sys.version, numba.__version__, llvmlite.__version__, np.__version__)).encode())
    for path in sources():
        text = path.read_bytes()
        digest.update(f"{path.name} {len(text)} ".encode() + text)
    return digest.hexdigest()[:16]


_STAMP = _digest()


@cache
def directory() -> Path | None:
    """Return the directory of this process's compiled functions, or None if there is no place for one.

    The first that can be written to of: NUMBA_CACHE_DIR, beside the kernels, the user's cache, and
    a directory for temporary files, of which the user is told once.
    """
    name = f"refimpl-{hashlib.sha256(str(_PACKAGE).encode()).hexdigest()[:8]}"  # one for each installation
    asked = getattr(numba.config, "CACHE_DIR", "")
    lasting = [
        asked and Path(asked, name).absolute(),
        _PACKAGE / "kernels" / "__pycache__" / "compiled",
        Path(AppDirs("numba", appauthor=False).user_cache_dir, name),
    ]
    found = next((path for root in lasting if root and (path := _writable(Path(root)))), None)
    if found is None:
        found = _temporary(name)
        _tell(found)
    return found


def _writable(root: Path) -> Path | None:
    """Return the directory for this state of the sources under a root, made if need be; None if it cannot be."""
    path = root / _STAMP
    if not root.is_absolute() or not sources():
        return None
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
        os.utime(path)
    except OSError:
        return None
    with contextlib.suppress(OSError):  # another process removes the same
        for other in sorted((p for p in root.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(other, ignore_errors=True)
    return path


def _temporary(name: str) -> Path | None:
    """Return a directory for temporary files that nobody else can write to: compiled code is loaded from it."""
    owner = os.getuid() if hasattr(os, "getuid") else None  # elsewhere such directories are each user's own
    try:
        root = Path(tempfile.gettempdir(), name if owner is None else f"{name}-{owner}")
        root.mkdir(mode=0o700, exist_ok=True)
        state = root.lstat()
    except OSError:
        return None
    if root.is_symlink() or (owner is not None and (state.st_uid != owner or state.st_mode & 0o077)):
        return None
    return _writable(root)


def _tell(place: Path | None) -> None:
    import multiprocessing

    if multiprocessing.parent_process() is None:  # its workers need not repeat it
        kept = f"kept in {place.parent}" if place else "not kept"
        print(
            f"refimpl: compiled functions are {kept}, as no better place can be written to; "
            "set NUMBA_CACHE_DIR to a directory that can",
            file=sys.stderr,
        )


class _Cache(FunctionCache):
    """The compiled versions of one function."""

    _cache_file: Any  # this very object: `load` and `save`

    def __init__(self, function, kind="outer"):
        self._py_func, self._name = function, repr(function)
        self._impl = _Implementation(function)
        self._cache_file = self
        self._prefix = f"{function.__module__.rpartition('.')[2]}.{function.__name__}-{kind}"
        self.enable()

    @property
    def cache_path(self):
        return directory()

    def save_overload(self, sig, data):
        if directory() and _digest() == _STAMP:  # not what was compiled while somebody edits
            super().save_overload(sig, data)

    def flush(self):
        raise NotImplementedError("remove the directory")

    def _path(self, place, key) -> Path:
        return place / f"{self._prefix}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def load(self, key):
        """Return the entry of a key, or None: where there is none, or not the bytes that were written."""
        place = directory()
        try:
            content = b"" if place is None else self._path(place, key).read_bytes()
        except OSError:
            return None
        checksum, entry = content[:32], content[32:]
        if hashlib.sha256(entry).digest() != checksum:
            return None
        known, data = pickle.loads(entry)
        return data if known == key else None

    def save(self, key, data):
        """Write an entry, whole or not at all: other processes load and save at the same time."""
        place = directory()
        if place is None:
            return
        with contextlib.suppress(OSError):  # a full disk, say: it is compiled again next time
            place.mkdir(parents=True, exist_ok=True)
            with writing(self._path(place, key)) as file:
                entry = dumps((key, data))
                file.write(hashlib.sha256(entry).digest() + entry)


class _Implementation(CompileResultCacheImpl):
    """What turns a compiled function into something to save, and back; the place is `_Cache`'s affair."""

    def __init__(self, function):
        self._lineno, self._locator = function.__code__.co_firstlineno, self
        self._py_file = function.__code__.co_filename

    def ensure_cache_path(self):
        """Leave it to `_Cache.save`."""
