"""Axes to draw on, and what tells lines apart without colour."""

from __future__ import annotations

import numpy as np

from refimpl._arguments import wrong_kind

MARKS, LINES = "os^Dv<>", ("-", "--", ":", "-.")


def axes(ax=None, *, size: tuple[float, float] = (8.0, 5.0)):
    """Return `ax`, or the axes of a new `Picture` of this size in inches."""
    return panels(1, 1, size=size)[0] if ax is None else _looked_at(ax)


def panels(rows: int, columns: int, ax=None, *, size: tuple[float, float], **shared) -> np.ndarray:
    """Return `ax` as a flat array, or the axes of a new `Picture` in rows and columns."""
    if ax is None:
        from refimpl.plots.picture import Picture

        ax = Picture(figsize=size, layout="constrained").subplots(rows, columns, **shared)
    return np.array([_looked_at(one) for one in np.ravel(ax)])


def _looked_at(ax):
    if not hasattr(ax, "plot"):
        raise wrong_kind("plots", "ax", ax, "Matplotlib's Axes")
    return ax


def ink(strength: float = 1.0):
    """Return the colour of text, as the reader's style has it, light or dark; below `strength` 1 a grey of it."""
    from matplotlib import rcParams

    return rcParams["text.color"], strength


def write_title(ax, text: str) -> None:
    """Write a title as it is: names of files may hold dollars, and bytes that are no UTF-8."""
    ax.set_title(text.encode(errors="backslashreplace").decode(), parse_math=False)
