"""Cases of operations: tuples of codes, made for the formats and sorted into groups by what happens in them.

All tuples where there are at most 2^16, and all codes of one operand of at most 16 bits.  Else some tens of
thousands: special codes with each other; significands that are full, empty, or have one bit, at all distances of
exponents; operands that nearly cancel; and operands chosen so that the result comes near a limit of the format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from refimpl.formats import FloatFormat
from refimpl.testing.expected.cases import evenly
from refimpl.testing.operations.operation import NUMBER, Number, Operation, decoded, encoded

ALL_BITS = 16
SOME = 6000  # random tuples of wide formats
FEW = 800  # where no kernel computes


class Group(NamedTuple):
    """Cases under a name; `codes` are those of each operand, uint64 (n,)."""

    name: str
    statement: str
    codes: list[np.ndarray]


def groups(operation: Operation) -> list[Group]:
    """Return the cases of an operation, each tuple once, in groups.

    >>> [group.name for group in groups(Operation("add", "float8_e4m3fn"))][:3]
    ['special_values', 'zeros', 'overflow']
    """
    columns = tuples(operation)
    left = np.ones(columns[0].size, bool)
    found = []
    for name, statement, where in _sorted(operation, columns):
        here = left & where
        left &= ~where
        if here.any():
            found.append(Group(name, statement, [c[here] for c in columns]))
    return found


def tuples(operation: Operation) -> list[np.ndarray]:
    """Return tuples of codes, a column for each operand, ascending and none twice."""
    formats = operation.formats
    bits = [fmt.bits for fmt in formats]
    if sum(bits) <= ALL_BITS:
        every = np.arange(1 << sum(bits), dtype=np.uint64)
        return [every >> np.uint64(sum(bits[k + 1 :])) & np.uint64((1 << b) - 1) for k, b in enumerate(bits)]
    rows = [np.asarray(piece, np.uint64).reshape(len(formats), -1) for piece in _pieces(operation)]
    return list(np.unique(np.concatenate(rows, axis=1), axis=1))


# -- what happens in a case ------------------------------------------------------------------------


def _sorted(operation: Operation, columns) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield names, statements and members of groups; a case belongs to the first that has it."""
    values = [decoded(c, fmt) for c, fmt in zip(columns, operation.formats, strict=True)]
    special = np.any([~np.isfinite(v) for v in values], axis=0)
    yield "special_values", "NaN and infinities among the operands follow the standard", special
    everything = np.ones(special.shape, bool)
    if operation.kind != NUMBER:
        yield "zeros", "zeros of either sign are equal, and no less than numbers", np.any([v == 0 for v in values], 0)
        equal = np.abs(values[0]) == np.abs(values[-1])
        yield "near", "operands that are equal but for their sign", equal if len(values) > 1 else ~everything
        yield "ordinary", "all other cases", everything
        return
    random = np.zeros(columns[0].size, np.uint32) if operation.random_bits else None
    expected = operation.values_of(operation.results(columns, random))
    into = operation.into
    largest = float(into.max)
    zero = np.any([v == 0 for v in values], axis=0) | (expected == 0)
    yield "zeros", "zeros among operands and results have the sign they should", zero
    with np.errstate(all="ignore"):
        far = ~np.isfinite(expected) | (np.abs(expected) >= largest * 0.75)
    yield "overflow", "results near and beyond the largest value follow the rule of overflow, and no others", far
    if isinstance(into, FloatFormat):
        tiny = np.abs(expected) <= into.smallest_normal
        yield "subnormal_results", "results below the smallest normal value are rounded on the subnormal grid", tiny
    small = [
        np.abs(v) < fmt.smallest_normal if isinstance(fmt, FloatFormat) else np.zeros(v.shape, bool)
        for v, fmt in zip(values, operation.formats, strict=True)
    ]
    yield "subnormal_operands", "subnormal operands are numbers like others", np.any(small, axis=0)
    if operation.is_rounded and operation.name != "round_to_integral" and _narrow(into) and not operation.random_bits:
        yield "ties", "results half way between two values go by the mode", _half_way(operation.exact(values), into)
    if operation.name in ("add", "sub", "fma", "faa"):
        size = np.max([np.abs(v) for v in _terms(operation.name, values)], axis=0)
        yield "cancellation", "what is left when leading bits cancel is right", np.abs(expected) <= size / 2
    if len(values) > 1:
        low, high = (f(np.stack([np.frexp(v)[1] for v in values]), axis=0) for f in (np.min, np.max))
        yield "exponent_gaps", "operands of different sizes meet without a bit lost", high > low
    yield "ordinary", "all other cases", everything


