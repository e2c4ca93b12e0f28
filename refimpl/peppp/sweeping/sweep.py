"""Train tasks x configurations in parallel processes, never losing what has been measured.

Every trained cell is appended to a journal, ``cells.jsonl``, as one line of JSON, the moment it
is done; a sweep that is killed and started again reads the journal and trains what is missing.
The same cell gives the same error in any process, so the finished matrix does not depend on how
often the sweep was interrupted. What a row is, and how a cell is trained: `cell`.
"""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

import refimpl
from refimpl import data, nn
from refimpl._arguments import Interval, instance, integer, message, names, wrong_kind
from refimpl._files import naming
from refimpl.nn.engine.compiling import told
from refimpl.nn.training import STARTING
from refimpl.peppp.checks import memory_cap
from refimpl.peppp.configs import configuration
from refimpl.peppp.matrix.error_matrix import ErrorMatrix
from refimpl.peppp.sweeping import processes
from refimpl.peppp.sweeping.cell import Settings, batch_fits, first_batches, memory_of, name_of, row_of, train_cell
from refimpl.peppp.sweeping.journal import Journal

__all__ = ["Journal", "Settings", "arithmetic", "run_sweep", "train_cells"]

MATRIX = "errors.npz"


Row = str | data.Task
Cell = tuple[Row, str, int]
"""Row, configuration, seed."""


def train_cells(
    cells: Iterable[Cell],
    journal: Journal,
    settings: Settings,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> list[dict]:
    """Train the (row, configuration, seed) cells that the journal does not have yet; return all of them.

    Parameters
    ----------
    cells : iterable of (str or Task, str, int)
        Rows as `cell.row_of` reads them.
    executor : concurrent.futures.Executor, optional
        Where to train, instead of in processes of this machine: anything that runs
        ``submit(function, *arguments)`` elsewhere and returns a future, such as
        ``dask.distributed.Client(...).get_executor()``. It is left open. Each cell is written
        down as it arrives.
    jobs : int, optional
        Processes; default one for each processor this process may use.  With 1 the cells are
        trained in this process.
    progress : bool
        Show a bar with the time left.

    Returns
    -------
    list of dict
        As `cell.train_cell` returns them, in the order asked for.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, when the cells in training have been finished and written down.
    RuntimeError
        If cells failed (a worker that died for good, say), when all others have been written down;
        and if worker processes cannot start because the script that calls this does not do so under
        ``if __name__ == "__main__":``, without which it would be run again in each of them.
    """
    from tqdm.auto import tqdm

    processes.not_while_starting()
    check_running(jobs, executor)
    cells = list(dict.fromkeys(cells))
    data_of = {row: row_of(row, settings)[0].fingerprint for row in dict.fromkeys(cell[0] for cell in cells)}
    keys = [(name_of(row), name, seed, data_of[row]) for row, name, seed in cells]
    missing = [cell for cell, key in zip(cells, keys, strict=True) if key not in journal.cells]
    jobs = min(jobs or processes.processors(), len(missing))
    work = [(row, name, replace(settings, seed=seed), data_of[row]) for row, name, seed in missing]
    with (
        tqdm(total=len(missing), unit="cell", disable=not progress or not missing) as bar,
        told(bar.set_postfix_str) if progress else nullcontext(),
    ):
        bar.set_postfix_str(STARTING)

        def keep(cell):
            with naming(journal.path):
                journal.add(cell)
            bar.set_postfix_str(f"{cell['task']} {cell['configuration']} error {cell['error']:.3f}")
            bar.update()

        if executor is not None:
            futures = [executor.submit(train_cell, *arguments) for arguments in work]
            _keep_as_they_come(futures, keep, bar.write)
        elif jobs <= 1:
            for arguments in work:
                keep(train_cell(*arguments))
        else:
            _train_in_processes(work, jobs, keep, bar.write)
    return [journal.cells[key] for key in keys]


def _train_in_processes(work, jobs: int, keep: Callable, say: Callable) -> None:
    """Train cells in worker processes and keep each in this one as it finishes."""
    # Kernels compiled once here are read from Numba's cache by the workers.
    for task, how in {how.model: (task, how) for task, how in (row_of(w[0], w[2]) for w in work[::-1])}.values():
        train_cell(first_batches(task, how), work[0][1], replace(how, epochs=1))
    others = multiprocessing.active_children()
    workers: list = []
    pool = processes.pool(jobs, processes.follow_parent)
    try:
        futures = []
        with processes.without_interrupts():  # workers inherit this: Ctrl-C is their parent's business
            for arguments in work:  # by and by, workers are started
                try:
                    futures.append(pool.submit(train_cell, *arguments))
                except (ValueError, BrokenPipeError) as error:  # it broke while it started a worker
                    raise BrokenProcessPool(str(error)) from error
                workers += [child for child in multiprocessing.active_children() if child not in [*others, *workers]]
        _keep_as_they_come(futures, keep, say)
    except (KeyboardInterrupt, RuntimeError) as error:
        why = processes.why_broken(workers) if isinstance(error, BrokenProcessPool) else ""
        # Cells are kept by now, unless a second Ctrl-C said not to wait: then workers end at once. And a broken pool
        # waits forever for a worker that was started after it ended the others.
        for worker in workers:
            worker.terminate()
        if why:
            raise RuntimeError(f"{why}; what was trained is kept") from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _keep_as_they_come(futures: Sequence[Future], keep: Callable, say: Callable) -> None:
    """Keep each cell as it finishes; let one that failed not hold up the others."""
    waiting, failed, workers = set(futures), [], multiprocessing.active_children()

    def settle(some):
        for future in as_completed(some):
            waiting.discard(future)
            try:
                cell = future.result()
            except Exception as error:  # whatever the executor, or the training, raises
                failed.append(error)
            else:
                keep(cell)

    try:
        settle(futures)
    except KeyboardInterrupt:
        say("interrupted: finishing the cells in training (Ctrl-C again drops them)")
        settle([f for f in waiting if not f.cancel()])
        raise
    if failed and isinstance(failed[0], BrokenProcessPool):
        raise RuntimeError(f"{processes.why_broken(workers)}; what was trained is kept") from None
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {len(futures)} cells could not be trained, the first because of "
            f"{type(failed[0]).__name__}: {failed[0]}; the others are kept, run the same again"
        ) from failed[0]


