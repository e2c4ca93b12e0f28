"""``refimpl vectors``: write test vectors."""

from __future__ import annotations

from pathlib import Path

from refimpl.commands.options import add_rules, declare, place, writable


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "vectors",
        run,
        help="write test vectors: input and result, in hexadecimal, one case a line",
        description="Write test vectors of an operation in a format, one case a line: the input and "
        "the result, in hexadecimal.",
        examples=("encode float8_e4m3fn --level 1", "add bfloat16 --rounding toward_zero --inputs-only"),
    )
    add_selection(command)
    command.add_argument("--inputs-only", action="store_true", help="leave the results out, for a pipe")
    shape = command.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="JSON lines instead of text")
    shape.add_argument("--npz", metavar="FILE", type=place, help="write arrays to FILE instead")


def add_selection(command) -> None:
    """Declare the options that choose vectors, the same for `vectors` and `verify`."""
    command.add_argument(
        "operation",
        metavar="OP",
        help="encode, decode, quantize; add, sub, mul, div, sqrt, fma; minimum, clamp, remainder, exp, ...",
    )
    command.add_argument("format", metavar="FORMAT", help="such as float8_e4m3fn")
    command.add_argument(
        "--level", choices=("1", "2", "all"), default="2", help="1 small, 2 boundary-weighted (default), all exhaustive"
    )
    command.add_argument(
        "--input",
        choices=("float16", "float32", "float64"),
        default="float32",
        help="type of the inputs of encode and quantize (default float32)",
    )
    add_rules(command)


def selected(options):
    """Return the Vectors that the options choose."""
    from refimpl.testing import Behaviour, Vectors

    try:
        behaviour = Behaviour(options.format, options.rounding, options.overflow, options.nan, options.random_bits)
    except TypeError as error:  # a format of blocks or a code book
        raise ValueError(str(error)) from None
    return Vectors(options.operation, behaviour, options.level, options.input)


def run(options) -> int:
    """Write the vectors to standard output."""
    import sys

    writable(options.npz)
    vectors = selected(options)
    if options.npz:
        Path(options.npz).parent.mkdir(parents=True, exist_ok=True)
        vectors.save_npz(options.npz)
        return 0
    pieces = vectors.json_lines() if options.json else vectors.text(results=not options.inputs_only)
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return 0
