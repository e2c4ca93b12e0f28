"""In which order, how wide and how rounded does an unknown function add?  Found from its answers alone.

*Order.*  All terms are 1 but two, +M and -M, so large that adding 1 to them changes nothing.  What comes out is the
number of ones that were not swallowed: those added after M and -M have met.  So n less the answer is the number of
leaves of the smallest subtree that holds both, and these numbers give the tree: n - 1 calls for a chain, about
n log2(n) / 2 for a balanced tree.  Terms that all meet at once are one fused sum.

*Width.*  In a fused sum of 1, -1 and 2^-t what is left of 2^-t was kept in alignment; in a binary one, 1 + 2^-t - 1.

*Name.*  What is known by name, and the tree itself in several arithmetics, foretells the answers to random terms, to
opposite ones that take each other away but for what was rounded, and to what was asked before; where nothing does, two
parts of the tree, each in an arithmetic of its own (a library's loop, and what it leaves over).  Where a name foretells
all but sums of the smallest or largest numbers (subnormals that are flushed, results that are clipped), that is said.

*Limits.*  Ones that are not swallowed but rounded up (a sticky bit in alignment, directed rounding) give no tree; then
only what is known by name is tried, and units with a sticky bit.

*Source*: Xie et al., Revealing floating-point accumulation orders (USENIX ATC 2025), the recursive form.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any, Literal

import numpy as np

from refimpl import _arguments
from refimpl.formats import FloatFormat, format
from refimpl.formats.units import FP22, UNITS, MatrixUnit
from refimpl.ops import dot, quantize
from refimpl.ops import sum as summed
from refimpl.spec import float_codes
from refimpl.spec.float_codes import Value
from refimpl.testing.implementations.findings import Finding
from refimpl.testing.implementations.programs import Program
from refimpl.testing.trees import Tree, first_of, in_words, leaves_of, nested, nodes, promoted_groups_of

KINDS = ("sum", "dot", "matmul")
EDGES = ("the smallest numbers", "the largest numbers")
PROBES = 6  # random sums that a name has to foretell
FIRST = 8  # calls for the tree that a name has to explain, too
MORE_PROBES = 24  # that it has to foretell then: where arithmetics differ at the end of a sum alone, few sums show it
WORDS = {"toward_zero": "toward zero", "toward_negative": "toward negative", "ties_to_even": "to nearest, ties to even"}
WORDS["to_odd"] = "to odd"


@dataclass(frozen=True)
class SumReport:
    """What `identify_sum` found out; printed, it says so in words.

    `tree`: nested tuples of term numbers, None where the answers are not those of a tree of additions; `order`: the
    tree in words; `terms`, `calls`: how many; `known`: names that predict every answer to random terms, best first;
    `unit`: a MatrixUnit that did, where groups of terms are fused; `accumulator_bits`, `accumulator_rounding`,
    `alignment_bits`, `alignment_cut`: as measured, None where the tree has no place to see them.

    Examples
    --------
    >>> import refimpl as rf
    >>> identify_sum(lambda x: rf.sum(x, "float32", order="sequential"), terms=4).tree
    (((0, 1), 2), 3)
    """

    terms: int
    calls: int
    tree: Tree | None
    order: str
    known: tuple[str, ...] = ()
    unit: MatrixUnit | None = None
    accumulator_bits: int | None = None
    accumulator_rounding: str | None = None
    alignment_bits: int | None = None
    alignment_cut: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.order} ({self.terms} terms, {self.calls} calls)"]
        if self.tree is not None:
            lines.append(f"  tree          {nested(self.tree)}")
        if self.alignment_bits is not None:
            cut = WORDS.get(str(self.alignment_cut), "unknown")
            lines.append(f"  alignment     {self.alignment_bits} bits behind the point, cut {cut}")
        if self.accumulator_bits is not None:
            how = WORDS.get(str(self.accumulator_rounding), "unknown")
            lines.append(f"  accumulator   {self.accumulator_bits} significant bits, rounded {how}")
        if self.known:
            lines.append("  the same as   " + ", ".join(self.known))
        else:
            lines.append("  no arithmetic known by name foretells its answers to random terms")
        return "\n".join(lines)


class _NoTree(Exception):
    """The answers are not those of a tree of additions."""


@dataclass
class _Box:
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


def identify_sum(
    function: Callable,
    *,
    kind: Literal["sum", "dot", "matmul"] = "sum",
    terms: int = 32,
    fmt: str | FloatFormat = "float32",
    dtype=None,
    shape: tuple[int, int] = (1, 1),
    seed: int = 0,
) -> SumReport:
    """Find out how a function adds: order, fused groups, widths, rounding, and whether that has a name.

    Parameters
    ----------
    function : callable or Program
        Of an array (terms,) for ``sum``; of two, (terms,) each, for ``dot``; of matrices (m, terms) and (terms, n) for
        ``matmul``, of whose product the first element is looked at; or a `Program` that does that on a pipe.
        It gives the same answer to the same terms.
    kind : str
    terms : int
        2 to 4096.  An order often depends on it (blocks, unrolled loops): ask for the sizes you use.
    fmt : FloatFormat or its name
        The format of the operands, whose values alone are given.
    dtype : dtype, optional
        What the function takes; by default float16, float32 or float64, whichever holds the format.  (A program takes
        codes of the format.)
    shape : (int, int)
        m and n for ``matmul``: libraries choose their loops by them.
    seed : int
        Of the random terms.

    Returns
    -------
    SumReport

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, a function that does not answer with numbers, or not twice with the same, a
        program that misbehaves, and where the format's range is too narrow for what is accumulated: ones have to be
        swallowed.  What the function itself raises goes through.

    Examples
    --------
    >>> import refimpl as rf
    >>> print(identify_sum(lambda x: rf.sum(x, "float32", order="pairwise"), terms=8))
    neighbours in pairs (8 terms, 59 calls)
      tree          ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))
      accumulator   24 significant bits, rounded to nearest, ties to even
      the same as   additions of float32 in this order
    >>> unit = lambda a, b: rf.dot(a, b, "float8_e5m2", unit="hopper-fp8")
    >>> found = identify_sum(unit, kind="dot", terms=64, fmt="float8_e5m2")
    >>> found.order, found.alignment_bits, found.known[:1]
    ('groups of 32 terms, each fused with the accumulator', 13, ('hopper-fp8',))
    """
    _arguments.function("identify_sum", "function", function, "a function that adds")
    _arguments.choice("identify_sum", "kind", kind, KINDS)
    if isinstance(function, Program) and function.operation != kind:
        raise _arguments.wrong_value("identify_sum", "kind", kind, f"{function.operation!r}, what the program does")
    n = _arguments.integer("identify_sum", "terms", terms, _arguments.Interval(2, 4096))
    found = format(fmt)
    if not isinstance(found, FloatFormat) or not found.signed or not found.has_zero or not found.fits_float64:
        raise _arguments.wrong_value("identify_sum", "fmt", str(fmt), "a float format with signs, within float64")
    rows = tuple(_arguments.integer("identify_sum", "shape", size, _arguments.Interval(1)) for size in shape)
    if len(rows) != 2:
        raise _arguments.wrong_value("identify_sum", "shape", shape, "a pair of sizes, m and n")
    if dtype is None:
        holds = (t for t in (np.float16, np.float32, np.float64) if _within(found, np.finfo(t)))
        dtype = next(holds, np.float64)
    box = _Box(function, kind, found, np.dtype(dtype), rows)
    large, one, swallows = _scale(box, n)
    tree, order = None, "exact: every term counts, in whatever order"
    if swallows:
        try:
            tree = _tree(box, n, large, one)
            order = in_words(tree)
        except _NoTree:
            order = "not a tree of additions: compensated, rounded in a direction, or with a sticky bit"
    elif not _exact_beside_two(box, n, seed, large, one):
        order = "compensated: every term counts beside two that cancel, but not beside more"
    facts: dict[str, Any] = {}
    if tree is not None:
        facts = _accumulator(box, n, tree) | _alignment(box, n, tree)
    own = _own_units(box, n, tree, facts) if swallows else ()
    seen = _asked(box, _probes(box, n, seed, PROBES))
    probe, answer = seen[PROBES - 2]
    if not _same(again := box.of(*probe), answer):
        got = f"one that answers the same terms with {answer} and with {again}"
        raise ValueError(_arguments.message("identify_sum", "function", got, "one that is the same each time"))

    def evidence():
        yield from seen[:PROBES]
        yield from box.first
        if len(seen) == PROBES:
            seen.extend(_asked(box, _probes(box, n, seed + 1, MORE_PROBES)))
        yield from seen[PROBES:]

    def foretells(candidate, those) -> bool:
        try:
            return all(_same(candidate(*probe), answer) for probe, answer in those if math.isfinite(answer))
        except (ValueError, OverflowError):  # it cannot be asked this
            return False

    edges: dict[str, list] = {}

    def named(candidates, most: int | None = None) -> list[tuple[Any, str]]:
        """Return the candidates that foretell what was asked, and for which edges they do not."""
        if not any(math.isfinite(answer) for _, answer in seen):
            return []
        found = (each for each in candidates if foretells(each[1], evidence()))
        kept = list(itertools.islice(found, most))
        if kept and not edges:
            edges.update({edge: _asked(box, _edge(box, n, seed, edge)) for edge in EDGES})
        told = [(name, [edge for edge in EDGES if not foretells(candidate, edges[edge])]) for name, candidate in kept]
        everywhere = [(name, "") for name, missed in told if not missed]
        return everywhere or [(name, f", but for {' and '.join(missed)}") for name, missed in told]

    rounding = facts.get("accumulator_rounding") or "ties_to_even"
    known = named(_candidates(box, tree, rounding))
    unit = named(((u, _on(u, box)) for u in own), 1)
    if not known and not unit:
        known = named(_mixtures(box, tree))
    if unit and not known:
        known = [("a unit of your own: .unit describes it", unit[0][1])]
    if not known and isinstance(tree, tuple) and len(tree) == n > 2:
        order = "all terms alike: in one fused sum, or in an order that depends on their values"
        facts = {}
    if known and all("kahan" in name for name, _ in known):
        facts = {}  # what is left of a step was compensated
    names = tuple(dict.fromkeys(f"{name}{missed}" for name, missed in known))
    return SumReport(n, box.calls, tree, order, names, unit[0][0] if unit else None, **facts)


def _within(fmt: FloatFormat, finfo) -> bool:
    least = fmt.min_exponent - fmt.mantissa_bits
    return fmt.mantissa_bits <= finfo.nmant and fmt.maxexp <= finfo.maxexp and least >= finfo.minexp - finfo.nmant


def _same(x: float, y: float) -> bool:
    return x == y or (math.isnan(x) and math.isnan(y))


# -- the tree ----------------------------------------------------------------------------------------


def _scale(box: _Box, n: int) -> tuple[int, int, bool]:
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


def _left(box: _Box, n: int, i: int, j: int, large: int, one: int) -> float:
    """Return how many ones are left when terms i and j are M and -M."""
    return _each_left(box, n, i, [j], large, one)[0]


def _each_left(box: _Box, n: int, i: int, others: list[int], large: int, one: int) -> list[float]:
    """Return how many ones are left when terms i and j are M and -M, for each j."""
    cases = []
    for j in others:
        exponents, signs = np.full(n, one), np.ones(n)
        exponents[[i, j]] = large
        signs[j] = -1.0
        cases.append(box.factors(exponents, signs))
    return [answer / 2.0**one for answer in box.each(cases)]


def _tree(box: _Box, n: int, large: int, one: int) -> Tree:
    """Return the tree of additions."""
    rng = np.random.default_rng(n)

    def sizes_of(i: int, others: list[int]) -> dict[int, int]:
        """Return the numbers of leaves of the smallest subtrees that hold both terms."""
        left = _each_left(box, n, i, others, large, one)
        if not all(0 <= count <= n - 2 and count == int(count) for count in left):
            raise _NoTree
        return {j: n - int(count) for j, count in zip(others, left, strict=True)}

    def subtree(leaves: list[int], sizes: dict[int, int] | None = None) -> Tree:
        node: Tree = leaves[0]
        if sizes is None:
            sizes = sizes_of(leaves[0], leaves[1:])
        count = 1
        for level in sorted({sizes[j] for j in leaves[1:]}):
            joining = [j for j in leaves[1:] if sizes[j] == level]
            if count + len(joining) != level:
                raise _NoTree
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


def _terms(box: _Box, n: int, exponents: dict[int, tuple[float, int]]) -> float:
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


def _accumulator(box: _Box, n: int, tree: Tree) -> dict[str, Any]:
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


def _alignment(box: _Box, n: int, tree: Tree) -> dict[str, Any]:
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


# -- names -------------------------------------------------------------------------------------------


def _probes(box: _Box, n: int, seed: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield random factors, float64 (n,) each, spread over some binades; every third time in opposite pairs."""
    rng = np.random.default_rng([seed, n])
    for turn in range(count):
        spread = (3, 8, 3)[turn % 3]
        a, b = _random(box, rng, n, -spread, spread), np.ones(n)
        if box.kind != "sum":
            b = _random(box, rng, n, -spread, spread)
        if turn % 3 == 2:  # what the sum is then, was rounded
            pairs = rng.permutation(n)[: n // 2 * 2].reshape(2, -1)
            if turn % 2:  # one pair alone, the last term in it
                pairs = np.array([[n - 1], [rng.integers(n - 1)]])
                a[np.setdiff1d(np.arange(n), pairs)] = 0.0
            a[pairs[1]], b[pairs[1]] = -a[pairs[0]], b[pairs[0]]
        yield a, b


def _random(box: _Box, rng, n: int, low: int, high: int) -> np.ndarray:
    """Return random values of the format, of these exponents and about."""
    x = rng.standard_normal(n) * 2.0 ** rng.integers(low, high + 1, n)
    return quantize(np.clip(x, -box.fmt.max, box.fmt.max), box.fmt).astype(np.float64)


def _edge(box: _Box, n: int, seed: int, edge: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield factors of sums that are among the smallest or largest numbers of a format."""
    rng = np.random.default_rng([seed, n, EDGES.index(edge)])
    least, most = box.exponents(True)
    for fmt in (box.fmt, format("float32")):
        if edge == EDGES[0]:
            low, high = fmt.min_exponent - fmt.mantissa_bits + 2, fmt.min_exponent + 2
        else:
            high = fmt.maxexp - 2 - n.bit_length()
            low = high - 4
        low, high = max(low, least), min(high, most)
        if low <= high:
            exponents = rng.integers(low, high + 1, n)
            yield box.factors(exponents, rng.choice([-1.0, 1.0], n) if edge == EDGES[0] else np.ones(n))


def _exact_beside_two(box: _Box, n: int, seed: int, large: int, one: int) -> bool:
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


def _asked(box: _Box, probes) -> list[tuple[tuple[np.ndarray, np.ndarray], float]]:
    """Return probes with the answers to them."""
    probes = list(probes)
    return list(zip(probes, box.each(probes), strict=True))


def _candidates(box: _Box, tree: Tree | None, rounding: str) -> Iterator[tuple[str, Callable]]:
    """Yield names and functions of factors that add in a known way."""
    if box.kind != "sum":
        for name, unit in UNITS.items():
            if box.fmt.name in unit.operands and not unit.scales:
                yield name, _on(unit, box)
                if unit.float16:
                    yield f"{name} into float16", _on(unit, box, "float16")
    if tree is not None:
        yield from _evaluations(box, tree, rounding)
    if tree is None:
        yield "the exact sum, rounded once to float64", lambda a, b: math.fsum((a * b).tolist())
        exact = "the exact sum, rounded once to float32"
        yield exact, lambda a, b: _rounded(sum(map(Fraction, (a * b).tolist()), Fraction(0)), format("float32"))
    if box.fmt.mantissa_bits > 24:
        return
    for into in dict.fromkeys((box.fmt.name, "float32", "float16", "bfloat16")):
        for order in ("exact", "kahan"):
            yield f"order={order!r}, accumulate={into!r}", _ordered(box, order, into, "ties_to_even")
        for rounding in ("toward_zero", "toward_negative", "toward_positive"):
            for order in ("sequential", "pairwise") if tree is None else ():
                yield (
                    f"order={order!r}, accumulate={into!r}, rounding={rounding!r}",
                    _ordered(box, order, into, rounding),
                )


def _ordered(box: _Box, order: str, into: str, rounding: str) -> Callable:
    options: dict[str, Any] = {"accumulate": into, "order": order, "rounding": rounding}
    if box.kind == "sum":
        return lambda a, b: float(summed(a, box.fmt, **options))
    return lambda a, b: float(dot(a, b, box.fmt, **options))


def _on(unit: MatrixUnit, box: _Box, accumulate: str | None = None) -> Callable:
    return lambda a, b: float(dot(a, b, box.fmt, unit=unit, accumulate=accumulate))


def _evaluations(box: _Box, tree: Tree, rounding: str) -> Iterator[tuple[str, Callable]]:
    """Yield the arithmetics in which a tree may be evaluated, the sum rounded to a narrower format at last or not."""
    answer = {np.dtype(np.float16): "float16", np.dtype(np.float32): "float32"}.get(box.dtype, "float64")
    narrower = dict.fromkeys((answer, box.fmt.name))
    how = "" if rounding == "ties_to_even" else f", rounded {WORDS[rounding]}"
    for kind in ("float32", "float64", "float16", "bfloat16"):
        last = [None, *(name for name in narrower if kind in ("float32", "float64") and name != kind)]
        for product in ("rounded", "fused", "fused last", *narrower)[: 1 if box.kind == "sum" else None]:
            if product == kind or product in narrower and format(product).bits >= format(kind).bits:
                continue
            name = (
                f"{'fused multiply-adds' if product.startswith('fused') else 'additions'} of {kind} in this order{how}"
            )
            if product in narrower:
                name = f"products rounded to {product}, {name}"
            for into in last:
                words = name if into is None else f"{name}, the sum rounded to {into}"
                yield words, partial(_evaluated, tree, kind=kind, product=product, rounding=rounding, into=into)


def _mixtures(box: _Box, tree: Tree | None) -> Iterator[tuple[str, Callable]]:
    """Yield sums of which what goes before single last terms, or else one half, has an arithmetic of its own."""
    main = tree
    while isinstance(main, tuple) and len(main) == 2 and isinstance(main[1], int):
        main = main[0]
    if main is tree and isinstance(tree, tuple):
        main = tree[0]
    if tree is None or box.kind == "sum" or not isinstance(main, tuple) or box.dtype == np.float16:
        return
    answer, n = box.dtype.name, len(leaves_of(main))
    ways = {(answer, "rounded"): f"additions of {answer}", (answer, "fused"): f"fused multiply-adds of {answer}"}
    if answer == "float32":
        ways["float64", "float32"] = "products rounded to float32 and additions of float64"
        ways["float64", "rounded"] = "products and additions of float64"
    for first, second in itertools.permutations(ways, 2):
        words = f"{n} terms by {ways[first]}, {len(leaves_of(tree)) - n} by {ways[second]}"
        yield words, partial(_joined, tree, main, first, second, answer)


def _joined(tree: Tree, main: Tree, first: tuple, second: tuple, answer: str, a, b) -> float:
    """Return the sum of a tree whose part `main` is evaluated in the first way, and the rest in the second."""
    known = main, _sum(main, a, b, first[0], first[1])
    return _rounded(_sum(tree, a, b, second[0], second[1], part=known), format(answer))


def _evaluated(tree: Tree, a, b, kind: str, product: str, rounding: str, into: str | None) -> float:
    """Return the sum of products by a tree of two-term additions, rounded to a format at last if one is given."""
    total = _sum(tree, a, b, kind, product, rounding)
    return float(total) if into is None else _rounded(total, format(into))


def _sum(
    tree: Tree, a, b, kind: str, product: str, rounding: str = "ties_to_even", part: tuple[Tree, Fraction] | None = None
) -> Fraction:
    """Return the sum of products by a tree of two-term additions, in the arithmetic of a kind.

    product: ``rounded`` to the kind; ``fused``: where a term joins a sum, its product is not rounded; of two terms
    that meet the second's is not, or, ``fused last``, the first's; or a format to which it is rounded first.
    part: a subtree whose sum is known.
    """
    fmt = format(kind)
    fused = product != "rounded"
    rounded_first, rounded_second = (False, True) if product == "fused last" else (True, False)
    terms = [Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    if product not in ("rounded", "fused", "fused last"):
        terms = [Fraction(_rounded(term, format(product))) for term in terms]
    stack: list[tuple[Tree, bool]] = [(tree, False)]
    done: list[tuple[bool, Fraction]] = []  # whether it is a term, and not rounded yet
    while stack:
        node, ready = stack.pop()
        if part is not None and node is part[0]:
            done.append((False, part[1]))
        elif isinstance(node, int):
            done.append((True, terms[node]))
        elif len(node) != 2:
            raise ValueError("not a tree of two-term additions")
        elif not ready:
            stack.extend([(node, True), (node[1], False), (node[0], False)])
        else:
            (second_term, second), (first_term, first) = done.pop(), done.pop()
            if first_term and (not fused or second_term and rounded_first):
                first = Fraction(_rounded(first, fmt, rounding))
            if second_term and (not fused or first_term and rounded_second):
                second = Fraction(_rounded(second, fmt, rounding))
            done.append((False, Fraction(_rounded(first + second, fmt, rounding))))
    return done[0][1]


def _rounded(exact: Fraction, fmt: FloatFormat, rounding: str = "ties_to_even") -> float:
    """Return an exact number rounded to a format; OverflowError beyond it."""
    code = float_codes.encode(Value("finite", exact < 0, abs(exact)), fmt, rounding)
    value = float_codes.decode(code, fmt)
    if value.kind != "finite":
        raise OverflowError("beyond the format")
    return float_codes.to_float(value)


def _own_units(box: _Box, n: int, tree: Tree | None, facts: dict[str, Any]) -> Iterator[MatrixUnit]:
    """Yield units that the tree and the widths leave possible; where there is no tree, those with a sticky bit."""
    if box.kind == "sum" or box.fmt.mantissa_bits > 23:
        return
    base = MatrixUnit(operands=(box.fmt.name,), nan_ones=False)
    width = facts.get("alignment_bits")
    if tree is None:
        terms, width = _sticky(box, n)
        base, promote = replace(base, cut="to_odd"), None
    else:
        terms, promote = promoted_groups_of(tree) or (0, None)
        base = replace(base, cut=facts.get("alignment_cut") or "toward_zero")
    if width is None or not terms:
        return
    kept = (None, 10) if box.fmt.name == "float32" else (None,)
    ways: list[dict[str, Any]] = [
        {"into": into, "rounding": rounding, "align": align, "operand_bits": operand_bits}
        for into in (format("float32"), FP22, format("float16"), format("bfloat16"))
        for rounding in ("toward_zero", "ties_to_even")
        for align in ("factors", "products")
        for operand_bits in kept
    ]
    wide = len(ways) // 4  # into float32
    usual = replace(base, terms=terms, promote=promote, fraction_bits=width)
    for joined in (None, (31, 24)):
        yield from (replace(usual, joined=joined, **way) for way in ways)
    if tree is not None:
        for first, second in itertools.product(range(max(0, width - 3), min(48, width + 9)), range(10, 33)):
            for halves in (False, True):
                yield from (replace(usual, joined=(first, second), halves=halves, **way) for way in ways[:wide])


def _sticky(box: _Box, n: int) -> tuple[int, int | None]:
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
