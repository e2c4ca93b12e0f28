"""Berkeley TestFloat's own lines: operands, result and exception flags, hexadecimal words.

What `testfloat_gen` writes and `testfloat_ver` reads: ``3C00 1000 3C02 01`` of f16_add.  Flags are the sum of
inexact 1, underflow 2, overflow 4, infinite (divide by zero) 8, invalid 16, tininess found after rounding unless
said otherwise; rounding to an integer raises no inexact unless `exact`.  A truth is one digit.  Every line stands for
itself: any cases, in any order, any number of times.

As `testfloat_ver` does without its check options: any NaN is as good as another, and where a conversion to an integer
is invalid any integer.

*Source*: Berkeley TestFloat Release 3e, testfloat_gen.html and testfloat_ver.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from refimpl._arguments import message
from refimpl.testing.checks.report import CheckResult, Failure, Report
from refimpl.testing.implementations import hexadecimal
from refimpl.testing.operations.judging import Judged
from refimpl.testing.operations.operation import Operation

FORMATS = {"f16": "float16", "f32": "float32", "f64": "float64", "bf16": "bfloat16"}
NAMES = {"mulAdd": "fma", "rem": "remainder", "roundToInt": "round_to_integral"}
FLAG_NAMES = {1: "inexact", 2: "underflow", 4: "overflow", 8: "divide by zero", 16: "invalid"}
_CALL = re.compile(r"(b?f\d+|u?i\d+)_(to_)?(\w+)")
INEXACT, INVALID = 1, 16


def function(name: str) -> dict[str, Any] | None:
    """Return operation, format and out_format of a function of TestFloat; None for other names.

    >>> function("f16_mulAdd"), function("f32_to_ui64")["operation"]
    ({'operation': 'fma', 'format': 'float16', 'out_format': None}, 'to_uint64')
    """
    found = _CALL.fullmatch(name)
    into = found[3] if found and found[2] else ""
    if found and into in FORMATS and (of := re.fullmatch(r"(u?)i(\d+)", found[1])):
        return {"operation": f"from_{of[1]}int{of[2]}", "format": FORMATS[into], "out_format": None}
    if not found or found[1] not in FORMATS:
        return None
    if into in FORMATS:
        return {"operation": "convert", "format": FORMATS[found[1]], "out_format": FORMATS[into]}
    if integer := re.fullmatch(r"(u?i)(\d+)", into):
        kind = "int" if integer[1] == "i" else "uint"
        return {"operation": f"to_{kind}{integer[2]}", "format": FORMATS[found[1]], "out_format": None}
    if into:
        raise ValueError(message("vectors", "operation", name, f"a conversion to {', '.join(FORMATS)}, i32, ui64, ..."))
    return {"operation": NAMES.get(found[3], found[3]), "format": FORMATS[found[1]], "out_format": None}


def lines(vectors, *, tininess: str = "after", exact: bool = False) -> Iterator[bytes]:
    """Yield the lines of Vectors.

    >>> from refimpl.testing import Behaviour, Vectors
    >>> b"".join(lines(Vectors("add", Behaviour("float16"), "1"))).split(b"\\n")[100]
    b'07FF 8300 04FF 00'
    """
    operation = vectors.arithmetic
    for x in vectors.inputs():
        columns = list(x.T)
        if operation.random_bits:
            raise ValueError(message("vectors", "rounding", operation.rounding, "a deterministic mode of TestFloat"))
        result, flags = expected(operation, columns, tininess, exact)
        digits = [-(-fmt.bits // 4) for fmt in operation.formats]
        yield hexadecimal.lines([*columns, result, flags], [*digits, -(-operation.result_bits // 4), 2]).upper()


def expected(operation: Operation, columns, tininess: str, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return results and flags as TestFloat has them."""
    result, flags = operation.results(columns, flags=True, tininess=tininess)
    if not exact and (operation.integer or operation.name == "round_to_integral"):
        flags = flags & np.uint8(255 - INEXACT)
    return result, flags


def verify_lines(
    operation: Operation, pieces, *, tininess: str = "after", exact: bool = False, name: str = "standard input"
) -> Report:
    """Check lines of operands, result and flags, each by itself, and report as `verify` does."""
    from refimpl.testing.vectors.verification import Wrong, rows_of

    judged = Judged(operation)
    wrong_flags, kinds, said, trouble = 0, dict.fromkeys(FLAG_NAMES, (0, 0)), "", ""
    try:
        for line, rows in rows_of(pieces, operation.operands + 2, "operands, result, flags", operation.formats):
            columns = [np.ascontiguousarray(column) for column in rows.T[:-2]]
            _, flags = expected(operation, columns, tininess, exact)
            lenient = (flags & INVALID != 0) if operation.integer else None
            judged.count(operation.name, columns, rows[:, -2], lenient)
            bad = flags.astype(np.uint64) != rows[:, -1]
            wrong_flags += int(bad.sum())
            for bit, (missing, spurious) in kinds.items():
                want, have = flags & bit != 0, rows[:, -1] & np.uint64(bit) != 0
                kinds[bit] = (missing + int((want & ~have).sum()), spurious + int((have & ~want).sum()))
            if bad.any() and not said:
                at = int(np.argmax(bad))
                said = (
                    f"line   {line + at}: {' '.join(f'{int(w):X}' for w in rows[at])}\n"
                    f"right  {int(flags[at]):02X}  {_named(int(flags[at]))}\n"
                    f"got    {int(rows[at, -1]):02X}  {_named(int(rows[at, -1]))}"
                )
    except Wrong as wrong:
        trouble = str(wrong)
    trouble = trouble or ("" if judged.tried else "there are no lines")
    held = "every line holds operands, a result and flags"
    unread = Failure("read", None, None, trouble) if trouble else None
    results = (
        CheckResult("lines", "use", held, judged.tried + bool(trouble), int(bool(trouble)), unread),
        CheckResult(
            operation.name,
            "case group",
            "every result is the expected one",
            judged.tried,
            judged.failed,
            judged.failure,
        ),
        CheckResult(
            "flags",
            "case group",
            "every exception is raised, and no other",
            judged.tried,
            wrong_flags,
            Failure("flags", None, None, said) if said else None,
        ),
    )
    diagnoses, description = judged.diagnoses() if judged.failed else ((), "")
    if not judged.failed and wrong_flags:
        parts = [
            f"{FLAG_NAMES[bit]} {word} in {number} cases"
            for bit, pair in kinds.items()
            for word, number in zip(("is missing", "is raised wrongly"), pair, strict=True)
            if number
        ]
        diagnoses = ("results are right, and of the flags " + ", ".join(parts),)
    return Report(name, str(operation), results, diagnoses, description, tuple(judged.cases))


def _named(flags: int) -> str:
    return ", ".join(word for bit, word in FLAG_NAMES.items() if flags & bit) or "none"
