"""How well does estimation from a few measurements work?  Leave each task out and see.

Everything a method chooses (rank, noise, weights, the width of its bands) it chooses from the other
tasks, so what is measured here is what a user with a new task would have met. And where trainings were repeated,
what is measured of a task is one training of each cell, and it is scored by the others: luck is not knowledge.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from refimpl._arguments import NOT_NEGATIVE, Interval, choice, integer, message, number, numbers, of_shape, sequence
from refimpl.peppp import frontier as fronts
from refimpl.peppp.checks import memories, memory_cap, observed_errors
from refimpl.peppp.estimators import sequential
from refimpl.peppp.estimators.calibration import NORMAL_90
from refimpl.peppp.estimators.methods import BASELINES, BEST, METHODS, Learned, learn
from refimpl.peppp.matrix import sampling
from refimpl.peppp.matrix.error_matrix import ErrorMatrix
from refimpl.peppp.sweeping import processes

__all__ = ["METRICS", "leave_one_out", "paired_difference"]

METRICS = ("convergence", "hyper_diff", "regret", "budget_regret", "inverted_distance", "relative_error", "coverage")
"""What `leave_one_out` returns, in this order."""

Sampling = Literal["full", "uniform", "memory-biased"]


@dataclass(frozen=True)
class _Options:
    """How a row is estimated and scored; see `leave_one_out`."""

    method: str
    counts: tuple[int, ...]
    rank: int
    seed: int
    plug_in: bool
    duplicates: fronts.Duplicates
    memory_cap_mb: float | None
    sampling: Sampling
    ratio: float
    leak: bool
    groups: NDArray[np.str_]
    cap_fraction: float | None
    features: NDArray[np.float64] | None


def leave_one_out(
    errors: ErrorMatrix | ArrayLike,
    memory_mb: ArrayLike | None = None,
    *,
    n_measurements: int | Sequence[int],
    method: str = BEST,
    rank: int = 5,
    seed: int = 0,
    plug_in: bool = True,
    duplicates: fronts.Duplicates = "keep",
    memory_cap_mb: float | None = None,
    cap_fraction: float | None = None,
    truth: ArrayLike | None = None,
    measured_repeat: int = 0,
    features: ArrayLike | None = None,
    meta_training: Sampling = "full",
    ratio: float = 0.2,
    leak: bool = False,
    groups: Sequence[str] | None = None,
    jobs: int = 1,
    progress: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """Hold out each row in turn, estimate it from a few of its entries, and score the estimate.

    Parameters
    ----------
    errors : ErrorMatrix or array_like of float, shape (rows, columns)
        Errors in [0, 1]; nan where not measured. Of a held-out row exist only the columns in which
        it was measured, and some row that is learned from too. Of a matrix with repeats, what is measured of a
        held-out row is one of them, and the mean of the others is the truth.
    memory_mb : array_like of float, shape (rows, columns) or (columns,), optional
        Memory of each entry, in MB (2^20 bytes), finite and not all 0; may be left out where
        `errors` is an ErrorMatrix that has it.
    n_measurements : int or sequence of int
        Entries measured of the held-out row, exactly. With a sequence the results get one more
        axis in front, and what a method learns is learned once for all of them.
    method : str, default the best one
        A name in `methods.METHODS` or `methods.BASELINES`.
    rank : int, default 5
        Rank of the embedding; methods with a Gaussian belief choose their own by held-out rows.
    seed : int, default 0
        Seed of the random choices; the held-out row's index is mixed in.
    plug_in : bool, default True
        Whether measured errors replace predictions in the frontier metrics and `relative_error`;
        the paper's released code does not. The regrets always use them, but for methods that know what part of
        a measured error is luck.
    duplicates : {"keep", "eliminate"}, default "keep"
        Meaning of the frontiers in `convergence` and `hyper_diff`; see `frontier.non_dominated`.
    memory_cap_mb : float, optional
        Only configurations within it exist; default none.
    cap_fraction : float, optional
        The same as a part of each row's own range, from its least memory (0) to its largest (1).
    truth : array_like of float, shape (rows, columns), optional
        What estimates are scored by; default as said under `errors`. The errors then are what is measured.
    measured_repeat : int, default 0
        Which of the repeats is measured; the matrix must have another one.
    features : array_like of float, shape (columns, d), optional
        For the method "gp", which knows nothing else of the configurations.
    meta_training : {"full", "uniform", "memory-biased"}, default "full"
        Which entries of the other rows are known; see `sampling`. Where their propensities differ,
        methods that complete the matrix weight by their inverse, as the paper does. A row of which
        nothing within the cap was sampled is left out.
    ratio : float, default 0.2
        Probability of an entry (uniform) or of the smallest one (memory-biased).
    leak : bool, default False
        Whether, as in the released code's memory-biased branch, the sample is drawn from the whole
        matrix and the held-out row's sampled entries are learned from. A flaw, kept to measure it.
    groups : sequence of str, length rows, optional
        Rows of the same group are related (made from the same images, say): with a row, all others
        of its group are left out. Default: every row is its own.
    jobs : int, default 1
        Processes; the result does not depend on it. With more than one, a script calls this under
        ``if __name__ == "__main__":``, or each of them would run it again; RuntimeError says so.
    progress : bool, default False
        Show a bar.

    Returns
    -------
    dict of str to ndarray of float64, shape (rows,)
        ``convergence``, ``hyper_diff``, ``regret`` (of the configuration recommended without a
        further cap), ``budget_regret`` and ``inverted_distance`` as defined in `frontier`, memory
        divided by the largest of the whole matrix (the estimated frontier is where the method
        expects the true one, if it says so: `estimators.methods.Learned.frontier`); ``relative_error``
        ||e - predicted|| / ||e|| (infinite for a row of zeros not predicted as such);
        ``coverage``, the fraction of unmeasured entries, each single training of them, inside their 90 % band (nan
        for methods without standard deviations, and where everything was measured).

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, an entry is outside [0, 1], a row or column has no measured one, the
        rank is too large for the other rows, too few or too many measurements are asked for, the
        cap leaves a row too few configurations, or a name is unknown; before anything is learned.
        If the other rows turn out not to determine what a method needs (the message names the row
        that was held out).

    Notes
    -----
    *Source*: PEPPP (arXiv 2106.09686), meta-test. With ``method="ed-mf", plug_in=False,
    duplicates="eliminate"`` convergence and HyperDiff are the paper's.

    Examples
    --------
    >>> t, c = np.linspace(0.2, 0.8, 6)[:, None], np.linspace(1, 0.5, 7)
    >>> scores = leave_one_out(t * c, np.arange(1, 8), method="ed-mf", n_measurements=1, rank=1)
    >>> bool(scores["budget_regret"].max() < 1e-12)
    True
    """
    processes.not_while_starting()
    caller = "leave_one_out"
    several = not np.isscalar(n_measurements) and np.ndim(n_measurements) > 0
    counts = sequence(caller, "n_measurements", n_measurements, "[5, 10]") if several else [n_measurements]
    values, memory = _matrices(caller, errors, memory_mb)
    names = [str(i) for i in range(len(values))] if groups is None else sequence(caller, "groups", groups, "['a', 'b']")
    choice(caller, "duplicates", duplicates, fronts.DUPLICATES)
    choice(caller, "meta_training", meta_training, get_args(Sampling))
    measured, true, others = _measured_and_true(caller, errors, values, truth, measured_repeat)
    draws = errors.repeats if isinstance(errors, ErrorMatrix) else None
    if cap_fraction is not None:
        cap_fraction = number(caller, "cap_fraction", cap_fraction, Interval(0, 1))
    if (features is None) == (method == "gp"):
        raise ValueError(message(caller, "features", "given" if features is not None else "none", "for 'gp' alone"))
    options = _Options(
        choice(caller, "method", method, METHODS | BASELINES),
        (),
        rank,
        integer(caller, "seed", seed, NOT_NEGATIVE),
        plug_in,
        duplicates,
        memory_cap(caller, memory_cap_mb),
        meta_training,
        number(caller, "ratio", ratio, Interval(0, 1, open_low=True)),
        leak,
        of_shape(caller, "groups", np.array(names, dtype=np.str_), (len(values),)),
        cap_fraction,
        None if features is None else numbers(caller, "features", features, (values.shape[1], None)),
    )
    jobs = integer(caller, "jobs", jobs, Interval(1))
    options = _possible(caller, options, counts, values, measured, memory)
    fold = functools.partial(
        _fold, values=values, memory=memory, options=options, measured=measured, true=true, others=others, draws=draws
    )
    if options.sampling == "full":  # then all rows of a group learn from the same
        parts = [np.flatnonzero(options.groups == group) for group in dict.fromkeys(options.groups.tolist())]
    else:
        parts = [np.array([i]) for i in range(len(values))]
    scores = np.empty((len(values), len(options.counts), len(METRICS)))
    for rows, of_rows in zip(parts, _map(fold, parts, jobs, progress, method), strict=True):
        scores[rows] = of_rows
    # rows x counts x metrics, to a dict of counts x rows
    by_metric = dict(zip(METRICS, scores.transpose(2, 1, 0), strict=True))
    return by_metric if several else {name: scores[0] for name, scores in by_metric.items()}


def _matrices(caller, errors, memory_mb) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return errors and memory as matrices of one shape, checked."""
    named = isinstance(errors, ErrorMatrix)
    values = observed_errors(caller, "errors", errors.values if named else errors, rows=3)  # two to learn from
    memory_mb = errors.memory_mb if memory_mb is None and named else memory_mb
    if memory_mb is None:
        raise TypeError(message(caller, "memory_mb", "None", "the memory of every entry or column"))
    memory = memories(caller, memory_mb, values.shape)
    if not memory.any():
        hint = "the frontier's distances are scaled by the largest"
        raise ValueError(message(caller, "memory_mb", "all 0", "some memory above 0", hint))
    return values, memory


