"""Training in 16 bits alone: arXiv 2305.10947 (Standalone), 2301.12809 (Hidden power), 2311.18587 (Continuous).

*Notation*: delta is the largest difference of two networks' class probabilities for an image, Gamma by how much the
first class leads the second: see `refimpl.numerics.tolerance`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np

import refimpl as rf
from refimpl.nn import Accumulator, Adam, Precision, preset
from refimpl.nn.layers import Sequential
from refimpl.nn.models import network
from refimpl.nn.presets import pure16
from refimpl.numerics import certify
from refimpl.numerics.sixteen_bit import batch_norm, first_adam_step, in_format
from refimpl.numerics.tolerance import floating_point_error, predict, probabilities, tolerance
from refimpl.papers.claim import (
    Bench,
    Chart,
    Claim,
    Finding,
    Paper,
    compare,
    less,
    like,
    more,
    paired,
    said,
    table,
    worst,
)
from refimpl.peppp.configs import Configuration
from refimpl.peppp.memory import count

NETWORKS = ("mlp", "cnn", "resnet8", "transformer")
TASKS = ("latin-small-ten", "outlines-noisy")
"""1,440 test images each: an image is .0007, and ten seeds tell differences of a fifth of a point."""

WITHIN = 0.01
"""Test error, of 0 to 1, within which 16 bits are said to match float32; a mean loss of .002 is published."""

EVERY_OPERATION = "float16, every operation"


def policy(way: str) -> Precision:
    """Return a policy by its name in the tables."""
    if way == EVERY_OPERATION:
        return pure16(every_operation=True)
    if way == "float32":
        return preset("float32")
    return preset("mixed", "float16") if way == "mixed" else preset("pure16", way)


def made(name: str, shape: tuple[int, ...], classes: int) -> Sequential:
    """Return a network by name; the narrow ones are for operations that take long to emulate."""
    if name == "narrow mlp":
        return rf.nn.mlp(features=math.prod(shape), classes=classes, widths=(32,))
    if name == "narrow cnn":
        return rf.nn.cnn(channels=shape[2], classes=classes, widths=(4, 8))
    return network(name, shape, classes)


def train(name: str, task: str, way: str, epochs: int, batch: int, seed: int) -> list[float]:
    """Return test error, training losses half-way and at the end, and seconds."""
    data = rf.data.load(task)
    first, _, then = way.partition(", then ")
    found = rf.nn.fit(
        made(name, data.train_images.shape[1:], data.classes),
        data,
        precision=policy(first),
        switch=(epochs // 2, policy(then)) if then else None,
        epochs=epochs,
        batch_size=batch,
        seed=seed,
    )
    losses = [epoch["loss"] for epoch in found.history]
    return [found.test_error, losses[min(epochs // 2, len(losses)) - 1], losses[-1], found.seconds]


def answers(name: str, task: str, epochs: int, seed: int) -> dict[str, float]:
    """Train in float32, cast to float16, and return what became of the answers to the test images."""
    data = rf.data.load(task)
    model = rf.nn.fit(network(name, data.train_images.shape[1:], data.classes), data, epochs=epochs, seed=seed).model
    narrow = preset("pure16", "float16")
    wide, low = (probabilities(predict(model, data.test_images, how)) for how in (None, narrow))
    gamma, delta = tolerance(wide), floating_point_error(wide, low)
    found = _lemma(wide, low) | {
        "before": float((wide.argmax(1) != data.test_labels).mean()),
        "after": float((low.argmax(1) != data.test_labels).mean()),
        "certain": float((gamma > 2 * delta).mean()),
        "delta": float(np.median(delta)),
        "gamma": float(np.median(gamma)),
        "proved": 0.0,
    }
    if name in ("mlp", "cnn"):
        proved = certify(model, data.test_images[:360], narrow)
        found["proved"] = float(proved.proved.mean())
        found["proved and other"] = int((proved.proved & ~proved.same).sum())
    return found


def _lemma(wide: np.ndarray, low: np.ndarray) -> dict[str, int]:
    """Count pairs of outputs, those to which the lemma applies, and those that contradict it."""
    applies = tolerance(wide) >= 2 * floating_point_error(wide, low)
    first = wide.argmax(axis=1)
    beaten = low.max(axis=1) > low[np.arange(len(low)), first]  # a tie is none
    return {"pairs": len(wide), "applies": int(applies.sum()), "contradict": int((applies & beaten).sum())}


def errors(bench: Bench, ways, networks=NETWORKS, tasks=TASKS, column=0) -> dict[str, dict[str, np.ndarray]]:
    """Return what `train` found of each network on each task and each way, (seeds,)."""
    seeds, epochs = bench.seeds(10, 5), 4 if bench.quick else 10
    groups = [(name, task) for task in (tasks[:1] if bench.quick else tasks) for name in networks]
    cases = [(*group, way, epochs, 32, seed) for group in groups for way in ways for seed in seeds]
    found = np.array(bench.each(train, cases, "training"))[:, column].reshape(len(groups), len(ways), len(seeds))
    return {", ".join(g): dict(zip(ways, found[i], strict=True)) for i, g in enumerate(groups)}


LESS = "10 epochs, 10 seeds"
LEFT_OUT = f"a second task, {LESS}"


def parity(bench: Bench) -> Finding:
    """Train four kinds of networks in float32, mixed precision, and float16 alone."""
    title = f"Test error by precision; matches: within {WITHIN:g} of float32's"
    judges = {"float16": functools.partial(like, within=WITHIN)}
    found = errors(bench, ("float32", "mixed", "float16"))
    return compare(found, "float32", judges, title=title, left_out=LEFT_OUT if bench.quick else "")


def every_operation(bench: Bench) -> Finding:
    """Train with sums, batch norm, the loss and SGD's update rounded to float16 after every operation, both ways."""
    seeds, epochs = bench.seeds(10, 5), 4 if bench.quick else 10
    ways, names = ("float32", "float16", EVERY_OPERATION), ("narrow mlp", "narrow cnn")
    cases = [(name, TASKS[0], way, epochs, 32, seed) for name in names for way in ways for seed in seeds]
    of = np.array(bench.each(train, cases, "training"))[:, 0].reshape(len(names), len(ways), len(seeds))
    found = {name: dict(zip(ways, of[i], strict=True)) for i, name in enumerate(names)}
    judges = {EVERY_OPERATION: functools.partial(like, within=WITHIN)}
    title = f"Every operation in float16, {epochs} epochs on {TASKS[0]}"
    return compare(found, "float32", judges, title=title, left_out=LESS if bench.quick else "")


