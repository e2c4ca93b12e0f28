"""The check that results depend on the inputs alone: not on their number, their position, or the array's layout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from refimpl.testing.implementations.findings import Finding, call, once

UNEQUAL = "gives wrong results for"
SIDE = 8
LENGTHS = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65)
LONG = 67  # inputs from which arrays are made
MIXED = (np.arange(LONG) * 29 + 44) % LONG  # hard inputs and simple ones in turn


def layouts(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield words and an array of the first elements of x: of many lengths, strided, of two dimensions and of none.

    >>> [words for words, _ in layouts(np.arange(67.0))][-3:]
    ['an array of two dimensions', 'a transposed array', 'an array of no dimensions']
    """
    for n in LENGTHS:
        yield f"an array of {n} element{'s' * (n > 1)}", x[:n].copy()
    spaced = np.zeros(2 * LONG, x.dtype)
    spaced[::2] = x[:LONG]
    yield "every second element of an array", spaced[::2]
    square = x[: SIDE * SIDE].reshape(SIDE, SIDE)
    yield "an array of two dimensions", square.copy()
    yield "a transposed array", square.T.copy().T
    yield "an array of no dimensions", x[:1].copy().reshape(())


def results(function: Callable, columns: Sequence[np.ndarray], time_limit: float) -> Iterator[tuple]:
    """Yield words for each layout, which of the inputs it holds, and what a function makes of them, in one dimension.

    `columns` are the inputs of each operand, `LONG` of them.  Raises Finding for a contiguous array of one dimension; a
    function may refuse others, or return another shape.
    """
    for (words, where), *given in zip(layouts(np.arange(LONG)), *map(layouts, columns), strict=True):
        of_layout = [column for _, column in given]
        one = of_layout[0]
        if one.ndim == 1 and one.flags.c_contiguous:
            yield words, where, call(function, *of_layout, time_limit=time_limit)
            continue

        def on_layout(_, of_layout=of_layout):
            found = np.asarray(function(*of_layout))
            return np.ascontiguousarray(found).ravel() if found.shape == of_layout[0].shape else found[None]

        with contextlib.suppress(Finding):
            yield words, where.ravel(), once(on_layout, columns[0][where.ravel()], time_limit=time_limit)


def mixed(x: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return `LONG` of some inputs: spread over those in an order, hard ones and simple ones in turn."""
    chosen = order[:: max(1, order.size // LONG)]
    return x[np.resize(chosen, LONG)[MIXED]]


def unequal(words: str, given: Sequence[np.ndarray], bad: np.ndarray, known: dict) -> str:
    """Return a sentence if an input is wrong in one array and right in another; `known` remembers those before."""
    said = ""
    for *values, wrong in zip(*given, bad, strict=True):
        key = tuple(value.tobytes() for value in values)
        before, was_wrong = known.setdefault(key, (words, wrong))
        if wrong != was_wrong:
            said = f"{UNEQUAL} {words if wrong else before}, which are right in others"
    return said
