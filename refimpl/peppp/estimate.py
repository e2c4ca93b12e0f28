"""Estimate a new data set's frontier from a few measurements, and test how well that works.

The meta-training matrix gives an embedding of the configurations; a design says which few of them
to train; a regression on the embedding predicts the others.

Notation
--------
Y     the embedding, rank x columns
S     the measured columns
e     errors of the new data set, one per column
x     its coordinates: e is about x^T Y
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl.peppp import frontier as fronts
from refimpl.peppp.design import d_optimal, random_design
from refimpl.peppp.embedding import svd_embedding
from refimpl.peppp.error_matrix import ErrorMatrix

__all__ = ["Estimate", "leave_one_out", "predict"]


def predict(
    embedding: ArrayLike,
    measured_columns: ArrayLike,
    measured_errors: ArrayLike,
    *,
    plug_in: bool = True,
) -> NDArray[np.float64]:
    """Predict the errors of all configurations from those measured.

    Least squares x = argmin ||Y_S^T x - e_S||, prediction Y^T x clipped to [0, 1].

    Parameters
    ----------
    embedding : array_like of float, shape (rank, columns)
        Embedding of the configurations.
    measured_columns : array_like of int, shape (n,)
        Distinct columns that were measured, n >= rank.
    measured_errors : array_like of float, shape (n,)
        Their errors in [0, 1].
    plug_in : bool, default True
        Whether measured errors replace their predictions. The code released with the paper does
        not do it for the frontier; a measured value is then overruled by the model.

    Returns
    -------
    ndarray of float64, shape (columns,)
        Errors in [0, 1].

    Raises
    ------
    ValueError
        If fewer columns than the rank are measured, a column is out of range or measured twice,
        an error is outside [0, 1], or the measured columns do not determine x: there is no silent
        pseudo-inverse.

    Notes
    -----
    *Source*: ED-MF in PEPPP (arXiv 2106.09686). The rounding error grows with the condition
    number of Y_S, which D-optimal design keeps small.

    Examples
    --------
    >>> predict([[1.0, 2.0, 4.0]], measured_columns=[0], measured_errors=[0.125])
    array([0.125, 0.25 , 0.5  ])
    """
    embedding = np.asarray(embedding, dtype=np.float64)
    columns = np.asarray(measured_columns)
    errors = np.asarray(measured_errors, dtype=np.float64)
    if embedding.ndim != 2 or columns.ndim != 1 or columns.shape != errors.shape:
        raise ValueError(
            f"predict: got embedding {embedding.shape}, measured_columns {columns.shape}, "
            f"measured_errors {errors.shape}; allowed are shapes (rank, columns), (n,), (n,); "
            "pass one error per measured column"
        )
    rank, n_columns = embedding.shape
    if len(columns) < rank:
        raise ValueError(
            f"predict: got {len(columns)} measurements; allowed is at least the embedding's rank "
            f"{rank}; measure more or lower the rank"
        )
    in_range = columns.dtype.kind in "iu" and ((columns >= 0) & (columns < n_columns)).all()
    if not in_range or len(np.unique(columns)) < len(columns):
        raise ValueError(
            f"predict: got measured_columns {columns.tolist()}; allowed are distinct integers "
            f"from 0 to {n_columns - 1}; measure each column once"
        )
    if not ((errors >= 0) & (errors <= 1)).all():
        raise ValueError(
            f"predict: got measured_errors {errors.tolist()}; allowed are numbers in [0, 1]; "
            "pass 1 - accuracy"
        )
    x, _, found_rank, _ = np.linalg.lstsq(embedding[:, columns].T, errors, rcond=None)
    if found_rank < rank:
        raise ValueError(
            f"predict: got measured columns spanning only {found_rank} of the embedding's {rank} "
            "dimensions; allowed are columns that span all; choose them with d_optimal"
        )
    prediction = np.clip(x @ embedding, 0.0, 1.0)
    if plug_in:
        prediction[columns] = errors
    return prediction


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

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        for name in ("memory_mb", "predicted", "measured"):
            array = np.array(getattr(self, name), dtype=np.float64)
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
        chosen = np.array(self.chosen, dtype=np.intp)
        measured = np.flatnonzero(~np.isnan(self.measured))
        if chosen.ndim != 1 or not np.array_equal(np.sort(chosen), measured):
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
            ``predicted``, ``measured`` (None if not), ``allowed`` and ``frontier``.
        """
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
                    "allowed": bool(allowed[i]),
                    "frontier": bool(frontier[i]),
                }
                for i, name in enumerate(self.names)
            ],
        }


