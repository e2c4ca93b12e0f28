"""Pictures of arithmetic: sums as they grow, and values as they are rounded."""

from __future__ import annotations

import numpy as np

from refimpl.plots.canvas import LINES, MARKS, axes, ink, write_title


def running_sums(terms, sums: dict[str, np.ndarray], *, exact=None, title: str = "", ax=None):
    """Draw sums against the number of terms, a line for each order of adding.

    Parameters
    ----------
    terms : array_like, shape (n,)
        How many terms have been added.
    sums : dict of name to array_like, shape (n,)
    exact : array_like, shape (n,), optional
        The true sums, drawn as a broad grey line.
    title : str
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> figure = running_sums([1, 2], {"one by one": [1.0, 2.0]}, exact=[1.0, 2.0])
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['exact', 'one by one']
    """
    ax = axes(ax, size=(6.8, 4.4))
    if exact is not None:
        ax.plot(terms, exact, color=ink(0.2), lw=6, label="exact", solid_capstyle="round")
    _draw(ax, terms, sums, every=max(len(terms) // 8, 1))
    ax.set_xlabel("terms added")
    ax.set_ylabel("sum")
    write_title(ax, title)
    ax.legend(fontsize=8)
    return ax.figure


def staircases(x, rounded: dict[str, np.ndarray], *, title: str = "", ax=None):
    """Draw rounded values against the values, a staircase for each kind of rounding.

    Parameters
    ----------
    x : array_like, shape (n,)
        Ascending.
    rounded : dict of name to array_like, shape (n,)
    title : str
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> staircases([0.4, 0.6], {"int": [0.0, 1.0]}).axes[0].get_ylabel()
    'rounded value'
    """
    ax = axes(ax, size=(6.8, 4.4))
    ax.plot(x, x, color=ink(0.2), lw=4, label="unrounded")
    _draw(ax, x, rounded, every=max(len(x) // 12, 1))
    ax.set_xlabel("value")
    ax.set_ylabel("rounded value")
    write_title(ax, title)
    ax.legend(fontsize=8)
    return ax.figure


def _draw(ax, x, lines, every: int) -> None:
    for i, (name, y) in enumerate(lines.items()):
        ax.plot(
            x,
            y,
            label=name,
            lw=1.6,
            ms=5,
            markevery=(i * every // 3, every),
            marker=MARKS[i % len(MARKS)],
            ls=LINES[i % len(LINES)],
        )
