"""An external program as an implementation: it reads lines and writes lines.

*Protocol*: one case per line, fields in hexadecimal without prefix.  The program reads an input, the
bits of a float (4 digits: float16, 8: float32, 16: float64) or a code, and prints the result, or the
input and the result, one line per line in the same order.  A result is a code (``encode``), the bits of a
float of the input's type (``quantize``) or of a float64 (``decode``).  Of an operation such as ``add`` the inputs
are the codes of the operands, a word each, and the result is a code: ``38 20`` asks an adder of E4M3 for 1 + 0.125,
and ``39`` is right.  It ends when its input ends.

A sum is a line of the codes of its terms, in their order; a dot product one of all codes of the first factors, then
those of the second; a product of matrices one of m, k and n, then of both matrices by rows.  The answer is a line of a
word, or m n words by rows: the bits of a float16, a float32 or a float64, in just 4, 8 or 16 digits.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from refimpl import ops
from refimpl.testing.implementations import hexadecimal, processes
from refimpl.testing.implementations.findings import Finding
from refimpl.testing.operations.operation import known_name

LINE = 80  # bytes: no line is longer, be it with an input echoed, prefixes and the ends of lines of Windows
OPERATIONS = ("quantize", "encode", "decode")
SUMS = ("sum", "dot", "matmul")
WORD = re.compile(b"[0-9a-fA-F]{4}|[0-9a-fA-F]{8}|[0-9a-fA-F]{16}")


@dataclass(frozen=True)
class Program:
    """Run a program once per call, feeding it inputs and reading results.

    Parameters
    ----------
    command : str or sequence of str
        Program and arguments; a string is split as a shell would, but no shell runs.
    operation : str
        What the program does: ``quantize``, ``encode`` or ``decode``; or the name of an operation, for
        ``conform(..., op=)``; of these ``sum``, ``dot`` and ``matmul`` for `identify_sum` too.
    time_limit : float
        Seconds after which it is killed.

    Raises
    ------
    ValueError
        For another operation or an empty command; when called, for one that cannot be started.

    Examples
    --------
    >>> str(Program("./mine --format e4m3fn", "encode"))
    './mine --format e4m3fn'
    """

    command: str | tuple[str, ...]
    operation: str = "quantize"
    time_limit: float = 10.0

    def __post_init__(self):
        words = shlex.split(self.command) if isinstance(self.command, str) else self.command
        object.__setattr__(self, "command", tuple(map(str, words)))
        if not self.command or "\0" in "".join(self.command):
            what = "holds a NUL" if self.command else "is empty"
            raise ValueError(f"Program: command {what}; allowed is a program and its arguments")
        if self.operation not in (*OPERATIONS, *SUMS):
            known_name(self.operation, "Program", (*OPERATIONS, *SUMS))

    def __str__(self) -> str:
        return shlex.join(self.command)

    def __call__(self, x: np.ndarray, *more: np.ndarray) -> np.ndarray:
        """Return the program's results for the inputs; raises Finding where it misbehaves."""
        bits = x.view(f"u{x.dtype.itemsize}")
        sent = hexadecimal.lines([bits, *more], [2 * column.dtype.itemsize for column in (x, *more)])
        ended = self._answer(sent, x.size, most=LINE * (x.size + 1))
        results, count = self._read(ended.output, x, bits, 2 + len(more))
        if count != x.size:
            raise Finding(f"answered {_lines(x.size)} with {count}{_said(ended)}")
        if self.operation not in ("quantize", "decode"):
            return results
        dtype = np.dtype(np.float64) if self.operation == "decode" else x.dtype
        return results.astype(f"u{dtype.itemsize}").view(dtype)

    def sums(self, cases: list[tuple[np.ndarray, ...]], fmt) -> list[np.ndarray]:
        """Return the answers to cases, each of one or two arrays of values of a format; one run, Finding as above."""
        digits = -(-fmt.bits // 4)
        sent, counts = [], []
        for case in cases:
            shape = (len(case[0]), *case[1].shape) if self.operation == "matmul" else ()
            words = [f"{n:x}" for n in shape]
            words += [f"{code:0{digits}x}" for x in case for code in ops.encode(x, fmt).reshape(-1).tolist()]
            sent.append(" ".join(words) + "\n")
            counts.append(shape[0] * shape[2] if shape else 1)
        ended = self._answer("".join(sent).encode(), len(cases), most=LINE * (sum(counts) + 1))
        lines = ended.output.splitlines()
        if len(lines) != len(cases):
            raise Finding(f"answered {_lines(len(cases))} with {len(lines)}{_said(ended)}")
        found = []
        for at, (line, count) in enumerate(zip(lines, counts, strict=True)):
            got = line.split()
            if len(got) != count or not all(map(WORD.fullmatch, got)):
                wanted = "a word" if count == 1 else f"{count} words"
                raise Finding(f"line {at + 1} is {repr(line[:80])[1:]}, not {wanted} of 4, 8 or 16 hexadecimal digits")
            found.append(np.array([_float(word.decode()) for word in got]))
        return found

    def limited(self, seconds: float) -> Program:
        """Return the same program, given no more than these seconds."""
        return replace(self, time_limit=min(seconds, self.time_limit))

    def _answer(self, sent: bytes, count: int, most: int) -> processes.Ended:
        """Return what the program writes when it is sent lines; raise Finding unless it ends well and in time."""
        try:
            ended = processes.run(tuple(self.command), sent, seconds=self.time_limit, most=most)
        except OSError as error:
            name = self.command[0]
            here = f"; in this directory: './{name}'" if "/" not in name and Path(name).is_file() else ""
            raise ValueError(f"Program: {name!r} cannot be started: {error.strerror}{here}") from None
        if ended.flooded:
            begins = repr(ended.output[:20])[1:]
            raise Finding(f"answered {_lines(count)} with more than {most} bytes, which begin {begins}")
        if ended.status is None:
            raise Finding(f"did not answer {_lines(count)} within {self.time_limit:g} s{_said(ended)}", hangs=True)
        if ended.status:
            raise Finding(f"died with {_how(ended.status)}{_said(ended)}")
        return ended

    def _read(self, text: bytes, x, bits, echoed_fields: int):
        try:
            table = hexadecimal.read(text)
        except hexadecimal.Rubbish as rubbish:
            at = min(rubbish.line - 1, x.size - 1)
            raise Finding(str(rubbish), index=at) from None
        echoed = table.counts == echoed_fields
        wrong = (table.counts != 1) & ~echoed
        n = min(len(table.counts), x.size)
        wrong[:n] |= echoed[:n] & (table.first[:n] != bits[:n])
        if wrong.any():
            at = int(np.argmax(wrong))
            raise Finding(
                f"line {at + 1} has {table.counts[at]} fields or echoes another input; it "
                "must hold the result, or the input and the result",
                index=min(at, x.size - 1),
            )
        return table.last, len(table.counts)


def _float(word: str) -> float:
    """Return the value of the bits of a float16, float32 or float64."""
    return struct.unpack({4: ">e", 8: ">f", 16: ">d"}[len(word)], bytes.fromhex(word))[0]


def _lines(count: int) -> str:
    return f"{count} line{'s' * (count != 1)}"


def _said(ended: processes.Ended) -> str:
    return f": {ended.said}" * bool(ended.said)


def _how(status: int) -> str:
    if status > 0:
        return f"status {status}"
    with contextlib.suppress(ValueError):
        return f"signal {-status} ({signal.Signals(-status).name})"
    return f"signal {-status}"
