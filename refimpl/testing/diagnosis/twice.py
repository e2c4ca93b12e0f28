"""Defects of inputs: flushed, or rounded a first time before they are rounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refimpl.formats import FloatFormat, IntFormat, PositFormat
from refimpl.testing.diagnosis.defects import Defect

MOST_BITS = 13
NAMED = {8: ", as through bfloat16", 11: ", as through float16 or tf32", 24: ", as through float32"}


def of_dtypes(fmt) -> Iterator[Defect]:
    """Yield inputs that pass through a narrower dtype, or are flushed when subnormal in their own."""

    def through(dtype):
        def before(x):
            with np.errstate(all="ignore"):
                return x.astype(dtype).astype(x.dtype) if x.dtype.itemsize > dtype().itemsize else x

        return before

    def flush(x, dtype=None):
        return np.where(np.abs(x) < np.finfo(dtype or x.dtype).smallest_normal, np.copysign(x.dtype.type(0), x), x)

    yield Defect("rounds float64 through float32", before=through(np.float32))
    yield Defect("cuts float64 to float32, toward zero, before it rounds", before=_cut_to_float32)
    yield Defect("rounds its input through float16", before=through(np.float16))
    if not isinstance(fmt, IntFormat):
        yield Defect("flushes subnormal inputs to zero", before=flush)
        yield Defect("flushes inputs that are subnormal in float32 to zero", before=lambda x: flush(x, np.float32))


def _cut_to_float32(x):
    if x.dtype.itemsize <= 4:
        return x
    with np.errstate(all="ignore"):
        y = x.astype(np.float32)
        return np.where(np.abs(y) > np.abs(x), np.nextafter(y, np.float32(0)), y).astype(x.dtype)


def of_bits(fmt) -> Iterator[Defect]:
    """Yield inputs that are rounded or cut to some bits first, on the format's grid or after their leading bit."""
    ways: dict[str, Callable] = {"": np.rint, "half away": _half_away, "cut": np.trunc}
    if isinstance(fmt, FloatFormat) and fmt.has_zero and fmt.mantissa_bits < 40:
        for way, whole in ways.items():
            for more in range(1, MOST_BITS):
                yield Defect(_on_grid(way, more), before=_rounded(whole, fmt.mantissa_bits + more, fmt.min_exponent))
    if isinstance(fmt, IntFormat):
        for way, whole in ways.items():
            for more in (1, 2, 3, 4, 8):
                yield Defect(_on_grid(way, more), before=_rounded(whole, more, 0, fixed=True))
    if isinstance(fmt, FloatFormat):
        for way, whole in (("rounds twice, first", np.rint), ("cuts its input before it rounds,", np.trunc)):
            for places in range(25):
                text = f"{way} to {places} bits behind the binary point (multiples of 2^-{places})"
                yield Defect(text, before=_rounded(whole, places, 0, fixed=True))
    own = fmt.mantissa_bits + 1 if isinstance(fmt, FloatFormat) else 4
    if isinstance(fmt, FloatFormat) and fmt.has_subnormals and fmt.mantissa_bits:
        first = "rounds subnormal results twice, first as if they were normal, before the subnormal grid"
        yield Defect(first, before=_rounded(np.rint, own - 1, None))
    most = 28 if isinstance(fmt, (IntFormat, PositFormat)) else own + MOST_BITS
    for way, whole in ways.items():
        for bits in sorted({*range(own + 1, most), 8, 11, 24} if own < 24 else ()):
            if bits > own:
                yield Defect(_significant(way, bits), before=_rounded(whole, bits - 1, None))


def of_decimals(fmt) -> Iterator[Defect]:
    """Yield inputs that go through a printed number, of so many digits in all or behind the point."""
    for digits in range(1, 11):
        yield Defect(
            f"rounds twice, first to {digits} decimal digit{'s' * (digits > 1)}, as by printing",
            before=_printed(f".{digits}g"),
        )
    for digits in range(isinstance(fmt, IntFormat), 9):
        text = f"rounds twice, first to {digits} decimal{'s' * (digits != 1)} behind the point"
        yield Defect(text, before=_printed(f".{digits}f"))
        yield Defect(text, before=lambda x, digits=digits: np.where(np.isfinite(x), np.round(x, digits), x))


def _printed(form: str) -> Callable:
    def before(x):
        with np.errstate(all="ignore"):
            some = np.isfinite(x) & ((np.abs(x) < 1e7) | form.endswith("g"))
            wide = x[some].astype(np.float64).tolist()
            y = x.copy()
            y[some] = np.array([float(format(v, form)) for v in wide], np.float64).astype(x.dtype)
        return y

    return before


def _on_grid(way: str, more: int) -> str:
    bits = f"{more} more bit{'s' * (more > 1)}"
    if way == "cut":
        return f"loses the sticky bit: cuts its input off after {bits} before it rounds"
    return f"rounds twice, first to {bits}" + ", ties away from zero" * bool(way)


def _significant(way: str, bits: int) -> str:
    if way == "cut":
        return f"loses the sticky bit: cuts its input to {bits} significant bits before it rounds{NAMED.get(bits, '')}"
    said = NAMED.get(bits, "")
    return f"rounds twice, first to {bits} significant bits{said}" + ", ties away from zero" * bool(way)


def _half_away(v):
    return np.trunc(v + np.copysign(0.5, v))


def _rounded(whole: Callable, bits: int, min_exponent: int | None, fixed=False) -> Callable:
    """Return a function that rounds to some bits after the point of the significand, subnormals too."""

    def before(x):
        with np.errstate(all="ignore"):
            wide = np.where(np.isfinite(x), x, 0).astype(np.float64)
            power = np.frexp(wide)[1] - 1
            if min_exponent is not None:
                power = np.maximum(power, min_exponent)
            shift = np.clip(bits - (0 if fixed else power), -1000, 1000)
            y = np.ldexp(whole(np.ldexp(wide, shift)), -shift)
            sure = np.isfinite(x) & (np.abs(wide) > 2.0**-900) & np.isfinite(y)
            return np.where(sure, np.copysign(y, x), x.astype(np.float64)).astype(x.dtype)

    return before
