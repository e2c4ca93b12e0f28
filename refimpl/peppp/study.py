"""Study a new task by a table of earlier ones: what to train next, what to expect of the rest, what to pick.

Trainings happen wherever they do: a study is asked what to train (`Study.suggest`), told what came out
(`Study.observe`), and asked what to believe (`Study.estimate`, `Study.recommend`).  Configurations and tasks have
any names, costs any unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl._arguments import (
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    choice,
    flag,
    integer,
    message,
    number,
    numbers,
    unknown,
)
from refimpl._arguments import names as distinct
from refimpl._arguments import seed as seed_of
from refimpl.peppp.estimate import Estimate
from refimpl.peppp.estimators.methods import BEST, METHODS, Believed, learn
from refimpl.peppp.estimators.sequential import FIRST, most_useful, variance_reduction
from refimpl.peppp.matrix.error_matrix import ErrorMatrix

__all__ = ["LogLogistic", "Study", "Suggestion"]

RANK = 5  # of the embedding, as in the paper
MEASUREMENTS = 8

Vector = NDArray[np.float64]


class Suggestion(NamedTuple):
    """What to train next, and why.

    Examples
    --------
    >>> Suggestion("w4", "it tells most about the others").name
    'w4'
    """

    name: str
    why: str


class LogLogistic(NamedTuple):
    """Brings losses from 0 to infinity into [0, 1], so that equal *ratios* of usual losses are equal distances.

    The distribution function of the log-logistic distribution, 1 / (1 + (middle / loss)^(1 / scale)): that of
    the logistic distribution, of the logarithm. It grows with the loss, is nearly straight in the logarithm
    of usual losses, and turns diverged ones, infinite too, into nearly 1. A task whose losses are all twice another's
    is that one shifted.

    >>> usual = LogLogistic(4.0, 1.0)
    >>> usual(np.array([0.0, 1.0, 4.0, 16.0, np.inf]))
    array([0. , 0.2, 0.5, 0.8, 1. ])
    >>> usual.inverse(np.array([0.2, 0.5, 0.8])).round(12)
    array([ 1.,  4., 16.])
    """

    middle: float
    scale: float

    @classmethod
    def of(cls, losses: Vector) -> LogLogistic:
        """Return the one for a table: its median is 1/2, and nine in ten of its losses are within about .1 to .9."""
        found = np.log(losses[(losses > 0) & (losses < np.inf)])
        if not len(found):
            return cls(1.0, 1.0)
        low, middle, high = np.quantile(found, (0.05, 0.5, 0.95))
        return cls(float(np.exp(middle)), float(high - low) / 4 or 1.0)

    def __call__(self, losses: Vector) -> Vector:
        with np.errstate(divide="ignore", over="ignore"):
            return 1 / (1 + np.exp((np.log(self.middle) - np.log(losses)) / self.scale))

    def inverse(self, values: Vector) -> Vector:
        """Return losses; what is within a thousandth of 0 or 1 as if it were a thousandth away."""
        inside = np.clip(values, 1e-3, 1 - 1e-3)
        return self.middle * (inside / (1 - inside)) ** self.scale


class Study:
    """A new task, what earlier ones teach about it, and what has been measured of it.

    Parameters
    ----------
    errors : ErrorMatrix, array_like of float, shape (tasks, configurations), or pandas DataFrame
        Errors in [0, 1] of earlier tasks, nan where not measured; at least two rows and columns. An ErrorMatrix and
        a DataFrame name them; those of a plain array are ``"0"``, ``"1"``, ..., or `names`.
    costs : array_like of float, shape (configurations,) or (tasks, configurations), mapping from names, optional
        What each configuration costs (memory, time, money), above 0, in any unit. With a row for each
        earlier task, the new one is taken to cost their mean; rows of a DataFrame go by their names. Default the memory
        of an ErrorMatrix, likewise, or all the same.
    names : sequence of str, optional
        Of the configurations, where the table does not name them.
    measurements : int, optional
        How many configurations within the cap shall be trained, warm starts counted, from the fewest the method
        needs (the rank of the embedding, or 1); default 8, or as many as there are under the cap.
    method : str
        A name in `methods.METHODS`; default the best one. ``"ed-mf"`` is the paper's.
    cap : float, optional
        Only configurations that cost at most this are suggested or recommended.
    losses : bool, default False
        Whether errors are losses, such as perplexities: any numbers from 0 on, lower is better. They are learned from
        as `LogLogistic` transforms them, and come back as losses.
    rank : int, optional
        Of the embedding, for the methods that have one; default 5, as in the paper, or as many as there are tasks or
        configurations, if fewer.
    seed : int
        Of methods that choose at random.
    measured : mapping from names to float, optional
        What has been measured of the new task already; nan or None where nothing was.

    Attributes
    ----------
    names : tuple of str
    costs : ndarray of float64, shape (configurations,)
    allowed : ndarray of bool, shape (configurations,)
        Those within the cap.
    learned : methods.Learned

    Raises
    ------
    ValueError, TypeError
        For errors outside [0, 1] and losses below 0, rows or columns without any, costs that are not above 0, names
        that are unknown or come twice, a cap below the least cost, a number of measurements out of range.

    Examples
    --------
    >>> earlier = np.linspace(0.9, 0.3, 6)[:, None] * [0.5, 0.6, 0.9]
    >>> table = ErrorMatrix(earlier, [f"task {i}" for i in range(6)], ["fp32", "bf16", "int8"])
    >>> study = Study(table, {"fp32": 4, "bf16": 2, "int8": 1}, cap=2)
    >>> study.suggest().name
    'bf16'
    >>> study.observe("bf16", 0.3)
    >>> study.recommend(), study.estimate().error.round(3)
    ('bf16', array([0.25, 0.3 , 0.45]))
    """

    unit = ""

    def __init__(
        self,
        errors: ErrorMatrix | ArrayLike,
        costs: ArrayLike | Mapping[str, float] | None = None,
        *,
        names: Sequence[str] | None = None,
        measurements: int | None = None,
        method: str = BEST,
        cap: float | None = None,
        losses: bool = False,
        rank: int | None = None,
        seed: int = 0,
        measured: Mapping[str, float] | None = None,
    ):
        self.losses = flag("Study", "losses", losses)
        rows, self.names, values = _table(errors, names, self.losses)
        known = errors if isinstance(errors, ErrorMatrix) else None
        self.costs, earlier = _costs(costs, rows, self.names, None if known is None else known.memory_mb)
        self.cap = None if cap is None else number("Study", "cap", cap, POSITIVE)
        self.allowed = self.costs <= (np.inf if self.cap is None else self.cap)
        count = int(self.allowed.sum())
        if not count:
            cheapest = int(self.costs.argmin())
            raise ValueError(
                f"a cap of {cap}{self.unit} admits no configuration; the cheapest, {self.names[cheapest]}, "
                f"needs {self.costs[cheapest]:.4f}{self.unit}: raise the cap"
            )
        unmeasured = np.isnan(values)
        for kind, named, axis in (("row", rows, 1), ("column", self.names, 0)):
            for i in np.flatnonzero(unmeasured.all(axis=axis))[:1]:
                raise ValueError(message("Study", f"{kind} {named[i]!r} of errors", "all nan", "some measured entry"))
        choice("Study", "method", method, METHODS)
        self._scale = LogLogistic.of(values) if losses else None
        repeats = None if known is None or known.repeats is None else self._scaled(known.repeats)
        rank = min(RANK, *values.shape) if rank is None else rank
        self.learned = learn(method, self._scaled(values), earlier, rank=rank, repeats=repeats)
        fewest = self.learned.fewest
        why = "the rank of the embedding" if fewest > 1 else "what the method needs"
        if count < fewest:
            raise ValueError(
                f"a cap of {cap}{self.unit} admits {count} configuration{'s'[: count > 1]}; the "
                f"design needs at least {fewest}, {why}: raise the cap"
            )
        self.measurements = (
            min(MEASUREMENTS, count) if measurements is None else integer("Study", "measurements", measurements)
        )
        if not fewest <= self.measurements <= count:
            raise ValueError(
                f"{measurements} measurements; allowed are {fewest} ({why}) to {count} "
                "(the configurations under the cap)"
            )
        self._seed = seed_of("Study", seed)
        self._seen: dict[int, list[float]] = {}
        if fewest > 1:  # a design that cannot be made shall fail now, not after training
            next(self._strategy())
        for name, error in ({} if measured is None else dict(measured)).items():
            if str(error) not in ("nan", "None", "<NA>"):  # NumPy's, Python's and pandas' words for nothing
                self.observe(name, error)

    def __repr__(self) -> str:
        measured = f"{self.count} of {self.measurements} measured"
        return f"<{type(self).__name__}: {measured}, {len(self.names)} configurations>"

    def suggest(self) -> Suggestion | None:
        """Return what to train next; None when as many configurations were observed as `measurements` says.

        That is what the method asks for when it is told what was observed. Where something was observed that it would
        not have asked for (a warm start), a Gaussian belief takes that in and asks for what is then most
        useful; other methods go on with their design.

        Returns
        -------
        Suggestion or None
            With ``name`` and ``why``.
        """
        columns, errors, counts = self._observed()
        open_ = self.allowed & ~np.isin(np.arange(len(self.names)), columns)
        if self.count >= self.measurements or not open_.any():
            return None
        strategy, observed = self._strategy(), dict(zip(columns.tolist(), errors, strict=True))
        asked, strange = next(strategy), set(observed)
        while observed.keys() >= (wanted := set(asked.tolist())):
            strange -= wanted
            asked = strategy.send(np.array([observed[i] for i in asked.tolist()]))
        first = next(int(i) for i in asked if int(i) not in observed)
        begun = len(columns) < FIRST
        if isinstance(self.learned, Believed) and strange - wanted:
            first = self._most_useful(self.learned, columns, errors, counts, open_)
        if not isinstance(self.learned, Believed):
            why = f"the design of {self.learned.method} asks for it"
        elif begun or self.learned.method != BEST:
            why = "of what is not measured yet, it tells most about the others"
        else:
            why = "measuring it is expected to improve what to pick under the caps there are most"
        return Suggestion(self.names[first], why)

    def _most_useful(self, learned: Believed, columns, errors, counts, open_) -> int:
        """Return what a Gaussian belief would measure next, whatever was measured before."""
        rows = learned.prior.rows
        if len(columns) < FIRST or learned.method != BEST:
            belief = rows.given([], []).given(columns, errors, counts)
            return int(variance_reduction(belief, 1, weights=learned.weights, allowed=open_)[0])
        order = np.flatnonzero(self.allowed)
        order = order[np.argsort(self.costs[order], kind="stable")]
        levels = np.flatnonzero(np.append(True, np.diff(self.costs[order]) > 0))
        return most_useful(rows.given(columns, errors, counts), order, levels, open_[order])

    def observe(self, name: str, error: float) -> None:
        """Take in the error, or loss, that a training of a configuration came to.

        Raises
        ------
        ValueError, TypeError
            For an unknown configuration, an error out of range, and a second one of the same configuration where the
            method has not learned from repeated trainings how far they scatter (a matrix with `repeats`).
        """
        if name not in self.names:
            raise unknown("observe", "configuration", name, self.names)
        allowed = NOT_NEGATIVE if self.losses else FRACTION
        hint = "of a training that diverged, any large loss" if self.losses else ""
        value = number("observe", f"the {'loss' if self.losses else 'error'} of {name}", error, allowed, hint)
        seen = self._seen.get(column := self.names.index(name), [])
        if seen and not self.learned.knows_luck:
            hint = "averages need a matrix of earlier tasks with repeated trainings, and a method that learns from them"
            raise ValueError(message("observe", f"configuration {name!r}", "observed twice", "each once", hint))
        self._seen[column] = [*seen, value]

    def estimate(self, cap: float | None = None) -> Estimate:
        """Return what is known and believed, given what has been observed.

        Parameters
        ----------
        cap : float, optional
            Another one than the study's.

        Raises
        ------
        ValueError
            If fewer configurations were observed than the method needs.
        """
        columns, errors, counts = self._observed()
        needed = self.learned.fewest
        if len(columns) < needed > 1:
            raise ValueError(message("estimate", "the number observed", f"{len(columns)}", f"at least {needed}"))
        measured = np.full(len(self.names), np.nan)
        measured[columns] = [np.mean(self._seen[i]) for i in columns.tolist()]
        predicted, deviation = self.learned.predict(columns, errors, counts)
        best = self.learned.best(columns, errors, counts)
        width, band = self.learned.band(len(columns)), None
        if width is not None and deviation is not None:
            low, high = best - width * deviation, best + width * deviation
            band = self._unscaled(np.clip(low, 0, 1)), self._unscaled(np.clip(high, 0, 1))
        front = self.learned.frontier(columns, errors, self.costs, counts)
        expected = self._unscaled(best)
        if not self.learned.knows_luck:  # as it was, to the last digit, for nothing is known of luck
            for values in (expected, *(band or ())):
                values[columns] = measured[columns]
        return Estimate(
            self.names,
            self.costs,
            self._unscaled(predicted),
            measured,
            columns,
            self.cap if cap is None else cap,
            error=expected,
            band=band,
            frontier_error=None if front is None else self._unscaled(front),
            losses=self.losses,
        )

    def recommend(self, cap: float | None = None) -> str:
        """Return the configuration of smallest expected error within a cap, by default the study's."""
        return self.names[self.estimate(cap).recommended]

    @property
    def count(self) -> int:
        """How many of the configurations within the cap were observed."""
        return int(self.allowed[list(self._seen)].sum())

    def _observed(self) -> tuple[NDArray[np.intp], Vector, Vector]:
        """Return the columns observed, their mean errors as the method sees them, and of how many trainings."""
        columns = np.array(list(self._seen), dtype=np.intp)
        means = np.array([self._scaled(np.array(seen)).mean() for seen in self._seen.values()])
        return columns, means, np.array([len(seen) for seen in self._seen.values()], dtype=np.float64)

    def _strategy(self):
        return self.learned.strategy(self.measurements, memory=self.costs, allowed=self.allowed, seed=self._seed)

    def _scaled(self, errors: Vector) -> Vector:
        return errors if self._scale is None else self._scale(errors)

    def _unscaled(self, values: Vector) -> Vector:
        return values if self._scale is None else self._scale.inverse(values)


