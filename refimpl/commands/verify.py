"""``refimpl verify``: check results against test vectors."""

from __future__ import annotations

from refimpl.commands.options import add_report, declare, tell, writable
from refimpl.commands.vectors import LINE, add_selection, selected

READ = 1 << 20  # bytes


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "verify",
        run,
        help="check results on standard input against the definition and explain what is wrong",
        description="Read results from standard input, one a line, in the order that `refimpl "
        "vectors` writes with the same options, or behind their inputs in any order; report as "
        f"`refimpl conform` does. {LINE} Exit status 0: all right, 1: something is wrong, 2: misuse.",
        examples=(
            "encode float8_e4m3fn < results.txt",
            "decode float8_e5m2 --level all --junit report.xml < values.txt",
            "f16_add --testfloat < what_my_unit_says.txt",
        ),
    )
    add_selection(command)
    add_report(command)


def run(options) -> int:
    """Print the report; return 0 or 1."""
    import os
    import sys

    from refimpl.testing import verify
    from refimpl.testing.operations import specializations
    from refimpl.testing.vectors import testfloat

    writable(options.junit, options.html)
    pieces = iter(lambda: os.read(sys.stdin.fileno(), READ), b"")
    if specializations.is_one(options.operation):
        specializations.check_rules("verify", vars(options))
        return tell(specializations.verify_lines(options.operation, pieces), options)
    vectors = selected(options)
    if options.testfloat:
        how = {"tininess": options.tininess, "exact": options.exact}
        return tell(testfloat.verify_lines(vectors.arithmetic, pieces, **how), options)
    report = verify(vectors, pieces)
    return tell(report, options)
