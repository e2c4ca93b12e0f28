"""The bits of operations, of training and of the main job are those written down in `bits.json`.

A change of bits is a line in CHANGELOG.md, and this file written anew by

    python tests/project/test_bits.py > tests/project/bits.json

Operations are the same on every machine.  Training is where exp, log and the sums of NumPy's BLAS
are: its digests are compared where `arithmetic` agrees.
"""

import contextlib
import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import refimpl as rf

RECORDED = Path(__file__).with_name("bits.json")
FORMATS = (
    "e4m3",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float4_e2m1fn",
    "float8_e8m0fnu",
    "float16",
    "bfloat16",
    "e8m7",
    "binary8p3se",
    "binary8p4uf",
    "e6m9",
    "float32",
)
POSITS = ("posit8_2", "posit16_2", "posit8_0")
ROUNDINGS = (
    "ties_to_even",
    "ties_to_away",
    "toward_zero",
    "toward_positive",
    "toward_negative",
    "to_odd",
    "stochastic",
    "stochastic_a",
    "stochastic_b",
    "stochastic_c",
)
OVERFLOWS = ("overflow", "saturate", "propagate")
SHAPES = {
    "lenet": (28, 28, 1),
    "resnet18": (16, 16, 3),
    "vgg11": (32, 32, 3),
    "resnet8": (8, 8, 3),
    "resnet14": (8, 8, 3),
    "vgg": (8, 8, 3),
}
NETWORKS = ("cnn", "lenet", "mlp", "resnet8", "resnet14", "resnet18", "transformer", "vgg", "vgg11")
PRESETS = ("float32", "peppp", "mixed", "pure16", "fp8", "int8")


