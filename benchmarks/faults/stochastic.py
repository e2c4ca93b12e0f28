"""Stochastic rounding, with randomness of its own or with given integers."""

from __future__ import annotations

import numpy as np

from faults import Correct, Fault
from faults._making import FIELDS, INF, NAN, magnitudes, rules


def parts(x, f):
    """Return the magnitudes below and above, and the fraction of the step between."""
    grid = magnitudes(f)
    size = np.where(np.isfinite(x), np.abs(x.astype(np.float64)), 0.0)
    k = np.clip(np.searchsorted(grid, size, side="right") - 1, 0, len(grid) - 2)
    return grid, k, np.clip((size - grid[k]) / (grid[k + 1] - grid[k]), 0, None)


def finished(x, up, f):
    """Take the value above where `up`, else below; overflow and special values as to nearest."""
    grid, k, _ = parts(x, f)
    k = k + up
    beyond = grid[-2] if f.beyond is None else f.beyond
    y = np.where((k > len(grid) - 2) | np.isinf(x), beyond, grid[np.minimum(k, len(grid) - 2)])
    y = np.copysign(y, x)
    y = np.where(np.isnan(x), NAN if f.beyond is not None else 0.0, y)
    return np.where((y == 0) & (not f.minus_zero), 0.0, y)


def drawn(f, probability=None, *, seed=7, uniform=None, after=None, before=None):
    """Go up with a probability of (fraction, x, index of the value below)."""
    rng = np.random.default_rng(seed)
    uniform = uniform or (lambda shape: rng.random(shape))

    def quantize(x):
        given = before(x) if before else x
        _, k, nu = parts(given, f)
        p = nu if probability is None else probability(nu, given.astype(np.float64), k)
        y = finished(given, uniform(x.shape) < p, f)
        return (after(x, y, rng) if after else y).astype(x.dtype)

    return quantize


def counted(f, decide):
    """Decide with given integers: `decide(fraction, random, x)` is whether to go up."""

    def quantize(x, random):
        _, _, nu = parts(x, f)
        return finished(x, decide(nu, random.astype(np.int64), x), f).astype(x.dtype)

    return quantize


def _sampled():
    rule = {"rounding": "stochastic", "inputs": ["float32"]}
    e4, e5 = FIELDS["float8_e4m3fn"], FIELDS["float8_e5m2"]
    cases = {
        "up by 1/16 too often": (lambda f: drawn(f, lambda nu, x, k: np.where(nu > 0, nu + 1 / 16, 0)), "too often"),
        "up by 1/16 too seldom": (lambda f: drawn(f, lambda nu, x, k: nu - 1 / 16), "too seldom"),
        "with probability one half": (lambda f: drawn(f, lambda nu, x, k: np.where(nu > 0, 0.5, 0)), "one half"),
        "with the other probability": (
            lambda f: drawn(f, lambda nu, x, k: np.where(nu > 0, 1 - nu, 0)),
            "1 -|complement|swapped|other",
        ),
        "to nearest instead": (
            lambda f: drawn(f, lambda nu, x, k: np.where(nu == 0.5, k % 2, nu > 0.5)),
            "deterministic.*ties_to_even|ties_to_even",
        ),
        "toward zero instead": (lambda f: drawn(f, lambda nu, x, k: nu * 0), "deterministic|toward_zero"),
        "3 random bits": (lambda f: drawn(f, lambda nu, x, k: np.floor(nu * 8) / 8), "3 random bits"),
        "4 random bits": (lambda f: drawn(f, lambda nu, x, k: np.floor(nu * 16) / 16), "4 random bits"),
        "2 random bits, half of one added": (
            lambda f: drawn(f, lambda nu, x, k: np.where(nu > 0, np.floor(nu * 4 + 0.5) / 4, 0)),
            "2 random bits",
        ),
        "moves exact values": (
            lambda f: drawn(f, lambda nu, x, k: np.where(nu > 0, nu, np.where(k > 0, 0.05, 0))),
            "moves values that are exact",
        ),
        "moves exact values once in 256": (
            lambda f: drawn(f, lambda nu, x, k: np.where(nu > 0, nu, np.where(k > 0, 1 / 256, 0))),
            "moves values that are exact",
        ),
        "negatives with the other probability": (
            lambda f: drawn(f, lambda nu, x, k: np.where((x < 0) & (nu > 0), 1 - nu, nu)),
            "not symmetric|negative",
        ),
        "subnormals to nearest": (
            lambda f: drawn(f, lambda nu, x, k: np.where(k < 1 << f.m, nu > 0.5, nu)),
            "subnormal",
        ),
        "below the smallest always zero": (
            lambda f: drawn(f, lambda nu, x, k: np.where(k == 0, 0, nu)),
            "smallest|below",
        ),
        "subnormals with normal noise": (
            lambda f: drawn(f, lambda nu, x, k: np.where(k < 1 << f.m, nu * nu, nu)),
            "subnormal",
        ),
        "one number for all elements": (lambda f: drawn(f, uniform=_one()), "same random|one random|all elements"),
        "twice the fraction": (lambda f: drawn(f, lambda nu, x, k: np.minimum(2 * nu, 1)), "twice|too often"),
        "half the fraction": (lambda f: drawn(f, lambda nu, x, k: nu / 2), "half|too seldom"),
        "noise on infinity": (
            lambda f: drawn(f, after=lambda x, y, rng: np.where(np.isinf(x), NAN if f.beyond == INF else 0, y)),
            "infinity",
        ),
        "nearest to 3 more bits first": (
            lambda f: drawn(f, before=lambda x: _rounded(x, f.m + 3)),
            "first|too often|too seldom|random bits",
        ),
    }
    for k, (what, (make, words)) in enumerate(cases.items()):
        name, f = (("float8_e4m3fn", e4), ("float8_e5m2", e5))[k % 2]
        yield Fault(f"{name}: {what}", rules(name, **rule), make(f), (words,))


