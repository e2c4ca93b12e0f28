"""The mutation tester finds a change that no test notices, kills the others, and knows where tests are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
import mutation  # noqa: E402

TOY = '''"""A toy module; its docstring's 1 + 1 is not changed."""

def largest(a, b):
    return a if a > b else b

def count(n, step=1):
    i = 0
    while i < n:
        i += step
    return i
'''
TOY_TEST = """
from toy.numbers import count, largest

def test_the_largest_is_found_and_counting_ends():
    assert largest(1, 2) == largest(2, 1) == 2 and (count(3), count(3, 2)) == (3, 4)
"""
RUN = """
import sys
from pathlib import Path
sys.path.append(sys.argv.pop(1))
import mutation
mutation.TREE = Path.cwd()
mutation.EQUIVALENT = Path("equivalent.json")
mutation.ROOMS = {"toy": mutation.Room(("toy/*.py",), ("test_*.py",))}
mutation.WARM = ("pytest", "hypothesis")
mutation.LIMIT = 3
mutation.main()
"""


def test_of_a_toy_module_only_the_planted_mutant_survives(tmp_path):
    tree = tmp_path / "tree"
    (tree / "toy").mkdir(parents=True)
    (tree / "toy" / "numbers.py").write_text(TOY)
    (tree / "test_numbers.py").write_text(TOY_TEST)

    def run(entries):
        (tree / "equivalent.json").write_text(json.dumps(entries))
        options = ["--out", str(tmp_path / "out.json"), "--work", str(tmp_path / "work"), "--workers", "1"]
        command = [sys.executable, "-c", RUN, str(BENCHMARKS), *options]
        return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True).stdout

    printed = run([])
    results = json.loads((tmp_path / "out.json").read_text()).values()
    changes = {each["change"]: each["result"] for each in results}
    assert {change for change, result in changes.items() if result == "survived"} == {"a > b -> a >= b"}
    assert changes["a > b -> a <= b"] == "killed" and changes["i += step -> i -= step"] == "killed by the clock"
    assert "toy/numbers.py:4: return a if a > b else b\n    a > b -> a >= b" in printed.partition("Survivors:")[2]
    assert (tree / "toy" / "numbers.py").read_text() == TOY

    known = {"file": "toy/numbers.py", "source": "return a if a > b else b", "changes": ["a > b -> a >= b"]}
    printed = run([known | {"reason": "equals are equal"}, known | {"source": "gone", "reason": "none"}])
    assert "No survivors." in printed and "100.0%  (1)" in printed
    assert printed.count("delete or mend") == 1 and "'source': 'gone'" in printed


@pytest.mark.parametrize("room", mutation.ROOMS)
def test_the_sources_and_tests_of_a_room_exist(room):
    for pattern in (*mutation.ROOMS[room].sources, *mutation.ROOMS[room].tests):
        assert mutation.files(mutation.TREE, (pattern,)), pattern


def test_the_known_equivalent_mutants_are_still_there_and_each_has_its_reason():
    entries = json.loads(mutation.EQUIVALENT.read_text())
    assert mutation.stale(mutation.TREE, entries) == []
    assert all(entry["reason"] and entry["changes"] for entry in entries)
