"""Train tasks x configurations in parallel processes, never losing what has been measured.

Every trained cell is appended to a journal, ``cells.jsonl``, as one line of JSON, the moment it
is done; a sweep that is killed and started again reads the journal and trains what is missing.
The same cell gives the same error in any process, so the finished matrix does not depend on how
often the sweep was interrupted.
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
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import refimpl
from refimpl import data, nn
from refimpl._arguments import FLOAT32, Interval, instance, integer, message, names, number, seed, wrong_kind
from refimpl.nn.engine.compiling import told
from refimpl.nn.training import STARTING
from refimpl.peppp import memory
from refimpl.peppp.checks import memory_cap
from refimpl.peppp.configs import Configuration, configuration
from refimpl.peppp.matrix.error_matrix import ErrorMatrix
from refimpl.peppp.sweeping import processes
from refimpl.peppp.sweeping.journal import Journal

__all__ = ["Journal", "Settings", "arithmetic", "memory_of", "run_sweep", "train_cell", "train_cells"]

MATRIX = "errors.npz"


@dataclass(frozen=True)
class Settings:
    """How every cell is trained; the defaults are those of the embedded meta-training matrix."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.05
    loss_scale: float = 1000.0
    seed: int = 0

    def __post_init__(self):
        integer("Settings", "epochs", self.epochs, Interval(1))
        integer("Settings", "batch_size", self.batch_size, Interval(1))
        number("Settings", "learning_rate", self.learning_rate, FLOAT32)
        seed("Settings", self.seed)
        nn.Precision(loss_scale=self.loss_scale)  # raises where the scale makes no sense


def train_cell(task_name: str, configuration_name: str, settings: Settings) -> dict:
    """Train the small CNN on one task in one configuration.

    Returns
    -------
    dict
        ``task configuration data error seconds diverged``: ``data`` is the fingerprint of the images
        and labels, ``error`` that on the test images.

    Examples
    --------
    >>> cell = train_cell("digits", "e4m3+e8m7", Settings(epochs=1))
    >>> 0 <= cell["error"] <= 1
    True
    """
    task, formats = data.load(task_name), configuration(configuration_name)
    result = nn.fit(
        _network(task),
        task,
        precision=nn.Precision(low=formats.low, high=formats.high, loss_scale=settings.loss_scale),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
    )
    return {
        "task": task_name,
        "configuration": configuration_name,
        "data": task.fingerprint,
        "error": result.test_error,
        "seconds": round(result.seconds, 3),
        "diverged": result.diverged,
    }


def _network(task: data.Task) -> nn.layers.Sequential:
    words = getattr(task, "words", None)  # of a task of text, which the network refuses
    return nn.network("cnn", task.train_images.shape[1:], task.classes, words=words)


def memory_of(task: data.Task, configurations: Iterable[Configuration], batch_size: int = 32) -> np.ndarray:
    """Return the memory, in MB of 2^20 bytes, of training the small CNN in each configuration.

    Examples
    --------
    >>> memory_of(data.load("digits"), [configuration("e3m1+e6m7")]).round(3).tolist()
    [0.283]
    """
    network, shape = _network(task), task.train_images.shape[1:]
    return np.array([memory.count(network, shape, c, batch_size=batch_size).total_mb for c in configurations])


def batch_fits(task: data.Task, batch_size: int) -> None:
    """Raise ValueError where a batch is larger than a task's training set."""
    if batch_size > len(task.train_labels):
        allowed = f"at most {len(task.train_labels)}, the number of its training images"
        raise ValueError(message(task.name, "batch_size", f"{batch_size}", allowed))


def train_cells(
    cells: Iterable[tuple[str, str]],
    journal: Journal,
    settings: Settings,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> None:
    """Train the (task, configuration) cells that the journal does not have yet.

    Parameters
    ----------
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

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, when the cells in training have been finished and written down.
    RuntimeError
        If cells failed (a worker that died for good, say), when all others have been written down;
        and if worker processes cannot start because the script that calls this does not do so under
        ``if __name__ == "__main__":``, without which it would be run again in each of them.
    """
    from tqdm import tqdm

    processes.not_while_starting()
    check_running(jobs, executor)
    cells = list(dict.fromkeys(cells))
    data_of = {task: data.load(task).fingerprint for task in dict(cells)}
    missing = [cell for cell in cells if (*cell, data_of[cell[0]]) not in journal.cells]
    jobs = min(jobs or processes.processors(), len(missing))
    with (
        tqdm(total=len(missing), unit="cell", disable=not progress or not missing) as bar,
        told(bar.set_postfix_str) if progress else nullcontext(),
    ):
        bar.set_postfix_str(STARTING)

        def keep(cell):
            journal.add(cell)
            bar.set_postfix_str(f"{cell['task']} {cell['configuration']} error {cell['error']:.3f}")
            bar.update()

        if executor is not None:
            futures = [executor.submit(train_cell, *cell, settings) for cell in missing]
            _keep_as_they_come(futures, keep, bar.write)
        elif jobs <= 1:
            for task, name in missing:
                keep(train_cell(task, name, settings))
        else:
            _train_in_processes(missing, settings, jobs, keep, bar.write)


def _train_in_processes(cells, settings: Settings, jobs: int, keep: Callable, say: Callable) -> None:
    """Train cells in worker processes and keep each in this one as it finishes."""
    # Kernels compiled once here are read from Numba's cache by the workers.
    train_cell("digits", cells[0][1], Settings(epochs=1, batch_size=512))
    pool = processes.pool(jobs, processes.follow_parent)
    try:
        with processes.without_interrupts():  # workers inherit this: Ctrl-C is their parent's business
            futures = [pool.submit(train_cell, task, name, settings) for task, name in cells]
        _keep_as_they_come(futures, keep, say)
    except KeyboardInterrupt:
        # Cells are kept by now, unless a second Ctrl-C said not to wait: then workers end at once.
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _keep_as_they_come(futures: Sequence[Future], keep: Callable, say: Callable) -> None:
    """Keep each cell as it finishes; let one that failed not hold up the others."""
    waiting, failed = set(futures), []

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
    if len(failed) == len(futures) and isinstance(failed[0], BrokenProcessPool):
        raise RuntimeError(processes.NO_WORKERS) from None
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {len(futures)} cells could not be trained, the first because of "
            f"{type(failed[0]).__name__}: {failed[0]}; the others are kept, run the same again"
        ) from failed[0]


