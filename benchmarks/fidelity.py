"""Does training here end where PyTorch + QPyTorch end?  Test error on the digits, over seeds.

    python benchmarks/fidelity.py [--seeds 12] [--own-seeds 100] [--formats e3m2 e4m2 e4m4]
                                  [--record FILE]

Both sides start each seed from the same weights and see the same batches at the same rates; the
rounding noise is each side's own (QPyTorch's cannot be seeded), and decides most: errors of the same
seed are hardly correlated, so that only distributions can be compared.  Ours is cheap and gets more
seeds.  With `--record FILE` every run is written down at once, and not done again.  Prints means, standard
errors, and the difference in units of its standard error.
"""

import argparse
import json
import os

import numpy as np
import torch_models as peer
from tqdm import tqdm

from refimpl import data, nn

HIGH, EPOCHS = "e8m7", 10


def ours(task, low, seed, epochs):
    """Return the test error of a training run here."""
    return nn.fit(nn.cnn(), task, precision=nn.Precision(low=low, high=HIGH), epochs=epochs, seed=seed).test_error


def theirs(task, low, seed, epochs, batch=32, rate=0.05):
    """Return the test error of the same run there: weights, batches and rates as `refimpl.nn.fit` makes them."""
    policy = nn.Precision(low=low, high=HIGH)
    model = nn.cnn()
    weight_seed, batch_seed = np.random.SeedSequence(seed).spawn(2)
    model.initialize(np.random.default_rng(weight_seed))
    batches = np.random.default_rng(batch_seed)
    twin = peer.Twin(model, peer.qtorch_points(policy.low, policy.high))
    step = peer.stepper(twin, low=policy.low, high=policy.high)
    steps = len(task.train_images) // batch
    for epoch in range(epochs):
        order = batches.permutation(len(task.train_images))
        for i in range(steps):
            chosen = order[i * batch : (i + 1) * batch]
            done = (epoch * steps + i) / (epochs * steps)
            step(task.train_images[chosen], task.train_labels[chosen], rate * (1 - 0.95 * done))
    return peer.error(twin, task.test_images, task.test_labels)


def main():
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=12, help="of QPyTorch (default 12)")
    parser.add_argument("--own-seeds", type=int, default=100, help="of ours (default 100)")
    parser.add_argument("--formats", nargs="+", default=["e3m2", "e4m2", "e4m4"])
    parser.add_argument("--record", metavar="FILE", default=os.devnull, help="journal, to continue from")
    options = parser.parse_args()
    peer.torch.set_num_threads(1)
    task = data.load("digits")
    wanted = [
        (side, low, seed)
        for side, seeds in (("ours", options.own_seeds), ("theirs", options.seeds))
        for seed in range(seeds)
        for low in options.formats
    ]
    found = {}
    with open(options.record, "a+") as record:
        record.seek(0)
        for line in record:
            *run, error = json.loads(line)
            found[tuple(run)] = error
        for run in tqdm([run for run in wanted if run not in found], unit="training"):
            side, low, seed = run
            found[run] = (ours if side == "ours" else theirs)(task, low, seed, EPOCHS)
            record.write(json.dumps([*run, found[run]]) + "\n")
            record.flush()
    print("low format   refimpl mean (s.e., seeds)   QPyTorch mean (s.e., seeds)   difference / its s.e.")
    for low in options.formats:
        means, errors, counts = [], [], []
        for side in ("ours", "theirs"):
            sample = [found[run] for run in wanted if run[:2] == (side, low)]
            means.append(np.mean(sample))
            errors.append(np.std(sample, ddof=1) / np.sqrt(len(sample)))
            counts.append(len(sample))
        ratio = (means[0] - means[1]) / np.hypot(*errors)
        print(
            f"{low:<12} {means[0]:.4f} ({errors[0]:.4f}, {counts[0]})         "
            f"{means[1]:.4f} ({errors[1]:.4f}, {counts[1]})          {ratio:+.2f}"
        )


if __name__ == "__main__":
    main()
