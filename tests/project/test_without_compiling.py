"""With NUMBA_DISABLE_JIT=1 everything computes as Python, to the same bits."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import hashlib
import numpy as np
import refimpl as rf
from refimpl.ops import definitions

definitions.elements_left = 0  # kernels answer
rng = np.random.default_rng(0)
x = (rng.standard_normal(40) * 2.0 ** rng.integers(-12, 10, 40)).astype(np.float32)
x = np.concatenate([x, np.float32([0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -3e38])])
finite = x[np.isfinite(x)]
small = rf.quantize(np.linspace(-3, 3, 24), "e4m3fn")
FORMATS = ("e4m3fn", "e5m2", "e2m1fn", "e8m7", "bfloat16", "e6m9")
ORDERS = {"sequential": {}, "pairwise": {}, "chunked": {"chunk": 3}, "kahan": {}, "exact": {}}


def inputs():
    with np.errstate(over="ignore"):
        return [x.astype(dtype) for dtype in ("f2", "f4", "f8")]


def quantize():
    for fmt in FORMATS:
        for rounding in ("ties_to_even", "ties_to_away", "toward_positive", "to_odd", "stochastic"):
            for values in inputs():
                yield rf.quantize(values, fmt, rounding=rounding, seed=9)
    for letter in "abc":
        yield rf.quantize(x, "e4m3fn", rounding=f"stochastic_{letter}", random_bits=5, seed=9)
    yield rf.quantize(values := x.copy(), "e4m3fn", out=values)
    yield rf.quantize([3, 2**63, 0], "posit8_2")


def encode():
    for fmt in (*FORMATS, "posit8_2", "float64", "float8_e8m0fnu"):
        yield rf.encode(x, fmt)
    yield rf.encode(np.array([0, 1, -5, 2**62, -(2**63)]), "e5m2")
    yield rf.encode(np.array([2**64 - 1], np.uint64), "bfloat16")


def decode():
    for fmt in ("e4m3fn", "posit8_2", "binary8p3se"):
        yield rf.decode(np.arange(256), fmt, dtype=np.float32)
        yield rf.decode(np.arange(200), fmt)
    yield rf.values("e2m1fn")


def arithmetic():
    for operation in (rf.add, rf.sub, rf.mul, rf.div):
        yield operation(small, small[::-1], "e4m3fn")
        yield operation(small, small[::-1], "float16", rounding="stochastic", seed=3)
    yield rf.sqrt(abs(small), "e4m3fn")
    yield rf.fma(small, small, 1.0, "e4m3fn")
    yield rf.mul([1.0, 3.0], [5.0, 0.25], "posit16_1")


def compare():
    for relation in ("<", "unordered"):
        yield rf.compare(small, small[::-1], "e4m3fn", relation)


def sums():
    a, b = small.reshape(3, 8), small.reshape(8, 3)
    for order, chunk in ORDERS.items():
        for accumulate in ("float16", "e4m3fn"):
            yield rf.matmul(a, b, "e4m3fn", accumulate=accumulate, order=order, **chunk)
    yield rf.sum(small, "e4m3fn", rounding="stochastic", seed=1)
    yield rf.dot(small, small, "e4m3fn", accumulate="posit16_1", order="exact")


def blocks():
    for fmt in ("mxfp8_e4m3", "mxfp6_e2m3", "mxfp4_e2m1", "mxint8", "nvfp4"):
        codes, scales, tensor_scale = rf.quantize_blocks(finite, fmt)
        yield from (codes, scales, tensor_scale, rf.decode_blocks(codes, scales, fmt, tensor_scale=tensor_scale))
    for rule in ("ceil", "even", "nearest"):
        yield rf.quantize_blocks(finite, "mxfp4_e2m1", scale_rule=rule, rounding="stochastic", seed=1).codes
    yield rf.quantize_blocks(finite, "nvfp4", rounding="stochastic", seed=1).codes
    for name in ("nvfp4", "mxint8"):
        for rounding in ("ties_to_even", "stochastic"):
            rule = rf.nn.Rounding(format=name, rounding=rounding)
            rounder = rf.nn.rounder.Rounder(rf.Precision(roles={"product gradient": rule}), 1)
            yield rounder(finite.astype(np.float32).reshape(2, -1), "product gradient")


def integers():
    for fmt in ("int8", "uint8", "int4"):
        codes, scale, zero_point = rf.quantize_int(finite.reshape(-1, 4), fmt, axis=0)
        yield from (codes, scale, zero_point, rf.decode_int(codes, scale, zero_point, axis=0))
    for quotient in ("exact", "fbgemm"):
        yield rf.quantize_int(finite, "int8", rounding="stochastic_c", random_bits=9, seed=1, quotient=quotient)[0]


def integer_products():
    a = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    b = np.arange(12, dtype=np.uint8).reshape(4, 3)
    yield rf.matmul_int(a, a.T)
    yield rf.matmul_int(b.T, b, zero_points=(3, 4))
    yield rf.product_table("e2m1fn", "e2m1fn")
    yield rf.matmul_lookup(b[:2, :] % 4, b[:3, :] % 4, "e2m1fn", "e2m1fn")


def codebooks():
    found = rf.quantize_codebook(finite, "nf4")
    yield from (part for part in found if isinstance(part, np.ndarray))


def packing():
    for bits in (4, 6):
        yield (packed := rf.pack_bits(np.arange(50, dtype=np.uint8) % (1 << bits), bits))
        yield rf.unpack_bits(packed, bits, 50)


def qtorch():
    yield rf.qtorch_float_quantize(x[:40], 4, 3, rounding="nearest")
    yield rf.qtorch_float_quantize(x[:40], 5, 2, rounding="stochastic", seed=1)


def training():
    digits = rf.data.load("digits")
    labels = np.array([0, 1, 0, 1])
    few = rf.data.Task("few", digits.train_images[:4], labels, digits.test_images[:2], labels[:2], 2, "digits")
    low = rf.Precision(low="e3m2", high="e6m9")
    for layer_by_layer in (False, True):
        model = rf.nn.cnn(classes=2, widths=(17, 3))
        result = rf.nn.fit(model, few, precision=low, epochs=1, batch_size=4, layer_by_layer=layer_by_layer)
        yield result.history[-1]["loss"]


CALLS = (quantize, encode, decode, arithmetic, compare, sums, blocks, integers, integer_products, codebooks, packing)
for call in (*CALLS, qtorch, training):
    digest = hashlib.sha256()
    for array in map(np.asarray, call()):
        digest.update(f"{array.dtype.str} {array.shape}".encode() + array.tobytes())
    print(call.__name__, digest.hexdigest())
"""


@pytest.fixture(scope="module")
def printed():
    """Return what the script prints, with compilation and without; a warning is an error."""

    def run(disable):
        environment = os.environ | {"NUMBA_DISABLE_JIT": disable}
        command = [sys.executable, "-W", "error", "-c", SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return dict(line.split() for line in done.stdout.splitlines())

    return run("0"), run("1")


def test_every_operation_and_training_give_the_same_bits_without_compilation(printed):
    compiled, in_python = printed
    assert len(compiled) == 13 and in_python == compiled
