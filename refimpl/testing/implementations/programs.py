"""An external program as an implementation: it reads lines and writes lines.

*Protocol*: one case per line, fields in hexadecimal without prefix.  The program reads an input, the
bits of a float (4 digits: float16, 8: float32, 16: float64) or a code, and prints the result, or the
input and the result, one line per line in the same order.  A result is a code (``encode``), the bits of a
float of the input's type (``quantize``) or of a float64 (``decode``).  It ends when its input ends.
"""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass

import numpy as np

from refimpl._arguments import choice
from refimpl.testing.implementations import hexadecimal
from refimpl.testing.implementations.findings import Finding

OPERATIONS = ("quantize", "encode", "decode")


@dataclass(frozen=True)
class Program:
    """Run a program once per call, feeding it inputs and reading results.

    Parameters
    ----------
    command : str or sequence of str
        Program and arguments; a string is split as a shell would, but no shell runs.
    operation : str
        What the program does: ``quantize``, ``encode`` or ``decode``.
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
        if not self.command:
            raise ValueError("Program: command is empty; allowed is a program and its arguments")
        choice("Program", "operation", self.operation, OPERATIONS)

    def __str__(self) -> str:
        return shlex.join(self.command)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the program's results for the inputs; raises Finding where it misbehaves."""
        bits = x.view(f"u{x.dtype.itemsize}")
        digits = 2 * x.dtype.itemsize
        sent = hexadecimal.lines([bits], [digits])
        try:
            done = subprocess.run(self.command, input=sent, capture_output=True, timeout=self.time_limit)
        except subprocess.TimeoutExpired:
            raise Finding(f"did not answer {x.size} lines within {self.time_limit:g} s", hangs=True) from None
        except OSError as error:
            raise ValueError(f"Program: {self.command[0]!r} cannot be started: {error.strerror}") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            how = f"status {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
            raise Finding(f"died with {how}" + (f": {said[-1][:200]}" if said else ""))
        results, count = self._read(done.stdout, x, bits)
        if count != x.size:
            raise Finding(f"answered {x.size} lines with {count}")
        if self.operation == "encode":
            return results
        dtype = np.dtype(np.float64) if self.operation == "decode" else x.dtype
        return results.astype(f"u{dtype.itemsize}").view(dtype)

    def _read(self, text: bytes, x, bits):
        try:
            table = hexadecimal.read(text)
        except hexadecimal.Rubbish as rubbish:
            at = min(rubbish.line - 1, x.size - 1)
            raise Finding(f"line {rubbish.line} is {rubbish.text!r}, not hexadecimal fields", index=at) from None
        wrong = (table.counts != 1) & (table.counts != 2)
        echoed = table.counts == 2
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
