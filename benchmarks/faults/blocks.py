"""Quantizers of blocks that share a scale, as their authors write them with NumPy: MX by the exponent of the
largest magnitude and a table of elements, NVFP4 with its two scales; to values, and to codes and back."""

from __future__ import annotations

import numpy as np

from faults import Correct, Fault

INF, NAN = np.inf, np.nan
F32, F64 = np.float32, np.float64


def table(exponent_bits, mantissa_bits, bias, largest) -> np.ndarray:
    """Return the magnitudes of elements by code."""
    found = []
    for code in range(largest + 1):
        field, m = code >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
        found.append(
            m * 2.0 ** (1 - bias - mantissa_bits) if field == 0 else (1 + m / 2**mantissa_bits) * 2.0 ** (field - bias)
        )
    return np.array(found)


TABLES = {  # the magnitudes of elements, and the exponent of the largest power of two
    "mxfp4_e2m1": (table(2, 1, 1, 7), 2),
    "mxfp6_e2m3": (table(2, 3, 1, 31), 2),
    "mxfp6_e3m2": (table(3, 2, 3, 31), 4),
    "mxfp8_e4m3": (table(4, 3, 7, 126), 8),
    "mxfp8_e5m2": (table(5, 2, 15, 123), 15),
    "mxint8": (np.arange(128) / 64, 0),
}
E2M1, E4M3 = table(2, 1, 1, 7), table(4, 3, 7, 126)


def nearest(v, grid, tie="even", beyond="saturate"):
    """Look magnitudes up in a table."""
    size = np.abs(v)
    k = np.clip(np.searchsorted(grid, size, side="right") - 1, 0, len(grid) - 2)
    middle = (grid[k] + grid[k + 1]) / 2
    up = {
        "even": (size > middle) | (size == middle) & (k % 2 == 1),
        "away": size >= middle,
        "zero": size > middle,
        "half up": (size > middle) | (size == middle) & (v > 0),
        "down": np.zeros(v.shape, bool),
        "up": size > grid[k],
        "floor": (v < 0) & (size > grid[k]),
        "ceil": (v > 0) & (size > grid[k]),
        "odd": (size > middle) | (size == middle) & (k % 2 == 0),
    }[tie]
    y = np.where(size >= grid[-1], grid[-1], grid[k + up])
    last = grid[-1] + (grid[-1] - grid[-2]) / 2
    if beyond == "clip late":
        y = np.where(size >= last, size, y)
    elif beyond != "saturate":
        y = np.where(size > last, beyond, y)
    return np.where(np.isnan(v), NAN, np.copysign(y, v))


