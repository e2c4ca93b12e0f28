"""Run a program that may do anything: in bounded time and memory, and so that nothing of it lives on.

A program runs in a session, and so in a process group, of its own.  When it ends, or its time is up, or it writes
too much, or this process is told to end (Ctrl-C, SIGTERM, SIGHUP), the whole group is killed: what the program
started ends with it.  What left the group, as daemons do, is killed where it keeps the program's output open.
"""

from __future__ import annotations

import contextlib
import glob
import os
import selectors
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

LOOK = 0.002  # seconds between looks at whether a program that says nothing still lives
GRACE = 0.2  # seconds that pipes may stay open once the program is gone
PIECE = 1 << 16  # bytes read or written at a time
SAID = 4096  # bytes kept of the standard error


class Ended(NamedTuple):
    """What a program wrote, the last line of its standard error, and how it ended.

    `status` is its exit status, or minus the number of the signal that ended it; None where it was ended here,
    because its time was up or, if `flooded`, because it wrote too much.
    """

    output: bytes
    said: str
    status: int | None
    flooded: bool = False


def run(command: tuple[str, ...], given: bytes, *, seconds: float, most: int) -> Ended:
    """Run a program on `given` for at most `seconds`, and read at most `most` bytes of what it writes.

    Raises OSError where it cannot be started.

    >>> run(("cat",), b"3f80\\n", seconds=10, most=100)
    Ended(output=b'3f80\\n', said='', status=0, flooded=False)
    """
    with _heard() as signals:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        pipes = _Pipes(child, given, most)
        try:
            by = time.monotonic() + seconds
            while not (signals or pipes.flooded or _has_ended(child) or time.monotonic() >= by):
                pipes.move(min(LOOK, max(by - time.monotonic(), 0)))
            in_time = _has_ended(child) and not pipes.flooded
        finally:
            _kill_group(child)
            pipes.drain()
            child.wait()
    if signals:
        raise KeyboardInterrupt
    return Ended(bytes(pipes.output), pipes.said(), child.returncode if in_time else None, pipes.flooded)


class _Pipes:
    """The three pipes to a program, moved along as far as they go without waiting for it."""

    def __init__(self, child: subprocess.Popen, given: bytes, most: int):
        self.left, self.most = memoryview(given), most
        self.output, self.errors = bytearray(), b""
        self.waiting = selectors.DefaultSelector()
        assert child.stdin and child.stdout and child.stderr
        self.into, self.out = child.stdin, child.stdout
        read, write = selectors.EVENT_READ, selectors.EVENT_WRITE
        for pipe, event in ((self.into, write), (self.out, read), (child.stderr, read)):
            os.set_blocking(pipe.fileno(), False)
            self.waiting.register(pipe, event)

    @property
    def flooded(self) -> bool:
        return len(self.output) > self.most

    def move(self, seconds: float) -> bool:
        """Write and read what can be, waiting so long for it; tell whether anything moved."""
        if not self.waiting.get_map():
            time.sleep(seconds)
            return False
        ready = self.waiting.select(seconds)
        for key, _ in ready:
            if key.fileobj is self.into:
                self._write(key)
            else:
                self._read(key)
        return bool(ready)

    def _write(self, key) -> None:
        try:
            self.left = self.left[os.write(key.fd, self.left[:PIECE]) :]
        except BrokenPipeError:  # it reads no more
            self.left = self.left[:0]
        if not self.left:
            self._close(key.fileobj)

    def _read(self, key) -> None:
        piece = os.read(key.fd, PIECE)
        if not piece:
            self._close(key.fileobj)
        elif key.fileobj is self.out:
            self.output += b"" if self.flooded else piece
        else:
            self.errors = (self.errors + piece)[-SAID:]

    def _close(self, pipe) -> None:
        self.waiting.unregister(pipe)
        pipe.close()

    def drain(self) -> None:
        """Read what is left once the program is gone, end who keeps the pipes open, and close them."""
        if not self.into.closed:
            self._close(self.into)
        by = time.monotonic() + GRACE
        while self.waiting.get_map() and time.monotonic() < by:
            self.move(GRACE)
        for key in list(self.waiting.get_map().values()):
            _kill_writers(os.fstat(key.fd).st_ino)
            self._close(key.fileobj)
        self.waiting.close()

    def said(self) -> str:
        """Return the last line of the standard error, without what would move a terminal's cursor."""
        lines = self.errors.decode(errors="replace").strip().splitlines()
        return "".join(c if c.isprintable() else " " for c in lines[-1][-200:]) if lines else ""


def _has_ended(child: subprocess.Popen) -> bool:
    """Tell whether a program has ended, without forgetting it, so that its number stays its own."""
    try:
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:  # this process has its children forgotten at once
        return True


def _kill_group(child: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _kill_writers(pipe: int) -> None:
    """Kill processes of other sessions that hold the writing end of a pipe, given by its inode."""
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # it has gone meanwhile
            if os.readlink(link) == f"pipe:[{pipe}]" and os.lstat(link).st_mode & stat.S_IWUSR:
                number = int(link.split("/")[2])
                if os.getsid(number) != os.getsid(0):
                    os.kill(number, signal.SIGKILL)


@contextlib.contextmanager
def _heard() -> Iterator[list[int]]:
    """Note signals that end this process, and let them act at the end of the block."""
    heard: list[int] = []
    usual = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                usual[number] = signal.signal(number, lambda number, _: heard.append(number))
    try:
        yield heard
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])
