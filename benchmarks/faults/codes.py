"""Encoders and decoders of codes, posits, and whole formats taken for others."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from faults import Correct, Fault
from faults._making import FIELDS, INF, NAN, Fields, as_hardware, by_table, magnitudes, rules


def values(name, *, special=True):
    """Return the values of all codes of a float format: IEEE-like, with one NaN, or without."""
    f = FIELDS[name]
    bits = f.e + f.m
    grid = magnitudes(f._replace(top=(1 << bits) - 1))[:-1]
    if special:
        if f.beyond == INF:
            grid[f.top + 1] = INF
            grid[f.top + 2 :] = NAN
        elif f.top == (1 << bits) - 2:
            grid[-1] = NAN
    negative = -grid
    if not f.minus_zero:
        negative[0] = NAN if special else -0.0
    return np.concatenate([grid, negative])


def reader(table):
    return lambda codes: table[codes.astype(np.int64)]


def writer(name, quantize=None, change=None):
    """Return the function to codes that writes what a quantizer gives."""
    f = FIELDS[name]
    grid = magnitudes(f)[:-1]
    quantize = quantize or by_table(f)

    def encode(x):
        y = quantize(x.astype(np.float64))
        code = np.searchsorted(grid, np.where(np.isfinite(y), np.abs(y), 0))
        code = np.where(np.isinf(y), f.top + 1, code)
        code = code | np.signbit(y).astype(np.int64) << f.e + f.m
        nan = 1 << f.e + f.m if not f.minus_zero else (f.top + 1 if f.beyond is NAN else f.top + 2)
        code = np.where(np.isnan(y), nan, code)
        code = change(x, code) if change else code
        return code.astype(np.uint16 if f.e + f.m > 8 else np.uint8)

    return encode


def _decoders():
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float4_e2m1fn", "float6_e3m2fn"):
        f, right = FIELDS[name], values(name)
        sign, normal = 1 << f.e + f.m, 1 << f.m
        codes = np.arange(2 * sign)
        field = codes >> f.m & (1 << f.e) - 1
        mantissa = codes & normal - 1
        side = np.where(codes & sign, -1.0, 1.0)
        cases = {
            "subnormals with a hidden bit": (
                np.where(field == 0, side * np.ldexp(normal + mantissa, -f.bias - f.m), right),
                "hidden bit",
            ),
            "subnormals with the exponent of field 0": (
                np.where(field == 0, right / 2, right),
                "subnormal.*(half|exponent)",
            ),
            "subnormals are zero": (np.where(field == 0, side * 0.0, right), "subnormals as zero"),
            "bias one too large": (np.where(np.isfinite(right), right / 2, right), "bias"),
            "bias one too small, normal alone": (
                np.where((field > 0) & np.isfinite(right), right * 2, right),
                "bias|normal.*twice",
            ),
            "sign lost": (np.abs(right), "sign"),
            "exponent and mantissa swapped": (_swapped(f, codes, right), "swap|order|decodes some|fields"),
            "two's complement": (np.where(codes & sign, -right[(2 * sign - codes) % sign], right), "two's complement"),
        }
        if f.beyond is not None:
            cases["special codes are numbers"] = (values(name, special=False), "special codes as numbers")
        if f.beyond == INF:
            cases["infinity is NaN"] = (np.where(np.isinf(right), NAN, right), "infinity.*NaN|NaN.*infinity")
            cases["NaN is infinity"] = (np.where(np.isnan(right), side * INF, right), "NaN.*infinity|infinity.*NaN")
        if f.beyond is not None:
            cases["NaN is zero"] = (np.where(np.isnan(right), 0.0, right), "NaN.*zero")
        if f.minus_zero:
            cases["minus zero is zero"] = (np.where(right == 0, 0.0, right), "minus zero as zero")
        for k, (what, (table, words)) in enumerate(cases.items()):
            if name in ("float8_e4m3fn", "float8_e5m2") or k % 3 == 0:
                if name == "float8_e4m3fnuz":
                    table = table.copy()
                    table[sign] = table[sign] if what in ("special codes are numbers", "NaN is zero") else NAN
                yield Fault(f"{name}: reads with {what}", rules(name), (None, reader(table)), (words,))


def _swapped(f: Fields, codes, right):
    """Read the mantissa before the exponent."""
    mantissa, field = codes >> f.e & (1 << f.m) - 1, codes & (1 << f.e) - 1
    size = np.where(
        field > 0, np.ldexp((1 << f.m) + mantissa, field - f.bias - f.m), np.ldexp(mantissa, 1 - f.bias - f.m)
    )
    return np.where(codes >> f.e + f.m, -size, size)


def _encoders():
    e4, e5 = "float8_e4m3fn", "float8_e5m2"
    payload = writer(e5, change=lambda x, code: np.where(np.isnan(x), 0x7C | _payload(x, 2), code))
    yield Fault(f"{e5}: NaN keeps its payload, which may be nothing", rules(e5), (payload, None), ("payload",))
    yield Fault("bfloat16: adds one half of the unit to NaN too", rules("bfloat16"), (_added, None), ("NaN",))
    yield Fault(
        "bfloat16: cut",
        rules("bfloat16"),
        (lambda x: (x.view(np.uint32) >> 16).astype(np.uint16), None),
        ("toward_zero",),
    )
    signless = writer(e4, change=lambda x, code: code & 0x7F)
    yield Fault(f"{e4}: writes no sign", rules(e4), (signless, None), ("loses the sign$",))
    two = writer(e4, change=lambda x, code: np.where(code >> 7, -(code & 0x7F) & 0xFF, code))
    yield Fault(f"{e4}: writes two's complement", rules(e4), (two, None), ("two's complement",))
    overflow = writer(e4, by_table(FIELDS[e4]._replace(top=0x7F)), change=lambda x, code: np.minimum(code, 0xFF))
    yield Fault(f"{e4}: overflow runs into the sign", rules(e4), (_running_over(e4), None), ("wraps",))
    del overflow
    for name in ("float8_e4m3fnuz", "float8_e5m2fnuz"):
        keeps = writer(name, change=lambda x, code: np.where((code == 0) & np.signbit(x), 0x80, code))
        yield Fault(f"{name}: writes 0x80 for minus zero", rules(name), (keeps, None), ("minus zero",))
        largest = by_table(
            FIELDS[name], after=lambda x, y, n=name: np.where(np.isinf(x), np.copysign(magnitudes(FIELDS[n])[-2], x), y)
        )
        yield Fault(f"{name}: infinity saturates", rules(name), (writer(name, largest), None), ("saturates infinity",))


def _payload(x, bits):
    kept = x.astype(np.float32) if x.dtype == np.float64 else x
    if x.dtype == np.float64:
        return (x.view(np.uint64) >> np.uint64(52 - bits)).astype(np.int64) & (1 << bits) - 1
    return (kept.view(np.uint32) >> np.uint32(23 - bits)).astype(np.int64) & (1 << bits) - 1


def _added(x):
    bits = x.view(np.uint32)
    return (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)) >> np.uint32(16)).astype(np.uint16)


def _running_over(name):
    """The code counts on when the exponent overflows, into the bits above."""
    f = FIELDS[name]

    def encode(x):
        v = np.where(np.isfinite(x), x, 0).astype(np.float64)
        power = np.maximum(np.frexp(v)[1] - 1, 1 - f.bias)
        q = np.rint(np.ldexp(np.abs(v), f.m - power)).astype(np.int64)
        code = q + (power + f.bias - 1 << f.m)
        code = np.where(np.isfinite(x), code & 0xFF, 0x7F)
        return (code ^ np.signbit(x).astype(np.int64) << 7).astype(np.uint8)

    return encode


def _confused():
    pairs = [
        ("float8_e4m3fn", "float8_e4m3fnuz"),
        ("float8_e4m3fnuz", "float8_e4m3fn"),
        ("float8_e4m3fn", "float8_e4m3b11fnuz"),
        ("float8_e4m3fn", "float8_e5m2"),
        ("float8_e5m2", "float8_e5m2fnuz"),
        ("float8_e4m3", "float8_e4m3fn"),
        ("float8_e3m4", "float8_e4m3"),
        ("float6_e2m3fn", "float6_e3m2fn"),
        ("float6_e3m2fn", "float6_e2m3fn"),
        ("bfloat16", "float16"),
    ]
    for asked, done in pairs:
        yield Fault(f"{asked} taken for {done}", rules(asked), by_table(FIELDS[done]), (f"is {done}$",))


def posit_values(bits, exponent_bits):
    """Return the values of all codes by the formula of the standard, as floats."""
    found = []
    for code in range(1 << bits):
        found.append(_posit(code, bits, exponent_bits))
    return np.array(found)


def _posit(code, bits, exponent_bits):
    if code == 0:
        return 0.0
    if code == 1 << bits - 1:
        return NAN
    negative = code >> bits - 1
    text = format((-code if negative else code) & (1 << bits) - 1, f"0{bits}b")[1:]
    run = len(text) - len(text.lstrip(text[0]))
    regime = run - 1 if text[0] == "1" else -run
    rest = text[run + 1 :]
    exponent = int((rest[:exponent_bits] or "0").ljust(exponent_bits, "0") or "0", 2)
    fraction = rest[exponent_bits:]
    significand = 1 + Fraction(int(fraction or "0", 2), 1 << len(fraction))
    size = significand * Fraction(2) ** (regime * (1 << exponent_bits) + exponent)
    return float(-size if negative else size)


def posits(bits, exponent_bits, *, nearest="code", underflows=False, overflows=False, nar=NAN, tie="even"):
    """Round to the nearest posit on codes, or on values, which differs where exponent bits are cut."""
    table = posit_values(bits, exponent_bits)
    grid = table[: 1 << bits - 1]
    between = posit_values(bits + 1, exponent_bits)[1 : 1 << bits : 2]
    if nearest == "value":
        between = np.append((grid[:-1] + grid[1:]) / 2, INF)

    def quantize(x):
        size = np.where(np.isfinite(x), np.abs(x.astype(np.float64)), 1.0)
        k = np.clip(np.searchsorted(grid, size, side="right") - 1, 0, len(grid) - 1)
        up = (size > between[k]) | (size == between[k]) & ((k % 2 == 1) if tie == "even" else tie == "away")
        if not underflows:
            up = up | (k == 0) & (size > 0)
        up = up & (k < len(grid) - 1)
        if underflows:
            up = np.where(k == 0, size > grid[1] / 2, up)
        y = grid[k + up]
        if overflows:
            y = np.where(size > grid[-1], NAN, y)
        y = np.where(x < 0, -y, y)
        return np.where(np.isfinite(x), y, nar).astype(x.dtype)

    return quantize


def _posits():
    for bits, e in ((8, 2), (8, 0), (6, 1)):
        name = f"posit{bits}_{e}"
        if e:
            yield Fault(
                f"{name}: rounds on values",
                {"format": name},
                posits(bits, e, nearest="value"),
                ("rounds on values|nearest value|values, not",),
            )
        yield Fault(f"{name}: underflows", {"format": name}, posits(bits, e, underflows=True), ("zero",))
        yield Fault(
            f"{name}: overflows",
            {"format": name},
            posits(bits, e, overflows=True),
            ("overflow|beyond the largest|NaN",),
        )
        yield Fault(f"{name}: ties away", {"format": name}, posits(bits, e, tie="away"), ("ties_to_away|ties away",))
        yield Fault(f"{name}: NaN is zero", {"format": name}, posits(bits, e, nar=0.0), ("zero for NaN",))
    yield Fault("posit8_2: is posit8_1", {"format": "posit8_2"}, posits(8, 1), ("is posit8_1",))
    yield Fault("posit8_1: is posit8_2", {"format": "posit8_1"}, posits(8, 2), ("is posit8_2",))
    right = posit_values(8, 2)
    yield Fault(
        "posit8_2: NaR read as zero",
        {"format": "posit8_2"},
        (None, reader(np.nan_to_num(right))),
        ("special codes as numbers|NaN.*zero",),
    )
    table = posit_values(8, 1)
    yield Fault(
        "posit8_2: read with one exponent bit", {"format": "posit8_2"}, (None, reader(table)), ("decodes as posit8_1",)
    )
    magnitude = np.concatenate([right[:128], -right[:128]])
    magnitude[128] = NAN
    yield Fault(
        "posit8_2: read as sign and magnitude",
        {"format": "posit8_2"},
        (None, reader(magnitude)),
        ("sign and magnitude|two's complement",),
    )


FAULTS: list[Fault] = [*_decoders(), *_encoders(), *_confused(), *_posits()]
CORRECT: list[Correct] = [
    *(
        Correct(f"{name} codes", rules(name), (writer(name), reader(values(name))))
        for name in FIELDS
        if "16" not in name
    ),
    *(
        Correct(f"{name} codes as hardware", rules(name), (writer(name, as_hardware(FIELDS[name])), None))
        for name in ("float8_e4m3fn", "float8_e5m2")
    ),
    *(Correct(f"posit{b}_{e}", {"format": f"posit{b}_{e}"}, posits(b, e)) for b, e in ((8, 2), (8, 0), (6, 1), (7, 2))),
    *(
        Correct(f"posit{b}_{e} read", {"format": f"posit{b}_{e}"}, (None, reader(posit_values(b, e))))
        for b, e in ((8, 2), (10, 1))
    ),
]
