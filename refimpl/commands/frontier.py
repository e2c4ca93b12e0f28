"""``refimpl frontier``: the main job."""

from __future__ import annotations

from refimpl._arguments import wrong_value
from refimpl.commands.options import (
    add_json,
    add_running,
    add_training,
    declare,
    place,
    positive,
    say_read,
    settings,
    short,
    writable,
    write_results,
)

WHY_MEMORY = (
    "formats are simulated here in float32, so that narrower ones take longer and time says nothing of hardware; "
    "`refimpl reproduce maple` predicts the latency of what this machine computes"
)


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "frontier",
        _frontier,
        help="estimate a data set's error-memory frontier from a few trainings",
        description="Train a few of the 99 low-precision configurations, chosen by what other tasks "
        "taught and by what was found so far, predict the others, and say which to buy.",
        examples=(
            "digits",
            "digits --memory-cap-mb 0.35",
            "photographs/ --model resnet18 --epochs 40 --batch-size 128",
            "photographs/ --matrix sweep/errors.npz --repeats 2 --out results",
        ),
    )
    command.add_argument("data", metavar="DATA", help="name of a data set, such as digits, or path of your own")
    command.add_argument("--measurements", type=positive, metavar="N", help="configurations to train (default 8)")
    command.add_argument(
        "--repeats", type=positive, default=1, metavar="N", help="trainings of each, whose mean counts (default 1)"
    )
    command.add_argument(
        "--method",
        default="knowledge-gradient",
        metavar="NAME",
        help="how to choose and predict (default knowledge-gradient; the paper's is ed-mf)",
    )
    command.add_argument(
        "--memory-cap-mb", type=float, metavar="MB", help="consider only configurations within this memory"
    )
    command.add_argument(
        "--matrix",
        metavar="FILE",
        type=place,
        help="error matrix to learn from, npz or CSV (default: that which ships)",
    )
    command.add_argument(
        "--exhaustive", action="store_true", help="also train all of them from another seed, and compare"
    )
    command.add_argument(
        "--objective",
        default="memory",
        metavar="NAME",
        help="what is traded for error: memory; of latency it says why not",
    )
    add_training(command)
    add_running(command, "frontier-DATA")
    add_json(command)


def _frontier(options) -> int:
    from pathlib import Path

    from refimpl import data, plots
    from refimpl.peppp import TaskStudy, compare

    if options.objective != "memory":
        raise wrong_value("frontier", "--objective", options.objective, "'memory'", WHY_MEMORY)
    task = data.load(options.data)
    errors = _errors(options.matrix, task)
    study = TaskStudy(
        errors,
        task,
        measurements=options.measurements,
        method=options.method,
        memory_cap_mb=options.memory_cap_mb,
        settings=settings(options, task),
        repeats=options.repeats,
    )
    directory = Path(options.out or f"frontier-{short(task.name)}")
    writable(directory / "frontier.png", directory / "frontier.json")
    say_read(task)
    if options.model is None and study.settings.model != "cnn":
        print(f"{task.name} has rows of tokens: the network is {study.settings.model} (--model)")
    print(
        f"{task.name}: learned from {len(errors.rows)} other tasks; training "
        f"{study.measurements} of {len(study.names)} configurations, chosen by {options.method}"
    )

    running = {"directory": directory, "jobs": options.jobs, "progress": not options.quiet}
    found = study.measure(**running)
    true = study.measure_all(**running) if options.exhaustive else None
    print("\n".join([*measured(found), *estimated(found), *advice(found)]))
    record = {"data": task.name, "seed": options.seed, "method": options.method, **found.to_dict()}
    options.results = record
    if true is not None:
        record["true"] = dict(zip(found.names, true.tolist(), strict=True))
        record["comparison"] = compare(found, true)
        print("\nestimated against the frontier of another training of all")
        for name, value in record["comparison"].items():
            print(f"  {name:<34} {value:.4f}")

    used, last = study.settings, options.seed + options.repeats - 1
    seeds = f"seed {options.seed}" if options.repeats == 1 else f"seeds {options.seed} to {last}"
    title = (
        f"{task.name}, {used.model}, {used.epochs} epochs, {seeds}: {len(found.chosen)} configurations measured, "
        f"{len(found.names) - len(found.chosen)} predicted"
    )
    picture = plots.frontier(found, true=true, title=title)
    write_results(directory, {"frontier.png": picture, "frontier.json": record})
    return 0


def _errors(matrix, task):
    """The errors to learn from: those that ship, or a matrix's, as far as it was measured."""
    import numpy as np

    from refimpl.peppp import ErrorMatrix, meta_training

    if matrix is None:
        return meta_training(task)
    errors = (ErrorMatrix.load_csv if matrix.lower().endswith(".csv") else ErrorMatrix.load)(matrix)
    known = ~np.isnan(errors.values).all(axis=0)  # the others were over a sweep's memory cap
    if not known.any():
        raise ValueError(f"{matrix} has nothing but nan; measure something, see refimpl sweep")
    return errors.select(columns=np.array(errors.columns)[known].tolist())


def _what(found) -> str:
    return "loss" if found.losses else "error"


def measured(found, cost: str = "memory MB", form: str = ".3f"):
    """Lines: what was trained, in the order of choice; `form` is that of numbers."""
    yield f"\n{'measured, in the order of choice':<34} {cost:>10} {_what(found):>10}"
    for i in found.chosen:
        yield f"  {found.names[i]:<32} {found.memory_mb[i]:>10{form}} {found.measured[i]:>10{form}}"


def estimated(found, cost: str = "memory MB", form: str = ".3f"):
    """Lines: the frontier from small to large, measured or predicted."""
    import numpy as np

    yield f"\n{'estimated frontier':<34} {cost:>10} {_what(found):>10}"
    marks = {found.knee: "  <- knee"} | {found.recommended: "  <- recommended"}
    for i in sorted(np.flatnonzero(found.frontier), key=lambda i: found.memory_mb[i]):
        how = "predicted" if np.isnan(found.measured[i]) else "measured"
        if found.band is not None and found.band[0][i] < found.band[1][i]:
            how += f" ({found.band[0][i]:{form}} to {found.band[1][i]:{form}})"
        numbers = f"{found.memory_mb[i]:>10{form}} {found.error[i]:>10{form}}"
        yield f"  {found.names[i]:<32} {numbers} {how}{marks.get(i, '')}"


def advice(found, unit: str = " MB", form: str = ".3f"):
    """Lines: what to know, and what to buy."""

    def one(i):
        return f"{found.names[i]}, {found.memory_mb[i]:{form}}{unit}, {_what(found)} {found.error[i]:{form}}"

    within = "" if found.memory_cap_mb is None else f" within {found.memory_cap_mb:g}{unit}"
    yield ""
    yield from found.notes
    if not found.trusted:
        yield f"the best of what was trained{within}: {one(found.recommended)}"
        return
    if within:
        yield f"recommended{within}: {one(found.recommended)}"
        return
    yield f"recommended: {one(found.recommended)}"
    yield f"knee: {one(found.knee)}"
