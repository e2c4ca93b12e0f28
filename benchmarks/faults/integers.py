"""Integers without a scale: rounding, saturation, and what casts of C make of them."""

from __future__ import annotations

import numpy as np

from faults import Correct, Fault

RANGES = {
    "int8": (-127, 127),
    "int8_full": (-128, 127),
    "uint8": (0, 255),
    "int4_full": (-8, 7),
    "int4": (-7, 7),
    "uint4": (0, 15),
}


def integers(name, *, whole=np.rint, before=None, limit=None, after=None):
    """Round, then saturate; `limit(rounded, low, high)` replaces saturation."""
    low, high = RANGES[name]

    def quantize(x):
        v = x.astype(np.float64)
        if before:
            v = before(x).astype(np.float64)
        v = np.where(np.isnan(v), 0.0, v)
        y = whole(v)
        y = np.clip(y, low, high) if limit is None else limit(y, low, high)
        y = after(v, y) if after else y
        return (y + 0.0).astype(x.dtype)

    return quantize


def half_away(v):
    return np.copysign(np.floor(np.abs(v) + 0.5), v)


def exact_half_away(v):
    part = np.abs(v) - np.floor(np.abs(v))
    return np.copysign(np.floor(np.abs(v)) + (part >= 0.5), v)


def _by_tie(tied):
    """Round to nearest, and at ties to the value above or below; exact, as v - floor(v) is not."""

    def whole(v):
        tie = np.abs(v) - np.floor(np.abs(v)) == 0.5
        return np.where(tie, np.floor(v) + tied(np.floor(v)), np.rint(v))

    return whole


half_up = _by_tie(lambda below: 1)
half_down = _by_tie(lambda below: 0)
half_to_odd = _by_tie(lambda below: below % 2 == 0)


def c_cast(v):
    return np.trunc(v + 0.5)


def half_to_zero(v):
    return np.copysign(np.ceil(np.abs(v) - 0.5), v)


