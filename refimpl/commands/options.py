"""Options that several commands share."""

from __future__ import annotations

import argparse


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


def add_running(command, out: str) -> None:
    """Declare the options of a command that trains."""
    command.add_argument("--seed", type=seed, default=0, help="default 0")
    command.add_argument(
        "--jobs", type=positive, metavar="N", help="processes (default: all processors)"
    )
    command.add_argument("--out", metavar="DIR", help=f"directory of results (default {out})")
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")


def talk(options):
    """Return print, or a function that stays silent under --quiet."""
    return (lambda *_: None) if options.quiet else print


def network(name: str, shape: tuple[int, ...], classes: int):
    """Return the network of `refimpl.nn` called so, for images of this shape."""
    import math

    from refimpl import nn

    make = getattr(nn, name)
    if name == "mlp":
        return make(features=math.prod(shape), classes=classes)
    size = {"size": shape[0]} if name == "lenet" else {}
    return make(channels=shape[2], classes=classes, **size)


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