def lemma(bench: Bench) -> Finding:
    """Look for counterexamples among random outputs and trained networks, and make one just below the bound."""
    rng, pairs = np.random.default_rng(bench.seed), 10**5
    wide = rng.dirichlet(np.full(10, 0.3), pairs)
    low = np.abs(wide + rng.standard_normal(wide.shape) * 10.0 ** rng.uniform(-6, 0, (pairs, 1)))
    low /= low.sum(axis=1, keepdims=True)
    counts = {"random outputs": _lemma(wide, low)}
    epochs = 4 if bench.quick else 10
    for name, found in zip(NETWORKS, bench.each(answers, _cases(bench, epochs)[:4]), strict=True):
        counts[f"{name}, float32 and float16"] = {key: found[key] for key in ("pairs", "applies", "contradict")}
    gap = 2.0**-20
    just_below = _lemma(np.array([[0.5 + gap, 0.5 - gap]]), np.array([[0.5 - gap, 0.5 + gap]]))
    shift = gap * (1 + 2.0**-20)  # delta a little above Gamma / 2
    beaten = _lemma(np.array([[0.5 + gap, 0.5 - gap]]), np.array([[0.5 + gap - shift, 0.5 - gap + shift]]))
    sharp = np.argmax([0.5 + gap - shift, 0.5 - gap + shift]) == 1 and not beaten["applies"]
    contradicted = sum(of["contradict"] for of in counts.values())
    rows = [(name, *of.values()) for name, of in counts.items()]
    heads = ("", "pairs of outputs", "Gamma >= 2 delta", "class another")
    shown = table("The lemma, tried", heads, rows)
    good = not contradicted and sharp and not just_below["applies"]
    why = (
        f"{contradicted} counterexamples among {sum(of['applies'] for of in counts.values())} pairs it speaks of; "
        f"with delta a millionth above Gamma / 2 the class {'does change' if sharp else 'stays'}"
    )
    ratio = floating_point_error(wide, low) / tolerance(wide)
    moved = low.argmax(axis=1) != wide.argmax(axis=1)
    edges = 2.0 ** np.arange(-6, 6.5, 0.5)
    bins = [(ratio >= a) & (ratio < b) for a, b in zip(edges, edges[1:], strict=False)]
    drawn: dict[str, tuple] = {"random outputs": (np.sqrt(edges[:-1] * edges[1:]), [moved[b].mean() for b in bins])}
    drawn["the lemma's bound, delta = Gamma / 2"] = ([0.5, 0.5], [0, 1])
    x, y = "delta / Gamma", "part of the pairs with another class first"
    chart = Chart("lemma", "Below the bound no class changes", drawn, x=x, y=y, log="x")
    return Finding(
        "holds" if good else "does not hold here",
        why,
        {"counts": counts},
        (shown,),
        (chart,),
        LESS if bench.quick else "",
    )


