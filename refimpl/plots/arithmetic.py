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


def sum_tree(tree, *, title: str = "", ax=None):
    """Draw in which order terms are added: terms at the bottom, each sum above what it adds.

    Parameters
    ----------
    tree : nested tuples of term numbers
        As `refimpl.testing.identify_sum` finds it.  A sum of more than two is one fused sum, a filled dot.
    title : str
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> figure = sum_tree(((0, 1), (2, 3)), title="neighbours in pairs")
    >>> len(figure.axes[0].collections[0].get_offsets())  # three additions
    3
    """
    ax = axes(ax, size=(8.0, 4.0))
    stack, sums, column = [(tree, False)], [], 0
    done: list[tuple[float, int]] = []
    while stack:  # not by functions that call themselves: chains are deep
        node, ready = stack.pop()
        if isinstance(node, int):
            done.append((column, 0))
            ax.annotate(str(node), (column, 0), (0, -3), textcoords="offset points", ha="center", va="top", fontsize=7)
            column += 1
        elif not ready:
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(node))
        else:
            below = done[-len(node) :]
            del done[-len(node) :]
            at = float(np.mean([x for x, _ in below])), max(y for _, y in below) + 1
            for x, y in below:
                ax.plot([x, x, at[0]], [y, at[1], at[1]], color="C0", lw=0.8)
            sums.append((*at, len(node) > 2))
            done.append(at)
    for fused, face in ((False, "white"), (True, "C0")):
        some = [(x, y) for x, y, more in sums if more == fused]
        if some:
            label = "fused sum" if fused else "addition"
            ax.scatter(*zip(*some, strict=True), s=14, facecolor=face, edgecolor="C0", zorder=3, label=label)
    ax.set_ylabel("depth")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set_xticks([])
    ax.set_xlabel("terms, in the order in which they meet")
    ax.xaxis.labelpad = 12
    write_title(ax, title)
    ax.legend(fontsize=8, loc="upper left")
    return ax.figure