def _narrow(fmt) -> bool:
    return isinstance(fmt, FloatFormat) and fmt.mantissa_bits <= 22


def _half_way(exact: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """Tell which exact results lie half way between two values of a format."""
    with np.errstate(all="ignore"):
        exponent = np.maximum(np.frexp(exact)[1] - 1, fmt.min_exponent) - fmt.mantissa_bits
        steps = np.abs(np.ldexp(exact, -exponent))
        return steps - np.floor(steps) == 0.5


def _terms(name: str, values) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return [values[0] * values[1], values[2]] if name == "fma" else list(values)


# -- tuples of wide formats ------------------------------------------------------------------------


def _pieces(operation: Operation) -> Iterator[np.ndarray | Sequence[np.ndarray]]:
    formats, rng = operation.formats, np.random.default_rng(0)
    slow = operation.is_slow
    some_of = FEW if slow else SOME
    if len(formats) == 1:
        yield np.concatenate([special_codes(formats[0]), patterns(formats[0])])
        yield rng.integers(0, 1 << formats[0].bits, 4 * some_of, dtype=np.uint64)
        return
    few = {2: 24 if slow else 60, 3: 8 if slow else 16}[len(formats)]
    chosen = [evenly(special_codes(fmt), few) for fmt in formats]
    yield np.array(list(product(*(c.tolist() for c in chosen))), np.uint64).T
    some = [rng.integers(0, 1 << fmt.bits, some_of, dtype=np.uint64) for fmt in formats]
    yield some
    yield [rng.choice(patterns(fmt), some_of) for fmt in formats]
    near = [_about_one(fmt, rng, some_of) for fmt in formats]
    yield near
    for columns in (some, near, [rng.choice(patterns(fmt), some_of) for fmt in formats]):
        yield from _aimed(operation, columns, rng)
    if len(formats) == 2:
        yield _gaps(formats)[:, :: 4 if slow else 1]


def special_codes(fmt: Number) -> np.ndarray:
    """Return the codes of zeros, infinities, NaNs and the values at the edges of binades and of the format."""
    top, everything = int(getattr(fmt, "max_code", (1 << fmt.bits - 1) - 1)), 1 << fmt.bits
    m = getattr(fmt, "mantissa_bits", fmt.bits // 2)
    one = int(encoded(np.ones(1), fmt)[0])
    some = {0, 1, 2, 3, top - 1, top, top + 1, top + 2, one - 1, one, one + 1, everything // 2 - 1}
    some |= {1 << m, (1 << m) - 1, (1 << m) + 1, 2 << m, one + (1 << m), one - (1 << m), one + (1 << m) - 1}
    some |= {one + (1 << m >> 1), one | 1 << m >> 1, top - (1 << m), top >> 1}
    some |= {code ^ (everything >> 1) for code in some if code >= 0}
    nan = getattr(fmt, "nan_code", None)
    some |= set() if nan is None else {nan}
    return np.array(sorted(code for code in some if 0 <= code < everything), np.uint64)


def patterns(fmt: Number) -> np.ndarray:
    """Return codes whose significands are empty, full, or have one bit set or clear, in every binade, of both signs."""
    m = min(getattr(fmt, "mantissa_bits", fmt.bits // 2), fmt.bits - 1)
    low = {
        0,
        1,
        (1 << m) - 1,
        max((1 << m) - 2, 0),
        *(1 << k for k in range(m)),
        *((1 << m) - 1 ^ 1 << k for k in range(m)),
    }
    rest = np.arange(1 << (fmt.bits - m), dtype=np.uint64) << np.uint64(m)
    step = max(1, rest.size // 256)
    return np.unique((rest[:: step | 1, None] | np.array(sorted(low), np.uint64)).ravel())


def _about_one(fmt: Number, rng, count: int) -> np.ndarray:
    """Return random codes of values within some binades of 1, where sums of any two interact."""
    m = getattr(fmt, "mantissa_bits", 4)
    with np.errstate(all="ignore"):
        x = rng.uniform(1, 2, count) * 2.0 ** rng.integers(-m - 3, m + 4, count) * rng.choice([-1.0, 1.0], count)
        codes = encoded(np.clip(x, float(fmt.min), float(fmt.max)), fmt)
    return codes


def _aimed(operation: Operation, columns, rng) -> Iterator[list[np.ndarray]]:
    """Yield tuples whose last operand is chosen, by inverting the operation, for a result near a limit."""
    aim: dict[str, Callable] = {
        "add": lambda t, a: t - a,
        "sub": lambda t, a: a - t,
        "mul": lambda t, a: t / a,
        "div": lambda t, a: a / t,
        "fma": lambda t, a, b: t - a * b,
        "faa": lambda t, a, b: t - a - b,
        "hypot": lambda t, a: np.sqrt(np.maximum(t * t - a * a, 0)),
    }
    if operation.name not in aim or not isinstance(operation.into, FloatFormat):
        return
    into, last = operation.into, operation.formats[-1]
    step = 2.0 ** (max(into.maxexp - 1, into.min_exponent) - into.mantissa_bits)
    targets = np.array(
        [into.max + step * part for part in (-0.5, 0, 0.25, 0.5, 0.75, 1)]
        + [into.smallest_subnormal * part for part in (0.5, 0.75, 1, 1.5, 2.5)]
        + [into.smallest_normal * part for part in (1 - 2.0 ** -(into.mantissa_bits + 1), 1, 0.75)]
        + [0.0, 1 + 2.0 ** -(into.mantissa_bits + 1)]
    )
    with np.errstate(all="ignore"):
        values = [decoded(c, fmt) for c, fmt in zip(columns[:-1], operation.formats, strict=False)]
        t = rng.choice(targets, values[0].size) * rng.choice([-1.0, 1.0], values[0].size)
        wanted = np.clip(np.nan_to_num(aim[operation.name](t, *values)), float(last.min), float(last.max))
        codes = encoded(wanted, last)
    mask = np.uint64((1 << last.bits) - 1)
    for by in (0, 1, -1):
        yield [*columns[:-1], codes + np.int64(by).astype(np.uint64) & mask]


def _gaps(formats) -> np.ndarray:
    """Return pairs of chosen significands whose exponents differ by 0, 1, 2, ..., of both signs, both ways round."""
    first, second = formats
    m = max(getattr(fmt, "mantissa_bits", 4) for fmt in formats)
    significands = np.array([1.0, 2 - 2.0**-m, 1 + 2.0**-m, 1.5, 2 - 2.0 ** (1 - m), 1.25])
    found = []
    for base in (0, max(fmt.min_exponent if isinstance(fmt, FloatFormat) else -8 for fmt in formats) + m + 1):
        x, gap, y, sign = np.meshgrid(significands, np.arange(m + 5), significands, [1.0, -1.0], indexing="ij")
        large, little = (x * 2.0**base).ravel(), (sign * y * 2.0 ** (base - gap)).ravel()
        with np.errstate(all="ignore"):
            found.append(np.stack([encoded(large, first), encoded(little, second)]))
            found.append(np.stack([encoded(little, first), encoded(large, second)]))
    return np.concatenate(found, axis=1)
