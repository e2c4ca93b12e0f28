"""A metric-driven approach to mixed precision (Rasquinha and Tabak, arXiv 2408.02897): which eight bits, and where.

Operands of products are rounded, forward and backward, each with a scale that fits.  Networks are also trained with
*planted* outliers: two of the values that meet in a product are 512 times as large, and what they meet is 512 times
as small.  Powers of two are exact, so in float32 the network and its training are the same to the last bit.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

import refimpl as rf
from refimpl import numerics
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.formats import RoundingMode
from refimpl.nn import Precision, Rounding
from refimpl.nn.layer import Pass
from refimpl.nn.layers import Convolution, Flatten, Linear, ReLU, Round, Sequential
from refimpl.nn.precision import PRODUCT_ROLES
from refimpl.nn.products import product
from refimpl.nn.rounder import Rounder
from refimpl.numerics.evidence import METRICS
from refimpl.numerics.tails import FORMATS, NUS
from refimpl.papers.claim import (
    Bench,
    Chart,
    Claim,
    Finding,
    Paper,
    Verdict,
    compare,
    less,
    more,
    paired,
    said,
    table,
    worst,
)
from refimpl.papers.studies import LIKE, WORSE, made, study

OPERANDS = dict(zip(("activations", "weights", "gradients"), PRODUCT_ROLES, strict=True))
Way = tuple[tuple[str, str, Literal["tensor", "row"] | int, RoundingMode], ...]
"""Operands that are rounded: which, to what format, what shares a scale, and how."""

NEAREST: RoundingMode = "ties_to_even"
RANDOM: RoundingMode = "stochastic"
E4M3, E5M2 = FORMATS[1:]
LARGER = 512.0

WIDTHS = (64, 32)
"""Channels of the convolutional network in which outliers are planted: of four blocks of 16 inputs one has them."""


def around(operand: str, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return by what inputs and outputs of a product are multiplied for one operand to be of two outlying units."""
    x, y = np.ones((inputs, 1), np.float32), np.ones(outputs, np.float32)
    if operand == "activations":
        x[:2] = LARGER
    else:  # the gradient of y is that of y * outputs, times them
        y[:2] = LARGER if operand == "weights" else 1 / LARGER
    return x, y


def _planted(layer, function, x, run, inputs: int, outputs: int, **options) -> Tensor:
    """Return what a layer multiplies, one operand outlying, without its bias."""
    before, after = around(layer.operand, inputs, outputs)
    weight = layer.parameters["weight"] * Tensor(after / before)
    y = product(function, x * Tensor(before[:, 0]), weight, run.rounder, layer.name, exact=run.exact, **options)
    return y * Tensor(1 / after)


@dataclass
class Planted(Linear):
    """A linear layer whose product is of one outlying operand: the same function, and the same gradients."""

    operand: str = "weights"

    def __call__(self, x, run):
        return _planted(self, p.matmul, x, run, self.features, self.outputs) + self.parameters["bias"]


@dataclass
class PlantedConvolution(Convolution):
    """A convolution whose product is of one outlying operand, by channels."""

    operand: str = "weights"

    def __call__(self, x, run):
        strides = {"stride": self.stride, "padding": self.padding}
        return _planted(self, p.convolve, x, run, self.channels, self.filters, **strides)


def mlp(operand: str = "") -> Sequential:
    """Return a perceptron for digits, with outliers planted in the operands of its second layer."""
    middle = Planted(128, 128, operand=operand) if operand else Linear(128, 128)
    first = [Round("input"), Flatten(), Linear(64, 128), ReLU(), Round("activation")]
    return Sequential([*first, middle, ReLU(), Round("activation"), Linear(128, 10), Round("logits")])


def cnn(operand: str = "") -> Sequential:
    """Return a convolutional network for digits, with outliers planted in the operands of its second layer."""
    model = rf.nn.cnn(widths=WIDTHS)
    if not operand:
        return model
    layers = [
        PlantedConvolution(*WIDTHS, stride=2, operand=operand) if type(of) is Convolution and of.stride == 2 else of
        for of in model.layers
    ]
    return Sequential(layers)


