"""The ways of estimating a new task's errors from a few of them, all with the same methods.

A method *learns* from the errors of other tasks. What it learned says which configurations to
measure (a strategy, see `sequential`) and predicts the others.

================== ================================================== ==========================
name               measures                                           predicts by
================== ================================================== ==========================
knowledge-gradient four by variance reduction, then the most useful   a Gaussian belief
variance-reduction what the configurations on frontiers depend on     a Gaussian belief
ed-mf              a D-optimal design of an embedding (the paper's)   regression on the embedding
random-mf          uniformly at random, until they span the embedding regression on the embedding
bo-mf              at random, then largest expected improvement on    a Gaussian process
                   an embedding
bo-full            the same on whole columns                          a Gaussian process
gp                 at random, then largest expected improvement on    a Gaussian process
                   features of the configurations; learns nothing
random-high-memory at random among those of largest memory            nothing: 1 if not measured
mean-row           nothing                                            the mean of the other tasks
everything-once    everything, however many were asked for            nothing
everything-shrunk  the same                                           a Gaussian belief, of all of it
================== ================================================== ==========================

``bo-mf-released`` and ``bo-full-released`` measure where the expected improvement is *smallest*,
as the code released with the paper does.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from refimpl._arguments import Interval, choice, integer, message, numbers, of_shape
from refimpl.peppp.checks import mask, measurements, memories, observed_errors, seeds, vectors
from refimpl.peppp.estimators import sequential
from refimpl.peppp.estimators.calibration import band_width, frontier_fraction, rehearse
from refimpl.peppp.estimators.completion import inverse_propensity, soft_impute
from refimpl.peppp.estimators.design import d_optimal, random_design
from refimpl.peppp.estimators.embedding import svd_embedding
from refimpl.peppp.estimators.expected_frontier import expected_frontier, expected_least
from refimpl.peppp.estimators.factors import probabilistic_pca
from refimpl.peppp.estimators.gaussian_process import expected_improvement, fit_gaussian_process
from refimpl.peppp.estimators.prior import learn_prior
from refimpl.peppp.estimators.regression import predict

__all__ = ["BASELINES", "BEST", "METHODS", "Learned", "learn"]

BEST = "knowledge-gradient"
"""The method used when none is named."""

DRAWS = 100
"""Random designs tried before it is concluded that none spans the embedding."""

REHEARSED = 40
"""Rows that are enough to calibrate a band by; with twice as many, every second is taken."""

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Columns = NDArray[np.intp]
Seed = int | tuple[int, ...]


class Learned(abc.ABC):
    """What a method learned from other tasks; `learn` makes one.

    Attributes
    ----------
    method : str
    columns : int
        Number of configurations.
    fewest : int
        Smallest number of measurements it can work with.
    """

    knows_luck = False
    """Whether predictions say more of a measured column than the measurement does."""

    def __init__(self, method: str, columns: int, fewest: int = 1):
        self.method, self.columns, self.fewest = method, columns, fewest

    def best(self, columns: Columns, errors: Vector, counts: Vector | None = None) -> Vector:
        """Return the best knowledge of every error: what was measured, predictions elsewhere; or what the method
        makes of both, where it knows of luck. Shape (columns,)."""
        predicted = self.predict(columns, errors, counts)[0].copy()
        if not self.knows_luck:
            predicted[columns] = errors
        return predicted

    def strategy(
        self, n: int, *, memory: ArrayLike, allowed: ArrayLike, seed: int | Sequence[int]
    ) -> sequential.Strategy:
        """Return a generator of what to measure of a new task.

        Parameters
        ----------
        n : int
            Number of measurements, from `fewest` to the number of allowed columns.
        memory : array_like of float, shape (columns,)
        allowed : array_like of bool, shape (columns,)
        seed : int or sequence of int

        Raises
        ------
        ValueError, TypeError
            If one of them is not like that.
        """
        among = mask(self.method, allowed, self.columns, self.fewest)
        (sizes,) = vectors(self.method, memory=memory)
        of_shape(self.method, "memory", sizes, among.shape)
        most = Interval(self.fewest, int(np.count_nonzero(among)))
        n = integer(self.method, "n", n, most, "the allowed columns")
        return self._choose(n, sizes, among, seeds(self.method, seed))

    def predict(
        self, columns: ArrayLike, errors: ArrayLike, counts: ArrayLike | None = None
    ) -> tuple[Vector, Vector | None]:
        """Predict the errors of all columns from those measured.

        Parameters
        ----------
        columns : array_like of int, shape (n,)
            Distinct columns.
        errors : array_like of float, shape (n,)
            Their errors in [0, 1].
        counts : array_like of float, shape (n,), optional
            Of how many trainings each is the mean; default one.

        Returns
        -------
        mean : ndarray of float64, shape (columns,)
            With the measured errors *not* plugged in where the method is a regression, and only as far as they
            would come again where it knows (`knows_luck`).
        deviation : ndarray of float64, shape (columns,), or None
            Standard deviations, where the method has them.

        Raises
        ------
        ValueError, TypeError
            If a column does not exist or comes twice, an error is not in [0, 1], or as the method.
        """
        where, measured = measurements(self.method, columns, errors, self.columns)
        often = (
            np.ones(len(where)) if counts is None else of_shape(self.method, "counts", np.asarray(counts), where.shape)
        )
        return self._expect(where, measured, often)

    def band(self, n: int) -> float | None:
        """Return the half width, in deviations, of a band that holds 90 % of the unmeasured entries
        after n measurements; None from methods that have none."""
        return None

    def frontier(self, columns: Columns, errors: Vector, memory: Vector, counts: Vector | None = None) -> Vector | None:
        """Return the predictions with those on the frontier lowered to where the true frontier is to be
        expected (see `expected_frontier`), shape (columns,); None from methods that do not say."""
        return None

    @abc.abstractmethod
    def _choose(self, n: int, memory: Vector, allowed: NDArray[np.bool_], seed: Seed) -> sequential.Strategy:
        """Do what `strategy` says, with arguments that are known to make sense."""

    @abc.abstractmethod
    def _expect(self, columns: Columns, errors: Vector, counts: Vector) -> tuple[Vector, Vector | None]:
        """Do what `predict` says, likewise."""


def learn(
    method: str,
    values: ArrayLike,
    memory: ArrayLike | None = None,
    *,
    rank: int = 5,
    propensity: ArrayLike | None = None,
    repeats: ArrayLike | None = None,
    features: ArrayLike | None = None,
) -> Learned:
    """Learn from the errors of other tasks.

    Parameters
    ----------
    method : str
        One of `METHODS` or `BASELINES`.
    values : array_like of float, shape (tasks, columns)
        Errors in [0, 1]; nan where not measured.
    memory : array_like of float, shape (tasks, columns) or (columns,), optional
        Memory of each entry, for the methods that learn which configurations stand on frontiers;
        without it these count all configurations alike.
    rank : int, default 5
        Rank of the embedding; the Gaussian beliefs choose their own by held-out rows.
    propensity : array_like of float, shape (tasks, columns), optional
        Probability with which each entry was measured, where some are nan. The completion that comes
        before an embedding weights entries by its inverse (clipped). A Gaussian belief needs no
        weights: it is a likelihood, and propensities depend on memory, not on what was not seen.
    repeats : array_like of float, shape (k, tasks, columns), optional
        The single trainings that `values` are the means of: from them the Gaussian beliefs learn what part of a
        measured error is luck.
    features : array_like of float, shape (columns, d), optional
        What the method "gp" knows of the configurations.

    Returns
    -------
    Learned

    Raises
    ------
    ValueError, TypeError
        For an unknown method, errors, memory or propensities of another shape or out of range, a row or
        column without a measured entry, and as `svd_embedding`, `learn_prior`, `soft_impute`.

    Examples
    --------
    >>> values = np.linspace(0.2, 0.8, 6)[:, None] * np.linspace(1, 0.5, 7)
    >>> learned = learn("ed-mf", values, rank=1)
    >>> learned.predict(np.array([0]), np.array([0.5]))[0].round(3)
    array([0.5  , 0.458, 0.417, 0.375, 0.333, 0.292, 0.25 ])
    """
    choice("learn", "method", method, METHODS | BASELINES)
    errors = observed_errors("learn", "values", values)
    rank = integer("learn", "rank", rank, Interval(1))
    sizes = None if memory is None else memories("learn", memory, errors.shape)
    weights = None
    if propensity is not None:
        weights = of_shape("learn", "propensity", inverse_propensity(propensity), errors.shape)
    draws = None if repeats is None else numbers("learn", "repeats", repeats, (None, *errors.shape))
    if method == "gp" and features is None:
        raise ValueError(message("learn", "features", "none", "numbers for each configuration, for the method 'gp'"))
    with threadpool_limits(1, user_api="blas"):  # more threads than one wait for each other here
        known = None if features is None else numbers("learn", "features", features, (errors.shape[1], None))
        return (METHODS | BASELINES)[method](method, Given(errors, sizes, rank, weights, draws, known))


class Given(NamedTuple):
    """What `learn` is given, checked."""

    values: Matrix
    memory: Matrix | None
    rank: int
    weights: Matrix | None
    draws: NDArray[np.float64] | None
    features: Matrix | None


def _completed(values: Matrix, rank: int, weights: Matrix | None) -> Matrix:
    """Return a complete matrix as it is, an incomplete one by SoftImpute with what was measured kept."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    return np.where(missing, soft_impute(values, rank=rank, weights=weights, tolerance=1e-5).values, values)


