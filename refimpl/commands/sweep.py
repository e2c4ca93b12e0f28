"""``refimpl sweep``: train tasks x configurations into an error matrix."""

from __future__ import annotations

import contextlib

from refimpl.commands.options import (
    add_json,
    add_running,
    add_training,
    declare,
    positive,
    say_read,
    settings,
    writable,
)


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "sweep",
        _sweep,
        help="train tasks x configurations into an error matrix",
        description="Train every task in every configuration.  Killed at any moment and started "
        "again it continues; without arguments it makes the matrix that ships with the package.",
        examples=("--tasks digits latin-small-ten --epochs 2 --out few", "--memory-cap-mb 0.4 --dry-run"),
    )
    command.add_argument(
        "--tasks",
        nargs="+",
        metavar="NAME",
        help="or path of your own, with settings of its own as in digits@model=mlp,loss_scale=1 "
        "(default: the rows of the matrix that ships, three trainings each)",
    )
    command.add_argument("--configurations", nargs="+", metavar="NAME", help="such as e4m3+e8m7 (default: all 99)")
    add_training(command)
    command.add_argument("--repeats", type=positive, metavar="N", help="trainings of each cell, each from its own seed")
    command.add_argument("--memory-cap-mb", type=float, metavar="MB", help="do not train what needs more memory")
    command.add_argument("--dry-run", action="store_true", help="only say how many cells, how long, how much memory")
    command.add_argument(
        "--dask", metavar="ADDRESS", help="train on the workers of this Dask scheduler, such as tcp://host:8786"
    )
    add_running(command, "sweep")
    add_json(command)


def _sweep(options) -> int:
    from refimpl import data
    from refimpl.data.files import local
    from refimpl.peppp import CONFIGURATIONS, plan_sweep, run_sweep
    from refimpl.peppp.shipped import REPEATS, ROWS
    from refimpl.peppp.sweeping.cell import split

    directory = options.out or "sweep"
    what = {
        "tasks": options.tasks or ROWS,
        "configurations": options.configurations or [c.name for c in CONFIGURATIONS],
        "directory": directory,
        "settings": settings(options),
        "repeats": options.repeats or (1 if options.tasks else REPEATS),
        "memory_cap_mb": options.memory_cap_mb,
    }
    for name in dict.fromkeys(split(row, what["settings"])[0] for row in options.tasks or ()):
        if local.is_path(name):
            say_read(data.load(name))
    if options.dry_run:
        plan = plan_sweep(**what)
        options.results = vars(plan) | {"planned": True}
        print("\n".join(_plan(plan, options.jobs)))
        return 0
    writable(f"{directory}/errors.npz")
    with _executor(options.dask) as executor:
        errors = run_sweep(**what, jobs=options.jobs, executor=executor, progress=not options.quiet)
    options.results = {
        "planned": False,
        "tasks": list(errors.rows),
        "configurations": list(errors.columns),
        "errors": errors.values.tolist(),
        "memory_mb": None if errors.memory_mb is None else errors.memory_mb.tolist(),
    }
    print("\n".join(_summary(errors)))
    print(f"wrote {directory}/errors.npz")
    return 0


def _plan(plan, jobs):
    """Lines: what a sweep would do."""
    from refimpl.peppp.sweeping.processes import processors

    jobs = min(jobs or processors(), max(plan.cells - plan.trained, 1))
    yield (
        f"{plan.cells} cells, {plan.trained} of them trained already; "
        f"{plan.over_cap} more are over the memory cap and not run"
    )
    yield (
        f"about {plan.seconds / 60:.1f} minutes of training for the other {plan.cells - plan.trained}, "
        f"{plan.seconds / 60 / jobs:.1f} in {jobs} process(es)"
    )
    yield f"the largest needs {plan.largest_mb:.4f} MB by the paper's rule; nothing was written"


def _summary(errors):
    """Lines: the errors of each task."""
    import numpy as np

    yield f"{'task':<26} best   median  worst error"
    for row, values in zip(errors.rows, errors.values, strict=True):
        values = values[~np.isnan(values)]
        if len(values):
            yield f"{row:<26} {values.min():.3f}  {np.median(values):.3f}   {values.max():.3f}"
        else:
            yield f"{row:<26} nothing within the memory cap"


@contextlib.contextmanager
def _executor(address):
    """Where to train: the workers of a Dask scheduler, or None for processes of this machine."""
    if address is None:
        yield None
        return
    try:
        from dask.distributed import Client
    except ImportError:
        raise ValueError(
            "--dask needs the package dask.distributed, which is not installed; install refimpl[cluster]"
        ) from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--dask {address}: no scheduler answers there ({type(error).__name__}); start one with: dask scheduler"
        ) from None
    with client:
        yield client.get_executor()
