"""What a sweep would do: how many cells, how long, how much memory."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from refimpl.peppp.sweeping.cell import Settings, first_batches, name_of, row_of, train_cell
from refimpl.peppp.sweeping.journal import Journal
from refimpl.peppp.sweeping.sweep import Row, cells_of

__all__ = ["SweepPlan", "plan_sweep"]


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep would do.

    Parameters
    ----------
    cells : int
        Cells within the memory cap.
    trained : int
        Of these, those that the journal already has.
    over_cap : int
        Cells that are not run because they need more memory than the cap.
    seconds : float
        Estimate of the time of the rest, in all processes together.
    largest_mb : float
        Memory of the largest cell to be run, by the paper's rule, in MB of 2^20 bytes.
    """

    cells: int
    trained: int
    over_cap: int
    seconds: float
    largest_mb: float


def plan_sweep(
    tasks: Sequence[Row],
    configurations: Sequence[str],
    directory: str | os.PathLike,
    *,
    settings: Settings | None = None,
    repeats: int = 1,
    memory_cap_mb: float | None = None,
) -> SweepPlan:
    """Say what `run_sweep` would do, without doing it or writing anything.

    The time of a row is that of its cells in the journal, or reckoned from a few batches of that very network on
    that very data, which are trained for it.

    Parameters
    ----------
    tasks, configurations, directory, settings, repeats, memory_cap_mb
        As for `run_sweep`.

    Returns
    -------
    SweepPlan

    Raises
    ------
    ValueError
        As `run_sweep`.

    Examples
    --------
    >>> plan = plan_sweep(["digits"], ["e4m3+e8m7", "e3m1+e6m7"], "nowhere", memory_cap_mb=0.3)
    >>> plan.cells, plan.trained, plan.over_cap, plan.seconds > 0
    (1, 0, 1, True)
    """
    settings = settings or Settings()
    cells, memory_mb = cells_of(tasks, configurations, settings, memory_cap_mb, repeats)
    kept = Journal.peek(directory, settings)
    rest: dict[Row, list[str]] = {}
    seconds = 0.0
    for row in tasks:
        task, how = row_of(row, settings)
        names = [(name_of(row), name, seed, task.fingerprint) for owner, name, seed in cells if owner is row]
        known = [kept[key] for key in names if key in kept]
        rest[row] = [key[1] for key in names if key not in kept]
        if rest[row]:
            each = np.mean([cell["seconds"] for cell in known]) if known else _seconds(task, how, rest[row][0])
            seconds += len(rest[row]) * float(each)
    left = sum(map(len, rest.values()))
    return SweepPlan(
        cells=len(cells),
        trained=len(cells) - left,
        over_cap=memory_mb.size * repeats - len(cells),
        seconds=seconds,
        largest_mb=float(memory_mb[memory_mb <= (memory_cap_mb or np.inf)].max()),
    )


ENOUGH = 0.3
"""Seconds that an epoch of some batches must take to tell how long a whole training does."""


def _seconds(task, how: Settings, configuration: str) -> float:
    """Reckon how long a cell takes: from an epoch of one batch, and of more until they take long enough."""

    def work(task, epochs=1):  # in images trained on; what is only gone through takes about a third of the time
        return epochs * len(task.train_labels) + len(task.test_labels) / 3

    def epoch(short):
        started = time.perf_counter()
        train_cell(short, configuration, replace(how, epochs=1))
        return time.perf_counter() - started, work(short)

    epoch(first_batches(task, how))  # compiles, or reads what was compiled
    batches = 1
    least, few = more, many = epoch(first_batches(task, how))
    while more < ENOUGH and many < work(task):
        batches *= 4
        more, many = epoch(first_batches(task, how, batches))
    each = max(more - least, 0.0) / (many - few) if many > few else least / few
    return least + each * max(work(task, how.epochs) - few, 0.0)
