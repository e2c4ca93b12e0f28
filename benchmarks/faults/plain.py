"""Quantizers of float formats, value to value: rounding, range and special values."""

from __future__ import annotations

from functools import partial

import numpy as np

from faults import Correct, Fault
from faults._making import EIGHT, FIELDS, INF, NAN, Fields, by_scaling, by_table, magnitudes, rules

E4, E5, HALF = (FIELDS[name] for name in ("float8_e4m3fn", "float8_e5m2", "float16"))


def rounded_to(bits: int, x: np.ndarray, how=np.rint) -> np.ndarray:
    """Round to a number of bits after the leading one, whatever the exponent."""
    fraction, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(how(np.ldexp(fraction, bits + 1)), exponent - bits - 1)


def through(dtype):
    def before(x):
        return x.astype(dtype)

    return before


def through_bfloat16(x, add=True):
    """Round float32 to bfloat16 as is done on bits: add 0x7fff and the lowest kept bit, then cut."""
    bits = x.astype(np.float32).view(np.uint32)
    bits = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)) if add else bits
    y = (bits & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isnan(x), x, y)


def through_tf32(x):
    return np.where(np.isfinite(x), rounded_to(10, x.astype(np.float32)), x)


def cut_to(bits):
    return lambda x: np.where(np.isfinite(x), rounded_to(bits, x, np.trunc), x)


def more_bits(f: Fields, bits: int, how=np.rint):
    """Round first on the format's own grid with some bits more, subnormals too."""

    def before(x):
        v = np.where(np.isfinite(x), x, 0).astype(np.float64)
        power = np.maximum(np.frexp(v)[1] - 1, 1 - f.bias) - f.m - bits
        return np.where(np.isfinite(x), np.ldexp(how(np.ldexp(v, -power)), power), x)

    return before


def fault(name, what, make, right, true=(), **more) -> Fault:
    return Fault(f"{name}: {what}", rules(name, **more), make(FIELDS[name]), tuple(right), tuple(true))


def _rounding():
    """Double rounding, ties, modes."""
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float4_e2m1fn"):
        f = FIELDS[name]
        yield fault(name, "float64 through float32", partial(by_table, before=through(np.float32)), ["float32"])
        yield fault(
            name,
            "through bfloat16",
            partial(by_table, before=through_bfloat16),
            ["through bfloat16|to 7 bits", f"first to {7 - f.m} more bits"],
        )
        yield fault(name, "through float16", partial(by_table, before=through(np.float16)), ["float16"])
        yield fault(
            name,
            "through tf32",
            partial(by_table, before=through_tf32),
            ["tf32|through float16", f"first to {10 - f.m} more bits"],
        )
    for name, bits in (("float8_e4m3fn", 1), ("float8_e5m2", 2), ("float8_e4m3fn", 3), ("float6_e3m2fn", 2)):
        f = FIELDS[name]
        yield fault(
            name, f"first to {bits} more bits", partial(by_table, before=more_bits(f, bits)), [f"{bits} more bit"]
        )
    for name in ("float8_e4m3fn", "float16"):
        yield fault(
            name,
            "first cut to 13 bits",
            partial(by_table, before=cut_to(13)),
            ["sticky|truncates.*first|first truncates"],
        )
    yield fault(
        "float8_e4m3fn",
        "bfloat16 cut from float32",
        partial(by_table, before=partial(through_bfloat16, add=False)),
        ["sticky|truncates.*first|first truncates|bfloat16"],
    )
    for name in ("bfloat16", "float6_e2m3fn"):
        yield fault(name, "through float16", partial(by_table, before=through(np.float16)), ["float16"])
    ties = {
        "away": "ties_to_away|ties away",
        "zero": "ties toward zero",
        "odd": "ties to odd",
        "up": "ties toward_positive|ties toward positive|half up",
        "down": "ties toward_negative|ties toward negative",
        "away if negative": "(negative.*ties_to_away|ties_to_away.*negative|ties away.*negative)",
        "even if negative": "(positive.*ties_to_away|ties_to_away.*positive|ties away.*positive)",
    }
    for k, (tie, words) in enumerate(ties.items()):
        for name in EIGHT[k % 3 :: 3] + (["float4_e2m1fn", "bfloat16"] if tie in ("away", "zero") else []):
            yield fault(name, f"ties {tie}", partial(by_table, tie=tie), [words])
    modes = {"zero": "toward_zero", "away": "away from zero", "odd": "to_odd", "positive": "toward_positive"}
    for k, (mode, words) in enumerate(modes.items()):
        for name in EIGHT[k % 4 :: 4]:
            yield fault(name, f"rounds {mode}", partial(by_table, mode=mode), [words])
    for asked, done in (("toward_zero", "nearest"), ("toward_positive", "negative"), ("to_odd", "zero")):
        right = {"nearest": "ties_to_even", "negative": "toward_negative", "zero": "toward_zero"}[done]
        yield fault(
            "float8_e5m2", f"asked {asked}, rounds {done}", partial(by_table, mode=done), [right], rounding=asked
        )
    yield fault(
        "float8_e4m3fn",
        "toward_positive on magnitudes",
        partial(by_table, mode="away"),
        ["magnitude"],
        rounding="toward_positive",
    )


