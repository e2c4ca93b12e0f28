"""How fast are products on matrix units, how far off are they, and what does training on them come to?

    python benchmarks/units.py [--only speed error training] [--size 512] [--seeds 5] [--json FILE]

speed: nanoseconds a multiply-add of each unit for a product of size^3 on one thread, beside np.matmul; samples are
held to the definition first.
error: products (64, k) by (k, 64) of random E4M3 numbers, k up to 8192, against the exact ones: root mean square
error, of the root mean square of the exact product, and the largest error, of that too.
training: the transformer and a residual network in FP8 (E4M3 forward, E5M2 backward, scaled per tensor), by the sums
of its products; test error less that with float32's sums, of the same seed (standard error over seeds).
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
    parts = ["speed", "error", "training"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--journal", metavar="FILE", default="units.jsonl", help="trainings done, a line each")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def operands(rng, fmt, *shapes):
    """Return random values of a format, float32."""
    import numpy as np

    import refimpl as rf

    return [rf.quantize(rng.standard_normal(shape).astype(np.float32), fmt) for shape in shapes]


def speed(size):
    """Time a product on each unit, medians of three; return records."""
    import numpy as np

    import refimpl as rf
    from refimpl.formats.units import UNITS
    from refimpl.ops import definitions

    found = []
    rng = np.random.default_rng(0)
    wide = [rng.standard_normal((size, size), np.float32) for _ in "ab"]
    records = [("np.matmul, float32", lambda: wide[0] @ wide[1])]
    for name, unit in UNITS.items():
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
    print(f"{'a product of ' + str(size) + '^3':24}{'ns a multiply-add':>20}")
    for name, call in records:
        call()
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        found.append({"unit": name, "ns": 1e9 * statistics.median(seconds) / size**3})
        print(f"{name:24}{found[-1]['ns']:20.2f}")
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
    from refimpl.nn import SUM_ROLES, Accumulator, Precision, Rounding

    e4m3, e5m2 = (Rounding(format=f, scaling="current") for f in ("float8_e4m3fn", "float8_e5m2"))
    how = {"float32": None, "exact": None, "hopper-fp8 of 5 bits": Accumulator(unit=narrow())}
    how = how[sums] if sums in how else Accumulator(unit=sums)
    roles = {"left operand": e4m3, "right operand": e4m3, "product gradient": e5m2}
    return Precision(roles=roles | (dict.fromkeys(SUM_ROLES, how) if how else {}), loss_scale=1.0)


def narrow():
    """Return Hopper's unit with 5 fraction bits for its 13: if that does no harm, no harm can be seen here."""
    from dataclasses import replace

    from refimpl.formats.units import UNITS

    return replace(UNITS["hopper-fp8"], fraction_bits=5)


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
        start = [layers.Round("input"), layers.Flatten(), Positive(128 * 128, 4), layers.BatchNorm(4), layers.ReLU()]
        return layers.Sequential([*start, layers.Round("activation"), layers.Linear(4, 2), layers.Round("logits")])

    letters = rf.data.load("latin-small-ten")
    usual = {"epochs": 3, "batch_size": 64}
    small = partial(rf.nn.models.transformer, features=16, heads=2, blocks=1)
    return {
        "transformer": (small, letters, usual),
        "residual": (partial(rf.nn.models.resnet, channels=1, widths=(4, 8), blocks=1), letters, usual),
        "16,384 positive": (
            sums_of_pixels,
            bright(),
            {"epochs": 6, "batch_size": 16, "learning_rate": 0.001, "weight_decay": 0.0},
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


def main():
    """Measure what is asked for."""
    given = arguments()
    records = {}
    if "speed" in given.only:
        records["speed"] = speed(given.size)
    if "error" in given.only:
        records["error"] = error()
    if "training" in given.only:
        records["training"] = training(given.seeds, given.journal)
    if given.json:
        Path(given.json).write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
