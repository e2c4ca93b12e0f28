"""The case for 4-bit precision: k-bit inference scaling laws (Dettmers and Zettlemoyer, arXiv 2212.09720).

Language models of several sizes are trained on Python's manual, then the weights of their matrices are rounded to k
bits, in blocks with a scale of 16 bits each: which width gives the least loss for the same number of bits in all?
Whatever is no matrix stays in 16 bits, and activations are not rounded, as in the paper.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

import refimpl as rf
from refimpl.formats import CodeBook
from refimpl.formats.codebooks import dynamic_values, named_book
from refimpl.papers.claim import Bench, Chart, Claim, Finding, Paper, compare, less, more, paired, said, table, worst

LADDER = ((16, 1), (24, 2), (32, 2), (48, 2), (64, 3))
"""Features and blocks of the networks, of some 6,000 to 160,000 parameters."""

BITS = (3, 4, 5, 6, 8)
BLOCKS = (32, 64, 256, 1024, 4096)
SCALE = 16  # bits of a block's scale
FLOATS = {3: "e2m0", 4: "e2m1", 5: "e2m2", 6: "e3m2", 8: "e4m3"}
KINDS = ("int", "float", "quantile", "dynamic")
USUAL = 64
"""The block size where others are not compared."""

KEPT = 0.02
"""Of a matrix's inputs, those whose weights stay in 16 bits where outliers are looked for: at least one."""

QUICK_OUT = "the largest of five sizes, most of the training text"


def book(kind: str, bits: int, block: int, weights: list[np.ndarray]) -> CodeBook:
    """Return a data type's values from -1 to 1; quantiles are of the weights, each block divided by its largest."""
    if kind == "nf4":
        return named_book("nf4")
    if kind == "int":
        values = np.linspace(-1, 1, 2**bits - 1)
    elif kind in ("float", "float and outliers"):
        values = np.unique(rf.decode(np.arange(2**bits, dtype=np.uint8), FLOATS[bits]))
    elif kind == "dynamic":
        values = np.array(dynamic_values(bits, bits - 1))
    else:
        flat = np.concatenate([_blocks(w, block)[0].ravel() for w in weights])
        return rf.quantile_codebook(flat, bits)
    values = np.unique(np.float32(values / np.abs(values).max()))
    return CodeBook(f"{kind}{bits}", tuple(values.tolist()))


