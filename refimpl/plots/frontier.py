"""Pictures of frontiers."""

from __future__ import annotations

import numpy as np

from refimpl.plots.canvas import axes


def frontier(estimate, *, true=None, title: str = "", ax=None):
    """Draw an estimated error-memory frontier.

    Parameters
    ----------
    estimate : refimpl.peppp.Estimate
    true : array_like of float, shape (configurations,), optional
        Measured errors of all configurations, whose frontier is drawn beside.
    title : str
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure
    """
    from refimpl.peppp.frontier import non_dominated

    ax = axes(ax)
    memory, error = estimate.memory_mb, estimate.error
    allowed, front = estimate.allowed, estimate.frontier
    measured = ~np.isnan(estimate.measured)
    ax.plot(
        memory[allowed & ~front],
        error[allowed & ~front],
        "o",
        color="0.72",
        ms=4,
        label="estimated dominated",
        zorder=2,
    )
    if not allowed.all():
        ax.plot(memory[~allowed], error[~allowed], "x", color="0.72", ms=5, label="beyond the limit", zorder=2)
        ax.axvline(estimate.memory_cap_mb, color="0.3", ls="--", lw=1.2, label="memory limit", zorder=1)
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
        ax.plot(memory[knee], error[knee], "D", mfc="none", mec="k", mew=1.4, ms=12, label="knee", zorder=6)
    ax.plot(memory[best], error[best], "*", color="#b2182b", ms=17, label="recommended", zorder=7)
    ax.annotate(
        estimate.names[best],
        (memory[best], error[best]),
        xytext=(0, 13),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        zorder=8,
    )
    ax.set_xlabel("training memory (MB of $2^{20}$ bytes)")
    ax.set_ylabel("test error (fraction misclassified)")
    ax.set_ylim(bottom=0)
    ax.set_title(title)
    ax.legend(fontsize=8)
    return ax.figure


def _steps(ax, memory, error, **style):
    """Draw a frontier as what it is: the least error for at most this much memory."""
    order = np.lexsort((error, memory))
    ax.plot(memory[order], error[order], drawstyle="steps-post", **style)
