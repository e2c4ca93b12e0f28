"""Axes to draw on."""

from __future__ import annotations


def axes(ax=None, *, size: tuple[float, float] = (8.0, 5.0)):
    """Return `ax`, or the axes of a new figure of this size in inches.

    The figure is not pyplot's: no window opens, and no global state changes.
    """
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained").subplots()
