"""`verify`: compare results that come back on a pipe with the expected ones, and report.

Results stand one per line, in the order of the vectors; or behind their inputs, in any order.  The operands of an
operation are a word each, or joined in one.  Lines of comments and addresses of Verilog's $writememh are passed
over.  In order, a missing or superfluous line shows in the count.  Of echoed inputs an account is kept: each has
to come back once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from refimpl.formats import FloatFormat
from refimpl.testing.checks.checks import Seen, Tally
from refimpl.testing.checks.report import MOST_CASES, CheckResult, Failure, Report, failing_cases
from refimpl.testing.diagnosis.diagnosis import diagnose
from refimpl.testing.expected.behaviour import decode
from refimpl.testing.expected.explain import explain
from refimpl.testing.implementations import hexadecimal
from refimpl.testing.operations.judging import Judged
from refimpl.testing.vectors import operands
from refimpl.testing.vectors.vectors import CHUNK, Vectors, bits_of

KEPT = 20_000  # observations kept for the diagnosis
ENOUGH, LONGEST = 1 << 18, 1 << 20  # bytes: read before looking; a line is never so long
COUNTED_BITS = 24  # inputs of at most that are counted one by one even if all patterns are sent


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
        Rubbish, missing, repeated and superfluous lines are failures of it.

    Notes
    -----
    Echoed inputs are counted one by one, so that one which did not come back is named; of all the
    2^32 patterns of float32 only their number and the sum of a 64-bit hash are kept, by which a set
    of lines with one missing or repeated passes with a probability of 2^-64.

    Examples
    --------
    >>> from refimpl.testing.expected.behaviour import Behaviour
    >>> vectors = Vectors("encode", Behaviour("float8_e4m3fn"), "1")
    >>> verify(vectors, vectors.text()).passed
    True
    >>> verify(vectors, [b"00\\n"]).failures[0].name
    'lines'
    """
    tally: Any = Judged(vectors.arithmetic) if vectors.is_arithmetic else Tally()
    waiting, echoed = _Waiting(vectors), None
    trouble = None
    line = 1
    for text in whole_lines(lines):
        try:
            table = hexadecimal.read(text, line)
            if not len(table.counts):
                continue
            fields = _fields(vectors, table.counts, line)
            if fields > 1 and line == 1:
                echoed = _Echoed(vectors)
            if (fields > 1) != (echoed is not None):
                raise Wrong("a mixture of lines with and without inputs")
            if echoed is None:
                x = waiting.take(len(table.counts))
            else:
                x = echoed.take(_given(vectors, table, fields), line)
            if vectors.is_arithmetic:
                given, random = vectors.arithmetic.split(list(x.T))
                tally.count(vectors.operation, given, table.last, random=random)
            else:
                _compare(vectors, x, table.last, tally)
        except (hexadecimal.Rubbish, Wrong) as error:
            trouble = str(error)
            break
        line += len(table.counts)
    if trouble is None:
        trouble = (waiting if echoed is None else echoed).missing(line - 1)
    results = (
        CheckResult(
            "lines",
            "use",
            "every line holds a result, or an input and its result",
            line - 1 + bool(trouble),
            int(bool(trouble)),
            Failure("read", None, None, trouble) if trouble else None,
        ),
        CheckResult(
            vectors.operation,
            "case group",
            "every result is the expected one",
            tally.tried,
            tally.failed,
            tally.failure,
            more=tally.more,
        ),
    )
    diagnoses: tuple[str, ...] = ()
    description = ""
    if tally.failed and vectors.is_arithmetic:
        diagnoses, description = tally.diagnoses()
        return Report(name, str(vectors.arithmetic), results, diagnoses, description, tuple(tally.cases))
    if tally.failed and tally.seen:
        with np.errstate(all="ignore"):
            diagnoses, description = diagnose(vectors.behaviour, tally.seen)
    expected = vectors.arithmetic if vectors.is_arithmetic else f"{vectors.operation} {vectors.behaviour}"
    cases = () if vectors.is_arithmetic else failing_cases(vectors.behaviour, tally.seen)
    return Report(name, str(expected), results, diagnoses, description, tuple(cases))


class Wrong(ValueError):
    """What is wrong with the lines as a whole."""


def _fields(vectors, counts, line: int) -> int:
    """Return how many fields lines have, all the same."""
    most = len(vectors.arithmetic.words) + 1 if vectors.is_arithmetic else 2
    bad = (counts > 2) & (counts != most)
    if bad.any():
        at = int(np.argmax(bad))
        allowed = "1 and 2" if most == 2 else f"1, 2 and {most}"
        raise Wrong(f"line {line + at} has {counts[at]} fields, allowed are {allowed}")
    if (counts != counts[0]).any():
        raise Wrong("a mixture of lines with and without inputs")
    return int(counts[0])


