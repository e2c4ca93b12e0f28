"""Test vectors of arithmetic: tuples of codes, each tuple in one hexadecimal number.

The codes of the operands stand one behind the other, each of the same number of digits: for
E4M3FN ``3820`` is the pair of 0x38, 1, and 0x20, 0.125.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from refimpl._arguments import wrong_value
from refimpl.formats import FloatFormat
from refimpl.ops import codes as operations
from refimpl.ops.operations import NUMBER, TABLE
from refimpl.spec import functions
from refimpl.testing.expected.behaviour import Behaviour, decode

OPERANDS = {
    "add": 2,
    **{name: len(line.operands) for name, line in TABLE.items() if line.kind == NUMBER and "n" not in line.operands},
    **functions.OPERANDS,
}
del OPERANDS["convert"]  # which stays what it is in one format
SIZES = {"1": 1 << 8, "2": 1 << 16}  # tuples of a level, about
CHUNK = 1 << 16
MOST_BITS = 24  # of a tuple, for all of them
SEED = 0


def digits(operation: str, fmt) -> tuple[int, int]:
    """Return the hexadecimal digits of a tuple and of a code."""
    one = -(-fmt.bits // 4)
    return OPERANDS[operation] * one, one


def check(operation: str, fmt, level: str) -> None:
    """Refuse what cannot be written."""
    wide, count = digits(operation, fmt)[0], OPERANDS[operation]
    for got, most, what, hint in (
        (wide, 16, "hexadecimal digits", "narrower formats can be written"),
        (count * fmt.bits if level == "all" else 0, MOST_BITS, "bits for all of them", "use level 2"),
    ):
        if got > most:
            name, allowed = f"width of the operands of {operation} in {fmt}", f"at most {most} {what} together"
            raise wrong_value("vectors", name, got, allowed, hint)
    if isinstance(fmt, FloatFormat) and not fmt.fits_float64:
        raise wrong_value("vectors", "format", str(fmt), "one whose values float64 holds")


def tuples(operation: str, fmt, level: str) -> Iterator[np.ndarray]:
    """Yield tuples as one number each (uint64), in chunks, ascending, none twice.

    Levels 1 and 2: special codes and those about powers of two, and random ones, each with each; and
    pairs of neighbouring codes, of both signs, whose sums cancel.
    """
    count, one = OPERANDS[operation], digits(operation, fmt)[1]
    if level == "all":
        for start in range(0, 1 << fmt.bits * count, CHUNK):
            at = np.arange(start, min(start + CHUNK, 1 << fmt.bits * count), dtype=np.uint64)
            mask = np.uint64((1 << fmt.bits) - 1)
            yield _packed([at >> np.uint64(fmt.bits * k) & mask for k in reversed(range(count))], one)
        return
    rng = np.random.default_rng(SEED)
    codes = _codes(fmt, round(SIZES[level] ** (1 / count)), rng)
    columns = [column.reshape(-1) for column in np.meshgrid(*[codes] * count, indexing="ij")]
    if count > 1:
        near = rng.choice(codes, (count, SIZES[level] // 8))
        near[1] = near[0] + rng.integers(0, 4, near.shape[1], dtype=np.uint64)
        near[1] ^= rng.integers(0, 2, near.shape[1], dtype=np.uint64) << np.uint64(fmt.bits - 1)
        near &= np.uint64((1 << fmt.bits) - 1)
        columns = [np.concatenate(both) for both in zip(columns, near, strict=True)]
    found = np.unique(_packed(columns, one))
    for start in range(0, found.size, CHUNK):
        yield found[start : start + CHUNK]


def results(operation: str, behaviour: Behaviour, x: np.ndarray) -> np.ndarray:
    """Return the codes of the results of tuples."""
    fmt = behaviour.format
    rules = {"rounding": behaviour.rounding, "overflow": behaviour.overflow, "nan": behaviour.nan}
    return getattr(operations, operation)(*unpacked(operation, fmt, x), fmt, **rules)


def unpacked(operation: str, fmt, x: np.ndarray) -> list[np.ndarray]:
    """Return the codes of the operands of tuples; ValueError for what is not a code."""
    one = digits(operation, fmt)[1]
    mask = np.uint64((1 << 4 * one) - 1)
    found = [x >> np.uint64(4 * one * k) & mask for k in reversed(range(OPERANDS[operation]))]
    if any((codes >> np.uint64(fmt.bits)).any() for codes in found):
        raise ValueError(f"an operand is not a code of {fmt}")
    return found


def text(operation: str, behaviour: Behaviour, x, right, got: float) -> str:
    """Say what a wrong result was, for a tuple and the codes of its result."""
    fmt = behaviour.format
    shown = [f"0x{int(c[0]):x} = {decode(c, fmt)[0]!s}" for c in unpacked(operation, fmt, x)]
    return f"operands  {', '.join(shown)}\nright     0x{int(right[0]):x} = {decode(right, fmt)[0]!s}\ngot       {got!s}"


def _codes(fmt, count: int, rng) -> np.ndarray:
    """Return about `count` codes: about powers of two, of the largest value, and random ones."""
    everything = 1 << fmt.bits
    if count >= everything:
        return np.arange(everything, dtype=np.uint64)
    top = getattr(fmt, "max_code", everything // 2 - 1)
    some = {0, 1, 2, 3, top - 1, top, top + 1}
    for k in range(2, fmt.bits):
        some |= {(1 << k) - 1, 1 << k, (1 << k) + 1, (1 << k) | (1 << (k - 1))}
    some |= {code ^ (everything >> 1) for code in some}
    found = np.array(sorted(code for code in some if 0 <= code < everything), np.uint64)
    if found.size > count:
        return found[np.linspace(0, found.size - 1, count).astype(int)]
    more = rng.integers(0, everything, count - found.size, dtype=np.uint64)
    return np.unique(np.concatenate([found, more]))


def _packed(columns, one: int) -> np.ndarray:
    found = np.zeros(columns[0].size, np.uint64)
    for column in columns:
        found = found << np.uint64(4 * one) | column
    return found
