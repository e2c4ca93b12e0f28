"""The tables "coming from": what the other library gives, of those libraries that are here."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "tutorials/site/coming_from.md"
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S))


def rows(section):
    """Return what is written there and what it gives, where it gives something."""
    return re.findall(r"^\| `([^`]*)`[^|]* \| `(.*?)` \|", SECTIONS[section], re.M)


def check(section, names):
    for code in re.findall(r"^```python\n(.*?)^```", SECTIONS[section], re.M | re.S):
        exec(code, names)
    given = [(code, shown, str(eval(code, names))) for code, shown in rows(section)]
    assert [row for row in given if row[1] != row[2]] == []


@pytest.mark.parametrize("section, modules", [("ml_dtypes", "ml_dtypes"), ("gfloat", "gfloat")])
def test_a_line_of_theirs_gives_what_the_table_says(section, modules):
    pytest.importorskip(modules, reason=f"the peer {modules} is not installed")
    assert len(rows(section)) >= 10
    check(section, {"np": np})


@pytest.mark.slow  # it compiles itself when it is imported first
def test_a_line_of_qpytorch_gives_what_the_table_says():
    try:
        importlib.import_module("qtorch.quant")
    except Exception as error:  # without it, without PyTorch, and where ninja or a compiler is missing
        pytest.skip(f"the peer QPyTorch cannot be used here: {error!r}"[:200])
    assert len(rows("QPyTorch")) == 4
    check("QPyTorch", {"np": np})


def test_a_line_of_softfloat_gives_what_the_table_says():
    peer = pytest.importorskip("softfloatpy", reason="the peer SoftFloat (softfloatpy) is not installed")
    modes = {"near_even": "NEAR_EVEN", "near_maxMag": "NEAR_MAX_MAG", "minMag": "MIN_MAG", "min": "MIN", "max": "MAX"}

    def function(name):
        kind = getattr(peer, "Float" + re.match(r"f(\d+)", name)[1])
        of = getattr(peer, name.replace("mulAdd", "mul_add"))

        def call(*values, mode="near_even"):
            peer.set_rounding_mode(getattr(peer.RoundingMode, modes[mode]))
            found = of(*(kind.from_float(x) for x in values))
            return found if isinstance(found, bool) else found.to_float()

        return lambda *given: call(*given[:-1], mode=given[-1]) if given[-1] in modes else call(*given)

    given = [row for row in rows("Berkeley TestFloat and SoftFloat") if "odd" not in row[0]]  # its binding has none
    assert len(given) == 9
    for code, shown in given:
        name = re.match(r"\w+", code)[0]
        assert str(eval(code, {name: function(name), **{mode: mode for mode in modes}})) == shown, code
