"""QPyTorch's `float_quantize`: a transcription of its float32 operations, the definition, the kernel.

The transcription runs the original's steps in NumPy's float32 arithmetic; the definition uses
fractions; the kernel integers.  All three agree bit for bit.
"""

import numpy as np
import pytest

from refimpl import ops
from refimpl.spec.qtorch import float_quantize

FORMATS = [(e, e_m - 1 - e) for e_m in (5, 6, 7, 8, 9) for e in (3, 4, 5) if 1 <= e_m - 1 - e <= 4]
FORMATS += [(e, m) for e in (6, 7, 8) for m in (7, 9, 11)]
FORMATS += [(1, 2), (2, 1), (2, 0), (4, 0), (8, 0), (8, 22), (5, 10), (7, 22), (1, 22)]


def transcription(bits, e, m, random=None):
    """The steps of QPyTorch's kernel on arrays of bits, in float32 arithmetic."""
    with np.errstate(all="ignore"):
        a = bits.view(np.float32)
        sign = bits & np.uint32(0x80000000)
        exponent = ((bits & np.uint32(0x7FFFFFFF)) >> np.uint32(23)).astype(np.int64) - 127
        lowest = 2 - 2 ** (e - 1)
        step = 2 ** (23 - m)
        noise = np.full(bits.shape, step // 2) if random is None else random % step
        noise = noise.astype(np.uint32)
        mask = np.uint32(2**32 - step)
        shift = np.copysign(np.float32(2.0**lowest), a)
        below = ((a + shift).view(np.uint32) + noise) & mask
        below = (below.view(np.float32) - shift).view(np.uint32)
        normal = (bits + noise) & mask
        top = 127 + 2 ** (e - 1)
        field = (normal >> np.uint32(23)) & np.uint32(0xFF)
        clipped = sign | np.uint32(min(top, 255) << 23) | (np.uint32(0x7FFFFF) & mask)
        normal = np.where(field > top, clipped, normal)
        return np.where(exponent < lowest, below, normal).astype(np.uint32)


def ours(bits, e, m, random=None):
    rounding = "nearest" if random is None else "stochastic"
    x = bits.view(np.float32)
    return ops.qtorch_float_quantize(x, e, m, rounding=rounding, random=random).view(np.uint32)


@pytest.mark.parametrize("e, m", FORMATS)
def test_every_top_half_pattern_and_random_ones_round_as_transcribed(e, m):
    rng = np.random.default_rng(e * 30 + m)
    top = np.arange(2**16, dtype=np.uint32) << np.uint32(16)
    step = np.uint32(2 ** (23 - m))
    near = (top[:, None] + np.array([0, 1, step // 2, step // 2 - 1, step - 1], np.uint32)).ravel()
    bits = np.concatenate([near, rng.integers(2**32, size=200_000, dtype=np.uint32)])
    assert (ours(bits, e, m) == transcription(bits, e, m)).all()
    random = rng.integers(2**32, size=bits.size, dtype=np.uint64)
    assert (ours(bits, e, m, random) == transcription(bits, e, m, random)).all()
    for word in (0, step - 1):
        random = np.full(bits.size, word, np.uint64)
        assert (ours(bits, e, m, random) == transcription(bits, e, m, random)).all()


@pytest.mark.parametrize("e, m", FORMATS)
def test_the_definition_rounds_as_transcribed(e, m):
    rng = np.random.default_rng(e * 30 + m)
    low = np.uint32(max(129 - 2 ** (e - 1), 1) << 23)  # around the smallest normal
    bits = np.concatenate(
        [
            rng.integers(2**32, size=300, dtype=np.uint32),
            low - rng.integers(0, min(int(low), 2**28), size=300).astype(np.uint32),
            np.array(
                [
                    0,
                    1,
                    2,
                    2**31,
                    2**31 + 1,
                    0x7F800000,
                    0xFF800000,
                    0x7FC00000,
                    0x7FFFFFFF,
                    0xFFFFFFFF,
                    0x7F7FFFFF,
                    0x007FFFFF,
                    0x00800000,
                ],
                np.uint32,
            ),
        ]
    )
    expected = transcription(bits, e, m)
    assert [float_quantize(int(b), e, m) for b in bits] == expected.tolist()
    random = rng.integers(2**32, size=bits.size, dtype=np.uint64)
    got = [float_quantize(int(b), e, m, "stochastic", int(r)) for b, r in zip(bits, random, strict=True)]
    assert got == transcription(bits, e, m, random).tolist()


def quantized(x, e, m, **rules):
    return float(ops.qtorch_float_quantize(np.float32(x).reshape(1), e, m, **rules)[0])


def test_the_quirks_are_the_printed_ones():
    # as its published source says
    assert quantized(1 + 1 / 16, 4, 3) == 1.125 and quantized(1 + 3 / 16, 4, 3) == 1.25  # ties away
    assert quantized(np.nextafter(np.float32(2.0**-10), np.float32(0)), 4, 3) == 2.0**-9  # twice
    for zero in (-0.0, -(2.0**-40)):
        assert not np.signbit(quantized(zero, 4, 3)) and quantized(zero, 4, 3) == 0
    assert quantized(np.inf, 4, 3) == 480 and quantized(-np.inf, 4, 3) == -480
    bits = np.array([0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32)
    assert ours(bits, 4, 3).view(np.float32).tolist() == [480, 0, 0]
    assert np.signbit(ours(bits, 4, 3).view(np.float32)).tolist() == [False, True, False]
    assert quantized(np.inf, 8, 7) == np.inf and np.isnan(quantized(np.nan, 8, 7))
    assert quantized(3.4028234663852886e38, 8, 7) == np.inf
    tiny = np.full(4, 2.0 ** (-6 - 24), np.float32)
    words = np.full(4, 2**32 - 1, np.uint64)
    assert not ops.qtorch_float_quantize(tiny, 4, 3, rounding="stochastic", random=words).any()


def test_in_the_normal_range_stochastic_rounding_is_ours():
    # StochasticA with N = 23 - m; the random integer is the word's leading bits there
    x = np.random.default_rng(1).uniform(1, 400, 5000).astype(np.float32)
    word = np.random.default_rng(2).integers(2**20, size=5000, dtype=np.uint64)
    theirs = ops.qtorch_float_quantize(x, 4, 3, rounding="stochastic", random=word)
    from refimpl.formats import format as format_of
    from refimpl.spec.float_codes import decode, encode, from_float, to_float

    fmt = format_of("e4m3")
    for v, w, t in zip(x[:500], word, theirs, strict=False):
        code = encode(from_float(float(v)), fmt, "stochastic_a", random=int(w), random_bits=20)
        assert to_float(decode(code, fmt)) == t