def _cases(bench: Bench, epochs: int) -> list[tuple]:
    """Return the networks of `answers`, those of the first seed first."""
    return [(name, TASKS[0], epochs, seed) for seed in bench.seeds(10, 5) for name in NETWORKS]


def certain(bench: Bench) -> Finding:
    """Cast networks trained in float32 to float16, and see which answers are certain."""
    cases = _cases(bench, 4 if bench.quick else 10)
    found = bench.each(answers, cases, "training")
    rows, verdicts = [], []
    for i, name in enumerate(NETWORKS):
        of = found[i :: len(NETWORKS)]
        open_ = paired([1 - f["certain"] for f in of], np.zeros(len(of)))
        moved = paired([f["after"] for f in of], [f["before"] for f in of])
        verdicts += [like(open_, 0.05), like(moved, WITHIN)]
        proved = f"{100 * np.mean([f['proved'] for f in of]):.1f} %" if name in ("mlp", "cnn") else ""
        gamma, delta = (np.median([f[key] for f in of]) for key in ("gamma", "delta"))
        change = f"{moved[0]:+.5f} ({moved[1]:.5f})"
        rows.append((name, f"{gamma:.3f}", f"{delta:.1e}", f"{100 * (1 - open_[0]):.2f} %", proved, change))
    wrong = sum(f.get("proved and other", 0) for f in found)
    verdicts.append("holds" if not wrong else "does not hold here")
    heads = ("", "median Gamma", "median delta", "Gamma > 2 delta", "proved beforehand", "error by the cast (s.e.)")
    remark = "Proved: by a bound of delta for any order of sums, without running; its price grows with depth."
    shown = table("Networks trained in float32, cast to float16, test images", heads, rows, remark)
    why = "; ".join(f"{name}: {share} of answers certain" for name, _, _, share, _, _ in rows)
    why += f"; {wrong} of those proved changed"
    shares = {"Gamma > 2 delta": "certain", "proved beforehand": "proved"}
    percent = {key: 100 * np.array([f[key] for f in found]).reshape(-1, len(NETWORKS)) for key in shares.values()}
    series = {name: np.array([percent[k].mean(axis=0), percent[k].std(axis=0, ddof=1)]) for name, k in shares.items()}
    title = "Answers that float16 cannot change, networks trained in float32"
    chart = Chart(
        "certain", title, series, "bars", y="% of the test images; lines: deviation of seeds", labels=NETWORKS
    )
    return Finding(worst(verdicts), why, {"rows": rows}, (shown,), (chart,), LESS if bench.quick else "")


