"""How much does one cell of the error matrix vary with the seed?

    python benchmarks/seed_noise.py [--seeds 6]

Trains the digits in one configuration for each of the 11 low formats with several seeds and
prints mean and standard deviation of the test error.
"""

import argparse

import numpy as np

from refimpl.peppp.configs import LOW
from refimpl.peppp.sweeping.sweep import Settings, train_cell


def main():
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    seeds = parser.parse_args().seeds
    print("low format    mean   standard deviation of the test error over seeds")
    for low in LOW:
        found = [train_cell("digits", f"{low}+e8m7", Settings(seed=s))["error"] for s in range(seeds)]
        print(f"{low:<12} {np.mean(found):.3f}   {np.std(found, ddof=1):.3f}")


if __name__ == "__main__":
    main()
