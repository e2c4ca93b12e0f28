"""``refimpl frontier``: the main job."""

from __future__ import annotations

from refimpl.commands.options import add_running, declare, place, positive, short, writable, write_results


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "frontier",
        _frontier,
        help="estimate a data set's error-memory frontier from a few trainings",
        description="Train a few of the 99 low-precision configurations, chosen by what other tasks "
        "taught and by what was found so far, predict the others, and say which to buy.",
        examples=("digits", "digits --memory-cap-mb 0.35", "photographs/ --matrix sweep/errors.npz --out results"),
    )
    command.add_argument("data", metavar="DATA", help="name of a data set, such as digits, or path of your own")
    command.add_argument(
        "--measurements", type=positive, default=8, metavar="N", help="configurations to train (default 8)"
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
        "--matrix", metavar="FILE", type=place, help="error matrix to learn from (default: the one that ships)"
    )
    command.add_argument("--exhaustive", action="store_true", help="also train all the others, and compare")
    add_running(command, "frontier-DATA")


def _frontier(options) -> int:
    from pathlib import Path

    from refimpl import data, plots
    from refimpl.peppp import Study, compare

    task = data.load(options.data)
    errors = _errors(options.matrix, task)
    study = Study(
        errors,
        task,
        measurements=options.measurements,
        method=options.method,
        memory_cap_mb=options.memory_cap_mb,
        seed=options.seed,
    )
    directory = Path(options.out or f"frontier-{short(task.name)}")
    writable(directory / "frontier.png", directory / "frontier.json")
    print(
        f"{task.name}: learned from {len(errors.rows)} other tasks; training "
        f"{study.measurements} of {len(study.names)} configurations, chosen by {options.method}"
    )

    running = {"directory": directory, "jobs": options.jobs, "progress": not options.quiet}
    found = study.measure(**running)
    true = study.measure_all(**running) if options.exhaustive else None
    print("\n".join([*_measured(found), *_estimated(found), *_advice(found)]))
    record = {"data": task.name, "seed": options.seed, "method": options.method, **found.to_dict()}
    if true is not None:
        record["true"] = dict(zip(found.names, true.tolist(), strict=True))
        record["comparison"] = compare(found, true)
        print("\nestimated against true frontier")
        for name, value in record["comparison"].items():
            print(f"  {name:<34} {value:.4f}")

    title = (
        f"{task.name}: {len(found.chosen)} configurations measured, {len(found.names) - len(found.chosen)} predicted"
    )
    picture = plots.frontier(found, true=true, title=title)
    write_results(directory, {"frontier.png": picture, "frontier.json": record})
    return 0


def _errors(matrix, task):
    """The errors to learn from: those that ship, or a matrix's, as far as it was measured."""
    import numpy as np

    from refimpl.peppp import CONFIGURATIONS, ErrorMatrix, meta_training

    if matrix is None:
        return meta_training(task)
    errors = ErrorMatrix.load(matrix, columns=[c.name for c in CONFIGURATIONS])
    measured = ~np.isnan(errors.values).all(axis=0)  # the others were over a sweep's memory cap
    if not measured.any():
        raise ValueError(f"{matrix} has nothing but nan; measure something, see refimpl sweep")
    return errors.select(columns=np.array(errors.columns)[measured].tolist())


def _measured(found):
    """Lines: what was trained, in the order of choice."""
    yield "\nmeasured, in the order of choice    memory MB      error"
    for i in found.chosen:
        yield f"  {found.names[i]:<32} {found.memory_mb[i]:>10.3f} {found.measured[i]:>10.3f}"


def _estimated(found):
    """Lines: the frontier from small to large, measured or predicted."""
    import numpy as np

    yield "\nestimated frontier                  memory MB      error"
    marks = {found.knee: "  <- knee"} | {found.recommended: "  <- recommended"}
    for i in sorted(np.flatnonzero(found.frontier), key=lambda i: found.memory_mb[i]):
        how = "predicted" if np.isnan(found.measured[i]) else "measured"
        if found.band is not None and how == "predicted":
            how += f" ({found.band[0][i]:.3f} to {found.band[1][i]:.3f})"
        yield (f"  {found.names[i]:<32} {found.memory_mb[i]:>10.3f} {found.error[i]:>10.3f} {how}{marks.get(i, '')}")


def _advice(found):
    """Lines: what to buy."""

    def one(i):
        return f"{found.names[i]}, {found.memory_mb[i]:.3f} MB, error {found.error[i]:.3f}"

    if found.memory_cap_mb is not None:
        yield f"\nrecommended within {found.memory_cap_mb:g} MB: {one(found.recommended)}"
        return
    yield f"\nrecommended: {one(found.recommended)}"
    yield f"knee: {one(found.knee)}"