def run_sweep(
    tasks: Sequence[Row],
    configurations: Sequence[str],
    directory: str | os.PathLike,
    *,
    settings: Settings | None = None,
    repeats: int = 1,
    jobs: int | None = None,
    executor: Executor | None = None,
    memory_cap_mb: float | None = None,
    progress: bool = True,
) -> ErrorMatrix:
    """Train every task in every configuration and write the matrix of test errors.

    Killed at any moment and called again with the same arguments, it goes on where it was; but cells
    of a data set whose files have changed since are trained again.

    Parameters
    ----------
    tasks : sequence of str or Task
        Rows: names known to `refimpl.data.load`, each with settings of its own behind an ``@`` if it has some
        (``greek-ten@model=lenet,loss_scale=1``), or tasks in memory.
    configurations : sequence of str
        Known to `refimpl.peppp.configuration`.
    directory : path
        Receives ``cells.jsonl`` as cells are trained and ``errors.npz`` when all are.
    settings : Settings, optional
        How cells are trained.
    repeats : int, default 1
        Trainings of each cell, from the seed of the settings on. More of them can be asked for later.
    jobs, executor, progress
        As in `train_cells`.
    memory_cap_mb : float, optional
        Cells that need more memory are not trained and stay nan in the matrix.

    Returns
    -------
    ErrorMatrix
        With memory in MB of 2^20 bytes, seconds per cell, the repeats, marks of the images of each row, and
        how it was made.

    Raises
    ------
    ValueError
        Before training: for unknown names, none at all or one twice, a batch larger than a task's
        training set, and a directory or journal that cannot be used or that another process uses.
    RuntimeError
        As `train_cells`: a script calls this under ``if __name__ == "__main__":``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     how = Settings("mlp", epochs=1)
    ...     matrix = run_sweep(["digits"], ["e4m3+e8m7"], folder, settings=how, jobs=1, progress=False)
    >>> matrix.rows, matrix.columns
    (('digits',), ('e4m3+e8m7',))
    """
    processes.not_while_starting()
    check_running(jobs, executor)
    settings = settings or Settings()
    repeats = integer("run_sweep", "repeats", repeats, Interval(1))
    cells, memory_mb = cells_of(tasks, configurations, settings, memory_cap_mb, repeats)
    journal = Journal(directory, settings)
    try:
        trained = train_cells(cells, journal, settings, jobs=jobs, executor=executor, progress=progress)
    finally:
        journal.close()
    rows = [name_of(row) for row in tasks]
    found = {what: np.full((repeats, *memory_mb.shape), np.nan) for what in ("error", "seconds", "fall")}
    for cell in trained:
        place = cell["seed"] - settings.seed, rows.index(cell["task"]), configurations.index(cell["configuration"])
        for what, values in found.items():
            values[place] = cell[what]
    capped = {} if memory_cap_mb is None else {"memory_cap_mb": memory_cap_mb}
    errors = ErrorMatrix(
        found["error"].mean(axis=0),
        rows,
        configurations,
        memory_mb,
        found["seconds"].mean(axis=0),
        metadata={"version": refimpl.__version__, "arithmetic": arithmetic(), **capped, **asdict(settings)},
        repeats=found["error"] if repeats > 1 else None,
        images=[row_of(row, settings)[0].marks for row in tasks],
    )
    errors.save(Path(directory) / MATRIX)
    return errors


