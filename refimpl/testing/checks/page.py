"""A report as one page of HTML that needs nothing beside itself: no script, no network; light or dark.

Diagnosis first, then the simplest failing case of each check on the number line and in bits, then all checks, then
the failing cases in a table that unfolds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from html import escape

from refimpl.plots.case import Mark, case_on_line
from refimpl.testing.checks.junit import printable, properties_of

MARKS = ("input", "exact", "is", "below", "above", "right", "got")
MOST = 500  # rows of the table of failing cases
SHOWN = 6  # checks whose simplest failing case is drawn; the others are in the table
ENDS = re.compile(r"  because |  \(|, which is not ")

STYLE = """
:root { color-scheme: light dark; }
.refimpl { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: auto; }
.refimpl h1 { font-size: 1.5rem; margin: 0.2em 0; } .refimpl h2 { font-size: 1.1rem; margin: 1.6em 0 0.4em; }
.refimpl .verdict { display: inline-block; padding: 0 0.6em; border-radius: 0.3em; color: white; }
.refimpl .ok { background: #1f7a38; } .refimpl .bad { background: #b3261e; }
.refimpl .diagnosis { border-left: 0.3em solid #b3261e; padding: 0.4em 1em; margin: 1em 0; font-size: 1.1rem; }
.refimpl pre { overflow-x: auto; padding: 0.6em 1em; background: #8881; border-radius: 0.3em; white-space: pre-wrap; }
.refimpl table { border-collapse: collapse; width: 100%; } .refimpl summary { cursor: pointer; }
.refimpl th, .refimpl td { text-align: left; vertical-align: top; padding: 0.15em 0.6em; border-top: 1px solid #8884; }
.refimpl td { overflow-wrap: anywhere; } .refimpl td:first-child, .refimpl td.fail { white-space: nowrap; }
.refimpl td.n { text-align: right; font-variant-numeric: tabular-nums; }
.refimpl td.fail { color: #d43d3d; font-weight: bold; } .refimpl .wide { overflow-x: auto; }
.refimpl .small { opacity: 0.75; font-size: 0.9em; } .refimpl svg { display: block; margin: 0.6em 0; }
"""


def page(report) -> str:
    """Return the report as a whole page."""
    title = _escaped(f"{report.implementation}: {report.expected}")
    view = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f"<head>{view}<title>{title}</title></head>"
    return f'<!doctype html>\n<html lang="en">{head}\n<body>{body(report)}</body></html>\n'


def body(report) -> str:
    """Return the report as a piece of a page."""
    tried = sum(result.tried for result in report.results)
    verdict, mark = ("conforms", "ok") if report.passed else ("does not conform", "bad")
    skipped = sum(bool(result.skipped) for result in report.results)
    parts = [
        f"<style>{STYLE}</style>",
        f'<h1>{_escaped(report.implementation)} <span class="verdict {mark}">{verdict}</span></h1>',
        f"<p>to {_escaped(report.expected)}: {tried} cases in {len(report.results) - skipped} checks, of which "
        f"{len(report.failures)} fail; {skipped} checks do not apply.</p>",
    ]
    if report.diagnosis:
        parts.append(f'<p class="diagnosis">{_escaped(report.diagnosis)}</p>')
    for result in _telling(report.failures)[:SHOWN]:
        parts.append(f"<h2>{_escaped(result.name)}: {_escaped(result.statement)}</h2>")
        parts.append(f"<p>{result.failed} of {result.tried} cases fail. The simplest:</p>")
        parts += [drawn(result.failure.explanation), f"<pre>{_escaped(result.failure.explanation)}</pre>"]
    parts += ["<h2>All checks</h2>", _table(("check", "", "cases", "fail", "seconds", "which is"), _checks(report))]
    if report.failures:
        failing = list(_cases(report))
        of = sum(result.failed for result in report.failures)
        parts.append(f"<details><summary>Failing cases: {len(failing)} of {of}</summary>")
        parts += [_table(("check", "function", "input", "right", "got"), failing), "</details>"]
    known = "; ".join(f"{name} {value}" for name, value in list(properties_of(report).items())[4:])
    parts.append(f'<p class="small">{_escaped(known)}</p>')
    return f'<div class="refimpl">{"".join(parts)}</div>'


def _telling(failures):
    """Return those that show something new: not the same words for another input."""
    said: dict = {}
    for result in failures:
        if result.failure:
            said.setdefault(result.failure.explanation.partition("\n")[0], result)
    return list(said.values())


def drawn(explanation: str) -> str:
    """Return the picture of a case; nothing where its explanation tells no right number and no got."""
    told = dict(told_by(explanation))
    if not {"right", "got"} <= told.keys():
        return ""
    if "is" in told:
        told["below"] = told.pop("is")
    numbers = [(name, _number(told[name]), _short(told[name])) for name in MARKS if name in told]
    return case_on_line([Mark(name, number, text) for name, number, text in numbers if number is not None])


def told_by(explanation: str) -> Iterable[tuple[str, str]]:
    """Yield name and text of the lines of an explanation that begin with a name.

    >>> dict(told_by("input  float32 = 1.5\\nso it is\\nright  2  because it is"))
    {'input': 'float32 = 1.5', 'right': '2'}
    """
    for line in explanation.splitlines():
        name, _, text = line.partition(" ")
        if name in MARKS and text.startswith(" "):
            yield name, ENDS.split(text.strip())[0]


def _number(text: str) -> Fraction | float | None:
    """Return the number a line ends in, None if in none: the last that is written in full."""
    for part in reversed(text.split(" = ")):
        try:
            return Fraction(part)
        except ValueError:
            pass
        if part in ("inf", "-inf", "nan"):
            return float(part)
    return None


def _short(text: str) -> str:
    """Return a line without the dtype and without what is exact where the number is short."""
    parts = re.sub(r"^(float\d+ \S+|float\d+) = ", "", text).split(" = ")
    code = f"{parts[0]} = " * (len(parts) > 1 and parts[0].startswith("0x") and len(parts[0]) < 48)
    numbers = [part for part in parts if _number(part) is not None]
    return code + (numbers[0] if numbers else parts[-1])


def _checks(report):
    for result in report.results:
        verdict = result.skipped or ("FAIL" if result.failed else "ok")
        yield result.name, verdict, result.tried, result.failed, f"{result.seconds:.2f}", result.statement


def _cases(report):
    if report.cases and not any(result.more for result in report.failures):  # of operations: as plain data
        for case in report.cases[:MOST]:
            yield case["check"], "", case["input"], case["right"], case["got"]
        return
    for result in report.failures:
        for failure in filter(None, (result.failure, *result.more)):
            told = dict(told_by(failure.explanation))
            bits = f"{failure.dtype} 0x{failure.input}" if failure.input else ""
            value = told.get("input") or told.get("exact") or ""
            given = value if value.startswith(bits) else f"{bits} {value}"
            if not told:
                given = f"{bits} {failure.explanation}"
            yield result.name, failure.route, given, told.get("right", ""), told.get("got", "")


def _table(heads, rows) -> str:
    def cell(text):
        kind = "fail" if text == "FAIL" else "n" if isinstance(text, int) else ""
        told = f' class="{kind}"' * bool(kind)
        return f"<td{told}>{_escaped(str(text))}</td>"

    lines = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{"".join(f"<th>{h}</th>" for h in heads)}</tr>{lines}</table></div>'


def _escaped(text: str) -> str:
    return escape(printable(text))
