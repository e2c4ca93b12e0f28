"""``refimpl next``: what to train next, by a table of errors of trainings made elsewhere."""

from __future__ import annotations

import argparse
import shlex

from refimpl.commands.frontier import advice, estimated, measured
from refimpl.commands.options import add_json, declare, place, positive, writable, write_results


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "next",
        _next,
        help="say what to train next, by a CSV table of errors measured elsewhere",
        description="Read a table of errors, a line for each task and a column for each configuration, empty where "
        "nothing was measured. Say which configuration to train next on the new task and why, and what is to be "
        "expected of those that were not. A line named cost, if there is one, holds what configurations cost, in any "
        "unit. Results go into the same table, by hand or by --observe.",
        examples=(
            "table.csv",
            "table.csv --observe bf16=0.131 --cap 2.5",
            "perplexities.csv --losses --task mine --measurements 5",
        ),
    )
    command.add_argument("table", metavar="TABLE.csv", type=place, help="names in the first line and the first column")
    command.add_argument("--task", metavar="NAME", help="line of the new task (default the last)")
    command.add_argument("--costs", metavar="NAME", default="cost", help="line of the costs (default cost)")
    command.add_argument(
        "--cap", type=float, metavar="COST", help="consider only configurations that cost at most this"
    )
    command.add_argument("--measurements", type=positive, metavar="N", help="configurations to train (default 8)")
    command.add_argument("--losses", action="store_true", help="errors are losses, any numbers from 0 on")
    command.add_argument(
        "--observe",
        action="append",
        default=[],
        type=_observation,
        metavar="NAME=ERROR",
        help="write what a training of the new task came to into the table first; may be given several times",
    )
    command.add_argument("--picture", type=place, metavar="FILE", help="draw what is expected, such as next.png")
    command.add_argument("--method", default="knowledge-gradient", metavar="NAME", help="as of refimpl frontier")
    add_json(command)


def _observation(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=ERROR, such as bf16=0.131") from None


def _next(options) -> int:
    from pathlib import Path

    from refimpl import plots
    from refimpl.peppp.matrix.files import fill_csv

    writable(options.picture)
    picture = None if options.picture is None else Path(options.picture)
    if picture is not None and picture.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"--picture is {options.picture!r}; allowed is the name of a .png, .pdf or .svg file")
    study, task = _study(options)
    for name, error in options.observe:
        study.observe(name, error)
    if options.observe:
        observed = {name: [error for of, error in options.observe if of == name] for name, _ in options.observe}
        fill_csv(options.table, task, observed)
        print(f"wrote {', '.join(f'{name}={error:g}' for name, error in options.observe)} into {options.table}")
    found = study.estimate() if study.count >= study.learned.fewest else None
    if found is not None:
        print("\n".join([*measured(found, "cost", ".4g"), *estimated(found, "cost", ".4g"), *advice(found, "", ".4g")]))
        if picture is not None:
            title = f"{task}: {study.count} configurations measured, {len(study.names) - study.count} predicted"
            write_results(picture.parent, {picture.name: plots.frontier(found, title=title, cost="cost")})
    suggested = study.suggest()
    options.results = {
        "task": task,
        "measured": study.count,
        "measurements": study.measurements,
        "next": None if suggested is None else suggested._asdict(),
        "estimate": None if found is None else found.to_dict(),
    }
    if suggested is None:
        print(f"\nnothing more to train: {study.count} of {study.measurements} (--measurements) are measured")
        return 0
    name = suggested.name
    print(f"\ntrain next: {name}, cost {study.costs[study.names.index(name)]:.4g}; {suggested.why}")
    print(f"({study.count} of {study.measurements} measured)")
    print(f"then: {_again(options)} --observe {shlex.quote(name)}={'LOSS' if options.losses else 'ERROR'}")
    return 0


def _again(options) -> str:
    """Return the command line, without what was observed."""
    words = ["refimpl", "next", options.table, *["--losses"] * options.losses]
    for option in ("task", "costs", "cap", "measurements", "method"):
        if (value := getattr(options, option)) not in (None, "cost", "knowledge-gradient"):
            words += [f"--{option}", f"{value}"]
    return shlex.join(words)


def _study(options):
    """Return the study that a table is of, with what was measured already, and the name of the new task."""
    from pathlib import Path

    import numpy as np

    from refimpl._arguments import names
    from refimpl.peppp import ErrorMatrix, Study
    from refimpl.peppp.matrix.files import read_csv

    held = read_csv(Path(options.table))
    rows, values = list(names("next", "task", held["rows"])), np.array(held["values"], dtype=float)
    costs = None
    if options.costs in rows:
        costs = values[rows.index(options.costs)]
    elif options.costs != "cost":
        raise ValueError(f"--costs is {options.costs!r}; allowed is the name of a line of {options.table}: {rows}")
    kept = [i for i, row in enumerate(rows) if row != options.costs]
    if not kept or options.task not in (None, *(rows[i] for i in kept)):
        lines = [rows[i] for i in kept]
        raise ValueError(f"--task is {options.task!r}; allowed is the name of a line of {options.table}: {lines}")
    task = options.task or rows[kept[-1]]
    earlier = [i for i in kept if rows[i] != task and not np.isnan(values[i]).all()]
    if len(earlier) < 2:
        measured = f"{options.table} has {len(earlier)} measured tasks beside {task!r}"
        raise ValueError(f"{measured}; allowed are at least two, to learn from")
    here = rows.index(task)
    if costs is None and "memory_mb" in held:
        costs = held["memory_mb"][here]
    columns: list[str] = held["columns"]
    errors: ErrorMatrix | np.ndarray = values[earlier]
    what, allowed = ("a loss", "at least 0") if options.losses else ("an error", "0 to 1; losses need --losses")
    for i, j in np.argwhere((values < 0) | (values > (np.inf if options.losses else 1))):
        if i in kept:
            place = f"{columns[j]!r} of {rows[i]!r}"
            raise ValueError(f"{options.table} has {what} of {values[i, j]:g} for {place}; allowed is {allowed}")
    single = held.get("repeats")
    if not options.losses:  # with what is known of repeats
        repeats = None if single is None else np.array(single)[:, earlier]
        errors = ErrorMatrix(values[earlier], [rows[i] for i in earlier], columns, repeats=repeats)
    study = Study(
        errors,
        None if costs is None else dict(zip(columns, costs.tolist(), strict=True)),
        names=columns,
        measurements=options.measurements,
        method=options.method,
        cap=options.cap,
        losses=options.losses,
    )
    draws = np.array(single)[:, here] if study.learned.knows_luck else np.empty((0, len(columns)))
    for name, found, mean in zip(columns, draws.T, values[here], strict=True):
        for error in found[~np.isnan(found)].tolist() or [mean]:
            if not np.isnan(error):
                study.observe(name, error)
    low, high = study.costs.min(), study.costs.max()
    said = "no costs, all taken for the same" if costs is None else f"costs from {low:.4g} to {high:.4g}"
    print(f"{task}: learned from {len(earlier)} other tasks; {said}")
    return study, task
