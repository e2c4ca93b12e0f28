"""Does measuring a few configurations pay?  Every method, judged by trainings it did not see.

    python benchmarks/estimation.py [--data DIR] [--jobs N] [--json FILE] [--only PART ...]

Parts:

noise      what part of the task x configuration interaction comes again with another seed, and its ratio to what
           trainings scatter by: of the shipped matrix, or of --matrix, as `refimpl sweep --repeats` writes it. A recipe
           (epochs, batch, learning rate, loss scale) is the better to learn by, the larger the ratio
images     rows of one family of images are left out together; a row is measured from one seed, and the mean of the
           other two is the truth; each seed is measured once
network    the same, rows of one network left out together
tasks      the main job as it is by default on a data set of each family of images, twelve, trained in all 99 from two
           seeds here (some fifteen minutes), or on those of --matrix, a sweep with repeats: learned from the rows of
           other images that ship, measured from one seed, judged by the other, each in turn
repeats    may the strategy train again what it has trained once?  Both ways, as in images, judged by the third seed
released   the 87 x 99 matrix released with PEPPP (where REFIMPL_PEPPP_DATA or --data says it lies): one draw a cell,
           so that what is measured is what it is scored by; complete, and learned from 20 % of the entries. Also where
           the last one or two trainings are spent on the least expected error: better without a cap, worse over caps

Regret is how much larger the true error of what is recommended is than the least true error within the cap; budget
regret is its mean over all caps. A quarter, half, three quarters: the caps at these parts of each row's range, given
before anything is measured. Less this is the paired difference from another method, with its standard error over rows.
The bound less the mean row: what all 99 trained once, luck allowed for, gain on training none; no choice of what to
train could know more.
The part images takes 11 minutes on two cores with --methods knowledge-gradient ed-mf mean-row everything-once
random-high-memory.
"""

import argparse
import itertools
import json
import re
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from refimpl import data
from refimpl.peppp import ErrorMatrix, leave_one_out, meta_training, paired_difference, run_sweep
from refimpl.peppp import frontier as fronts
from refimpl.peppp.configs import CONFIGURATIONS
from refimpl.peppp.estimators import sequential
from refimpl.peppp.estimators.methods import BEST, learn
from refimpl.peppp.matrix.released import load_released
from refimpl.peppp.shipped import family

COUNTS = (5, 8, 15)
METHODS = (BEST, "ed-mf", "random-mf", "bo-mf", "bo-full", "gp", "random-high-memory", "mean-row")
METHODS += ("everything-once", "everything-shrunk")
BOUND, NOTHING = "everything-shrunk", "mean-row"
DATA_SETS = (
    "digits latin-capitals-ten latin-small-noisy greek-clean cyrillic-ten phonetic-noisy symbols-ten gratings "
    "dots-noisy outlines colours-noisy curves"
).split()
PARTS = ("noise", "images", "network", "tasks", "repeats", "released")
CAPS = {"no cap": None, "3/4": 0.75, "1/2": 0.5, "1/4": 0.25}


