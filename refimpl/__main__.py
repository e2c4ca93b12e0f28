"""The command line: ``refimpl`` or ``python -m refimpl``."""

from __future__ import annotations

import argparse
import sys


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 2 misuse, 130 interrupted."""
    parser = _Parser(prog="refimpl", description="Low-precision training, looked up and measured.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND",
                                     parser_class=_Parser)  # fmt: skip
    for add in (_add_frontier, _add_sweep, _add_memory):
        add(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except ValueError as error:
        print(f"refimpl {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"refimpl {options.command}: interrupted; what was trained is kept, "
              "give the same command again to continue", file=sys.stderr)  # fmt: skip
        return 130


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


# -- frontier ---------------------------------------------------------------------------------------


def _add_frontier(commands) -> None:
    command = commands.add_parser(
        "frontier",
        help="estimate a data set's error-memory frontier from a few trainings",
        description="Train a few of the 99 low-precision configurations, chosen by D-optimal design "
        "on what other tasks taught, predict the others, and say which to buy.",
    )
    command.set_defaults(run=_frontier)
    command.add_argument("data", metavar="DATA", help="name of a data set, such as digits")
    command.add_argument("--measurements", type=_positive, default=8, metavar="N",
                         help="configurations to train (default 8)")  # fmt: skip
    command.add_argument("--memory-cap-mb", type=float, metavar="MB",
                         help="consider only configurations within this memory")  # fmt: skip
    command.add_argument("--matrix", metavar="FILE",
                         help="error matrix to learn from (default: the one that ships)")  # fmt: skip
    command.add_argument("--exhaustive", action="store_true",
                         help="also train all the others, and compare")  # fmt: skip
    _add_running(command, "frontier-DATA")


def _frontier(options) -> int:
    from refimpl import data
    from refimpl.peppp import CONFIGURATIONS, ErrorMatrix, Study, compare, meta_training

    task = data.load(options.data)
    errors = meta_training(task) if options.matrix is None else ErrorMatrix.load(
        options.matrix, columns=[c.name for c in CONFIGURATIONS]
    )  # fmt: skip
    study = Study(errors, task, measurements=options.measurements,
                           memory_cap_mb=options.memory_cap_mb, seed=options.seed)  # fmt: skip
    directory = options.out or f"frontier-{task.name}"
    say = _talk(options)
    say(f"{task.name}: learned from {len(errors.rows)} other tasks; training "
        f"{len(study.chosen)} of {len(study.names)} configurations")  # fmt: skip
    running = {"directory": directory, "jobs": options.jobs, "progress": not options.quiet}
    found = study.measure(**running)
    true = study.measure_all(**running) if options.exhaustive else None
    _report(found, say)
    record = {"data": task.name, "seed": options.seed, **found.to_dict()}
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

    say("\nmeasured, in the order of choice    memory MB  predicted  measured")
    for i in found.chosen:
        say(f"  {found.names[i]:<32} {found.memory_mb[i]:>10.3f} {found.predicted[i]:>10.3f} "
            f"{found.measured[i]:>9.3f}")  # fmt: skip
    say("\nestimated frontier                  memory MB      error")
    for i in sorted(np.flatnonzero(found.frontier), key=lambda i: found.memory_mb[i]):
        how = "predicted" if np.isnan(found.measured[i]) else "measured"
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
    import json
    from pathlib import Path

    from refimpl import plots

    picture, text = Path(directory, "frontier.png"), Path(directory, "frontier.json")
    plots.frontier(found, true=true, title=f"{name}: {len(found.chosen)} configurations measured, "
                   f"{len(found.names) - len(found.chosen)} predicted").savefig(picture, dpi=150)  # fmt: skip
    text.write_text(json.dumps(record, indent=1) + "\n")
    return picture, text


# -- sweep ------------------------------------------------------------------------------------------


def _add_sweep(commands) -> None:
    command = commands.add_parser(
        "sweep",
        help="train tasks x configurations into an error matrix",
        description="Train every task in every configuration.  Killed at any moment and started "
        "again it continues; with the defaults it makes the matrix that ships with the package.",
    )
    command.set_defaults(run=_sweep)
    command.add_argument("--tasks", nargs="+", metavar="NAME", help="default: the glyph tasks")
    command.add_argument("--configurations", nargs="+", metavar="NAME",
                         help="such as e4m3+e8m7 (default: all 99)")  # fmt: skip
    command.add_argument("--epochs", type=_positive, default=10, metavar="N", help="default 10")
    command.add_argument(
        "--loss-scale", type=float, default=1000.0, metavar="X", help="default 1000"
    )
    _add_running(command, "sweep")


def _sweep(options) -> int:
    import numpy as np

    from refimpl import data
    from refimpl.peppp import CONFIGURATIONS, Settings, run_sweep

    errors = run_sweep(
        options.tasks or data.meta_training_names(),
        options.configurations or [c.name for c in CONFIGURATIONS],
        options.out or "sweep",
        settings=Settings(epochs=options.epochs, loss_scale=options.loss_scale, seed=options.seed),
        jobs=options.jobs,
        progress=not options.quiet,
    )
    say = _talk(options)
    say(f"{'task':<26} best   median  worst error")
    for row, values in zip(errors.rows, errors.values, strict=True):
        say(f"{row:<26} {values.min():.3f}  {np.median(values):.3f}   {values.max():.3f}")
    say(f"wrote {options.out or 'sweep'}/errors.npz")
    return 0


# -- memory -----------------------------------------------------------------------------------------


def _add_memory(commands) -> None:
    command = commands.add_parser(
        "memory",
        help="print what training a network in a configuration needs",
        description="Print the memory of training, by kind and by layer, by the paper's rule.",
    )
    command.set_defaults(run=_memory)
    command.add_argument("model", metavar="MODEL", choices=("cnn", "mlp"), help="cnn or mlp")
    command.add_argument("--low", default="e4m3", metavar="FORMAT",
                         help="of weights, activations, their gradients (default e4m3)")  # fmt: skip
    command.add_argument("--high", default="e8m7", metavar="FORMAT",
                         help="of momentum, accumulator, input, logits (default e8m7)")  # fmt: skip
    command.add_argument("--data", default="digits", metavar="DATA",
                         help="data set whose images it takes (default digits)")  # fmt: skip
    command.add_argument("--batch-size", type=_positive, default=32, metavar="N", help="default 32")


def _memory(options) -> int:
    import math

    from refimpl import data, nn
    from refimpl.peppp import Configuration
    from refimpl.peppp.memory import count

    task = data.load(options.data)
    shape = task.train_images.shape[1:]
    if options.model == "cnn":
        network = nn.cnn(channels=shape[2], classes=task.classes)
    else:
        network = nn.mlp(features=math.prod(shape), classes=task.classes)
    memory = count(network, shape, Configuration(options.low, options.high),
                   batch_size=options.batch_size)  # fmt: skip
    print(
        f"{options.model} on {task.name}, batch {options.batch_size}, {options.low}+{options.high}\n"
    )
    for title, table in (("kind", memory.by_kind()), ("layer", memory.by_layer())):
        print(f"{title:<24}      bytes   share")
        for name, size in table.items():
            print(f"  {name:<22} {size:>10,.0f}  {size / 2**20 / memory.total_mb:>6.1%}")
        print()
    print(
        f"{'total':<24} {memory.total_mb * 2**20:>10,.0f}  = {memory.total_mb:.4f} MB of 2^20 bytes"
    )
    return 0


def _add_running(command, out: str) -> None:
    command.add_argument("--seed", type=_seed, default=0, help="default 0")
    command.add_argument(
        "--jobs", type=_positive, metavar="N", help="processes (default: all processors)"
    )
    command.add_argument("--out", metavar="DIR", help=f"directory of results (default {out})")
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _talk(options):
    return (lambda *_: None) if options.quiet else print


if __name__ == "__main__":
    sys.exit(main())