def _measured_and_true(caller, errors, values, truth, repeat):
    """Return what is measured of each row when it is held out, what it is scored by, and the trainings that this is
    the mean of."""
    draws = errors.repeats if isinstance(errors, ErrorMatrix) else None
    if truth is not None:
        true = numbers(caller, "truth", truth, values.shape)
        return values, true, true[None]
    if draws is None:
        return values, values, values[None]
    repeat = integer(caller, "measured_repeat", repeat, Interval(0, len(draws) - 1), "the repeats there are")
    others = np.delete(draws, repeat, axis=0)
    known = ~np.isnan(others).all(axis=0)
    true = np.where(known, np.nansum(others, axis=0) / np.maximum((~np.isnan(others)).sum(axis=0), 1), np.nan)
    return np.where(known, draws[repeat], np.nan), np.where(np.isnan(draws[repeat]), np.nan, true), others


def _possible(caller, given: _Options, counts, values, measured, memory) -> _Options:
    """Return the options with rank and numbers of measurements, or refuse what cannot work, before any work."""
    rest = min(int(np.count_nonzero(given.groups != group)) for group in given.groups)
    if rest < 2:
        raise ValueError(message(caller, "groups", f"of {rest} rows beside the largest", "at least 2 rows beside each"))
    embeds = "mf" in given.method or "bo" in given.method
    hint = "as many rows are left to learn from" if embeds else ""
    rank = integer(caller, "rank", given.rank, Interval(1, rest if embeds else math.inf), hint)
    measurable = [_existing(i, values[given.groups != g], measured, memory, given) for i, g in enumerate(given.groups)]
    fewest = int(np.argmin([there.sum() for there in measurable]))
    most, least = int(measurable[fewest].sum()), rank if embeds else 1
    if most < max(least, 2):
        what = f"the number of configurations measured in row {fewest}"
        what += "" if given.memory_cap_mb is None else f" within {given.memory_cap_mb:g} MB"
        hint = "the rank of the embedding" if least > 2 else ""
        raise ValueError(message(caller, what, f"{most}", f"at least {max(least, 2)}", hint))
    hint = f"{'the rank of the embedding, and ' if embeds else ''}what can be measured of row {fewest}"
    numbers_of = tuple(integer(caller, "n_measurements", n, Interval(least, most), hint) for n in counts)
    return replace(given, rank=rank, counts=numbers_of)


