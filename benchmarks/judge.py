"""Does the judge catch faulty implementations, name what is wrong with them, and spare the correct ones?

    python benchmarks/judge.py [--only FAMILY ...] [--match TEXT] [--workers 2] [--json judge.json] [--verbose]

Puts every implementation of the catalogue in `faults/` to `refimpl.testing.conform` (or to what its family
asks) and prints a row a family:

faults          implementations with a defect; caught: those that are not passed
right first     those of which the first sentence said names the defect; among: any sentence does
unlisted        diagnoses that neither name the defect nor stand in the catalogue as true of it: each explains
                every result that was seen, most in other words ("toward_negative" for "toward_zero" of unsigned
                integers); descriptions of where it fails, said where no diagnosis is known, are not among them
correct         implementations without a defect; failed: those that are not passed

--match runs those whose name holds the text.  --verbose prints each that is not as it should be as it comes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from faults import FAMILIES, Fault, family

COLUMNS = ("faults", "caught", "right first", "right among", "unlisted", "correct", "failed")


def judged(name: str, kind: int, at: int) -> dict:
    """Put one implementation of a family to the judge and say how it did, as plain data."""
    case = family(name)[kind][at]
    start = time.process_time()
    passed, diagnoses, description = case.ask(case)
    said = diagnoses or tuple(filter(None, [description]))
    row = {"family": name, "name": case.name, "passed": passed, "said": list(said)}
    row["seconds"] = round(time.process_time() - start, 2)
    if isinstance(case, Fault):
        right = [_holds(case.right, sentence) for sentence in said]
        true = [is_right or _holds(case.true, text) for is_right, text in zip(right, said, strict=True)]
        row |= {"first": right[:1] == [True], "among": any(right), "unlisted": true.count(False) if diagnoses else 0}
    return row


def _holds(patterns, sentence: str) -> bool:
    return any(re.search(pattern, sentence) for pattern in patterns)


def cells(rows: list[dict]) -> list[int]:
    """Return the numbers of a row of the table."""
    faults = [row for row in rows if "first" in row]
    correct = [row for row in rows if "first" not in row]
    return [
        len(faults),
        sum(not row["passed"] for row in faults),
        sum(row["first"] for row in faults),
        sum(row["among"] for row in faults),
        sum(row["unlisted"] for row in faults),
        len(correct),
        sum(not row["passed"] for row in correct),
    ]


def table(rows: list[dict]) -> str:
    """Return the table as text."""
    families = list(dict.fromkeys(row["family"] for row in rows))
    lines = [f"{'family':<16}" + "".join(f"{c:>13}" for c in COLUMNS)]
    for name in [*families, "all"]:
        numbers = cells([row for row in rows if name in (row["family"], "all")])
        lines.append(f"{name:<16}" + "".join(f"{n:>13}" for n in numbers))
    return "\n".join(lines)


def _as_it_should_be(row: dict) -> bool:
    if "first" not in row:
        return row["passed"]
    return not row["passed"] and row["first"] and not row["unlisted"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=FAMILIES, metavar="FAMILY")
    parser.add_argument("--match", default="")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    jobs = [
        (name, kind, at)
        for name in options.only
        for kind, cases in enumerate(family(name))
        for at, case in enumerate(cases)
        if options.match in case.name
    ]
    rows, start = [], time.perf_counter()
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        for row in pool.map(judged, *zip(*jobs, strict=True)) if jobs else ():
            rows.append(row)
            if options.verbose and not _as_it_should_be(row):
                print(f"{row['family']}: {row['name']} {'passed' if row['passed'] else 'failed'}", flush=True)
                print(*(f"    {text}" for text in row["said"]), sep="\n", flush=True)
            if sys.stderr.isatty():
                print(f"\r{len(rows)} of {len(jobs)}", end="", file=sys.stderr, flush=True)
    print(f"\n{table(rows)}\n{time.perf_counter() - start:.0f} s, {options.workers} workers")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
