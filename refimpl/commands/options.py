"""Options that several commands share."""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
from pathlib import Path


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def place(text: str) -> str:
    """Read the path of a file or directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; leave the option out or name one")
    return text


def writable(*paths) -> None:
    """Raise ValueError for a file that could not be written, before there is anything to write.

    Directories that do not exist yet are made later; None stands for no file.
    """
    for path in (Path(p) for p in paths if p is not None):
        there = next(p for p in (path, *path.absolute().parents) if p.exists())
        if path.is_dir():
            why = "it is a directory"
        elif there != path and not there.is_dir():
            why = f"{there} is no directory"
        elif there == path:
            why = None if os.access(path, os.W_OK) else "permission denied"
        else:
            why = _refusal(there)
        if why:
            raise ValueError(f"cannot write {path} ({why}); name another place")


def _refusal(directory: Path) -> str | None:
    """Return why nothing can be made in a directory, having tried."""
    try:
        with tempfile.TemporaryDirectory(dir=directory):
            return None
    except OSError as error:
        return f"nothing can be made in {directory}: {error.strerror}"


def write_results(directory, files: dict) -> list[Path]:
    """Write figures and plain data (as JSON), each under its name, and return where.

    All appear at the end; interrupted, what was there before still is.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as beside:
        for name, content in files.items():
            if isinstance(content, dict):
                Path(beside, name).write_text(json.dumps(_finite(content), indent=1) + "\n")
            else:
                content.savefig(Path(beside, name), dpi=150, bbox_inches="tight")
        return [Path(beside, name).replace(directory / name) for name in files]


def _finite(data):
    """Return plain data with null for every number that JSON cannot hold."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def short(name: str) -> str:
    """Return what to call a data set in a file's name: of a path, the last part."""
    return Path(name).absolute().name.replace("#", "-")


def add_network(command, models: tuple[str, ...]) -> None:
    """Declare the network and the data of a command that trains one."""
    command.add_argument("model", metavar="MODEL", choices=models, help=", ".join(models))
    command.add_argument("data", metavar="DATA", help="name of a data set, such as digits, or path of your own")


def add_results(command, out: str) -> None:
    """Declare the options of a command that trains and writes."""
    command.add_argument("--seed", type=seed, default=0, help="default 0")
    command.add_argument("--out", metavar="DIR", type=place, help=f"directory of results (default {out})")
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")


def add_running(command, out: str) -> None:
    """Declare the options of a command that trains many, in processes, and can be continued."""
    add_results(command, out)
    command.add_argument("--jobs", type=positive, metavar="N", help="processes (default: all processors)")
    command.set_defaults(continues=True)


def add_report(command) -> None:
    """Declare the options of a command that judges."""
    command.add_argument("--json", action="store_true", help="print the report as JSON")
    command.add_argument("--junit", metavar="FILE", type=place, help="also write it as JUnit XML")


def tell(report, options) -> int:
    """Print a report, write it where asked, and return its exit status."""
    if options.junit:
        file = Path(options.junit)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(report.to_junit(), encoding="utf-8")
    print(report.to_json() if options.json else report)
    return report.exit_status


def talk(options):
    """Return print, or a function that stays silent under --quiet."""
    return (lambda *_: None) if options.quiet else print


def add_rules(command) -> None:
    """Declare the options that say how to round."""
    from refimpl.formats import OVERFLOWS, ROUNDINGS

    command.add_argument(
        "--rounding",
        choices=ROUNDINGS,
        default="ties_to_even",
        metavar="MODE",
        help=f"{', '.join(ROUNDINGS)} (default ties_to_even)",
    )
    command.add_argument(
        "--overflow", choices=OVERFLOWS, default="overflow", help="what is beyond the largest value (default overflow)"
    )
    command.add_argument(
        "--nan",
        choices=("zero", "max"),
        default="zero",
        help="what NaN becomes where the format has none (default zero)",
    )
    command.add_argument(
        "--random-bits", type=positive, metavar="N", help="of stochastic_a, stochastic_b and stochastic_c"
    )
