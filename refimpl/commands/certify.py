"""``refimpl certify``: which answers survive another precision, proved and observed."""

from __future__ import annotations

from pathlib import Path

from refimpl.commands.options import (
    add_json,
    add_network,
    add_results,
    add_steps,
    declare,
    place,
    say_read,
    short,
    writable,
    write_results,
)


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "certify",
        run,
        help="say which test images a network must classify in 16 bits as in float32",
        description="Train a network in float32, round its weights and what it computes to another "
        "format, and print the fraction of the test images that are proved to be classified alike, by "
        "a bound that needs no run in that format; the fraction for which the error measured in such a "
        "run implies it; and the fraction that is.",
        examples=("mlp digits", "cnn digits --precision bfloat16 --checkpoint cnn.npz"),
    )
    add_network(command)
    command.add_argument(
        "--precision",
        default="float16",
        metavar="FORMAT",
        help="float16 (default), bfloat16 or another floating-point format",
    )
    command.add_argument(
        "--outputs",
        choices=("probabilities", "logits"),
        default="probabilities",
        help="what error and tolerance are of (default probabilities, as in the paper)",
    )
    add_steps(command)
    command.add_argument(
        "--checkpoint", metavar="FILE", type=place, help="write the trained network there, or take it from there"
    )
    add_results(command, "certify-DATA")
    add_json(command)


def run(options) -> int:
    """Train, certify, print and draw."""
    from refimpl import data, nn
    from refimpl.numerics import certify
    from refimpl.numerics.rounding_error import check_bounded

    task = data.load(options.data)
    model = nn.network(options.model, task.train_images.shape[1:], task.classes, words=getattr(task, "words", None))
    precision = nn.preset("pure16", options.precision)
    check_bounded("certify", model, precision)
    directory = Path(options.out or f"certify-{short(task.name)}")
    new = options.checkpoint and not Path(options.checkpoint).exists()
    writable(directory / "certificate.png", directory / "certificate.json", options.checkpoint if new else None)
    trained = nn.fit(
        model,
        task,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        checkpoint=options.checkpoint,
        progress=not options.quiet,
    )
    found = certify(
        model, task.test_images, precision, outputs=options.outputs, seed=options.seed, progress=not options.quiet
    )
    summary = found.summary()
    say_read(task)
    print(f"{task.name}: {options.model} trained in float32, test error {trained.test_error:.3f}")
    print(f"{len(found.gamma)} test images in {options.precision}, by {options.outputs}\n")
    print(f"proved to be classified alike         {summary['proved']:>7.1%}   Gamma > 2 x bound")
    print(f"implied by the error measured here    {summary['observed']:>7.1%}   Gamma > 2 x delta")
    print(f"classified alike in this run          {summary['same']:>7.1%}\n")
    for name in ("gamma", "delta", "bound"):
        print(f"median {name:<8} {summary[f'median_{name}']:.3g}")
    print(f"median of bound / delta {summary['tightness']:.3g}\n")
    record = {
        "model": options.model,
        "data": task.name,
        "precision": options.precision,
        "seed": options.seed,
        "epochs": options.epochs,
        "test_error": trained.test_error,
        **summary,
        "per_image": _per_image(found),
    }
    options.results = record
    from refimpl import plots

    title = f"{options.model} on {task.name}, {options.precision}"
    files = {"certificate.png": plots.certificate(found, title=title), "certificate.json": record}
    write_results(directory, files)
    return 0


def _per_image(found) -> dict[str, list]:
    """Return what is known of each image."""
    values = {name: getattr(found, name).tolist() for name in ("gamma", "delta", "bound")}
    return {**values, "same": found.same.tolist(), "proved": found.proved.tolist()}
