"""FBGEMM (Khudia et al., arXiv 2101.05615): 8-bit products for inference, as exact as integers are.

*Notation*: x = s (q - z), a value by its code, scale and zero point.  A product of matrices of values is s_A s_B times
the product of (q_A - z_A) and (q_B - z_B), which integers give exactly; what is rounded is what comes in, and what
goes out to the next layer, `requantized`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

import refimpl as rf
from refimpl.nn.layers import AveragePool, BatchNorm, Convolution, Flatten, Linear, ReLU, Round, Sequential
from refimpl.nn.models import network
from refimpl.papers.claim import Bench, Chart, Claim, Finding, Paper, compare, less, like, paired, table, worst
from refimpl.papers.stopwatch import ratio, seconds

WITHIN = 0.01
"""Test error, of 0 to 1, within which a network in 8 bits is said to be as good as in float32."""

NETWORKS = ("mlp", "cnn")
TASKS = ("latin-small-ten", "outlines")
"""1,440 test images each: an image is .0007."""


# -- a network in 8 bits -----------------------------------------------------------------------------


def requantized(sums: np.ndarray, multiplier, zero_point: int) -> np.ndarray:
    """Return codes of the next layer (uint8) for sums (int32): round(sum x multiplier) + zero point, clipped.

    >>> requantized(np.array([[10, 1000, -7]], np.int32), np.float32(0.25), 3).tolist()
    [[5, 253, 1]]
    """
    return (np.rint(sums.astype(np.float32) * multiplier) + zero_point).clip(0, 255).astype(np.uint8)


@dataclass
class Product:
    """A linear layer or a convolution, with what stands between it and the next one.

    Attributes
    ----------
    weight : ndarray (k, n)
    bias : ndarray (n,)
    window : (size, stride, padding) or None
        Of a convolution.
    relu, pooled : bool
        Whether negative values become 0 after it, and whether images are averaged before it.
    """

    weight: np.ndarray
    bias: np.ndarray
    window: tuple[int, int, int] | None
    relu: bool = False
    pooled: bool = False

    def rows(self, x: np.ndarray, padding) -> np.ndarray:
        """Return what is multiplied by the weights: (..., k), of values or codes."""
        if self.pooled:
            mean = x.mean(axis=(1, 2), dtype=np.float64)
            return mean.astype(x.dtype) if x.dtype == np.float32 else np.rint(mean).astype(x.dtype)
        if self.window is None:
            return x.reshape(len(x), -1)
        size, stride, around = self.window
        x = np.pad(x, ((0, 0), (around, around), (around, around), (0, 0)), constant_values=padding)
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
        return windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], -1)


def products(model: Sequential) -> list[Product]:
    """Return a trained network as its products, batch norm multiplied into the weights."""
    found: list[Product] = []
    pooled = False
    for layer in model.layers:
        data: Any = {name: tensor.data.astype(np.float64) for name, tensor in layer.parameters.items()}
        if isinstance(layer, Convolution):
            weight = data["weight"].reshape(-1, layer.filters)
            found.append(Product(weight, np.zeros(layer.filters), (layer.size, layer.stride, layer.padding)))
        elif isinstance(layer, Linear):
            found.append(Product(data["weight"], data["bias"], None, pooled=pooled))
        elif isinstance(layer, BatchNorm):
            factor = data["scale"] / np.sqrt(layer.variance + layer.epsilon)
            last = found[-1]
            last.weight, last.bias = last.weight * factor, (last.bias - layer.mean) * factor + data["shift"]
        elif isinstance(layer, ReLU):
            found[-1].relu = True
        elif not isinstance(layer, (Round, Flatten, AveragePool)):
            raise TypeError(f"fbgemm: {layer} is not a layer of an MLP or of the small CNN")
        pooled = isinstance(layer, AveragePool)
    return found


def in_float(layers: list[Product], x: np.ndarray) -> list[np.ndarray]:
    """Return what each product comes to in float32, the logits last."""
    outputs = []
    for layer in layers:
        rows = layer.rows(x, 0)
        x = rows @ layer.weight.astype(np.float32) + layer.bias.astype(np.float32)
        x = np.maximum(x, 0) if layer.relu else x
        outputs.append(x)
    return outputs


def in_int8(layers: list[Product], x: np.ndarray, seen: np.ndarray, multiply) -> np.ndarray:
    """Return the logits of a network all of whose products are those of 8-bit codes.

    Activations are uint8 with one scale and zero point a layer, from the range of `seen` images; weights int8 with a
    scale a column; `multiply` takes codes, codes, and the zero point of the first.
    """
    ranges = [(float(x.min()), float(x.max())) for x in [seen, *in_float(layers, seen)]]
    codes, scale, zero = rf.quantize_int(x, "uint8", clip=ranges[0])
    zero_point = int(zero)
    for layer, (low, high) in zip(layers, ranges[1:], strict=True):
        weight, scales, _ = rf.quantize_int(layer.weight, "int8", axis=1)
        together = float(scale.item()) * scales.reshape(-1).astype(np.float64)
        rows = layer.rows(codes, zero_point)
        sums = multiply(rows.reshape(-1, rows.shape[-1]), weight, zero_point)
        sums = sums.reshape(*rows.shape[:-1], -1) + np.rint(layer.bias / together).astype(np.int32)
        if layer is layers[-1]:
            return sums * together
        _, scale, zero = rf.quantize_int([low, high], "uint8", clip=(low, high))
        zero_point = int(zero)
        codes = requantized(sums, (together / float(scale.item())).astype(np.float32), zero_point)
    raise ValueError("fbgemm: a network without a product")


def by_int32(a, b, zero_point):
    """Multiply in int32 accumulators."""
    return rf.matmul_int(a, b, zero_points=(zero_point, 0))


def by_int16(a, b, zero_point, dense_bits: int, pairs: int | None):
    """Multiply in int16 accumulators; the zero point comes in afterwards."""
    sums = rf.matmul_int16(a, b, dense_bits=dense_bits, pairs=pairs)
    return sums - zero_point * b.astype(np.int32).sum(axis=0)


SUMS = {
    "int32 sums": by_int32,
    "16-bit sums, outliers apart": functools.partial(by_int16, dense_bits=7, pairs=None),
    "16-bit sums of 2 pairs": functools.partial(by_int16, dense_bits=8, pairs=2),
    "16-bit sums of 16 pairs": functools.partial(by_int16, dense_bits=8, pairs=16),
}


def infer(name: str, task: str, epochs: int, seed: int) -> dict[str, float]:
    """Train in float32, infer in float32 and in 8 bits, and return the test errors."""
    data = rf.data.load(task)
    shape = data.train_images.shape[1:]
    trained = rf.nn.fit(network(name, shape, data.classes), data, epochs=epochs, seed=seed)
    layers, seen = products(trained.model), data.train_images[:256]

    def error(logits):
        return float((logits.argmax(axis=1) != data.test_labels).mean())

    found = {"float32": trained.test_error}
    for way, multiply in SUMS.items():
        found[way] = error(in_int8(layers, data.test_images, seen, multiply))
    return found


# -- the claims --------------------------------------------------------------------------------------


def affine(bench: Bench) -> Finding:
    """Multiply codes with zero points for all, a row or a column, and compare with integers."""
    rng, size = np.random.default_rng(bench.seed), 24 if bench.quick else 96
    rows, good, count = [], 0, 0
    series: dict[str, list[float]] = {}
    for first in ("uint8", "int8", "int8_full"):
        for second in ("int8", "uint8"):
            for per in ("tensor", "row and column"):
                a, b = _random_codes(first, (size, 2 * size), rng), _random_codes(second, (2 * size, size), rng)
                many = (size, size) if per != "tensor" else (1, 1)
                za, zb = (_random_codes(fmt, n, rng) for fmt, n in zip((first, second), many, strict=True))
                got = rf.matmul_int(a, b, zero_points=(za, zb))
                wide = (a.astype(np.int64) - za.reshape(-1, 1)) @ (b.astype(np.int64) - zb)
                alike = int((got == wide).sum())
                rows.append((f"{first} x {second}", per, f"{alike} of {got.size}"))
                series.setdefault(f"zero points: a {per}", []).append(alike / got.size)
                good, count = good + alike, count + got.size
    shown = table("Sum of (q_A - z_A)(q_B - z_B) by the algebra of zero points", ("", "zero points", "equal"), rows)
    why = f"{good} of {count} results are those of whole numbers"
    left_out = "larger matrices" if bench.quick else ""
    labels, title = list(dict.fromkeys(row[0] for row in rows)), f"Products with zero points: {good} of {count} exact"
    chart = Chart("exact", title, series, "bars", y="part of the results exact", labels=labels)
    return Finding("holds" if good == count else "does not hold here", why, {}, (shown,), (chart,), left_out)


def _random_codes(fmt, shape, rng):
    fmt = rf.format(fmt)
    return rng.integers(fmt.min, fmt.max, shape, endpoint=True)


def sixteen(bench: Bench) -> Finding:
    """Sum in 16 bits, with outliers apart and without, codes of random numbers and the largest ones."""
    rng, size = np.random.default_rng(bench.seed), 64 if bench.quick else 256
    x, y = np.maximum(rng.standard_normal((size, 4 * size)), 0), rng.standard_normal((4 * size, size))
    cases = {
        "normal numbers": (rf.quantize_int(x, "uint8")[0], rf.quantize_int(y, "int8")[0]),
        "largest codes": (np.full((4, 64), 255), np.resize([127, -128, 127, 127], (64, 4))),
    }
    rows: list[tuple] = []
    apart: list[float] = []
    together: list[float] = []
    for name, (a, b) in cases.items():
        exact = rf.matmul_int(a, b)
        for bits, pairs in ((8, 1), (8, 4), (8, 16), (7, None), (6, None), (5, None)):
            wrong = float((rf.matmul_int16(a, b, dense_bits=bits, pairs=pairs) != exact).mean())
            outlying = float(((b < -(1 << (bits - 1))) | (b >= 1 << (bits - 1))).mean())
            (together if bits == 8 else apart).append(wrong)
            each = pairs or 2 ** (7 - bits)
            rows.append((name, bits, f"{100 * outlying:.2f} %", each, f"{100 * wrong:.2f} %"))
    heads = ("codes", "bits of dense part", "apart", "pairs in 16 bits", "wrong results")
    remark = "So many pairs of products are summed in 16 bits, saturating, before they go to 32."
    shown = table("Sums in 16 bits against sums in 32", heads, rows, remark)
    good = not any(apart) and any(together)
    few = rows[3][2]
    share = f"up to {100 * max(apart):.2f} % of results are wrong" if any(apart) else "all results are exact"
    why = (
        f"with outliers beyond 7 bits apart ({few} of normal weights) {share}; "
        f"without, up to {100 * max(together):.0f} % are wrong"
    )
    left_out = "larger matrices" if bench.quick else ""
    half = len(rows) // 2
    labels = [f"{bits} bits, {pairs} pairs" for _, bits, _, pairs, _ in rows[:half]]
    series = dict(zip(cases, np.array([float(row[-1][:-2]) for row in rows]).reshape(2, half), strict=True))
    title = "Wrong sums in 16 bits; below 8 bits outliers are summed apart"
    chart = Chart("wrong", title, series, "bars", y="wrong results (%)", labels=labels)
    return Finding("holds" if good else "does not hold here", why, {"rows": rows}, (shown,), (chart,), left_out)


def accurate(bench: Bench) -> Finding:
    """Train in float32, infer in 8 bits."""
    seeds, epochs = bench.seeds(10, 5), 5 if bench.quick else 15
    tasks = TASKS[:1] if bench.quick else TASKS
    cases = [(name, task, epochs, seed) for task in tasks for name in NETWORKS for seed in seeds]
    each = iter(bench.each(infer, cases, "training"))
    found: dict[str, dict[str, list]] = {}
    for task in tasks:
        for name in NETWORKS:
            of = [next(each) for _ in seeds]
            found[f"{name}, {task}"] = {way: [errors[way] for errors in of] for way in ("float32", *SUMS)}
    judges = dict.fromkeys(list(SUMS)[:2], functools.partial(like, within=WITHIN))
    title = f"Trained in float32, inferred in 8 bits; as good: within {WITHIN:g} of float32's error"
    left_out = "a second task, 15 epochs, 10 seeds" if bench.quick else ""
    return compare(found, "float32", judges, title=title, left_out=left_out)


def fused(bench: Bench) -> Finding:
    """Requantize tile by tile while sums are at hand, weights prepared once, against one after the other."""
    rng, repeats = np.random.default_rng(bench.seed), 9 if bench.quick else 25
    m, k, n, tile = 2048, 256, 256, 128
    a, b = rng.integers(0, 255, (m, k), np.uint8, True), rng.integers(-127, 127, (k, n), np.int8, True)
    multiplier, za, zc = np.float32(2.0**-12), 7, 100
    packed, columns = b.astype(np.float32), za * b.astype(np.int32).sum(axis=0)

    def apart():
        return requantized(by_int32(a, b, za), multiplier, zc)

    def prepared(rows=m):
        codes = np.empty((m, n), np.uint8)
        for i in range(0, m, rows):  # k 255 127 < 2^24: sums of float32 are exact
            sums = (a[i : i + rows].astype(np.float32) @ packed).astype(np.int32) - columns
            codes[i : i + rows] = requantized(sums, multiplier, zc)
        return codes

    ways = {"one after the other": apart, "weights prepared": prepared, "and fused": lambda: prepared(tile)}
    wanted = apart()
    alike = all(np.array_equal(way(), wanted) for way in ways.values())
    found = seconds(ways, repeats)
    first, last = found["one after the other"], found["and fused"]
    rows = [(name, f"{1e3 * np.median(of):.2f}", f"{ratio(first, of)[0]:.2f}") for name, of in found.items()]
    shown = table(f"{m} x {k} x {n} codes, one thread", ("", "milliseconds", "times as fast"), rows)
    times, low, high = ratio(first, last)
    by_tile = ratio(found["weights prepared"], last)
    why = (
        f"{'the same' if alike else 'other'} codes, {times:.2f} times ({low:.2f} to {high:.2f}) as fast; "
        f"{by_tile[0]:.2f} ({by_tile[1]:.2f} to {by_tile[2]:.2f}) of it by fusing alone"
    )
    verdict = worst(["holds" if alike else "does not hold here", less(paired(np.log(last), np.log(first)))])
    middle = [1e3 * np.median(of) for of in found.values()]
    chart = Chart("times", shown.title, {"time": middle}, "bars", y="milliseconds, median", labels=[*found])
    numbers = {"times": {name: ratio(first, of) for name, of in found.items()}}
    return Finding(verdict, why, numbers, (shown,), (chart,))


def faster(bench: Bench) -> Finding:
    """Time 8-bit products beside NumPy's of float32, one thread each."""
    rng, repeats = np.random.default_rng(bench.seed), 9 if bench.quick else 25
    rows, judged, numbers = [], [], {}
    series: dict[str, list] = {}
    for size in (64, 128, 256) if bench.quick else (64, 128, 256, 512):
        a, b = rng.integers(0, 255, (size, size), np.uint8, True), rng.integers(-127, 127, (size, size), np.int8, True)
        x, y = rng.standard_normal((size, size), np.float32), rng.standard_normal((size, size), np.float32)
        ways = {
            "float32, np.matmul": lambda x=x, y=y: x @ y,
            "int8, int32 sums": lambda a=a, b=b: rf.matmul_int(a, b),
            "int8, NumPy's integers": lambda a=a, b=b: a.astype(np.int32) @ b.astype(np.int32),
        }
        found = seconds(ways, repeats)
        base = found["float32, np.matmul"]
        mine = np.minimum(found["int8, int32 sums"], found["int8, NumPy's integers"])
        judged.append(less(paired(np.log(mine), np.log(base)), by=np.log(2)))
        numbers[f"{size}"] = {name: ratio(base, of) for name, of in found.items()}
        for name, of in found.items():
            rows.append((size, name, f"{1e3 * np.median(of):.3f}", f"{ratio(base, of)[0]:.3f}"))
            series.setdefault(name, []).append((size, 1e9 * np.median(of) / size**3))
    shown = table("Square products, one thread", ("size", "way", "milliseconds", "times as fast"), rows)
    drawn = {name: tuple(zip(*points, strict=True)) for name, points in series.items()}
    chart = Chart("times", "Time of one product and sum", drawn, x="size of the matrices", y="nanoseconds", log="xy")
    why = "; ".join(f"{size}: {of['int8, int32 sums'][0]:.2f} times as fast as float32" for size, of in numbers.items())
    why += "; NumPy has no 8-bit products, so integers go through floats that hold them exactly"
    return Finding(worst(judged), why, numbers, (shown,), (chart,), "larger matrices" if bench.quick else "")


PAPER = Paper(
    "fbgemm",
    "FBGEMM: 8-bit products for inference",
    "arXiv 2101.05615",
    (
        Claim(
            "affine-identity", "products of affine codes are exact in integers, zero points brought in after", affine
        ),
        Claim(
            "sixteen-bit-sums",
            "sums in 16 bits are enough where the few large weights are taken out into a sparse matrix",
            sixteen,
        ),
        Claim("accurate", "networks inferred in 8 bits are as accurate as in float32", accurate),
        Claim(
            "fused", "prepared weights and requantization fused with the product save time, and change nothing", fused
        ),
        Claim("faster", "8-bit products are more than twice as fast as those of float32", faster),
    ),
)
