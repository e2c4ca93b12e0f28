"""What `evaluation.leave_one_out` is given, looked at before anything is learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from refimpl.peppp import frontier as fronts
from refimpl.peppp.arguments import cap_of, memories, number, numbers, one_of, whole
from refimpl.peppp.estimators.factors import observed_errors
from refimpl.peppp.estimators.methods import METHODS
from refimpl.peppp.matrix.error_matrix import ErrorMatrix

CALLER = "leave_one_out"


@dataclasses.dataclass(frozen=True)
class Options:
    """How a row is estimated and scored; see `leave_one_out`."""

    method: str
    counts: tuple[int, ...]
    rank: int
    seed: int
    plug_in: bool
    duplicates: str
    memory_cap_mb: float | None
    sampling: str
    ratio: float
    leak: bool
    groups: tuple[str, ...]


def matrices(errors, memory_mb):
    """Errors and memory as matrices of one shape, checked."""
    named = isinstance(errors, ErrorMatrix)
    values = numbers(CALLER, "errors", errors.values if named else errors)
    if values.ndim != 2 or len(values) < 3:
        raise ValueError(
            f"{CALLER}: got errors of shape {values.shape}; allowed is a matrix of at least 3 "
            "rows, so that two are left to learn from; add rows"
        )
    values = observed_errors(values, CALLER)
    if memory_mb is None:
        memory_mb = errors.memory_mb if named else None
        if memory_mb is None:
            raise ValueError(
                f"{CALLER}: got no memory_mb; allowed is the memory of every entry or column; "
                "pass it, or an ErrorMatrix that has it"
            )
    memory = memories(CALLER, memory_mb, values.shape)
    if not memory.any():
        raise ValueError(
            f"{CALLER}: got memory_mb of nothing but 0; allowed is some memory above 0, by which the "
            "frontier's distances are scaled; pass what each entry needs"
        )
    return values, memory


def group_names(groups, rows) -> tuple[str, ...]:
    """A group for every row, with enough rows outside each to learn from."""
    if groups is None:
        return tuple(map(str, range(rows)))
    if np.ndim(groups) == 0 and not isinstance(groups, Sequence):
        raise TypeError(f"{CALLER}: got groups = {groups!r}; allowed is a sequence of one name for each row")
    names = tuple(map(str, groups))
    if len(names) != rows or rows - max(map(names.count, names)) < 2:
        raise ValueError(
            f"{CALLER}: got {len(names)} group names for {rows} rows; allowed is one for each "
            "row, with at least 2 rows outside every group; correct them"
        )
    return names


def checked(given: Options, values, memory) -> Options:
    """The options, or a refusal of what cannot work, before any work."""
    one_of(CALLER, "method", given.method, tuple(METHODS))
    one_of(CALLER, "meta_training", given.sampling, ("full", "uniform", "memory-biased"))
    one_of(CALLER, "duplicates", given.duplicates, fronts.DUPLICATES)
    number(CALLER, "ratio", given.ratio, "above 0 and at most 1", lambda x: 0 < x <= 1)
    seed = whole(CALLER, "seed", given.seed, 0)
    cap = cap_of(CALLER, given.memory_cap_mb)
    uses_rank = "mf" in given.method or "bo" in given.method
    rest = len(values) - max(map(given.groups.count, given.groups))
    rank = whole(
        CALLER,
        "rank",
        given.rank,
        1,
        rest if uses_rank else None,
        why=", the rows left to learn from" if uses_rank else "",
    )
    least = rank if uses_rank else 1
    groups, every = np.array(given.groups), range(len(values))
    counts = [existing(i, values[groups != groups[i]], values, memory, cap).sum() for i in every]
    fewest = int(np.argmin(counts))
    if counts[fewest] < max(least, 2):
        why = ", the rank of the embedding" if least > 2 else ""
        within, remedy = ("", "") if cap is None else (f" within {cap:g} MB", "raise the cap or ")
        raise ValueError(
            f"{CALLER}: got row {fewest} with {counts[fewest]} measured configurations{within}; "
            f"allowed is at least {max(least, 2)}{why}; {remedy}measure more"
        )
    start = "from the rank of the embedding" if uses_rank else "up"
    why = f", {start} to the measurable configurations of row {fewest}"
    for n in given.counts:
        whole(CALLER, "n_measurements", n, least, int(counts[fewest]), why)
    if not given.counts:
        raise ValueError(f"{CALLER}: got no n_measurements; allowed is at least one; say how many")
    return dataclasses.replace(given, rank=rank, seed=seed, counts=tuple(map(int, given.counts)))


def existing(i, known, values, memory, cap) -> NDArray[np.bool_]:
    """The columns that row i can be measured in and that the known rows say something of."""
    within = memory[i] <= (np.inf if cap is None else cap)
    return within & ~np.isnan(values[i]) & ~np.isnan(known).all(axis=0)
