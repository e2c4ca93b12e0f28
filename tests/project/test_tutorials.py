"""Tutorials as notebooks: pictures are seen, and nothing is written into the reader's directory."""

import ast
import re
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parents[2] / "tutorials").glob("*.py"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_every_picture_ends_its_cell_and_no_file_is_written(path):
    source = path.read_text(encoding="utf-8")
    assert "savefig" not in source
    for cell in re.split(r"^# %%.*$", source, flags=re.M):
        for statement in ast.parse(cell).body[:-1]:
            assert "rf.plots." not in ast.unparse(statement)
