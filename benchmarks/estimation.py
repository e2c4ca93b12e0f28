"""Does measuring a few configurations pay?  Every method, judged by trainings it did not see.

    python benchmarks/estimation.py [--data DIR] [--jobs N] [--json FILE] [--only PART ...]

Parts:

noise      what part of the task x configuration interaction comes again with another seed, and its ratio to what
           trainings scatter by: of the shipped matrix, or of --matrix, as `refimpl sweep --repeats` writes it. A recipe
           (epochs, batch, learning rate, loss scale) is the better to learn by, the larger the ratio
images     rows of one family of images are left out together; a row is measured from one seed, and the mean of the
           other two is the truth; each seed is measured once
network    the same, rows of one network left out together
released   the 87 x 99 matrix released with PEPPP (where REFIMPL_PEPPP_DATA or --data says it lies): one draw a cell,
           so that what is measured is what it is scored by; complete, and learned from 20 % of the entries

Regret is how much larger the true error of what is recommended is than the least true error within the cap; budget
regret is its mean over all caps. A quarter, half, three quarters: the caps at these parts of each row's range, given
before anything is measured. Less this is the paired difference from another method, with its standard error over rows.
The part images takes 11 minutes on two cores with --methods knowledge-gradient ed-mf mean-row everything-once
random-high-memory.
"""

import argparse
import itertools
import json
import re
from pathlib import Path

import numpy as np
from tqdm import tqdm

from refimpl import data
from refimpl.peppp import ErrorMatrix, leave_one_out, meta_training, paired_difference
from refimpl.peppp.estimators.methods import BEST
from refimpl.peppp.matrix.released import load_released
from refimpl.peppp.shipped import family

COUNTS = (5, 8, 15)
METHODS = (BEST, "ed-mf", "random-mf", "bo-mf", "bo-full", "gp", "random-high-memory", "mean-row")
METHODS += ("everything-once", "everything-shrunk")
CAPS = {"no cap": None, "3/4": 0.75, "1/2": 0.5, "1/4": 0.25}


