"""The tree and the widths of an unknown sum, found by asking it.

*Order.*  All terms are 1 but two, +M and -M, so large that adding 1 to them changes nothing.  What comes out is the
number of ones that were not swallowed: those added after M and -M have met.  So n less the answer is the number of
leaves of the smallest subtree that holds both, and these numbers give the tree: n - 1 calls for a chain, about
n log2(n) / 2 for a balanced tree.  Terms that all meet at once are one fused sum.

*Width.*  In a fused sum of 1, -1 and 2^-t what is left of 2^-t was kept in alignment; in a binary one, 1 + 2^-t - 1.

*Source*: Xie et al., Revealing floating-point accumulation orders (USENIX ATC 2025), the recursive form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refimpl import _arguments
from refimpl.formats import FloatFormat
from refimpl.testing.implementations.findings import Finding
from refimpl.testing.implementations.programs import Program
from refimpl.testing.trees import Tree, first_of, nodes

FIRST = 8  # calls for the tree that a name has to explain, too


class NoTree(Exception):
    """The answers are not those of a tree of additions."""


@dataclass
class Box:
    """The function as one of exact terms: term i is a[i] * b[i], or a[i]."""

    function: Callable
    kind: str
    fmt: FloatFormat
    dtype: Any
    shape: tuple[int, int]
    calls: int = 0
    first: list = field(default_factory=list)  # the first calls, with their answers

    def of(self, a: np.ndarray, b: np.ndarray) -> float:
        """Return the answer to factors, float64 (n,) each."""
        return self.each([(a, b)])[0]

    def each(self, cases: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[float]:
        """Return the answers to several pairs of factors; a program gets them all in one run."""
        self.calls += len(cases)
        given = [self._given(*(v.astype(self.dtype) for v in case)) for case in cases]
        try:
            if isinstance(self.function, Program):
                answers: list = self.function.sums(given, self.fmt)
            else:
                answers = [self.function(*arguments) for arguments in given]
        except Finding as finding:
            raise ValueError(f"identify_sum: the program {finding}") from None
        found = [self._number(answer) for answer in answers]
        self.first += list(zip(cases, found, strict=True))[: FIRST - len(self.first)]
        return found

    def _given(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.kind == "sum":
            return (x,)
        if self.kind == "dot":
            return x, y
        rows, columns = self.shape
        return np.tile(x, (rows, 1)), np.tile(y[:, None], (1, columns))

    def _number(self, answer) -> float:
        """Return the answer as a number: of an array the first element."""
        try:
            return float(np.asarray(answer).reshape(-1)[0])
        except (TypeError, ValueError, IndexError):
            returned = "what the function returned"
            raise _arguments.wrong_kind("identify_sum", returned, answer, "a number, or an array of them") from None

    def factors(self, exponents: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return factors of terms sign * 2^exponent, half of the exponent in each; sign 0 is no term."""
        first = exponents if self.kind == "sum" else exponents // 2
        return signs * 2.0**first, 2.0 ** (exponents - first)

    def exponents(self, subnormal: bool) -> tuple[int, int]:
        """Return the exponents of the smallest and the largest power of two a term may be."""
        low = self.fmt.min_exponent - (self.fmt.mantissa_bits if subnormal and self.fmt.has_subnormals else 0)
        times = 1 if self.kind == "sum" else 2
        return times * low, times * (self.fmt.maxexp - 1)


# -- the tree ----------------------------------------------------------------------------------------