def adam(fmt: str, epsilon: float, beta2: float, epochs: int, seed: int) -> list[float]:
    """Train by Adam with every operation of it in a format; return test error, and whether it is that of guessing.

    A run that diverges has that error; others fail without a NaN.
    """
    plain, task = policy(fmt), rf.data.load(TASKS[0])
    roles = {} if fmt == "float32" else {"optimizer": Accumulator(format=fmt)}
    found = rf.nn.fit(
        rf.nn.mlp(),
        task,
        precision=replace(plain, roles=roles),
        optimizer=Adam(epsilon=epsilon, beta2=beta2),
        learning_rate=0.002,
        epochs=epochs,
        seed=seed,
    )
    return [found.test_error, float(found.test_error >= 1 - 1 / task.classes)]


def epsilon(bench: Bench) -> Finding:
    """Take Adam's first step with every operation rounded, and train by it."""
    seeds, epochs = bench.seeds(10, 5), 4 if bench.quick else 10
    ways = [("float32", 1e-8, 0.999)] + [("float16", e, 0.999) for e in (1e-8, 1e-7, 1e-5, 1e-4, 1e-3)]
    ways += [("bfloat16", 1e-8, 0.999), ("bfloat16", 1e-8, 0.99)]
    found = np.array(bench.each(adam, [(*way, epochs, seed) for way in ways for seed in seeds], "training"))
    found = found.reshape(len(ways), len(seeds), 2)
    rows = []
    for (fmt, size, beta2), of in zip(ways, found, strict=True):
        held, step = in_format(Adam(epsilon=size, beta2=beta2), fmt), float(first_adam_step(1e-4, fmt, epsilon=size))
        told = (f"{held.epsilon:.6g}", f"{held.beta2:.7g}", f"{step:.3g}", f"{of[:, 0].mean():.4f}")
        rows.append((fmt, f"{size:g}", f"{beta2:g}", *told, f"{int(of[:, 1].sum())} of {len(seeds)}"))
    heads = ("", "epsilon", "beta2", "held as", "held as", "first step / rate", "test error", "failed")
    remark = "First step: of a gradient 1e-4, without bias correction; 3.15 in exact arithmetic, 3.16 with epsilon 0."
    remark += "  Failed: diverged, or no better than guessing."
    shown = table("Adam in 16 bits, an MLP", heads, rows, remark)
    (exact, e8, *_, e4, e3, stuck, cured) = found
    parts = [
        "holds" if e8[:, 1].all() and stuck[:, 1].all() else "does not hold here",
        *(like(paired(of[:, 0], exact[:, 0]), 0.03) for of in (e4, e3, cured)),
    ]
    why = (
        f"float16: epsilon 1e-8 is 0 and {rows[1][-1]} runs fail, with 1e-4 {rows[4][-1]}, error {rows[4][-2]} "
        f"beside float32's {rows[0][-2]}; bfloat16: beta2 .999 is 1 and {rows[6][-1]} fail, with .99 {rows[7][-1]}"
    )
    labels = [f"{fmt}, {size:g}" + (f", beta2 {beta2:g}" if fmt == "bfloat16" else "") for fmt, size, beta2 in ways]
    drawn = {"test error": np.array([found[..., 0].mean(axis=1), found[..., 0].std(axis=1, ddof=1)])}
    title, y = "Adam by format and epsilon; guessing errs at .9", "test error; lines: deviation of seeds"
    chart = Chart("epsilon", title, drawn, "bars", y=y, labels=labels)
    left_out = LESS if bench.quick else ""
    return Finding(worst(parts), why, {"rows": rows}, (shown,), (chart,), left_out)


