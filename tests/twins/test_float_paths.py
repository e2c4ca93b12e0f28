"""Whatever path an input takes, tables and loops on bits give the definition's bits.

The general path of `refimpl.kernels.float_codes`, which test_float_codes.py holds to the definition, says what is
expected where there are many values; the definition itself where they are few.
"""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import OVERFLOWS, ROUNDINGS, PositFormat
from refimpl.formats import format as format_of
from refimpl.formats.floats import FLOATS
from refimpl.kernels import float_bits, float_codes, posits
from refimpl.ops import arrays, definitions, float_paths
from refimpl.spec import float_codes as spec
from refimpl.spec import posits as spec_posits

DETERMINISTIC = [rounding for rounding in ROUNDINGS if not rounding.startswith("stochastic")]
NAMES = ["float8_e4m3fn", "e5m2", "binary8p3se", "binary8p4uf", "e8m0fnu", "e4m3_flush", "e3m4fnuz"]
WIDE = ["float16", "bfloat16", "e6m9", "tf32", "e8m0fnu", "e8m7_flush", "binary16p8ue", "float32", "e11m20", "e8m3b126"]
EIGHT = [name for name, fmt in FLOATS.items() if fmt.bits <= 8]
NO_WORDS = np.empty(0, np.uint32)


@pytest.fixture(autouse=True)
def no_definitions(monkeypatch):
    monkeypatch.setattr(definitions, "elements_left", 0)


def every_value(kind):
    if kind == "bfloat16":
        kind = pytest.importorskip("ml_dtypes", reason="bfloat16 arrays come from ml_dtypes").bfloat16
    return np.arange(2**16, dtype=np.uint16).view(kind)


def by_the_general_path(x, fmt, mode):
    """Codes, and the bits of rounded values."""
    source, record = (float_codes.fields(f) for f in (format_of(x.dtype.name), fmt))
    bits = x.view(f"u{x.itemsize}")
    codes, values = np.empty(x.size, np.uint64), np.empty_like(bits)
    float_codes.encode(bits, codes, source, record, mode, NO_WORDS)
    float_codes.quantize(bits, values, source, record, mode, NO_WORDS)
    return codes, values


def check_every_rule(kind, name):
    fmt, x = format_of(name), every_value(kind)
    for rounding in DETERMINISTIC:
        for overflow in OVERFLOWS:
            for nan in ("zero", "max") if fmt.nan_code is None else ("zero",):
                codes, values = by_the_general_path(x, fmt, float_codes.mode(rounding, overflow, nan))
                rules = {"rounding": rounding, "overflow": overflow, "nan": nan}
                assert (ops.encode(x, fmt, **rules) == codes).all(), rules
                assert (ops.quantize(x, fmt, **rules).view(np.uint16) == values).all(), rules


@pytest.mark.parametrize("kind, name", [*zip(["float16", "bfloat16"] * 4, NAMES, strict=False)])
def test_all_values_of_16_bits_round_as_on_the_general_path(kind, name):
    check_every_rule(kind, name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", EIGHT)
def test_all_values_of_16_bits_round_to_every_format_of_8_in_every_mode_and_rule(kind, name):
    check_every_rule(kind, name)


def around(fmt, kind):
    """Values at the edges of a format and of the input type, and random bits."""
    rng = np.random.default_rng(fmt.bits)
    layout = np.finfo(kind)
    m, low, high = fmt.mantissa_bits, fmt.min_exponent, fmt.maxexp
    found = [0.0, np.inf, np.nan, float(layout.smallest_subnormal), float(layout.tiny), float(layout.max)]
    for exponent in (low - m - 34, low - m - 2, low - m - 1, low - m, low - 1, low, low + 1, 0, high - 1, high):
        if layout.minexp - layout.nmant <= exponent < layout.maxexp:
            halves = [0, 1, 2**m - 1, 2**m, 2 ** (m + 1) - 1, 2 ** (m + 1) - 2]
            found += [np.ldexp(1 + half / 2 ** (m + 1), exponent) for half in halves]
    x = np.array(found, np.float64).astype(kind)
    x = np.concatenate([x, np.nextafter(x, kind(0)), np.nextafter(x, kind(np.inf))])
    words = rng.integers(2**64, size=40, dtype=np.uint64).view(kind)
    return np.concatenate([x, -x, words])


def defined(x, fmt, rounding, overflow="overflow", words=None, random_bits=32):
    """The definition's codes."""
    words = np.zeros(len(x), int) if words is None else words
    return [
        spec.encode(spec.from_float(float(v)), fmt, rounding, overflow, "zero", int(word), random_bits)
        for v, word in zip(x, words, strict=True)
    ]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*NAMES, *WIDE])
