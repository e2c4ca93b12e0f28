"""Tutorials as notebooks: pictures are seen, every lesson has its exercises, and nothing the reader has is replaced."""

import ast
import importlib
import os
import re
import tomllib
from pathlib import Path

import pytest

from refimpl.commands import tutorials as command

ROOT = Path(__file__).parents[2]
HOME = ROOT / "tutorials"
TUTORIALS = sorted(HOME.glob("[0-9]*.py"))
PICTURES = dict(zip((path.stem[:2] for path in TUTORIALS), (1, 3, 1, 1, 1, 1, 2, 1, 2, 1, 1, 5, 2, 2, 1), strict=True))

each = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)


@each
def test_every_picture_ends_its_cell_and_no_file_is_written(path):
    source = path.read_text(encoding="utf-8")
    assert "savefig" not in source
    for cell in re.split(r"^# %%.*$", source, flags=re.M):
        for statement in ast.parse(cell).body[:-1]:
            assert "rf.plots." not in ast.unparse(statement)


@each
def test_a_lesson_says_what_it_needs_and_what_comes_next_and_ends_in_three_exercises_solved_with_assertions(path):
    lesson, exercises, solutions = re.split(
        r"^# ## (?:Exercises|Solutions)$", path.read_text(encoding="utf-8"), flags=re.M
    )
    assert re.match(r"# %% \[markdown\]\n# # .*\n#\n# \*Needs .*\n# Next: \[.*\]\(.*\.ipynb\)\.\*\n#\n", lesson)
    assert re.findall(r"^# (\d)\. ", exercises, re.M) == ["1", "2", "3"]
    assert all(re.search(rf'^(?:# |print\(").*\b{number}\.', solutions, re.M) for number in "123")
    assert solutions.count("assert ") >= 2 and re.search(r"^# \*\*Next:\*\* \[", solutions, re.M)


def test_the_wheel_holds_every_tutorial_and_both_pages():
    with open(ROOT / "pyproject.toml", "rb") as file:
        listed = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    there = [f"tutorials/{path.name}" for path in (*TUTORIALS, HOME / "README.md", HOME / "TEACHING.md")]
    assert listed == {name: f"refimpl/{name}" for name in there}


def test_every_link_between_lessons_leads_to_one_and_the_contents_and_the_outline_name_them_all():
    for path in [*TUTORIALS, *HOME.glob("*.md")]:
        for link in re.findall(r"\]\(([\w.]+)\)", path.read_text(encoding="utf-8")):
            name = link.replace(".ipynb", ".py") if path in TUTORIALS else link
            assert (HOME / name).exists(), (path.name, link)
    for page in ("README.md", "TEACHING.md"):
        named = set(re.findall(r"\]\((\d\d_\w+)\.py\)", (HOME / page).read_text(encoding="utf-8")))
        assert named == {path.stem for path in TUTORIALS}


def test_notebooks_come_as_a_folder_whose_files_are_never_replaced(run, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("jupytext")
    pytest.importorskip("nbclient")
    place = tmp_path / "lessons"
    status, printed, said = run("tutorials", place)
    assert status == 0 and said == "" and f"jupyter lab {place}/00_which" in printed
    made = {path.stem for path in place.glob("*.ipynb")}
    assert made == {path.stem for path in TUTORIALS} and (place / "TEACHING.md").exists()
    for path in place.glob("*.ipynb"):
        held = nbformat.read(path, as_version=4)
        nbformat.validate(held)
        assert held.cells[0].cell_type == "markdown" and held.cells[0].source.startswith("# ")
    before = {path: path.read_bytes() for path in place.iterdir()}
    status, printed, said = run("tutorials", place)
    assert status == 2 and printed == "" and "exists, and may hold your work" in said and said.count("\n") == 1
    assert {path: path.read_bytes() for path in place.iterdir()} == before
    assert run("tutorials", place, "--only 99")[0] == 2


def test_without_the_packages_it_needs_the_command_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jupytext", None)
    status, printed, said = run("tutorials", tmp_path / "new")
    assert status == 2 and "jupytext is not installed; install refimpl[notebooks]" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@each
def test_as_a_notebook_it_shows_its_pictures_and_leaves_nothing_where_the_reader_stands(path, tmp_path):
    pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")
    made = command.notebook(path)
    nbclient.execute(made, cwd=str(tmp_path), timeout=300, kernel_name="python3")
    if place := os.environ.get("REFIMPL_LESSONS"):  # the site is made of them
        importlib.import_module("nbformat").write(made, Path(place) / f"{path.stem}.ipynb")
    assert command.pictures(made) == PICTURES[path.stem[:2]]
    assert not list(tmp_path.iterdir())
