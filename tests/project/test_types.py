"""What readers type is typed: README's examples, formats by their names, and the package itself."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from refimpl import formats
from refimpl.formats import blocks, codebooks, floats, integers, posits
from refimpl.formats.names import FloatAlias

ROOT = Path(__file__).parents[2]
USES = """
import numpy as np
import refimpl as rf
from refimpl.formats import BlockFormat, CodeBook, FloatFormat, IntFormat, PositFormat

single: FloatFormat = rf.format("e4m3fn")
posit: PositFormat = rf.format("posit8_2")
integer: IntFormat = rf.format("int8")
block: BlockFormat = rf.format("mxfp4")
book: CodeBook = rf.format("nf4")
same: FloatFormat = rf.format(single)
rf.decode(np.array([1, 2], np.uint8), rf.format("e5m2"), dtype=np.float32)
rf.quantize([1.0], rf.format("binary8p3se"), rounding="to_odd", overflow="propagate", nan="max")
rf.add([1.0], 2.0, single, rounding="stochastic", seed=1)
rf.sum([1.0], posit, order="exact")
rf.compare(1.0, 2.0, single, "<=")
bias: int = single.bias
"""
MISUSES = """
import refimpl as rf
rf.quantize([1.0], "e4m3fn", rounding="nearest")
rf.quantize([1.0], "e4m3fn", overflow="clip")
rf.add(1.0, 2.0, "e4m3fn", nan="keep")
rf.add(1.0, 2.0, "e4m3fn", rouding="to_odd")
rf.sum([1.0], "e4m3fn", order="backwards")
rf.compare(1.0, 2.0, "e4m3fn", "lt")
rf.quantize_blocks([1.0], "mxfp4", scale_rule="round")
rf.format("int8").exponent_bits
rf.quantize([1.0], rf.format("mxfp4"))
"""


def mypy(*arguments) -> str:
    """Return what mypy prints of errors, under the package's settings."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return "\n".join(line for line in done.stdout.splitlines() if ": error:" in line) or done.stderr


def snippets(text: str) -> str:
    """Return the code of the doctest blocks of a Markdown file."""
    lines = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S)).splitlines()
    return "\n".join(line[4:] for line in lines if line.startswith((">>> ", "... "))) + "\n"


def test_examples_type_check_and_misuses_do_not(tmp_path):
    pages = [ROOT / "README.md", *sorted((ROOT / "tutorials/guides").glob("*.md"))]
    files = {f"page_{path.stem}": snippets(path.read_text(encoding="utf-8")) for path in pages}
    files |= {"uses": USES, "misuses": MISUSES}
    for name, code in files.items():
        (tmp_path / f"{name}.py").write_text(code)
    assert "rf.quantize(" in files["page_README"]
    errors = mypy(*(tmp_path / f"{name}.py" for name in files)).splitlines()
    wrong = MISUSES.splitlines()[2:]
    found = {int(line.split(":")[1]) for line in errors if "misuses.py" in line}
    assert [line for line in errors if re.search(r"(page_\w+|uses)\.py:", line) and "misuses.py" not in line] == []
    assert [line for number, line in enumerate(wrong, 3) if number not in found] == []


def test_the_ground_floor_type_checks():
    rooms = ("formats", "spec", "ops", "_arguments.py", "_files.py")
    errors = mypy(*(f"refimpl/{room}" for room in rooms)).splitlines()
    assert [line for line in errors if re.match(r"refimpl/(formats|spec|ops|_\w+\.py)", line)] == []


def test_the_names_that_types_know_are_those_of_the_catalogue():
    literals = (floats.FloatName, integers.IntName, posits.PositName, blocks.BlockName, codebooks.BookName)
    assert [name for literal in literals for name in get_args(literal)] == list(formats.names())
    for alias in get_args(FloatAlias):
        assert isinstance(formats.format(alias), formats.FloatFormat)
