"""Quantizers to integers under a scale and a zero point, as their authors write them with NumPy: in exact
fractions of float64, to values and to codes; per tensor, per channel and per block."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from faults import Correct, Fault

F32, F64 = np.float32, np.float64
RANGES = {"int8": (-127, 127), "int8_full": (-128, 127), "uint8": (0, 255), "int4_full": (-8, 7), "uint4": (0, 15)}
TENTH = float(F32(0.1))


def half_even(v: Fraction) -> int:
    return round(v)


def half_away(v: Fraction) -> int:
    n = int(abs(v) + Fraction(1, 2))
    return -n if v < 0 else n


def half_up(v: Fraction) -> int:
    return (v + Fraction(1, 2)).__floor__()


def half_to_zero(v: Fraction) -> int:
    n = -((Fraction(1, 2) - abs(v)).__floor__())
    return -n if v < 0 else n


def exact(x, s, z, rule=half_even):
    """Return round(x / s) + z as Python integers, infinity as a huge one, NaN as z."""
    out = np.empty(x.shape, object)
    for i, (v, step, zero) in enumerate(zip(x.ravel().tolist(), s.ravel().tolist(), z.ravel().tolist(), strict=True)):
        if v != v:
            out.flat[i] = zero
        elif v in (np.inf, -np.inf):
            out.flat[i] = 10**400 if v > 0 else -(10**400)
        else:
            out.flat[i] = rule(Fraction(v) / Fraction(step)) + zero
    return out


def affine(
    name="int8_full",
    scale=TENTH,
    zero=7,
    *,
    rule=half_even,
    work=None,
    low=None,
    high=None,
    clip=None,
    back=None,
    spread=None,
    decode_zero=None,
    codes=False,
):
    """A quantizer; the keywords plant something: work computes the code before it is clipped."""
    lo, hi = RANGES[name]
    lo, hi = lo if low is None else low, hi if high is None else high

    def quantize(x):
        s, z = spread(x) if spread else (np.full(x.shape, scale), np.full(x.shape, zero))
        s, z = s.astype(F64), z.astype(np.int64)
        with np.errstate(all="ignore"):
            code = work(x, s, z) if work else exact(x, s, z, rule)
        if clip:
            code = clip(code)
        elif code.dtype == object:
            code = np.array([min(max(c, lo), hi) for c in code.ravel()], np.int64).reshape(x.shape)
        else:
            code = np.clip(np.where(np.isnan(code), z, code), lo, hi).astype(np.int64)
        if codes:
            return code
        zeros = decode_zero(z) if decode_zero else z
        with np.errstate(all="ignore"):
            y = back(code, s, zeros) if back else s * (code - zeros).astype(F64)
        return np.asarray(y).astype(x.dtype)

    return quantize


def wrapped(bits, signed):
    """Convert to 64 bits and keep the lowest; what 64 bits do not hold is -2^63."""

    def clip(code):
        code = code.astype(F64)
        huge = ~(np.abs(code) < 2.0**63)
        whole = np.where(huge, 0, code).astype(np.int64)
        low = np.where(huge, 0, whole & ((1 << bits) - 1))
        return np.where((low >> (bits - 1)) & int(signed), low - (1 << bits), low)

    return clip


def plain(x, s, z):
    return np.rint(x.astype(F64) / s) + z


def in_float32(x, s, z):
    return np.rint(x.astype(F32) / s.astype(F32)).astype(F64) + z


def reciprocal(x, s, z):
    return np.rint(x.astype(F32) * (F32(1) / s.astype(F32))).astype(F64) + z


def early(x, s, z):
    return np.rint(x.astype(F64) / s + z)


def fbgemm(x, s, z):
    return np.rint((x.astype(F32) * (F32(1) / s.astype(F32)) + z.astype(F32)).astype(F32)).astype(F64)


def int32_first(x, s, z):
    q = np.rint(x.astype(F64) / s)
    q = np.where(np.abs(q) < 2.0**31, q, -(2.0**31))
    return q + z


def truncated(x, s, z):
    return np.trunc(x.astype(F64) / s) + z


def plus_half(x, s, z):
    return np.floor(x.astype(F64) / s + 0.5) + z


def bf16(x):
    bits = np.asarray(x, F32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(F32)


CHANNELS = np.array([0.1, 0.5, 2.0**-10, 7.0], F32)
ZEROS = np.array([3, -128, 127, 5])
TILES = np.array([[0.1, 0.5], [0.003, 7.0]], F32)
TILE_ZEROS = np.array([[0, 255], [128, 9]])


def by_rows(x, scales=CHANNELS, zeros=ZEROS):
    return np.repeat(scales[:, None], x.shape[1], 1), np.repeat(zeros[:, None], x.shape[1], 1)


def by_columns(x):
    return np.repeat(CHANNELS[None], x.shape[0], 0), np.repeat(ZEROS[None], x.shape[0], 0)


def by_tiles(x, size=16):
    return np.repeat(TILES, size, 1), np.repeat(TILE_ZEROS, size, 1)


ROWS = {"scale": CHANNELS, "zero_point": ZEROS, "axis": 0}
COLUMNS = {"scale": CHANNELS, "zero_point": ZEROS, "axis": 1}
BLOCKS = {"scale": TILES, "zero_point": TILE_ZEROS, "block_size": 16}


def fault(words, right, implementation, name="int8_full", true=(), **expected):
    expected = {"scale": TENTH, "zero_point": 7} | expected
    return Fault(f"{name}: {words}", {"format": name, **expected}, implementation, (right,), true)


FAULTS = [
    fault("ties away from zero", "ties_to_away", affine(rule=half_away)),
    fault("half up", "half up", affine(rule=half_up)),
    fault("ties toward zero", "ties toward zero", affine(rule=half_to_zero)),
    fault("truncates", "toward_zero", affine(work=truncated), inputs=["float32"]),
    fault("floor(x / s + 1/2)", "half up|one half", affine(work=plus_half), inputs=["float32"]),
    fault("even where away is meant", "ties_to_even", affine(), rounding="ties_to_away"),
    fault("nearest where down is meant", "ties_to_even", affine(), rounding="toward_negative"),
    fault("divides in float32", "float32, and so rounds twice", affine(work=in_float32)),
    fault("divides in float32", "float32, and so rounds twice", affine(work=in_float32), inputs=["float32"]),
    fault("reciprocal in float32", "reciprocal of the scale in float32", affine(work=reciprocal), inputs=["float32"]),
    fault("zero point before rounding", "zero point before rounding", affine(work=early)),
    fault("as FBGEMM", "reciprocal, all in float32", affine(work=fbgemm), inputs=["float32"]),
    fault("zero point ignored", "ignores the zero point", affine(zero=0)),
    fault("zero point one off", "zero points one too large", affine(zero=8)),
    fault(
        "zero point stored minus one",
        "zero points one too small",
        affine("uint4", decode_zero=lambda z: (z - 1) % 16, zero=3),
        "uint4",
        zero_point=3,
    ),
    fault(
        "zero point 0 read as 15",
        "0 as 15",
        affine("uint4", decode_zero=lambda z: (z - 1) % 16, zero=0),
        "uint4",
        zero_point=0,
    ),
    fault("zero point not subtracted", "not subtract the zero point", affine(back=lambda c, s, z: s * c)),
    fault("zero point added in decoding", "adds the zero point in decoding", affine(back=lambda c, s, z: s * (c + z))),
    fault("zero point not added", "not add the zero point|ignores", affine(work=lambda x, s, z: exact(x, s, 0 * z))),
    fault("wraps around", "wraps", affine(work=plain, clip=wrapped(8, True)), inputs=["float32"]),
    fault("wraps around", "wraps", affine("uint8", work=plain, clip=wrapped(8, False)), "uint8", inputs=["float32"]),
    fault("wraps around", "wraps", affine("uint4", work=plain, clip=wrapped(4, False)), "uint4", inputs=["float32"]),
    fault("-128 not used", "does not use the lowest", affine(low=-127)),
    fault("-128 used", "also uses the lowest", affine("int8", low=-128), "int8"),
    fault("largest code of int8 for uint8", "largest signed code", affine("uint8", high=127), "uint8"),
    fault("254 the largest", "does not use the largest", affine("uint8", high=254), "uint8"),
    fault(
        "clipped before the zero point",
        "before the zero point is added",
        affine(
            work=lambda x, s, z: np.array([min(max(c, -128), 127) for c in exact(x, s, 0 * z).ravel()], np.int64) + z
        ),
    ),
    fault("through int32", "32 bits before", affine(work=int32_first), inputs=["float32"]),
    fault("scale in float16", "scales to float16", affine(scale=float(np.float16(TENTH)))),
    fault("scale in bfloat16", "scales to bfloat16", affine(scale=float(bf16(TENTH)))),
    fault(
        "input in float16",
        "input to float16",
        affine(work=lambda x, s, z: exact(x.astype(np.float16).astype(F64), s, z)),
    ),
    fault(
        "input in bfloat16",
        "input to bfloat16",
        affine(work=lambda x, s, z: exact(bf16(x.astype(F32)).astype(F64), s, z)),
        inputs=["float32"],
    ),
    fault("scale twice too large", "twice too large", affine(scale=2 * TENTH)),
    fault("codes for values", "returns codes", affine(back=lambda c, s, z: c.astype(F64))),
    fault("does not saturate", "does not saturate", affine(work=plain, clip=lambda c: c), inputs=["float32"]),
    fault(
        "negative values lost", "negative values for zero", affine(work=lambda x, s, z: exact(np.maximum(x, 0), s, z))
    ),
    fault("sign lost", "loses the sign$", affine(work=lambda x, s, z: exact(np.abs(x), s, z))),
    fault(
        "infinity as the zero point",
        "zero point for infinities",
        affine(work=lambda x, s, z: exact(np.where(np.isinf(x), 0, x), s, z)),
    ),
    fault("results in bfloat16", "results to bfloat16", affine(back=lambda c, s, z: bf16(s * (c - z)))),
    fault(
        "first scale for all",
        "first scale for all",
        affine(spread=lambda x: by_rows(x, CHANNELS[:1].repeat(4))),
        **ROWS,
    ),
    fault(
        "first zero point for all",
        "first zero point for all",
        affine(spread=lambda x: by_rows(x, zeros=ZEROS[:1].repeat(4))),
        **ROWS,
    ),
    fault(
        "zero points ignored", "ignores the zero point", affine(spread=lambda x: by_rows(x, zeros=0 * ZEROS)), **ROWS
    ),
    fault("ties away, by columns", "ties_to_away", affine(spread=by_columns, rule=half_away), **COLUMNS),
    fault("half up, by blocks", "half up", affine("uint8", spread=by_tiles, rule=half_up), "uint8", **BLOCKS),
    fault(
        "wraps, by blocks",
        "wraps",
        affine("uint8", work=plain, spread=by_tiles, clip=wrapped(8, False)),
        "uint8",
        **BLOCKS,
        inputs=["float32"],
    ),
    fault(
        "ties away and lowest code lost", "ties_to_away.*lowest|lowest.*ties_to_away", affine(rule=half_away, low=-127)
    ),
    fault(
        "half up and wraps",
        "half up.*wraps|wraps.*half up",
        affine(work=plus_half, clip=wrapped(8, True)),
        inputs=["float32"],
    ),
    fault("ties away, codes", "ties_to_away", (affine(rule=half_away, codes=True), None)),
    fault("zero point forgotten by decode", "zero point", (None, lambda c: (c * TENTH).astype(F32))),
]

CORRECT = [
    Correct("int8_full", {"format": "int8_full", "scale": TENTH, "zero_point": 7}, affine()),
    Correct(
        "int8, codes",
        {"format": "int8", "scale": TENTH},
        (affine("int8", zero=0, codes=True), lambda c: F32(TENTH) * c),
    ),
    Correct("uint8, zero point 0", {"format": "uint8", "scale": 0.25, "zero_point": 0}, affine("uint8", 0.25, 0)),
    Correct("uint8, zero point 255", {"format": "uint8", "scale": TENTH, "zero_point": 255}, affine("uint8", zero=255)),
    Correct(
        "int4_full, half away",
        {"format": "int4_full", "scale": 0.7, "zero_point": -8, "rounding": "ties_to_away"},
        affine("int4_full", 0.7, -8, rule=half_away),
    ),
    Correct(
        "int8, scale a power of two, in float64",
        {"format": "int8", "scale": 2.0**-7},
        affine("int8", 2.0**-7, 0, work=lambda x, s, z: np.rint(x / s).astype(F64)),
    ),
    Correct("int8_full by rows", {"format": "int8_full", **ROWS}, affine(spread=by_rows)),
    Correct("int8_full by columns", {"format": "int8_full", **COLUMNS}, affine(spread=by_columns)),
    Correct("uint8 by blocks", {"format": "uint8", **BLOCKS}, affine("uint8", spread=by_tiles)),
]
