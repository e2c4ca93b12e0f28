"""Faults invented after the diagnosis was written: an intern's, a language model's, an author of hardware's.

`right` are sentences that name the defect or say exactly where it shows.
"""

from __future__ import annotations

import numpy as np

from faults import Correct, Fault
from faults._making import FIELDS, as_hardware, by_scaling, by_table, magnitudes, rules
from faults.codes import reader, values
from faults.integers import integers

E4, E5 = FIELDS["float8_e4m3fn"], FIELDS["float8_e5m2"]


def where(mask, other, right):
    """Do otherwise where `mask(x)`."""
    return lambda x: np.where(mask(x), other(x), right(x)).astype(x.dtype)


def tail(x):
    """Eight at a time are rounded; what is left is cut."""
    n = x.size // 8 * 8
    return np.concatenate([by_table(E4)(x[:n]), by_table(E4, mode="zero")(x[n:])]).astype(x.dtype)


def int32_steps(x):
    """Count steps of the smallest value in an int32."""
    v = np.where(np.isfinite(x), x, 0).astype(np.float64)
    power = np.maximum(np.frexp(v)[1] - 1, -14) - 2
    steps = np.ldexp(np.rint(np.ldexp(v, -power)), power + 16)
    wrapped = (np.clip(steps, -(2.0**62), 2.0**62).astype(np.int64) + 2**31) % 2**32 - 2**31
    inside = np.isfinite(x) & (np.abs(x) < 61440)
    return np.where(inside & (wrapped != 0), wrapped * 2.0**-16, by_table(E5)(x)).astype(x.dtype)


def without(value):
    grid = magnitudes(E4)
    return grid[grid != value]


def shift_modulo_32(x):
    """Shift as x86 does, by the count modulo 32."""
    v = np.where(np.isfinite(x), np.abs(x), 0).astype(np.float32)
    bits = v.view(np.uint32).astype(np.int64)
    field, significand = bits >> 23, bits & 0x7FFFFF | 1 << 23
    shift = (20 + np.maximum(121 - field, 0)) % 32
    half = (1 << np.maximum(shift - 1, 0)) - 1 + (significand >> shift & 1)
    kept = significand + half >> shift
    y = np.where(field < 121, kept * 2.0**-9, by_table(E4)(v))
    return np.where(np.isfinite(x), np.copysign(y, x), by_table(E4)(x)).astype(x.dtype)


def sticky_mask(x):
    """Overlook one bit where it is asked whether anything lies beyond the guard bit."""
    v = np.where(np.isfinite(x), x, 0).astype(np.float64)
    step = np.maximum(np.frexp(v)[1] - 1, -6) - 3
    part = np.ldexp(np.abs(v), -step) % 1
    alone = (part > 0.5) & (part == 0.5 + 2.0**-4)
    down = by_table(E4, mode="zero")
    even = np.floor(np.ldexp(np.abs(v), -step)) % 2 == 0
    return np.where(alone & even, down(x), by_table(E4)(x)).astype(x.dtype)


def decimals(x):
    return np.where(np.isfinite(x), np.round(x, 3), x)


def truncated_exponent(v):
    return np.trunc(np.log2(np.maximum(np.abs(v), 1e-300))).astype(int)


def shared(x):
    """Four neighbours share the exponent of the largest."""
    y = by_table(E4)(x).astype(np.float64)
    n = x.size // 4 * 4
    with np.errstate(all="ignore"):
        four = np.nan_to_num(np.abs(y[:n].reshape(-1, 4))).max(axis=1, keepdims=True)
        step = np.ldexp(1.0, np.frexp(four)[1] - 6)
        y[:n] = np.where(np.isfinite(y[:n]), np.rint(y[:n] / np.repeat(step, 4)) * np.repeat(step, 4), y[:n])
    return y.astype(x.dtype)


def int16_first(y, low, high):
    wide = np.clip(y, -32768, 32767)
    return (wide + 128) % 256 - 128


def one_wrong_code():
    table = values("float8_e4m3fn").copy()
    table[0x2B] *= 1.125
    return table


def subnormals_with_bias_8():
    table = values("float8_e5m2").copy()
    small = np.abs(table) < 2.0**-14
    return np.where(small, table * 4, table)


