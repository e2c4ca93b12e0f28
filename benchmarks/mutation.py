"""Which changes of the code does no test notice?

    python benchmarks/mutation.py --count 20 [--room spec ...] [--file PATTERN] [--seed 0]
                                  [--out mutation.json] [--again] [--list] [--workers 2]

Changes one operator, comparison, constant, default or slice bound at a time in a copy of the tree (in a
temporary directory, never the working tree), runs the tests nearest to the changed file until one fails,
and prints the score of each room and the mutants that survived.  A mutant that hangs counts as killed.

The nearest tests of a room are listed in ROOMS.  They are run once unchanged, to time each file and to see
which functions it enters; a mutant then runs its own file's doctests and every listed file that enters the
changed function, those named after the changed file first, then the quickest.  Kernels run with compilation
off (NUMBA_DISABLE_JIT=1).  Each test runs in a process forked from one that has imported pytest, Hypothesis,
SciPy and Numba already.

The sample depends on --seed and the source alone.  Results go to --out as they come and are not computed
twice; --again runs the survivors once more, after tests were added.  Mutants that change no behaviour are
listed with a reason in `equivalent_mutants.json` and are not counted; an entry whose source line is gone
is reported, to be deleted.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.json")
IGNORED = shutil.ignore_patterns(
    ".git", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "*.ipynb", "frontier-*"
)
WARM = ("pytest", "_pytest.doctest", "hypothesis.extra.numpy", "numba", "scipy.optimize", "scipy.stats")
SHORTEST_LIMIT = 60  # seconds; a mutant gets ten times the processor time its tests take unchanged, and this
LONGEST_TEST_FILE = 300  # seconds unchanged; a longer file is left out


@dataclass(frozen=True)
class Room:
    """What is changed together: source files, and the test files nearest to them, both as patterns."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]
    compiled: bool = True


ARRAYS = ("tests/twins/*", "tests/test_ops.py", "tests/exhaustive/test_constants.py", "tests/laws/test_products.py")
PEPPP = (
    "tests/laws/test_[bcdefmo]*",
    "tests/laws/test_sequential.py",
    "tests/test_error_matrix.py",
    "tests/test_bad_matrices.py",
    "tests/test_memory.py",
    "tests/test_study.py",
    "tests/paper/test_peppp_*",
    "tests/project/test_default_method.py",
)
NETWORKS = (
    "tests/test_optimizers.py",
    "tests/test_precision.py",
    "tests/test_nn.py",
    "tests/test_layers.py",
    "tests/test_bad_settings.py",
    "tests/paper/test_optimizer.py",
    "tests/paper/test_whole_step.py",
    "tests/twins/test_fused_training.py",
    "tests/project/test_checkpoints.py",
)
ROOMS = {
    "formats": Room(("refimpl/formats/*.py",), ARRAYS),
    "spec": Room(("refimpl/spec/*.py",), ARRAYS),
    "kernels": Room(("refimpl/kernels/*.py",), ARRAYS, compiled=False),
    "ops": Room(("refimpl/ops/*.py",), (*ARRAYS, "tests/project/test_threads.py")),
    "optimizer": Room(("refimpl/nn/optimizer.py", "refimpl/nn/loss_scale.py", "refimpl/nn/schedules.py"), NETWORKS),
    "rounder": Room(("refimpl/nn/**/rounder.py", "refimpl/nn/precision.py"), NETWORKS),
    "peppp": Room(("refimpl/peppp/*.py", "refimpl/peppp/estimators/*.py", "refimpl/peppp/matrix/*.py"), PEPPP),
    "sweeping": Room(("refimpl/peppp/sweeping/*.py",), ("tests/project/test_sweep.py", "tests/test_study.py")),
}


# What is changed.

