"""A report as JUnit XML, as systems of continuous integration read it.

*Source*: the schema that Jenkins and GitLab document: testsuites, testsuite, properties, testcase with classname, name
and time, and in it skipped or failure with message, type and text.
"""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from xml.etree import ElementTree

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report) -> str:
    """Return the report as JUnit XML: a test case for each check, with its time and why it was skipped or failed."""
    counts = {
        "tests": len(report.results),
        "failures": len(report.failures),
        "errors": 0,
        "skipped": sum(bool(result.skipped) for result in report.results),
        "time": f"{sum(result.seconds for result in report.results):.3f}",
    }
    root = _element(None, "testsuites", name="refimpl conform", **counts)
    suite = _element(root, "testsuite", name=f"{report.implementation}: {report.expected}", **counts)
    properties = _element(suite, "properties")
    for name, value in properties_of(report).items():
        _element(properties, "property", name=name, value=value)
    for result in report.results:
        where = f"{report.implementation}.{result.kind}"
        case = _element(suite, "testcase", classname=where, name=result.name, time=f"{result.seconds:.3f}")
        if result.skipped:
            _element(case, "skipped", message=result.skipped)
        elif result.failed:
            message = f"{result.statement}: {result.failed} of {result.tried} cases fail"
            failure = _element(case, "failure", message=message, type=result.kind)
            failure.text = printable(result.failure.explanation) if result.failure else ""
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def properties_of(report) -> dict[str, str]:
    """Return what a reader of a report in an archive wants to know."""
    try:
        own = version("refimpl")
    except PackageNotFoundError:  # run from a folder of its source
        own = "unknown"
    return {
        "implementation": report.implementation,
        "expected": report.expected,
        "verdict": "conforms" if report.passed else "does not conform",
        "diagnosis": report.diagnosis,
        "refimpl": own,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def printable(text: str) -> str:
    """Return text in which what XML and HTML cannot hold is written as its code.

    >>> printable("bell \\x07, half a pair \\ud800")
    'bell \\\\x07, half a pair \\\\ud800'
    """
    return _FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _element(parent, tag: str, **attributes) -> ElementTree.Element:
    said = {name: printable(str(value)) for name, value in attributes.items()}
    return ElementTree.Element(tag, said) if parent is None else ElementTree.SubElement(parent, tag, said)