def precision(ways: Way) -> Precision:
    """Return the policy that rounds operands: (operand, format, what shares a scale, rounding) of each."""
    roles = {
        OPERANDS[operand]: Rounding(format=fmt, per=per, rounding=rounding, scaling="current")
        for operand, fmt, per, rounding in ways
    }
    return Precision(roles=roles, loss_scale=1.0)


def train(network: str, planted: str, ways, epochs: int, seed: int) -> float:
    """Return the test error."""
    task, settings = study(network)
    model = {"mlp": mlp, "cnn": cnn}[network](planted) if planted else made(network, task)
    return rf.nn.fit(model, task, precision=precision(ways), epochs=epochs, seed=seed, **settings).test_error


def grains(operand: str, planted: bool) -> dict[str, Way]:
    """Return ways to round one operand of every product, and no other; fewer of them where outliers are not planted."""
    ways: dict[str, Way] = {"float32": ()}
    scalings: tuple[Literal["tensor", "row"] | int, ...] = ("tensor", "row", 32, 16)
    for per in scalings if planted else ("tensor", 16):
        name = f"int8 per {'' if isinstance(per, str) else 'block of '}{per}"
        ways[name] = ((operand, "int8", per, NEAREST),)
    return {**ways, **{name: ((operand, fmt, "tensor", NEAREST),) for name, fmt in (("E4M3", E4M3), ("E5M2", E5M2))}}


def fp8(gradients: RoundingMode) -> Way:
    """Return FP8 everywhere: E4M3 forward, E5M2 for gradients, which are rounded as it says."""
    return (
        *((operand, E4M3, "tensor", NEAREST) for operand in ("activations", "weights")),
        ("gradients", E5M2, "tensor", gradients),
    )


def errors(bench: Bench, groups: dict[str, tuple[str, str, dict[str, Way]]]) -> dict[str, dict[str, list[float]]]:
    """Return test errors over seeds of groups of (network, planted operand, ways)."""
    found: dict[str, dict[str, list[float]]] = {}
    for group, (network, planted, ways) in groups.items():
        *counts, epochs = EFFORT["planted cnn" if planted and network == "cnn" else network]
        seeds = bench.seeds(*counts)
        cases = [(network, planted, way, epochs, seed) for way in ways.values() for seed in seeds]
        errors = iter(bench.each(train, cases, f"training {group}"))
        found[group] = {way: [next(errors) for _ in seeds] for way in ways}
    return found


EFFORT = {"mlp": (10, 5, 10), "cnn": (10, 5, 5), "planted cnn": (5, 5, 5), "transformer": (10, 5, 2)}
"""Seeds, seeds of a quick run, epochs; what is planted takes the layers one by one."""


def networks(bench: Bench, planted: bool = False) -> tuple[str, ...]:
    """Return the networks; of a quick run the fastest."""
    return ("mlp",) if bench.quick else ("mlp", "cnn") if planted else ("mlp", "cnn", "transformer")


def left_out(bench: Bench, planted: bool = False) -> str:
    """Return what a quick run leaves out."""
    return f"CNN{'' if planted else ', transformer'}, 5 of 10 seeds" if bench.quick else ""


def judged(bench: Bench, planted: bool, operands, ways, judges, title: str) -> Finding:
    """Return what comes of ways for some operands, in plain networks or in such with these operands planted."""
    groups = {
        f"{network}, {operand}": (network, operand if planted else "", ways(operand, planted))
        for network in networks(bench, planted)
        for operand in operands
    }
    title = f"{title}: {f'two units x {LARGER:g}' if planted else 'plain networks'}"
    return compare(errors(bench, groups), "float32", judges, title=title, left_out=left_out(bench, planted))


def weights_lossless(bench: Bench, planted: bool = False) -> Finding:
    """Train with weights in INT8, one scale each, all else in float32."""
    title = "Weights in eight bits"
    return judged(bench, planted, ("weights",), grains, {"int8 per tensor": LIKE}, title)


def finer(bench: Bench, planted: bool = False) -> Finding:
    """Train with activations, or gradients, in INT8 with one scale and with many."""
    judges = {"int8 per tensor": WORSE, "int8 per block of 16": LIKE}
    title = "Activations, or gradients, in eight bits"
    return judged(bench, planted, ("activations", "gradients"), grains, judges, title)


