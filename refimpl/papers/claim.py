"""What a claim of a paper is, how it is checked, and what comes of that.

A claim is a function: it runs the experiment through the public API and returns a `Finding`, with a verdict that
could have been another.  What it trains it trains through `Bench.each`, which keeps every result in a file, so that
whatever interrupts, nothing is trained twice.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy.special import ndtr, stdtrit

import refimpl
from refimpl._arguments import choice
from refimpl._display import as_html
from refimpl._files import add_record, records
from refimpl.peppp.evaluation import paired_difference
from refimpl.peppp.sweeping import processes

__all__ = [
    "Bench",
    "Chart",
    "Claim",
    "Difference",
    "Finding",
    "Paper",
    "Table",
    "Verdict",
    "compare",
    "less",
    "like",
    "more",
    "paired",
    "said",
    "sure",
    "table",
    "worst",
]

Verdict = Literal["holds", "holds only with the flaw", "does not hold here", "cannot be checked here"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

SURE = 2.0
"""Standard errors that a difference of many seeds must be away from what it is held to; of few see `sure`."""


@dataclass(frozen=True)
class Table:
    """A title, column heads, rows of strings, and a remark."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remark: str = ""

    def _repr_html_(self) -> str:
        return as_html("\n".join(filter(None, (self.title, self.remark))), self.heads, self.rows)

    def __str__(self) -> str:
        cells = [self.heads, *self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.heads))]

        def line(row):
            first, *others = (
                c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
            )
            return "  " + "  ".join([first, *others])

        remark = textwrap.wrap(self.remark, 98, break_on_hyphens=False)
        return "\n".join([self.title, line(self.heads), *map(line, self.rows), *remark])


def table(title, heads, rows, remark="") -> Table:
    """Make a table of anything that has a text."""
    return Table(title, tuple(heads), tuple(tuple(map(str, row)) for row in rows), remark)


@dataclass(frozen=True)
class Chart:
    """What a picture shows; `refimpl.plots.chart` draws it.

    Attributes
    ----------
    name : str
        Of its file, without an ending.
    kind : str
        ``lines``: each series has x, y, and perhaps standard errors; ``bars``: groups, named by `labels`, of a bar
        for each series; ``points``: unconnected; ``pie``: one series, slices named by `labels`; ``grid``: one series,
        a matrix in colours, whose rows and columns `labels` may name; ``graph``: nodes, joined by arrows as `labels`
        say, such as ``"a -> b"``.
    series : mapping of name to sequence
        For lines and points (x, y) or (x, y, errors); for bars y or (y, errors) as arrays; for pie and grid an array;
        for a graph the place (x, y) of a node.
    log : str
        Axes that are logarithmic: ``""``, ``"x"``, ``"y"`` or ``"xy"``.
    """

    name: str
    title: str
    series: Mapping[str, Any]
    kind: Literal["lines", "bars", "points", "pie", "grid", "graph"] = "lines"
    x: str = ""
    y: str = ""
    log: Literal["", "x", "y", "xy"] = ""
    labels: Sequence[str] = ()


