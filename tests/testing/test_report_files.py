"""A report as JUnit XML and as a page: what they say, that they are well formed, and that nothing in them is obeyed."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

import refimpl as rf
from refimpl.plots.case import Mark, case_on_line
from refimpl.testing.checks.page import drawn

T = rf.testing


def halves_up(x):
    """Round to integers, halves up."""
    return np.clip(np.floor(x + 0.5), -128, 127)


class Hostile:
    """What says things that a reader of XML, HTML or a terminal might obey."""

    __name__ = "<script>alert(1)</script>\"\x07\ud800&'--><!--"

    def __call__(self, x):
        raise ValueError("</pre><script>alert(2)</script>\x00\x1b[2J]]>\uffff")


@pytest.fixture(scope="module")
def wrong():
    return T.conform(halves_up, "int8")


@pytest.fixture(scope="module")
def hostile():
    return T.conform(Hostile(), "float8_e4m3fn", inputs="float32")


class Tags(HTMLParser):
    """The tags of a page, closed in order, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "line", "circle"):
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_junit_has_a_case_for_each_check(wrong):
    (suite,) = ElementTree.fromstring(wrong.to_junit())
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [result.name for result in wrong.results]
    count = {kind: len(suite.findall(f"testcase/{kind}")) for kind in ("failure", "skipped")}
    assert suite.get("tests") == str(len(cases)) and suite.get("errors") == "0"
    assert (suite.get("failures"), suite.get("skipped")) == (str(count["failure"]), str(count["skipped"]))
    assert count["failure"] == len(wrong.failures) > 0
    for case, result in zip(cases, wrong.results, strict=True):
        assert case.get("classname") == f"halves_up.{result.kind}"
        assert float(case.get("time")) >= 0
        assert (case.find("skipped") is not None) == bool(result.skipped)
        if result.skipped:
            assert case.find("skipped").get("message") == result.skipped
        if result.failed:
            failure = case.find("failure")
            assert failure.text == result.failure.explanation
            assert failure.get("message").endswith(f"{result.failed} of {result.tried} cases fail")
    assert sum(float(case.get("time")) for case in cases) > 0


def test_junit_says_what_was_judged(wrong):
    properties = ElementTree.fromstring(wrong.to_junit()).findall(".//property")
    said = {one.get("name"): one.get("value") for one in properties}
    assert said["verdict"] == "does not conform" and said["expected"] == "int8, ties_to_even"
    assert said["diagnosis"] == wrong.diagnosis and {"refimpl", "python"} <= said.keys()


def test_what_is_hostile_is_written_and_not_obeyed(hostile):
    (suite,) = ElementTree.fromstring(hostile.to_junit())
    assert suite.get("name").startswith(r"""<script>alert(1)</script>"\x07\ud800&'--><!--:""")
    assert r"<script>alert(2)</script>\x00\x1b[2J]]>\uffff" in suite.find("testcase/failure").text
    page = Tags(hostile.to_html())
    assert "script" not in [tag for tag, _ in page.tags] and "<!--" not in hostile.to_html()
    assert r"<script>alert(1)</script>" in "".join(page.text)
    hostile.to_html().encode()


def test_a_page_needs_nothing_beside_itself(wrong, hostile):
    for report in (wrong, hostile):
        page = Tags(report.to_html())
        assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object", "base"})
        given = [name for _, attributes in page.tags for name in attributes]
        assert not any(name.startswith("on") or name in ("src", "href") for name in given)
        assert not re.search(r"url\(|@import|https?:", report.to_html())


def test_a_page_begins_with_verdict_and_diagnosis(wrong):
    text = "".join(Tags(wrong.to_html()).text)
    places = [text.index(words) for words in ("does not conform", wrong.diagnosis, "input  float", "All checks")]
    assert places == sorted(places)
    assert text.index("Failing cases") > text.index("All checks")
    right = T.conform(lambda x: rf.quantize(x, "float8_e8m0fnu"), "float8_e8m0fnu").to_html()
    assert '<span class="verdict ok">conforms</span>' in right and "Failing cases" not in right


def test_the_failing_cases_are_bounded_distinct_and_the_simplest_first(wrong):
    for result in wrong.failures:
        every = [result.failure, *result.more]
        assert len(every) <= min(20, result.failed)
        assert len({failure.explanation for failure in every}) == len(every)
    ties = next(result for result in wrong.failures if result.name == "ties")
    assert "= 0.5" in ties.failure.explanation.splitlines()[0] and len(ties.more) == 19
    rows = wrong.to_html().partition("<details>")[2].count("<tr>") - 1
    assert rows == sum(1 + len(result.more) for result in wrong.failures)
    results = {result["name"]: result for result in json.loads(wrong.to_json())["results"]}
    assert "more" not in results["ties"]  # `cases` lists them


# -- the picture -----------------------------------------------------------------------------------


