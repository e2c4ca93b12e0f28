"""What other tasks make us expect of a new one: a Gaussian over the errors of all configurations.

A task's row of errors is a draw e = m + W z + d, with a few shared factors z and independent
deviations d, which are what remains of a training that cannot be foreseen (its seed, its test
images). Measuring some entries turns the expectation of the others, and their standard
deviations, by the ordinary rules for conditioning a Gaussian. This is probabilistic principal
component analysis, with deviations that may differ between configurations.

Notation
--------
m, S     mean and covariance of a row, S = W W^T + diag(noise)
W        loadings, columns x factors
noise    variance of the deviation d of each column

*Source*: Tipping and Bishop, Probabilistic principal component analysis (1999).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Belief", "learn_belief", "left_out", "probabilistic_pca"]

LEAST_NOISE = 1e-10
"""Smallest variance of a deviation (a standard deviation of 1e-5): keeps S regular."""


@dataclass(frozen=True, eq=False)
class Belief:
    """A Gaussian over one row of an error matrix.

    Parameters
    ----------
    mean : ndarray of float64, shape (columns,)
    covariance : ndarray of float64, shape (columns, columns)
        Symmetric, positive semi-definite.

    Examples
    --------
    >>> prior = Belief(np.array([0.5, 0.25]), np.array([[0.02, 0.01], [0.01, 0.02]]))
    >>> after = prior.given([0], [0.6])
    >>> after.mean.round(3), after.deviation.round(3)
    (array([0.6, 0.3]), array([0.   , 0.122]))
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation of each entry, shape (columns,)."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    def given(self, columns: ArrayLike, errors: ArrayLike) -> Belief:
        """Return the belief after some entries have been measured.

        Parameters
        ----------
        columns : array_like of int, shape (n,)
            Distinct columns.
        errors : array_like of float, shape (n,)
            What was measured there; reproduced exactly by the new mean.

        Returns
        -------
        Belief

        Raises
        ------
        ValueError
            If what was measured is already certain under the belief: the equations are singular.

        Notes
        -----
        *Source*: conditioning of a multivariate Gaussian, by Cholesky factorization.
        """
        columns = np.asarray(columns, dtype=np.intp)
        errors = np.asarray(errors, dtype=np.float64)
        if len(columns) == 0:
            return self
        cross = self.covariance[columns]
        try:
            root = np.linalg.cholesky(cross[:, columns])
        except np.linalg.LinAlgError:
            raise ValueError(
                f"Belief.given: got columns {columns.tolist()}, some of which follow exactly from "
                "the others; allowed are columns with a deviation of their own; measure each once"
            ) from None
        half = np.linalg.solve(root, cross)
        mean = self.mean + half.T @ np.linalg.solve(root, errors - self.mean[columns])
        covariance = self.covariance - half.T @ half
        covariance[columns] = covariance[:, columns] = 0.0
        mean[columns] = errors
        return Belief(mean, covariance)


@dataclass(frozen=True, eq=False)
class Factors:
    """Probabilistic PCA as it was fitted: what `probabilistic_pca` returns.

    Parameters
    ----------
    mean : ndarray of float64, shape (columns,)
    loadings : ndarray of float64, shape (columns, rank)
    noise : ndarray of float64, shape (columns,)
    converged : bool
        Whether the iteration settled (True for a complete matrix: no iteration).
    iterations : int
    """

    mean: NDArray[np.float64]
    loadings: NDArray[np.float64]
    noise: NDArray[np.float64]
    converged: bool = True
    iterations: int = 0

    @property
    def belief(self) -> Belief:
        """The Gaussian these factors describe."""
        return Belief(self.mean, self.loadings @ self.loadings.T + np.diag(self.noise))

    def complete(self, values: ArrayLike) -> NDArray[np.float64]:
        """Fill the missing entries with their expectation given those observed, in [0, 1]."""
        values, belief = np.array(values, dtype=np.float64), self.belief
        for row in values:
            seen = np.flatnonzero(~np.isnan(row))
            row[:] = np.clip(belief.given(seen, row[seen]).mean, 0.0, 1.0)
        return values