def _given(vectors, table, fields: int) -> np.ndarray:
    """Return the inputs of lines: their bits, or tuples of codes."""
    if not vectors.is_arithmetic:
        return table.first
    operation = vectors.arithmetic
    if fields == len(operation.words) + 1:
        return table.every.reshape(-1, fields)[:, :-1]
    if sum(operands.digits(operation)) > 16:
        raise Wrong(f"operands of {operation} in one word; write a word for each")
    return operands.unpacked(operation, table.first)


class _Waiting:
    """The inputs whose results are still to come, in order."""

    def __init__(self, vectors):
        self.source, self.rest = vectors.inputs(), None

    def take(self, count: int) -> np.ndarray:
        """Return the next `count` inputs."""
        parts = []
        while count:
            if self.rest is None or not len(self.rest):
                self.rest = next(self.source, None)
                if self.rest is None:
                    raise Wrong("there are more results than test vectors")
            parts.append(self.rest[:count])
            self.rest = self.rest[count:]
            count -= len(parts[-1])
        return np.concatenate(parts)

    def missing(self, lines: int) -> str:
        """Say how many inputs still wait after these lines; nothing if none does."""
        left = 0 if self.rest is None else len(self.rest)
        left = left or next((len(more) for more in self.source), 0)
        return f"{left}{'' if left < CHUNK else ' or more'} results are missing after {lines} lines" * bool(left)


class _Echoed:
    """An account of the inputs that came back: each once, in any order."""

    def __init__(self, vectors):
        self.vectors, self.digits = vectors, vectors.digits[0]
        decoding = vectors.operation == "decode"
        self.width = vectors.behaviour.format.bits if decoding else 4 * self.digits
        self.is_code = decoding
        self.dtype = np.dtype(vectors.input)
        if decoding:
            self.dtype = np.min_scalar_type((1 << self.width) - 1)
        self.known = None  # the inputs as sorted bits, where they are not all patterns
        if vectors.level != "all" or vectors.is_arithmetic:
            chunks = [self._bits(x) for x in vectors.inputs()]
            self.known = np.sort(np.concatenate(chunks))
        size = 1 << self.width if self.known is None else self.known.size
        each = self.known is not None or self.width <= COUNTED_BITS
        self.came: np.ndarray | None = np.zeros(size, np.uint8) if each else None
        self.expected, self.hash = size, 0

    def _bits(self, x: np.ndarray) -> np.ndarray:
        """Return inputs as one number each."""
        if self.vectors.is_arithmetic:
            return operands.packed(self.vectors.arithmetic, x)
        return bits_of(x).astype(np.uint64)

    def take(self, bits: np.ndarray, line: int) -> np.ndarray:
        """Return the inputs of some lines, of which the first has this number."""
        if self.vectors.is_arithmetic:
            tuples = bits
            for column, fmt in zip(tuples.T, self.vectors.arithmetic.words, strict=True):
                if (wrong := column >> np.uint64(fmt.bits) != 0 if fmt.bits < 64 else column < 0).any():
                    raise Wrong(f"line {line + int(np.argmax(wrong))} echoes what is no code of {fmt}")
            assert self.came is not None  # tuples are counted one by one
            self._count(self.came, self._bits(tuples), line, tuples)
            return tuples
        if self.width < 64 and (bits >> np.uint64(self.width)).any():
            raise Wrong(f"an echoed input has more than {self.width} bits")
        if self.came is None:
            self.hash = (self.hash + int(operands.mixed(bits).sum(dtype=np.uint64))) % 2**64
        else:
            self._count(self.came, bits, line)
        if self.is_code:
            return bits.astype(self.dtype)
        return bits.astype(f"u{self.dtype.itemsize}").view(self.dtype)

    def _count(self, came: np.ndarray, bits, line, tuples=None):
        at = bits.astype(np.int64) if self.known is None else np.searchsorted(self.known, bits)
        if self.known is not None:
            at = np.minimum(at, self.known.size - 1)
            strange = self.known[at] != bits
            if strange.any():
                first = int(np.argmax(strange))
                raise Wrong(
                    f"line {line + first} echoes {self._shown(bits[first], tuples, first)}, which is not "
                    "among the test vectors of these options"
                )
        order = np.argsort(at, kind="stable")
        again = np.zeros(at.size, bool)
        again[order[1:]] = at[order[1:]] == at[order[:-1]]
        again |= came[at] > 0
        if again.any():
            first = int(np.argmax(again))
            raise Wrong(f"line {line + first} echoes {self._shown(bits[first], tuples, first)} a second time")
        came[at] = 1

    def missing(self, lines: int) -> str:
        """Say which inputs did not come back; nothing if all did."""
        if self.came is not None:
            left = np.flatnonzero(self.came == 0)
            if not left.size:
                return ""
            first = left[0] if self.known is None else self.known[left[0]]
            if self.vectors.is_arithmetic:
                chunks = ((x, self._bits(x) == first) for x in self.vectors.inputs())
                (row,) = next(x[here] for x, here in chunks if here.any())
                return f"{left.size} inputs did not come back, the first of them {self._shown(first, [row], 0)}"
            return f"{left.size} inputs did not come back, the first of them {self._shown(first)}"
        if lines != self.expected:
            return f"{lines} lines came back for {self.expected} inputs"
        total = 0
        for start in range(0, self.expected, CHUNK * 64):
            part = np.arange(start, min(start + CHUNK * 64, self.expected), dtype=np.uint64)
            total = (total + int(operands.mixed(part).sum(dtype=np.uint64))) % 2**64
        return "" if total == self.hash else "some inputs are missing and as many are repeated"

    def _shown(self, bits, tuples=None, at: int = 0) -> str:
        if tuples is not None:
            digits = operands.digits(self.vectors.arithmetic)
            return "the input " + " ".join(f"{int(c):0{n}x}" for c, n in zip(tuples[at], digits, strict=True))
        return f"the input {int(bits):0{self.digits}x}"


