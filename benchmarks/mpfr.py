"""MPFR's functions on arrays of float64: gmpy2's library, called from compiled loops.

    python benchmarks/mpfr.py --functions exp pow       # writes tests/peers/mpfr_float32.json anew

Some two microseconds a result instead of fifty by `benchmarks/functions.py`, which is what this is held to
(`tests/peers/test_functions.py`).  A result is cut to 53 bits and made odd where something was cut off, so that
rounding it to float32 rounds the exact number.  The five functions that MPFR does not have are computed of those
that it has with 100 bits, and again with 340 where the error of those could matter.

The file that this writes has a digest of MPFR's results, rounded to float32, for every 2^20 operands of a
stream of PCG64: so that ten million results are held to MPFR's in seconds, and without MPFR.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import gmpy2
import numba
import numpy as np
from functions import COMPOSED, UNARY, as_float64

PAIRS = ["hypot", "pow", "atan2", "atan2pi"]
DIGESTS = Path(__file__).parents[1] / "tests" / "peers" / "mpfr_float32.json"
CHUNK, CHUNKS = 1 << 20, 10
BITS = 53
NEAREST, TO_ZERO, AWAY = 0, 1, 4  # MPFR's rounding modes
BEYOND = 2.0**1000  # what is larger, or as small, lies beyond float32
TINY = 2.0**-70  # below, a gate is 1/2 but for less than 2^-BITS, and above known by 100 bits not to be
OPEN = 150.0, 25.0  # from here on a gate of a sigmoid, and of a normal number, is 1 but for 2^-200
CLOSED = -750.0, -40.0  # below, it is below 2^-1000


# -- MPFR --------------------------------------------------------------------------------------------


def _library():
    gmpy2.mpfr(1)
    folder = Path(gmpy2.__file__).parents[1] / "gmpy2.libs"
    return ctypes.CDLL(str(next(folder.glob("libmpfr*"))))


MPFR = _library()
_KINDS = {"p": ctypes.c_void_p, "i": ctypes.c_int, "d": ctypes.c_double, "l": ctypes.c_long}


def _function(name: str, arguments: str, result=ctypes.c_int):
    function = MPFR[f"mpfr_{name}"]
    function.argtypes, function.restype = [_KINDS[a] for a in arguments], result
    return function


class _Number(ctypes.Structure):
    """mpfr_t."""

    _fields_ = [
        ("precision", ctypes.c_long),
        ("sign", ctypes.c_int),
        ("exponent", ctypes.c_long),
        ("limbs", ctypes.c_void_p),
    ]


_KEPT: list[_Number] = []


def _new(bits: int) -> int:
    """Return the address of a new number."""
    number = _Number()
    _KEPT.append(number)
    _function("init2", "pl", None)(ctypes.addressof(number), bits)
    return ctypes.addressof(number)


set_d, get_d = _function("set_d", "pdi"), _function("get_d", "pi", ctypes.c_double)
set_, neg, sqrt, exp, log1p, erfc = (_function(n, "ppi") for n in ("set", "neg", "sqrt", "exp", "log1p", "erfc"))
mul, div = (_function(n, "pppi") for n in ("mul", "div"))
add_ui, mul_ui, sqrt_ui = _function("add_ui", "ppli"), _function("mul_ui", "ppli"), _function("sqrt_ui", "pli")
ui_div, div_ui, const_pi = _function("ui_div", "plpi"), _function("div_ui", "ppli"), _function("const_pi", "pi")


@numba.njit
def _odd(value, inexact):
    """Return a float64 that MPFR cut, with its last bit set where it was cut."""
    if math.isnan(value) or math.isinf(value) or (value == 0 and not inexact):
        return value
    if not abs(value) < BEYOND or abs(value) < 1 / BEYOND:
        return math.copysign(BEYOND if abs(value) > 1 else 1 / BEYOND, value)
    if inexact and math.frexp(value)[0] * 2.0**BITS % 2 == 0:
        return np.nextafter(value, math.copysign(np.inf, value))
    return value


@lru_cache
def _direct(name: str) -> Callable:
    """Return the loop of a function that MPFR has."""
    function = _function({"rsqrt": "rec_sqrt"}.get(name, name), "pppi" if name in PAIRS else "ppi")
    a, b, result = _new(BITS), _new(BITS), _new(BITS)

    @numba.njit
    def unary(x, out):
        for i in range(out.size):
            set_d(a, x[i], NEAREST)
            inexact = function(result, a, TO_ZERO)
            value = get_d(result, TO_ZERO)
            out[i] = _odd(value, inexact != 0 or (value == 0 and get_d(result, AWAY) != 0))

    @numba.njit
    def binary(x, y, out):
        for i in range(out.size):
            set_d(a, x[i], NEAREST)
            set_d(b, y[i], NEAREST)
            inexact = function(result, a, b, TO_ZERO)
            value = get_d(result, TO_ZERO)
            out[i] = _odd(value, inexact != 0 or (value == 0 and get_d(result, AWAY) != 0))

    return binary if name in PAIRS else unary


@numba.njit
def _logistic(n, gate):
    """Set gate to 1 / (1 + e^-n)."""
    neg(gate, n, NEAREST)
    exp(gate, gate, NEAREST)
    add_ui(gate, gate, 1, NEAREST)
    ui_div(gate, 1, gate, NEAREST)


@numba.njit
def _softplus(n, v, t):
    """Set v to log(1 + e^n)."""
    exp(v, n, NEAREST)
    log1p(v, v, NEAREST)


@numba.njit
def _sigmoid(n, v, t):
    """Set v to 1 / (1 + e^-n)."""
    _logistic(n, v)


@numba.njit
def _silu(n, v, t):
    """Set v to n / (1 + e^-n)."""
    _logistic(n, v)
    mul(v, v, n, NEAREST)


@numba.njit
def _gelu(n, v, t):
    """Set v to n erfc(-n / sqrt 2) / 2."""
    sqrt_ui(t, 2, NEAREST)
    div(t, n, t, NEAREST)
    neg(t, t, NEAREST)
    erfc(v, t, NEAREST)
    div_ui(v, v, 2, NEAREST)
    mul(v, v, n, NEAREST)


@numba.njit
def _gelu_tanh(n, v, t):
    """Set v to n / (1 + e^-(sqrt(8 / pi) (n + 44715 n^3 / 10^6)))."""
    mul(t, n, n, NEAREST)
    mul_ui(t, t, 44715, NEAREST)
    div_ui(t, t, 1000000, NEAREST)
    add_ui(t, t, 1, NEAREST)
    mul(t, t, n, NEAREST)
    const_pi(v, NEAREST)
    ui_div(v, 8, v, NEAREST)
    sqrt(v, v, NEAREST)
    mul(t, t, v, NEAREST)
    _logistic(t, v)
    mul(v, v, n, NEAREST)


@lru_cache
def _composed(name: str) -> Callable:
    """Return the loop of a function that MPFR does not have: NaN where 340 bits do not decide."""
    body = {"softplus": _softplus, "sigmoid": _sigmoid, "silu": _silu, "gelu": _gelu, "gelu_tanh": _gelu_tanh}[name]
    n, low, high = _new(BITS), _new(BITS), _new(BITS)
    v, t, w, s, factor = ((_new(100), _new(340)) for _ in range(5))
    v0, v1, t0, t1, w0, w1 = *v, *t, *w
    f0, f1 = factor
    e0, e1 = 2.0**-80, 2.0**-320  # seven operations, of errors that e^n and erfc(n) make 2^11 times as large
    opened, closed = OPEN["gelu" in name], CLOSED["gelu" in name]

    @numba.njit
    def decided(v, w, f, e):
        set_d(f, -e, NEAREST)
        add_ui(f, f, 1, NEAREST)
        mul(w, v, f, NEAREST)
        first = set_(low, w, TO_ZERO)
        set_d(f, e, NEAREST)
        add_ui(f, f, 1, NEAREST)
        mul(w, v, f, NEAREST)
        second = set_(high, w, TO_ZERO)
        x, y = get_d(low, TO_ZERO), get_d(high, TO_ZERO)
        return x == y and first != 0 and second != 0, x

    @numba.njit
    def unary(x, out):
        for i in range(out.size):
            if x[i] > opened:  # next to 1 or to x
                out[i] = np.nextafter(x[i], np.inf) if name == "softplus" else np.nextafter(x[i], 0.0)
                if name == "sigmoid":
                    out[i] = np.nextafter(1.0, 0.0)
                continue
            if name != "softplus" and abs(x[i]) < TINY:  # next to 1/2, or to x / 2: above in magnitude where x is
                half = 0.5 if name == "sigmoid" else x[i] / 2
                out[i] = np.nextafter(half, half * 2 if x[i] > 0 else 0.0)
                continue
            if x[i] < closed:
                out[i] = 1 / BEYOND if name in ("sigmoid", "softplus") else -1 / BEYOND
                continue
            set_d(n, x[i], NEAREST)
            body(n, v0, t0)
            known, value = decided(v0, w0, f0, e0)
            if not known:
                body(n, v1, t1)
                known, value = decided(v1, w1, f1, e1)
            out[i] = _odd(value, True) if known else np.nan

    return unary


def results(name: str, columns) -> np.ndarray:
    """Return a function's results at float64 operands as float64, to odd, as `functions.as_float64` does."""
    with np.errstate(all="ignore"):
        columns = [np.ascontiguousarray(c, np.float64) for c in columns]
        out = np.empty(columns[0].size)
        (_composed if name in COMPOSED[-5:] else _direct)(name)(*columns, out)
    rest = np.zeros(out.size, bool)
    for c in columns:
        rest |= ~np.isfinite(c) | (c == 0)
    if name in COMPOSED[-5:]:
        rest |= np.isnan(out)
    if rest.any():
        with np.errstate(all="ignore"):
            out[rest] = as_float64(name, [c[rest] for c in columns])
    return out


