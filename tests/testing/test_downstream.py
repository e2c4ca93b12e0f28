"""A project of somebody else's, in a folder of its own, whose tests are `pytest_tests`: README's, and others."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

PROJECT = """
import sys
import numpy as np
import pytest
import refimpl as rf

checked = rf.testing.pytest_tests
ABS = "Abs<Binary4p2se, Binary4p2se, (ToOdd, SatNone)>"


def right(x):
    return rf.quantize(x, "float8_e4m3fn")


def away(x):
    return rf.quantize(x, "float8_e4m3fn", rounding="ties_to_away")


def through_bfloat16(a, b):
    return rf.quantize(rf.quantize(a + b, "bfloat16"), "float8_e4m3fn")


def hangs(x):
    while x.size:
        pass
    return x


class TestMine:
    test_right = staticmethod(checked(right, "float8_e4m3fn", inputs=["float32"]))
    test_away = staticmethod(checked(away, "float8_e4m3fn", inputs=["float32"]))


test_add = checked(lambda a, b: a + b, "float32", op="add", inputs=["float32"])
test_twice = checked(through_bfloat16, "float8_e4m3fn", op="add")
test_blocks = checked(lambda x: x, "mxfp4_e2m1", inputs=["float32"])
test_integers = checked(np.rint, "int8", scale=0.5, inputs=["float32"])
test_product = checked(lambda a, b, c: rf.matmul(a, b, "float8_e5m2", unit="hopper-fp8", initial=c), "float8_e5m2",
                       op="matmul", unit="hopper-fp8")
test_softmax = checked(lambda x: rf.softmax(x, "bfloat16"), "bfloat16", op="softmax")
test_columns = checked(lambda x: rf.softmax(x, "bfloat16", axis=0), "bfloat16", op="softmax")
test_p3109 = checked(rf.p3109.operation(ABS), op=ABS)
test_hangs = checked(hangs, "float8_e4m3fn", inputs=["float32"], time_limit=0.2)


@pytest.fixture(scope="session")
def program():
    return rf.testing.Program(("cat",), "quantize")


@pytest.fixture
def of_today():
    return right


test_program = checked("program", "float32", inputs=["float32"])
test_of_today = checked("of_today", "float8_e4m3fn", inputs=["float32"])
"""


def run(folder: Path, *words: str) -> tuple[str, dict[str, ElementTree.Element]]:
    """Run pytest in a folder; return what it says, and the cases by name."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junit-xml", "report.xml", *words]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600).stdout
    cases = ElementTree.parse(folder / "report.xml").iter("testcase")
    return said, {case.get("name"): case for case in cases}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_mine.py").write_text(PROJECT)
    processes = ["-n", "2"] if importlib.util.find_spec("xdist") else []
    return run(folder, "-v", *processes)


def ended(cases, name: str) -> dict[str, list[str]]:
    """Return the checks of a test by how they ended."""
    found: dict[str, list[str]] = {"passed": [], "failure": [], "skipped": [], "error": []}
    for case, element in cases.items():
        if case.startswith(f"{name}["):
            how = next((kind for kind in found if element.find(kind) is not None), "passed")
            found[how].append(case.removeprefix(f"{name}[").removesuffix("]"))
    return found


def test_each_check_is_a_test_with_its_name(project):
    said, cases = project
    assert "FAILED test_mine.py::TestMine::test_away[ties]" in said
    assert all(re.fullmatch(r"test_\w+\[\w+\]", case) for case in cases)
    assert not [case for case, element in cases.items() if element.find("error") is not None]


def test_what_is_right_passes_as_function_in_a_class_and_from_a_fixture(project):
    _, cases = project
    for name in ("test_right", "test_of_today", "test_add"):
        how = ended(cases, name)
        assert how["failure"] == [] and len(how["passed"]) >= 5, name
    assert {"ties", "monotonicity"} <= set(ended(cases, "test_right")["passed"])


def test_sums_softmax_and_operations_of_p3109_have_tests_too(project):
    _, cases = project
    for name, check in (("test_product", "kept"), ("test_softmax", "gaps"), ("test_p3109", "Abs")):
        assert check in ended(cases, name)["passed"] and ended(cases, name)["failure"] == [], name
    how = ended(cases, "test_columns")
    assert "square" in how["failure"] and how["passed"] == ["all_masked"]


def test_what_is_wrong_fails_where_it_is_wrong(project):
    _, cases = project
    assert "ties" in ended(cases, "test_away")["failure"] and "monotonicity" in ended(cases, "test_away")["passed"]
    assert "exponent_gaps" in ended(cases, "test_twice")["failure"] and "zeros" in ended(cases, "test_twice")["passed"]
    assert "ties" in ended(cases, "test_blocks")["failure"] and "oddness" in ended(cases, "test_blocks")["passed"]
    assert "ties" in ended(cases, "test_integers")["failure"]
    assert ended(cases, "test_program")["failure"] == []  # float32 as it is


def test_a_failure_is_its_explanation_without_a_traceback(project):
    said, cases = project
    text = cases["test_away[ties]"].find("failure").text
    for words in ("input  float32 0x3f880000 = 1.0625 = 17/16", "because it is half way", "diagnosis: consistent with"):
        assert words in text and words in said
    assert "ties_to_away" in text.splitlines()[-1]
    assert "Traceback" not in said and "for_pytest.py" not in said
    text = cases["test_twice[exponent_gaps]"].find("failure").text
    assert "exact  " in text and "bfloat16" in text.splitlines()[-1]


def test_what_cannot_be_tried_is_skipped_with_its_reason(project):
    _, cases = project
    assert cases["test_right[packing]"].find("skipped").get("message") == "float8_e4m3fn has none"
    how = ended(cases, "test_hangs")
    assert 1 <= len(how["failure"]) <= 2  # one in each process
    reasons = {cases[f"test_hangs[{name}]"].find("skipped").get("message") for name in how["skipped"]}
    assert f"not tried: the implementation hangs, as {how['failure'][0]} shows" in reasons


def test_the_example_of_the_readme_is_ten_lines_and_passes(tmp_path):
    (code,) = re.findall(r"^```python\n(# test_mine.py\n.*?)^```$", README, re.M | re.S)
    assert sum(map(bool, code.splitlines())) <= 10
    (tmp_path / "test_mine.py").write_text(code)
    said, cases = run(tmp_path)
    how = ended(cases, "test_mine")
    assert how["failure"] == how["error"] == [] and len(how["passed"]) > 15, said
    (tmp_path / "test_mine.py").write_text(code.replace("+ (bits >> 16 & 1)", "+ 1"))
    _, some = run(tmp_path, "-k", "ties")
    assert sorted(some) == ["test_mine[infinities]", "test_mine[ties]"]
    assert ended(some, "test_mine")["failure"] == ["ties"]
