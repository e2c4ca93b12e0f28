"""Pictures: data in, axes optional, figure out.  The only room that imports Matplotlib."""

from refimpl.plots.formats import bit_layout, number_line, relative_error, rounding_modes
from refimpl.plots.frontier import frontier

__all__ = ["bit_layout", "frontier", "number_line", "relative_error", "rounding_modes"]