def _table(errors: Any, given: Any, losses: bool) -> tuple[tuple[str, ...], tuple[str, ...], Vector]:
    """Return names of rows and columns, and errors in range, of any kind of table."""
    held = isinstance(errors, ErrorMatrix)
    if framed := _is_frame(errors):
        errors = errors.astype(object).where(errors.notna(), np.nan)  # pandas' NA, too
    values = errors.values if held else np.ascontiguousarray(numbers("Study", "errors", errors, (None, None)))
    if held:
        found = errors.rows, errors.columns
    elif framed:
        found = errors.index, errors.columns
    else:
        found = range(len(values)), range(values.shape[1]) if given is None else given
    pairs = zip(("row", "configuration"), found, strict=True)
    rows, columns = (distinct("Study", kind, list(map(str, labels))) for kind, labels in pairs)
    if given is not None and (got := distinct("Study", "configuration", given)) != columns:
        raise ValueError(message("Study", "names", f"{list(got)}", f"what the table calls them, {list(columns)}"))
    if not len(columns) == values.shape[1] > 1 or len(rows) < 2:
        allowed = "of at least 2 rows and 2 columns, and a name for each column"
        raise ValueError(message("Study", "errors", f"of shape {values.shape}, with {len(columns)} names", allowed))
    good = (values >= 0) & (losses | (values <= 1)) | np.isnan(values)
    for i, j in np.argwhere(~good)[:1]:
        allowed = f"{'a loss, at least 0' if losses else 'an error in [0, 1]'}, or nan where not measured"
        hint = "" if losses or values[i, j] < 0 else "losses=True learns from any numbers from 0 on"
        raise ValueError(message("Study", f"errors[{rows[i]!r}, {columns[j]!r}]", f"{values[i, j]}", allowed, hint))
    return rows, columns, values


