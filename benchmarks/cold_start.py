"""How many processor seconds does a first answer take with nothing compiled yet?

    python benchmarks/cold_start.py [--only look-up command calls arrays job 00 01 ...] [--json FILE]

Numbers are lessons; only those named are run.

Runs each in a process of its own whose Numba cache is an empty, temporary directory, and once more
with what the first left in it.  Prints processor seconds of both, imports included, and of the main job
the difference, which is what compiling took.  Needs an operating system that counts a child's time.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

SMALL = """
import refimpl as rf
rf.quantize([0.1, 0.2], "e4m3fn")
rf.encode([0.1, 0.2], "e4m3fn")
rf.decode([1, 2], "e4m3fn")
rf.add([1.0, 2.0], [3.0, 4.0], "e4m3fn")
rf.sum([1.0, 2.0], "float16")
rf.matmul([[1.0, 2.0]], [[3.0], [4.0]], "e4m3fn")
rf.quantize_int([0.1, 0.2], "int8")
"""
ARRAYS = """
import numpy as np, refimpl as rf
x = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
y = rf.quantize(x, "e4m3fn")
rf.decode(rf.encode(x, "e4m3fn"), "e4m3fn")
rf.add(y, y, "e4m3fn")
rf.sum(y, "float16")
rf.matmul(y, y, "e4m3fn")
rf.quantize_int(x, "int8")
"""
CASES = {
    "look-up": ('rf.quantize([0.1], "e4m3fn")', ["-c", 'import refimpl as rf; rf.quantize([0.1], "e4m3fn")']),
    "command": ("refimpl format e4m3fn", ["-m", "refimpl", "format", "e4m3fn"]),
    "calls": ("seven first calls, of two numbers", ["-c", SMALL]),
    "arrays": ("the same of 65,536", ["-c", ARRAYS]),
    "job": ("refimpl frontier digits", ["-m", "refimpl", "frontier", "digits"]),
}
TUTORIALS = Path(__file__).parents[1] / "tutorials"
LESSONS = {path.name[:2]: (path.stem, [str(path)]) for path in sorted(TUTORIALS.glob("[0-9]*.py"))}


def run(arguments, cache, directory):
    """Return processor and wall seconds of Python with these arguments, its own child processes included."""
    package = str(Path(find_spec("refimpl").origin).parents[1])
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": package, "MPLBACKEND": "agg"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=directory, env=environment, check=True, capture_output=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main():
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*CASES, *LESSONS], default=list(CASES))
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    table = {}
    print(f"{'processor seconds (wall clock)':<40}{'cold':>16}{'warm':>16}{'difference':>12}")
    for case in options.only:
        label, arguments = (CASES | LESSONS)[case]
        times = []
        with tempfile.TemporaryDirectory() as cache:
            for _ in ("cold", "warm"):
                with tempfile.TemporaryDirectory() as directory:
                    times.append(run(arguments, cache, directory))
        (cold, cold_wall), (warm, warm_wall) = times
        shown = [f"{cold:.2f} ({cold_wall:.2f})", f"{warm:.2f} ({warm_wall:.2f})", f"{cold - warm:.2f}"]
        print(f"{label:<40}{shown[0]:>16}{shown[1]:>16}{shown[2]:>12}", flush=True)
        table[case] = {"cold": cold, "warm": warm, "cold wall": cold_wall, "warm wall": warm_wall}
    if options.json:
        Path(options.json).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
