"""What was seen of a block quantizer as a table, a row a block; and with which scales a block may have been made.

The second splits the search: whatever explains the elements of every block by *some* scale is held apart from what
explains these scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from refimpl.testing.diagnosis.block_stages import Plan, cut
from refimpl.testing.expected.behaviour import values_of

POWERS = np.arange(-20, 21)  # of two, by which scales of MX may be wrong
BACK = frozenset(("used", "kept", "divide", "grid", "whole", "limit", "small", "product", "after"))
FRONT = frozenset(("largest", "own", "of", "power", "clamp", "ratio", "scale", "zero"))


class Part(NamedTuple):
    """Observations of one route, dtype and shape: x and got (calls, rows, columns), and what is wrong of it."""

    route: str
    x: np.ndarray
    got: np.ndarray
    bad: np.ndarray


class Table(NamedTuple):
    """Blocks: arrays (n, size) of elements, (n, 1) of blocks.

    `here` where there is an element (the last block of a row may be shorter), `itemsize` that of inputs, `coded`
    whether codes were asked for; a, s and t: largest magnitude, right scale, right scale of the tensor.
    """

    x: np.ndarray
    got: np.ndarray
    right: np.ndarray
    bad: np.ndarray
    here: np.ndarray
    itemsize: np.ndarray
    coded: np.ndarray
    a: np.ndarray
    s: np.ndarray
    t: np.ndarray
    block: np.ndarray
    blocks: np.ndarray
    row: np.ndarray
    rows: np.ndarray
    call: np.ndarray

    def take(self, at) -> Table:
        """Return some of the blocks."""
        return Table(*(column[at] for column in self))


def table_of(behaviour, parts: Sequence[Part]) -> Table:
    """Return all blocks that were seen."""
    size, plan, found, calls_before = behaviour.format.block_size, Plan(behaviour), [], 0
    for part in parts:
        x = part.x.astype(np.float64)
        b = cut(x, size)
        s, t = plan.scales(b)
        calls, rows, blocks = b.shape[:3]
        right = behaviour.narrow(plan.predict(part.x), part.route, part.x.dtype)
        of_elements = [b, *(cut(array, size) for array in (part.got, right, part.bad, np.ones(x.shape, bool)))]
        call, row, block = (
            np.arange(n).reshape(shape)
            for n, shape in ((calls, (-1, 1, 1, 1)), (rows, (1, -1, 1, 1)), (blocks, (1, 1, -1, 1)))
        )
        a = np.abs(b).max(axis=-1, keepdims=True)
        of_blocks = [
            part.x.dtype.itemsize,
            part.route != "quantize",
            a,
            s,
            t,
            block,
            blocks,
            row,
            rows,
            call + calls_before,
        ]
        calls_before += calls
        columns = [array.reshape(-1, size) for array in of_elements]
        columns += [np.broadcast_to(array, a.shape).reshape(-1, 1) for array in of_blocks]
        found.append(columns)
    return Table(*(np.concatenate(column) for column in zip(*found, strict=True)))


def by_blocks(behaviour, plan: Plan, parts: Sequence[Part]) -> np.ndarray:
    """Return where a plan predicts what was got, in the order of the table (n, size); filled places are right."""
    size, found = behaviour.format.block_size, []
    for part in parts:
        found.append(~cut(~right_of(behaviour, plan, part), size).reshape(-1, size))
    return np.concatenate(found)


def right_of(behaviour, plan: Plan, part: Part) -> np.ndarray:
    """Return where a plan predicts what was got."""
    predicted = behaviour.narrow(plan.predict(part.x), part.route, part.x.dtype)
    return behaviour.same(part.x, predicted, part.got)


# -- scales that explain a block -------------------------------------------------------------------


def candidates(behaviour, table: Table) -> np.ndarray:
    """Return scales that each block may have been made with, (n, m); the right one is among them."""
    fmt = behaviour.format
    if not fmt.tensor_scale:
        least = np.full((len(table.x), 1), 2.0**-fmt.scale.bias)  # of a block that is taken for one of zeros
        return np.concatenate([table.s * 2.0**POWERS, least], axis=1)
    values = values_of(fmt.scale)
    return np.broadcast_to(values[values > 0], (len(table.x), (values > 0).sum()))


def explained(behaviour, stages: dict[str, Any], table: Table, scales=None) -> np.ndarray:
    """Return with which scales (n, m) these stages explain all elements of a block."""
    return np.asarray(explained_elements(behaviour, stages, table, scales).all(axis=-1))


def explained_elements(behaviour, stages: dict[str, Any], table: Table, scales=None) -> np.ndarray:
    """Return with which scales (n, m) these stages explain which elements (n, m, size)."""
    plan = Plan(behaviour, stages)
    s = (candidates(behaviour, table) if scales is None else scales)[..., None]
    b, t = table.x[:, None, :], table.t[:, None, :]
    with np.errstate(all="ignore"):
        e = plan.element(plan.divide(b, plan.used(s), t))
        y = plan.after(np.broadcast_to(b, e.shape), plan.product(e, plan.kept(s), t))
        y = np.where(np.isnan(s), np.nan, y)
        for itemsize, dtype in ((2, np.float16), (4, np.float32)):
            narrow = (table.itemsize == itemsize) & ~table.coded
            y = np.where(narrow[..., None], y.astype(dtype).astype(np.float64), y)
        return np.asarray(behaviour.same(b, y, table.got[:, None, :]) | ~table.here[:, None, :])


def column_of(behaviour, table: Table, s: np.ndarray) -> np.ndarray:
    """Return which candidate a scale (n, 1) is, -1 where it is none, (n,)."""
    with np.errstate(all="ignore"):
        if not behaviour.format.tensor_scale:
            power = np.log2(s / table.s)[:, 0]
            inside = np.isfinite(power) & (power == np.rint(power)) & (np.abs(power) <= POWERS[-1])
            other = np.where(s[:, 0] == 2.0**-behaviour.format.scale.bias, len(POWERS), -1)
            return np.where(inside, np.nan_to_num(power) - POWERS[0], other).astype(np.int64)
        values = values_of(behaviour.format.scale)
        values = values[values > 0]
        at = np.clip(np.searchsorted(values, s[:, 0]), 0, len(values) - 1)
        return np.where(values[at] == s[:, 0], at, -1)


def chosen(possible: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return whether the candidate in a column explains each block, (n,)."""
    return possible[np.arange(len(column)), column] & (column >= 0)


