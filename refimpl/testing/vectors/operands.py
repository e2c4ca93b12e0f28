"""Test vectors of operations: tuples of codes, a column for each operand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from refimpl._arguments import wrong_value
from refimpl.testing.operations.operation import Operation

SIZES = {"1": 1 << 8, "2": 1 << 16}  # tuples of a level, about
CHUNK = 1 << 16
MOST_BITS = 24  # of a tuple, for all of them
SEED = 0


def check(operation: Operation, level: str) -> None:
    """Refuse all tuples of wide formats."""
    bits = sum(fmt.bits for fmt in operation.words)
    if level == "all" and bits > MOST_BITS:
        name = f"width of the operands of {operation}"
        raise wrong_value("vectors", name, bits, f"at most {MOST_BITS} bits for all of them together", "use level 2")


def digits(operation: Operation) -> list[int]:
    """Return the hexadecimal digits of each operand, and of the random integer behind them."""
    return [-(-fmt.bits // 4) for fmt in operation.words]


def tuples(operation: Operation, level: str) -> Iterator[np.ndarray]:
    """Yield tuples (n, operands) of codes (uint64), in chunks, ascending, none twice.

    Levels 1 and 2: special codes and those about powers of two, and random ones, each with each; and
    pairs of neighbouring codes, of both signs, whose sums cancel.
    """
    formats = operation.words
    count = len(formats)
    if level == "all":
        bits = [fmt.bits for fmt in formats]
        shifts = [np.uint64(sum(bits[k + 1 :])) for k in range(count)]
        masks = [np.uint64((1 << b) - 1) for b in bits]
        for start in range(0, 1 << sum(bits), CHUNK):
            at = np.arange(start, min(start + CHUNK, 1 << sum(bits)), dtype=np.uint64)
            yield np.stack([at >> shift & mask for shift, mask in zip(shifts, masks, strict=True)], axis=1)
        return
    rng = np.random.default_rng(SEED)
    codes = [some_codes(fmt, round(SIZES[level] ** (1 / count)), rng) for fmt in dict.fromkeys(formats)]
    of = dict(zip(dict.fromkeys(formats), codes, strict=True))
    columns = [column.reshape(-1) for column in np.meshgrid(*(of[fmt] for fmt in formats), indexing="ij")]
    if count > 1 and len(of) == 1:
        (fmt,) = of
        near = rng.choice(of[fmt], (count, SIZES[level] // 8))
        near[1] = near[0] + rng.integers(0, 4, near.shape[1], dtype=np.uint64)
        near[1] ^= rng.integers(0, 2, near.shape[1], dtype=np.uint64) << np.uint64(fmt.bits - 1)
        near &= np.uint64((1 << fmt.bits) - 1)
        columns = [np.concatenate(both) for both in zip(columns, near, strict=True)]
    found = np.stack(columns, axis=1)
    if sum(digits(operation)) <= 16:  # as one number each they are sorted sooner
        found = unpacked(operation, np.unique(packed(operation, found)))
    else:
        found = np.unique(found, axis=0)
    for start in range(0, len(found), CHUNK):
        yield found[start : start + CHUNK]


def packed(operation: Operation, x: np.ndarray) -> np.ndarray:
    """Return tuples as one number each, the codes one behind the other; a hash where that is wider than 64 bits."""
    found = np.zeros(len(x), np.uint64)
    wide = sum(digits(operation)) > 16
    for column, width in zip(x.T, digits(operation), strict=True):
        found = mixed(found + column) if wide else found << np.uint64(4 * width) | column
    return found


def unpacked(operation: Operation, words: np.ndarray) -> np.ndarray:
    """Return the tuples (n, operands) of joined words."""
    columns, shift = [], 0
    for width in reversed(digits(operation)):
        columns.append(words >> np.uint64(shift) & np.uint64((1 << 4 * width) - 1))
        shift += 4 * width
    return np.stack(columns[::-1], axis=1)


def mixed(bits: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash of each number (the finalizer of splitmix64, Vigna 2015)."""
    z = bits + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def some_codes(fmt, count: int, rng) -> np.ndarray:
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