@dataclass(frozen=True, repr=False)
class Finding:
    """What came out.

    Attributes
    ----------
    verdict : str
        One of `VERDICTS`.
    why : str
        One line, with the numbers that decided.
    numbers : dict
        Everything measured, in types that JSON can hold.
    tables, charts
        To be read and looked at.
    left_out : str
        What a quick run did not do.
    """

    verdict: Verdict
    why: str
    numbers: dict[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    left_out: str = ""

    def __post_init__(self):
        choice("Finding", "verdict", self.verdict, VERDICTS)

    def __repr__(self) -> str:
        return f"<Finding: {self.verdict}: {self.why}>"

    def _repr_html_(self) -> str:
        return as_html(self.verdict, (self.why,), ()) + "".join(shown._repr_html_() for shown in self.tables)


class Claim(NamedTuple):
    """One claim: its name, what was published, in our words, and the function that checks it."""

    name: str
    published: str
    check: Callable[[Bench], Finding]


class Paper(NamedTuple):
    """A paper and its claims."""

    name: str
    title: str
    source: str
    claims: tuple[Claim, ...]


class Bench:
    """Where claims are checked: how thoroughly, from which seed, and where results are kept.

    Parameters
    ----------
    directory : path, optional
        Where results are kept as they come; without one they are not.
    quick : bool, default False
        Whether a claim is checked in a minute or so rather than well.
    seed : int, default 0
        Of everything random; runs of different seeds share no draw.
    jobs : int, default 1
    progress : bool, default False
    data : path, optional
        Where the matrices released with PEPPP lie.

    Examples
    --------
    >>> bench = Bench(seed=3)
    >>> bench.seeds(5)
    range(3000, 3005)
    >>> bench.each(divmod, [(7, 2), (9, 4)])
    [[3, 1], [2, 1]]
    """

    def __init__(
        self,
        directory: str | os.PathLike | None = None,
        *,
        quick: bool = False,
        seed: int = 0,
        jobs: int = 1,
        progress: bool = False,
        data: str | os.PathLike | None = None,
    ):
        self.quick, self.seed, self.jobs, self.progress, self.data = quick, seed, jobs, progress, data
        self._kept: dict[str, Any] = {}
        self._path = None if directory is None else Path(directory) / "trainings.jsonl"
        for record in [] if self._path is None else records(self._path):
            if record.get("version") == refimpl.__version__ and {"case", "found"} <= record.keys():
                self._kept[record["case"]] = record["found"]

    def seeds(self, count: int, quick: int | None = None) -> range:
        """Return so many seeds; of a quick run `quick`, if given."""
        first = 1000 * self.seed
        return range(first, first + (count if quick is None or not self.quick else quick))

    def each(self, function: Callable[..., Any], cases: Sequence[tuple], label: str = "") -> list[Any]:
        """Return what a function says of each case, in order, as JSON holds it.

        What is known from an earlier run is not worked out again; what is new is kept as soon as it is there.

        Parameters
        ----------
        function : callable
            Of a module, so that other processes find it; what it returns JSON must be able to hold.
        cases : sequence of tuple
            Its arguments: numbers, texts, truth values, tuples of them.
        label : str
            Of the progress bar.
        """
        from tqdm.auto import tqdm

        names = [json.dumps([function.__module__, function.__qualname__, *case]) for case in cases]
        missing = {name: case for name, case in zip(names, cases, strict=True) if name not in self._kept}
        with tqdm(total=len(missing), desc=label, disable=not (self.progress and missing), leave=False) as bar:
            for name, found in self._work(function, missing):
                self._keep(name, found)
                bar.update()
        return [self._kept[name] for name in names]

    def _work(self, function, missing):
        if self.jobs <= 1 or len(missing) <= 1:
            for name, case in missing.items():
                yield name, function(*case)
            return
        others = multiprocessing.active_children()
        with processes.pool(min(self.jobs, len(missing)), processes.follow_parent) as pool:
            try:
                with processes.without_interrupts():  # workers inherit this: Ctrl-C is their parent's business
                    futures = {pool.submit(function, *case): name for name, case in missing.items()}
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in set(multiprocessing.active_children()).difference(others):
                    worker.terminate()  # may have minutes to go
                if isinstance(error, BrokenProcessPool):
                    raise RuntimeError(processes.KILLED) from None
                raise

    def _keep(self, name: str, found: Any) -> None:
        self._kept[name] = json.loads(json.dumps(found))
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            add_record(self._path, {"case": name, "version": refimpl.__version__, "found": found})


class Difference(NamedTuple):
    """Mean of a - b over seeds, its standard error, and how many seeds there are."""

    mean: float
    error: float
    seeds: float = np.inf


def paired(a, b) -> Difference:
    """Return the difference of two ways, seed by seed.

    >>> paired([0.5, 0.25, 0.75], [0.25, 0.25, 0.25])
    Difference(mean=0.25, error=0.14433756729740646, seeds=3)
    """
    return Difference(*paired_difference(a, b), len(a))


def sure(seeds: float) -> float:
    """Return the standard errors, of so many seeds, that are as seldom exceeded by luck as two of very many.

    A standard error of few seeds is luck itself: the ratio follows Student's t, with one degree of freedom less.

    >>> [round(sure(seeds), 2) for seeds in (2, 3, 5, 10, 100, np.inf)]
    [13.97, 4.53, 2.87, 2.32, 2.03, 2.0]
    """
    return SURE if seeds == np.inf else float(stdtrit(seeds - 1, ndtr(SURE)))


def said(difference: tuple[float, ...]) -> str:
    """Return a difference with its standard error as text.

    >>> said((-0.25, 0.125))
    '-0.2500 (0.1250)'
    """
    return f"{difference[0]:+.4f} ({difference[1]:.4f})"


def less(difference: tuple[float, ...], by: float = 0.0) -> Verdict:
    """Return the verdict on "a is less than b, by more than `by`", given `paired(a, b)`.

    It holds where the difference is below by more standard errors than `sure` says, and does not where it is above by
    as many; between them so many seeds cannot tell.  A mean and a standard error alone are those of very many.

    >>> less((-0.3, 0.1)), less((0.3, 0.1)), less((-0.1, 0.1)), less(Difference(-0.3, 0.1, 3))
    ('holds', 'does not hold here', 'cannot be checked here', 'cannot be checked here')
    """
    return _judge(-difference[0] - by, *difference[1:])


def like(difference: tuple[float, ...], within: float) -> Verdict:
    """Return the verdict on "a is no worse than b, by more than `within`", given `paired(a, b)` of errors or losses.

    >>> like((0.001, 0.002), 0.01), like((0.03, 0.002), 0.01), like((0.001, 0.02), 0.01)
    ('holds', 'does not hold here', 'cannot be checked here')
    """
    return _judge(within - difference[0], *difference[1:])


def more(difference: tuple[float, ...], by: float = 0.0) -> Verdict:
    """Return the verdict on "a is more than b, by more than `by`", given `paired(a, b)`."""
    return _judge(difference[0] - by, *difference[1:])


def _judge(room: float, error: float, seeds: float = np.inf) -> Verdict:
    """Return whether something is surely above 0, surely below, or neither; nan, of what diverged, is below."""
    least = sure(seeds) * error * (1 + 1e-9)  # of few seeds it is often exactly that, but for a last bit
    if room > least:
        return "holds"
    return "cannot be checked here" if room >= -least else "does not hold here"


def compare(
    found: Mapping[str, Mapping[str, Any]],
    baseline: str,
    judges: Mapping[str, Callable[[Difference], Verdict]],
    *,
    title: str,
    what: str = "test error",
    left_out: str = "",
) -> Finding:
    """Return what comes of several ways of training, each beside one of them, seed by seed.

    Parameters
    ----------
    found : mapping of group to mapping of way to array_like, shape (seeds,)
        Groups are networks, say; a way that a group has not is left out there.
    baseline : str
        The way that others are compared with.
    judges : mapping of way to function
        Each takes `paired` of a way and the baseline, and returns the verdict; the claim gets the worst.
    title, what, left_out : str

    Examples
    --------
    >>> errors = {"mlp": {"float32": [0.1, 0.2, 0.3], "to nearest": [0.5, 0.5, 0.6]}}
    >>> compare(errors, "float32", {"to nearest": more}, title="Digits").why
    'mlp, to nearest: +0.3333 (0.0333)'
    """
    rows, verdicts, told, numbers = [], [], [], {}
    for group, of in found.items():
        for way, values in of.items():
            values = np.asarray(values, dtype=np.float64)
            difference = paired(values, of[baseline])
            if way in judges:
                verdicts.append(judges[way](difference))
                told.append(f"{group}, {way}: {said(difference)}")
            numbers[f"{group}, {way}"] = {"found": values.tolist(), f"less {baseline}": difference}
            less_it = "" if way == baseline else said(difference)
            rows.append((group, way, f"{values.mean():.4f}", f"{values.std(ddof=1):.4f}", less_it))
    ways = list(dict.fromkeys(way for of in found.values() for way in of))
    series = {}
    for group, of in found.items():
        many = [np.asarray(of.get(way, [np.nan, np.nan]), dtype=np.float64) for way in ways]
        series[group] = np.array([[m.mean() for m in many], [m.std(ddof=1) for m in many]])
    heads = ("", "", what, "seeds' deviation", f"less {baseline} (s.e.)")
    chart = Chart("means", title, series, "bars", y=f"{what}; lines: deviation of seeds", labels=ways)
    return Finding(worst(verdicts), "; ".join(told), numbers, (table(title, heads, rows),), (chart,), left_out=left_out)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on all of several: it holds if all do, and does not if any does not."""
    order = ("does not hold here", "cannot be checked here", "holds only with the flaw", "holds")
    return min(verdicts, key=order.index)
