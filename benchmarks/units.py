"""How fast are products on matrix units, how far off are they, and what does training on them come to?

    python benchmarks/units.py [--only speed step error depth training identify] [--size 512] [--units NAME ...]
                               [--seeds 5] [--journal FILE] [--json FILE]

speed: nanoseconds a multiply-add of each unit for a product of size^3, on one thread and on two, beside np.matmul on
one; samples are held to the definition first.  Then one instruction of Hopper, (64, 32) by (32, 256) of E4M3, by our
kernel, by our definition, and by the public model MMA-Sim where it is installed (`pip install mmasim`).
step: seconds of an epoch of training on units, in the formats of `training`, beside the same policy without a unit and
beside PEPPP's policy, medians of five in turns.
error: products (64, k) by (k, 64) of random E4M3 numbers, k up to 8192, against the exact ones: root mean square
error, of the root mean square of the exact product, and the largest error, of that too.
depth: a network with k hidden units, trained in FP8 on float32's sums: loss and gradient of a batch of k images by
each kind of sum, against exact sums; beside them what FP8 itself does to both.
training: a transformer, a residual network and one whose sums have 16,384 positive terms in FP8 (E4M3 forward, E5M2
backward, scaled per tensor), by the sums of its products; test error and loss less those by exact sums, of the same
seed (standard error over seeds).  A unit of 5 bits is there to see whether any harm would show.  Trainings are kept
in the journal, a line each, and not done twice.
identify: every named unit, each order of ours in three accumulators and this machine's libraries, asked by
`identify_sum` without being told: what it says, and in how many calls.
"""

import argparse
import json
import os
import statistics
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

DEPTHS = (128, 512, 2048, 4096, 8192)
SUMS = ("hopper-fp8", "hopper-fp8-promoted", "blackwell-fp8")
TRAINED = ("exact", "float32", "blackwell-fp8", "hopper-fp8-promoted", "hopper-fp8", "hopper-fp8 of 5 bits")


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ["speed", "step", "error", "depth", "training", "identify"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--units", nargs="+", help="of speed, those alone")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--journal", metavar="FILE", default="units.jsonl", help="trainings done, a line each")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def operands(rng, fmt, *shapes):
    """Return random values of a format, float32."""
    import numpy as np

    import refimpl as rf

    return [rf.quantize(rng.standard_normal(shape).astype(np.float32), fmt) for shape in shapes]


def speed(size, units=None):
    """Time a product on each unit, medians of three; return records."""
    import numba
    import numpy as np

    import refimpl as rf
    from refimpl.formats.units import UNITS
    from refimpl.ops import definitions

    found = []
    rng = np.random.default_rng(0)
    wide = [rng.standard_normal((size, size), np.float32) for _ in "ab"]
    records = [("np.matmul, float32", lambda: wide[0] @ wide[1])]
    for name, unit in UNITS.items():
        if units and name not in units:
            continue
        fmt = unit.operands[0]
        a, b = operands(rng, fmt, (size, size), (size, size))
        how = few = {"unit": name}
        if unit.scales:
            blocks = size // unit.block
            left, right = (2.0 ** rng.integers(-3, 4, shape) for shape in ((size, blocks), (blocks, size)))
            how, few = how | {"scales": (left, right)}, few | {"scales": (left[:2], right[:, :2])}
        definitions.elements_left = 10**9
        sample = rf.matmul(a[:2], b[:, :2], fmt, **few)
        definitions.elements_left = 0
        if rf.matmul(a[:2], b[:, :2], fmt, **few).tobytes() != sample.tobytes():
            raise SystemExit(f"{name}: the kernel is not what is defined")
        records.append((name, lambda a=a, b=b, fmt=fmt, how=how: rf.matmul(a, b, fmt, **how)))
    head = "a product of " + str(size) + "^3"
    print(f"{head:24}{'ns a multiply-add':>20}{'of np.matmul':>14}{'on two threads':>18}{'times as fast':>15}")
    for name, call in records:
        seconds = {1: [], 2: []}
        for turn in range(8):  # in turns, so that whatever else runs slows both
            numba.config.NUMBA_NUM_THREADS = threads = 1 + turn % 2
            start = time.perf_counter()
            call()
            if turn > 1:  # the first two compile
                seconds[threads].append(time.perf_counter() - start)
        one, two = (1e9 * statistics.median(seconds[threads]) / size**3 for threads in (1, 2))
        found.append({"unit": name, "ns": one, "ns on two threads": two})
        beside = f"{one:20.2f}{one / found[0]['ns']:14.0f}"
        print(f"{name:24}{beside}" + (f"{two:18.2f}{one / two:15.2f}" if len(found) > 1 else ""), flush=True)
    return found


