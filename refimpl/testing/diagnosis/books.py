"""Diagnosis of quantizers to code books in blocks: one known defect, two, or where it fails.

*Stages*: `scale` of rows x (n, size), float64, of which blocks are; `place`, which of the ascending values, by x and
scale; `value` of a place; `product` with the scale.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from refimpl.formats import format as format_of
from refimpl.formats.codebooks import BOOKS
from refimpl.testing.diagnosis.diagnosis import Diagnosis
from refimpl.testing.diagnosis.stages import Defect, likely_pairs, sentences, singles
from refimpl.testing.expected.cases import evenly
from refimpl.testing.expected.quotients import single, through

FEW = 60  # blocks that fail, and others, that defects are held against first


def diagnose(behaviour, seen: list) -> Diagnosis:
    """Return what explains everything that was seen, at most three sentences, or describes it."""
    parts = [_Part(behaviour, s.x, s.got, s.route) for s in seen]
    parts = [p for p in parts if p.x.size]
    if not any(p.bad.any() for p in parts):
        return Diagnosis(())
    few = [p.some() for p in parts if p.bad.any()]
    right, known = right_stages(behaviour), defects_of(behaviour)

    def explains(stages: dict[str, Any], level: int) -> bool:
        return all(p.explained(right | stages).all() for p in (few if level == 0 else parts))

    found = singles([known], explains)
    if not found:
        hits = np.array([np.concatenate([p.explained(right | d.stages)[p.bad] for p in few]) for d in known])
        found = likely_pairs(known, hits, explains)
    return Diagnosis(sentences(found)) if found else Diagnosis((), _described(behaviour, parts))


class _Part:
    """Blocks of one call, in rows; a part of a block at the end of a row is filled up with zeros."""

    def __init__(self, behaviour, x, got, route):
        size, length = behaviour.block_size, x.shape[-1]
        blocks = -(-length // size)
        wrong = ~behaviour.same(x, behaviour.values(x), got)

        def rows(a):
            filled = np.zeros((len(a), blocks * size), a.dtype)
            filled[:, :length] = a
            return filled.reshape(len(a), blocks, size)

        self.x, self.got, self.bad = rows(x.astype(np.float64)), rows(np.asarray(got)), rows(wrong)
        self.real = rows(np.ones(x.shape, bool))
        self.narrow, self.route, self.behaviour = (x.dtype if route == "quantize" else np.float32), route, behaviour

    def some(self) -> _Part:
        """Return rows that fail and a few others."""
        wrong = self.bad.any(axis=(1, 2))
        at = np.concatenate([evenly(np.flatnonzero(wrong), FEW), evenly(np.flatnonzero(~wrong), 10)])
        part = object.__new__(_Part)
        part.__dict__ = self.__dict__ | {name: getattr(self, name)[at] for name in ("x", "got", "bad", "real")}
        return part

    def explained(self, stages) -> np.ndarray:
        """Return which results stages predict."""
        with np.errstate(all="ignore"):
            y = predict(self.x, stages).astype(self.narrow).astype(np.float64)
            return self.behaviour.same(self.x, y, self.got) | ~self.real


def predict(x, stages) -> np.ndarray:
    """Return what stages make of x (rows, blocks, size), float64."""
    scale = np.broadcast_to(stages["scale"](x), x.shape)
    values = stages["book"]
    place = stages["place"](x, scale, values)
    return stages["product"](values[place], stages["kept"](scale))


def right_stages(behaviour) -> dict[str, Any]:
    """Return the stages of a right quantizer."""
    return {
        "scale": _largest,
        "place": partial(_counted, quotient=_exactly, boundaries=_midpoints, side="left"),
        "book": np.array(behaviour.format.values()),
        "product": lambda value, scale: single(value * scale),
        "kept": lambda scale: scale,
    }


def _largest(x):
    top = np.abs(x).max(axis=-1, keepdims=True)
    return np.where(top == 0, 1.0, top)


def _midpoints(values):
    return single((values[1:] + values[:-1]) / 2)


def _exact_midpoints(values):
    return (values[1:] + values[:-1]) / 2


def _counted(x, scale, values, *, quotient: Callable, boundaries: Callable, side: Literal["left", "right"]):
    """Return how many boundaries lie below the quotient, or, from the right, at or below."""
    return np.searchsorted(boundaries(values), quotient(x, scale), side)


def _exactly(x, s):
    """Return quotients of float32 numbers in float64, which lie on that side of each float32 where the exact ones do.

    A quotient of 24 bits over 24 that is not a third number of 24 bits differs from it by 2^-48 of it at least.
    """
    return x / s


def _nearest(x, scale, values, *, quotient: Callable) -> np.ndarray:
    """Return the first of the values whose distance, in float32, is smallest."""
    q = quotient(x, scale)
    first = np.clip(np.searchsorted(values, q) - 2, 0, max(len(values) - 4, 0))
    near = first[..., None] + np.arange(min(4, len(values)))
    return np.where(np.isfinite(q), first + np.abs(single(q[..., None] - values[near])).argmin(axis=-1), 0)


def _divided(x, s):
    return single(x / s)


def _by_reciprocal(x, s):
    return single(x * single(1 / s))


def defects_of(behaviour) -> list[Defect]:
    """Return the known defects."""
    book = np.array(behaviour.format.values())
    found = []
    quotients = {
        "divides by the scale in float32, before it compares": _divided,
        "multiplies by the reciprocal of the scale, in float32": _by_reciprocal,
        "divides by the scale in float16": lambda x, s: through(x / s, "float16"),
        "divides by the scale in bfloat16": lambda x, s: through(single(x / s), "bfloat16"),
    }
    counted = partial(_counted, boundaries=_midpoints, side="left")
    found += [Defect(text, {"place": partial(counted, quotient=q)}) for text, q in quotients.items()]
    for text, q in (
        ("", _exactly),
        (", of quotients in float32", _divided),
        (", of quotients by a reciprocal", _by_reciprocal),
    ):
        places = {
            "gives the upper of two values that are equally near": partial(counted, quotient=q, side="right"),
            "compares with midpoints that are not rounded to float32": partial(
                counted, quotient=q, boundaries=_exact_midpoints
            ),
            "takes the next value below, not the nearest": partial(
                counted, quotient=q, boundaries=lambda v: v[1:], side="right"
            ),
            "takes the next value above, not the nearest": partial(counted, quotient=q, boundaries=lambda v: v[:-1]),
        }
        found += [Defect(words + text, {"place": place}) for words, place in places.items()]
    for text, q in (("divided", _divided), ("times the reciprocal", _by_reciprocal)):
        place = partial(_nearest, quotient=q)
        found.append(
            Defect(f"takes the value at the smallest distance in float32, of what is {text}", {"place": place})
        )
    scales: dict[str, Callable] = {
        "takes the largest value of a block for the scale, not the largest magnitude": lambda x: _or_one(
            x.max(-1, keepdims=True)
        ),
        "takes the smallest value of a block for the scale, not the largest magnitude": lambda x: _or_one(
            -x.min(-1, keepdims=True)
        ),
        "takes the largest magnitude of a row for the scale of all its blocks": lambda x: _largest(
            x.reshape(len(x), 1, -1)
        ),
        "takes the largest magnitude of the array for the scale of all blocks": lambda x: _largest(x.reshape(1, 1, -1)),
        "leaves the last element of a block out of the scale": lambda x: _largest(
            x[..., :-1] if x.shape[-1] > 1 else x
        ),
        "leaves the first element of a block out of the scale": lambda x: _largest(
            x[..., 1:] if x.shape[-1] > 1 else x
        ),
        "gives NaN for a block of zeros": lambda x: np.where((x == 0).all(-1, keepdims=True), np.nan, _largest(x)),
        "adds 1e-8 to the scale": lambda x: single(np.abs(x).max(axis=-1, keepdims=True) + single(1e-8)),
        "takes the mean magnitude for the scale": lambda x: _or_one(single(np.abs(x).mean(axis=-1, keepdims=True))),
        "takes the root of the mean square for the scale": lambda x: _or_one(
            single(np.sqrt((x * x).mean(-1, keepdims=True)))
        ),
        "takes a power of two above the largest magnitude for the scale": lambda x: (
            2.0 ** np.ceil(np.log2(_largest(x)))
        ),
        "takes a power of two below the largest magnitude for the scale": lambda x: (
            2.0 ** np.floor(np.log2(_largest(x)))
        ),
    }
    size = behaviour.block_size
    for other in sorted({size // 4, size // 2, 2 * size, 4 * size} - {0, size}):
        scales[f"shares a scale among {other} neighbours, not {size}"] = partial(_among, size=other)
    found += [Defect(text, {"scale": scale}) for text, scale in scales.items()]
    for name in ("float16", "bfloat16"):
        narrow = partial(_narrowed, name=name)
        found.append(Defect(f"rounds scales to {name}", {"scale": lambda x, n=narrow: n(_largest(x))}))
        found.append(Defect(f"keeps scales in {name}, after it has divided by them", {"kept": narrow}))
        found.append(Defect(f"gives results of {name}", {"product": lambda v, s, n=narrow: n(single(v * s))}))
        found.append(Defect(f"has its book in {name}", {"book": narrow(book)}))
    for digits in (2, 3, 4, 5, 6):
        if not np.array_equal(single(np.round(book, digits)), book):
            found.append(Defect(f"has its book in {digits} decimals", {"book": single(np.round(book, digits))}))
    for name in BOOKS:
        other = np.array(format_of(name).values())
        if not np.array_equal(other, book):
            found.append(Defect(f"has the book {name}", {"book": other}))
    uniform = single(np.linspace(book[0], book[-1], len(book)))
    found.append(Defect("has equally spaced values", {"book": uniform}))
    found.append(Defect("has its book with the signs changed", {"book": np.sort(-book)}))
    for which, less in (("smallest", book[1:]), ("largest", book[:-1])):
        found.append(Defect(f"never gives the {which} value of the book", {"book": less}))
    stored = np.array(behaviour.format.book)
    ascending = np.sort(stored)
    for words, numbers in (
        ("numbers its codes from the smallest value up, not in the order of the book", stored),
        ("numbers its codes from the largest value down, not in the order of the book", stored[::-1]),
    ):
        if not np.array_equal(numbers, ascending):
            read = partial(_read_as, ascending=ascending, numbers=numbers)
            found.append(Defect(words, {"product": read}))
    found.append(Defect("does not multiply by the scale again", {"kept": np.ones_like}))
    return found


def _read_as(value, scale, *, ascending, numbers):
    """Return what comes of codes that are places in the ascending book, read in another order."""
    return single(numbers[np.searchsorted(ascending, value)] * scale)


def _among(x, size: int):
    """Return the largest magnitudes of so many neighbours in a row, as the scale of each element."""
    flat = np.abs(x).reshape(len(x), -1)
    filled = np.pad(flat, ((0, 0), (0, -flat.shape[1] % size)))
    top = np.repeat(filled.reshape(len(x), -1, size).max(axis=-1), size, axis=1)[:, : flat.shape[1]]
    return _or_one(top.reshape(x.shape))


def _or_one(scale):
    return np.where(scale == 0, 1.0, scale)


def _narrowed(x, name: str):
    return through(x, name)


def _described(behaviour, parts: list[_Part]) -> str:
    """Return what the wrong results have in common."""
    bad, real = (
        np.concatenate([getattr(p, n).reshape(-1, behaviour.block_size) for p in parts]) for n in ("bad", "real")
    )
    x = np.concatenate([p.x.reshape(-1, behaviour.block_size) for p in parts])
    said = [f"{bad.sum()} of {real.sum()} results are wrong"]
    top = np.abs(x).max(axis=-1, keepdims=True)
    place = np.broadcast_to(np.arange(behaviour.block_size), x.shape)
    for words, where in (
        ("blocks of zeros", np.broadcast_to(top == 0, x.shape)),
        ("the element of the largest magnitude", np.abs(x) == top),
        ("negative elements", x < 0),
        ("positive elements", x > 0),
        ("zeros", x == 0),
        ("the first element of a block", place == 0),
        ("the last element of a block", place == behaviour.block_size - 1),
        ("the second half of a block", place >= behaviour.block_size // 2),
        ("elements of odd number", place % 2 == 1),
        ("elements of even number", place % 2 == 0),
        ("subnormal elements", (np.abs(x) < 2.0**-126) & (x != 0)),
        ("a block that is shorter than others", np.broadcast_to(~real.all(axis=-1, keepdims=True), x.shape)),
    ):
        if not bad[~where].any():
            said.append(f"all of them {words}")
            break
    return ", ".join(said)
