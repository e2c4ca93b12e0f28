"""Diagnosis of decoders of blocks: what reads codes and scales as this one does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from refimpl import ops
from refimpl.formats import FloatFormat, IntFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.diagnosis.stages import Defect, searched, sentences


def of_decoding(behaviour, seen: list) -> tuple[str, ...]:
    """Return what explains all decoded values."""

    def explains(stages, level):
        return all(_explained(behaviour, stages, s) for s in seen)

    known = [*_defects(behaviour)]
    found = searched([(d,) for d in known], explains, levels=1) or searched(
        [*combinations(known, 2)], explains, levels=1
    )
    return sentences(found) or ("decodes some codes wrongly",)


def _explained(behaviour, stages, s) -> bool:
    predicted = predict(behaviour, stages, s.x, s.scales, s.tensor_scale)
    with np.errstate(all="ignore"):
        alike = behaviour.same(np.zeros(s.x.shape), predicted.astype(s.dtype).astype(np.float64), s.got)
    return bool(alike.all())


def predict(behaviour, stages, codes, scales, tensor_scale) -> np.ndarray:
    """Return what codes stand for to a decoder some stages of which are replaced."""
    fmt = behaviour.format
    codes = stages.get("codes", lambda c: c)(codes)
    element = stages.get("element", lambda c: _elements(fmt, c))(codes)
    scale = stages.get("scale", lambda c: ops.decode(c, fmt.scale))(scales)
    wide = np.repeat(stages.get("of", lambda s: s)(scale), stages.get("size", fmt.block_size), axis=-1)
    wide = np.resize(wide, codes.shape) if wide.shape != codes.shape else wide
    tensor = stages.get("tensor", lambda t: t)(float(tensor_scale))
    with np.errstate(all="ignore"):
        return stages.get("after", lambda y: y)(element * (wide * tensor))


def _elements(fmt, codes):
    if isinstance(fmt.element, IntFormat):
        half = 1 << fmt.bits - 1
        return ((codes.astype(np.int64) ^ half) - half) * 2.0 ** (2 - fmt.bits)
    return ops.decode(codes, fmt.element)


def _defects(behaviour) -> Iterator[Defect]:
    fmt = behaviour.format
    if fmt.bits == 4:
        swap = lambda c: c.reshape(*c.shape[:-1], -1, 2)[..., ::-1].reshape(c.shape)  # noqa: E731
        yield Defect("swaps the two nibbles of a byte", {"codes": swap})
    for by in (1, -1):
        word = "large" if by > 0 else "small"
        yield Defect(f"decodes scales twice too {word}", {"scale": lambda c, by=by: ops.decode(c, fmt.scale) * 2.0**by})
    plain = {
        "reads the smallest scale as zero": lambda c: np.where(c == 0, 0.0, ops.decode(c, fmt.scale)),
        "reads the scale code 255 as 2^128, not as NaN": lambda c: np.where(
            c == 255, 2.0**128, ops.decode(c, fmt.scale)
        ),
        "reads the scale code 255 as infinity, not as NaN": lambda c: np.where(
            c == 255, np.inf, ops.decode(c, fmt.scale)
        ),
        "reads the scale code 255 as zero, not as NaN": lambda c: np.where(c == 255, 0.0, ops.decode(c, fmt.scale)),
        "takes scale codes for numbers": lambda c: c.astype(np.float64),
        "takes no account of scales": lambda c: np.ones(c.shape),
        "divides by scales": lambda c: 1 / ops.decode(c, fmt.scale),
    }
    if fmt.tensor_scale:
        normal, top = fmt.scale.smallest_normal, fmt.scale.max
        plain = {
            "flushes subnormal scales to zero": lambda c: np.where(
                ops.decode(c, fmt.scale) < normal, 0.0, ops.decode(c, fmt.scale)
            ),
            "reads the scale code of NaN as a number": lambda c: np.nan_to_num(
                ops.decode(c, fmt.scale), nan=top + 2.0 ** (fmt.scale.maxexp - 1 - fmt.scale.mantissa_bits)
            ),
            **{k: v for k, v in plain.items() if "255" not in k and "smallest" not in k},
        }
        yield Defect("takes no account of the tensor scale", {"tensor": lambda t: 1.0})
        yield Defect("divides by the tensor scale", {"tensor": lambda t: 1 / t})
    for sentence, stage in plain.items():
        yield Defect(sentence, {"scale": stage})
    for name in names():
        other = format_of(name)
        if isinstance(other, FloatFormat) and other.fits_float64:
            if other.bits == fmt.scale.bits and other != fmt.scale:
                yield Defect(f"reads scales as {name}", {"scale": lambda c, other=other: ops.decode(c, other)})
            if other.bits == fmt.bits and other != fmt.element:
                yield Defect(f"reads elements as {name}", {"element": lambda c, other=other: ops.decode(c, other)})
    yield Defect("gives a block the scale of the one before", {"of": lambda s: np.roll(s, 1, axis=-1)})
    yield Defect("reads scales as if blocks were half as long", {"size": fmt.block_size // 2})
    yield from _of_elements(fmt)
    yield Defect("loses the sign of zeros", {"after": lambda y: y + 0.0})
    yield Defect("loses the sign", {"after": np.abs})
    yield Defect(
        "flushes results that are subnormal in float32 to zero",
        {"after": lambda y: np.where(np.abs(y) < 2.0**-126, np.copysign(0.0, y), y)},
    )


def _of_elements(fmt) -> Iterator[Defect]:
    if isinstance(fmt.element, IntFormat):
        half = 1 << fmt.bits - 1
        for k, word in ((2.0, "large"), (0.5, "small"), (2.0 ** (fmt.bits - 2), "large, as integers")):
            yield Defect(f"reads elements too {word}", {"element": lambda c, k=k: _elements(fmt, c) * k})
        unsigned = {
            "reads elements without a sign": lambda c: c * 2.0 ** (2 - fmt.bits),
            "reads elements as sign and magnitude": lambda c: (
                np.where(c & half, -1.0, 1.0) * (c & half - 1) * 2.0 ** (2 - fmt.bits)
            ),
            "reads the lowest element code as the next": lambda c: np.maximum(_elements(fmt, c), -fmt.grid.max),
        }
        for sentence, stage in unsigned.items():
            yield Defect(sentence, {"element": stage})
        return
    of, normal = fmt.element, fmt.element.smallest_normal

    def changed(work):
        return lambda c: work(ops.decode(c, of), c)

    mantissa = (1 << of.mantissa_bits) - 1
    said = {
        "decodes subnormal elements as zero": changed(
            lambda v, c: np.where(np.abs(v) < normal, np.copysign(0.0, v), v)
        ),
        "decodes subnormal elements as if they had a hidden bit": changed(
            lambda v, c: np.where(
                np.abs(v) < normal, np.copysign((1 + (c & mantissa) / (mantissa + 1)) * normal / 2, v), v
            )
        ),
        "decodes elements without their sign": changed(lambda v, c: np.abs(v)),
        "decodes NaN of elements as a number": changed(
            lambda v, c: np.where(np.isnan(v), np.copysign(of.max * 480 / 448, v), v)
        ),
    }
    for sentence, stage in said.items():
        yield Defect(sentence, {"element": stage})
    for by, word in ((2.0, "large"), (0.5, "small")):
        yield Defect(f"decodes elements twice too {word}", {"element": changed(lambda v, c, by=by: v * by)})
