"""What only this room is given, looked at where it comes in: vectors, masks, matrices, measurements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl._arguments import (
    NOT_NEGATIVE,
    POSITIVE,
    every,
    finite,
    integer,
    message,
    number,
    numbers,
    of_shape,
    wrong_kind,
)

Vector = NDArray[np.float64]


def memory_cap(caller: str, got: float | None) -> float | None:
    """Return a memory cap in MB, or None for none."""
    return None if got is None else number(caller, "memory_cap_mb", got, POSITIVE)


def seeds(caller: str, got: int | Sequence[int]) -> int | tuple[int, ...]:
    """Return a seed: an integer from 0 on, or a sequence of them."""
    if isinstance(got, Sequence) and not isinstance(got, str) and len(got):
        return tuple(integer(caller, "seed", part, NOT_NEGATIVE) for part in got)
    return integer(caller, "seed", got, NOT_NEGATIVE)


def vectors(caller: str, **given: ArrayLike) -> list[Vector]:
    """Return the named vectors as float64: finite, not empty and of one length."""
    arrays = {name: numbers(caller, name, vector, (None,)) for name, vector in given.items()}
    length = len(next(iter(arrays.values())))
    for name, array in arrays.items():
        if not len(array):
            raise ValueError(message(caller, name, "empty", "at least one number"))
        finite(caller, name, of_shape(caller, name, array, (length,)))
    return list(arrays.values())


def mask(caller: str, allowed: ArrayLike | None, n: int, least: int = 1) -> NDArray[np.bool_]:
    """Return `allowed` as a mask of length `n` that allows at least `least`; None allows all."""
    array = np.ones(n, dtype=bool) if allowed is None else np.asarray(allowed)
    if array.dtype != bool:
        raise wrong_kind(caller, "allowed", array, "a boolean mask", "for example memory_mb <= cap")
    of_shape(caller, "allowed", array, (n,))
    count = np.count_nonzero(array)
    if count < least:
        raise ValueError(message(caller, "the number of allowed columns", f"{count}", f"at least {least}"))
    return array


def matrix(caller: str, name: str, got: ArrayLike) -> NDArray[np.float64]:
    """Return a matrix of finite numbers with at least one row and one column."""
    array = numbers(caller, name, got, (None, None))
    if not array.size:
        raise ValueError(message(caller, name, f"of shape {array.shape}", "at least one row and one column"))
    return finite(caller, name, array)


def observed_errors(caller: str, name: str, got: ArrayLike, rows: int = 2) -> NDArray[np.float64]:
    """Return errors in [0, 1] or nan as a matrix, every row and column observed somewhere."""
    values = numbers(caller, name, got, (None, None))
    if len(values) < rows or values.shape[1] < 2:
        allowed = f"a matrix of at least {rows} rows and 2 columns"
        raise ValueError(message(caller, name, f"of shape {values.shape}", allowed))
    holds = ((values >= 0) & (values <= 1)) | np.isnan(values)
    every(caller, name, values, holds, "an error in [0, 1], or nan where not measured", "an error is 1 - accuracy")
    for axis, kind in ((1, "row"), (0, "column")):
        empty = np.flatnonzero(np.isnan(values).all(axis=axis))
        if len(empty):
            raise ValueError(message(caller, f"{kind} {empty[0]} of {name}", "all nan", "at least one measured entry"))
    return values


def memories(caller: str, got: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the memory of every entry of a matrix, from that of every entry or every column."""
    memory = numbers(caller, "memory_mb", got)
    if memory.shape not in (shape, shape[1:]):
        raise ValueError(message(caller, "memory_mb", f"of shape {memory.shape}", f"{shape} or {shape[1:]}"))
    memory = np.broadcast_to(memory, shape)
    return every(caller, "memory_mb", memory, (memory >= 0) & (memory < np.inf), "a finite number, at least 0")


def propensities(caller: str, got: ArrayLike) -> NDArray[np.float64]:
    """Return probabilities of being observed, of which there is at least one and none is 0."""
    array = numbers(caller, "propensity", got)
    if not array.size:
        raise ValueError(message(caller, "propensity", f"of shape {array.shape}", "at least one probability"))
    return every(caller, "propensity", array, (array > 0) & (array <= 1), "a probability above 0 and at most 1")


def measurements(
    caller: str, columns: ArrayLike, errors: ArrayLike, n_columns: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return distinct columns below `n_columns`, and an error in [0, 1] for each."""
    where, measured = np.asarray(columns), numbers(caller, "errors", errors, (None,))
    of_shape(caller, "columns", where, measured.shape)
    exist = where.dtype.kind in "iu" and ((where >= 0) & (where < n_columns)).all()
    if where.size and not (exist and len(np.unique(where)) == len(where)):
        raise ValueError(
            message(caller, "columns", f"{where.tolist()}", f"distinct integers from 0 to {n_columns - 1}")
        )
    every(caller, "errors", measured, (measured >= 0) & (measured <= 1), "an error in [0, 1]")
    return where.astype(np.intp), measured