def places(svg: str):
    """Return where circle (right), cross (got), triangle (input) stand."""
    found = {}
    for name, pattern in (
        ("right", r'<circle cx="([\d.]+)"'),
        ("got", r'<path d="M([\d.]+) [\d.]+l12 12'),
        ("input", r'<path d="M([\d.]+) [\d.]+h12'),
    ):
        for x in re.findall(pattern, svg):
            found[name] = float(x) + (0 if name == "right" else 6)
    return found


def explained(fmt, x, got, **rules):
    return T.explain(T.Behaviour(fmt, **rules), np.array([x], np.float32), got)


def test_a_tie_stands_in_the_middle_of_its_neighbours():
    at = places(drawn(explained("float8_e4m3fn", 1.0625, 1.125)))
    assert at["right"] < at["input"] < at["got"]
    assert at["input"] - at["right"] == pytest.approx(at["got"] - at["input"], abs=0.2)


def test_a_quarter_of_the_way_is_drawn_as_one():
    at = places(drawn(explained("bfloat16", -1.001953125, -1.0078125)))
    assert (at["right"] - at["input"]) * 3 == pytest.approx(at["input"] - at["got"], abs=0.5)


def test_zeros_of_two_signs_are_told_apart():
    svg = drawn(explained("float8_e4m3fn", -0.0, 0.0))
    assert "right 0x80  1 0000 000 = -0" in svg and "got 0x00  0 0000 000 = 0" in svg


def test_what_is_far_off_is_drawn_at_the_end_and_said_to_be():
    svg = drawn(explained("float8_e4m3fn", 1.0625, -448.0))
    assert places(svg)["got"] == 40 and "-448 (far off, not to scale)" in svg
    assert "far off" not in drawn(explained("float8_e4m3fn", 1.0625, 1.125))


def test_what_is_no_number_is_said_under_the_line():
    svg = drawn(explained("float8_e4m3fn", 464.0, np.nan))
    assert "got 0x7f  0 1111 111 = nan, which has no place on the line" in svg and "got" not in places(svg)
    assert "right" in places(svg)


@pytest.mark.parametrize("x", [np.inf, -np.inf, np.nan, 3e38, 1e-45, 0.0])
@pytest.mark.parametrize("fmt", ["float8_e4m3fn", "float8_e5m2", "posit8_2", "int8", "float8_e8m0fnu", "float32"])
def test_every_case_can_be_drawn(fmt, x):
    for got in (np.nan, np.inf, 0.0, 1.5):
        ElementTree.fromstring(drawn(explained(fmt, x, got)))


def test_labels_of_a_row_do_not_overlap():
    marks = [Mark("below", 1.0, "0x3f80  0 01111111 0000000 = 1"), Mark("above", 2.0, "2"), Mark("input", 1.5, "1.5")]
    svg = case_on_line([*marks, Mark("right", 1.1, "1.1"), Mark("got", 1.2, "0x3f80  0 01111111 0000001 = 1.2")])
    rows = {}
    for x, y, text in re.findall(r'<text x="([\d.]+)" y="(\d+)"[^>]*>([^<]*)<', svg):
        rows.setdefault(y, []).append((float(x) - 3.3 * len(text), float(x) + 3.3 * len(text)))
    for row in rows.values():
        row.sort()
        assert all(left[1] <= right[0] for left, right in zip(row[:-1], row[1:], strict=True))


def test_an_operation_is_drawn_by_its_exact_result():
    def adder(a, b):
        return rf.quantize(rf.quantize(a + b, "bfloat16"), "float8_e4m3fn")

    report = T.conform(adder, "float8_e4m3fn", op="add")
    page = report.to_html()
    at = places(drawn(report.failures[-1].failure.explanation))
    assert set(at) == {"input", "right", "got"} and at["right"] != at["got"]  # the exact result as the input
    rows = page.partition("<details>")[2].count("<tr>") - 1
    assert rows == min(500, len(report.cases)) > 0


# -- the command -----------------------------------------------------------------------------------


def test_the_command_writes_both(run, tmp_path):
    page, xml = tmp_path / "new" / "report.html", tmp_path / "report.xml"
    status, said, _ = run("conform numpy.trunc int8 --inputs float32 --html", page, "--junit", xml, "--json")
    assert status == 1 and json.loads(said)["diagnosis"] in page.read_text()
    assert ElementTree.parse(xml).getroot().tag == "testsuites"
    refused = run("conform numpy.trunc int8 --html", tmp_path)
    assert refused[0] == 2 and str(tmp_path) in refused[2]


def test_what_an_implementation_prints_is_no_part_of_the_report(run, tmp_path, monkeypatch):
    (tmp_path / "talks.py").write_text("def talks(x):\n    print('hello')\n    return x\n")
    monkeypatch.chdir(tmp_path)
    status, said, errors = run("conform talks.talks int8 --inputs float32 --json")
    assert status == 1 and json.loads(said)["passed"] is False and "hello\n" in errors


def test_a_block_quantizer_that_raises_is_a_finding():
    def raises(x):
        raise RuntimeError("no blocks today")

    report = T.conform(raises, "mxfp4_e2m1", inputs="float32")
    assert "no blocks today\nfor a row that begins" in report.results[0].failure.explanation
