"""``refimpl choose``: a format for every operand of a network, by measurement."""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from typing import Any

from refimpl._arguments import POSITIVE, Interval, integer, number
from refimpl.commands.options import (
    add_json,
    add_network,
    add_results,
    add_steps,
    declare,
    positive,
    say_read,
    short,
    writable,
    write_results,
)

METRICS = ("backward-error", "relative-error", "noise", "underflow")
PREDICTED = 20  # policies at least, for a rank correlation to mean anything


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "choose",
        _choose,
        help="give every operand of a network's products a format, by measured error",
        description="Train one epoch in float32, measure what each candidate would do to the operands "
        "of every product, forward and backward, give each operand the cheapest candidate within the "
        "tolerance, and train with them, in float32, and with the first candidate everywhere, from the same "
        "seeds.  e4m3 and e5m2 mean OCP's formats here.",
        examples=("mlp digits", "cnn digits --candidates int8,int4 --scalings row,32 --tolerance 0.05"),
    )
    add_network(command)
    command.add_argument(
        "--candidates",
        type=_list,
        default="int8,e4m3,e5m2",
        metavar="FORMATS",
        help="formats, with commas between (default int8,e4m3,e5m2)",
    )
    command.add_argument(
        "--scalings",
        type=_list,
        default="tensor",
        metavar="LIST",
        help="what shares a scale: tensor, row, or the size of a block (default tensor)",
    )
    command.add_argument("--roundings", type=_list, default="ties_to_even", metavar="LIST", help="default ties_to_even")
    command.add_argument(
        "--metric",
        choices=METRICS,
        default="backward-error",
        help=f"{', '.join(METRICS)} (default backward-error); noise is minus decibels",
    )
    command.add_argument(
        "--tolerance", type=float, default=0.01, metavar="X", help="the most the metric may be (default 0.01)"
    )
    add_steps(command, ", and 0.003 by Adam of a transformer")
    command.add_argument(
        "--seeds",
        type=positive,
        default=3,
        metavar="N",
        help="trainings of each, from --seed on; at least 2 (default 3)",
    )
    command.add_argument(
        "--policies",
        type=positive,
        metavar="N",
        help=f"also train N other policies (at least {PREDICTED}), to say how well the metric predicted their loss",
    )
    add_results(command, "choose-MODEL-DATA")
    add_json(command)


def _choose(options) -> int:
    from refimpl import data, nn, numerics

    number("choose", "--tolerance", options.tolerance, POSITIVE)
    integer("choose", "--seeds", options.seeds, Interval(2))
    options.continues = bool(options.policies)  # those are kept in a journal
    if options.policies is not None:
        integer("choose", "--policies", options.policies, Interval(PREDICTED))
    candidates = numerics.candidates(
        options.candidates,
        scalings=[int(s) if s.isdigit() else s for s in options.scalings],
        roundings=options.roundings,
    )
    metric = options.metric.replace("-", " ")
    task = data.load(options.data)

    def make():
        words = getattr(task, "words", None)
        return nn.network(options.model, task.train_images.shape[1:], task.classes, words=words)

    training: dict[str, Any] = {"progress": not options.quiet, "batch_size": options.batch_size}
    if options.model == "transformer":
        training |= {"optimizer": nn.Adam(), "learning_rate": 0.003}
    if options.learning_rate is not None:
        training["learning_rate"] = options.learning_rate
    directory = Path(options.out or f"choose-{options.model.replace(':', '-')}-{short(task.name)}")
    writable(directory / "choose.png", directory / "choose.json")
    evidence = numerics.measure(make(), task, candidates, seed=options.seed, **training)
    assignment = numerics.choose(evidence, tolerance=options.tolerance, metric=metric)
    directory.mkdir(parents=True, exist_ok=True)
    say_read(task)
    print(
        f"{options.model} on {task.name}: {metric} of each operand in each candidate, tolerance {options.tolerance:g}"
    )
    if any(name in numerics.evidence.ALIASES for name in options.candidates):
        print("(e4m3 and e5m2 are OCP's float8_e4m3fn and float8_e5m2 here)")
    print(f"\n{_table(assignment)}\n")
    print("assigned: " + ", ".join(f"{name} to {n}" for name, n in assignment.counts().items()))
    wide, narrow = assignment.memory(32).total_mb, assignment.memory().total_mb
    print(
        f"operands of one batch: {wide:.3f} MB in float32, {narrow:.3f} MB as assigned, {1 - narrow / wide:.0%} saved"
    )
    training |= {"epochs": options.epochs, "seeds": tuple(range(options.seed, options.seed + options.seeds))}
    ways = {"float32": None, "as assigned": assignment}
    first = numerics.uniform(evidence, 0, metric)
    if first.counts() != assignment.counts():
        ways[f"all {evidence.candidates[0].name}"] = first
    rows = {name: numerics.train(make, task, way, name=name, **training) for name, way in ways.items()}
    options.results = record = _record(options, task, assignment, rows)
    print("\n" + _compared(options, record))
    from refimpl import plots

    files = {"choose.png": plots.assignment(assignment), "choose.json": record}
    if options.policies:
        trained, power = _predict(options, make, task, metric, training, directory)
        print(f"\n{metric}, measured before, and loss, after training: {power}")
        record["policies"] = [vars(row) for row in trained]
        record["power"] = vars(power)
        label = f"{metric}, mean over operands"
        files["predicted.png"] = plots.predicted(trained, baseline=rows["float32"], label=label)
    write_results(directory, files)
    return 0


