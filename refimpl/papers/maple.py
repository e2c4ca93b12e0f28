"""MAPLE (Abbasi et al., arXiv 2111.15106): how long networks take on unseen hardware, from a few measurements.

The hardware here is the reader's own machine under settings that change it: who multiplies (this package's engine, its
layers one by one, NumPy with one or two threads), what is rounded, how many images at once.  What describes a setting
are times of micro-kernels in it; what describes a network is counted from its layers.  One Gaussian process regression
predicts logarithms of times, with the descriptor of the setting or with nothing but its name.

How times and errors are summed up (the least of the repeats, the mean |log| of predicted over true time) was chosen
after first verdicts had been seen on one busy machine: believe a verdict here that your own machine gives, by another
--seed.
"""

from __future__ import annotations

import itertools

import numpy as np

from refimpl.nn import models, preset
from refimpl.nn.layers import AveragePool, Convolution, Flatten, Linear, ReLU, Round, Sequential
from refimpl.nn.rounder import Rounder
from refimpl.nn.training import logits
from refimpl.papers.claim import Bench, Chart, Claim, Finding, Paper, less, paired, table
from refimpl.papers.fbgemm import in_float, products
from refimpl.papers.stopwatch import seconds

SHAPE = (8, 8, 1)
BACKENDS = ("engine", "engine, float16", "layer by layer", "NumPy, 1 thread", "NumPy, 2 threads")
BATCHES = (1, 16, 128)
SETTINGS = tuple(itertools.product(BACKENDS, BATCHES))
SHOTS = (0, 1, 3, 10)
DRAWS = 3
NOISES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Of logarithms of times: .1 is ten percent."""

PROBES = {  # micro-kernels: a small and a large product, a small and a large convolution
    "product 64 x 10": [Flatten(), Linear(64, 10)],
    "product 512 x 512": [Flatten(), Linear(64, 512), ReLU(), Linear(512, 512), ReLU(), Linear(512, 10)],
    "convolution 1 to 8": [Convolution(1, 8), AveragePool(), Linear(8, 10)],
    "convolution 32 to 32": [Convolution(1, 32), ReLU(), Convolution(32, 32), AveragePool(), Linear(32, 10)],
}


def networks(count: int, seed: int) -> list[Sequential]:
    """Return MLPs and small CNNs of random widths, in turn."""
    rng, found = np.random.default_rng(seed), []
    for i in range(count):
        widths = tuple(int(w) for w in 2 ** rng.uniform(3.5, 9, 1 + rng.integers(3)))
        pair = tuple(int(w) for w in 2 ** rng.uniform(2.5, 6, 2))
        found.append(models.cnn(widths=(pair[0], pair[1])) if i % 2 else models.mlp(widths=widths))
    return found


def described(model: Sequential) -> list[float]:
    """Return what a network is, in logarithms but for the last: multiplications, of them in convolutions, weights,
    activations; layers.

    >>> [round(x, 2) for x in described(Sequential([Flatten(), Linear(64, 10)]))]
    [9.32, 0.0, 9.34, 6.21, 2.0]
    """
    multiplications, convolved, activations, count = 0, 0, 0, 0
    for _, layer, output in model.walk(SHAPE):
        activations, count = activations + int(np.prod(output)), count + 1
        if isinstance(layer, Linear):
            multiplications += layer.features * layer.outputs
        elif isinstance(layer, Convolution):
            convolved += layer.size**2 * layer.channels * int(np.prod(output))
    counts = multiplications + convolved, convolved + 1, model.parameter_total(), activations
    return [*map(float, np.log2(counts)), float(count)]


def runner(model: Sequential, backend: str, batch: int):
    """Return a function that makes a batch's logits in a setting."""
    rng = np.random.default_rng(0)
    model.initialize(rng)
    images = rng.uniform(0, 1, (batch, *SHAPE)).astype(np.float32)
    rounder = Rounder(preset("pure16", "float16") if "float16" in backend else preset("float32"), 0)
    if not backend.startswith("NumPy"):
        return lambda: logits(model, images, rounder, layer_by_layer=backend == "layer by layer")
    layers = products(model)
    return lambda: in_float(layers, images)[-1]