def main():
    """Print the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR")
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--matrix", metavar="FILE", help="npz, for the parts noise and tasks")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, metavar="NAME")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART")
    options = parser.parse_args()
    shipped = meta_training(data.load("digits"))
    networks = [network(row) for row in shipped.rows]
    parts = {
        "noise": lambda: noise(shipped if options.matrix is None else ErrorMatrix.load(options.matrix)),
        "images": lambda: held_out(shipped, [family(row) for row in shipped.rows], options),
        "network": lambda: held_out(shipped, networks, options, caps=("no cap",)),
        "tasks": lambda: tasks(options),
        "repeats": lambda: repeats(shipped),
        "released": lambda: released(options),
    }
    found = {}
    for name in options.only or PARTS:
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


def tasks(options):
    """Print regrets of the main job on data sets, learned from the rows of other images that ship."""
    if options.matrix is not None:
        errors = ErrorMatrix.load(options.matrix)
    else:
        with tempfile.TemporaryDirectory() as directory:
            errors = run_sweep(DATA_SETS, [c.name for c in CONFIGURATIONS], directory, repeats=2, jobs=options.jobs)
    methods = dict.fromkeys((BEST, *options.methods))
    found = np.empty((len(methods), len(errors.rows), 3, len(COUNTS), len(errors.repeats)))
    for i in tqdm(range(len(errors.rows)), leave=False):
        shipped = meta_training(data.load(errors.rows[i].partition("@")[0]))
        features = bits(shipped.columns)
        for j, method in enumerate(methods):
            learned = learn(method, shipped.values, shipped.memory_mb, repeats=shipped.repeats, features=features)
            for k, n in itertools.product(range(len(errors.repeats)), COUNTS):
                measured, others = errors.repeats[k, i], np.delete(errors.repeats[:, i], k, axis=0)
                everything = np.ones(len(measured), dtype=bool)
                strategy = learned.strategy(n, memory=errors.memory_mb[i], allowed=everything, seed=i)
                chosen = sequential.measure_by(strategy, measured.__getitem__)
                found[j, i, :, COUNTS.index(n), k] = judged(learned, errors.memory_mb[i], others, *chosen)
    return scored(methods, found)


def scored(methods, found):
    """Print and return the table of what `judged` found, shape (methods, rows, 3, counts, seeds)."""
    means = found.mean(axis=-1).transpose(0, 2, 3, 1)
    names = ("budget", "no cap", "coverage")
    return table(
        {m: dict(zip(names, of, strict=True)) for m, of in zip(methods, means, strict=True)}, names[:2], COUNTS
    )


def judged(learned, memory, others, columns, errors, counts=None):
    """Return budget regret, regret without a cap, and the part of other trainings, shape (k, columns), within bands."""
    best, band = learned.best(columns, errors, counts), learned.band(len(columns))
    true, inside = others.mean(axis=0), np.nan
    if band is not None:
        mean, deviation = learned.predict(columns, errors, counts)
        inside = np.delete(np.abs(others - mean) <= band * deviation, columns, axis=1).mean()
    return fronts.budget_regret(memory, true, best), fronts.regret(true, fronts.recommend(memory, best)), inside


def repeats(errors):
    """Print what the best method gains by training again what it has trained once, where that promises most."""
    families = np.array([family(row) for row in errors.rows])
    orders = list(itertools.permutations(range(3)))  # measured, measured again, the truth
    found = np.empty((2, len(errors.rows), 3, len(COUNTS), len(orders)))
    for i in tqdm(range(len(errors.rows)), leave=False):
        if i == 0 or families[i] != families[i - 1]:
            others = families != families[i]
            draws = errors.repeats[:, others]
            learned = learn(BEST, errors.values[others], errors.memory_mb[others], repeats=draws)
        for again, (k, order) in itertools.product((0, 1), enumerate(orders)):
            for n, seen in trained_again(learned, errors.memory_mb[i], errors.repeats[list(order[:2]), i], again):
                scores = judged(learned, errors.memory_mb[i], errors.repeats[order[2:], i], *seen)
                found[again, i, :, COUNTS.index(n), k] = scores
    return scored((BEST, "may train again"), found)


def trained_again(learned, memory, draws, again):
    """Yield what the knowledge gradient has seen after so many trainings; of each column at most 1 + `again`."""
    order = np.argsort(memory, kind="stable")
    levels, rows = np.flatnonzero(np.append(True, np.diff(memory[order]) > 0)), learned.prior.rows
    everything = np.ones(len(memory), dtype=bool)
    first = sequential.variance_reduction(
        rows.given([], []), sequential.FIRST, weights=learned.weights, allowed=everything
    )
    counts = np.zeros(len(memory), dtype=int)
    counts[first] = 1
    for n in range(len(first) + 1, max(COUNTS) + 1):
        belief = rows.given(*means_of(draws, counts))
        counts[sequential.most_useful(belief, order, levels, (counts <= again)[order])] += 1
        if n in COUNTS:
            yield n, means_of(draws, counts)


def means_of(draws, counts):
    """Return the columns that were trained, the means of as many trainings as each has, and how many."""
    columns = np.flatnonzero(counts)
    return columns, np.array([draws[: counts[j], j].mean() for j in columns]), counts[columns].astype(float)


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
        if {BOUND, NOTHING} <= scores.keys():
            pair = paired_difference(scores[BOUND][columns[0]][k], scores[NOTHING][columns[0]][k])
            print(f"  {columns[0]}, bound less {NOTHING}: {pair[0]:+.4f} ({pair[1]:.4f})")
            kept.append({"n": n, "bound less mean-row": pair})
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
        if sampling == "full":
            scores |= ending_with_the_least(errors, (5, 10, 15))
        kept[sampling] = table(scores, ("budget", "no cap"), (5, 10, 15))
    return kept


def ending_with_the_least(errors, counts):
    """Return scores where the last one or two trainings are those of the least expected error, whatever its memory."""
    found = np.full((2, 3, len(counts), len(errors.rows)), np.nan)  # the bands are as without, and not scored again
    everything = np.ones(len(errors.columns), dtype=bool)
    for i, (row, memory) in enumerate(zip(tqdm(errors.values, leave=False), errors.memory_mb, strict=True)):
        learned = learn(BEST, np.delete(errors.values, i, axis=0), np.delete(errors.memory_mb, i, axis=0))
        for (k, n), last in itertools.product(enumerate(counts), (1, 2)):
            strategy = learned.strategy(n - last, memory=memory, allowed=everything, seed=i)
            columns, _ = sequential.measure_by(strategy, row.__getitem__)
            for _ in range(last):
                expected = learned.best(columns, row[columns])
                expected[columns] = np.inf
                columns = np.append(columns, expected.argmin())
            best = learned.best(columns, row[columns])
            found[last - 1, :2, k, i] = (
                fronts.budget_regret(memory, row, best),
                fronts.regret(row, fronts.recommend(memory, best)),
            )
    names = ("budget", "no cap", "coverage")
    return {f"last {last} on the least": dict(zip(names, found[last - 1], strict=True)) for last in (1, 2)}


if __name__ == "__main__":
    main()