def bf16(x):
    """Round float32 to bfloat16, as bits: nearest even."""
    bits = np.asarray(x, F32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(F32)


def cut(x):
    """Cut float32 to bfloat16."""
    return (np.asarray(x, F32).view(np.uint32) & np.uint32(0xFFFF0000)).view(F32)


def floor_exponent(top, grid, emax):
    return np.frexp(top)[1] - 1 - emax


def ceil_exponent(top, grid, emax):
    e = np.frexp(top / grid[-1])[1].astype(int) - 2
    for _ in range(2):
        e = e + (np.ldexp(grid[-1], e) < top)
    return e


def mx(
    name="mxfp4_e2m1",
    *,
    size=32,
    axis=-1,
    cast=None,
    top=None,
    exponent=floor_exponent,
    low=-127,
    high=127,
    clamp=None,
    divide=None,
    element=None,
    tie="even",
    beyond="saturate",
    flush=0.0,
    after=None,
    propagate=True,
    decoded=0,
    zeros=None,
    grid=None,
    emax=None,
):
    """An MX quantizer, value to value; every keyword plants something."""
    own_grid, own_emax = TABLES[name]
    grid = own_grid if grid is None else grid
    emax = own_emax if emax is None else emax

    def quantize(x):
        wide = np.moveaxis((cast(x) if cast else x).astype(F64), axis, -1)
        length = size or wide.shape[-1]
        blocks = wide.reshape(-1, length)
        largest = top(blocks) if top else np.abs(blocks).max(axis=1, keepdims=True)
        bad = ~np.isfinite(largest)
        safe = np.where(bad | (largest == 0), 1.0, largest)
        e = np.where(largest == 0, low, exponent(safe, grid, emax))
        e = clamp(e) if clamp else np.clip(e, low, high)
        scale = 2.0 ** e.astype(F64)
        v = divide(blocks, scale) if divide else blocks / scale
        y = element(v) if element else nearest(v, grid, tie, beyond)
        if flush:
            y = np.where(np.abs(y) < flush, np.copysign(0, y), y)
        y = y * scale * 2.0**decoded
        if propagate:
            y = np.where(bad, NAN, y)
        if zeros is not None:
            y = np.where((blocks == 0).all(axis=1, keepdims=True), zeros, y)
        y = np.moveaxis(y.reshape(wide.shape), -1, axis)
        return (after(x, y) if after else y).astype(x.dtype)

    return quantize


def of(fault):
    """Return a rule of exponents that has the logarithm of the largest magnitude rounded somehow."""
    return lambda top, grid, emax: fault(np.log2(top)) - emax


def once(exact, grid, tie="even"):
    """Round quotients that may lie a hair beside a tie: the float64 quotient is nudged by what it lacks."""
    return nearest(exact, grid, tie)


def e4m3(r, tie="even", beyond="saturate"):
    """Round to positive E4M3."""
    return nearest(r, E4M3, tie, beyond)


def nvfp4(
    *,
    size=16,
    cast=None,
    tensor=None,
    given=None,
    ratio=None,
    scale=e4m3,
    zero=None,
    divide=None,
    tie="even",
    multiply=None,
    top=None,
    propagate=True,
    grid=E2M1,
    after=None,
    per_row=False,
):
    """An NVFP4 quantizer, value to value; every keyword plants something."""

    def quantize(x):
        if x.size == 0:
            return x
        x0, x = x, cast(x) if cast else x
        blocks = x.astype(F64).reshape(len(x), -1, min(size, x.shape[-1]))
        largest = top(blocks) if top else np.abs(blocks).max(axis=-1, keepdims=True)
        bad = ~np.isfinite(largest)
        most = np.where(bad, 0, largest).max(axis=(1, 2), keepdims=True) if per_row else np.where(bad, 0, largest).max()
        if given is not None:
            t = F64(given)
        elif tensor:
            t = np.where(most == 0, 1.0, tensor(most))
        else:
            t = np.where(most == 0, 1.0, F32(np.clip(most / 2688, 2.0**-149, np.finfo(F32).max)).astype(F64))
        r = ratio(largest, t) if ratio else largest / (6 * t)
        s = scale(np.where(bad, 1.0, r))
        s = zero(s) if zero else np.where(s == 0, 1.0, s)
        v = divide(blocks, s, t) if divide else blocks / (s * t)
        y = nearest(v, grid, tie)
        y = multiply(y, s, t) if multiply else y * (s * t)
        if propagate:
            y = np.where(bad, NAN, y)
        y = y.reshape(x.shape)
        return (after(x0, y) if after else y).astype(x0.dtype)

    return quantize


# -- codes -----------------------------------------------------------------------------------------


def encoder(name, *, low_first=True, packed=False, bias=127, swap_scales=False, exponent=floor_exponent):
    """Encode MX with float elements: codes (packed, where asked) and scale codes."""
    grid, emax = TABLES[name]
    bits = {8: 4, 32: 6}.get(len(grid), 8)

    def encode(x):
        blocks = x.astype(F64).reshape(-1, 32)
        largest = np.abs(blocks).max(axis=1, keepdims=True)
        bad = ~np.isfinite(largest)
        e = np.clip(
            np.where((largest == 0) | bad, -127, exponent(np.where(bad | (largest == 0), 1, largest), grid, emax)),
            -127,
            127,
        )
        v = np.where(bad, 0, blocks) / 2.0 ** e.astype(F64)
        y = nearest(v, grid)
        codes = np.searchsorted(grid, np.abs(y)).astype(np.uint8)
        if name == "mxint8":
            codes = np.where(np.signbit(y), -codes.astype(int), codes).astype(np.int8)
        else:
            codes |= (np.signbit(y) << (bits - 1)).astype(np.uint8)
        scales = np.where(bad, 255, e + bias).astype(np.uint8).reshape(x.shape[0], -1)
        codes = codes.reshape(x.shape)
        if packed:
            first, second = (codes[..., ::2], codes[..., 1::2]) if low_first else (codes[..., 1::2], codes[..., ::2])
            codes = first | second << 4
        return codes, scales[:, ::-1] if swap_scales else scales

    return encode


def decoder(
    name, *, low_first=True, packed=False, bias=127, subnormal=True, nan=True, least=True, integer=64, signed=True
):
    """Decode MX."""
    grid, _ = TABLES[name]
    bits = {8: 4, 32: 6}.get(len(grid), 8)

    def decode(codes, scales):
        if packed:
            low, high = codes & 15, codes >> 4
            codes = np.stack([low, high] if low_first else [high, low], axis=-1).reshape(len(codes), -1)
        if name == "mxint8":
            v = codes.astype(np.int8).astype(F64) / integer
        else:
            full = np.append(grid, [NAN] * 128)
            if name == "mxfp8_e5m2":
                full[124] = INF
            v = full[codes & ((1 << (bits - 1)) - 1)]
            if not subnormal:
                v = np.where(v < 2.0 ** (1 - {4: 1, 6: 1}.get(bits, 7)), 0, v)
            v = np.where(codes >> (bits - 1), -v, v) if signed else v
        s = 2.0 ** (scales.astype(F64) - bias)
        s = np.where(scales == 255, NAN, s) if nan else s
        s = s if least else np.where(scales == 0, 0.0, s)
        return v * np.repeat(s, 32, axis=-1)

    return decode


def nv_encode(x, *, low_first=True, clamp=True):
    """Encode NVFP4: packed codes, scale codes, tensor scale."""
    blocks = x.astype(F64).reshape(len(x), -1, 16)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    bad = ~np.isfinite(largest)
    most = np.where(bad, 0, largest).max()
    t = F32(1) if most == 0 else F32(np.clip(most / 2688, 2.0**-149, np.finfo(F32).max))
    s = e4m3(np.where(bad, 1.0, largest / (6 * F64(t))))
    s = np.where(s == 0, 1.0, s)
    y = nearest(np.where(bad, 0, blocks) / (s * F64(t)), E2M1)
    codes = (np.searchsorted(E2M1, np.abs(y)) | np.signbit(y) << 3).astype(np.uint8).reshape(x.shape)
    first, second = (codes[..., ::2], codes[..., 1::2]) if low_first else (codes[..., 1::2], codes[..., ::2])
    return first | second << 4, np.where(bad, 0x7F, np.searchsorted(E4M3, s)).astype(np.uint8)[..., 0], t


def nv_decode(codes, scales, tensor_scale, *, low_first=True, use_tensor=True, bias=7):
    """Decode packed NVFP4."""
    low, high = codes & 15, codes >> 4
    codes = np.stack([low, high] if low_first else [high, low], axis=-1).reshape(len(codes), -1)
    v = np.where(codes >> 3, -E2M1[codes & 7], E2M1[codes & 7])
    s = np.append(E4M3, NAN)[scales] * 2.0 ** (7 - bias)
    return v * (np.repeat(s, 16, axis=-1) * (F64(tensor_scale) if use_tensor else 1.0))


# -- the catalogue ---------------------------------------------------------------------------------


def fault(words, right, implementation, name="mxfp4_e2m1", true=(), **expected):
    return Fault(f"{name}: {words}", {"format": name, **expected}, implementation, (right,), true)


def sqrt2(top, grid, emax):
    return np.rint(np.log2(top)) - emax


def f32_log(top, grid, emax):
    return np.floor(np.log2(top.astype(F32)).astype(F64)) - emax


def leaky(x, y):
    """NaN anywhere in a row spoils the row."""
    return np.where(np.isnan(x).any(axis=-1, keepdims=True), NAN, y)


def below(power):
    def after(x, y):
        largest = np.repeat(np.abs(x.reshape(len(x), -1, 32)).max(axis=-1), 32, axis=-1)
        return np.where((largest < 2.0**power) & (largest > 0), NAN, y)

    return after


def small_as(value):
    return lambda b: np.where((m := np.abs(b).max(axis=1, keepdims=True)) < value, value, m)


def quiet(work):
    """Leave NaN alone: it neither counts in the scale nor spreads."""

    def quantize(x):
        clean = np.where(np.isnan(x), 0, x).astype(x.dtype)
        return np.where(np.isnan(x), x, work(clean))

    return quantize


def swapped(y):
    return y.reshape(*y.shape[:-1], -1, 2)[..., ::-1].reshape(y.shape)


MX = [
    fault("ties away from zero", "ties_to_away", mx(tie="away")),
    fault("ties toward zero", "ties toward zero", mx(tie="zero")),
    fault("half up", "half up", mx("mxfp8_e4m3", tie="half up"), "mxfp8_e4m3"),
    fault("truncates elements", "toward_zero", mx("mxfp8_e5m2", tie="down"), "mxfp8_e5m2"),
    fault("rounds elements up in size", "away from zero", mx(tie="up")),
    fault("rounds elements down", "toward_negative", mx("mxint8", tie="floor"), "mxint8"),
    fault("ties to odd", "ties to odd", mx("mxfp6_e2m3", tie="odd"), "mxfp6_e2m3"),
    fault("scale rounded up", "rule ceil$|rule ceil\\b(?!_)", mx(exponent=ceil_exponent)),
    fault("scale by ceil(log2)", "ceil_log2|logarithm.*ceil", mx("mxfp8_e4m3", exponent=of(np.ceil)), "mxfp8_e4m3"),
    fault("floor where ceil is meant", "rule floor", mx(), scale_rule="ceil"),
    fault("scale to the nearest power of two", "logarithm.*nearest", mx(exponent=sqrt2)),
    fault(
        "round(log2(top / largest))",
        "logarithm.*largest magnitude / 6.*nearest|rule nearest",
        mx(exponent=lambda top, grid, emax: np.rint(np.log2(top / grid[-1]))),
    ),
    fault("log2 in float32", "logarithm in float32", mx("mxfp8_e4m3", exponent=f32_log), "mxfp8_e4m3"),
    fault("emax one too small", "twice too large", mx("mxfp8_e4m3", emax=7), "mxfp8_e4m3"),
    fault("emax one too large", "twice too small", mx("mxfp6_e3m2", emax=5), "mxfp6_e3m2"),
    fault("emax left out", "2\\^8 times too large", mx("mxfp8_e4m3", emax=0), "mxfp8_e4m3"),
    fault("blocks of 16", "blocks of 16", mx(size=16)),
    fault("blocks of 64", "blocks of 64", mx(size=64)),
    fault("one scale a row", "whole row", mx(size=None)),
    fault("blocks along the first axis", "first axis", mx(axis=0)),
    fault(
        "largest value, not magnitude",
        "largest value, not",
        mx(top=lambda b: np.maximum(b.max(axis=1, keepdims=True), 0)),
    ),
    fault(
        "largest magnitude through bfloat16",
        "magnitude to bfloat16",
        mx("mxfp8_e4m3", exponent=ceil_exponent, top=lambda b: bf16(np.abs(b).max(axis=1, keepdims=True)).astype(F64)),
        "mxfp8_e4m3",
        scale_rule="ceil",
        inputs=["float32"],
    ),
    fault("input through bfloat16", "input to bfloat16", mx("mxfp8_e4m3", cast=bf16), "mxfp8_e4m3", inputs=["float32"]),
    fault("input cut to bfloat16", "cuts its input to bfloat16", mx(cast=cut), inputs=["float32"]),
    fault(
        "input through float16",
        "input to float16",
        mx("mxfp8_e4m3", cast=lambda x: x.astype(np.float16)),
        "mxfp8_e4m3",
        inputs=["float32"],
    ),
    fault("float64 through float32", "input to float32", mx("mxfp8_e4m3", cast=lambda x: x.astype(F32)), "mxfp8_e4m3"),
    fault("scale code 0 never", "never uses scales below 2\\^-126", mx(low=-126)),
    fault("scale code 254 never", "never uses scales above 2\\^126", mx(high=126)),
    fault("scale code 255", "code 255", mx(clamp=lambda e: np.where(e > 127, NAN, np.maximum(e, -127)))),
    fault(
        "scale codes wrap",
        "wraps scale codes",
        mx(clamp=lambda e: np.where((e + 127) % 256 == 255, NAN, (e + 127) % 256 - 127.0)),
    ),
    fault(
        "small scales not clamped",
        "does not clamp small",
        mx(clamp=lambda e: np.minimum(e, 127), low=-127),
        inputs=["float32"],
    ),
    fault(
        "smallest scale flushed in decoding",
        "flushes the smallest scale|reads.*smallest.*zero",
        mx(
            after=lambda x, y: np.where(
                np.repeat(np.abs(x.reshape(len(x), -1, 32)).max(-1).astype(F64) < 2.0**-124, 32, axis=-1),
                np.copysign(0, y),
                y,
            )
        ),
    ),
    fault("NaN below 2^-112", "below 2\\^-112", mx("mxfp8_e4m3", after=below(-112)), "mxfp8_e4m3"),
    fault("zero block gives NaN", "NaN for blocks of zeros", mx(zeros=NAN)),
    fault("elements too large become NaN", "become NaN", mx("mxfp8_e4m3", beyond=NAN), "mxfp8_e4m3"),
    fault("elements too large become infinity", "become infinity", mx("mxfp8_e5m2", beyond=INF), "mxfp8_e5m2"),
    fault("elements too large stay", "stay as they are", mx(beyond="clip late")),
    fault(
        "MXINT8 wraps",
        "wraps",
        mx("mxint8", element=lambda v: np.rint(v * 64).astype(np.int64).astype(np.int8) / 64),
        "mxint8",
    ),
    fault(
        "MXINT8 uses -128",
        "lowest element code",
        mx("mxint8", element=lambda v: np.clip(np.rint(v * 64), -128, 127) / 64),
        "mxint8",
    ),
    fault("subnormal elements flushed", "flushes subnormal elements", mx(flush=1.0)),
    fault("subnormal elements flushed", "flushes subnormal elements", mx("mxfp8_e4m3", flush=2.0**-6), "mxfp8_e4m3"),
    fault(
        "E4M3 of 240 for elements", "e4m3b?\\b.*|elements of", mx("mxfp8_e4m3", grid=table(4, 3, 7, 119)), "mxfp8_e4m3"
    ),
    fault("elements of E3M2 for E2M3", "e3m2", mx("mxfp6_e2m3", grid=TABLES["mxfp6_e3m2"][0]), "mxfp6_e2m3"),
    fault("bias of elements one off", "bias", mx("mxfp8_e5m2", grid=table(5, 2, 16, 123)), "mxfp8_e5m2"),
    fault("sign of zeros lost", "sign of zeros", mx(after=lambda x, y: y + 0.0)),
    fault("sign lost", "loses the sign$", mx(after=lambda x, y: np.abs(y))),
    fault("decodes with bias 126", "decodes scales twice too large", mx("mxint8", decoded=1), "mxint8"),
    fault("NaN left alone", "NaN is left out", quiet(mx())),
    fault("NaN spoils its row", "changes others", mx(after=leaky)),
    fault("nibbles swapped", "nibbles", mx(after=lambda x, y: swapped(y))),
    fault(
        "eps of 1e-8 in the largest magnitude",
        "below 1e-08|below 2\\^-26",
        mx("mxfp8_e4m3", top=small_as(1e-8)),
        "mxfp8_e4m3",
    ),
    fault(
        "quotient through float16",
        "quotients to float16",
        mx("mxfp8_e4m3", divide=lambda b, s: (b / s).astype(np.float16).astype(F64)),
        "mxfp8_e4m3",
    ),
    fault(
        "quotient through bfloat16",
        "quotients to bfloat16",
        mx("mxfp8_e5m2", divide=lambda b, s: bf16(b / s).astype(F64)),
        "mxfp8_e5m2",
        inputs=["float32"],
    ),
    fault(
        "scale of the neighbour",
        "scale of the one before|swaps the scales of neighbours",
        mx(top=lambda b: np.roll(np.abs(b).max(axis=1).reshape(-1, 2), 1, axis=1).reshape(-1, 1)),
    ),
    fault(
        "last element not in the scale",
        "leaves the last element",
        mx(top=lambda b: np.abs(b[:, :-1]).max(axis=1, keepdims=True)),
    ),
    fault(
        "first half alone in the scale", "first half", mx(top=lambda b: np.abs(b[:, :16]).max(axis=1, keepdims=True))
    ),
    fault(
        "ties away and scale up",
        "ties_to_away.*rule ceil|rule ceil.*ties_to_away",
        mx(tie="away", exponent=ceil_exponent),
    ),
    fault(
        "flush and scales twice too large",
        "flushes.*twice|twice.*flushes",
        mx("mxfp8_e4m3", flush=2.0**-6, emax=7),
        "mxfp8_e4m3",
    ),
    fault("blocks of 16 and truncation", "16.*toward_zero|toward_zero.*16", mx(size=16, tie="down")),
]

NV = [
    fault("ties away from zero", "ties_to_away", nvfp4(tie="away"), "nvfp4"),
    fault("tensor scale ignored", "leaves the tensor scale out", nvfp4(tensor=lambda m: F64(1)), "nvfp4"),
    fault(
        "given tensor scale ignored", "leaves the tensor scale out", nvfp4(given=1.0), "nvfp4", tensor_scale=0.01171875
    ),
    fault("tensor scale a row", "for each row", nvfp4(per_row=True), "nvfp4"),
    fault(
        "tensor scale by 448 alone",
        "/ 448",
        nvfp4(tensor=lambda m: F64(F32(np.clip(m / 448, 2.0**-149, np.finfo(F32).max)))),
        "nvfp4",
        true=("limits|below",),
    ),
    fault(
        "tensor scale a power of two",
        "power of two",
        nvfp4(tensor=lambda m: 2.0 ** np.floor(np.log2(F64(F32(np.clip(m / 2688, 2.0**-149, 2.0**127)))))),
        "nvfp4",
    ),
    fault(
        "block scale not clamped",
        "does not clamp block scales",
        nvfp4(given=2.0**-6, scale=lambda r: e4m3(r, beyond=NAN)),
        "nvfp4",
        tensor_scale=2.0**-6,
    ),
    fault("block scale rounded up", "block scales up", nvfp4(scale=lambda r: e4m3(r, "up")), "nvfp4"),
    fault("block scale rounded down", "block scales down", nvfp4(scale=lambda r: e4m3(r, "down")), "nvfp4"),
    fault(
        "block scale kept in float32", "does not round block scales", nvfp4(scale=lambda r: F32(r).astype(F64)), "nvfp4"
    ),
    fault(
        "block scale a power of two",
        "powers of two",
        nvfp4(scale=lambda r: np.where(r == 0, 0, 2.0 ** np.floor(np.log2(np.where(r == 0, 1, r))))),
        "nvfp4",
        inputs=["float32"],
    ),
    fault("blocks of 32", "blocks of 32", nvfp4(size=32), "nvfp4"),
    fault(
        "scale zero made the smallest", "smallest scale", nvfp4(zero=lambda s: np.where(s == 0, 2.0**-9, s)), "nvfp4"
    ),
    fault(
        "block scale computed in float32",
        "block scales in float32",
        nvfp4(ratio=lambda a, t: (F32(a) / F32(6) / F32(t)).astype(F64)),
        "nvfp4",
        inputs=["float32"],
    ),
    fault(
        "divides in float32",
        "in float32, as",
        nvfp4(divide=lambda b, s, t: (F32(b) / (F32(s) * F32(t))).astype(F64)),
        "nvfp4",
        inputs=["float32"],
    ),
    fault(
        "reciprocal of the scale",
        "reciprocal of the scale, in float32",
        nvfp4(divide=lambda b, s, t: (F32(b) * (F32(1) / (F32(s) * F32(t)))).astype(F64)),
        "nvfp4",
        inputs=["float32"],
    ),
    fault(
        "amax through bfloat16",
        "magnitude to bfloat16",
        nvfp4(top=lambda b: bf16(np.abs(b).max(axis=-1, keepdims=True)).astype(F64)),
        "nvfp4",
        inputs=["float32"],
    ),
    fault("largest element taken for 4", "takes 4 for", nvfp4(ratio=lambda a, t: a / (4 * t)), "nvfp4"),
    fault("results without the tensor scale", "out of the results", nvfp4(multiply=lambda y, s, t: y * s), "nvfp4"),
    fault(
        "largest value, not magnitude",
        "largest value, not",
        nvfp4(top=lambda b: np.maximum(b.max(axis=-1, keepdims=True), 0)),
        "nvfp4",
    ),
    fault(
        "largest scale taken for 480",
        "480",
        nvfp4(tensor=lambda m: F64(F32(np.clip(m / (480 * 6), 2.0**-149, np.finfo(F32).max)))),
        "nvfp4",
        inputs=["float32"],
    ),
    fault("block scale away and ties away", "away.*away", nvfp4(tie="away", scale=lambda r: e4m3(r, "away")), "nvfp4"),
]

CODES = [
    fault("nibbles swapped in encoding", "nibbles", (encoder("mxfp4_e2m1", packed=True, low_first=False), None)),
    fault(
        "nibbles swapped in decoding",
        "nibbles",
        (encoder("mxfp4_e2m1", packed=True), decoder("mxfp4_e2m1", packed=True, low_first=False)),
    ),
    fault(
        "scale bias 128 in decoding",
        "scales twice too small",
        (encoder("mxfp8_e4m3"), decoder("mxfp8_e4m3", bias=128)),
        "mxfp8_e4m3",
    ),
    fault("scale bias 126 in encoding", "one too small", (encoder("mxfp8_e4m3", bias=126), None), "mxfp8_e4m3"),
    fault(
        "scales in opposite order",
        "scales of a row in the opposite order",
        (encoder("mxfp8_e4m3", swap_scales=True), None),
        "mxfp8_e4m3",
    ),
    fault("255 read as 2^128", "255 as 2\\^128", (None, decoder("mxfp4_e2m1", nan=False))),
    fault(
        "scale code 0 read as zero", "smallest scale as zero", (None, decoder("mxfp8_e4m3", least=False)), "mxfp8_e4m3"
    ),
    fault(
        "subnormal elements read as zero",
        "subnormal elements as zero",
        (None, decoder("mxfp8_e4m3", subnormal=False)),
        "mxfp8_e4m3",
    ),
    fault("MXINT8 over 128", "elements too small", (None, decoder("mxint8", integer=128)), "mxint8"),
    fault("signs not read", "without their sign", (None, decoder("mxfp6_e2m3", signed=False)), "mxfp6_e2m3"),
    fault("nibbles swapped in encoding", "nibbles", (lambda x: nv_encode(x, low_first=False), None), "nvfp4"),
    fault(
        "tensor scale not read",
        "tensor scale",
        (
            None,
            lambda c, s, t: nv_decode(
                np.stack([c[:, ::2], c[:, 1::2]], 1)[:, 0] | c[:, 1::2] << 4, s, t, use_tensor=False
            ),
        ),
        "nvfp4",
    ),
    fault("scale codes of ceil", "rule ceil", (encoder("mxfp4_e2m1", exponent=ceil_exponent), None)),
]

FAULTS = [*MX, *NV, *CODES]

CORRECT = [
    *(Correct(f"{name}, by table", {"format": name}, mx(name)) for name in TABLES),
    *(
        Correct(f"{name}, scale up", {"format": name, "scale_rule": "ceil"}, mx(name, exponent=ceil_exponent))
        for name in ("mxfp4_e2m1", "mxfp8_e4m3", "mxint8")
    ),
    Correct("mxfp4_e2m1, ties away", {"format": "mxfp4_e2m1", "rounding": "ties_to_away"}, mx(tie="away")),
    Correct(
        "mxfp8_e5m2, truncation", {"format": "mxfp8_e5m2", "rounding": "toward_zero"}, mx("mxfp8_e5m2", tie="down")
    ),
    Correct("mxfp4_e2m1, NaN alone", {"format": "mxfp4_e2m1", "not_finite": "open"}, quiet(mx())),
    Correct("nvfp4", {"format": "nvfp4", "inputs": ["float32"]}, nvfp4()),
    Correct(
        "nvfp4, scale given",
        {"format": "nvfp4", "tensor_scale": 0.01171875, "inputs": ["float32"]},
        nvfp4(given=0.01171875),
    ),
    *(
        Correct(f"{name}, codes", {"format": name}, (encoder(name), decoder(name)))
        for name in ("mxfp8_e4m3", "mxfp6_e2m3", "mxint8")
    ),
    Correct(
        "mxfp4_e2m1, packed codes",
        {"format": "mxfp4_e2m1"},
        (encoder("mxfp4_e2m1", packed=True), decoder("mxfp4_e2m1", packed=True)),
    ),
    Correct("nvfp4, packed codes", {"format": "nvfp4", "inputs": ["float32"]}, (nv_encode, nv_decode)),
]