def measure(backend: str, batch: int, count: int, repeats: int, seed: int) -> list[list[float]]:
    """Return the seconds a batch takes in a setting, the least of repeats: of the probes, and of the networks."""
    probes = [Sequential([Round("input"), *layers, Round("logits")]) for layers in PROBES.values()]
    ways = {str(i): runner(model, backend, batch) for i, model in enumerate([*probes, *networks(count, seed)])}
    found = seconds(ways, repeats, 0.001, threads=2 if backend.endswith("2 threads") else 1)
    times = [float(of.min()) for of in found.values()]
    return [times[: len(probes)], times[len(probes) :]]


def likeness(network: np.ndarray, setting: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Return how alike places are, a kernel (n, n).

    Parameters
    ----------
    network, setting : ndarray (n, features)
        What is known of each place; a setting of no features is known by its name alone.
    same : ndarray (n,)
        The number of the setting: in part it is like itself only.
    """
    x, h = _standard(network), _standard(setting)
    of_networks = 1 + x @ x.T / x.shape[1] + np.exp(-_squares(x) / (2 * x.shape[1]))
    of_settings = np.exp(-_squares(h) / (2 * h.shape[1])) + h @ h.T / h.shape[1] if h.shape[1] else 1.0
    return of_networks * (of_settings + 0.3 * (same[:, None] == same))


def noise(kernel: np.ndarray, y: np.ndarray) -> float:
    """Return the deviation of noise, of a few, under which y is the most likely."""

    def surprise(deviation):
        inner = y.var() * kernel + deviation**2 * np.eye(len(y))
        z = y - y.mean()
        return np.linalg.slogdet(inner)[1] + z @ np.linalg.solve(inner, z)

    return min(NOISES, key=surprise)


def regression(kernel: np.ndarray, y: np.ndarray, known: np.ndarray, wanted: np.ndarray, noise: float) -> np.ndarray:
    """Return the values predicted at the places `wanted`, given y at those `known`."""
    mean, spread = y[known].mean(), y[known].var()
    inner = spread * kernel[np.ix_(known, known)] + noise**2 * np.eye(len(known))
    return mean + spread * kernel[np.ix_(wanted, known)] @ np.linalg.solve(inner, y[known] - mean)


def _standard(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)


def _squares(x: np.ndarray) -> np.ndarray:
    return ((x[:, None] - x) ** 2).sum(axis=-1)


def scores(times: np.ndarray, probes: np.ndarray, features: np.ndarray, seed: int, *, apart: str = "setting"):
    """Return the error of predicting each setting from the others and some networks measured in it.

    Parameters
    ----------
    times : ndarray (settings, networks)
    probes : ndarray (settings, probes)
    features : ndarray (networks, features)
    seed : int
        Draws which networks are measured, three times over.
    apart : str
        What the others do not share with it: the ``setting``, or the whole ``backend``.

    Returns
    -------
    dict of way to ndarray (shots, settings)
        Mean of |log (predicted / true)| over networks that were not measured there; ways are with
        ``descriptor``, and by ``name alone``.
    """
    settings, count = times.shape
    same, which = np.repeat(np.arange(settings), count), np.tile(np.arange(count), settings)
    log_time, settings_as = np.log(times).ravel(), {"descriptor": np.log(probes), "name alone": probes[:, :0]}
    ways = {way: likeness(features[which], of[same], same) for way, of in settings_as.items()}
    backends = np.arange(settings) // len(BATCHES)
    found = {way: np.zeros((len(SHOTS), settings)) for way in ways}
    for target in range(settings):
        others = same != target if apart == "setting" else backends[same] != backends[target]
        noises = {way: noise(kernel[np.ix_(others, others)], log_time[others]) for way, kernel in ways.items()}
        for s, shots in enumerate(SHOTS):
            for draw in range(DRAWS):
                measured = np.random.default_rng((seed, target, draw)).permutation(count)[:shots]
                here = (same == target) & np.isin(which, measured)
                known, wanted = np.flatnonzero(others | here), np.flatnonzero((same == target) & ~here)
                for way, kernel in ways.items():
                    told = regression(kernel, log_time, known, wanted, noises[way])
                    found[way][s, target] += np.abs(told - log_time[wanted]).mean() / DRAWS
    return found


def measured(bench: Bench) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times (settings, networks), probes (settings, probes) and features of networks."""
    count, repeats = (16, 25) if bench.quick else (32, 50)
    cases = [(*setting, count, repeats, bench.seed) for setting in SETTINGS]
    found = [bench.each(measure, [case], f"timing {case[0]}, {case[1]} images")[0] for case in cases]  # one at a time
    features = np.array([described(model) for model in networks(count, bench.seed)])
    return np.array([times for _, times in found]), np.array([probes for probes, _ in found]), features


LEFT_OUT = "32 networks, 50 repeats"


def _told(bench: Bench, apart: str, first: tuple[str, int], second: tuple[str, int]) -> Finding:
    """Judge whether the error of one way, at so many measurements, is below that of another."""
    found = scores(*measured(bench), bench.seed, apart=apart)
    (one, few), (other, many) = first, second
    a, b = found[one][SHOTS.index(few)], found[other][SHOTS.index(many)]
    difference = paired(a, b)
    rows = [(way, shots, *_mean(of)) for way, each in found.items() for shots, of in zip(SHOTS, each, strict=True)]
    heads = ("setting known by", "measured in it", "error", "median of settings")
    shown = table(f"Times in a {apart} apart from all others: mean of |log (predicted / true)|", heads, rows)
    series = {way: (range(len(SHOTS)), each.mean(axis=1), _errors(each)) for way, each in found.items()}
    title = f"Predicting times in a {apart} not seen"
    chart = Chart(
        "errors",
        title,
        series,
        x="networks measured in it",
        y="mean of |log (predicted / true)|",
        labels=tuple(map(str, SHOTS)),
    )
    why = (
        f"|log (predicted / true)| is {a.mean():.3f} ({one}, {few} measured) against {b.mean():.3f} ({other}, {many}): "
        f"{difference[0]:+.3f} ({difference[1]:.3f}) over {len(a)} settings"
    )
    numbers = {way: each.tolist() for way, each in found.items()}
    return Finding(less(difference), why, numbers, (shown,), (chart,), LEFT_OUT if bench.quick else "")


def _mean(of: np.ndarray) -> tuple[str, str]:
    return f"{of.mean():.3f} ({of.std(ddof=1) / len(of) ** 0.5:.3f})", f"{np.median(of):.3f}"


def _errors(each: np.ndarray) -> np.ndarray:
    return each.std(axis=1, ddof=1) / each.shape[1] ** 0.5


def descriptor(bench: Bench) -> Finding:
    """Predict each setting from the others and three networks measured in it."""
    return _told(bench, "setting", ("descriptor", 3), ("name alone", 3))


def three_beat_ten(bench: Bench) -> Finding:
    """Predict with a descriptor and three networks measured, and without one and ten."""
    return _told(bench, "setting", ("descriptor", 3), ("name alone", 10))


def samples(bench: Bench) -> Finding:
    """Predict with a descriptor, from one network measured and from ten."""
    return _told(bench, "setting", ("descriptor", 10), ("descriptor", 1))


def unseen_backend(bench: Bench) -> Finding:
    """Predict each setting from those that share neither code nor threads with it."""
    return _told(bench, "backend", ("descriptor", 3), ("name alone", 3))


PAPER = Paper(
    "maple",
    "MAPLE: latency on unseen hardware",
    "arXiv 2111.15106",
    (
        Claim("descriptor", "few measurements and a descriptor of the hardware predict latency better", descriptor),
        Claim("three-beat-ten", "3 measurements and a descriptor are better than 10 without", three_beat_ten),
        Claim("samples", "more measurements make the error smaller", samples),
        Claim("unseen-backend", "so it is for hardware unlike all that is known", unseen_backend),
    ),
)
