"""Which changes of the code does no test notice?

    python benchmarks/mutation.py --count 20 [--room spec ...] [--file PATTERN] [--seed 0]
                                  [--out mutation.json] [--again] [--compiled] [--list] [--workers 2] [--enough 120]

Changes one operator, comparison, constant, default or slice bound at a time in a copy of the tree (in a
temporary directory, never the working tree), runs the tests nearest to the changed file until one fails,
and prints the score of each room and the mutants that survived.  A mutant that hangs counts as killed.

The nearest tests of a room are listed in ROOMS, quickest first.  A mutant runs the doctests of its own file,
then the listed test files named like it, those that mention it, and the others.  A test counts only if it
passes unchanged, within the same time.  Kernels run with compilation off (NUMBA_DISABLE_JIT=1), and tests too slow
for that are skipped.  Each test file runs in a process forked from one that has imported pytest, Hypothesis,
SciPy and Numba already.

The sample depends on --seed and the source alone.  Results go to --out as they come and are not computed
twice; --again runs the survivors once more, after tests were added, and with --compiled all kernels compiled, so
that slow tests have their say.  Mutants that change no behaviour are
listed with a reason in `equivalent_mutants.json` and are not counted; an entry whose source line is gone
is reported, to be deleted.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import json
import os
import random
import re
import resource
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
IGNORED = shutil.ignore_patterns(".git", ".*_cache", ".hypothesis", "*.egg-info", "*.ipynb", "frontier-*")
WARM = ("pytest", "_pytest.doctest", "hypothesis.extra.numpy", "numba", "scipy.optimize", "scipy.stats")
LIMIT = 60  # seconds of processor time for a test file; ten times as many by the clock
PATIENCE = 6  # seconds of processor time for one test where nothing is compiled; a slower one is skipped
EXAMPLES = 20  # of each of Hypothesis's tests, at most
NO_TESTS = 5  # pytest's exit code


@dataclass(frozen=True)
class Room:
    """What is changed together: source files, and the test files nearest to them, both as patterns."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]
    compiled: bool = True


