"""Revisiting BFloat16 Training (Zamirai et al., arXiv 2010.06192): where 16 bits lose, and what mends it.

Everything is rounded to bfloat16, to nearest, after every layer; only how the weights take their update differs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

import refimpl as rf
from refimpl.nn import SGD, Precision, preset
from refimpl.nn.layers import Sequential
from refimpl.nn.optimizer import Update
from refimpl.nn.presets import Preset
from refimpl.numerics.sixteen_bit import halting_radius
from refimpl.papers.claim import Bench, Chart, Claim, Finding, Paper, compare, like, more, table

NETWORKS: dict[str, Callable[[], Sequential]] = {"mlp": rf.nn.mlp, "cnn": rf.nn.cnn}
WAYS: dict[str, tuple[Preset, Update]] = {  # policy, and how the weights take their update
    "float32": ("float32", "plain"),
    "to nearest": ("pure16", "plain"),
    "stochastic": ("pure16", "stochastic"),
    "Kahan": ("pure16", "kahan"),
    "float32 weights": ("mixed", "plain"),
}
RATE = 0.003
"""Learning rate: small, so that updates are, too; that is what the claim is about. At .05 nothing is lost."""

WITHIN = 0.01
"""Test error, of 0 to 1, within which a way is said to match float32."""


def precision(policy: Preset) -> Precision:
    """Return a policy by name, in bfloat16 where that has a format."""
    return preset("float32") if policy == "float32" else preset(policy, "bfloat16")


def train(network: str, way: str, rate: float, epochs: int, seed: int) -> list[float]:
    """Return test error and last training loss."""
    policy, update = WAYS[way]
    found = rf.nn.fit(
        NETWORKS[network](),
        rf.data.load("digits"),
        precision=precision(policy),
        optimizer=SGD(update=update),
        learning_rate=rate,
        epochs=epochs,
        seed=seed,
    )
    return [found.test_error, found.history[-1]["loss"]]


def errors(bench: Bench, ways, rate=RATE, count=10) -> dict[str, dict[str, np.ndarray]]:
    """Return test errors of each network and way, (seeds,)."""
    epochs, seeds = (10, bench.seeds(count, 5)) if bench.quick else (40, bench.seeds(count))
    networks = ("mlp",) if bench.quick else tuple(NETWORKS)
    cases = [(network, way, rate, epochs, seed) for network in networks for way in ways for seed in seeds]
    found = np.array(bench.each(train, cases, "training"))[:, 0].reshape(len(networks), len(ways), len(seeds))
    return {network: dict(zip(ways, found[i], strict=True)) for i, network in enumerate(networks)}


def cancels(bench: Bench) -> Finding:
    """Add .001 a thousand times to 1, in bfloat16."""
    steps, runs = 1000, 200 if bench.quick else 2000
    add, fmt = np.float64(0.001), "bfloat16"
    small = rf.quantize(add, fmt)
    nearest, kahan, carry, stochastic = np.ones(()), np.ones(()), np.zeros(()), np.ones(runs)
    paths: dict[str, list[float]] = {"to nearest": [], "Kahan": [], "stochastic, mean": []}
    for i in range(steps):
        nearest = rf.quantize(nearest + small, fmt)
        y = rf.quantize(small - carry, fmt)
        total = rf.quantize(kahan + y, fmt)
        carry = rf.quantize(rf.quantize(total - kahan, fmt) - y, fmt)
        kahan = total
        stochastic = rf.quantize(stochastic + small, fmt, rounding="stochastic", seed=bench.seed, stream=i)
        for name, value in (("to nearest", nearest), ("Kahan", kahan), ("stochastic, mean", stochastic.mean())):
            paths[name].append(float(value))
    exact = 1 + steps * float(small)
    mean, error = stochastic.mean(), stochastic.std(ddof=1) / runs**0.5
    good = nearest == 1 and abs(kahan - exact) < 2**-7 and abs(mean - exact) < 4 * error
    numbers = {"nearest": float(nearest), "Kahan": float(kahan), "stochastic": [float(mean), float(error)]}
    why = (
        f"of 1 + 1000 x .001 there come {nearest:g} to nearest, {kahan:g} by Kahan, {mean:.4f} ({error:.4f}) at random"
    )
    series = {name: (range(1, steps + 1), path) for name, path in paths.items()}
    chart = Chart("sums", "1000 times .001 to 1, in bfloat16", series, x="additions", y="sum")
    return Finding(
        "holds" if good else "does not hold here", why, numbers, (), (chart,), "nine of ten runs" if bench.quick else ""
    )


LEFT_OUT = "the CNN, 40 epochs, 10 seeds"


def nearest_loses(bench: Bench) -> Finding:
    """Train with updates to nearest."""
    title = f"Digits, learning rate {RATE:g}, momentum .9, all in bfloat16"
    found = errors(bench, ("float32", "to nearest"))
    return compare(found, "float32", {"to nearest": more}, title=title, left_out=LEFT_OUT if bench.quick else "")


def cures_match(bench: Bench) -> Finding:
    """Train with stochastic and Kahan's updates, and with float32 weights alone."""
    title = f"Digits, learning rate {RATE:g}; matches: within {WITHIN:g} of float32's error"
    judges = dict.fromkeys(("stochastic", "Kahan", "float32 weights"), functools.partial(like, within=WITHIN))
    return compare(errors(bench, tuple(WAYS)), "float32", judges, title=title, left_out=LEFT_OUT if bench.quick else "")


