"""Cases of sums: rows of A and columns of B, all of which meet, and first accumulators.

Two terms at every distance of exponents, terms that cancel and leave what alignment kept, full significands that carry,
results half way between two values, NaN, infinities and zeros, random terms; at the start of a group of terms, across
two and at the end.  Products of matrices in other shapes.

Units with block scales: all that under scales of 1 and random ones, k filled up with zeros to whole groups; blocks at
every distance of their scales; every scale there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from refimpl import ops
from refimpl.formats import format as format_of
from refimpl.formats.units import FP22
from refimpl.testing.operations.summed import Sums

ROWS = 40  # of A and columns of B in a group of cases
LENGTHS = (*range(1, 41), 47, 48, 49, 63, 64, 65, 96, 127, 128, 129)  # numbers of terms
SHAPES = (  # of products: rows, terms, columns
    ("square", "where all matrices are square, none is read or written transposed", (19, 19, 19)),
    ("one_row", "one row times a matrix", (1, 21, 9)),
    ("one_column", "a matrix times one column", (9, 21, 1)),
    ("one_term", "one column times one row", (9, 1, 7)),
)


Group = tuple[str, str, np.ndarray, np.ndarray, Any]


def groups_of(expected: Sums, takes_initial: bool) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, Any, Any]]:
    """Yield name, statement, operands, first accumulators, scales of groups; those of one name follow one another."""
    if not expected.scaled:
        yield from ((*group, None) for group in _groups(expected, takes_initial))
        return
    rng = np.random.default_rng(1)
    block, of_scales = expected.unit.block, _scales(expected)  # type: ignore[union-attr]
    usual = of_scales[(of_scales > 0) & (np.abs(np.log2(np.where(of_scales > 0, of_scales, 1))) <= 12)]
    for name, statement, a, b, c in _groups(expected, takes_initial):
        zeros = -a.shape[1] % expected.unit.terms  # type: ignore[union-attr]
        a, b = np.pad(a, ((0, 0), (0, zeros))), np.pad(b, ((0, zeros), (0, 0)))
        left, right = (rng.choice(usual, (n, a.shape[1] // block)) for n in (len(a), b.shape[1]))
        if name not in [shape[0] for shape in SHAPES]:  # under scales of 1, too
            a, left = np.concatenate([a, a]), np.concatenate([np.ones_like(left), left])
            right[::2] = 1.0
            c = None if c is None else np.concatenate([c, c])
        yield name, statement, a, b, c, (left, np.ascontiguousarray(right.T))
    yield from _of_scales(expected, of_scales)


def _scales(expected: Sums) -> np.ndarray:
    """Return all scales there are, ascending, NaN last; the sign of one does not count."""
    fmt: Any = format_of(expected.how["scale_format"])
    found = np.asarray(ops.decode(np.arange(1 << fmt.bits), fmt), np.float64)
    return np.unique(found[~(found < 0) & ~(np.signbit(found) & ~np.isnan(found))])


def _of_scales(expected: Sums, every: np.ndarray) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, Any, Any]]:
    """Yield blocks at every distance of their scales, and every scale there is, in either operand."""
    rng = np.random.default_rng(2)
    fmt, k, block = expected.fmt, expected.terms, expected.unit.block  # type: ignore[union-attr]
    count = k // block
    full = min(fmt.max, 2 - 2.0**-fmt.mantissa_bits)
    powers = every[(every > 0) & (np.frexp(every)[0] == 0.5)]
    powers = powers[np.abs(np.log2(powers)) <= 40]
    rows, scales = [], []
    for gap in range(len(powers)):
        for n, (first, second, third) in enumerate(((1, 1, 0), (full, full, -full), (1, -full, -1), (-full, 1, 0))):
            i = (gap + n) % (count - 2)
            j, other = (i + 1, i + 2) if n % 2 else (count - 1, i + 1)
            row, scale = np.zeros((count, block)), np.full(count, powers[0] if gap % 2 else 1.0)
            row[i, gap % block], row[j], row[other, -1] = first, second, third  # one term, then a block of them
            scale[[i, j, other]] = powers[-1], powers[-1 - gap], powers[-1]
            rows.append(row.reshape(-1))
            scales.append(scale)
    b = np.stack([np.ones(k), full * np.ones(k), *rng.choice([-1.0, 0.0, 0.5, 1.0, full], (3, k))], axis=1)
    b = np.asarray(ops.quantize(b, fmt), np.float64)
    right = np.ones((count, b.shape[1]))
    right[1::2, 3], right[:, 4] = powers[len(powers) // 2], rng.choice(powers, count)
    low = every[every > 0][:4]

    def far(n):
        """Return small scales, and in every fourth block from the n-th on, or anywhere, the largest."""
        large = np.arange(count) % 4 == n if n < 4 else rng.integers(0, 2, count) == 1
        return np.where(large, rng.choice(powers[-2:], count), rng.choice(low, count))

    for n in range(2 * ROWS):  # blocks of zeros align the others, too
        row = rng.choice([-1.0, 0.0, 0.5, 1.0, full], (count, block))
        row[n % 4 :: 4] = 0.0
        rows.append(row.reshape(-1))
        scales.append(far(n % 8))
    right = np.concatenate([right, np.stack([far(n) for n in range(8)], axis=1)], axis=1)
    b = np.concatenate([b, b[:, [0, 1, 0, 2, 0, 1, 2, 3]]], axis=1)
    a, left = np.asarray(ops.quantize(np.array(rows), fmt), np.float64), np.array(scales)
    statement = "blocks meet at every distance of their scales without more lost than is"
    yield "scale_gaps", statement, a, b, None, (left, right)
    yield "scale_gaps", statement, b.T.copy(), a.T.copy(), None, (right.T.copy(), left.T.copy())
    a = np.asarray(ops.quantize(rng.uniform(1, 2, (len(every), k)), fmt), np.float64)
    left = np.ones((len(every), count))
    left[np.arange(len(every)), np.arange(len(every)) % count] = every
    below = every[every * powers[0] >= 2.0**-150][0]  # a float32's smallest value, if there is one so small
    a = np.concatenate([a, -np.eye(2, k, k - 2)])
    left = np.concatenate([left, np.full((1, count), low[0]), np.full((1, count), below)])
    right = np.stack([np.ones(count), np.full(count, powers[0]), np.full(count, powers[-1])], axis=1)
    statement = "every scale is the number that its format says, NaN makes the sum NaN"
    yield "every_scale", statement, a, b[:, :3], None, (left, right)
    yield "every_scale", statement, b[:, :3].T.copy(), a.T.copy(), None, (right.T.copy(), left.T.copy())


def _groups(expected: Sums, takes_initial: bool) -> Iterator[Group]:
    """Yield name, statement, operands and first accumulators."""
    fmt, k = expected.fmt, expected.terms
    rng = np.random.default_rng(0)
    ones = np.ones((k, 1))

    def values(x):
        with np.errstate(all="ignore"):
            return np.asarray(ops.quantize(np.clip(x, fmt.min, fmt.max), fmt), np.float64)

    pairs = [(0, 1), (0, k - 1), (k // 2, 1), (k - 2, k - 1)]
    low, high = fmt.min_exponent - fmt.mantissa_bits, fmt.maxexp - 1
    top = min(high, 6)
    gaps = range(min(top - low, 60) + 1)
    full = 2 - 2.0**-fmt.mantissa_bits

    def two(first, second, more=None):
        """Rows of two terms, or three, at some places."""
        rows = []
        for n, gap in enumerate(gaps):
            row = np.zeros(k)
            i, j = pairs[n % len(pairs)]
            row[i], row[j] = first * 2.0**top, second * 2.0 ** (top - gap)
            if more is not None:
                row[next(x for x in range(k) if x not in (i, j))] = more * 2.0**top
            rows.append(row)
        return rows

    columns = np.concatenate([ones, ones * 2.0 ** max(low, -6), full * ones, -ones, _alternating(k, fmt)], axis=1)
    if expected.kind == "sum":
        columns = ones
    columns = values(columns)
    for name, statement, rows in (
        ("exponent_gaps", "terms of different sizes meet without more lost than is", [*two(1, 1), *two(full, full),
         *two(1, -1), *two(-full, 1)]),
        ("cancellation", "what is left when terms cancel is what alignment kept", [*two(1, 1, -1), *two(1, full, -1),
         *two(-1, -full, 1)]),
        ("carries", "full significands carry into as many bits as they need", [full * 2.0 ** (top - g) * np.ones(k)
         for g in range(4)] + [-full * 2.0**top * np.ones(k)]),
        ("order", "terms are added in their order, in groups as they are", _swallowed(k, top, low)),
        ("ties", "results half way between two values of the accumulator go by its rounding",
         _near_ties(expected, k, low)),
        ("range", "sums beyond the accumulator, and below its smallest values", [fmt.max * np.ones(k),
         fmt.smallest_subnormal * np.ones(k), *np.eye(k)[:3] * fmt.max, *np.eye(k)[:3] * fmt.smallest_subnormal]),
        ("random", "random terms", list(rng.standard_normal((ROWS, k)) * 2.0 ** rng.integers(-6, 4, (ROWS, k)))),
    ):  # fmt: skip
        more = values(rng.standard_normal((k, 6)) * 2.0 ** rng.integers(-4, 3, (k, 6)))
        b = columns if expected.kind == "sum" else np.concatenate([columns, more], axis=1)
        if expected.kind == "dot":
            b = np.concatenate([columns[:, :3], more[:, :2]], axis=1)
        if name == "range" and expected.kind != "sum":
            b = np.concatenate([b, values(fmt.max * ones), values(fmt.smallest_subnormal * ones)], axis=1)
        yield name, statement, values(np.array(rows)), b, None
    long = rng.standard_normal((4, expected.many)) * 2.0 ** rng.integers(-3, 3, (4, expected.many))
    b = np.ones((expected.many, 1)) if expected.kind == "sum" else rng.standard_normal((expected.many, 3))
    yield (
        "long",
        "sums of many terms" + ", of no whole number of groups" * (not expected.scaled),
        values(long),
        values(b),
        None,
    )
    many = sorted({*LENGTHS, expected.terms - 1, expected.terms, expected.terms + 1})
    if expected.scaled:
        many = [n * expected.terms // 3 for n in range(1, 7)]
    for n in many:
        shape = (2, n), (n, 1 if expected.kind == "sum" else 2)
        a, b = (values(rng.uniform(1, 2, s) * rng.choice([1.0, -1.0], s)) for s in shape)
        b = np.ones((n, 1)) if expected.kind == "sum" else b
        yield "lengths", "sums of any number of terms have all of them", a, b, None
    if expected.kind == "matmul":
        for name, statement, (height, terms, width) in SHAPES:
            if expected.scaled:  # whole groups
                one = expected.terms // 3
                height, terms, width = (one if n == terms else n for n in (height, terms, width))
            shapes = (height, terms), (terms, width)
            yield name, statement, *(values(rng.standard_normal(shape)) for shape in shapes), None
    a, b = _specials(fmt, k, columns)
    yield "special_values", "NaN, infinities and zeros give what they should", a, b, None
    if expected.kind != "sum":
        yield "special_values", "", b.T.copy(), a.T.copy(), None  # those of one operand in the other
    if takes_initial:
        a = values(np.array(two(1, 1) + list(rng.standard_normal((ROWS, k)))))
        into: Any = expected.unit.into if expected.unit is not None else fmt
        c = rng.standard_normal((len(a), columns.shape[1])) * 2.0 ** rng.integers(-20, 20, (len(a), 1))
        c = np.asarray(ops.quantize(c, format_of("float32") if into == FP22 else into), np.float64)
        yield "initial", "the first accumulator is a term like others, or as the unit has it", a, columns, c


def _alternating(k: int, fmt) -> np.ndarray:
    return np.where(np.arange(k) % 2, -1.0, 1.0)[:, None] * np.ones((1, 1))


def _swallowed(k: int, top: int, low: int) -> list[np.ndarray]:
    """Return rows of ones with a large term and its opposite, at every distance."""
    small = 2.0 ** max(low, top - 30)
    rows = []
    for i in range(0, k, max(1, k // 8)):
        for j in range(i + 1, k, max(1, k // 6)):
            row = np.full(k, small)
            row[i], row[j] = 2.0**top, -(2.0**top)
            rows.append(row)
    return rows


def _near_ties(expected: Sums, k: int, low: int) -> list[np.ndarray]:
    into = (
        expected.unit.into if expected.unit is not None else format_of(expected.how.get("accumulate") or expected.fmt)
    )
    bits = getattr(into, "mantissa_bits", 8)
    rows = []
    for top in {min(expected.fmt.maxexp - 1, 6), min(expected.fmt.maxexp - 1, low + bits + 1)}:
        for half in (1.0, 1.5, 0.5, 0.75):
            for sign in (1.0, -1.0):
                row = np.zeros(k)
                row[0], row[1] = sign * 2.0**top, sign * half * 2.0 ** (top - bits)
                rows.append(row.copy())
                row[2] = 2.0**low
                rows.append(row.copy())
                row[2] = -(2.0**low)
                rows.append(row)
    return rows


def _specials(fmt, k: int, columns) -> tuple[np.ndarray, np.ndarray]:
    special = [0.0, -0.0, 1.0, fmt.max]
    special += [np.inf, -np.inf] if fmt.infinity_code is not None else []
    special += [np.nan] if fmt.nan_code is not None else []
    rows = [np.zeros(k), -np.zeros(k)]
    for x in special:
        for y in special:
            row = np.zeros(k)
            row[0], row[k - 1] = x, y
            rows.append(row)
    b = columns
    if columns.shape[1] > 1:
        b = np.concatenate([columns, np.zeros((k, 1)), -np.zeros((k, 1))], axis=1)
    return np.asarray(ops.quantize(np.array(rows), fmt), np.float64), b
