"""Do the claims of papers get the same verdicts from other seeds?

    python benchmarks/other_seeds.py DIR [--seeds 7 8] [--papers NAME ...] [--jobs N]

Runs `refimpl reproduce PAPER --quick --seed N`, each in a directory of its own in DIR, where what is found stays; given
again, goes on.  Prints the claims whose verdicts differ from one another or from the full run that ships, and how many
agree.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import refimpl
from refimpl.__main__ import main as command
from refimpl.papers.catalogue import NAMES, paper, verdicts

UNDECIDED = "cannot be checked here"


def found(directory, name, seed, jobs):
    """Return verdicts by claim of a quick run from a seed."""
    out = directory / f"{name}-{seed}"
    try:
        known = json.loads((out / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    claims = {claim.name for claim in paper(name).claims}
    whole = known.get("quick") and known["version"] == refimpl.__version__ and known["claims"].keys() == claims
    if not whole:
        words = ["reproduce", name, "--quick", "--seed", str(seed), "--jobs", str(jobs), "--quiet", "--out", str(out)]
        if status := command(words):
            raise SystemExit(status)
        known = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return {claim: of["verdict"] for claim, of in known["claims"].items()}


def kind(one, other):
    """Return how two verdicts go together."""
    return "the same" if one == other else "one undecided" if UNDECIDED in (one, other) else "another"


def main():
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8])
    parser.add_argument("--papers", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    shipped = {(name, claim): verdict for name, claim, verdict, _ in verdicts()}
    ran = {
        seed: {
            (name, c): v
            for name in options.papers
            for c, v in found(options.directory, name, seed, options.jobs).items()
        }
        for seed in options.seeds
    }
    columns = {"full, as it ships": shipped, **{f"quick, seed {seed}": of for seed, of in ran.items()}}
    print(f"\n{'claim':<50}" + "".join(f"{name:<24}" for name in columns))
    for key in ran[options.seeds[0]]:
        row = [of[key] for of in columns.values()]
        if len(set(row)) > 1:
            print(f"{': '.join(key):<50}" + "".join(f"{verdict:<24}" for verdict in row))
    pairs = [(f"full and quick, seed {seed}", shipped, of) for seed, of in ran.items()]
    pairs += [(f"quick, seeds {a} and {b}", ran[a], ran[b]) for i, a in enumerate(ran) for b in list(ran)[i + 1 :]]
    print()
    for label, one, other in pairs:
        count = Counter(kind(one[key], other[key]) for key in other)
        print(f"{label}: of {len(other)} verdicts " + ", ".join(f"{n} {what}" for what, n in count.most_common()))


if __name__ == "__main__":
    main()
