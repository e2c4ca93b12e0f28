"""``refimpl sweep``: train tasks x configurations into an error matrix."""

from __future__ import annotations

from refimpl.commands.options import add_running, positive, talk


def add(commands) -> None:
    """Declare the command and its options."""
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
    command.add_argument("--epochs", type=positive, default=10, metavar="N", help="default 10")
    command.add_argument(
        "--loss-scale", type=float, default=1000.0, metavar="X", help="default 1000"
    )
    add_running(command, "sweep")


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
    say = talk(options)
    say(f"{'task':<26} best   median  worst error")
    for row, values in zip(errors.rows, errors.values, strict=True):
        say(f"{row:<26} {values.min():.3f}  {np.median(values):.3f}   {values.max():.3f}")
    say(f"wrote {options.out or 'sweep'}/errors.npz")
    return 0
