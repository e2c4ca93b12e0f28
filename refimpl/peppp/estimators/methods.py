"""The ways of estimating a new task's errors from a few of them, all behind one door.

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
random-high-memory at random among those of largest memory            nothing: 1 if not measured
================== ================================================== ==========================

``bo-mf-released`` and ``bo-full-released`` measure where the expected improvement is *smallest*,
as the code released with the paper does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from refimpl.peppp.arguments import mask, measurements, memories, one_of, seed_of, vectors, whole
from refimpl.peppp.estimators import sequential
from refimpl.peppp.estimators.calibration import band_width, frontier_share, rehearse
from refimpl.peppp.estimators.completion import inverse_propensity, soft_impute
from refimpl.peppp.estimators.design import d_optimal, random_design
from refimpl.peppp.estimators.embedding import svd_embedding
from refimpl.peppp.estimators.expected_frontier import expected_frontier, expected_least
from refimpl.peppp.estimators.factors import observed_errors, probabilistic_pca
from refimpl.peppp.estimators.gaussian_process import expected_improvement, fit_gaussian_process
from refimpl.peppp.estimators.prior import learn_prior
from refimpl.peppp.estimators.regression import predict

__all__ = ["BEST", "METHODS", "Learned", "learn"]

BEST = "knowledge-gradient"
"""The method used when none is named."""

DRAWS = 100
"""Random designs tried before it is concluded that none spans the embedding."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """What a method learned from other tasks.

    Parameters
    ----------
    method : str
    fewest : int
        Smallest number of measurements it can work with.
    choose : callable
        What `strategy` does, with arguments that are known to make sense.
    expect : callable
        What `predict` does, likewise.
    band : callable, optional
        ``band(n)`` returns the half width, in deviations, of a band that holds 90 % of the
        unmeasured entries after n measurements.
    frontier : callable, optional
        ``frontier(columns, errors, memory)`` returns the predictions with those on the frontier
        lowered to where the true frontier is to be expected (see `expected_frontier`), shape
        (columns,); where the method has no such expectation the predictions are all there is.
    extra : dict
        What it learned: ``embedding`` or ``belief``.
    columns : int
        Number of configurations.
    """

    method: str
    fewest: int
    choose: Callable[..., sequential.Strategy]
    expect: Callable[[NDArray[np.intp], Vector], tuple[Vector, Vector | None]]
    band: Callable[[int], float] | None = None
    frontier: Callable[[NDArray[np.intp], Vector, Vector], Vector] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    columns: int = 0

    def strategy(self, n: int, *, memory, allowed, seed) -> sequential.Strategy:
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
        allowed = mask(self.method, allowed, self.columns, self.fewest)
        (memory,) = vectors(self.method, memory=memory)
        if memory.shape != allowed.shape:
            raise ValueError(
                f"{self.method}: got memory of shape {memory.shape}; allowed is {allowed.shape}, one "
                "number per configuration; make them fit"
            )
        most = int(np.count_nonzero(allowed))
        n = whole(self.method, "n", n, self.fewest, most, " (the allowed columns)")
        return self.choose(n, memory=memory, allowed=allowed, seed=seed_of(self.method, seed))

    def predict(self, columns: ArrayLike, errors: ArrayLike) -> tuple[Vector, Vector | None]:
        """Predict the errors of all columns from those measured.

        Parameters
        ----------
        columns : array_like of int, shape (n,)
            Distinct columns.
        errors : array_like of float, shape (n,)
            Their errors in [0, 1].

        Returns
        -------
        mean : ndarray of float64, shape (columns,)
            With the measured errors *not* plugged in where the method is a regression.
        deviation : ndarray of float64, shape (columns,), or None
            Standard deviations, where the method has them.

        Raises
        ------
        ValueError, TypeError
            If a column does not exist or comes twice, an error is not in [0, 1], or as the method.
        """
        return self.expect(*measurements(self.method, columns, errors, self.columns))


def learn(
    method: str,
    values: ArrayLike,
    memory: ArrayLike | None = None,
    *,
    rank: int = 5,
    propensity: ArrayLike | None = None,
) -> Learned:
    """Learn from the errors of other tasks.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    values : array_like of float, shape (tasks, columns)
        Errors in [0, 1]; nan where not measured.
    memory : array_like of float, shape (tasks, columns) or (columns,), optional
        Memory of each entry, for the methods that learn which configurations stand on frontiers;
        without it these count all configurations alike.
    rank : int, default 5
        Rank of the embedding; the Gaussian beliefs choose their own by held-out rows.
    propensity : array_like of float, shape (tasks, columns), optional
        Chance with which each entry was measured, where some are nan. The completion that comes
        before an embedding weights entries by its inverse (clipped). A Gaussian belief needs no
        weights: it is a likelihood, and the chances depend on memory, not on what was not seen.

    Returns
    -------
    Learned

    Raises
    ------
    ValueError, TypeError
        For an unknown method, errors, memory or chances of another shape or out of range, a row or
        column without a measured entry, and as `svd_embedding`, `learn_belief`, `soft_impute`.

    Examples
    --------
    >>> values = np.linspace(0.2, 0.8, 6)[:, None] * np.linspace(1, 0.5, 7)
    >>> found = learn("ed-mf", values, rank=1)
    >>> found.predict(np.array([0]), np.array([0.5]))[0].round(3)
    array([0.5  , 0.458, 0.417, 0.375, 0.333, 0.292, 0.25 ])
    """
    one_of("learn", "method", method, tuple(METHODS))
    values = observed_errors(values, "learn")
    rank = whole("learn", "rank", rank, 1)
    memory = None if memory is None else memories("learn", memory, values.shape)
    weights = None if propensity is None else inverse_propensity(propensity)
    if weights is not None and weights.shape != values.shape:
        raise ValueError(
            f"learn: got propensity of shape {weights.shape}; allowed is {values.shape}, the chance "
            "of every entry; make them fit"
        )
    with threadpool_limits(1, user_api="blas"):  # more threads than one wait for each other here
        learned = METHODS[method](method, values, memory, rank, weights)
    return replace(learned, columns=values.shape[1])


def _completed(values, rank, weights):
    """A complete matrix as it is, an incomplete one by SoftImpute with what was measured kept."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    return np.where(missing, soft_impute(values, rank=rank, weights=weights, tolerance=1e-5).values, values)


