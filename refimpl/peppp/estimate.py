"""What is known and believed about one data set after a few trainings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refimpl.peppp import frontier as fronts
from refimpl.peppp.arguments import cap_of, names_of, numbers

__all__ = ["Estimate"]


@dataclass(frozen=True, eq=False)
class Estimate:
    """What is known and believed about one data set after a few trainings.

    Parameters
    ----------
    names : sequence of str, length n
        Configurations.
    memory_mb : array_like of float, shape (n,)
        Memory of each, in MB (2^20 bytes).
    predicted : array_like of float, shape (n,)
        Predicted error of each, in [0, 1].
    measured : array_like of float, shape (n,)
        Measured error in [0, 1]; nan where not measured.
    chosen : array_like of int, shape (m,)
        The measured configurations in the order of choice.
    memory_cap_mb : float, optional
        Largest memory allowed, in MB; default none.
    half_width : array_like of float, shape (n,), optional
        Half width of the band that holds nine in ten errors of its kind, around `predicted`; from
        methods that state one. It is 0 where measured.
    frontier_error : array_like of float, shape (n,), optional
        As the best knowledge of each error, but on the frontier the least error that any
        configuration within that memory is expected to have, from methods that state it: the true
        frontier lies below the predictions (`expected_frontier`).

    Raises
    ------
    ValueError
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
    memory_mb: NDArray[np.float64]
    predicted: NDArray[np.float64]
    measured: NDArray[np.float64]
    chosen: NDArray[np.intp]
    memory_cap_mb: float | None = None
    half_width: NDArray[np.float64] | None = None
    frontier_error: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", names_of("Estimate", "configuration", self.names))
        object.__setattr__(self, "memory_cap_mb", cap_of("Estimate", self.memory_cap_mb))
        if not self.names:
            raise ValueError("Estimate: got no names; allowed is at least one configuration; name it")
        given = () if self.frontier_error is None else ("frontier_error",)
        for name in ("memory_mb", "predicted", "measured", *given):
            array = numbers("Estimate", name, getattr(self, name))
            if array.shape != (len(self.names),):
                raise ValueError(
                    f"Estimate: got {name} of shape {array.shape}; allowed is "
                    f"({len(self.names)},), one per configuration; make them fit"
                )
            known = array[~np.isnan(array)] if name == "measured" else array
            largest = np.finfo(np.float64).max if name == "memory_mb" else 1.0
            if not ((known >= 0) & (known <= largest)).all():
                raise ValueError(
                    f"Estimate: got {name} from {known.min()} to {known.max()}; allowed are "
                    f"{'finite numbers >= 0' if name == 'memory_mb' else 'numbers in [0, 1]'}; "
                    "correct them"
                )
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.half_width is not None:
            width = numbers("Estimate", "half_width", self.half_width)
            if width.shape != (len(self.names),) or not (width >= 0).all():
                raise ValueError(
                    f"Estimate: got half_width of shape {width.shape}, from {width.min()}; allowed are "
                    f"({len(self.names)},) numbers >= 0, one per configuration; make them fit"
                )
            width[~np.isnan(self.measured)] = 0.0
            width.setflags(write=False)
            object.__setattr__(self, "half_width", width)
        chosen = np.array(self.chosen)
        measured = np.flatnonzero(~np.isnan(self.measured))
        chosen = chosen.astype(np.intp) if chosen.size == 0 else chosen
        whole = chosen.ndim == 1 and chosen.dtype.kind in "iu"
        if not whole or not np.array_equal(np.sort(chosen), measured):
            raise ValueError(
                f"Estimate: got chosen {chosen.tolist()}; allowed are the measured configurations "
                f"{measured.tolist()} in some order; record a measured error for each choice"
            )
        chosen.setflags(write=False)
        object.__setattr__(self, "chosen", chosen)
        if not self.allowed.any():
            smallest = int(self.memory_mb.argmin())
            raise ValueError(
                f"Estimate: got a memory cap of {self.memory_cap_mb} MB; allowed is at least "
                f"{self.memory_mb[smallest]:.6g} MB, which the smallest configuration "
                f"{self.names[smallest]} needs; raise the cap"
            )

    @property
    def error(self) -> NDArray[np.float64]:
        """The best knowledge of each error: measured where measured, else predicted."""
        return np.where(np.isnan(self.measured), self.predicted, self.measured)

    @property
    def band(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Lower and upper end of the 90 % band of each error, in [0, 1]; None if there is none."""
        if self.half_width is None:
            return None
        low, high = self.error - self.half_width, self.error + self.half_width
        return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """Mask of the configurations within the memory cap."""
        cap = np.inf if self.memory_cap_mb is None else self.memory_cap_mb
        return self.memory_mb <= cap

    @property
    def frontier(self) -> NDArray[np.bool_]:
        """Mask of the allowed configurations that no allowed one dominates."""
        # What exceeds the cap takes more memory than anything allowed and so dominates none of it.
        return self.allowed & fronts.non_dominated(self.memory_mb, self.error)

    @property
    def recommended(self) -> int:
        """Index of the allowed configuration of smallest error; see `frontier.recommend`."""
        return fronts.recommend(self.memory_mb, self.error, self.memory_cap_mb)

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
            ``frontier``, names by ascending memory; ``recommended`` and ``knee``, names;
            ``configurations``, one record each with ``name``, ``memory_mb``, ``error``,
            ``predicted``, ``measured`` (None if not), ``band`` (None if none), ``allowed`` and
            ``frontier``.
        """
        band = None if self.band is None else np.transpose(self.band).tolist()
        allowed, frontier, error = self.allowed, self.frontier, self.error
        by_memory = np.argsort(self.memory_mb, kind="stable")
        return {
            "memory_cap_mb": None if self.memory_cap_mb is None else float(self.memory_cap_mb),
            "chosen": [self.names[i] for i in self.chosen],
            "frontier": [self.names[i] for i in by_memory if frontier[i]],
            "recommended": self.names[self.recommended],
            "knee": self.names[self.knee],
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