def units(behaviour, table: Table, divided: bool) -> np.ndarray:
    """Return what each block's elements were multiplied by, if they were rounded right, (n,); NaN where nothing is.

    They were divided by the same if `divided`, else by the right scale.  All numbers are tried: the largest result
    must be some element times it.  It is infinite for a block of zeros, and for one that is NaN altogether.
    """
    plan = Plan(behaviour)
    elements = values_of(behaviour.format.grid)
    elements = elements[elements > 0]
    found = []
    with np.errstate(all="ignore"):
        for x, got, here, itemsize, right in zip(
            table.x,
            table.got,
            table.here,
            np.where(table.coded, 8, table.itemsize)[:, 0],
            table.s * table.t,
            strict=True,
        ):
            x, got = x[here], got[here]
            if ((got == 0) | np.isnan(got)).all():
                found.append(np.inf)
                continue
            of = np.abs(got).max() / elements[:, None]
            of = of[np.isfinite(of) & (of > 0)][:, None] if np.isfinite(of).all() else of[:0]
            info = np.finfo(f"f{itemsize}")
            near = np.abs(got) * max(2 * float(info.eps), 2.0**-40) + float(info.smallest_subnormal)
            by = of if divided else right
            fits = [  # the unit is known to the precision of results
                np.abs(plan.element(x / by * bit) * of - got) <= near for bit in (1 - 2.0**-22, 1.0, 1 + 2.0**-22)
            ]
            some = of[np.any(fits, axis=0).all(axis=1), 0]
            found.append(some[np.abs(np.log2(some / right[0])).argmin()] if some.size else np.nan)
    return np.array(found)
