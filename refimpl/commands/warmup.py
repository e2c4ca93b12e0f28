"""``refimpl warmup``: compile everything training needs, once, so that the first run starts at once."""

from __future__ import annotations

from refimpl.commands.options import add_quiet, declare


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "warmup",
        _warmup,
        help="compile what training needs ahead of time",
        description="Compile the kernels a training run calls and keep them in Numba's cache on disk, "
        "where every later process finds them.",
        examples=("", "--quiet"),
    )
    add_quiet(command)


def _warmup(options) -> int:
    import time

    started = time.perf_counter()
    for name, seconds in steps():
        if not options.quiet:
            print(f"  {name:<34} {seconds:6.1f} s")
    print(f"compiled, or found compiled, in {time.perf_counter() - started:.1f} s")
    return 0


def steps():
    """Yield (name, seconds) of each part as it is compiled."""
    import time

    from refimpl import data, nn

    digits = data.load("digits")
    few = data.Task(
        "few",
        digits.train_images[:64],
        digits.train_labels[:64],
        digits.test_images[:8],
        digits.test_labels[:8],
        classes=10,
        images_from="digits",
    )
    policies = {
        "float32": nn.presets.float32(),
        "low precision, stochastic": nn.presets.peppp(),
        "low precision, to even": nn.Precision(low="e4m3", high="e8m7", rounding="ties_to_even"),
        "per-tensor scales": nn.presets.fp8(),
    }
    for name, policy in policies.items():
        started = time.perf_counter()
        nn.fit(nn.cnn(), few, precision=policy, epochs=1)
        yield name, time.perf_counter() - started
    started = time.perf_counter()
    nn.fit(nn.mlp(), few, precision=nn.presets.peppp(), epochs=1, layer_by_layer=True)
    nn.fit(nn.cnn(), few, epochs=1, optimizer=nn.Adam(), layer_by_layer=True)
    yield "layer by layer, Adam", time.perf_counter() - started
