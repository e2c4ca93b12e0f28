"""After ``refimpl warmup`` training compiles nothing any more."""

import subprocess
import sys

import pytest

LISTEN = """
import sys
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, e): compiled.append(e.data["dispatcher"].py_func.__qualname__)
    def on_end(self, e): pass
event.register("numba:compile", Listener())
"""
TRAIN = """
import refimpl as rf
digits = rf.data.load("digits")
low = rf.Precision(low="e3m2", high="e6m9")
even = rf.Precision(low="e5m2", high="e8m7", rounding="ties_to_even")
for network, precision in ((rf.nn.cnn(), low), (rf.nn.mlp(), even), (rf.nn.resnet8(channels=1), None),
                           (rf.nn.cnn(), rf.nn.presets.fp8())):
    rf.nn.fit(network, digits, precision=precision, epochs=1, batch_size=700)
"""


def compiled_by(code):
    """Return the names of the functions that a fresh process compiles while it runs code."""
    done = subprocess.run(
        [sys.executable, "-c", LISTEN + code + "\nprint(*compiled)"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_listener_hears_a_function_being_compiled():
    assert compiled_by("import numba\n@numba.njit\ndef one(): return 1\none()") == ["one"]


@pytest.fixture(scope="module")
def warm():
    command = [sys.executable, "-m", "refimpl", "warmup", "--quiet"]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_succeeds_and_says_no_more_than_its_result_when_asked(warm):
    assert (warm.returncode, warm.stdout.count("\n"), warm.stderr) == (0, 1, "")


def test_training_after_it_compiles_nothing(warm):
    assert compiled_by(TRAIN) == []


LOOK_UPS = """
import numpy as np, refimpl as rf
from refimpl.ops import definitions
definitions.elements_left = 0
for dtype in (np.float16, np.float32, np.float64):
    x = np.linspace(-3, 3, 40).astype(dtype)
    for fmt in ("e4m3fn", "e5m2", "float16", "posit8_2"):
        y = rf.quantize(x, fmt)
        rf.decode(rf.encode(x, fmt), fmt, dtype=dtype)
        rf.add(y, y, fmt)
    rf.quantize(x, "e3m2", rounding="stochastic", seed=1), rf.quantize(x, "e3m2", rounding="to_odd")
    rf.quantize_blocks(x, "mxfp4_e2m1"), rf.quantize_blocks(x, "nvfp4")
rf.quantize([1, 2, 3], "e4m3fn"), rf.sum(rf.quantize(x, "e4m3fn"), "e4m3fn"), rf.quantize_int(x, "int8")
rf.matmul(np.eye(3), np.eye(3), "e4m3fn", accumulate="float16"), rf.values("e4m3fn")
"""


def test_operations_after_it_compile_nothing(warm):
    assert compiled_by(LOOK_UPS) == []
