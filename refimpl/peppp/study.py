"""Study one data set: choose a few configurations, train them, predict the rest."""

from __future__ import annotations

import contextlib
import os
import tempfile
from concurrent.futures import Executor
from contextlib import nullcontext

import numpy as np

from refimpl import data
from refimpl._arguments import choice, instance, integer, message
from refimpl.peppp import frontier as fronts
from refimpl.peppp.checks import memory_cap
from refimpl.peppp.configs import configuration
from refimpl.peppp.estimate import Estimate
from refimpl.peppp.estimators.methods import BEST, METHODS, learn
from refimpl.peppp.estimators.sequential import measure_by
from refimpl.peppp.matrix.error_matrix import ErrorMatrix
from refimpl.peppp.sweeping import processes, sweep
from refimpl.peppp.sweeping.cell import Settings, batch_fits, memory_of

__all__ = ["Study", "compare", "estimate_frontier"]

RANK = 5  # of the embedding, as in the paper


class Study:
    """A data set, what other tasks teach about it, and the configurations to train on it.

    Parameters
    ----------
    errors : ErrorMatrix
        Errors of other tasks; its columns are the configurations considered. Where some are nan,
        the estimate has no band.
    task : Task
        One that `refimpl.data.load` knows.
    measurements : int
        Number of configurations to train, from the fewest the method needs (the rank of the
        embedding, or 1) to the number that fits under the cap.
    method : str
        A name in `methods.METHODS`; default the best one. ``"ed-mf"`` is the paper's.
    memory_cap_mb : float, optional
        Only configurations within it are trained or recommended; MB of 2^20 bytes.
    rank : int
        Of the embedding, for the methods that have one.
    seed : int
        Of the trainings, and of methods that choose at random.

    Attributes
    ----------
    names : tuple of str
    memory_mb : ndarray of float64, shape (configurations,)
    learned : methods.Learned

    Raises
    ------
    ValueError
        Before anything is trained: for an incomplete matrix, a cap below the smallest
        configuration, a number of measurements out of range, an unknown method.
    """

    def __init__(
        self,
        errors: ErrorMatrix,
        task: data.Task,
        *,
        measurements: int = 8,
        method: str = BEST,
        memory_cap_mb: float | None = None,
        rank: int = RANK,
        seed: int = 0,
    ):
        instance("Study", "errors", errors, ErrorMatrix, "an ErrorMatrix, as of meta_training(task)")
        instance("Study", "task", task, data.Task, "a Task, as of data.load(name)")
        self.measurements = integer("Study", "measurements", measurements)
        cap = memory_cap("Study", memory_cap_mb)
        for row in errors.rows_sharing(task.marks)[:1]:
            raise ValueError(
                f"the matrix to learn from has the row {row!r}, made from the images of "
                f"{task.name}: leave it out, or the estimate would know what it is to predict"
            )
        self.task, self.names, self.memory_cap_mb = task, errors.columns, cap
        self.settings = Settings(seed=seed)
        batch_fits(task, self.settings.batch_size)
        formats = [configuration(name) for name in self.names]
        self.memory_mb = memory_of(task, formats, self.settings)
        self.allowed = self.memory_mb <= (np.inf if cap is None else cap)
        count = int(self.allowed.sum())
        if not count:
            smallest = int(self.memory_mb.argmin())
            raise ValueError(
                f"a memory cap of {cap} MB admits no configuration; the smallest, {self.names[smallest]}, "
                f"needs {self.memory_mb[smallest]:.4f} MB: raise the cap"
            )
        unmeasured = np.isnan(errors.values)
        for kind, names, axis in (("row", errors.rows, 1), ("column", errors.columns, 0)):
            for i in np.flatnonzero(unmeasured.all(axis=axis))[:1]:
                raise ValueError(message("Study", f"{kind} {names[i]!r} of errors", "all nan", "some measured entry"))
        choice("Study", "method", method, METHODS)
        self.learned = learn(method, errors.values, errors.memory_mb, rank=rank, repeats=errors.repeats)
        fewest = self.learned.fewest
        why = "the rank of the embedding" if fewest > 1 else "what the method needs"
        if count < fewest:
            raise ValueError(
                f"a memory cap of {cap} MB admits {count} configuration{'s'[: count > 1]}; the "
                f"design needs at least {fewest}, {why}: raise the cap"
            )
        if not fewest <= self.measurements <= count:
            raise ValueError(
                f"{measurements} measurements; allowed are {fewest} ({why}) to "
                f"{count} (the configurations under the memory cap)"
            )
        if fewest > 1:  # a design that cannot be made shall fail now, not after training
            next(self._strategy())

    def _strategy(self):
        return self.learned.strategy(
            self.measurements, memory=self.memory_mb, allowed=self.allowed, seed=self.settings.seed
        )

    def measure(
        self,
        directory: str | os.PathLike | None = None,
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> Estimate:
        """Train the configurations the method asks for and predict the others.

        Parameters
        ----------
        directory : path, optional
            Where trained cells are kept, so that an interrupted study can be continued; by
            default they are not.
        jobs, executor
            As for `sweep.train_cells`.
        progress : bool
            Show a bar.

        Returns
        -------
        Estimate

        Raises
        ------
        ValueError
            If the directory cannot be used, or another process is using it.
        RuntimeError
            As `sweep.train_cells`: a script calls this under ``if __name__ == "__main__":``.
        """
        from tqdm import tqdm

        sweep.check_running(jobs, executor)
        with (
            self._journal(directory) as journal,
            tqdm(total=self.measurements, unit="training", disable=not progress) as bar,
            sweep.told(bar.set_postfix_str) if progress else nullcontext(),
        ):
            bar.set_postfix_str(sweep.STARTING)

            def train(columns):
                errors = self._train(columns, journal, jobs=jobs, executor=executor, progress=False)[columns]
                bar.set_postfix_str(f"{self.names[columns[-1]]} error {errors[-1]:.3f}")
                bar.update(len(columns))
                return errors

            return self._estimate(train)

    def measure_all(
        self,
        directory: str | os.PathLike | None = None,
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> np.ndarray:
        """Train every configuration and return the errors, to compare an estimate with."""
        sweep.check_running(jobs, executor)
        with self._journal(directory) as journal:
            every = np.arange(len(self.names))
            return self._train(every, journal, jobs=jobs, executor=executor, progress=progress)

    def estimate(self, errors: np.ndarray) -> Estimate:
        """Return the estimate of a study whose trainings give `errors`, shape (configurations,)."""
        return self._estimate(lambda columns: errors[columns])

    def _estimate(self, measure) -> Estimate:
        chosen, errors = measure_by(self._strategy(), measure)
        measured = np.full(len(self.names), np.nan)
        measured[chosen] = errors
        predicted, deviation = self.learned.predict(chosen, errors)
        band = self.learned.band(len(chosen))
        width = None if band is None or deviation is None else band * deviation
        frontier = self.learned.frontier(chosen, errors, self.memory_mb)
        return Estimate(self.names, self.memory_mb, predicted, measured, chosen, self.memory_cap_mb, width, frontier)

    @contextlib.contextmanager
    def _journal(self, directory):
        """Open the journal in a directory, or in one that is gone afterwards; keep others out."""
        processes.not_while_starting()
        with contextlib.ExitStack() as stack:
            if directory is None:
                directory = stack.enter_context(tempfile.TemporaryDirectory())
            yield stack.enter_context(contextlib.closing(sweep.Journal(directory, self.settings)))

    def _train(self, columns, journal, **running) -> np.ndarray:
        cells = [(self.task, self.names[i], self.settings.seed) for i in columns]
        trained = sweep.train_cells(cells, journal, self.settings, **running)
        errors = np.full(len(self.names), np.nan)
        errors[columns] = [cell["error"] for cell in trained]
        return errors


def estimate_frontier(
    errors: ErrorMatrix,
    task: data.Task,
    *,
    budget: int = 8,
    method: str = BEST,
    memory_cap_mb: float | None = None,
    seed: int = 0,
    directory: str | os.PathLike | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Estimate:
    """Train `budget` informative configurations on a task and predict all the others.

    Parameters and errors as for `Study`, its `measure`, and `sweep.train_cells`.

    Returns
    -------
    Estimate
        Its `frontier` and `recommended` say what to buy.

    Examples
    --------
    >>> from refimpl.peppp import meta_training
    >>> task = data.load("digits")
    >>> estimate = estimate_frontier(meta_training(task), task, jobs=1, progress=False)
    >>> len(estimate.chosen), len(estimate.names)
    (8, 99)
    """
    study = Study(errors, task, measurements=budget, method=method, memory_cap_mb=memory_cap_mb, seed=seed)
    return study.measure(directory, jobs=jobs, executor=executor, progress=progress)


def compare(estimate: Estimate, true: np.ndarray) -> dict[str, float]:
    """Score an estimate against the measured errors of all configurations, shape (configurations,).

    Returns
    -------
    dict
        ``convergence``, ``HyperDiff``, ``regret of the recommendation`` and ``budget regret``, as
        defined in `refimpl.peppp.frontier`, among the configurations within the cap. The first two
        are of the frontier where it is expected, if the method says where.
    """
    allowed = estimate.allowed
    memory, error, true_allowed = (estimate.memory_mb[allowed], estimate.error[allowed], true[allowed])
    expected = estimate.frontier_error
    front = error if expected is None else expected[allowed]
    return {
        "convergence": fronts.convergence(memory, true_allowed, front),
        "HyperDiff": fronts.hyper_diff(memory, true_allowed, front),
        "regret of the recommendation": fronts.regret(true, estimate.recommended, allowed),
        "budget regret": fronts.budget_regret(memory, true_allowed, error),
    }
