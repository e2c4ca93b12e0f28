"""Worker processes: started anew, not forked, and what goes wrong with that said plainly."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

NO_WORKERS = (
    "the worker processes ended as they started. Each of them imports the script that was run: what "
    "it calls here must stand under `if __name__ == '__main__':`, and the script in a file; or give "
    "jobs=1"
)
"""Why a pool of processes may be broken from the start."""


def pool(jobs: int, initializer: Callable | None = None) -> ProcessPoolExecutor:
    """Return a pool of fresh processes."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=spawn, initializer=initializer)


def not_while_starting() -> None:
    """End this process, quietly, if it is a worker that is only just importing the user's script.

    Without this, a script that trains outside ``if __name__ == "__main__":`` would train again in
    each of its workers.  The parent process raises `NO_WORKERS` instead.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)
