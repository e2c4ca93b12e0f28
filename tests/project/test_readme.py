"""What the README says is so."""

import doctest
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_examples_of_the_readme_print_what_it_says():
    found = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert found.attempted >= 8 and found.failed == 0


def test_the_first_two_shell_blocks_are_single_lines_that_run_the_main_job_and_the_tests():
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.M | re.S)
    first, second = (block.splitlines() for block in blocks[:2])
    assert len(first) == len(second) == 1
    assert first[0].endswith("refimpl frontier digits") and second[0].endswith("-m pytest")


def test_every_room_and_every_tutorial_is_named():
    folders = {p.name for p in (ROOT / "refimpl").iterdir() if p.is_dir() and p.name[0] != "_"}
    tutorials = {p.stem for p in (ROOT / "tutorials").glob("*.py")}
    missing = {
        name for name in folders | tutorials if not re.search(rf"(`|refimpl/){name}", README)
    }
    assert not missing
