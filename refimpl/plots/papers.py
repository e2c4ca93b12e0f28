"""Pictures of what came of a paper's claims."""

from __future__ import annotations

import numpy as np

from refimpl.papers.claim import Chart
from refimpl.plots.canvas import LINES, MARKS, axes, ink, write_title


def chart(shown: Chart, ax=None):
    """Draw a chart.

    Parameters
    ----------
    shown : refimpl.papers.claim.Chart
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> figure = chart(Chart("a", "Two", {"one": ([1, 2], [3, 4])}, x="seed", y="loss"))
    >>> figure.axes[0].get_xlabel()
    'seed'
    """
    ax = axes(ax, size=(7.2, 4.6))
    kinds = {"lines": _lines, "points": _lines, "bars": _bars, "pie": _pie, "grid": _grid, "graph": _graph}
    kinds[shown.kind](ax, shown)
    if shown.kind not in ("pie", "graph"):
        ax.set_xlabel(shown.x)
        ax.set_ylabel(shown.y)
    if "x" in shown.log:
        ax.set_xscale("log", base=2)
    if "y" in shown.log:
        ax.set_yscale("log")
    write_title(ax, shown.title)
    if shown.kind in ("lines", "points", "bars") and len(shown.series) > 1:
        beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if shown.kind == "bars" else {}
        ax.legend(fontsize=8, **beside)
    return ax.figure


def _lines(ax, shown):
    for i, (name, (x, y, *errors)) in enumerate(shown.series.items()):
        line = LINES[i % len(LINES)] if shown.kind == "lines" else ""
        style = {"marker": MARKS[i % len(MARKS)], "ls": line, "ms": 5, "lw": 1.5, "capsize": 3}
        ax.errorbar(np.asarray(x), np.asarray(y), errors[0] if errors else None, label=name, **style)
    if shown.labels:
        ax.set_xticks(range(len(shown.labels)), shown.labels)


def _bars(ax, shown):
    groups, width = np.arange(len(shown.labels)), 0.8 / len(shown.series)
    for i, (name, given) in enumerate(shown.series.items()):
        y, errors = given if np.ndim(given) == 2 else (given, None)
        place = groups + (i - (len(shown.series) - 1) / 2) * width
        ax.bar(place, y, width, yerr=errors, label=name, capsize=2)
    turned = {"rotation": 20, "ha": "right"} if max(map(len, shown.labels)) > 12 else {}
    ax.set_xticks(groups, shown.labels, fontsize=8, **turned)


def _pie(ax, shown):
    (values,) = shown.series.values()
    names = [f"{label}: {value:g}" for label, value in zip(shown.labels, values, strict=True)]
    ax.pie(values, labels=names, autopct="%.1f%%", startangle=90, counterclock=False)


def _grid(ax, shown):
    ((name, values),) = shown.series.items()
    part = {"vmin": 0, "vmax": 1} if np.min(values) >= 0 and np.max(values) <= 1 else {}
    image = ax.imshow(np.asarray(values), aspect="auto", cmap="viridis", **part)
    if shown.labels:
        ax.set_xticks(range(len(shown.labels)), shown.labels, rotation=90, fontsize=7)
        ax.set_yticks(range(len(shown.labels)), shown.labels, fontsize=7)
    ax.figure.colorbar(image, ax=ax, label=name)


def _graph(ax, shown):
    for name, (x, y) in shown.series.items():
        ax.text(x, y, name, ha="center", va="center", bbox={"boxstyle": "round", "facecolor": ax.get_facecolor()})
    for arrow in shown.labels:
        start, end = (shown.series[name] for name in arrow.split(" -> "))
        style = {"arrowstyle": "->", "shrinkA": 25, "shrinkB": 35, "color": ink(0.6)}
        ax.annotate("", end, start, arrowprops=style)
    low, high = np.min([*shown.series.values()], axis=0) - 0.5, np.max([*shown.series.values()], axis=0) + 0.5
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    ax.set_axis_off()