def instruction():
    """Time one instruction by kernel, definition and the public model, on one thread; return records."""
    import numba
    import numpy as np

    import refimpl as rf
    from refimpl.ops import definitions

    numba.config.NUMBA_NUM_THREADS = 1
    a, b = operands(np.random.default_rng(0), "float8_e4m3fn", (64, 32), (32, 256))
    ways = {"refimpl": (lambda: rf.matmul(a, b, "float8_e4m3fn", unit="hopper-fp8"), b)}
    few = np.ascontiguousarray(b[:, :1])
    ways["refimpl.spec"] = (lambda: rf.matmul(a, few, "float8_e4m3fn", unit="hopper-fp8"), few)
    try:
        import torch
        from mmasim.nv_ptx.sim import WGMMA
    except (ImportError, RuntimeError, OSError):  # it compiles itself on import
        print("the public model, MMA-Sim, is not here, or does not compile: pip install mmasim ninja")
    else:
        torch.set_num_threads(1)
        model = WGMMA("Hopper", "m64n256k32.f32.e4m3.e4m3")
        given = (*(torch.from_numpy(v).to(torch.float8_e4m3fn) for v in (a, b)), torch.zeros(64, 256))
        ways["MMA-Sim"] = (lambda: model(*given), b)
    seconds = {name: [] for name in ways}
    for turn in range(20):
        for name, (call, _) in ways.items():
            definitions.elements_left = 10**9 if name == "refimpl.spec" else 0
            start = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    found = []
    print(f"\n{'one instruction':24}{'ns a multiply-add':>20}{'times as long':>15}")
    for name, (_, right) in ways.items():
        ns = 1e9 * statistics.median(seconds[name]) / (64 * right.size)
        found.append({"unit": f"hopper-fp8 by {name}", "ns": ns})
        print(f"{name:24}{ns:20.2f}{ns / found[0]['ns']:15.0f}")
    return found


def step():
    """Time trainings on units beside those without; return records."""
    import refimpl as rf

    small, letters, usual = networks()["transformer"]
    digits = rf.data.load("digits")
    cases = {"transformer": (small, letters), "residual": (networks()["residual"][0], letters)}
    cases |= {"cnn": (rf.nn.cnn, digits), "mlp": (rf.nn.mlp, digits)}
    ways = {name: policy(name) for name in ("float32", "hopper-fp8", "hopper-fp8-promoted", "blackwell-fp8")}
    ways["PEPPP"] = rf.nn.presets.peppp()
    without = dict.fromkeys(ways, "float32")
    for unit, fmt in (("blackwell-mxfp8", "mxfp8_e4m3"), ("blackwell-nvfp4", "nvfp4")):
        roles = dict.fromkeys(("left operand", "right operand", "product gradient"), fmt)
        how = {"roles": roles, "rounding": "ties_to_even", "loss_scale": 1.0}
        ways |= {name: rf.Precision(**how, products=on) for name, on in ((fmt, None), (unit, unit))}
        without |= {fmt: fmt, unit: fmt}
    found = []
    print(f"\n{'an epoch':14}{'sums':22}{'seconds':>9}{'of the same without':>21}{'of PEPPP':>10}")
    for network, (make, task) in cases.items():
        seconds = {name: [] for name in ways}
        for turn in range(6):
            for name, how in ways.items():
                start = time.perf_counter()
                rf.nn.fit(make(), task, precision=how, seed=0, **usual | {"epochs": 1})
                if turn:  # the first compiles
                    seconds[name].append(time.perf_counter() - start)
        middle = {name: statistics.median(times) for name, times in seconds.items()}
        for name, time_of in middle.items():
            found.append({"network": network, "sums": name, "seconds": time_of})
            ratios = f"{time_of / middle[without[name]]:21.1f}{time_of / middle['PEPPP']:10.1f}"
            print(f"{network:14}{name:22}{time_of:9.3f}{ratios}", flush=True)
    return found