def normalized(bench: Bench) -> Finding:
    """Normalize channels of several deviations and means, every operation rounded to float16."""
    ways: dict[str, dict] = {
        "E[x^2] - E[x]^2": {},
        "centred": {"formula": "centred"},
        "epsilon 1e-3": {"epsilon": 1e-3, "formula": "centred"},
        "float32 statistics": {"statistics": "float32"},
    }
    channels = ((1e-4, 0), (1e-2, 0), (1, 0), (1, 10), (1, 100), (14, 0), (50, 0), (3000, 0))
    deviations, means = np.array(channels).T
    x = np.random.default_rng(bench.seed).standard_normal((256, 1))
    y = np.asarray(rf.quantize(x * deviations + means, "float16"))
    off = []
    for how in ways.values():
        exact = (y - y.mean(axis=0)) / np.sqrt(y.var(axis=0) + how.get("epsilon", 1e-5))
        far = np.abs(batch_norm(y, "float16", **how) - exact).max(axis=0)
        off.append(np.where(np.isfinite(far), far, np.inf))
    rows = [(f"{d:g}", f"{m:g}", *(f"{far:.2g}" for far in of)) for (d, m), *of in zip(channels, *off, strict=True)]
    shown = table("Largest error of batch norm in float16, 256 normal numbers", ("deviation", "mean", *ways), rows)
    moments, centred, _, wide = (of.max() for of in off)
    good = min(moments, centred) > 0.5 and wide < 0.05
    why = (
        f"with statistics in float16 errors up to {centred:.2g} deviations, centred, and {moments:.2g} by moments: "
        f"squares overflow from 256, small variances vanish; with float32 statistics {wide:.2g}"
    )
    labels = [f"{d:g}, {m:g}" for d, m in channels]
    series = {name: np.where(np.isfinite(of), of, np.nan) for name, of in zip(ways, off, strict=True)}
    title = "Error of batch norm in float16, by deviation and mean of a channel"
    unit = "largest error (deviations); no bar: infinite"
    chart = Chart("errors", title, series, "bars", y=unit, log="y", labels=labels)
    return Finding("holds" if good else "does not hold here", why, {"rows": rows}, (shown,), (chart,))


def batches(bench: Bench) -> Finding:
    """Train with small and large batches in float32 and in float16 alone."""
    seeds, passes = bench.seeds(10, 5), 1 if bench.quick else 2
    sizes = {8: passes, 32: 4 * passes, 128: 16 * passes}  # epochs that make as many steps
    names = ("mlp", "cnn")
    cases = [
        (name, TASKS[0], way, epochs, size, seed)
        for name in names
        for size, epochs in sizes.items()
        for way in ("float32", "float16")
        for seed in seeds
    ]
    found = np.array(bench.each(train, cases, "training"))[:, 0].reshape(len(names), len(sizes), 2, len(seeds))
    gaps = found[:, :, 1] - found[:, :, 0]
    rows, series, verdicts, told = [], {}, [], []
    for i, name in enumerate(names):
        each = [paired(gap, np.zeros_like(gap)) for gap in gaps[i]]
        series[name] = (list(sizes), [gap.mean for gap in each], [gap.error for gap in each])
        for size, of, gap in zip(sizes, found[i], each, strict=True):
            rows.append((name, size, *(f"{e.mean():.4f}" for e in of), said(gap)))
        grows = paired(gaps[i, -1], gaps[i, 0])
        verdicts.append(more(grows, by=0.005))
        told.append(f"{name}: from batches of 8 to 128 the gap changes by {said(grows)}")
    shown = table(
        "Batch sizes, as many steps of each", ("", "batch", "float32", "float16", "float16 less float32 (s.e.)"), rows
    )
    chart = Chart("gap", "What float16 alone loses", series, x="batch size", y="error less float32's", log="x")
    left_out = "twice the steps, 10 seeds" if bench.quick else ""
    return Finding(worst(verdicts), "; ".join(told), {"rows": rows}, (shown,), (chart,), left_out)


