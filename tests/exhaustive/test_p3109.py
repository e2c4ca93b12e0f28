"""IEEE P3109 formats of 3 to 16 bits against the decoding rule of the standard.

Expected values follow interim report 3.2.2 (its rule matched all published value tables of up to
10 bits) in exact fractions: from P = 1 on, exponents go beyond float64.
"""

import math
import re
from fractions import Fraction

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import format as format_of
from refimpl.formats import p3109_names
from refimpl.spec.float_codes import Value, decode, encode, from_float


def standard(code, k, p, signed, extended):
    """The value of a code by the standard's own words: a fraction, or inf, -inf, nan."""
    half = 2 ** (k - 1)
    if signed:
        if code == half:
            return math.nan
        if code > half:
            return -standard(code - half, k, p, signed, extended)
        if extended and code == half - 1:
            return math.inf
    else:
        if code == 2**k - 1:
            return math.nan
        if extended and code == 2**k - 2:
            return math.inf
    bias = 2 ** (k - p - 1) if signed else 2 ** (k - p)
    t, e = code % 2 ** (p - 1), code // 2 ** (p - 1)
    if e == 0:
        return Fraction(t, 2 ** (p - 1)) * Fraction(2) ** (1 - bias)
    return (1 + Fraction(t, 2 ** (p - 1))) * Fraction(2) ** (e - bias)


def parts(name):
    k, p, sign, domain = re.fullmatch(r"binary(\d+)p(\d+)([su])([ef])", name).groups()
    return int(k), int(p), sign == "s", domain == "e"


def agrees(value, expected):
    if value.kind == "nan":
        return isinstance(expected, float) and math.isnan(expected)
    sign = -1 if value.negative else 1
    if value.kind == "infinite":
        return expected == sign * math.inf
    return sign * value.magnitude == expected


def some_codes(fmt):
    """All codes of a small format; of a wide one the ends, the specials and a sample."""
    if fmt.bits <= 8:
        return list(range(2**fmt.bits))
    top = 2**fmt.bits
    edges = {
        0,
        1,
        2,
        top - 1,
        top - 2,
        top - 3,
        top // 2,
        top // 2 - 1,
        top // 2 - 2,
        top // 2 + 1,
        fmt.max_code,
        2**fmt.mantissa_bits,
        2**fmt.mantissa_bits - 1,
    }
    return sorted({code for code in edges if code < top} | set(range(0, top, top // 37)))


@pytest.mark.parametrize("k", range(3, 17))
def test_every_format_decodes_as_the_standard_says(k):
    assert len(p3109_names(k)) == 4 * k - 2
    for name in p3109_names(k):
        fmt = format_of(name)
        assert fmt.name == name and fmt.bits == k
        for code in some_codes(fmt):
            assert agrees(decode(code, fmt), standard(code, *parts(name))), (name, code)


@pytest.mark.parametrize("k", range(3, 17))
def test_every_value_encodes_to_its_code(k):
    for name in p3109_names(k):
        fmt = format_of(name)
        for code in some_codes(fmt):
            assert encode(decode(code, fmt), fmt) == code, (name, code)


@pytest.mark.parametrize("k", range(3, 17))
def test_the_kernel_decodes_what_float64_holds_and_the_rest_are_fractions_or_refused_in_float64(k):
    for name in p3109_names(k):
        fmt = format_of(name)
        codes = np.array(some_codes(fmt), np.uint16)
        expected = [standard(int(code), *parts(name)) for code in codes]
        held = [isinstance(v, float) or v == 0 or 2.0**-1074 <= abs(v) < 2**1024 for v in expected]
        got = ops.decode(codes[held], fmt)
        expected = [float(v) for v, h in zip(expected, held, strict=True) if h]
        assert ((got == expected) | (np.isnan(got) & np.isnan(expected))).all(), name
        assert fmt.fits_float64 or not all(held)
        if not all(held):
            with pytest.raises(ValueError, match=r"codes\[\d+\] is"):
                ops.decode(codes, fmt, dtype=np.float64)
        if k % 4 == 0:
            exact = ops.decode(codes, fmt, dtype=None if not all(held) else object)
            words = [standard(int(code), *parts(name)) for code in codes]
            assert all(a == b or (a != a and b != b) for a, b in zip(exact, words, strict=True)), name


@pytest.mark.parametrize("name", ["binary16p1ue", "binary16p1sf", "binary14p2se", "binary15p3uf"])
def test_float64_encodes_in_formats_wider_than_itself(name):
    fmt = format_of(name)
    x = np.array(
        [1.0, 1.5, 3.0, 1e308, 1.7976931348623157e308, 5e-324, 1.5e-323, 2.0**-1022, 0.0, -1.0, -1.75, np.inf, np.nan]
    )
    for rounding in ("ties_to_even", "toward_positive", "to_odd"):
        expected = [encode(from_float(float(v)), fmt, rounding) for v in x]
        assert ops.encode(x, fmt, rounding=rounding).tolist() == expected


def test_a_property_that_float64_cannot_hold_says_so():
    fmt = format_of("binary16p1ue")
    for field in ("max", "smallest_normal", "smallest_subnormal"):
        with pytest.raises(OverflowError, match="not a float64"):
            getattr(fmt, field)
    with pytest.raises(OverflowError, match="not a float64"):
        fmt.values()
    assert encode(Value("finite", False, Fraction(2) ** 32765), fmt) == fmt.max_code


@pytest.mark.parametrize("name", ["binary8p8se", "binary2p1se", "binary8p0ue"])
def test_what_is_not_a_format_of_the_standard_is_refused(name):
    with pytest.raises(ValueError, match="P3109 format has at least 3 bits"):
        format_of(name)
