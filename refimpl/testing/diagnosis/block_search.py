"""Which defects of block quantizers explain every block: one, two, one in some region alone, three.

What explains the elements of each block by some scale, and what explains these scales, are looked for apart (see
`block_table`), so that every defect of elements meets every one, and every two, of scales.

*Notation*: a base is what holds everywhere; a defect is found *somewhere* where it holds in a region alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from refimpl.testing.diagnosis.block_regions import Blocks
from refimpl.testing.diagnosis.block_stages import Plan, cut, is_dynamic
from refimpl.testing.diagnosis.block_table import (
    BACK,
    FRONT,
    Part,
    by_blocks,
    chosen,
    column_of,
    explained,
    right_of,
    table_of,
)
from refimpl.testing.diagnosis.local import in_regions
from refimpl.testing.diagnosis.stages import MOST_PAIRS, Defect, merged, said
from refimpl.testing.expected.cases import evenly

FEW, MANY = 60, 600  # blocks that hypotheses are held against first
TRIED = 40  # hypotheses that are held against everything
SIMPLE = 4.5  # the cost up to which a defect in a region is believed
RIGHT: tuple[Defect, ...] = ()
CONSTANT = (  # what is a defect in some region alone
    Defect("gives NaN", {"after": lambda p, x, y: np.full(y.shape, np.nan)}),
    Defect("gives zero", {"after": lambda p, x, y: np.copysign(0.0, x)}),
    Defect("gives zero without a sign", {"after": lambda p, x, y: np.zeros(y.shape)}),
    Defect("gives infinity", {"after": lambda p, x, y: np.copysign(np.inf, x)}),
    Defect("leaves elements as they are", {"after": lambda p, x, y: x}),
    Defect("turns the sign", {"after": lambda p, x, y: -y}),
    Defect("has results twice too large", {"after": lambda p, x, y: 2 * y}),
    Defect("has results half as large", {"after": lambda p, x, y: y / 2}),
    Defect("gives elements the value of the one before", {"after": lambda p, x, y: np.roll(y, 1, axis=-1)}),
    Defect("gives elements the value of the one after", {"after": lambda p, x, y: np.roll(y, -1, axis=-1)}),
)


class Search:
    """The observations of finite blocks, and what is known to explain them."""

    def __init__(self, behaviour, parts: Sequence[Part], known: Sequence[Defect]):
        self.behaviour, self.parts, self.known = behaviour, parts, known
        self.rank = {id(defect): i for i, defect in enumerate(known)}
        self.table = table_of(behaviour, parts)
        self.few, self.many = (self._sample(most) for most in (FEW, MANY))
        self.front = [d for d in known if d.stages.keys() <= FRONT]
        self.backs = self._backs()

    def _sample(self, most: int) -> np.ndarray:
        """Return blocks, two of three of them wrong."""
        bad = self.table.bad.any(axis=1)
        picked = ((bad, 2 * most // 3), (~bad, most // 3))
        return np.concatenate([evenly(np.flatnonzero(which), share) for which, share in picked])

    def _backs(self) -> list[tuple[tuple[Defect, ...], np.ndarray]]:
        """Return what explains the elements of all blocks by some scale, with the scales, (many, m)."""
        few, many = self.table.take(self.few), self.table.take(self.many)
        found = []
        for back in [RIGHT, *((d,) for d in self.known if d.stages.keys() <= BACK)]:
            if explained(self.behaviour, merged(back), few).any(axis=1).all():
                possible = explained(self.behaviour, merged(back), many)
                if possible.any(axis=1).all():
                    found.append((back, possible))
        return found

    def holds(self, group) -> bool:
        """Tell whether defects explain everything."""
        plan = Plan(self.behaviour, merged(group))
        return all(right_of(self.behaviour, plan, part).all() for part in self.parts)

    # -- everywhere --------------------------------------------------------------------------------

    def scales(self, group) -> np.ndarray:
        """Return the scales of `many` that defects of the front give, (many, 1)."""
        plan, table = Plan(self.behaviour, merged(group)), self.table.take(self.many)
        with np.errstate(all="ignore"):
            if "of" in plan.stages and any("of" in d.stages for d in group):
                found = [plan.scales(_cut(self.behaviour, part))[0].reshape(-1, 1) for part in self.parts]
                return np.concatenate(found)[self.many]
            a = plan.own(table.x, plan.largest(table.x))
            return plan.scale_of(a, table.t)

    def everywhere(self, most: int) -> list[tuple[Defect, ...]]:
        """Return groups of so many defects, one at most of elements, that explain everything."""
        found: list[tuple[Defect, ...]] = []
        for back, possible in self.backs:
            count = most - len(back)
            if count < 1 or count > 2:
                continue
            for front in self._fronts(possible, count):
                found.append((*back, *front))
        found.sort(key=lambda group: sum(self.rank[id(d)] for d in group))
        held: dict[str, tuple[Defect, ...]] = {}
        for group in found[:TRIED]:
            if said(group) not in held and self.holds(group):
                held[said(group)] = group
                if len(held) > MOST_PAIRS:
                    break
        return list(held.values())

    def _fronts(self, possible, count: int) -> Iterator[tuple[Defect, ...]]:
        table = self.table.take(self.many)

        def fits(s):
            return chosen(possible, column_of(self.behaviour, table, s)).all()

        if count == 1:
            for defect in self.front:
                if fits(self.scales((defect,))):
                    yield (defect,)
            return
        plan = Plan(self.behaviour)
        firsts = [d for d in self.front if d.stages.keys() <= {"largest", "own", "of"}]
        seconds = [d for d in self.front if not d.stages.keys() & {"largest", "own", "of"}]
        small = table.take(slice(0, None, max(1, len(table.x) // 150)))
        of_small = possible[:: max(1, len(table.x) // 150)]
        for first in firsts:
            if "largest" in first.stages and "own" in plan.stages and self.behaviour.format.tensor_scale:
                continue  # `own` is the one that leaves the tensor's scale as it is
            if "of" in first.stages:
                a = self._moved(first)
            else:
                one = Plan(self.behaviour, first.stages)
                with np.errstate(all="ignore"):
                    a = one.own(small.x, one.largest(small.x))
            a = a if "of" not in first.stages else a[:: max(1, len(table.x) // 150)]
            for second in seconds:
                both = Plan(self.behaviour, second.stages)
                with np.errstate(all="ignore"):
                    s = both.scale_of(a, small.t)
                if chosen(of_small, column_of(self.behaviour, small, s)).all() and fits(self.scales((first, second))):
                    yield first, second
        for a_second, another in combinations(seconds, 2):
            if not a_second.stages.keys() & another.stages.keys():
                with np.errstate(all="ignore"):
                    s = Plan(self.behaviour, merged((a_second, another))).scale_of(small.a, small.t)
                if chosen(of_small, column_of(self.behaviour, small, s)).all() and fits(
                    self.scales((a_second, another))
                ):
                    yield a_second, another

    def _moved(self, defect: Defect) -> np.ndarray:
        plan = Plan(self.behaviour, defect.stages)
        found = [plan.of(plan.largest(_cut(self.behaviour, part))).reshape(-1, 1) for part in self.parts]
        return np.concatenate(found)[self.many]

    # -- somewhere ---------------------------------------------------------------------------------

    def somewhere(self, base, groups) -> list[str]:
        """Return sentences of groups of defects that explain, in some region alone, what a base does not."""
        here = self.table.here
        must = ~by_blocks(self.behaviour, Plan(self.behaviour, merged(base)), self.parts) & here
        got = self.table.got[must]
        numbers = (np.isfinite(got) & (got != 0)).any()  # whatever has scales of zero or NaN somewhere would fit there
        own, of_scales, of_elements = [], [], []
        for group in groups[:TRIED]:
            new = [d for d in group if d not in base]
            scales_alone = all(d.stages.keys() <= FRONT for d in new)
            if not numbers and not any(d.stages.keys() & BACK for d in group):
                continue
            broken = ~by_blocks(self.behaviour, Plan(self.behaviour, merged(group)), self.parts) & here
            if (broken & must).any():
                continue
            if scales_alone:
                of_scales.append((said(new), broken.any(axis=1, keepdims=True)))
            elif new[0] in CONSTANT:
                own.append((said(new), broken))
            else:
                of_elements.append((said(new), broken))
        found = []
        if of_scales:
            blocks = Blocks(self.behaviour, self.table, must.any(axis=1, keepdims=True))
            found += in_regions(blocks, [], of_scales)
        if own or of_elements:
            found += in_regions(Blocks(self.behaviour, self.table, must, elements=True), own, of_elements)
        found = sorted((f for f in found if f.cost <= SIMPLE), key=lambda f: f.cost)
        return [f"{said(base)}, and {f.sentence}" if base else f.sentence for f in found[:2]]

    def alone(self) -> list[str]:
        """Return sentences of single defects in a region; of scales, where these alone are wrong, before others."""
        covering = self._covering(RIGHT)
        if any(back == RIGHT for back, _ in self.backs):
            found = self.somewhere(RIGHT, [(d,) for d in covering if d.stages.keys() <= FRONT])
            if found:
                return found
        return self.somewhere(RIGHT, [(d,) for d in covering])

    def beside(self) -> list[str]:
        """Return sentences of a defect that holds everywhere, and another in a region."""
        for back, possible in self.backs:
            if not back:
                continue
            table = self.table.take(self.many)
            own = chosen(possible, column_of(self.behaviour, table, table.s))
            groups = []
            for defect in self.front:
                fits = chosen(possible, column_of(self.behaviour, table, self.scales((defect,))))
                if (fits | own).all():
                    groups.append((*back, defect))
            found = self.somewhere(back, groups)
            if found:
                return found
        return []

    def _covering(self, base) -> list[Defect]:
        """Return defects that explain, of a few blocks of every kind, all that a base does not."""
        parts = [_few(self.behaviour, part) for part in self.parts]
        parts = [part for part in parts if part.x.size]
        plan = Plan(self.behaviour, merged(base))
        rest = [~right_of(self.behaviour, plan, part) for part in parts]
        found = []
        for defect in (*CONSTANT, *self.known):
            both = Plan(self.behaviour, merged((*base, defect)))
            if defect.needs_all or all(
                right_of(self.behaviour, both, part)[left].all()
                for part, left in zip(parts, rest, strict=True)
                if left.any()
            ):
                found.append(defect)
        return found


def _few(behaviour, part: Part) -> Part:
    """Return calls, or rows of the only one, some that fail and no others."""
    if not is_dynamic(behaviour):
        part = Part(part.route, *(array.reshape(-1, 1, array.shape[-1]) for array in part[1:]))
    at = evenly(np.flatnonzero(part.bad.any(axis=(1, 2))), 4)
    return Part(part.route, *(array[at] for array in part[1:]))


def _cut(behaviour, part: Part) -> np.ndarray:
    return cut(part.x.astype(np.float64), behaviour.format.block_size)