def run_sweep(
    tasks: Sequence[str],
    configurations: Sequence[str],
    directory: str | os.PathLike,
    *,
    settings: Settings | None = None,
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
    tasks, configurations : sequence of str
        Names known to `refimpl.data.load` and `refimpl.peppp.configuration`.
    directory : path
        Receives ``cells.jsonl`` as cells are trained and ``errors.npz`` when all are.
    settings, jobs, executor, progress
        As in `train_cells`.
    memory_cap_mb : float, optional
        Cells that need more memory are not trained and stay nan in the matrix.

    Returns
    -------
    ErrorMatrix
        With memory in MB of 2^20 bytes, seconds per cell, and how it was made.

    Raises
    ------
    ValueError
        Before training: for unknown names, none at all or one twice, a batch larger than a task's
        training set, and a directory or journal that cannot be used or that another process uses.
    RuntimeError
        As `train_cells`: a script calls this under ``if __name__ == "__main__":``.
    """
    processes.not_while_starting()
    check_running(jobs, executor)
    settings = settings or Settings()
    cells, memory_mb = cells_of(tasks, configurations, settings, memory_cap_mb)
    journal = Journal(directory, settings)
    try:
        train_cells(cells, journal, settings, jobs=jobs, executor=executor, progress=progress)
        capped = {} if memory_cap_mb is None else {"memory_cap_mb": memory_cap_mb}
        loaded = [data.load(t) for t in tasks]
        errors = ErrorMatrix(
            np.array([journal.row("error", t, configurations) for t in loaded]),
            tasks,
            configurations,
            memory_mb,
            np.array([journal.row("seconds", t, configurations) for t in loaded]),
            metadata={
                "network": "cnn",
                "version": refimpl.__version__,
                "images_from": [t.images_from for t in loaded],
                "arithmetic": arithmetic(),
                **capped,
                **asdict(settings),
            },
        )
    finally:
        journal.close()
    errors.save(Path(directory) / MATRIX)
    return errors


def check_running(jobs: int | None, executor: Executor | None) -> None:
    """Refuse what cannot be run on, before there is anything to run."""
    if jobs is not None:
        integer("train_cells", "jobs", jobs, Interval(1))
    if executor is not None and not hasattr(executor, "submit"):
        allowed = "one of concurrent.futures, or another with submit(function, *arguments)"
        raise wrong_kind("train_cells", "executor", executor, allowed)


def cells_of(tasks, configurations, settings, memory_cap_mb):
    """Return the cells to train and the memory of all, shape (tasks, configurations); checked."""
    instance("run_sweep", "settings", settings, Settings, "refimpl.peppp.Settings(...)")
    cap = memory_cap("run_sweep", memory_cap_mb)
    for what, listed in (("task", tasks), ("configuration", configurations)):
        if not names("run_sweep", what, listed):
            raise ValueError(message("run_sweep", f"{what}s", "empty", "at least one name"))
    formats = [configuration(name) for name in configurations]
    memory_mb = np.empty((len(tasks), len(formats)))
    for i, name in enumerate(tasks):
        task = data.load(name)
        batch_fits(task, settings.batch_size)
        memory_mb[i] = memory_of(task, formats, settings.batch_size)
    within = memory_mb <= (np.inf if cap is None else cap)
    if not within.any():
        raise ValueError(
            f"run_sweep: a memory cap of {cap} MB admits no cell; the smallest needs "
            f"{memory_mb.min():.4f} MB: raise the cap"
        )
    every = itertools.product(tasks, configurations)
    return [cell for cell, fits in zip(every, within.ravel(), strict=True) if fits], memory_mb


def arithmetic() -> str:
    """Return a fingerprint of this machine's float32 sums of products.

    Two machines with the same fingerprint take these sums in the same order, and then train every
    cell to the same bits; with another one, results differ as those of two seeds do.
    """
    model = nn.cnn()
    nn.fit(model, data.load("digits"), epochs=1, seed=0)
    digest = hashlib.sha256(b"".join(t.data.tobytes() for t in model.tensors()))
    return digest.hexdigest()[:16]
