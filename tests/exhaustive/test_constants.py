"""The formats against the printed table of their constants, by enumerating every code.

Expected numbers are transcribed from that table (OFP8, MX, ml_dtypes and P3109 documents).
"""

import math

import numpy as np
import pytest

from refimpl.formats import format as format_of
from refimpl.spec.float_codes import decode, to_float

# name: bias, largest, smallest normal, smallest subnormal, infinity codes, NaN codes, minus zero
TABLE = {
    "float16": (15, 65504, -14, -24, 2, 2046, True),
    "bfloat16": (127, 255 * 2.0**120, -126, -133, 2, 254, True),
    "float8_e4m3fn": (7, 448, -6, -9, 0, 2, True),
    "float8_e5m2": (15, 57344, -14, -16, 2, 6, True),
    "float8_e4m3": (7, 240, -6, -9, 2, 14, True),
    "float8_e3m4": (3, 15.5, -2, -6, 2, 30, True),
    "float8_e4m3fnuz": (8, 240, -7, -10, 0, 1, False),
    "float8_e5m2fnuz": (16, 57344, -15, -17, 0, 1, False),
    "float8_e4m3b11fnuz": (11, 30, -10, -13, 0, 1, False),
    "float6_e3m2fn": (3, 28, -2, -4, 0, 0, True),
    "float6_e2m3fn": (1, 7.5, 0, -3, 0, 0, True),
    "float4_e2m1fn": (1, 6, 0, -1, 0, 0, True),
    "float8_e8m0fnu": (127, 2.0**127, -127, None, 0, 1, False),
    "e4m3p3109e": (8, 224, -7, -10, 2, 1, False),
    "e4m3p3109f": (8, 240, -7, -10, 0, 1, False),
    "e5m2p3109e": (16, 49152, -15, -17, 2, 1, False),
    "e5m2p3109f": (16, 57344, -15, -17, 0, 1, False),
}
# finite codes and distinct finite values
COUNTS = {
    "float8_e4m3fn": (254, 253),
    "float8_e5m2": (248, 247),
    "float8_e4m3": (240, 239),
    "float8_e3m4": (224, 223),
    "float8_e4m3fnuz": (255, 255),
    "float8_e5m2fnuz": (255, 255),
    "float8_e4m3b11fnuz": (255, 255),
    "float6_e3m2fn": (64, 63),
    "float6_e2m3fn": (64, 63),
    "float4_e2m1fn": (16, 15),
    "float8_e8m0fnu": (255, 255),
}
# code: value
ANCHORS = {
    "float8_e4m3fn": {0x7E: 448, 0xFE: -448, 0x08: 2.0**-6, 0x01: 2.0**-9, 0x38: 1, 0x7F: math.nan, 0xFF: math.nan},
    "float8_e5m2": {0x7B: 57344, 0x7C: math.inf, 0xFC: -math.inf, 0x7D: math.nan, 0x3C: 1},
    "float8_e4m3fnuz": {0x80: math.nan, 0x7F: 240, 0xFF: -240, 0x40: 1},
    "e4m3p3109e": {0x7E: 224, 0x7F: math.inf, 0xFF: -math.inf, 0x80: math.nan},
    "e4m3p3109f": {0x7F: 240, 0x80: math.nan},
    "e5m2p3109e": {0x7E: 49152, 0x7F: math.inf, 0xFF: -math.inf, 0x80: math.nan},
    "e5m2p3109f": {0x7F: 57344, 0x80: math.nan},
    "float8_e8m0fnu": {0x00: 2.0**-127, 0x7F: 1, 0xFE: 2.0**127, 0xFF: math.nan},
    "float16": {0x3C00: 1, 0x7BFF: 65504, 0x7C00: math.inf, 0x0001: 2.0**-24, 0xC000: -2},
    "bfloat16": {0x3F80: 1, 0x7F7F: 255 * 2.0**120, 0xFF80: -math.inf},
}


def all_values(fmt):
    return [to_float(decode(code, fmt)) for code in range(2**fmt.bits)]


@pytest.mark.parametrize("name", TABLE)
def test_enumeration_gives_the_printed_row(name):
    bias, largest, normal, subnormal, infinities, nans, minus_zero = TABLE[name]
    fmt = format_of(name)
    values = all_values(fmt)
    finite = [v for v in values if math.isfinite(v)]
    assert fmt.bias == bias
    assert max(finite) == largest == fmt.max
    assert 2.0**normal in finite and fmt.smallest_normal == 2.0**normal
    if subnormal is not None:
        assert min(v for v in finite if v > 0) == 2.0**subnormal == fmt.smallest_subnormal
    assert sum(map(math.isinf, values)) == infinities
    assert sum(map(math.isnan, values)) == nans
    assert any(v == 0 and math.copysign(1, v) < 0 for v in values) == minus_zero
    assert fmt.has_minus_zero == minus_zero


