"""Arithmetic of small formats: the kernels give what the definitions do for every pair of codes.

The definition's exact result is computed once for each pair and rounded in every mode; results that
come again are looked up.  The default run takes a sample of pairs, the slow one all of them.
"""

import numpy as np
import pytest

from refimpl.formats import OVERFLOWS, ROUNDINGS, FloatFormat, PositFormat, names
from refimpl.formats import format as format_of
from refimpl.kernels import arithmetic as kernel
from refimpl.kernels.float_codes import mode
from refimpl.ops import arithmetic_paths
from refimpl.ops.rounding import RoundingRule
from refimpl.spec import arithmetic as spec
from refimpl.spec import float_codes, operations, posits

DETERMINISTIC = [rounding for rounding in ROUNDINGS if not rounding.startswith("stochastic")]
EIGHT_BITS = [name for name in names() if isinstance(format_of(name), FloatFormat) and format_of(name).bits <= 8]
FIVE_BITS = [
    "float4_e2m1fn",
    "e2m1ieee",
    "e2m2",
    "e3m1",
    "e2m2ieee",
    "e3m1ieee",
    "e2m2fn",
    "e3m1fnuz",
    "e2m2fnuz",
    "e1m3",
    "e0m4",
    "e4m0",
    "e3m1_flush",
    "e2m2p3109e",
    "binary5p2se",
    "binary5p3sf",
    "binary5p3ue",
    "e5m0scale",
    "e2m3ieee_unsigned",
]
POSITS = [PositFormat(8, 2), PositFormat(8, 0), PositFormat(8, 1)]
NO_WORDS = np.empty(0, np.uint32)


def from_kernel(operation, codes, fmt, rounding="ties_to_even", overflow="overflow", nan="zero"):
    a, b, c = (list(codes) * 3)[:3]
    out = np.empty(a.size, np.uint64)
    layout, how = kernel.layout(fmt), mode(rounding, overflow, nan)
    number = kernel.OPERATIONS.index(operation)
    kernel.calculate(number, a, b, c, out, *[layout] * 4, how, NO_WORDS, operations.is_p3109(fmt))
    return out


def codes_of(fmt, operands, fraction=1.0, seed=0):
    """All tuples of codes, or a random fraction of them."""
    size = 1 << fmt.bits * operands
    chosen = np.arange(size)
    if fraction < 1:
        chosen = np.random.default_rng(seed).choice(size, int(fraction * size), replace=False)
    mask = (1 << fmt.bits) - 1
    return [(chosen >> fmt.bits * k & mask).astype(np.uint64) for k in range(operands)]


def check(operation, fmt, codes, roundings):
    """Hold the kernel to the definition for tuples of codes, in each rounding mode."""
    posit, p3109 = isinstance(fmt, PositFormat), operations.is_p3109(fmt)
    values = [operations.decode(code, fmt) for code in range(1 << fmt.bits)]
    got = [from_kernel(operation, codes, fmt, rounding) for rounding in roundings]
    known = [{} for _ in roundings]
    for i, several in enumerate(zip(*(c.tolist() for c in codes), strict=True)):
        operands = [values[code] for code in several]
        # of the modes only toward negative has a say in the exact result: in the sign of its zero
        exact = operations.exact(operation, tuple(operands), p3109=p3109)
        for k, rounding in enumerate(roundings):
            result = exact
            if exact.kind == "finite" and exact.magnitude == 0:
                result = operations.exact(operation, tuple(operands), rounding, p3109)
            key = (result.kind, result.negative, result.magnitude.numerator, result.magnitude.denominator)
            if key not in known[k]:
                encoded = posits.encode(result, fmt) if posit else float_codes.encode(result, fmt, rounding)
                known[k][key] = encoded
            assert got[k][i] == known[k][key], (operation, str(fmt), rounding, several)


@pytest.mark.parametrize("name", EIGHT_BITS)
def test_a_sample_of_pairs_is_computed_as_defined_in_every_mode(name):
    fmt = format_of(name)
    for operation in ("add", "sub", "mul", "div"):
        check(operation, fmt, codes_of(fmt, 2, fraction=0.008), DETERMINISTIC)
    check("fma", fmt, codes_of(fmt, 3, fraction=800 / 8**fmt.bits), DETERMINISTIC)
    check("sqrt", fmt, codes_of(fmt, 1), DETERMINISTIC)


