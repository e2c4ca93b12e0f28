"""What is known and believed about one data set after a few trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl._arguments import FRACTION, Interval, every, flag, integer, message, names, numbers, sequence
from refimpl._display import Shown
from refimpl.peppp import frontier as fronts
from refimpl.peppp.checks import memory_cap

__all__ = ["Estimate"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Estimate(Shown):
    """What is known and believed about one data set after a few trainings.

    Parameters
    ----------
    names : sequence of str, length n
        Configurations.
    memory_mb : array_like of float, shape (n,)
        Memory of each, in MB (2^20 bytes); of a `Study` with costs of its own, these, in their unit.
    predicted : array_like of float, shape (n,)
        Predicted error of each, in [0, 1]; a loss is at least 0.
    measured : array_like of float, shape (n,)
        Measured error (the mean, of several trainings); nan where not measured.
    chosen : sequence of int, length m
        The measured configurations in the order of choice.
    memory_cap_mb : float, optional
        Largest memory allowed, in MB; default none.
    error : array_like of float, shape (n,), optional
        The best knowledge of each error; default what was measured, and `predicted` elsewhere. Methods that
        know how far single trainings scatter believe what was measured only in part.
    band : (array_like of float, array_like of float), of shape (n,) each, optional
        Lower and upper ends between which one more training comes out nine times in ten, from methods that
        state them.
    frontier_error : array_like of float, shape (n,), optional
        As `error`, but on the frontier the least error that any
        configuration within that memory is expected to have, from methods that state it: the true
        frontier lies below the predictions (`expected_frontier`).
    losses : bool, default False
        Whether errors are losses, which may be above 1.
    trusted : bool, default True
        Whether a configuration may be recommended that was only predicted, if some allowed one was measured.
    notes : sequence of str, optional
        What whoever reads the estimate should know, a line each.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, numbers are outside their range, `chosen` is not what was measured,
        or no configuration fits under the cap (the message names the smallest one).

    Notes
    -----
    *Source*: PEPPP (arXiv 2106.09686). Everything derived is exact: only comparisons, but for the
    knee.

    Examples
    --------
    >>> measured = [np.nan, 0.25, np.nan]
    >>> estimate = Estimate(["a", "b", "c"], [1, 2, 3], [0.5, 0.2, 0.1], measured, chosen=[1])
    >>> estimate.error, estimate.frontier.tolist(), estimate.names[estimate.recommended]
    (array([0.5 , 0.25, 0.1 ]), [True, True, True], 'c')
    """

    names: tuple[str, ...]
    memory_mb: Vector
    predicted: Vector
    measured: Vector
    chosen: NDArray[np.intp]
    memory_cap_mb: float | None
    error: Vector
    band: tuple[Vector, Vector] | None
    frontier_error: Vector | None
    losses: bool
    trusted: bool
    notes: tuple[str, ...]

    def __init__(
        self,
        names: Sequence[str],
        memory_mb: ArrayLike,
        predicted: ArrayLike,
        measured: ArrayLike,
        chosen: Sequence[int] | NDArray[np.integer],
        memory_cap_mb: float | None = None,
        error: ArrayLike | None = None,
        band: tuple[ArrayLike, ArrayLike] | None = None,
        frontier_error: ArrayLike | None = None,
        losses: bool = False,
        trusted: bool = True,
        notes: Sequence[str] = (),
    ):
        fields = self.__dict__  # frozen for everyone else
        fields["names"] = _names(names)
        fields["memory_cap_mb"] = memory_cap("Estimate", memory_cap_mb)
        fields["losses"], fields["trusted"] = flag("Estimate", "losses", losses), flag("Estimate", "trusted", trusted)
        fields["notes"] = tuple(notes)
        within = Interval(0) if losses else FRACTION
        fields["memory_mb"] = self._vector("memory_mb", memory_mb, Interval(0))
        fields["predicted"] = self._vector("predicted", predicted, within)
        fields["measured"] = self._vector("measured", measured, within, nan=True)
        known = ~np.isnan(self.measured)
        best = np.where(known, self.measured, self.predicted) if error is None else error
        fields["error"] = self._vector("error", best, within)
        ends = None if band is None else numbers("Estimate", "band", band, (2, len(self.names)))
        fields["band"] = None if ends is None else tuple(self._vector("band", end, within) for end in ends)
        front = frontier_error
        fields["frontier_error"] = None if front is None else self._vector("frontier_error", front, within)
        n = Interval(0, len(self.names) - 1)
        order = [integer("Estimate", "chosen", i, n) for i in sequence("Estimate", "chosen", chosen, "[0, 3]", 0)]
        if sorted(order) != np.flatnonzero(known).tolist():
            allowed = f"what was measured, {np.flatnonzero(known).tolist()}, in some order"
            raise ValueError(message("Estimate", "chosen", f"{order}", allowed))
        fields["chosen"] = np.array(order, dtype=np.intp)
        for array in (*fields.values(), *(self.band or ())):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
        if not self.allowed.any():
            least = self.memory_mb.min()
            allowed = (
                f"at least {least:.6g}, which the smallest configuration {self.names[self.memory_mb.argmin()]} needs"
            )
            raise ValueError(message("Estimate", "memory_cap_mb", f"{self.memory_cap_mb}", allowed))

    def _vector(self, name: str, got: ArrayLike, interval: Interval, nan: bool = False) -> Vector:
        array = numbers("Estimate", name, got, (len(self.names),))
        holds = (array >= interval.low) & (array <= interval.high) & (array < np.inf) | (
            np.isnan(array) if nan else False
        )
        return every("Estimate", name, array, holds, f"a finite number, {interval}{', or nan' if nan else ''}")

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """Mask of the configurations within the memory cap."""
        return self.memory_mb <= (np.inf if self.memory_cap_mb is None else self.memory_cap_mb)

    @property
    def frontier(self) -> NDArray[np.bool_]:
        """Mask of the allowed configurations that no allowed one dominates."""
        # What exceeds the cap takes more memory than anything allowed and so dominates none of it.
        return self.allowed & fronts.non_dominated(self.memory_mb, self.error)

    @property
    def recommended(self) -> int:
        """Index of the allowed configuration of smallest error (see `frontier.recommend`).

        Among those measured, if predictions are not `trusted`.
        """
        among = self.allowed if self.trusted else self.allowed & ~np.isnan(self.measured)
        candidates = np.flatnonzero(among if among.any() else self.allowed)
        return int(candidates[fronts.recommend(self.memory_mb[candidates], self.error[candidates])])

    @property
    def knee(self) -> int:
        """Index of the frontier's knee among the allowed; see `frontier.knee`."""
        allowed = np.flatnonzero(self.allowed)
        return int(allowed[fronts.knee(self.memory_mb[allowed], self.error[allowed])])

    def to_dict(self) -> dict[str, Any]:
        """Describe the estimate in types that JSON can hold.

        Returns
        -------
        dict
            ``memory_cap_mb`` (None without a cap); ``chosen``, names in the order of choice;
            ``frontier``, names by ascending memory; ``recommended`` and ``knee``, names; ``notes``;
            ``configurations``, one record each with ``name``, ``memory_mb``, ``error``,
            ``predicted``, ``measured`` (None if not), ``band`` (None if none), ``allowed`` and
            ``frontier``.
        """
        band = None if self.band is None else np.transpose(self.band).tolist()
        allowed, frontier, error = self.allowed, self.frontier, self.error
        by_memory = np.argsort(self.memory_mb, kind="stable")
        return {
            "memory_cap_mb": self.memory_cap_mb,
            "chosen": [self.names[i] for i in self.chosen],
            "frontier": [self.names[i] for i in by_memory if frontier[i]],
            "recommended": self.names[self.recommended],
            "knee": self.names[self.knee],
            "notes": list(self.notes),
            "configurations": [
                {
                    "name": name,
                    "memory_mb": float(self.memory_mb[i]),
                    "error": float(error[i]),
                    "predicted": float(self.predicted[i]),
                    "measured": None if np.isnan(self.measured[i]) else float(self.measured[i]),
                    "band": None if band is None else band[i],
                    "allowed": bool(allowed[i]),
                    "frontier": bool(frontier[i]),
                }
                for i, name in enumerate(self.names)
            ],
        }

    def _shown(self):
        what, best = "loss" if self.losses else "error", self.recommended
        line = f"{len(self.chosen)} of {len(self.names)} configurations measured; recommended {self.names[best]}, "
        line = "\n".join([f"{line}{what} {self.error[best]:.3g}, cost {self.memory_mb[best]:.4g}", *self.notes])
        marks = {self.knee: "knee"} | {best: "recommended"}
        low, high = (np.full(len(self.names), np.nan),) * 2 if self.band is None else self.band
        rows = [
            (self.names[i], self.memory_mb[i], self.error[i], low[i], high[i], self.measured[i], marks.get(i, ""))
            for i in np.argsort(self.memory_mb, kind="stable")
            if self.frontier[i]
        ]
        return line, ("frontier", "cost", what, "band from", "to", "measured", ""), rows

    def to_frame(self):
        """Return the estimate as a pandas DataFrame, a row for each configuration; pandas must be installed.

        Returns
        -------
        pandas.DataFrame
            Indexed by name, with the columns ``cost``, ``error``, ``predicted``, ``measured``, ``low`` and ``high``
            (the band, if there is one), ``allowed``, ``frontier``.
        """
        import pandas

        low_high = {} if self.band is None else dict(zip(("low", "high"), self.band, strict=True))
        errors = {"error": self.error, "predicted": self.predicted, "measured": self.measured}
        masks = {"allowed": self.allowed, "frontier": self.frontier}
        columns = {"cost": self.memory_mb, **errors, **low_high, **masks}
        return pandas.DataFrame(columns, index=pandas.Index(self.names, name="configuration"))


def _names(got: Sequence[str]) -> tuple[str, ...]:
    found = names("Estimate", "configuration", got)
    if not found:
        raise ValueError(message("Estimate", "names", "empty", "at least one configuration"))
    return found