@pytest.mark.parametrize("name", COUNTS)
def test_enumeration_gives_the_printed_counts(name):
    finite = [v for v in all_values(format_of(name)) if math.isfinite(v)]
    assert (len(finite), len(set(finite))) == COUNTS[name]


@pytest.mark.parametrize("name", ANCHORS)
def test_special_codes_are_the_printed_ones(name):
    values = all_values(format_of(name))
    for code, value in ANCHORS[name].items():
        assert values[code] == value or (math.isnan(value) and math.isnan(values[code]))


def test_fp4_has_the_printed_grid():
    assert all_values(format_of("e2m1fn"))[:8] == [0, 0.5, 1, 1.5, 2, 3, 4, 6]


# (low and high formats of the PEPPP paper: total bits, mantissa bits, largest value)
PEPPP = [
    (5, 1, 24),
    (6, 2, 28),
    (7, 3, 30),
    (8, 4, 31),
    (6, 1, 384),
    (7, 2, 448),
    (8, 3, 480),
    (9, 4, 496),
    (7, 1, 98304),
    (8, 2, 114688),
    (9, 3, 122880),
    (14, 7, 8.55638e9),
    (16, 9, 8.58155e9),
    (18, 11, 8.58784e9),
    (15, 7, 3.67494e19),
    (17, 9, 3.68575e19),
    (19, 11, 3.68845e19),
]


@pytest.mark.parametrize("bits, mantissa_bits, largest", PEPPP)
def test_the_formats_of_peppp_reach_as_far_as_printed(bits, mantissa_bits, largest):
    exponent_bits = bits - 1 - mantissa_bits
    fmt = format_of(f"e{exponent_bits}m{mantissa_bits}")
    assert (fmt.bits, fmt.specials) == (bits, "none")
    assert math.isclose(fmt.max, largest, rel_tol=1e-5)  # printed to six digits
    assert fmt.min_exponent == 2 - 2 ** (exponent_bits - 1)
    codes = {*range(0, 2**fmt.bits, 1 + 2**fmt.bits // 499), fmt.max_code, 2**fmt.bits - 1}
    assert all(decode(code, fmt).kind == "finite" for code in codes)


@pytest.mark.parametrize("name, dtype", [("float16", np.float16), ("float32", np.float32), ("float64", np.float64)])
def test_finfo_says_what_numpy_says(name, dtype):
    fmt, info = format_of(name), np.finfo(dtype)
    for field in (
        "max",
        "min",
        "eps",
        "smallest_normal",
        "smallest_subnormal",
        "nmant",
        "nexp",
        "maxexp",
        "minexp",
        "bits",
    ):
        assert getattr(fmt, field) == getattr(info, field), field


NAN_CODES = {
    "float16": 0x7E00,
    "bfloat16": 0x7FC0,
    "float8_e4m3fn": 0x7F,
    "float8_e5m2": 0x7E,
    "float8_e3m4": 0x78,
    "float8_e4m3fnuz": 0x80,
    "float8_e8m0fnu": 0xFF,
    "e4m3p3109e": 0x80,
    "binary8p4ue": 0xFF,
}
INFINITY_CODES = {"float16": 0x7C00, "float8_e5m2": 0x7C, "e4m3p3109e": 0x7F, "binary8p4ue": 0xFE}


@pytest.mark.parametrize("name", [*TABLE, "binary8p4ue"])
def test_nan_and_infinity_are_written_as_the_quiet_and_the_positive_one(name):
    fmt = format_of(name)
    assert (fmt.nan_code is None) == (name in TABLE and TABLE[name][5] == 0)
    assert (fmt.infinity_code is None) == (name in TABLE and TABLE[name][4] == 0)
    assert fmt.nan_code == NAN_CODES.get(name, fmt.nan_code)
    assert fmt.infinity_code == INFINITY_CODES.get(name, fmt.infinity_code)
    assert fmt.nan_code is None or decode(fmt.nan_code, fmt).kind == "nan"
    assert fmt.infinity_code is None or decode(fmt.infinity_code, fmt)[:2] == ("infinite", False)


@pytest.mark.parametrize("name", ["e3m2_flush", "e3m2", "e2m1fn", "e3m2fnuz", "float8_e8m0fnu", "binary6p3ue"])
def test_the_values_of_a_format_are_those_of_its_codes(name):
    fmt = format_of(name)
    decoded = [decode(code, fmt) for code in range(2**fmt.bits)]
    assert fmt.values() == sorted({to_float(value) + 0.0 for value in decoded if value.kind == "finite"})


def test_p3109_has_formats_of_3_to_16_bits():
    from refimpl.formats import p3109_names

    assert [len(p3109_names(k)) for k in (3, 16)] == [10, 62]
    for k in (2, 17):
        with pytest.raises(ValueError, match=f"k is {k}"):
            p3109_names(k)
