"""Pictures of training."""

from __future__ import annotations

import numpy as np

from refimpl.plots.canvas import LINES, MARKS, axes, ink, write_title


def error_lines(
    x, errors: dict[str, np.ndarray], *, label: str, baseline: float | None = None, title: str = "", ax=None
):
    """Draw test error against a number of bits, a line for each kind of training.

    Parameters
    ----------
    x : array_like of int, shape (points,)
        Numbers of bits.
    errors : dict of name to array_like, shape (points,) or (points, seeds)
        With several seeds, the mean is drawn and each seed is a faint dot.
    label : str
        Of the horizontal axis.
    baseline : float, optional
        Test error in float32, drawn as a level.
    title : str
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> figure = error_lines([1, 2], {"e4": [[0.2, 0.3], [0.1, 0.1]]}, label="mantissa bits")
    >>> figure.axes[0].get_ylabel()
    'test error (fraction misclassified)'
    """
    ax = axes(ax, size=(6.4, 4.2))
    for i, (name, found) in enumerate(errors.items()):
        found = np.asarray(found, float).reshape(len(x), -1)
        style = {"marker": MARKS[i % len(MARKS)], "ls": LINES[i % len(LINES)]}
        (line,) = ax.plot(x, found.mean(axis=1), label=name, lw=1.6, ms=6, **style)
        if found.shape[1] > 1:
            many = np.repeat(np.asarray(x)[:, np.newaxis], found.shape[1], axis=1)
            ax.plot(many, found, ".", color=line.get_color(), alpha=0.35, ms=4)
    if found.shape[1] > 1:
        ax.plot([], [], ".", color=ink(0.35), ms=4, label="each seed")
    if baseline is not None:
        ax.axhline(baseline, color=ink(0.6), lw=1, ls=(0, (6, 3)), label="float32")
    ax.set_xticks(list(x))
    ax.set_xlabel(label)
    ax.set_ylabel("test error (fraction misclassified)")
    ax.set_ylim(bottom=0)
    write_title(ax, title)
    ax.legend(fontsize=8)
    return ax.figure


def weight_paths(paths: dict[str, np.ndarray], *, target: float, radius: float | None = None, title: str = "", ax=None):
    """Draw a weight over the steps of a descent, a line for each kind of update.

    Parameters
    ----------
    paths : dict of name to array_like, shape (steps,)
    target : float
        The best weight.
    radius : float, optional
        Updates rounded to nearest stop before they are that close: drawn as a band, which their line does not enter.
    title : str
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> figure = weight_paths({"nearest": [3.0, 2.0, 2.0]}, target=1.0, radius=0.5)
    >>> figure.axes[0].get_xlabel()
    'step'
    """
    ax = axes(ax, size=(6.4, 4.2))
    for i, (name, path) in enumerate(paths.items()):
        ax.plot(
            np.asarray(path),
            LINES[i % len(LINES)],
            lw=1.6,
            label=name,
            marker=MARKS[i % len(MARKS)],
            markevery=0.1,
            ms=5,
        )
    ax.axhline(target, color=ink(0.6), lw=1, ls=(0, (6, 3)), label="best weight")
    if radius is not None:
        ax.axhspan(
            target - radius,
            target + radius,
            fc=ink(0.1),
            zorder=0,
            label="halting radius: in it, no update to nearest moves the weight",
        )
    ax.set_xlabel("step")
    ax.set_ylabel("weight")
    write_title(ax, title)
    ax.legend(fontsize=8)
    return ax.figure
