"""How long does a training step take under each preset, beside PyTorch in float32 and PyTorch + QPyTorch as shipped?

    python benchmarks/training.py [--rounds 7] [--models mlp cnn res8 transformer] [--only peppp fp8 ...]
                                  [--optimised] [--whole] [--json FILE]

Checks parity first (five float32 steps from the same weights), then times all contestants in turn, round after
round, on one thread, in processor time; prints medians, their ratios to the step of PEPPP's policy, to that without
rounding and to PyTorch's in float32, and the road: `engine`, or what of a step goes layer by layer.  Without PyTorch
or QPyTorch installed, what is there is timed alone.  `--optimised` builds QPyTorch's extension once more with -O3,
which it is not shipped with, as one more contestant.  What rounding alone takes each follows.  `--whole` adds what
whole runs need: the seconds of a first training in a fresh process, the memory of a training beside that of the
network's own tensors, and the seconds of 99 configurations on digits in two processes.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from refimpl import data, nn, ops, peppp
from refimpl.nn.training import EpochRecord, TrainingState

MODELS = {
    "mlp": (nn.mlp, (8, 8, 1)),
    "cnn": (nn.cnn, (8, 8, 1)),
    "res8": (nn.resnet8, (32, 32, 3)),
    "transformer": (nn.transformer, (8, 8, 1)),
}
LOW, HIGH = "e4m3", "e8m7"


def in_blocks(values="mxfp8_e4m3", gradients="mxfp8_e5m2"):
    """Return the policy that rounds what is multiplied to MX blocks, and nothing else."""
    operand, gradient = nn.Rounding(format=values), nn.Rounding(format=gradients, rounding="stochastic")
    roles = {"left operand": operand, "right operand": operand, "product gradient": gradient}
    return nn.Precision(roles=roles, loss_scale=1.0)


PEPPP, FLOAT32, TORCH = "peppp", "float32", "torch float32"
POLICIES = {
    FLOAT32: (nn.presets.float32, nn.SGD),
    PEPPP: (nn.presets.peppp, nn.SGD),
    "mixed": (nn.presets.mixed, nn.SGD),
    "mixed bfloat16": (partial(nn.presets.mixed, "bfloat16"), nn.SGD),
    "pure16": (nn.presets.pure16, nn.SGD),
    "stochastic bfloat16": (partial(nn.presets.pure16, "bfloat16", rounding="stochastic"), nn.SGD),
    "fp8": (nn.presets.fp8, nn.SGD),
    "fp8 delayed": (partial(nn.presets.fp8, "delayed"), nn.SGD),
    "int8": (nn.presets.int8, nn.SGD),
    "mxfp8": (in_blocks, nn.SGD),
    "nvfp4": (nn.presets.nvfp4, nn.SGD),
    "nvfp4 unrotated": (partial(nn.presets.nvfp4, None), nn.SGD),
    "float32, Adam": (nn.presets.float32, nn.Adam),
    "peppp, Adam": (nn.presets.peppp, nn.Adam),
    "peppp, 8-bit Adam": (nn.presets.peppp, partial(nn.Adam, state="8-bit")),
}


def batch_of(shape, size, seed=0):
    """Return images and labels: random, which is as good as any for timing."""
    rng = np.random.default_rng(seed)
    return rng.random((size, *shape), np.float32), rng.integers(0, 10, size)


def our_run(model, images, labels, precision, optimizer=None):
    """Return a training of ours that has not begun."""
    task = data.Task("timing", images, labels, images, labels, classes=10, images_from="nothing")
    return TrainingState(model, task, precision, optimizer or nn.SGD(), 0, layer_by_layer=False)


def our_step(run, images, labels):
    """Return a function that takes one training step of ours."""
    return lambda rate=0.05: run.step(images, labels, rate, EpochRecord())


def road(run, images):
    """Return what of a step is on the engine."""
    apart = [] if run.optimizer.calls() else ["optimizer"]
    apart += [] if run._program(images) else ["network"]
    return f"{' and '.join(apart)} layer by layer" if apart else "engine"


def parity(name, images, labels):
    """Return the largest difference between weights of ours and PyTorch's after five float32 steps."""
    import torch_models as peer

    model = MODELS[name][0]()
    step = our_step(our_run(model, images, labels, nn.presets.float32()), images, labels)
    twin = peer.Twin(model, peer.nothing())
    theirs = peer.stepper(twin)
    for _ in range(5):
        step()
        theirs(images, labels)
    reference = peer.Twin(model, peer.nothing())
    pairs = zip(twin.parameters(), reference.parameters(), strict=True)
    gaps = [
        float((a - b).detach().abs().max())
        for (a, b), kind in zip(pairs, twin.named_parameters(), strict=True)
        if a.dim() > 1
    ]
    return max(gaps)


def contestants(name, images, labels, only, optimised=False):
    """Return {title: (function of one step, road)} of everything that is installed."""
    make, found = MODELS[name][0], {}
    for title in only:
        policy, optimizer = POLICIES[title]
        run = our_run(make(), images, labels, policy(), optimizer())
        found[title] = our_step(run, images, labels), road(run, images)
    try:
        import torch
        import torch_models as peer
    except ImportError:
        return found
    torch.set_num_threads(1)
    model = make()
    model.initialize(np.random.default_rng(0))
    unrounded = peer.stepper(peer.Twin(model, peer.nothing()))
    found[TORCH] = (lambda: unrounded(images, labels)), ""
    low, high = (getattr(nn.Precision(low=LOW, high=HIGH), which) for which in ("low", "high"))
    try:
        points = peer.qtorch_points(low, high)
    except (ImportError, RuntimeError, OSError) as reason:
        print(f"QPyTorch left out: {str(reason).splitlines()[0]}")
        return found
    rounded = peer.stepper(peer.Twin(model, points), low=low, high=high)
    found["QPyTorch peppp"] = (lambda: rounded(images, labels)), ""
    if optimised:
        switch = peer.optimised_qtorch()
        found["QPyTorch -O3 peppp"] = (lambda: switch(lambda: rounded(images, labels))), ""
    return found