def _checked(values: ArrayLike, caller: str) -> NDArray[np.float64]:
    """`values` as a matrix of errors in [0, 1] or nan, every row and column observed somewhere."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(
            f"{caller}: got values of shape {values.shape}; allowed is a matrix of at least 2 rows "
            "and 2 columns; pass tasks x configurations"
        )
    bad = np.argwhere(~((values >= 0) & (values <= 1)) & ~np.isnan(values))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{caller}: got {values[row, column]} at row {row}, column {column}; allowed are "
            "errors in [0, 1], or nan for unmeasured; pass 1 - accuracy"
        )
    for axis, name in ((1, "row"), (0, "column")):
        empty = np.flatnonzero(np.isnan(values).all(axis=axis))
        if len(empty):
            raise ValueError(
                f"{caller}: got {name} {empty[0]} without a measured entry; allowed are rows and "
                f"columns with at least one; measure one there or leave this {name} out"
            )
    return values


def probabilistic_pca(
    values: ArrayLike, rank: int, *, max_iterations: int = 500, tolerance: float = 1e-6
) -> Factors:
    """Fit a few factors and one noise variance to rows of which entries may be missing.

    Without missing entries the maximum of the likelihood is known in closed form. With them it is
    climbed by expectation maximization on the observed entries only.

    Parameters
    ----------
    values : array_like of float, shape (rows, columns)
        Errors in [0, 1]; nan where not measured.
    rank : int
        Number of factors, from 1 to min(rows - 1, columns - 1).
    max_iterations : int, default 500
    tolerance : float, default 1e-6
        The iteration stops when the log likelihood per observed entry gains less.

    Returns
    -------
    Factors
        With ``mean``, ``loadings``, ``noise``, ``converged`` and ``iterations``.

    Raises
    ------
    ValueError
        If a row or column has no measured entry, a value is outside [0, 1], or fewer entries are
        observed than the factors have parameters.

    Notes
    -----
    *Source*: Tipping and Bishop (1999), equation for the maximum, and the EM algorithm of section
    3.3 restricted to observed entries. No step lowers the likelihood.

    Examples
    --------
    >>> level = np.linspace(0.1, 0.9, 9)[:, None]
    >>> fitted = probabilistic_pca(level * [1.0, 0.5, 0.25], rank=1)
    >>> fitted.loadings[:, 0].round(2)
    array([0.26, 0.13, 0.06])
    """
    values = _checked(values, "probabilistic_pca")
    rows, columns = values.shape
    if not 1 <= rank <= min(rows - 1, columns - 1):
        raise ValueError(
            f"probabilistic_pca: got rank {rank}; allowed is 1 to {min(rows - 1, columns - 1)} for "
            f"a {rows} x {columns} matrix; choose a lower rank or add rows"
        )
    seen = ~np.isnan(values)
    needed = rank * (rows + columns - rank) + columns
    if seen.sum() < min(needed, values.size):
        raise ValueError(
            f"probabilistic_pca: got {seen.sum()} observed entries; rank {rank} of a {rows} x "
            f"{columns} matrix needs at least {needed}; measure more or lower the rank"
        )
    if seen.all():
        return _closed_form(values, np.ones(columns), [rank])[0]
    return _by_expectation_maximization(values, seen, rank, max_iterations, tolerance)


def _closed_form(values, scale, ranks) -> list[Factors]:
    """Maximum likelihood factors of a complete matrix, one fit for each rank.

    `scale`, shape (columns,), holds relative standard deviations of the columns' noise; the fit is
    that of ordinary probabilistic PCA to values / scale, taken back to the values' own units.
    """
    mean = values.mean(axis=0)
    rows, columns = values.shape
    _, sigma, directions = np.linalg.svd((values - mean) / scale, full_matrices=False)
    variance = np.zeros(columns)
    variance[: len(sigma)] = sigma**2 / rows
    fits = []
    for rank in ranks:
        noise = max(float(variance[rank:].mean()), LEAST_NOISE)
        strength = np.sqrt(np.maximum(variance[:rank] - noise, 0.0))
        loadings = directions[:rank].T * strength * scale[:, None]
        fits.append(Factors(mean, loadings, np.maximum(noise * scale**2, LEAST_NOISE)))
    return fits


def _by_expectation_maximization(values, seen, rank, max_iterations, tolerance) -> Factors:
    """Climb the likelihood of the observed entries; the start is the closed form of a guess."""
    count = seen.sum(axis=0)
    filled = np.where(seen, values, np.nan)
    column_mean = np.nanmean(filled, axis=0)
    offset = np.nanmean(filled - column_mean, axis=1, keepdims=True)
    guess = np.where(seen, values, column_mean + offset)
    start = _closed_form(guess, np.ones(values.shape[1]), [rank])[0]
    mean, loadings, noise = start.mean, start.loadings, max(float(start.noise[0]), 1e-4)
    zeroed, before = np.where(seen, values, 0.0), -np.inf
    mask = seen.astype(float)
    for iteration in range(1, max_iterations + 1):
        # E: moments of each row's factors given its observed entries (batched rank x rank solves)
        outer = loadings[:, :, None] * loadings[:, None, :]
        gram = np.tensordot(mask, outer, axes=1)  # rows x rank x rank
        precision = np.eye(rank) + gram / noise
        residual = zeroed - mask * mean
        spread = np.linalg.inv(precision)
        factors = np.einsum("ijk,ik->ij", spread, residual @ loadings / noise)
        likelihood = -0.5 * (
            seen.sum() * np.log(2 * np.pi * noise)
            + np.linalg.slogdet(precision)[1].sum()
            + ((residual**2).sum() - np.einsum("ij,ij->", residual @ loadings, factors)) / noise
        )
        if likelihood - before < tolerance * seen.sum():
            return _factors(mean, loadings, noise, True, iteration)
        before = likelihood
        # M: a regression of each column on the factors and a constant, then the noise
        ones = np.ones((len(values), 1))
        extended = np.hstack([factors, ones])
        moments = extended[:, :, None] * extended[:, None, :]
        moments[:, :rank, :rank] += spread
        left = np.tensordot(mask.T, moments, axes=1)
        right = zeroed.T @ extended
        left += 1e-9 * np.eye(rank + 1)  # a column seen in very few rows leaves its regression open
        solved = np.linalg.solve(left, right[..., None])[..., 0]
        loadings, mean = solved[:, :rank], solved[:, rank]
        fit = zeroed - mask * (factors @ loadings.T + mean)
        unsure = np.einsum("cj,ijk,ck->ic", loadings, spread, loadings)
        noise = max(float(((fit**2) + mask * unsure).sum() / count.sum()), LEAST_NOISE)
    return _factors(mean, loadings, noise, False, max_iterations)


def _factors(mean, loadings, noise, converged, iterations) -> Factors:
    return Factors(mean, loadings, np.full(len(mean), noise), converged, iterations)


def learn_belief(values: ArrayLike, *, largest_rank: int = 6, folds: int = 10) -> Belief:
    """Learn what to expect of a new row, choosing how detailed to be by held-out rows.

    Candidates are probabilistic PCA with 1 to `largest_rank` factors and noise that is the same
    for all columns, proportional to each column's own residuals, or half way (on a log scale).
    Chosen is the candidate under which rows left out of the fit are most probable; it is then
    fitted to all rows. The uncertainty of the mean itself is added to the covariance.

    Parameters
    ----------
    values : array_like of float, shape (rows, columns)
        Errors of other tasks, in [0, 1]; nan where not measured (then the noise is the same for
        all columns and the rank is chosen by held-out entries).
    largest_rank : int, default 6
    folds : int, default 10
        Parts into which the rows are dealt (row i to part i modulo `folds`); each is left out once.
        With at most that many rows this is leave-one-out.

    Returns
    -------
    Belief

    Raises
    ------
    ValueError
        If a row or column has no measured entry or a value is outside [0, 1].

    Notes
    -----
    *Source*: probabilistic principal components (Tipping and Bishop, 1999), with the rank and the
    noise by cross-validated predictive density. Nothing but `values` enters, so leaving a row out of `values` leaves it out
    of every choice made here.

    Examples
    --------
    >>> level = np.linspace(0.1, 0.9, 9)[:, None]
    >>> belief = learn_belief(level * [1.0, 0.5, 0.25])
    >>> belief.given([0], [0.6]).mean.round(3)
    array([0.6 , 0.3 , 0.15])
    """
    values = _checked(values, "learn_belief")
    if np.isnan(values).any():
        return _learn_from_incomplete(values, min(largest_rank, 4))
    ranks, parts = _ranks_and_parts(values, largest_rank, folds)
    kind = _best_kind(values, ranks, parts)
    return _widened(_candidates(values, ranks)[kind], len(values))


def left_out(
    values: ArrayLike, *, largest_rank: int = 6, folds: int = 10
) -> list[tuple[Belief, NDArray[np.float64]]]:
    """Return beliefs, each with the rows that were left out of it.

    Parameters
    ----------
    values, largest_rank, folds
        As for `learn_belief`; `values` complete. Rank and noise are those it chooses.

    Returns
    -------
    list of (Belief, ndarray of float64, shape (rows left out, columns))
        One for each part; empty if there are too few rows to leave any out.

    Examples
    --------
    >>> [len(rows) for _, rows in left_out(np.random.default_rng(0).uniform(size=(23, 4)))]
    [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]
    """
    values = _checked(values, "left_out")
    ranks, parts = _ranks_and_parts(values, largest_rank, folds)
    kind = _best_kind(values, ranks, parts)
    return [
        (_widened(_candidates(values[~held], ranks)[kind], (~held).sum()), values[held])
        for held in parts
    ]


def _ranks_and_parts(values, largest_rank, folds):
    """Ranks worth trying, and the rows of each part as masks (none if too few rows are left)."""
    rows, columns = values.shape
    folds = min(folds, rows)
    fewest = rows - -(-rows // folds)  # rows left when the largest part is held out
    ranks = range(1, max(1, min(largest_rank, fewest - 1, columns - 1)) + 1)
    return ranks, [np.arange(rows) % folds == f for f in range(folds if fewest >= 2 else 0)]


def _best_kind(values, ranks, parts) -> int:
    """The candidate under which rows left out are most probable; the plainest of equals."""
    density = np.zeros(1)
    for held in parts:
        candidates = _candidates(values[~held], ranks)
        density = density + [_log_density(c, values[held]) for c in candidates]
    return int(np.argmax(density))


def _widened(factors: Factors, rows: int) -> Belief:
    """The belief of factors learned from so many rows, their mean being uncertain too."""
    return Belief(factors.mean, factors.belief.covariance * (1 + 1 / rows))


def _candidates(values, ranks) -> list[Factors]:
    """The models `learn_belief` chooses from, from plain to detailed."""
    even = _closed_form(values, np.ones(values.shape[1]), ranks)
    middle = even[min(2, len(even) - 1)]
    centred = values - middle.mean
    basis, _ = np.linalg.qr(middle.loadings)
    own = ((centred - centred @ basis @ basis.T) ** 2).mean(axis=0)
    own = np.sqrt(own + 0.01 * own.mean() + LEAST_NOISE)
    own /= np.exp(np.log(own).mean())
    return [*even, *_closed_form(values, own**0.5, ranks), *_closed_form(values, own, ranks)]


def _log_density(factors: Factors, rows) -> float:
    """Log density of complete rows, without the constant, by the matrix inversion lemma."""
    centred = rows - factors.mean
    weighted = factors.loadings / factors.noise[:, None]
    root = np.linalg.cholesky(np.eye(weighted.shape[1]) + factors.loadings.T @ weighted)
    explained = np.linalg.solve(root, (centred @ weighted).T)
    distance = (centred**2 / factors.noise).sum() - (explained**2).sum()
    volume = np.log(factors.noise).sum() + 2 * np.log(np.diag(root)).sum()
    return -0.5 * (distance + len(rows) * volume)


def _learn_from_incomplete(values, largest_rank) -> Belief:
    """As `learn_belief`, with the rank chosen by a tenth of the observed entries, held out."""
    observed = np.argwhere(~np.isnan(values))
    order = np.random.default_rng(0).permutation(len(observed))
    rest, held = values.copy(), []
    for row, column in observed[order]:
        if len(held) >= len(observed) / 10:
            break
        seen = ~np.isnan(rest)
        if seen[row].sum() > 1 and seen[:, column].sum() > 1:
            held.append((row, column))
            rest[row, column] = np.nan
    cells = tuple(np.array(held, dtype=np.intp).reshape(-1, 2).T)
    best, chosen = np.inf, 0
    for rank in range(1, min(largest_rank, min(values.shape) - 1) + 1):
        try:
            predicted = probabilistic_pca(rest, rank).complete(rest)
        except ValueError:
            if rank == 1:
                raise
            break  # too few entries for this rank
        missed = float(((predicted[cells] - values[cells]) ** 2).sum())
        if missed < best:
            best, chosen = missed, rank
    found = probabilistic_pca(values, max(chosen, 1)).belief
    return Belief(found.mean, found.covariance * (1 + 1 / len(values)))