# Regression on an embedding (the paper's)


def _embedded(method, values, memory, rank, weights) -> Learned:
    embedding = svd_embedding(_completed(values, rank, weights), rank)

    def designed(n, *, memory, allowed, seed):
        yield d_optimal(embedding, n, allowed)

    def drawn(n, *, memory, allowed, seed):
        yield _spanning_at_random(embedding, n, allowed, seed)

    def regressed(columns, errors):
        return predict(embedding, columns, errors, plug_in=False), None

    strategy = designed if method == "ed-mf" else drawn
    return Learned(method, rank, strategy, regressed, extra={"embedding": embedding})


def _spanning_at_random(embedding, n, allowed, seed):
    """Columns drawn at random, again where they do not span the embedding (two are equal, say)."""
    for attempt in range(DRAWS):
        again = [attempt] if attempt else []
        chosen = random_design(embedding.shape[1], n, allowed, seed=[*np.atleast_1d(seed).tolist(), *again])
        if np.linalg.matrix_rank(embedding[:, chosen]) == len(embedding):
            return chosen
    raise ValueError(
        f"random-mf: got {np.count_nonzero(allowed)} allowed columns of which {DRAWS} random designs of "
        f"{n} did not span the {len(embedding)} dimensions of the embedding; allowed are columns that "
        "do; lower the rank, measure more or allow more columns"
    )


# Gaussian beliefs (this package's)


