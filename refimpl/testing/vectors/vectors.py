"""Test vectors as streaming text; `refimpl.testing.vectors.verification` reads the results that come back.

*Text*: one case per line, ``input result``, both in hexadecimal without prefix, lower case, and of a
fixed number of digits.  An input of ``encode`` and ``quantize`` is the bits of a float (float16: 4
digits, float32: 8, float64: 16), and that of ``decode`` a code.  A result of ``encode`` is a code, of
``quantize`` the bits of a float of the input's type, of ``decode`` those of a float64.  An input of
an operation such as ``add`` is the codes of the operands, a word each, and the result a code, a truth (0 or 1) or
an integer: ``38 20 39`` says that in E4M3FN 1 + 0.125 is 1.125.  An operand that is an integer (n of ``scaleb``,
that of ``from_int8``) is its bits, and the random integer of stochastic A, B or C a word behind the operands.  Only
the inputs, or only the results, stand there if so asked.  *Results* come back one per line, in the same order; or
behind the input on the same line, and then the order is free.  NaN is NaN: whatever its sign and payload.

*Levels*: 1, the points where formats differ (a few hundred); 2, every case group of
`refimpl.testing.expected.cases`, over all codes; ``all``, every pattern of the input type, every code, every
pair of codes.
Everything is made and read in chunks, so that memory does not grow with the number of lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from refimpl._arguments import choice, message
from refimpl._files import writing
from refimpl.formats import IntFormat
from refimpl.testing.expected.behaviour import Behaviour, decode
from refimpl.testing.expected.cases import INPUTS, case_groups, distinct
from refimpl.testing.implementations import hexadecimal
from refimpl.testing.operations.operation import OPERANDS, Operation, known_name
from refimpl.testing.operations.operation import decoded as decode_codes
from refimpl.testing.vectors import operands

OPERATIONS = ("encode", "decode", "quantize", *OPERANDS)
LEVELS = ("1", "2", "all")
CHUNK = 1 << 16
MOST_BITS = 32


@dataclass(frozen=True)
class Vectors:
    """A list of test vectors that is never in memory as a whole.

    Parameters
    ----------
    operation : str
        ``encode``, ``decode``, ``quantize``, or an operation, as `conform` names it: ``add``, ``fma``, ``exp``, ``lt``,
        ``convert``, ``to_int8``, ...
    behaviour : Behaviour
        Of a float or posit format, and deterministic; of operations other than ``encode``, ``decode`` and ``quantize``
        ``stochastic_a``, ``_b`` or ``_c``, too: the random integer is then a word behind those of the operands.
    level : str
        ``1``, ``2`` or ``all``.
    input : str
        The dtype of inputs: ``float16``, ``float32`` or ``float64`` (not for ``all``, 2^64 patterns).
    out_format : format or its name, optional
        Of the results of an operation, by default that of the operands.

    Raises
    ------
    TypeError, ValueError
        For others.

    Examples
    --------
    >>> vectors = Vectors("decode", Behaviour("float4_e2m1fn"), "all")
    >>> b"".join(vectors.text()).split(b"\\n")[6:8]
    [b'6 4010000000000000', b'7 4018000000000000']
    """

    operation: str
    behaviour: Behaviour
    level: str = "2"
    input: str = "float32"
    out_format: Any = None

    def __post_init__(self):
        if self.operation not in OPERATIONS:
            object.__setattr__(self, "operation", known_name(self.operation, "vectors", OPERATIONS[:3]))
        choice("vectors", "level", self.level, LEVELS)
        choice("vectors", "input", self.input, INPUTS)
        fmt = self.behaviour.format
        b, drawn = self.behaviour, self.behaviour.is_stochastic
        if isinstance(fmt, IntFormat) or drawn and (not self.is_arithmetic or b.random_bits is None):
            allowed = "a float or posit format and a deterministic mode, or of an operation stochastic_a, _b or _c"
            raise ValueError(message("vectors", "behaviour", str(self.behaviour), allowed))
        if self.is_arithmetic:
            operands.check(self.arithmetic, self.level)
        elif self.level == "all":
            bits = fmt.bits if self.operation == "decode" else 8 * np.dtype(self.input).itemsize
            if bits > MOST_BITS:
                allowed = f"an input of at most {MOST_BITS} bits for all patterns"
                raise ValueError(message("vectors", "input", f"{bits} bits wide", allowed, "use level 2"))

    @property
    def is_arithmetic(self) -> bool:
        """Whether inputs are tuples of codes."""
        return self.operation not in OPERATIONS[:3]

    @cached_property
    def arithmetic(self) -> Operation:
        """The operation, with the rules of the behaviour."""
        b = self.behaviour
        return Operation(self.operation, b.format, self.out_format, b.rounding, b.overflow, b.nan, b.random_bits)

    @property
    def digits(self) -> tuple[int, int]:
        """Hexadecimal digits of an input, its words joined, and of a result."""
        if self.is_arithmetic:
            return sum(operands.digits(self.arithmetic)), -(-self.arithmetic.result_bits // 4)
        code = -(-self.behaviour.format.bits // 4)
        wide = 2 * np.dtype(self.input).itemsize
        return {"encode": (wide, code), "quantize": (wide, wide), "decode": (code, 16)}[self.operation]

    def inputs(self) -> Iterator[np.ndarray]:
        """Yield the inputs in chunks: floats of the input dtype, or codes, or tuples (n, operands) of them."""
        if self.is_arithmetic:
            yield from operands.tuples(self.arithmetic, self.level)
            return
        if self.level == "all":
            yield from self._all()
            return
        if self.operation == "decode":
            codes = _codes_of(self.behaviour.format)
            few = codes[:: max(1, codes.size // 256)] if self.level == "1" else codes
            yield from _chunks(few)
            return
        groups = [group(self.behaviour.format, self.input) for group in case_groups() if group.kind == "values"]
        if self.level == "1":
            groups = [x[:: max(1, -(-x.size // 32))] for x in groups]
        yield from _chunks(distinct(np.concatenate(groups)))

    def _all(self):
        wide = np.dtype(self.input)
        width = self.behaviour.format.bits if self.operation == "decode" else 8 * wide.itemsize
        dtype = np.min_scalar_type((1 << width) - 1) if self.operation == "decode" else f"u{wide.itemsize}"
        for start in range(0, 1 << width, CHUNK):
            bits = np.arange(start, min(start + CHUNK, 1 << width), dtype=np.uint64).astype(dtype)
            yield bits if self.operation == "decode" else bits.view(wide)

    def results(self, x: np.ndarray) -> np.ndarray:
        """Return the expected results of inputs: codes or floats."""
        with np.errstate(all="ignore"):
            if self.is_arithmetic:
                return self.arithmetic.results(*self.arithmetic.split(list(x.T)))
            if self.operation == "decode":
                return decode(x, self.behaviour.format)
            if self.operation == "encode":
                return self.behaviour.codes(x)
            return self.behaviour.values(x).astype(x.dtype)

    def text(self, *, inputs: bool = True, results: bool = True) -> Iterator[bytes]:
        """Yield the lines, many at a time: inputs and results, or one of them."""
        for x in self.inputs():
            columns, digits = self._words(x, inputs, results)
            yield hexadecimal.lines(columns, digits)

    def readmemh(self, *, inputs: bool = True, results: bool = True) -> Iterator[bytes]:
        """Yield lines as Verilog's $readmemh takes them: a comment, addresses, and one word a line, the fields joined.

        >>> from refimpl.testing.expected.behaviour import Behaviour
        >>> some = Vectors("sqrt", Behaviour("float4_e2m1fn"), "all").readmemh(inputs=False)
        >>> b"".join(some).split(b"\\n")[:4]
        [b'// sqrt float4_e2m1fn, ties_to_even: results of 4 bits', b'@0', b'0', b'1']
        """
        which = "inputs and results" if inputs and results else "inputs" if inputs else "results"
        at = 0
        for x in self.inputs():
            columns, digits = self._words(x, inputs, results)
            if not at:
                about = self.arithmetic if self.is_arithmetic else f"{self.operation} {self.behaviour}"
                yield f"// {about}: {which} of {4 * sum(digits)} bits\n".encode()
            lines = hexadecimal.lines(columns, digits)
            table = np.frombuffer(lines, np.uint8).reshape(len(x), -1)
            keep = np.ones(table.shape[1], bool)
            keep[np.cumsum(np.array(digits) + 1)[:-1] - 1] = False
            yield f"@{at:x}\n".encode() + table[:, keep].tobytes()
            at += len(x)

    def _words(self, x: np.ndarray, inputs: bool, results: bool) -> tuple[list[np.ndarray], list[int]]:
        """Return the columns of lines, and their digits."""
        columns, digits = [], []
        if inputs:
            columns = list(x.T) if self.is_arithmetic else [bits_of(x)]
            digits = operands.digits(self.arithmetic) if self.is_arithmetic else [self.digits[0]]
        if results:
            columns, digits = [*columns, bits_of(self.results(x))], [*digits, self.digits[1]]
        return columns, digits

    def json_lines(self) -> Iterator[bytes]:
        """Yield JSON objects, one a line: input and result in hexadecimal and as numbers."""
        for x in self.inputs():
            lines = []
            results = self.results(x)
            words, digits = self._words(x, True, True)
            shown = self._shown(x, results)
            for *row, value, gives in zip(*words, *shown, strict=True):
                *given, result = (f"{int(word):0{width}x}" for word, width in zip(row, digits, strict=True))
                record = {"input": " ".join(given), "result": result, "input_value": value, "result_value": gives}
                lines.append(json.dumps(record))
            yield ("\n".join(lines) + "\n").encode()

    def _shown(self, x, results) -> tuple[list[str], list[str]]:
        """Return what inputs and results stand for, as text."""
        if not self.is_arithmetic:
            return [str(v) for v in x], [str(v) for v in results]
        o = self.arithmetic
        values = [decode_codes(column, fmt).tolist() for column, fmt in zip(x.T, o.words, strict=True)]
        gives = o.values_of(results).tolist()
        return [" ".join(map(str, row)) for row in zip(*values, strict=True)], [str(v) for v in gives]

    def save_npz(self, path) -> None:
        """Write arrays ``input`` and ``result`` (this one holds them in memory)."""
        x = np.concatenate(list(self.inputs()))
        about = np.array(f"{self.operation} {self.behaviour}")
        with writing(path) as file:
            np.savez_compressed(file, input=x, result=self.results(x), about=about)


def bits_of(x: np.ndarray) -> np.ndarray:
    """Return floats as their bits, and codes as they are."""
    return x if x.dtype.kind in "ui" else x.view(f"u{x.dtype.itemsize}")


def _chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, x.size, CHUNK):
        yield x[start : start + CHUNK]


def _codes_of(fmt) -> np.ndarray:
    return next(group for group in case_groups() if group.name == "round_trip")(fmt)
