"""``refimpl memory``: what training a network in a configuration needs."""

from __future__ import annotations

from pathlib import Path

from refimpl._files import writing
from refimpl.commands.options import add_json, add_model, declare, place, positive, say_read, writable


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "memory",
        _memory,
        help="print what training a network in a configuration needs",
        description="Print the memory of training, by kind and by layer, by the paper's rule or by "
        "one that counts what is needed at once.  The usual mixed precision is --low e5m10 --high e8m23 "
        "--accounting needed; the paper's networks took images of 32x32 and 64x64 (--resolution).",
        examples=("cnn", "resnet18 --resolution 32 --low e5m10 --high e8m23 --accounting needed"),
    )
    add_model(command)
    command.add_argument(
        "--low", default="e4m3", metavar="FORMAT", help="of weights, activations, their gradients (default e4m3)"
    )
    command.add_argument(
        "--high", default="e8m7", metavar="FORMAT", help="of momentum, master weights, input, logits (default e8m7)"
    )
    command.add_argument(
        "--data",
        default="digits",
        metavar="DATA",
        help="data set whose images it takes, or path of your own (default digits)",
    )
    command.add_argument(
        "--resolution", type=positive, metavar="N", help="NxN images in colour instead of the data set's"
    )
    command.add_argument("--classes", type=positive, metavar="N", help="default: the data set's")
    command.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default 32")
    command.add_argument(
        "--accounting",
        choices=("paper", "needed"),
        default="paper",
        help="the paper's rule (default), or what is needed at once",
    )
    command.add_argument(
        "--optimizer", choices=("sgd", "momentum", "adam"), default="momentum", help="default momentum"
    )
    command.add_argument(
        "--state-bits", type=positive, metavar="N", help="of the optimizer's state; 8 counts its scales too"
    )
    command.add_argument("--checkpoint-every", type=positive, metavar="N", help="keep only one activation in N")
    command.add_argument("--picture", metavar="FILE", type=place, help="also draw it, by layer and kind")
    add_json(command)


def _memory(options) -> int:
    from refimpl.peppp import Configuration
    from refimpl.peppp.memory import count

    writable(options.picture)
    network, shape, where, task = _network(options)
    memory = count(
        network,
        shape,
        Configuration(options.low, options.high),
        batch_size=options.batch_size,
        accounting=options.accounting,
        optimizer=options.optimizer,
        state_bits=options.state_bits,
        checkpoint_every=options.checkpoint_every,
    )
    title = f"{options.model} on {where}, batch {options.batch_size}, {options.low}+{options.high}"
    title += "".join(f", {how}" for how in _departures(options))
    if options.picture:
        _draw(memory, title, options.picture)
    asked = ("model", "low", "high", "batch_size", "accounting", "optimizer", "state_bits", "checkpoint_every")
    options.results = {
        **{name: getattr(options, name) for name in asked},
        "data": where,
        "bytes": memory.total_mb * 2**20,
        "by_kind": memory.by_kind(),
        "by_layer": memory.by_layer(),
    }
    say_read(task)
    print(f"{title}\n")
    for heading, table in (("kind", memory.by_kind()), ("layer", memory.by_layer())):
        print(f"{heading:<24}      bytes percent")
        for name, size in table.items():
            print(f"  {name:<22} {size:>10,.0f}  {size / 2**20 / memory.total_mb:>6.1%}")
        print()
    print(f"{'total':<24} {memory.total_mb * 2**20:>10,.0f}  = {memory.total_mb:.4f} MB of 2^20 bytes")
    if options.picture:
        print(f"wrote {options.picture}")
    return 0


def _departures(options):
    """What is counted otherwise than the paper does."""
    if options.accounting == "needed":
        yield "what is needed at once"
    if options.optimizer != "momentum":
        yield options.optimizer
    if options.state_bits:
        yield f"{options.state_bits}-bit states"
    if options.checkpoint_every:
        yield f"one in {options.checkpoint_every} activations kept"


def _network(options):
    """The network, the shape of its images, what to call them, and the data set."""
    from refimpl import data, nn

    task = data.load(options.data)
    shape, where = task.train_images.shape[1:], task.name
    if options.resolution:
        shape, where = (options.resolution, options.resolution, 3), f"{options.resolution}x{options.resolution}x3"
    classes = options.classes or task.classes
    words = None if options.resolution else getattr(task, "words", None)
    return nn.network(options.model, shape, classes, words=words), shape, where, task


def _draw(memory, title, path):
    from refimpl import plots

    try:
        figure = plots.memory(memory, title=title)
        with writing(path) as file:
            figure.savefig(file, format=Path(path).suffix[1:], dpi=150)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot write the picture {path} ({error}); name a .png, .pdf or .svg in a directory you can write to"
        ) from None