def fp8_converges(bench: Bench, planted: bool = False) -> Finding:
    """Train with all operands in FP8, gradients to nearest and stochastically."""
    ways = {"float32": (), "to nearest": fp8(NEAREST), "stochastic gradients": fp8(RANDOM)}
    operands = tuple(OPERANDS) if planted else ("all in FP8",)
    title = "E4M3, gradients in E5M2"
    found = judged(bench, planted, operands, lambda *_: ways, {"stochastic gradients": LIKE}, title)
    nearest = [of["less float32"] for name, of in found.numbers.items() if name.endswith("to nearest")]
    return replace(found, why=f"{found.why}; to nearest: " + ", ".join(map(said, nearest)))


def rounding_matters(bench: Bench, planted: bool = False) -> Finding:
    """Train with gradients in INT8 and in INT4, one scale each, to nearest and stochastically."""
    named = (("to nearest", NEAREST), ("stochastic", RANDOM))
    rounded = {
        f"{fmt} {name}": (("gradients", fmt, "tensor", mode),) for fmt in ("int8", "int4") for name, mode in named
    }
    judges = {"int8 to nearest": WORSE, "int8 stochastic": LIKE}
    title = "Gradients, one scale a tensor"
    return judged(bench, planted, ("gradients",), lambda *_: {"float32": (), **rounded}, judges, title)


def tails(scaling: numerics.tails.Scaling, size: int, seed: int) -> list[tuple[float, float, float]]:
    """Return median backward error, relative error of operands and underflow, for each nu and format."""
    rows = numerics.tail_table(scaling=scaling, size=size, trials=1, seed=seed)
    return [(row.backward_error, row.relative_error, row.underflow) for row in rows]


def bounded(bench: Bench) -> Finding:
    """Multiply matrices drawn from Student's t, rounded with one scale each, and with one a row."""
    size, seeds, heavy = (256 if bench.quick else 512), bench.seeds(5), NUS.index(3.0)
    found = np.array(bench.each(tails, [(s, size, seed) for s in ("tensor", "row") for seed in seeds], "products"))
    found = found.reshape(2, len(seeds), len(NUS), len(FORMATS), 3)
    growth = np.log(found[0, ..., 0] / found[0, :, -1:, :, 0])  # from the Gaussian; (seeds, nu, format)
    verdicts = [less(paired(growth[:, heavy, i], np.full(len(seeds), np.log(1.5)))) for i in (1, 2)]
    verdicts += [more(paired(growth[:, k, 0], growth[:, k, i]), np.log(3)) for i in (1, 2) for k in range(heavy + 1)]
    grown = [paired(growth[:, heavy, i], np.zeros(len(seeds)))[:2] for i in range(3)]
    said = ", ".join(f"{f} x {np.exp(g):.2f} (x/ {np.exp(e):.2f})" for f, (g, e) in zip(FORMATS, grown, strict=True))
    names = ["Gaussian" if nu == np.inf else f"{nu:g}" for nu in NUS]
    middle = np.median(found, axis=1)  # (scaling, nu, format, measure)
    heads = ("nu", *(f"{f}{per}" for per in ("", ", row") for f in FORMATS), "int8 flushed to 0")
    rows = [
        (names[k], *(f"{e:.5f}" for e in middle[:, k, :, 0].ravel()), f"{middle[0, k, 0, 2]:.1%}")
        for k in range(len(NUS))
    ]
    remark = "The largest value of a matrix sets its scale: for nu below 3 it varies much from draw to draw."
    title = f"Median |error| / (|a| |b|) of a product of {size} x {size} matrices, one scale each, and one a row"
    lines = {
        f"{f}{', a scale a row' if s else ''}": (range(len(NUS)), middle[s, :, i, 0])
        for s in (0, 1)
        for i, f in enumerate(FORMATS)
    }
    x = "degrees of freedom of Student's t (heavier tails to the left)"
    charts = (
        Chart(
            "tails", "Figure 4: errors of products", lines, x=x, y="median |error| / (|a| |b|)", log="y", labels=names
        ),
        Chart(
            "relative",
            "Figure 3: errors of values",
            {f: numerics.error_profile(f, octaves=OCTAVES + 4) for f in FORMATS},
            x="magnitude, as a part of the tensor's largest",
            y="worst relative error of rounding",
            log="xy",
        ),
    )
    numbers = {"nu": names, "formats": FORMATS, "median backward error, tensor and row": middle[..., 0].tolist()}
    shown = (table(title, heads, rows, remark),)
    why = f"backward error from the Gaussian to 3 degrees of freedom: {said}"
    return Finding(worst(verdicts), why, numbers, shown, charts, "matrices of 512 x 512" if bench.quick else "")