def time_all(steps, rounds, least=0.2):
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


def table_of(name, options):
    """Print the table of a model's steps; return its rows."""
    images, labels = batch_of(MODELS[name][1], options.batch)
    found = contestants(name, images, labels, options.only, options.optimised)
    if TORCH in found:
        print(f"{name}: weights differ by {parity(name, images, labels):.1e} after five float32 steps")
    times = time_all({title: step for title, (step, _) in found.items()}, options.rounds)
    print(
        f"{name + ' ' + str(options.batch):<16} {'':<20} {'ms':>9} {'x peppp':>9} {'x float32':>9} {'x torch':>9}  road"
    )
    rows = {}
    for title, ms in times.items():
        ratios = {of: ms / times[of] for of in (PEPPP, FLOAT32, TORCH) if of in times}
        rows[title] = {"ms": ms, "road": found[title][1], **{f"x {of}": ratio for of, ratio in ratios.items()}}
        shown = " ".join(f"{ratios[of]:9.2f}" if of in ratios else f"{'':9}" for of in (PEPPP, FLOAT32, TORCH))
        print(f"{name:<16} {title:<20} {ms:9.3f} {shown}  {found[title][1]}", flush=True)
    return rows


def rounding_speed(optimised=False, elements=1 << 20):
    """Print the nanoseconds an element of stochastic rounding to the low format takes each."""
    x = np.random.default_rng(0).standard_normal(elements, np.float32)
    out = np.empty_like(x)
    fmt = nn.Precision(low=LOW, high=HIGH).low
    steps = {"refimpl": lambda: ops.quantize(x, fmt, rounding="stochastic", seed=0, out=out)}
    try:
        import torch
        import torch_models as peer
        from qtorch.quant import float_quantize

        tensor = torch.from_numpy(x)
        bits = fmt.exponent_bits, fmt.mantissa_bits
        steps["QPyTorch"] = lambda: float_quantize(tensor, *bits, rounding="stochastic")
        if optimised:
            switch = peer.optimised_qtorch()
            steps["QPyTorch -O3"] = lambda: switch(steps["QPyTorch"])
    except (ImportError, RuntimeError, OSError):
        pass  # `contestants` says what is left out
    times = {title: ms * 1e6 / elements for title, ms in time_all(steps, 7, least=0.1).items()}
    found = ", ".join(f"{title} {ns:.2f}" for title, ns in times.items())
    print(f"stochastic rounding to {LOW}, ns an element: {found}")
    return times


START = """
import refimpl as rf
rf.nn.fit(rf.nn.cnn(), rf.data.load("digits"), precision=rf.Precision(low="e4m3", high="e8m7"), epochs=1)
"""

MEMORY = """
import sys
import refimpl as rf
from training import MODELS, batch_of
make, shape = MODELS[sys.argv[1]]
def train(images):
    pixels, labels = batch_of(shape, images)
    labels[:10] = range(10)
    task = rf.data.Task("memory", pixels, labels, pixels, labels, classes=10, images_from="nothing")
    rf.nn.fit(make(), task, precision=rf.Precision(low="e4m3", high="e8m7"), epochs=1, batch_size=images)
def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
train(10)
open("/proc/self/clear_refs", "w").write("5")  # the highest so far is that of now
before = kilobytes("VmRSS")
train(32)
print((kilobytes("VmHWM") - before) * 1024)
"""


def fresh(code, *arguments):
    """Return seconds and output of a fresh process."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    return time.perf_counter() - started, done.stdout


def own_tensors(name, batch):
    """Return the bytes of what every layer makes of a batch, and four vectors of parameters."""
    make, shape = MODELS[name]
    made = sum(math.prod(output) for _, _, output in make().walk(shape))
    return 4 * (batch * (made + math.prod(shape)) + 4 * make().parameter_total())


def whole_runs(batch=32):
    """Print what whole runs need."""
    fresh(START)  # compiles, if need be
    start = statistics.median(fresh(START)[0] for _ in range(5))
    print(f"first training (cnn, one epoch) in a fresh process, all of it: {start:.2f} s")
    results = {"start": start}
    for name in MODELS if sys.platform == "linux" else ():
        grown, tensors = int(fresh(MEMORY, name)[1]), own_tensors(name, batch)
        print(
            f"{name} {batch}: training takes {grown / 2**20:.1f} MB more, its own tensors are "
            f"{tensors / 2**20:.1f} MB: {grown / tensors:.2f} x"
        )
        results[f"memory {name}"] = grown / tensors
    names = [c.name for c in peppp.CONFIGURATIONS]
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        peppp.run_sweep(["digits"], names, directory, jobs=2, progress=False)
        results["sweep"] = time.perf_counter() - started
    print(f"{len(names)} configurations on digits in two processes: {results['sweep']:.1f} s")
    return results


def main():
    """Check, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--only", nargs="+", default=list(POLICIES), choices=POLICIES, metavar="PRESET")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--optimised", action="store_true")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    results = {}
    with threadpool_limits(1), np.errstate(all="ignore"):
        for name in options.models:
            results[name] = table_of(name, options)
        results["rounding"] = rounding_speed(options.optimised)
    if options.whole:
        results["whole"] = whole_runs()
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
