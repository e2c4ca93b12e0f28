"""Berkeley SoftFloat 3e, what TestFloat compares with: results and exception flags, code by code.

Its results for integers out of range, and NaN's signs and payloads, are those of a machine chosen when it is compiled;
they are left out.  Its Python binding has no rounding to odd.
"""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest

import refimpl as rf
from refimpl.testing import Behaviour, Vectors
from refimpl.testing.vectors import testfloat

peer = pytest.importorskip("softfloatpy", reason="the peer SoftFloat (softfloatpy) is not installed")

MODES = {
    "ties_to_even": peer.RoundingMode.NEAR_EVEN,
    "toward_zero": peer.RoundingMode.MIN_MAG,
    "toward_negative": peer.RoundingMode.MIN,
    "toward_positive": peer.RoundingMode.MAX,
    "ties_to_away": peer.RoundingMode.NEAR_MAX_MAG,
}
WIDTHS = {"float16": 16, "float32": 32, "float64": 64}
SHORT = {"float16": "f16", "float32": "f32", "float64": "f64"}
KINDS = {"float16": peer.Float16, "float32": peer.Float32, "float64": peer.Float64}


def softfloat(name, fmt, mode, tininess, *codes):
    """Return a function's code or truth, and the exceptions it raised."""
    peer.set_rounding_mode(MODES[mode])
    peer.set_tininess_mode(getattr(peer.TininessMode, f"{tininess.upper()}_ROUNDING"))
    peer.set_exception_flags(0)
    found = getattr(peer, f"{SHORT[fmt]}_{name}")(
        *(KINDS[fmt].from_bytes(int(code).to_bytes(WIDTHS[fmt] // 8, "big")) for code in codes)
    )
    flags = int(peer.get_exception_flags())
    return found if isinstance(found, bool) else int.from_bytes(found.to_bytes(), "big"), flags


def operands(fmt, count, seed):
    """Return codes: special ones, powers of two and their neighbours, few bits and many, near each other and far."""
    bits, mantissa = WIDTHS[fmt], rf.format(fmt).mantissa_bits
    rng = np.random.default_rng(seed)
    ones = (1 << mantissa) - 1
    top = (1 << bits - 1 - mantissa) - 1
    special = [0, 1, ones, ones + 1, top << mantissa, (top << mantissa) - 1, (top << mantissa) + 1]
    special += [(top << mantissa) | 1 << mantissa - 1, (top // 2) << mantissa, (top // 2 << mantissa) + 1]
    found = [s << bits - 1 | code for code in special for s in (0, 1)]
    while len(found) < count:
        exponent = int(rng.integers(top + 1)) if rng.random() < 0.5 else top // 2 + int(rng.integers(-13, 13))
        field = int(rng.integers(1 << mantissa)) >> int(rng.integers(mantissa)) << int(rng.integers(mantissa))
        found.append(int(rng.integers(2)) << bits - 1 | exponent << mantissa | field & ones)
    return [found[i] for i in rng.permutation(len(found))]


def compare(name, fmt, made, mode, codes, ours, tininess="after"):
    """Hold codes and flags of ours to SoftFloat's."""
    theirs = [softfloat(name, fmt, mode, tininess, *row) for row in zip(*codes, strict=True)]
    values, mine = rf.decode(np.array([found for found, _ in theirs], np.uint64), made), rf.decode(ours[0], made)
    alike = (values == mine) & (np.signbit(values) == np.signbit(mine)) | np.isnan(values) & np.isnan(mine)
    alike &= np.array([flags for _, flags in theirs]) == ours[1]
    where = np.flatnonzero(~alike)[:3]
    assert not len(where), [
        ([hex(row[i]) for row in codes], theirs[i], (int(ours[0][i]), int(ours[1][i]))) for i in where
    ]


OPERATIONS = {"add": "add", "sub": "sub", "mul": "mul", "div": "div", "sqrt": "sqrt", "fma": "mul_add"}


def drawn(fmt, count, operands_):
    return [np.array(operands(fmt, count, seed), np.uint64) for seed in range(operands_)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fmt", WIDTHS)
def test_arithmetic_and_its_flags_are_softfloat_s(fmt, operation, mode):
    codes = drawn(fmt, 150, {"sqrt": 1, "fma": 3}.get(operation, 2))
    for tininess in ("after", "before"):
        ours = getattr(rf.codes, operation)(*codes, fmt, rounding=mode, flags=True, tininess=tininess)
        compare(OPERATIONS[operation], fmt, fmt, mode, codes, ours, tininess)


@pytest.mark.parametrize("fmt", WIDTHS)
def test_remainders_are_softfloat_s(fmt):
    codes = drawn(fmt, 300, 2)
    compare("rem", fmt, fmt, "ties_to_even", codes, rf.codes.remainder(*codes, fmt, flags=True))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fmt, made", [(a, b) for a in WIDTHS for b in WIDTHS if a != b])
def test_conversions_are_softfloat_s(fmt, made, mode):
    codes = drawn(fmt, 300, 1)
    ours = rf.codes.convert(*codes, fmt, out_format=made, rounding=mode, flags=True)
    compare(f"to_{SHORT[made]}", fmt, made, mode, codes, ours)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fmt", WIDTHS)
def test_integers_are_softfloat_s(fmt, mode):
    (codes,) = drawn(fmt, 300, 1)
    for signed, bits in ((True, 32), (False, 32), (True, 64), (False, 64)):
        found, flags = rf.codes.to_integer(codes, fmt, bits=bits, signed=signed, rounding=mode, flags=True)
        name = f"to_{'' if signed else 'u'}i{bits}"
        theirs = [softfloat(name, fmt, mode, "after", code) for code in codes]
        valid = flags != rf.codes.FLAGS["invalid"]
        assert [flags_ for _, flags_ in theirs] == flags.tolist()
        assert [code for (code, _), ok in zip(theirs, valid, strict=True) if ok] == [
            int(x) % 2**bits for x in found[valid]
        ]


@pytest.mark.parametrize("fmt", WIDTHS)
@pytest.mark.parametrize("relation, name", [("<", "lt"), ("<=", "le"), ("==", "eq")])
def test_comparisons_are_softfloat_s(fmt, relation, name):
    codes = drawn(fmt, 300, 2)
    found, flags = rf.codes.compare(*codes, fmt, relation, flags=True)
    theirs = [softfloat(name, fmt, "ties_to_even", "after", *row) for row in zip(*codes, strict=True)]
    assert list(zip(found.tolist(), flags.tolist(), strict=True)) == theirs


# -- files as TestFloat's, with SoftFloat's results --------------------------------------------------

NAMES = {"mulAdd": "mul_add", "roundToInt": "round_to_int"}
TWO, ONE = "add sub mul div rem eq le lt eq_signaling le_quiet lt_quiet".split(), "sqrt roundToInt".split()
INTEGERS = {"i32": peer.Int32, "ui32": peer.UInt32, "i64": peer.Int64, "ui64": peer.UInt64}
TYPES = {"f16": (peer.Float16, 16), "f32": (peer.Float32, 32), "f64": (peer.Float64, 64)}
TYPES |= {name: (kind, int(name[-2:])) for name, kind in INTEGERS.items()}
FUNCTIONS = [f"{f}_{op}" for f in ("f16", "f32", "f64") for op in ("mulAdd", *TWO, *ONE)]
FUNCTIONS += [f"{f}_to_{g}" for f in ("f16", "f32", "f64") for g in TYPES if g != f]
FUNCTIONS += [f"{i}_to_{f}" for i in INTEGERS for f in ("f16", "f32", "f64")] + ["f32_to_bf16", "bf16_to_f32"]
TYPES["bf16"] = peer.BFloat16, 16


def weighted(name):
    """Return codes as TestFloat weights them: exponents about 0, the precision and the ends, chosen significands."""
    _, bits = TYPES[name]
    if name in INTEGERS:
        near = {2**k + d for k in range(bits) for d in (-1, 0, 1)} | {2**bits - 2**k for k in range(bits)}
        return sorted(code for code in near if code < 2**bits)
    mantissa = {"f16": 10, "f32": 23, "f64": 52, "bf16": 7}[name]
    top = (1 << bits - 1 - mantissa) - 1
    fields = {0, 1, top // 2 - mantissa - 1, *range(top // 2 - 2, top // 2 + 3), top // 2 + mantissa + 1, top - 1, top}
    ones = (1 << mantissa) - 1
    return [s << bits - 1 | e << mantissa | m for s in (0, 1) for e in sorted(fields) for m in (0, 1, ones, ones - 1)]


def lines_of_testfloat(name, rows, mode, tininess, exact):
    """Return the lines testfloat_gen would write for rows of operands, by SoftFloat."""
    kind, _, what = name.partition("_")
    function = getattr(peer, f"{kind}_{NAMES.get(what, what)}")
    more = (MODES[mode], exact) if what == "roundToInt" or what[3:] in INTEGERS else ()
    of, bits = TYPES[kind]
    peer.set_rounding_mode(MODES[mode])
    peer.set_tininess_mode(getattr(peer.TininessMode, f"{tininess.upper()}_ROUNDING"))
    given, lines = {code: of.from_bytes(code.to_bytes(bits // 8, "big")) for row in rows for code in row}, []
    for row in rows:
        peer.set_exception_flags(0)
        found = function(*(given[code] for code in row), *more)
        word = str(int(found)) if isinstance(found, bool) else found.to_bytes().hex()
        lines.append(
            " ".join([f"{code:0{bits // 4}x}" for code in row] + [word, f"{int(peer.get_exception_flags()):02x}"])
        )
    return "\n".join(lines).upper().encode() + b"\n"


def rows_of(name, most):
    """Return all tuples of weighted codes, or as many as `most` of them."""
    kind, _, what = name.partition("_")
    codes, count = weighted(kind), 3 if what == "mulAdd" else 2 if what in TWO else 1
    if len(codes) ** count <= most:
        return list(product(codes, repeat=count))
    rng = np.random.default_rng(0)
    return [tuple(codes[i] for i in row) for row in rng.integers(len(codes), size=(most, count))]


def verified(name, mode, most):
    call = testfloat.function(name)
    behaviour = Behaviour(call["format"], mode)
    operation = Vectors(call["operation"], behaviour, "1", out_format=call["out_format"]).arithmetic
    for tininess in ("after", "before"):
        for exact in (False, True) if "to_" in name or "Int" in name else (False,):
            text = lines_of_testfloat(name, rows_of(name, most), mode, tininess, exact)
            report = testfloat.verify_lines(operation, [text], tininess=tininess, exact=exact)
            assert report.passed, str(report)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_files_of_testfloat_are_verified_with_their_flags(name):
    for mode in MODES:
        verified(name, mode, 400)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_long_files_of_testfloat_are_verified_with_their_flags(name):
    for mode in MODES:
        verified(name, mode, 8000)


def test_a_file_of_testfloat_is_verified_by_the_command():
    text = lines_of_testfloat("f16_mul", rows_of("f16_mul", 8000), "ties_to_even", "before", False)

    def status(tininess):
        command = [sys.executable, "-m", "refimpl", "verify", "f16_mul", "--testfloat", "--tininess", tininess]
        return subprocess.run(command, input=text, capture_output=True, check=False).returncode

    assert status("before") == 0 and status("after") == 1