@pytest.mark.parametrize("name", EIGHT_BITS)
def test_float64_gives_what_integers_do_for_every_pair_in_every_mode(name):
    fmt = format_of(name)
    codes = codes_of(fmt, 2)
    for k, operation in enumerate(("add", "sub", "mul", "div")):
        for j, rounding in enumerate(DETERMINISTIC):
            rule = RoundingRule(rounding, OVERFLOWS[(j + k) % 3], "zero" if j % 2 else "max")
            assert arithmetic_paths.serves(operation, (fmt, fmt), fmt, rule)
            p3109 = operations.is_p3109(fmt)
            got = arithmetic_paths.compute_codes(operation, codes, (fmt, fmt), fmt, rule, 0, p3109)[0]
            assert (got == from_kernel(operation, codes, fmt, rounding, rule.overflow, rule.nan)).all(), rule


@pytest.mark.slow
@pytest.mark.parametrize("name", EIGHT_BITS)
@pytest.mark.parametrize("operation", ["add", "sub", "mul", "div"])
def test_every_pair_is_computed_as_defined_in_every_mode(operation, name):
    fmt = format_of(name)
    check(operation, fmt, codes_of(fmt, 2), DETERMINISTIC)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIVE_BITS)
def test_every_triple_is_fused_as_defined_in_every_mode(name):
    fmt = format_of(name)
    check("fma", fmt, codes_of(fmt, 3), DETERMINISTIC)


def test_every_triple_of_four_bits_is_fused_as_defined_in_every_mode():
    for name in ("float4_e2m1fn", "e2m1ieee", "e2m1fnuz", "binary4p2se"):
        fmt = format_of(name)
        check("fma", fmt, codes_of(fmt, 3), DETERMINISTIC)


@pytest.mark.slow
@pytest.mark.parametrize("name", EIGHT_BITS)
def test_many_triples_of_eight_bits_are_fused_as_defined_in_every_mode(name):
    fmt = format_of(name)
    check("fma", fmt, codes_of(fmt, 3, fraction=60_000 / 8**fmt.bits), DETERMINISTIC)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "e6m9", "e5m10fnuz"])
def test_roots_of_sixteen_bits_are_as_defined(name):
    fmt = format_of(name)
    check("sqrt", fmt, codes_of(fmt, 1, fraction=0.03), DETERMINISTIC)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float16", "bfloat16", "e6m9", "posit16_2"])
def test_every_root_of_sixteen_bits_is_as_defined(name):
    fmt = format_of(name)
    modes = DETERMINISTIC[:1] if isinstance(fmt, PositFormat) else DETERMINISTIC
    check("sqrt", fmt, codes_of(fmt, 1), modes)


@pytest.mark.parametrize("fmt", POSITS, ids=str)
def test_a_sample_of_pairs_of_posits_is_computed_as_defined(fmt):
    for operation in ("add", "sub", "mul", "div"):
        check(operation, fmt, codes_of(fmt, 2, fraction=0.02), ["ties_to_even"])
    check("sqrt", fmt, codes_of(fmt, 1), ["ties_to_even"])


@pytest.mark.slow
@pytest.mark.parametrize("fmt", POSITS, ids=str)
@pytest.mark.parametrize("operation", ["add", "sub", "mul", "div"])
def test_every_pair_of_posits_is_computed_as_defined(operation, fmt):
    check(operation, fmt, codes_of(fmt, 2), ["ties_to_even"])


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float8_e5m2fnuz", "posit8_2"])
def test_pairs_are_compared_as_defined(name):
    fmt = format_of(name)
    posit = isinstance(fmt, PositFormat)
    a, b = codes_of(fmt, 2, fraction=0.2)
    a, b = (np.append(a, np.arange(256, dtype=np.uint64)), np.append(b, np.arange(256, dtype=np.uint64)))
    found = np.empty(a.size, np.uint8)
    kernel.relations(a, b, found, kernel.layout(fmt), kernel.layout(fmt))
    decode = posits.decode if posit else float_codes.decode
    values = [decode(code, fmt) for code in range(1 << fmt.bits)]
    names = ("<", "==", ">", "unordered")
    for x, y, got in zip(a.tolist(), b.tolist(), found.tolist(), strict=True):
        assert names[got] == spec.relation(values[x], values[y], posit=posit), (x, y)