# -- ten million of float32 --------------------------------------------------------------------------

SHORT = "asin acos asinpi acospi atanh".split()  # of numbers up to 1
POSITIVE = "log log2 log10 rsqrt acosh".split()


def operands(name: str, chunk: int) -> list[np.ndarray]:
    """Return 2^20 operands, float32: of half of them all bits are random, half lie where functions do something."""
    count = 2 if name in PAIRS else 1
    raw = np.random.PCG64([chunk, *name.encode()]).random_raw(count * CHUNK).reshape(count, CHUNK)
    first, last = (97, 126) if name in SHORT else (127, 160) if name == "acosh" else (97, 134)
    columns = []
    for words in raw:
        codes = words.astype(np.uint32)
        exponent = (first + (words >> np.uint64(32)) % np.uint64(last + 1 - first)).astype(np.uint32)
        codes[::2] = (exponent[::2] << np.uint32(23)) | (codes[::2] & np.uint32(0x807FFFFF))
        if name in POSITIVE:
            codes &= np.uint32(0x7FFFFFFF)
        if name == "log1p":
            codes[abs(codes.view(np.float32)) >= 1] &= np.uint32(0x7FFFFFFF)
        columns.append(codes.view(np.float32))
    if name == "pow":  # bases above 0, and half of the powers such that results are of float32's size
        columns[0] = abs(columns[0])
        with np.errstate(all="ignore"):
            size = abs(np.log2(columns[0].astype(float)))
            columns[1][::2] = np.ldexp(columns[1][::2], -np.frexp(np.fmax(size, 1e-30))[1][::2])
        whole = columns[1][::16]
        columns[1][::16] = np.round(np.clip(whole, -8, 8))
    elif count == 2:  # a quarter of the pairs of like size
        with np.errstate(all="ignore"):
            columns[1][1::4] = np.ldexp(np.frexp(columns[1])[0], np.frexp(columns[0])[1])[1::4]
    return columns


def digest(found: np.ndarray) -> str:
    """Return a digest of float32 results, of which all NaN are one."""
    codes = np.where(np.isnan(found), np.uint32(0x7FC00000), found.view(np.uint32)).astype("<u4")
    return hashlib.blake2b(codes.tobytes(), digest_size=8).hexdigest()


def expected(name: str, columns) -> np.ndarray:
    """Return MPFR's results rounded to float32, ties to even, by the machine."""
    with np.errstate(all="ignore"):
        return results(name, columns).astype(np.float32)


def main():
    """Compute digests of MPFR's results and write them, function by function; those that are there stay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--functions", nargs="+", default=[*UNARY, *PAIRS])
    for name in parser.parse_args().functions:
        known = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
        if len(known.get(name, [])) == CHUNKS:
            continue
        found = [expected(name, operands(name, chunk)) for chunk in range(CHUNKS)]
        known[name] = [digest(f) for f in found]
        numbers = sum(int(np.isfinite(f).sum()) for f in found)
        DIGESTS.write_text(json.dumps(known, indent=1) + "\n")
        print(f"{name:10} {CHUNK * CHUNKS} operands, {numbers} finite results", flush=True)


if __name__ == "__main__":
    main()
