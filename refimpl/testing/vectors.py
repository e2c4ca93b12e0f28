"""Test vectors as streaming text, and the verification of results that come back.

*Text*: one case per line, ``input result``, both in hexadecimal without prefix, lower case, and of a
fixed number of digits.  An input of ``encode`` and ``quantize`` is the bits of a float (float16: 4
digits, float32: 8, float64: 16), and that of ``decode`` a code.  A result of ``encode`` is a code, of
``quantize`` the bits of a float of the input's type, of ``decode`` those of a float64.  Only the inputs
stand there if so asked.  *Results* come back one per line, in the same order; or behind the
input on the same line, and then the order is free.  NaN is NaN: whatever its sign and payload.

*Levels*: 1, the points where formats differ (a few hundred); 2, every case group of
`refimpl.testing.cases`, over all codes; ``all``, every pattern of the input type or every code.
Everything is made and read in chunks, so that memory does not grow with the number of lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refimpl import ops
from refimpl.formats import FloatFormat, IntFormat
from refimpl.testing import hexadecimal
from refimpl.testing.behaviour import Behaviour, decode
from refimpl.testing.cases import INPUTS, case_groups, distinct
from refimpl.testing.checks import Seen, Tally
from refimpl.testing.diagnosis import diagnose
from refimpl.testing.explain import explain
from refimpl.testing.report import CheckResult, Failure, Report

OPERATIONS = ("encode", "decode", "quantize")
LEVELS = ("1", "2", "all")
CHUNK = 1 << 16
KEPT = 20_000  # observations kept for the diagnosis
ENOUGH, LONGEST = 1 << 18, 1 << 20  # bytes: read so many before looking; a line is never so long


@dataclass(frozen=True)
class Vectors:
    """A list of test vectors that is never in memory as a whole.

    Parameters
    ----------
    operation : str
        ``encode``, ``decode`` or ``quantize``.
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
        for what, got, allowed in (("operation", self.operation, OPERATIONS),
                                   ("level", self.level, LEVELS), ("input", self.input, INPUTS)):  # fmt: skip
            if got not in allowed:
                raise ValueError(f"vectors: unknown {what} {got!r}; one of {', '.join(allowed)}")
        if isinstance(self.behaviour.format, IntFormat) or self.behaviour.is_stochastic:
            raise ValueError(f"vectors: a float or posit format and a deterministic mode; got "
                             f"{self.behaviour}")  # fmt: skip
        if self.level == "all" and self.input == "float64" and self.operation != "decode":
            raise ValueError("vectors: nobody can wait for 2^64 lines; use level 2, or a narrower input")  # fmt: skip
        if self.level == "all" and self.operation == "decode" and self.behaviour.format.bits > 32:
            raise ValueError("vectors: all codes of at most 32 bits; use level 2")

    @property
    def digits(self) -> tuple[int, int]:
        """Hexadecimal digits of an input and of a result."""
        code = -(-self.behaviour.format.bits // 4)
        wide = 2 * np.dtype(self.input).itemsize
        return {"encode": (wide, code), "quantize": (wide, wide), "decode": (code, 16)}[
            self.operation
        ]

    def inputs(self) -> Iterator[np.ndarray]:
        """Yield the inputs in chunks: floats of the input dtype, or codes (unsigned)."""
        if self.level == "all":
            yield from self._all()
            return
        if self.operation == "decode":
            codes = _codes_of(self.behaviour.format)
            few = codes[:: max(1, codes.size // 256)] if self.level == "1" else codes
            yield from _chunks(few)
            return
        groups = [group(self.behaviour.format, self.input) for group in case_groups()
                  if group.kind == "values"]  # fmt: skip
        if self.level == "1":
            groups = [x[:: max(1, -(-x.size // 32))] for x in groups]
        yield from _chunks(distinct(np.concatenate(groups)))

    def _all(self):
        wide = np.dtype(self.input)
        width = self.behaviour.format.bits if self.operation == "decode" else 8 * wide.itemsize
        dtype = np.min_scalar_type((1 << width) - 1) if self.operation == "decode" else f"u{wide.itemsize}"  # fmt: skip
        for start in range(0, 1 << width, CHUNK):
            bits = np.arange(start, min(start + CHUNK, 1 << width), dtype=np.uint64).astype(dtype)
            yield bits if self.operation == "decode" else bits.view(wide)

    def results(self, x: np.ndarray) -> np.ndarray:
        """Return the expected results of inputs: codes or floats."""
        with np.errstate(all="ignore"):
            if self.operation == "decode":
                return ops.decode(x, self.behaviour.format)
            if self.operation == "encode":
                return self.behaviour.codes(x)
            return self.behaviour.values(x).astype(x.dtype)

    def text(self, *, results: bool = True) -> Iterator[bytes]:
        """Yield the lines, many at a time."""
        first, second = self.digits
        for x in self.inputs():
            if results:
                yield hexadecimal.lines([_bits(x), _bits(self.results(x))], [first, second])
            else:
                yield hexadecimal.lines([_bits(x)], [first])

    def json_lines(self) -> Iterator[bytes]:
        """Yield JSON objects, one a line: input and result in hexadecimal and as numbers."""
        first, second = self.digits
        for x in self.inputs():
            lines = []
            for given, gives in zip(x, self.results(x), strict=True):
                record = {"input": f"{_bits(given.reshape(1))[0]:0{first}x}",
                          "result": f"{_bits(gives.reshape(1))[0]:0{second}x}",
                          "input_value": str(given), "result_value": str(gives)}  # fmt: skip
                lines.append(json.dumps(record))
            yield ("\n".join(lines) + "\n").encode()

    def save_npz(self, path) -> None:
        """Write arrays ``input`` and ``result`` (this one holds them in memory)."""
        x = np.concatenate(list(self.inputs()))
        np.savez_compressed(path, input=x, result=self.results(x),
                            about=np.array(f"{self.operation} {self.behaviour}"))  # fmt: skip


def _bits(x: np.ndarray) -> np.ndarray:
    return x if x.dtype.kind in "ui" else x.view(f"u{x.dtype.itemsize}")


def _chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, x.size, CHUNK):
        yield x[start : start + CHUNK]


def _codes_of(fmt) -> np.ndarray:
    return next(group for group in case_groups() if group.name == "round_trip")(fmt)


# -- verifying -------------------------------------------------------------------------------------


def verify(vectors: Vectors, lines, *, name: str = "standard input") -> Report:
    """Compare results with the expected ones and report as `conform` does.

    Parameters
    ----------
    vectors : Vectors
        Which cases the results belong to; made again here, nothing expected is read.
    lines : iterable of bytes
        Pieces of text of any length, such as reads of a pipe.
    name : str
        What the report calls the implementation.

    Returns
    -------
    Report
        Rubbish, missing and superfluous lines are failures of it.

    Examples
    --------
    >>> vectors = Vectors("encode", Behaviour("float8_e4m3fn"), "1")
    >>> verify(vectors, vectors.text()).passed
    True
    >>> verify(vectors, [b"00\\n"]).failures[0].name
    'lines'
    """
    tally, waiting = Tally(), _Waiting(vectors)
    trouble = None
    line = 1
    for text in _whole_lines(lines):
        try:
            table = hexadecimal.read(text, line)
            if len(table.counts) and table.counts.max() > 2:
                at = int(np.argmax(table.counts > 2))
                raise hexadecimal.Rubbish(
                    line + at, f"{table.counts[at]} fields, allowed are 1 and 2"
                )
            _compare(vectors, table, waiting, tally)
        except (hexadecimal.Rubbish, _TooMany) as error:
            trouble = str(error)
            break
        line += len(table.counts)
    if trouble is None and (left := waiting.left()):
        trouble = (
            f"{left}{'' if left < CHUNK else ' or more'} results are missing after {line - 1} lines"
        )
    results = (
        CheckResult("lines", "use", "every line holds a result, or an input and its result",
                    line - 1 + bool(trouble), int(trouble is not None),
                    Failure("read", None, None, trouble) if trouble else None),
        CheckResult(vectors.operation, "case group", "every result is the expected one", tally.tried,
                    tally.failed, tally.failure),
    )  # fmt: skip
    diagnoses = ()
    if tally.failed and tally.seen:
        with np.errstate(all="ignore"):
            diagnoses = diagnose(vectors.behaviour, tally.seen)
    return Report(name, f"{vectors.operation} {vectors.behaviour}", results, diagnoses)


class _TooMany(ValueError):
    pass


class _Waiting:
    """The inputs whose results are still to come, in order."""

    def __init__(self, vectors):
        self.source, self.rest, self.echoed = vectors.inputs(), None, False

    def take(self, count: int) -> np.ndarray:
        """Return the next inputs, so many."""
        parts = []
        while count:
            if self.rest is None or not self.rest.size:
                self.rest = next(self.source, None)
                if self.rest is None:
                    raise _TooMany("there are more results than test vectors")
            parts.append(self.rest[:count])
            self.rest = self.rest[count:]
            count -= parts[-1].size
        return np.concatenate(parts)

    def left(self) -> int:
        """Return how many inputs of the chunk at hand still wait; 0 where inputs were echoed."""
        if self.echoed:
            return 0
        if self.rest is None or not self.rest.size:
            self.rest = next(self.source, None)
        return 0 if self.rest is None else self.rest.size


def _compare(vectors, table, waiting, tally) -> None:
    """Count the results of some lines."""
    fmt = vectors.behaviour.format
    waiting.echoed |= bool((table.counts == 2).any())
    if waiting.echoed:
        if (table.counts != 2).any():
            raise hexadecimal.Rubbish(0, "a mixture of lines with and without inputs")
        bits = table.first
        limit = 4 * vectors.digits[0] if vectors.operation != "decode" else fmt.bits
        if limit < 64 and (bits >> np.uint64(limit)).any():
            raise _TooMany(f"an echoed input has more than {limit} bits")
        if vectors.operation == "decode":
            x = bits.astype(np.min_scalar_type((1 << limit) - 1))
        else:
            x = bits.astype(f"u{np.dtype(vectors.input).itemsize}").view(vectors.input)
    else:
        x = waiting.take(len(table.counts))
    right, got = vectors.results(x), table.last
    same, value = _same(vectors, x, right, got)

    def text(i):
        if vectors.operation == "decode":
            return f"code   0x{int(x[i]):x}\nright  {right[i]!r}\ngot    {value[i]!r}"
        said = explain(vectors.behaviour, x[i : i + 1], float(value[i]))
        return f"{said}\nread   {int(got[i]):x}"

    tally.count(vectors.operation, x, ~same, text)
    if sum(s.x.size for s in tally.seen) < KEPT:
        expected = right.astype(np.float64) if vectors.operation != "encode" else decode(right, fmt)
        tally.seen.append(Seen(vectors.operation, x, expected, value))


def _same(vectors, x, right, got):
    """Return where results (uint64 as read) are right, and the values (float64) they stand for."""
    fmt = vectors.behaviour.format
    with np.errstate(all="ignore"):
        if vectors.operation == "encode":
            inside = got <= np.uint64((1 << fmt.bits) - 1)
            codes = np.where(inside, got, 0).astype(np.min_scalar_type((1 << fmt.bits) - 1))
            value = np.where(inside, decode(codes, fmt), np.nan)
            same = (got == right) | np.isnan(value) & np.isnan(decode(right, fmt))
            return same & inside, value
        dtype = np.dtype(np.float64 if vectors.operation == "decode" else vectors.input)
        width = 8 * dtype.itemsize
        inside = np.ones(got.shape, bool) if width == 64 else (got >> np.uint64(width)) == 0
        value = got.astype(f"u{dtype.itemsize}").view(dtype)
        same = (got == _bits(right)) | np.isnan(value) & np.isnan(right)
        if isinstance(fmt, FloatFormat) and fmt.nan_code is None and vectors.operation != "decode":
            same |= np.isnan(x) & (np.abs(value) == np.abs(right))
        return same & inside, value.astype(np.float64)


def _whole_lines(pieces) -> Iterator[bytes]:
    """Yield text that ends at the end of a line (the last may not), a few chunks at a time."""
    waiting, size = [], 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size < ENOUGH:
            continue
        text = b"".join(waiting)
        cut = text.rfind(b"\n") + 1
        if not cut and size > LONGEST:
            yield text[:40]  # rubbish, and said to be
            return
        if cut:
            yield text[:cut]
        waiting, size = [text[cut:]], len(text) - cut
    if size:
        yield b"".join(waiting)
