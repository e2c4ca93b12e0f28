"""``refimpl vectors``: write test vectors."""

from __future__ import annotations

from pathlib import Path

from refimpl.commands.options import add_rules, declare, place, writable

LINE = (
    "A line of an operation is the codes of the operands and of the result, a word each, such as `38 20 39` of add in "
    "E4M3FN: 1 + 0.125 = 1.125. With --random-bits the random integer is a word behind the operands."
)


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "vectors",
        run,
        help="write test vectors: input and result, in hexadecimal, one case a line",
        description="Write test vectors of an operation in a format, one case a line: the input and "
        f"the result, in hexadecimal. {LINE}",
        examples=(
            "encode float8_e4m3fn --level 1",
            "add bfloat16 --rounding toward_zero --inputs-only",
            "add float8_e4m3fn --level all --readmemh --results-only > expected.hex",
            "f16_mulAdd --testfloat",
        ),
    )
    add_selection(command)
    which = command.add_mutually_exclusive_group()
    which.add_argument("--inputs-only", action="store_true", help="leave the results out, for a pipe")
    which.add_argument("--results-only", action="store_true", help="leave the inputs out")
    shape = command.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="JSON lines instead of text")
    shape.add_argument("--npz", metavar="FILE", type=place, help="write arrays to FILE instead")
    shape.add_argument(
        "--readmemh",
        action="store_true",
        help="for Verilog's $readmemh: one word a line, its fields joined, with a comment and addresses",
    )


def add_selection(command) -> None:
    """Declare the options that choose vectors, the same for `vectors` and `verify`."""
    command.add_argument(
        "operation",
        metavar="OP",
        help="encode, decode, quantize; an operation: add, sub, mul, div, sqrt, fma, exp, lt, convert, to_int8, ...; "
        "or what names its formats: a function of TestFloat, such as f16_mulAdd or f32_to_i64, or a specialization of "
        "P3109, such as 'Abs<Binary8p3se, Binary8p3se, (ToOdd, SatNone)>'",
    )
    command.add_argument("format", metavar="FORMAT", nargs="?", help="such as float8_e4m3fn")
    command.add_argument("--out-format", metavar="FORMAT", help="of the results of an operation (default FORMAT)")
    command.add_argument(
        "--level", choices=("1", "2", "all"), default="2", help="1 small, 2 boundary-weighted (default), all exhaustive"
    )
    command.add_argument(
        "--input",
        choices=("float16", "float32", "float64"),
        default="float32",
        help="type of the inputs of encode and quantize (default float32)",
    )
    command.add_argument(
        "--testfloat",
        action="store_true",
        help="lines as Berkeley TestFloat's: operands, result, exception flags; verify then takes any cases",
    )
    command.add_argument(
        "--tininess",
        choices=("after", "before"),
        default="after",
        help="rounding: when underflow is found (--testfloat)",
    )
    command.add_argument(
        "--exact", action="store_true", help="rounding to an integer raises inexact (--testfloat; default: not)"
    )
    add_rules(command)


def selected(options):
    """Return the Vectors that the options choose."""
    from refimpl.testing import Behaviour, Vectors
    from refimpl.testing.vectors import testfloat

    operation, name, into = options.operation, options.format, options.out_format
    if known := testfloat.function(operation):
        operation, name, into = known["operation"], name or known["format"], into or known["out_format"]
    if name is None:
        raise ValueError(f"vectors: give the format of {operation}, such as float8_e4m3fn")
    if options.rounding == "to_odd" and options.testfloat and operation in ("round_to_integral",):
        options.rounding = "toward_zero"  # as TestFloat's -rodd
    try:
        behaviour = Behaviour(name, options.rounding, options.overflow, options.nan, options.random_bits)
    except TypeError as error:  # a format of blocks or a code book
        raise ValueError(str(error)) from None
    vectors = Vectors(operation, behaviour, options.level, options.input, into)
    if options.testfloat and not vectors.is_arithmetic:
        raise ValueError(f"vectors: --testfloat has no {operation}; give an operation, such as add or f16_add")
    return vectors


def run(options) -> int:
    """Write the vectors to standard output."""
    import sys

    from refimpl.testing.operations import specializations
    from refimpl.testing.vectors import testfloat

    writable(options.npz)
    which = {"inputs": not options.results_only, "results": not options.inputs_only}
    if specializations.is_one(options.operation):
        if options.json or options.npz or options.readmemh:
            raise ValueError("vectors: of a specialization there are lines of text, without --json, --npz, --readmemh")
        specializations.check_rules("vectors", vars(options))
        for piece in specializations.Asked(options.operation).lines(options.level, **which):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return 0
    vectors = selected(options)
    if options.npz:
        Path(options.npz).parent.mkdir(parents=True, exist_ok=True)
        vectors.save_npz(options.npz)
        return 0
    if options.json:
        pieces = vectors.json_lines()
    elif options.readmemh:
        pieces = vectors.readmemh(**which)
    elif options.testfloat and all(which.values()):
        pieces = testfloat.lines(vectors, tininess=options.tininess, exact=options.exact)
    else:
        pieces = vectors.text(**which)
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return 0