def _existing(i, known, measured, memory, options) -> NDArray[np.bool_]:
    """Mark the columns that row i can be measured in and that the known rows say something of."""
    cap = np.inf if options.memory_cap_mb is None else options.memory_cap_mb
    if options.cap_fraction is not None:
        least, most = memory[i].min(), memory[i].max()
        cap = min(cap, least + options.cap_fraction * (most - least))
    return (memory[i] <= cap) & ~np.isnan(measured[i]) & ~np.isnan(known).all(axis=0)


def paired_difference(a: ArrayLike, b: ArrayLike) -> tuple[float, float]:
    """Compare two methods on the same rows.

    Parameters
    ----------
    a, b : array_like of float, shape (rows,)
        Scores of the two, row by row.

    Returns
    -------
    mean, standard_error : float
        Of a - b. Rows that learned from one another are not independent, so that the true
        standard error is somewhat larger.

    Raises
    ------
    ValueError
        If lengths differ or there are fewer than two rows.

    Examples
    --------
    >>> paired_difference([0.5, 0.25, 0.75], [0.25, 0.25, 0.25])
    (0.25, 0.14433756729740646)
    """
    first = numbers("paired_difference", "a", a, (None,))
    second = numbers("paired_difference", "b", b, first.shape)
    if len(first) < 2:
        raise ValueError(message("paired_difference", "a", f"of length {len(first)}", "at least 2 rows"))
    difference = first - second
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(first)))


def _fold(rows, **how) -> list[list[tuple[float, ...]]]:
    """Score held-out rows that learn from the same others, each once for each number of measurements."""
    try:
        with threadpool_limits(1, user_api="blas"):  # of small matrices, more threads are slower
            return _scores(rows, **how)
    except ValueError as error:
        raise ValueError(f"leave_one_out: with row {rows[0]} held out, {error}") from None


