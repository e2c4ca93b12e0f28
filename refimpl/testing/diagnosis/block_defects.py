"""Known defects of block quantizers, but for those of scales: stages of `block_stages` that replace the right ones.

The likeliest come first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from refimpl import ops
from refimpl.formats import BlockFormat, FloatFormat, IntFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.diagnosis import block_stages as right
from refimpl.testing.diagnosis.block_largest import of_largest, of_places, of_statistics, scales_written
from refimpl.testing.diagnosis.block_scales import of_powers, of_two_levels
from refimpl.testing.diagnosis.block_stages import integral
from refimpl.testing.diagnosis.stages import Defect
from refimpl.testing.expected.behaviour import DETERMINISTIC, step_above, values_of
from refimpl.testing.expected.quotients import quotient, single, through

NARROW = ("bfloat16", "float16", "float32")
_INT8, _E8M0 = format_of("int8"), format_of("float8_e8m0fnu")


def defects_of(behaviour) -> tuple[Defect, ...]:
    """Return the known defects of block quantizers of these rules."""
    fmt, dynamic = behaviour.format, right.is_dynamic(behaviour)
    found = [*_of_elements(behaviour, fmt), *of_largest(dynamic), *_of_blocks(fmt), *_of_results(fmt)]
    found += [*(of_two_levels(behaviour, fmt) if fmt.tensor_scale else of_powers(behaviour, fmt))]
    found += [*_of_quotients(fmt), *_of_inputs()]
    return (*found, *of_statistics(fmt.block_size, fmt.tensor_scale, dynamic))


def by_sign() -> list[Defect]:
    """Return defects that round positive elements in one mode and negative ones in another."""

    def rounded(one, other):
        return {"whole": lambda p, v: np.where(v > 0, integral(v, one), integral(v, other))}

    said = "rounds positive elements {}, negative ones {}"
    words = right.WORDS
    return [Defect(said.format(words[one], words[other]), rounded(one, other)) for one, other in right.sign_pairs()]


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
    for kind, work in (("float32", single), ("float64", lambda v: v)):
        said = f"in {kind}, which rounds up just below a tie"
        yield Defect(
            f"adds one half to elements and cuts, {said}",
            {"whole": lambda p, v, work=work: np.trunc(work(v + np.copysign(0.5, v)))},
        )
        yield Defect(
            f"adds one half to elements and rounds down, {said}",
            {"whole": lambda p, v, work=work: np.floor(work(v + 0.5))},
        )
    for name in names():
        of = format_of(name)
        if isinstance(of, FloatFormat) and of.signed and of.has_subnormals and of.fits_float64 and of.bits <= 16:
            if name not in NARROW and of != grid and of.has_zero:
                yield Defect(f"rounds quotients to {name} before elements", {"divide": _through_format(of)})
    for bits in range(1, 13):
        yield Defect(
            f"rounds quotients to multiples of 2^-{bits} before elements",
            {"divide": lambda p, b, s, t, k=2.0**bits: np.rint(quotient(b, s * t) * k) / k},
        )
    for extra in (1, 2, 3):
        yield Defect(
            f"rounds elements twice, first to {extra} more bits",
            {"whole": lambda p, v, k=2.0**extra: integral(np.rint(v * k) / k, behaviour.rounding)},
        )
    yield Defect("loses the carry of elements into the exponent", {"small": _lost_carry})


def _through_format(of: FloatFormat):
    return lambda p, b, s, t: ops.quantize(quotient(b, s * t), of, overflow="saturate")


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


def _of_blocks(fmt: BlockFormat) -> Iterator[Defect]:
    yield Defect("has one scale for a whole row", {"size": 1 << 30})
    for size in (8, 16, 32, 64, 128):
        if size != fmt.block_size:
            yield Defect(f"cuts blocks of {size}", {"size": size})
    yield Defect("has one scale for the whole array", {"size": None}, needs_all=True)
    yield Defect(
        "cuts blocks along the first axis",
        dict.fromkeys(("turn", "turned_back"), lambda p, x: np.swapaxes(x, -1, -2)),
        needs_all=True,
    )
    strided = "takes every n-th element of a row for a block, where a row has n blocks"
    yield Defect(
        strided,
        {"turn": lambda p, x: _strided(x, fmt.block_size), "turned_back": lambda p, y: _strided(y, -fmt.block_size)},
    )
    yield from of_places()
    yield from scales_written()


def _strided(x, size: int):
    """Return rows in which elements i, i + n, ... come together, n the blocks of a row; size below 0 undoes it."""
    n = x.shape[-1] // abs(size)
    if x.shape[-1] % size:
        return x
    split = (abs(size), n) if size > 0 else (n, -size)
    return np.swapaxes(x.reshape(*x.shape[:-1], *split), -1, -2).reshape(x.shape)


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
        return right.whole(work(right.cut(x, size), right.cut(y, size)), y)

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
            "swaps the two nibbles of a byte", {"after": lambda p, x, y: right.whole(right.cut(y, 2)[..., ::-1], y)}
        )
    yield Defect(
        "puts the elements of a block in the opposite order",
        {"after": lambda p, x, y: right.whole(right.cut(y, size)[..., ::-1], y)},
    )
    if size % 2 == 0:

        def woven(p, x, y):
            b = right.cut(y, size)
            return right.whole(np.stack(np.split(b, 2, axis=-1), axis=-1).reshape(b.shape), y)

        yield Defect("keeps the second half of a block between those of the first", {"after": woven})
    yield Defect(
        "flushes results that are subnormal in float32 to zero",
        {"after": lambda p, x, y: np.where(np.abs(y) < 2.0**-126, np.copysign(0.0, y), y)},
    )