ARRAYS = (
    "tests/test_ops.py",
    "tests/twins/test_random_bits.py",
    "tests/twins/test_packing.py",
    "tests/twins/test_integers.py",
    "tests/twins/test_codebooks.py",
    "tests/twins/test_convolution.py",
    "tests/twins/test_integer_products.py",
    "tests/twins/test_stochastic_bits.py",
    "tests/twins/test_inputs.py",
    "tests/twins/test_*s.py",
    "tests/twins/test_arithmetic.py",
    "tests/exhaustive/test_constants.py",
    "tests/test_functions.py",
    "tests/paper/test_functions.py",
    "tests/exhaustive/test_p3109_facts.py",
    "tests/peers/test_functions.py",
    "tests/peers/test_operations.py",
)
PEPPP = (
    "tests/laws/test_frontier.py",
    "tests/laws/test_design.py",
    "tests/test_memory.py",
    "tests/test_error_matrix.py",
    "tests/test_bad_matrices.py",
    "tests/laws/test_completion.py",
    "tests/laws/test_expected_frontier.py",
    "tests/laws/test_belief.py",
    "tests/laws/test_made_up_matrices.py",
    "tests/laws/test_sequential.py",
    "tests/paper/test_peppp_memory.py",
    "tests/test_study.py",
    "tests/laws/test_embedding.py",
    "tests/test_next.py",
    "tests/project/test_default_method.py",
)
NETWORKS = (
    "tests/test_optimizers.py",
    "tests/test_precision.py",
    "tests/test_bad_settings.py",
    "tests/test_posit_training.py",
    "tests/paper/test_optimizer.py",
    "tests/paper/test_whole_step.py",
    "tests/test_nn.py",
    "tests/twins/test_fused_training.py",
    "tests/test_block_training.py",
    "tests/test_accumulators.py",
    "tests/test_every_operation.py",
    "tests/test_hadamard.py",
    "tests/test_units_in_training.py",
)
ROOMS = {
    "formats": Room(("refimpl/formats/*.py",), ("tests/exhaustive/test_constants.py", *ARRAYS)),
    "spec": Room(("refimpl/spec/*.py",), ARRAYS),
    "kernels": Room(("refimpl/kernels/[!_dt]*.py",), ARRAYS, compiled=False),
    "tiles": Room(("refimpl/kernels/[dt]*.py",), ("tests/twins/test_direct_convolution.py", "tests/twins/test_co*.py")),
    "engine": Room(("refimpl/nn/engine/*.py",), ("tests/twins/test_columns.py", *NETWORKS)),
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
    if isinstance(node, ast.keyword) and node.arg in ("stacklevel", "strict"):  # strict: zip's, a guard
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
    """A pytest plugin: writes down the first failure, and spends no time on making examples smaller."""

    def __init__(self, report: Path):
        self.report = report

    def pytest_configure(self):
        from hypothesis import Phase, settings

        settings.register_profile(
            "mutation", deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
        )
        settings.load_profile("mutation")

    def pytest_collection_modifyitems(self, items):
        for test in items:
            own = getattr(getattr(test, "obj", None), "_hypothesis_internal_use_settings", None)
            if own is not None:
                from hypothesis import settings

                fewer = settings(own, max_examples=min(own.max_examples, EXAMPLES))
                test.obj._hypothesis_internal_use_settings = fewer

    def pytest_runtest_setup(self):
        if os.environ.get("NUMBA_DISABLE_JIT") == "1":
            signal.signal(signal.SIGPROF, _give_up)
            signal.setitimer(signal.ITIMER_PROF, PATIENCE)

    def pytest_runtest_logreport(self, report):
        if report.when != "setup":
            signal.setitimer(signal.ITIMER_PROF, 0)
        if report.failed and not self.report.exists():
            self.report.write_text(report.nodeid)


def _give_up(*_):
    import pytest

    pytest.skip("too slow without compiled kernels")


def run_tests(tree: Path, *arguments: str) -> dict:
    """Run a test file, or one of its tests, in a forked process.

    Returns whether it passed, whether it ran out of time, its processor time, and the first failure.
    """
    report = tree.with_name(f"{tree.name}.failed")
    report.unlink(missing_ok=True)
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
            os.chdir(tree)
            output = os.open(tree.with_name(f"{tree.name}.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.path.insert(0, str(tree))
            os.environ["PYTHONPATH"] = str(tree)
            import pytest

            code = int(pytest.main(["-x", "-p", "no:cacheprovider", *arguments], plugins=[_Watcher(report)]))
        finally:
            os._exit(code)
    done = 0
    while not done and time.monotonic() - start < 10 * LIMIT:
        time.sleep(0.02)
        done, status, usage = os.wait4(child, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not done:
        _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return {
        "passed": code in (0, NO_TESTS),
        "late": not done or code in (-signal.SIGKILL, -signal.SIGXCPU),
        "seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "failed": report.read_text() if report.exists() else arguments[0],
    }


_copy: Path  # a worker's own copy of the tree
_unchanged: dict[str, bool] = {}  # whether a test passes there


def _begin(copies, compiled: bool) -> None:
    """Take a copy of the tree and import what all tests need; Numba reads its setting when it is imported."""
    global _copy
    _copy = Path(copies.get())
    os.environ["NUMBA_DISABLE_JIT"] = "0" if compiled else "1"
    for name in WARM:
        importlib.import_module(name)


def _try(mutant: Mutant, tests: list[str], stamp: int, enough: float) -> tuple[Mutant, dict]:
    """Run test files until one notices the mutant: a test fails, or runs out of time, that does not unchanged."""
    path = _copy / mutant.file
    original = path.read_bytes()
    times = path.stat().st_mtime
    seconds = 0.0
    for test in tests:
        if seconds > enough:
            break
        try:
            path.write_bytes(original[: mutant.start] + mutant.new.encode() + original[mutant.stop :])
            os.utime(path, (times + stamp, times + stamp))  # or Python may take the bytecode of another mutant
            done = run_tests(_copy, test)
        finally:
            path.write_bytes(original)
            os.utime(path, (times, times))
        seconds += done["seconds"]
        if not done["passed"]:
            failed = done["failed"]
            if failed not in _unchanged:
                whole = done["late"] or "::" in failed  # otherwise the file cannot even be imported
                _unchanged[failed] = run_tests(_copy, failed, *([] if whole else ["--collect-only"]))["passed"]
            if _unchanged[failed]:
                result = "killed by the clock" if done["late"] else "killed"
                return mutant, {"result": result, "by": failed, "seconds": seconds}
    return mutant, {"result": "survived", "by": None, "seconds": seconds}


# All of it.


def _refresh(tree: Path, where: Path) -> None:
    """Make `where` a copy of the tree, with one place for compiled code beside all copies."""
    shutil.rmtree(where, ignore_errors=True)
    shutil.copytree(tree, where, ignore=IGNORED)
    compiled = where / "refimpl" / "kernels" / "__pycache__" / "compiled"
    if compiled.exists():  # by a digest of all kernels: what one copy has compiled serves the others
        shared = where.with_name("compiled")
        shutil.copytree(compiled, shared, dirs_exist_ok=True)
        shutil.rmtree(compiled)
        compiled.symlink_to(shared)


def _pool(copies: list[Path], compiled: bool) -> ProcessPoolExecutor:
    context = get_context("fork")
    queue = context.Queue()
    for each in copies:
        queue.put(str(each))
    return ProcessPoolExecutor(len(copies), context, _begin, (queue, compiled))


def nearest(tree: Path, mutant: Mutant) -> list[str]:
    """Return what to run for a mutant: its file's doctests, then the room's tests, those that name it first."""
    tests = [str(path.relative_to(tree)) for pattern in ROOMS[mutant.room].tests for path in files(tree, (pattern,))]
    stem = Path(mutant.file).stem

    def order(test):
        return stem not in test, stem not in re.findall(r"\w+", (tree / test).read_text())

    return [mutant.file, *sorted(dict.fromkeys(tests), key=order)]


def run(
    tree: Path, mutants: list[Mutant], out: Path, workers: int, work: Path, enough: float, compile_all: bool = False
) -> dict[str, dict]:
    """Try the mutants whose result is not known yet; return all results by key."""
    results = json.loads(out.read_text()) if out.exists() else {}
    todo = [mutant for mutant in mutants if mutant.key not in results]
    copies = [work / f"copy{i}" for i in range(workers)]
    if todo:
        for each in copies:
            _refresh(tree, each)
    for compiled in (True, False):
        group = [mutant for mutant in todo if (compile_all or ROOMS[mutant.room].compiled) is compiled]
        if not group:
            continue
        with _pool(copies, compiled) as pool:
            jobs = [
                pool.submit(_try, mutant, nearest(tree, mutant), stamp, enough)
                for stamp, mutant in enumerate(group, 100)
            ]
            for job in as_completed(jobs):
                mutant, done = job.result()
                results[mutant.key] = {**asdict(mutant), **done}
                print(f"{done['result']} by {done['by']} ({done['seconds']:.1f} s): {mutant}", flush=True)
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
    parser.add_argument("--compiled", action="store_true", help="compile kernels that are mutated, too")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--enough",
        type=float,
        default=120,
        help="seconds of processor time after which no further test file is started",
    )
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
    results = run(TREE, mutants, options.out, options.workers, options.work, options.enough, options.compiled)
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