def test_floats_round_as_defined_at_all_edges(name, kind):
    fmt = format_of(name)
    with np.errstate(all="ignore"):
        x = around(fmt, kind)
    for i, rounding in enumerate(DETERMINISTIC):
        overflow = OVERFLOWS[i % 3]
        codes = np.array(defined(x, fmt, rounding, overflow), np.uint64)
        assert ops.encode(x, fmt, rounding=rounding, overflow=overflow).tolist() == codes.tolist(), rounding
        got = ops.quantize(x, fmt, rounding=rounding, overflow=overflow)
        with np.errstate(all="ignore"):
            values = np.array([spec.to_float(spec.decode(int(code), fmt)) for code in codes]).astype(kind)
        assert ((got == values) & (np.signbit(got) == np.signbit(values)) | np.isnan(got) & np.isnan(values)).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["float8_e4m3fn", "bfloat16", "binary8p3ue", "e4m3_flush", "e8m0fnu"])
def test_random_integers_decide_as_defined_far_below_the_smallest_value_too(name, kind):
    fmt, rng = format_of(name), np.random.default_rng(1)
    with np.errstate(all="ignore"):
        x = around(fmt, kind)
        tiny = kind(fmt.smallest_normal) * kind(2.0) ** rng.integers(-70, 2, 60).astype(kind)
    x = np.concatenate([x, tiny * rng.choice([1, 1.5, 1.25, 1 + 2.0**-20], 60).astype(kind)])
    for rounding, n in (("stochastic", 32), *((f"stochastic_{v}", n) for v in "abc" for n in (1, 5, 31, 32))):
        most = 2**n - 1
        random = rng.choice([0, 1, most, most - 1, most // 2, most // 2 + 1, *rng.integers(0, most + 1, 4)], len(x))
        rules = {"rounding": rounding} | ({} if rounding == "stochastic" else {"random_bits": n})
        got = ops.encode(x, fmt, random=random, **rules)
        assert got.tolist() == defined(x, fmt, rounding, words=random, random_bits=n), (rounding, n)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int8", "int32", "int64"])
def test_every_type_takes_the_same_words(kind):
    n, key = 3 * 2**15 + 5, {"rounding": "stochastic", "seed": 3, "stream": 1}
    x = np.resize(np.array([17, 19, 37, -45, 41, 0]), n)
    codes = ops.encode(x.astype(kind), "e4m3fn", **key)
    assert (codes == ops.encode(x, "e4m3fn", **key)).all()
    assert (ops.quantize(x.astype(kind), "e4m3fn", **key) == ops.decode(codes, "e4m3fn")).all()
    general = np.empty(n, np.uint64)
    words = np.empty(n + 3 & ~3, np.uint32)
    definitions.KERNELS.random_bits.random_words(words, np.uint64(3), np.uint64(1))
    record, mode = float_codes.fields(format_of("e4m3fn")), float_codes.mode("stochastic")
    float_codes.encode_integers(x, general, record, mode, words)
    assert (codes == general).all()


def test_integers_beyond_float64_are_rounded_once_among_others_that_are_not():
    x = np.arange(3 * 2**15)
    x[2**15 + 1] = 2**62 + 2**51 + 1  # float64 rounds it onto a tie
    assert ops.quantize(x, "e8m10")[2**15 + 1] == 2.0**62 + 2.0**52
    assert (ops.encode(x[: 2**15], "e8m10") == ops.encode(x[: 2**15].astype(np.float64), "e8m10")).all()


# -- decoding ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, *WIDE])
def test_every_code_or_many_decode_as_on_the_general_path(name):
    fmt = format_of(name)
    codes = codes_of(name)
    for kind in ("float16", "float32", "float64")[: 3 if fmt.fits_float64 else 2]:
        got = ops.decode(codes, fmt, dtype=kind)
        assert (arrays.bits_of(got) == decoded_on_the_general_path(codes, fmt, kind)).all(), kind


@pytest.mark.parametrize("name", WIDE)
def test_codes_become_bfloat16_as_on_the_general_path(name):  # where arithmetic returns it
    fmt, kind = format_of(name), every_value("bfloat16").dtype
    codes = codes_of(name)
    got = np.empty(codes.size, kind)
    float_paths.decode_all(definitions.KERNELS, codes, got, fmt)
    assert (arrays.bits_of(got) == decoded_on_the_general_path(codes, fmt, "bfloat16")).all()


def codes_of(name):
    fmt = format_of(name)
    codes = np.arange(2**fmt.bits) if fmt.bits <= 19 else np.random.default_rng(0).integers(2**fmt.bits, size=2**17)
    if name == "float32":  # near ties of float16 and bfloat16, in every binade
        ties = np.array([0xFFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x7FFF, 0x8000, 0x8001, 0x17FFF, 0x18000, 0x18001])
        codes = np.concatenate([codes, np.add.outer(np.arange(2**16) << 16, ties).ravel() % 2**32])
    return codes.astype(arrays.code_dtype(fmt.bits))


def decoded_on_the_general_path(codes, fmt, kind):
    bits = np.empty(codes.size, arrays.FLOATS[kind])
    float_codes.decode(codes, bits, float_codes.fields(fmt), float_codes.fields(format_of(kind)))
    return bits


def test_the_loops_on_bits_serve_what_they_are_meant_for():
    for name in (*NAMES, "float16", "bfloat16", "tf32", "float32"):
        assert float_bits.fits(format_of(name), "float64"), name
    assert float_bits.fits(format_of("float8_e4m3fn"), "float32")
    assert not float_bits.fits(format_of("e8m0fnu"), "float32")  # 2^-127 is a subnormal float32


# -- posits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [PositFormat(*p) for p in ((3, 0), (8, 2), (9, 5), (16, 2), (32, 2), (32, 5))], ids=str)
def test_a_posit_is_packed_without_branches_as_it_is_with_them(fmt):
    rng, n = np.random.default_rng(0), 2**14
    spread = rng.standard_normal(n) * 2.0 ** rng.integers(-126, 124, n)
    anything = rng.integers(2**64, size=n, dtype=np.uint64).view(np.float64)
    short = rng.integers(-4000, 4000, n) / 16 * 2.0 ** rng.integers(-20, 20, n)  # ties
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324, 1.7e308]
    x = np.concatenate([spread, anything, short, special])
    record, expected, got = posits.fields(fmt), np.empty(x.size, np.uint64), np.empty(x.size, np.uint64)
    source = float_codes.fields(format_of("float64"))
    posits.encode(x.view(np.uint64), expected, source, record, float_codes.mode(), NO_WORDS)
    posits.encode_float64(x.view(np.uint64), got, record)
    assert (got == expected).all()
    assert got[-60:].tolist() == [spec_posits.encode(spec.from_float(float(v)), fmt) for v in x[-60:]]
    x = spread.astype(np.float32)
    assert (ops.encode(x, fmt) == ops.encode(x.astype(np.float64), fmt)).all()


# -- memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int64"])
def test_memory_is_the_output_and_a_fixed_block(kind):
    calls = {
        "quantize": lambda x: ops.quantize(x, "e4m3fn", rounding="to_odd", nan="raise"),
        "encode": lambda x: ops.encode(x, "e2m1fn", rounding="stochastic", seed=1, nan="raise"),
        "decode": lambda x: ops.decode(ops.encode(x, "e4m3fn"), "e4m3fn", dtype=np.float32),
    }
    for name, call in calls.items():
        x = np.ones(2**21, kind)
        call(x[: 2**17])  # compiled, and its tables made
        tracemalloc.start()
        result = call(x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        outputs = result.nbytes + (x.size if name == "decode" else 0)
        assert peak < outputs + 2**21, name


def test_an_array_is_streamed_from_one_file_to_another(tmp_path):
    n = 2**22
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(n,))
    x[:] = np.resize(np.linspace(-500, 500, 1000, dtype=np.float32), n)
    out, codes = (
        np.memmap(tmp_path / "out", np.float32, "w+", shape=(n,)),
        np.memmap(tmp_path / "c", "u1", "w+", shape=n),
    )
    for rounding in ("ties_to_even", "toward_zero"):
        for call in (ops.quantize, ops.encode):
            call(x[: 2**17], "e4m3", rounding=rounding)  # compiled
        tracemalloc.start()
        assert ops.quantize(x, "e4m3", rounding=rounding, out=out) is out
        assert ops.encode(x, "e4m3", rounding=rounding, out=codes) is codes
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**21
        assert (out[:1000] == ops.quantize(np.array(x[:1000]), "e4m3", rounding=rounding)).all()
        assert (ops.decode(codes, "e4m3", dtype=np.float32) == out).all()


BEYOND_MEMORY = """
import resource, sys
import numpy as np, refimpl as rf

n = 2**24
x = np.memmap(sys.argv[1], np.float32, "r+", shape=n)
out, codes = (np.memmap(path, kind, "w+", shape=n) for path, kind in ((sys.argv[2], np.float32), (sys.argv[3], "u1")))
ways = {"rounding": "ties_to_even"}, {"rounding": "toward_zero"}, {"rounding": "stochastic", "seed": 1}


def stream(x, out, codes):
    for how in ways:
        rf.quantize(x, "e4m3", out=out, **how)
        rf.encode(x, "e4m3", out=codes, **how)
        rf.decode(codes, "e4m3", dtype=np.float32, out=out)


stream(*(np.array(v[: 2**17]) for v in (x, out, codes)))  # compiled, and tables made
with open("/proc/self/status") as status:
    kib = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, ((kib << 10) + (24 << 20),) * 2)
try:
    x.copy()
except MemoryError:
    print("too large to copy")
stream(x, out, codes)
print(rf.decode(codes[-5:], "e4m3").tolist() == out[-5:].tolist() == rf.quantize(np.full(5, 2.5), "e4m3").tolist())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory of its own is limited as Linux counts it")
def test_what_no_memory_holds_is_streamed_by_a_process_that_may_not_have_it(tmp_path):
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=2**24)
    x[-5:] = 2.5
    files = [str(tmp_path / name) for name in ("x", "out", "codes")]
    environment = os.environ | {"NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BEYOND_MEMORY, *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("too large to copy\nTrue\n", "")
