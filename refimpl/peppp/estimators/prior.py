"""What other tasks make us expect of a new one, as detailed as held-out tasks bear out.

Rows of other tasks are taken as draws of probabilistic PCA (`factors`) with deviations that may differ
between configurations. How many factors, how uneven the deviations, and how much rows differ in size
(`scaled_rows`), and whether they are alike by difference or by ratio (`log_rows`), is chosen by rows that were left
out of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, stdtrit

from refimpl._arguments import Interval, integer
from refimpl.peppp.checks import observed_errors
from refimpl.peppp.estimators.factors import LEAST_NOISE, Factors, closed_form, probabilistic_pca
from refimpl.peppp.estimators.log_rows import LogRows, log_slope, logarithms
from refimpl.peppp.estimators.scaled_rows import SCALES, ScaledRows, learn_probabilities
from refimpl.peppp.estimators.sequential import FIRST, variance_reduction

__all__ = ["Prior", "learn_prior"]

OFFSET = 0.3
"""Of `log_rows`, as a part of the median error: what is far below it counts by difference."""


@dataclass(frozen=True, eq=False)
class Prior:
    """What was learned from all rows, and from all but some.

    Parameters
    ----------
    rows : ScaledRows or LogRows
        Learned from all rows.
    left_out : tuple of (ScaledRows or LogRows, ndarray of int)
        The same kind of thing learned from all rows but some, and the indices of those; empty if
        entries are missing or there are too few rows to leave any out.
    """

    rows: ScaledRows | LogRows
    left_out: tuple[tuple[ScaledRows | LogRows, NDArray[np.intp]], ...] = ()


def learn_prior(
    values: ArrayLike, *, repeats: ArrayLike | None = None, largest_rank: int = 6, folds: int = 10
) -> Prior:
    """Learn what to expect of a new row, choosing how detailed to be by held-out rows.

    Candidates are probabilistic PCA with 1 to `largest_rank` factors and noise that is the same
    for all columns, proportional to each column's own residuals, or half way (on a log scale).
    Chosen is the number of factors that predicts rows left out of the fit with the smallest squared
    error (from a few of their entries), and the noise under which they are then most probable; that
    candidate is fitted to all rows. All this is done with errors and with their logarithms (`log_rows`), and the
    latter are taken where they make rows that were left out more probable, both being densities of errors, and
    surely so (Student's t over rows, one in forty). The uncertainty of the mean itself is added to the covariance.

    Parameters
    ----------
    values : array_like of float, shape (rows, columns)
        Errors of other tasks, in [0, 1]; nan where not measured (then the noise is the same for
        all columns and the rank is chosen by held-out entries).
    repeats : array_like of float, shape (k, rows, columns), optional
        The single trainings that `values` are the means of; what differs between those of one cell is luck.
        Without them nothing is known of it, and what is measured will be taken for exact.
    largest_rank : int, default 6
    folds : int, default 10
        Parts into which the rows are dealt (row i to part i modulo `folds`); each is left out once.
        With at most that many rows this is leave-one-out.

    Returns
    -------
    Prior

    Raises
    ------
    ValueError
        If a row or column has no measured entry or a value is outside [0, 1].

    Notes
    -----
    Nothing but `values` enters, so leaving a row out of `values` leaves it out of every choice
    made here. ``benchmarks/sensitivity.py`` shows how little depends on the number of parts.

    Examples
    --------
    >>> prior = learn_prior(np.random.default_rng(0).uniform(size=(23, 4)))
    >>> [len(indices) for _, indices in prior.left_out]
    [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]
    """
    values = observed_errors("learn_prior", "values", values)
    largest_rank = integer("learn_prior", "largest_rank", largest_rank, Interval(1))
    folds = integer("learn_prior", "folds", folds, Interval(2))
    draws = None if repeats is None else np.asarray(repeats, dtype=np.float64)
    by_error = _learn(values, draws, largest_rank, folds)
    offset = OFFSET * float(np.nanmedian(values))
    if offset < np.finfo(np.float64).tiny:  # 0, or as good as 0: there are no ratios to it
        return by_error
    y = logarithms(values, offset)
    by_log = _learn(y, None if draws is None else logarithms(draws, offset), largest_rank, folds)
    gained = _evidence(by_log, y) + np.nansum(log_slope(values, offset), axis=1) - _evidence(by_error, values)
    gained = gained[~np.isnan(gained)]
    surely = stdtrit(len(gained) - 1, 0.975)  # of many rows two standard errors, of few more
    if len(gained) < 2 or gained.mean() <= surely * gained.std(ddof=1) / np.sqrt(len(gained)):
        return by_error
    return Prior(LogRows(by_log.rows, offset), tuple((LogRows(rows, offset), held) for rows, held in by_log.left_out))


def _evidence(prior, values) -> NDArray[np.float64]:
    """Return the log density of each row under what was learned without it, less a constant; nan if nothing was."""
    density = np.full(len(values), np.nan)
    for learned, held in prior.left_out:
        for i in held:
            density[i] = logsumexp(learned.log_density(values[i]), b=learned.probabilities)
    return density


def _learn(values, repeats, largest_rank, folds):
    """Do what `learn_prior` says, but for the choice between errors and their logarithms: of either."""
    luck, trainings, variance = _luck(repeats)

    def rows(factors, count, probabilities):
        more = 1 + 1 / count  # the mean's own uncertainty
        widened = Factors(factors.mean, factors.loadings * np.sqrt(more), factors.noise * more)
        return ScaledRows(widened, probabilities, None if luck is None else luck * more, trainings)

    alike = np.full(len(SCALES), 1 / len(SCALES))
    if np.isnan(values).any():
        everything, left_out = _fit_incomplete(values, min(largest_rank, 4), folds)
    else:
        ranks, parts = _ranks_and_parts(values, largest_rank, folds)
        fitted = [_candidates(values[~held], ranks) for held in parts]
        kind = _best_kind(values, parts, fitted, len(ranks)) if parts else 0
        everything = _candidates(values, ranks)[kind]
        left_out = [(candidates[kind], held) for candidates, held in zip(fitted, parts, strict=True)]
    without = [(rows(factors, (~held).sum(), alike), np.flatnonzero(held)) for factors, held in left_out]
    likely = [
        learned.log_density(values[i], None if variance is None else variance[i])
        for learned, held in without
        for i in held
    ]
    probabilities = learn_probabilities(likely) if likely else (SCALES == 1).all(axis=1).astype(float)
    return Prior(
        rows(everything, len(values), probabilities),
        tuple((replace(learned, probabilities=probabilities), held) for learned, held in without),
    )


def _fit_incomplete(values, largest_rank, folds):
    """Return factors of all rows, and of all but some with the mask of these, where that leaves enough entries."""
    factors = _learn_from_incomplete(values, largest_rank)
    left_out = []
    for held in _parts(len(values), folds):
        try:
            left_out.append((probabilistic_pca(values[~held], factors.loadings.shape[1]), held))
        except ValueError:
            continue
    return factors, left_out


def _luck(draws) -> tuple[NDArray[np.float64] | None, float, NDArray[np.float64] | None]:
    """Return the variance between trainings for each column, how many there are of a cell, the variance for each cell.

    A column's is the mean over the rows, with two more cells of the mean over all columns.
    """
    if draws is None:
        return None, 1.0, None
    count = (~np.isnan(draws)).sum(axis=0)
    often = count >= 2
    if not often.any():
        return None, 1.0, None
    centred = draws - np.where(often, np.nansum(draws, axis=0) / np.maximum(count, 1), np.nan)
    variance = np.nansum(centred**2, axis=0) / np.maximum(count - 1, 1)
    cells = often.sum(axis=0)
    general = variance[often].mean()
    luck = (np.where(often, variance, 0.0).sum(axis=0) + 2 * general) / (cells + 2)  # as of two cells more
    return np.maximum(luck, LEAST_NOISE), float(count[count > 0].mean()), np.where(often, variance, np.nan)


def _parts(rows: int, folds: int) -> list[NDArray[np.bool_]]:
    """Return the rows of each part as masks (none if too few rows are left)."""
    folds = min(folds, rows)
    fewest = rows - -(-rows // folds)  # rows left when the largest part is held out
    return [np.arange(rows) % folds == f for f in range(folds if fewest >= 2 else 0)]


def _ranks_and_parts(values, largest_rank, folds):
    """Return ranks worth trying, and the rows of each part as masks."""
    rows, columns = values.shape
    fewest = rows - -(-rows // min(folds, rows))
    ranks = range(1, max(1, min(largest_rank, fewest - 2, columns - 1)) + 1)
    return ranks, _parts(rows, folds)


def _candidates(values, ranks) -> list[Factors]:
    """Return the models that `learn_prior` chooses from, from simple to detailed."""
    even = closed_form(values, np.ones(values.shape[1]), ranks, unbiased=True)
    middle = even[min(2, len(even) - 1)]
    centred = values - middle.mean
    basis, _ = np.linalg.qr(middle.loadings)
    own = ((centred - centred @ basis @ basis.T) ** 2).mean(axis=0)
    own = np.sqrt(own + 0.01 * own.mean() + LEAST_NOISE)
    own /= np.exp(np.log(own).mean())
    uneven = [closed_form(values, scale, ranks, unbiased=True) for scale in (own**0.5, own)]
    return [*even, *uneven[0], *uneven[1]]


def _best_kind(values, parts, fitted, ranks) -> int:
    """Return which candidate to take.

    The rank is the one with the smallest squared error, summed over the kinds of noise. (Probability
    would punish a rare row so much that with few rows it settles for too few factors.)
    """
    missed, density = np.zeros(len(fitted[0])), np.zeros(len(fitted[0]))
    for held, candidates in zip(parts, fitted, strict=True):
        missed += [_squared_error(c, values[held]) for c in candidates]
        density += [_log_density(c, values[held]) for c in candidates]
    best = int(np.argmin(missed.reshape(-1, ranks).sum(axis=0)))  # the simplest of equals
    return best + ranks * int(np.argmax(density[best::ranks]))


def _squared_error(factors: Factors, rows) -> float:
    """Return the squared error of rows predicted from the few entries that tell most about them."""
    everything = np.ones(rows.shape[1], dtype=bool)
    chosen = variance_reduction(factors.belief, min(FIRST, rows.shape[1]), weights=everything, allowed=everything)
    loadings, noise = factors.loadings[chosen], factors.noise[chosen]
    weighted = loadings / noise[:, None]
    centred = rows - factors.mean
    solved = np.linalg.solve(np.eye(loadings.shape[1]) + loadings.T @ weighted, (centred[:, chosen] @ weighted).T)
    rest = np.delete(centred - (factors.loadings @ solved).T, chosen, axis=1)
    return float((rest**2).sum())


def _log_density(factors: Factors, rows) -> float:
    """Return the log density of complete rows, without the constant, by the matrix inversion lemma."""
    centred = rows - factors.mean
    weighted = factors.loadings / factors.noise[:, None]
    root = np.linalg.cholesky(np.eye(weighted.shape[1]) + factors.loadings.T @ weighted)
    explained = np.linalg.solve(root, (centred @ weighted).T)
    distance = (centred**2 / factors.noise).sum() - (explained**2).sum()
    volume = np.log(factors.noise).sum() + 2 * np.log(np.diag(root)).sum()
    return -0.5 * (distance + len(rows) * volume)


def _learn_from_incomplete(values, largest_rank) -> Factors:
    """Return factors of rows with missing entries, their rank chosen by a tenth of the observed entries, held out."""
    observed = np.argwhere(~np.isnan(values))
    order = np.random.default_rng(0).permutation(len(observed))
    rest = values.copy()
    held: list[tuple[int, int]] = []
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
    return probabilistic_pca(values, max(chosen, 1))
