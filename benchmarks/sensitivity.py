"""How much do the best estimator's three constants matter?  Vary each and look at its scores.

    python benchmarks/sensitivity.py [--data DIR] [--json FILE]

The number of first measurements, the floor of the weights and the number of parts for the held-out
choice of rank and noise were fixed once, not inside each fold.  Each is varied here with the others as
they are; every value is judged by leaving each row out, beside the paper's ED-MF at equal n:

* the rows that ship, from rows of other images;
* the released matrix, where REFIMPL_PEPPP_DATA or --data says it lies;
* made-up matrices of other shapes and noise, which no constant was ever chosen on.

Prints the mean budget regret at 5, 10 and 15 measurements, and how much less it is than ED-MF's (with
paired standard errors).  Takes about a quarter of an hour on an idle core.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from refimpl import data
from refimpl.peppp import leave_one_out, meta_training, paired_difference
from refimpl.peppp.estimators import methods
from refimpl.peppp.matrix.released import load_released
from refimpl.peppp.shipped import family

COUNTS = (5, 10, 15)
VARIANTS = (
    [{}]
    + [{"first": first} for first in (2, 3, 5, 6, 8)]
    + [{"floor": floor} for floor in (0.01, 0.03, 0.3, 1.0)]
    + [{"folds": folds} for folds in (5, 20, 1000)]  # of this many rows or fewer: leave-one-out
)


def matrices(directory):
    """Yield (name, errors, memory, groups)."""
    shipped = meta_training(data.load("digits"))
    yield "shipped", shipped, None, [family(row) for row in shipped.rows]
    try:
        released = load_released(directory)
    except ValueError as error:
        print(f"released matrix left out: {error}")
    else:
        yield "released", released.values, released.memory_mb, None
    yield "made up 30 x 40, noise .03", *made_up(30, 40, 0.03, seed=0), None
    yield "made up 60 x 60, noise .1", *made_up(60, 60, 0.1, seed=1), None
    yield "made up 20 x 99, noise .02", *made_up(20, 99, 0.02, seed=2), None


def made_up(rows, columns, noise, *, seed, rank=3):
    """Return errors that fall with memory, to tasks' own levels and at their own rates, and memory."""
    rng = np.random.default_rng(seed)
    memory = np.sort(rng.uniform(100, 1000, columns))
    fraction = (memory - memory[0]) / np.ptp(memory)
    level, rate = rng.uniform(0.05, 0.5, (rows, 1)), rng.uniform(1, 8, (rows, 1))
    shared = rng.normal(0, 0.15, (rows, rank)) @ rng.normal(0, 0.15, (rank, columns))
    errors = level + (0.9 - level) * np.exp(-rate * fraction) + shared
    return np.clip(errors + noise * rng.standard_normal(errors.shape), 0, 1), memory


def main():
    """Vary, leave out, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    table = []
    for name, errors, memory, groups in matrices(options.data):
        run = functools.partial(leave_one_out, errors, memory, n_measurements=COUNTS, groups=groups)
        paper = run(method="ed-mf")["budget_regret"]
        print(f"\n{name}: budget regret at 5/10/15; less ED-MF's (standard error)")
        print(f"  {'ed-mf':<16}{slashed(paper)}")
        for variant in tqdm(VARIANTS, leave=False):
            methods.METHODS["varied"] = functools.partial(believed, variant)
            found = run(method="varied")["budget_regret"]
            pairs = [paired_difference(a, b) for a, b in zip(found, paper, strict=True)]
            said = ", ".join(f"{k} {v}" for k, v in variant.items()) or "as it is"
            less = "  ".join(f"{mean:+.4f} ({error:.4f})" for mean, error in pairs)
            tqdm.write(f"  {said:<16}{slashed(found)}   {less}")
            table.append({"matrix": name, "variant": variant, "regret": found.mean(axis=1).tolist(), "less": pairs})
    if options.json:
        Path(options.json).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def believed(variant, method, *learned_from):
    """Learn as the best method does, with a constant changed."""
    return methods.Believed(methods.BEST, *learned_from, **variant)


def slashed(scores):
    """Return means as text."""
    return "/".join(f"{row.mean():.4f}" for row in scores)


if __name__ == "__main__":
    main()
