"""Worker processes: started anew, not forked, and what goes wrong with that."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

NO_WORKERS = (
    "the worker processes ended as they started. Each of them imports the script that was run: what "
    "it calls here must stand under `if __name__ == '__main__':`, and the script in a file; or give "
    "jobs=1"
)
KILLED = "a worker process was killed, perhaps for lack of memory; run the same again, with fewer jobs if need be"


def why_broken(workers: list) -> str:
    """Say why the pool of these processes is broken; the others end with the one that did."""
    deadline = time.monotonic() + 5
    codes: set[int | None] = set()
    while not codes and time.monotonic() < deadline:
        time.sleep(0.01)
        codes = {worker.exitcode for worker in workers} - {None, -signal.SIGTERM}
    return NO_WORKERS if 1 in codes else KILLED


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool(jobs: int, initializer: Callable | None = None) -> ProcessPoolExecutor:
    """Return a pool of fresh processes."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=spawn, initializer=initializer)


def not_while_starting() -> None:
    """End this process, quietly, if it is a worker that is only just importing the user's script.

    Without this, a script that trains outside ``if __name__ == "__main__":`` would train again in
    each of its workers.  The parent process raises an error with `NO_WORKERS` instead.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)


@contextlib.contextmanager
def without_interrupts():
    """Ignore Ctrl-C for a moment (where this thread may say so)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def follow_parent() -> None:
    """Let this worker end when its parent does, however that ends, and leave nothing behind."""
    from tqdm.auto import tqdm

    # By default tqdm makes a lock between processes; the system keeps it if this one is ended.
    tqdm.set_lock(threading.RLock())

    parent = multiprocessing.parent_process()
    if parent is None:  # not a worker
        return

    def follow():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
