"""Test vectors as streaming text; `refimpl.testing.vectors.verification` reads the results that come back.

*Text*: one case per line, ``input result``, both in hexadecimal without prefix, lower case, and of a
fixed number of digits.  An input of ``encode`` and ``quantize`` is the bits of a float (float16: 4
digits, float32: 8, float64: 16), and that of ``decode`` a code.  A result of ``encode`` is a code, of
``quantize`` the bits of a float of the input's type, of ``decode`` those of a float64.  An input of
an operation such as ``add`` is the codes of the operands, one behind the other, each of the same number
of digits, and the result a code (`refimpl.testing.vectors.operands`).  Only the inputs stand there if so
asked.  *Results* come back one per line, in the same order; or behind the
input on the same line, and then the order is free.  NaN is NaN: whatever its sign and payload.

*Levels*: 1, the points where formats differ (a few hundred); 2, every case group of
`refimpl.testing.expected.cases`, over all codes; ``all``, every pattern of the input type, every code, every
pair of codes.
Everything is made and read in chunks, so that memory does not grow with the number of lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refimpl._arguments import choice, message
from refimpl.formats import IntFormat
from refimpl.testing.expected.behaviour import Behaviour, decode
from refimpl.testing.expected.cases import INPUTS, case_groups, distinct
from refimpl.testing.implementations import hexadecimal
from refimpl.testing.vectors import operands

OPERATIONS = ("encode", "decode", "quantize", *operands.OPERANDS)
LEVELS = ("1", "2", "all")
CHUNK = 1 << 16
MOST_BITS = 32


@dataclass(frozen=True)
class Vectors:
    """A list of test vectors that is never in memory as a whole.

    Parameters
    ----------
    operation : str
        ``encode``, ``decode``, ``quantize``, or an operation of `refimpl.codes` that gives a code: ``add``, ``fma``,
        ``minimum``, ``remainder``, ``exp``, ...
    behaviour : Behaviour
        Of a float or posit format, and deterministic.
    level : str
        ``1``, ``2`` or ``all``.
    input : str
        The dtype of inputs: ``float16``, ``float32`` or ``float64`` (not for ``all``, 2^64 patterns).

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

    def __post_init__(self):
        choice("vectors", "operation", self.operation, OPERATIONS)
        choice("vectors", "level", self.level, LEVELS)
        choice("vectors", "input", self.input, INPUTS)
        fmt = self.behaviour.format
        if isinstance(fmt, IntFormat) or self.behaviour.is_stochastic:
            allowed = "a float or posit format and a deterministic mode"
            raise ValueError(message("vectors", "behaviour", str(self.behaviour), allowed))
        if self.is_arithmetic:
            operands.check(self.operation, fmt, self.level)
        elif self.level == "all":
            bits = fmt.bits if self.operation == "decode" else 8 * np.dtype(self.input).itemsize
            if bits > MOST_BITS:
                allowed = f"an input of at most {MOST_BITS} bits for all patterns"
                raise ValueError(message("vectors", "input", f"{bits} bits wide", allowed, "use level 2"))

    @property
    def is_arithmetic(self) -> bool:
        """Whether inputs are tuples of codes."""
        return self.operation in operands.OPERANDS

    @property
    def digits(self) -> tuple[int, int]:
        """Hexadecimal digits of an input and of a result."""
        if self.is_arithmetic:
            return operands.digits(self.operation, self.behaviour.format)
        code = -(-self.behaviour.format.bits // 4)
        wide = 2 * np.dtype(self.input).itemsize
        return {"encode": (wide, code), "quantize": (wide, wide), "decode": (code, 16)}[self.operation]

    def inputs(self) -> Iterator[np.ndarray]:
        """Yield the inputs in chunks: floats of the input dtype, or codes or tuples (unsigned)."""
        if self.is_arithmetic:
            yield from operands.tuples(self.operation, self.behaviour.format, self.level)
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
                return operands.results(self.operation, self.behaviour, x)
            if self.operation == "decode":
                return decode(x, self.behaviour.format)
            if self.operation == "encode":
                return self.behaviour.codes(x)
            return self.behaviour.values(x).astype(x.dtype)

    def text(self, *, results: bool = True) -> Iterator[bytes]:
        """Yield the lines, many at a time."""
        first, second = self.digits
        for x in self.inputs():
            if results:
                yield hexadecimal.lines([bits_of(x), bits_of(self.results(x))], [first, second])
            else:
                yield hexadecimal.lines([bits_of(x)], [first])

    def json_lines(self) -> Iterator[bytes]:
        """Yield JSON objects, one a line: input and result in hexadecimal and as numbers."""
        first, second = self.digits
        for x in self.inputs():
            lines = []
            for given, gives in zip(x, self.results(x), strict=True):
                record = {
                    "input": f"{bits_of(given.reshape(1))[0]:0{first}x}",
                    "result": f"{bits_of(gives.reshape(1))[0]:0{second}x}",
                    "input_value": str(given),
                    "result_value": str(gives),
                }
                lines.append(json.dumps(record))
            yield ("\n".join(lines) + "\n").encode()

    def save_npz(self, path) -> None:
        """Write arrays ``input`` and ``result`` (this one holds them in memory)."""
        x = np.concatenate(list(self.inputs()))
        np.savez_compressed(path, input=x, result=self.results(x), about=np.array(f"{self.operation} {self.behaviour}"))


def bits_of(x: np.ndarray) -> np.ndarray:
    """Return floats as their bits, and codes as they are."""
    return x if x.dtype.kind in "ui" else x.view(f"u{x.dtype.itemsize}")


def _chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, x.size, CHUNK):
        yield x[start : start + CHUNK]


def _codes_of(fmt) -> np.ndarray:
    return next(group for group in case_groups() if group.name == "round_trip")(fmt)
