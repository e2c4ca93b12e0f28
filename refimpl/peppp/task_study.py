"""Study one data set: train the configurations that a study asks for, and predict the rest."""

from __future__ import annotations

import contextlib
import os
import tempfile
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from refimpl import data
from refimpl._arguments import Interval, instance, integer
from refimpl.peppp import frontier as fronts
from refimpl.peppp.checks import memory_cap
from refimpl.peppp.configs import configuration
from refimpl.peppp.estimate import Estimate
from refimpl.peppp.estimators.methods import BEST
from refimpl.peppp.estimators.sequential import measure_by
from refimpl.peppp.matrix.error_matrix import ErrorMatrix
from refimpl.peppp.study import Study
from refimpl.peppp.sweeping import processes, sweep
from refimpl.peppp.sweeping.cell import Settings, batch_fits, memory_of

__all__ = ["TaskStudy", "compare", "estimate_frontier"]

FALLING = 0.02
"""Least fall of the training error, in the last quarter of the epochs, that says that training is not over."""


class TaskStudy(Study):
    """A data set, what other tasks teach about it, and the configurations to train on it.

    Parameters
    ----------
    errors : ErrorMatrix
        Errors of other tasks; its columns are the configurations considered.
    task : Task
        As `refimpl.data.load` returns it, or any other.
    measurements, method, rank
        As of `Study`.
    memory_cap_mb : float, optional
        Only configurations within it are trained or recommended; MB of 2^20 bytes.
    settings : Settings, optional
        How cells are trained: network, epochs, ...; its seed is that of the trainings, and of methods that choose at
        random.
    repeats : int, default 1
        Trainings of each chosen configuration, from the seed of the settings on; their mean is learned from.

    Raises
    ------
    ValueError, TypeError
        Before anything is trained: as `Study`; for a column that is no configuration, a row made from the task's own
        images, and a batch that is larger than its training set.

    Examples
    --------
    >>> from refimpl.peppp import meta_training
    >>> task = data.load("digits")
    >>> study = TaskStudy(meta_training(task), task, measurements=8)
    >>> study.measurements, len(study.names)
    (8, 99)
    """

    unit = " MB"

    def __init__(
        self,
        errors: ErrorMatrix,
        task: data.Task,
        *,
        measurements: int | None = None,
        method: str = BEST,
        memory_cap_mb: float | None = None,
        rank: int | None = None,
        settings: Settings | None = None,
        repeats: int = 1,
    ):
        instance("Study", "errors", errors, ErrorMatrix, "an ErrorMatrix, as of meta_training(task)")
        self.task = instance("Study", "task", task, data.Task, "a Task, as of data.load(name)")
        self.settings = (
            Settings() if settings is None else instance("Study", "settings", settings, Settings, "a Settings")
        )
        self.repeats = integer("Study", "repeats", repeats, Interval(1))
        for row in errors.rows_sharing(task.marks)[:1]:
            raise ValueError(
                f"the matrix to learn from has the row {row!r}, made from the images of "
                f"{task.name}: leave it out, or the estimate would know what it is to predict"
            )
        batch_fits(task, self.settings.batch_size)
        formats = []
        for index, name in enumerate(errors.columns):
            try:
                formats.append(configuration(name))
            except ValueError as error:
                raise ValueError(f"column {index} of the matrix is {name}: {error}") from None
        memory = memory_of(task, formats, self.settings)
        cap, seed = memory_cap("Study", memory_cap_mb), self.settings.seed
        super().__init__(errors, memory, measurements=measurements, method=method, cap=cap, rank=rank, seed=seed)

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
        from tqdm.auto import tqdm

        sweep.check_running(jobs, executor)
        with (
            self._journal(directory) as journal,
            tqdm(total=self.measurements, unit="training", disable=not progress) as bar,
            sweep.told(bar.set_postfix_str) if progress else nullcontext(),
        ):
            bar.set_postfix_str(sweep.STARTING)
            self._seen = {}
            trained: list[dict] = []

            def train(columns):
                cells = self._train(columns, 0, self.repeats, journal, jobs=jobs, executor=executor, progress=False)
                trained.extend(cells.ravel())
                for i, of_column in zip(columns.tolist(), cells, strict=True):
                    self._seen[i] = [cell["error"] for cell in of_column]
                errors = np.array([np.mean(self._seen[i]) for i in columns.tolist()])
                bar.set_postfix_str(f"{self.names[columns[-1]]} error {errors[-1]:.3f}")
                bar.update(len(columns))
                return errors

            measure_by(self._strategy(), train)
        return self._judged(self.estimate(), trained)

    def measure_all(
        self,
        directory: str | os.PathLike | None = None,
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> np.ndarray:
        """Train every configuration once more, from the seed after those of `measure`, and return the errors.

        An estimate is compared with these: that of another seed is what one buys.
        """
        sweep.check_running(jobs, executor)
        with self._journal(directory) as journal:
            every = np.arange(len(self.names))
            cells = self._train(every, self.repeats, 1, journal, jobs=jobs, executor=executor, progress=progress)
        return np.array([cell["error"] for cell in cells.ravel()])

    def _judged(self, found: Estimate, cells: list[dict]) -> Estimate:
        """Return an estimate that says what the trainings say of how far to trust it.

        Where none does better than always answering the majority class, by more than two binomial standard errors, no
        configuration is recommended that was only predicted.
        """
        notes, labels = [], self.task.test_labels
        guess = 1 - np.bincount(labels).max() / len(labels)
        learned = np.nanmin(found.measured) < guess - 2 * np.sqrt(guess * (1 - guess) / len(labels))
        if not learned:
            notes.append(
                f"no configuration that was trained does better, by two standard errors on {len(labels)} test images, "
                f"than always answering the majority class (error {guess:.3f}): none is recommended on a prediction; "
                f"another --learning-rate or more --epochs may help"
            )
        best = min(cells, key=lambda cell: cell["error"])
        if best["fall"] > max(FALLING, best["error"] / 4):
            notes.append(
                f"training has not converged: in the best configuration trained the error on the training images fell "
                f"by {best['fall']:.3f} in the last quarter of the epochs; more of them help (--epochs)"
            )
        return replace(found, trusted=bool(learned), notes=tuple(notes))

    @contextlib.contextmanager
    def _journal(self, directory):
        """Open the journal in a directory, or in one that is gone afterwards; keep others out."""
        processes.not_while_starting()
        with contextlib.ExitStack() as stack:
            if directory is None:
                directory = stack.enter_context(tempfile.TemporaryDirectory())
            yield stack.enter_context(contextlib.closing(sweep.Journal(directory, self.settings)))

    def _train(self, columns, first: int, repeats: int, journal, **running) -> np.ndarray:
        """Return trained cells, shape (columns, repeats), of seeds that count from that of the settings."""
        seeds = [self.settings.seed + first + k for k in range(repeats)]
        cells = [(self.task, self.names[i], seed) for i in columns for seed in seeds]
        trained = sweep.train_cells(cells, journal, self.settings, **running)
        return np.array(trained, dtype=object).reshape(len(columns), repeats)


def estimate_frontier(
    errors: ErrorMatrix,
    task: data.Task,
    *,
    budget: int | None = None,
    method: str = BEST,
    memory_cap_mb: float | None = None,
    seed: int | None = None,
    settings: Settings | None = None,
    repeats: int = 1,
    directory: str | os.PathLike | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Estimate:
    """Train `budget` informative configurations on a task and predict all the others.

    Parameters and errors as for `TaskStudy`, its `measure`, and `sweep.train_cells`; a seed replaces that of the
    settings.

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
    settings = Settings() if settings is None else settings
    settings = settings if seed is None else replace(settings, seed=seed)
    study = TaskStudy(
        errors,
        task,
        measurements=budget,
        method=method,
        memory_cap_mb=memory_cap_mb,
        settings=settings,
        repeats=repeats,
    )
    return study.measure(directory, jobs=jobs, executor=executor, progress=progress)


def compare(estimate: Estimate, true: np.ndarray) -> dict[str, float]:
    """Score an estimate against the measured errors of all configurations, shape (configurations,).

    Returns
    -------
    dict
        ``convergence``, ``HyperDiff``, ``regret of the recommendation`` and ``budget regret``, as
        defined in `refimpl.peppp.frontier`, among the configurations within the cap; memory, or whatever is the cost,
        is divided by the largest, and losses by the largest true one, for the first two. These
        are of the frontier where it is expected, if the method says where.

    Examples
    --------
    >>> from refimpl.peppp import ErrorMatrix, Study
    >>> table = [[0.1, 0.2, 0.4], [0.2, 0.3, 0.5], [0.3, 0.4, 0.6]]
    >>> study = Study(table, [4, 2, 1], measured={"1": 0.25})
    >>> sorted(compare(study.estimate(), np.array([0.15, 0.25, 0.45])))
    ['HyperDiff', 'budget regret', 'convergence', 'regret of the recommendation']
    """
    allowed = estimate.allowed
    memory, error, true_allowed = (estimate.memory_mb[allowed], estimate.error[allowed], true[allowed])
    unit = true_allowed.max() if estimate.losses else 1.0
    front = (error if estimate.frontier_error is None else estimate.frontier_error[allowed]) / unit
    return {
        "convergence": fronts.convergence(memory, true_allowed / unit, front),
        "HyperDiff": fronts.hyper_diff(memory, true_allowed / unit, front),
        "regret of the recommendation": fronts.regret(true, estimate.recommended, allowed),
        "budget regret": fronts.budget_regret(memory, true_allowed, error),
    }
