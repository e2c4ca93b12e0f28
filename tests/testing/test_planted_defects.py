"""Implementations written for this test, right and with one defect planted: `conform` tells them apart.

The right ones look values up in a table made by the formula of the format; none of them calls the
package, so that what is right here is not right because the package says so.
"""

import numpy as np
import pytest

import refimpl as rf

T = rf.testing
INF, NAN = np.inf, np.nan


def quantizer(
    e=4,
    m=3,
    bias=7,
    max_code=0x7E,
    beyond=NAN,
    *,
    ties="even",
    through=None,
    carry=True,
    flush=False,
    minus_zero=True,
    overflow_at=None,
    infinity=None,
    half_up_to_smallest=False,
    nan=NAN,
    daz=False,
    mode="nearest",
    stays_in_range=True,
    first_to=None,
):
    """Return a quantizer that looks its values up; keywords plant defects."""
    codes = np.arange(max_code + 2)
    field, mantissa = codes >> m, codes & ((1 << m) - 1)
    grid = np.where(
        field == 0, mantissa * 2.0 ** (1 - bias - m), ((1 << m) + mantissa) * 2.0 ** (np.maximum(field, 1) - bias - m)
    )

    def q(x):
        wide = x.astype(through).astype(np.float64) if through else x.astype(np.float64)
        if daz:
            wide = np.where(np.abs(wide) < np.finfo(x.dtype).smallest_normal, 0.0 * wide, wide)
        if first_to is not None:
            wide = np.where(np.isfinite(wide), first_to(wide), wide)
        size = np.nan_to_num(np.abs(wide), nan=0.0, posinf=0.0)
        k = np.minimum(np.searchsorted(grid, size, side="right") - 1, max_code)
        low, high = grid[k], grid[k + 1]
        middle, negative = low / 2 + high / 2, np.signbit(wide)
        if mode == "nearest":
            up = (size > middle) | (size == middle) & ((k % 2 == 1) | (ties == "away"))
        elif mode == "toward_positive":
            up = (size > low) & ~negative
        elif mode == "away":
            up = size > low
        else:
            up = np.zeros(size.shape, bool)
        if half_up_to_smallest:
            up |= size == grid[1] / 2
        code = k + up
        if not carry:
            code = np.where(up & (code & ((1 << m) - 1) == 0), k & ~((1 << m) - 1), code)
        y = grid[np.minimum(code, max_code + 1)]
        over = code > max_code
        if overflow_at is not None:
            over |= overflow_at(size)
        # directed modes keep to the largest value on their side
        stays = np.full(size.shape, mode == "toward_zero") | negative & (mode == "toward_positive")
        y = np.where(over, np.where(stays & stays_in_range, grid[max_code], beyond), y)
        if flush:
            y = np.where(y < grid[1 << m], 0.0, y)
        y = np.where(np.isinf(wide), beyond if infinity is None else infinity, y)
        y = np.where(negative & (minus_zero | (y != 0)), -y, y)
        return np.where(np.isnan(wide), nan, y).astype(x.dtype)

    return q


E5M2 = {"e": 5, "m": 2, "bias": 15, "max_code": 0x7B, "beyond": INF}
FNUZ = {"bias": 8, "max_code": 0x7F, "minus_zero": False}


def significant(x, bits, whole):
    """Round to some significant bits, whatever the exponent."""
    fraction, exponent = np.frexp(x)
    return np.ldexp(whole(np.ldexp(fraction, bits)), exponent - bits)


def e8m0(nearest):
    """Powers of two by frexp; zero, negatives, infinities and overflow are NaN."""

    def q(x):
        fraction, exponent = np.frexp(x.astype(np.float64))  # x = fraction * 2^exponent, from 1/2
        up = (fraction >= 0.75) if nearest else np.zeros(x.shape, bool)
        power = np.maximum(exponent - 1 + up, -127)
        small = np.abs(x.astype(np.float64)) < 2.0**-127
        power = np.where(small, -127, power)
        good = (x > 0) & np.isfinite(x) & (power <= 127)
        return np.where(good, np.ldexp(1.0, np.where(good, power, 0)), NAN).astype(x.dtype)

    return q


