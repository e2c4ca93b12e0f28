"""gfloat rounds float64 once, in all the modes of P3109: a witness for midpoints.

Compared below the largest value, where overflow rules do not matter; a deviation is stated below.
"""

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import format as format_of

gfloat = pytest.importorskip("gfloat", reason="the peer gfloat is not installed")
formats = pytest.importorskip("gfloat.formats", reason="the peer gfloat is not installed")

PAIRS = {
    "float8_e4m3fn": formats.format_info_ocp_e4m3,
    "float8_e5m2": formats.format_info_ocp_e5m2,
    "float6_e2m3fn": formats.format_info_ocp_e2m3,
    "float6_e3m2fn": formats.format_info_ocp_e3m2,
    "float4_e2m1fn": formats.format_info_ocp_e2m1,
    "float16": formats.format_info_binary16,
    "bfloat16": formats.format_info_bfloat16,
}
MODES = {
    "ties_to_even": gfloat.RoundMode.TiesToEven,
    "ties_to_away": gfloat.RoundMode.TiesToAway,
    "toward_zero": gfloat.RoundMode.TowardZero,
    "toward_positive": gfloat.RoundMode.TowardPositive,
    "toward_negative": gfloat.RoundMode.TowardNegative,
}


def midpoints(name):
    """Float64 values, midpoints and their neighbours, below the largest value."""
    fmt = format_of(name)
    codes = np.arange(fmt.max_code + 1)
    codes = codes[:: max(len(codes) // 500, 1)]
    low = ops.decode(codes[:-1], name)
    high = ops.decode(codes[:-1] + 1, name)
    middle = (low + high) / 2
    x = np.concatenate([low, middle, np.nextafter(middle, np.inf), np.nextafter(middle, 0), high])
    return np.concatenate([x, -x])


@pytest.mark.parametrize("rounding", MODES)
@pytest.mark.parametrize("name", PAIRS)
def test_float64_midpoints_round_alike(name, rounding):
    x = midpoints(name)
    if rounding == "ties_to_away":  # a stated deviation, see below
        x = x[np.abs(x) != np.nextafter(format_of(name).smallest_subnormal / 2, 0)]
    ours = ops.quantize(x, name, rounding=rounding)
    theirs = [gfloat.round_float(PAIRS[name], float(v), MODES[rounding]) for v in x]
    assert (ours == theirs).all()
    assert (np.signbit(ours) == np.signbit(theirs)).all()


@pytest.mark.parametrize("name", PAIRS)
def test_every_code_decodes_alike(name):
    codes = np.arange(2 ** format_of(name).bits)[:: 1 if format_of(name).bits <= 8 else 97]
    ours = ops.decode(codes, name)
    theirs = np.array([gfloat.decode_float(PAIRS[name], int(code)).fval for code in codes])
    assert ((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))).all()


@pytest.mark.parametrize(
    "rounding, theirs",
    [("stochastic_a", "StochasticFastest"), ("stochastic_b", "StochasticFast"), ("stochastic_c", "Stochastic")],
)
def test_stochastic_modes_decide_alike_for_every_random_integer(rounding, theirs):
    from refimpl.spec.float_codes import decode, encode, from_float, to_float

    fmt, n = format_of("float8_e4m3fn"), 3
    for k in range(65):
        x = 1 + k / 64 / 8
        for r in range(2**n):
            code = encode(from_float(x), fmt, rounding, random=r, random_bits=n)
            expected = gfloat.round_float(PAIRS["float8_e4m3fn"], x, gfloat.RoundMode[theirs], srbits=r, srnumbits=n)
            assert to_float(decode(code, fmt)) == expected, (x, r)


def test_the_peer_rounds_up_just_below_half_the_smallest_value_in_ties_to_away():
    # Adding 1/2 to a fraction just below it gives 1 in float64.
    x = np.nextafter(2.0**-10, 0)
    assert ops.quantize(x, "float8_e4m3fn", rounding="ties_to_away") == 0
    assert gfloat.round_float(PAIRS["float8_e4m3fn"], x, MODES["ties_to_away"]) == 2.0**-9
