"""How well do networks train in 16 bits alone?

    python benchmarks/sixteen_bit_study.py [--seeds 5] [--jobs 2] [--record FILE]

Prints five tables, what is expected beside what is found: Adam's epsilon, batch norm's variance,
where bfloat16 updates halt, what is certain of networks cast to 16 bits, and a study that trains an
MLP, a CNN and a small residual network on digits and on printed characters in float32, in mixed
precision, in 16 bits alone, in bfloat16 with three ways of updating, and in float32 first and
float16 then.  Seeds are paired: the same seed has the same initial weights and batches in every
precision.  With `--record FILE` each training is appended to it as it ends; given again, the command goes on.
"""

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

import refimpl as rf
from refimpl.nn import SGD, Adam, preset
from refimpl.numerics import certify
from refimpl.numerics.sixteen_bit import batch_norm, first_adam_step, halting_radius, in_format
from refimpl.peppp.configs import Configuration
from refimpl.peppp.memory import count

TASKS = ("digits", "latin-small-ten")
MODELS = {"mlp": rf.nn.mlp, "cnn": rf.nn.cnn, "resnet8": lambda: rf.nn.resnet8(channels=1)}
EPOCHS = 10
CERTIFIED = 2  # seeds whose float32 networks are certified in 16 bits
WAYS = {  # name: (policy, settings of fit, configuration for memory, bits of a Kahan vector)
    "float32": (preset("float32"), {}, ("e8m23", "e8m23"), 0),
    "mixed float16": (preset("mixed", "float16"), {}, ("e5m10", "e8m23"), 0),
    "float16": (preset("pure16", "float16"), {}, ("e5m10", "e5m10"), 0),
    "bfloat16": (preset("pure16", "bfloat16"), {}, ("e8m7", "e8m7"), 0),
    "bfloat16, stochastic update": (
        preset("pure16", "bfloat16"),
        {"optimizer": SGD(update="stochastic")},
        ("e8m7", "e8m7"),
        0,
    ),
    "bfloat16, Kahan update": (preset("pure16", "bfloat16"), {"optimizer": SGD(update="kahan")}, ("e8m7", "e8m7"), 16),
    "float32, then float16": (
        preset("float32"),
        {"switch": (EPOCHS // 2, preset("pure16", "float16"))},
        ("e8m23", "e8m23"),
        0,
    ),
}
ADAM = {  # name: (format, rule); constants as the format holds them
    f"{name}, epsilon {epsilon:g}, beta2 {beta2:g}": (name, in_format(Adam(epsilon=epsilon, beta2=beta2), name))
    for name, epsilon, beta2 in (
        ("float32", 1e-8, 0.999),
        ("float16", 1e-8, 0.999),
        ("float16", 1e-7, 0.999),
        ("float16", 1e-5, 0.999),
        ("float16", 1e-4, 0.999),
        ("float16", 1e-3, 0.999),
        ("bfloat16", 1e-8, 0.999),
        ("bfloat16", 1e-8, 0.99),
    )
}


def train(task, model, way, seed):
    """Train once; return what is kept of it."""
    if model == "mlp, Adam":
        fmt, rule = ADAM[way]
        policy = preset("float32") if fmt == "float32" else preset("pure16", fmt)
        network, settings = rf.nn.mlp(), {"optimizer": rule, "learning_rate": 0.002}
    else:
        policy, settings, _, _ = WAYS[way]
        network = MODELS[model]()
    data = rf.data.load(task)
    found = rf.nn.fit(network, data, precision=policy, epochs=EPOCHS, seed=seed, **settings)
    row = {
        "task": task,
        "model": model,
        "way": way,
        "seed": seed,
        "error": found.test_error,
        "diverged": found.diverged,
        "seconds": round(found.seconds, 2),
    }
    if way == "float32" and seed < CERTIFIED:
        row["certificates"] = {
            fmt: certify(found.model, data.test_images, preset("pure16", fmt)).summary()
            for fmt in ("float16", "bfloat16")
        }
    return row


def cells(seeds):
    """List every training of the study."""
    for seed in range(seeds):
        for task in TASKS:
            yield from ((task, model, way, seed) for model in MODELS for way in WAYS)
        yield from (("digits", "mlp, Adam", way, seed) for way in ADAM)


def key(row):
    """Return what names a training."""
    return row["task"], row["model"], row["way"], row["seed"]


def measure(path, seeds, jobs):
    """Train what the journal does not have yet; return all rows that were asked for."""
    from tqdm import tqdm

    lines = path.read_text().splitlines() if path.exists() else []
    rows = {}
    for line in lines:
        try:
            row = json.loads(line)
            rows[key(row)] = row
        except (ValueError, KeyError):  # a line that a kill cut short: it is trained again
            continue
    wanted = list(cells(seeds))
    with ProcessPoolExecutor(jobs) as pool, open(path, "a") as journal:
        if lines and not path.read_text().endswith("\n"):
            journal.write("\n")
        running = [pool.submit(train, *cell) for cell in wanted if cell not in rows]
        for done in tqdm(as_completed(running), total=len(running), unit="training", leave=False):
            row = done.result()
            rows[key(row)] = row
            journal.write(json.dumps(row) + "\n")
            journal.flush()
    return {cell: rows[cell] for cell in wanted}


def memory_mb(model, way):
    """Return what training needs at once, batch 32; where all is in one format, weights once."""
    _, _, formats, kahan = WAYS[way]
    network = MODELS[model]()
    found = count(network, (8, 8, 1), Configuration(*formats), accounting="needed")
    spare = found.by_kind()["master weights"] if formats[0] == formats[1] else 0
    return found.total_mb + (network.parameter_total() * kahan / 8 - spare) / 2**20


def study_table(rows, seeds):
    """Print error by way, and paired differences from float32."""
    from scipy import stats

    print(f"\nTest error in percent, mean of {seeds} seeds (digits | latin-small-ten)\n")
    print(f"{'':<29}" + "".join(f"{model:>15}" for model in MODELS) + "   diverged   seconds")
    for way in WAYS:
        text = ""
        for model in MODELS:
            means = [np.mean([rows[task, model, way, s]["error"] for s in range(seeds)]) for task in TASKS]
            text += f"{100 * means[0]:>7.2f} |{100 * means[1]:>6.2f}"
        mine = [row for row in rows.values() if row["way"] == way and row["model"] in MODELS]
        diverged = sum(row["diverged"] for row in mine)
        print(f"{way:<29}{text}{diverged:>8} of {len(mine)}{np.mean([r['seconds'] for r in mine]):>7.1f}")

    def errors(way):
        return 100 * np.array([[rows[t, m, way, s]["error"] for s in range(seeds)] for t in TASKS for m in MODELS])

    base, deviation = errors("float32"), errors("float32").std(axis=1, ddof=1).mean()
    print("\nPaired difference from float32 in points of error (+: worse), over networks and tasks;")
    print(f"the deviation of float32 itself from seed to seed is {deviation:.2f} points\n")
    print(f"{'':<29}   mean   std.err.   95 % interval       p   memory MB of mlp, cnn, resnet8")
    for way in WAYS:
        sizes = "  ".join(f"{memory_mb(model, way):.3f}" for model in MODELS)
        if way == "float32":
            print(f"{way:<29}{'':<42}{sizes}")
            continue
        paired = (errors(way) - base).mean(axis=0)  # one number for each seed: they are independent
        found = stats.ttest_1samp(paired, 0)
        low, high = found.confidence_interval()
        print(
            f"{way:<29}{paired.mean():>+7.2f}{stats.sem(paired):>9.2f}     {low:>+6.2f} to {high:>+5.2f}"
            f"{found.pvalue:>8.3f}   {sizes}"
        )
    print("\npublished: float16 loses about 0.2 points in the mean, now and then a run must be repeated")
    print("(arXiv 2305.10947); stochastic and Kahan updates are within -0.1 to +0.2 points of float32,")
    print("those to nearest lose up to 7 points on longer tasks (arXiv 2010.06192)")


def certificate_table(rows):
    """Print what is proved of the float32 networks of the study, cast to 16 bits."""
    print(f"\nFloat32 networks cast to 16 bits: percent of test images, mean of {CERTIFIED} seeds\n")
    print(f"{'':<38}proved   by measured error   same class   bound / error")
    for fmt in ("float16", "bfloat16"):
        for model in MODELS:
            for task in TASKS:
                found = [rows[task, model, "float32", s]["certificates"][fmt] for s in range(CERTIFIED)]
                mean = {name: np.mean([f[name] for f in found]) for name in ("proved", "observed", "same")}
                tightness = np.median([f["tightness"] for f in found])
                print(
                    f"{f'{model} on {task} in {fmt}':<38}{100 * mean['proved']:>6.1f}"
                    f"{100 * mean['observed']:>20.1f}{100 * mean['same']:>13.1f}{tightness:>16.3g}"
                )


def adam_table(rows, seeds):
    """Print Adam's first step, and training with it."""
    print("Adam's first step over its rate, all operations in binary16, gradient 1e-4 (exact: 3.15)\n")
    print("epsilon     held as     by hand   found")
    for epsilon, by_hand in ((1e-3, ""), (1e-5, ""), (1e-7, "84"), (1e-8, "inf")):
        held = in_format(Adam(epsilon=epsilon), "float16").epsilon
        print(f"{epsilon:<9g}{held:>10.4g}{by_hand:>12}{first_adam_step(1e-4, 'float16', epsilon=epsilon):>8.3g}")
    zero = first_adam_step(0.0, "float16")
    print(f"gradient 0, epsilon 1e-8{'nan':>7}{zero:>8.3g}\n")
    print(f"MLP on digits by Adam, state and weights in the format, {seeds} seeds\n")
    for way, (_, rule) in ADAM.items():
        mine = [rows["digits", "mlp, Adam", way, s] for s in range(seeds)]
        error = 100 * np.mean([row["error"] for row in mine])
        print(
            f"  {way:<40} held as {rule.epsilon:.3g}, {rule.beta2:.6g}".ljust(72)
            + f"error {error:>5.1f} %   diverged {sum(r['diverged'] for r in mine)} of {seeds}"
        )


def batch_norm_table():
    """Print where batch norm in 16 bits normalizes."""
    ways = {
        "moments": {},
        "centred": {"formula": "centred"},
        "epsilon 1e-3": {"epsilon": 1e-3, "formula": "centred"},
        "float32 statistics": {"statistics": "float32"},
    }
    print("\nLargest error of batch norm in binary16, 256 normal numbers, against exact arithmetic\n")
    print("deviation     mean" + "".join(f"{name:>20}" for name in ways))
    x = np.random.default_rng(0).standard_normal((256, 1))
    for deviation, mean in ((1e-4, 0), (1e-2, 0), (1, 0), (1, 10), (1, 100), (14, 0), (50, 0), (3000, 0)):
        y = np.asarray(rf.quantize(x * deviation + mean, "float16"))
        text = ""
        for how in ways.values():
            exact = (y - y.mean()) / np.sqrt(y.var() + how.get("epsilon", 1e-5))
            text += f"{np.abs(batch_norm(y, 'float16', **how) - exact).max():>20.3g}"
        print(f"{deviation:<9g}{mean:>9g}{text}")
    print("by hand: x^2 overflows from |x| = 256, the sum of 256 squares from a deviation of 16")


def halting_table():
    """Print where gradient descent in bfloat16 stops."""
    from refimpl.autodiff import Tensor
    from refimpl.nn.rounder import Rounder

    print("\nGradient descent to w* = 1.37 from 3.0, 4000 steps in bfloat16: distance at the end\n")
    print("rate    halting radius   nearest     by hand   stochastic   Kahan")
    best = np.float32(rf.quantize(1.37, "bfloat16"))
    for rate, by_hand in ((0.1, 0.039), (0.01, 0.773), (0.001, 1.633)):
        ends = {}
        for update in ("plain", "stochastic", "kahan"):
            w = Tensor(np.array([3.0], np.float32), requires_grad=True)
            rule = SGD(momentum=0, weight_decay=0, update=update)
            running = rule.start([("0", "weight", w)], Rounder(preset("pure16", "bfloat16"), 0))
            for _ in range(4000):
                running.step(rate, running.weights - best, 1.0)
            ends[update] = abs(float(running.weights[0] - best))
        print(
            f"{rate:<8g}{halting_radius(rate, 1.37):>14.3f}{ends['plain']:>10.3f}{by_hand:>12.3f}"
            f"{ends['stochastic']:>13.3f}{ends['kahan']:>8.3f}"
        )


def main():
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="at least 2 (default 5)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="journal, to continue from")
    options = parser.parse_args()
    if options.seeds < 2 or options.jobs < 1:
        parser.error(f"--seeds {options.seeds} --jobs {options.jobs}: at least 2 and 1")
    with tempfile.TemporaryDirectory() as directory:
        rows = measure(options.record or Path(directory) / "journal", options.seeds, options.jobs)
    adam_table(rows, options.seeds)
    batch_norm_table()
    halting_table()
    certificate_table(rows)
    study_table(rows, options.seeds)


if __name__ == "__main__":
    main()