_BINARY = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.LShift: [ast.RShift],
    ast.RShift: [ast.LShift],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.BitXor: [ast.BitOr],
}
_COMPARISONS = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
_NAMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file: bytes start to stop become `new`."""

    room: str
    file: str
    line: int
    function: str
    source: str
    change: str
    start: int
    stop: int
    new: str

    @property
    def key(self) -> str:
        """The name under which its result is kept: what is changed, and where, though lines above may move."""
        return f"{self.file} {self.function} {self.source} [{self.change}]"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.source}\n    {self.change}"


def variants(node: ast.AST) -> list[ast.AST]:
    """Return the changed forms of a node."""
    changed: list[ast.AST] = []

    def other(**fields):
        new = copy.copy(node)
        for name, value in fields.items():
            setattr(new, name, value)
        changed.append(new)

    match node:
        case ast.BinOp(left=left, op=op, right=right):
            if not any(isinstance(side, ast.JoinedStr) or _is_text(side) for side in (left, right)):
                for kind in _BINARY.get(type(op), []):
                    other(op=kind())
        case ast.AugAssign(op=op):
            for kind in _BINARY.get(type(op), []):
                other(op=kind())
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                for kind in _COMPARISONS[type(op)]:
                    other(ops=[*ops[:i], kind(), *ops[i + 1 :]])
        case ast.BoolOp(op=op):
            other(op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            changed.append(operand)
        case ast.Call(func=ast.Name(id=name)) if name in _NAMES:
            other(func=ast.Name(_NAMES[name]))
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in _NAMES:
            other(func=ast.Attribute(value, _NAMES[name]))
        case ast.Slice(lower=lower, upper=upper):
            if lower is not None:
                other(lower=None)
            if upper is not None:
                other(upper=None)
        case ast.Constant(value=bool(value)):
            other(value=not value)
        case ast.Constant(value=int(value) | float(value)):
            for new in dict.fromkeys((value + 1, value - 1, type(value)(0))):
                if new != value:
                    other(value=new)
    return changed


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _visited(node: ast.AST, function: str = "") -> Iterator[tuple[ast.AST, str]]:
    """Yield the nodes that may change, and the function each is in ("" for what runs on import)."""
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom | ast.Assert):
        return  # messages and what only names things
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.keyword) and node.arg == "stacklevel":
        return
    yield node, function
    inside = node.name if isinstance(node, ast.FunctionDef) else function
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _visited(child, inside if name == "body" else function)


def sites(room: str, file: str, text: str) -> Iterator[list[Mutant]]:
    """Yield, for each place in a source text that can change, its mutants."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    for node, function in _visited(ast.parse(text)):
        changed = variants(node)
        if not changed:
            continue
        start = starts[node.lineno - 1] + node.col_offset
        stop = starts[node.end_lineno - 1] + node.end_col_offset
        old, source = ast.unparse(node), lines[node.lineno - 1].strip()
        whole = isinstance(node, ast.AugAssign | ast.Slice)
        yield [
            Mutant(
                room, file, node.lineno, function, source, f"{old} -> {new}", start, stop, new if whole else f"({new})"
            )
            for new in map(ast.unparse, changed)
        ]


def sample(tree: Path, room: str, count: int | None, seed: int, pattern: str = "*") -> list[Mutant]:
    """Return `count` mutants of a room, at as many places; all of them where count is None."""
    places = []
    for path in files(tree, ROOMS[room].sources):
        if path.match(pattern):
            places += sites(room, str(path.relative_to(tree)), path.read_text())
    if count is None:
        return [mutant for place in places for mutant in place]
    draw = random.Random(f"{seed} {room}")
    draw.shuffle(places)
    return [draw.choice(place) for place in places[:count]]


