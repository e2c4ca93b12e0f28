"""``refimpl frontier``: the main job."""

from __future__ import annotations

from refimpl.commands.options import (
    add_running,
    place,
    positive,
    short,
    talk,
    writable,
    write_results,
)


def add(commands) -> None:
    """Declare the command and its options."""
    command = commands.add_parser(
        "frontier",
        help="estimate a data set's error-memory frontier from a few trainings",
        description="Train a few of the 99 low-precision configurations, chosen by what other tasks "
        "taught and by what was found so far, predict the others, and say which to buy.",
    )
    command.set_defaults(run=_frontier)
    command.add_argument("data", metavar="DATA",
                         help="name of a data set, such as digits, or path of your own")  # fmt: skip
    command.add_argument("--measurements", type=positive, default=8, metavar="N",
                         help="configurations to train (default 8)")  # fmt: skip
    command.add_argument("--method", default="knowledge-gradient", metavar="NAME",
                         help="how to choose and predict (default knowledge-gradient; the paper's is ed-mf)")  # fmt: skip
    command.add_argument("--memory-cap-mb", type=float, metavar="MB",
                         help="consider only configurations within this memory")  # fmt: skip
    command.add_argument("--matrix", metavar="FILE", type=place,
                         help="error matrix to learn from (default: the one that ships)")  # fmt: skip
    command.add_argument("--exhaustive", action="store_true",
                         help="also train all the others, and compare")  # fmt: skip
    add_running(command, "frontier-DATA")


def _frontier(options) -> int:
    from refimpl import data
    from refimpl.peppp import CONFIGURATIONS, ErrorMatrix, Study, compare, meta_training

    task = data.load(options.data)
    errors = meta_training(task) if options.matrix is None else ErrorMatrix.load(
        options.matrix, columns=[c.name for c in CONFIGURATIONS]
    )  # fmt: skip
    study = Study(errors, task, measurements=options.measurements,
                  method=options.method, memory_cap_mb=options.memory_cap_mb, seed=options.seed)  # fmt: skip
    directory = options.out or f"frontier-{short(task.name)}"
    writable(*_files(directory))
    say = talk(options)
    say(f"{task.name}: learned from {len(errors.rows)} other tasks; training "
        f"{study.measurements} of {len(study.names)} configurations, chosen by {options.method}")  # fmt: skip
    running = {"directory": directory, "jobs": options.jobs, "progress": not options.quiet}
    found = study.measure(**running)
    true = study.measure_all(**running) if options.exhaustive else None
    _report(found, say)
    record = {"data": task.name, "seed": options.seed, "method": options.method, **found.to_dict()}
    if true is not None:
        record["true"] = dict(zip(found.names, true.tolist(), strict=True))
        record["comparison"] = compare(found, true)
        say("\nestimated against true frontier")
        for name, value in record["comparison"].items():
            say(f"  {name:<34} {value:.4f}")
    for path in _write_frontier(directory, task.name, found, true, record):
        say(f"wrote {path}")
    return 0


def _report(found, say) -> None:
    import numpy as np

    say("\nmeasured, in the order of choice    memory MB      error")
    for i in found.chosen:
        say(f"  {found.names[i]:<32} {found.memory_mb[i]:>10.3f} {found.measured[i]:>10.3f}")
    say("\nestimated frontier                  memory MB      error")
    for i in sorted(np.flatnonzero(found.frontier), key=lambda i: found.memory_mb[i]):
        how = "predicted" if np.isnan(found.measured[i]) else "measured"
        if found.band is not None and np.isnan(found.measured[i]):
            how += f" ({found.band[0][i]:.3f} to {found.band[1][i]:.3f})"
        mark = (
            "  <- recommended" if i == found.recommended else "  <- knee" if i == found.knee else ""
        )
        say(
            f"  {found.names[i]:<32} {found.memory_mb[i]:>10.3f} {found.error[i]:>10.3f} {how}{mark}"
        )
    best = found.recommended
    within = "" if found.memory_cap_mb is None else f" within {found.memory_cap_mb:g} MB"
    say(f"\nrecommended{within}: {found.names[best]}, {found.memory_mb[best]:.3f} MB, "
        f"error {found.error[best]:.3f}")  # fmt: skip
    if found.memory_cap_mb is None:
        say(f"knee: {found.names[found.knee]}, {found.memory_mb[found.knee]:.3f} MB, "
            f"error {found.error[found.knee]:.3f}")  # fmt: skip


def _write_frontier(directory, name, found, true, record):
    from refimpl import plots

    title = f"{name}: {len(found.chosen)} configurations measured, {len(found.names) - len(found.chosen)} predicted"
    picture = plots.frontier(found, true=true, title=title)
    return write_results(directory, {"frontier.png": picture, "frontier.json": record})


def _files(directory):
    """The picture and the record."""
    from pathlib import Path

    return Path(directory, "frontier.png"), Path(directory, "frontier.json")
