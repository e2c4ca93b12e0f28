"""Compiling what a program calls before it runs: in two processes side by side, and with a word while it lasts.

Numba compiles one function at a time in a process.  So where several kernels are missing in the cache, a second
process is started, which compiles them from the last to the first; they meet in the middle.  What comes next to a
kernel that the other process has finished is what that one is at.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FEWEST = 4  # kernels for which a second process pays: it takes a second to start

_listeners: list[Callable[[str], object]] = []


@contextmanager
def told(listener: Callable[[str], object]) -> Iterator[None]:
    """Let a function be given a short text, again and again, while something is compiled."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def compile_ahead(calls: list[tuple[Callable, tuple]]) -> None:
    """Compile the kernels of calls, with the addresses among their arguments, where the cache does not have them."""
    from refimpl.kernels._compiled import NOT_COMPILED, directory, is_kept

    if NOT_COMPILED:
        return
    jobs = [(kernel, kinds) for kernel, kinds in _jobs(calls) if kinds not in kernel.overloads]
    missing = [job for job in jobs if not is_kept(*job)]
    if not missing:
        return
    helper = _helper(missing) if len(missing) >= FEWEST and directory() is not None else None
    with _events(len(missing)):
        for i, (kernel, kinds) in enumerate(missing):
            if helper is not None and (i + 1 == len(missing) or is_kept(*missing[i + 1])):
                helper.wait()
            if not is_kept(kernel, kinds):
                kernel.compile(kinds)


def _jobs(calls) -> list[tuple]:
    """Return (kernel, argument types) of calls, each once; first what is called by address."""
    import numba

    from refimpl.kernels._by_address import Address

    addresses: dict[tuple, None] = {}
    kernels: dict[tuple, None] = {}
    for kernel, arguments in calls:
        if hasattr(kernel, "overloads"):
            kinds = tuple(numba.int64 if isinstance(a, Address) else numba.typeof(a) for a in arguments)
            kernels[kernel, kinds] = None
            for address in arguments:
                if isinstance(address, Address):
                    addresses[address.kernel, address.argument_types] = None
    return [*reversed(addresses), *kernels]


def _helper(missing) -> subprocess.Popen | None:
    """Start a process that compiles from the last to the first."""
    if not sys.executable or getattr(sys, "frozen", False) or (os.cpu_count() or 1) < 2:
        return None  # a frozen program is its own executable, and would start once more
    code = "from refimpl.nn.engine.compiling import help_out; help_out()"
    try:
        paths = os.pathsep.join(str(path) or os.getcwd() for path in sys.path)
        helper = subprocess.Popen(
            [sys.executable, "-P", "-c", code],  # -P: only the paths of this process
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )
        assert helper.stdin is not None
        names = [(kernel.py_func.__module__, kernel.py_func.__name__, kinds) for kernel, kinds in missing]
        with helper.stdin as pipe:
            pipe.write(pickle.dumps(names))
    except OSError:
        return None
    return helper


def help_out() -> None:
    """Compile what the parent process writes, the last first, until it comes to what that process is at."""
    from refimpl.kernels._compiled import is_kept

    names = pickle.load(sys.stdin.buffer)
    missing = [(getattr(importlib.import_module(module), name), kinds) for module, name, kinds in names]
    for before, (kernel, kinds) in zip(missing[-2::-1], missing[:0:-1], strict=True):
        if is_kept(*before):
            return
        kernel.compile(kinds)


@contextmanager
def _events(kernels: int) -> Iterator[None]:
    """Tell the latest listener of every function that Numba begins to compile."""
    from numba.core import event

    class Listener(event.Listener):
        count = 0

        def on_start(self, happening):
            self.count += 1
            for listener in _listeners[-1:]:  # one at most; another thread may remove it
                listener(f"compiling {kernels} kernels, function {self.count}")

        def on_end(self, happening):
            pass

    with event.install_listener("numba:compile", Listener()):
        yield
