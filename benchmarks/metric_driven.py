"""The metric-driven paper (Rasquinha and Tabak, arXiv 2408.02897), measured here.

    python benchmarks/metric_driven.py [--only tails errors query prediction] [--out DIR]

``tails``: median backward error of a product of 512 x 512 matrices drawn from Student's t, INT8, E4M3
and E5M2 with one scale each, beside reference numbers found by a separate script; then a scale per
row.  ``errors``: Student's t fitted to the errors.  ``query``: the operands of the query projection of
a small transformer trained on text.  ``prediction``: policies of every quality trained, and the rank
correlation of what the metrics said before with the loss and the test error after.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from refimpl import data, nn, numerics, plots
from refimpl.numerics.evidence import METRICS
from refimpl.numerics.selection import Assignment, Choice

REFERENCE = {  # nu: INT8, E4M3, E5M2, fraction of INT8 flushed to zero
    1: (0.33, 0.041, 0.018, 0.999),
    2: (0.071, 0.0034, 0.0067, 0.885),
    3: (0.0110, 0.00246, 0.00489, 0.20),
    5: (0.0041, 0.00203, 0.00405, 0.077),
    8: (0.00194, 0.00190, 0.00377, 0.043),
    15: (0.00114, 0.00182, 0.00361, 0.025),
    30: (0.00090, 0.00179, 0.00354, 0.020),
    np.inf: (0.00070, 0.00175, 0.00347, 0.014),
}
ADAM = {"optimizer": nn.Adam(), "learning_rate": 0.003}
STUDIES = {  # network, task, training
    "mlp": ("mlp", "digits", {}),
    "cnn": ("cnn", "digits", {}),
    "transformer": ("transformer", "topics", ADAM),
}


def network(name, task):
    """Return a new network for a task."""
    words = getattr(task, "words", None)
    return nn.network(name, task.train_images.shape[1:], task.classes, words=words)


def tails(options):
    """Print backward errors beside the reference, and those of a scale per row."""
    found = {s: numerics.tail_table(scaling=s, progress=True) for s in ("tensor", "row")}
    print("median |error| / (|a| |b|), one scale per tensor: ours, and the reference's")
    print("nu          INT8              E4M3              E5M2              INT8 flushed")
    for nu in dict.fromkeys(row.nu for row in found["tensor"]):
        int8, e4m3, e5m2 = rows = [row for row in found["tensor"] if row.nu == nu]
        pairs = zip([*(r.backward_error for r in rows), int8.underflow], REFERENCE[nu], strict=True)
        cells = "  ".join(f"{ours:7.5f} {theirs:7.5f} " for ours, theirs in pairs)
        print(f"{'Gaussian' if nu == np.inf else f'{nu:g}':<9} {cells}")
    print("\na scale per row of the left and per column of the right operand")
    print("nu          INT8     E4M3     E5M2")
    for nu in dict.fromkeys(row.nu for row in found["row"]):
        cells = "  ".join(f"{row.backward_error:7.5f}" for row in found["row"] if row.nu == nu)
        print(f"{'Gaussian' if nu == np.inf else f'{nu:g}':<9} {cells}")
    if options.out:
        plots.tails([*found["tensor"], *found["row"]]).savefig(options.out / "tails.png", dpi=130)
    return [asdict(row) for rows in found.values() for row in rows]


def errors(options):
    """Print Student's t fitted to the errors of products."""
    print("Student's t fitted to the errors of a product of 256 x 256 matrices")
    print("nu of the operands  format          nu      scale     distance (Kolmogorov)")
    every, rows = {}, []
    for nu in (1.0, 2.0, 5.0, np.inf):
        for fmt in numerics.tails.FORMATS:
            every[f"{fmt}, nu {nu:g}"] = off = numerics.product_errors(nu, fmt)
            fit = numerics.fit_student_t(off)
            shown = f"{fit.nu:6.1f}" if fit.nu < 100 else " > 100"
            print(f"{nu:<19g} {fmt:<14} {shown}   {fit.scale:.5f}   {fit.distance:.3f}")
            rows.append({"nu": nu, "format": fmt, **asdict(fit)})
    if options.out:
        shown = {k: v for k, v in every.items() if k.endswith((" 2", " inf")) and "e5m2" not in k}
        plots.errors_with_t(shown).savefig(options.out / "errors.png", dpi=130)
    return rows


def query(options):
    """Print Student's t fitted to the operands of the first query projection."""
    task = data.load("topics")
    found = numerics.capture(network("transformer", task), task, epochs=3, progress=True, **ADAM)
    layer = "3 Sequential/0 Sum/main/2 Attention/query"
    print(f"{layer}, steps {found.steps} of {found.total}")
    rows = []
    for role in nn.precision.PRODUCT_ROLES:
        seen = found.of(layer, role)
        fit = seen.student_t()
        shown = f"{fit.nu:.1f}" if fit.nu < 100 else "> 100"
        print(
            f"{role:<17} deviation {seen.deviation:8.4f}  largest {seen.largest:8.4f}  "
            f"nu {shown:>6}  distance {fit.distance:.3f}"
        )
        rows.append({"role": role, **asdict(fit)})
    if options.out:
        plots.operands(found, layer).savefig(options.out / "query.png", dpi=130)
    return rows


def prediction(options):
    """Print how well each metric predicted the quality of policies."""
    rows = []
    for name, (model, data_name, training) in STUDIES.items():
        task, started = data.load(data_name), time.perf_counter()
        found = numerics.measure(
            network(model, task), task, numerics.candidates(numerics.LADDER), steps=2, progress=True, **training
        )

        def make(model=model, task=task):
            return network(model, task)

        settings = {"epochs": 3, "seeds": (0, 1), **training}
        exact = numerics.train(make, task, None, **settings)
        policies = numerics.policies(found, options.policies)
        journal = options.out / f"{name}.jsonl" if options.out else None
        trained = numerics.train_policies(make, task, policies, journal=journal, show=True, **settings)
        alone = sum(not row.name.startswith("mixture") for row in trained)
        print(
            f"{name} on {data_name}: float32 {exact.test_error:.3f}, policies "
            f"{min(r.test_error for r in trained):.3f} to {max(r.test_error for r in trained):.3f}, "
            f"{alone} of one format, {len(trained) - alone} mixtures; "
            f"{time.perf_counter() - started:.0f} s"
        )
        for metric in METRICS:
            said = [by(metric, policy).summary() for policy in policies.values()]
            for quality in ("loss", "test_error"):
                power = numerics.predictive_power(said, [getattr(r, quality) for r in trained])
                print(f"  {metric:<15} against {quality:<11} {power}", flush=True)
                rows.append({"study": name, "metric": metric, "quality": quality, **asdict(power)})
        if options.out:
            figure = plots.predicted(trained, baseline=exact, label="backward error, mean over operands")
            figure.savefig(options.out / f"predicted-{name}.png", dpi=130)
    return rows


def by(metric, policy):
    """Return an assignment judged by another metric."""
    evidence = policy.evidence
    choices = tuple(
        Choice(
            c.layer,
            c.role,
            c.candidate,
            float(evidence.value((c.layer, c.role), metric)[evidence.candidates.index(c.candidate)]),
            c.bits,
        )
        for c in policy.choices
    )
    return Assignment(evidence, metric, np.inf, choices)


PARTS = {"tails": tails, "errors": errors, "query": query, "prediction": prediction}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--policies", type=int, default=24)
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write pictures and JSON there")
    options = parser.parse_args()
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        found = PARTS[name](options)
        print()
        if options.out:
            (options.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
