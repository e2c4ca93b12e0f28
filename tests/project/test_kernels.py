"""A file of kernels is the namesake of a definition, or is marked as a fast path of one."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "refimpl"
KERNELS = sorted(p for p in (PACKAGE / "kernels").glob("*.py") if not p.name.startswith("_"))
DEFINITIONS = {p.stem: p for p in (PACKAGE / "spec").glob("*.py")}


def functions(path):
    """Return {name: parameters} of the functions of a file."""
    found = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))
    return {f.name: [a.arg for a in (*f.args.args, *f.args.kwonlyargs)] for f in found}


def marks(path):
    """Return the names of definitions a file says it is a fast path of."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FAST_PATH_OF":
            return {ast.literal_eval(node.value)}
    return set()


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: p.stem)
def test_every_file_of_kernels_has_a_namesake_or_is_a_fast_path_of_one(path):
    named, marked = path.stem in DEFINITIONS, marks(path)
    assert named != bool(marked) and marked <= set(DEFINITIONS)


@pytest.mark.parametrize("path", [p for p in KERNELS if p.stem in DEFINITIONS], ids=lambda p: p.stem)
def test_functions_of_the_same_name_name_what_they_share_alike_and_in_one_order(path):
    """A kernel takes numbers, arrays and fields where a definition takes values and formats.

    So it has parameters of its own (where to write, fields `f` for `fmt`, a `mode` for its four settings, random
    `words`).  But what both have stands in the same order, and an array of what a definition takes one of has its
    plural name.
    """
    ours, definitions = functions(path), functions(DEFINITIONS[path.stem])
    for name in ours.keys() & definitions.keys():
        plural = {f"{p}s": p for p in definitions[name]}
        shared = [plural.get(p, p) for p in ours[name]]
        shared = [p for p in shared if p in definitions[name]]
        assert shared == [p for p in definitions[name] if p in shared], name
        assert len(set(shared)) == len(shared), name


def test_kernels_import_no_definition():
    for path in (PACKAGE / "kernels").glob("*.py"):
        assert not any(
            "refimpl.spec" in line and "import" in line.split("`")[0] for line in path.read_text().splitlines()
        )
