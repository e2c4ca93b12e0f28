"""Give me BF16 or give me death? Accuracy of quantized language models (Kurtic and others, arXiv 2411.02355).

A language model and a perceptron are trained in float32; then the weights of their linear layers are rounded, and
what comes into them, in the paper's schemes: W8A8 in E4M3 or in integers, W4A16 in groups of weights.  Embeddings,
products of attention and the logits of the language model stay.  *Planted* outliers: two of the features that come
into every layer are 64 times as large, and their weights 64 times as small, which is the same function.  Large
models have such activations, but no such weights: so small, 4 bits lose them beside their neighbours.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, cast

import numpy as np

import refimpl as rf
from refimpl import numerics
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.nn.layers import Linear, Sequential
from refimpl.nn.rounder import Rounder
from refimpl.nn.training import logits
from refimpl.papers.claim import Bench, Chart, Claim, Finding, Paper, compare, less, like, paired, table, worst
from refimpl.papers.stopwatch import ratio, seconds

LARGER = 64.0
GROUP = 128
"""Neighbours that share a scale where 4 bits are timed."""

LOSSLESS, LITTLE, COMPETITIVE = 0.5, 3.0, 1.0
"""Points of recovery that may be lost."""


class Way(NamedTuple):
    """How a network is served: bits of integer weights (0: E4M3), how many neighbours share a scale (0: all of an
    output's), how they are rounded; the format of activations, if any, and what shares a scale; SmoothQuant or not."""

    bits: int
    group: int = 0
    how: Literal["nearest", "clipped", "gptq"] = "nearest"
    activations: str = ""
    per: Literal["token", "tensor"] = "token"
    smooth: bool = False


WAYS = {
    "E4M3": Way(0, activations="e4m3fn"),
    "int8 per tensor": Way(8, activations="int8", per="tensor"),
    "int8": Way(8, activations="int8"),
    "int8 SmoothQuant": Way(8, activations="int8", smooth=True),
    "int8 tuned": Way(8, how="gptq", activations="int8", smooth=True),
    **{f"int4/{g} {how}": Way(4, g, how) for g in (128, 32) for how in ("nearest", "clipped", "gptq")},
}
NETWORKS = {"mlp": 10, "language model": 5}
"""Seeds."""


@dataclass
class Served(Linear):
    """A linear layer whose inputs are multiplied by `factor`, its weights divided by it, and both then rounded."""

    def serve(self, factor: np.ndarray, weight: np.ndarray | None = None, fmt: str = "", per: str = "token") -> None:
        """Say how; without a weight, record what comes in."""
        self.factor, self.weight, self.fmt, self.per = factor, weight, fmt, per
        self.seen: list[np.ndarray] = []

    def __call__(self, x, run):
        rows: np.ndarray = x.data.reshape(-1, self.features) * self.factor
        if self.weight is None:
            self.seen.append(rows)
            return super().__call__(x, run)
        if self.fmt:
            rows = numerics.round_scaled(rows, self.fmt, axis=0 if self.per == "token" else None)
        y = rows.astype(np.float32) @ self.weight.astype(np.float32) + self.parameters["bias"].data
        return Tensor(y.reshape(*x.shape[:-1], self.outputs))


def scales(weight: np.ndarray, bits: int, group: int, *, clipped: bool) -> np.ndarray:
    """Return the step of each weight: of a group, its largest magnitude by that of the integers.

    Clipped, the part of it from 0.5 to 1 that leaves the least squares of errors.
    """
    top, found = 2 ** (bits - 1) - 1, np.empty(weight.shape)
    for start in range(0, len(weight), group or len(weight)):
        part = weight[start : start + (group or len(weight))]
        tried = np.linspace(1, 0.5, 26 if clipped else 1)[:, None, None]
        steps = np.maximum(np.float16(tried * np.abs(part).max(axis=0) / top), np.float16(1e-7)).astype(float)
        errors = ((nearest(part, steps, bits) - part) ** 2).sum(axis=1)
        best = errors.argmin(axis=0)
        found[start : start + len(part)] = steps[best, 0, np.arange(weight.shape[1])]
    return found


def nearest(weight: np.ndarray, steps: np.ndarray, bits: int) -> np.ndarray:
    """Return weights rounded to integers times steps."""
    top = 2 ** (bits - 1) - 1
    return np.clip(np.rint(weight / steps), -top, top) * steps


def rounded(weight: np.ndarray, inputs: np.ndarray, way: Way) -> np.ndarray:
    """Return the weights of a layer as a way rounds them, given what comes in."""
    if not way.bits:
        return numerics.round_scaled(weight, "e4m3fn", axis=1)
    steps = scales(weight, way.bits, way.group, clipped=way.bits == 4 and way.how != "nearest")
    if way.how == "gptq":
        return numerics.gptq(weight, inputs, steps, bits=way.bits)
    return nearest(weight, steps, way.bits)


def smoothing(weight: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Return what SmoothQuant divides each input by: sqrt(its largest / its largest weight)."""
    largest, of_weights = np.abs(inputs).max(axis=0), np.abs(weight).max(axis=1)
    fine = (largest > 0) & (of_weights > 0)
    return np.where(fine, np.sqrt(np.where(fine, largest, 1) / np.where(fine, of_weights, 1)), 1)


def size_of(layers: list[Served], others: int, way: Way) -> int:
    """Return the bytes of a network: weights and scales of 16 bits of its linear layers, 16 bits of all else."""
    bits = 16 * others
    for layer in layers:
        groups = -(-layer.features // (way.group or layer.features)) * layer.outputs
        bits += layer.features * layer.outputs * (way.bits or 8) + 16 * groups
    return -(-bits // 8)


def quality(model: Sequential, images, labels) -> list[float]:
    """Return accuracy, in percent, and the loss in bits."""
    found = logits(model, images, Rounder(rf.nn.Precision(), 0), layer_by_layer=True)
    loss = float(p.cross_entropy(found.astype(np.float64), labels=labels).data) / math.log(2)
    return [100 * float((found.argmax(axis=-1) == labels).mean()), loss]


def trained(network: str, seed: int):
    """Train a network, and return it, what it is tested on, and a few of the data it was trained on."""
    rng = np.random.default_rng(seed)
    if network == "mlp":
        task, model = rf.data.load("digits"), rf.nn.mlp()
        rf.nn.fit(model, task, epochs=10, seed=seed)
        return model, task.test_images, task.test_labels, rng.permutation(task.train_images)[:512]
    task, model = rf.data.manual(64), rf.nn.language_model(features=32, blocks=2)
    order = rng.permutation(len(task.train_images))
    task = replace(task, train_images=task.train_images[order], train_labels=task.train_labels[order])
    rf.nn.fit(model, task, batch_size=16, epochs=1, learning_rate=0.006, optimizer=rf.nn.Adam(), seed=seed)
    return model, task.test_images[::3], task.test_labels[::3], task.train_images[:64]


def train(network: str, seed: int) -> dict[str, dict]:
    """Train a network once, and serve it in every way, plain and planted.

    Returns accuracy, loss and bytes of each way, and of each layer the error of outputs on calibration data in four
    bits, by GPTQ over that to nearest on the same grid.
    """
    model, images, labels, calibration = trained(network, seed)
    layers = []
    for layer in model.every_layer():
        if isinstance(layer, Linear):
            layer.__class__ = Served
            layers.append(cast(Served, layer))
    others = model.parameter_total() - sum(layer.features * layer.outputs for layer in layers)
    found: dict[str, dict] = {}
    for planted in ("plain", "planted"):
        of = found[planted] = {}
        for layer in layers:
            factor = np.ones(layer.features, np.float32)
            factor[np.random.default_rng(seed).choice(layer.features, 2, replace=False)] = LARGER
            layer.serve(factor if planted == "planted" else np.ones_like(factor))
        of["16 bits"] = [*quality(model, images, labels), 2 * model.parameter_total()]
        for layer in layers:
            layer.seen = []
        quality(model, calibration, np.zeros(calibration.shape[: 1 + (network != "mlp")], np.int64))
        known = [(layer, layer.factor, np.concatenate(layer.seen)) for layer in layers]
        ratios = []
        for name, way in WAYS.items():
            for layer, factor, inputs in known:
                weight = np.float64(layer.parameters["weight"].data) / factor[:, None]
                by = smoothing(weight, inputs) if way.smooth else np.ones(layer.features)
                weight, x = weight * by[:, None], inputs / by
                new = rounded(weight, x, way)
                if name == "int4/128 gptq":
                    near = rounded(weight, x, way._replace(how="clipped"))
                    ratios.append(float(np.linalg.norm(x @ (new - weight)) / np.linalg.norm(x @ (near - weight))))
                layer.serve(factor / by, new, way.activations, way.per)
            of[name] = [*quality(model, images, labels), size_of(layers, others, way)]
        of["ratios"] = ratios
    return found


def served(bench: Bench) -> dict[str, list[dict]]:
    """Return what came of each network, over seeds."""
    found = {}
    for network, seeds in NETWORKS.items():
        found[network] = bench.each(train, [(network, seed) for seed in bench.seeds(seeds)], network)
    return found


def lost(bench: Bench, planted: str, baseline: str, kind: str, judges, title: str) -> Finding:
    """Compare what ways of a kind lose of recovery, 100 * accuracy / accuracy in 16 bits."""
    groups = {
        network: {
            way: [100 * (1 - of[planted][way][0] / of[planted]["16 bits"][0]) for of in seeds]
            for way in (baseline, *(name for name in WAYS if name.startswith(kind)))
        }
        for network, seeds in served(bench).items()
    }
    title = f"{title}, {'two features of each layer x 64' if planted == 'planted' else 'plain networks'}"
    return compare(groups, baseline, judges, title=title, what="recovery lost, %")


def fp8(bench: Bench, planted: str = "plain") -> Finding:
    """Round weights, a scale for each output, and activations, a scale for each token, to E4M3."""
    judges = {"E4M3": functools.partial(like, within=LOSSLESS)}
    return lost(bench, planted, "16 bits", "E4M3", judges, "W8A8 in E4M3")


def int8(bench: Bench, planted: str = "plain") -> Finding:
    """Round both to 8-bit integers, with SmoothQuant and GPTQ."""
    judges = {"int8 tuned": functools.partial(like, within=LITTLE)}
    return lost(bench, planted, "16 bits", "int8", judges, "W8A8 in integers")


def int4(bench: Bench, planted: str = "plain") -> Finding:
    """Round weights to 4 bits in groups of 128, by GPTQ with clipping, and compare with tuned 8-bit integers."""
    judges = {"int4/128 gptq": functools.partial(like, within=COMPETITIVE)}
    return lost(bench, planted, "int8 tuned", "int4", judges, "W4A16")


def losses(bench: Bench, planted: str, pairs: list[tuple[str, str]], title: str) -> Finding:
    """Compare losses of ways, the first of a pair to be less, seed by seed."""
    verdicts, rows, said, numbers, charts = [], [], [], {}, []
    found = served(bench)
    for network, seeds in found.items():
        of = {name: np.array([s[planted][name] for s in seeds]) for name in ("16 bits", *WAYS)}
        numbers[network] = {name: values[:, 1].tolist() for name, values in of.items()}
        points = {name: ([values[0, 2]], [values[:, 1].mean()]) for name, values in of.items()}
        name, x = network.replace(" ", "-"), "bytes of the network"
        charts.append(Chart(name, f"{network}: {title}", points, "points", x=x, y="loss, bits"))
        for a, b in pairs:
            difference = paired(of[a][:, 1], of[b][:, 1])
            verdicts.append(less(difference))
            said.append(f"{network}, {a} less {b}: {difference[0]:+.4f} ({difference[1]:.4f})")
        for name, values in of.items():
            accuracy, loss, size = values.mean(axis=0)
            recovery = 100 * (values[:, 0] / of["16 bits"][:, 0]).mean()
            rows.append((network, name, f"{size:,.0f}", f"{accuracy:.2f}", f"{recovery:.2f}", f"{loss:.4f}"))
    heads = ("", "", "bytes", "accuracy, %", "recovery, %", "loss, bits")
    shown = (table(title, heads, rows),)
    return Finding(worst(verdicts), "; ".join(said), numbers, shown, tuple(charts))


def gptq_better(bench: Bench) -> Finding:
    """Compare GPTQ with rounding to nearest, on the same clipped grid of 4 bits, in the loss and layer by layer."""
    pairs = [(f"int4/{group} gptq", f"int4/{group} clipped") for group in (128, 32)]
    found = losses(bench, "plain", pairs, "4 bits, GPTQ and to nearest")
    ratios = {
        network: [max(of[k]["ratios"]) for of in seeds for k in ("plain", "planted")]
        for network, seeds in served(bench).items()
    }
    largest = max(map(max, ratios.values()))
    verdict = worst([found.verdict, "holds" if largest <= 1 else "does not hold here"])
    why = f"{found.why}; error of a layer's outputs, GPTQ over to nearest: at most {largest:.2f}"
    return replace(found, verdict=verdict, why=why, numbers={**found.numbers, "ratios": ratios})


def finer(bench: Bench) -> Finding:
    """Give 8-bit integer activations with planted outliers one scale a tensor, one a token, and SmoothQuant."""
    pairs = [("int8", "int8 per tensor"), ("int8 SmoothQuant", "int8")]
    return losses(bench, "planted", pairs, "two features of each layer x 64")


def served_with(weight: np.ndarray) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return functions that multiply rows of float32 by weights as a server would keep them: whole, in 8 bits, in 4."""
    steps = scales(weight, 8, 0, clipped=False).astype(np.float32)
    codes = np.int8(np.rint(weight / steps))
    in_groups = scales(weight, 4, GROUP, clipped=False).astype(np.float32)
    packed = rf.pack_bits(np.int8(np.rint(weight / in_groups)).T.copy(), 4, signed=True)

    def eight(x: np.ndarray) -> np.ndarray:
        step = np.maximum(np.abs(x).max(axis=1, keepdims=True) / 127, np.float32(1e-7))
        return rf.matmul_int(np.rint(x / step).astype(np.int8), codes) * (step * steps[0])

    def four(x: np.ndarray) -> np.ndarray:
        return x @ (rf.unpack_bits(packed, 4, len(weight), signed=True).T * in_groups)

    return {"float32": lambda x: x @ weight, "W8A8": eight, "W4A16": four}


def faster(bench: Bench) -> Finding:
    """Time one linear layer, served in each scheme, on one token and on many, one thread each."""
    rng, repeats, size = np.random.default_rng(bench.seed), 9 if bench.quick else 25, 256 if bench.quick else 512
    rows, judged, numbers, told, series = [], [], {}, [], {}
    ways = served_with(rng.standard_normal((size, size), np.float32))
    for tokens, scheme in ((1, "W4A16"), (256, "W8A8")):
        x = rng.standard_normal((tokens, size), np.float32)
        found = seconds({name: functools.partial(way, x) for name, way in ways.items()}, repeats)
        judged.append(less(paired(np.log(found[scheme]), np.log(found["float32"]))))
        numbers[f"{tokens} tokens"] = times = {name: ratio(found["float32"], of) for name, of in found.items()}
        rows += [(tokens, name, f"{1e6 * np.median(of):.0f}", f"{times[name][0]:.3f}") for name, of in found.items()]
        each = np.array(list(times.values()))
        series[f"tokens: {tokens}"] = np.array([each[:, 0], (each[:, 2] - each[:, 1]) / 2])
        told.append(f"{scheme} {times[scheme][0]:.2f} times as fast as float32 on {tokens} token{'s' * (tokens > 1)}")
    heads = ("tokens", "scheme", "microseconds", "times as fast")
    title = f"A layer of {size} x {size} weights; activations are rounded, weights unpacked each time"
    chart = Chart("times", title, series, "bars", y="times as fast as float32", labels=tuple(ways))
    why = "; ".join(told) + "; NumPy multiplies floats alone, which codes are made into first"
    left_out = "more weights" if bench.quick else ""
    return Finding(worst(judged), why, numbers, (table(title, heads, rows),), (chart,), left_out)


FP8, INT8 = "W8A8 in FP8 loses nothing", "W8A8 in tuned integers loses 1 to 3 %"
INT4 = "W4A16 in integers is competitive with W8A8 in integers"

PAPER = Paper(
    "bf16-or-death",
    '"Give Me BF16 or Give Me Death"? Accuracy-Performance Trade-Offs in LLM Quantization',
    "arXiv 2411.02355",
    (
        Claim("fp8-lossless", FP8, fp8),
        Claim("fp8-lossless-planted", FP8, functools.partial(fp8, planted="planted")),
        Claim("int8-little-loss", INT8, int8),
        Claim("int8-little-loss-planted", INT8, functools.partial(int8, planted="planted")),
        Claim("int4-competitive", INT4, int4),
        Claim("int4-competitive-planted", INT4, functools.partial(int4, planted="planted")),
        Claim("gptq-better", "GPTQ loses less than rounding to nearest", gptq_better),
        Claim("finer-scales", "with outliers, a scale a token loses less than one a tensor, SmoothQuant less", finer),
        Claim("faster", "W4A16 is served fastest one token at a time, W8A8 many at once", faster),
    ),
)