right4, right5 = by_table(E4), by_table(E5)
NAMED = [
    ("the tail of eight is cut", "float8_e4m3fn", tail, "position|other elements|toward_zero"),
    ("steps counted in int32", "float8_e5m2", int32_steps, "from 3276|from 30720|wraps"),
    ("one value missing from the table", "float8_e4m3fn", by_table(E4, grid=without(0.875)), "from 0\\.84"),
    (
        "shift count modulo 32",
        "float8_e4m3fn",
        shift_modulo_32,
        "below the smallest|results that are zero|sizes below 2\\^-17",
    ),
    ("one bit left out of the sticky mask", "float8_e4m3fn", sticky_mask, "above a tie|parts of the step.*0\\.5625"),
    ("rounds to three decimals first", "float8_e4m3fn", by_table(E4, before=decimals), "decimal|first"),
    (
        "exponent cut toward zero, below 1",
        "float8_e4m3fn",
        by_scaling(E4, exponent=truncated_exponent),
        "to 1[,:]|to 0\\.99|one bit",
    ),
    ("four share an exponent", "float8_e4m3fn", shared, "position|other elements"),
    (
        "half the smallest step in the top binade",
        "float8_e4m3fn",
        where(lambda x: (np.abs(x) >= 256) & (np.abs(x) < 448), lambda x: np.rint(x / 16) * 16, right4),
        "from 25",
    ),
    (
        "negative values saturate",
        "float8_e4m3fn",
        where(lambda x: (x < -448) & np.isfinite(x), lambda x: np.full(x.shape, -448.0), right4),
        "negative.*beyond|beyond.*negative|largest value.*negative|negative.*largest",
    ),
    (
        "the most negative value is one code smaller",
        "float8_e4m3fn",
        where(lambda x: (x < -432) & (x >= -464), lambda x: np.full(x.shape, -416.0), right4),
        "negative.*from 43|negative.*largest value|largest.*negative",
    ),
    (
        "small float64 inputs through float16",
        "float8_e4m3fn",
        where(lambda x: np.abs(x) < 1, lambda x: right4(x.astype(np.float16).astype(x.dtype)), right4),
        "below 1|to 1[,:]|to 0\\.9",
    ),
    (
        "sign lost among subnormals",
        "float8_e4m3fn",
        where(lambda x: np.abs(right4(x)) < 2.0**-6, lambda x: np.abs(right4(x)), right4),
        "sign.*subnormal|subnormal.*sign",
    ),
    (
        "adds 0x8000 and cuts",
        "bfloat16",
        lambda x: (x.view(np.uint32) + np.uint32(0x8000) & np.uint32(0xFFFF0000)).view(np.float32),
        "ties_to_away",
    ),
    ("tie by the second lowest bit", "float8_e4m3fn", None, "all (of|among) ties|among ties|of ties"),
    ("guard or sticky of odd codes", "float8_e4m3fn", None, "odd codes|to even, however small"),
    ("sticky bit or'ed into the guard", "float8_e5m2", as_hardware(E5, "sticky alone"), "away from zero"),
    (
        "scaled by a reciprocal of 3 first",
        "float8_e4m3fn",
        by_table(E4, before=lambda x: (x.astype(np.float32) * np.float32(1 / 3)) * np.float32(3)),
        "tie|first",
    ),
    (
        "half away from 256 on",
        "float8_e4m3fn",
        where(lambda x: np.abs(x) >= 64, by_table(E4, tie="away"), right4),
        "ties.*from (6|7)",
    ),
    (
        "zero becomes the smallest value",
        "float8_e4m3fn",
        where(lambda x: x == 0, lambda x: np.copysign(2.0**-9, x), right4),
        "zeros",
    ),
    (
        "infinity keeps its sign as a NaN of the largest value",
        "float8_e5m2",
        where(np.isinf, lambda x: np.copysign(49152.0, x), right5),
        "49152 for infinity",
    ),
    (
        "exponents of one binade swapped",
        "float8_e4m3fn",
        where(lambda x: (np.abs(x) >= 2) & (np.abs(x) < 3.9), lambda x: right4(x) * 2, right4),
        "from 2[ ,]",
    ),
    ("one wrong entry in the table of codes", "float8_e4m3fn", (None, reader(one_wrong_code())), "1 of 256"),
    (
        "subnormals read four times too large",
        "float8_e5m2",
        (None, reader(subnormals_with_bias_8())),
        "subnormals.*4 times|4 times.*subnormals",
    ),
    (
        "NaN read as minus the largest value",
        "float8_e4m3fn",
        (None, reader(np.where(np.isnan(values("float8_e4m3fn")), -448.0, values("float8_e4m3fn")))),
        "NaN.*(as -448|largest)|-448.*NaN",
    ),
    (
        "int16 first, then the low byte",
        "int8_full",
        integers("int8_full", limit=int16_first),
        "wraps|beyond the largest",
    ),
    (
        "unsigned trick: adds 128.5 and cuts",
        "int8_full",
        integers("int8_full", whole=lambda v: np.floor(v + 128.5) - 128),
        "half up|toward_positive|one half",
    ),
    (
        "saturates at 127 on both sides of zero for ties",
        "int8",
        integers("int8", after=lambda v, y: np.where(np.abs(v) >= 126.5, np.copysign(126, v), y)),
        "126",
    ),
    (
        "rounds multiples of ten",
        "int8_full",
        integers("int8_full", after=lambda v, y: np.where(np.abs(v) > 100, np.rint(y / 2) * 2, y)),
        "from 10[01]|above 100",
    ),
    (
        "minus one half becomes minus one",
        "int8_full",
        integers("int8_full", after=lambda v, y: np.where(v == -0.5, -1, y)),
        "sizes from 0\\.5 to 0\\.5|below the smallest",
    ),
]


def second_bit(x):
    """Break a tie by the second lowest bit."""
    grid = magnitudes(E4)
    size = np.where(np.isfinite(x), np.abs(x), 0).astype(np.float64)
    k = np.clip(np.searchsorted(grid, size, side="right") - 1, 0, len(grid) - 2)
    tie = (size == (grid[k] + grid[k + 1]) / 2) & (size < 448)
    return np.where(tie, np.copysign(grid[k + (k >> 1 & 1)], x), right4(x)).astype(x.dtype)


def any_of_odd(x):
    """Go up from odd codes whenever something is left."""
    grid = magnitudes(E4)
    size = np.where(np.isfinite(x), np.abs(x), 0).astype(np.float64)
    k = np.clip(np.searchsorted(grid, size, side="right") - 1, 0, len(grid) - 2)
    hit = (k % 2 == 1) & (size > grid[k]) & (size < 448)
    return np.where(hit, np.copysign(grid[k + 1], x), right4(x)).astype(x.dtype)


LATER = {"tie by the second lowest bit": second_bit, "guard or sticky of odd codes": any_of_odd}
FAULTS = [
    Fault(f"{name}: {what}", rules(name), LATER.get(what, implementation), (words,))
    for what, name, implementation, words in NAMED
]
CORRECT: list[Correct] = []
