"""What `conform` found: as an object, as text, as JSON; `junit` and `page` write it as files of their kinds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from refimpl._display import Shown
from refimpl._files import writing

MOST_CASES = 100_000  # failing cases that a report keeps


@dataclass(frozen=True)
class Failure:
    """One case that fails, the smallest of its check.

    `input` is its bits in hexadecimal, or None where no input is to blame; `dtype` that of the
    input; `route` the function asked; `explanation` a few lines.

    Examples
    --------
    >>> import numpy as np, refimpl as rf
    >>> print(rf.testing.conform(np.trunc, "int8").failures[0].failure)
    input  float32 0x3fc00000 = 1.5 = 3/2
    below  1
    above  2
    right  2  because it is half way, and ties_to_even takes the even code
    got    1
    """

    route: str
    dtype: str | None
    input: str | None
    explanation: str

    def __str__(self) -> str:
        return self.explanation


@dataclass(frozen=True)
class CheckResult:
    """What one case group or law came to.

    `kind` is ``case group``, ``law`` or ``use``; `tried` and `failed` count cases; `failure` is the simplest that
    fails, `more` are others, the simplest first, not all where there are many; `skipped` says why nothing was
    tried; `seconds` what it took.

    Examples
    --------
    >>> import numpy as np, refimpl as rf
    >>> result = rf.testing.conform(np.trunc, "int8").failures[0]
    >>> result.name, result.kind, result.tried > result.failed > 0
    ('ties', 'case group', True)
    """

    name: str
    kind: str
    statement: str
    tried: int = 0
    failed: int = 0
    failure: Failure | None = None
    skipped: str | None = None
    more: tuple[Failure, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.skipped:
            return f"  -     {self.name:<26} {self.skipped}"
        mark = "FAIL" if self.failed else "ok"
        count = f"{self.failed} of {self.tried} fail" if self.failed else f"{self.tried} cases"
        return f"  {mark:<5} {self.name:<26} {count}"


@dataclass(frozen=True, repr=False)
class Report(Shown):
    """The result of `conform`.

    `passed`; `failures` (the results that failed); `diagnosis` (one sentence, empty if passed) and
    `diagnoses` (every single defect that explains all that was seen); `results` (all of them);
    ``str()`` is the report as text.

    Examples
    --------
    >>> import numpy as np, refimpl as rf
    >>> report = rf.testing.conform(np.rint, "int8", overflow="saturate")
    >>> report.passed, [result.name for result in report.failures][:2]
    (False, ['overflow_boundary', 'far_overflow'])
    """

    implementation: str
    expected: str
    results: tuple[CheckResult, ...]
    diagnoses: tuple[str, ...] = ()
    hint: str = ""
    cases: tuple[dict[str, str], ...] = ()

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The case groups and laws that failed."""
        return tuple(result for result in self.results if result.failed)

    @property
    def passed(self) -> bool:
        """Whether something was tried and nothing failed."""
        return not self.failures and any(result.tried for result in self.results)

    @property
    def exit_status(self) -> int:
        """0 if passed, else 1."""
        return 0 if self.passed else 1

    @property
    def diagnosis(self) -> str:
        """One sentence that explains everything that was seen, as far as one is known."""
        known = "consistent with: " + "; or: ".join(self.diagnoses) if self.diagnoses else ""
        return "; ".join(filter(None, (known, self.hint)))

    def _shown(self):
        tried = sum(result.tried for result in self.results)
        verdict = "conforms" if self.passed else "does NOT conform"
        line = f"{self.implementation} {verdict} to {self.expected}: {tried} cases"
        rows = [
            (r.name, r.skipped or ("FAIL" if r.failed else "ok"), r.tried, r.failed, r.statement) for r in self.results
        ]
        said = f"diagnosis: {self.diagnosis}" if self.diagnosis else ""
        return "\n".join(filter(None, (line, said))), ("check", "", "cases", "fail", "which is"), rows

    def __str__(self) -> str:
        lines = self._shown()[0].splitlines()[:1]
        for kind in ("use", "case group", "law"):
            of_kind = [str(r) for r in self.results if r.kind == kind]
            lines += [f"{kind}s", *of_kind] if of_kind else []
        for result in self.failures:
            lines += ["", f"{result.name}: {result.statement}"]
            if result.failure:
                lines += ["  " + line for line in result.failure.explanation.splitlines()]
        if self.diagnosis:
            lines += ["", f"diagnosis: {self.diagnosis}"]
        return "\n".join(lines)

    def to_json(self, *, most: int | None = None) -> str:
        """Return the report as JSON, with at most some of the failing cases (default: those that are kept)."""
        return json.dumps(
            {
                "implementation": self.implementation,
                "expected": self.expected,
                "passed": self.passed,
                "diagnosis": self.diagnosis,
                "diagnoses": list(self.diagnoses),
                "results": [_plain(result) for result in self.results],
                "cases": list(self.cases[:most]),
            },
            indent=1,
        )

    def to_junit(self) -> str:
        """Return the report as JUnit XML: one test case per case group and law."""
        from refimpl.testing.checks.junit import junit

        return junit(self)

    def to_html(self) -> str:
        """Return the report as a page that needs nothing else: verdict, diagnosis, cases on the number line, checks."""
        from refimpl.testing.checks.page import page

        return page(self)

    def save_html(self, path) -> None:
        """Write `to_html` to a file, whole or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with writing(path, text=True) as file:
            file.write(self.to_html())

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the page without its frame."""
        from refimpl.testing.checks.page import body

        return body(self)


def _plain(result: CheckResult) -> dict:
    """Return a result as plain data, without other failures than the first: the report's `cases` are all of them."""
    return {name: value for name, value in asdict(result).items() if name != "more"}


def failing_cases(behaviour, seen) -> list[dict[str, str]]:
    """Return what failed among observations (route, inputs, expected, got), as plain data."""
    found: list[dict[str, str]] = []
    with np.errstate(all="ignore"):
        for s in seen:
            bad = ~behaviour.same(s.x.astype(np.float64), s.expected, s.got)
            for i in np.flatnonzero(bad)[: MOST_CASES - len(found)]:
                bits = s.x.reshape(-1)[i : i + 1].view(f"u{s.x.dtype.itemsize}")[0]
                given = f"{bits:0{2 * s.x.dtype.itemsize}x}"
                case = {"check": s.route, "input": given}
                if s.x.ndim > 1:
                    case["place"] = ", ".join(map(str, map(int, np.unravel_index(i, s.x.shape))))
                found.append(case | {"right": str(s.expected.flat[i]), "got": str(s.got.flat[i])})
    return found
