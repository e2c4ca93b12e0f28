"""Posits: the kernels are their definitions, and the definitions are the printed anchors and rules."""

import math
from fractions import Fraction

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import PositFormat
from refimpl.formats import format as format_of
from refimpl.spec import posits as spec
from refimpl.spec.float_codes import from_float, to_float

SMALL = [PositFormat(n, es) for n in range(3, 10) for es in range(6)]
WIDE = [PositFormat(n, es) for n, es in ((16, 1), (16, 2), (24, 0), (31, 3), (32, 2), (32, 5))]


def same(got, expected):
    got, expected = np.asarray(got), np.asarray(expected)
    return ((got == expected) | (np.isnan(got) & np.isnan(expected))).all()


def around(points):
    near = set()
    for point in points:
        near |= {point, math.nextafter(point, 0), math.nextafter(point, math.inf)}
    magnitudes = np.array(sorted(near))
    return np.concatenate([magnitudes, -magnitudes, [0.0, -0.0, np.inf, -np.inf, np.nan]])


def assert_encodes_as_defined(x, fmt):
    expected = [spec.encode(from_float(float(v)), fmt) for v in x]
    assert ops.encode(x, fmt).tolist() == expected, fmt
    values = [to_float(spec.decode(code, fmt)) for code in expected]
    assert same(ops.quantize(x, fmt), values), fmt


@pytest.mark.parametrize("fmt", SMALL, ids=str)
def test_every_code_of_a_small_posit_decodes_as_defined(fmt):
    codes = np.arange(2**fmt.bits)
    expected = [to_float(spec.decode(int(code), fmt)) for code in codes]
    assert same(ops.decode(codes, fmt), expected)
    assert fmt.values() == sorted(v for v in expected if not math.isnan(v))
    assert ops.values(fmt).tolist() == fmt.values()


@pytest.mark.parametrize("fmt", SMALL, ids=str)
def test_a_small_posit_rounds_as_defined_around_all_values_and_boundaries(fmt):
    n, es = fmt.bits, fmt.exponent_bits
    points = {5e-324, 1e308}
    for code in range(1, 2 ** (n - 1) - 1):
        low, high = spec.magnitude(code, n, es), spec.magnitude(code + 1, n, es)
        boundary = spec.magnitude(2 * code + 1, n + 1, es)
        points |= {float(low), float(high), float(boundary), float((low + high) / 2)}
    assert_encodes_as_defined(around(points), fmt)


