"""Axes to draw on."""

from __future__ import annotations


def axes(ax=None, *, size: tuple[float, float] = (8.0, 5.0)):
    """Return `ax`, or the axes of a new `Picture` of this size in inches."""
    if ax is not None:
        return ax
    from refimpl.plots.picture import Picture

    return Picture(figsize=size, layout="constrained").subplots()
