"""Is choosing what to measure worth it?  D-optimal design against random measurements, on digits.

    python benchmarks/design_against_random.py [--out DIR] [--seeds 3] [--draws 200]

Trains all 99 configurations on the digits for each training seed (kept in DIR, so that a second
run is quick), then scores the recommendation after 8 measurements, chosen by design and at random,
both predicted by the same regression on the same embedding.  Prints means over seeds and draws.
"""

import argparse

import numpy as np

from refimpl import data
from refimpl.peppp import Estimate, Study, compare, meta_training
from refimpl.peppp.design import random_design
from refimpl.peppp.regression import predict


def scores(study, true, chosen):
    """Return the scores of the estimate made from the chosen entries of the true errors."""
    measured = np.full(len(true), np.nan)
    measured[chosen] = true[chosen]
    predicted = predict(study.embedding, chosen, true[chosen])
    return compare(Estimate(study.names, study.memory_mb, predicted, measured, chosen), true)


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
    totals = {"D-optimal": [], "random": []}
    for seed in range(options.seeds):
        study = Study(errors, task, measurements=8, seed=seed)
        true = study.measure_all(f"{options.out}-{seed}")
        rows = {"D-optimal": [scores(study, true, study.chosen)], "random": []}
        for draw in range(options.draws):
            try:
                chosen = random_design(len(true), 8, seed=draw)
                rows["random"].append(scores(study, true, chosen))
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