class Embedded(Learned):
    """Regression on an embedding (the paper's)."""

    def __init__(self, method: str, given: Given):
        super().__init__(method, given.values.shape[1], given.rank)
        self.embedding = svd_embedding(_completed(given.values, given.rank, given.weights), given.rank)

    def _choose(self, n, memory, allowed, seed):
        yield d_optimal(self.embedding, n, allowed) if self.method == "ed-mf" else self._drawn(n, allowed, seed)

    def _drawn(self, n: int, allowed: NDArray[np.bool_], seed: Seed) -> Columns:
        """Return columns drawn at random, again where they do not span the embedding (two are equal, say)."""
        for attempt in range(DRAWS):
            again = [attempt] if attempt else []
            chosen = random_design(self.columns, n, allowed, seed=[*np.atleast_1d(seed).tolist(), *again])
            if np.linalg.matrix_rank(self.embedding[:, chosen]) == len(self.embedding):
                return chosen
        raise ValueError(
            f"{self.method}: {DRAWS} random designs of {n} among {np.count_nonzero(allowed)} allowed columns do not "
            f"span the {len(self.embedding)} dimensions of the embedding; lower the rank, measure more or allow more"
        )

    def _expect(self, columns, errors, counts):
        return predict(self.embedding, columns, errors, plug_in=False), None