QUERY = "3 Sequential/0 Sum/main/2 Attention/query"


RESULTS = ("outputs", "weight gradients")


def query_tensors(epochs: int, seed: int) -> list[tuple[list[float], float, float, float]]:
    """Return of each tensor of the first query projection: parts by octaves below the largest, nu, distance, zeros.

    Its three operands, then what only its own products make.
    """
    task, settings = study("transformer")
    results = [numerics.Distribution((seed, name)) for name in range(len(RESULTS))]

    def see(product):
        if product.layer.endswith(QUERY):
            left, right, dy = (product.tensors[role] for role in PRODUCT_ROLES)
            y, back = product.multiply.__wrapped__(left, right, **product.options)
            for result, x in zip(results, (y, back(dy)[1]), strict=True):
                result.add(x)

    found = numerics.capture(made("transformer", task), task, epochs=epochs, seed=seed, also=see, **settings)
    rows = []
    for seen in [*(found.of(QUERY, role) for role in PRODUCT_ROLES), *results]:
        top = int(np.flatnonzero(seen.octaves)[-1])
        fit = seen.student_t()
        parts = seen.octaves[top - OCTAVES + 1 : top + 1][::-1] / seen.count
        rows.append((parts.tolist(), fit.nu, fit.distance, seen.zeros / seen.count))
    return rows


OCTAVES = 32


def degrees(nu: float) -> str:
    """Return degrees of freedom in words."""
    return f"{nu:.1f}" if nu < 100 else "> 100"


def operand_tails(bench: Bench) -> Finding:
    """Record the tensors of a query projection while a transformer trains, and fit Student's t to each.

    The paper draws five, and our source does not say which.  Here they are the three operands, x, W and dy, which fill
    the six places of the layer's three products, and two results: y, which goes into the next product, and dW, which
    goes into the optimizer.  dx is left out: key and value add theirs to it.  The claim is about operands, and so is
    the verdict.
    """
    seeds = bench.seeds(5)
    found = bench.each(query_tensors, [(1 if bench.quick else 3, seed) for seed in seeds], "training")
    rows, verdicts, series = [], [], {}
    roles = {**OPERANDS, **dict.fromkeys(RESULTS, "result")}
    for i, (name, role) in enumerate(roles.items()):
        nus, distances = np.array([[of[i][1], of[i][2]] for of in found]).T
        if name in OPERANDS:
            verdicts.append(less(paired(distances, np.full(len(seeds), 0.05))))
        rows.append(
            (
                f"{name} ({role})",
                degrees(np.median(nus)),
                f"{degrees(nus.min())} to {degrees(nus.max())}",
                f"{distances.mean():.3f}",
            )
        )
        series[f"{name}, nu {degrees(np.median(nus))}"] = (
            -np.arange(OCTAVES),
            np.mean([of[i][0] for of in found], axis=0),
        )
    heads = ("tensor", "nu, median", "over seeds", "Kolmogorov distance")
    remark = (
        "nu > 100: a Gaussian or lighter tails (weights begin uniform).  The operands fill the six places of 3 "
        "products; the results are drawn beside them, and not judged."
    )
    shown = table("Student's t fitted to the tensors of the first query projection", heads, rows, remark)
    x = "octaves below the largest (int8 keeps 7, E4M3 17, E5M2 31)"
    chart = Chart("query", "Figure 2: five tensors of a query projection", series, x=x, y="part of the values", log="y")
    why = "; ".join(f"{r[0]}: nu {r[1]}, distance {r[3]}" for r in rows[: len(OPERANDS)])
    numbers = {"rows": rows}
    return Finding(worst(verdicts), why, numbers, (shown,), (chart,), "3 epochs" if bench.quick else "")