def _is_frame(table: Any) -> bool:
    """Tell whether a table is a DataFrame, without importing pandas."""
    return all(hasattr(table, part) for part in ("index", "columns", "notna"))


def _costs(got: Any, rows: tuple[str, ...], columns: tuple[str, ...], known: Vector | None) -> tuple[Vector, Vector]:
    """Return what each configuration costs, shape (columns,), and did in earlier tasks, shape (rows, columns)."""
    shape = len(rows), len(columns)
    if got is None:
        got = np.ones(shape) if known is None else known
    elif hasattr(got, "items"):  # a mapping, or a pandas Series or DataFrame
        if _is_frame(got):
            lines = _all_of("task", dict(zip(map(str, got.index), range(len(got)), strict=True)), rows)
            got = got.iloc[lines]
        given = {str(name): cost for name, cost in got.items()}
        got = np.transpose(_all_of("configuration", given, columns))
    found = numbers("Study", "costs", got)
    if found.shape not in (shape, shape[1:]):
        raise ValueError(message("Study", "costs", f"of shape {found.shape}", f"{shape[1:]} or {shape}"))
    for place in np.argwhere(~((found > 0) & (found < np.inf)))[:1]:
        allowed = "a finite number, above 0"
        raise ValueError(message("Study", f"the cost of {columns[place[-1]]!r}", f"{found[tuple(place)]}", allowed))
    if found.ndim == 2:
        return found.mean(axis=0), found
    return found, np.broadcast_to(found, shape) if known is None else known


def _all_of(kind: str, given: Mapping[str, Any], names: tuple[str, ...]) -> list:
    """Return what costs give for each of these names, and for no other."""
    for name in (*given, *names):
        if name not in names:
            raise unknown("Study", f"{kind} in costs", name, names)
        if name not in given:
            raise ValueError(message("Study", "costs", f"without {name!r}", f"a cost for every {kind}"))
    return [given[name] for name in names]