class Believed(Learned):
    """A Gaussian belief (this package's).

    The keywords are constants whose choice ``benchmarks/sensitivity.py`` judges.
    """

    def __init__(
        self,
        method: str,
        given: Given,
        *,
        first: int = sequential.FIRST,
        floor: float = sequential.FLOOR,
        folds: int = 10,
    ):
        super().__init__(method, given.values.shape[1])
        self.prior = learn_prior(given.values, repeats=given.draws, folds=folds)
        self.knows_luck = self.prior.rows.luck is not None
        self.weights = floor + _frequency(given.values, given.memory)  # of columns, not of entries
        self._first, self._memory = first, given.memory
        self._draws = given.values[None] if given.draws is None else given.draws
        self._calibrations: dict[int, tuple[float, float]] = {}
        self._rehearsed: dict[int, Columns] = {}  # of rows, what was measured in them

    def _calibrated(self, n: int) -> tuple[float, float]:
        """Return how wide the band and how low the frontier is, worked out once for each n."""
        if n not in self._calibrations:

            def choose(learned, row, there):
                memory = np.arange(self.columns) if self._memory is None else self._memory[row]
                few = min(n, int(there.sum()) - 1)  # one at least is left to compare with
                if few <= len(known := self._rehearsed.get(row, ())):  # what is measured first does not depend on n
                    return (columns for columns in [known[:few]] if few > 0)
                return self._strategy(learned, few, memory, there)

            left = rehearse(self._left_out(), self._draws, choose)
            self._rehearsed |= {
                of.row: of.measured for of in left if len(of.measured) > len(self._rehearsed.get(of.row, ()))
            }
            fraction = 1.0 if self._memory is None else frontier_fraction(left, self._memory)
            self._calibrations[n] = band_width(left), fraction
        return self._calibrations[n]

    def _left_out(self):
        """Yield what was learned without some rows, and of these as many as are enough to calibrate by."""
        every = max(1, len(self._draws[0]) // REHEARSED)
        for learned, rows in self.prior.left_out:
            yield learned, rows[rows % every == 0] if every > 1 else rows

    def _strategy(self, rows, n, memory, allowed):
        choose = sequential.STRATEGIES[self.method]
        return choose(rows, n, memory=memory, weights=self.weights, allowed=allowed, first=self._first)

    def _choose(self, n, memory, allowed, seed):
        return self._strategy(self.prior.rows, n, memory, allowed)

    def _expect(self, columns, errors, counts):
        after = self.prior.rows.given(columns, errors, counts)
        return np.clip(after.mean, 0.0, 1.0), after.deviation

    def band(self, n):
        return self._calibrated(n)[0] if self.prior.left_out else None

    def frontier(self, columns, errors, memory, counts=None):
        if not self.prior.left_out or self._memory is None:
            return None
        after = self.prior.rows.given(columns, errors, counts)
        least = expected_least([memory], [after.mean], after.covariance[None])[0]
        return expected_frontier(memory, np.clip(after.mean, 0.0, 1.0), least, self._calibrated(len(columns))[1])


def _frequency(values: Matrix, memory: Matrix | None) -> Vector:
    """Return how often each column stands on a frontier; all alike where memory is not known."""
    if memory is None:
        return np.ones(values.shape[1])
    if np.isnan(values).any():
        values = probabilistic_pca(values, 1).complete(values)
    return sequential.frontier_frequency(values, memory)


class Optimized(Learned):
    """Bayesian optimization (the paper's)."""

    def __init__(self, method: str, given: Given):
        super().__init__(method, given.values.shape[1], given.rank)
        if given.features is not None:
            features = given.features
        else:
            values = _completed(given.values, given.rank, given.weights)
            features = values.T if "full" in method else svd_embedding(values, given.rank).T
        self._sign = -1 if method.endswith("released") else 1

        @functools.lru_cache(maxsize=64)
        def fitted(columns, errors):  # the first of fifteen measurements are those of a design of five
            return fit_gaussian_process(features, np.array(columns), np.array(errors))

        self._fitted = fitted

    def _choose(self, n, memory, allowed, seed):
        # np.random.RandomState, seeded by the row: the stream behind the figures known for the paper
        start = np.random.RandomState(int(np.sum(seed)) % 2**32)
        chosen = start.choice(np.flatnonzero(allowed), self.fewest, replace=False)
        errors = yield chosen
        while len(chosen) < n:
            mean, deviation = self._fitted(tuple(chosen), tuple(errors))
            worth = self._sign * expected_improvement(mean, deviation, errors.min())
            worth[~allowed] = -np.inf
            worth[chosen] = -np.inf
            best = np.array([int(worth.argmax())])
            error = yield best
            chosen, errors = np.append(chosen, best), np.append(errors, error)

    def _expect(self, columns, errors, counts):
        mean, deviation = self._fitted(tuple(columns), tuple(errors))
        return np.clip(mean, 0.0, 1.0), deviation


class HighMemory(Learned):
    """The baseline that learns nothing."""

    def __init__(self, method: str, given: Given):
        super().__init__(method, given.values.shape[1])

    def _choose(self, n, memory, allowed, seed):
        level = np.sort(memory[allowed])[-n]
        above, tied = np.flatnonzero(allowed & (memory > level)), np.flatnonzero(allowed & (memory == level))
        drawn = np.random.default_rng(seed).choice(tied, n - len(above), replace=False)
        yield np.concatenate([above, drawn])

    def _expect(self, columns, errors, counts):
        predicted = np.ones(self.columns)
        predicted[columns] = errors
        return predicted, None


class MeanRow(Learned):
    """The baseline that measures nothing: every task is as the mean of the others."""

    knows_luck = True

    def __init__(self, method: str, given: Given):
        super().__init__(method, given.values.shape[1])
        self._mean = np.nanmean(given.values, axis=0)

    def _choose(self, n, memory, allowed, seed):
        yield from ()

    def _expect(self, columns, errors, counts):
        return self._mean.copy(), None


class Everything(HighMemory):
    """The baseline that learns nothing and trains every configuration once."""

    def _choose(self, n, memory, allowed, seed):
        yield np.flatnonzero(allowed)


class EverythingShrunk(Believed):
    """The bound: what the belief makes of one training of every configuration.

    No choice of what to train once can know more, so what this does not reach is beyond every strategy that trains
    nothing twice and believes alike.
    """

    def _choose(self, n, memory, allowed, seed):
        yield np.flatnonzero(allowed)

    def band(self, n):
        return None

    def frontier(self, columns, errors, memory, counts=None):
        return None


METHODS: dict[str, Callable[[str, Given], Learned]] = {
    "knowledge-gradient": Believed,
    "variance-reduction": Believed,
    "ed-mf": Embedded,
    "random-mf": Embedded,
    "bo-mf": Optimized,
    "bo-full": Optimized,
    "bo-mf-released": Optimized,
    "bo-full-released": Optimized,
    "random-high-memory": HighMemory,
}
"""Methods by name."""

BASELINES: dict[str, Callable[[str, Given], Learned]] = {
    "gp": Optimized,
    "mean-row": MeanRow,
    "everything-once": Everything,
    "everything-shrunk": EverythingShrunk,
}
"""What methods are compared with, by name: each leaves out the other tasks, or the measurements, or the choice."""