def believed(
    method, values, memory, rank, weights, *, first=sequential.FIRST, floor=sequential.FLOOR, folds=10
) -> Learned:
    """Learn a belief; the keywords are constants whose choice benchmarks/sensitivity.py judges."""
    prior = learn_prior(values, folds=folds)
    belief = prior.belief
    weights = floor + _frequency(values, memory)  # of columns, not of entries
    complete = not np.isnan(values).any()
    choose = sequential.STRATEGIES[method]

    def strategy(n, *, memory, allowed, seed):
        return choose(belief, n, memory=memory, weights=weights, allowed=allowed, first=first)

    def expected(columns, errors):
        after = prior.rows.given(columns, errors)
        return np.clip(after.mean, 0.0, 1.0), after.deviation

    @functools.cache
    def rehearsed(n):
        return rehearse(prior.left_out, values, n, weights=weights)

    def band(n):
        return band_width(rehearsed(n))

    @functools.cache
    def share(n):
        return frontier_share(rehearsed(n), memory)

    def frontier(columns, errors, mb):
        after = prior.rows.given(columns, errors)
        least = expected_least([mb], [after.mean], after.covariance[None])[0]
        return expected_frontier(mb, np.clip(after.mean, 0.0, 1.0), least, share(len(columns)))

    return Learned(
        method,
        1,
        strategy,
        expected,
        band if complete else None,
        frontier if complete and memory is not None else None,
        {"belief": belief, "weights": weights},
    )


def _frequency(values, memory) -> Vector:
    """How often each column stands on a frontier; all alike where memory is not known."""
    if memory is None:
        return np.ones(values.shape[1])
    if np.isnan(values).any():
        values = probabilistic_pca(values, 1).complete(values)
    return sequential.frontier_frequency(values, memory)


# Bayesian optimization (the paper's)


def _optimized(method, values, memory, rank, weights) -> Learned:
    values = _completed(values, rank, weights)
    embedding = svd_embedding(values, rank)
    features = values.T if "full" in method else embedding.T
    sign = -1 if method.endswith("released") else 1

    @functools.lru_cache(maxsize=64)
    def fitted(columns, errors):  # the first of fifteen measurements are those of a design of five
        return fit_gaussian_process(features, np.array(columns), np.array(errors))

    def strategy(n, *, memory, allowed, seed):
        # np.random.RandomState, seeded by the row: the stream behind the figures known for the paper
        start = np.random.RandomState(int(np.sum(seed)) % 2**32)
        chosen = start.choice(np.flatnonzero(allowed), rank, replace=False)
        errors = yield chosen
        while len(chosen) < n:
            mean, deviation = fitted(tuple(chosen), tuple(errors))
            worth = sign * expected_improvement(mean, deviation, errors.min())
            worth[~np.asarray(allowed, dtype=bool)] = -np.inf
            worth[chosen] = -np.inf
            best = np.array([int(worth.argmax())])
            error = yield best
            chosen, errors = np.append(chosen, best), np.append(errors, error)

    def expected(columns, errors):
        mean, deviation = fitted(tuple(columns), tuple(errors))
        return np.clip(mean, 0.0, 1.0), deviation

    return Learned(method, rank, strategy, expected, extra={"embedding": embedding})


# The baseline that learns nothing


def _unlearned(method, values, memory, rank, weights) -> Learned:
    columns = values.shape[1]

    def strategy(n, *, memory, allowed, seed):
        memory, allowed = np.asarray(memory), np.asarray(allowed, dtype=bool)
        level = np.sort(memory[allowed])[-n]
        yield _highest(memory, allowed, level, n, seed)

    def nothing(chosen, errors):
        predicted = np.ones(columns)
        predicted[chosen] = errors
        return predicted, None

    return Learned(method, 1, strategy, nothing)


def _highest(memory, allowed, level, n, seed):
    """The `n` allowed columns of largest memory; among those at the last level at random."""
    above = np.flatnonzero(allowed & (memory > level))
    tied = np.flatnonzero(allowed & (memory == level))
    rng = np.random.default_rng(seed)
    return np.concatenate([above, rng.choice(tied, n - len(above), replace=False)])


METHODS: dict[str, Callable[..., Learned]] = {
    "knowledge-gradient": believed,
    "variance-reduction": believed,
    "ed-mf": _embedded,
    "random-mf": _embedded,
    "bo-mf": _optimized,
    "bo-full": _optimized,
    "bo-mf-released": _optimized,
    "bo-full-released": _optimized,
    "random-high-memory": _unlearned,
}
"""Methods by name."""