def files(tree: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Return the Python files that match, each once, in order."""
    return sorted({path for pattern in patterns for path in tree.glob(pattern) if path.suffix == ".py"})


def equivalent(mutant: Mutant, entries: list[dict]) -> str | None:
    """Return why a mutant changes no behaviour, or None."""
    for entry in entries:
        if (entry["file"], entry["source"]) == (mutant.file, mutant.source) and mutant.change in entry["changes"]:
            return entry["reason"]
    return None


def stale(tree: Path, entries: list[dict]) -> list[dict]:
    """Return the entries whose source line, or the place of whose change, is gone."""
    found = {}
    for file in {entry["file"] for entry in entries}:
        text = (tree / file).read_text() if (tree / file).exists() else ""
        found[file] = {(mutant.source, mutant.change) for place in sites("", file, text) for mutant in place}
    return [e for e in entries if any((e["source"], change) not in found[e["file"]] for change in e["changes"])]


# Running tests in a forked process.


class _Watcher:
    """A pytest plugin: names the first failure, and where asked the functions that are entered."""

    def __init__(self, tree: Path, report: Path, tracing: bool):
        self.tree, self.report, self.tracing = str(tree / "refimpl"), report, tracing
        self.entered: set[str] = set()
        self.failed = None

    def pytest_configure(self):
        from hypothesis import Phase, settings

        settings.register_profile(
            "mutation", deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
        )
        settings.load_profile("mutation")
        if self.tracing:
            sys.settrace(self._enter)

    def _enter(self, frame, event, argument):
        if frame.f_code.co_filename.startswith(self.tree):
            self.entered.add(f"{frame.f_code.co_filename[len(self.tree) - 7 :]} {frame.f_code.co_name}")

    def pytest_runtest_logreport(self, report):
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def pytest_unconfigure(self):
        sys.settrace(None)
        self.report.write_text(json.dumps({"failed": self.failed, "entered": sorted(self.entered)}))


def run_tests(tree: Path, tests: list[str], limit: float, tracing: bool = False) -> dict:
    """Run test files in a forked process.

    Returns the exit code (None: over the limit of seconds), processor time, first failure, functions entered.
    """
    report = tree.with_name(f"{tree.name}.report")
    report.unlink(missing_ok=True)
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            os.chdir(tree)
            output = os.open(tree.with_name(f"{tree.name}.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.path.insert(0, str(tree))
            os.environ["PYTHONPATH"] = str(tree)
            import pytest

            code = int(pytest.main(["-x", "-p", "no:cacheprovider", *tests], plugins=[_Watcher(tree, report, tracing)]))
        finally:
            os._exit(code)
    code = done = None
    while time.monotonic() - start < limit and not done:
        done, status, usage = os.wait4(child, os.WNOHANG)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if done:
        code = os.waitstatus_to_exitcode(status)
    else:
        _, _, usage = os.wait4(child, 0)
    details = json.loads(report.read_text()) if report.exists() else {"failed": None, "entered": []}
    return {"code": code, "seconds": round(usage.ru_utime + usage.ru_stime, 2), **details}


_copy: Path  # a worker's own copy of the tree


def _begin(copies, compiled: bool) -> None:
    """Take a copy of the tree and import what all tests need; Numba reads its setting when it is imported."""
    global _copy
    _copy = Path(copies.get())
    os.environ["NUMBA_DISABLE_JIT"] = "0" if compiled else "1"
    os.environ["NUMBA_CACHE_DIR"] = str(_copy.with_name(f"{_copy.name}.numba"))
    for name in WARM:
        importlib.import_module(name)


def _time(test: str) -> tuple[str, dict]:
    return test, run_tests(_copy, [test], LONGEST_TEST_FILE, tracing=True)


def _try(mutant: Mutant, tests: list[str], limit: float, stamp: int) -> tuple[Mutant, dict]:
    path = _copy / mutant.file
    original = path.read_bytes()
    times = path.stat().st_mtime
    try:
        path.write_bytes(original[: mutant.start] + mutant.new.encode() + original[mutant.stop :])
        os.utime(path, (times + stamp, times + stamp))  # or Python may take the bytecode of another mutant
        done = run_tests(_copy, tests, limit)
    finally:
        path.write_bytes(original)
        os.utime(path, (times, times))
    result = {0: "survived", None: "killed by the clock"}.get(done["code"], "killed")
    return mutant, {"result": result, "by": done["failed"], "seconds": done["seconds"]}


# All of it.


def _refresh(tree: Path, where: Path) -> None:
    """Make `where` a copy of the tree; times of change are kept, so that compiled code stays."""
    shutil.rmtree(where, ignore_errors=True)
    shutil.copytree(tree, where, ignore=IGNORED)


def _pool(copies: list[Path], compiled: bool) -> ProcessPoolExecutor:
    context = get_context("fork")
    queue = context.Queue()
    for each in copies:
        queue.put(str(each))
    return ProcessPoolExecutor(len(copies), context, _begin, (queue, compiled))


def baselines(tree: Path, tests: list[str], copies: list[Path], compiled: bool, store: Path) -> dict[str, dict]:
    """Return time and entered functions of each test file, run unchanged; kept while it stays as it is."""
    known = json.loads(store.read_text()) if store.exists() else {}
    names = {test: f"{compiled} {test} {hashlib.sha256((tree / test).read_bytes()).hexdigest()}" for test in tests}
    with _pool(copies, compiled) as pool:
        jobs = [pool.submit(_time, test) for test in tests if names[test] not in known]
        for job in as_completed(jobs):
            test, done = job.result()
            print(f"unchanged: {test} {done['seconds']} s" + (f", failed: {done}" if done["code"] else ""), flush=True)
            known[names[test]] = done
            store.write_text(json.dumps(known))
    return {test: known[names[test]] for test in tests}


def nearest(mutant: Mutant, tests: dict[str, dict]) -> list[str]:
    """Return what to run for a mutant: the file's doctests, then the test files that enter its function."""
    usable = {test: done for test, done in tests.items() if done["code"] == 0}
    place = f"{mutant.file} {mutant.function}"
    reaching = [test for test, done in usable.items() if not mutant.function or place in done["entered"]]
    stem = Path(mutant.file).stem

    def order(test):
        return stem not in test and test.removesuffix(".py") not in stem, usable[test]["seconds"]

    return [mutant.file, *sorted(reaching or usable, key=order)]


def run(tree: Path, mutants: list[Mutant], out: Path, workers: int, work: Path) -> dict[str, dict]:
    """Try the mutants whose result is not known yet; return all results by key."""
    results = json.loads(out.read_text()) if out.exists() else {}
    todo = [mutant for mutant in mutants if mutant.key not in results]
    copies = [work / f"copy{i}" for i in range(workers)]
    if todo:
        for each in copies:
            _refresh(tree, each)
    for compiled in (True, False):
        group = [mutant for mutant in todo if ROOMS[mutant.room].compiled is compiled]
        if not group:
            continue
        patterns = {room: ROOMS[room].tests for room in {mutant.room for mutant in group}}
        tests = {room: [str(p.relative_to(tree)) for p in files(tree, each)] for room, each in patterns.items()}
        timed = baselines(tree, sorted(set().union(*tests.values())), copies, compiled, work / "baselines.json")
        with _pool(copies, compiled) as pool:
            jobs = []
            for stamp, mutant in enumerate(group, 100):
                chosen = nearest(mutant, {test: timed[test] for test in tests[mutant.room]})
                limit = SHORTEST_LIMIT + 10 * sum(timed[test]["seconds"] for test in chosen[1:])
                jobs.append(pool.submit(_try, mutant, chosen, limit, stamp))
            for job in as_completed(jobs):
                mutant, done = job.result()
                results[mutant.key] = {**asdict(mutant), **done}
                print(f"{done['result']} ({done['seconds']} s) {mutant}", flush=True)
                out.write_text(json.dumps(results, indent=1))
    return results


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, help="mutants of each room; all where left out")
    parser.add_argument("--room", choices=ROOMS, action="append", help="may be given more than once; all by default")
    parser.add_argument("--file", default="*", help="pattern of the files to change, such as spec/posits.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "refimpl-mutation.json")
    parser.add_argument("--again", action="store_true", help="run known survivors once more")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "refimpl-mutation")
    options = parser.parse_args()
    rooms = options.room or list(ROOMS)
    drawn = [m for room in rooms for m in sample(TREE, room, options.count, options.seed, options.file)]
    entries = json.loads(EQUIVALENT.read_text())
    for entry in stale(TREE, entries):
        print(f"{EQUIVALENT.name}: delete or mend {entry}")
    mutants = [mutant for mutant in drawn if not equivalent(mutant, entries)]
    if options.list:
        print("\n".join(f"{mutant}" for mutant in mutants))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    if options.again and options.out.exists():
        known = json.loads(options.out.read_text())
        options.out.write_text(json.dumps({k: v for k, v in known.items() if v["result"] != "survived"}, indent=1))
    results = run(TREE, mutants, options.out, options.workers, options.work)
    survivors = [mutant for mutant in mutants if results[mutant.key]["result"] == "survived"]
    print("\nSurvivors:" if survivors else "\nNo survivors.")
    for mutant in survivors:
        print(mutant)
    print(f"\n{'room':<12} killed    of  score  (equivalent, not counted)")
    for room in [*rooms, "all"]:
        of = [mutant for mutant in mutants if room in (mutant.room, "all")]
        killed = len(of) - sum(room in (mutant.room, "all") for mutant in survivors)
        left_out = sum(room in (mutant.room, "all") for mutant in drawn) - len(of)
        print(f"{room:<12} {killed:>6} {len(of):>5} {killed / max(len(of), 1):>6.1%}  ({left_out})")


if __name__ == "__main__":
    main()
