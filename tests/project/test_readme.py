"""What the README and the guides say is so."""

import doctest
import itertools
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import refimpl as rf
from refimpl.__main__ import main
from refimpl.nn.precision import ROLES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "tutorials/guides").glob("*.md")}
PAGES = README + "".join(GUIDES.values())
MAP = (ROOT / "refimpl/README.md").read_text(encoding="utf-8")
SHOWN = r"^\$ refimpl (%s.*)\n((?:[^`$].*\n|\n)+)"  # a command, and what it prints


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "tutorials").glob("*/*.md"))], ids=lambda path: path.stem
)
def test_the_examples_print_what_the_page_says(path):
    found = doctest.testfile(str(path), module_relative=False)
    assert found.failed == 0 and (found.attempted > 0) == (">>> " in path.read_text(encoding="utf-8"))


def test_the_readme_is_short_and_leads_to_every_guide_and_all_links_of_guides_lead_somewhere():
    assert len(README.splitlines()) <= 200
    assert set(re.findall(r"\(tutorials/guides/(\w+)\.md\)", README)) == set(GUIDES)
    for path in (ROOT / "README.md", *(ROOT / "tutorials/guides").glob("*.md")):  # Sphinx follows the others
        for link in re.findall(r"\]\((?!https?:)([^)#]+)[)#]", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), (path.name, link)


def test_the_first_two_shell_blocks_are_single_lines_that_run_the_main_job_and_the_tests():
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.M | re.S)
    first, second = (block.splitlines() for block in blocks[:2])
    assert len(first) == len(second) == 1
    assert first[0].endswith("refimpl frontier digits") and second[0].endswith("-m pytest -n auto")


def test_every_room_and_every_tutorial_is_named():
    folders = {p.name for p in (ROOT / "refimpl").iterdir() if p.is_dir() and p.name[0] != "_"}
    tutorials = {p.stem for p in (ROOT / "tutorials").glob("*.py")}
    rooms = set(re.findall(r"^\| `(\w+)` \|", MAP, re.M))
    assert folders == rooms and tutorials == set(re.findall(r"`(\d\d_\w+)`", README))


def test_what_is_shown_of_commands_is_what_they_print(capsys):
    shown = re.findall(SHOWN % "(?:format|memory|reproduce)", PAGES, re.M)
    assert len(shown) == 3
    for words, expected in shown:
        assert main(words.split()) == 0
        assert capsys.readouterr().out == expected


def test_the_loop_on_a_table_and_the_network_of_one_s_own_run_as_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (table,) = re.findall(r"^```csv\n(.*?)^```$", PAGES, re.M | re.S)
    Path("perplexities.csv").write_text(table, encoding="utf-8")
    (network,) = re.findall(r"^```python\n# my_networks.py\n(.*?)^```$", PAGES, re.M | re.S)
    Path("my_networks.py").write_text(network, encoding="utf-8")
    shown = re.findall(SHOWN % "next ", PAGES, re.M)
    assert len(shown) == 2
    for words, expected in shown:
        assert main(words.split()) == 0
        assert capsys.readouterr().out == expected
    assert main(["memory", "my_networks:small"]) == 0


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_the_encoder_in_c_gets_the_answers_that_are_shown(tmp_path, monkeypatch, capsys):
    page = GUIDES["check_an_implementation"]
    (code,) = re.findall(r"^```c\n(.*?)^```$", page, re.M | re.S)
    shown = re.findall(SHOWN % "vectors", page, re.M)
    wrong, right = re.findall(r"`(0x8\w+)` in the place of `(.*?)`", page)[0]
    for (words, expected), text in zip(shown, (code, code.replace(right, wrong)), strict=True):
        (tmp_path / "encode.c").write_text(text, encoding="utf-8")
        subprocess.run(["cc", "-O2", "-o", "encode", "encode.c"], cwd=tmp_path, check=True)
        vectors, _, verify = words.split(" | ")
        main(vectors.split())
        answers = subprocess.run([tmp_path / "encode"], input=capsys.readouterr().out, capture_output=True, text=True)
        (tmp_path / "answers").write_text(answers.stdout)
        with open(tmp_path / "answers") as stream:
            monkeypatch.setattr("sys.stdin", stream)
            assert main(verify.removeprefix("refimpl ").split()) == ("NOT" in expected)
        assert capsys.readouterr().out == expected


def test_the_readme_s_report_is_the_end_of_the_guide_s():
    pages = README, GUIDES["choose_a_precision"]
    short, whole = (re.findall(r"^```text\n(.*?)^```$", page, re.M | re.S)[0] for page in pages)
    assert short in whole  # which .ci/run compares with what the command prints


def test_the_table_of_roundings_is_the_policy_s_and_in_the_order_of_a_step():
    """Rows of the guide against what a step does: a residual network's roles as they come, and formats."""
    rows = re.findall(r"^\| (\d) \| `([a-z ]+)` \| (high|low) \|", GUIDES["train_in_a_precision"], re.M)
    assert [int(number) for number, _, _ in rows] == list(range(1, 10))
    assert {role: which for _, role, which in rows} == ROLES
    task = rf.data.load("digits")
    plan = rf.nn.rounding_plan(rf.nn.resnet8(channels=1), task, rf.Precision(low="e4m3", high="e8m7"))
    formats = {"low": "e4m3", "high": "e8m7"}
    assert list(dict.fromkeys(row["role"] for row in plan)) == [role for _, role, _ in rows]
    assert all(row["format"] == formats[ROLES[row["role"]]] for row in plan)


def test_what_the_guide_says_is_never_rounded_is_not():
    """And where the rounding points of a residual block are: after these layers, and no others."""
    model = rf.nn.resnet8()
    task = rf.data.Task(
        "few",
        *(np.random.default_rng(0).random((32, 8, 8, 3), np.float32), np.arange(32) % 10) * 2,
        classes=10,
        images_from="few",
    )
    points = {"Convolution": 0, "ReLU": 0}
    for layer in model.every_layer():
        for (_, first), (_, second) in itertools.pairwise(layer.children()):
            if type(second).__name__ == "Round" and type(layer).__name__ == "Sequential":
                kind = type(first).__name__
                points[kind] = points.get(kind, 0) + 1
    blocks = 3
    assert points == {"Convolution": 2 * blocks, "ReLU": 1 + 2 * blocks, "Linear": 1}
    plan = rf.nn.rounding_plan(model, task, rf.Precision(low="e3m1", high="e6m7"))
    activations = [row for row in plan if row["role"] == "activation"]
    assert len(activations) == 2 * blocks + 1 + 2 * blocks + 2 * blocks  # and each skip and sum
    parameters = [row for row in plan if row["role"] == "weight"]
    assert [row["shape"] for row in parameters] == [(model.parameter_total(),)]
    for layer in model.every_layer():
        for array in layer.state().values():  # running statistics
            assert not np.array_equal(array, rf.quantize(array, "e6m7"))