def graph(fmt: str, seed: int) -> list[list[float]]:
    """Return how far a rounded layer's y, dx, dW are from products of rounded operands, and of exact ones."""
    rng = np.random.default_rng(seed)
    x, dy = (rng.standard_t(5, (32, 64)).astype(np.float32) for _ in range(2))
    layer = Linear(64, 64)
    layer.initialize(rng)
    w, b = (layer.parameters[name].data for name in ("weight", "bias"))
    policy = precision(tuple((operand, fmt, "tensor", NEAREST) for operand in OPERANDS))
    left = Tensor(x, requires_grad=True)
    y = layer(left, Pass(Rounder(policy, seed), training=True))
    p.sum(y * Tensor(dy)).backward()
    found = y.data - b, left.grad, layer.parameters["weight"].grad

    def products(x, w, dy):
        return x @ w, dy @ w.T, x.T @ dy

    rounded = products(*(rounded_by_hand(v, fmt) for v in (x, w, dy)))
    return [
        [numerics.normwise_error(e, f) for e, f in zip(of, found, strict=True)] for of in (rounded, products(x, w, dy))
    ]


def rounded_by_hand(x, fmt: str):
    """Return values rounded to nearest, by the scale the trainer takes: a power of two for floats."""
    if fmt == "int8":
        return numerics.round_scaled(x, fmt)
    scale = 2.0 ** np.floor(np.log2(rf.format(fmt).max / np.abs(x).max()))
    return rf.quantize(np.float64(x) * scale, fmt) / scale


def rewritten(bench: Bench) -> Finding:
    """Compare a rounded linear layer, forward and backward, with products of operands rounded by hand."""
    found = np.array(bench.each(graph, [(fmt, seed) for fmt in FORMATS for seed in bench.seeds(5)]))
    found = found.reshape(len(FORMATS), -1, 2, 3).max(axis=1)
    rows = [
        ("y = x W", "y = Q(x) Q(W)", *(f"{e:.1e}" for e in found[:, 0, 0])),
        ("dx = dy W'", "dx = Q(dy) Q(W)'", *(f"{e:.1e}" for e in found[:, 0, 1])),
        ("dW = x' dy", "dW = Q(x)' Q(dy)", *(f"{e:.1e}" for e in found[:, 0, 2])),
    ]
    shown = table(
        "Figure 1: the graph of a linear layer, before and after, and how far the trainer is from it",
        ("before", "after", *FORMATS),
        rows,
        "Q quantizes and dequantizes; each tensor once, though it goes into two products.",
    )
    good = bool((found[:, 0] < 1e-5).all() and (found[:, 1] > 1e-3).all())
    near, far = found[:, 0].max(), found[:, 1].min()
    why = f"within {near:.1e} of products of rounded operands, {far:.1e} and more from exact ones"
    charts = (drawn("before", str), drawn("after", "Q({})".format))
    return Finding("holds" if good else "does not hold here", why, {"distances": found.tolist()}, (shown,), charts)


def drawn(when: str, quantized) -> Chart:
    """Return the graph of a linear layer, forward and backward, with what every operand passes on its way."""
    operands = ("x", "W", "dy")
    dots = {"y = x W": ("x", "W"), "dW = x' dy": ("x", "dy"), "dx = dy W'": ("W", "dy")}
    places = {name: (0.0, 2.0 - i) for i, name in enumerate(operands)}
    places |= {quantized(name): (1.0, 2.0 - i) for i, name in enumerate(operands) if quantized(name) != name}
    places |= {name: (2.0, 2.0 - i) for i, name in enumerate(dots)}
    arrows = [f"{name} -> {quantized(name)}" for name in operands if quantized(name) != name]
    arrows += [f"{quantized(name)} -> {dot}" for dot, names in dots.items() for name in names]
    return Chart(f"graph-{when}", f"Figure 1: a linear layer, {when} the rewrite", places, "graph", labels=arrows)


