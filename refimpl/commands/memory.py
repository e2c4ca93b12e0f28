"""``refimpl memory``: what training a network in a configuration needs."""

from __future__ import annotations

from refimpl.commands.options import positive


def add(commands) -> None:
    """Declare the command and its options."""
    command = commands.add_parser(
        "memory",
        help="print what training a network in a configuration needs",
        description="Print the memory of training, by kind and by layer, by the paper's rule.",
    )
    command.set_defaults(run=_memory)
    command.add_argument("model", metavar="MODEL", choices=("cnn", "mlp"), help="cnn or mlp")
    command.add_argument("--low", default="e4m3", metavar="FORMAT",
                         help="of weights, activations, their gradients (default e4m3)")  # fmt: skip
    command.add_argument("--high", default="e8m7", metavar="FORMAT",
                         help="of momentum, accumulator, input, logits (default e8m7)")  # fmt: skip
    command.add_argument("--data", default="digits", metavar="DATA",
                         help="data set whose images it takes (default digits)")  # fmt: skip
    command.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default 32")


def _memory(options) -> int:
    import math

    from refimpl import data, nn
    from refimpl.peppp import Configuration
    from refimpl.peppp.memory import count

    task = data.load(options.data)
    shape = task.train_images.shape[1:]
    if options.model == "cnn":
        network = nn.cnn(channels=shape[2], classes=task.classes)
    else:
        network = nn.mlp(features=math.prod(shape), classes=task.classes)
    memory = count(network, shape, Configuration(options.low, options.high),
                   batch_size=options.batch_size)  # fmt: skip
    print(
        f"{options.model} on {task.name}, batch {options.batch_size}, {options.low}+{options.high}\n"
    )
    for title, table in (("kind", memory.by_kind()), ("layer", memory.by_layer())):
        print(f"{title:<24}      bytes   share")
        for name, size in table.items():
            print(f"  {name:<22} {size:>10,.0f}  {size / 2**20 / memory.total_mb:>6.1%}")
        print()
    print(
        f"{'total':<24} {memory.total_mb * 2**20:>10,.0f}  = {memory.total_mb:.4f} MB of 2^20 bytes"
    )
    return 0