def halts(bench: Bench) -> Finding:
    """Descend a parabola by exact gradients, updates to nearest."""
    best, start, rows, good = 1.37, 3.0, [], True
    for rate in (0.1, 0.01, 0.001):
        last, w = np.array(np.nan), np.array(start)
        while w != last:
            last, w = w, rf.quantize(w - rate * (w - best), "bfloat16")
        far, least = abs(float(w) - best), halting_radius(rate, best)
        good &= far >= least
        rows.append((rate, far, least))
    shown = table(
        "Gradient descent on (w - 1.37)^2 / 2 from 3, in bfloat16: how near it gets",
        ("rate", "halts at distance", "not nearer than (theorem)"),
        [(f"{r:g}", f"{f:.4f}", f"{t:.4f}") for r, f, t in rows],
        "The radius bounds from below how near it may come, with one rounding: it is a worst case, and halting "
        "happens earlier, where an update falls below half the gap of the numbers there.",
    )
    series = {
        "halts at": ([r[0] for r in rows], [r[1] for r in rows]),
        "theorem": ([r[0] for r in rows], [r[2] for r in rows]),
    }
    chart = Chart("radius", "Where descent halts, by rate", series, x="rate", y="distance", log="xy")
    grows = all(a[1] <= b[1] for a, b in zip(rows, rows[1:], strict=False))
    why = ", ".join(f"rate {r:g}: {f:.3f} >= {t:.3f}" for r, f, t in rows)
    return Finding("holds" if good and grows else "does not hold here", why, {"rows": rows}, (shown,), (chart,))


PAPER = Paper(
    "bfloat16",
    "Revisiting BFloat16 Training",
    "arXiv 2010.06192",
    (
        Claim(
            "updates-cancel", "rounding to nearest loses small updates; stochastic rounding and Kahan do not", cancels
        ),
        Claim("nearest-loses", "with all in bfloat16 and updates to nearest, accuracy is lost", nearest_loses),
        Claim(
            "cures-match",
            "stochastic rounding or Kahan summation of the update alone match float32, and so do float32 weights: "
            "forward and backward rounding are not what loses",
            cures_match,
        ),
        Claim("halting-radius", "descent halts at a distance from the optimum that grows as the rate falls", halts),
    ),
)
