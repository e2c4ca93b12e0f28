"""Our default codes are those of casting float32 to the ml_dtypes type of the same name.

Where ml_dtypes is known to deviate from rounding to nearest, the deviation is stated as a test, so
that its repair would be noticed.
"""

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import format as format_of

ml_dtypes = pytest.importorskip("ml_dtypes", reason="the peer ml_dtypes is not installed")

NAMES = [
    "bfloat16",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn",
    "float6_e2m3fn",
    "float6_e3m2fn",
]
every_type = pytest.mark.parametrize("name", NAMES)


def peer_codes(x, name):
    with np.errstate(all="ignore"):
        codes = x.astype(getattr(ml_dtypes, name))
    return codes.view(np.uint16 if codes.dtype.itemsize == 2 else np.uint8)


def peer_values(codes, name):
    dtype = getattr(ml_dtypes, name)
    with np.errstate(all="ignore"):
        return codes.astype(np.uint16 if np.dtype(dtype).itemsize == 2 else np.uint8).view(dtype).astype(np.float64)


def assert_same_codes(x, name):
    """Compare codes; where both are NaN, the sign and payload are the peer's own affair."""
    ours, theirs = ops.encode(x, name), peer_codes(x, name)
    both_nan = np.isnan(ops.decode(ours, name)) & np.isnan(ops.decode(theirs, name))
    wrong = np.flatnonzero((ours != theirs) & ~both_nan)
    if name == "float8_e8m0fnu":  # its bottom is a stated deviation, see below
        wrong = wrong[~((x[wrong] > 0) & (x[wrong] < 2.0**-126))]
    assert not wrong.size, (x[wrong[:5]], ours[wrong[:5]], theirs[wrong[:5]])
    finite_or_signed = ~both_nan & (np.asarray(x) == x)
    ours, theirs = ops.quantize(x, name), peer_values(theirs, name).astype(np.float32)
    skip = (x > 0) & (x < 2.0**-126) if name == "float8_e8m0fnu" else np.zeros(x.shape, bool)
    keep = finite_or_signed & ~skip
    assert (ours[keep].view(np.uint32) == theirs[keep].view(np.uint32)).all()


@every_type
def test_every_code_decodes_alike(name):
    codes = np.arange(2 ** format_of(name).bits, dtype=np.uint32)
    ours, theirs = ops.decode(codes, name), peer_values(codes, name)
    same = (ours == theirs) & (np.signbit(ours) == np.signbit(theirs))
    assert (same | (np.isnan(ours) & np.isnan(theirs))).all()


@every_type
def test_every_float16_encodes_alike(name):
    x = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    assert_same_codes(x, name)
    # and without the detour through float32
    ours = ops.encode(x.astype(np.float16), name)
    assert (ours == ops.encode(x, name)).all()


@every_type
def test_random_float32_patterns_encode_alike(name):
    bits = np.random.default_rng(20).integers(2**32, size=1_000_000, dtype=np.uint32)
    assert_same_codes(bits.view(np.float32), name)


@every_type
def test_float32_around_every_value_and_midpoint_encodes_alike(name):
    fmt = format_of(name)
    values = ops.decode(np.arange(2**fmt.bits), fmt)
    values = np.unique(values[np.isfinite(values)])
    top = values[-1] + (values[-1] - values[-2]) / 2  # where overflow begins
    points = np.concatenate([values, (values[1:] + values[:-1]) / 2, [top, -top]])
    with np.errstate(over="ignore"):
        x = points.astype(np.float32)
    x = np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))])
    assert_same_codes(x, name)


def test_nans_keep_their_sign_as_the_peer_keeps_it():
    x = np.array([0x7FC00000, 0xFFC00000], np.uint32).view(np.float32)
    for name in NAMES:
        assert (ops.encode(x, name) == peer_codes(x, name)).all(), name


# -- deviations of the peer, stated ----------------------------------------------------------------


def test_the_peer_rounds_the_bottom_of_e8m0_up():
    # The nearest scale to bits 0x571f87, which is 1.36 * 2^-127, is 2^-127; the peer gives 2^-126.
    x = np.array([0x00571F87], np.uint32).view(np.float32)
    assert 2.0**-127 < x[0] < 1.5 * 2.0**-127
    assert ops.encode(x, "float8_e8m0fnu") == [0]
    assert peer_codes(x, "float8_e8m0fnu") == [1]


@pytest.mark.parametrize(
    "name, x, right, theirs",
    [("float8_e4m3fn", 1 + 2.0**-4 + 2.0**-30, 1.125, 1.0), ("bfloat16", 1 + 2.0**-8 + 2.0**-40, 1.0078125, 1.0)],
)
def test_the_peer_rounds_float64_twice(name, x, right, theirs):
    assert ops.quantize(x, name) == right
    assert peer_values(peer_codes(np.array([x]), name), name) == theirs