def continued(bench: Bench) -> Finding:
    """Train half of the epochs in float32, the rest in float16 alone."""
    way = "float32, then float16"
    found = errors(bench, ("float32", "float16", way))
    title = f"Half of the epochs in float32, then float16; matches: within {WITHIN:g} of float32"
    judged = compare(found, "float32", {way: functools.partial(like, within=WITHIN)}, title=title)
    half, end = (errors(bench, (way,), column=column) for column in (1, 2))
    falls = {group: paired(end[group][way], half[group][way]) for group in end}
    rows = [(group, said(fall)) for group, fall in falls.items()]
    shown = table("Training loss at the end less that at the switch", ("", "difference (s.e.)"), rows)
    verdict = worst([judged.verdict, *map(less, falls.values())])
    why = f"{judged.why}; the loss goes on falling in {sum(fall.mean < 0 for fall in falls.values())} of {len(falls)}"
    left_out = LEFT_OUT if bench.quick else ""
    return Finding(verdict, why, judged.numbers, (*judged.tables, shown), judged.charts, left_out)


def faster(bench: Bench) -> Finding:
    """Count memory in both, and say why time cannot be compared."""
    times = errors(bench, ("float32", "float16"), column=3)
    slower = np.median([np.median(of["float16"]) / np.median(of["float32"]) for of in times.values()])
    rows = []
    for name in NETWORKS:
        of = network(name, (8, 8, 1), 10)
        wide, narrow = (count(of, (8, 8, 1), Configuration(f, f), accounting="needed") for f in ("e8m23", "e5m10"))
        each = [found.total_mb - found.by_kind()["master weights"] / 2**20 for found in (wide, narrow)]
        rows.append((name, *(f"{mb:.3f}" for mb in each), f"{each[1] / each[0]:.2f}"))
    heads = ("", "float32 MB", "float16 MB", "ratio")
    shown = table("Memory that training needs at once, batch 32, weights kept once", heads, rows)
    why = (
        f"16-bit arithmetic is emulated here, in float32 and roundings: it takes {slower:.2f} times as long; "
        f"memory is {', '.join(f'{row[3]} of float32 ({row[0]})' for row in rows)}"
    )
    series = {fmt: [float(row[i]) for row in rows] for i, fmt in ((1, "float32"), (2, "float16"))}
    chart = Chart("memory", shown.title, series, "bars", y="MB", labels=NETWORKS)
    return Finding("cannot be checked here", why, {"rows": rows}, (shown,), (chart,))


PAPER = Paper(
    "sixteen-bit",
    "Standalone 16-bit training, Hidden power of pure 16-bit, Continuous 16-bit training",
    "arXiv 2305.10947, 2301.12809, 2311.18587",
    (
        Claim("parity", "trained in float16 alone, networks are as accurate as in float32, but for .2 points", parity),
        Claim(
            "every-operation",
            "so they are with nothing wider, neither sums nor batch norm, loss and optimizer",
            every_operation,
        ),
        Claim("lemma", "where Gamma >= 2 delta, both networks put the same class first", lemma),
        Claim("certain", "errors of 16 bits are within the tolerance of nearly all answers", certain),
        Claim("epsilon", "Adam's epsilon, too small for 16 bits, is what makes training fail", epsilon),
        Claim("batch-norm", "batch norm limits 16 bits alone: its statistics need more", normalized),
        Claim("batch-size", "the batch size limits 16 bits alone", batches),
        Claim("continued", "after epochs in float32, training goes on in float16 alone without loss", continued),
        Claim("faster", "float16 alone trains 1.6 times as fast as float32, in less memory", faster),
    ),
)
