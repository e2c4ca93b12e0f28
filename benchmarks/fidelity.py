"""Does training here end where PyTorch + QPyTorch end?  Test error on the digits, over seeds.

    python benchmarks/fidelity.py [--seeds 12] [--formats e3m2 e4m2 e4m4] [--epochs 10]

Both sides start each seed from the same weights and see the same batches; the rounding noise is each
side's own (QPyTorch's cannot be seeded), so that only distributions can be compared.  Prints means,
standard errors, and the difference in units of its standard error.
"""

import argparse

import numpy as np
import torch_models as peer

from refimpl import data, nn

HIGH = "e8m7"


def ours(task, low, seed, epochs):
    """Return the test error of a training run here."""
    return nn.fit(
        nn.cnn(), task, precision=nn.Precision(low=low, high=HIGH), epochs=epochs, seed=seed
    ).test_error


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
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--formats", nargs="+", default=["e3m2", "e4m2", "e4m4"])
    options = parser.parse_args()
    peer.torch.set_num_threads(1)
    task = data.load("digits")
    print("low format   refimpl mean (s.e.)   QPyTorch mean (s.e.)   difference / its s.e.")
    for low in options.formats:
        pairs = [
            (ours(task, low, s, options.epochs), theirs(task, low, s, options.epochs))
            for s in range(options.seeds)
        ]
        means = np.mean(pairs, axis=0)
        errors = np.std(pairs, axis=0, ddof=1) / np.sqrt(options.seeds)
        ratio = (means[0] - means[1]) / np.hypot(*errors)
        print(f"{low:<12} {means[0]:.4f} ({errors[0]:.4f})       {means[1]:.4f} ({errors[1]:.4f})        {ratio:+.2f}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