def _blocks(weights: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights in rows of a block, the last filled up with zeros, each divided by its largest, and those."""
    flat = weights.ravel()
    size = min(block, flat.size)
    rows = np.pad(flat, (0, -flat.size % size)).reshape(-1, size)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    return rows / np.where(largest > 0, largest, 1), largest


def rounded(weights: np.ndarray, to: CodeBook, block: int) -> np.ndarray:
    """Return weights, each block rounded to a book's values times its largest magnitude, that in float16."""
    rows, largest = _blocks(weights, block)
    scale = np.float32(np.maximum(np.float16(largest), np.float16(1e-7)))
    codes, _ = rf.quantize_codebook(rows * largest / scale, to, scale=np.float32(1))
    found = rf.decode_codebook(codes, np.float32(1), to) * scale
    return found.ravel()[: weights.size].reshape(weights.shape).astype(np.float32)


def bits_of(sizes: list[int], others: int, bits: int, block: int) -> int:
    """Return the bits of a model whose matrices have these sizes: codes, scales, and 16 of each other parameter."""
    return sum(n * bits + -(-n // min(block, n)) * SCALE for n in sizes) + 16 * others


def outliers(named: list[tuple[str, np.ndarray]]) -> list[np.ndarray]:
    """Return of each matrix (inputs, outputs) which of its inputs are likely outliers.

    Those are the ones that the matrix before makes with weights of the largest deviations.  What comes before
    queries, keys, values and the first linear layer of a block is what was added last to what all of them read.  An
    embedding and positions have no inputs.
    """
    found, before, value = [], np.zeros((0, 0)), np.zeros((0, 0))
    last = before
    for layer, weights in named:
        name = layer.rsplit("/", 1)[-1]
        reads = {"out": value, "5 Linear": last}.get(name, before)
        likely = np.zeros(len(weights), bool)
        if reads.shape[1] == len(weights) and "/" in layer:
            count = max(int(KEPT * len(weights)), 1)
            likely[np.argsort(-reads.std(axis=0), kind="stable")[:count]] = True
        found.append(likely)
        value = weights if name == "value" else value
        before = weights if name in ("out", "5 Linear") or "Embedding" in name else before
        last = weights
    return found


def cases() -> list[tuple[str, int, int]]:
    """Return what each trained model is rounded to: kind, bits, block."""
    found = [(kind, bits, USUAL) for kind in KINDS for bits in BITS]
    found += [("nf4", 4, USUAL), ("float and outliers", 3, USUAL), ("float and outliers", 4, USUAL)]
    return found + [("int", bits, block) for bits in (3, 4) for block in BLOCKS if block != USUAL]


def train(features: int, blocks: int, part: float, seed: int) -> dict:
    """Train one model, and return its loss in bits per character, as it is and rounded to each of `cases`."""
    task = rf.data.manual(64)
    kept = np.random.default_rng(seed).permutation(len(task.train_images))[: int(part * len(task.train_images))]
    task = replace(task, train_images=task.train_images[kept], train_labels=task.train_labels[kept])
    model = rf.nn.language_model(features=features, blocks=blocks)
    rf.nn.fit(model, task, batch_size=16, epochs=1, learning_rate=0.006, optimizer=rf.nn.Adam(), seed=seed)
    few = slice(None, None, 3)
    named = [(layer, tensor) for layer, _, tensor in model.named_tensors() if tensor.data.ndim == 2]
    tensors = [tensor for _, tensor in named]
    plain = [tensor.data.copy() for tensor in tensors]
    likely = outliers([(layer, tensor.data) for layer, tensor in named])
    sizes = [weights.size for weights in plain]
    others = model.parameter_total() - sum(sizes)
    loss = functools.partial(rf.nn.bits_per_token, model, task.test_images[few], task.test_labels[few])
    found = {"parameters": model.parameter_total(), "16": [16 * (sum(sizes) + others), loss()]}
    for kind, bits, block in cases():
        to = book(kind, bits, block, plain)
        wide = [rows if kind == "float and outliers" else np.zeros(len(rows), bool) for rows in likely]
        for tensor, weights, rows in zip(tensors, plain, wide, strict=True):
            tensor.data = weights.copy()
            tensor.data[~rows] = rounded(weights[~rows], to, block)
        narrow = [weights[~rows].size for weights, rows in zip(plain, wide, strict=True)]
        found[f"{kind} {bits} {block}"] = [bits_of(narrow, model.parameter_total() - sum(narrow), bits, block), loss()]
    return found


def ladder(bench: Bench) -> list[list[dict]]:
    """Return what came of each size and seed."""
    seeds, part = bench.seeds(5), 0.15 if bench.quick else 0.4
    sizes = LADDER[:4] if bench.quick else LADDER
    found = bench.each(train, [(*size, part, seed) for size in sizes for seed in seeds], "language models")
    return [found[i * len(seeds) : (i + 1) * len(seeds)] for i in range(len(sizes))]


def at(found, name: str) -> np.ndarray:
    """Return losses of a way of rounding, (sizes, seeds)."""
    return np.array([[of[name][1] for of in seeds] for seeds in found])


def curve(found, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the log2 of total bits of each size, and losses (sizes, seeds)."""
    return np.log2([seeds[0][name][0] for seeds in found]), at(found, name)


def at_equal_bits(curves: dict) -> dict:
    """Return losses (seeds, budgets) of each of several curves, by straight lines in the logarithm of bits."""
    low, high = max(x[0] for x, _ in curves.values()), min(x[-1] for x, _ in curves.values())
    budgets = np.linspace(low, high, 9)
    return {name: np.array([np.interp(budgets, x, y) for y in of.T]) for name, (x, of) in curves.items()}


def four_bits(bench: Bench) -> Finding:
    """Compare widths at equal total bits, by straight lines between the sizes in the logarithm of bits."""
    found = ladder(bench)
    verdicts, numbers, rows, charts = [], {}, [], []
    for kind in ("float", "quantile"):
        curves = {bits: curve(found, f"{kind} {bits} {USUAL}") for bits in BITS}
        losses = at_equal_bits(curves)
        for k in BITS:
            difference = paired(losses[k].mean(axis=1), losses[4].mean(axis=1))
            numbers[f"{kind}, {k} bits"] = {"loss": losses[k].mean(axis=0).tolist(), "less 4 bits": difference}
            rows.append((f"{kind}, {k} bits", f"{losses[k].mean():.4f}", "" if k == 4 else said(difference)))
            verdicts += [more(difference)] * (k != 4)
        series = {f"{k} bits": (2.0**x, y.mean(axis=1), y.std(axis=1, ddof=1)) for k, (x, y) in curves.items()}
        series["16 bits"] = tuple(_whole(found))
        title = f"Loss against bits of the whole model, {kind}, blocks of {USUAL}"
        charts.append(Chart(kind, title, series, x="total bits", y="bits per character", log="x"))
    best = {
        k: float(np.mean([numbers[f"{kind}, {k} bits"]["less 4 bits"][0] for kind in ("float", "quantile")]))
        for k in BITS
    }
    least = min(best, key=best.__getitem__)
    why = f"at equal total bits, {least} bits have the least loss; less 4 bits': " + ", ".join(
        f"{k}: {value:+.3f}" for k, value in best.items() if k != 4
    )
    shown = table("Mean loss at equal total bits, blocks of 64", ("", "bits per character", "less 4 bits (s.e.)"), rows)
    return Finding(worst(verdicts), why, numbers, (shown,), tuple(charts), QUICK_OUT if bench.quick else "")


def _whole(found):
    """Return total bits and losses of the models as trained, in 16 bits."""
    x, y = curve(found, "16")
    return 2.0**x, y.mean(axis=1), y.std(axis=1, ddof=1)


def beside(found, ways: Mapping[str, str], baseline: str, judged, title: str, quick: bool, chart: Chart) -> Finding:
    """Compare ways of rounding, means over sizes, seed by seed: is the loss of some less?  `chart` shows more."""
    losses = {label: at(found, name).mean(axis=0) for label, name in ways.items()}
    judges = dict.fromkeys(judged, less)
    left_out = QUICK_OUT if quick else ""
    of = compare({"all sizes": losses}, baseline, judges, title=title, what="bits per character", left_out=left_out)
    return replace(of, charts=(chart,))


def small_blocks(bench: Bench) -> Finding:
    """Round to integers of 4 bits in blocks of several sizes."""
    found = ladder(bench)
    ways = {f"blocks of {block}": f"int 4 {block}" for block in sorted(BLOCKS, reverse=True)}
    series = {f"{k} bits": (BLOCKS, [at(found, f"int {k} {b}").mean() for b in BLOCKS]) for k in (3, 4)}
    chart = Chart("blocks", "Integers, loss by size of the block", series, x="block", y="bits per character", log="x")
    title, small, large = "4-bit integers, mean over sizes", f"blocks of {BLOCKS[0]}", f"blocks of {BLOCKS[-1]}"
    return beside(found, {name: ways[name] for name in (large, small)}, large, (small,), title, bench.quick, chart)


def data_types(bench: Bench) -> Finding:
    """Round to 4 bits of each data type."""
    found = ladder(bench)
    ways = {kind: f"{kind} 4 {USUAL}" for kind in KINDS}
    series = {kind: (BITS, [at(found, f"{kind} {k} {USUAL}").mean() for k in BITS]) for kind in KINDS}
    series["16 bits"] = (BITS, [at(found, "16").mean()] * len(BITS))
    chart = Chart("types", "Loss by data type, blocks of 64", series, x="bits of a weight", y="bits per character")
    title = "4 bits, blocks of 64, mean over sizes"
    ways["nf4"] = f"nf4 4 {USUAL}"
    return beside(found, ways, "int", ("float", "quantile"), title, bench.quick, chart)


def outliers_in_16_bits(bench: Bench) -> Finding:
    """Keep the weights of likely outliers in 16 bits, and compare at equal total bits."""
    found, label = ladder(bench), "outliers in 16 bits"
    groups: dict[str, dict] = {}
    series: dict[str, tuple] = {}
    for k in (3, 4):
        names = {"float": f"float {k} {USUAL}", label: f"float and outliers {k} {USUAL}"}
        curves = {name: curve(found, way) for name, way in names.items()}
        series |= {f"{k} bits, {n}": (2.0**x, y.mean(axis=1), y.std(axis=1, ddof=1)) for n, (x, y) in curves.items()}
        losses = at_equal_bits(curves)
        groups[f"{k} bits"] = {name: of.mean(axis=1) for name, of in losses.items()}
    title, left_out = "Loss at equal total bits, blocks of 64", QUICK_OUT if bench.quick else ""
    of = compare(groups, "float", {label: more}, title=title, what="bits per character", left_out=left_out)
    chart = Chart("outliers", title, series, x="total bits", y="bits per character", log="x")
    return replace(of, charts=(chart,))


PAPER = Paper(
    "kbit",
    "The case for 4-bit precision: k-bit inference scaling laws",
    "arXiv 2212.09720",
    (
        Claim("four-bits", "for the same bits in all, 4-bit weights give the least loss", four_bits),
        Claim("small-blocks", "small blocks lose less", small_blocks),
        Claim("data-types", "quantile and float data types lose less than integers, at 4 bits", data_types),
        Claim(
            "outliers",
            "nothing else helps: 16 bits for the weights of likely outliers do not pay for themselves",
            outliers_in_16_bits,
        ),
    ),
)
