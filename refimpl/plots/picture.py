"""The figure that all pictures are drawn on.  Imports Matplotlib: imported when one is drawn."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure


class Picture(Figure):
    """A Matplotlib figure that a notebook shows where it is the last expression of a cell.

    It is not pyplot's: no window opens, and no global state changes.
    """

    def _repr_png_(self) -> bytes:
        """Return the picture as a PNG file, as IPython asks for it."""
        file = BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