def _list(text: str) -> list[str]:
    """Read what stands between commas."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; give at least one, with commas between")
    return found


def _table(assignment) -> str:
    """The evidence per operand, the chosen candidate last."""
    evidence = assignment.evidence
    names = [c.name for c in evidence.candidates]
    operands = [f"{choice.layer}: {choice.role}" for choice in assignment.choices]
    width = max(map(len, operands))
    widths = [max(9, len(name)) for name in names]
    lines = ["operand".ljust(width) + "".join(f"  {n:>{w}}" for n, w in zip(names, widths, strict=True)) + "  chosen"]
    for operand, choice in zip(operands, assignment.choices, strict=True):
        values = evidence.value((choice.layer, choice.role), assignment.metric)
        cells = "".join(f"  {v:>{w}.4g}" for v, w in zip(values, widths, strict=True))
        lines.append(f"{operand:<{width}}{cells}  {choice.candidate.name}")
    return "\n".join(lines)


def _compared(options, record) -> str:
    """How each way trained beside float32, and which so many seeds do not tell from each other."""
    head = f"{options.epochs} epochs, {options.seeds} seeds"
    width = max(len(head) - 2, *map(len, record["trained"]))
    lines = [f"{head:<{width + 2}}  test error  more than float32       loss"]
    for name, row in record["trained"].items():
        more = "{:+.4f} ({:.4f})".format(*row["more_than_float32"]) if name != "float32" else ""
        lines.append(f"  {name:<{width}}  {row['test_error']:>10.4f}  {more:>17}  {row['loss']:>9.4f}")
    lines.append("(in brackets the standard error of the difference, which is taken seed by seed)")
    if record["not_told_apart"]:
        pairs = "; ".join(" and ".join(pair) for pair in record["not_told_apart"])
        lines.append(f"cannot be told apart by {record['seeds']} seeds: {pairs}")
    return "\n".join(lines)


def _predict(options, make, task, metric, training, directory):
    from refimpl import numerics

    measured = {name: value for name, value in training.items() if name not in ("epochs", "seeds")}
    ladder = numerics.measure(
        make(), task, numerics.candidates(numerics.LADDER), steps=2, seed=options.seed, **measured
    )
    training = training | {"progress": False}
    trained = numerics.train_policies(
        make,
        task,
        numerics.policies(ladder, options.policies, metric=metric, seed=options.seed),
        journal=directory / "policies.jsonl",
        show=not options.quiet,
        **training,
    )
    return trained, numerics.predictive_power([t.metric for t in trained], [t.loss for t in trained])


def _record(options, task, assignment, rows) -> dict:
    from refimpl.papers.claim import Difference, paired, sure

    evidence = assignment.evidence

    def apart(a: str, b: str) -> Difference:
        return paired(rows[a].test_errors, rows[b].test_errors)

    def told(mean: float, error: float, seeds: float) -> bool:
        return abs(mean) > sure(seeds) * error * (1 + 1e-9)

    return {
        "model": options.model,
        "data": task.name,
        "seed": options.seed,
        "seeds": options.seeds,
        "epochs": options.epochs,
        "metric": assignment.metric,
        "tolerance": assignment.tolerance,
        "candidates": [c.name for c in evidence.candidates],
        "operands": [
            {
                "layer": c.layer,
                "role": c.role,
                "chosen": c.candidate.name,
                "bits": c.bits,
                "values": evidence.value((c.layer, c.role), assignment.metric).tolist(),
            }
            for c in assignment.choices
        ],
        "memory_mb": {"float32": assignment.memory(32).total_mb, "as assigned": assignment.memory().total_mb},
        "trained": {name: vars(row) | {"more_than_float32": apart(name, "float32")[:2]} for name, row in rows.items()},
        "not_told_apart": [pair for pair in combinations(rows, 2) if not told(*apart(*pair))],
    }