def digest(*arrays):
    """Return a digest of values: NaNs count as one, zeros have their sign."""
    found = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), np.nan, array).astype(array.dtype)
        found.update(f"{array.dtype.str} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:16]


def inputs(dtype=np.float32):
    """Return values of every magnitude of a dtype, its special ones among them."""
    rng = np.random.default_rng(12)
    size = np.dtype(dtype).itemsize
    bits = rng.integers(0, 1 << 8 * size, 4000, np.uint64, endpoint=False).astype(f"u{size}").view(dtype)
    near = rng.standard_normal(3000) * 2.0 ** rng.integers(-20, 12, 3000)
    special = [0.0, -0.0, 1.0, -1.0, 448.0, 464.0, 480.0, 240.0, np.inf, -np.inf, np.nan, 2.0**-9, 2.0**-10]
    with np.errstate(over="ignore"):
        return np.concatenate([bits, near.astype(dtype), np.array(special, dtype)])


def modes(rounding):
    more = {"random_bits": 5} if rounding[-2:] in ("_a", "_b", "_c") else {}
    return {"rounding": rounding, **more, **({"seed": 7, "stream": 3} if rounding.startswith("stochastic") else {})}


def of_quantize():
    for name in FORMATS:
        for rounding in ROUNDINGS:
            found = [
                verb(x, name, overflow=overflow, **modes(rounding))
                for x in (inputs(), inputs(np.float64), inputs(np.float16), np.arange(-3000, 3000, 7))
                for verb in (rf.quantize, rf.encode)
                for overflow in OVERFLOWS
            ]
            yield f"{name} {rounding}", digest(*found)
    for name in POSITS:
        yield name, digest(rf.quantize(inputs(), name), rf.encode(inputs(np.float64), name))
    x = inputs()
    x = x[np.isfinite(x)]
    for name in ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp4", "mxint8", "nvfp4"):
        found = rf.quantize_blocks(x[4000:].reshape(-1, 3), name, axis=0)
        yield name, digest(found.codes, found.scales, np.float32(found.tensor_scale or 1))
    for name in ("int8", "int4", "uint8", "int8_full"):
        for layout in ({}, {"axis": 0}, {"block_size": 16}):
            yield f"{name} {layout}", digest(*rf.quantize_int(x[4000:6400].reshape(60, 40), name, **layout))
    for name in ("nf4", "dynamic8"):
        yield name, digest(*rf.quantize_codebook(x[4000:6400].reshape(60, 40), name, block_size=16))


def of_arithmetic():
    rng = np.random.default_rng(3)
    for name in ("float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "e6m9", "posit8_2", "posit16_2"):
        bits = rf.format(name).bits
        a, b, c = (rf.decode(rng.integers(0, 1 << bits, 5000), name) for _ in "abc")
        for rounding in ROUNDINGS if "posit" not in name else ROUNDINGS[:1]:
            how = modes(rounding)
            two = [verb(a, b, name, **how) for verb in (rf.add, rf.sub, rf.mul, rf.div)]
            yield f"{name} {rounding}", digest(*two, rf.sqrt(a, name, **how), rf.fma(a, b, c, name, **how))


def of_sums():
    rng = np.random.default_rng(5)
    a, b = (rf.quantize(rng.standard_normal(s).astype(np.float32), "e4m3fn") for s in ((9, 70), (70, 8)))
    for into in ("float16", "bfloat16", "float32", "e4m3fn"):
        for order in ("sequential", "pairwise", "chunked", "kahan", "exact"):
            for rounding in ("ties_to_even", "toward_zero", "stochastic"):
                how = {"accumulate": into, "order": order, **modes(rounding)}
                how |= {"chunk": 16} if order == "chunked" else {}
                total = rf.sum(a, "e4m3fn", axis=1, **how)
                yield f"{into} {order} {rounding}", digest(rf.matmul(a, b, "e4m3fn", **how), total)
    posits = rf.quantize(a, "posit8_2"), rf.quantize(b, "posit8_2")
    yield "quire", digest(rf.matmul(*posits, "posit8_2", order="exact"))


def task_of(name):
    """Return a small task for a network."""
    shape, rng = SHAPES.get(name, (8, 8, 1)), np.random.default_rng(1)
    count = {"resnet18": 16, "vgg11": 16}.get(name, 40)
    images = rng.random((count + 10, *shape), np.float32)
    labels = np.arange(count + 10) % 10
    images *= (0.2 + 0.08 * labels[:, None, None, None]).astype(np.float32)
    return rf.data.Task(
        "bits", images[:count], labels[:count], images[count:], labels[count:], classes=10, images_from="bits"
    )


def trained(name, preset, seed):
    """Return the digest of a short training run: weights, statistics, optimizer's noise, errors."""
    task = task_of(name)
    model = rf.nn.network(name, task.train_images.shape[1:], 10)
    batch = 8 if name in ("resnet18", "vgg11") else 10
    result = rf.nn.fit(model, task, precision=rf.nn.preset(preset), epochs=1, batch_size=batch, seed=seed)
    kept = [array for layer in model.every_layer() for _, array in sorted(state_of(layer).items())]
    numbers = [result.test_error, *(e[k] for e in result.history for k in ("loss", "error"))]
    return digest(*(t.data for t in model.tensors()), *kept, np.array(numbers))


def state_of(layer):
    return layer.state()


def of_training():
    for name in NETWORKS:
        for preset in PRESETS:
            yield f"{name} {preset}", " ".join(trained(name, preset, seed) for seed in (0, 1))


def arithmetic():
    """Return a digest of what training leaves to the machine and to NumPy."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 64, 64)).astype(np.float32)
    return digest(
        np.exp(a),
        np.exp(a.astype(np.float64)),
        np.log(b.astype(np.float64) ** 2),
        np.tanh(a),
        a @ b,
        a[:33, :17] @ b[:17, :5],
    )


def main_job(folder):
    """Return the digest of what the README's first command writes as JSON."""
    from refimpl.__main__ import main

    with contextlib.redirect_stdout(io.StringIO()):  # which is the file that is recorded
        assert main(["frontier", "digits", "--out", str(folder), "--quiet"]) == 0
    return hashlib.sha256((Path(folder) / "frontier.json").read_bytes()).hexdigest()[:16]


GROUPS = {"quantize": of_quantize, "arithmetic": of_arithmetic, "sums": of_sums, "training": of_training}


def recorded():
    return json.loads(RECORDED.read_text())


@pytest.mark.parametrize("group", ["quantize", "arithmetic", "sums"])
def test_the_bits_of_operations_are_those_written_down(group):
    assert dict(GROUPS[group]()) == recorded()[group]


def needs_this_arithmetic():
    if recorded()["machine"] != arithmetic():
        pytest.skip("exp, log or BLAS of this machine differ in bits from those of the machine of bits.json")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["cnn", "mlp", "resnet8"])
def test_the_bits_of_training_are_those_written_down(name, preset):
    needs_this_arithmetic()
    assert trained(name, preset, 0) == recorded()["training"][f"{name} {preset}"].split()[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_bits_of_every_network_are_those_written_down(name):
    needs_this_arithmetic()
    for preset in PRESETS:
        found = " ".join(trained(name, preset, seed) for seed in (0, 1))
        assert (preset, found) == (preset, recorded()["training"][f"{name} {preset}"])


@pytest.mark.slow
def test_the_bits_of_the_main_job_are_those_written_down(tmp_path):
    by_machine = recorded()["main job"]
    if (here := arithmetic()) not in by_machine:
        pytest.skip(f"exp, log or BLAS of this machine, {here}, differ in bits from those of the machines of bits.json")
    assert main_job(tmp_path) == by_machine[here]


if __name__ == "__main__":
    import tempfile

    found = {"machine": arithmetic()}
    for group, work in GROUPS.items():
        found[group] = {}
        for name, bits in work():
            print(group, name, bits, file=sys.stderr)
            found[group][name] = bits
    with tempfile.TemporaryDirectory() as folder:
        found["main job"] = {found["machine"]: main_job(folder)}
    print(json.dumps(found, indent=1))
