"""Options that several commands share."""

from __future__ import annotations

import argparse
import os
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
        elif not os.access(there, os.W_OK):
            why = "permission denied"
        else:
            continue
        raise ValueError(f"cannot write {path} ({why}); name another place")


def add_running(command, out: str) -> None:
    """Declare the options of a command that trains."""
    command.add_argument("--seed", type=seed, default=0, help="default 0")
    command.add_argument(
        "--jobs", type=positive, metavar="N", help="processes (default: all processors)"
    )
    command.add_argument(
        "--out", metavar="DIR", type=place, help=f"directory of results (default {out})"
    )
    command.set_defaults(continues=True)
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")


def talk(options):
    """Return print, or a function that stays silent under --quiet."""
    return (lambda *_: None) if options.quiet else print


def add_rules(command) -> None:
    """Declare the options that say how to round."""
    from refimpl.formats import OVERFLOWS, ROUNDINGS

    command.add_argument("--rounding", choices=ROUNDINGS, default="ties_to_even", metavar="MODE",
                         help=f"{', '.join(ROUNDINGS)} (default ties_to_even)")  # fmt: skip
    command.add_argument("--overflow", choices=OVERFLOWS, default="overflow",
                         help="what is beyond the largest value (default overflow)")  # fmt: skip
    command.add_argument("--nan", choices=("zero", "max"), default="zero",
                         help="what NaN becomes where the format has none (default zero)")  # fmt: skip
    command.add_argument("--random-bits", type=positive, metavar="N",
                         help="of stochastic_a, stochastic_b and stochastic_c")  # fmt: skip