@pytest.mark.parametrize("fmt", WIDE, ids=str)
def test_a_wide_posit_is_as_defined_on_edges_and_random_codes(fmt):
    n, es = fmt.bits, fmt.exponent_bits
    rng = np.random.default_rng(n + es)
    top = 2 ** (n - 1)
    codes = [1, 2, 3, 4, top - 1, top - 2, top - 3, top // 2, top // 2 + 1, top // 2 - 1]
    codes += [1 << k for k in range(1, n - 1)] + [(1 << k) - 1 for k in range(2, n)]
    codes += rng.integers(1, top, 60).tolist()
    codes = [code for code in codes if 0 < code < top - 1]
    assert same(ops.decode(codes, fmt), [to_float(spec.decode(code, fmt)) for code in codes])
    points = {float(spec.magnitude(2 * code + 1, n + 1, es)) for code in codes}
    points |= {float(spec.magnitude(code, n, es)) for code in codes}
    assert_encodes_as_defined(around(points | {1e308, 5e-324}), fmt)


# -- the definition against printed numbers --------------------------------------------------------


def test_posit8_has_the_printed_anchors():
    # the posit standard (2022)
    anchors = {
        0x40: 1,
        0x41: 1.125,
        0x48: 2,
        0x50: 4,
        0x60: 16,
        0x70: 256,
        0x7E: 2.0**20,
        0x7F: 2.0**24,
        0x01: 2.0**-24,
        0x02: 2.0**-20,
        0xC0: -1,
        0x81: -(2.0**24),
    }
    fmt = format_of("posit8_2")
    assert {code: to_float(spec.decode(code, fmt)) for code in anchors} == anchors


@pytest.mark.parametrize("n, es, largest", [(8, 2, 24), (8, 0, 6), (8, 1, 12), (16, 2, 56), (16, 1, 28)])
def test_the_extremes_are_the_printed_ones(n, es, largest):
    fmt = PositFormat(n, es)
    assert spec.magnitude(2 ** (n - 1) - 1, n, es) == 2**largest == fmt.max
    assert spec.magnitude(1, n, es) == Fraction(1, 2**largest) == Fraction(fmt.smallest)


def test_where_bits_run_out_the_boundary_is_the_printed_geometric_mean():
    # posit8_2, between 0x7E and 0x7F, 0x7C and 0x7D, 0x01 and 0x02
    fmt = format_of("posit8_2")
    for low, boundary in ((0x7E, 4194304), (0x7C, 131072), (0x01, Fraction(1, 2**22))):
        even = low if low % 2 == 0 else low + 1
        assert spec.round_to_code(Fraction(boundary), fmt) == even
        assert spec.round_to_code(boundary * Fraction(999, 1000), fmt) == low
        assert spec.round_to_code(boundary * Fraction(1001, 1000), fmt) == low + 1


@pytest.mark.parametrize("fmt", [PositFormat(n, es) for n in (5, 8) for es in (0, 1, 2)], ids=str)
def test_codes_order_as_values_and_negation_is_twos_complement(fmt):
    n = fmt.bits
    signed = sorted(range(2**n), key=lambda code: code - 2**n if code >= 2 ** (n - 1) else code)
    values = [to_float(spec.decode(code, fmt)) for code in signed]
    assert math.isnan(values[0]) and values[1:] == sorted(set(values[1:]))
    for code in range(1, 2 ** (n - 1)):
        assert to_float(spec.decode(2**n - code, fmt)) == -to_float(spec.decode(code, fmt))


@pytest.mark.parametrize("fmt", [PositFormat(8, 2), PositFormat(16, 2), PositFormat(32, 2)], ids=str)
def test_no_value_becomes_zero_or_nar_and_all_others_special_become_nar(fmt):
    x = np.array([5e-324, -5e-324, 1e-300, 1e308, -1e308])
    got = ops.quantize(x, fmt)
    tiny, huge = fmt.smallest, fmt.max
    assert got.tolist() == [tiny, -tiny, tiny, huge, -huge]
    assert (ops.encode([np.inf, -np.inf, np.nan], fmt) == fmt.nar_code).all()
    assert ops.encode([0.0, -0.0], fmt).tolist() == [0, 0]


def test_integers_are_rounded_once_too():
    # 2^62 has a regime of 17 bits in posit32_2: 12 bits of fraction, and a tie 13 bits down
    tie = 2**62 + 2**49
    x = np.array(
        [2**63 - 1, 2**62 + 2**33 + 1, -(2**63), 0, 3, tie, tie + 1, tie - 1, -tie - 1, tie + 2**50, tie + 2**50 - 1],
        np.int64,
    )
    top = 2**63 + 2**50  # and a tie whose excess lies in the last of 64 bits
    unsigned = np.array([top, top + 1, top - 1, top + 2**51 - 1, 2**64 - 1], np.uint64)
    fmt = format_of("posit32_2")
    above = [spec.round_to_code(Fraction(v), fmt) for v in unsigned.tolist()]
    assert ops.encode(unsigned, fmt).tolist() == above
    expected = []
    for v in x.tolist():
        if v == 0:
            expected.append(0)
            continue
        code = spec.round_to_code(Fraction(abs(v)), fmt)
        expected.append(2**32 - code if v < 0 else code)
    assert ops.encode(x, fmt).tolist() == expected


@pytest.mark.parametrize("bits, es", [(2, 0), (33, 2), (8, 6), (8, -1), (8.0, 2), (True, 2)])
def test_impossible_posits_are_refused(bits, es):
    with pytest.raises((TypeError, ValueError), match="PositFormat"):
        PositFormat(bits, es)
