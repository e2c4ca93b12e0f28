"""What the commands share: how one is declared, options, and how results are written."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from refimpl._files import refusal, writing


def declare(
    commands, name: str, run: Callable, *, help: str, description: str, examples: tuple[str, ...], **defaults
) -> argparse.ArgumentParser:
    """Add a command, with what runs it; `examples` are the words behind its name."""
    command = commands.add_parser(
        name,
        help=help,
        description=textwrap.fill(description, 78),
        epilog="\n".join(["examples:", *(f"  refimpl {name} {words}".rstrip() for words in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run, **defaults)
    return command


def positive(text: str) -> int:
    """Read an integer of at least 1."""
    return _integer(text, 1)


def seed(text: str) -> int:
    """Read an integer of at least 0."""
    return _integer(text, 0)


def _integer(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least {least}")
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
    for path in (p for p in paths if p is not None):
        if why := refusal(path):
            raise ValueError(f"cannot write {path} ({why}); name another place")


def write_results(directory, files: dict) -> None:
    """Write figures and plain data (as JSON), each under its name, and say where.

    Nothing is written before all of them are made, and each appears whole.
    """
    directory = Path(directory)
    made = {directory / name: _contents(name, content) for name, content in files.items()}
    directory.mkdir(parents=True, exist_ok=True)
    for path, contents in made.items():
        with writing(path) as file:
            file.write(contents)
        print(f"wrote {path}")


def _contents(name: str, content) -> bytes:
    """Return what goes into the file of a figure or of plain data."""
    if isinstance(content, dict):
        return (json.dumps(_finite(content), indent=1) + "\n").encode()
    image = io.BytesIO()
    content.savefig(image, format=Path(name).suffix[1:], dpi=150, bbox_inches="tight")
    return image.getvalue()


def _finite(data):
    """Return plain data with null for every number that JSON cannot hold."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def say_read(task) -> None:
    """Say what was read as what, of a data set of one's own; those that ship are known."""
    if task.note:
        print(task.note)


def short(name: str) -> str:
    """Return what to call a data set in a file's name: of a path, the last part."""
    return Path(name).absolute().name.replace("#", "-")


def add_model(command) -> None:
    """Declare the network of a command that takes one; `refimpl.nn.network` reads it."""
    command.add_argument(
        "model",
        metavar="MODEL",
        help="cnn, lenet, mlp, resnet8, resnet14, resnet18, transformer, vgg, vgg11, or a network of your own as "
        "package.module:function, which takes (shape, classes)",
    )


def add_network(command) -> None:
    """Declare the network and the data of a command that trains one."""
    add_model(command)
    command.add_argument("data", metavar="DATA", help="name of a data set, such as digits, or path of your own")


def add_steps(command, of_transformer: str = "") -> None:
    """Declare how long and by which steps a network is trained; a rate is None where the default depends on it."""
    command.add_argument("--epochs", type=positive, default=10, metavar="N", help="default 10")
    command.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default 32")
    said, default = f"at the start; default 0.05{of_transformer}", None if of_transformer else 0.05
    command.add_argument("--learning-rate", type=float, default=default, metavar="X", help=said)


def add_training(command) -> None:
    """Declare how every cell of a sweep or a study is trained; `settings` reads it."""
    command.add_argument(
        "--model",
        metavar="NAME",
        help="network, such as mlp, resnet18 or one of your own as package.module:function (default cnn; for one data "
        "set of rows of tokens transformer)",
    )
    add_steps(command)
    command.add_argument("--loss-scale", type=float, default=1000.0, metavar="X", help="default 1000")


def settings(options, task=None):
    """Return how cells are trained, on a data set if there is one, by the options of `add_training` and the seed."""
    from refimpl.data import TokenTask
    from refimpl.peppp import Settings

    return Settings(
        model=options.model or ("transformer" if isinstance(task, TokenTask) else "cnn"),
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        loss_scale=options.loss_scale,
        seed=options.seed,
    )


def add_quiet(command) -> None:
    """Declare what silences a command that shows how far it is."""
    command.add_argument("--quiet", action="store_true", help="show no progress; results stay")


def add_results(command, out: str) -> None:
    """Declare the options of a command that trains and writes."""
    command.add_argument("--seed", type=seed, default=0, metavar="N", help="default 0")
    command.add_argument("--out", metavar="DIR", type=place, help=f"directory of results (default {out})")
    add_quiet(command)


def add_running(command, out: str) -> None:
    """Declare the options of a command that trains many, in processes, and can be continued."""
    add_results(command, out)
    command.add_argument("--jobs", type=positive, metavar="N", help="processes (default: all processors)")
    command.set_defaults(continues=True)


def add_json(command) -> None:
    """Declare --json of a command that leaves its results, plain data, in ``options.results``."""
    told = "print results as one JSON document; what is said otherwise goes to standard error"
    command.add_argument("--json", action="store_true", help=told)
    command.set_defaults(run=_as_json(command.get_default("run")))


def _as_json(run: Callable) -> Callable:
    def running(options) -> int:
        if not options.json:
            return run(options)
        with contextlib.redirect_stdout(sys.stderr):
            status = run(options)
        print(json.dumps(_finite(options.results), indent=1))
        return status

    return running


def add_report(command) -> None:
    """Declare the options of a command that judges."""
    command.add_argument("--json", action="store_true", help="print the report as JSON, with all failing cases")
    command.add_argument("--cases", type=seed, metavar="N", help="with --json: at most N cases (default 100000)")
    command.add_argument("--junit", metavar="FILE", type=place, help="also write it as JUnit XML, for a CI")
    command.add_argument("--html", metavar="FILE", type=place, help="also write it as a page to look at")


def tell(report, options) -> int:
    """Print a report, write it where asked, and return its exit status."""
    if options.junit:
        Path(options.junit).parent.mkdir(parents=True, exist_ok=True)
        with writing(options.junit, text=True) as file:
            file.write(report.to_junit())
    if options.html:
        report.save_html(options.html)
    print(report.to_json(most=options.cases) if options.json else report)
    return report.exit_status


def add_rules(command) -> None:
    """Declare the options that say how to round."""
    from refimpl.formats import NAN_RULES, OVERFLOWS, ROUNDINGS

    for name, choices, default, what in (
        ("--rounding", ROUNDINGS, "ties_to_even", ""),
        ("--overflow", OVERFLOWS, "overflow", "what is beyond the largest value becomes: "),
        ("--nan", NAN_RULES[:2], "zero", "what NaN becomes where the format has none: "),
    ):
        said = f"{what}{', '.join(choices)} (default {default})"
        command.add_argument(name, choices=choices, default=default, metavar="RULE", help=said)
    command.add_argument(
        "--random-bits", type=positive, metavar="N", help="of stochastic_a, stochastic_b and stochastic_c"
    )
