"""``refimpl reproduce``: a paper's claims, recomputed."""

from __future__ import annotations

from refimpl._files import writing
from refimpl.commands.options import add_quiet, declare, place, positive, writable


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "reproduce",
        _reproduce,
        help="recompute a paper's tables and figures",
        description="Recompute a paper's tables and figures from its released data, each beside "
        "the published or released value.  With two processes on two idle cores: figures, "
        "meta-training, meta-test and ranking take up to a minute each, settings about six.",
        examples=("peppp --only figures --data matrices/ --out peppp",),
    )
    command.add_argument("paper", metavar="PAPER", choices=("peppp",), help="peppp")
    command.add_argument("--data", metavar="DIR", help="where the released matrices lie (default: REFIMPL_PEPPP_DATA)")
    command.add_argument(
        "--only",
        nargs="+",
        metavar="PART",
        choices=("figures", "meta-training", "meta-test", "settings", "ranking"),
        help="figures, meta-training, meta-test, settings, ranking (default all)",
    )
    command.add_argument("--jobs", type=positive, default=2, metavar="N", help="processes (default 2)")
    command.add_argument("--out", metavar="DIR", type=place, help="also write tables and pictures there")
    add_quiet(command)


def _reproduce(options) -> int:
    from pathlib import Path

    from refimpl.papers import peppp as reproduce
    from refimpl.peppp.matrix.released import load_released

    errors = load_released(options.data)
    out = None if options.out is None else Path(options.out)
    if out is not None:
        writable(out / "tables.txt", out / "figures.png")
        out.mkdir(parents=True, exist_ok=True)
    running = {"jobs": options.jobs, "progress": not options.quiet}
    parts = {
        "figures": lambda: reproduce.figures(errors),
        "meta-training": lambda: [reproduce.meta_training_by_ratio(errors)],
        "meta-test": lambda: [reproduce.meta_test(errors, **running)],
        "settings": lambda: [reproduce.settings(errors, **running)],
        "ranking": lambda: [reproduce.ranking(errors, **running)],
    }
    text = ""
    for name in options.only or parts:
        for table in parts[name]():
            print(f"{table}\n")
            text += f"{table}\n\n"
    if out is not None:
        from refimpl import plots

        with writing(out / "tables.txt", text=True) as file:
            file.write(text)
        plots.released(errors).savefig(out / "figures.png", dpi=130)
        print(f"wrote {out / 'tables.txt'} and {out / 'figures.png'}")
    return 0