def ladder(network: str, count: int, seed: int) -> dict[str, list[float]]:
    """Return what each metric said of policies before training, and the loss and test error of each after."""
    task, settings = study(network)
    make = functools.partial(made, network, task)
    found = numerics.measure(make(), task, numerics.candidates(numerics.LADDER), steps=2, seed=seed, **settings)
    policies = numerics.policies(found, count, seed=seed)
    trained = numerics.train_policies(make, task, policies, epochs=3, seeds=(seed, seed + 1), **settings)
    said: dict[str, list[float]] = {}
    for metric in METRICS:
        said[metric] = []
        for policy in policies.values():
            values = [
                found.value((c.layer, c.role), metric)[found.candidates.index(c.candidate)] for c in policy.choices
            ]
            said[metric].append(float(np.mean(np.maximum(values, -200.0))))
    return {**said, "loss": [t.loss for t in trained], "test error": [t.test_error for t in trained]}


def sign(low: float, high: float) -> Verdict:
    """Return the verdict on "it is positive", given its 95 % interval."""
    return "holds" if low > 0 else "does not hold here" if high < 0 else "cannot be checked here"


def predicts(bench: Bench) -> Finding:
    """Train policies from hopeless to harmless, and rank them by what was measured before."""
    seed, count = bench.seeds(1)[0], 20 if bench.quick else 24
    rows, verdicts, said, numbers, series = [], [], [], {}, {}
    for network, of in zip(
        networks(bench), bench.each(ladder, [(n, count, seed) for n in networks(bench)], "policies"), strict=True
    ):
        for metric in METRICS:
            powers = [numerics.predictive_power(of[metric], of[quality]) for quality in ("loss", "test error")]
            rows.append((network, metric, *(f"{q.correlation:.2f} ({q.low:.2f} to {q.high:.2f})" for q in powers)))
            if metric == "backward error":
                verdicts.append(sign(powers[0].low, powers[0].high))
                said.append(f"{network}: {rows[-1][2]}")
        numbers[network] = of
        series[network] = (of["backward error"], of["loss"])
    heads = ("", "metric, before training", "rank correlation with loss (95 %)", "with test error (95 %)")
    shown = table(f"{count} policies of one format each, and mixtures; 3 epochs, means of two seeds", heads, rows)
    chart = Chart(
        "loss",
        "Loss after, by what was measured before",
        series,
        "points",
        x="backward error, mean over operands",
        y="training loss",
        log="xy",
    )
    why = "rank correlation of backward error and loss: " + ", ".join(said)
    return Finding(worst(verdicts), why, numbers, (shown,), (chart,), left_out(bench))


LOSSLESS = "weights in INT8 lose nothing"
CONVERGES = "FP8 for all operands converges, with appropriate rounding"
FINER = "activations and gradients in INT8 need scales of finer granularity than one a tensor"
ROUNDED = "gradients in INT8 need specialized rounding: stochastic, not to nearest"

PAPER = Paper(
    "metric-driven",
    "A Metric-driven Approach to Mixed Precision",
    "arXiv 2408.02897",
    (
        Claim(
            "graph-rewrite",
            "every product gets its operands quantized and dequantized, forward and backward",
            rewritten,
        ),
        Claim(
            "operand-tails",
            "Student's t describes the operands of products, of heavy and of light tails",
            operand_tails,
        ),
        Claim("bounded-errors", "errors of FP8 stay far more bounded than INT8's as tails get heavier", bounded),
        Claim("metric-predicts", "a metric of products chooses formats, instead of training in each", predicts),
        Claim("int8-weights-lossless", LOSSLESS, weights_lossless),
        Claim("int8-weights-planted", LOSSLESS, functools.partial(weights_lossless, planted=True)),
        Claim("fp8-converges", CONVERGES, fp8_converges),
        Claim("fp8-converges-planted", CONVERGES, functools.partial(fp8_converges, planted=True)),
        Claim("finer-granularity", FINER, finer),
        Claim("finer-granularity-planted", FINER, functools.partial(finer, planted=True)),
        Claim("specialized-rounding", ROUNDED, rounding_matters),
        Claim("specialized-rounding-planted", ROUNDED, functools.partial(rounding_matters, planted=True)),
    ),
)
