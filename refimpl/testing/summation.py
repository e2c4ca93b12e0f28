"""In which order, how wide and how rounded does an unknown function add?  Found from its answers alone.

*Order and widths* are asked for as `refimpl.testing.sum_structure` says.

*Name.*  What is known by name, and the tree itself in several arithmetics, foretells the answers to random terms, to
opposite ones that take each other away but for what was rounded, and to what was asked before; where nothing does, two
parts of the tree, each in an arithmetic of its own (a library's loop, and what it leaves over).  Where a name foretells
all but sums of the smallest or largest numbers (subnormals that are flushed, results that are clipped), that is said.

*Limits.*  Ones that are not swallowed but rounded up (a sticky bit in alignment, directed rounding) give no tree; then
only what is known by name is tried, and units with a sticky bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
from refimpl.testing.implementations.programs import Program
from refimpl.testing.sum_structure import Box, NoTree, accumulator, alignment, exact_beside_two, scale, sticky, tree_of
from refimpl.testing.trees import Tree, in_words, leaves_of, nested, promoted_groups_of

KINDS = ("sum", "dot", "matmul")
EDGES = ("the smallest numbers", "the largest numbers")
PROBES = 6  # random sums that a name has to foretell
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
    box = Box(function, kind, found, np.dtype(dtype), rows)
    large, one, swallows = scale(box, n)
    tree, order = None, "exact: every term counts, in whatever order"
    if swallows:
        try:
            tree = tree_of(box, n, large, one)
            order = in_words(tree)
        except NoTree:
            order = "not a tree of additions: compensated, rounded in a direction, or with a sticky bit"
    elif not exact_beside_two(box, n, seed, large, one):
        order = "compensated: every term counts beside two that cancel, but not beside more"
    facts: dict[str, Any] = {}
    if tree is not None:
        facts = accumulator(box, n, tree) | alignment(box, n, tree)
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


def _probes(box: Box, n: int, seed: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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


def _random(box: Box, rng, n: int, low: int, high: int) -> np.ndarray:
    """Return random values of the format, of these exponents and about."""
    x = rng.standard_normal(n) * 2.0 ** rng.integers(low, high + 1, n)
    return quantize(np.clip(x, -box.fmt.max, box.fmt.max), box.fmt).astype(np.float64)


def _edge(box: Box, n: int, seed: int, edge: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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


def _asked(box: Box, probes) -> list[tuple[tuple[np.ndarray, np.ndarray], float]]:
    """Return probes with the answers to them."""
    probes = list(probes)
    return list(zip(probes, box.each(probes), strict=True))


def _candidates(box: Box, tree: Tree | None, rounding: str) -> Iterator[tuple[str, Callable]]:
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


def _ordered(box: Box, order: str, into: str, rounding: str) -> Callable:
    options: dict[str, Any] = {"accumulate": into, "order": order, "rounding": rounding}
    if box.kind == "sum":
        return lambda a, b: float(summed(a, box.fmt, **options))
    return lambda a, b: float(dot(a, b, box.fmt, **options))


def _on(unit: MatrixUnit, box: Box, accumulate: str | None = None) -> Callable:
    return lambda a, b: float(dot(a, b, box.fmt, unit=unit, accumulate=accumulate))


def _evaluations(box: Box, tree: Tree, rounding: str) -> Iterator[tuple[str, Callable]]:
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


def _mixtures(box: Box, tree: Tree | None) -> Iterator[tuple[str, Callable]]:
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


def _own_units(box: Box, n: int, tree: Tree | None, facts: dict[str, Any]) -> Iterator[MatrixUnit]:
    """Yield units that the tree and the widths leave possible; where there is no tree, those with a sticky bit."""
    if box.kind == "sum" or box.fmt.mantissa_bits > 23:
        return
    base = MatrixUnit(operands=(box.fmt.name,), nan_ones=False)
    width = facts.get("alignment_bits")
    if tree is None:
        terms, width = sticky(box, n)
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
