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
HUGE = (1 << 16) + 267  # elements of one call: more than 16 bits count, and no whole number of anything
OFTEN = 20_000  # elements of the calls that get `time_limit`; longer ones get more
MIXED = (np.arange(LONG) * 29 + 44) % LONG  # hard inputs and simple ones in turn


def layouts(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield words and an array of the elements of x: of many lengths, strided, of two dimensions and of none.

    >>> [(words, array.shape) for words, array in layouts(np.arange(67.0))][-4:]  # doctest: +NORMALIZE_WHITESPACE
    [('every second element of an array', (67,)), ('an array of two dimensions', (8, 8)),
     ('a transposed array', (8, 8)), ('an array of no dimensions', ())]
    """
    for n in (*LENGTHS, HUGE):
        yield f"an array of {n} element{'s' * (n > 1)}", np.resize(x, n)
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
            yield words, where, call(function, *of_layout, time_limit=time_limit * max(1.0, one.size / OFTEN))
            continue

        def on_layout(_, of_layout=of_layout):
            found = np.asarray(function(*of_layout))
            return np.ascontiguousarray(found).ravel() if found.shape == of_layout[0].shape else found[None]

        with contextlib.suppress(Finding):
            yield words, where.ravel(), once(on_layout, columns[0][where.ravel()], time_limit=time_limit)


def keeps(function: Callable, columns: Sequence[np.ndarray], time_limit: float) -> None:
    """Raise Finding if the result of a call is another once the next call is made, with the inputs in reverse.

    Or if an array that was asked for, and then holds these inputs in reverse, gives what it gave before.
    """
    found = np.zeros(columns[0].shape, np.uint8)

    def calls(*given):
        own = [column.copy() for column in given]
        first = _parts(function(*own))
        before = _bytes(first)
        reverse = [np.ascontiguousarray(np.flip(column)) for column in own]
        after = _bytes(_parts(function(*reverse)))
        if before != _bytes(first):
            return found | 1
        for column, other in zip(own, reverse, strict=True):
            column[...] = other
        return found | 2 * (before == _bytes(_parts(function(*own))) != after)

    with contextlib.suppress(Finding):  # what other checks say
        found = once(calls, *columns, time_limit=3 * time_limit)
    if (found == 1).any():
        said = "returns the same buffer each time: the next call of one size overwrites the result of the last"
        raise Finding(f"{said}; return a new array", about_input=False)
    if found.any():
        said = "gives an array that was changed in place the result of what it held before"
        raise Finding(f"{said}: a cache by the array, not by what it holds", about_input=False)


def _bytes(parts: list[np.ndarray]) -> list[bytes]:
    return [part.tobytes() for part in parts]


def _parts(found) -> list[np.ndarray]:
    return [np.asarray(part) for part in (found if isinstance(found, tuple) else (found,))]


def mixed(x: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return `LONG` of some inputs: spread over those in an order, hard ones and simple ones in turn."""
    chosen = order[:: max(1, order.size // LONG)]
    return x[np.resize(chosen, LONG)[MIXED]]


def unequal(words: str, given: Sequence[np.ndarray], bad: np.ndarray, known: dict) -> str:
    """Return a sentence if an input is wrong in one array and right in another; `known` remembers those before."""
    said = ""
    some = np.unique(np.concatenate([np.arange(min(bad.size, LONG)), np.flatnonzero(bad)[:LONG]]))
    for *values, wrong in zip(*(column[some] for column in given), bad[some], strict=True):
        key = tuple(value.tobytes() for value in values)
        before, was_wrong = known.setdefault(key, (words, wrong))
        if wrong != was_wrong:
            said = f"{UNEQUAL} {words if wrong else before}, which are right in others"
    return said
