"""Every input is rounded once from its own type: floats of 16, 32, 64 bits, integers to 64 bits.

Expected codes come from the definition applied to the exact value of the input.
"""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import ROUNDINGS
from refimpl.formats import format as format_of
from refimpl.spec import float_codes as spec

NAMES = [
    "float8_e4m3fn",
    "float8_e5m2",
    "bfloat16",
    "float16",
    "float32",
    "float64",
    "e8m0fnu",
    "binary8p3ue",
    "e4m3_flush",
    "e11m50b1000fn",
]
DETERMINISTIC = [rounding for rounding in ROUNDINGS if not rounding.startswith("stochastic")]


def defined(values, name, rounding="ties_to_even"):
    fmt = format_of(name)
    return [spec.encode(spec.Value("finite", v < 0, abs(Fraction(v))), fmt, rounding) for v in values]


@pytest.mark.parametrize("rounding", DETERMINISTIC)
@pytest.mark.parametrize("name", NAMES)
def test_integers_beyond_2_to_53_are_rounded_once(name, rounding):
    rng = np.random.default_rng(1)
    edges = [0, 1, 2**53 - 1, 2**53, 2**53 + 1, 2**62 + 1, 2**63 - 1]
    for k in (8, 11, 24, 53):  # ties, and one off, of every significand
        edges += [2**62 + 2 ** (62 - k), 2**62 + 2 ** (62 - k) + 1, 2**62 + 2 ** (62 - k) - 1]
    signed = np.array([*edges, *(-v for v in edges), -(2**63)], np.int64)
    signed = np.concatenate([signed, rng.integers(-(2**63), 2**63 - 1, 50)])
    unsigned = np.array([*edges, 2**64 - 1, 2**63, 2**63 + 1, 2**63 + 2**38 + 1], np.uint64)
    for x in (signed, unsigned):
        expected = defined(x.tolist(), name, rounding)
        assert ops.encode(x, name, rounding=rounding).tolist() == expected
    if name == "float64":
        assert ops.quantize(np.int64(2**62 + 2**9 + 1), name, rounding=rounding) in (2.0**62, 2.0**62 + 2.0**10)


def test_rounding_a_large_integer_through_float64_would_round_twice():
    # 2^62 + 2^51 + 1 lies just above a tie of float16-like precision that float64 rounds it onto.
    x = np.array([2**62 + 2**51 + 1], np.int64)
    assert float(x[0]) == 2.0**62 + 2.0**51
    assert ops.quantize(x, "e8m10")[0] == 2.0**62 + 2.0**52
    assert ops.quantize(x.astype(np.float64), "e8m10")[0] == 2.0**62


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32])
def test_small_integers_are_taken_exactly(dtype):
    if dtype is bool:
        x = np.array([False, True])
    else:
        info = np.iinfo(dtype)
        x = np.array([info.min, info.max, 0, 1, 3, 17, info.max // 2], dtype)
    for name in ("float8_e4m3fn", "float16", "float32"):
        assert ops.encode(x, name).tolist() == defined(x.tolist(), name)


@pytest.mark.parametrize("rounding", DETERMINISTIC)
@pytest.mark.parametrize("name", ["float8_e4m3fn", "bfloat16", "e5m8", "float64", "posit8_2"])
def test_all_float16_patterns_are_taken_exactly(name, rounding):
    if name.startswith("posit") and rounding != "ties_to_even":
        return
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):
        wide = x.astype(np.float64)  # exact, and what float64 gives is held to the definition
    codes = ops.encode(x, name, rounding=rounding)
    assert (codes == ops.encode(wide, name, rounding=rounding)).all()
    got, expected = ops.quantize(x, name, rounding=rounding), ops.decode(codes, name)
    with np.errstate(over="ignore"):
        expected = expected.astype(np.float16)
    assert got.dtype == np.float16
    assert ((got.view(np.uint16) == expected.view(np.uint16)) | np.isnan(got) & np.isnan(expected)).all()


def test_all_bfloat16_patterns_are_taken_exactly():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 arrays come from ml_dtypes")
    x = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16)
    wide = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
    for name in ("float8_e4m3fn", "float16", "float8_e5m2fnuz"):
        assert (ops.encode(x, name) == ops.encode(wide, name)).all()
        got = ops.quantize(x, name)
        assert got.dtype == ml_dtypes.bfloat16
        expected = ops.quantize(wide, name)
        got = got.view(np.uint16).astype(np.uint32) << 16
        # float16's 10 mantissa bits hold every bfloat16 above its subnormals: nothing is lost
        assert ((got == expected.view(np.uint32)) | np.isnan(expected)).all()


# The control register of the processor is set through a compiled function that takes it as it is.
FLUSHING = """
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

@intrinsic
def set_control(typing, value):
    def build(context, builder, signature, arguments):
        word = cgutils.alloca_once_value(builder, arguments[0])
        pointer = builder.bitcast(word, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type])
        load = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse.ldmxcsr")
        builder.call(load, [pointer])
        return context.get_dummy_value()
    return types.void(types.uint32), build

@njit
def flush():
    set_control(np.uint32(0x9FC0))  # round to nearest, exceptions masked, flush both ways

from refimpl import ops

bits = np.array([1, 2, 3, 0x400000, 0x7FFFFF, 0x12345, 0x571F87, 0x800000], np.uint32)
x32 = np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)
x64 = np.array([1, 3, 1 << 51, (1 << 52) - 1, 1 << 52], np.uint64).view(np.float64)
names = ["e8m7", "bfloat16", "e8m3b126", "e8m3b120", "tf32", "e8m0fnu", "e4m3", "float32"]

def results():
    found = []
    for name in names:
        for mode in ("ties_to_even", "toward_positive", "to_odd", "stochastic"):
            key = dict(rounding=mode, seed=3)
            found.append(ops.encode(x32, name, **key).tobytes())
            found.append(ops.quantize(x32, name, **key).tobytes())
    for name in ("e11m20", "float64", "e11m51b1030"):
        found.append(ops.encode(x64, name).tobytes())
        found.append(ops.quantize(x64, name).tobytes())
        found.append(ops.decode(ops.encode(x64, name), name).tobytes())
    return found

usual = results()
flush()
tiny = np.array([2.0**-120], np.float32)
probe = tiny * np.float32(2.0**-10)
print("flushes" if probe.view(np.uint32)[0] == 0 else "does not flush")
print("same" if results() == usual else "different")
"""


def test_subnormals_are_right_where_the_machine_flushes_them():
    done = subprocess.run([sys.executable, "-c", FLUSHING], capture_output=True, text=True)
    if done.returncode and "ldmxcsr" in done.stderr:
        pytest.skip("this processor has no MXCSR register to set")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["flushes", "same"]
