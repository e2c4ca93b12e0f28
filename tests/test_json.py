"""Every command that prints results prints them as one JSON document, whose fields the guide names."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from refimpl.__main__ import COMMANDS
from refimpl.papers import catalogue

GUIDE = (Path(__file__).parents[1] / "tutorials/guides/results_in_a_program.md").read_text(encoding="utf-8")
WITHOUT = {"completion", "declare", "explore", "tutorials", "warmup"}  # they print no results
ONLY = {  # fields that come with an option that is not used here
    "frontier": {"true", "comparison"},
    "choose": {"policies", "power"},
    "reproduce": {"paper", "date", "version", "machine", "seed", "quick"},
}
PLANNED = {"cells", "trained", "over_cap", "seconds", "largest_mb"}
TRAIN = "--epochs 1 --quiet --out"
LINES = {
    "certify": f"certify mlp digits --json {TRAIN}",
    "choose": f"choose mlp digits --seeds 2 --json {TRAIN}",
    "conform": "conform numpy.float16 float16 --json",
    "format": "format float8_e4m3fn --json",
    "frontier": f"frontier digits --measurements 1 --model mlp --jobs 1 --json {TRAIN}",
    "memory": "memory cnn --json",
    "next": "next {table} --measurements 2 --json",
    "reproduce": "reproduce --json",
    "sweep": f"sweep --tasks digits --configurations e4m3+e8m7 --model mlp --jobs 1 --json {TRAIN}",
    "verify": "verify encode float8_e4m3fn --level 1 --json",
}

TABLE = "task,a,b\ncost,1,2\none,.5,.4\ntwo,.6,.5\nthree,.4,.2\nmine,.3,\n"


def fields():
    """Return the fields that the guide names, for each command."""
    found, of = {}, []
    for commands, names in re.findall(r"^\| ?([^|]*)\| ([^|]+) \|", GUIDE, re.M)[1:]:
        of = re.findall(r"`(\w+)`", commands) or of
        for command in of:
            found.setdefault(command, set()).update(re.findall(r"`([\w ]+)`", names))
    return found


def test_every_command_with_results_has_the_option_and_a_place_in_the_guide():
    assert set(LINES) | WITHOUT | {"vectors"} == {*COMMANDS, *WITHOUT}
    assert set(fields()) == set(LINES)


@pytest.mark.parametrize("command", LINES)
def test_it_prints_one_document_with_the_fields_of_the_guide(command, run, tmp_path, monkeypatch):
    table = tmp_path / "table.csv"
    table.write_text(TABLE, encoding="utf-8")
    (tmp_path / "none").write_text("", encoding="utf-8")
    line = LINES[command].format(table=table)
    with open(tmp_path / "none", encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        status, printed, said = run(line, *([tmp_path / "out"] if line.endswith("--out") else []))
    assert status in (0, 1), said

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(printed, parse_constant=refuse)
    expected = fields()[command] - ONLY.get(command, set())
    assert set(document) == (expected - PLANNED if command == "sweep" else expected)


def test_the_fields_of_what_options_add_are_those_of_the_guide(run):
    status, printed, said = run("sweep --tasks digits --dry-run --json")
    assert status == 0 and set(json.loads(printed)) == PLANNED | {"planned"} and "nothing was written" in said
    assert set(catalogue.results("peppp")) == fields()["reproduce"]


def test_a_misuse_prints_no_document(run):
    status, printed, said = run("memory cnn --low e4 --json")
    assert status == 2 and printed == "" and said.count("\n") == 1


def test_commands_without_the_option_refuse_it(run):
    for name in WITHOUT & set(COMMANDS):
        assert import_module(f"refimpl.commands.{name}") and run(f"{name} --json")[0] == 2