def main():
    """Print the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR")
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--matrix", metavar="FILE", help="npz, for the part noise")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, metavar="NAME")
    parser.add_argument("--only", nargs="+", choices=("noise", "images", "network", "released"), metavar="PART")
    options = parser.parse_args()
    shipped = meta_training(data.load("digits"))
    networks = [network(row) for row in shipped.rows]
    parts = {
        "noise": lambda: noise(shipped if options.matrix is None else ErrorMatrix.load(options.matrix)),
        "images": lambda: held_out(shipped, [family(row) for row in shipped.rows], options),
        "network": lambda: held_out(shipped, networks, options, caps=("no cap",)),
        "released": lambda: released(options),
    }
    found = {}
    for name in options.only or parts:
        print(f"\n{name}")
        found[name] = parts[name]()
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def network(row):
    """Return the network of a row of a sweep, if its name says one."""
    return row.partition("model=")[2].partition(",")[0]


def noise(errors):
    """Print how far trainings scatter, and what of the interaction repeats."""
    draws, mean = errors.repeats, errors.values
    if draws is None or len(draws) < 2 or np.isnan(draws).any():
        raise SystemExit("the matrix has not every cell trained at least twice: refimpl sweep --repeats 2")
    networks = [network(row) for row in errors.rows]
    luck = draws.var(axis=0, ddof=1)
    found = {"deviation of a training": float(np.sqrt(luck.mean()))}
    for name in dict.fromkeys(networks):
        found[f"  of {name or 'rows that name no network'}"] = float(np.sqrt(luck[np.array(networks) == name].mean()))
    for what, columns in (("all columns", slice(None)), ("the 50 best", np.argsort(mean.mean(axis=0))[:50])):
        some = draws[:, :, columns]
        parts = (
            some
            - some.mean(axis=1, keepdims=True)
            - some.mean(axis=2, keepdims=True)
            + some.mean(axis=(1, 2), keepdims=True)
        )
        again = np.mean([(parts[a] * parts[b]).mean() for a, b in itertools.combinations(range(len(parts)), 2)])
        found[f"interaction that repeats, {what}"] = float(np.sqrt(max(again, 0)))
        found[f"  part of its variance, {what}"] = float(again / (parts**2).mean())
        found[f"  ratio to a training's deviation, {what}"] = float(np.sqrt(max(again, 0) / luck[:, columns].mean()))
    for name, value in found.items():
        print(f"  {name:<50} {value:.3f}")
    return found


def held_out(errors, groups, options, caps=CAPS):
    """Print regrets with groups of rows left out together, means over the seed that is measured."""
    features = bits(errors.columns)
    scores: dict = {}
    methods = dict.fromkeys((BEST, *options.methods))
    runs = [(method, cap, repeat) for method in methods for cap in caps for repeat in range(len(errors.repeats))]
    for method, cap, repeat in tqdm(runs, leave=False):
        counts = COUNTS if cap != "1/4" else COUNTS[:-1]  # of some rows, fewer than 15 are within that cap
        found = leave_one_out(
            errors,
            n_measurements=counts,
            method=method,
            groups=groups,
            cap_fraction=CAPS[cap],
            measured_repeat=repeat,
            features=features if method == "gp" else None,
            jobs=options.jobs,
        )
        missing = np.full((len(COUNTS) - len(counts), len(errors.rows)), np.nan)
        here = scores.setdefault(method, {})
        here.setdefault(cap, []).append(np.vstack([found["regret"], missing]))
        if cap == "no cap":
            here.setdefault("budget", []).append(found["budget_regret"])
            here.setdefault("coverage", []).append(found["coverage"])
    means = {m: {k: np.mean(v, axis=0) for k, v in of.items()} for m, of in scores.items()}
    return table(means, ("budget", *caps), COUNTS)


def bits(names):
    """Return the four bit counts of each configuration, each from 0 to 1."""
    counts = np.array([re.findall(r"\d+", name) for name in names], float)
    return (counts - counts.min(axis=0)) / np.ptp(counts, axis=0)


def table(scores, columns, counts):
    """Print means, and the best method's less every other's with paired standard errors; return all of it."""
    kept = []
    for k, n in enumerate(counts):
        print(
            f"\n  n = {n:<21}"
            + "".join(f"{name:>9}" for name in columns)
            + f"   coverage   {BEST} less this, each with its standard error"
        )
        for method, of in scores.items():
            means = [float(np.mean(of[name][k])) for name in columns]
            pairs = [
                paired_difference(scores[BEST][name][k], of[name][k])
                for name in columns
                if np.isfinite(of[name][k]).all()
            ]
            cover = "" if np.isnan(of["coverage"][k]).all() else f"{np.nanmean(of['coverage'][k]):.3f}"
            said = "  ".join(f"{mean:+.4f} ({error:.4f})" for mean, error in pairs) if method != BEST else ""
            print(f"  {method:<25}" + "".join(f"{mean:9.4f}" for mean in means) + f"   {cover:<9}  {said}")
            kept.append({"n": n, "method": method, "means": means, "best less this": pairs, "coverage": cover})
    return {"columns": columns, "rows": kept}


def released(options):
    """Print scores on the released matrix, from all of it and from a fifth."""
    try:
        errors = load_released(options.data)
    except ValueError as error:
        print(f"  left out: {error}")
        return None
    kept = {}
    for sampling in ("full", "uniform", "memory-biased"):
        print(f"\n  learned from {'all entries' if sampling == 'full' else f'20 % of the entries, {sampling}'}")
        scores = {}
        for method in (BEST, "ed-mf", "bo-full", "random-high-memory") if sampling == "full" else (BEST, "ed-mf"):
            found = leave_one_out(
                errors,
                n_measurements=(5, 10, 15),
                method=method,
                meta_training=sampling,
                jobs=options.jobs,
                progress=True,
            )
            scores[method] = {
                "budget": found["budget_regret"],
                "no cap": found["regret"],
                "coverage": found["coverage"],
            }
        kept[sampling] = table(scores, ("budget", "no cap"), (5, 10, 15))
    return kept


if __name__ == "__main__":
    main()