def _range():
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float16"):
        f = FIELDS[name]
        grid = magnitudes(f)
        top, step = grid[-2], grid[-1] - grid[-2]
        over = {
            "at the largest value": (lambda size, top=top: size > top, "above the largest value, before rounding"),
            "only beyond a step": (
                lambda size, end=top + step: size >= end,
                "until a whole step above the largest value",
            ),
            "only above half a step": (
                lambda size, half=top + step / 2: size > half,
                "saturates at exactly half a step",
            ),
        }
        if f.top % 2 == 0:
            over["at half a step"] = (
                lambda size, half=top + step / 2: size >= half,
                "overflows at exactly half a step",
            )
            over.pop("only above half a step")
        for what, (overflow, words) in over.items():
            yield fault(name, f"overflows {what}", partial(by_table, overflow=overflow), [words])
        for by, words in ((1, "one code too small"), (2, "largest value|2 codes too small")):
            yield fault(
                name, f"largest code {by} too small", lambda f, by=by: by_table(f._replace(top=f.top - by)), [words]
            )
    yield fault(
        "float8_e4m3fn", "240 is the largest", lambda f: by_table(f._replace(top=0x77)), ["240|is float8_e4m3|e4m3$"]
    )
    yield fault(
        "float8_e4m3fn", "480 is a number", lambda f: by_table(f._replace(top=0x7F)), ["special values as numbers|480"]
    )
    yield fault(
        "float8_e5m2",
        "no specials",
        lambda f: by_table(f._replace(top=0x7F, beyond=NAN)),
        ["special values as numbers|largest value"],
    )
    yield fault(
        "float8_e4m3fn",
        "infinity saturates, overflow does not",
        partial(by_table, after=lambda x, y: np.where(np.isinf(x), np.copysign(448, x), y)),
        ["saturates infinity"],
    )
    yield fault("float8_e4m3fn", "saturates", lambda f: by_table(f._replace(beyond=448.0)), ["saturates infinity and"])
    yield fault(
        "float8_e5m2",
        "saturates finite values",
        partial(by_table, after=lambda x, y: np.where(np.isfinite(x) & np.isinf(y), np.copysign(57344, x), y)),
        ["saturates finite overflow"],
    )
    yield fault(
        "float8_e5m2",
        "overflow is NaN",
        partial(by_table, after=lambda x, y: np.where(np.isfinite(x) & np.isinf(y), NAN, y)),
        ["gives NaN instead of infinity on finite overflow"],
    )
    yield fault(
        "float8_e5m2",
        "infinity is NaN",
        partial(by_table, after=lambda x, y: np.where(np.isinf(x), NAN, y)),
        ["NaN for inf"],
    )
    yield fault(
        "float8_e4m3fn",
        "overflow is zero",
        partial(by_table, after=lambda x, y: np.where(np.abs(x) >= 480, 0 * np.sign(x), y)),
        ["(gives )?zero.*(overflow|beyond|above)", "overflow.*zero"],
    )
    yield fault(
        "float8_e4m3fn",
        "saturates when asked to, but not infinity",
        partial(by_table, after=lambda x, y: np.where(np.isnan(y) & np.isfinite(x), np.copysign(448, x), y)),
        ["NaN for infinity|keeps infinity"],
        overflow="saturate",
    )
    yield fault(
        "float4_e2m1fn", "largest code too small", lambda f: by_table(f._replace(top=6)), ["one code too small"]
    )
    yield fault(
        "float6_e3m2fn",
        "wraps",
        partial(by_table, after=lambda x, y: np.where(np.abs(x) >= 30, np.copysign(0, x), y)),
        ["zero.*(overflow|beyond|above)|overflow.*zero"],
    )


