"""Specializations of IEEE P3109 under test, of all its operations, those on blocks too, by the standard's names.

    refimpl vectors 'BlockAdd<2, (Binary8p1uf, Binary4p2sf), (Binary8p1uf, Binary4p2sf), Binary8p1uf, Binary4p2sf,
    (NearestTiesToEven, SatFinite)>' | ./mine | refimpl verify ...

A line is the codes of the operands in the standard's order, a word each, B words for the elements of a block, and
those of the result, of a block the scale first.  A truth is 0 or 1, and a class its place in the standard's list.
Every line stands for itself.  Expected results are `refimpl.p3109`'s, which `refimpl.spec.p3109` defines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeGuard

import numpy as np

from refimpl._arguments import message, wrong_kind, wrong_value
from refimpl.ops import p3109
from refimpl.ops.p3109 import Specialization
from refimpl.spec.float_codes import to_float
from refimpl.spec.p3109 import CLASSES, decode
from refimpl.testing.checks.report import MOST_CASES, CheckResult, Failure, Report
from refimpl.testing.expected.explain import shortest
from refimpl.testing.implementations import hexadecimal
from refimpl.testing.implementations.findings import Finding, within
from refimpl.testing.vectors.operands import MOST_BITS, some_codes

ROWS = {"1": 1 << 8, "2": 1 << 12}
RULES: dict[str, Any] = {"format": None, "out_format": None, "rounding": "ties_to_even", "overflow": "overflow"}
RULES |= {"nan": "zero", "random_bits": None, "testfloat": False}  # what they are if they were not given


class Asked:
    """A specialization whose operands and results are tables of words, a row for a case.

    >>> Asked("Exp2<Binary4p2sf, Binary4p2sf, (NearestTiesToEven, SatFinite)>").expected(np.array([[4]])).tolist()
    [[6]]
    """

    def __init__(self, text: str | Specialization):
        self.of = p3109.operation(text) if isinstance(text, str) else text
        operands, formats = self.of.operands, self.of.formats
        if not operands:
            raise wrong_value("vectors", "operation", str(self.of), "an operation that has operands")
        if any(p.rounding.startswith("stochastic") for p in self.of.parameters if isinstance(p, p3109.Rho)):
            raise wrong_value("vectors", "operation", str(self.of), "a deterministic rounding mode")
        size = self.of.parameters[0] if isinstance(self.of.parameters[0], int) else 0
        self.shapes = [(size,) if size and name[0] != "s" else () for name in operands]
        self.formats = list(formats[: len(operands)])
        self.words = [fmt for fmt, shape in zip(self.formats, self.shapes, strict=True) for _ in range(*shape or (1,))]

    def given(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the operands (n,), or (n, B), of rows of words."""
        found, at = [], 0
        for shape, fmt in zip(self.shapes, self.formats, strict=True):
            count = shape[0] if shape else 1
            column = rows[:, at : at + count].astype(np.min_scalar_type((1 << fmt.bits) - 1))
            found.append(column.reshape(len(rows), *shape))
            at += count
        return found

    def joined(self, found: Any, count: int) -> np.ndarray:
        """Return results as rows of words."""
        parts = [np.asarray(part) for part in (found if isinstance(found, tuple) else (found,))]
        if parts[0].dtype.kind in "UO":
            parts = [np.array([CLASSES.index(name) if name in CLASSES else 15 for name in parts[0].tolist()])]
        if any(part.dtype.kind not in "uib" for part in parts):
            raise Finding(f"returned {', '.join(p.dtype.name for p in parts)}; results are codes", about_input=False)
        try:
            return np.concatenate([part.reshape(count, -1).astype(np.uint64) for part in parts], axis=1)
        except ValueError:
            raise Finding(f"returned shapes {[p.shape for p in parts]} for {count} cases", about_input=False) from None

    def expected(self, rows: np.ndarray) -> np.ndarray:
        """Return the results (n, words) of rows of words."""
        return self.joined(self.of(*self.given(rows)), len(rows))

    def result_bits(self, count: int) -> list[int]:
        """Return the widths of the words of a result of so many."""
        into = self.of.formats[-1]
        if self.of.name in p3109.NOT_PROJECTED:
            return [1 if self.of.name != "Class" else 3]
        scale = [fmt.bits for fmt in self.of.formats[-2:-1]] * self.of.gives_block
        return [*scale, *[into.bits] * (count - len(scale))]

    def rows(self, level: str) -> Iterator[np.ndarray]:
        """Yield rows of words: all of them, or chosen codes and random ones, no row twice."""
        bits = [fmt.bits for fmt in self.words]
        if level == "all":
            if sum(bits) > MOST_BITS:
                raise wrong_value("vectors", "width of the operands", sum(bits), f"at most {MOST_BITS} bits for all")
            every = np.arange(1 << sum(bits), dtype=np.uint64)
            shifts = [np.uint64(sum(bits[k + 1 :])) for k in range(len(bits))]
            yield np.stack([every >> s & np.uint64((1 << b) - 1) for s, b in zip(shifts, bits, strict=True)], axis=1)
            return
        rng = np.random.default_rng(0)
        yield np.unique(
            np.stack([rng.choice(some_codes(fmt, 256, rng), ROWS[level]) for fmt in self.words], axis=1), axis=0
        )

    def lines(self, level: str, *, inputs: bool = True, results: bool = True) -> Iterator[bytes]:
        """Yield the lines of a level."""
        for rows in self.rows(level):
            found = self.expected(rows)
            columns, bits = list(rows.T) * inputs, [fmt.bits for fmt in self.words] * inputs
            columns += list(found.T) * results
            bits += self.result_bits(found.shape[1]) * results
            yield hexadecimal.lines(columns, [-(-b // 4) for b in bits])

    def compared(self, rows: np.ndarray, got: np.ndarray, name: str) -> Report:
        """Return the report of results (n, words) of rows."""
        right = self.expected(rows)
        bad = (right != got).any(axis=1)
        failure = None
        if bad.any():
            first = int(np.argmax(bad))
            failure = Failure(self.of.name, None, None, self._said(rows[first], right[first], got[first]))
        wrong = np.flatnonzero(bad)[:MOST_CASES]
        cases = [
            {"check": self.of.name, "input": _hex(rows[i]), "right": _hex(right[i]), "got": _hex(got[i])} for i in wrong
        ]
        result = CheckResult(
            self.of.name, "case group", "every result is the defined one", len(rows), int(bad.sum()), failure
        )
        return Report(name, str(self.of), (result,), (), "", tuple(cases))

    def _said(self, row, right, got) -> str:
        """Return operands, the right result and what was got, as lines."""
        lines, at = [], 0
        for name, shape, fmt in zip(self.of.operands, self.shapes, self.formats, strict=True):
            count = shape[0] if shape else 1
            lines.append(f"{name:<6} {_valued(row[at : at + count], [fmt] * count)}")
            at += count
        into = self.of.formats[-1]
        told = self.of.name in p3109.NOT_PROJECTED
        scale = [*self.of.formats[-2:-1]] * self.of.gives_block
        formats = [None if told else fmt for fmt in [*scale, *[into] * (len(right) - len(scale))]]
        return "\n".join([*lines, f"right  {_valued(right, formats)}", f"got    {_valued(got, formats)}"])


def _hex(words) -> str:
    return " ".join(f"{int(word):x}" for word in words)


def _valued(words, formats) -> str:
    """Return words, and what they stand for where they are codes."""

    def one(word: int, fmt) -> str:
        value = "" if fmt is None or word >> fmt.bits else f" = {shortest(to_float(decode(word, fmt, True)))}"
        return f"0x{word:x}{value}"

    return ", ".join(one(int(word), fmt) for word, fmt in zip(words, formats, strict=True))


def conform_specialization(implementation: Callable, text: str | Specialization, time_limit: float = 10.0) -> Report:
    """Hold a function of codes, called as `refimpl.p3109` calls its own, to a specialization."""
    asked = Asked(text)
    if not callable(implementation):
        raise wrong_kind(
            "conform", "implementation", implementation, "a function of codes", "refimpl verify reads lines"
        )
    every = next(asked.rows("all" if sum(fmt.bits for fmt in asked.words) <= 16 else "2"))
    name = getattr(implementation, "__name__", type(implementation).__name__)

    def function(*operands):
        return asked.joined(implementation(*operands), len(every))

    try:
        got = within(time_limit, function, tuple(asked.given(every)))
        needed = asked.expected(every[:1]).shape[1]
        if got.shape[1] != needed:
            raise Finding(f"returned {got.shape[1]} words a case; {needed} are needed", about_input=False)
    except Finding as found:
        failure = Failure(asked.of.name, None, None, f"{asked.of.name} {found.text}")
        return Report(
            name, str(asked.of), (CheckResult(asked.of.name, "use", "it answers", 1, 1, failure),), (), found.text
        )
    return asked.compared(every, got, name)


def verify_lines(text: str | Specialization, pieces: Iterable[bytes], *, name: str = "standard input") -> Report:
    """Check lines of operands and results, each by itself."""
    from refimpl.testing.vectors.verification import Wrong, rows_of

    asked, rows, trouble = Asked(text), [], ""
    words = len(asked.words)
    needed = words + asked.expected(np.zeros((1, words), np.uint64)).shape[1]
    try:
        for _, table in rows_of(pieces, needed, "operands and result", asked.words, p3109.name_of):
            rows.append(table)
    except Wrong as wrong:
        trouble = str(wrong)
    every = np.concatenate(rows) if rows else np.empty((0, needed), np.uint64)
    trouble = trouble or ("" if len(every) else "there are no lines")
    if trouble:
        failure = Failure("read", None, None, trouble)
        result = CheckResult("lines", "use", "every line holds operands and a result", len(every) + 1, 1, failure)
        return Report(name, str(asked.of), (result,))
    return asked.compared(every[:, :words], every[:, words:], name)


def is_one(operation: Any) -> TypeGuard[str | Specialization]:
    """Tell whether an operation is a specialization, by its text.

    >>> is_one("Add<Binary8p4se, Binary8p4se, Binary8p4se, (ToOdd, SatNone)>"), is_one("<=")
    (True, False)
    """
    return isinstance(operation, Specialization) or (
        isinstance(operation, str) and operation.strip()[:1].isalpha() and "<" in operation
    )


def check_rules(caller: str, given: dict[str, Any]) -> None:
    """Refuse formats and rules beside a specialization, which names its own."""
    for name, default in RULES.items():
        if (got := given.get(name, default)) != default:
            raise ValueError(message(caller, name, str(got), f"{default}: a specialization names its own"))