def error():
    """Measure how far off products are, by depth; return records."""
    import numpy as np

    import refimpl as rf

    found = []
    print(f"\n{'root mean square (largest) error, per mille':24}")
    print(f"{'k':>30}" + "".join(f"{k:>18}" for k in DEPTHS))
    for positive in (False, True):
        for name in SUMS:
            line = []
            for k in DEPTHS:
                a, b = operands(np.random.default_rng(k), "float8_e4m3fn", (64, k), (k, 64))
                if positive:  # as behind a ReLU: sums grow with k, and rounding errors with them
                    a, b = np.abs(a), np.abs(b)
                exact = a.astype(np.float64) @ b
                off = rf.matmul(a, b, "float8_e4m3fn", unit=name) - exact
                size = np.sqrt(np.mean(exact**2))
                record = {"unit": name, "k": k, "positive": positive}
                record |= {"rms": float(np.sqrt(np.mean(off**2)) / size), "largest": float(np.abs(off).max() / size)}
                found.append(record)
                line.append(f"{1e3 * record['rms']:.2f} ({1e3 * record['largest']:.1f})")
            print(
                f"{name + (', positive' if positive else ''):24}" + "".join(f"{text:>16}" for text in line), flush=True
            )
    return found


def policy(sums):
    """Return FP8's policy, scaled per tensor, whose products are added up in a way of `TRAINED`."""
    from refimpl.nn import Precision, Rounding

    e4m3, e5m2 = (Rounding(format=f, scaling="current") for f in ("float8_e4m3fn", "float8_e5m2"))
    roles = {"left operand": e4m3, "right operand": e4m3, "product gradient": e5m2}
    unit = {"exact": None, "float32": None, "hopper-fp8 of 5 bits": narrow()}.get(sums, sums)
    return Precision(roles=roles, products=unit, loss_scale=1.0)


def narrow():
    """Return Hopper's unit with 5 fraction bits for its 13: if that does no harm, no harm can be seen here."""
    from dataclasses import replace

    from refimpl.formats.units import UNITS

    return replace(UNITS["hopper-fp8"], fraction_bits=5)


def depth(seeds):
    """Measure loss and gradients of networks by the depth of their sums; return records."""
    import numpy as np

    import refimpl as rf
    from refimpl.autodiff import Tensor
    from refimpl.autodiff import primitives as p
    from refimpl.nn.layer import Pass
    from refimpl.nn.rounder import Rounder

    task = rf.data.load("digits")
    found = []
    print(
        "\nloss and gradient off, per cent of those by exact sums, mean of seeds (s.e.); k terms forward and backward"
    )
    for k in (128, 512, 1280):
        off = {name: [] for name in ("FP8 itself", *TRAINED[1:])}
        for seed in range(seeds):
            make = partial(rf.nn.mlp, widths=(k,))
            model = rf.nn.fit(make(), task, precision=policy("float32"), epochs=1, seed=seed).model
            images, labels = task.train_images[:k], task.train_labels[:k]

            def measured(how, exact=False, model=model, images=images, labels=labels):
                loss = p.cross_entropy(model(Tensor(images), Pass(Rounder(how, 0), True, exact)), labels=labels)
                for tensor in model.tensors():
                    tensor.grad = None
                loss.backward()
                return float(loss.data), np.concatenate([tensor.grad.ravel() for tensor in model.tensors()])

            loss, gradient = measured(policy("exact"), exact=True)
            for name in off:
                how = rf.nn.Precision(loss_scale=1.0) if name == "FP8 itself" else policy(name)
                other = measured(how)
                apart = np.linalg.norm(other[1] - gradient) / np.linalg.norm(gradient)
                off[name].append((100 * abs(other[0] / loss - 1), 100 * apart))
        for name, pairs in off.items():
            mean, spread = np.mean(pairs, axis=0), np.std(pairs, axis=0, ddof=1) / np.sqrt(seeds)
            found.append({"k": k, "sums": name, "loss": mean[0], "gradient": mean[1]})
            line = f"{mean[0]:12.4f} ({spread[0]:.4f}){mean[1]:10.3f} ({spread[1]:.3f})"
            print(f"{k:6}  {name:22}{line}", flush=True)
    return found