def _compare(vectors, x, got, tally) -> None:
    """Count the results (uint64 as read) of inputs."""
    fmt = vectors.behaviour.format
    right = vectors.results(x)
    same, value = _same(vectors, x, right, got)

    def text(i):
        if vectors.operation == "decode":
            return f"code   0x{int(x[i]):x}\nright  {right[i]!r}\ngot    {value[i]!r}"
        said = explain(vectors.behaviour, x[i : i + 1], float(value[i]))
        return f"{said}\nread   {int(got[i]):x}"

    tally.count(vectors.operation, x, ~same, text)
    kept = np.ones(x.shape, bool) if sum(s.x.size for s in tally.seen) < KEPT else ~same
    if kept.any() and tally.failed < MOST_CASES:
        expected = right.astype(np.float64) if vectors.operation != "encode" else decode(right, fmt)
        tally.seen.append(Seen(vectors.operation, x[kept], expected[kept], value[kept]))


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
        same = (got == bits_of(right)) | np.isnan(value) & np.isnan(right)
        if isinstance(fmt, FloatFormat) and fmt.nan_code is None and vectors.operation != "decode":
            same |= np.isnan(x) & (np.abs(value) == np.abs(right))
        return same & inside, value.astype(np.float64)


def rows_of(pieces, fields: int, what: str, formats, named: Callable = str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield lines of so many words, uint64 (lines, fields), and the number of the first, a few chunks at a time.

    Raises `Wrong` for other lines, and where one of the first words is no code of its format.
    """
    line = 1
    for text in whole_lines(pieces):
        try:
            table = hexadecimal.read(text, line)
        except hexadecimal.Rubbish as rubbish:
            raise Wrong(rubbish) from None
        if (table.counts != fields).any():
            at = int(np.argmax(table.counts != fields))
            raise Wrong(f"line {line + at} has {table.counts[at]} fields; {fields} are needed: {what}")
        rows = table.every.reshape(-1, fields)
        for column, fmt in zip(rows.T, formats, strict=False):
            if fmt.bits < 64 and (column >> np.uint64(fmt.bits)).any():
                at = int(np.argmax(column >> np.uint64(fmt.bits)))
                raise Wrong(f"line {line + at}: {int(column[at]):X} is no code of {named(fmt)}")
        yield line, rows
        line += len(rows)


def whole_lines(pieces) -> Iterator[bytes]:
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
            yield _without_comments(text[:cut])
        waiting, size = [text[cut:]], len(text) - cut
    if size:
        yield _without_comments(b"".join(waiting))


def _without_comments(text: bytes) -> bytes:
    """Return text without lines of comments and addresses, as Verilog's $writememh writes them."""
    if b"//" not in text and b"@" not in text:
        return text
    return re.sub(rb"(?m)^[ \t]*(?://[^\n]*|@[0-9a-fA-F]+)[ \t\r]*(?:\n|\Z)", b"", text)
