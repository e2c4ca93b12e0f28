"""FP8 Formats for Deep Learning (Micikevicius et al., arXiv 2209.05433): two formats, and training in them.

What is multiplied is rounded: weights, inputs and activations to E4M3, gradients to E5M2, each tensor with a scale.
"""

from __future__ import annotations

import numpy as np

import refimpl as rf
from refimpl.nn import Precision, Rounding, preset
from refimpl.nn.precision import Scaling
from refimpl.papers.claim import Bench, Chart, Claim, Finding, Paper, compare, table
from refimpl.papers.studies import LIKE, WORSE, made, study

FORMATS = {"E4M3": "float8_e4m3fn", "E5M2": "float8_e5m2"}
FACTS = {  # infinities, NaN, largest, smallest normal, smallest: of the paper's table
    "E4M3": (0, 2, 448.0, 2.0**-6, 2.0**-9),
    "E5M2": (2, 6, 57344.0, 2.0**-14, 2.0**-16),
}


def special_values(bench: Bench) -> Finding:
    """Decode every code, and count."""
    rows, found, series = [], {}, {}
    for name, fmt in FORMATS.items():
        values = rf.decode(np.arange(256, dtype=np.uint8), fmt)
        positive = np.sort(values[np.isfinite(values) & (values > 0)])
        octaves, counts = np.unique(np.floor(np.log2(positive)), return_counts=True)
        full = counts.max()  # values of a whole octave
        normal = float(2.0 ** octaves[counts == full][0])
        found[name] = (
            int(np.isinf(values).sum()),
            int(np.isnan(values).sum()),
            float(positive[-1]),
            normal,
            float(positive[0]),
        )
        as_ieee = 2 / normal * (2 - 1 / full)
        rows.append((name, *(f"{x:g}" for x in found[name]), f"{as_ieee:g}"))
        series[name] = (range(1, positive.size + 1), positive)
    heads = ("", "infinities", "NaN", "largest", "smallest normal", "smallest", "largest, were it as IEEE's")
    shown = table("All 256 codes of each", heads, rows)
    chart = Chart("values", "Positive values, by code", series, x="code", y="value", log="y")
    good = all(found[name] == FACTS[name] for name in FORMATS)
    why = "; ".join(f"{row[0]}: {row[1]} infinities, {row[2]} NaN, up to {row[3]}" for row in rows)
    return Finding("holds" if good else "does not hold here", why, {"found": found}, (shown,), (chart,))


def fp8(gradients: str = "E5M2", scaling: Scaling = "current", loss_scale: float = 1.0) -> Precision:
    """Return the recipe, or what a part of it is replaced in."""
    forward = Rounding(format=FORMATS["E4M3"], scaling=scaling)
    backward = Rounding(format=FORMATS[gradients], scaling=scaling)
    roles = dict.fromkeys(("input", "activation", "weight"), forward)
    roles |= dict.fromkeys(("activation gradient", "logits gradient"), backward)
    return Precision(roles=roles, loss_scale=loss_scale)


WAYS = {
    "bfloat16": lambda: preset("mixed", "bfloat16"),
    "FP8": lambda: preset("fp8"),
    "FP8, scales delayed": lambda: preset("fp8", "delayed"),
    "gradients E4M3": lambda: fp8("E4M3"),
    "no scales": lambda: fp8(scaling="none"),
    "no scales, gradients E4M3": lambda: fp8("E4M3", "none"),
    "no scales, loss x 1000": lambda: fp8(scaling="none", loss_scale=1000.0),
}


def train(network: str, way: str, epochs: int, seed: int) -> float:
    """Return the test error."""
    task, settings = study(network)
    return rf.nn.fit(made(network, task), task, precision=WAYS[way](), epochs=epochs, seed=seed, **settings).test_error


def trained(bench: Bench, title: str, judges) -> Finding:
    """Return what comes of ways beside 16 bits, on both networks."""
    epochs = {"cnn": 5 if bench.quick else 10, "transformer": 1 if bench.quick else 2}
    seeds, ways = bench.seeds(8), ("bfloat16", "FP8", *(way for way in judges if way != "FP8"))
    if "FP8" in judges and "no scales" in judges:
        ways += ("no scales, loss x 1000",)
    cases = [(network, way, epochs[network], seed) for network in epochs for way in ways for seed in seeds]
    found = np.array(bench.each(train, cases, "training")).reshape(len(epochs), len(ways), len(seeds))
    errors = {network: dict(zip(ways, of, strict=True)) for network, of in zip(epochs, found, strict=True)}
    left_out = "half the epochs" if bench.quick else ""
    return compare(errors, "bfloat16", judges, title=title, left_out=left_out)


def matches(bench: Bench) -> Finding:
    """Train a CNN and a transformer in FP8 and in bfloat16, settings alike."""
    return trained(bench, "FP8 and 16 bits", {"FP8": LIKE})


def range_needed(bench: Bench) -> Finding:
    """Train with gradients in E4M3, scaled as the rest."""
    return trained(bench, "Gradients in E4M3", {"gradients E4M3": WORSE})


def scales_needed(bench: Bench) -> Finding:
    """Train without scales."""
    return trained(bench, "Without scales", {"no scales": WORSE, "FP8": LIKE})


def range_alone(bench: Bench) -> Finding:
    """Train without scales, gradients in either format."""
    return trained(bench, "Gradients without scales", {"no scales, gradients E4M3": WORSE, "no scales": LIKE})


def delayed(bench: Bench) -> Finding:
    """Train with scales of the last 16 tensors instead of the tensor's own."""
    return trained(bench, "Scales known before the tensor is", {"FP8, scales delayed": LIKE})


PAPER = Paper(
    "fp8-formats",
    "FP8 Formats for Deep Learning",
    "arXiv 2209.05433",
    (
        Claim(
            "special-values",
            "E5M2 has the special values of IEEE 754; E4M3 gives up infinities and all NaN but one pattern, and "
            "reaches 448",
            special_values,
        ),
        Claim("matches-16-bits", "training in FP8 matches training in 16 bits, with the same settings", matches),
        Claim("gradients-need-e5m2", "gradients are to be in E5M2, for its range (ablation: E4M3)", range_needed),
        Claim("e5m2-without-scales", "E5M2 has range enough for gradients, where E4M3 has not", range_alone),
        Claim(
            "scales-needed",
            "tensors are to be scaled into the range of their format (ablation: no scales)",
            scales_needed,
        ),
        Claim(
            "delayed-scaling", "scales may be those of the tensors before (as practised with these formats)", delayed
        ),
    ),
)
