"""Is choosing what to measure worth it?  Chosen against random measurements, on digits.

    python benchmarks/design_against_random.py [--out DIR] [--seeds 3] [--draws 200]

Trains all 99 configurations on the digits for each training seed (kept in DIR, so that a second
run is quick), then scores the recommendation after 8 measurements, chosen by the knowledge gradient, by
D-optimal design (the paper's) and at random.  Prints means over seeds and draws.
"""

import argparse

import numpy as np

from refimpl import data
from refimpl.peppp import Study, compare, meta_training


def main():
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="frontier-digits-all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=200)
    options = parser.parse_args()
    task = data.load("digits")
    errors = meta_training(task)
    print("8 measurements of 99 configurations; mean (standard error) over draws")
    designed = ("knowledge-gradient", "ed-mf")
    totals = {name: [] for name in (*designed, "random-mf")}
    for seed in range(options.seeds):
        true = Study(errors, task, seed=seed).measure_all(f"{options.out}-{seed}")
        rows = {name: [] for name in totals}
        for method in designed:
            rows[method] = [compare(Study(errors, task, method=method).estimate(true), true)]
        for draw in range(options.draws):
            try:
                study = Study(errors, task, method="random-mf", seed=draw)
                rows["random-mf"].append(compare(study.estimate(true), true))
            except ValueError:  # the draw does not determine the regression: not counted
                continue
        for method, found in rows.items():
            totals[method] += found
            _print(f"seed {seed}, {method}", found)
    for method, found in totals.items():
        _print(f"all seeds, {method}", found)


def _print(title, rows):
    cells = []
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        spread = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        cells.append(f"{name} {values.mean():.4f} ({spread:.4f})")
    print(f"{title:<24} " + "; ".join(cells))


if __name__ == "__main__":
    main()
