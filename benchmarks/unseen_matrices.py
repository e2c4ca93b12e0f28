"""Does the best estimator hold up on matrices it was not made on?  Compare it with the paper's ED-MF.

    python benchmarks/unseen_matrices.py [--data DIR] [--methods NAME ...] [--json FILE]

Made-up matrices of several families, and pieces cut out of the released one (where REFIMPL_PEPPP_DATA
or --data says it lies).  Every row is left out in turn.  ED-MF has rank 5, or as many as there are
measurements, rows to learn from less one, or columns less one, if fewer.

Prints, per family and number of measurements, how much less than ED-MF's the budget regret, HyperDiff
and convergence are (paired standard errors; ** where worse by more than two of them), and the coverage
of the 90 % bands.  Takes about five minutes on an idle core.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np
from sensitivity import made_up
from tqdm import tqdm

from refimpl.peppp import leave_one_out, paired_difference
from refimpl.peppp.estimators import methods
from refimpl.peppp.matrix.released import load_released

METRICS = ("budget_regret", "hyper_diff", "convergence")


def heavy_tailed(seed, rows=30, columns=40):
    """Errors whose noise differs from row to row and has heavy tails."""
    errors, memory = made_up(rows, columns, 0.0, seed=seed)
    rng = np.random.default_rng((seed, 1))
    noise = 0.02 * np.exp(rng.standard_normal((rows, 1))) * rng.standard_t(4, errors.shape)
    return np.clip(errors + noise, 0, 1), memory


def near_chance(seed, rows=30, columns=40):
    """A third of the rows fail with every configuration."""
    errors, memory = made_up(rows, columns, 0.02, seed=seed)
    rng = np.random.default_rng((seed, 1))
    fails = rng.random((rows, 1)) < 0.3
    return np.clip(np.where(fails, 0.9 + 0.005 * rng.standard_normal(errors.shape), errors), 0, 1), memory


def low_by_high(seed, rows=30, low=6, high=5):
    """Errors that are a sum of what the low and what the high format does, and noise."""
    rng = np.random.default_rng(seed)
    memory = 100.0 + (30 * np.arange(low)[:, None] + 3 * np.arange(high)).ravel()
    coarse = np.exp(-rng.uniform(0.2, 1.5, (rows, 1, 1)) * np.arange(low)[:, None])
    fine = np.exp(-rng.uniform(0.05, 0.6, (rows, 1, 1)) * np.arange(high))
    errors = rng.uniform(0.05, 0.5, (rows, 1, 1)) + 0.4 * coarse + 0.15 * fine
    noise = 0.03 * rng.standard_normal((rows, low * high))
    return np.clip(errors.reshape(rows, -1) + noise, 0, 1), memory


def cut(released, rows, columns, seed):
    """Some rows and columns of the released matrix."""
    rng = np.random.default_rng(seed)
    i = np.sort(rng.choice(len(released.rows), rows, replace=False))
    j = np.sort(rng.choice(len(released.columns), columns, replace=False))
    return released.values[np.ix_(i, j)], released.memory_mb[np.ix_(i, j)]


def families(directory):
    """Yield (name, matrix by seed, numbers of measurements, how many seeds)."""
    for rows, columns, noise, counts, seeds in (
        (30, 40, 0.03, (2, 5, 10, 15), 2),
        (30, 40, 0.1, (5, 10, 15), 2),
        (60, 60, 0.1, (5, 10, 15), 1),
        (12, 40, 0.02, (2, 5, 10), 4),
        (8, 40, 0.02, (2, 5, 10), 6),
        (6, 30, 0.03, (2, 5, 10), 8),
        (20, 6, 0.03, (1, 2, 4), 4),
        (20, 20, 0.03, (2, 5, 10), 3),
    ):
        made = functools.partial(made_up, rows, columns, noise)
        yield f"{rows} x {columns}, noise {noise}", lambda s, made=made: made(seed=s), counts, seeds
    yield "heavy-tailed 30 x 40", heavy_tailed, (5, 10, 15), 2
    yield "near chance 30 x 40", near_chance, (5, 10, 15), 2
    yield "low by high 30 x 30", low_by_high, (5, 10, 15), 2
    try:
        released = load_released(directory)
    except ValueError as error:
        print(f"pieces of the released matrix left out: {error}")
        return
    for rows, columns, counts, seeds in (
        (40, 60, (5, 10, 15), 2),
        (20, 30, (2, 5, 10, 15), 5),
        (10, 40, (2, 5, 10), 6),
        (6, 30, (2, 5, 10), 10),
        (30, 8, (1, 2, 4), 4),
    ):
        piece = functools.partial(cut, released, rows, columns)
        yield f"released, {rows} x {columns}", piece, counts, seeds


def scores(matrices, n, method):
    """Scores of all rows of several matrices."""
    found = [
        leave_one_out(
            errors, memory, n_measurements=n, method=method, rank=min(5, n, len(errors) - 2, errors.shape[1] - 1)
        )
        for errors, memory in matrices
    ]
    return {name: np.concatenate([f[name] for f in found]) for name in (*METRICS, "coverage")}


def main():
    """Leave out, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR")
    parser.add_argument("--methods", nargs="+", metavar="NAME", default=[methods.BEST])
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    table = []
    print(f"{'':26} n  {'':20}" + "".join(f"{name + ' less ed-mf':<25}" for name in METRICS))
    for name, make, counts, seeds in tqdm(list(families(options.data)), leave=False):
        matrices = [make(100 + seed) for seed in range(seeds)]
        for n in counts:
            paper = scores(matrices, n, "ed-mf")
            for method in options.methods:
                found = scores(matrices, n, method)
                pairs = [paired_difference(found[metric], paper[metric]) for metric in METRICS]
                said = "  ".join(
                    f"{mean:+.4f} ({error:.4f}) {'**' if mean > 2 * error else '  '}    " for mean, error in pairs
                )
                cover = float(np.nanmean(found["coverage"]))
                tqdm.write(f"{name:<26}{n:>3} {method:<20}{said}{cover:.3f}")
                table.append(
                    {"family": name, "n": n, "method": method, "coverage": cover}
                    | dict(zip(METRICS, pairs, strict=True))
                )
    if options.json:
        Path(options.json).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