def _one():
    rng = np.random.default_rng(5)
    return lambda shape: np.full(shape, rng.random())


def _rounded(x, bits):
    fraction, exponent = np.frexp(np.where(np.isfinite(x), x, 0).astype(np.float64))
    return np.where(np.isfinite(x), np.ldexp(np.rint(np.ldexp(fraction, bits + 1)), exponent - bits - 1), x).astype(
        x.dtype
    )


DECISIONS = {
    "stochastic_a": lambda nu, r, n: np.floor(nu * n) + r >= n,
    "stochastic_b": lambda nu, r, n: np.floor(nu * 2 * n) + 2 * r + 1 >= 2 * n,
    "stochastic_c": lambda nu, r, n: np.rint(nu * n) + r >= n,
}


def _given():
    a = DECISIONS["stochastic_a"]
    swapped = {
        ("stochastic_a", "stochastic_b"): "stochastic_b",
        ("stochastic_b", "stochastic_c"): "stochastic_c",
        ("stochastic_c", "stochastic_a"): "stochastic_a",
    }
    for (asked, done), word in swapped.items():
        decide = DECISIONS[done]
        yield asked, f"does {done}", lambda nu, r, x, d=decide: d(nu, r, 8), word
    yield "stochastic_a", "complement of the integer", lambda nu, r, x: a(nu, 7 - r, 8), "complement"
    yield "stochastic_a", "integer against the fraction", lambda nu, r, x: r < np.floor(nu * 8), "complement"
    yield (
        "stochastic_a",
        "goes up one too often",
        lambda nu, r, x: np.floor(nu * 8) + r + 1 >= 8,
        "one too (often|large)|moves|random integer",
    )
    yield "stochastic_a", "one bit less", lambda nu, r, x: a(nu, r >> 1, 4), "2 random bits|one bit less|fewer"
    yield "stochastic_a", "ignores the integer", lambda nu, r, x: nu > 0.5, "deterministic|ignores|nearest"
    yield "stochastic_a", "bits in reverse", lambda nu, r, x: a(nu, (r & 1) << 2 | r & 2 | r >> 2, 8), "reverse"
    yield "stochastic_a", "negatives mirrored", lambda nu, r, x: a(nu, np.where(x < 0, 7 - r, r), 8), "negative"
    yield (
        "stochastic_a",
        "strictly more",
        lambda nu, r, x: np.floor(nu * 8) + r > 8,
        "one too (seldom|small)|random integer|too seldom",
    )


FAULTS: list[Fault] = [
    *_sampled(),
    *(
        Fault(
            f"{asked}: {what}",
            {"format": "float8_e4m3fn", "rounding": asked, "random_bits": 3},
            counted(FIELDS["float8_e4m3fn"], decide),
            (word,),
        )
        for asked, what, decide, word in _given()
    ),
]
CORRECT: list[Correct] = [
    *(
        Correct(f"{name} stochastic", rules(name, rounding="stochastic", inputs=["float32"]), drawn(FIELDS[name]))
        for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float4_e2m1fn")
    ),
    *(
        Correct(
            f"{kind} from {bits} bits",
            {"format": "float8_e4m3fn", "rounding": kind, "random_bits": bits},
            counted(FIELDS["float8_e4m3fn"], lambda nu, r, x, d=decide, n=1 << bits: d(nu, r, n)),
        )
        for kind, decide in DECISIONS.items()
        for bits in (1, 3)
    ),
]
