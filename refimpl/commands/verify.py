"""``refimpl verify``: check results against test vectors."""

from __future__ import annotations

from pathlib import Path

from refimpl.commands.options import place, writable
from refimpl.commands.vectors import add_selection, selected

READ = 1 << 20  # bytes


def add(commands) -> None:
    """Declare the command and its options."""
    command = commands.add_parser(
        "verify",
        help="check results on standard input against the definition and explain what is wrong",
        description="Read results from standard input, one a line, in the order that `refimpl "
        "vectors` writes with the same options, or behind their inputs in any order; report as "
        "`refimpl conform` does. Exit status 0: all right, 1: something is wrong, 2: misuse.",
    )
    command.set_defaults(run=run)
    add_selection(command)
    command.add_argument("--json", action="store_true", help="print the report as JSON")
    command.add_argument("--junit", metavar="FILE", type=place, help="also write it as JUnit XML")


def run(options) -> int:
    """Print the report; return 0 or 1."""
    import sys

    from refimpl.testing import verify

    writable(options.junit)
    pieces = iter(lambda: sys.stdin.buffer.read1(READ), b"")
    report = verify(selected(options), pieces)
    if options.junit:
        file = Path(options.junit)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(report.to_junit(), encoding="utf-8")
    print(report.to_json() if options.json else report)
    return report.exit_status