def leave_one_out(
    errors: ErrorMatrix | ArrayLike,
    memory_mb: ArrayLike,
    *,
    n_measurements: int,
    method: Literal["ed-mf", "random-mf"] = "ed-mf",
    rank: int = 5,
    seed: int = 0,
    plug_in: bool = True,
    duplicates: fronts.Duplicates = "keep",
) -> dict[str, NDArray[np.float64]]:
    """Hold out each row in turn, estimate it from a few of its entries, and score the estimate.

    Parameters
    ----------
    errors : ErrorMatrix or array_like of float, shape (rows, columns)
        Errors in [0, 1], all measured.
    memory_mb : array_like of float, shape (rows, columns) or (columns,)
        Memory of each entry, in MB (2^20 bytes).
    n_measurements : int
        Entries measured of the held-out row, exactly; at least `rank`.
    method : {"ed-mf", "random-mf"}, default "ed-mf"
        How they are chosen: D-optimal design, or uniformly at random. Both regress on the
        embedding of the other rows.
    rank : int, default 5
        Rank of the embedding.
    seed : int, default 0
        Seed of the random choices; the held-out row's index is mixed in.
    plug_in : bool, default True
        Whether measured errors replace predictions in `convergence` and `hyper_diff`; the paper's
        released code does not. The regrets always use them.
    duplicates : {"keep", "eliminate"}, default "keep"
        Meaning of the frontiers in `convergence` and `hyper_diff`; see `frontier.non_dominated`.

    Returns
    -------
    dict of str to ndarray of float64, shape (rows,)
        ``convergence``, ``hyper_diff``, ``regret`` (of the configuration recommended without a
        memory cap) and ``budget_regret``, as defined in `frontier`, memory divided by the largest
        of the whole matrix.

    Raises
    ------
    ValueError
        If shapes do not fit, an entry is nan or outside [0, 1], the rank is too large for the
        other rows, `n_measurements` is below the rank or above the number of columns, or the
        method is unknown.

    Notes
    -----
    *Source*: PEPPP (arXiv 2106.09686), meta-test on a full meta-training matrix without a memory
    cap. With ``plug_in=False, duplicates="eliminate"`` the two frontier metrics are the paper's.

    Examples
    --------
    >>> t, c = np.linspace(0.2, 0.8, 6)[:, None], np.linspace(1, 0.5, 7)
    >>> scores = leave_one_out(t * c, memory_mb=np.arange(1, 8), n_measurements=1, rank=1)
    >>> bool(scores["budget_regret"].max() < 1e-12)
    True
    """
    values = errors.values if isinstance(errors, ErrorMatrix) else np.asarray(errors, np.float64)
    if values.ndim != 2 or len(values) < 2 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"leave_one_out: got errors of shape {values.shape} with "
            f"{np.count_nonzero(~((values >= 0) & (values <= 1)))} entries that are nan or outside "
            "[0, 1]; allowed are two or more complete rows of errors in [0, 1]; measure or "
            "complete the matrix first"
        )
    memory = np.asarray(memory_mb, dtype=np.float64)
    if memory.shape not in (values.shape, values.shape[1:]):
        raise ValueError(
            f"leave_one_out: got memory_mb of shape {memory.shape}; allowed are {values.shape} "
            f"and {values.shape[1:]}; pass the memory of every entry or of every column"
        )
    if method not in ("ed-mf", "random-mf"):
        raise ValueError(
            f"leave_one_out: got method {method!r}; allowed are 'ed-mf' and 'random-mf'; "
            "choose one of them"
        )
    memory = np.broadcast_to(memory, values.shape)
    front_options = {"memory_scale": float(memory.max()), "duplicates": duplicates}
    scores = []
    for i, (true, mb) in enumerate(zip(values, memory, strict=True)):
        embedding = svd_embedding(np.delete(values, i, axis=0), rank)
        if method == "ed-mf":
            chosen = d_optimal(embedding, n_measurements)
        else:
            chosen = random_design(len(true), n_measurements, seed=(seed, i))
        predicted = predict(embedding, chosen, true[chosen])
        front = predicted if plug_in else predict(embedding, chosen, true[chosen], plug_in=False)
        scores.append(
            (
                fronts.convergence(mb, true, front, **front_options),
                fronts.hyper_diff(mb, true, front, **front_options),
                fronts.regret(true, fronts.recommend(mb, predicted)),
                fronts.budget_regret(mb, true, predicted),
            )
        )
    names = ("convergence", "hyper_diff", "regret", "budget_regret")
    return dict(zip(names, np.array(scores).T, strict=True))
