"""Known defects of block quantizers, as stages of `block_stages` that replace the right ones; the likeliest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refimpl import ops
from refimpl.formats import SCALE_RULES, BlockFormat, FloatFormat, IntFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.diagnosis import block_stages as right
from refimpl.testing.diagnosis.block_stages import exponents, integral, is_dynamic, largest_of_all, not_finite_is_nan
from refimpl.testing.diagnosis.stages import Defect
from refimpl.testing.expected.behaviour import DETERMINISTIC, step_above, values_of
from refimpl.testing.expected.quotients import quotient

NARROW = ("bfloat16", "float16", "float32")
_INT8, _E8M0 = format_of("int8"), format_of("float8_e8m0fnu")
LEAST = [10.0**-k for k in (4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 38)] + [2.0**-k for k in (10, 14, 23, 24, 30, 126)]


def defects_of(behaviour) -> tuple[Defect, ...]:
    """Return the known defects of block quantizers of these rules."""
    fmt = behaviour.format
    found = [*_of_elements(behaviour, fmt), *_of_largest(), *_of_blocks(fmt), *_of_results(fmt)]
    found += [*(_of_two_levels(behaviour, fmt) if fmt.tensor_scale else _of_powers(behaviour, fmt))]
    return tuple([*found, *_of_quotients(fmt), *_of_inputs()])


def single(x):
    """Return numbers rounded to float32."""
    with np.errstate(all="ignore"):
        return np.asarray(x, np.float64).astype(np.float32).astype(np.float64)


def fewer(x, bits: int):
    """Return numbers rounded to so many mantissa bits; exponents are not limited."""
    m, e = np.frexp(x)
    return np.ldexp(np.rint(np.ldexp(m, bits + 1)), e - bits - 1)


def through(x, name: str, rounding="ties_to_even"):
    """Return numbers rounded to a narrower format, range and all; to bfloat16 through float32."""
    with np.errstate(all="ignore"):
        if name == "float16":
            return np.asarray(x, np.float64).astype(np.float16).astype(np.float64)
        return ops.quantize(single(x), name, rounding=rounding) if name != "float32" else single(x)


def _of_elements(behaviour, fmt: BlockFormat) -> Iterator[Defect]:
    others = [mode for mode in DETERMINISTIC if mode != behaviour.rounding]
    for mode in others:
        yield Defect(f"rounds elements {mode}", {"whole": lambda p, v, mode=mode: integral(v, mode)})
    more = {
        "ties_up": "rounds elements half up: ties toward positive",
        "ties_to_zero": "rounds elements ties toward zero",
        "ties_down": "rounds elements half down: ties toward negative",
        "ties_to_odd": "rounds elements ties to odd",
        "away_from_zero": "rounds elements away from zero",
    }
    for way, sentence in more.items():
        yield Defect(sentence, {"whole": lambda p, v, way=way: integral(v, way)})
    for sentence, limit in _limits(fmt).items():
        yield Defect(sentence.strip(), {"limit": limit})
    grid = fmt.grid
    normal = float(grid.smallest_normal)
    small = float(values_of(grid)[values_of(grid) > 0][0])
    if grid.exponent_bits and grid.has_subnormals:
        flushed = {
            "flushes subnormal elements to zero": lambda p, q, e: np.where(np.abs(e) < normal, np.copysign(0.0, q), e),
            "flushes subnormal elements to zero, without their sign": lambda p, q, e: np.where(
                np.abs(e) < normal, 0.0, e
            ),
            "flushes quotients below the smallest normal element to zero, before rounding": lambda p, q, e: np.where(
                np.abs(q) < normal, np.copysign(0.0, q), e
            ),
            "has no subnormal elements: rounds to zero or the smallest normal one": lambda p, q, e: np.where(
                np.abs(q) < normal, np.copysign(np.where(np.abs(q) > normal / 2, normal, 0.0), q), e
            ),
            "makes subnormal elements the smallest normal one": lambda p, q, e: np.where(
                (np.abs(e) < normal) & (e != 0), np.copysign(normal, q), e
            ),
        }
        for sentence, stage in flushed.items():
            yield Defect(sentence, {"small": stage})
        yield Defect("rounds elements below the smallest normal one as if they were normal", {"grid": _Unbounded(grid)})
    yield Defect(
        "never underflows: elements become the smallest one instead of zero",
        {"small": lambda p, q, e: np.where((e == 0) & (q != 0), np.copysign(small, q), e)},
    )
    yield Defect(
        "loses the sign of elements that underflow", {"small": lambda p, q, e: np.where((e == 0) & (q != 0), 0.0, e)}
    )
    for name in names():
        there = format_of(name)
        there = there.element if isinstance(there, BlockFormat) else there
        other = BlockFormat(element=there, scale=_E8M0, block_size=1).grid if there == _INT8 else there
        if isinstance(other, FloatFormat) and other.signed and abs(other.bits - grid.bits) <= 2 and other != grid:
            if other.fits_float64 and other.bits <= 8:
                yield Defect(f"has elements of {there}", {"grid": other})
    if not isinstance(fmt.element, IntFormat):
        for by, word in ((1, "large"), (-1, "small")):
            try:
                other = FloatFormat(**{**_fields(grid), "bias": grid.bias + by})
            except ValueError:
                continue
            yield Defect(f"has elements with an exponent bias one too {word}", {"grid": other})
    for name in NARROW:
        yield Defect(
            f"rounds quotients to {name} before elements",
            {"divide": lambda p, b, s, t, name=name: through(quotient(b, s * t), name)},
        )
    for extra in (1, 2, 3):
        yield Defect(
            f"rounds elements twice, first to {extra} more bits",
            {"whole": lambda p, v, k=2.0**extra: integral(np.rint(v * k) / k, behaviour.rounding)},
        )
    yield Defect("loses the carry of elements into the exponent", {"small": _lost_carry})


class _Unbounded:
    """A format whose binades go on below the smallest normal."""

    def __init__(self, grid):
        self.mantissa_bits, self.max = grid.mantissa_bits, grid.max
        self.smallest_subnormal = self.smallest_normal = 2.0**-300
        self.has_subnormals, self.exponent_bits = True, grid.exponent_bits


def _fields(fmt: FloatFormat) -> dict:
    names = ("exponent_bits", "mantissa_bits", "bias", "signed", "specials", "has_subnormals")
    return {name: getattr(fmt, name) for name in names}


def _lost_carry(p, q, e):
    size = np.abs(e)
    power = (size > np.abs(q)) & (np.frexp(size)[0] == 0.5) & (size > p.grid.smallest_normal)
    return np.where(power, e / 2, e)


def _limits(fmt: BlockFormat) -> dict:
    """Return what becomes of elements beyond the largest."""
    top, step = float(fmt.grid.max), step_above(fmt.grid)
    second = float(values_of(fmt.grid)[-2])
    last = top + step / 2

    def gives(value, where):
        return lambda p, q, e: np.where(
            where(np.abs(q)), np.copysign(value, q), np.where(np.abs(e) > top, np.copysign(top, e), e)
        )

    said = "does not saturate: elements too large become "
    found = {
        said + "NaN": gives(np.nan, lambda q: q >= last),
        said + "NaN, but at the tie": gives(np.nan, lambda q: q > last),
        said + "NaN, before rounding": gives(np.nan, lambda q: q > top),
        said + "infinity": gives(np.inf, lambda q: q >= last),
        said + "infinity, but at the tie": gives(np.inf, lambda q: q > last),
        said + "infinity, before rounding": gives(np.inf, lambda q: q > top),
        "does not saturate: elements too large stay as they are": lambda p, q, e: np.where(np.abs(q) >= last, q, e),
        "does not saturate: elements go on beyond the largest": lambda p, q, e: e,
        said + "zero": gives(0.0, lambda q: q >= last),
        f"has a largest element one code too small ({second:g})": lambda p, q, e: np.clip(e, -second, second),
    }
    if isinstance(fmt.element, IntFormat):
        count, low = 2.0**fmt.bits, 2.0 ** (fmt.bits - 2)
        found["wraps elements around instead of saturating"] = lambda p, q, e: (
            (np.mod(e * low + count / 2, count) - count / 2) / low
        )
        found["wraps elements around instead of saturating "] = lambda p, q, e: np.where(
            np.abs(e * low) < 2.0**63, (np.mod(e * low + count / 2, count) - count / 2) / low, 0.0
        )
        found["also uses the lowest element code"] = lambda p, q, e: np.clip(e, -2.0, top)
    elif fmt.bits < 8:  # past the largest code come those with the sign, or zero again
        ends = values_of(fmt.grid)[values_of(fmt.grid) >= 0]

        def wrapped(p, q, e):
            over = np.nan_to_num(np.round((np.abs(e) - top) / step), posinf=0.0)
            code = np.clip(over - 1, 0, len(ends) - 1).astype(np.int64)
            return np.where(np.abs(e) > top, -np.copysign(ends[code], e), e)

        found["wraps elements around instead of saturating"] = wrapped
    return found


def _of_largest() -> Iterator[Defect]:
    def of(name, stage):
        return Defect(name, {"largest": lambda p, b: not_finite_is_nan(stage(b))})

    def most(b):
        return b.max(axis=-1, keepdims=True, initial=-np.inf)

    for name in ("bfloat16", "float16", "float32"):
        yield of(f"rounds the largest magnitude to {name}", lambda b, n=name: through(most(np.abs(b)), n))
    yield of("cuts the largest magnitude to bfloat16", lambda b: through(most(np.abs(b)), "bfloat16", "toward_zero"))
    yield of("rounds the largest magnitude to tf32", lambda b: fewer(most(np.abs(b)), 10))
    yield of("takes the largest value, not the largest magnitude", lambda b: np.maximum(most(b), 0.0))
    yield of("takes the largest value, not the largest magnitude", lambda b: np.abs(most(b)))
    yield of("takes the magnitude of the smallest value", lambda b: np.abs(b.min(axis=-1, keepdims=True)))
    yield of("takes the mean magnitude, not the largest", lambda b: np.abs(b).mean(axis=-1, keepdims=True))
    yield of("takes half the range, not the largest magnitude", lambda b: (most(b) + most(-b)) / 2)
    yield of("leaves the last element out of the largest magnitude", lambda b: most(np.abs(b[..., :-1])))
    yield of("leaves the first element out of the largest magnitude", lambda b: most(np.abs(b[..., 1:])))
    yield of("takes the magnitude of the first element", lambda b: np.abs(b[..., :1]))
    for part, word in ((2, "half"), (4, "quarter")):
        yield of(
            f"looks for the largest magnitude in the first {word} of a block alone",
            lambda b, part=part: most(np.abs(b[..., : max(1, b.shape[-1] // part)])),
        )
    for least in LEAST:
        shown = f"2^{int(np.log2(least))}" if np.frexp(least)[0] == 0.5 else f"{least:g}"
        yield of(
            f"takes largest magnitudes below {shown} for {shown}",
            lambda b, least=least: np.maximum(most(np.abs(b)), least),
        )
        yield of(f"adds {shown} to the largest magnitude", lambda b, least=least: most(np.abs(b)) + least)
        yield of(
            f"takes largest magnitudes below {shown} for zero",
            lambda b, least=least: np.where(most(np.abs(b)) < least, 0.0, most(np.abs(b))),
        )


def _of_blocks(fmt: BlockFormat) -> Iterator[Defect]:
    yield Defect("has one scale for a whole row", {"size": 1 << 30})
    for size in (8, 16, 32, 64, 128):
        if size != fmt.block_size:
            yield Defect(f"cuts blocks of {size}", {"size": size})
    yield Defect("has one scale for the whole array", {"size": None}, needs_all=True)
    yield Defect("cuts blocks along the first axis", {"turn": lambda p, x: np.swapaxes(x, -1, -2)}, needs_all=True)
    rolled = {
        "gives a block the scale of the one before": lambda p, a: np.roll(a, 1, axis=-2),
        "gives all blocks of a row the scale of its first": lambda p, a: np.broadcast_to(a[..., :1, :], a.shape),
        "gives all blocks of a row the scale of its last": lambda p, a: np.broadcast_to(a[..., -1:, :], a.shape),
    }
    for sentence, stage in rolled.items():
        yield Defect(sentence, {"of": stage})
    before = lambda p, a: np.roll(a.reshape(a.shape[0], -1), 1, axis=1).reshape(a.shape)  # noqa: E731
    yield Defect("gives a block the scale of the one before, rows after rows", {"of": before}, needs_all=True)


def _of_powers(behaviour, fmt: BlockFormat) -> Iterator[Defect]:
    low, high = -fmt.scale.bias, fmt.scale.max_code - fmt.scale.bias
    top, power = float(fmt.grid.max), fmt.max_exponent
    for rule in SCALE_RULES:
        if rule != behaviour.rule:
            yield Defect(f"has the scale rule {rule}", {"power": lambda p, a, rule=rule: exponents(rule, a, fmt)})

    def rounded(sentence, work):
        return Defect(sentence, {"power": lambda p, a: work(a)})

    def log2(a, kind):
        with np.errstate(all="ignore"):
            return np.log2(a.astype(kind)).astype(np.float64)

    whole = {"floor": np.floor, "ceil": np.ceil, "nearest": np.rint}
    word = behaviour.rule if behaviour.rule in ("floor",) else "ceil"
    for kind in (np.float32, np.float64):
        inexact = f"computes the scale by a logarithm in {np.dtype(kind).name}, which is inexact"
        yield rounded(inexact, lambda a, k=kind: whole[word](log2(a, k)) - power)
        if behaviour.rule == "ceil":
            yield rounded(inexact, lambda a, k=kind: np.ceil(log2(quotient(a, top), k)))
            yield rounded(inexact, lambda a, k=kind: np.ceil(log2(a.astype(k) / k(top), k)))
    for name, work in whole.items():
        yield rounded(
            f"rounds the logarithm of the largest magnitude: {name}", lambda a, w=work: w(log2(a, float)) - power
        )
        yield rounded(
            f"rounds the logarithm of largest magnitude / {top:g}: {name}", lambda a, w=work: w(log2(a / top, float))
        )
    yield rounded(
        "rounds the largest magnitude to the nearest power of two",
        lambda a: np.frexp(a)[1] - 1.0 + (np.frexp(a)[0] >= 0.75) - power,
    )
    for bits in range(1, 8):
        if bits != fmt.grid.mantissa_bits or behaviour.rule != "even":
            yield rounded(
                f"rounds the largest magnitude to {bits} mantissa bits before its exponent is taken",
                lambda a, bits=bits: np.frexp(fewer(a, bits))[1] - 1.0 - power,
            )
    yield rounded(
        f"computes the quotient by {top:g} in float32",
        lambda a: (
            exponents("floor", single(single(a) / np.float32(top)) * 2.0**power, fmt)
            + (np.frexp(single(single(a) / np.float32(top)))[0] > 0.5) * (behaviour.rule == "ceil")
        ),
    )
    for k in [*range(1, 17), *range(-1, -17, -1)]:
        many = "twice" if abs(k) == 1 else f"2^{abs(k)} times"
        shifted = lambda p, a, k=k: exponents(behaviour.rule, a, fmt) + k  # noqa: E731
        yield Defect(f"has scales {many} too {'large' if k > 0 else 'small'}", {"power": shifted})
    for least in (low + 1, low + 2):
        yield Defect(f"never uses scales below 2^{least}", {"clamp": lambda p, e, least=least: np.clip(e, least, high)})
    for most in (high - 1, high - 2):
        yield Defect(f"never uses scales above 2^{most}", {"clamp": lambda p, e, most=most: np.clip(e, low, most)})
    yield Defect(
        "gives the scale code 255, which is NaN, where scales are too large",
        {"clamp": lambda p, e: np.where(e > high, np.nan, np.maximum(e, low))},
    )
    yield Defect("does not clamp scales", {"clamp": lambda p, e: np.where(e == -np.inf, low, e)})
    yield Defect(
        "does not clamp small scales", {"clamp": lambda p, e: np.where(e == -np.inf, low, np.minimum(e, high))}
    )
    yield Defect("does not clamp large scales", {"clamp": lambda p, e: np.maximum(e, low)})
    for sentence, value in (("NaN", np.nan), ("zero", -np.inf)):
        yield Defect(
            f"gives blocks {sentence} whose scale would be too small",
            {"clamp": lambda p, e, v=value: np.where((e < low) & (e != -np.inf), v, np.clip(e, low, high))},
        )

    def wrapped(e):
        return np.mod(np.nan_to_num(e, neginf=low) + fmt.scale.bias, 256)

    yield Defect(
        "wraps scale codes around", {"clamp": lambda p, e: np.where(wrapped(e) == 255, np.nan, wrapped(e) + low)}
    )
    yield Defect("flushes the smallest scale, a subnormal float32, to zero", {"used": _flushed, "kept": _flushed})
    yield Defect(
        "flushes the smallest scale, a subnormal float32, to zero, where elements are multiplied", {"kept": _flushed}
    )
    yield Defect("flushes the smallest scale, a subnormal float32, to zero, where they are divided", {"used": _flushed})
    yield Defect(
        "multiplies by the reciprocal of the scale, which float32 flushes to zero where it is subnormal",
        {"divide": lambda p, b, s, t: np.where(1 / s < 2.0**-126, np.copysign(0.0, b), quotient(b, s))},
    )
    for k, many, last in ((1, "large", high), (-1, "small", low)):
        yield Defect(
            f"writes scale codes one too {many}",
            {"kept": lambda p, s, k=k, last=last: np.where(s == 2.0**last, np.nan, s * 2.0**k)},
        )
        yield Defect(f"decodes scales twice too {many}", {"kept": lambda p, s, k=k: s * 2.0**k})


def _flushed(p, s):
    return np.where(s < 2.0**-126, 0.0, s)


def _of_two_levels(behaviour, fmt: BlockFormat) -> Iterator[Defect]:
    top, most = float(fmt.grid.max), float(fmt.scale.max)

    if is_dynamic(behaviour):
        parts: dict[str, Callable] = {
            "leaves the tensor scale out": lambda p, a: np.float64(1.0),
            f"takes the tensor scale for the largest magnitude / {top:g}": lambda p, a: right.tensor_scale(a, top),
            f"takes the tensor scale for the largest magnitude / {most:g}": lambda p, a: right.tensor_scale(a, most),
            "has a tensor scale for each row": lambda p, a: _of_rows(a, top * most),
            "rounds the tensor scale to bfloat16": lambda p, a: through(right.tensor_scale(a, top * most), "bfloat16"),
            "rounds the tensor scale to float16": lambda p, a: through(right.tensor_scale(a, top * most), "float16"),
            "lets tensor scales become zero or infinite": lambda p, a: np.where(
                largest_of_all(a) == 0, 1.0, single(quotient(largest_of_all(a), top * most))
            ),
            "does not round the tensor scale to float32": lambda p, a: np.where(
                largest_of_all(a) == 0, 1.0, largest_of_all(a) / (top * most)
            ),
            "divides by the tensor scale's reciprocal, rounded to float32": lambda p, a: (
                1 / single(top * most / largest_of_all(a))
            ),
        }
        for power, word in ((np.floor, "down"), (np.ceil, "up"), (np.rint, "to the nearest")):
            parts[f"rounds the tensor scale {word} to a power of two"] = lambda p, a, power=power: (
                2.0 ** power(np.log2(right.tensor_scale(a, top * most)))
            )
        for other in (256.0, 240.0, 416.0, 480.0, 57344.0):
            if other != most:
                parts[f"takes {other:g} for the largest scale"] = lambda p, a, other=other: right.tensor_scale(
                    a, top * other
                )
        for sentence, stage in parts.items():
            yield Defect(sentence, {"tensor": stage})
        for least in (1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 2.0**-126):
            yield Defect(
                f"has no tensor scale below {least:g}",
                {"tensor": lambda p, a, least=least: single(np.maximum(right.tensor_scale(a, top * most), least))},
            )
            yield Defect(
                f"takes largest magnitudes of tensors below {least:g} for {least:g}",
                {"tensor": lambda p, a, v=least: single(np.maximum(largest_of_all(a), v) / (top * most))},
            )
    else:
        yield Defect("leaves the tensor scale out", {"tensor": lambda p, a: np.float64(1.0)})
        yield Defect(
            "computes a tensor scale instead of taking the given",
            {"tensor": lambda p, a: right.tensor_scale(a, top * most)},
            needs_all=True,
        )
    yield Defect("leaves the tensor scale out of the results", {"product": lambda p, e, s, t: e * s})
    yield Defect("leaves the tensor scale out of the block scales", {"ratio": lambda p, a, t: quotient(a, top)})
    yield Defect("leaves the tensor scale out of the elements", {"divide": lambda p, b, s, t: quotient(b, s)})
    yield Defect("divides results by the tensor scale", {"product": lambda p, e, s, t: e * s / t})
    for other in (1.0, 4.0, 5.0, 7.0, 8.0, 12.0):
        if other != top:
            yield Defect(
                f"takes {other:g} for the largest element", {"ratio": lambda p, a, t, v=other: quotient(a, v * t)}
            )

    def rounded(rounding, overflow="saturate", of=fmt.scale):
        return lambda p, r: ops.quantize(r, of, rounding=rounding, overflow=overflow)

    words = {"toward_zero": "down", "toward_positive": "up", "ties_to_away": "ties away from zero", "to_odd": "to odd"}
    for mode, word in words.items():
        yield Defect(f"rounds block scales {word}", {"scale": rounded(mode)})
    last = most + step_above(fmt.scale) / 2
    said = "does not clamp block scales: those beyond the largest "
    yield Defect(said + "become NaN", {"scale": lambda p, r: np.where(r > last, np.nan, rounded("ties_to_even")(p, r))})
    yield Defect(
        said + "become NaN", {"scale": lambda p, r: np.where(r >= last, np.nan, rounded("ties_to_even")(p, r))}
    )
    yield Defect(said + "become NaN", {"scale": lambda p, r: np.where(r > most, np.nan, rounded("ties_to_even")(p, r))})
    yield Defect(
        said + "become infinity", {"scale": lambda p, r: np.where(r > last, np.inf, rounded("ties_to_even")(p, r))}
    )
    yield Defect(
        said + "go on",
        {"scale": lambda p, r: np.where(r > last, fewer(r, fmt.scale.mantissa_bits), rounded("ties_to_even")(p, r))},
    )
    yield Defect(
        said + "stay as they are", {"scale": lambda p, r: np.where(r > most, single(r), rounded("ties_to_even")(p, r))}
    )
    yield Defect("does not round block scales", {"scale": lambda p, r: single(r)})
    yield Defect("does not round block scales", {"ratio": lambda p, a, t: a / (top * t), "scale": lambda p, r: r})
    yield Defect("does not round block scales", {"scale": lambda p, r: np.minimum(single(r), most)})
    for power, word in ((np.floor, "down"), (np.ceil, "up"), (np.rint, "to the nearest")):
        yield Defect(
            f"rounds block scales {word} to powers of two",
            {"scale": lambda p, r, power=power: np.where(r == 0, 0.0, np.minimum(2.0 ** power(np.log2(r)), 2.0**127))},
        )
    for name in names():
        other = format_of(name)
        if isinstance(other, FloatFormat) and other.bits == fmt.scale.bits and other not in (fmt.scale,):
            if other.fits_float64:
                yield Defect(f"has block scales of {name}", {"scale": rounded("ties_to_even", of=other)})
    normal = float(fmt.scale.smallest_normal)
    least = float(fmt.scale.smallest_subnormal)

    def flushed(p, r):
        s = rounded("ties_to_even")(p, r)
        return np.where(s < normal, 0.0, s)

    yield Defect("flushes subnormal block scales to zero", {"scale": flushed})
    yield Defect(
        "flushes subnormal block scales to zero, where they are decoded",
        {"kept": lambda p, s: np.where(s < normal, 0.0, s)},
    )
    for value, word in ((least, "the smallest scale"), (normal, "the smallest normal scale"), (2.0**-6, "2^-6")):
        yield Defect(
            f"takes {word} for block scales that round to zero", {"zero": lambda p, s, v=value: np.where(s == 0, v, s)}
        )
        yield Defect(f"has no block scales below {word}", {"zero": lambda p, s, v=value: np.maximum(s, v)})
    for value, word in ((np.nan, "NaN"), (0.0, "zero")):
        yield Defect(
            f"gives {word} for blocks whose scale rounds to zero",
            {
                "zero": lambda p, s: np.where(s == 0, np.inf if p else 1.0, s),
                "product": lambda p, e, s, t, v=value: np.where(
                    np.isinf(s), np.where(e == 0, np.copysign(v, e), v), e * (s * t)
                ),
            },
        )
    yield Defect("divides by block scales that are zero", {"zero": lambda p, s: s})
    f32 = np.float32
    quotients = {
        f"(a / {top:g}) / t": lambda a, t: single(single(a / f32(top)) / t),
        f"a / ({top:g} * t)": lambda a, t: single(a / single(top * t)),
        f"(a / t) / {top:g}": lambda a, t: single(single(a / t) / f32(top)),
        f"(a * (1 / {top:g})) / t": lambda a, t: single(single(a * single(1 / top)) / t),
        f"a * (1 / ({top:g} * t))": lambda a, t: single(a * single(1 / single(top * t))),
        f"(a / {top:g}) * (1 / t)": lambda a, t: single(single(a / f32(top)) * single(1 / t)),
        f"(a * (1 / t)) / {top:g}": lambda a, t: single(single(a * single(1 / t)) / f32(top)),
        f"(a * (1 / t)) * (1 / {top:g})": lambda a, t: single(single(a * single(1 / t)) * single(1 / top)),
        f"(a * (1 / {top:g})) * (1 / t)": lambda a, t: single(single(a * single(1 / top)) * single(1 / t)),
    }
    for how, work in quotients.items():
        yield Defect(
            f"computes block scales in float32, as {how}", {"ratio": lambda p, a, t, work=work: work(single(a), t)}
        )
    for name in ("bfloat16", "float16"):
        yield Defect(
            f"rounds block scales to {name} first", {"ratio": lambda p, a, t, n=name: through(quotient(a, top * t), n)}
        )


def _of_rows(a, parts):
    top = np.where(np.isnan(a), 0.0, a).max(axis=(2, 3), keepdims=True)
    found = np.clip(quotient(top, parts), right.SMALLEST_FLOAT32, right.LARGEST_FLOAT32)
    return np.where(top == 0, 1.0, single(found))


def _of_quotients(fmt: BlockFormat) -> Iterator[Defect]:
    works = {
        "multiplies by the reciprocal of the scale, in float32": lambda b, s, t: single(b * single(1 / single(s * t)))
    }
    if fmt.tensor_scale:
        works |= {
            "divides by the scale in float32, as x / (s * t)": lambda b, s, t: single(b / single(s * t)),
            "divides by the scale in float32, as (x / t) / s": lambda b, s, t: single(single(b / t) / s),
            "divides by the scale in float32, as (x / s) / t": lambda b, s, t: single(single(b / s) / t),
            "multiplies by the reciprocal of the tensor scale, as (x * (1 / t)) / s": lambda b, s, t: single(
                single(b * single(1 / t)) / s
            ),
            "multiplies by the reciprocal of the scale, as x * ((1 / t) / s)": lambda b, s, t: single(
                b * single(single(1 / t) / s)
            ),
            "multiplies by the reciprocals of both scales, in float32": lambda b, s, t: single(
                single(b * single(1 / t)) * single(1 / s)
            ),
            "multiplies by the reciprocals of both scales, in float32 ": lambda b, s, t: single(
                single(b * single(1 / s)) * single(1 / t)
            ),
        }
    for sentence, stage in works.items():
        yield Defect(sentence.strip(), {"divide": lambda p, b, s, t, stage=stage: stage(single(b), s, t)})
    if fmt.tensor_scale:
        yield Defect(
            "multiplies by the reciprocal of the scale, in float64", {"divide": lambda p, b, s, t: b * (1 / (s * t))}
        )
        yield Defect(
            "rounds the product of the two scales to float32",
            {"divide": lambda p, b, s, t: quotient(b, single(s * t)), "product": lambda p, e, s, t: e * single(s * t)},
        )
        yield Defect(
            "rounds the product of the two scales to float32, in decoding",
            {"product": lambda p, e, s, t: single(e * single(s * t))},
        )
        yield Defect(
            "rounds element times block scale times tensor scale more than once",
            {"product": lambda p, e, s, t: single(single(e * t) * s)},
        )
    for name in ("bfloat16", "float16"):
        yield Defect(f"rounds results to {name}", {"product": lambda p, e, s, t, n=name: through(e * (s * t), n)})


def _of_inputs() -> Iterator[Defect]:
    def narrowed(name):
        def before(p, x):
            y = through(x.astype(np.float64), name)
            return np.where(np.isnan(x), x, y)

        return before

    for name in ("float32", "bfloat16", "float16"):
        yield Defect(f"rounds its input to {name} first", {"before": narrowed(name)})
    yield Defect(
        "cuts its input to bfloat16 first",
        {"before": lambda p, x: np.where(np.isfinite(x), through(x, "bfloat16", "toward_zero"), x)},
    )
    for sentence, least in (
        ("flushes inputs that are subnormal in float32 to zero", lambda x: 2.0**-126),
        ("flushes subnormal inputs to zero", lambda x: np.finfo(x.dtype).smallest_normal),
    ):
        yield Defect(
            sentence, {"before": lambda p, x, least=least: np.where(np.abs(x) < least(x), np.copysign(0.0, x), x)}
        )
    yield Defect(
        "limits its input to the range of float32",
        {"before": lambda p, x: np.where(np.isfinite(x), np.clip(x, -right.LARGEST_FLOAT32, right.LARGEST_FLOAT32), x)},
    )


def _of_results(fmt: BlockFormat) -> Iterator[Defect]:
    size = fmt.block_size

    def blocks(x, y, work):
        return work(x.reshape(*x.shape[:-1], -1, size), y.reshape(*y.shape[:-1], -1, size)).reshape(y.shape)

    def zeros(value):
        return lambda p, x, y: blocks(x, y, lambda b, e: np.where((b == 0).all(axis=-1, keepdims=True), value, e))

    signs = {"loses the sign": np.abs, "loses the sign of zeros": lambda y: y + 0.0}
    for sentence, work in signs.items():
        yield Defect(sentence, {"after": lambda p, x, y, work=work: work(y)})
    yield Defect("loses the sign of minus zero", {"after": lambda p, x, y: np.where(x == 0, 0.0, y)})
    yield Defect("gives NaN for blocks of zeros", {"after": zeros(np.nan)})
    yield Defect("gives infinity for blocks of zeros", {"after": zeros(np.inf)})
    yield Defect(
        "loses the sign of zeros in blocks of zeros",
        {"after": lambda p, x, y: blocks(x, y, lambda b, e: np.where((b == 0).all(axis=-1, keepdims=True), 0.0, e))},
    )
    if fmt.bits == 4:
        yield Defect(
            "swaps the two nibbles of a byte",
            {"after": lambda p, x, y: y.reshape(*y.shape[:-1], -1, 2)[..., ::-1].reshape(y.shape)},
        )
    yield Defect(
        "puts the elements of a block in the opposite order",
        {"after": lambda p, x, y: y.reshape(*y.shape[:-1], -1, size)[..., ::-1].reshape(y.shape)},
    )
    yield (
        Defect(
            "keeps the second half of a block between those of the first",
            {
                "after": lambda p, x, y: np.stack(
                    np.split(y.reshape(*y.shape[:-1], -1, size), 2, axis=-1), axis=-1
                ).reshape(y.shape)
            },
        )
        if size % 2 == 0
        else Defect("", {"after": lambda p, x, y: y})
    )
    yield Defect(
        "flushes results that are subnormal in float32 to zero",
        {"after": lambda p, x, y: np.where(np.abs(y) < 2.0**-126, np.copysign(0.0, y), y)},
    )