def check_running(jobs: int | None, executor: Executor | None) -> None:
    """Refuse what cannot be run on, before there is anything to run."""
    if jobs is not None:
        integer("train_cells", "jobs", jobs, Interval(1))
    if executor is not None and not hasattr(executor, "submit"):
        allowed = "one of concurrent.futures, or another with submit(function, *arguments)"
        raise wrong_kind("train_cells", "executor", executor, allowed)


def cells_of(tasks, configurations, settings, memory_cap_mb, repeats=1) -> tuple[list[Cell], np.ndarray]:
    """Return the cells to train and the memory of all, shape (tasks, configurations); checked."""
    instance("run_sweep", "settings", settings, Settings, "refimpl.peppp.Settings(...)")
    cap = memory_cap("run_sweep", memory_cap_mb)
    rows = [name_of(row) for row in tasks] if isinstance(tasks, (list, tuple)) else tasks
    for what, listed in (("task", rows), ("configuration", configurations)):
        if not names("run_sweep", what, listed):
            raise ValueError(message("run_sweep", f"{what}s", "empty", "at least one name"))
    formats = [configuration(name) for name in configurations]
    memory_mb = np.empty((len(tasks), len(formats)))
    for i, row in enumerate(tasks):
        task, how = row_of(row, settings)
        batch_fits(task, how.batch_size)
        memory_mb[i] = memory_of(task, formats, how)
    within = memory_mb <= (np.inf if cap is None else cap)
    if not within.any():
        raise ValueError(
            f"run_sweep: a memory cap of {cap} MB admits no cell; the smallest needs "
            f"{memory_mb.min():.4f} MB: raise the cap"
        )
    seeds = range(settings.seed, settings.seed + repeats)
    fits = dict(zip(itertools.product(range(len(tasks)), configurations), within.ravel(), strict=True))
    every = itertools.product(seeds, range(len(tasks)), configurations)
    return [(tasks[i], name, seed) for seed, i, name in every if fits[i, name]], memory_mb


def arithmetic() -> str:
    """Return a fingerprint of this machine's float32 sums of products.

    Two machines with the same fingerprint take these sums in the same order, and then train every
    cell to the same bits; with another one, results differ as those of two seeds do.
    """
    model = nn.cnn()
    nn.fit(model, data.load("digits"), epochs=1, seed=0)
    digest = hashlib.sha256(b"".join(t.data.tobytes() for t in model.tensors()))
    return digest.hexdigest()[:16]
