"""A room imports only rooms below it: data flows one way."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "refimpl"
ROOMS = {  # room: the rooms it may import
    "formats": set(),
    "spec": {"formats"},
    "kernels": set(),
    "ops": {"formats", "spec", "kernels"},
    "autodiff": {"kernels"},
    "nn.engine": {"formats", "kernels"},
    "nn": {"formats", "ops", "kernels", "autodiff", "nn.engine"},
    "data": set(),
    "peppp": {"formats", "data"},
    "numerics": {"formats", "ops", "autodiff", "nn", "peppp"},
    "papers": {"formats", "ops", "autodiff", "nn", "data", "peppp", "numerics"},
    "plots": {"formats", "ops", "peppp", "numerics", "papers"},
    "testing": {"formats", "spec", "ops", "plots"},  # the drawing in a report as a page
    "commands": {"formats", "ops", "nn", "data", "peppp", "numerics", "papers", "plots", "testing"},
    "__main__": {"formats", "commands", "__init__"},
    "_arguments": set(),
    "_files": set(),
    "_display": set(),
}
ROOMS["__init__"] = {*ROOMS} - {"commands", "__main__", "_arguments", "_files", "_display"}  # loaded when asked for
EXTRA = {
    "commands/declare.py": {"__init__"},  # its version
    "peppp/sweeping/sweep.py": {"nn", "nn.engine", "__init__"},
    "peppp/sweeping/cell.py": {"nn"},
    "peppp/sweeping/journal.py": {"__init__"},
    "peppp/task_study.py": {"__init__"},
}
EXTRA |= {f"papers/{path.name}": {"__init__"} for path in PACKAGE.glob("papers/*.py")}  # as users import it
FILES = sorted(PACKAGE.rglob("*.py"))


def statements(node):
    """Yield everything below a node, except what is there for type checkers alone."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING"):
            yield from statements(child)


def room_of(parts):
    """Return the room of a module, given the parts of its name."""
    return ".".join(parts[:2]) if ".".join(parts[:2]) in ROOMS else parts[0]


def imports(path):
    """Yield the rooms a file imports, docstrings and their examples not counted."""
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = inside if node.module == "refimpl" else [node.module]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first == "refimpl":
                yield room_of(rest) if rest and rest[0] in ROOMS else "__init__"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_the_rooms_below_its_own(path):
    place = path.relative_to(PACKAGE)
    room = room_of([part.removesuffix(".py") for part in place.parts])
    allowed = ROOMS[room] | {room} | EXTRA.get(str(place), set())
    assert set(imports(path)) - {"_arguments", "_files", "_display"} <= allowed


def test_files_import_each_other_in_no_circle():
    """Imports inside functions count too; those for type checkers alone do not."""
    modules = {path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", "."): path for path in FILES}
    inside = {}
    for name, path in modules.items():
        if path.stem != "__init__":
            nodes = [node for node in statements(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
            names = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
            inside[name] = (names | {str(node.module) for node in nodes}) & set(modules)
    assert len(inside) > 100 and "refimpl.ops.arrays" in inside["refimpl.ops.floats"]
    while leaves := [name for name, others in inside.items() if not others]:
        inside = {name: others - set(leaves) for name, others in inside.items() if name not in leaves}
    assert inside == {}


def test_formats_import_the_standard_library_alone():
    for path in (PACKAGE / "formats").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            roots = {name.split(".")[0] for name in names}
            assert roots <= {*sys.stdlib_module_names, "refimpl"}, path.name


def test_the_map_lists_the_rooms_so_that_each_imports_only_those_above_it():
    names = re.findall(r"^\| `([\w/]+)` \|", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.M)
    rooms = [name.replace("/", ".") for name in names]
    assert set(rooms) == {room for room in ROOMS if not room.startswith("_")}
    for i, room in enumerate(rooms):
        assert ROOMS[room] <= set(rooms[:i])


def test_only_plots_imports_matplotlib_except_to_redraw_the_glyphs():
    users = {str(p.relative_to(PACKAGE)) for p in FILES if "matplotlib" in p.read_text()}
    importing = {
        name
        for name in users
        if any(
            (isinstance(n, ast.ImportFrom) and (n.module or "").startswith("matplotlib"))
            or (isinstance(n, ast.Import) and any(a.name.startswith("matplotlib") for a in n.names))
            for n in ast.walk(ast.parse((PACKAGE / name).read_text()))
        )
    }
    assert {name for name in importing if not name.startswith("plots/")} == {"data/glyphs.py"}


def test_importing_refimpl_loads_neither_numba_nor_matplotlib_nor_scipy_nor_hypothesis():
    code = (
        "import sys, refimpl; print(sorted({'numba', 'matplotlib', 'scipy', 'hypothesis', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
