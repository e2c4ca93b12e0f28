"""Few elements are answered by the definitions, without Numba, to the bits that the kernels give."""

import subprocess
import sys

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats import NAN_RULES, OVERFLOWS, ROUNDINGS
from refimpl.ops import definitions

FLOATS = (
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float4_e2m1fn",
    "float8_e8m0fnu",
    "binary8p3se",
    "binary8p4uf",
    "e6m9",
    "float16",
    "float32",
    "float64",
)
POSITS = ("posit8_2", "posit16_1", "posit8_0")
BLOCKS = ("mxfp8_e4m3", "mxfp6_e2m3", "mxfp4_e2m1", "mxint8", "nvfp4")
SIGNS = np.array([1.0, -1.0])[:, None]


def numbers(dtype):
    """Return special and ordinary values of a dtype, of both signs."""
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return np.array([0, 1, 3, 17, 100, info.min, info.max, info.max - 1, info.max // 3], dtype)
    info = np.finfo(dtype)
    some = [
        0,
        1,
        1.0625,
        1.1875,
        0.1,
        3.3,
        17,
        240,
        247,
        448,
        464,
        480,
        57344,
        61440,
        2.0**-9,
        2.0**-10,
        1.5 * 2.0**-10,
    ]
    with np.errstate(over="ignore"):
        values = np.array([*some, info.max, info.smallest_subnormal, info.tiny, np.inf, np.nan], dtype)
    return np.copysign(values, SIGNS.astype(dtype)).reshape(-1)


def outcome(call, monkeypatch, elements):
    """Return the bits of all arrays a call returns, or the error it raises."""
    monkeypatch.setattr(definitions, "elements_left", elements)
    try:
        found = call()
    except (ValueError, TypeError) as error:
        return type(error), str(error)
    return [
        (a.dtype, a.shape, a.tolist() if a.dtype == object else a.tobytes())
        for a in map(np.asarray, found if isinstance(found, tuple) else (found,))
    ]


@pytest.fixture
def alike(monkeypatch):
    """Return a function that makes a call twice, by definitions and by kernels, and compares."""

    def check(call):
        assert outcome(call, monkeypatch, 10**9) == outcome(call, monkeypatch, 0)

    return check


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint64"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_quantize_and_encode_of_every_format(rounding, dtype, alike):
    x = numbers(dtype)
    for k, fmt in enumerate(FLOATS + POSITS if rounding == "ties_to_even" else FLOATS):
        how = {"rounding": rounding} if fmt in FLOATS else {}
        if fmt in FLOATS:
            how |= {"overflow": OVERFLOWS[k % 3], "nan": NAN_RULES[k // 3 % 3]}
        if rounding.startswith("stochastic"):
            how |= {"seed": 2**63 + k, "stream": 3}
            how |= {} if rounding == "stochastic" else {"random_bits": (1, 7, 32)[k % 3]}
        alike(lambda f=fmt, how=how: rf.quantize(x, f, **how))
        alike(lambda f=fmt, how=how: rf.encode(x, f, **how))


@pytest.mark.parametrize("fmt", [name for name in FLOATS + POSITS if rf.format(name).bits <= 8])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_decode_of_every_code(fmt, dtype, alike):
    codes = np.arange(1 << rf.format(fmt).bits)
    alike(lambda: rf.decode(codes, fmt, dtype=dtype))
    alike(lambda: rf.values(fmt))


def test_decode_gives_the_same_fractions_beyond_float64_and_refuses_the_same_code_of_a_dtype(alike):
    alike(lambda: rf.decode([1, 2**18 - 2**7, 3], "e11m6"))
    alike(lambda: rf.decode([1, 2**15 - 2**3 - 1, 3], "e12m2"))
    alike(lambda: rf.decode([1, 2**15 - 2**3 - 1, 3], "e12m2", dtype=np.float64))


@pytest.mark.parametrize("fmt", ["float8_e4m3fn", "float4_e2m1fn", "binary8p3se", "bfloat16", "posit8_2"])
def test_arithmetic_comparison_and_sums(fmt, alike):
    small = rf.values(fmt)[:: 1 if rf.format(fmt).bits < 8 else 16] if rf.format(fmt).bits <= 8 else None
    x = rf.quantize(numbers("float32") if small is None else small.astype("float32"), fmt, nan="max")
    a, b = np.meshgrid(x[:20], x[-20:])
    modes = [{}] if fmt.startswith("posit") else [{"rounding": r, "overflow": "saturate"} for r in ROUNDINGS[:6]]
    if not fmt.startswith("posit"):
        modes += [{"rounding": "stochastic", "seed": 5}, {"rounding": "stochastic_b", "random_bits": 4, "seed": 5}]
    for k, mode in enumerate(modes):
        for operation in (rf.add, rf.sub, rf.mul, rf.div)[k % 2 :: 2]:
            alike(lambda f=operation, m=mode: f(a, b, fmt, **m))
        alike(lambda m=mode: rf.sqrt(x, fmt, **m))
        alike(lambda m=mode: rf.fma(x, x[::-1], 1.0, fmt, **m))
        for order in ("sequential", "pairwise", "chunked", "kahan", "exact"):
            chunk = {"chunk": 3} if order == "chunked" else {}
            alike(lambda o=order, m=mode | chunk: rf.matmul(a[:3, :7], b[:7, :4], fmt, order=o, **m))
            alike(lambda o=order, m=mode | chunk: rf.sum(x, fmt, order=o, **m))
    for relation in ("<", "==", "unordered"):
        alike(lambda r=relation: rf.compare(a, b, fmt, r))


@pytest.mark.parametrize("fmt", BLOCKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks(fmt, dtype, alike):
    for x in (
        numbers(dtype),
        numbers(dtype)[:17],
        np.zeros(3, dtype),
        np.full(17, np.nan, dtype),
        np.linspace(-3, 9, 80, dtype=dtype).reshape(2, 40),
    ):
        rules = (None,) if fmt == "nvfp4" else ("floor", "ceil", "even", "nearest")
        for rule in rules:
            alike(lambda x=x, r=rule: rf.quantize_blocks(x, fmt, scale_rule=r))
        alike(lambda x=x: rf.quantize_blocks(x, fmt, rounding="stochastic_a", random_bits=5, seed=1, axis=0))
        codes = rf.quantize_blocks(x, fmt)
        alike(lambda c=codes: rf.decode_blocks(c.codes, c.scales, fmt, tensor_scale=c.tensor_scale, dtype=dtype))


@pytest.mark.parametrize("fmt", ["int8", "int8_full", "uint8", "int4", "int16"])
def test_integers(fmt, alike):
    finite = numbers("float32")[np.isfinite(numbers("float32"))]
    for x in (
        finite,
        finite[: len(finite) // 2 - 3],
        np.zeros(4),
        np.array([[1e-45, 0], [3, -7.5]]),
        np.arange(30) / 7,
    ):
        for affine in (False, True):
            alike(lambda x=x, a=affine: rf.quantize_int(x, fmt, affine=a))
            alike(lambda x=x, a=affine: rf.quantize_int(x, fmt, affine=a, axis=0))
            for quotient in ("exact", "float32", "fbgemm"):
                how = {"rounding": "stochastic", "seed": 1, "quotient": quotient}
                alike(lambda x=x, a=affine, how=how: rf.quantize_int(x, fmt, affine=a, **how))
        codes = rf.quantize_int(x, fmt)
        alike(lambda c=codes: rf.decode_int(*c))


LOOK_UPS = """
import sys, numpy as np, refimpl as rf
rf.quantize([0.1], "e4m3fn"); rf.quantize(np.float32([0.1]), "e4m3fn", rounding="stochastic", seed=1)
rf.encode([0.1, 1], "posit8_2"); rf.decode([1, 2], "e4m3fn"); rf.values("e4m3fn"); rf.quantize([1, 2], "e5m2")
rf.add(1.0, 2.0, "e4m3fn"); rf.compare(1.0, 2.0, "e4m3fn", "<"); rf.sum([1.0, 2.0], "float16")
rf.matmul([[1.0, 2.0]], [[3.0], [4.0]], "e4m3fn", accumulate="float16")
rf.decode_blocks(*rf.quantize_blocks([1.0, 3.0], "nvfp4")[:2], "nvfp4"); rf.quantize_blocks([1.0, 3.0], "mxfp4")
rf.decode_int(*rf.quantize_int([0.1, 0.2], "int8"))
print("numba" in sys.modules)
rf.quantize(np.zeros(3000), "e4m3fn")
print("numba" in sys.modules)
"""


def test_small_look_ups_do_not_load_numba_and_large_ones_do():
    done = subprocess.run([sys.executable, "-c", LOOK_UPS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_command_that_prints_a_format_does_not_load_numba():
    code = "import sys; from refimpl.__main__ import main; main(['format', 'e4m3fn']); print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_definitions_answer_for_a_limited_number_of_elements(monkeypatch):
    monkeypatch.setattr(definitions, "elements_left", 10)
    answered = [definitions.kernels(4) is definitions.DEFINITIONS for _ in range(4)]
    assert answered == [True, True, False, False] and definitions.elements_left == 2