def scale(box: Box, n: int) -> tuple[int, int, bool]:
    """Return the exponents of M and of the ones, and whether any are ever swallowed."""
    options = []
    for subnormal in (True, False):
        low, high = box.exponents(subnormal)
        options.append((min(high, 100), max(low, min(0, high - 100) if high > 100 else low)))
        options.append((min(high, 14), max(low, -24)))
    refused = ""
    for large, one in sorted(set(options), key=lambda pair: pair[1] - pair[0]):
        ones = box.of(*box.factors(np.full(n, one), np.ones(n)))
        both = _left(box, n, 0, n - 1, large, one)
        if ones != n * 2.0**one or not math.isfinite(both):
            refused = (
                refused or f"{n} terms of 2^{one} with {ones}, {n - 2} with 2^{large} and its opposite with {both}"
            )
            continue
        if both == n - 2 and all(_left(box, n, i, i + 1, large, one) == n - 2 for i in (0, n // 2 - 1) if i + 1 < n):
            return large, one, n == 2
        return large, one, True
    raise ValueError(
        _arguments.message("identify_sum", "function", f"one that answers {refused}", "one that adds them exactly")
    )


def _left(box: Box, n: int, i: int, j: int, large: int, one: int) -> float:
    """Return how many ones are left when terms i and j are M and -M."""
    return _each_left(box, n, i, [j], large, one)[0]


def _each_left(box: Box, n: int, i: int, others: list[int], large: int, one: int) -> list[float]:
    """Return how many ones are left when terms i and j are M and -M, for each j."""
    cases = []
    for j in others:
        exponents, signs = np.full(n, one), np.ones(n)
        exponents[[i, j]] = large
        signs[j] = -1.0
        cases.append(box.factors(exponents, signs))
    return [answer / 2.0**one for answer in box.each(cases)]


def tree_of(box: Box, n: int, large: int, one: int) -> Tree:
    """Return the tree of additions."""
    rng = np.random.default_rng(n)

    def sizes_of(i: int, others: list[int]) -> dict[int, int]:
        """Return the numbers of leaves of the smallest subtrees that hold both terms."""
        left = _each_left(box, n, i, others, large, one)
        if not all(0 <= count <= n - 2 and count == int(count) for count in left):
            raise NoTree
        return {j: n - int(count) for j, count in zip(others, left, strict=True)}

    def subtree(leaves: list[int], sizes: dict[int, int] | None = None) -> Tree:
        node: Tree = leaves[0]
        if sizes is None:
            sizes = sizes_of(leaves[0], leaves[1:])
        count = 1
        for level in sorted({sizes[j] for j in leaves[1:]}):
            joining = [j for j in leaves[1:] if sizes[j] == level]
            if count + len(joining) != level:
                raise NoTree
            node = (node, *children(joining, level))
            count = level
        return node

    def children(leaves: list[int], level: int) -> Iterator[Tree]:
        """Yield the subtrees that meet at a level; all single leaves if the first is and a few pairs agree."""
        first = True
        while leaves:
            sizes = sizes_of(leaves[0], leaves[1:])
            mine = [leaves[0], *(j for j in leaves[1:] if sizes[j] < level)]
            leaves = [j for j in leaves if j not in set(mine)]
            yield subtree(mine, sizes)
            if first and len(mine) == 1 and len(leaves) > 2:
                pairs = {tuple(sorted(rng.choice(leaves, 2, replace=False))) for _ in range(len(leaves).bit_length())}
                if all(sizes_of(int(i), [int(j)])[int(j)] == level for i, j in pairs):
                    yield from leaves
                    return
            first = False

    limit = _recursion(n)
    with limit:
        return subtree(list(range(n)))


class _recursion:
    """Let functions call themselves deeply enough for a chain of n terms, for as long as it is entered."""

    def __init__(self, n: int):
        self.depth = 4 * n + 1000

    def __enter__(self):
        import sys

        self.before = sys.getrecursionlimit()
        sys.setrecursionlimit(max(self.before, self.depth))

    def __exit__(self, *_):
        import sys

        sys.setrecursionlimit(self.before)


# -- widths ------------------------------------------------------------------------------------------


def _terms(box: Box, n: int, exponents: dict[int, tuple[float, int]]) -> float:
    """Return the answer to a few terms, {number: (factor, exponent)}, where all others are 0."""
    a, b = np.zeros(n), np.zeros(n)
    for i, (factor, exponent) in exponents.items():
        first = exponent if box.kind == "sum" else exponent // 2
        a[i], b[i] = factor * 2.0**first, 2.0 ** (exponent - first)
    return box.of(a, b)


def _last(most: int, holds: Callable[[int], bool]) -> int | None:
    """Return the last number from 0 to `most` for which something holds, as it does for all before; None: for none."""
    low, high = -1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return None if low < 0 else low


def accumulator(box: Box, n: int, tree: Tree) -> dict[str, Any]:
    """Return bits and rounding of a sum of two terms, seen after a third has taken the first away."""
    low, high = box.exponents(True)
    top = min(0, high)
    place = None
    for node in nodes(tree):
        below = [child for child in node if isinstance(child, tuple) and len(child) == 2]
        if below and len(node) == 2:
            other = next(child for child in node if child is not below[0]) if len(below) < 2 else node[1]
            place = first_of(below[0][0]), first_of(below[0][1]), first_of(other)
            break
    if place is None:
        return {}
    i, j, k = place

    def left(factor: float, exponent: int, sign: float = 1.0) -> float:
        return _terms(box, n, {i: (sign, top), j: (sign * factor, exponent), k: (-sign, top)}) / 2.0**top

    bits = _last(min(60, top - low), lambda t: left(1.0, top - t) == 2.0**-t)
    if bits is None or bits == min(60, top - low):
        return {}
    step = top - bits
    if step - 2 < low or box.fmt.mantissa_bits < 1:
        return {"accumulator_bits": bits + 1}
    # 1 + 1.5 steps, and 1 + .75 step, which lies nearer the upper one; and the same below zero
    found = tuple(s * left(1.5, e, s) / 2.0**-bits for s in (1.0, -1.0) for e in (step, step - 1))
    how: dict[tuple[float, ...], str] = {
        (2.0, 1.0, 2.0, 1.0): "ties_to_even",
        (1.0, 0.0, 1.0, 0.0): "toward_zero",
        (1.0, 0.0, 2.0, 1.0): "toward_negative",
        (1.0, 1.0, 1.0, 1.0): "to_odd",
    }
    return {"accumulator_bits": bits + 1, "accumulator_rounding": how.get(found)}


def alignment(box: Box, n: int, tree: Tree) -> dict[str, Any]:
    """Return bits and cut of a fused sum: what is left of 2^-t beside 1 and -1."""
    fused = [node for node in nodes(tree) if len(node) > 2 and sum(isinstance(c, int) for c in node) > 2]
    if not fused:
        return {}
    i, j, k = [child for child in fused[0] if isinstance(child, int)][:3]
    low, high = box.exponents(True)
    top = min(high - 1, max(0, low + 52))

    def left(factor: float, exponent: int) -> float:
        return _terms(box, n, {i: (1.0, top), j: (-1.0, top), k: (factor, exponent)}) / 2.0**top

    bits = _last(min(60, top - low), lambda t: left(1.0, top - t) != 0.0)
    if bits is None or top - bits - 1 < low:
        return {"alignment_bits": bits} if bits is not None else {}
    step = top - bits
    found = tuple(left(sign * 1.5, e) / 2.0**-bits for sign in (1.0, -1.0) for e in (step, step - 1))
    how: dict[tuple[float, ...], str] = {
        (1.0, 0.0, -1.0, 0.0): "toward_zero",
        (1.0, 0.0, -2.0, -1.0): "toward_negative",
        (2.0, 1.0, -2.0, -1.0): "ties_to_even",
        (1.0, 1.0, -1.0, -1.0): "to_odd",
    }
    cut = how.get(found)
    return {"alignment_bits": bits, "alignment_cut": cut}


def exact_beside_two(box: Box, n: int, seed: int, large: int, one: int) -> bool:
    """Tell whether ones count beside two pairs of opposite terms, one far larger than the other."""
    rng = np.random.default_rng([seed, n])
    one -= 20 if large >= 100 else 0
    for _ in range(4 if n > 4 else 0):
        exponents, signs = np.full(n, one), np.ones(n)
        places = rng.permutation(n)[:4]
        exponents[places] = [large, large, (large + one) // 2, (large + one) // 2]
        signs[places[1::2]] = -1.0
        if box.of(*box.factors(exponents, signs)) != (n - 4) * 2.0**one:
            return False
    return True


def sticky(box: Box, n: int) -> tuple[int, int | None]:
    """Return the terms of a group and the bits of its alignment, where the last one says that something was cut."""
    low, high = box.exponents(True)
    top = min(high, 14)
    tiny = max(low, top - 60)

    def left(j: int) -> float:
        return _terms(box, n, {0: (1.0, top), 1: (-1.0, top), j: (1.0, tiny)})

    within = _last(n - 3, lambda t: left(t + 2) != 2.0**tiny)
    if within is None or (bit := left(2)) <= 0.0 or math.frexp(bit)[0] != 0.5:
        return 0, None
    return within + 3, min(max(0, top + 1 - math.frexp(bit)[1]), 48)