def fnuz_codes(keeps_minus_zero):
    """Codes of float8_e4m3fnuz from its quantizer."""
    values = quantizer(**FNUZ)
    grid = np.concatenate([np.arange(8) * 2.0**-10, ((8 + np.arange(120) % 8) * 2.0 ** (np.arange(120) // 8 - 10))])

    def encode(x):
        y = values(x.astype(np.float64))
        codes = np.searchsorted(grid, np.nan_to_num(np.abs(y)))
        negative = np.signbit(x) & ((codes > 0) | keeps_minus_zero)
        return np.where(np.isnan(y), 0x80, codes | negative << 7).astype(np.uint8)

    return encode


def e5m2_bits(keeps_nan):
    """Encode float8_e5m2 by shifting the mantissa of a NaN away, or minding it."""
    values = quantizer(**E5M2)

    def encode(x):
        y = values(x)
        dropped = 21 if x.dtype == np.float32 else 50
        bits = x.view(f"u{x.dtype.itemsize}")
        with np.errstate(all="ignore"):
            half = y.astype(np.float16)  # every E5M2 value is a binary16
        codes = (half.view(np.uint16) >> 8).astype(np.uint8)
        payload = (bits >> dropped).astype(np.uint8) & 3
        payload |= np.uint8(keeps_nan) * 2
        sign = np.signbit(x).astype(np.uint8) << 7
        return np.where(np.isnan(x), sign | 0x7C | payload, codes)

    return encode


def decoder(reads_nan):
    """Decode float8_e4m3fn by formula."""

    def decode(codes):
        codes = codes.astype(np.int64)
        field, mantissa = codes >> 3 & 15, codes & 7
        size = np.where(field == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (field - 10.0))
        size = np.where((codes & 0x7F == 0x7F) & reads_nan, NAN, size)
        return np.where(codes >> 7, -size, size)

    return decode


def integers(rounding, out):
    """Round to int8 by formula."""

    def q(x):
        finite = np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=1e300, neginf=-1e300)
        return out(rounding(finite)).astype(x.dtype)

    return q


def clipped(whole):
    return np.clip(whole, -127, 127)


def wrapping(whole):
    return np.mod(np.clip(whole, -(2.0**40), 2.0**40) + 128, 256) - 128


def draws(bias=0.0, moves=0.0, one_half=False):
    """Stochastic rounding to float8_e4m3fn with its own generator."""
    rng = np.random.default_rng(5)
    low_of, high_of = quantizer(mode="toward_zero"), quantizer(mode="away")

    def q(x):
        wide = x.astype(np.float64)
        low, high = low_of(wide), high_of(wide)
        step = np.where(high == low, 1.0, high - low)
        nu = np.where(np.isfinite(step), (wide - low) / step, 0.0)
        probability = np.where(nu > 0, 0.5 if one_half else nu + bias, moves)
        up = rng.random(x.shape) < probability
        nearby = np.where(np.abs(wide) < 400, low + np.copysign(low * 0.125, wide), low)
        high = np.where(nu == 0, nearby, high)
        return np.where(up, high, low).astype(x.dtype)

    return q


def nibbles(low_first):
    """Pack two 4-bit codes into a byte."""

    def pack(codes):
        first, second = codes[0::2], codes[1::2]
        return (first | second << 4) if low_first else (first << 4 | second)

    return T.Implementation(pack=pack)


E4M3, STOCHASTIC = ("float8_e4m3fn", {}), ("float8_e4m3fn", {"rounding": "stochastic"})
FIVE = ("float8_e5m2", {})
UP, ZERO = (("float8_e4m3fn", {"rounding": mode}) for mode in ("toward_positive", "toward_zero"))

PLANTED = {  # defect: (format and rules, right, wrong, words of the diagnosis)
    "wrong tie rule": (E4M3, quantizer(), quantizer(ties="away"), "ties_to_away"),
    "float64 through float32": (E4M3, quantizer(), quantizer(through=np.float32), "rounds float64 through float32"),
    "lost carry": (E4M3, quantizer(), quantizer(carry=False), "loses the carry into the exponent"),
    "flushed subnormals": (E4M3, quantizer(), quantizer(flush=True), "flushes results that are subnormal to zero"),
    "negative zero": (E4M3, quantizer(), quantizer(minus_zero=False), "loses the sign of zeros"),
    "fnuz 0x80": (
        ("float8_e4m3fnuz", {}),
        (fnuz_codes(False), None),
        (fnuz_codes(True), None),
        "writes minus zero, whose code is NaN here",
    ),
    "max off by one": (E4M3, quantizer(), quantizer(max_code=0x7D), "has a largest value one code too small (416)"),
    "464 boundary": (
        E4M3,
        quantizer(),
        quantizer(overflow_at=lambda size: size >= 464),
        "overflows at exactly half a step above the largest value",
    ),
    "overflow before rounding": (
        FIVE,
        quantizer(**E5M2),
        quantizer(**E5M2, overflow_at=lambda size: size > 57344),
        "overflows everything above the largest value, before rounding",
    ),
    "NaN payload": (
        FIVE,
        (e5m2_bits(True), None),
        (e5m2_bits(False), None),
        "turns NaN into infinity where its payload lies in dropped bits",
    ),
    "stochastic bias of 1/16": (STOCHASTIC, draws(), draws(bias=1 / 16), "goes away from zero too often, by 0.06"),
    "stochastic moving exact values": (STOCHASTIC, draws(), draws(moves=0.02), "moves values that are exact"),
    "stochastic with probability one half": (
        STOCHASTIC,
        draws(),
        draws(one_half=True),
        "goes up with probability one half",
    ),
    "saturating infinity": (FIVE, quantizer(**E5M2), quantizer(**E5M2, infinity=57344.0), "saturates infinity"),
    "wrapping integers": (
        ("int8_full", {}),
        integers(np.rint, lambda w: np.clip(w, -128, 127)),
        integers(np.rint, wrapping),
        "wraps around instead of saturating",
    ),
    "truncating integers": (("int8", {}), integers(np.rint, clipped), integers(np.trunc, clipped), "toward_zero"),
    "swapped nibbles": (
        ("float4_e2m1fn", {}),
        nibbles(True),
        nibbles(False),
        "packs the first element in the high bits",
    ),
    "directed mode on the magnitude": (
        UP,
        quantizer(mode="toward_positive"),
        quantizer(mode="away"),
        "applies toward_positive to the magnitude",
    ),
    "overflow in a directed mode": (
        ZERO,
        quantizer(mode="toward_zero"),
        quantizer(mode="toward_zero", stays_in_range=False, overflow_at=lambda size: size > 448),
        "overflows in this mode as rounding to nearest does",
    ),
    "exponent bias": (E4M3, quantizer(), quantizer(bias=8), "has an exponent bias one too large"),
    "NaN code read as a number": (
        E4M3,
        (None, decoder(True)),
        (None, decoder(False)),
        "decodes special codes as numbers",
    ),
    "e8m0 rounds down": (("float8_e8m0fnu", {}), e8m0(True), e8m0(False), "toward_zero"),
    "half the smallest goes up": (
        E4M3,
        quantizer(),
        quantizer(half_up_to_smallest=True),
        "rounds up to the smallest value at exactly half of it",
    ),
    "NaN becomes zero": (E4M3, quantizer(), quantizer(nan=0.0), "gives zero for NaN"),
    "subnormal inputs are zero": (
        ("bfloat16", {}),
        quantizer(8, 7, 127, 0x7F7F, INF),
        quantizer(8, 7, 127, 0x7F7F, INF, daz=True),
        "flushes subnormal inputs to zero",
    ),
    "rounded twice": (
        E4M3,
        quantizer(),
        quantizer(first_to=lambda x: quantizer(11, 5, 7, 0x7FF, INF)(x)),
        "rounds twice, first to 2 more bits",
    ),
}

PLANTED |= {
    what: (E4M3, quantizer(), quantizer(first_to=first_to), words)
    for what, first_to, words in (
        ("through bfloat16", quantizer(8, 7, 127, 0x7F7F, INF), "bfloat16"),
        ("no sticky bit", lambda x: significant(x, 7, np.trunc), "loses the sticky bit"),
        ("first as if normal", lambda x: significant(x, 4, np.rint), "rounds subnormal results twice"),
    )
}


def inputs_of(defect):
    """Stochastic defects show in either width, and sampling is slow; so does bfloat16's table."""
    one = "stochastic" in defect or defect == "subnormal inputs are zero"
    return {"inputs": ["float32"]} if one else {}


@pytest.mark.parametrize("defect", PLANTED)
def test_what_is_right_raises_nothing(defect):
    (fmt, rules), right, _, _ = PLANTED[defect]
    report = T.conform(right, fmt, **rules, **inputs_of(defect))
    assert report.passed, str(report)
    assert report.diagnosis == ""


@pytest.mark.parametrize("defect", PLANTED)
def test_a_planted_defect_is_caught_and_named(defect):
    (fmt, rules), _, wrong, words = PLANTED[defect]
    report = T.conform(wrong, fmt, **rules, **inputs_of(defect))
    assert not report.passed
    assert report.diagnoses and words in report.diagnoses[0], str(report)
    assert report.exit_status == 1


def test_nothing_refuted_is_said_of_fp8_through_bfloat16():
    """1 + 2^-4 + 2^-7 tells four more bits, which bfloat16 has, from two and three."""
    _, _, wrong, _ = PLANTED["through bfloat16"]
    said = T.conform(wrong, "float8_e4m3fn").diagnosis
    assert "2 more bits" not in said and "3 more bits" not in said


def test_what_fits_nothing_known_is_described_by_what_is_true_of_it():
    right = quantizer()

    def wrong(x):
        y = right(x)
        return np.where((x > 3) & (x < 5), y + x % 1 / 16, y).astype(x.dtype)

    report = T.conform(wrong, "float8_e4m3fn")
    assert report.diagnoses == ()
    assert "positive inputs" in report.diagnosis and "of sizes above 3 to below 5" in report.diagnosis, str(report)


def test_one_type_of_input_alone_is_named():
    right, wrong = quantizer(), quantizer(flush=True)
    report = T.conform(lambda x: (wrong if x.dtype == np.float32 else right)(x), "float8_e4m3fn")
    assert report.diagnoses[0].startswith("flushes results that are subnormal to zero, only for inputs of float32")


def test_a_tie_with_what_would_follow_the_largest_value_is_explained_as_a_tie():
    text = T.explain(T.Behaviour("float8_e4m3fn"), np.array([464.0]), NAN)
    assert "half way to 480" in text and "even code" in text
    text = T.explain(T.Behaviour("float8_e5m2"), np.array([61440.0]), 57344.0)
    assert "half way to 65536" in text and "beyond the largest value" in text


def test_what_an_integer_quantizer_makes_of_nan_is_open():
    right = integers(np.rint, clipped)
    report = T.conform(lambda x: np.where(np.isnan(x), 7, right(x)).astype(x.dtype), "int8", inputs=["float32"])
    assert report.passed, str(report)


def test_two_defects_at_once_are_named_together():
    report = T.conform(quantizer(ties="away", flush=True), "float8_e4m3fn")
    assert report.diagnoses[0].startswith("ties_to_away and flushes results that are subnormal to zero")


def test_a_pair_for_which_few_inputs_speak_is_only_a_perhaps():
    """Minus zero is one input of each type: half of the evidence is nothing."""
    right = quantizer()

    def rarely_wrong(x):
        y = np.where(x == 0, 0.0, right(x))
        return np.where(np.isinf(x), np.copysign(0.0, x), y).astype(x.dtype)

    report = T.conform(rarely_wrong, "float8_e4m3fn", inputs=["float32"])
    assert report.diagnoses[0].startswith("gives zero for infinity and loses the sign of minus zero")
    assert "perhaps: only 0 held-out inputs" in report.diagnosis


def test_several_pairs_that_explain_everything_are_said_to_be_several():
    from refimpl.testing.checks.checks import Seen
    from refimpl.testing.diagnosis.diagnosis import diagnose

    x = np.array([-0.0, np.inf, 1.0])
    seen = Seen("quantize", x, np.array([-0.0, NAN, 1.0]), np.array([0.0, INF, 1.0]))
    found = diagnose(T.Behaviour("float8_e4m3fn"), [seen]).sentences
    assert len(found) > 1 and all("one of" in sentence for sentence in found)


def test_two_defects_are_named_that_do_together_what_neither_does_alone():
    """What lies just below a tie becomes one in float32, and goes away from zero: neither defect alone does that."""

    def mine(x):
        size = np.abs(x.astype(np.float32)).astype(np.float64)
        step = np.ldexp(1.0, np.maximum(np.frexp(size)[1] - 1, -6) - 3)
        rounded = np.floor(size / step + 0.5) * step
        return np.copysign(np.where(rounded > 448, np.nan, rounded), x).astype(x.dtype)

    with np.errstate(all="ignore"):
        report = T.conform(mine, "float8_e4m3fn")
    assert report.diagnoses[0].startswith("rounds float64 through float32 and ties_to_away"), report.diagnosis
