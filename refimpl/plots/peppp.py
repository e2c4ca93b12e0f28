"""Pictures of PEPPP: frontiers, and what memory is spent on."""

from __future__ import annotations

import numpy as np

from refimpl.peppp.frontier import non_dominated
from refimpl.plots.canvas import axes, ink, write_title

HATCHES = ("", "//", "\\\\", "xx", "..", "--", "++", "oo")


MEMORY = "training memory (MB of $2^{20}$ bytes)"


def frontier(estimate, *, true=None, title: str = "", cost: str = MEMORY, ax=None):
    """Draw an estimated error-memory frontier.

    Parameters
    ----------
    estimate : refimpl.peppp.Estimate
    true : array_like of float, shape (configurations,), optional
        Measured errors of all configurations, whose frontier is drawn beside.
    title : str
    cost : str
        What the costs of a study are, where they are not memory.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> from refimpl.peppp import Study
    >>> study = Study([[0.1, 0.2, 0.4], [0.2, 0.3, 0.5], [0.3, 0.4, 0.6]], [4, 2, 1], measured={"1": 0.25})
    >>> frontier(study.estimate(), cost="GB").axes[0].get_xlabel()
    'GB'
    """
    ax = axes(ax)
    memory, error = estimate.memory_mb, estimate.error
    allowed, front = estimate.allowed, estimate.frontier
    measured = ~np.isnan(estimate.measured)
    ax.plot(
        memory[allowed & ~front],
        error[allowed & ~front],
        "o",
        color=ink(0.35),
        ms=4,
        mew=0,
        label="estimated dominated",
        zorder=2,
    )
    if not allowed.all():
        ax.plot(memory[~allowed], error[~allowed], "x", color=ink(0.3), ms=5, label="beyond the limit", zorder=2)
        ax.axvline(estimate.memory_cap_mb, color=ink(0.7), ls="--", lw=1.2, label="memory limit", zorder=1)
    if true is not None:
        true = np.asarray(true)
        keep = np.flatnonzero(allowed)[non_dominated(memory[allowed], true[allowed])]
        _steps(
            ax,
            memory[keep],
            true[keep],
            color="#1b7837",
            ls=":",
            lw=2.0,
            marker="^",
            ms=6,
            mfc="none",
            label="true frontier",
            zorder=3,
        )
    _steps(
        ax,
        memory[front],
        error[front],
        color="#2166ac",
        lw=1.6,
        marker="o",
        ms=6,
        label="estimated non-dominated",
        zorder=4,
    )
    if estimate.band is not None:
        shown = front & ~measured
        low, high = (end[shown] for end in estimate.band)
        ax.errorbar(
            memory[shown],
            error[shown],
            (error[shown] - low, high - error[shown]),
            fmt="none",
            ecolor="#92c5de",
            lw=1.2,
            capsize=3,
            zorder=3.5,
            label="90 % band of a prediction",
        )
    ax.plot(
        memory[measured],
        error[measured],
        "s",
        mfc="none",
        mec="#e08214",
        mew=1.8,
        ms=10,
        label="measured (selected informative)",
        zorder=5,
    )
    knee, best = estimate.knee, estimate.recommended
    if knee != best:
        label = f"knee: {estimate.names[knee]}"
        ax.plot(memory[knee], error[knee], "D", mfc="none", mec=ink(), mew=1.4, ms=12, label=label, zorder=6)
    label = f"recommended: {estimate.names[best]}"
    ax.plot(memory[best], error[best], "*", color="#b2182b", ms=17, label=label, zorder=7)
    ax.set_xlabel(cost)
    ax.set_ylabel("loss" if estimate.losses else "test error (fraction misclassified)")
    if estimate.losses:
        ax.set_yscale("log")  # learned from nearly so
    else:
        ax.set_ylim(bottom=0)
    write_title(ax, title)
    ax.legend(fontsize=8)
    return ax.figure


def _steps(ax, memory, error, **style):
    """Draw a frontier as what it is: the least error for at most this much memory."""
    order = np.lexsort((error, memory))
    ax.plot(memory[order], error[order], drawstyle="steps-post", **style)


def memory(memory, *, title: str = "", ax=None):
    """Draw memory as one bar per layer, divided by kind.

    Parameters
    ----------
    memory : refimpl.peppp.memory.Memory
    title : str
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> from refimpl import nn
    >>> from refimpl.peppp.memory import MIXED_PRECISION, count
    >>> figure = memory(count(nn.cnn(), (8, 8, 1), MIXED_PRECISION))
    """
    table = memory.by_layer_and_kind()
    ax = axes(ax, size=(9.6, max(3.0, 0.26 * len(table) + 1.2)))
    start = dict.fromkeys(table, 0.0)
    for number, (kind, total) in enumerate(memory.by_kind().items()):
        if not total:
            continue
        sizes = [row.get(kind, 0.0) / 2**20 for row in table.values()]
        ax.barh(
            list(table),
            sizes,
            left=list(start.values()),
            color=f"C{number}",
            hatch=HATCHES[number % len(HATCHES)],
            edgecolor="white",
            linewidth=0.5,
            label=f"{kind}, {total / 2**20 / memory.total_mb:.0%}",
        )
        start = {name: before + size for (name, before), size in zip(start.items(), sizes, strict=True)}
    ax.use_sticky_edges = False  # the longest bar shall not look cut off
    ax.margins(x=0.02, y=0.01)
    ax.set_xlim(left=0)
    ax.invert_yaxis()
    ax.tick_params(axis="y", labelsize=8)
    ax.set_xlabel(f"MB of $2^{{20}}$ bytes (total {memory.total_mb:.4g})")
    write_title(ax, title)
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax.figure
