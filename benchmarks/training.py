"""How long does a training step take, beside PyTorch in float32 and PyTorch + QPyTorch as shipped?

    python benchmarks/training.py [--rounds 7] [--models mlp cnn res8] [--out training.json]

Checks parity first (five float32 steps from the same weights), then times all contestants in turn,
round after round, on one thread, in processor time; prints medians and ratios.  Without PyTorch or
QPyTorch installed, what is there is timed alone.
"""

import argparse
import json
import statistics
import time

import numpy as np
from threadpoolctl import threadpool_limits

from refimpl import data, nn
from refimpl.nn.training import _Record, _Run

MODELS = {
    "mlp": (nn.mlp, (8, 8, 1)),
    "cnn": (nn.cnn, (8, 8, 1)),
    "res8": (nn.resnet8, (32, 32, 3)),
}
LOW, HIGH = "e4m3", "e8m7"


def batch_of(shape, size, seed=0):
    """Return images and labels: random, which is as good as any for timing."""
    rng = np.random.default_rng(seed)
    return rng.random((size, *shape), np.float32), rng.integers(0, 10, size)


def our_step(model, images, labels, precision):
    """Return a function that takes one training step of ours."""
    task = data.Task("timing", images, labels, images, labels, classes=10, images_from="nothing")
    run = _Run(model, task, precision, nn.SGD(), 0, plain=False)
    return run, lambda rate=0.05: run.step(images, labels, rate, _Record())


def parity(name, images, labels):
    """Return the largest difference between weights of ours and PyTorch's after five float32 steps."""
    import torch_models as peer

    model = MODELS[name][0]()
    run, step = our_step(model, images, labels, nn.presets.float32())
    twin = peer.Twin(model, peer.nothing())
    theirs = peer.stepper(twin)
    for _ in range(5):
        step()
        theirs(images, labels)
    reference = peer.Twin(model, peer.nothing())
    pairs = zip(twin.parameters(), reference.parameters(), strict=True)
    gaps = [
        float((a - b).abs().max())
        for (a, b), kind in zip(pairs, twin.named_parameters(), strict=True)
        if a.dim() > 1
    ]
    return max(gaps)


def contestants(name, images, labels):
    """Return {title: function of one step} of everything that is installed."""
    make = MODELS[name][0]
    policies = {
        "refimpl float32": nn.presets.float32(),
        "refimpl LP": nn.Precision(low=LOW, high=HIGH),
    }
    found = {
        title: our_step(make(), images, labels, policy)[1] for title, policy in policies.items()
    }
    try:
        import torch
        import torch_models as peer
    except ImportError:
        return found
    torch.set_num_threads(1)
    model = make()
    model.initialize(np.random.default_rng(0))
    plain = peer.stepper(peer.Twin(model, peer.nothing()))
    found["torch float32"] = lambda: plain(images, labels)
    try:
        points = peer.qtorch_points(policies["refimpl LP"].low, policies["refimpl LP"].high)
    except (ImportError, RuntimeError, OSError) as reason:
        print(f"QPyTorch left out: {str(reason).splitlines()[0]}")
        return found
    low = policies["refimpl LP"].low, policies["refimpl LP"].high
    rounded = peer.stepper(peer.Twin(model, points), low=low[0], high=low[1])
    found["QPyTorch LP"] = lambda: rounded(images, labels)
    return found


def time_all(steps, rounds, least=0.3):
    """Return the median milliseconds of processor time of each step, contestants taking turns."""
    repeats = {}
    for title, step in steps.items():
        step()
        start = time.process_time()
        step()
        repeats[title] = max(1, int(least / max(time.process_time() - start, 1e-5)))
    found = {title: [] for title in steps}
    for _ in range(rounds):
        for title, step in steps.items():
            start = time.process_time()
            for _ in range(repeats[title]):
                step()
            found[title].append((time.process_time() - start) / repeats[title] * 1e3)
    return {title: statistics.median(values) for title, values in found.items()}


def main():
    """Check, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", default="training.json")
    options = parser.parse_args()
    results = {}
    with threadpool_limits(1), np.errstate(all="ignore"):
        for name in options.models:
            images, labels = batch_of(MODELS[name][1], options.batch)
            steps = contestants(name, images, labels)
            if "torch float32" in steps:
                print(
                    f"{name}: weights differ by {parity(name, images, labels):.1e} after five float32 steps"
                )
            results[name] = times = time_all(steps, options.rounds)
            ours = times["refimpl LP"]
            for title, ms in times.items():
                print(
                    f"{name} {options.batch}  {title:<16} {ms:9.3f} ms   {ms / ours:6.2f} x refimpl LP"
                )
    with open(options.out, "w") as file:
        json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