def bright(side=128, count=512, offset=0.002):
    """Return images of noise, half of them brighter by a little: to be told apart by their sums alone."""
    import numpy as np

    from refimpl.data import Task

    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).random((count, side, side, 1)) / 2 + 0.25
    images = (noise + offset * (2 * labels - 1)[:, None, None, None]).astype(np.float32)
    half = count // 2
    parts = images[:half], labels[:half], images[half:], labels[half:]
    return Task("brightness", *parts, classes=2, images_from="")


def networks():
    """Return {name: (function that makes a network, task, how it is trained)}."""
    import numpy as np

    import refimpl as rf
    from refimpl.nn import layers

    class Positive(layers.Linear):
        def initialize(self, rng):
            super().initialize(rng)
            weight = self.parameters["weight"].data
            np.abs(weight, out=weight)

    def sums_of_pixels():
        start = [layers.Round("input"), layers.Flatten(), Positive(128 * 128, 8), layers.BatchNorm(8), layers.ReLU()]
        return layers.Sequential([*start, layers.Round("activation"), layers.Linear(8, 2), layers.Round("logits")])

    letters = rf.data.load("latin-small-ten")
    usual = {"epochs": 3, "batch_size": 64}
    small = partial(rf.nn.models.transformer, features=16, heads=2, blocks=1)
    return {
        "transformer": (small, letters, usual),
        "residual": (partial(rf.nn.models.resnet, channels=1, widths=(4, 8), blocks=1), letters, usual),
        "16,384 positive": (
            sums_of_pixels,
            bright(),
            {"epochs": 8, "batch_size": 16, "learning_rate": 0.001, "weight_decay": 0.0},
        ),
    }


def training(seeds, journal):
    """Train by each kind of sum what does not stand in the journal; print means, return records."""
    import numpy as np

    import refimpl as rf

    known = [json.loads(line) for line in Path(journal).read_text().splitlines()] if Path(journal).exists() else []
    records = {(r["network"], r["sums"], r["seed"]): r for r in known}
    cases = networks()
    for seed in range(seeds):
        for name, (make, task, how) in cases.items():
            for sums in TRAINED:
                if (name, sums, seed) in records:
                    continue
                start = time.perf_counter()
                run = rf.nn.fit(make(), task, precision=policy(sums), seed=seed, exact_sums=sums == "exact", **how)
                record = {"network": name, "sums": sums, "seed": seed, "error": run.test_error}
                record |= {"loss": run.history[-1]["loss"], "seconds": time.perf_counter() - start}
                records[name, sums, seed] = record
                with Path(journal).open("a") as file:
                    file.write(json.dumps(record) + "\n")
    print(f"\nFP8 training, {seeds} seeds: test error and loss, less those by exact sums of the same seed (s.e.)")
    for name in cases:
        for sums in TRAINED:
            line = f"{name:17}{sums:22}"
            for field in ("error", "loss"):
                both = [np.array([records[name, s, i][field] for i in range(seeds)]) for s in (sums, "exact")]
                off = both[0] - both[1]
                spread = off.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else float("nan")
                line += f"{both[0].mean():10.4f} {off.mean():+8.4f} ({spread:.4f})"
            print(line)
    return list(records.values())


