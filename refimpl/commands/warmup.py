"""``refimpl warmup``: compile what operations and training need, once, so that the first run starts at once."""

from __future__ import annotations

from refimpl.commands.options import add_quiet, declare


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "warmup",
        _warmup,
        help="compile what operations and training need ahead of time",
        description="Compile the kernels that operations on arrays and training call and keep them on disk, "
        "where every later process finds them.",
        examples=("", "--quiet"),
    )
    add_quiet(command)


def _warmup(options) -> int:
    import time

    started = time.perf_counter()
    for name, seconds in steps():
        if not options.quiet:
            print(f"  {name:<34} {seconds:6.1f} s", flush=True)
    print(f"compiled, or found compiled, in {time.perf_counter() - started:.1f} s")
    return 0


def steps():
    """Yield (name, seconds) of each part as it is compiled."""
    import time

    from refimpl.ops import definitions

    definitions.elements_left = 0  # what few numbers would not ask kernels for is asked of them all the same
    for name, work in {**_look_ups(), **_trainings()}.items():
        started = time.perf_counter()
        work()
        yield name, time.perf_counter() - started


def _look_ups() -> dict:
    """Return what compiles the operations on arrays of every type."""
    import numpy as np

    from refimpl import ops

    x = np.linspace(-2, 2, 9)  # values of every format here
    inputs = [x.astype(dtype) for dtype in (np.float64, np.float32, np.float16)]
    formats = ("float8_e4m3fn", "bfloat16", "posit8_2", "posit16_1")
    modes: list[dict] = [{}, {"rounding": "toward_zero"}, {"rounding": "stochastic", "seed": 0}]

    def each(operation, numbers, **arguments):
        for fmt in formats:
            for values in numbers:
                for mode in modes if not fmt.startswith("posit") else modes[:1]:
                    operation(values, fmt, **arguments, **mode)

    def decode():
        for dtype in (np.float64, np.float32, np.float16):
            for fmt in formats:
                codes = ops.encode(x, fmt)
                for given in (codes, codes.astype(np.int64), np.resize(codes, 1 << 8 * codes.itemsize)):
                    ops.decode(given, fmt, dtype=dtype)

    def arithmetic():
        for values in inputs:
            for fmt in formats[:3]:
                ops.add(values, values, fmt)
            ops.compare(values, values, "float32", "<")
        ops.fma(x, x, x, "float32", rounding="stochastic", seed=0)
        many = np.ones(256)
        for operation in (ops.exp, ops.logb, ops.is_normal, ops.next_up, ops.to_integer):
            operation(many, "float16")
        ops.total_order(many, many, "float16")

    def sums():
        for fmt in ("float8_e4m3fn", "float16", "posit8_2"):
            ones = np.ones((2, 2))
            ops.sum(ones, fmt)
            ops.matmul(ones, ones, fmt, accumulate="float16")
            ops.matmul(ones, ones, fmt, order="exact")

    def blocks():
        for fmt in ("mxfp8_e4m3", "nvfp4"):
            for values in inputs:
                found = ops.quantize_blocks(values, fmt)
                ops.decode_blocks(*found[:2], fmt, tensor_scale=found[2], dtype=values.dtype)

    def integers():
        for fmt in ("int8", "uint8", "int16"):
            codes, scale, zero_point = ops.quantize_int(x, fmt)
            ops.decode_int(codes, scale, zero_point)
            ops.matmul_int(codes[:8].reshape(2, 4), codes[:8].reshape(4, 2))

    return {
        "quantize": lambda: each(ops.quantize, inputs),
        "encode": lambda: each(ops.encode, inputs),
        "quantize and encode integers": lambda: [each(f, [[1, 2]]) for f in (ops.quantize, ops.encode)],
        "decode": decode,
        "arithmetic": arithmetic,
        "sums and products of matrices": sums,
        "blocks": blocks,
        "integers": integers,
    }


def _trainings() -> dict:
    """Return what compiles training: every preset, a residual network, layer by layer."""
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
    presets = nn.presets
    policies = {
        "float32": presets.float32(),
        "low precision, stochastic": presets.peppp(),
        "low precision, to even": nn.Precision(low="e4m3", high="e8m7", rounding="ties_to_even"),
        "mixed": presets.mixed(),
        "16 bits": presets.pure16(),
        "per-tensor scales": presets.fp8(),
        "int8": presets.int8(),
    }

    def fit(network, precision=None, **arguments):
        nn.fit(network, few, precision=precision, epochs=1, **arguments)

    return {
        **{f"training: {name}": lambda p=policy: fit(nn.cnn(), p) for name, policy in policies.items()},
        "training: other networks": lambda: [fit(nn.mlp(), presets.peppp()), fit(nn.resnet8(channels=1))],
        "training: layer by layer, Adam": lambda: [
            fit(nn.mlp(), presets.peppp(), layer_by_layer=True),
            fit(nn.cnn(), optimizer=nn.Adam(), layer_by_layer=True),
        ],
    }
