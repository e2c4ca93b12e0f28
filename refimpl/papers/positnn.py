"""PositNN (Raposo, Tomás, Roma, arXiv 2105.00053): training in posits, each part in a format of its own.

Weights, activations and gradients have one format, the optimizer and the loss another; products are summed in a quire,
which is exact, or every product and every sum is rounded.  The settings are the paper's: SGD, learning rate 1/16,
halved after every fifth of the epochs, momentum .5; formats of the standard have two exponent bits, those of older
drafts none or one.
"""

from __future__ import annotations

import functools

import numpy as np

import refimpl as rf
from refimpl.nn import SGD, SUM_ROLES, Accumulator, Precision, Rounding, schedules
from refimpl.nn.precision import Underflow
from refimpl.papers.claim import Bench, Claim, Finding, Paper, Verdict, compare, like, more

WITHIN = 0.02
"""Test error, of 0 to 1, within which a way is said to train like float32."""

QUICK = "ten of twenty epochs, five of ten seeds"


def precision(bits: int, optimizer: int, exponent: int, order: str, underflow: Underflow) -> Precision:
    """Return a policy: formats of `bits` bits, of the optimizer, loss and logits of `optimizer` bits; 0 is float32."""
    if not bits:
        return Precision(loss_scale=1.0)
    low, high = (Rounding(format=f"posit{n}_{exponent}", underflow=underflow) for n in (bits, optimizer))
    roles = dict.fromkeys(("weight", "activation", "activation gradient", "weight gradient", "input"), low)
    roles |= dict.fromkeys(("logits", "logits gradient", "master weight", "momentum"), high)
    sums = {}
    if order != "float32":
        if order == "quire":
            how = Accumulator(format=low.format, order="exact")
        else:
            how = Accumulator(format=low.format, products="rounded")
        sums = dict.fromkeys(SUM_ROLES, how)
    return Precision(loss_scale=1.0, roles={**roles, **sums})


WAYS: dict[str, tuple] = {  # bits, bits of the optimizer, exponent bits, sums, underflow
    "float32": (0, 0, 0, "float32", "minpos"),
    "posit8, optimizer posit16": (8, 16, 2, "quire", "minpos"),
    "all posit8": (8, 8, 2, "quire", "minpos"),
    "all posit16": (16, 16, 2, "quire", "minpos"),
    "without the quire": (8, 16, 2, "rounded", "minpos"),
    "no exponent bits": (8, 16, 0, "quire", "minpos"),
    "no exponent bits, underflow to zero": (8, 16, 0, "quire", "zero"),
    "one exponent bit": (8, 16, 1, "quire", "minpos"),
    "underflow to zero": (8, 16, 2, "quire", "zero"),
}


def train(way: str, epochs: int, seed: int) -> list[float]:
    """Return test error and last training loss of an MLP on the digits."""
    found = rf.nn.fit(
        rf.nn.mlp(widths=(64,)),
        rf.data.load("digits"),
        precision=precision(*WAYS[way]),
        optimizer=SGD(momentum=0.5),
        learning_rate=1 / 16,
        schedule=schedules.steps(0.2, 0.4, 0.6, 0.8, factor=0.5),
        epochs=epochs,
        seed=seed,
    )
    return [found.test_error, min(found.history[-1]["loss"], 1e9)]


def beside(bench: Bench, baseline: str, judges: dict, title: str) -> Finding:
    """Train in a baseline and in the ways that are judged, from the same seeds."""
    ways, seeds, epochs = (baseline, *judges), bench.seeds(10, 5), 10 if bench.quick else 20
    cases = [(way, epochs, seed) for way in ways for seed in seeds]
    errors = np.array(bench.each(train, cases, "training"))[:, 0].reshape(len(ways), -1)
    found = {"mlp": dict(zip(ways, errors, strict=True))}
    return compare(found, baseline, judges, title=title, left_out=QUICK if bench.quick else "")


EIGHT = "posit8, optimizer posit16"
TITLE = "MLP on digits, posits of two exponent bits"


def trains_like_float32(bench: Bench) -> Finding:
    """Train in posit8 with a posit16 optimizer and a quire, and in posit16, beside float32."""
    judges = {EIGHT: functools.partial(like, within=WITHIN), "all posit16": functools.partial(like, within=WITHIN)}
    return beside(bench, "float32", judges, f"{TITLE}; like float32: within {WITHIN:g}")


def optimizer_is_wider(bench: Bench) -> Finding:
    """Train with the optimizer in posit8 too."""
    return beside(bench, EIGHT, {"all posit8": more}, TITLE)


def quire_is_needed(bench: Bench) -> Finding:
    """Round every product, and the sum after every addition."""
    return beside(bench, EIGHT, {"without the quire": more}, TITLE)


def exponent_bits(bench: Bench) -> Finding:
    """Train without exponent bits, small values becoming the smallest posit, as the standard has it, or zero."""
    close = functools.partial(like, within=WITHIN)
    judges = {"no exponent bits": more, "no exponent bits, underflow to zero": more, "one exponent bit": close}
    title = "MLP on digits, posit8, optimizer posit16, beside two exponent bits"
    found = beside(bench, EIGHT, judges, title)
    standard, zero = (more(found.numbers[f"mlp, {way}"][f"less {EIGHT}"]) for way in list(judges)[:2])
    verdict: Verdict = "holds only with the flaw" if standard == "holds" != zero else standard
    why = found.why
    if verdict == "holds only with the flaw":
        why += ". What fails is that all small gradients become 1/64, the smallest posit, and none becomes 0"
    return Finding(verdict, why, found.numbers, found.tables, found.charts, found.left_out)


def underflow(bench: Bench) -> Finding:
    """Let what is below half the smallest posit become zero, with two exponent bits."""
    return beside(bench, EIGHT, {"underflow to zero": functools.partial(like, within=WITHIN)}, TITLE)


PAPER = Paper(
    "positnn",
    "PositNN: training in posits",
    "arXiv 2105.00053",
    (
        Claim("like-float32", "8-bit posits train without loss when optimizer and loss are wider", trains_like_float32),
        Claim("wider-optimizer", "the optimizer and the loss need more than 8 bits", optimizer_is_wider),
        Claim("quire", "sums must be kept exact in a quire, not rounded after every addition", quire_is_needed),
        Claim(
            "exponent-bits",
            "posit8 without exponent bits loses accuracy (reported: 88.15 % beside 90.42 %)",
            exponent_bits,
        ),
        Claim(
            "underflow", "nothing; asked here: may small values be taken for zero, not the smallest posit?", underflow
        ),
    ),
)
