"""What the families share: float formats as tables, and three ways to write a quantizer by hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

INF, NAN = np.inf, np.nan


class Fields(NamedTuple):
    """A float format: `top` is the code of its largest value, `beyond` what overflow gives."""

    e: int
    m: int
    bias: int
    top: int
    beyond: float | None = None  # None: the largest value
    minus_zero: bool = True


FIELDS = {
    "float8_e4m3fn": Fields(4, 3, 7, 0x7E, NAN),
    "float8_e5m2": Fields(5, 2, 15, 0x7B, INF),
    "float8_e4m3fnuz": Fields(4, 3, 8, 0x7F, NAN, False),
    "float8_e5m2fnuz": Fields(5, 2, 16, 0x7F, NAN, False),
    "float8_e4m3b11fnuz": Fields(4, 3, 11, 0x7F, NAN, False),
    "float8_e4m3": Fields(4, 3, 7, 0x77, INF),
    "float8_e3m4": Fields(3, 4, 3, 0x6F, INF),
    "float6_e2m3fn": Fields(2, 3, 1, 0x1F),
    "float6_e3m2fn": Fields(3, 2, 3, 0x1F),
    "float4_e2m1fn": Fields(2, 1, 1, 0x7),
    "float16": Fields(5, 10, 15, 0x7BFF, INF),
    "bfloat16": Fields(8, 7, 127, 0x7F7F, INF),
}
EIGHT = [name for name in FIELDS if name.startswith("float8")]


def rules(name: str, **more) -> dict:
    """Return the arguments of `conform`: sixteen bits from float32 alone, as their tables are long."""
    return {"format": name, **({"inputs": ["float32"]} if "16" in name else {}), **more}


def magnitudes(f: Fields) -> np.ndarray:
    """Return the values of the codes without a sign, and one more, to which overflow rounds."""
    codes = np.arange(f.top + 2)
    field, mantissa = codes >> f.m, codes & ((1 << f.m) - 1)
    significand = np.where(field > 0, (1 << f.m) + mantissa, mantissa)
    return np.ldexp(significand.astype(float), np.maximum(field, 1) - f.bias - f.m)


def signed(x, y, f: Fields):
    """Give magnitudes y the signs of x, and NaN where x is."""
    y = np.where((y == 0) & (not f.minus_zero), 0.0, np.copysign(y, x))
    return np.where(np.isnan(x), NAN if f.beyond is not None else 0.0, y)


def by_table(f: Fields, *, mode="nearest", tie="even", before=None, after=None, grid=None, overflow=None):
    """Look values up in the table of all of them.

    `before(x)` and `after(x, y)` change inputs and results (float64); `overflow(size)` says what overflows.
    """
    grid = magnitudes(f) if grid is None else grid
    beyond = grid[-2] if f.beyond is None else f.beyond

    def quantize(x):
        wide = x.astype(np.float64)
        if before:
            wide = before(x).astype(np.float64)
        size, negative = np.abs(wide), np.signbit(wide)
        k = np.clip(np.searchsorted(grid, size, side="right") - 1, 0, len(grid) - 2)
        middle = (grid[k] + grid[k + 1]) / 2
        inexact = size > grid[k]
        odd = k % 2 == 1
        up = {
            "nearest": (size > middle) | (size == middle) & (odd if tie == "even" else _tied(tie, odd, negative)),
            "zero": np.zeros_like(odd),
            "away": inexact,
            "positive": inexact & ~negative,
            "negative": inexact & negative,
            "odd": inexact & ~odd,
        }[mode]
        over = (k + up == len(grid) - 1) | np.isinf(wide)
        if overflow:
            over = overflow(size)
        stays = {"zero": True, "positive": negative, "negative": ~negative, "odd": True}.get(mode, False)
        y = np.where(
            over, np.where(stays & np.isfinite(wide), grid[-2], beyond), grid[np.minimum(k + up, len(grid) - 2)]
        )
        y = signed(wide, y, f)
        return (after(x.astype(np.float64), y) if after else y).astype(x.dtype)

    return quantize


def _tied(tie, odd, negative):
    return {
        "away": True,
        "zero": False,
        "odd": ~odd,
        "up": ~negative,
        "down": negative,
        "away if negative": odd | negative,
        "even if negative": odd | ~negative,
    }[tie]


def by_scaling(f: Fields, *, whole=np.rint, emin=0, m=None, exponent=None, clip=None, sign=None, special=True):
    """Divide by the unit in the last place, round to an integer, multiply."""
    top = magnitudes(f)[-2]
    beyond = top if f.beyond is None else f.beyond
    m = f.m if m is None else m

    def quantize(x):
        v = x.astype(np.float64)
        safe = np.where(np.isfinite(v), v, 0.0)
        power = np.frexp(safe)[1] - 1 if exponent is None else exponent(safe)
        power = np.maximum(power, 1 - f.bias + emin)
        y = np.ldexp(whole(np.ldexp(safe, m - power)), power - m)
        y = np.where(np.abs(y) > top, np.copysign(beyond, y), y) if clip is None else clip(y, top)
        y = np.copysign(y, v) if sign is None else sign(y, v)
        if special:
            y = np.where(np.isinf(v), np.copysign(beyond, v), y)
            y = np.where(np.isnan(v), NAN if f.beyond is not None else 0.0, y)
        if not f.minus_zero:
            y = np.where(y == 0, 0.0, y)
        return y.astype(x.dtype)

    return quantize


def as_hardware(f: Fields, flaw: str = ""):
    """Round the bits of a float64 with guard and sticky bits, as a circuit does, with one flaw of it."""
    grid = magnitudes(f)
    beyond = grid[-2] if f.beyond is None else f.beyond
    bias = f.bias + {"bias one too large": 1, "bias one too small": -1}.get(flaw, 0)

    def quantize(x):
        v = x.astype(np.float64)
        bits = v.view(np.uint64)
        biased = (bits >> np.uint64(52) & np.uint64(0x7FF)).astype(np.int64)
        fraction = (bits & np.uint64((1 << 52) - 1)).astype(np.int64)
        significand = np.where(biased > 0, fraction | 1 << 52, fraction)
        exponent = np.maximum(biased, 1) - 1023 + bias  # the field of the result, if that is normal
        is_nan, is_inf = (biased == 2047) & (fraction != 0), (biased == 2047) & (fraction == 0)
        shift = 52 - f.m + np.maximum(1 - exponent, 0)
        if flaw == "shifts subnormals one too far":
            shift += exponent < 1
        if flaw == "shifts subnormals one too little":
            shift -= exponent < 1
        shift = np.minimum(shift, 62)
        field = np.maximum(exponent, 1)
        if flaw in ("rounds before the shift of subnormals", "rounds before the shift and truncates"):
            significand = _nearest(significand, np.full(shift.shape, 52 - f.m)) << (52 - f.m)
        kept = significand >> shift
        guard = significand >> (shift - 1) & 1
        rest = significand & ((1 << (shift - 1)) - 1)
        if flaw == "guard bit one too low":
            guard, rest = significand >> (shift - 2) & 1, significand & ((1 << (shift - 2)) - 1)
        sticky = rest != 0
        if flaw.startswith("sticky of"):
            sticky = rest >> np.maximum(shift - 1 - int(flaw.split()[2]), 0) != 0
        round_up = guard & (sticky | kept & 1)
        if flaw == "no sticky bit":
            round_up = guard & kept & 1
        elif flaw == "half up":
            round_up = guard
        elif flaw == "no rounding":
            round_up = guard * 0
        elif flaw == "ties to odd":
            round_up = guard & (sticky | (kept & 1 == 0))
        elif flaw == "no lowest bit":
            round_up = guard & sticky
        elif flaw == "sticky alone":
            round_up = (guard | sticky).astype(np.int64)
        elif flaw == "rounds before the shift and truncates":
            round_up = np.where(exponent < 1, 0, round_up)
        elif flaw == "truncates subnormals":
            round_up = np.where(exponent < 1, 0, round_up)
        elif flaw == "subnormals half up":
            round_up = np.where(exponent < 1, guard, round_up)
        rounded = kept + round_up
        if flaw == "carry lost":
            rounded = np.where(rounded == 2 << f.m, 1 << f.m, rounded)
        if flaw == "carry saturates the mantissa":
            rounded = np.where(rounded == 2 << f.m, (2 << f.m) - 1, rounded)
        if flaw == "carry from subnormals lost":
            rounded = np.where((exponent < 1) & (rounded == 1 << f.m), 0, rounded)
        if flaw == "carry keeps the mantissa":
            rounded = np.where(rounded == 2 << f.m, (2 << f.m) + (1 << f.m >> 1), rounded)
        code = rounded + (field - 1 << f.m)
        if flaw == "flushes after rounding":
            code = np.where(code < 1 << f.m, 0, code)
        if flaw == "flushes before rounding":
            code = np.where(exponent < 1, 0, code)
        if flaw == "flushes subnormals to the smallest normal":
            code = np.where((exponent < 1) & (significand > 0), 1 << f.m, code)
        if flaw == "wraps":
            y = np.where(
                code > f.top, grid[np.minimum(code & (1 << f.e + f.m) - 1, f.top)], grid[np.minimum(code, f.top)]
            )
        elif flaw == "the exponent saturates":  # but not the mantissa
            last = f.top >> f.m
            y = grid[np.minimum(np.where(field > last, last << f.m | code & (1 << f.m) - 1, code), f.top)]
        else:
            y = np.where(code > f.top, beyond, grid[np.minimum(code, f.top)])
        y = np.where(is_inf, beyond, y)
        if flaw == "NaN overflows":
            y = np.where(
                is_nan, np.copysign(INF if f.beyond == INF else grid[-2], v), signed(np.where(is_nan, 0, v), y, f)
            )
        else:
            y = signed(v, y, f)
        return y.astype(x.dtype)

    return quantize


def _nearest(significand, shift):
    """Shift right and round to nearest, ties to even, by the bit trick of adding half less one."""
    return significand + (1 << (shift - 1)) - 1 + (significand >> shift & 1) >> shift


FLAWS = {  # flaw: the diagnoses that name it
    "bias one too large": ("bias one too large",),
    "bias one too small": ("bias one too small",),
    "shifts subnormals one too far": ("subnormal.*(shift|half|exponent)",),
    "shifts subnormals one too little": ("subnormal.*(shift|twice|exponent)",),
    "rounds before the shift of subnormals": ("rounds twice.*subnormal|subnormals? twice|before.*subnormal grid",),
    "rounds before the shift and truncates": ("(rounds|rounding).*before.*subnormal",),
    "guard bit one too low": ("guard bit",),
    "sticky of 2 bits": ("sticky",),
    "sticky of 6 bits": ("sticky",),
    "no sticky bit": ("sticky",),
    "half up": ("ties_to_away",),
    "no rounding": ("toward_zero",),
    "ties to odd": ("ties to odd",),
    "no lowest bit": ("ties toward zero",),
    "sticky alone": ("away from zero",),
    "truncates subnormals": ("subnormal.*toward_zero|toward_zero.*subnormal|truncates.*subnormal",),
    "subnormals half up": ("subnormal.*ties_to_away|ties_to_away.*subnormal",),
    "carry lost": ("carry into the exponent",),
    "carry saturates the mantissa": ("carr(y|ies).*(saturat|largest)|stays.*below.*power",),
    "carry from subnormals lost": ("carry.*subnormal",),
    "carry keeps the mantissa": ("carr(y|ies).*mantissa",),
    "flushes after rounding": ("flushes results that are subnormal", "no subnormals"),
    "flushes before rounding": ("flushes everything below the smallest normal before rounding",),
    "flushes subnormals to the smallest normal": ("smallest normal.*subnormal",),
    "wraps": ("wraps",),
    "the exponent saturates": ("exponent.*saturat|saturat.*exponent|overflow.*(keep|mantissa)",),
    "NaN overflows": ("(infinity|largest value).* for NaN|for NaN",),
}
