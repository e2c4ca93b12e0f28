"""Which known defect of arithmetic explains everything that was seen of an operation.

What a defect predicts is compared with every observation, right results too; one that a single observation
refutes is not named.  First single defects, then pairs that change different steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product
from typing import NamedTuple

import numpy as np

from refimpl.testing.expected.behaviour import alike
from refimpl.testing.operations.defect import Defect, predict
from refimpl.testing.operations.defects import defects_of
from refimpl.testing.operations.operation import NUMBER, Operation, decoded, encoded

FIRST = 400  # observations of each kind, failures and others, that a defect is held against first
MOST = 4000  # where exact results take long
PAIRS = 2000  # tried at most


class Observed(NamedTuple):
    """What was asked of an operation and came back: values of operands, expected and got (float64)."""

    values: list[np.ndarray]
    expected: np.ndarray
    got: np.ndarray

    def at(self, where) -> Observed:
        """Return some of it."""
        return Observed([v[where] for v in self.values], self.expected[where], self.got[where])


def together(seen: Sequence[Observed]) -> Observed:
    """Return several observations as one."""
    values = [np.concatenate(columns) for columns in zip(*(s.values for s in seen), strict=True)]
    return Observed(values, *(np.concatenate([s[k] for s in seen]) for k in (1, 2)))


def diagnose(operation: Operation, seen: Observed) -> tuple[str, ...]:
    """Return the sentences of the defects that explain all observations, simplest first.

    >>> import refimpl as rf
    >>> add, a = Operation("add", "e4m3fn"), rf.decode(np.arange(127, dtype=np.uint8), "e4m3fn")
    >>> a, b = np.repeat(a, 127), np.tile(a, 127)
    >>> got = rf.quantize(a + b, "e4m3fn", rounding="toward_zero", overflow="overflow")
    >>> diagnose(add, Observed([a, b], add.evaluate([a, b]), got))[0]
    'rounds toward_zero'
    """
    same = _alike(operation, seen.expected, seen.got)
    bad = np.flatnonzero(~same)
    if not bad.size:
        return ()
    with np.errstate(all="ignore"):
        if operation.kind == NUMBER and not _are_values(operation, seen.got[bad]).all():
            return _described(operation, seen)
        rest = np.flatnonzero(same)
        if (operation.is_slow or getattr(operation.into, "mantissa_bits", 0) > 22) and seen.got.size > MOST:
            bad, rest = _some(bad, MOST // 2), _some(rest, MOST // 2)
            seen = seen.at(np.sort(np.concatenate([bad, rest])))
            bad, rest = (np.flatnonzero(w) for w in (~_alike(operation, *seen[1:]), _alike(operation, *seen[1:])))
        few = seen.at(np.concatenate([_some(bad, FIRST), _some(rest, FIRST)]))
        known = defects_of(operation)
        singles = [d for d in known if _explains((d,), operation, few) and _explains((d,), operation, seen)]
        if singles:
            return tuple(dict.fromkeys(d.sentence for d in singles))[:3]
        found = []
        for pair in islice(_pairs(known), PAIRS):
            if _explains(pair, operation, few) and _explains(pair, operation, seen):
                found.append(" and ".join(d.sentence for d in pair))
                if len(found) == 3:
                    break
        return tuple(found) or _described(operation, seen)


def _are_values(operation: Operation, got: np.ndarray) -> np.ndarray:
    return alike(decoded(encoded(got, operation.into), operation.into), got)


def _pairs(known: Sequence[Defect]):
    """Yield pairs of defects that change different steps of a computation."""
    before = [d for d in known if d.before and not d.after]
    cores = [d for d in known if d.core]
    after = [d for d in known if d.after and not d.before]
    yield from product(cores, after)
    yield from product(before, after)
    yield from product(before, cores)
    yield from ((a, b) for i, a in enumerate(after) for b in after[i + 1 :])


def _explains(defects, operation: Operation, seen: Observed) -> bool:
    return bool(_alike(operation, predict(defects, operation, seen.values), seen.got).all())


def _alike(operation: Operation, a, b) -> np.ndarray:
    return alike(a, b) if operation.kind == NUMBER else a == b


def _some(at: np.ndarray, most: int) -> np.ndarray:
    return at[:: max(1, -(-at.size // most))]


def _described(operation: Operation, seen: Observed) -> tuple[str, ...]:
    """Say how far off results are, where no defect explains them."""
    if not operation.is_rounded:
        return ()
    bad = ~alike(seen.expected, seen.got)
    right, got = (encoded(x[bad], operation.into) for x in (seen.expected, seen.got))
    numbers = np.isfinite(seen.expected[bad]) & np.isfinite(seen.got[bad])
    valid = _are_values(operation, seen.got[bad])
    if not numbers.all():
        return ()
    if not valid.all():
        return (f"does not round its results to {operation.into.name}",) if not valid.any() else ()
    steps = np.abs(_ordered(right, operation.into) - _ordered(got, operation.into))
    if steps.max() == 0:
        return (f"has another sign of zero in {bad.sum()} of {bad.size} cases",)
    if steps.max() > 1 << 16:
        return ()
    unit = "one unit" if steps.max() == 1 else f"at most {steps.max()} units"
    return (f"is off by {unit} in the last place in {bad.sum()} of {bad.size} cases: it is not correctly rounded",)


def _ordered(codes: np.ndarray, fmt) -> np.ndarray:
    """Return codes as integers in the order of their values."""
    top = np.int64(1) << (fmt.bits - 1)
    whole = codes.astype(np.int64)
    return np.where(whole >= top, top - whole, whole) if getattr(fmt, "signed", True) else whole