def _scores(rows, *, values, memory, options: _Options, measured, true, others, draws):
    known, learned_rows, propensity = _known(rows[0], values, memory, options)
    fitted: dict[bytes, Learned] = {}
    scores = []
    for i in rows:
        exists = _existing(i, known, measured, memory, options)
        if exists.tobytes() not in fitted:
            sampled = np.ix_(~np.isnan(known[:, exists]).all(axis=1), exists)  # other rows teach nothing
            seen = (
                None
                if draws is None
                else np.where(np.isnan(known), np.nan, draws[:, learned_rows])[:, sampled[0], sampled[1]]
            )
            fitted[exists.tobytes()] = learn(
                options.method,
                known[sampled],
                memory[learned_rows][sampled],
                rank=options.rank,
                propensity=None if propensity is None else propensity[sampled],
                repeats=seen,
                features=None if options.features is None else options.features[exists],
            )
        learned = fitted[exists.tobytes()]
        of_row = measured[i, exists], true[i, exists], others[:, i, exists], memory[i, exists]
        scores.append(_scores_of_row(i, learned, *of_row, float(memory.max()), options))
    return scores


def _scores_of_row(i, learned: Learned, measured, true, others, mb, scale, options: _Options):
    duplicates = options.duplicates
    allowed = np.ones(len(true), dtype=bool)
    scores = {}
    for n in sorted(options.counts, reverse=True):  # fewer measurements are rehearsed with the first of more
        strategy = learned.strategy(n, memory=mb, allowed=allowed, seed=(options.seed, int(i)))
        chosen, errors = sequential.measure_by(strategy, lambda columns: measured[columns])
        modelled, deviation = learned.predict(chosen, errors)
        best = learned.best(chosen, errors)
        shown = best if options.plug_in else modelled
        expected = learned.frontier(chosen, errors, mb)
        front = shown if expected is None else expected
        scores[n] = (
            fronts.convergence(mb, true, front, memory_scale=scale, duplicates=duplicates),
            fronts.hyper_diff(mb, true, front, memory_scale=scale, duplicates=duplicates),
            fronts.regret(true, fronts.recommend(mb, best)),
            fronts.budget_regret(mb, true, best),
            fronts.inverted_distance(mb, true, front, memory_scale=scale, duplicates=duplicates),
            _relative(true - shown, true),
            _coverage(learned, others, chosen, modelled, deviation),
        )
    return [scores[n] for n in options.counts]


def _known(i, values, memory, options: _Options):
    """Return what may be learned from when row i is held out: entries, their rows, their propensities.

    Propensities are None where they are all alike.
    """
    rows = np.arange(len(values))
    others = rows[options.groups != options.groups[i]]
    if options.sampling == "full":
        return values[others], others, None
    learned_rows = rows if options.leak else others
    seed = (options.seed, i, 1)
    if options.sampling == "uniform":
        mask, _ = sampling.uniform_sample(values[learned_rows].shape, options.ratio, seed=seed)
        propensity = None
    else:
        mask, propensity = sampling.memory_biased_sample(memory[learned_rows], options.ratio, seed=seed)
    return np.where(mask, values[learned_rows], np.nan), learned_rows, propensity


def _relative(missed, true) -> float:
    """Return ||missed|| / ||true||; of zeros, 0 where nothing was missed and infinity else."""
    distance, size = np.linalg.norm(missed), np.linalg.norm(true)
    if size == 0:
        return np.inf if distance else 0.0
    return float(distance / size)


def _coverage(learned: Learned, others, chosen, modelled, deviation) -> float:
    """Return the fraction of the unmeasured entries inside their 90 % band, of (trainings, columns)."""
    unmeasured = ~np.isnan(others)
    unmeasured[:, chosen] = False
    if deviation is None or not unmeasured.any():
        return float("nan")
    band = learned.band(len(chosen))
    width = NORMAL_90 if band is None else band
    inside = np.abs(others - modelled) <= width * deviation
    return float(inside[unmeasured].mean())


def _map(function: Callable, items: list, jobs: int, progress: bool, label: str) -> Iterator:
    """Yield function(item) in order, in this process or in several."""
    from tqdm.auto import tqdm

    with tqdm(total=len(items), unit="row", desc=label, disable=not progress, leave=False) as bar:
        if jobs <= 1:
            for item in items:
                yield function(item)
                bar.update()
            return
        with processes.pool(jobs) as pool:
            results = pool.map(function, items, chunksize=max(1, len(items) // (4 * jobs)))
            workers = multiprocessing.active_children()
            try:
                for result in results:
                    yield result
                    bar.update()
            except BrokenProcessPool:
                raise RuntimeError(processes.why_broken(workers)) from None
