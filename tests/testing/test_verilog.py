"""The guide's testbench, run: the vectors go in by $readmemh, and what it prints is judged."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2] / "tutorials"


@pytest.mark.skipif(not shutil.which("iverilog"), reason="there is no Icarus Verilog")
def test_the_testbench_of_the_guide_finds_the_mistake_of_the_lesson(tmp_path, monkeypatch, run):
    guide = (HOME / "guides" / "check_an_implementation.md").read_text(encoding="utf-8")
    (bench,) = re.findall(r"^```verilog\n(.*?)^```$", guide, re.M | re.S)
    lesson = (HOME / "10_validate_your_own.py").read_text(encoding="utf-8")
    (unit,) = re.findall(r'^unit = """\n(.*?)^"""$', lesson, re.M | re.S)
    writing = re.findall(r"^refimpl (vectors add .*) > (\w+\.hex)$", guide, re.M)
    assert len(writing) == 2
    for words, name in writing:
        status, text, _ = run(*shlex.split(words))
        assert status == 0
        (tmp_path / name).write_text(text)
    (verify,) = re.findall(r"^vvp check \| refimpl (.*)$", guide, re.M)
    for up, wrong in (("rest >= half", 1), ("(rest > half || (rest == half && code[0]))", 0)):
        (tmp_path / "check.v").write_text(unit.replace("UP", up) + bench)
        subprocess.run(["iverilog", "-o", "check", "check.v"], cwd=tmp_path, check=True)
        said = subprocess.run(["vvp", "-n", "check"], cwd=tmp_path, check=True, capture_output=True).stdout
        (tmp_path / "said").write_bytes(said)
        with open(tmp_path / "said") as stream:
            monkeypatch.setattr("sys.stdin", stream)
            status, report, _ = run(*shlex.split(verify))
        assert status == wrong and ("ties_to_away" in report.splitlines()[-1]) == wrong