def wrapped(y, low, high):
    """Keep the low bits of what fits int32; what does not is the lowest int32, as on x86."""
    count = high - low + 1 if high - low in (255, 15) else high - low + 2
    y = np.where(np.abs(y) < 2.0**31, y, -(2.0**31))
    start = -(count // 2) if low < 0 else 0
    return (y - start) % count + start


def wrapped_64(y, low, high):
    count = high - low + 1 if high - low in (255, 15) else high - low + 2
    y = np.where(np.abs(y) < 2.0**63, y, 0)
    start = -(count // 2) if low < 0 else 0
    return np.mod(y - start, count) + start


def off_by_one_wraps(y, low, high):
    """Saturate to one more than the largest, whose cast is the lowest."""
    y = np.clip(y, low, high + 1)
    return np.where(y == high + 1, low, y)


def magic(v):
    """Round by adding and subtracting 1.5 * 2^23 in float32."""
    big = np.float32(1.5 * 2**23)
    return ((v.astype(np.float32) + big) - big).astype(np.float64)


def _fault(name, what, right, true=(), rules=None, **options):
    return Fault(f"{name}: {what}", {"format": name, **(rules or {})}, integers(name, **options), right, true)


def _faults():
    ways = {
        "half away": (exact_half_away, "ties_to_away"),
        "half away, by adding": (half_away, "ties_to_away|one half"),
        "half up": (half_up, "ties toward_positive|ties toward positive|half up"),
        "half down": (half_down, "ties toward_negative|ties toward negative|half down"),
        "half to odd": (half_to_odd, "ties to odd"),
        "half to zero": (half_to_zero, "ties toward zero"),
        "truncates": (np.trunc, "toward_zero"),
        "floor": (np.floor, "toward_negative"),
        "ceil": (np.ceil, "toward_positive"),
        "truncates one half more": (c_cast, "negative.*(toward|one half|truncat)|one half"),
    }
    names = list(RANGES)
    for k, (what, (whole, words)) in enumerate(ways.items()):
        for name in (names[k % 6], names[(k + 1) % 6]):
            if name.startswith("u") and what in ("half up", "half down"):
                name = "int8_full"
            yield _fault(name, what, (words,), whole=whole)
    for name in ("int8", "int8_full", "uint8", "int4_full"):
        yield _fault(name, "wraps", ("wraps",), limit=wrapped)
    yield _fault("int8_full", "wraps an int64", ("wraps",), limit=wrapped_64)
    yield _fault("uint4", "truncates and wraps", ("toward_zero and wraps",), whole=np.trunc, limit=wrapped)
    yield _fault("uint8", "truncates and wraps an int64", ("toward_zero and wraps",), whole=np.trunc, limit=wrapped_64)
    for name in ("int8_full", "int4"):
        yield _fault(name, "does not saturate", ("does not saturate",), limit=lambda y, low, high: y)
    yield _fault(
        "int8_full",
        "largest plus one is the lowest",
        ("largest.*wraps|one.*beyond.*lowest|wraps.*one",),
        limit=off_by_one_wraps,
    )
    yield _fault(
        "int8", "lowest code used", ("also uses the lowest code",), limit=lambda y, low, high: np.clip(y, -128, 127)
    )
    yield _fault(
        "int8_full",
        "lowest code unused",
        ("does not use the lowest code",),
        limit=lambda y, low, high: np.clip(y, -127, 127),
    )
    yield _fault("uint8", "largest code unused", ("largest value|254",), limit=lambda y, low, high: np.clip(y, 0, 254))
    yield _fault("uint8", "saturates as signed", ("127|is int8",), limit=lambda y, low, high: np.clip(y, 0, 127))
    yield _fault(
        "int8_full",
        "negatives are zero",
        ("negative.*zero|zero.*negative|lowest value.*0|is uint",),
        limit=lambda y, low, high: np.clip(y, 0, 127),
    )
    yield _fault("int8_full", "int7", ("63|int7",), limit=lambda y, low, high: np.clip(y, -64, 63))
    yield _fault(
        "uint8",
        "negatives to their magnitude",
        ("loses the sign|magnitude|absolute",),
        whole=lambda v: np.abs(np.rint(v)),
    )
    for what, limit, words in (
        (
            "infinities are zero",
            lambda y, low, high: np.where(np.isinf(y), 0, np.clip(y, low, high)),
            "zero for infinity",
        ),
        (
            "infinities are the lowest",
            lambda y, low, high: np.where(np.isinf(y), low, np.clip(y, low, high)),
            "lowest value for infinity",
        ),
        (
            "beyond int32 the lowest",
            lambda y, low, high: np.where(np.abs(y) >= 2.0**31, low, np.clip(y, low, high)),
            "2\\^31|2147483648|int32",
        ),
    ):
        yield _fault("int8_full", what, (words,), limit=limit)
    yield _fault(
        "int8_full", "float64 through float32", ("float64 through float32",), before=lambda x: x.astype(np.float32)
    )
    yield _fault("int8_full", "through float16", ("float16",), before=lambda x: x.astype(np.float16))
    yield _fault("uint8", "through bfloat16", ("bfloat16|to 7 bits",), before=lambda x: _bfloat16(x))
    yield _fault("int8", "magic number without saturation first", ("float32",), whole=magic)
    for mode, whole, words in (
        ("toward_zero", np.floor, "toward_negative"),
        ("toward_positive", np.rint, "ties_to_even"),
        ("toward_negative", np.trunc, "toward_zero"),
        ("ties_to_away", np.rint, "ties_to_even"),
        ("toward_positive", lambda v: np.copysign(np.ceil(np.abs(v)), v), "magnitude"),
    ):
        yield _fault("int8_full", f"asked {mode}, does {words}", (words,), rules={"rounding": mode}, whole=whole)
    yield _fault(
        "int8_full",
        "saturates before rounding to 127.5",
        ("largest.*wraps|128|lowest|wraps",),
        before=lambda x: np.clip(x, -128, 127.5),
        limit=wrapped,
    )


def _bfloat16(x):
    bits = x.astype(np.float32).view(np.uint32)
    bits = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), x, bits.view(np.float32))


def _correct():
    modes = {
        "ties_to_even": np.rint,
        "ties_to_away": exact_half_away,
        "toward_zero": np.trunc,
        "toward_positive": np.ceil,
        "toward_negative": np.floor,
    }
    for k, (mode, whole) in enumerate(modes.items()):
        for name in list(RANGES)[k % 2 :: 2]:
            yield Correct(f"{name} {mode}", {"format": name, "rounding": mode}, integers(name, whole=whole))
    yield Correct("int8_full, NaN is 7", {"format": "int8_full"}, integers("int8_full", after=lambda v, y: y))


FAULTS: list[Fault] = list(_faults())
CORRECT: list[Correct] = list(_correct())
