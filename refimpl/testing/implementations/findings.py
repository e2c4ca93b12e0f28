"""Findings: what an implementation did that cannot be compared, and the guard that notices it.

A call of the implementation runs in a thread of its own, so that one that hangs can be given up.
Whatever it raises, `SystemExit` included, is a finding.  (A crash of the interpreter cannot be
caught: test such code as a `Program`.)
"""

from __future__ import annotations

import contextvars
import ctypes
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SEARCH = 0.5  # seconds allowed at least to each call while the input that hangs is looked for
SEARCH_IN_ALL = 20.0  # seconds
PREPARATION = 600.0  # seconds that compiling and importing may take beside the limit


class Finding(Exception):
    """Say what an implementation did wrong, and at which input if that is known.

    `index` is that of the input, `hangs` whether time ran out, `about_input` False where no input
    is to blame.

    Examples
    --------
    >>> finding = Finding("returned 3 values for 2", index=1)
    >>> str(finding), finding.index
    ('returned 3 values for 2', 1)
    """

    def __init__(self, text, index: int | None = None, hangs=False, about_input=True):
        super().__init__(text)
        self.text, self.index, self.hangs, self.about_input = text, index, hangs, about_input
        self.input: np.ndarray | None = None

    def __str__(self) -> str:
        return self.text


def call(function: Callable, x: np.ndarray, *more, time_limit: float) -> np.ndarray:
    """Return function(x, *more) as an array of the shape of x; raise Finding for anything else.

    The finding's `input` is an array of the one input that does it, where one alone does.
    """
    try:
        return once(function, x, *more, time_limit=time_limit)
    except Finding as found:
        if found.about_input and x.size:
            at, found.text = _culprit(function, x, more, found, time_limit)
            found.input = None if at is None else x[at : at + 1]
        raise


def once(function, x, *more, time_limit) -> np.ndarray:
    """Return function(x, *more) as an array of the shape of x, of this one call; raise Finding."""
    given = tuple(array.copy() for array in (x, *more))
    if hasattr(function, "limited"):  # a Program looks at the clock itself
        result = function.limited(time_limit)(*given)
    else:
        result = within(time_limit, function, given)
    if result.shape != x.shape:
        raise Finding(f"returned shape {result.shape} for inputs of shape {x.shape}")
    if any(a.tobytes() != b.tobytes() for a, b in zip(given, (x, *more), strict=True)):
        raise Finding("changed its input in place", about_input=False)
    return result


def _culprit(function, x, more, found, time_limit) -> tuple[int | None, str]:
    """Return the index of an input that alone gives a finding, and its text; by bisection.

    None where no input alone does.
    """
    if found.index is not None:
        return found.index, found.text
    limit, begun = time_limit, time.monotonic()
    by = begun + max(SEARCH_IN_ALL, time_limit)

    def finding(start, stop):
        try:
            once(function, x[start:stop], *(m[start:stop] for m in more), time_limit=limit)
        except Finding as smaller:
            return smaller
        return None

    start, stop, text = 0, len(x), found.text
    smaller = finding(0, 1)
    if smaller is None and found.hangs:
        limit = min(time_limit, max(SEARCH, 5 * (time.monotonic() - begun)))
    elif smaller is not None:
        stop, text = 1, text if found.hangs else smaller.text
    while stop - start > 1:
        middle = (start + stop) // 2
        for low, high in ((start, middle), (middle, stop)):
            smaller = finding(low, high) if time.monotonic() < by else None
            if smaller is not None:
                start, stop, text = low, high, text if found.hangs else smaller.text
                break
        else:
            together = f"{text}, given {stop - start} inputs at once; no single input was found that does it"
            return None, f"{text}; no single input takes so long" if found.hangs else together
    return start, text


def within(seconds, function, arguments) -> np.ndarray:
    """Return function(*arguments) as an array; raise Finding if it raises, takes longer or gives what is none."""
    outcome: dict[str, Any] = {}

    def work():
        try:
            with np.errstate(all="ignore"):
                outcome["given"] = function(*arguments)
                outcome["result"] = np.asarray(outcome["given"])
        except _GiveUp:
            pass
        except BaseException as error:  # SystemExit is a finding like any other
            outcome["error"] = error
        finally:
            ended.set()

    ended = threading.Event()
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
    try:
        thread.start()
        ended.wait(seconds)
        prepared = time.monotonic() + PREPARATION
        while not ended.is_set() and _prepares(thread) and time.monotonic() < prepared:
            ended.wait(seconds)
    finally:
        if not ended.is_set() and not _prepares(thread):  # its time is up, or Ctrl-C
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_GiveUp))
    if not ended.is_set():
        raise Finding(f"did not return within {seconds:g} s, given {_inputs(arguments[0])}", hangs=True)
    if "error" in outcome:
        error, of_type = outcome["error"], type(outcome.get("given")).__name__
        if isinstance(error, Finding):
            raise error
        if "given" in outcome:  # an object that NumPy cannot read
            raise Finding(f"returned a {of_type} that is not an array: {_said(error)}")
        raise Finding(f"raised {_said(error)}")
    given, result = outcome["given"], outcome["result"]
    if result.dtype == object and result.ndim == 0:
        raise Finding("returned None" if given is None else f"returned a {type(given).__name__}, not an array")
    return result


def _inputs(x: np.ndarray) -> str:
    return "1 input" if len(x) == 1 else f"{len(x)} inputs"


def _prepares(thread: threading.Thread) -> bool:
    """Return whether a thread is compiling or importing.

    That says nothing about the implementation, and ended from outside it would leave the locks of Numba, LLVM and
    the importer locked for ever.
    """
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in ("numba", "llvmlite", "importlib"):
            return True
        frame = frame.f_back
    return False


class _GiveUp(BaseException):
    """Ends Python code that runs on after its time."""


def _said(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(and its message cannot be read)"
    return f"{type(error).__name__}: {text}".strip(": ").splitlines()[0][:200]
