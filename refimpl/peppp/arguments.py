"""What users give: looked at once, where it comes in.

Every function returns its argument in the form in which this room computes with it, or refuses it in
the name of the caller: what was got, what is allowed, what to do.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "cap_of",
    "finite_matrix",
    "mask",
    "measurements",
    "memories",
    "names_of",
    "number",
    "numbers",
    "one_of",
    "seed_of",
    "vectors",
    "whole",
]


def numbers(caller: str, name: str, got: ArrayLike) -> NDArray[np.float64]:
    """Return real numbers as an array of float64, nan and infinity included."""
    try:
        array = np.asarray(got)
        if array.dtype.kind in "cSUMm":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"{caller}: got {name} of type {_kind(got)}; allowed are real numbers, in rows of one length; convert them"
        ) from None


def _kind(got) -> str:
    return f"{got.dtype} array" if isinstance(got, np.ndarray) else type(got).__name__


def whole(caller: str, name: str, got, least: int, most: int | None = None, why: str = "") -> int:
    """Return a whole number within bounds as int; `why` says where the bounds come from."""
    allowed = f"at least {least}" if most is None else f"{least} to {most}"
    try:
        value = operator.index(got)
    except TypeError:
        value = None
    if value is None or isinstance(got, (bool, np.bool_)):
        raise TypeError(f"{caller}: got {name} = {got!r}; allowed is a whole number, {allowed}; pass an int")
    if value < least or (most is not None and value > most):
        raise ValueError(
            f"{caller}: got {name} = {value if abs(value) < 1 << 64 else 'a number beyond 2^64'}; "
            f"allowed is {allowed}{why}; pass such a number"
        )
    return value


def number(caller: str, name: str, got, allowed: str, holds) -> float:
    """Return a real number for which `holds` is true; `allowed` says so in words."""
    if not isinstance(got, Real) or isinstance(got, (bool, np.bool_)):
        raise TypeError(f"{caller}: got {name} = {got!r}; allowed is a number {allowed}; pass one")
    if not holds(got):
        raise ValueError(f"{caller}: got {name} = {got}; allowed is a number {allowed}; pass one")
    return float(got)


def cap_of(caller: str, got: float | None) -> float | None:
    """Return a memory cap in MB, or None for none."""
    if got is None:
        return None
    allowed = "above 0 and finite, or None for no cap"
    return number(caller, "memory_cap_mb", got, allowed, lambda x: 0 < x < np.inf)


def names_of(caller: str, kind: str, got: Iterable[str]) -> tuple[str, ...]:
    """Return distinct, non-empty names; `kind` says of what."""
    if isinstance(got, str) or not isinstance(got, Iterable):
        raise TypeError(f"{caller}: got {got!r} as names of {kind}s; allowed is a sequence of strings; pass a list")
    names = tuple(got)
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"{caller}: got {name!r} as name of {kind} {index}; allowed are non-empty strings; name every {kind}"
            )
    names = tuple(str(name) for name in names)  # plain ones, where they are NumPy's
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise ValueError(
            f"{caller}: got the {kind} name {twice!r} twice; allowed are distinct names; rename or drop one {kind}"
        )
    return names


def seed_of(caller: str, got) -> int | tuple[int, ...]:
    """Return a seed: a whole number from 0 on, or a sequence of them."""
    if isinstance(got, Sequence) and not isinstance(got, str) and len(got):
        return tuple(whole(caller, "seed", part, 0) for part in got)
    return whole(caller, "seed", got, 0)


def one_of(caller: str, name: str, got, allowed: Sequence[str]) -> None:
    """Refuse a name that is not one of those allowed."""
    if not isinstance(got, str) or got not in allowed:
        raise ValueError(f"{caller}: got {name} {got!r}; allowed are {', '.join(map(repr, allowed))}; choose one")


def vectors(caller: str, **given: ArrayLike) -> list[NDArray[np.float64]]:
    """Return the named vectors as float64: finite, not empty and of one length."""
    arrays = {name: numbers(caller, name, vector) for name, vector in given.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    shape = next(iter(shapes.values()))
    if len(shape) != 1 or shape == (0,) or any(other != shape for other in shapes.values()):
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"{caller}: got shapes {got}; allowed are equal shapes (n,) with n >= 1; pass one number per configuration"
        )
    for name, array in arrays.items():
        bad = np.flatnonzero(~np.isfinite(array))
        if len(bad):
            raise ValueError(
                f"{caller}: got {name} {array[bad[0]]} at index {bad[0]}; allowed are finite "
                "numbers; select the configurations that have one"
            )
    return list(arrays.values())


def mask(caller: str, allowed: ArrayLike | None, n: int, least: int = 1) -> NDArray[np.bool_]:
    """Return `allowed` as a mask of length `n` that allows at least so many; None allows all."""
    array = np.ones(n, dtype=bool) if allowed is None else np.asarray(allowed)
    if array.dtype != bool or array.shape != (n,):
        raise ValueError(
            f"{caller}: got allowed of dtype {array.dtype} and shape {array.shape}; allowed is a "
            f"boolean mask of shape ({n},); pass for example memory_mb <= cap"
        )
    if np.count_nonzero(array) < least:
        raise ValueError(
            f"{caller}: got {np.count_nonzero(array)} allowed columns; allowed is at least {least}; "
            "raise the memory cap, or measure fewer"
        )
    return array


def finite_matrix(caller: str, name: str, got: ArrayLike, remedy: str) -> NDArray[np.float64]:
    """Return a matrix of finite numbers with at least one row and one column."""
    array = numbers(caller, name, got)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"{caller}: got {name} of shape {array.shape}; allowed is a matrix with at least one row "
            f"and one column; {remedy}"
        )
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{caller}: got {array[row, column]} at row {row}, column {column} of {name} "
            f"({len(bad)} such entries); allowed are finite numbers; {remedy}"
        )
    return array


def memories(caller: str, got: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the memory of every entry of a matrix, from that of every entry or every column."""
    memory = numbers(caller, "memory_mb", got)
    if memory.shape not in (shape, shape[1:]):
        raise ValueError(
            f"{caller}: got memory_mb of shape {memory.shape}; allowed are {shape} and {shape[1:]}; "
            "pass the memory of every entry or of every column"
        )
    memory = np.broadcast_to(memory, shape)
    bad = np.argwhere(~((memory >= 0) & (memory < np.inf)))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{caller}: got memory {memory[row, column]} at row {row}, column {column}; "
            "allowed are finite numbers >= 0; correct this entry"
        )
    return memory


def measurements(caller: str, columns: ArrayLike, errors: ArrayLike, n_columns: int):
    """Return distinct columns below `n_columns`, and an error in [0, 1] for each."""
    columns, errors = np.asarray(columns), numbers(caller, "measured errors", errors)
    if columns.ndim != 1 or columns.shape != errors.shape:
        raise ValueError(
            f"{caller}: got {columns.shape} measured columns and {errors.shape} errors; allowed are "
            "two equal shapes (n,); pass one error per measured column"
        )
    there = columns.dtype.kind in "iu" and ((columns >= 0) & (columns < n_columns)).all()
    if columns.size and not (there and len(np.unique(columns)) == len(columns)):
        raise ValueError(
            f"{caller}: got measured columns {columns.tolist()}; allowed are distinct integers from "
            f"0 to {n_columns - 1}; measure each column once"
        )
    bad = np.flatnonzero(~((errors >= 0) & (errors <= 1)))
    if len(bad):
        raise ValueError(
            f"{caller}: got error {errors[bad[0]]} measured in column {columns[bad[0]]}; allowed are "
            "numbers in [0, 1]; pass 1 - accuracy"
        )
    return columns.astype(np.intp), errors
