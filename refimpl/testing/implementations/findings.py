"""Findings: what an implementation did that cannot be compared, and the guard that notices it.

A call of the implementation runs in a thread of its own, so that one that hangs can be given up.
Whatever it raises, `SystemExit` included, is a finding.  (A crash of the interpreter cannot be
caught: test such code as a `Program`.)
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

SEARCH = 0.5  # seconds allowed to each call while the input that hangs is looked for


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


def call(function: Callable, x: np.ndarray, *more, time_limit: float) -> np.ndarray:
    """Return function(x, *more) as an array of the shape of x; raise Finding for anything else.

    The finding's `input` is an array of the one input that does it, where one alone does.
    """
    try:
        return once(function, x, *more, time_limit=time_limit)
    except Finding as found:
        if found.about_input and x.size:
            at, text = _culprit(function, x, more, found, time_limit)
            found.input, found.text = x[at : at + 1], text
        raise


def once(function, x, *more, time_limit) -> np.ndarray:
    given = x.copy()
    result = _within(time_limit, function, given, *more)
    try:
        result = np.asarray(result)
    except Exception as error:  # an object that NumPy cannot read
        raise Finding(f"returned a {type(result).__name__} that is not an array: {_said(error)}") from None
    if result.shape != x.shape:
        raise Finding(f"returned shape {result.shape} for inputs of shape {x.shape}")
    if given.tobytes() != x.tobytes():
        raise Finding("changed its input in place", about_input=False)
    return result


def _culprit(function, x, more, found, time_limit) -> tuple[int, str]:
    """Return the index of an input that alone gives a finding, and its text, by bisection."""
    limit = min(time_limit, SEARCH) if found.hangs else time_limit
    start, stop, text = 0, len(x), found.text
    if found.index is not None:
        return found.index, text
    while stop - start > 1:
        middle = (start + stop) // 2
        for low, high in ((start, middle), (middle, stop)):
            try:
                once(function, x[low:high], *(m[low:high] for m in more), time_limit=limit)
            except Finding as smaller:
                start, stop = low, high
                if not found.hangs:
                    text = smaller.text
                break
        else:  # only together: name the first
            return start, text
    return start, text


def _within(seconds, function, *arguments):
    """Return function(*arguments); raise Finding if it raises or takes longer."""
    if hasattr(function, "time_limit"):  # a Program looks at the clock itself
        return function(*arguments)
    outcome: dict[str, Any] = {}

    def work():
        try:
            with np.errstate(all="ignore"):
                outcome["result"] = function(*arguments)
        except _GiveUp:
            pass
        except BaseException as error:  # SystemExit is a finding like any other
            outcome["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    while thread.is_alive() and _prepares(thread):
        thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_GiveUp))
        raise Finding(f"did not return within {seconds:g} s", hangs=True)
    if "error" in outcome:
        error = outcome["error"]
        raise error if isinstance(error, Finding) else Finding(f"raised {_said(error)}")
    return outcome.get("result")


def _prepares(thread: threading.Thread) -> bool:
    """Return whether a thread is compiling or importing.

    That ends by itself, says nothing about the implementation, and ended from outside it would leave
    the locks of Numba, LLVM and the importer locked for ever.
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
