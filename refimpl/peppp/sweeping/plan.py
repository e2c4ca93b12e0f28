"""What a sweep would do: how many cells, how long, how much memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from refimpl import data
from refimpl.peppp.sweeping.journal import Journal
from refimpl.peppp.sweeping.sweep import Settings, cells_of, train_cell

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
    tasks: Sequence[str],
    configurations: Sequence[str],
    directory: str | os.PathLike,
    *,
    settings: Settings | None = None,
    memory_cap_mb: float | None = None,
) -> SweepPlan:
    """Say what `run_sweep` would do, without doing it or writing anything.

    The time is estimated from the journal's cells, or from one epoch of the first cell; it is
    taken to grow with the number of images.

    Parameters
    ----------
    tasks, configurations, directory, settings, memory_cap_mb
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
    cells, memory_mb = cells_of(tasks, configurations, settings, memory_cap_mb)
    kept = Journal.peek(directory, settings)
    loaded = [data.load(name) for name in tasks]
    data_of = {task.name: task.fingerprint for task in loaded}
    images = {task.name: len(task.train_labels) + len(task.test_labels) for task in loaded}
    known = {key[:2]: cell for key, cell in kept.items() if data_of.get(key[0]) == key[2]}
    rest = [cell for cell in cells if cell not in known]
    if known:
        seconds = sum(cell["seconds"] for cell in known.values())
        pace = seconds / sum(images[task] for task, _ in known)
    elif rest:
        task, name = rest[0]
        short = replace(settings, epochs=1)
        train_cell(task, name, short)  # compiles, or reads what was compiled
        pace = train_cell(task, name, short)["seconds"] * settings.epochs / images[task]
    else:
        pace = 0.0
    return SweepPlan(
        cells=len(cells),
        trained=len(cells) - len(rest),
        over_cap=memory_mb.size - len(cells),
        seconds=pace * sum(images[task] for task, _ in rest),
        largest_mb=float(memory_mb[memory_mb <= (memory_cap_mb or np.inf)].max()),
    )
