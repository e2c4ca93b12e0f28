"""The documentation site, as far as it can be told without building it, which .ci/run does."""

import importlib.util
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import refimpl as rf

SITE = Path(__file__).parents[2] / "tutorials/site"
spec = importlib.util.spec_from_file_location("build", SITE / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


def test_every_public_name_is_in_the_reference_with_an_example():
    pages = build.public()
    listed = {f"{module}.{name}" for module, names in pages.items() for name, _ in names}
    assert {"refimpl.quantize", "refimpl.peppp.Study", "refimpl.spec.posits.encode"} <= listed
    assert {"refimpl.formats.ROUNDINGS", "refimpl.testing.strategies.inputs"} <= listed
    assert build.without_example(pages) == []


def test_a_name_without_an_example_is_noticed():
    assert build.without_example({"m": [("bare", test_every_public_name_is_in_the_reference_with_an_example)]}) == [
        "m.bare"
    ]


def test_forty_questions_have_an_answer_that_runs_and_a_place_to_read_on():
    page = (SITE / "questions.md").read_text(encoding="utf-8")
    questions = re.split(r"^### ", page, flags=re.M)[1:]
    assert len(questions) >= 40
    for question in questions:
        assert question.splitlines()[0].endswith("?")
        assert re.search(r"\]\([\w./#-]+\)", question), question
        assert ">>> " in question or "$ refimpl" in question, question


@pytest.mark.parametrize("page", ["coming_from", "glossary"])
def test_every_line_of_a_table_of_words_gives_what_it_says(page):
    text = (SITE / f"{page}.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| `([^`]*\brf\.[^`]*)` \| `(.*?)` \|$", text, re.M)
    assert len(rows) == len(re.findall(r"^\|.*rf\.", text, re.M)) >= 30
    for code, shown in rows:
        assert str(eval(code, {"rf": rf, "np": np})) == shown, code


def test_names_of_the_package_that_docstrings_and_pages_mention_are_there():
    root = SITE.parents[1]
    pages = [*(root / "refimpl").rglob("*.py"), *(root / "tutorials").rglob("*.md"), root / "README.md"]
    missing = set()
    for page in [*pages, *(root / "tutorials").glob("*.py")]:
        text = page.read_text(encoding="utf-8")
        text = re.sub(r"^ *(from|import) .*$|[\w./-]+\.(py|npz|rst|json)\b", "", text, flags=re.M)
        for name in re.findall(r"\brefimpl(?:\.[A-Za-z_]\w*)+|`rf(?:\.[A-Za-z_]\w*)+", text):
            try:
                pkgutil.resolve_name(name.replace("`rf", "refimpl"))
            except (ImportError, AttributeError):
                missing.add((page.name, name))
    assert missing == set()