def identify():
    """Ask for every unit and order of ours, and for this machine's libraries; return records."""
    import math

    import numpy as np

    import refimpl as rf
    from refimpl.formats.units import UNITS

    def dots(fmt, **how):
        return lambda a, b: rf.dot(a, b, fmt, **how)

    cases = []  # what it is, the function, arguments, and the name by which it is to be found
    for name, unit in UNITS.items():
        for into in ("float32", "float16")[: 1 + unit.float16] if not unit.scales else ():
            terms = 256 if unit.promote else 2 * max(unit.terms, 4)
            how = {"kind": "dot", "fmt": unit.operands[0], "terms": terms}
            function = dots(unit.operands[0], unit=name, accumulate=into if unit.float16 else None)
            cases.append((f"{name}, {into}" if unit.float16 else name, function, how, name))
    for order in ("sequential", "pairwise", "chunked", "kahan", "exact"):
        for into in ("float32", "bfloat16", "float16"):
            function = dots("float8_e5m2", order=order, accumulate=into, chunk=8 if order == "chunked" else None)
            word = f"order={order!r}" if order in ("kahan", "exact") else f"of {into} in this order"
            cases.append((f"{order}, {into}", function, {"kind": "dot", "fmt": "float8_e5m2", "terms": 24}, word))
    cases.append(("math.fsum", lambda x: math.fsum(x.tolist()), {"fmt": "float64"}, "the exact sum"))
    for fmt in ("float32", "float64"):
        word = ""  # a machine's library has what arithmetic it likes: any name that foretells its answers
        for terms in (8, 100, 1000):
            how = {"fmt": fmt, "terms": terms}
            axis = lambda x: np.add.reduce(np.tile(x[:, None], (1, 4)), axis=0)  # noqa: E731
            cases += [("np.sum", np.sum, how, word), ("np.add.reduce, axis", axis, how, word)]
        for terms in (8, 33, 64, 300):
            how = {"fmt": fmt, "terms": terms}
            cases.append(("np.dot", np.dot, how | {"kind": "dot"}, word))
            cases.append(("np.matmul, 8x8", np.matmul, how | {"kind": "matmul", "shape": (8, 8)}, word))
    try:
        import torch
    except ImportError:
        print("torch is not here")
    else:
        for terms in (8, 100, 1000):
            total = lambda x: torch.from_numpy(x).sum().item()  # noqa: E731
            product = lambda a, b: (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()  # noqa: E731
            cases.append(("torch sum", total, {"terms": terms}, ""))
            cases.append(("torch matmul, 8x8", product, {"terms": terms, "kind": "matmul", "shape": (8, 8)}, ""))
    found, missed = [], []
    print(f"\n{'asked':32}{'terms':>6}{'calls':>7}{'n log2 n':>10}  found")
    for label, function, how, word in cases:
        told = rf.testing.identify_sum(function, **how)
        names = [name for name in told.known if word in name]
        n = told.terms
        found.append({"asked": label, "terms": n, "calls": told.calls, "order": told.order, "known": told.known})
        missed += [] if names else [label]
        said = names[0] if names else "NOT FOUND"
        print(f"{label:32}{n:6}{told.calls:7}{n * math.log2(n):10.0f}  {said}; {told.order}", flush=True)
    print(f"{len(found) - len(missed)} of {len(found)} found again" + f"; not: {', '.join(missed)}" * bool(missed))
    return found


def main():
    """Measure what is asked for."""
    given = arguments()
    records = {}
    if "speed" in given.only:
        records["speed"] = speed(given.size, given.units) + instruction()
    if "step" in given.only:
        records["step"] = step()
    if "error" in given.only:
        records["error"] = error()
    if "depth" in given.only:
        records["depth"] = depth(given.seeds)
    if "identify" in given.only:
        records["identify"] = identify()
    if "training" in given.only:
        records["training"] = training(given.seeds, given.journal)
    if given.json:
        Path(given.json).write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
