"""``refimpl conform``: hold an implementation to the definition of its format."""

from __future__ import annotations

import contextlib
import sys

from refimpl.commands.options import add_report, add_rules, declare, tell, writable


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "conform",
        run,
        help="hold an implementation of a format to its definition and say what is wrong with it",
        description="Put every case group and law to an implementation: a Python name such as "
        "ml_dtypes.float8_e4m3fn or mypackage.quantize, or a program on a pipe. Exit status 0: it "
        "conforms, 1: it does not, 2: misuse.",
        examples=(
            "ml_dtypes.float8_e4m3fn",
            "mypackage.quantize float8_e4m3fn --overflow saturate",
            "float8_e5m2 --program './quantizer --fast' --operation encode",
            "float8_e4m3fn --program ./adder --operation add",
        ),
    )
    command.add_argument("target", metavar="NAME", nargs="?", help="module.attribute in Python")
    command.add_argument("format", metavar="FORMAT", nargs="?", help="such as float8_e4m3fn; a dtype names its own")
    command.add_argument(
        "--program",
        metavar="COMMAND",
        help="a program instead of NAME, which reads a case a line, in hexadecimal, and answers each with a line; "
        "quote its arguments with it",
    )
    command.add_argument(
        "--operation",
        metavar="OP",
        help="what it does: of a program quantize (default), encode or decode; or an operation, such as add, fma, exp, "
        "lt, convert, to_int8, matmul, softmax: then a function takes values, and a program the codes of the operands, "
        "a word each",
    )
    command.add_argument("--out-format", metavar="FORMAT", help="of the results of an operation (default FORMAT)")
    command.add_argument("--unit", metavar="UNIT", help="of sum, dot and matmul: a matrix unit, such as hopper-fp8")
    command.add_argument(
        "--accumulate", metavar="FORMAT", help="of sum, dot and matmul: the format of the sum; of softmax: of its steps"
    )
    command.add_argument(
        "--order", metavar="ORDER", help="of sum, dot and matmul: sequential, pairwise, chunked, kahan, exact"
    )
    command.add_argument("--chunk", type=int, metavar="N", help="with --order chunked: terms of a chunk")
    add_rules(command)
    command.add_argument(
        "--scale",
        type=_one_or_more(float),
        metavar="S",
        help="of an integer format: hold values to S * (code - zero point); with --axis or --block-size several, with "
        "commas between",
    )
    command.add_argument(
        "--zero-point", type=_one_or_more(int), default=0, metavar="Z", help="with --scale: one, or as many (default 0)"
    )
    command.add_argument("--axis", type=int, metavar="A", help="with --scale: 0 or 1, each index of which has a scale")
    command.add_argument(
        "--block-size", type=int, metavar="N", help="of a code book, or with --scale: elements that share one, in a row"
    )
    command.add_argument(
        "--scale-rule", metavar="RULE", help="of an MX format: floor (default), ceil, ceil_log2, even, nearest"
    )
    command.add_argument(
        "--tensor-scale", type=float, metavar="S", help="of nvfp4, if it is given (default: from the largest magnitude)"
    )
    command.add_argument(
        "--not-finite",
        choices=("nan", "open"),
        default="nan",
        help="of a block format: a block with NaN or an infinity is NaN (default), or anything",
    )
    command.add_argument(
        "--inputs",
        nargs="+",
        metavar="DTYPE",
        default=["float32", "float64"],
        help="float16, float32, float64 (default: the last two)",
    )
    command.add_argument("--time-limit", type=float, default=10.0, metavar="SECONDS", help="for each call (default 10)")
    add_report(command)


def run(options) -> int:
    """Print the report; return 0 or 1."""
    from refimpl import testing

    writable(options.junit, options.html)
    if options.program is not None:  # then the first name is the format
        if options.format or not options.target:
            raise ValueError("give the format, and it alone, beside --program")
        implementation = testing.Program(options.program, options.operation or "quantize", options.time_limit)
        name = options.target
    elif options.target:
        implementation, name = _imported(options.target), options.format
    else:
        raise ValueError("give NAME, such as ml_dtypes.float8_e4m3fn, or --program COMMAND")
    rules = "out_format rounding overflow nan random_bits scale zero_point scale_rule tensor_scale not_finite inputs "
    rules += "unit accumulate order chunk axis block_size"
    op = None if options.operation in ("quantize", "encode", "decode") else options.operation
    try:
        given = {rule: getattr(options, rule) for rule in (*rules.split(), "time_limit")}
        with contextlib.redirect_stdout(sys.stderr):  # what the implementation prints is no part of the report
            report = testing.conform(implementation, name, op=op, **given)
    except TypeError as error:  # of a misuse; what the implementation raises is in the report
        raise ValueError(str(error)) from None
    return tell(report, options)


def _one_or_more(kind):
    """Return what reads a number, or a list of them with commas between."""

    def number(text: str):
        found = [kind(part) for part in text.split(",")]
        return found if len(found) > 1 else found[0]

    return number


def _imported(name: str):
    """Return what ``module.attribute`` names; the working directory is searched too."""
    import importlib
    import os

    if "." not in name:
        raise ValueError(f"{name!r} is not of the form module.attribute, as ml_dtypes.float8_e5m2 is")
    module, _, attribute = name.rpartition(".")
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ValueError(f"cannot import {module!r}: {error}; is it installed here?") from None
    except AttributeError:
        raise ValueError(f"{module!r} has no {attribute!r}") from None
    finally:
        sys.path.remove(os.getcwd())