def _special():
    zero = {
        "minus zero": (lambda x, y: np.where(x == 0, 0.0, y), "sign of minus zero"),
        "underflow": (lambda x, y: np.where((y == 0) & (x != 0), 0.0, y), "sign on underflow"),
        "zeros": (lambda x, y: np.where(y == 0, 0.0, y), "sign of zeros"),
    }
    for what, (after, words) in zero.items():
        for name in ("float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"):
            yield fault(name, f"loses the sign of {what}", partial(by_table, after=after), [words])
    for name in ("float8_e4m3fnuz", "float8_e5m2fnuz"):
        yield fault(name, "gives minus zero", lambda f: by_table(f._replace(minus_zero=True)), ["minus zero"])
    for name, value in (("float8_e4m3fn", 0.0), ("float8_e5m2", INF), ("float8_e4m3fn", 448.0), ("bfloat16", INF)):
        after = partial(lambda x, y, v: np.where(np.isnan(x), v, y), v=value)
        word = {0.0: "zero", INF: "infinity", 448.0: "the largest value"}[value]
        yield fault(name, f"NaN becomes {value:g}", partial(by_table, after=after), [f"gives {word} for NaN"])
    yield fault("float8_e5m2", "loses the sign", partial(by_table, after=lambda x, y: np.abs(y)), ["loses the sign$"])
    yield fault(
        "float6_e2m3fn",
        "NaN is the largest",
        partial(by_table, after=lambda x, y: np.where(np.isnan(x), 7.5, y)),
        ["largest value for NaN"],
    )


def _subnormals():
    for name in ("float8_e4m3fn", "float8_e5m2", "float16", "float6_e2m3fn"):
        f = FIELDS[name]
        normal, small = magnitudes(f)[[1 << f.m, 1]]
        after = {
            "results flushed": (
                lambda x, y, n=normal: np.where(np.abs(y) < n, np.copysign(0, x), y),
                "flushes results that are subnormal|no subnormals",
            ),
            "inputs flushed": (
                lambda x, y, n=normal: np.where(np.abs(x) < n, np.copysign(0, x), y),
                "below the smallest normal before rounding",
            ),
            "half the smallest goes up": (
                lambda x, y, s=small: np.where(np.abs(x) == s / 2, np.copysign(s, x), y),
                "exactly half of it",
            ),
            "below the smallest is zero": (
                lambda x, y, s=small: np.where(np.abs(x) < s, np.copysign(0, x), y),
                "zero for everything below the smallest",
            ),
            "never zero": (
                lambda x, y, s=small: np.where((y == 0) & (x != 0), np.copysign(s, x), y),
                "never underflows",
            ),
        }
        for what, (change, words) in after.items():
            yield fault(name, what, partial(by_table, after=change), [words])
    yield fault(
        "bfloat16",
        "subnormal inputs are zero",
        partial(by_table, before=lambda x: np.where(np.abs(x) < 2.0**-126, np.copysign(0, x), x)),
        ["subnormal inputs|below the smallest normal before rounding|subnormal in float32"],
    )


def _scaled():
    def half_up(v):
        return np.floor(v + 0.5)

    def c_cast(v):
        return np.trunc(v + 0.5)

    cases = {
        "floor of one half more": (partial(by_scaling, whole=half_up), "ties toward_positive|half up"),
        "truncates one half more, of negatives too": (
            partial(by_scaling, whole=c_cast),
            "negative.*(toward|one half|truncat)|adds one half",
        ),
        "floor": (partial(by_scaling, whole=np.floor), "toward_negative"),
        "smallest exponent one too large": (partial(by_scaling, emin=1), "smallest exponent|subnormal"),
        "smallest exponent one too small": (partial(by_scaling, emin=-1), "smallest exponent|subnormal"),
        "exponents are not bounded below": (partial(by_scaling, emin=-1100), "not bounded|smallest exponent|unbounded"),
        "one mantissa bit too few": (lambda f: by_scaling(f, m=f.m - 1), "mantissa bit|one bit|1 bit"),
        "one mantissa bit too many": (lambda f: by_scaling(f, m=f.m + 1), "mantissa bit|one bit|1 bit"),
        "sign by np.sign": (partial(by_scaling, sign=lambda y, v: np.sign(v) * np.abs(y)), "sign of minus zero"),
        "clips infinity": (
            partial(by_scaling, special=False, clip=lambda y, top: np.clip(y, -top, top)),
            "zero for (NaN|infinity)",
        ),
        "does not clip": (partial(by_scaling, clip=lambda y, top: y), "does not (saturate|overflow)|range"),
    }
    for what, (make, words) in cases.items():
        for name in ("float8_e4m3fn", "float8_e5m2"):
            yield fault(name, what, make, [words])
    yield fault(
        "float8_e5m2",
        "exponent by log2 in float32, toward zero",
        partial(
            by_scaling,
            whole=np.trunc,
            exponent=lambda v: np.floor(np.log2(np.maximum(np.abs(v), 1e-300).astype(np.float32))).astype(int),
            clip=lambda y, top: np.clip(y, -top, top),
        ),
        ["power"],
        rounding="toward_zero",
    )


FAULTS: list[Fault] = [*_rounding(), *_range(), *_special(), *_subnormals(), *_scaled()]
CORRECT: list[Correct] = []
